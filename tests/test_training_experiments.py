"""Experiments: the one-unit surface against closed forms and differences; remedies paired."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from vgcore.training import experiments


def test_the_surface_is_that_of_the_recurrence_and_its_gradient_that_of_differences():
    weights, biases, h = [-2.0, 1.0, 5.0], [-2.9, 0.3], 1e-6
    found = experiments.error_surface(weights, biases, n_steps=12)
    assert len(found) == 6

    def error(w, b):
        x = 0.5
        for _ in range(12):
            x = w / (1 + np.exp(-x)) + b
        return (1 / (1 + np.exp(-x)) - 0.7) ** 2

    for row in found.itertuples():
        assert row.error == pytest.approx(error(row.weight, row.bias), rel=1e-12)
        by_w = (error(row.weight + h, row.bias) - error(row.weight - h, row.bias)) / (2 * h)
        by_b = (error(row.weight, row.bias + h) - error(row.weight, row.bias - h)) / (2 * h)
        assert row.gradient_norm == pytest.approx(np.hypot(by_w, by_b), rel=1e-5, abs=1e-9)


def test_the_wall_is_where_the_fixed_point_that_the_unit_stays_at_ends():
    """Near w = 5 two fixed points are stable; the state starts between, and falls to one of them.

    The wall is at the bias whose unstable fixed point is the start, x = w s(x) + b at x = 0.5.
    """
    w = 5.0
    biases = np.linspace(-3.5, -1.5, 4001)
    found = experiments.error_surface([w], biases)
    wall = found.bias[found.gradient_norm.idxmax()]
    assert wall == pytest.approx(0.5 - w / (1 + np.exp(-0.5)), abs=1e-3)
    far = found[np.abs(found.bias - wall) > 0.1]
    for row in far.iloc[::400].itertuples():
        side = (0.5, 9.0) if row.bias > wall else (-9.0, 0.5)
        x = optimize.brentq(lambda x, b=row.bias: w / (1 + np.exp(-x)) + b - x, *side)
        assert row.error == pytest.approx((1 / (1 + np.exp(-x)) - 0.7) ** 2, abs=1e-6)


def test_clipped_steps_stay_near_the_wall_and_others_are_thrown_off():
    wall = 0.5 - 5.0 / (1 + np.exp(-0.5))
    found = experiments.descent_on_surface(
        5.0, wall - 4.5e-5, learning_rate=0.1, clip=0.5, n_updates=30
    )
    plain, clipped = (found[found.clipped == flag] for flag in (False, True))
    assert plain.iloc[0].gradient_norm == clipped.iloc[0].gradient_norm > 1e3
    moves = [np.hypot(part.weight.diff(), part.bias.diff()).max() for part in (plain, clipped)]
    assert moves[0] > 100
    assert moves[1] <= 0.1 * 0.5 * (1 + 1e-12)


def test_remedies_are_paired_and_none_is_what_it_says():
    arguments = {
        "n_nets": 3, "n_updates": 6, "n_hidden": 6, "n_test": 20, "test_every": 3, "seed": 5,
    }  # fmt: skip
    found = experiments.long_term_dependencies([10, 12], **arguments)
    assert found.groupby(["length", "remedy"]).size().tolist() == [3] * 6
    again = experiments.long_term_dependencies([10, 12], clip=1e9, strength=0.0, **arguments)
    errors = again.pivot(index=["length", "net"], columns="remedy", values="test_error")
    assert (errors["SGD"] == errors["SGD-C"]).all()
    assert (errors["SGD"] == errors["SGD-CR"]).all()
    pd.testing.assert_series_equal(
        found[found.remedy == "SGD"].test_error, again[again.remedy == "SGD"].test_error
    )
    with pytest.raises(ValueError, match="did you mean 'SGD-C'"):
        experiments.long_term_dependencies([10], remedies=["SGDC"], **arguments)


def test_intervals_are_exact():
    """None of 20 solved: the upper end has 0.025 = (1 - p)^20; all of them: the lower one."""
    rows = {"length": 10, "diverged_step": -1}
    nets = pd.concat(
        [
            pd.DataFrame({**rows, "remedy": "none", "solved_step": [-1] * 20}),
            pd.DataFrame({**rows, "remedy": "all", "solved_step": [4] * 20}),
        ]
    )
    none, every = experiments.success_rates(nets).itertuples()
    assert (none.success, none.low, every.success, every.high) == (0, 0, 1, 1)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert every.low == pytest.approx(0.025 ** (1 / 20))
    assert every.median_step == 4
    assert np.isnan(none.median_step)
