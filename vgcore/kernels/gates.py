"""What the kernels of the cells share: packed weights, activations, scales and logarithms.

A cell with G gates has W (G N, N), the gates one above the other. It is packed in two
forms: `forward`, so that one product gives all gates, and `backward`. What the gradient is
multiplied by on its way back through a step is a row of `keep`. P is N padded to whole vectors,
T is n_steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vgcore._typing import Array, Integers
from vgcore.activations import ACTIVATIONS
from vgcore.kernels.columns import _row_squares, gate_zeros
from vgcore.kernels.elementary import _log
from vgcore.kernels.interleaved import CHUNK, _spread_all
from vgcore.kernels.jit import _apart, helper, kernel
from vgcore.kernels.layout import Needs
from vgcore.kernels.scales import (
    LN2,
    _copy,
    _near,
    _scaled_squares,
)
from vgcore.kernels.vectors import (
    BYTES,
    _exponent,
    _in_range,
    _max_abs,
    _scale_exact,
    _sum_squares,
    _turn,
    aligned_zeros,
    padded,
)

_sigmoid = helper(cache=False, forceinline=True)(ACTIVATIONS["sigmoid"].function)
_tanh = helper(cache=False, forceinline=True)(ACTIVATIONS["tanh"].function)


@helper(forceinline=True)
def _sigmoids(x: Array, value: Array, slope: Array) -> None:
    """Set value = sigmoid(x) and slope to its derivative."""
    for j in range(x.size):
        value[j], slope[j] = _sigmoid(x[j])


@helper(forceinline=True)
def _tanhs(x: Array, value: Array, slope: Array) -> None:
    """Set value = tanh(x) and slope to its derivative."""
    for j in range(x.size):
        value[j], slope[j] = _tanh(x[j])


class GateRows(NamedTuple):
    """Scratch for R rows side by side, of a cell with G gates and a state of S vectors.

    The parts of rows in a 1-D array are one after another, each with all rows: (parts, R, P).
    """

    W: Array  # W^T of D draws, packed as `gate_zeros`
    W_in: Array
    input_bias: Array  # (G R P,), and so is the next, which not every cell has
    bias: Array
    state: Array  # (S R P,), also the gradient of it
    vectors: Array  # (parts R P,)
    now: Array  # (R n_inputs,): the inputs
    keep: Array  # (T + 1, parts R P): what the backward pass needs, the step to burn_in + j at j
    squares: Array  # (3, T + 1, R), over 4**exponents: norms of gradients, gradients of gates, h
    exponents: Integers  # (3, T + 1, R)
    exponent: Integers  # (R,): of the state now
    sizes: Integers  # N and P
    logs: Array  # (3, CHUNK, R)


def new_gate_rows(
    D: int,
    K: int,
    n: int,
    n_inputs: int,
    n_steps: int,
    dtype: np.dtype[Any],
    needs: Needs,
) -> GateRows:
    """Scratch for K trajectories of each of D draws."""
    P, R, gates = padded(n, dtype), D * K, needs.matrices
    input_bias, bias = aligned_zeros((2, gates * R * P), dtype)
    return GateRows(
        W=gate_zeros(D, gates, P, P, dtype),
        W_in=gate_zeros(D, gates, n_inputs, P, dtype),
        input_bias=input_bias,
        bias=bias,
        state=aligned_zeros(needs.states * R * P, dtype),
        vectors=aligned_zeros(needs.vectors * R * P, dtype),
        now=aligned_zeros(R * n_inputs, dtype),
        keep=aligned_zeros((n_steps + 1, needs.kept * R * P), dtype),
        squares=aligned_zeros((3, n_steps + 1, R), dtype),
        exponents=np.zeros((3, n_steps + 1, R), np.int64),
        exponent=np.zeros(R, np.int64),
        sizes=np.array([n, P]),
        logs=np.empty((3, CHUNK, R)),
    )


@kernel()
def _pack_gates(W: Array, order: Integers, out: Array) -> None:
    """Pack the transposes of the gates of W (G N, m), in this order, as one of `gate_zeros`.

    What is padding in out stays as it is.
    """
    gates, lanes = order.size, BYTES // out.itemsize
    n, columns = W.shape[0] // gates, out.shape[1] // (gates * lanes)
    panels = -(-n // (columns * lanes))
    lines = out.shape[0] // panels
    for g in range(gates):
        for first in range(0, n, lanes):
            panel, column = first // lanes // columns, first // lanes % columns
            place = (column * gates + g) * lanes
            if first + lanes <= n:
                _turn(W, order[g] * n + first, 0, W.shape[1], out, panel * lines, 1, place)
            else:
                for lane in range(n - first):
                    row = W[order[g] * n + first + lane]
                    for i in range(row.size):
                        out[panel * lines + i, place + lane] = row[i]


@kernel()
def _place(vector: Array, order: Integers, r: int, P: int, out: Array) -> None:
    """Set row r of out, (parts, R, P), to the parts of a vector (parts N,), in this order."""
    n, plane = vector.size // order.size, out.size // order.size
    for g in range(order.size):
        row = out[g * plane + r * P : g * plane + (r + 1) * P]
        row[:] = 0.0
        for j in range(n):
            row[j] = vector[order[g] * n + j]


@helper()
def _place_rows(
    vectors: Array, draw: int, trajectory: int, K: int, order: Integers, P: int, out: Array
) -> None:
    """Set the rows of out to vectors (draws or 1, trajectories or 1, parts N) from this one on."""
    for r in range(out.size // (order.size * P)):
        d, k = min(draw + r // K, len(vectors) - 1), min(trajectory + r % K, vectors.shape[1] - 1)
        _place(vectors[d, k], order, r, P, out)


@helper()
def _input_now(inputs: Array, draw: int, trajectory: int, t: int, K: int, now: Array) -> None:
    """Set now (R n_inputs,) to the inputs of rows, of which the first is this one."""
    n_inputs = inputs.shape[3]
    for place in range(now.size):
        r = place // n_inputs
        now[place] = inputs[
            min(draw + r // K, inputs.shape[0] - 1),
            min(trajectory + r % K, inputs.shape[1] - 1),
            min(t, inputs.shape[2] - 1),
            place % n_inputs,
        ]


@helper()
def _scale_row(x: Array, r: int, R: int, P: int, exponent: int) -> None:
    """Multiply row r of x (parts, R, P) by 2**exponent."""
    for first in range(r * P, x.size, R * P):
        _scale_exact(x[first : first + P], exponent)


@helper()
def _largest(x: Array, r: int, R: int, P: int) -> float:
    """Return the largest modulus in row r of x (parts, R, P)."""
    largest = 0.0
    for first in range(r * P, x.size, R * P):
        largest = max(largest, float(_max_abs(x[first : first + P])))
    return largest


@helper()
def _bring_in(x: Array, P: int, exponents: Integers, squares: Array) -> None:
    """Scale the rows of 2**exponents x whose square norm is out of range; 0 has the exponent 0."""
    _apart()
    R = squares.size
    for r in range(R):
        if not _in_range(squares[r], x):
            largest = _largest(x, r, R, P)
            power = -_exponent(largest) if largest > 0.0 else exponents[r]
            _scale_row(x, r, R, P, power)
            exponents[r] -= power
    _row_squares(x, P, squares)


@helper(forceinline=True)
def _measure(
    x: Array, P: int, exponent: Integers, scratch: Array, exponents: Integers, squares: Array
) -> bool:
    """Set squares 4**exponents to the square norms of the rows of 2**exponent x, x as it is.

    Returns whether one was out of range.
    """
    for r in range(exponent.size):
        exponents[r] = exponent[r]
    if _row_squares(x, P, squares) == 0:
        return False
    _bring_in_copy(x, P, scratch, exponents, squares)
    return True


@helper()
def _bring_in_copy(x: Array, P: int, scratch: Array, exponents: Integers, squares: Array) -> None:
    """As `_bring_in`, but x stays as it is."""
    _apart()
    _copy(x, scratch)
    _bring_in(scratch, P, exponents, squares)


@helper()
def _settle(
    state: Array, P: int, measured: Integers, drive: Array, bias: Array, exponent: Integers
) -> bool:
    """Choose the power of two of each row of 2**exponent state; return whether one is not 0.

    Where nothing drives a row and it is so small that tanh is linear, its largest entry is put
    in [1, 2), so that it never underflows; else the exponent is 0. drive and bias (R P,) are those
    of the candidate. A row in range, as `measured` tells, stays.
    """
    R, some, (near, _) = exponent.size, False, _near(state)
    for r in range(R):
        if measured[r] != exponent[r] or exponent[r] != 0:
            largest, power = _largest(state, r, R, P), exponent[r]
            driven = _largest(drive, r, R, P) != 0.0 or _largest(bias, r, R, P) != 0.0
            if not driven and largest != 0.0 and power + _exponent(largest) < near:
                power = -_exponent(largest)
            _scale_row(state, r, R, P, power)
            exponent[r] -= power
        some |= exponent[r] != 0
    return some


@helper()
def _start(drive: Array, P: int, exponent: Integers, start: Array) -> None:
    """Set start to the drive, or to 0 in rows with an exponent."""
    for first in range(0, start.size, P):
        scaled = exponent[first // P % exponent.size] != 0
        for j in range(first, first + P):
            start[j] = 0.0 if scaled else drive[j]


@helper()
def _add_scaled(drive: Array, P: int, exponent: Integers, x: Array) -> None:
    """Set rows of x with an exponent to drive + 2**exponent x."""
    for first in range(0, x.size, P):
        e = exponent[first // P % exponent.size]
        if e != 0:
            factor = x.dtype.type(np.ldexp(1.0, max(e, -1100)))
            for j in range(first, first + P):
                x[j] = drive[j] + factor * x[j]


@helper()
def _straighten(x: Array, P: int, exponent: Integers, value: Array, slope: Array) -> None:
    """Set value and slope to x and 1 in rows with an exponent: they are where tanh is linear."""
    for r in range(exponent.size):
        if exponent[r] != 0:
            for j in range(r * P, (r + 1) * P):
                value[j], slope[j] = x[j], 1.0


@helper()
def _scale_rows(x: Array, P: int, exponent: Integers) -> None:
    """Multiply each row of x by 2**exponent."""
    for r in range(exponent.size):
        if exponent[r] != 0:
            _scale_row(x, r, exponent.size, P, exponent[r])


@helper()
def _all_logs(
    squares: Array,
    exponents: Integers,
    logs: Array,
    D: int,
    K: int,
    draw: int,
    trajectory: int,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Take the logarithms of norms and of contributions: K trajectories of D draws, from these on.

    squares and exponents (3, T + 1, R) are as in `GateRows`, logs (3, CHUNK, R) is scratch. Rows
    beyond the last draw or trajectory are left out.
    """
    n_lags = out_log_norm.shape[2]
    for first in range(0, n_lags, CHUNK):
        count = min(CHUNK, n_lags - first)
        norms, terms = logs[0][:count], logs[1][:count]
        _take_logs(squares, exponents, first, norms, terms, logs[2][:count])
        _spread_all(norms, D, K, first, draw, trajectory, out_log_norm)
        _spread_all(terms, D, K, first, draw, trajectory, out_log_contribution)


@helper()
def _take_logs(
    squares: Array, exponents: Integers, first: int, norms: Array, terms: Array, products: Array
) -> None:
    """Set norms and terms to the logarithms of all rows from the lag `first` on."""
    last, count, size = squares.shape[1] - 1, len(norms), norms.size
    for i in range(count):
        to_gates, past, product = squares[1, first + i], squares[2, last - first - i], products[i]
        for r in range(product.size):  # in float64: it may leave the range of float32
            product[r] = np.float64(to_gates[r]) * np.float64(past[r])
    _log(squares[0, first : first + count].reshape(size), norms.reshape(size))
    _log(products.reshape(size), terms.reshape(size))
    for i in range(count):
        to_gates, past = exponents[1, first + i], exponents[2, last - first - i]
        exponent, line, term = exponents[0, first + i], norms[i], terms[i]
        for r in range(line.size):
            line[r] = 0.5 * line[r] + LN2 * exponent[r]
            term[r] = 0.5 * term[r] + LN2 * (to_gates[r] + past[r])


@helper(forceinline=True)
def _squares(x: Array, exponent: int, scratch: Array) -> tuple[float, int]:
    """As `_scaled_squares`, but x stays as it is; scratch is of its size."""
    square = _sum_squares(x)
    if not _in_range(square, x):
        _copy(x, scratch)
        square, exponent = _scaled_squares(scratch, exponent)
    return square, exponent
