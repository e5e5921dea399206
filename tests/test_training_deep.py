"""Training of deep nets: gradients and updates against PyTorch and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from test_peers import require
from test_training import OPTIMISERS, difference

import vgcore as vg
from vgcore.training import tasks

N, LAYERS, BATCH = 6, 5, 4
NETS = {
    "tanh": {"activation": "tanh", "gain": 1.3},
    "sigmoid residual": {"activation": "sigmoid", "gain": 2.0, "residual": True},
    "relu": {"activation": "relu", "gain": 1.4},
}


def net(kind, **law):
    return vg.DeepNet.draw(2, LAYERS, N, bias_variance=0.1, rng=1, **NETS[kind], **law)


def task(loss):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((12, 1, N))
    y = rng.integers(3, size=(12, 1)) if loss == "cross_entropy" else rng.random((12, 1, 3))
    return tasks.examples(x, y, loss=loss)


def readout():
    return np.random.default_rng(5).standard_normal((2, 3, N)) / 2, np.full(3, 0.1)


def parameters(cell, W_out, b_out):
    return {
        "W": cell.W, "bias": cell.bias, "W_out": W_out,
        "b_out": np.broadcast_to(b_out, W_out.shape[:2]),
    }  # fmt: skip


def output(xp, cell, p, x, detached=0):
    """Output of one net in PyTorch or NumPy, the state cut off so many layers before the last."""
    s = {
        "tanh": xp.tanh,
        "sigmoid": lambda x: 1 / (1 + xp.exp(-x)),
        "relu": lambda x: x * (x > 0),
    }[cell.activation]
    for layer, (W, b) in enumerate(zip(p["W"], p["bias"], strict=True)):
        if detached and layer == LAYERS - detached:
            x = x.detach()
        x = cell.residual * x + s(x) @ W.T + b
    return s(x) @ p["W_out"].T + p["b_out"]


def torch_loss(found, cell, p, x, y, detached=0):
    import torch

    out = output(torch, cell, p, torch.from_numpy(x[:, 0]), detached)
    y = torch.from_numpy(y[:, 0])
    if found.loss == "squared":
        return torch.nn.functional.mse_loss(out, y)
    return torch.nn.functional.cross_entropy(out, y[:, 0].long())


def leaves(arrays, d):
    import torch

    return {name: torch.tensor(a[d], requires_grad=True) for name, a in arrays.items()}


@pytest.mark.parametrize("truncation", [None, 2])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
@pytest.mark.parametrize("kind", NETS)
def test_gradients_equal_autograd(kind, loss, truncation):
    require("torch")
    one, cell, pair = task(loss), net(kind), readout()
    value, found = vg.training.gradient(
        cell, one, batch=BATCH, readout=pair, truncation=truncation, number=3, rng=2
    )
    for d in range(2):
        x, y = one.batch(BATCH, rng=2, net=d, number=3)
        p = leaves(parameters(cell, *pair), d)
        wanted = torch_loss(one, cell, p, x, y, truncation or 0)
        wanted.backward()
        assert value[d] == pytest.approx(wanted.item(), rel=1e-12)
        for name, leaf in p.items():
            theirs = leaf.grad.numpy()
            np.testing.assert_allclose(
                found[name][d], theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max(), err_msg=name
            )


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_twenty_updates_follow_torch(optimiser):
    require("torch")
    import torch

    one, cell, pair = task("cross_entropy"), net("sigmoid residual"), readout()
    found = vg.training.train(
        cell, one, 20, batch=BATCH, optimiser=optimiser,
        learning_rate=0.1 if optimiser in ("sgd", "momentum") else 0.01, clip=0.3, readout=pair,
        penalty=("l2", 0.01), rng=2,
    )  # fmt: skip
    trained = parameters(found.cell, found.W_out, found.b_out)
    for d in range(2):
        p = leaves(parameters(cell, *pair), d)
        moves = OPTIMISERS[optimiser](torch, p.values())
        for number in range(1, 21):
            moves.zero_grad()
            loss = torch_loss(one, cell, p, *one.batch(BATCH, rng=2, net=d, number=number))
            (loss + 0.01 * (p["W"] ** 2).sum()).backward()
            torch.nn.utils.clip_grad_norm_(p.values(), 0.3)
            moves.step()
        for name, leaf in p.items():
            np.testing.assert_allclose(trained[name][d], leaf.detach(), rtol=0, atol=1e-8)


@pytest.mark.jit_off
@pytest.mark.parametrize("kind", ["tanh", "sigmoid residual"])
def test_gradients_equal_finite_differences(kind):
    one, cell, pair = task("squared"), net(kind), readout()
    loss, found = vg.training.gradient(cell, one, batch=2, readout=pair, rng=2)
    x, y = one.batch(2, rng=2, net=1)
    p = {name: array[1] for name, array in parameters(cell, *pair).items()}

    def error(p):
        return ((output(np, cell, p, x[:, 0]) - y[:, 0]) ** 2).mean()

    assert loss[1] == pytest.approx(error(p), rel=1e-12)
    for name, array in p.items():
        for index in (tuple(np.zeros(array.ndim, int)), tuple(np.array(array.shape) - 1)):
            wanted = difference(lambda a, name=name: error({**p, name: a}), array, index)
            assert found[name][1][index] == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_the_same_weights_in_each_layer_make_a_vanilla_net():
    """One net over depth and the other over time: the sum over layers is the gradient in time."""
    W = vg.draw_weights("gaussian", 2, N, gain=1.2, rng=1)
    b = np.random.default_rng(2).standard_normal((2, N)) / 3
    one, pair = task("squared"), readout()
    deep = vg.DeepNet(np.repeat(W[:, None], LAYERS, 1), np.repeat(b[:, None], LAYERS, 1))
    loss, found = vg.training.gradient(deep, one, batch=BATCH, readout=pair, rng=4)
    # a vanilla net starts at 0: its first step, with the identity as W_in, takes x_0 in
    inputs = np.zeros((12, LAYERS + 1, N))
    inputs[:, 0] = one.problem.inputs[:, 0] - 0.0
    eye = np.tile(np.eye(N), (2, 1, 1))
    for d in range(2):
        shifted = inputs - np.eye(1, LAYERS + 1)[0][:, None] * b[d]  # the bias of that step
        again = tasks.examples(shifted, one.problem.targets, loss="squared")
        again_loss, theirs = vg.training.gradient(
            vg.RNN(W, eye, b), again, batch=BATCH, readout=pair, rng=4, truncation=LAYERS
        )
        assert again_loss[d] == pytest.approx(loss[d], rel=1e-12)
        total = found["W"][d].sum(axis=0)
        np.testing.assert_allclose(theirs["W_rec"][d], total, rtol=1e-9, atol=1e-12)


def test_training_learns_by_itself_and_to_the_same_bits_on_any_threads():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 1, 8))
    one = tasks.examples(x, (x[:, :, 0] * x[:, :, 1] > 0).astype(float))
    law = {"optimiser": "adam", "learning_rate": 0.01, "clip": 1.0, "test_every": 150, "rng": 1}
    cell = vg.DeepNet.draw(3, 4, 8, activation="relu", residual=True, gain=0.5, rng=1)
    found, again = (vg.training.train(cell, one, 300, n_threads=n, **law) for n in (1, 2))
    assert (found.test_error[:, -1] < 0.1).all()
    assert found.cell.W.tobytes() == again.cell.W.tobytes()
    assert found.loss.tobytes() == again.loss.tobytes()
    assert repr(found.cell).startswith("DeepNet(n_draws=3, n_hidden=8, n_layers=4")
    assert found.cell.residual


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"task": tasks.adding(5)}, ValueError, "task: found 5 steps of 2 inputs, expected 1 of 6"),
        ({"penalty": ("omega", 1.0)}, TypeError, "omega is for vgcore.RNN"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    arguments = {"cell": net("tanh"), "task": task("squared")} | change
    with pytest.raises(error, match=message):
        vg.training.train(**arguments, n_updates=1)
