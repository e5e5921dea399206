"""The page of a run: tables, figures and sentences, all made from its numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vgcore import figures as drawing
from vgcore import report
from vgcore.bench import figures, targets, text, timing
from vgcore.bench.compare import STORED_NOISE
from vgcore.bench.limits import DTYPES
from vgcore.bench.operations import SIZES, Load
from vgcore.bench.record import Run
from vgcore.report import Drawing
from vgcore.report.captions import Caption

Lines = list[tuple[str, ...]]
Table = tuple[Sequence[str], Lines]


def write_page(run: Run, folder: Path) -> Path:
    """Write report.html, report.md, benchmarks.csv, run.json and figures/ to a folder.

    Returns
    -------
    Path
        The HTML page, which needs no other file and no network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run.save(folder / "run.json")
    run.table().to_csv(folder / "benchmarks.csv", index=False)
    content = {
        "title": "vgcore against NumPy, PyTorch and JAX",
        "machine": text.machine_line(run),
        "trial": run.size != SIZES[-1],
        "size": run.size,
        "targets": (targets.Outcome._fields, list(targets.outcomes(run))),
        "losses": list(text.loss_lines(run)),
        "not_installed": run.not_installed,
        "speed": (text.HEAD, [text.cells(row) for row in run.rows]),
        "limits": list(text.limit_lines(run.limits)),
        "bandwidth": _bandwidth(run),
        "tables": _extra_tables(run),
        "drawings": _drawings(run, folder / "figures"),
        "methods": list(methods(run)),
        "origin": _origin(run),
    }
    environment = report.environment(Path(__file__).parent)
    page = folder / "report.html"
    page.write_text(environment.get_template("page.html.j2").render(content), "utf-8")
    markdown = environment.get_template("page.md.j2").render(content)
    (folder / "report.md").write_text(re.sub(r"\n{3,}", "\n\n", markdown), "utf-8")
    return page


def _bandwidth(run: Run) -> Table:
    lines = [
        (
            f"{size // 1024:,} KiB",
            run.limits.level(size),
            f"{rate / 1e9:.0f}",
            *(f"{_most(run, d, size) / 1e9:.0f}" for d in DTYPES),
        )
        for size, rate in zip(run.limits.bytes_loaded, run.limits.bandwidth, strict=True)
    ]
    head = (
        "working set of a thread",
        "held by",
        "GB/s",
        *(f"GFLOP/s at most, {d}" for d in DTYPES),
    )
    return head, lines


def _most(run: Run, dtype: str, size: int) -> float:
    """Operations a second of a matrix and a vector from a working set."""
    return run.limits.bound(dtype, 2 / np.dtype(dtype).itemsize, [Load(1.0, size)]).flops


def _extra_tables(run: Run) -> list[tuple[str, str, Table]]:
    """Title, sentence and table of what only a full run measures."""
    found: list[tuple[str, str, Table]] = []
    extra = run.extra
    if "threads" in extra:
        lines: Lines = []
        for scaling in extra["threads"]:
            one = scaling["seconds"]["1"]
            for n, times in scaling["seconds"].items():
                case = scaling["case"]
                speed = text.brackets(timing.ratio(one, times))
                rate = case["n_draws"] / timing.median(times).value
                name = f"N={case['n_hidden']}, {case['dtype']}"
                lines.append((name, n, f"{rate:,.0f}", speed))
        head = ("gradient_profile", "threads", "draws/s", "times as fast as one thread")
        found.append(("Threads", "", (head, lines)))
    if "draws" in extra:
        lines = [
            (
                f"{p['draws']:,}",
                text.duration(p["seconds"]),
                text.duration(p["seconds"] / p["draws"]),
                f"{p['peak_bytes'] / 1e6:.0f} MB",
            )
            for p in extra["draws"]
        ]
        words = (
            "A study of networks of 16 units, T = 200, by one worker, from its plan to its parts."
        )
        found.append(("Draws", words, (("draws", "time", "a draw", "peak memory"), lines)))
    if "starts" in extra:
        starts = extra["starts"]
        lines = [("import vgcore", "", text.duration(timing.median(starts["import"]).value))]
        for task, words in (
            ("profile", "first gradient_profile"),
            ("atlas", "a draw of each cell, remedy and law in the atlas"),
        ):
            warm = timing.median(starts[task]["warm"]).value
            lines.append((words, text.duration(starts[task]["cold"]), text.duration(warm)))
        words = "Whole processes, without and with a folder of compiled kernels."
        found.append(("Starting", words, (("up to", "cold", "warm"), lines)))
    if "study" in extra:
        found.append(("A whole study", *study_profile(run)))
    return found


def study_profile(run: Run) -> tuple[str, Table]:
    """A sentence and a table: where the threads of a study spend their time."""
    study = run.extra["study"]
    total = study["workers"] * study["seconds"]
    lines: Lines = [
        (stage, f"{seconds:.2f} s", f"{100 * (seconds / total):.1f} %")
        for stage, seconds in sorted(study["spent"].items(), key=lambda item: -item[1])
    ]
    words = (
        f"The atlas with {study['draws']} draws a condition took {study['seconds']:.1f} s on "
        f"{text.counted(study['workers'], 'thread')}, {100 * study['kernels']:.0f} % of their time "
        "within the kernels: gradient_profile, spectral_radius and those of the remedies."
    )
    return words, (("stage", "thread time", "share"), lines)


def _drawings(run: Run, folder: Path) -> list[Drawing]:
    found = figures.panels(run)
    wins = sum(row.ratio is not None and row.ratio.low > 1 for row in run.rows)
    compared = sum(row.ratio is not None for row in run.rows)
    planned: list[tuple[str, bool, Callable[[], Figure], Caption]] = [
        (
            "time",
            bool(found),
            lambda: figures.time_figure(found),
            Caption(
                "Time against N",
                "Time a draw and step of vgcore and its peers: medians with 95 % intervals, most "
                "of them smaller than the marker.",
                "Lower is faster, and both axes are logarithmic. A point without an interval is a "
                "peer that took more than twice as long as the fastest one at first: it was not "
                "timed again.",
                f"Time a draw and step against N in {len(found)} panels.",
            ),
        ),
        (
            "ratio",
            bool(found),
            lambda: figures.ratio_figure(found),
            Caption(
                "Ratio against N",
                "How many times as fast as the fastest peer vgcore is: medians of the ratio within "
                "rounds, with 95 % intervals.",
                "Above the dashed line vgcore is faster than every peer timed, below it is not.",
                f"vgcore is faster than its fastest peer in {wins} of {compared} benchmarks.",
            ),
        ),
        (
            "roofline",
            any(row.bound for row in run.rows),
            lambda: figures.roofline_figure(run),
            Caption(
                "Roofline",
                "Floating-point operations of matrix products that vgcore does a second, against "
                "operations for each byte of a matrix loaded; numbers beside points are N.",
                "Lines are the limits measured in the same run: how fast operands can be loaded "
                "from each cache, and how fast the arithmetic units can be at all. A point is held "
                "against the line of the cache that its matrix fits into; small N lies below it "
                "because tanh, norms and rescaling are not counted as operations.",
                "GFLOP/s of each benchmark below the limits of the machine.",
            ),
        ),
        (
            "scaling",
            {"threads", "draws"} <= set(run.extra),
            lambda: figures.scaling_figure(run),
            Caption(
                "Threads and draws",
                "Left, gradient_profile with more threads; middle and right, time and peak memory "
                "of a study as it grows.",
                "Dashed lines are in proportion to threads and draws; a small study lies "
                "above its line by what each study costs once. Memory should be level.",
                "Speed against threads; time and peak memory against draws.",
            ),
        ),
        (
            "study",
            "study" in run.extra,
            lambda: figures.stages_figure(run),
            Caption(
                "Where a study spends its time",
                study_profile(run)[0] if "study" in run.extra else "",
                "The bars add up to all of the time that the threads had.",
                "Share of thread time of each stage of a study.",
            ),
        ),
    ]
    drawings = []
    for name, wanted, draw, words in planned:
        if wanted:
            figure = draw()
            wide = figure.get_figwidth() > report.WIDE
            svg, png = drawing.save(figure, folder, name)
            drawings.append(Drawing(name, name, wide, svg, png, words))
    return drawings


def methods(run: Run) -> list[str]:
    """How it was measured."""
    rounds = max((len(times) for row in run.rows for times in row.seconds.values()), default=0)
    return [
        "All implementations of a benchmark run in one process, in turns: after a warm-up, which "
        f"compiles, each is called once in each of {rounds} rounds, in an order that changes from "
        "round to round. Before each call the process waits until none of its threads is running, "
        "since those of a BLAS go on spinning for 0.1 s after a product. Work of less than "
        f"{1e3 * timing.SHORTEST:g} ms is repeated and its mean taken. Peers that take more than "
        f"{timing.LEFT_BEHIND:g} times as long as the fastest one at first are not timed again.",
        "Times are medians over rounds, ratios medians of the ratio within a round; intervals are "
        "those of order statistics, which assume no distribution, and hold with at least 95 %. The "
        "fastest peer is the one with the least median. A target is met where the estimate reaches "
        "it; the intervals say how sure that is.",
        "Peers do the same arithmetic as vgcore and rescale at each step, written as their users "
        "would write them (vgcore/bench/peers.py); tests check that all of them agree. Each uses "
        "as many threads as its library takes by itself; numpy_1thread has one thread of its BLAS.",
        "Limits are best readings: multiply-adds from a loop without loads; loads from a loop that "
        "goes over a working set and feeds each vector to one multiply-add; both on all threads. "
        "The limit of an operation is the lesser of the multiply-adds and of what the loads of its "
        "matrices allow from the cache that they fit into; those of deep networks come from memory "
        "on the way there. Operations counted are those of matrix products alone. tanh is timed by "
        'itself, from the first cache; "with tanh" adds what all activations take at that speed '
        "to what the products take at their limit, since both need the same arithmetic units.",
        "A later run can be compared with this one (vgcore bench --compare run.json): both are "
        "divided by a fixed piece of arithmetic timed in every round, and a change counts when its "
        f"interval lies beyond {100 * STORED_NOISE:.0f} % either way.",
    ]


def _origin(run: Run) -> list[tuple[str, str]]:
    """Where the numbers come from."""
    caches = ", ".join(f"{k} {v // 1024:,} KiB" for k, v in run.machine["caches"].items())
    machine = {k: str(v) for k, v in run.machine.items() if k != "caches"}
    origin = {k: str(v) for k, v in run.origin.items() if v is not None and k != "seconds"}
    took = {"duration": f"{run.origin['seconds']:.0f} s"} if "seconds" in run.origin else {}
    found = {"size of the run": run.size, **origin, **took, **machine, "caches of a core": caches}
    return [(k.replace("_", " "), v) for k, v in {**found, **run.software}.items()]
