"""A second run of the same thing, compared value by value: real folders, edited on purpose."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from vgcore.errors import StoreError
from vgcore.replay import _compare, compare, replay
from vgcore.study import plan


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A study with its report, measured once."""
    folder = tmp_path_factory.mktemp("replay") / "first"
    vg.write_report(vg.run_study("smoke", folder, progress=False), folder)
    return folder


@pytest.fixture
def folder(measured, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(measured, tmp_path / "first")


def table_of(found, name):
    return next(table for table in found.tables if table.table == name)


def edit(folder, column, change, name="summary.csv"):
    """Change one number of a table as it is written."""
    table = pd.read_csv(folder / name, dtype=str, keep_default_na=False)
    table.loc[0, column] = repr(change(float(table.loc[0, column])))
    table.to_csv(folder / name, index=False)


def test_a_replay_is_identical_to_the_bit(folder, tmp_path):
    found = replay(folder, tmp_path / "second")
    assert {"summary.csv", "draws", "profiles"} <= {table.table for table in found.tables}
    assert found.same
    assert not found.origins
    assert all(not table.within and table.identical for table in found.tables)
    assert "identical to the bit" in found.verdict
    draws = vg.load_results(folder).draws
    keys = ["condition", "draw"]
    assert table_of(found, "draws").identical == draws.drop(columns=keys).notna().to_numpy().sum()


def test_tables_alone_can_be_replayed(folder, tmp_path):
    for name in ("draws", "profiles"):
        shutil.rmtree(folder / name)
    found = replay(folder, tmp_path / "second")
    assert found.same
    assert not {"draws", "profiles"} & {table.table for table in found.tables}


def test_a_table_that_one_run_lacks_is_named(folder, measured):
    shutil.rmtree(folder / "draws")
    (folder / "summary.csv").unlink()
    found = compare(folder, measured)
    assert found.same
    assert found.verdict.endswith("not compared, one run lacks it: summary.csv, draws")


def test_a_changed_value_is_named_with_its_interval(folder, measured):
    edit(folder, "rate", lambda value: value * (1 + 1e-9))
    found = compare(measured, folder)
    assert found.same
    assert table_of(found, "summary.csv").within == 1
    assert "agree within 1e-06" in found.verdict
    assert not compare(measured, folder, tolerance=0).same

    edit(folder, "rate", lambda value: value + 1.0)
    found = compare(measured, folder)
    (example,) = table_of(found, "summary.csv").examples
    assert (example.column, example.inside) == ("rate", False)
    assert str(example).startswith("condition 0: rate")
    assert not found.same
    assert "1 of" in found.verdict

    middle = pd.read_csv(measured / "summary.csv").loc[0, ["rate_low", "rate_high"]].mean()
    edit(folder, "rate", lambda _: float(middle))
    assert table_of(compare(measured, folder), "summary.csv").inside == 1


def test_what_differs_in_versions_is_named(folder, measured):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["versions"]["numpy"] = "1.0"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert compare(folder, measured).origins == {"numpy": ("1.0", np.__version__)}


def test_an_unfinished_run_lacks_values_and_a_replay_goes_on(tmp_path, monkeypatch):
    study = vg.load_study("smoke")
    monkeypatch.setattr(plan, "CHUNK_FLOP", 8 * plan.draw_flop(study.defaults))
    folder, half = tmp_path / "first", tmp_path / "half"
    vg.run_study(study, folder, progress=False)
    vg.run_study(study, half, shard=(1, 2), progress=False)
    found = compare(folder, half)
    assert table_of(found, "draws").missing
    assert not table_of(found, "draws").different
    assert not found.same
    assert "in one run only" in found.verdict
    assert replay(folder, half).same


def test_what_cannot_be_compared_is_refused(folder, measured, tmp_path):
    with pytest.raises(ValueError, match="the folder to replay"):
        replay(folder, folder)
    with pytest.raises(StoreError, match="holds a finished run"):
        replay(folder, measured)
    with pytest.raises(StoreError, match=r"holds no manifest\.json"):
        compare(folder, tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"seed": 0}')
    with pytest.raises(StoreError, match="another study"):
        compare(folder, tmp_path / "other")
    with pytest.raises(StoreError, match="names no study and no run"):
        replay(tmp_path / "other", tmp_path / "new")
    (tmp_path / "other" / "manifest.json").write_text("[")
    with pytest.raises(StoreError, match="damaged"):
        compare(folder, tmp_path / "other")
    (folder / "summary.csv").write_text('a,b\n"1')
    with pytest.raises(StoreError, match=r"summary\.csv: damaged"):
        compare(folder, measured)


def test_a_damaged_part_is_named(folder, measured):
    path = next((folder / "draws").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="damaged"):
        compare(measured, folder)


@given(
    st.lists(
        st.tuples(st.floats(width=32), st.sampled_from([1.0, 1 + 1e-9, 1 + 1e-3, -1.0])),
        max_size=20,
    )
)
def test_each_value_is_counted_once(pairs):
    first = pd.DataFrame({"row": range(len(pairs)), "value": [a for a, _ in pairs]}, dtype=float)
    second = first.assign(value=[a * b for a, b in pairs])
    found = _compare("table", first, second, 1e-6)
    present = (~np.isnan(first["value"])).sum()
    assert found.identical + found.within + found.different == present
    a, b = first["value"], second["value"]
    assert found.identical == (a == b).sum()
    with np.errstate(invalid="ignore"):
        near = np.isclose(a, b, rtol=1e-6, atol=0.0) & (a != b)
    assert found.within == near.sum()
