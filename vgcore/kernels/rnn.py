"""Gradient profile of the vanilla RNN, x_t = W s(x_{t-1}) + W_in u_t + b.

Each state and each gradient is held as a vector times a power of two, so that neither overflows nor
underflows at any horizon. Scaling by a power of two rounds nothing. The entries of one vector share
the power: one that falls 2**1074 below the largest is lost.

Arrays of one draw: W_rec (N, N), W_in (N, n_inputs), bias (N,), inputs (time, n_inputs) with time 1
for a constant input. P is N padded to whole vectors, T is n_steps.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.elementary import _log
from vgcore.kernels.vectors import _exponent, _max_abs, _scale_exact, _sum_squares, _vecmat

LN2 = np.log(2.0)

# A gradient is rescaled where its largest entry leaves these bounds: far from where its squares
# or its product with a matrix of any sane size would leave the range of float32.
_LOW, _HIGH = 2.0**-10, 2.0**10

# Beyond these powers of two every unbounded activation is piecewise linear, and every one with
# s(0) = 0 is so near zero, to float64 precision.
_NEAR, _FAR = -60, 40


@njit(cache=True, nogil=True, error_model="numpy")
def _pack(matrix: Array, transpose: bool, out: Array) -> None:
    """Copy a matrix, or its transpose, into zero-padded rows."""
    out[:] = 0.0
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            if transpose:
                out[j, i] = matrix[i, j]
            else:
                out[i, j] = matrix[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(source: Array, target: Array) -> None:
    """Set the first entries of target to source and the rest to zero.

    A loop, since an assignment to a slice takes seconds to compile for the error message in it.
    """
    target[:] = 0.0
    for i in range(source.size):
        target[i] = source[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(x: Array) -> int:
    """Scale x in place to a largest entry in [1, 2); return e with old x = 2**e new x."""
    exponent = _exponent(_max_abs(x))
    _scale_exact(x, -exponent)
    return exponent


@njit(cache=True, nogil=True, error_model="numpy")
def _rescale_state(x: Array, exponent: int, near_zero: Array, far: Array) -> int:
    """Bring the state 2**exponent x back into range and return its new exponent.

    An exponent below 0 stands for a state so small that the activation is piecewise linear, one
    above 0 for a state whose largest entry is so large that it is there.
    """
    largest = _max_abs(x)
    if exponent == 0 and 2.0**_NEAR <= largest <= 2.0**_FAR:
        return 0
    if largest == 0.0 or largest == np.inf:
        return exponent
    total = exponent + _exponent(largest)
    far_out = total >= _FAR and not np.isnan(far[0])
    close_in = total < _NEAR and not np.isnan(near_zero[0])
    if far_out or close_in:
        return exponent + _normalise(x)
    _scale_exact(x, exponent)
    return 0


@njit(cache=True, nogil=True, error_model="numpy")
def _piecewise_linear(slopes: Array, x: Array, value: Array, slope: Array) -> None:
    """An activation with one slope below zero and one above; at zero the lower one."""
    for j in range(x.size):
        slope[j] = slopes[1] if x[j] > 0.0 else slopes[0]
        value[j] = slope[j] * x[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _activate_far(
    activation: int, far: Array, x: Array, exponent: int, scratch: Array, value: Array, slope: Array
) -> None:
    """Activation of the large state 2**exponent x: its lines for the entries that are large."""
    _copy(x, scratch)
    _scale_exact(scratch, exponent)
    _activate(activation, scratch, value, slope)
    shrink = 2.0 ** (-exponent)
    for j in range(x.size):
        if abs(scratch[j]) < 2.0**_FAR:
            value[j] *= shrink
        else:
            slope[j] = far[1] if x[j] > 0.0 else far[0]
            value[j] = slope[j] * x[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _forward_lane(
    forward: Array,
    input_weights: Array,
    bias: Array,
    activation: int,
    near_zero: Array,
    far: Array,
    inputs: Array,
    initial_state: Array,
    burn_in: int,
    n_steps: int,
    x: Array,
    value: Array,
    drive: Array,
    slopes: Array,
    activity: Array,
    activity_exponent: Integers,
) -> None:
    """Run burn_in + n_steps steps and keep what the backward pass needs.

    slopes[j] is s'(x_{burn_in + j}), j < T; activity[j] 4**activity_exponent[j] is
    ||s(x_{burn_in + j - 1})||^2, j <= T, and 0 where there is no such state.
    forward (N, P) is W^T, input_weights (n_inputs, P) is W_in^T; bias, x, value, drive (P,).
    """
    n = initial_state.size
    constant_input = inputs.shape[0] == 1
    _copy(initial_state, x)
    exponent = _rescale_state(x, 0, near_zero, far)
    activity[0] = 0.0
    activity_exponent[0] = 0
    last = burn_in + n_steps - 1
    for t in range(last + 1):
        slope = slopes[max(t - burn_in, 0)]
        if exponent == 0:
            _activate(activation, x, value, slope)
        elif exponent < 0:
            _piecewise_linear(near_zero, x, value, slope)
        else:
            _activate_far(activation, far, x, exponent, drive, value, slope)
        value[n:] = 0.0  # s(0) need not be 0
        if t >= burn_in - 1:
            largest = _max_abs(value)
            j = t - burn_in + 1
            activity_exponent[j] = exponent
            if largest == 0.0 or _LOW <= largest <= _HIGH:
                activity[j] = _sum_squares(value)
            else:
                _copy(value, drive)
                activity_exponent[j] += _normalise(drive)
                activity[j] = _sum_squares(drive)
        _copy(bias, drive)
        if input_weights.shape[0] > 0:
            _vecmat(inputs[0 if constant_input else t], input_weights, drive, drive)
        if exponent < 0 and _max_abs(drive) != 0.0:  # beside it the state counts at its own size
            _scale_exact(value, exponent)
            exponent = 0
        elif exponent > 0:
            _scale_exact(drive, -exponent)
        _vecmat(value, forward, drive, x)
        exponent = _rescale_state(x, exponent, near_zero, far)


@njit(cache=True, nogil=True, error_model="numpy")
def _backward_lane(
    backward: Array,
    loss_gradient: Array,
    slopes: Array,
    activity: Array,
    activity_exponent: Integers,
    delta: Array,
    product: Array,
    zeros: Array,
    squares: Array,
    exponents: Integers,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Carry the gradient back over T steps: delta_{i-1} = diag(s'(x_{i-1})) W^T delta_i.

    backward (N, P) is W (its transpose for the Jacobian as printed); delta, product and zeros (P,);
    squares and exponents (T + 1,) hold ||delta||^2 as squares 4**exponents; out (T + 1,).
    """
    n_steps = slopes.shape[0]
    _copy(loss_gradient, delta)
    exponent = 0
    for lag in range(n_steps + 1):
        if lag > 0:
            _vecmat(delta, backward, zeros, product)
            slope = slopes[n_steps - lag]
            for j in range(delta.size):
                delta[j] = slope[j] * product[j]
        largest = _max_abs(delta)
        if largest == 0.0 and _sum_squares(delta) == 0.0:  # not where all entries are nan
            squares[lag:] = 0.0
            exponents[lag:] = 0
            break
        if not _LOW <= largest <= _HIGH:
            exponent += _normalise(delta)
        squares[lag] = _sum_squares(delta)
        exponents[lag] = exponent
    _log(squares, out_log_norm)
    _log(activity, squares)
    for lag in range(n_steps + 1):
        out_log_norm[lag] = 0.5 * out_log_norm[lag] + LN2 * exponents[lag]
        j = n_steps - lag
        out_log_contribution[lag] = (
            out_log_norm[lag] + 0.5 * squares[j] + LN2 * activity_exponent[j]
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _profile_batch(
    W_rec: Array,
    W_in: Array,
    bias: Array,
    activation: int,
    near_zero: Array,
    far: Array,
    inputs: Array,
    initial_state: Array,
    loss_gradient: Array,
    burn_in: int,
    as_printed: bool,
    forward: Array,
    backward: Array,
    input_weights: Array,
    vectors: Array,
    slopes: Array,
    series: Array,
    exponents: Integers,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Profiles of several draws, one after another.

    Leading axes of inputs, initial_state and loss_gradient are (draws or 1, trajectories or 1).
    Scratch: forward and backward (N, P), input_weights (n_inputs, P), vectors (6, P), slopes
    (T, P), series and exponents (2, T + 1). out (draws, trajectories, T + 1).
    """
    x, value, drive = vectors[0], vectors[1], vectors[2]
    padded_bias, delta, zeros = vectors[3], vectors[4], vectors[5]
    zeros[:] = 0.0
    for d in range(out_log_norm.shape[0]):
        _pack(W_rec[d], True, forward)
        _pack(W_rec[d], as_printed, backward)
        _pack(W_in[d], True, input_weights)
        _copy(bias[d], padded_bias)
        for k in range(out_log_norm.shape[1]):
            _forward_lane(
                forward,
                input_weights,
                padded_bias,
                activation,
                near_zero,
                far,
                inputs[min(d, inputs.shape[0] - 1), min(k, inputs.shape[1] - 1)],
                initial_state[
                    min(d, initial_state.shape[0] - 1), min(k, initial_state.shape[1] - 1)
                ],
                burn_in,
                slopes.shape[0],
                x,
                value,
                drive,
                slopes,
                series[0],
                exponents[0],
            )
            _backward_lane(
                backward,
                loss_gradient[
                    min(d, loss_gradient.shape[0] - 1), min(k, loss_gradient.shape[1] - 1)
                ],
                slopes,
                series[0],
                exponents[0],
                delta,
                x,
                zeros,
                series[1],
                exponents[1],
                out_log_norm[d, k],
                out_log_contribution[d, k],
            )
