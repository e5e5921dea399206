"""Random numbers of many draws at once, each draw's from its own address."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from vgcore import checks
from vgcore._typing import Array
from vgcore.kernels.normals import _normal_batch, _uniform_batch
from vgcore.parallel import over_draws
from vgcore.streams import Purpose, Streams


class Draws:
    """The numbers that some draws have for one purpose; what is taken later is independent.

    Not those of `streams.at`, but from kernels that are several times as fast.

    Parameters
    ----------
    streams : Streams
    purpose : Purpose
    draws : range
        Addresses of the draws.
    n_threads : int or None
        Threads to use; None means all cores. The numbers do not depend on it.

    Examples
    --------
    >>> from vgcore.draws import Draws
    >>> from vgcore.streams import Purpose, Streams
    >>> numbers = Draws(Streams.from_rng(1), Purpose.WEIGHTS, range(3))
    >>> numbers.normal(2, 5).shape
    (3, 2, 5)
    """

    def __init__(
        self, streams: Streams, purpose: Purpose, draws: range, n_threads: int | None = 1
    ) -> None:
        self._key, self._salt = map(np.uint64, streams.key)
        self._address = streams.address(purpose, draws.start)
        self._taken = 0
        self.n_draws = draws.stop - draws.start
        self._n_threads = n_threads

    def normal(self, *shape: int) -> Array:
        """Standard normal numbers, (n_draws, *shape)."""
        return self._take(_normal_batch, shape)

    def uniform(self, *shape: int) -> Array:
        """Numbers uniform on (0, 1), (n_draws, *shape)."""
        return self._take(_uniform_batch, shape)

    def _take(self, batch: Callable[..., None], shape: tuple[int, ...]) -> Array:
        checks.room("random numbers of n_draws, ...", (self.n_draws, *shape))
        out = np.empty((self.n_draws, math.prod(shape)))
        place = np.uint64(self._taken)
        self._taken += -(-out.shape[1] // 2)  # two numbers of each counter

        def work(start: int, stop: int) -> None:
            address = np.uint64(self._address + start)
            batch(self._key, self._salt, address, place, out[start:stop])

        over_draws(work, self.n_draws, self._n_threads)
        return out.reshape(self.n_draws, *shape)


def normal_block(streams: Streams, purpose: Purpose, draws: range, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers, shape (len(draws), *shape), each draw from its own address."""
    return Draws(streams, purpose, draws).normal(*shape)


def uniform_block(
    streams: Streams, purpose: Purpose, draws: range, shape: tuple[int, ...]
) -> Array:
    """Numbers uniform on (-1, 1), shape (len(draws), *shape), each draw from its own address."""
    return 2.0 * Draws(streams, purpose, draws).uniform(*shape) - 1.0
