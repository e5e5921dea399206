"""The landscape: the wall of a one-unit net, and the loss along the gradient by radius."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import figure as mpl_figure
from matplotlib import rc_context
from matplotlib.colors import LogNorm

from vgcore.cells import RNN
from vgcore.figures import PALETTE, RC
from vgcore.impacts.pieces import Experiment
from vgcore.impacts.table import Impact, lines, middle, row, spread, value
from vgcore.training import gradient, temporal_order
from vgcore.training.experiments import descent_on_surface, error_surface

RATE, CLIP = 0.1, 0.5  # of the steps on the surface
CURVED = "size of curvature"
CLOSE = 1e-5  # step of the finite difference of gradients
WALL = 0.5 - 5.0 / (1.0 + np.exp(-0.5))  # bias at w = 5 whose unstable fixed point is x_0
START = 5.0, WALL - 4.5e-5  # weight and bias, near enough for a gradient that explodes


def landscape(
    seed: int,
    *,
    radii: Sequence[float] = (0.5, 0.95, 1.3, 2.0),
    steps: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
    length: int = 50,
    n_nets: int = 100,
    n_hidden: int = 50,
    grid: int = 200,
    n_threads: int | None = None,
) -> Experiment:
    """The wall with clipped and plain steps; loss and curvature along the gradient by radius."""
    measure = partial(_along, seed, steps, length, n_nets, n_hidden, n_threads)

    def finish(table: pd.DataFrame) -> dict[str, Impact]:
        impact = Impact(
            "Optimisation landscape",
            "The one-unit net of Pascanu et al. (2013), figure 6, from a start chosen beside its "
            f"wall (w = {START[0]:g}, b = {START[1]:.8g}), at a rate of {RATE:g}, clipped at "
            f"{CLIP:g} or plain; and temporal order at length {length}, {n_nets} "
            f"untrained tanh nets of {n_hidden} units a spectral radius: loss on one batch after "
            "steps of given length down its gradient, and its second derivative in that direction; "
            "medians over nets, with the middle half in brackets",
            table,
            {
                "surface": surface_figure(_paths(), grid),
                "along-gradient": lines(
                    table, "loss change", "length of the step", "change of the loss on the batch",
                    x_log=True,
                ),
                "curvature": lines(
                    table.assign(condition="tanh nets"), CURVED, "spectral radius",
                    "size of the curvature along the gradient", y_log=True,
                ),
            },
            landscape_text(table),
        )  # fmt: skip
        return {"landscape": impact}

    jobs = {f"radius {radius:g}": partial(measure, radius) for radius in radii}
    return Experiment({"surface": _surface, **jobs}, finish)


def _paths() -> pd.DataFrame:
    return descent_on_surface(*START, learning_rate=RATE, clip=CLIP, n_updates=200)


def _surface() -> pd.DataFrame:
    rows = []
    for clipped, path in _paths().groupby("clipped"):
        moves = np.hypot(path.weight.diff(), path.bias.diff())
        name = "surface, clipped" if clipped else "surface, plain"
        rows.append(row(name, np.nan, "longest step", (moves.max(), np.nan, np.nan), 1))
        rows.append(row(name, np.nan, "last error", (path.error.iloc[-1], np.nan, np.nan), 1))
    return pd.DataFrame(rows)


def _along(
    seed: int, steps: Sequence[float], length: int, n_nets: int, n_hidden: int,
    n_threads: int | None, radius: float,
) -> pd.DataFrame:  # fmt: skip
    task = temporal_order(length)
    cell = RNN.draw(n_nets, n_hidden, spectral_radius=radius, n_inputs=task.n_inputs, rng=seed)
    W_out = np.random.default_rng(seed).normal(0, n_hidden**-0.5, (n_nets, 4, n_hidden))
    at: dict[str, Any] = {
        "W_rec": cell.W_rec, "W_in": cell.W_in, "bias": np.zeros((n_nets, n_hidden)),
        "W_out": W_out, "b_out": np.zeros((n_nets, 4)),
    }  # fmt: skip

    def at_step(step: float) -> tuple[Any, dict[str, Any]]:
        """Loss and gradient after a step of that length up the gradient of the start."""
        p = {k: a + step * direction[k] for k, a in at.items()} if step else at
        readout = p["W_out"], p["b_out"]
        net = RNN(p["W_rec"], p["W_in"], p["bias"])
        return gradient(net, task, readout=readout, rng=seed, n_threads=n_threads)

    def inner(a: dict[str, Any], b: dict[str, Any]) -> Any:
        return sum((a[k] * b[k]).reshape(n_nets, -1).sum(axis=1) for k in at)

    start, slope = at_step(0.0)
    norm = np.sqrt(inner(slope, slope))
    direction = {k: a / norm.reshape(-1, *[1] * (a.ndim - 1)) for k, a in slope.items()}
    slopes = [inner(at_step(step)[1], direction) for step in (-CLOSE, CLOSE)]
    curvature = (slopes[1] - slopes[0]) / (2 * CLOSE)
    name = f"radius {radius:g}"
    rows = [
        row(name, np.nan, "gradient norm", middle(norm), n_nets),
        row(name, np.nan, "curvature", middle(curvature), n_nets),
        row(name, radius, CURVED, middle(np.abs(curvature)), n_nets),
    ]
    rows += [
        row(name, step, "loss change", middle(at_step(-step)[0] - start), n_nets) for step in steps
    ]
    return pd.DataFrame(rows)


def surface_figure(paths: pd.DataFrame, grid: int) -> mpl_figure.Figure:
    """The error over weight and bias, with both paths."""
    weights, biases = np.linspace(4.3, 5.3, grid), np.linspace(-2.85, -2.1, grid)
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
            ax.plot(path.weight, path.bias, color=colour, marker=marker, markersize=2.5,
                    linewidth=1.0 if clipped else 2.0,
                    label="clipped" if clipped else "plain")  # fmt: skip
        ax.set(xlim=(weights[0], weights[-1]), ylim=(biases[0], biases[-1]),
               xlabel="weight w", ylabel="bias b")  # fmt: skip
        ax.grid(visible=False)
        drawn.legend(loc="outside upper left", ncols=2, fontsize=8.5)
    return drawn


def landscape_text(table: pd.DataFrame) -> list[str]:
    """How far the wall throws a step, and at which radius a small step goes wrong."""
    kinds = ("plain", "clipped")
    plain, clipped = (value(table, f"surface, {kind}", "longest step") for kind in kinds)
    ends = [value(table, f"surface, {kind}", "last error") for kind in kinds]
    text = [
        f"At the wall the longest plain step is {plain:.3g}, the longest clipped one {clipped:.3g}"
        + (
            f": the wall throws plain descent off, to an error of {ends[0]:.2g}; clipped descent "
            f"ends at {ends[1]:.2g}."
            if plain > 10 * clipped
            else ": the wall makes no difference."
        )
    ]
    for name, group in table[table.quantity == "loss change"].groupby("condition", sort=False):
        best: Any = group.iloc[group.value.argmin()]
        longest: Any = group.iloc[group.x.argmax()]
        curved = table[(table.condition == name) & (table.quantity == CURVED)].iloc[0]
        start = (
            f"At {name} the best of these steps has length {best.x:g} (loss {spread(best, '+.2g')})"
            if (group.high < 0).any()
            else f"At {name} no length of step lowers the loss in three nets of four (the best, "
            f"{best.x:g}, changes it by {spread(best, '+.2g')})"
        )
        text.append(
            f"{start}; one of length {longest.x:g} {_verb(longest)} ({spread(longest, '+.2g')}). "
            f"The curvature along the gradient has size {spread(curved, '.2g')}."
        )
    return text


def _verb(one: Any) -> str:
    """What a step does to the loss of most nets."""
    if one.low <= 0.0 <= one.high:
        return "lowers it in some nets and raises it in others"
    return "lowers it" if one.value < 0 else "raises it"
