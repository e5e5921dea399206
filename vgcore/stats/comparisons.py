"""Many comparisons at once: p-values adjusted within a family and across all of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from vgcore import checks, tables
from vgcore.stats.estimates import LEVEL, Floats
from vgcore.stats.paired import (
    PairwiseMeans,
    draw_matrix,
    paired_steps_gained,
    probability_of_improvement,
    rate_differences,
)


def _probabilities(p_values: npt.ArrayLike) -> Floats:
    """Check p-values, nan among them."""
    p = np.asarray(checks.array_of("p_values", p_values), dtype=np.float64)
    if p.ndim != 1 or (p < 0.0).any() or (p > 1.0).any():
        raise ValueError(
            f"p_values: found shape {p.shape} from {p.min(initial=np.inf):g} to "
            f"{p.max(initial=-np.inf):g}, expected (n,) from 0 to 1, or nan"
        )
    return p


def holm(p_values: npt.ArrayLike) -> Floats:
    """Adjusted p-values of Holm (1979): the chance of any false alarm stays below each.

    nan (a comparison without data) stays nan and counts for nothing.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = _probabilities(p_values)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # nan sorts last
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def benjamini_hochberg(p_values: npt.ArrayLike) -> Floats:
    """Adjusted p-values of Benjamini and Hochberg (1995): the share of false alarms among all.

    nan (a comparison without data) stays nan and counts for nothing.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.04, 0.04]
    """
    p = _probabilities(p_values)
    adjusted, known = np.full(p.shape, np.nan), np.isfinite(p)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p[known], method="bh")
    return adjusted


def comparisons(
    draws: pd.DataFrame,
    pairs: pd.DataFrame,
    *,
    until: float | None = None,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Compare pairs of conditions on the draws they share, with corrected p-values.

    Parameters
    ----------
    draws : DataFrame
        Result table of the draws.
    pairs : DataFrame
        Columns ``family``, ``condition`` and ``baseline``; others are kept as they are.
    until : float, optional
        Lag to which memory horizons count; None leaves the steps gained out.
    level : float
        Confidence level of each interval, for one comparison.

    Returns
    -------
    DataFrame
        `pairs` with ``n`` (shared draws); ``shift`` of the rate (Hodges-Lehmann, nats a step),
        ``above`` (share of draws with the larger rate, ties half) and ``gained`` (steps of memory,
        with `until`), each with ``_low``, ``_high`` and ``_se``; ``p`` (signed-rank test of no
        shift), ``p_holm`` (within the family) and ``p_bh`` (over all rows).

    Raises
    ------
    TypeError, ValueError
        `draws` or `pairs` is no table, or lacks a column.

    Examples
    --------
    >>> draws = pd.DataFrame({"condition": [0] * 9 + [1] * 9, "draw": [*range(9)] * 2})
    >>> draws["rate"] = -0.1 + 0.01 * draws["draw"] + 0.02 * draws["condition"]
    >>> pairs = pd.DataFrame({"family": ["a"], "condition": [1], "baseline": [0]})
    >>> comparisons(draws, pairs)[["n", "above", "p_holm"]].values.tolist()
    [[9.0, 1.0, 0.00390625]]
    """
    tables.table("pairs", pairs, ["family", "condition", "baseline"], "one with a row a comparison")
    rows = []
    for condition, baseline in zip(pairs["condition"], pairs["baseline"], strict=True):
        a, b = draw_matrix(draws, (condition, baseline)).T
        means = PairwiseMeans(rate_differences(a, b))
        row = {"n": len(a)} | means.estimate(level).columns("shift")
        row |= probability_of_improvement(a, b, level).columns("above")
        if until is not None:
            gained = paired_steps_gained(draws, condition, baseline, until, level)
            row |= gained.columns("gained")
        rows.append(row | {"p": means.p_value()})
    found = pd.DataFrame(rows, index=pairs.index)
    if rows:
        found["p_holm"] = found.groupby(pairs["family"])["p"].transform(holm)
        found["p_bh"] = benjamini_hochberg(found["p"])
    return pairs.join(found)
