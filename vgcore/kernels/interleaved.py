"""Vector and matrix routines on networks that lie interleaved, several in each vector.

A vector of 64 bytes holds L lanes of Q entries, a lane for each network: entry i of network l is
number l Q + i % Q of vector i // Q. So all go through the same steps at once, and no product waits
for the one before. Either each has a matrix of its own, or all share one:

- Q = 1, a matrix each: no entry is multiplied by padding;
- Q = 2, 4 or 8, a matrix each: fewer have to fit into the first cache, and a factor is spread
  within a register, where a row of its own would load it;
- Q = 1 and one matrix: an element is spread as it is loaded, once for all networks.

An element is the sum that the routines on rows in `vgcore.kernels.vectors` take, in the same order,
so both give the same bits, and a kernel may choose between them by the number of networks.

As there, the routines see bare pointers: keeping what their docstrings ask is the caller's part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from vgcore._typing import Array, Integers
from vgcore.kernels.jit import helper
from vgcore.kernels.vectors import _BOUNDS, BYTES, _Code, _int, _routine, _tree, _turn

# Sums in flight, most first: with one entry of x loaded for all of them, the more the better, as
# long as they stay in registers. On AVX2 each takes two of the sixteen. One to three wait for one
# another, so that what is left over goes in one turn.
_SUMS = {True: (8, 7, 6, 5, 4, 3, 2, 1), False: (4, 3, 2, 1)}

# Logarithms are taken of so many lags of all networks at a time, which stay in the first cache.
CHUNK = 32


def entries(lanes: int) -> list[int]:
    """How many entries of a network with a matrix of its own a vector of so many may hold."""
    return [Q for Q in (1, 2, 4, 8) if lanes >= 2 * Q]


def _write_product(
    code: _Code,
    X: ir.Value,
    M: ir.Value,
    shape: tuple[ir.Value, ir.Value],
    reverse: ir.Value,
    Y: ir.Value,
    Q: int,
    shared: bool,
    start: ir.Value,
) -> None:
    """Write Y = start + X M for each network; M is (m, n) of vectors, or of numbers for all."""
    builder = code.builder
    m, n = shape
    M = M if shared else code.vectors(M)
    inputs = builder.udiv(m, _int(Q))
    back = builder.mul(reverse, builder.sub(inputs, _int(1)))
    step = builder.sub(_int(1), builder.mul(_int(2), reverse))
    done = code.variable(_int(0))
    for count in _SUMS[code.wide]:
        with code.steps(done, n, count) as first:
            places = [builder.add(first, _int(c)) for c in range(count)]
            sums = [code.variable(code.load(start, place)) for place in places]
            with code.rolled(_int(0), inputs) as turn:
                i = builder.add(back, builder.mul(turn, step))
                factors = code.load(X, i)
                for q in range(Q):
                    mask = [lane - lane % Q + q for lane in range(code.lanes)]
                    factor = code.shuffle(factors, mask)
                    line = builder.add(builder.mul(i, _int(Q)), _int(q))
                    entries = code.at(M, builder.mul(line, n), first)
                    for c, total in enumerate(sums):
                        if shared:
                            element = code.spread(builder.load(code.at(entries, c)))
                        else:
                            element = code.load(entries, c)
                        code.accumulate(total, factor, element)
            for place, total in zip(places, sums, strict=True):
                code.store(builder.load(total), Y, place)


def _write_measure(code: _Code, X: ir.Value, size: ir.Value, Q: int, squares: ir.Value) -> ir.Value:
    """Write the square norm of X for each network; return 1 where one is out of range."""
    builder, L = code.builder, code.lanes // Q
    sums = [code.variable(code.zero) for _ in range(L)]
    for total in sums:
        builder.store(code.zero, total)
    columns = builder.udiv(code.width(size), _int(L))
    with cgutils.for_range(builder, columns) as column:
        first = code.at(X, builder.mul(column.index, _int(L)))
        for i, total in enumerate(sums):
            value = code.load(first, i)
            code.accumulate(total, value, value)
    square = _tree([builder.load(total) for total in sums], builder.fadd)
    half = Q // 2
    while half > 0:
        other = code.shuffle(square, [lane ^ half for lane in range(code.lanes)])
        square, half = builder.fadd(square, other), half // 2
    few = code.shuffle(square, [Q * draw for draw in range(L)])
    builder.store(few, builder.bitcast(squares, few.type.as_pointer()), align=code.align)
    low, high = (code.spread(ir.Constant(code.scalar, bound)) for bound in _BOUNDS[code.align])
    above = builder.fcmp_ordered(">=", square, low)
    inside = builder.and_(above, builder.fcmp_ordered("<=", square, high))
    mask = ir.IntType(code.lanes)
    outside = builder.not_(builder.bitcast(inside, mask))
    found = builder.icmp_unsigned("!=", outside, ir.Constant(mask, 0))
    return builder.zext(found, ir.IntType(64))


def _write_for_each(code: _Code, L: ir.Value, write: Callable[[int], ir.Value]) -> None:
    """Write the code for each number of networks in a vector, and return what that returns."""
    for Q in entries(code.lanes):
        with code.builder.if_then(code.builder.icmp_unsigned("==", L, _int(code.lanes // Q))):
            code.builder.ret(write(Q))
    code.builder.unreachable()


def _write_each_product(
    code: _Code, L: ir.Value, lanes: ir.Value, write: Callable[[int, bool], ir.Value]
) -> None:
    """Write the code for each form of a matrix, of so many lanes."""
    with code.builder.if_then(code.builder.icmp_unsigned("==", lanes, _int(1))):
        code.builder.ret(write(1, True))
    _write_for_each(code, L, lambda Q: write(Q, False))


def _write_multiply_lanes(
    code: _Code,
    X: ir.Value,
    X_size: ir.Value,
    M: ir.Value,
    m: ir.Value,
    n: ir.Value,
    lanes: ir.Value,
    reverse: ir.Value,
    start: ir.Value,
    _start_size: ir.Value,
    Y: ir.Value,
    _Y_size: ir.Value,
    squares: ir.Value,
    L: ir.Value,
) -> None:
    """Write Y = start + X M for each network, and the square norms of X."""
    X, start, Y = (code.vectors(array) for array in (X, start, Y))

    def write(Q: int, shared: bool) -> ir.Value:
        outside = _write_measure(code, X, X_size, Q, squares)
        _write_product(code, X, M, (m, n), reverse, Y, Q, shared, start)
        return outside

    _write_each_product(code, L, lanes, write)


def _write_lane_squares(
    code: _Code, X: ir.Value, size: ir.Value, squares: ir.Value, L: ir.Value
) -> None:
    """Write the square norm of X for each network."""
    X = code.vectors(X)
    _write_for_each(code, L, lambda Q: _write_measure(code, X, size, Q, squares))


def _write_put_blocks(
    code: _Code,
    W: ir.Value,
    rows: ir.Value,
    m: ir.Value,
    transpose: ir.Value,
    lane: ir.Value,
    L: ir.Value,
    out: ir.Value,
    _out_rows: ir.Value,
    V: ir.Value,
    _lanes: ir.Value,
) -> None:
    """Write the whole blocks of W, or of its transpose, to the lane of a network."""
    builder = code.builder

    def write(Q: int) -> ir.Value:
        chunk = ir.VectorType(code.scalar, Q).as_pointer()
        line = builder.mul(V, _int(code.lanes))
        out_lane = code.at(out, builder.mul(lane, _int(Q)))

        def put(entries: ir.Value, i: ir.Value, group: ir.Value) -> None:
            place = code.at(out_lane, builder.mul(i, line), builder.mul(group, _int(code.lanes)))
            builder.store(entries, builder.bitcast(place, chunk), align=code.align)

        def put_turned(group: ir.Value) -> None:
            """Turn Q rows, as many columns as a vector has lanes at a time, in squares."""
            first = builder.mul(group, _int(Q))
            lines = [code.at(W, builder.mul(builder.add(first, _int(q)), m)) for q in range(Q)]
            with code.rolled(_int(0), builder.udiv(m, _int(code.lanes))) as block:
                column = builder.mul(block, _int(code.lanes))
                square = [code.load(code.vectors(code.at(line, column))) for line in lines]
                code.turn(square)
                for c in range(code.lanes):
                    some = code.shuffle(square[c % Q], range(c - c % Q, c - c % Q + Q))
                    put(some, builder.add(column, _int(c)), group)

        def put_row(i: ir.Value) -> None:
            row = code.at(W, builder.mul(i, m))
            with code.rolled(_int(0), builder.udiv(m, _int(Q))) as group:
                source = builder.bitcast(code.at(row, builder.mul(group, _int(Q))), chunk)
                put(builder.load(source, align=code.align), i, group)

        with builder.if_else(builder.icmp_signed("!=", transpose, _int(0))) as (yes, no):
            with yes, code.rolled(_int(0), builder.udiv(rows, _int(Q))) as group:
                put_turned(group)
            with no, code.rolled(_int(0), rows) as i:
                put_row(i)
        return _int(0)

    _write_for_each(code, L, write)


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _entries(X: Array, L: int) -> Array:
        """The entries of L networks (entries, L) of interleaved vectors."""
        Q = BYTES // X.itemsize // L
        return X.reshape(-1, L, Q).swapaxes(1, 2).reshape(-1, L)

    def _lane_squares(X: Array, squares: Array) -> int:
        squares[:] = (_entries(X, squares.size) ** 2).sum(axis=0)
        low, high = _BOUNDS[X.itemsize]
        return int(not ((low <= squares) & (squares <= high)).all())

    def _product(M: Array, X: Array, L: int) -> Array:
        Q = BYTES // X.itemsize // L
        product: Array = (M * _entries(X, L)[: len(M)].repeat(Q, axis=1)[:, None]).sum(axis=0)
        return product.ravel()

    def _multiply_lanes(
        X: Array, M: Array, reverse: int, start: Array, Y: Array, squares: Array
    ) -> int:
        product = _product(M, X, squares.size)
        Y[: product.size] = start[: product.size] + product
        return _lane_squares(X, squares)

    def _put_blocks(W: Array, transpose: int, lane: int, L: int, out: Array) -> int:
        lanes = BYTES // out.itemsize
        (rows, m), Q = W.shape, lanes // L
        if transpose:
            W, rows, m = W[: rows // Q * Q].T, m // lanes * lanes, rows
        for group in range(m // Q):
            some = W[:rows, group * Q : (group + 1) * Q]
            out[:rows, group, lane * Q : (lane + 1) * Q] = some
        return 0

else:

    @intrinsic
    def _lane_squares(typingctx: Any, X: Any, squares: Any) -> Any:
        """Set squares (L,) to the square norms of networks; return 1 where one is extreme.

        What is extreme is out of the range in which a vector may stay as it is. X is 1-D, and holds
        whole vectors of each network.
        """
        return _routine(_write_lane_squares, (X, squares), (1, 1), returns=types.int64)

    @intrinsic
    def _multiply_lanes(
        typingctx: Any, X: Any, M: Any, reverse: Any, start: Any, Y: Any, squares: Any
    ) -> Any:
        """Set Y = start + X M for each network, and squares (L,) to the square norms of X.

        X, start and Y are 1-D, whole vectors of each network, zero beyond the part in use; M is
        (entries of X, vectors of Y, L Q), packed by `_pack_lanes`, or (entries of X, entries of Y,
        1) for networks that share it. Y may be `start`, not X. Where `reverse` is 1 the rows of M
        are taken from the last to the first, if Q is 1. Returns 1 where a square is extreme.
        """
        arrays = (X, M, reverse, start, Y, squares)
        return _routine(_write_multiply_lanes, arrays, (1, 3, 0, 1, 1, 1), returns=types.int64)

    @intrinsic
    def _put_blocks(typingctx: Any, W: Any, transpose: Any, lane: Any, L: Any, out: Any) -> Any:
        """Put W (rows, m), or its transpose, to a lane of L in out (entries, vectors, L Q).

        Whole blocks only: Q columns, or for the transpose Q rows and as many columns as a vector
        has lanes.
        """
        arrays = (W, transpose, lane, L, out)
        return _routine(_write_put_blocks, arrays, (2, 0, 0, 0, 3), returns=types.int64)


def places(n: int, L: int, lanes: int) -> Integers:
    """Where the n entries of each of L networks lie, (L, n), in vectors with so many lanes."""
    Q, i = lanes // L, np.arange(n)
    return np.arange(L)[:, None] * Q + i // Q * lanes + i % Q


@helper()
def _pack_lane(
    matrix: Array, transpose: bool, lane: int, L: int, place: Integers, out: Array
) -> None:
    """Put a matrix, or its transpose, to the lane of its network in out, (entries, vectors, L Q).

    What is not in a whole block goes by itself, which takes four times as long.
    """
    size, lanes = out.shape[1] * out.shape[2], out.shape[2]
    flat, Q = out.reshape(out.shape[0] * size), lanes // L
    rows, columns = matrix.shape
    _put_blocks(matrix, int(transpose), lane, L, out)
    if transpose:
        whole = columns // lanes * lanes
        for i in range(rows):
            for j in range(whole if i < rows // Q * Q else 0, columns):
                flat[j * size + place[i]] = matrix[i, j]
    else:
        for i in range(rows):
            for j in range(columns // Q * Q, columns):
                flat[i * size + place[j]] = matrix[i, j]


@helper()
def _pack_lanes(W: Array, transpose: bool, draw: int, columns: Integers, out: Array) -> None:
    """Put the matrices W (draws, rows, columns) from this draw on, or their transposes, to lanes.

    Those beyond the last draw repeat it. Where a draw has one lane, squares of them are turned in
    registers: a quarter of the time.
    """
    n_draws, rows, m = W.shape
    D, lanes = len(columns), out.shape[2]
    if lanes == 1:
        _pack_shared(W[draw], transpose, out)
    elif lanes == D and draw + D <= n_draws:
        flat, lines = W.reshape(n_draws, rows * m), out.reshape(out.shape[0] * out.shape[1], lanes)
        if transpose:
            for i in range(rows):
                _turn(flat, draw, i * m, m, lines, i, out.shape[1], 0)
        else:
            _turn(flat, draw, 0, rows * m, lines, 0, 1, 0)
    else:
        for d in range(D):
            _pack_lane(W[min(draw + d, n_draws - 1)], transpose, d, D, columns[d], out)


@helper()
def _pack_shared(matrix: Array, transpose: bool, out: Array) -> None:
    """Copy a matrix, or its transpose in whole squares, to one that all networks share."""
    rows, m = matrix.shape
    lanes, lines = BYTES // out.itemsize, out.reshape(out.shape[0], out.shape[1])
    whole = rows // lanes * lanes if transpose else 0
    for first in range(0, whole, lanes):
        _turn(matrix, first, 0, m, lines, 0, 1, first)
    for i in range(whole, rows):
        for j in range(m):
            if transpose:
                lines[j, i] = matrix[i, j]
            else:
                lines[i, j] = matrix[i, j]


@helper()
def _spread(
    logs: Array, begin: int, count: int, first: int, row: int, step: int, out: Array
) -> None:
    """Set out[row + step i, first + lag] = logs[lag, begin + i] for i < count, all float64."""
    whole = len(logs) // 8 * 8
    for lag in range(0, whole, 8):
        _turn(logs, lag, begin, count, out, row, step, first + lag)
    for i in range(count):
        for lag in range(whole, len(logs)):
            out[row + step * i, first + lag] = logs[lag, begin + i]


@helper()
def _spread_all(
    logs: Array, D: int, K: int, first: int, draw: int, trajectory: int, out: Array
) -> None:
    """Set out (draws, trajectories, lags), from these on, to logs (some lags, D K), all float64.

    What lies beyond the last draw or trajectory is left out.
    """
    n_draws, n_trajectories, n_lags = out.shape
    lines = out.reshape(n_draws * n_trajectories, n_lags)
    some, k = min(D, n_draws - draw), min(K, n_trajectories - trajectory)
    row = draw * n_trajectories + trajectory
    if K == 1:
        _spread(logs, 0, some, first, row, n_trajectories, lines)
        return
    for d in range(some):
        _spread(logs, d * K, k, first, row + d * n_trajectories, 1, lines)


@helper()
def _put_lane(vector: Array, place: Integers, out: Array) -> None:
    """Copy a vector to the lane of its network."""
    for i in range(vector.size):
        out[place[i]] = vector[i]


@helper()
def _take_lane(source: Array, place: Integers, n: int, out: Array) -> None:
    """Copy n entries of the lane of a network to a padded vector."""
    out[:] = 0.0
    for i in range(n):
        out[i] = source[place[i]]
