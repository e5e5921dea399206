"""How the numbers of a report were made, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vgcore.report.words import MINUS, fraction, inverse
from vgcore.stats import LEVEL


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
        "loss direction, a random one of the units (for an LSTM of h, which is what training "
        "reads; a loss on its cells too, as vgcore.gradient_profile draws it by itself, is felt "
        "some steps longer). The vanishing rate of a draw is the slope of the log gradient norm "
        f"against lag, fitted over lags from {window[0]:g} T to {window[1]:g} T, in nats (natural "
        "logarithm) a step. The memory horizon is the first lag at which the norm has fallen to "
        f"{fraction(eps)} of its value at lag 0; a draw that has not is censored at T. A gradient "
        f"that vanished exactly has the rate {MINUS}∞ and is counted, not dropped.",
        "Every interval covers the variation from draw to draw: weights, inputs, initial state and "
        "loss direction together. It does not cover other sizes, other inputs or trained networks. "
        f"All are {level} intervals for one number; they do not hold jointly unless said. Those of "
        "the steps gained hold together over all league tables (Bonferroni), so that the best "
        "remedy may be picked from them.",
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
        "with signed-rank intervals on pairs of equal draws; their p-values (signed-rank) are "
        "corrected by Holm within one table and by Benjamini-Hochberg over all tables of the "
        "report. The probability of improvement is the share of pairs with the larger rate, ties "
        "half, with a score interval; against exploding it is the smaller rate that improves. "
        "Overlapping intervals are reported as "
        "not told apart, which is no proof of equality.",
        f"A condition is stable if its median rate lies within ±ln(1/eps)/T, so that over T steps "
        f"the norm changes by less than a factor {inverse(eps)}; otherwise it is vanishing or "
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
