"""Generalisation: to sequences far longer than those trained on, and to digits not trained on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd

from vgcore.cells import RNN, Cell
from vgcore.gated import GRU, LSTM
from vgcore.impacts.memory import learn_adding
from vgcore.impacts.pieces import Experiment
from vgcore.impacts.table import (
    COLUMNS,
    Impact,
    each,
    equal_size,
    lines,
    middle,
    ranked,
    row,
    sizes,
    spread,
    value,
)
from vgcore.stats import mean
from vgcore.training import Task, Training, adding, digits, examples, train

CHECKPOINTS = 10


def _nets(seed: int, n_nets: int, n_hidden: int, n_inputs: int) -> dict[str, Cell]:
    """Cells of equal parameter count, of which some remember from the start."""
    law: dict[str, Any] = {"n_inputs": n_inputs, "rng": seed}
    lstm, gru = (equal_size(kind, n_hidden, n_inputs) for kind in (LSTM, GRU))
    return {
        "RNN 0.95": RNN.draw(n_nets, n_hidden, spectral_radius=0.95, **law),
        "RNN orthogonal": RNN.draw(n_nets, n_hidden, init="orthogonal", **law),
        "LSTM forget bias 3": LSTM.draw(n_nets, lstm, forget_bias=3.0, **law),
        "GRU": GRU.draw(n_nets, gru, **law),
    }


def _tested(found: Training, task: Task, seed: int, n_threads: int | None) -> Training:
    """Test trained nets on another task, as they are."""
    return train(
        found.cell, task, 0, n_test=400, rng=seed, readout=(found.W_out, found.b_out),
        n_threads=n_threads,
    )  # fmt: skip


def generalisation(
    seed: int,
    *,
    trained: tuple[int, int] = (50, 200),
    tested: Sequence[int] = (50, 100, 200, 400, 800, 1600),
    n_nets: int = 20,
    n_hidden: int = 20,
    n_updates: int = 3000,
    n_threads: int | None = None,
) -> Experiment:
    """Trained on lengths uniform between two, tested on longer ones."""
    trained = trained[0], trained[1]  # a tuple, which a JSON file has not
    measure = partial(_longer, seed, trained, tested, n_updates, n_threads)

    def finish(table: pd.DataFrame) -> dict[str, Impact]:
        figure = lines(
            table, "loss over chance", "length tested, steps", "test loss over chance", x_log=True,
            y_log=True,
        )  # fmt: skip
        impact = Impact(
            "Generalisation to longer sequences",
            f"Adding problem at lengths {trained[0]} to {trained[1]}, {n_updates:,} Adam updates "
            f"(rate 0.005, clipping at 1), {n_nets} nets a cell; {sizes(n_hidden, 2)}; medians "
            "over nets, with the middle half in brackets",
            table,
            {"generalisation": figure},
            generalisation_text(table, trained[1]),
        )
        return {"generalisation": impact}

    nets = _nets(seed, n_nets, n_hidden, 2)
    return Experiment({name: partial(measure, name, cell) for name, cell in nets.items()}, finish)


def _longer(
    seed: int, trained: tuple[int, int], tested: Sequence[int], n_updates: int,
    n_threads: int | None, name: str, cell: Cell,
) -> pd.DataFrame:  # fmt: skip
    found = learn_adding(cell, trained, n_updates, seed, n_threads)
    rows = []
    for length in tested:
        again = _tested(found, adding(length), seed, n_threads)
        loss = again.test_loss[:, -1] / again.task.chance_loss
        rows.append(row(name, length, "loss over chance", middle(loss), cell.n_draws))
    return pd.DataFrame(rows)


def generalisation_text(table: pd.DataFrame, trained: float) -> list[str]:
    """Of each cell that learned, the longest length at which the loss is below half of chance."""
    text = []
    for name, group in table[table.quantity == "loss over chance"].groupby("condition", sort=False):
        rows = [one for one in each(group.sort_values("x")) if one.x >= trained]
        known = list(itertools.takewhile(lambda one: one.value < 0.5, rows))
        if not known:
            text.append(
                f"{name}: not learned at length {rows[0].x:g}, {spread(rows[0], '.2g')} times the "
                "loss of chance."
            )
            continue
        parts = [f"{spread(rows[0], '.2g')} times the loss of chance at length {rows[0].x:g}"]
        if len(known) > 1:
            parts.append(f"still {spread(known[-1], '.2g')} at {known[-1].x:g}")
        if len(known) < len(rows):
            lost = rows[len(known)]
            parts.append(f"no longer below half at {lost.x:g}, {spread(lost, '.2g')}")
        text.append(f"{name}: {', '.join(parts)}.")
    return text


def read_digits(
    seed: int,
    *,
    n_nets: int = 12,
    n_hidden: int = 32,
    n_updates: int = 4000,
    n_threads: int | None = None,
) -> Experiment:
    """Error on digits read pixel by pixel, those trained on and others."""
    measure = partial(_digits, seed, n_updates, n_threads)
    setting = (
        "The digits of scikit-learn, 64 pixels one after another, 1,438 to train on and 359 "
        f"others; Adam (rate 0.005, clipping at 1), {n_nets} nets a cell; {sizes(n_hidden, 1)}; "
        "means over nets with Student's t, for these images: 359 others would move a share of 20 % "
        "by up to 4 points. Training loss, in the table: the mean since the row before"
    )

    def finish(table: pd.DataFrame) -> dict[str, Impact]:
        figures, missing = {}, ""
        if len(table):
            of = table[table.quantity.isin(["training error", "test error"])]
            names = of.condition + of.quantity.map(
                {"training error": ", trained on", "test error": ", others"}
            )
            figures["digits"] = ranked(of.assign(condition=names), "share of wrong answers")
        else:
            missing = "scikit-learn is not installed; pip install 'vgcore[data]' and run again."
        title = "Generalisation to digits not trained on"
        return {"digits": Impact(title, setting, table, figures, digits_text(table), missing)}

    nets = _nets(seed, n_nets, n_hidden, 1)
    return Experiment({name: partial(measure, name, cell) for name, cell in nets.items()}, finish)


def _digits(
    seed: int, n_updates: int, n_threads: int | None, name: str, cell: Cell
) -> pd.DataFrame:
    try:
        task = digits()
    except ImportError:
        return pd.DataFrame(columns=COLUMNS)
    seen = examples(task.problem.inputs, task.problem.targets[..., 0], n_outputs=10)
    every = max(n_updates // CHECKPOINTS, 1)
    found = train(
        cell, task, n_updates, optimiser="adam", learning_rate=0.005, clip=1.0, test_every=every,
        record_every=every, rng=seed, n_threads=n_threads,
    )  # fmt: skip
    rows = [
        row(name, updates, quantity, mean(values[:, i]), cell.n_draws)
        for i, updates in enumerate(found.tested_after)
        for quantity, values in (("training loss", found.loss), ("test loss", found.test_loss))
    ]
    own = _tested(found, seen, seed, n_threads).test_error[:, -1]
    error = found.test_error[:, -1]
    last = {"training error": own, "test error": error, "gap": error - own}
    rows += [row(name, n_updates, key, mean(shares), cell.n_draws) for key, shares in last.items()]
    return pd.DataFrame(rows)


def digits_text(table: pd.DataFrame) -> list[str]:
    """Errors of each cell, and whether the gap between them is above 0, on these images."""
    if not len(table):
        return ["Not measured."]
    text = []
    for one in each(table[table.quantity == "gap"]):
        own, other = (
            value(table, one.condition, f"{kind} error", one.x) for kind in ("training", "test")
        )
        text.append(
            f"{one.condition}: {own:.1%} wrong of the digits trained on, {other:.1%} of the "
            "others; "
            + ("of these more are wrong" if one.low > 0 else "the gap may be chance")
            + f" ({100 * one.value:+.1f} points [{100 * one.low:.1f}, {100 * one.high:.1f}])."
        )
    return text
