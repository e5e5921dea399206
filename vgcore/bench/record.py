"""A run of the benchmarks: its readings, what follows from them, and its file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vgcore.bench import limits, timing
from vgcore.bench.limits import Bound, Limits
from vgcore.bench.operations import OURS, Case
from vgcore.bench.timing import Interval
from vgcore.errors import StoreError

FORMAT = 1
REFERENCE = "reference"


@dataclass(frozen=True)
class Row:
    """One operation at one case: seconds of every implementation, one a round.

    Attributes
    ----------
    operation : str
    case : Case
    seconds : mapping of str to list of float
        By implementation; "reference" is a fixed piece of arithmetic timed beside them.
    flop : float or None
        Floating-point operations of one call.
    intensity : float or None
        Operations for each byte of a matrix loaded.
    bound : Bound or None
        The limit of the machine for it.
    tanh_seconds : float or None
        What its activations take by themselves; files of older versions do not tell.
    """

    operation: str
    case: Case
    seconds: Mapping[str, list[float]]
    flop: float | None = None
    intensity: float | None = None
    bound: Bound | None = None
    tanh_seconds: float | None = None

    @property
    def key(self) -> str:
        """Operation and sizes in words."""
        return f"{self.operation} {self.case}"

    @property
    def peers(self) -> dict[str, Interval]:
        """Median seconds of each peer."""
        others = {name: t for name, t in self.seconds.items() if name not in (OURS, REFERENCE)}
        return {name: timing.median(t) for name, t in others.items()}

    @cached_property
    def ours(self) -> Interval:
        """Median seconds of vgcore."""
        return timing.median(self.seconds[OURS])

    @cached_property
    def fastest(self) -> str | None:
        """The peer with the least median."""
        peers = self.peers
        return min(peers, key=lambda name: peers[name].value) if peers else None

    @cached_property
    def ratio(self) -> Interval | None:
        """How many times as fast as the fastest peer, paired by round."""
        if self.fastest is None:
            return None
        return timing.ratio(self.seconds[self.fastest], self.seconds[OURS])

    @property
    def flops(self) -> float | None:
        """Floating-point operations a second of vgcore."""
        return None if self.flop is None else self.flop / self.ours.value

    @property
    def fraction(self) -> float | None:
        """Share of the machine's limit that vgcore reaches."""
        if self.flops is None or self.bound is None:
            return None
        return self.flops / self.bound.flops

    @property
    def fraction_with_tanh(self) -> float | None:
        """The same where activations, which the arithmetic units take too, are counted."""
        if self.fraction is None or self.tanh_seconds is None:
            return None
        return self.fraction + self.tanh_seconds / self.ours.value

    @property
    def draws_per_second(self) -> float:
        return self.case.n_draws / self.ours.value


@dataclass(frozen=True)
class Run:
    """Everything that one run measured.

    Attributes
    ----------
    size : str
        "smoke", "minute" or "full".
    machine : mapping
        What must agree for two runs to be compared.
    software : mapping
        Versions, BLAS, threading layer.
    origin : mapping
        When, how long, which command and commit.
    limits : Limits
        With all threads.
    rows : list of Row
    not_installed : list of str
        Peers that were skipped.
    extra : mapping
        What only a full run measures: "threads", "draws", "starts", "study".
    """

    size: str
    machine: Mapping[str, Any]
    software: Mapping[str, str]
    origin: Mapping[str, Any]
    limits: Limits
    rows: list[Row]
    not_installed: list[str]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the run as JSON."""
        stored = {"format": FORMAT, **dataclasses.asdict(self)}
        for row, written in zip(self.rows, stored["rows"], strict=True):
            written["case"] = row.case._asdict()
            written["bound"] = row.bound and row.bound._asdict()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")

    def table(self) -> pd.DataFrame:
        """A row an operation, case and implementation: median, interval, ratio, limits."""
        lines = []
        for row in self.rows:
            for name, times in row.seconds.items():
                if name == REFERENCE:
                    continue
                low, value, high = timing.median(times)
                line: dict[str, Any] = {
                    "operation": row.operation,
                    **row.case._asdict(),
                    "implementation": name,
                    "threads": self.machine["threads"],
                    "rounds": len(times),
                    "seconds": value,
                    "seconds_low": low,
                    "seconds_high": high,
                    "draws_per_second": row.case.n_draws / value,
                    "gflops": np.nan if row.flop is None else row.flop / value / 1e9,
                }
                if name == OURS and row.ratio is not None:
                    line |= {
                        "fastest_peer": row.fastest,
                        "ratio": row.ratio.value,
                        "ratio_low": row.ratio.low,
                        "ratio_high": row.ratio.high,
                    }
                if name == OURS and row.bound is not None:
                    line |= {"limit": row.bound.name, "limit_gflops": row.bound.flops / 1e9}
                    line["fraction_of_limit"] = row.fraction
                    line["fraction_with_tanh"] = row.fraction_with_tanh
                lines.append(line)
        return pd.DataFrame(lines)


def load(path: Path) -> Run:
    """Read a run that `Run.save` wrote.

    Raises
    ------
    StoreError
        There is no such file, or it does not hold a run of this format.
    """
    try:
        stored = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; `vgcore bench --out {path}` writes one") from None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read as a run of the benchmarks ({error}); it must be a file that "
            "`vgcore bench --out FILE` wrote"
        ) from None
    found = stored.get("format") if isinstance(stored, dict) else None
    if found != FORMAT:
        raise StoreError(
            f"{path}: found format {found!r}, expected {FORMAT}; measure again with "
            f"`vgcore bench --out {path}`"
        )
    try:
        rows = [
            Row(
                row["operation"],
                Case(**row["case"]),
                {name: [float(t) for t in times] for name, times in row["seconds"].items()},
                row["flop"],
                row["intensity"],
                row["bound"] and Bound(**row["bound"]),
                row.get("tanh_seconds"),
            )
            for row in stored["rows"]
        ]
        rest = {k: v for k, v in stored.items() if k not in ("format", "rows", "limits")}
        run = Run(**rest, rows=rows, limits=limits.from_json(stored["limits"]))
        if not all(min(row.seconds[OURS]) > 0 for row in rows):
            raise ValueError("seconds that are not positive")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{path}: damaged ({type(error).__name__}: {error}); measure again with "
            f"`vgcore bench --out {path}`"
        ) from None
    return run
