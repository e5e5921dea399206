"""Lyapunov exponents, and the dimension and the entropy rate that follow from them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array
from vgcore.cell_steps import CHUNK, walk
from vgcore.cells import RNN, Cell
from vgcore.deep import DeepNet
from vgcore.kernels.dense import _estimate, _grow
from vgcore.kernels.lyapunov import _exponents_batch
from vgcore.kernels.tangent import first_frame, new_frame, new_motion
from vgcore.parallel import over_draws
from vgcore.streams import Purpose, Seed, Streams
from vgcore.trajectory import check_cell, drive_and_state, network, refuse_overflow

Exponents = npt.NDArray[np.float64]


def lyapunov_exponents(
    cell: Cell,
    n_steps: int,
    *,
    n_exponents: int | None = None,
    burn_in: int = 0,
    tangent_burn_in: int = 0,
    qr_interval: int = 1,
    inputs: object = None,
    initial_state: object = None,
    rng: Seed = None,
    n_threads: int | None = None,
) -> Exponents:
    """Lyapunov exponents of each draw along one trajectory.

    The network runs `burn_in` steps; then a frame of `n_exponents` tangent vectors goes along for
    `tangent_burn_in` steps, so that it turns into the directions of growth; then its growth is
    measured over `n_steps` steps.

    Parameters
    ----------
    cell
        Networks, one a draw. For several trajectories of one network, repeat its weights.
    n_steps
        Steps measured, at least 1.
    n_exponents
        How many, from the largest down; None means all N.
    burn_in
        Steps of the state alone.
    tangent_burn_in
        Steps of state and frame before the measurement.
    qr_interval
        Steps between factorisations of the frame. More than 1 is faster, but the frame collapses
        in between: the last exponents are wrong as soon as exp(qr_interval (lambda_1 - lambda_k))
        comes near 1e16, and lose digits before. The steps left over at the end count as well.
    inputs : array_like, optional
        u_1, u_2 ..., broadcasts to (n_draws, burn_in + tangent_burn_in + n_steps, n_inputs); None
        for an autonomous network.
    initial_state : array_like, optional
        State at time 0, broadcasts to (n_draws, n_state); standard normal numbers where None.
    rng
        Seed or Generator for what is random here: the initial state, and the first frame, which
        all draws share.
    n_threads
        Threads to use; None means all cores. The result does not depend on it, to the bit.

    Returns
    -------
    ndarray of float64, shape (n_draws, n_exponents)
        Exponents in nats per step, largest first. An exponent is -inf where the product of
        Jacobians is exactly singular, as with units of slope 0: no direction of that rank is left.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.
    FloatingPointError
        Weights so large that one step overflows.

    See Also
    --------
    lyapunov_history, kaplan_yorke_dimension, entropy_rate

    Notes
    -----
    The method of Benettin et al. [1]_, which Geist et al. [2]_ recommend with a QR factorisation
    of the frame every `qr_interval` steps: exponent i is the mean of ln |R_ii|. Engelken et al.
    [3]_ apply it to random networks. Here the frame is factored by Gaussian elimination instead, as
    Rutishauser [4]_ did before there was a QR algorithm, and made orthonormal at both ends of the
    measurement alone. Both keep the spaces that the first 1, 2, 3 ... vectors span, so the
    exponents are the same to rounding, however few the steps. The work is done in float64 whatever
    the dtype of the cell, with the weights as they are: float32 would lose the small exponents.

    Their sum is that of ln |det W| and the mean of sum_j ln s'(x_j), to 1e-10 a unit and better
    if W can be inverted at all, also with saturated units, whose slopes may span the range of
    normal floats (tanh beyond 354 has subnormal ones, of fewer digits): the factorisation keeps
    each column of the frame to its own precision. That takes a W
    without many zeros: of a sparse W with slopes 1e-30 and less of one another (gains from 20 or so
    on), the last exponents may be wrong by 1e-3 and more. If W is singular up to rounding, so are
    the last exponents: -30 and below in place of -inf.

    Time O(n_draws n_steps N^2 n_exponents).

    References
    ----------
    .. [1] G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn, "Lyapunov characteristic exponents
       for smooth dynamical systems", Meccanica 15, 9-30 (1980).
    .. [2] K. Geist, U. Parlitz, W. Lauterborn, "Comparison of different methods for computing
       Lyapunov exponents", Prog. Theor. Phys. 83, 875-893 (1990).
    .. [3] R. Engelken, F. Wolf, L. F. Abbott, "Lyapunov spectra of chaotic recurrent neural
       networks", Phys. Rev. Research 5, 043044 (2023).
    .. [4] H. Rutishauser, "Solution of eigenvalue problems with the LR-transformation", Nat. Bur.
       Standards Appl. Math. Ser. 49, 47-81 (1958).

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.RNN(np.diag([0.5, 2.0])[None], activation="linear")
    >>> vg.lyapunov_exponents(cell, 200, tangent_burn_in=50, rng=0).round(6)
    array([[ 0.693147, -0.693147]])

    The three largest of each of twenty driven networks:

    >>> cell = vg.RNN.draw(20, 32, gain=1.5, n_inputs=4, rng=1)
    >>> inputs = np.random.default_rng(2).standard_normal((20, 400, 4))
    >>> found = vg.lyapunov_exponents(cell, 300, n_exponents=3, burn_in=100, inputs=inputs, rng=3)
    >>> found.shape, bool((found < 0).all())
    ((20, 3), True)
    """
    return lyapunov_history(
        cell,
        [checks.integer("n_steps", n_steps, least=1)],
        n_exponents=n_exponents,
        burn_in=burn_in,
        tangent_burn_in=tangent_burn_in,
        qr_interval=qr_interval,
        inputs=inputs,
        initial_state=initial_state,
        rng=rng,
        n_threads=n_threads,
    )[:, 0]


def lyapunov_history(
    cell: Cell,
    steps: npt.ArrayLike,
    *,
    n_exponents: int | None = None,
    burn_in: int = 0,
    tangent_burn_in: int = 0,
    qr_interval: int = 1,
    inputs: object = None,
    initial_state: object = None,
    rng: Seed = None,
    n_threads: int | None = None,
) -> Exponents:
    """Running estimates of the Lyapunov exponents, to see whether they have converged.

    Parameters
    ----------
    cell
        Networks, one a draw.
    steps : array_like of int
        Numbers of measured steps, increasing, at which to stop and estimate. Each stop costs up
        to five steps more.
    n_exponents, burn_in, tangent_burn_in, qr_interval, inputs, initial_state, rng, n_threads
        As in `lyapunov_exponents`; inputs last until the last of `steps`.

    Returns
    -------
    ndarray of float64, shape (n_draws, len(steps), n_exponents)
        What `lyapunov_exponents` returns after each number of steps, up to rounding.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Examples
    --------
    >>> import vgcore as vg
    >>> cell = vg.RNN.draw(2, 16, gain=2.0, rng=1)
    >>> vg.lyapunov_history(cell, [10, 100, 1000], burn_in=100, rng=2).shape
    (2, 3, 16)
    """
    stops = _steps(steps)
    burn_in = checks.integer("burn_in", burn_in)
    tangent_burn_in = checks.integer("tangent_burn_in", tangent_burn_in)
    qr_interval = checks.integer("qr_interval", qr_interval, least=1)
    streams = Streams.from_rng(rng)
    n_times = tangent_burn_in + int(stops[-1])
    check_cell(cell)
    if isinstance(cell, DeepNet):
        burn_in = cell.layers_before(n_times, burn_in)
    n_times += burn_in
    n = cell.n_state
    k = n if n_exponents is None else n_exponents
    k = checks.integer("n_exponents", k, least=1, most=n)
    start = first_frame(streams.at(Purpose.TANGENT_FRAME, 0).standard_normal((k, n)))
    segments = np.array([tangent_burn_in, *np.diff(stops, prepend=0)], np.int64)
    exponents = np.empty((cell.n_draws, len(stops), k))
    if not isinstance(cell, RNN):
        given = drive_and_state(cell, n_times, inputs, initial_state, streams)
        options = (burn_in, segments, qr_interval, start)
        over_draws(partial(_follow, cell, given, options, exponents), cell.n_draws, n_threads)
        refuse_overflow(cell, exponents)
        return np.sort(exponents, axis=-1)[..., ::-1]
    draws = network(cell, n_times, inputs, initial_state, streams)

    def work(first: int, stop: int) -> None:
        motion, frame = new_motion(n, draws.inputs), new_frame(n)
        growth, powers = np.empty(k), np.empty(k, np.int64)
        _exponents_batch(
            draws, first, burn_in, segments, qr_interval, start, motion, frame, growth, powers,
            exponents[first:stop],
        )  # fmt: skip

    over_draws(work, cell.n_draws, n_threads)
    refuse_overflow(draws, exponents)
    return np.sort(exponents, axis=-1)[..., ::-1]


def _follow(
    cell: Cell,
    given: tuple[Array, Array],
    options: tuple[int, npt.NDArray[np.int64], int, Array],
    out: Exponents,
    first: int,
    stop: int,
) -> None:
    """Exponents of some draws of a cell whose steps are given by their Jacobians."""
    burn_in, segments, qr_interval, start = options
    k = len(start)
    trajectory, frame = walk(cell, *given), new_frame(cell.n_state)
    growth, powers, status = np.empty(k), np.empty(k, np.int64), np.empty(4, np.int64)
    for d in range(first, stop):
        trajectory.begin(d)
        trajectory.skip(burn_in)
        frame.rows[0, :k] = start
        status[:] = k, 0, 0, 0  # rank, side, exponent, steps since the last segment
        measured = 0
        for place, length in enumerate(segments):
            if place <= 1:  # the growth of the tangent burn-in does not count
                growth[:], powers[:] = 1.0, 0
            for done in range(0, length, CHUNK):
                count = min(CHUNK, length - done)
                steps, last = trajectory.steps(count), done + count == length
                _grow(steps, last, qr_interval, frame, growth, powers, status)
            if place > 0:
                measured += length
                _estimate(growth, powers, status[0], measured, out[d, place - 1])


def _steps(steps: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Check numbers of steps."""
    found = np.atleast_1d(checks.array_of("steps", steps))
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "iu":
        raise TypeError(f"steps: found {steps!r}, expected whole numbers such as [10, 100, 1000]")
    if found[0] < 1 or (np.diff(found) < 1).any():
        raise ValueError(f"steps: found {found.tolist()}, expected increasing numbers from 1 on")
    return found.astype(np.int64)


def kaplan_yorke_dimension(exponents: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Kaplan-Yorke dimension of the attractor, from Lyapunov exponents.

    Parameters
    ----------
    exponents : array_like, shape (..., n_exponents)
        Exponents in any order; -inf is allowed.

    Returns
    -------
    ndarray of float64, shape (...)
        j + (lambda_1 + ... + lambda_j) / |lambda_{j+1}|, where j is the largest number of leading
        exponents with a sum of at least 0; 0 where lambda_1 is negative, and n_exponents where no
        sum is. So give the whole spectrum, or enough of it that the sum turns negative.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    J. L. Kaplan, J. A. Yorke, in "Functional differential equations and approximation of fixed
    points", Springer LNM 730, 204-227 (1979).

    Examples
    --------
    >>> import vgcore as vg
    >>> float(vg.kaplan_yorke_dimension([0.5, 0.0, -1.0]))
    2.5
    """
    found = _descending(exponents)
    sums = np.cumsum(found, axis=-1)
    n = found.shape[-1]
    j = (sums >= 0.0).sum(axis=-1)  # sums rise, then fall: those >= 0 come first
    at = np.minimum(j, n - 1)[..., None]
    before = np.maximum(j - 1, 0)[..., None]
    total = np.where(j > 0, np.take_along_axis(sums, before, -1)[..., 0], 0.0)
    following = np.take_along_axis(found, at, -1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(j + np.where(j < n, total / -following, 0.0))


def entropy_rate(exponents: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Sum of the positive Lyapunov exponents, nats per step.

    That bounds the Kolmogorov-Sinai entropy rate from above (Ruelle), and equals it where Pesin's
    formula holds, as is assumed for random networks.

    Parameters
    ----------
    exponents : array_like, shape (..., n_exponents)
        Exponents in any order, all that are positive among them; -inf is allowed.

    Returns
    -------
    ndarray of float64, shape (...)

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Ya. B. Pesin, Russ. Math. Surv. 32, 55-114 (1977).

    Examples
    --------
    >>> import vgcore as vg
    >>> float(vg.entropy_rate([0.5, 0.25, -1.0]))
    0.75
    """
    return np.asarray(np.maximum(_descending(exponents), 0.0).sum(axis=-1))


def _descending(exponents: npt.ArrayLike) -> npt.NDArray[Any]:
    """Check exponents and sort them."""
    found = checks.extended("exponents", exponents)
    if found.ndim == 0 or found.shape[-1] == 0:
        raise ValueError(f"exponents: found shape {found.shape}, expected (..., n_exponents)")
    if not (found < np.inf).all():
        raise ValueError("exponents: found inf, expected finite numbers or -inf")
    return np.sort(found, axis=-1)[..., ::-1]
