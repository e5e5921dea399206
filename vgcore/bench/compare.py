"""Whether a kernel became faster or slower: change of its time, with an interval and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vgcore.bench import timing
from vgcore.bench.operations import OURS
from vgcore.bench.record import REFERENCE, Run
from vgcore.bench.timing import Interval
from vgcore.errors import StoreError

STORED_NOISE = 0.05  # what two runs of the same code differ by, at times, though each is precise
PAIRED_NOISE = 0.02  # the same of two processes in turns


class Change(NamedTuple):
    """Time of one operation now over that before: below 1 is faster."""

    key: str
    time: Interval
    verdict: str


def verdict(change: Interval, noise: float) -> str:
    """Name a change of time, one of faster, slower and no change.

    Examples
    --------
    >>> verdict(Interval(0.7, 0.8, 0.9), 0.05)
    'faster'
    >>> verdict(Interval(0.98, 1.04, 1.1), 0.05)
    'no change beyond noise'
    """
    if change.high < 1 - noise:
        return "faster"
    return "slower" if change.low > 1 + noise else "no change beyond noise"


def check(old: Run, source: str, machine: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Refuse to compare a stored run with one of this machine and these benchmarks.

    Raises
    ------
    StoreError
        `old` is of another machine, or has no benchmark in common.
    """
    different = [
        f"{name}: {old.machine.get(name)} there, {value} here"
        for name, value in machine.items()
        if old.machine.get(name) != value
    ]
    if different:
        raise StoreError(
            f"{source}: measured on another machine ({'; '.join(different)}); times of different "
            "machines say nothing about the code. Measure the old version here, or use --against"
        )
    if {row.key for row in old.rows}.isdisjoint(keys):
        raise StoreError(f"{source}: of size {old.size}, has no benchmark in common with this run")


def against_stored(new: Run, old: Run, source: str) -> list[Change]:
    """Compare two runs at the operations that both have.

    Both are divided, round by round, by the reference that was timed beside them, since the machine
    may be in another state today. Each median has a 97.5 % interval, and the quotient takes the
    ends that are furthest apart, so it holds with at least 95 %.

    Raises
    ------
    StoreError
        As `check`.
    """
    check(old, source, new.machine, [row.key for row in new.rows])
    before = {row.key: row for row in old.rows}
    changes = []
    for row in new.rows:
        if row.key not in before:
            continue
        a, b = (
            timing.ratio(r.seconds[OURS], r.seconds[REFERENCE], level=0.975)
            for r in (row, before[row.key])
        )
        time = Interval(a.low / b.high, a.value / b.value, a.high / b.low)
        changes.append(Change(row.key, time, verdict(time, STORED_NOISE)))
    return changes


def paired(key: str, now: Sequence[float], before: Sequence[float]) -> Change:
    """Compare two checkouts timed in turns."""
    time = timing.ratio(now, before)
    return Change(key, time, verdict(time, PAIRED_NOISE))


def summary(changes: Sequence[Change]) -> str:
    """One sentence on all of it.

    Examples
    --------
    >>> summary([Change("spectral_radius N=8", Interval(0.5, 0.6, 0.7), "faster")])
    'faster: 1 of 1 benchmarks, and none slower'
    """
    n = len(changes)
    faster = sum(change.verdict == "faster" for change in changes)
    slower = sum(change.verdict == "slower" for change in changes)
    if slower:
        also = f" ({faster} faster)" if faster else ""
        return f"slower: {slower} of {n} benchmarks{also}"
    if faster:
        return f"faster: {faster} of {n} benchmarks, and none slower"
    return f"no change beyond noise in {n} benchmarks"
