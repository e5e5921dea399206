"""Tasks with dependencies of a chosen length, each with its chance level and when it is solved."""

from __future__ import annotations

import functools
import importlib
import math
from dataclasses import dataclass, field

import numpy as np

from vgcore import checks
from vgcore._typing import Array
from vgcore.kernels.tasks import (
    ADDING,
    COPIED,
    COPY,
    DISTRACTORS,
    EXAMPLES,
    ORDER,
    RECALL,
    SYMBOLS,
    Problem,
    _batch,
)
from vgcore.kernels.training import numbers_needed
from vgcore.streams import Purpose, Seed, Streams

_NONE = np.zeros((0, 0, 0))
_MOST_CLASSES = 2**31


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """A source of batches, and how predictions of their targets are judged.

    Attributes
    ----------
    name : str
    n_inputs, n_outputs : int
    n_steps : int
        Length of the longest sequence.
    loss : str
        "cross_entropy" of a softmax of the outputs, or "squared"; the mean over sequences, steps
        with a target, and outputs.
    chance_loss, chance_error : float
        Of the best prediction that does not look back.
    solved_error : float
        A net has solved the task when its share of wrong predictions, on sequences that it was not
        trained on, is below this.
    problem, test_problem : Problem
        For the kernels.
    """

    name: str
    n_inputs: int
    n_outputs: int
    n_steps: int
    loss: str
    chance_loss: float
    chance_error: float
    problem: Problem = field(compare=False)
    test_problem: Problem = field(compare=False)
    solved_error: float = 0.01

    def batch(
        self, n_sequences: int, *, rng: Seed = None, net: int = 0, number: int = 1
    ) -> tuple[Array, Array]:
        """Inputs and targets that update `number` of net `net` gets from `train` with this `rng`.

        Parameters
        ----------
        n_sequences
            At least 1.
        rng
            Seed or Generator.
        net, number
            Whose batch, and of which update; both from 0 on.

        Returns
        -------
        inputs : ndarray of float64, shape (n_sequences, T, n_inputs)
        targets : ndarray of float64, shape (n_sequences, steps, 1 or n_outputs)
            They belong to the last steps; of classes they are numbers, from 0 on.

        Raises
        ------
        TypeError, ValueError
            A bad argument, by name.

        Examples
        --------
        >>> import vgcore as vg
        >>> inputs, targets = vg.training.adding(50).batch(20, rng=1)
        >>> inputs.shape, targets.shape
        ((20, 50, 2), (20, 1, 1))
        """
        n_sequences = checks.integer("n_sequences", n_sequences, least=1)
        checks.room(
            "n_sequences x n_steps x (n_inputs + 1)",
            (n_sequences, self.n_steps, self.n_inputs + 1),
        )
        key, salt = Streams.from_rng(rng).key
        stream = salt ^ Streams.address(Purpose.BATCH, checks.integer("net", net))
        inputs = np.zeros((self.n_steps, n_sequences, self.n_inputs))
        problem = self.problem
        width = problem.targets.shape[2] if problem.kind == EXAMPLES else 1
        targets = np.zeros((problem.n_losses, n_sequences, width))
        numbers = np.zeros(1 + n_sequences * numbers_needed(problem))
        number = checks.integer("number", number)
        length = _batch(
            problem, np.uint64(key), np.uint64(stream), number, numbers, inputs, targets
        )
        return inputs[:length].swapaxes(0, 1).copy(), targets.swapaxes(0, 1).copy()

    def __repr__(self) -> str:
        return (
            f"Task({self.name}, n_steps={self.n_steps}, n_inputs={self.n_inputs}, "
            f"n_outputs={self.n_outputs}, loss={self.loss!r}, chance {self.chance_loss:.4g})"
        )


def _made(
    name: str,
    n_inputs: int,
    n_outputs: int,
    chance_loss: float,
    chance_error: float,
    *,
    kind: int,
    n_steps: int,
    shortest: int | None = None,
    n_losses: int = 1,
    size: int = 0,
    cross_entropy: bool,
    n_scored: int = 1,
    tolerance: float = 0.0,
) -> Task:
    """A task whose sequences are made as they are needed."""
    problem = Problem(
        kind,
        n_steps if shortest is None else shortest,
        n_steps,
        n_losses,
        size,
        True,
        cross_entropy,
        n_scored,
        tolerance,
        _NONE,
        _NONE,
    )
    loss = "cross_entropy" if cross_entropy else "squared"
    return Task(
        name, n_inputs, n_outputs, n_steps, loss, chance_loss, chance_error, problem, problem
    )


def _lengths(n_steps: object, least: int) -> tuple[int, int]:
    """The shortest and the longest length of a number or a pair."""
    if isinstance(n_steps, (tuple, list)):
        if len(n_steps) != 2:
            raise ValueError(
                f"n_steps: found {n_steps!r}, expected a length or a pair, the shortest and the "
                "longest"
            )
        shortest = checks.integer("n_steps", n_steps[0], least=least)
        return shortest, checks.integer("n_steps", n_steps[1], least=shortest)
    longest = checks.integer("n_steps", n_steps, least=least)
    return longest, longest


def adding(n_steps: int | tuple[int, int]) -> Task:
    """The adding problem: the sum of two marked values among noise.

    Inputs are values uniform on [0, 1) and marks, two of which are 1: one in the first half and one
    in the second. The target, at the last step, is the sum of the marked values. To answer 1 always
    has the loss 1/6, the variance of the sum. A prediction is right within 0.04.

    Parameters
    ----------
    n_steps
        Length of the sequences, at least 2; a pair for lengths uniform between the two, one for
        all sequences of a batch.

    Returns
    -------
    Task

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Hochreiter and Schmidhuber (1997), experiment 4, where an error below 0.04 counts as right; in
    the form of Le, Jaitly and Hinton (2015), section 4.1, with the marks of Arjovsky, Shah and
    Bengio (2016), section 5.2.

    Examples
    --------
    >>> import vgcore as vg
    >>> vg.training.adding(100)
    Task(adding, n_steps=100, n_inputs=2, n_outputs=1, loss='squared', chance 0.1667)
    """
    shortest, longest = _lengths(n_steps, 2)
    # the sum of two uniform numbers has density 1 at 1: |sum - 1| <= 0.04 has 2 * .04 - .04^2
    return _made(
        "adding", 2, 1, 1.0 / 6.0, 0.96**2, kind=ADDING, n_steps=longest, shortest=shortest,
        cross_entropy=False, tolerance=0.04,
    )  # fmt: skip


def temporal_order(n_steps: int | tuple[int, int], *, n_marks: int = 2) -> Task:
    """Temporal order: which symbols came at two or three places, in which order.

    Symbols are one-hot: 0 and 1 count, and each of the places has one of them; the four others are
    drawn everywhere else. Two places are uniform on [T/10, 2T/10) and [5T/10, 6T/10), three on
    [T/10, 2T/10), [3T/10, 4T/10) and [6T/10, 7T/10). The class, at the last step, is the sum of
    symbol 2^i over the places i = 0, 1 ...; chance is ln 4 or ln 8.

    Parameters
    ----------
    n_steps
        T, at least 10; a pair for lengths uniform between the two, one for all of a batch.
    n_marks
        2 or 3.

    Returns
    -------
    Task

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Hochreiter and Schmidhuber (1997), experiments 6a and 6b, without their symbols for start and
    end; places as in the code of Pascanu, Mikolov and Bengio (2013), who call a task solved when
    under 1 % of fresh sequences are wrong.

    Examples
    --------
    >>> import vgcore as vg
    >>> vg.training.temporal_order((50, 200), n_marks=3).n_outputs
    8
    """
    n_marks = checks.integer("n_marks", n_marks, least=2, most=3)
    shortest, longest = _lengths(n_steps, 10)
    classes = 2**n_marks
    return _made(
        f"temporal_order_{n_marks}", 2 + DISTRACTORS, classes, math.log(classes), 1 - 1 / classes,
        kind=ORDER, n_steps=longest, shortest=shortest, size=n_marks, cross_entropy=True,
    )  # fmt: skip


def copy_memory(delay: int) -> Task:
    """Copy memory: repeat ten symbols, seen at the start, after a delay.

    Sequences are delay + 20 steps long: ten of eight symbols, blanks, a delimiter `delay` steps
    after the last symbol, blanks. Each step has a target: the blank, and in the last ten steps the
    symbols in their order. To answer blanks, then any of the eight, has the loss
    10 ln 8 / (delay + 20). Predictions are counted in the last ten steps.

    Parameters
    ----------
    delay
        At least 1.

    Returns
    -------
    Task

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    Hochreiter and Schmidhuber (1997); in the form of Arjovsky, Shah and Bengio (2016), section 5.1.

    Examples
    --------
    >>> import vgcore as vg
    >>> vg.training.copy_memory(100)
    Task(copy_memory, n_steps=120, n_inputs=10, n_outputs=9, loss='cross_entropy', chance 0.1733)
    """
    delay = checks.integer("delay", delay, least=1)
    length = delay + 2 * COPIED
    return _made(
        "copy_memory", SYMBOLS + 2, SYMBOLS + 1, COPIED * math.log(SYMBOLS) / length,
        1 - 1 / SYMBOLS, kind=COPY, n_steps=length, n_losses=length, size=delay,
        cross_entropy=True, n_scored=COPIED,
    )  # fmt: skip


def delayed_recall(delay: int, n_steps: int | None = None) -> Task:
    """Delayed recall: at each step, the input so many steps before.

    Inputs are uniform on [-1, 1); from step delay + 1 on each step has a target. To answer 0 has
    the loss 1/3, the variance. A prediction is right within 0.1.

    Parameters
    ----------
    delay
        At least 1.
    n_steps
        Length, above `delay`; twice the delay where None.

    Returns
    -------
    Task

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Notes
    -----
    The short-term memory task of Jaeger (2001), whose network has a fixed recurrent matrix.

    Examples
    --------
    >>> import vgcore as vg
    >>> inputs, targets = vg.training.delayed_recall(5, 12).batch(1, rng=1)
    >>> bool((targets[0] == inputs[0, :-5]).all())
    True
    """
    delay = checks.integer("delay", delay, least=1)
    length = 2 * delay if n_steps is None else checks.integer("n_steps", n_steps, least=delay + 1)
    return _made(
        "delayed_recall", 1, 1, 1.0 / 3.0, 0.9, kind=RECALL, n_steps=length,
        n_losses=length - delay, size=delay, cross_entropy=False, n_scored=length - delay,
        tolerance=0.1,
    )  # fmt: skip


def examples(
    inputs: object,
    targets: object,
    *,
    test: tuple[object, object] | None = None,
    n_outputs: int | None = None,
    loss: str = "cross_entropy",
    tolerance: float = 0.1,
    shuffle: bool = True,
    name: str = "examples",
) -> Task:
    """A task of given sequences.

    Parameters
    ----------
    inputs
        Array (n_examples, T, n_inputs).
    targets
        Classes (n_examples, steps), numbers from 0 on, for "cross_entropy"; numbers (n_examples,
        steps, n_outputs) for "squared". They belong to the last `steps` steps: 1 for a loss at the
        last step alone, T for one at each.
    test
        A pair of such arrays for the error; the training examples where None.
    n_outputs
        How many classes; where None, as many as there are in the targets of both.
    loss
        "cross_entropy" or "squared".
    tolerance
        Largest error of a right prediction, with "squared".
    shuffle
        Batches are drawn at random, with replacement; else they are taken in turn, and the size of
        a batch must divide their number.
    name
        For messages.

    Returns
    -------
    Task

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name: shapes that do not match, a loss at a step that does not exist,
        classes that are no such numbers.

    Examples
    --------
    >>> import numpy as np, vgcore as vg
    >>> vg.training.examples(np.zeros((6, 9, 2)), np.zeros((6, 1)), n_outputs=3)
    Task(examples, n_steps=9, n_inputs=2, n_outputs=3, loss='cross_entropy', chance 0)
    """
    checks.choice("loss", loss, ("cross_entropy", "squared"))
    entropy = loss == "cross_entropy"
    u, y = _pair("", inputs, targets, entropy)
    tested = u, y
    if test is not None:
        if not isinstance(test, (tuple, list)) or len(test) != 2:
            raise TypeError(
                f"test: found {type(test).__name__}, expected a pair of arrays, inputs and targets"
            )
        tested = _pair("test ", *test, entropy)
    for array, other, what in ((u, tested[0], "inputs"), (y, tested[1], "targets")):
        if array.shape[1:] != other.shape[1:]:
            raise ValueError(
                f"test: found {what} of shape {other.shape}, expected (n, *{array.shape[1:]})"
            )
    classes = int(max(y.max(), tested[1].max())) + 1 if entropy else y.shape[2]
    n_outputs = classes if n_outputs is None else checks.integer("n_outputs", n_outputs, least=1)
    if n_outputs < classes or (not entropy and n_outputs != classes):
        raise ValueError(
            f"n_outputs: found {n_outputs}, expected {'at least ' * entropy}{classes} for targets"
        )
    if entropy:
        shares = np.unique(y, return_counts=True)[1] / y.size
        chance, wrong = float(-(shares * np.log(shares)).sum()) + 0.0, 1.0 - float(shares.max())
    else:
        with np.errstate(over="ignore"):
            chance, wrong = float(y.var(axis=(0, 1)).mean()), 1.0
        if not math.isfinite(chance):
            raise ValueError(
                f"targets: found numbers as large as {np.abs(y).max():.3g}, whose squares "
                "overflow; rescale them"
            )
    common = (u.shape[1], u.shape[1], y.shape[1], 0)
    tolerance = checks.positive("tolerance", tolerance)
    mixed = checks.flag("shuffle", shuffle)
    return Task(
        name,
        u.shape[2],
        n_outputs,
        u.shape[1],
        loss,
        chance,
        wrong,
        Problem(EXAMPLES, *common, mixed, entropy, y.shape[1], tolerance, u, y),
        Problem(EXAMPLES, *common, False, entropy, y.shape[1], tolerance, *tested),
    )


def _pair(prefix: str, inputs: object, targets: object, entropy: bool) -> tuple[Array, Array]:
    """Inputs and targets, checked, in float64; classes get a last axis of 1."""
    u = checks.shaped(f"{prefix}inputs", inputs, ("n_examples", "T", "n_inputs"))
    axes = ("steps",) if entropy else ("steps", "n_outputs")
    y = checks.shaped(f"{prefix}targets", targets, (len(u), *axes))
    if 0 in u.shape or 0 in y.shape:
        raise ValueError(f"{prefix}inputs: found shapes {u.shape} and {y.shape}, expected no 0")
    if y.shape[1] > u.shape[1]:
        raise ValueError(
            f"{prefix}targets: found {y.shape[1]} steps with a target, expected at most the "
            f"{u.shape[1]} steps of inputs"
        )
    if entropy:
        unfit = y[(y != np.floor(y)) | (y < 0) | (y >= _MOST_CLASSES)]
        if len(unfit):
            raise ValueError(
                f"{prefix}targets: found {unfit[0]:g}, expected the numbers of classes, 0, 1, ... "
                f"below {_MOST_CLASSES:,}; give loss='squared' for targets that are numbers"
            )
        y = y[..., None]
    return np.ascontiguousarray(u, np.float64), np.ascontiguousarray(y, np.float64)


def digits(*, permuted: bool = False) -> Task:
    """Handwritten digits read pixel by pixel: 64 steps, then which of ten it is.

    The 1,797 images of 8 x 8 pixels that come with scikit-learn (`pip install 'vgcore[data]'`), of
    the UCI repository's test set, gray levels over 16. Every fifth image is for the test.

    Parameters
    ----------
    permuted
        Read the pixels in an order drawn at random, the same for all images.

    Returns
    -------
    Task

    Raises
    ------
    ImportError
        scikit-learn is not installed.

    Notes
    -----
    After the sequential MNIST of Le, Jaitly and Hinton (2015), section 4.2.

    Examples
    --------
    >>> import vgcore as vg
    >>> vg.training.digits().n_steps  # doctest: +SKIP
    64
    """
    permuted = checks.flag("permuted", permuted)
    images, labels = _digits()
    if permuted:
        images = images[:, Streams.from_address(0, "digits").at(Purpose.INPUTS, 0).permutation(64)]
    test = np.arange(len(images)) % 5 == 4
    return examples(
        images[~test, :, None],
        labels[~test, None],
        test=(images[test, :, None], labels[test, None]),
        n_outputs=10,
        name="permuted_digits" if permuted else "digits",
    )


@functools.cache
def _digits() -> tuple[Array, Array]:
    try:
        load_digits = importlib.import_module("sklearn.datasets").load_digits
    except ImportError:
        raise ImportError(
            "digits: the images come with scikit-learn, which is not installed; "
            "pip install 'vgcore[data]'"
        ) from None
    found = load_digits()
    return found.data / 16.0, found.target
