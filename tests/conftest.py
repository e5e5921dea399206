"""Test settings: a compile cache that knows the kernels' sources, and hypothesis profiles."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """Name the compile cache by a digest of the sources.

    Numba's cache does not see an edit in another module than the cached function's own.
    """
    digest = hashlib.sha256()
    for source in sorted((ROOT / "vgcore").rglob("*.py")):
        digest.update(source.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"vgcore-cache-{digest.hexdigest()[:16]}"
    os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))

    from hypothesis import settings

    # compiling in the first example would break any deadline
    settings.register_profile("vgcore", deadline=None, max_examples=25, derandomize=True)
    settings.load_profile("vgcore")
