"""The remedies that a study can name: what each does to a condition, its network or its gradient.

Each cell of `study.cells` and each law of `initializers` is a remedy under its own name: it takes
the place of the condition's. Adding another remedy is one class here, entered in `REMEDIES`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from vgcore import checks, remedies
from vgcore._typing import Array, Integers
from vgcore.cells import RNN, Cell
from vgcore.checks import suggestion
from vgcore.initializers import INITIALIZERS
from vgcore.profile import GradientProfile
from vgcore.spectrum import spectral_radius
from vgcore.study.cells import CELLS, CellKind
from vgcore.study.choices import Choice, choose, named, table_of

_STAGES = 4  # of descent to an orthogonal matrix, each at a rate of its own

RECURRENT = tuple(name for name in CELLS if name != "deep")
"""Cells whose steps share one W_rec."""


class Run(NamedTuple):
    """What a network runs on: arguments of `gradient_profile` and of the remedies."""

    n_steps: int
    burn_in: int
    inputs: Array | None
    n_trajectories: int
    initial_state: Array
    loss_gradient: Array

    def arguments(self) -> dict[str, Any]:
        """All but n_steps as keywords, to run on one thread."""
        return self._asdict() | {"n_threads": 1}

    def shortened(self, n_steps: int) -> Run:
        """The first steps after burn-in only."""
        inputs = None if self.inputs is None else self.inputs[..., : self.burn_in + n_steps, :]
        return self._replace(n_steps=n_steps, inputs=inputs)


class Treated(NamedTuple):
    """A gradient after a remedy.

    Attributes
    ----------
    profile : GradientProfile
        Of what the remedy leaves of the gradient.
    cosine, log_kept : ndarray, shape (n_draws, n_trajectories)
        Cosine of dE_T/dW_rec after the remedy with that before, and ln of the ratio of their norms;
        nan where the gradient left the range of numbers.
    """

    profile: GradientProfile
    cosine: Array
    log_kept: Array


class Remedy(Choice):
    """What is done against vanishing or exploding; this one does nothing."""

    against: ClassVar[str] = ""
    only: ClassVar[tuple[str, ...]] = ()
    """Names of the cells it can be used on; all where empty."""
    descends: ClassVar[bool] = False
    """Whether its network comes from a descent, which may diverge."""

    def factors(self) -> dict[str, Any]:
        """Factors of the condition whose place it takes."""
        return {}

    def network(self, cell: Cell, run: Run) -> tuple[Cell, Integers]:
        """The networks after the remedy, and the update at which each stopped early, else -1."""
        return cell, np.full(cell.n_draws, -1)

    def gradient(self, cell: Cell, profile: GradientProfile, run: Run) -> Treated:
        """What is left of the gradient."""
        shape = profile.log_norm.shape[:2]
        return Treated(profile, np.ones(shape), np.zeros(shape))

    def step_cost(self, n_hidden: int, n_steps: int) -> float:
        """Multiplications of a training step, in units of those without the remedy."""
        return 1.0

    def flop(self, cell: CellKind, n_hidden: int, n_steps: int) -> float:
        """Operations that measuring the remedy takes, a draw and trajectory."""
        return 0.0


@dataclass(frozen=True)
class Nothing(Remedy):
    """No remedy: the condition as it stands, with which the others are compared."""

    name = "none"


@dataclass(frozen=True)
class OtherCell(Remedy):
    """A cell in the place of the condition's; its name and keywords are the remedy's."""

    cell: CellKind
    against = "vanishing"

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.cell.name

    @property
    def keywords(self) -> dict[str, Any]:
        return self.cell.keywords

    @property
    def description(self) -> str:
        return self.cell.description

    def factors(self) -> dict[str, Any]:
        return {"cell": self.cell}


@dataclass(frozen=True)
class OtherLaw(Remedy):
    """A law of W_rec in the place of the condition's, at its scale or at the law's own."""

    init: str
    own_scale: bool = False
    against = "vanishing"

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.init

    @property
    def keywords(self) -> dict[str, Any]:
        return {"own_scale": True} if self.own_scale else {}

    @property
    def description(self) -> str:
        return INITIALIZERS[self.init].description

    def factors(self) -> dict[str, Any]:
        scale = {"spectral_radius": None, "gain": None} if self.own_scale else {}
        return {"init": self.init, "law": (), **scale}


@dataclass(frozen=True)
class Truncation(Remedy):
    """Truncated backpropagation through time: each loss goes back k steps and no more (Williams \
    and Peng 1990).
    """

    name = "truncation"
    against = "exploding"
    only = RECURRENT
    k: int = 50

    def __post_init__(self) -> None:
        checks.integer("k", self.k, least=1)

    def gradient(self, cell: Cell, profile: GradientProfile, run: Run) -> Treated:
        k = min(self.k, run.n_steps)
        arguments = run.arguments()
        found = remedies.truncation(cell, arguments.pop("n_steps"), [k], **arguments)
        log_norm = profile.log_norm.copy()
        log_contribution = profile.log_contribution.copy()
        log_norm[..., k:] = log_contribution[..., k:] = -np.inf
        with np.errstate(invalid="ignore"):
            log_kept = found.log_norm[..., 0] - found.log_full_norm
        return Treated(
            dataclasses.replace(profile, log_norm=log_norm, log_contribution=log_contribution),
            found.cosine[..., 0],
            log_kept,
        )

    def step_cost(self, n_hidden: int, n_steps: int) -> float:
        return (n_steps + min(self.k, n_steps)) / (2 * n_steps)

    def flop(self, cell: CellKind, n_hidden: int, n_steps: int) -> float:
        return _unrolled_flop(cell, n_hidden, n_steps)


class _Clipping(Remedy):
    """Gradient clipping; see `vgcore.remedies.clipping`."""

    against = "exploding"
    only = RECURRENT
    by: ClassVar[Any]
    threshold: float

    def __post_init__(self) -> None:
        checks.positive("threshold", self.threshold)

    def gradient(self, cell: Cell, profile: GradientProfile, run: Run) -> Treated:
        arguments = run.arguments()
        n_steps = arguments.pop("n_steps")
        found = remedies.clipping(cell, n_steps, self.threshold, by=self.by, **arguments)
        with np.errstate(invalid="ignore"):
            log_kept = found.log_clipped_norm - found.log_norm
        log_kept[np.isneginf(found.log_norm)] = 0.0
        # of the trajectory that is clipped: where it is chaotic the profile's own is another one
        log_norm, log_contribution = found.log_delta, found.log_term.copy()
        log_contribution[..., -1] = profile.log_contribution[..., -1]  # of what precedes all steps
        shift = self._shift(log_norm, log_kept)
        return Treated(
            dataclasses.replace(
                profile, log_norm=log_norm + shift, log_contribution=log_contribution + shift
            ),
            found.cosine,
            log_kept,
        )

    def _shift(self, log_norm: Array, log_kept: Array) -> Array:
        """What is added to the profile: all lags are scaled as the whole gradient is."""
        return np.nan_to_num(log_kept, nan=0.0)[..., None]

    def flop(self, cell: CellKind, n_hidden: int, n_steps: int) -> float:
        return _unrolled_flop(cell, n_hidden, n_steps)


@dataclass(frozen=True)
class ClipNorm(_Clipping):
    """Gradient clipping by norm: dE/dW_rec is scaled down to a norm of at most the threshold \
    (Pascanu et al. 2013, algorithm 1).
    """

    name = "clip_norm"
    by = "norm"
    threshold: float = 1.0


@dataclass(frozen=True)
class ClipValue(_Clipping):
    """Gradient clipping by value: entries of dE/dW_rec are cut at plus and minus the threshold \
    (Mikolov 2012).
    """

    name = "clip_value"
    by = "value"
    threshold: float = 1.0


@dataclass(frozen=True)
class ClipDelta(_Clipping):
    """Step-wise clipping: each dE/dx_t is scaled down to a norm of at most the threshold on the \
    way back (after Graves 2013, section 2.1).
    """

    name = "clip_delta"
    by = "delta"
    threshold: float = 1.0

    def _shift(self, log_norm: Array, log_kept: Array) -> Array:
        # Each step is linear, so what was cut off so far is the largest excess so far.
        excess = np.maximum.accumulate(log_norm - np.log(self.threshold), axis=-1)
        return -np.maximum(excess, 0.0)


class _Penalty(Remedy):
    """Descent on a penalty of W_rec; see `vgcore.remedies.penalised_descent`."""

    against = "exploding"
    only = ("rnn",)
    descends = True
    n_updates: int

    def __post_init__(self) -> None:
        checks.integer("n_updates", self.n_updates)

    def network(self, cell: Cell, run: Run) -> tuple[Cell, Integers]:
        rate: float = self.learning_rate  # type: ignore[attr-defined]
        return self._descend(cell, self.n_updates, rate, run)

    def _descend(
        self, cell: Cell, n_updates: int, learning_rate: Array | float, run: Run
    ) -> tuple[Cell, Integers]:
        name: Any = self.name
        found = remedies.penalised_descent(
            _vanilla(cell), name, n_updates, learning_rate, **self._options(run)
        )
        return found.cell, found.stopped_at

    def _options(self, run: Run) -> dict[str, Any]:
        return {"n_threads": 1}


@dataclass(frozen=True)
class Omega(_Penalty):
    """Pascanu's regulariser: descent on Omega, which asks of each step to keep the norm of the \
    gradient (Pascanu et al. 2013, eq. 9).
    """

    name = "omega"
    n_updates: int = 100
    learning_rate: float = 0.01
    n_steps: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive("learning_rate", self.learning_rate)
        checks.integer("n_steps", self.n_steps, least=1)

    def _options(self, run: Run) -> dict[str, Any]:
        return run.shortened(min(self.n_steps, run.n_steps)).arguments()

    def step_cost(self, n_hidden: int, n_steps: int) -> float:
        return 1.5  # one more product with W_rec a step: the immediate derivative

    def flop(self, cell: CellKind, n_hidden: int, n_steps: int) -> float:
        # stepwise products of one matrix after another, at a third of a kernel's speed
        return 36.0 * n_hidden**2 * min(self.n_steps, n_steps) * self.n_updates


@dataclass(frozen=True)
class Orthogonality(_Penalty):
    """Soft orthogonality: descent on ||W^T W - I||_F^2 (Vorontsov et al. 2017)."""

    name = "orthogonality"
    n_updates: int = 100

    def network(self, cell: Cell, run: Run) -> tuple[Cell, Integers]:
        # The rate of certain convergence rises as the largest singular value falls to 1. At the
        # first one the small ones, which grow by a quarter or half an update then, would not move.
        stopped, done = np.full(cell.n_draws, -1), 0
        for part in np.diff(np.linspace(0, self.n_updates, _STAGES + 1).round().astype(int)):
            cell, new = self._descend(cell, int(part), _certain_rate(cell.W_rec), run)
            stopped = np.where((stopped < 0) & (new >= 0), done + new, stopped)
            done += part
        return cell, stopped

    def step_cost(self, n_hidden: int, n_steps: int) -> float:
        return 1.0 + n_hidden / n_steps  # two products of N x N matrices an update

    def flop(self, cell: CellKind, n_hidden: int, n_steps: int) -> float:
        return 3.0 * n_hidden**3 * self.n_updates


@dataclass(frozen=True)
class L2(_Penalty):
    """Weight decay: descent on ||W_rec||_F^2 (Pascanu et al. 2013, section 3.2)."""

    name = "l2"
    n_updates: int = 10
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive("learning_rate", self.learning_rate)


def _unrolled_flop(cell: CellKind, n_hidden: int, n_steps: int) -> float:
    """Operations to unroll a network; beside them a step of other cells than rnn takes 2.5 us."""
    own = 0.0 if cell.name == "rnn" else 60_000.0
    return n_steps * (12.0 * cell.arithmetic() * n_hidden**2 + own)


def _certain_rate(W: Array) -> Array:
    """The largest power of two up to 1 / (8 sigma_max^2), or 1/8, for each matrix.

    A power of two, since NumPy's sums may round otherwise on another processor.
    """
    gram = np.einsum("dij,dik->djk", W, W, dtype=np.float64)
    rates = 0.125 / np.maximum(spectral_radius(gram, n_threads=1), 1.0)
    return np.ldexp(0.5, np.frexp(rates)[1])


def _vanilla(cell: Cell) -> RNN:
    """The cell, which `only` has promised to be vanilla."""
    assert isinstance(cell, RNN)
    return cell


REMEDIES = table_of(Nothing, Truncation, ClipNorm, ClipValue, ClipDelta, Omega, Orthogonality, L2)
"""Remedies by name that are neither a cell nor a law of the weights."""


def names() -> Iterable[str]:
    """Every name that `remedy` takes."""
    return [*REMEDIES, *(name for name in CELLS if name != "rnn"), *INITIALIZERS]


def find_remedy(value: object) -> Remedy:
    """The remedy that a value of a study file stands for.

    Raises
    ------
    ValueError
        An unknown name or keyword, or a bad value.

    Examples
    --------
    >>> from vgcore.study.remedies import find_remedy
    >>> find_remedy({"name": "lstm", "forget_bias": 1.0}).label
    'lstm (forget_bias = 1)'
    """
    if isinstance(value, Remedy):
        return value
    name, keywords = named(value, "remedy")
    if name in CELLS:
        return OtherCell(choose(CELLS, name, keywords))
    if name in INITIALIZERS:
        own_scale = keywords.pop("own_scale", False)
        if keywords or not isinstance(own_scale, bool):
            raise ValueError(
                f"{name!r}: found {keywords or {'own_scale': own_scale}}, expected no keyword but "
                "own_scale, true or false"
            )
        return OtherLaw(name, own_scale)
    if name not in REMEDIES:
        raise ValueError(f"{name!r} is not known; {suggestion(name, names())}")
    return choose(REMEDIES, name, keywords)
