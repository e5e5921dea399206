"""Echo state networks: their effective radius, whether they forget their past, their memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, special

from vgcore import checks
from vgcore._typing import Array
from vgcore.cell_kernels import prepare
from vgcore.cells import RNN, Cell, LeakyRNN
from vgcore.draws import uniform_block
from vgcore.kernels.layout import Network
from vgcore.kernels.reservoir import _states_lane
from vgcore.lyapunov import lyapunov_history
from vgcore.parallel import over_draws
from vgcore.spectrum import spectral_radius
from vgcore.streams import Purpose, Seed, Streams
from vgcore.tables import tidy
from vgcore.trajectory import drive_and_state

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

VERDICTS = ("echo state", "multistable", "chaotic", "undecided")
_BLOCKS = 10  # of steps, whose exponents give the interval
_MERGED, _APART = np.log(1e-6), np.log(1e-3)  # of the first distance of two states


def effective_radius(cell: Cell, *, n_threads: int | None = None) -> Floats:
    """Spectral radius of (1 - a) I + a W_rec, the reservoir at rest with slopes of 1.

    Jaeger, Lukosevicius, Popovici and Siewert, "Optimization and applications of echo state
    networks with leaky-integrator neurons", Neural Networks 20 (2007), section 3. Below 1 it is
    necessary for echo states around rest, not sufficient elsewhere: see `echo_state`.

    Parameters
    ----------
    cell : LeakyRNN or RNN
        Reservoirs, one a draw; without leak it is the spectral radius of W_rec.
    n_threads
        Threads to use; None means all cores.

    Returns
    -------
    ndarray of float64, shape (n_draws,)

    Raises
    ------
    TypeError
        A cell of another kind.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.LeakyRNN(-0.5 * np.eye(3)[None], leak=0.2)
    >>> vg.remedies.effective_radius(cell)  # 1 - 0.2 - 0.2 * 0.5
    array([0.7])
    """
    W_rec, leak = _reservoir(cell).W_rec, _reservoir(cell).leak
    return spectral_radius(
        (1.0 - leak) * np.eye(cell.n_hidden) + leak * W_rec.astype(np.float64), n_threads=n_threads
    )


@dataclass(frozen=True, eq=False, repr=False)
class EchoState:
    """Whether reservoirs forget where they began; arrays are (n_draws,).

    Attributes
    ----------
    exponent, low, high : ndarray of float64
        Largest Lyapunov exponent under the given input, nats a step, with an interval from blocks
        of the run.
    log_separation : ndarray of float64
        ln of the distance between two states at the end that began at x_0 and -x_0, relative to
        their first distance; -inf where they are equal.
    verdict : ndarray of str
        "echo state" where the interval lies below 0 and the two states have met; "multistable"
        where it does, but they stay apart: each forgets small differences, not where it began.
        "chaotic" where the interval lies above 0, "undecided" for the rest.
    n_steps : int
        Steps measured.
    """

    exponent: Floats
    low: Floats
    high: Floats
    log_separation: Floats
    verdict: npt.NDArray[np.str_]
    n_steps: int

    def share(self, verdict: str = "echo state") -> float:
        """Share of draws with a verdict: "echo state", "multistable", "chaotic" or "undecided".

        Examples
        --------
        >>> import vgcore as vg
        >>> wild = vg.RNN.draw(5, 64, gain=3.0, rng=1)
        >>> vg.remedies.echo_state(wild, 500, rng=2).share("chaotic")
        0.8
        """
        checks.choice("verdict", verdict, VERDICTS)
        return float(np.mean(self.verdict == verdict))

    def to_frame(self) -> pd.DataFrame:
        """Tidy table, a row a draw.

        Examples
        --------
        >>> import vgcore as vg
        >>> found = vg.remedies.echo_state(vg.RNN.draw(5, 8, rng=1), 100, rng=2)
        >>> list(found.to_frame().columns)
        ['draw', 'exponent', 'low', 'high', 'log_separation', 'verdict']
        """
        return tidy(
            ("draw",),
            exponent=self.exponent,
            low=self.low,
            high=self.high,
            log_separation=self.log_separation,
            verdict=self.verdict,
        )

    def __repr__(self) -> str:
        parts = ", ".join(f"{self.share(v):.0%} {v}" for v in VERDICTS if self.share(v))
        return (
            f"EchoState({parts} of {self.exponent.size} reservoirs over {self.n_steps} steps; "
            f"median exponent {np.median(self.exponent):.4g} nats a step)"
        )


def echo_state(
    cell: Cell,
    n_steps: int,
    *,
    inputs: object = None,
    initial_state: object = None,
    burn_in: int = 100,
    level: float = 0.95,
    rng: Seed = None,
    n_threads: int | None = None,
) -> EchoState:
    """Test reservoirs for echo states: by their largest exponent and by two states under one input.

    A negative exponent says that states near to one another come together; x = tanh(2 x) has one
    and two states of rest. So two trajectories from far apart have to meet as well. A finite run
    with one input is evidence, no proof; a reservoir that is chaotic at rest may forget its past
    under strong input.

    Parameters
    ----------
    cell : LeakyRNN or RNN
        Reservoirs, one a draw.
    n_steps
        Steps to measure, at least 20; the interval narrows with them.
    inputs
        Broadcasts to (n_draws, burn_in + n_steps, n_inputs); None means autonomous.
    initial_state
        Broadcasts to (n_draws, n_state); standard normal where None.
    burn_in
        Steps for the state to reach what the input drives it to, and the tangent vector to turn
        into the direction of largest growth.
    level
        Of the intervals: Student's t over ten blocks of the run.
    rng, n_threads
        As in `vgcore.lyapunov_exponents`.

    Returns
    -------
    EchoState

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Conditional exponents as a test: Verstraeten and Schrauwen, "On the quantification of dynamics
    in reservoir computing", ICANN 2009. The definition of echo states: Jaeger (2001), definition 1.

    Examples
    --------
    >>> import vgcore as vg
    >>> calm = vg.LeakyRNN.draw(20, 50, spectral_radius=0.8, density=0.2, leak=0.5, rng=1)
    >>> vg.remedies.echo_state(calm, 500, rng=2).share()
    1.0
    """
    reservoir = _reservoir(cell)
    n_steps = checks.integer("n_steps", n_steps, least=2 * _BLOCKS)
    burn_in = checks.integer("burn_in", burn_in)
    level = checks.fraction("level", level, such_as="0.95")
    streams = Streams.from_rng(rng)
    u, state = drive_and_state(reservoir, burn_in + n_steps, inputs, initial_state, streams)
    still = np.flatnonzero(~state.any(axis=-1))
    if still.size:
        raise ValueError(
            f"initial_state: found 0 for draw {still[0]}, expected another: the second trajectory "
            "begins at its negative"
        )
    stops = np.linspace(0, n_steps, _BLOCKS + 1).astype(np.int64)[1:]
    found = lyapunov_history(
        reservoir,
        stops,
        n_exponents=1,
        burn_in=burn_in - burn_in // 2,
        tangent_burn_in=burn_in // 2,
        inputs=inputs,
        initial_state=state,
        rng=rng,
        n_threads=n_threads,
    )[..., 0]
    blocks = np.diff(found * stops, prepend=0.0) / np.diff(stops, prepend=0)
    exponent = found[:, -1]
    half = special.stdtrit(_BLOCKS - 1, 0.5 + level / 2) * blocks.std(axis=1, ddof=1) / _BLOCKS**0.5
    half = np.where(np.isfinite(half), half, 0.0)  # -inf in a block: the exponent is -inf too
    low, high = exponent - half, exponent + half

    u = np.broadcast_to(u, (reservoir.n_draws, burn_in + n_steps, u.shape[-1]))
    state = np.broadcast_to(state, (reservoir.n_draws, reservoir.n_state))
    ends = [
        reservoir_states(reservoir, u, start, skipped=u.shape[1] - 1, n_threads=n_threads)[:, 0]
        for start in (state, -state)
    ]
    with np.errstate(divide="ignore"):
        distance = np.log(np.linalg.norm(ends[0] - ends[1], axis=1))
        separation = distance - np.log(2.0 * np.linalg.norm(state, axis=-1))
    time_to_meet = exponent * (burn_in + n_steps) < 2.0 * _MERGED
    verdict = np.select(
        [
            (high < 0.0) & (separation < _MERGED),
            (high < 0.0) & (separation > _APART) & time_to_meet,
            low > 0.0,
        ],
        VERDICTS[:3],
        VERDICTS[3],
    )
    return EchoState(exponent, low, high, separation, verdict, n_steps)


@dataclass(frozen=True, eq=False, repr=False)
class MemoryCapacity:
    """How much of its past input a linear readout of a reservoir explains.

    Attributes
    ----------
    capacity : ndarray of float64, shape (n_draws, max_delay + 1)
        MC_k, the share of the variance of the input k steps ago that a readout explains, delay 0
        first, less what chance alone explains; it scatters about 0 where there is nothing.
    total : ndarray of float64, shape (n_draws,)
        Sum over the delays, that of 0 too, whose input the state has just met; at most N for
        independent inputs (Jaeger 2001, proposition 2).
    """

    capacity: Floats
    total: Floats

    def to_frame(self) -> pd.DataFrame:
        """Tidy table: draw, delay, capacity; a row each.

        Examples
        --------
        >>> import vgcore as vg
        >>> cell = vg.LeakyRNN.draw(2, 10, spectral_radius=0.9, n_inputs=1, rng=1)
        >>> len(vg.remedies.memory_capacity(cell, 500, max_delay=20, rng=2).to_frame())
        42
        """
        return tidy(("draw", "delay"), capacity=self.capacity)

    def __repr__(self) -> str:
        return (
            f"MemoryCapacity(median {np.median(self.total):.4g} of {self.total.size} reservoirs, "
            f"delays to {self.capacity.shape[1] - 1}; .total, .capacity)"
        )


def memory_capacity(
    cell: Cell,
    n_steps: int,
    *,
    max_delay: int,
    washout: int | None = None,
    ridge: float = 0.0,
    rng: Seed = None,
    n_threads: int | None = None,
) -> MemoryCapacity:
    """Linear memory capacity of reservoirs with one input, uniform on (-1, 1) and independent.

    Parameters
    ----------
    cell : LeakyRNN or RNN
        Reservoirs, one a draw, with one input channel. The readout sees the state after the
        activation, s(x) of an `RNN`.
    n_steps
        Steps the readout is fitted to, at least 10 N.
    max_delay
        Longest delay; several times N where memory shall not be cut off.
    washout
        Steps before the fit, so that nothing is left of the first state; `max_delay` where None,
        and no less.
    ridge
        Penalty of the readout's weights, in units of the mean square of a state's principal
        components; 0 means least squares.
    rng
        Seed or generator of input and first state.
    n_threads
        Threads for the states; None means all cores. The fits are LAPACK's.

    Returns
    -------
    MemoryCapacity

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Jaeger, "Short term memory in echo state networks", GMD report 152 (2001), definition 1. The
    share explained is that within the fit, adjusted for the degrees of freedom of the readout: of
    T independent numbers a readout with d of them explains d / T by chance. No data are held out,
    which would bias every delay downwards instead.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.LeakyRNN.draw(
    ...     4, 10, init="orthogonal", gain=0.9, n_inputs=1, activation="linear", rng=1
    ... )
    >>> found = vg.remedies.memory_capacity(cell, 20_000, max_delay=100, rng=2)
    >>> bool((np.abs(found.total / 10 - 1) < 0.01).all())
    True
    """
    reservoir = _reservoir(cell)
    n = reservoir.n_hidden
    if reservoir.n_inputs != 1:
        raise ValueError(
            f"cell: found {reservoir.n_inputs} inputs, expected 1; make it with n_inputs=1"
        )
    n_steps = checks.integer("n_steps", n_steps, least=10 * n)
    max_delay = checks.integer("max_delay", max_delay, least=1)
    washout = max_delay if washout is None else checks.integer("washout", washout, least=max_delay)
    ridge = checks.number("ridge", ridge, least=0.0)
    streams = Streams.from_rng(rng)
    draws = range(reservoir.n_draws)
    u = uniform_block(streams, Purpose.INPUTS, draws, (washout + n_steps, 1))
    states = reservoir_states(reservoir, u, skipped=washout, n_threads=n_threads)
    capacity = np.stack(
        [_explained(states[d], u[d, :, 0], washout, max_delay, ridge) for d in draws]
    )
    return MemoryCapacity(capacity, capacity.sum(axis=1))


def reservoir_states(
    cell: LeakyRNN,
    inputs: Array,
    initial_state: Array | None = None,
    *,
    skipped: int = 0,
    n_threads: int | None = None,
) -> Floats:
    """States under inputs (n_draws, T, n_inputs), without the first `skipped` ones.

    They begin at initial_state (n_draws, N), or at rest.

    Returns
    -------
    ndarray of float64, shape (n_draws, T - skipped, N)
    """
    double = LeakyRNN(
        cell.W_rec.astype(np.float64), cell.W_in, cell.bias,
        activation=cell.activation, leak=cell.leak,
    )  # fmt: skip
    _, parameters, constants, scratch, _ = prepare(double, 1, inputs.shape[-1])
    lane: Any = _states_lane
    inputs = np.require(inputs, np.float64, requirements=["C", "W"])
    states = np.empty((cell.n_draws, inputs.shape[1] - skipped, cell.n_hidden))

    code, near_zero, far, shares = constants
    first = np.zeros((cell.n_draws, 1, 1, cell.n_hidden))
    if initial_state is not None:
        first[:, 0, 0] = initial_state

    def work(start: int, stop: int, rows: Any) -> None:
        for d in range(start, stop):
            W_rec, W_in, bias = (array[d : d + 1] for array in parameters)
            network = Network(
                *(W_rec, W_in, bias, code, near_zero, far),
                *(inputs[d][None, None], first[d], first[d], 0, False),
            )
            lane(network, shares, skipped, rows, states[d])

    over_draws(work, cell.n_draws, n_threads, scratch=scratch)
    return states


def _explained(states: Floats, u: Floats, washout: int, max_delay: int, ridge: float) -> Floats:
    """Adjusted share of the variance of each delayed input that a readout explains."""
    T = len(states)
    X = states - states.mean(axis=0)
    targets = np.lib.stride_tricks.sliding_window_view(u, T)[washout::-1][: max_delay + 1]
    targets = targets - targets.mean(axis=1, keepdims=True)
    # a factor of the tall matrix and then its small triangle: a sixth of the time of one SVD
    Q, R = linalg.qr(X, mode="economic", overwrite_a=True, check_finite=False)
    U, s, _ = linalg.svd(R, check_finite=False)
    kept = s > s[0] * len(X) * np.finfo(np.float64).eps
    U, s = Q @ U[:, kept], s[kept]
    shrink = s**2 / (s**2 + ridge * np.mean(s**2)) if ridge else np.ones(len(s))
    weight = 2.0 * shrink - shrink**2  # u^T u - ||u - H u||^2 in the basis of the components
    share: Any = ((targets @ U) ** 2 @ weight) / (targets**2).sum(axis=1)
    chance = weight.sum() / (T - 1)
    adjusted: Floats = (share - chance) / (1.0 - chance)
    return adjusted


def _reservoir(cell: object) -> LeakyRNN:
    """The cell as a leaky one: the states of a vanilla network after their activation."""
    if isinstance(cell, LeakyRNN):
        return cell
    if isinstance(cell, RNN):
        return LeakyRNN(cell.W_rec, cell.W_in, cell.bias, activation=cell.activation)
    raise TypeError(f"cell: found {type(cell).__name__}, expected a LeakyRNN or an RNN")
