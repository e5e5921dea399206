"""Penalties against their formulas, finite differences and closed forms, and descent on them."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_peers import require

import vgcore as vg
from vgcore.activations import ACTIVATIONS

penalties = vg.remedies.penalties
descent = vg.remedies.penalised_descent

NAMES = ["omega", "omega_squared", "orthogonality", "l2"]


def difference(function, W, h=1e-6):
    """Central finite differences of a function of a matrix."""
    out = np.empty_like(W)
    for index in np.ndindex(W.shape):
        step = np.zeros_like(W)
        step[index] = h
        out[index] = (function(W + step) - function(W - step)) / (2 * h)
    return out


@pytest.mark.jit_off
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_omega_and_its_immediate_derivative(activation, squared):
    """The derivative is that of Omega with gradients and states held fixed."""
    n, n_steps = 4, 6
    gain = 1.2 / ACTIVATIONS[activation].max_slope
    cell = vg.RNN.draw(2, n, gain=gain, n_inputs=2, bias_variance=0.1, activation=activation, rng=1)
    rng = np.random.default_rng(2)
    u, x0, v = (rng.standard_normal((2, 3, *shape)) for shape in ((n_steps, 2), (n,), (n,)))
    found = penalties.omega(
        cell, n_steps, squared=squared, inputs=u, n_trajectories=3, initial_state=x0,
        loss_gradient=v,
    )  # fmt: skip
    for d in range(2):
        passes = [
            naive.gradients_and_slopes(
                cell.W_rec[d], cell.W_in[d], cell.bias[d], activation, u[d, k], x0[d, k], v[d, k],
                n_steps,
            )
            for k in range(3)
        ]  # fmt: skip

        def mean(W, passes=passes):
            return np.mean([naive.omega_of_steps(W, *one, squared) for one in passes])

        np.testing.assert_allclose(found.value[d], mean(cell.W_rec[d]), rtol=1e-12)
        wanted = difference(mean, cell.W_rec[d])
        np.testing.assert_allclose(
            found.gradient[d], wanted, rtol=0, atol=1e-7 * (1 + np.abs(wanted).max())
        )


@pytest.mark.parametrize("squared", [False, True])
def test_omega_equals_autograd(squared):
    require("torch")
    import torch

    cell = vg.RNN.draw(1, 6, gain=1.4, rng=1)
    x0, v = np.random.default_rng(2).standard_normal((2, 6))
    deltas, slopes = naive.gradients_and_slopes(
        cell.W_rec[0], None, np.zeros(6), "tanh", None, x0, v, 20
    )
    W = torch.from_numpy(cell.W_rec[0].copy()).requires_grad_()
    total = 0.0
    for d, slope in zip(map(torch.from_numpy, deltas), map(torch.from_numpy, slopes)):
        ratio = torch.linalg.vector_norm(slope * (W.T @ d)) / torch.linalg.vector_norm(d)
        total = total + ((ratio**2 - 1) ** 2 if squared else (ratio - 1) ** 2)
    total.backward()
    found = penalties.omega(cell, 20, squared=squared, initial_state=x0, loss_gradient=v)
    assert found.value[0] == pytest.approx(total.item(), rel=1e-12)
    np.testing.assert_allclose(found.gradient[0], W.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.jit_off
@given(a=st.floats(0.05, 5.0), n=st.integers(1, 6), n_steps=st.integers(1, 9))
def test_closed_forms_on_a_multiple_of_the_identity(a, n, n_steps):
    """Omega_k = (a - 1)^2, with derivative 2 (a - 1) v v^T; squared (a^2 - 1)^2, 4 a (a^2 - 1)."""
    cell = vg.RNN(a * np.eye(n)[None], activation="linear")
    v = np.random.default_rng(n).standard_normal(n)
    outer = np.outer(v, v) / (v @ v)
    plain = penalties.omega(cell, n_steps, loss_gradient=v, rng=0)
    np.testing.assert_allclose(plain.value, n_steps * (a - 1) ** 2, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(plain.gradient[0], n_steps * 2 * (a - 1) * outer, atol=1e-12)
    squared = vg.remedies.penalties.omega(cell, n_steps, squared=True, loss_gradient=v, rng=0)
    if a ** (n_steps - 1) * np.linalg.norm(v) > 1e-10:
        np.testing.assert_allclose(squared.value, n_steps * (a**2 - 1) ** 2, rtol=1e-9, atol=1e-12)
        factor = n_steps * 4 * a * (a**2 - 1)
        np.testing.assert_allclose(squared.gradient[0], factor * outer, rtol=1e-9, atol=1e-11)
    orthogonality, l2 = penalties.orthogonality(cell), penalties.l2(cell)
    np.testing.assert_allclose(orthogonality.value, n * (a**2 - 1) ** 2, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        orthogonality.gradient[0], 4 * a * (a**2 - 1) * np.eye(n), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(l2.value, n * a**2, rtol=1e-12)
    np.testing.assert_allclose(l2.gradient[0], 2 * a * np.eye(n), rtol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 9, 17])
def test_orthogonality_and_l2_equal_their_formulas_and_finite_differences(n):
    cell = vg.RNN.draw(2, n, gain=1.3, rng=n)
    W = cell.W_rec
    gram = W.transpose(0, 2, 1) @ W - np.eye(n)
    found = penalties.orthogonality(cell)
    np.testing.assert_allclose(found.value, (gram**2).sum(axis=(1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.gradient, 4 * W @ gram, rtol=1e-10, atol=1e-12)
    wanted = difference(lambda W: ((W.T @ W - np.eye(n)) ** 2).sum(), W[1])
    np.testing.assert_allclose(found.gradient[1], wanted, atol=1e-6 * np.abs(wanted).max())
    found = penalties.l2(cell)
    np.testing.assert_allclose(found.value, (W**2).sum(axis=(1, 2)), rtol=1e-12)
    assert (found.gradient == 2 * W).all()


def test_the_squared_form_drops_steps_below_its_bound():
    """||d|| falls from 1 by tenths; steps from below 1e-10 are left out, in that form alone."""
    cell = vg.RNN(0.1 * np.eye(2)[None], activation="linear")
    arguments = {"loss_gradient": [1.0, 0.0], "rng": 0}
    assert penalties.omega(cell, 30, **arguments).value[0] == pytest.approx(30 * 0.81)
    squared = penalties.omega(cell, 30, squared=True, **arguments).value[0]
    kept = round(squared / 0.99**2)
    assert squared == pytest.approx(kept * 0.99**2)
    assert kept in (10, 11)  # the step from 1e-10 is on the bound, up to rounding
    # larger gradients are held apart from their scale, so nothing else changes with it
    large = penalties.omega(cell, 2000, loss_gradient=[1e300, 0.0], rng=0).value[0]
    assert large == pytest.approx(2000 * 0.81)


def test_zero_gradients_in_omega():
    """A step that ends the gradient counts 1; there is no ratio after it."""
    cell = vg.RNN([np.eye(3, k=1), np.zeros((3, 3))], activation="linear")
    found = penalties.omega(cell, 9, loss_gradient=[1.0, 0.0, 0.0], rng=0)
    assert found.value.tolist() == [1.0, 1.0]
    assert (found.gradient == 0.0).all()
    found = penalties.omega(cell, 9, loss_gradient=np.zeros(3), rng=0)
    assert found.value.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_orthogonality_driven_to_zero_gives_rate_zero(activation):
    cell = vg.RNN.draw(4, 12, gain=1.2, activation=activation, rng=1)
    largest = np.linalg.norm(cell.W_rec, 2, axis=(1, 2))
    found = descent(cell, "orthogonality", 2000, 1 / (8 * largest**2))
    assert (found.penalty[:, -1] < 1e-12).all()
    assert (np.diff(found.penalty) <= 1e-12).all()
    assert (found.stopped_at == -1).all()
    assert found.cell.activation == activation
    W = found.cell.W_rec
    np.testing.assert_allclose(W @ W.transpose(0, 2, 1), [np.eye(12)] * 4, atol=1e-6)
    rate = vg.gradient_profile(found.cell, 200, rng=0).rate().value
    if activation == "linear":
        np.testing.assert_allclose(rate, 0.0, atol=1e-7)
    # the singular vectors stay: W is the orthogonal factor of the matrix it came from
    U, _, V = np.linalg.svd(cell.W_rec)
    np.testing.assert_allclose(W, U @ V, atol=1e-6)


@pytest.mark.parametrize("r", [0.01, 0.05])
def test_singular_values_move_as_the_docstring_says(r):
    cell = vg.RNN(np.diag([2.0, 1.0, 0.3])[None])
    sigma = np.array([2.0, 1.0, 0.3])
    for _ in range(5):
        sigma = sigma * (1 - 4 * r * (sigma**2 - 1))
    W = descent(cell, "orthogonality", 5, r).cell.W_rec[0]
    np.testing.assert_allclose(W, np.diag(sigma), atol=1e-13)


def test_l2_descent_is_a_factor():
    cell = vg.RNN.draw(2, 5, rng=1)
    found = descent(cell, "l2", 7, 0.1)
    np.testing.assert_allclose(found.cell.W_rec, cell.W_rec * 0.8**7, rtol=1e-12)
    np.testing.assert_allclose(found.penalty, found.penalty[:, :1] * 0.64 ** np.arange(8))
    np.testing.assert_allclose(found.gradient_norm, 2 * np.sqrt(found.penalty), rtol=1e-12)


@pytest.mark.parametrize("name", ["omega", "omega_squared"])
def test_descent_on_omega_keeps_the_gradient_longer(name):
    cell = vg.RNN.draw(10, 16, gain=0.7, rng=1)
    before = vg.gradient_profile(cell, 30, rng=2).rate().value
    found = descent(cell, name, 200, 0.01, n_steps=30, rng=2)
    after = vg.gradient_profile(found.cell, 30, rng=2).rate().value
    # its immediate derivative is not that of its value, so one draw may go astray
    assert (np.abs(after) < np.abs(before)).sum() >= 9
    assert (found.penalty[:, -1] < 0.3 * found.penalty[:, 0]).sum() >= 9
    first = penalties.omega(cell, 30, squared=name == "omega_squared", rng=2)
    assert (found.penalty[:, 0] == first.value).all()
    last = penalties.omega(found.cell, 30, squared=name == "omega_squared", rng=2)
    assert (found.penalty[:, -1] == last.value).all()


@pytest.mark.jit_off
def test_a_draw_that_diverges_stops_and_leaves_the_others_alone():
    """Singular values 10 and 1.5 at a rate of 0.1: one above the bound, one below."""
    cell = vg.RNN([10.0 * np.eye(3), 1.5 * np.eye(3), 10.0 * np.eye(3)])
    found = descent(cell, "orthogonality", 50, [0.1, 0.1, 0.001])
    alone = descent(vg.RNN(cell.W_rec[1:2]), "orthogonality", 50, 0.1)
    assert (found.penalty[1] == alone.penalty[0]).all()
    assert (found.cell.W_rec[1] == alone.cell.W_rec[0]).all()
    assert found.stopped_at.tolist()[1:] == [-1, -1]
    stop = found.stopped_at[0]
    assert stop > 0
    assert "1e12 times" in found.reason[0]
    assert found.reason[1] == ""
    assert np.isfinite(found.penalty[0, : stop + 1]).all()
    assert np.isnan(found.penalty[0, stop + 1 :]).all()
    # what is kept is the matrix before that update
    W = descent(vg.RNN(cell.W_rec[:1]), "orthogonality", int(stop) - 1, 0.1).cell.W_rec
    assert (found.cell.W_rec[0] == W[0]).all()
    assert f"draw 0 stopped at update {stop}: the penalty is more than" in repr(found)


@pytest.mark.parametrize(
    ("W", "rate", "dtype", "stop", "reason"),
    [
        (1e160, 1.0, "float64", 0, "not finite"),
        (10.0, 1e200, "float64", 1, "not finite"),
        (1e30, 1.0, "float64", 1, "not finite"),
        (10.0, 10.0, "float64", 1, "1e12"),
        (10.0, 1e300, "float32", 1, "range of the cell's dtype"),
        (1e30, 1e300, "float64", 1, "range of the cell's dtype"),
    ],
)
def test_why_a_draw_stops(W, rate, dtype, stop, reason):
    cell = vg.RNN((W * np.eye(2)[None]).astype(dtype))
    found = descent(cell, "orthogonality", 5, rate)
    assert found.stopped_at[0] == stop
    assert reason in found.reason[0]
    assert (found.cell.W_rec == cell.W_rec).all()


def test_parameters_other_than_the_recurrent_ones_stay():
    cell = vg.RNN.draw(2, 4, n_inputs=3, bias_variance=0.5, activation="relu", rng=1)
    before = cell.W_rec.copy()
    found = descent(cell, "omega", 3, 0.1, n_steps=5, inputs=np.ones(3), rng=1).cell
    assert (cell.W_rec == before).all()
    assert (found.W_rec != before).any()
    assert (found.W_in == cell.W_in).all()
    assert (found.bias == cell.bias).all()
    assert found.activation == "relu"
    assert descent(vg.RNN.draw(1, 4, dtype="float32", rng=1), "l2", 1, 0.1).cell.dtype == "float32"


@pytest.mark.parametrize("name", NAMES)
def test_bits_depend_on_neither_threads_nor_batch(name):
    cell = vg.RNN.draw(7, 19, gain=1.2, rng=1)
    x0, v = np.random.default_rng(2).standard_normal((2, 7, 2, 19))
    rates = np.linspace(0.001, 0.01, 7)

    def run(draws, n_threads):
        return descent(
            vg.RNN(cell.W_rec[draws]), name, 5, rates[draws], n_steps=8, n_trajectories=2,
            initial_state=x0[draws], loss_gradient=v[draws], n_threads=n_threads,
        )  # fmt: skip

    whole = run(slice(0, 7), 1)
    for draws, n_threads in [(slice(0, 7), 3), (slice(4, 5), 1), (slice(2, 7), 2)]:
        part = run(draws, n_threads)
        assert (part.penalty == whole.penalty[draws]).all()
        assert (part.gradient_norm == whole.gradient_norm[draws]).all()
        assert (part.cell.W_rec == whole.cell.W_rec[draws]).all()


def test_frame_and_reprs():
    cell = vg.RNN.draw(3, 4, rng=1)
    found = descent(cell, "l2", 2, 0.1)
    frame = found.to_frame()
    assert len(frame) == 9
    assert (frame["penalty"].to_numpy() == found.penalty.ravel()).all()
    assert repr(found).startswith("Descent(3 draws, 2 updates; median penalty ")
    assert "of 3" in repr(penalties.l2(cell))
    wild = descent(vg.RNN([1e160 * np.eye(2)] * 5), "l2", 2, 0.1)
    assert repr(wild).endswith("2 more stopped)")


CELL = vg.RNN.draw(2, 3, n_inputs=1, rng=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"penalty": "omegas"}, ValueError, "penalty: 'omegas' is not known; did you mean 'omega'"),
        ({"n_steps": None}, ValueError, "n_steps: not given"),
        ({"n_steps": 0}, ValueError, "n_steps: found 0"),
        ({"n_updates": -1}, ValueError, "n_updates: found -1"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate: found 0, expected numbers above 0"),
        ({"learning_rate": [0.1, -0.1]}, ValueError, "learning_rate: found -0.1"),
        ({"learning_rate": np.nan}, ValueError, "learning_rate: found nan"),
        ({"learning_rate": [0.1] * 3}, ValueError, "learning_rate: found shape"),
        ({"inputs": [np.nan]}, ValueError, "inputs: found nan"),
        ({"loss_gradient": [np.nan, 0, 0]}, ValueError, "loss_gradient: found nan"),
        ({"initial_state": np.ones(4)}, ValueError, "initial_state: found shape"),
        ({"n_trajectories": 0}, ValueError, "n_trajectories"),
        ({"burn_in": -1}, ValueError, "burn_in"),
        ({"cell": "RNN"}, TypeError, "cell: found str"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        descent(
            **{"cell": CELL, "penalty": "omega", "n_updates": 2, "learning_rate": 0.1, "n_steps": 5}
            | arguments
        )


def test_values_that_overflow_are_an_error():
    cell = vg.RNN([np.eye(2), 1e200 * np.eye(2)], activation="linear")
    for penalty in (penalties.orthogonality, penalties.l2):
        with pytest.raises(FloatingPointError, match="draw 1 overflows"):
            penalty(cell)
