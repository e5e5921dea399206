"""How jitted code is compiled: functions that Python calls, and those that only such code calls.

Arrays are handed in, and none is made or kept, so none is counted. A function that returns part of
an array is for these alone: where arrays are counted it would be given back once too often.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from llvmlite.binding import parse_assembly
from numba import config, njit, types
from numba.core.caching import FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.extending import intrinsic

_F = TypeVar("_F", bound=Callable[..., Any])
_ENVIRONMENT = "_ZN08NumbaEnv"


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
    jitted: Callable[[_F], _F] = njit(**(defaults | options))

    def decorate(function: _F) -> _F:
        found: Any = jitted(function)
        cache: Any = getattr(found, "_cache", None)
        if isinstance(cache, FunctionCache):
            cache._cache_file._source_stamp = _stamp(function.__module__)
        return found  # type: ignore[no-any-return]

    return decorate


@functools.cache
def _stamp(module: str) -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of the sources that make up the code of a module's functions.

    Numba compiles a function anew where its own file has changed. Those of what it calls count too:
    the modules from which its own, or one of these, takes anything.
    """
    found: set[str] = set()
    rest = {module}
    while rest:
        found |= rest
        rest = {home for name in rest for home in _homes(name)} - found
    return tuple((name, *_time_and_size(name)) for name in sorted(found))


@functools.cache
def _homes(module: str) -> set[str]:
    """The modules of its package in which what a module has was defined."""
    package = module.split(".")[0]
    values = list(vars(sys.modules[module]).values())
    homes: set[Any] = {getattr(value, "__module__", None) for value in values}
    return {home for home in homes & set(sys.modules) if home.split(".")[0] == package}


@functools.cache
def _time_and_size(module: str) -> tuple[int, int]:
    file = getattr(sys.modules[module], "__file__", None)
    if file is None or not os.path.exists(file):  # of a session, or an archive
        return 0, 0
    found = os.stat(file)
    return found.st_mtime_ns, found.st_size


class _Part(JITCodeLibrary):
    """The code of a helper, which its callers take in, optimise and compile as their own.

    Numba would optimise and compile that of the helper too, and again in each helper that calls it:
    a quarter of the time that kernels take to compile.
    """

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        """Leave only what Numba looks for in machine code: the variables for environments."""
        self._finalized = True
        code: Any = self._get_module_for_linking()  # type: ignore[no-untyped-call]
        names = [str(one) for one in code.global_variables if one.name.startswith(_ENVIRONMENT)]
        self._final_module = parse_assembly("\n".join(names))
        super()._finalize_final_module()  # type: ignore[no-untyped-call]


class _PartCompiler(Compiler):
    """Numba's compiler, with a part for what it writes."""

    def define_pipelines(self) -> Any:
        state: Any = self.state
        name = state.func_id.func_qualname
        state.library = _Part(state.targetctx.codegen(), name)  # type: ignore[no-untyped-call]
        state.library.enable_object_caching()
        return super().define_pipelines()  # type: ignore[no-untyped-call]


def helper(**options: Any) -> Callable[[_F], _F]:
    """Decorate what jitted functions alone call: there is no way in from Python.

    What takes Python's arguments is an eighth of all there is to compile. If Python calls a helper
    all the same, the process ends: make that function a `kernel`.
    """
    return kernel(no_cpython_wrapper=True, pipeline_class=_PartCompiler, **options)


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
