"""What a worker does, wherever it runs: measure one chunk, and write its part or hand it back."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vgcore.study.config import Condition, Measure, Study
from vgcore.study.files import read_lock
from vgcore.study.plan import Chunk, conditions
from vgcore.study.store import TABLES, Delivery, Store, encode, write_files

Columns = dict[str, npt.NDArray[Any]]
MeasureFunction = Callable[[Condition, Measure, int, int, int], tuple[Columns, Columns]]
"""(condition, settings, seed, start, stop) -> columns of draws and of profiles."""


@dataclass(frozen=True)
class Job:
    """What all chunks of a run share; `measure` is `vgcore.study.measure.measure` where None."""

    study: str
    digest: str
    seed: int
    settings: Measure
    folder: Path
    token: str
    measure: MeasureFunction | None

    @classmethod
    def of(cls, store: Store, measure: MeasureFunction | None) -> Job:
        study, folder = store.study, store.folder.absolute()
        return cls(
            study.name, study.digest, study.seed, study.measure, folder, store.token, measure
        )


@dataclass(frozen=True)
class Task:
    """The address of a chunk's draws: with a job, all that a worker needs to measure them."""

    chunk: Chunk
    conditions: Mapping[int, Condition]


def tasks(study: Study, work: list[Chunk]) -> Iterator[Task]:
    """One task a chunk, made as they are asked for."""
    found = conditions(study)
    for chunk in work:
        yield Task(chunk, {i: found[i].condition for i in sorted({x[0] for x in chunk.items})})


def perform(job: Job, task: Task, worker: str = "") -> Delivery:
    """Measure a chunk; write its part where this process sees the store's folder.

    The folder is known by the random number in its lock, so that a worker whose run has ended, or
    on whose machine the same path is another folder, writes nothing.
    """
    begun = time.thread_time()  # of a core, whatever else runs on it
    measured = _measured(job, task)
    seconds = round(time.thread_time() - begun, 4)
    made = encode(job.study, job.digest, task.chunk, measured)
    delivery = replace(made, part={**made.part, "seconds": seconds}, worker=worker)
    if job.token and read_lock(job.folder).get("token") == job.token:
        try:
            return write_files(job.folder, delivery)
        except OSError:
            pass  # the store meets the same fault, and knows what it means for the study
    return delivery


def _measured(job: Job, task: Task) -> dict[str, Columns]:
    """The columns of a chunk's two tables, its items one after the other."""
    measure = _default_measure(job.seed) if job.measure is None else job.measure
    blocks: dict[str, list[Columns]] = {name: [] for name in TABLES}
    for index, start, stop in task.chunk.items:
        try:
            measured = measure(task.conditions[index], job.settings, job.seed, start, stop)
        except Exception as error:
            error.add_note(f"while measuring condition {index}, draws {start} to {stop - 1}")
            raise
        for part, columns in zip(blocks.values(), measured, strict=True):
            n_rows = len(columns["draw"])
            part.append({"condition": np.full(n_rows, index, np.int32), **columns})
    return {
        table: {name: np.concatenate([block[name] for block in part]) for name in part[0]}
        for table, part in blocks.items()
    }


def _default_measure(seed: int) -> MeasureFunction:
    """A function for one chunk, whose conditions share what random numbers they can.

    Imported when needed, since it brings the compiled kernels with it.
    """
    from vgcore.study.measure import Numbers, measure

    return functools.partial(measure, numbers=Numbers(seed))
