"""Small cases that run with Numba's compiler on and off: the plain code says what is computed.

    NUMBA_DISABLE_JIT=1 pytest -m jit_off

Under coverage this shows which lines of the kernels the tests reach.
"""

from __future__ import annotations

import naive
import numpy as np
import pytest

import vgcore as vg
from vgcore.activations import ACTIVATIONS
from vgcore.kernels import layout

pytestmark = [
    pytest.mark.jit_off,
    # states are scaled out of range on purpose; compiled code does so in silence
    pytest.mark.filterwarnings("ignore:overflow encountered"),
]


@pytest.fixture(params=["side by side", "one by one"])
def rows(request, monkeypatch):
    """Rows are carried side by side unless the memory for it is refused."""
    if request.param == "one by one":
        monkeypatch.setattr(layout, "KEPT_BYTES", 0)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_profile_equals_oracle(activation, dtype):
    cell = vg.RNN.draw(
        2, 3, gain=1.1, n_inputs=2, bias_variance=0.1, activation=activation, dtype=dtype, rng=1
    )
    rng = np.random.default_rng(2)
    u, x0, v = (rng.standard_normal(shape) for shape in ((7, 2), (3,), (3,)))
    found = vg.gradient_profile(
        cell, 5, inputs=u, initial_state=x0, loss_gradient=v, burn_in=2, jacobian="as_printed"
    )
    for d in range(2):
        log_norm, log_contribution = naive.rnn_profile(
            cell.W_rec[d], cell.W_in[d], cell.bias[d], activation, u, x0, v, 5, 2, "as_printed"
        )
        accuracy = 1e-9 if dtype == "float64" else 1e-4
        np.testing.assert_allclose(found.log_norm[d, 0], log_norm, atol=accuracy)
        np.testing.assert_allclose(found.log_contribution[d, 0], log_contribution, atol=accuracy)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(("activation", "gain"), [("linear", 1e-9), ("relu", 1e9), ("tanh", 1e-9)])
def test_states_are_rescaled_at_both_ends(activation, gain):
    W = gain * np.array([[[1.0, 0.2], [0.3, 1.0]]])
    found = vg.gradient_profile(
        vg.RNN(W, activation=activation), 60, initial_state=[1.0, 1.0], rng=1
    )
    assert np.isfinite(found.log_contribution[0, 0, :-1]).all()
    assert found.rate().value == pytest.approx(np.log(np.abs(np.linalg.eigvals(W)).max()), rel=1e-3)


@pytest.mark.usefixtures("rows")
def test_driven_relu_leaves_and_reenters_the_normal_range():
    """A state that explodes under W and is then driven: the input is scaled with it."""
    cell = vg.RNN(1e5 * np.eye(2)[None], np.ones((1, 2, 1)), activation="relu")
    u = np.r_[np.ones(20), np.zeros(5)][:, None]
    found = vg.gradient_profile(
        cell, 25, inputs=u, initial_state=[1.0, 1.0], loss_gradient=[1.0, 0.0]
    )
    log_norm, log_contribution = naive.rnn_profile(
        cell.W_rec[0], cell.W_in[0], np.zeros(2), "relu", u, [1.0, 1.0], [1.0, 0.0], 25
    )
    np.testing.assert_allclose(found.log_norm[0, 0], log_norm, rtol=1e-12)
    np.testing.assert_allclose(found.log_contribution[0, 0, :-1], log_contribution[:-1], rtol=1e-12)


@pytest.mark.usefixtures("rows")
def test_zero_gradient_and_zero_state():
    found = vg.gradient_profile(
        vg.RNN(np.zeros((1, 2, 2))), 3, initial_state=[0.0, 0.0], loss_gradient=[1.0, 0.0]
    )
    assert found.log_norm[0, 0].tolist() == [0.0, -np.inf, -np.inf, -np.inf]
    assert (found.log_contribution == -np.inf).all()


def test_orthogonal_matrices():
    Q = vg.draw_weights("orthogonal", 3, 4, rng=1)
    assert np.abs(Q @ Q.transpose(0, 2, 1) - np.eye(4)).max() < 1e-13


def test_spectral_radius():
    W = np.random.default_rng(0).standard_normal((3, 5, 5))
    W[1] = np.triu(W[1], 1)
    W[2] = np.eye(5)[[1, 2, 3, 4, 0]]
    found = vg.spectral_radius(W)
    assert found[0] == pytest.approx(naive.spectral_radius(W[0]), rel=1e-9)
    assert found[1:].tolist() == [0.0, 1.0]
