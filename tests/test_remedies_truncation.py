"""Truncated BPTT against sums of outer products, autograd and closed forms."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_peers import require

import vgcore as vg
from vgcore.activations import ACTIVATIONS

truncation = vg.remedies.truncation


def expected(cell, d, inputs, x0, losses, ks, burn_in=0):
    """Log norm, share and cosine at each k, and the log norm of the full gradient."""
    W_in = None if cell.W_in is None else cell.W_in[d]
    bias = np.zeros(cell.n_hidden) if cell.bias is None else cell.bias[d]
    arguments = cell.W_rec[d], W_in, bias, cell.activation, inputs, x0, losses
    parts = np.array([naive.truncated_gradient(*arguments, k, burn_in) for k in ks])
    full = naive.truncated_gradient(*arguments, len(losses), burn_in)
    norms, dots = np.sqrt((parts**2).sum(axis=(1, 2))), (parts * full).sum(axis=(1, 2))
    norm = np.linalg.norm(full)
    return np.log(norms), dots / norm**2, dots / (norms * norm), np.log(norm)


def assert_equal(found, row, wanted, accuracy=1e-10):
    log_norm, share, cosine, log_full = wanted
    np.testing.assert_allclose(found.log_norm[row], log_norm, rtol=0, atol=accuracy)
    np.testing.assert_allclose(found.projection_share[row], share, rtol=accuracy, atol=accuracy)
    np.testing.assert_allclose(found.cosine[row], cosine, rtol=0, atol=accuracy)
    np.testing.assert_allclose(found.log_full_norm[row], log_full, rtol=0, atol=accuracy)
    ratio = np.exp(log_norm - log_full)
    np.testing.assert_allclose(found.norm_ratio[row], ratio, rtol=10 * accuracy)


@pytest.mark.jit_off
@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_sums_of_outer_products(activation, every_step):
    cell = vg.RNN.draw(2, 5, gain=1.2, n_inputs=2, bias_variance=0.1, activation=activation, rng=1)
    rng = np.random.default_rng(2)
    u, x0 = rng.standard_normal((2, 2, 9, 2)), rng.standard_normal((2, 2, 5))
    losses = rng.standard_normal((2, 2, 6, 5))
    if every_step:
        given_losses = {"loss_gradients": losses}
    else:
        losses[:, :, :-1] = 0.0
        given_losses = {"loss_gradient": losses[:, :, -1]}
    found = truncation(
        cell, 6, inputs=u, n_trajectories=2, initial_state=x0, burn_in=3, **given_losses
    )
    for d, k in np.ndindex(2, 2):
        wanted = expected(cell, d, u[d, k], x0[d, k], losses[d, k], range(1, 7), burn_in=3)
        assert_equal(found, (d, k), wanted)


@pytest.mark.parametrize("every_step", [False, True])
@given(n=st.integers(1, 20), n_steps=st.integers(1, 12), data=st.data(), seed=st.integers(0, 999))
def test_any_size_and_grid_agree_with_the_whole_one(every_step, n, n_steps, data, seed):
    cell = vg.RNN.draw(1, n, gain=1.5, rng=seed)
    rng = np.random.default_rng(seed)
    losses = rng.standard_normal((n_steps, n)) * 10.0 ** rng.integers(-9, 9, (n_steps, 1))
    x0 = rng.standard_normal(n)
    given_losses = {"loss_gradients": losses} if every_step else {"loss_gradient": losses[-1]}
    whole = truncation(cell, n_steps, initial_state=x0, **given_losses)
    if not every_step:
        losses[:-1] = 0.0
    wanted = expected(cell, 0, None, x0, losses, range(1, n_steps + 1))
    assert_equal(whole, (0, 0), wanted, accuracy=1e-9)
    ks = data.draw(st.lists(st.integers(1, n_steps), min_size=1))
    part = truncation(cell, n_steps, ks, initial_state=x0, **given_losses)
    index = part.truncations - 1
    assert part.truncations.tolist() == sorted(set(ks))
    assert (part.log_norm == whole.log_norm[..., index]).all()
    assert (part.projection_share == whole.projection_share[..., index]).all()
    assert (part.cosine == whole.cosine[..., index]).all()
    np.testing.assert_allclose(whole.projection_share[..., -1], 1.0, rtol=1e-12)
    np.testing.assert_allclose(
        whole.projection_share, whole.cosine * whole.norm_ratio, rtol=1e-9, atol=1e-12
    )


def test_losses_at_the_last_step_alone_are_one_loss():
    cell = vg.RNN.draw(3, 9, gain=1.3, rng=1)
    losses = np.zeros((20, 9))
    losses[-1] = np.random.default_rng(2).standard_normal(9)
    one = truncation(cell, 20, loss_gradient=losses[-1], rng=3)
    all_steps = truncation(cell, 20, loss_gradients=losses, rng=3)
    np.testing.assert_allclose(one.log_norm, all_steps.log_norm, rtol=0, atol=1e-12)
    np.testing.assert_allclose(one.cosine, all_steps.cosine, rtol=0, atol=1e-12)


@pytest.mark.parametrize("every_step", [False, True])
def test_full_gradient_equals_autograd_and_truncation_equals_detached_windows(every_step):
    require("torch")
    import torch

    n, n_steps, k = 6, 12, 4
    cell = vg.RNN.draw(1, n, gain=1.2, n_inputs=2, bias_variance=0.1, rng=3)
    rng = np.random.default_rng(4)
    u, x0, losses = (rng.standard_normal(shape) for shape in ((n_steps, 2), (n,), (n_steps, n)))
    given_losses = {"loss_gradients": losses} if every_step else {"loss_gradient": losses[-1]}
    W_in, b, u_, v_ = (torch.from_numpy(a) for a in (cell.W_in[0], cell.bias[0], u, losses))
    states = naive.rnn_states(cell.W_rec[0], cell.W_in[0], cell.bias[0], "tanh", u, x0, n_steps)

    def gradient(window):
        W = torch.from_numpy(cell.W_rec[0].copy()).requires_grad_()
        for t in range(1, n_steps + 1) if every_step else [n_steps]:
            start = max(0, t - window)
            x = torch.from_numpy(states[start])  # a leaf: nothing before it
            for step in range(start, t):
                x = W @ torch.tanh(x) + W_in @ u_[step] + b
            (v_[t - 1] @ x).backward()
        return W.grad.numpy()

    found = truncation(cell, n_steps, inputs=u, initial_state=x0, **given_losses)
    full, part = gradient(n_steps), gradient(k)
    norm, dot = np.linalg.norm(full), (full * part).sum()
    np.testing.assert_allclose(found.log_full_norm[0, 0], np.log(norm), atol=1e-10)
    np.testing.assert_allclose(found.log_norm[0, 0, k - 1], np.log(np.linalg.norm(part)))
    np.testing.assert_allclose(found.projection_share[0, 0, k - 1], dot / norm**2, rtol=1e-9)
    np.testing.assert_allclose(
        found.cosine[0, 0, k - 1], dot / norm / np.linalg.norm(part), rtol=1e-9
    )


@pytest.mark.jit_off
@pytest.mark.parametrize("a", [0.5, 1.0, 1.5])
def test_closed_form_on_a_multiple_of_the_identity(a):
    """Under u = (1 - a) the state stays 1: term l is a^l v 1^T, so the share is geometric."""
    cell = vg.RNN(a * np.eye(3)[None], np.ones((1, 3, 1)), activation="linear")
    found = truncation(
        cell, 40, inputs=[1 - a], initial_state=np.ones(3), loss_gradient=[1.0, 0.0, 0.0]
    )
    terms = a ** np.arange(40)
    share = np.cumsum(terms) / terms.sum()
    np.testing.assert_allclose(found.projection_share[0, 0], share, rtol=1e-9)
    np.testing.assert_allclose(found.norm_ratio[0, 0], share, rtol=1e-9)
    np.testing.assert_allclose(found.cosine[0, 0], 1.0, rtol=1e-12)
    for level in (0.9, 0.95, 0.99):
        k = 1 + int(np.argmax(share >= level * (1 - 1e-12)))
        assert abs(found.smallest(level)[0, 0] - k) <= (1 if a == 1.0 else 0)


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("a", [0.1, 10.0])
def test_far_beyond_the_range_of_floats(a, every_step):
    """1,500 steps that shrink or grow state and gradient by a factor of ten each."""
    cell = vg.RNN(a * np.eye(2)[None], activation="linear")
    n_steps, ks = 1500, np.array([1, 2, 700, 1500])
    losses = {"loss_gradients": [1.0, 0.0]} if every_step else {"loss_gradient": [1.0, 0.0]}
    found = truncation(cell, n_steps, ks, initial_state=[1.0, 1.0], **losses)
    # x_t = a^t, so the term of the loss at t has norm a^l a^(t-l-1) sqrt(2) at any lag l < t
    t = np.arange(1, n_steps + 1) if every_step else np.array([n_steps])
    logs = np.log(np.minimum(t, ks[:, None])) + np.log(a) * (t - 1) + 0.5 * np.log(2)
    wanted = np.logaddexp.reduce(logs, axis=1)
    np.testing.assert_allclose(found.log_norm[0, 0], wanted, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(found.cosine, 1.0, rtol=1e-12)


def test_decay_far_beyond_the_range_keeps_the_share():
    cell = vg.RNN(1e-30 * np.eye(2)[None], np.ones((1, 2, 1)), activation="linear")
    found = truncation(cell, 100, inputs=[1.0], rng=0)
    assert (found.smallest(0.99) == 1).all()
    np.testing.assert_allclose(found.projection_share, 1.0, rtol=1e-12)


def test_zero_gradients_are_counted():
    cell = vg.RNN(np.stack([np.zeros((2, 2)), np.eye(2)]), np.ones((2, 2, 1)), activation="linear")
    v = np.array([[[0.0, 0.0]], [[1.0, 0.0]]])
    found = truncation(cell, 5, inputs=[1.0], loss_gradient=v, rng=1)
    assert found.log_full_norm[0, 0] == -np.inf
    assert np.isnan(found.cosine[0]).all()
    assert (found.log_norm[0] == -np.inf).all()
    assert found.smallest().ravel().tolist()[0] == 0
    assert np.isfinite(found.cosine[1]).all()
    assert "1 exactly zero" in repr(found)
    # without a state the terms are zero, but not those of the first inputs
    u = np.array([1.0, 1.0, 0.0, 0.0, 0.0])[:, None]
    found = truncation(cell, 5, inputs=u, loss_gradient=[1.0, 0.0], initial_state=[0.0, 0.0])
    assert found.log_norm[0, 0].tolist() == [-np.inf] * 5
    assert np.isfinite(found.log_norm[1]).all()


def test_no_truncation_measured_may_be_enough():
    cell = vg.RNN(np.eye(2)[None], activation="linear")
    found = truncation(cell, 100, [1, 10], rng=0)
    assert found.smallest(0.9).tolist() == [[0]]
    assert "none" in repr(found)


def test_smallest_is_where_all_larger_ones_keep_it_too():
    share = np.array([[[0.2, 0.95, 0.5, 0.92, 1.0]]])
    ks = np.array([1, 2, 4, 8, 16])
    found = vg.remedies.Truncation(ks, np.log(share), share, np.ones((1, 1, 5)), np.zeros((1, 1)))
    assert found.smallest(0.9).tolist() == [[8]]
    assert found.smallest(0.94).tolist() == [[16]]
    assert found.smallest(0.9, of="norm").tolist() == [[8]]
    assert found.smallest(0.9, of="cosine").tolist() == [[1]]


@pytest.mark.parametrize("every_step", [False, True])
def test_bits_depend_on_neither_threads_nor_batch(every_step):
    cell = vg.RNN.draw(7, 19, gain=1.4, n_inputs=2, rng=1)
    rng = np.random.default_rng(2)
    u, x0 = rng.standard_normal((7, 2, 30, 2)), rng.standard_normal((7, 2, 19))
    v = rng.standard_normal((7, 2, 30, 19))

    def run(draws, n_threads):
        part = vg.RNN(cell.W_rec[draws], cell.W_in[draws])
        name = "loss_gradients" if every_step else "loss_gradient"
        return truncation(
            part, 30, inputs=u[draws], n_trajectories=2, initial_state=x0[draws],
            **{name: v[draws] if every_step else v[draws, :, -1]}, n_threads=n_threads,
        )  # fmt: skip

    whole = run(slice(0, 7), 1)
    for draws, n_threads in [(slice(0, 7), 3), (slice(4, 5), 1), (slice(2, 7), 2)]:
        part = run(draws, n_threads)
        for name in ("log_norm", "projection_share", "cosine", "log_full_norm"):
            assert (getattr(part, name) == getattr(whole, name)[draws]).all()


def test_same_random_numbers_as_a_profile():
    cell = vg.RNN.draw(2, 5, rng=1)
    profile = vg.gradient_profile(cell, 9, n_trajectories=2, rng=5)
    one = truncation(cell, 9, n_trajectories=2, rng=5)
    two = truncation(
        cell, 9, n_trajectories=2, initial_state=profile.initial_state,
        loss_gradient=profile.loss_gradient,
    )  # fmt: skip
    assert (one.log_norm == two.log_norm).all()
    # the first term of the sum is the contribution at lag 0
    np.testing.assert_allclose(one.log_norm[..., 0], profile.log_contribution[..., 0], atol=1e-12)


def test_float32_cells_and_frames():
    cell = vg.RNN.draw(2, 4, dtype="float32", rng=1)
    found = truncation(cell, 5, rng=2)
    frame = found.to_frame()
    assert len(frame) == 10
    assert (frame["projection_share"].to_numpy() == found.projection_share.ravel()).all()
    assert frame["truncation"].tolist() == [1, 2, 3, 4, 5] * 2


CELL = vg.RNN.draw(2, 3, n_inputs=1, rng=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"truncations": [0]}, ValueError, "truncations: found 0"),
        ({"truncations": -3}, ValueError, "truncations: found -3"),
        ({"truncations": [1, 11]}, ValueError, "truncations: found 11.* at most 10"),
        ({"truncations": [1.5]}, TypeError, "truncations: .*expected integers"),
        ({"truncations": []}, TypeError, "truncations: "),
        ({"truncations": [[1]]}, TypeError, "truncations: "),
        ({"inputs": [np.nan]}, ValueError, "inputs: found nan"),
        ({"loss_gradient": [np.nan, 0, 0]}, ValueError, "loss_gradient: found nan"),
        ({"loss_gradients": [np.inf, 0, 0]}, ValueError, "loss_gradients: found inf"),
        ({"loss_gradients": np.ones((4, 3))}, ValueError, "loss_gradients: found shape"),
        ({"loss_gradient": np.ones(4)}, ValueError, "loss_gradient: found shape"),
        ({"initial_state": [0, 0, np.nan]}, ValueError, "initial_state: found nan"),
        ({"inputs": np.ones((3, 10, 1))}, ValueError, "inputs: found shape"),
        ({"n_trajectories": 0}, ValueError, "n_trajectories"),
        ({"burn_in": -1}, ValueError, "burn_in"),
        ({"loss_gradient": [0, 0, 1], "loss_gradients": [0, 0, 1]}, ValueError, "given beside"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        truncation(CELL, 10, **arguments)


def test_other_bad_calls():
    with pytest.raises(TypeError, match="cell: found str"):
        truncation("RNN", 10)
    with pytest.raises(ValueError, match="n_steps"):
        truncation(CELL, 0)
    found = truncation(CELL, 3, rng=0)
    with pytest.raises(ValueError, match="level"):
        found.smallest(1.0)
    with pytest.raises(ValueError, match="of: 'norms' is not known; did you mean 'norm'"):
        found.smallest(0.9, of="norms")
    cell = vg.RNN([np.eye(2), np.full((2, 2), 1e308)], activation="linear")
    with pytest.raises(FloatingPointError, match="draw 1 overflows"):
        truncation(cell, 5, initial_state=[10.0, 10.0])
