"""The shape of a slice: its axis, its series, and its rows in order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vgcore import tables


@dataclass(frozen=True)
class Layout:
    """Which factor of a slice runs along the horizontal axis and which ones name the series.

    `levels` names the values of an axis that is no quantity; it is empty for a number.
    """

    x: str | None
    series: tuple[str, ...]
    levels: tuple[str, ...] = ()


def layout(conditions: pd.DataFrame) -> Layout:
    """Choose the axis of a slice from the factors that vary in it.

    Spectral radius, or else gain, or else the numeric factor with most levels is the axis; among
    two or more factors that are names, the one with fewest levels.
    """
    tables.table("conditions", conditions, ["condition"], tables.CONDITIONS)
    factors = [str(name) for name in conditions.columns if name != "condition"]
    levels = {name: conditions[name].map(level_key).nunique() for name in factors}
    varying = [name for name in factors if levels[name] > 1]
    numeric = [
        name
        for name in varying
        if pd.api.types.is_numeric_dtype(conditions[name])
        and not pd.api.types.is_bool_dtype(conditions[name])
        and conditions[name].notna().all()
    ]
    first = [name for name in ("spectral_radius", "gain") if name in numeric]
    x = first[0] if first else max(numeric, key=lambda name: levels[name], default=None)
    names: tuple[str, ...] = ()
    if x is None and len(varying) > 1:
        x = min(varying, key=lambda name: levels[name])
        names = tuple(dict.fromkeys(conditions[x].map(level_key)))
    return Layout(x, tuple(name for name in varying if name != x), names)


def level_key(value: Any) -> str:
    """Write one level of a factor (number, name or keywords, also as JSON) as a plain string."""
    if isinstance(value, (tuple, list)):
        return level_key(dict(value))
    if isinstance(value, dict):
        return ", ".join(f"{key} = {level_key(value[key])}" for key in sorted(value))
    if isinstance(value, str):
        if value.startswith("{"):
            try:
                return level_key(json.loads(value))
            except ValueError:
                return value
        return value
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else f"{value:g}"
    return "" if value is None else str(value)


def families(draws: pd.DataFrame, table: pd.DataFrame) -> dict[str, list[str]]:
    """Group the series whose every draw gave the same numbers at every level of the axis.

    Initializers that are one law once rescaled to a spectral radius share their draws (common
    random numbers), so their results agree to the last bit and count once.

    Parameters
    ----------
    draws : DataFrame
        Result table of the draws.
    table : DataFrame
        Columns ``condition``, ``series`` and ``x`` of one slice.

    Returns
    -------
    dict
        First member of each family to all of its members, in the order of `table`.

    Raises
    ------
    TypeError, ValueError
        One is no table, or lacks a column.
    """
    tables.table("draws", draws, ["condition", "draw", "rate", "horizon", "rho"], tables.DRAWS)
    tables.table("table", table, ["condition", "series", "x"], "slice_table(...)[0]")
    wanted = draws[draws["condition"].isin(table["condition"])].sort_values(["condition", "draw"])
    digests = {
        condition: hashlib.sha256(
            group["draw"].to_numpy(dtype=np.int64).tobytes()
            + group["rate"].to_numpy(dtype=np.float64).tobytes()
            + group["horizon"].to_numpy(dtype=np.int64).tobytes()
            + group["rho"].to_numpy(dtype=np.float64).tobytes()
        ).hexdigest()
        for condition, group in wanted.groupby("condition")
    }
    found: dict[tuple[tuple[str, str], ...], str] = {}
    members: dict[str, list[str]] = {}
    for series, group in table.groupby("series", sort=False):
        content = sorted(
            (str(x), digests.get(condition, ""))
            for x, condition in zip(group["x"], group["condition"], strict=True)
        )
        first = found.setdefault(tuple(content), str(series))
        members.setdefault(first, []).append(str(series))
    return members


def slice_table(
    summary: pd.DataFrame, names: Sequence[str], shape: Layout, draws: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Rows of a slice, one a family and value of the axis.

    Parameters
    ----------
    summary : DataFrame
        Rows of `summarise` that belong to the slice.
    names : sequence of str
        Name of the series of each row.
    shape : Layout
        Axis and series of the slice.
    draws : DataFrame
        Result table of the draws, which tells which series are one.

    Returns
    -------
    table : DataFrame
        Columns ``series``, ``x`` (the axis; the rank of the level where it is no quantity, nan
        without an axis) and ``x_name`` (the level where it is no quantity, else empty) besides.
        Families stand in the order of first appearance, the axis ascends within each.
    members : dict
        First member of each family to all of its members.

    Raises
    ------
    TypeError, ValueError
        One is no table or lacks a column, or there are not as many names as rows.
    """
    needed = ["condition", *([shape.x] if shape.x else [])]
    tables.table("summary", summary, needed, "summarise(...)")
    if len(names) != len(summary):
        raise ValueError(
            f"names: found {len(names)}, expected one a row of summary, {len(summary)}"
        )
    x = summary[shape.x] if shape.x else pd.Series(np.nan, index=summary.index)
    called = x.map(level_key) if shape.levels else pd.Series("", index=summary.index)
    if shape.levels:
        x = called.map(shape.levels.index)
    table = summary.assign(series=list(names), x=x.astype(float), x_name=called)
    members = families(draws, table)
    table = table[table["series"].isin(members)]
    order = {name: rank for rank, name in enumerate(members)}
    table = table.assign(_order=table["series"].map(order)).sort_values(["_order", "x"])
    return table.drop(columns="_order").reset_index(drop=True), members
