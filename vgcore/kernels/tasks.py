"""Batches of the tasks, sequences side by side, from a counter.

The numbers of a batch depend on the key, the stream (a net) and the batch's number alone. Times
come first in every array, then the sequences of the batch: inputs (T, B, n_inputs), targets
(L, B, n_targets) for the last L steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vgcore._typing import Array
from vgcore.kernels.jit import helper, kernel
from vgcore.kernels.normals import _HALF, _ONE_BITS, _SPARE, _WORD, _philox

ADDING, ORDER, COPY, RECALL, EXAMPLES = range(5)

COPIED, SYMBOLS = 10, 8  # of the copy task: how many symbols, of how many
DISTRACTORS = 4  # of the temporal order task
# Where its marks are, in tenths of the length: each in one tenth from here.
_TENTHS = {2: (1, 5, 0), 3: (1, 3, 6)}
_TWO, _THREE = np.array(_TENTHS[2]), np.array(_TENTHS[3])


class Problem(NamedTuple):
    """A task as kernels see it."""

    kind: int
    shortest: int  # lengths are from this
    n_steps: int  # to this
    n_losses: int  # the last so many steps have a target
    size: int  # marks of ORDER, delay of COPY and RECALL
    shuffled: bool  # EXAMPLES are drawn at random, or taken in turn
    cross_entropy: bool
    n_scored: int  # of the last so many steps predictions are counted right or wrong
    tolerance: float  # the largest error of a right prediction, where they are numbers
    inputs: Array  # EXAMPLES (n, T, n_inputs)
    targets: Array  # (n, L, n_targets)


@helper()
def _uniforms(key: Any, stream: Any, batch: int, out: Array) -> None:
    """Fill out (M,) with numbers uniform on [0, 1), those of one batch of a stream; M < 2^33.

    `key` and `stream` are unsigned 64-bit words.
    """
    k0, k1 = key & _WORD, key >> _HALF
    c2, c3 = stream & _WORD, stream >> _HALF
    upper = np.uint64(batch)
    for j in range(out.size // 2):
        w0, w1, w2, w3 = _philox(np.uint64(j), upper, c2, c3, k0, k1)
        first, second = (w1 << _HALF) | w0, (w3 << _HALF) | w2
        out[2 * j] = np.uint64((first >> _SPARE) | _ONE_BITS).view(np.float64) - 1.0
        out[2 * j + 1] = np.uint64((second >> _SPARE) | _ONE_BITS).view(np.float64) - 1.0
    if out.size % 2 == 1:
        w0, w1, _, _ = _philox(np.uint64(out.size // 2), upper, c2, c3, k0, k1)
        first = (w1 << _HALF) | w0
        out[out.size - 1] = np.uint64((first >> _SPARE) | _ONE_BITS).view(np.float64) - 1.0


@helper()
def _adding(length: int, numbers: Array, inputs: Array, targets: Array) -> None:
    """Values and two marks, one in each half; the target is the sum of the marked values."""
    half = length // 2
    inputs[:length] = 0.0
    for b in range(numbers.shape[0]):
        row = numbers[b]
        for t in range(length):
            inputs[t, b, 0] = row[t]
        first = int(row[length] * half)
        second = half + int(row[length + 1] * (length - half))
        inputs[first, b, 1] = inputs[second, b, 1] = 1.0
        targets[0, b, 0] = row[first] + row[second]


@helper()
def _order(length: int, marks: int, numbers: Array, inputs: Array, targets: Array) -> None:
    """Distractors, and symbols 0 or 1 at the marks; the class is their sequence, a bit each."""
    tenths = _TWO if marks == 2 else _THREE
    inputs[:length] = 0.0
    wide = max(length // 10, 1)
    for b in range(numbers.shape[0]):
        row = numbers[b]
        for t in range(length):
            inputs[t, b, 2 + int(row[t] * DISTRACTORS)] = 1.0
        label = 0
        for mark in range(marks):
            place = tenths[mark] * length // 10 + int(row[length + 2 * mark] * wide)
            symbol = int(row[length + 2 * mark + 1] * 2.0)
            inputs[place, b] = 0.0
            inputs[place, b, symbol] = 1.0
            label += symbol << mark
        targets[0, b, 0] = label


@helper()
def _copying(delay: int, numbers: Array, inputs: Array, targets: Array) -> None:
    """Ten symbols, blanks, the delimiter `delay` steps after the last symbol, blanks."""
    blank, delimiter = SYMBOLS, SYMBOLS + 1
    length = inputs.shape[0]
    inputs[:] = 0.0
    for b in range(numbers.shape[0]):
        for t in range(length):
            place = blank
            if t < COPIED:
                place = int(numbers[b, t] * SYMBOLS)
            elif t == COPIED + delay - 1:
                place = delimiter
            inputs[t, b, place] = 1.0
            targets[t, b, 0] = blank
        for i in range(COPIED):
            targets[length - COPIED + i, b, 0] = int(numbers[b, i] * SYMBOLS)


@helper()
def _recall(delay: int, numbers: Array, inputs: Array, targets: Array) -> None:
    """White input on [-1, 1); the target is the input `delay` steps before."""
    for b in range(numbers.shape[0]):
        for t in range(inputs.shape[0]):
            inputs[t, b, 0] = 2.0 * numbers[b, t] - 1.0
        for t in range(delay, inputs.shape[0]):
            targets[t - delay, b, 0] = inputs[t - delay, b, 0]


@helper()
def _examples(problem: Problem, batch: int, numbers: Array, inputs: Array, targets: Array) -> None:
    """Examples drawn at random, or the next ones in turn."""
    n = problem.inputs.shape[0]
    B = numbers.shape[0]
    for b in range(B):
        which = int(numbers[b, 0] * n) if problem.shuffled else (batch * B + b) % n
        for t in range(inputs.shape[0]):
            for i in range(inputs.shape[2]):
                inputs[t, b, i] = problem.inputs[which, t, i]
        for t in range(targets.shape[0]):
            for i in range(targets.shape[2]):
                targets[t, b, i] = problem.targets[which, t, i]


@kernel()
def _batch(
    problem: Problem,
    key: Any,
    stream: Any,
    batch: int,
    numbers: Array,
    inputs: Array,
    targets: Array,
) -> int:
    """Make a batch and return the length of its sequences, which is one for all.

    Scratch: numbers (1 + B numbers_needed,).
    """
    _uniforms(key, stream, batch, numbers)
    span = problem.n_steps - problem.shortest + 1
    length = problem.shortest + int(numbers[0] * span)
    rows = numbers[1:].reshape(inputs.shape[1], -1)
    if problem.kind == ADDING:
        _adding(length, rows, inputs, targets)
    elif problem.kind == ORDER:
        _order(length, problem.size, rows, inputs, targets)
    elif problem.kind == COPY:
        _copying(problem.size, rows, inputs, targets)
    elif problem.kind == RECALL:
        _recall(problem.size, rows, inputs, targets)
    else:
        _examples(problem, batch, rows, inputs, targets)
    return length
