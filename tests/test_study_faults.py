"""Studies that are killed, starved or refused at any instant end with the same tables."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import assert_same_tables

import vgcore as vg
from vgcore.errors import StoreError, StoreWarning, WorkerError
from vgcore.study import merge, plan, processes, verify
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
    assert_same_tables(run(tmp_path), expected)


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
        assert_same_tables(run(out), expected)
    assert (outside / "part").read_bytes() == before
    part.unlink()
    os.mkfifo(part)  # reading it would wait for ever
    with pytest.warns(StoreWarning, match="not a file"):
        assert_same_tables(run(out), expected)


@posix
def test_a_report_writes_through_no_link(tmp_path, expected):
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    names = ("report.html", "report.md", "summary.csv")
    for name in names:
        (outside / name).write_text("mine")
        (out / name).symlink_to(outside / name)
    (out / "figures").symlink_to(outside)
    with pytest.raises(StoreError, match="in the way"):
        vg.write_report(expected, out)
    (out / "figures").unlink()
    vg.write_report(expected, out)
    assert {path.read_text() for path in outside.iterdir()} == {"mine"}
    assert not any((out / name).is_symlink() for name in names)


def test_a_truncated_manifest_is_made_again_from_the_parts(tmp_path, expected):
    run(tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-50])
    with pytest.warns(StoreWarning, match="again from the parts"):
        assert_same_tables(run(tmp_path), expected)
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
    assert_same_tables(merge([tmp_path / "2"], tmp_path / "whole"), expected)
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
    assert_same_tables(run(tmp_path, engine="process", n_workers=2), expected)
    killer.join(10)
    assert victims


def die(*arguments):
    os._exit(3)


def test_a_chunk_that_kills_its_workers_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "ATTEMPTS", 2)
    with pytest.raises(WorkerError, match="chunk 0: 2 worker processes died"):
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
        assert_same_tables(run(tmp_path / "shared", engine="dask", client=client), expected)
        address = cluster.scheduler_address
        from vgcore.study import worker

        monkeypatch.setattr(worker, "read_lock", lambda folder: {})
        assert_same_tables(run(tmp_path / "apart", engine="dask", scheduler=address), expected)


@posix
def test_a_murdered_dask_worker_costs_its_chunk_only(tmp_path):
    distributed = pytest.importorskip("distributed")
    study = STUDY.model_copy(update={"n_draws": 240})
    out, stored = tmp_path / "out", []
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as own,
        distributed.Client(own) as client,
    ):
        pids = [worker["pid"] for worker in client.run(lambda: {"pid": os.getpid()}).values()]

        def kill_one():
            while not any(out.glob("draws/part-*")):
                time.sleep(0.001)
            os.kill(pids[0], signal.SIGKILL)
            stored.extend(out.glob("draws/part-*"))

        killer = threading.Thread(target=kill_one, daemon=True)
        killer.start()
        found = vg.run_study(study, out, engine="dask", client=client, progress=False)
        killer.join(10)
    assert 0 < len(stored) < found.manifest["n_parts"]
    assert_same_tables(found, vg.run_study(study, tmp_path / "alone", progress=False))


def test_a_cache_folder_that_cannot_be_written_costs_one_warning():
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": os.devnull + "/x",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    script = "import vgcore as vg; print(vg.spectral_radius([[[2.0]]]))"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert ended.stdout == "[2.]\n", ended.stderr
    assert ended.stderr.count("NUMBA_CACHE_DIR") == 1


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items if isinstance(value, (dict, list)) else ():
        yield from places(item, (*path, key)) if isinstance(item, (dict, list)) else [(*path, key)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=4,
)


@settings(max_examples=60)
@given(data=st.data())
def test_an_edited_manifest_never_leads_to_another_error_than_the_store_s(expected, data):
    text = (expected.folder / "manifest.json").read_text()
    edited = json.loads(text)
    place = data.draw(st.sampled_from([path for path in places(edited) if path]))
    inner = edited
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(JSON | st.just("../../x") | st.just(10**400))
    try:
        (expected.folder / "manifest.json").write_text(json.dumps(edited))
        with contextlib.suppress(StoreError):
            found = vg.load_results(expected.folder)
            assert len(found.draws) == found.n_draws
        with contextlib.suppress(StoreError):
            list(verify(expected.folder))
    finally:
        (expected.folder / "manifest.json").write_text(text)


@settings(max_examples=40)
@given(changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=9))
def test_hostile_parquet_that_the_manifest_vouches_for_is_refused_or_read(expected, changes):
    path = expected.folder / "draws" / "part-00001.parquet"
    data = path.read_bytes()
    hostile = bytearray(data)
    for position, value in changes:
        hostile[position % len(data)] = value
    text = (expected.folder / "manifest.json").read_text()
    forged = json.loads(text)
    forged["parts"][1]["draws"]["sha256"] = hashlib.sha256(hostile).hexdigest()
    try:
        path.write_bytes(hostile)
        (expected.folder / "manifest.json").write_text(json.dumps(forged))
        with contextlib.suppress(StoreError):
            assert len(vg.load_results(expected.folder).draws) == expected.n_draws
    finally:
        path.write_bytes(data)
        (expected.folder / "manifest.json").write_text(text)


def test_tables_are_read_by_columns_and_rows(expected):
    field = pytest.importorskip("pyarrow.dataset").field
    found = expected.read(
        "profiles", ["lag", "log_norm"], (field("condition") == 3) & (field("lag") < 5)
    )
    wanted = expected.profiles.query("condition == 3 and lag < 5")[["lag", "log_norm"]]
    pd.testing.assert_frame_equal(found, wanted.reset_index(drop=True), check_exact=True)
    with pytest.raises(ValueError, match="did you mean 'rate'"):
        expected.read("draws", ["rte"])
    with pytest.raises(ValueError, match="where"):
        expected.read("draws", where=field("x") > 1)


def test_curves_are_the_profiles_of_the_first_draws(expected, monkeypatch):
    from vgcore.study import store

    wanted = expected.profiles.query("condition in (0, 3)").reset_index(drop=True)
    pd.testing.assert_frame_equal(expected.curves([0, 3]), wanted, check_exact=True)
    monkeypatch.setattr(store, "MOST_CURVES", 20)
    first = wanted.query("draw < 20").reset_index(drop=True)
    pd.testing.assert_frame_equal(expected.curves([3, 0]), first, check_exact=True)


def test_without_a_terminal_there_is_a_line_each_ten_seconds(tmp_path, monkeypatch, capsys):
    from vgcore.study import progress

    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    vg.run_study(STUDY, tmp_path / "a")
    lines = capsys.readouterr().err.splitlines()
    assert "4/4 conditions  192/192 draws" in lines[-1]
    assert "draws/s" in lines[-1]
    vg.run_study(STUDY, tmp_path / "b", progress=vg.study.Progress("json"))
    state = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert state["draws_done"] == state["draws"] == 192
    assert sum(one["draws"] for one in state["workers"].values()) == 192


def test_predicted_cost_stands_beside_the_truth(tmp_path, expected, capsys):
    parts = expected.manifest["parts"]
    seconds = {part["chunk"]: part["seconds"] for part in parts}
    found = expected.manifest["cost"]
    assert found == plan.cost(plan.chunks(STUDY), seconds)
    assert found["seconds"] == pytest.approx(sum(seconds.values()), rel=1e-3)
    flop = sum(chunk.flop for chunk in plan.chunks(STUDY))
    assert found["predicted_seconds"] == pytest.approx(flop / plan.CORE_FLOPS, rel=1e-3)
    progress = vg.study.Progress("json")
    for i in (1, 2):
        found = vg.run_study(STUDY, tmp_path / str(i), progress=progress, shard=(i, 2))
        state = json.loads(capsys.readouterr().err.splitlines()[-1])
        own = found.manifest["cost"]
        assert state["core_seconds"] == pytest.approx(own["seconds"], abs=1e-3)
        assert state["predicted_core_seconds"] == pytest.approx(own["predicted_seconds"], abs=1e-3)
    whole = merge([tmp_path / "1", tmp_path / "2"], tmp_path / "whole").manifest["cost"]
    assert whole["chunks"] == len(plan.chunks(STUDY))


def test_chunks_that_cost_what_was_predicted_have_ratio_one():
    chunks = plan.chunks(STUDY)
    exact = plan.cost(chunks, {c.index: c.flop / plan.CORE_FLOPS for c in chunks})
    assert exact["ratio"] == exact["ratio_q05"] == exact["ratio_q95"] == 1
    assert plan.cost(chunks, {}) is None
    uneven = plan.cost(
        chunks, {i: n * chunks[i].flop / plan.CORE_FLOPS for i, n in ((0, 1), (1, 3))}
    )
    assert uneven["ratio_median"] == pytest.approx(2)
    assert uneven["ratio_q95"] == pytest.approx(2.9)


def recipe(language):
    page = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text()
    return re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)[1]


@posix
def test_the_slurm_recipe_runs(tmp_path):
    script = tmp_path / "study.sh"
    script.write_text(recipe("bash").replace("STUDY=atlas", "STUDY=smoke"))
    subprocess.run(["bash", "-n", script], check=True)
    (tmp_path / "vgcore").write_text(f'#!/bin/sh\nexec {sys.executable} -m vgcore "$@"\n')
    (tmp_path / "vgcore").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "SLURM_ARRAY_TASK_COUNT": "2",
        "SLURM_CPUS_PER_TASK": "1",
    }
    for i in (1, 2):
        own = {**environment, "SLURM_ARRAY_TASK_ID": str(i)}
        subprocess.run(["bash", script], check=True, cwd=tmp_path, env=own)
    folders = sorted(str(path) for path in (tmp_path / "results").glob("smoke-*"))
    command = ["vgcore", "merge", *folders, "--out", "whole", "--no-report"]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    found = vg.load_results(tmp_path / "whole")
    assert found.complete
    assert found.n_draws == 600


def test_the_kubernetes_recipe_is_yaml_whose_command_is_ours():
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load(recipe("yaml"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    command = container["command"][-1]
    subprocess.run(["bash", "-n", "-c", command], check=True)
    assert "--shard $((JOB_COMPLETION_INDEX + 1))/8" in command
    assert job["spec"]["completions"] == 8
    assert job["spec"]["completionMode"] == "Indexed"
