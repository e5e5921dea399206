"""Memory: how long it gets, by radius and by cell, and whether the untrained horizon tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats as scipy_stats

from vgcore.cells import RNN, Cell
from vgcore.gated import GRU, LSTM
from vgcore.impacts.table import (
    Impact,
    cells,
    each,
    equal_size,
    extremes,
    lines,
    middle,
    point,
    row,
    share,
    value,
)
from vgcore.papers.page import draw
from vgcore.papers.table import Figure, bootstrap
from vgcore.profile import gradient_profile
from vgcore.stats import Estimate, mean
from vgcore.training import adding, delayed_recall, train

LEARNED = 0.1  # of the loss of chance: what a net that remembers the input gets below


def learn_delays(
    seed: int,
    *,
    radii: Sequence[float] = (0.5, 0.8, 0.95, 1.1, 1.4),
    delays: Sequence[int] = (2, 4, 8, 16, 32),
    n_nets: int = 6,
    n_hidden: int = 20,
    n_updates: int = 800,
    n_lags: int = 500,
    n_threads: int | None = None,
) -> pd.DataFrame:
    """Each net's horizon before training and the longest delay it then learns to recall.

    A net starts at the same weights for each delay. It has learned one where its test loss falls
    below a tenth of that of chance; delays count up to the first that is not learned.

    Returns
    -------
    DataFrame
        A row a net: condition, radius (nan for cells without one), net, horizon, length.

    Examples
    --------
    >>> learn_delays(0, radii=(0.9,), delays=(1,), n_nets=1, n_hidden=3, n_updates=2).shape
    (6, 5)
    """
    conditions: list[tuple[str, float, Cell]] = []
    for init in ("gaussian", "orthogonal"):
        for radius in radii if init == "gaussian" else radii[:1]:
            scale = radius if init == "gaussian" else 1.0
            net = RNN.draw(n_nets, n_hidden, init=init, spectral_radius=scale, n_inputs=1, rng=seed)
            name = f"RNN {scale:g}" if init == "gaussian" else "RNN orthogonal"
            conditions.append((name, scale if init == "gaussian" else np.nan, net))
    conditions += [(n, np.nan, c) for n, c in cells(n_nets, n_hidden, 1, seed).items()]
    inputs, _ = delayed_recall(1, n_lags).batch(5, rng=seed)
    parts = []
    for name, radius, cell in conditions:
        profile = gradient_profile(
            cell, n_lags, inputs=inputs[None], n_trajectories=len(inputs), initial_state=0.0,
            rng=seed, n_threads=n_threads,
        )  # fmt: skip
        going, length = np.ones(n_nets, bool), np.zeros(n_nets)
        for delay in delays:
            if not going.any():
                break  # longer ones would not count
            found = train(
                cell, delayed_recall(delay), n_updates, optimiser="adam", learning_rate=0.005,
                clip=1.0, n_test=200, test_every=max(n_updates // 2, 1), rng=seed,
                 n_threads=n_threads,
            )  # fmt: skip
            best = np.nanmin(np.column_stack([found.test_loss, np.full(n_nets, np.inf)]), axis=1)
            going &= best < LEARNED * found.task.chance_loss
            length[going] = delay
        parts.append(
            pd.DataFrame(
                {
                    "condition": name,
                    "radius": radius,
                    "net": range(n_nets),
                    "horizon": np.median(profile.horizon().lag, axis=1),
                    "length": length,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def capacity(nets: pd.DataFrame, setting: str) -> Impact:
    """Longest delay learned for the budget, from what `learn_delays` returns."""
    rows = []
    for name, group in nets.groupby("condition", sort=False):
        radius = float(group.radius.iloc[0])
        rows.append(row(str(name), radius, "longest delay", mean(group.length), len(group)))
        rows.append(row(str(name), radius, "horizon untrained", middle(group.horizon), len(group)))
    table = pd.DataFrame(rows)
    by_radius = table[table.x.notna()].assign(condition="RNN, gaussian")
    longest = table[table.quantity == "longest delay"].reset_index(drop=True)
    series = [
        point(one.condition, place, Estimate(one.value, one.low, one.high, np.nan))
        for place, one in enumerate(each(longest))
    ]
    figures = {
        "capacity-radius": lines(
            by_radius, "longest delay", "spectral radius", "longest delay learned, steps"
        ),
        "capacity-cells": draw(
            Figure("condition, in the order of the key", "longest delay learned, steps", series)
        ),
    }
    return Impact("Limited learning capacity", setting, table, figures, capacity_text(table))


def capacity_text(table: pd.DataFrame) -> list[str]:
    """Which radius and which condition remember longest, and which least."""
    longest = table[table.quantity == "longest delay"]
    by_radius = longest[longest.x.notna()]
    best, worst = extremes(by_radius)
    text = [
        "Every spectral radius reached the same mean delay."
        if best.value == worst.value
        else f"Vanilla nets learned the longest delays at spectral radius {best.x:g} (mean "
        f"{best.value:.3g} steps) and the shortest at {worst.x:g} ({worst.value:.3g})."
    ]
    first, last = extremes(longest)
    text.append(
        f"Of all conditions {first.condition} reached furthest, {first.value:.3g} steps, "
        f"and {last.condition} least, {last.value:.3g}."
    )
    return text


def _pooled(nets: pd.DataFrame, measure: Any, seed: int) -> Estimate:
    """A measure of pooled nets; its interval resamples whole conditions, which nets share."""
    places = list(nets.reset_index(drop=True).groupby("condition", sort=False).indices.values())

    def of(drawn: npt.NDArray[np.int64]) -> float:
        return float(measure(nets.iloc[np.concatenate([places[i] for i in drawn])]))

    return bootstrap(of, len(places), seed)


def rank_correlation(nets: pd.DataFrame) -> float:
    """Spearman's correlation of horizon and learned length; 0 where one of them is constant."""
    if nets.horizon.nunique() < 2 or nets.length.nunique() < 2:
        return 0.0
    return float(scipy_stats.spearmanr(nets.horizon, nets.length).statistic)


def auc(nets: pd.DataFrame, least: float) -> float:
    """Chance that a net that learns the delay had the longer horizon than one that does not.

    Ties count half; 0.5, which tells nothing, where all nets learn it or none.

    Examples
    --------
    >>> auc(pd.DataFrame({"horizon": [1, 2, 3], "length": [4, 16, 16]}), 16)
    1.0
    """
    good = nets.length >= least
    if good.all() or not good.any():
        return 0.5
    u = scipy_stats.mannwhitneyu(nets.horizon[good], nets.horizon[~good]).statistic
    return float(u / (good.sum() * (~good).sum()))


def prediction(nets: pd.DataFrame, setting: str, seed: int) -> Impact:
    """Whether the horizon of the untrained net predicts the delay that it later learns."""
    vanilla = nets[nets.condition.str.startswith("RNN")]
    within = [rank_correlation(g) for _, g in nets.groupby("condition") if g.length.nunique() > 1]
    rows = []
    for name, part in (("all conditions", nets), ("vanilla alone", vanilla)):
        rows.append(row(name, np.nan, "Spearman", _pooled(part, rank_correlation, seed), len(part)))
        for delay in sorted(set(nets.length[nets.length > 0])):
            if (part.length >= delay).all() or (part.length < delay).all():
                continue  # nothing to tell apart
            found = _pooled(part, lambda p, delay=delay: auc(p, delay), seed)
            rows.append(row(name, delay, "AUC", found, len(part)))
    rows.append(
        row("within a condition", np.nan, "Spearman",
            mean(within) if within else Estimate(np.nan, np.nan, np.nan, np.nan), len(within))
    )  # fmt: skip
    table = pd.DataFrame(rows)
    series = []
    for key, group in nets.groupby("condition", sort=False):
        x = middle(group.horizon).value
        series.append(point(str(key), x, mean(group.length)))
    figures = {
        "prediction-scatter": draw(
            Figure("median horizon of the untrained nets, lags", "longest delay learned, steps",
                   series, x_log=True)
        ),
        "prediction-auc": lines(table, "AUC", "delay learned or not, steps", "AUC of the horizon"),
    }  # fmt: skip
    return Impact(
        "Does the horizon predict learning?", setting, table, figures, prediction_text(table)
    )


def prediction_text(table: pd.DataFrame) -> list[str]:
    """How far the horizon can be trusted, in plain words."""
    found = table[table.quantity == "Spearman"].set_index("condition")
    text = []
    for name in ("all conditions", "vanilla alone"):
        one: Any = found.loc[name]
        span = f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"
        if one.low > 0:
            strength = "well" if one.low > 0.6 else "roughly"
            text.append(f"Over {name} the horizon ranks nets {strength}: Spearman {span}.")
        elif one.high < 0:
            text.append(f"Over {name} a longer horizon went with a shorter memory: {span}.")
        else:
            text.append(f"Over {name} the horizon does not tell what is learned: {span}.")
    for one in each(table[table.quantity == "AUC"]):
        if not one.low <= 0.5 <= one.high:
            better = "longer" if one.low > 0.5 else "shorter"
            text.append(
                f"Over {one.condition} nets that learn delay {one.x:g} had the {better} horizon: "
                f"AUC {one.value:.2f} [{one.low:.2f}, {one.high:.2f}]."
            )
    inside: Any = found.loc["within a condition"]
    if np.isnan(inside.value):
        text.append("Within no condition did nets differ in what they learned.")
    elif inside.low > 0:
        text.append(f"It also ranks nets of one condition: mean {inside.value:.2f}.")
    else:
        text.append(
            f"Among nets of one condition it does not rank them (mean {inside.value:.2f}): "
            "trust it to compare conditions, if at all, and not single nets."
        )
    return text


def architectures(
    seed: int,
    *,
    lengths: Sequence[int] = (10, 20, 40),
    n_nets: int = 6,
    n_hidden: int = 20,
    n_updates: int = 800,
    n_threads: int | None = None,
) -> Impact:
    """Cells of equal parameter count on the adding problem, each length trained anew."""
    nets = {
        "RNN": RNN.draw(n_nets, n_hidden, spectral_radius=0.95, n_inputs=2, rng=seed),
        **cells(n_nets, n_hidden, 2, seed),
    }
    rows = []
    for length in lengths:
        for name, cell in nets.items():
            found = _add(cell, length, n_updates, seed, n_threads)
            last = found.test_loss[:, -1] / found.task.chance_loss
            rows.append(row(name, length, "loss over chance", middle(last), n_nets))
            rows.append(row(name, length, "learned", share(last < LEARNED), n_nets))
    table = pd.DataFrame(rows)
    figures = {
        "architectures": lines(
            table, "learned", "length, steps", "share of nets that learned", x_log=True
        )
    }
    sizes = f"{equal_size(LSTM, n_hidden, 2)} (LSTM) and {equal_size(GRU, n_hidden, 2)} (GRU)"
    return Impact(
        "Architectural choice",
        f"Adding problem, {n_updates:,} Adam updates (rate 0.005, clipping at 1), {n_nets} nets a "
        f"cell and length; {n_hidden} units of a vanilla net, {sizes}: equal parameter counts. "
        "Learned: test loss below a tenth of chance",
        table,
        figures,
        architectures_text(table),
    )


def _add(cell: Cell, length: int, n_updates: int, seed: int, n_threads: int | None) -> Any:
    return train(
        cell, adding(length), n_updates, optimiser="adam", learning_rate=0.005, clip=1.0,
        n_test=400, rng=seed, n_threads=n_threads,
    )  # fmt: skip


def architectures_text(table: pd.DataFrame) -> list[str]:
    """Best and worst cell at the longest length; a difference only where intervals part."""
    longest = table[(table.quantity == "learned") & (table.x == table.x.max())]
    best, worst = extremes(longest)
    if best.value == worst.value:
        return [
            f"At length {best.x:g} no cell is ahead: all have the same share that learned, "
            f"{best.value:.0%}."
        ]
    sure = best.low > worst.high
    least = ", ".join(longest.condition[longest.value == worst.value])
    return [
        f"At length {best.x:g} {best.condition} learned most often ({best.value:.0%}) and "
        f"{least} least ({worst.value:.0%}); "
        + ("their intervals part." if sure else "their intervals overlap, so it may be chance.")
    ]


def generalisation(
    seed: int,
    *,
    trained: int = 50,
    tested: Sequence[int] = (50, 75, 100, 200),
    n_nets: int = 6,
    n_hidden: int = 20,
    n_updates: int = 1000,
    n_threads: int | None = None,
) -> Impact:
    """Trained on one length, tested on longer ones."""
    nets = {
        "RNN": RNN.draw(n_nets, n_hidden, spectral_radius=0.95, n_inputs=2, rng=seed),
        **cells(n_nets, n_hidden, 2, seed),
    }
    rows = []
    for name, cell in nets.items():
        found = _add(cell, trained, n_updates, seed, n_threads)
        for length in tested:
            # an update at a rate that moves nothing is a test of what was trained
            again = train(
                found.cell, adding(length), 1, learning_rate=1e-300, n_test=400, rng=seed,
                readout=(found.W_out, found.b_out), n_threads=n_threads,
            )  # fmt: skip
            loss = again.test_loss[:, -1] / again.task.chance_loss
            rows.append(row(name, length, "loss over chance", middle(loss), n_nets))
    table = pd.DataFrame(rows)
    figures = {
        "generalisation": lines(
            table, "loss over chance", "length tested, steps", "test loss over chance", y_log=True
        )
    }
    return Impact(
        "Generalisation to longer sequences",
        f"Adding problem at length {trained}, {n_updates:,} Adam updates, {n_nets} nets a cell of "
        "equal parameter counts; median and middle half over nets",
        table,
        figures,
        generalisation_text(table, trained),
        "The gap between training and test on the digits is not measured.",
    )


def generalisation_text(table: pd.DataFrame, trained: float) -> list[str]:
    """Of each cell that learned, whether it still knows the longest length."""
    far = float(table.x.max())
    text = []
    for name in table.condition.unique():
        near, there = (value(table, name, "loss over chance", x) for x in (trained, far))
        if near > 0.5:
            text.append(f"{name}: not learned at length {trained:g} ({near:.2g} of chance).")
        elif there < 0.5:
            text.append(f"{name}: holds out to length {far:g} ({near:.2g} to {there:.2g}).")
        else:
            text.append(f"{name}: lost by length {far:g} ({near:.2g} to {there:.2g} of chance).")
    return text
