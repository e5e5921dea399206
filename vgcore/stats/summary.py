"""One row a condition: every estimate of a study with its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from vgcore import tables
from vgcore.stats.estimates import LEVEL, median, wilson
from vgcore.stats.survival import median_survival, restricted_mean

DRAWN = ["condition", "rate", "horizon", "censored", "growing", "event", "rho"]


def phase(rate: float, eps: float, n_steps: int) -> str:
    """Name the regime of a median rate over a horizon: vanishing, stable or exploding.

    A rate is stable if, kept up for `n_steps` lags, it changes the norm by less than a factor
    1/eps either way.
    """
    threshold = np.log(1 / eps) / n_steps
    if rate < -threshold:
        return "vanishing"
    return "exploding" if rate > threshold else "stable"


def summarise(
    conditions: pd.DataFrame, draws: pd.DataFrame, *, eps: float, level: float = LEVEL
) -> pd.DataFrame:
    """One row a condition that has draws: its factors, every estimate, its interval and n.

    Parameters
    ----------
    conditions, draws : DataFrame
        Tables of a study's results.
    eps : float
        Level of the memory horizon; ln(1/eps) also bounds the stable regime.
    level : float
        Confidence level of every interval.

    Returns
    -------
    DataFrame
        `conditions` with columns ``n``; ``rate`` (median, nats a step), ``rate_low``,
        ``rate_high``, ``rate_se``, quartiles ``rate_q25`` and ``rate_q75``; ``n_zero`` (rates of
        -inf); ``horizon`` (Kaplan-Meier median in steps, inf if not reached), its interval and
        error, ``n_kept`` (horizons censored at T); ``horizon_mean`` (restricted to T), interval
        and error; ``growing`` (share of draws that grow to 1/eps at their rate), interval and
        error, ``n_growing``; ``n_vanish``, ``n_explode``, ``n_neither`` (which happened first);
        ``rho`` (median measured spectral radius) and ``phase``.

    Raises
    ------
    TypeError, ValueError
        One is no table or lacks a column, or draws are of a condition that `conditions` lacks.
    """
    tables.table("conditions", conditions, ["condition", "n_steps"], tables.CONDITIONS)
    tables.table("draws", draws, DRAWN, tables.DRAWS)
    unknown = sorted({*draws["condition"]} - {*conditions["condition"]})
    if unknown:
        raise ValueError(
            f"draws: found condition {unknown[0]}, of which `conditions` says nothing; take both "
            "tables of one study"
        )
    steps = dict(zip(conditions["condition"], conditions["n_steps"], strict=True))
    rows = []
    for condition, group in draws.groupby("condition", sort=True):
        n_steps = int(steps[condition])
        rates = group["rate"].to_numpy(dtype=np.float64)
        times, censored = group["horizon"].to_numpy(), group["censored"].to_numpy(dtype=bool)
        quartiles = np.quantile(rates, (0.25, 0.75), method="inverted_cdf")
        n, n_growing = len(group), int(group["growing"].sum())
        events = group["event"].to_numpy()
        row: dict[str, Any] = {"condition": condition, "n": n}
        row |= median(rates, level).columns("rate")
        row |= {"rate_q25": quartiles[0], "rate_q75": quartiles[1]}
        row["n_zero"] = int(np.isneginf(rates).sum())
        row |= median_survival(times, censored, level).columns("horizon")
        row["n_kept"] = int(censored.sum())
        row |= restricted_mean(times, censored, n_steps, level).columns("horizon_mean")
        row |= wilson(n_growing, n, level).columns("growing") | {"n_growing": n_growing}
        row["n_vanish"] = int((events == "vanish").sum())
        row["n_explode"] = int((events == "explode").sum())
        row["n_neither"] = int((events == "censored").sum())
        row["rho"] = float(np.median(group["rho"]))
        row["phase"] = phase(row["rate"], eps, n_steps)
        rows.append(row)
    return conditions.merge(pd.DataFrame(rows), on="condition", how="inner")
