"""Estimates with intervals: pure functions from the result tables to tables.

The unit of replication is the draw. Every interval here covers the variation from draw to draw
(weights, inputs, initial state and loss direction together); nothing is resampled within a draw.
A rate of -inf (a gradient that vanished exactly) is a value like any other: the smallest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, special, stats

LEVEL = 0.95

Floats = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """An estimate, the ends of its interval, and its Monte Carlo standard error (nan: unknown)."""

    value: float
    low: float
    high: float
    se: float


# --- one sample ----------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _median_ranks(n: int, level: float) -> tuple[int, int] | None:
    """Ranks (from 0) whose order statistics hold the median with at least `level`."""
    below = int(stats.binom.ppf((1 - level) / 2, n, 0.5)) if n else 0
    if n and stats.binom.cdf(below, n, 0.5) > (1 - level) / 2:
        below -= 1
    return (below, n - 1 - below) if n and below >= 0 else None


@lru_cache(maxsize=1024)
def _maritz_jarrett_weights(n: int) -> Floats:
    """Weights of the order statistics in the mean and variance of a sample median."""
    edges = special.betainc((n + 1) / 2, (n + 1) / 2, np.arange(n + 1) / n)
    weights = np.diff(edges)
    # Ranks that never become the median would turn an infinite value far out into nan.
    return np.where(weights < 1e-12, 0.0, weights)


def median(values: npt.ArrayLike, level: float = LEVEL) -> Estimate:
    """Median with the distribution-free order-statistic interval.

    Parameters
    ----------
    values : array_like, shape (n,)
        Extended reals: -inf and inf are allowed, nan is not.
    level : float
        Least coverage of the interval.

    Returns
    -------
    Estimate
        The ends are nan below six values, where no such interval reaches 0.95. The standard error
        is that of Maritz and Jarrett (1978), nan where infinite values reach the middle ranks.

    Examples
    --------
    >>> median([1, 2, 3, 4, 5, 6, 7, 8, 9])[:3]
    (5.0, 2.0, 8.0)
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, np.nan)
    if np.isnan(ordered[-1]):
        raise ValueError(f"values: found nan among {n} values, expected real numbers or +-inf")
    ranks = _median_ranks(n, level)
    low, high = (ordered[ranks[0]], ordered[ranks[1]]) if ranks else (np.nan, np.nan)
    middle = ordered[(n - 1) // 2], ordered[n // 2]
    centre = middle[0] if middle[0] == middle[1] else 0.5 * (middle[0] + middle[1])
    weights = _maritz_jarrett_weights(n)
    used = weights > 0
    se = np.nan
    if n > 1 and np.isfinite(ordered[used]).all():
        shifted = ordered[used] - centre
        first, second = weights[used] @ shifted, weights[used] @ shifted**2
        se = float(np.sqrt(max(second - first**2, 0.0)))
    return Estimate(float(centre), float(low), float(high), se)


def wilson(count: int, n: int, level: float = LEVEL) -> Estimate:
    """Share `count / n` with the Wilson (1927) score interval.

    Examples
    --------
    >>> share = wilson(0, 100)
    >>> round(share.low, 4), round(share.high, 4)
    (0.0, 0.037)
    """
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, np.nan)
    z = float(special.ndtri(0.5 + level / 2))
    p = count / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Estimate(
        p,
        float(max(centre - half, 0.0)) if count else 0.0,
        float(min(centre + half, 1.0)) if count < n else 1.0,
        float(np.sqrt(p * (1 - p) / n)),
    )


class Survival(NamedTuple):
    """Kaplan-Meier curve just after each distinct time, with the counts behind it."""

    time: Floats
    survival: Floats
    low: Floats
    high: Floats
    at_risk: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]


def kaplan_meier(times: npt.ArrayLike, censored: npt.ArrayLike, level: float = LEVEL) -> Survival:
    """Kaplan-Meier survival curve with pointwise log-log intervals.

    The log-log interval does not exist where the curve is 1 or 0; the exact binomial bound of no
    (or all) events in n takes its place, so that draws that all fail at one lag keep an interval.
    """
    t = np.asarray(times, dtype=np.float64)
    gone = ~np.asarray(censored, dtype=bool)
    time, place = np.unique(t, return_inverse=True)
    events = np.bincount(place, weights=gone, minlength=len(time)).astype(np.int64)
    leaving = np.bincount(place, minlength=len(time))
    at_risk = len(t) - np.concatenate(([0], np.cumsum(leaving)[:-1])).astype(np.int64)
    curve: Floats = np.cumprod(1.0 - events / at_risk, dtype=np.float64)
    curve[curve < 1e-12] = 0.0
    inner = (curve > 0) & (curve < 1)
    left = np.where(inner, at_risk - events, 1)
    # Greenwood's sum, carried to ln(-ln S).
    spread = np.sqrt(np.cumsum(np.where(inner, events / (at_risk * left), 0.0)))
    log_survival = np.log(np.where(inner, curve, 0.5))
    z = float(special.ndtri(0.5 + level / 2))
    factor = np.exp(z * spread / np.abs(log_survival))
    bound = ((1 - level) / 2) ** (1 / max(len(t), 1))
    low = np.where(inner, np.exp(log_survival * factor), np.where(curve > 0, bound, 0.0))
    high = np.where(inner, np.exp(log_survival / factor), np.where(curve > 0, 1.0, 1 - bound))
    return Survival(time, curve, low, high, at_risk, events)


def median_survival(
    times: npt.ArrayLike, censored: npt.ArrayLike, level: float = LEVEL
) -> Estimate:
    """Kaplan-Meier median: the first time at which half of the draws have had the event.

    The interval holds the times at which the log-log interval of the curve holds one half
    (Brookmeyer and Crowley 1982). Returns inf for what the observed times do not reach.

    Examples
    --------
    >>> median_survival([5, 6, 7, 9, 9], [False, False, False, True, True])[0]
    7.0
    """
    curve = kaplan_meier(times, censored, level)
    if len(curve.time) == 0:
        return Estimate(np.nan, np.nan, np.nan, np.nan)

    def first(values: Floats) -> float:
        below = np.flatnonzero(values <= 0.5 + 1e-12)
        return float(curve.time[below[0]]) if len(below) else np.inf

    n = int(curve.at_risk[0])
    # With fewer than six draws even the whole curve does not exclude a median at the start.
    low = first(curve.low) if ((1 - level) / 2) ** (1 / n) > 0.5 else 0.0
    value, high = first(curve.survival), first(curve.high)
    z = float(special.ndtri(0.5 + level / 2))
    return Estimate(value, low, high, (high - low) / (2 * z) if np.isfinite(high) else np.nan)


def restricted_mean(
    times: npt.ArrayLike, censored: npt.ArrayLike, until: float, level: float = LEVEL
) -> Estimate:
    """Mean of min(time, until): the area under the Kaplan-Meier curve, with Greenwood's error."""
    curve = kaplan_meier(times, censored, level)
    if len(curve.time) == 0:
        return Estimate(np.nan, np.nan, np.nan, np.nan)
    edges = np.concatenate(([0.0], np.minimum(curve.time, until), [until]))
    pieces = np.diff(edges) * np.concatenate(([1.0], curve.survival))
    area = float(pieces.sum())
    after = area - np.cumsum(pieces)[:-1]
    left = curve.at_risk - curve.events
    term = np.where(left > 0, curve.events / (curve.at_risk * np.maximum(left, 1)), 0.0)
    se = float(np.sqrt(np.sum(after**2 * term)))
    if se == 0:  # equal times of all: the error is unknown, not zero
        return Estimate(area, np.nan, np.nan, np.nan)
    z = float(special.ndtri(0.5 + level / 2))
    return Estimate(area, max(area - z * se, 0.0), min(area + z * se, until), se)


# --- one row a condition -------------------------------------------------------------------


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
    """
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
        row |= _columns("rate", median(rates, level))
        row |= {"rate_q25": quartiles[0], "rate_q75": quartiles[1]}
        row["n_zero"] = int(np.isneginf(rates).sum())
        row |= _columns("horizon", median_survival(times, censored, level))
        row["n_kept"] = int(censored.sum())
        row |= _columns("horizon_mean", restricted_mean(times, censored, n_steps, level))
        row |= _columns("growing", wilson(n_growing, n, level)) | {"n_growing": n_growing}
        row["n_vanish"] = int((events == "vanish").sum())
        row["n_explode"] = int((events == "explode").sum())
        row["n_neither"] = int((events == "censored").sum())
        row["rho"] = float(np.median(group["rho"]))
        row["phase"] = phase(row["rate"], eps, n_steps)
        rows.append(row)
    return conditions.merge(pd.DataFrame(rows), on="condition", how="inner")


def _columns(name: str, estimate: Estimate) -> dict[str, float]:
    """Spread an estimate over the columns `name`, `name`_low, `name`_high and `name`_se."""
    return {
        name: estimate.value,
        f"{name}_low": estimate.low,
        f"{name}_high": estimate.high,
        f"{name}_se": estimate.se,
    }


# --- the shape of a slice ------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Which factor of a slice runs along the horizontal axis and which ones name the series.

    `levels` names the values of an axis that is no quantity; it is empty for a number.
    """

    x: str | None
    series: tuple[str, ...]
    levels: tuple[str, ...] = ()


def layout(conditions: pd.DataFrame) -> Layout:
    """Choose the axis of a slice from the factors that vary in it.

    Spectral radius, or else gain, or else the numeric factor with most levels is the axis; among
    two or more factors that are names, the one with fewest levels.
    """
    factors = [str(name) for name in conditions.columns if name != "condition"]
    levels = {name: conditions[name].map(level_key).nunique() for name in factors}
    varying = [name for name in factors if levels[name] > 1]
    numeric = [
        name
        for name in varying
        if pd.api.types.is_numeric_dtype(conditions[name])
        and not pd.api.types.is_bool_dtype(conditions[name])
        and conditions[name].notna().all()
    ]
    first = [name for name in ("spectral_radius", "gain") if name in numeric]
    x = first[0] if first else max(numeric, key=lambda name: levels[name], default=None)
    names: tuple[str, ...] = ()
    if x is None and len(varying) > 1:
        x = min(varying, key=lambda name: levels[name])
        names = tuple(dict.fromkeys(conditions[x].map(level_key)))
    return Layout(x, tuple(name for name in varying if name != x), names)


def level_key(value: Any) -> str:
    """Write one level of a factor (number, name or keywords, also as JSON) as a plain string."""
    if isinstance(value, (tuple, list)):
        return level_key(dict(value))
    if isinstance(value, dict):
        return ", ".join(f"{key} = {level_key(value[key])}" for key in sorted(value))
    if isinstance(value, str):
        if value.startswith("{"):
            try:
                return level_key(json.loads(value))
            except ValueError:
                return value
        return value
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else f"{value:g}"
    return "" if value is None else str(value)


def families(draws: pd.DataFrame, table: pd.DataFrame) -> dict[str, list[str]]:
    """Group the series whose every draw gave the same numbers at every level of the axis.

    Initializers that are one law once rescaled to a spectral radius share their draws (common
    random numbers), so their results agree to the last bit and count once.

    Parameters
    ----------
    draws : DataFrame
        Result table of the draws.
    table : DataFrame
        Columns ``condition``, ``series`` and ``x`` of one slice.

    Returns
    -------
    dict
        First member of each family to all of its members, in the order of `table`.
    """
    wanted = draws[draws["condition"].isin(table["condition"])].sort_values(["condition", "draw"])
    digests = {
        condition: hashlib.sha256(
            group["draw"].to_numpy(dtype=np.int64).tobytes()
            + group["rate"].to_numpy(dtype=np.float64).tobytes()
            + group["horizon"].to_numpy(dtype=np.int64).tobytes()
            + group["rho"].to_numpy(dtype=np.float64).tobytes()
        ).hexdigest()
        for condition, group in wanted.groupby("condition")
    }
    found: dict[tuple[tuple[str, str], ...], str] = {}
    members: dict[str, list[str]] = {}
    for series, group in table.groupby("series", sort=False):
        content = sorted(
            (str(x), digests.get(condition, ""))
            for x, condition in zip(group["x"], group["condition"], strict=True)
        )
        first = found.setdefault(tuple(content), str(series))
        members.setdefault(first, []).append(str(series))
    return members


# --- comparisons and roots -----------------------------------------------------------------


@cache
def _signed_rank_cut(n: int, level: float) -> int:
    """Number of pairwise means to leave out at each end; -1 where none may be an end."""
    tail = (1 - level) / 2
    if n > 200:
        spread = np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return int(np.floor(n * (n + 1) / 4 + special.ndtri(tail) * spread - 0.5))
    ways = np.ones(1)  # of reaching each sum of ranks, as probabilities
    for rank in range(1, n + 1):
        shift = np.zeros(rank)
        ways = 0.5 * (np.concatenate([ways, shift]) + np.concatenate([shift, ways]))
    return int(np.searchsorted(np.cumsum(ways), tail, side="right")) - 1


def hodges_lehmann(differences: npt.ArrayLike, level: float = LEVEL) -> Estimate:
    """Median of the pairwise means of paired differences, with the signed-rank interval.

    Infinite differences (one of a pair vanished exactly) count as the largest. The interval is
    exact up to 200 differences; it is nan where there are too few for the level (below six for
    95 %). Takes O(n^2) memory.

    Examples
    --------
    >>> hodges_lehmann([1.0, 2.0, 3.0]).value
    2.0
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, np.nan)
    huge = 1e300
    values = np.clip(values, -huge, huge)
    rows, columns = np.triu_indices(n)
    means = np.sort(0.5 * values[rows] + 0.5 * values[columns])
    size = len(means)
    z = float(special.ndtri(0.5 + level / 2))
    cut = _signed_rank_cut(n, level)
    ends = (means[cut], means[size - 1 - cut]) if cut >= 0 else (np.nan, np.nan)
    value, low, high = (
        float(np.copysign(np.inf, v)) if abs(v) > huge / 4 else float(v)
        for v in (np.median(means), *ends)
    )
    se = (high - low) / (2 * z) if np.isfinite(low) and np.isfinite(high) else np.nan
    return Estimate(value, low, high, se)


def paired_shift(
    draws: pd.DataFrame, condition: int, baseline: int, level: float = LEVEL
) -> tuple[Estimate, Estimate, int]:
    """Shift of the rate of `condition` from `baseline`, draw by draw.

    Returns
    -------
    shift : Estimate
        Hodges-Lehmann shift, nats a step.
    above : Estimate
        Share of pairs with the larger rate in `condition` (ties count half, so its Wilson
        interval is rounded to whole pairs).
    n : int
        Number of pairs.
    """
    a, b = draw_matrix(draws, (condition, baseline)).T
    same = a == b  # covers -inf in both, whose difference would be nan
    difference = np.zeros(len(a))
    np.subtract(a, b, out=difference, where=~same)
    wins = (a > b).sum() + 0.5 * same.sum()
    return hodges_lehmann(difference, level), wilson(round(float(wins)), len(a), level), len(a)


def critical_value(
    x: npt.ArrayLike,
    rates: npt.ArrayLike,
    *,
    level: float = LEVEL,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Value of the axis at which the median rate is zero, with a bootstrap interval.

    The medians are made monotone (isotonic regression, in the direction of their ends) and
    interpolated linearly in ln x (in x if it is not positive throughout): exact for a linear cell,
    where linear in x is off by 0.005 between radii 0.9 and 1.1. Whole draws are resampled, the
    same ones at every value of the axis.

    Parameters
    ----------
    x : array_like, shape (n_values,)
        Axis, ascending.
    rates : array_like, shape (n_draws, n_values)
        Rates in nats a step; -inf allowed.
    level : float
        Confidence level of the interval.
    n_resamples, seed : int
        Number of resamples and the seed that fixes them.

    Returns
    -------
    Estimate
        nan where the medians do not change sign. An end of the interval is -inf or inf if that
        share of the resamples has its root outside of the axis.

    Examples
    --------
    >>> rates = np.linspace(-0.2, 0.2, 41)[:, None] + np.log([0.5, 1.0, 2.0])
    >>> round(critical_value([0.5, 1.0, 2.0], rates).value, 6)
    1.0
    """
    axis = np.asarray(x, dtype=np.float64)
    values = np.asarray(rates, dtype=np.float64)
    n = len(values)
    middle = _medians(values)
    sign = 1.0 if middle[-1] >= middle[0] else -1.0
    root = float(_roots(axis, sign * middle[None, :])[0])
    if not np.isfinite(root):
        return Estimate(np.nan, np.nan, np.nan, np.nan)
    pick = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    resampled = np.stack([_medians(column[pick].T) for column in values.T], axis=1)
    roots = np.sort(_roots(axis, sign * resampled))
    tail = (1 - level) / 2
    # Observed resamples, never interpolated between: some roots may be infinite.
    low, high = np.quantile(roots, (tail, 1 - tail), method="inverted_cdf")
    se = float(np.std(roots, ddof=1)) if np.isfinite(roots).all() else np.nan
    return Estimate(root, float(low), float(high), se)


def _medians(values: Floats) -> Floats:
    """Medians down the first axis of extended reals (the mean of -inf and -inf is -inf)."""
    return np.asarray(np.median(values, axis=0), dtype=np.float64)


def _roots(axis: Floats, curves: Floats) -> Floats:
    """Roots of rising curves (rows): -inf if above zero throughout, inf if never above."""
    # An exactly vanished median is far below zero; a finite stand-in keeps the fit finite.
    bounded = np.maximum(curves, -1e6)
    # Only rows that are not monotone already need the (slower) regression.
    for row in np.flatnonzero((np.diff(bounded, axis=1) < 0).any(axis=1)):
        bounded[row] = optimize.isotonic_regression(bounded[row]).x
    above = bounded > 0
    right = np.argmax(above, axis=1)
    roots = np.where(above.any(axis=1), -np.inf, np.inf)
    inside = np.flatnonzero(above.any(axis=1) & (right > 0))
    r = right[inside]
    y0, y1 = bounded[inside, r - 1], bounded[inside, r]
    share = -y0 / (y1 - y0)
    if (axis > 0).all():
        roots[inside] = axis[r - 1] * (axis[r] / axis[r - 1]) ** share
    else:
        roots[inside] = axis[r - 1] + (axis[r] - axis[r - 1]) * share
    return roots


# --- curves over lag -----------------------------------------------------------------------


def profile_bands(
    profiles: pd.DataFrame, column: str = "log_norm", level: float = LEVEL
) -> pd.DataFrame:
    """Median and spread of the profiles of each condition, lag by lag.

    Returns
    -------
    DataFrame
        Columns ``condition``, ``lag``, ``n``, ``median``, ``low`` and ``high`` (a band that holds
        the whole median curve with at least `level`: order statistics, Bonferroni over the lags
        of the condition; nan with too few draws), ``q10`` and ``q90`` (spread of the draws).
    """
    parts = []
    for condition, group in profiles.groupby("condition", sort=True):
        wide = group.pivot(index="draw", columns="lag", values=column)
        ordered = np.sort(wide.to_numpy(dtype=np.float64), axis=0)
        n, n_lags = ordered.shape
        ranks = _median_ranks(n, 1 - (1 - level) / max(n_lags, 1))
        nothing = np.full(n_lags, np.nan)
        q10, q90 = np.quantile(ordered, (0.1, 0.9), axis=0, method="inverted_cdf")
        parts.append(
            pd.DataFrame(
                {
                    "condition": condition,
                    "lag": wide.columns.to_numpy(),
                    "n": n,
                    "median": _medians(ordered),
                    "low": ordered[ranks[0]] if ranks else nothing,
                    "high": ordered[ranks[1]] if ranks else nothing,
                    "q10": q10,
                    "q90": q90,
                }
            )
        )
    columns = ["condition", "lag", "n", "median", "low", "high", "q10", "q90"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


# --- a slice, ready to show ----------------------------------------------------------------


def slice_table(
    summary: pd.DataFrame, names: Sequence[str], shape: Layout, draws: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Rows of a slice, one a family and value of the axis.

    Parameters
    ----------
    summary : DataFrame
        Rows of `summarise` that belong to the slice.
    names : sequence of str
        Name of the series of each row.
    shape : Layout
        Axis and series of the slice.
    draws : DataFrame
        Result table of the draws, which tells which series are one.

    Returns
    -------
    table : DataFrame
        Columns ``series``, ``x`` (the axis; the rank of the level where it is no quantity, nan
        without an axis) and ``x_name`` (the level where it is no quantity, else empty) besides.
        Families stand in the order of first appearance, the axis ascends within each.
    members : dict
        First member of each family to all of its members.
    """
    x = summary[shape.x] if shape.x else pd.Series(np.nan, index=summary.index)
    called = x.map(level_key) if shape.levels else pd.Series("", index=summary.index)
    if shape.levels:
        x = called.map(shape.levels.index)
    table = summary.assign(series=list(names), x=x.astype(float), x_name=called)
    members = families(draws, table)
    table = table[table["series"].isin(members)]
    order = {name: rank for rank, name in enumerate(members)}
    table = table.assign(_order=table["series"].map(order)).sort_values(["_order", "x"])
    return table.drop(columns="_order").reset_index(drop=True), members


def draw_matrix(draws: pd.DataFrame, conditions: Iterable[int]) -> Floats:
    """Rates (n_draws, n_conditions) of the draws that every one of the conditions has."""
    wanted = list(conditions)
    wide = draws[draws["condition"].isin(wanted)].pivot(
        index="draw", columns="condition", values="rate"
    )
    return wide[wanted].dropna().to_numpy(dtype=np.float64)
