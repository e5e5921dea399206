"""Preferential learning: how much of the gradient reaches each layer of a deep net."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from vgcore.deep import DeepNet
from vgcore.impacts.table import Impact, each, lines, middle, row
from vgcore.profile import gradient_profile

NETS: dict[str, dict[str, Any]] = {
    "sigmoid, gain 1": {"activation": "sigmoid", "gain": 1.0},
    "sigmoid, gain 4": {"activation": "sigmoid", "gain": 4.0},
    "tanh, orthogonal": {"activation": "tanh", "init": "orthogonal"},
    "ReLU, gain 1": {"activation": "relu", "gain": 1.0},
    "ReLU, gain sqrt 2": {"activation": "relu", "gain": 2.0**0.5},
    "ReLU, residual": {"activation": "relu", "gain": 0.3, "residual": True},
}


def layers(
    seed: int,
    *,
    n_layers: int = 20,
    n_hidden: int = 50,
    n_nets: int = 100,
    n_threads: int | None = None,
) -> Impact:
    """Norm of the gradient at each layer over that at the output, of untrained nets."""
    rows = []
    for name, law in NETS.items():
        net = DeepNet.draw(n_nets, n_layers, n_hidden, rng=seed, **law)
        norms = gradient_profile(net, n_layers, rng=seed, n_threads=n_threads).log_norm[:, 0]
        relative = np.exp(norms - norms[:, :1])
        rows += [
            row(name, n_layers - lag, "gradient over output", middle(relative[:, lag]), n_nets)
            for lag in range(n_layers, -1, -1)
        ]
    table = pd.DataFrame(rows)
    figure = lines(
        table, "gradient over output", "layer, 0 the input", "gradient norm over the output's",
        y_log=True,
    )  # fmt: skip
    return Impact(
        "Preferential learning across layers",
        f"{n_nets} nets of {n_layers} layers of {n_hidden} units; median and middle half",
        table,
        {"layers": figure},
        layers_text(table),
        "Weight movement is not measured: deep nets have no trainer yet, so this is the gradient "
        "of untrained nets alone.",
    )


def layers_text(table: pd.DataFrame) -> list[str]:
    """What share of the gradient arrives at the input, of each kind."""
    text = []
    for one in each(table[table.x == 0]):
        verdict = (
            "vanishes: shallow layers hardly learn" if one.high < 0.1
            else "grows on the way" if one.low > 10
            else "arrives within a factor of ten in the middle half of nets" if one.low >= 0.1
            and one.high <= 10 else "scatters beyond a factor of ten from net to net"
        )  # fmt: skip
        text.append(
            f"{one.condition}: {one.value:.2g} of the output's gradient reaches the input; it "
            f"{verdict}."
        )
    return text
