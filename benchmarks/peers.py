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


class Library:
    """What a gated cell takes from NumPy, PyTorch or JAX."""

    def __init__(self, name: str) -> None:
        self.module = xp = importlib.import_module("jax.numpy" if name == "jax" else name)
        self.tanh, self.log, self.matmul = xp.tanh, xp.log, xp.matmul
        self.join: Any = functools.partial(
            xp.concatenate, **{"dim" if name == "torch" else "axis": -2}
        )
        norm = xp.linalg.vector_norm if name == "torch" else xp.linalg.norm
        keep = {"dim": -2, "keepdim": True} if name == "torch" else {"axis": -2, "keepdims": True}
        self.norm: Any = functools.partial(norm, **keep)
        self.sigmoid: Any = {
            "numpy": importlib.import_module("scipy.special").expit,
            "torch": getattr(xp, "sigmoid", None),
            "jax": importlib.import_module("jax").nn.sigmoid if name == "jax" else None,
        }[name]


def split(x: Any, parts: int) -> list[Any]:
    n = x.shape[-2] // parts
    return [x[..., i * n : (i + 1) * n, :] for i in range(parts)]


def lstm_step(xp: Library, W: Any, bias: Any, x: Any) -> tuple[Any, Any]:
    """The state (..., 2N, trajectories) after a step, and what the way back needs."""
    h, c = split(x, 2)
    i, f, g, o = split(xp.matmul(W, h) + bias, 4)
    i, f, g, o = xp.sigmoid(i), xp.sigmoid(f), xp.tanh(g), xp.sigmoid(o)
    new = f * c + i * g
    t = xp.tanh(new)
    slopes = (g * i * (1 - i), c * f * (1 - f), i * (1 - g * g), t * o * (1 - o))
    return xp.join([o * t, new]), (*slopes, o * (1 - t * t), f)


def lstm_back(xp: Library, Wt: Any, kept: Any, delta: Any) -> Any:
    to_i, to_f, to_g, to_o, to_c, f = kept
    h, c = split(delta, 2)
    c = c + h * to_c
    return xp.join([xp.matmul(Wt, xp.join([c * to_i, c * to_f, c * to_g, h * to_o])), c * f])


def gru_step(xp: Library, W: Any, bias: Any, h: Any) -> tuple[Any, Any]:
    """The same for a GRU with its biases in `bias` (..., 6N, 1): b_ih, then b_hh."""
    b_ih, b_hh = split(bias, 2)
    (r, z, n), (r_in, z_in, n_in) = split(xp.matmul(W, h) + b_hh, 3), split(b_ih, 3)
    r, z = xp.sigmoid(r + r_in), xp.sigmoid(z + z_in)
    new = xp.tanh(n_in + r * n)
    to_n = (1 - z) * (1 - new * new)
    return (1 - z) * new + z * h, (to_n * n * r * (1 - r), (h - new) * z * (1 - z), to_n * r, z)


def gru_back(xp: Library, Wt: Any, kept: Any, delta: Any) -> Any:
    to_r, to_z, to_n, z = kept
    return delta * z + xp.matmul(Wt, xp.join([delta * to_r, delta * to_z, delta * to_n]))


STEPS = {"lstm": (lstm_step, lstm_back), "gru": (gru_step, gru_back)}


def batched_cell(library: str, cell: str) -> Callable[..., Any]:
    """Log gradient norms of gated cells by batched products, in NumPy or PyTorch.

    W (draws, gates N, N), bias (draws, gates N, 1), x and v (draws, states, trajectories).
    """

    def profile(W: Any, bias: Any, x: Any, v: Any, n_steps: int) -> Any:
        xp, (step, back) = Library(library), STEPS[cell]
        kept = []
        for _ in range(n_steps):
            x, saved = step(xp, W, bias, x)
            kept.append(saved)
        Wt = W.swapaxes(-1, -2)
        Wt = np.ascontiguousarray(Wt) if library == "numpy" else Wt.contiguous()
        norm = xp.norm(v)
        log, delta = xp.log(norm), v / norm
        out = [log]
        for saved in reversed(kept):
            delta = back(xp, Wt, saved, delta)
            norm = xp.norm(delta)
            log = log + xp.log(norm)
            delta = delta / norm
            out.append(log)
        return np.stack([np.asarray(log)[:, 0] for log in out], axis=-1)

    def without_gradients(*arrays: Any) -> Any:
        with importlib.import_module("torch").no_grad():
            return profile(*arrays)

    return without_gradients if library == "torch" else profile


def jax_cell(over_draws: str, cell: str) -> Callable[..., Any]:
    """The same with `lax.scan` for one draw, under `jax.vmap` or `lax.map` over the draws."""

    @functools.cache
    def compiled(n_steps: int) -> Callable[..., Any]:
        jax = importlib.import_module("jax")
        xp, (step, back) = Library("jax"), STEPS[cell]

        def one_draw(W: Any, bias: Any, x: Any, v: Any) -> Any:
            def backward(carry: Any, saved: Any) -> Any:
                delta, log = carry
                delta = back(xp, W.T, saved, delta)
                norm = xp.norm(delta)
                log = log + xp.log(norm)
                return (delta / norm, log), log

            _, kept = jax.lax.scan(lambda x, _: step(xp, W, bias, x), x, None, length=n_steps)
            norm = xp.norm(v)
            start = xp.log(norm)
            _, logs = jax.lax.scan(backward, (v / norm, start), kept, reverse=True)
            return jax.numpy.concatenate([start[None], logs[::-1]])[:, 0].T

        if over_draws == "vmap":
            return jax.jit(jax.vmap(one_draw))
        return jax.jit(lambda *arrays: jax.lax.map(lambda draw: one_draw(*draw), arrays))

    def profile(*arguments: Any) -> Any:
        return np.asarray(compiled(arguments[-1])(*arguments[:-1]))

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
    **{
        f"{cell}_profile": {
            "numpy": batched_cell("numpy", cell),
            "torch": batched_cell("torch", cell),
            "jax_vmap": jax_cell("vmap", cell),
            "jax_map": jax_cell("map", cell),
        }
        for cell in STEPS
    },
    "lyapunov_exponents": {"numpy": numpy_lyapunov, "torch": torch_lyapunov},
    "spectral_radius": {"numpy": numpy_radius},
}


def available(peer: str) -> bool:
    """Whether a peer's library, the part of its name before the underscore, is installed."""
    return importlib.util.find_spec(peer.split("_")[0]) is not None
