"""What a user would write instead: the same operations in NumPy and PyTorch.

One table, `PEERS[operation][library]`, feeds the benchmarks and the tests that all agree. A peer
gets arrays of its own library (`PREPARE`) and returns NumPy arrays.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np


def numpy_profile(W: Any, x: Any, v: Any, n_steps: int) -> Any:
    """Log gradient norms of autonomous tanh networks by batched matrix products."""
    slopes = []
    for _ in range(n_steps):
        a = np.tanh(x)
        slopes.append(1 - a * a)
        x = np.matmul(W, a[:, :, None])[:, :, 0]
    Wt = np.ascontiguousarray(W.transpose(0, 2, 1))
    norm = np.linalg.norm(v, axis=1)
    out = np.empty((n_steps + 1, len(W)))
    out[0] = log = np.log(norm)
    delta = v / norm[:, None]
    for lag in range(1, n_steps + 1):
        delta = slopes[-lag] * np.matmul(Wt, delta[:, :, None])[:, :, 0]
        norm = np.linalg.norm(delta, axis=1)
        log = log + np.log(norm)
        delta = delta / norm[:, None]
        out[lag] = log
    return out.T


def torch_profile(W: Any, x: Any, v: Any, n_steps: int) -> Any:
    """The same with `torch.bmm`."""
    torch = importlib.import_module("torch")
    with torch.no_grad():
        slopes = []
        for _ in range(n_steps):
            a = torch.tanh(x)
            slopes.append(1 - a * a)
            x = torch.bmm(W, a.unsqueeze(2)).squeeze(2)
        Wt = W.transpose(1, 2).contiguous()
        norm = torch.linalg.vector_norm(v, dim=1)
        log = torch.log(norm).double()
        out = [log]
        delta = v / norm[:, None]
        for lag in range(1, n_steps + 1):
            delta = slopes[-lag] * torch.bmm(Wt, delta.unsqueeze(2)).squeeze(2)
            norm = torch.linalg.vector_norm(delta, dim=1)
            log = log + torch.log(norm)
            delta = delta / norm[:, None]
            out.append(log)
        return torch.stack(out, dim=1).numpy()


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


PREPARE: dict[str, Callable[..., tuple[Any, ...]]] = {"numpy": as_numpy, "torch": as_torch}
PEERS: dict[str, dict[str, Callable[..., Any]]] = {
    "gradient_profile": {"numpy": numpy_profile, "torch": torch_profile},
    "lyapunov_exponents": {"numpy": numpy_lyapunov, "torch": torch_lyapunov},
    "spectral_radius": {"numpy": numpy_radius},
}


def available(library: str) -> bool:
    """Whether a peer's library is installed."""
    return importlib.util.find_spec(library) is not None
