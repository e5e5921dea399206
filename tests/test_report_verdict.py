"""The verdict card: its words turn with the numbers, and follow the whole table."""

from __future__ import annotations

import pandas as pd
import pytest
from test_report import parts_of, simulate, small_study
from test_report_league import part_and_draws

from vgcore import stats
from vgcore.report import league
from vgcore.report.verdict import onset, regimes, verdict


def summary(*rates):
    """One condition a rate; its interval reaches 0.01 to both sides."""
    names = {-1: "vanishing", 0: "stable", 1: "exploding"}
    return pd.DataFrame(
        {
            "phase": [names[(rate > 0) - (rate < 0)] for rate in rates],
            "rate_low": [rate - 0.01 for rate in rates],
            "rate_high": [rate + 0.01 for rate in rates],
        }
    )


def card(rates, **gains):
    part, draws, conditions = part_and_draws(**gains)
    found = league.league(part, draws, conditions, 0.9)
    return dict(verdict(summary(*rates), [], [(part, 0.9, found)]))


def test_regimes_are_counted_with_what_is_sure():
    said = regimes(summary(-0.1, -0.005, 0.1))
    assert "vanishes in 2 (the interval is clear of zero in 1 of them)" in said
    assert "explodes in 1 (" in said
    assert "vanishes in none and explodes in all" in regimes(summary(0.1, 0.2))
    assert "vanishes in all" in regimes(summary(-0.1, -0.2))


def test_the_best_remedy_comes_first_and_an_exploding_one_never():
    said = card([-0.1], gru=10, lstm=25, orthogonal=(40, 1.0))
    assert said["Which remedy"].startswith("Against vanishing, lstm buys +2")
    assert "orthogonal" not in said["Which remedy"]
    assert said["What to do"] == (
        "For a longer memory, lstm comes first, at 4 times the arithmetic of a step without a "
        "remedy; gru buys the most for less, 3 times."
    )
    said = card([-0.1], gru=25, lstm=10)  # nothing that is cheaper buys a step
    assert said["What to do"] == "For a longer memory, gru comes first."


def test_remedies_that_buy_nothing_are_not_advised():
    said = card([-0.1], gru=-10, clip_norm=0)
    assert "No remedy buys a step" in said["Which remedy"]
    assert "No remedy measured is known to lengthen memory" in said["What to do"]


def test_an_interval_that_includes_zero_buys_nothing():
    part, draws, conditions = part_and_draws(gru=5)
    table = league.league(part, draws, conditions, 0.9)
    table.loc[table["series"] == "gru", ["gained_low", "gained_high"]] = -1.0, 11.0
    said = dict(verdict(summary(-0.1), [], [(part, 0.9, table)]))
    assert "No remedy buys a step" in said["Which remedy"]


def test_nothing_to_cure_is_said():
    assert card([0.0], gru=5)["What to do"] == "Nothing needs a remedy at these settings."
    assert "No remedy was measured" in dict(verdict(summary(-0.1), [], []))["What to do"]


@pytest.mark.parametrize("exploding", [0.8, 0.0])
def test_what_stops_the_exploding_is_named(exploding):
    part, draws, conditions = part_and_draws(clip_delta=0, l2=0)
    rows = (draws["condition"] != 1) & (draws["draw"] < 40 * exploding)
    draws.loc[rows, "event"] = "explode"
    found = league.league(part, draws, conditions, 0.9)
    said = dict(verdict(summary(0.1), [], [(part, 0.9, found)]))
    if exploding:
        assert "without a remedy, 0 % [0, 9] with clip_delta." in said["Which remedy"]
        assert said["What to do"] == "Where gradients explode, clip_delta comes first."
    else:
        assert "Too few draws explode" in said["Which remedy"]
        assert "No remedy measured is known" in said["What to do"]


def test_the_side_that_vanishes_turns_with_the_sign():
    usual, opposite = (
        onset(parts_of(results, stats.summarise(results.conditions, results.draws, eps=1e-3)))
        for results in (simulate(small_study()), simulate(small_study(), sign=-1.0))
    )
    assert "gradients shrink below spectral radius" in usual
    assert "gradients grow below spectral radius" in opposite


def test_the_onset_is_told_by_the_slice_with_most_radii():
    few = {"name": "few", "grid": {"spectral_radius": [0.6, 1.4], "init": ["orthogonal"]}}
    many = {"name": "many", "grid": {"spectral_radius": [0.6, 0.9, 1.1, 1.4]}}
    results = simulate(small_study(slice=[few, many]))
    parts = parts_of(results, stats.summarise(results.conditions, results.draws, eps=1e-3))
    assert onset(parts).startswith("With gaussian gradients shrink")
    assert onset(parts[:1]).startswith("With orthogonal gradients shrink")


def test_gains_picked_from_several_tables_hold_together():
    alone, both = (league.league(*part_and_draws(gru=10), 0.9, n) for n in (1, 30))
    width = [float((rows["gained_high"] - rows["gained_low"]).max()) for rows in (alone, both)]
    assert 1.5 < width[1] / width[0] < 1.8  # Student's quantiles of 5 % and 5 % / 30, 39 degrees


def test_steps_gained_hold_together():
    """With three remedies each interval is wider than alone, by Student's quantiles."""
    alone = league.league(*part_and_draws(gru=10), 0.9)
    beside = league.league(*part_and_draws(gru=10, lstm=20, l2=5), 0.9)
    width = [
        float((rows["gained_high"] - rows["gained_low"])[rows["series"] == "gru"].iloc[0])
        for rows in (alone, beside)
    ]
    assert 1.15 < width[1] / width[0] < 1.35
