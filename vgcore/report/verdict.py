"""The verdict of a study: what vanishes, from where, what helps and what to do.

Every line picks its words by comparing intervals; none knows how a study comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from vgcore.report.league import explode_text, gained_text
from vgcore.report.part import Part
from vgcore.report.text import root_of, root_text, zero_crossing
from vgcore.report.words import sample_size, together
from vgcore.stats import LEVEL

Standing = tuple[Part, float | None, pd.DataFrame]  # a league table, with where it was made
N_NAMED = 3  # remedies in one sentence; the league tables have the rest


def verdict(
    summary: pd.DataFrame, parts: Sequence[Part], standings: Sequence[Standing]
) -> list[tuple[str, str]]:
    """Headings and sentences of the card.

    Parameters
    ----------
    summary : DataFrame
        Rows of `vgcore.stats.summarise`.
    parts : sequence of Part
        Facts of every slice.
    standings : sequence of (Part, level, DataFrame)
        League tables of `vgcore.report.league.league`.

    Returns
    -------
    list of (str, str)
    """
    longer, calmer = _best_against_vanishing(standings), _best_against_exploding(standings)
    lines = [("What happens", regimes(summary)), ("From where", onset(parts))]
    if standings:
        lines += [
            ("Which remedy", f"{_bought(longer)} {_calmed(standings, calmer)}".strip()),
            ("How sure", _confidence(standings)),
        ]
    lines.append(("What to do", _advice(summary, standings, longer, calmer)))
    return [(heading, said) for heading, said in lines if said]


def regimes(summary: pd.DataFrame) -> str:
    """How many conditions vanish and explode, and how many of them surely do."""
    vanishing = summary[summary["phase"] == "vanishing"]
    exploding = summary[summary["phase"] == "exploding"]
    sure = {
        "vanishes": int((vanishing["rate_high"] < 0).sum()),
        "explodes": int((exploding["rate_low"] > 0).sum()),
    }
    n, said = len(summary), []
    for verb, rows in (("vanishes", vanishing), ("explodes", exploding)):
        if len(rows) == 0:
            said.append(f"{verb} in none")
            continue
        clear = "all" if sure[verb] == len(rows) else str(sure[verb])
        which = "all" if len(rows) == n else str(len(rows))
        said.append(f"{verb} in {which} (the interval is clear of zero in {clear} of them)")
    conditions = "1 condition" if n == 1 else f"{n} conditions"
    return f"Of {conditions} the median gradient {together(said)}."


def onset(parts: Sequence[Part]) -> str:
    """Where on its axis the median rate changes sign, by the slice with most values of it."""
    axes = [part for part in parts if part.shape.x in ("spectral_radius", "gain")]
    axes.sort(key=lambda part: -len(part.rows(part.names[0])))  # stable: the first of equal ones
    for part in axes:
        root, rows = root_of(part, part.names[0]), part.rows(part.names[0])
        if root is not None:
            rises = rows["rate"].iloc[-1] > rows["rate"].iloc[0]
            below, above = ("shrink", "grow") if rises else ("grow", "shrink")
            return (
                f"With {_name(part.names[0])} gradients {below} below {part.x_label} "
                f"{root_text(root, rows)} and {above} above it ({sample_size(rows)} a "
                "condition)."
            )
    for part in axes:
        end = zero_crossing(part, part.names[0])
        if end:
            return f"With {_name(part.names[0])} the median rate {end}."
    return ""


def _name(series: str) -> str:
    return "no remedy" if series == "none" else series


def _where(part: Part, level: float | None) -> str:
    return "" if level is None else f"at {part.x_label} {part.at(level)}"


def _others(part: Part, found: pd.DataFrame) -> pd.DataFrame:
    rows: pd.DataFrame = found[found["series"] != part.table["series"].iloc[0]]
    return rows


def _best_against_vanishing(
    standings: Sequence[Standing],
) -> list[tuple[str, dict[Any, Any]]]:
    """Remedies that surely buy steps where the series are compared, and not by exploding."""
    found: dict[str, tuple[str, dict[Any, Any]]] = {}
    for part, level, table in standings:
        if level != part.reference:
            continue
        rows = _others(part, table)
        rows = rows[(rows["gained_low"] > 0) & ~(rows["explode_low"] > 0.5)]
        for row in rows.to_dict("records"):
            found.setdefault(str(row["series"]), (_where(part, level), row))
    return sorted(found.values(), key=lambda one: -one[1]["gained"])


def _explodes_most(standings: Sequence[Standing]) -> Standing | None:
    """The league table whose network without a remedy explodes most often, if any surely does."""
    tables = [one for one in standings if _base(one)["explode_low"] > 0.05]
    return max(tables, key=lambda one: float(_base(one)["explode"]), default=None)


def _base(standing: Standing) -> pd.Series:
    part, _, found = standing
    row: pd.Series = found[found["series"] == part.table["series"].iloc[0]].iloc[0]
    return row


def _best_against_exploding(standings: Sequence[Standing]) -> list[dict[Any, Any]]:
    """Remedies that surely explode less often there, the least often first."""
    worst = _explodes_most(standings)
    if worst is None:
        return []
    rows = _others(worst[0], worst[2])
    rows = rows[rows["explode_high"] < _base(worst)["explode_low"]]
    found: list[dict[Any, Any]] = rows.sort_values("explode", kind="stable").to_dict("records")
    return found


def _bought(longer: Sequence[tuple[str, dict[Any, Any]]]) -> str:
    if not longer:
        return "No remedy buys a step that is told apart from none."
    each = [
        f"{row['series']} buys {gained_text(row)} steps"
        + (f" {where}" if i == 0 or where != longer[0][0] else "")
        for i, (where, row) in enumerate(longer[:N_NAMED])
    ]
    return f"Against vanishing, {together(each)}."


def _calmed(standings: Sequence[Standing], calmer: Sequence[dict[Any, Any]]) -> str:
    worst = _explodes_most(standings)
    if worst is None:
        return "Too few draws explode without a remedy to tell what helps against it."
    where = _where(worst[0], worst[1])
    share = f"{explode_text(_base(worst))} of the draws explode without a remedy"
    start = f"{where[:1].upper()}{where[1:]}, {share}" if where else share
    if not calmer:
        return f"{start}; no remedy is told apart from that."
    each = [f"{explode_text(row)} with {row['series']}" for row in calmer[:N_NAMED]]
    return f"{start}, {together(each)}."


def _confidence(standings: Sequence[Standing]) -> str:
    n_gains = sum(len(_others(part, found)) for part, _, found in standings)
    tables = "the league table" if len(standings) == 1 else f"all {len(standings)} league tables"
    size = sample_size(pd.concat([found for _, _, found in standings]))
    return (
        f"Steps gained are means of differences on the same draws ({size}); their intervals hold "
        f"together with {100 * LEVEL:.0f} % over {tables} (Bonferroni over {n_gains}), so that the "
        "best may be picked from them. They cover the variation "
        "between draws, not other sizes, inputs or trained networks. Steps are counted up to the "
        "longest lag measured: a memory that outlasts it buys at least that many."
    )


def _advice(
    summary: pd.DataFrame,
    standings: Sequence[Standing],
    longer: Sequence[tuple[str, dict[Any, Any]]],
    calmer: Sequence[dict[Any, Any]],
) -> str:
    vanishes = bool((summary["phase"] == "vanishing").any())
    explodes = bool((summary["phase"] == "exploding").any())
    if not vanishes and not explodes:
        return "Nothing needs a remedy at these settings."
    said = []
    if vanishes and longer:
        rows = [row for _, row in longer]
        cheaper = [row for row in rows if row["cost"] < rows[0]["cost"]]
        first = f"For a longer memory, {rows[0]['series']} comes first"
        if cheaper:
            first += (
                f", at {rows[0]['cost']:.3g} times the arithmetic of a step without a remedy; "
                f"{cheaper[0]['series']} buys the most for less, {cheaper[0]['cost']:.3g} times"
            )
        said.append(f"{first}.")
    elif vanishes and standings:
        said.append("No remedy measured is known to lengthen memory.")
    if explodes and calmer:
        least = [r for r in calmer if r["explode_high"] <= calmer[0]["explode_high"]]
        said.append(
            f"Where gradients explode, {together([str(r['series']) for r in least], 'or')}"
            f" {'comes' if len(least) == 1 else 'come'} first."
        )
    elif explodes and standings:
        said.append("No remedy measured is known to stop the exploding.")
    if not standings:
        said.append(
            "No remedy was measured here; a slice whose grid has several remedies ranks them."
        )
    return " ".join(said)
