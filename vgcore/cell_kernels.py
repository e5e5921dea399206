"""Gradient profiles of all cells: what their kernels are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from vgcore._typing import Array
from vgcore.activations import activation as find_activation
from vgcore.cells import RNN, Cell, LeakyRNN
from vgcore.deep import DeepNet
from vgcore.gated import GRU, LSTM
from vgcore.kernels.deep import DeepRows, Layers, _deep_batch, deep_side_by_side, new_deep_rows
from vgcore.kernels.gates import new_gate_rows
from vgcore.kernels.gru import _gru_batch
from vgcore.kernels.layout import (
    ONE_MATRIX,
    Layout,
    Needs,
    Network,
    evenly,
    lanes_side_by_side,
    new_layout,
    rows_side_by_side,
)
from vgcore.kernels.leaky import Leaky, _leaky_batch, new_leaky
from vgcore.kernels.lstm import _lstm_batch
from vgcore.kernels.rnn import Nets, _profile_batch, new_nets
from vgcore.kernels.vectors import padded
from vgcore.parallel import block, over_draws

Logs = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

# Gates in the order of the kernel, by their places in the order of the cell.
LSTM_ORDER, GRU_ORDER = np.array([0, 1, 3, 2]), np.arange(3)


def run_kernel(
    cell: Cell,
    n_steps: int,
    inputs: Array,
    initial_state: Array,
    loss_gradient: Array,
    n_trajectories: int,
    burn_in: int,
    n_threads: int | None,
    **options: Any,
) -> Logs:
    """Run the kernel of a cell over blocks of draws: log norms and log contributions.

    Leading axes of inputs, initial_state and loss_gradient are (draws or 1, trajectories or 1).
    Options are for the kernel of this kind of cell.
    """
    batch, parameters, constants, scratch, grain = prepare(
        cell, n_steps, inputs.shape[-1], n_trajectories
    )
    given = (inputs, initial_state, loss_gradient)
    out = [np.empty((cell.n_draws, n_trajectories, n_steps + 1)) for _ in range(2)]

    def work(start: int, stop: int, *own: Any) -> None:
        batch(
            *(array[start:stop] for array in parameters),
            *constants,
            *(block(array, start, stop) for array in given),
            burn_in,
            *own,
            *(array[start:stop] for array in out),
            **options,
        )

    over_draws(work, cell.n_draws, n_threads, grain=grain, scratch=scratch)
    return out[0], out[1]


def prepare(
    cell: Cell, n_steps: int, n_inputs: int, n_trajectories: int | None = None
) -> _Prepared:
    """A cell's kernel, arrays with an axis of draws, what all draws share, and a maker of scratch.

    The last is the number of draws carried side by side: one where n_trajectories is None, which is
    for walks along one trajectory.

    n_inputs is 0 where there is no input, also for a cell that could have one.
    """
    batch, parameters, constants, scratch, grain = _PREPARE[type(cell)](
        cell, n_steps, n_inputs, n_trajectories
    )
    arrays = [np.require(array, requirements=["C", "W"]) for array in parameters]
    return batch, arrays, constants, scratch, grain


_Prepared = tuple[Any, list[Array], list[Any], Callable[[], list[Any]], int]


def rows_of(
    kind: type[Cell], n_hidden: int, dtype: np.dtype[Any], n_trajectories: int, n_steps: int
) -> tuple[int, int, int]:
    """How many draws, and trajectories of each, a cell's kernel carries side by side, and what it
    keeps of them at each step, in bytes.
    """
    D, K, needs = 1, 1, _NEEDS.get(kind, ONE_MATRIX)
    if kind in _NEEDS:
        D, K = rows_side_by_side(n_hidden, dtype, n_trajectories, n_steps, needs)
    return D, K, D * K * needs.kept * padded(n_hidden, dtype) * dtype.itemsize


def _rows(cell: Cell, n_trajectories: int, n_steps: int) -> tuple[int, int]:
    """How many draws, as many in each of their groups, and trajectories lie in rows."""
    D, K, _ = rows_of(type(cell), cell.n_hidden, cell.dtype, n_trajectories, n_steps)
    return evenly(cell.n_draws, D), K


# Of cells that have rows side by side.
_NEEDS: dict[type[Cell], Needs] = {
    RNN: ONE_MATRIX,
    LeakyRNN: ONE_MATRIX,
    LSTM: Needs(matrices=4, states=2, vectors=20, kept=6),
    GRU: Needs(matrices=3, states=1, vectors=16, kept=4),
}


def _lstm(cell: LSTM, n_steps: int, n_inputs: int, n_trajectories: int | None) -> _Prepared:
    parameters = [cell.W_hh, input_weights(cell, n_inputs), cell.bias]
    return _gated(_lstm_batch, parameters, LSTM_ORDER, cell, n_steps, n_trajectories)


def _gru(cell: GRU, n_steps: int, n_inputs: int, n_trajectories: int | None) -> _Prepared:
    parameters = [cell.W_hh, input_weights(cell, n_inputs), cell.b_ih, cell.b_hh]
    return _gated(_gru_batch, parameters, GRU_ORDER, cell, n_steps, n_trajectories)


def _gated(
    batch: Any,
    parameters: list[Array],
    order: Array,
    cell: GRU | LSTM,
    n_steps: int,
    n_trajectories: int | None,
) -> _Prepared:
    n, n_inputs, dtype = cell.n_hidden, parameters[1].shape[2], cell.dtype
    D, K, needs = 1, 1, _NEEDS[type(cell)]
    if n_trajectories is not None:
        D, K = _rows(cell, n_trajectories, n_steps)

    def scratch() -> list[Any]:
        return [new_gate_rows(D, K, n, n_inputs, n_steps, dtype, needs)]

    return batch, parameters, [order], scratch, D


def _vanilla(cell: RNN, n_steps: int, n_inputs: int, n_trajectories: int | None) -> _Prepared:
    return _one_matrix(_vanilla_run, new_nets, [], cell, n_steps, n_inputs, n_trajectories)


def _leaky(cell: LeakyRNN, n_steps: int, n_inputs: int, n_trajectories: int | None) -> _Prepared:
    shares = np.array([cell.leak, 1.0 - cell.leak], cell.dtype)
    return _one_matrix(_leaky_run, new_leaky, [shares], cell, n_steps, n_inputs, n_trajectories)


def _one_matrix(
    batch: Any,
    new: Callable[[Layout, int], Any],
    constants: list[Any],
    cell: RNN | LeakyRNN,
    n_steps: int,
    n_inputs: int,
    n_trajectories: int | None,
) -> _Prepared:
    n, dtype = cell.n_hidden, cell.dtype
    R, D, lanes = 1, 1, False
    if n_trajectories is not None:
        R, D = lanes_side_by_side(n, dtype, cell.n_draws, n_trajectories, n_steps)
        lanes = R > 0
        if not lanes:
            D, K = _rows(cell, n_trajectories, n_steps)
            R = D * K

    def scratch() -> list[Any]:
        return [new(new_layout(R, D, lanes, n, n_inputs, dtype), n_steps)]

    bias = np.zeros((cell.n_draws, n), dtype) if cell.bias is None else cell.bias
    parameters = [cell.W_rec, input_weights(cell, n_inputs), bias]
    return batch, parameters, [*_law(cell), *constants], scratch, D


def _vanilla_run(
    W_rec: Array,
    W_in: Array,
    bias: Array,
    code: int,
    near_zero: Array,
    far: Array,
    inputs: Array,
    initial_state: Array,
    loss_gradient: Array,
    burn_in: int,
    nets: Nets,
    *out: Array,
    as_printed: bool = False,
) -> None:
    network = Network(
        *(W_rec, W_in, bias, code, near_zero, far),
        *(inputs, initial_state, loss_gradient, burn_in, as_printed),
    )
    _profile_batch(network, nets, *out)


def _leaky_run(
    W_rec: Array,
    W_in: Array,
    bias: Array,
    code: int,
    near_zero: Array,
    far: Array,
    shares: Array,
    inputs: Array,
    initial_state: Array,
    loss_gradient: Array,
    burn_in: int,
    rows: Leaky,
    *out: Array,
) -> None:
    network = Network(
        *(W_rec, W_in, bias, code, near_zero, far),
        *(inputs, initial_state, loss_gradient, burn_in, False),
    )
    _leaky_batch(network, shares, rows, *out)


def _deep(cell: DeepNet, n_steps: int, n_inputs: int, n_trajectories: int | None) -> _Prepared:
    n, dtype, D, K = cell.n_hidden, cell.dtype, 1, 1
    if n_trajectories is not None:
        D, K = deep_side_by_side(n, dtype, cell.n_draws, n_trajectories, cell.n_layers)

    def scratch() -> list[Any]:
        return [new_deep_rows(D, K, n, n_steps, dtype)]

    return _deep_run, [cell.W, cell.bias], [*_law(cell), cell.residual], scratch, D


def _deep_run(
    W: Array,
    bias: Array,
    code: int,
    near_zero: Array,
    far: Array,
    residual: bool,
    inputs: Array,
    initial_state: Array,
    loss_gradient: Array,
    burn_in: int,
    rows: DeepRows,
    *out: Array,
) -> None:
    layers = Layers(W, bias, code, near_zero, far, residual)
    _deep_batch(layers, initial_state, loss_gradient, rows, *out)


def _law(cell: RNN | LeakyRNN | DeepNet) -> list[Any]:
    """Code and outer lines of the activation of a cell."""
    law = find_activation(cell.activation)
    return [law.code, *law.lines(cell.dtype)]


def input_weights(cell: Cell, n_inputs: int) -> Array:
    """The input weights, or those of no input at all."""
    if cell.W_in is not None and n_inputs > 0:
        return cell.W_in
    return np.zeros((*cell.W_rec.shape[:2], 0), cell.dtype)


_PREPARE: dict[type[Cell], Callable[..., _Prepared]] = {
    RNN: _vanilla,
    LeakyRNN: _leaky,
    LSTM: _lstm,
    GRU: _gru,
    DeepNet: _deep,
}
