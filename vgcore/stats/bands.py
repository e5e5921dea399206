"""Curves over lag with simultaneous bands."""

from __future__ import annotations

import numpy as np
import pandas as pd

from vgcore import tables
from vgcore.stats.estimates import LEVEL, Floats, median_ranks, medians


def band_ranks(
    values: Floats, level: float = LEVEL, *, n_resamples: int = 1000, seed: int = 0
) -> tuple[int, int] | None:
    """Ranks (from 0) whose order statistics hold the whole curve of medians with `level`.

    How many draws lie below the median at each lag is a walk over lags. Its largest distance from
    n/2 follows from the signs of the draws about the sample median: each draw's signs, kept
    together over the lags, times a random sign (a wild bootstrap). At each lag alone that gives
    the binomial law of the order-statistic interval exactly; lags that move together cost little.

    Parameters
    ----------
    values : ndarray, shape (n_draws, n_lags)
        Curves, one row a draw.
    level : float
        Chance of holding the whole curve of medians.
    n_resamples, seed : int
        Number of random signs of each draw, and the seed that fixes them.

    Returns
    -------
    (int, int) or None
        None where even the extremes do not hold the curve with that level.

    Examples
    --------
    >>> walks = np.random.default_rng(0).normal(size=(99, 50)).cumsum(axis=1)
    >>> band_ranks(walks)
    (34, 64)
    """
    n = len(values)
    alone = median_ranks(n, level)
    moving = values.min(axis=0) < values.max(axis=0)  # lag 0, where all are 0, is certain
    if alone is None or not moving.any():
        return alone
    signs = np.where(values[:, moving] >= medians(values[:, moving]), np.float32(1), np.float32(-1))
    flips = np.random.default_rng(seed).integers(0, 2, (n_resamples, n)).astype(np.float32) * 2 - 1
    farthest = np.abs(flips @ signs).max(axis=1)
    excess = int(np.quantile(farthest, level, method="inverted_cdf"))
    # Draws below, b, and above, n - b, differ by n - 2 b; the ends hold if b > low and n - b > low.
    low = min((n - excess) // 2 - 1, alone[0])
    return (low, n - 1 - low) if low >= 0 else None


def profile_bands(
    profiles: pd.DataFrame, column: str = "log_norm", level: float = LEVEL, *, seed: int = 0
) -> pd.DataFrame:
    """Median and spread of the profiles of each condition, lag by lag.

    Parameters
    ----------
    profiles : DataFrame
        Columns ``condition``, ``draw``, ``lag`` and `column`.
    column : str
        What to summarise.
    level : float
        Confidence level of the bands.
    seed : int
        Seed of the resamples behind the bands.

    Returns
    -------
    DataFrame
        Columns ``condition``, ``lag``, ``n``, ``median``, ``low`` and ``high`` (a band that holds
        the whole median curve of the condition with `level`, see `band_ranks`; nan with too few
        draws), ``q10`` and ``q90`` (spread of the draws).

    Raises
    ------
    TypeError, ValueError
        `profiles` is no table, or lacks a column, or a draw has two rows of a lag.
    """
    tables.table("profiles", profiles, ["condition", "draw", "lag", column], tables.PROFILES)
    parts = []
    for condition, group in profiles.groupby("condition", sort=True):
        wide = tables.wide("profiles", group, "lag", column)
        ordered = wide.to_numpy(dtype=np.float64)
        ranks = band_ranks(ordered, level, seed=seed)
        ordered = np.sort(ordered, axis=0)
        n, n_lags = ordered.shape
        nothing = np.full(n_lags, np.nan)
        q10, q90 = np.quantile(ordered, (0.1, 0.9), axis=0, method="inverted_cdf")
        parts.append(
            pd.DataFrame(
                {
                    "condition": condition,
                    "lag": wide.columns.to_numpy(),
                    "n": n,
                    "median": medians(ordered),
                    "low": ordered[ranks[0]] if ranks else nothing,
                    "high": ordered[ranks[1]] if ranks else nothing,
                    "q10": q10,
                    "q90": q90,
                }
            )
        )
    columns = ["condition", "lag", "n", "median", "low", "high", "q10", "q90"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
