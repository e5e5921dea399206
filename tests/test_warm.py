"""Compiling in two processes: same results, and nothing that happens to the second one matters."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import pytest

import vgcore as vg
from vgcore import warm
from vgcore.study import load_study
from vgcore.study.measure import rehearsals

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0  # seconds, for a process to begin on a machine that does much else

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="nothing is compiled, so no process begins"
)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setenv("VGCORE_NUM_THREADS", "2")


def compile_one() -> None:
    numba.njit(lambda x: x + 1)(1)


def wait_for(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)


def compile_and_wait(path: Path) -> None:
    """Compile, so that a second process begins, and leave the next call to that."""
    compile_one()
    wait_for(path)


def note_process(path: Path) -> None:
    part = path.with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.replace(path)


def fault(path: Path, own: int, kind: str) -> None:
    """Do something bad, but not to the process of the test."""
    assert os.getpid() != own
    note_process(path)
    print("a call may print")
    if kind == "raise":
        raise RuntimeError(kind)
    if kind == "exit":
        os._exit(3)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)


def gone(pid: int) -> bool:
    """Whether a process has ended, or does within some seconds."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def no_process(*arguments, **keywords):
    raise AssertionError("a process was begun")


def test_a_second_process_takes_part_once_something_is_compiled(tmp_path):
    paths = [tmp_path / "first", tmp_path / "second"]
    warm.rehearse(
        [functools.partial(compile_and_wait, paths[0])]
        + [functools.partial(note_process, path) for path in paths]
    )
    assert int(paths[0].read_text()) != os.getpid()
    assert paths[1].exists()


@pytest.mark.parametrize("kind", ["raise", "exit", "kill"])
def test_what_befalls_the_second_process_is_not_fatal(tmp_path, capfd, kind):
    paths = [tmp_path / "met", tmp_path / "after"]
    warm.rehearse(
        [
            functools.partial(compile_and_wait, paths[0]),
            functools.partial(fault, paths[0], os.getpid(), kind),
            functools.partial(note_process, paths[1]),
        ]
    )
    assert paths[1].exists()
    assert capfd.readouterr() == ("", "")
    assert gone(int(paths[0].read_text()))


@pytest.mark.parametrize("ends", [True, KeyboardInterrupt()])
def test_an_interrupt_leaves_no_process_behind(tmp_path, ends):
    met = tmp_path / "met"

    def stopped() -> bool:
        if met.exists() and isinstance(ends, BaseException):
            raise ends
        return met.exists()

    calls = [
        functools.partial(compile_and_wait, met),
        functools.partial(fault, met, os.getpid(), "hang"),
    ]
    began = time.monotonic()
    if ends is True:
        warm.rehearse(calls, stopped)
    else:
        with pytest.raises(KeyboardInterrupt):
            warm.rehearse(calls, stopped)
    assert time.monotonic() - began < PATIENCE
    assert gone(int(met.read_text()))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_the_second_process_ends_with_a_first_that_is_killed(tmp_path):
    met = tmp_path / "met"
    code = f"""
import functools, os, sys
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT)!r}]
from pathlib import Path
import test_warm
from vgcore import warm
from vgcore.study import load_study
from vgcore.study.measure import rehearsals
met = Path({str(met)!r})
warm.rehearse([
    functools.partial(test_warm.compile_and_wait, met),
    functools.partial(test_warm.fault, met, os.getpid(), "hang"),
])
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    wait_for(met)
    process.kill()
    process.wait()
    assert gone(int(met.read_text()))


@pytest.mark.parametrize("reason", ["one core", "nothing left", "warm"])
def test_no_process_begins_without_need(monkeypatch, reason):
    monkeypatch.setattr(warm.subprocess, "Popen", no_process)
    failed: list[object] = []
    monkeypatch.setattr("threading.excepthook", failed.append)
    calls = [compile_one, time.perf_counter]
    if reason == "one core":
        monkeypatch.setenv("VGCORE_NUM_THREADS", "1")
    elif reason == "nothing left":
        calls = calls[:1]
    else:
        call = functools.partial(vg.spectral_radius, np.eye(3)[None])
        call()
        calls = [call, call]
    second = warm._Second(calls)
    monkeypatch.setattr(warm, "_Second", lambda calls: second)
    warm.rehearse(calls)
    assert second._thread.ident is None
    assert not failed


def test_a_process_that_cannot_begin_is_done_without(monkeypatch, tmp_path):
    def fails(*arguments, **keywords):
        raise OSError("no more processes")

    monkeypatch.setattr(warm.subprocess, "Popen", fails)
    warm.rehearse([compile_one, functools.partial(note_process, tmp_path / "here")])
    assert int((tmp_path / "here").read_text()) == os.getpid()


def test_two_processes_never_give_one_name_to_two_files(monkeypatch, tmp_path):
    files = warm.IndexDataCacheFile
    monkeypatch.setattr(files, "_data_name", files._data_name)
    cache = files(str(tmp_path), "f", "stamp")
    plain = cache._data_name(1)
    warm.own_file_names()
    assert cache._data_name(1) not in (plain, cache._data_name(2))
    cache.save("key", [1])
    assert cache.load("key") == [1]


# No guard of __main__: what begins a process must not run the script anew.
SCRIPT = """
import sys, threading
import numba.core.event as event
import vgcore as vg

class Heard(event.Listener):
    def on_start(self, event):
        compiled.append(threading.current_thread().name)
    def on_end(self, event):
        pass

compiled = []
event.register("numba:compile", Heard())
vg.run_study(sys.argv[1], sys.argv[2], n_workers=2, progress=False)
print(len(compiled), sum(name.startswith("thread") for name in compiled))
"""
STUDY = """
name = "cold"
n_draws = 12
[defaults]
cell = "gru"
init = "torch"
spectral_radius = "as_drawn"
n_hidden = 16
n_steps = 20
burn_in = 4
[[slice]]
name = "one"
[slice.grid]
n_inputs = [4, 8]
"""


def test_a_cold_start_gives_the_files_of_a_warm_one(tmp_path):
    script, study, cache = tmp_path / "script.py", tmp_path / "study.toml", tmp_path / "cache"
    script.write_text(SCRIPT)
    study.write_text(STUDY)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    heard, names = [], []
    for run in ("cold", "warm"):
        done = subprocess.run(
            [sys.executable, str(script), str(study), str(tmp_path / run)],
            env=environment, capture_output=True, text=True, check=True, timeout=600,
        )  # fmt: skip
        assert done.stderr == ""
        heard.append([int(number) for number in done.stdout.split()])
        names.append({path.name for path in cache.rglob("*.nbc")})
    (cold, late), again = heard
    assert cold > 0
    assert late == 0  # all that the study calls was rehearsed
    assert again == [0, 0]
    assert any(name.split("-")[0].isdigit() for name in names[0])  # from the second process
    assert names[0] == names[1]
    here = vg.run_study(study, tmp_path / "here", n_workers=1, progress=False)
    for run in ("cold", "warm"):
        found = vg.load_results(tmp_path / run)
        pd.testing.assert_frame_equal(found.draws, here.draws, check_exact=True)
        pd.testing.assert_frame_equal(found.profiles, here.profiles, check_exact=True)


def test_a_finished_study_has_nothing_to_rehearse():
    assert rehearsals([], load_study("smoke").measure) == []
