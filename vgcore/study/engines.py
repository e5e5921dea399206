"""Running a study: chunks go to worker threads, results to the store as they come.

Each chunk is measured on one thread by kernels that release the GIL, so plain Python threads use
every core. The main thread alone writes. Nothing depends on which thread measures what, or when.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore.environment import thread_count
from vgcore.errors import StudyInterrupted
from vgcore.study.config import Condition, Measure, Study, load_study
from vgcore.study.plan import Chunk, PlannedCondition, chunks, conditions
from vgcore.study.store import Results, Store, load_results

if TYPE_CHECKING:
    from types import FrameType

    from rich.progress import Progress

ENGINES = ("local",)
MAX_WORKERS = 1024

Columns = dict[str, npt.NDArray[Any]]
MeasureFunction = Callable[[Condition, Measure, int, int, int], tuple[Columns, Columns]]
"""(condition, settings, seed, start, stop) -> columns of draws and of profiles."""


def run_study(
    study: Study | str | Path,
    out: str | Path,
    *,
    engine: str = "local",
    n_workers: int | None = None,
    progress: bool = True,
    command: str | None = None,
    measure: MeasureFunction | None = None,
) -> Results:
    """Measure a study, or what is missing of it, into a folder.

    Parameters
    ----------
    study
        A study, the name of a shipped one, or the path of a study file.
    out
        Results folder. One that holds a part of this study's results is completed.
    engine
        "local": threads of this process.
    n_workers
        Threads; None means as many as this process may use cores. The results do not depend on it.
    progress
        Show a progress bar, on a terminal only.
    command
        What the manifest says of how the run was started; None means this process's command line.
    measure
        Measures a block of draws, `vgcore.study.measure.measure` where None.

    Returns
    -------
    Results

    Raises
    ------
    StudyError
        The study cannot be loaded.
    StoreError
        The folder holds another study, or cannot be written.
    StudyInterrupted
        Ctrl-C was pressed. Chunks in hand were finished and stored; a second Ctrl-C drops them.

    Examples
    --------
    >>> import tempfile, vgcore as vg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(vg.run_study("smoke", folder, progress=False).draws)
    600
    """
    checks.choice("engine", engine, ENGINES)
    if n_workers is None:
        n_workers = thread_count()
    n_workers = checks.integer("n_workers", n_workers, least=1, most=MAX_WORKERS)
    if not isinstance(study, Study):
        study = load_study(study)
    plan = chunks(study)
    with Store(out, study, plan, n_workers=n_workers, command=command) as store:
        missing = [chunk for chunk in plan if chunk.index not in store.done]
        with _Bar(study, plan, store.done, shown=progress) as bar, _interrupts() as interrupted:
            for chunk, tables in _measured(study, missing, measure, n_workers, interrupted):
                store.write(chunk, tables)
                bar.advance(chunk)
        done = len(store.done)
    if done < len(plan):
        raise StudyInterrupted(Path(out), done, len(plan))
    return load_results(out)


def _default_measure(seed: int) -> MeasureFunction:
    """A function for one chunk, whose conditions share what random numbers they can.

    Imported when needed, since it brings the compiled kernels with it.
    """
    from vgcore.study.measure import Numbers, measure

    return functools.partial(measure, numbers=Numbers(seed))


def _measured(
    study: Study,
    work: list[Chunk],
    measure: MeasureFunction | None,
    n_workers: int,
    interrupted: threading.Event,
) -> Iterator[tuple[Chunk, dict[str, Columns]]]:
    """Measure chunks on threads and yield them as they are done, in any order.

    At most two chunks a worker are in hand, so memory does not grow with the study. After an
    interrupt nothing new is begun, and what is running is still yielded.
    """
    found = conditions(study)
    queue = iter(work)
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="vgcore")
    pending: dict[Future[dict[str, Columns]], Chunk] = {}
    try:
        while True:
            while len(pending) < 2 * n_workers and not interrupted.is_set():
                chunk = next(queue, None)
                if chunk is None:
                    break
                pending[pool.submit(_measure_chunk, study, found, chunk, measure)] = chunk
            if interrupted.is_set():
                pending = {f: chunk for f, chunk in pending.items() if not f.cancel()}
            if not pending:
                return
            # Woken now and then, so that an interrupt cancels what has not begun.
            for future in wait(pending, timeout=0.2, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _measure_chunk(
    study: Study, found: list[PlannedCondition], chunk: Chunk, measure: MeasureFunction | None
) -> dict[str, Columns]:
    """The columns of a chunk's two tables, its items one after the other."""
    if measure is None:
        measure = _default_measure(study.seed)
    blocks: dict[str, list[Columns]] = {"draws": [], "profiles": []}
    for index, start, stop in chunk.items:
        try:
            measured = measure(found[index].condition, study.measure, study.seed, start, stop)
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


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that it never falls into the writing of a part.

    The second raises KeyboardInterrupt as usual. Signals reach the main thread only, and a handler
    of the caller's own is left in place.
    """
    interrupted = threading.Event()
    default = signal.default_int_handler
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not default
    ):
        yield interrupted
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            default(signum, frame)
        interrupted.set()
        if _on_terminal():
            sys.stderr.write("\nfinishing the draws in hand; Ctrl-C again drops them\n")

    signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, default)


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


class _Bar:
    """Progress on the terminal: conditions, draws, draws a second, time left."""

    def __init__(
        self, study: Study, plan: list[Chunk], done: frozenset[int], *, shown: bool
    ) -> None:
        self._left = {c.index: c.n_draws for c in conditions(study)}
        self._n_conditions = len(self._left)
        self._n_draws = sum(self._left.values())
        for index in done:
            self._count(plan[index])
        self._progress = self._make() if shown and _on_terminal() else None

    def __enter__(self) -> _Bar:
        if self._progress is not None:
            measured = self._n_draws - sum(self._left.values())
            self._task = self._progress.add_task("", total=self._n_draws, completed=measured)
            self._start = measured
            self._update(0)
            self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, chunk: Chunk) -> None:
        self._count(chunk)
        self._update(chunk.n_draws)

    def _count(self, chunk: Chunk) -> None:
        for index, start, stop in chunk.items:
            self._left[index] -= stop - start

    def _update(self, n_draws: int) -> None:
        if self._progress is None:
            return
        whole = sum(not left for left in self._left.values())
        measured = self._n_draws - sum(self._left.values())
        elapsed = self._progress.tasks[0].elapsed
        rate = f"{(measured - self._start) / elapsed:,.0f} draws/s" if elapsed else ""
        text = (
            f"{whole}/{self._n_conditions} conditions  {measured:,}/{self._n_draws:,} draws  {rate}"
        )
        self._progress.update(self._task, advance=n_draws, description=text)

    @staticmethod
    def _make() -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        return Progress(
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
