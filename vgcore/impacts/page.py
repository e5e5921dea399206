"""The impacts as one offline HTML page, as Markdown and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from vgcore.figures import embedded
from vgcore.impacts.table import Impact, shown
from vgcore.papers.page import render
from vgcore.study.files import write_text


def write(
    impacts: Mapping[str, Impact],
    nets: Mapping[str, pd.DataFrame],
    out: Path,
    origin: Mapping[str, Any],
) -> Path:
    """Write report.html, report.md, manifest.json, figures/, results.csv, and NAME.csv of `nets`.

    Figures of an earlier report that this one does not have are removed.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "manifest.json", json.dumps(origin, indent=2) + "\n")
    estimates = [one.table.assign(experiment=name) for name, one in impacts.items()]
    whole = pd.concat(estimates, ignore_index=True)
    whole.insert(0, "experiment", whole.pop("experiment"))
    tables = {"results": whole, **nets}
    for name, table in tables.items():
        write_text(out / f"{name}.csv", table.to_csv(index=False))
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
        "tables": [f"{name}.csv" for name in tables],
        "provenance": origin,
    }
    return render(Path(__file__).parent, out, content)
