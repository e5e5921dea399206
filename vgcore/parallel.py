"""Work on many draws at once, on Python threads.

Kernels release the GIL, so threads are enough, and each call of a kernel owns its scratch. Numba's
`prange` would need a threading layer: the one in the pip wheel aborts the process when two threads
enter it, and another hangs after a fork. A parallel kernel also takes half a second more to
compile; it would save 0.1 ms a call.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vgcore._typing import Array
from vgcore.environment import thread_count

_BLOCKS_PER_THREAD = 8  # so that a thread with easy draws takes over from one with hard ones


def block(array: Array, start: int, stop: int) -> Array:
    """Return the part of some draws; an array that all draws share stays whole."""
    return array if len(array) == 1 else array[start:stop]


def over_draws(
    work: Callable[..., None],
    n_draws: int,
    n_threads: int | None = None,
    grain: int = 1,
    scratch: Callable[[], Iterable[Any]] = tuple,
) -> None:
    """Call work(start, stop) on blocks that cover range(n_draws), on several threads.

    Blocks are whole multiples of `grain` draws, but for the last. Each thread calls `scratch` once
    and hands what it returns to work as further arguments.

    The calling thread is one of them. An exception is raised as it is; blocks not begun by then, or
    when the user interrupts, are dropped.
    """
    n_grains = -(-n_draws // grain)
    threads = min(thread_count(n_threads), n_grains)
    n_blocks = min(_BLOCKS_PER_THREAD * threads, n_grains)
    edges = [
        min(grain * (n_grains * block // max(n_blocks, 1)), n_draws)
        for block in range(n_blocks + 1)
    ]
    blocks = itertools.pairwise(edges)
    taking = threading.Lock()

    def take() -> tuple[int, int] | None:
        with taking:
            return next(blocks, None)

    def work_through() -> None:
        try:
            own = tuple(scratch())
            while (block := take()) is not None:
                work(*block, *own)
        except BaseException:
            while take() is not None:
                pass
            raise

    if threads <= 1:
        work_through()
        return
    with ThreadPoolExecutor(threads - 1, thread_name_prefix="vgcore") as pool:
        others = [pool.submit(work_through) for _ in range(threads - 1)]
        work_through()
    for other in others:
        other.result()
