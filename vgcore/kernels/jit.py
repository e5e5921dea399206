"""How jitted code is compiled: functions that Python calls, and those that only such code calls.

Arrays are handed in, and none is made or kept, so none is counted. A function that returns part of
an array is for these alone: where arrays are counted it would be given back once too often.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic

# A function is compiled with one that C could call unless told otherwise, which nothing here does;
# and what is not told whether to go in line does as the function that has it compiled.
kernel = functools.partial(
    njit,
    cache=True,
    nogil=True,
    error_model="numpy",
    forceinline=False,
    _nrt=False,
    no_cfunc_wrapper=True,
)

# What takes arguments from Python is an eighth of all there is to compile. Without it, a function
# that Python calls all the same ends the process: make that one a `kernel`.
helper = functools.partial(kernel, no_cpython_wrapper=True)


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _apart() -> None:
        pass

else:

    @intrinsic
    def _apart(typingctx: Any) -> Any:
        """Keep the function that calls this out of the code of those that call it.

        For what is seldom run: LLVM would put it in line, and optimise it anew, at every call.
        """

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            builder.function.attributes.add("noinline")
            return context.get_dummy_value()

        return types.void(), generate
