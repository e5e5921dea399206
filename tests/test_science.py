"""Facts of the field that the whole chain, from weights to rates, must reproduce."""

from __future__ import annotations

import numpy as np
import pytest

import vgcore as vg


@pytest.mark.parametrize(("gain", "expected"), [(2.0, 0.123), (3.0, 0.282)])
def test_autonomous_tanh_has_the_known_leading_exponent_at_100_units(gain, expected):
    """Mean over draws at N = 100, by an independent forward simulation of 200 draws, to 0.002.

    Mean field gives .155 and .310 as N grows.
    """
    cell = vg.RNN.draw(60, 100, gain=gain, rng=1)
    rate = vg.gradient_profile(cell, 1500, burn_in=500, rng=2).rate().value[:, 0]
    assert rate.mean() == pytest.approx(expected, abs=0.002 + 4 * rate.std() / 60**0.5)


@pytest.mark.parametrize(("n", "radius", "log_radius"), [(10, 1.067, 0.053), (50, 1.063, 0.060)])
def test_real_ginibre_matrices_have_the_known_mean_radius(n, radius, log_radius):
    found = vg.spectral_radius(vg.draw_weights("gaussian", 3000, n, rng=1))
    error = 4 * found.std() / 3000**0.5
    assert found.mean() == pytest.approx(radius, abs=error + 5e-4)
    assert np.log(found).mean() == pytest.approx(log_radius, abs=error + 5e-4)


def test_linear_cells_approach_the_logarithm_of_their_radius():
    cell = vg.RNN.draw(40, 32, spectral_radius=0.93, activation="linear", rng=4)
    rate = vg.gradient_profile(cell, 4000, rng=5).rate().value
    np.testing.assert_allclose(rate, np.log(0.93), atol=1e-3)


def test_input_suppresses_chaos():
    """At g = 2 an autonomous tanh network explodes; white input of variance 4 quenches it."""
    rates = []
    for variance in (0.0, 4.0):
        cell = vg.RNN.draw(30, 100, gain=2.0, n_inputs=20, input_variance=variance, rng=1)
        u = np.random.default_rng(3).standard_normal((30, 1, 800, 20))
        rates.append(vg.gradient_profile(cell, 500, inputs=u, burn_in=300, rng=2).rate().value)
    assert np.median(rates[0]) > 0.05
    assert np.median(rates[1]) < -0.05


def test_the_printed_jacobian_is_another_product_per_draw_with_the_same_bound():
    cell = vg.RNN.draw(20, 50, gain=1.5, rng=1)
    exact, printed = (
        vg.gradient_profile(cell, 400, burn_in=100, jacobian=form, rng=2).rate().value
        for form in ("exact", "as_printed")
    )
    assert np.abs(exact - printed).max() > 1e-4
    assert np.abs(exact - printed).mean() < 0.05
