"""Gradient clipping: what it changes, and what it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array, Integers
from vgcore.cells import Cell
from vgcore.kernels.clipping import BY_DELTA, BY_NORM, BY_VALUE, _clipping_lane
from vgcore.kernels.unrolled import Unrolled
from vgcore.kernels.vectors import aligned_zeros
from vgcore.remedies.unrolling import over_trajectories, unroller
from vgcore.streams import Seed, Streams
from vgcore.tables import tidy
from vgcore.trajectory import last_losses

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
By = Literal["norm", "value", "delta"]

_CODES = {"norm": BY_NORM, "value": BY_VALUE, "delta": BY_DELTA}
OUTCOMES = ("kept", "clipped", "overflow", "zero")


@dataclass(frozen=True, eq=False, repr=False)
class Clipping:
    """Gradients dE_T/dW_rec before and after clipping; arrays are (n_draws, n_trajectories).

    Clipping buys no memory: see `steps_gained`.

    Attributes
    ----------
    by : str
        "norm", "value" or "delta".
    threshold : float
    outcome : ndarray of str
        "kept" for a gradient below the threshold; "clipped"; "zero" for one that is exactly zero;
        "overflow" where plain arithmetic in the dtype of the cell would meet a number beyond its
        range, and the gradient that is to be clipped is inf or NaN.
    log_norm, log_clipped_norm : ndarray of float64
        ln of the Frobenius norm before and after. Exact for an overflow too, since the scale is
        kept apart; inf only where even one step leaves the range of float64.
    cosine : ndarray of float64
        Between the two; 1 where nothing is clipped, nan where the norm is inf.
    clipped_share : ndarray of float64
        Share clipped: 0 or 1 by norm, of the entries of W_rec by value, of the steps by delta.
    steps_gained : ndarray of int
        Memory horizon with clipping less that without, in steps, for the norm of dE_T/dx relative
        to lag 0 to fall to `eps`. Never above 0.
    eps : float
    log_delta, log_term : ndarray of float64, shape (n_draws, n_trajectories, n_steps + 1)
        Before clipping, by lag: ln of the norms of dE_T/dx and of the terms of dE_T/dW_rec, of
        which there is none at the last lag. A chaotic trajectory is not that of
        `vgcore.gradient_profile` for long, which rounds otherwise; these are of its own.
    """

    by: str
    threshold: float
    outcome: npt.NDArray[np.str_]
    log_norm: Floats
    log_clipped_norm: Floats
    cosine: Floats
    clipped_share: Floats
    steps_gained: Integers
    eps: float
    log_delta: Floats
    log_term: Floats

    def share(self, outcome: str) -> float:
        """Share of gradients with an outcome; the four shares add up to 1."""
        checks.choice("outcome", outcome, OUTCOMES)
        return float(np.mean(self.outcome == outcome))

    @property
    def clip_rate(self) -> float:
        """Share of gradients that are finite and clipped."""
        return self.share("clipped")

    @property
    def largest_log_norm(self) -> float:
        """Ln of the largest norm before clipping."""
        return float(self.log_norm.max())

    def to_frame(self) -> pd.DataFrame:
        """Tidy table, a row each draw and trajectory."""
        return tidy(
            ("draw", "trajectory"),
            outcome=self.outcome,
            log_norm=self.log_norm,
            log_clipped_norm=self.log_clipped_norm,
            cosine=self.cosine,
            clipped_share=self.clipped_share,
            steps_gained=self.steps_gained,
        )

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{(self.outcome == outcome).sum()} {outcome}"
            for outcome in OUTCOMES
            if (self.outcome == outcome).any()
        )
        finite = self.cosine[~np.isnan(self.cosine)]
        lowest = f"{finite.min():.4g}" if finite.size else "none"
        return (
            f"Clipping(by {self.by} at {self.threshold:g}; {self.outcome.size} gradients: "
            f"{counts}; largest log norm {self.largest_log_norm:.4g}; lowest cosine {lowest}; "
            f"clipping buys no memory: at most {self.steps_gained.max()} steps gained)"
        )


def clipping(
    cell: Cell,
    n_steps: int,
    threshold: float,
    *,
    by: By = "norm",
    eps: float = 1e-3,
    inputs: object = None,
    n_trajectories: int = 1,
    initial_state: object = None,
    loss_gradient: object = None,
    burn_in: int = 0,
    rng: Seed = None,
    n_threads: int | None = None,
) -> Clipping:
    """Clip dE_T/dW_rec of an ensemble of networks, losses and inputs.

    **Clipping buys no memory.** It makes large gradients smaller. By norm, all terms of the
    gradient get one common factor, so the share that old steps have in it does not change. By
    value, no entry grows, and old and new parts of an entry get one factor. On delta, older terms
    get a factor no larger than newer ones, so their share can only fall. Where gradients vanish
    there is nothing to clip.

    Parameters
    ----------
    cell
        Networks, one a draw; any but a `DeepNet`, whose layers share no weights.
    n_steps
        Steps the gradient goes back, at least 1: the terms of the last n_steps states add up to it,
        in the vanilla network delta_t s(x_{t-1})^T; see `vgcore.remedies.truncation` for others.
    threshold
        Above 0.
    by
        "norm": the whole gradient is scaled down to a Frobenius norm of `threshold`. "value": its
        entries are cut to [-threshold, threshold]. "delta": in the backward pass each dE_T/dx_t,
        dE_T/dx_T first, is scaled down to a norm of `threshold` before it is used and carried on.
    eps
        Fraction of the lag-0 norm that ends the memory in `steps_gained`, within (0, 1).
    inputs, n_trajectories, initial_state, loss_gradient, burn_in, rng, n_threads
        As in `vgcore.gradient_profile`; with the same seed the random numbers are the same.

    Returns
    -------
    Clipping

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    By norm: Pascanu, Mikolov, Bengio (2013), algorithm 1; here the norm is that of dE_T/dW_rec
    alone. By value: Mikolov, "Statistical language models based on neural networks" (2012). On
    delta: as in Graves, "Generating sequences with recurrent neural networks" (2013), section 2.1,
    but by norm, so that the direction of each delta is kept.

    Work is done in float64 whatever the dtype of the cell, vectors and sums held apart from their
    scale. A gradient beyond the range of the cell's dtype is thus measured all the same, and
    counted as an overflow, since training code would have inf or NaN in its place, or, dividing by
    an infinite norm, a silent zero. Time O(n_draws n_trajectories n_steps N^2).

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.RNN(3.0 * np.eye(2)[None], activation="linear")
    >>> found = vg.remedies.clipping(cell, 20, 1.0, rng=0)
    >>> found.clip_rate, found.log_clipped_norm, found.cosine, found.steps_gained
    (1.0, array([[0.]]), array([[1.]]), array([[0]]))
    >>> vg.remedies.clipping(cell, 1000, 1.0, rng=0).share("overflow")
    1.0
    """
    n_steps = checks.integer("n_steps", n_steps, least=1)
    threshold = checks.positive("threshold", threshold)
    checks.choice("by", by, _CODES)
    eps = checks.fraction("eps", eps, such_as="1e-3")
    burn_in = checks.integer("burn_in", burn_in)
    n_trajectories = checks.integer("n_trajectories", n_trajectories, least=1)
    streams = Streams.from_rng(rng)
    new_unrolled = unroller(cell, n_steps, burn_in, inputs, initial_state, streams, n_trajectories)
    losses = last_losses(cell, n_trajectories, loss_gradient, streams)
    n, log_eps = cell.n_hidden, float(np.log(eps))
    out = np.empty((cell.n_draws, n_trajectories, 7))
    checks.room("n_draws, n_trajectories, n_steps + 1", (*out.shape[:2], n_steps + 1), 16)
    logs = np.full((cell.n_draws, n_trajectories, 2, n_steps + 1), -np.inf)

    def scratch(unrolled: Unrolled) -> tuple[Array, ...]:
        full, other = aligned_zeros((2, *unrolled.W_rec.shape), np.float64)
        return np.zeros((2, n_steps + 1)), full, other

    def work(d: int, k: int, _: Array, unrolled: Unrolled, *own: Array) -> None:
        series, full, other = own
        _clipping_lane(
            unrolled, n, _CODES[by], threshold, log_eps, series, full, other, out[d, k], logs[d, k]
        )

    shape = (cell.n_draws, n_trajectories)
    over_trajectories(new_unrolled, losses[:, :, None], shape, work, scratch, n_threads)
    log_norm, log_clipped, cosine, share, largest, before, after = np.moveaxis(out, -1, 0).copy()
    beyond = ~(log_norm < np.inf) | ~(log_clipped < np.inf)
    log_norm[beyond] = log_clipped[beyond] = np.inf
    cosine[beyond], share[beyond] = np.nan, 0.0
    before[beyond] = after[beyond] = 0
    zero = np.isneginf(log_norm)
    cosine[zero], share[zero] = 1.0, 0.0
    overflow = beyond | ~(largest <= np.log(float(np.finfo(cell.dtype).max)))
    outcome = np.select([overflow, zero, share > 0.0], ["overflow", "zero", "clipped"], "kept")
    return Clipping(
        by,
        threshold,
        outcome,
        log_norm,
        log_clipped,
        cosine,
        share,
        (after - before).astype(np.int64),
        eps,
        logs[:, :, 0],
        logs[:, :, 1],
    )
