"""Lyapunov exponents of the vanilla RNN, by repeated orthogonalisation of a tangent frame."""

from __future__ import annotations

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.elementary import _log
from vgcore.kernels.jit import kernel
from vgcore.kernels.scales import LN2
from vgcore.kernels.tangent import (
    Frame,
    Motion,
    Network,
    _advance,
    _begin,
    _carry_frame,
    _factor_frame,
    _orthonormalise_frame,
    _scale_frame,
)
from vgcore.kernels.vectors import _exponent, _max_abs, _scale_exact

# What accumulates is rescaled where its largest entry leaves these bounds.
_LOW, _HIGH = 2.0**-100, 2.0**100


@njit(nogil=True, error_model="numpy", inline="always")
def _rescale(rows: Array) -> int:
    """Multiply rows by 2**-e so that they stay in range; return e."""
    largest = _max_abs(rows)
    if largest == 0.0 or _LOW <= largest <= _HIGH:
        return 0
    exponent = _exponent(largest)
    _scale_exact(rows, -exponent)
    return exponent


@njit(nogil=True, error_model="numpy", inline="always")
def _accumulate(frame: Frame, rows: int, shift: int, growth: Array, powers: Integers) -> None:
    """Multiply the growth[i] 2**powers[i] of each row by its diagonal entry of L.

    A row that has died drops out, and those below move up.
    """
    r = 0
    for i in range(rows):
        if frame.pivots[i] < 0:
            continue
        factor, power = abs(frame.diagonal[i]), powers[i] + shift
        total = growth[i] * factor
        if not _LOW <= total <= _HIGH:
            first, second = _exponent(growth[i]), _exponent(factor)
            total = np.ldexp(growth[i], -first) * np.ldexp(factor, -second)
            power += first + second
        growth[r], powers[r] = total, power
        r += 1


@njit(nogil=True, error_model="numpy", inline="always")
def _exponents_lane(
    network: Network,
    draw: int,
    burn_in: int,
    segments: Integers,
    qr_interval: int,
    start: Array,
    motion: Motion,
    frame: Frame,
    growth: Array,
    powers: Integers,
    out: Array,
) -> None:
    """Exponents of one draw after each segment but the first, which is the tangent burn-in.

    segments holds the steps of each, start (k, P) the first frame; out (segments - 1, k). Scratch:
    growth and powers (k,). A segment begins and ends with an orthonormal frame in the space of x,
    so that the growth within it is that over its own steps.
    """
    rank, side = start.shape[0], 0
    motion = _begin(network, draw, motion)
    growth[:] = 1.0
    powers[:] = 0
    measured, begin = 0, start
    for segment in range(segments.size):
        steps, shift, factored = segments[segment], 0, False
        # the steps of the state alone are those of the first segment with t < 0
        for t in range(-burn_in if segment == 0 else 0, steps + 1 if steps > 0 else 0):
            if t < steps:
                _advance(network, motion)
            else:
                motion.slope[:] = 1.0  # W^T of the last step, and no more
            if t < 0:
                continue
            if t == 0:
                _scale_frame(begin, motion.slope, frame, side, rank)
            else:
                _carry_frame(motion, motion.slope, factored, frame, side, rank)
                side = 1 - side
            factored = t == steps or t % qr_interval == 0
            if factored:
                rows, rank = rank, _factor_frame(frame, side, rank)
                _accumulate(frame, rows, shift, growth, powers)
                shift = 0
            elif rank > 0:
                shift += _rescale(frame.rows[side, :rank])
        if steps > 0:
            _orthonormalise_frame(frame, side, rank)
            _accumulate(frame, rank, 0, growth, powers)
            begin = frame.rows[side]
        if segment == 0:
            growth[:] = 1.0
            powers[:] = 0
            continue
        measured += steps
        estimate = out[segment - 1]
        _log(growth, estimate)
        for r in range(estimate.size):
            estimate[r] = (estimate[r] + LN2 * powers[r]) / measured if r < rank else -np.inf


@kernel()
def _exponents_batch(
    network: Network,
    first: int,
    burn_in: int,
    segments: Integers,
    qr_interval: int,
    start: Array,
    motion: Motion,
    frame: Frame,
    growth: Array,
    powers: Integers,
    out: Array,
) -> None:
    """Exponents of several draws from `first` on, as `_exponents_lane`; out (draws, ...)."""
    for d in range(out.shape[0]):
        _exponents_lane(
            network, first + d, burn_in, segments, qr_interval, start, motion, frame, growth,
            powers, out[d],
        )  # fmt: skip
