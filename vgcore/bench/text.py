"""A run, a comparison and their verdicts as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vgcore.bench import targets
from vgcore.bench.compare import Change, summary
from vgcore.bench.limits import DTYPES, Limits
from vgcore.bench.machine import blas_warning
from vgcore.bench.record import Row, Run
from vgcore.bench.timing import Interval


def brackets(interval: Interval, decimals: int = 2) -> str:
    """Write `[low est high]`, as for a ratio."""
    return "[" + " ".join(f"{value:.{decimals}f}" for value in interval) + "]"


def percent(change: Interval) -> str:
    """Write a change of time in percent: `[-12 % -10 % -8 %]`."""
    return "[" + " ".join(f"{100 * (value - 1):+.1f} %" for value in change) + "]"


def duration(seconds: float) -> str:
    """Write seconds in the unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


HEAD = (
    *("benchmark", "vgcore", "fastest peer", "times as fast", "GFLOP/s", "of the limit"),
    "with tanh",
)


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table, in the order of `HEAD`."""
    peer = "none" if row.fastest is None else f"{row.fastest} {duration(_peer_seconds(row))}"
    limit = (
        ""
        if row.fraction is None
        else f"{100 * row.fraction:.0f} % ({row.bound and row.bound.name})"
    )
    return (
        row.key,
        duration(row.ours.value),
        peer,
        "" if row.ratio is None else brackets(row.ratio),
        "" if row.flops is None else f"{row.flops / 1e9:.3g}",
        limit,
        "" if row.fraction_with_tanh is None else f"{100 * row.fraction_with_tanh:.0f} %",
    )


def _peer_seconds(row: Row) -> float:
    return row.peers[row.fastest].value if row.fastest else np.nan


def machine_line(run: Run) -> str:
    """Processor and threads of a run."""
    return f"{run.machine['cpu']}, {counted(run.machine['threads'], 'thread')}"


def counted(number: int, noun: str) -> str:
    """Write `1 thread` or `2 threads`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def limit_lines(found: Limits) -> Iterator[str]:
    """The limits of the machine in words."""
    for dtype in DTYPES:
        product = f", matrix product {found.gemm[dtype] / 1e9:.0f}" if found.gemm else ""
        spin = found.multiply_add[dtype] / 1e9
        yield f"{dtype}: multiply-adds {spin:.0f} GFLOP/s{product} (NumPy's BLAS)"
    if found.tanh:
        each = ", ".join(f"{1e9 / found.tanh[dtype]:.2f} ns {dtype}" for dtype in DTYPES)
        yield f"tanh and its slope, vgcore's own: {each} a unit"
    places = {
        found.level(size): size for size in found.bytes_loaded if size <= found.bytes_loaded[-1]
    }
    loads = ", ".join(
        f"{level} {found.bandwidth_of(size) / 1e9:.0f}" for level, size in places.items()
    )
    yield f"loads: {loads} GB/s"


def report(run: Run) -> Iterator[str]:
    """A run as the command line prints it."""
    yield machine_line(run)
    yield from limit_lines(run.limits)
    yield ""
    yield from columns([HEAD, *(cells(row) for row in run.rows)])
    yield ""
    yield from loss_lines(run)
    if warned := blas_warning(run.software):
        yield warned
    if run.not_installed:
        yield f"not installed or broken, so not timed: {', '.join(run.not_installed)}"


def loss_lines(run: Run) -> Iterator[str]:
    """Where vgcore does not win, said plainly."""
    lost = targets.losses(run)
    compared = sum(row.ratio is not None for row in run.rows)
    if not compared:
        yield "no peer was timed"
    elif not lost:
        yield f"vgcore is the fastest in all {compared} benchmarks that have a peer"
    else:
        yield f"vgcore does not win in {len(lost)} of {compared} benchmarks that have a peer:"
        for row in lost:
            ratio = brackets(row.ratio) if row.ratio else ""
            yield f"  {row.key}: {ratio} times as fast as {row.fastest}"


def comparison(changes: Sequence[Change]) -> Iterator[str]:
    """Changes of time as the command line prints them."""
    head = ("benchmark", "change of time [low est high]", "")
    yield from columns([head, *((c.key, percent(c.time), c.verdict) for c in changes)])
    yield ""
    yield summary(changes)


def columns(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of cells, set in columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip()
