"""Gradient profile of the vanilla RNN, x_t = W s(x_{t-1}) + W_in u_t + b.

Several networks are carried side by side, in rows or in lanes: see `kernels.layout`. Each state and
each gradient is held as a vector times a power of two, see `kernels.scales`, so that neither
overflows nor underflows at any horizon.

T is n_steps; K trajectories of each of D draws are R networks, with U entries and padding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.elementary import _log
from vgcore.kernels.interleaved import CHUNK, _spread_all
from vgcore.kernels.jit import _apart, helper, kernel
from vgcore.kernels.layout import (
    Layout,
    Network,
    _clear,
    _multiply,
    _norms,
    _pack_draws,
    _place,
    _place_bias,
    _put,
    _set_drives,
    _set_exponent,
    _take,
)
from vgcore.kernels.scales import (
    LN2,
    _activate_at,
    _activate_small,
    _homogeneous,
    _meet_drive,
    _rescale_state,
    _scaled_squares,
)
from vgcore.kernels.vectors import _in_range, _max_abs, aligned_zeros


class Nets(NamedTuple):
    """Scratch for R networks."""

    layout: Layout
    x: Array  # (R P,), and so are the next two
    y: Array
    value: Array
    since: Integers  # (R,)
    slopes: Array  # (T, U)
    norms: Array  # (T + 1, R): square norms over 4**norm_exponents
    norm_exponents: Array  # (T + 1, R)
    activity: Array  # (T + 2, R): by lag, and a last place for what comes before
    activity_exponents: Array  # (T + 2, R)
    logs: Array  # (2, CHUNK, R)


def new_nets(layout: Layout, n_steps: int) -> Nets:
    """Scratch for networks that lie so."""
    dtype, size, R = layout.bias.dtype, layout.bias.size, layout.exponent.size
    x, y, value = aligned_zeros((3, size), dtype)
    return Nets(
        layout=layout,
        x=x,
        y=y,
        value=value,
        since=np.zeros(R, np.int64),
        slopes=aligned_zeros((n_steps, layout.used), dtype),
        norms=aligned_zeros((n_steps + 1, R), dtype),
        norm_exponents=np.zeros((n_steps + 1, R)),
        activity=aligned_zeros((n_steps + 2, R), dtype),
        activity_exponents=np.zeros((n_steps + 2, R)),
        logs=np.zeros((2, CHUNK, R)),
    )


@helper()
def _settle(
    network: Network, M: Array, nets: Nets, lag: int, x: Array, slope: Array
) -> tuple[bool, bool]:
    """Bring states back into their range, activate them there and note the activities.

    M are packed matrices. Returns whether the next step needs this too, and whether a state has an
    exponent.
    """
    _apart()
    layout, value, squares = nets.layout, nets.value, nets.activity[lag]
    one, one_value, one_slope, scratch = layout.one[0], layout.one[1], layout.one[2], layout.one[3]
    n, near_zero, far = network.bias.shape[1], network.near_zero, network.far
    same, again, scaled = _homogeneous(near_zero, far), False, False
    _norms(M, value, squares)
    for r in range(squares.size):
        exponent, place = layout.exponent[r], layout.place[r]
        _take(M, layout.drive, place, n, scratch)
        # what is large and driven may come back to 2**0, and is looked at in each step anyway
        large = exponent > 0 and (not same or _max_abs(scratch) != 0.0)
        if _in_range(squares[r], x) and not large:
            scaled |= exponent != 0
            continue
        _take(M, x, place, n, one)
        exponent = _rescale_state(one, exponent, near_zero, far)
        _set_exponent(layout.exponent, layout.small, r, place, n, exponent)
        _activate_at(
            *(network.activation, near_zero, far, one, exponent, n, scratch, one_value, one_slope)
        )
        _put(M, one_value, place, n, value)
        _put(M, one_slope, place, n, slope)
        scaled |= exponent != 0
        squares[r], of_square = _scaled_squares(one_value, exponent)
        nets.activity_exponents[lag, r] = of_square
        # a product that would only say so may be left out
        again |= (exponent > 0 and not same) or of_square != exponent or squares[r] == 0.0
    return again, scaled


@helper()
def _meet_drives(n: int, M: Array, nets: Nets) -> bool:
    """Bring the drives to `start`, at one scale with the values; return whether one is scaled."""
    _apart()
    layout, moved = nets.layout, False
    state, drive = layout.one[0], layout.one[1]
    for r in range(layout.exponent.size):
        place = layout.place[r]
        _take(M, nets.value, place, n, state)
        _take(M, layout.drive, place, n, drive)
        exponent = _meet_drive(state, layout.exponent[r], drive)
        _set_exponent(layout.exponent, layout.small, r, place, n, exponent)
        _put(M, state, place, n, nets.value)
        _put(M, drive, place, n, layout.start)
        moved |= exponent != 0
    return moved


@njit(nogil=True, error_model="numpy", inline="always")
def _forward(network: Network, draw: int, trajectory: int, nets: Nets) -> None:
    """Run burn_in + T steps and keep what the backward pass needs.

    slopes[j] is s'(x_{burn_in + j}), j < T; the activity at a lag is ||s(x_{k - 1})||^2 for the
    step k so far back, and 0 where there is no such state. The first network is of this draw and
    trajectory.
    """
    layout, x, y, value = nets.layout, nets.x, nets.y, nets.value
    n, R, used = network.bias.shape[1], layout.exponent.size, layout.used
    burn_in, n_steps, W, panel = network.burn_in, nets.slopes.shape[0], layout.forward, layout.panel
    _place(W, network.initial_state, draw, trajectory, layout, x)
    layout.exponent[:] = 0
    layout.small[:] = 0.0
    nets.activity[n_steps] = 0.0
    nets.activity_exponents[:] = 0.0
    padding = np.isnan(network.near_zero[0])  # where s(0) is not 0
    same = _homogeneous(network.near_zero, network.far)
    careful = scaled = driven = False  # settle in any case; some state has an exponent
    for t in range(burn_in + n_steps):
        lag = min(burn_in + n_steps - 1 - t, n_steps + 1)
        slope, squares = nets.slopes[max(t - burn_in, 0)], nets.activity[lag]
        if scaled:
            for r in range(R):
                nets.activity_exponents[lag, r] = layout.exponent[r]
        if scaled and not same:
            _activate_small(
                network.activation, network.near_zero, layout.small, x[:used], y[:used],
                value[:used], slope,
            )  # fmt: skip
        else:
            _activate(network.activation, x[:used], value[:used], slope)
        if padding:
            _clear(n, layout, value)
        if t == 0 or network.inputs.shape[2] > 1:
            _set_drives(layout.input_weights, network.inputs, draw, trajectory, t, layout)
            driven = bool(_max_abs(layout.drive) != 0.0)
        start = layout.drive
        careful |= scaled and driven
        if careful or _multiply(value, W, panel, t % 2, start, y, squares):
            careful, scaled = _settle(network, W, nets, lag, x, slope)
            if scaled and driven:
                scaled = _meet_drives(n, W, nets)
                start = layout.start
            _multiply(value, W, panel, t % 2, start, y, layout.ignored)
        x, y = y, x


@njit(nogil=True, error_model="numpy", inline="always")
def _backward(network: Network, draw: int, trajectory: int, nets: Nets) -> None:
    """Carry the gradients back over T steps: delta_{i-1} = diag(s'(x_{i-1})) W^T delta_i.

    Sets norms 4**norm_exponents to ||delta||^2 at each lag.
    """
    layout, delta, product, zeros = nets.layout, nets.x, nets.y, nets.value
    exponents, since, place, one = layout.exponent, nets.since, layout.place, layout.one[0]
    n, R, n_steps = network.bias.shape[1], exponents.size, nets.slopes.shape[0]
    W, panel = layout.backward, layout.panel
    _place(W, network.loss_gradient, draw, trajectory, layout, delta)
    zeros[:] = 0.0
    exponents[:] = 0
    since[:] = 0
    for lag in range(n_steps + 1):
        squares, turn = nets.norms[lag], (lag + 1) % 2
        if lag > 0:
            slope = nets.slopes[n_steps - lag]
            for i in range(layout.used):
                delta[i] = slope[i] * product[i]
        if lag == n_steps:
            outside = _norms(W, delta, squares)
        else:
            outside = _multiply(delta, W, panel, turn, zeros, product, squares)
        if outside != 0:
            rescaled = False
            for r in range(R):
                if not _in_range(squares[r], delta):
                    _take(W, delta, place[r], n, one)
                    squares[r], exponent = _scaled_squares(one, exponents[r])
                    if exponent != exponents[r]:
                        _put(W, one, place[r], n, delta)
                        nets.norm_exponents[since[r] : lag, r] = exponents[r]
                        exponents[r], since[r] = exponent, lag
                        rescaled = True
            if rescaled:
                _multiply(delta, W, panel, turn, zeros, product, layout.ignored)
    for r in range(R):
        nets.norm_exponents[since[r] :, r] = exponents[r]


@njit(nogil=True, error_model="numpy", inline="always")
def _logs(
    nets: Nets, draw: int, trajectory: int, out_log_norm: Array, out_log_contribution: Array
) -> None:
    """Take the logarithms of gradients and activities; the first network is of this trajectory.

    Networks beyond the last draw or trajectory are left out.
    """
    n_lags, D = out_log_norm.shape[2], nets.layout.D
    K = nets.layout.exponent.size // D
    for first in range(0, n_lags, CHUNK):
        stop = min(first + CHUNK, n_lags)
        norms, activities = nets.logs[0][: stop - first], nets.logs[1][: stop - first]
        size = norms.size
        _log(nets.norms[first:stop].reshape(size), norms.reshape(size))
        _log(nets.activity[first:stop].reshape(size), activities.reshape(size))
        _add_exponents(
            norms.reshape(size),
            activities.reshape(size),
            nets.norm_exponents[first:stop].reshape(size),
            nets.activity_exponents[first:stop].reshape(size),
        )
        _spread_all(norms, D, K, first, draw, trajectory, out_log_norm)
        _spread_all(activities, D, K, first, draw, trajectory, out_log_contribution)


@helper()
def _add_exponents(
    norms: Array, activities: Array, norm_exponents: Array, activity_exponents: Array
) -> None:
    """Turn logs of square norms into those of norms, and of activities into contributions."""
    for j in range(norms.size):
        norms[j] = 0.5 * norms[j] + LN2 * norm_exponents[j]
        activities[j] = norms[j] + 0.5 * activities[j] + LN2 * activity_exponents[j]


@kernel()
def _profile_batch(
    network: Network, nets: Nets, out_log_norm: Array, out_log_contribution: Array
) -> None:
    """Profiles of several draws: out (draws, trajectories, T + 1)."""
    n_draws, n_trajectories, _ = out_log_norm.shape
    layout, W = nets.layout, nets.layout.forward
    for draw in range(0, n_draws, layout.D):
        _pack_draws(network, draw, W, layout)
        _place_bias(network, draw, W, layout)
        for trajectory in range(0, n_trajectories, layout.exponent.size // layout.D):
            _forward(network, draw, trajectory, nets)
            _backward(network, draw, trajectory, nets)
            _logs(nets, draw, trajectory, out_log_norm, out_log_contribution)
