"""What a report knows of one slice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from vgcore.report.words import factor_label
from vgcore.stats import Estimate, Layout


@dataclass(frozen=True)
class Part:
    """What a report knows of one slice.

    Attributes
    ----------
    name, title : str
    table : DataFrame
        Rows of `vgcore.stats.slice_table`.
    members : mapping
        First series of each family to all of its series.
    shape : Layout
        Which factor is the axis, which ones name the series.
    fixed : mapping
        Factors that do not vary in the slice.
    reference : float or None
        Value of the axis at which the series are compared.
    critical : mapping
        Series to the axis value where its median rate is zero (nan: none).
    shifts : mapping
        Series to its paired shift of the rate from the first series, with the number of pairs.
    eps : float
        Level of the memory horizon.
    """

    name: str
    title: str
    table: pd.DataFrame
    members: Mapping[str, list[str]]
    shape: Layout
    fixed: Mapping[str, Any]
    reference: float | None
    critical: Mapping[str, Estimate] = field(default_factory=dict)
    shifts: Mapping[str, tuple[Estimate, int]] = field(default_factory=dict)
    eps: float = 1e-3

    @property
    def x_label(self) -> str:
        """Name of the axis in words."""
        return factor_label(self.shape.x) if self.shape.x else ""

    @property
    def names(self) -> list[str]:
        """First series of each family, in order."""
        return list(self.members)

    def at(self, x: float) -> str:
        """Write a value of the axis: `0.9`, or the name of a level."""
        return self.shape.levels[int(x)] if self.shape.levels else f"{x:g}"

    @property
    def where(self) -> str:
        """Where the series are compared: `at spectral radius 0.9`; empty without an axis."""
        if self.reference is None:
            return ""
        return f"at {self.x_label} {self.at(self.reference)}"

    def rows(self, series: str) -> pd.DataFrame:
        """Rows of one series, the axis ascending."""
        return self.table[self.table["series"] == series]

    def at_reference(self) -> pd.DataFrame:
        """One row a series, at the value where they are compared."""
        if self.reference is None:
            return self.table
        return self.table[self.table["x"] == self.reference]


def events_level(part: Part) -> float | None:
    """Value of the axis where vanishing and exploding compete most; nan where they never do."""
    rows = part.table.drop_duplicates(["series", "x"])
    contest = rows[["n_vanish", "n_explode"]].min(axis=1)
    if contest.max() == 0:
        return math.nan
    if part.reference is None:
        return None
    sums = contest.groupby(rows["x"]).sum()
    return float(sums.index[int(sums.argmax())])
