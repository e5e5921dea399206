"""Clipping against plain clipped gradients, closed forms, and what it must not do."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_peers import require

import vgcore as vg
from vgcore.activations import ACTIVATIONS

clipping = vg.remedies.clipping

BY = ["norm", "value", "delta"]
ARRAYS = ("outcome", "log_norm", "log_clipped_norm", "cosine", "clipped_share", "steps_gained")


def gradients(cell, d, u, x0, v, n_steps, threshold, by):
    """The plain and the clipped gradient of one draw and trajectory."""
    W_in = None if cell.W_in is None else cell.W_in[d]
    bias = np.zeros(cell.n_hidden) if cell.bias is None else cell.bias[d]
    arguments = cell.W_rec[d], W_in, bias, cell.activation, u, x0, v, n_steps
    return [naive.clipped_gradient(*arguments, level, by) for level in (np.inf, threshold)]


@pytest.mark.jit_off
@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_the_plain_clipped_gradient(activation, by):
    cell = vg.RNN.draw(3, 5, gain=1.5, n_inputs=2, bias_variance=0.1, activation=activation, rng=1)
    rng = np.random.default_rng(2)
    u, x0, v = (rng.standard_normal((3, 2, *shape)) for shape in ((8, 2), (5,), (5,)))
    threshold = 0.7
    found = clipping(
        cell, 8, threshold, by=by, inputs=u, n_trajectories=2, initial_state=x0, loss_gradient=v
    )
    for row in np.ndindex(3, 2):
        full, clipped = gradients(cell, row[0], u[row], x0[row], v[row], 8, threshold, by)
        norms = np.linalg.norm(full), np.linalg.norm(clipped)
        np.testing.assert_allclose(found.log_norm[row], np.log(norms[0]), atol=1e-11)
        np.testing.assert_allclose(found.log_clipped_norm[row], np.log(norms[1]), atol=1e-11)
        cosine = (full * clipped).sum() / np.prod(norms)
        np.testing.assert_allclose(found.cosine[row], cosine, atol=1e-12)
        assert found.outcome[row] == ("clipped" if (full != clipped).any() else "kept")
        if by == "value":
            assert found.clipped_share[row] == np.mean(np.abs(full) > threshold)
        if by == "norm":
            assert found.clipped_share[row] == (norms[0] > threshold)


@pytest.mark.parametrize("kind", [vg.RNN, vg.LeakyRNN, vg.LSTM, vg.GRU])
def test_lags_and_terms_before_clipping_are_those_of_the_profile(kind):
    options = {"leak": 0.4} if kind is vg.LeakyRNN else {}
    cell = kind.draw(3, 9, n_inputs=2, rng=1, **options)
    u = np.random.default_rng(2).standard_normal((3, 2, 25, 2))
    run = {"inputs": u, "n_trajectories": 2, "rng": 3}
    profile, found = vg.gradient_profile(cell, 25, **run), clipping(cell, 25, 0.1, **run)
    np.testing.assert_allclose(found.log_delta, profile.log_norm, atol=1e-10)
    np.testing.assert_allclose(
        found.log_term[..., :-1], profile.log_contribution[..., :-1], atol=1e-10
    )
    assert np.isneginf(found.log_term[..., -1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_chaotic_gradient_is_at_most_the_sum_of_its_terms(seed):
    cell = vg.RNN.draw(4, 64, spectral_radius=2.0, rng=seed)
    found = clipping(cell, 1000, 1.0, rng=seed)
    most = np.logaddexp.reduce(found.log_term, axis=-1)
    assert (found.log_norm <= most + 1e-9).all()


@given(
    by=st.sampled_from(BY),
    n=st.integers(1, 18),
    gain=st.floats(0.2, 4.0),
    exponent=st.floats(-6.0, 6.0),
    seed=st.integers(0, 999),
)
def test_what_holds_for_any_gradient(by, n, gain, exponent, seed):
    cell = vg.RNN.draw(2, n, gain=gain, rng=seed)
    threshold = 10.0**exponent
    found = clipping(cell, 30, threshold, by=by, n_trajectories=2, rng=seed)
    slack = 1e-9
    changed = found.outcome == "clipped"
    assert np.isin(found.outcome, ["kept", "clipped"]).all()
    assert ((found.clipped_share > 0) == changed).all()
    assert (found.log_clipped_norm[~changed] == found.log_norm[~changed]).all()
    assert (found.cosine[~changed] == 1.0).all()
    assert (np.abs(found.cosine) <= 1.0).all()
    assert (found.steps_gained <= 0).all()
    if by == "norm":
        assert (found.log_clipped_norm <= np.log(threshold) + slack).all()
        assert (found.cosine == 1.0).all()
    if by == "value":
        assert (found.cosine >= 0.0).all()
        assert (found.log_clipped_norm <= np.log(threshold * n) + slack).all()
        assert (found.log_clipped_norm <= found.log_norm + slack).all()
    if by != "delta":
        assert (found.steps_gained == 0).all()


@pytest.mark.jit_off
def test_closed_forms_on_a_multiple_of_the_identity():
    """delta_t = a^l v: clipped from the step on at which a^l is above the threshold."""
    a, n_steps = 2.0, 10
    cell = vg.RNN(a * np.eye(3)[None], np.ones((1, 3, 1)), activation="linear")
    arguments = {
        "inputs": [1 - a], "initial_state": np.ones(3), "loss_gradient": [1.0, 0.0, 0.0]
    }  # fmt: skip
    norm = (2.0**n_steps - 1) * np.sqrt(3)  # the state stays 1
    by_norm = clipping(cell, n_steps, 5.0, **arguments)
    assert by_norm.log_norm[0, 0] == pytest.approx(np.log(norm))
    assert by_norm.log_clipped_norm[0, 0] == pytest.approx(np.log(5.0))
    by_value = clipping(cell, n_steps, 5.0, by="value", **arguments)
    assert by_value.log_clipped_norm[0, 0] == pytest.approx(np.log(5.0 * np.sqrt(3)))
    assert by_value.cosine[0, 0] == pytest.approx(1.0)
    assert by_value.clipped_share[0, 0] == pytest.approx(1 / 3)
    by_delta = clipping(cell, n_steps, 5.0, by="delta", **arguments)
    wanted = (1 + 2 + 4 + 5 * (n_steps - 3)) * np.sqrt(3)
    assert by_delta.log_clipped_norm[0, 0] == pytest.approx(np.log(wanted))
    assert by_delta.cosine[0, 0] == pytest.approx(1.0)
    assert by_delta.clipped_share[0, 0] == pytest.approx((n_steps - 3) / n_steps)


def test_by_norm_and_by_value_equal_those_of_torch():
    require("torch")
    import torch

    cell = vg.RNN.draw(1, 6, gain=2.0, rng=3)
    x0, v = np.random.default_rng(4).standard_normal((2, 6))
    for by, clip in [
        ("norm", lambda p: torch.nn.utils.clip_grad_norm_(p, 0.3)),
        ("value", lambda p: torch.nn.utils.clip_grad_value_(p, 0.3)),
    ]:
        W = torch.from_numpy(cell.W_rec[0].copy()).requires_grad_()
        x = torch.from_numpy(x0)
        for _ in range(12):
            x = W @ torch.tanh(x)
        (torch.from_numpy(v) @ x).backward()
        full = W.grad.numpy().copy()
        clip([W])
        clipped = W.grad.numpy()
        found = clipping(cell, 12, 0.3, by=by, initial_state=x0, loss_gradient=v)
        norms = np.linalg.norm(full), np.linalg.norm(clipped)
        assert found.log_norm[0, 0] == pytest.approx(np.log(norms[0]), abs=1e-9)
        # torch divides by the norm plus 1e-6
        assert found.log_clipped_norm[0, 0] == pytest.approx(np.log(norms[1]), abs=1e-5)
        cosine = (full * clipped).sum() / np.prod(norms)
        assert found.cosine[0, 0] == pytest.approx(cosine, abs=1e-9)


@pytest.mark.parametrize(("dtype", "n_steps"), [("float32", 200), ("float64", 1500)])
def test_overflow_is_an_outcome_and_exact_in_log(dtype, n_steps):
    """3^lag leaves float32 after 80 steps, float64 after 646."""
    W = np.stack([3.0 * np.eye(2), 0.5 * np.eye(2)]).astype(dtype)
    cell = vg.RNN(W, np.ones((2, 2, 1)), activation="hard_tanh")
    # driven, hard_tanh stays on its slope of 1 where the state is within (-1, 1): at zero
    state = {"initial_state": [0.0, 0.0], "loss_gradient": [1.0, 0.0]}
    u = np.zeros((n_steps, 1))
    u[-2] = 0.5  # x_{T-1}: the one state that is not zero, for the one term that is not
    cell_linear = vg.RNN(W, activation="linear")
    found = clipping(cell_linear, n_steps, 1.0, initial_state=[1.0, 0.0], loss_gradient=[1.0, 0.0])
    assert found.outcome.ravel().tolist() == ["overflow", "kept"]
    wanted = np.log(n_steps) + (n_steps - 1) * np.log([3.0, 0.5])
    np.testing.assert_allclose(found.log_norm.ravel(), wanted, rtol=1e-12)
    assert found.log_clipped_norm[0, 0] == 0.0
    assert found.cosine[0, 0] == 1.0
    assert (found.share("overflow"), found.clip_rate) == (0.5, 0.0)
    assert "1 overflow" in repr(found)
    # deltas beyond the range, though the gradient is within it
    found = clipping(cell, n_steps, 1.0, inputs=u, **state)
    assert found.outcome[0, 0] == "overflow"
    assert found.log_norm[0, 0] == pytest.approx(np.log(0.5 * np.sqrt(2)))
    # clipped at each step nothing leaves the range
    found = clipping(cell, n_steps, 1.0, by="delta", inputs=u, **state)
    assert found.outcome[0, 0] == "clipped"
    by_value = clipping(cell_linear, n_steps, 1.0, by="value", initial_state=[1.0, 0.0],
                        loss_gradient=[1.0, 0.0])  # fmt: skip
    assert by_value.outcome[0, 0] == "overflow"
    assert by_value.log_clipped_norm[0, 0] == 0.0
    assert by_value.clipped_share[0, 0] == 0.25


@pytest.mark.parametrize("by", BY)
def test_a_step_beyond_float64_is_an_overflow_too(by):
    W = np.stack([np.eye(2), np.full((2, 2), 1e308)])
    found = clipping(
        vg.RNN(W, activation="linear"), 5, 10.0, by=by, initial_state=[10.0, 10.0], rng=0
    )
    assert found.outcome[1, 0] == "overflow"
    assert found.log_norm[1, 0] == np.inf
    assert np.isnan(found.cosine[1, 0])
    assert found.outcome[0, 0] != "overflow"
    assert found.largest_log_norm == np.inf
    assert "1 overflow" in repr(found)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("threshold", [1e-300, 1e-320, 1e300])
def test_zero_and_vanishing_gradients_are_left_alone(by, threshold):
    cell = vg.RNN([np.zeros((2, 2)), 0.1 * np.eye(2)], activation="linear")
    found = clipping(
        cell, 1000, threshold, by=by, initial_state=[0.0, 1.0], loss_gradient=[0.0, 1.0]
    )
    # delta_T itself may be above the threshold
    clipped = by == "delta" and threshold < 1.0
    assert found.outcome.ravel().tolist() == ["zero", "clipped" if clipped else "kept"]
    assert found.log_norm[0, 0] == -np.inf
    logs = np.log(1000) + 999 * np.log(0.1) + (np.log(threshold) if clipped else 0.0)
    np.testing.assert_allclose(found.log_clipped_norm[1, 0], logs, rtol=1e-12)
    assert found.cosine == pytest.approx(1.0)
    assert (found.steps_gained == 0).all()


@pytest.mark.parametrize("gain", [0.7, 1.5, 3.0])
def test_clipping_buys_no_memory(gain):
    """Old terms keep their share by norm, and can only lose some on delta."""
    cell = vg.RNN.draw(30, 16, gain=gain, rng=1)
    for by in BY:
        found = clipping(cell, 60, 0.2, by=by, rng=2)
        assert found.steps_gained.max() <= 0
        assert "clipping buys no memory" in repr(found)
    assert "Clipping buys no memory" in clipping.__doc__


def test_growth_that_is_cut_shortens_the_memory():
    """A gradient that grows to 16 and then falls by 1/16 a step: 1/1000 comes a step sooner."""
    W = np.array([[[0.0, 16.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])
    W[0] += np.diag([0.0, 0.0, 1 / 16])
    cell = vg.RNN(W, activation="linear")
    # deltas of norm 1, 16, 16, 1, 1/16 ... unclipped; 1, 1, 1, 1/16 ... clipped at 1
    plain = vg.gradient_profile(cell, 12, loss_gradient=[1.0, 0.0, 0.0], rng=0)
    found = clipping(cell, 12, 1.0, by="delta", loss_gradient=[1.0, 0.0, 0.0], rng=0)
    lags = np.arange(13)
    falls = plain.horizon(1e-3).lag[0, 0]
    assert falls == np.argmax(np.r_[1.0, 16.0, 16.0 / 16.0 ** (lags[2:] - 2)] <= 1e-3)
    clipped_norms = np.r_[1.0, 1.0, 1.0 / 16.0 ** (lags[2:] - 2)]
    assert found.steps_gained[0, 0] == np.argmax(clipped_norms <= 1e-3) - falls == -1


@pytest.mark.parametrize("by", BY)
def test_bits_depend_on_neither_threads_nor_batch(by):
    cell = vg.RNN.draw(7, 19, gain=2.0, rng=1)
    x0, v = np.random.default_rng(2).standard_normal((2, 7, 2, 19))

    def run(draws, n_threads):
        return clipping(
            vg.RNN(cell.W_rec[draws]), 30, 0.5, by=by, n_trajectories=2,
            initial_state=x0[draws], loss_gradient=v[draws], n_threads=n_threads,
        )  # fmt: skip

    whole = run(slice(0, 7), 1)
    for draws, n_threads in [(slice(0, 7), 3), (slice(4, 5), 1), (slice(2, 7), 2)]:
        part = run(draws, n_threads)
        for name in ARRAYS:
            assert (getattr(part, name) == getattr(whole, name)[draws]).all()


def test_frame():
    found = clipping(vg.RNN.draw(3, 4, rng=1), 5, 1.0, n_trajectories=2, rng=2)
    frame = found.to_frame()
    assert len(frame) == 6
    for name in ARRAYS:
        assert (frame[name].to_numpy() == getattr(found, name).ravel()).all()


CELL = vg.RNN.draw(2, 3, n_inputs=1, rng=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"threshold": 0.0}, ValueError, "threshold: found 0.0, expected a finite number above 0"),
        ({"threshold": -1.0}, ValueError, "threshold: found -1.0"),
        ({"threshold": np.nan}, ValueError, "threshold: found nan"),
        ({"threshold": "1"}, TypeError, "threshold: found '1'"),
        ({"by": "deltas"}, ValueError, "by: 'deltas' is not known; did you mean 'delta'"),
        ({"eps": 1.0}, ValueError, "eps: found 1.0"),
        ({"inputs": [np.nan]}, ValueError, "inputs: found nan"),
        ({"loss_gradient": [np.nan, 0, 0]}, ValueError, "loss_gradient: found nan"),
        ({"loss_gradient": np.ones(4)}, ValueError, "loss_gradient: found shape"),
        ({"initial_state": np.ones(4)}, ValueError, "initial_state: found shape"),
        ({"n_trajectories": 0}, ValueError, "n_trajectories"),
        ({"burn_in": -1}, ValueError, "burn_in"),
        ({"n_steps": 0}, ValueError, "n_steps"),
        ({"cell": "RNN"}, TypeError, "cell: found str"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        clipping(**{"cell": CELL, "n_steps": 10, "threshold": 1.0} | arguments)


def test_an_unknown_outcome_is_named():
    with pytest.raises(ValueError, match="outcome: 'clip' is not known"):
        clipping(CELL, 3, 1.0, rng=0).share("clip")
