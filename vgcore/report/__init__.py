"""Reports: what a study found, as one offline HTML page, as Markdown and as a table."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import markupsafe
import numpy as np
import pandas as pd
from PIL import Image

from vgcore import figures, stats
from vgcore.report import (
    calibration,
    captions,
    cite,
    detail,
    league,
    methods,
    predictions,
    tables,
    text,
    verdict,
    words,
)  # fmt: skip
from vgcore.report.part import Part, events_level
from vgcore.report.tables import Table
from vgcore.study import sequential
from vgcore.study.config import SIZES, Condition
from vgcore.study.files import write_text
from vgcore.study.plan import conditions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vgcore.study.store import Results

KINDS = ("decay", "rate", "phase", "horizon", "share", "events")
N_RESAMPLES = 1000
N_LEVELS = 5  # decay curves in one panel; more cross each other too often to be followed
WIDE = 8.0  # inches; wider figures take the whole width of the page
LARGEST_SVG = 50_000  # bytes; above it pixels go into the page, which stays under 3 MB


@dataclass(frozen=True)
class Drawing:
    """A figure on disk, with its words; a wide one takes the whole width of the page."""

    name: str
    kind: str
    wide: bool
    svg: Path
    png: Path
    words: captions.Caption

    @property
    def data_uri(self) -> str:
        """The figure itself, so that the page needs no other file."""
        if self.svg.stat().st_size > LARGEST_SVG:
            # WebP without loss: a fifth fewer bytes than PNG, and every browser reads it
            small = io.BytesIO()
            Image.open(self.png).convert("RGB").save(small, "WEBP", lossless=True, method=4)
            return f"data:image/webp;base64,{base64.b64encode(small.getvalue()).decode()}"
        return figures.svg_uri(self.svg)


@dataclass(frozen=True)
class Standings:
    """A league table of remedies, with its caption and what it says."""

    caption: str
    table: Table
    sentences: list[str]
    level: float | None
    found: pd.DataFrame


@dataclass(frozen=True)
class Theory:
    """Measured rates beside predicted ones."""

    sentences: list[str]
    table: Table
    drawing: Drawing


@dataclass(frozen=True)
class Section:
    """Everything a template shows of one slice."""

    part: Part
    drawings: list[Drawing]
    standings: list[Standings]
    legend: list[str]
    norms: pd.DataFrame
    comparisons: Table
    averages: Table
    warning: str


def write_report(results: Results, out: str | Path) -> Path:
    """Write the report of a study: report.html, report.md, summary.csv, league.csv and figures/.

    Parameters
    ----------
    results : Results
        What `load_results` returns; a study that is not complete yet is reported as such.
    out : str or Path
        Folder to write to; made if it does not exist.

    Returns
    -------
    Path
        The HTML page, which needs no other file and no network.

    Raises
    ------
    ValueError
        No draw has been measured yet.

    Examples
    --------
    >>> import vgcore as vg
    >>> results = vg.load_results("reports/atlas")  # doctest: +SKIP
    >>> vg.write_report(results, "reports/atlas")  # doctest: +SKIP
    PosixPath('reports/atlas/report.html')
    """
    out = Path(out)
    study, draws = results.study, results.draws
    if draws.empty:
        raise ValueError(
            f"results: found no draws of study {study.name!r}, expected at least one; run the "
            "study first"
        )
    out.mkdir(parents=True, exist_ok=True)
    eps = study.measure.eps
    belongs = results.slices.groupby("condition")["slice"].agg(", ".join)
    summary = stats.summarise(results.conditions, draws, eps=eps)
    summary.insert(1, "slices", summary["condition"].map(belongs))
    asked = {one.index: one for one in conditions(study)}
    planned = {index: one.condition for index, one in asked.items()}
    parts = _parts(results, summary.drop(columns="slices"), planned)
    compared = _compared(parts, draws)
    averages = detail.averages(draws, planned)
    sections = _sections(parts, results, planned, compared, averages, out / "figures")
    predicted = calibration.calibration(summary, planned)
    found = {
        "summary.csv": summary,
        "league.csv": _league_table(sections, compared),
        "comparisons.csv": compared.drop(columns="family"),
        "averages.csv": averages,
        "norms.csv": pd.concat([section.norms for section in sections], ignore_index=True),
        "theory.csv": predicted,
    }
    files = [name for name, table in found.items() if len(table)]
    for name in files:
        write_text(out / name, found[name].to_csv(index=False))
    latex = [
        cite.latex_table(f"{section.part.title}. {one.caption}", one.table)
        for section in sections
        for one in section.standings
    ]
    if len(predicted):
        caption = "Measured rates beside what theory predicts"
        theory_table = cite.latex_table(caption, calibration.table(predicted), long=True)
        write_text(out / "theory.tex", theory_table + "\n")
        files.append("theory.tex")
    factors = [str(f) for f in results.conditions if f != "condition"]
    varying = [f for f in factors if results.conditions[f].map(stats.level_key).nunique() > 1]
    script = (Path(__file__).parent / "page.js.j2").read_text("utf-8")
    content = {
        "study": study,
        "title": study.title or study.name,
        "sections": sections,
        "verdict": verdict.verdict(
            summary,
            parts,
            [(s.part, one.level, one.found) for s in sections for one in s.standings],
        ),
        "measured": methods.measured(study, len(summary), words.sample_size(summary), N_RESAMPLES),
        "answer": _answer(sections),
        "diverged": league.diverged(draws, planned),
        "incomplete": methods.incomplete(
            {index: one.n_draws for index, one in asked.items()}, _found(results)
        ),
        "theory": _theory(predicted, out / "figures"),
        "n_conditions": len(summary),
        "sample_size": words.sample_size(summary),
        "summary": tables.summary_rows(summary, varying),
        "methods": [
            *methods.methods(eps, study.measure.rate_window, N_RESAMPLES),
            *sequential.sentences(study, draws),
        ],
        "provenance": methods.provenance(results.manifest),
        "bibtex": cite.bibtex(results.manifest),
        "latex": latex,
        "command": results.manifest.get("command", ""),
        "files": files,
        "script": markupsafe.Markup(script),
        # the page's policy lets this script run and no other, whatever a study's texts say
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "level": f"{100 * stats.LEVEL:.0f} %",
        "text": text,
        "tables": tables,
        "detail": detail,
    }
    page, templates = out / "report.html", environment()
    write_text(page, templates.get_template("template.html.j2").render(content))
    markdown = templates.get_template("template.md.j2").render(content)
    write_text(out / "report.md", re.sub(r"\n{3,}", "\n\n", markdown))
    return page


def _parts(results: Results, summary: pd.DataFrame, known: Mapping[int, Condition]) -> list[Part]:
    """Facts of every slice that has draws, in the order of the study."""
    parts = []
    for part in results.study.slices:
        wanted = results.slices.loc[results.slices["slice"] == part.name, "condition"]
        planned = results.conditions[results.conditions["condition"].isin(wanted)]
        rows = summary[summary["condition"].isin(wanted)]
        if rows.empty:
            continue
        # The whole slice decides on its axis, so that a report does not change shape as it fills.
        shape = stats.layout(planned)
        # Conditions are numbered by first appearance in the whole study; quantities ascend.
        numeric = [f for f in shape.series if pd.api.types.is_numeric_dtype(planned[f])]
        rows = rows.sort_values([*numeric, "condition"])
        names = words.series_names(rows, shape.series)
        table, members = stats.slice_table(rows, names, shape, results.draws)
        table = predictions.with_theory(table, known, results.study.measure.eps)
        vary = {shape.x, *shape.series, "condition"}
        parts.append(
            Part(
                name=part.name,
                title=part.title or part.name,
                table=table,
                members=members,
                shape=shape,
                fixed={str(f): planned[f].iloc[0] for f in planned if f not in vary},
                reference=_reference(table, shape),
                critical=_critical(table, shape, results.draws, results.study.seed),
                shifts=_shifts(table, shape, results.draws),
                eps=results.study.measure.eps,
            )
        )
    return parts


def _reference(table: pd.DataFrame, shape: stats.Layout) -> float | None:
    """Value of the axis at which series are compared: near 0.9 for a scale, else the middle one."""
    if shape.x is None:
        return None
    shared = table.groupby("x")["series"].nunique()
    levels = shared[shared == shared.max()].index.to_numpy(dtype=np.float64)
    if shape.levels:
        return float(levels[0])
    if shape.x in ("spectral_radius", "gain"):
        return float(levels[np.argmin(np.abs(levels - 0.9))])
    return float(levels[len(levels) // 2])


def _critical(
    table: pd.DataFrame, shape: stats.Layout, draws: pd.DataFrame, seed: int
) -> dict[str, stats.Estimate]:
    """Axis value of zero rate for each series that has at least two values of the axis."""
    found = {}
    for series, rows in table.groupby("series", sort=False):
        if shape.x is None or shape.levels or len(rows) < 2:
            continue
        rates = stats.draw_matrix(draws, rows["condition"])
        if len(rates):
            found[str(series)] = stats.critical_value(
                rows["x"], rates, n_resamples=N_RESAMPLES, seed=seed
            )
    return found


def _shifts(
    table: pd.DataFrame, shape: stats.Layout, draws: pd.DataFrame
) -> dict[str, tuple[stats.Estimate, int]]:
    """Paired shifts from the first series at the reference, where series share their draws."""
    reference = _reference(table, shape)
    at = table if reference is None else table[table["x"] == reference]
    sizes = [name for name in SIZES if name in at]
    first, others = at.iloc[0], at.iloc[1:]
    # Conditions of other sizes have other draws: nothing pairs them.
    others = others[(others[sizes] == first[sizes]).all(axis=1)]
    level = 1 - (1 - stats.LEVEL) / max(len(others), 1)
    shifts = {}
    for series, condition in zip(others["series"], others["condition"], strict=True):
        shift, _, n = stats.paired_shift(draws, condition, first["condition"], level)
        if n:
            shifts[series] = shift, n
    return shifts


def _sections(
    parts: Sequence[Part],
    results: Results,
    planned: Mapping[int, Condition],
    compared: pd.DataFrame,
    averages: pd.DataFrame,
    folder: Path,
) -> list[Section]:
    """Draw the figures of every part, and make its tables."""
    sections = []
    n_gains = sum(max(len(part.names) - 1, 0) * len(league.levels(part)) for part in parts)
    for part in parts:
        drawings = []
        shown = _shown(part)
        curves = results.curves(pd.concat([shown["condition"], part.at_reference()["condition"]]))
        bands = stats.profile_bands(curves)
        for kind in KINDS:
            name = f"{part.name}-{kind}"
            figure = _figure(kind, part, parts, results.draws, curves, bands)
            if figure is None:
                continue
            wide = figure.get_figwidth() > WIDE
            svg, png = figures.save(figure, folder, name)
            drawings.append(Drawing(name, kind, wide, svg, png, captions.caption(kind, part)))
        mine = compared[compared["slice"] == part.name]
        sections.append(
            Section(
                part,
                drawings,
                _standings(part, results.draws, planned, n_gains),
                league.legend(part, planned),
                detail.lag_rows(part, bands),
                detail.comparison_table(part, mine),
                detail.average_table(part, averages),
                detail.dominated(part, averages),
            )
        )
    return sections


def _compared(parts: Sequence[Part], draws: pd.DataFrame) -> pd.DataFrame:
    """Every series beside the first of its slice on the same draws, corrected over all of them."""
    pairs = [detail.pairs(part, league.levels(part) or [part.reference]) for part in parts]
    return stats.comparisons(draws, pd.concat(pairs, ignore_index=True))


def _league_table(sections: Sequence[Section], compared: pd.DataFrame) -> pd.DataFrame:
    """All league tables in one, keys first, with the paired comparison of rates."""
    tables = [
        one.found.assign(slice=section.part.name, at=one.level)
        for section in sections
        for one in section.standings
    ]
    if not tables:
        return pd.DataFrame()
    found = pd.concat(tables, ignore_index=True)
    found["at"] = found["at"].astype(np.float64)
    added = [
        c
        for c in map(str, compared)
        if c.startswith(("shift", "above", "p")) or c in ("at", "slice")
    ]
    found = found.merge(
        compared[[*added, "series"]], on=["slice", "at", "series"], how="left", validate="1:1"
    )
    keys = ["slice", "at", "series"]
    return found[[*keys, *(name for name in found if name not in keys)]]


def _answer(sections: Sequence[Section]) -> list[tuple[str, list[str]]]:
    """What each slice says; one that compares remedies says it by its league tables."""
    said = text.answer([section.part for section in sections])
    return [
        (title, [line for one in section.standings for line in one.sentences] or lines)
        for section, (title, lines) in zip(sections, said, strict=True)
    ]


def _theory(found: pd.DataFrame, folder: Path) -> Theory | None:
    """What theory predicts, if it does of any condition."""
    if found.empty:
        return None
    figure = figures.calibration_figure(found)
    svg, png = figures.save(figure, folder, "calibration")
    caption = captions.Caption(
        "Measured against predicted rates",
        "Median rate of each condition with its interval against the band that theory predicts; "
        f"{len(found)} conditions, {words.sample_size(found)} draws each.",
        "On the line, measured and predicted are equal. Horizontal bars are the band of the "
        "prediction, which shrinks as N grows; open markers lie beside it by more than 3 standard "
        "errors and 1/T. Below, by how many standard errors (z; linear up to 3, then logarithmic).",
        f"Measured against predicted rates of {len(found)} conditions; "
        f"{int(found['agrees'].sum())} agree.",
    )
    drawing = Drawing("calibration", "calibration", True, svg, png, caption)
    return Theory(calibration.sentences(found), calibration.table(found), drawing)


def _standings(
    part: Part, draws: pd.DataFrame, planned: Mapping[int, Condition], n_gains: int
) -> list[Standings]:
    """League tables of a slice that compares remedies."""
    found = []
    for level in league.levels(part):
        rows = league.league(part, draws, planned, level, n_gains)
        where = "" if level is None else f" at {part.x_label} {part.at(level)}"
        caption = f"Remedies{where}, most steps gained first"
        said = league.sentences(part, rows, level)
        found.append(Standings(caption, league.table(rows), said, level, rows))
    return found


def _figure(
    kind: str,
    part: Part,
    parts: Sequence[Part],
    draws: pd.DataFrame,
    curves: pd.DataFrame,
    bands: pd.DataFrame,
) -> Figure | None:
    """One figure of a part; None where there is nothing to show."""
    styles = _styles(part, parts)
    if kind == "rate":
        theory = part.shape.x == "spectral_radius"
        return figures.rate_figure(
            part.table, styles=styles, x_label=part.x_label, theory=theory, draws=draws
        )
    if kind == "phase":
        return figures.phase_figure(part.table, x_label=part.x_label)
    if kind == "horizon":
        return figures.horizon_figure(part.table, styles=styles, x_label=part.x_label, draws=draws)
    if kind == "share":
        return figures.share_figure(part.table, styles=styles, x_label=part.x_label)
    if kind == "events":
        level = events_level(part)
        if level is not None and np.isnan(level):
            return None
        n_steps = int(part.table["n_steps"].max())
        return figures.events_figure(detail.incidences(part, level, draws), n_steps=n_steps)
    # One colour for one value in every slice with the same axis.
    same = [p.table["x"].dropna() for p in parts if p.shape.x == part.shape.x]
    scale = sorted(pd.concat(same).unique())
    colours = dict(zip(scale, figures.level_colours(len(scale)), strict=True))
    if part.shape.levels:
        named = figures.series_styles(part.shape.levels)
        colours = {float(i): named[level].colour for i, level in enumerate(part.shape.levels)}
    shown = _shown(part)
    return figures.decay_figure(
        shown,
        bands,
        curves,
        levels=sorted(shown["x"].dropna().unique()),
        level_colour=colours,
        styles=styles,
        x_label=part.x_label,
        eps=part.eps,
    )


def _shown(part: Part) -> pd.DataFrame:
    """Rows whose decay is drawn: all, or those at a few values of the axis."""
    levels = sorted(part.table["x"].dropna().unique())
    ranks = np.unique(np.linspace(0, len(levels) - 1, min(N_LEVELS, len(levels))).round())
    chosen = [levels[int(rank)] for rank in ranks] if levels else []
    return part.table if not chosen else part.table[part.table["x"].isin(chosen)]


def _styles(part: Part, parts: Sequence[Part]) -> dict[str, figures.Style]:
    """Styles of the series of a part, the same in every part whose series name the same factors."""
    same = [p for p in parts if p.shape.series == part.shape.series]
    names = list(dict.fromkeys(name for p in same for name in p.names))
    factors = part.shape.series
    ordered = len(factors) == 1 and pd.api.types.is_numeric_dtype(part.table[factors[0]])
    styles = figures.series_styles(names, ordered=ordered)
    return {name: styles[name] for name in part.names}


def _found(results: Results) -> Mapping[int, int]:
    """Number of draws that each condition has."""
    counts = results.draws["condition"].value_counts()
    return dict(zip(counts.index.tolist(), counts.tolist(), strict=True))


def _markdown(value: object) -> str:
    """Escape text for Markdown: nothing in a study may become markup on a forge."""
    plain = " ".join(str(value).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = re.sub(r"([\\`*|]|\](?=[(:\[]))", r"\\\1", plain)
    return re.sub(r"^([#+-])", r"\\\1", escaped)


def environment(*folders: Path) -> jinja2.Environment:
    """Templates of these folders and of this one, whose style and tables they share."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["md"] = _markdown
    return found
