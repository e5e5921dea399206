"""What theory predicts of a condition: its rate, and from that its horizon and whether it grows.

Mean field (Poole et al. 2016; Schoenholz et al. 2017) gives the rate of a wide network whose
weights are independent of its slopes: half the logarithm of chi_1 at the gain g. A finite matrix of
that gain has a larger spectral radius rho, and where slopes hardly vary in time it is rho that a
step multiplies by. So the prediction is a band: from mean field at g (slopes that vary freely) to
ln(rho / g) above it (constant slopes). It shrinks to a line as N grows.

Of gated cells there is no such theory, only the rate of the state along the gate that carries it,
where that gate sees its bias alone: ln sigmoid(b). Weights move the gate about it and add paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd

from vgcore import theory
from vgcore.initializers import INITIALIZERS
from vgcore.study.cells import Gru, Lstm
from vgcore.study.config import FACTORS, Condition

CIRCULAR = (
    "gaussian", "uniform", "xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform",
    "lecun_normal", "sparse", "torch", "critical",
)  # fmt: skip
"""Laws of independent entries: the circular law holds, and mean field."""
CELLS = ("rnn", "elman")
SAME_RATE = ("none", "clip_norm", "clip_value")
"""Remedies that leave the rate of the condition as it is."""


def predicted_rate(condition: Condition) -> tuple[float, float] | None:
    """Ends of the band that theory gives for the vanishing rate, nats a step; None without one.

    For a linear network both are ln rho, which is exact. For laws of independent entries and for
    orthogonal ones they are described above; for an orthogonal matrix rho is g.

    Examples
    --------
    >>> from vgcore.report.predictions import predicted_rate
    >>> from vgcore.study.config import Condition
    >>> low, high = predicted_rate(Condition(spectral_radius=0.9, input_variance=0.01))
    >>> round(low, 4), round(high, 4)
    (-0.1889, -0.1348)
    """
    c = condition.treated
    known = c.init in (*CIRCULAR, "orthogonal") or c.activation == "linear"
    if c.cell.name not in CELLS or c.jacobian != "exact" or not known:
        return None
    if c.remedy.name not in SAME_RATE and not c.remedy.factors():
        return None
    excess = 0.0  # ln of rho / g
    if c.init in CIRCULAR:
        excess = float(theory.expected_log_spectral_radius(c.n_hidden))
    if c.spectral_radius is not None:
        log_radius = float(np.log(c.spectral_radius))
    elif c.init in (*CIRCULAR, "orthogonal") or (c.init, c.activation) == ("identity", "linear"):
        log_radius = float(np.log(_gain(c))) + excess
    else:
        return None
    if c.activation == "linear":
        return log_radius, log_radius
    gain = float(np.exp(log_radius - excess))
    if c.input_variance is None:  # PyTorch's law: input weights and two biases of variance 1 / 3N
        third = 1 / (3 * c.n_hidden)
        low = _mean_field(c.activation, gain, c.n_inputs * third, 2 * third)
    else:
        low = _mean_field(c.activation, gain, c.input_variance, 0.0)
    return low, low + excess


def _gain(c: Condition) -> float:
    """The gain of a condition that is not scaled to a radius."""
    if c.gain is not None:
        return c.gain
    found = INITIALIZERS[c.init]
    taken = {name: getattr(c, name) for name in found.parameters if name in FACTORS}
    return float(found.gain(**{**found.parameters, **taken, **dict(c.law)}))


@cache
def _mean_field(activation: str, gain: float, input_variance: float, bias_variance: float) -> float:
    found = theory.largest_exponent(
        activation, gain, input_variance=input_variance, bias_variance=bias_variance
    )
    return float(found)


def carry_rate(condition: Condition) -> tuple[float, float] | None:
    """Rate of the state of a gated cell along its gate alone, nats a step; None without a gate.

    With chrono biases, from the median unit's rate to that of the slowest unit.

    Examples
    --------
    >>> from vgcore.report.predictions import carry_rate
    >>> from vgcore.study.config import Condition
    >>> carry_rate(Condition(cell={"name": "lstm", "forget_bias": 1.0}))
    (-0.31326168751822286, -0.31326168751822286)
    """
    cell = condition.treated.cell
    if not isinstance(cell, (Lstm, Gru)):
        return None
    if cell.chrono is not None:
        median, slowest = theory.chrono_rate(cell.chrono).quantile([0.5, 1.0])
        return float(median), float(slowest)
    bias = cell.forget_bias if isinstance(cell, Lstm) else cell.update_bias
    rate = float(theory.lstm_carry_rate(bias or 0.0))  # the GRU keeps its state likewise
    return rate, rate


def with_theory(
    table: pd.DataFrame, conditions: Mapping[int, Condition], eps: float
) -> pd.DataFrame:
    """The rows of a slice with what theory predicts of each.

    Parameters
    ----------
    table
        Rows with a column ``condition``.
    conditions
        The condition of each number.
    eps
        Level of the memory horizon.

    Returns
    -------
    DataFrame
        `table` with ``theory`` ("linear", "mean field", "carry", or empty where theory is silent),
        and the ends of each band, ``_theory_low`` and ``_theory_high``: of the ``rate``; of the
        ``horizon``, the lag at which a norm of that rate has fallen to eps; of ``growing``, 0 or 1
        by whether that rate reaches 1/eps within T (nan where its band leaves that open), but for
        linear networks at their own scale the chance that a matrix has such a radius.
    """
    rows = []
    for number in table["condition"]:
        c = conditions[int(number)]
        band, law = predicted_rate(c), "mean field"
        if band is not None and c.treated.activation == "linear":
            law = "linear"
        if band is None:
            band, law = carry_rate(c), "carry"
        if band is None:
            band, law = (np.nan, np.nan), ""
        ends = np.array(band)
        growing = (ends > np.log(1 / eps) / c.n_steps).astype(np.float64)
        if law == "linear":
            growing = _growing_share(c.treated, eps, growing)
        elif law != "mean field" or growing[0] < growing[1]:
            growing[:] = np.nan
        horizon = theory.memory_horizon(ends, eps) if law else ends
        found = {"rate": ends, "horizon": horizon, "growing": growing}
        named = {
            f"{name}_theory_{end}": value
            for name, values in found.items()
            for end, value in zip(("low", "high"), values, strict=True)
        }
        rows.append({"theory": law} | named)
    return table.join(pd.DataFrame(rows, index=table.index))


def _growing_share(c: Condition, eps: float, growing: np.ndarray) -> np.ndarray:
    """Share of matrices whose radius reaches 1/eps within T, where the radius is left to chance."""
    if c.spectral_radius is not None or c.init not in CIRCULAR:
        return growing
    edge = eps ** (-1 / c.n_steps)
    return np.full(2, 1.0 - theory.spectral_radius_cdf(edge, c.n_hidden, _gain(c)))
