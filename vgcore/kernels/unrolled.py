"""A network unrolled over one trajectory: all that W_rec meets, all gradients, and dE/dW_rec.

With x_t the states after burn-in, t = 0 ... T, E the sum of losses on states, h_t what W_rec is
multiplied by at the step from t, and g_t the G N numbers that W_rec h_{t-1} goes to,

    dE/dg_t    = A_t delta_t
    delta_t-1  = dE/dx_{t-1} = dE_{t-1}/dx_{t-1} + B_t delta_t + diag(s_t) W_rec^T dE/dg_t
    dE/dW_rec  = sum_t dE/dg_t h_{t-1}^T,   t = 1 ... T

where A_t, B_t work on units one by one and W_rec^T reaches the first N numbers of a state. In the
vanilla network h = s(x), A = 1, B = 0 and s_t = s'(x_{t-1}); in the others h is part of the state,
and s_t is 1.

Every vector and every sum is held as numbers times a power of two, as in `rnn`. P is N padded to
whole vectors of float64, G the number of gates, S that of state variables a unit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.elementary import _log_one
from vgcore.kernels.jit import helper, kernel
from vgcore.kernels.scales import LN2, _copy, _of_row, _scaled_squares
from vgcore.kernels.tangent import Motion, Network, _advance, _place
from vgcore.kernels.tiles import _add_matmat, _row_sums
from vgcore.kernels.vectors import _scale_exact, _sum_squares, _vecmat, aligned_zeros, padded

# The exponent of what is exactly zero, below that of any number.
NOTHING = -(2**40)


class Unrolled(NamedTuple):
    """All that one trajectory leaves behind, and the scratch to get it.

    Row t - 1 of `values`, `gates` and what else has T rows is of the step to time t, row t of
    `deltas` is dE/dx_t. `squares` are square norms: (0, t) of deltas, (1, t - 1) of values and
    (2, t - 1) of gates, in the same scale as the rows, whose powers of two are `exponents`.
    """

    values: Array  # (T, P): h
    slopes: Array  # (T, P): s
    to_gates: Array  # (T, G, S, P): A
    past: Array  # (T, S, S, P): B
    deltas: Array  # (T + 1, S P)
    gates: Array  # (T, G P): dE/dg
    squares: Array  # (3, T + 1)
    exponents: Integers  # (3, T + 1)
    W_rec: Array  # (G P - P + N, P): N rows a gate, each gate but the last padded to P
    rows: Array  # (T + 1, G P)
    product: Array  # (T + 1, P)
    vectors: Array  # (2, S P)
    zeros: Array  # (P,)
    sum: Array  # (1,)


def new_unrolled(n: int, n_steps: int, gates: int = 1, states: int = 1) -> Unrolled:
    """Scratch for trajectories of n units over n_steps steps after burn-in.

    As it is, it is that of a vanilla network but for what has to be measured.
    """
    P = padded(n, np.float64)
    unrolled = Unrolled(
        values=aligned_zeros((n_steps, P), np.float64),
        slopes=aligned_zeros((n_steps, P), np.float64),
        to_gates=aligned_zeros((n_steps, gates, states, P), np.float64),
        past=aligned_zeros((n_steps, states, states, P), np.float64),
        deltas=aligned_zeros((n_steps + 1, states * P), np.float64),
        gates=aligned_zeros((n_steps, gates * P), np.float64),
        squares=np.zeros((3, n_steps + 1)),
        exponents=np.zeros((3, n_steps + 1), np.int64),
        W_rec=aligned_zeros(((gates - 1) * P + n, P), np.float64),
        rows=aligned_zeros((n_steps + 1, gates * P), np.float64),
        product=aligned_zeros((n_steps + 1, P), np.float64),
        vectors=aligned_zeros((2, states * P), np.float64),
        zeros=aligned_zeros(P, np.float64),
        sum=np.zeros(1),
    )
    unrolled.slopes[:] = 1.0
    unrolled.to_gates[:] = 1.0
    return unrolled


@helper()
def _settle(x: Array, exponent: int) -> tuple[float, int]:
    """Return s, e with ||2**exponent x||^2 = s 4**e, x rescaled in place; NOTHING for a zero."""
    square, exponent = _scaled_squares(x, exponent)
    return square, NOTHING if square == 0.0 else exponent


@helper()
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


@njit(nogil=True, error_model="numpy", inline="always")
def _to_gates(to_gates: Array, delta: Array, gates: Array) -> None:
    """Set gates (G P,) to A delta, with A (G, S, P)."""
    P = to_gates.shape[2]
    for g in range(to_gates.shape[0]):
        for j in range(P):
            gates[g * P + j] = to_gates[g, 0, j] * delta[j]
        for s in range(1, to_gates.shape[1]):
            for j in range(P):
                gates[g * P + j] += to_gates[g, s, j] * delta[s * P + j]


@njit(nogil=True, error_model="numpy", inline="always")
def _to_past(past: Array, slope: Array, product: Array, delta: Array, out: Array) -> None:
    """Set out (S P,) to B delta and a product (P,) with W_rec^T, times its slopes."""
    P = slope.size
    for j in range(P):
        out[j] = slope[j] * product[j] + past[0, 0, j] * delta[j]
    for s in range(1, past.shape[0]):
        for j in range(P):
            out[s * P + j] = past[s, 0, j] * delta[j]
    for s in range(past.shape[0]):
        for r in range(1, past.shape[1]):
            for j in range(P):
                out[s * P + j] += past[s, r, j] * delta[r * P + j]


@njit(nogil=True, error_model="numpy", inline="always")
def _place_loss(loss: Array, P: int, out: Array) -> tuple[float, int]:
    """Set out (S P,), padded, to a loss gradient (S N,), settled; return what `_settle` does."""
    n = loss.size * P // out.size
    for j in range(loss.size):
        out[j // n * P + j % n] = loss[j]
    return _settle(out, int(np.int64(0)))  # no literal, which is a type of its own: compiled again


@kernel()
def _unroll_back(losses: Array, unrolled: Unrolled) -> None:
    """Run the backward pass over a trajectory, whose values are settled first.

    losses (n, S N) are dE_t/dx_t of the last n states, n at most T.
    """
    values, deltas, gates = unrolled.values, unrolled.deltas, unrolled.gates
    squares, exponents, product = unrolled.squares, unrolled.exponents, unrolled.product[0]
    loss, scratch = unrolled.vectors[0], unrolled.vectors[1]
    n_steps, P = values.shape
    n_losses = losses.shape[0]
    for t in range(n_steps):
        squares[1, t], exponents[1, t] = _settle(values[t], exponents[1, t])
    squares[0, n_steps], exponents[0, n_steps] = _place_loss(
        losses[n_losses - 1], P, deltas[n_steps]
    )
    for t in range(n_steps - 1, -1, -1):
        delta = deltas[t]
        _to_gates(unrolled.to_gates[t], deltas[t + 1], gates[t])
        _vecmat(gates[t], unrolled.W_rec, unrolled.zeros, product)
        _to_past(unrolled.past[t], unrolled.slopes[t], product, deltas[t + 1], delta)
        squares[2, t], exponents[2, t] = _settle(gates[t], exponents[0, t + 1])
        squares[0, t], exponents[0, t] = _settle(delta, exponents[0, t + 1])
        row = t - 1 - (n_steps - n_losses)  # of the loss at t
        if row >= 0:
            loss_exponent = _place_loss(losses[row], P, loss)[1]
            exponent = _add_scaled(loss, loss_exponent, scratch, delta, exponents[0, t])
            squares[0, t], exponents[0, t] = _settle(delta, exponent)


@kernel()
def _unroll(
    network: Network,
    draw: int,
    trajectory: int,
    burn_in: int,
    losses: Array,
    motion: Motion,
    unrolled: Unrolled,
) -> None:
    """Run the forward and the backward pass of one draw and trajectory of a vanilla network.

    Leading axes of inputs and initial_state of the network are (draws or 1, trajectories or 1).
    """
    inputs = _of_row(network.inputs, draw, trajectory)
    state = _of_row(network.initial_state, draw, trajectory)
    motion = _place(network, draw, inputs, state, motion)
    for i in range(unrolled.W_rec.shape[0]):
        _copy(network.W_rec[draw, i], unrolled.W_rec[i])
    for _ in range(burn_in):
        _advance(network, motion)
    for t in range(unrolled.values.shape[0]):
        _advance(network, motion)
        _copy(motion.value, unrolled.values[t])
        _copy(motion.slope, unrolled.slopes[t])
        unrolled.exponents[1, t] = motion.status[0]
    _unroll_back(losses, unrolled)


@helper()
def _add_terms(
    gates: Array,
    gate_exponents: Integers,
    values: Array,
    value_exponents: Integers,
    rows: Array,
    exponent: int,
    out: Array,
) -> int:
    """Add the outer products of rows of gates and values to out (N or more, P) 2**exponent.

    Returns the new exponent of out: the largest of any term so far, NOTHING where all are zero.
    Scratch: rows (n, G P).
    """
    n = gates.shape[0]
    top = exponent
    for r in range(n):
        top = max(top, gate_exponents[r] + value_exponents[r])
    if top <= NOTHING // 2:
        out[:] = 0.0
        return NOTHING
    if top > exponent:
        _scale_exact(out, exponent - top)
    for r in range(n):
        _copy(gates[r], rows[r])
        _scale_exact(rows[r], gate_exponents[r] + value_exponents[r] - top)
    _add_matmat(rows[:n, : out.shape[0]].T, values, out)
    return top


@helper()
def _gradient(unrolled: Unrolled, out: Array) -> int:
    """Set out, as W_rec, to dE/dW_rec 2**-e and return e; NOTHING where all terms are zeros."""
    out[:] = 0.0
    exponents = unrolled.exponents
    n_steps = unrolled.values.shape[0]
    return int(
        _add_terms(
            unrolled.gates,
            exponents[2, :n_steps],
            unrolled.values,
            exponents[1, :n_steps],
            unrolled.rows,
            int(np.int64(NOTHING)),  # no literal, as in `_place_loss`
            out,
        )
    )


@helper()
def _log_norm(squares: float, exponent: int) -> float:
    """Return ln of the norm whose square is squares 4**exponent; -inf for zero."""
    return float(0.5 * _log_one(squares) + LN2 * exponent)


@helper()
def _dot(A: Array, B: Array, product: Array) -> float:
    """Return the sum of the products of entries of two padded arrays; product (1,) is scratch."""
    _row_sums(A.reshape(1, A.size), B.reshape(B.size), product)
    return float(product[0])


@helper()
def _cosine(A: Array, B: Array, product: Array) -> float:
    """Return the cosine between two padded arrays; 0 where either is exactly zero."""
    lengths = np.sqrt(_sum_squares(A)) * np.sqrt(_sum_squares(B))
    if lengths == 0.0:
        return 0.0
    return float(max(-1.0, min(1.0, _dot(A, B, product) / lengths)))
