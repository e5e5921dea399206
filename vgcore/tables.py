"""Results as tidy tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vgcore._typing import Array

if TYPE_CHECKING:
    import pandas as pd


def tidy(axes: Sequence[str], **columns: Array) -> pd.DataFrame:
    """A row for each entry of the columns, arrays of one shape: its index along each axis first."""
    import pandas as pd

    shape = next(iter(columns.values())).shape
    index = dict(zip(axes, np.indices(shape, dtype=np.int32), strict=True))
    return pd.DataFrame({name: array.ravel() for name, array in (index | columns).items()})
