"""Run the table of operations, and what only a full run measures beside it."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any

from vgcore import checks
from vgcore.bench import limits, processes, timing
from vgcore.bench.limits import Limits
from vgcore.bench.machine import machine, software
from vgcore.bench.operations import OPERATIONS, OURS, SIZES, Case, Operation, not_installed, table
from vgcore.bench.record import REFERENCE, Row, Run
from vgcore.environment import git_commit, thread_count

ROUNDS = 7  # the fewest that give a median a 97.5 % interval
THREADED = (Case(64, 256, 100, dtype="float32"), Case(64, 256, 100), Case(128, 64, 100))
DRAWS = (100, 1_000, 10_000, 100_000)


def measure(
    size: str = "minute",
    *,
    only: str | None = None,
    rounds: int = ROUNDS,
    say: Callable[[str], None] = lambda line: None,
) -> Run:
    """Time every operation of the table beside its peers, interleaved.

    Parameters
    ----------
    size
        "minute"; "smoke", which tells nothing but that all runs; "full", which adds the scaling
        with threads and draws, the times to start, and the profile of a study.
    only
        Name of an operation to time alone.
    rounds
        Rounds of each, at least 7.
    say
        Gets a line for each thing that is about to be measured.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        An unknown size or operation, too few rounds.

    Examples
    --------
    >>> run = measure("smoke", only="spectral_radius")
    >>> [row.key for row in run.rows]
    ['spectral_radius N=7, 5 draws, float64', 'spectral_radius N=19, 3 draws, float64']
    """
    checks.choice("size", size, SIZES)
    if only is not None:
        checks.choice("only", only, [operation.name for operation in OPERATIONS])
    rounds = checks.integer("rounds", rounds, least=ROUNDS)
    start = time.perf_counter()
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    commit = git_commit()  # of the code that is measured, whatever is edited meanwhile
    say("limits of the machine")
    brief: dict[str, Any] = {"rounds": 1, "length": 1e-3} if size == "smoke" else {}
    found = limits.measure(**brief)
    rows = []
    for operation, case in table(size, only):
        say(f"{operation.name} {case}")
        rows.append(measure_row(operation, case, rounds, found))
    extra = extras(say) if size == "full" and only is None else {}
    origin = {"began": began, "seconds": time.perf_counter() - start, "commit": commit}
    return Run(size, machine(), software(), origin, found, rows, not_installed(), extra)


def measure_row(operation: Operation, case: Case, rounds: int, found: Limits) -> Row:
    """Time one operation at one case, with all threads."""
    calls = operation.callables(case, operation.implementations())
    calls[REFERENCE] = limits.reference()
    seconds = timing.interleaved(calls, rounds, always=(OURS, REFERENCE))
    if operation.counts is None:
        return Row(operation.name, case, seconds)
    counts = operation.counts(case)
    bound = found.bound(case.dtype, counts.flop, counts.loads)
    tanh = counts.tanh / found.tanh[case.dtype]
    return Row(operation.name, case, seconds, counts.flop, counts.intensity, bound, tanh)


def extras(say: Callable[[str], None]) -> dict[str, Any]:
    """What a full run measures beside the table."""
    say("scaling with threads")
    threads = [thread_scaling(case) for case in THREADED]
    draws = []
    for n_draws in DRAWS:
        say(f"a study of {n_draws:,} draws")
        draws.append(processes.study(n_draws))
    say("starting cold and warm")
    starts = processes.starts()
    say("a whole study, stage by stage")
    return {
        "threads": threads,
        "draws": draws,
        "starts": starts,
        "study": processes.stages(),
    }


def thread_scaling(case: Case, rounds: int = ROUNDS) -> dict[str, Any]:
    """Seconds of `gradient_profile` with each number of threads, interleaved."""
    operation = OPERATIONS[0]
    counts = [str(n) for n in range(1, thread_count() + 1)]
    calls = {n: operation.callables(case, [OURS], n_threads=int(n))[OURS] for n in counts}
    return {
        "operation": operation.name,
        "case": case._asdict(),
        "seconds": timing.interleaved(calls, rounds, always=counts),
    }
