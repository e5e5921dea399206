"""The parameters of cells and readouts as the rows that kernels train, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vgcore import checks
from vgcore._typing import Array
from vgcore.cells import RNN, Cell, LeakyRNN
from vgcore.deep import DeepNet
from vgcore.draws import normal_block
from vgcore.gated import GRU, LSTM
from vgcore.kernels.training import Sizes, parameter_count, row_size
from vgcore.kernels.vectors import aligned_zeros
from vgcore.streams import Purpose, Streams

# Gates as kernels order them, by their place in the cell's arrays.
_ORDER: dict[type[Cell], tuple[int, ...]] = {LSTM: (0, 1, 3, 2), GRU: (0, 1, 2)}


def sizes_of(cell: Cell, n_outputs: int) -> Sizes:
    """Sizes of the nets; refuses cells that have no trainer."""
    if not isinstance(cell, (RNN, LeakyRNN, LSTM, GRU, DeepNet)):
        raise TypeError(
            f"cell: found {type(cell).__name__}, expected an RNN, LeakyRNN, LSTM, GRU or DeepNet "
            "of vgcore"
        )
    if isinstance(cell, DeepNet):  # a layer is as a gate
        return Sizes(cell.n_hidden, 1, 0, n_outputs, cell.n_layers)
    gates = len(_ORDER.get(type(cell), (0,)))
    return Sizes(cell.n_hidden, 1 + isinstance(cell, GRU), cell.n_inputs, n_outputs, gates)


def readout_of(cell: Cell, n_outputs: int, readout: Any, streams: Streams) -> tuple[Array, Array]:
    """W_out (n_draws, n_outputs, N) and b_out (n_draws, n_outputs), checked or drawn."""
    draws, n = cell.n_draws, cell.n_hidden
    if readout is None:
        W = normal_block(streams, Purpose.READOUT, range(draws), (n_outputs, n)) * n**-0.5
        return W.astype(cell.dtype), np.zeros((draws, n_outputs), cell.dtype)
    if not isinstance(readout, (tuple, list)) or len(readout) != 2:
        raise TypeError(
            f"readout: found {type(readout).__name__}, expected a pair of arrays, W_out "
            f"{(draws, n_outputs, n)} and b_out {(draws, n_outputs)}"
        )
    W = checks.broadcast(
        "W_out", readout[0], (draws, n_outputs, n), "(n_draws, n_outputs, n_hidden)"
    )
    b = checks.broadcast("b_out", readout[1], (draws, n_outputs), "(n_draws, n_outputs)")
    return checks.cast("W_out", W, cell.dtype), checks.cast("b_out", b, cell.dtype)


def pack(cell: Cell, W_out: Array, b_out: Array) -> Array:
    """All parameters, (n_draws, parameters)."""
    sizes = sizes_of(cell, W_out.shape[1])
    out = aligned_zeros((cell.n_draws, parameter_count(sizes, cell.dtype)), cell.dtype)
    theta, readout = _views(sizes, cell.dtype, out)
    n, G, draws = sizes.n, sizes.gates, cell.n_draws
    order: Any = list(_order(cell, G))
    theta[..., :n] = cell.W_rec.reshape(draws, G, n, n)[:, order]
    for i, bias in enumerate(_biases(cell)):
        if bias is not None:
            theta[..., n + i] = bias.reshape(draws, G, n)[:, order]
    if cell.W_in is not None:
        m, first = sizes.n_inputs, n + sizes.ones
        theta[..., first : first + m] = cell.W_in.reshape(draws, G, n, m)[:, order]
    readout[..., :n], readout[..., n] = W_out, b_out
    return out


def unpack(cell: Cell, n_outputs: int, parameters: Array) -> dict[str, Array]:
    """The arrays by the names of the cell's arguments, W_out and b_out; all copies."""
    sizes = sizes_of(cell, n_outputs)
    theta, readout = _views(sizes, cell.dtype, parameters)
    order: Any = np.argsort(_order(cell, sizes.gates))
    n, m, first = sizes.n, sizes.n_inputs, sizes.n + sizes.ones
    rows = (cell.n_draws, sizes.gates * n)
    theta = theta[:, order]
    gated = isinstance(cell, (LSTM, GRU))
    biases = ("b_hh", "b_ih") if isinstance(cell, GRU) else ("bias",)
    found: dict[str, Array] = {"W_hh" if gated else "W_rec": theta[..., :n].reshape(*rows, n)}
    if cell.W_in is not None:
        found["W_ih" if gated else "W_in"] = theta[..., first : first + m].reshape(*rows, m)
    found |= {name: theta[..., n + i].reshape(rows) for i, name in enumerate(biases)}
    if isinstance(cell, DeepNet):
        shape = (cell.n_draws, cell.n_layers, n)
        found = {"W": found["W_rec"].reshape(*shape, n), "bias": found["bias"].reshape(shape)}
    found |= {"W_out": readout[..., :n], "b_out": readout[..., n]}
    return {name: array.copy() for name, array in found.items()}


def trained_cell(cell: Cell, arrays: dict[str, Array]) -> Cell:
    """A cell of the same kind with other parameters."""
    own = {name: array for name, array in arrays.items() if name not in ("W_out", "b_out")}
    if isinstance(cell, (LSTM, GRU)):
        return type(cell)(**{"W_ih": None, **own})
    if isinstance(cell, LeakyRNN):
        return LeakyRNN(**own, activation=cell.activation, leak=cell.leak)
    if isinstance(cell, DeepNet):
        return DeepNet(**own, activation=cell.activation, residual=cell.residual)
    assert isinstance(cell, RNN)
    return RNN(**own, activation=cell.activation)


def _order(cell: Cell, gates: int) -> Sequence[int]:
    return _ORDER.get(type(cell), range(gates))


def _biases(cell: Cell) -> tuple[Array | None, ...]:
    if isinstance(cell, GRU):
        return cell.b_hh, cell.b_ih
    return (getattr(cell, "bias", None),)


def _views(sizes: Sizes, dtype: np.dtype[Any], parameters: Array) -> tuple[Array, Array]:
    """Theta (n_draws, G, N, P) and the readout (n_draws, n_outputs, P) as views."""
    P, rows = row_size(sizes, dtype), sizes.gates * sizes.n
    draws = len(parameters)
    theta = parameters[:, : rows * P].reshape(draws, sizes.gates, sizes.n, P)
    return theta, parameters[:, rows * P :].reshape(draws, sizes.n_outputs, P)
