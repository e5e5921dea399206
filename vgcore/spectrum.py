"""Spectral radii of many matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore.kernels.radius import _radius_batch
from vgcore.kernels.vectors import aligned_zeros, padded
from vgcore.parallel import over_draws

# ||W^t|| may grow as t^(N-1) rho^t (one Jordan block), so its root is off by (N-1) ln(t) / t. With
# t = 2**36 N or more that is below 6e-10 up to N = 10,000.
_SQUARINGS = 36


def spectral_radius(W: npt.ArrayLike, *, n_threads: int | None = None) -> npt.NDArray[np.float64]:
    """Return the largest eigenvalue modulus of each matrix.

    Parameters
    ----------
    W : array_like, shape (n_draws, N, N)
        Square matrices, float32 or float64. The work is done in float64.
    n_threads : int, optional
        Threads to use; None means one for each CPU this process may use, or what the environment
        variable VGCORE_NUM_THREADS says. It does not change the result.

    Returns
    -------
    ndarray, shape (n_draws,), float64
        Spectral radii: to 1e-8 relative where rounding of W moves its eigenvalues by less.
        Multiplying W by a power of two does exactly that to the radius.

    Raises
    ------
    TypeError, ValueError
        `W` is not real and finite, or not of that shape; `n_threads` is not a positive integer.

    Notes
    -----
    Gelfand's formula, rho(W) = lim ||W^t||^(1/t) [1]_, by repeated squaring of W, balanced [2]_ and
    rescaled by powers of two. It ends where one or two eigenvalues outlive all others, and at the
    latest at t = 2**36 N, where even one Jordan block has come within 1e-9.

    The radius is exactly 0 for a zero matrix, for one that a permutation makes strictly triangular,
    and for one whose powers vanish without rounding. A matrix that is nilpotent only up to rounding
    has eigenvalues of about eps**(1/N) ||W||, and those are found. Entries that balancing leaves
    300 orders of magnitude apart (as in a cycle of 100 states, one of whose edges weighs 1e-300 and
    the others 1) underflow and count as zero.

    References
    ----------
    .. [1] I. M. Gelfand, "Normierte Ringe", Mat. Sbornik 9 (51), 3-24 (1941).
    .. [2] E. E. Osborne, "On pre-conditioning of matrices", J. ACM 7, 338-345 (1960).

    Examples
    --------
    >>> import numpy as np
    >>> import vgcore as vg
    >>> vg.spectral_radius(np.array([[[0.0, 2.0], [0.5, 0.0]], [[0.0, 1.0], [0.0, 0.0]]]))
    array([1., 0.])
    """
    W = checks.shaped("W", W, ("n_draws", "N", "N"))
    n_draws, n, columns = W.shape
    if n != columns or n == 0:
        raise ValueError(
            f"W: found shape {W.shape}, expected square matrices (n_draws, N, N), N >= 1"
        )
    radius = np.empty(n_draws)

    def work(start: int, stop: int) -> None:
        A, square, C = (aligned_zeros((n, padded(n, np.float64)), np.float64) for _ in range(3))
        _radius_batch(
            np.ascontiguousarray(W[start:stop], np.float64),
            A,
            square,
            C,
            np.empty((n, n), np.bool_),
            np.empty(_SQUARINGS + n.bit_length(), np.int64),
            radius[start:stop],
        )

    over_draws(work, n_draws, n_threads)
    return radius
