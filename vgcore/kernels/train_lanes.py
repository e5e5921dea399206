"""Lanes of the trainers: one net, one batch after another, whatever its cell."""

from __future__ import annotations

from typing import Any

from numba import njit

from vgcore._typing import Array
from vgcore.kernels.tasks import Problem
from vgcore.kernels.train_dense import _dense_backward, _dense_forward
from vgcore.kernels.train_gru import _gru_backward, _gru_forward
from vgcore.kernels.train_lstm import _lstm_backward, _lstm_forward
from vgcore.kernels.training import (
    DENSE,
    LSTM,
    Rules,
    Sizes,
    Units,
    Workspace,
    _count_wrong,
    _descend,
    _losses,
    _next_batch,
    _prepare,
    _read_out,
    _record,
)


@njit(cache=True, nogil=True, error_model="numpy")
def _forward(units: Units, sizes: Sizes, length: int, B: int, work: Workspace) -> None:
    """Run the net, and set the outputs."""
    if units.cell == DENSE:
        _dense_forward(units, sizes, length, B, work)
    elif units.cell == LSTM:
        _lstm_forward(sizes, length, B, work)
    else:
        _gru_forward(sizes, length, B, work)
    _read_out(sizes, length, B, work)


@njit(cache=True, nogil=True, error_model="numpy")
def _backward(
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
    if units.cell == DENSE:
        _dense_backward(units, sizes, rules, draw, length, B, parameters, work)
    elif units.cell == LSTM:
        _lstm_backward(sizes, rules.truncation, length, B, parameters, work)
    else:
        _gru_backward(sizes, rules.truncation, length, B, parameters, work)


@njit(cache=True, nogil=True, error_model="numpy")
def _gradient(
    units: Units,
    sizes: Sizes,
    problem: Problem,
    rules: Rules,
    draw: int,
    batch: int,
    key: Any,
    stream: Any,
    parameters: Array,
    work: Workspace,
) -> float:
    """Return the loss on a batch and set the gradient."""
    B = work.inputs.shape[1]
    length = _next_batch(problem, key, stream, batch, work)
    _prepare(sizes, parameters, work)
    _forward(units, sizes, length, B, work)
    loss = _losses(problem, sizes.n_outputs, B, work.outputs, work.targets)
    _backward(units, sizes, rules, draw, length, B, parameters, work)
    return float(loss)


@njit(cache=True, nogil=True, error_model="numpy")
def _train_lane(
    units: Units,
    sizes: Sizes,
    problem: Problem,
    rules: Rules,
    draw: int,
    updates: tuple[int, int],
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
    """Updates of one net, from the first to before the second number, counted from 1.

    Returns the update at which it diverged, or -1. The losses before each update, and norms of its
    gradients, go to windows of `every` updates; first and second are the moments of the optimiser.
    """
    for update in range(updates[0], updates[1]):
        loss = _gradient(units, sizes, problem, rules, draw, update, key, stream, parameters, work)
        fine, norm = _descend(sizes, rules, draw, update, loss, work, first, second, parameters)
        _record(update, every, loss, norm, out_loss, out_norm)
        if not fine:
            return update
    return -1


@njit(cache=True, nogil=True, error_model="numpy")
def _test_lane(
    units: Units,
    sizes: Sizes,
    problem: Problem,
    n_test: int,
    key: Any,
    stream: Any,
    parameters: Array,
    work: Workspace,
) -> tuple[float, int]:
    """Return the mean loss of a net on so many sequences, and how many predictions are wrong."""
    B, total, wrong = work.inputs.shape[1], 0.0, 0
    _prepare(sizes, parameters, work)
    for batch in range(n_test // B):
        length = _next_batch(problem, key, stream, batch, work)
        _forward(units, sizes, length, B, work)
        wrong += _count_wrong(problem, sizes.n_outputs, B, work.outputs, work.targets)
        loss = _losses(problem, sizes.n_outputs, B, work.outputs, work.targets)
        total += (loss - total) / (batch + 1)
    return total, wrong
