"""`vgcore compare`: what changed between two folders of results, condition by condition."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vgcore import checks, figures, stats
from vgcore.report import environment
from vgcore.report.words import interval
from vgcore.stats.paired import PairwiseMeans, rate_differences
from vgcore.stats.two_samples import two_sample_shift
from vgcore.study import Results
from vgcore.study.files import results_folder, write_text

VERDICTS = ("improved", "worse", "within noise", "no change detected")
NOISE = 0.01
N_DRAWN = 30  # conditions in the figure, those that changed most surely


@dataclass(frozen=True)
class Changes:
    """Two folders of results, compared.

    Attributes
    ----------
    table : DataFrame
        A row a condition that both have: its ``label``, ``first`` and ``second`` (median rates,
        nats a step), ``change`` with ``change_low`` and ``change_high`` (one 95 % interval each),
        ``n`` (draws, pairs of them where ``paired``), ``p``, ``p_holm`` over all conditions, and
        ``verdict``, one of `VERDICTS`.
    only_first, only_second : int
        Conditions that one of the two lacks.
    paired : bool
        Whether draws of equal number share their random numbers, as they do under one seed.
    noise : float
        As given.
    """

    first: Path
    second: Path
    table: pd.DataFrame
    only_first: int
    only_second: int
    paired: bool
    noise: float

    def count(self, verdict: str) -> int:
        """Number of conditions with a verdict."""
        return int((self.table["verdict"] == verdict).sum())

    @property
    def verdict(self) -> str:
        """All of it in a sentence."""
        if set(self.table["verdict"]) == {"no change detected"}:
            return f"no change detected in any of {len(self.table)} conditions"
        counts = [f"{self.count(v)} {v}" for v in VERDICTS if self.count(v)]
        return f"{', '.join(counts)}, of {len(self.table)} conditions"


def compare(first: Results, second: Results, *, noise: float = NOISE) -> Changes:
    """Compare the rates of the conditions that two folders share.

    A change is improved where it takes the median rate nearer to zero, at which a gradient neither
    vanishes nor explodes, and worse where it takes it away from there.

    Parameters
    ----------
    first, second
        Results; the change is that from the first to the second.
    noise
        Changes of less than this share of the larger of the first median rate and ln(1/eps)/T are
        within noise, however sure.

    Returns
    -------
    Changes

    Raises
    ------
    ValueError
        Folders without a common condition, or of another eps.

    Notes
    -----
    Hodges-Lehmann shifts: of differences draw by draw with the signed-rank test where the seed is
    the same, else of two samples with the Mann-Whitney test. p-values are Holm's over all
    conditions, so that with 95 % no verdict at all is a false alarm.
    """
    noise = checks.number("noise", noise, least=0.0)
    eps = first.study.measure.eps
    if eps != second.study.measure.eps:
        raise ValueError(
            f"second: found eps = {second.study.measure.eps:g}, and {eps:g} in the first; "
            "horizons and noise are those of one eps"
        )
    keys = [str(name) for name in first.conditions if name != "condition"]
    known = [_keyed(one.conditions, keys) for one in (first, second)]
    shared = [key for key in known[0] if key in known[1]]
    if not shared:
        raise ValueError(
            f"second: found no condition that {first.folder} has too; compare two runs of one study"
        )
    paired = first.study.seed == second.study.seed
    rates = [one.draws.set_index(["condition", "draw"])["rate"] for one in (first, second)]
    varying = [name for name in keys if first.conditions[name].map(stats.level_key).nunique() > 1]
    factors = first.conditions.set_index("condition").to_dict("index")
    rows = []
    for key in shared:
        before, after = (
            rate.loc[table[key]].dropna() for rate, table in zip(rates, known, strict=True)
        )
        own = factors[known[0][key]]
        rows.append(
            {
                "condition": known[0][key],
                "label": ", ".join(f"{name.replace('_', ' ')} {own[name]}" for name in varying)
                or "the one condition",
                "n_steps": own["n_steps"],
                **_change(before, after, paired),
            }
        )
    table = pd.DataFrame(rows)
    table["p_holm"] = stats.holm(table["p"].fillna(1.0))
    scale = np.maximum(table["first"].abs(), np.log(1 / eps) / table["n_steps"])
    sure = (table["p_holm"] <= 1 - stats.LEVEL) & (table["change"] != 0.0)
    nearer = (table["first"] + table["change"]).abs() < table["first"].abs()
    table["verdict"] = np.select(
        [~sure, table["change"].abs() <= noise * scale, nearer],
        ["no change detected", "within noise", "improved"],
        "worse",
    )
    return Changes(
        first.folder,
        second.folder,
        table,
        len(known[0]) - len(shared),
        len(known[1]) - len(shared),
        paired,
        noise,
    )


def _keyed(conditions: pd.DataFrame, keys: list[str]) -> dict[tuple[str, ...], int]:
    """Numbers of conditions by the values of all their factors."""
    values = conditions[keys].map(stats.level_key)
    numbers = conditions["condition"].astype(int)
    return dict(zip(values.itertuples(index=False, name=None), numbers, strict=True))


def _change(before: pd.Series, after: pd.Series, paired: bool) -> dict[str, float]:
    """Medians of two conditions, the shift between them and its test."""
    found = {"first": float(before.median()), "second": float(after.median())}
    if paired:
        both = pd.concat([before, after], axis=1, keys=["before", "after"], join="inner")
        means = PairwiseMeans(rate_differences(both["after"], both["before"]))
        shift, p, n = means.estimate(stats.LEVEL), means.p_value(), len(both)
    else:
        shift, p = two_sample_shift(after, before)
        n = min(len(before), len(after))
    shares = {"change": shift.value, "change_low": shift.low, "change_high": shift.high}
    return found | shares | {"n": n, "p": p}


def write_changes(changes: Changes, out: Path) -> Path:
    """Write compare.html, changes.csv and the figure; return the path of the page."""
    results_folder(out)
    write_text(out / "changes.csv", changes.table.to_csv(index=False))
    shown = changes.table.sort_values("p_holm", kind="stable").head(N_DRAWN)
    drawn = figures.changes_figure(shown.iloc[::-1])
    rows = [
        [
            row["label"],
            f"{row['first']:.4g}",
            f"{row['second']:.4g}",
            interval(row["change"], row["change_low"], row["change_high"]),
            str(row["n"]),
            f"{row['p_holm']:.2g}",
            row["verdict"],
        ]
        for row in changes.table.to_dict("records")
    ]
    template = environment(Path(__file__).parent).get_template("compare.html.j2")
    page = template.render(
        changes=changes,
        rows=rows,
        figure=figures.embedded(drawn, out / "figures", "changes"),
        n_drawn=len(shown),
        level=f"{100 * stats.LEVEL:.0f} %",
    )
    path = out / "compare.html"
    write_text(path, page)
    return path


def plain(changes: Changes) -> dict[str, Any]:
    """The comparison as JSON has it."""
    return {
        "first": str(changes.first),
        "second": str(changes.second),
        "verdict": changes.verdict,
        "counts": {verdict: changes.count(verdict) for verdict in VERDICTS},
        "only_first": changes.only_first,
        "only_second": changes.only_second,
        "paired": changes.paired,
        "noise": changes.noise,
        "conditions": json.loads(changes.table.to_json(orient="records")),
    }
