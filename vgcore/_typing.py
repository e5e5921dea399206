"""Array types of the code base; shapes are stated in the docstrings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Numbers = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
