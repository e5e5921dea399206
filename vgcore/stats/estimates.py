"""An estimate with its interval, and the quantities of one sample: median, mean and share."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from vgcore import checks

LEVEL = 0.95

Floats = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """An estimate, the ends of its interval, and its Monte Carlo standard error (nan: unknown)."""

    value: float
    low: float
    high: float
    se: float

    def columns(self, name: str) -> dict[str, float]:
        """Spread over the columns `name`, `name`_low, `name`_high and `name`_se of a table.

        Examples
        --------
        >>> Estimate(0.5, 0.4, 0.6, 0.05).columns("share")
        {'share': 0.5, 'share_low': 0.4, 'share_high': 0.6, 'share_se': 0.05}
        """
        return {
            name: self.value,
            f"{name}_low": self.low,
            f"{name}_high": self.high,
            f"{name}_se": self.se,
        }


NOTHING = Estimate(np.nan, np.nan, np.nan, np.nan)

HUGE = 1e300  # stands for infinity where values are added or subtracted before they are ranked


def known_level(level: float) -> float:
    """Return a confidence level that is one."""
    return checks.fraction("level", level, such_as="0.95")


def two_sided(level: float) -> float:
    """Standard normal quantile z: +-z holds `level`."""
    return float(special.ndtri(0.5 + known_level(level) / 2))


def bounded(values: npt.ArrayLike) -> Floats:
    """All values in one row, infinities as `HUGE`."""
    return np.clip(np.asarray(values, dtype=np.float64).ravel(), -HUGE, HUGE)


def ranked(value: float, low: float, high: float, level: float) -> Estimate:
    """An estimate whose value and ends were ranked among those of `bounded`."""
    value, low, high = (
        float(np.copysign(np.inf, v)) if abs(v) > HUGE / 4 else float(v) for v in (value, low, high)
    )
    finite = np.isfinite(low) and np.isfinite(high)
    return Estimate(value, low, high, (high - low) / (2 * two_sided(level)) if finite else np.nan)


@lru_cache(maxsize=1024)
def median_ranks(n: int, level: float) -> tuple[int, int] | None:
    """Ranks (from 0) whose order statistics hold the median with at least `level`."""
    known_level(level)
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


def medians(values: Floats) -> Floats:
    """Medians down the first axis of extended reals (the mean of -inf and -inf is -inf)."""
    return np.asarray(np.median(values, axis=0), dtype=np.float64)


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
        return NOTHING
    if np.isnan(ordered[-1]):
        raise ValueError(f"values: found nan among {n} values, expected real numbers or +-inf")
    ranks = median_ranks(n, level)
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


def mean(values: npt.ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean with the interval of Student's t.

    The ends are nan below two values, and where all are equal: the error is unknown then, not zero.

    Examples
    --------
    >>> found = mean([1.0, 2.0, 3.0])
    >>> round(found.low, 3), found.value, round(found.high, 3)
    (-0.484, 2.0, 4.484)
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    level, centre = known_level(level), float(x.mean()) if x.size else np.nan
    if x.size < 2 or x.min() == x.max() or not np.isfinite(x).all():
        return Estimate(centre, np.nan, np.nan, np.nan)
    se = float(x.std(ddof=1)) / x.size**0.5
    half = float(special.stdtrit(x.size - 1, 0.5 + level / 2)) * se
    return Estimate(centre, centre - half, centre + half, se)


def wilson(count: int, n: int, level: float = LEVEL) -> Estimate:
    """Share `count / n` with the Wilson (1927) score interval.

    Examples
    --------
    >>> share = wilson(0, 100)
    >>> round(share.low, 4), round(share.high, 4)
    (0.0, 0.037)
    """
    n = checks.integer("n", n)
    return score_interval(checks.integer("count", count, most=n), 0, n, level)


def score_interval(wins: int, ties: int, n: int, level: float = LEVEL) -> Estimate:
    """Share of wins in n trials, ties counted half, with a score interval.

    A trial that ties with probability t has the variance p (1 - p) - t/4. The score interval with
    t = ties / (n + z^2) is Wilson's where nothing ties; where all do it keeps a width of z^2 / n.

    Examples
    --------
    >>> share = score_interval(wins=60, ties=20, n=100)
    >>> share.value, round(share.low, 3), round(share.high, 3)
    (0.7, 0.615, 0.77)
    """
    if n == 0:
        return NOTHING
    z = two_sided(level)
    p = (wins + 0.5 * ties) / n
    variance = max(p * (1 - p) - ties / n / 4, 0.0)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(variance / n + z * z / (4 * n * n))
    return Estimate(
        p,
        float(max(centre - half, 0.0)) if p > 0 else 0.0,
        float(min(centre + half, 1.0)) if p < 1 else 1.0,
        float(np.sqrt(variance / n)),
    )
