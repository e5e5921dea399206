"""The engine "process": worker processes, started afresh, each with one thread.

Nothing is inherited from the caller's process but what is sent, so a caller with threads, locks or
a half-used library does no harm, and a worker that the system kills costs its chunk only.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from vgcore.errors import WorkerError
from vgcore.study.store import Delivery
from vgcore.study.worker import Job, Task, perform
from vgcore.warm import own_file_names

ATTEMPTS = 3
_ONE_THREAD = dict.fromkeys(
    (
        "NUMBA_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VGCORE_NUM_THREADS",
    ),
    "1",
)
_starting = threading.Lock()


class Processes:
    """One worker process for each thread that calls `perform`; a context manager that ends them."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._own = threading.local()
        self._all: list[_Process] = []
        self._closed = False

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    def end(self) -> None:
        """End every process, whatever it does."""
        with _starting:
            self._closed = True
            for process in self._all:
                process.end()

    def perform(self, task: Task) -> Delivery:
        """Have a chunk measured by this thread's process; another takes over where it dies."""
        exitcode: int | None = None
        for _ in range(ATTEMPTS):
            process = getattr(self._own, "process", None) or self._start()
            try:
                answer = process.ask(task)
            except (EOFError, OSError):
                self._own.process = None
                exitcode = process.exitcode()
                if self._closed:
                    raise WorkerError("the run has ended") from None
                if not process.ready:
                    raise WorkerError(
                        f"a worker process ended with code {exitcode} before it began; in a script "
                        "of your own, call run_study under `if __name__ == '__main__':`"
                    ) from None
                continue
            if isinstance(answer, BaseException):
                raise answer
            return answer
        raise WorkerError(
            f"chunk {task.chunk.index}: {ATTEMPTS} worker processes died while they measured it, "
            f"the last with code {exitcode} (-9 often means too little memory: use fewer workers)"
        )

    def _start(self) -> _Process:
        with _starting:
            if self._closed:
                raise WorkerError("the run has ended")
            process = _Process(self._job)
            self._all.append(process)
            self._own.process = process
            return process


class _Process:
    """A worker process and the pipe to it; it ends when the pipe does."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, job), daemon=True, name="vgcore"
        )
        with one_thread_environment():
            self._process.start()
        theirs.close()
        self.ready = False

    def ask(self, task: Task) -> Delivery | BaseException:
        if not self.ready:
            self._pipe.recv()
            self.ready = True
        self._pipe.send(task)
        answer: Delivery | BaseException = self._pipe.recv()
        return answer

    def exitcode(self) -> int | None:
        self._process.join(10)
        return self._process.exitcode

    def end(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, job: Job) -> None:
    """Measure what is asked for until the pipe ends, as it does when the run's process dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the run's process to handle
    own_file_names()
    with contextlib.suppress(EOFError, OSError):
        pipe.send("ready")
        while True:
            task: Task = pipe.recv()
            answer: Delivery | BaseException
            try:
                answer = perform(job, task, f"process {os.getpid()}")
            except Exception as error:
                answer = _sendable(error)
            pipe.send(answer)


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@contextlib.contextmanager
def one_thread_environment() -> Iterator[None]:
    """What a process started here finds: each library on one thread."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
