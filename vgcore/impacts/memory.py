"""Memory: how long it gets, by radius and by cell, and whether the untrained horizon tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats as scipy_stats

from vgcore.cells import RNN, Cell
from vgcore.impacts.pieces import Experiment
from vgcore.impacts.table import (
    Impact,
    apart,
    cells,
    each,
    extremes,
    level_with,
    lines,
    middle,
    point,
    ranked,
    row,
    share,
    sizes,
    spread,
)
from vgcore.papers.page import draw
from vgcore.papers.table import Figure, bootstrap
from vgcore.profile import gradient_profile
from vgcore.stats import Estimate, mean
from vgcore.training import Training, adding, delayed_recall, train

LEARNED = 0.1  # of the loss of chance: what a net that remembers the input gets below


def memory(
    seed: int,
    *,
    radii: Sequence[float] = (0.5, 0.8, 0.95, 1.1, 1.4),
    delays: Sequence[int] = (2, 4, 8, 12, 16, 20, 24, 32),
    n_nets: int = 30,
    n_hidden: int = 20,
    n_updates: int = 2000,
    n_lags: int = 500,
    n_threads: int | None = None,
) -> Experiment:
    """Each net's horizon before training and the longest delay it then learns to recall."""
    law: dict[str, Any] = {"n_inputs": 1, "rng": seed}
    conditions: dict[str, tuple[float, Cell]] = {
        f"RNN {radius:g}": (radius, RNN.draw(n_nets, n_hidden, spectral_radius=radius, **law))
        for radius in radii
    }
    orthogonal = RNN.draw(n_nets, n_hidden, init="orthogonal", **law)
    others = {"RNN orthogonal": orthogonal, **cells(n_nets, n_hidden, 1, seed)}
    conditions |= {name: (np.nan, cell) for name, cell in others.items()}
    jobs = {
        name: partial(
            learn_delays, name, *condition, delays, seed=seed, n_updates=n_updates, n_lags=n_lags,
            n_threads=n_threads,
        )
        for name, condition in conditions.items()
    }  # fmt: skip
    setting = (
        f"Delayed recall of {', '.join(map(str, delays))} steps, {n_updates:,} Adam updates (rate "
        f"0.005, clipping at 1) a delay, {n_nets} nets a condition; {sizes(n_hidden, 1)}. A delay "
        "is learned where the test loss falls below a tenth of chance, as long as all shorter ones "
        "of these are"
    )

    def finish(nets: pd.DataFrame) -> dict[str, Impact]:
        return {
            "capacity": capacity(nets, setting, delays),
            "prediction": prediction(nets, setting, seed),
        }

    return Experiment(jobs, finish)


def learn_delays(
    name: str,
    radius: float,
    cell: Cell,
    delays: Sequence[int],
    *,
    seed: int,
    n_updates: int,
    n_lags: int,
    n_threads: int | None = None,
) -> pd.DataFrame:
    """Train the same nets on one delay after another, each from the start.

    A net has learned a delay where its test loss falls below a tenth of that of chance; delays
    count up to the first that is not learned.

    Returns
    -------
    DataFrame
        A row a net: condition, radius (nan for cells without one), net, horizon, length.
    """
    inputs, _ = delayed_recall(1, n_lags).batch(5, rng=seed)
    profile = gradient_profile(
        cell, n_lags, inputs=inputs[None], n_trajectories=len(inputs), initial_state=0.0,
        rng=seed, n_threads=n_threads,
    )  # fmt: skip
    going, length = np.ones(cell.n_draws, bool), np.zeros(cell.n_draws)
    for delay in delays:
        if not going.any():
            break  # longer ones would not count
        found = train(
            cell, delayed_recall(delay), n_updates, optimiser="adam", learning_rate=0.005,
            clip=1.0, n_test=200, test_every=max(n_updates // 2, 1), rng=seed,
            n_threads=n_threads,
        )  # fmt: skip
        best = np.nanmin(np.column_stack([found.test_loss, np.full(len(going), np.inf)]), axis=1)
        going &= best < LEARNED * found.task.chance_loss
        length[going] = delay
    return pd.DataFrame(
        {
            "condition": name,
            "radius": radius,
            "net": range(cell.n_draws),
            "horizon": np.median(profile.horizon().lag, axis=1),
            "length": length,
        }
    )


def capacity(nets: pd.DataFrame, setting: str, delays: Sequence[int]) -> Impact:
    """Longest delay learned for the budget, from what `learn_delays` returns."""
    rows = []
    for name, group in nets.groupby("condition", sort=False):
        radius = float(group.radius.iloc[0])
        rows.append(row(str(name), radius, "longest delay", mean(group.length), len(group)))
        rows.append(row(str(name), radius, "horizon untrained", middle(group.horizon), len(group)))
        rows += [
            row(str(name), delay, "learned", share(group.length >= delay), len(group))
            for delay in delays
        ]
    table = pd.DataFrame(rows)
    by_radius = table[table.x.notna() & (table.quantity == "longest delay")]
    by_radius = by_radius.assign(condition="RNN, gaussian")
    figures = {
        "capacity-radius": lines(
            by_radius, "longest delay", "spectral radius", "longest delay learned, steps"
        ),
        "capacity-cells": ranked(
            table[table.quantity == "longest delay"], "longest delay learned, steps"
        ),
    }
    return Impact("Limited learning capacity", setting, table, figures, capacity_text(table))


def capacity_text(table: pd.DataFrame) -> list[str]:
    """Which radius and which condition remember longest, and which least."""
    longest = table[table.quantity == "longest delay"]
    by_radius = longest[longest.x.notna()]
    return [
        f"Vanilla nets: {_furthest(by_radius, 'radius ' + by_radius.x.map('{:g}'.format))}",
        f"Of all conditions: {_furthest(longest, longest.condition)}",
    ]


def _furthest(table: pd.DataFrame, names: pd.Series) -> str:
    """The ends of a ranking, each with what its interval does not part it from."""
    best, worst = extremes(table)
    if not apart(best, worst):
        return "no two are told apart by what they reached."
    ends = []
    for one, word in ((best, "reached furthest"), (worst, "least")):
        level = level_with(one, table, names)
        beside = f"; not told apart from it: {level}" if level else ""
        ends.append(f"{names[one.name]} {word}, {spread(one)} steps in the mean{beside}")
    return f"{ends[0]}. {ends[1][0].upper()}{ends[1][1:]}."


Measure = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]  # of horizons and lengths


def _pooled(nets: pd.DataFrame, measure: Measure, seed: int) -> Estimate:
    """A measure of pooled nets; its interval resamples whole conditions, which nets share."""
    places = list(nets.reset_index(drop=True).groupby("condition", sort=False).indices.values())
    horizon, length = nets.horizon.to_numpy(), nets.length.to_numpy()

    def of(drawn: npt.NDArray[np.int64]) -> float:
        rows = np.concatenate([places[i] for i in drawn])
        return measure(horizon[rows], length[rows])

    return bootstrap(of, len(places), seed)


def rank_correlation(horizon: npt.ArrayLike, length: npt.ArrayLike) -> float:
    """Spearman's correlation of horizon and learned length; 0 where one of them is constant.

    Examples
    --------
    >>> rank_correlation([1, 2, 3], [4, 16, 64])
    1.0
    """
    ranks = np.asarray(scipy_stats.rankdata(np.stack([horizon, length]), axis=1))
    if (ranks == ranks[:, :1]).all(axis=1).any():
        return 0.0
    return float(np.corrcoef(ranks)[0, 1])


def auc(horizon: npt.ArrayLike, length: npt.ArrayLike, least: float) -> float:
    """Chance that a net that learns the delay had the longer horizon than one that does not.

    Ties count half; 0.5, which tells nothing, where all nets learn it or none.

    Examples
    --------
    >>> auc([1, 2, 3], [4, 16, 16], 16)
    1.0
    """
    good = np.asarray(length) >= least
    n, m = good.sum(), (~good).sum()
    if not n or not m:
        return 0.5
    ranks = scipy_stats.rankdata(np.asarray(horizon))[good]
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))  # Mann and Whitney's U


def prediction(nets: pd.DataFrame, setting: str, seed: int) -> Impact:
    """Whether the horizon of the untrained net predicts the delay that it later learns."""
    vanilla = nets[nets.condition.str.startswith("RNN")]
    within = [
        rank_correlation(group.horizon, group.length)
        for _, group in nets.groupby("condition")
        if group.length.nunique() > 1
    ]
    rows = []
    for name, part in (("all conditions", nets), ("vanilla alone", vanilla)):
        rows.append(row(name, np.nan, "Spearman", _pooled(part, rank_correlation, seed), len(part)))
        for delay in sorted(set(nets.length[nets.length > 0])):
            if (part.length >= delay).all() or (part.length < delay).all():
                continue  # nothing to tell apart
            found = _pooled(part, partial(auc, least=delay), seed)
            rows.append(row(name, delay, "AUC", found, len(part)))
    rows.append(
        row("within a condition", np.nan, "Spearman",
            mean(within) if within else Estimate(np.nan, np.nan, np.nan, np.nan), len(within))
    )  # fmt: skip
    series = []
    for key, group in nets.groupby("condition", sort=False):
        horizon, length = middle(group.horizon), mean(group.length)
        rows.append(row(str(key), np.nan, "median horizon", horizon, len(group)))
        rows.append(row(str(key), np.nan, "mean delay", length, len(group)))
        series.append(point(str(key), horizon.value, length))
    table = pd.DataFrame(rows)
    figures = {
        "prediction-scatter": draw(
            Figure("median horizon of the untrained nets, lags", "longest delay learned, steps",
                   series, x_log=True)
        ),
        "prediction-auc": lines(table, "AUC", "delay learned or not, steps", "AUC of the horizon"),
    }  # fmt: skip
    figures["prediction-auc"].axes[0].axhline(0.5, color="#333333", linestyle="--", linewidth=1)
    how = (
        ". Horizon: median over five white inputs of the lag at which the untrained net's gradient "
        "is down to 1/1000. Intervals of Spearman's correlation and AUC resample whole conditions; "
        "an AUC is 0.5 in a sample whose nets all learn the delay, or none"
    )
    return Impact(
        "Does the horizon predict learning?", setting + how, table, figures, prediction_text(table)
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
            text.append(
                f"Over {name} a longer horizon went with a shorter memory: Spearman {span}."
            )
        else:
            text.append(
                f"Over {name} no relation of horizon and learned delay is shown, nor excluded: "
                f"Spearman {span}."
            )
    for one in each(table[table.quantity == "AUC"]):
        if not one.low <= 0.5 <= one.high:
            better = "longer" if one.low > 0.5 else "shorter"
            text.append(
                f"Over {one.condition} nets that learn delay {one.x:g} had the {better} horizon: "
                f"AUC {one.value:.2f} [{one.low:.2f}, {one.high:.2f}]."
            )
    text += _misleads(table)
    inside: Any = found.loc["within a condition"]
    if np.isnan(inside.value):
        text.append("Within no condition did nets differ in what they learned.")
    else:
        span = spread(inside, ".2f")
        how = f"mean Spearman {span} over the {inside.n} whose nets differ in what they learned"
        text.append(
            f"It also ranks nets of one condition: {how}."
            if inside.low > 0
            else f"Among nets of one condition no ranking is shown ({how}): trust it to compare "
            "conditions, if at all, and not single nets."
        )
    return text


def _misleads(table: pd.DataFrame) -> list[str]:
    """The condition that the horizon ranks too high by most."""
    horizon: Any
    delay: Any
    horizon, delay = (
        table[table.quantity == quantity].set_index("condition").value
        for quantity in ("median horizon", "mean delay")
    )
    ranks = [one.rank(ascending=False, method="min") for one in (horizon, delay)]
    gap = ranks[1] - ranks[0]
    if not len(gap) or gap.max() <= 0:
        return []
    name = gap.idxmax()
    return [
        f"It misleads most for {name}: of {len(gap)} conditions its horizon is number "
        f"{ranks[0][name]:.0f} from the longest ({horizon[name]:.3g} lags), and the delay that its "
        f"nets learn number {ranks[1][name]:.0f} ({delay[name]:.3g} steps)."
    ]


def architectures(
    seed: int,
    *,
    lengths: Sequence[int] = (10, 20, 40, 80),
    n_nets: int = 30,
    n_hidden: int = 20,
    n_updates: int = 1000,
    n_threads: int | None = None,
) -> Experiment:
    """Cells of equal parameter count on the adding problem, each length trained anew."""
    nets = _nets(seed, n_nets, n_hidden)
    measure = partial(_architecture, seed, n_updates, n_threads)

    def finish(table: pd.DataFrame) -> dict[str, Impact]:
        figures = {
            "architectures": lines(
                table, "learned", "length, steps", "share of nets that learned", x_log=True
            )
        }
        impact = Impact(
            "Architectural choice",
            f"Adding problem, {n_updates:,} Adam updates (rate 0.005, clipping at 1), {n_nets} "
            f"nets a cell and length; {sizes(n_hidden, 2)}. Learned: test loss below a tenth of "
            "chance after the last update",
            table,
            figures,
            architectures_text(table),
        )
        return {"architectures": impact}

    jobs = {
        f"{name}, {length}": partial(measure, length, name, cell)
        for length in lengths
        for name, cell in nets.items()
    }
    return Experiment(jobs, finish)


def _nets(seed: int, n_nets: int, n_hidden: int) -> dict[str, Cell]:
    """Cells of equal parameter count with two inputs, the vanilla one first."""
    vanilla = RNN.draw(n_nets, n_hidden, spectral_radius=0.95, n_inputs=2, rng=seed)
    return {"RNN": vanilla, **cells(n_nets, n_hidden, 2, seed)}


def _architecture(
    seed: int, n_updates: int, n_threads: int | None, length: int, name: str, cell: Cell
) -> pd.DataFrame:
    found = learn_adding(cell, length, n_updates, seed, n_threads)
    last = found.test_loss[:, -1] / found.task.chance_loss
    n = cell.n_draws
    loss = row(name, length, "loss over chance", middle(last), n)
    return pd.DataFrame([loss, row(name, length, "learned", share(last < LEARNED), n)])


def learn_adding(
    cell: Cell, length: int | tuple[int, int], n_updates: int, seed: int, n_threads: int | None
) -> Training:
    return train(
        cell, adding(length), n_updates, optimiser="adam", learning_rate=0.005, clip=1.0,
        n_test=400, rng=seed, n_threads=n_threads,
    )  # fmt: skip


def architectures_text(table: pd.DataFrame) -> list[str]:
    """Best and worst cells at each length; a difference only where intervals part."""
    text = []
    for length, group in table[table.quantity == "learned"].groupby("x"):
        best, worst = extremes(group)
        if best.value == worst.value:
            text.append(
                f"At length {length:g} all cells have the same share, {spread(best, '.0%')}."
            )
            continue
        most, least = (
            ", ".join(group.condition[group.value == one.value]) for one in (best, worst)
        )
        text.append(
            f"At length {length:g} {most} learned most often, {spread(best, '.0%')}, and {least} "
            f"least, {spread(worst, '.0%')}"
            + ("." if apart(best, worst) else ": the intervals overlap, so it may be chance.")
        )
    return text
