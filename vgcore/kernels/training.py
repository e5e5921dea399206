"""What the trainers of all cells share: losses, the readout, clipping, penalties, optimisers.

The B sequences of a batch are rows side by side. A row z_t of P numbers, whole vectors, holds the
activity after step t and what joins it in the next product,

    z_t = (h_t (N), 1, u_{t+1} (n_inputs), 0 ...),

so that one product with theta = (W_rec | bias | W_in), a row a unit and so padded too, gives all
that drives a step, and one sum of outer products gives the derivatives by all three. A cell with G
gates has one such theta for each, a deep net one for each layer; a GRU has two ones in z, for its
two biases. The readout is
y_t = (W_out | b_out) (h_t, 1). The parameters of a net are the rows of theta and of the
readout, one after another in a 1-D array.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vgcore._typing import Array
from vgcore.kernels.elementary import _exp_parts, _log_one
from vgcore.kernels.jit import helper
from vgcore.kernels.layout import _pack_transpose
from vgcore.kernels.penalties import L2, ORTHOGONALITY, _l2, _orthogonality
from vgcore.kernels.scales import _copy
from vgcore.kernels.tasks import EXAMPLES, Problem, _batch
from vgcore.kernels.tiles import _add_matmat
from vgcore.kernels.vectors import _matmat, _sum_squares, aligned_zeros, padded

DENSE, LSTM, GRU, DEEP = range(4)
SGD, RMSPROP, ADAM = range(3)
NO_CLIP, BY_NORM, BY_VALUE = range(3)
NO_PENALTY = -1

_LOWEST = -700.0  # of an exponential; exp of it is a normal number
_NORM_EPS = 1e-6  # torch.nn.utils.clip_grad_norm_ divides by the norm plus this


class Sizes(NamedTuple):
    """Of a net: units, ones in a row z, inputs, outputs, gates."""

    n: int
    ones: int
    n_inputs: int
    n_outputs: int
    gates: int


class Units(NamedTuple):
    """Which cell, and what is not trained of a dense one."""

    cell: int
    activation: int
    leak: float
    starts_at_zero: bool  # h_0 is 0, and not s(0)
    residual: bool  # a layer of a deep net adds to what enters it


class Rules(NamedTuple):
    """What is done with a gradient; the arrays are (draws,)."""

    optimiser: int
    decay: float  # momentum of SGD, of the squares in RMSPROP, of the gradient in ADAM
    decay_squares: float  # in ADAM
    eps: float
    corrections: Array  # (updates + 1, 2): 1 - decay^t and 1 - decay_squares^t of ADAM
    learning_rate: Array
    clip: int
    threshold: Array
    penalty: int
    strength: Array
    truncation: int  # the state is detached so many steps before the last, and again and again


class Workspace(NamedTuple):
    """Scratch of one thread, for batches of B sequences of T steps with L losses."""

    numbers: Array  # random numbers of a batch
    inputs: Array  # (T, B, n_inputs)
    targets: Array  # (L, B, n_targets)
    z: Array  # (T + 1, B P)
    keep: Array  # (T + 1, ... B P): what the way back multiplies by
    rows: Array  # (..., B P): for one step
    forward: Array  # (G, K, P): theta transposed
    readout: Array  # (N + 1, Q): the readout transposed, Q of n_outputs padded
    outputs: Array  # (L, B, Q), then dE/dy
    gradient: Array  # (parameters,)
    before: Array  # (parameters,)
    extra: Array  # (4, N, P): of matrices


def numbers_needed(problem: Problem) -> int:
    """Random numbers of one sequence."""
    return 1 if problem.kind == EXAMPLES else problem.n_steps + 6


def new_workspace(
    sizes: Sizes, problem: Problem, B: int, kept: int, rows: int, depth: int, dtype: np.dtype[Any]
) -> Workspace:
    """Scratch of a thread, with so many kept vectors a step and so many rows for one.

    A net has T steps, or `depth` layers where that is not 0.
    """
    T, L, P = problem.n_steps, problem.n_losses, row_size(sizes, dtype)
    states = (depth or T) + 1
    n, Q = sizes.n, padded(sizes.n_outputs, dtype)
    targets = problem.targets.shape[2] if problem.kind == EXAMPLES else 1
    n_inputs = problem.inputs.shape[2] if problem.kind == EXAMPLES else sizes.n_inputs
    S = parameter_count(sizes, dtype)
    return Workspace(
        np.zeros(1 + B * numbers_needed(problem)),
        np.zeros((T, B, n_inputs)),
        np.zeros((L, B, targets)),
        aligned_zeros((states, B * P), dtype),
        aligned_zeros((states, kept * B * P), dtype),
        aligned_zeros((rows, B * P), dtype),
        aligned_zeros((sizes.gates, n + sizes.ones + sizes.n_inputs, P), dtype),
        aligned_zeros((n + 1, Q), dtype),
        aligned_zeros((L, B, Q), dtype),
        aligned_zeros(S, dtype),
        aligned_zeros(S, dtype),
        aligned_zeros((4, n, P), dtype),
    )


def row_size(sizes: Sizes, dtype: np.dtype[Any]) -> int:
    """P, the length of the rows z, of theta and of the readout."""
    return padded(sizes.n + sizes.ones + sizes.n_inputs, dtype)


def parameter_count(sizes: Sizes, dtype: np.dtype[Any]) -> int:
    """Length of the array of all parameters, with their padding."""
    return (sizes.gates * sizes.n + sizes.n_outputs) * row_size(sizes, dtype)


@helper()
def _split(sizes: Sizes, parameters: Array) -> tuple[Array, Array]:
    """Return theta (G, N, P) and the readout (n_outputs, P) as views."""
    rows = sizes.gates * sizes.n
    P = parameters.size // (rows + sizes.n_outputs)
    theta = parameters[: rows * P].reshape(sizes.gates, sizes.n, P)
    readout = parameters[rows * P :].reshape(sizes.n_outputs, P)
    return theta, readout


@helper()
def _prepare(sizes: Sizes, parameters: Array, work: Workspace) -> None:
    """Transpose the matrices of a net for its forward pass."""
    theta, readout = _split(sizes, parameters)
    K = work.forward.shape[1]
    for g in range(sizes.gates):
        _pack_transpose(theta[g, :, :K], work.forward[g])
    _pack_transpose(readout[:, : sizes.n + 1], work.readout)


@helper()
def _join_inputs(sizes: Sizes, t: int, length: int, B: int, inputs: Array, z: Array) -> None:
    """Put the ones, u_{t+1} and zeros behind the activities in the rows z_t (B P,)."""
    n, first, P = sizes.n, sizes.n + sizes.ones, z.size // B
    for b in range(B):
        row = z[b * P : (b + 1) * P]
        row[n:first] = 1.0
        row[first:] = 0.0
        if t < length:
            for i in range(sizes.n_inputs):
                row[first + i] = inputs[t, b, i]


@helper(forceinline=True)
def _exp(x: float) -> float:
    """e^x of a float64 at most 0; e^-700 below that."""
    low = np.float64(0.0)
    s, p = _exp_parts(np.float64(max(x, _LOWEST)), low, np.float64(1.0))
    return float(s + s * p)


@helper()
def _losses(problem: Problem, n_outputs: int, B: int, outputs: Array, targets: Array) -> float:
    """Return the mean loss, over sequences, steps and outputs; set outputs to its derivative."""
    steps = outputs.shape[0]
    total, share = 0.0, 1.0 / (B * steps)
    for t in range(steps):
        for b in range(B):
            y = outputs[t, b]
            if problem.cross_entropy:
                label = int(targets[t, b, 0])
                largest = float(y[0])
                for k in range(1, n_outputs):
                    largest = max(largest, float(y[k]))
                wanted, norm = float(y[label]) - largest, 0.0
                for k in range(n_outputs):
                    norm += _exp(float(y[k]) - largest)
                total += _log_one(np.float64(norm)) - wanted
                for k in range(n_outputs):
                    y[k] = share * (_exp(float(y[k]) - largest) / norm)
                y[label] -= share
            else:
                for k in range(n_outputs):
                    error = float(y[k]) - targets[t, b, k]
                    total += error * error / n_outputs
                    y[k] = 2.0 * share * error / n_outputs
    return float(total * share)


@helper()
def _count_wrong(problem: Problem, n_outputs: int, B: int, outputs: Array, targets: Array) -> int:
    """Count wrong predictions at the scored steps: not the largest output, or too large an error.

    An output that is NaN is wrong.
    """
    steps, wrong = outputs.shape[0], 0
    for t in range(steps - problem.n_scored, steps):
        for b in range(B):
            y, right = outputs[t, b], True
            if problem.cross_entropy:
                best = y[int(targets[t, b, 0])]
                for k in range(n_outputs):
                    right &= k == int(targets[t, b, 0]) or y[k] < best
            else:
                for k in range(n_outputs):
                    right &= abs(float(y[k]) - targets[t, b, k]) <= problem.tolerance
            wrong += 0 if right else 1
    return wrong


@helper()
def _read_out(sizes: Sizes, length: int, B: int, work: Workspace) -> None:
    """Set the outputs at the last steps."""
    P, steps = work.z.shape[1] // work.inputs.shape[1], work.outputs.shape[0]
    for i in range(steps):
        z = work.z[length - steps + 1 + i][: B * P].reshape(B, P)
        _matmat(z, work.readout, work.outputs[i][:B])


@helper()
def _readout_gradient(sizes: Sizes, length: int, B: int, work: Workspace) -> None:
    """Set the derivative by the readout, and clear that by all else."""
    work.gradient[:] = 0.0
    gradient = _split(sizes, work.gradient)[1]
    P, steps = gradient.shape[1], work.outputs.shape[0]
    for i in range(steps):
        z = work.z[length - steps + 1 + i][: B * P].reshape(B, P)
        _add_matmat(work.outputs[i][:B, : sizes.n_outputs].T, z, gradient)
    for k in range(sizes.n_outputs):
        for j in range(sizes.n + 1, P):
            gradient[k, j] = 0.0


@helper()
def _add_loss(
    sizes: Sizes, t: int, length: int, B: int, readout: Array, work: Workspace, dh: Array
) -> None:
    """Add the derivative of the loss at step t, if there is one, to dh (B, P)."""
    i = t - 1 - (length - work.outputs.shape[0])
    if i >= 0:
        _add_matmat(work.outputs[i][:B, : sizes.n_outputs], readout, dh)


@helper()
def _add_penalties(
    sizes: Sizes, rules: Rules, draw: int, parameters: Array, work: Workspace
) -> None:
    """Add the derivative of a penalty of the recurrent matrices alone, if there is one."""
    penalty, strength = rules.penalty, rules.strength[draw]
    if penalty != ORTHOGONALITY and penalty != L2:
        return
    theta, gradient = _split(sizes, parameters)[0], _split(sizes, work.gradient)[0]
    W, step = work.extra[0], work.extra[1]
    for g in range(sizes.gates):
        for i in range(sizes.n):
            _copy(theta[g, i, : sizes.n], W[i])
        if penalty == ORTHOGONALITY:
            _orthogonality(W, work.extra[2], work.extra[3], step)
        else:
            _l2(W, step)
        for i in range(sizes.n):
            for j in range(sizes.n):
                gradient[g, i, j] += strength * step[i, j]


@helper()
def _clip(rules: Rules, draw: int, gradient: Array) -> float:
    """Clip a gradient in place, and return its norm before."""
    norm = np.sqrt(float(_sum_squares(gradient)))
    threshold = rules.threshold[draw]
    if rules.clip == BY_NORM:
        factor = gradient.dtype.type(threshold / (norm + _NORM_EPS))
        if factor < 1.0:
            for j in range(gradient.size):
                gradient[j] *= factor
    elif rules.clip == BY_VALUE:
        for j in range(gradient.size):
            gradient[j] = min(max(gradient[j], -threshold), threshold)
    return float(norm)


@helper()
def _move(
    rules: Rules,
    rate: float,
    update: int,
    gradient: Array,
    first: Array,
    second: Array,
    parameters: Array,
) -> None:
    """One update, counted from 1, by the formulas of `torch.optim`."""
    decay, eps = rules.decay, rules.eps
    if rules.optimiser == SGD:
        if decay == 0.0:
            for j in range(gradient.size):
                parameters[j] -= rate * gradient[j]
        else:
            for j in range(gradient.size):
                first[j] = decay * first[j] + gradient[j]
                parameters[j] -= rate * first[j]
    elif rules.optimiser == RMSPROP:
        for j in range(gradient.size):
            second[j] = decay * second[j] + (1.0 - decay) * (gradient[j] * gradient[j])
            parameters[j] -= rate * (gradient[j] / (np.sqrt(second[j]) + eps))
    else:
        squares = rules.decay_squares
        step = rate / rules.corrections[update, 0]
        root = np.sqrt(rules.corrections[update, 1])
        for j in range(gradient.size):
            first[j] = decay * first[j] + (1.0 - decay) * gradient[j]
            second[j] = squares * second[j] + (1.0 - squares) * (gradient[j] * gradient[j])
            parameters[j] -= step * (first[j] / (np.sqrt(second[j]) / root + eps))


@helper()
def _descend(
    rules: Rules,
    draw: int,
    update: int,
    loss: float,
    work: Workspace,
    first: Array,
    second: Array,
    parameters: Array,
) -> tuple[bool, float]:
    """Clip and move; return whether all stayed finite, and the norm of the gradient.

    If not, the parameters are as they were.
    """
    norm = _clip(rules, draw, work.gradient)
    if not (loss < np.inf and norm < np.inf):
        return False, norm
    _copy(parameters, work.before)
    _move(rules, rules.learning_rate[draw], update, work.gradient, first, second, parameters)
    test = 0.0
    for j in range(parameters.size):
        test += 0.0 * parameters[j]  # NaN where one is not finite
    if test != 0.0:
        _copy(work.before, parameters)
        return False, norm
    return True, norm


@helper()
def _record(update: int, every: int, loss: float, norm: float, losses: Array, norms: Array) -> None:
    """Note an update (counted from 1): the mean loss and the largest norm of each window."""
    window, place = (update - 1) // every, (update - 1) % every
    if place == 0:
        losses[window] = norms[window] = 0.0
    losses[window] += (loss - losses[window]) / (place + 1)
    norms[window] = max(norms[window], norm)


@helper()
def _next_batch(problem: Problem, key: Any, stream: Any, batch: int, work: Workspace) -> int:
    """Make a batch in the workspace and return the length of its sequences."""
    return int(_batch(problem, key, stream, batch, work.numbers, work.inputs, work.targets))
