"""One step of a vanilla RNN and of a frame of tangent vectors.

dx_t/dx_{t-1} = W diag(s'(x_{t-1})). A frame is held as rows, so a step is

    frame <- frame diag(s'(x_{t-1})) W^T

A frame is factored after diag(s'), not after W^T: the columns then carry the slopes of saturated
units as factors of their own, which `triangular` keeps to full precision at any size, while the
frame times W^T is conditioned no worse than W. The product over steps is the same.

P is N padded to whole vectors of float64, B the reflections in a panel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.rnn import (
    _activate_far,
    _copy,
    _pack,
    _piecewise_linear,
    _rescale_state,
)
from vgcore.kernels.triangular import _apply, _factor, _sort_columns
from vgcore.kernels.vectors import _max_abs, _scale_exact, _vecmat, aligned_zeros, padded

_PANEL = 8  # 16 and 32 rows took longer at every N from 16 to 128


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
    """Scratch for a frame, and for its last factorisation L Q."""

    rows: Array  # (N, P), as many of them as the frame has vectors
    L: Array  # (N, P): see `_factor`, as for the next five
    V: Array  # (panels, B, P)
    WT: Array  # (panels, P, B)
    diagonal: Array  # (N,)
    exponents: Integers  # (N,)
    pivots: Integers  # (N,)
    order: Integers  # (P,): the columns of `rows` as the factorisation takes them
    W: Array  # (B, P)
    Z: Array  # (B, P)
    products: Array  # (N, B)
    rest: Array  # (P,)
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
    P, panels = padded(n, np.float64), -(-n // _PANEL)
    rows, L = aligned_zeros((2, n, P), np.float64)
    W, Z = aligned_zeros((2, _PANEL, P), np.float64)
    rest, sums = aligned_zeros((2, P), np.float64)
    exponents, pivots = np.zeros((2, n), np.int64)
    return Frame(
        rows=rows,
        L=L,
        V=aligned_zeros((panels, _PANEL, P), np.float64),
        WT=aligned_zeros((panels, P, _PANEL), np.float64),
        diagonal=np.zeros(n),
        exponents=exponents,
        pivots=pivots,
        order=np.zeros(P, np.int64),
        W=W,
        Z=Z,
        products=aligned_zeros((n, _PANEL), np.float64),
        rest=rest,
        sums=sums,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _begin(network: Network, draw: int, motion: Motion) -> Motion:
    """Pack the parameters of one draw and put its initial state in place."""
    inputs = network.inputs[min(draw, network.inputs.shape[0] - 1)]
    state = network.initial_state[min(draw, network.initial_state.shape[0] - 1)]
    return _place(network, draw, inputs, state, motion)


@njit(cache=True, nogil=True, error_model="numpy")
def _place(network: Network, draw: int, inputs: Array, state: Array, motion: Motion) -> Motion:
    """Pack the parameters of one draw; put a state (N,) and inputs (time, n_inputs) in place."""
    _pack(network.W_rec[draw], True, motion.forward)
    _pack(network.W_in[draw], True, motion.input_weights)
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


@njit(cache=True, nogil=True, error_model="numpy")
def _advance(network: Network, motion: Motion) -> None:
    """Set the slopes of the state as it is, then take the state one step on."""
    x, value, slope, drive = motion.x, motion.value, motion.slope, motion.drive
    n, time = motion.forward.shape[0], motion.status[1]
    exponent = _rescale_state(x, motion.status[0], network.near_zero, network.far)
    if exponent == 0:
        _activate(network.activation, x, value, slope)
    elif exponent < 0:
        _piecewise_linear(network.near_zero, x, value, slope)
    else:
        _activate_far(network.activation, network.far, x, exponent, drive, value, slope)
    value[n:] = 0.0  # s(0) and s'(0) need not be 0
    slope[n:] = 0.0
    _copy(motion.bias, drive)
    if motion.input_weights.shape[0] > 0:
        u = motion.inputs[0 if motion.inputs.shape[0] == 1 else time]
        _vecmat(u, motion.input_weights, drive, drive)
    if exponent != 0 and _max_abs(drive) != 0.0:
        if exponent < 0 or _max_abs(value) == 0.0:  # beside it the state counts at its own size
            _scale_exact(value, exponent)
            exponent = 0
        else:
            _scale_exact(drive, -exponent)
    _vecmat(value, motion.forward, drive, x)
    motion.status[0] = exponent
    motion.status[1] = time + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _factor_frame(frame: Frame, m: int) -> int:
    """Factor the first m rows of a frame; return their rank."""
    _sort_columns(frame.rows[:m], frame.rest, frame.order)
    L, order = frame.L[:m], frame.order
    for i in range(m):
        row, source = L[i], frame.rows[i]
        for c in range(order.size):
            row[c] = source[order[c]]
    return int(
        _factor(
            L,
            frame.W,
            frame.products,
            frame.rest,
            frame.sums,
            frame.V,
            frame.WT,
            frame.diagonal,
            frame.exponents,
            frame.pivots,
        )
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _carry_frame(motion: Motion, slope: Array, first: bool, rank: int, frame: Frame) -> None:
    """Set the first `rank` rows to Q W^T diag(slope), or to Q diag(slope) where `first`."""
    rows, order, forward = frame.rows, frame.order, motion.forward
    for r in range(rows.shape[0]):
        row = rows[r]
        if first:
            row[:] = 0.0
            row[order[r]] = slope[order[r]]
        else:
            source = forward[order[r]]
            for c in range(row.size):
                row[c] = source[c] * slope[c]
    _apply(frame.V, frame.WT, rank, frame.Z, rows)
