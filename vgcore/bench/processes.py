"""Benchmarks that need their own processes: starting, memory, a whole study, another checkout."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vgcore.bench import child
from vgcore.bench.compare import Change, paired
from vgcore.bench.operations import table
from vgcore.errors import StoreError

CHILD = Path(child.__file__).resolve()
HERE = CHILD.parents[2]


def starts(repeats: int = 3) -> dict[str, Any]:
    """Seconds to import, to the first profile and through the atlas's kernels, cold and warm.

    Cold is with an empty folder of compiled kernels; the seconds are those of the whole process.
    """
    found: dict[str, Any] = {"import": [run("start")["import"] for _ in range(repeats)]}
    return found | {task: start(task, repeats) for task in ("profile", "atlas")}


def start(task: str, repeats: int) -> dict[str, Any]:
    """Seconds of a process that runs a task, cold once and then warm."""
    with tempfile.TemporaryDirectory(prefix="vgcore-") as cache:
        cold, *warm = (_whole(task, NUMBA_CACHE_DIR=cache) for _ in range(1 + repeats))
    return {"cold": cold, "warm": warm}


def study(n_draws: int) -> dict[str, Any]:
    """Time and peak memory of a study of small networks, with some number of draws."""
    return run("study", str(n_draws))


def stages(n_draws: int = 16) -> dict[str, Any]:
    """Where the threads of an atlas with few draws spend their time."""
    return run("stages", str(n_draws))


def run(task: str, *arguments: str, **environment: str) -> dict[str, Any]:
    """Run a task of `vgcore.bench.child` on this checkout and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-P", str(CHILD), task, *arguments],
        capture_output=True,
        text=True,
        env=_environment(HERE, **environment),
    )
    if done.returncode:
        raise StoreError(_failed(f"benchmark process {task!r}", done.stderr))
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def against(
    checkout: Path, size: str, only: str | None, rounds: int, say: Callable[[str], None]
) -> tuple[list[Change], list[str]]:
    """Compare this checkout with another, their processes timed in turns.

    Parameters
    ----------
    checkout
        Folder that holds the other's `vgcore` package.
    size, only, rounds, say
        As in `vgcore.bench.suite.measure`.

    Returns
    -------
    changes : list of Change
    absent : list of str
        What one of the two cannot run, and why.

    Raises
    ------
    StoreError
        `checkout` holds no vgcore, or a process of it ends early.
    """
    checkout = checkout.resolve()
    if not (checkout / "vgcore" / "__init__.py").exists():
        raise StoreError(f"{checkout}: holds no vgcore package; give the folder of a checkout")
    changes, absent = [], []
    with _worker(HERE, size, only) as here, _worker(checkout, size, only) as there:
        for operation, case in table(size, only):
            key = f"{operation.name} {case}"
            say(key)
            faults = [ask(None) for ask in (here, there)]
            if any(faults):
                for ask, fault in zip((here, there), faults, strict=True):
                    if not fault:
                        ask("next", answered=False)
                absent.append(f"{key}: {next(fault for fault in faults if fault)}")
                continue
            now: list[float] = []
            before: list[float] = []
            for turn in range(rounds):
                pair = [(here, now), (there, before)]
                for ask, times in pair if turn % 2 else pair[::-1]:
                    times.append(float(ask("go")))
            for ask in (here, there):
                ask("next", answered=False)
            changes.append(paired(key, now, before))
    return changes, absent


@contextmanager
def _worker(checkout: Path, size: str, only: str | None) -> Iterator[Callable[..., Any]]:
    """A process that times a checkout; called with a line to send (or None), returns its answer."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-P", str(CHILD), "worker", size, only or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=_environment(checkout, NUMBA_CACHE_DIR=_cache(checkout)),
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        sends, answers = process.stdin, process.stdout

        def ask(line: str | None, answered: bool = True) -> Any:
            if line is not None:
                sends.write(line + "\n")
                sends.flush()
            if not answered:
                return None
            answer = answers.readline()
            if not answer:
                errors.seek(0)
                raise StoreError(_failed(f"{checkout}: its process", errors.read()))
            return json.loads(answer)

        try:
            yield ask
        finally:
            process.kill()


def _whole(task: str, **environment: str) -> float:
    """Seconds of a whole process."""
    began = time.perf_counter()
    run(task, **environment)
    return time.perf_counter() - began


def _environment(checkout: Path, **more: str) -> dict[str, str]:
    path = filter(None, [str(checkout), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **more}


def _cache(checkout: Path) -> str:
    """A folder of compiled kernels for these very sources: Numba does not see every edit."""
    digest = hashlib.sha256(str(checkout).encode())
    for source in sorted((checkout / "vgcore").rglob("*.py")):
        digest.update(source.read_bytes())
    return str(Path(tempfile.gettempdir()) / f"vgcore-cache-{digest.hexdigest()[:16]}")


def _failed(what: str, errors: str) -> str:
    """What went wrong in a process, from the end of what it printed."""
    last = errors.strip().splitlines()[-1:] or ["no message"]
    return f"{what} failed: {last[0]}"
