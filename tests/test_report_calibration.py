"""Theory beside the measurements of a study."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from vgcore import figures, theory
from vgcore.report.calibration import calibration, sentences, table
from vgcore.report.predictions import carry_rate, predicted_rate, with_theory
from vgcore.study.config import Condition


def condition(**factors):
    return Condition.model_validate({"n_hidden": 64, "input_variance": 0.0, **factors})


def test_a_linear_network_has_the_logarithm_of_its_radius():
    for init in ("gaussian", "identity", "antisymmetric", "orthogonal"):
        low, high = predicted_rate(condition(init=init, activation="linear", spectral_radius=0.7))
        assert low == high == np.log(0.7)


def test_the_band_runs_from_the_gain_to_the_radius():
    """A quiet tanh network below the edge: slopes are 1, so the ends are ln g and ln rho."""
    low, high = predicted_rate(condition(spectral_radius=0.8))
    assert high == pytest.approx(np.log(0.8), abs=1e-6)
    assert high - low == pytest.approx(float(theory.expected_log_spectral_radius(64)))
    # the same with the gain given, where the radius follows from the size
    low, high = predicted_rate(condition(gain=0.8))
    assert low == pytest.approx(np.log(0.8), abs=1e-6)
    # it shrinks with N
    low, high = predicted_rate(condition(spectral_radius=0.8, n_hidden=2048))
    assert high - low < 0.02


def test_a_critical_law_stands_at_the_edge():
    low, _ = predicted_rate(
        condition(init="critical", spectral_radius="as_drawn", input_variance=0.1)
    )
    assert low == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    "factors",
    [
        {"cell": "lstm"},
        {"init": "identity"},
        {"remedy": "omega"},
        {"remedy": "lstm"},
        {"jacobian": "as_printed"},
    ],
)
def test_theory_is_silent_where_it_has_nothing_to_say(factors):
    assert predicted_rate(condition(**factors)) is None


def test_pytorchs_own_inputs_and_biases_enter_mean_field():
    c = condition(cell="elman", init="torch", spectral_radius="as_drawn", input_variance="as_drawn",
                  n_inputs=32, n_hidden=128)  # fmt: skip
    low, _ = predicted_rate(c)
    gain, variance = 3**-0.5, (32 + 2) / (3 * 128)
    assert low == pytest.approx(
        float(theory.largest_exponent("tanh", gain, input_variance=variance)), abs=1e-9
    )


def test_gated_cells_have_the_rate_of_their_gate_alone():
    for cell in ({"name": "lstm", "forget_bias": 1.0}, {"name": "gru", "update_bias": 1.0}):
        low, high = carry_rate(condition(cell=cell))
        assert low == high == pytest.approx(np.log(1 / (1 + np.exp(-1.0))))
    low, high = carry_rate(condition(remedy={"name": "lstm", "chrono": 1000.0}))
    assert low == pytest.approx(-2 / 1000, rel=0.01)
    assert high == pytest.approx(-1 / 1000, rel=0.01)
    assert carry_rate(condition()) is None


def test_every_row_says_which_theory_it_has():
    conditions = dict(
        enumerate(
            [
                condition(spectral_radius=0.8),
                condition(cell="gru"),
                condition(init="identity"),
                condition(activation="linear", spectral_radius=1.1),
                condition(activation="linear", spectral_radius="as_drawn", n_steps=200),
            ]
        )
    )
    found = with_theory(pd.DataFrame({"condition": range(5)}), conditions, 1e-3)
    assert found["theory"].tolist() == ["mean field", "carry", "", "linear", "linear"]
    assert found["horizon_theory_high"][0] == pytest.approx(np.log(1e-3) / np.log(0.8), rel=1e-5)
    assert found["growing_theory_low"][[0, 3]].tolist() == [0.0, 1.0]
    share = 1 - theory.spectral_radius_cdf(1000 ** (1 / 200), 64)
    assert 0.2 < found["growing_theory_low"][4] == pytest.approx(float(share))
    columns = [c for c in found if "theory_" in c]
    assert found.loc[2, columns].isna().all()
    assert np.isnan(found["growing_theory_low"][1])


def summary(*rates, se=0.001):
    n = len(rates)
    rate = np.array(rates)
    return pd.DataFrame(
        {
            "condition": range(n),
            "n": 100,
            "activation": "tanh",
            "input_variance": 0.0,
            "n_hidden": 64,
            "n_steps": 1000,
            "rate": rate,
            "rate_low": rate - 2 * se,
            "rate_high": rate + 2 * se,
            "rate_se": se,
        }
    )


def test_words_turn_with_the_numbers():
    quiet = {0: condition(spectral_radius=0.8)}
    inside = calibration(summary(-0.25), quiet)
    assert inside["difference"].tolist() == [0.0]
    assert sentences(inside)[0].startswith("Theory predicts the rate of 1 conditions. 1 of them")
    assert len(sentences(inside)) == 1
    above = calibration(summary(-0.10), quiet)
    assert above["z"][0] == pytest.approx((-0.10 - np.log(0.8)) / 0.001, rel=1e-6)
    assert not above["agrees"][0]
    assert "saturation" in sentences(above)[1]
    below = calibration(summary(-0.9), quiet)
    assert "finite N: slopes and weights" in sentences(below)[1]
    wild = calibration(summary(0.0), {0: condition(spectral_radius=1.5)})
    assert "fixed points and cycles" in sentences(wild)[1]
    head, lines = table(wild)
    assert len(lines) == 1
    assert len(lines[0]) == len(head)
    assert calibration(summary(0.1), {0: condition(cell="gru")}).empty


def test_a_difference_below_one_over_t_is_none():
    found = calibration(summary(np.log(0.8) + 0.0009, se=1e-6), {0: condition(spectral_radius=0.8)})
    assert found["agrees"].all()


def test_rounding_is_no_difference():
    found = calibration(
        summary(np.log(0.8) + 1e-15, se=1e-18),
        {0: condition(activation="linear", spectral_radius=0.8)},
    )
    assert found["z"].tolist() == [0.0]


def test_the_figure_shows_what_agrees_and_what_does_not():
    planned = {0: condition(spectral_radius=0.8), 1: condition(spectral_radius=1.0)}
    figure = figures.calibration_figure(calibration(summary(-0.25, 0.1), planned))
    whole = figure.axes[0]
    faces = {line.get_markerfacecolor() for line in whole.lines if line.get_marker() == "o"}
    assert "white" in faces
    assert len(faces) == 2
    scores = figure.axes[-1]
    drawn = np.concatenate([line.get_ydata() for line in scores.lines if len(line.get_xdata())])
    assert np.abs(drawn).max() > 3
    assert scores.get_yscale() == "symlog"
