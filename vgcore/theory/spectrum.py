"""All Lyapunov exponents of a wide random network, by one quadrature.

The Jacobian of a step is W diag(s'(x)). Under the assumptions of `vgcore.theory.mean_field` the
slopes of different steps are independent of each other and of the directions they meet, and the
exponents are those of a product of independent matrices W D. As one more vector joins a frame of
p N vectors, its growth is the distance of its image from theirs, and in the limit N -> infinity

    p(u) = E[u s'^2 / (1 + u s'^2)],     exp(2 lambda) = g^2 p / u,     0 < u < infinity

gives the exponent lambda that a fraction p of all exponents exceeds. For s' = 1 this is Newman's
triangle law, exp(2 lambda) = g^2 (1 - p) [1]_. The formula was derived for this package; it is
checked against products of random matrices and against networks, and it gives
lambda_1 = ln(chi_1) / 2 as u -> 0.

.. [1] C. M. Newman, "The distribution of Lyapunov exponents: exact results for random matrices",
   Commun. Math. Phys. 103, 121-126 (1986). For networks in continuous time see R. Engelken, F.
   Wolf, L. F. Abbott, Phys. Rev. Research 5, 043044 (2023).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from vgcore import checks
from vgcore._typing import Array, Integers, Numbers
from vgcore.activations import activation as find_activation
from vgcore.theory.mean_field import _fixed_point, _gain_and_variance, activate, in_shape
from vgcore.theory.quadrature import find_root, gaussian_expectation

Ratios = Callable[[Array], Array]

# ln u: below, p is u E[s'^2] to 1e-16; above, slopes are at the end of the range of a float.
_LOW, _HIGH = -45.0, 690.0


@dataclass(frozen=True)
class LyapunovSpectrum:
    """Lyapunov exponents of infinitely wide networks, a distribution each.

    Attributes
    ----------
    activation : str
    gain : ndarray of float64, as are all that follow, of one shape
    variance
        The stationary variance q of the pre-activations; inf where activity grows without bound,
        and the slopes are those of large |x|.
    largest
        The leading exponent, nats per step.
    unstable_fraction
        Fraction of exponents above 0.
    entropy_rate
        Sum of the positive exponents divided by N: nats per step and unit.
    kaplan_yorke_dimension
        Dimension of the attractor divided by N: the fraction of leading exponents whose sum is 0.
    """

    activation: str
    gain: Numbers
    variance: Numbers
    largest: Numbers
    unstable_fraction: Numbers
    entropy_rate: Numbers
    kaplan_yorke_dimension: Numbers

    def exponent(self, fraction: npt.ArrayLike) -> Numbers:
        """Exponent that this fraction of all exponents exceeds.

        Parameters
        ----------
        fraction : array_like
            From 0 (the largest) to 1. Exponent i of N = 1, 2 ... lies near (i - 1/2) / N. It
            broadcasts with the gain, here and below.

        Returns
        -------
        ndarray of float64
            -inf where so many units have slope 0 that the fraction is not reached.

        Examples
        --------
        >>> from vgcore import theory
        >>> theory.lyapunov_spectrum("linear", 2.0).exponent([0.0, 0.75]).round(12)
        array([0.69314718, 0.        ])
        """
        p = checks.numbers("fraction", fraction, least=0.0)
        if (p > 1.0).any():
            raise ValueError(f"fraction: found {p.max():g}, expected numbers from 0 to 1")
        p, gain, variance, largest, shape = self._beside("fraction", p)
        found = np.full(p.shape, -np.inf)
        found[p == 0.0] = largest[p == 0.0]
        low, high = (
            _functions(self.activation, variance, np.full(p.shape, end))[0] for end in (_LOW, _HIGH)
        )
        linear = (p > 0.0) & (p <= low)
        found[linear] = largest[linear]
        free = np.flatnonzero((p > low) & (p < high))
        if free.size:
            wanted, q = np.log(p[free]), variance[free]
            log_u = find_root(
                lambda x, i: np.log(_functions(self.activation, q[i], x)[0]) - wanted[i],
                np.full(free.shape, _LOW),
                np.full(free.shape, _HIGH),
            )
            found[free] = np.log(gain[free]) + 0.5 * (wanted - log_u)
        return in_shape(found, shape)

    def fraction_above(self, exponent: npt.ArrayLike) -> Numbers:
        """Fraction of exponents above the given ones, nats per step.

        Examples
        --------
        >>> from vgcore import theory
        >>> theory.lyapunov_spectrum("tanh", 2.0).fraction_above(0.0).round(4)
        np.float64(0.1334)
        """
        *beside, shape = self._beside("exponent", checks.numbers("exponent", exponent))
        log_u = self._log_u(*beside)
        p = _functions(self.activation, beside[2], np.maximum(log_u, _LOW))[0]
        return in_shape(np.where(log_u > -np.inf, p, 0.0), shape)

    def density(self, exponent: npt.ArrayLike) -> Numbers:
        """Probability density of the exponents at the given ones, nats per step.

        0 above the largest; it jumps there.

        Examples
        --------
        >>> from vgcore import theory
        >>> theory.lyapunov_spectrum("linear", 1.0).density([-1.0, 0.5]).round(6)
        array([0.270671, 0.      ])
        """
        *beside, shape = self._beside("exponent", checks.numbers("exponent", exponent))
        log_u, variance = self._log_u(*beside), beside[2]
        log_u_or_end = np.maximum(log_u, _LOW)
        p = _functions(self.activation, variance, log_u_or_end)[0]
        rise = _rise(self.activation, variance, log_u_or_end)
        with np.errstate(invalid="ignore", divide="ignore"):
            density = np.where(log_u > -np.inf, 2.0 * p * rise / (p - rise), 0.0)
        return in_shape(density, shape)

    def _beside(
        self, name: str, asked: Array
    ) -> tuple[Array, Array, Array, Array, tuple[int, ...]]:
        """What is asked for, gain, variance and largest exponent, all 1-D, and their shape."""
        own = {"gain": self.gain, "variance": self.variance, "largest": self.largest}
        found = checks.together(**{name: asked}, **{k: np.asarray(v) for k, v in own.items()})
        asked, gain, variance, largest = (np.ravel(one) for one in found)
        return asked, gain, variance, largest, found[0].shape

    def _log_u(self, exponent: Array, gain: Array, variance: Array, largest: Array) -> Array:
        """Ln u of each exponent (n,); -inf for those above the largest."""
        return _log_u_of(self.activation, gain, variance, largest, exponent)


def _log_ratios(activation: str, variance: Array, log_u: Array, f: Ratios) -> Array:
    """Expectations of functions of ln(u s'^2), whose values are listed first."""
    law = find_activation(activation)

    def functions(x: Array, row: Integers) -> Array:
        slope = np.abs(activate(law, x)[1])
        with np.errstate(divide="ignore"):
            return f(2.0 * np.log(slope) + log_u[row])

    # q = 0 stands for the slopes near 0, which any tiny variance gives, and inf for those far out
    return gaussian_expectation(
        functions, np.where(np.isinf(variance), 1e30, np.maximum(variance, 1e-40))
    )


def _functions(activation: str, variance: Array, log_u: Array) -> Array:
    """P and E[ln(1 + u s'^2)] at each ln u, shape (2, n)."""

    def both(log_ratio: Array) -> Array:
        return np.stack([np.asarray(special.expit(log_ratio)), np.logaddexp(0.0, log_ratio)])

    return _log_ratios(activation, variance, log_u, both)


def _rise(activation: str, variance: Array, log_u: Array) -> Array:
    """The derivative dp / d ln u at each ln u (n,)."""

    def product(log_ratio: Array) -> Array:
        return np.asarray(special.expit(log_ratio) * special.expit(-log_ratio))[None]

    return np.asarray(_log_ratios(activation, variance, log_u, product)[0])


def _log_u_of(
    activation: str, gain: Array, variance: Array, largest: Array, exponent: Array
) -> Array:
    """Ln u of each exponent (n,); -inf for those above the largest."""
    found = np.full(exponent.shape, -np.inf)
    free = np.flatnonzero(exponent < largest)
    squared = 2.0 * (np.log(gain[free]) - exponent[free])
    q = variance[free]

    def excess(log_u: Array, index: Integers) -> Array:
        p = _functions(activation, q[index], log_u)[0]
        return np.asarray(np.log(p) - log_u + squared[index])

    low = np.full(free.shape, _LOW)
    # p / u falls from E[s'^2] to exp(-ln u) times the share of units with a slope
    high = np.maximum(squared + 1.0, _LOW + 1.0)
    inside = (excess(low, np.arange(free.size)) > 0.0) & (high <= _HIGH)
    found[free[~inside]] = np.where(high[~inside] > _HIGH, _HIGH, _LOW)
    free, squared, q = free[inside], squared[inside], q[inside]
    low, high = low[inside], high[inside]
    if free.size:
        found[free] = find_root(excess, low, high)
    return found


def lyapunov_spectrum(
    activation: str,
    gain: npt.ArrayLike,
    *,
    input_variance: npt.ArrayLike = 0.0,
    bias_variance: npt.ArrayLike = 0.0,
) -> LyapunovSpectrum:
    """Mean-field Lyapunov spectrum of x_t = W s(x_{t-1}) + input + bias for N -> infinity.

    Parameters
    ----------
    activation
        A name in `vgcore.activations.ACTIVATIONS`.
    gain : array_like
        g, above 0.
    input_variance, bias_variance : array_like
        As in `vgcore.theory.fixed_point`.

    Returns
    -------
    LyapunovSpectrum
        Numbers in the shape to which the arguments broadcast.

    Raises
    ------
    ValueError
        A bad argument, by name.

    See Also
    --------
    vgcore.lyapunov_exponents : the spectrum of a given network
    vgcore.theory.gaussian_exponents : that of a product of Gaussian matrices at finite N

    Notes
    -----
    With the sum of the leading exponents in closed form,

        int_0^p lambda dp' = p lambda(p) - p / 2 + E[ln(1 + u s'^2)] / 2,

    the entropy rate and the dimension need one root in u each. The dimension is 1 where the
    sum of all exponents is positive.

    Examples
    --------
    >>> from vgcore import theory
    >>> found = theory.lyapunov_spectrum("tanh", [2.0, 3.0])
    >>> found.unstable_fraction.round(4), found.kaplan_yorke_dimension.round(4)
    (array([0.1334, 0.1529]), array([0.2576, 0.2877]))
    >>> found.entropy_rate.round(5)
    array([0.01068, 0.0252 ])
    """
    law = find_activation(activation)
    checks.numbers("gain", gain, above=0.0)
    g, v = _gain_and_variance(gain, input_variance, bias_variance)
    shape = g.shape
    g, v = g.reshape(-1), v.reshape(-1)
    q, log_g = _fixed_point(law, g, v), np.log(g)

    def exponent_and_sum(log_u: Array, i: Integers) -> tuple[Array, Array]:
        p, log_det = _functions(law.name, q[i], log_u)
        exponent = log_g[i] + 0.5 * (np.log(p) - log_u)
        return exponent, p * exponent + 0.5 * (log_det - p)

    largest = exponent_and_sum(np.full(g.shape, _LOW), np.arange(g.size))[0]
    unstable, entropy, dimension = np.zeros((3, g.size))
    i = np.flatnonzero(largest > 0.0)
    if i.size:
        top = _log_u_of(law.name, g[i], q[i], largest[i], np.zeros(i.size))
        unstable[i] = _functions(law.name, q[i], top)[0]
        entropy[i] = exponent_and_sum(top, i)[1]
        high = np.full(i.shape, _HIGH)
        j = np.flatnonzero(exponent_and_sum(high, i)[1] < 0.0)
        if j.size:
            high[j] = find_root(lambda x, k: exponent_and_sum(x, i[j[k]])[1], top[j], high[j])
        dimension[i] = _functions(law.name, q[i], high)[0]
    numbers = (in_shape(x, shape) for x in (g, q, largest, unstable, entropy, dimension))
    return LyapunovSpectrum(law.name, *numbers)
