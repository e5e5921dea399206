"""Measured rates beside what theory predicts, and in words where they part.

Mean field (Poole et al. 2016; Schoenholz et al. 2017) gives the rate of a wide network whose
weights are independent of its slopes: half the logarithm of chi_1 at the gain g. A finite matrix of
that gain has a larger spectral radius rho, and where slopes hardly vary in time it is rho that a
step multiplies by. So the prediction is a band: from mean field at g (slopes that vary freely) to
ln(rho / g) above it (constant slopes). It shrinks to a line as N grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from vgcore import theory
from vgcore.initializers import INITIALIZERS
from vgcore.report.words import Row, number, rate_text
from vgcore.study.config import FACTORS, Condition

CIRCULAR = (
    "gaussian", "uniform", "xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform",
    "lecun_normal", "sparse", "torch", "critical",
)  # fmt: skip
"""Laws of independent entries: the circular law holds, and mean field."""
CELLS = ("rnn", "elman")
SAME_RATE = ("none", "clip_norm", "clip_value")
"""Remedies that leave the rate of the condition as it is."""
RESOLVED = 3.0
"""A difference of more standard errors than this is one."""


def predicted_rate(condition: Condition) -> tuple[float, float] | None:
    """Ends of the band that theory gives for the vanishing rate, nats a step; None without one.

    For a linear network both are ln rho, which is exact. For laws of independent entries and for
    orthogonal ones they are described above; for an orthogonal matrix rho is g.

    Examples
    --------
    >>> from vgcore.report.calibration import predicted_rate
    >>> from vgcore.study.config import Condition
    >>> low, high = predicted_rate(Condition(spectral_radius=0.9, input_variance=0.01))
    >>> round(low, 4), round(high, 4)
    (-0.1889, -0.1348)
    """
    c = condition.treated
    known = c.init in (*CIRCULAR, "orthogonal") or c.activation == "linear"
    if c.cell.name not in CELLS or c.jacobian != "exact" or c.input_variance is None or not known:
        return None
    if c.remedy.name not in SAME_RATE and not c.remedy.factors():
        return None
    excess = 0.0  # ln of rho / g
    if c.init in CIRCULAR:
        excess = float(theory.expected_log_spectral_radius(c.n_hidden))
    if c.spectral_radius is not None:
        log_radius = float(np.log(c.spectral_radius))
    elif c.init in (*CIRCULAR, "orthogonal"):
        log_radius = float(np.log(_gain(c))) + excess
    else:
        return None
    if c.activation == "linear":
        return log_radius, log_radius
    low = _mean_field(c.activation, float(np.exp(log_radius - excess)), c.input_variance)
    return low, low + excess


def _gain(c: Condition) -> float:
    """The gain of a condition that is not scaled to a radius."""
    if c.gain is not None:
        return c.gain
    found = INITIALIZERS[c.init]
    taken = {name: getattr(c, name) for name in found.parameters if name in FACTORS}
    return float(found.gain(**{**found.parameters, **taken, **dict(c.law)}))


@cache
def _mean_field(activation: str, gain: float, input_variance: float) -> float:
    return float(theory.largest_exponent(activation, gain, input_variance=input_variance))


def calibration(summary: pd.DataFrame, conditions: Mapping[int, Condition]) -> pd.DataFrame:
    """One row a condition that theory speaks of.

    Parameters
    ----------
    summary
        Rows of `vgcore.stats.summarise`.
    conditions
        The condition of each number.

    Returns
    -------
    DataFrame
        Columns ``condition``, ``n``, ``activation``, ``input_variance``, ``n_hidden``, ``n_steps``,
        ``rate`` with interval and error, ``predicted_low``, ``predicted_high``; ``difference`` from
        the nearest end of the band, 0 within it; ``z``, that over the error; ``agrees``; and
        ``reason``, why it may not.
    """
    rows: list[dict[Any, Any]] = []
    factors = ("condition", "n", "activation", "input_variance", "n_hidden", "n_steps")
    keep = (*factors, "rate", "rate_low", "rate_high", "rate_se")
    for row in summary.to_dict("records"):
        c = conditions[int(row["condition"])]
        band = predicted_rate(c)
        if band is None or not np.isfinite(row["rate"]):
            continue
        low, high = band
        difference = float(row["rate"] - np.clip(row["rate"], low, high))
        z = difference / row["rate_se"] if difference and row["rate_se"] > 0 else 0.0
        # within 1/T a step, the norm after T steps is off by less than a factor e
        agrees = abs(difference) < 1 / c.n_steps or abs(z) < RESOLVED
        rows.append(
            {name: row[name] for name in keep}
            | {"predicted_low": low, "predicted_high": high, "difference": difference, "z": z}
            | {"agrees": agrees, "reason": "" if agrees else _reason(c, difference, high)}
        )
    return pd.DataFrame(rows)


def _reason(condition: Condition, difference: float, high: float) -> str:
    """Why a rate may lie beside its band, the likeliest first."""
    c = condition.treated
    if c.activation == "linear":
        return "finite T: a transient of the matrix is not over where the fit begins"
    if difference < 0 and high > 0:
        return (
            "finite N: a few units settle on fixed points and cycles where infinitely many are "
            "chaotic"
        )
    if c.init == "orthogonal":
        return "mean field takes weights as independent of slopes, which orthogonal ones are not"
    if difference < 0:
        return "finite N: slopes and weights that go together lose more than independent ones"
    return "saturation: slopes vary less over time than mean field has it"


def sentences(found: pd.DataFrame) -> list[str]:
    """What the calibration says."""
    if found.empty:
        return []
    n, agree = len(found), int(found["agrees"].sum())
    said = [
        f"Theory predicts the rate of {n} conditions. {agree} of them agree with it: they lie in "
        f"the band between mean field at the gain and the same with the finite matrix's radius, or "
        f"beside it by less than {RESOLVED:g} standard errors or 1/T."
    ]
    off = found[~found["agrees"]]
    for reason in off["reason"].value_counts().index:
        rows = off[off["reason"] == reason]
        worst = rows.sort_values("difference", key=abs).iloc[-1]
        said.append(
            f"{len(rows)} do not: {reason}. The largest difference is "
            f"{number(worst['difference'], 4)} nats a step (z = {number(worst['z'], 1)}), with "
            f"{_where(worst)}."
        )
    return said


def _where(row: Row) -> str:
    return (
        f"{row['activation']} units, N = {row['n_hidden']}, input variance "
        f"{row['input_variance']:g}, measured {number(row['rate'], 4)}"
    )


def table(found: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of conditions that theory speaks of."""
    head = ["condition", "measured rate", "predicted", "difference", "z", "agrees"]
    lines = [
        [
            str(row["condition"]),
            rate_text(row),
            _band(row["predicted_low"], row["predicted_high"]),
            number(row["difference"], 4),
            number(row["z"], 1),
            "yes" if row["agrees"] else "no",
        ]
        for row in found.to_dict("records")
    ]
    return head, lines


def _band(low: float, high: float) -> str:
    same = abs(high - low) < 5e-5
    return number(low, 4) if same else f"{number(low, 4)} to {number(high, 4)}"
