"""Gradient profile of the GRU, whose reset gate comes after the product, as in PyTorch.

    r, z = sigmoid(W h_{t-1} + b_h + W_in u_t + b_i),
    n = tanh(W_in u_t + b_i + r (W h_{t-1} + b_h)),   h_t = (1 - z) n + z h_{t-1}.

The gates are held in the order r, z, n. All shapes are as in `kernels.lstm`, with 3 gates for 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.columns import _columnwise, _fma, _from_3_gates, _to_3_gates
from vgcore.kernels.gates import (
    _add_scaled,
    _gate_logs,
    _pack_backward,
    _pack_forward,
    _pack_parts,
    _settle,
    _sigmoids,
    _squares,
    _tanhs,
)
from vgcore.kernels.rnn import _copy, _of_row, _scaled_squares
from vgcore.kernels.vectors import _max_abs, _scale_exact, _vecmat


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


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _gru_forward(
    forward: Array,
    input_weights: Array,
    input_bias: Array,
    bias: Array,
    inputs: Array,
    burn_in: int,
    state: Array,
    exponent: int,
    vectors: Array,
    keep: Array,
    squares: Array,
    exponents: Integers,
) -> int:
    """Run burn_in + T steps from 2**exponent `state` (P,), as `_lstm_forward`.

    vectors (17 P,) is scratch.
    """
    P = state.size
    gates, rz, slopes = vectors[: 3 * P], vectors[3 * P : 5 * P], vectors[5 * P : 7 * P]
    candidate, tanh = vectors[7 * P : 8 * P], vectors[8 * P : 10 * P]
    drive, zeros = vectors[10 * P : 13 * P], vectors[13 * P : 16 * P]
    turn = vectors[16 * P :]
    turn[0] = 1.0
    rz_gates, n_value, n_slope = gates[: 2 * P], tanh[:P], tanh[P:]
    n_steps = keep.shape[0] - 1
    constant_input = inputs.shape[0] == 1
    keep[0] = 0.0
    squares[0] = 0.0
    exponents[0] = 0
    for t in range(burn_in + n_steps):
        j = max(t - burn_in + 1, 0)
        kept = keep[j]
        if t == 0 or not constant_input:
            _vecmat(inputs[0 if constant_input else t], input_weights, input_bias, drive)
        squares[j], exponents[j] = _squares(state, exponent, candidate)
        if exponents[j] != exponent or exponent != 0:
            driven = _max_abs(drive[2 * P :]) != 0.0 or _max_abs(bias[2 * P :]) != 0.0
            exponent = _settle(state, exponent, driven)
        linear = exponent != 0
        if linear:
            zeros[:] = 0.0
            _to_3_gates(state, forward, zeros, gates, turn)
            _add_scaled(bias[: 2 * P], exponent, rz_gates)
        else:
            _to_3_gates(state, forward, bias, gates, turn)
        _add_drive(gates, drive)
        _sigmoids(rz_gates, rz, slopes)
        _reset(rz, gates, drive, candidate)
        _tanhs(candidate, linear, n_value, n_slope)
        _mix(rz, slopes, gates, tanh, state, kept)
        if linear:
            _scale_exact(kept[: 2 * P], exponent)
    return exponent


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _gru_backward(
    backward: Array,
    keep: Array,
    delta: Array,
    vectors: Array,
    squares: Array,
    exponents: Integers,
) -> None:
    """Carry the gradient `delta` (P,) back over T steps; as `_lstm_backward`."""
    P, last = delta.size, keep.shape[0] - 1
    gates, scratch, turn = vectors[: 3 * P], vectors[3 * P : 6 * P], vectors[16 * P :]
    turn[0] = 1.0
    squares[:2] = 0.0
    exponents[:2] = exponent = 0
    for lag in range(last + 1):
        squares[0, lag], exponents[0, lag] = _scaled_squares(delta, exponent)
        exponent = exponents[0, lag]
        if squares[0, lag] == 0.0:
            break
        _to_gates(delta, keep[last - lag], gates)
        squares[1, lag], exponents[1, lag] = _squares(gates, exponent, scratch)
        _from_3_gates(gates, backward, delta, delta, turn)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _gru_jacobian(W: Array, keep: Array, out: Array) -> None:
    """Set out (N, N or more) to the transposed Jacobian of a step, from its row of keep."""
    n, P = W.shape[1], keep.size // 4
    out[:] = 0.0
    for r in range(n):
        to_r, to_z, to_n = keep[r], keep[P + r], keep[2 * P + r]
        for i in range(n):
            out[i, r] = to_r * W[r, i] + to_z * W[n + r, i] + to_n * W[2 * n + r, i]
        out[r, r] += keep[3 * P + r]


@njit(cache=True, nogil=True, error_model="numpy")
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
    forward: Array,
    backward: Array,
    input_weights: Array,
    packed_biases: Array,
    state: Array,
    vectors: Array,
    keep: Array,
    squares: Array,
    exponents: Integers,
    logs: Array,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Profiles of several draws, one after another; as `_lstm_batch`.

    Scratch: packed_biases (2, 3 P), state (P,), vectors (17 P,), keep (T + 1, 4 P).
    """
    P = state.size
    for d in range(out_log_norm.shape[0]):
        _pack_forward(W_rec[d], order, P, forward)
        _pack_backward(W_rec[d], order, backward)
        _pack_forward(W_in[d], order, P, input_weights)
        _pack_parts(input_bias[d], order, packed_biases[0])
        _pack_parts(bias[d], order, packed_biases[1])
        for k in range(out_log_norm.shape[1]):
            _copy(_of_row(initial_state, d, k), state)
            _gru_forward(
                forward,
                input_weights,
                packed_biases[0],
                packed_biases[1],
                _of_row(inputs, d, k),
                burn_in,
                state,
                np.int64(0),  # not 0, for whose type all would be compiled again
                vectors,
                keep,
                squares[2],
                exponents[2],
            )
            _copy(_of_row(loss_gradient, d, k), state)
            _gru_backward(backward, keep, state, vectors, squares, exponents)
            _gate_logs(squares, exponents, logs, out_log_norm[d, k], out_log_contribution[d, k])
