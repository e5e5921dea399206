"""The lane of the trainers: one net, batch after batch, whatever its cell.

One function for all cells and purposes, since Numba optimises all code below a function again with
each function above it.
"""

from __future__ import annotations

from typing import Any

from vgcore._typing import Array
from vgcore.kernels.jit import kernel
from vgcore.kernels.tasks import Problem
from vgcore.kernels.train_deep import _deep_net_backward, _deep_net_forward
from vgcore.kernels.train_dense import _dense_backward, _dense_forward
from vgcore.kernels.train_gru import _gru_backward, _gru_forward
from vgcore.kernels.train_lstm import _lstm_backward, _lstm_forward
from vgcore.kernels.training import (
    DEEP,
    DENSE,
    LSTM,
    Rules,
    Sizes,
    Units,
    Workspace,
    _add_penalties,
    _count_wrong,
    _descend,
    _losses,
    _next_batch,
    _prepare,
    _read_out,
    _record,
)

LEARN, TEST, GRADIENT = range(3)


@kernel()
def _lane(
    units: Units,
    sizes: Sizes,
    problem: Problem,
    rules: Rules,
    draw: int,
    batches: tuple[int, int],
    purpose: int,
    every: int,
    key: Any,
    stream: Any,
    parameters: Array,
    first: Array,
    second: Array,
    work: Workspace,
    out_loss: Array,
    out_norm: Array,
) -> int:
    """Take one net through the batches from the first to before the second number.

    LEARN: an update for each, counted from 1; returns the one at which the net diverged, or -1. The
    losses before updates, and the norms of gradients, go to windows of `every` updates; first and
    second are the moments of the optimiser. TEST: batches are counted from 0; returns how many
    predictions are wrong, and the mean loss goes to the only window. GRADIENT: leaves the gradient,
    with that of the penalty, in the workspace, and the loss in out_loss[0].
    """
    B, wrong = work.inputs.shape[1], 0
    for batch in range(batches[0], batches[1]):
        length = _next_batch(problem, key, stream, batch, work)
        _prepare(sizes, parameters, work)
        if units.cell == DENSE:
            _dense_forward(units, sizes, length, B, work)
        elif units.cell == LSTM:
            _lstm_forward(sizes, length, B, work)
        elif units.cell == DEEP:
            _deep_net_forward(units, sizes, B, work)
            length = sizes.gates
        else:
            _gru_forward(sizes, length, B, work)
        _read_out(sizes, length, B, work)
        if purpose == TEST:
            wrong += _count_wrong(problem, sizes.n_outputs, B, work.outputs, work.targets)
        loss = _losses(problem, sizes.n_outputs, B, work.outputs, work.targets)
        if purpose == TEST:
            _record(batch + 1, every, loss, 0.0, out_loss, out_norm)
            continue
        if units.cell == DENSE:
            _dense_backward(units, sizes, rules, draw, length, B, parameters, work)
        elif units.cell == LSTM:
            _lstm_backward(sizes, rules.truncation, length, B, parameters, work)
        elif units.cell == DEEP:
            _deep_net_backward(units, sizes, rules.truncation, B, parameters, work)
        else:
            _gru_backward(sizes, rules.truncation, length, B, parameters, work)
        _add_penalties(sizes, rules, draw, parameters, work)
        if purpose == GRADIENT:
            out_loss[0] = loss
            continue
        fine, norm = _descend(rules, draw, batch, loss, work, first, second, parameters)
        _record(batch, every, loss, norm, out_loss, out_norm)
        if not fine:
            return batch
    return wrong if purpose == TEST else -1
