"""Studies that draw until a precision is met: the same draws, however they were interrupted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from naive import fake_measure
from studies import assert_same_tables

import vgcore as vg
from vgcore import stats
from vgcore.errors import StudyError, StudyInterrupted
from vgcore.study import merge, plan, verify
from vgcore.study.config import Study
from vgcore.study.sequential import sentences

RULE = {"half_width": 0.03, "least": 32, "most": 300, "growth": 1.5}
CONTENT = {
    "name": "sequential",
    "precision": RULE,
    "defaults": {"n_hidden": 4, "n_steps": 20, "burn_in": 0},
    "slice": [{"name": "one", "grid": {"spectral_radius": [0.5, 0.9, 1.0, 1.3]}}],
}
STUDY = Study.from_dict(CONTENT)


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "CHUNK_FLOP", 32 * plan.draw_flop(STUDY.defaults))
        yield


def run(folder, study=STUDY, **options):
    return vg.run_study(study, folder, progress=False, **options)


@pytest.fixture(scope="module")
def expected(small_chunks, tmp_path_factory):
    return run(tmp_path_factory.mktemp("expected"))


def assert_equal(found, expected):
    assert_same_tables(found, expected)
    assert found.manifest["precision"] == expected.manifest["precision"]


def test_each_condition_stops_at_the_first_look_that_meets_the_rule(expected):
    looks = stats.Precision(**RULE).looks
    needed = {}
    for entry in expected.manifest["precision"]:
        rates = expected.draws.query(f"condition == {entry['condition']}")["rate"].to_numpy()
        needed[entry["condition"]] = len(rates)
        assert len(rates) == entry["n_draws"]
        halves = [np.ptp(stats.median(rates[:look])[1:3]) / 2 for look in looks[: len(looks)]]
        met = [look for look, half in zip(looks, halves, strict=True) if half <= 0.03]
        assert entry["met"] == bool(met)
        assert len(rates) == (met[0] if met else 300)
    assert len(set(needed.values())) > 1  # the rule decides for each condition alone
    assert expected.n_draws == sum(needed.values())


def test_the_draws_are_those_of_a_study_with_fixed_numbers(expected, tmp_path):
    content = {key: value for key, value in CONTENT.items() if key != "precision"}
    fixed = run(tmp_path, Study.from_dict({**content, "n_draws": 300}))
    for table in ("draws", "profiles"):
        mine = getattr(expected, table)
        theirs = getattr(fixed, table).merge(mine[["condition", "draw"]].drop_duplicates())
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


def test_any_engine_makes_the_same_rounds(expected, tmp_path):
    assert_equal(run(tmp_path / "process", engine="process", n_workers=2), expected)
    assert_equal(run(tmp_path / "threads", n_workers=5), expected)
    assert_equal(merge([tmp_path / "process"], tmp_path / "merged"), expected)
    assert {finding.state for finding in verify(tmp_path / "merged")} == {"ok"}
    with pytest.raises(ValueError, match="rounds"):
        run(tmp_path / "shard", shard="1/2")


def test_damage_in_an_early_round_costs_that_part_only(expected, tmp_path):
    run(tmp_path)
    (tmp_path / "draws" / "part-00000.parquet").write_bytes(b"damaged")
    states = [finding.state for finding in verify(tmp_path)]
    assert states.count("damaged") == 1
    assert states.count("ok") == len(states) - 1 == expected.manifest["n_parts"] - 1
    measured = []

    def counting(*arguments):
        from vgcore.study.measure import measure

        measured.append(arguments)
        return measure(*arguments)

    with pytest.warns(match="measuring it again"):
        assert_equal(run(tmp_path, measure=counting), expected)
    assert len(measured) == len(expected.manifest["parts"][0]["items"])


def test_an_interrupt_at_each_chunk_and_a_next_run_cost_no_bit(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    expected = run(tmp_path / "whole", measure=fake_measure)
    calls, interrupted = [], 0

    def stopping(*arguments):
        calls.append(1)
        if len(calls) % 4 == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return fake_measure(*arguments)

    try:
        while True:
            try:
                found = run(tmp_path / "out", measure=stopping, n_workers=1)
                break
            except StudyInterrupted:
                interrupted += 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupted > 2
    assert_equal(found, expected)


KILLED = """
import sys
import vgcore as vg
from vgcore.study import plan
from vgcore.study.config import Study
study = Study.from_dict({content!r})
plan.CHUNK_FLOP = 32 * plan.draw_flop(study.defaults)
vg.run_study(study, sys.argv[1], progress=False, n_workers=1)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_run_goes_on_in_the_round_it_was_in(expected, tmp_path):
    rng = random.Random(1)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", KILLED.format(content=CONTENT), str(tmp_path)]
    for n_parts in (2, 5):
        with subprocess.Popen(command, env=environment) as child:
            while child.poll() is None and len([*tmp_path.glob("profiles/part*")]) < n_parts:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.01))
            child.kill()
    assert_equal(run(tmp_path), expected)


def test_the_report_is_told_the_rule_and_what_it_took(expected):
    (said,) = sentences(STUDY, expected.draws)
    counts = expected.draws["condition"].value_counts()
    assert f"{counts.min():,} to {counts.max():,} draws" in said
    assert "at most 0.03" in said
    missed = [e for e in expected.manifest["precision"] if not e["met"]]
    assert (f"{len(missed)} of the conditions did not reach it" in said) == bool(missed)
    half = expected.draws.query("draw < 32")
    (early,) = sentences(STUDY, half)
    assert "It took 32 to 32 draws" in early


@pytest.mark.parametrize("estimate", ["growing", "horizon_mean"])
def test_other_estimates(tmp_path, estimate):
    half = {"growing": 0.09, "horizon_mean": 0.8}[estimate]
    rule = {**RULE, "estimate": estimate, "half_width": half}
    found = run(tmp_path, Study.from_dict({**CONTENT, "precision": rule}))
    summary = stats.summarise(found.conditions, found.draws, eps=1e-3)
    half = (summary[f"{estimate}_high"] - summary[f"{estimate}_low"]) / 2
    entries = found.manifest["precision"]
    np.testing.assert_allclose(half, [entry["reached"] for entry in entries], rtol=1e-12)
    assert any(entry["met"] for entry in entries)


def test_slices_may_ask_for_numbers_or_precisions_and_a_condition_gets_what_it_needs(tmp_path):
    grid = {"spectral_radius": [0.5]}
    wide = {"name": "two", "n_draws": 40, "grid": {"spectral_radius": [0.5, 1.3]}}
    content = {**CONTENT, "slice": [{"name": "one", "grid": grid}, wide]}
    found = run(tmp_path, Study.from_dict(content))
    counts = found.draws["condition"].value_counts()
    (entry,) = found.manifest["precision"]
    assert counts[1] == 40
    assert counts[0] == max(40, entry["n_draws"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n_draws": 5}, "found both n_draws and precision"),
        ({"precision": {"half_width": 0}}, "precision > half_width"),
        ({"precision": {"half_width": 0.1, "most": 20}}, "expected at least 128"),
        ({"precision": {"half_width": 0.1, "growth": 1.0}}, "precision > growth"),
        ({"precision": {"half_widht": 0.1}}, "did you mean 'half_width'"),
        ({"precision": {"half_width": 0.1, "most": 10**9}}, "4,000,000,000 draws in all"),
        ({"precision": {"half_width": 0.1, "estimate": "rho"}}, "precision > estimate"),
    ],
)
def test_faults_are_named(change, text):
    with pytest.raises(StudyError, match=text):
        Study.from_dict({**CONTENT, **change})


def test_a_study_file_keeps_its_rule(tmp_path):
    (tmp_path / "mine.toml").write_text(STUDY.to_toml())
    loaded = vg.load_study(tmp_path / "mine.toml")
    assert loaded.digest == STUDY.digest
    assert loaded.precision == STUDY.precision
    (tmp_path / "child.toml").write_text('extends = "mine.toml"\nname = "child"\nn_draws = 7\n')
    child = vg.load_study(tmp_path / "child.toml")
    assert child.precision is None
    assert child.n_draws == 7
