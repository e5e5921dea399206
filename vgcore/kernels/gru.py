"""Gradient profile of the GRU, whose reset gate comes after the product, as in PyTorch.

    r, z = sigmoid(W h_{t-1} + b_h + W_in u_t + b_i),
    n = tanh(W_in u_t + b_i + r (W h_{t-1} + b_h)),   h_t = (1 - z) n + z h_{t-1}.

The gates are held in the order r, z, n. All shapes are as in `kernels.lstm`, with 3 gates for 4.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.columns import _columnwise, _fma, _from_3_gates, _row_squares, _to_3_gates
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


@_columnwise(3, 3)
def _add_drive(gates: Any, drive: Any) -> None:
    """Add the input to the gates r and z."""
    gates[:2] = [gates[0] + drive[0], gates[1] + drive[1]]


@_columnwise(2, 3, 3, 1)
def _reset(rz: Any, gates: Any, drive: Any, candidate: Any) -> None:
    """Set what n is the tanh of."""
    candidate[0] = _fma(rz[0], gates[2], drive[2])


@_columnwise(2, 2, 3, 2, 1, 4)
def _mix(rz: Any, slopes: Any, gates: Any, tanh: Any, state: Any, keep: Any) -> None:
    """Set h, and keep what dh multiplies by on its way to r, z, W h + b_h and the h before."""
    r, z = rz
    n, slope = tanh
    h = state[0]
    to_n = (1.0 - z) * slope
    keep[:] = [to_n * gates[2] * slopes[0], (h - n) * slopes[1], to_n * r, z]
    state[0] = _fma(z, h - n, n)


@_columnwise(1, 4, 3)
def _to_gates(delta: Any, keep: Any, gates: Any) -> None:
    """Take the gradient of h to that of the gates, and of the h before where it bypasses them."""
    h = delta[0]
    to_r, to_z, to_n, z = keep
    gates[:] = [h * to_r, h * to_z, h * to_n]
    delta[0] = h * z


@kernel(inline="always")
def _gru_forward(
    rows: GateRows, inputs: Array, draw: int, trajectory: int, burn_in: int, n_steps: int
) -> None:
    """Run burn_in + n_steps steps from `rows.state`, as `_lstm_forward`."""
    W, W_in, input_bias, bias, state, vectors, exponent = (
        rows.W, rows.W_in, rows.input_bias, rows.bias, rows.state, rows.vectors, rows.exponent
    )  # fmt: skip
    n, P, R = rows.sizes[0], rows.sizes[1], exponent.size
    plane = state.size
    K = R // W.shape[0]
    gates, rz, slopes = (
        vectors[: 3 * plane],
        vectors[3 * plane : 5 * plane],
        vectors[5 * plane : 7 * plane],
    )
    candidate, tanh = vectors[7 * plane : 8 * plane], vectors[8 * plane : 10 * plane]
    drive, start = vectors[10 * plane : 13 * plane], vectors[13 * plane : 16 * plane]
    rz_gates, n_value, n_slope = gates[: 2 * plane], tanh[:plane], tanh[plane:]
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
            _to_3_gates(rows.now, W_in, inputs.shape[3], R, 0, input_bias, drive)
        if _measure(state, P, exponent, candidate, exponents, squares) or linear:
            linear = _settle(state, P, exponents, drive[2 * plane :], bias[2 * plane :], exponent)
        if linear:
            _start(bias, P, exponent, start)
            _to_3_gates(state, W, n, R, t % 2, start, gates)
            _add_scaled(bias[: 2 * plane], P, exponent, rz_gates)
        else:
            _to_3_gates(state, W, n, R, t % 2, bias, gates)
        _add_drive(gates, drive)
        _sigmoids(rz_gates, rz, slopes)
        _reset(rz, gates, drive, candidate)
        _tanhs(candidate, n_value, n_slope)
        if linear:
            _straighten(candidate, P, exponent, n_value, n_slope)
        _mix(rz, slopes, gates, tanh, state, kept)
        if linear:
            _scale_rows(kept[: 2 * plane], P, exponent)


@njit(nogil=True, error_model="numpy", inline="always")
def _gru_backward(rows: GateRows, n_steps: int) -> None:
    """Carry the gradient in `rows.state` back over n_steps steps; as `_lstm_backward`."""
    W, delta, vectors, exponent = rows.W, rows.state, rows.vectors, rows.exponent
    P, R = rows.sizes[1], exponent.size
    plane = delta.size
    gates, scratch = vectors[: 3 * plane], vectors[3 * plane : 6 * plane]
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
            _from_3_gates(gates, W, R, lag % 2, delta, delta)


@kernel()
def _gru_jacobian(W: Array, keep: Array, out: Array) -> None:
    """Set out (N, N or more) to the transposed Jacobian of a step, from its row of keep."""
    n, P = W.shape[1], keep.size // 4
    out[:] = 0.0
    for r in range(n):
        to_r, to_z, to_n = keep[r], keep[P + r], keep[2 * P + r]
        for i in range(n):
            out[i, r] = to_r * W[r, i] + to_z * W[n + r, i] + to_n * W[2 * n + r, i]
        out[r, r] += keep[3 * P + r]


@kernel()
def _gru_batch(
    W_rec: Array,
    W_in: Array,
    input_bias: Array,
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
    """Profiles of several draws; as `_lstm_batch`."""
    n_draws, n_trajectories, size = out_log_norm.shape
    D, R, P = rows.W.shape[0], rows.exponent.size, rows.sizes[1]
    K = R // D
    for draw in range(0, n_draws, D):
        for d in range(D):
            this = min(draw + d, n_draws - 1)
            _pack_gates(W_rec[this], order, rows.W[d])
            _pack_gates(W_in[this], order, rows.W_in[d])
        for r in range(R):
            this = min(draw + r // K, n_draws - 1)
            _place(input_bias[this], order, r, P, rows.input_bias)
            _place(bias[this], order, r, P, rows.bias)
        for trajectory in range(0, n_trajectories, K):
            rows.exponent[:] = 0
            _place_rows(initial_state, draw, trajectory, K, order[:1], P, rows.state)
            _gru_forward(rows, inputs, draw, trajectory, burn_in, size - 1)
            _place_rows(loss_gradient, draw, trajectory, K, order[:1], P, rows.state)
            _gru_backward(rows, size - 1)
            _all_logs(
                rows.squares, rows.exponents, rows.logs, D, K, draw, trajectory, out_log_norm,
                out_log_contribution,
            )  # fmt: skip
