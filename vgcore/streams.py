"""Addressed randomness: every number has an address and none depends on what was drawn before it.

The counter-based generator Philox [1]_ turns an address into numbers directly. Its 256-bit counter
holds the draw and the purpose in the upper words and counts in the lower ones, so the numbers of
draw d are the same alone, in a batch of thousands, in another process or after a resume. Moving one
generator to another address costs 1 us, making a new one 9 us.

.. [1] Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import enum
import hashlib
import json

import numpy as np

Seed = int | np.random.Generator | np.random.SeedSequence | np.random.BitGenerator | None
"""What `rng=` accepts: everything that `numpy.random.default_rng` does."""


class Purpose(enum.IntEnum):
    """What a stream of numbers is for; each purpose of a draw has a stream of its own."""

    WEIGHTS = 0
    INPUT_WEIGHTS = 1
    BIAS = 2
    INPUTS = 3
    INITIAL_STATE = 4
    LOSS_GRADIENT = 5
    TANGENT_FRAME = 6
    READOUT = 7
    BATCH = 8
    TEST = 9


class Streams:
    """The random streams that belong to one 128-bit key, two words without a pattern.

    Not for use by two threads at once: each makes its own from `key`.
    """

    def __init__(self, key: tuple[int, int]) -> None:
        self.key = key
        self._philox = np.random.Philox(key=np.array(key, dtype=np.uint64))
        self._generator = np.random.Generator(self._philox)
        self._start = self._philox.state

    @classmethod
    def from_rng(cls, rng: Seed | Streams) -> Streams:
        """Streams seeded from `rng`; a Generator is advanced by two numbers, Streams are kept."""
        if isinstance(rng, Streams):
            return rng
        try:
            generator = np.random.default_rng(rng)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"rng: found {rng!r}, expected a seed or a numpy.random.Generator ({error})"
            ) from None
        words = generator.integers(2**64, size=2, dtype=np.uint64)
        return cls((int(words[0]), int(words[1])))

    @classmethod
    def from_address(cls, seed: int, *address: int | str) -> Streams:
        """Streams at an address below a seed, say a study's seed and a condition's sizes."""
        digest = hashlib.sha256(json.dumps([seed, *address]).encode()).digest()
        return cls((int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")))

    def at(self, purpose: Purpose, draw: int) -> np.random.Generator:
        """The generator set to the start of one stream; valid until the next call."""
        self._start["state"]["counter"][:] = (0, 0, draw, purpose)
        self._philox.state = self._start
        return self._generator

    @staticmethod
    def address(purpose: Purpose, draw: int) -> int:
        """One 64-bit word for a purpose and a draw; that of the next draw is one more."""
        return purpose << 56 | draw
