"""The arguments that functions of trajectories in float64 have in common."""

from __future__ import annotations

import numpy as np

from vgcore import checks
from vgcore._typing import Array
from vgcore.activations import activation as find_activation
from vgcore.cells import RNN, Cell, unit_loss_gradients
from vgcore.draws import normal_block
from vgcore.kernels.tangent import Network
from vgcore.streams import Purpose, Streams


def network(
    cell: RNN,
    n_times: int,
    inputs: object,
    initial_state: object,
    streams: Streams,
    n_trajectories: int | None = None,
) -> Network:
    """Check the arguments, and put them in float64 into the form that kernels take.

    `inputs` broadcasts to (n_draws, n_times, n_inputs), `initial_state` to (n_draws, n_state);
    where that is None, standard normal numbers are drawn. Where `n_trajectories` is given, both
    have an axis of that length after the draws, and the numbers are those of `gradient_profile`.
    """
    check_cell(cell)
    if not isinstance(cell, RNN):
        raise TypeError(f"cell: found {type(cell).__name__}; this function is for vgcore.RNN alone")
    u, state = drive_and_state(cell, n_times, inputs, initial_state, streams, n_trajectories)
    n_draws, n = cell.n_draws, cell.n_state
    W_in = np.zeros((n_draws, n, 0)) if inputs is None or cell.W_in is None else cell.W_in
    law = find_activation(cell.activation)
    return Network(
        _float64(cell.W_rec),
        _float64(W_in),
        np.zeros((n_draws, n)) if cell.bias is None else _float64(cell.bias),
        law.code,
        *law.lines(np.float64),
        u,
        state,
    )


def check_cell(cell: object) -> None:
    """Refuse what is no cell."""
    if not isinstance(cell, Cell):
        raise TypeError(f"cell: found {type(cell).__name__}, expected a cell such as vgcore.RNN")


def drive_and_state(
    cell: Cell,
    n_times: int,
    inputs: object,
    initial_state: object,
    streams: Streams,
    n_trajectories: int | None = None,
) -> tuple[Array, Array]:
    """Inputs and initial states of any cell, checked, in float64; see `network`."""
    check_cell(cell)
    if inputs is not None and cell.W_in is None:
        raise ValueError("inputs: given, but the cell has no input weights; make it with W_in=")
    n_draws, n = cell.n_draws, cell.n_state
    rows, axes = ((), "") if n_trajectories is None else ((n_trajectories,), " n_trajectories,")
    if initial_state is None:
        initial_state = normal_block(streams, Purpose.INITIAL_STATE, range(n_draws), (*rows, n))
    state = checks.broadcast(
        "initial_state", initial_state, (n_draws, *rows, n), f"(n_draws,{axes} n_state)"
    )
    if inputs is None:
        u = np.zeros((*(1 for _ in rows), 1, 1, 0))
    else:
        shape = (n_draws, *rows, n_times, cell.n_inputs)
        names = f"(n_draws,{axes} burn-in and n_steps, n_inputs)"
        u = checks.broadcast("inputs", inputs, shape, names)
    return compact(u), compact(state)


def last_losses(cell: Cell, n_trajectories: int, loss_gradient: object, streams: Streams) -> Array:
    """Check dE_T/dx_T, which broadcasts to (n_draws, n_trajectories, n_state); float64.

    Where it is None, it is made of the random unit vectors of `gradient_profile`.
    """
    shape = (cell.n_draws, n_trajectories, cell.n_state)
    if loss_gradient is None:
        loss_gradient = unit_loss_gradients(streams, range(cell.n_draws), shape[1:])
    names = "(n_draws, n_trajectories, n_state)"
    return _float64(checks.broadcast("loss_gradient", loss_gradient, shape, names))


def compact(array: Array) -> Array:
    """Return a contiguous float64 array with the axes that were broadcast 1 long again."""
    return _float64(checks.once(array))


def refuse_overflow(network: Network | Cell, values: Array) -> None:
    """Raise for the first draw with a nan or inf among its `values` (n_draws, ...)."""
    finite = (values < np.inf).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        draw = int(finite.argmin())
        largest = np.abs(network.W_rec[draw]).max()
        raise FloatingPointError(
            f"cell: one step of draw {draw} overflows float64 (largest entry of W_rec "
            f"{largest:.3g}); use smaller weights and inputs"
        )


def _float64(array: Array) -> Array:
    """Return a contiguous float64 array."""
    return np.require(array, np.float64, ["C", "W", "A"])
