"""All jitted code, and where its compiled form is kept."""

from __future__ import annotations

import os
import tempfile
import warnings

from numba import config, njit


def _probe() -> None:
    """A function to ask Numba with whether it finds a folder for its cache."""


try:
    njit(cache=True)(_probe)
except RuntimeError:  # the package and the home folder are both read-only, as in some containers
    config.CACHE_DIR = tempfile.mkdtemp(prefix="vgcore-")  # type: ignore[attr-defined]
    warnings.warn(
        "no folder to keep compiled kernels in can be written, so they are compiled anew in every "
        "process; set NUMBA_CACHE_DIR to a folder of yours",
        stacklevel=2,
    )
else:
    if config.CACHE_DIR:  # type: ignore[attr-defined]
        try:
            os.makedirs(config.CACHE_DIR, exist_ok=True)  # type: ignore[attr-defined]
            tempfile.TemporaryFile(dir=config.CACHE_DIR).close()  # type: ignore[attr-defined]
        except OSError:
            warnings.warn(
                f"NUMBA_CACHE_DIR: {config.CACHE_DIR!r} cannot be "  # type: ignore[attr-defined]
                "written; compiled kernels are kept elsewhere. Set it to a folder of yours",
                stacklevel=2,
            )
