"""Which machine a timing belongs to, and what was installed on it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Mapping
from typing import Any

from vgcore.environment import THREADING_LAYER, processor, thread_count, versions
from vgcore.kernels.caches import cache_sizes

# Makes OpenBLAS use the kernels of another processor than the one it finds.
_CHOSEN_KERNELS = "OPENBLAS_CORETYPE"


def machine() -> dict[str, Any]:
    """What must be equal for two timings to be compared.

    Examples
    --------
    >>> sorted(machine())
    ['architecture', 'caches', 'cores', 'cpu', 'system', 'threads']
    """
    return {
        "cpu": processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "caches": cache_sizes(),
        "system": platform.system(),
        "threads": thread_count(),
    }


def software() -> dict[str, str]:
    """Versions, BLAS and threading layer: what may differ, and explains a difference."""
    found = versions()
    for name in ("torch", "jax", "llvmlite"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    found |= {"blas": blas(), "threading_layer": THREADING_LAYER}
    chosen = os.environ.get(_CHOSEN_KERNELS)
    return found | ({_CHOSEN_KERNELS: chosen} if chosen else {})


def blas_warning(software: Mapping[str, str]) -> str | None:
    """What makes NumPy slower than it has to be, if anything."""
    chosen = software.get(_CHOSEN_KERNELS)
    if chosen is None:
        return None
    return f"{_CHOSEN_KERNELS}={chosen} is set: NumPy may be slower than it would be without"


def blas() -> str:
    """The BLAS that NumPy was built with, its kernels and its threads where they can be told."""
    import numpy as np

    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    text = f"{built['name']} {built['version']}"
    if importlib.util.find_spec("threadpoolctl") is None:
        return text
    import threadpoolctl

    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    if not pools:
        return text
    kernels = f" for {pools[0]['architecture']}" if "architecture" in pools[0] else ""
    return f"{text}{kernels}, {pools[0]['num_threads']} threads"
