"""`vgcore compare`: a folder against itself, against another seed, and against what did change."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from test_cli import vgcore
from test_report import simulate, small_study
from typer.testing import CliRunner

import vgcore as vg
from vgcore import stats
from vgcore.cli import app
from vgcore.compare import compare
from vgcore.study import Study


def results(seed=1, n_draws=40, radii=(0.6, 0.9, 1.1, 1.4), shift=0.0, **changes):
    """Simulated results whose rates have moved by a shift."""
    grid = {"init": ["gaussian", "sparse"], "spectral_radius": list(radii)}
    study = small_study(
        seed=seed, n_draws=n_draws, slice=[{"name": "one", "title": "One", "grid": grid}], **changes
    )
    found = simulate(study)
    found.draws["rate"] += shift
    return SimpleNamespace(**vars(found), folder="folder")


def test_a_folder_against_itself_says_no_change():
    found = compare(results(), results())
    assert found.verdict == "no change detected in any of 8 conditions"
    assert (found.table["change"] == 0.0).all()
    assert (found.table["p_holm"] == 1.0).all()


@pytest.mark.parametrize(("seeds", "paired"), [((1, 1), True), ((1, 2), False)])
def test_a_change_is_found_and_has_the_right_sign(seeds, paired):
    first, second = results(seeds[0]), results(seeds[1], shift=0.2)
    found = compare(first, second)
    assert found.paired is paired
    table = found.table.set_index("condition")
    assert np.allclose(table["change"], 0.2, atol=0.03)
    assert ((table["change_low"] <= 0.2 + 1e-9) & (table["change_high"] >= 0.2 - 1e-9)).mean() > 0.7
    # towards zero from below is better, away from it above is worse
    assert (table.loc[table["first"] < -0.15, "verdict"] == "improved").all()
    assert (table.loc[table["first"] > 0.0, "verdict"] == "worse").all()
    assert {"improved", "worse"} <= set(table["verdict"])
    back = compare(second, first).table.set_index("condition")
    np.testing.assert_allclose(back["change"], -table["change"], atol=1e-12)


def test_a_change_that_is_sure_but_small_is_within_noise():
    found = compare(results(), results(shift=1e-6))
    assert set(found.table["verdict"]) == {"within noise"}
    assert "improved" in set(compare(results(), results(shift=1e-6), noise=0.0).table["verdict"])


def test_false_alarms_on_null_data_are_as_rare_as_said():
    """Whole comparisons with any verdict, of two runs of one law under two seeds: 5 % at most."""
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        one, two = (results(seed=1), results(seed=2))
        for found in (one, two):
            found.draws["rate"] = rng.standard_t(4, len(found.draws))
        alarms += set(compare(one, two).table["verdict"]) != {"no change detected"}
    assert scipy.stats.binomtest(alarms, 60, 0.05, alternative="greater").pvalue > 1e-3


def test_conditions_of_one_folder_alone_are_counted():
    found = compare(results(), results(radii=(0.6, 1.1, 2.0)))
    assert len(found.table) == 4
    assert (found.only_first, found.only_second) == (4, 2)


def test_what_cannot_be_compared_is_named():
    with pytest.raises(ValueError, match="no condition that folder has too"):
        compare(results(), results(radii=(0.7, 1.2)))
    with pytest.raises(ValueError, match=r"found eps = 0\.01, and 0\.001 in the first"):
        compare(results(), results(measure={"n_lags": 12, "eps": 0.01}))
    with pytest.raises(ValueError, match="noise: found -1"):
        compare(results(), results(), noise=-1.0)


def test_the_two_sample_shift_is_that_of_mann_whitney():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        a, b = rng.normal(0.3, 1, 30), rng.normal(0, 1, 45)
        shift, p = stats.two_sample_shift(a, b)
        covered += shift.low <= 0.3 <= shift.high
        wanted = scipy.stats.mannwhitneyu(a, b, method="asymptotic").pvalue
        assert p == pytest.approx(wanted, rel=1e-9)
        assert shift.value == pytest.approx(np.median(a[:, None] - b))
    assert 0.92 <= covered / 400 <= 0.98
    assert stats.two_sample_shift([1.0, 1.0], [1.0, 1.0, 1.0])[1] == 1.0
    assert np.isnan(stats.two_sample_shift([], [1.0])[1])


def test_the_command_writes_a_page_and_tells_by_its_exit_code(tmp_path):
    study = Study.from_dict(
        {
            "name": "tiny", "title": "Tiny", "n_draws": 30,
            "defaults": {"n_hidden": 8, "n_steps": 60},
            "slice": [{"name": "s", "title": "S", "grid": {"spectral_radius": [0.8, 0.9]}}],
        }
    )  # fmt: skip
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    vg.run_study(study, a, progress=False)
    vg.run_study(study.model_copy(update={"seed": 5}), c, progress=False)
    shutil.copytree(a, b)
    same = vgcore("compare", a, b, cwd=tmp_path)
    assert "no change detected in any of 2 conditions" in same
    page = (b / "compare" / "compare.html").read_text("utf-8")
    assert "No change detected in any of 2 conditions" in page
    assert 'src="data:' in page
    table = pd.read_csv(b / "compare" / "changes.csv")
    assert (table["verdict"] == "no change detected").all()
    out = tmp_path / "page"
    found = json.loads(vgcore("compare", a, c, "--out", out, "--json", cwd=tmp_path))
    assert found["paired"] is False
    assert len(found["conditions"]) == 2
    missing = vgcore("compare", a, tmp_path / "nothing", cwd=tmp_path, code=1)
    assert "nothing" in missing


def test_a_change_for_the_worse_is_an_exit_code_of_1(tmp_path, monkeypatch):
    runs = {"a": results(radii=(1.2, 1.4)), "b": results(radii=(1.2, 1.4), shift=0.3)}
    monkeypatch.setattr("vgcore.study.load_results", lambda folder: runs[folder.name])
    a, b, out = tmp_path / "a", tmp_path / "b", tmp_path / "out"
    done = CliRunner().invoke(app, ["compare", str(a), str(b), "--out", str(out)])
    assert done.exit_code == 1
    assert "4 worse, of 4 conditions" in done.output
    assert "4 worse" in (out / "compare.html").read_text("utf-8")
    done = CliRunner().invoke(app, ["compare", str(b), str(a), "--out", str(out)])
    assert done.exit_code == 0
    assert "4 improved" in done.output
