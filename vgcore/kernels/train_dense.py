"""Training of vanilla and leaky units, h_t = (1 - a) h_{t-1} + a s(W h_{t-1} + W_in u_t + b).

With a = 1 this is the vanilla network, whose state x_t is the argument of s; see
`kernels.training` for the layout.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vgcore._typing import Array
from vgcore.kernels.activate import _activate
from vgcore.kernels.columns import _columnwise
from vgcore.kernels.jit import helper
from vgcore.kernels.penalties import OMEGA, OMEGA_SQUARED
from vgcore.kernels.scales import _copy, _scaled_squares
from vgcore.kernels.tiles import _add_matmat
from vgcore.kernels.training import (
    Rules,
    Sizes,
    Units,
    Workspace,
    _add_loss,
    _join_inputs,
    _readout_gradient,
    _split,
)
from vgcore.kernels.vectors import _matmat

KEPT, ROWS = 1, 5  # vectors kept a step, rows for one: for `new_workspace`

_BOUND = 1e-20  # of ||dE/dx||^2, below which the squared form of Omega leaves a step out


@_columnwise(1, 1, 1)
def _multiply(x: Any, y: Any, out: Any) -> None:
    """Set out = x y."""
    out[0] = x[0] * y[0]


@helper()
def _dense_forward(units: Units, sizes: Sizes, length: int, B: int, work: Workspace) -> None:
    """Run the net: activities to z, their slopes to keep."""
    P = work.z.shape[1] // work.inputs.shape[1]
    size, leak = B * P, work.z.dtype.type(units.leak)
    x, z = work.rows[0][:size], work.z[0][:size]
    x[:] = 0.0
    _activate(units.activation, x, z, work.keep[0][:size])
    if units.starts_at_zero:
        z[:] = 0.0
    _join_inputs(sizes, 0, length, B, work.inputs, z)
    for t in range(1, length + 1):
        before, z, slope = work.z[t - 1][:size], work.z[t][:size], work.keep[t][:size]
        _matmat(before.reshape(B, P), work.forward[0], x.reshape(B, P))
        _activate(units.activation, x, z, slope)
        if units.leak != 1.0:
            for j in range(size):
                z[j] = before[j] + leak * (z[j] - before[j])
                slope[j] *= leak
        _join_inputs(sizes, t, length, B, work.inputs, z)


@helper()
def _omega_rows(squared: bool, n: int, d: Array, y: Array, slope: Array, factor: float) -> None:
    """Make of d = delta_t and y = W^T d, of a sequence, the factors of a term of Omega's gradient.

    With y' = s' y and r = ||y'|| / ||d|| that is a number times d (s' y')^T / (||d|| ||y'||).
    """
    for j in range(n):
        y[j] *= slope[j]
    for j in range(n, y.size):
        d[j] = y[j] = 0.0
    d_square, d_exponent = _scaled_squares(d, 0)
    y_square, y_exponent = _scaled_squares(y, 0)
    dropped = squared and np.ldexp(d_square, 2 * d_exponent) < _BOUND
    if dropped or d_square == 0.0 or y_square == 0.0:
        y[:] = 0.0
        return
    d_norm, y_norm = np.sqrt(float(d_square)), np.sqrt(float(y_square))
    ratio = np.ldexp(y_norm / d_norm, y_exponent - d_exponent)
    number = 4.0 * (ratio * ratio - 1.0) * ratio if squared else 2.0 * (ratio - 1.0)
    to_d = d.dtype.type(1.0 / d_norm)
    to_y = d.dtype.type(factor * number / y_norm)
    for j in range(n):
        d[j] *= to_d
        y[j] = to_y * (slope[j] * y[j])


@helper()
def _add_omega(
    rules: Rules, draw: int, n: int, B: int, slope: Array, rows: Array, gradient: Array
) -> None:
    """Add the term of one step, the mean over sequences. rows: dh (B P,), then delta."""
    P = gradient.shape[1]
    size = B * P
    y, d = rows[3][:size], rows[4][:size]
    _copy(rows[1][:size], y)
    _copy(rows[2][:size], d)
    for b in range(B):
        part = slice(b * P, (b + 1) * P)
        factor = rules.strength[draw] / B
        squared = rules.penalty == OMEGA_SQUARED
        _omega_rows(squared, n, d[part], y[part], slope[part], factor)
    _add_matmat(d.reshape(B, P)[:, :n].T, y.reshape(B, P), gradient)


@helper()
def _dense_backward(
    units: Units,
    sizes: Sizes,
    rules: Rules,
    draw: int,
    length: int,
    B: int,
    parameters: Array,
    work: Workspace,
) -> None:
    """Set the gradient from the derivatives by the outputs."""
    _readout_gradient(sizes, length, B, work)
    thetas, readout = _split(sizes, parameters)
    gradients, _ = _split(sizes, work.gradient)
    theta, gradient, P, n = thetas[0], gradients[0], thetas.shape[2], sizes.n
    size, rest = B * P, theta.dtype.type(1.0 - units.leak)
    dh, delta = work.rows[1][:size], work.rows[2][:size]
    dh_rows, delta_rows = dh.reshape(B, P), delta.reshape(B, P)
    omega = rules.penalty == OMEGA or rules.penalty == OMEGA_SQUARED
    dh[:] = 0.0
    for t in range(length, 0, -1):
        _add_loss(sizes, t, length, B, readout, work, dh_rows)
        _multiply(dh, work.keep[t][:size], delta)
        _add_matmat(delta_rows[:, :n].T, work.z[t - 1][:size].reshape(B, P), gradient)
        if (length - t + 1) % rules.truncation == 0:
            dh[:] = 0.0
        elif units.leak == 1.0:
            _matmat(delta_rows, theta, dh_rows)
            if omega:
                _add_omega(rules, draw, n, B, work.keep[t - 1][:size], work.rows, gradient)
        else:
            for j in range(size):
                dh[j] *= rest
            _add_matmat(delta_rows[:, :n], theta, dh_rows)
