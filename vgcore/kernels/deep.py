"""Gradient profile over the layers of a deep network, x_l = W_l s(x_{l-1}) + b_l, or x_{l-1} more.

Depth stands in the place of time, and everything else is as in `kernels.rnn`: several networks are
carried side by side, row r from entry r P on. A matrix is used once on each way, so both ways work
on its rows as they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vgcore._typing import Array, Integers
from vgcore.kernels.activate import _activate
from vgcore.kernels.columns import _matvec, _row_squares
from vgcore.kernels.gates import _all_logs, _squares
from vgcore.kernels.interleaved import CHUNK
from vgcore.kernels.jit import helper, kernel
from vgcore.kernels.layout import KEPT_BYTES, _pack_rows, evenly
from vgcore.kernels.scales import (
    _activate_at,
    _clear_padding,
    _copy,
    _meet_drive,
    _of_row,
    _rescale_state,
    _scaled_squares,
)
from vgcore.kernels.vectors import (
    BYTES,
    _fetch,
    _in_range,
    _scale_exact,
    _vecmat,
    aligned_zeros,
    padded,
)

# Up to so many vectors are carried side by side, and so many trajectories of a draw. The matrices
# of all layers of the draws should still be in the second cache (1 MiB where it was measured) on
# the way back: 16 units then take 0.7 of the time that a draw alone takes.
_VECTORS, _TRAJECTORIES, _MATRIX_BYTES = 16, 16, 2**19

# Matrices up to so many bytes are asked for ahead; larger ones lose by it.
_FETCH_BYTES = 2**13


class Layers(NamedTuple):
    """Several draws of L layers."""

    W: Array  # (draws, L, N, N)
    bias: Array  # (draws, L, N)
    activation: int
    near_zero: Array  # (2,): the slopes near zero, and far from it, or nan
    far: Array
    residual: bool


class DeepRows(NamedTuple):
    """Scratch for R rows side by side, K trajectories of each of D draws."""

    D: int
    matrix: Array  # (N, P): one with padding
    x: Array  # (R P,): the state, also the gradient; and so are the next three
    value: Array
    start: Array
    product: Array
    zeros: Array  # (P,)
    one: Array  # (P,)
    exponent: Integers  # (R,): of the state, or the gradient, now
    ignored: Array  # (R,)
    slopes: Array  # (T, R P): s' of what goes into layer L - T + j + 1
    squares: Array  # (3, T + 1, R), over 4**exponents: norms of gradients twice, and of s by layer
    exponents: Integers  # (3, T + 1, R)
    logs: Array  # (3, CHUNK, R)


def deep_side_by_side(
    n: int, dtype: np.dtype[Any], n_draws: int, n_trajectories: int, n_layers: int
) -> tuple[int, int]:
    """Return how many draws, and how many trajectories of each, are carried side by side."""
    width = padded(n, dtype) * dtype.itemsize // BYTES
    row = n_layers * width * BYTES
    K = evenly(n_trajectories, min(_TRAJECTORIES, max(1, KEPT_BYTES // row)))
    D = min(_VECTORS // (width * K), _MATRIX_BYTES // (n * row), KEPT_BYTES // (K * row))
    return evenly(n_draws, max(1, D)), K


def new_deep_rows(D: int, K: int, n: int, n_steps: int, dtype: np.dtype[Any]) -> DeepRows:
    """Scratch for K trajectories of each of D draws."""
    P, R = padded(n, dtype), D * K
    x, value, start, product = aligned_zeros((4, R * P), dtype)
    zeros, one = aligned_zeros((2, P), dtype)
    return DeepRows(
        D=D,
        matrix=aligned_zeros((n, P), dtype),
        x=x,
        value=value,
        start=start,
        product=product,
        zeros=zeros,
        one=one,
        exponent=np.zeros(R, np.int64),
        ignored=aligned_zeros(R, dtype),
        slopes=aligned_zeros((n_steps, R * P), dtype),
        squares=aligned_zeros((3, n_steps + 1, R), dtype),
        exponents=np.zeros((3, n_steps + 1, R), np.int64),
        logs=np.empty((3, CHUNK, R)),
    )


@helper(forceinline=True)
def _in_rows(W: Array, then: Array, matrix: Array) -> Array:
    """A layer's matrix in padded rows: as it is where it has no padding, else a copy.

    A small one `then` is needed next: each draw's lies elsewhere, too short to be foreseen.
    """
    if matrix.size * matrix.itemsize <= _FETCH_BYTES:
        _fetch(then)
    if W.shape[1] == matrix.shape[1]:
        return W
    _pack_rows(W, matrix, matrix.shape[1])
    return matrix


@helper(forceinline=True)
def _place(vectors: Array, draw: int, trajectory: int, rows: DeepRows, target: Array) -> None:
    """Copy the vector of each row, (draws or 1, trajectories or 1, N), to its place."""
    R, P = rows.exponent.size, rows.one.size
    K = R // rows.D
    for r in range(R):
        source = _of_row(vectors, draw + r // K, trajectory + r % K)
        _copy(source, target[r * P : (r + 1) * P])


@helper(forceinline=True)
def _multiply(layers: Layers, draw: int, layer: int, rows: DeepRows) -> None:
    """Set x = start + W value for each row."""
    P, K = rows.one.size, rows.exponent.size // rows.D
    for d in range(rows.D):
        W = layers.W[min(draw + d, len(layers.W) - 1)]
        matrix = _in_rows(W[layer], W[min(layer + 1, len(W) - 1)], rows.matrix)
        for r in range(d * K, (d + 1) * K):
            part = slice(r * P, (r + 1) * P)
            _matvec(matrix, rows.value[part], rows.start[part], rows.x[part])


@helper(forceinline=True)
def _multiply_back(layers: Layers, draw: int, layer: int, rows: DeepRows) -> None:
    """Set product = W^T x for each row."""
    P, K = rows.one.size, rows.exponent.size // rows.D
    for d in range(rows.D):
        W = layers.W[min(draw + d, len(layers.W) - 1)]
        matrix = _in_rows(W[layer], W[max(layer - 1, 0)], rows.matrix)
        for r in range(d * K, (d + 1) * K):
            part = slice(r * P, (r + 1) * P)
            _vecmat(rows.x[part], matrix, rows.zeros, rows.product[part])


@helper()
def _bring_in(layers: Layers, rows: DeepRows, squares: Array) -> bool:
    """Bring each state, of this square norm, into its range; return whether one has an exponent."""
    P, some = rows.one.size, False
    for r in range(squares.size):
        x, exponent = rows.x[r * P : (r + 1) * P], rows.exponent[r]
        if exponent > 0 or not _in_range(squares[r], x):
            rows.exponent[r] = _rescale_state(x, exponent, layers.near_zero, layers.far)
        some |= rows.exponent[r] != 0
    return some


@helper()
def _activate_each(layers: Layers, rows: DeepRows, slope: Array) -> None:
    """Set value and slope of each row at the scale of its own."""
    n, P = layers.bias.shape[2], rows.one.size
    for r in range(rows.exponent.size):
        part = slice(r * P, (r + 1) * P)
        _activate_at(
            layers.activation, layers.near_zero, layers.far, rows.x[part], rows.exponent[r], n,
            rows.one, rows.value[part], slope[part],
        )  # fmt: skip


@helper()
def _meet_biases(residual: bool, rows: DeepRows) -> None:
    """Bring each row and its bias, in `start`, to one scale."""
    P = rows.one.size
    for r in range(rows.exponent.size):
        part, before = slice(r * P, (r + 1) * P), rows.exponent[r]
        met = rows.x[part] if residual else rows.value[part]
        rows.exponent[r] = _meet_drive(met, before, rows.start[part])
        if residual and rows.exponent[r] != before:
            _scale_exact(rows.value[part], before)


@kernel()
def _deep_forward(layers: Layers, draw: int, n_steps: int, rows: DeepRows) -> None:
    """Run all L layers from 2**exponent x, and keep what the last n_steps of them need.

    The first row is of this draw. squares[2, j + 1] is that of s of what goes into layer
    L - T + j + 1; squares[2, 0] that of the layer before, 0 if there is none.
    """
    L, n = layers.bias.shape[1:]
    x, value, start = rows.x, rows.value, rows.start
    R, P = rows.exponent.size, rows.one.size
    padding = np.isnan(layers.near_zero[0])  # where s(0) is not 0
    _row_squares(x, P, rows.ignored)
    careful = _bring_in(layers, rows, rows.ignored)
    rows.squares[2, 0] = 0.0
    rows.exponents[2, 0] = 0
    for layer in range(L):
        j = max(layer + 1 - (L - n_steps), 0)
        slope, squares = rows.slopes[max(j - 1, 0)], rows.squares[2, j]
        if careful:
            _activate_each(layers, rows, slope)
        else:
            _activate(layers.activation, x, value, slope)
            if padding:
                _clear_padding(value, n, P)
        outside = _row_squares(value, P, squares) != 0
        for r in range(R):
            rows.exponents[2, j, r] = rows.exponent[r]
            if outside:
                squares[r], rows.exponents[2, j, r] = _squares(
                    value[r * P : (r + 1) * P], rows.exponent[r], rows.one
                )
        _place(layers.bias[:, layer : layer + 1], draw, 0, rows, start)
        if careful:
            _meet_biases(layers.residual, rows)
        if layers.residual:
            for i in range(x.size):
                start[i] += x[i]
        _multiply(layers, draw, layer, rows)
        if _row_squares(x, P, rows.ignored) != 0 or careful:
            careful = _bring_in(layers, rows, rows.ignored)


@helper()
def _deep_backward(layers: Layers, draw: int, rows: DeepRows) -> None:
    """Carry the gradients in x back over T layers, and note their square norms."""
    L, T, P = layers.bias.shape[1], len(rows.slopes), rows.one.size
    delta, product = rows.x, rows.product
    rows.exponent[:] = 0
    for lag in range(T + 1):
        squares = rows.squares[0, lag]
        if lag > 0:
            _multiply_back(layers, draw, L - lag, rows)
            slope = rows.slopes[T - lag]
            if layers.residual:
                for i in range(delta.size):
                    delta[i] += slope[i] * product[i]
            else:
                for i in range(delta.size):
                    delta[i] = slope[i] * product[i]
        outside = _row_squares(delta, P, squares) != 0
        for r in range(squares.size):
            if outside:
                squares[r], rows.exponent[r] = _scaled_squares(
                    delta[r * P : (r + 1) * P], rows.exponent[r]
                )
            rows.squares[1, lag, r] = squares[r]
            rows.exponents[0, lag, r] = rows.exponents[1, lag, r] = rows.exponent[r]


@kernel()
def _deep_jacobian(W: Array, residual: bool, slope: Array, out: Array) -> None:
    """Set out (N, N or more) to the transposed Jacobian of a layer W (N, N)."""
    n = W.shape[0]
    out[:] = 0.0
    for r in range(n):
        for i in range(n):
            out[i, r] = slope[i] * W[r, i]
        if residual:
            out[r, r] += 1.0


@kernel()
def _deep_batch(
    layers: Layers,
    initial_state: Array,
    loss_gradient: Array,
    rows: DeepRows,
    out_log_norm: Array,
    out_log_contribution: Array,
) -> None:
    """Profiles of several draws: out (draws, trajectories, T + 1).

    initial_state and loss_gradient are (draws or 1, trajectories or 1, N).
    """
    n_draws, n_trajectories, size = out_log_norm.shape
    K = rows.exponent.size // rows.D
    for draw in range(0, n_draws, rows.D):
        for trajectory in range(0, n_trajectories, K):
            _place(initial_state, draw, trajectory, rows, rows.x)
            rows.exponent[:] = 0
            _deep_forward(layers, draw, size - 1, rows)
            _place(loss_gradient, draw, trajectory, rows, rows.x)
            _deep_backward(layers, draw, rows)
            _all_logs(
                rows.squares, rows.exponents, rows.logs, rows.D, K, draw, trajectory, out_log_norm,
                out_log_contribution,
            )  # fmt: skip
