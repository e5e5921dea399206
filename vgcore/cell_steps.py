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
from vgcore.kernels.deep import _deep_forward, _deep_jacobian
from vgcore.kernels.gates import _pack_gates, _place
from vgcore.kernels.gru import _gru_forward, _gru_jacobian
from vgcore.kernels.leaky import _leaky_forward, _leaky_jacobian, _pack_quarters
from vgcore.kernels.lstm import _lstm_forward, _lstm_jacobian
from vgcore.kernels.rnn import _copy, _pack
from vgcore.kernels.vectors import aligned_zeros, padded

CHUNK = 16  # steps whose Jacobians are held at a time


class Walk:
    """The trajectory of one draw at a time, in float64, with scratch of its own.

    Parameters
    ----------
    cell
        Any cell but an `RNN`.
    inputs : ndarray, shape (draws or 1, times or 1, n_inputs)
    initial_state : ndarray, shape (draws or 1, n_state)
    """

    def __init__(self, cell: Cell, inputs: Array, initial_state: Array) -> None:
        self.cell: Any = _in_float64(cell)
        self.given, self.initial_state = inputs, initial_state
        _, self.parameters, self.constants, scratch, _ = prepare(self.cell, CHUNK, inputs.shape[-1])
        self.scratch = scratch()
        S = cell.n_state
        self.jacobians = aligned_zeros((CHUNK, S, padded(S, np.float64)), np.float64)
        self.draw = self.time = self.exponent = 0

    def begin(self, draw: int) -> None:
        """Go to the initial state of a draw."""
        self.draw, self.time, self.exponent = draw, 0, 0
        self.inputs = self.given[min(draw, len(self.given) - 1)]
        self._begin(self.initial_state[min(draw, len(self.initial_state) - 1)])

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


class _LSTMWalk(_GatedWalk):
    order, _kernel = LSTM_ORDER, staticmethod(_lstm_forward)

    def _jacobian(self, t: int, out: Array) -> None:
        _lstm_jacobian(self.W, self.rows.keep[t + 1], out)


class _GRUWalk(_GatedWalk):
    order, _kernel = GRU_ORDER, staticmethod(_gru_forward)

    def _jacobian(self, t: int, out: Array) -> None:
        _gru_jacobian(self.W, self.rows.keep[t + 1], out)


class _LeakyWalk(Walk):
    def _begin(self, state: Array) -> None:
        forward, _, input_weights, bias, x, *_ = self.scratch
        W_rec, W_in, given = (array[self.draw] for array in self.parameters)
        _pack_quarters(W_rec, True, x.size, forward)
        _pack(W_in, True, input_weights)
        _copy(given, bias)
        _copy(state, x)
        self.W = W_rec

    def _run(self, count: int, inputs: Array) -> None:
        forward, _, input_weights, bias, x, vectors, keep, squares, exponents, _ = self.scratch
        self.exponent = _leaky_forward(
            forward, input_weights, bias, *self.constants, inputs, 0, len(self.W), x, self.exponent,
            vectors, keep[: count + 1], squares[2], exponents[2],
        )  # fmt: skip

    def _jacobian(self, t: int, out: Array) -> None:
        _leaky_jacobian(self.W, self.constants[-1], self.scratch[6][t + 1], out)


class _DeepWalk(Walk):
    def _begin(self, state: Array) -> None:
        _copy(state, self.scratch[1])

    def _run(self, count: int, inputs: Array) -> None:
        matrix, x, vectors, slopes, squares, exponents, _ = self.scratch
        W, bias = (array[self.draw, self.time : self.time + count] for array in self.parameters)
        self.W = W
        self.exponent = _deep_forward(
            W, bias, *self.constants, matrix, x, self.exponent, vectors, slopes[:count], squares[0],
            exponents[0],
        )  # fmt: skip

    def _jacobian(self, t: int, out: Array) -> None:
        _deep_jacobian(self.W[t], self.constants[-1], self.scratch[3][t], out)


_WALKS = {LSTM: _LSTMWalk, GRU: _GRUWalk, LeakyRNN: _LeakyWalk, DeepNet: _DeepWalk}


def walk(cell: Cell, inputs: Array, initial_state: Array) -> Walk:
    """Return a `Walk` of this kind of cell."""
    return _WALKS[type(cell)](cell, inputs, initial_state)


def _in_float64(cell: Cell) -> Cell:
    """The cell with all arrays in float64, contiguous."""
    other = copy.copy(cell)
    for name, value in vars(cell).items():
        if isinstance(value, np.ndarray):
            setattr(other, name, np.require(value, np.float64, ["C", "W"]))
    other.dtype = np.dtype(np.float64)
    return other
