"""The kernels against the same operations in other libraries, PyTorch's autograd among them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from peers import PEERS, PREPARE, available

import vgcore as vg
from vgcore.streams import Purpose, Streams


def require(library: str) -> None:
    """Skip where an optional library is absent, but fail where the caller said it must be there."""
    if not available(library):
        if os.environ.get("VGCORE_REQUIRE_PEERS"):
            pytest.fail(f"{library} is not installed")
        pytest.skip(f"{library} is not installed")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of JAX's own imports
@pytest.mark.parametrize("n_trajectories", [1, 3])
@pytest.mark.parametrize("library", PEERS["gradient_profile"])
def test_benchmarked_profiles_agree(library, n_trajectories):
    require(library)
    cell = vg.RNN.draw(6, 19, gain=1.3, rng=1)
    state, loss = np.random.default_rng(2).standard_normal((2, 6, n_trajectories, 19))
    ours = vg.gradient_profile(
        cell, 60, n_trajectories=n_trajectories, initial_state=state, loss_gradient=loss
    )
    columns = (np.ascontiguousarray(rows.swapaxes(1, 2)) for rows in (state, loss))
    arrays = PREPARE[library](cell.W_rec, *columns)
    theirs = PEERS["gradient_profile"][library](*arrays, 60)
    np.testing.assert_allclose(ours.log_norm, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of JAX's own imports
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("library", PEERS["lstm_profile"])
def test_benchmarked_profiles_of_gated_cells_agree(library, kind):
    require(library)
    cell = getattr(vg, kind).draw(4, 13, gain=3.0, rng=1)
    state, loss = np.random.default_rng(2).standard_normal((2, 4, 3, cell.n_state))
    ours = vg.gradient_profile(cell, 40, n_trajectories=3, initial_state=state, loss_gradient=loss)
    bias = cell.bias if kind == "LSTM" else np.concatenate([cell.b_ih, cell.b_hh], axis=1)
    columns = (np.ascontiguousarray(rows.swapaxes(1, 2)) for rows in (state, loss))
    arrays = PREPARE[library](cell.W_hh, bias[..., None], *columns)
    theirs = PEERS[f"{kind.lower()}_profile"][library](*arrays, 40)
    np.testing.assert_allclose(ours.log_norm, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("library", PEERS["spectral_radius"])
def test_benchmarked_radii_agree(library):
    require(library)
    W = vg.draw_weights("gaussian", 20, 31, rng=1)
    theirs = PEERS["spectral_radius"][library](*PREPARE[library](W))
    np.testing.assert_allclose(vg.spectral_radius(W), theirs, rtol=1e-8)


@pytest.mark.parametrize("library", PEERS["lyapunov_exponents"])
def test_benchmarked_exponents_agree(library):
    require(library)
    cell = vg.RNN.draw(4, 11, gain=1.3, rng=1)
    x = np.random.default_rng(2).standard_normal((4, 11))
    frame = Streams.from_rng(3).at(Purpose.TANGENT_FRAME, 0).standard_normal((11, 11))
    ours = vg.lyapunov_exponents(cell, 30, initial_state=x, rng=3)
    theirs = PEERS["lyapunov_exponents"][library](*PREPARE[library](cell.W_rec, x, frame), 30)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_gated_profiles_equal_autograd_of_torch_modules(kind, n_layers):
    """One step at a time through the module itself, each from a state of its own."""
    require("torch")
    import torch

    n, n_inputs, n_steps, draws = 11, 3, 25, 2
    torch.manual_seed(1)
    modules = [getattr(torch.nn, kind)(n_inputs, n, n_layers).double() for _ in range(draws)]
    cell = getattr(vg, kind).from_torch(modules, layer=n_layers - 1)
    assert cell.n_draws == draws
    assert cell.n_inputs == (n if n_layers == 2 else n_inputs)
    rng = np.random.default_rng(2)
    u = rng.standard_normal((n_steps, cell.n_inputs))
    x0, v = rng.standard_normal((2, draws, 1, cell.n_state))
    found = vg.gradient_profile(cell, n_steps, inputs=u, initial_state=x0, loss_gradient=v)
    for d, module in enumerate(modules):
        one = getattr(torch.nn, kind)(cell.n_inputs, n).double()
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        with torch.no_grad():
            for name in names:
                getattr(one, f"{name}_l0").copy_(getattr(module, f"{name}_l{n_layers - 1}"))

        def step(x, now, one=one):
            parts = tuple(part[None, None] for part in x.split(n))
            out = one(torch.from_numpy(now)[None, None], parts if len(parts) == 2 else parts[0])[1]
            return torch.cat([part.ravel() for part in (out if len(parts) == 2 else (out,))])

        states = [torch.from_numpy(x0[d, 0])]
        for now in u:
            states.append(step(states[-1], now).detach())
        delta, norms, terms = torch.from_numpy(v[d, 0]), [], []
        for k in range(n_steps, 0, -1):
            norms.append(float(torch.linalg.vector_norm(delta)))
            x = states[k - 1].clone().requires_grad_()
            delta, term = torch.autograd.grad(step(x, u[k - 1]), (x, one.weight_hh_l0), delta)
            terms.append(float(torch.linalg.vector_norm(term)))
        norms.append(float(torch.linalg.vector_norm(delta)))
        np.testing.assert_allclose(np.exp(found.log_norm[d, 0]), norms, rtol=1e-9)
        np.testing.assert_allclose(np.exp(found.log_contribution[d, 0, :-1]), terms, rtol=1e-9)


def test_default_draws_follow_the_law_of_torch():
    """Bounds, variance and kurtosis of weights and biases of fresh modules, and of ours."""
    require("torch")
    import torch

    n, m = 40, 7
    torch.manual_seed(1)
    theirs = vg.LSTM.from_torch([torch.nn.LSTM(m, n) for _ in range(20)])
    ours = vg.LSTM.draw(20, n, n_inputs=m, dtype="float32", rng=1)
    for name in ("W_hh", "W_ih", "bias"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.shape == b.shape
        assert a.dtype == b.dtype == np.float32
        assert np.abs(a).max() == pytest.approx(np.abs(b).max(), rel=0.05)
        for power in (2, 4):
            assert (a**power).mean() == pytest.approx((b**power).mean(), rel=0.1)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_odd_torch_modules_are_refused(kind):
    require("torch")
    import torch

    make, load = getattr(torch.nn, kind), getattr(vg, kind).from_torch
    with pytest.raises(ValueError, match="one direction"):
        load(make(2, 3, bidirectional=True))
    with pytest.raises(ValueError, match=f"expected a torch.nn.{kind} with a layer 1"):
        load(make(2, 3), layer=1)
    with pytest.raises(TypeError, match="modules: found 3"):
        load(3)
    other = "GRU" if kind == "LSTM" else "LSTM"
    with pytest.raises(ValueError, match=r"expected [34]N"):
        load(getattr(torch.nn, other)(2, 5))
    assert load(make(2, 3, bias=False)).n_inputs == 2
    assert load(getattr(torch.nn, f"{kind}Cell")(2, 3)).n_hidden == 3


TORCH = {
    "tanh": "tanh", "relu": "relu", "sigmoid": "sigmoid", "leaky_relu": "leaky_relu",
    "hard_tanh": "hardtanh", "softsign": "softsign", "gelu": "gelu",
}  # fmt: skip


@pytest.mark.parametrize("activation", TORCH)
def test_profile_equals_autograd(activation):
    """Norms of dE/dx_k that autograd returns, and of their sum over time, dE/dW_rec."""
    require("torch")
    import torch

    n, n_inputs, n_steps = 7, 2, 15
    cell = vg.RNN.draw(
        1, n, gain=1.1, n_inputs=n_inputs, bias_variance=0.1, activation=activation, rng=3
    )
    rng = np.random.default_rng(4)
    u, x0, v = (rng.standard_normal(shape) for shape in ((n_steps, n_inputs), (n,), (n,)))
    s = getattr(torch.nn.functional, TORCH[activation])
    W, W_in, b = (torch.from_numpy(a[0]) for a in (cell.W_rec, cell.W_in, cell.bias))
    copies = [W.clone().requires_grad_() for _ in range(n_steps)]  # one W a step: its own term
    x = torch.from_numpy(x0).requires_grad_()
    states = [x]
    for step, used in zip(torch.from_numpy(u), copies, strict=True):
        x = used @ s(x) + W_in @ step + b
        x.retain_grad()
        states.append(x)
    (torch.from_numpy(v) @ x).backward()
    found = vg.gradient_profile(cell, n_steps, inputs=u, initial_state=x0, loss_gradient=v)
    norms = [float(torch.linalg.vector_norm(state.grad)) for state in reversed(states)]
    np.testing.assert_allclose(np.exp(found.log_norm[0, 0]), norms, rtol=1e-9)
    terms = [float(torch.linalg.vector_norm(used.grad)) for used in reversed(copies)]
    np.testing.assert_allclose(np.exp(found.log_contribution[0, 0, :-1]), terms, rtol=1e-9)
