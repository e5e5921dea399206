"""Rates of gated and linear units, and what a rate means for memory, bounds and truncation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Numbers
from vgcore.activations import activation as find_activation
from vgcore.theory.mean_field import largest_exponent


def memory_horizon(rate: npt.ArrayLike, eps: npt.ArrayLike = 1e-3) -> Numbers:
    """Lag at which a gradient norm that changes at a constant rate has fallen to `eps`.

    Parameters
    ----------
    rate : array_like
        Nats per step.
    eps : array_like
        Fraction of the norm at lag 0, within (0, 1).

    Returns
    -------
    ndarray of float64
        ln(eps) / rate, a real number whose ceiling is the first whole lag; inf where rate >= 0.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.memory_horizon([-0.1, -0.01, 0.0]).round(1)
    array([ 69.1, 690.8,   inf])
    """
    x = checks.numbers("rate", rate)
    x, eps = checks.together(rate=x, eps=checks.numbers("eps", eps, above=0.0, below=1.0))
    log_eps = np.log(eps)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(np.where(x < 0.0, log_eps / np.minimum(x, 0.0), np.inf))[()]


def lstm_carry_rate(forget_bias: npt.ArrayLike) -> Numbers:
    """Rate of the cell state of an LSTM whose forget gates see their bias alone, nats per step.

    Parameters
    ----------
    forget_bias : array_like
        b_f.

    Returns
    -------
    ndarray of float64
        ln sigmoid(b_f): dc_t / dc_{t-1} is the forget gate where its weights are zero.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Hochreiter and Schmidhuber, Neural Comput. 9 (1997), with the forget gate of Gers, Schmidhuber
    and Cummins, Neural Comput. 12 (2000). With random weights the gate moves about this.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.lstm_carry_rate([0.0, 1.0, 3.0]).round(4)
    array([-0.6931, -0.3133, -0.0486])
    """
    return np.asarray(-np.logaddexp(0.0, -checks.numbers("forget_bias", forget_bias)))[()]


@dataclass(frozen=True)
class ChronoRate:
    """Distribution of the carry rate over the units of an LSTM with chrono biases.

    b_f = ln U with U uniform on (1, T_max - 1), so the rate of a unit is -ln(1 + 1 / U).

    Attributes
    ----------
    t_max : ndarray of float64
    mean : ndarray of float64
        Mean rate over units. It falls off like -(ln T - .39) / T, not like -1 / T: a few units with
        small U dominate it.
    """

    t_max: Numbers
    mean: Numbers

    def quantile(self, probability: npt.ArrayLike) -> Numbers:
        """Rate below which this fraction of units lies.

        From -ln 2, the fastest to forget, to ln(1 - 1 / T_max), the slowest.

        Examples
        --------
        >>> from vgcore import theory
        >>> theory.chrono_rate(100.0).quantile([0.0, 0.5, 1.0]).round(5)
        array([-0.69315, -0.0198 , -0.01005])
        """
        p = checks.numbers("probability", probability, least=0.0)
        if (p > 1.0).any():
            raise ValueError(f"probability: found {p.max():g}, expected numbers from 0 to 1")
        p, t_max = checks.together(probability=p, t_max=np.asarray(self.t_max))
        return np.asarray(-np.log1p(1.0 / (1.0 + p * (t_max - 2.0))))[()]

    def cdf(self, rate: npt.ArrayLike) -> Numbers:
        """Fraction of units with at most this rate.

        Examples
        --------
        >>> from vgcore import theory
        >>> theory.chrono_rate(100.0).cdf([-0.1, -0.02, 0.0]).round(4)
        array([0.0868, 0.4949, 1.    ])
        """
        r = checks.numbers("rate", rate)
        r, t_max = checks.together(rate=r, t_max=np.asarray(self.t_max))
        lowest, highest = self.quantile(0.0), self.quantile(1.0)
        inside = np.clip(r, lowest, highest)
        unit = 1.0 / np.expm1(-inside)
        fraction = (unit - 1.0) / (t_max - 2.0)
        return np.select([r >= highest, r < lowest], [1.0, 0.0], np.clip(fraction, 0.0, 1.0))[()]


def chrono_rate(t_max: npt.ArrayLike) -> ChronoRate:
    """Carry rates of an LSTM with chrono biases, b_f = ln U(1, T_max - 1).

    Parameters
    ----------
    t_max : array_like
        T_max, the longest dependency expected, above 2. What is asked of the result broadcasts
        with it.

    Returns
    -------
    ChronoRate

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    C. Tallec, Y. Ollivier, "Can recurrent neural networks warp time?", ICLR 2018; the
    gates see their biases alone. The median unit has a rate near -2 / T_max.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.chrono_rate([100.0, 1000.0]).mean.round(5)
    array([-0.043  , -0.00653])
    """
    t = checks.numbers("t_max", t_max, above=2.0)
    # the integral of ln(u / (1 + u)); each term by log1p, so that nothing cancels for large T
    upper = -(t - 1.0) * np.log1p(1.0 / (t - 1.0)) - np.log(t)
    return ChronoRate(t[()], np.asarray((upper + 2.0 * np.log(2.0)) / (t - 2.0))[()])


def pascanu_bound(activation: str, spectral_norm: npt.ArrayLike) -> Numbers:
    """Upper bound of the rate of any network with this spectral norm, nats per step.

    Parameters
    ----------
    activation
        A name in `vgcore.activations.ACTIVATIONS`.
    spectral_norm : array_like
        Largest singular value of W_rec, above 0.

    Returns
    -------
    ndarray of float64
        ln(gamma sigma_max) with gamma = max s'; gradients vanish where it is negative.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Pascanu, Mikolov, Bengio, ICML 2013, section 2.1: sufficient, not necessary. For
    how far it is from the truth see `pascanu_gap`, and `pascanu_gain`.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.pascanu_bound("sigmoid", [2.0, 4.0]).round(4)
    array([-0.6931,  0.    ])
    """
    gamma = find_activation(activation).max_slope
    return np.log(gamma * checks.numbers("spectral_norm", spectral_norm, above=0.0))[()]


def pascanu_gain(activation: str) -> float:
    """Gain of wide Gaussian matrices below which Pascanu's bound proves vanishing.

    Parameters
    ----------
    activation
        A name in `vgcore.activations.ACTIVATIONS`.

    Returns
    -------
    float
        1 / (2 gamma), since ||W||_2 -> 2 g: half of the g at which the truth lies for tanh, and a
        fifth for the logistic (`vgcore.theory.critical_gain`).

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.pascanu_gain("tanh"), float(theory.critical_gain("tanh"))
    (0.5, 1.0)
    >>> theory.pascanu_gain("sigmoid"), float(theory.critical_gain("sigmoid").round(3))
    (2.0, 10.149)
    """
    return 0.5 / find_activation(activation).max_slope


def pascanu_gap(
    activation: str,
    gain: npt.ArrayLike,
    *,
    input_variance: npt.ArrayLike = 0.0,
    bias_variance: npt.ArrayLike = 0.0,
) -> Numbers:
    """How far Pascanu's bound lies above the rate of wide Gaussian networks, nats per step.

    Parameters
    ----------
    activation, input_variance, bias_variance
        As in `vgcore.theory.fixed_point`.
    gain : array_like
        g, above 0.

    Returns
    -------
    ndarray of float64
        ln(2 g gamma) - ln(chi_1) / 2: at least ln 2, which linear units have, and more the flatter
        the activation is where the states are.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    ||W||_2 -> 2 g, and the rate is that of mean field, `vgcore.theory.largest_exponent`.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.pascanu_gap("tanh", [0.5, 1.0, 3.0]).round(4)
    array([0.6931, 0.6931, 1.4815])
    """
    g = checks.numbers("gain", gain, above=0.0)
    rate = largest_exponent(
        activation, g, input_variance=input_variance, bias_variance=bias_variance
    )
    return np.asarray(pascanu_bound(activation, 2.0 * g) - rate)[()]


def truncation_share(
    rate: npt.ArrayLike, truncation: npt.ArrayLike, n_steps: npt.ArrayLike = np.inf
) -> Numbers:
    """Share of the gradient that BPTT truncated after `truncation` steps keeps.

    Parameters
    ----------
    rate : array_like
        Nats per step; contributions of lag l have the norm exp(rate l).
    truncation : array_like
        k, number of lags kept: 0 ... k - 1. At least 0.
    n_steps : array_like
        Number of lags of the full gradient; inf for an endless sequence.

    Returns
    -------
    ndarray of float64
        (1 - exp(rate k)) / (1 - exp(rate T)), the share in the sum of the norms. Give 2 rate for
        the share in the sum of their squares, which counts where contributions are not aligned.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Two geometric sums. It assumes one rate at all lags and a loss at the last step alone; what is
    measured, `vgcore.remedies.truncation`, assumes neither.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.truncation_share([-0.1, 0.0, 0.01], 10, 100).round(4)
    array([0.6321, 0.1   , 0.0612])
    """
    x = checks.numbers("rate", rate)
    k = checks.numbers("truncation", truncation, least=0.0)
    total = checks.extended("n_steps", n_steps)
    if not (total > 0.0).all():
        raise ValueError(f"n_steps: found {total.min():g}, expected numbers above 0, or inf")
    x, k, total = checks.together(rate=x, truncation=k, n_steps=total)
    k = np.minimum(k, total)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        # from the far end where contributions grow, so that no exponential overflows
        grow = np.expm1(-x * k) / np.expm1(-x * total) * np.exp(x * (k - total))
        share = np.select(
            [x < 0.0, x == 0.0, np.isinf(total)],
            [np.expm1(x * k) / np.expm1(x * total), k / total, 0.0],
            grow,
        )
    return share[()]


def linear_recurrence_variance(coefficient: npt.ArrayLike) -> Numbers:
    """Stationary E h^2 of h_t = l h_{t-1} + x_t under white input of variance 1.

    Parameters
    ----------
    coefficient : array_like
        l, within (-1, 1).

    Returns
    -------
    ndarray of float64
        1 / (1 - l^2).

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    See Also
    --------
    linear_recurrence_sensitivity

    Notes
    -----
    h_t is the sum of l^k x_{t-k}, so this is that of l^2k: a first-order autoregression.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.linear_recurrence_variance([0.0, 0.9]).round(4)
    array([1.    , 5.2632])
    """
    x = _coefficient(coefficient)
    return np.asarray(1.0 / ((1.0 - x) * (1.0 + x)))[()]


def linear_recurrence_sensitivity(coefficient: npt.ArrayLike) -> Numbers:
    """Stationary E (dh/dl)^2 of h_t = l h_{t-1} + x_t under white input of variance 1.

    Parameters
    ----------
    coefficient : array_like
        l, within (-1, 1).

    Returns
    -------
    ndarray of float64
        (1 + l^2) / (1 - l^2)^3: it diverges sooner than the state itself, so the loss turns steep
        in l as memory grows, though no gradient explodes.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    N. Zucchet, A. Orvieto, "Recurrent neural networks: vanishing and exploding gradients are not
    the end of the story", NeurIPS 2024.

    Examples
    --------
    >>> from vgcore import theory
    >>> theory.linear_recurrence_sensitivity([0.0, 0.9]).round(2)
    array([  1.  , 263.89])
    """
    x = _coefficient(coefficient)
    return np.asarray((1.0 + x**2) / ((1.0 - x) * (1.0 + x)) ** 3)[()]


def _coefficient(value: npt.ArrayLike) -> Numbers:
    return checks.numbers("coefficient", value, above=-1.0, below=1.0)
