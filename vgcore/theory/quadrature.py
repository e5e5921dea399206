"""Gaussian expectations to 1e-12 for any activation, and roots, for arrays of parameters at once.

Gauss-Hermite rules are of no use here: they need hundreds of nodes for tanh once the variance is
above 10, and converge like 1/n at the kink of a ReLU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vgcore._typing import Array, Integers

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
# Panels end at the kinks of the activations (0, 1 and -1), on a scale that follows functions of x
# to the tails of softsign, and on one that follows the Gaussian: its mass beyond 12 deviations
# is 4e-33.
_HALF = np.concatenate([[0.0, 0.5], 2.0 ** np.arange(0, 64)])
_X_BREAKS = np.concatenate([-_HALF[:0:-1], _HALF])
_Z_BREAKS = np.arange(-12.0, 13.0, 2.0)
_MAX_DEPTH = 48
_NEXT_TO_NOTHING = 1e-300  # subnormal numbers have few digits to agree in

Integrand = Callable[[Array, Integers], Array]


def gaussian_expectation(
    f: Integrand,
    variance: Array,
    mean: Array | float = 0.0,
    *,
    tolerance: float = 1e-14,
    breaks: Array = _X_BREAKS,
) -> Array:
    """E[f(x)] for x ~ N(mean, variance), one expectation a row.

    Parameters
    ----------
    f : callable
        (x, row) -> values (C, ...) of C functions at x, which has the shape (...); `row`
        (n_panels, 1), which broadcasts against x, tells to which row a point belongs.
    variance, mean : ndarray, shape (R,)
        Finite; variances above 0.
    tolerance
        A panel is halved until its two halves agree with it to this part of the whole integral.
    breaks : ndarray
        Where panels end at least, beside steps of two deviations.

    Returns
    -------
    ndarray of float64, shape (C, R)

    Notes
    -----
    Adaptive composite Gauss-Legendre, 16 nodes a panel.

    Examples
    --------
    >>> gaussian_expectation(lambda x, row: np.stack([x**2, abs(x)]), np.array([4.0])).round(12)
    array([[4.        ],
           [1.59576912]])
    """
    deviation = np.sqrt(variance)
    mean = np.broadcast_to(mean, variance.shape)
    edges = mean[:, None] + deviation[:, None] * _Z_BREAKS
    clipped = np.clip(breaks, edges[:, :1], edges[:, -1:])
    edges = np.sort(np.concatenate([edges, clipped], axis=1), axis=1)
    row, at = np.nonzero(np.diff(edges, axis=1) > 0.0)
    low, high = edges[row, at], edges[row, at + 1]
    density = 1.0 / (np.sqrt(2.0 * np.pi) * deviation)

    def panels(low: Array, high: Array, row: Integers) -> Array:
        half = 0.5 * (high - low)
        x = (0.5 * (low + high))[:, None] + half[:, None] * _NODES
        z = (x - mean[row, None]) / deviation[row, None]
        weight = _WEIGHTS * np.exp(-0.5 * z**2) * (half * density[row])[:, None]
        # a sum, not a product: those of BLAS depend on its threads in the last bits
        return np.asarray((f(x, row[:, None]) * weight).sum(axis=-1))

    def by_row(values: Array, row: Integers) -> Array:
        return np.stack([np.bincount(row, v, minlength=len(variance)) for v in values])

    whole = panels(low, high, row)
    allowed = np.maximum(tolerance * by_row(np.abs(whole), row), _NEXT_TO_NOTHING)
    total = np.zeros_like(allowed)
    for depth in range(_MAX_DEPTH):
        middle = 0.5 * (low + high)
        left, right = panels(low, middle, row), panels(middle, high, row)
        fine = left + right
        done = (np.abs(fine - whole) <= allowed[:, row]).all(axis=0)
        # between neighbouring numbers there is only the rounding of f to be seen
        done |= (high - low <= 1e-12 * np.abs(middle)) | (depth == _MAX_DEPTH - 1)
        total += by_row(fine[:, done], row[done])
        allowed = np.maximum(allowed, tolerance * np.abs(total))  # a peak that was missed at first
        if done.all():
            break
        more = ~done
        low = np.concatenate([low[more], middle[more]])
        high = np.concatenate([middle[more], high[more]])
        whole = np.concatenate([left[:, more], right[:, more]], axis=1)
        row = np.concatenate([row[more], row[more]])
    return total


def find_root(f: Integrand, low: Array, high: Array) -> Array:
    """A root of f between `low` and `high`, element by element.

    Parameters
    ----------
    f : callable
        (x, index) -> values at x, all 1-D; `index` tells which elements are asked for.
    low, high : ndarray, shape (n,)
        Ends at which f has opposite signs, or is 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        Roots to 4 units in the last place of the larger end, as far as the signs of f reach.

    Notes
    -----
    T. R. Chandrupatla, "A new hybrid quadratic/bisection algorithm for finding the zero of a
    nonlinear function", Adv. Eng. Softw. 28, 145-149 (1997).

    Examples
    --------
    >>> find_root(lambda x, _: x**2 - 2.0, np.array([0.0]), np.array([2.0])).round(12)
    array([1.41421356])
    """
    index = np.arange(len(low))
    root = np.empty(len(low))
    a, b = np.array(low, np.float64), np.array(high, np.float64)
    fa, fb = f(a, index), f(b, index)
    t = np.full(len(low), 0.5)
    for _ in range(200):
        x = a + t * (b - a)
        fx = f(x, index)
        same = np.sign(fx) == np.sign(fa)
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        closer = np.abs(fa) < np.abs(fb)
        best, residual = np.where(closer, a, b), np.where(closer, fa, fb)
        root[index] = best
        scale = np.maximum(np.abs(a), np.abs(b))
        with np.errstate(divide="ignore", invalid="ignore"):
            limit = (4.0 * np.finfo(np.float64).eps * scale + 1e-300) / np.abs(b - a)
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            quadratic = (phi**2 < xi) & ((1.0 - phi) ** 2 < 1.0 - xi)
            step = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (
                fc - fb
            )
        left = (limit < 0.5) & (residual != 0.0)
        if not left.any():
            break
        t = np.where(quadratic & np.isfinite(step), step, 0.5)
        t = np.clip(t, limit, 1.0 - limit)[left]
        index, a, b, fa, fb = index[left], a[left], b[left], fa[left], fb[left]
    return root
