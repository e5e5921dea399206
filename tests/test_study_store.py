"""Results on disk: what is written, what a damaged folder costs, and how faults read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from naive import fake_measure

from vgcore.errors import StoreError, StoreWarning
from vgcore.study import plan
from vgcore.study.config import Study, load_study
from vgcore.study.engines import run_study
from vgcore.study.store import (
    TABLES,
    Store,
    load_results,
)

STUDY = Study.from_dict(
    {
        "name": "small",
        "n_draws": 40,
        "defaults": {"n_hidden": 8, "n_steps": 20},
        "slice": [{"name": "one", "grid": {"spectral_radius": [0.8, 0.9, 1.0, 1.1]}}],
    }
)
OTHER = Study.from_dict({**STUDY.resolved(), "name": "other", "seed": 2})


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    """Ten parts or so in the place of one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "CHUNK_FLOP", 16 * plan.draw_flop(STUDY.defaults))
        yield


def run(folder, study=STUDY, measure=fake_measure, **options):
    return run_study(study, folder, measure=measure, progress=False, **options)


def broken(folder):
    raise AssertionError("nothing was missing, yet something was measured")


@pytest.fixture(scope="module")
def expected(small_chunks, tmp_path_factory):
    return run(tmp_path_factory.mktemp("expected"))


@pytest.fixture
def folder(expected, tmp_path):
    """A complete folder to damage."""
    return shutil.copytree(expected.folder, tmp_path / "out")


def assert_equal(found, expected):
    pd.testing.assert_frame_equal(found.draws, expected.draws, check_exact=True)
    pd.testing.assert_frame_equal(found.profiles, expected.profiles, check_exact=True)


def counting(calls):
    def measure(condition, settings, seed, start, stop):
        calls.append((condition.spectral_radius, start, stop))
        return fake_measure(condition, settings, seed, start, stop)

    return measure


def part(folder, index=3, table="draws"):
    return folder / table / f"part-{index:05d}.parquet"


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def forget(folder, n_parts):
    """Leave the manifest as it was after so many parts."""
    stale = manifest(folder)
    stale.update(parts=stale["parts"][:n_parts], complete=False, finished=None)
    (folder / "manifest.json").write_text(json.dumps(stale))


# ---- what is written


def test_manifest_says_what_ran_and_what_was_written(folder):
    found = manifest(folder)
    assert found["schema_version"] == 1
    assert found["study_digest"] == STUDY.digest
    assert Study.from_dict(found["study"]) == STUDY
    assert set(found["versions"]) == {
        "python", "vgcore", "numpy", "numba", "scipy", "pandas", "pyarrow"
    }  # fmt: skip
    assert found["cpu"]
    assert found["threads"] >= 1
    assert found["threading_layer"] == "python threads, GIL released"
    assert "/" not in found["command"].split()[0]
    assert found["created"] <= found["finished"]
    assert found["complete"] is True
    assert len(found["parts"]) == found["n_parts"] == len(plan.chunks(STUDY)) > 5
    for entry in found["parts"]:
        for table in TABLES:
            data = (folder / table / entry[table]["file"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry[table]["sha256"]
            assert len(data) == entry[table]["bytes"]
    assert sum(entry["draws"]["rows"] for entry in found["parts"]) == 160


def test_parts_describe_themselves(folder):
    for table, schema in TABLES.items():
        found = pq.read_schema(part(folder, 0, table))
        assert found.names == schema.names
        footer = json.loads(found.metadata[b"vgcore"])
        assert footer["study_digest"] == STUDY.digest
        assert (footer["table"], footer["chunk"]) == (table, 0)
        assert footer["items"] == [list(item) for item in plan.chunks(STUDY)[0].items]
        assert all(field.metadata[b"meaning"] for field in found)


def test_readable_study_beside_the_results_is_the_same_study(folder):
    assert load_study(folder / "study.toml") == STUDY


def test_tables_hold_what_was_measured_sorted_by_their_keys(folder):
    found = load_results(folder)
    assert found.complete
    assert list(found.draws.columns) == TABLES["draws"].names
    assert list(found.profiles.columns) == TABLES["profiles"].names
    assert found.draws["condition"].dtype == np.int32
    assert len(found.draws) == 160
    for table, keys in (
        ("draws", ["condition", "draw"]),
        ("profiles", ["condition", "draw", "lag"]),
    ):
        frame = getattr(found, table)
        assert frame[keys].equals(frame[keys].sort_values(keys, ignore_index=True))
        assert not frame.duplicated(keys).any()
    for row in found.conditions.itertuples():
        draws, _ = fake_measure(row, None, STUDY.seed, 0, 40)
        mine = found.draws[found.draws["condition"] == row.condition]
        assert (mine["rate"].to_numpy() == draws["rate"]).all()


def test_no_temporary_file_stays(folder):
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda draws: draws.pop("rho"), "found columns"),
        (lambda draws: draws.update(horizon=draws["rate"]), "do not fit the schema"),
        (lambda draws: draws.update({k: v[1:] for k, v in draws.items()}), "measured draws"),
    ],
)
def test_columns_that_break_the_contract_are_refused(tmp_path, change, message):
    def measure(*arguments):
        draws, profiles = fake_measure(*arguments)
        change(draws)
        return draws, profiles

    with pytest.raises(ValueError, match=message):
        run(tmp_path, measure=measure)


# ---- going on


def test_complete_folder_is_not_measured_again(folder):
    calls = []
    before = (folder / "manifest.json").read_bytes()
    run(folder, measure=counting(calls), command="another")
    assert not calls
    assert (folder / "manifest.json").read_bytes() == before


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def damage_empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, damage_empty, Path.unlink])
@pytest.mark.parametrize("table", list(TABLES))
def test_damaged_or_missing_part_is_named_and_only_it_is_measured_again(
    folder, expected, damage, table
):
    damage(part(folder, 3, table))
    with pytest.raises(StoreError, match=rf"{table}/part-00003.*Run the study again"):
        getattr(load_results(folder), table)
    calls = []
    with pytest.warns(StoreWarning, match=rf"{table}/part-00003.*measuring it again"):
        found = run(folder, measure=counting(calls))
    assert len(calls) == len(plan.chunks(STUDY)[3].items)
    assert_equal(found, expected)


def test_part_of_another_study_is_named_and_measured_again(folder, expected, tmp_path):
    run(tmp_path / "foreign", OTHER)
    shutil.copy(part(tmp_path / "foreign"), part(folder))
    with pytest.warns(StoreWarning, match="part-00003"):
        found = run(folder)
    assert_equal(found, expected)


def test_foreign_part_is_refused_even_where_the_manifest_vouches_for_it(folder, expected, tmp_path):
    run(tmp_path / "foreign", OTHER)
    shutil.copy(part(tmp_path / "foreign"), part(folder))
    forged = manifest(folder)
    forged["parts"][3]["draws"] = manifest(tmp_path / "foreign")["parts"][3]["draws"]
    (folder / "manifest.json").write_text(json.dumps(forged))
    with pytest.raises(StoreError, match="belongs to another study"):
        _ = load_results(folder).draws
    with pytest.warns(StoreWarning, match="belongs to another study"):
        found = run(folder)
    assert_equal(found, expected)


def test_parts_the_manifest_does_not_list_are_taken_over(folder, expected):
    forget(folder, 2)
    assert len(load_results(folder).draws) < 160
    calls = []
    found = run(folder, measure=counting(calls))
    assert not calls
    assert_equal(found, expected)


def test_lost_manifest_is_made_again_from_the_parts(folder, expected):
    (folder / "manifest.json").unlink()
    calls = []
    found = run(folder, measure=counting(calls))
    assert not calls
    assert_equal(found, expected)


def test_unlisted_part_that_is_damaged_foreign_or_misplaced_is_measured_again(
    folder, expected, tmp_path
):
    run(tmp_path / "foreign", OTHER)
    forget(folder, 0)
    damage_truncate(part(folder, 1))
    shutil.copy(part(tmp_path / "foreign", 2), part(folder, 2))
    shutil.copy(part(folder, 4), part(folder, 5))
    part(folder, 6, "profiles").unlink()
    with pytest.warns(StoreWarning) as caught:
        found = run(folder)
    named = [re.search(r"part-0000(\d)\.parquet: ", str(w.message))[1] for w in caught]
    assert named == ["1", "2", "5"]
    assert_equal(found, expected)


def test_no_flipped_byte_of_an_unlisted_part_gets_into_the_tables(folder, expected):
    original = part(folder).read_bytes()
    for position in range(0, len(original), len(original) // 20):
        forget(folder, 0)
        data = bytearray(original)
        data[position] ^= 1
        part(folder).write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StoreWarning)
            found = run(folder)
        assert_equal(found, expected)


def test_parts_cut_by_another_plan_are_measured_again(folder, expected, monkeypatch):
    monkeypatch.setattr(plan, "CHUNK_FLOP", 32 * plan.draw_flop(STUDY.defaults))
    with pytest.warns(StoreWarning):
        found = run(folder)
    assert_equal(found, expected)


def test_leftover_temporary_files_go_and_everything_else_stays(folder, expected):
    leftover = folder / "draws" / ".part-00001.parquet.tmp"
    keep = [
        folder / "notes.txt",
        folder / "draws" / "notes.tmp",
        folder / "draws" / "part-99999.parquet",
        folder / "profiles" / "part-1.parquet",
    ]
    for path in (leftover, *keep):
        path.write_text("mine")
    forget(folder, 3)
    assert_equal(run(folder), expected)
    assert not leftover.exists()
    assert [path.read_text() for path in keep] == ["mine"] * 4


def test_folder_with_files_of_the_user_keeps_them(tmp_path):
    (tmp_path / "study.toml").write_text("# mine\n")
    (tmp_path / "data.csv").write_text("1,2\n")
    assert run(tmp_path).complete
    assert (tmp_path / "study.toml").read_text() == "# mine\n"
    assert (tmp_path / "data.csv").read_text() == "1,2\n"


def test_begun_with_other_versions_is_said(folder):
    forget(folder, 2)
    stale = manifest(folder)
    stale["versions"]["numpy"] = "1.0"
    (folder / "manifest.json").write_text(json.dumps(stale))
    with pytest.warns(StoreWarning, match="begun with numpy 1.0 "):
        run(folder)


KILLED = """
import os, signal, sys, threading
sys.path[:0] = {path!r}
from naive import fake_measure
from vgcore.errors import StoreError, StoreWarning
from vgcore.study import plan
from vgcore.study.config import Study
from vgcore.study.engines import run_study
study = Study.from_dict({study!r})
plan.CHUNK_FLOP = {flop!r}
count = 0
def measure(*arguments):
    global count
    count += 1
    if count > {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return fake_measure(*arguments)
run_study(study, {folder!r}, measure=measure, n_workers=2)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("calls", [1, 9])
def test_killed_run_goes_on_to_equal_tables(tmp_path, expected, calls):
    folder = tmp_path / "killed"
    here = Path(__file__).parent
    script = KILLED.format(
        path=[str(here), str(here.parent)],
        study=STUDY.resolved(),
        flop=plan.CHUNK_FLOP,
        folder=str(folder),
        calls=calls,
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    assert not load_results(folder).complete
    assert_equal(run(folder), expected)


# ---- refusals


def test_folder_of_another_study_is_refused_and_left_alone(folder):
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(StoreError, match=r"another study: 'small'.*\d+ of \d+ parts.*--out"):
        run(folder, OTHER)
    assert (folder / "manifest.json").read_bytes() == before


def test_two_runs_into_one_folder_are_refused(folder):
    pytest.importorskip("fcntl")
    with (
        Store(folder, STUDY, plan.chunks(STUDY), n_workers=1),
        pytest.raises(StoreError, match="another run is writing here"),
    ):
        run(folder)
    assert run(folder).complete


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "damaged: not JSON"),
        ("[]", "not the manifest of a vgcore study"),
        ('{"name": "web app"}', "not the manifest of a vgcore study"),
        ('{"run": "papers"}', "vgcore study; it is of `vgcore run papers`, which writes its own"),
        ('{"study_digest": 1, "schema_version": "1"}', "schema_version is '1'"),
        ('{"study_digest": "1", "schema_version": 1}', "damaged: study is None"),
        ("[" * 100_000, "damaged: not JSON"),
    ],
)
def test_manifest_that_is_none_is_refused(tmp_path, text, reason):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=reason):
        load_results(tmp_path)
    with pytest.raises(StoreError, match=reason):
        run(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.update(schema_version=2), "by a newer vgcore"),
        (lambda m: m["study"].update(seed=3), "does not match its digest"),
        (lambda m: m["study"].update(sed=3), "sed: unknown key"),
        (lambda m: m["parts"].append(m["parts"][0]), "part 0 is listed twice"),
        (lambda m: m["parts"].append(3), "found 3 in the list"),
        (lambda m: m["parts"][0].update(chunk=-1), "has the number -1"),
        (lambda m: m["parts"][0].pop("draws"), "part 0 has no draws"),
        (lambda m: m["parts"][0]["draws"].update(file="../../x"), "not the name of its file"),
        (lambda m: m["parts"][0]["draws"].update(file="/etc/passwd"), "not the name of its file"),
        (lambda m: m["parts"][0]["draws"].pop("sha256"), "has no checksum"),
    ],
)
def test_edited_manifest_is_refused(folder, change, reason):
    found = manifest(folder)
    change(found)
    (folder / "manifest.json").write_text(json.dumps(found))
    with pytest.raises(StoreError, match=reason):
        load_results(folder)


def test_folders_without_results_are_refused(tmp_path):
    with pytest.raises(StoreError, match="no such folder"):
        load_results(tmp_path / "none")
    with pytest.raises(StoreError, match=r"holds no manifest\.json"):
        load_results(tmp_path)


def test_parts_without_a_manifest_that_are_not_this_study_s_are_left_alone(folder):
    (folder / "manifest.json").unlink()
    before = part(folder, 0).read_bytes()
    with pytest.raises(StoreError, match=r"part-00000.*another study.*--out"):
        run(folder, OTHER)
    pd.DataFrame({"x": [1]}).to_parquet(part(folder, 0))
    with pytest.raises(StoreError, match=r"part-00000.*not a part of a vgcore study.*--out"):
        run(folder)
    part(folder, 0).write_bytes(before)
    shutil.copy(part(folder, 0, "profiles"), part(folder, 0))
    with pytest.raises(StoreError, match=r"part-00000.*holds the table 'profiles'"):
        run(folder)


def test_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "draws").write_text("mine")
    with pytest.raises(StoreError, match="a file is in the way"):
        run(tmp_path)
    with pytest.raises(StoreError, match="is a file, expected a folder"):
        run(tmp_path / "draws")
    assert (tmp_path / "draws").read_text() == "mine"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"no space left.*4 of \d+ parts are stored.*Free some space"),
        (errno.EROFS, r"cannot be written.*4 of \d+ parts are stored.*--out"),
        (errno.EIO, r"Input/output error.*4 of \d+ parts are stored"),
    ],
)
def test_write_error_keeps_what_is_stored(tmp_path, expected, monkeypatch, number, message):
    replace = os.replace

    def full(source, target):
        if Path(target).name == "part-00004.parquet":
            raise OSError(number, os.strerror(number))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match=message):
        run(tmp_path / "out", n_workers=1)
    monkeypatch.undo()
    assert len(load_results(tmp_path / "out").manifest["parts"]) == 4
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert_equal(run(tmp_path / "out"), expected)


@contextlib.contextmanager
def small_disk(folder, size):
    """A real file system of so many bytes, where this process may mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_really_full_disk_keeps_what_is_stored(tmp_path, expected):
    with small_disk(tmp_path / "disk", "64k"):
        out = tmp_path / "disk" / "out"
        with pytest.raises(StoreError, match=r"no space left.*[1-9] of \d+ parts are stored"):
            run(out)
        assert not load_results(out).complete
        resize = ["mount", "-o", "remount,size=4m", str(tmp_path / "disk")]
        subprocess.run(resize, check=True)
        assert_equal(run(out), expected)


def test_really_read_only_disk_is_refused(tmp_path):
    with small_disk(tmp_path / "disk", "1m"):
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        with pytest.raises(StoreError, match="cannot be written"):
            run(tmp_path / "disk" / "out")


def test_a_report_kept_without_its_parts_is_measured_anew_in_silence(folder, recwarn):
    """What a source tree holds: manifest and report, no Parquet; even of an older edition."""
    first = run_study(STUDY, folder, measure=fake_measure, progress=False)
    for name in TABLES:
        shutil.rmtree(folder / name)
    again = run_study(STUDY, folder, measure=fake_measure, progress=False)
    pd.testing.assert_frame_equal(again.draws, first.draws, check_exact=True)
    for name in TABLES:
        shutil.rmtree(folder / name)
    edited = Study.from_dict({**STUDY.resolved(), "seed": 5})
    other = run_study(edited, folder, measure=fake_measure, progress=False)
    assert other.manifest["study_digest"] == edited.digest
    assert load_study(folder / "study.toml").digest == edited.digest
    assert not recwarn.list
    for name in TABLES:
        shutil.rmtree(folder / name)
    with pytest.raises(StoreError, match="another study: 'small'"):
        run_study(OTHER, folder, measure=fake_measure, progress=False)
