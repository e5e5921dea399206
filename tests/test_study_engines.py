"""Running a study: independence of threads, bounded memory, interrupts, errors."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from naive import fake_measure

from vgcore.errors import StudyInterrupted
from vgcore.study import engines, plan
from vgcore.study.config import Study
from vgcore.study.engines import run_study

STUDY = Study.from_dict(
    {
        "name": "small",
        "n_draws": 64,
        "defaults": {"n_hidden": 8, "n_steps": 20},
        "slice": [{"name": "one", "grid": {"spectral_radius": [0.8, 0.9, 1.0, 1.1]}}],
    }
)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(plan, "CHUNK_FLOP", 16 * plan.draw_flop(STUDY.defaults))


@pytest.fixture(autouse=True)
def default_interrupt(monkeypatch):
    """Started in the background by a shell, the tests would inherit an ignored Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(folder, measure=fake_measure, **options):
    return run_study(STUDY, folder, **{"measure": measure, "progress": False, **options})


def test_results_do_not_depend_on_the_number_of_workers_or_their_order(tmp_path):
    def shuffled(condition, settings, seed, start, stop):
        time.sleep(0.02 * (start // 16 % 2))
        return fake_measure(condition, settings, seed, start, stop)

    one = run(tmp_path / "one", n_workers=1)
    for n_workers in (2, 5):
        many = run(tmp_path / str(n_workers), shuffled, n_workers=n_workers)
        pd.testing.assert_frame_equal(one.draws, many.draws, check_exact=True)
        pd.testing.assert_frame_equal(one.profiles, many.profiles, check_exact=True)


def test_a_study_may_be_named_by_its_file(tmp_path):
    (tmp_path / "mine.toml").write_text(STUDY.to_toml())
    found = run_study(tmp_path / "mine.toml", tmp_path / "out", measure=fake_measure)
    assert found.study == STUDY


def test_measuring_runs_at_most_two_chunks_a_worker_ahead_of_the_store(tmp_path, monkeypatch):
    measured, stored = [], []
    write = engines.Store.accept

    def measure(*arguments):
        measured.append(1)
        return fake_measure(*arguments)

    def slow_write(store, delivery):
        time.sleep(0.02)
        assert len(measured) - len(stored) <= 4
        write(store, delivery)
        stored.append(delivery.part["chunk"])

    monkeypatch.setattr(engines.Store, "accept", slow_write)
    run(tmp_path, measure, n_workers=2)
    assert len(stored) == 16


def test_error_in_a_draw_names_the_condition_and_keeps_the_rest(tmp_path):
    def measure(condition, settings, seed, start, stop):
        if condition.spectral_radius == 1.0:
            raise ValueError("bad draw")
        return fake_measure(condition, settings, seed, start, stop)

    with pytest.raises(ValueError, match="bad draw") as error:
        run(tmp_path, measure, n_workers=1)
    assert "condition 2, draws 0 to 15" in error.value.__notes__[0]
    calls = []

    def rest(condition, *arguments):
        calls.append(condition.spectral_radius)
        return fake_measure(condition, *arguments)

    assert run(tmp_path, rest).complete
    assert set(calls) == {1.0, 1.1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "locl"}, "did you mean 'local'"),
        ({"n_workers": 0}, "n_workers: found 0"),
        ({"n_workers": 10**6}, "n_workers: found 1000000"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_interrupt_stores_what_is_running_and_a_later_run_goes_on(tmp_path):
    begun = []

    def measure(*arguments):
        begun.append(1)
        if len(begun) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
        return fake_measure(*arguments)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(StudyInterrupted, match="goes on from there") as stop:
        run(tmp_path / "out", measure, n_workers=2)
    assert signal.getsignal(signal.SIGINT) is before
    assert stop.value.parts_done == len(begun) < stop.value.parts_total == 16
    n_begun = len(begun)
    found = run(tmp_path / "out", measure)
    assert len(begun) == 16
    assert n_begun < 16
    expected = run(tmp_path / "expected")
    pd.testing.assert_frame_equal(found.draws, expected.draws, check_exact=True)


def test_interrupt_during_the_last_chunk_loses_nothing(tmp_path):
    def measure(condition, settings, seed, start, stop):
        if (condition.spectral_radius, start) == (1.1, 48):
            os.kill(os.getpid(), signal.SIGINT)
        return fake_measure(condition, settings, seed, start, stop)

    assert run(tmp_path, measure, n_workers=1).complete


def test_second_interrupt_drops_what_is_running(tmp_path):
    release = threading.Event()

    def measure(*arguments):
        release.wait(20)
        return fake_measure(*arguments)

    def interrupt_twice():
        for _ in range(2):
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt_twice)
    sender.start()
    with pytest.raises(KeyboardInterrupt) as stop:
        run(tmp_path, measure, n_workers=2)
    assert not isinstance(stop.value, StudyInterrupted)
    release.set()
    sender.join()
    assert run(tmp_path).complete


def test_runs_outside_the_main_thread(tmp_path):
    found = []
    worker = threading.Thread(target=lambda: found.append(run(tmp_path)))
    worker.start()
    worker.join()
    assert found[0].complete


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_shows_on_a_terminal_only(tmp_path, monkeypatch, capsys):
    run(tmp_path / "pipe", progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    run(tmp_path / "off", progress=False)
    assert sys.stderr.getvalue() == ""
    run(tmp_path / "on", progress=True)
    assert "4/4 conditions" in sys.stderr.getvalue()
    assert "256/256 draws" in sys.stderr.getvalue()


MEMORY = """
import resource, sys
sys.path[:0] = {path!r}
import numpy as np
from naive import fake_measure
from vgcore.study import plan
from vgcore.study.config import Study
from vgcore.study.engines import run_study
plan.CHUNK_FLOP = 16 * plan.draw_flop(Study.from_dict({study!r}).defaults)
def measure(condition, settings, seed, start, stop):
    draws, profiles = fake_measure(condition, settings, seed, start, start + 1)
    repeated = lambda columns, n: {{k: np.repeat(v, n) for k, v in columns.items()}}
    return repeated(draws, stop - start), repeated(profiles, 20_000)
def peak(n_draws, folder):
    study = Study.from_dict({{**{study!r}, "n_draws": n_draws}})
    run_study(study, folder, measure=measure, n_workers=2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
first = peak(64, {folder!r} + "/a")
print(peak(640, {folder!r} + "/b") / first)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in the same process")
def test_memory_stays_flat_as_draws_grow_tenfold(tmp_path):
    here = Path(__file__).parent
    path = [str(here), str(here.parent)]
    script = MEMORY.format(path=path, study=STUDY.resolved(), folder=str(tmp_path))
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert float(ended.stdout) < 1.1
