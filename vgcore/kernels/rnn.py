"""Gradient profile of the vanilla RNN, x_t = W s(x_{t-1}) + W_in u_t + b.

A row is one trajectory of one draw, and several rows are carried side by side: draws of few units,
so that an activation or a product of one hides the latency of another, and trajectories, whose
product with the matrix they share is one of matrices. Row r of a vector has its entries at r P.

Each state and each gradient is held as a vector times a power of two, so that neither overflows nor
underflows at any horizon. Scaling by a power of two rounds nothing. The entries of one vector share
the power: one that falls 2**800 (float32: 2**100) below the largest is lost.

P is N padded to whole vectors, T is n_steps. D draws have K trajectories each side by side, R = D K
rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.columns import _row_squares
from vgcore.kernels.elementary import _log
from vgcore.kernels.jit import _apart, helper, kernel
from vgcore.kernels.vectors import (
    BYTES,
    _exponent,
    _in_range,
    _max_abs,
    _multiply_rows,
    _normalise,
    _panels,
    _range,
    _scale_exact,
    _sum_squares,
    _turn,
    _vecmat,
    aligned_zeros,
    padded,
    panel_size,
)

LN2 = np.log(2.0)

# Beyond these powers of two every unbounded activation is piecewise linear, and every one with
# s(0) = 0 is so near zero, to float64 precision.
_NEAR, _FAR = -60, 40

# Up to so many vectors of draws are carried side by side, if their matrices take no more than half
# of the first cache (32 KiB where it was measured), and at most so many trajectories of a draw.
_VECTORS, _MATRIX_BYTES, _TRAJECTORIES = 16, 2**14, 16

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

    panel: int  # the most vectors in a row of a panel of the next two

    forward: Array  # W^T (D, N, P)
    backward: Array  # W, or its transpose for the Jacobian as printed (D, N, P)
    input_weights: Array  # W_in^T (D, n_inputs, P)
    bias: Array  # (R P,), and so are the next five
    x: Array
    y: Array
    value: Array
    drive: Array
    start: Array
    row: Array  # (P,)
    exponent: Integers  # (R,)
    since: Integers  # (R,)
    ignored: Array  # (R,)
    slopes: Array  # (T, R P)
    norms: Array  # (T + 1, R): square norms over 4**norm_exponents
    norm_exponents: Array  # (R, T + 1)
    activity: Array  # (T + 2, R): by lag, and a last place for what comes before
    activity_exponents: Array  # (R, T + 2)
    squares: Array  # (T + 1,), and so is the next
    logs: Array


def rows_side_by_side(
    n: int,
    dtype: np.dtype[Any],
    n_trajectories: int,
    n_steps: int,
    matrices: int = 1,
    kept: int = 1,
) -> tuple[int, int]:
    """Return how many draws, and how many trajectories of each, are carried side by side.

    A draw has so many matrices, and so many vectors are kept of a step.
    """
    P = padded(n, dtype)
    width = P * dtype.itemsize // BYTES
    row = n_steps * kept * width * BYTES
    K = min(n_trajectories, _TRAJECTORIES, max(1, SLOPE_BYTES // row))
    D = min(_VECTORS // (width * K), _MATRIX_BYTES // (matrices * n * width * BYTES))
    return max(1, min(D, SLOPE_BYTES // (K * row))), K


def new_rows(D: int, K: int, n: int, n_inputs: int, n_steps: int, dtype: np.dtype[Any]) -> Rows:
    """Scratch for K trajectories of each of D draws."""
    P, R = padded(n, dtype), D * K
    forward, backward = aligned_zeros((2, D, n, P), dtype)
    bias, x, y, value, drive, start = aligned_zeros((6, R * P), dtype)
    exponent, since = np.zeros((2, R), np.int64)
    squares, logs = np.zeros((2, n_steps + 1))
    return Rows(
        panel=panel_size(n, dtype, K),
        forward=forward,
        backward=backward,
        input_weights=aligned_zeros((D, n_inputs, P), dtype),
        bias=bias,
        x=x,
        y=y,
        value=value,
        drive=drive,
        start=start,
        row=aligned_zeros(P, dtype),
        exponent=exponent,
        since=since,
        ignored=aligned_zeros(R, dtype),
        slopes=aligned_zeros((n_steps, R * P), dtype),
        norms=aligned_zeros((n_steps + 1, R), dtype),
        norm_exponents=np.zeros((R, n_steps + 1)),
        activity=aligned_zeros((n_steps + 2, R), dtype),
        activity_exponents=np.zeros((R, n_steps + 2)),
        squares=squares,
        logs=logs,
    )


@helper()
def _pack_transpose(matrix: Array, out: Array) -> None:
    """Copy the transpose of any matrix into zero-padded rows."""
    out[:] = 0.0
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            out[j, i] = matrix[i, j]


@helper()
def _pack_rows(matrix: Array, out: Array, most: int) -> None:
    """Copy a contiguous matrix into zero-padded rows, in panels of at most so many vectors."""
    n, lanes, flat = len(out), BYTES // out.itemsize, out.reshape(out.size)
    count, least, more = _panels(out, most)
    for i in range(n):
        first = 0
        for panel in range(count):
            size = least + lanes if panel < more else least
            start = first * n + i * size
            _copy(matrix[i, first : min(first + size, n)], flat[start : start + size])
            first += size


@helper()
def _pack_columns(matrix: Array, out: Array, most: int) -> None:
    """Copy the transpose of a contiguous square matrix likewise, in whole squares."""
    n, lanes, flat = len(out), BYTES // out.itemsize, out.reshape(out.size)
    count, least, more = _panels(out, most)
    begin = 0
    for panel in range(count):
        size = least + lanes if panel < more else least
        part = flat[begin * n : (begin + size) * n].reshape(n, size)
        part[:] = 0.0
        for first in range(begin, min(begin + size, n), lanes):
            if first + lanes <= n:
                _turn(matrix, first, 0, n, part, 0, 1, first - begin)
            else:
                for i in range(first, n):
                    for j in range(n):
                        part[j, i - begin] = matrix[i, j]
        begin += size


@kernel()
def _copy(source: Array, target: Array) -> None:
    """Set the first entries of target to source and the rest to zero.

    A loop, since an assignment to a slice takes seconds to compile for the error message in it.
    """
    _apart()
    target[:] = 0.0
    for i in range(source.size):
        target[i] = source[i]


@njit(nogil=True, error_model="numpy", inline="always")
def _of_row(array: Array, draw: int, trajectory: int) -> Array:
    """Return the part of one draw and trajectory; its axes are (draws or 1, trajectories or 1)."""
    part: Array = array[min(draw, array.shape[0] - 1), min(trajectory, array.shape[1] - 1)]
    return part


@helper()
def _scaled_squares(x: Array, exponent: int) -> tuple[float, int]:
    """Return s, e with ||2**exponent x||^2 = s 4**e; an exact zero has s = e = 0.

    x is rescaled in place where s is not in range.
    """
    _apart()
    square = _sum_squares(x)
    if not _in_range(square, x):
        if square == 0.0 and _max_abs(x) == 0.0:
            return square, 0
        exponent += _normalise(x)
        square = _sum_squares(x)
    return square, exponent


@helper()
def _rescale_state(x: Array, exponent: int, near_zero: Array, far: Array) -> int:
    """Bring the state 2**exponent x back into range and return its new exponent.

    An exponent below 0 stands for a state so small that the activation is piecewise linear, one
    above 0 for a state whose largest entry is so large that it is there.
    """
    _apart()
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


@helper(forceinline=True)
def _piecewise_linear(slopes: Array, x: Array, value: Array, slope: Array) -> None:
    """An activation with one slope below zero and one above; at zero the lower one."""
    for j in range(x.size):
        slope[j] = slopes[1] if x[j] > 0.0 else slopes[0]
        value[j] = slope[j] * x[j]


@njit(nogil=True, error_model="numpy", inline="always")
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


@helper(forceinline=True)
def _bounds(exponent: int, n: int, x: Array) -> tuple[float, float]:
    """Between which square norms of its activity the state 2**exponent x of n units may stay."""
    least, most = _range(x)
    if exponent < 0:
        most = min(most, np.ldexp(1.0, 2 * (_NEAR - exponent)))
    elif exponent > 0:
        least = max(least, n * np.ldexp(1.0, 2 * (_FAR - exponent + 1)))
    return least, most


@helper(forceinline=True)
def _has_left(x: Array, exponent: int, n: int, square: float) -> bool:
    """Whether the square norm of its activity says that the state 2**exponent x left its range."""
    least, most = _bounds(exponent, n, x)
    return not least <= square <= most


@helper(forceinline=True)
def _activate_at(
    activation: int,
    near_zero: Array,
    far: Array,
    x: Array,
    exponent: int,
    n: int,
    scratch: Array,
    value: Array,
    slope: Array,
) -> None:
    """Activation of n units at 2**exponent x; the value is at that scale too."""
    if exponent == 0:
        _activate(activation, x, value, slope)
    elif exponent < 0:
        _piecewise_linear(near_zero, x, value, slope)
    else:
        _activate_far(activation, far, x, exponent, scratch, value, slope)
    _clear_padding(value, n, value.size)


@helper(forceinline=True)
def _clear_padding(x: Array, n: int, P: int) -> None:
    """Zero the entries of each row beyond the units in use: s(0) need not be 0."""
    if n < P:
        for first in range(0, x.size, P):
            for i in range(first + n, first + P):
                x[i] = 0.0


@njit(nogil=True, error_model="numpy", inline="always")
def _settle(
    activation: int,
    near_zero: Array,
    far: Array,
    n: int,
    lag: int,
    x: Array,
    row: Array,
    value: Array,
    slope: Array,
    exponents: Integers,
    squares: Array,
    square_exponents: Array,
) -> bool:
    """Bring each state back into its range, activate those with an exponent, note the activities.

    Returns whether the next step needs this too.
    """
    P, again = row.size, False
    for r in range(exponents.size):
        part = slice(r * P, (r + 1) * P)
        state, activity, exponent, rescaled = x[part], value[part], exponents[r], False
        while True:  # once, or once more; a second call would be compiled a second time
            if rescaled or exponent != 0:
                _activate_at(
                    activation, near_zero, far, state, exponent, n, row, activity, slope[part]
                )
            square = float(_sum_squares(activity))
            if rescaled or not _has_left(state, exponent, n, square):
                break
            exponents[r] = exponent = _rescale_state(state, exponent, near_zero, far)
            rescaled = True
        again |= exponent != 0
        if not _in_range(square, row):
            again = True
            _copy(activity, row)
            square, exponent = _scaled_squares(row, exponent)
        squares[r] = square
        square_exponents[r, lag] = exponent
    return again


@helper()
def _meet_drive(state: Array, exponent: int, drive: Array) -> int:
    """Bring a state 2**exponent x and its drive to one scale; return the new exponent.

    A small state comes to the scale of the drive, and the drive to that of a large one.
    """
    _apart()
    if exponent == 0 or _max_abs(drive) == 0.0:
        return exponent
    if exponent < 0 or _max_abs(state) == 0.0:
        _scale_exact(state, exponent)
        return 0
    _scale_exact(drive, -exponent)
    return exponent


@njit(nogil=True, error_model="numpy", inline="always")
def _meet_drives(rows: Rows) -> bool:
    """Bring the drives to `start`, at one scale with the values; return whether one is scaled."""
    P, moved = rows.row.size, False
    for r in range(rows.exponent.size):
        part = slice(r * P, (r + 1) * P)
        _copy(rows.drive[part], rows.start[part])
        rows.exponent[r] = _meet_drive(rows.value[part], rows.exponent[r], rows.start[part])
        moved |= rows.exponent[r] != 0
    return moved


@njit(nogil=True, error_model="numpy", inline="always")
def _set_drive(network: Network, draw: int, trajectory: int, t: int, rows: Any) -> bool:
    """Set the drive of each row to W_in u_t + b; return whether one is not zero."""
    R, D, P = rows.exponent.size, rows.forward.shape[0], rows.row.size
    inputs = network.inputs
    for r in range(R):
        now = inputs[
            min(draw + r // (R // D), inputs.shape[0] - 1),
            min(trajectory + r % (R // D), inputs.shape[1] - 1),
            min(t, inputs.shape[2] - 1),
        ]
        part, weights = slice(r * P, (r + 1) * P), rows.input_weights[r // (R // D)]
        _vecmat(now, weights, rows.bias[part], rows.drive[part])
    return bool(_max_abs(rows.drive) != 0.0)


@njit(nogil=True, error_model="numpy", inline="always")
def _forward(network: Network, draw: int, trajectory: int, rows: Rows) -> None:
    """Run burn_in + T steps and keep what the backward pass needs.

    slopes[j] is s'(x_{burn_in + j}), j < T; the activity at a lag is ||s(x_{k - 1})||^2 for the
    step k so far back, and 0 where there is no such state. The first row is of this draw and
    trajectory.
    """
    near_zero, far, activation = network.near_zero, network.far, network.activation
    n, R, P = network.bias.shape[1], rows.exponent.size, rows.row.size
    burn_in, n_steps = network.burn_in, rows.slopes.shape[0]
    x, y, value = rows.x, rows.y, rows.value
    _place(network.initial_state, draw, trajectory, rows, x)
    rows.exponent[:] = 0
    rows.activity[n_steps] = 0.0
    rows.activity_exponents[:] = 0.0
    careful = driven = False
    for t in range(burn_in + n_steps):
        lag = min(burn_in + n_steps - 1 - t, n_steps + 1)
        slope, squares = rows.slopes[max(t - burn_in, 0)][: x.size], rows.activity[lag][:R]
        _activate(activation, x, value, slope)
        _clear_padding(value, n, P)
        if t == 0 or network.inputs.shape[2] > 1:
            driven = _set_drive(network, draw, trajectory, t, rows)
        turn, start = t % 2, rows.drive
        if careful or _multiply_rows(value, rows.forward, rows.panel, turn, start, y, squares):
            careful = _settle(
                activation, near_zero, far, n, lag, x, rows.row, value, slope, rows.exponent,
                squares, rows.activity_exponents,
            )  # fmt: skip
            if careful and driven:
                careful = _meet_drives(rows)
                start = rows.start
            _multiply_rows(value, rows.forward, rows.panel, turn, start, y, rows.ignored)
        x, y = y, x


@njit(nogil=True, error_model="numpy", inline="always")
def _backward(network: Network, draw: int, trajectory: int, rows: Rows) -> None:
    """Carry the gradient back over T steps: delta_{i-1} = diag(s'(x_{i-1})) W^T delta_i.

    Sets norms 4**norm_exponents to ||delta||^2 at each lag.
    """
    n_steps, R, P = rows.slopes.shape[0], rows.exponent.size, rows.row.size
    delta, product, exponents, since = rows.x, rows.y, rows.exponent, rows.since
    zeros = rows.value
    _place(network.loss_gradient, draw, trajectory, rows, delta)
    zeros[:] = 0.0
    exponents[:] = 0
    since[:] = 0
    for lag in range(n_steps + 1):
        squares, turn = rows.norms[lag][:R], (lag + 1) % 2
        if lag > 0:
            slope = rows.slopes[n_steps - lag]
            for i in range(delta.size):
                delta[i] = slope[i] * product[i]
        if lag == n_steps:
            outside = _row_squares(delta, P, squares)
        else:
            outside = _multiply_rows(
                delta, rows.backward, rows.panel, turn, zeros, product, squares
            )
        if outside != 0:
            rescaled = False
            for r in range(R):
                if not _in_range(squares[r], delta):
                    part = slice(r * P, (r + 1) * P)
                    squares[r], exponent = _scaled_squares(delta[part], exponents[r])
                    if exponent != exponents[r]:
                        rows.norm_exponents[r, since[r] : lag] = exponents[r]
                        exponents[r], since[r] = exponent, lag
                        rescaled = True
            if rescaled:
                _multiply_rows(delta, rows.backward, rows.panel, turn, zeros, product, rows.ignored)
    for r in range(exponents.size):
        rows.norm_exponents[r, since[r] :] = exponents[r]


@helper()
def _place(vectors: Array, draw: int, trajectory: int, rows: Any, target: Array) -> None:
    """Copy the vector of each row, (draws or 1, trajectories or 1, N), to its place."""
    R, D, P = rows.exponent.size, rows.forward.shape[0], rows.row.size
    for r in range(R):
        source = vectors[
            min(draw + r // (R // D), vectors.shape[0] - 1),
            min(trajectory + r % (R // D), vectors.shape[1] - 1),
        ]
        _copy(source, target[r * P : (r + 1) * P])


@njit(nogil=True, error_model="numpy", inline="always")
def _logs(rows: Rows, r: int, out_log_norm: Array, out_log_contribution: Array) -> None:
    """Take the logarithms of one row of gradients and activities."""
    norm_exponents, activity_exponents = rows.norm_exponents[r], rows.activity_exponents[r]
    for lag in range(out_log_norm.size):
        rows.squares[lag] = rows.norms[lag, r]
    _log(rows.squares, out_log_norm)
    for lag in range(out_log_norm.size):
        rows.squares[lag] = rows.activity[lag, r]
    _log(rows.squares, rows.logs)
    for lag in range(out_log_norm.size):
        log_norm = 0.5 * out_log_norm[lag] + LN2 * norm_exponents[lag]
        out_log_norm[lag] = log_norm
        out_log_contribution[lag] = log_norm + 0.5 * rows.logs[lag] + LN2 * activity_exponents[lag]


@kernel()
def _profile_batch(
    network: Network, rows: Rows, K: int, out_log_norm: Array, out_log_contribution: Array
) -> None:
    """Profiles of several draws: out (draws, trajectories, T + 1).

    `rows` has room for K trajectories of some draws side by side.
    """
    n_draws, n_trajectories, _ = out_log_norm.shape
    P = rows.row.size
    for draw in range(0, n_draws, rows.forward.shape[0]):
        D = min(rows.forward.shape[0], n_draws - draw)
        for d in range(D):
            _pack_columns(network.W_rec[draw + d], rows.forward[d], rows.panel)
            if network.as_printed:
                _pack_columns(network.W_rec[draw + d], rows.backward[d], rows.panel)
            else:
                _pack_rows(network.W_rec[draw + d], rows.backward[d], rows.panel)
            _pack_transpose(network.W_in[draw + d], rows.input_weights[d])
        for trajectory in range(0, n_trajectories, K):
            k = min(K, n_trajectories - trajectory)
            some = _some(rows, D, D * k)
            for r in range(D * k):
                _copy(network.bias[draw + r // k], some.bias[r * P : (r + 1) * P])
            _forward(network, draw, trajectory, some)
            _backward(network, draw, trajectory, some)
            for r in range(D * k):
                d, j = draw + r // k, trajectory + r % k
                _logs(some, r, out_log_norm[d, j], out_log_contribution[d, j])


@helper()
def _some(rows: Rows, D: int, R: int) -> Rows:
    """Return the scratch of the first R rows, of D draws."""
    size = R * rows.row.size
    return Rows(
        rows.panel,
        rows.forward[:D],
        rows.backward[:D],
        rows.input_weights[:D],
        rows.bias[:size],
        rows.x[:size],
        rows.y[:size],
        rows.value[:size],
        rows.drive[:size],
        rows.start[:size],
        rows.row,
        rows.exponent[:R],
        rows.since[:R],
        rows.ignored[:R],
        rows.slopes,
        rows.norms,
        rows.norm_exponents[:R],
        rows.activity,
        rows.activity_exponents[:R],
        rows.squares,
        rows.logs,
    )
