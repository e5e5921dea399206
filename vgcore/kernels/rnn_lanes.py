"""Gradient profile of vanilla RNNs that share vectors: small ones, or trajectories of one.

The steps, the scales and the bits are those of `vgcore.kernels.rnn`; only how the numbers lie
differs. A vector there holds entries of one network, here Q entries of each of L networks: draws
with a matrix of their own, or trajectories of one draw. What is rare, a state or a gradient that
leaves its range, is done lane by lane with functions of that module.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.elementary import _log
from vgcore.kernels.interleaved import (
    ENTRIES,
    _lane_squares,
    _multiply_lanes,
    _pack_lanes,
    _place,
    _put_lane,
    _spread,
    _take_lane,
    places,
)
from vgcore.kernels.jit import helper, kernel
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
    FEW,
    _in_range,
    _max_abs,
    _sum_squares,
    aligned_zeros,
    padded,
)

# The matrices of all lanes, one way, should stay in three quarters of the first cache (32 KiB where
# it was measured).
_MATRIX_BYTES = 3 * 2**13

# One that all share is gone through in narrow panels: beyond half of the second cache (1 MiB) its
# lines are fetched several times.
_SHARED_BYTES = 2**19

# Logarithms are taken of so many lags of all lanes at a time, which stay in the first cache.
_CHUNK = 32


class Lanes(NamedTuple):
    """Scratch for L networks, a lane of Q entries each; V vectors hold their N entries."""

    forward: Array  # W^T: (V Q, V, L Q) as packed by `_pack_lanes`, or (N, N, 1) if they share it
    backward: Array  # W, or its transpose for the Jacobian as printed
    input_weights: Array  # W_in^T
    columns: Integers  # (L or 1, P or more): where the columns of each matrix lie in a row
    bias: Array  # (P L,), and so are the next five
    x: Array
    y: Array
    value: Array
    drive: Array
    start: Array
    inputs: Array  # (whole vectors of each network,)
    rows: Array  # (4, P): what one lane holds
    place: Integers  # (L, P or more): where the entries of each network lie
    small: Array  # (V L Q,): 1 where the exponent is negative
    exponent: Integers  # (L,), and so are the next four
    least: Array  # square norms of the activity between which a state keeps its exponent
    most: Array
    since: Integers
    ignored: Array
    slopes: Array  # (T, V L Q)
    norms: Array  # (T + 1, L): square norms over 4**norm_exponents
    norm_exponents: Array  # (T + 1, L)
    activity: Array  # (T + 2, L): by lag, and a last place for what comes before
    activity_exponents: Array  # (T + 2, L)
    logs: Array  # (2, CHUNK, L)


def lanes_side_by_side(
    n: int, dtype: np.dtype[Any], n_draws: int, n_trajectories: int, n_steps: int
) -> tuple[int, int]:
    """Return how many networks share vectors, and how many draws they are; zeros for rows.

    They are trajectories of one draw, or one of each of as many draws. Lanes that are left over
    cost as much as others: a seventh of them loses what the rest gains.
    """
    lanes = BYTES // dtype.itemsize
    row = n_steps * BYTES

    def fills(number: int, L: int) -> bool:
        return 7 * number >= 6 * -(-number // L) * L

    shared = n * n * dtype.itemsize <= _SHARED_BYTES and n * row <= SLOPE_BYTES
    if shared and fills(n_trajectories, lanes):
        return lanes, 1
    if padded(n, dtype) <= FEW * lanes:  # sums of wider matrices change their order
        for Q in ENTRIES:
            L, width = lanes // Q, -(-n // Q)
            fits = n * width * BYTES <= _MATRIX_BYTES and width * row <= SLOPE_BYTES
            if fits and fills(n_draws, L):
                return L, L
    return 0, 0


def new_lanes(L: int, D: int, n: int, n_inputs: int, n_steps: int, dtype: np.dtype[Any]) -> Lanes:
    """Scratch for L networks, trajectories of one of D draws each."""
    lanes, P = BYTES // dtype.itemsize, padded(n, dtype)
    Q = lanes // L
    V, m = -(-n // Q), -(-n_inputs // Q) * Q
    place = places(padded(max(n, n_inputs), dtype), L, lanes)
    width = lanes if D > 1 else 1
    forward, backward = aligned_zeros((2, V * Q, V, width), dtype)
    bias, x, y, value, drive, start = aligned_zeros((6, P * L), dtype)
    exponent, since = np.zeros((2, L), np.int64)
    ignored, least, most = aligned_zeros((3, L), dtype)
    return Lanes(
        forward=forward,
        backward=backward,
        input_weights=aligned_zeros((m, V, width), dtype),
        columns=place if D > 1 else np.arange(place.shape[1])[None],
        bias=bias,
        x=x,
        y=y,
        value=value,
        drive=drive,
        start=start,
        inputs=aligned_zeros(padded(n_inputs, dtype) * L, dtype),
        rows=aligned_zeros((4, P), dtype),
        place=place,
        small=aligned_zeros(V * lanes, dtype),
        exponent=exponent,
        least=least,
        most=most,
        since=since,
        ignored=ignored,
        slopes=aligned_zeros((n_steps, V * lanes), dtype),
        norms=aligned_zeros((n_steps + 1, L), dtype),
        norm_exponents=np.zeros((n_steps + 1, L)),
        activity=aligned_zeros((n_steps + 2, L), dtype),
        activity_exponents=np.zeros((n_steps + 2, L)),
        logs=np.zeros((2, _CHUNK, L)),
    )


@helper()
def _set_exponent(lanes: Lanes, lane: int, exponent: int, n: int) -> None:
    """Note the exponent of a state, and between which square norms of its activity it holds."""
    lanes.exponent[lane] = exponent
    for i in range(n):
        lanes.small[lanes.place[lane, i]] = exponent < 0
    least, most = _bounds(exponent, n, lanes.x)
    lanes.least[lane] = least
    lanes.most[lane] = most


@helper(forceinline=True)
def _clear(lanes: Lanes, n: int, x: Array) -> None:
    """Zero the entries of each draw beyond the units in use: s(0) need not be 0."""
    for i in range(n, len(lanes.forward)):
        for lane in range(len(lanes.place)):
            x[lanes.place[lane, i]] = 0.0


@helper(forceinline=True)
def _straighten(near_zero: Array, small: Array, x: Array, value: Array, slope: Array) -> None:
    """Activate the states that are so small that the activation is two lines."""
    below, above = x.dtype.type(near_zero[0]), x.dtype.type(near_zero[1])
    for j in range(slope.size):
        line = above if x[j] > 0.0 else below
        slope[j] = line if small[j] > 0.0 else slope[j]
        value[j] = line * x[j] if small[j] > 0.0 else value[j]


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
    _straighten(near_zero, lanes.small, x, value, slope)
    again = False
    for lane in range(L):
        lanes.activity_exponents[lag, lane] = exponents[lane]
    # one call of `_activate_at` for both, since it is long to compile
    for attempt in range(2):
        some = False
        if attempt == 1:
            _lane_squares(value, squares)
            for lane in range(L):
                some |= not lanes.least[lane] <= squares[lane] <= lanes.most[lane]
        else:
            for lane in range(L):
                some |= exponents[lane] > 0
        if not some:
            continue
        for lane in range(L):
            exponent = exponents[lane]
            left = attempt == 1 and not lanes.least[lane] <= squares[lane] <= lanes.most[lane]
            if left or (attempt == 0 and exponent > 0):
                _take_lane(x, lanes.place[lane], n, row)
                if left:
                    exponent = _rescale_state(row, exponent, near_zero, far)
                    _set_exponent(lanes, lane, exponent, n)
                    _put_lane(row[:n], lanes.place[lane], x)
                _activate_at(
                    activation, near_zero, far, row, exponent, n, scratch, row_value, row_slope
                )
                _put_lane(row_value[:n], lanes.place[lane], value)
                _put_lane(row_slope[:n], lanes.place[lane], slope)
            if left:
                squares[lane] = _sum_squares(row_value)
                if not _in_range(squares[lane], row):
                    again = True
                    squares[lane], exponent = _scaled_squares(row_value, exponent)
                lanes.activity_exponents[lag, lane] = exponent
    for lane in range(L):
        again |= exponents[lane] != 0
    return again


@njit(nogil=True, error_model="numpy", inline="always")
def _meet_drives(n: int, lanes: Lanes) -> bool:
    """Bring the drives to `start`, at one scale with the values; return whether one is scaled."""
    L, moved = lanes.exponent.size, False
    state, drive = lanes.rows[0], lanes.rows[1]
    for lane in range(L):
        _take_lane(lanes.value, lanes.place[lane], n, state)
        _take_lane(lanes.drive, lanes.place[lane], n, drive)
        _set_exponent(lanes, lane, _meet_drive(state, lanes.exponent[lane], drive), n)
        _put_lane(state[:n], lanes.place[lane], lanes.value)
        _put_lane(drive[:n], lanes.place[lane], lanes.start)
        moved |= lanes.exponent[lane] != 0
    return moved


@njit(nogil=True, error_model="numpy", inline="always")
def _set_drive(network: Network, draw: int, trajectory: int, t: int, lanes: Lanes) -> bool:
    """Set the drive of each lane to W_in u_t + b; return whether one is not zero."""
    inputs, D = network.inputs, len(lanes.columns)
    K = lanes.exponent.size // D
    for lane in range(lanes.exponent.size):
        now = inputs[
            min(draw + lane // K, inputs.shape[0] - 1),
            min(trajectory + lane % K, inputs.shape[1] - 1),
            min(t, inputs.shape[2] - 1),
        ]
        _put_lane(now, lanes.place[lane], lanes.inputs)
    _multiply_lanes(lanes.inputs, lanes.input_weights, 0, lanes.bias, lanes.drive, lanes.ignored)
    return bool(_max_abs(lanes.drive) != 0.0)


@njit(nogil=True, error_model="numpy", inline="always")
def _turns(lanes: Lanes) -> int:
    """1 if rows would take every second sum over so many units from the last to the first."""
    return int(lanes.rows.shape[1] * lanes.rows.itemsize > FEW * BYTES)


@njit(nogil=True, error_model="numpy", inline="always")
def _forward(network: Network, draw: int, trajectory: int, lanes: Lanes) -> None:
    """Run burn_in + T steps and keep what the backward pass needs, as for rows."""
    n, L = network.bias.shape[1], lanes.exponent.size
    burn_in, n_steps = network.burn_in, lanes.slopes.shape[0]
    x, y, value = lanes.x, lanes.y, lanes.value
    _place(network.initial_state, draw, trajectory, len(lanes.columns), lanes.place, x)
    for lane in range(L):
        _set_exponent(lanes, lane, 0, n)
    lanes.activity[n_steps] = 0.0
    lanes.activity_exponents[:] = 0.0
    careful, driven, turns = False, False, _turns(lanes)
    for t in range(burn_in + n_steps):
        lag = min(burn_in + n_steps - 1 - t, n_steps + 1)
        slope, squares = lanes.slopes[max(t - burn_in, 0)], lanes.activity[lag]
        _activate(network.activation, x[: slope.size], value[: slope.size], slope)
        _clear(lanes, n, value)
        if t == 0 or network.inputs.shape[2] > 1:
            driven = _set_drive(network, draw, trajectory, t, lanes)
        turn, start = t % 2 * turns, lanes.drive
        if careful or _multiply_lanes(value, lanes.forward, turn, start, y, squares):
            careful = _settle(network, lanes, lag, x, slope, squares)
            if careful and driven:
                careful = _meet_drives(n, lanes)
                start = lanes.start
            _multiply_lanes(value, lanes.forward, turn, start, y, lanes.ignored)
        x, y = y, x


@njit(nogil=True, error_model="numpy", inline="always")
def _backward(network: Network, draw: int, trajectory: int, lanes: Lanes) -> None:
    """Carry the gradients back over T steps, and set norms 4**norm_exponents to ||delta||^2."""
    n, L, n_steps = network.bias.shape[1], lanes.exponent.size, lanes.slopes.shape[0]
    exponents, since, row, turns = lanes.exponent, lanes.since, lanes.rows[0], _turns(lanes)
    delta, product, zeros = lanes.x, lanes.y, lanes.value
    _place(network.loss_gradient, draw, trajectory, len(lanes.columns), lanes.place, delta)
    zeros[:] = 0.0
    exponents[:] = 0
    since[:] = 0
    for lag in range(n_steps + 1):
        squares, turn = lanes.norms[lag], (lag + 1) % 2 * turns
        if lag > 0:
            slope = lanes.slopes[n_steps - lag]
            for i in range(slope.size):
                delta[i] = slope[i] * product[i]
        if lag == n_steps:
            outside = _lane_squares(delta, squares)
        else:
            outside = _multiply_lanes(delta, lanes.backward, turn, zeros, product, squares)
        if outside != 0:
            rescaled = False
            for lane in range(L):
                if not _in_range(squares[lane], delta):
                    _take_lane(delta, lanes.place[lane], n, row)
                    squares[lane], exponent = _scaled_squares(row, exponents[lane])
                    if exponent != exponents[lane]:
                        _put_lane(row[:n], lanes.place[lane], delta)
                        lanes.norm_exponents[since[lane] : lag, lane] = exponents[lane]
                        exponents[lane], since[lane] = exponent, lag
                        rescaled = True
            if rescaled:
                _multiply_lanes(delta, lanes.backward, turn, zeros, product, lanes.ignored)
    for lane in range(L):
        lanes.norm_exponents[since[lane] :, lane] = exponents[lane]


@njit(nogil=True, error_model="numpy", inline="always")
def _logs(
    lanes: Lanes, row: int, step: int, count: int, out_log_norm: Array, out_log_contribution: Array
) -> None:
    """Take the logarithms of so many gradients and activities, to rows of out (rows, T + 1)."""
    n_lags = len(lanes.norms)
    for first in range(0, n_lags, _CHUNK):
        stop = min(first + _CHUNK, n_lags)
        norms, activities = lanes.logs[0][: stop - first], lanes.logs[1][: stop - first]
        _log(lanes.norms[first:stop].reshape(norms.size), norms.reshape(norms.size))
        _log(lanes.activity[first:stop].reshape(norms.size), activities.reshape(norms.size))
        _add_exponents(
            norms.reshape(norms.size),
            activities.reshape(norms.size),
            lanes.norm_exponents[first:stop].reshape(norms.size),
            lanes.activity_exponents[first:stop].reshape(norms.size),
        )
        _spread(norms, 0, count, first, row, step, out_log_norm)
        _spread(activities, 0, count, first, row, step, out_log_contribution)


@helper()
def _add_exponents(
    norms: Array, activities: Array, norm_exponents: Array, activity_exponents: Array
) -> None:
    """Turn logs of square norms into those of norms, and of activities into contributions."""
    for j in range(norms.size):
        norms[j] = 0.5 * norms[j] + LN2 * norm_exponents[j]
        activities[j] = norms[j] + 0.5 * activities[j] + LN2 * activity_exponents[j]


@kernel()
def _profile_lanes(
    network: Network, lanes: Lanes, out_log_norm: Array, out_log_contribution: Array
) -> None:
    """Profiles of several draws: out (draws, trajectories, T + 1).

    Lanes that are left over at the end repeat the last network.
    """
    n_draws, K, size = out_log_norm.shape
    L, D = lanes.exponent.size, len(lanes.columns)
    bias = network.bias.reshape(n_draws, 1, network.bias.shape[1])
    out = out_log_norm.reshape(n_draws * K, size)
    out_c = out_log_contribution.reshape(n_draws * K, size)
    for draw in range(0, n_draws, D):
        _place(bias, draw, 0, D, lanes.place, lanes.bias)
        _pack_lanes(network.W_rec, True, draw, lanes.columns, lanes.forward)
        _pack_lanes(network.W_rec, network.as_printed, draw, lanes.columns, lanes.backward)
        _pack_lanes(network.W_in, True, draw, lanes.columns, lanes.input_weights)
        for trajectory in range(0, K, L // D):
            _forward(network, draw, trajectory, lanes)
            _backward(network, draw, trajectory, lanes)
            row, step = draw * K + trajectory, K if D > 1 else 1
            count = min(D, n_draws - draw) if D > 1 else min(L, K - trajectory)
            _logs(lanes, row, step, count, out, out_c)
