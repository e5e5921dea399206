"""Sentences of a report, all made from the numbers.

No sentence here knows how a study comes out: each one compares intervals and picks its words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vgcore.report.part import Part
from vgcore.report.words import (
    capital,
    factor_label,
    fraction,
    horizon_text,
    interval,
    number,
    rate_text,
    sample_size,
    steps,
    together,
)
from vgcore.stats import LEVEL, Estimate, level_key


def fixed_text(part: Part) -> str:
    """Sentence on the factors that the slice holds fixed."""
    shown = []
    for name, value in part.fixed.items():
        text = level_key(value)
        if text:
            shown.append(f"{factor_label(name)} {text}")
    return f"Held fixed: {', '.join(shown)}." if shown else ""


def answer(parts: Sequence[Part]) -> list[tuple[str, list[str]]]:
    """The answer of a study: for each slice its title and what its numbers say."""
    result = []
    for i, part in enumerate(parts):
        said = [reaches(part, part.names[0]), trend(part, part.names[0])] if i == 0 else []
        if len(part.names) > 1:
            said += [*compare_horizons(part), *zero_crossings(part)]
        elif i == 0:
            said += zero_crossings(part)
        else:
            said += [trend(part, part.names[0]), *zero_crossings(part)]
        result.append((part.title, list(filter(None, said))))
    return result


def details(part: Part) -> list[str]:
    """What the numbers of a slice say of each series, one paragraph each."""
    said = []
    for series in part.names:
        zero = zero_crossing(part, series)
        sentences = [trend(part, series), f"Its median rate {zero}." if zero else ""]
        said.append(" ".join(filter(None, [*sentences, reach(part, series)])))
    return said


def merged(part: Part) -> list[str]:
    """Say which series gave the same numbers and are shown as one."""
    reason = ""
    if part.shape.series == ("init",) and part.shape.x == "spectral_radius":
        reason = "; rescaled to a spectral radius they are one law, and draws are shared"
    return [
        f"{together(members)} gave the same numbers in every draw and are shown once, "
        f"as {first}{reason}."
        for first, members in part.members.items()
        if len(members) > 1
    ]


def trend(part: Part, series: str) -> str:
    """How the median rate runs along the axis, or what it is without one."""
    rows = part.rows(series)
    first, last = rows.iloc[0], rows.iloc[-1]
    if part.shape.x is None or part.shape.levels or len(rows) == 1:
        said = [
            (f"at {part.x_label} {part.at(r['x'])} " if part.shape.x else "")
            + f"{rate_text(r)}, {r['phase']} over {r['n_steps']} steps"
            for _, r in rows.iterrows()
        ]
        start = f"With {series} the median rate (nats a step) is "
        return f"{start}{'; '.join(said)} ({sample_size(rows)})."
    if last["rate_low"] > first["rate_high"]:
        verb = "rises"
    elif last["rate_high"] < first["rate_low"]:
        verb = "falls"
    else:
        verb = "shows no change between its ends, whose intervals meet,"
    sentence = (
        f"With {series} the median rate {verb} from {rate_text(first)} nats a step at "
        f"{part.x_label} {first['x']:g} to {rate_text(last)} at {last['x']:g} "
        f"({sample_size(rows)} a condition)"
    )
    # A turn in between is told only where its interval is clear of both ends.
    rates = rows["rate"].to_numpy()
    top, bottom = rows.iloc[int(rates.argmax())], rows.iloc[int(rates.argmin())]
    if top["rate_low"] > max(first["rate_high"], last["rate_high"]):
        sentence += f"; it is highest at {top['x']:g}, {rate_text(top)}"
    if bottom["rate_high"] < min(first["rate_low"], last["rate_low"]):
        sentence += f"; it is lowest at {bottom['x']:g}, {rate_text(bottom)}"
    return sentence + "."


def zero_crossing(part: Part, series: str) -> str:
    """Where the median rate of a series is zero, as the end of a sentence."""
    rows = part.rows(series)
    if part.shape.x is None or part.shape.levels or len(rows) < 2:
        return ""
    root = root_of(part, series)
    if root is not None:
        return f"is zero at {part.x_label} {root_text(root, rows)} (n = {int(rows['n'].min())})"
    rates = rows["rate"]
    level = _levels_off(rows)
    if level is not None:
        band = number(-np.log(part.eps) / rows["n_steps"].iloc[-1], 4)
        return (
            f"stays within ±{band} of zero from {part.x_label} {level:g} on ({sample_size(rows)})"
        )
    if (rates < 0).all():
        side = "stays below zero"
    elif (rates > 0).all():
        side = "stays above zero"
    elif (rates == 0).any() and (rates <= 0).all():
        side = "is never above zero"
    else:
        return f"changes sign more than once between {part.x_label} {_range(rows)}"
    return f"{side} at every {part.x_label} measured ({_range(rows)}; {sample_size(rows)})"


def _levels_off(rows: pd.DataFrame) -> float | None:
    """Axis value from which on the median rates are stable; None if fewer than two are, or none.

    Autonomous networks rest on neutral orbits over a range of radii: the sign of a rate of
    rounding size is no crossing.
    """
    stable = rows["phase"].to_numpy() == "stable"
    n_last = int(np.logical_and.accumulate(stable[::-1]).sum())
    return float(rows["x"].iloc[-n_last]) if n_last > 1 else None


def root_of(part: Part, series: str) -> Estimate | None:
    """Where the median rate of a series crosses zero, if it does and goes on beyond."""
    root = part.critical.get(series)
    if root is None or not np.isfinite(root.value) or _levels_off(part.rows(series)) is not None:
        return None
    return root


def root_text(root: Estimate, rows: pd.DataFrame) -> str:
    """Write a root; an end that leaves the axis says so."""
    if np.isfinite(root.low) and np.isfinite(root.high):
        return interval(*root[:3])
    low = f"< {rows['x'].min():g}" if np.isinf(root.low) else f"{root.low:.3g}"
    high = f"> {rows['x'].max():g}" if np.isinf(root.high) else f"{root.high:.3g}"
    return f"{root.value:.3g} [{low}, {high}]"


def _range(rows: pd.DataFrame) -> str:
    return f"{rows['x'].min():g} to {rows['x'].max():g}"


def zero_crossings(part: Part) -> list[str]:
    """Where the rates are zero, in one sentence for all series that have a root and one a rest."""
    rooted: list[str] = []
    rest: dict[str, list[str]] = {}
    for series in part.names:
        end = zero_crossing(part, series)
        root = root_of(part, series)
        if not end:
            return []
        if root is not None:
            rooted.append(f"{root_text(root, part.rows(series))} with {series}")
        else:
            rest.setdefault(end, []).append(series)
    said = []
    if rooted:
        size = sample_size(part.table[part.table["series"].isin(part.names)])
        said.append(f"The median rate is zero at {part.x_label} {together(rooted)} ({size}).")
    said += [f"With {together(names)} the median rate {end}." for end, names in rest.items()]
    return said


def reach(part: Part, series: str) -> str:
    """How far back the gradient of a series reaches where the series are compared."""
    rows = part.at_reference()
    rows = rows[rows["series"] == series]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    where = f"{capital(part.where)} the" if part.where else "The"
    whose = f"with {series}"
    if part.shape.series in ((), ("init",)):
        whose = f"of a draw with {series} weights"
    start = f"{where} gradient {whose} "
    level = fraction(part.eps)
    if np.isinf(row["horizon"]):
        return (
            f"{start}stays above {level} of its size for all {row['n_steps']} steps in "
            f"{row['n_kept']} of {row['n']} draws, so the median horizon lies beyond "
            f"{row['n_steps']} [{steps(row['horizon_low'], row['n_steps'])}, "
            f"{steps(row['horizon_high'], row['n_steps'])}] steps (n = {row['n']})."
        )
    return f"{start}falls to {level} within {horizon_text(row)} steps (n = {row['n']})."


def reaches(part: Part, series: str) -> str:
    """How far back the gradient of a series reaches along the axis: the answer in one sentence."""
    rows = part.rows(series)
    if part.shape.x is None or part.shape.levels or len(rows) < 2:
        return reach(part, series)
    within = rows[np.isfinite(rows["horizon"])]
    ranks = np.unique(np.linspace(0, len(within) - 1, min(4, len(within))).round().astype(int))
    said = [f"{horizon_text(r)} steps at {r['x']:g}" for _, r in within.iloc[ranks].iterrows()]
    beyond = rows.loc[np.isinf(rows["horizon"]), "x"]
    if len(beyond):
        where = (
            "everywhere"
            if len(beyond) == len(rows)
            else "at " + together([f"{x:g}" for x in beyond])
        )
        said.append(f"beyond {int(rows['n_steps'].max())} {where}")
    return (
        f"How many steps back the gradient keeps {fraction(part.eps)} of its size, by "
        f"{part.x_label}, with {series}: {'; '.join(said)} ({sample_size(rows)} a condition)."
    )


def compare_horizons(part: Part) -> list[str]:
    """Which series remembers longest: at the reference, or at every level of a named axis."""
    if part.reference is None:
        said = [_compare_horizons(part.table, "The")]
    elif part.shape.levels:
        said = [
            _compare_horizons(rows, f"At {part.x_label} {part.at(float(rows['x'].iloc[0]))} the")
            for _, rows in part.table.groupby("x")
        ]
    else:
        said = [_compare_horizons(part.at_reference(), f"{capital(part.where)} the")]
    return list(filter(None, said))


def _compare_horizons(rows: pd.DataFrame, where: str) -> str:
    """Which of some conditions remembers longest, and which shortest; empty for a single one."""
    rows = rows.sort_values("horizon", ascending=False, kind="stable")
    if len(rows) < 2:
        return ""
    best, second, worst = rows.iloc[0], rows.iloc[1], rows.iloc[-1]
    beyond = list(rows.loc[np.isinf(rows["horizon"]), "series"])
    size = sample_size(rows)
    if len(beyond) == len(rows):
        exploding = _exploding(rows)
        return f"{where} median horizon lies beyond T with every series{exploding} ({size})."
    if not best["horizon_low"] > worst["horizon_high"]:
        each = "; ".join(f"{horizon_text(r)} with {r['series']}" for _, r in rows.iterrows())
        return (
            f"{where} median horizons are not told apart, their intervals overlap: {each} steps "
            f"({size})."
        )
    if beyond:
        longest = f"{where} median horizon lies beyond T with {together(beyond)}{_exploding(rows)}"
    else:
        longest = (
            f"{where} median horizon is longest with {best['series']}, {horizon_text(best)} steps"
        )
        if len(rows) > 2 and not best["horizon_low"] > second["horizon_high"]:
            longest += f" ({second['series']}, {horizon_text(second)}, is not told apart from it)"
    tied = rows[rows["horizon_low"] <= worst["horizon_high"]]
    comma = "," if len(tied) == 1 else ""
    shortest = together(
        [f"{r['series']}{comma} {horizon_text(r)}" for _, r in tied.iloc[::-1].iterrows()]
    )
    return f"{longest}, and shortest with {shortest} steps ({size})."


def _exploding(rows: pd.DataFrame) -> str:
    """Say of gradients that survive because they explode that this is no memory."""
    names = list(rows.loc[rows["phase"] == "exploding", "series"])
    return f" (exploding with {together(names)})" if names else ""


def compare_rates(part: Part) -> str:
    """Paired shifts of the rate from the first series."""
    if not part.shifts:
        return ""
    said = []
    for series, (shift, n) in part.shifts.items():
        text = interval(shift.value, shift.low, shift.high)
        if shift.low > 0:
            verdict = "higher by "
        elif shift.high < 0:
            verdict = "lower by "
            text = interval(-shift.value, -shift.high, -shift.low)
        else:
            verdict = "no difference detected, "
        said.append(f"{series} {verdict}{text} (n = {n} pairs)")
    where = f" {part.where}" if part.where else ""
    return (
        f"Rates on the same draws{where}, in nats a step, against {part.names[0]}: "
        + "; ".join(said)
        + f". The intervals hold together with {100 * LEVEL:.0f} % (Bonferroni over "
        f"{len(said)})."
    )
