"""What vanishing and exploding gradients do to learning: experiments, functions to tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vgcore import checks, tables
from vgcore.cells import RNN
from vgcore.draws import normal_block
from vgcore.streams import Purpose, Streams
from vgcore.training.run import train
from vgcore.training.tasks import Task, temporal_order

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

# Whether a remedy clips, and whether it adds Omega.
REMEDIES = {"SGD": (False, False), "SGD-C": (True, False), "SGD-CR": (True, True)}


def long_term_dependencies(
    lengths: Iterable[int],
    *,
    n_nets: int = 50,
    n_updates: int = 20_000,
    remedies: Sequence[str] = tuple(REMEDIES),
    task: Callable[[int], Task] = temporal_order,
    n_hidden: int = 50,
    init: str = "sparse",
    spectral_radius: float = 0.95,
    small: float = 0.01,
    learning_rate: float = 0.01,
    clip: float = 1.0,
    strength: float = 4.0,
    n_test: int = 1000,
    test_every: int = 1000,
    seed: int = 0,
    n_threads: int | None = None,
) -> pd.DataFrame:
    """Train tanh networks on sequences of each length with each of Pascanu's three remedies.

    A net has the same weights, and the same sequences, whatever the remedy; its weights do not
    depend on the length either. So effects are paired.

    Parameters
    ----------
    lengths
        Of the sequences.
    n_nets, n_hidden, init, spectral_radius
        Networks; by default Pascanu's "smart tanh", 15 non-zeros a row and a radius of 0.95.
    n_updates
        After which a net that has not solved its task counts as one that does not.
    remedies
        Of "SGD", "SGD-C" (clipping of the norm at `clip`), "SGD-CR" (and Omega times `strength`).
    task
        Task of a length.
    small
        Standard deviation of input weights and readout.
    clip, strength
        Of the remedies.
    learning_rate, n_test, test_every, n_threads
        As in `train`; batches are of 20.
    seed
        Of all random numbers.

    Returns
    -------
    pandas.DataFrame
        A row a length, remedy and net: solved_step and diverged_step (-1 where it did not happen)
        and the last test_error.

    Notes
    -----
    Pascanu, Mikolov and Bengio (2013), section 4.1: 50 units, rate 0.01, clipping at 1, Omega times
    4, batches of 20, at most 5 million updates, five seeds. Omega is here the sum over steps of
    their eq. 9, of the exact Jacobian, and the mean over sequences.

    Examples
    --------
    >>> from vgcore.training.experiments import long_term_dependencies
    >>> found = long_term_dependencies(
    ...     [10], n_nets=2, n_updates=4, n_hidden=5, n_test=20, test_every=2
    ... )
    >>> found[["length", "remedy", "net"]].shape
    (6, 3)
    """
    import pandas as pd

    small = checks.positive("small", small)
    seed = checks.integer("seed", seed)
    tasks = [_task(task, length) for length in _listed("lengths", lengths)]
    wanted = [checks.choice("remedies", one, REMEDIES) for one in _listed("remedies", remedies)]
    streams = Streams.from_address(seed, "long_term_dependencies")
    parts = []
    for length, one in tasks:
        cell = RNN.draw(
            n_nets,
            n_hidden,
            init=init,
            spectral_radius=spectral_radius,
            n_inputs=one.n_inputs,
            input_variance=one.n_inputs * small**2,
            rng=streams,  # type: ignore[arg-type]
        )
        shape = (one.n_outputs, n_hidden)
        W_out = small * normal_block(streams, Purpose.READOUT, range(n_nets), shape)
        for remedy in wanted:
            clips, adds = REMEDIES[remedy]
            found = train(
                cell,
                one,
                n_updates,
                learning_rate=learning_rate,
                clip=clip if clips else None,
                penalty=("omega", strength) if adds else None,
                readout=(W_out, np.zeros(one.n_outputs)),
                n_test=n_test,
                test_every=test_every,
                record_every=test_every,
                stop_solved=True,
                rng=streams,  # type: ignore[arg-type]
                n_threads=n_threads,
            )
            error = pd.DataFrame(found.test_error).ffill(axis=1).iloc[:, -1]
            parts.append(
                pd.DataFrame(
                    {
                        "length": length,
                        "remedy": remedy,
                        "net": np.arange(n_nets),
                        "solved_step": found.solved_step,
                        "diverged_step": found.diverged_step,
                        "test_error": error,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def _listed(argument: str, values: object) -> list[Any]:
    """Return a list of at least one; a lone name or number is none."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{argument}: found {values!r}, expected a list; write [{values!r}]")
    found = list(values)
    if not found:
        raise ValueError(f"{argument}: found none, expected at least one")
    return found


def _task(task: object, length: int) -> tuple[int, Task]:
    """The task of a length, beside it."""
    made = task(length) if callable(task) else task
    if not callable(task) or not isinstance(made, Task):
        raise TypeError(
            f"task: found {task!r}, expected a function of a length to a task, such as "
            "vgcore.training.adding"
        )
    return length, made


def success_rates(nets: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Shares of nets that solved and that diverged, with exact binomial intervals.

    Parameters
    ----------
    nets
        What `long_term_dependencies` returns.
    level
        Of the intervals of Clopper and Pearson (1934), which cover the variation from net to net.

    Returns
    -------
    pandas.DataFrame
        A row a length and remedy: n, solved, success, low, high, diverged, and the median of
        solved_step over those that solved.

    Examples
    --------
    >>> import pandas as pd
    >>> nets = pd.DataFrame({"length": 50, "remedy": "SGD", "solved_step": [7, -1, 9, 8],
    ...                      "diverged_step": [-1, 3, -1, -1]})
    >>> success_rates(nets)[["n", "solved", "success", "low", "high"]].round(3).values.tolist()
    [[4.0, 3.0, 0.75, 0.194, 0.994]]
    """
    import pandas as pd
    from scipy.stats import binomtest

    needed = ["length", "remedy", "solved_step", "diverged_step"]
    tables.table("nets", nets, needed, "long_term_dependencies(...)")
    rows: list[dict[str, Any]] = []
    for (length, remedy), group in nets.groupby(["length", "remedy"], sort=False):
        solved = group.solved_step[group.solved_step >= 0]
        interval = binomtest(len(solved), len(group)).proportion_ci(level, method="exact")
        rows.append(
            {
                "length": length,
                "remedy": remedy,
                "n": len(group),
                "solved": len(solved),
                "success": len(solved) / len(group),
                "low": interval.low,
                "high": interval.high,
                "diverged": float((group.diverged_step >= 0).mean()),
                "median_step": float(solved.median()) if len(solved) else np.nan,
            }
        )
    return pd.DataFrame(rows)


N_STEPS, START, TARGET = 50, 0.5, 0.7  # of the one-unit net of Pascanu et al., figure 6


def _surface(w: Any, b: Any, n_steps: int) -> tuple[Floats, Floats, Floats]:
    """E = (s(x_T) - 0.7)^2 of one logistic unit x_t = w s(x_{t-1}) + b, and dE/dw, dE/db."""
    x, by_w, by_b = (np.full(np.shape(w), value) for value in (START, 0.0, 0.0))
    with np.errstate(over="ignore"):
        s = 1.0 / (1.0 + np.exp(-x))
        for _ in range(n_steps):
            slope = w * s * (1.0 - s)
            by_w, by_b = s + slope * by_w, 1.0 + slope * by_b
            s = 1.0 / (1.0 + np.exp(-(w * s + b)))
    outer = 2.0 * (s - TARGET) * s * (1.0 - s)
    return (s - TARGET) ** 2, outer * by_w, outer * by_b


def error_surface(
    weights: npt.ArrayLike, biases: npt.ArrayLike, *, n_steps: int = N_STEPS
) -> pd.DataFrame:
    """Error of a one-unit network over its weight and bias: smooth plains, and a wall.

    The network is x_t = w s(x_{t-1}) + b with the logistic s and x_0 = 0.5, its error
    (s(x_T) - 0.7)^2.

    Parameters
    ----------
    weights, biases
        The grid.
    n_steps
        T.

    Returns
    -------
    pandas.DataFrame
        A row a point: weight, bias, error, and gradient_norm of (dE/dw, dE/db).

    Notes
    -----
    Pascanu, Mikolov and Bengio (2013), figure 6.

    Examples
    --------
    >>> found = error_surface([5.0], np.linspace(-3.5, -1.5, 2001))
    >>> bool(found.gradient_norm.max() > 100 * found.gradient_norm.median())  # the wall
    True
    """
    import pandas as pd

    n_steps = checks.integer("n_steps", n_steps, least=1)
    axes = checks.numbers("weights", weights), checks.numbers("biases", biases)
    checks.room("weights x biases", (axes[0].size, axes[1].size, 4))
    w, b = (grid.ravel() for grid in np.meshgrid(*axes, indexing="ij"))
    error, by_w, by_b = _surface(w, b, n_steps)
    columns = {"weight": w, "bias": b, "error": error, "gradient_norm": np.hypot(by_w, by_b)}
    return pd.DataFrame(columns)


def descent_on_surface(
    weight: float,
    bias: float,
    *,
    learning_rate: float,
    clip: float,
    n_updates: int = 100,
    n_steps: int = N_STEPS,
) -> pd.DataFrame:
    """Gradient steps on the surface of `error_surface`, with and without clipping by norm.

    Parameters
    ----------
    weight, bias
        Where they start.
    learning_rate
        Of plain gradient descent.
    clip
        Norm to which a longer gradient is scaled down.
    n_updates, n_steps
        Updates, and steps T of the network.

    Returns
    -------
    pandas.DataFrame
        A row a clipped (True or False) and update, 0 for the start: weight, bias, error and
        gradient_norm before clipping.

    Examples
    --------
    >>> found = descent_on_surface(5.0, -2.6, learning_rate=0.05, clip=0.5, n_updates=20)
    >>> steps = found.groupby("clipped")[["weight", "bias"]].diff().abs().max(axis=1)
    >>> bool(steps[found.clipped].max() <= 0.05 * 0.5)
    True
    """
    import pandas as pd

    start = np.array([checks.number("weight", weight), checks.number("bias", bias)])
    rate, threshold = checks.positive("learning_rate", learning_rate), checks.positive("clip", clip)
    n_updates = checks.integer("n_updates", n_updates, least=1)
    n_steps = checks.integer("n_steps", n_steps, least=1)
    rows: list[tuple[Any, ...]] = []
    for clipped in (False, True):
        point = start.copy()
        for update in range(n_updates + 1):
            error, by_w, by_b = _surface(point[0], point[1], n_steps)
            norm = float(np.hypot(by_w, by_b))
            rows.append((clipped, update, *point, float(error), norm))
            factor = threshold / norm if clipped and norm > threshold else 1.0
            point = point - rate * factor * np.array([by_w, by_b])
    names = ["clipped", "update", "weight", "bias", "error", "gradient_norm"]
    return pd.DataFrame(rows, columns=names)
