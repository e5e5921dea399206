"""Interleaved timing: every implementation once a round, so that they meet the same machine.

A ratio is taken within each round and then over rounds, so what slows a whole round down cancels.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vgcore import stats

SHORTEST = 2e-3  # seconds: shorter work is repeated, since a call of the clock costs 1e-7 or so
SCREENED = 0.05
LEFT_BEHIND = 2.0  # an implementation this much slower than the fastest rival is timed once only
# Threads of OpenBLAS and OpenMP go on spinning after a product, some 0.1 s, and would take a core
# from whatever is timed next.
_WINDOW, _BUSY, _PATIENCE = 5e-3, 0.05, 0.5
# A core that has slept takes some 5 ms to take up a second thread, on a virtual machine at least:
# work below so many seconds is called once, without the clock, just before it is timed.
_AWAKE = 0.1


class Interval(NamedTuple):
    """A median with the ends of its 95 % interval; ends are nan below six values."""

    low: float
    value: float
    high: float


def median(values: Sequence[float], level: float = stats.LEVEL) -> Interval:
    """Median of timings with the order-statistic interval, which assumes no distribution.

    Examples
    --------
    >>> median([1, 2, 3, 4, 5, 6, 7, 8, 9])
    Interval(low=2.0, value=5.0, high=8.0)
    """
    found = stats.median(values, level)
    return Interval(found.low, found.value, found.high)


def ratio(above: Sequence[float], below: Sequence[float], level: float = stats.LEVEL) -> Interval:
    """Median of `above / below` taken round by round; rounds beyond the shorter one are left out.

    Examples
    --------
    >>> ratio([2, 4, 6, 8, 10, 12], [1, 2, 3, 4, 5, 6])
    Interval(low=2.0, value=2.0, high=2.0)
    """
    return median([a / b for a, b in zip(above, below, strict=False)], level)


def settle() -> None:
    """Wait until no thread of this process is running, at most half a second."""
    stop = time.perf_counter() + _PATIENCE
    while time.perf_counter() < stop:
        busy = time.process_time()
        time.sleep(_WINDOW)
        if time.process_time() - busy < _BUSY * _WINDOW:
            return


def seconds(work: Callable[[], object], number: int = 1) -> float:
    """Seconds that one call takes, the mean of `number` calls."""
    start = time.perf_counter()
    for _ in range(number):
        work()
    return (time.perf_counter() - start) / number


def interleaved(
    work: Mapping[str, Callable[[], object]], rounds: int, always: Sequence[str] = ()
) -> dict[str, list[float]]:
    """Time each callable once a round, in an order that changes from round to round.

    Parameters
    ----------
    work : mapping of str to callable
        Called once beforehand, which compiles and warms up.
    rounds : int
        How often each is timed.
    always : sequence of str
        Names that take part in every round. Of the others, rivals, those that take more than twice
        as long as the fastest of them in a first reading keep that one, and take part in no round.

    Returns
    -------
    dict of str to list of float
        Seconds a call, one entry a round, or a single entry for one left out.
    """
    first, number = {}, {}
    for name, call in work.items():
        call()
        settle()
        first[name] = seconds(call)
        if first[name] < SCREENED:  # one reading of short work may be far off
            first[name] = min(first[name], *(seconds(call) for _ in range(4)))
        number[name] = int(np.ceil(SHORTEST / max(first[name], 1e-9)))
    fastest = min((t for name, t in first.items() if name not in always), default=0.0)
    names = [n for n, t in first.items() if n in always or t <= LEFT_BEHIND * fastest]
    found = {name: [] if name in names else [first[name]] for name in work}
    order = random.Random(0)
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            settle()
            if first[name] < _AWAKE:
                work[name]()
            found[name].append(seconds(work[name], number[name]))
    return found
