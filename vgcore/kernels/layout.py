"""Networks side by side: how many, where their entries lie, packed matrices, what drives them.

R networks, K trajectories of each of D draws, go through the same steps at once, so that an
activation or a product of one hides the latency of another, and trajectories share a matrix. They
lie

- in *rows*: network r has its entries from r P on, P is N padded to whole vectors;
- in *lanes*: each vector holds entries of all of them, see `kernels.interleaved`.

`place` tells where the entries of each are. What depends on it more than that is told apart by the
axes of the packed matrices, three for rows and four for lanes: they come as an argument, since
Numba then drops the branch for the other number. Both give the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vgcore._typing import Array, Integers
from vgcore.kernels.caches import cache_budget
from vgcore.kernels.columns import _row_squares
from vgcore.kernels.interleaved import (
    _lane_squares,
    _multiply_lanes,
    _pack_lanes,
    _put_lane,
    _take_lane,
    entries,
    places,
)
from vgcore.kernels.jit import helper, kernel
from vgcore.kernels.scales import _copy, _of_row
from vgcore.kernels.vectors import (
    BYTES,
    FEW,
    _multiply_rows,
    _panels,
    _turn,
    _vecmat,
    aligned_zeros,
    padded,
    panel_size,
)

# Up to so many vectors of draws lie in rows, and at most so many trajectories of a draw.
_VECTORS, _TRAJECTORIES = 16, 16

# A matrix that all lanes share is gone through in narrow panels: beyond half of the second cache
# (1 MiB where it was measured) its lines are fetched several times.
_SHARED_BYTES = 2**19

# A network with several entries in a vector needs as many vectors: their sums are in flight at
# once, where rows have those of several networks. 16 units took 1.05 to 1.6 times as long without.
_SUMS = 6

# What is kept of the steps of networks side by side may take a thread; longer ones go one by one.
KEPT_BYTES = 2**28


class Network(NamedTuple):
    """Several draws, and what drives them; n_state is N."""

    W_rec: Array  # (draws, N, N)
    W_in: Array  # (draws, N, n_inputs)
    bias: Array  # (draws, N)
    activation: int
    near_zero: Array  # (2,): the slopes near zero, and far from it, or nan
    far: Array
    inputs: Array  # (draws or 1, trajectories or 1, time or 1, n_inputs)
    initial_state: Array  # (draws or 1, trajectories or 1, N), and so is the next
    loss_gradient: Array
    burn_in: int
    as_printed: bool


class Layout(NamedTuple):
    """Scratch for R networks with U entries and padding: what every cell of one matrix needs."""

    D: int
    used: int  # U
    panel: int  # the most vectors in a row of a panel of the next two
    forward: Array  # W^T: rows (D, N, P), or lanes (1, V Q, V, L Q), (1, N, N, 1) if they share it
    backward: Array  # W, or its transpose for the Jacobian as printed
    input_weights: Array  # W_in^T
    columns: Integers  # (L or 1, P or more): where the columns of a matrix of lanes lie in a row
    place: Integers  # (R, P or more): where the entries of each network lie
    bias: Array  # (R P,), and so are the next three
    drive: Array
    start: Array  # the drive at the scale of a state
    small: Array  # 1 where the exponent is below zero
    inputs: Array  # those of all lanes
    one: Array  # (4, P): what one network has
    exponent: Integers  # (R,): of the state, or the gradient, now
    ignored: Array  # (R,)


def evenly(number: int, most: int) -> int:
    """Return of how many each to make groups of at most so many: the last repeats what is left."""
    return -(-number // -(-number // most))


class Needs(NamedTuple):
    """What a network takes in a row: numbers of matrices and of vectors."""

    matrices: int  # one above the other, of a draw
    states: int
    vectors: int  # that a step needs besides
    kept: int  # of each step


ONE_MATRIX = Needs(matrices=1, states=1, vectors=4, kept=1)


def rows_side_by_side(
    n: int, dtype: np.dtype[Any], n_trajectories: int, n_steps: int, needs: Needs = ONE_MATRIX
) -> tuple[int, int]:
    """Return how many draws, and how many trajectories of each, are carried side by side.

    As many draws as leave their matrices, one way, and what a step goes through in the first cache;
    at least one.
    """
    row = padded(n, dtype) * dtype.itemsize
    kept = n_steps * needs.kept * row
    K = evenly(n_trajectories, min(_TRAJECTORIES, max(1, KEPT_BYTES // kept)))
    draw = (needs.matrices * n + K * (needs.states + needs.vectors)) * row
    D = min(_VECTORS * BYTES // (K * row), cache_budget() // draw, KEPT_BYTES // (K * kept))
    return max(1, D), K


def lanes_side_by_side(
    n: int, dtype: np.dtype[Any], n_draws: int, n_trajectories: int, n_steps: int
) -> tuple[int, int]:
    """Return how many networks share vectors, and how many draws they are; zeros for rows.

    They are trajectories of one draw, or one of each of as many draws, whose matrices stay in the
    first cache; with what else a step goes through 25 units just fill 48 KiB, and gain by it. Lanes
    that are left over cost as much as others: a seventh of them loses what the rest gains.
    """
    lanes = BYTES // dtype.itemsize
    row = n_steps * BYTES

    def fills(number: int, L: int) -> bool:
        return 7 * number >= 6 * -(-number // L) * L

    shared = n * n * dtype.itemsize <= _SHARED_BYTES and n * row <= KEPT_BYTES
    if shared and fills(n_trajectories, lanes):
        return lanes, 1
    if padded(n, dtype) <= FEW * lanes:  # sums of wider matrices change their order
        for Q in entries(lanes):
            L, width = lanes // Q, -(-n // Q)
            fits = n * width * BYTES <= cache_budget() and width * row <= KEPT_BYTES
            if fits and fills(n_draws, L) and (Q == 1 or width >= _SUMS):
                return L, L
    return 0, 0


def new_layout(R: int, D: int, lanes: bool, n: int, n_inputs: int, dtype: np.dtype[Any]) -> Layout:
    """Scratch for R networks, trajectories of D draws, in lanes or in rows."""
    P, width = padded(n, dtype), BYTES // dtype.itemsize
    place = np.arange(R)[:, None] * P + np.arange(P)
    columns, used = place, R * P
    shape: tuple[int, ...] = (D, n, P)
    inputs: tuple[int, ...] = (D, n_inputs, P)
    if lanes:
        Q = width // R
        V, m = -(-n // Q), -(-n_inputs // Q) * Q
        last, used = width if D > 1 else 1, V * width
        shape, inputs = (1, V * Q, V, last), (1, m, V, last)
        place = places(padded(max(n, n_inputs), dtype), R, width)
        columns = place if D > 1 else np.arange(place.shape[1])[None]
    forward, backward = aligned_zeros((2, *shape), dtype)
    bias, drive, start, small = aligned_zeros((4, R * P), dtype)
    return Layout(
        D=D,
        used=used,
        panel=panel_size(n, dtype, R // D),
        forward=forward,
        backward=backward,
        input_weights=aligned_zeros(inputs, dtype),
        columns=columns,
        place=place,
        bias=bias,
        drive=drive,
        start=start,
        small=small,
        inputs=aligned_zeros(padded(n_inputs, dtype) * R, dtype),
        one=aligned_zeros((4, P), dtype),
        exponent=np.zeros(R, np.int64),
        ignored=aligned_zeros(R, dtype),
    )


@helper()
def _pack_transpose(matrix: Array, out: Array) -> None:
    """Copy the transpose of any matrix into zero-padded rows."""
    out[:] = 0.0
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            out[j, i] = matrix[i, j]


@helper()
def _pack_rows(matrix: Array, out: Array, most: int) -> None:
    """Copy a contiguous matrix into zero-padded rows, in panels of at most so many vectors."""
    n, lanes, flat = len(out), BYTES // out.itemsize, out.reshape(out.size)
    count, least, more = _panels(out, most)
    for i in range(n):
        first = 0
        for panel in range(count):
            size = least + lanes if panel < more else least
            start = first * n + i * size
            _copy(matrix[i, first : min(first + size, n)], flat[start : start + size])
            first += size


@helper()
def _pack_columns(matrix: Array, out: Array, most: int) -> None:
    """Copy the transpose of a contiguous square matrix likewise, in whole squares."""
    n, lanes, flat = len(out), BYTES // out.itemsize, out.reshape(out.size)
    count, least, more = _panels(out, most)
    begin = 0
    for panel in range(count):
        size = least + lanes if panel < more else least
        part = flat[begin * n : (begin + size) * n].reshape(n, size)
        part[:] = 0.0
        for first in range(begin, min(begin + size, n), lanes):
            if first + lanes <= n:
                _turn(matrix, first, 0, n, part, 0, 1, first - begin)
            else:
                for i in range(first, n):
                    for j in range(n):
                        part[j, i - begin] = matrix[i, j]
        begin += size


@kernel()
def _pack_draws(network: Network, draw: int, forward: Array, layout: Layout) -> None:
    """Pack the weights of layout.D draws from this one on; the last one repeats."""
    W, W_in, printed, panel = network.W_rec, network.W_in, network.as_printed, layout.panel
    if forward.ndim == 4:
        _pack_lanes(W, True, draw, layout.columns, forward[0])
        _pack_lanes(W, printed, draw, layout.columns, layout.backward[0])
        _pack_lanes(W_in, True, draw, layout.columns, layout.input_weights[0])
        return
    for d in range(layout.D):
        this = min(draw + d, len(W) - 1)
        _pack_columns(W[this], forward[d], panel)
        if printed:
            _pack_columns(W[this], layout.backward[d], panel)
        else:
            _pack_rows(W[this], layout.backward[d], panel)
        _pack_transpose(W_in[this], layout.input_weights[d])


@helper()
def _place(
    M: Array, vectors: Array, draw: int, trajectory: int, layout: Layout, target: Array
) -> None:
    """Copy the vector of each network, (draws or 1, trajectories or 1, N), to its place.

    M are packed matrices. The first network is of this draw and trajectory; the last ones repeat.
    """
    K, P = layout.exponent.size // layout.D, layout.one.shape[1]
    for r in range(layout.exponent.size):
        vector = _of_row(vectors, draw + r // K, trajectory + r % K)
        if M.ndim == 4:
            _put_lane(vector, layout.place[r], target)
        else:
            _copy(vector, target[r * P : (r + 1) * P])


@kernel()
def _place_bias(network: Network, draw: int, M: Array, layout: Layout) -> None:
    """Copy the bias of each network to its place."""
    n_draws, n = network.bias.shape
    _place(M, network.bias.reshape(n_draws, 1, n), draw, 0, layout, layout.bias)


@helper(forceinline=True)
def _multiply(
    X: Array, M: Array, panel: int, turn: int, start: Array, Y: Array, squares: Array
) -> int:
    """Set Y = start + X M for each network, squares to those of X; return 1 for an extreme one."""
    if M.ndim == 4:
        wide = X.size // squares.size * X.itemsize > FEW * BYTES
        return _multiply_lanes(X, M[0], turn if wide else 0, start, Y, squares)
    return _multiply_rows(X, M, panel, turn, start, Y, squares)


@helper(forceinline=True)
def _norms(M: Array, X: Array, squares: Array) -> int:
    """Set squares to the square norms of networks; return 1 for an extreme one."""
    if M.ndim == 4:
        return _lane_squares(X, squares)
    return _row_squares(X, X.size // squares.size, squares)


@helper(forceinline=True)
def _take(M: Array, source: Array, place: Integers, n: int, out: Array) -> None:
    """Copy the n entries of one network to a padded vector, zero beyond them."""
    if M.ndim == 4:
        _take_lane(source, place, n, out)
    else:
        line = source[place[0] : place[0] + n]
        for i in range(n):
            out[i] = line[i]


@helper(forceinline=True)
def _put(M: Array, vector: Array, place: Integers, n: int, target: Array) -> None:
    """Copy the n entries of a padded vector to their network."""
    if M.ndim == 4:
        _put_lane(vector[:n], place, target)
    else:
        line = target[place[0] : place[0] + n]
        for i in range(n):
            line[i] = vector[i]


@helper()
def _set_exponent(
    exponents: Integers, small: Array, r: int, place: Integers, n: int, exponent: int
) -> None:
    """Note the exponent of a state of n units."""
    exponents[r] = exponent
    for i in range(n):
        small[place[i]] = exponent < 0


@helper()
def _clear(n: int, layout: Layout, x: Array) -> None:
    """Zero the entries of each network beyond the units in use: s(0) need not be 0."""
    R = layout.exponent.size
    for r in range(R):
        for i in range(n, layout.used // R):
            x[layout.place[r, i]] = 0.0


@helper()
def _set_drives(
    M: Array, inputs: Array, draw: int, trajectory: int, t: int, layout: Layout
) -> None:
    """Set the drive of each network to W_in u_t + b; M are the packed W_in."""
    K, P = layout.exponent.size // layout.D, layout.one.shape[1]
    for r in range(layout.exponent.size):
        now = inputs[
            min(draw + r // K, inputs.shape[0] - 1),
            min(trajectory + r % K, inputs.shape[1] - 1),
            min(t, inputs.shape[2] - 1),
        ]
        if M.ndim == 4:
            _put_lane(now, layout.place[r], layout.inputs)
        else:
            part = slice(r * P, (r + 1) * P)
            _vecmat(now, M[r // K], layout.bias[part], layout.drive[part])
    if M.ndim == 4:
        _multiply_lanes(layout.inputs, M[0], 0, layout.bias, layout.drive, layout.ignored)
