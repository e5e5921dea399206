"""Runs of a tiny study in forked children that die or meet errors; started by a test.

A process of its own, with one thread, may fork: `python faults.py FOLDER` prints one JSON line.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
import types
import warnings
from pathlib import Path

from vgcore.errors import StoreError
from vgcore.study import plan, store
from vgcore.study.config import Study
from vgcore.study.engines import run_study
from vgcore.study.measure import measure

STUDY = Study.from_dict(
    {
        "name": "tiny",
        "n_draws": 24,
        "defaults": {"n_hidden": 4, "n_steps": 10, "burn_in": 0},
        "slice": [{"name": "one", "grid": {"spectral_radius": [0.9, 1.1]}}],
    }
)
CALLS = ("open", "write", "fsync", "replace", "mkdir", "ftruncate", "unlink")
N_INSTANTS = 50


def run(folder):
    return run_study(STUDY, folder, n_workers=1, progress=False, command="test")


def fault_at(n, deed):
    """Have the n-th call that changes the disk fail; return a counter of the calls."""
    counter = itertools.count()

    def wrapped(original):
        def call(*arguments, **options):
            reading = original is opened and not arguments[1] & (os.O_WRONLY | os.O_RDWR)
            if not reading and next(counter) == n:
                if deed == "error":
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if deed == "half" and original is written:
                    written(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os._exit(9)
            return original(*arguments, **options)

        return call

    opened, written = os.open, os.write
    for name in CALLS:
        setattr(os, name, wrapped(getattr(os, name)))
    return counter


def forked(work):
    """Call work() in a child; its process id."""
    child = os.fork()
    if child:
        return child
    try:
        signal.alarm(30)  # a hang is a failure too
        with contextlib.suppress(StoreError):
            work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def tables(folder):
    """The final tables, after a next run, to the bit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = run(folder)
    assert found.complete
    left = [path.name for path in Path(folder).rglob("*") if path.name.startswith(".")]
    assert not left, left
    frames = (found.draws, found.profiles)
    return [frame.to_csv(float_format="%a", index=False) for frame in frames]


def at_each_write(folder, expected):
    """Faults at every call of an undisturbed run: an error; a kill before it, or within a write."""

    def undisturbed():
        calls = fault_at(-1, "none")
        run(folder / "count")
        (folder / "calls").write_text(str(next(calls)))

    os.waitpid(forked(undisturbed), 0)
    n_calls = int((folder / "calls").read_text())
    ended = {"error": 0, "half": 0}
    for deed, n in itertools.product(ended, range(n_calls)):
        out = folder / "out"

        def disturbed(deed=deed, n=n, out=out):
            fault_at(n, deed)
            run(out)

        _, status = os.waitpid(forked(disturbed), 0)
        code = os.waitstatus_to_exitcode(status)
        assert code == (0 if deed == "error" else 9), (deed, n, code)
        ended[deed] += 1
        assert tables(out) == expected, (deed, n)
        shutil.rmtree(out)
    return {"calls": n_calls, **ended}


def at_random_instants(folder, expected):
    """Kill at instants spread over a run and a little beyond; several times in one folder."""
    rng = random.Random(1)
    begun = time.monotonic()
    os.waitpid(forked(lambda: run(folder / "timed")), 0)
    length = time.monotonic() - begun
    killed = 0
    for i in range(N_INSTANTS):
        out = folder / "killed"
        child = forked(lambda out=out: run(out))
        time.sleep(rng.uniform(0, 1.1 * length))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        if i % 2:  # every other folder meets two kills
            assert tables(out) == expected, i
            shutil.rmtree(out)
    return {"killed": killed}


def main(folder):
    plan.CHUNK_FLOP = 16 * plan.draw_flop(STUDY.defaults)
    store.git_commit = lambda: None  # a process of its own, which is not what is tried here
    store._MANIFEST_SECONDS = 0.0  # a manifest after every part, however long one takes
    store.time = types.SimpleNamespace(monotonic=lambda: 0.0)
    measure(STUDY.defaults, STUDY.measure, 0, 0, 1)  # compiled once, for all children
    expected = tables(folder / "expected")
    found = {
        "parts": len(plan.chunks(STUDY)),
        **at_each_write(folder, expected),
        **at_random_instants(folder, expected),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
