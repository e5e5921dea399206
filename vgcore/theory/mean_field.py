"""Mean field of wide random networks: variance, gradient growth, and the edge between regimes.

Assumptions: W has independent entries of mean 0 and variance g^2/N, N is large, and the white input
(or noise) and the biases are Gaussian. Then a unit's pre-activation is Gaussian with variance q,

    q     = g^2 E[s(sqrt(q) z)^2] + input variance + bias variance
    chi_1 = g^2 E[s'(sqrt(q) z)^2]                                       z ~ N(0, 1)

and the squared gradient norm is multiplied by chi_1 a step or layer [1]_, so that the leading
Lyapunov exponent is ln(chi_1) / 2 [2]_; `vgcore.theory.lyapunov_spectrum` has the others. Finite
networks stay below: autonomous tanh networks of gain 2 have .12 at N = 100 in the place of .155.

.. [1] Schoenholz, Gilmer, Ganguli, Sohl-Dickstein, "Deep information propagation", ICLR 2017,
   eqs. 3 and 5; Poole et al., NeurIPS 2016.
.. [2] L. Molgedey, J. Schuchhardt, H. G. Schuster, "Suppressing chaos in neural networks by noise",
   Phys. Rev. Lett. 69, 3717 (1992).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array, Numbers
from vgcore.activations import Activation
from vgcore.activations import activation as find_activation
from vgcore.kernels.activate import _activate
from vgcore.theory.quadrature import find_root, gaussian_expectation

# Variances from far below any that rounding lets one tell from 0 to far above any that is of use.
_VARIANCES = 10.0 ** np.arange(-18.0, 18.1, 0.25)
_TINY = 1e-11  # a variance at which the moments of the logistic are at their limits to 1e-11


class Moments(NamedTuple):
    """Moments of an activation under N(0, q), each of the shape of q.

    Attributes
    ----------
    mean : ndarray
        E[s]
    square : ndarray
        E[s^2]
    slope_square : ndarray
        E[s'^2]
    growth : ndarray
        d E[s^2] / dq, which is E[s s' z] / sqrt(q)
    """

    mean: Numbers
    square: Numbers
    slope_square: Numbers
    growth: Numbers


def in_shape(values: Array, shape: tuple[int, ...]) -> Numbers:
    """`values` in `shape`; a NumPy scalar where that is ()."""
    out: Numbers = values.reshape(shape)[()]
    return out


def activate(law: Activation, x: Array) -> tuple[Array, Array]:
    """s(x) and s'(x), in the shape of x."""
    flat = np.ascontiguousarray(x, np.float64).reshape(-1)
    value, slope = np.empty_like(flat), np.empty_like(flat)
    _activate(law.code, flat, value, slope)
    return value.reshape(x.shape), slope.reshape(x.shape)


def gaussian_moments(activation: str, variance: npt.ArrayLike) -> Moments:
    """Moments of s(x) and s'(x) for x ~ N(0, variance).

    Parameters
    ----------
    activation
        A name in `vgcore.activations.ACTIVATIONS`.
    variance : array_like
        q, finite and at least 0. At q = 0 the slopes are the limits as q -> 0.

    Returns
    -------
    Moments
        Right to 1e-12 or better of the largest of each; see `vgcore.theory.quadrature`.

    Raises
    ------
    ValueError
        Unknown activation, negative or non-finite variance.

    Examples
    --------
    >>> from vgcore import theory
    >>> round(float(theory.gaussian_moments("relu", 3.0).square), 12)
    1.5
    """
    law = find_activation(activation)
    q = checks.numbers("variance", variance, least=0.0)
    flat = q.reshape(-1)
    moments = np.zeros((4, flat.size))
    moments[:, flat > 0.0] = _moments(law, flat[flat > 0.0])
    zero = flat == 0.0
    if zero.any():
        value, slope = (float(v[0]) for v in activate(law, np.zeros(1)))
        at_zero = _mean_square(law.near_zero) if law.near_zero else slope**2
        # d E[s^2]/dq = E[s'^2 + s s''], and s''(0) = 0 for the logistic
        moments[:, zero] = np.array([value, value**2, at_zero, at_zero])[:, None]
    return Moments(*(m.reshape(q.shape)[()] for m in moments))


def _moments(law: Activation, q: Array) -> Array:
    """Moments (4, n) at variances (n,) above 0."""
    deviation = np.sqrt(q)

    def functions(x: Array, row: Array) -> Array:
        value, slope = activate(law, x)
        return np.stack([value, value**2, slope**2, value * slope * x / deviation[row]])

    moments = gaussian_expectation(functions, q)
    moments[3] /= deviation
    if law.near_zero is None:  # s(0) z, which has the mean 0, is all that rounding leaves
        moments[3, q < _TINY] = moments[2, q < _TINY]
    return moments


def _mean_square(slopes: tuple[float, float]) -> float:
    """E[s'^2] of an activation with one slope on each side of zero."""
    return 0.5 * (slopes[0] ** 2 + slopes[1] ** 2)


@functools.cache
def _squares_of(name: str) -> tuple[Array, Array]:
    """E[s^2] and E[s'^2] on the grid of variances, with which every root is bracketed."""
    moments = _moments(find_activation(name), _VARIANCES)
    return moments[1], moments[2]


def fixed_point(
    activation: str,
    gain: npt.ArrayLike,
    *,
    input_variance: npt.ArrayLike = 0.0,
    bias_variance: npt.ArrayLike = 0.0,
) -> Numbers:
    """Variance q of the pre-activations in the stationary state.

    Parameters
    ----------
    activation
        A name in `vgcore.activations.ACTIVATIONS`.
    gain : array_like
        g in "entries of W_rec have variance g^2/N", at least 0.
    input_variance : array_like
        Variance that white Gaussian input adds to each pre-activation.
    bias_variance : array_like
        Variance of Gaussian biases, which adds to q in the same way.

    Returns
    -------
    ndarray of float64, in the shape to which the arguments broadcast
        0 where activity dies out; inf where it grows without bound, as with ReLU above its critical
        gain. For piecewise linear activations without input every q is stationary at the
        critical gain itself: 0 is given.

    Raises
    ------
    ValueError
        Unknown activation, negative or non-finite numbers, shapes that do not broadcast.

    Notes
    -----
    The smallest q that the map leaves in place and to which small activity grows (Schoenholz et al.
    2017, eq. 3), found as a root: iterating the map stalls at the edge of chaos. For tanh near
    its onset q -> (g^2 - 1) / 2.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.fixed_point("tanh", [0.9, 1.5, 2.0]).round(6)
    array([0.      , 0.793354, 2.121474])
    """
    law = find_activation(activation)
    g, v = _gain_and_variance(gain, input_variance, bias_variance)
    return in_shape(_fixed_point(law, g, v), g.shape)


def _gain_and_variance(*arguments: npt.ArrayLike) -> tuple[Array, Array]:
    """Check gain, input variance and bias variance; return the gain and the sum of the others."""
    names = ("gain", "input_variance", "bias_variance")
    arrays = {n: checks.numbers(n, a, least=0.0) for n, a in zip(names, arguments)}
    g, v_in, v_bias = checks.together(**arrays)
    return g, np.asarray(v_in + v_bias)


def _fixed_point(law: Activation, g: Array, v: Array) -> Array:
    """`fixed_point` of arrays of one shape: v is all the variance not coming through W."""
    shape = g.shape
    g, v = g.reshape(-1), v.reshape(-1)
    q = np.full(g.shape, np.inf)
    dying = np.zeros(g.shape, bool)
    if law.near_zero is not None:
        dying = (v == 0.0) & (g**2 * _mean_square(law.near_zero) <= 1.0 + 4e-16)
    q[dying] = 0.0
    if law.near_zero is not None and law.near_zero == law.far:  # E[s^2] is proportional to q
        kept = 1.0 - g**2 * _mean_square(law.far)
        np.divide(v, kept, out=q, where=(kept > 0.0) & ~dying)
        return q.reshape(shape)
    square, _ = _squares_of(law.name)
    below = g[:, None] ** 2 * square + v[:, None] <= _VARIANCES
    last = _VARIANCES.size - 1
    if law.far is None:  # |s| is at most 1, so q at most g^2 + v, however large these are
        below[:, last] = True
    # activity that starts at v or just above 0 grows until it meets the first crossing
    bounded = below.any(axis=1) & ~dying
    at = below.argmax(axis=1)[bounded]
    g, v = g[bounded], v[bounded]
    at_zero = float(activate(law, np.zeros(1))[0][0])
    low = np.where(at > 0, _VARIANCES[at - 1], 0.0)
    low = np.maximum(low, v + g**2 * at_zero**2)
    high = np.maximum(np.where(at < last, _VARIANCES[at], g**2 + v), low)
    q[bounded] = low
    free = np.flatnonzero((low > 0.0) & (high > low))
    g, v = g[free], v[free]

    def log_ratio(log_q: Array, index: Array) -> Array:
        mapped = g[index] ** 2 * _moments(law, np.exp(log_q))[1] + v[index]
        return np.asarray(np.log(mapped) - log_q)

    root = find_root(log_ratio, np.log(low[free]), np.log(high[free]))
    q[np.flatnonzero(bounded)[free]] = np.exp(root)
    return q.reshape(shape)


def chi(
    activation: str,
    gain: npt.ArrayLike,
    *,
    input_variance: npt.ArrayLike = 0.0,
    bias_variance: npt.ArrayLike = 0.0,
) -> Numbers:
    """chi_1, the factor by which the mean squared gradient norm changes in a step or layer.

    Parameters
    ----------
    activation, gain, input_variance, bias_variance
        As in `fixed_point`.

    Returns
    -------
    ndarray of float64
        g^2 E[s'(sqrt(q) z)^2] at the stationary q; gradients vanish below 1 and explode above.
        Where q is infinite, the limit for large q.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Schoenholz et al. 2017, eq. 5; the same number decides whether two nearby states come together.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.chi("tanh", [0.5, 2.0]).round(6)
    array([0.25    , 1.362673])
    """
    law = find_activation(activation)
    g, v = _gain_and_variance(gain, input_variance, bias_variance)
    q = _fixed_point(law, g, v)
    finite = np.isfinite(q)
    squares = np.asarray(gaussian_moments(law.name, np.where(finite, q, 0.0)).slope_square)
    far = _mean_square(law.far) if law.far else 0.0
    return np.asarray(g**2 * np.where(finite, squares, far))[()]


def largest_exponent(
    activation: str,
    gain: npt.ArrayLike,
    *,
    input_variance: npt.ArrayLike = 0.0,
    bias_variance: npt.ArrayLike = 0.0,
) -> Numbers:
    """Leading Lyapunov exponent of a wide network, nats per step: ln(chi_1) / 2.

    Parameters
    ----------
    activation, gain, input_variance, bias_variance
        As in `fixed_point`.

    Returns
    -------
    ndarray of float64
        -inf for gain 0.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    The network is x_t = W s(x_{t-1}) + input, in discrete time and without leak. Near the onset of
    chaos of tanh it grows as (2/3)(g - 1)^2, slowly reached: .507 (g - 1)^2 at g = 1.1. In
    continuous time it is (g - 1)^2 / 2 (Sompolinsky, Crisanti, Sommers 1988).

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.largest_exponent("tanh", [0.9, 1.2, 2.0, 5.0]).round(5)
    array([-0.10536,  0.01648,  0.15472,  0.53243])
    """
    found = chi(activation, gain, input_variance=input_variance, bias_variance=bias_variance)
    with np.errstate(divide="ignore"):
        return np.asarray(0.5 * np.log(found))[()]


def critical_gain(
    activation: str,
    input_variance: npt.ArrayLike = 0.0,
    bias_variance: npt.ArrayLike = 0.0,
) -> Numbers:
    """Gain g at which chi_1 = 1, the edge between vanishing and exploding gradients.

    Parameters
    ----------
    activation
        A name in `vgcore.activations.ACTIVATIONS`.
    input_variance, bias_variance : array_like
        As in `fixed_point`; 0 for an autonomous network without biases.

    Returns
    -------
    ndarray of float64
        1 for an autonomous tanh network, 10.149 for the logistic, sqrt 2 for ReLU.

    Raises
    ------
    ValueError
        Unknown activation, negative or non-finite numbers.

    Notes
    -----
    Every q fixes one gain, g^2 = (q - v) / E[s^2] with v the variance of input and biases, so the
    edge is a root in the single unknown q: no fixed-point iteration, which stalls exactly at the
    edge. Without v and with s(0) = 0 the root lies at q = 0, where only the slopes at zero
    matter.

    For gelu under weak input (a variance below .2) the activity runs away at a gain at which chi_1
    is still below 1, and the gradient explodes beyond: that gain is returned.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.critical_gain("sigmoid").round(3)
    np.float64(10.149)
    >>> theory.critical_gain("tanh", [0.0, 0.1, 1.0]).round(4)
    array([1.    , 1.4093, 1.8556])
    """
    name = find_activation(activation).name
    _, v = _gain_and_variance(1.0, input_variance, bias_variance)
    return in_shape(np.array([_critical_gain(name, float(x)) for x in v.flat]), v.shape)


@functools.cache
def _critical_gain(name: str, variance: float) -> float:
    """`critical_gain` at one variance of input and biases together."""
    law = find_activation(name)
    if law.near_zero is not None and (variance == 0.0 or law.near_zero == law.far):
        return float(_mean_square(law.near_zero) ** -0.5)

    def squared_gain_and_edge(log_excess: Array) -> tuple[Array, Array]:
        excess = np.exp(log_excess)
        _, square, slope_square, growth = _moments(law, variance + excess)
        squared_gain = excess / square
        return squared_gain, np.log(squared_gain * np.maximum(slope_square, growth))

    # q - v at the edge is below 1 for small v, and grows like sqrt v
    grid = np.log(_VARIANCES) + 0.5 * max(0.0, np.log(max(variance, 1.0)))
    beyond = squared_gain_and_edge(grid)[1] > 0.0
    if not beyond.any() and law.far is not None:
        return float(_mean_square(law.far) ** -0.5)  # chi_1 reaches 1 only as q diverges
    at = int(beyond.argmax())
    if at == 0 and law.near_zero is not None:  # so little input that rounding does not tell
        return float(_mean_square(law.near_zero) ** -0.5)
    root = find_root(lambda x, _: squared_gain_and_edge(x)[1], grid[at - 1 : at], grid[at : at + 1])
    # rounded, since exp of the weights comes from libm, whose last bit is the machine's
    return float(f"{np.sqrt(squared_gain_and_edge(root)[0][0]):.12g}")


def critical_input_variance(
    activation: str, gain: npt.ArrayLike, *, bias_variance: npt.ArrayLike = 0.0
) -> Numbers:
    """Variance of white input that brings chi_1 down to 1: input suppresses chaos.

    Parameters
    ----------
    activation, gain, bias_variance
        As in `fixed_point`.

    Returns
    -------
    ndarray of float64
        0 where gradients do not explode without input either; inf where no input stops them, as
        with ReLU.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    q follows from g^2 E[s'^2] = 1, and the input variance from the equation of q. Molgedey et al.
    1992.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.critical_input_variance("tanh", [0.9, 2.0]).round(4)
    array([0.   , 1.636])
    """
    law = find_activation(activation)
    shape = _gain_and_variance(gain, 0.0, bias_variance)[0].shape
    g, v = (a.reshape(-1) for a in _gain_and_variance(gain, 0.0, bias_variance))
    without = _fixed_point(law, g, v)
    needed = np.where(np.isfinite(without), 0.0, np.inf)
    if law.near_zero is not None and law.near_zero == law.far:
        exploding = g**2 * _mean_square(law.far) > 1.0
        needed = np.where(exploding, np.inf, 0.0)
        return in_shape(needed, shape)
    for i in np.flatnonzero(np.isfinite(without)):
        q, square = float(without[i]), float(g[i]) ** 2
        if square * float(gaussian_moments(law.name, q).slope_square) <= 1.0:
            continue
        later = (_squares_of(law.name)[1] * square < 1.0) & (q < _VARIANCES)
        if not later.any() and law.far is not None:
            needed[i] = np.inf
            continue
        # where s is bounded, E[s'^2] falls like 1 / sqrt q
        end = _VARIANCES[later][:1] if later.any() else np.array([square**2])

        def log_chi(log_q: Array, _: Array, square: float = square) -> Array:
            return np.asarray(np.log(square * _moments(law, np.exp(log_q))[2]))

        start = max(q, float(_VARIANCES[0]))
        root = np.exp(find_root(log_chi, np.log([start]), np.log(end)))
        needed[i] = (root - square * _moments(law, root)[1] - v[i])[0]
    return in_shape(needed, shape)
