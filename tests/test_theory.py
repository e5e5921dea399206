"""Theory against closed forms, high-precision quadrature, and small simulations."""

from __future__ import annotations

import mpmath as mp
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

import vgcore as vg
from vgcore import theory
from vgcore.activations import ACTIVATIONS
from vgcore.theory.quadrature import find_root, gaussian_expectation

NAMES = sorted(ACTIVATIONS)
HOMOGENEOUS = {"linear": 1.0, "relu": 0.5, "leaky_relu": 0.5 * (1 + 1e-4)}


def close(found, wanted, rtol=1e-9, atol=0.0):
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol)


# ---- oracles of 30 digits

EXACT = {
    "tanh": (mp.tanh, lambda x: mp.sech(x) ** 2),
    "linear": (lambda x: x, lambda x: mp.mpf(1)),
    "relu": (lambda x: max(x, 0), lambda x: mp.mpf(x > 0)),
    "leaky_relu": (
        lambda x: x if x > 0 else x * mp.mpf(0.01),
        lambda x: mp.mpf(1) if x > 0 else mp.mpf(0.01),
    ),
    "sigmoid": (
        lambda x: 1 / (1 + mp.exp(-x)),
        lambda x: 1 / (2 + mp.exp(-x) + mp.exp(x)),
    ),
    "hard_tanh": (lambda x: min(max(x, -1), 1), lambda x: mp.mpf(abs(x) < 1)),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "erf": (mp.erf, lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x)),
    "gelu": (lambda x: x * mp.ncdf(x), lambda x: mp.ncdf(x) + x * mp.npdf(x)),
}


def exact_mean(f, q):
    """E f(sqrt(q) z) by tanh-sinh quadrature between the kinks, or the scale of f."""
    sd = mp.sqrt(mp.mpf(q))
    ends = [k * s for k in (1, 3, 12) for s in (1, sd)] + [40]
    positive = sorted({min(mp.mpf(e), 13 * sd) for e in ends} | {13 * sd})
    points = [-x for x in reversed(positive)] + [mp.mpf(0)] + positive
    with mp.workdps(20):
        return mp.quad(lambda x: f(x) * mp.npdf(x, 0, sd), points, maxdegree=7)


@given(name=st.sampled_from(NAMES), log_q=st.floats(-6.0, 6.0))
def test_moments_agree_with_quadrature_in_high_precision(name, log_q):
    q = 10.0**log_q
    s, slope = EXACT[name]
    found = theory.gaussian_moments(name, q)
    close(found.square, float(exact_mean(lambda x: s(x) ** 2, q)))
    close(found.slope_square, float(exact_mean(lambda x: slope(x) ** 2, q)))
    close(found.growth, float(exact_mean(lambda x: s(x) * slope(x) * x, q)) / q)
    close(found.mean, float(exact_mean(s, q)), atol=1e-12 * float(found.square) ** 0.5)


@given(q=st.floats(1e-12, 1e12))
def test_moments_of_erf_and_relu_are_those_in_closed_form(q):
    erf, relu = theory.gaussian_moments("erf", q), theory.gaussian_moments("relu", q)
    # the arcsine as an arctangent, which keeps its digits near 1
    angle = np.arctan2(2 * q, np.sqrt(1 + 4 * q))
    close(erf.square, 2 / np.pi * angle, rtol=1e-12)
    close(erf.slope_square, 4 / np.pi / np.sqrt(1 + 4 * q), rtol=1e-12)
    close(erf.growth, 4 / np.pi / (np.sqrt(1 + 4 * q) * (1 + 2 * q)), rtol=1e-10)
    close([relu.square, relu.slope_square, relu.growth], [q / 2, 0.5, 0.5], rtol=1e-12)
    close(relu.mean, np.sqrt(q / (2 * np.pi)), rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_moments_at_zero_are_limits(name):
    at, near = theory.gaussian_moments(name, 0.0), theory.gaussian_moments(name, 1e-16)
    close(at, near, rtol=1e-6, atol=1e-7)


def test_growth_of_the_logistic_at_small_variances():
    """It is a difference of numbers 1 / sqrt(q) times as large."""
    close(theory.gaussian_moments("sigmoid", 10.0 ** np.arange(-20.0, -9.0)).growth, 1 / 16)


def test_arrays_give_what_their_elements_give():
    q = np.array([[0.0, 1e-3, 2.0], [50.0, 1e5, 3.0]])
    for name in NAMES:
        whole = theory.gaussian_moments(name, q)
        for i in np.ndindex(q.shape):
            one = theory.gaussian_moments(name, q[i])
            assert [m[i] for m in whole] == pytest.approx(list(one), rel=1e-13)
    g, v = np.array([0.5, 1.5, 3.0]), np.array([[0.0], [0.3]])
    for f in (theory.fixed_point, theory.chi, theory.largest_exponent):
        whole = f("tanh", g, input_variance=v)
        assert whole.shape == (2, 3)
        for i in np.ndindex(2, 3):
            close(whole[i], f("tanh", g[i[1]], bias_variance=v[i[0], 0]), rtol=1e-12, atol=1e-14)


# ---- fixed points, chi, exponents


@given(name=st.sampled_from(NAMES), g=st.floats(0.05, 12.0), v=st.floats(1e-3, 10.0))
def test_the_variance_is_stationary_and_the_first_that_is(name, g, v):
    q = float(theory.fixed_point(name, g, input_variance=0.4 * v, bias_variance=0.6 * v))

    def mapped(q):
        return g**2 * float(theory.gaussian_moments(name, q).square) + v

    if np.isinf(q):
        assert all(mapped(x) > x for x in 10.0 ** np.arange(-3, 12))
        assert ACTIVATIONS[name].far is not None
        return
    close(mapped(q), q, rtol=1e-11)
    assert all(mapped(x) > x for x in np.linspace(0.0, q, 9)[:-1])


@pytest.mark.parametrize("g", [1 + 1e-9, 1 + 1e-6, 1 + 1e-4, 1 + 1e-3])
def test_the_onset_of_chaos_of_tanh(g):
    """Near onset q = (g^2 - 1) / 2 and lambda_1 = (2/3)(g - 1)^2."""
    d = g - 1.0
    noise = 1e-15 / d
    close(theory.fixed_point("tanh", g), (g**2 - 1.0) / 2.0, rtol=5 * d + noise)
    assert abs(theory.largest_exponent("tanh", g) - 2 / 3 * d**2) < 5 * d**3 + 3e-16


def test_below_the_onset_activity_dies_out():
    for name in set(NAMES) - {"sigmoid"}:
        edge = theory.critical_gain(name)
        g = edge * np.array([0.0, 0.1, 0.5, 0.999, 1 - 1e-12])
        assert (theory.fixed_point(name, g) == 0.0).all()
        with np.errstate(divide="ignore"):
            close(theory.largest_exponent(name, g), np.log(g / edge), rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("name", HOMOGENEOUS)
@given(g=st.floats(0.01, 4.0), v=st.floats(1e-6, 1e6))
def test_piecewise_linear_activations_in_closed_form(name, g, v):
    kept = 1.0 - g**2 * HOMOGENEOUS[name]
    q = theory.fixed_point(name, g, input_variance=v)
    close(q, v / kept if kept > 0 else np.inf, rtol=1e-12)
    close(theory.chi(name, g, input_variance=v), g**2 * HOMOGENEOUS[name], rtol=1e-12)
    close(theory.critical_gain(name, v), HOMOGENEOUS[name] ** -0.5, rtol=1e-12)


def test_erf_from_its_closed_forms():
    def arcsine_map(q, g):
        return g**2 * 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q))

    for g in (0.9, 1.0, 2.0, 10.0):
        q = theory.fixed_point("erf", g)
        close(q, arcsine_map(q, g), rtol=1e-11)
        close(theory.chi("erf", g), g**2 * 4 / np.pi / np.sqrt(1 + 4 * q), rtol=1e-11)


def test_exponents_of_autonomous_tanh_networks():
    g = [1.2, 1.5, 2.0, 3.0, 5.0]
    found = theory.largest_exponent("tanh", g)
    close(found, [0.01648, 0.06522, 0.15472, 0.31025, 0.53243], atol=6e-6, rtol=0)
    close(theory.largest_exponent("tanh", 1.1) / 0.01, 0.507, atol=5e-4, rtol=0)


@given(name=st.sampled_from(NAMES), v=st.floats(1e-4, 20.0))
def test_at_the_critical_gain_chi_crosses_one(name, v):
    g = theory.critical_gain(name, v)
    close(theory.critical_gain(name, 0.3 * v, 0.7 * v), g, rtol=1e-10)
    below, above = theory.chi(name, g * np.array([1 - 1e-7, 1 + 1e-7]), input_variance=v)
    assert below < 1.0 < above
    if name == "gelu" and above > 1.05:  # it jumps where activity runs away
        return
    close(theory.chi(name, g, input_variance=v), 1.0, rtol=1e-9)


@given(name=st.sampled_from(["tanh", "erf", "sigmoid", "hard_tanh", "softsign"]), x=st.floats(0, 1))
def test_critical_input_variance_inverts_critical_gain(name, x):
    g = theory.critical_gain(name) * (1.05 + 3.0 * x)
    v = theory.critical_input_variance(name, g)
    close(theory.critical_gain(name, v), g, rtol=1e-8)
    b = 0.25 * v
    close(theory.critical_input_variance(name, g, bias_variance=b), v - b, rtol=1e-8)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "hard_tanh", "softsign", "erf"])
def test_bounded_activations_at_the_ends_of_the_range(name):
    """Slopes are met in a window of width 1 about 0, so that chi = g^2 I / sqrt(2 pi q)."""
    slope = EXACT[name][1]
    window = mp.quad(lambda x: slope(x) ** 2, [-mp.inf, -1, 0, 1, mp.inf])
    g = np.array([1e9, 1e100])
    q = theory.fixed_point(name, g)
    close(q, g**2 * (0.5 if name == "sigmoid" else 1.0), rtol=1e-6)
    close(theory.chi(name, g), g**2 * float(window) / np.sqrt(2 * np.pi * q), rtol=1e-6)
    for v in (1e12, 1e30):
        edge = float(theory.critical_gain(name, v))
        close(edge**2, np.sqrt(2 * np.pi * v) / float(window), rtol=1e-5)
        close(theory.critical_input_variance(name, edge), v, rtol=1e-8)
    edges = theory.critical_gain(name, [0.0, 1e-300, 1e-45])
    close(edges, edges[0], rtol=1e-12)


def test_critical_input_variance_at_its_ends():
    close(theory.critical_input_variance("tanh", 2.0), 1.636, atol=5e-4, rtol=0)
    close(theory.critical_input_variance("tanh", [0.0, 0.5, 1.0]), 0.0)
    close(theory.critical_input_variance("relu", [1.0, 2.0]), [0.0, np.inf])
    close(theory.critical_input_variance("gelu", [1.0, 3.0]), [0.0, np.inf])


# ---- correlations


@settings(max_examples=12)
@given(q=st.floats(1e-3, 1e3), c=st.floats(-1.0, 1.0))
def test_correlations_in_closed_form(q, c):
    value, slope = theory.gaussian_correlations("erf", q, c)
    close(value, 2 / np.pi * np.arcsin(2 * q * c / (1 + 2 * q)), rtol=1e-9, atol=1e-12)
    close(slope, 4 / np.pi / np.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2), rtol=1e-9)
    # the arc-cosine kernels of order 1 and 0 (Cho and Saul 2009)
    value, slope = theory.gaussian_correlations("relu", q, c)
    angle = np.arccos(c)
    wanted = q / (2 * np.pi) * (np.sqrt(1 - c**2) + (np.pi - angle) * c)
    close(value, wanted, rtol=1e-9, atol=1e-11 * q)
    close(slope, (np.pi - angle) / (2 * np.pi), rtol=1e-9, atol=1e-11)
    close(theory.gaussian_correlations("linear", q, c), [q * c, 1.0], rtol=1e-9, atol=1e-11 * q)


@given(q=st.floats(0.1, 10.0), c=st.floats(-0.999, 0.999))
def test_correlated_slopes_of_hard_tanh_are_a_bivariate_normal_probability(q, c):
    _, slope = theory.gaussian_correlations("hard_tanh", q, c)
    law = stats.multivariate_normal(cov=q * np.array([[1.0, c], [c, 1.0]]))
    close(slope, law.cdf([1.0, 1.0], lower_limit=[-1.0, -1.0]), atol=2e-8, rtol=0)


@given(name=st.sampled_from(["tanh", "sigmoid", "gelu"]), c=st.floats(-0.95, 0.95))
def test_correlations_of_smooth_activations(name, c):
    z, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    s, slope = naive.ACTIVATIONS[name]
    u, v = 0.6 * z[:, None], 0.6 * (c * z[:, None] + np.sqrt(1 - c**2) * z)
    wanted = [w @ (f(u) * f(v)) @ w for f in (s, slope)]
    close(theory.gaussian_correlations(name, 0.36, c), wanted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["tanh", "hard_tanh", "sigmoid", "gelu", "relu"])
@pytest.mark.parametrize("shared", [True, False])
def test_the_correlation_is_stationary_and_attracts(name, shared):
    g = 1.3 * theory.critical_gain(name) if name in ("tanh", "hard_tanh", "sigmoid") else 1.1
    c = theory.correlation_fixed_point(
        name, g, input_variance=0.2, bias_variance=0.1, shared_input=shared
    )
    q = theory.fixed_point(name, g, input_variance=0.2, bias_variance=0.1)
    common = 0.3 if shared else 0.1
    mapped = c - 0.02
    for _ in range(3):
        before = abs(mapped - c)
        mapped = (g**2 * theory.gaussian_correlations(name, q, mapped)[0] + common) / q
        assert abs(mapped - c) < before
    close((g**2 * theory.gaussian_correlations(name, q, c)[0] + common) / q, c, rtol=1e-9)


def test_correlation_at_its_ends():
    f = theory.correlation_fixed_point
    assert f("tanh", 2.0) == 0.0  # odd, autonomous, chaotic: states become independent
    assert f("tanh", 0.9, bias_variance=0.1) == 1.0
    assert np.isnan(f("tanh", [0.9])).all()
    assert np.isnan(f("relu", 2.0, bias_variance=1.0))
    # at the critical input variance c* reaches 1
    v = theory.critical_input_variance("tanh", 1.5)
    close(f("tanh", 1.5, input_variance=v * np.array([0.99, 1.01])), 1.0, rtol=0.01)


def test_depth_scales():
    found = theory.depth_scales("tanh", [0.5, 3.0], bias_variance=0.05)
    chi = theory.chi("tanh", [0.5, 3.0], bias_variance=0.05)
    close(found.gradient, 1.0 / np.abs(np.log(chi)))
    close(found.correlation[0], found.gradient[0])  # while c* = 1
    relu = theory.depth_scales("relu", 1.2, bias_variance=1.0)
    close(relu, -1.0 / np.log(0.72), rtol=1e-9)
    # the deviation of q from its stationary value shrinks by e in xi layers
    q, g = theory.fixed_point("erf", 1.5, bias_variance=0.05), 1.5
    start = q * (1 + 1e-5)
    moved = g**2 * theory.gaussian_moments("erf", start).square + 0.05
    scale = theory.depth_scales("erf", 1.5, bias_variance=0.05).variance
    close(np.log((moved - q) / (start - q)), -1.0 / scale, rtol=1e-4)


# ---- the whole spectrum


def test_spectra_in_closed_form():
    p = np.array([0.0, 0.1, 0.3, 0.6, 0.9])
    linear = theory.lyapunov_spectrum("linear", 1.7)
    close(linear.exponent(p), 0.5 * np.log(1.7**2 * (1 - p)), atol=1e-12)
    close(linear.unstable_fraction, 1 - 1.7**-2)
    # p ln g^2 - p - (1 - p) ln(1 - p) = 0 is the dimension, or all of them
    assert linear.kaplan_yorke_dimension == pytest.approx(1.0, abs=1e-12)
    lower = theory.lyapunov_spectrum("linear", 1.3)
    d = lower.kaplan_yorke_dimension
    close(d * np.log(1.69) - d - (1 - d) * np.log(1 - d), 0.0, atol=1e-10)
    x = np.array([-2.0, -0.5, 0.2])
    close(lower.fraction_above(x), 1 - np.exp(2 * x) / 1.69)
    close(lower.density(x), 2 * np.exp(2 * x) / 1.69)
    # half the slopes of ReLU are 0: p = 1/2 u / (1 + u)
    relu = theory.lyapunov_spectrum("relu", 1.2, input_variance=1.0)
    close(relu.exponent(p[:3]), 0.5 * np.log(1.44 * (0.5 - p[:3])), atol=1e-12)
    assert (relu.exponent(p[3:]) == -np.inf).all()


def test_spectra_of_many_networks_are_those_of_each():
    g, v = np.array([[0.8], [1.3], [2.6]]), np.array([0.0, 0.4])
    many = theory.lyapunov_spectrum("tanh", g, bias_variance=v)
    asked = np.array([0.02, 0.4])[:, None, None]
    for i, j in np.ndindex(3, 2):
        one = theory.lyapunov_spectrum("tanh", g[i, 0], bias_variance=v[j])
        for name in ("variance", "largest", "unstable_fraction", "entropy_rate",
                     "kaplan_yorke_dimension"):  # fmt: skip
            assert getattr(many, name)[i, j] == getattr(one, name)
        for name in ("exponent", "fraction_above", "density"):
            found = getattr(many, name)(asked)
            assert found.shape == (2, 3, 2)
            close(found[:, i, j], getattr(one, name)(asked.ravel()), rtol=1e-12)


def test_numbers_of_chaotic_tanh_networks():
    for g, wanted in [(2.0, (0.1334, 0.01068, 0.2576)), (3.0, (0.1529, 0.02520, 0.2877))]:
        s = theory.lyapunov_spectrum("tanh", g)
        found = (s.unstable_fraction, s.entropy_rate, s.kaplan_yorke_dimension)
        assert found == pytest.approx(wanted, abs=5.1e-5)


@given(name=st.sampled_from(NAMES), g=st.floats(0.3, 5.0), v=st.floats(0.0, 2.0))
def test_a_spectrum_is_consistent(name, g, v):
    s = theory.lyapunov_spectrum(name, g, input_variance=v)
    assert s.largest == pytest.approx(
        float(theory.largest_exponent(name, g, input_variance=v)), abs=1e-12
    )
    p = np.array([0.01, 0.2, 0.45])
    x = s.exponent(p)
    p, x = p[x > -np.inf], x[x > -np.inf]  # units of slope 0 leave the rest at -inf
    assert (np.diff(x) < 0).all()
    assert (x < s.largest).all()
    close(s.fraction_above(x), p, rtol=1e-10)
    assert s.fraction_above(s.largest + 0.01) == s.density(s.largest + 0.01) == 0.0
    h = 1e-4
    slope = (s.fraction_above(x - h) - s.fraction_above(x + h)) / (2 * h)
    close(s.density(x), slope, rtol=1e-5)


@pytest.mark.parametrize(("name", "g"), [("tanh", 2.0), ("hard_tanh", 2.5), ("sigmoid", 16.0)])
def test_dimension_and_entropy_are_those_of_the_exponents(name, g):
    s = theory.lyapunov_spectrum(name, g)
    n = 400
    exponents = s.exponent((np.arange(n) + 0.5) / n)
    close(vg.entropy_rate(exponents) / n, s.entropy_rate, rtol=5e-3)
    close(vg.kaplan_yorke_dimension(exponents) / n, s.kaplan_yorke_dimension, rtol=5e-3)
    close(s.fraction_above(0.0), s.unstable_fraction)


def test_the_spectrum_of_a_product_with_random_slopes():
    """Independent W and slopes, N = 100: corrections are of order 1 / N."""
    s = theory.lyapunov_spectrum("tanh", 2.0)
    rng = np.random.default_rng(0)
    n, frame, growth = 100, np.eye(100), np.zeros(100)
    for step in range(140):
        slope = 1.0 / np.cosh(np.sqrt(s.variance) * rng.standard_normal(n)) ** 2
        W = rng.standard_normal((n, n)) * (2.0 / np.sqrt(n))
        frame, R = np.linalg.qr(W @ (slope[:, None] * frame))
        if step >= 20:
            growth += np.log(np.abs(np.diag(R))) / 120
    wanted = s.exponent((np.arange(n) + 0.5) / n)
    assert np.abs(growth - wanted)[2:80].max() < 0.1
    assert np.abs(growth - wanted)[2:80].mean() < 0.03


def test_the_largest_exponent_of_networks_under_input():
    """White input: at N = 100, g = 2 the exponent is near mean field, and near 0 at its root."""
    for v in (0.5, 1.636):
        cell = vg.RNN.draw(6, 100, gain=2.0, n_inputs=100, input_variance=v, rng=3)
        inputs = np.random.default_rng(4).standard_normal((6, 420, 100))
        found = vg.lyapunov_exponents(
            cell, 300, n_exponents=1, burn_in=60, tangent_burn_in=60, inputs=inputs, rng=5
        )
        wanted = theory.largest_exponent("tanh", 2.0, input_variance=v)
        assert abs(found.mean() - wanted) < 0.025


# ---- random matrices


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7])
def test_the_law_of_the_spectral_radius_against_simulated_matrices(n):
    draws = 20_000
    W = np.random.default_rng(n).standard_normal((draws, n, n)) * (1.5 / np.sqrt(n))
    radius = np.abs(np.linalg.eigvals(W)).max(axis=1)
    test = stats.kstest(radius[:2000], lambda r: theory.spectral_radius_cdf(r, n, gain=1.5))
    assert test.pvalue > 0.001
    error = radius.std() / np.sqrt(draws)
    assert abs(radius.mean() - theory.expected_spectral_radius(n, 1.5)) < 4 * error
    log_error = np.log(radius).std() / np.sqrt(draws)
    wanted = theory.expected_log_spectral_radius(n, 1.5)
    assert abs(np.log(radius).mean() - wanted) < 4 * log_error
    assert radius.std() == pytest.approx(theory.spectral_radius_deviation(n, 1.5), rel=0.04)


def test_the_spectral_radius_of_larger_matrices():
    W = vg.draw_weights("gaussian", 400, 60, rng=8)
    radius = vg.spectral_radius(W)
    error = radius.std() / 20
    assert abs(radius.mean() - theory.expected_spectral_radius(60)) < 4 * error


def test_the_law_of_the_spectral_radius_is_a_distribution():
    r = np.linspace(0.0, 3.0, 60)
    for n in (1, 2, 9, 100, 101):
        p = theory.spectral_radius_cdf(r, n)
        assert p[0] == 0.0
        assert p[-1] == pytest.approx(1.0, abs=3e-3 if n == 1 else 2e-4)
        assert (np.diff(p) >= -1e-13).all()
    one = stats.halfnorm.cdf(r)
    close(theory.spectral_radius_cdf(r, 1), one, atol=1e-13)
    both = theory.spectral_radius_cdf(r[:, None], [1, 9], [1.0, 2.0])
    close(both, np.stack([one, theory.spectral_radius_cdf(r / 2, 9)], axis=1), atol=1e-13)
    close(theory.expected_spectral_radius(1), np.sqrt(2 / np.pi), rtol=1e-10)
    close(theory.spectral_radius_deviation(1), np.sqrt(1 - 2 / np.pi), rtol=1e-9)
    above = integrate.quad(lambda r: 1 - theory.spectral_radius_cdf(r, 5), 0, 9, epsabs=1e-12)
    close(theory.expected_spectral_radius(5), above[0], rtol=1e-9)


def test_leaving_out_rows_of_the_identity_changes_nothing(monkeypatch):
    r = np.linspace(14.0, 20.0, 7)
    found = theory.ginibre._cdf(r, 300)
    monkeypatch.setattr(theory.ginibre, "_MARGIN", 1000.0)
    close(theory.ginibre._cdf(r, 300), found, atol=1e-13)


def test_newmans_exponents_in_closed_form():
    gamma = np.euler_gamma
    psi = [-gamma - 2 * np.log(2), -gamma]  # at 1/2 and 1
    close(theory.gaussian_exponents(2), [0.5 * psi[1], 0.5 * psi[0]], rtol=1e-14)
    close(theory.gaussian_exponents(2, [1.0, 3.0])[1], np.log(3) + theory.gaussian_exponents(2))
    close(theory.gaussian_critical_gain(32), 1.0159, atol=5e-5, rtol=0)
    several = theory.gaussian_exponents([1, 3], [[1.0], [2.0], [0.5]])
    assert several.shape == (3, 2, 3)
    assert np.isnan(several[:, 0, 1:]).all()
    close(several[1, 0, 0], theory.gaussian_exponents(1, 2.0)[0], rtol=1e-15)
    close(several[2, 1], theory.gaussian_exponents(3, 0.5), rtol=1e-15)
    close(theory.gaussian_exponents(32, theory.gaussian_critical_gain(32))[0], 0.0, atol=1e-14)
    n = 2000
    triangle = theory.lyapunov_spectrum("linear", 1.0).exponent((np.arange(n) + 0.5) / n)
    close(theory.gaussian_exponents(n)[:-20], triangle[:-20], atol=0.02)


def test_products_of_gaussian_matrices():
    """N = 8: exponents by QR, and the law of the log norm of a vector."""
    n, t, draws = 8, 40, 500
    rng = np.random.default_rng(1)
    frame = np.broadcast_to(np.eye(n), (draws, n, n))
    logs = np.zeros((draws, n))
    for _ in range(t):
        frame, R = np.linalg.qr(rng.standard_normal((draws, n, n)) * (1.2 / np.sqrt(n)) @ frame)
        logs += np.log(np.abs(np.diagonal(R, axis1=1, axis2=2)))
    error = logs.std(axis=0) / np.sqrt(draws)
    assert (np.abs(logs.mean(axis=0) - t * theory.gaussian_exponents(n, 1.2)) < 4 * error).all()
    # the first row of the frame is a fixed vector
    mean, variance = theory.gaussian_log_norm(t, n, 1.2)
    assert abs(logs[:, 0].mean() - mean) < 4 * error[0]
    assert logs[:, 0].var() == pytest.approx(variance, rel=0.25)


@pytest.mark.parametrize("n", [1, 39, 40, 1001, 10**9])
def test_log_moments_do_not_cancel_at_any_size(n):
    for k in (0.37, 2.0, 7.5):
        with mp.workdps(40):
            ratio = mp.loggamma((n + mp.mpf(k)) / 2) - mp.loggamma(mp.mpf(n) / 2)
            wanted = 1000 * (ratio + k * mp.log(mp.sqrt(mp.mpf(2) / n)))
        close(theory.gaussian_log_moment(k, 1000, n), float(wanted), atol=1e-10)


@given(k=st.floats(0.1, 6.0), n=st.integers(1, 60), g=st.floats(0.2, 3.0))
def test_moments_of_norms(k, n, g):
    mean, variance = theory.gaussian_log_norm(3, n, g)
    tiny = 1e-4
    moment = theory.gaussian_log_moment([tiny, k], 3, n, g)
    close(moment[0] / tiny, mean + tiny / 2 * variance, atol=1e-6, rtol=1e-6)
    assert moment[1] >= k * mean - 1e-12  # Jensen
    close(theory.gaussian_log_moment(2, 3, n, g), 6 * np.log(g), atol=1e-12)


def test_fuss_catalan():
    assert theory.fuss_catalan_moment([0, 1, 2, 3, 4], 1).tolist() == [1, 1, 2, 5, 14]  # Catalan
    assert theory.fuss_catalan_moment(1, [0, 1, 5]).tolist() == [1, 1, 1]
    close(theory.fuss_catalan_moment(2, np.arange(9)), np.arange(9) + 1.0)
    close(theory.fuss_catalan_edge([0, 1, 2, 3]), [1, 4, 27 / 4, 256 / 27], rtol=1e-14)
    k = np.array([2000, 2001])  # moments grow like powers of the edge
    ratio = theory.fuss_catalan_moment(k[:1] // 20 + 1, 3) / theory.fuss_catalan_moment(
        k[:1] // 20, 3
    )
    close(ratio, theory.fuss_catalan_edge(3), rtol=0.02)
    W = np.random.default_rng(2).standard_normal((300, 300)) / np.sqrt(300)
    for t in (1, 2, 3):
        values = np.linalg.svd(np.linalg.matrix_power(W, t), compute_uv=False) ** 2
        close(values.max(), theory.fuss_catalan_edge(t), rtol=0.12)
        spread = (values**2).mean() / values.mean() ** 2
        close(spread, theory.fuss_catalan_moment(2, t), rtol=0.08)


def test_circular_law():
    close(theory.circular_law([0.0, 1.0, 2.0, 9.0], gain=2.0), [0.0, 0.25, 1.0, 1.0])
    moduli = np.abs(np.linalg.eigvals(vg.draw_weights("gaussian", 4, 150, gain=2.0, rng=1)))
    for r in (0.7, 1.4):
        assert (moduli <= r).mean() == pytest.approx(theory.circular_law(r, 2.0), abs=0.02)


# ---- memory


def test_gated_rates():
    close(theory.lstm_carry_rate([0.0, 1.0, 3.0]), [-0.6931, -0.3133, -0.0486], atol=5e-5, rtol=0)
    close(theory.lstm_carry_rate([-800.0, 40.0]), [-800.0, -np.exp(-40.0)])


@given(t_max=st.floats(2.001, 1e7))
def test_chrono_rates(t_max):
    law = theory.chrono_rate(t_max)
    mean = mp.quad(
        lambda b: mp.log(b / (1 + b)) / (mp.mpf(t_max) - 2),
        [1, *(1 + (mp.mpf(t_max) - 2) / 10**k for k in (6, 4, 2)), mp.mpf(t_max) - 1],
    )
    close(law.mean, float(mean), rtol=1e-8)
    p = np.array([0.0, 0.2, 0.9, 1.0])
    rates = law.quantile(p)
    close(rates[[0, -1]], [-np.log(2), np.log1p(-1 / t_max)], rtol=1e-8)
    close(law.cdf(rates), p, atol=1e-8)
    close(law.cdf([-5.0, 0.0]), [0.0, 1.0])
    both = theory.chrono_rate([t_max, 3.0])
    close(both.cdf(both.quantile(p[:, None]))[:, 0], p, atol=1e-8)
    close(law.quantile(0.5), np.median(theory.lstm_carry_rate(np.log([1.0, t_max / 2, t_max - 1]))))


def test_horizons_are_those_of_profiles():
    cell = vg.RNN(0.5 * np.eye(4)[None], activation="linear")
    measured = vg.gradient_profile(cell, 100, rng=0).horizon(1e-3).lag
    assert np.ceil(theory.memory_horizon(np.log(0.5))) == measured
    close(theory.memory_horizon([-1.0, -5e-324, 0.0, 2.0], np.exp(-5)), [5.0, *[np.inf] * 3])


def test_the_sufficient_bound_holds_and_is_far_from_the_edge():
    W = vg.draw_weights("gaussian", 20, 30, gain=1.5, rng=0)
    for name in ("tanh", "sigmoid", "gelu"):
        cell = vg.RNN(W, activation=name)
        rate = vg.lyapunov_exponents(cell, 60, n_exponents=1, burn_in=20, rng=1)[:, 0]
        bound = theory.pascanu_bound(name, np.linalg.norm(W, 2, axis=(1, 2)))
        assert (rate <= bound).all()
    for name in NAMES:
        assert theory.pascanu_gain(name) <= 0.51 * theory.critical_gain(name)
        close(theory.pascanu_bound(name, 2 * theory.pascanu_gain(name)), 0.0, atol=1e-15)


def test_the_gap_of_the_bound_is_that_to_the_rate():
    g = np.array([0.4, 1.0, 7.0])
    close(theory.pascanu_gap("linear", g), np.log(2.0), atol=1e-14)
    for name in NAMES:
        rate = theory.largest_exponent(name, g, bias_variance=0.3)
        gap = theory.pascanu_gap(name, g, bias_variance=0.3)
        close(theory.pascanu_bound(name, 2 * g) - gap, rate, atol=1e-12)
        assert (gap >= np.log(2.0) - 1e-12).all()  # chi_1 is at most (g gamma)^2


@given(rate=st.floats(-2.0, 2.0), k=st.integers(0, 60), t=st.integers(1, 60))
def test_truncation_share_is_a_geometric_sum(rate, k, t):
    terms = np.exp(rate * np.arange(t))
    close(
        theory.truncation_share(rate, k, t), terms[:k].sum() / terms.sum(), rtol=1e-9, atol=1e-300
    )


def test_truncation_share_at_its_ends():
    f = theory.truncation_share
    close(f([-0.1, 0.0, 0.1], 7), [1 - np.exp(-0.7), 0.0, 0.0])
    close(f([-1e-9, 1e-9], 5, 10), 0.5, rtol=1e-8)
    assert f(3.0, 10, 100_000) == 0.0
    assert f(-3.0, 100, 10) == f(3.0, 100, 10) == 1.0


@given(x=st.floats(-0.97, 0.97))
def test_linear_recurrence(x):
    k = np.arange(4000)
    close(theory.linear_recurrence_variance(x), (x ** (2.0 * k)).sum(), rtol=1e-9)
    derivative = k[1:] * x ** (k[1:] - 1.0)
    close(theory.linear_recurrence_sensitivity(x), (derivative**2).sum(), rtol=1e-9)


# ---- numerics


def test_expectations_around_another_mean():
    def powers(x, row):
        return np.stack([x, x**2, np.abs(x)])

    mean, variance = np.array([0.3, -2.0]), np.array([4.0, 1e-6])
    folded = [stats.foldnorm.mean(abs(m) / v**0.5, scale=v**0.5) for m, v in zip(mean, variance)]
    found = gaussian_expectation(powers, variance, mean)
    close(found, [mean, variance + mean**2, folded], rtol=1e-12)


def test_expectations_follow_narrow_peaks():
    found = gaussian_expectation(lambda x, row: 1 / (1 + 1e12 * (x - 0.75) ** 2)[None], np.ones(1))
    close(found[0], np.pi * 1e-6 * stats.norm.pdf(0.75), rtol=1e-5)


@given(root=st.floats(-3.0, 3.0), power=st.sampled_from([1, 3, 7]))
def test_roots(root, power):
    found = find_root(lambda x, i: (x - root) ** power, np.full(2, -4.0), np.array([5.0, 3.5]))
    close(found, root, atol=1e-11)


# ---- bad input

BAD = [
    (lambda: theory.fixed_point("tan", 1.0), "did you mean 'tanh'"),
    (lambda: theory.fixed_point("tanh", -1.0), "gain: found -1, expected numbers of at least 0"),
    (lambda: theory.fixed_point("tanh", [1.0, np.nan]), "gain: found nan at index (1,)"),
    (lambda: theory.chi("tanh", 1.0, input_variance=-0.5), "input_variance: found -0.5"),
    (lambda: theory.chi("tanh", 1.0, bias_variance=np.inf), "bias_variance: found inf"),
    (lambda: theory.chi("tanh", [1, 2], bias_variance=[1, 2, 3]), "gain (2,), input_variance ()"),
    *(
        (call, "these shapes do not broadcast together")
        for call in (
            lambda: theory.circular_law([1, 2], [1, 2, 3]),
            lambda: theory.gaussian_exponents([1, 2], [1, 2, 3]),
            lambda: theory.gaussian_log_norm([1, 2], [1, 2, 3]),
            lambda: theory.gaussian_log_moment(1, [1, 2], [1, 2, 3]),
            lambda: theory.fuss_catalan_moment([1, 2], [1, 2, 3]),
            lambda: theory.spectral_radius_cdf([1, 2], 3, [1, 2, 3]),
            lambda: theory.expected_spectral_radius([1, 2], [1, 2, 3]),
            lambda: theory.gaussian_correlations("tanh", [1, 2], [0, 0, 0]),
            lambda: theory.memory_horizon([1, 2], [0.1, 0.2, 0.3]),
            lambda: theory.truncation_share([1, 2], [1, 2, 3]),
            lambda: theory.chrono_rate([3, 4]).quantile([0, 0, 0]),
            lambda: theory.chrono_rate([3, 4]).cdf([0, 0, 0]),
            lambda: theory.lyapunov_spectrum("linear", [1, 2]).density([0, 0, 0]),
        )
    ),
    (lambda: theory.critical_gain("tanh", -1), "input_variance: found -1"),
    (lambda: theory.gaussian_moments("tanh", -1), "variance: found -1"),
    (lambda: theory.gaussian_correlations("tanh", 0.0, 0.5), "variance: found 0, expected numbers"),
    (lambda: theory.gaussian_correlations("tanh", 1.0, 1.5), "correlation: found 1.5"),
    (lambda: theory.lyapunov_spectrum("tanh", 0.0), "gain: found 0"),
    (lambda: theory.lyapunov_spectrum("tanh", 1.0).exponent(1.5), "fraction: found 1.5"),
    (lambda: theory.spectral_radius_cdf(-1.0, 5), "radius: found -1"),
    (lambda: theory.expected_spectral_radius(0), "n_hidden: found 0"),
    (lambda: theory.gaussian_exponents(3, 0.0), "gain: found 0, expected numbers above 0"),
    (lambda: theory.gaussian_log_norm(-1, 3), "n_steps: found -1"),
    (lambda: theory.memory_horizon(-1.0, 1.0), "eps: found 1, expected numbers below 1"),
    (lambda: theory.chrono_rate(2.0), "t_max: found 2"),
    (lambda: theory.chrono_rate(9.0).quantile(2.0), "probability: found 2"),
    (lambda: theory.pascanu_bound("tanh", 0.0), "spectral_norm: found 0"),
    (lambda: theory.truncation_share(-1.0, 1, 0), "n_steps: found 0"),
    (lambda: theory.linear_recurrence_variance(1.0), "coefficient: found 1"),
]


@pytest.mark.parametrize(("call", "text"), BAD)
def test_bad_arguments_are_named(call, text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert text in str(caught.value)


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match="n_hidden: found dtype float64, expected whole numbers"):
        theory.expected_spectral_radius(2.5)
    with pytest.raises(TypeError, match="gain: found dtype"):
        theory.fixed_point("tanh", "1")


def test_every_public_function_has_an_example_and_states_its_result():
    for name in theory.__all__:
        value = getattr(theory, name)
        if callable(value) and not isinstance(value, type):
            assert ">>>" in value.__doc__, name
            assert "Returns" in value.__doc__, name
    assert vg.theory is theory
