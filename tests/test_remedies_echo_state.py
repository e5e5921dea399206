"""Echo state networks against closed forms, and against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

import vgcore as vg
from vgcore.remedies.echo_state import reservoir_states

echo = vg.remedies


def linear(n_draws=4, n=8, **options):
    law = {"init": "orthogonal", "gain": 0.9, "activation": "linear", "n_inputs": 1, "rng": 1}
    return vg.LeakyRNN.draw(n_draws, n, **{**law, **options})


@pytest.mark.parametrize("activation", ["tanh", "relu", "linear", "sigmoid"])
@pytest.mark.parametrize("leak", [0.3, 1.0])
def test_states_are_those_of_the_equation(activation, leak):
    cell = vg.LeakyRNN.draw(
        3, 7, spectral_radius=0.9, leak=leak, n_inputs=2, bias_variance=0.1, activation=activation,
        rng=1,
    )  # fmt: skip
    s = {
        "tanh": np.tanh,
        "relu": lambda x: np.maximum(x, 0),
        "linear": lambda x: x,
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    }[activation]
    u = np.random.default_rng(0).standard_normal((3, 30, 2))
    found = reservoir_states(cell, u, skipped=4)
    h = np.zeros((3, 7))
    for t in range(30):
        x = np.einsum("dij,dj->di", cell.W_rec, h) + np.einsum("dij,dj->di", cell.W_in, u[:, t])
        h = (1 - leak) * h + leak * s(x + cell.bias)
        if t >= 4:
            np.testing.assert_allclose(found[:, t - 4], h, rtol=1e-12, atol=1e-14)


def test_effective_radius_is_that_of_the_mixed_matrix():
    cell = vg.LeakyRNN.draw(5, 12, spectral_radius=1.3, density=0.5, leak=0.4, rng=1)
    mixed = 0.6 * np.eye(12) + 0.4 * cell.W_rec
    expected = np.abs(np.linalg.eigvals(mixed)).max(axis=1)
    np.testing.assert_allclose(echo.effective_radius(cell), expected, rtol=1e-9)
    plain = vg.RNN(cell.W_rec)
    np.testing.assert_allclose(echo.effective_radius(plain), 1.3, rtol=1e-9)


def test_a_linear_reservoir_has_echo_states_below_radius_one_and_none_above():
    for gain, verdict in ((0.8, "echo state"), (1.1, "chaotic")):
        found = echo.echo_state(linear(gain=gain), 400, rng=2)
        np.testing.assert_allclose(found.exponent, np.log(gain), atol=1e-6)
        assert found.share(verdict) == 1.0
        assert (found.low <= found.exponent).all()
        assert (found.exponent <= found.high).all()


def test_strong_input_gives_a_chaotic_reservoir_echo_states():
    cell = vg.LeakyRNN.draw(10, 60, gain=1.8, n_inputs=1, rng=1)
    u = np.random.default_rng(1).standard_normal((10, 1100, 1))
    assert echo.echo_state(cell, 1000, rng=2).share("chaotic") >= 0.8
    driven = echo.echo_state(cell, 1000, inputs=5.0 * u, rng=2)
    assert driven.share("echo state") == 1.0
    # and two runs from different states do come together
    exponent = vg.lyapunov_exponents(cell, 1000, n_exponents=1, burn_in=50, tangent_burn_in=50,
                                     inputs=5.0 * u, rng=2)[:, 0]  # fmt: skip
    np.testing.assert_allclose(driven.exponent, exponent, rtol=1e-9)


def test_two_states_of_rest_are_no_echo_state_though_each_attracts():
    cell = vg.LeakyRNN(2.0 * np.eye(1)[None].repeat(3, axis=0))
    found = echo.echo_state(cell, 200, initial_state=[[0.5], [1.0], [-2.0]], rng=1)
    assert (found.high < 0).all()
    assert found.share("multistable") == 1.0
    # the same unit under an input that holds it up has one state
    driven = vg.LeakyRNN(2.0 * np.eye(1)[None], np.ones((1, 1, 1)))
    assert echo.echo_state(driven, 200, inputs=[2.0], rng=1).share() == 1.0


def test_a_run_too_short_to_tell_is_undecided():
    found = echo.echo_state(linear(gain=0.99), 100, rng=1)
    assert found.share("undecided") == 1.0


def test_a_linear_orthogonal_reservoir_remembers_n_inputs():
    found = echo.memory_capacity(linear(n_draws=3, n=30, gain=0.95), 20_000, max_delay=250, rng=2)
    np.testing.assert_allclose(found.total, 30, rtol=0.01)
    assert found.to_frame().shape == (3 * 251, 3)


def test_each_delay_is_that_of_the_closed_form():
    """MC_k = w_k^T C^-1 w_k with w_k = A^k w_in and C the covariance, for unit input variance."""
    cell = linear(n_draws=3, n=5, init="gaussian", gain=None, spectral_radius=0.8, leak=0.7)
    found = echo.memory_capacity(cell, 100_000, max_delay=20, washout=200, rng=3)
    for d in range(3):
        A = 0.3 * np.eye(5) + 0.7 * cell.W_rec[d]
        w = 0.7 * cell.W_in[d, :, 0]
        C = linalg.solve_discrete_lyapunov(A, np.outer(w, w))
        powers = [np.linalg.matrix_power(A, k) @ w for k in range(21)]
        expected = [p @ np.linalg.solve(C, p) for p in powers]
        np.testing.assert_allclose(found.capacity[d], expected, atol=0.02)
        assert found.total[d] == pytest.approx(sum(expected), abs=0.05)


def test_chance_alone_explains_nothing():
    """States that never meet the input, but do vary: the shares scatter about 0."""
    cell = vg.LeakyRNN.draw(
        6, 30, gain=1.8, n_inputs=1, input_variance=0.0, bias_variance=0.1, rng=1
    )
    found = echo.memory_capacity(cell, 2000, max_delay=300, washout=300, rng=2)
    assert abs(found.total.mean()) < 1.0


def test_a_ridge_takes_memory_away():
    cell = linear(n_draws=3, n=20, gain=0.9)
    totals = [
        echo.memory_capacity(cell, 4000, max_delay=80, ridge=ridge, rng=2).total
        for ridge in (0.0, 1e-3, 1.0)
    ]
    assert (totals[0] > totals[1]).all()
    assert (totals[1] > totals[2]).all()


def test_results_do_not_depend_on_threads():
    cell = vg.LeakyRNN.draw(5, 20, spectral_radius=0.9, n_inputs=1, rng=1)
    one, two = (
        echo.memory_capacity(cell, 500, max_delay=40, rng=2, n_threads=n).total for n in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


def test_a_vanilla_network_is_read_after_its_activation():
    cell = vg.RNN.draw(2, 10, spectral_radius=0.9, n_inputs=1, rng=1)
    leaky = vg.LeakyRNN(cell.W_rec, cell.W_in)
    one, two = (echo.memory_capacity(c, 500, max_delay=20, rng=2) for c in (cell, leaky))
    np.testing.assert_array_equal(one.capacity, two.capacity)
    assert "MemoryCapacity(median" in repr(one)
    assert "EchoState(" in repr(echo.echo_state(cell, 50, rng=1))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: echo.effective_radius(vg.LSTM.draw(1, 2)), TypeError, "cell: found LSTM"),
        (lambda: echo.echo_state(linear(), 10), ValueError, "n_steps: found 10"),
        (lambda: echo.echo_state(linear(), 100, level=2.0), ValueError, "level: found 2.0"),
        (
            lambda: echo.memory_capacity(linear(n_inputs=2), 100, max_delay=5),
            ValueError,
            "found 2 inputs, expected 1",
        ),
        (lambda: echo.memory_capacity(linear(), 79, max_delay=5), ValueError, "n_steps: found 79"),
        (
            lambda: echo.memory_capacity(linear(), 100, max_delay=5, washout=4),
            ValueError,
            "washout: found 4",
        ),
        (
            lambda: echo.memory_capacity(linear(), 100, max_delay=5, ridge=-1.0),
            ValueError,
            "ridge: found -1.0",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
