"""Compiling in two processes what a cold start needs.

Numba compiles one function at a time in a process, whatever the number of threads, but processes
share its cache on disk. What is about to be called is rehearsed: called once, on arguments so small
that compiling is all it takes. From the first function that has to be compiled on, a second process
takes part of the calls. Where the cache holds everything none is started, and each kernel is loaded
once, as it would have been anyway.

Whatever goes wrong in the second process costs its part of the compiling only: what the cache does
not hold in the end is compiled when it is called.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from numba.core import event
from numba.core.caching import IndexDataCacheFile

from vgcore.environment import thread_count

Call = Callable[[], object]
WAKE_SECONDS = 0.1
COMPILES = "numba:compile"


def rehearse(calls: Iterable[Call], stopped: Callable[[], bool] = lambda: False) -> None:
    """Make these calls, so that all they need is compiled; a second process takes some of them.

    Parameters
    ----------
    calls
        Picklable, the longest to compile first. What they return or raise is passed over.
    stopped
        Whether to end early; asked between calls and while waiting for the other process.

    Examples
    --------
    >>> import functools, numpy as np, vgcore as vg
    >>> from vgcore.warm import rehearse
    >>> rehearse([functools.partial(vg.spectral_radius, np.ones((1, 2, 2)))])
    """
    second = _Second(calls)
    event.register(COMPILES, second)
    try:
        while not stopped() and (call := second.take()) is not None:
            with contextlib.suppress(Exception):
                call()
        while not stopped() and not second.idle.wait(WAKE_SECONDS):
            pass
    finally:
        event.unregister(COMPILES, second)
        second.end()


class _Second(event.Listener):
    """The calls not made yet, and the process that takes some once it hears of a compilation."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._rest = deque(calls)
        self._taking = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._share, daemon=True)
        self._wanted = thread_count() > 1 and bool(sys.executable) and not hasattr(sys, "frozen")
        self.idle = threading.Event()  # whether none of the calls is in its hands
        self.idle.set()

    def on_start(self, event: Any) -> None:
        with self._taking:
            if self._wanted and self._rest:
                self._wanted = False
                self._thread.start()

    def on_end(self, event: Any) -> None:
        pass

    def take(self) -> Call | None:
        """The next call that nobody has made."""
        with self._taking:
            return self._rest.popleft() if self._rest else None

    def end(self) -> None:
        with self._taking:
            self._rest.clear()
            if self._process is not None:
                self._process.kill()
        if self._thread.is_alive():
            self._thread.join()

    def _share(self) -> None:
        """Hand calls to the process, one whenever it says that it is ready."""
        try:
            # the same modules as here, whatever was done to the path; no script is imported anew
            code = f"import sys; sys.path[:] = {sys.path!r}; import vgcore.warm as w; w._serve()"
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            with subprocess.Popen(
                [sys.executable, "-c", code], stderr=subprocess.DEVNULL, **pipes
            ) as process:
                assert process.stdin
                assert process.stdout
                with self._taking:
                    self._process = process
                while process.stdout.read(1) and (call := self._hand_out()) is not None:
                    pickle.dump(call, process.stdin)
                    process.stdin.flush()
        except Exception:  # its part is compiled when it is called
            pass
        finally:
            self.idle.set()

    def _hand_out(self) -> Call | None:
        with self._taking:
            if not self._rest:
                self.idle.set()
                return None
            self.idle.clear()
            return self._rest.popleft()


def _serve() -> None:
    """Make the calls that arrive, in a process of its own, until there will be no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process handles a Ctrl-C
    own_file_names()
    answers = os.dup(1)
    os.dup2(2, 1)  # a call may print
    calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(calls,), daemon=True).start()
    while True:
        os.write(answers, b".")
        with contextlib.suppress(Exception):
            calls.get()()


def _receive(calls: queue.SimpleQueue[Call]) -> None:
    """Pass on what arrives; the process ends with the other one, however that ends."""
    try:
        while True:
            calls.put(pickle.load(sys.stdin.buffer))
    finally:
        os._exit(0)


def own_file_names() -> None:
    """Give files that this process adds to Numba's cache names that no other process gives.

    The next free number serves as a name. Where two processes save a function for different
    arguments at a time, both may take one number, and the index then leads to the wrong code.
    """
    files: Any = IndexDataCacheFile
    name = files._data_name
    files._data_name = lambda self, number: f"{os.getpid()}-{name(self, number)}"
