"""What remedies do: success against length, time to solve, spikes and divergence."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from vgcore.cells import RNN
from vgcore.impacts.pieces import Experiment
from vgcore.impacts.table import (
    Impact,
    apart,
    each,
    lines,
    middle,
    row,
    share,
    spread,
    survival,
)
from vgcore.stats import kaplan_meier, mean, median_survival
from vgcore.training import temporal_order, train
from vgcore.training.experiments import REMEDIES, long_term_dependencies, success_rates


def dependencies(
    seed: int,
    *,
    lengths: Sequence[int] = (10, 20, 30, 40, 60),
    n_nets: int = 30,
    n_hidden: int = 30,
    n_updates: int = 3000,
    n_more: int = 20_000,
    n_nets_more: int = 10,
    n_threads: int | None = None,
) -> Experiment:
    """Success rate against length for SGD, SGD-C and SGD-CR, on the same nets and sequences.

    At the longest length the first `n_nets_more` nets get `n_more` updates of SGD-CR as well, which
    tells whether the budget or the remedy ends there.
    """
    law: dict[str, Any] = {
        "n_hidden": n_hidden, "learning_rate": 0.05, "strength": 2.0, "n_test": 400, "seed": seed,
        "n_threads": n_threads,
    }  # fmt: skip
    measure = partial(
        long_term_dependencies, n_nets=n_nets, n_updates=n_updates,
        test_every=max(n_updates // 20, 1), **law,
    )  # fmt: skip
    setting = (
        f"Temporal order, tanh, {n_hidden} units, sparse with radius 0.95, SGD at rate 0.05, clip "
        f"1, Omega times 2, at most {n_updates:,} updates, {n_nets} nets a length, the same for "
        f"each remedy; {n_more:,} updates of SGD-CR for {n_nets_more} of them at length "
        f"{max(lengths)}. Solved: under 1 % wrong"
    )

    def more() -> pd.DataFrame:
        found = long_term_dependencies(
            (max(lengths),), remedies=("SGD-CR",), n_nets=n_nets_more, n_updates=n_more,
            test_every=max(n_more // 40, 1), **law,
        )  # fmt: skip
        return found.assign(remedy=f"SGD-CR, {n_more:,} updates")

    jobs: dict[str, Callable[[], pd.DataFrame]] = {
        f"{remedy}, {length}": partial(measure, (length,), remedies=(remedy,))
        for length in lengths
        for remedy in REMEDIES
    }
    jobs[f"SGD-CR, {max(lengths)}, {n_more:,} updates"] = more
    return Experiment(jobs, lambda nets: {"dependencies": success(nets, setting)})


def success(nets: pd.DataFrame, setting: str) -> Impact:
    """Success by length, and what the same nets solve under one remedy more than under another."""
    rows = []
    one: Any
    for one in each(success_rates(nets)):
        rows.append(row(one.remedy, one.length, "solved", (one.success, one.low, one.high), one.n))
        times = nets[(nets.remedy == one.remedy) & (nets.length == one.length)].solved_step
        if one.solved:
            median = middle(times[times >= 0])
            rows.append(row(one.remedy, one.length, "updates to solve", median, one.solved))
    # a net has the same weights at each length, so nets are independent, and lengths are not
    solved = nets.assign(solved=nets.solved_step >= 0).pivot_table(
        index="net", columns="remedy", values="solved", aggfunc="sum"
    )
    for better, base in (("SGD-C", "SGD"), ("SGD-CR", "SGD-C")):
        more = (solved[better] - solved[base]).dropna().astype(float)
        rows.append(row(f"{better} over {base}", np.nan, "lengths gained", mean(more), len(more)))
    table = pd.DataFrame(rows)
    return Impact(
        "Long-term dependencies",
        setting,
        table,
        {"dependencies": lines(table, "solved", "length, steps", "share of nets that solved it")},
        dependencies_text(table),
        "Budgets such as those of Pascanu et al. (2013), at most 5 million updates, and their "
        "lengths to 250.",
    )


def dependencies_text(table: pd.DataFrame) -> list[str]:
    """How far each remedy gets, and whether remedies differ on the same nets."""
    text = []
    rates = table[table.quantity == "solved"]
    for key, group in rates.groupby("condition", sort=False):
        name = str(key)
        if name not in REMEDIES:
            text += _budget(name, group.iloc[0], table)
            continue
        rows = list(each(group.sort_values("x")))
        half = list(itertools.takewhile(lambda one: one.value >= 0.5, rows))
        parts = [f"{name} solved the task in half of the nets or more "]
        parts.append(
            f"up to length {half[-1].x:g} ({spread(half[-1], '.0%')})" if half else "at no length"
        )
        if len(half) < len(rows):
            after = rows[len(half)]
            parts.append(f"{',' if half else ':'} and at {after.x:g} in {spread(after, '.0%')}")
        text.append("".join(parts) + ".")
    for one in each(table[table.quantity == "lengths gained"]):
        better, _, base = str(one.condition).partition(" over ")
        span = (
            f"{spread(one, '+.2f')} of the {rates.x.nunique()} lengths, the mean over {one.n} "
            "nets, each with the same weights and sequences under both"
        )
        if one.low > 0:
            text.append(f"{better} solves more than {base}: {span}.")
        elif one.high < 0:
            text.append(f"{better} solves less than {base}: {span}.")
        else:
            text.append(f"{better} and {base} cannot be told apart: {span}.")
    return text


def _budget(name: str, solved: Any, table: pd.DataFrame) -> list[str]:
    """What more updates solved at the longest length, beside what fewer did."""
    remedy, _, updates = name.partition(", ")
    rates = table[(table.quantity == "solved") & (table.x == solved.x)].set_index("condition")
    if remedy not in rates.index:
        return []
    fewer = rates.loc[remedy]
    said = (
        f"With {updates} {remedy} solved length {solved.x:g} in {spread(solved, '.0%')} of "
        f"{solved.n} nets"
    )
    times = table[(table.condition == name) & (table.quantity == "updates to solve")]
    if len(times):
        said += f", after a median of {times.value.iloc[0]:,.0f}"
    limit = (
        "the budget, and not the remedy, ends its curve"
        if solved.low > fewer.high
        else ("whether the budget ends its curve is not shown")
    )
    return [f"{said}, in place of {spread(fewer, '.0%')} of {fewer.n}: {limit}."]


SPIKE = 1.5  # times the loss of chance


def instability(
    seed: int,
    *,
    length: int = 20,
    radii: Sequence[float] = (0.95, 1.3),
    activations: Sequence[str] = ("tanh", "relu"),
    n_nets: int = 30,
    n_hidden: int = 30,
    n_updates: int = 3000,
    n_threads: int | None = None,
) -> Experiment:
    """Time to solve as survival, loss spikes and divergence, with and without clipping."""
    window = max(n_updates // 400, 1)
    every = window * min(10, n_updates // window)
    measure = partial(
        _instability, seed, length, n_nets, n_hidden, n_updates, every, window, n_threads
    )

    def finish(table: pd.DataFrame) -> dict[str, Impact]:
        impact = Impact(
            "Slow convergence and instability",
            f"Temporal order at length {length}, {n_hidden} units, gaussian at two spectral radii, "
            f"SGD at rate 0.05 with clipping at 1 or plain, at most {n_updates:,} updates, tested "
            f"every {every}, {n_nets} nets. Unsolved nets are censored. A spike is a mean loss "
            f"over {window} updates, the first {window} left out, above {SPIKE:g} times chance; "
            "divergence counts as one",
            table,
            {
                f"instability-{one}": survival(
                    table[table.condition.str.startswith(one)],
                    "unsolved",
                    "updates",
                    "share of nets not yet solved",
                )
                for one in activations
            },
            instability_text(table),
        )
        return {"instability": impact}

    jobs = {
        _instability_name(*one): partial(measure, *one)
        for one in itertools.product(activations, radii, (None, 1.0))
    }
    return Experiment(jobs, finish)


def _instability_name(activation: str, radius: float, clip: float | None) -> str:
    return f"{activation} {radius:g}, {'clipped' if clip else 'plain'}"


def _instability(
    seed: int, length: int, n_nets: int, n_hidden: int, n_updates: int, every: int, window: int,
    n_threads: int | None, activation: str, radius: float, clip: float | None,
) -> pd.DataFrame:  # fmt: skip
    cell = RNN.draw(
        n_nets, n_hidden, spectral_radius=radius, activation=activation, n_inputs=6, rng=seed
    )
    found = train(
        cell, temporal_order(length), n_updates, learning_rate=0.05, clip=clip, n_test=200,
        test_every=every, record_every=window, stop_solved=True, rng=seed, n_threads=n_threads,
    )  # fmt: skip
    name = _instability_name(activation, radius, clip)
    # a net that diverged will never solve it: censored at the end, like the others
    times = np.where(found.solved, found.solved_step, n_updates)
    curve = kaplan_meier(times, ~found.solved)
    rows = [row(name, 0, "unsolved", (1.0, np.nan, np.nan), n_nets)]
    rows += [
        row(name, time, "unsolved", ends, n_nets) for time, *ends in zip(*curve[:4], strict=True)
    ]
    rows.append(row(name, np.nan, "median updates", median_survival(times, ~found.solved), n_nets))
    spiked = (found.loss[:, 1:] > SPIKE * found.task.chance_loss).any(axis=1)
    rows.append(row(name, np.nan, "spiked", share(spiked | found.diverged), n_nets))
    rows.append(row(name, np.nan, "diverged", share(found.diverged), n_nets))
    return pd.DataFrame(rows)


def instability_text(table: pd.DataFrame) -> list[str]:
    """For each net and radius, what clipping changed."""
    text = []
    for name in dict.fromkeys(c.rpartition(", ")[0] for c in table.condition):
        plain, clipped = (
            table[table.condition == f"{name}, {kind}"].set_index("quantity")
            for kind in ("plain", "clipped")
        )
        parts = []
        for quantity in ("spiked", "diverged"):
            before, after = plain.loc[quantity], clipped.loc[quantity]
            if before.value == after.value:
                parts.append(f"as many {quantity} ({spread(before, '.0%')} each)")
                continue
            change = "fewer" if after.value < before.value else "more"
            chance = "" if _differ(before, after) else ", which may be chance"
            parts.append(
                f"{change} {quantity} ({spread(before, '.0%')} to {spread(after, '.0%')}{chance})"
            )
        medians = [one.loc["median updates"] for one in (plain, clipped)]
        text.append(f"{name}: with clipping {parts[0]} and {parts[1]}; {_times(*medians)}.")
    return text


def _differ(one: Any, other: Any) -> bool:
    """Whether two shares differ, by Fisher's exact test at 5 %."""
    counts = [[round(row.value * row.n), round((1 - row.value) * row.n)] for row in (one, other)]
    return float(fisher_exact(np.array(counts)).pvalue) < 0.05


def _times(plain: Any, clipped: Any) -> str:
    """The median updates to solve the task, without clipping and with it."""
    if np.isinf([plain.value, clipped.value]).all():
        return "neither without it nor with it do half of the nets solve the task"
    times = " and ".join(
        spread(one, ",.0f") if np.isfinite(one.value) else "more than were made"
        for one in (plain, clipped)
    )
    chance = "" if apart(plain, clipped) else ", which may be chance"
    return f"the median updates to solve the task are {times} without and with it{chance}"
