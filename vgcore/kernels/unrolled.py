"""A vanilla RNN unrolled over one trajectory: all states, all gradients, and dE/dW_rec.

With x_t the states after burn-in, t = 0 ... T, and E the sum of losses on states,

    delta_t     = dE/dx_t = dE_t/dx_t + diag(s'(x_t)) W_rec^T delta_{t+1}
    dE/dW_rec   = sum_t delta_t s(x_{t-1})^T,   t = 1 ... T

Every vector and every sum is held as numbers times a power of two, as in `rnn`. P is N padded to
whole vectors of float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.elementary import _log_one
from vgcore.kernels.rnn import LN2, _copy, _scaled_squares
from vgcore.kernels.tangent import Motion, Network, _advance, _place
from vgcore.kernels.tiles import _add_matmat, _row_sums
from vgcore.kernels.vectors import _scale_exact, _sum_squares, _vecmat, aligned_zeros, padded

# The exponent of what is exactly zero, below that of any number.
NOTHING = -(2**40)


class Unrolled(NamedTuple):
    """All that one trajectory leaves behind, and the scratch to get it.

    Row t - 1 of `values` is s(x_{t-1}), of `slopes` s'(x_{t-1}); row t of `deltas` is dE/dx_t.
    `squares` are square norms: (0, t) of deltas, (1, t - 1) of values, in the same scale as the
    rows, whose powers of two are `exponents`. So the t-th term of the sum takes row t of the one
    and row t - 1 of the other.
    """

    values: Array  # (T, P)
    slopes: Array  # (T, P)
    deltas: Array  # (T + 1, P)
    squares: Array  # (2, T + 1)
    exponents: Integers  # (2, T + 1)
    W_rec: Array  # (N, P)
    rows: Array  # (T + 1, P)
    vectors: Array  # (3, P)
    product: Array  # (1,)


def new_unrolled(n: int, n_steps: int) -> Unrolled:
    """Scratch for trajectories of n units over n_steps steps after burn-in."""
    P = padded(n, np.float64)
    return Unrolled(
        values=aligned_zeros((n_steps, P), np.float64),
        slopes=aligned_zeros((n_steps, P), np.float64),
        deltas=aligned_zeros((n_steps + 1, P), np.float64),
        squares=np.zeros((2, n_steps + 1)),
        exponents=np.zeros((2, n_steps + 1), np.int64),
        W_rec=aligned_zeros((n, P), np.float64),
        rows=aligned_zeros((n_steps + 1, P), np.float64),
        vectors=aligned_zeros((3, P), np.float64),
        product=np.zeros(1),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _settle(x: Array, exponent: int) -> tuple[float, int]:
    """Return s, e with ||2**exponent x||^2 = s 4**e, x rescaled in place; NOTHING for a zero."""
    square, exponent = _scaled_squares(x, exponent)
    return square, NOTHING if square == 0.0 else exponent


@njit(cache=True, nogil=True, error_model="numpy")
def _add_scaled(
    source: Array, source_exponent: int, scratch: Array, target: Array, target_exponent: int
) -> int:
    """Set 2**e target to the sum of 2**target_exponent target and 2**source_exponent source.

    Both are settled, so the larger exponent will do for the sum, and e is it.
    """
    exponent = max(source_exponent, target_exponent)
    _scale_exact(target, target_exponent - exponent)
    _copy(source, scratch)
    _scale_exact(scratch, source_exponent - exponent)
    for j in range(target.size):
        target[j] += scratch[j]
    return exponent


@njit(cache=True, nogil=True, error_model="numpy")
def _unroll(
    network: Network,
    draw: int,
    trajectory: int,
    burn_in: int,
    losses: Array,
    motion: Motion,
    unrolled: Unrolled,
) -> None:
    """Run the forward and the backward pass of one draw and trajectory.

    Leading axes of inputs and initial_state of the network are (draws or 1, trajectories or 1).
    losses (n, N) are dE_t/dx_t of the last n states, n at most T.
    """
    inputs, state = network.inputs, network.initial_state
    motion = _place(
        network,
        draw,
        inputs[min(draw, inputs.shape[0] - 1), min(trajectory, inputs.shape[1] - 1)],
        state[min(draw, state.shape[0] - 1), min(trajectory, state.shape[1] - 1)],
        motion,
    )
    values, slopes, deltas = unrolled.values, unrolled.slopes, unrolled.deltas
    squares, exponents = unrolled.squares, unrolled.exponents
    W_rec = unrolled.W_rec
    zeros, loss, scratch = unrolled.vectors[0], unrolled.vectors[1], unrolled.vectors[2]
    n_steps, n_losses = values.shape[0], losses.shape[0]
    for i in range(W_rec.shape[0]):
        _copy(network.W_rec[draw, i], W_rec[i])
    for _ in range(burn_in):
        _advance(network, motion)
    for t in range(n_steps):
        _advance(network, motion)
        _copy(motion.value, values[t])
        _copy(motion.slope, slopes[t])
        squares[1, t], exponents[1, t] = _settle(values[t], motion.status[0])
    _copy(losses[n_losses - 1], deltas[n_steps])
    squares[0, n_steps], exponents[0, n_steps] = _settle(deltas[n_steps], 0)
    for t in range(n_steps - 1, -1, -1):
        delta, slope = deltas[t], slopes[t]
        _vecmat(deltas[t + 1], W_rec, zeros, delta)
        for j in range(delta.size):
            delta[j] *= slope[j]
        squares[0, t], exponents[0, t] = _settle(delta, exponents[0, t + 1])
        row = t - 1 - (n_steps - n_losses)  # of the loss at t
        if row >= 0:
            _copy(losses[row], loss)
            loss_exponent = _settle(loss, 0)[1]
            exponent = _add_scaled(loss, loss_exponent, scratch, delta, exponents[0, t])
            squares[0, t], exponents[0, t] = _settle(delta, exponent)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_terms(
    deltas: Array,
    delta_exponents: Integers,
    values: Array,
    value_exponents: Integers,
    rows: Array,
    exponent: int,
    out: Array,
) -> int:
    """Add the outer products of rows of deltas and values to out (N, P) 2**exponent.

    Returns the new exponent of out: the largest of any term so far, NOTHING where all are zero.
    Scratch: rows (n, P).
    """
    n = deltas.shape[0]
    top = exponent
    for r in range(n):
        top = max(top, delta_exponents[r] + value_exponents[r])
    if top <= NOTHING // 2:
        out[:] = 0.0
        return NOTHING
    if top > exponent:
        _scale_exact(out, exponent - top)
    for r in range(n):
        _copy(deltas[r], rows[r])
        _scale_exact(rows[r], delta_exponents[r] + value_exponents[r] - top)
    _add_matmat(rows[:n, : out.shape[0]].T, values, out)
    return top


@njit(cache=True, nogil=True, error_model="numpy")
def _gradient(unrolled: Unrolled, out: Array) -> int:
    """Set out (N, P) 2**e to dE/dW_rec and return e; NOTHING where it has no term but zeros."""
    out[:] = 0.0
    exponents = unrolled.exponents
    n_steps = unrolled.values.shape[0]
    return int(
        _add_terms(
            unrolled.deltas[1:],
            exponents[0, 1:],
            unrolled.values,
            exponents[1, :n_steps],
            unrolled.rows,
            int(np.int64(NOTHING)),  # a literal is a type of its own: compiled again
            out,
        )
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _log_norm(squares: float, exponent: int) -> float:
    """Return ln of the norm whose square is squares 4**exponent; -inf for zero."""
    return float(0.5 * _log_one(squares) + LN2 * exponent)


@njit(cache=True, nogil=True, error_model="numpy")
def _dot(A: Array, B: Array, product: Array) -> float:
    """Return the sum of the products of entries of two padded arrays; product (1,) is scratch."""
    _row_sums(A.reshape(1, A.size), B.reshape(B.size), product)
    return float(product[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _cosine(A: Array, B: Array, product: Array) -> float:
    """Return the cosine between two padded arrays; 0 where either is exactly zero."""
    lengths = np.sqrt(_sum_squares(A)) * np.sqrt(_sum_squares(B))
    if lengths == 0.0:
        return 0.0
    return float(max(-1.0, min(1.0, _dot(A, B, product) / lengths)))
