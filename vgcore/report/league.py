"""The league table of remedies: what each buys and costs, on the draws of the condition without.

A slice whose conditions differ in their remedy has one table for each of two values of its axis:
where its series are compared, and the largest, where gradients explode if they do anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from vgcore import stats
from vgcore.report.part import Part
from vgcore.report.tables import Table
from vgcore.report.words import Row, fraction, horizon_text, interval, inverse, number, together
from vgcore.study.config import SIZES, Condition


def levels(part: Part) -> list[float | None]:
    """Values of the axis that have a table."""
    if "remedy" not in part.shape.series:
        return []
    if part.reference is None:
        return [None]
    return list(dict.fromkeys([part.reference, float(part.table["x"].max())]))


def league(
    part: Part,
    draws: pd.DataFrame,
    conditions: Mapping[int, Condition],
    level: float | None,
    n_comparisons: int | None = None,
) -> pd.DataFrame:
    """One row a series of a slice, most steps gained first.

    Parameters
    ----------
    part
        The slice; its first series is the one without a remedy.
    draws
        Result table of the draws.
    conditions
        The condition of each number.
    level
        Value of the axis, None without an axis.
    n_comparisons
        Number of gains whose intervals hold together, by Bonferroni; those of this table if None.

    Returns
    -------
    DataFrame
        Rows of `part.table` at that value, with columns ``against``; ``gained``, ``gained_low``
        and ``gained_high`` (mean steps of horizon more than the first series has on the same draws,
        nan where none are shared); ``explode`` and its interval (share of draws whose norm grows to
        1/eps before it falls to eps); ``cosine`` and ``kept`` (medians: of the gradient with that
        before the remedy, and ratio of their norms); ``diverged`` (draws in which the descent of a
        penalty did); ``cost`` (multiplications of a training step, in units of those of the first
        series).
    """
    table = part.table if level is None else part.table[part.table["x"] == level]
    table = table.drop_duplicates("series")
    baseline = conditions[int(table["condition"].iloc[0])]
    confidence = 1 - (1 - stats.LEVEL) / max(n_comparisons or len(table) - 1, 1)
    rows: list[dict[Any, Any]] = []
    for row in table.to_dict("records"):
        own = conditions[int(row["condition"])]
        standing = _standing(
            int(row["condition"]), int(table["condition"].iloc[0]), draws, confidence
        )
        if any(getattr(own.treated, name) != getattr(baseline.treated, name) for name in SIZES):
            standing |= dict.fromkeys(("gained", "gained_low", "gained_high"), np.nan)
        cost = _cost(own) / _cost(baseline)
        rows.append({**row, **standing, "against": own.remedy.against, "cost": cost})
    found = pd.DataFrame(rows)
    return found.sort_values("gained", ascending=False, kind="stable").reset_index(drop=True)


def _standing(
    condition: int, baseline: int, draws: pd.DataFrame, confidence: float
) -> dict[str, Any]:
    own = draws[draws["condition"] == condition]
    until = float(own.loc[own["censored"], "horizon"].min()) if own["censored"].any() else np.inf
    base = draws[draws["condition"] == baseline]
    if base["censored"].any():
        until = min(until, float(base.loc[base["censored"], "horizon"].min()))
    gained = stats.paired_steps_gained(draws, condition, baseline, until, confidence)
    explode = stats.wilson(int((own["event"] == "explode").sum()), len(own))
    return {
        "gained": gained.value,
        "gained_low": gained.low,
        "gained_high": gained.high,
        "explode": explode.value,
        "explode_low": explode.low,
        "explode_high": explode.high,
        "cosine": float(np.median(own["cosine"])),
        "kept": float(np.exp(np.median(own["log_kept"]))),
        "diverged": int((own["stopped_at"] >= 0).sum()),
    }


def _cost(condition: Condition) -> float:
    c = condition.treated
    return c.cell.arithmetic() * c.remedy.step_cost(c.n_hidden, c.n_steps)


# --- words -----------------------------------------------------------------------------------


def legend(part: Part, conditions: Mapping[int, Condition]) -> list[str]:
    """What the columns of its league tables say, and what each remedy is with which settings."""
    if not levels(part):
        return []
    eps = fraction(part.eps)
    columns = (
        f"Falls to {eps} within: the median memory horizon; a gradient that explodes has not "
        "fallen, and more steps are no memory then. Steps gained: the mean horizon more than "
        "without a remedy, on the same draws. Explodes: share of draws whose gradient grows to "
        f"{inverse(part.eps)} times that of the loss before it falls to {eps}; a gradient that is "
        "scaled down as a whole may grow with the lag all the same, and counts as growing, by its "
        "rate, elsewhere. The gradient: dE/dW_rec after the remedy beside that before, medians. "
        "Cost of a step: multiplications in training, over those without a remedy."
    )
    said = {}
    for row in part.table.drop_duplicates("series").to_dict("records"):
        said[str(row["series"])] = conditions[int(row["condition"])].remedy.description
    return [columns, *(f"{name}: {sentence}" for name, sentence in said.items())]


def diverged(draws: pd.DataFrame, conditions: Mapping[int, Condition]) -> list[str]:
    """Conditions in which the descent of a penalty diverged: in how many draws, and when."""
    stopped = draws[draws["stopped_at"] >= 0].groupby("condition")["stopped_at"]
    n_draws = draws["condition"].value_counts()
    return [
        f"Condition {index}: the descent on {conditions[index].remedy.label} diverged in "
        f"{len(at)} of {n_draws[index]} draws, at update {at.median():.0f} (median). Measured is "
        "W_rec before that update; a lower learning_rate may reach the end."
        for index, at in ((int(str(key)), at) for key, at in stopped)
    ]


def gained_text(row: Row) -> str:
    """Steps gained with their interval."""
    if np.isnan(row["gained"]):
        return "not paired"
    if np.isnan(row["gained_low"]):
        return f"{number(row['gained'], 0)} in every draw"
    return ("+" if row["gained"] > 0 else "") + interval(
        row["gained"], row["gained_low"], row["gained_high"]
    )


def explode_text(row: Row) -> str:
    """Share of exploding draws with its interval, in percent."""
    low, value, high = (100 * row[f"explode{end}"] for end in ("_low", "", "_high"))
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"


def _gradient_text(row: Row) -> str:
    """What the remedy leaves of the gradient of one network."""
    if row["diverged"]:
        return f"descent diverged in {row['diverged']} of {row['n']} draws"
    if np.isnan(row["cosine"]):
        return "out of range"
    if row["cosine"] == 1.0 and row["kept"] == 1.0:
        return "as it was"
    return f"cosine {row['cosine']:.3f}, norm {row['kept']:.3g} of it"


def table(found: pd.DataFrame) -> Table:
    """Head and rows of the league table."""
    head = [
        "remedy",
        "against",
        "falls to eps within",
        "steps gained",
        "explodes",
        "the gradient",
        "cost of a step",
    ]
    lines = [
        [
            str(row["series"]),
            row["against"] or "nothing",
            f"{horizon_text(row)} steps",
            gained_text(row),
            explode_text(row),
            _gradient_text(row),
            f"{row['cost']:.2g}",
        ]
        for row in found.to_dict("records")
    ]
    return head, lines


def sentences(part: Part, found: pd.DataFrame, level: float | None) -> list[str]:
    """What the league table says, in words that its numbers choose."""
    first = str(part.table["series"].iloc[0])
    base = found[found["series"] == first].iloc[0]
    where = "" if level is None else f"At {part.x_label} {part.at(level)}, "
    others = found[found["series"] != first]
    more = others[others["gained_low"] > 0]
    fewer = others[
        (others["gained_high"] < 0) | ((others["gained"] < 0) & others["gained_low"].isna())
    ]
    same = others[(others["gained"] == 0) & others["gained_low"].isna()]
    said = []
    plain = "without a remedy" if first == "none" else f"with {first}"
    start = (
        f"{where}{plain} the gradient falls to {fraction(part.eps)} within {horizon_text(base)} "
        f"steps (n = {base['n']}). "
    )
    start = start[0].upper() + start[1:]
    if len(more):
        bought = [
            f"{r['series']} buys {gained_text(r)}"
            + (" (by exploding, which is no memory)" if r["explode_low"] > 0.5 else "")
            for r in more.to_dict("records")
        ]
        said.append(f"{start}On the same draws, {together(bought)} steps.")
    else:
        said.append(f"{start}On the same draws no remedy buys a step that is told apart from none.")
    if len(fewer):
        lost = [f"{r['series']} ({gained_text(r)})" for r in fewer.to_dict("records")]
        said.append(f"Memory is shorter with {together(lost)}.")
    if len(same):
        said.append(
            f"0 steps in every draw with {together(list(same['series']))}: what scales a whole "
            "gradient does not change how far back it reaches."
        )
    calm = others[others["explode_high"] < base["explode_low"]]
    wild = others[others["explode_low"] > base["explode_high"]]
    said.append(f"Gradients explode in {explode_text(base)} of the draws {plain}")
    for word, rows in (("less often", calm), ("more often", wild)):
        if len(rows):
            each = [f"{r['series']} ({explode_text(r)})" for r in rows.to_dict("records")]
            said[-1] += f", {word} with {together(each)}"
    said[-1] += "." if len(calm) + len(wild) else "; no remedy is told apart from that."
    return said
