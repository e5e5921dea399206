"""Penalties on W_rec: value, gradient, and descent on them.

P is N padded to whole vectors of float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.jit import helper, kernel
from vgcore.kernels.layout import _pack_transpose
from vgcore.kernels.scales import _copy
from vgcore.kernels.tangent import Motion, Network
from vgcore.kernels.tiles import _add_matmat
from vgcore.kernels.unrolled import Unrolled, _unroll
from vgcore.kernels.vectors import _matmat, _sum_squares

OMEGA, OMEGA_SQUARED, ORTHOGONALITY, L2 = range(4)

# Why the descent of a draw stopped.
NOT_FINITE, GREW, OUT_OF_RANGE = 1, 2, 3

_BOUND = 1e-20  # of ||dE/dx||^2, below which the squared form leaves a step out
_GROWTH = 1e12  # of a penalty, at which its descent has failed


@njit(nogil=True, error_model="numpy", inline="always")
def _omega(unrolled: Unrolled, squared: bool, rows: Array, gradient: Array) -> float:
    """Return Omega of one trajectory and add its immediate derivative to gradient (N, P).

    With d = delta_{t+1}, y = diag(s'(x_t)) W^T d and r = ||y|| / ||d||, a term is (r - 1)^2 or
    (r^2 - 1)^2, and its derivative by W, with d and x_t held fixed, is a number times
    d (s' y)^T / (||d|| ||y||). Scratch: rows (2, T, P).
    """
    deltas, squares, exponents = unrolled.deltas, unrolled.squares[0], unrolled.exponents[0]
    n_steps, n = unrolled.values.shape[0], gradient.shape[0]
    total = 0.0
    for t in range(n_steps - 1, -1, -1):
        rows[0, t], rows[1, t] = 0.0, 0.0
        # an exact zero has no ratio; _scaled_squares keeps the rest between 2^-100 and 2^80
        dropped = squares[t + 1] == 0.0
        if squared and not dropped:
            power = max(-2000, min(2000, 2 * exponents[t + 1]))
            dropped = np.ldexp(squares[t + 1], power) < _BOUND
        if dropped:
            continue
        if squares[t] == 0.0:
            total += 1.0
            continue
        d_norm, y_norm = np.sqrt(squares[t + 1]), np.sqrt(squares[t])
        gap = max(-2000, min(2000, exponents[t] - exponents[t + 1]))
        ratio = np.ldexp(y_norm / d_norm, gap)
        if squared:
            miss = ratio * ratio - 1.0
            factor = 4.0 * miss * ratio
        else:
            miss = ratio - 1.0
            factor = 2.0 * miss
        total += miss * miss
        d, y, slope = deltas[t + 1], deltas[t], unrolled.slopes[t]
        left, right = rows[0, t], rows[1, t]
        for j in range(left.size):
            left[j] = d[j] / d_norm
            right[j] = factor * slope[j] * (y[j] / y_norm)
    _add_matmat(rows[0][:, :n].T, rows[1], gradient)
    return total


@helper()
def _orthogonality(W: Array, transposed: Array, gram: Array, gradient: Array) -> float:
    """Return ||W^T W - I||_F^2 and set gradient to 4 W (W^T W - I); all are (N, P)."""
    n = W.shape[0]
    _pack_transpose(W[:, :n], transposed)
    _matmat(transposed, W, gram)
    for i in range(n):
        gram[i, i] -= 1.0
    _matmat(W, gram, gradient)
    for i in range(n):
        row = gradient[i]
        for j in range(row.size):
            row[j] *= 4.0
    return float(_sum_squares(gram))


@helper()
def _l2(W: Array, gradient: Array) -> float:
    """Return ||W||_F^2 and set gradient to 2 W."""
    for i in range(W.shape[0]):
        row, source = gradient[i], W[i]
        for j in range(row.size):
            row[j] = 2.0 * source[j]
    return float(_sum_squares(W))


@njit(nogil=True, error_model="numpy", inline="always")
def _penalty(
    network: Network,
    draw: int,
    penalty: int,
    burn_in: int,
    losses: Array,
    motion: Motion,
    unrolled: Unrolled,
    rows: Array,
    matrices: Array,
    gradient: Array,
) -> float:
    """Return a penalty of one draw and set gradient (N, P) to its derivative by W_rec.

    losses (draws, trajectories, 1, N) are dE_T/dx_T; Omega is the mean over trajectories.
    Scratch: rows (2, T, P), matrices (4, N, P), the first of which is W_rec afterwards.
    """
    W = matrices[0]
    for i in range(W.shape[0]):
        _copy(network.W_rec[draw, i], W[i])
    if penalty == ORTHOGONALITY:
        return float(_orthogonality(W, matrices[1], matrices[2], gradient))
    if penalty == L2:
        return float(_l2(W, gradient))
    gradient[:] = 0.0
    total = 0.0
    n_trajectories = losses.shape[1]
    for k in range(n_trajectories):
        _unroll(network, draw, k, burn_in, losses[draw, k], motion, unrolled)
        total += _omega(unrolled, penalty == OMEGA_SQUARED, rows, gradient)
    for i in range(gradient.shape[0]):
        row = gradient[i]
        for j in range(row.size):
            row[j] /= n_trajectories
    return float(total / n_trajectories)


@helper()
def _move(source: Array, target: Array) -> None:
    """Copy the part that two matrices have in common."""
    for i in range(target.shape[0]):
        for j in range(min(source.shape[1], target.shape[1])):
            target[i, j] = source[i, j]


@kernel()
def _descend_lane(
    network: Network,
    draw: int,
    penalty: int,
    learning_rate: float,
    largest: float,
    burn_in: int,
    losses: Array,
    motion: Motion,
    unrolled: Unrolled,
    rows: Array,
    matrices: Array,
    out_gradient: Array,
    out_value: Array,
    out_norm: Array,
    out_stop: Integers,
) -> None:
    """Descend on the penalty of one draw, in place of its W_rec; len(out_value) - 1 updates.

    W_rec <- W_rec - learning_rate gradient. Value and gradient norm are recorded before each update
    and after the last. Where an update fails the draw is back at the W_rec before it, and out_stop
    takes its number, counted from 1, and why; 0 if the penalty is not finite to begin with, and -1
    where nothing fails. out_gradient (N, P) is the last gradient. Scratch as for `_penalty`.
    """
    n_updates = out_value.size - 1
    W, moved, before = network.W_rec[draw], matrices[0], matrices[3]
    out_stop[0], out_stop[1] = -1, 0
    for update in range(n_updates + 1):
        value = _penalty(
            network, draw, penalty, burn_in, losses, motion, unrolled, rows, matrices, out_gradient
        )
        norm = np.sqrt(_sum_squares(out_gradient))
        out_value[update], out_norm[update] = value, norm
        if not (value < np.inf and norm < np.inf):
            out_stop[0], out_stop[1] = update, NOT_FINITE
        elif value > _GROWTH * (1.0 + out_value[0]):
            out_stop[0], out_stop[1] = update, GREW
        if out_stop[1] != 0:
            if update > 0:
                _move(before, W)
            return
        if update == n_updates:
            return
        _move(W, before)
        inside = True
        for i in range(W.shape[0]):
            row, step = moved[i], out_gradient[i]
            for j in range(W.shape[1]):
                row[j] -= learning_rate * step[j]
                inside = inside and abs(row[j]) <= largest
        if not inside:
            out_stop[0], out_stop[1] = update + 1, OUT_OF_RANGE
            return
        _move(moved, W)
