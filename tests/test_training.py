"""Training: gradients and updates against PyTorch, finite differences and plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from test_peers import require

import vgcore as vg
from vgcore.training import tasks

CELLS = {
    "RNN": lambda **law: vg.RNN.draw(2, 7, gain=1.3, bias_variance=0.1, **law),
    "sigmoid": lambda **law: vg.RNN.draw(2, 7, gain=4.0, activation="sigmoid", **law),
    "LeakyRNN": lambda **law: vg.LeakyRNN.draw(2, 7, gain=1.3, leak=0.3, **law),
    "LSTM": lambda **law: vg.LSTM.draw(2, 7, gain=1.5, **law),
    "GRU": lambda **law: vg.GRU.draw(2, 7, gain=1.5, **law),
}
RECALL, COPY = tasks.delayed_recall(4, 9), tasks.copy_memory(3)
TASKS = {"recall": RECALL, "copy": COPY, "adding": tasks.adding(9)}


def net(kind, task, dtype="float64"):
    return CELLS[kind](n_inputs=task.n_inputs, dtype=dtype, rng=1)


def readout(cell, task, seed=5):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, task.n_outputs, cell.n_hidden)) / 2, np.zeros(task.n_outputs)


def arrays_of(cell, W_out, b_out):
    """All parameters by name, biases made explicit."""
    gated = isinstance(cell, (vg.LSTM, vg.GRU))
    found = {("W_hh" if gated else "W_rec"): cell.W_rec, ("W_ih" if gated else "W_in"): cell.W_in}
    if isinstance(cell, vg.GRU):
        found |= {"b_ih": cell.b_ih, "b_hh": cell.b_hh}
    else:
        bias = cell.bias
        found["bias"] = np.zeros(cell.W_rec.shape[:2]) if bias is None else bias
    return found | {"W_out": W_out, "b_out": np.broadcast_to(b_out, W_out.shape[:2])}


def outputs(xp, cell, p, u, truncation=None):
    """Outputs (steps, batch, n_outputs) of one net in PyTorch or NumPy, written from the formulas.

    p: its parameters by name; u (batch, T, n_inputs).
    """
    n, T = cell.n_hidden, u.shape[1]
    sigmoid = xp.sigmoid if hasattr(xp, "sigmoid") else lambda x: 1 / (1 + xp.exp(-x))
    zeros = u[:, 0, :1] * 0 + xp.zeros(n, dtype=u.dtype)
    h = c = x = zeros
    out = []
    for t in range(T):
        if truncation and t and (T - t) % truncation == 0:
            h, c, x = (a.detach() for a in (h, c, x))
        if isinstance(cell, vg.RNN):
            s = {"tanh": xp.tanh, "sigmoid": sigmoid}[cell.activation]
            x = s(x) @ p["W_rec"].T + u[:, t] @ p["W_in"].T + p["bias"]
            h = s(x)
        elif isinstance(cell, vg.LeakyRNN):
            s = xp.tanh(h @ p["W_rec"].T + u[:, t] @ p["W_in"].T + p["bias"])
            h = (1 - cell.leak) * h + cell.leak * s
        elif isinstance(cell, vg.LSTM):
            gates = h @ p["W_hh"].T + u[:, t] @ p["W_ih"].T + p["bias"]
            i, f, g, o = (gates[:, k * n : (k + 1) * n] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * xp.tanh(g)
            h = sigmoid(o) * xp.tanh(c)
        else:
            own, drive = h @ p["W_hh"].T + p["b_hh"], u[:, t] @ p["W_ih"].T + p["b_ih"]
            (r, z, m), (ri, zi, mi) = (
                [a[:, k * n : (k + 1) * n] for k in range(3)] for a in (own, drive)
            )
            r, z = sigmoid(r + ri), sigmoid(z + zi)
            h = (1 - z) * xp.tanh(mi + r * m) + z * h
        out.append(h @ p["W_out"].T + p["b_out"])
    return out


def torch_loss(task, cell, p, u, y, truncation=None):
    import torch

    y = torch.from_numpy(y)
    out = torch.stack(outputs(torch, cell, p, torch.from_numpy(u), truncation)[-y.shape[1] :], 1)
    if task.loss == "squared":
        return torch.nn.functional.mse_loss(out, y)
    return torch.nn.functional.cross_entropy(out.flatten(0, 1), y.long().flatten())


def torch_parameters(arrays, d):
    import torch

    return {name: torch.tensor(a[d], requires_grad=True) for name, a in arrays.items()}


@pytest.mark.parametrize("truncation", [None, 3])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", CELLS)
def test_gradients_equal_autograd(kind, task, truncation):
    require("torch")
    task = TASKS[task]
    cell = net(kind, task)
    pair = readout(cell, task)
    loss, found = vg.training.gradient(
        cell, task, batch=5, readout=pair, truncation=truncation, number=3, rng=2
    )
    for d in range(2):
        u, y = task.batch(5, rng=2, net=d, number=3)
        p = torch_parameters(arrays_of(cell, *pair), d)
        wanted = torch_loss(task, cell, p, u, y, truncation)
        wanted.backward()
        assert loss[d] == pytest.approx(wanted.item(), rel=1e-12)
        for name, parameter in p.items():
            theirs = parameter.grad.numpy()
            np.testing.assert_allclose(
                found[name][d], theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max(), err_msg=name
            )


OPTIMISERS = {
    "sgd": lambda torch, p: torch.optim.SGD(p, 0.1),
    "momentum": lambda torch, p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "rmsprop": lambda torch, p: torch.optim.RMSprop(p, 0.01),
    "adam": lambda torch, p: torch.optim.Adam(p, 0.01),
}


@pytest.mark.parametrize("clip", [None, ("norm", 0.1), ("value", 0.02)])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_twenty_updates_follow_torch(optimiser, clip):
    require("torch")
    import torch

    task, kind = RECALL, "RNN"
    cell = net(kind, task)
    pair = readout(cell, task)
    rate = 0.1 if optimiser in ("sgd", "momentum") else 0.01
    found = vg.training.train(
        cell, task, 20, batch=5, optimiser=optimiser, learning_rate=rate, clip=clip, readout=pair,
        n_test=5, penalty=("l2", 0.01), rng=2,
    )  # fmt: skip
    trained = arrays_of(found.cell, found.W_out, found.b_out)
    for d in range(2):
        p = torch_parameters(arrays_of(cell, *pair), d)
        moves = OPTIMISERS[optimiser](torch, p.values())
        for number in range(1, 21):
            moves.zero_grad()
            u, y = task.batch(5, rng=2, net=d, number=number)
            loss = torch_loss(task, cell, p, u, y)
            assert found.loss[d, number - 1] == pytest.approx(loss.item(), rel=1e-9)
            (loss + 0.01 * (p["W_rec"] ** 2).sum()).backward()
            if clip and clip[0] == "norm":
                torch.nn.utils.clip_grad_norm_(p.values(), clip[1])
            elif clip:
                torch.nn.utils.clip_grad_value_(p.values(), clip[1])
            moves.step()
        for name, parameter in p.items():
            np.testing.assert_allclose(trained[name][d], parameter.detach(), rtol=0, atol=1e-8)
