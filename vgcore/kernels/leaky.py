"""Gradient profile of leaky units, h_t = (1 - a) h_{t-1} + a s(W h_{t-1} + W_in u_t + b).

Rows side by side and their powers of two are as in `kernels.rnn`, since a state with an unbounded
activation may explode; what is kept of the steps is as in `kernels.lstm`, with one gate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.columns import _row_squares
from vgcore.kernels.elementary import _fma
from vgcore.kernels.gates import _row_logs, _squares
from vgcore.kernels.jit import helper, kernel
from vgcore.kernels.rnn import (
    Network,
    _activate_at,
    _clear_padding,
    _copy,
    _has_left,
    _meet_drive,
    _pack_columns,
    _pack_rows,
    _pack_transpose,
    _place,
    _rescale_state,
    _scaled_squares,
    _set_drive,
)
from vgcore.kernels.vectors import _in_range, _push_rows, aligned_zeros, padded


class LeakyRows(NamedTuple):
    """Scratch for R rows side by side, K trajectories of each of D draws; row r is at r P."""

    forward: Array  # W^T (D, N, P)
    backward: Array  # W (D, N, P)
    input_weights: Array  # W_in^T (D, n_inputs, P)
    bias: Array  # (R P,), and so are the next seven
    state: Array  # h, and the gradient of it
    x: Array  # what s is taken of, and the gradient of it
    value: Array
    slope: Array
    drive: Array
    start: Array
    row: Array  # (P,)
    exponent: Integers  # (R,): of the state now
    ignored: Array  # (R,)
    keep: Array  # (T + 1, R P): a s', of the step to burn_in + j at j
    squares: Array  # (3, T + 1, R), over 4**exponents: norms of gradients, those at s, and h
    exponents: Integers  # (3, T + 1, R)
    logs: Array  # (2, T + 1)


def new_leaky_rows(
    D: int, K: int, n: int, n_inputs: int, n_steps: int, dtype: np.dtype[Any]
) -> LeakyRows:
    """Scratch for K trajectories of each of D draws."""
    P, R = padded(n, dtype), D * K
    forward, backward = aligned_zeros((2, D, n, P), dtype)
    bias, state, x, value, slope, drive, start = aligned_zeros((7, R * P), dtype)
    return LeakyRows(
        forward=forward,
        backward=backward,
        input_weights=aligned_zeros((D, n_inputs, P), dtype),
        bias=bias,
        state=state,
        x=x,
        value=value,
        slope=slope,
        drive=drive,
        start=start,
        row=aligned_zeros(P, dtype),
        exponent=np.zeros(R, np.int64),
        ignored=aligned_zeros(R, dtype),
        keep=aligned_zeros((n_steps + 1, R * P), dtype),
        squares=aligned_zeros((3, n_steps + 1, R), dtype),
        exponents=np.zeros((3, n_steps + 1, R), np.int64),
        logs=np.empty((2, n_steps + 1)),
    )


@helper()
def _settle(network: Network, rows: LeakyRows, squares: Array, exponents: Integers) -> bool:
    """Measure the states, and bring each back into its range and to one scale with its drive.

    Returns whether one has an exponent.
    """
    n, P, some = network.bias.shape[1], rows.row.size, False
    for r in range(squares.size):
        part, exponent = slice(r * P, (r + 1) * P), rows.exponent[r]
        state, start = rows.state[part], rows.start[part]
        squares[r], exponents[r] = _squares(state, exponent, rows.row)
        if exponents[r] != exponent or _has_left(state, exponent, n, squares[r]):
            exponent = _rescale_state(state, exponent, network.near_zero, network.far)
        _copy(rows.drive[part], start)
        rows.exponent[r] = _meet_drive(state, exponent, start)
        some |= rows.exponent[r] != 0
    return some


@kernel(inline="always")
def _leaky_forward(
    network: Network,
    shares: Array,
    draw: int,
    trajectory: int,
    first: int,
    n_steps: int,
    rows: LeakyRows,
) -> None:
    """Run burn_in + n_steps steps from `rows.state` and keep what the backward pass needs.

    The first row is of this draw and trajectory, the first input that at time `first`. shares
    holds the leak and what it leaves.
    """
    activation, near_zero, far = network.activation, network.near_zero, network.far
    n, P, R = network.bias.shape[1], rows.row.size, rows.exponent.size
    state, x, value, slope = rows.state, rows.x, rows.value, rows.slope
    leak, rest = shares[0], shares[1]
    rows.keep[0] = 0.0
    rows.squares[2, 0] = 0.0
    rows.exponents[2, 0] = 0
    careful = False
    for r in range(R):
        careful |= rows.exponent[r] != 0
    for t in range(network.burn_in + n_steps):
        j = max(t - network.burn_in + 1, 0)
        kept, squares, exponents = (
            rows.keep[j][: state.size], rows.squares[2, j][:R], rows.exponents[2, j][:R]
        )  # fmt: skip
        exponents[:] = 0
        if t == 0 or network.inputs.shape[2] > 1:
            _set_drive(network, draw, trajectory, first + t, rows)
        if careful or _push_rows(state, rows.forward, t % 2, rows.drive, x, squares):
            careful = _settle(network, rows, squares, exponents)
            _push_rows(state, rows.forward, t % 2, rows.start, x, rows.ignored)
        if careful:
            for r in range(R):
                part = slice(r * P, (r + 1) * P)
                _activate_at(
                    activation, near_zero, far, x[part], rows.exponent[r], n, rows.row,
                    value[part], slope[part],
                )  # fmt: skip
        else:
            _activate(activation, x, value, slope)
            _clear_padding(value, n, P)
        for i in range(state.size):
            state[i] = _fma(leak, value[i], rest * state[i])
            kept[i] = leak * slope[i]


@njit(nogil=True, error_model="numpy", inline="always")
def _leaky_backward(shares: Array, rows: LeakyRows) -> None:
    """Carry the gradient in `rows.state` back: delta_{k-1} = (1 - a) delta_k + W^T (a s' delta_k).

    Sets squares 4**exponents at each lag to ||delta||^2, and to that of a s' delta.
    """
    T, P, R = rows.keep.shape[0] - 1, rows.row.size, rows.exponent.size
    delta, gate, exponent, rest = rows.state, rows.x, rows.exponent, shares[1]
    exponent[:] = 0
    for lag in range(T + 1):
        squares, gate_squares = rows.squares[0, lag][:R], rows.squares[1, lag][:R]
        if _row_squares(delta, P, squares) != 0:
            for r in range(R):
                if not _in_range(squares[r], delta):
                    part = slice(r * P, (r + 1) * P)
                    squares[r], exponent[r] = _scaled_squares(delta[part], exponent[r])
        for r in range(R):
            rows.exponents[0, lag, r] = rows.exponents[1, lag, r] = exponent[r]
        kept = rows.keep[T - lag][: delta.size]
        for i in range(delta.size):
            gate[i] = delta[i] * kept[i]
            delta[i] = rest * delta[i]
        if _push_rows(gate, rows.backward, lag % 2, delta, delta, gate_squares) != 0:
            for r in range(R):
                if not _in_range(gate_squares[r], gate):
                    part = slice(r * P, (r + 1) * P)
                    gate_squares[r], rows.exponents[1, lag, r] = _squares(
                        gate[part], exponent[r], rows.row
                    )


@kernel()
def _leaky_jacobian(W: Array, shares: Array, keep: Array, out: Array) -> None:
    """Set out (N, N or more) to the transposed Jacobian of a step, from its row of keep."""
    out[:] = 0.0
    for r in range(W.shape[0]):
        for i in range(W.shape[1]):
            out[i, r] = keep[r] * W[r, i]
        out[r, r] += shares[1]


@kernel()
def _pack_draw(network: Network, draw: int, d: int, rows: LeakyRows) -> None:
    """Put the weights of a draw to the d-th place."""
    _pack_columns(network.W_rec[draw], rows.forward[d])
    _pack_rows(network.W_rec[draw], rows.backward[d])
    _pack_transpose(network.W_in[draw], rows.input_weights[d])


@kernel()
def _leaky_batch(
    network: Network,
    shares: Array,
    rows: LeakyRows,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Profiles of several draws: out (draws, trajectories, T + 1)."""
    n_draws, n_trajectories, size = out_log_norm.shape
    most, P = rows.forward.shape[0], rows.row.size
    K = rows.exponent.size // most
    for draw in range(0, n_draws, most):
        D = min(most, n_draws - draw)
        for d in range(D):
            _pack_draw(network, draw + d, d, rows)
        for trajectory in range(0, n_trajectories, K):
            k = min(K, n_trajectories - trajectory)
            some = _some(rows, D, D * k)
            for r in range(D * k):
                _copy(network.bias[draw + r // k], some.bias[r * P : (r + 1) * P])
            some.exponent[:] = 0
            _place(network.initial_state, draw, trajectory, some, some.state)
            _leaky_forward(network, shares, draw, trajectory, 0, size - 1, some)
            _place(network.loss_gradient, draw, trajectory, some, some.state)
            _leaky_backward(shares, some)
            for r in range(D * k):
                d, j = draw + r // k, trajectory + r % k
                _row_logs(some, r, out_log_norm[d, j], out_log_contribution[d, j])


@helper()
def _some(rows: LeakyRows, D: int, R: int) -> LeakyRows:
    """Return the scratch of the first R rows, of D draws."""
    size = R * rows.row.size
    return LeakyRows(
        rows.forward[:D],
        rows.backward[:D],
        rows.input_weights[:D],
        rows.bias[:size],
        rows.state[:size],
        rows.x[:size],
        rows.value[:size],
        rows.slope[:size],
        rows.drive[:size],
        rows.start[:size],
        rows.row,
        rows.exponent[:R],
        rows.ignored[:R],
        rows.keep,
        rows.squares,
        rows.exponents,
        rows.logs,
    )
