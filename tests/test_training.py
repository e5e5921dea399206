"""Training: gradients and updates against PyTorch, finite differences and plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from test_peers import require

import vgcore as vg
from vgcore.errors import StoreError
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


def outputs(xp, cell, p, u, truncation=None, states=None):
    """Outputs (steps, batch, n_outputs) of one net in PyTorch or NumPy, written from the formulas.

    p: its parameters by name; u (batch, T, n_inputs). x_0 to x_T of an RNN join `states`.
    """
    n, T = cell.n_hidden, u.shape[1]
    sigmoid = xp.sigmoid if hasattr(xp, "sigmoid") else lambda x: 1 / (1 + xp.exp(-x))
    zeros = u[:, 0, :1] * 0 + xp.zeros(n, dtype=u.dtype)
    h = c = x = zeros
    out = []
    states = [] if states is None else states
    states.append(x)
    for t in range(T):
        if truncation and t and (T - t) % truncation == 0:
            h, c, x = (a.detach() for a in (h, c, x))
        if isinstance(cell, vg.RNN):
            s = {"tanh": xp.tanh, "sigmoid": sigmoid}[cell.activation]
            x = s(x) @ p["W_rec"].T + u[:, t] @ p["W_in"].T + p["bias"]
            h = s(x)
            states.append(x)
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


def torch_loss(task, cell, p, u, y, truncation=None, states=None):
    import torch

    y = torch.from_numpy(y)
    made = outputs(torch, cell, p, torch.from_numpy(u), truncation, states)
    out = torch.stack(made[-y.shape[1] :], 1)
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


def omega(torch, loss, p, states, truncation):
    """Pascanu et al. (2013), eq. 9: of the last step before the state is detached, and so on.

    states: x_0 to x_T of the graph; their gradients and slopes are held constant.
    """
    T, total = len(states) - 1, 0.0
    gradients = torch.autograd.grad(loss, states[1:], retain_graph=True)
    for t in range(1, T + 1):
        if truncation and (T - t + 1) % truncation == 0:
            continue
        slope = 1 - torch.tanh(states[t - 1].detach()) ** 2
        delta = gradients[t - 1]
        ratio = ((delta @ p["W_rec"]) * slope).norm(dim=1) / delta.norm(dim=1)
        total = total + ((ratio - 1) ** 2).mean()
    return total


@pytest.mark.parametrize(
    ("kind", "task", "batch", "truncation", "penalty", "optimiser", "clip"),
    [
        ("LSTM", "order", 4, None, 0.0, "adam", ("norm", 0.3)),
        ("LeakyRNN", "copy", 1, 4, 0.0, "rmsprop", ("value", 0.01)),
        ("GRU", "copy", 1, 5, 0.0, "rmsprop", ("value", 0.01)),
        ("RNN", "recall", 1, None, 0.3, "adam", ("norm", 0.2)),
        ("RNN", "copy", 2, 4, 0.2, "momentum", ("value", 0.05)),
    ],
)
def test_other_cells_and_options_follow_torch(
    kind, task, batch, truncation, penalty, optimiser, clip
):
    """Truncated, with a loss at each step, one sequence a batch, Omega: twenty updates each."""
    require("torch")
    import torch

    task = {**TASKS, "order": tasks.temporal_order((10, 13), n_marks=3)}[task]
    cell = net(kind, task)
    pair = readout(cell, task)
    found = vg.training.train(
        cell, task, 20, batch=batch, optimiser=optimiser,
        learning_rate=0.1 if optimiser == "momentum" else 0.01, clip=clip, readout=pair,
        n_test=batch, truncation=truncation, penalty=("omega", penalty) if penalty else None, rng=2,
    )  # fmt: skip
    trained = arrays_of(found.cell, found.W_out, found.b_out)
    clippings = torch.nn.utils
    for d in range(2):
        p = torch_parameters(arrays_of(cell, *pair), d)
        moves = OPTIMISERS[optimiser](torch, p.values())
        for number in range(1, 21):
            moves.zero_grad()
            u, y = task.batch(batch, rng=2, net=d, number=number)
            states = []
            loss = torch_loss(task, cell, p, u, y, truncation, states)
            assert found.loss[d, number - 1] == pytest.approx(loss.item(), rel=1e-9)
            added = penalty * omega(torch, loss, p, states, truncation) if penalty else 0.0
            (loss + added).backward()
            clipped = clippings.clip_grad_norm_ if clip[0] == "norm" else clippings.clip_grad_value_
            clipped(p.values(), clip[1])
            moves.step()
        for name, parameter in p.items():
            np.testing.assert_allclose(trained[name][d], parameter.detach(), rtol=0, atol=1e-8)


def difference(function, a, index, h=1e-6):
    """Central finite difference of a function of an array by one entry."""
    values = []
    for sign in (1, -1):
        moved = a.copy()
        moved[index] += sign * h
        values.append(function(moved))
    return (values[0] - values[1]) / (2 * h)


def naive_loss(task, cell, p, u, y):
    """The loss in plain NumPy."""
    out = np.stack(outputs(np, cell, p, u)[-y.shape[1] :], 1)
    if task.loss == "squared":
        return ((out - y) ** 2).mean()
    largest = out.max(axis=2, keepdims=True)
    logs = out - largest - np.log(np.exp(out - largest).sum(axis=2, keepdims=True))
    return -np.take_along_axis(logs, y.astype(int), axis=2).mean()


@pytest.mark.jit_off
@pytest.mark.parametrize("kind", CELLS)
def test_gradients_equal_finite_differences(kind):
    task = tasks.copy_memory(1) if kind == "RNN" else tasks.delayed_recall(2, 5)
    cell = net(kind, task)
    pair = readout(cell, task)
    loss, found = vg.training.gradient(cell, task, batch=2, readout=pair, rng=2)
    u, y = task.batch(2, rng=2, net=1)
    p = {name: array[1] for name, array in arrays_of(cell, *pair).items()}
    assert loss[1] == pytest.approx(naive_loss(task, cell, p, u, y), rel=1e-12)
    rng = np.random.default_rng(3)
    for name, array in p.items():
        for _ in range(3):
            index = tuple(rng.integers(array.shape))
            wanted = difference(
                lambda moved, name=name: naive_loss(task, cell, {**p, name: moved}, u, y),
                array,
                index,
            )
            assert found[name][1][index] == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.jit_off
@pytest.mark.parametrize("optimiser", ["momentum", "rmsprop", "adam"])
def test_updates_equal_the_formulas(optimiser):
    """Three updates in plain NumPy from the gradients of this library."""
    task = tasks.adding(5)
    cell = net("RNN", task)
    W, b = readout(cell, task)
    arguments = {"batch": 2, "rng": 2}
    found = vg.training.train(
        cell, task, 3, optimiser=optimiser, learning_rate=[0.01, 0.02], clip=0.2, readout=(W, b),
        n_test=2, **arguments,
    )  # fmt: skip
    rate, p = np.array([0.01, 0.02]), arrays_of(cell, W, b)
    m, v = ({name: 0.0 * array for name, array in p.items()} for _ in range(2))
    for t in range(1, 4):
        now = vg.RNN(p["W_rec"], p["W_in"], p["bias"])
        _, g = vg.training.gradient(
            now, task, readout=(p["W_out"], p["b_out"]), number=t, **arguments
        )
        norm = np.sqrt(sum((a**2).reshape(2, -1).sum(axis=1) for a in g.values()))
        np.testing.assert_allclose(found.gradient_norm[:, t - 1], norm, rtol=1e-12)
        for name in p:
            shape = (2,) + (1,) * (p[name].ndim - 1)
            a = g[name] * np.minimum(1, 0.2 / (norm + 1e-6)).reshape(shape)
            if optimiser == "momentum":
                m[name] = 0.9 * m[name] + a
                step = m[name]
            elif optimiser == "rmsprop":
                v[name] = 0.99 * v[name] + 0.01 * a**2
                step = a / (np.sqrt(v[name]) + 1e-8)
            else:
                m[name] = 0.9 * m[name] + 0.1 * a
                v[name] = 0.999 * v[name] + 0.001 * a**2
                root = np.sqrt(v[name] / (1 - 0.999**t))
                step = m[name] / (1 - 0.9**t) / (root + 1e-8)
            p[name] = p[name] - rate.reshape(shape) * step
    trained = arrays_of(found.cell, found.W_out, found.b_out)
    for name in p:
        np.testing.assert_allclose(trained[name], p[name], rtol=1e-9, atol=1e-12)


@pytest.mark.jit_off
@pytest.mark.parametrize("penalty", ["omega", "omega_squared", "orthogonality", "l2"])
def test_penalties_add_the_derivative_that_remedies_measure(penalty):
    """Omega for a loss at the last step alone is that of remedies."""
    task = tasks.adding(6)
    cell = net("RNN", task)
    pair = readout(cell, task)
    arguments = {"batch": 3, "readout": pair, "rng": 2}
    _, plain = vg.training.gradient(cell, task, **arguments)
    _, found = vg.training.gradient(cell, task, penalty=(penalty, [0.5, 2.0]), **arguments)
    if penalty.startswith("omega"):
        u = np.stack([task.batch(3, rng=2, net=d)[0] for d in range(2)])
        y = np.stack([task.batch(3, rng=2, net=d)[1] for d in range(2)])
        loss = np.empty((2, 3, 7))
        for d in range(2):
            p = {name: array[d] for name, array in arrays_of(cell, *pair).items()}
            errors = outputs(np, cell, p, u[d])[-1] - y[d, :, 0]
            x = np.zeros((3, 7))
            for t in range(6):
                x = np.tanh(x) @ p["W_rec"].T + u[d, :, t] @ p["W_in"].T + p["bias"]
            loss[d] = errors * p["W_out"] * (1 - np.tanh(x) ** 2)
        wanted = vg.remedies.penalties.omega(
            cell, 6, squared=penalty == "omega_squared", inputs=u, n_trajectories=3,
            initial_state=np.zeros(7), loss_gradient=loss,
        )  # fmt: skip
    else:
        wanted = getattr(vg.remedies.penalties, penalty)(cell)
    np.testing.assert_allclose(
        (found["W_rec"] - plain["W_rec"]) / np.array([0.5, 2.0])[:, None, None],
        wanted.gradient, rtol=1e-9, atol=1e-12,
    )  # fmt: skip
    for name in set(plain) - {"W_rec"}:
        assert (found[name] == plain[name]).all()


def bits(found):
    return [
        getattr(found, name).tobytes()
        for name in ("W_out", "b_out", "loss", "gradient_norm", "test_loss", "test_error")
    ] + [found.cell.W_rec.tobytes(), found.cell.W_in.tobytes()]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_same_bits_for_any_threads_and_place_in_the_ensemble(kind):
    task = tasks.temporal_order((10, 14))
    law = {"n_inputs": 6, "rng": 3}
    draw = getattr(vg, kind).draw
    arguments = {
        "optimiser": "adam", "clip": 1.0, "test_every": 4, "n_test": 20, "batch": 10, "rng": 4,
    }  # fmt: skip
    one = vg.training.train(draw(5, 9, **law), task, 8, n_threads=1, **arguments)
    two = vg.training.train(draw(5, 9, **law), task, 8, n_threads=2, **arguments)
    few = vg.training.train(draw(2, 9, **law), task, 8, **arguments)
    assert bits(one) == bits(two)
    assert (few.loss == one.loss[:2]).all()
    assert (few.cell.W_rec == one.cell.W_rec[:2]).all()
    assert len(np.unique(one.loss[:, 0])) == 5  # each net has sequences of its own


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    task, cell = tasks.adding(8), vg.RNN.draw(3, 6, n_inputs=2, rng=1)

    def run(file=None, **changes):
        arguments = {"optimiser": "adam", "test_every": 5, "n_test": 20, "rng": 1} | changes
        return vg.training.train(cell, task, 20, checkpoint=file, **arguments)

    whole = run()
    file = tmp_path / "state.npz"
    from vgcore.training import run as module

    saved, save = [], module._State.save

    def stop(state, path, digest):
        save(state, path, digest)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module._State, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            run(file)
    with np.load(file, allow_pickle=False) as kept:
        assert kept["done"] == 10
    assert bits(run(file)) == bits(whole)
    assert bits(run(file)) == bits(whole)  # nothing left to do
    with pytest.raises(StoreError, match="other arguments"):
        run(file, rng=2)
    with pytest.raises(StoreError, match="other arguments"):
        run(file, learning_rate=0.02)
    with pytest.raises(StoreError, match="other arguments"):
        run(file, stop_solved=True)
    whole = file.read_bytes()
    encrypted = bytearray(whole)
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1  # a flag of the first entry
    for damaged in (whole[:100], b"", encrypted):
        file.write_bytes(damaged)
        with pytest.raises(StoreError, match="no whole checkpoint"):
            run(file)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_a_net_that_diverges_is_recorded_and_leaves_the_others_alone():
    task, cell = tasks.delayed_recall(3), vg.RNN.draw(3, 5, activation="relu", n_inputs=1, rng=1)
    arguments = {"n_test": 4, "batch": 2, "test_every": 3, "rng": 1}
    calm = vg.training.train(cell, task, 6, learning_rate=0.01, **arguments)
    wild = vg.training.train(cell, task, 6, learning_rate=[0.01, 1e200, 0.01], **arguments)
    assert wild.diverged.tolist() == [False, True, False]
    step = wild.diverged_step[1]
    assert 1 < step <= 6
    assert np.isnan(wild.loss[1, step:]).all()
    assert np.isfinite(wild.cell.W_rec).all()
    for d in (0, 2):
        assert (wild.loss[d] == calm.loss[d]).all()
        assert (wild.cell.W_rec[d] == calm.cell.W_rec[d]).all()
    assert "1 diverged, the first at update" in repr(wild)
    every = vg.training.train(cell, task, 6, learning_rate=1e200, **arguments)
    first, last = every.diverged_step.min(), every.diverged_step.max()
    when = f"update {first}:" if first == last else f"updates {first} to {last}:"
    assert f"every net diverged, at {when} use a smaller learning rate" in repr(every)
    huge = np.full((1, 5), 1e200), np.zeros(1)
    at_once = vg.training.train(cell, task, 6, readout=huge, **arguments)
    assert "every net diverged, at update 1: rescale weights" in repr(at_once)


@pytest.mark.slow  # compiles everything once more
def test_float32_follows_float64():
    task = tasks.adding(12)
    arguments = {"optimiser": "momentum", "clip": 1.0, "n_test": 20, "rng": 4}
    found = {
        dtype: vg.training.train(net("RNN", task, dtype), task, 30, **arguments)
        for dtype in ("float32", "float64")
    }
    assert found["float32"].cell.W_rec.dtype == np.float32
    np.testing.assert_allclose(found["float32"].loss, found["float64"].loss, rtol=1e-3)


def test_nets_learn_what_they_can_and_stop():
    """Short tasks are solved, and a solved net is as good on sequences of other seeds."""
    task = tasks.temporal_order(10)
    cell = vg.LSTM.draw(4, 16, n_inputs=6, rng=1)
    found = vg.training.train(
        cell, task, 600, optimiser="adam", learning_rate=0.01, test_every=50, n_test=400,
        stop_solved=True, record_every=10, rng=1,
    )  # fmt: skip
    assert found.solved.all()
    assert (found.solved_step % 50 == 0).all()
    assert found.test_loss[:, 0].max() < 1.2 * task.chance_loss
    stopped = found.solved_step.min() // 10
    assert np.isnan(found.loss[found.solved_step.argmin(), stopped:]).all()
    for d in range(4):
        u, y = task.batch(300, rng=99, net=d)
        p = {
            name: array[d]
            for name, array in arrays_of(found.cell, found.W_out, found.b_out).items()
        }
        wrong = outputs(np, found.cell, p, u)[-1].argmax(axis=1) != y[:, 0, 0]
        assert wrong.mean() < 0.05
    assert len(found.to_frame()) == found.loss.size
    assert "4 solved after a median of" in repr(found)


GOOD = {"n_updates": 2, "batch": 2, "n_test": 4}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_updates": -1}, ValueError, "n_updates: found -1"),
        ({"batch": 0}, ValueError, "batch: found 0"),
        ({"n_test": 5}, ValueError, "expected a multiple of batch = 2; take 6"),
        ({"optimiser": "adm"}, ValueError, "did you mean 'adam'"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate: found 0"),
        ({"learning_rate": np.inf}, ValueError, "learning_rate: found inf, expected finite"),
        ({"learning_rate": [0.1, 0.1, 0.1]}, ValueError, r"one a net, \(2,\)"),
        ({"clip": -1.0}, ValueError, "clip: found -1"),
        ({"clip": ("nrm", 1.0)}, ValueError, "did you mean 'norm'"),
        ({"penalty": ("l3", 1.0)}, ValueError, "did you mean 'l2'"),
        ({"penalty": ("l2", -1.0)}, ValueError, "penalty: found -1"),
        ({"truncation": 0}, ValueError, "truncation: found 0"),
        ({"test_every": 3}, ValueError, "test_every: found 3"),
        ({"record_every": 2, "test_every": 1}, ValueError, "does not divide test_every"),
        ({"checkpoint": "state.npz"}, ValueError, "rng: found None, expected a seed"),
        ({"readout": 3}, TypeError, "readout: found int, expected a pair"),
        ({"task": "adding"}, TypeError, "task: found 'adding'"),
        ({"task": tasks.copy_memory(2)}, ValueError, "draw it with n_inputs=10"),
        (
            {"cell": vg.GRU.draw(2, 3, n_inputs=2, rng=1), "penalty": ("omega", 1.0)},
            TypeError,
            "omega is for vgcore.RNN",
        ),
    ],
)
def test_bad_arguments_are_refused(changes, error, message):
    arguments = {"cell": vg.RNN.draw(2, 3, n_inputs=2, rng=1), "task": tasks.adding(5)}
    with pytest.raises(error, match=message):
        vg.training.train(**(arguments | GOOD | changes))


def test_nets_are_tested_without_an_update(tmp_path):
    """What a test after training says is what one of the trained nets alone says."""
    cell, task = vg.RNN.draw(2, 8, n_inputs=2, rng=1), vg.training.adding(10)
    trained = vg.training.train(cell, task, 5, n_test=40, rng=2)
    kept = {"readout": (trained.W_out, trained.b_out), "checkpoint": tmp_path / "kept.npz"}
    for _ in range(2):  # the second time from the checkpoint
        again = vg.training.train(trained.cell, task, 0, n_test=40, rng=2, **kept)
        assert again.tested_after.tolist() == [0]
        assert (again.test_loss == trained.test_loss).all()
        assert (again.cell.W_rec == trained.cell.W_rec).all()
        assert again.loss.shape == (2, 0)
        assert len(again.to_frame()) == 0
        assert "2 nets" in repr(again)
