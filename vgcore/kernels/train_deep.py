"""Training of deep nets, x_l = W_l s(x_{l-1}) + b_l, or x_{l-1} more: depth in the place of time.

The layout is that of `kernels.training` with a theta for each layer, z_l = (s(x_l), 1, 0 ...). The
one step of a sequence is x_0, so a batch has no inputs of its own on the way.
"""

from __future__ import annotations

from vgcore._typing import Array
from vgcore.kernels.activate import _activate
from vgcore.kernels.jit import helper
from vgcore.kernels.scales import _copy
from vgcore.kernels.tiles import _add_matmat
from vgcore.kernels.training import (
    Sizes,
    Units,
    Workspace,
    _add_loss,
    _join_inputs,
    _readout_gradient,
    _split,
)
from vgcore.kernels.vectors import _matmat

KEPT, ROWS = 1, 2  # for `new_workspace`


@helper()
def _deep_net_forward(units: Units, sizes: Sizes, B: int, work: Workspace) -> None:
    """Run all layers: activities to z, their slopes to keep."""
    P, n = work.z.shape[1] // work.inputs.shape[1], sizes.n
    size = B * P
    x, product = work.rows[0][:size], work.rows[1][:size]
    x[:] = 0.0
    for b in range(B):
        for i in range(n):
            x[b * P + i] = work.inputs[0, b, i]
    for layer in range(sizes.gates + 1):
        if layer > 0:
            before = work.z[layer - 1][:size].reshape(B, P)
            _matmat(before, work.forward[layer - 1], product.reshape(B, P))
            if units.residual:
                for j in range(size):
                    x[j] += product[j]
            else:
                _copy(product, x)
        z = work.z[layer][:size]
        _activate(units.activation, x, z, work.keep[layer][:size])
        _join_inputs(sizes, 0, 0, B, work.inputs, z)


@helper()
def _deep_net_backward(
    units: Units, sizes: Sizes, truncation: int, B: int, parameters: Array, work: Workspace
) -> None:
    """Set the gradient from the derivatives by the outputs."""
    L, n = sizes.gates, sizes.n
    _readout_gradient(sizes, L, B, work)
    theta, readout = _split(sizes, parameters)
    gradient, _ = _split(sizes, work.gradient)
    P = theta.shape[2]
    size = B * P
    dh, delta = work.rows[0][:size], work.rows[1][:size]
    dh_rows, delta_rows = dh.reshape(B, P), delta.reshape(B, P)
    dh[:] = 0.0
    delta[:] = 0.0
    _add_loss(sizes, L, L, B, readout, work, dh_rows)
    for layer in range(L, 0, -1):
        slope = work.keep[layer]
        for j in range(size):
            # what comes by the layer above, and past it in a residual net
            own = slope[j] * dh[j]
            delta[j] = delta[j] + own if units.residual else own
        before = work.z[layer - 1][:size].reshape(B, P)
        _add_matmat(delta_rows[:, :n].T, before, gradient[layer - 1])
        if (L - layer + 1) % truncation == 0:
            dh[:] = 0.0
            delta[:] = 0.0
        else:
            _matmat(delta_rows, theta[layer - 1], dh_rows)
