"""What a result depends on beside its study: versions, processor, threads, source commit."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from vgcore import checks
from vgcore._version import __version__

THREADING_LAYER = "python threads, GIL released"
THREADS_VARIABLE = "VGCORE_NUM_THREADS"


def thread_count(n_threads: int | None = None) -> int:
    """Return the number of threads to use; None means one for each CPU this process may use.

    The environment variable VGCORE_NUM_THREADS replaces that default.
    """
    if n_threads is not None:
        return checks.integer("n_threads", n_threads, least=1)
    wanted = os.environ.get(THREADS_VARIABLE, "").strip()
    if wanted:
        if not wanted.isdecimal():
            raise ValueError(
                f"environment variable {THREADS_VARIABLE}: found {wanted!r}, expected an integer "
                "of at least 1; set it to one or unset it"
            )
        return checks.integer(f"environment variable {THREADS_VARIABLE}", int(wanted), least=1)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of Python, of vgcore and of the libraries that numbers depend on."""
    found = {"python": platform.python_version(), "vgcore": __version__}
    for name in ("numpy", "numba", "scipy", "pandas", "pyarrow"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def processor() -> str:
    """Name of the processor, as well as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """Commit of the vgcore source tree, with "-dirty" where it was changed; None if installed."""
    tree = Path(__file__).resolve().parents[1]
    if not (tree / ".git").exists():  # an installed package may lie within somebody else's tree
        return None
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    command = ["git", "-C", str(tree), *describe]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def describe() -> dict[str, str | int | None]:
    """All of it, as `vgcore env` prints it."""
    return {
        **versions(),
        "cpu": processor(),
        "system": platform.platform(),
        "threads": thread_count(),
        "threading_layer": THREADING_LAYER,
        "compile_cache": os.environ.get("NUMBA_CACHE_DIR") or "beside the installed modules",
        "git_commit": git_commit(),
    }
