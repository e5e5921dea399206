"""States of all cells but the vanilla one, step by step, and the Jacobians of the steps."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from vgcore._typing import Array
from vgcore.cell_kernels import GRU_ORDER, LSTM_ORDER, prepare
from vgcore.cells import Cell, LeakyRNN
from vgcore.deep import DeepNet
from vgcore.gated import GRU, LSTM
from vgcore.kernels.deep import Layers, _deep_forward, _deep_jacobian
from vgcore.kernels.gates import _pack_gates, _place
from vgcore.kernels.gru import _gru_forward, _gru_jacobian
from vgcore.kernels.layout import Network, _pack_draws, _place_bias
from vgcore.kernels.leaky import _leaky_forward, _leaky_jacobian
from vgcore.kernels.lstm import _lstm_forward, _lstm_jacobian
from vgcore.kernels.scales import _copy
from vgcore.kernels.unrolled import Unrolled, _unroll_back, new_unrolled
from vgcore.kernels.vectors import aligned_zeros, padded

CHUNK = 16  # steps whose Jacobians are held at a time


class Walk:
    """The trajectory of one draw at a time, in float64, with scratch of its own.

    Parameters
    ----------
    cell
        Any cell but an `RNN`.
    inputs : ndarray, shape (draws or 1, [trajectories or 1,] times or 1, n_inputs)
    initial_state : ndarray, shape (draws or 1, [trajectories or 1,] n_state)
    """

    def __init__(self, cell: Cell, inputs: Array, initial_state: Array) -> None:
        self.cell: Any = _in_float64(cell)
        self.given, self.initial_state = inputs, initial_state
        _, self.parameters, self.constants, scratch, _ = prepare(self.cell, CHUNK, inputs.shape[-1])
        self.scratch = scratch()
        S = cell.n_state
        self.jacobians = aligned_zeros((CHUNK, S, padded(S, np.float64)), np.float64)
        self.draw = self.time = 0

    def begin(self, draw: int, *trajectory: int) -> None:
        """Go to the initial state of a draw, or of one of its trajectories if it has several."""
        self.draw, self.time = draw, 0
        self.inputs = at(self.given, draw, *trajectory)
        self._begin(at(self.initial_state, draw, *trajectory))

    def skip(self, n_steps: int) -> None:
        """Go on by some steps."""
        for done in range(0, n_steps, CHUNK):
            self._go(min(CHUNK, n_steps - done))

    def steps(self, count: int) -> Array:
        """Go on by up to CHUNK steps: their transposed Jacobians, (count, S, P)."""
        self._go(count)
        for t in range(count):
            self._jacobian(t, self.jacobians[t])
        return self.jacobians[:count]

    def new_unrolled(self, n_steps: int) -> Unrolled:
        """Scratch for `unroll`."""
        return new_unrolled(self.cell.n_hidden, n_steps, self.n_gates, self.n_states)

    def unroll(self, losses: Array, unrolled: Unrolled) -> None:
        """Go on to the last step and back; losses (n, n_state) are of the last n states."""
        n, n_steps = self.cell.n_hidden, len(unrolled.values)
        kept = np.empty((n_steps, *self._kept().shape))
        for t in range(n_steps):
            hidden, unrolled.exponents[1, t] = self._hidden()
            unrolled.values[t, :n] = hidden[:n]
            self._go(1)
            kept[t] = self._kept()
        W = self.cell.W_rec[self.draw].reshape(self.n_gates, n, n)
        for g in range(self.n_gates):
            unrolled.W_rec[g * unrolled.values.shape[1] :][:n, :n] = W[g]
        self._factors(kept, unrolled.to_gates, unrolled.past)
        _unroll_back(losses, unrolled)

    n_gates = n_states = 1

    def _hidden(self) -> tuple[Array, int]:
        """What W_rec meets at the next step, first N numbers, and the power of two it is at."""
        raise NotImplementedError

    def _kept(self) -> Array:
        """What the last step keeps for the way back, (factors P,)."""
        raise NotImplementedError

    def _factors(self, kept: Array, to_gates: Array, past: Array) -> None:
        """Set A (T, G, S, P) and B (T, S, S, P) of `kernels.unrolled` from what T steps kept."""
        raise NotImplementedError

    def _go(self, count: int) -> None:
        constant = len(self.inputs) == 1
        self._run(count, self.inputs if constant else self.inputs[self.time : self.time + count])
        self.time += count

    def _begin(self, state: Array) -> None:
        raise NotImplementedError

    def _run(self, count: int, inputs: Array) -> None:
        raise NotImplementedError

    def _jacobian(self, t: int, out: Array) -> None:
        raise NotImplementedError


class _GatedWalk(Walk):
    """A walk of an LSTM or a GRU; `keep` has a row for each step."""

    order: Array
    _kernel: Any

    def _begin(self, state: Array) -> None:
        rows = self.rows = self.scratch[0]
        W_hh, W_ih, *given = (array[self.draw] for array in self.parameters)
        P = padded(self.cell.n_hidden, np.float64)
        _pack_gates(W_hh, self.order, rows.W[0])
        _pack_gates(W_ih, self.order, rows.W_in[0])
        for bias, packed in zip(given, (rows.input_bias, rows.bias), strict=False):
            _place(bias, self.order, 0, P, packed)
        _place(state, self.order[: rows.state.size // P], 0, P, rows.state)
        rows.exponent[:] = 0
        self.W = W_hh

    def _run(self, count: int, inputs: Array) -> None:
        self._kernel(self.rows, inputs[None, None], 0, 0, 0, count)

    def _hidden(self) -> tuple[Array, int]:
        return self.rows.state, self.rows.exponent[0]

    def _kept(self) -> Array:
        kept: Array = self.rows.keep[1]
        return kept


class _LSTMWalk(_GatedWalk):
    order, _kernel = LSTM_ORDER, staticmethod(_lstm_forward)
    n_gates, n_states = 4, 2

    def _factors(self, kept: Array, to_gates: Array, past: Array) -> None:
        h_to_c, to_o, to_i, to_f, to_g, f = _parts(kept, 6)
        for gate, c in enumerate((to_i, to_f, to_g)):
            to_gates[:, gate, 0], to_gates[:, gate, 1] = c * h_to_c, c
        to_gates[:, 3, 0], to_gates[:, 3, 1] = to_o, 0.0
        past[:, 1, 0], past[:, 1, 1] = h_to_c * f, f

    def _jacobian(self, t: int, out: Array) -> None:
        _lstm_jacobian(self.W, self.rows.keep[t + 1], out)


class _GRUWalk(_GatedWalk):
    order, _kernel = GRU_ORDER, staticmethod(_gru_forward)
    n_gates = 3

    def _factors(self, kept: Array, to_gates: Array, past: Array) -> None:
        *gates, past[:, 0, 0] = _parts(kept, 4)
        for gate, factor in enumerate(gates):
            to_gates[:, gate, 0] = factor

    def _jacobian(self, t: int, out: Array) -> None:
        _gru_jacobian(self.W, self.rows.keep[t + 1], out)


class _LeakyWalk(Walk):
    def _begin(self, state: Array) -> None:
        rows = self.rows = self.scratch[0]
        code, near_zero, far, self.shares = self.constants
        W_rec, W_in, bias = (array[self.draw : self.draw + 1] for array in self.parameters)
        ends = np.zeros((1, 1, self.cell.n_hidden))
        self.network = Network(
            *(W_rec, W_in, bias, code, near_zero, far),
            *(self.inputs[None, None], ends, ends, 0, False),
        )
        _pack_draws(self.network, 0, rows.layout.forward, rows.layout)
        _place_bias(self.network, 0, rows.layout.forward, rows.layout)
        _copy(state, rows.state)
        rows.layout.exponent[:] = 0

    def _run(self, count: int, inputs: Array) -> None:
        network = self.network._replace(inputs=inputs[None, None])
        _leaky_forward(network, self.shares, 0, 0, 0, count, self.rows)

    def _hidden(self) -> tuple[Array, int]:
        return self.rows.state, self.rows.layout.exponent[0]

    def _kept(self) -> Array:
        kept: Array = self.rows.keep[1]
        return kept

    def _factors(self, kept: Array, to_gates: Array, past: Array) -> None:
        to_gates[:, 0, 0], past[:] = kept, 1.0 - self.cell.leak

    def _jacobian(self, t: int, out: Array) -> None:
        _leaky_jacobian(self.network.W_rec[0], self.shares, self.rows.keep[t + 1], out)


class _DeepWalk(Walk):
    def _begin(self, state: Array) -> None:
        self.rows = self.scratch[0]
        _copy(state, self.rows.x)
        self.rows.exponent[:] = 0

    def _run(self, count: int, inputs: Array) -> None:
        W, bias = (
            array[self.draw : self.draw + 1, self.time : self.time + count]
            for array in self.parameters
        )
        self.layers = Layers(W, bias, *self.constants)
        _deep_forward(self.layers, 0, count, self.rows)

    def _jacobian(self, t: int, out: Array) -> None:
        _deep_jacobian(self.layers.W[0, t], self.layers.residual, self.rows.slopes[t], out)


_WALKS = {LSTM: _LSTMWalk, GRU: _GRUWalk, LeakyRNN: _LeakyWalk, DeepNet: _DeepWalk}


def walk(cell: Cell, inputs: Array, initial_state: Array) -> Walk:
    """Return a `Walk` of this kind of cell."""
    return _WALKS[type(cell)](cell, inputs, initial_state)


def at(array: Array, *place: int) -> Array:
    """A place along the first axes, or the only one where an axis was broadcast."""
    found: Array = array[
        tuple(min(i, size - 1) for i, size in zip(place, array.shape, strict=False))
    ]
    return found


def _parts(kept: Array, count: int) -> Array:
    """The factors of T steps, (count, T, P)."""
    return kept.reshape(len(kept), count, -1).swapaxes(0, 1)


def _in_float64(cell: Cell) -> Cell:
    """The cell with all arrays in float64, contiguous."""
    other = copy.copy(cell)
    for name, value in vars(cell).items():
        if isinstance(value, np.ndarray):
            setattr(other, name, np.require(value, np.float64, ["C", "W"]))
    other.dtype = np.dtype(np.float64)
    return other
