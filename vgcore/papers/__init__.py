"""The scoreboard: claims of the literature, measured, with a verdict computed from the interval.

    vgcore run papers

To add a claim, write one function in `vgcore.papers.claims` under `claim(...)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from vgcore.papers import claims, coverage, page
from vgcore.papers.table import CLAIMS, Claim, seed_of
from vgcore.study.files import results_folder

__all__ = ["CLAIMS", "Claim", "claims", "run"]


def run(
    out: str | Path, *, seed: int = 0, tell: Callable[[int, int, str], None] = lambda *_: None
) -> Path:
    """Measure every claim and the coverage table, and write the report.

    Parameters
    ----------
    out
        Folder of the report; made if it does not exist.
    seed
        Of all random numbers; each claim has numbers of its own.
    tell
        Called after each claim, and after the coverage table, with the number of those done, of
        all, and a line of text.

    Returns
    -------
    Path
        The HTML page.

    Raises
    ------
    OSError, vgcore.errors.StoreError
        The folder cannot be made or written.

    Examples
    --------
    >>> from vgcore import papers
    >>> papers.run("reports/papers")  # doctest: +SKIP
    PosixPath('reports/papers/report.html')
    """
    results_folder(Path(out))  # before minutes of measuring
    entries: list[page.Entry] = []
    jobs = len(CLAIMS) + 1
    for one in CLAIMS.values():
        started = time.monotonic()
        finding = one.measure(seed_of(one.name, seed))
        entries.append(page.Entry(one, finding, time.monotonic() - started))
        tell(len(entries), jobs, f"{one.name}: {entries[-1].measured}, {entries[-1].verdict}")
    covered = coverage.measure(seed)
    tell(jobs, jobs, "coverage of the intervals")
    return page.write(entries, covered, Path(out), seed)
