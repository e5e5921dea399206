"""Gated cells, LSTM and GRU: weights in PyTorch's order of gates, and their random ensembles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from vgcore import checks
from vgcore._typing import Array
from vgcore.cells import (
    Cell,
    block_draws,
    drive_block,
    drive_variance,
    recurrent_blocks,
    torch_weights,
)
from vgcore.draws import uniform_block
from vgcore.streams import Purpose, Seed, Streams


class _Gated(Cell):
    """A cell whose weights are blocks of N rows, one for each gate and one above the other."""

    GATES: ClassVar[tuple[str, ...]]

    def __init__(self, W_ih: object, W_hh: object) -> None:
        weights = checks.real_array("W_hh", W_hh)
        if weights.ndim == 2:
            raise ValueError(
                f"W_hh: found shape {weights.shape}, expected (n_draws, {len(self.GATES)}N, N); "
                "for a single cell pass W_hh[None]"
            )
        self.W_hh = self.W_rec = self._blocks("W_hh", weights, "N")
        self.n_draws, _, self.n_hidden = map(int, self.W_hh.shape)
        self.dtype = self.W_hh.dtype
        self.W_ih = self.W_in = None if W_ih is None else self._cast("W_ih", W_ih, "n_inputs")

    def _blocks(
        self, argument: str, value: object, *axes: str, n_hidden: int | None = None
    ) -> Array:
        """Check an array (n_draws, gates N, *axes), and that its blocks have the right height."""
        gates = len(self.GATES)
        array = checks.shaped(argument, value, ("n_draws", f"{gates}N", *axes))
        n = array.shape[2] if n_hidden is None else n_hidden
        if array.shape[1] != gates * n or array.shape[1] == 0 or len(array) == 0:
            raise ValueError(
                f"{argument}: found shape {array.shape}, expected {gates}N = {gates * n} rows for "
                f"N = {n} units (the gates {', '.join(self.GATES)} one above the other), and at "
                "least one draw and one unit"
            )
        return array

    def _cast(self, argument: str, value: object, *axes: str) -> Array:
        """The same for an array beside W_hh, cast to its dtype."""
        array = self._blocks(argument, value, *axes, n_hidden=self.n_hidden)
        shape = (self.n_draws, array.shape[1], *axes)
        return checks.cast(argument, checks.shaped(argument, array, shape), self.dtype)

    def _bias(self, argument: str, value: object) -> Array:
        if value is None:
            return np.zeros(self.W_hh.shape[:2], self.dtype)
        return self._cast(argument, value)

    @classmethod
    def gate(cls, name: str, array: Array) -> Array:
        """View of one gate's rows in an array of weights or biases.

        Parameters
        ----------
        name
            "i", "f", "g" or "o" of an LSTM; "r", "z" or "n" of a GRU.
        array : ndarray, shape (n_draws, gates N, ...)
            Such as `W_hh` or `bias`.

        Returns
        -------
        ndarray, shape (n_draws, N, ...)
            A view: what is written to it is written to `array`.

        Raises
        ------
        ValueError
            A gate that the cell does not have.

        Examples
        --------
        >>> import vgcore as vg
        >>> cell = vg.LSTM.draw(2, 10, forget_bias=1.0, rng=1)
        >>> float(cell.gate("f", cell.bias).mean())
        1.0
        """
        place = cls.GATES.index(checks.choice("name", name, cls.GATES))
        n = array.shape[1] // len(cls.GATES)
        view: Array = array[:, place * n : (place + 1) * n]
        return view

    @classmethod
    def of_blocks(
        cls,
        blocks: Array,
        streams: Streams,
        draws: range,
        n_inputs: int,
        input_variance: float | None,
        **biases: float | None,
    ) -> Self:
        """Cells of given recurrent blocks (n_draws, gates, N, N), all else drawn as `draw` does."""
        raise NotImplementedError

    @classmethod
    def _drawn(
        cls,
        n_draws: int,
        n_hidden: int,
        init: str,
        gain: float | None,
        spectral_radius: float | None,
        n_inputs: int,
        input_variance: float | None,
        dtype: str,
        rng: Seed,
        law: Mapping[str, Any],
        **biases: float | None,
    ) -> Self:
        """What `draw` does, with the biases of the cell's own."""
        streams = Streams.from_rng(rng)
        blocks = recurrent_blocks(
            len(cls.GATES), init, n_draws, n_hidden, streams, law, gain, spectral_radius, dtype
        )
        variance = drive_variance(init, input_variance)
        return cls.of_blocks(blocks, streams, range(n_draws), n_inputs, variance, **biases)

    @classmethod
    def _parts(
        cls, blocks: Array, streams: Streams, draws: range, n_inputs: int, variance: float | None
    ) -> tuple[Array | None, Array, Array, Array]:
        """W_ih, W_hh, b_ih and b_hh: recurrent blocks (n_draws, gates, N, N) as given."""
        n_draws, n_gates, n_hidden, _ = blocks.shape
        W_ih, biases = drive_block(streams, draws, n_gates, n_hidden, n_inputs, variance)
        if biases is None:
            biases = np.zeros((n_draws, 2, n_gates * n_hidden))
        return W_ih, blocks.reshape(n_draws, -1, n_hidden), biases[:, 0], biases[:, 1]


class LSTM(_Gated):
    """Long short-term memory, with arrays as in `torch.nn.LSTM`.

    i, f, o = sigmoid(W_ih u_t + W_hh h_{t-1} + b) and g = tanh(...) of rows of their own, then
    c_t = f c_{t-1} + i g and h_t = o tanh(c_t). Hochreiter and Schmidhuber (1997), with the forget
    gate of Gers, Schmidhuber and Cummins (2000).

    The state is (h, c), 2 N numbers. A gradient dE/d(h_t, c_t) is that of the two as arguments of
    what follows: the path from c_t to h_t belongs to the step before.

    Parameters
    ----------
    W_ih : array_like, shape (n_draws, 4N, n_inputs), or None
        Input weights, the gates i, f, g, o one above the other.
    W_hh : array_like, shape (n_draws, 4N, N)
        Recurrent weights, float32 or float64; the other arrays are cast to this dtype.
    bias : array_like, shape (n_draws, 4N), optional
        The sum of PyTorch's bias_ih and bias_hh.

    Attributes
    ----------
    n_draws, n_hidden, n_inputs, n_state : int
        `n_state` is 2N.
    dtype : numpy.dtype

    Raises
    ------
    ValueError
        Blocks that are not 4N rows high, other shapes that do not match, non-finite entries.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.LSTM(None, np.zeros((1, 12, 3)))
    >>> cell
    LSTM(n_draws=1, n_hidden=3, n_inputs=0, dtype=float64)
    >>> vg.gradient_profile(cell, 100, rng=1).rate().value.round(6)  # ln sigmoid(0)
    array([[-0.693147]])
    """

    GATES = ("i", "f", "g", "o")

    def __init__(self, W_ih: object, W_hh: object, bias: object = None) -> None:
        super().__init__(W_ih, W_hh)
        self.bias = self._bias("bias", bias)

    @property
    def n_state(self) -> int:
        return 2 * self.n_hidden

    @classmethod
    def from_torch(cls, modules: object, layer: int | None = None) -> Self:
        """Take over the weights of `torch.nn.LSTM` or `LSTMCell`; of a list, one a draw.

        The weights are copied as they are now, trained or not, in the module's dtype.

        Parameters
        ----------
        modules
            One torch.nn.Module, or a list of them, all of one size.
        layer
            Which layer, counted from 0; needed where there are several.

        Returns
        -------
        LSTM
            With one draw for each module.

        Raises
        ------
        TypeError, ValueError
            Another module, a layer it does not have, two directions, a projection.

        Examples
        --------
        >>> import torch, vgcore as vg  # doctest: +SKIP
        >>> vg.LSTM.from_torch(torch.nn.LSTM(8, 64))  # doctest: +SKIP
        LSTM(n_draws=1, n_hidden=64, n_inputs=8, dtype=float32)
        """
        W_ih, W_hh, b_ih, b_hh = torch_weights(cls.__name__, len(cls.GATES), modules, layer)
        return cls(W_ih, W_hh, b_ih + b_hh)

    @classmethod
    def draw(
        cls,
        n_draws: int,
        n_hidden: int,
        *,
        init: str = "torch",
        gain: float | None = None,
        spectral_radius: float | None = None,
        n_inputs: int = 0,
        input_variance: float | None = None,
        forget_bias: float | None = None,
        chrono: float | None = None,
        dtype: str = "float64",
        rng: Seed = None,
        **law: Any,
    ) -> Self:
        """Draw random cells; those that differ in their biases alone share all weights.

        Parameters
        ----------
        init
            "torch": weights and both biases are uniform on (-1/sqrt(N), 1/sqrt(N)), as
            `torch.nn.LSTM` draws them. Or a name in `vgcore.initializers.INITIALIZERS`, say
            "orthogonal", from which each of the four recurrent blocks is drawn; W_ih is then
            Gaussian and the biases are 0.
        gain, spectral_radius
            Of each recurrent block, as in `vgcore.draw_weights`.
        n_inputs
            Input channels.
        input_variance
            What white inputs of variance 1 add to the variance of each gate's argument: W_ih has
            N(0, input_variance / n_inputs) entries and the biases are 0. Where None, 1, or
            PyTorch's own law of W_ih and biases with init "torch".
        forget_bias
            b_f of every unit (Gers et al. 2000; 1 in Jozefowicz, Zaremba and Sutskever 2015).
        chrono
            T_max: b_f = ln U(1, T_max - 1) and b_i = -b_f, unit by unit, for dependencies of up to
            T_max steps (Tallec and Ollivier 2018). Excludes `forget_bias`.
        n_draws, n_hidden, dtype, rng, **law
            As in `vgcore.draw_weights`.

        Returns
        -------
        LSTM

        Raises
        ------
        TypeError, ValueError
            A bad argument, by name.

        Examples
        --------
        >>> import vgcore as vg
        >>> default = vg.LSTM.draw(100, 128, n_inputs=32, rng=1)
        >>> open = vg.LSTM.draw(100, 128, n_inputs=32, forget_bias=1.0, rng=1)
        >>> bool((open.W_hh == default.W_hh).all())
        True
        """
        return cls._drawn(
            n_draws, n_hidden, init, gain, spectral_radius, n_inputs, input_variance, dtype, rng,
            law, forget_bias=forget_bias, chrono=chrono,
        )  # fmt: skip

    @classmethod
    def of_blocks(  # type: ignore[override]
        cls,
        blocks: Array,
        streams: Streams,
        draws: range,
        n_inputs: int,
        input_variance: float | None,
        *,
        forget_bias: float | None = None,
        chrono: float | None = None,
    ) -> Self:
        _one_of("forget_bias", forget_bias, chrono)
        W_ih, W_hh, b_ih, b_hh = cls._parts(blocks, streams, draws, n_inputs, input_variance)
        bias = b_ih + b_hh
        if forget_bias is not None:
            cls.gate("f", bias)[:] = checks.number("forget_bias", forget_bias)
        if chrono is not None:
            cls.gate("f", bias)[:] = _chrono(streams, draws, blocks.shape[-1], chrono)
            cls.gate("i", bias)[:] = -cls.gate("f", bias)
        return cls(W_ih, W_hh, bias)


class GRU(_Gated):
    """Gated recurrent unit, with arrays as in `torch.nn.GRU`: reset after the product.

    r, z = sigmoid(W_ih u_t + b_ih + W_hh h_{t-1} + b_hh),
    n = tanh(W_ih u_t + b_ih + r (W_hh h_{t-1} + b_hh)), each of rows of its own, then
    h_t = (1 - z) n + z h_{t-1}. After Cho et al. (2014); z close to 1 keeps the state.

    Parameters
    ----------
    W_ih : array_like, shape (n_draws, 3N, n_inputs), or None
        Input weights, the gates r, z, n one above the other.
    W_hh : array_like, shape (n_draws, 3N, N)
        Recurrent weights, float32 or float64; the other arrays are cast to this dtype.
    b_ih, b_hh : array_like, shape (n_draws, 3N), optional

    Attributes
    ----------
    n_draws, n_hidden, n_inputs, n_state : int
        `n_state` is N.
    dtype : numpy.dtype

    Raises
    ------
    ValueError
        Blocks that are not 3N rows high, other shapes that do not match, non-finite entries.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.GRU(None, np.zeros((1, 9, 3)))
    >>> vg.gradient_profile(cell, 100, rng=1).rate().value.round(6)  # ln sigmoid(0)
    array([[-0.693147]])
    """

    GATES = ("r", "z", "n")

    def __init__(
        self, W_ih: object, W_hh: object, b_ih: object = None, b_hh: object = None
    ) -> None:
        super().__init__(W_ih, W_hh)
        self.b_ih, self.b_hh = self._bias("b_ih", b_ih), self._bias("b_hh", b_hh)

    @classmethod
    def from_torch(cls, modules: object, layer: int | None = None) -> Self:
        """Take over the weights of `torch.nn.GRU` or `GRUCell`; of a list, one a draw.

        Parameters
        ----------
        modules, layer
            As in `LSTM.from_torch`.

        Returns
        -------
        GRU
            With one draw for each module.

        Raises
        ------
        TypeError, ValueError
            As in `LSTM.from_torch`.

        Examples
        --------
        >>> import torch, vgcore as vg  # doctest: +SKIP
        >>> vg.GRU.from_torch(torch.nn.GRU(8, 64))  # doctest: +SKIP
        GRU(n_draws=1, n_hidden=64, n_inputs=8, dtype=float32)
        """
        return cls(*torch_weights(cls.__name__, len(cls.GATES), modules, layer))

    @classmethod
    def draw(
        cls,
        n_draws: int,
        n_hidden: int,
        *,
        init: str = "torch",
        gain: float | None = None,
        spectral_radius: float | None = None,
        n_inputs: int = 0,
        input_variance: float | None = None,
        update_bias: float | None = None,
        chrono: float | None = None,
        dtype: str = "float64",
        rng: Seed = None,
        **law: Any,
    ) -> Self:
        """Draw random cells; those that differ in their biases alone share all weights.

        Parameters
        ----------
        update_bias
            Bias of the update gate z of every unit, b_ih and b_hh together.
        chrono
            T_max: the bias of z is ln U(1, T_max - 1), unit by unit, the chrono law of a gate that
            both keeps and lets in (Tallec and Ollivier 2018). Excludes `update_bias`.
        n_draws, n_hidden, init, gain, spectral_radius, n_inputs, input_variance, dtype, rng, **law
            As in `LSTM.draw`, with `torch.nn.GRU` in the place of `torch.nn.LSTM`.

        Returns
        -------
        GRU

        Raises
        ------
        TypeError, ValueError
            A bad argument, by name.

        Examples
        --------
        >>> import vgcore as vg
        >>> vg.GRU.draw(100, 128, n_inputs=32, update_bias=2.0, rng=1)
        GRU(n_draws=100, n_hidden=128, n_inputs=32, dtype=float64)
        """
        return cls._drawn(
            n_draws, n_hidden, init, gain, spectral_radius, n_inputs, input_variance, dtype, rng,
            law, update_bias=update_bias, chrono=chrono,
        )  # fmt: skip

    @classmethod
    def of_blocks(  # type: ignore[override]
        cls,
        blocks: Array,
        streams: Streams,
        draws: range,
        n_inputs: int,
        input_variance: float | None,
        *,
        update_bias: float | None = None,
        chrono: float | None = None,
    ) -> Self:
        _one_of("update_bias", update_bias, chrono)
        W_ih, W_hh, b_ih, b_hh = cls._parts(blocks, streams, draws, n_inputs, input_variance)
        if update_bias is not None:
            cls.gate("z", b_ih)[:] = checks.number("update_bias", update_bias)
        if chrono is not None:
            cls.gate("z", b_ih)[:] = _chrono(streams, draws, blocks.shape[-1], chrono)
        if update_bias is not None or chrono is not None:
            cls.gate("z", b_hh)[:] = 0.0
        return cls(W_ih, W_hh, b_ih, b_hh)


def _one_of(argument: str, bias: object, chrono: object) -> None:
    """Refuse two laws of one bias."""
    if bias is not None and chrono is not None:
        gate = argument.removesuffix("_bias")
        raise ValueError(
            f"{argument}={bias} and chrono={chrono} were both given; both set the bias of the "
            f"{gate} gate: drop one"
        )


def _chrono(streams: Streams, draws: range, n_hidden: int, longest: object) -> Array:
    """Draw ln U(1, T_max - 1) for every unit, from other addresses than the biases they replace."""
    longest = checks.number("chrono", longest, above=2.0)
    beside = block_draws(1, draws)
    share = 0.5 + 0.5 * uniform_block(streams, Purpose.BIAS, beside, (n_hidden,))
    logs: Array = np.log(1.0 + (longest - 2.0) * share)
    return logs
