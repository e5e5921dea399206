"""Training of the LSTM; see `kernels.training` for the layout and `kernels.lstm` for the cell.

The gates are held in the order i, f, o, g, those of all sequences of a batch one gate after the
other.
"""

from __future__ import annotations

from vgcore._typing import Array
from vgcore.kernels.gates import _sigmoids, _tanhs
from vgcore.kernels.jit import helper
from vgcore.kernels.lstm import _give_out, _take_up, _to_gates
from vgcore.kernels.scales import _copy
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

KEPT, ROWS = 6, 16  # for `new_workspace`


@helper()
def _lstm_forward(sizes: Sizes, length: int, B: int, work: Workspace) -> None:
    """Run the net: h to z, and keep what the way back multiplies by."""
    P = work.z.shape[1] // work.inputs.shape[1]
    size, rows = B * P, work.rows.reshape(work.rows.size)
    gates, values, slopes = rows[: 4 * size], rows[4 * size : 8 * size], rows[8 * size : 12 * size]
    tanh, state = rows[12 * size : 14 * size], rows[14 * size : 16 * size]
    state[:] = 0.0
    work.z[0] = 0.0
    _join_inputs(sizes, 0, length, B, work.inputs, work.z[0][:size])
    for t in range(1, length + 1):
        before, keep = work.z[t - 1][:size].reshape(B, P), work.keep[t][: 6 * size]
        for g in range(4):
            gate = gates[g * size : (g + 1) * size].reshape(B, P)
            _matmat(before, work.forward[g], gate)
        _sigmoids(gates[: 3 * size], values[: 3 * size], slopes[: 3 * size])
        _tanhs(gates[3 * size :], values[3 * size :], slopes[3 * size :])
        _take_up(values, slopes, state, keep)
        _tanhs(state[size:], tanh[:size], tanh[size:])
        _give_out(values, slopes, tanh, state, keep)
        _copy(state[:size], work.z[t])
        _join_inputs(sizes, t, length, B, work.inputs, work.z[t][:size])


@helper()
def _lstm_backward(
    sizes: Sizes, truncation: int, length: int, B: int, parameters: Array, work: Workspace
) -> None:
    """Set the gradient from the derivatives by the outputs."""
    _readout_gradient(sizes, length, B, work)
    theta, readout = _split(sizes, parameters)
    gradient, _ = _split(sizes, work.gradient)
    P, n = theta.shape[2], sizes.n
    size, rows = B * P, work.rows.reshape(work.rows.size)
    gates, delta = rows[: 4 * size], rows[4 * size : 6 * size]
    delta[:] = 0.0
    dh = delta[:size].reshape(B, P)
    for t in range(length, 0, -1):
        _add_loss(sizes, t, length, B, readout, work, dh)
        _to_gates(delta, work.keep[t][: 6 * size], gates)
        detached = (length - t + 1) % truncation == 0
        if detached:
            delta[:] = 0.0
        before = work.z[t - 1][:size].reshape(B, P)
        for g in range(4):
            gate = gates[g * size : (g + 1) * size].reshape(B, P)[:, :n]
            _add_matmat(gate.T, before, gradient[g])
            if not detached and g == 0:
                _matmat(gates[:size].reshape(B, P), theta[0], dh)
            elif not detached:
                _add_matmat(gate, theta[g], dh)
