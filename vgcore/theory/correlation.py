"""Correlation of two trajectories, and how many layers or steps signals and gradients reach.

Under the assumptions of `vgcore.theory.mean_field`, two states of one network with correlation c
have at the next step the correlation [1]_

    C(c) = (g^2 E[s(u_1) s(u_2)] + shared variance) / q

where u_1, u_2 are Gaussian with variance q and correlation c. Biases are shared; white input is if
both trajectories see the same.

.. [1] Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli, "Exponential expressivity in deep neural
   networks through transient chaos", NeurIPS 2016; Schoenholz et al., ICLR 2017.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array, Integers, Numbers
from vgcore.activations import Activation
from vgcore.activations import activation as find_activation
from vgcore.theory.mean_field import (
    _fixed_point,
    _gain_and_variance,
    activate,
    gaussian_moments,
)
from vgcore.theory.quadrature import find_root, gaussian_expectation


def gaussian_correlations(
    activation: str, variance: npt.ArrayLike, correlation: npt.ArrayLike
) -> tuple[Numbers, Numbers]:
    """E[s(u_1) s(u_2)] and E[s'(u_1) s'(u_2)] for two correlated Gaussians of equal variance.

    Parameters
    ----------
    activation
        A name in `vgcore.activations.ACTIVATIONS`.
    variance : array_like
        q, above 0.
    correlation : array_like
        c, from -1 to 1.

    Returns
    -------
    tuple of two ndarray of float64
        In the shape to which the arguments broadcast, right to 1e-10 of E[s^2] and E[s'^2].

    Raises
    ------
    ValueError
        Unknown activation; a variance or a correlation out of range.

    Notes
    -----
    Given what the two have in common, y ~ N(0, q |c|), they are independent, and the expectation is
    E[S(y) S(y)], or E[S(y) S(-y)] for c < 0, with S(y) the mean of s at y plus the rest of the
    variance. An element takes 0.1 s, and up to a second for c near 1.

    Examples
    --------
    >>> from vgcore import theory
    >>> value, slope = theory.gaussian_correlations("erf", 1.0, 0.5)
    >>> bool(abs(value - 2 / np.pi * np.arcsin(1 / 3)) < 1e-12)
    True
    """
    law = find_activation(activation)
    q, c = checks.together(
        variance=checks.numbers("variance", variance, above=0.0),
        correlation=checks.numbers("correlation", correlation, least=-1.0),
    )
    if (c > 1.0).any():
        raise ValueError(f"correlation: found {c.max():g}, expected numbers from -1 to 1")
    pairs = [_correlations(law, float(a), float(b)) for a, b in zip(q.flat, c.flat)]
    found = np.array(pairs).reshape(*q.shape, 2)
    return found[..., 0][()], found[..., 1][()]


def _correlations(law: Activation, q: float, c: float) -> Array:
    """E[s s] and E[s' s'] at one variance and correlation."""

    def both(x: Array, _: Integers) -> Array:
        return np.stack(activate(law, x))

    if abs(c) < 1e-16:
        c = 0.0
    rest = q * (1.0 - abs(c))
    if rest == 0.0:
        return gaussian_expectation(
            lambda x, row: both(x, row) * both(np.copysign(1.0, c) * x, row), np.array([q])
        )[:, 0]
    if c == 0.0:
        return gaussian_expectation(both, np.array([q]))[:, 0] ** 2

    def products(y: Array, _: Integers) -> Array:
        centre = y.reshape(-1)
        variance = np.full(centre.shape, rest)
        means = gaussian_expectation(both, variance, centre, tolerance=1e-13)
        others = (
            means if c > 0.0 else gaussian_expectation(both, variance, -centre, tolerance=1e-13)
        )
        return (means * others).reshape(2, *y.shape)

    # kinks are rounded off over the deviation of the rest; looser than the inner integral, whose
    # errors it would chase
    steps = np.sqrt(rest) * 2.0 ** np.arange(-2, 40, 2)
    breaks = np.sort(np.concatenate([k + d * steps for k in (-1.0, 0.0, 1.0) for d in (-1.0, 1.0)]))
    common = np.array([q * abs(c)])
    return gaussian_expectation(products, common, tolerance=1e-11, breaks=breaks)[:, 0]


def correlation_fixed_point(
    activation: str,
    gain: npt.ArrayLike,
    *,
    input_variance: npt.ArrayLike = 0.0,
    bias_variance: npt.ArrayLike = 0.0,
    shared_input: bool = True,
) -> Numbers:
    """Correlation c* that any two different states of a wide network approach.

    Parameters
    ----------
    activation, gain, input_variance, bias_variance
        As in `vgcore.theory.fixed_point`.
    shared_input
        Whether both trajectories see the same input. If so, c* = 1 says that the network
        forgets its initial state: the echo state property.

    Returns
    -------
    ndarray of float64
        1 where chi_1 <= 1 and all input is shared; nan where q is 0 or infinite.

    Raises
    ------
    ValueError
        As `vgcore.theory.fixed_point`.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.correlation_fixed_point("tanh", 2.0, input_variance=[0.5, 2.0]).round(4)
    array([0.7301, 1.    ])
    """
    law = find_activation(activation)
    g, v = _gain_and_variance(gain, input_variance, bias_variance)
    shared = checks.flag("shared_input", shared_input)
    private = 0.0 if shared else checks.numbers("input_variance", input_variance, least=0.0)
    private = np.broadcast_to(private, g.shape)
    q = _fixed_point(law, g.reshape(-1), v.reshape(-1))
    found = [
        _stationary(law, *map(float, one))
        for one in zip(g.flat, v.reshape(-1) - private.reshape(-1), private.flat, q)
    ]
    return np.array(found).reshape(g.shape)[()]


def _stationary(law: Activation, g: float, shared: float, private: float, q: float) -> float:
    """c* of one network: the only root of C(c) = c in [0, 1), where C is convex, or else 1."""
    if q == 0.0 or not np.isfinite(q):
        return np.nan
    chi = g**2 * float(gaussian_moments(law.name, q).slope_square)
    if private == 0.0 and chi <= 1.0:
        return 1.0

    def excess(c: Array, _: Integers) -> Array:
        values = []
        for one in c:
            if one == 1.0 and private == 0.0:
                values.append(1.0 - chi)  # the limit: dividing by 1 - c takes the root there away
                continue
            mapped = (g**2 * _correlations(law, q, one)[0] + shared) / q
            values.append((mapped - one) / (1.0 - one if private == 0.0 else 1.0))
        return np.array(values)

    at_zero = excess(np.zeros(1), np.zeros(1, np.int64))[0]
    if at_zero <= 1e-14:
        return 0.0  # an odd activation without shared input or bias
    return float(find_root(excess, np.zeros(1), np.ones(1))[0])


class DepthScales(NamedTuple):
    """Layers or steps over which a distance shrinks by e, each an ndarray of float64.

    Attributes
    ----------
    variance : ndarray
        Of the variance to its stationary value, 1 / |ln (g^2 d E[s^2] / dq)|.
    correlation : ndarray
        Of a correlation to its stationary value c*, 1 / |ln (g^2 E[s'(u_1) s'(u_2)])|.
    gradient : ndarray
        Of the mean squared gradient norm, 1 / |ln chi_1|; above the critical gain it grows by e.
    """

    variance: Numbers
    correlation: Numbers
    gradient: Numbers


def depth_scales(
    activation: str,
    gain: npt.ArrayLike,
    *,
    input_variance: npt.ArrayLike = 0.0,
    bias_variance: npt.ArrayLike = 0.0,
) -> DepthScales:
    """How deep signals and gradients reach; all of them diverge at the edge of chaos.

    Parameters
    ----------
    activation, gain, input_variance, bias_variance
        As in `vgcore.theory.fixed_point`; all input is shared.

    Returns
    -------
    DepthScales
        nan where q is 0 (correlation) or infinite (variance and correlation).

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Schoenholz et al. 2017, sections 3 (variance, correlation) and 4 (gradient). The norm
    itself, not squared, changes by e over twice the last.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.depth_scales("tanh", [0.9, 1.5], bias_variance=0.1).gradient.round(3)
    array([ 1.896, 19.084])
    """
    law = find_activation(activation)
    g, v = _gain_and_variance(gain, input_variance, bias_variance)
    q = _fixed_point(law, g, v)
    finite = np.isfinite(q)
    moments = gaussian_moments(law.name, np.where(finite, q, 1e300 if law.far else 0.0))
    slope_square, growth = np.asarray(moments.slope_square), np.asarray(moments.growth)
    together = np.full(g.shape, np.nan)
    for i in np.ndindex(g.shape):
        if finite[i] and q[i] > 0.0:
            variance = float(v[i])
            c = _stationary(law, float(g[i]), variance, 0.0, float(q[i]))
            together[i] = slope_square[i] if c == 1.0 else _correlations(law, float(q[i]), c)[1]
    with np.errstate(divide="ignore"):
        scales = (1.0 / np.abs(np.log(g**2 * x)) for x in (growth, together, slope_square))
        variance_scale, correlation_scale, gradient_scale = scales
    variance_scale = np.where(finite, variance_scale, np.nan)
    return DepthScales(variance_scale[()], correlation_scale[()], gradient_scale[()])
