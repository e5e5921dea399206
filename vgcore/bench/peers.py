"""What a user would write instead: the same operations in NumPy, PyTorch and JAX.

Written as their users would write them, and rescaled at each step as vgcore does. A peer gets
arrays of its own library (`prepare`) and returns NumPy arrays. Libraries are imported when called.
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
            batch: Callable[..., Any] = jax.jit(jax.vmap(one_draw))
        else:
            batch = jax.jit(lambda *arrays: jax.lax.map(lambda draw: one_draw(*draw), arrays))
        return batch

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


LEAK = 0.3


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


def leaky_step(xp: Library, W: Any, bias: Any, h: Any) -> tuple[Any, Any]:
    """The same for leaky tanh units with leak `LEAK`."""
    new = xp.tanh(xp.matmul(W, h) + bias)
    return (1 - LEAK) * h + LEAK * new, LEAK * (1 - new * new)


def leaky_back(xp: Library, Wt: Any, kept: Any, delta: Any) -> Any:
    return (1 - LEAK) * delta + xp.matmul(Wt, kept * delta)


STEPS = {
    "lstm": (lstm_step, lstm_back),
    "gru": (gru_step, gru_back),
    "leaky": (leaky_step, leaky_back),
}


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
            batch: Callable[..., Any] = jax.jit(jax.vmap(one_draw))
        else:
            batch = jax.jit(lambda *arrays: jax.lax.map(lambda draw: one_draw(*draw), arrays))
        return batch

    def profile(*arguments: Any) -> Any:
        return np.asarray(compiled(arguments[-1])(*arguments[:-1]))

    return profile


def numpy_deep(W: Any, x: Any, v: Any) -> Any:
    """Log gradient norms over the layers of tanh networks by batched matrix products.

    W (draws, layers, N, N); x and v (draws, N, trajectories); out (draws, trajectories, L + 1).
    """
    slopes = []
    for layer in range(W.shape[1]):
        a = np.tanh(x)
        slopes.append(1 - a * a)
        x = np.matmul(W[:, layer], a)
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    out, delta = [np.log(norm[:, 0])], v / norm
    for layer in reversed(range(W.shape[1])):
        delta = slopes[layer] * np.matmul(W[:, layer].swapaxes(1, 2), delta)
        norm = np.linalg.norm(delta, axis=1, keepdims=True)
        out.append(out[-1] + np.log(norm[:, 0]))
        delta = delta / norm
    return np.stack(out, axis=-1)


def torch_deep(W: Any, x: Any, v: Any) -> Any:
    """The same with `torch.bmm`."""
    torch = importlib.import_module("torch")
    with torch.no_grad():
        slopes = []
        for layer in range(W.shape[1]):
            a = torch.tanh(x)
            slopes.append(1 - a * a)
            x = torch.bmm(W[:, layer], a)
        norm = torch.linalg.vector_norm(v, dim=1, keepdim=True)
        out, delta = [torch.log(norm[:, 0]).double()], v / norm
        for layer in reversed(range(W.shape[1])):
            delta = slopes[layer] * torch.bmm(W[:, layer].transpose(1, 2), delta)
            norm = torch.linalg.vector_norm(delta, dim=1, keepdim=True)
            out.append(out[-1] + torch.log(norm[:, 0]))
            delta = delta / norm
        return torch.stack(out, dim=-1).numpy()


def jax_deep(W: Any, x: Any, v: Any) -> Any:
    """The same with `lax.scan` over layers and `jax.vmap` over draws."""
    return np.asarray(_jax_deep()(W, x, v))


@functools.cache
def _jax_deep() -> Callable[..., Any]:
    jax = importlib.import_module("jax")
    jnp = jax.numpy

    def one_draw(W: Any, x: Any, v: Any) -> Any:
        def forward(x: Any, layer: Any) -> Any:
            a = jnp.tanh(x)
            return layer @ a, 1 - a * a

        def backward(carry: Any, kept: Any) -> Any:
            (delta, log), (layer, slope) = carry, kept
            delta = slope * (layer.T @ delta)
            norm = jnp.linalg.norm(delta, axis=0)
            log = log + jnp.log(norm)
            return (delta / norm, log), log

        _, slopes = jax.lax.scan(forward, x, W)
        norm = jnp.linalg.norm(v, axis=0)
        start = jnp.log(norm)
        _, logs = jax.lax.scan(backward, (v / norm, start), (W, slopes), reverse=True)
        return jnp.concatenate([start[None], logs[::-1]]).T

    batch: Callable[..., Any] = jax.jit(jax.vmap(one_draw))
    return batch


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


def jax_lyapunov(W: Any, x: Any, frame: Any, n_steps: int) -> Any:
    """The same with `lax.scan` over steps and `jax.vmap` over draws."""
    return np.asarray(_jax_lyapunov(n_steps)(W, x, frame))


@functools.cache
def _jax_lyapunov(n_steps: int) -> Callable[..., Any]:
    jax = importlib.import_module("jax")
    jnp = jax.numpy

    def one_draw(W: Any, x: Any, frame: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            x, Q = carry
            a = jnp.tanh(x)
            Q, R = jnp.linalg.qr(W @ ((1 - a * a)[:, None] * Q))
            return (W @ a, Q), jnp.log(jnp.abs(jnp.diagonal(R)))

        start = (x, jnp.linalg.qr(frame.T)[0])
        _, logs = jax.lax.scan(step, start, None, length=n_steps)
        return jnp.sort(logs.mean(axis=0))[::-1]

    compiled: Callable[..., Any] = jax.jit(jax.vmap(one_draw, in_axes=(0, 0, None)))
    return compiled


def numpy_jacobian(W: Any, x: Any, n_steps: int) -> Any:
    """Products of Jacobians by batched matrix products: their matrices times exp(log norm)."""
    log = np.zeros(len(W))
    P = np.eye(W.shape[1], dtype=W.dtype)
    for _ in range(n_steps):
        a = np.tanh(x)
        P = W @ ((1 - a * a)[:, :, None] * P)
        norm = np.linalg.norm(P, axis=(1, 2))
        log += np.log(norm)
        P = P / norm[:, None, None]
        x = np.matmul(W, a[:, :, None])[:, :, 0]
    return np.exp(log)[:, None, None] * P


def torch_jacobian(W: Any, x: Any, n_steps: int) -> Any:
    """The same with `torch.bmm`."""
    torch = importlib.import_module("torch")
    with torch.no_grad():
        log = torch.zeros(len(W), dtype=torch.float64)
        P = torch.eye(W.shape[1], dtype=W.dtype).expand(W.shape)
        for _ in range(n_steps):
            a = torch.tanh(x)
            P = torch.bmm(W, (1 - a * a).unsqueeze(2) * P)
            norm = torch.linalg.matrix_norm(P)
            log += torch.log(norm)
            P = P / norm[:, None, None]
            x = torch.bmm(W, a.unsqueeze(2)).squeeze(2)
        return (torch.exp(log)[:, None, None] * P).numpy()


def numpy_radius(W: Any) -> Any:
    """Spectral radii from all eigenvalues (LAPACK geev)."""
    return np.abs(np.linalg.eigvals(W)).max(axis=1)


def torch_radius(W: Any) -> Any:
    """The same with `torch.linalg.eigvals`."""
    torch = importlib.import_module("torch")
    return torch.abs(torch.linalg.eigvals(W)).amax(dim=1).numpy()


def numpy_weights(n_draws: int, n_hidden: int) -> Any:
    """Gaussian matrices from one generator: fastest, but draw 7 is another in a larger block."""
    rng = np.random.default_rng(1)
    W = rng.standard_normal((n_draws, n_hidden, n_hidden))
    W *= n_hidden**-0.5
    return W


def numpy_addressed_weights(n_draws: int, n_hidden: int) -> Any:
    """A generator for each draw, so that draw 7 is the same in every block, as vgcore's is."""
    W = np.empty((n_draws, n_hidden, n_hidden))
    for draw in range(n_draws):
        rng = np.random.default_rng([1, draw])
        rng.standard_normal(out=W[draw])
    W *= n_hidden**-0.5
    return W


def torch_weights(n_draws: int, n_hidden: int) -> Any:
    """The same from one generator of PyTorch."""
    torch = importlib.import_module("torch")
    generator = torch.Generator().manual_seed(1)
    W = torch.randn((n_draws, n_hidden, n_hidden), generator=generator, dtype=torch.float64)
    return W.mul_(n_hidden**-0.5).numpy()


def numpy_clipping(W: Any, x: Any, v: Any, n_steps: int, threshold: float) -> Any:
    """dE/dW_rec by backpropagation through time, clipped by norm: log norms before and after."""
    values, slopes = [], []
    for _ in range(n_steps):
        a = np.tanh(x)
        values.append(a)
        slopes.append(1 - a * a)
        x = np.matmul(W, a)
    Wt = np.ascontiguousarray(W.transpose(0, 2, 1))
    gradient, delta = np.zeros_like(W), v
    for lag in range(1, n_steps + 1):
        gradient += delta * values[-lag].transpose(0, 2, 1)
        delta = slopes[-lag] * np.matmul(Wt, delta)
    norm = np.linalg.norm(gradient, axis=(1, 2))
    clipped = gradient * np.minimum(1, threshold / norm)[:, None, None]
    return np.log([norm, np.linalg.norm(clipped, axis=(1, 2))])


def torch_clipping(W: Any, x: Any, v: Any, n_steps: int, threshold: float) -> Any:
    """The same by autograd."""
    torch = importlib.import_module("torch")
    W = W.detach().requires_grad_()
    for _ in range(n_steps):
        x = torch.bmm(W, torch.tanh(x))
    (x * v).sum().backward()
    norm = torch.linalg.matrix_norm(W.grad)
    clipped = W.grad * (threshold / norm).clamp(max=1)[:, None, None]
    return torch.log(torch.stack([norm, torch.linalg.matrix_norm(clipped)])).numpy()


def torch_training(*arguments: Any) -> Any:
    """Updates of tanh networks side by side, by autograd: gradient descent on a squared loss.

    Arguments are W (draws, N, N), W_in (draws, N, n_inputs), b (draws, N), W_out (draws, 1, N),
    b_out (draws, 1), u (steps, B, n_inputs) and y (B, 1), the same for all, the number of updates
    and the learning rate. Returns the W afterwards.
    """
    *parameters, u, y, n, rate = arguments
    torch = importlib.import_module("torch")
    parameters = [p.detach().clone().requires_grad_() for p in parameters]
    optimiser = torch.optim.SGD(parameters, rate)
    for _ in range(n):
        W, W_in, b, W_out, b_out = parameters
        Wt = W.transpose(1, 2)
        drive = torch.matmul(u[:, None], W_in.transpose(1, 2)) + b[:, None]
        a = torch.zeros_like(drive[0])
        for now in drive:
            a = torch.tanh(torch.baddbmm(now, a, Wt))
        out = torch.bmm(a, W_out.transpose(1, 2)) + b_out[:, None]
        loss = ((out - y) ** 2).mean(dim=(1, 2)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return parameters[0].detach().numpy()


def jax_training(over_draws: str) -> Callable[..., Any]:
    """The same by `jax.grad` of one network, under `jax.vmap` or `lax.map` over the draws."""

    @functools.cache
    def compiled() -> Callable[..., Any]:
        jax = importlib.import_module("jax")
        jnp = jax.numpy

        def loss(parameters: Any, u: Any, y: Any) -> Any:
            W, W_in, b, W_out, b_out = parameters

            def step(a: Any, drive: Any) -> Any:
                return jnp.tanh(a @ W.T + drive), None

            drive = u @ W_in.T + b
            a, _ = jax.lax.scan(step, jnp.zeros_like(drive[0]), drive)
            return ((a @ W_out.T + b_out - y) ** 2).mean()

        def one_draw(parameters: Any, u: Any, y: Any, rate: Any) -> Any:
            moves = jax.grad(loss)(parameters, u, y)
            return [p - rate * move for p, move in zip(parameters, moves, strict=True)]

        if over_draws == "vmap":
            batch: Callable[..., Any] = jax.jit(jax.vmap(one_draw, in_axes=(0, None, None, None)))
        else:
            batch = jax.jit(
                lambda parameters, u, y, rate: jax.lax.map(
                    lambda draw: one_draw(draw, u, y, rate), parameters
                )
            )
        return batch

    def training(*arguments: Any) -> Any:
        *parameters, u, y, n, rate = arguments
        for _ in range(n):
            parameters = compiled()(parameters, u, y, rate)
        return np.asarray(parameters[0])

    return training


def one_blas_thread(peer: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy peer with one thread of its BLAS: for small matrices that is often its best."""

    @functools.wraps(peer)
    def limited(*arguments: Any) -> Any:
        with _blas().limit(limits=1, user_api="blas"):
            return peer(*arguments)

    return limited


@functools.cache
def _blas() -> Any:
    return importlib.import_module("threadpoolctl").ThreadpoolController()


def with_one_thread(numpy_peer: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Both forms of a NumPy peer, by name."""
    return {"numpy": numpy_peer, "numpy_1thread": one_blas_thread(numpy_peer)}


def as_numpy(*arrays: Any) -> tuple[Any, ...]:
    return arrays


def as_torch(*arrays: Any) -> tuple[Any, ...]:
    torch = importlib.import_module("torch")
    return tuple(torch.from_numpy(a) for a in arrays)


def as_jax(*arrays: Any) -> tuple[Any, ...]:
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    return tuple(jax.numpy.asarray(a) for a in arrays)


_PREPARE = {"numpy": as_numpy, "torch": as_torch, "jax": as_jax}


def library(peer: str) -> str:
    """The library of a peer, the part of its name before the underscore."""
    return peer.partition("_")[0]


def prepare(peer: str, *arrays: Any) -> tuple[Any, ...]:
    """NumPy arrays as those of a peer's library."""
    return _PREPARE[library(peer)](*arrays)


def available(peer: str) -> bool:
    """Whether what a peer needs is installed and can be imported."""
    for name in (library(peer), *(["threadpoolctl"] if peer.endswith("_1thread") else [])):
        try:
            importlib.import_module(name)
        except Exception:  # whatever its own code or a library that it loads runs into
            return False
    return True
