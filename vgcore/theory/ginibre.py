"""Spectral radius of a Gaussian matrix, exactly and at any size.

The eigenvalues of W with N(0, 1) entries form a Pfaffian point process, so the probability that
all of them lie within a disc is a Pfaffian [1]_, [2]_. Because the disc is symmetric it is a
determinant of half the size; for even N

    P(rho <= r) = det M,   M_jk = <z^2j, p_{2k+1}>_r / sqrt(R_j R_k),   j, k = 0 ... N/2 - 1

with the skew-orthogonal polynomials p_{2k+1} = z^{2k+1} - 2k z^{2k-1} and norms
R_j = 2 sqrt(2 pi) (2j)! [3]_. Here < >_r is their skew product restricted to the disc. As
p_{2k+1} exp(-z^2/2) is the derivative of -z^{2k} exp(-z^2/2), Stokes' theorem leaves

    <z^2j, p_{2k+1}>_r = R_j P(2j+1, r^2) [j = k]
                         - 2 r^{2k} exp(-r^2/2) 2^{j+1/2} gamma(j + 1/2, r^2/2)
                         - 2 r^{2j+2k+1} exp(-r^2) S_{k-j}
    S_m = int_0^pi sin((2m - 1) theta) erfcx(sqrt 2 r sin theta) dtheta

with P and gamma the incomplete gamma functions. For odd N one column
int_{-r}^r x^{2j} exp(-x^2/2) dx takes the place of the last. Both are checked against simulated
matrices; N = 1 gives the half-normal law.

.. [1] B. Rider, C. D. Sinclair, "Extremal laws for the real Ginibre ensemble", Ann. Appl. Probab.
   24, 1621-1651 (2014), which also has the limit law (Gumbel, approached only like 1/log N).
.. [2] C. D. Sinclair, "Averages over Ginibre's ensemble of random real matrices", IMRN 2007,
   rnm015.
.. [3] P. J. Forrester, T. Nagao, "Eigenvalue statistics of the real Ginibre ensemble", Phys. Rev.
   Lett. 99, 050603 (2007).
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy import special

from vgcore import checks
from vgcore._typing import Array, Numbers

# Rows and columns j with a negligible Poisson weight at 2j are those of the identity: all but the
# last 10 sqrt(N), as no radius below sqrt(N) - 6 counts.
_MARGIN = 10.0


def spectral_radius_cdf(
    radius: npt.ArrayLike, n_hidden: npt.ArrayLike, gain: npt.ArrayLike = 1.0
) -> Numbers:
    """Probability that a Gaussian matrix has a spectral radius of at most `radius`.

    Parameters
    ----------
    radius : array_like
        At least 0.
    n_hidden : array_like of int
        N, the size of the matrix.
    gain : array_like
        g, above 0; entries are N(0, g^2/N).

    Returns
    -------
    ndarray of float64
        Right to 1e-10. Time grows like N^(3/2) a value: 10 ms at N = 1000.

    Raises
    ------
    ValueError, TypeError
        A bad argument, by name.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.spectral_radius_cdf([1.0, 1.1], n_hidden=100).round(4)
    array([0.0723, 0.8926])
    """
    r = checks.numbers("radius", radius, least=0.0)
    n, g = _sizes(n_hidden, gain)
    r, n, g = checks.together(radius=r, n_hidden=n, gain=g)
    out = np.empty(r.shape)
    for size in np.unique(n):
        own = n == size
        out[own] = _cdf(r[own] * (np.sqrt(size) / g[own]), int(size))
    return out[()]


def _cdf(radius: Array, n: int) -> Array:
    """P(rho <= radius) for N(0, 1) entries."""
    size, odd = (n + 1) // 2, n % 2
    first = max(0, size - int(_MARGIN * (np.sqrt(n) + 6.0)))
    j = np.arange(first, size, dtype=np.float64)
    theta, weight = np.polynomial.legendre.leggauss(100)
    # panels that shrink towards theta = 0, where erfcx varies over 1 / sqrt(N)
    edges = np.linspace(0.0, 1.0, 2 + len(j) // 40) ** 2 * (np.pi / 2)
    half = 0.5 * np.diff(edges)
    theta = (edges[:-1, None] + half[:, None] * (theta + 1.0)).reshape(-1)
    weight = (half[:, None] * weight).reshape(-1)
    sines = np.sin(np.outer(2.0 * np.arange(1, len(j) + 1) - 1.0, theta)) * (2.0 * weight)
    offset = np.arange(len(j))[None] - np.arange(len(j))[:, None]
    table = np.where(offset >= 1, offset - 1, -offset)
    sign = np.where(offset >= 1, 1.0, -1.0)
    shape = np.exp(0.5 * (special.gammaln(j + 0.5) - special.gammaln(j + 1.0)))  # no overflow

    out = np.zeros(radius.shape)
    low, high = max(0.0, np.sqrt(n) - 6.0), np.sqrt(n) + 9.0
    out[radius >= high] = 1.0
    for i in np.flatnonzero((radius > low) & (radius < high)):
        r = radius[i]
        square = r * r
        poisson = np.exp(
            0.5 * (special.xlogy(2.0 * j, r) * 2.0 - square - special.gammaln(2 * j + 1))
        )
        row = shape * special.gammainc(j + 0.5, 0.5 * square)
        S = (sines @ special.erfcx(np.sqrt(2.0) * r * np.sin(theta)))[table] * sign
        M = (r / np.sqrt(2.0 * np.pi)) * np.outer(poisson, poisson) * -S
        M -= np.pi**-0.25 * np.outer(row, poisson)
        M[np.diag_indices(len(j))] += special.gammainc(2.0 * j + 1.0, square)
        if odd:
            M[:, -1] = row / shape[-1]
        out[i] = np.linalg.det(M)
    return np.clip(out, 0.0, 1.0)


@functools.cache
def _radius_moments(n: int) -> tuple[float, float, float]:
    """E rho, E ln rho and the standard deviation of rho, for N(0, 1) entries."""
    low, high = max(0.0, np.sqrt(n) - 6.0), np.sqrt(n) + 9.0
    node, weight = np.polynomial.legendre.leggauss(10)
    edges = np.linspace(low, high, 31)
    half = 0.5 * np.diff(edges)
    r = (edges[:-1, None] + half[:, None] * (node + 1.0)).reshape(-1)
    weight = (half[:, None] * weight).reshape(-1)
    below = _cdf(r, n)
    mean = low + float((weight * (1.0 - below)).sum())
    mean_log = float(np.log(high) - (weight * below / r).sum())
    second = low**2 + float((weight * 2.0 * r * (1.0 - below)).sum())
    return mean, mean_log, float(np.sqrt(max(second - mean**2, 0.0)))


def expected_spectral_radius(n_hidden: npt.ArrayLike, gain: npt.ArrayLike = 1.0) -> Numbers:
    """Mean spectral radius of a Gaussian matrix at finite N: above the g of the circular law.

    Parameters
    ----------
    n_hidden : array_like of int
        N. Time grows like N^(3/2): about a second at N = 1000, once.
    gain : array_like
        g; entries are N(0, g^2/N).

    Returns
    -------
    ndarray of float64
        Right to 1e-9.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Exact; see this module. The integral of 1 - P(rho <= r).

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.expected_spectral_radius([10, 50, 100]).round(4)
    array([1.0635, 1.06  , 1.0507])
    """
    n, g = _sizes(n_hidden, gain)
    return (_moment(n, 0) / np.sqrt(n) * g)[()]


def expected_log_spectral_radius(n_hidden: npt.ArrayLike, gain: npt.ArrayLike = 1.0) -> Numbers:
    """Mean of ln rho, the rate in nats per step at which powers of a Gaussian matrix grow.

    Parameters
    ----------
    n_hidden, gain
        As in `expected_spectral_radius`.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Examples
    --------
    >>> from vgcore import theory
    >>> exact = np.log(np.sqrt(2)) - np.euler_gamma / 2 - np.log(2)  # E ln |x| of a normal number
    >>> bool(abs(theory.expected_log_spectral_radius(1) - exact) < 1e-9)
    True
    """
    n, g = _sizes(n_hidden, gain)
    return (_moment(n, 1) - 0.5 * np.log(n) + np.log(g))[()]


def spectral_radius_deviation(n_hidden: npt.ArrayLike, gain: npt.ArrayLike = 1.0) -> Numbers:
    """Standard deviation of the spectral radius of a Gaussian matrix from draw to draw.

    Parameters
    ----------
    n_hidden, gain
        As in `expected_spectral_radius`.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.spectral_radius_deviation([10, 100]).round(3)
    array([0.164, 0.039])
    """
    n, g = _sizes(n_hidden, gain)
    return (_moment(n, 2) / np.sqrt(n) * g)[()]


def _moment(n: Array, which: int) -> Array:
    """One of `_radius_moments` for each size."""
    found = [_radius_moments(int(m))[which] for m in n.flat]
    return np.array(found).reshape(n.shape)


def _sizes(n_hidden: npt.ArrayLike, gain: npt.ArrayLike) -> tuple[Array, Array]:
    """Check sizes and gains, and broadcast them together."""
    n = checks.integers("n_hidden", n_hidden, least=1)
    n, g = checks.together(n_hidden=n, gain=checks.numbers("gain", gain, above=0.0))
    return n, g
