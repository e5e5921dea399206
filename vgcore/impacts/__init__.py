"""What vanishing gradients do to learning: experiments on trained nets, with one report.

    vgcore run impacts

Each experiment is a function to an `Impact`: a table with intervals, figures, and sentences.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vgcore.impacts import depth, landscape, memory, page, remedies
from vgcore.impacts.table import Impact
from vgcore.papers.table import seed_of

__all__ = ["EXPERIMENTS", "Impact", "run"]


def _memory(seed: int, **sizes: Any) -> dict[str, Impact]:
    """Capacity and prediction look at the same nets."""
    nets = memory.learn_delays(seed, **sizes)
    setting = (
        f"Delayed recall, Adam (rate 0.005, clipping at 1), {nets.net.nunique()} nets a condition, "
        "cells of equal parameter count. A delay is learned where the test loss falls below a "
        "tenth of chance, as long as all shorter ones are"
    )
    return {
        "capacity": memory.capacity(nets, setting),
        "prediction": memory.prediction(nets, setting, seed),
    }


EXPERIMENTS: dict[str, Callable[..., dict[str, Impact]]] = {
    "memory": _memory,
    "dependencies": lambda seed, **sizes: {"dependencies": remedies.dependencies(seed, **sizes)},
    "instability": lambda seed, **sizes: {"instability": remedies.instability(seed, **sizes)},
    "layers": lambda seed, **sizes: {"layers": depth.layers(seed, **sizes)},
    "architectures": lambda seed, **sizes: {"architectures": memory.architectures(seed, **sizes)},
    "landscape": lambda seed, **sizes: {"landscape": landscape.landscape(seed, **sizes)},
    "generalisation": lambda seed, **sizes: {
        "generalisation": memory.generalisation(seed, **sizes)
    },
}


def run(
    out: str | Path,
    *,
    seed: int = 0,
    n_threads: int | None = None,
    sizes: dict[str, dict[str, Any]] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Path:
    """Do every experiment and write the report.

    Parameters
    ----------
    out
        Folder of the report; made if it does not exist.
    seed
        Of all random numbers; each experiment has numbers of its own.
    n_threads
        All cores where None; no number depends on it.
    sizes
        Keywords of an experiment's function by its name, for other sizes than those shipped.
    tell
        Called with a line of text for each experiment done.

    Returns
    -------
    Path
        The HTML page.

    Raises
    ------
    OSError
        The folder cannot be written.

    Examples
    --------
    >>> from vgcore import impacts
    >>> impacts.run("reports/impacts")  # doctest: +SKIP
    PosixPath('reports/impacts/report.html')
    """
    Path(out).mkdir(parents=True, exist_ok=True)  # before minutes of training
    began = time.monotonic()
    found: dict[str, Impact] = {}
    for name, measure in EXPERIMENTS.items():
        started = time.monotonic()
        found |= measure(seed_of(name, seed), n_threads=n_threads, **(sizes or {}).get(name, {}))
        tell(f"{name}: {time.monotonic() - started:.0f} s")
    return page.write(found, Path(out), seed, time.monotonic() - began)
