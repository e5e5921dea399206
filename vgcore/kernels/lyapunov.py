"""Lyapunov exponents of the vanilla RNN, by repeated orthogonalisation of a tangent frame."""

from __future__ import annotations

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.elementary import _log
from vgcore.kernels.rnn import LN2, _pack
from vgcore.kernels.tangent import (
    Frame,
    Motion,
    Network,
    _advance,
    _begin,
    _carry_frame,
    _factor_frame,
)
from vgcore.kernels.vectors import _exponent, _matmat, _max_abs, _scale_exact

# What accumulates is rescaled where its largest entry leaves these bounds.
_LOW, _HIGH = 2.0**-100, 2.0**100


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply_frame(motion: Motion, slope: Array, rank: int, frame: Frame) -> int:
    """Set the first `rank` rows R to R W^T diag(slope) 2**-e; return e."""
    if rank == 0:
        return 0
    rows, product = frame.rows[:rank], frame.L[:rank]
    _matmat(rows, motion.forward, product)
    for r in range(rank):
        row, source = rows[r], product[r]
        for c in range(slope.size):
            row[c] = source[c] * slope[c]
    largest = _max_abs(rows)
    if largest == 0.0 or _LOW <= largest <= _HIGH:
        return 0
    exponent = _exponent(largest)
    _scale_exact(rows, -exponent)
    return exponent


@njit(cache=True, nogil=True, error_model="numpy")
def _accumulate(rows: int, shift: int, frame: Frame, growth: Array, powers: Integers) -> None:
    """Multiply the growth[i] 2**powers[i] of each row by its diagonal entry of L.

    A row that has died drops out, for good, and those below move up.
    """
    for i in range(rows):
        r = frame.pivots[i]
        if r >= 0:
            total, power = growth[i] * abs(frame.diagonal[i]), powers[i]
            if not _LOW <= total <= _HIGH:
                exponent = _exponent(total)
                total, power = np.ldexp(total, -exponent), power + exponent
            growth[r] = total
            powers[r] = power + frame.exponents[i] + shift


@njit(cache=True, nogil=True, error_model="numpy")
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

    segments holds the steps of each, start (k, N) the first frame; out (segments - 1, k). Scratch:
    growth and powers (k,). A segment begins and ends with an orthonormal frame in the space of x,
    so that the growth within it is that over its own steps.
    """
    k = start.shape[0]
    motion = _begin(network, draw, motion)
    for _ in range(burn_in):
        _advance(network, motion)
    _pack(start, False, frame.rows[:k])
    rank = _factor_frame(frame, k)
    growth[:] = 1.0
    powers[:] = 0
    measured = 0
    for segment in range(segments.size):
        steps, shift = segments[segment], 0
        for t in range(steps + 1 if steps > 0 else 0):
            if t < steps:
                _advance(network, motion)
            else:
                motion.slope[:] = 1.0  # W^T of the last step, and no more
            if t == 0 or (t - 1) % qr_interval == 0:
                _carry_frame(motion, motion.slope, t == 0, rank, frame)
            else:
                shift += _multiply_frame(motion, motion.slope, rank, frame)
            if t == steps or t % qr_interval == 0:
                rows, rank = rank, _factor_frame(frame, rank)
                _accumulate(rows, shift, frame, growth, powers)
                shift = 0
        if segment == 0:
            growth[:] = 1.0
            powers[:] = 0
            continue
        measured += steps
        estimate = out[segment - 1]
        _log(growth, estimate)
        for r in range(k):
            estimate[r] = (estimate[r] + LN2 * powers[r]) / measured if r < rank else -np.inf
