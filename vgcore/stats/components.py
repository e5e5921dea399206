"""Where the variance comes from: the draw, the trajectory, the input."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from vgcore.stats.estimates import LEVEL, Estimate, Floats

RESIDUAL = "residual"


class _Square(NamedTuple):
    """A mean square with its degrees of freedom."""

    value: float
    df: int


def variance_components(
    table: pd.DataFrame,
    value: str = "value",
    factors: Sequence[str] = ("trajectory", "input"),
    *,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Split the variance of a quantity over draws and what is repeated within a draw.

    value = mean + draw + trajectory(draw) + input(draw) + residual: a mixed model in which the
    trajectories and inputs of a draw are crossed and say nothing of those of another draw. Where
    every draw has every pair of levels once, mean squares give the estimates in closed form (equal
    to REML wherever none is at zero); other tables go to REML of statsmodels.

    Parameters
    ----------
    table : DataFrame
        One row a measurement: columns ``draw``, the factors and `value`.
    value : str
        Column of the quantity, such as a rate; finite.
    factors : sequence of str
        One or two columns of levels within a draw. What a single factor leaves is the residual,
        so its own component is called after it.
    level : float
        Confidence level of each interval.

    Returns
    -------
    DataFrame
        A row for ``draw``, each factor and ``residual`` (trajectory by input): ``component``,
        ``variance`` with ``_low``, ``_high`` and ``_se``, ``share`` of the total, ``at_zero`` (the
        estimate was zero or below and is given as 0), ``method``. Intervals hold for normal
        effects: modified large-sample ones (Ting et al. 1990) for mean squares, Satterthwaite's
        for REML, whose upper end is nan at zero.

    Raises
    ------
    ValueError
        Values are not finite, a pair of levels occurs twice in a draw, or there are not at least
        two draws and two levels of each factor.
    ImportError
        The table is not balanced and statsmodels is not installed.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> table = pd.MultiIndex.from_product([range(200), range(4)], names=["draw", "trajectory"])
    >>> table = table.to_frame(index=False)
    >>> table["value"] = rng.normal(0, 2, 200)[table["draw"]] + rng.normal(0, 1, len(table))
    >>> found = variance_components(table, factors=["trajectory"])
    >>> found[["component", "variance"]].round(1).values.tolist()
    [['draw', 3.7], ['trajectory', 0.9]]
    """
    names = list(factors)
    if not 1 <= len(names) <= 2:
        raise ValueError(f"factors: found {names}, expected one or two columns beside draw")
    keys = ["draw", *names]
    y = table[value].to_numpy(dtype=np.float64)
    if not np.isfinite(y).all():
        raise ValueError(
            f"table: found {(~np.isfinite(y)).sum()} of {len(y)} values of {value!r} not finite; "
            "a variance needs finite ones: leave these draws out and say so"
        )
    if table.duplicated(keys).any():
        raise ValueError(f"table: found rows with equal {', '.join(keys)}, expected one row each")
    n_levels = [table["draw"].nunique()] + [
        int(table.groupby("draw")[name].nunique().max()) for name in names
    ]
    if min(n_levels, default=0) < 2:
        levels = ", ".join(f"{n} of {key}" for key, n in zip(keys, n_levels, strict=True))
        raise ValueError(f"table: found levels {levels}, expected at least two of each")
    counts = table.groupby("draw")[names].nunique()
    balanced = len(table) == np.prod(n_levels) and (counts == n_levels[1:]).all(axis=None)
    if balanced:
        # Levels of a draw are its own: their order within the draw is all that matters.
        grid = table.sort_values(keys)[value].to_numpy(dtype=np.float64).reshape(n_levels)
        found, method = _from_squares(grid, names, level), "mean squares"
    else:
        found, method = _reml(table, value, names, level), "REML"
    total = sum(max(e.value, 0.0) for e in found.values())
    rows = []
    for name, e in found.items():
        kept = Estimate(max(e.value, 0.0), max(e.low, 0.0), max(e.high, 0.0), e.se)
        row = {"component": name} | kept.columns("variance")
        share = kept.value / total if total > 0 else np.nan
        rows.append(row | {"share": share, "at_zero": e.value <= 0, "method": method})
    return pd.DataFrame(rows)


def _from_squares(grid: Floats, names: Sequence[str], level: float) -> dict[str, Estimate]:
    """Estimates from the mean squares of a full grid, (draw, level) or (draw, level, level)."""
    n_draws = grid.shape[0]
    of_draw = grid.mean(axis=tuple(range(1, grid.ndim)), keepdims=True)
    left = grid - of_draw
    draw = _Square(float(of_draw.var(ddof=1)) * grid[0].size, n_draws - 1)
    if grid.ndim == 2:
        n = grid.shape[1]
        within = _Square(float((left**2).sum()) / (n_draws * (n - 1)), n_draws * (n - 1))
        return {
            "draw": _combination([(draw, 1 / n), (within, -1 / n)], level),
            names[0]: _combination([(within, 1.0)], level),
        }
    _, n, m = grid.shape
    rows, columns = left.mean(axis=2, keepdims=True), left.mean(axis=1, keepdims=True)
    rest = left - rows - columns
    first = _Square(float((rows**2).sum()) * m / (n_draws * (n - 1)), n_draws * (n - 1))
    second = _Square(float((columns**2).sum()) * n / (n_draws * (m - 1)), n_draws * (m - 1))
    df = n_draws * (n - 1) * (m - 1)
    error = _Square(float((rest**2).sum()) / df, df)
    c = 1 / (n * m)
    return {
        "draw": _combination([(draw, c), (first, -c), (second, -c), (error, c)], level),
        names[0]: _combination([(first, 1 / m), (error, -1 / m)], level),
        names[1]: _combination([(second, 1 / n), (error, -1 / n)], level),
        RESIDUAL: _combination([(error, 1.0)], level),
    }


def _combination(terms: Sequence[tuple[_Square, float]], level: float) -> Estimate:
    """Sum of mean squares times factors, with the interval of Ting et al. (1990).

    Exact for one mean square; for a difference of two, exact where it is zero or one dominates.
    """
    value = sum(c * square.value for square, c in terms)
    se = sum(2 * (c * square.value) ** 2 / (square.df + 2) for square, c in terms) ** 0.5
    plus = [_Square(c * s.value, s.df) for s, c in terms if c > 0]
    minus = [_Square(-c * s.value, s.df) for s, c in terms if c < 0]
    tail = (1 - level) / 2
    return Estimate(
        value,
        value - max(_reach(plus, minus, tail), 0.0) ** 0.5,
        value + max(_reach(minus, plus, tail), 0.0) ** 0.5,
        se,
    )


def _reach(plus: Sequence[_Square], minus: Sequence[_Square], tail: float) -> float:
    """Square of the distance from sum(plus) - sum(minus) down to its lower bound."""
    G = {df: 1 - df / stats.chi2.isf(tail, df) for _, df in plus}
    H = {df: df / stats.chi2.ppf(tail, df) - 1 for _, df in minus}
    reach = sum((G[df] * a) ** 2 for a, df in plus) + sum((H[df] * b) ** 2 for b, df in minus)
    for (a, n), (b, m) in itertools.product(plus, minus):
        F = stats.f.isf(tail, n, m)
        reach += a * b * ((F - 1) ** 2 - (G[n] * F) ** 2 - H[m] ** 2) / F
    for (a, n), (b, m) in itertools.combinations(plus, 2):
        whole = (1 - (n + m) / stats.chi2.isf(tail, n + m)) ** 2 * (n + m) ** 2 / (n * m)
        reach += a * b * (whole - G[n] ** 2 * n / m - G[m] ** 2 * m / n) / (len(plus) - 1)
    return float(reach)


def _reml(
    table: pd.DataFrame, value: str, names: Sequence[str], level: float
) -> dict[str, Estimate]:
    """Estimates of statsmodels' MixedLM; the last one is the residual."""
    try:
        from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec
    except ImportError:
        raise ImportError(
            "table: not every draw has every pair of levels, which takes statsmodels: "
            "pip install vgcore[stats]"
        ) from None
    crossed = list(names) if len(names) == 2 else []
    groups = [group for _, group in table.groupby("draw")]
    designs = [
        [pd.get_dummies(group[name], dtype=float).to_numpy() for group in groups]
        for name in crossed
    ]
    columns = [[[str(i) for i in range(X.shape[1])] for X in X_of] for X_of in designs]
    ordered = pd.concat(groups)
    ones = np.ones((len(ordered), 1))
    y = ordered[value].to_numpy(dtype=np.float64)
    scale = float(y.std()) or 1.0
    model = MixedLM(
        y / scale,
        ones,
        groups=ordered["draw"].to_numpy(),
        exog_re=ones,
        exog_vc=VCSpec(crossed, columns, designs) if crossed else None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance at zero, which `at_zero` tells
        fitted = model.fit(reml=True)
    parts = [float(fitted.cov_re[0, 0]), *np.asarray(fitted.vcomp, dtype=float).ravel()]
    # Errors of the ratios to the residual variance, which itself is known far better.
    errors = fitted.scale * np.asarray(fitted.bse, dtype=np.float64)[1:]
    last = _Square(float(fitted.scale), len(y) - sum(X.shape[1] for d in designs for X in d) - 1)
    found = {}
    for name, part, error in zip(["draw", *crossed], parts, errors, strict=True):
        found[name] = _satterthwaite(part * scale**2, float(error) * scale**2, level)
    residual = RESIDUAL if crossed else names[0]
    found[residual] = _combination([(_Square(last.value * scale**2, last.df), 1.0)], level)
    return found


def _satterthwaite(value: float, se: float, level: float) -> Estimate:
    """A variance with the interval of a chi-square that has its error."""
    if not (value > 0 and se > 0):
        return Estimate(value, 0.0, np.nan, np.nan)
    df, tail = 2 * (value / se) ** 2, (1 - level) / 2
    return Estimate(
        value, df * value / stats.chi2.isf(tail, df), df * value / stats.chi2.ppf(tail, df), se
    )
