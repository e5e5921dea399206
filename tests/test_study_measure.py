"""Measuring one block of draws: addresses, shared numbers, and the measured radius."""

from __future__ import annotations

import numpy as np
import pytest

import vgcore as vg
from vgcore.study.config import Condition, Measure
from vgcore.study.measure import Numbers, measure

SMALL = {"n_hidden": 12, "n_steps": 30, "burn_in": 5, "n_inputs": 3}
VARIANTS = [
    {},
    {"spectral_radius": 1.3},
    {"gain": 0.7},
    {"dtype": "float32"},
    {"dtype": "float32", "activation": "relu"},
    {"init": "orthogonal"},
    {"init": "sparse", "law": {"nonzeros": 3}},
    {"init": "sparse", "law": {"nonzeros": 4}},
    {"input_variance": 0.0},
    {"input_variance": 1.0, "init": "critical"},
    {"activation": "sigmoid", "init": "critical"},
    {"burn_in": 0},
    {"n_trajectories": 2},
    {"n_hidden": 7},
    {"n_inputs": 2},
    {"n_steps": 40},
    {},
]


def condition(**factors):
    return Condition.model_validate({**SMALL, **factors})


def same(one, two):
    for found, expected in zip(one, two, strict=True):
        assert found.keys() == expected.keys()
        for name in found:
            np.testing.assert_array_equal(found[name], expected[name], strict=True)


def test_numbers_kept_from_other_conditions_and_draws_change_nothing():
    kept = Numbers(3)
    for start, stop in ((0, 4), (4, 9), (2, 6)):
        for factors in VARIANTS:
            c = condition(**factors)
            same(measure(c, Measure(), 3, start, stop, kept), measure(c, Measure(), 3, start, stop))


def test_conditions_that_differ_in_scale_alone_draw_once(monkeypatch):
    drawn = []

    def sample(init, draws, *arguments):
        drawn.append(init)
        return original(init, draws, *arguments)

    from vgcore.study import measure as module

    original = module.sample_block
    monkeypatch.setattr(module, "sample_block", sample)
    kept = Numbers(3)
    for radius in (0.8, 0.9, 1.0):
        measure(condition(spectral_radius=radius), Measure(), 3, 0, 4, kept)
        measure(condition(spectral_radius=radius, dtype="float32"), Measure(), 3, 0, 4, kept)
    assert drawn == ["gaussian"]
    measure(condition(init="uniform"), Measure(), 3, 0, 4, kept)
    measure(condition(), Measure(), 3, 0, 5, kept)
    assert drawn == ["gaussian", "uniform", "gaussian"]


def test_a_draw_does_not_depend_on_its_block():
    c = condition()
    whole, _ = measure(c, Measure(), 3, 0, 9)
    for draw in (0, 5, 8):
        alone, _ = measure(c, Measure(), 3, draw, draw + 1)
        for name, values in alone.items():
            assert values[0] == whole[name][draw]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [{"spectral_radius": 1.1}, {"gain": 1.4}])
def test_the_radius_is_that_of_the_scaled_matrices(scale, dtype):
    c = condition(dtype=dtype, **scale)
    draws, _ = measure(c, Measure(), 3, 0, 6)
    cell, _ = Numbers(3).network(c, range(6))
    rtol = 1e-5 if dtype == "float32" else 1e-10  # W was rounded after its radius was measured
    np.testing.assert_allclose(draws["rho"], vg.spectral_radius(cell.W_rec), rtol=rtol)
    if "spectral_radius" in scale:
        np.testing.assert_allclose(draws["rho"], 1.1, rtol=4e-16)


def test_a_matrix_that_cannot_have_the_radius_is_named():
    with pytest.raises(ValueError, match="draw 2 of init 'antisymmetric' with n_hidden=1"):
        measure(condition(n_hidden=1, init="antisymmetric"), Measure(), 3, 2, 4)
