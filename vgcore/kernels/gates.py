"""What the kernels of the cells share: packed weights, activations, scales and logarithms.

A cell with G gates has W (G N, N), the gates one above the other. It is packed in two
forms: `forward`, so that one product gives all gates, and `backward`. What the gradient is
multiplied by on its way back through a step is a row of `keep`. P is N padded to whole vectors,
T is n_steps.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vgcore._typing import Array, Integers
from vgcore.activations import ACTIVATIONS
from vgcore.kernels.elementary import _log
from vgcore.kernels.rnn import (
    _NEAR,
    LN2,
    _scaled_squares,
)
from vgcore.kernels.vectors import (
    _exponent,
    _in_range,
    _max_abs,
    _normalise,
    _scale_exact,
    _sum_squares,
)

_sigmoid = njit(nogil=True, error_model="numpy", forceinline=True)(ACTIVATIONS["sigmoid"].function)
_tanh = njit(nogil=True, error_model="numpy", forceinline=True)(ACTIVATIONS["tanh"].function)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _sigmoids(x: Array, value: Array, slope: Array) -> None:
    """Set value = sigmoid(x) and slope to its derivative."""
    for j in range(x.size):
        value[j], slope[j] = _sigmoid(x[j])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _tanhs(x: Array, linear: bool, value: Array, slope: Array) -> None:
    """Set value = tanh(x) and slope to its derivative; or x and 1, for so small an x."""
    if linear:
        for j in range(x.size):
            value[j], slope[j] = x[j], 1.0
    else:
        for j in range(x.size):
            value[j], slope[j] = _tanh(x[j])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _settle(state: Array, exponent: int, driven: bool) -> int:
    """Choose the power of two of the state 2**exponent x, scale x to it and return it.

    Where nothing drives the state and it is so small that tanh is linear, its largest entry is put
    in [1, 2), so that it never underflows; else the exponent is 0.
    """
    largest = _max_abs(state)
    if not driven and largest != 0.0 and exponent + _exponent(largest) < _NEAR:
        return exponent + _normalise(state)
    _scale_exact(state, exponent)
    return 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _add_scaled(drive: Array, exponent: int, x: Array) -> None:
    """Set x to drive + 2**exponent x."""
    factor = x.dtype.type(np.ldexp(1.0, max(exponent, -1100)))
    for j in range(x.size):
        x[j] = drive[j] + factor * x[j]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _pack_forward(W: Array, order: Integers, P: int, out: Array) -> None:
    """Set out to the transposes of the gates of W (G N, m), in this order, P columns for each.

    out is packed as `to_gates_zeros`, or (m, G P); what is padding in it stays as it is.
    """
    n, size = W.shape[0] // order.size, out.shape[1]
    for g in range(order.size):
        for j in range(n):
            row, panel, column = W[order[g] * n + j], (g * P + j) // size, (g * P + j) % size
            for i in range(row.size):
                out[panel * row.size + i, column] = row[i]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _pack_backward(W: Array, order: Integers, out: Array) -> None:
    """Set out, packed as `from_gates_zeros`, to the gates of W (G N, N), in this order."""
    gates, n, size = order.size, W.shape[0] // order.size, out.shape[1]
    for g in range(gates):
        for i in range(n):
            row = W[order[g] * n + i]
            for panel in range((row.size + size - 1) // size):
                target, first = out[(panel * n + i) * gates + g], panel * size
                for c in range(min(size, row.size - first)):
                    target[c] = row[first + c]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _pack_parts(vector: Array, order: Integers, out: Array) -> None:
    """Set out (G P,) to the G parts of a vector (G N,), taken in this order and padded."""
    n, stride = vector.size // order.size, out.size // order.size
    out[:] = 0.0
    for g in range(order.size):
        for j in range(n):
            out[g * stride + j] = vector[order[g] * n + j]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _squares(x: Array, exponent: int, scratch: Array) -> tuple[float, int]:
    """As `_scaled_squares`, but x stays as it is; scratch is of its size."""
    square = _sum_squares(x)
    if not _in_range(square, x):
        for j in range(x.size):
            scratch[j] = x[j]
        square, exponent = _scaled_squares(scratch, exponent)
    return square, exponent


@njit(cache=True, nogil=True, error_model="numpy")
def _logs(
    squares: Array,
    exponents: Integers,
    activity: Array,
    activity_exponent: Integers,
    logs: Array,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Take the logarithms of one row of gradients and activities; logs (T + 1,) is scratch."""
    last = squares.size - 1
    _log(squares, out_log_norm)
    _log(activity, logs)
    for lag in range(last + 1):
        out_log_norm[lag] = 0.5 * out_log_norm[lag] + LN2 * exponents[lag]
        j = last - lag
        out_log_contribution[lag] = out_log_norm[lag] + 0.5 * logs[j] + LN2 * activity_exponent[j]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _gate_logs(squares: Array, exponents: Integers, logs: Array, out: Array, out_c: Array) -> None:
    """Logs of norms and of contributions.

    Rows of squares (3, T + 1) and exponents (3, T + 1): of the gradient at each lag, of what it is
    at the gates, and of the h that W meets there, first step first. logs (2, T + 1) is scratch.
    """
    last = out.size - 1
    _log(squares[0], out)
    _log(squares[1], logs[0])
    _log(squares[2], logs[1])
    for lag in range(last + 1):
        j = last - lag
        out[lag] = 0.5 * out[lag] + LN2 * exponents[0, lag]
        out_c[lag] = 0.5 * (logs[0, lag] + logs[1, j]) + LN2 * (exponents[1, lag] + exponents[2, j])
