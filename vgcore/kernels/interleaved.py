"""Vector and matrix routines on draws that lie interleaved, one in each lane of a vector.

Entry i of all draws is one vector of 64 bytes, and L draws (16 in float32, 8 in float64) go through
the same steps at once: no entry is multiplied by padding, and no product waits for the one before.
An element is the sum that the routines on rows in `vgcore.kernels.vectors` take, in the same order,
so both give the same bits, and a kernel may choose between them by the number of draws.

As there, the routines see bare pointers: keeping what their docstrings ask is the caller's part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from vgcore._typing import Array
from vgcore.kernels.vectors import _BOUNDS, _Code, _int, _routine, _tree

# Sums in flight, most first: with one entry of x loaded for all of them, the more the better, as
# long as they stay in registers. On AVX2 each takes two of the sixteen.
_SUMS = {True: (8, 4, 2, 1), False: (4, 2, 1)}


def _write_product(
    code: _Code,
    X: ir.Value,
    M: ir.Value,
    shape: tuple[ir.Value, ir.Value],
    transposed: ir.Value,
    Y: ir.Value,
    start: Callable[[ir.Value], ir.Value],
    end: Callable[[ir.Value, ir.Value], ir.Value],
) -> None:
    """Write Y = M X, or M^T X, for each lane; M is (m, n) of vectors.

    start(j) is the vector that sum j begins with, end(j, sum) what is stored of it.
    """
    builder = code.builder
    m, n = shape

    def sweep(outs: ir.Value, ins: ir.Value, across: ir.Value, along: ir.Value) -> None:
        done = code.variable(_int(0))
        for count in _SUMS[code.wide]:
            with code.steps(done, outs, count) as first:
                places = [builder.add(first, _int(c)) for c in range(count)]
                sums = [code.variable(start(place)) for place in places]
                entries = [code.at(M, builder.mul(place, across)) for place in places]
                with code.rolled(_int(0), ins) as i:
                    factor = code.load(X, i)
                    for entry, total in zip(entries, sums, strict=True):
                        code.accumulate(total, factor, code.load(entry, builder.mul(i, along)))
                for place, total in zip(places, sums, strict=True):
                    code.store(end(place, builder.load(total)), Y, place)

    with builder.if_else(builder.icmp_signed("==", transposed, _int(0))) as (plain, other):
        with plain:
            sweep(m, n, n, _int(1))
        with other:
            sweep(n, m, _int(1), n)


def _write_measure(code: _Code, X: ir.Value, size: ir.Value, squares: ir.Value) -> ir.Value:
    """Write the square norm of each lane of X; return 1 where one is out of range."""
    builder = code.builder
    sums = [code.variable(code.zero) for _ in range(code.lanes)]
    for total in sums:
        builder.store(code.zero, total)
    columns = builder.udiv(code.width(size), _int(code.lanes))
    with cgutils.for_range(builder, columns) as column:
        first = code.at(X, builder.mul(column.index, _int(code.lanes)))
        for i, total in enumerate(sums):
            value = code.load(first, i)
            code.accumulate(total, value, value)
    square = _tree([builder.load(total) for total in sums], builder.fadd)
    code.store(square, code.vectors(squares))
    low, high = (code.spread(ir.Constant(code.scalar, bound)) for bound in _BOUNDS[code.align])
    above = builder.fcmp_ordered(">=", square, low)
    inside = builder.and_(above, builder.fcmp_ordered("<=", square, high))
    mask = ir.IntType(code.lanes)
    outside = builder.not_(builder.bitcast(inside, mask))
    found = builder.icmp_unsigned("!=", outside, ir.Constant(mask, 0))
    return builder.zext(found, ir.IntType(64))


def _write_push_lanes(
    code: _Code,
    X: ir.Value,
    X_size: ir.Value,
    M: ir.Value,
    m: ir.Value,
    n: ir.Value,
    _lanes: ir.Value,
    start: ir.Value,
    _start_size: ir.Value,
    Y: ir.Value,
    _Y_size: ir.Value,
    squares: ir.Value,
    _squares_size: ir.Value,
) -> None:
    """Write Y = start + M X for each lane, and the square norms of X."""
    X, M, start, Y = (code.vectors(array) for array in (X, M, start, Y))
    outside = _write_measure(code, X, X_size, squares)
    _write_product(
        *(code, X, M, (m, n), _int(0), Y),
        start=lambda place: code.load(start, place),
        end=lambda place, total: total,
    )
    code.builder.ret(outside)


def _write_pull_lanes(
    code: _Code,
    X: ir.Value,
    _X_size: ir.Value,
    M: ir.Value,
    m: ir.Value,
    n: ir.Value,
    _lanes: ir.Value,
    transposed: ir.Value,
    scale: ir.Value,
    _scale_size: ir.Value,
    Y: ir.Value,
    Y_size: ir.Value,
    squares: ir.Value,
    _squares_size: ir.Value,
) -> None:
    """Write Y = scale * M X, or scale * M^T X, for each lane, and the square norms of Y."""
    X, M, scale, Y = (code.vectors(array) for array in (X, M, scale, Y))
    _write_product(
        *(code, X, M, (m, n), transposed, Y),
        start=lambda place: code.zero,
        end=lambda place, total: code.builder.fmul(total, code.load(scale, place)),
    )
    code.builder.ret(_write_measure(code, Y, Y_size, squares))


def _write_lane_squares(
    code: _Code,
    X: ir.Value,
    size: ir.Value,
    squares: ir.Value,
    _squares_size: ir.Value,
) -> None:
    """Write the square norm of each lane of X."""
    code.builder.ret(_write_measure(code, code.vectors(X), size, squares))


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _lane_squares(X: Array, squares: Array) -> int:
        squares[:] = (X * X).reshape(-1, squares.size).sum(axis=0)
        low, high = _BOUNDS[X.itemsize]
        return int(not ((low <= squares) & (squares <= high)).all())

    def _push_lanes(X: Array, M: Array, start: Array, Y: Array, squares: Array) -> int:
        m, n, L = M.shape
        product = (M * X[: n * L].reshape(n, L)).sum(axis=1)
        Y[: m * L] = start[: m * L] + product.ravel()
        return _lane_squares(X, squares)

    def _pull_lanes(
        X: Array, M: Array, transposed: int, scale: Array, Y: Array, squares: Array
    ) -> int:
        n, _, L = M.shape
        matrix = M.swapaxes(0, 1) if transposed else M
        product = (matrix * X[: n * L].reshape(n, L)).sum(axis=1)
        Y[: n * L] = scale[: n * L] * product.ravel()
        return _lane_squares(Y, squares)

else:

    @intrinsic
    def _lane_squares(typingctx: Any, X: Any, squares: Any) -> Any:
        """Set squares (L,) to the square norm of each lane of X; return 1 where one is extreme.

        What is extreme is out of the range in which a vector may stay as it is. X is 1-D, and holds
        whole blocks of L vectors.
        """
        return _routine(_write_lane_squares, (X, squares), (1, 1), returns=types.int64)

    @intrinsic
    def _push_lanes(typingctx: Any, X: Any, M: Any, start: Any, Y: Any, squares: Any) -> Any:
        """Set Y[j] = start[j] + sum_i M[j, i] X[i] in each lane, and squares (L,) to those of X.

        X, start and Y are 1-D, whole blocks of L vectors, zero beyond the part in use; M is
        (m, n, L). Y may be `start`, not X. Returns 1 where a square is extreme.
        """
        arrays = (X, M, start, Y, squares)
        return _routine(_write_push_lanes, arrays, (1, 3, 1, 1, 1), returns=types.int64)

    @intrinsic
    def _pull_lanes(
        typingctx: Any, X: Any, M: Any, transposed: Any, scale: Any, Y: Any, squares: Any
    ) -> Any:
        """Set Y[j] = scale[j] sum_i M[j, i] X[i] in each lane, and squares (L,) to those of Y.

        With M[i, j] where `transposed` is 1. Arguments and result are as those of `_push_lanes`.
        """
        arrays = (X, M, transposed, scale, Y, squares)
        return _routine(_write_pull_lanes, arrays, (1, 3, 0, 1, 1, 1), returns=types.int64)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _pack_lane(matrix: Array, lane: int, out: Array) -> None:
    """Copy a matrix to one lane of out, (..., L)."""
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            out[i, j, lane] = matrix[i, j]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _put_lane(vector: Array, lane: int, lanes: int, out: Array) -> None:
    """Copy a vector to one lane."""
    for i in range(vector.size):
        out[i * lanes + lane] = vector[i]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _take_lane(source: Array, lane: int, lanes: int, n: int, out: Array) -> None:
    """Copy n entries of one lane to a padded vector."""
    out[:] = 0.0
    for i in range(n):
        out[i] = source[i * lanes + lane]
