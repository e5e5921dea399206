"""Measure a block of draws of one condition: the bridge from a study to the kernels."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from vgcore.cells import RNN, normal_block, unit_loss_gradients
from vgcore.initializers import INITIALIZERS
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


def measure(
    condition: Condition, settings: Measure, seed: int, start: int, stop: int
) -> tuple[Columns, Columns]:
    """Columns of the `draws` and `profiles` tables for draws start <= d < stop, on one thread.

    The numbers of draw d depend on (seed, the condition's sizes, d) alone: conditions of equal size
    share them, so that effects of everything else are paired by draw.
    """
    c = condition
    # a law that depends on the network, as critical does, is solved for this one
    parameters = INITIALIZERS[c.init].parameters
    network = {name: getattr(c, name) for name in parameters if name in FACTORS}
    streams = Streams.from_address(seed, *(getattr(c, name) for name in SIZES))
    draws = range(start, stop)
    cell = RNN.draw_block(
        draws,
        c.n_hidden,
        init=c.init,
        gain=c.gain,
        spectral_radius=c.spectral_radius,
        n_inputs=c.n_inputs,
        input_variance=c.input_variance,
        bias_variance=0.0,
        activation=c.activation,
        dtype=c.dtype,
        streams=streams,
        n_threads=1,
        law={**network, **dict(c.law)},
    )
    inputs = None
    if c.n_inputs and c.input_variance:
        times = c.burn_in + c.n_steps
        inputs = normal_block(streams, Purpose.INPUTS, draws, (c.n_trajectories, times, c.n_inputs))
    states = (c.n_trajectories, c.n_hidden)
    profile = gradient_profile(
        cell,
        c.n_steps,
        inputs=inputs,
        n_trajectories=c.n_trajectories,
        initial_state=normal_block(streams, Purpose.INITIAL_STATE, draws, states),
        loss_gradient=unit_loss_gradients(streams, draws, states),
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
            "rho": spectral_radius(cell.W_rec, n_threads=1),
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
