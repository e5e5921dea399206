"""Gradient profile of small vanilla RNNs, one trajectory of each draw in a lane of its own.

The steps, the scales and the bits are those of `vgcore.kernels.rnn`; only how the numbers lie
differs. A vector there holds entries of one draw, here one entry of L draws. What is rare, a state
or a gradient that leaves its range, is done lane by lane with the functions of that module.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.elementary import _log
from vgcore.kernels.interleaved import (
    _lane_squares,
    _pack_lane,
    _pull_lanes,
    _push_lanes,
    _put_lane,
    _take_lane,
)
from vgcore.kernels.rnn import (
    LN2,
    SLOPE_BYTES,
    Network,
    _activate_at,
    _bounds,
    _meet_drive,
    _rescale_state,
    _scaled_squares,
)
from vgcore.kernels.vectors import (
    BYTES,
    _in_range,
    _max_abs,
    _sum_squares,
    aligned_zeros,
    padded,
)

# The matrices of all lanes should stay in half of the first cache (32 KiB where it was measured).
_MATRIX_BYTES = 2**14

# Logarithms are taken of so many lags of all lanes at a time, which stay in the first cache.
_CHUNK = 32


class Lanes(NamedTuple):
    """Scratch for L draws, a lane each."""

    W_rec: Array  # (N, N, L)
    W_in: Array  # (N, n_inputs, L)
    bias: Array  # (P L,), and so are the next five
    x: Array
    y: Array
    value: Array
    drive: Array
    start: Array
    inputs: Array  # (whole blocks of L vectors,)
    rows: Array  # (4, P): what one lane holds
    exponent: Integers  # (L,), and so are the next five
    small: Array  # 1 where the exponent is negative
    least: Array  # square norms of the activity between which a state keeps its exponent
    most: Array
    since: Integers
    ignored: Array
    slopes: Array  # (T, N L)
    norms: Array  # (T + 1, L): square norms over 4**norm_exponents
    norm_exponents: Array  # (L, T + 1)
    activity: Array  # (T + 2, L): by lag, and a last place for what comes before
    activity_exponents: Array  # (L, T + 2)
    logs: Array  # (2, CHUNK L)


def lanes_side_by_side(
    n: int, dtype: np.dtype[Any], n_draws: int, n_trajectories: int, n_steps: int
) -> int:
    """Return how many draws go side by side in lanes, or 0 where rows are faster."""
    fits = n * n * BYTES <= _MATRIX_BYTES and n_steps * n * BYTES <= SLOPE_BYTES
    lanes = BYTES // dtype.itemsize
    return lanes if fits and n_trajectories == 1 and 2 * n_draws >= lanes else 0


def new_lanes(n: int, n_inputs: int, n_steps: int, dtype: np.dtype[Any]) -> Lanes:
    """Scratch for the draws of a vector."""
    L, P = BYTES // dtype.itemsize, padded(n, dtype)
    bias, x, y, value, drive, start = aligned_zeros((6, P * L), dtype)
    exponent, since = np.zeros((2, L), np.int64)
    ignored, small, least, most = aligned_zeros((4, L), dtype)
    return Lanes(
        W_rec=aligned_zeros((n, n, L), dtype),
        W_in=aligned_zeros((n, n_inputs, L), dtype),
        bias=bias,
        x=x,
        y=y,
        value=value,
        drive=drive,
        start=start,
        inputs=aligned_zeros(padded(n_inputs, dtype) * L, dtype),
        rows=aligned_zeros((4, P), dtype),
        exponent=exponent,
        small=small,
        least=least,
        most=most,
        since=since,
        ignored=ignored,
        slopes=aligned_zeros((n_steps, n * L), dtype),
        norms=aligned_zeros((n_steps + 1, L), dtype),
        norm_exponents=np.zeros((L, n_steps + 1)),
        activity=aligned_zeros((n_steps + 2, L), dtype),
        activity_exponents=np.zeros((L, n_steps + 2)),
        logs=np.zeros((2, _CHUNK * L)),
    )


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _set_exponent(lanes: Lanes, lane: int, exponent: int, n: int) -> None:
    """Note the exponent of a state, and between which square norms of its activity it holds."""
    lanes.exponent[lane] = exponent
    lanes.small[lane] = exponent < 0
    least, most = _bounds(exponent, n, lanes.x)
    lanes.least[lane] = least
    lanes.most[lane] = most


@njit(nogil=True, error_model="numpy", inline="always")
def _settle(
    network: Network, lanes: Lanes, lag: int, x: Array, slope: Array, squares: Array
) -> bool:
    """Bring each state back into its range, activate those with an exponent, note the activities.

    Returns whether the next step needs this too.
    """
    near_zero, far, activation = network.near_zero, network.far, network.activation
    n, L, value, exponents = network.bias.shape[1], squares.size, lanes.value, lanes.exponent
    row, row_value, row_slope, scratch = lanes.rows[0], lanes.rows[1], lanes.rows[2], lanes.rows[3]
    below, above = slope.dtype.type(near_zero[0]), slope.dtype.type(near_zero[1])
    for i in range(n):
        for lane in range(L):
            j = i * L + lane
            line = above if x[j] > 0.0 else below
            slope[j] = line if lanes.small[lane] > 0.0 else slope[j]
            value[j] = line * x[j] if lanes.small[lane] > 0.0 else value[j]
    again = False
    # one call of `_activate_at` for both, since it is long to compile
    for attempt in range(2):
        if attempt == 1:
            _lane_squares(value, squares)
        for lane in range(L):
            exponent = exponents[lane]
            left = attempt == 1 and not lanes.least[lane] <= squares[lane] <= lanes.most[lane]
            if left or (attempt == 0 and exponent > 0):
                _take_lane(x, lane, L, n, row)
                if left:
                    exponent = _rescale_state(row, exponent, near_zero, far)
                    _set_exponent(lanes, lane, exponent, n)
                    _put_lane(row[:n], lane, L, x)
                _activate_at(
                    activation, near_zero, far, row, exponent, n, scratch, row_value, row_slope
                )
                _put_lane(row_value[:n], lane, L, value)
                _put_lane(row_slope[:n], lane, L, slope)
            if left:
                squares[lane] = _sum_squares(row_value)
                if not _in_range(squares[lane], row):
                    again = True
                    squares[lane], exponent = _scaled_squares(row_value, exponent)
            lanes.activity_exponents[lane, lag] = exponent
    for lane in range(L):
        again |= exponents[lane] != 0
    return again


@njit(nogil=True, error_model="numpy", inline="always")
def _meet_drives(n: int, lanes: Lanes) -> bool:
    """Bring the drives to `start`, at one scale with the values; return whether one is scaled."""
    L, moved = lanes.exponent.size, False
    state, drive = lanes.rows[0], lanes.rows[1]
    for lane in range(L):
        _take_lane(lanes.value, lane, L, n, state)
        _take_lane(lanes.drive, lane, L, n, drive)
        _set_exponent(lanes, lane, _meet_drive(state, lanes.exponent[lane], drive), n)
        _put_lane(state[:n], lane, L, lanes.value)
        _put_lane(drive[:n], lane, L, lanes.start)
        moved |= lanes.exponent[lane] != 0
    return moved


@njit(nogil=True, error_model="numpy", inline="always")
def _set_drive(network: Network, draw: int, last: int, t: int, lanes: Lanes) -> bool:
    """Set the drive of each lane to W_in u_t + b; return whether one is not zero."""
    L = lanes.exponent.size
    t = min(t, network.inputs.shape[2] - 1)
    for lane in range(L):
        d = min(draw + lane, last, len(network.inputs) - 1)
        _put_lane(network.inputs[d, 0, t], lane, L, lanes.inputs)
    _push_lanes(lanes.inputs, lanes.W_in, lanes.bias, lanes.drive, lanes.ignored)
    return bool(_max_abs(lanes.drive) != 0.0)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _place(vectors: Array, draw: int, last: int, L: int, target: Array) -> None:
    """Copy the vector of each draw, (draws or 1, 1, N), to its lane."""
    for lane in range(L):
        _put_lane(vectors[min(draw + lane, last, len(vectors) - 1), 0], lane, L, target)


@njit(nogil=True, error_model="numpy", inline="always")
def _forward(network: Network, draw: int, last: int, lanes: Lanes) -> None:
    """Run burn_in + T steps and keep what the backward pass needs, as for rows."""
    n, L = network.bias.shape[1], lanes.exponent.size
    burn_in, n_steps = network.burn_in, lanes.slopes.shape[0]
    x, y, value = lanes.x, lanes.y, lanes.value
    _place(network.initial_state, draw, last, L, x)
    for lane in range(L):
        _set_exponent(lanes, lane, 0, n)
    lanes.activity[n_steps] = 0.0
    lanes.activity_exponents[:] = 0.0
    careful = driven = False
    for t in range(burn_in + n_steps):
        lag = min(burn_in + n_steps - 1 - t, n_steps + 1)
        slope, squares = lanes.slopes[max(t - burn_in, 0)], lanes.activity[lag]
        _activate(network.activation, x[: n * L], value[: n * L], slope)
        if t == 0 or network.inputs.shape[2] > 1:
            driven = _set_drive(network, draw, last, t, lanes)
        start = lanes.drive
        if careful or _push_lanes(value, lanes.W_rec, start, y, squares):
            careful = _settle(network, lanes, lag, x, slope, squares)
            if careful and driven:
                careful = _meet_drives(n, lanes)
                start = lanes.start
            _push_lanes(value, lanes.W_rec, start, y, lanes.ignored)
        x, y = y, x


@njit(nogil=True, error_model="numpy", inline="always")
def _backward(network: Network, draw: int, last: int, lanes: Lanes) -> None:
    """Carry the gradients back over T steps, and set norms 4**norm_exponents to ||delta||^2."""
    n, L = network.bias.shape[1], lanes.exponent.size
    n_steps, exponents, since, row = (
        lanes.slopes.shape[0],
        lanes.exponent,
        lanes.since,
        lanes.rows[0],
    )
    delta, product = lanes.x, lanes.y
    _place(network.loss_gradient, draw, last, L, delta)
    exponents[:] = 0
    since[:] = 0
    transposed = 0 if network.as_printed else 1
    outside = _lane_squares(delta, lanes.norms[0])
    for lag in range(n_steps + 1):
        squares = lanes.norms[lag]
        if lag > 0:
            slope = lanes.slopes[n_steps - lag]
            outside = _pull_lanes(delta, lanes.W_rec, transposed, slope, product, squares)
            delta, product = product, delta
        if outside != 0:
            for lane in range(L):
                if not _in_range(squares[lane], delta):
                    _take_lane(delta, lane, L, n, row)
                    squares[lane], exponent = _scaled_squares(row, exponents[lane])
                    if exponent != exponents[lane]:
                        _put_lane(row[:n], lane, L, delta)
                        lanes.norm_exponents[lane, since[lane] : lag] = exponents[lane]
                        exponents[lane], since[lane] = exponent, lag
    for lane in range(L):
        lanes.norm_exponents[lane, since[lane] :] = exponents[lane]


@njit(nogil=True, error_model="numpy", inline="always")
def _logs(lanes: Lanes, out_log_norm: Array, out_log_contribution: Array) -> None:
    """Take the logarithms of gradients and activities, as many lanes as out (draws, 1, T + 1)."""
    n_lags, L = lanes.norms.shape
    for first in range(0, n_lags, _CHUNK):
        stop = min(first + _CHUNK, n_lags)
        size = (stop - first) * L
        norms, activities = lanes.logs[0][:size], lanes.logs[1][:size]
        _log(lanes.norms[first:stop].reshape(size), norms)
        _log(lanes.activity[first:stop].reshape(size), activities)
        for d in range(len(out_log_norm)):
            for lag in range(first, stop):
                j = (lag - first) * L + d
                log_norm = 0.5 * norms[j] + LN2 * lanes.norm_exponents[d, lag]
                out_log_norm[d, 0, lag] = log_norm
                out_log_contribution[d, 0, lag] = (
                    log_norm + 0.5 * activities[j] + LN2 * lanes.activity_exponents[d, lag]
                )


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _profile_lanes(
    network: Network, lanes: Lanes, out_log_norm: Array, out_log_contribution: Array
) -> None:
    """Profiles of one trajectory of several draws: out (draws, 1, T + 1).

    Lanes that are left over at the end repeat the last draw.
    """
    n_draws, L = len(out_log_norm), lanes.exponent.size
    last = n_draws - 1
    for draw in range(0, n_draws, L):
        for lane in range(L):
            d = min(draw + lane, last)
            _pack_lane(network.W_rec[d], lane, lanes.W_rec)
            _pack_lane(network.W_in[d], lane, lanes.W_in)
            _put_lane(network.bias[d], lane, L, lanes.bias)
        _forward(network, draw, last, lanes)
        _backward(network, draw, last, lanes)
        stop = min(draw + L, n_draws)
        _logs(lanes, out_log_norm[draw:stop], out_log_contribution[draw:stop])
