"""The table of operations: what is timed, beside which peers, at which sizes.

It feeds `vgcore bench`, `pytest benchmarks`, and the tests that all implementations agree. A new
operation is one entry of `OPERATIONS`, with its peers in `vgcore.bench.peers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

import vgcore as vg
from vgcore.bench import peers
from vgcore.bench.peers import with_one_thread
from vgcore.streams import Purpose, Streams

OURS = "vgcore"
CLIP_AT = 0.1
UPDATES, RATE = 5, 0.05


class Case(NamedTuple):
    """The sizes of one benchmark."""

    n_hidden: int
    n_draws: int
    n_steps: int = 0
    n_trajectories: int = 1
    dtype: str = "float64"

    def __str__(self) -> str:
        parts = [f"N={self.n_hidden}", f"{self.n_draws} draws"]
        parts += [f"T={self.n_steps}"] if self.n_steps else []
        parts += [f"{self.n_trajectories} trajectories"] if self.n_trajectories > 1 else []
        return ", ".join([*parts, self.dtype])

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize


class Problem(NamedTuple):
    """One instance: vgcore's call of it, and what its peers are called with.

    Attributes
    ----------
    ours : callable
        Takes the number of threads, returns an array.
    arrays : tuple of ndarray
        For the peers, converted to their libraries before the clock starts.
    constants : tuple
        Arguments that follow the arrays.
    """

    ours: Callable[[int | None], Any]
    arrays: tuple[Any, ...]
    constants: tuple[Any, ...]


class Load(NamedTuple):
    """Bytes that an operation loads, and how many a thread goes over again and again."""

    bytes: float
    working_set: float


class Counts(NamedTuple):
    """What an operation amounts to.

    Attributes
    ----------
    flop : float
        Floating-point operations of the whole call, matrix products alone.
    loads : tuple of Load
        Of matrices, what they take at least.
    tanh : float
        Units whose activations are taken; a gate is one.
    """

    flop: float
    loads: tuple[Load, ...]
    tanh: float

    @property
    def intensity(self) -> float:
        """Floating-point operations for each byte loaded."""
        return self.flop / sum(load.bytes for load in self.loads)


@dataclass(frozen=True)
class Operation:
    """An operation with everything that the benchmarks know of it.

    Attributes
    ----------
    name : str
    make : callable
        Case to `Problem`.
    peers : mapping of str to callable
        `vgcore.bench.peers` by name; empty where nobody else does the same work at once.
    cases : mapping of str to tuple of Case
        By size of the run: "smoke", "minute" and "full".
    counts : callable or None
        Case to `Counts`; None where the work depends on the numbers.
    tolerance : mapping of str to float
        By dtype, absolute and relative, within which the peers agree. Empty: the numbers are
        random, and only their mean square can agree.
    """

    name: str
    make: Callable[[Case], Problem]
    peers: Mapping[str, Callable[..., Any]]
    cases: Mapping[str, tuple[Case, ...]]
    counts: Callable[[Case], Counts] | None = None
    tolerance: Mapping[str, float] = field(default_factory=dict)

    def implementations(self) -> list[str]:
        """Return vgcore and the peers whose libraries are installed."""
        return [OURS, *(name for name in self.peers if peers.available(name))]

    def callables(
        self, case: Case, names: list[str], n_threads: int | None = None
    ) -> dict[str, Callable[[], Any]]:
        """A call without arguments for each implementation, its arrays made and converted."""
        problem = self.make(case)

        def call(name: str) -> Callable[[], Any]:
            if name == OURS:
                return lambda: problem.ours(n_threads)
            arguments = (*peers.prepare(name, *problem.arrays), *problem.constants)
            return lambda: self.peers[name](*arguments)

        return {name: call(name) for name in names}


# --- problems: the same numbers for every implementation ------------------------------------


def _network(case: Case, gain: float = 1.0) -> tuple[vg.RNN, Any, Any]:
    """Networks at a gain, states and losses (n_draws, n_trajectories, N)."""
    cell = vg.RNN.draw(case.n_draws, case.n_hidden, gain=gain, dtype=case.dtype, rng=1)
    shape = (2, case.n_draws, case.n_trajectories, case.n_hidden)
    state, loss = np.random.default_rng(2).standard_normal(shape).astype(case.dtype)
    return cell, state, loss


def _columns(rows: Any) -> Any:
    """Trajectories as columns of a matrix, which is how a peer multiplies them."""
    return np.ascontiguousarray(rows.swapaxes(1, 2))


def _profile(case: Case, cell: Any, parameters: tuple[Any, ...], state: Any, loss: Any) -> Problem:
    """The log norms of a cell whose peers take these parameters."""

    def ours(n_threads: int | None) -> Any:
        return vg.gradient_profile(
            cell,
            case.n_steps,
            n_trajectories=case.n_trajectories,
            initial_state=state,
            loss_gradient=loss,
            n_threads=n_threads,
        ).log_norm

    return Problem(ours, (*parameters, _columns(state), _columns(loss)), (case.n_steps,))


def _gradient_profile(case: Case) -> Problem:
    cell, state, loss = _network(case)
    return _profile(case, cell, (cell.W_rec,), state, loss)


def _gated_profile(kind: str) -> Callable[[Case], Problem]:
    def make(case: Case) -> Problem:
        cell = getattr(vg, kind).draw(case.n_draws, case.n_hidden, dtype=case.dtype, rng=1)
        shape = (2, case.n_draws, case.n_trajectories, cell.n_state)
        state, loss = np.random.default_rng(2).standard_normal(shape).astype(case.dtype)
        one = kind == "LSTM"
        bias = cell.bias if one else np.concatenate([cell.b_ih, cell.b_hh], axis=1)
        return _profile(case, cell, (cell.W_hh, bias[..., None]), state, loss)

    return make


def _leaky_profile(case: Case) -> Problem:
    cell, state, loss = _network(case)
    leaky = vg.LeakyRNN(cell.W_rec, leak=peers.LEAK)
    bias = np.zeros((case.n_draws, case.n_hidden, 1), case.dtype)
    return _profile(case, leaky, (cell.W_rec, bias), state, loss)


def _deep_profile(case: Case) -> Problem:
    _, state, loss = _network(case)
    cell = vg.DeepNet.draw(case.n_draws, case.n_steps, case.n_hidden, dtype=case.dtype, rng=1)
    problem = _profile(case, cell, (cell.W,), state, loss)
    return problem._replace(constants=())


def _lyapunov_exponents(case: Case) -> Problem:
    cell, state, _ = _network(case, gain=1.5)
    state, n = state[:, 0], case.n_hidden
    frame = Streams.from_rng(3).at(Purpose.TANGENT_FRAME, 0).standard_normal((n, n))

    def ours(n_threads: int | None) -> Any:
        return vg.lyapunov_exponents(
            cell, case.n_steps, initial_state=state, rng=3, n_threads=n_threads
        )

    return Problem(ours, (cell.W_rec, state, frame), (case.n_steps,))


def _jacobian_product(case: Case) -> Problem:
    cell, state, _ = _network(case, gain=1.5)
    state = state[:, 0]

    def ours(n_threads: int | None) -> Any:
        log_scale, P = vg.jacobian_product(
            cell, case.n_steps, initial_state=state, n_threads=n_threads
        )
        return np.exp(log_scale)[:, None, None] * P

    return Problem(ours, (cell.W_rec, state), (case.n_steps,))


def _log_singular_values(case: Case) -> Problem:
    cell, state, _ = _network(case, gain=1.5)

    def ours(n_threads: int | None) -> Any:
        return vg.log_singular_values(
            cell, case.n_steps, initial_state=state[:, 0], n_threads=n_threads
        )

    return Problem(ours, (), ())


def _spectral_radius(case: Case) -> Problem:
    W = vg.draw_weights("gaussian", case.n_draws, case.n_hidden, rng=1)
    return Problem(lambda n_threads: vg.spectral_radius(W, n_threads=n_threads), (W,), ())


def _draw_weights(case: Case) -> Problem:
    sizes = case.n_draws, case.n_hidden
    return Problem(
        lambda n_threads: vg.draw_weights("gaussian", *sizes, rng=1, n_threads=n_threads), (), sizes
    )


def _clipping(case: Case) -> Problem:
    cell, state, loss = _network(case)

    def ours(n_threads: int | None) -> Any:
        found = vg.remedies.clipping(
            cell,
            case.n_steps,
            CLIP_AT,
            initial_state=state,
            loss_gradient=loss,
            n_threads=n_threads,
        )
        return np.stack([found.log_norm[:, 0], found.log_clipped_norm[:, 0]])

    arrays = cell.W_rec, _columns(state), _columns(loss)
    return Problem(ours, arrays, (case.n_steps, CLIP_AT))


def _truncation(case: Case) -> Problem:
    cell, state, loss = _network(case)

    def ours(n_threads: int | None) -> Any:
        return vg.remedies.truncation(
            cell, case.n_steps, initial_state=state, loss_gradient=loss, n_threads=n_threads
        ).log_norm

    return Problem(ours, (), ())


def _penalised_descent(case: Case) -> Problem:
    cell, _, _ = _network(case)

    def ours(n_threads: int | None) -> Any:
        found = vg.remedies.penalised_descent(
            cell, "orthogonality", case.n_steps, 1e-3, n_threads=n_threads
        )
        return found.cell.W_rec

    return Problem(ours, (), ())


def _training(case: Case) -> Problem:
    """Updates of gradient descent; every network sees the same sequences again and again."""
    n, sequences = case.n_hidden, case.n_trajectories
    cell = vg.RNN.draw(case.n_draws, n, n_inputs=2, bias_variance=0.1, dtype=case.dtype, rng=1)
    rng = np.random.default_rng(2)
    u = rng.standard_normal((sequences, case.n_steps, 2))
    y = rng.standard_normal((sequences, 1, 1))
    W_out = (rng.standard_normal((case.n_draws, 1, n)) * n**-0.5).astype(case.dtype)
    b_out = np.zeros((case.n_draws, 1), case.dtype)
    task = vg.training.examples(u, y, loss="squared", shuffle=False)

    def ours(n_threads: int | None) -> Any:
        found = vg.training.train(
            cell,
            task,
            UPDATES,
            batch=sequences,
            learning_rate=RATE,
            readout=(W_out, b_out),
            n_threads=n_threads,
        )
        return found.cell.W_rec

    inputs = np.ascontiguousarray(u.swapaxes(0, 1), case.dtype)
    arrays = cell.W_rec, cell.W_in, cell.bias, W_out, b_out, inputs, y[:, 0].astype(case.dtype)
    return Problem(ours, arrays, (UPDATES, RATE))


# --- sizes and the table ----------------------------------------------------------------------


def _both(cases: Mapping[str, tuple[Case, ...]]) -> dict[str, tuple[Case, ...]]:
    """The same cases in float32 and in float64."""
    dtypes = ("float32", "float64")
    return {
        size: tuple(case._replace(dtype=dtype) for dtype in dtypes for case in some)
        for size, some in cases.items()
    }


def _matrix(case: Case) -> float:
    """Bytes of one recurrent matrix."""
    return case.n_hidden**2 * case.itemsize


def _vectors(case: Case) -> float:
    """Number of state vectors that are multiplied by a matrix, once each way."""
    return 2 * case.n_steps * case.n_draws * case.n_trajectories


def _sequence_steps(case: Case) -> float:
    """Steps of all sequences of all networks."""
    return case.n_steps * case.n_draws * case.n_trajectories


_SMALL = (Case(7, 5, 6), Case(19, 3, 40))
_STEPWISE = {
    "smoke": _SMALL,
    "minute": (Case(16, 64, 50), Case(64, 16, 50)),
    "full": (Case(16, 200, 100), Case(32, 100, 100), Case(64, 50, 100), Case(128, 16, 100)),
}
_ALONE = {"smoke": _SMALL[:1], "minute": (Case(64, 16, 50),), "full": (Case(64, 50, 100),)}


def _passes(case: Case, gates: int = 1, activations: int = 1) -> Counts:
    """There and back through time with a matrix of so many gates, which all trajectories share."""
    flop = 2 * gates * case.n_hidden**2 * _vectors(case)
    size = gates * _matrix(case)
    load = Load(size * _vectors(case) / case.n_trajectories, size)
    return Counts(flop, (load,), activations * case.n_hidden * _sequence_steps(case))


def _layers(case: Case) -> Counts:
    """There and back through layers: every matrix comes from where all draws lie, then again."""
    one = _passes(case)
    draw = _matrix(case) * case.n_steps
    there, back = (Load(draw * case.n_draws, n * draw) for n in (case.n_draws, 1))
    return one._replace(loads=(there, back))


def _frames(case: Case) -> Counts:
    """Steps of a frame of N vectors: its product with a matrix, 2 N^3.

    For exponents too: N^3 to eliminate (columns used up stay, as zeros), and N^3 for the product
    with the triangular frame.
    """
    steps = _sequence_steps(case)
    load = Load(2 * _matrix(case) * steps, 2 * _matrix(case))
    return Counts(2 * case.n_hidden**3 * steps, (load,), case.n_hidden * steps)


def _batches(case: Case) -> Counts:
    """Updates by batches: there, back, and the sum of outer products; then a test, there alone."""
    passes, steps = 3 * UPDATES + 1, _sequence_steps(case)
    load = Load(_matrix(case) * case.n_steps * case.n_draws * passes, 2 * _matrix(case))
    flop = 2 * case.n_hidden**2 * steps * passes
    return Counts(flop, (load,), case.n_hidden * steps * (UPDATES + 1))


def _gated(kind: str, gates: int, activations: int) -> Operation:
    """The profile of a cell whose matrix has so many gates, and a step so many activations."""
    name = kind.lower()
    return Operation(
        f"{name}_profile",
        _leaky_profile if kind == "leaky" else _gated_profile(kind),
        {
            "numpy": peers.batched_cell("numpy", name),
            "torch": peers.batched_cell("torch", name),
            "jax_vmap": peers.jax_cell("vmap", name),
            "jax_map": peers.jax_cell("map", name),
        },
        _both(
            {
                "smoke": (*_SMALL, Case(9, 3, 6, n_trajectories=3)),
                "minute": (Case(32, 50, 50),),
                "full": (
                    Case(16, 1000, 500),
                    Case(32, 1000, 500),
                    Case(64, 1000, 100),
                    Case(128, 1000, 50),
                ),
            }
        ),
        counts=lambda case: _passes(case, gates, activations),
        tolerance={"float32": 1e-3, "float64": 1e-9},
    )


OPERATIONS = (
    Operation(
        "gradient_profile",
        _gradient_profile,
        {
            **with_one_thread(peers.numpy_profile),
            "torch": peers.torch_profile,
            "jax_vmap": peers.jax_profile("vmap"),
            "jax_map": peers.jax_profile("map"),
        },
        _both(
            {
                "smoke": (*_SMALL, Case(9, 3, 6, n_trajectories=3)),
                "minute": (
                    *(Case(n, 200, 100) for n in (16, 32, 64, 128)),
                    Case(64, 16, 50, n_trajectories=16),
                ),
                "full": (
                    *(Case(n, 1000, 500) for n in (16, 32, 64)),
                    Case(63, 1000, 500),
                    Case(128, 1000, 100),
                    Case(256, 200, 100),
                    Case(16, 1000, 100, 16),
                    Case(32, 1000, 50, 16),
                    Case(64, 1000, 50, 16),
                    Case(128, 1000, 20, 16),
                ),
            }
        ),
        counts=_passes,
        tolerance={"float32": 1e-3, "float64": 1e-9},
    ),
    _gated("LSTM", 4, 5),
    _gated("GRU", 3, 3),
    _gated("leaky", 1, 1),
    Operation(
        "deep_profile",
        _deep_profile,
        {
            **with_one_thread(peers.numpy_deep),
            "torch": peers.torch_deep,
            "jax_vmap": peers.jax_deep,
        },
        _both(
            {
                "smoke": (*_SMALL[:1], Case(9, 3, 6, n_trajectories=3)),
                "minute": (Case(32, 50, 20),),
                "full": (
                    Case(16, 1000, 50),
                    Case(32, 1000, 50),
                    Case(64, 300, 50),
                    Case(128, 100, 50),
                ),
            }
        ),
        counts=_layers,
        tolerance={"float32": 1e-3, "float64": 1e-9},
    ),
    Operation(
        "lyapunov_exponents",
        _lyapunov_exponents,
        {
            **with_one_thread(peers.numpy_lyapunov),
            "torch": peers.torch_lyapunov,
            "jax_vmap": peers.jax_lyapunov,
        },
        _STEPWISE,
        counts=_frames,
        tolerance={"float64": 1e-9},
    ),
    Operation(
        "jacobian_product",
        _jacobian_product,
        {**with_one_thread(peers.numpy_jacobian), "torch": peers.torch_jacobian},
        _STEPWISE,
        counts=_frames,
        tolerance={"float64": 1e-9},
    ),
    Operation("log_singular_values", _log_singular_values, {}, _ALONE),
    Operation(
        "spectral_radius",
        _spectral_radius,
        {**with_one_thread(peers.numpy_radius), "torch": peers.torch_radius},
        {
            "smoke": (Case(7, 5), Case(19, 3)),
            "minute": (Case(64, 50),),
            "full": (Case(32, 1000), Case(64, 1000), Case(128, 1000)),
        },
        tolerance={"float64": 1e-7},
    ),
    Operation(
        "draw_weights",
        _draw_weights,
        {
            "numpy_addressed": peers.numpy_addressed_weights,
            "numpy": peers.numpy_weights,
            "torch": peers.torch_weights,
        },
        {
            "smoke": (Case(19, 50),),
            "minute": (Case(64, 200),),
            "full": (Case(16, 1000), Case(64, 1000), Case(128, 200)),
        },
    ),
    Operation(
        "clipping",
        _clipping,
        {**with_one_thread(peers.numpy_clipping), "torch": peers.torch_clipping},
        _STEPWISE,
        tolerance={"float64": 1e-9},
    ),
    Operation("truncation", _truncation, {}, _ALONE),
    Operation("penalised_descent", _penalised_descent, {}, _ALONE),
    Operation(
        "training",
        _training,
        {
            "torch": peers.torch_training,
            "jax_vmap": peers.jax_training("vmap"),
            "jax_map": peers.jax_training("map"),
        },
        {
            "smoke": (Case(7, 3, 6, 5),),
            "minute": (Case(50, 16, 50, 20),),
            "full": tuple(
                Case(n, 50, 100, 20, dtype)
                for dtype in ("float32", "float64")
                for n in (20, 50, 100)
            ),
        },
        counts=_batches,
        tolerance={"float32": 1e-3, "float64": 1e-9},
    ),
)
SIZES = ("smoke", "minute", "full")


def find(name: str) -> Operation:
    """An operation by name."""
    return next(operation for operation in OPERATIONS if operation.name == name)


def table(size: str, only: str | None = None) -> Iterator[tuple[Operation, Case]]:
    """Every operation at every case of a size of run, or one operation alone."""
    for operation in OPERATIONS:
        if only in (None, operation.name):
            for case in operation.cases[size]:
                yield operation, case


def not_installed() -> list[str]:
    """Peers whose libraries, or what one form of them needs, cannot be imported."""
    names = {name for operation in OPERATIONS for name in operation.peers}
    return sorted(name for name in names if not peers.available(name))
