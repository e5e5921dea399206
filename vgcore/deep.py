"""Deep networks whose layers have weights of their own: depth in the place of time."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from vgcore import checks
from vgcore.activations import activation as find_activation
from vgcore.cells import Cell, recurrent_blocks
from vgcore.draws import normal_block
from vgcore.streams import Purpose, Seed, Streams


class DeepNet(Cell):
    """Deep network, x_l = W_l s(x_{l-1}) + b_l, or x_{l-1} + W_l s(x_{l-1}) + b_l if residual.

    Its profile over lags is one over layers, from the output x_L back: what shallow layers still
    learn. With the same W in each layer it is the vanilla `RNN`. The random ensemble is that of
    Poole et al. (2016) and Schoenholz et al. (2017); residual as in Yang and Schoenholz (2017).

    Parameters
    ----------
    W : array_like, shape (n_draws, n_layers, N, N)
        Weights, first layer first; float32 or float64.
    bias : array_like, shape (n_draws, n_layers, N), optional
    activation : str
        A name in `vgcore.activations.ACTIVATIONS`.
    residual : bool
        Whether a layer adds to what enters it.

    Attributes
    ----------
    n_draws, n_layers, n_hidden, n_inputs, n_state : int
        `n_state` is N; `n_inputs` is 0, since the input is the state x_0.
    dtype : numpy.dtype

    Raises
    ------
    ValueError
        Shapes that do not match, non-finite entries, an unknown activation.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> net = vg.DeepNet(np.tile(0.5 * np.eye(3), (1, 100, 1, 1)), activation="linear")
    >>> vg.gradient_profile(net, 100, rng=1).rate().value.round(6)  # nats per layer
    array([[-0.693147]])
    """

    def __init__(
        self,
        W: object,
        bias: object = None,
        *,
        activation: str = "tanh",
        residual: bool = False,
    ) -> None:
        self.W = self.W_rec = checks.shaped("W", W, ("n_draws", "n_layers", "N", "N"))
        if self.W.shape[2] != self.W.shape[3] or 0 in self.W.shape:
            raise ValueError(
                f"W: found shape {self.W.shape}, expected (n_draws, n_layers, N, N) with square "
                "matrices and at least one draw, layer and unit"
            )
        self.n_draws, self.n_layers, self.n_hidden = map(int, self.W.shape[:3])
        self.dtype = self.W.dtype
        self.W_in = None
        self.activation = find_activation(activation).name
        self.residual = checks.flag("residual", residual)
        if bias is None:
            self.bias = np.zeros(self.W.shape[:3], self.dtype)
        else:
            self.bias = checks.cast(
                "bias", checks.shaped("bias", bias, self.W.shape[:3]), self.dtype
            )

    def _options(self) -> str:
        residual = "residual=True, " if self.residual else ""
        return f"n_layers={self.n_layers}, activation={self.activation!r}, {residual}"

    def __repr__(self) -> str:
        return super().__repr__().replace("n_inputs=0, ", "")

    @classmethod
    def draw(
        cls,
        n_draws: int,
        n_layers: int,
        n_hidden: int,
        *,
        init: str = "gaussian",
        gain: float | None = None,
        spectral_radius: float | None = None,
        bias_variance: float = 0.0,
        activation: str = "tanh",
        residual: bool = False,
        dtype: str = "float64",
        rng: Seed = None,
        **law: Any,
    ) -> Self:
        """Draw random networks.

        The weights take n_draws n_layers N^2 numbers. A network of more layers with the same seed
        begins with those of one of fewer, and its first layer is the W_rec of `RNN.draw`.

        Parameters
        ----------
        n_layers
            Depth.
        residual
            As in the class.
        n_draws, n_hidden, init, gain, spectral_radius, bias_variance, activation, dtype, rng, **law
            As in `RNN.draw`, for each layer by itself.

        Returns
        -------
        DeepNet

        Raises
        ------
        TypeError, ValueError
            A bad argument, by name.

        Examples
        --------
        >>> import vgcore as vg
        >>> vg.DeepNet.draw(10, 50, 16, gain=1.2, rng=1)
        DeepNet(n_draws=10, n_hidden=16, n_layers=50, activation='tanh', dtype=float64)
        """
        n_layers = checks.integer("n_layers", n_layers, least=1)
        bias_std = checks.number("bias_variance", bias_variance, least=0.0) ** 0.5
        streams = Streams.from_rng(rng)
        W = recurrent_blocks(
            n_layers, init, n_draws, n_hidden, streams, law, gain, spectral_radius, dtype
        )
        bias = None
        if bias_std:
            bias = bias_std * normal_block(
                streams, Purpose.BIAS, range(n_draws), (n_layers, n_hidden)
            )
        return cls(W, bias, activation=activation, residual=residual)

    def layers_before(self, n_steps: int, burn_in: int) -> int:
        """How many layers come before the last `n_steps`, of a net that always runs all of them."""
        checks.integer("n_steps", n_steps, least=1, most=self.n_layers)
        if burn_in:
            raise ValueError(
                f"burn_in: found {burn_in}, expected 0 for a DeepNet: all {self.n_layers} layers "
                f"run, and lags go back {n_steps} of them from the output"
            )
        return self.n_layers - n_steps
