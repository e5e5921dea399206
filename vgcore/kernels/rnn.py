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
from vgcore.kernels.vectors import (
    _exponent,
    _max_abs,
    _normalise,
    _scale_exact,
    _sum_squares,
    _vecmat,
)

LN2 = np.log(2.0)

# A vector is rescaled where its square norm leaves these bounds: far from where its squares or its
# product with a matrix of any sane size would leave the range of float32.
_LOWEST, _HIGHEST = -100, 80
_LOW, _HIGH = 2.0**_LOWEST, 2.0**_HIGHEST

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
def _scaled_squares(x: Array, exponent: int) -> tuple[float, int]:
    """Return s, e with ||2**exponent x||^2 = s 4**e; an exact zero has s = e = 0.

    x is rescaled in place where s is not in range.
    """
    square = _sum_squares(x)
    if not _LOW <= square <= _HIGH:
        if square == 0.0 and _max_abs(x) == 0.0:
            return square, 0
        exponent += _normalise(x)
        square = _sum_squares(x)
    return square, exponent


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
def _bounds(exponent: int, n: int) -> tuple[float, float]:
    """Square norms of x between which the state 2**exponent x of n units may stay as it is."""
    if exponent < 0:
        return _LOW, np.ldexp(1.0, min(_HIGHEST, 2 * (_NEAR - exponent)))
    if exponent > 0:
        return max(_LOW, n * np.ldexp(1.0, 2 * (_FAR - exponent + 1))), _HIGH
    return _LOW, _HIGH


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
    scratch: Array,
    slopes: Array,
    activity: Array,
    activity_exponent: Integers,
) -> None:
    """Run burn_in + n_steps steps and keep what the backward pass needs.

    slopes[j] is s'(x_{burn_in + j}), j < T; activity[j] 4**activity_exponent[j] is
    ||s(x_{burn_in + j - 1})||^2, j <= T, and 0 where there is no such state.
    forward (N, P) is W^T, input_weights (n_inputs, P) is W_in^T; the other scratch is (P,).
    """
    n = initial_state.size
    constant_input = inputs.shape[0] == 1
    _copy(initial_state, x)
    exponent = _rescale_state(x, 0, near_zero, far)
    low, high = _bounds(exponent, n)
    activity[0] = 0.0
    activity_exponent[0] = 0
    for t in range(burn_in + n_steps):
        slope = slopes[max(t - burn_in, 0)]
        if exponent == 0:
            _activate(activation, x, value, slope)
        elif exponent < 0:
            _piecewise_linear(near_zero, x, value, slope)
        else:
            _activate_far(activation, far, x, exponent, scratch, value, slope)
        for i in range(n, value.size):
            value[i] = 0.0  # s(0) need not be 0
        if t >= burn_in - 1:
            j = t - burn_in + 1
            activity[j], activity_exponent[j] = _sum_squares(value), exponent
            if not _LOW <= activity[j] <= _HIGH:
                _copy(value, scratch)
                activity[j], activity_exponent[j] = _scaled_squares(scratch, exponent)
        if t == 0 or not constant_input:
            _vecmat(inputs[t if not constant_input else 0], input_weights, bias, drive)
        start = drive
        if exponent != 0 and _max_abs(drive) != 0.0:
            if exponent < 0 or _max_abs(value) == 0.0:  # beside it the state counts at its own size
                _scale_exact(value, exponent)
                exponent = 0
                low, high = _bounds(exponent, n)
            else:
                start = scratch
                _copy(drive, scratch)
                _scale_exact(scratch, -exponent)
        _vecmat(value, forward, start, x)
        if not low <= _sum_squares(x) <= high:
            exponent = _rescale_state(x, exponent, near_zero, far)
            low, high = _bounds(exponent, n)


@njit(cache=True, nogil=True, error_model="numpy")
def _backward_lane(
    backward: Array,
    loss_gradient: Array,
    slopes: Array,
    delta: Array,
    product: Array,
    zeros: Array,
    squares: Array,
    exponents: Integers,
) -> None:
    """Carry the gradient back over T steps: delta_{i-1} = diag(s'(x_{i-1})) W^T delta_i.

    backward (N, P) is W (its transpose for the Jacobian as printed); delta, product and zeros (P,);
    squares and exponents (T + 1,) take ||delta||^2 as squares 4**exponents.
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
        squares[lag], exponents[lag] = _scaled_squares(delta, exponent)
        exponent = exponents[lag]
        if squares[lag] == 0.0:
            squares[lag:] = 0.0
            exponents[lag:] = 0
            break


@njit(cache=True, nogil=True, error_model="numpy")
def _logs(
    squares: Array,
    exponents: Integers,
    activity: Array,
    activity_exponent: Integers,
    logs: Array,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Take the logarithms of one row of gradients and activities; logs (T + 1,) is scratch."""
    last = squares.size - 1
    _log(squares, out_log_norm)
    _log(activity, logs)
    for lag in range(last + 1):
        out_log_norm[lag] = 0.5 * out_log_norm[lag] + LN2 * exponents[lag]
        j = last - lag
        out_log_contribution[lag] = out_log_norm[lag] + 0.5 * logs[j] + LN2 * activity_exponent[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _of_row(array: Array, draw: int, trajectory: int) -> Array:
    """Return the part of one draw and trajectory; its axes are (draws or 1, trajectories or 1)."""
    part: Array = array[min(draw, array.shape[0] - 1), min(trajectory, array.shape[1] - 1)]
    return part


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
    Scratch: forward and backward (N, P), input_weights (n_inputs, P), vectors (7, P), slopes
    (T, P), series (3, T + 1), exponents (2, T + 1). out (draws, trajectories, T + 1).
    """
    x, value, drive, scratch = vectors[0], vectors[1], vectors[2], vectors[3]
    padded_bias, delta, zeros = vectors[4], vectors[5], vectors[6]
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
                _of_row(inputs, d, k),
                _of_row(initial_state, d, k),
                burn_in,
                slopes.shape[0],
                x,
                value,
                drive,
                scratch,
                slopes,
                series[0],
                exponents[0],
            )
            _backward_lane(
                backward,
                _of_row(loss_gradient, d, k),
                slopes,
                delta,
                x,
                zeros,
                series[1],
                exponents[1],
            )
            _logs(
                series[1],
                exponents[1],
                series[0],
                exponents[0],
                series[2],
                out_log_norm[d, k],
                out_log_contribution[d, k],
            )
