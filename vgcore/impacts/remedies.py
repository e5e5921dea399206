"""What remedies do: success against length, time to solve, spikes and divergence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from vgcore.cells import RNN
from vgcore.impacts.pieces import Experiment
from vgcore.impacts.table import Impact, each, lines, row, share, value
from vgcore.papers.table import violations
from vgcore.stats import kaplan_meier, median_survival
from vgcore.training import temporal_order, train
from vgcore.training.experiments import REMEDIES, long_term_dependencies, success_rates


def dependencies(
    seed: int,
    *,
    lengths: Sequence[int] = (10, 20, 30, 40, 60),
    n_nets: int = 30,
    n_hidden: int = 30,
    n_updates: int = 3000,
    n_threads: int | None = None,
) -> Experiment:
    """Success rate against length for SGD, SGD-C and SGD-CR, on the same nets and sequences."""
    measure = partial(
        long_term_dependencies, n_nets=n_nets, n_hidden=n_hidden, n_updates=n_updates,
        learning_rate=0.05, strength=2.0, n_test=400, test_every=max(n_updates // 20, 1),
        seed=seed, n_threads=n_threads,
    )  # fmt: skip
    setting = (
        f"Temporal order, tanh, {n_hidden} units, sparse with radius 0.95, SGD at rate 0.05, clip "
        f"1, Omega times 2, at most {n_updates:,} updates, {n_nets} nets a length, the same for "
        "each remedy. Solved: under 1 % wrong"
    )
    jobs = {
        f"{remedy}, {length}": partial(measure, (length,), remedies=(remedy,))
        for length in lengths
        for remedy in REMEDIES
    }
    return Experiment(jobs, lambda nets: {"dependencies": success(nets, setting)})


def success(nets: pd.DataFrame, setting: str) -> Impact:
    """Success by length, and pairs of the same net under two remedies of which one solved."""
    rows = [
        row(one.remedy, one.length, "solved", (one.success, one.low, one.high), one.n)
        for one in each(success_rates(nets))
    ]
    solved = nets.assign(solved=nets.solved_step >= 0).pivot_table(
        index=["length", "net"], columns="remedy", values="solved"
    )
    for better, base in (("SGD-C", "SGD"), ("SGD-CR", "SGD-C")):
        wins = int((solved[better] > solved[base]).sum())
        differ = int((solved[better] != solved[base]).sum())
        if differ:
            won = violations(wins, differ)
            rows.append(row(f"{better} over {base}", np.nan, "pairs won", won, differ))
    table = pd.DataFrame(rows)
    return Impact(
        "Long-term dependencies",
        setting,
        table,
        {"dependencies": lines(table, "solved", "length, steps", "share of nets that solved it")},
        dependencies_text(table),
        "Fewer updates than Pascanu et al. (2013) used, at most 5 million; their lengths to 250 "
        "are not reached.",
    )


def dependencies_text(table: pd.DataFrame) -> list[str]:
    """How far each remedy gets, and whether remedies differ on the same nets."""
    text = []
    rates = table[table.quantity == "solved"]
    for name, group in rates.groupby("condition", sort=False):
        most = group.x[group.value >= 0.5]
        first: Any = group.iloc[0]
        text.append(
            f"{name} solved the task in half of the nets or more up to length {most.max():g}."
            if len(most)
            else f"{name} solved it in half of the nets at no length ({first.value:.0%} at "
            f"{first.x:g})."
        )
    for one in each(table[table.quantity == "pairs won"]):
        better, _, base = str(one.condition).partition(" over ")
        span = f"{one.value:.0%} [{one.low:.0%}, {one.high:.0%}] of {one.n} nets that differ"
        if one.low > 0.5:
            text.append(f"{better} solves more than {base}: it won {span}.")
        elif one.high < 0.5:
            text.append(f"{better} solves less than {base}: it won {span}.")
        else:
            text.append(f"{better} and {base} cannot be told apart: it won {span}.")
    return text


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
            f"SGD at rate 0.05 with clipping at 1 or plain, at most {n_updates:,} updates, "
            f"{n_nets} nets. Unsolved nets are censored. A spike is a mean loss over {window} "
            f"updates above {SPIKE:g} times chance; divergence counts as one",
            table,
            {
                f"instability-{one}": lines(
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
        plain, clipped = (f"{name}, {kind}" for kind in ("plain", "clipped"))
        parts = []
        for quantity in ("spiked", "diverged"):
            before, after = (value(table, c, quantity) for c in (plain, clipped))
            change = "as many" if before == after else "fewer" if after < before else "more"
            parts.append(f"{change} {quantity} ({before:.0%} to {after:.0%})")
        medians = [value(table, c, "median updates") for c in (plain, clipped)]
        time = " and ".join(f"{m:,.0f}" if np.isfinite(m) else "not reached" for m in medians)
        text.append(
            f"{name}: with clipping {parts[0]} and {parts[1]}; the median time to solve is {time} "
            "updates without and with it."
        )
    return text
