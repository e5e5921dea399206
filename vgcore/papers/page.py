"""The scoreboard as one offline HTML page, as Markdown and as a table."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import figure as mpl_figure
from matplotlib import rc_context
from matplotlib.ticker import FuncFormatter, NullFormatter

from vgcore import environment, report
from vgcore.figures import PALETTE, RC, embedded
from vgcore.papers.coverage import Coverage
from vgcore.papers.table import Claim, Figure, Finding, verdict
from vgcore.study.files import write_text

VERDICTS = ("reproduced", "not reproduced", "not resolvable at this size")


@dataclass(frozen=True)
class Entry:
    """A claim with what was found, and the seconds it took."""

    claim: Claim
    finding: Finding
    seconds: float

    @property
    def verdict(self) -> str:
        return verdict(self.finding.measured, self.finding.accept)

    @property
    def reason(self) -> str:
        """Why not, where it is not reproduced."""
        return "" if self.verdict == VERDICTS[0] else self.finding.reason

    @property
    def measured(self) -> str:
        found = self.finding.measured
        return f"{_short(found.value)} [{_short(found.low)}, {_short(found.high)}]"

    @property
    def expected(self) -> str:
        return _short(self.finding.expected)

    @property
    def accepted(self) -> str:
        low, high = self.finding.accept
        return f"at least {_short(low)}" if high == math.inf else f"{_short(low)} to {_short(high)}"

    def row(self) -> dict[str, Any]:
        """One row of summary.csv."""
        found = self.finding
        return {
            "claim": self.claim.name, "paper": self.claim.paper, "source": self.claim.source,
            "statement": self.claim.statement, "setting": found.setting,
            "expected": found.expected, "accept_low": found.accept[0],
            "accept_high": found.accept[1], "measured": found.measured.value,
            "low": found.measured.low, "high": found.measured.high, "se": found.measured.se,
            "verdict": self.verdict, "reason": self.reason,
        }  # fmt: skip


def _short(value: float) -> str:
    """Four digits; what is rounding error is shown as such."""
    return "0" if value == 0 else f"{value:.4g}"


def draw(figure: Figure) -> mpl_figure.Figure:
    """The figure of a claim: points with intervals, dashed lines of theory."""
    with rc_context(RC):
        drawn = mpl_figure.Figure(figsize=(5.6, 3.6), layout="constrained")
        ax = drawn.subplots()
        measured = 0
        for series in figure.series:
            x, y = np.asarray(series.x, float), np.asarray(series.y, float)
            if series.theory:
                ax.plot(x, y, "--", color="#333333", linewidth=1.3, label=series.label, zorder=1)
                continue
            colour, marker = PALETTE[(0, 2, 3, 4, 5, 6, 1, 7, 8, 9, 10, 11)[measured % 12]]
            measured += 1
            if len(x) > 50:
                ax.plot(x, y, ".", color=colour, markersize=3, alpha=0.6, label=series.label)
                continue
            if len(series.low):
                band = np.array([series.low, series.high], float)
                if len(x) > 12:
                    ax.fill_between(x, *band, color=colour, alpha=0.2, linewidth=0)
                else:
                    ax.errorbar(x, y, np.maximum([y - band[0], band[1] - y], 0), color=colour,
                                linestyle="none", capsize=3, linewidth=1.2)  # fmt: skip
            ax.plot(x, y, color=colour, linewidth=1.2, marker=marker, markersize=4,
                    label=series.label)  # fmt: skip
        ax.set_xlabel(figure.x_label)
        ax.set_ylabel(figure.y_label)
        if figure.x_log:
            ax.set_xscale("log")
        if figure.y_log:
            ax.set_yscale("log")
        for axis, is_log in ((ax.xaxis, figure.x_log), (ax.yaxis, figure.y_log)):
            if is_log:  # powers of ten would need the mathematics that figures leave off
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(NullFormatter())
        drawn.legend(
            *ax.get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=8.5
        )
    return drawn


def provenance(out: Path, run: str, seed: int, seconds: float) -> dict[str, Any]:
    """Where the numbers of `vgcore run RUN` come from, also written to manifest.json.

    Asked before a report is written, which would make a checkout differ from its commit.
    """
    found = {"run": run, **environment.describe(), "seed": seed, "seconds": round(seconds, 1)}
    found.pop("compile_cache")
    write_text(out / "manifest.json", json.dumps(found, indent=2) + "\n")
    return found


def render(templates: Path, out: Path, content: dict[str, Any]) -> Path:
    """Write report.html and report.md from page.html.j2 and page.md.j2 of a folder."""
    known = report.environment(templates, Path(__file__).parent)
    for kind in ("html", "md"):
        page = known.get_template(f"page.{kind}.j2").render(content)
        write_text(out / f"report.{kind}", page)
    return out / "report.html"


def write(entries: Sequence[Entry], coverage: Sequence[Coverage], out: Path, seed: int) -> Path:
    """Write report.html, report.md, summary.csv, coverage.csv, manifest.json and figures/."""
    out.mkdir(parents=True, exist_ok=True)
    origin = provenance(out, "papers", seed, sum(e.seconds for e in entries))
    figures = {
        e.claim.name: embedded(draw(e.finding.figure), out / "figures", e.claim.name)
        for e in entries
    }
    rows = pd.DataFrame([e.row() for e in entries])
    write_text(out / "summary.csv", rows.to_csv(index=False))
    table = pd.DataFrame([
        {**dataclasses.asdict(c), **dict(zip(("share", "low", "high", "se"), c.share))}
        for c in coverage
    ])  # fmt: skip
    write_text(out / "coverage.csv", table.to_csv(index=False))
    content = {
        "entries": entries, "coverage": coverage, "figures": figures,
        "counts": {name: sum(e.verdict == name for e in entries) for name in VERDICTS},
        "provenance": origin,
    }  # fmt: skip
    return render(Path(__file__).parent, out, content)
