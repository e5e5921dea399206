"""Two conditions on the same draws: shifts, wins, steps gained and equivalence."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from vgcore import checks, tables
from vgcore.stats.estimates import (
    LEVEL,
    NOTHING,
    Estimate,
    Floats,
    bounded,
    known_level,
    mean,
    ranked,
    score_interval,
)

_EXACT = 200  # differences up to which the law of the signed-rank sum is tabulated


def draw_matrix(draws: pd.DataFrame, conditions: Iterable[int], column: str = "rate") -> Floats:
    """Values (n_draws, n_conditions) of the draws that every one of the conditions has."""
    tables.table("draws", draws, ["condition", "draw", column], tables.DRAWS)
    wanted = list(conditions)
    own = draws.loc[draws["condition"].isin(wanted), ["draw", "condition", column]]
    wide = tables.wide("draws", own, "condition", column)
    return wide.reindex(columns=wanted).dropna().to_numpy(dtype=np.float64)


@cache
def _signed_rank_table(n: int) -> Floats:
    """P(W <= w) for w = 0, 1, ... of the sum W of ranks with a plus sign, n differences."""
    ways = np.ones(1)  # of reaching each sum of ranks, as probabilities
    for rank in range(1, n + 1):
        shift = np.zeros(rank)
        ways = 0.5 * (np.concatenate([ways, shift]) + np.concatenate([shift, ways]))
    return np.asarray(np.minimum(np.cumsum(ways), 1.0), dtype=np.float64)


def _signed_rank_law(n: int) -> tuple[float, float]:
    return n * (n + 1) / 4, float(np.sqrt(n * (n + 1) * (2 * n + 1) / 24))


@cache
def _signed_rank_cut(n: int, level: float) -> int:
    """Number of pairwise means to leave out at each end; -1 where none may be an end."""
    tail = (1 - known_level(level)) / 2
    if n > _EXACT:
        centre, spread = _signed_rank_law(n)
        return int(np.floor(centre + special.ndtri(tail) * spread - 0.5))
    return int(np.searchsorted(_signed_rank_table(n), tail, side="right")) - 1


def _signed_rank_cdf(n: int, w: int) -> float:
    """P(W <= w): how unlikely it is that so few pairwise means lie on one side of the truth."""
    if n > _EXACT:
        centre, spread = _signed_rank_law(n)
        return float(special.ndtr((w + 0.5 - centre) / spread))
    return float(_signed_rank_table(n)[w])


class PairwiseMeans:
    """Sorted means of all pairs of differences (Walsh 1949), and what the signed ranks say of them.

    Interval and tests come from the same counts, so that they never disagree: the interval leaves
    out zero exactly where p is at most 1 - level. Tied differences make both conservative.
    """

    def __init__(self, differences: npt.ArrayLike) -> None:
        values = bounded(differences)
        if np.isnan(values).any():
            raise ValueError(
                f"differences: found nan among {len(values)} values, expected real numbers or "
                "+-inf; two values of -inf differ by 0"
            )
        self.n = len(values)
        rows, columns = np.triu_indices(self.n)
        self.means = np.sort(0.5 * values[rows] + 0.5 * values[columns])

    def estimate(self, level: float) -> Estimate:
        """Their median with the signed-rank interval."""
        if self.n == 0:
            return NOTHING
        cut = _signed_rank_cut(self.n, level)
        low, high = (self.means[cut], self.means[-1 - cut]) if cut >= 0 else (np.nan, np.nan)
        return ranked(float(np.median(self.means)), low, high, level)

    def p_above(self, shift: float = 0.0) -> float:
        """One-sided p-value: that they lie above `shift` although their law centres there."""
        at_most = int(np.searchsorted(self.means, shift, side="right"))
        return _signed_rank_cdf(self.n, at_most) if self.n else np.nan

    def p_below(self, shift: float = 0.0) -> float:
        """One-sided p-value: that they lie below `shift` although their law centres there."""
        at_least = len(self.means) - int(np.searchsorted(self.means, shift, side="left"))
        return _signed_rank_cdf(self.n, at_least) if self.n else np.nan

    def p_value(self) -> float:
        """Two-sided p-value of no shift."""
        return float(np.minimum(1.0, 2 * np.minimum(self.p_above(), self.p_below())))


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
    return PairwiseMeans(differences).estimate(level)


class Equivalence(NamedTuple):
    """Whether two conditions differ by less than a margin, with the shift and the p-value."""

    shift: Estimate
    margin: float
    p: float
    equivalent: bool


def equivalence(differences: npt.ArrayLike, margin: float, level: float = LEVEL) -> Equivalence:
    """Two one-sided signed-rank tests that a paired shift lies within +-margin.

    "No difference detected" is no evidence of equality; this is (Schuirmann 1987). The margin is
    the largest difference that does not matter, chosen before the data is seen.

    Parameters
    ----------
    differences : array_like, shape (n,)
        Paired differences; +-inf allowed.
    margin : float
        Above zero, in the unit of the differences.
    level : float
        1 - level is the chance of calling conditions equivalent that are `margin` apart.

    Returns
    -------
    Equivalence
        ``equivalent`` if p <= 1 - level, that is if the interval of ``shift`` at 2 level - 1 (90 %
        for 95 %) lies inside of +-margin.

    Examples
    --------
    >>> equivalence([-0.01, 0.02, 0.0, -0.02, 0.01, 0.03], margin=0.1).equivalent
    True
    """
    if not margin > 0:
        raise ValueError(
            f"margin: found {margin}, expected the largest difference that is none, > 0"
        )
    means = PairwiseMeans(differences)
    p = float(np.maximum(means.p_above(-margin), means.p_below(margin)))
    return Equivalence(means.estimate(2 * level - 1), margin, p, p <= 1 - level)


def rate_differences(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """A - b, zero where both are the same infinity."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    difference = np.zeros(a.shape)
    np.subtract(a, b, out=difference, where=a != b)
    return difference


def probability_of_improvement(
    a: npt.ArrayLike, b: npt.ArrayLike, level: float = LEVEL
) -> Estimate:
    """Share of pairs in which a is larger than b, ties counted half, with a score interval.

    Examples
    --------
    >>> probability_of_improvement([3.0, 2.0, 5.0, 1.0], [1.0, 2.0, 4.0, 0.0]).value
    0.875
    """
    a, b = checks.extended("a", a), checks.extended("b", b)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"a, b: found shapes {a.shape} and {b.shape}, expected one, (n,)")
    return score_interval(int((a > b).sum()), int((a == b).sum()), len(a), level)


def paired_shift(
    draws: pd.DataFrame, condition: int, baseline: int, level: float = LEVEL
) -> tuple[Estimate, Estimate, int]:
    """Shift of the rate of `condition` from `baseline`, draw by draw.

    Parameters
    ----------
    draws : DataFrame
        Result table with columns ``condition``, ``draw`` and ``rate``.
    condition, baseline : int
        Numbers of the conditions.
    level : float
        Confidence level of the intervals.

    Returns
    -------
    shift : Estimate
        Hodges-Lehmann shift, nats a step.
    above : Estimate
        Share of pairs with the larger rate in `condition`, ties counted half.
    n : int
        Number of pairs.

    Raises
    ------
    TypeError, ValueError
        `draws` is no table, or lacks a column.
    """
    a, b = draw_matrix(draws, (condition, baseline)).T
    shift = hodges_lehmann(rate_differences(a, b), level)
    return shift, probability_of_improvement(a, b, level), len(a)


def paired_steps_gained(
    draws: pd.DataFrame,
    condition: int,
    baseline: int,
    until: float,
    level: float = LEVEL,
) -> Estimate:
    """Steps of memory that `condition` gains over `baseline` on the same draws, up to `until`.

    The difference of the mean horizons restricted to `until`. Horizons are censored at the last
    lag only, so min(horizon, until) is known of every draw, and the mean difference of pairs with
    Student's interval takes the place of two Kaplan-Meier curves: it uses the pairing.

    Parameters
    ----------
    draws : DataFrame
        Result table with columns ``condition``, ``draw``, ``horizon`` and ``censored``.
    condition, baseline : int
        Numbers of the conditions.
    until : float
        Lag to which horizons count, at most the last one measured in both conditions.
    level : float
        Confidence level of the interval.

    Returns
    -------
    Estimate
        In steps. Ends and error are nan where the gains of all pairs are equal.

    Raises
    ------
    TypeError, ValueError
        `draws` is no table or lacks a column, or a horizon is censored before `until`.

    Examples
    --------
    >>> table = pd.DataFrame({"condition": [0] * 3 + [1] * 3, "draw": [0, 1, 2] * 2,
    ...     "horizon": [10, 20, 30, 14, 22, 60], "censored": [False] * 5 + [True]})
    >>> paired_steps_gained(table, 1, 0, until=60).value
    12.0
    """
    needed = ["condition", "draw", "horizon", "censored"]
    tables.table("draws", draws, needed, tables.DRAWS)
    pair = draws[draws["condition"].isin([condition, baseline])]
    early = pair.loc[pair["censored"].astype(bool) & (pair["horizon"] < until), "horizon"]
    if len(early):
        raise ValueError(
            f"until: found {until:g}, but a horizon is censored at {early.min():g}; expected at "
            "most the last lag of both conditions"
        )
    a, b = np.minimum(draw_matrix(pair, (condition, baseline), "horizon"), until).T
    return mean(a - b, level)
