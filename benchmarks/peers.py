"""What a user would write instead: the same operations in NumPy, PyTorch and JAX.

One table, `PEERS[operation][library]`, feeds the benchmarks and the tests that all agree. A peer
gets arrays of its own library (`PREPARE`) and returns NumPy arrays.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np


def numpy_profile(W: Any, x: Any, v: Any, n_steps: int) -> Any:
    """Log gradient norms of autonomous tanh networks by batched matrix products.

    W (draws, N, N); x and v (draws, N, trajectories); out (draws, trajectories, T + 1).
    """
    slopes = []
    for _ in range(n_steps):
        a = np.tanh(x)
        slopes.append(1 - a * a)
        x = np.matmul(W, a)
    Wt = np.ascontiguousarray(W.transpose(0, 2, 1))
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    out = np.empty((n_steps + 1, len(W), x.shape[2]))
    out[0] = log = np.log(norm[:, 0])
    delta = v / norm
    for lag in range(1, n_steps + 1):
        delta = slopes[-lag] * np.matmul(Wt, delta)
        norm = np.linalg.norm(delta, axis=1, keepdims=True)
        log = log + np.log(norm[:, 0])
        delta = delta / norm
        out[lag] = log
    return np.moveaxis(out, 0, -1)


def torch_profile(W: Any, x: Any, v: Any, n_steps: int) -> Any:
    """The same with `torch.bmm`."""
    torch = importlib.import_module("torch")
    with torch.no_grad():
        slopes = []
        for _ in range(n_steps):
            a = torch.tanh(x)
            slopes.append(1 - a * a)
            x = torch.bmm(W, a)
        Wt = W.transpose(1, 2).contiguous()
        norm = torch.linalg.vector_norm(v, dim=1, keepdim=True)
        log = torch.log(norm[:, 0]).double()
        out = [log]
        delta = v / norm
        for lag in range(1, n_steps + 1):
            delta = slopes[-lag] * torch.bmm(Wt, delta)
            norm = torch.linalg.vector_norm(delta, dim=1, keepdim=True)
            log = log + torch.log(norm[:, 0])
            delta = delta / norm
            out.append(log)
        return torch.stack(out, dim=-1).numpy()


def jax_profile(over_draws: str) -> Callable[..., Any]:
    """The same with `lax.scan` for one draw, under `jax.vmap` or `lax.map` over the draws."""

    @functools.cache
    def compiled(n_steps: int) -> Callable[..., Any]:
        jax = importlib.import_module("jax")
        jnp = jax.numpy

        def forward(W: Any, x: Any) -> Any:
            a = jnp.tanh(x)
            return W @ a, 1 - a * a

        def one_draw(W: Any, x: Any, v: Any) -> Any:
            def backward(carry: Any, slope: Any) -> Any:
                delta, log = carry
                delta = slope * (W.T @ delta)
                norm = jnp.linalg.norm(delta, axis=0)
                log = log + jnp.log(norm)
                return (delta / norm, log), log

            _, slopes = jax.lax.scan(lambda x, _: forward(W, x), x, None, length=n_steps)
            norm = jnp.linalg.norm(v, axis=0)
            start = jnp.log(norm)
            _, logs = jax.lax.scan(backward, (v / norm, start), slopes, reverse=True)
            return jnp.concatenate([start[None], logs[::-1]]).T

        if over_draws == "vmap":
            return jax.jit(jax.vmap(one_draw))
        return jax.jit(lambda *arrays: jax.lax.map(lambda draw: one_draw(*draw), arrays))

    def profile(W: Any, x: Any, v: Any, n_steps: int) -> Any:
        return np.asarray(compiled(n_steps)(W, x, v))

    return profile


def numpy_radius(W: Any) -> Any:
    """Spectral radii from all eigenvalues (LAPACK geev)."""
    return np.abs(np.linalg.eigvals(W)).max(axis=1)


def numpy_lyapunov(W: Any, x: Any, frame: Any, n_steps: int) -> Any:
    """All Lyapunov exponents of autonomous tanh networks, by LAPACK's QR at every step."""
    Q = np.linalg.qr(np.broadcast_to(frame.T, W.shape))[0]
    logs = np.zeros(W.shape[:2])
    for _ in range(n_steps):
        a = np.tanh(x)
        Q, R = np.linalg.qr(W @ ((1 - a * a)[:, :, None] * Q))
        logs += np.log(np.abs(np.diagonal(R, axis1=1, axis2=2)))
        x = np.matmul(W, a[:, :, None])[:, :, 0]
    return np.sort(logs / n_steps, axis=1)[:, ::-1]


def torch_lyapunov(W: Any, x: Any, frame: Any, n_steps: int) -> Any:
    """The same with `torch.linalg.qr`."""
    torch = importlib.import_module("torch")
    with torch.no_grad():
        Q = torch.linalg.qr(frame.T.expand(W.shape))[0]
        logs = torch.zeros(W.shape[:2], dtype=torch.float64)
        for _ in range(n_steps):
            a = torch.tanh(x)
            Q, R = torch.linalg.qr(torch.bmm(W, (1 - a * a).unsqueeze(2) * Q))
            logs += torch.log(torch.abs(torch.diagonal(R, dim1=1, dim2=2)))
            x = torch.bmm(W, a.unsqueeze(2)).squeeze(2)
        return torch.sort(logs / n_steps, dim=1, descending=True)[0].numpy()


def as_numpy(*arrays: Any) -> tuple[Any, ...]:
    return arrays


def as_torch(*arrays: Any) -> tuple[Any, ...]:
    torch = importlib.import_module("torch")
    return tuple(torch.from_numpy(a) for a in arrays)


def as_jax(*arrays: Any) -> tuple[Any, ...]:
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    return tuple(jax.numpy.asarray(a) for a in arrays)


PREPARE: dict[str, Callable[..., tuple[Any, ...]]] = {
    "numpy": as_numpy,
    "torch": as_torch,
    "jax_vmap": as_jax,
    "jax_map": as_jax,
}
PEERS: dict[str, dict[str, Callable[..., Any]]] = {
    "gradient_profile": {
        "numpy": numpy_profile,
        "torch": torch_profile,
        "jax_vmap": jax_profile("vmap"),
        "jax_map": jax_profile("map"),
    },
    "lyapunov_exponents": {"numpy": numpy_lyapunov, "torch": torch_lyapunov},
    "spectral_radius": {"numpy": numpy_radius},
}


def available(peer: str) -> bool:
    """Whether a peer's library, the part of its name before the underscore, is installed."""
    return importlib.util.find_spec(peer.split("_")[0]) is not None
