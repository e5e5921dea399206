"""jacobian_product and log_singular_values against finite differences and 800 digits."""

from __future__ import annotations

import mpmath
import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from vgcore.activations import ACTIVATIONS


def exact_log_singular_values(W, x, n_steps, digits):
    """The same for an autonomous tanh network, in as many digits as it takes."""
    with mpmath.workdps(digits):
        W, x = mpmath.matrix(W.tolist()), mpmath.matrix(x.tolist())
        product = mpmath.eye(len(x))
        for _ in range(n_steps):
            product = W * mpmath.diag([mpmath.sech(v) ** 2 for v in x]) * product
            x = W * mpmath.matrix([mpmath.tanh(v) for v in x])
        values = mpmath.svd_r(product, compute_uv=False)
        return np.array(sorted((float(mpmath.log(v)) for v in values), reverse=True))


@pytest.mark.parametrize(
    "activation", sorted(set(ACTIVATIONS) - {"relu", "leaky_relu", "hard_tanh"})
)
def test_product_equals_finite_differences_of_the_forward_map(activation):
    """Identity 1, after burn-in, with inputs and bias."""
    n, n_steps, burn_in, h = 5, 5, 2, 1e-5
    gain = 1.5 / ACTIVATIONS[activation].max_slope
    cell = vg.RNN.draw(
        2, n, gain=gain, n_inputs=2, input_variance=0.02, bias_variance=0.01,
        activation=activation, rng=4,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    x, u = rng.standard_normal((2, n)), rng.standard_normal((2, burn_in + n_steps, 2))
    log_scale, P = vg.jacobian_product(cell, n_steps, inputs=u, initial_state=x, burn_in=burn_in)
    for d in range(2):
        parameters = cell.W_rec[d], cell.W_in[d], cell.bias[d], activation

        def run(x, u, n_steps, parameters=parameters):
            return naive.rnn_states(*parameters, u, x, n_steps)[-1]

        x_0 = run(x[d], u[d], burn_in)
        sides = [
            [run(x_0 + sign * h * e, u[d, burn_in:], n_steps) for e in np.eye(n)]
            for sign in (1, -1)
        ]
        expected = (np.array(sides[0]) - np.array(sides[1])).T / (2 * h)
        found = np.exp(log_scale[d]) * P[d]
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=1e-6 * np.abs(expected).max() + 1e-9
        )


@pytest.mark.parametrize("n", [1, 2, 7, 33, 65])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_product_equals_the_oracle_and_has_norm_one(activation, n):
    cell = vg.RNN.draw(2, n, gain=1.4, bias_variance=0.2, activation=activation, rng=n)
    x = np.random.default_rng(1).standard_normal((2, n)) + 0.5
    log_scale, P = vg.jacobian_product(cell, 6, initial_state=x)
    for d in range(2):
        jacobians = naive.rnn_jacobians(
            cell.W_rec[d], None, cell.bias[d], activation, None, x[d], 6
        )
        expected = np.linalg.multi_dot(jacobians[::-1])
        norm = np.linalg.norm(expected)
        if norm == 0.0:
            assert log_scale[d] == -np.inf
            continue
        np.testing.assert_allclose(np.linalg.norm(P[d]), 1.0, rtol=1e-14)
        np.testing.assert_allclose(log_scale[d], np.log(norm), rtol=0, atol=1e-12)
        np.testing.assert_allclose(P[d], expected / norm, rtol=0, atol=1e-13)


@pytest.mark.parametrize("lag", [1, 10, 300])
def test_tangent_and_adjoint_agree(lag):
    """Identity 4: a gradient through P^T has the norm that gradient_profile finds."""
    cell = vg.RNN.draw(3, 12, gain=1.2, rng=1)
    rng = np.random.default_rng(2)
    x, v = rng.standard_normal((3, 12)), rng.standard_normal((3, 12))
    profile = vg.gradient_profile(
        cell, lag, initial_state=x[:, None], loss_gradient=v[:, None]
    ).log_norm[:, 0, -1]
    log_scale, P = vg.jacobian_product(cell, lag, initial_state=x)
    found = log_scale + np.log(np.linalg.norm(np.einsum("dij,di->dj", P, v), axis=1))
    np.testing.assert_allclose(found, profile, atol=1e-10)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "leaky_relu"])
@pytest.mark.parametrize("gain", [0.1, 4.0])
def test_tangent_and_adjoint_agree_on_states_of_any_size(gain, activation):
    """Decay and growth beyond the range of a float, with inputs that come and go."""
    cell = vg.RNN.draw(3, 6, gain=gain, n_inputs=2, activation=activation, rng=1)
    rng = np.random.default_rng(2)
    x, v, u = rng.standard_normal((3, 6)), rng.standard_normal((3, 6)), np.zeros((1200, 2))
    u[0], u[400], u[1190] = rng.standard_normal((3, 2))
    profile = vg.gradient_profile(
        cell, 1200, inputs=u, initial_state=x[:, None], loss_gradient=v[:, None]
    ).log_norm[:, 0, -1]
    log_scale, P = vg.jacobian_product(cell, 1200, inputs=u, initial_state=x)
    with np.errstate(divide="ignore"):  # a product of exactly zero
        found = log_scale + np.log(np.linalg.norm(np.einsum("dij,di->dj", P, v), axis=1))
    np.testing.assert_allclose(found, profile, atol=1e-8)


@pytest.mark.parametrize("gain", [1e-3, 0.5, 3.0, 1e3])
def test_a_hundred_thousand_steps_neither_overflow_nor_underflow(gain):
    cell = vg.RNN.draw(2, 4, init="orthogonal", gain=gain, activation="linear", rng=1)
    log_scale, P = vg.jacobian_product(cell, 100_000, rng=1)
    expected = 100_000 * np.log(gain) + np.log(2.0)  # ||Q||_F = sqrt(4)
    np.testing.assert_allclose(log_scale, expected, rtol=1e-12)
    np.testing.assert_allclose(4 * P @ P.transpose(0, 2, 1), [np.eye(4)] * 2, atol=1e-9)
    singular = vg.log_singular_values(cell, 20_000, rng=1)
    np.testing.assert_allclose(singular, 20_000 * np.log(gain), rtol=1e-10)


def test_an_exactly_zero_product_is_minus_infinity_and_zeros():
    cell = vg.RNN(np.stack([np.eye(3, k=1), np.eye(3)]), activation="linear")
    log_scale, P = vg.jacobian_product(cell, 3, rng=0)
    assert log_scale[0] == -np.inf
    assert (P[0] == 0.0).all()
    assert log_scale[1] == pytest.approx(0.5 * np.log(3))
    singular = vg.log_singular_values(cell, 3, rng=0)
    assert (singular[0] == -np.inf).all()
    assert np.abs(singular[1]).max() < 1e-14


@pytest.mark.parametrize(
    ("n", "gain", "n_steps", "digits"),
    [(1, 2.0, 9, 40), (2, 1.2, 30, 60), (6, 2.0, 20, 250), (6, 10.0, 6, 400), (9, 1.2, 60, 300)],
)
def test_log_singular_values_are_those_of_many_digits(n, gain, n_steps, digits):
    cell = vg.RNN.draw(2, n, gain=gain, rng=3)
    x = np.random.default_rng(1).standard_normal((2, n))
    found = vg.log_singular_values(cell, n_steps, initial_state=x, rng=1)
    for d in range(2):
        expected = exact_log_singular_values(cell.W_rec[d], x[d], n_steps, digits)
        np.testing.assert_allclose(found[d], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("n", "gain", "spread", "n_steps"), [
    (2, 5.0, 30.0, 4), (3, 20.0, 10.0, 3), (8, 3.0, 5.0, 6), (8, 20.0, 1.0, 4),
    (17, 2.0, 9.0, 5), (17, 50.0, 3.0, 2), (32, 1.5, 1.0, 4), (32, 4.0, 5.0, 2),
])  # fmt: skip
def test_the_whole_graded_spectrum_is_resolved(n, gain, spread, n_steps):
    """To 1e-10, where 1e-6 is promised, though it may span 100 orders of magnitude and more."""
    cell = vg.RNN.draw(1, n, gain=gain, rng=3)
    x = spread * np.random.default_rng(1).standard_normal(n)
    found = vg.log_singular_values(cell, n_steps, initial_state=x, rng=1)[0]
    expected = exact_log_singular_values(cell.W_rec[0], x, n_steps, 700)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@given(
    n=st.integers(1, 20), n_steps=st.integers(1, 6), seed=st.integers(0, 99),
    factor=st.floats(1e-40, 1e40),
)  # fmt: skip
def test_scaling_and_turning_linear_cells(n, n_steps, seed, factor):
    """Singular values of (c W)^t are c^t times those of W^t; those of (Q W Q^T)^t, W^T^t the same.

    W has integer entries and Q permutes, so that nothing is rounded on the way to the kernel.
    """
    rng = np.random.default_rng(seed)
    W = rng.integers(-9, 10, size=(n, n)) + 20.0 * np.eye(n)
    factor = np.exp2(np.round(np.log2(factor)))
    shuffle = rng.permutation(n)
    cells = vg.RNN([W, factor * W, W[np.ix_(shuffle, shuffle)], W.T], activation="linear")
    plain, *others = vg.log_singular_values(cells, n_steps, rng=1)
    shifts = (n_steps * np.log(factor), 0.0, 0.0)
    for found, shift in zip(others, shifts, strict=True):
        np.testing.assert_allclose(found, plain + shift, rtol=0, atol=1e-9)


def test_slopes_at_the_end_of_the_range_keep_their_singular_values():
    """States near 300: slopes of 1e-260."""
    cell = vg.RNN.draw(1, 4, gain=1.0, rng=3)
    x = np.array([300.0, -1.0, 100.0, 20.0])
    found = vg.log_singular_values(cell, 1, initial_state=x, rng=1)[0]
    expected = exact_log_singular_values(cell.W_rec[0], x, 1, 800)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("n", [16, 40])
def test_log_singular_values_sum_to_the_log_determinant(n):
    cell = vg.RNN.draw(2, n, gain=2.0, rng=1)
    x = np.random.default_rng(1).standard_normal((2, n))
    found = vg.log_singular_values(cell, 30, initial_state=x, rng=1)
    for d in range(2):
        jacobians = naive.rnn_jacobians(cell.W_rec[d], None, 0.0, "tanh", None, x[d], 30)
        expected = sum(np.linalg.slogdet(jacobian)[1] for jacobian in jacobians)
        assert abs(found[d].sum() - expected) < 1e-10 * n


def test_leading_singular_values_are_those_of_the_product():
    cell = vg.RNN.draw(3, 20, gain=1.5, n_inputs=2, rng=1)
    u = np.random.default_rng(1).standard_normal((12, 2)) * 0.1
    options = {"inputs": u, "burn_in": 4, "rng": 2}
    log_scale, P = vg.jacobian_product(cell, 8, **options)
    found = vg.log_singular_values(cell, 8, **options)
    expected = np.log(np.linalg.svd(P, compute_uv=False)) + log_scale[:, None]
    np.testing.assert_allclose(found[:, :8], expected[:, :8], atol=1e-9)


def test_what_a_singular_matrix_leaves_unresolved_is_nan():
    rng = np.random.default_rng(1)
    rank_one = np.outer(rng.normal(size=6), rng.normal(size=6))
    near = rng.normal(size=(6, 6))
    near[5] = near[:5].sum(axis=0) + 1e-14 * near[5]
    found = vg.log_singular_values(vg.RNN([rank_one, near], activation="linear"), 5, rng=1)
    assert np.isnan(found).tolist() == [[False] + 5 * [True], 5 * [False] + [True]]
    product = np.linalg.matrix_power(near, 5)
    expected = np.log(np.linalg.svd(product, compute_uv=False)[:4])
    np.testing.assert_allclose(found[1, :4], expected, atol=1e-7)


@pytest.mark.parametrize(
    ("address", "density", "gain"), [([24, 3, 40], 0.3, 40.0), ([1, 5, 10], 0.5, 10.0)]
)
@pytest.mark.parametrize("seed", range(3))
def test_saturated_sparse_networks_give_what_is_right_or_nan(address, density, gain, seed):
    """Two first frames once agreed on a value that was wrong by nine, below one left open."""
    rng = np.random.default_rng(address)
    W = rng.standard_normal((1, 8, 8)) * gain * (rng.random((1, 8, 8)) < density)
    x = rng.standard_normal((1, 8))
    found = vg.log_singular_values(vg.RNN(W), 4, initial_state=x, rng=seed)[0]
    expected = exact_log_singular_values(W[0], x[0], 4, 900)
    resolved = ~np.isnan(found)
    assert resolved.sum() >= 3
    np.testing.assert_allclose(found[resolved], np.asarray(expected, float)[resolved], rtol=1e-6)


def test_units_of_slope_zero_count_as_singular_values_of_zero():
    cell = vg.RNN.draw(3, 12, gain=1.5, activation="relu", rng=1)
    x = np.random.default_rng(1).standard_normal((3, 12))
    found = vg.log_singular_values(cell, 4, initial_state=x, rng=1)
    for d in range(3):
        jacobians = naive.rnn_jacobians(cell.W_rec[d], None, 0.0, "relu", None, x[d], 4)
        values = np.linalg.svd(np.linalg.multi_dot(jacobians[::-1]), compute_uv=False)
        rank = int((values > 1e-12 * max(values[0], 1e-300)).sum())
        np.testing.assert_allclose(found[d, :rank], np.log(values[:rank]), atol=1e-9)
        assert (found[d, rank:] == -np.inf).all()


@pytest.mark.jit_off
def test_compiled_and_plain_kernels_agree_with_numpy():
    cell = vg.RNN.draw(1, 4, gain=1.2, n_inputs=1, rng=1)
    x, u = np.ones(4), np.linspace(-1, 1, 5)[:, None]
    jacobians = naive.rnn_jacobians(cell.W_rec[0], cell.W_in[0], 0.0, "tanh", u, x, 5)
    expected = np.linalg.multi_dot(jacobians[::-1])
    log_scale, P = vg.jacobian_product(cell, 5, inputs=u, initial_state=x)
    np.testing.assert_allclose(np.exp(log_scale[0]) * P[0], expected, atol=1e-12)
    found = vg.log_singular_values(cell, 5, inputs=u, initial_state=x, rng=1)[0]
    values = np.linalg.svd(expected, compute_uv=False)
    np.testing.assert_allclose(found[:3], np.log(values)[:3], atol=1e-8)


def test_bits_do_not_depend_on_threads_or_batch_position():
    cell = vg.RNN.draw(9, 17, gain=3.0, rng=1)
    x = np.random.default_rng(2).standard_normal((9, 17))
    for function in (vg.jacobian_product, vg.log_singular_values):
        whole = function(cell, 40, initial_state=x, rng=1, n_threads=1)
        threaded = function(cell, 40, initial_state=x, rng=1, n_threads=4)
        alone = function(vg.RNN(cell.W_rec[6:7]), 40, initial_state=x[6], rng=1)
        results = [r if isinstance(r, tuple) else (r,) for r in (whole, threaded, alone)]
        for all_draws, again, one in zip(*results, strict=True):
            np.testing.assert_array_equal(all_draws, again)
            np.testing.assert_array_equal(all_draws[6:7], one)


@pytest.mark.parametrize("function", [vg.jacobian_product, vg.log_singular_values])
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n_steps": 0}, ValueError, "n_steps: found 0, expected an integer of at least 1"),
        ({"burn_in": -1}, ValueError, "burn_in: found -1"),
        ({"inputs": np.zeros((7, 2))}, ValueError, "inputs: found shape (7, 2)"),
        ({"initial_state": [np.nan] * 4}, ValueError, "initial_state: found nan"),
        ({"n_threads": 0}, ValueError, "n_threads: found 0"),
        ({"cell": np.eye(3)}, TypeError, "expected a cell such as vgcore.RNN"),
        (
            {"cell": vg.RNN(np.full((1, 2, 2), 1e308), np.ones((1, 2, 2)), activation="linear")},
            FloatingPointError,
            "cell: one step of draw 0 overflows float64",
        ),
    ],
)
def test_bad_arguments_are_named(function, options, error, text):
    with pytest.raises(error) as caught:
        function(**{"cell": vg.RNN.draw(2, 4, n_inputs=2, rng=0), "n_steps": 10, **options})
    assert text in str(caught.value)
