"""The cells that a study can name: how each is made of matrices, and what a step of it costs.

Adding a cell is one class here, entered in `CELLS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from vgcore import checks
from vgcore._typing import Array
from vgcore.cells import RNN, Cell, LeakyRNN, drive_block
from vgcore.deep import DeepNet
from vgcore.gated import GRU, LSTM
from vgcore.streams import Streams
from vgcore.study.choices import Choice, table_of


class Parts(NamedTuple):
    """What a study's cells are made of: recurrent blocks, and the address of all else.

    `blocks` is (n_draws, n_blocks, N, N); `input_variance` is None for PyTorch's law of input
    weights and biases.
    """

    blocks: Array
    streams: Streams
    draws: range
    n_inputs: int
    input_variance: float | None
    activation: str


class CellKind(Choice):
    """A cell that a study can name."""

    makes: ClassVar[type[Cell]]
    has_inputs: ClassVar[bool] = True
    has_activation: ClassVar[bool] = True

    def n_blocks(self, n_steps: int) -> int:
        """Number of N x N matrices of one draw."""
        return 1

    def law(self, init: str, law: Mapping[str, Any], n_hidden: int) -> tuple[str, dict[str, Any]]:
        """Initializer and keywords of the recurrent matrices, where the condition asks for these.

        Raises
        ------
        ValueError
            They exclude each other.
        """
        return init, dict(law)

    def make(self, parts: Parts) -> Cell:
        """The networks."""
        raise NotImplementedError

    def arithmetic(self) -> float:
        """Multiplications of a step, in units of those of the vanilla network of this size."""
        return float(self.n_blocks(1))

    def state_size(self, n_hidden: int) -> int:
        """Numbers in a state."""
        return n_hidden


@dataclass(frozen=True)
class Rnn(CellKind):
    """Vanilla network, x_t = W s(x_{t-1}) + W_in u_t + b (Pascanu et al. 2013, eq. 2)."""

    name = "rnn"
    makes = RNN

    def make(self, parts: Parts) -> RNN:
        W_in, bias = _drive(parts)
        return RNN(parts.blocks[:, 0], W_in, bias, activation=parts.activation)


@dataclass(frozen=True)
class Elman(CellKind):
    """The vanilla network with its state taken after the activation, h_t = s(W h_{t-1} + W_in u_t \
    + b) (Elman 1990; torch.nn.RNN).
    """

    name = "elman"
    makes = LeakyRNN

    def make(self, parts: Parts) -> LeakyRNN:
        W_in, bias = _drive(parts)
        return LeakyRNN(parts.blocks[:, 0], W_in, bias, activation=parts.activation)


@dataclass(frozen=True)
class Leaky(CellKind):
    """Echo state network, h_t = (1 - leak) h_{t-1} + leak s(W h_{t-1} + W_in u_t + b), W sparse \
    where a density is given (Lukosevicius 2012, eqs. 2 and 3).
    """

    name = "leaky"
    makes = LeakyRNN
    leak: float = 1.0
    density: float = 1.0

    def __post_init__(self) -> None:
        for argument in ("leak", "density"):
            checks.share(argument, getattr(self, argument))

    def law(self, init: str, law: Mapping[str, Any], n_hidden: int) -> tuple[str, dict[str, Any]]:
        if self.density == 1.0:
            return init, dict(law)
        if init != "gaussian" or law:
            raise ValueError(
                f"density = {self.density} makes sparse Gaussian weights, found init = {init!r}; "
                "drop one of them"
            )
        return "sparse", {"nonzeros": max(1, round(self.density * n_hidden))}

    def make(self, parts: Parts) -> LeakyRNN:
        W_in, bias = _drive(parts)
        return LeakyRNN(parts.blocks[:, 0], W_in, bias, activation=parts.activation, leak=self.leak)


@dataclass(frozen=True)
class Lstm(CellKind):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate of Gers et al. 2000), \
    forget bias as Jozefowicz et al. (2015), chrono = T_max as Tallec and Ollivier (2018).
    """

    name = "lstm"
    makes = LSTM
    has_activation = False
    forget_bias: float | None = None
    chrono: float | None = None

    def __post_init__(self) -> None:
        _check_biases(self.forget_bias, self.chrono, "forget_bias")

    def n_blocks(self, n_steps: int) -> int:
        return 4

    def state_size(self, n_hidden: int) -> int:
        return 2 * n_hidden

    def make(self, parts: Parts) -> LSTM:
        return LSTM.of_blocks(*parts[:5], forget_bias=self.forget_bias, chrono=self.chrono)


@dataclass(frozen=True)
class Gru(CellKind):
    """Gated recurrent unit (Cho et al. 2014; reset after the product, as in PyTorch), chrono = \
    T_max as Tallec and Ollivier (2018).
    """

    name = "gru"
    makes = GRU
    has_activation = False
    update_bias: float | None = None
    chrono: float | None = None

    def __post_init__(self) -> None:
        _check_biases(self.update_bias, self.chrono, "update_bias")

    def n_blocks(self, n_steps: int) -> int:
        return 3

    def make(self, parts: Parts) -> GRU:
        return GRU.of_blocks(*parts[:5], update_bias=self.update_bias, chrono=self.chrono)


@dataclass(frozen=True)
class Deep(CellKind):
    """Deep network, a matrix a layer and n_steps layers: depth in the place of time (Poole et al. \
    2016; residual as Yang and Schoenholz 2017).
    """

    name = "deep"
    makes = DeepNet
    has_inputs = False
    residual: bool = False

    def n_blocks(self, n_steps: int) -> int:
        return n_steps

    def make(self, parts: Parts) -> DeepNet:
        return DeepNet(parts.blocks, activation=parts.activation, residual=self.residual)


def _drive(parts: Parts) -> tuple[Array | None, Array | None]:
    """Input weights and the sum of the biases of one block."""
    n_hidden = parts.blocks.shape[-1]
    W_in, biases = drive_block(
        parts.streams, parts.draws, 1, n_hidden, parts.n_inputs, parts.input_variance
    )
    return W_in, None if biases is None else np.add(biases[:, 0], biases[:, 1])


def _check_biases(bias: float | None, chrono: float | None, argument: str) -> None:
    if bias is not None:
        checks.number(argument, bias)
    if chrono is not None:
        checks.number("chrono", chrono, above=2.0)
        if bias is not None:
            raise ValueError(f"found both {argument} and chrono, expected one; drop the other")


CELLS = table_of(Rnn, Elman, Leaky, Lstm, Gru, Deep)
"""Cells by name."""
