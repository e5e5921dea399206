"""Lyapunov exponents and Jacobian products of LSTM, GRU, LeakyRNN and DeepNet."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from test_cell_profiles import KINDS, draw, steps_of, taken

import vgcore as vg


def trajectory(kind, n, n_steps, burn_in=5, dtype="float64"):
    """A cell, and the arguments of a driven trajectory of it."""
    burn_in = 0 if kind in ("DeepNet", "residual") else burn_in
    cell = draw(kind, 2, n, n_steps, dtype, gain=2.0)
    rng = np.random.default_rng(1)
    u, x0 = rng.standard_normal((burn_in + n_steps, 2)), rng.standard_normal(cell.n_state)
    drive = {"inputs": u, "burn_in": burn_in} if cell.n_inputs else {}
    return cell, {"initial_state": x0, **drive}, u, x0, burn_in


def jacobians(cell, d, u, x, burn_in):
    """dx_t/dx_{t-1} of the steps after burn-in, by complex steps."""
    found = []
    for step, W in zip(*steps_of(cell, d, u), strict=True):
        moves = 1e-200j * np.eye(len(x))
        found.append(np.array([step(W, x + move).imag / 1e-200 for move in moves]).T)
        x = step(W, x)
    return found[burn_in:]


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_products_equal_oracle(kind, n):
    cell, options, u, x0, burn_in = trajectory(kind, n, 40)
    log_scale, P = vg.jacobian_product(cell, 40, **options)
    for d in range(2):
        product = np.eye(cell.n_state)
        for jacobian in jacobians(cell, d, u, x0, burn_in):
            product = jacobian @ product
        assert np.linalg.norm(P[d]) == pytest.approx(1.0)
        np.testing.assert_allclose(
            np.exp(log_scale[d]) * P[d], product, atol=1e-12 * np.linalg.norm(product)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_profile_is_a_product_with_the_loss(kind):
    cell, options, _, _, _ = trajectory(kind, 6, 30)
    v = np.random.default_rng(3).standard_normal(cell.n_state)
    log_scale, P = vg.jacobian_product(cell, 30, **options)
    found = vg.gradient_profile(cell, 30, loss_gradient=v, **options)
    expected = log_scale + np.log(np.linalg.norm(P.transpose(0, 2, 1) @ v, axis=1))
    np.testing.assert_allclose(found.log_norm[:, 0, -1], expected, atol=1e-10)


@pytest.mark.parametrize(("n", "n_steps"), [(1, 3), (4, 12), (5, 40)])
@pytest.mark.parametrize("kind", KINDS)
def test_log_singular_values_are_those_of_many_digits(kind, n, n_steps):
    cell, options, u, x0, burn_in = trajectory(kind, n, n_steps)
    found = vg.log_singular_values(cell, n_steps, rng=1, **options)
    for d in range(2):
        with mpmath.workdps(300):
            product = mpmath.eye(cell.n_state)
            for jacobian in jacobians(cell, d, u, x0, burn_in):
                product = mpmath.matrix(jacobian.tolist()) * product
            values = mpmath.svd_r(product, compute_uv=False)
            expected = [float(mpmath.log(value)) for value in values]
        np.testing.assert_allclose(found[d], sorted(expected, reverse=True), atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_exponents_add_up_to_the_volume(kind):
    cell, options, u, x0, burn_in = trajectory(kind, 5, 50)
    found = vg.lyapunov_exponents(cell, 50, rng=2, **options)
    assert (np.diff(found, axis=1) <= 0).all()
    for d in range(2):
        volumes = [np.linalg.slogdet(J)[1] for J in jacobians(cell, d, u, x0, burn_in)]
        assert found[d].sum() == pytest.approx(np.mean(volumes), abs=1e-9)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "LeakyRNN"])
def test_exponents_of_intervals_and_histories_agree(kind):
    cell, options, *_ = trajectory(kind, 5, 70)
    options["inputs"] = options["inputs"][:75]
    options["burn_in"] = 3
    whole = vg.lyapunov_exponents(cell, 60, tangent_burn_in=12, rng=2, **options)
    few = vg.lyapunov_exponents(
        cell, 60, n_exponents=2, tangent_burn_in=12, qr_interval=2, rng=2, **options
    )
    each = vg.lyapunov_exponents(cell, 60, n_exponents=2, tangent_burn_in=12, rng=2, **options)
    np.testing.assert_allclose(few, each, atol=1e-9)
    history = vg.lyapunov_history(cell, [7, 33, 60], tangent_burn_in=12, rng=2, **options)
    np.testing.assert_allclose(history[:, 2], whole, atol=1e-9)


@pytest.mark.parametrize("trick", [{"leak": 1.0}, {"leak": 0.25}])
def test_leaky_linear_units_have_the_exponents_of_their_matrix(trick):
    W = np.diag([3.0, 0.5, 0.1])[None]
    cell = vg.LeakyRNN(W, activation="linear", **trick)
    found = vg.lyapunov_exponents(cell, 3000, tangent_burn_in=100, rng=1)
    expected = np.log(1 - trick["leak"] + trick["leak"] * np.diag(W[0]))
    np.testing.assert_allclose(found[0], expected, atol=1e-9)
    log_scale, _ = vg.jacobian_product(cell, 3000, rng=1)
    assert log_scale[0] == pytest.approx(3000 * expected[0], rel=1e-9)


def test_leak_1_has_the_exponents_of_the_vanilla_network():
    cell = vg.RNN.draw(2, 12, gain=1.5, n_inputs=1, input_variance=4.0, rng=1)
    leaky = vg.LeakyRNN(cell.W_rec, cell.W_in)
    u = np.random.default_rng(2).standard_normal((4000, 1))
    options = {"inputs": u, "burn_in": 300, "tangent_burn_in": 100, "rng": 3}
    expected, found = (vg.lyapunov_exponents(one, 3600, **options) for one in (cell, leaky))
    np.testing.assert_allclose(found[:, :6], expected[:, :6], atol=5e-3)


def test_exponents_of_an_lstm_without_recurrent_weights():
    """dc/dc is the forget gate; h depends on the h before not at all."""
    bias = vg.LSTM.draw(1, 4, chrono=30.0, rng=1).bias
    found = vg.lyapunov_exponents(vg.LSTM(None, np.zeros((1, 16, 4)), bias), 500, rng=1)
    kept = -np.logaddexp(0, -vg.LSTM.gate("f", bias)[0])
    np.testing.assert_allclose(found[0, :4], np.sort(kept)[::-1], atol=1e-2)
    assert (found[0, 4:] < -1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_results_depend_on_neither_threads_nor_place(kind, dtype):
    cell, options, *_ = trajectory(kind, 7, 40, dtype=dtype)

    def run(cell, n_threads):
        options["n_threads"] = n_threads
        exponents = vg.lyapunov_exponents(cell, 40, rng=1, **options)
        values = vg.log_singular_values(cell, 40, rng=1, **options)
        return exponents, values, *vg.jacobian_product(cell, 40, **options)

    whole = run(cell, 1)
    for found, expected in zip(run(cell, 2), whole, strict=True):
        assert (found == expected).all()
    for found, expected in zip(run(taken(cell, [1]), 1), whole, strict=True):
        assert (found == expected[1:]).all()


def test_functions_of_some_cells_alone_say_so():
    with pytest.raises(TypeError, match=r"found LSTM; this function is for vgcore\.RNN alone"):
        vg.remedies.penalised_descent(vg.LSTM.draw(1, 3, rng=1), "omega", 5, 0.1, n_steps=5)
    with pytest.raises(TypeError, match="expected a cell such as"):
        vg.lyapunov_exponents(3, 5)
    with pytest.raises(ValueError, match="n_steps: found 6"):
        vg.jacobian_product(vg.DeepNet.draw(1, 5, 3, rng=1), 6)
