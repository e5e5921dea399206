"""What this machine can do at most, measured: multiply-adds, matrix products, loads, and tanh."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from vgcore._typing import Array
from vgcore.bench.operations import Load
from vgcore.bench.timing import seconds, settle
from vgcore.environment import thread_count
from vgcore.kernels.bandwidth import CHAINS, _spin_passes, _sweep_passes, _tanh_passes
from vgcore.kernels.caches import cache_sizes
from vgcore.kernels.vectors import BYTES, aligned_zeros
from vgcore.parallel import over_draws

DTYPES = ("float32", "float64")
WORKING_SETS = tuple(2**power for power in range(12, 28))  # 4 KiB to 128 MiB
_SHORT = WORKING_SETS[1]  # for arithmetic alone: long against the start of a pass


class Bound(NamedTuple):
    """The least of the limits: its floating-point operations a second, and what it is."""

    flops: float
    name: str


@dataclass(frozen=True)
class Limits:
    """Limits of the machine with a number of threads.

    Attributes
    ----------
    n_threads : int
    multiply_add : dict of str to float
        Floating-point operations a second of fused multiply-adds in registers, by dtype.
    gemm : dict of str to float
        The same of NumPy's matrix product of 1024 x 1024 matrices: a BLAS as users meet it.
    bytes_loaded : tuple of int
        Working sets of each thread.
    bandwidth : tuple of float
        Bytes loaded (and multiplied and added) a second by all threads, for each working set.
    caches : dict of str to int
        Bytes of the data caches of one core, where the system tells them.
    tanh : dict of str to float
        Units a second whose tanh and slope vgcore's own function takes, from the first cache, by
        dtype. Empty in files of versions that did not measure it.
    """

    n_threads: int
    multiply_add: dict[str, float]
    gemm: dict[str, float]
    bytes_loaded: tuple[int, ...]
    bandwidth: tuple[float, ...]
    caches: dict[str, int]
    tanh: dict[str, float] = field(default_factory=dict)

    def bandwidth_of(self, working_set: float) -> float:
        """Bytes a second from the memory that holds a working set, or a larger one: the best."""
        start = self._first(working_set)
        inner = sum(size <= start for size in self.bytes_loaded)
        return max(self.bandwidth[min(inner, len(self.bandwidth) - 1) :])

    def _first(self, working_set: float) -> int:
        """Size of the largest cache that is too small for a working set, 0 where none is.

        Where the system tells of no caches, of the largest such set that was measured.
        """
        steps = self.caches.values() or self.bytes_loaded
        return max((size for size in steps if size < working_set), default=0)

    def bound(self, dtype: str, flop: float, loads: Sequence[Load]) -> Bound:
        """Most operations a second of work with these loads, and what binds it.

        Parameters
        ----------
        dtype : str
            "float32" or "float64".
        flop : float
            Floating-point operations.
        loads : sequence of Load
            One after the other; the one that takes longest names the limit.
        """
        arithmetic = flop / self.multiply_add[dtype]
        seconds = [load.bytes / self.bandwidth_of(load.working_set) for load in loads]
        if sum(seconds) < arithmetic:
            return Bound(flop / arithmetic, "multiply-adds")
        slowest = loads[int(np.argmax(seconds))]
        return Bound(flop / sum(seconds), f"{self.level(slowest.working_set)} loads")

    def level(self, working_set: float) -> str:
        """Name of the memory that holds a working set."""
        for name, size in self.caches.items():
            if working_set <= size:
                return name
        return "memory"


def measure(n_threads: int | None = None, rounds: int = 5, length: float = 5e-3) -> Limits:
    """Measure the limits with some threads (None: all), best of rounds of at least `length` s."""
    n_threads = thread_count(n_threads)
    spin = {
        dtype: _best(_spin_passes, _SHORT, dtype, n_threads, rounds, length)
        * (2 / np.dtype(dtype).itemsize)
        for dtype in DTYPES
    }
    loads = [
        _best(_sweep_passes, size, "float64", n_threads, rounds, length) for size in WORKING_SETS
    ]
    gemm = {dtype: _gemm(dtype, rounds) for dtype in DTYPES} if n_threads == thread_count() else {}
    tanh = {
        dtype: _best(_tanh_passes, _SHORT, dtype, n_threads, rounds, length)
        / (3 * np.dtype(dtype).itemsize)
        for dtype in DTYPES
    }
    return Limits(n_threads, spin, gemm, WORKING_SETS, tuple(loads), cache_sizes(), tanh)


def _best(
    passes: Callable[..., None], size: int, dtype: str, n_threads: int, rounds: int, length: float
) -> float:
    """Bytes a second that all threads go over together, each in memory of its own."""
    arrays = [_operands(size, dtype) for _ in range(n_threads)]
    x, totals = arrays[0]
    once = min(seconds(lambda: passes(x, 1, totals)) for _ in range(3))
    number = max(1, round(length / once))
    barrier = threading.Barrier(n_threads)

    def thread(operands: tuple[Array, Array]) -> float:
        barrier.wait()
        return seconds(lambda: passes(operands[0], number, operands[1]))

    rates = []
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in range(rounds):
            slowest = max(pool.map(thread, arrays))
            rates.append(n_threads * number * size / slowest)
    return max(rates)


def _operands(size: int, dtype: str) -> tuple[Array, Array]:
    """An array of `size` bytes, and the sums; ones and halves, so that no number is subnormal."""
    itemsize = np.dtype(dtype).itemsize
    x = aligned_zeros(size // itemsize, dtype)
    x[:] = 1.0
    totals = aligned_zeros((CHAINS + 1) * (BYTES // itemsize), dtype)
    totals[:] = 0.5
    return x, totals


def _gemm(dtype: str, rounds: int, n: int = 1024) -> float:
    """Floating-point operations a second of NumPy's matrix product, with the threads it takes."""
    A = np.ones((n, n), dtype)
    B = np.empty_like(A)
    np.matmul(A, A, out=B)
    best = min(seconds(lambda: np.matmul(A, A, out=B)) for _ in range(rounds))
    settle()
    return 2 * n**3 / best


def from_json(stored: dict[str, Any]) -> Limits:
    """Limits as `dataclasses.asdict` and JSON left them."""
    lists = {name: tuple(stored[name]) for name in ("bytes_loaded", "bandwidth")}
    return Limits(**{**stored, **lists})


def reference(n_threads: int | None = None) -> Callable[[], None]:
    """A fixed piece of work, 2**30 bytes swept from the first cache by each thread.

    Timed beside everything else, it tells in which state the machine was. Its definition is part of
    the format of stored runs.
    """
    operands = [_operands(2**14, "float64") for _ in range(thread_count(n_threads))]

    def work(start: int, stop: int) -> None:
        for x, totals in operands[start:stop]:
            _sweep_passes(x, 2**16, totals)

    return lambda: over_draws(work, len(operands), n_threads)
