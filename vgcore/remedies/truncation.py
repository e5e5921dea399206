"""Truncated backpropagation through time: what is left of the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array, Integers
from vgcore.cells import Cell
from vgcore.kernels.truncation import _truncation_lane
from vgcore.kernels.unrolled import Unrolled
from vgcore.kernels.vectors import aligned_zeros
from vgcore.remedies.unrolling import over_trajectories, unroller
from vgcore.streams import Seed, Streams
from vgcore.tables import tidy
from vgcore.trajectory import compact, last_losses, refuse_overflow

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Measure = Literal["projection", "norm", "cosine"]

LEVELS = (0.9, 0.95, 0.99)


@dataclass(frozen=True, eq=False, repr=False)
class Truncation:
    """The gradient truncated at each k beside the full one, G_k beside G = dE/dW_rec.

    W_rec is all recurrent weights: `W_hh` of an `LSTM` or a `GRU`.

    Attributes
    ----------
    truncations : ndarray of int, shape (K,)
        The k measured, ascending.
    log_norm : ndarray of float64, shape (n_draws, n_trajectories, K)
        ln ||G_k||_F; -inf where G_k is exactly zero.
    projection_share : ndarray of float64, same shape
        <G_k, G> / ||G||^2, the share of the full gradient in its own direction. What each lag adds
        sums up to 1; it may be below 0, and a share above 1, where lags oppose each other. Where
        they are orthogonal it is the share of the squared norm. nan where G is exactly zero.
    cosine : ndarray of float64, same shape
        <G_k, G> / (||G_k|| ||G||); 0 where G_k is exactly zero, nan where G is.
    log_full_norm : ndarray of float64, shape (n_draws, n_trajectories)
        ln ||G||_F.
    """

    truncations: Integers
    log_norm: Floats
    projection_share: Floats
    cosine: Floats
    log_full_norm: Floats

    @property
    def norm_ratio(self) -> Floats:
        """||G_k|| / ||G||, shape of `log_norm`; nan where G is exactly zero."""
        with np.errstate(over="ignore", invalid="ignore"):
            ratio: Floats = np.exp(self.log_norm - self.log_full_norm[..., None])
        return ratio

    def smallest(self, level: float = 0.9, of: Measure = "projection") -> Integers:
        """Smallest k that keeps a share of the gradient, as does every larger k measured.

        Parameters
        ----------
        level
            Within (0, 1).
        of
            "projection" for `projection_share`, "norm" for `norm_ratio`, or "cosine".

        Returns
        -------
        ndarray of int, shape (n_draws, n_trajectories)
            Of the k measured; 0 where even the largest of them keeps less, or G is exactly zero.

        Examples
        --------
        >>> import numpy as np, vgcore as vg
        >>> cell = vg.RNN(0.5 * np.eye(1)[None], np.ones((1, 1, 1)), activation="linear")
        >>> found = vg.remedies.truncation(cell, 50, inputs=[1.0], initial_state=[2.0], rng=0)
        >>> found.smallest(0.9), found.smallest(0.99)  # the share is 1 - 0.5^k
        (array([[4]]), array([[7]]))
        """
        level = checks.fraction("level", level, such_as="0.9")
        checks.choice("of", of, ("projection", "norm", "cosine"))
        shares = {"projection": self.projection_share, "cosine": self.cosine}
        with np.errstate(invalid="ignore"):
            kept = (self.norm_ratio if of == "norm" else shares[of]) >= level
        kept_from = np.logical_and.accumulate(kept[..., ::-1], axis=-1)[..., ::-1]
        first = self.truncations[kept_from.argmax(axis=-1)]
        return np.where(kept_from[..., -1], first, 0)

    def to_frame(self) -> pd.DataFrame:
        """Tidy table, a row each draw, trajectory and truncation."""
        table = tidy(
            ("draw", "trajectory", "truncation"),
            log_norm=self.log_norm,
            norm_ratio=self.norm_ratio,
            projection_share=self.projection_share,
            cosine=self.cosine,
        )
        return table.assign(truncation=self.truncations[table["truncation"]])

    def __repr__(self) -> str:
        parts = []
        for level in LEVELS:
            smallest = self.smallest(level)
            if smallest.any():
                parts.append(f"{level:.0%}: {np.median(smallest[smallest > 0]):g}")
        zero = int(np.isneginf(self.log_full_norm).sum())
        return (
            f"Truncation({self.log_full_norm.size} gradients, k from {self.truncations[0]} to "
            f"{self.truncations[-1]}; median smallest k that keeps {', '.join(parts) or 'none'}"
            f"{f'; {zero} exactly zero' if zero else ''})"
        )


def truncation(
    cell: Cell,
    n_steps: int,
    truncations: object = None,
    *,
    inputs: object = None,
    n_trajectories: int = 1,
    initial_state: object = None,
    loss_gradient: object = None,
    loss_gradients: object = None,
    burn_in: int = 0,
    rng: Seed = None,
    n_threads: int | None = None,
) -> Truncation:
    """Compare truncated BPTT with the full gradient dE/dW_rec, at every k in one go.

    Truncated at k, each loss's gradient goes back through k steps and no more:

        G_k = sum_t sum_{l < k} (dE_t/dg_{t-l}) h_{t-l-1}^T

    where W_rec h is what reaches the gates g at a step: in the vanilla network h is s(x) and dE/dg
    is dE/dx; an LSTM has four gates a unit, a GRU three, and in a `LeakyRNN` h is the state.
    k = n_steps is the full gradient of the n_steps steps after burn-in.

    Parameters
    ----------
    cell
        Networks, one a draw; any but a `DeepNet`, whose layers share no weights.
    n_steps
        Steps from the first state the gradient reaches to the last loss, at least 1.
    truncations : array_like of int, optional
        The k to measure, within 1 ... n_steps; each of them where None.
    inputs, n_trajectories, initial_state, burn_in, rng, n_threads
        As in `vgcore.gradient_profile`; with the same seed the random numbers are the same.
    loss_gradient : array_like, optional
        For one loss at the last step: dE_T/dx_T, broadcasts to (n_draws, n_trajectories, n_state);
        a random unit vector where None.
    loss_gradients : array_like, optional
        For a loss at every step instead: dE_t/dx_t of the n_steps steps after burn-in, broadcasts
        to (n_draws, n_trajectories, n_steps, n_state).

    Returns
    -------
    Truncation

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.
    FloatingPointError
        Weights so large that one step overflows.

    Notes
    -----
    Truncated BPTT as in Williams and Peng, "An efficient gradient-based algorithm for on-line
    training of recurrent network trajectories", Neural Computation 2, 490-501 (1990). Work is done
    in float64 whatever the dtype of the cell, and norms are kept in log, so neither explosion nor
    decay leaves the range.

    With one loss, all k take one backward pass and O(n_steps N^2) a row (a draw and trajectory).
    With a loss at every step the backward pass that carries the sum of all losses has lost which
    lag its parts come from, so losses are carried on side by side, a lag at a time: each lag is a
    product of up to n_steps vectors with W_rec, and takes part in every k above it. That is
    O(n_steps max(truncations) N^2), half of it where max(truncations) = n_steps, for all k
    together; a window sum got by subtracting what left the window would cost as much for each k.
    Memory O(n_steps N) a thread.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.RNN.draw(20, 32, spectral_radius=0.9, n_inputs=4, rng=1)
    >>> inputs = np.random.default_rng(2).standard_normal((20, 1, 100, 4))
    >>> found = vg.remedies.truncation(cell, 100, inputs=inputs, rng=3)
    >>> found.projection_share.shape
    (20, 1, 100)
    >>> bool(np.median(found.smallest(0.9)) < np.median(found.smallest(0.99)))
    True
    """
    n_steps = checks.integer("n_steps", n_steps, least=1)
    burn_in = checks.integer("burn_in", burn_in)
    n_trajectories = checks.integer("n_trajectories", n_trajectories, least=1)
    streams = Streams.from_rng(rng)
    new_unrolled = unroller(cell, n_steps, burn_in, inputs, initial_state, streams, n_trajectories)
    grid = _grid(truncations, n_steps)
    if loss_gradients is None:
        losses = last_losses(cell, n_trajectories, loss_gradient, streams)[:, :, None]
    elif loss_gradient is None:
        losses = compact(
            checks.broadcast(
                "loss_gradients",
                loss_gradients,
                (cell.n_draws, n_trajectories, n_steps, cell.n_state),
                "(n_draws, n_trajectories, n_steps, n_state)",
            )
        )
        losses = np.repeat(losses, n_steps // losses.shape[2], axis=2)
    else:
        raise ValueError(
            "loss_gradient: given beside loss_gradients; the first is for one loss at the last "
            "step, the second for a loss at every step"
        )
    shape = (cell.n_draws, n_trajectories)
    log_norm, share, cosine = np.empty((3, *shape, len(grid)))
    log_full = np.empty(shape)

    def scratch(unrolled: Unrolled) -> tuple[Any, ...]:
        full, partial = aligned_zeros((2, *unrolled.W_rec.shape), np.float64)
        carried, gates = np.zeros_like(unrolled.deltas), np.zeros_like(unrolled.rows)
        return carried, gates, np.zeros((2, n_steps + 1), np.int64), full, partial

    def work(d: int, k: int, loss: Array, unrolled: Unrolled, *own: Any) -> None:
        carried, gates, exponents, full, partial = own
        log_full[d, k] = _truncation_lane(
            unrolled, loss, grid, carried, gates, exponents, full, partial,
            log_norm[d, k], share[d, k], cosine[d, k],
        )  # fmt: skip

    over_trajectories(new_unrolled, losses, shape, work, scratch, n_threads)
    refuse_overflow(cell, log_full)
    return Truncation(grid, log_norm, share, cosine, log_full)


def _grid(truncations: object, n_steps: int) -> Integers:
    """Return the k to measure, ascending, each once."""
    if truncations is None:
        return np.arange(1, n_steps + 1)
    found = np.atleast_1d(np.asarray(truncations))
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "iu":
        raise TypeError(
            f"truncations: found {truncations!r}, expected integers from 1 to n_steps = {n_steps}"
        )
    for k in (found.min(), found.max()):
        checks.integer("truncations", k, least=1, most=n_steps)
    return np.unique(found).astype(np.int64)
