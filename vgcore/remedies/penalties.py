"""Penalties on W_rec: Pascanu's Omega, orthogonality, L2, and descent on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array, Integers
from vgcore.cells import RNN
from vgcore.kernels.penalties import (
    GREW,
    L2,
    NOT_FINITE,
    OMEGA,
    OMEGA_SQUARED,
    ORTHOGONALITY,
    OUT_OF_RANGE,
    _descend_lane,
)
from vgcore.kernels.tangent import new_motion
from vgcore.kernels.unrolled import new_unrolled
from vgcore.kernels.vectors import aligned_zeros, padded
from vgcore.parallel import over_draws
from vgcore.streams import Seed, Streams
from vgcore.tables import tidy
from vgcore.trajectory import last_losses, network

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Name = Literal["omega", "omega_squared", "orthogonality", "l2"]

_CODES = {
    "omega": OMEGA,
    "omega_squared": OMEGA_SQUARED,
    "orthogonality": ORTHOGONALITY,
    "l2": L2,
}
_REASONS = {
    0: "",
    NOT_FINITE: "the penalty or its gradient is not finite",
    GREW: "the penalty is more than 1e12 times what it was at first",
    OUT_OF_RANGE: "W_rec leaves the range of the cell's dtype",
}


@dataclass(frozen=True, eq=False, repr=False)
class Penalty:
    """A penalty of each draw and its derivative.

    Attributes
    ----------
    value : ndarray of float64, shape (n_draws,)
    gradient : ndarray of float64, shape (n_draws, N, N)
        By W_rec.
    """

    value: Floats
    gradient: Floats

    def __repr__(self) -> str:
        return (
            f"Penalty(median {np.median(self.value):.4g} of {self.value.size}; .value, .gradient)"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Descent:
    """Networks after descent on a penalty, as `penalised_descent` returns them.

    Attributes
    ----------
    cell : RNN
        With the new W_rec and all else as it was. A draw that stopped has the W_rec before the
        update that failed.
    penalty, gradient_norm : ndarray of float64, shape (n_draws, n_updates + 1)
        Before each update and after the last; nan from where a draw stopped, but for the value that
        stopped it.
    stopped_at : ndarray of int, shape (n_draws,)
        The update that failed, counted from 1; 0 where the penalty of the given W_rec is not
        finite, and -1 where all updates were done.
    reason : ndarray of str, shape (n_draws,)
        Why, or "".
    """

    cell: RNN
    penalty: Floats
    gradient_norm: Floats
    stopped_at: Integers
    reason: npt.NDArray[np.str_]

    def to_frame(self) -> pd.DataFrame:
        """Tidy table: draw, update, penalty, gradient_norm; a row each.

        Examples
        --------
        >>> import vgcore as vg
        >>> found = vg.remedies.penalised_descent(vg.RNN.draw(2, 8, rng=1), "l2", 3, 0.1)
        >>> len(found.to_frame())
        8
        """
        return tidy(("draw", "update"), penalty=self.penalty, gradient_norm=self.gradient_norm)

    def __repr__(self) -> str:
        done = self.stopped_at < 0
        first, last = np.median(self.penalty[:, 0]), self.penalty[done, -1]
        parts = [f"{len(done)} draws, {self.penalty.shape[1] - 1} updates"]
        if done.any():
            parts.append(f"median penalty {first:.4g} -> {np.median(last):.4g}")
        for draw in np.flatnonzero(~done)[:3]:
            parts.append(
                f"draw {draw} stopped at update {self.stopped_at[draw]}: {self.reason[draw]}"
            )
        if (~done).sum() > 3:
            parts.append(f"{(~done).sum() - 3} more stopped")
        return f"Descent({'; '.join(parts)})"


def omega(
    cell: RNN,
    n_steps: int,
    *,
    squared: bool = False,
    inputs: object = None,
    n_trajectories: int = 1,
    initial_state: object = None,
    loss_gradient: object = None,
    burn_in: int = 0,
    rng: Seed = None,
    n_threads: int | None = None,
) -> Penalty:
    """Pascanu's Omega: how far steps are from keeping the norm of the gradient.

        Omega = sum_k Omega_k,   Omega_k = (||delta_{k+1} dx_{k+1}/dx_k|| / ||delta_{k+1}|| - 1)^2

    over the n_steps steps that dE_T/dx_T goes back, and the mean over trajectories.

    Parameters
    ----------
    cell
        Networks, one a draw.
    n_steps
        Steps, at least 1.
    squared
        The form of the authors' code instead, (||...||^2 / ||...||^2 - 1)^2, which leaves out steps
        with ||delta_{k+1}||^2 < 1e-20.
    inputs, n_trajectories, initial_state, loss_gradient, burn_in, rng, n_threads
        As in `vgcore.gradient_profile`; with the same seed the random numbers are the same.

    Returns
    -------
    Penalty
        `gradient` is the immediate derivative: delta_{k+1} and x_k are held fixed, and only the
        W_rec of the one step is varied.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.
    FloatingPointError
        Weights so large that one step overflows.

    Notes
    -----
    Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks" (2013),
    eq. 9 for the penalty and eq. 10 for its immediate derivative, where the paper squares the
    ratio. Where the paper prints W_rec^T diag(s') for the Jacobian, this is the exact one,
    delta_k = diag(s'(x_k)) W_rec^T delta_{k+1}. The authors' code divides by the number of steps
    it keeps; this is the sum, as in the paper. On W_rec = a I without saturation a term is
    (a - 1)^2, or (a^2 - 1)^2 if squared.

    A step from an exactly zero gradient has no ratio and is left out. One that makes the gradient
    exactly zero counts 1, and 0 in the derivative.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.RNN(0.5 * np.eye(4)[None], activation="linear")
    >>> vg.remedies.penalties.omega(cell, 10, rng=0).value
    array([2.5])
    >>> vg.remedies.penalties.omega(cell, 10, squared=True, rng=0).value
    array([5.625])
    """
    return _value(
        cell,
        OMEGA_SQUARED if checks.flag("squared", squared) else OMEGA,
        n_steps,
        inputs,
        n_trajectories,
        initial_state,
        loss_gradient,
        burn_in,
        rng,
        n_threads,
    )


def orthogonality(cell: RNN, *, n_threads: int | None = None) -> Penalty:
    """||W_rec^T W_rec - I||_F^2, and its derivative 4 W_rec (W_rec^T W_rec - I).

    Zero just where every singular value is 1.

    Parameters
    ----------
    cell
        Networks, one a draw.
    n_threads
        Threads to use; None means all cores. The result does not depend on it, to the bit.

    Returns
    -------
    Penalty

    Raises
    ------
    TypeError
        A cell that is no RNN.
    FloatingPointError
        Weights so large that their products overflow.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> vg.remedies.penalties.orthogonality(vg.RNN(2.0 * np.eye(3)[None])).value
    array([27.])
    """
    return _value(cell, ORTHOGONALITY, n_threads=n_threads)


def l2(cell: RNN, *, n_threads: int | None = None) -> Penalty:
    """||W_rec||_F^2, and its derivative 2 W_rec.

    Parameters
    ----------
    cell
        Networks, one a draw.
    n_threads
        Threads to use; None means all cores. The result does not depend on it, to the bit.

    Returns
    -------
    Penalty

    Raises
    ------
    TypeError
        A cell that is no RNN.
    FloatingPointError
        Weights so large that their squares overflow.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> vg.remedies.penalties.l2(vg.RNN(2.0 * np.eye(3)[None])).value
    array([12.])
    """
    return _value(cell, L2, n_threads=n_threads)


def penalised_descent(
    cell: RNN,
    penalty: Name,
    n_updates: int,
    learning_rate: object,
    *,
    n_steps: int | None = None,
    inputs: object = None,
    n_trajectories: int = 1,
    initial_state: object = None,
    loss_gradient: object = None,
    burn_in: int = 0,
    rng: Seed = None,
    n_threads: int | None = None,
) -> Descent:
    """Descend on a penalty: W_rec <- W_rec - learning_rate * (its derivative), n_updates times.

    Measure the networks that come out with `vgcore.gradient_profile`, under the same inputs.

    Parameters
    ----------
    cell
        Networks, one a draw; left as they are.
    penalty
        "omega", "omega_squared", "orthogonality" or "l2": see the functions of this module.
    n_updates
        At least 0.
    learning_rate : float or array_like
        Above 0; broadcasts to (n_draws,), so that each draw can have its own.
    n_steps, inputs, n_trajectories, initial_state, loss_gradient, burn_in, rng
        As in `omega`, and for Omega only: the same trajectories' inputs, initial states and loss
        gradients in every update. n_steps must then be given.
    n_threads
        Threads to use; None means all cores. The result does not depend on it, to the bit.

    Returns
    -------
    Descent

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    *Step sizes.* With a learning rate r, orthogonality leaves the singular vectors alone and moves
    each singular value by sigma <- sigma (1 - 4 r (sigma^2 - 1)). With r <= 1 / (8 sigma_max^2)
    and sigma_max >= 1 each approaches 1 without passing it, small ones growing by up to 1 + 4 r
    an update, and in the end the error falls by 1 - 8 r an update. Above 1 / (2 (sigma_max^2 - 1))
    it diverges. An exactly singular matrix stays singular. L2 multiplies W_rec by 1 - 2 r. Omega
    has no such bound: it depends on the trajectory, and its immediate derivative is not the
    derivative of its value, so it need not fall.

    *Divergence.* A draw stops where penalty, gradient or W_rec leave the range of numbers, or the
    penalty is more than 1e12 times one plus its first value; the rest goes on. No error is raised;
    `stopped_at` and `reason` tell.

    Work is done in float64; the new W_rec is rounded to the dtype of the cell at the end.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.RNN.draw(3, 8, init="gaussian", activation="linear", rng=1)
    >>> largest = np.linalg.norm(cell.W_rec, 2, axis=(1, 2))
    >>> found = vg.remedies.penalised_descent(cell, "orthogonality", 500, 1 / (8 * largest**2))
    >>> bool((found.penalty[:, -1] < 1e-12).all())
    True
    >>> rate = vg.gradient_profile(found.cell, 100, rng=0).rate().value
    >>> bool((np.abs(rate) < 1e-6).all())
    True
    """
    checks.choice("penalty", penalty, _CODES)
    n_updates = checks.integer("n_updates", n_updates)
    code = _CODES[penalty]
    if n_steps is None and code in (OMEGA, OMEGA_SQUARED):
        raise ValueError(f"n_steps: not given, expected an integer of at least 1 for {penalty!r}")
    W_rec, _, value, norm, stop = _descend(
        cell,
        code,
        n_updates,
        learning_rate,
        1 if n_steps is None else n_steps,
        inputs,
        n_trajectories,
        initial_state,
        loss_gradient,
        burn_in,
        rng,
        n_threads,
    )
    new = RNN(W_rec.astype(cell.dtype), cell.W_in, cell.bias, activation=cell.activation)
    reason = np.array([_REASONS[int(why)] for why in stop[:, 1]])
    return Descent(new, value, norm, stop[:, 0].copy(), reason)


def _value(
    cell: RNN,
    code: int,
    n_steps: int = 1,
    inputs: object = None,
    n_trajectories: int = 1,
    initial_state: object = None,
    loss_gradient: object = None,
    burn_in: int = 0,
    rng: Seed = None,
    n_threads: int | None = None,
) -> Penalty:
    """A penalty and its derivative: descent of no updates."""
    _, gradient, value, _, stop = _descend(
        cell,
        code,
        0,
        1.0,
        n_steps,
        inputs,
        n_trajectories,
        initial_state,
        loss_gradient,
        burn_in,
        rng,
        n_threads,
    )
    if stop[:, 1].any():
        draw = int(stop[:, 1].argmax())
        raise FloatingPointError(
            f"cell: the penalty of draw {draw} overflows float64 (largest entry of W_rec "
            f"{np.abs(cell.W_rec[draw]).max():.3g}); use smaller weights and inputs"
        )
    return Penalty(value[:, 0].copy(), gradient)


def _descend(
    cell: RNN,
    code: int,
    n_updates: int,
    learning_rate: object,
    n_steps: int,
    inputs: object,
    n_trajectories: int,
    initial_state: object,
    loss_gradient: object,
    burn_in: int,
    rng: Seed,
    n_threads: int | None,
) -> tuple[Array, Floats, Floats, Floats, Integers]:
    """Check, allocate, run: W_rec, last gradient, values, gradient norms, (update, reason)."""
    n_steps = checks.integer("n_steps", n_steps, least=1)
    burn_in = checks.integer("burn_in", burn_in)
    n_trajectories = checks.integer("n_trajectories", n_trajectories, least=1)
    streams = Streams.from_rng(rng)
    draws = network(
        cell, burn_in + n_steps, inputs, initial_state, streams, n_trajectories=n_trajectories
    )
    n_draws, n = cell.n_draws, cell.n_state
    checks.room("n_steps, n_hidden", (n_steps, n))
    checks.room("n_draws, n_updates + 1", (n_draws, n_updates + 1), 16)
    rates = checks.broadcast("learning_rate", learning_rate, (n_draws,), "(n_draws,)")
    if not (rates > 0.0).all():
        raise ValueError(
            f"learning_rate: found {rates.min():g}, expected numbers above 0, such as "
            "1 / (8 sigma_max^2) for orthogonality"
        )
    rates = np.require(rates, np.float64)
    draws = draws._replace(W_rec=np.array(cell.W_rec, np.float64, order="C"))  # descends in place
    losses = last_losses(cell, n_trajectories, loss_gradient, streams)[:, :, None]
    gradient = np.empty((n_draws, n, n))
    value, norm = np.full((2, n_draws, n_updates + 1), np.nan)
    stop = np.zeros((n_draws, 2), np.int64)
    largest = float(np.finfo(cell.dtype).max)

    def work(first: int, last: int) -> None:
        P = padded(n, np.float64)
        motion, unrolled = new_motion(n, draws.inputs[0]), new_unrolled(n, n_steps)
        rows = aligned_zeros((2, n_steps, P), np.float64)
        matrices = aligned_zeros((4, n, P), np.float64)
        own = aligned_zeros((n, P), np.float64)
        for d in range(first, last):
            _descend_lane(
                draws, d, code, float(rates[d]), largest, burn_in, losses, motion, unrolled, rows,
                matrices, own, value[d], norm[d], stop[d],
            )  # fmt: skip
            gradient[d] = own[:, :n]

    over_draws(work, n_draws, n_threads)
    return draws.W_rec, gradient, value, norm, stop
