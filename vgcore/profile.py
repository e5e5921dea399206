"""Gradient profiles: how the norm of a backpropagated gradient depends on the lag."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array
from vgcore.cell_kernels import run_kernel
from vgcore.cells import RNN, Cell
from vgcore.deep import DeepNet
from vgcore.streams import Seed, Streams
from vgcore.tables import tidy
from vgcore.trajectory import check_cell, drive, first_states, loss_gradients, refuse_overflow

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Jacobian = Literal["exact", "as_printed"]

RATE_WINDOW = (0.25, 1.0)  # fractions of n_steps over which a rate is fitted


@dataclass(frozen=True, eq=False, repr=False)
class Rate:
    """Vanishing rates by least squares; `numpy.asarray` gives `value`.

    Attributes
    ----------
    value : ndarray, shape (n_draws, n_trajectories)
        Slope of the log gradient norm against lag, nats per step; below 0 the gradient vanishes,
        above 0 it explodes, -inf where it is exactly zero within the window.
    stderr : ndarray, same shape
        Standard error of the slope along this one trajectory; nan where it can't be had.
    window : tuple of int
        First and last lag of the fit.
    """

    value: npt.NDArray[np.float64]
    stderr: npt.NDArray[np.float64]
    window: tuple[int, int]

    def __repr__(self) -> str:
        return (
            f"Rate(median {np.median(self.value):.4g} nats/step of {self.value.size}, lags "
            f"{self.window[0]} to {self.window[1]}; .value, .stderr)"
        )

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Ends of an interval for each rate, along its one trajectory.

        From Student's t with the degrees of freedom of the batches behind `stderr`: with 12 batches
        the normal quantile would cover 92.5 % in the place of 95.

        Examples
        --------
        >>> import vgcore as vg
        >>> rate = vg.gradient_profile(vg.RNN.draw(1, 32, gain=2.0, rng=1), 400, rng=2).rate()
        >>> low, high = rate.interval()
        >>> bool(low[0, 0] < rate.value[0, 0] < high[0, 0])
        True
        """
        from scipy import special

        level = checks.fraction("level", level, such_as="0.95")
        n_batches = _batches(self.window[1] - self.window[0])[1]
        t = special.stdtrit(n_batches - 1, 0.5 + level / 2) if n_batches > 1 else np.nan
        return self.value - t * self.stderr, self.value + t * self.stderr

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype=dtype, copy=copy)


@dataclass(frozen=True, eq=False, repr=False)
class Horizon:
    """First passages of the gradient norm; `numpy.asarray` gives `lag`.

    Attributes
    ----------
    lag : ndarray of int, shape (n_draws, n_trajectories)
        Memory horizon: first lag at which the norm has fallen to eps of its lag-0 value; n_steps
        where it never has.
    censored : ndarray of bool
        True where it never has: the horizon is longer than n_steps.
    growth_lag, growth_censored : ndarray
        The same for growth to 1/eps of the lag-0 value.
    event : ndarray of str
        What happened first: "vanish", "explode", or "censored" for neither.
    eps : float
    """

    lag: npt.NDArray[np.int64]
    censored: npt.NDArray[np.bool_]
    growth_lag: npt.NDArray[np.int64]
    growth_censored: npt.NDArray[np.bool_]
    event: npt.NDArray[np.str_]
    eps: float

    def __repr__(self) -> str:
        return (
            f"Horizon(median {np.median(self.lag):g} steps of {self.lag.size}, "
            f"{self.censored.sum()} censored, eps {self.eps:g}; .lag, .censored, .event)"
        )

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.lag, dtype=dtype, copy=copy)


def _batches(length: int) -> tuple[int, int]:
    """Size and number of the batches of this many increments."""
    size = max(1, round(length**0.5))
    return size, length // size


def rate_window(n_steps: int, fractions: tuple[float, float] = RATE_WINDOW) -> tuple[int, int]:
    """First and last lag of a fit, from fractions of n_steps; at least two lags."""
    first, last = (round(fraction * n_steps) for fraction in fractions)
    return min(first, last - 1), last


@dataclass(frozen=True, eq=False, repr=False)
class GradientProfile:
    """Log gradient norms of an ensemble at every lag, as `gradient_profile` returns them.

    Attributes
    ----------
    log_norm : ndarray of float64, shape (n_draws, n_trajectories, n_steps + 1)
        ln ||dE_T/dx_{T-lag}||, lag 0 first; -inf for an exactly zero gradient.
    log_contribution : ndarray of float64, same shape
        ln ||dE_T/dx_k d+x_k/dW_rec||_F at k = T - lag, the k-th term of the sum over time that is
        dE_T/dW_rec.
    initial_state, loss_gradient : ndarray, shape (n_draws, n_trajectories, n_state)
        The state at time 0 and dE_T/dx_T that were used.
    """

    log_norm: npt.NDArray[np.float64]
    log_contribution: npt.NDArray[np.float64]
    initial_state: Array
    loss_gradient: Array

    @property
    def n_draws(self) -> int:
        return int(self.log_norm.shape[0])

    @property
    def n_trajectories(self) -> int:
        return int(self.log_norm.shape[1])

    @property
    def n_steps(self) -> int:
        return int(self.log_norm.shape[2]) - 1

    def mean_trajectory(self) -> GradientProfile:
        """The profile of mean logs over trajectories (quenched), one trajectory a draw.

        Returns
        -------
        GradientProfile
            With the states and loss gradients of all trajectories.

        Examples
        --------
        >>> import vgcore as vg
        >>> cell = vg.RNN.draw(2, 8, rng=1)
        >>> profile = vg.gradient_profile(cell, 20, n_trajectories=5, rng=2)
        >>> profile.mean_trajectory().log_norm.shape
        (2, 1, 21)
        """
        return dataclasses.replace(
            self,
            log_norm=self.log_norm.mean(axis=1, keepdims=True),
            log_contribution=self.log_contribution.mean(axis=1, keepdims=True),
        )

    def rate(self, window: tuple[int, int] | None = None) -> Rate:
        """Vanishing rate: least-squares slope of the log gradient norm over a window of lags.

        Parameters
        ----------
        window
            First and last lag; the last three quarters of the lags where None, which leaves out
            the transient. (1/t) ln ||J_t|| in place of a slope has a bias of about ln(t)/(2t).

        Returns
        -------
        Rate

        Raises
        ------
        TypeError, ValueError
            A bad argument, by name.

        Notes
        -----
        The log norm is closer to a random walk than to a line with independent noise, so the
        textbook error of a slope is far too small. The slope is a weighted mean of the increments;
        its standard error here takes their long-run variance from batch means with batches of about
        sqrt(L) of L increments. It tells how well this trajectory's rate is known, not how rates
        vary between draws.

        Examples
        --------
        >>> import numpy as np, vgcore as vg
        >>> cell = vg.RNN(0.5 * np.eye(4)[None], activation="linear")
        >>> vg.gradient_profile(cell, 100, rng=0).rate().value.round(6)
        array([[-0.693147]])
        """
        if window is None:
            window = rate_window(self.n_steps)
        if not (isinstance(window, (tuple, list)) and len(window) == 2):
            raise TypeError(f"window: found {window!r}, expected (first lag, last lag)")
        first, last = window
        first = checks.integer("window[0]", first, most=self.n_steps - 1)
        last = checks.integer("window[1]", last, least=first + 1, most=self.n_steps)
        vanished = np.isneginf(self.log_norm[..., last])
        fitted = np.where(vanished[..., None], 0.0, self.log_norm[..., first : last + 1])
        increments = np.diff(fitted)
        length = last - first
        lags = np.arange(length + 1) - length / 2
        # no products of a BLAS, whose bits vary with its threads
        weights = np.cumsum(lags[::-1])[::-1][1:] / (lags**2).sum()  # of increments in the slope
        value = (increments * weights).sum(axis=-1)
        size, n_batches = _batches(length)
        if n_batches > 1:
            batches = increments[..., : n_batches * size].reshape(*value.shape, n_batches, size)
            variance = size * batches.mean(axis=-1).var(axis=-1, ddof=1)
            stderr = np.sqrt(variance * (weights**2).sum())
        else:
            stderr = np.full_like(value, np.nan)
        value[vanished], stderr[vanished] = -np.inf, np.nan
        return Rate(value, stderr, (first, last))

    def horizon(self, eps: float = 1e-3, log_loss: npt.ArrayLike | None = None) -> Horizon:
        """Memory horizon, and the growth horizon as the competing event.

        Parameters
        ----------
        eps
            Fraction of the lag-0 norm, within (0, 1).
        log_loss : array_like, optional
            ln of the norm that growth is measured from, broadcasts to (n_draws, n_trajectories);
            that at lag 0 where None. It differs for a gradient that was clipped as a whole.

        Returns
        -------
        Horizon

        Raises
        ------
        TypeError, ValueError
            A bad argument, by name.

        Examples
        --------
        >>> import numpy as np, vgcore as vg
        >>> cell = vg.RNN(0.5 * np.eye(4)[None], activation="linear")
        >>> vg.gradient_profile(cell, 100, rng=0).horizon(1e-3).lag
        array([[10]])
        """
        eps = checks.fraction("eps", eps, such_as="1e-3")
        start = self.log_norm[..., :1]
        fallen = self.log_norm <= start + np.log(eps)
        origin = start
        if log_loss is not None:
            shape, logs = start.shape[:-1], checks.extended("log_loss", log_loss)
            try:
                origin = np.broadcast_to(logs, shape)[..., None]
            except ValueError:
                raise ValueError(
                    f"log_loss: found shape {logs.shape}, expected one that broadcasts to "
                    f"(n_draws, n_trajectories) = {shape}"
                ) from None
        grown = (self.log_norm >= origin - np.log(eps)) & np.isfinite(self.log_norm)
        lag, censored = self._first_passage(fallen)
        growth_lag, growth_censored = self._first_passage(grown)
        event = np.select(
            [~censored & (growth_censored | (lag <= growth_lag)), ~growth_censored],
            ["vanish", "explode"],
            "censored",
        )
        return Horizon(lag, censored, growth_lag, growth_censored, event, eps)

    def growing_share(self) -> float:
        """Share of draws whose vanishing rate, averaged over trajectories, is above 0.

        The column "growing" of a study's results asks for more: a growth to 1/eps at that rate.

        Returns
        -------
        float

        Examples
        --------
        >>> import numpy as np, vgcore as vg
        >>> cell = vg.RNN(np.array([0.5, 2.0])[:, None, None] * np.eye(4), activation="linear")
        >>> vg.gradient_profile(cell, 100, rng=0).growing_share()
        0.5
        """
        return float(np.mean(self.rate().value.mean(axis=1) > 0.0))

    def to_frame(self) -> pd.DataFrame:
        """Tidy table: draw, trajectory, lag, log_norm, log_contribution; one row each.

        Returns
        -------
        pandas.DataFrame
            n_draws n_trajectories (n_steps + 1) rows.

        Examples
        --------
        >>> import vgcore as vg
        >>> table = vg.gradient_profile(vg.RNN.draw(2, 8, rng=1), 20, rng=2).to_frame()
        >>> table.groupby("lag")["log_norm"].median().shape
        (21,)
        """
        return tidy(
            ("draw", "trajectory", "lag"),
            log_norm=self.log_norm,
            log_contribution=self.log_contribution,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the gradient norm against lag on a log axis: median, middle half, single draws.

        Norms are relative to lag 0. A line ends where it is exactly zero, or leaves the range of
        floating-point numbers, which is that of the axis.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to plot; a figure of its own where None.

        Returns
        -------
        matplotlib.axes.Axes

        Examples
        --------
        >>> import matplotlib.pyplot as plt, vgcore as vg
        >>> figure, ax = plt.subplots()
        >>> vg.gradient_profile(vg.RNN.draw(20, 8, rng=1), 50, rng=2).plot(ax).get_yscale()
        'log'
        >>> figure.savefig("profile.png")  # doctest: +SKIP
        >>> plt.close(figure)
        """
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots(figsize=(6.4, 4.0))[1]
        mean = self.mean_trajectory().log_norm[:, 0]
        with np.errstate(invalid="ignore"):  # a zero loss gradient has no relative norm
            change = mean - mean[:, :1]
        lags = np.arange(self.n_steps + 1)

        def norm(logs: Array) -> Array:
            return np.exp(np.where(np.abs(logs) < 640.0, logs, np.nan))

        quartiles = np.quantile(change, [0.25, 0.5, 0.75], axis=0, method="nearest")
        low, median, high = norm(quartiles)
        ax.semilogy(lags, norm(change[:30]).T, color="0.75", linewidth=0.6, zorder=1)
        ax.fill_between(lags, low, high, color="C0", alpha=0.3, linewidth=0, label="middle half")
        ax.semilogy(lags, median, color="C0", label=f"median of {self.n_draws} draws")
        bottom, top = np.nanmin([*low, 1.0]), np.nanmax([*high, 1.0])
        ax.set_ylim(max(bottom / 10, 1e-290), min(top * 10, 1e290))
        ax.set_xlabel("lag (steps back from the loss)")
        ax.set_ylabel("gradient norm relative to lag 0")
        ax.legend(frameon=False)
        return ax

    def _summary(self) -> list[tuple[str, str]]:
        rate, horizon = self.rate().value, self.horizon()
        lag = np.median(horizon.lag)
        steps = (
            f"> {self.n_steps}" if lag == self.n_steps and horizon.censored.any() else f"{lag:g}"
        )
        return [
            ("draws", f"{self.n_draws}"),
            ("trajectories a draw", f"{self.n_trajectories}"),
            ("steps", f"{self.n_steps}"),
            ("median rate", f"{np.median(rate):.4g} nats/step"),
            ("median memory horizon", f"{steps} steps (eps = {horizon.eps:g})"),
            ("growing draws", f"{self.growing_share():.0%}"),
        ]

    def __repr__(self) -> str:
        return f"GradientProfile({'; '.join(f'{k}: {v}' for k, v in self._summary())})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{k}</th><td style='text-align:left'>"
            f"{v.replace('>', '&gt;')}</td></tr>"
            for k, v in self._summary()
        )
        return f"<table><caption>Gradient profile</caption>{rows}</table>"

    @staticmethod
    def _first_passage(
        passed: npt.NDArray[np.bool_],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """First lag at which `passed` holds, the last lag where it never does; and which."""
        censored = np.asarray(~passed.any(axis=-1))
        return np.where(censored, passed.shape[-1] - 1, passed.argmax(axis=-1)), censored


def gradient_profile(
    cell: Cell,
    n_steps: int,
    *,
    inputs: object = None,
    n_trajectories: int = 1,
    initial_state: object = None,
    loss_gradient: object = None,
    burn_in: int = 0,
    jacobian: Jacobian = "exact",
    rng: Seed = None,
    n_threads: int | None = None,
) -> GradientProfile:
    """Backpropagate a loss gradient through time and record its norm at every lag.

    The network runs burn_in + n_steps steps, the last of them is T, and the gradient at T is
    carried back over n_steps by delta_{i-1} = diag(s'(x_{i-1})) W_rec^T delta_i.

    Parameters
    ----------
    cell
        Networks, one a draw.
    n_steps
        Number of lags, at least 1.
    inputs : array_like, optional
        u_1 ... u_T, broadcasts to (n_draws, n_trajectories, burn_in + n_steps, n_inputs); None
        for an autonomous network. A batch (n_sequences, T, n_inputs) that every network sees is
        batch[None], with n_trajectories=n_sequences.
    n_trajectories
        Trajectories a draw, which differ in initial state, inputs and loss gradient.
    initial_state : array_like, optional
        State at time 0, broadcasts to (n_draws, n_trajectories, n_state); standard normal numbers
        where None.
    loss_gradient : array_like, optional
        dE_T/dx_T, broadcasts like `initial_state`; a random unit vector where None.
    burn_in
        Steps before the first lag that is recorded, so that the state forgets where it began.
    jacobian
        "exact"; or "as_printed" for the W_rec^T diag(s') of Pascanu et al. (2013), eq. 5, that is
        delta_{i-1} = diag(s'(x_{i-1})) W_rec delta_i.
    rng
        Seed or Generator for what is random here. With the same seed draw d gets the same numbers
        whatever n_draws is.
    n_threads
        Threads to use; None means all cores. The result does not depend on it, to the bit.

    Returns
    -------
    GradientProfile

    Raises
    ------
    TypeError, ValueError
        Shapes that do not broadcast, non-finite numbers, inputs for a cell without W_in.
    FloatingPointError
        Weights or inputs so large that one step overflows.

    Notes
    -----
    `log_contribution` is the norm of the k-th term of dE_T/dW_rec = sum_k delta_k s(x_{k-1})^T
    (Pascanu et al. 2013, eqs. 3-4). Without burn-in the last lag has k = 0, where x_0 does not
    depend on W_rec: -inf. States and gradients are rescaled by powers of two, so that no horizon
    overflows or underflows. Time O(n_draws n_trajectories n_steps N^2); memory, besides the result,
    one (n_steps, N) array a thread for each of the trajectories or draws carried side by side, at
    most 16 and, if there are two, 256 MiB.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.RNN.draw(200, 64, spectral_radius=0.9, n_inputs=4, rng=1)
    >>> inputs = np.random.default_rng(2).standard_normal((200, 1, 300, 4))
    >>> profile = vg.gradient_profile(cell, 300, inputs=inputs, rng=3)
    >>> profile.log_norm.shape
    (200, 1, 301)
    >>> profile.growing_share()
    0.0
    """
    check_cell(cell)
    n_steps = checks.integer("n_steps", n_steps, least=1)
    burn_in = checks.integer("burn_in", burn_in)
    n_trajectories = checks.integer("n_trajectories", n_trajectories, least=1)
    checks.choice("jacobian", jacobian, ("exact", "as_printed"))
    if jacobian != "exact" and not isinstance(cell, RNN):
        raise ValueError(
            f"jacobian: found {jacobian!r}, which is printed for vgcore.RNN alone; a "
            f'{type(cell).__name__} has "exact"'
        )
    if isinstance(cell, DeepNet):
        burn_in = cell.layers_before(n_steps, burn_in)
    checks.room("n_steps, n_state", (n_steps, cell.n_state))
    lags = cell.n_draws, n_trajectories, n_steps + 1
    checks.room("n_draws, n_trajectories, n_steps + 1", lags, 16)
    streams = Streams.from_rng(rng)
    state = first_states(cell, initial_state, streams, n_trajectories)
    gradient = loss_gradients(cell, loss_gradient, streams, n_trajectories)
    given = drive(cell, burn_in + n_steps, inputs, n_trajectories)
    arrays = (
        _compact("inputs", given, cell.dtype),
        _compact("initial_state", state, cell.dtype),
        _compact("loss_gradient", gradient, cell.dtype),
    )
    options: dict[str, Any] = {} if jacobian == "exact" else {"as_printed": True}
    log_norm, log_contribution = run_kernel(
        cell, n_steps, *arrays, n_trajectories, burn_in, n_threads, **options
    )
    refuse_overflow(cell, log_norm[..., -1], cell.dtype)  # infinity and nan stay to the end
    return GradientProfile(log_norm, log_contribution, state, gradient)


def _compact(argument: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """Return a contiguous array in the dtype of the cell, broadcast axes 1 long again."""
    return np.require(checks.cast(argument, checks.once(array), dtype), requirements=["C", "W"])
