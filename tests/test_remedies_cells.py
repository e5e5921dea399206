"""Truncation and clipping of LSTM, GRU and LeakyRNN; no oracle has a formula of a gradient."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from test_cell_profiles import draw, steps_of, taken
from test_peers import require

import vgcore as vg

KINDS = ("LSTM", "GRU", "LeakyRNN")
TRUNCATION = ("log_norm", "projection_share", "cosine", "log_full_norm")
CLIPPING = ("log_norm", "log_clipped_norm", "cosine", "clipped_share", "steps_gained")


def setting(kind, n, n_steps, burn_in=2):
    """Two draws with two trajectories each, and losses at every step after burn-in."""
    cell = draw(kind, 2, n, n_steps)
    rng = np.random.default_rng(n)
    u, x0, losses = (
        rng.standard_normal((2, 2, *shape))
        for shape in ((burn_in + n_steps, 2), (cell.n_state,), (n_steps, cell.n_state))
    )
    options = {"inputs": u, "initial_state": x0, "burn_in": burn_in, "n_trajectories": 2}
    return cell, u, x0, losses, options


def gradient(cell, d, u, x0, losses, k, limit=np.inf):
    """dE/dW_rec with each loss carried back over k steps, its gradient never longer than limit."""
    steps, weights = steps_of(cell, d, u)
    total = 0.0
    for t in range(len(losses), 0, -1):
        done = len(steps) - len(losses) + t
        terms = naive.terms_of_steps(steps[:done], weights[:done], x0, losses[t - 1], limit)
        total += sum(term for _, (_, term) in zip(range(min(k, t)), terms, strict=False))
    return total


@pytest.mark.jit_off
@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_truncation_equals_brute_force(kind, n, every_step):
    cell, u, x0, losses, options = setting(kind, n, 5)
    if every_step:
        options["loss_gradients"] = losses
    else:
        losses[:, :, :-1] = 0.0
        options["loss_gradient"] = losses[:, :, -1]
    found = vg.remedies.truncation(cell, 5, [1, 3, 5], **options)
    for row in np.ndindex(2, 2):
        parts = [gradient(cell, row[0], u[row], x0[row], losses[row], k) for k in (1, 3, 5)]
        full, norms = parts[-1], np.array([np.linalg.norm(part) for part in parts])
        dots = np.array([(part * full).sum() for part in parts])
        np.testing.assert_allclose(found.log_norm[row], np.log(norms), atol=1e-10)
        np.testing.assert_allclose(found.projection_share[row], dots / norms[-1] ** 2, atol=1e-10)
        np.testing.assert_allclose(found.cosine[row], dots / norms / norms[-1], atol=1e-10)


@pytest.mark.jit_off
@pytest.mark.parametrize("by", ["norm", "value", "delta"])
@pytest.mark.parametrize("kind", KINDS)
def test_clipping_equals_brute_force(kind, by):
    cell, u, x0, losses, options = setting(kind, 3, 5)
    losses[:, :, :-1] = 0.0
    threshold = {"norm": 0.5, "value": 0.05, "delta": 1.0}[by]
    found = vg.remedies.clipping(
        cell, 5, threshold, by=by, loss_gradient=losses[:, :, -1], **options
    )
    assert found.clip_rate > 0
    for row in np.ndindex(2, 2):
        arguments = (cell, row[0], u[row], x0[row], losses[row], 5)
        full = gradient(*arguments)
        norm = np.linalg.norm(full)
        clipped = {
            "norm": full * min(1.0, threshold / norm),
            "value": np.clip(full, -threshold, threshold),
            "delta": gradient(*arguments, threshold),
        }[by]
        norms = norm * np.linalg.norm(clipped)
        assert found.log_norm[row] == pytest.approx(np.log(norm), abs=1e-10)
        assert found.log_clipped_norm[row] == pytest.approx(np.log(norms / norm), abs=1e-10)
        assert found.cosine[row] == pytest.approx((full * clipped).sum() / norms, abs=1e-10)
        if by == "value":
            assert found.clipped_share[row] == np.mean(np.abs(full) > threshold)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gradients_equal_autograd_through_modules_of_torch(kind):
    """The whole sequence, and windows of 7 steps whose first state is detached."""
    require("torch")
    import torch

    n, n_steps, k = 6, 20, 7
    torch.manual_seed(0)
    module = getattr(torch.nn, kind)(3, n, dtype=torch.float64)
    cell = getattr(vg, kind).from_torch(module)
    u = torch.randn(n_steps, 1, 3, dtype=torch.float64)
    v = torch.randn(n, dtype=torch.float64)

    def run(inputs, state=None):
        module.zero_grad()
        out, _ = module(inputs, state)
        (v @ out[-1, 0]).backward()
        return module.weight_hh_l0.grad.numpy().copy()

    full = run(u)
    with torch.no_grad():
        _, before = module(u[: n_steps - k])
    part = run(u[n_steps - k :], before)
    loss = np.concatenate([v.numpy(), np.zeros(cell.n_state - n)])
    options = {
        "inputs": u[:, 0].numpy(), "initial_state": np.zeros(cell.n_state), "loss_gradient": loss
    }  # fmt: skip
    found = vg.remedies.truncation(cell, n_steps, [k], **options)
    norms = np.linalg.norm(full), np.linalg.norm(part)
    assert found.log_full_norm[0, 0] == pytest.approx(np.log(norms[0]), abs=1e-9)
    assert found.log_norm[0, 0, 0] == pytest.approx(np.log(norms[1]), abs=1e-9)
    assert found.cosine[0, 0, 0] == pytest.approx((full * part).sum() / np.prod(norms), abs=1e-9)
    torch.nn.utils.clip_grad_value_(module.parameters(), 0.01)
    run(u)
    torch.nn.utils.clip_grad_value_(module.parameters(), 0.01)
    clipped = module.weight_hh_l0.grad.numpy()
    found = vg.remedies.clipping(cell, n_steps, 0.01, by="value", **options)
    assert found.log_clipped_norm[0, 0] == pytest.approx(np.log(np.linalg.norm(clipped)), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_norms_are_those_of_the_profile(kind):
    """What a truncation adds at one lag is no longer than the contribution there."""
    cell = draw(kind, 3, 9, 30)
    profile = vg.gradient_profile(cell, 30, rng=4)
    found = vg.remedies.truncation(cell, 30, rng=4)
    np.testing.assert_allclose(
        found.log_norm[..., 0], profile.log_contribution[..., 0], rtol=0, atol=1e-10
    )
    steps = np.diff(np.exp(found.log_norm), axis=-1)
    assert (np.abs(steps) <= np.exp(profile.log_contribution[..., 1:-1]) * (1 + 1e-9)).all()
    if kind == "LeakyRNN":  # that of a vanilla network is its state before the activation
        return
    clipped = vg.remedies.clipping(cell, 30, 1e-3, by="delta", rng=4)
    assert clipped.steps_gained.max() <= 0


def test_a_leak_of_one_is_the_vanilla_network_one_step_later():
    """Its h is the s(x) of the other, so a loss on h is one on x times the slope."""
    n, n_steps = 7, 12
    vanilla = vg.RNN.draw(2, n, gain=1.3, rng=1)
    leaky = vg.LeakyRNN(vanilla.W_rec, leak=1.0)
    x0, v = np.random.default_rng(2).standard_normal((2, n))
    found = vg.remedies.truncation(leaky, n_steps, initial_state=np.tanh(x0), loss_gradient=v)
    x = np.broadcast_to(x0, (2, n))
    for _ in range(n_steps):
        x = np.einsum("dij,dj->di", vanilla.W_rec, np.tanh(x))
    loss = (v / np.cosh(x) ** 2)[:, None]
    wanted = vg.remedies.truncation(vanilla, n_steps, initial_state=x0, loss_gradient=loss)
    for name in TRUNCATION:
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-11)


def test_an_lstm_that_keeps_far_below_the_range_of_floats():
    """Without recurrent weights c' = f c, whatever the horizon: terms are f^lag."""
    n, n_steps = 3, 2500
    bias = np.zeros((1, 4 * n))
    vg.LSTM.gate("f", bias)[:] = -1.0
    cell = vg.LSTM(None, np.zeros((1, 4 * n, n)), bias)
    loss = np.concatenate([np.zeros(n), np.ones(n)])
    state = np.concatenate([np.full(n, 0.5), np.zeros(n)])
    ks = [1, 2, 1000, 2500]
    found = vg.remedies.truncation(cell, n_steps, ks, initial_state=state, loss_gradient=loss)
    # h is 0 but for the first state: the one term is at the last lag
    assert found.log_norm[0, 0, :3].tolist() == [-np.inf] * 3
    step = vg.gradient_profile(cell, n_steps, initial_state=state, loss_gradient=loss)
    assert found.log_full_norm[0, 0] == pytest.approx(step.log_contribution[0, 0, -2], abs=1e-9)
    assert found.log_full_norm[0, 0] < -3000


@pytest.mark.parametrize("kind", KINDS)
def test_bits_depend_on_neither_threads_nor_batch(kind):
    cell = draw(kind, 5, 11, 20)

    def run(cell, draws, n_threads):
        state = np.random.default_rng(1).standard_normal((5, 1, cell.n_state))[draws]
        options = {"initial_state": state, "loss_gradient": state, "n_threads": n_threads}
        truncated = vg.remedies.truncation(cell, 20, **options)
        clipped = vg.remedies.clipping(cell, 20, 0.1, by="delta", **options)
        return [getattr(truncated, name) for name in TRUNCATION] + [
            getattr(clipped, name) for name in CLIPPING
        ]

    whole = run(cell, slice(None), 1)
    for part, expected in zip(run(cell, slice(None), 3), whole, strict=True):
        assert (part == expected).all()
    for part, expected in zip(run(taken(cell, [3]), slice(3, 4), 1), whole, strict=True):
        assert (part == expected[3:4]).all()


@pytest.mark.parametrize(
    "function", [vg.remedies.truncation, lambda *args: vg.remedies.clipping(*args, 1.0)]
)
def test_layers_with_weights_of_their_own_are_refused(function):
    with pytest.raises(TypeError, match="cell: found DeepNet, each of whose layers has weights"):
        function(vg.DeepNet.draw(1, 5, 3, rng=1), 5)
