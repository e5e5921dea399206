"""Gradient profile over the layers of a deep network, x_l = W_l s(x_{l-1}) + b_l, or x_{l-1} more.

Depth stands in the place of time, and everything else is as in `kernels.rnn`. A matrix is used once
on each way, so both ways work on its rows as they are.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.columns import _matvec
from vgcore.kernels.gates import _logs, _squares
from vgcore.kernels.jit import kernel
from vgcore.kernels.rnn import (
    _activate_at,
    _copy,
    _has_left,
    _meet_drive,
    _of_row,
    _pack_rows,
    _rescale_state,
    _scaled_squares,
)
from vgcore.kernels.vectors import _scale_exact, _sum_squares, _vecmat


@njit(nogil=True, error_model="numpy", inline="always")
def _in_rows(W: Array, matrix: Array) -> Array:
    """A layer's matrix in padded rows: as it is where it has no padding, else a copy."""
    if W.shape[1] == matrix.shape[1]:
        return W
    _pack_rows(W, matrix, matrix.shape[1])
    return matrix


@kernel()
def _deep_forward(
    W: Array,
    bias: Array,
    activation: int,
    near_zero: Array,
    far: Array,
    residual: bool,
    matrix: Array,
    x: Array,
    exponent: int,
    vectors: Array,
    slopes: Array,
    activity: Array,
    activity_exponent: Integers,
) -> int:
    """Run all L layers of W (L, N, N) from 2**exponent x (P,), and keep what the last T need.

    slopes[j] is s' of what goes into layer L - T + j + 1, and activity[j + 1] 4**its exponent the
    square norm of s of it; activity[0] is that of the layer before, 0 if there is none. Scratch:
    matrix (N, P), vectors (3 P,).
    """
    L, n, P, T = W.shape[0], W.shape[1], x.size, slopes.shape[0]
    value, start, scratch = vectors[:P], vectors[P : 2 * P], vectors[2 * P : 3 * P]
    exponent = _rescale_state(x, exponent, near_zero, far)
    activity[0] = 0.0
    activity_exponent[0] = 0
    for layer in range(L):
        j = max(layer + 1 - (L - T), 0)
        slope = slopes[max(j - 1, 0)]
        _activate_at(activation, near_zero, far, x, exponent, n, scratch, value, slope)
        activity[j], activity_exponent[j] = _squares(value, exponent, scratch)
        _copy(bias[layer], start)
        before = exponent
        exponent = _meet_drive(x if residual else value, exponent, start)
        if residual:
            if exponent != before:
                _scale_exact(value, before)
            for i in range(P):
                start[i] += x[i]
        _matvec(_in_rows(W[layer], matrix), value, start, x)
        if _has_left(x, exponent, n, _sum_squares(x)):
            exponent = _rescale_state(x, exponent, near_zero, far)
    return exponent


@njit(nogil=True, error_model="numpy", inline="always")
def _deep_backward(
    W: Array,
    residual: bool,
    matrix: Array,
    delta: Array,
    vectors: Array,
    slopes: Array,
    squares: Array,
    exponents: Integers,
) -> None:
    """Carry the gradient `delta` (P,) back over T layers; as `_backward` of the RNN."""
    P, T = delta.size, slopes.shape[0]
    product, zeros = vectors[:P], vectors[P : 2 * P]
    zeros[:] = 0.0
    squares[:] = 0.0
    exponents[:] = exponent = 0
    for lag in range(T + 1):
        if lag > 0:
            _vecmat(delta, _in_rows(W[W.shape[0] - lag], matrix), zeros, product)
            slope = slopes[T - lag]
            if residual:
                for i in range(P):
                    delta[i] += slope[i] * product[i]
            else:
                for i in range(P):
                    delta[i] = slope[i] * product[i]
        squares[lag], exponents[lag] = _scaled_squares(delta, exponent)
        exponent = exponents[lag]
        if squares[lag] == 0.0:
            break


@kernel()
def _deep_jacobian(W: Array, residual: bool, slope: Array, out: Array) -> None:
    """Set out (N, N or more) to the transposed Jacobian of a layer W (N, N)."""
    n = W.shape[0]
    out[:] = 0.0
    for r in range(n):
        for i in range(n):
            out[i, r] = slope[i] * W[r, i]
        if residual:
            out[r, r] += 1.0


@kernel()
def _deep_batch(
    W: Array,
    bias: Array,
    activation: int,
    near_zero: Array,
    far: Array,
    residual: bool,
    inputs: Array,
    initial_state: Array,
    loss_gradient: Array,
    burn_in: int,
    matrix: Array,
    state: Array,
    vectors: Array,
    slopes: Array,
    squares: Array,
    exponents: Integers,
    logs: Array,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Profiles of several draws, one after another; inputs and burn_in are not used.

    W (draws, L, N, N), bias (draws, L, N). Scratch: matrix (N, P), state (P,), vectors (3 P,),
    slopes (T, P), squares and exponents (2, T + 1), logs (T + 1,).
    """
    for d in range(out_log_norm.shape[0]):
        for k in range(out_log_norm.shape[1]):
            _copy(_of_row(initial_state, d, k), state)
            _deep_forward(
                W[d],
                bias[d],
                activation,
                near_zero,
                far,
                residual,
                matrix,
                state,
                int(np.int64(0)),  # not 0, for whose type all would be compiled again
                vectors,
                slopes,
                squares[0],
                exponents[0],
            )
            _copy(_of_row(loss_gradient, d, k), state)
            _deep_backward(W[d], residual, matrix, state, vectors, slopes, squares[1], exponents[1])
            _logs(
                squares[1],
                exponents[1],
                squares[0],
                exponents[0],
                logs,
                out_log_norm[d, k],
                out_log_contribution[d, k],
            )
