"""Training of an ensemble of nets, side by side."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import vgcore.training.parameters as packing
from vgcore import checks
from vgcore._typing import Array, Integers
from vgcore.activations import activation as find_activation
from vgcore.cells import RNN, Cell, LeakyRNN
from vgcore.deep import DeepNet
from vgcore.errors import StoreError
from vgcore.gated import GRU, LSTM
from vgcore.kernels import train_deep, train_dense, train_gru, train_lstm
from vgcore.kernels import training as kernels
from vgcore.kernels.penalties import L2, OMEGA, OMEGA_SQUARED, ORTHOGONALITY
from vgcore.kernels.train_lanes import GRADIENT, LEARN, TEST, _lane
from vgcore.kernels.training import Rules, Sizes, Units, Workspace, new_workspace
from vgcore.parallel import over_draws
from vgcore.streams import Purpose, Seed, Streams
from vgcore.training.optimisers import Optimiser, find
from vgcore.training.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

_CLIPS = {"norm": kernels.BY_NORM, "value": kernels.BY_VALUE}
_PENALTIES = {
    "omega": OMEGA,
    "omega_squared": OMEGA_SQUARED,
    "orthogonality": ORTHOGONALITY,
    "l2": L2,
}


@dataclass(frozen=True, eq=False, repr=False)
class Training:
    """Nets after training, and how it went; arrays have a leading axis of draws.

    Attributes
    ----------
    cell : Cell
        With its trained parameters. A net that diverged has those before the update that failed.
    W_out, b_out : ndarray, shapes (n_draws, n_outputs, N) and (n_draws, n_outputs)
        The trained readout, y_t = W_out s(x_t) + b_out, or W_out h_t + b_out.
    loss : ndarray of float64, shape (n_draws, windows)
        Mean over windows of `record_every` updates of the loss on the batch before the update; nan
        after a net diverged or was stopped.
    gradient_norm : ndarray of float64, shape (n_draws, windows)
        The largest in each window, penalty included, before clipping.
    tested_after : ndarray of int, shape (tests,)
        Updates done before each test.
    test_loss, test_error : ndarray of float64, shape (n_draws, tests)
        On `n_test` sequences that are not trained on, the same for all tests of a net; the error is
        the share of wrong predictions. nan after a net diverged.
    solved_step : ndarray of int, shape (n_draws,)
        Updates done when first tested with an error below the task's `solved_error`; -1 if never.
    diverged_step : ndarray of int, shape (n_draws,)
        The update, counted from 1, whose loss, gradient or parameters were not finite; -1 if none.
    task : Task
    record_every : int
    """

    cell: Cell
    W_out: Array
    b_out: Array
    loss: Floats
    gradient_norm: Floats
    tested_after: Integers
    test_loss: Floats
    test_error: Floats
    solved_step: Integers
    diverged_step: Integers
    task: Task
    record_every: int

    @property
    def solved(self) -> npt.NDArray[np.bool_]:
        """Whether each net solved the task."""
        return self.solved_step >= 0

    @property
    def diverged(self) -> npt.NDArray[np.bool_]:
        """Whether each net diverged."""
        return self.diverged_step >= 0

    def to_frame(self) -> pd.DataFrame:
        """Tidy table, a row a net and window: draw, update (its last), loss, gradient_norm.

        Returns
        -------
        pandas.DataFrame

        Examples
        --------
        >>> import vgcore as vg
        >>> cell = vg.RNN.draw(2, 8, n_inputs=2, rng=1)
        >>> found = vg.training.train(cell, vg.training.adding(10), 3, rng=1)
        >>> list(found.to_frame().columns)
        ['draw', 'update', 'loss', 'gradient_norm']
        """
        from vgcore.tables import tidy

        table = tidy(("draw", "window"), loss=self.loss, gradient_norm=self.gradient_norm)
        table.insert(1, "update", (table.pop("window") + 1) * self.record_every)
        return table

    def __repr__(self) -> str:
        n, parts = len(self.solved_step), []
        if self.solved.any():
            steps = np.median(self.solved_step[self.solved])
            parts.append(f"{self.solved.sum()} solved after a median of {steps:.0f} updates")
        else:
            parts.append("none solved")
        if self.diverged.all():
            first, last = self.diverged_step.min(), self.diverged_step.max()
            where = f"update {last}" if first == last else f"updates {first} to {last}"
            fix = "use a smaller learning rate, or clip"
            if last == 1:  # the loss before any update, or its gradient
                fix = "rescale weights, inputs or targets, or use a smaller learning rate"
            parts.append(f"every net diverged, at {where}: {fix}")
        elif self.diverged.any():
            parts.append(
                f"{self.diverged.sum()} diverged, the first at update "
                f"{self.diverged_step[self.diverged].min()}"
            )
        error = self.test_error[:, -1]
        if np.isfinite(error).any():
            parts.append(
                f"median error {np.nanmedian(error):.3g} (chance {self.task.chance_error:.3g})"
            )
        return f"Training({self.task.name}: {n} nets; {'; '.join(parts)})"


def _engine(cell: Cell) -> tuple[Units, int, int]:
    """What kernels know of a cell, and how much scratch they need a step and in all."""
    if isinstance(cell, LSTM):
        return Units(kernels.LSTM, 0, 1.0, True, False), train_lstm.KEPT, train_lstm.ROWS
    if isinstance(cell, GRU):
        return Units(kernels.GRU, 0, 1.0, True, False), train_gru.KEPT, train_gru.ROWS
    if isinstance(cell, DeepNet):
        code = find_activation(cell.activation).code
        units = Units(kernels.DEEP, code, 1.0, False, cell.residual)
        return units, train_deep.KEPT, train_deep.ROWS
    assert isinstance(cell, (RNN, LeakyRNN))
    leak = cell.leak if isinstance(cell, LeakyRNN) else 1.0
    code = find_activation(cell.activation).code
    units = Units(kernels.DENSE, code, leak, isinstance(cell, LeakyRNN), False)
    return units, train_dense.KEPT, train_dense.ROWS


def train(
    cell: Cell,
    task: Task,
    n_updates: int,
    *,
    batch: int = 20,
    optimiser: str | Optimiser = "sgd",
    learning_rate: object = 0.01,
    clip: object = None,
    penalty: tuple[str, object] | None = None,
    truncation: int | None = None,
    readout: tuple[object, object] | None = None,
    test_every: int | None = None,
    n_test: int = 1000,
    stop_solved: bool = False,
    record_every: int = 1,
    rng: Seed = None,
    n_threads: int | None = None,
    checkpoint: str | Path | None = None,
) -> Training:
    """Train every net of an ensemble on a task, each on sequences of its own.

    All parameters are trained: recurrent and input weights, biases (from 0 where the cell has
    none), and a linear readout. The state starts at 0; that of a `DeepNet` is the one input of a
    sequence of one step.

    Parameters
    ----------
    cell
        `RNN`, `LeakyRNN`, `LSTM` or `GRU`: the nets before training, with the inputs of the task.
        Or `DeepNet`, for a task of one step (such as `examples`) with N inputs.
    task
        Such as `vgcore.training.adding(100)`.
    n_updates
        At least 0; with 0 the nets are tested as they are.
    batch
        Sequences for each update, of one length.
    optimiser
        "sgd", "momentum" (0.9), "rmsprop" or "adam", with the defaults of PyTorch; or what
        `vgcore.training.sgd`, `rmsprop` and `adam` return.
    learning_rate
        A number, or an array (n_draws,).
    clip
        A number: the gradient, all parameters together, is scaled down to that norm, as
        `torch.nn.utils.clip_grad_norm_` does. Or a pair: ("norm", 1.0), ("value", 0.1) for entries.
        The number may be an array (n_draws,), inf for no clipping.
    penalty
        A pair of "omega", "omega_squared" (`RNN` alone), "orthogonality" or "l2", as in
        `vgcore.remedies.penalties`, and its strength, a number or an array (n_draws,); for gated
        cells and deep nets the sum over their matrices. Its derivative joins the gradient
        before clipping.
    truncation
        Gradients stop where the state is detached, so many steps before the last one, and again and
        again; steps are layers of a `DeepNet`. None for none.
    readout : pair of arrays, optional
        W_out (n_draws, n_outputs, N) and b_out (n_draws, n_outputs), or what broadcasts to them.
        Where None, W_out has N(0, 1/N) entries, and b_out is 0.
    test_every
        Updates between tests; n_updates where None.
    n_test
        Sequences of a test, a multiple of `batch`; the test examples where the task has examples.
    stop_solved
        Stop a net when it has solved the task.
    record_every
        Updates in each entry of the loss curve, a divisor of `test_every`.
    rng
        Seed of sequences and readout. Net d gets the same ones in any ensemble of any size.
    n_threads
        All cores where None; the result does not depend on it, bit by bit.
    checkpoint
        A file. What is done is kept there at each test, and a call that finds a file of its own
        goes on from it, to the same bits. A file of another call is refused.

    Returns
    -------
    Training

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.
    vgcore.errors.StoreError
        A checkpoint that is damaged, or of another call.

    Notes
    -----
    Backpropagation through time in the dtype of the cell, updates by the formulas of `torch.optim`.
    A net whose loss, gradient or parameters are not finite is left as it was before that update;
    the others go on. Time O(n_draws n_updates batch T N^2).

    Examples
    --------
    >>> import vgcore as vg
    >>> cell = vg.RNN.draw(3, 20, n_inputs=2, rng=1)
    >>> found = vg.training.train(
    ...     cell, vg.training.adding(10), 200, optimiser="adam", clip=1.0, n_test=100, rng=1
    ... )
    >>> bool((found.test_loss[:, -1] < found.task.chance_loss).all())
    True
    """
    n_updates = checks.integer("n_updates", n_updates)
    stop_solved = checks.flag("stop_solved", stop_solved)
    to_do = max(n_updates, 1)  # without an update there is a test all the same
    test_every = (
        to_do
        if test_every is None
        else checks.integer("test_every", test_every, least=1, most=to_do)
    )
    record_every = checks.integer("record_every", record_every, least=1)
    file = None if checkpoint is None else _checkpoint_file(checkpoint, rng)
    if test_every % record_every:
        raise ValueError(
            f"record_every: found {record_every}, which does not divide test_every = {test_every}"
        )
    (units, kept, rows), sizes, batch, streams = _setting(cell, task, batch, rng)
    depth = getattr(cell, "n_layers", 0)
    found = find(optimiser)
    rules = _rules(cell, found, n_updates, learning_rate, clip, penalty, truncation)
    W_out, b_out = packing.readout_of(cell, task.n_outputs, readout, streams)
    is_given = len(task.test_problem.inputs) > 0
    n_test = (
        len(task.test_problem.inputs) if is_given else checks.integer("n_test", n_test, least=1)
    )
    test_batch = _largest_divisor(n_test, batch) if is_given else batch
    if n_test % test_batch:
        raise ValueError(
            f"n_test: found {n_test}, expected a multiple of batch = {batch}; take "
            f"{-(-n_test // batch) * batch}"
        )
    state = _State.start(
        packing.pack(cell, W_out, b_out), found, n_updates, test_every, record_every
    )
    windows = test_every, record_every, stop_solved
    digest = _digest(cell, task, rules, found, state, streams.key, batch, n_test, windows)
    if file is not None and file.exists():
        state.load(file, digest)
    key, salt = streams.key
    done = int(state.done[0])

    def scratch() -> Iterable[Workspace]:
        work = new_workspace(sizes, task.problem, batch, kept, rows, depth, cell.dtype)
        same = test_batch == batch
        return work, work if same else new_workspace(
            sizes, task.test_problem, test_batch, kept, rows, depth, cell.dtype
        )

    for first in range(done, to_do, test_every):
        last = min(first + test_every, n_updates)
        test = first // test_every

        def work(
            start: int, stop: int, own: Workspace, testing: Workspace,
            first: int = first, last: int = last, test: int = test,
        ) -> None:  # fmt: skip
            for d in range(start, stop):
                if state.diverged[d] >= 0 or (stop_solved and state.solved[d] >= 0):
                    continue
                streams_of = [
                    np.uint64(salt ^ Streams.address(purpose, d))
                    for purpose in (Purpose.BATCH, Purpose.TEST)
                ]
                net = state.parameters[d], state.first[d], state.second[d]
                state.diverged[d] = _lane(
                    units, sizes, task.problem, rules, d, (first + 1, last + 1), LEARN,
                    record_every, np.uint64(key), streams_of[0], *net, own, state.loss[d],
                    state.norm[d],
                )  # fmt: skip
                if state.diverged[d] >= 0:
                    continue
                loss, batches = np.zeros(1), n_test // test_batch
                wrong = _lane(
                    units, sizes, task.test_problem, rules, d, (0, batches), TEST, batches,
                    np.uint64(key), streams_of[1], *net, testing, loss, np.zeros(1),
                )  # fmt: skip
                error = wrong / (n_test * task.problem.n_scored)
                state.test_loss[d, test], state.test_error[d, test] = loss[0], error
                if state.solved[d] < 0 and error < task.solved_error:
                    state.solved[d] = last

        over_draws(work, cell.n_draws, n_threads, scratch=scratch)
        state.done[0] = last
        if file is not None:
            state.save(file, digest)
    arrays = packing.unpack(cell, task.n_outputs, state.parameters)
    tested = np.minimum(np.arange(1, state.test_loss.shape[1] + 1) * test_every, n_updates)
    return Training(
        packing.trained_cell(cell, arrays),
        arrays["W_out"],
        arrays["b_out"],
        state.loss,
        state.norm,
        tested,
        state.test_loss,
        state.test_error,
        state.solved,
        state.diverged,
        task,
        record_every,
    )


def gradient(
    cell: Cell,
    task: Task,
    *,
    batch: int = 20,
    penalty: tuple[str, object] | None = None,
    truncation: int | None = None,
    readout: tuple[object, object] | None = None,
    number: int = 1,
    rng: Seed = None,
    n_threads: int | None = None,
) -> tuple[Floats, dict[str, Array]]:
    """Loss and gradient of every net on one batch: those of update `number` of `train`.

    Parameters
    ----------
    cell, task, batch, penalty, truncation, readout, rng, n_threads
        As in `train`. Clipping comes later.
    number
        Which batch.

    Returns
    -------
    loss : ndarray of float64, shape (n_draws,)
        Without the penalty.
    gradient : dict of str to ndarray
        By the names of the cell's arguments, such as "W_rec", and "W_out" and "b_out"; with that of
        the penalty.

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Examples
    --------
    >>> import vgcore as vg
    >>> cell = vg.RNN.draw(3, 20, n_inputs=2, rng=1)
    >>> loss, found = vg.training.gradient(cell, vg.training.adding(10), rng=1)
    >>> found["W_rec"].shape, found["bias"].shape
    ((3, 20, 20), (3, 20))
    """
    (units, kept, rows), sizes, batch, streams = _setting(cell, task, batch, rng)
    depth = getattr(cell, "n_layers", 0)
    rules = _rules(cell, find("sgd"), 1, 1.0, None, penalty, truncation)
    number = checks.integer("number", number, least=0)
    parameters = packing.pack(cell, *packing.readout_of(cell, task.n_outputs, readout, streams))
    key, salt = streams.key
    loss, out = np.empty(cell.n_draws), np.empty_like(parameters)

    def scratch() -> Iterable[Workspace]:
        return (new_workspace(sizes, task.problem, batch, kept, rows, depth, cell.dtype),)

    def work(start: int, stop: int, own: Workspace) -> None:
        for d in range(start, stop):
            stream = np.uint64(salt ^ Streams.address(Purpose.BATCH, d))
            _lane(
                units, sizes, task.problem, rules, d, (number, number + 1), GRADIENT, 1,
                np.uint64(key), stream, parameters[d], parameters[d, :0], parameters[d, :0], own,
                loss[d : d + 1], np.zeros(1),
            )  # fmt: skip
            out[d] = own.gradient

    over_draws(work, cell.n_draws, n_threads, scratch=scratch)
    return loss, packing.unpack(cell, task.n_outputs, out)


def _setting(
    cell: Cell, task: Task, batch: int, rng: Seed
) -> tuple[tuple[Units, int, int], Sizes, int, Streams]:
    """What `train` and `gradient` have in common, checked."""
    if not isinstance(task, Task):
        raise TypeError(f"task: found {task!r}, expected one such as vgcore.training.adding(100)")
    sizes = packing.sizes_of(cell, task.n_outputs)
    if isinstance(cell, DeepNet):
        if (task.n_steps, task.n_inputs) != (1, cell.n_hidden):
            raise ValueError(
                f"task: found {task.n_steps} steps of {task.n_inputs} inputs, expected 1 of "
                f"{cell.n_hidden}: the input of a DeepNet is its state before the first layer"
            )
    elif cell.n_inputs != task.n_inputs:
        raise ValueError(
            f"cell: found {cell.n_inputs} inputs, expected the {task.n_inputs} of {task.name}; "
            f"draw it with n_inputs={task.n_inputs}"
        )
    batch = checks.integer("batch", batch, least=1)
    examples = len(task.problem.inputs)
    if examples and not task.problem.shuffled and examples % batch:
        raise ValueError(
            f"batch: found {batch}, which does not divide the {examples} examples taken in turn; "
            f"take {_largest_divisor(examples, batch)}, or shuffle=True"
        )
    units, kept, rows = _engine(cell)
    states = getattr(cell, "n_layers", task.n_steps) + 1
    row = (1 + kept) * kernels.row_size(sizes, cell.dtype)
    checks.room("steps x batch x numbers kept", (states, batch, row), cell.dtype.itemsize)
    losses = task.problem.n_losses, batch, task.n_outputs
    checks.room("steps with a target x batch x n_outputs", losses, cell.dtype.itemsize)
    return (units, kept, rows), sizes, batch, Streams.from_rng(rng)


def _rules(
    cell: Cell,
    optimiser: Optimiser,
    n_updates: int,
    learning_rate: object,
    clip: Any,
    penalty: Any,
    truncation: int | None,
) -> Rules:
    draws = cell.n_draws

    def each(argument: str, value: object) -> Array:
        array = checks.extended(argument, value)
        if checks.array_of(argument, value).dtype.kind == "b":
            raise TypeError(f"{argument}: found {value!r}, expected a number or one a net")
        if array.shape not in ((), (draws,)):
            raise ValueError(
                f"{argument}: found shape {array.shape}, expected a number or one a net, ({draws},)"
            )
        if not (array > 0.0).all():
            raise ValueError(f"{argument}: found {array.min()}, expected numbers above 0")
        return np.full(draws, array)

    by, threshold = "", np.inf
    if clip is not None:
        by, threshold = (
            _pair("clip", clip, "('norm', 1.0)") if isinstance(clip, tuple) else ("norm", clip)
        )
        checks.choice("clip", by, _CLIPS)
    kind, strength = ("", 0.0) if penalty is None else _pair("penalty", penalty, "('omega', 0.1)")
    if penalty is not None:
        checks.choice("penalty", kind, _PENALTIES)
        if kind.startswith("omega") and not isinstance(cell, RNN):
            raise TypeError(
                f"penalty: found {kind!r} for {type(cell).__name__}; omega is for vgcore.RNN "
                "alone, take 'orthogonality' or 'l2'"
            )
        strength = checks.numbers("penalty", strength, least=0.0)
        if strength.shape not in ((), (draws,)):
            raise ValueError(f"penalty: found shape {strength.shape}, expected () or ({draws},)")
    decays = optimiser.decay, optimiser.decay_squares
    checks.room("n_updates x corrections", (n_updates + 1, len(decays)))
    corrections = np.stack([_one_minus_powers(decay, n_updates + 1) for decay in decays], axis=1)
    rates = each("learning_rate", learning_rate)
    if not np.isfinite(rates).all():
        raise ValueError("learning_rate: found inf, expected finite numbers")
    return Rules(
        optimiser.code,
        optimiser.decay,
        optimiser.decay_squares,
        optimiser.eps,
        corrections,
        rates,
        _CLIPS.get(by, kernels.NO_CLIP),
        each("clip", threshold),
        _PENALTIES.get(kind, kernels.NO_PENALTY),
        np.full(draws, strength, np.float64),
        2**62 if truncation is None else checks.integer("truncation", truncation, least=1),
    )


def _checkpoint_file(checkpoint: object, rng: object) -> Path:
    """Refuse before training what could not be written after it."""
    try:
        file = Path(checkpoint)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"checkpoint: found {checkpoint!r}, expected the path of a file") from None
    if rng is None:
        raise ValueError(
            "rng: found None, expected a seed; without one no call can go on from the checkpoint"
        )
    if file.is_dir():
        raise ValueError(f"checkpoint: found the folder {file}, expected a file; name one in it")
    if not file.parent.is_dir():
        raise ValueError(f"checkpoint: found {file}, in no folder that there is; make it first")
    return file


def _pair(argument: str, value: object, such_as: str) -> tuple[Any, Any]:
    """Return `value` if it is a name with a number."""
    if not (isinstance(value, tuple) and len(value) == 2):
        raise TypeError(f"{argument}: found {value!r}, expected a pair such as {such_as}")
    return value


def _one_minus_powers(decay: float, n: int) -> Array:
    """1 - decay^t for t < n, by products, which no library changes."""
    powers = np.full(n, decay)
    powers[0] = 1.0
    return 1.0 - np.cumprod(powers)


def _largest_divisor(n: int, most: int) -> int:
    return next(k for k in range(min(n, most), 0, -1) if n % k == 0)


@dataclass
class _State:
    """All that changes while nets are trained."""

    done: Integers
    parameters: Array
    first: Array
    second: Array
    loss: Floats
    norm: Floats
    test_loss: Floats
    test_error: Floats
    solved: Integers
    diverged: Integers

    @classmethod
    def start(
        cls, parameters: Array, optimiser: Optimiser, n_updates: int, test_every: int, every: int
    ) -> _State:
        tests, windows = -(-max(n_updates, 1) // test_every), -(-n_updates // every)
        n = len(parameters)
        checks.room("n_draws x windows x numbers kept", (n, windows + tests, 2))

        def moments(used: bool) -> Array:
            return np.zeros((n, parameters.shape[1] if used else 0), parameters.dtype)

        has_first = optimiser.code == kernels.ADAM or (
            optimiser.code == kernels.SGD and optimiser.decay > 0.0
        )
        return cls(
            np.zeros(1, np.int64),
            parameters,
            moments(has_first),
            moments(optimiser.code != kernels.SGD),
            np.full((n, windows), np.nan),
            np.full((n, windows), np.nan),
            np.full((n, tests), np.nan),
            np.full((n, tests), np.nan),
            np.full(n, -1),
            np.full(n, -1),
        )

    def save(self, path: Path, digest: str) -> None:
        """Write all arrays to a file that is whole or not there."""
        part = path.with_name(path.name + ".part")
        with open(part, "wb") as file:
            np.savez(file, digest=np.array(digest), **vars(self))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)

    def load(self, path: Path, digest: str) -> None:
        """Take over what a call with this digest has left."""
        try:
            with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                found = {name: file[name] for name in ("digest", *vars(self))}
        # RuntimeError: what zipfile says where damage looks like encryption, or a newer format
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise StoreError(f"{path}: no whole checkpoint ({error}); remove it") from error
        if str(found["digest"]) != digest:
            raise StoreError(
                f"{path}: a checkpoint of training with other arguments; remove it, or give "
                "another name"
            )
        for name, array in vars(self).items():
            array[...] = found[name]


def _digest(
    cell: Cell,
    task: Task,
    rules: Rules,
    optimiser: Optimiser,
    state: _State,
    *others: object,
) -> str:
    """Of all that the outcome depends on."""
    digest = hashlib.sha256(
        repr(
            (cell, task.name, task.solved_error, optimiser, tuple(task.problem[:9]), others)
        ).encode()
    )
    shapes = [array.shape for array in vars(state).values()]
    digest.update(repr((shapes, [x for x in rules if not isinstance(x, np.ndarray)])).encode())
    for array in (state.parameters, *rules, *task.problem[9:], *task.test_problem[9:]):
        if isinstance(array, np.ndarray):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
