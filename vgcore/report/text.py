"""Sentences, captions and tables of a report, all made from the numbers.

No sentence here knows how a study comes out: each one compares intervals and picks its words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from vgcore.figures import N_BEHIND
from vgcore.stats import LEVEL, Estimate, Layout, level_key

Row = Mapping[Any, Any] | pd.Series  # a row of a summary, by column
MINUS = "\N{MINUS SIGN}"
LABELS = {
    "init": "initializer",
    "spectral_radius": "spectral radius",
    "n_hidden": "N",
    "n_steps": "T",
    "burn_in": "burn-in",
    "n_inputs": "inputs",
    "input_variance": "input variance",
    "n_trajectories": "trajectories",
    "law": "keywords",
}


@dataclass(frozen=True)
class Part:
    """What a report knows of one slice.

    Attributes
    ----------
    name, title : str
    table : DataFrame
        Rows of `vgcore.stats.slice_table`.
    members : mapping
        First series of each family to all of its series.
    shape : Layout
        Which factor is the axis, which ones name the series.
    fixed : mapping
        Factors that do not vary in the slice.
    reference : float or None
        Value of the axis at which the series are compared.
    critical : mapping
        Series to the axis value where its median rate is zero (nan: none).
    shifts : mapping
        Series to its paired shift of the rate from the first series, with the number of pairs.
    eps : float
        Level of the memory horizon.
    """

    name: str
    title: str
    table: pd.DataFrame
    members: Mapping[str, list[str]]
    shape: Layout
    fixed: Mapping[str, Any]
    reference: float | None
    critical: Mapping[str, Estimate] = field(default_factory=dict)
    shifts: Mapping[str, tuple[Estimate, int]] = field(default_factory=dict)
    eps: float = 1e-3

    @property
    def x_label(self) -> str:
        """Name of the axis in words."""
        return factor_label(self.shape.x) if self.shape.x else ""

    @property
    def names(self) -> list[str]:
        """First series of each family, in order."""
        return list(self.members)

    def at(self, x: float) -> str:
        """Write a value of the axis: `0.9`, or the name of a level."""
        return self.shape.levels[int(x)] if self.shape.levels else f"{x:g}"

    @property
    def where(self) -> str:
        """Where the series are compared: `at spectral radius 0.9`; empty without an axis."""
        if self.reference is None:
            return ""
        return f"at {self.x_label} {self.at(self.reference)}"

    def rows(self, series: str) -> pd.DataFrame:
        """Rows of one series, the axis ascending."""
        return self.table[self.table["series"] == series]

    def at_reference(self) -> pd.DataFrame:
        """One row a series, at the value where they are compared."""
        if self.reference is None:
            return self.table
        return self.table[self.table["x"] == self.reference]


# --- numbers ---------------------------------------------------------------------------------


def number(value: float, decimals: int) -> str:
    """Write a number with a true minus sign; infinite ones as such."""
    if np.isnan(value):
        return "unknown"
    if np.isinf(value):
        return ("" if value > 0 else MINUS) + "∞"
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def interval(value: float, low: float, high: float) -> str:
    """Write `value [low, high]` with two figures of the half width."""
    half = (high - low) / 2 if np.isfinite([low, high]).all() else 0.0
    decimals = 4
    if half > 1e-6:  # below it there is only rounding
        decimals = int(np.clip(1 - np.floor(np.log10(half)), 0, 6))
    if np.isnan(low) or np.isnan(high):
        return f"{number(value, decimals)} (no interval)"
    return f"{number(value, decimals)} [{number(low, decimals)}, {number(high, decimals)}]"


def rate_text(row: Row) -> str:
    """Median rate of a condition with its interval."""
    return interval(row["rate"], row["rate_low"], row["rate_high"])


def horizon_text(row: Row) -> str:
    """Median horizon of a condition with its interval; what lies beyond T as `> T`."""
    if row["horizon_low"] == 0:  # fewer than six draws
        return f"{_steps(row['horizon'], row['n_steps'])} (no interval)"
    value, low, high = (
        _steps(row[name], row["n_steps"]) for name in ("horizon", "horizon_low", "horizon_high")
    )
    return f"{value} [{low}, {high}]"


def _steps(value: float, n_steps: int) -> str:
    return f"> {n_steps}" if np.isinf(value) else f"{value:.0f}"


def share_text(row: Row) -> str:
    """Share of growing draws with its interval, in percent."""
    value, low, high = (100 * row[name] for name in ("growing", "growing_low", "growing_high"))
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"


def fraction(eps: float) -> str:
    """Write eps as 1/1000 where it is one over a whole number."""
    inverse = 1 / eps
    return f"1/{inverse:.0f}" if abs(inverse - round(inverse)) < 1e-6 * inverse else f"{eps:g}"


def sample_size(table: pd.DataFrame) -> str:
    """Number of draws a condition, or its range."""
    least, most = int(table["n"].min()), int(table["n"].max())
    return f"n = {least}" if least == most else f"n = {least} to {most}"


# --- names -----------------------------------------------------------------------------------


def factor_label(name: str) -> str:
    """Name of a factor in words."""
    return LABELS.get(name, name)


def level_label(factor: str, value: Any) -> str:
    """One level of a factor in words; a name speaks for itself, a number needs its factor."""
    text = level_key(value)
    if factor == "input_variance" and text == "0":
        return "autonomous"
    if factor in ("spectral_radius", "gain") and not text:
        return f"{factor_label(factor)} as drawn"
    if isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_)):
        return f"{factor_label(factor)} = {text}"
    return text


def series_names(rows: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """Name of the series of each row; slices with one series take the name of its initializer."""
    chosen = list(factors) or [name for name in ("init",) if name in rows] or list(rows.columns[:1])
    names = [
        ", ".join(filter(None, (level_label(f, row[f]) for f in chosen)))
        for row in rows.to_dict("records")
    ]
    return [name or "default" for name in names]


def together(items: Sequence[str], word: str = "and") -> str:
    """Join words: a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def fixed_text(part: Part) -> str:
    """Sentence on the factors that the slice holds fixed."""
    shown = []
    for name, value in part.fixed.items():
        text = level_key(value)
        if text:
            shown.append(f"{factor_label(name)} {text}")
    return f"Held fixed: {', '.join(shown)}." if shown else ""


# --- sentences -------------------------------------------------------------------------------


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
    where = f"{_capital(part.where)} the" if part.where else "The"
    whose = f"with {series}"
    if part.shape.series in ((), ("init",)):
        whose = f"of a draw with {series} weights"
    start = f"{where} gradient {whose} "
    level = fraction(part.eps)
    if np.isinf(row["horizon"]):
        return (
            f"{start}stays above {level} of its size for all {row['n_steps']} steps in "
            f"{row['n_kept']} of {row['n']} draws, so the median horizon lies beyond "
            f"{row['n_steps']} [{_steps(row['horizon_low'], row['n_steps'])}, "
            f"{_steps(row['horizon_high'], row['n_steps'])}] steps (n = {row['n']})."
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
        said = [_compare_horizons(part.at_reference(), f"{_capital(part.where)} the")]
    return list(filter(None, said))


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


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


# --- tables ----------------------------------------------------------------------------------


def glance(part: Part) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the short table of a slice."""
    where = f" {part.where}" if part.where else ""
    head = ["series", "n", f"rate{where}", f"falls to {fraction(part.eps)} within", "growing"]
    with_roots = bool(part.critical)
    if with_roots:
        head.append(f"rate is zero at {part.x_label}")
    lines = []
    at = part.at_reference()
    for series in part.names:
        row = at[at["series"] == series]
        if row.empty:
            line = [series, "0", "not measured", "", ""]
        else:
            r = row.iloc[0]
            line = [series, str(r["n"]), rate_text(r), f"{horizon_text(r)} steps", share_text(r)]
        if with_roots:
            root = root_of(part, series)
            line.append("none in range" if root is None else root_text(root, part.rows(series)))
        lines.append(line)
    return head, lines


def summary_rows(
    summary: pd.DataFrame, factors: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of all conditions, in the words of the sentences."""
    head = [
        "condition",
        "slices",
        *(factor_label(f) for f in factors),
        "n",
        "median rate",
        "MC error",
        "quartiles",
        "exactly 0",
        "median horizon",
        "beyond T",
        "mean horizon to T",
        "growing",
        "vanish / explode / neither",
        "regime",
    ]
    lines = []
    for row in summary.to_dict("records"):
        lines.append(
            [
                str(row["condition"]),
                row["slices"],
                *(level_key(row[f]) or "none" for f in factors),
                str(row["n"]),
                rate_text(row),
                number(row["rate_se"], 5),
                f"{number(row['rate_q25'], 4)}, {number(row['rate_q75'], 4)}",
                str(row["n_zero"]),
                horizon_text(row),
                str(row["n_kept"]),
                interval(row["horizon_mean"], row["horizon_mean_low"], row["horizon_mean_high"]),
                share_text(row),
                f"{row['n_vanish']} / {row['n_explode']} / {row['n_neither']}",
                row["phase"],
            ]
        )
    return head, lines


# --- figures ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caption:
    """Words that go with one figure."""

    title: str
    caption: str
    how: str
    alt: str


def caption(kind: str, part: Part) -> Caption:
    """Words of a figure of `kind`: rate, decay, phase, horizon or share."""
    size = f"{sample_size(part.table)} draws a condition"
    against = f" against {part.x_label}" if part.shape.x else ""
    level = f"{100 * LEVEL:.0f} %"
    eps = fraction(part.eps)
    names = together(part.names)
    if kind == "rate":
        theory = ""
        if part.shape.x == "spectral_radius":
            theory = " Dashed: ln(spectral radius), the rate of a linear cell."
        return Caption(
            f"Vanishing rate{against}",
            f"Median rate (nats a step) with {level} order-statistic intervals; {size}.{theory}",
            "Below the zero line the median gradient vanishes, above it explodes. Series that "
            "coincide stand a hair apart.",
            f"Median vanishing rate{against} for {names}. {_alt_values(part, 'rate')}",
        )
    if kind == "decay":
        n_shown = int(min(part.table["n"].max(), N_BEHIND))
        return Caption(
            "Decay of the gradient over lag",
            f"Gradient norm relative to lag 0: thick, the median over draws (quenched) with its "
            f"simultaneous {level} band; thin, single draws (the first {n_shown}); {size}. "
            f"Dashed: eps = {part.eps:g}.",
            "Both axes are logarithmic. Where a curve crosses the dashed line lies its memory "
            "horizon; the window is the same in every panel and curves may leave it.",
            f"Gradient norm over lag for {names}, on logarithmic axes, with the line "
            f"eps = {part.eps:g}. {_alt_values(part, 'horizon')}",
        )
    if kind == "phase":
        counts = part.table["phase"].value_counts()
        tally = ", ".join(
            f"{int(counts.get(k, 0))} {k}" for k in ("vanishing", "stable", "exploding")
        )
        return Caption(
            "Vanishing, stable or exploding",
            f"Regime of the median draw, its rate (nats a step) in each cell; {size}. Stable: at "
            f"that rate the norm changes by less than a factor {_inverse(part.eps)} over T steps.",
            "Colour and sign give the regime of the point estimate: ▼ vanishing, ● stable, ▲ "
            "exploding. An empty cell was not measured.",
            f"Map of the regime of {names}{against}: {tally} of {len(part.table)} conditions.",
        )
    if kind == "horizon":
        return Caption(
            f"Memory horizon{against}",
            f"Kaplan-Meier median of the first lag at which the norm has fallen to {eps}, with "
            f"{level} log-log intervals; {size}; horizons are censored at T.",
            "Higher is a longer memory. An open marker with an arrow is a median beyond T: half of "
            "the draws or more have not fallen that far.",
            f"Median memory horizon{against} for {names}. {_alt_values(part, 'horizon')}",
        )
    return Caption(
        f"Share of growing draws{against}",
        f"Share of draws that grow: at their rate the norm reaches {_inverse(part.eps)} times its "
        f"size within T steps. With {level} Wilson intervals; {size}.",
        "0 %: no draw's gradient explodes; 100 %: every draw's does. In between, the fate depends "
        "on the draw.",
        f"Share of growing draws{against} for {names}. {_alt_values(part, 'growing')}",
    )


def _inverse(eps: float) -> str:
    return f"{1 / eps:g}"


def _alt_values(part: Part, column: str) -> str:
    """First and last value of every series, for readers who cannot see the figure."""
    writer = {"rate": rate_text, "horizon": horizon_text, "growing": share_text}[column]
    said = []
    for series in part.names:
        rows = part.rows(series)
        text = writer(rows.iloc[0])
        if part.shape.x and len(rows) > 1:
            last = rows.iloc[-1]
            first, end = part.at(rows.iloc[0]["x"]), part.at(last["x"])
            text = f"{text} at {first} to {writer(last)} at {end}"
        said.append(f"{series}: {text}")
    return "; ".join(said) + "."


# --- methods ---------------------------------------------------------------------------------


def measured(study: Any, n_conditions: int, sample: str, n_resamples: int) -> list[tuple[str, str]]:
    """What was measured, in six lines: aims, mechanism, estimands, methods, measures, variation."""
    window = study.measure.rate_window
    return [
        ("Aim", "How far back a gradient survives, where it begins to vanish, and what helps."),
        (
            "Data",
            f"{n_conditions} condition{'' if n_conditions == 1 else 's'}, {sample} draws "
            f"each: random weights, inputs, initial state and loss direction, seed "
            f"{study.seed}.",
        ),
        (
            "Estimands",
            "Median vanishing rate (nats a step), memory horizon to "
            f"{fraction(study.measure.eps)}, share of draws that explode, axis value of zero rate.",
        ),
        (
            "Methods",
            f"Slope of the log gradient norm over lags {window[0]:g} T to {window[1]:g} T; "
            "conditions of one size share their draws, so that differences are paired.",
        ),
        (
            "Measures",
            f"{100 * LEVEL:.0f} % intervals and Monte Carlo errors; {n_resamples} resamples of "
            "whole draws for the axis value of zero rate.",
        ),
        (
            "Variation",
            "Every interval covers draw to draw, and nothing else: no other size, input law or "
            "trained network.",
        ),
    ]


def methods(eps: float, window: Sequence[float], n_resamples: int) -> list[str]:
    """How every number was made, in paragraphs."""
    level = f"{100 * LEVEL:.0f} %"
    return [
        "A draw is one random recurrent matrix with its input weights, inputs, initial state and "
        "loss direction. The vanishing rate of a draw is the slope of the log gradient norm "
        f"against lag, fitted over lags from {window[0]:g} T to {window[1]:g} T, in nats (natural "
        "logarithm) a step. The memory horizon is the first lag at which the norm has fallen to "
        f"{fraction(eps)} of its value at lag 0; a draw that has not is censored at T. A gradient "
        f"that vanished exactly has the rate {MINUS}∞ and is counted, not dropped.",
        "Every interval covers the variation from draw to draw: weights, inputs, initial state and "
        "loss direction together. It does not cover other sizes, other inputs or trained networks. "
        f"All are {level} intervals for one number; they do not hold jointly unless said. Those of "
        "the steps gained hold together within one league table (Bonferroni over its remedies).",
        "Rates are medians over draws (quenched: of the logarithm, not of the norm) with "
        "distribution-free order-statistic intervals and Maritz-Jarrett Monte Carlo errors; below "
        "six draws there is no such interval. Horizons are Kaplan-Meier medians with log-log "
        "intervals, and means restricted to T with Greenwood errors. Shares carry Wilson "
        "intervals. Vanishing and exploding by 1/eps are competing events; the table counts which "
        "came first in each draw.",
        "The axis value of zero rate comes from the medians, made monotone and interpolated "
        "between the values measured, linearly in the logarithm of a positive axis; its "
        f"interval from {n_resamples} resamples of whole "
        "draws, the same ones at every value, so it does not cover the interpolation. Shifts "
        "between series are Hodges-Lehmann estimates "
        "with signed-rank intervals on pairs of equal draws. Overlapping intervals are reported as "
        "not told apart, which is no proof of equality.",
        f"A condition is stable if its median rate lies within ±ln(1/eps)/T, so that over T steps "
        f"the norm changes by less than a factor {_inverse(eps)}; otherwise it is vanishing or "
        "exploding.",
    ]


def provenance(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lines of the manifest that say where the numbers come from."""
    lines: list[tuple[str, str]] = []
    for key, value in manifest.items():
        if isinstance(value, Mapping):
            if key != "study":
                lines += [(f"{key}, {name}", text) for name, text in provenance(value)]
        elif value is not None and not isinstance(value, list):  # the parts are for programs
            lines.append((key, str(value)))
    return [(key.replace("_", " "), text) for key, text in lines]


def incomplete(planned: Mapping[int, int], found: Mapping[int, int]) -> str:
    """Say what is missing of a study that has not finished; empty if nothing is."""
    missing = [c for c in planned if not found.get(c)]
    short = [c for c, n in planned.items() if 0 < found.get(c, 0) < n]
    if not missing and not short:
        return ""
    total, have = sum(planned.values()), sum(min(found.get(c, 0), n) for c, n in planned.items())
    said = f"This study is not complete: {have} of {total} draws are there."
    if missing:
        said += f" {len(missing)} of {len(planned)} conditions have no draws and are left out."
    if short:
        said += f" {len(short)} have fewer draws than planned."
    return said + " Run the study again to go on; the report changes with it."
