"""Which machine a timing belongs to, and what was installed on it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from typing import Any

from vgcore.bench.limits import cache_sizes
from vgcore.environment import THREADING_LAYER, processor, thread_count, versions


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
    return found | {"blas": blas(), "threading_layer": THREADING_LAYER}


def blas() -> str:
    """The BLAS that NumPy was built with, and how many threads it uses where that can be told."""
    import numpy as np

    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    text = f"{built['name']} {built['version']}"
    if importlib.util.find_spec("threadpoolctl") is None:
        return text
    import threadpoolctl

    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return f"{text}, {pools[0]['num_threads']} threads" if pools else text
