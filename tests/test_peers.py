"""The kernels against the same operations in other libraries, PyTorch's autograd among them."""

from __future__ import annotations

import doctest
import os

import numpy as np
import pytest

import vgcore as vg
from vgcore.bench.operations import OURS, table
from vgcore.bench.peers import available


def require(peer: str) -> None:
    """Skip where an optional library is absent, but fail where the caller said it must be there.

    JAX, which not every platform has, may always be absent.
    """
    if not available(peer):
        if os.environ.get("VGCORE_REQUIRE_PEERS") and not peer.startswith("jax"):
            pytest.fail(f"{peer} is not installed")
        pytest.skip(f"{peer} is not installed")


SMOKE = [(operation, case, peer) for operation, case in table("smoke") for peer in operation.peers]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of JAX's own imports
@pytest.mark.parametrize(
    ("operation", "case", "peer"), SMOKE, ids=[f"{o.name} {c} {p}" for o, c, p in SMOKE]
)
def test_benchmarked_peers_agree(operation, case, peer):
    require(peer)
    calls = operation.callables(case, [OURS, peer])
    ours, theirs = (np.asarray(calls[name]()) for name in (OURS, peer))
    assert ours.shape == theirs.shape
    if operation.tolerance:
        tolerance = operation.tolerance[case.dtype]
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    else:  # random numbers of one law: the mean square has an error of sqrt(2 / size)
        error = 5 * (2 / ours.size) ** 0.5
        for found in (ours, theirs):
            assert np.mean(found**2) * case.n_hidden == pytest.approx(1, abs=error)


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


def test_modules_of_torch_keep_their_nonlinearity():
    require("torch")
    import torch

    module = torch.nn.RNNCell(2, 3, nonlinearity="relu")
    assert vg.LeakyRNN.from_torch([module, module]).activation == "relu"
    with pytest.raises(ValueError, match="expected one for all"):
        vg.LeakyRNN.from_torch([module, torch.nn.RNNCell(2, 3)])
    with pytest.raises(TypeError, match=r"have from_torch\(module\)"):
        vg.gradient_profile(torch.nn.LSTM(2, 3), 10)


@pytest.mark.parametrize("cell", [vg.LeakyRNN, vg.LSTM, vg.GRU])
def test_examples_that_need_torch_run(cell):
    """What the doctests skip, since PyTorch is no requirement."""
    require("torch")
    text = cell.from_torch.__doc__.replace("  # doctest: +SKIP", "")
    example = doctest.DocTestParser().get_doctest(text, {}, cell.__name__, None, 0)
    assert len(example.examples) == 2
    assert doctest.DocTestRunner().run(example).failed == 0


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
    with pytest.raises(TypeError, match=rf"found a {other} .* as in a torch.nn.{kind}"):
        load(getattr(torch.nn, other)(2, 5))
    with pytest.raises(ValueError, match="pass layer=0 for the first"):
        load(make(2, 3, num_layers=2))
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


def test_a_leaky_cell_of_leak_one_is_the_rnn_of_torch():
    """`LeakyRNN.from_torch` takes a torch.nn.RNN over: gradients at its state h."""
    require("torch")
    import torch

    n, n_steps = 20, 30
    module = torch.nn.RNN(3, n, dtype=torch.float64)
    cell = vg.LeakyRNN.from_torch(module)
    rng = np.random.default_rng(0)
    u, h0, v = (rng.standard_normal(shape) for shape in ((n_steps, 3), (n,), (n,)))
    states = [torch.from_numpy(h0).requires_grad_()]
    for step in torch.from_numpy(u):
        _, h = module(step[None], states[-1][None])
        h.retain_grad()
        states.append(h[0])
        states[-1].retain_grad()
    (torch.from_numpy(v) @ states[-1]).backward()
    found = vg.gradient_profile(cell, n_steps, inputs=u, initial_state=h0, loss_gradient=v)
    norms = [float(torch.linalg.vector_norm(state.grad)) for state in reversed(states)]
    np.testing.assert_allclose(np.exp(found.log_norm[0, 0]), norms, rtol=1e-9)
