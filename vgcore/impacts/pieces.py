"""The pieces of an experiment: each is kept as it is done, and a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from vgcore.errors import StoreError
from vgcore.impacts.table import Impact
from vgcore.study.files import read_whole, write_whole

_MOST_BYTES = 1 << 26  # of one piece


@dataclass(frozen=True)
class Experiment:
    """Tables to be measured, by name, and what they make one below the other."""

    jobs: Mapping[str, Callable[[], pd.DataFrame]]
    finish: Callable[[pd.DataFrame], dict[str, Impact]]

    def measure(self) -> dict[str, Impact]:
        """Do it all, and keep nothing."""
        return self.finish(pd.concat([job() for job in self.jobs.values()], ignore_index=True))


def kept(folder: Path, address: object, job: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table of a job: read where a run of this address has left it whole, else measured.

    `address` is all that the table depends on; its repr names the file.
    """
    path = folder / f"{hashlib.sha256(repr(address).encode()).hexdigest()[:32]}.parquet"
    found = _read(path)
    if found is None:
        data = io.BytesIO()
        job().to_parquet(data, index=False, write_page_checksum=True)
        write_whole(path, data.getvalue())
        found = _read(path)  # the same bits whether measured now or before
        assert found is not None
    return found


def _read(path: Path) -> pd.DataFrame | None:
    """The table in a file; None where there is none or it is damaged."""
    try:
        data = io.BytesIO(read_whole(path, _MOST_BYTES))
        return pd.read_parquet(data, page_checksum_verification=True)
    except (StoreError, OSError, pa.ArrowException):
        return None
