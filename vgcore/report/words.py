"""Numbers and names in words, the same wherever a report writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vgcore.stats import level_key

Row = Mapping[Any, Any] | pd.Series  # a row of a summary, by column
MINUS = "\N{MINUS SIGN}"
LABELS = {
    "init": "initializer",
    "spectral_radius": "spectral radius",
    "n_hidden": "N",
    "n_steps": "T",
    "burn_in": "burn-in",
    "n_inputs": "inputs",
    "input_variance": "input variance",
    "n_trajectories": "trajectories",
    "law": "keywords",
}


def number(value: float, decimals: int) -> str:
    """Write a number with a true minus sign; infinite ones as such."""
    if np.isnan(value):
        return "unknown"
    if np.isinf(value):
        return ("" if value > 0 else MINUS) + "∞"
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def interval(value: float, low: float, high: float) -> str:
    """Write `value [low, high]` with two figures of the half width."""
    half = (high - low) / 2 if np.isfinite([low, high]).all() else 0.0
    decimals = 4
    if half > 1e-6:  # below it there is only rounding
        decimals = int(np.clip(1 - np.floor(np.log10(half)), 0, 6))
    if np.isnan(low) or np.isnan(high):
        return f"{number(value, decimals)} (no interval)"
    return f"{number(value, decimals)} [{number(low, decimals)}, {number(high, decimals)}]"


def rate_text(row: Row) -> str:
    """Median rate of a condition with its interval."""
    return interval(row["rate"], row["rate_low"], row["rate_high"])


def horizon_text(row: Row) -> str:
    """Median horizon of a condition with its interval; what lies beyond T as `> T`."""
    if row["horizon_low"] == 0:  # fewer than six draws
        return f"{steps(row['horizon'], row['n_steps'])} (no interval)"
    value, low, high = (
        steps(row[name], row["n_steps"]) for name in ("horizon", "horizon_low", "horizon_high")
    )
    return f"{value} [{low}, {high}]"


def steps(value: float, n_steps: int) -> str:
    """Write a number of steps; what lies beyond T as `> T`."""
    return f"> {n_steps}" if np.isinf(value) else f"{value:.0f}"


def share_text(row: Row) -> str:
    """Share of growing draws with its interval, in percent."""
    value, low, high = (100 * row[name] for name in ("growing", "growing_low", "growing_high"))
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"


def fraction(eps: float) -> str:
    """Write eps as 1/1000 where it is one over a whole number."""
    whole = 1 / eps
    return f"1/{whole:.0f}" if abs(whole - round(whole)) < 1e-6 * whole else f"{eps:g}"


def sample_size(table: pd.DataFrame) -> str:
    """Number of draws a condition, or its range."""
    least, most = int(table["n"].min()), int(table["n"].max())
    return f"n = {least}" if least == most else f"n = {least} to {most}"


def factor_label(name: str) -> str:
    """Name of a factor in words."""
    return LABELS.get(name, name)


def level_label(factor: str, value: Any) -> str:
    """One level of a factor in words; a name speaks for itself, a number needs its factor."""
    text = level_key(value)
    if factor == "input_variance" and text == "0":
        return "autonomous"
    if factor in ("spectral_radius", "gain") and not text:
        return f"{factor_label(factor)} as drawn"
    if isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_)):
        return f"{factor_label(factor)} = {text}"
    return text


def series_names(rows: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """Name of the series of each row; slices with one series take the name of its initializer."""
    chosen = list(factors) or [name for name in ("init",) if name in rows] or list(rows.columns[:1])
    names = [
        ", ".join(filter(None, (level_label(f, row[f]) for f in chosen)))
        for row in rows.to_dict("records")
    ]
    return [name or "default" for name in names]


def together(items: Sequence[str], word: str = "and") -> str:
    """Join words: a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def capital(words: str) -> str:
    """The same with a capital letter first."""
    return words[:1].upper() + words[1:]


def inverse(eps: float) -> str:
    """Write 1 / eps."""
    return f"{1 / eps:g}"
