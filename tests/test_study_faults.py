"""Studies that are killed, starved or refused at any instant end with the same tables."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

import vgcore as vg
from vgcore.errors import StoreError, StoreWarning, WorkerError
from vgcore.study import merge, plan, verify
from vgcore.study.config import Study
from vgcore.study.store import Store

STUDY = Study.from_dict(
    {
        "name": "small",
        "n_draws": 48,
        "defaults": {"n_hidden": 8, "n_steps": 20, "burn_in": 0},
        "slice": [{"name": "one", "grid": {"spectral_radius": [0.8, 0.9, 1.0, 1.1]}}],
    }
)
posix = pytest.mark.skipif(os.name != "posix", reason="fork and signals")


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "CHUNK_FLOP", 16 * plan.draw_flop(STUDY.defaults))
        yield


def run(folder, **options):
    return vg.run_study(STUDY, folder, progress=False, **options)


@pytest.fixture(scope="module")
def expected(small_chunks, tmp_path_factory):
    return run(tmp_path_factory.mktemp("expected"))


def assert_equal(found, expected):
    assert found.complete
    pd.testing.assert_frame_equal(found.draws, expected.draws, check_exact=True)
    pd.testing.assert_frame_equal(found.profiles, expected.profiles, check_exact=True)


@posix
def test_a_fault_at_each_write_and_a_kill_at_any_instant_cost_no_bit(tmp_path):
    script = Path(__file__).with_name("faults.py")
    environment = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["parts"] >= 3
    assert found["killed"] >= 10  # the others had ended by then
    assert found["error"] == found["half"] == found["calls"] > 50


def test_a_lock_names_its_holder_and_a_crash_leaves_none(tmp_path, expected):
    pytest.importorskip("fcntl")
    (tmp_path / ".lock").write_text('{"pid": 1, "host": "elsewhere", "since": "yesterday"}')
    with (
        Store(tmp_path, STUDY, plan.chunks(STUDY), n_workers=1),
        pytest.raises(StoreError, match=rf"process {os.getpid()} on .*, since 2.*; wait"),
    ):
        run(tmp_path)
    assert not (tmp_path / ".lock").exists()
    assert_equal(run(tmp_path), expected)


def test_where_files_cannot_be_locked_the_process_in_the_lock_is_looked_up(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def unsupported(*arguments):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lock = {"pid": gone.pid, "host": socket.gethostname(), "since": "yesterday"}
    (tmp_path / ".lock").write_text(json.dumps(lock))
    with (
        Store(tmp_path, STUDY, plan.chunks(STUDY), n_workers=1),
        pytest.raises(StoreError, match="remove the file"),
    ):
        run(tmp_path)
    (tmp_path / ".lock").write_text(json.dumps({**lock, "host": "elsewhere"}))
    with pytest.raises(StoreError, match=r"on elsewhere.*remove the file"):
        run(tmp_path)


@posix
def test_links_are_neither_followed_nor_written_through(tmp_path, expected):
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (out / "draws").symlink_to(outside)
    with pytest.raises(StoreError, match="in the way"):
        run(out)
    (out / "draws").unlink()
    run(out)
    part = out / "draws" / "part-00001.parquet"
    part.rename(outside / "part")
    part.symlink_to(outside / "part")
    assert [f.state for f in verify(out)].count("damaged") == 1
    before = (outside / "part").read_bytes()
    with pytest.warns(StoreWarning, match="symbolic link"):
        assert_equal(run(out), expected)
    assert (outside / "part").read_bytes() == before
    part.unlink()
    os.mkfifo(part)  # reading it would wait for ever
    with pytest.warns(StoreWarning, match="not a file"):
        assert_equal(run(out), expected)


def test_a_truncated_manifest_is_made_again_from_the_parts(tmp_path, expected):
    run(tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-50])
    with pytest.warns(StoreWarning, match="again from the parts"):
        assert_equal(run(tmp_path), expected)
    assert (tmp_path / "manifest.json.damaged").exists()


def test_verify_says_what_each_part_is(tmp_path):
    run(tmp_path, shard="1/2")
    measured = plan.share(plan.chunks(STUDY), 1, 2)
    states = {f.part: f.state for f in verify(tmp_path)}
    assert {i for i, state in states.items() if state == "ok"} == set(measured)
    assert set(states.values()) == {"ok", "missing"}
    path = tmp_path / "profiles" / f"part-{measured[0]:05d}.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (bad,) = [f for f in verify(tmp_path) if f.state == "damaged"]
    assert bad.part == measured[0]
    assert "checksum" in bad.text


def test_shards_share_the_work_and_merge_to_the_whole(tmp_path, expected):
    for i in (1, 2, 3):
        run(tmp_path / str(i), shard=(i, 3))
    shares = [set(plan.share(plan.chunks(STUDY), i, 3)) for i in (1, 2, 3)]
    assert sum(map(len, shares)) == len(set.union(*shares)) == len(plan.chunks(STUDY))
    assert not merge([tmp_path / "1", tmp_path / "3"], tmp_path / "whole").complete
    assert_equal(merge([tmp_path / "2"], tmp_path / "whole"), expected)
    with pytest.raises(ValueError, match="3/8"):
        run(tmp_path / "x", shard="0/3")


@posix
def test_a_killed_worker_process_costs_its_chunk_only(tmp_path, expected):
    import multiprocessing

    victims = []

    def kill_one():
        while not victims:
            for child in multiprocessing.active_children():
                if any((tmp_path / "draws").glob("part-*")):
                    os.kill(child.pid, signal.SIGKILL)
                    victims.append(child.pid)
                    break
            time.sleep(0.001)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    assert_equal(run(tmp_path, engine="process", n_workers=2), expected)
    killer.join(10)
    assert victims


def die(*arguments):
    os._exit(3)


def test_a_chunk_that_kills_its_workers_is_named(tmp_path):
    with pytest.raises(WorkerError, match="chunk 0: 3 worker processes died"):
        run(tmp_path, engine="process", n_workers=1, measure=die)


def test_dask_workers_write_where_they_see_the_folder_and_send_back_elsewhere(
    tmp_path, expected, monkeypatch
):
    distributed = pytest.importorskip("distributed")
    options = {"processes": False, "dashboard_address": None, "threads_per_worker": 2}
    with (
        distributed.LocalCluster(n_workers=2, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert_equal(run(tmp_path / "shared", engine="dask", client=client), expected)
        address = cluster.scheduler_address
        from vgcore.study import worker

        monkeypatch.setattr(worker, "read_lock", lambda folder: {})
        assert_equal(run(tmp_path / "apart", engine="dask", scheduler=address), expected)
