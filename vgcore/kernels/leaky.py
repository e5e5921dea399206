"""Gradient profile of leaky units, h_t = (1 - a) h_{t-1} + a s(W h_{t-1} + W_in u_t + b).

Networks lie side by side in rows, as in `kernels.rnn`, or share vectors, as in `kernels.rnn_lanes`:
`place` tells where the entries of each are, and what depends on it more than that is told apart by
the axes of the packed matrices, three for rows and four for lanes. Powers of two are as there: a
state with an unbounded activation may explode. What is kept of the steps is as in `kernels.lstm`,
with one gate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.columns import _row_squares
from vgcore.kernels.elementary import _fma
from vgcore.kernels.gates import CHUNK, _all_logs, _squares
from vgcore.kernels.interleaved import (
    _lane_squares,
    _multiply_lanes,
    _pack_lanes,
    _place,
    _put_lane,
    _take_lane,
    places,
)
from vgcore.kernels.jit import helper, kernel
from vgcore.kernels.rnn import (
    Network,
    _activate_at,
    _has_left,
    _meet_drive,
    _pack_columns,
    _pack_rows,
    _pack_transpose,
    _rescale_state,
    _scaled_squares,
)
from vgcore.kernels.vectors import (
    BYTES,
    FEW,
    _in_range,
    _multiply_rows,
    _vecmat,
    aligned_zeros,
    padded,
    panel_size,
)


class Leaky(NamedTuple):
    """Scratch for R networks, K trajectories of each of D draws, with U entries and padding."""

    D: int
    used: int  # U

    panel: int  # as in `Rows`, of the next two
    forward: Array  # W^T: rows (D, N, P), or lanes (1, ...) as in `Lanes`
    backward: Array  # W
    input_weights: Array  # W_in^T
    columns: Integers  # of the matrices of lanes, as in `Lanes`
    place: Integers  # (R, P or more): where the entries of each network lie
    bias: Array  # (R P,), and so are the next six
    state: Array  # h, and the gradient of it
    x: Array  # what s is taken of, and the gradient of it
    value: Array
    slope: Array
    drive: Array
    start: Array
    inputs: Array  # those of all lanes
    one: Array  # (4, P): what one network has
    exponent: Integers  # (R,): of the state now
    ignored: Array  # (R,)
    keep: Array  # (T + 1, U or more): a s', of the step to burn_in + j at j
    squares: Array  # (3, T + 1, R), over 4**exponents: norms of gradients, those at s, and h
    exponents: Integers  # (3, T + 1, R)
    logs: Array  # (3, CHUNK, R)


def new_leaky(
    R: int, D: int, lanes: bool, n: int, n_inputs: int, n_steps: int, dtype: np.dtype[Any]
) -> Leaky:
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
    bias, state, x, value, slope, drive, start = aligned_zeros((7, R * P), dtype)
    return Leaky(
        D=D,
        used=used,
        panel=panel_size(n, dtype, R // D),
        forward=forward,
        backward=backward,
        input_weights=aligned_zeros(inputs, dtype),
        columns=columns,
        place=place,
        bias=bias,
        state=state,
        x=x,
        value=value,
        slope=slope,
        drive=drive,
        start=start,
        inputs=aligned_zeros(padded(n_inputs, dtype) * R, dtype),
        one=aligned_zeros((4, P), dtype),
        exponent=np.zeros(R, np.int64),
        ignored=aligned_zeros(R, dtype),
        keep=aligned_zeros((n_steps + 1, used), dtype),
        squares=aligned_zeros((3, n_steps + 1, R), dtype),
        exponents=np.zeros((3, n_steps + 1, R), np.int64),
        logs=np.empty((3, CHUNK, R)),
    )


# The matrices come as an argument, since Numba drops the branch for another number of its axes.


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


@helper()
def _set_drives(M: Array, inputs: Array, draw: int, trajectory: int, t: int, some: Leaky) -> None:
    """Set the drive of each network to W_in u_t + b; M are the packed W_in."""
    K, P = some.exponent.size // some.D, some.one.shape[1]
    for r in range(some.exponent.size):
        now = inputs[
            min(draw + r // K, inputs.shape[0] - 1),
            min(trajectory + r % K, inputs.shape[1] - 1),
            min(t, inputs.shape[2] - 1),
        ]
        if M.ndim == 4:
            _put_lane(now, some.place[r], some.inputs)
        else:
            part = slice(r * P, (r + 1) * P)
            _vecmat(now, M[r // K], some.bias[part], some.drive[part])
    if M.ndim == 4:
        _multiply_lanes(some.inputs, M[0], 0, some.bias, some.drive, some.ignored)


@helper()
def _settle(network: Network, some: Leaky, squares: Array, exponents: Integers) -> bool:
    """Measure the states, and bring each back into its range and to one scale with its drive.

    Returns whether one has an exponent.
    """
    n, careful = network.bias.shape[1], False
    state, start, scratch = some.one[0], some.one[1], some.one[2]
    for r in range(squares.size):
        exponent = some.exponent[r]
        _take_lane(some.state, some.place[r], n, state)
        _take_lane(some.drive, some.place[r], n, start)
        squares[r], exponents[r] = _squares(state, exponent, scratch)
        if exponents[r] != exponent or _has_left(state, exponent, n, squares[r]):
            exponent = _rescale_state(state, exponent, network.near_zero, network.far)
        some.exponent[r] = _meet_drive(state, exponent, start)
        careful |= some.exponent[r] != 0
        _put_lane(state[:n], some.place[r], some.state)
        _put_lane(start[:n], some.place[r], some.start)
    return careful


@helper()
def _activate_each(network: Network, some: Leaky) -> None:
    """Set value and slope of each network at the scale of its own."""
    n = network.bias.shape[1]
    x, value, slope, scratch = some.one[0], some.one[1], some.one[2], some.one[3]
    for r in range(some.exponent.size):
        _take_lane(some.x, some.place[r], n, x)
        _activate_at(
            network.activation, network.near_zero, network.far, x, some.exponent[r], n, scratch,
            value, slope,
        )  # fmt: skip
        _put_lane(value[:n], some.place[r], some.value)
        _put_lane(slope[:n], some.place[r], some.slope)


@helper()
def _clear_padding(n: int, some: Leaky) -> None:
    """Zero the values beyond the units in use."""
    R = some.exponent.size
    for r in range(R):
        for i in range(n, some.used // R):
            some.value[some.place[r, i]] = 0.0


@kernel(inline="always")
def _leaky_forward(
    network: Network,
    shares: Array,
    draw: int,
    trajectory: int,
    first: int,
    n_steps: int,
    some: Leaky,
) -> None:
    """Run burn_in + n_steps steps from `some.state` and keep what the backward pass needs.

    The first network is of this draw and trajectory, the first input that at time `first`. shares
    holds the leak and what it leaves.
    """
    n, R, used = network.bias.shape[1], some.exponent.size, some.used
    state, x, value, slope = some.state, some.x, some.value, some.slope
    leak, rest = shares[0], shares[1]
    some.keep[0] = 0.0
    some.squares[2, 0] = 0.0
    some.exponents[2, 0] = 0
    padding = np.isnan(network.near_zero[0])  # where s(0) is not 0
    careful = False
    for r in range(R):
        careful |= some.exponent[r] != 0
    for t in range(network.burn_in + n_steps):
        j = max(t - network.burn_in + 1, 0)
        kept, squares, exponents = (
            some.keep[j][:used], some.squares[2, j][:R], some.exponents[2, j][:R]
        )  # fmt: skip
        exponents[:] = 0
        if t == 0 or network.inputs.shape[2] > 1:
            _set_drives(some.input_weights, network.inputs, draw, trajectory, first + t, some)
        if careful or _multiply(state, some.forward, some.panel, t % 2, some.drive, x, squares):
            careful = _settle(network, some, squares, exponents)
            _multiply(state, some.forward, some.panel, t % 2, some.start, x, some.ignored)
        if careful:
            _activate_each(network, some)
        else:
            _activate(network.activation, x[:used], value[:used], slope[:used])
            if padding:
                _clear_padding(n, some)
        for i in range(used):
            state[i] = _fma(leak, value[i], rest * state[i])
            kept[i] = leak * slope[i]


@njit(nogil=True, error_model="numpy", inline="always")
def _leaky_backward(n: int, shares: Array, some: Leaky) -> None:
    """Carry the gradient in `some.state` back: delta_{k-1} = (1 - a) delta_k + W^T (a s' delta_k).

    Sets squares 4**exponents at each lag to ||delta||^2, and to that of a s' delta.
    """
    T, R, used = some.keep.shape[0] - 1, some.exponent.size, some.used
    delta, gate, exponent, rest = some.state, some.x, some.exponent, shares[1]
    one, scratch = some.one[0], some.one[1]
    exponent[:] = 0
    for lag in range(T + 1):
        squares, gate_squares = some.squares[0, lag][:R], some.squares[1, lag][:R]
        if _norms(some.backward, delta, squares) != 0:
            for r in range(R):
                if not _in_range(squares[r], delta):
                    _take_lane(delta, some.place[r], n, one)
                    squares[r], exponent[r] = _scaled_squares(one, exponent[r])
                    _put_lane(one[:n], some.place[r], delta)
        for r in range(R):
            some.exponents[0, lag, r] = some.exponents[1, lag, r] = exponent[r]
        kept = some.keep[T - lag][:used]
        for i in range(used):
            gate[i] = delta[i] * kept[i]
            delta[i] = rest * delta[i]
        if _multiply(gate, some.backward, some.panel, lag % 2, delta, delta, gate_squares) != 0:
            for r in range(R):
                if not _in_range(gate_squares[r], gate):
                    _take_lane(gate, some.place[r], n, one)
                    gate_squares[r], some.exponents[1, lag, r] = _squares(one, exponent[r], scratch)


@kernel()
def _leaky_jacobian(W: Array, shares: Array, keep: Array, out: Array) -> None:
    """Set out (N, N or more) to the transposed Jacobian of a step, from its row of keep."""
    out[:] = 0.0
    for r in range(W.shape[0]):
        for i in range(W.shape[1]):
            out[i, r] = keep[r] * W[r, i]
        out[r, r] += shares[1]


@kernel()
def _pack_draws(network: Network, draw: int, forward: Array, some: Leaky) -> None:
    """Pack the weights of some.D draws from this one on; in lanes the last one repeats."""
    if forward.ndim == 4:
        _pack_lanes(network.W_rec, True, draw, some.columns, forward[0])
        _pack_lanes(network.W_rec, False, draw, some.columns, some.backward[0])
        _pack_lanes(network.W_in, True, draw, some.columns, some.input_weights[0])
        return
    for d in range(some.D):
        _pack_columns(network.W_rec[draw + d], forward[d], some.panel)
        _pack_rows(network.W_rec[draw + d], some.backward[d], some.panel)
        _pack_transpose(network.W_in[draw + d], some.input_weights[d])


@kernel()
def _place_bias(network: Network, draw: int, some: Leaky) -> None:
    """Copy the bias of each network to its place."""
    n_draws, n = network.bias.shape
    _place(network.bias.reshape(n_draws, 1, n), draw, 0, some.D, some.place, some.bias)


@kernel()
def _leaky_batch(
    network: Network,
    shares: Array,
    nets: Leaky,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Profiles of several draws: out (draws, trajectories, T + 1)."""
    n_draws, n_trajectories, size = out_log_norm.shape
    n, K = network.bias.shape[1], nets.exponent.size // nets.D
    for draw in range(0, n_draws, nets.D):
        D = min(nets.D, n_draws - draw)
        for trajectory in range(0, n_trajectories, K):
            some = _some(nets.forward, nets, D, min(K, n_trajectories - trajectory))
            if trajectory == 0:
                _pack_draws(network, draw, some.forward, some)
            _place_bias(network, draw, some)
            some.exponent[:] = 0
            _place(network.initial_state, draw, trajectory, some.D, some.place, some.state)
            _leaky_forward(network, shares, draw, trajectory, 0, size - 1, some)
            _place(network.loss_gradient, draw, trajectory, some.D, some.place, some.state)
            _leaky_backward(n, shares, some)
            _all_logs(
                some.squares, some.exponents, some.logs, some.D, some.exponent.size // some.D, draw,
                trajectory, out_log_norm, out_log_contribution,
            )  # fmt: skip


@helper()
def _some(forward: Array, nets: Leaky, D: int, K: int) -> Leaky:
    """Return the scratch of K trajectories of D draws, or all of it for lanes: the last repeats."""
    if forward.ndim == 4:
        return nets
    R, size = D * K, D * K * nets.one.shape[1]
    return Leaky(
        D,
        size,
        nets.panel,
        nets.forward[:D],
        nets.backward[:D],
        nets.input_weights[:D],
        nets.columns,
        nets.place[:R],
        nets.bias[:size],
        nets.state[:size],
        nets.x[:size],
        nets.value[:size],
        nets.slope[:size],
        nets.drive[:size],
        nets.start[:size],
        nets.inputs,
        nets.one,
        nets.exponent[:R],
        nets.ignored[:R],
        nets.keep,
        nets.squares,
        nets.exponents,
        nets.logs,
    )
