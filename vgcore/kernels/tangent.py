"""One step of a vanilla RNN and of a frame of tangent vectors.

dx_t/dx_{t-1} = W diag(s'(x_{t-1})). A frame is held as rows, so a step is

    frame <- frame diag(s'(x_{t-1})) W^T

A frame is factored after diag(s'), not after W^T: the columns then carry the slopes of saturated
units as factors of their own, which `triangular` keeps to full precision at any size, while the
frame times W^T is conditioned no worse than W. The product over steps is the same.

P is N padded to whole vectors of float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.jit import helper, kernel
from vgcore.kernels.layout import _pack_transpose
from vgcore.kernels.scales import _activate_at, _copy, _meet_drive, _rescale_state
from vgcore.kernels.tiles import _carry
from vgcore.kernels.triangular import _factor, _orthonormalise
from vgcore.kernels.vectors import _sum_squares, _vecmat, aligned_zeros, padded


class Network(NamedTuple):
    """Several draws in float64: leading axes (draws,), or (draws or 1,) from `inputs` on."""

    W_rec: Array
    W_in: Array
    bias: Array
    activation: int
    near_zero: Array
    far: Array
    inputs: Array
    initial_state: Array


class Motion(NamedTuple):
    """Scratch for the state of one draw, and its packed parameters.

    `status` holds the exponent of the state x, and the time.
    """

    forward: Array  # W^T (N, P)
    input_weights: Array  # W_in^T (n_inputs, P)
    inputs: Array  # (time or 1, n_inputs)
    bias: Array  # (P,), and so are the next four
    x: Array
    value: Array
    slope: Array
    drive: Array
    status: Integers  # (2,)


class Frame(NamedTuple):
    """Scratch for a frame, and for its last factorisation; see `_factor`.

    A step takes the frame from rows[side] to rows[1 - side].
    """

    rows: Array  # (2, N, P), as many of the N as the frame has vectors
    L: Array  # (N, P)
    diagonal: Array  # (N,)
    pivots: Integers  # (N,)
    order: Integers  # (N,): all columns, those of pivots first
    alive: Integers  # (P,)
    sums: Array  # (P,)


def new_motion(n: int, inputs: Array) -> Motion:
    """Scratch for draws of size n that get inputs such as these, (draws or 1, time, n_inputs)."""
    P = padded(n, np.float64)
    bias, x, value, slope, drive = aligned_zeros((5, P), np.float64)
    return Motion(
        forward=aligned_zeros((n, P), np.float64),
        input_weights=aligned_zeros((inputs.shape[-1], P), np.float64),
        inputs=inputs[0],
        bias=bias,
        x=x,
        value=value,
        slope=slope,
        drive=drive,
        status=np.zeros(2, np.int64),
    )


def new_frame(n: int) -> Frame:
    """Scratch for frames of up to n vectors of size n."""
    P = padded(n, np.float64)
    pivots, order = np.zeros((2, n), np.int64)
    return Frame(
        rows=aligned_zeros((2, n, P), np.float64),
        L=aligned_zeros((n, P), np.float64),
        diagonal=np.zeros(n),
        pivots=pivots,
        order=order,
        alive=aligned_zeros(P, np.int64),
        sums=aligned_zeros(P, np.float64),
    )


def first_frame(normals: Array) -> Array:
    """Orthonormal rows (k, P) that span what those of `normals` (k, N) do, one after the other."""
    k, n = normals.shape
    rows = aligned_zeros((k, padded(n, np.float64)), np.float64)
    rows[:, :n] = normals
    _orthonormalise(rows, np.empty((k, k)), np.empty(k), np.empty_like(rows[0]))
    return rows


# As helpers these two would be taken in line and leave what they return in memory: exponents of 16
# units took 1.4 times as long.
@kernel()
def _begin(network: Network, draw: int, motion: Motion) -> Motion:
    """Pack the parameters of one draw and put its initial state in place."""
    inputs = network.inputs[min(draw, network.inputs.shape[0] - 1)]
    state = network.initial_state[min(draw, network.initial_state.shape[0] - 1)]
    return _place(network, draw, inputs, state, motion)


@kernel()
def _place(network: Network, draw: int, inputs: Array, state: Array, motion: Motion) -> Motion:
    """Pack the parameters of one draw; put a state (N,) and inputs (time, n_inputs) in place."""
    _pack_transpose(network.W_rec[draw], motion.forward)
    _pack_transpose(network.W_in[draw], motion.input_weights)
    _copy(network.bias[draw], motion.bias)
    _copy(state, motion.x)
    motion.status[:] = 0
    return Motion(
        motion.forward,
        motion.input_weights,
        inputs,
        motion.bias,
        motion.x,
        motion.value,
        motion.slope,
        motion.drive,
        motion.status,
    )


@helper()
def _advance(network: Network, motion: Motion) -> None:
    """Set the slopes of the state as it is, then take the state one step on."""
    x, value, slope, drive = motion.x, motion.value, motion.slope, motion.drive
    n, time = motion.forward.shape[0], motion.status[1]
    exponent = _rescale_state(x, motion.status[0], network.near_zero, network.far)
    _activate_at(
        *(network.activation, network.near_zero, network.far, x, exponent, n, drive, value, slope)
    )
    slope[n:] = 0.0  # s'(0) need not be 0
    _copy(motion.bias, drive)
    if motion.input_weights.shape[0] > 0:
        u = motion.inputs[0 if motion.inputs.shape[0] == 1 else time]
        _vecmat(u, motion.input_weights, drive, drive)
    exponent = _meet_drive(value, exponent, drive)
    _vecmat(value, motion.forward, drive, x)
    motion.status[0] = exponent
    motion.status[1] = time + 1


@njit(nogil=True, error_model="numpy", inline="always")
def _factor_frame(frame: Frame, side: int, m: int) -> int:
    """Eliminate in the m rows of a frame; return their rank.

    Rows left without a pivot drop out, for good, and those below move up.
    """
    rows, pivots, order, alive = frame.rows[side], frame.pivots, frame.order, frame.alive
    _factor(rows[:m], frame.L, frame.diagonal, pivots, alive)
    rank = np.int64(0)  # a literal is a type of its own, for which callees are compiled again
    for i in range(m):
        if pivots[i] < 0 and np.isnan(_sum_squares(rows[i])):  # a step has overflowed
            free = 0
            while alive[free] == 0:
                free += 1
            frame.diagonal[i], pivots[i], alive[free] = np.nan, free, 0
        if pivots[i] >= 0:
            order[rank] = pivots[i]
            if rank < i:
                for c in range(rows.shape[1]):
                    rows[rank, c] = rows[i, c]
            rank += 1
    count = rank
    if rank < order.size:
        for c in range(order.size):
            if alive[c] != 0:
                order[count] = c
                count += 1
    return int(rank)


@njit(nogil=True, error_model="numpy", inline="always")
def _orthonormalise_frame(frame: Frame, side: int, rank: int) -> None:
    """Make the `rank` rows of a frame orthonormal."""
    for r in range(rank):
        frame.pivots[r] = 0  # none is -1
    _orthonormalise(frame.rows[side, :rank], frame.L, frame.diagonal, frame.sums)


@njit(nogil=True, error_model="numpy", inline="always")
def _scale_frame(source: Array, slope: Array, frame: Frame, side: int, rank: int) -> None:
    """Set the `rank` rows of a frame to those of `source` times diag(slope)."""
    for r in range(rank):
        for c in range(slope.size):
            frame.rows[side, r, c] = source[r, c] * slope[c]


@njit(nogil=True, error_model="numpy", inline="always")
def _carry_frame(
    motion: Motion, slope: Array, factored: bool, frame: Frame, side: int, rank: int
) -> None:
    """Multiply the `rank` rows of a frame by W^T diag(slope), from one side to the other.

    `factored` says that they are as `_factor_frame` left them.
    """
    source, target = frame.rows[side, :rank], frame.rows[1 - side, :rank]
    _carry(source, frame.order, motion.forward, slope, factored, target)
