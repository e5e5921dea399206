"""Products of the Jacobians of the vanilla RNN, and their singular values."""

from __future__ import annotations

import numpy as np

from vgcore._typing import Array, Integers
from vgcore.kernels.elementary import _log_one
from vgcore.kernels.jit import helper, kernel
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
from vgcore.kernels.tiles import _add_matmat
from vgcore.kernels.vectors import _exponent, _matmat, _max_abs, _scale_exact, _sum_squares

# A product is rescaled where its largest entry leaves these bounds.
_LOW, _HIGH = 2.0**-100, 2.0**100

_SWEEPS = 60  # of Jacobi rotations; six to ten are usual


@kernel()
def _product_lane(
    network: Network,
    draw: int,
    burn_in: int,
    n_steps: int,
    motion: Motion,
    scaled: Array,
    product: Array,
    out: Array,
) -> float:
    """Set out (N, N) to dx_T/dx_0 over its Frobenius norm; return the log of that norm.

    Scratch: scaled and product (N, P).
    """
    n = out.shape[0]
    motion = _begin(network, draw, motion)
    slope = motion.slope
    product[:] = 0.0
    for i in range(n):
        product[i, i] = 1.0
    exponent = 0
    for t in range(-burn_in, n_steps):
        _advance(network, motion)
        if t < 0:
            continue
        for i in range(n):
            row, source = scaled[i], product[i]
            for c in range(row.size):
                row[c] = slope[i] * source[c]
        _matmat(network.W_rec[draw], scaled, product)
        largest = _max_abs(product)
        if not _LOW <= largest <= _HIGH:
            exponent += _exponent(largest)
            _scale_exact(product, -_exponent(largest))
    squares = _sum_squares(product)
    norm = np.sqrt(squares) if squares != 0.0 else 1.0
    for i in range(n):
        for c in range(n):
            out[i, c] = product[i, c] / norm
    return float(0.5 * _log_one(squares) + LN2 * exponent)


@helper()
def _multiply_factor(
    m: int, rank: int, frame: Frame, R: Array, powers: Integers, mixing: Array, product: Array
) -> None:
    """Replace the m rows of R, each times its power of two, by the `rank` rows of L^T R.

    Scratch: mixing (N, N), product (N, P), and the second row of powers (2, N).
    """
    old, new = powers[0], powers[1]
    mixing[:] = 0.0
    c = 0
    for j in range(m):
        if frame.pivots[j] >= 0:
            mixing[c, j] = frame.diagonal[j]
            for i in range(j + 1, m):
                mixing[c, i] = -frame.L[i, j]
            c += 1
    for c in range(rank):
        top = np.int64(-(2**60))
        for i in range(m):
            if mixing[c, i] != 0.0:
                top = max(top, old[i])
        for i in range(m):
            if mixing[c, i] != 0.0:
                mixing[c, i] = np.ldexp(mixing[c, i], max(old[i] - top, -5000))
        new[c] = top
    part = product[:rank]
    part[:] = 0.0
    _add_matmat(mixing[:rank, :m], R[:m], part)
    for c in range(rank):
        exponent = _exponent(_max_abs(part[c]))
        _scale_exact(part[c], -exponent)
        for j in range(R.shape[1]):  # a slice takes seconds to compile for its error message
            R[c, j] = part[c, j]
        old[c] = new[c] + exponent


@helper()
def _orthogonalise_rows(R: Array, powers: Integers) -> None:
    """Rotate pairs of rows, each times its power of two, until all are orthogonal.

    One-sided Jacobi: the lengths are then the singular values, each to its own relative precision
    however much they differ, if the rows scaled to length 1 are well conditioned (Demmel and
    Veselic, "Jacobi's method is more accurate than QR", SIAM J. Matrix Anal. Appl. 13, 1204-1245
    (1992)).
    """
    m, width = R.shape
    tolerance = 1e-15 * np.sqrt(width)
    for _ in range(_SWEEPS):
        settled = True
        for i in range(m - 1):
            for j in range(i + 1, m):
                a, b = R[i], R[j]
                gap = powers[j] - powers[i]
                if gap > 0:
                    a, b, gap = b, a, -gap
                shared = 0.0
                for c in range(width):
                    shared += a[c] * b[c]
                of_a, of_b = _sum_squares(a), _sum_squares(b)
                if abs(shared) <= tolerance * np.sqrt(of_a * of_b):
                    continue
                settled = False
                # Row b counts 2**gap <= 1 times. The tangent of the angle is 2**gap t, and all
                # quantities here stay in range however small 2**gap is.
                ratio = np.ldexp(1.0, max(gap, -1074))
                half = (ratio * ratio * of_b - of_a) / (2.0 * shared)
                t = 1.0 / (abs(half) + np.sqrt(ratio * ratio + half * half))
                t = t if half >= 0.0 else -t
                tangent = ratio * t
                cosine = 1.0 / np.sqrt(1.0 + tangent * tangent)
                for c in range(width):
                    a_c, b_c = a[c], b[c]
                    a[c] = cosine * (a_c - tangent * ratio * b_c)
                    b[c] = cosine * (b_c + t * a_c)
        if settled:
            return


@kernel()
def _log_values(R: Array, powers: Integers, out: Array) -> None:
    """Set out to the log singular values of R, each row times its power of two; -inf beyond."""
    _orthogonalise_rows(R, powers)
    out[:] = -np.inf
    for i in range(R.shape[0]):
        out[i] = 0.5 * _log_one(_sum_squares(R[i])) + LN2 * powers[i]


@kernel()
def _singular_values_lane(
    network: Network,
    draw: int,
    burn_in: int,
    n_steps: int,
    start: Array,
    motion: Motion,
    frame: Frame,
    R: Array,
    powers: Integers,
    mixing: Array,
    product: Array,
    out: Array,
) -> None:
    """Log singular values (N,) of dx_T/dx_0, in no order, from the first frame `start` (N, P).

    Scratch: R and product (N, P), powers (2, N), mixing (N, N).
    """
    n = out.size
    motion = _begin(network, draw, motion)
    side, rank = 0, n
    R[:] = 0.0
    powers[:] = 0
    for i in range(n):
        R[i, i] = 1.0
    for t in range(-burn_in, n_steps + 1):
        if t < n_steps:
            _advance(network, motion)
        else:
            motion.slope[:] = 1.0  # W^T of the last step, and no more
        if t < 0:
            continue
        if t == 0:
            _scale_frame(start, motion.slope, frame, side, rank)
        else:
            _carry_frame(motion, motion.slope, True, frame, side, rank)
            side = 1 - side
        m, rank = rank, _factor_frame(frame, side, rank)
        _multiply_factor(m, rank, frame, R, powers, mixing, product)
    _orthonormalise_frame(frame, side, rank)
    _multiply_factor(rank, rank, frame, R, powers, mixing, product)
    _log_values(R[:rank], powers[0], out)
