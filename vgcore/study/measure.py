"""Measure a block of draws of one condition: the bridge from a study to the kernels."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array
from vgcore.cells import Cell, block_draws, unit_loss_gradients
from vgcore.draws import normal_block
from vgcore.initializers import INITIALIZERS, sample_block, scale_factors
from vgcore.kernels.layout import lanes_side_by_side
from vgcore.profile import gradient_profile, rate_window
from vgcore.spectrum import spectral_radius
from vgcore.streams import Purpose, Streams
from vgcore.study.cells import Parts
from vgcore.study.config import FACTORS, SIZES, Condition, Measure
from vgcore.study.plan import draw_flop
from vgcore.study.remedies import Nothing, Remedy, Run

Columns = dict[str, npt.NDArray[Any]]
# Those of a deep network are not kept: one a layer, and few conditions share them.
KEPT_BLOCKS = 4


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

    def network(self, c: Condition, draws: range) -> tuple[Cell, npt.NDArray[np.float64]]:
        """The networks of a condition and the spectral radii of their recurrent matrices.

        The radius is measured before a matrix is scaled, and scaled with it; that of a cell with
        several matrices is their mean.
        """
        _, streams = self._streams(c)
        n_blocks = c.cell.n_blocks(c.n_steps)
        init, law = c.recurrent_law
        # a law that depends on the network, as critical does, is solved for this one
        taken = {
            name: getattr(c, name) for name in INITIALIZERS[init].parameters if name in FACTORS
        }
        law = taken | law
        blocks = np.empty((len(draws), n_blocks, c.n_hidden, c.n_hidden), np.dtype(c.dtype))
        radius = np.empty((n_blocks, len(draws)))
        for block in range(n_blocks):
            W, own = self._matrices(c, block_draws(block, draws), init, law)
            factor = scale_factors(init, draws, c.n_hidden, law, c.gain, c.spectral_radius, own)
            blocks[:, block] = checks.cast(
                f"draws of init {init!r}", W * factor[:, None, None], blocks.dtype
            )
            radius[block] = own * factor
        parts = Parts(blocks, streams, draws, c.n_inputs, c.input_variance, c.activation)
        return c.cell.make(parts), radius.mean(axis=0)

    def _matrices(
        self, c: Condition, draws: range, init: str, law: dict[str, Any]
    ) -> tuple[Array, npt.NDArray[np.float64]]:
        """Matrices of gain 1 and their spectral radii; kept for the few blocks of a gated cell."""
        sizes, streams = self._streams(c)

        def sample() -> tuple[Array, npt.NDArray[np.float64]]:
            W = sample_block(init, draws, c.n_hidden, streams, law)
            return W, spectral_radius(W, n_threads=1)

        kind = f"weights {draws.start >> 32}" if draws.start >> 32 < KEPT_BLOCKS else "weights"
        found: tuple[Array, npt.NDArray[np.float64]] = self._once(
            kind, (sizes, draws, init, tuple(law.items())), sample
        )
        return found

    def run(self, c: Condition, draws: range) -> Run:
        """What the networks of a condition run on; a loss reads units, not an LSTM's cells."""
        inputs = None
        if c.driven:
            shape = (c.n_trajectories, c.burn_in + c.n_steps, c.n_inputs)
            inputs = self._normal(c, draws, Purpose.INPUTS, shape)
        n_state = c.cell.state_size(c.n_hidden)
        state = (c.n_trajectories, n_state)
        initial_state = self._normal(c, draws, Purpose.INITIAL_STATE, state)
        loss_gradient = np.zeros((len(draws), *state))
        loss_gradient[..., : c.n_hidden] = self._loss_gradient(c, draws)
        return Run(c.n_steps, c.burn_in, inputs, c.n_trajectories, initial_state, loss_gradient)

    def _loss_gradient(self, c: Condition, draws: range) -> Array:
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
    c, draws = condition.treated, range(start, stop)
    numbers = Numbers(seed) if numbers is None else numbers
    drawn, rho = numbers.network(c, draws)
    run = numbers.run(c, draws)
    cell, stopped = c.remedy.network(drawn, run)
    if cell is not drawn:
        rho = spectral_radius(cell.W_rec, n_threads=1)
    untreated = gradient_profile(cell, jacobian=c.jacobian, **run.arguments())
    profile, cosine, log_kept = c.remedy.gradient(cell, untreated, run)
    profile = profile.mean_trajectory()
    rate = profile.rate(rate_window(c.n_steps, settings.rate_window))
    horizon = profile.horizon(settings.eps, untreated.mean_trajectory().log_norm[..., 0])
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
            "cosine": cosine.mean(axis=1),
            "log_kept": log_kept.mean(axis=1),
            "log_norm_end": profile.log_norm[:, 0, -1],
            "stopped_at": stopped.astype(np.int32),
        },
        {
            "draw": np.repeat(draw, len(lags)),
            "lag": np.tile(lags.astype(np.int32), n_draws),
            "log_norm": profile.log_norm[:, 0, lags].ravel(),
            "log_contribution": profile.log_contribution[:, 0, lags].ravel(),
        },
    )


def rehearsals(conditions: Iterable[Condition], settings: Measure) -> list[Callable[[], object]]:
    """Small calls that between them compile all that measuring these conditions takes.

    For `vgcore.warm.rehearse`, which may make neighbours at once: the spectral radius, gradients of
    each cell, remedies, which use both, and what is left of the laws of the weights.
    """
    cells: dict[object, Condition] = {}
    laws: dict[object, Condition] = {}
    remedies: dict[object, Condition] = {}
    seen = set()
    for c in conditions:
        shape = n_hidden, n_trajectories = _shape(c)
        key = c.cell, c.remedy, c.init, c.dtype, shape
        if key in seen:
            continue
        seen.add(key)
        sizes = {"n_hidden": n_hidden, "n_trajectories": n_trajectories, "n_steps": 2, "burn_in": 0}
        small = c.treated.model_copy(update=sizes)
        kind = small.cell.makes, small.dtype
        cells.setdefault((*kind, shape), small.model_copy(update={"remedy": Nothing()}))
        laws.setdefault((small.cell, small.init), small)
        remedy = type(small.remedy)  # several share what they call
        if (does := (remedy.network, remedy.gradient)) != (Remedy.network, Remedy.gradient):
            remedies.setdefault((*kind, does), small)
    networks = [functools.partial(Numbers(0).network, c, range(1)) for c in laws.values()]
    return [
        *networks[:1],  # with the spectral radius: both processes need it for the others
        *(functools.partial(_rehearse, c, settings) for c in cells.values()),
        *(functools.partial(_rehearse, c, settings) for c in remedies.values()),
        *networks[1:],
    ]


# As many draws as may share a vector, units that do, and more than any that do.
_DRAWS, _FEW, _MANY = 16, 16, 65


def _shape(c: Condition) -> tuple[int, int]:
    """Units and trajectories of a small condition that the same kernels measure."""
    lanes, _ = lanes_side_by_side(
        c.n_hidden, np.dtype(c.dtype), _DRAWS, c.n_trajectories, c.n_steps
    )
    if lanes:
        return min(c.n_hidden, _FEW), 1
    return _MANY, min(c.n_trajectories, 2)


def _rehearse(condition: Condition, settings: Measure) -> None:
    measure(condition, settings, 0, 0, _DRAWS, _Blank(0))


class _Blank(Numbers):
    """In the place of random numbers some that no kernel makes, as they matter to none."""

    def _matrices(
        self, c: Condition, draws: range, init: str, law: dict[str, Any]
    ) -> tuple[Array, npt.NDArray[np.float64]]:
        return np.tile(np.eye(c.n_hidden), (len(draws), 1, 1)), np.ones(len(draws))

    def _normal(
        self, c: Condition, draws: range, purpose: Purpose, shape: tuple[int, ...]
    ) -> Array:
        return np.zeros((len(draws), *shape))

    def _loss_gradient(self, c: Condition, draws: range) -> Array:
        return np.ones((len(draws), c.n_trajectories, c.n_hidden))


def flops_per_second() -> float:
    """Speed of one core in the plan's units, from measuring 32 draws of a small condition.

    Compiles the kernels if they are not in the cache yet.
    """
    condition = Condition(n_steps=100, burn_in=0)
    measure(condition, Measure(), 0, 0, 1)
    start = time.perf_counter()
    measure(condition, Measure(), 0, 0, 32)
    return 32 * draw_flop(condition) / (time.perf_counter() - start)
