"""The arguments that functions of trajectories in float64 have in common."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array
from vgcore.activations import activation as find_activation
from vgcore.cells import RNN, Cell, unit_loss_gradients
from vgcore.deep import DeepNet
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
    """Refuse what is no cell, and say how one is made of a module of PyTorch."""
    if not isinstance(cell, Cell):
        of_torch = hasattr(cell, "state_dict")
        how = "; LSTM, GRU and, for torch.nn.RNN, LeakyRNN have from_torch(module)"
        raise TypeError(
            f"cell: found {type(cell).__name__}, expected a cell such as vgcore.RNN"
            f"{how if of_torch else ''}"
        )


def first_states(
    cell: Cell, initial_state: object, streams: Streams, n_trajectories: int | None = None
) -> Array:
    """Initial states (n_draws, n_state), or (n_draws, n_trajectories, n_state), broadcast."""
    rows, axes = ((), "") if n_trajectories is None else ((n_trajectories,), " n_trajectories,")
    shape = (*rows, cell.n_state)
    if initial_state is None:
        initial_state = normal_block(streams, Purpose.INITIAL_STATE, range(cell.n_draws), shape)
    names = f"(n_draws,{axes} n_state)"
    return checks.broadcast("initial_state", initial_state, (cell.n_draws, *shape), names)


def drive(cell: Cell, n_times: int, inputs: object, n_trajectories: int | None = None) -> Array:
    """Inputs (n_draws, n_times, n_inputs), likewise; where there are none, n_inputs is 0."""
    rows, axes = ((), "") if n_trajectories is None else ((n_trajectories,), " n_trajectories,")
    if inputs is None:
        return np.zeros((*(1 for _ in rows), 1, 1, 0))
    if cell.W_in is None:
        how = (
            "a DeepNet's is its initial_state" if isinstance(cell, DeepNet) else "make it with W_in"
        )
        raise ValueError(f"inputs: found some, but the cell has no input weights; {how}")
    shape = (cell.n_draws, *rows, n_times, cell.n_inputs)
    names = f"(n_draws,{axes} burn_in + n_steps, n_inputs)"
    how = "; for a batch of sequences a network, set n_trajectories" if rows == (1,) else ""
    return checks.broadcast("inputs", inputs, shape, names, how)


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
    return (
        compact(drive(cell, n_times, inputs, n_trajectories)),
        compact(first_states(cell, initial_state, streams, n_trajectories)),
    )


def loss_gradients(
    cell: Cell, loss_gradient: object, streams: Streams, n_trajectories: int
) -> Array:
    """dE_T/dx_T, broadcast to (n_draws, n_trajectories, n_state); random unit vectors for None."""
    shape = (cell.n_draws, n_trajectories, cell.n_state)
    if loss_gradient is None:
        loss_gradient = unit_loss_gradients(streams, range(cell.n_draws), shape[1:])
    names = "(n_draws, n_trajectories, n_state)"
    return checks.broadcast("loss_gradient", loss_gradient, shape, names)


def last_losses(cell: Cell, n_trajectories: int, loss_gradient: object, streams: Streams) -> Array:
    """Check dE_T/dx_T, which broadcasts to (n_draws, n_trajectories, n_state); float64.

    Where it is None, it is made of the random unit vectors of `gradient_profile`.
    """
    return _float64(loss_gradients(cell, loss_gradient, streams, n_trajectories))


def compact(array: Array) -> Array:
    """Return a contiguous float64 array with the axes that were broadcast 1 long again."""
    return _float64(checks.once(array))


def refuse_overflow(
    network: Network | Cell, values: Array, dtype: npt.DTypeLike = np.float64
) -> None:
    """Raise for the first draw with a nan or inf among its `values` (n_draws, ...)."""
    finite = (values < np.inf).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        draw = int(finite.argmin())
        largest = np.abs(network.W_rec[draw]).max()
        wider = "" if dtype == np.float64 else "float64, or "
        raise FloatingPointError(
            f"cell: one step of draw {draw} overflows {np.dtype(dtype)} (largest recurrent weight "
            f"{largest:.3g}); use {wider}smaller weights and inputs"
        )


def _float64(array: Array) -> Array:
    """Return a contiguous float64 array."""
    return np.require(array, np.float64, ["C", "W", "A"])
