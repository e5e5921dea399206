"""Where along an axis the median rate is zero."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import optimize

from vgcore.stats.estimates import LEVEL, NOTHING, Estimate, Floats, medians


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
    middle = medians(values)
    sign = 1.0 if middle[-1] >= middle[0] else -1.0
    root = float(_roots(axis, sign * middle[None, :])[0])
    if not np.isfinite(root):
        return NOTHING
    pick = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    resampled = np.stack([medians(column[pick].T) for column in values.T], axis=1)
    roots = np.sort(_roots(axis, sign * resampled))
    tail = (1 - level) / 2
    # Observed resamples, never interpolated between: some roots may be infinite.
    low, high = np.quantile(roots, (tail, 1 - tail), method="inverted_cdf")
    se = float(np.std(roots, ddof=1)) if np.isfinite(roots).all() else np.nan
    return Estimate(root, float(low), float(high), se)


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
