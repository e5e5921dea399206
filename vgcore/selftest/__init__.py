"""Does this installation compute what theory says? A table of identities and laws.

    vgcore selftest

Identities hold up to rounding, laws in the mean over random draws; a right program fails the whole
table with a chance below 1e-4 at any seed. To add a check, enter a function in `CHECKS` with
`vgcore.selftest.table.check`; to cover a cell, add it to `vgcore.selftest.cells.CASES`.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from vgcore import checks
from vgcore.selftest import cells, estimators, functions, initializers
from vgcore.selftest.table import ALARM, CHECKS, Check, Finding, alarm_limit
from vgcore.warm import own_file_names

__all__ = [
    "ALARM",
    "CHECKS",
    "Row",
    "cells",
    "estimators",
    "functions",
    "initializers",
    "rows",
    "run",
]


@dataclass(frozen=True)
class Row:
    """One check with what it found.

    Attributes
    ----------
    check, covers : str
    kind : str
        "error" for an identity, "z" for a law.
    measured, low, high, expected : float
        The value, its 95 % interval (both ends the value itself for an identity), what it should
        be. Where an identity compares many numbers these are the two that differ most.
    score, limit : float
        Error and tolerance, or z and the largest |z| that passes.
    fault : str
        What was raised, if the check could not be done; else empty.
    """

    check: str
    covers: str
    kind: str
    measured: float
    low: float
    high: float
    expected: float
    score: float
    limit: float
    fault: str = ""

    @property
    def passed(self) -> bool:
        """Whether the score is within its limit; what is not a number is not."""
        return abs(self.score) <= self.limit


def select(only: str = "") -> list[Check]:
    """Checks with a text in their name or in what they cover; all of them where it is empty."""
    found = [c for c in CHECKS.values() if only.lower() in f"{c.name} | {c.covers}".lower()]
    if not found:
        areas = sorted({c.covers for c in CHECKS.values()})
        raise ValueError(
            f"only: no check has {only!r} in its name or area; {checks.suggestion(only, areas)}"
        )
    return found


def run_check(one: Check, seed: int = 0) -> Row:
    """Do one check. What it raises is a finding, and no reason to leave out the others."""
    try:
        with np.errstate(all="ignore"):
            return _row(one, one.run(one.generator(seed)))
    except Exception as error:
        return _fault(one, error)


def _row(one: Check, found: Finding, fault: str = "") -> Row:
    # The limit counts the laws of the whole table, whichever of them are asked for.
    if one.statistical:
        found = dataclasses.replace(
            found, limit=alarm_limit(sum(c.statistical for c in CHECKS.values()))
        )
    return Row(one.name, one.covers, **dataclasses.asdict(found), fault=fault)


def _fault(one: Check, error: Exception) -> Row:
    kind = "z" if one.statistical else "error"
    return _row(one, Finding(kind, *[np.nan] * 5), f"{type(error).__name__}: {error}")


def rows(seed: int = 0, only: str = "", n_processes: int = 1) -> Iterator[Row]:
    """Do the checks as `run` does, and give each row as soon as those before it are done.

    Parameters
    ----------
    seed, only
        As in `run`.
    n_processes
        Areas are shared out among so many processes, as a process compiles one kernel at a time;
        in a script of your own, ask for more than one under `if __name__ == "__main__":` only.

    Examples
    --------
    >>> from vgcore import selftest
    >>> next(selftest.rows(only="spectral radius")).passed
    True
    """
    wanted = select(only)
    if n_processes == 1:
        yield from (run_check(one, seed) for one in wanted)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(n_processes, context, _begin_worker)
    try:
        areas: dict[str, Future[dict[str, Row]]] = {}
        for one in wanted:
            if one.covers not in areas:
                names = [other.name for other in wanted if other.covers == one.covers]
                areas[one.covers] = pool.submit(_run_checks, names, seed)
        for one in wanted:
            try:
                yield areas[one.covers].result()[one.name]
            except Exception as error:  # a kernel that ends its process
                yield _fault(one, error)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a Ctrl-C does not wait for the rest


def _run_checks(names: list[str], seed: int) -> dict[str, Row]:
    return {name: run_check(CHECKS[name], seed) for name in names}


def _begin_worker() -> None:
    """Leave Ctrl-C to the process that asks, and end with it however it ends."""
    own_file_names()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run(seed: int = 0, only: str = "") -> list[Row]:
    """Do the checks, in the order of the table.

    Parameters
    ----------
    seed
        Of all random numbers. A right program passes at every seed but for a chance below 1e-4.
    only
        Text in the name of the checks wanted, or in what they cover; empty for all.

    Returns
    -------
    list of Row

    Raises
    ------
    ValueError
        A negative seed; a text that no check has.

    Examples
    --------
    >>> from vgcore import selftest
    >>> all(row.passed for row in selftest.run(only="spectral radius"))
    True
    """
    return list(rows(checks.integer("seed", seed), only))
