"""Rounds of a study that asks for a precision: which condition has it, and what to draw next.

All of it follows from the draws, and these from their address alone; so a run on any engine, or one
that was killed and goes on, makes the same rounds. `vgcore.stats.precision` has the rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vgcore.study.config import Precision, Study
from vgcore.study.plan import Chunk, PlannedCondition, conditions, cut

if TYPE_CHECKING:
    import pandas as pd

    from vgcore.stats import Estimate

COLUMNS = ("condition", "draw", "rate", "growing", "horizon", "censored")
"""Columns of the draws that the rules look at."""
_WORDS = {
    "rate": "the median vanishing rate, in nats per step",
    "growing": "the share of growing draws",
    "horizon_mean": "the restricted mean horizon, in steps",
}


@dataclass(frozen=True)
class Decision:
    """Where one condition stands with one rule.

    Attributes
    ----------
    condition : int
    rule : Precision
    n_draws : int
        Draws at the look that met the rule, or at the last look there was.
    half_width : float
        Half the width of the interval at that look.
    met : bool
    wanted : int
        Draws to have next; `n_draws` where drawing is over.
    """

    condition: int
    rule: Precision
    n_draws: int
    half_width: float
    met: bool
    wanted: int

    def plain(self) -> dict[str, Any]:
        """What the manifest says; the half width is None where there is no interval."""
        return {
            "condition": self.condition,
            "estimate": self.rule.estimate,
            "half_width": self.rule.half_width,
            "reached": self.half_width if math.isfinite(self.half_width) else None,
            "n_draws": self.n_draws,
            "met": self.met,
        }


def is_sequential(study: Study) -> bool:
    """Whether any of its slices asks for a precision."""
    return any(study.precision_of(part) is not None for part in study.slices)


def decisions(study: Study, draws: pd.DataFrame) -> list[Decision]:
    """What each condition that asks for a precision has reached, and what it needs.

    Parameters
    ----------
    study
        A study, whose slices may ask for precisions.
    draws
        Its draws so far, with the columns `COLUMNS`; from draw 0 on, none left out.

    Returns
    -------
    list of Decision
        One a condition and rule.
    """
    from vgcore import stats

    groups = dict(iter(draws.sort_values(["condition", "draw"]).groupby("condition")))
    found = []
    for planned in conditions(study):
        for rule in planned.rules:
            drawn = groups.get(planned.index, draws.iloc[:0])
            values, estimate = _estimator(rule, drawn, planned.condition.n_steps)
            looks = stats.Precision(rule.half_width, rule.least, rule.most, rule.growth)
            state = stats.progress(values, looks, estimate)
            low, high = state.estimate.low, state.estimate.high
            half = 0.0 if low == high else (high - low) / 2
            found.append(
                Decision(planned.index, rule, state.n, half, bool(state.met), state.wanted)
            )
    return found


def _estimator(
    rule: Precision, drawn: pd.DataFrame, n_steps: int
) -> tuple[npt.NDArray[Any], Callable[[npt.NDArray[Any], float], Estimate]]:
    """The values of each draw that a rule looks at, and what it estimates from them."""
    from vgcore import stats

    if rule.estimate == "rate":
        return drawn["rate"].to_numpy(np.float64), stats.median
    if rule.estimate == "growing":
        growing = drawn["growing"].to_numpy(bool)
        return growing, lambda v, level: stats.wilson(int(v.sum()), len(v), level)
    times = drawn[["horizon", "censored"]].to_numpy(np.float64)
    return times, lambda v, level: stats.restricted_mean(v[:, 0], v[:, 1] > 0, n_steps, level)


def next_round(
    study: Study, decided: list[Decision], draws: pd.DataFrame, first: int
) -> list[Chunk]:
    """Chunks of the draws that are wanted beyond those that there are; empty where none is.

    Parameters
    ----------
    study, decided, draws
        As `decisions` takes and returns them.
    first
        Number of the first of these chunks.
    """
    drawn = draws["condition"].value_counts()
    wanted: dict[int, int] = {}
    for one in decided:
        wanted[one.condition] = max(wanted.get(one.condition, 0), one.wanted)
    more: list[PlannedCondition] = [
        replace(planned, start=drawn[planned.index], n_draws=wanted[planned.index])
        for planned in conditions(study)
        if wanted.get(planned.index, 0) > drawn.get(planned.index, 0)
    ]
    return cut(more, first) if more else []


def sentences(study: Study, draws: pd.DataFrame) -> list[str]:
    """The rules of a study and what each needed, in words for its report; empty where it has none.

    Examples
    --------
    >>> import vgcore as vg
    >>> from vgcore.study.sequential import sentences
    >>> sentences(vg.load_study("smoke"), None)
    []
    """
    if not is_sequential(study):
        return []
    decided = decisions(study, draws)
    said = []
    for rule in dict.fromkeys(one.rule for one in decided):
        own = [one for one in decided if one.rule == rule]
        n = sorted(one.n_draws for one in own)
        short = [one for one in own if not one.met]
        text = (
            f"The number of draws was not fixed beforehand: after {rule.least} draws, and each "
            f"time that their number had grown by a factor of {rule.growth:g}, each of "
            f"{len(own):,} conditions was looked at, and drawn until half the width of the 95 % "
            f"interval of {_WORDS[rule.estimate]}, was at most {rule.half_width:g}, or until there "
            f"were {rule.most:,} draws. It took {n[0]:,} to {n[-1]:,} draws (median "
            f"{n[len(n) // 2]:,})."
        )
        if short:
            named = ", ".join(str(one.condition) for one in short[:5])
            text += (
                f" {len(short):,} of the conditions did not reach it (condition "
                f"{named}{', ...' if len(short) > 5 else ''})."
            )
        said.append(text)
    return said
