"""Arithmetic on rows of padded arrays, column by column, and the products that gated cells need.

A function of columns is written once, in plain operators and `_fma`. Compiled, its operators emit
LLVM code on vectors of 64 bytes, so that nothing depends on what the compiler makes of a loop over
many arrays that may overlap; with Numba's compiler switched off the same function gets rows of
NumPy arrays. See `vectors` for what a padded array is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from vgcore._typing import Array
from vgcore.kernels.vectors import (
    _BOUNDS,
    BYTES,
    _Code,
    _int,
    _routine,
    _square,
    aligned_zeros,
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

        # Two routines of one name are one to the linker, whatever their modules.
        module = function.__module__.rpartition(".")[2]
        write.__name__ = f"_write_{module}{function.__name__}"

        def typing(context: Any, *kinds: Any) -> Any:
            return _routine(write, kinds, (1,) * len(kinds), returns=None)

        named = inspect.signature(function).parameters.values()
        first = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        typing.__signature__ = inspect.Signature([first, *named])  # type: ignore[attr-defined]
        typing.__name__ = function.__name__
        return intrinsic(typing)

    return compile_or_not


def _write_to_gates(gates: int) -> Callable[..., None]:
    """Return what writes the product of rows with packed matrices of so many gates."""

    def write(
        code: _Code,
        X: ir.Value,
        X_size: ir.Value,
        M: ir.Value,
        D: ir.Value,
        lines: ir.Value,
        panel_size: ir.Value,
        n: ir.Value,
        R: ir.Value,
        reverse: ir.Value,
        start: ir.Value,
        _start_size: ir.Value,
        Y: ir.Value,
        Y_size: ir.Value,
    ) -> None:
        builder = code.builder
        M, start, Y = code.vectors(M), code.vectors(start), code.vectors(Y)
        panel_width, plane = code.width(panel_size), builder.udiv(code.width(Y_size), _int(gates))
        width, stride = builder.udiv(plane, R), builder.udiv(X_size, R)
        K = builder.udiv(R, D)
        for columns in _COLUMNS:
            size = gates * columns
            with builder.if_then(builder.icmp_signed("==", panel_width, _int(size))):
                panels = builder.udiv(width, _int(columns))
                panel_rows = builder.udiv(lines, panels)
                with cgutils.for_range(builder, D) as draw, _sweep(code, reverse, panels) as panel:
                    line = builder.add(
                        builder.mul(draw.index, lines), builder.mul(panel, panel_rows)
                    )
                    matrix = code.at(M, builder.mul(line, _int(size)))
                    with cgutils.for_range(builder, K) as k:
                        row = builder.add(builder.mul(draw.index, K), k.index)
                        x = code.at(X, builder.mul(row, stride))
                        column = builder.add(
                            builder.mul(row, width), builder.mul(panel, _int(columns))
                        )
                        places = [
                            builder.add(column, builder.add(builder.mul(plane, _int(g)), _int(c)))
                            for c in range(columns)
                            for g in range(gates)
                        ]
                        # all at once, unless that takes more registers than AVX2 has
                        at_once = size if code.wide or size <= 6 else gates
                        for first in range(0, size, at_once):
                            some = range(first, first + at_once)
                            sums = [code.variable(code.zero) for _ in some]
                            for v, total in zip(some, sums, strict=True):
                                builder.store(code.load(start, places[v]), total)
                            with code.rolled(_int(0), n) as i:
                                factor = code.spread(builder.load(code.at(x, i)))
                                entry = builder.mul(i, _int(size))
                                for v, total in zip(some, sums, strict=True):
                                    code.accumulate(total, factor, code.load(matrix, entry, v))
                            for v, total in zip(some, sums, strict=True):
                                code.store(builder.load(total), Y, places[v])
        builder.ret_void()

    write.__name__ = f"_write_to_{gates}_gates"
    return write


def _write_from_gates(gates: int) -> Callable[..., None]:
    """Return what writes the product of gates with the transposes of the same matrices."""

    def write(
        code: _Code,
        Z: ir.Value,
        Z_size: ir.Value,
        M: ir.Value,
        D: ir.Value,
        lines: ir.Value,
        panel_size: ir.Value,
        R: ir.Value,
        reverse: ir.Value,
        start: ir.Value,
        _start_size: ir.Value,
        y: ir.Value,
        _y_size: ir.Value,
    ) -> None:
        builder = code.builder
        Z, M, start, y = (code.vectors(array) for array in (Z, M, start, y))
        panel_width, plane = code.width(panel_size), builder.udiv(code.width(Z_size), _int(gates))
        width = builder.udiv(plane, R)
        K = builder.udiv(R, D)
        at_once = code.lanes if code.wide else 4
        for columns in _COLUMNS:
            size = gates * columns
            with builder.if_then(builder.icmp_signed("==", panel_width, _int(size))):
                panels = builder.udiv(width, _int(columns))
                panel_rows = builder.udiv(lines, panels)
                panel_length = builder.mul(panel_rows, _int(size))
                with cgutils.for_range(builder, D) as draw, _sweep(code, reverse, width) as block:
                    matrix = code.at(M, builder.mul(draw.index, builder.mul(lines, _int(size))))
                    matrix = code.at(matrix, builder.mul(block, _int(size * code.lanes)))
                    with cgutils.for_range(builder, K) as k:
                        row = builder.add(builder.mul(draw.index, K), k.index)
                        z = code.at(Z, builder.mul(row, width))
                        sums = [code.variable(code.zero) for _ in range(code.lanes)]
                        for total in sums:
                            builder.store(code.zero, total)
                        for first in range(0, code.lanes, at_once):
                            with code.rolled(_int(0), panels) as panel:
                                part = code.at(matrix, builder.mul(panel, panel_length))
                                column = builder.mul(panel, _int(columns))
                                factors = [
                                    code.load(z, column, builder.mul(plane, _int(g)), c)
                                    for c in range(columns)
                                    for g in range(gates)
                                ]
                                for i in range(first, first + at_once):  # in the order of memory
                                    for v, factor in enumerate(factors):
                                        entry = code.load(part, i * size + v)
                                        code.accumulate(sums[i], factor, entry)
                        product = code.folds([builder.load(total) for total in sums])
                        place = builder.add(builder.mul(row, width), block)
                        code.store(builder.fadd(code.load(start, place), product), y, place)
        builder.ret_void()

    write.__name__ = f"_write_from_{gates}_gates"
    return write


@contextmanager
def _sweep(code: _Code, reverse: ir.Value, count: ir.Value) -> Iterator[ir.Value]:
    """Repeat the body for 0 <= index < count, from the last to the first where `reverse` is 1."""
    builder = code.builder
    back = builder.icmp_signed("==", reverse, _int(1))
    with cgutils.for_range(builder, count) as step:
        last = builder.sub(builder.sub(count, _int(1)), step.index)
        yield builder.select(back, last, step.index)


# Columns (in vectors) of each gate in a panel, the most that divide the width.
_COLUMNS = (2, 1)


def _to_gates(gates: int) -> Any:
    """Return the kernel of a product that gives all gates of rows: Y[:, r] = start + X[r, :n] M.

    X is (R, any length), start and Y (gates, R, P), 1-D all, and R = D K rows have D matrices:
    K rows share one. M (D, lines, size) is packed as `gate_zeros`: in panels of some columns of
    each gate; row i of a panel is line i of its lines, and holds column c of gate g at c gates + g,
    in vectors. Panels are taken in the reverse order where `reverse` is 1: what was used last is
    still in the first cache then. Y may be `start`.
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined]

        def plain(X: Array, M: Array, n: int, R: int, reverse: int, start: Array, Y: Array) -> None:
            Y[:] = start + np.concatenate(
                [
                    (X.reshape(len(M), R // len(M), X.size // R)[:, :, :n] @ gate[:, :n]).ravel()
                    for gate in _unpacked(M, gates, Y.size // (gates * R))
                ]
            )

        return plain

    write = _write_to_gates(gates)

    def typing(
        context: Any, X: Any, M: Any, n: Any, R: Any, reverse: Any, start: Any, Y: Any
    ) -> Any:
        return _routine(write, (X, M, n, R, reverse, start, Y), (1, 3, 0, 0, 0, 1, 1), returns=None)

    return intrinsic(typing)


def _from_gates(gates: int) -> Any:
    """Return the kernel of the transposed product, y[r] = start[r] + sum_g M[g] Z[g, r].

    Z is (gates, R, P), start and y (R, P), 1-D all; M is that of `_to_gates`, its panels P lines
    long. y may be `start`.
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined]

        def plain(Z: Array, M: Array, R: int, reverse: int, start: Array, y: Array) -> None:
            parts = Z.reshape(gates, len(M), R // len(M), -1)
            matrices = _unpacked(M, gates, parts.shape[-1]).swapaxes(-1, -2)
            y[:] = start + (parts @ matrices).sum(axis=0).ravel()

        return plain

    write = _write_from_gates(gates)

    def typing(context: Any, Z: Any, M: Any, R: Any, reverse: Any, start: Any, y: Any) -> Any:
        return _routine(write, (Z, M, R, reverse, start, y), (1, 3, 0, 0, 1, 1), returns=None)

    return intrinsic(typing)


def _unpacked(M: Array, gates: int, P: int) -> Array:
    """The packed matrices as (gates, D, lines of a panel, P)."""
    lanes = BYTES // M.itemsize
    columns = M.shape[2] // (gates * lanes)
    panels = P // (columns * lanes)
    lines = M.shape[1] // panels
    parts = M.reshape(len(M), panels, lines, columns, gates, lanes)
    return parts.transpose(4, 0, 2, 1, 3, 5).reshape(gates, len(M), lines, P)


_to_4_gates, _to_3_gates = _to_gates(4), _to_gates(3)
_from_4_gates, _from_3_gates = _from_gates(4), _from_gates(3)


def gate_zeros(D: int, gates: int, lines: int, P: int, dtype: npt.DTypeLike) -> Array:
    """Zeros of the shape in which D matrices W^T (lines, gates P) are packed."""
    lanes = BYTES // np.dtype(dtype).itemsize
    columns = next(columns for columns in _COLUMNS if P % (columns * lanes) == 0)
    panels = P // (columns * lanes)
    return aligned_zeros((D, panels * lines, gates * columns * lanes), dtype)


def _write_row_squares(
    code: _Code,
    x: ir.Value,
    size: ir.Value,
    P: ir.Value,
    squares: ir.Value,
    R: ir.Value,
) -> None:
    """Write the square norms of rows that have parts, and whether one is out of range."""
    builder = code.builder
    x, width = code.vectors(x), code.width(P)
    plane = builder.mul(R, width)
    outside = code.variable(_int(0))
    low, high = (ir.Constant(code.scalar, bound) for bound in _BOUNDS[code.align])

    def measured(row: ir.Value, square: ir.Value) -> None:
        builder.store(square, code.at(squares, row))
        above = builder.fcmp_ordered(">=", square, low)
        inside = builder.and_(above, builder.fcmp_ordered("<=", square, high))
        out = builder.zext(builder.not_(inside), ir.IntType(64))
        builder.store(builder.or_(builder.load(outside), out), outside)

    with builder.if_then(builder.icmp_signed("==", R, _int(1))):  # its parts are in one piece
        measured(_int(0), _square(code, x, code.width(size)))
        builder.ret(builder.load(outside))
    parts = builder.udiv(code.width(size), plane)
    total = code.variable(code.zero)
    with code.rolled(_int(0), R) as row:
        builder.store(code.zero, total)
        with code.rolled(_int(0), parts) as part:
            first = builder.add(builder.mul(part, plane), builder.mul(row, width))
            with code.rolled(_int(0), width) as column:
                value = code.load(x, first, column)
                code.accumulate(total, value, value)
        measured(row, code.fold(builder.load(total), builder.fadd))
    builder.ret(builder.load(outside))


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _row_squares(x: Array, P: int, squares: Array) -> int:
        parts = x.reshape(-1, squares.size, P)
        squares[:] = (parts * parts).sum(axis=(0, 2))
        low, high = _BOUNDS[x.itemsize]
        return int(not ((low <= squares) & (squares <= high)).all())

else:

    @intrinsic
    def _row_squares(typingctx: Any, x: Any, P: Any, squares: Any) -> Any:
        """Set squares[r] to the square norm of row r of x (parts, R, P), 1-D; 1 if one is extreme.

        What is extreme is out of the range in which a vector may stay as it is.
        """
        return _routine(_write_row_squares, (x, P, squares), (1, 0, 1), returns=types.int64)


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

    def products(row: ir.Value, block: int) -> list[ir.Value]:
        """The sums of vectors of so many rows, as many at once as stay in registers."""
        found = []
        at_once = min(block, 16 if code.wide else 4)
        for some in range(0, block, at_once):
            lines = [builder.add(row, _int(r)) for r in range(some, some + at_once)]
            sums = [code.variable(code.zero) for _ in lines]
            for total in sums:
                builder.store(code.zero, total)
            with code.rolled(_int(0), width) as column:
                factor = code.load(x, column)
                for line, total in zip(lines, sums, strict=True):
                    code.accumulate(total, factor, code.load(M, builder.mul(line, width), column))
            found += [builder.load(total) for total in sums]
        return found

    with code.steps(done, rows, code.lanes) as row:
        first = code.load(code.vectors(code.at(start, row)))
        product = code.folds(products(row, code.lanes))
        code.store(builder.fadd(first, product), code.vectors(code.at(y, row)))
    with code.steps(done, rows, 1) as row:
        product = code.fold(products(row, 1)[0], builder.fadd)
        first = builder.load(code.at(start, row))
        builder.store(builder.fadd(first, product), code.at(y, row))
    builder.ret_void()


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _matvec(M: Array, x: Array, start: Array, y: Array) -> None:
        y[: len(M)] = start[: len(M)] + M @ x

else:

    @intrinsic
    def _matvec(typingctx: Any, M: Any, x: Any, start: Any, y: Any) -> Any:
        """Set y[:n] = start[:n] + M @ x for padded M (n, P), x (P,); y may be `start`, not x."""
        return _routine(_write_matvec, (M, x, start, y), (2, 1, 1, 1), returns=None)
