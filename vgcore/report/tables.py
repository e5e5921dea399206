"""Tables of a report: head and rows, every number with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from vgcore.report.part import Part
from vgcore.report.text import root_of, root_text
from vgcore.report.words import (
    factor_label,
    fraction,
    horizon_text,
    interval,
    number,
    rate_text,
    share_text,
)
from vgcore.stats import level_key

Table = tuple[list[str], list[list[str]]]


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
