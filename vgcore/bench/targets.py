"""What vgcore sets out to reach, beside what a run measured; and where it does not win."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from vgcore.bench.limits import DTYPES
from vgcore.bench.operations import Case
from vgcore.bench.record import Row, Run

NOT_MEASURED = "not measured"
PROFILE = "gradient_profile"


class Outcome(NamedTuple):
    """Whether a target is met, the target, and what was measured, in words."""

    verdict: str
    target: str
    measured: str


def outcomes(run: Run) -> list[Outcome]:
    """Every target beside the value of this run."""
    return [_judged(target, judge(run)) for target, judge in TARGETS]


def losses(run: Run) -> list[Row]:
    """Rows whose ratio to the fastest peer is not clearly above 1."""
    return [row for row in run.rows if row.ratio is not None and not row.ratio.low > 1]


Measured = tuple[str, bool] | None  # what to print, and whether it is enough; None: no reading


def _judged(target: str, measured: Measured) -> Outcome:
    if measured is None:
        return Outcome(NOT_MEASURED, target, "")
    return Outcome("met" if measured[1] else "not met", target, measured[0])


def _rows(
    run: Run, operation: str, sizes: Iterable[int], dtype: str | None = None, many: bool = False
) -> list[Row]:
    """Rows of an operation with a peer; with many trajectories or with one."""
    return [
        row
        for row in run.rows
        if row.operation == operation
        and row.case.n_hidden in sizes
        and dtype in (None, row.case.dtype)
        and (row.case.n_trajectories > 1) == many
        and row.ratio is not None
    ]


def _mean(
    dtype: str, least_mean: float, least: float, operation: str = PROFILE
) -> Callable[[Run], Measured]:
    """The geometric mean of ratios over sizes, and the lowest."""

    def judge(run: Run) -> Measured:
        rows = _rows(run, operation, (16, 32, 64, 128), dtype)
        ratios = _ratios([row for row in rows if row.case.n_draws >= 1000])
        if not ratios:
            return None
        mean = float(np.exp(np.mean(np.log(ratios))))
        text = f"mean {mean:.1f}, lowest {min(ratios):.2f} ({len(ratios)} sizes)"
        return text, mean >= least_mean and min(ratios) >= least

    return judge


def _each(
    operation: str,
    sizes: tuple[int, ...],
    least: float,
    dtype: str | None = None,
    many: bool = False,
) -> Callable[[Run], Measured]:
    """The lowest ratio over sizes."""

    def judge(run: Run) -> Measured:
        rows = _rows(run, operation, sizes, dtype, many)
        if not rows:
            return None
        worst = min(rows, key=lambda row: row.ratio.value if row.ratio else 0.0)
        (low,) = _ratios([worst])
        return f"lowest {low:.1f} (N = {worst.case.n_hidden}, {worst.case.dtype})", low >= least

    return judge


def _ratios(rows: Sequence[Row]) -> list[float]:
    return [row.ratio.value for row in rows if row.ratio is not None]


def _fraction(vectors: bool) -> Callable[[Run], Measured]:
    """The lowest fraction of the limit, of matrix-vector or of matrix-matrix work."""

    def judge(run: Run) -> Measured:
        rows = [
            row
            for row in run.rows
            if row.fraction is not None
            and (row.operation.endswith("_profile") and row.case.n_trajectories == 1) == vectors
        ]
        if not rows:
            return None
        worst = min(rows, key=lambda row: row.fraction or 0.0)
        low = worst.fraction or 0.0
        enough = sum((row.fraction or 0.0) >= 0.6 for row in rows)
        told = [row.fraction_with_tanh for row in rows if row.fraction_with_tanh is not None]
        more = f" ({sum(share >= 0.6 for share in told)} with tanh)" if told else ""
        text = f"{enough} of {len(rows)}{more}; lowest {100 * low:.0f} % ({worst.key})"
        return text, enough == len(rows)

    return judge


def _cliff(run: Run) -> Measured:
    """The most that a size which fills no vector costs beside one that does, in runs of equal T."""
    rows = {
        (row.case.dtype, row.case.n_hidden): row.ours.value
        for row in run.rows
        if row.operation == PROFILE
        and row.case._replace(n_hidden=0, dtype="") == Case(0, 1000, 500, dtype="")
    }
    found = {dtype: rows[dtype, 63] / rows[dtype, 64] for dtype in DTYPES if (dtype, 63) in rows}
    if not found:
        return None
    text = ", ".join(f"{value:.2f} in {dtype}" for dtype, value in found.items())
    return text, max(found.values()) <= 1.3


def _study(run: Run) -> Measured:
    if "study" not in run.extra:
        return None
    share = run.extra["study"]["kernels"]
    return f"{100 * share:.0f} %", share >= 0.8


def _memory(run: Run) -> Measured:
    if "draws" not in run.extra:
        return None
    peaks = [point["peak_bytes"] for point in run.extra["draws"]]
    growth = max(b / a for a, b in itertools.pairwise(peaks)) - 1
    return f"at most {100 * growth:+.0f} % ({min(peaks) / 1e6:.0f} to {max(peaks) / 1e6:.0f} MB)", (
        growth <= 0.1
    )


def _cold(run: Run) -> Measured:
    if "starts" not in run.extra:
        return None
    seconds = run.extra["starts"]["atlas"]["cold"]
    return f"{seconds:.1f} s", seconds <= 25


def _warm(run: Run) -> Measured:
    if "starts" not in run.extra:
        return None
    seconds = float(np.median(run.extra["starts"]["atlas"]["warm"]))
    return f"{seconds:.1f} s", seconds <= 2


def _import(run: Run) -> Measured:
    if "starts" not in run.extra:
        return None
    seconds = float(np.median(run.extra["starts"]["import"]))
    return f"{seconds:.2f} s", seconds <= 1


_FEW = (16, 32, 64, 128)
_PROFILE = "gradient_profile, N = 16 to 128, 1,000 draws, {}: geometric mean ≥ 8, none below 6"
TARGETS: tuple[tuple[str, Callable[[Run], Measured]], ...] = (
    (_PROFILE.format("float32"), _mean("float32", 8, 6)),
    (_PROFILE.format("float64"), _mean("float64", 8, 6)),
    ("gradient_profile, N = 256, float32: ≥ 3.5", _each(PROFILE, (256,), 3.5, "float32")),
    ("gradient_profile, N = 256, float64: ≥ 5", _each(PROFILE, (256,), 5, "float64")),
    ("gradient_profile, a step of N = 63 within 1.3 times one of N = 64", _cliff),
    (
        "gradient_profile, 16 trajectories a draw, N = 16 to 128, 1,000 draws: ≥ 3 each",
        _each(PROFILE, _FEW, 3, many=True),
    ),
    ("LSTM profile, N = 16 to 128, 1,000 draws: ≥ 5", _each("lstm_profile", _FEW, 5)),
    ("GRU profile, N = 16 to 128, 1,000 draws: ≥ 5", _each("gru_profile", _FEW, 5)),
    ("leaky profile, N = 16 to 128, 1,000 draws: ≥ 5", _each("leaky_profile", _FEW, 5)),
    ("deep profile, N = 16 to 128: ≥ 5", _each("deep_profile", _FEW, 5)),
    ("full Lyapunov spectrum, N = 16 to 128: ≥ 5", _each("lyapunov_exponents", _FEW, 5)),
    (
        "spectral radius of 1,000 draws, N = 32 to 128: ≥ 5",
        _each("spectral_radius", (32, 64, 128), 5),
    ),
    ("training, N = 50, batches of 20, T = 100: ≥ 5", _each("training", (50,), 5, many=True)),
    ("fraction of the limit, one vector a matrix: ≥ 60 % everywhere", _fraction(vectors=True)),
    ("fraction of the limit, matrix products: ≥ 60 % everywhere", _fraction(vectors=False)),
    ("a whole study: ≥ 80 % of its threads' time within kernels", _study),
    ("peak memory of one worker as draws grow tenfold: within 10 %", _memory),
    ("all that the atlas compiles, cold: ≤ 25 s", _cold),
    ("the same, warm: ≤ 2 s", _warm),
    ("import vgcore: ≤ 1 s", _import),
)  # fmt: skip
