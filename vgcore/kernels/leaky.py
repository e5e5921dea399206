"""Gradient profile of leaky units, h_t = (1 - a) h_{t-1} + a s(W h_{t-1} + W_in u_t + b).

Networks are side by side and carry powers of two as those of `kernels.rnn`: a state with an
unbounded activation may explode. What is kept of the steps is as in `kernels.lstm`, with one gate.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.elementary import _fma
from vgcore.kernels.gates import _all_logs, _squares
from vgcore.kernels.interleaved import CHUNK
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
    _activate_at,
    _activate_small,
    _homogeneous,
    _meet_drive,
    _rescale_state,
    _scaled_squares,
)
from vgcore.kernels.vectors import _in_range, _max_abs, aligned_zeros


class Leaky(NamedTuple):
    """Scratch for R networks with U entries and padding."""

    layout: Layout
    state: Array  # (R P,): h, and the gradient of it; and so are the next three
    x: Array  # what s is taken of, and the gradient of it
    value: Array
    slope: Array
    keep: Array  # (T + 1, U or more): a s', of the step to burn_in + j at j
    squares: Array  # (3, T + 1, R), over 4**exponents: norms of gradients, those at s, and h
    exponents: Integers  # (3, T + 1, R)
    logs: Array  # (3, CHUNK, R)


def new_leaky(layout: Layout, n_steps: int) -> Leaky:
    """Scratch for networks that lie so."""
    dtype, R = layout.bias.dtype, layout.exponent.size
    state, x, value, slope = aligned_zeros((4, layout.bias.size), dtype)
    return Leaky(
        layout=layout,
        state=state,
        x=x,
        value=value,
        slope=slope,
        keep=aligned_zeros((n_steps + 1, layout.used), dtype),
        squares=aligned_zeros((3, n_steps + 1, R), dtype),
        exponents=np.zeros((3, n_steps + 1, R), np.int64),
        logs=np.empty((3, CHUNK, R)),
    )


@helper()
def _settle(
    network: Network, M: Array, nets: Leaky, squares: Array, exponents: Integers
) -> tuple[bool, bool]:
    """Measure the states, and bring each back into its range and to one scale with its drive.

    M are packed matrices. Returns whether one has an exponent, and whether one is so large that the
    next step needs this too.
    """
    _apart()
    layout, n, scaled, large = nets.layout, network.bias.shape[1], False, False
    same = _homogeneous(network.near_zero, network.far)
    state, start, scratch = layout.one[0], layout.one[1], layout.one[2]
    for r in range(squares.size):
        exponent, place = layout.exponent[r], layout.place[r]
        _take(M, nets.state, place, n, state)
        _take(M, layout.drive, place, n, start)
        squares[r], exponents[r] = _squares(state, exponent, scratch)
        # what is large and driven may come back to 2**0, and is looked at in each step anyway
        if exponents[r] != exponent or (exponent > 0 and (not same or _max_abs(start) != 0.0)):
            exponent = _rescale_state(state, exponent, network.near_zero, network.far)
        exponent = _meet_drive(state, exponent, start)
        scaled |= exponent != 0
        large |= exponent > 0 and not same
        _put(M, state, place, n, nets.state)
        _put(M, start, place, n, layout.start)
        _set_exponent(layout.exponent, layout.small, r, place, n, exponent)
    return scaled, large


@helper()
def _activate_large(network: Network, M: Array, nets: Leaky) -> None:
    """Set value and slope of the states with an exponent above zero."""
    _apart()
    layout, n = nets.layout, network.bias.shape[1]
    x, value, slope, scratch = layout.one[0], layout.one[1], layout.one[2], layout.one[3]
    for r in range(layout.exponent.size):
        exponent, place = layout.exponent[r], layout.place[r]
        if exponent > 0:
            _take(M, nets.x, place, n, x)
            _activate_at(
                network.activation, network.near_zero, network.far, x, exponent, n, scratch, value,
                slope,
            )  # fmt: skip
            _put(M, value, place, n, nets.value)
            _put(M, slope, place, n, nets.slope)


@kernel(inline="always")
def _leaky_forward(
    network: Network,
    shares: Array,
    draw: int,
    trajectory: int,
    first: int,
    n_steps: int,
    nets: Leaky,
) -> None:
    """Run burn_in + n_steps steps from `nets.state` and keep what the backward pass needs.

    The first network is of this draw and trajectory, the first input that at time `first`. shares
    holds the leak and what it leaves.
    """
    layout, state, x, value, slope = nets.layout, nets.state, nets.x, nets.value, nets.slope
    n, R, used = network.bias.shape[1], layout.exponent.size, layout.used
    W, panel, leak, rest = layout.forward, layout.panel, shares[0], shares[1]
    nets.keep[0] = 0.0
    nets.squares[2, 0] = 0.0
    nets.exponents[2, 0] = 0
    padding = np.isnan(network.near_zero[0])  # where s(0) is not 0
    same = _homogeneous(network.near_zero, network.far)
    careful = scaled = driven = False  # settle in any case; some state has an exponent
    layout.small[:] = 0.0
    for r in range(R):
        careful |= layout.exponent[r] != 0
    for t in range(network.burn_in + n_steps):
        j = max(t - network.burn_in + 1, 0)
        kept, squares, exponents = nets.keep[j], nets.squares[2, j], nets.exponents[2, j]
        for r in range(R):
            exponents[r] = layout.exponent[r]
        if t == 0 or network.inputs.shape[2] > 1:
            _set_drives(layout.input_weights, network.inputs, draw, trajectory, first + t, layout)
            driven = bool(_max_abs(layout.drive) != 0.0)
        careful |= scaled and driven
        if careful or _multiply(state, W, panel, t % 2, layout.drive, x, squares):
            scaled, careful = _settle(network, W, nets, squares, exponents)
            _multiply(state, W, panel, t % 2, layout.start, x, layout.ignored)
        if scaled and not same:
            _activate_small(
                network.activation, network.near_zero, layout.small, x[:used], layout.start[:used],
                value[:used], slope[:used],
            )  # fmt: skip
        else:
            _activate(network.activation, x[:used], value[:used], slope[:used])
        if padding:
            _clear(n, layout, value)
        if careful:
            _activate_large(network, W, nets)
        for i in range(used):
            state[i] = _fma(leak, value[i], rest * state[i])
            kept[i] = leak * slope[i]


@njit(nogil=True, error_model="numpy", inline="always")
def _leaky_backward(n: int, shares: Array, nets: Leaky) -> None:
    """Carry the gradient in `nets.state` back: delta_{k-1} = (1 - a) delta_k + W^T (a s' delta_k).

    Sets squares 4**exponents at each lag to ||delta||^2, and to that of a s' delta.
    """
    layout, delta, gate, rest = nets.layout, nets.state, nets.x, shares[1]
    T, R, used = nets.keep.shape[0] - 1, layout.exponent.size, layout.used
    W, panel, exponent, place = layout.backward, layout.panel, layout.exponent, layout.place
    one, scratch = layout.one[0], layout.one[1]
    exponent[:] = 0
    for lag in range(T + 1):
        squares, gate_squares = nets.squares[0, lag], nets.squares[1, lag]
        if _norms(W, delta, squares) != 0:
            for r in range(R):
                if not _in_range(squares[r], delta):
                    _take(W, delta, place[r], n, one)
                    squares[r], exponent[r] = _scaled_squares(one, exponent[r])
                    _put(W, one, place[r], n, delta)
        for r in range(R):
            nets.exponents[0, lag, r] = nets.exponents[1, lag, r] = exponent[r]
        kept = nets.keep[T - lag]
        for i in range(used):
            gate[i] = delta[i] * kept[i]
            delta[i] = rest * delta[i]
        if _multiply(gate, W, panel, lag % 2, delta, delta, gate_squares) != 0:
            for r in range(R):
                if not _in_range(gate_squares[r], gate):
                    _take(W, gate, place[r], n, one)
                    gate_squares[r], nets.exponents[1, lag, r] = _squares(one, exponent[r], scratch)


@kernel()
def _leaky_jacobian(W: Array, shares: Array, keep: Array, out: Array) -> None:
    """Set out (N, N or more) to the transposed Jacobian of a step, from its row of keep."""
    out[:] = 0.0
    for r in range(W.shape[0]):
        for i in range(W.shape[1]):
            out[i, r] = keep[r] * W[r, i]
        out[r, r] += shares[1]


@kernel()
def _leaky_batch(
    network: Network,
    shares: Array,
    nets: Leaky,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Profiles of several draws: out (draws, trajectories, T + 1)."""
    n_draws, n_trajectories, size = out_log_norm.shape
    layout, W, K = nets.layout, nets.layout.forward, nets.layout.exponent.size // nets.layout.D
    for draw in range(0, n_draws, layout.D):
        _pack_draws(network, draw, W, layout)
        _place_bias(network, draw, W, layout)
        for trajectory in range(0, n_trajectories, K):
            layout.exponent[:] = 0
            _place(W, network.initial_state, draw, trajectory, layout, nets.state)
            _leaky_forward(network, shares, draw, trajectory, 0, size - 1, nets)
            _place(W, network.loss_gradient, draw, trajectory, layout, nets.state)
            _leaky_backward(network.bias.shape[1], shares, nets)
            _all_logs(
                nets.squares, nets.exponents, nets.logs, layout.D, K, draw, trajectory,
                out_log_norm, out_log_contribution,
            )  # fmt: skip
