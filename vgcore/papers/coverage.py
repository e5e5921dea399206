"""How often vgcore's own 95 % intervals hold the truth, on processes whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import signal, stats

from vgcore._typing import Array
from vgcore.papers.table import seed_of, verdict
from vgcore.profile import GradientProfile
from vgcore.stats import (
    Estimate,
    critical_value,
    hodges_lehmann,
    kaplan_meier,
    median,
    median_survival,
    restricted_mean,
    wilson,
)

ACCEPT = (0.93, 0.97)


@dataclass(frozen=True)
class Coverage:
    """Share of repetitions whose interval holds the truth; `note` says why it may not be 95 %."""

    interval: str
    process: str
    n: int
    share: Estimate
    verdict: str
    note: str


@dataclass(frozen=True)
class _Case:
    interval: str
    process: str
    repetitions: int
    covers: Callable[[np.random.Generator], Array]
    note: str = ""


def _walk(increments: Array) -> GradientProfile:
    log_norm = np.zeros((len(increments), 1, increments.shape[1] + 1))
    log_norm[:, 0, 1:] = np.cumsum(increments, axis=1)
    return GradientProfile(log_norm, log_norm, np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))


def _rate(steps: int, memory: float) -> Callable[[np.random.Generator], Array]:
    def covers(rng: np.random.Generator) -> Array:
        noise = rng.standard_normal((4000, steps + 100))
        increments = -0.05 + 0.1 * signal.lfilter([1.0], [1.0, -memory], noise, axis=1)[:, 100:]
        low, high = _walk(increments).rate().interval()
        found: Array = (low <= -0.05) & (high >= -0.05)
        return found

    return covers


def _each(
    repetitions: int, truth: float, estimate: Callable[[np.random.Generator], Estimate]
) -> Callable[[np.random.Generator], Array]:
    def covers(rng: np.random.Generator) -> Array:
        found = (estimate(rng) for _ in range(repetitions))
        return np.array([e.low <= truth <= e.high for e in found])

    return covers


_STEP, _BARRIER, _DOWN, _T = 0.5, 7, 0.6, 60
_EPS = float(np.exp(-_STEP * (_BARRIER - 0.5)))  # between two points of the lattice


def _first_passage() -> Array:
    """P(horizon > t), t = 0 ... T, of the lattice walk: step by step over its positions."""
    survival, at = [], np.zeros(_BARRIER + _T + 1)
    at[_BARRIER] = 1.0  # height above the barrier
    for _ in range(_T + 1):
        survival.append(at.sum())
        moved = np.zeros_like(at)
        moved[:-1] += _DOWN * at[1:]
        moved[1:] += (1 - _DOWN) * at[:-1]
        moved[0] = 0.0
        at = moved
    return np.array(survival)


_SURVIVAL = _first_passage()


def _horizons(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    horizon = _walk(np.where(rng.random((n, _T)) < _DOWN, -_STEP, _STEP)).horizon(_EPS)
    return horizon.lag[:, 0], horizon.censored[:, 0]


def _curve(t: int) -> Callable[[np.random.Generator], Estimate]:
    def estimate(rng: np.random.Generator) -> Estimate:
        curve = kaplan_meier(*_horizons(rng, 100))
        i = int(np.searchsorted(curve.time, t, side="right")) - 1
        if i < 0:
            return Estimate(1.0, 1.0, 1.0, 0.0)
        return Estimate(curve.survival[i], curve.low[i], curve.high[i], np.nan)

    return estimate


def _root(rng: np.random.Generator) -> Estimate:
    x = np.array([0.8, 0.9, 1.0, 1.1, 1.2])
    rates = np.log(x) + rng.normal(0.0, 0.05, 50)[:, None]
    return critical_value(x, rates, n_resamples=300, seed=int(rng.integers(2**31)))


_MEDIAN_HORIZON = float(np.argmax(_SURVIVAL <= 0.5))
_STEPWISE = "distribution-free and discrete: never below 95 %"

CASES = [
    _Case("Rate.interval", "random walk, 200 lags", 4000, _rate(200, 0.0)),
    _Case("Rate.interval", "random walk, 1,000 lags", 4000, _rate(1000, 0.0)),
    _Case(
        "Rate.interval", "increments AR(1) with 0.5, 200 lags", 4000, _rate(200, 0.5),
        "batches of 12 lags miss a part of the correlation; longer runs have longer batches",
    ),
    _Case("Rate.interval", "increments AR(1) with 0.5, 1,000 lags", 4000, _rate(1000, 0.5)),
    _Case(
        "stats.median", "100 Gumbel numbers", 8000,
        _each(8000, float(stats.gumbel_r.median()), lambda r: median(r.gumbel(size=100))),
        _STEPWISE,
    ),
    _Case(
        "stats.median", "20 Gumbel numbers", 2000,
        _each(2000, float(stats.gumbel_r.median()), lambda r: median(r.gumbel(size=20))), _STEPWISE,
    ),
    _Case(
        "stats.hodges_lehmann", "40 Laplace differences", 2000,
        _each(2000, 0.3, lambda r: hodges_lehmann(r.laplace(0.3, size=40))),
    ),
    _Case(
        "stats.wilson", "share 0.2 of 100", 20000,
        _each(20000, 0.2, lambda r: wilson(int(r.binomial(100, 0.2)), 100)),
    ),
    _Case(
        "stats.median_survival", f"lattice walk, 100 horizons censored at {_T}", 6000,
        _each(6000, _MEDIAN_HORIZON, lambda r: median_survival(*_horizons(r, 100))),
        "horizons are whole numbers of one parity here, so that the interval is wider than 95 %",
    ),
    _Case(
        "stats.restricted_mean", f"lattice walk, 100 horizons, mean to {_T}", 2000,
        _each(2000, float(_SURVIVAL[:_T].sum()), lambda r: restricted_mean(*_horizons(r, 100), _T)),
    ),
    _Case(
        "stats.kaplan_meier", "lattice walk, 100 horizons, P(horizon > 25)", 2000,
        _each(2000, float(_SURVIVAL[25]), _curve(25)),
    ),
    _Case("stats.critical_value", "50 rates ln x, five radii", 1000, _each(1000, 1.0, _root)),
]  # fmt: skip


def measure(seed: int) -> list[Coverage]:
    """Repeat every case; the accepted range is 93 to 97 %."""
    rows = []
    for case in CASES:
        hits = case.covers(np.random.default_rng(seed_of(case.interval + case.process, seed)))
        share = wilson(int(hits.sum()), hits.size)
        judged = verdict(share, ACCEPT).replace("not reproduced", "outside 93 to 97 %")
        judged = judged.replace("reproduced", "within 93 to 97 %")
        rows.append(Coverage(case.interval, case.process, hits.size, share, judged, case.note))
    return rows
