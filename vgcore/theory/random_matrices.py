"""Gaussian random matrices and their products: eigenvalues, singular values, exponents.

Matrices are N x N with independent N(0, g^2/N) entries; g is the gain. "Products" are of
independent matrices, as in a linear deep net at initialisation; "powers" are of one matrix, as in a
linear recurrent net, whose rate is ln rho instead: `vgcore.theory.expected_log_spectral_radius`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from vgcore import checks
from vgcore._typing import Numbers


class LogNorm(NamedTuple):
    """Mean and variance of a log norm.

    Attributes
    ----------
    mean, variance : ndarray of float64
        Nats, and nats squared.
    """

    mean: Numbers
    variance: Numbers


def circular_law(radius: npt.ArrayLike, gain: npt.ArrayLike = 1.0) -> Numbers:
    """Fraction of the eigenvalues with a modulus of at most `radius`, for N -> infinity.

    Parameters
    ----------
    radius, gain : array_like
        At least 0, and above 0.

    Returns
    -------
    ndarray of float64
        (radius / g)^2, at most 1: eigenvalues are uniform on the disc of radius g.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    V. L. Girko, Theory Probab. Appl. 29, 694-706 (1985). It holds for entries of any law with
    variance g^2/N (Tao and Vu, Ann. Probab. 38, 2023, 2010).

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.circular_law([0.5, 1.0, 2.0], gain=1.0)
    array([0.25, 1.  , 1.  ])
    """
    r = checks.numbers("radius", radius, least=0.0)
    r, g = checks.together(radius=r, gain=checks.numbers("gain", gain, above=0.0))
    return np.asarray(np.minimum((r / g) ** 2, 1.0))[()]


def gaussian_exponents(n_hidden: npt.ArrayLike, gain: npt.ArrayLike = 1.0) -> Numbers:
    """Lyapunov exponents of a product of independent Gaussian matrices, exact at finite N.

    Parameters
    ----------
    n_hidden : array_like of int
        N.
    gain : array_like
        g, above 0; broadcasts with `n_hidden`.

    Returns
    -------
    ndarray of float64, shape (..., largest N)
        lambda_i = [ln(2 g^2 / N) + psi((N - i + 1) / 2)] / 2, nats per factor, largest first, and
        nan where i is above N; the common shape of `n_hidden` and `gain` comes before.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    C. M. Newman, Commun. Math. Phys. 103, 121-126 (1986): the volume of a frame grows by
    independent chi variables. For large N exp(2 lambda) is uniform on (0, g^2).

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.gaussian_exponents(3).round(4)
    array([-0.1845, -0.4913, -1.1845])
    """
    n, g = checks.together(
        n_hidden=checks.integers("n_hidden", n_hidden, least=1),
        gain=checks.numbers("gain", gain, above=0.0),
    )
    n, g = n[..., None], g[..., None]
    freedom = n - np.arange(n.max(initial=0))
    psi = np.where(freedom > 0, special.digamma(np.maximum(freedom, 1) / 2.0), np.nan)
    exponents: Numbers = 0.5 * (np.log(2.0 * g**2 / n) + psi)
    return exponents


def gaussian_critical_gain(n_hidden: npt.ArrayLike) -> Numbers:
    """Gain at which the leading exponent of a product of Gaussian matrices is 0, at finite N.

    Parameters
    ----------
    n_hidden : array_like of int
        N.

    Returns
    -------
    ndarray of float64
        sqrt(N / 2) exp(-psi(N / 2) / 2), near 1 + 1 / (2 N).

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    The root of lambda_1 in `gaussian_exponents` (Newman 1986).

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.gaussian_critical_gain([8, 32, 512]).round(4)
    array([1.0673, 1.0159, 1.001 ])
    """
    n = checks.integers("n_hidden", n_hidden, least=1)
    return np.exp(-0.5 * (np.log(2.0 / n) + special.digamma(n / 2.0)))[()]


def gaussian_log_norm(
    n_steps: npt.ArrayLike, n_hidden: npt.ArrayLike, gain: npt.ArrayLike = 1.0
) -> LogNorm:
    """Mean and variance of the log norm that a fixed unit vector has after a Gaussian product.

    Parameters
    ----------
    n_steps, n_hidden : array_like of int
        Number of factors, and N.
    gain : array_like
        g, above 0.

    Returns
    -------
    LogNorm
        t lambda_1 and t psi'(N / 2) / 4, exact at every t and N; normal for large t. The mean is
        the quenched rate; see `gaussian_log_moment` for the annealed one.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    The norm is a product of independent g chi_N / sqrt(N) variables (J. E. Cohen, C. M. Newman,
    Ann. Probab. 12, 283-310 (1984)). For large t it is log-normal, and its moments say nothing of
    a typical draw.

    Examples
    --------
    >>> from vgcore import theory
    >>> mean, variance = theory.gaussian_log_norm(1000, 32)
    >>> mean.round(2), variance.round(2)
    (np.float64(-15.79), np.float64(16.12))
    """
    t, n, g = checks.together(
        n_steps=checks.integers("n_steps", n_steps),
        n_hidden=checks.integers("n_hidden", n_hidden, least=1),
        gain=checks.numbers("gain", gain, above=0.0),
    )
    mean = t * (np.log(g) + 0.5 * (np.log(2.0 / n) + special.digamma(n / 2.0)))
    variance = t * special.polygamma(1, n / 2.0) / 4.0
    return LogNorm(np.asarray(mean)[()], np.asarray(variance)[()])


def gaussian_log_moment(
    order: npt.ArrayLike,
    n_steps: npt.ArrayLike,
    n_hidden: npt.ArrayLike,
    gain: npt.ArrayLike = 1.0,
) -> Numbers:
    """Ln E ||y||^order for y = W_t ... W_1 x with ||x|| = 1: the annealed average, in logs.

    Parameters
    ----------
    order : array_like
        Above 0; 1 for the mean norm, 2 for the mean squared norm, g^2 a step.
    n_steps, n_hidden, gain
        As in `gaussian_log_norm`.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    The norm is a product of t independent g chi_N / sqrt(N) variables, so this is
    t [k ln(g sqrt(2 / N)) + ln Gamma((N + k) / 2) - ln Gamma(N / 2)], exact at every t and N.

    Examples
    --------
    The median norm is 1e-7, the mean norm 4e-4: rare draws carry the mean.

    >>> from vgcore import theory
    >>> float(np.exp(theory.gaussian_log_moment(1, 1000, 32)).round(5))
    0.00041
    """
    k, t, n, g = checks.together(
        order=checks.numbers("order", order, above=0.0),
        n_steps=checks.integers("n_steps", n_steps),
        n_hidden=checks.integers("n_hidden", n_hidden, least=1),
        gain=checks.numbers("gain", gain, above=0.0),
    )
    return np.asarray(t * (k * np.log(g) + _log_gamma_ratio(n / 2.0, k / 2.0)))[()]


def _log_gamma_ratio(a: Numbers, h: Numbers) -> Numbers:
    """Return ln Gamma(a + h) - ln Gamma(a) - h ln a; by Stirling's series where these cancel."""
    x = np.maximum(a, 20.0)

    def rest(x: Numbers) -> Numbers:
        y = x**-2.0
        return np.asarray((1 / 12 - y * (1 / 360 - y * (1 / 1260 - y / 1680))) / x)

    series = (x + h - 0.5) * np.log1p(h / x) - h + rest(x + h) - rest(x)
    plain = special.gammaln(a + h) - special.gammaln(a) - h * np.log(a)
    return np.where(a < 20.0, plain, series)


def fuss_catalan_edge(n_steps: npt.ArrayLike) -> Numbers:
    """Largest squared singular value of t Gaussian factors of gain 1, for N -> infinity.

    Parameters
    ----------
    n_steps : array_like of int
        t, at least 0. For gain g multiply by g^(2t).

    Returns
    -------
    ndarray of float64
        (t + 1)^(t + 1) / t^t, for products and for powers alike.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    K. A. Penson, K. Zyczkowski, Phys. Rev. E 83, 061118 (2011); for powers N. Alexeev, F.
    Gotze, A. Tikhomirov, Doklady Math. 82, 505-507 (2010). It grows like e (t + 1) while the
    exponent is 0: the finite-time bias of ||W^t||. Some percent above what N = 400 shows.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.fuss_catalan_edge([1, 2, 3])
    array([4.        , 6.75      , 9.48148148])
    """
    t = checks.integers("n_steps", n_steps).astype(np.float64)
    return np.exp(np.log1p(t) + t * np.log1p(1.0 / np.maximum(t, 1e-300)) * (t > 0))[()]


def fuss_catalan_moment(order: npt.ArrayLike, n_steps: npt.ArrayLike) -> Numbers:
    """Moments of the squared singular values of t Gaussian factors of gain 1, N -> infinity.

    Parameters
    ----------
    order : array_like of int
        k, at least 0.
    n_steps : array_like of int
        t, at least 0. For gain g multiply by g^(2tk).

    Returns
    -------
    ndarray of float64
        binom((t + 1) k, k) / (t k + 1); 1 for k = 1 and t + 1 for k = 2, so that the spread
        m_2 / m_1^2 grows linearly with depth. For orthogonal factors all moments are 1.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Penson and Zyczkowski 2011.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.fuss_catalan_moment(2, [1, 2, 3])
    array([2., 3., 4.])
    """
    k, t = checks.together(
        order=checks.integers("order", order), n_steps=checks.integers("n_steps", n_steps)
    )
    return np.asarray(special.binom((t + 1) * k, k) / (t * k + 1))[()]
