"""Times that may be censored: survival, its median and mean, and competing events."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from vgcore import checks, tables
from vgcore.stats.estimates import LEVEL, NOTHING, Estimate, Floats, two_sided


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
    t = checks.extended("times", times)
    gone = ~np.asarray(censored, dtype=bool)
    if t.ndim != 1 or gone.shape != t.shape:
        raise ValueError(
            f"times, censored: found shapes {t.shape} and {gone.shape}, expected one, (n,)"
        )
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
    z = two_sided(level)
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
        return NOTHING

    def first(values: Floats) -> float:
        below = np.flatnonzero(values <= 0.5 + 1e-12)
        return float(curve.time[below[0]]) if len(below) else np.inf

    n = int(curve.at_risk[0])
    # With fewer than six draws even the whole curve does not exclude a median at the start.
    low = first(curve.low) if ((1 - level) / 2) ** (1 / n) > 0.5 else 0.0
    value, high = first(curve.survival), first(curve.high)
    z = two_sided(level)
    return Estimate(value, low, high, (high - low) / (2 * z) if np.isfinite(high) else np.nan)


def restricted_mean(
    times: npt.ArrayLike, censored: npt.ArrayLike, until: float, level: float = LEVEL
) -> Estimate:
    """Mean of min(time, until): the area under the Kaplan-Meier curve, with Greenwood's error."""
    curve = kaplan_meier(times, censored, level)
    if len(curve.time) == 0:
        return NOTHING
    edges = np.concatenate(([0.0], np.minimum(curve.time, until), [until]))
    pieces = np.diff(edges) * np.concatenate(([1.0], curve.survival))
    area = float(pieces.sum())
    after = area - np.cumsum(pieces)[:-1]
    left = curve.at_risk - curve.events
    term = np.where(left > 0, curve.events / (curve.at_risk * np.maximum(left, 1)), 0.0)
    se = float(np.sqrt(np.sum(after**2 * term)))
    if se == 0:  # equal times of all: the error is unknown, not zero
        return Estimate(area, np.nan, np.nan, np.nan)
    z = two_sided(level)
    return Estimate(area, max(area - z * se, 0.0), min(area + z * se, until), se)


def first_event(draws: pd.DataFrame) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    """Lag and name of what happened first in each draw: vanish, explode or censored.

    Parameters
    ----------
    draws : DataFrame
        Result table with columns ``horizon``, ``growth_horizon`` and ``event``.

    Raises
    ------
    TypeError, ValueError
        `draws` is no table, or lacks a column.
    """
    tables.table("draws", draws, ["horizon", "growth_horizon", "event"], tables.DRAWS)
    times = np.minimum(draws["horizon"].to_numpy(), draws["growth_horizon"].to_numpy())
    return times.astype(np.int64), draws["event"].to_numpy().astype(np.str_)


def cumulative_incidence(
    times: npt.ArrayLike, events: npt.ArrayLike, level: float = LEVEL
) -> pd.DataFrame:
    """Aalen-Johansen cumulative incidence of competing events, with pointwise intervals.

    The share of draws in which an event has come first by each time: unlike one minus a
    Kaplan-Meier curve of each event alone, the shares of all events and of none add up to 1.

    Parameters
    ----------
    times : array_like, shape (n,)
        When each draw had its first event or was censored.
    events : array_like of str, shape (n,)
        Which event; "censored" for none.
    level : float
        Confidence level of each interval.

    Returns
    -------
    DataFrame
        ``event``, ``time``, ``incidence``, ``low``, ``high``, ``se``, ``at_risk``; a row for each
        event that occurs and each distinct time. Errors by the delta method (Gaynor et al. 1993),
        which give sqrt(F (1 - F) / n) where nothing is censored before; intervals on the scale
        ln(-ln F), and the exact binomial bound where F is 0 or 1.

    Examples
    --------
    >>> table = cumulative_incidence([1, 2, 2, 3], ["vanish", "explode", "vanish", "censored"])
    >>> table[["event", "time", "incidence"]].values.tolist()[:3]
    [['explode', 1, 0.0], ['explode', 2, 0.25], ['explode', 3, 0.25]]
    """
    names = np.asarray(events)
    time, place = np.unique(np.asarray(times), return_inverse=True)
    n, happened = len(names), names != "censored"
    leaving = np.bincount(place, minlength=len(time))
    at_risk = n - np.concatenate(([0], np.cumsum(leaving)[:-1])).astype(np.int64)
    total = np.bincount(place, weights=happened, minlength=len(time))
    before = np.concatenate(([1.0], np.cumprod(1.0 - total / at_risk)))[:-1]
    left = np.maximum(at_risk - total, 1)
    z, bound = two_sided(level), ((1 - level) / 2) ** (1 / max(n, 1))
    parts = []
    for name in np.unique(names[happened]):
        of_one = np.bincount(place, weights=names == name, minlength=len(time))
        steps = before * of_one / at_risk
        incidence = np.cumsum(steps)
        # The three sums of the variance over past times j, with F(t) - F(t_j) multiplied out.
        a = np.where(total < at_risk, total / (at_risk * left), 0.0)
        b = before * of_one / at_risk**2
        c = before**2 * (at_risk - of_one) * of_one / at_risk**3
        variance = (
            incidence**2 * np.cumsum(a)
            - 2 * incidence * np.cumsum(incidence * a + b)
            + np.cumsum(incidence**2 * a + 2 * incidence * b + c)
        )
        se = np.sqrt(np.maximum(variance, 0.0))
        inner = (incidence > 0) & (incidence < 1 - 1e-12)
        log_share = np.log(np.where(inner, incidence, 0.5))
        factor = np.exp(z * se / (np.where(inner, incidence, 0.5) * np.abs(log_share)))
        none, whole = np.where(incidence > 0, bound, 0.0), np.where(incidence > 0, 1.0, 1 - bound)
        low = np.where(inner, np.exp(log_share * factor), none)
        high = np.where(inner, np.exp(log_share / factor), whole)
        parts.append(
            pd.DataFrame(
                {
                    "event": name,
                    "time": time,
                    "incidence": incidence,
                    "low": low,
                    "high": high,
                    "se": se,
                    "at_risk": at_risk,
                }
            )
        )
    columns = ["event", "time", "incidence", "low", "high", "se", "at_risk"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
