"""Words that go with the figures of a slice."""

from __future__ import annotations

from dataclasses import dataclass

from vgcore.figures import N_BEHIND
from vgcore.report.part import Part, events_level
from vgcore.report.words import (
    fraction,
    horizon_text,
    inverse,
    rate_text,
    sample_size,
    share_text,
    together,
)
from vgcore.stats import LEVEL
from vgcore.study.store import MOST_CURVES

THEORY = {
    "linear": "ln(rho), exact for a linear cell",
    "mean field": "the band from mean field at the gain to ln(rho / gain) above it, which is the "
    "most that a finite N adds",
    "carry": "the rate along the gate alone, ln sigmoid(bias), which the weights add to; with "
    "chrono biases from the median unit to the slowest",
}


@dataclass(frozen=True)
class Caption:
    """Words that go with one figure."""

    title: str
    caption: str
    how: str
    alt: str


def caption(kind: str, part: Part) -> Caption:
    """Words of a figure of `kind`: rate, decay, phase, horizon, share or events."""
    size = f"{sample_size(part.table)} draws a condition"
    against = f" against {part.x_label}" if part.shape.x else ""
    level = f"{100 * LEVEL:.0f} %"
    eps = fraction(part.eps)
    names = together(part.names)
    if kind == "rate":
        theory = predicted(part)
        if part.shape.x == "spectral_radius":
            theory += " Dashed: ln(spectral radius), the rate of a linear cell."
        return Caption(
            f"Vanishing rate{against}",
            f"Median rate (nats a step) with {level} order-statistic intervals, the first "
            f"{_behind(part)} draws behind; {size}.{theory}",
            "Below the zero line the median gradient vanishes, above it explodes. Series that "
            "coincide stand a hair apart.",
            f"Median vanishing rate{against} for {names}. {_alt_values(part, 'rate')}",
        )
    if kind == "decay":
        n_most = int(part.table["n"].max())
        used = f" (of the first {MOST_CURVES:,} of them)" if n_most > MOST_CURVES else ""
        return Caption(
            "Decay of the gradient over lag",
            f"Gradient norm relative to lag 0: thick, the median over draws (quenched) with its "
            f"simultaneous {level} band{used}; thin, single draws (the first {_behind(part)}); "
            f"{size}. Dashed: eps = {part.eps:g}."
            f"{predicted(part, 'exp(rate lag) with the rate ')}",
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
            f"that rate the norm changes by less than a factor {inverse(part.eps)} over T steps.",
            "Colour and sign give the regime of the point estimate: ▼ vanishing, ● stable, ▲ "
            "exploding. An empty cell was not measured.",
            f"Map of the regime of {names}{against}: {tally} of {len(part.table)} conditions.",
        )
    if kind == "events":
        inverse_eps = inverse(part.eps)
        return Caption(
            "Which comes first, vanishing or exploding",
            f"Share of draws whose norm has fallen to {eps} (from below) or grown to {inverse_eps} "
            f"times its size (from above) by each lag, whichever came first: Aalen-Johansen "
            f"cumulative incidence with pointwise {level} intervals; {size}.{_where_of(part)}",
            "At each lag the three parts add up to all draws. White at the right end are the draws "
            "that did neither within T.",
            f"Cumulative incidence of vanishing and exploding over lag for {names}."
            f"{_where_of(part)}",
        )
    if kind == "horizon":
        return Caption(
            f"Memory horizon{against}",
            f"Kaplan-Meier median of the first lag at which the norm has fallen to {eps}, with "
            f"{level} log-log intervals, the first {_behind(part)} draws behind; {size}; horizons "
            f"are censored at T.{predicted(part, 'ln(eps) / rate with the rate ')}",
            "Higher is a longer memory. An open marker with an arrow is a median beyond T: half of "
            "the draws or more have not fallen that far.",
            f"Median memory horizon{against} for {names}. {_alt_values(part, 'horizon')}",
        )
    return Caption(
        f"Share of growing draws{against}",
        f"Share of draws that grow: at their rate the norm reaches {inverse(part.eps)} times its "
        f"size within T steps. With {level} Wilson intervals; {size}.{_predicted_share(part)}",
        "0 %: no draw's gradient explodes; 100 %: every draw's does. In between, the fate depends "
        "on the draw.",
        f"Share of growing draws{against} for {names}. {_alt_values(part, 'growing')}",
    )


def _where_of(part: Part) -> str:
    level = events_level(part)
    return "" if level is None else f" At {part.x_label} {part.at(level)}."


def _behind(part: Part) -> int:
    """Number of single draws in a figure."""
    return int(min(part.table["n"].max(), N_BEHIND))


def predicted(part: Part, what: str = "") -> str:
    """Say what theory is drawn in a figure, of which series, and of which there is none."""
    laws = part.table.groupby("series", sort=False)["theory"].agg(lambda law: sorted(set(law)))
    of: dict[str, list[str]] = {}
    for series in part.names:
        for law in laws[series]:
            of.setdefault(law, []).append(series)
    silent = of.pop("", [])
    if not of:
        return " No theory is known for these."
    known = [f"{THEORY[law]} ({together(names)})" for law, names in of.items()]
    partly = [name for name in silent if any(name in names for names in of.values())]
    wholly = [name for name in silent if name not in partly]
    none = f"; there is none for {together(wholly)}" if wholly else ""
    none += f"; elsewhere there is none for {together(partly)}" if partly else ""
    return f" Dotted: theory, {what}{'; '.join(known)}{none}."


def _predicted_share(part: Part) -> str:
    if part.table["growing_theory_low"].isna().all():
        return " Theory predicts no share here."
    return (
        " Dotted: theory, 0 or 100 % by whether the predicted rate is enough (left out where its "
        "band leaves that open, and for gated cells)"
        + (
            ", and the chance of such a radius for linear networks at their own scale."
            if part.table["growing_theory_low"].between(1e-9, 1 - 1e-9).any()
            else "."
        )
    )


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
