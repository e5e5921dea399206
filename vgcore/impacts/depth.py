"""Preferential learning: what gradient arrives at each layer of a deep net, and what moves."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from vgcore.deep import DeepNet
from vgcore.impacts.pieces import Experiment
from vgcore.impacts.table import Impact, lines, middle, row, spread, value
from vgcore.training import Task, examples, gradient, train

NETS: dict[str, dict[str, Any]] = {
    "sigmoid, gain 1": {"activation": "sigmoid", "gain": 1.0},
    "sigmoid, gain 4": {"activation": "sigmoid", "gain": 4.0},
    "tanh, orthogonal": {"activation": "tanh", "init": "orthogonal"},
    "ReLU, gain 1": {"activation": "relu", "gain": 1.0},
    "ReLU, gain sqrt 2": {"activation": "relu", "gain": 2.0**0.5},
    "ReLU, residual": {"activation": "relu", "gain": 0.3, "residual": True},
}
CLASSES = 4


def layers(
    seed: int,
    *,
    n_layers: int = 12,
    n_hidden: int = 32,
    n_nets: int = 30,
    n_updates: int = 3000,
    n_threads: int | None = None,
) -> Experiment:
    """Gradient of each layer's weights before and after training, and how far they moved."""
    measure = partial(_layers, seed, n_layers, n_hidden, n_nets, n_updates, n_threads)

    def finish(table: pd.DataFrame) -> dict[str, Impact]:
        figures = {
            "layers-gradient": lines(
                table, "gradient before", "layer, 1 the first",
                "gradient norm over the last layer's", y_log=True,
            ),
            "layers-movement": lines(
                table, "movement", "layer, 1 the first", "movement over norm",
                y_log=True,
            ),
        }  # fmt: skip
        impact = Impact(
            "Preferential learning across layers",
            f"{n_nets} nets of {n_layers} layers of {n_hidden} units and a readout, trained for "
            f"{n_updates:,} updates of SGD (rate 0.05, clipping at 1) to tell the {CLASSES} "
            "classes of a random teacher. Gradient of each layer's weights on one batch, over "
            "that of the last layer; movement ||W - W_0|| / ||W_0||; medians over nets, with the "
            "middle half in brackets",
            table,
            figures,
            layers_text(table),
        )
        return {"layers": impact}

    return Experiment({name: partial(measure, name) for name in NETS}, finish)


def teacher(seed: int, n_inputs: int) -> Task:
    """Gaussian inputs and the largest output of a random net with one hidden layer."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2500, n_inputs))
    hidden = np.tanh(x @ rng.standard_normal((n_inputs, n_inputs)) * (2.0 / n_inputs**0.5))
    labels = (hidden @ rng.standard_normal((n_inputs, CLASSES))).argmax(axis=1)[:, None]
    x = x[:, None]
    return examples(
        x[500:], labels[500:], test=(x[:500], labels[:500]), n_outputs=CLASSES, name="teacher"
    )


def _layers(
    seed: int, n_layers: int, n_hidden: int, n_nets: int, n_updates: int, n_threads: int | None,
    name: str,
) -> pd.DataFrame:  # fmt: skip
    net = DeepNet.draw(n_nets, n_layers, n_hidden, rng=seed, **NETS[name])
    task = teacher(seed, n_hidden)
    found = train(
        net, task, n_updates, learning_rate=0.05, clip=1.0, record_every=n_updates, rng=seed,
        n_threads=n_threads,
    )  # fmt: skip
    assert isinstance(found.cell, DeepNet)
    same: dict[str, Any] = {"rng": seed, "n_threads": n_threads}
    before = gradient(net, task, **same)[1]["W"]
    after = gradient(found.cell, task, readout=(found.W_out, found.b_out), **same)[1]["W"]
    measured = {
        "gradient before": _over_last(before),
        "gradient after": _over_last(after),
        "movement": _norms(found.cell.W - net.W) / _norms(net.W),
    }
    rows = [
        row(name, layer + 1, quantity, middle(values[:, layer]), n_nets)
        for quantity, values in measured.items()
        for layer in range(n_layers)
    ]
    loss = found.test_loss[:, -1] / task.chance_loss
    rows.append(row(name, np.nan, "loss over chance", middle(loss), n_nets))
    return pd.DataFrame(rows)


def _norms(W: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Of each net's and layer's matrix."""
    return np.asarray(np.sqrt((W.astype(np.float64) ** 2).sum(axis=(2, 3))))


def _over_last(W: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    norms = _norms(W)
    last = norms[:, -1:]
    return np.divide(norms, last, out=np.zeros_like(norms), where=last > 0)


def layers_text(table: pd.DataFrame) -> list[str]:
    """What arrives at the first layer, and whether it moves less than the last."""
    last = table.x.max()
    text = []
    for name in table.condition.unique():
        before, after = (value(table, name, f"gradient {when}", 1) for when in ("before", "after"))
        shallow, deep = (value(table, name, "movement", x) for x in (1, last))
        verdict = (
            "less than a tenth as far" if shallow < 0.1 * deep
            else "more than ten times as far" if shallow > 10 * deep
            else "alike, within a factor of ten"
        )  # fmt: skip
        loss = table[(table.condition == name) & (table.quantity == "loss over chance")].iloc[0]
        learned = "" if loss.low < 0.99 else ": three nets of four have learned nothing"
        text.append(
            f"{name}: the gradient of the first layer is {before:.2g} times that of the last "
            f"before training, {after:.2g} times after it; its weights moved by {shallow:.2g} "
            f"of their norm, those of the last by {deep:.2g}: {verdict}. "
            f"Test loss {spread(loss, '.2f')} times that of chance{learned}."
        )
    return text
