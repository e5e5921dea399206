"""`vgcore demo`: how far back the default cells of PyTorch remember, in one figure and a paragraph.

What a teacher hands out. The numbers are those of the study `demo`, kept in the same folder.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from vgcore import figures, stats
from vgcore.report.words import fraction, horizon_text, number, rate_text, together
from vgcore.study import Results, Study, load_study, run_study
from vgcore.study.files import write_text, write_whole
from vgcore.study.plan import conditions

if TYPE_CHECKING:
    from vgcore.study.plan import PlannedCondition

NAMES = {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}


class Demo(NamedTuple):
    """What `run` made: one row a cell (`table`), its curves, a paragraph, and where they lie."""

    table: pd.DataFrame
    curves: pd.DataFrame
    paragraph: str
    folder: Path


def run(folder: str | Path, *, n_workers: int | None = None, progress: bool = True) -> Demo:
    """Measure the study `demo` and write decay.json, decay.png and demo.md beside its results.

    Parameters
    ----------
    folder
        Results folder; what it holds of the study already is not measured again.
    n_workers, progress
        As in `vgcore.run_study`.
    """
    study = load_study("demo")
    results = run_study(study, folder, n_workers=n_workers, progress=progress)
    table, curves = measured(results)
    demo = Demo(table, curves, paragraph(table, study), Path(folder))
    write_text(demo.folder / "decay.json", json.dumps(_plain(demo, study), indent=1) + "\n")
    write_text(demo.folder / "demo.md", demo.paragraph + "\n")
    with rc_context(figures.RC):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        plot_cells(table, curves, figure.add_subplot(), eps=study.measure.eps)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=160)
    write_whole(demo.folder / "decay.png", drawn.getvalue())
    return demo


def measured(results: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row a cell with its estimates and name; and median curves with simultaneous bands."""
    planned = {one.index: one for one in conditions(results.study)}
    table = stats.summarise(results.conditions, results.draws, eps=results.study.measure.eps)
    table.insert(1, "series", [cell_name(planned[int(c)]) for c in table["condition"]])
    return table, stats.profile_bands(results.profiles)


def cell_name(planned: PlannedCondition) -> str:
    """A cell in the words of a user of PyTorch: `LSTM, forget bias 1`."""
    cell = planned.condition.cell
    said = [NAMES.get(cell.name, cell.name)]
    said += [f"{key.replace('_', ' ')} {value:g}" for key, value in cell.keywords.items()]
    return ", ".join(said)


def paragraph(table: pd.DataFrame, study: Study) -> str:
    """What the table says, for someone who has not met the problem."""
    rows: Sequence[Mapping[Any, Any]] = table.to_dict("records")
    eps, defaults = study.measure.eps, study.defaults
    plain = [row for row in rows if row["series"] in NAMES.values()]
    others = [row for row in rows if row["series"] not in NAMES.values()]
    reach = [f"{horizon_text(row)} steps in the {row['series']}" for row in plain]
    worst = min(rows, key=lambda row: float(row["rate"]))
    said = [
        "Learning by gradient descent, a recurrent network sees how an earlier state changed a "
        "later loss only through a product of one matrix a step. Measured in cells of "
        f"{defaults.n_hidden} units as PyTorch makes them, untrained, under standard normal input "
        f"of {defaults.n_inputs} channels, the gradient of a loss on the hidden units has fallen "
        f"to {fraction(eps)} of its size within {together(reach)} (medians over "
        f"{int(table['n'].min())} networks, with 95 % intervals)."
    ]
    if math.isfinite(worst["rate"]):
        said.append(
            f"It vanishes because each step multiplies it by much the same factor: in the "
            f"{worst['series']} its logarithm changes by {rate_text(worst)} a step, a factor of "
            f"{number(math.exp(worst['rate']), 2)}."
        )
    if others:
        reach = [f"{horizon_text(row)} steps with {row['series']}" for row in others]
        said.append(
            "A gate that stays open lengthens memory without any training: it is "
            f"{together(reach)}."
            if min(row["horizon"] for row in others) > max(row["horizon"] for row in plain)
            else f"With other biases it is {together(reach)}."
        )
    said.append(
        'A dependency longer than that is there in the data, but hardly in the gradient; "> T" '
        "means that the gradient had not fallen that far within the "
        f"{defaults.n_steps} steps measured."
    )
    return " ".join(said)


def plot_cells(table: pd.DataFrame, curves: pd.DataFrame, ax: Axes, *, eps: float) -> Axes:
    """Draw the median gradient norm of each cell over lag, relative to lag 0, with its band.

    Parameters
    ----------
    table, curves
        As `measured` returns them.
    ax
        Axes to draw on; both become logarithmic.
    eps
        Level of the memory horizon.
    """
    styles = figures.series_styles(list(table["series"]))
    bottom = 1e-9
    for row in table.to_dict("records"):
        own = curves[(curves["condition"] == row["condition"]) & (curves["lag"] > 0)]
        colour = styles[row["series"]].colour
        lag = own["lag"].to_numpy()
        low, middle, high = (np.exp(own[name].to_numpy()) for name in ("low", "median", "high"))
        ax.fill_between(lag, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(lag, middle, color=colour, linewidth=2, label=row["series"])
    ax.set(xscale="log", yscale="log", ylim=(bottom, 10.0), xlim=(1, curves["lag"].max()))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda lag, _: f"{lag:g}"))
    ax.yaxis.set_major_locator(FixedLocator([10.0**k for k in range(-9, 2, 2)]))
    ax.yaxis.set_major_formatter(
        FuncFormatter(lambda norm, _: figures.power(round(math.log10(norm))))
    )
    ax.yaxis.set_minor_locator(NullLocator())
    ax.axhline(eps, color="#444444", linewidth=1, linestyle="--", label=f"eps = {eps:g}")
    ax.set_xlabel("lag (steps back from the loss)")
    ax.set_ylabel("gradient norm / norm at lag 0")
    ax.set_title(f"Untrained PyTorch cells, median of {int(table['n'].min())} networks with bands")
    ax.legend(loc="lower left")
    return ax


def _plain(demo: Demo, study: Study) -> dict[str, Any]:
    """The numbers of the figure, as JSON takes them."""

    def finite(values: pd.Series[float]) -> list[float | None]:
        return [float(v) if math.isfinite(v) else None for v in values]

    cells = []
    for row in demo.table.to_dict("records"):
        own = demo.curves[demo.curves["condition"] == row["condition"]]
        keys = ("n", "rate", "rate_low", "rate_high", "horizon", "horizon_low", "horizon_high")
        found = {key: row[key] if math.isfinite(row[key]) else None for key in keys}
        curve = {name: finite(own[name]) for name in ("median", "low", "high")}
        cells.append(
            {"cell": row["series"], **found, "lag": own["lag"].tolist(), "log_norm": curve}
        )
    return {
        "study": study.name,
        "study_digest": study.digest,
        "eps": study.measure.eps,
        "n_steps": study.defaults.n_steps,
        "loss": "a random direction of the hidden units h; an LSTM's cells are not read",
        "horizon is null": "beyond n_steps",
        "log_norm": "ln of the gradient norm relative to lag 0, with a simultaneous 95 % band",
        "cells": cells,
    }
