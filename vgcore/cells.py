"""Recurrent cells: validated parameters with a leading draws axis, and their random ensembles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vgcore import checks
from vgcore._typing import Array
from vgcore.activations import activation as find_activation
from vgcore.initializers import draw_weights
from vgcore.kernels.normals import _normal_batch
from vgcore.streams import Purpose, Seed, Streams


class RNN:
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
        self.dtype: np.dtype[Any] = self.W_rec.dtype
        self.activation = find_activation(activation).name
        self.W_in: Array | None = None
        if W_in is not None:
            self.W_in = checks.shaped("W_in", W_in, (self.n_draws, self.n_hidden, "n_inputs"))
            self.W_in = checks.cast("W_in", self.W_in, self.dtype)
        self.bias: Array | None = None
        if bias is not None:
            self.bias = checks.shaped("bias", bias, (self.n_draws, self.n_hidden))
            self.bias = checks.cast("bias", self.bias, self.dtype)

    @property
    def n_inputs(self) -> int:
        return 0 if self.W_in is None else int(self.W_in.shape[2])

    @property
    def n_state(self) -> int:
        return self.n_hidden

    def __repr__(self) -> str:
        return (
            f"RNN(n_draws={self.n_draws}, n_hidden={self.n_hidden}, n_inputs={self.n_inputs}, "
            f"activation={self.activation!r}, dtype={self.dtype})"
        )

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
        input_variance: float = 1.0,
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
            N(0, input_variance / n_inputs) entries.
        bias_variance
            Biases are N(0, bias_variance); 0 means none.
        activation
            A name in `vgcore.activations.ACTIVATIONS`.

        Examples
        --------
        >>> import vgcore as vg
        >>> vg.RNN.draw(100, 64, spectral_radius=0.9, n_inputs=8, rng=1)
        RNN(n_draws=100, n_hidden=64, n_inputs=8, activation='tanh', dtype=float64)
        """
        draws = range(checks.integer("n_draws", n_draws, least=1))
        n_inputs = checks.integer("n_inputs", n_inputs)
        in_std = checks.number("input_variance", input_variance, least=0.0) ** 0.5
        bias_std = checks.number("bias_variance", bias_variance, least=0.0) ** 0.5
        streams = Streams.from_rng(rng)
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
        W_in = bias = None
        if n_inputs:
            W_in = normal_block(streams, Purpose.INPUT_WEIGHTS, draws, (n_hidden, n_inputs))
            W_in *= in_std * n_inputs**-0.5
        if bias_std:
            bias = bias_std * normal_block(streams, Purpose.BIAS, draws, (n_hidden,))
        return cls(W_rec, W_in, bias, activation=activation)


def normal_block(streams: Streams, purpose: Purpose, draws: range, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers, shape (len(draws), *shape), each draw from its own address.

    Not those of `streams.at`, but from a kernel that is five times as fast.
    """
    out = np.empty((len(draws), math.prod(shape)))
    key, salt = map(np.uint64, streams.key)
    _normal_batch(key, salt, np.uint64(streams.address(purpose, draws.start)), out)
    return out.reshape(len(draws), *shape)


def unit_loss_gradients(streams: Streams, draws: range, shape: tuple[int, ...]) -> Array:
    """Random unit vectors along the last axis, shape (len(draws), *shape)."""
    out = normal_block(streams, Purpose.LOSS_GRADIENT, draws, shape)
    out /= np.sqrt((out**2).sum(axis=-1, keepdims=True))
    return out
