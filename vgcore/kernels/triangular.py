"""Blocked LQ factorisation of a tangent frame by Householder reflections.

A frame is held as rows. F = L Q' is factored, where Q' = H_r ... H_1 and H_i = I - v_i^T v_i, and
Q' is never formed: the next step needs Q' M alone, and applying the reflections to M costs less
than forming Q' and multiplying. The reflections of a panel of B rows act together [1]_:

    H_1 ... H_i = I - W^T V,    v_i the rows of V,    w_i = v_i - (v_i V^T) W

Where units saturate, columns of F differ by hundreds of orders of magnitude. A norm-wise stable
factorisation loses the small ones; reflections that take the largest column first keep each column
to its own precision [2]_. So columns are sorted before a factorisation.

.. [1] C. Bischof, C. Van Loan, "The WY representation for products of Householder matrices",
   SIAM J. Sci. Stat. Comput. 8, s2-s13 (1987).
.. [2] A. J. Cox, N. J. Higham, "Stability of Householder QR factorization for weighted least
   squares problems", Numerical Analysis 1997, Longman (1998), 57-73.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.tiles import _add_matmat, _row_sums
from vgcore.kernels.vectors import _exponent, _max_abs, _scale_exact, _sum_squares, _vecmat

# A sum of squares within these bounds lost nothing to underflow that counts.
_LOW, _HIGH = 2.0**-800, 2.0**800


@njit(cache=True, nogil=True, error_model="numpy")
def _sort_columns(F: Array, tops: Array, order: Integers) -> None:
    """Set order to the columns of F (m, P), largest first and else as they stand; tops (P,).

    Insertion takes N^2 / 4 moves, at N = 128 a hundredth of the time of the factorisation. Classes
    of 16 binary orders of magnitude were no faster and lost four digits.
    """
    tops[:] = 0.0
    for i in range(F.shape[0]):
        row = F[i]
        for c in range(tops.size):
            size = abs(row[c])
            tops[c] = size if size > tops[c] else tops[c]
    for c in range(tops.size):
        top, place = tops[c], c
        while place > 0 and tops[place - 1] < top:
            tops[place], order[place] = tops[place - 1], order[place - 1]
            place -= 1
        tops[place], order[place] = top, c


@njit(cache=True, nogil=True, error_model="numpy")
def _reflection(row: Array, pivot: int, v: Array) -> tuple[float, int]:
    """Find v with row[pivot:] (I - v^T v) = (d, 0 ... 0); return d as fraction 2**exponent.

    v is zero before the pivot, and all zero where row[pivot:] is.
    """
    for c in range(row.size):
        v[c] = row[c] if c >= pivot else 0.0
    exponent = 0
    squares = _sum_squares(v)
    if not _LOW <= squares <= _HIGH:
        exponent = _exponent(_max_abs(v))
        _scale_exact(v, -exponent)
        squares = _sum_squares(v)
        if squares == 0.0:
            return 0.0, 0
    norm = np.sqrt(squares)
    head = v[pivot]
    v[pivot] = head + np.copysign(norm, head)
    factor = 1.0 / np.sqrt(norm * abs(v[pivot]))
    for c in range(v.size):
        v[c] *= factor
    return -np.copysign(norm, head), exponent


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(
    F: Array,
    W: Array,
    products: Array,
    rest: Array,
    sums: Array,
    V: Array,
    WT: Array,
    diagonal: Array,
    exponents: Integers,
    pivots: Integers,
) -> int:
    """Factor the rows of F (m, P); return the number of reflections, which is the rank of F.

    Row i has its diagonal entry of L in column pivots[i], diagonal[i] 2**exponents[i]; the columns
    before hold the rest of L. A row that depends on those above it has none, and pivots[i] = -1.
    V (panels, B, P) and WT (panels, P, B) get V and the transpose of -W of each panel of B rows.
    Scratch: W (B, P), products (N, B), rest (P,), sums (B,).
    """
    m, width = F.shape
    size = V.shape[1]
    rank = row = 0
    while row < m:
        start, count = rank, 0
        V_panel, WT_panel = V[start // size], WT[start // size]
        V_panel[:] = 0.0
        while row < m and count < size:
            line, v = F[row], V_panel[count]
            if count > 0:
                _row_sums(W[:count], line, sums)
                _vecmat(sums, V_panel[:count], line, line)
            diagonal[row], exponents[row] = _reflection(line, rank, v)
            pivots[row] = rank if diagonal[row] != 0.0 else -1
            row += 1
            if diagonal[row - 1] == 0.0:
                continue
            _row_sums(V_panel[:count], v, sums)
            _vecmat(sums, W[:count], v, rest)
            w = W[count]
            for c in range(width):
                w[c] = -rest[c]
            count += 1
            rank += 1
        W[count:] = 0.0
        for i in range(size):
            for c in range(start, width):
                WT_panel[c, i] = W[i, c]
        if row < m:
            Y = products[: m - row]
            Y[:] = 0.0
            _add_matmat(F[row:, start:], WT_panel[start:], Y)
            _add_matmat(Y, V_panel[:, start:], F[row:, start:])
    return rank


@njit(cache=True, nogil=True, error_model="numpy")
def _apply(V: Array, WT: Array, rank: int, Z: Array, M: Array) -> None:
    """Replace the first `rank` rows of M (N, P) by those of Q' M, and spoil the others.

    Z (B, P) is scratch.
    """
    size = V.shape[1]
    for start in range(0, rank, size):
        V_panel, WT_panel = V[start // size], WT[start // size]
        stop = min(start + size, rank)
        rows = M.shape[0] if stop < rank else rank  # what lies below is not needed any more
        part = Z[: stop - start]
        part[:] = 0.0
        _add_matmat(WT_panel[start : M.shape[0], : stop - start].T, M[start:], part)
        _add_matmat(V_panel[: stop - start, start:rows].T, part, M[start:rows])
