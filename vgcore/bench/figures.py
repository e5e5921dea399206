"""Figures of a run: functions from rows and axes to the axes, and whole figures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from vgcore._typing import Array
from vgcore.bench import timing
from vgcore.bench.limits import Limits
from vgcore.bench.operations import OURS
from vgcore.bench.record import REFERENCE, Row, Run
from vgcore.figures import PALETTE, RC, Style, series_styles

# An implementation keeps its colour and marker in every figure.
IMPLEMENTATIONS = {
    name: Style(*PALETTE[place])
    for place, name in enumerate(
        (OURS, "numpy", "torch", "jax_vmap", "jax_map", "numpy_1thread", "numpy_addressed")
    )
}


class Panel(NamedTuple):
    """Rows that differ in N alone, or in sizes that go with it."""

    title: str
    rows: list[Row]


def _name(row: Row) -> str:
    """Operation, and trajectories where there are several."""
    many = row.case.n_trajectories
    return f"{row.operation}, {many} trajectories" if many > 1 else row.operation


def _by_dtype(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """Rows by dtype and then by name."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        found.setdefault(row.case.dtype, {}).setdefault(_name(row), []).append(row)
    return found


def panels(run: Run) -> list[Panel]:
    """Operations with a peer and two sizes or more, by dtype and number of trajectories."""
    found: dict[str, list[Row]] = {}
    for row in run.rows:
        if row.ratio is None:
            continue
        found.setdefault(f"{_name(row)}, {row.case.dtype}", []).append(row)
    return [
        Panel(title, sorted(rows, key=lambda row: row.case.n_hidden))
        for title, rows in found.items()
        if len({row.case.n_hidden for row in rows}) > 1
    ]


def work_units(row: Row) -> int:
    """Draws times steps times trajectories: what the time of a call is divided by."""
    return row.case.n_draws * max(row.case.n_steps, 1) * row.case.n_trajectories


# --- plots: (rows, ax) -> ax ------------------------------------------------------------------


def plot_time(rows: Sequence[Row], ax: Axes) -> Axes:
    """Microseconds a draw and step against N, one line an implementation, both axes logarithmic."""
    for name in sorted({n for row in rows for n in row.seconds if n != REFERENCE}, key=_place):
        timed = [row for row in rows if name in row.seconds]
        found = np.array([timing.median(row.seconds[name]) for row in timed])
        found *= 1e6 / np.array([work_units(row) for row in timed])[:, None]
        low, value, high = found.T
        style = IMPLEMENTATIONS.get(name, Style("#888888", "*"))
        reach = np.nan_to_num([value - low, high - value])
        ax.errorbar(
            [row.case.n_hidden for row in timed],
            value,
            yerr=reach,
            color=style.colour,
            marker=style.marker,
            markersize=5,
            linewidth=2.2 if name == OURS else 1.2,
            label=name,
            zorder=3 if name == OURS else 2,
        )
    ax.set_yscale("log")
    _plain(ax.yaxis)
    _sizes(ax, rows)
    stepwise = any(row.case.n_steps for row in rows)
    ax.set_ylabel("µs a draw and step" if stepwise else "µs a draw")
    return ax


def plot_ratio(
    groups: Mapping[str, Sequence[Row]], ax: Axes, *, styles: Mapping[str, Style]
) -> Axes:
    """Time of the fastest peer over that of vgcore against N, with a line at 1."""
    ax.axhline(1.0, color="#222222", linewidth=1.2, linestyle="--", zorder=1)
    for name, rows in groups.items():
        colour, marker = styles[name].colour, styles[name].marker
        found = np.array([row.ratio for row in rows])
        low, value, high = found.T
        reach = np.nan_to_num([value - low, high - value])
        sizes = [row.case.n_hidden for row in rows]
        ax.errorbar(
            sizes, value, yerr=reach, color=colour, marker=marker, markersize=5, label=name
        )  # fmt: skip
    ax.set_yscale("log")
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if _within(t, ax.get_ylim())]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _sizes(ax, [row for rows in groups.values() for row in rows])
    ax.set_ylabel("times as fast as the fastest peer")
    return ax


def _places(rows: Sequence[Row]) -> Array:
    """Operations a byte, and GFLOP/s, of rows that have a limit."""
    flops = np.array([row.flops for row in rows], np.float64)
    return np.column_stack([[row.intensity for row in rows], flops / 1e9])


def apart(heights: Array, gap: float) -> Array:
    """Return heights `gap` apart or more, in the same order and on average where they were.

    Examples
    --------
    >>> apart(np.array([1.0, 1.0]), 2.0)
    array([0., 2.])
    """
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    moved = np.empty_like(heights)
    moved[order] = np.maximum.accumulate(heights[order] - steps) + steps
    found: Array = moved - (moved - heights).mean()
    return found


def plot_roofline(
    groups: Mapping[str, Sequence[Row]],
    limits: Limits,
    dtype: str,
    ax: Axes,
    *,
    styles: Mapping[str, Style],
) -> Axes:
    """GFLOP/s against operations a byte loaded, below the limits of the machine."""
    xs = np.array([row.intensity for rows in groups.values() for row in rows])
    low, high = (xs.min() / 4, xs.max() * 2) if len(xs) else (0.1, 10)
    x = np.geomspace(low, high, 200)
    peak = limits.multiply_add[dtype]
    levels = {limits.level(size): limits.bandwidth_of(size) for size in limits.bytes_loaded}
    for shade, (name, bandwidth) in zip(("0.0", "0.35", "0.55", "0.7"), levels.items()):
        ax.plot(x, np.minimum(peak, bandwidth * x) / 1e9, color=shade, linewidth=1.1, zorder=1)
        if any(0.8 < bandwidth / other < 1 for other in levels.values()):
            continue  # its name would lie on that of the level before
        ax.annotate(
            f"{name} loads" if name != "memory" else name,
            (x[0], min(bandwidth * x[0], peak) / 1e9),
            xytext=(3, 4),
            textcoords="offset points",
            color=shade,
            fontsize=8,
        )
    ax.annotate(
        "multiply-adds", (x[-1], peak / 1e9), xytext=(0, 4), textcoords="offset points",
        fontsize=8, ha="right",
    )  # fmt: skip
    for name, some in groups.items():
        colour, marker = styles[name].colour, styles[name].marker
        xs, ys = _places(some).T
        ax.plot(xs, ys, linestyle="none", marker=marker, color=colour, markersize=6, label=name)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    _plain(ax.xaxis)
    _plain(ax.yaxis)
    taken: list[tuple[float, int, float]] = []  # by names: place, column beside it, height
    for name, some in groups.items():
        places = _places(some)
        for x in dict.fromkeys(places[:, 0]):
            here = places[:, 0] == x
            heights = ax.transData.transform(places[here])[:, 1] * 72 / ax.figure.dpi
            names = apart(heights, 8.0)
            near = [
                other
                for place, other, height in taken
                if np.isclose(x, place, rtol=0.3) and abs(names - height).min() < 8.0
            ]
            column = min(set(range(len(near) + 1)) - set(near))
            taken += [(x, column, height) for height in names]
            rows = itertools.compress(some, here)
            for row, place, lift in zip(rows, places[here], names - heights, strict=True):
                ax.annotate(
                    f"{row.case.n_hidden}", place, xytext=(6 + 18 * column, -3 + lift),
                    textcoords="offset points", fontsize=7.5, color=styles[name].colour,
                )  # fmt: skip
    ax.set_title(dtype)
    ax.set_xlabel("operations a byte loaded")
    ax.set_ylabel("GFLOP/s")
    return ax


def plot_threads(scalings: Sequence[Mapping[str, Any]], ax: Axes) -> Axes:
    """How many times as fast as one thread, against threads, with the line of equality."""
    most = 1
    for scaling, (colour, marker) in zip(scalings, PALETTE, strict=False):
        one, case = scaling["seconds"]["1"], scaling["case"]
        counts = [int(n) for n in scaling["seconds"]]
        found = np.array([timing.ratio(one, scaling["seconds"][str(n)]) for n in counts])
        low, value, high = found.T
        label = f"N = {case['n_hidden']}, {case['dtype']}"
        reach = np.nan_to_num([value - low, high - value])
        ax.errorbar(counts, value, yerr=reach, color=colour, marker=marker, label=label)
        most = max(most, *counts)
    ax.plot(
        [1, most], [1, most], color="#222222", linestyle="--", linewidth=1, label="in proportion"
    )
    ax.xaxis.set_major_locator(FixedLocator(range(1, most + 1)))
    ax.set_xlabel("threads")
    ax.set_ylabel("times as fast as one thread")
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=8)
    return ax


def plot_draws(points: Sequence[Mapping[str, Any]], ax: Axes) -> Axes:
    """Seconds against the number of draws, and the line of proportion through the last."""
    draws = np.array([point["draws"] for point in points])
    seconds = np.array([point["seconds"] for point in points])
    ax.plot(draws, seconds[-1] * draws / draws[-1], color="#222222", linestyle="--", linewidth=1)
    ax.plot(draws, seconds, marker="o", color=PALETTE[0][0])
    ax.set_xscale("log")
    ax.set_yscale("log")
    _plain(ax.xaxis)
    _plain(ax.yaxis)
    ax.set_xlabel("draws")
    ax.set_ylabel("seconds, the whole study")
    return ax


def plot_memory(points: Sequence[Mapping[str, Any]], ax: Axes) -> Axes:
    """Peak memory against the number of draws."""
    draws = [point["draws"] for point in points]
    ax.plot(draws, [p["peak_bytes"] / 1e6 for p in points], marker="s", color=PALETTE[2][0])
    ax.set_xscale("log")
    _plain(ax.xaxis)
    ax.set_ylim(0, 1.2 * max(p["peak_bytes"] / 1e6 for p in points))
    ax.set_xlabel("draws")
    ax.set_ylabel("peak memory, MB")
    return ax


def plot_stages(study: Mapping[str, Any], ax: Axes) -> Axes:
    """Share of the threads' time that each stage of a study takes."""
    total = study["workers"] * study["seconds"]
    stages = sorted(study["spent"].items(), key=lambda item: item[1])
    names, shares = [name for name, _ in stages], [100 * t / total for _, t in stages]
    ax.barh(names, shares, color=PALETTE[0][0])
    for place, share in enumerate(shares):
        ax.annotate(
            f"{share:.1f} %", (share, place), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=9,
        )  # fmt: skip
    ax.set_xlim(0, 1.15 * max(shares))
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("percent of the threads' time")
    return ax


# --- whole figures ----------------------------------------------------------------------------


def time_figure(found: Sequence[Panel]) -> Figure:
    """Time against N, one panel an operation and dtype."""
    return _figure([lambda ax, p=p: plot_time(p.rows, ax).set_title(p.title) for p in found])


def ratio_figure(found: Sequence[Panel]) -> Figure:
    """Ratio to the fastest peer against N, one panel a dtype."""
    rows = [row for panel in found for row in panel.rows]
    styles = series_styles(list(dict.fromkeys(map(_name, rows))))
    return _figure(
        [
            lambda ax, d=d, g=g: plot_ratio(g, ax, styles=styles).set_title(d)
            for d, g in _by_dtype(rows).items()
        ]
    )


def roofline_figure(run: Run) -> Figure:
    """Rooflines, one panel a dtype."""
    rows = [row for row in run.rows if row.flops and row.bound]
    styles = series_styles(list(dict.fromkeys(map(_name, rows))))
    return _figure(
        [
            lambda ax, d=d, g=g: plot_roofline(g, run.limits, d, ax, styles=styles)
            for d, g in _by_dtype(rows).items()
        ],
        height=4.4,
    )


def scaling_figure(run: Run) -> Figure:
    """Scaling with threads, and time and memory with draws."""
    threads, draws = run.extra["threads"], run.extra["draws"]
    return _figure(
        [
            lambda ax: plot_threads(threads, ax),
            lambda ax: plot_draws(draws, ax),
            lambda ax: plot_memory(draws, ax),
        ],
        n_columns=3,
        legend=False,
    )


def stages_figure(run: Run) -> Figure:
    """Stages of a study."""
    return _figure([lambda ax: plot_stages(run.extra["study"], ax)], legend=False, height=3.0)


def _figure(
    plots: Sequence[Callable[..., Any]],
    n_columns: int = 2,
    height: float = 3.4,
    legend: bool = True,
) -> Figure:
    """Panels side by side, with one legend below."""
    n_columns = min(n_columns, len(plots))
    n_rows = -(-len(plots) // n_columns)
    with rc_context(RC):
        figure = Figure(
            figsize=(max(4.4 * n_columns, 5.6), height * n_rows + 0.4), layout="constrained"
        )
        axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
        for ax, plot in zip(axes, plots):
            plot(ax)
        for ax in axes[len(plots) :]:
            ax.remove()
        if legend:
            keys = {
                label: handle
                for ax in figure.axes
                for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
            }
            names = sorted(keys, key=_place)
            figure.legend(
                [keys[n] for n in names], names, loc="outside lower center", ncols=3, fontsize=9
            )
    return figure


def _sizes(ax: Axes, rows: Sequence[Row]) -> None:
    """A logarithmic axis of N with a tick at each size, but for those too close to another."""
    ax.set_xscale("log", base=2)
    sizes = sorted({row.case.n_hidden for row in rows})
    ticks = [n for n in sizes if n & (n - 1) == 0] or sizes
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("N")


def _plain(axis: Axis) -> None:
    """Write the numbers of a logarithmic axis out."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _place(name: str) -> tuple[int, str]:
    names = list(IMPLEMENTATIONS)
    return (names.index(name) if name in names else len(names), name)
