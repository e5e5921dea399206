"""Gradient profile of leaky units, h_t = (1 - a) h_{t-1} + a s(W h_{t-1} + W_in u_t + b).

A state is held as a vector times a power of two, as in `kernels.rnn`, since one with an unbounded
activation may explode. Shapes are as in `kernels.lstm`, with one gate; but W and its transpose have
P rows, a quarter of which stands for a gate each, to have enough sums in flight where N is small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.columns import _columnwise, _fma, _from_quarters
from vgcore.kernels.gates import _gate_logs, _squares
from vgcore.kernels.rnn import (
    _activate_at,
    _copy,
    _has_left,
    _meet_drive,
    _of_row,
    _pack,
    _rescale_state,
    _scaled_squares,
)
from vgcore.kernels.vectors import _vecmat


@_columnwise(2, 1, 1, 1, 1)
def _mix(shares: Any, value: Any, slope: Any, state: Any, keep: Any) -> None:
    """Set h, and keep what dh multiplies by on its way to W h."""
    a, rest = shares
    state[0] = _fma(a, value[0], rest * state[0])
    keep[0] = a * slope[0]


@_columnwise(2, 1, 1, 1)
def _to_gate(shares: Any, delta: Any, keep: Any, gate: Any) -> None:
    """Take the gradient of h to that of W h, and of the h before where it bypasses W."""
    gate[0] = delta[0] * keep[0]
    delta[0] = delta[0] * shares[1]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _pack_quarters(W: Array, transpose: bool, P: int, out: Array) -> None:
    """Pack W (N, N), or its transpose, for `_from_quarters`: a quarter of P rows as each gate."""
    size, quarter = out.shape[1], P // 4
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            row, column = (j, i) if transpose else (i, j)
            place = column // size * quarter + row % quarter
            out[place * 4 + row // quarter, column % size] = W[i, j]


# Inlined before types are known, the batch compiles in 17 % less time; walks call it by itself.
@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _leaky_forward(
    forward: Array,
    input_weights: Array,
    bias: Array,
    activation: int,
    near_zero: Array,
    far: Array,
    shares: Array,
    inputs: Array,
    burn_in: int,
    n: int,
    state: Array,
    exponent: int,
    vectors: Array,
    keep: Array,
    squares: Array,
    exponents: Integers,
) -> int:
    """Run burn_in + T steps from 2**exponent `state` (P,), as `_lstm_forward`.

    vectors (7 P,) is scratch.
    """
    P = state.size
    drive, start, x = vectors[:P], vectors[P : 2 * P], vectors[2 * P : 3 * P]
    value, slope, scratch = vectors[3 * P : 4 * P], vectors[4 * P : 5 * P], vectors[5 * P : 6 * P]
    turn = vectors[6 * P :]
    turn[0] = 1.0
    n_steps = keep.shape[0] - 1
    constant_input = inputs.shape[0] == 1
    keep[0] = 0.0
    squares[0] = 0.0
    exponents[0] = 0
    for t in range(burn_in + n_steps):
        j = max(t - burn_in + 1, 0)
        if t == 0 or not constant_input:
            _vecmat(inputs[0 if constant_input else t], input_weights, bias, drive)
        squares[j], exponents[j] = _squares(state, exponent, scratch)
        if exponents[j] != exponent or _has_left(state, exponent, n, squares[j]):
            exponent = _rescale_state(state, exponent, near_zero, far)
        if exponent == 0:
            _from_quarters(state, forward, drive, x, turn)
        else:
            _copy(drive, start)
            exponent = _meet_drive(state, exponent, start)
            _from_quarters(state, forward, start, x, turn)
        _activate_at(activation, near_zero, far, x, exponent, n, scratch, value, slope)
        _mix(shares, value, slope, state, keep[j])
    return exponent


@njit(nogil=True, error_model="numpy", inline="always")
def _leaky_backward(
    backward: Array,
    shares: Array,
    keep: Array,
    delta: Array,
    vectors: Array,
    squares: Array,
    exponents: Integers,
) -> None:
    """Carry the gradient `delta` (P,) back over T steps; as `_lstm_backward`."""
    P, last = delta.size, keep.shape[0] - 1
    gate, scratch, turn = vectors[:P], vectors[P : 2 * P], vectors[6 * P :]
    turn[0] = 1.0
    squares[:2] = 0.0
    exponent = int(np.int64(0))  # no literal, as in `_leaky_batch`
    exponents[:2] = exponent
    for lag in range(last + 1):
        squares[0, lag], exponents[0, lag] = _scaled_squares(delta, exponent)
        exponent = exponents[0, lag]
        if squares[0, lag] == 0.0:
            break
        _to_gate(shares, delta, keep[last - lag], gate)
        squares[1, lag], exponents[1, lag] = _squares(gate, exponent, scratch)
        _from_quarters(gate, backward, delta, delta, turn)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _leaky_jacobian(W: Array, shares: Array, keep: Array, out: Array) -> None:
    """Set out (N, N or more) to the transposed Jacobian of a step, from its row of keep."""
    P = keep.size
    out[:] = 0.0
    for r in range(W.shape[0]):
        for i in range(W.shape[1]):
            out[i, r] = keep[r] * W[r, i]
        out[r, r] += shares[P + r]


@njit(cache=True, nogil=True, error_model="numpy")
def _leaky_batch(
    W_rec: Array,
    W_in: Array,
    bias: Array,
    activation: int,
    near_zero: Array,
    far: Array,
    shares: Array,
    inputs: Array,
    initial_state: Array,
    loss_gradient: Array,
    burn_in: int,
    forward: Array,
    backward: Array,
    input_weights: Array,
    packed_bias: Array,
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

    shares (2 P,) holds P times the leak and P times what it leaves. Scratch: forward and backward
    as packed, packed_bias and state (P,), vectors (7 P,), keep (T + 1, P).
    """
    for d in range(out_log_norm.shape[0]):
        _pack_quarters(W_rec[d], True, state.size, forward)
        _pack_quarters(W_rec[d], False, state.size, backward)
        _pack(W_in[d], True, input_weights)
        _copy(bias[d], packed_bias)
        for k in range(out_log_norm.shape[1]):
            _copy(_of_row(initial_state, d, k), state)
            _leaky_forward(
                forward,
                input_weights,
                packed_bias,
                activation,
                near_zero,
                far,
                shares,
                _of_row(inputs, d, k),
                burn_in,
                W_rec.shape[2],
                state,
                int(np.int64(0)),  # a literal would be a type of its own: compiled again
                vectors,
                keep,
                squares[2],
                exponents[2],
            )
            _copy(_of_row(loss_gradient, d, k), state)
            _leaky_backward(backward, shares, keep, state, vectors, squares, exponents)
            _gate_logs(squares, exponents, logs, out_log_norm[d, k], out_log_contribution[d, k])
