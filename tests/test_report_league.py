"""The league table of remedies: steps gained on the same draws, and words that turn with them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from vgcore import stats
from vgcore.report import league
from vgcore.report.part import Part
from vgcore.study.config import Condition

N = 40


def part_and_draws(**gains):
    """Remedies with the steps that each gains; a tuple says too in what share it explodes."""
    rng = np.random.default_rng(0)
    base = rng.integers(30, 60, N)
    rows, draws, conditions = [], [], {}
    for i, (name, gain) in enumerate({"none": 0, **gains}.items()):
        gain, exploding = gain if isinstance(gain, tuple) else (gain, 0.0)
        noise = rng.integers(-2, 3, N) if gain else 0
        n_exploding = round(exploding * N)
        conditions[i] = Condition.model_validate({"remedy": name, "spectral_radius": 0.9})
        rows.append({"condition": i, "series": name, "x": 0.9, "n": N, "n_steps": 1000})
        draws.append(
            pd.DataFrame(
                {
                    "condition": i,
                    "draw": range(N),
                    "rate": -0.1,
                    "horizon": base + gain + noise,
                    "censored": False,
                    "event": ["explode"] * n_exploding + ["vanish"] * (N - n_exploding),
                    "cosine": 0.5 if name == "truncation" else 1.0,
                    "log_kept": np.log(0.25) if name == "truncation" else 0.0,
                    "stopped_at": -1,
                }
            )
        )
    table = pd.DataFrame(rows)
    for row in table.index:
        found = stats.median(draws[row]["horizon"])
        for name, value in zip(("horizon", "horizon_low", "horizon_high"), found, strict=False):
            table.loc[row, name] = value
    part = Part(
        name="remedies",
        title="Remedies",
        table=table,
        members={name: [name] for name in table["series"]},
        shape=stats.Layout("spectral_radius", ("remedy",)),
        fixed={},
        reference=0.9,
    )
    return part, pd.concat(draws, ignore_index=True), conditions


def test_ranks_by_steps_gained_with_paired_intervals():
    part, draws, conditions = part_and_draws(gru=-10, lstm=25, truncation=0)
    found = league.league(part, draws, conditions, 0.9)
    assert found["series"].tolist() == ["lstm", "none", "truncation", "gru"]
    row = found.iloc[0]
    assert row["gained"] == pytest.approx(25, abs=1)
    # paired: the spread of the base, some nine steps, does not enter
    assert row["gained_high"] - row["gained_low"] < 1.5
    assert row["cost"] == 4
    assert found.iloc[2]["cost"] == pytest.approx((1000 + 50) / 2000)
    assert found.iloc[2]["kept"] == pytest.approx(0.25)
    head, lines = league.table(found)
    assert all(len(line) == len(head) for line in lines)
    assert lines[1][3] == "0 in every draw"
    assert "cosine 0.500" in lines[2][5]


def test_words_turn_with_the_numbers():
    said = league.sentences(part_and_draws(lstm=25)[0], *found_of(lstm=25))
    assert "lstm buys +2" in said[0]
    assert said[0].startswith("At spectral radius 0.9, without a remedy the gradient falls to")
    said = league.sentences(part_and_draws(lstm=-25)[0], *found_of(lstm=-25))
    assert "no remedy buys a step" in said[0]
    assert "Memory is shorter with lstm" in said[1]
    said = league.sentences(part_and_draws(clip_norm=0)[0], *found_of(clip_norm=0))
    assert any(line.startswith("0 steps in every draw with clip_norm") for line in said)


def found_of(**gains):
    part, draws, conditions = part_and_draws(**gains)
    return league.league(part, draws, conditions, 0.9), 0.9


def test_memory_by_explosion_is_called_by_its_name():
    wild = {"orthogonal": (30, 1.0), "gru": (20, 0.0)}
    said = " ".join(league.sentences(part_and_draws(**wild)[0], *found_of(**wild)))
    assert "(by exploding, which is no memory)" in said
    assert "gru buys +" in said
    assert "more often with orthogonal (100 %" in said
    assert said.count("(by exploding") == 1
    assert said.index("(by exploding") < said.index("gru buys")


def test_conditions_of_other_sizes_are_not_paired():
    part, draws, conditions = part_and_draws(gru=5)
    conditions[1] = conditions[1].model_copy(update={"n_hidden": 32})
    found = league.league(part, draws, conditions, 0.9)
    row = found[found["series"] == "gru"].iloc[0]
    assert np.isnan(row["gained"])
    assert league.gained_text(row) == "not paired"


def test_there_is_a_table_where_series_are_remedies_only():
    part, *_ = part_and_draws(gru=5)
    assert league.levels(part) == [0.9]
    other = Part(
        **{**{f: getattr(part, f) for f in ("name", "title", "table", "members", "fixed")},
           "shape": stats.Layout("spectral_radius", ("init",)), "reference": 0.9}
    )  # fmt: skip
    assert league.levels(other) == []


def test_descent_that_diverged_is_told_by_condition():
    c = Condition.model_validate({"remedy": {"name": "l2", "learning_rate": 1.5}})
    draws = pd.DataFrame({"condition": [7, 7, 7, 8], "stopped_at": [20, -1, 24, -1]})
    (said,) = league.diverged(draws, {7: c, 8: c})
    assert "Condition 7: the descent on l2 (learning_rate = 1.5) diverged in 2 of 3 draws" in said
    assert "at update 22" in said
