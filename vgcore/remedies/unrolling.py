"""Networks of any cell unrolled: what the remedies that need dE/dW_rec run on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vgcore import checks
from vgcore._typing import Array
from vgcore.cell_steps import at, walk
from vgcore.cells import RNN, Cell
from vgcore.deep import DeepNet
from vgcore.kernels.tangent import Network, new_motion
from vgcore.kernels.unrolled import Unrolled, _unroll, new_unrolled
from vgcore.parallel import over_draws
from vgcore.streams import Streams
from vgcore.trajectory import drive_and_state, network

# Fills its Unrolled with a draw and trajectory, for these losses.
Unroll = Callable[[int, int, Array], None]


def unroller(
    cell: Cell,
    n_steps: int,
    burn_in: int,
    inputs: object,
    initial_state: object,
    streams: Streams,
    n_trajectories: int,
) -> Callable[[], tuple[Unrolled, Unroll]]:
    """Check the arguments; return what makes an `Unrolled` and the function that fills it."""
    if isinstance(cell, DeepNet):
        raise TypeError(
            "cell: found DeepNet, each of whose layers has weights of its own; expected a "
            "recurrent cell, such as vgcore.RNN, with one dE/dW_rec of all steps"
        )
    if isinstance(cell, Cell):
        checks.room("n_steps, n_state", (n_steps, cell.n_state))
    given = (burn_in + n_steps, inputs, initial_state, streams, n_trajectories)
    if isinstance(cell, RNN):
        return partial(_vanilla, network(cell, *given), n_steps, burn_in)
    return partial(_other, cell, drive_and_state(cell, *given), n_steps, burn_in)


def _vanilla(draws: Network, n_steps: int, burn_in: int) -> tuple[Unrolled, Unroll]:
    n = draws.W_rec.shape[1]
    motion, unrolled = new_motion(n, draws.inputs[0]), new_unrolled(n, n_steps)

    def unroll(draw: int, trajectory: int, losses: Array) -> None:
        _unroll(draws, draw, trajectory, burn_in, losses, motion, unrolled)

    return unrolled, unroll


def _other(
    cell: Cell, given: tuple[Array, Array], n_steps: int, burn_in: int
) -> tuple[Unrolled, Unroll]:
    steps = walk(cell, *given)
    unrolled = steps.new_unrolled(n_steps)

    def unroll(draw: int, trajectory: int, losses: Array) -> None:
        steps.begin(draw, trajectory)
        steps.skip(burn_in)
        steps.unroll(losses, unrolled)

    return unrolled, unroll


def over_trajectories(
    new_unrolled: Callable[[], tuple[Unrolled, Unroll]],
    losses: Array,
    shape: tuple[int, int],
    work: Callable[..., None],
    scratch: Callable[[Unrolled], tuple[Any, ...]],
    n_threads: int | None,
) -> None:
    """Call work(draw, trajectory, loss, unrolled, *scratch) for each of (draws, trajectories).

    losses (draws or 1, trajectories or 1, n, n_state) are dE_t/dx_t of the last n states.
    """

    def run(first: int, stop: int, unrolled: Unrolled, unroll: Unroll, *own: Any) -> None:
        for d in range(first, stop):
            for k in range(shape[1]):
                loss = at(losses, d, k)
                unroll(d, k, loss)
                work(d, k, loss, unrolled, *own)

    def new() -> tuple[Any, ...]:
        unrolled, unroll = new_unrolled()
        return unrolled, unroll, *scratch(unrolled)

    over_draws(run, shape[0], n_threads, scratch=new)
