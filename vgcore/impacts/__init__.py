"""What vanishing gradients do to learning: experiments on trained nets, with one report.

    vgcore run impacts

Each experiment has jobs, functions to tables, and makes an `Impact` of them: a table with
intervals, figures, and sentences.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vgcore import checks, environment
from vgcore.impacts import depth, generalisation, landscape, memory, page, remedies
from vgcore.impacts.pieces import Experiment, kept
from vgcore.impacts.table import Impact
from vgcore.papers.table import seed_of
from vgcore.study.files import Lock, results_folder

__all__ = ["EXPERIMENTS", "STUDIES", "Experiment", "Impact", "run"]

EXPERIMENTS: dict[str, Callable[..., Experiment]] = {
    "memory": memory.memory,
    "dependencies": remedies.dependencies,
    "instability": remedies.instability,
    "layers": depth.layers,
    "architectures": memory.architectures,
    "landscape": landscape.landscape,
    "generalisation": generalisation.generalisation,
    "digits": generalisation.read_digits,
}

# Sizes other than the experiments' own, by study: arguments by the name of the experiment.
# impacts-full takes some eight processor hours, seven of them for dependencies: the nets that do
# not solve a length, most of them, make all updates.
STUDIES: dict[str, dict[str, dict[str, Any]]] = {
    "impacts": {},
    "impacts-full": {
        "memory": {
            "radii": (0.5, 0.8, 0.9, 0.95, 1.0, 1.1, 1.2, 1.4),
            "delays": (2, 4, 8, 16, 32, 64, 128),
            "n_nets": 50,
            "n_updates": 5000,
        },
        "dependencies": {
            "lengths": (10, 20, 30, 50, 75, 100, 150, 200),
            "n_nets": 50,
            "n_hidden": 50,
            "n_updates": 20_000,
            "n_more": 100_000,
        },
        "instability": {"length": 30, "n_nets": 100, "n_hidden": 50, "n_updates": 10_000},
        "layers": {"n_layers": 20, "n_nets": 100, "n_updates": 5000},
        "architectures": {"lengths": (10, 20, 40, 80, 160), "n_nets": 50, "n_updates": 5000},
        "landscape": {"length": 100, "n_nets": 500},
        "generalisation": {
            "tested": (50, 100, 200, 400, 800, 1600, 5000),
            "n_nets": 30,
            "n_updates": 10_000,
        },
        "digits": {"n_nets": 30, "n_updates": 10_000},
    },
}


def run(
    out: str | Path,
    study: str = "impacts",
    *,
    seed: int = 0,
    n_threads: int | None = None,
    sizes: Mapping[str, Mapping[str, Any]] | None = None,
    only: Sequence[str] = (),
    report: bool = True,
    tell: Callable[[int, int, str], None] = lambda done, jobs, name: None,
) -> Path:
    """Do every experiment and write the report; goes on where an earlier run was stopped.

    What is measured is kept in the folder `pieces`, a file a job, until the report is written. It
    is used again by a call with the same seed and sizes, of the same version of vgcore.

    Parameters
    ----------
    out
        Folder of the report; made if it does not exist.
    study
        A name in `STUDIES`: "impacts" or "impacts-full".
    seed
        Of all random numbers; each experiment has numbers of its own.
    n_threads
        All cores where None; no number depends on it.
    sizes
        Keywords of an experiment's function by its name, for other sizes than those of the study.
    only
        Names in `EXPERIMENTS`; all of them where empty. A report of some keeps the pieces, and a
        call for all in the same folder uses them.
    report
        Write the page and its figures; else only the tables and the manifest, and the pieces stay,
        of which a later call makes the page.
    tell
        Called after each job with the number of those done, of all, and the name.

    Returns
    -------
    Path
        The HTML page; results.csv where none is wanted.

    Raises
    ------
    ValueError
        An unknown study or experiment.
    OSError
        The folder cannot be written.
    vgcore.errors.StoreError
        Another run is writing there, or no folder can be made.

    Examples
    --------
    >>> from vgcore import impacts
    >>> impacts.run("reports/impacts")  # doctest: +SKIP
    PosixPath('reports/impacts/report.html')
    """
    checks.choice("study", study, STUDIES)
    chosen = {checks.choice("only", name, EXPERIMENTS) for name in only} or set(EXPERIMENTS)
    folder = Path(out)
    origin: dict[str, Any] = {**environment.describe()}  # before files change what the checkout is
    pieces = folder / "pieces"
    results_folder(pieces)  # before minutes of training
    lock = Lock(folder)
    try:
        began = time.process_time()
        wanted = STUDIES[study] if sizes is None else sizes
        own = {name: wanted.get(name, {}) for name in EXPERIMENTS}
        planned = {
            name: make(seed_of(name, seed), n_threads=n_threads, **own[name])
            for name, make in EXPERIMENTS.items()
            if name in chosen
        }
        done, jobs = 0, sum(len(one.jobs) for one in planned.values())
        found: dict[str, Impact] = {}
        nets: dict[str, pd.DataFrame] = {}
        for name, experiment in planned.items():
            measured = []
            for title, job in experiment.jobs.items():
                address = (
                    origin["vgcore"], origin["git_commit"], seed, name, sorted(own[name].items()),
                    title,
                )  # fmt: skip
                measured.append(kept(pieces, address, job))
                done += 1
                tell(done, jobs, f"{name}: {title}")
            filled = [table for table in measured if len(table)] or measured[:1]
            whole = pd.concat(filled, ignore_index=True)
            found |= experiment.finish(whole)
            if "net" in whole:  # a row a net: what the estimates are computed from
                nets[name] = whole
        used = round(time.process_time() - began, 1)  # by this process: the last, if many
        origin = {"run": study, **origin, "seed": seed, "processor_seconds": used}
        if sizes is not None:
            origin["run"] = f"{study}, other sizes"
        if len(planned) < len(EXPERIMENTS):
            origin["only"] = list(planned)
        origin.pop("compile_cache")
        tables = page.write_tables(found, nets, folder, origin)
        for name in EXPERIMENTS.keys() - nets.keys():  # of an earlier report of other experiments
            (folder / f"{name}.csv").unlink(missing_ok=True)
        if not report:
            return tables[0]
        written = page.write(found, tables, folder, origin)
        if len(planned) == len(EXPERIMENTS):
            shutil.rmtree(pieces)
        return written
    finally:
        lock.close()
