"""Vector and matrix routines on networks that lie interleaved, several in each vector.

A vector of 64 bytes holds L lanes of Q entries, a lane for each network: entry i of network l is
number l Q + i % Q of vector i // Q. So all go through the same steps at once, and no product waits
for the one before. Either each has a matrix of its own, or all share one:

- Q = 1, a matrix each: no entry is multiplied by padding;
- Q = 4, a matrix each: fewer have to fit into the first cache, and a factor is spread within a
  register, where a row of its own would load it;
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
# long as they stay in registers. On AVX2 each takes two of the sixteen.
_SUMS = {True: (8, 4, 2, 1), False: (4, 2, 1)}

# Logarithms are taken of so many lags of all networks at a time, which stay in the first cache.
CHUNK = 32

# How many entries of a network with a matrix of its own a vector may hold.
ENTRIES = (1, 4)


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
    for Q in ENTRIES:
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


def places(n: int, L: int, lanes: int) -> Integers:
    """Where the n entries of each of L networks lie, (L, n), in vectors with so many lanes."""
    Q, i = lanes // L, np.arange(n)
    return np.arange(L)[:, None] * Q + i // Q * lanes + i % Q


@helper()
def _pack_lane(matrix: Array, transpose: bool, place: Integers, out: Array) -> None:
    """Put a matrix, or its transpose, to the lane of its network in out, (m, n, L Q)."""
    size = out.shape[1] * out.shape[2]
    flat = out.reshape(out.shape[0] * size)
    rows, columns = matrix.shape
    if transpose:
        for i in range(rows):
            for j in range(columns):
                flat[j * size + place[i]] = matrix[i, j]
    else:
        for i in range(rows):
            line = flat[i * size : (i + 1) * size]
            for j in range(columns):
                line[place[j]] = matrix[i, j]


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
            _pack_lane(W[min(draw + d, n_draws - 1)], transpose, columns[d], out)


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
