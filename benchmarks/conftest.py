"""What every benchmark shares: the machine, its limits, and how an operation is timed."""

from __future__ import annotations

import pytest

from vgcore.bench import limits, machine, operations, peers
from vgcore.bench.operations import OURS


def pytest_benchmark_update_machine_info(config, machine_info):
    """Say on what machine, with how many threads and which libraries."""
    machine_info["vgcore"] = {**machine.machine(), **machine.software()}


def pytest_generate_tests(metafunc):
    """Give a test that takes `operation`, `case` and `implementation` the whole table.

    Without timing (--benchmark-disable) the sizes are tiny.
    """
    if "implementation" in metafunc.fixturenames:
        names = metafunc.module.OPERATIONS
        size = "smoke" if metafunc.config.getoption("benchmark_disable") else "minute"
        found = [
            pytest.param(operation, case, name, id=f"{operation.name} {case} {name}")
            for operation, case in operations.table(size)
            if operation.name in names
            for name in (OURS, *operation.peers)
        ]
        metafunc.parametrize(("operation", "case", "implementation"), found)


@pytest.fixture(scope="session")
def machine_limits(request):
    """The limits of the machine, measured once in this run."""
    brief = {"rounds": 1, "length": 1e-3}
    return limits.measure(**(brief if request.config.getoption("benchmark_disable") else {}))


@pytest.fixture
def time_operation(benchmark, machine_limits):
    """Time one implementation of an operation, and say what its time amounts to."""

    def run(operation, case, implementation):
        if implementation != OURS and not peers.available(implementation):
            pytest.skip(f"{implementation} is not installed")
        benchmark.group = f"{operation.name} {case}"
        call = operation.callables(case, [implementation])[implementation]
        benchmark.pedantic(call, rounds=5, warmup_rounds=1)
        benchmark.extra_info.update(case._asdict(), threads=machine_limits.n_threads)
        if benchmark.disabled:
            return
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["draws_per_second"] = case.n_draws / seconds
        if operation.counts is not None:
            counts = operation.counts(case)
            bound = machine_limits.bound(case.dtype, counts.flop, counts.loads)
            rate = counts.flop / seconds
            benchmark.extra_info.update(
                gflops=rate / 1e9,
                limit=bound.name,
                limit_gflops=bound.flops / 1e9,
                fraction_of_limit=rate / bound.flops,
            )

    return run
