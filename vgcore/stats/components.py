"""Where the variance comes from: the draw, the trajectory, the input."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats

from vgcore import tables
from vgcore.stats.estimates import LEVEL, Estimate, Floats, two_sided

RESIDUAL = "residual"
_ZERO = 1e-6  # of the whole variance: as near to zero as an optimiser comes


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
    to REML wherever none is at zero); other tables go to REML.

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
        effects: modified large-sample ones (Ting et al. 1990) for mean squares; normal ones
        for REML, with a chi-square upper end where that is higher: of 95 % or more.

    Raises
    ------
    TypeError, ValueError
        `table` is no table or lacks a column, values are not finite, a pair of levels occurs twice
        in a draw, or there are not at least two draws and two levels of each factor.

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
    tables.table("table", table, [*keys, value], "one with a row a measurement")
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
    """Estimates of restricted maximum likelihood; the last one is the residual.

    The values of a draw have the covariance V = sum_i theta_i K_i, K_i = Z_i Z_i' with the
    indicators Z_i of the levels of component i (Searle, Casella and McCulloch 1992, chapter 6).
    """
    crossed = list(names) if len(names) == 2 else []
    scale = float(table[value].std()) or 1.0
    y, kernels = [], []
    for _, group in table.groupby("draw"):
        n = len(group)
        y.append(group[value].to_numpy(dtype=np.float64) / scale)
        levels = [group[name].to_numpy() for name in crossed]
        same = [(of_rows[:, None] == of_rows).astype(float) for of_rows in levels]
        kernels.append(np.stack([np.ones((n, n)), *same, np.eye(n)]))

    def criterion(theta: Floats) -> tuple[float, Floats]:
        """-2 ln of the restricted likelihood, and its gradient."""
        inverses = [np.linalg.inv(np.tensordot(theta, K, 1)) for K in kernels]
        weight = sum(inverse.sum() for inverse in inverses)
        centre = sum(inverse.sum(axis=0) @ x for inverse, x in zip(inverses, y, strict=True))
        found, gradient = float(np.log(weight)), np.zeros(len(theta))
        for inverse, x, K in zip(inverses, y, kernels, strict=True):
            solved, ones = inverse @ (x - centre / weight), inverse.sum(axis=0)
            found += (x - centre / weight) @ solved - np.linalg.slogdet(inverse)[1]
            gradient += np.tensordot(K, inverse - np.outer(solved, solved), 2)
            gradient -= np.tensordot(K, np.outer(ones, ones), 2) / weight
        return found, gradient

    n_parts = len(kernels[0])
    bounds = [(0.0, None)] * (n_parts - 1) + [(_ZERO, None)]
    fitted = optimize.minimize(
        criterion, np.full(n_parts, 1 / n_parts), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"ftol": 1e-13, "gtol": 1e-6, "maxiter": 500},
    )  # fmt: skip
    information = np.zeros((n_parts, n_parts))
    for K in kernels:
        parts = np.linalg.inv(np.tensordot(fitted.x, K, 1)) @ K
        information += 0.5 * np.einsum("iab,jba->ij", parts, parts)
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    keys = ["draw", *crossed, RESIDUAL if crossed else names[0]]
    return {
        key: _wald((part if part > _ZERO else 0.0) * scale**2, error * scale**2, len(y), level)
        for key, part, error in zip(keys, fitted.x.tolist(), errors.tolist(), strict=True)
    }


def _wald(value: float, se: float, n_draws: int, level: float) -> Estimate:
    """A variance with a normal interval, or the upper end of the chi-square with its error.

    Satterthwaite's degrees of freedom are kept from falling below 4, where zero is near.
    """
    half = two_sided(level) * se
    df = max(2 * (value / se) ** 2, min(4, n_draws - 1))
    high = value * df / float(stats.chi2.ppf((1 - level) / 2, df))
    return Estimate(value, value - half, max(value + half, high), se)
