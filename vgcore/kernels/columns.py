"""Arithmetic on rows of padded arrays, column by column, and the products that gated cells need.

A function of columns is written once, in plain operators and `_fma`. Compiled, its operators emit
LLVM code on vectors of 64 bytes, so that nothing depends on what the compiler makes of a loop over
many arrays that may overlap; with Numba's compiler switched off the same function gets rows of
NumPy arrays. See `vectors` for what a padded array is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config
from numba.core import cgutils
from numba.extending import intrinsic

from vgcore._typing import Array
from vgcore.kernels.vectors import _Code, _int, _routine, _tree

_Columns = list[Any]


class _Lanes:
    """A vector of columns under construction."""

    def __init__(self, code: _Code, value: ir.Value) -> None:
        self.code, self.value = code, value

    def _of(self, operation: str, other: _Lanes) -> _Lanes:
        return _Lanes(self.code, getattr(self.code.builder, operation)(self.value, other.value))

    def __add__(self, other: _Lanes) -> _Lanes:
        return self._of("fadd", other)

    def __mul__(self, other: _Lanes) -> _Lanes:
        return self._of("fmul", other)

    def __sub__(self, other: _Lanes) -> _Lanes:
        return self._of("fsub", other)

    def __rsub__(self, other: float) -> _Lanes:
        number = self.code.spread(ir.Constant(self.code.scalar, float(other)))
        return _Lanes(self.code, number) - self


def _fma(x: Any, y: Any, z: Any) -> Any:
    """Return x y + z, rounded once where it is compiled."""
    if isinstance(x, _Lanes):
        return _Lanes(x.code, x.code.call("fma", x.value, y.value, z.value))
    return x * y + z


def _columnwise(*rows: int) -> Callable[[Callable[..., None]], Any]:
    """Make a kernel of a function that gets, of each array, a list of rows, and changes the lists.

    Each array is 1-D, contiguous and padded, and holds the stated number of rows of equal length,
    one after the other. A row whose entry in the list is replaced is written.
    """

    def compile_or_not(function: Callable[..., None]) -> Any:
        def plain(*arrays: Array) -> None:
            lists = [list(a.reshape(k, -1)) for a, k in zip(arrays, rows, strict=True)]
            function(*lists)
            for array, found in zip(arrays, lists, strict=True):
                array.reshape(len(found), -1)[:] = found

        if config.DISABLE_JIT:  # type: ignore[attr-defined]
            return plain

        def write(code: _Code, *arguments: ir.Value) -> None:
            builder = code.builder
            pointers = [code.vectors(pointer) for pointer in arguments[::2]]
            width = builder.udiv(code.width(arguments[1]), _int(rows[0]))
            with cgutils.for_range(builder, width) as column:
                places = [
                    [code.at(p, builder.mul(width, _int(r)), column.index) for r in range(k)]
                    for p, k in zip(pointers, rows, strict=True)
                ]
                before = [[_Lanes(code, code.load(place)) for place in row] for row in places]
                after = [list(row) for row in before]
                function(*after)
                for row, old, new in zip(places, before, after, strict=True):
                    for place, was, value in zip(row, old, new, strict=True):
                        if value is not was:
                            code.store(value.value, place)
            builder.ret_void()

        write.__name__ = f"_write{function.__name__}"

        def typing(context: Any, *kinds: Any) -> Any:
            return _routine(write, kinds, (1,) * len(kinds), returns=None)

        named = inspect.signature(function).parameters.values()
        first = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        typing.__signature__ = inspect.Signature([first, *named])  # type: ignore[attr-defined]
        typing.__name__ = function.__name__
        return intrinsic(typing)

    return compile_or_not


def _write_products(gates: int) -> Callable[..., None]:
    """Return what writes y = start + sum_g x[g, :n] @ M[g], each term a chain of its own."""

    def write(
        code: _Code,
        x: ir.Value,
        x_size: ir.Value,
        M: ir.Value,
        rows: ir.Value,
        P: ir.Value,
        start: ir.Value,
        _start_size: ir.Value,
        y: ir.Value,
        _y_size: ir.Value,
    ) -> None:
        builder = code.builder
        M, start, y = code.vectors(M), code.vectors(start), code.vectors(y)
        width, done = code.width(P), code.variable(_int(0))
        n, stride = (builder.udiv(size, _int(gates)) for size in (rows, x_size))
        firsts = [
            (code.at(x, builder.mul(stride, _int(g))), builder.mul(n, _int(g)))
            for g in range(gates)
        ]
        for columns in (2, 1) if code.wide else (1,):
            with code.steps(done, width, columns) as column:
                sums = [
                    [
                        code.variable(code.zero if g else code.load(start, column, c))
                        for c in range(columns)
                    ]
                    for g in range(gates)
                ]
                with cgutils.for_range(builder, n) as row:
                    for (factors, first), totals in zip(firsts, sums, strict=True):
                        factor = code.spread(builder.load(code.at(factors, row.index)))
                        line = builder.mul(builder.add(first, row.index), width)
                        for c, total in enumerate(totals):
                            code.accumulate(total, factor, code.load(M, line, column, c))
                for c in range(columns):
                    parts = [builder.load(totals[c]) for totals in sums]
                    code.store(_sum(parts, builder.fadd), y, column, c)
        builder.ret_void()

    write.__name__ = f"_write_products_{gates}"
    return write


def _sum(parts: list[ir.Value], join: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """Join any number of values: halves of a power of two as a tree, then the rest."""
    half = 1 << (len(parts).bit_length() - 1)
    total = _tree(parts[:half], join)
    return functools.reduce(join, parts[half:], total)


def _products(gates: int) -> Any:
    """Return the kernel y = start + sum_g x[g, :n] @ M[g] for x (gates P), M (gates n, P)."""

    def plain(x: Array, M: Array, start: Array, y: Array) -> None:
        n = len(M) // gates
        y[:] = start + x.reshape(gates, -1)[:, :n].ravel() @ M

    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return plain
    write = _write_products(gates)

    def typing(context: Any, x: Any, M: Any, start: Any, y: Any) -> Any:
        return _routine(write, (x, M, start, y), (1, 2, 1, 1), returns=None)

    return intrinsic(typing)


_products_of_3, _products_of_4 = _products(3), _products(4)


def _write_matvec(
    code: _Code,
    M: ir.Value,
    rows: ir.Value,
    P: ir.Value,
    x: ir.Value,
    _x_size: ir.Value,
    start: ir.Value,
    _start_size: ir.Value,
    y: ir.Value,
    _y_size: ir.Value,
) -> None:
    """Write y[:n] = start[:n] + M @ x, each entry one sum of vectors and a fold."""
    builder = code.builder
    M, x, width = code.vectors(M), code.vectors(x), code.width(P)
    done = code.variable(_int(0))
    for block in (8, 1):
        with code.steps(done, rows, block) as row:
            lines = [builder.add(row, _int(r)) for r in range(block)]
            sums = [code.variable(code.zero) for _ in lines]
            with cgutils.for_range(builder, width) as column:
                factor = code.load(x, column.index)
                for line, total in zip(lines, sums, strict=True):
                    entry = code.load(M, builder.mul(line, width), column.index)
                    code.accumulate(total, factor, entry)
            for line, total in zip(lines, sums, strict=True):
                product = code.fold(builder.load(total), builder.fadd)
                first = builder.load(code.at(start, line))
                builder.store(builder.fadd(first, product), code.at(y, line))
    builder.ret_void()


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _matvec(M: Array, x: Array, start: Array, y: Array) -> None:
        y[: len(M)] = start[: len(M)] + M @ x

else:

    @intrinsic
    def _matvec(typingctx: Any, M: Any, x: Any, start: Any, y: Any) -> Any:
        """Set y[:n] = start[:n] + M @ x for padded M (n, P), x (P,); y may be `start`, not x."""
        return _routine(_write_matvec, (M, x, start, y), (2, 1, 1, 1), returns=None)
