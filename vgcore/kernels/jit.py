"""How jitted code is compiled: functions that Python calls, and those that only such code calls.

Arrays are handed in, and none is made or kept, so none is counted. A function that returns part of
an array is for these alone: where arrays are counted it would be given back once too often.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic

_F = TypeVar("_F", bound=Callable[..., Any])


def kernel(**options: Any) -> Callable[[_F], _F]:
    """Decorate what Python calls.

    Unless told otherwise Numba adds a function that C could call, which nothing here does; and a
    function that is not told whether to go in line does as the one that has it compiled.
    """
    defaults = {
        "cache": True,
        "nogil": True,
        "error_model": "numpy",
        "forceinline": False,
        "_nrt": False,
        "no_cfunc_wrapper": True,
    }
    decorate: Callable[[_F], _F] = njit(**(defaults | options))
    return decorate


def helper(**options: Any) -> Callable[[_F], _F]:
    """Decorate what jitted functions alone call: there is no way in from Python.

    What takes Python's arguments is an eighth of all there is to compile. If Python calls a helper
    all the same, the process ends: make that function a `kernel`.
    """
    return kernel(no_cpython_wrapper=True, **options)


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
