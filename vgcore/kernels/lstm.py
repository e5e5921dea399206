"""Gradient profile of the LSTM.

    i, f, o = sigmoid(W h_{t-1} + W_in u_t + b),   g = tanh(the same),
    c_t = f c_{t-1} + i g,   h_t = o tanh(c_t).

The state is (h, c), each padded: 2 P numbers. The gates are held in the order i, f, o, g, which
puts those with a sigmoid side by side.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.columns import _columnwise, _fma, _from_4_gates, _row_squares, _to_4_gates
from vgcore.kernels.gates import (
    GateRows,
    _add_scaled,
    _all_logs,
    _bring_in,
    _input_now,
    _measure,
    _pack_gates,
    _place,
    _place_rows,
    _scale_rows,
    _settle,
    _sigmoids,
    _start,
    _straighten,
    _tanhs,
)
from vgcore.kernels.jit import kernel


@_columnwise(4, 4, 2, 6)
def _take_up(gates: Any, slopes: Any, state: Any, keep: Any) -> None:
    """Set c, and keep what d(i, f, g) and dc multiply by."""
    i, f, _, g = gates
    c = state[1]
    state[1] = _fma(f, c, i * g)
    keep[2:] = [g * slopes[0], c * slopes[1], i * slopes[3], f]


@_columnwise(4, 4, 2, 2, 6)
def _give_out(gates: Any, slopes: Any, tanh: Any, state: Any, keep: Any) -> None:
    """Set h = o tanh(c), and keep what dh multiplies by on its way to c and to o."""
    o, value, slope = gates[2], tanh[0], tanh[1]
    state[0] = o * value
    keep[:2] = [o * slope, value * slopes[2]]


@_columnwise(2, 6, 4)
def _to_gates(delta: Any, keep: Any, gates: Any) -> None:
    """Take the gradient of (h, c) to that of the gates and of the c before."""
    to_c, to_o, to_i, to_f, to_g, f = keep
    h, c = delta
    c = _fma(h, to_c, c)
    gates[:] = [c * to_i, c * to_f, h * to_o, c * to_g]
    delta[1] = c * f


@kernel(inline="always")
def _lstm_forward(
    rows: GateRows, inputs: Array, draw: int, trajectory: int, burn_in: int, n_steps: int
) -> None:
    """Run burn_in + n_steps steps from `rows.state`, and keep what the backward pass needs.

    inputs (draws or 1, trajectories or 1, time or 1, n_inputs), of which the first row gets that of
    this draw and trajectory. squares[2, j] is of the h before the step kept at j, 0 where there is
    no such step.
    """
    W, W_in, bias, state, vectors, exponent = (
        rows.W, rows.W_in, rows.input_bias, rows.state, rows.vectors, rows.exponent
    )  # fmt: skip
    n, P, R = rows.sizes[0], rows.sizes[1], exponent.size
    plane = state.size // 2
    K = R // W.shape[0]
    h, c = state[:plane], state[plane:]
    gates, values = vectors[: 4 * plane], vectors[4 * plane : 8 * plane]
    slopes, drive = vectors[8 * plane : 12 * plane], vectors[12 * plane : 16 * plane]
    tanh, start = vectors[16 * plane : 18 * plane], vectors[16 * plane : 20 * plane]
    ifo, ifo_value, ifo_slope = gates[: 3 * plane], values[: 3 * plane], slopes[: 3 * plane]
    g, g_value, g_slope = gates[3 * plane :], values[3 * plane :], slopes[3 * plane :]
    c_value, c_slope = tanh[:plane], tanh[plane:]
    rows.keep[0] = 0.0
    rows.squares[2, 0] = 0.0
    rows.exponents[2, 0] = 0
    linear = False
    for t in range(burn_in + n_steps):
        j = max(t - burn_in + 1, 0)
        kept = rows.keep[j]
        squares, exponents = rows.squares[2, j], rows.exponents[2, j]
        if t == 0 or inputs.shape[2] > 1:
            _input_now(inputs, draw, trajectory, t, K, rows.now)
            _to_4_gates(rows.now, W_in, inputs.shape[3], R, 0, bias, drive)
        if _measure(h, P, exponent, c_value, exponents, squares) or linear:
            candidate = drive[3 * plane :]
            linear = _settle(state, P, exponents, candidate, candidate, exponent)
        if linear:
            _start(drive, P, exponent, start)
            _to_4_gates(h, W, n, R, t % 2, start, gates)
            _add_scaled(drive[: 3 * plane], P, exponent, ifo)
        else:
            _to_4_gates(h, W, n, R, t % 2, drive, gates)
        _sigmoids(ifo, ifo_value, ifo_slope)
        _tanhs(g, g_value, g_slope)
        if linear:
            _straighten(g, P, exponent, g_value, g_slope)
        _take_up(values, slopes, state, kept)
        _tanhs(c, c_value, c_slope)
        if linear:
            _straighten(c, P, exponent, c_value, c_slope)
        _give_out(values, slopes, tanh, state, kept)
        if linear:
            _scale_rows(kept[plane : 4 * plane], P, exponent)


@njit(nogil=True, error_model="numpy", inline="always")
def _lstm_backward(rows: GateRows, n_steps: int) -> None:
    """Carry the gradient in `rows.state` back over n_steps steps.

    squares[0] takes its square norm at each lag, squares[1] that of the gradient of the gates.
    """
    W, delta, vectors, exponent = rows.W, rows.state, rows.vectors, rows.exponent
    P, R = rows.sizes[1], exponent.size
    plane = delta.size // 2
    gates, scratch = vectors[: 4 * plane], vectors[4 * plane : 8 * plane]
    zeros, h = vectors[8 * plane : 9 * plane], delta[:plane]
    zeros[:] = 0.0
    exponent[:] = 0
    for lag in range(n_steps + 1):
        squares, exponents = rows.squares[0, lag], rows.exponents[0, lag]
        if _row_squares(delta, P, squares) != 0:
            _bring_in(delta, P, exponent, squares)
        for r in range(R):
            exponents[r] = exponent[r]
        _to_gates(delta, rows.keep[n_steps - lag], gates)
        squares, exponents = rows.squares[1, lag], rows.exponents[1, lag]
        _measure(gates, P, exponent, scratch, exponents, squares)
        if lag < n_steps:
            _from_4_gates(gates, W, R, lag % 2, zeros, h)


@kernel()
def _lstm_jacobian(W: Array, keep: Array, out: Array) -> None:
    """Set out (2 N, 2 N or more) to the transposed Jacobian of a step, from its row of keep.

    W (4 N, N) has its gates in the order i, f, g, o, as the cell does.
    """
    n, P = W.shape[1], keep.size // 6
    out[:] = 0.0
    for r in range(n):
        h_of_c, to_o, to_i = keep[r], keep[P + r], keep[2 * P + r]
        to_f, to_g, f = keep[3 * P + r], keep[4 * P + r], keep[5 * P + r]
        for i in range(n):
            c = to_i * W[r, i] + to_f * W[n + r, i] + to_g * W[2 * n + r, i]
            out[i, n + r] = c
            out[i, r] = h_of_c * c + to_o * W[3 * n + r, i]
        out[n + r, n + r] = f
        out[n + r, r] = h_of_c * f


@kernel()
def _lstm_batch(
    W_rec: Array,
    W_in: Array,
    bias: Array,
    order: Integers,
    inputs: Array,
    initial_state: Array,
    loss_gradient: Array,
    burn_in: int,
    rows: GateRows,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Profiles of several draws, with the gates of W_rec in this order.

    Leading axes of inputs, initial_state and loss_gradient are (draws or 1, trajectories or 1).
    out (draws, trajectories, T + 1).
    """
    n_draws, n_trajectories, size = out_log_norm.shape
    halves = order[:2]  # 0, 1: of h and c
    D, R, P = rows.W.shape[0], rows.exponent.size, rows.sizes[1]
    K = R // D
    for draw in range(0, n_draws, D):
        for d in range(D):
            this = min(draw + d, n_draws - 1)
            _pack_gates(W_rec[this], order, rows.W[d])
            _pack_gates(W_in[this], order, rows.W_in[d])
        for r in range(R):
            this = min(draw + r // K, n_draws - 1)
            _place(bias[this], order, r, P, rows.input_bias)
        for trajectory in range(0, n_trajectories, K):
            rows.exponent[:] = 0
            _place_rows(initial_state, draw, trajectory, K, halves, P, rows.state)
            _lstm_forward(rows, inputs, draw, trajectory, burn_in, size - 1)
            _place_rows(loss_gradient, draw, trajectory, K, halves, P, rows.state)
            _lstm_backward(rows, size - 1)
            _all_logs(
                rows.squares, rows.exponents, rows.logs, D, K, draw, trajectory, out_log_norm,
                out_log_contribution,
            )  # fmt: skip
