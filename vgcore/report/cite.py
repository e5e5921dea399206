"""What a paper needs of a report: BibTeX of the program and league tables in LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vgcore.report.tables import Table

TITLE = "vgcore: vanishing and exploding gradients in recurrent networks, measured"
AUTHOR = "The vgcore developers"

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}",
    "\N{MINUS SIGN}": "$-$", "\N{INFINITY}": r"$\infty$",
}  # fmt: skip


def bibtex(manifest: Mapping[str, Any]) -> str:
    """An entry for the program that measured, with its version and commit."""
    version = manifest.get("versions", {}).get("vgcore", "unknown")
    year = str(manifest.get("created", ""))[:4]
    fields = {"version": version, "year": year}
    if manifest.get("git_commit"):
        fields["note"] = f"commit {manifest['git_commit']}"
    # braces around the whole title and author: to be printed as they are
    lines = [f"  title = {{{{{TITLE}}}}},", f"  author = {{{{{AUTHOR}}}}},"]
    lines += [f"  {key} = {{{latex(value)}}}," for key, value in fields.items() if value]
    return "\n".join(["@software{vgcore,", *lines, "}"])


def latex(value: object) -> str:
    """Escape text for LaTeX."""
    return "".join(_LATEX.get(c, c) for c in " ".join(str(value).split()))


def latex_table(caption: str, table: Table, *, long: bool = False) -> str:
    """A table of a report in LaTeX; needs the package booktabs, over pages longtable too."""
    head, lines = table
    columns = f"{{{'l' * len(head)}}}"
    rows = [" & ".join(map(latex, line)) + r" \\" for line in lines]
    above = [r"\toprule", " & ".join(map(latex, head)) + r" \\", r"\midrule"]
    title = rf"\caption{{{latex(caption)}}}"
    if long:
        start = [rf"\begin{{longtable}}{columns}", title + r" \\", *above, r"\endhead"]
        return "\n".join([*start, *rows, r"\bottomrule", r"\end{longtable}"])
    start = [r"\begin{table}", title, rf"\begin{{tabular}}{columns}", *above]
    return "\n".join([*start, *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}"])
