"""What a claim of the literature is, and how its verdict is computed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vgcore.stats import Estimate


@dataclass(frozen=True)
class Series:
    """Points with intervals, or a line of theory, in the figure of a claim."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    theory: bool = False


@dataclass(frozen=True)
class Figure:
    """The one figure of a claim."""

    x_label: str
    y_label: str
    series: Sequence[Series]
    x_log: bool = False
    y_log: bool = False


@dataclass(frozen=True)
class Finding:
    """What was measured; `accept` are the ends of what counts as reproducing the claim."""

    measured: Estimate
    expected: float
    accept: tuple[float, float]
    setting: str
    figure: Figure
    reason: str = ""  # said where the claim is not reproduced


@dataclass(frozen=True)
class Claim:
    """A claim: `source` is where in the paper it stands, `statement` what it says in our words."""

    name: str
    paper: str
    source: str
    statement: str
    measure: Callable[[int], Finding] = field(repr=False)


CLAIMS: dict[str, Claim] = {}


def claim(
    name: str, paper: str, source: str, statement: str, **arguments: Any
) -> Callable[[Callable[..., Finding]], Callable[..., Finding]]:
    """Enter a function (seed, **arguments) -> Finding in the scoreboard."""

    def enter(function: Callable[..., Finding]) -> Callable[..., Finding]:
        CLAIMS[name] = Claim(
            name, paper, source, statement, lambda seed: function(seed, **arguments)
        )
        return function

    return enter


def seed_of(name: str, seed: int) -> int:
    """A seed of its own for each claim."""
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)[0])


def verdict(measured: Estimate, accept: tuple[float, float]) -> str:
    """Judge by the interval: wholly inside of what is accepted, wholly outside, or neither.

    Examples
    --------
    >>> verdict(Estimate(1.0, 0.9, 1.1, 0.05), (0.8, 1.2))
    'reproduced'
    >>> verdict(Estimate(1.0, 0.7, 1.3, 0.15), (0.8, 1.2))
    'not resolvable at this size'
    >>> verdict(Estimate(1.0, 0.9, 1.1, 0.05), (2.0, 3.0))
    'not reproduced'
    """
    low, high = accept
    if low <= measured.low and measured.high <= high:
        return "reproduced"
    if measured.high < low or measured.low > high:
        return "not reproduced"
    return "not resolvable at this size"


def exact(value: float) -> Estimate:
    """A number without sampling error."""
    return Estimate(value, value, value, 0.0)


def violations(count: int, n: int) -> Estimate:
    """Share of cases against a bound, with the exact binomial interval."""
    from scipy import special

    low = float(special.betaincinv(count, n - count + 1, 0.025)) if count else 0.0
    high = float(special.betaincinv(count + 1, n - count, 0.975)) if count < n else 1.0
    return Estimate(count / n, low, high, float(np.sqrt(count / n * (1 - count / n) / n)))


def bootstrap(
    function: Callable[[npt.NDArray[np.int64]], float], n: int, seed: int, resamples: int = 400
) -> Estimate:
    """Percentile interval of a function of drawn draws' indices."""
    rng = np.random.default_rng(seed)
    values = [function(rng.integers(n, size=n)) for _ in range(resamples)]
    low, high = np.quantile(values, (0.025, 0.975))
    return Estimate(function(np.arange(n)), float(low), float(high), float(np.std(values, ddof=1)))
