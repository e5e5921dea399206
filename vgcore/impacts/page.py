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


def write(impacts: Mapping[str, Impact], out: Path, origin: Mapping[str, Any]) -> Path:
    """Write report.html, report.md, results.csv, manifest.json and figures/."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "manifest.json", json.dumps(origin, indent=2) + "\n")
    tables = [one.table.assign(experiment=name) for name, one in impacts.items()]
    whole = pd.concat(tables, ignore_index=True)
    whole.insert(0, "experiment", whole.pop("experiment"))
    write_text(out / "results.csv", whole.to_csv(index=False))
    figures = {
        name: embedded(drawn, out / "figures", name)
        for one in impacts.values()
        for name, drawn in one.figures.items()
    }
    content = {
        "impacts": impacts,
        "figures": figures,
        "rows": {name: shown(one.table) for name, one in impacts.items()},
        "provenance": origin,
    }
    return render(Path(__file__).parent, out, content)
