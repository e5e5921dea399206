"""Gradient profile of the LSTM.

    i, f, o = sigmoid(W h_{t-1} + W_in u_t + b),   g = tanh(the same),
    c_t = f c_{t-1} + i g,   h_t = o tanh(c_t).

The state is (h, c), each padded: 2 P numbers. The gates are held in the order i, f, o, g, which
puts those with a sigmoid side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.columns import _columnwise, _fma, _from_4_gates, _to_4_gates
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
from vgcore.kernels.rnn import _of_row, _scaled_squares
from vgcore.kernels.vectors import _max_abs, _scale_exact, _vecmat


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


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _lstm_forward(
    forward: Array,
    input_weights: Array,
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
    """Run burn_in + T steps from 2**exponent `state`; return the exponent of the last state.

    What the backward pass needs is kept:
    keep[j] is of the step to time burn_in + j; squares[j] 4**exponents[j] is the square norm of the
    h before it, 0 where there is no such step. vectors (21 P,) is scratch.
    """
    P = state.size // 2
    h, c = state[:P], state[P:]
    gates, values = vectors[: 4 * P], vectors[4 * P : 8 * P]
    slopes, drive = vectors[8 * P : 12 * P], vectors[12 * P : 16 * P]
    tanh, zeros = vectors[16 * P : 18 * P], vectors[16 * P : 20 * P]
    turn = vectors[20 * P :]
    turn[0] = 1.0
    ifo, ifo_value, ifo_slope = gates[: 3 * P], values[: 3 * P], slopes[: 3 * P]
    g, g_value, g_slope = gates[3 * P :], values[3 * P :], slopes[3 * P :]
    c_value, c_slope = tanh[:P], tanh[P:]
    n_steps = keep.shape[0] - 1
    constant_input = inputs.shape[0] == 1
    keep[0] = 0.0
    squares[0] = 0.0
    exponents[0] = 0
    for t in range(burn_in + n_steps):
        j = max(t - burn_in + 1, 0)
        kept = keep[j]
        if t == 0 or not constant_input:
            _vecmat(inputs[0 if constant_input else t], input_weights, bias, drive)
        squares[j], exponents[j] = _squares(h, exponent, c_value)
        if exponents[j] != exponent or exponent != 0:
            exponent = _settle(state, exponent, _max_abs(drive[3 * P :]) != 0.0)
        linear = exponent != 0
        if linear:
            zeros[:] = 0.0
            _to_4_gates(h, forward, zeros, gates, turn)
            _add_scaled(drive[: 3 * P], exponent, ifo)
        else:
            _to_4_gates(h, forward, drive, gates, turn)
        _sigmoids(ifo, ifo_value, ifo_slope)
        _tanhs(g, linear, g_value, g_slope)
        _take_up(values, slopes, state, kept)
        _tanhs(c, linear, c_value, c_slope)
        _give_out(values, slopes, tanh, state, kept)
        if linear:
            _scale_exact(kept[P : 4 * P], exponent)
    return exponent


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _lstm_backward(
    backward: Array,
    keep: Array,
    delta: Array,
    vectors: Array,
    squares: Array,
    exponents: Integers,
) -> None:
    """Carry the gradient `delta` (2 P,) back over T steps.

    The first rows of squares and exponents take its square norm at each lag, the second ones that
    of the gradient of the gates there. vectors (21 P,) is scratch.
    """
    P, last = delta.size // 2, keep.shape[0] - 1
    gates, scratch, zeros = vectors[: 4 * P], vectors[4 * P : 8 * P], vectors[8 * P : 9 * P]
    turn = vectors[20 * P :]
    turn[0] = 1.0
    h = delta[:P]
    zeros[:] = 0.0
    squares[:2] = 0.0
    exponents[:2] = exponent = 0
    for lag in range(last + 1):
        squares[0, lag], exponents[0, lag] = _scaled_squares(delta, exponent)
        exponent = exponents[0, lag]
        if squares[0, lag] == 0.0:
            break
        _to_gates(delta, keep[last - lag], gates)
        squares[1, lag], exponents[1, lag] = _squares(gates, exponent, scratch)
        _from_4_gates(gates, backward, zeros, h, turn)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
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


@njit(cache=True, nogil=True, error_model="numpy")
def _lstm_batch(
    W_rec: Array,
    W_in: Array,
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
    """Profiles of several draws, one after another, with the gates of W_rec in this order.

    Leading axes of inputs, initial_state and loss_gradient are (draws or 1, trajectories or 1).
    Scratch: forward and backward as packed, input_weights (n_inputs, 4 P), packed_biases
    (2, 4 P), state (2 P,), vectors (21 P,), keep (T + 1, 6 P), squares and exponents (3, T + 1),
    logs (2, T + 1). out (draws, trajectories, T + 1).
    """
    halves = order[:2]  # 0, 1: of h and c
    P = state.size // 2
    for d in range(out_log_norm.shape[0]):
        _pack_forward(W_rec[d], order, P, forward)
        _pack_backward(W_rec[d], order, backward)
        _pack_forward(W_in[d], order, P, input_weights)
        _pack_parts(bias[d], order, packed_biases[0])
        for k in range(out_log_norm.shape[1]):
            _pack_parts(_of_row(initial_state, d, k), halves, state)
            _lstm_forward(
                forward,
                input_weights,
                packed_biases[0],
                _of_row(inputs, d, k),
                burn_in,
                state,
                np.int64(0),  # not 0, for whose type all would be compiled again
                vectors,
                keep,
                squares[2],
                exponents[2],
            )
            _pack_parts(_of_row(loss_gradient, d, k), halves, state)
            _lstm_backward(backward, keep, state, vectors, squares, exponents)
            _gate_logs(squares, exponents, logs, out_log_norm[d, k], out_log_contribution[d, k])
