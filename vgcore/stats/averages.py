"""Quenched beside annealed: the mean of the log and the log of the mean, which part ways."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

from vgcore import tables
from vgcore.stats.estimates import LEVEL, Estimate, Floats, mean, median


def top_share(logs: Floats) -> Floats:
    """Share of the sum of exp(logs) down the first axis that the largest 1 % of entries carry.

    At least one entry counts as the largest 1 %; nan where every log is -inf.

    Examples
    --------
    >>> top_share(np.log([[1.0], [1.0], [2.0]])).tolist()
    [0.5]
    """
    n = len(logs)
    largest = np.sort(logs, axis=0)[n - -(-n // 100) :]
    total = special.logsumexp(logs, axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.exp(special.logsumexp(largest, axis=0) - total), dtype=np.float64)


def averages(
    profiles: pd.DataFrame, column: str = "log_norm", level: float = LEVEL
) -> pd.DataFrame:
    """Quenched and annealed averages of the gradient norm, for each condition and lag.

    Parameters
    ----------
    profiles : DataFrame
        Columns ``condition``, ``lag`` and `column`, one row a draw and lag.
    column : str
        Natural logarithm of what is averaged; -inf counts as exactly 0.
    level : float
        Confidence level of each interval.

    Returns
    -------
    DataFrame
        ``condition``, ``lag``, ``n``; ``median`` (of the log, order-statistic interval),
        ``quenched`` (mean of the log, -inf if one draw vanished) and ``annealed`` (log of the
        mean), each with ``_low``, ``_high`` and ``_se``: of both means from Student's t, the
        annealed one by the delta method, nan where all draws are equal; ``top_share`` (part of
        the mean that the largest 1 % of draws carry, at least one draw) and ``dominated`` (it is
        above one half). A dominated mean is that of a few draws: neither it nor its interval says
        anything of the law, and more draws move it.

    Raises
    ------
    TypeError, ValueError
        `profiles` is no table, or lacks a column.

    Examples
    --------
    >>> table = pd.DataFrame({"condition": 0, "lag": 1, "log_norm": [-1.0, -2.0, 9.0]})
    >>> table = averages(table)
    >>> table[["quenched", "annealed", "dominated"]].round(3).values.tolist()
    [[2.0, 7.901, True]]
    """
    tables.table("profiles", profiles, ["condition", "lag", column], tables.PROFILES)
    parts = []
    for (condition, lag), group in profiles.groupby(["condition", "lag"], sort=True):
        logs = group[column].to_numpy(dtype=np.float64)
        top = float(top_share(logs[:, None])[0])
        row = {"condition": condition, "lag": lag, "n": len(logs)}
        row |= median(logs, level).columns("median")
        row |= mean(logs, level).columns("quenched") | _log_mean(logs, level).columns("annealed")
        parts.append(row | {"top_share": top, "dominated": top > 0.5})
    return pd.DataFrame(parts)


def _log_mean(logs: Floats, level: float) -> Estimate:
    """Log of the mean of exp(logs), its error that of the mean relative to it."""
    peak = logs.max()
    if not np.isfinite(peak):
        return Estimate(float(peak), np.nan, np.nan, np.nan)
    scaled = mean(np.exp(logs - peak), level)
    value, half = peak + float(np.log(scaled.value)), scaled.high / scaled.value - 1
    return Estimate(value, value - half, value + half, scaled.se / scaled.value)
