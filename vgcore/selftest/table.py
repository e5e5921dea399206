"""The table of checks: what one is, what it finds, and the three kinds of evidence.

An *identity* holds up to rounding: its score is an error, its limit a tolerance. A *law* holds on
average, a *share* in so many cases: their score is a z, from the exact tail of Student's t or of
the binomial, and `alarm_limit` gives the limit that keeps false alarms of the whole table rare.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

ALARM = 1e-5
"""Chance that a right program fails the table at some seed; what depends on the normal tail being
right at five deviations has a factor of ten to spare below 1e-4."""

_LEVEL = 0.95  # of the intervals shown


@dataclass(frozen=True)
class Finding:
    """What a check found, against what was expected; `limit` is nan where a table sets it."""

    kind: str  # "error" or "z"
    measured: float
    low: float
    high: float
    expected: float
    score: float
    limit: float = np.nan


@dataclass(frozen=True)
class Check:
    """A named check; `run` takes a generator that belongs to it and to the seed alone."""

    name: str
    covers: str
    statistical: bool
    run: Callable[[np.random.Generator], Finding]

    def generator(self, seed: int) -> np.random.Generator:
        """Numbers of its own, so that no check changes with the others."""
        return np.random.default_rng([seed, zlib.crc32(self.name.encode())])


CHECKS: dict[str, Check] = {}


def check(
    name: str, covers: str, /, *, statistical: bool = False, **arguments: Any
) -> Callable[[Callable[..., Finding]], Callable[..., Finding]]:
    """Enter a function (rng, **arguments) -> Finding in the table."""

    def enter(function: Callable[..., Finding]) -> Callable[..., Finding]:
        if name in CHECKS:
            raise ValueError(f"name: check {name!r} is in the table already")
        CHECKS[name] = Check(name, covers, statistical, lambda rng: function(rng, **arguments))
        return function

    return enter


def identity(
    found: npt.ArrayLike, expected: npt.ArrayLike, tolerance: float, scale: npt.ArrayLike = 1.0
) -> Finding:
    """Compare numbers; the score is the largest difference over `scale`, and its place is shown."""
    a, b, unit = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.float64) for x in (found, expected, scale))
    )
    with np.errstate(invalid="ignore"):
        error = np.where(a == b, 0.0, np.abs(a - b) / unit)  # -inf and -inf are equal
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    value = float(a.flat[worst])
    return Finding(
        "error", value, value, value, float(b.flat[worst]), float(error.flat[worst]), tolerance
    )


def law(values: npt.ArrayLike, expected: float) -> Finding:
    """Compare the mean of independent numbers with its expectation."""
    x = np.asarray(values, dtype=np.float64).ravel()
    n, mean = x.size, float(x.mean())
    se = float(x.std(ddof=1)) / n**0.5
    t = (mean - expected) / se if se > 0 else np.nan
    half = float(special.stdtrit(n - 1, 0.5 + _LEVEL / 2)) * se
    z = np.copysign(_quantile(float(special.stdtr(n - 1, -abs(t)))), t)
    return Finding("z", mean, mean - half, mean + half, expected, float(z))


def share(count: int, n: int, probability: float) -> Finding:
    """Compare a share of independent cases with its probability."""
    below = float(special.bdtr(count, n, probability))
    above = float(special.bdtrc(count - 1, n, probability)) if count else 1.0
    tail = min(below, above, 0.5)
    z = np.copysign(_quantile(tail), count - n * probability)
    low = float(special.betaincinv(count, n - count + 1, 0.5 - _LEVEL / 2)) if count else 0.0
    high = float(special.betaincinv(count + 1, n - count, 0.5 + _LEVEL / 2)) if count < n else 1.0
    return Finding("z", count / n, low, high, probability, float(z))


def alarm_limit(n_laws: int, alarm: float = ALARM) -> float:
    """Largest |z| that passes, so that one of `n_laws` true laws fails with chance `alarm`."""
    return float(-special.ndtri(alarm / (2 * max(n_laws, 1))))


def _quantile(tail: float) -> float:
    """|z| of a one-sided tail; nan stays, and what underflows ends at 37."""
    return float(abs(special.ndtri(max(tail, 1e-300)))) if tail == tail else np.nan
