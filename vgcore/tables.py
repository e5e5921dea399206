"""Tidy tables: results as one, and checks of those that are handed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vgcore._typing import Array

if TYPE_CHECKING:
    import pandas as pd


# where the tables of a study come from
CONDITIONS = "load_results(...).conditions"
DRAWS = "load_results(...).draws"
PROFILES = "load_results(...).profiles"


def tidy(axes: Sequence[str], **columns: Array) -> pd.DataFrame:
    """A row for each entry of the columns, arrays of one shape: its index along each axis first."""
    import pandas as pd

    shape = next(iter(columns.values())).shape
    index = dict(zip(axes, np.indices(shape, dtype=np.int32), strict=True))
    return pd.DataFrame({name: array.ravel() for name, array in (index | columns).items()})


def table(argument: str, value: object, columns: Sequence[str], source: str) -> pd.DataFrame:
    """Return `value` if it is a table with these columns; `source` says where to get one."""
    import pandas as pd

    expected = f"a pandas DataFrame with columns {', '.join(columns)}"
    if not isinstance(value, pd.DataFrame):
        raise TypeError(
            f"{argument}: found {type(value).__name__}, expected {expected}; take {source}"
        )
    missing = [name for name in columns if name not in value.columns]
    if missing:
        held = ", ".join(map(str, value.columns)) or "none"
        fix = f"take {source}, or rename yours"
        if set(missing) <= set(value.index.names):
            fix = "they are in the index: call reset_index()"
        raise ValueError(
            f"{argument}: found no {', '.join(missing)} among its columns ({held}), expected "
            f"{expected}; {fix}"
        )
    return value


def wide(argument: str, long: pd.DataFrame, columns: str, values: str) -> pd.DataFrame:
    """A row a draw and a column for each level of `columns`, from rows that are one of each."""
    keys = ["draw", columns]
    if long.duplicated(keys).any():
        raise ValueError(
            f"{argument}: found rows with equal {' and '.join(keys)}, expected one row each; "
            "choose one trajectory, or average them first"
        )
    return long.pivot(index="draw", columns=columns, values=values)
