"""Measure a block of draws of one condition: the bridge from a study to the kernels."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array
from vgcore.cells import RNN, normal_block, unit_loss_gradients
from vgcore.initializers import INITIALIZERS, sample_block, scale_factors
from vgcore.profile import gradient_profile, rate_window
from vgcore.spectrum import spectral_radius
from vgcore.streams import Purpose, Streams
from vgcore.study.config import FACTORS, SIZES, Condition, Measure
from vgcore.study.plan import draw_flop

Columns = dict[str, npt.NDArray[Any]]


def lag_grid(n_steps: int, n_lags: int) -> npt.NDArray[np.int64]:
    """Lags that are kept: 0, 1 and then evenly in the logarithm up to n_steps, at most n_lags."""
    spaced = np.geomspace(1.0, n_steps, max(n_lags - 1, 1)).round().astype(np.int64)
    return np.unique(np.concatenate([[0], spaced, [n_steps]]))


class Numbers:
    """Random numbers for one condition after another, those that they share drawn once.

    The numbers of draw d depend on (seed, the condition's sizes, d) alone: conditions of equal size
    share them, so that effects of everything else are paired by draw. What was drawn last of each
    kind is kept, and no more, so that memory does not grow. Not for use by two threads at once.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._kept: dict[str, tuple[object, Any]] = {}

    def _once(self, kind: str, address: object, make: Callable[[], Any]) -> Any:
        """What `make` returns, or returned where `kind` was last wanted at this address."""
        kept = self._kept.pop(kind, None)
        if kept is None or kept[0] != address:
            kept = (address, make())
        self._kept[kind] = kept
        return kept[1]

    def network(self, c: Condition, draws: range) -> tuple[RNN, npt.NDArray[np.float64]]:
        """The networks of a condition and the spectral radii of their W_rec.

        The radius is measured before the matrix is scaled, and scaled with it.
        """
        sizes, streams = self._streams(c)
        # a law that depends on the network, as critical does, is solved for this one
        parameters = INITIALIZERS[c.init].parameters
        law = {name: getattr(c, name) for name in parameters if name in FACTORS} | dict(c.law)

        def sample() -> tuple[Array, npt.NDArray[np.float64]]:
            W = sample_block(c.init, draws, c.n_hidden, streams, law)
            return W, spectral_radius(W, n_threads=1)

        address = (sizes, draws, c.init, tuple(law.items()))
        W, radius = self._once("weights", address, sample)
        factor = scale_factors(c.init, draws, c.n_hidden, law, c.gain, c.spectral_radius, radius)
        W_rec = checks.cast(
            f"draws of init {c.init!r}", W * factor[:, None, None], np.dtype(c.dtype)
        )
        W_in = self._normal(c, draws, Purpose.INPUT_WEIGHTS, (c.n_hidden, c.n_inputs))
        W_in = W_in * (c.input_variance**0.5 * c.n_inputs**-0.5)
        return RNN(W_rec, W_in, activation=c.activation), radius * factor

    def inputs(self, c: Condition, draws: range) -> Array | None:
        """White input at every time; None for an autonomous condition."""
        if not c.input_variance:
            return None
        shape = (c.n_trajectories, c.burn_in + c.n_steps, c.n_inputs)
        return self._normal(c, draws, Purpose.INPUTS, shape)

    def initial_state(self, c: Condition, draws: range) -> Array:
        return self._normal(c, draws, Purpose.INITIAL_STATE, (c.n_trajectories, c.n_hidden))

    def loss_gradient(self, c: Condition, draws: range) -> Array:
        """A random unit vector for each trajectory."""
        sizes, streams = self._streams(c)
        shape = (c.n_trajectories, c.n_hidden)
        gradient: Array = self._once(
            Purpose.LOSS_GRADIENT.name,
            (sizes, draws),
            lambda: unit_loss_gradients(streams, draws, shape),
        )
        return gradient

    def _normal(
        self, c: Condition, draws: range, purpose: Purpose, shape: tuple[int, ...]
    ) -> Array:
        sizes, streams = self._streams(c)
        normal: Array = self._once(
            purpose.name,
            (sizes, draws, shape),
            lambda: normal_block(streams, purpose, draws, shape),
        )
        return normal

    def _streams(self, c: Condition) -> tuple[tuple[Any, ...], Streams]:
        """The streams of a condition's sizes, and the sizes."""
        sizes = tuple(getattr(c, name) for name in SIZES)
        return sizes, self._once("streams", sizes, lambda: Streams.from_address(self._seed, *sizes))


def measure(
    condition: Condition,
    settings: Measure,
    seed: int,
    start: int,
    stop: int,
    numbers: Numbers | None = None,
) -> tuple[Columns, Columns]:
    """Columns of the `draws` and `profiles` tables for draws start <= d < stop, on one thread.

    Pass the `Numbers` of that seed again and again, condition by condition, to save drawing anew
    what they share; the result does not depend on it.
    """
    c, draws = condition, range(start, stop)
    numbers = Numbers(seed) if numbers is None else numbers
    cell, rho = numbers.network(c, draws)
    profile = gradient_profile(
        cell,
        c.n_steps,
        inputs=numbers.inputs(c, draws),
        n_trajectories=c.n_trajectories,
        initial_state=numbers.initial_state(c, draws),
        loss_gradient=numbers.loss_gradient(c, draws),
        burn_in=c.burn_in,
        jacobian=c.jacobian,
        n_threads=1,
    )
    profile = profile.mean_trajectory()
    rate = profile.rate(rate_window(c.n_steps, settings.rate_window))
    horizon = profile.horizon(settings.eps)
    lags = lag_grid(c.n_steps, settings.n_lags)
    n_draws = len(draws)
    draw = np.arange(start, stop, dtype=np.int64)
    return (
        {
            "draw": draw,
            "rate": rate.value[:, 0],
            "rate_se": rate.stderr[:, 0],
            "horizon": horizon.lag[:, 0].astype(np.int32),
            "censored": horizon.censored[:, 0],
            "growth_horizon": horizon.growth_lag[:, 0].astype(np.int32),
            "growth_censored": horizon.growth_censored[:, 0],
            "event": horizon.event[:, 0],
            # at its rate the norm grows to 1/eps within n_steps; rounding is not growth
            "growing": rate.value[:, 0] > -np.log(settings.eps) / c.n_steps,
            "rho": rho,
            "log_norm_end": profile.log_norm[:, 0, -1],
        },
        {
            "draw": np.repeat(draw, len(lags)),
            "lag": np.tile(lags.astype(np.int32), n_draws),
            "log_norm": profile.log_norm[:, 0, lags].ravel(),
            "log_contribution": profile.log_contribution[:, 0, lags].ravel(),
        },
    )


def flops_per_second() -> float:
    """Speed of one core in the plan's units, from measuring 32 draws of a small condition.

    Compiles the kernels if they are not in the cache yet.
    """
    condition = Condition(n_steps=100, burn_in=0)
    measure(condition, Measure(), 0, 0, 1)
    start = time.perf_counter()
    measure(condition, Measure(), 0, 0, 32)
    return 32 * draw_flop(condition) / (time.perf_counter() - start)
