"""dE/dW_rec with every loss carried back over k steps at most, for many k at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.jit import kernel
from vgcore.kernels.scales import _copy
from vgcore.kernels.unrolled import (
    NOTHING,
    Unrolled,
    _add_terms,
    _cosine,
    _dot,
    _gradient,
    _log_norm,
    _place_loss,
    _settle,
    _to_gates,
    _to_past,
)
from vgcore.kernels.vectors import _matmat, _sum_squares


@njit(nogil=True, error_model="numpy", inline="always")
def _carry_losses(
    unrolled: Unrolled, lag: int, first: int, carried: Array, gates: Array, exponents: Integers
) -> None:
    """Take the gradients of the losses at `first` and after from this lag to the next.

    Row t of gates (T + 1, G P) becomes the gradient of the gates at this lag of the loss at t, with
    exponents[1, t], and carried[t], with exponents[0, t], that of the state at the next.
    """
    product, moved = unrolled.product, unrolled.vectors[0]
    for t in range(first, gates.shape[0]):
        _to_gates(unrolled.to_gates[t - lag - 1], carried[t], gates[t])
    _matmat(gates[first:], unrolled.W_rec, product[first:])
    for t in range(first, gates.shape[0]):
        step = t - lag - 1
        _to_past(unrolled.past[step], unrolled.slopes[step], product[t], carried[t], moved)
        _copy(moved, carried[t])
        exponents[1, t] = _settle(gates[t], exponents[0, t])[1]
        exponents[0, t] = _settle(carried[t], exponents[0, t])[1]


@kernel()
def _truncation_lane(
    unrolled: Unrolled,
    losses: Array,
    truncations: Integers,
    carried: Array,
    carried_gates: Array,
    exponents: Integers,
    full: Array,
    partial: Array,
    out_log_norm: Array,
    out_share: Array,
    out_cosine: Array,
) -> float:
    """Compare the gradient truncated at each k with the full one, whose log norm is returned.

    `unrolled` has gone through `_unroll_back` with these losses. truncations (K,) ascend. The sum
    is built up lag by lag. One loss alone is at lag l where the backward pass left its gradient;
    each of several is carried on its own, in row t of `carried` for the loss at t. out (K,).
    Scratch: carried (T + 1, S P), carried_gates (T + 1, G P), exponents (2, T + 1), full and
    partial as W_rec.
    """
    values = unrolled.values
    n_steps, n_losses = values.shape[0], losses.shape[0]
    value_exponents = unrolled.exponents[1]
    full_exponent = _gradient(unrolled, full)
    full_squares = _sum_squares(full)
    start = n_steps + 1 - n_losses
    for t in range(start, n_steps + 1):
        exponents[0, t] = _place_loss(losses[t - start], values.shape[1], carried[t])[1]
    partial[:] = 0.0
    exponent = int(np.int64(NOTHING))  # no literal, as in `_place_loss`
    i = 0
    for lag in range(truncations[-1]):
        if n_losses == 1:
            t = n_steps - lag - 1
            exponent = _add_terms(
                unrolled.gates[t : t + 1],
                unrolled.exponents[2, t : t + 1],
                values[t : t + 1],
                value_exponents[t : t + 1],
                unrolled.rows,
                exponent,
                partial,
            )
        else:
            first = max(start, lag + 1)  # loss that reaches back so far
            _carry_losses(unrolled, lag, first, carried, carried_gates, exponents)
            exponent = _add_terms(
                carried_gates[first:],
                exponents[1, first:],
                values[first - lag - 1 : n_steps - lag],
                value_exponents[first - lag - 1 : n_steps - lag],
                unrolled.rows,
                exponent,
                partial,
            )
        if lag + 1 == truncations[i]:
            out_log_norm[i] = _log_norm(_sum_squares(partial), exponent)
            out_cosine[i] = _cosine(partial, full, unrolled.sum)
            share = _dot(partial, full, unrolled.sum) / full_squares
            gap = max(-5000, min(5000, exponent - full_exponent))
            out_share[i] = np.ldexp(share, gap) if full_squares != 0.0 else np.nan
            if full_squares == 0.0:
                out_cosine[i] = np.nan
            i += 1
    return float(_log_norm(full_squares, full_exponent))
