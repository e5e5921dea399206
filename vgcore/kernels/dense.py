"""Tangent frames and products under Jacobians given as matrices, whatever cell they come from.

steps (C, S, P) holds the transposed Jacobians of C steps of a state of S numbers, so that a step is
frame <- frame J^T for a frame held as rows.
"""

from __future__ import annotations

import numpy as np

from vgcore._typing import Array, Integers
from vgcore.kernels.elementary import _log, _log_one
from vgcore.kernels.jacobian import _multiply_factor
from vgcore.kernels.jit import kernel
from vgcore.kernels.lyapunov import _accumulate, _rescale
from vgcore.kernels.scales import LN2
from vgcore.kernels.tangent import Frame, _factor_frame, _orthonormalise_frame
from vgcore.kernels.vectors import _matmat, _sum_squares


@kernel()
def _grow(
    steps: Array,
    last: bool,
    qr_interval: int,
    frame: Frame,
    growth: Array,
    powers: Integers,
    status: Integers,
) -> None:
    """Carry a frame along and note the growth of its rows, orthonormal again after the `last` step.

    status holds the rank of the frame, its side, an exponent not yet noted, and the steps so far.
    """
    for t in range(steps.shape[0]):
        rank, side = status[0], status[1]
        if rank == 0:
            return
        _matmat(frame.rows[side, :rank], steps[t], frame.rows[1 - side, :rank])
        side = status[1] = 1 - side
        status[3] += 1
        ends = last and t == steps.shape[0] - 1
        if ends or status[3] % qr_interval == 0:
            status[0] = _factor_frame(frame, side, rank)
            _accumulate(frame, rank, status[2], growth, powers)
            status[2] = 0
        else:
            status[2] += _rescale(frame.rows[side, :rank])
        if ends:
            _orthonormalise_frame(frame, side, status[0])
            _accumulate(frame, status[0], 0, growth, powers)
            status[3] = 0


@kernel()
def _multiply(steps: Array, product: Array, scratch: Array) -> int:
    """Multiply a transposed product (S, P) by all steps and 2**-e; return e."""
    exponent = 0
    for t in range(steps.shape[0]):
        _matmat(product, steps[t], scratch)
        exponent += _rescale(scratch)
        for r in range(product.shape[0]):  # a slice takes seconds to compile for its error message
            for c in range(product.shape[1]):
                product[r, c] = scratch[r, c]
    return exponent


@kernel()
def _factor_steps(
    steps: Array,
    last: bool,
    frame: Frame,
    R: Array,
    powers: Integers,
    mixing: Array,
    product: Array,
    status: Integers,
) -> None:
    """Carry a frame along and multiply R by its factors, made orthonormal after the `last` step.

    status holds the rank of the frame and its side. Others as `_multiply_factor`.
    """
    for t in range(steps.shape[0]):
        m, side = status[0], status[1]
        _matmat(frame.rows[side, :m], steps[t], frame.rows[1 - side, :m])
        side = status[1] = 1 - side
        rank = status[0] = _factor_frame(frame, side, m)
        _multiply_factor(m, rank, frame, R, powers, mixing, product)
    if last:
        rank = status[0]
        _orthonormalise_frame(frame, status[1], rank)
        _multiply_factor(rank, rank, frame, R, powers, mixing, product)


@kernel()
def _estimate(growth: Array, powers: Integers, rank: int, measured: int, out: Array) -> None:
    """Set out to the exponents that growth 2**powers over `measured` steps stands for."""
    _log(growth, out)
    for r in range(out.size):
        out[r] = (out[r] + LN2 * powers[r]) / measured if r < rank else -np.inf


@kernel()
def _normalise_product(product: Array, exponent: int, out: Array) -> float:
    """Set out (S, S) to a transposed product (S, P) with norm 1, not transposed; return the log."""
    squares = _sum_squares(product)
    norm = np.sqrt(squares) if squares != 0.0 else 1.0
    for i in range(out.shape[0]):
        for c in range(out.shape[0]):
            out[i, c] = product[c, i] / norm
    return float(0.5 * _log_one(squares) + LN2 * exponent)
