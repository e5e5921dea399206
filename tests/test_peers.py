"""The kernels against the same operations in other libraries, PyTorch's autograd among them."""

from __future__ import annotations

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
