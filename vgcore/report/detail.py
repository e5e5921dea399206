"""What folds away below a slice: paired comparisons, averages, norms lag by lag, first events."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vgcore import stats
from vgcore.figures import power
from vgcore.report.part import Part
from vgcore.report.tables import Table
from vgcore.report.words import interval, number
from vgcore.study.config import SIZES, Condition

N_LAGS = 12  # columns of the table of norms; each is read on its own, with the slider


def pairs(part: Part, levels: Sequence[float | None]) -> pd.DataFrame:
    """Pairs of conditions to compare at some values of the axis: each series with the first.

    Returns
    -------
    DataFrame
        ``family`` (slice and value of the axis), ``slice``, ``at``, ``series``, ``condition`` and
        ``baseline``. Series of other sizes have other draws, and are left out.
    """
    rows = []
    for level in levels:
        at = part.table if level is None else part.table[part.table["x"] == level]
        at = at.drop_duplicates("series")
        sizes = [name for name in SIZES if name in at]
        first = at.iloc[0]
        others = at.iloc[1:]
        others = others[(others[sizes] == first[sizes]).all(axis=1)]
        rows += [
            {
                "family": f"{part.name} {level}",
                "slice": part.name,
                "at": np.nan if level is None else level,
                "series": series,
                "condition": condition,
                "baseline": first["condition"],
            }
            for series, condition in zip(others["series"], others["condition"], strict=True)
        ]
    columns = ["family", "slice", "at", "series", "condition", "baseline"]
    return pd.DataFrame(rows, columns=columns)


def p_text(p: float) -> str:
    """Write a p-value: two figures, and a bound below 1/10,000."""
    return "unknown" if np.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def comparison_table(part: Part, found: pd.DataFrame) -> Table:
    """Head and rows of the paired comparisons of a slice, rows of `vgcore.stats.comparisons`."""
    head = ["series", "pairs", "shift of the rate", "larger rate in", "p", "Holm", "BH"]
    if part.reference is not None:
        head.insert(0, part.x_label)
    lines = []
    for row in found.to_dict("records"):
        line = [
            str(row["series"]),
            str(row["n"]),
            interval(row["shift"], row["shift_low"], row["shift_high"]),
            f"{100 * row['above']:.0f} % "
            f"[{100 * row['above_low']:.0f}, {100 * row['above_high']:.0f}]",
            *(p_text(row[name]) for name in ("p", "p_holm", "p_bh")),
        ]
        lines.append(([part.at(row["at"])] if part.reference is not None else []) + line)
    return head, lines


def averages(draws: pd.DataFrame, conditions: Mapping[int, Condition]) -> pd.DataFrame:
    """Quenched and annealed averages of the norm at the longest lag, one row a condition."""
    steps = draws["condition"].map({number: c.n_steps for number, c in conditions.items()})
    last = draws[["condition"]].assign(lag=steps, log_norm=draws["log_norm_end"])
    return stats.averages(last)


def dominated(part: Part, found: pd.DataFrame) -> str:
    """Warn of conditions whose mean norm is that of a few draws; empty where there is none."""
    mine = found[found["condition"].isin(part.table["condition"])]
    few = mine[mine["dominated"]]
    if few.empty:
        return ""
    return (
        f"In {len(few)} of {len(mine)} conditions the largest 1 % of the draws (at least one) "
        f"carries more than half of the mean norm at lag T, up to "
        f"{100 * few['top_share'].max():.0f} % of it: such a mean, and its interval, say nothing "
        "of the other draws. Medians are reported for that reason."
    )


def average_table(part: Part, found: pd.DataFrame) -> Table:
    """Head and rows of the averages of a slice where its series are compared, as powers of ten."""
    at = part.at_reference().drop_duplicates("series").merge(found, on="condition")
    where = f" {part.where}" if part.where else ""
    head = [f"series{where}", "lag", "n", "median", "quenched", "annealed", "share of the top 1 %"]
    lines = []
    for row in at.to_dict("records"):
        values = [
            _decades(row[name], row[f"{name}_low"], row[f"{name}_high"])
            for name in ("median", "quenched", "annealed")
        ]
        share = "none" if np.isnan(row["top_share"]) else f"{100 * row['top_share']:.0f} %"
        warning = " (a few draws)" if row["dominated"] else ""
        lines.append([row["series"], f"{row['lag']:g}", str(row["n_y"]), *values, share + warning])
    return head, lines


def _decades(value: float, low: float, high: float) -> str:
    """Write a natural logarithm and its interval as decimal ones."""
    if np.isneginf(value):
        return f"{number(value, 1)}"
    return interval(*(end / np.log(10) for end in (value, low, high)))


def lag_rows(part: Part, bands: pd.DataFrame) -> pd.DataFrame:
    """Median norms at some lags, where the series are compared: one row a series and lag.

    `bands` has rows of `vgcore.stats.profile_bands`, logarithms relative to lag 0; the band holds
    over all lags at once. Columns before them: ``slice``, ``at`` and ``series``.
    """
    at = part.at_reference().drop_duplicates("series")
    mine = bands[bands["condition"].isin(at["condition"]) & (bands["lag"] > 0)]
    lags = np.array(sorted(mine["lag"].unique()))
    wanted = np.geomspace(lags[0], lags[-1], N_LAGS) if len(lags) else np.empty(0)
    chosen = lags[np.unique(np.abs(np.log(lags[:, None] / wanted)).argmin(axis=0))]
    keys = at[["series", "condition"]].assign(
        slice=part.name, at=np.nan if part.reference is None else part.reference
    )
    return keys[["slice", "at", "series", "condition"]].merge(
        mine[mine["lag"].isin(chosen)], on="condition", how="left"
    )


def lag_table(part: Part, rows: pd.DataFrame) -> Table:
    """Head and rows of the median norms by lag, rows of `lag_rows`."""
    lags = sorted(rows["lag"].dropna().unique())
    where = f" {part.where}" if part.where else ""
    lines = []
    for series, own in rows.groupby("series", sort=False):
        cells = {row["lag"]: _norm(row) for row in own.dropna(subset="lag").to_dict("records")}
        lines.append([str(series), *(cells.get(lag, "") for lag in lags)])
    return [f"series{where}", *(f"lag {lag:g}" for lag in lags)], lines


def _norm(row: Mapping[Hashable, Any]) -> str:
    """A median norm with its band; powers of ten far from 1."""
    return f"{_size(row['median'])} [{_size(row['low'])}, {_size(row['high'])}]"


def _size(log_norm: float) -> str:
    if np.isnan(log_norm):
        return "unknown"
    if np.isneginf(log_norm):
        return "0"
    decades = log_norm / np.log(10)
    if abs(decades) < 3:
        return f"{10**decades:.2g}"
    whole = int(np.floor(decades))
    return f"{10 ** (decades - whole):.1f}·{power(whole)}"


def incidences(part: Part, level: float | None, draws: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Cumulative incidence of what came first in the draws of each series."""
    rows = part.table if level is None else part.table[part.table["x"] == level]
    found = {}
    for series, condition in zip(rows["series"], rows["condition"], strict=True):
        own = draws[draws["condition"] == condition]
        found[str(series)] = stats.cumulative_incidence(*stats.first_event(own))
    return found
