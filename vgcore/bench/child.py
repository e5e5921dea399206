"""What the benchmarks run in a process of its own: `python child.py TASK ARGUMENT...`.

Each task prints one line of JSON, the last of its output. Started by path with another checkout on
PYTHONPATH, this file runs the benchmarks of its own checkout on the kernels of the other.
"""

from __future__ import annotations

import sys
import time

START = time.perf_counter()

import json  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import types  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

# What a study spends its time on: names in `vgcore.study.measure`, and what they are called; the
# remedies that work on gradients and matrices, names in `vgcore.remedies`; and what a worker does.
KERNELS = {"gradient_profile": "gradient_profile", "spectral_radius": "spectral_radius"}
REMEDIES = ("truncation", "clipping", "penalised_descent")
REMEDY = "remedies"
STAGES = KERNELS | {
    "sample_block": "drawing weights",
    "normal_block": "drawing inputs and states",
    "unit_loss_gradients": "drawing loss gradients",
}
REST = "rates, horizons and tables"
WRITING = "writing parts"


def start() -> dict[str, float]:
    """Import vgcore, and no more."""
    import vgcore

    assert vgcore.__version__
    return {"import": time.perf_counter() - START}


def profile() -> dict[str, float]:
    """Import vgcore and profile the gradient of one small draw."""
    import vgcore as vg

    vg.gradient_profile(vg.RNN.draw(1, 32, rng=1), 2, rng=2)
    return {"seconds": time.perf_counter() - START}


def atlas() -> dict[str, float]:
    """Measure one draw of two steps for each kind of condition in the atlas: all it compiles.

    As `run_study` does, in two processes where there are two cores.
    """
    from vgcore.study import load_study
    from vgcore.study.measure import measure, rehearsals
    from vgcore.study.plan import conditions
    from vgcore.warm import rehearse

    study = load_study("atlas")
    planned = [one.condition for one in conditions(study)]
    rehearse(rehearsals(planned, study.measure))
    kinds = {}
    for c in planned:
        small = c.model_copy(update={"n_steps": 2, "burn_in": 0})
        key = c.cell, c.remedy, c.init, c.activation, c.dtype, c.n_hidden, c.n_trajectories
        kinds[key] = small
    for condition in kinds.values():
        measure(condition, study.measure, study.seed, 0, 1)
    return {"seconds": time.perf_counter() - START}


def study(n_draws: str) -> dict[str, float]:
    """Run a study of small networks; its time, and the most memory that this process took.

    With one worker: a second one, which few draws do not need, has memory of its own.
    """
    text = f"""
name = "draws"
n_draws = {int(n_draws)}
[defaults]
n_hidden = 16
n_steps = 200
burn_in = 0
[[slice]]
name = "one"
[slice.grid]
spectral_radius = [1.0]
"""
    profile()  # compiling is not part of it
    _run(text.replace(str(int(n_draws)), "16"), n_workers=1)
    began = time.perf_counter()
    _run(text, n_workers=1)
    seconds = time.perf_counter() - began
    return {"draws": int(n_draws), "seconds": seconds, "peak_bytes": _peak_bytes()}


def whole(n_draws: str) -> dict[str, float]:
    """A study of ten conditions with its tables and its report; its time and peak memory."""
    text = f"""
name = "whole"
n_draws = {int(n_draws) // 10}
[defaults]
n_hidden = 16
n_steps = 50
burn_in = 0
input_variance = 0.0
[[slice]]
name = "radius"
[slice.grid]
spectral_radius = [0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2]
"""
    began = time.perf_counter()
    _run(text, report=True)
    seconds = time.perf_counter() - began
    return {"draws": int(n_draws), "seconds": seconds, "peak_bytes": _peak_bytes()}


def planned(n_conditions: str) -> dict[str, float]:
    """Plan a study of some thousands of conditions, from its content to its chunks."""
    from vgcore.study.config import Study
    from vgcore.study.plan import chunks, conditions

    grid = {
        "spectral_radius": [0.5 + i / 100 for i in range(100)],
        "n_steps": [10 + i for i in range(int(n_conditions) // 100)],
    }
    began = time.process_time()
    made = Study.from_dict({"name": "planned", "slice": [{"name": "one", "grid": grid}]})
    read = time.process_time()
    n_chunks = len(chunks(made))
    return {
        "conditions": len(conditions(made)),
        "chunks": n_chunks,
        "reading": read - began,
        "planning": time.process_time() - read,
        "peak_bytes": _peak_bytes(),
    }


def workers(repeats: str) -> dict[str, Any]:
    """A study with one worker and with two, in turns; the ratio of each turn.

    Compiling is not part of it; `load` is that of the machine before, since the ratio says nothing
    where two cores are not free.
    """
    import os

    text = """
name = "workers"
n_draws = 1500
[defaults]
n_hidden = 64
n_steps = 200
[[slice]]
name = "one"
[slice.grid]
spectral_radius = [0.9, 1.0, 1.1, 1.2]
"""
    profile()
    _run(text.replace("1500", "16"))
    load = os.getloadavg()[0]
    ratios = []
    for _ in range(int(repeats)):
        seconds = []
        for n_workers in (1, 2):
            began = time.perf_counter()
            _run(text, n_workers)
            seconds.append(time.perf_counter() - began)
        ratios.append(seconds[0] / seconds[1])
    return {"load": load, "ratios": ratios}


def stages(n_draws: str) -> dict[str, Any]:
    """Run the atlas with a few draws and tell where its threads spent their time."""
    from vgcore import remedies
    from vgcore.environment import thread_count
    from vgcore.study import measure as module
    from vgcore.study import worker

    atlas()  # compiles
    spent: dict[str, float] = {}
    adding = threading.Lock()

    def timed(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def run(*arguments: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                with adding:
                    spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - began

        return run

    places: list[tuple[Any, str, str]] = [(module, name, stage) for name, stage in STAGES.items()]
    places += [(remedies, name, REMEDY) for name in REMEDIES]
    places += [(worker, name, WRITING) for name in ("encode", "write_files")]
    for owner, name, stage in [*places, (worker, "_measured", REST)]:
        setattr(owner, name, timed(getattr(owner, name), stage))
    began = time.perf_counter()
    _run(f'name = "few"\nextends = "atlas"\nn_draws = {int(n_draws)}\n')
    seconds = time.perf_counter() - began
    spent[REST] -= sum(spent.get(stage, 0.0) for stage in [*STAGES.values(), REMEDY])
    workers = thread_count()
    return {
        "draws": int(n_draws),
        "seconds": seconds,
        "workers": workers,
        "spent": spent | {"waiting for work": workers * seconds - sum(spent.values())},
        "kernels": sum(spent[stage] for stage in [*KERNELS.values(), REMEDY]) / (workers * seconds),
    }


def worker(size: str, only: str) -> None:
    """Time vgcore alone, one operation after the other, a round each time a line arrives.

    Prints `null` when an operation is ready, or why it cannot run; then seconds a round. The line
    "next" ends an operation.
    """
    _use_these_benchmarks()
    from vgcore.bench import operations, timing

    for operation, case in operations.table(size, only or None):
        try:
            call = operation.callables(case, [operations.OURS])[operations.OURS]
            call()
            number = int(1 + timing.SHORTEST / timing.seconds(call))
        except Exception as error:  # whatever another version lacks
            print(json.dumps(f"{type(error).__name__}: {error}"), flush=True)
            continue
        print("null", flush=True)
        for line in sys.stdin:
            if line.strip() == "next":
                break
            print(timing.seconds(call, number), flush=True)


def _use_these_benchmarks() -> None:
    """Take `vgcore.bench` from the folder of this file, whichever vgcore was imported."""
    import vgcore

    bench: Any = types.ModuleType("vgcore.bench")
    bench.__path__ = [str(Path(__file__).resolve().parent)]
    sys.modules["vgcore.bench"] = bench
    vgcore.bench = bench


def _run(text: str, n_workers: int | None = None, *, report: bool = False) -> None:
    """Run a study in a folder that is thrown away."""
    from vgcore.study import run_study

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.toml"
        path.write_text(text)
        results = run_study(path, Path(folder) / "results", n_workers=n_workers, progress=False)
        if report:
            from vgcore.report import write_report

            write_report(results, Path(folder) / "report")


def _peak_bytes() -> int:
    """The most memory that this process has had: of its own, not inherited from its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


TASKS: dict[str, Callable[..., Any]] = {
    task.__name__: task
    for task in (start, profile, atlas, study, whole, planned, workers, stages, worker)
}

if __name__ == "__main__":
    printed = TASKS[sys.argv[1]](*sys.argv[2:])
    if printed is not None:
        print(json.dumps(printed))
