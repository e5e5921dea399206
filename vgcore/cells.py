"""Recurrent cells: validated parameters with a leading draws axis, and their random ensembles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vgcore import checks
from vgcore._typing import Array
from vgcore.activations import activation as find_activation
from vgcore.draws import normal_block, uniform_block
from vgcore.initializers import INITIALIZERS, draw_weights, scaled_block
from vgcore.streams import Purpose, Seed, Streams


class Cell:
    """What every cell has: recurrent and input weights, one set a draw, and their sizes.

    Attributes
    ----------
    W_rec : ndarray, shape (n_draws, ..., N)
        All weights that the state is multiplied by.
    W_in : ndarray, shape (n_draws, ..., n_inputs), or None
    n_draws, n_hidden, n_inputs, n_state : int
    dtype : numpy.dtype
    """

    W_rec: Array
    W_in: Array | None
    n_draws: int
    n_hidden: int
    dtype: np.dtype[Any]

    @property
    def n_inputs(self) -> int:
        return 0 if self.W_in is None else int(self.W_in.shape[-1])

    @property
    def n_state(self) -> int:
        return self.n_hidden

    def _options(self) -> str:
        return ""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_draws={self.n_draws}, n_hidden={self.n_hidden}, "
            f"n_inputs={self.n_inputs}, {self._options()}dtype={self.dtype})"
        )


class _Dense(Cell):
    """One matrix W_rec, an activation, and what drives it."""

    def __init__(
        self, W_rec: object, W_in: object = None, bias: object = None, *, activation: str = "tanh"
    ) -> None:
        weights = checks.real_array("W_rec", W_rec)
        if weights.ndim == 2:
            raise ValueError(
                f"W_rec: found shape {weights.shape}, expected (n_draws, N, N); for a single "
                "matrix pass W_rec[None]"
            )
        self.W_rec = checks.shaped("W_rec", weights, ("n_draws", "N", "N"))
        self.n_draws, self.n_hidden = map(int, self.W_rec.shape[:2])
        if self.W_rec.shape[2] != self.n_hidden or 0 in self.W_rec.shape:
            raise ValueError(
                f"W_rec: found shape {self.W_rec.shape}, expected (n_draws, N, N) with square "
                "matrices and at least one draw and one unit"
            )
        self.dtype = self.W_rec.dtype
        self.activation = find_activation(activation).name
        self.W_in = None
        if W_in is not None:
            self.W_in = checks.shaped("W_in", W_in, (self.n_draws, self.n_hidden, "n_inputs"))
            self.W_in = checks.cast("W_in", self.W_in, self.dtype)
        self.bias: Array | None = None
        if bias is not None:
            self.bias = checks.shaped("bias", bias, (self.n_draws, self.n_hidden))
            self.bias = checks.cast("bias", self.bias, self.dtype)

    def _options(self) -> str:
        return f"activation={self.activation!r}, "


class RNN(_Dense):
    """Vanilla recurrent network in pre-activation form, x_t = W_rec s(x_{t-1}) + W_in u_t + b.

    Pascanu, Mikolov and Bengio (2013), eq. 2. Arrays of the right dtype are kept, not copied: do
    not change them afterwards.

    Parameters
    ----------
    W_rec : array_like, shape (n_draws, N, N)
        Recurrent weights, float32 or float64; the other arrays are cast to this dtype.
    W_in : array_like, shape (n_draws, N, n_inputs), optional
        Input weights.
    bias : array_like, shape (n_draws, N), optional
    activation : str
        A name in `vgcore.activations.ACTIVATIONS`.

    Attributes
    ----------
    n_draws, n_hidden, n_inputs, n_state : int
        `n_state` is the size of the state, here N.
    dtype : numpy.dtype

    Raises
    ------
    ValueError
        Shapes that do not match, non-finite entries, an unknown activation.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> vg.RNN(np.eye(3)[None], activation="relu")
    RNN(n_draws=1, n_hidden=3, n_inputs=0, activation='relu', dtype=float64)
    """

    @classmethod
    def draw(
        cls,
        n_draws: int,
        n_hidden: int,
        *,
        init: str = "gaussian",
        gain: float | None = None,
        spectral_radius: float | None = None,
        n_inputs: int = 0,
        input_variance: float | None = None,
        bias_variance: float = 0.0,
        activation: str = "tanh",
        dtype: str = "float64",
        rng: Seed = None,
        **law: Any,
    ) -> RNN:
        """Draw random networks.

        Parameters
        ----------
        n_draws, n_hidden, init, gain, spectral_radius, dtype, rng, **law
            As in `vgcore.draw_weights`.
        n_inputs
            Input channels.
        input_variance
            What white inputs of variance 1 add to the variance of each pre-activation: W_in has
            N(0, input_variance / n_inputs) entries. Where None, 1; with init "torch", W_in and the
            bias are then drawn as PyTorch does.
        bias_variance
            Biases are N(0, bias_variance); 0 means none.
        activation
            A name in `vgcore.activations.ACTIVATIONS`.

        Returns
        -------
        RNN

        Raises
        ------
        TypeError, ValueError
            A bad argument, by name.

        Examples
        --------
        >>> import vgcore as vg
        >>> vg.RNN.draw(100, 64, spectral_radius=0.9, n_inputs=8, rng=1)
        RNN(n_draws=100, n_hidden=64, n_inputs=8, activation='tanh', dtype=float64)
        """
        streams = Streams.from_rng(rng)
        W_in, bias = _drive(
            streams, init, n_draws, n_hidden, n_inputs, input_variance, bias_variance
        )
        W_rec = draw_weights(
            init,
            n_draws,
            n_hidden,
            gain=gain,
            spectral_radius=spectral_radius,
            dtype=dtype,
            rng=streams,
            **law,
        )
        return cls(W_rec, W_in, bias, activation=activation)


class LeakyRNN(_Dense):
    """Echo state network, h_t = (1 - a) h_{t-1} + a s(W_rec h_{t-1} + W_in u_t + b).

    Lukosevicius, "A practical guide to applying echo state networks" (2012), eqs. 2 and 3.
    With leak a = 1 it is the vanilla network, its state taken after the activation.

    Parameters
    ----------
    W_rec, W_in, bias, activation
        As in `RNN`.
    leak : float
        a, above 0 and at most 1: the share of a state that one step replaces.

    Attributes
    ----------
    n_draws, n_hidden, n_inputs, n_state : int
    dtype : numpy.dtype

    Raises
    ------
    ValueError
        As in `RNN`, or a leak outside (0, 1].

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.LeakyRNN(np.zeros((1, 3, 3)), leak=0.25)
    >>> vg.gradient_profile(cell, 100, rng=1).rate().value.round(6)  # ln(1 - leak)
    array([[-0.287682]])
    """

    def __init__(
        self,
        W_rec: object,
        W_in: object = None,
        bias: object = None,
        *,
        activation: str = "tanh",
        leak: float = 1.0,
    ) -> None:
        super().__init__(W_rec, W_in, bias, activation=activation)
        self.leak = checks.share("leak", leak)

    def _options(self) -> str:
        return f"{super()._options()}leak={self.leak:g}, "

    @classmethod
    def from_torch(cls, modules: object, layer: int | None = None) -> LeakyRNN:
        """Take over the weights of `torch.nn.RNN` or `RNNCell`; of a list, one a draw.

        The state is PyTorch's h = tanh(...), or relu(...) by the module's `nonlinearity`, so that a
        gradient profile is that of autograd at h.

        Parameters
        ----------
        modules, layer
            As in `vgcore.LSTM.from_torch`.

        Returns
        -------
        LeakyRNN
            With leak 1 and one draw for each module.

        Raises
        ------
        TypeError, ValueError
            As in `vgcore.LSTM.from_torch`, or modules that differ in their nonlinearity.

        Examples
        --------
        >>> import torch, vgcore as vg  # doctest: +SKIP
        >>> vg.LeakyRNN.from_torch(torch.nn.RNN(8, 64))  # doctest: +SKIP
        LeakyRNN(n_draws=1, n_hidden=64, n_inputs=8, activation='tanh', leak=1, dtype=float32)
        """
        W_ih, W_hh, b_ih, b_hh = torch_weights("RNN", 1, modules, layer)
        found = modules if isinstance(modules, (list, tuple)) else [modules]
        laws = {getattr(module, "nonlinearity", "tanh") for module in found}
        if len(laws) > 1:
            raise ValueError(f"modules: found nonlinearities {sorted(laws)}, expected one for all")
        return cls(W_hh, W_ih, b_ih + b_hh, activation=laws.pop())

    @classmethod
    def draw(
        cls,
        n_draws: int,
        n_hidden: int,
        *,
        init: str = "gaussian",
        gain: float | None = None,
        spectral_radius: float | None = None,
        density: float | None = None,
        leak: float = 1.0,
        n_inputs: int = 0,
        input_variance: float | None = None,
        bias_variance: float = 0.0,
        activation: str = "tanh",
        dtype: str = "float64",
        rng: Seed = None,
        **law: Any,
    ) -> LeakyRNN:
        """Draw random reservoirs; with the same seed they have the weights of `RNN.draw`.

        Parameters
        ----------
        density
            Share of weights that are not zero, above 0 and at most 1: round(density N) Gaussian
            entries a row, in the place of `init`.
        leak
            As in the class.
        n_draws, n_hidden, init, gain, spectral_radius, n_inputs, input_variance, bias_variance, \
        activation, dtype, rng, **law
            As in `RNN.draw`. The spectral radius is that of W_rec, without the leak.

        Returns
        -------
        LeakyRNN

        Raises
        ------
        TypeError, ValueError
            A bad argument, by name.

        Examples
        --------
        >>> import vgcore as vg
        >>> vg.LeakyRNN.draw(100, 200, spectral_radius=0.9, density=0.1, leak=0.3, rng=1)
        LeakyRNN(n_draws=100, n_hidden=200, n_inputs=0, activation='tanh', leak=0.3, dtype=float64)
        """
        if density is not None:
            density = checks.share("density", density)
            if init != "gaussian" or law:
                raise ValueError(
                    f"density={density} makes sparse Gaussian weights, so init={init!r} and its "
                    "keywords can't be given with it: drop one of them"
                )
            n_hidden = checks.integer("n_hidden", n_hidden, least=1)
            init, law = "sparse", {"nonzeros": max(1, round(density * n_hidden))}
        streams = Streams.from_rng(rng)
        W_in, bias = _drive(
            streams, init, n_draws, n_hidden, n_inputs, input_variance, bias_variance
        )
        W_rec = draw_weights(
            init,
            n_draws,
            n_hidden,
            gain=gain,
            spectral_radius=spectral_radius,
            dtype=dtype,
            rng=streams,
            **law,
        )
        return cls(W_rec, W_in, bias, activation=activation, leak=leak)


def _drive(
    streams: Streams,
    init: str,
    n_draws: int,
    n_hidden: int,
    n_inputs: int,
    input_variance: float | None,
    bias_variance: float,
) -> tuple[Array | None, Array | None]:
    """Input weights and biases; None where there are no inputs, or where all are zero."""
    draws = range(checks.integer("n_draws", n_draws, least=1))
    n_hidden = checks.integer("n_hidden", n_hidden, least=1)
    variance = drive_variance(init, input_variance)
    W_in, biases = drive_block(streams, draws, 1, n_hidden, n_inputs, variance)
    bias_std = checks.number("bias_variance", bias_variance, least=0.0) ** 0.5
    bias = None if biases is None else biases.sum(axis=1)
    if bias_std:
        if bias is not None:
            raise ValueError(
                f"bias_variance={bias_variance}: init 'torch' draws biases of its own; drop it, or "
                "give an input_variance too"
            )
        bias = bias_std * normal_block(streams, Purpose.BIAS, draws, (n_hidden,))
    return W_in, bias


def drive_variance(init: str, input_variance: float | None) -> float | None:
    """The input variance that is meant; None for PyTorch's law of input weights and biases."""
    checks.choice("init", init, INITIALIZERS)
    if input_variance is None:
        return None if init == "torch" else 1.0
    return checks.number("input_variance", input_variance, least=0.0)


def drive_block(
    streams: Streams,
    draws: range,
    n_blocks: int,
    n_hidden: int,
    n_inputs: int,
    input_variance: float | None,
) -> tuple[Array | None, Array | None]:
    """Input weights (draws, n_blocks N, n_inputs), and two biases (draws, 2, n_blocks N).

    Gaussian weights and no biases (None), or both by PyTorch's law where `input_variance` is None.
    """
    n_inputs = checks.integer("n_inputs", n_inputs)
    height = n_blocks * n_hidden
    n_draws = draws.stop - draws.start
    checks.room("n_draws, n_hidden, n_inputs", (n_draws, height, max(n_inputs, 1)))
    W_in = biases = None
    if input_variance is None:
        bound = n_hidden**-0.5
        biases = bound * uniform_block(streams, Purpose.BIAS, draws, (2, height))
        if n_inputs:
            shape = (height, n_inputs)
            W_in = bound * uniform_block(streams, Purpose.INPUT_WEIGHTS, draws, shape)
    elif n_inputs:
        W_in = normal_block(streams, Purpose.INPUT_WEIGHTS, draws, (height, n_inputs))
        W_in *= (input_variance / n_inputs) ** 0.5
    return W_in, biases


def recurrent_blocks(
    n_blocks: int,
    init: str,
    n_draws: int,
    n_hidden: int,
    streams: Streams,
    law: Mapping[str, Any],
    gain: float | None,
    spectral_radius: float | None,
    dtype: str,
) -> Array:
    """Independent matrices, n_blocks a draw; the first is that of `draw_weights`."""
    n_draws = checks.integer("n_draws", n_draws, least=1)
    n_hidden = checks.integer("n_hidden", n_hidden, least=1)
    shape = n_draws, n_blocks, n_hidden, n_hidden
    names = "n_draws, blocks or layers, n_hidden, n_hidden"
    to = checks.dtype("dtype", dtype)
    checks.room(names, shape, to.itemsize)
    out = np.empty(shape, to)
    for block in range(n_blocks):
        draws = block_draws(block, range(n_draws))
        out[:, block] = scaled_block(
            init, draws, n_hidden, streams, law, gain, spectral_radius, out.dtype
        )
    return out


def block_draws(block: int, draws: range) -> range:
    """Addresses of one of several matrices of these draws; those of the first are the draws."""
    return range((block << 32) + draws.start, (block << 32) + draws.stop)


def torch_weights(kind: str, n_gates: int, modules: object, layer: int | None) -> list[Array]:
    """W_ih, W_hh, b_ih and b_hh of one layer of PyTorch modules of a `kind`, one a draw."""
    found: list[Any] = list(modules) if isinstance(modules, (list, tuple)) else [modules]
    if not found or not all(hasattr(module, "state_dict") for module in found):
        raise TypeError(f"modules: found {modules!r}, expected a torch.nn.{kind} or a list of them")
    tables = [module.state_dict() for module in found]
    odd = [name for name in tables[0] if name.endswith("_reverse") or name.startswith("weight_hr")]
    if odd:
        raise ValueError(f"modules: found {odd[0]}, expected one direction and no projection")
    if layer is None and "weight_hh_l1" in tables[0]:
        raise ValueError(
            f"layer: found a torch.nn.{kind} of several layers, expected to be told which; pass "
            "layer=0 for the first"
        )
    suffix = "" if "weight_hh" in tables[0] else f"_l{layer or 0}"  # an LSTMCell has no suffix
    arrays: list[Array] = []
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        if name.startswith("bias") and name + suffix not in tables[0]:  # bias=False
            arrays.append(np.zeros(arrays[1].shape[:2], arrays[1].dtype))
            continue
        try:
            parts = [table[name + suffix].detach().cpu().numpy() for table in tables]
        except KeyError:
            raise ValueError(
                f"modules: no {name + suffix} among {', '.join(tables[0])}; expected a "
                f"torch.nn.{kind} with a layer {layer or 0}"
            ) from None
        arrays.append(np.stack(parts))
    rows, n_hidden = arrays[1].shape[1:]
    if rows != n_gates * n_hidden:
        raise TypeError(
            f"modules: found a {type(found[0]).__name__} whose weight_hh has {rows} rows for "
            f"{n_hidden} units, expected {n_gates * n_hidden} as in a torch.nn.{kind}"
        )
    return arrays


def unit_loss_gradients(streams: Streams, draws: range, shape: tuple[int, ...]) -> Array:
    """Random unit vectors along the last axis, shape (len(draws), *shape)."""
    out = normal_block(streams, Purpose.LOSS_GRADIENT, draws, shape)
    out /= np.sqrt((out**2).sum(axis=-1, keepdims=True))
    return out
