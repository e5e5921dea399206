"""Measured rates beside what theory predicts, and in words where they part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from vgcore.report.predictions import predicted_rate
from vgcore.report.tables import Table
from vgcore.report.words import Row, number, rate_text
from vgcore.study.config import Condition

ROUNDING = 1e-12  # nats a step; what both sides are computed to
RESOLVED = 3.0
"""A difference of more standard errors than this is one."""


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
        if abs(difference) < ROUNDING:
            difference = 0.0
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


def table(found: pd.DataFrame) -> Table:
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
