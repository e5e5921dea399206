"""Scaling with threads and draws, the time to start, and a whole study.

    pytest benchmarks/test_scaling.py

Each runs in a process of its own, or is long, so one round is enough.
"""

from __future__ import annotations

import pytest

from vgcore.bench import processes
from vgcore.bench.operations import OPERATIONS, OURS
from vgcore.bench.suite import THREADED
from vgcore.environment import thread_count


@pytest.mark.parametrize("n_threads", range(1, thread_count() + 1))
@pytest.mark.parametrize("case", THREADED, ids=str)
def test_threads(benchmark, case, n_threads):
    benchmark.group = f"threads, gradient_profile {case}"
    benchmark.extra_info.update(case._asdict(), threads=n_threads)
    call = OPERATIONS[0].callables(case, [OURS], n_threads)[OURS]
    benchmark.pedantic(call, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("n_draws", [100, 1_000, 10_000, 100_000])
def test_draws(benchmark, n_draws):
    """Time should grow in proportion, memory not at all: see `seconds` and `peak_bytes`."""
    benchmark.group = "draws, a study of N=16, T=200"
    if benchmark.disabled and n_draws > 1_000:
        pytest.skip("long, and the same code as for fewer draws")
    found = benchmark.pedantic(processes.study, args=(n_draws,), rounds=1)
    benchmark.extra_info.update(found)


@pytest.mark.parametrize("task", ["profile", "atlas"])
def test_start(benchmark, task):
    """Time a process with no compiled kernels, and with all: see `cold` and `warm`."""
    benchmark.group = "start"
    if benchmark.disabled and task == "atlas":
        pytest.skip("long, and the same code as for one profile")
    found = benchmark.pedantic(processes.start, args=(task, 1), rounds=1)
    benchmark.extra_info.update(found)


def test_import(benchmark):
    benchmark.group = "start"
    found = benchmark.pedantic(
        processes.run, args=("start",), rounds=1 if benchmark.disabled else 5
    )
    benchmark.extra_info.update(found)


def test_study(benchmark):
    """Run the atlas with few draws: see `spent` (thread seconds by stage) and `kernels`."""
    benchmark.group = "a whole study"
    found = benchmark.pedantic(processes.stages, args=(1 if benchmark.disabled else 4,), rounds=1)
    benchmark.extra_info.update(found)


@pytest.mark.parametrize("n_draws", [100_000, 1_000_000])
def test_memory(benchmark, n_draws):
    """A study with its tables and its report: `peak_bytes` should stay below 600 MB."""
    benchmark.group = "memory, a study of N=16, T=50 with its report"
    if benchmark.disabled:
        n_draws //= 10_000
    found = benchmark.pedantic(processes.run, args=("whole", str(n_draws)), rounds=1)
    benchmark.extra_info.update(found)


def test_plan(benchmark):
    """Plan 50,000 conditions: see `reading` and `planning`, seconds of a core."""
    benchmark.group = "planning"
    n_conditions = 500 if benchmark.disabled else 50_000
    found = benchmark.pedantic(processes.run, args=("planned", str(n_conditions)), rounds=1)
    benchmark.extra_info.update(found)
    assert found["conditions"] == n_conditions


def test_two_workers(benchmark):
    """Two workers against one, in turns: see `ratios`, which two free cores bring near 2."""
    benchmark.group = "two workers"
    found = benchmark.pedantic(
        processes.run, args=("workers", "1" if benchmark.disabled else "9"), rounds=1
    )
    benchmark.extra_info.update(found)
