"""Arithmetic on rows of padded arrays, column by column, and the products that gated cells need.

A function of columns is written once, in plain operators and `_fma`. Compiled, its operators emit
LLVM code on vectors of 64 bytes, so that nothing depends on what the compiler makes of a loop over
many arrays that may overlap; with Numba's compiler switched off the same function gets rows of
NumPy arrays. See `vectors` for what a padded array is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import config
from numba.core import cgutils
from numba.extending import intrinsic

from vgcore._typing import Array
from vgcore.kernels.vectors import (
    BYTES,
    _Code,
    _int,
    _routine,
    _tree,
    aligned_zeros,
    padded,
)

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


@contextmanager
def _sweep(code: _Code, turn: ir.Value, panels: ir.Value) -> Iterator[ir.Value]:
    """Repeat the body for every panel, in the order opposite to the last time."""
    builder = code.builder
    sign = builder.load(turn)
    builder.store(builder.fneg(sign), turn)
    back = builder.fcmp_ordered("<", sign, ir.Constant(code.scalar, 0.0))
    with cgutils.for_range(builder, panels) as step:
        last = builder.sub(builder.sub(panels, _int(1)), step.index)
        yield builder.select(back, last, step.index)


def _write_product(factors: int, sizes: tuple[int, ...]) -> Callable[..., None]:
    """Return what writes the product with a packed matrix, whose panels are `sizes` vectors wide.

    A row of a panel has `factors` parts, each multiplied by an entry of its own part of x.
    """

    def write(
        code: _Code,
        x: ir.Value,
        x_size: ir.Value,
        M: ir.Value,
        rows: ir.Value,
        panel_size: ir.Value,
        start: ir.Value,
        _start_size: ir.Value,
        y: ir.Value,
        y_size: ir.Value,
        turn: ir.Value,
        _turn_size: ir.Value,
    ) -> None:
        builder = code.builder
        M, start, y = code.vectors(M), code.vectors(start), code.vectors(y)
        width = code.width(panel_size)
        panels = builder.udiv(y_size, panel_size)
        n = builder.udiv(rows, builder.mul(panels, _int(factors)))
        stride = builder.udiv(x_size, _int(factors))
        parts_of_x = [code.at(x, builder.mul(stride, _int(f))) for f in range(factors)]
        for size in sizes:
            fits = builder.icmp_signed("==", width, _int(size))
            with builder.if_then(fits), _sweep(code, turn, panels) as panel:
                column = builder.mul(panel, _int(size))
                first = builder.mul(builder.mul(panel, n), _int(factors * size))
                # all columns at once, unless that takes more registers than AVX2 has
                at_once = size if code.wide or factors * size <= 6 else 1
                for done in range(0, size, at_once):
                    columns = range(done, done + at_once)
                    sums = [
                        [
                            code.variable(code.zero if f else code.load(start, column, c))
                            for c in columns
                        ]
                        for f in range(factors)
                    ]
                    with cgutils.for_range(builder, n) as row:
                        line = builder.add(first, builder.mul(row.index, _int(factors * size)))
                        for f, part in enumerate(parts_of_x):
                            factor = code.spread(builder.load(code.at(part, row.index)))
                            for c, total in zip(columns, sums[f], strict=True):
                                entry = code.load(M, line, f * size + c)
                                code.accumulate(total, factor, entry)
                    for i, c in enumerate(columns):
                        parts = [builder.load(totals[i]) for totals in sums]
                        code.store(_sum(parts, builder.fadd), y, column, c)
        builder.ret_void()

    write.__name__ = f"_write_product_{factors}_{'_'.join(map(str, sizes))}"
    return write


def _sum(parts: list[ir.Value], join: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """Join any number of values: a power of two of them as a tree, then the rest."""
    half = 1 << (len(parts).bit_length() - 1)
    return functools.reduce(join, parts[half:], _tree(parts[:half], join))


def _product(factors: int, sizes: tuple[int, ...]) -> Any:
    """Return the kernel of a product with a packed matrix, y = start + sum_f x[f, :n] @ M[f].

    x is (factors P,), y (columns,) may be `start` but not x. The matrices M[f] (n, columns) are
    packed in panels, which lie one after the other: element (i, c) of M[f] is in row
    (panel n + i) factors + f of the packed array, whose row length is that of a panel. Panels are
    taken in the order opposite to the last time, which changes no bit, so that the part that was
    used last is still in the first cache where the whole does not fit in; `turn` (1 or more,)
    holds the direction, 1 or -1.
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined]

        def plain(x: Array, packed: Array, start: Array, y: Array, turn: Array) -> None:
            panels = y.size // packed.shape[1]
            M = packed.reshape(panels, -1, factors, packed.shape[1])
            parts = x.reshape(factors, -1)[:, : M.shape[1]]
            y[:] = start + np.einsum("fi,pifc->pc", parts, M).ravel()

        return plain

    write = _write_product(factors, sizes)

    def typing(context: Any, x: Any, packed: Any, start: Any, y: Any, turn: Any) -> Any:
        return _routine(write, (x, packed, start, y, turn), (1, 2, 1, 1, 1), returns=None)

    return intrinsic(typing)


# Four to eight sums at a time hide the latency of a fused multiply-add.
_TO_GATES, _FROM_GATES = {4: (4,), 3: (6, 3)}, (2, 1)
_to_4_gates, _to_3_gates = _product(1, _TO_GATES[4]), _product(1, _TO_GATES[3])
_from_4_gates, _from_3_gates = _product(4, _FROM_GATES), _product(3, _FROM_GATES)


def to_gates_zeros(gates: int, n: int, dtype: npt.DTypeLike) -> Array:
    """Zeros of the shape in which W^T (N, gates P) is packed."""
    return _packed_zeros(1, _TO_GATES[gates], n, gates * padded(n, dtype), dtype)


def from_gates_zeros(gates: int, n: int, dtype: npt.DTypeLike) -> Array:
    """Zeros of the shape in which W (gates N, P) is packed."""
    return _packed_zeros(gates, _FROM_GATES, n, padded(n, dtype), dtype)


def quarters_zeros(n: int, dtype: npt.DTypeLike) -> Array:
    """Zeros of the shape in which W (P, P) is packed with a quarter of its rows for each gate."""
    P = padded(n, dtype)
    return _packed_zeros(4, _FROM_GATES, P // 4, P, dtype)


def _packed_zeros(
    factors: int, sizes: tuple[int, ...], n: int, columns: int, dtype: npt.DTypeLike
) -> Array:
    lanes = BYTES // np.dtype(dtype).itemsize
    size = lanes * next(size for size in sizes if columns % (size * lanes) == 0)
    return aligned_zeros((columns // size * n * factors, size), dtype)


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
