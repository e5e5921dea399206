"""The impacts as one offline HTML page, as Markdown and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vgcore.figures import embedded
from vgcore.impacts.table import Impact, shown
from vgcore.papers.page import render
from vgcore.study.files import write_text


def write_tables(
    impacts: Mapping[str, Impact],
    nets: Mapping[str, pd.DataFrame],
    out: Path,
    origin: Mapping[str, Any],
) -> list[Path]:
    """Write manifest.json and the tables: results.csv, and NAME.csv of `nets`."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "manifest.json", json.dumps(origin, indent=2) + "\n")
    estimates = [one.table.assign(experiment=name) for name, one in impacts.items()]
    whole = pd.concat(estimates, ignore_index=True)
    whole.insert(0, "experiment", whole.pop("experiment"))
    written = []
    for name, table in {"results": whole, **nets}.items():
        written.append(out / f"{name}.csv")
        write_text(written[-1], table.to_csv(index=False))
    return written


def write(
    impacts: Mapping[str, Impact], tables: Sequence[Path], out: Path, origin: Mapping[str, Any]
) -> Path:
    """Write report.html, report.md and figures/ beside the tables.

    Figures of an earlier report that this one does not have are removed.
    """
    figures = {
        name: embedded(drawn, out / "figures", name)
        for one in impacts.values()
        for name, drawn in one.figures.items()
    }
    for old in (out / "figures").glob("*.[ps][nv]g"):
        if old.stem not in figures:
            old.unlink()
    content = {
        "impacts": impacts,
        "figures": figures,
        "rows": {name: shown(one.table) for name, one in impacts.items()},
        "tables": [path.name for path in tables],
        "provenance": origin,
    }
    return render(Path(__file__).parent, out, content)
