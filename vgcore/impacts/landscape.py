"""The landscape: the wall of a one-unit net, and the loss along the gradient by radius."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import figure as mpl_figure
from matplotlib import rc_context
from matplotlib.colors import LogNorm

from vgcore.cells import RNN
from vgcore.figures import PALETTE, RC
from vgcore.impacts.table import Impact, lines, middle, row
from vgcore.training import gradient, temporal_order
from vgcore.training.experiments import descent_on_surface, error_surface
from vgcore.training.run import train

RATE, CLIP = 0.1, 0.5  # of the steps on the surface
WALL = 0.5 - 5.0 / (1.0 + np.exp(-0.5))  # bias at w = 5 whose unstable fixed point is the start


def landscape(
    seed: int,
    *,
    radii: Sequence[float] = (0.5, 0.95, 1.3, 2.0),
    steps: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
    length: int = 30,
    n_nets: int = 30,
    n_hidden: int = 30,
    grid: int = 200,
    n_threads: int | None = None,
) -> Impact:
    """Clipped and plain steps at the wall, and the loss at steps down the gradient's direction."""
    task = temporal_order(length)
    rows = []
    for radius in radii:
        cell = RNN.draw(n_nets, n_hidden, spectral_radius=radius, n_inputs=task.n_inputs, rng=seed)
        readout = np.random.default_rng(seed).normal(0, n_hidden**-0.5, (task.n_outputs, n_hidden))
        start, slope = gradient(cell, task, readout=(readout, 0.0), rng=seed, n_threads=n_threads)
        norm = np.sqrt(sum((g**2).reshape(n_nets, -1).sum(axis=1) for g in slope.values()))
        name = f"radius {radius:g}"
        rows.append(row(name, np.nan, "gradient norm", middle(norm), n_nets))
        for step in steps:
            # one update of SGD at the rate step / norm is a step of that length
            moved = train(
                cell, task, 1, learning_rate=step / norm, readout=(readout, 0.0), rng=seed,
                n_test=20, n_threads=n_threads,
            )  # fmt: skip
            loss, _ = gradient(
                moved.cell, task, readout=(moved.W_out, moved.b_out), rng=seed,
                n_threads=n_threads,
            )  # fmt: skip
            rows.append(row(name, step, "loss change", middle(loss - start), n_nets))
    paths = descent_on_surface(5.0, WALL - 4.5e-5, learning_rate=RATE, clip=CLIP, n_updates=60)
    for clipped, path in paths.groupby("clipped"):
        moves = np.hypot(path.weight.diff(), path.bias.diff())
        name = "surface, clipped" if clipped else "surface, plain"
        rows.append(row(name, np.nan, "longest step", (moves.max(), np.nan, np.nan), 1))
        rows.append(row(name, np.nan, "last error", (path.error.iloc[-1], np.nan, np.nan), 1))
    table = pd.DataFrame(rows)
    return Impact(
        "Optimisation landscape",
        "The one-unit net of Pascanu et al. (2013), figure 6, at a rate of "
        f"{RATE:g}, clipped at {CLIP:g} or plain; and temporal order at length {length}, {n_nets} "
        "tanh nets a spectral radius: loss on one batch after steps of given length down its "
        "gradient, median and middle half",
        table,
        {
            "surface": surface_figure(paths, grid),
            "along-gradient": lines(
                table, "loss change", "length of the step", "change of the loss on the batch"
            ),
        },
        landscape_text(table),
        "Curvature is seen in the curves alone; no second derivative is computed.",
    )


def surface_figure(paths: pd.DataFrame, grid: int) -> mpl_figure.Figure:
    """The error over weight and bias, with both paths."""
    weights, biases = np.linspace(4.2, 5.8, grid), np.linspace(-3.4, -2.2, grid)
    error = error_surface(weights, biases).error.to_numpy().reshape(grid, grid)
    with rc_context(RC):
        drawn = mpl_figure.Figure(figsize=(5.6, 4.2), layout="constrained")
        ax = drawn.subplots()
        mesh = ax.imshow(
            np.maximum(error.T, 1e-4), origin="lower", aspect="auto", cmap="Greys",
            norm=LogNorm(), extent=(weights[0], weights[-1], biases[0], biases[-1]),
        )  # fmt: skip
        bar = drawn.colorbar(mesh, label="error")
        bar.set_ticks([1e-3, 1e-2, 1e-1], labels=["0.001", "0.01", "0.1"])
        bar.ax.minorticks_off()
        for clipped, place in ((False, 2), (True, 0)):
            path = paths[paths.clipped == clipped]
            colour, marker = PALETTE[place]
            ax.plot(path.weight, path.bias, color=colour, marker=marker, markersize=4,
                    linewidth=1.5, label="clipped" if clipped else "plain")  # fmt: skip
        ax.set(xlim=(weights[0], weights[-1]), ylim=(biases[0], biases[-1]),
               xlabel="weight w", ylabel="bias b")  # fmt: skip
        ax.grid(visible=False)
        drawn.legend(loc="outside upper left", ncols=2, fontsize=8.5)
    return drawn


def landscape_text(table: pd.DataFrame) -> list[str]:
    """How far the wall throws a step, and at which radius a small step goes wrong."""
    plain, clipped = (
        table[
            (table.condition == f"surface, {kind}") & (table.quantity == "longest step")
        ].value.iloc[0]
        for kind in ("plain", "clipped")
    )
    text = [
        f"At the wall the longest plain step is {plain:.3g}, the longest clipped one {clipped:.3g}"
        + (
            ": the wall throws plain descent off."
            if plain > 10 * clipped
            else ": the wall makes no difference."
        )
    ]
    for name, group in table[table.quantity == "loss change"].groupby("condition", sort=False):
        best: Any = group.iloc[group.value.argmin()]
        longest: Any = group.iloc[group.x.argmax()]
        text.append(
            f"At {name} the best of these steps has length {best.x:g} (loss "
            f"{best.value:+.2g}); one of length {longest.x:g} "
            f"{'lowers' if longest.value < 0 else 'raises'} it ({longest.value:+.2g})."
        )
    return text
