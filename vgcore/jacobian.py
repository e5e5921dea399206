"""Products of Jacobians over many steps, and their singular values."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array
from vgcore.cell_steps import CHUNK, walk
from vgcore.cells import RNN, Cell
from vgcore.deep import DeepNet
from vgcore.kernels.dense import _factor_steps, _multiply, _normalise_product
from vgcore.kernels.jacobian import _log_values, _product_lane, _singular_values_lane
from vgcore.kernels.tangent import first_frame, new_frame, new_motion
from vgcore.kernels.vectors import aligned_zeros, padded
from vgcore.parallel import over_draws
from vgcore.streams import Purpose, Seed, Streams
from vgcore.trajectory import check_cell, drive_and_state, network, refuse_overflow

# Log singular values from several first frames that differ by more are given up.
_RESOLVED = 1e-6
_FRAMES = 3


def jacobian_product(
    cell: Cell,
    n_steps: int,
    *,
    inputs: object = None,
    initial_state: object = None,
    burn_in: int = 0,
    rng: Seed = None,
    n_threads: int | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The derivative of the last state by the first, as a logarithm and a matrix of norm 1.

    dx_T/dx_0 = exp(log_scale) P with ||P||_F = 1. Times run from the end of the burn-in: x_0 is the
    state after it, and T is n_steps.

    Parameters
    ----------
    cell
        Networks, one a draw.
    n_steps
        Number T of Jacobians, at least 1.
    inputs : array_like, optional
        u_1, u_2 ..., broadcasts to (n_draws, burn_in + n_steps, n_inputs); None for an autonomous
        network.
    initial_state : array_like, optional
        State before the burn-in, broadcasts to (n_draws, n_state); standard normal numbers where
        None.
    burn_in
        Steps before x_0.
    rng
        Seed or Generator for the initial state.
    n_threads
        Threads to use; None means all cores. The result does not depend on it, to the bit.

    Returns
    -------
    log_scale : ndarray of float64, shape (n_draws,)
        ln ||dx_T/dx_0||_F; -inf where the product is exactly zero.
    P : ndarray of float64, shape (n_draws, n_state, n_state)
        Rows belong to x_T, columns to x_0; zeros where the product is exactly zero.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.
    FloatingPointError
        Weights so large that one step overflows.

    See Also
    --------
    log_singular_values : of the same product; those of P itself end at 1e-16.

    Notes
    -----
    Pascanu, Mikolov, Bengio (2013), eq. 5, with the exact Jacobian W_rec diag(s'(x_{i-1})). The
    work is done in float64 whatever the dtype of the cell. Entries of P have an absolute error of
    about 1e-16 times the number of steps; directions that shrink faster than the rest drown in it.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.RNN(0.5 * np.eye(4)[None], activation="linear")
    >>> log_scale, P = vg.jacobian_product(cell, 10_000, rng=0)
    >>> bool(np.isclose(log_scale[0], 10_000 * np.log(0.5) + np.log(2)))
    True
    >>> P[0, 0]
    array([0.5, 0. , 0. , 0. ])
    """
    n_steps = checks.integer("n_steps", n_steps, least=1)
    burn_in = checks.integer("burn_in", burn_in)
    streams = Streams.from_rng(rng)
    check_cell(cell)
    n = cell.n_state
    log_scale, P = np.empty(cell.n_draws), np.empty((cell.n_draws, n, n))
    if not isinstance(cell, RNN):
        if isinstance(cell, DeepNet):
            burn_in = cell.layers_before(n_steps, burn_in)
        given = drive_and_state(cell, burn_in + n_steps, inputs, initial_state, streams)
        run = partial(_multiply_steps, cell, given, burn_in, n_steps, log_scale, P)
        over_draws(run, cell.n_draws, n_threads)
        refuse_overflow(cell, log_scale)
        return log_scale, P
    draws = network(cell, burn_in + n_steps, inputs, initial_state, streams)

    def work(first: int, stop: int) -> None:
        motion = new_motion(n, draws.inputs)
        scaled, product = aligned_zeros((2, n, padded(n, np.float64)), np.float64)
        for d in range(first, stop):
            log_scale[d] = _product_lane(draws, d, burn_in, n_steps, motion, scaled, product, P[d])

    over_draws(work, cell.n_draws, n_threads)
    refuse_overflow(draws, log_scale)
    return log_scale, P


def _multiply_steps(
    cell: Cell,
    given: tuple[Array, Array],
    burn_in: int,
    n_steps: int,
    log_scale: Array,
    P: Array,
    first: int,
    stop: int,
) -> None:
    """`jacobian_product` of some draws of a cell whose steps are given by their Jacobians."""
    n, trajectory = cell.n_state, walk(cell, *given)
    product, scratch = aligned_zeros((2, n, padded(n, np.float64)), np.float64)
    for d in range(first, stop):
        trajectory.begin(d)
        trajectory.skip(burn_in)
        product[:] = np.eye(n, product.shape[1])
        exponent = 0
        for done in range(0, n_steps, CHUNK):
            steps = trajectory.steps(min(CHUNK, n_steps - done))
            exponent += _multiply(steps, product, scratch)
        log_scale[d] = _normalise_product(product, exponent, P[d])


def log_singular_values(
    cell: Cell,
    n_steps: int,
    *,
    inputs: object = None,
    initial_state: object = None,
    burn_in: int = 0,
    rng: Seed = None,
    n_threads: int | None = None,
) -> npt.NDArray[np.float64]:
    """Logarithms of the singular values of dx_T/dx_0, however far apart they are.

    Parameters
    ----------
    cell, n_steps, inputs, initial_state, burn_in, n_threads
        As in `jacobian_product`.
    rng
        Seed or Generator for the initial state and for three first frames, which all draws share.

    Returns
    -------
    ndarray of float64, shape (n_draws, n_state)
        Natural logarithms, largest first: -inf for one that is exactly zero (units of slope 0), and
        nan where it is not resolved.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.
    FloatingPointError
        Weights so large that one step overflows.

    Notes
    -----
    Singular values of a product in floating point are wrong below 1e-16 of the largest. Here the
    product is kept as Q R, with a frame that goes along with the steps and a triangular R whose
    rows are scaled one by one; rotations make the rows of R orthogonal (one-sided Jacobi), which
    finds each singular value to its own relative precision [1]_, at any horizon: to 1e-10 where
    that was held against 700 digits, over 100 orders of magnitude and more.

    Not resolved is what the rounding of single steps decides: the smallest singular values where W
    is singular up to rounding, or where it is sparse and slopes of saturated units are 1e-30 and
    less of one another. So all are computed three times, from random first frames; the first whose
    logarithms differ by more than 1e-6 is given as nan, and so are all below it but exact zeros,
    where the three may agree by having lost the same. (Of 1,120 values of sparse 8 x 8 networks at
    gains of 10 to 80, 3 passed that were wrong, all at 80.) They are the singular values at the
    computed states: a chaotic network magnifies the rounding of its states, whatever is done about
    that of the product. Slopes of saturated units are kept apart in an `RNN` alone; in other cells
    they are part of a step's Jacobian, and what they leave below 1e-16 of the rest is nan.

    Time O(n_draws n_steps N^3).

    References
    ----------
    .. [1] J. Demmel, K. Veselic, "Jacobi's method is more accurate than QR", SIAM J. Matrix Anal.
       Appl. 13, 1204-1245 (1992).

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> cell = vg.RNN(np.diag([2.0, 0.5, 0.001])[None], activation="linear")
    >>> (vg.log_singular_values(cell, 100, rng=0) / 100).round(6)
    array([[ 0.693147, -0.693147, -6.907755]])
    """
    n_steps = checks.integer("n_steps", n_steps, least=1)
    burn_in = checks.integer("burn_in", burn_in)
    streams = Streams.from_rng(rng)
    check_cell(cell)
    n = cell.n_state
    starts = [
        first_frame(streams.at(Purpose.TANGENT_FRAME, d).standard_normal((n, n)))
        for d in range(_FRAMES)
    ]
    values = np.empty((_FRAMES, cell.n_draws, n))
    if not isinstance(cell, RNN):
        if isinstance(cell, DeepNet):
            burn_in = cell.layers_before(n_steps, burn_in)
        given = drive_and_state(cell, burn_in + n_steps, inputs, initial_state, streams)
        over_draws(
            partial(_factor_draws, cell, given, burn_in, n_steps, starts, values),
            cell.n_draws,
            n_threads,
        )
        return _resolved(cell, values)
    draws = network(cell, burn_in + n_steps, inputs, initial_state, streams)

    def work(first: int, stop: int) -> None:
        motion, frame = new_motion(n, draws.inputs), new_frame(n)
        R, product = aligned_zeros((2, n, padded(n, np.float64)), np.float64)
        powers, mixing = np.empty((2, n), np.int64), np.empty((n, n))
        for d in range(first, stop):
            for out, start in zip(values, starts, strict=True):
                _singular_values_lane(
                    draws, d, burn_in, n_steps, start, motion, frame, R, powers, mixing, product,
                    out[d],
                )  # fmt: skip

    over_draws(work, cell.n_draws, n_threads)
    return _resolved(cell, values)


def _factor_draws(
    cell: Cell,
    given: tuple[Array, Array],
    burn_in: int,
    n_steps: int,
    starts: list[Array],
    values: Array,
    first: int,
    stop: int,
) -> None:
    """`log_singular_values` of some draws of a cell whose steps are given by their Jacobians."""
    n, trajectory = cell.n_state, walk(cell, *given)
    frame, mixing = new_frame(n), np.empty((n, n))
    R, product = aligned_zeros((2, n, padded(n, np.float64)), np.float64)
    powers, status = np.empty((2, n), np.int64), np.empty(2, np.int64)
    for d in range(first, stop):
        for start, out in zip(starts, values, strict=True):
            trajectory.begin(d)
            trajectory.skip(burn_in)
            frame.rows[0], R[:], powers[:], status[:] = start, np.eye(n, R.shape[1]), 0, (n, 0)
            for done in range(0, n_steps, CHUNK):
                steps = trajectory.steps(min(CHUNK, n_steps - done))
                last = done + CHUNK >= n_steps
                _factor_steps(steps, last, frame, R, powers, mixing, product, status)
            _log_values(R[: status[0]], powers[0], out[d])


def _resolved(cell: Cell, values: Array) -> npt.NDArray[np.float64]:
    """Sort computations (_FRAMES, n_draws, n) of the same values; nan from where they differ.

    Below that some may agree by having lost the same.
    """
    for once in values:
        refuse_overflow(cell, once)
    values = np.sort(values, axis=-1)[..., ::-1]
    low, high = values.min(axis=0), values.max(axis=0)
    with np.errstate(invalid="ignore"):  # -inf - -inf
        agreed = (low == high) | (high - low <= _RESOLVED)
    resolved = np.logical_and.accumulate(agreed, axis=-1) | np.isneginf(high)
    return np.where(resolved, values[0], np.nan)
