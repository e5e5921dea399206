"""Running a study: chunks go to workers, parts to the store as they are done, in any order.

Each chunk is measured on one thread, by kernels that release the GIL, so plain threads of this
process use every core; the other engines put them into processes of their own, here or elsewhere.
Nothing depends on which worker measures what, or when.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgcore import checks
from vgcore.environment import thread_count
from vgcore.errors import StudyInterrupted
from vgcore.study.cluster import connected, n_threads, outcome, submit
from vgcore.study.config import Study, load_study
from vgcore.study.plan import Chunk, chunks, conditions, share
from vgcore.study.processes import Processes
from vgcore.study.progress import Progress, on_terminal
from vgcore.study.sequential import is_sequential
from vgcore.study.store import Delivery, Results, Store, load_results
from vgcore.study.worker import Job, MeasureFunction, Task, perform, tasks
from vgcore.warm import Call, rehearse

if TYPE_CHECKING:
    from types import FrameType

    from distributed import Client

ENGINES = ("local", "process", "dask")
MAX_WORKERS = 1024
WAKE_SECONDS = 0.2


def run_study(
    study: Study | str | Path,
    out: str | Path,
    *,
    engine: str = "local",
    n_workers: int | None = None,
    client: Client | None = None,
    scheduler: str | None = None,
    shard: str | tuple[int, int] | None = None,
    progress: bool | Progress = True,
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
        "local": threads of this process. "process": processes with one thread each. "dask": the
        workers of a Dask cluster, which write their parts themselves where they see `out`. The
        results do not depend on it.
    n_workers
        Threads or processes; None means as many as this process may use cores. A cluster that
        exists already has its own number. The results do not depend on it.
    client, scheduler
        For engine "dask": a `distributed.Client`, or the address of a scheduler. Without either a
        cluster of local processes is made for the run.
    shard
        "i/n" or (i, n): measure the i-th of n shares of about equal predicted cost, i from 1; for
        batch systems, each share into a folder of its own. `merge` puts them together.
    progress
        Show a bar on a terminal and a line each ten seconds elsewhere; or a `Progress`.
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
    WorkerError
        Processes that measured a chunk died three times, or the cluster cannot be reached.
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
    for name, given in (("client", client), ("scheduler", scheduler)):
        if given is not None and engine != "dask":
            raise ValueError(f"{name}: found with engine={engine!r}, expected 'dask'; set engine")
    if n_workers is None:
        n_workers = thread_count()
    n_workers = checks.integer("n_workers", n_workers, least=1, most=MAX_WORKERS)
    if not isinstance(study, Study):
        study = load_study(study)
    if not isinstance(progress, Progress):
        progress = Progress("auto" if progress else "off")
    mine = known_shard(study, shard)
    with Store(out, study, chunks(study), n_workers=n_workers, command=command) as store:
        plan = store.chunks  # grows by rounds where a precision is asked for
        wanted = frozenset(range(len(plan)) if mine is None else share(plan, *mine))
        missing = [plan[index] for index in sorted(wanted - store.done)]
        work = _Rounds(store, missing, progress)
        job = Job.of(store, measure)
        progress.start(study, plan, store.done, wanted)
        with contextlib.ExitStack() as stack:
            stack.callback(progress.stop)
            interrupted = stack.enter_context(_interrupts())
            compiling = [] if measure or n_workers == 1 else _rehearsals(study, missing)
            deliveries = _local(job, work, n_workers, interrupted, compiling)
            if missing and engine == "process":
                deliveries = _process(job, work, n_workers, interrupted)
            elif missing and engine == "dask":
                n_own = n_workers if is_sequential(study) else min(n_workers, len(missing))
                connection = connected(client, scheduler, n_own)
                deliveries = _dask(job, work, stack.enter_context(connection), interrupted)
            for delivery in stack.enter_context(contextlib.closing(deliveries)):
                if delivery is None:
                    progress.tick()
                else:
                    store.accept(delivery)
                    part = delivery.part
                    progress.advance(plan[part["chunk"]], delivery.worker, part["seconds"])
        if mine is None:
            store.unfold()  # an interrupt may have come between two rounds
            wanted = frozenset(range(len(plan)))
        done = len(store.done & wanted)
    if done < len(wanted):
        raise StudyInterrupted(Path(out), done, len(wanted))
    return load_results(out)


class _Rounds:
    """Tasks of what is missing; once all of it is stored, those of the next round.

    It ends where nothing can be begun yet, and goes on when it is asked again.
    """

    def __init__(self, store: Store, missing: list[Chunk], progress: Progress) -> None:
        self._store, self._progress = store, progress
        self._tasks = tasks(store.study, missing)

    def __iter__(self) -> _Rounds:
        return self

    def __next__(self) -> Task:
        while (task := next(self._tasks, None)) is None:
            more = self._store.unfold()
            if not more:
                raise StopIteration
            done = self._store.done
            self._progress.extend(more, done)
            self._tasks = tasks(self._store.study, [c for c in more if c.index not in done])
        return task


def known_shard(study: Study, shard: str | tuple[int, int] | None) -> tuple[int, int] | None:
    """`shard` as (i, n), of a study that can be shared out."""
    if shard is not None and is_sequential(study):
        raise ValueError(
            f"shard: found {shard!r} with a study that asks for a precision, expected None; it is "
            "drawn in rounds that need all draws before: use engine='dask', or fix n_draws"
        )
    return None if shard is None else parse_shard(shard)


def parse_shard(shard: str | tuple[int, int]) -> tuple[int, int]:
    """(i, n) from "i/n".

    Examples
    --------
    >>> from vgcore.study.engines import parse_shard
    >>> parse_shard("3/8")
    (3, 8)
    """
    values = shard.split("/") if isinstance(shard, str) else list(shard)
    try:
        index, number = (int(value) for value in values)
    except (TypeError, ValueError):
        index = number = 0
    if not 1 <= index <= number:
        raise ValueError(f"shard: found {shard!r}, expected i/n with 1 <= i <= n, for example 3/8")
    return index, number


def _rehearsals(study: Study, work: list[Chunk]) -> Iterator[Call]:
    """Small calls that compile all that this work takes."""
    from vgcore.study.measure import rehearsals  # brings the kernels with it

    wanted, found = {item.condition for chunk in work for item in chunk.items}, conditions(study)
    yield from rehearsals([found[i].condition for i in sorted(wanted)], study.measure)


def _local(
    job: Job,
    work: Iterable[Task],
    n_workers: int,
    interrupted: threading.Event,
    compiling: Iterable[Call],
) -> Generator[Delivery | None, None, None]:
    """Threads of this process; before they begin, two processes compile."""
    done = threading.Event()
    thread = threading.Thread(
        target=rehearse,
        args=(compiling, lambda: interrupted.is_set() or done.is_set()),
        daemon=True,
    )
    thread.start()
    try:
        while thread.is_alive():
            thread.join(WAKE_SECONDS)
            yield None
    finally:
        done.set()

    def measure(task: Task) -> Delivery:
        return perform(job, task, threading.current_thread().name)

    yield from _on_threads(measure, work, n_workers, interrupted)


def _process(
    job: Job, work: Iterable[Task], n_workers: int, interrupted: threading.Event
) -> Generator[Delivery | None, None, None]:
    """Processes, each with a thread here that waits for it."""
    with Processes(job) as processes:
        yield from _on_threads(processes.perform, work, n_workers, interrupted, processes.end)


def _on_threads(
    measure: Callable[[Task], Delivery],
    work: Iterable[Task],
    n_workers: int,
    interrupted: threading.Event,
    drop: Callable[[], None] = lambda: None,
) -> Generator[Delivery | None, None, None]:
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="thread")
    wait = True
    try:
        yield from _in_hand(
            lambda task: pool.submit(measure, task),
            work,
            itertools.repeat(2 * n_workers),
            interrupted,
        )
    except KeyboardInterrupt:
        wait = False  # the user wants out; what still runs finds the lock gone and writes nothing
        raise
    finally:
        if not wait:
            drop()
        pool.shutdown(wait=wait, cancel_futures=True)


def _dask(
    job: Job, work: Iterable[Task], client: Client, interrupted: threading.Event
) -> Generator[Delivery | None, None, None]:
    """The workers of a cluster, as many as it has at the time."""

    def widths() -> Iterator[int]:
        while True:
            yield max(2, 2 * n_threads(client))

    yield from _in_hand(
        functools.partial(submit, client, job),
        work,
        widths(),
        interrupted,
        result=outcome,
        cancel=lambda future: False,  # Dask does not say which have begun; there are few
    )


def _in_hand(
    begin: Callable[[Task], Any],
    work: Iterable[Task],
    widths: Iterator[int],
    interrupted: threading.Event,
    *,
    result: Callable[[Any], Delivery] = lambda future: future.result(),
    cancel: Callable[[Any], bool] = lambda future: future.cancel(),
) -> Generator[Delivery | None, None, None]:
    """Submit tasks, few at a time, and yield what comes back; None now and then while waiting.

    At most two chunks a worker are in hand, so memory does not grow with the study. After an
    interrupt nothing new is begun, and what is running is still yielded.
    """
    rest = iter(work)
    pending: set[Any] = set()
    ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
    while True:
        if interrupted.is_set():
            pending = {future for future in pending if not cancel(future)}
        else:
            for task in itertools.islice(rest, max(0, next(widths) - len(pending))):
                future = begin(task)
                pending.add(future)
                future.add_done_callback(ready.put)
        if not pending:
            return
        try:
            future = ready.get(timeout=WAKE_SECONDS)
        except queue.Empty:
            yield None
            continue
        if future in pending:
            pending.remove(future)
            yield result(future)


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
        if on_terminal():
            sys.stderr.write("\nfinishing the draws in hand; Ctrl-C again drops them\n")

    signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, default)
