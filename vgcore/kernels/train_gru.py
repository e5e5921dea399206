"""Training of the GRU; see `kernels.training` for the layout and `kernels.gru` for the cell.

A row z_t has two ones, the first for b_h and the second for b_i: for the gate n the part up to the
first is what the reset gate multiplies, and what is behind it the input's. The gates are held in
the order r, z, n, those of all sequences of a batch one gate after the other.
"""

from __future__ import annotations

from typing import Any

from vgcore._typing import Array
from vgcore.kernels.columns import _columnwise, _fma
from vgcore.kernels.gates import _sigmoids, _tanhs
from vgcore.kernels.jit import helper
from vgcore.kernels.tiles import _add_matmat
from vgcore.kernels.training import (
    Sizes,
    Workspace,
    _add_loss,
    _join_inputs,
    _readout_gradient,
    _split,
)
from vgcore.kernels.vectors import _matmat

KEPT, ROWS = 5, 13  # for `new_workspace`


@_columnwise(2, 1, 1, 1)
def _reset(rz: Any, own: Any, drive: Any, candidate: Any) -> None:
    """Set what n is the tanh of."""
    candidate[0] = _fma(rz[0], own[0], drive[0])


@_columnwise(2, 2, 1, 2, 1, 1, 5)
def _mix(rz: Any, slopes: Any, own: Any, tanh: Any, before: Any, after: Any, keep: Any) -> None:
    """Set h, and keep what dh multiplies by on its way to r, z, both parts of n, and h before."""
    r, z = rz
    n, slope = tanh
    h = before[0]
    to_n = (1.0 - z) * slope
    keep[:] = [to_n * own[0] * slopes[0], (h - n) * slopes[1], to_n * r, to_n, z]
    after[0] = _fma(z, h - n, n)


@_columnwise(1, 5, 4)
def _to_gates(delta: Any, keep: Any, gates: Any) -> None:
    """Take the gradient of h to that of the gates, and of the h before where it bypasses them."""
    h = delta[0]
    to_r, to_z, to_own, to_drive, z = keep
    gates[:] = [h * to_r, h * to_z, h * to_own, h * to_drive]
    delta[0] = h * z


@helper()
def _gru_forward(sizes: Sizes, length: int, B: int, work: Workspace) -> None:
    """Run the net: h to z, and keep what the way back multiplies by."""
    P, n = work.z.shape[1] // work.inputs.shape[1], sizes.n
    size, rows = B * P, work.rows.reshape(work.rows.size)
    gates, values, slopes = rows[: 2 * size], rows[2 * size : 4 * size], rows[4 * size : 6 * size]
    own, drive = rows[6 * size : 7 * size], rows[7 * size : 8 * size]
    candidate, tanh = rows[8 * size : 9 * size], rows[9 * size : 11 * size]
    K, last = work.forward.shape[1], work.forward[2]
    work.z[0] = 0.0
    _join_inputs(sizes, 0, length, B, work.inputs, work.z[0][:size])
    for t in range(1, length + 1):
        flat, keep = work.z[t - 1][:size], work.keep[t][: 5 * size]
        before = flat.reshape(B, P)
        _matmat(before, work.forward[0], gates[:size].reshape(B, P))
        _matmat(before, work.forward[1], gates[size:].reshape(B, P))
        _matmat(before, last[: n + 1], own.reshape(B, P))
        drive[:] = 0.0
        _add_matmat(before[:, n + 1 : K], last[n + 1 :], drive.reshape(B, P))
        _sigmoids(gates, values, slopes)
        _reset(values, own, drive, candidate)
        _tanhs(candidate, tanh[:size], tanh[size:])
        _mix(values, slopes, own, tanh, flat, work.z[t][:size], keep)
        _join_inputs(sizes, t, length, B, work.inputs, work.z[t][:size])


@helper()
def _gru_backward(
    sizes: Sizes, truncation: int, length: int, B: int, parameters: Array, work: Workspace
) -> None:
    """Set the gradient from the derivatives by the outputs."""
    _readout_gradient(sizes, length, B, work)
    theta, readout = _split(sizes, parameters)
    gradient, _ = _split(sizes, work.gradient)
    P, n = theta.shape[2], sizes.n
    size, rows = B * P, work.rows.reshape(work.rows.size)
    gates, delta = rows[: 4 * size], rows[4 * size : 5 * size]
    delta[:] = 0.0
    by_drive = work.extra[0]
    by_drive[:] = 0.0
    dh = delta.reshape(B, P)
    for t in range(length, 0, -1):
        _add_loss(sizes, t, length, B, readout, work, dh)
        _to_gates(delta, work.keep[t][: 5 * size], gates)
        detached = (length - t + 1) % truncation == 0
        if detached:
            delta[:] = 0.0
        before = work.z[t - 1][:size].reshape(B, P)
        for g in range(3):
            gate = gates[g * size : (g + 1) * size].reshape(B, P)[:, :n]
            _add_matmat(gate.T, before, gradient[g])
            if not detached:
                _add_matmat(gate, theta[g], dh)
        _add_matmat(gates[3 * size :].reshape(B, P)[:, :n].T, before, by_drive)
    for i in range(n):
        for j in range(n + 1, P):
            gradient[2, i, j] = by_drive[i, j]
