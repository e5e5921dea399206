"""Mean-field theory of wide random networks: the gain at which gradients keep their norm.

A unit's pre-activation is Gaussian with variance q, where

    q     = g^2 E[s(sqrt(q) z)^2] + input variance
    chi_1 = g^2 E[s'(sqrt(q) z)^2]                          z ~ N(0, 1)

and the squared gradient norm is multiplied by chi_1 a step [1]_.

.. [1] Schoenholz, Gilmer, Ganguli, Sohl-Dickstein, "Deep information propagation", ICLR 2017,
   eqs. 3 and 5.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy import optimize

from vgcore.activations import Activation, activation
from vgcore.kernels.activate import _activate

# The trapezoidal rule converges geometrically for a smooth integrand against a Gaussian; the
# kinks of hard_tanh and relu leave an error of the order of the step squared, 1e-6.
_Z = np.linspace(-12.0, 12.0, 24_001)
_WEIGHT = np.exp(-0.5 * _Z**2)
_WEIGHT /= _WEIGHT.sum()


def gaussian_moments(name: str, q: float) -> tuple[float, float]:
    """E[s(sqrt(q) z)^2] and E[s'(sqrt(q) z)^2] for a standard normal z."""
    x: npt.NDArray[np.float64] = np.sqrt(q) * _Z
    value, slope = np.empty_like(x), np.empty_like(x)
    _activate(activation(name).code, x, value, slope)
    # sums, not products: those of BLAS depend on its threads in the last bits
    return float((_WEIGHT * value**2).sum()), float((_WEIGHT * slope**2).sum())


def _piecewise_linear_gain(slopes: tuple[float, float]) -> float:
    """Critical gain of an activation with one slope on each side of zero (sqrt 2 for ReLU)."""
    return float((0.5 * (slopes[0] ** 2 + slopes[1] ** 2)) ** -0.5)


@functools.cache
def critical_gain(name: str, input_variance: float = 0.0) -> float:
    """Gain g at which chi_1 = 1, the edge between vanishing and exploding gradients.

    Parameters
    ----------
    name
        Activation, one of `vgcore.activations.ACTIVATIONS`.
    input_variance
        Variance that white input adds to each pre-activation; 0 for an autonomous network.

    Returns
    -------
    float
        1 for an autonomous tanh network, 10.149 for the logistic, sqrt 2 for ReLU.

    Notes
    -----
    Every q fixes one gain, g^2 = (q - input variance) / E[s^2], so the edge is a root in the single
    unknown q: no fixed-point iteration, which stalls exactly at the edge. Without input and with
    s(0) = 0 the root lies at q = 0, where only the slopes at zero matter.

    Examples
    --------
    >>> round(critical_gain("sigmoid"), 3)
    10.149
    """
    law: Activation = activation(name)
    if input_variance == 0.0 and law.near_zero is not None:
        return _piecewise_linear_gain(law.near_zero)

    def squared_gain_and_log_chi(log_excess: float) -> tuple[float, float]:
        excess = np.exp(log_excess)
        mean_square, mean_square_slope = gaussian_moments(name, input_variance + excess)
        squared_gain = excess / mean_square
        return squared_gain, float(np.log(squared_gain * mean_square_slope))

    def log_chi(log_excess: float) -> float:
        return squared_gain_and_log_chi(log_excess)[1]

    low, high = np.log(1e-12), np.log(1e6)
    if log_chi(high) <= 0.0 and law.far is not None:
        return _piecewise_linear_gain(law.far)  # chi_1 reaches 1 only as q diverges
    root = optimize.brentq(log_chi, low, high, xtol=1e-12, rtol=1e-14)
    # rounded, since exp of the weights comes from libm, whose last bit is the machine's
    return float(f"{np.sqrt(squared_gain_and_log_chi(root)[0]):.12g}")
