"""Spectral radius by repeated squaring: rho(W) = lim ||W^t||^(1/t), at t = 1, 2, 4, 8 ...

Each power is rescaled by a power of two, so that nothing overflows. The root is taken by as many
square roots as there were squarings, so no function of libm takes part.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.jit import helper, kernel
from vgcore.kernels.vectors import (
    _exponent,
    _matmat,
    _max_abs,
    _normalise,
    _scale_exact,
    _sum_squares,
)

Flags = npt.NDArray[np.bool_]

_TOLERANCE = 1e-10  # relative error of a radius that is settled before the last squaring
_TOP = 1000  # largest exponent while balancing: the entries may then span 2000 powers of two


@helper()
def _separate(A: Array, reach: Flags) -> None:
    """Set to zero each A[i, j] where no path leads from j back to i.

    That takes A to its irreducible diagonal blocks, which have all of its eigenvalues. Without it
    the powers of a triangular matrix outgrow its eigenvalues beyond the range of a float.
    """
    n = A.shape[0]
    dense = True
    for i in range(n):
        for j in range(n):
            reach[i, j] = A[i, j] != 0.0
            dense &= reach[i, j] or i == j
    if dense:
        return
    for k in range(n):  # Warshall's transitive closure
        for i in range(n):
            if reach[i, k]:
                for j in range(n):
                    reach[i, j] |= reach[k, j]
    for i in range(n):
        for j in range(n):
            if i != j and not reach[j, i]:
                A[i, j] = 0.0


@helper()
def _balance(A: Array) -> None:
    """Bring the largest entries of row i and column i near each other, by powers of two.

    This is a similarity transform, and exact (Osborne 1960; LAPACK's gebal). A random matrix takes
    one or two sweeps. A long cycle with one light edge would take N^2, but need not converge.
    """
    n = A.shape[0]
    for _ in range(n):
        settled = True
        for i in range(n):
            row = column = 0.0
            for j in range(n):
                if j != i:
                    row = max(row, abs(A[i, j]))
                    column = max(column, abs(A[j, i]))
            if row == 0.0 or column == 0.0:
                continue
            shift = int((_exponent(row) - _exponent(column)) / 2)
            if shift != 0:
                settled = False
                for j in range(n):
                    if j != i:
                        A[i, j] = np.ldexp(A[i, j], -shift)
                        A[j, i] = np.ldexp(A[j, i], shift)
        if settled:
            return


@helper()
def _trace(A: Array) -> float:
    total = 0.0
    for i in range(A.shape[0]):
        total += A[i, i]
    return total


@helper()
def _residual(A: Array, square: Array, trace: float, pair: float, C: Array) -> float:
    """Return ||A^3 - trace A^2 + pair A||_F; `C` is scratch."""
    _matmat(A, square, C)
    for i in range(C.shape[0]):
        for j in range(C.shape[1]):
            C[i, j] += pair * A[i, j] - trace * square[i, j]
    return float(np.sqrt(_sum_squares(C)))


@njit(nogil=True, error_model="numpy", inline="always")
def _radius_lane(
    W: Array, A: Array, square: Array, C: Array, reach: Flags, exponents: Integers
) -> float:
    """Spectral radius of W (N, N).

    Scratch: A, square, C (N, P), reach (N, N), and exponents, whose size bounds the squarings.
    """
    n = W.shape[0]
    A[:] = 0.0
    for i in range(n):  # an assignment of slices would take five seconds more to compile
        for j in range(n):
            A[i, j] = W[i, j]
    _separate(A, reach)
    largest = _max_abs(A)
    if largest == 0.0:
        return 0.0
    lift = _TOP - _exponent(largest)
    _scale_exact(A, lift)
    _balance(A)
    exponent = _normalise(A) - lift

    radius = expected = np.nan
    squarings = 0
    while squarings < exponents.size:
        _matmat(A, A, square)
        # Sooner or later one real eigenvalue or one conjugate pair outlives all others, as a rule.
        # The sum and the product of the two are then these; the next product is this one squared.
        trace = _trace(A)
        pair = 0.5 * (trace * trace - _trace(square))
        if abs(pair - expected) <= _TOLERANCE * max(trace * trace, abs(pair)):
            spread = 0.25 * trace * trace - pair
            radius = 0.5 * abs(trace) + np.sqrt(spread) if spread > 0.0 else np.sqrt(pair)
            # With r, s the two and d the residual, |z| |z - r| |z - s| <= d for each eigenvalue z
            # of A: none is larger than R = max(|r|, |s|) by more than sqrt(d / R), all lie near 0,
            # r or s, and the traces of A and A^2 come out so only if R is among them.
            error = 2.0**squarings * _TOLERANCE * radius
            if radius > 0.0 and _residual(A, square, trace, pair, C) <= error * error * radius:
                break
        if _max_abs(square) == 0.0:
            return 0.0
        exponents[squarings] = _normalise(square)
        expected = pair * pair * 2.0 ** (-2 * exponents[squarings])
        A, square = square, A
        squarings += 1
    else:
        radius = _max_abs(A)
    for k in range(squarings - 1, -1, -1):
        radius = np.ldexp(np.sqrt(radius * (1 + exponents[k] % 2)), exponents[k] // 2)
    return float(np.ldexp(radius, exponent))


@kernel()
def _radius_batch(
    W: Array,
    A: Array,
    square: Array,
    C: Array,
    reach: Flags,
    exponents: Integers,
    out: Array,
) -> None:
    """Spectral radii of several draws, one after another; out (draws,)."""
    for d in range(W.shape[0]):
        out[d] = _radius_lane(W[d], A, square, C, reach, exponents)
