"""Gradient profile of the vanilla RNN for several rows at once, one in each lane of a vector.

A row is one trajectory of one draw. Entry i of row l is at i L + l, so that one
vector instruction does the same step of 16 float32 or 8 float64 rows: no sum runs across a vector,
and the latency of an activation is paid once for all. The bits are those of `kernels.rnn`.

L is the number of lanes; the rest is as in `kernels.rnn`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.rnn import (
    _FAR,
    _HIGH,
    _LOW,
    _activate_far,
    _bounds,
    _logs,
    _of_row,
    _rescale_state,
    _scaled_squares,
)
from vgcore.kernels.vectors import (
    _max_abs,
    _piecewise_linear_lanes,
    _scale_exact,
    _sum_squares_lanes,
    _vecmat_lanes,
)


@njit(cache=True, nogil=True, error_model="numpy")
def _pack_lane(matrix: Array, transpose: bool, lane: int, out: Array) -> None:
    """Copy a matrix, or its transpose, into one lane of out."""
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            if transpose:
                out[j, i, lane] = matrix[i, j]
            else:
                out[i, j, lane] = matrix[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _put(source: Array, lane: int, lanes: int, target: Array) -> None:
    """Copy the first entries of a vector into one lane."""
    for i in range(target.size // lanes):
        target[i * lanes + lane] = source[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _take(source: Array, lane: int, lanes: int, target: Array) -> None:
    """Copy one lane into the first entries of a vector."""
    for i in range(source.size // lanes):
        target[i] = source[i * lanes + lane]


@njit(cache=True, nogil=True, error_model="numpy")
def _squares_lanes(
    x: Array,
    exponent: Integers,
    usual: Array,
    row: Array,
    squares: Array,
    exponents: Integers,
    keep: bool,
) -> None:
    """Set squares 4**exponents to the square norms of x 2**exponent, as `_scaled_squares` does.

    Where a lane is rescaled for that, `keep` says whether x and exponent are rescaled with it.
    """
    lanes = squares.size
    outside = _sum_squares_lanes(x, usual, squares)
    for lane in range(lanes):
        exponents[lane] = exponent[lane]
    if outside:
        for lane in range(lanes):
            if not _LOW <= squares[lane] <= _HIGH:
                _take(x, lane, lanes, row)
                squares[lane], exponents[lane] = _scaled_squares(row, exponent[lane])
                if keep:
                    _put(row, lane, lanes, x)
                    exponent[lane] = exponents[lane]


@njit(cache=True, nogil=True, error_model="numpy")
def _set_exponent(
    lane: int,
    e: int,
    n: int,
    near_zero: Array,
    far: Array,
    exponent: Integers,
    bounds: Array,
    lines: Array,
    small: Array,
) -> None:
    """Note the exponent of the state of one lane, and what follows from it."""
    exponent[lane] = e
    bounds[0, lane], bounds[1, lane] = _bounds(e, n)
    for side in range(2):
        lines[side, lane] = np.nan if e == 0 else (near_zero if e < 0 else far)[side]
    small[lane] = np.ldexp(1.0, _FAR - e) if e > 0 else -1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _settle_lane(
    lane: int,
    near_zero: Array,
    far: Array,
    x: Array,
    row: Array,
    exponent: Integers,
    bounds: Array,
    lines: Array,
    small: Array,
) -> None:
    """Bring the state of one lane back into range."""
    lanes = exponent.size
    _take(x, lane, lanes, row)
    e = _rescale_state(row, exponent[lane], near_zero, far)
    _put(row, lane, lanes, x)
    _set_exponent(lane, e, x.size // lanes, near_zero, far, exponent, bounds, lines, small)


@njit(cache=True, nogil=True, error_model="numpy")
def _any_small(x: Array, small: Array) -> bool:
    """Whether an entry is as small as the bound of its lane."""
    lanes = small.size
    found = False
    for first in range(0, x.size, lanes):
        for lane in range(lanes):
            found |= abs(x[first + lane]) <= small[lane]
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _activate_moved(
    activation: int,
    far: Array,
    x: Array,
    exponent: Integers,
    lines: Array,
    small: Array,
    rows: Array,
    value: Array,
    slope: Array,
) -> None:
    """Activations of the lanes with an exponent: their lines, but for a small entry beside large.

    Those are rare, and go one row at a time.
    """
    _piecewise_linear_lanes(lines, x, value, slope)
    if _any_small(x, small):
        lanes = exponent.size
        for lane in range(lanes):
            if exponent[lane] > 0:
                _take(x, lane, lanes, rows[0])
                _activate_far(activation, far, rows[0], exponent[lane], rows[1], rows[2], rows[3])
                _put(rows[2], lane, lanes, value)
                _put(rows[3], lane, lanes, slope)


@njit(cache=True, nogil=True, error_model="numpy")
def _meet_input(
    near_zero: Array,
    far: Array,
    drive: Array,
    row: Array,
    value: Array,
    exponent: Integers,
    bounds: Array,
    lines: Array,
    small: Array,
    scaled_drive: Array,
) -> None:
    """Bring the drive to the scale of each large state, and each small driven one to its own."""
    lanes = exponent.size
    for lane in range(lanes):
        _take(drive, lane, lanes, row)
        driven = _max_abs(row) != 0.0
        _take(value, lane, lanes, row)
        if driven and (exponent[lane] < 0 or (exponent[lane] > 0 and _max_abs(row) == 0.0)):
            _scale_exact(row, exponent[lane])
            _put(row, lane, lanes, value)
            n = value.size // lanes
            _set_exponent(lane, 0, n, near_zero, far, exponent, bounds, lines, small)
        _take(drive, lane, lanes, row)
        if exponent[lane] > 0:
            _scale_exact(row, -exponent[lane])
        _put(row, lane, lanes, scaled_drive)


@njit(cache=True, nogil=True, error_model="numpy")
def _forward_lanes(
    forward: Array,
    input_weights: Array,
    bias: Array,
    activation: int,
    near_zero: Array,
    far: Array,
    inputs: Array,
    draws: Integers,
    trajectories: Integers,
    burn_in: int,
    n_steps: int,
    x: Array,
    value: Array,
    drive: Array,
    scaled_drive: Array,
    used_input: Array,
    rows: Array,
    squares: Array,
    exponent: Integers,
    usual: Array,
    bounds: Array,
    lines: Array,
    small: Array,
    slopes: Array,
    activity: Array,
    activity_exponent: Integers,
) -> None:
    """Run burn_in + n_steps steps from the state x and keep what the backward pass needs."""
    lanes, row = squares.size, rows[0]
    for lane in range(lanes):
        activity[0, lane] = 0.0
        activity_exponent[0, lane] = exponent[lane] = 0
        _settle_lane(lane, near_zero, far, x, row, exponent, bounds, lines, small)
    moved = bool(np.any(exponent != 0))
    for t in range(burn_in + n_steps):
        slope = slopes[max(t - burn_in, 0)]
        _activate(activation, x, value, slope)
        if moved:
            _activate_moved(activation, far, x, exponent, lines, small, rows, value, slope)
        if t >= burn_in - 1:
            j = t - burn_in + 1
            _squares_lanes(value, exponent, usual, row, activity[j], activity_exponent[j], False)
        if t == 0 or inputs.shape[2] > 1:
            for lane in range(lanes):
                now = _of_row(inputs, draws[lane], trajectories[lane])[min(t, inputs.shape[2] - 1)]
                for i in range(now.size):
                    used_input[i * lanes + lane] = now[i]
            _vecmat_lanes(used_input, input_weights, bias, drive)
        start = drive
        if moved and _max_abs(drive) != 0.0:
            start = scaled_drive
            _meet_input(
                near_zero, far, drive, row, value, exponent, bounds, lines, small, scaled_drive
            )
            moved = bool(np.any(exponent != 0))
        _vecmat_lanes(value, forward, start, x)
        if _sum_squares_lanes(x, bounds, squares):
            for lane in range(lanes):
                if not bounds[0, lane] <= squares[lane] <= bounds[1, lane]:
                    _settle_lane(lane, near_zero, far, x, row, exponent, bounds, lines, small)
            moved = bool(np.any(exponent != 0))


@njit(cache=True, nogil=True, error_model="numpy")
def _backward_lanes(
    backward: Array,
    slopes: Array,
    delta: Array,
    product: Array,
    zeros: Array,
    usual: Array,
    row: Array,
    exponent: Integers,
    squares: Array,
    exponents: Integers,
) -> None:
    """Carry the gradients delta back over T steps; as `_backward_lane` in every lane."""
    n_steps = slopes.shape[0]
    exponent[:] = 0
    for lag in range(n_steps + 1):
        if lag > 0:
            _vecmat_lanes(delta, backward, zeros, product)
            slope = slopes[n_steps - lag]
            for i in range(delta.size):
                delta[i] = slope[i] * product[i]
        _squares_lanes(delta, exponent, usual, row, squares[lag], exponents[lag], True)


@njit(cache=True, nogil=True, error_model="numpy")
def _profile_lanes_batch(
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
    used_input: Array,
    vectors: Array,
    rows: Array,
    lane_values: Array,
    slopes: Array,
    squares: Array,
    exponents: Integers,
    series: Array,
    series_exponents: Integers,
    places: Integers,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Profiles of several draws, L rows at a time; as `_profile_batch`.

    The last axis of forward and backward (N, N, 1 or L) and of input_weights (n_inputs, N, 1 or L)
    is 1 where all lanes hold trajectories of one draw, and L where each lane may be of any draw.
    Scratch: used_input (n_inputs L,), vectors (6, N L), rows (4, P), lane_values (8, L),
    slopes (T, N L), squares and exponents (2, T + 1, L), series (3, T + 1), series_exponents
    (2, T + 1), places (3, L).
    """
    lanes = lane_values.shape[1]
    n_draws, n_trajectories, n_times = out_log_norm.shape
    x, value, drive, scratch = vectors[0], vectors[1], vectors[2], vectors[3]
    padded_bias, zeros = vectors[4], vectors[5]
    zeros[:] = 0.0
    usual = lane_values[6:8]
    usual[0], usual[1] = _LOW, _HIGH
    draws, trajectories, exponent = places[0], places[1], places[2]
    depth = forward.shape[2]
    n_rows = n_draws * n_trajectories
    span = n_rows if depth > 1 else n_trajectories
    for begin in range(0, n_rows, span):
        for first in range(begin, begin + span, lanes):
            for lane in range(lanes):  # the last row fills the lanes left over
                place = min(first + lane, begin + span - 1)
                d, k = place // n_trajectories, place % n_trajectories
                draws[lane], trajectories[lane] = d, k
                _put(bias[d], lane, lanes, padded_bias)
                _put(_of_row(initial_state, d, k), lane, lanes, x)
                if lane < depth:
                    _pack_lane(W_rec[d], True, lane, forward)
                    _pack_lane(W_rec[d], as_printed, lane, backward)
                    _pack_lane(W_in[d], True, lane, input_weights)
            _forward_lanes(
                forward,
                input_weights,
                padded_bias,
                activation,
                near_zero,
                far,
                inputs,
                draws,
                trajectories,
                burn_in,
                slopes.shape[0],
                x,
                value,
                drive,
                scratch,
                used_input,
                rows,
                lane_values[0],
                exponent,
                usual,
                lane_values[1:3],
                lane_values[3:5],
                lane_values[5],
                slopes,
                squares[0],
                exponents[0],
            )
            for lane in range(lanes):
                _put(_of_row(loss_gradient, draws[lane], trajectories[lane]), lane, lanes, x)
            _backward_lanes(
                backward,
                slopes,
                x,
                value,
                zeros,
                usual,
                rows[0],
                exponent,
                squares[1],
                exponents[1],
            )
            for lane in range(min(lanes, begin + span - first)):
                for j in range(n_times):
                    for which in range(2):
                        series[which, j] = squares[which, j, lane]
                        series_exponents[which, j] = exponents[which, j, lane]
                _logs(
                    series[1],
                    series_exponents[1],
                    series[0],
                    series_exponents[0],
                    series[2],
                    out_log_norm[draws[lane], trajectories[lane]],
                    out_log_contribution[draws[lane], trajectories[lane]],
                )
