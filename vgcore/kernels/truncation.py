"""dE/dW_rec with every loss carried back over k steps at most, for many k at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.rnn import _copy
from vgcore.kernels.unrolled import (
    NOTHING,
    Unrolled,
    _add_terms,
    _cosine,
    _dot,
    _gradient,
    _log_norm,
    _settle,
)
from vgcore.kernels.vectors import _matmat, _sum_squares


@njit(cache=True, nogil=True, error_model="numpy")
def _truncation_lane(
    unrolled: Unrolled,
    losses: Array,
    truncations: Integers,
    carried: Array,
    exponents: Integers,
    full: Array,
    partial: Array,
    out_log_norm: Array,
    out_share: Array,
    out_cosine: Array,
) -> float:
    """Compare the gradient truncated at each k with the full one, whose log norm is returned.

    `unrolled` has gone through `_unroll` with these losses. truncations (K,) ascend. The sum is
    built up lag by lag. One loss alone is at lag l where the backward pass left its gradient; each
    of several is carried on its own, in row t of `carried` for the loss at t. out (K,).
    Scratch: carried (2, T + 1, P), exponents (T + 1,), full and partial (N, P).
    """
    rows, next_rows = carried[0], carried[1]
    deltas, values, slopes = unrolled.deltas, unrolled.values, unrolled.slopes
    n_steps, n_losses = values.shape[0], losses.shape[0]
    value_exponents = unrolled.exponents[1]
    full_exponent = _gradient(unrolled, full)
    full_squares = _sum_squares(full)
    for t in range(n_steps + 1 - n_losses, n_steps + 1):
        _copy(losses[t - n_steps - 1 + n_losses], rows[t])
        exponents[t] = _settle(rows[t], 0)[1]
    partial[:] = 0.0
    exponent = NOTHING
    i = 0
    for lag in range(truncations[-1]):
        first = max(n_steps + 1 - n_losses, lag + 1)  # loss that reaches back so far
        if n_losses == 1:
            t = n_steps - lag
            exponent = _add_terms(
                deltas[t : t + 1],
                unrolled.exponents[0, t : t + 1],
                values[t - 1 : t],
                value_exponents[t - 1 : t],
                unrolled.rows,
                exponent,
                partial,
            )
        else:
            if lag > 0:
                _matmat(rows[first:], unrolled.W_rec, next_rows[first:])
                rows, next_rows = next_rows, rows
                for t in range(first, n_steps + 1):
                    row, slope = rows[t], slopes[t - lag]
                    for j in range(row.size):
                        row[j] *= slope[j]
                    exponents[t] = _settle(row, exponents[t])[1]
            exponent = _add_terms(
                rows[first:],
                exponents[first:],
                values[first - lag - 1 : n_steps - lag],
                value_exponents[first - lag - 1 : n_steps - lag],
                unrolled.rows,
                exponent,
                partial,
            )
        if lag + 1 == truncations[i]:
            out_log_norm[i] = _log_norm(_sum_squares(partial), exponent)
            out_cosine[i] = _cosine(partial, full, unrolled.product)
            share = _dot(partial, full, unrolled.product) / full_squares
            gap = max(-5000, min(5000, exponent - full_exponent))
            out_share[i] = np.ldexp(share, gap) if full_squares != 0.0 else np.nan
            if full_squares == 0.0:
                out_cosine[i] = np.nan
            i += 1
    return float(_log_norm(full_squares, full_exponent))
