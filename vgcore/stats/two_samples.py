"""Two samples whose draws are not the same: the shift between them, and its test."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from vgcore.stats.estimates import LEVEL, NOTHING, Estimate, bounded, ranked, two_sided

MOST = 2000  # draws of each sample whose differences are taken; draws are independent


def two_sample_shift(
    a: npt.ArrayLike, b: npt.ArrayLike, level: float = LEVEL
) -> tuple[Estimate, float]:
    """Shift of `a` from `b`, two independent samples, and p of there being none.

    Parameters
    ----------
    a, b : array_like
        Real numbers or infinities; of more than 2,000 the first are taken.
    level
        Confidence level of the interval.

    Returns
    -------
    shift : Estimate
        Hodges-Lehmann: the median of all differences a_i - b_j, with the interval that leaves out
        as many of them at each end as the Mann-Whitney test allows.
    p : float
        Of that test, with the normal approximation and its correction for ties; interval and p come
        from the same counts.

    Notes
    -----
    J. L. Hodges and E. L. Lehmann, "Estimates of location based on rank tests", Ann. Math. Statist.
    34, 598-611 (1963). The p-value is right from some ten draws a sample on.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> shift, p = two_sample_shift(rng.normal(0.5, 1, 200), rng.normal(0, 1, 200))
    >>> shift.low < 0.5 < shift.high, p < 0.001
    (True, True)
    """
    one, two = bounded(a)[:MOST], bounded(b)[:MOST]
    m, n = one.size, two.size
    if m == 0 or n == 0:
        return NOTHING, float("nan")
    differences = np.sort((one[:, None] - two[None, :]).ravel())
    _, ties = np.unique(np.concatenate([one, two]), return_counts=True)
    spread = np.sqrt(m * n / 12 * (m + n + 1 - (ties**3 - ties).sum() / ((m + n) * (m + n - 1))))
    centre = m * n / 2
    shift = float(np.median(differences))
    if spread == 0.0:  # one value alone
        return Estimate(shift, shift, shift, 0.0), 1.0
    z = two_sided(level)
    out = int(np.floor(centre - z * spread))  # differences left out at each end
    low, high = (differences[out], differences[m * n - 1 - out]) if out > 0 else (-np.inf, np.inf)
    above = (differences > 0).sum() + (differences == 0).sum() / 2
    miss = max(abs(float(above) - centre) - 0.5, 0.0)
    p = float(2 * special.ndtr(-miss / spread))
    return ranked(shift, low, high, level), p
