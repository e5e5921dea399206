"""Gradient profile of the vanilla RNN, x_t = W s(x_{t-1}) + W_in u_t + b.

A row is one trajectory of one draw, and several rows are carried side by side: draws of few units,
so that an activation or a product of one hides the latency of another, and trajectories, whose
product with the matrix they share is one of matrices. Row r of a vector has its entries at r P.

Each state and each gradient is held as a vector times a power of two, so that neither overflows nor
underflows at any horizon. Scaling by a power of two rounds nothing. The entries of one vector share
the power: one that falls 2**1074 below the largest is lost.

P is N padded to whole vectors, T is n_steps. D draws have K trajectories each side by side, R = D K
rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.elementary import _log
from vgcore.kernels.vectors import (
    BYTES,
    _exponent,
    _max_abs,
    _normalise,
    _pull_rows,
    _scale_exact,
    _sum_squares,
    _sum_squares_rows,
    _vecmat_rows,
    aligned_zeros,
    padded,
)

LN2 = np.log(2.0)

# A vector is rescaled where its square norm leaves these bounds: far from where its squares or its
# product with a matrix of any sane size would leave the range of float32.
_LOWEST, _HIGHEST = -100, 80
_LOW, _HIGH = 2.0**_LOWEST, 2.0**_HIGHEST

# Beyond these powers of two every unbounded activation is piecewise linear, and every one with
# s(0) = 0 is so near zero, to float64 precision.
_NEAR, _FAR = -60, 40

# Up to so many vectors of draws are carried side by side, if their matrices take no more than half
# of the first cache (32 KiB where it was measured), and at most so many trajectories of a draw.
_VECTORS, _MATRIX_BYTES, _TRAJECTORIES = 8, 2**14, 16

# What the slopes of rows side by side may take a thread; longer ones go one by one.
SLOPE_BYTES = 2**28


class Network(NamedTuple):
    """Several draws, and what drives them; n_state is N."""

    W_rec: Array  # (draws, N, N)
    W_in: Array  # (draws, N, n_inputs)
    bias: Array  # (draws, N)
    activation: int
    near_zero: Array  # (2,): the slopes near zero, and far from it, or nan
    far: Array
    inputs: Array  # (draws or 1, trajectories or 1, time or 1, n_inputs)
    initial_state: Array  # (draws or 1, trajectories or 1, N), and so is the next
    loss_gradient: Array
    burn_in: int
    as_printed: bool


class Rows(NamedTuple):
    """Scratch for R rows side by side."""

    forward: Array  # W^T (D, N, P)
    backward: Array  # W, or its transpose for the Jacobian as printed (D, N, P)
    input_weights: Array  # W_in^T (D, n_inputs, P)
    inputs: Array  # (R n_inputs,)
    bias: Array  # (R P,), and so are the next five
    x: Array
    value: Array
    drive: Array
    start: Array
    delta: Array
    row: Array  # (P,)
    squares: Array  # (R,)
    exponent: Integers  # (R,)
    slopes: Array  # (T, R P)
    activity: Array  # (R, T + 2): square norms over 4**exponents by lag, and a place for earlier ones
    activity_exponents: Array
    norms: Array  # (R, T + 1), and so is the next
    norm_exponents: Array
    logs: Array  # (T + 1,)


def rows_side_by_side(n: int, dtype: np.dtype[Any], n_trajectories: int, n_steps: int) -> tuple[int, int]:
    """Return how many draws, and how many trajectories of each, are carried side by side."""
    P = padded(n, dtype)
    width = P * dtype.itemsize // BYTES
    K = min(n_trajectories, _TRAJECTORIES, max(1, SLOPE_BYTES // (n_steps * width * BYTES)))
    D = min(_VECTORS // (width * K), _MATRIX_BYTES // (n * width * BYTES))
    return max(1, min(D, SLOPE_BYTES // (n_steps * K * width * BYTES))), K


def new_rows(D: int, K: int, n: int, n_inputs: int, n_steps: int, dtype: np.dtype[Any]) -> Rows:
    """Scratch for K trajectories of each of D draws."""
    P, R = padded(n, dtype), D * K
    forward, backward = aligned_zeros((2, D, n, P), dtype)
    bias, x, value, drive, start, delta = aligned_zeros((6, R * P), dtype)
    activity, activity_exponents = np.zeros((2, R, n_steps + 2))
    norms, norm_exponents = np.zeros((2, R, n_steps + 1))
    return Rows(
        forward=forward,
        backward=backward,
        input_weights=aligned_zeros((D, n_inputs, P), dtype),
        inputs=aligned_zeros(R * n_inputs, dtype),
        bias=bias,
        x=x,
        value=value,
        drive=drive,
        start=start,
        delta=delta,
        row=aligned_zeros(P, dtype),
        squares=aligned_zeros(R, dtype),
        exponent=np.zeros(R, np.int64),
        slopes=aligned_zeros((n_steps, R * P), dtype),
        activity=activity,
        activity_exponents=activity_exponents,
        norms=norms,
        norm_exponents=norm_exponents,
        logs=np.zeros(n_steps + 1),
    )


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


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _activate_row(
    network: Network, x: Array, exponent: int, scratch: Array, value: Array, slope: Array
) -> int:
    """Activate a state 2**exponent x that may have left its range; return its new exponent.

    The value then has that exponent too.
    """
    exponent = _rescale_state(x, exponent, network.near_zero, network.far)
    if exponent == 0:
        _activate(network.activation, x, value, slope)
    elif exponent < 0:
        _piecewise_linear(network.near_zero, x, value, slope)
    else:
        _activate_far(network.activation, network.far, x, exponent, scratch, value, slope)
    return exponent


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _activate_rows(network: Network, rows: Rows, lag: int, slope: Array, moved: bool) -> bool:
    """Activate the states and note the square norms of the activities; return whether one moved.

    `moved` says whether a state has an exponent. While none has, all rows are activated at once.
    """
    n, R = network.bias.shape[1], rows.squares.size
    P = rows.x.size // R
    if not moved:
        _activate(network.activation, rows.x, rows.value, slope)
        _clear_padding(rows.value, n, P)
        _sum_squares_rows(rows.value, rows.squares)
    somewhere = False
    for r in range(R):
        square = rows.squares[r]
        if moved or not _LOW <= square <= _HIGH:
            part = slice(r * P, (r + 1) * P)
            value = rows.value[part]
            rows.exponent[r] = _activate_row(
                network, rows.x[part], rows.exponent[r], rows.row, value, slope[part]
            )
            _clear_padding(value, n, P)
            square = _sum_squares(value)
            if not _LOW <= square <= _HIGH:
                _copy(value, rows.row)
                square, rows.activity_exponents[r, lag] = _scaled_squares(
                    rows.row, rows.exponent[r]
                )
            else:
                rows.activity_exponents[r, lag] = rows.exponent[r]
            somewhere |= rows.exponent[r] != 0
        rows.activity[r, lag] = square
    return somewhere


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _clear_padding(x: Array, n: int, P: int) -> None:
    """Zero the entries of each row beyond the units in use: s(0) need not be 0."""
    if n < P:
        for first in range(0, x.size, P):
            for i in range(first + n, first + P):
                x[i] = 0.0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _meet_drive(rows: Rows) -> bool:
    """Bring drive and value of each row to one scale; return whether a state has an exponent.

    Beside a drive a small state counts at its own size, and beside a large one the drive does.
    """
    R = rows.squares.size
    P = rows.x.size // R
    moved = False
    for r in range(R):
        part = slice(r * P, (r + 1) * P)
        value, drive, start = rows.value[part], rows.drive[part], rows.start[part]
        _copy(drive, start)
        exponent = rows.exponent[r]
        if exponent != 0 and _max_abs(drive) != 0.0:
            if exponent < 0 or _max_abs(value) == 0.0:
                _scale_exact(value, exponent)
                rows.exponent[r] = 0
            else:
                _scale_exact(start, -exponent)
        moved |= rows.exponent[r] != 0
    return moved


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _drive(network: Network, draw: int, trajectory: int, t: int, rows: Rows) -> bool:
    """Set the drive of each row to W_in u_t + b; return whether one is not zero."""
    R, n_inputs = rows.squares.size, network.inputs.shape[3]
    K = R // rows.forward.shape[0]
    for r in range(R):
        now = network.inputs[
            min(draw + r // K, network.inputs.shape[0] - 1),
            min(trajectory + r % K, network.inputs.shape[1] - 1),
            min(t, network.inputs.shape[2] - 1),
        ]
        for i in range(n_inputs):
            rows.inputs[r * n_inputs + i] = now[i]
    _vecmat_rows(rows.inputs, rows.input_weights, rows.bias, rows.drive)
    return bool(_max_abs(rows.drive) != 0.0)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _forward(network: Network, draw: int, trajectory: int, rows: Rows) -> None:
    """Run burn_in + T steps and keep what the backward pass needs.

    slopes[j] is s'(x_{burn_in + j}), j < T; the activity at a lag is ||s(x_{k - 1})||^2 for the
    step k so far back, and 0 where there is no such state. The first row is of this draw and
    trajectory.
    """
    size, burn_in, n_steps = rows.x.size, network.burn_in, rows.slopes.shape[0]
    _place(network.initial_state, draw, trajectory, rows, rows.x)
    rows.exponent[:] = 0
    rows.activity[:, n_steps] = 0.0
    rows.activity_exponents[:] = 0.0
    moved = driven = False
    for t in range(burn_in + n_steps):
        lag = min(burn_in + n_steps - 1 - t, n_steps + 1)
        moved = _activate_rows(network, rows, lag, rows.slopes[max(t - burn_in, 0)][:size], moved)
        if t == 0 or network.inputs.shape[2] > 1:
            driven = _drive(network, draw, trajectory, t, rows)
        start = rows.drive
        if moved and driven:
            moved = _meet_drive(rows)
            start = rows.start
        _vecmat_rows(rows.value, rows.forward, start, rows.x)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _backward(network: Network, draw: int, trajectory: int, rows: Rows) -> None:
    """Carry the gradient back over T steps: delta_{i-1} = diag(s'(x_{i-1})) W^T delta_i.

    Sets norms 4**norm_exponents to ||delta||^2 at each lag.
    """
    size, n_steps, R = rows.delta.size, rows.slopes.shape[0], rows.squares.size
    P = size // R
    delta, product = rows.delta, rows.x
    _place(network.loss_gradient, draw, trajectory, rows, delta)
    _sum_squares_rows(delta, rows.squares)
    rows.exponent[:] = 0
    for lag in range(n_steps + 1):
        if lag > 0:
            slope = rows.slopes[n_steps - lag][:size]
            _pull_rows(delta, rows.backward, slope, product, rows.squares)
            delta, product = product, delta
        for r in range(R):
            square = rows.squares[r]
            if not _LOW <= square <= _HIGH:
                square, rows.exponent[r] = _scaled_squares(
                    delta[r * P : (r + 1) * P], rows.exponent[r]
                )
            rows.norms[r, lag] = square
            rows.norm_exponents[r, lag] = rows.exponent[r]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _place(vectors: Array, draw: int, trajectory: int, rows: Rows, target: Array) -> None:
    """Copy the vector of each row, (draws or 1, trajectories or 1, N), to its place."""
    R = rows.squares.size
    K, P = R // rows.forward.shape[0], target.size // R
    for r in range(R):
        source = vectors[
            min(draw + r // K, vectors.shape[0] - 1), min(trajectory + r % K, vectors.shape[1] - 1)
        ]
        _copy(source, target[r * P : (r + 1) * P])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _logs(rows: Rows, r: int, out_log_norm: Array, out_log_contribution: Array) -> None:
    """Take the logarithms of one row of gradients and activities."""
    last = out_log_norm.size
    _log(rows.norms[r], out_log_norm)
    _log(rows.activity[r][:last], rows.logs)
    norm_exponents, activity_exponents = rows.norm_exponents[r], rows.activity_exponents[r]
    for lag in range(last):
        log_norm = 0.5 * out_log_norm[lag] + LN2 * norm_exponents[lag]
        out_log_norm[lag] = log_norm
        out_log_contribution[lag] = (
            log_norm + 0.5 * rows.logs[lag] + LN2 * activity_exponents[lag]
        )


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _some(rows: Rows, D: int, K: int) -> Rows:
    """The scratch of K trajectories of D draws, from that of as many or more."""
    R = D * K
    size = R * rows.row.size
    return Rows(
        rows.forward[:D],
        rows.backward[:D],
        rows.input_weights[:D],
        rows.inputs[: R * rows.input_weights.shape[1]],
        rows.bias[:size],
        rows.x[:size],
        rows.value[:size],
        rows.drive[:size],
        rows.start[:size],
        rows.delta[:size],
        rows.row,
        rows.squares[:R],
        rows.exponent[:R],
        rows.slopes,
        rows.activity[:R],
        rows.activity_exponents[:R],
        rows.norms[:R],
        rows.norm_exponents[:R],
        rows.logs,
    )


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _profile_batch(
    network: Network, D: int, K: int, rows: Rows, out_log_norm: Array, out_log_contribution: Array
) -> None:
    """Profiles of several draws, K trajectories of D draws at a time; out (draws, trajectories, T + 1)."""
    n_draws, n_trajectories, _ = out_log_norm.shape
    P = rows.row.size
    for draw in range(0, n_draws, D):
        draws = min(D, n_draws - draw)
        for d in range(draws):
            _pack(network.W_rec[draw + d], True, rows.forward[d])
            _pack(network.W_rec[draw + d], network.as_printed, rows.backward[d])
            _pack(network.W_in[draw + d], True, rows.input_weights[d])
        for trajectory in range(0, n_trajectories, K):
            trajectories = min(K, n_trajectories - trajectory)
            some = _some(rows, draws, trajectories)
            for r in range(draws * trajectories):
                _copy(network.bias[draw + r // trajectories], some.bias[r * P : (r + 1) * P])
            _forward(network, draw, trajectory, some)
            _backward(network, draw, trajectory, some)
            for r in range(draws * trajectories):
                d, k = draw + r // trajectories, trajectory + r % trajectories
                _logs(some, r, out_log_norm[d, k], out_log_contribution[d, k])
