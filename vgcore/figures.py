"""Figures of a study: functions from a table and an `ax` to that `ax`, and whole figures.

A table holds one row a condition with the columns of `vgcore.stats.slice_table`. A series keeps
one colour and one marker in every figure. Nothing here touches pyplot or its global state.
"""

from __future__ import annotations

import io
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from PIL import Image

from vgcore.study.files import inner_folder, write_text, write_whole

# Okabe and Ito (2008) without yellow, then dark tones of Tol (2021): apart under every common
# form of colour blindness on white; markers tell them apart without any colour.
PALETTE = (
    ("#0072B2", "o"),
    ("#56B4E9", "s"),
    ("#D55E00", "D"),
    ("#009E73", "^"),
    ("#CC79A7", "v"),
    ("#E69F00", "P"),
    ("#000000", "X"),
    ("#882255", "<"),
    ("#999933", ">"),
    ("#332288", "p"),
    ("#44AA99", "h"),
    ("#888888", "*"),
)
NAMED = {
    **dict.fromkeys(("none", "gaussian", "tanh", "rnn", "elman"), PALETTE[0]),  # nothing done
    "uniform": PALETTE[1],
    "orthogonal": PALETTE[2],
    "identity": PALETTE[3],
    "sparse": PALETTE[4],
    "antisymmetric": PALETTE[5],
    "critical": PALETTE[6],
    "kaiming_normal": PALETTE[7],
    "kaiming_uniform": PALETTE[8],
    "relu": PALETTE[2],
    "logistic": PALETTE[3],
    "sigmoid": PALETTE[3],
    "linear": PALETTE[6],
    "lstm": PALETTE[9],
    "gru": PALETTE[10],
    "lstm (chrono = 1000)": PALETTE[11],
    "lstm (forget_bias = 1)": ("#882255", "d"),
    "lstm (forget_bias = 2)": ("#CC79A7", "H"),
    "lstm (forget_bias = 3)": ("#E69F00", "8"),
    "leaky": ("#999933", "d"),
    "deep": ("#E69F00", "h"),
    "truncation": ("#D55E00", "<"),
    "omega": ("#009E73", "p"),
    "orthogonality": ("#CC79A7", ">"),
    "l2": ("#E69F00", "X"),
    "clip_norm": ("#56B4E9", "v"),
    "clip_value": ("#332288", "s"),
    "clip_delta": ("#000000", "P"),
}
"""Colour and marker that well-known levels and remedies keep in every figure of every study."""

PHASES = {"vanishing": ("#9CC9E8", "▼"), "stable": ("#F1F1EE", "●"), "exploding": ("#F6B26B", "▲")}
RC: Any = {  # names and values as matplotlib checks them
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.titlesize": 10,
    "axes.labelcolor": "#222222",
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: found by search, and a third of the bytes
    "text.parse_math": False,  # a dollar sign in a study is a dollar sign
}
MAX_TOGETHER = 7  # more series than this on one axis can no longer be told apart
_TAG = re.compile(r"<[^>]*>")
_LONG_NUMBER = re.compile(r"(?<!scale\()(?<![\d.])(\d+\.\d\d)\d{2,}")
LINEAR_LIKE = ("linear", "mean field")
N_BEHIND = 50  # draws shown behind a median; more only darken the same cloud


@dataclass(frozen=True)
class Style:
    """Colour and marker of one series."""

    colour: str
    marker: str


def series_styles(names: Sequence[str], *, ordered: bool = False) -> dict[str, Style]:
    """Give every series a colour and a marker.

    Parameters
    ----------
    names : sequence of str
        Names of the series; well-known levels keep their reserved place.
    ordered : bool
        Levels of a quantity, ascending: colours run from dark to light instead.
    """
    if ordered:
        colours = level_colours(len(names))
        return {
            name: Style(colour, PALETTE[i % len(PALETTE)][1])
            for i, (name, colour) in enumerate(zip(names, colours, strict=True))
        }
    found: dict[str, tuple[str, str]] = {}
    for name in sorted(names, key=lambda name: name not in NAMED):  # the exact names come first
        look = NAMED.get(name) or NAMED.get(name.split(" (")[0])
        if look is not None and look not in found.values():
            found[name] = look
    # Every colour with its own marker first, then with those of others.
    n, used = len(PALETTE), {colour for colour, _ in found.values()}
    rest = sorted(PALETTE, key=lambda look: look[0] in used)
    rest += [(PALETTE[i][0], PALETTE[(i + k) % n][1]) for k in range(1, n) for i in range(n)]
    free = cycle([look for look in rest if look not in found.values()])
    return {name: Style(*(found.get(name) or next(free))) for name in names}


def level_colours(n: int) -> list[str]:
    """Colours from dark to light for `n` ascending levels, none too pale for white paper."""
    scale = mpl.colormaps["viridis"]
    return [to_hex(scale(v)) for v in np.linspace(0.0, 0.85, n)]


# --- plots: (table, ax) -> ax ----------------------------------------------------------------


def plot_rate(
    table: pd.DataFrame,
    ax: Axes,
    *,
    styles: Mapping[str, Style],
    theory: bool = False,
    draws: pd.DataFrame | None = None,
) -> Axes:
    """Draw the median vanishing rate with its interval against the axis of the slice.

    Parameters
    ----------
    table : DataFrame
        Columns ``series``, ``x``, ``rate``, ``rate_low`` and ``rate_high``; with
        ``rate_theory_low`` and ``rate_theory_high``, what theory predicts is shaded.
    ax : Axes
        Where to draw.
    styles : mapping
        Style of each series.
    theory : bool
        Add ln(x), the rate of a linear cell of spectral radius x.
    draws : DataFrame, optional
        Columns ``condition`` and ``rate`` of single draws, shown behind the medians.
    """
    ax.axhline(0, color="#555555", linewidth=1)
    finite = table.replace([-np.inf, np.inf], np.nan)
    _behind(table, ax, "rate", styles, draws)
    _predicted(finite, ax, "rate", styles)
    _series(finite, ax, "rate", styles)
    if theory:
        grid = np.linspace(table["x"].min(), table["x"].max(), 200)
        grid = grid[grid > 0]
        ax.plot(grid, np.log(grid), color="#555555", linestyle=(0, (4, 3)), linewidth=1.2, zorder=1)
    ax.set_ylabel("vanishing rate (nats a step)")
    return ax


def plot_horizon(
    table: pd.DataFrame,
    ax: Axes,
    *,
    styles: Mapping[str, Style],
    draws: pd.DataFrame | None = None,
) -> Axes:
    """Draw the Kaplan-Meier median horizon, open with an arrow where it lies beyond T.

    `table` has columns ``series``, ``x``, ``horizon``, ``horizon_low``, ``horizon_high`` and
    ``n_steps``, perhaps ``horizon_theory_low`` and ``_high``; `draws` as in `plot_rate`.
    """
    limit = float(table["n_steps"].max())
    beyond = np.isinf(table["horizon"])
    shown = table.assign(
        horizon=np.where(beyond, table["n_steps"], table["horizon"]),
        horizon_low=np.clip(table["horizon_low"], 1.0, table["n_steps"]),
        horizon_high=np.minimum(table["horizon_high"], table["n_steps"]),
    )
    for end in ("horizon_theory_low", "horizon_theory_high"):
        if end in shown:
            shown[end] = np.minimum(shown[end], shown["n_steps"])  # nan stays nan
    ax.set_yscale("log")
    _behind(table, ax, "horizon", styles, draws)
    _predicted(shown, ax, "horizon", styles)
    if table["n_steps"].nunique() == 1:
        ax.axhline(limit, color="#555555", linewidth=1)
        ax.annotate(
            f"T = {limit:g}",
            (1, limit),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color="#444444",
        )
    _series(shown, ax, "horizon", styles, hollow=beyond)
    place = _places(shown, styles)
    for x, y, name in zip(place[beyond], shown["horizon"][beyond], shown["series"][beyond]):
        ax.annotate(
            "",
            (x, y),
            xytext=(0, 15),
            textcoords="offset points",
            arrowprops={"arrowstyle": "<|-", "color": styles[name].colour, "linewidth": 1},
        )
    lowest = np.floor(np.log10(max(1.0, float(shown["horizon_low"].min()))))
    decades = 10.0 ** np.arange(lowest, np.log10(limit) + 1e-9)
    ax.set_ylim(0.8 * decades[0], limit * 2.2)
    ax.yaxis.set_major_locator(FixedLocator(decades.tolist()))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_ylabel("memory horizon (steps)")
    return ax


def plot_share(table: pd.DataFrame, ax: Axes, *, styles: Mapping[str, Style]) -> Axes:
    """Draw the share of growing draws with Wilson intervals.

    `table` has columns ``series``, ``x``, ``growing``, ``growing_low`` and ``growing_high``,
    perhaps ``growing_theory_low`` and ``_high``.
    """
    _predicted(table, ax, "growing", styles)
    _series(table, ax, "growing", styles)
    ax.set_ylim(-0.04, 1.04)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    ax.set_ylabel("share of growing draws")
    return ax


def plot_phase(table: pd.DataFrame, ax: Axes) -> Axes:
    """Map each condition as vanishing, stable or exploding, its median rate in the cell.

    `table` has columns ``series``, ``x``, ``rate`` and ``phase``; the first series is on top.
    """
    names = list(dict.fromkeys(table["series"]))
    axis = table.drop_duplicates("x").sort_values("x")
    levels = axis["x"].tolist()
    labels = [name or ("" if np.isnan(x) else f"{x:g}") for x, name in zip(levels, axis["x_name"])]
    kinds = list(PHASES)
    cells = np.full((len(names), len(levels)), np.nan)
    for name, x, rate, kind in table[["series", "x", "rate", "phase"]].itertuples(index=False):
        row, column = names.index(name), 0 if np.isnan(x) else levels.index(x)
        cells[row, column] = kinds.index(kind)
        ax.text(
            column,
            row,
            f"{PHASES[kind][1]}\n{short_rate(rate)}",
            ha="center",
            va="center",
            fontsize=8,
            linespacing=1.25,
            color="#111111",
        )
    edges_x, edges_y = np.arange(len(levels) + 1) - 0.5, np.arange(len(names) + 1) - 0.5
    colours = ListedColormap([colour for colour, _ in PHASES.values()])
    ax.pcolormesh(
        edges_x,
        edges_y,
        np.ma.masked_invalid(cells),
        cmap=colours,
        vmin=-0.5,
        vmax=2.5,
        edgecolors="white",
        linewidth=1.5,
    )
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.set_yticks(range(len(names)), names)
    ax.set_xticks(range(len(levels)), labels)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def plot_decay(
    bands: pd.DataFrame,
    profiles: pd.DataFrame,
    ax: Axes,
    *,
    colours: Mapping[int, str],
    eps: float,
    theory: Mapping[int, tuple[float, float]] | None = None,
) -> Axes:
    """Draw gradient norms over lag: draws behind, median curves with their bands in front.

    Parameters
    ----------
    bands : DataFrame
        Output of `vgcore.stats.profile_bands`.
    profiles : DataFrame
        Columns ``condition``, ``draw``, ``lag`` and ``log_norm`` (natural logs).
    ax : Axes
        Where to draw.
    colours : mapping
        Colour of each condition to draw.
    eps : float
        Level of the memory horizon, drawn as a line.
    theory : mapping, optional
        Ends of the band of rates predicted of a condition, drawn as exp(rate lag).
    """
    ax.set_rasterization_zorder(2.5)  # one image of all clouds, not one each
    decades = np.log10(1 / eps)
    # One fixed window: curves far below it would flatten everything near the eps line.
    floor = -40.0 * decades
    for condition, colour in colours.items():
        group = profiles[(profiles["condition"] == condition) & (profiles["lag"] > 0)]
        wide = group.pivot(index="draw", columns="lag", values="log_norm").iloc[:N_BEHIND]
        lags = wide.columns.to_numpy(dtype=np.float64)
        curves = np.maximum(wide.to_numpy(dtype=np.float64) / np.log(10), floor)
        lines = np.stack([np.broadcast_to(lags, curves.shape), curves], axis=-1)
        # Fifty draws as vectors would make one figure larger than the whole report.
        ax.add_collection(
            LineCollection(
                list(lines), colors=colour, linewidths=0.5, alpha=0.14, rasterized=True, zorder=2
            )
        )
    for condition, colour in colours.items():
        band = bands[(bands["condition"] == condition) & (bands["lag"] > 0)]
        lag = band["lag"].to_numpy(dtype=np.float64)
        low, middle, high = (
            np.maximum(band[name].to_numpy(dtype=np.float64) / np.log(10), floor)
            for name in ("low", "median", "high")
        )
        if np.isfinite(low).all():
            ax.fill_between(lag, low, high, color=colour, alpha=0.25, linewidth=0, zorder=3)
        ax.plot(lag, middle, color=colour, linewidth=1.8, zorder=4)
        for rate in sorted(set((theory or {}).get(condition, ()))):
            if np.isfinite(rate):
                line = np.maximum(rate * lag / np.log(10), floor)
                ax.plot(lag, line, color=colour, linewidth=1.1, linestyle=":", zorder=3.5)
    ax.axhline(0, color="#555555", linewidth=0.8)
    ax.axhline(-decades, color="#555555", linewidth=1, linestyle=(0, (4, 3)), zorder=5)
    ax.set_xscale("log")
    _decades(ax, decades, bands)
    return ax


def plot_events(incidence: pd.DataFrame, ax: Axes, *, n_steps: int) -> Axes:
    """Draw the share of draws whose norm has vanished, from below, or exploded, from above, by lag.

    Parameters
    ----------
    incidence : DataFrame
        Output of `vgcore.stats.cumulative_incidence`; the space between is the share with neither.
    ax : Axes
        Where to draw.
    n_steps : int
        T, the longest lag.
    """
    for event, kind in (("vanish", "vanishing"), ("explode", "exploding")):
        rows = incidence[incidence["event"] == event]
        if rows.empty:
            continue
        lag = np.concatenate([[1.0], rows["time"].to_numpy(dtype=np.float64), [float(n_steps)]])
        share, low, high = (
            np.concatenate([[0.0], rows[name], rows[name].iloc[-1:]])
            for name in ("incidence", "low", "high")
        )
        low[0], high[0] = 0.0, high[1] * (lag[1] <= 1)
        if event == "explode":
            share, low, high = 1 - share, 1 - high, 1 - low
        colour = PHASES[kind][0]
        end = float(event == "explode")
        ax.fill_between(lag, end, share, step="post", color=colour, linewidth=0, zorder=1)
        ax.fill_between(lag, low, high, step="post", color="#555555", alpha=0.25, linewidth=0)
        ax.plot(lag, share, drawstyle="steps-post", color="#444444", linewidth=1.2, zorder=3)
    ax.set_xscale("log")
    ax.set_xlim(1, n_steps)
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return ax


def _decades(ax: Axes, decades: float, bands: pd.DataFrame) -> None:
    """Fix the vertical window to whole multiples of eps, with room above only if it is used."""
    step = max(1, round(decades))
    top = 1 + 2 * int((bands["q90"].max() / np.log(10)) > decades)
    ax.set_ylim(-3 * step, top * step)
    ax.yaxis.set_major_locator(FixedLocator([k * step for k in range(-3, top + 1)]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power(round(value))))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def power(exponent: int) -> str:
    """Write a power of ten with raised digits."""
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def short_rate(rate: float) -> str:
    """Write a rate in two or three figures for a small cell."""
    if np.isinf(rate):
        return "\N{MINUS SIGN}∞" if rate < 0 else "∞"
    digits = 2 if abs(rate) >= 0.1 else 3 if abs(rate) >= 0.01 else 4
    text = f"{rate:+.{digits}f}"
    return ("0" if float(text) == 0 else text).replace("-", "\N{MINUS SIGN}")


def _series(
    table: pd.DataFrame,
    ax: Axes,
    column: str,
    styles: Mapping[str, Style],
    hollow: pd.Series[bool] | None = None,
) -> None:
    """Draw the estimates of each series with their intervals, joined if the axis is a number."""
    place = _places(table, styles)
    numeric = _is_number(table)
    for name, style in styles.items():
        mine = (table["series"] == name).to_numpy()
        if not mine.any():
            continue
        x, y = place[mine], table[column].to_numpy(dtype=np.float64)[mine]
        low = table[f"{column}_low"].to_numpy(dtype=np.float64)[mine]
        high = table[f"{column}_high"].to_numpy(dtype=np.float64)[mine]
        if numeric:
            ax.plot(x, y, color=style.colour, linewidth=1.1, alpha=0.75, zorder=2)
        ax.vlines(x, low, high, color=style.colour, linewidth=1.6, zorder=3)
        open_ = hollow.to_numpy()[mine] if hollow is not None else np.zeros(len(x), dtype=bool)
        for chosen, face in ((~open_, style.colour), (open_, "white")):
            ax.plot(
                x[chosen],
                y[chosen],
                linestyle="none",
                marker=style.marker,
                markersize=5.5,
                markerfacecolor=face,
                markeredgecolor=style.colour,
                markeredgewidth=1.1,
                zorder=4,
            )
    _axis(table, ax, styles)


def _behind(
    table: pd.DataFrame,
    ax: Axes,
    column: str,
    styles: Mapping[str, Style],
    draws: pd.DataFrame | None,
) -> None:
    """Draw single draws as light ticks behind their median."""
    if draws is None:
        return
    place = dict(zip(table["condition"], _places(table, styles), strict=True))
    for name, rows in table.groupby("series", sort=False):
        mine = draws[draws["condition"].isin(rows["condition"])]
        mine = mine[mine.groupby("condition").cumcount() < N_BEHIND]
        y = mine[column].replace([-np.inf, np.inf], np.nan)
        x = mine["condition"].map(place)
        ax.plot(
            x, y, "_", color=styles[str(name)].colour, markersize=6, markeredgewidth=0.6, alpha=0.3,
            rasterized=True, zorder=1.2,
        )  # fmt: skip


def _predicted(table: pd.DataFrame, ax: Axes, column: str, styles: Mapping[str, Style]) -> None:
    """Shade the band that theory predicts of each series, grey where it is that of several."""
    ends = [f"{column}_theory_low", f"{column}_theory_high"]
    if ends[0] not in table:
        return
    place = _places(table, styles)
    if not _is_number(table):  # a box about each estimate
        known = table[ends].notna().all(axis=1).to_numpy()
        half = 0.25 if table["x"].isna().any() else 0.4 / len(styles)
        for x, name, low, high in zip(place[known], *table.loc[known, ["series", *ends]].T.values):
            _band(ax, np.array([x - half, x + half]), low, high, styles[name].colour)
        return
    shared: dict[bytes, list[str]] = {}
    bands = {}
    for name, rows in table.groupby("series", sort=False):
        if rows[ends].isna().all(axis=None):
            continue
        bands[str(name)] = rows[["x", *ends]].to_numpy(dtype=np.float64).T
        shared.setdefault(bands[str(name)].tobytes(), []).append(str(name))
    for names in shared.values():
        colour = styles[names[0]].colour if len(names) == 1 else "#666666"
        x, low, high = bands[names[0]]
        _band(ax, x, low, high, colour)


def _band(ax: Axes, x: Any, low: Any, high: Any, colour: str) -> None:
    """A shaded band with dotted edges."""
    ax.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0, zorder=1)
    for end in (low, high):
        ax.plot(
            x, np.broadcast_to(end, x.shape), color=colour, linewidth=1, linestyle=":", zorder=1.5
        )


def _axis(table: pd.DataFrame, ax: Axes, styles: Mapping[str, Style]) -> None:
    """Set up the horizontal axis: a quantity, a logarithmic one, or names."""
    if not _is_number(table):
        names = _ticks(table, styles)
        slant = len(names) > 4
        ax.set_xticks(
            list(names),
            list(names.values()),
            rotation=30 if slant else 0,
            ha="right" if slant else "center",
        )
        ax.set_xlim(min(names) - 0.6, max(names) + 0.6)
        return
    if _is_log(table):
        ax.set_xscale("log")
        levels = sorted(table["x"].unique())
        ax.xaxis.set_major_locator(FixedLocator(levels))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_minor_formatter(NullFormatter())


def _is_number(table: pd.DataFrame) -> bool:
    """Say whether the axis is a quantity, so that its points may be joined."""
    return bool(table["x"].notna().all() and (table["x_name"] == "").all())


def _ticks(table: pd.DataFrame, styles: Mapping[str, Style]) -> dict[float, str]:
    """Places and names along an axis that is no quantity; without an axis, the series."""
    if table["x"].notna().all():
        names = table.drop_duplicates("x").sort_values("x")
        return dict(zip(names["x"].tolist(), names["x_name"].tolist(), strict=True))
    present = set(table["series"])
    return {float(i): name for i, name in enumerate(n for n in styles if n in present)}


def _is_log(table: pd.DataFrame) -> bool:
    """Say whether the axis spans so many doublings that a linear one would crowd its start."""
    x = table["x"]
    return bool(_is_number(table) and x.min() > 0 and x.max() / x.min() >= 16)


def _places(table: pd.DataFrame, styles: Mapping[str, Style]) -> npt.NDArray[np.float64]:
    """Positions along the axis; coinciding series stand a hair apart so that all are seen."""
    present = [name for name in styles if name in set(table["series"])]
    rank = table["series"].map({name: i for i, name in enumerate(present)}).to_numpy(dtype=float)
    if table["x"].isna().any():
        return np.asarray(rank)
    x = table["x"].to_numpy(dtype=np.float64)
    if not _is_number(table):
        return np.asarray(x + 0.8 * ((rank + 0.5) / len(present) - 0.5))
    hair = 0.004 * (rank - (len(present) - 1) / 2)
    if _is_log(table):
        return np.asarray(x * (x.max() / x.min()) ** hair)
    return np.asarray(x + hair * ((x.max() - x.min()) or 1.0))


# --- whole figures ---------------------------------------------------------------------------


@rc_context(RC)
def rate_figure(
    table: pd.DataFrame,
    *,
    styles: Mapping[str, Style],
    x_label: str,
    theory: bool = False,
    draws: pd.DataFrame | None = None,
) -> Figure:
    """Vanishing rate of every series; a second panel magnifies the rates near zero."""
    rates = table["rate"].replace([-np.inf, np.inf], np.nan).abs()
    near = 0.12
    zoom = bool(_is_number(table) and rates.max() > 4 * near and (rates < near).sum() > 2)
    groups = _groups(table, styles)
    figure, grid = _canvas((1 + zoom) * len(groups), min((1 + zoom) * len(groups), 2), 3.9)
    for i, names in enumerate(groups):
        part = table[table["series"].isin(names)]
        # ln(x) is of cells that multiply by their matrix, not of gates
        linear = theory and ("theory" not in part or bool(part["theory"].isin(LINEAR_LIKE).any()))
        for j in range(1 + zoom):
            ax = grid[i * (1 + zoom) + j]
            plot_rate(part, ax, styles=_only(styles, names), theory=linear, draws=draws)
            ax.set_xlabel(x_label)
            if j:
                seen = part["x"][rates[part.index] < near]
                room = 0.04 * (seen.max() - seen.min()) if len(seen) > 1 else 0.1
                if len(seen):
                    ax.set_xlim(seen.min() - room, seen.max() + room)
                ax.set_ylim(-near, near)
                ax.set_title(f"the same within ±{near:g}", color="#444444")
                ax.set_ylabel("")
    extra = _keys(table, "rate", draws)
    if theory:
        line = Line2D([], [], color="#555555", linestyle=(0, (4, 3)), label="ln(spectral radius)")
        extra.append(line)
    _legend(figure, table, _only(styles, table["series"]), extra)
    return figure


@rc_context(RC)
def horizon_figure(
    table: pd.DataFrame,
    *,
    styles: Mapping[str, Style],
    x_label: str,
    draws: pd.DataFrame | None = None,
) -> Figure:
    """Memory horizon of every series, censored medians open with an arrow."""
    extra = _keys(table, "horizon", draws)
    if np.isinf(table["horizon"]).any():
        open_ = Line2D([], [], linestyle="none", marker="o", color="#444444")
        open_.set(markerfacecolor="white", label="median beyond T")
        extra.append(open_)
    return _simple_figure(table, partial(plot_horizon, draws=draws), styles, x_label, extra)


@rc_context(RC)
def share_figure(table: pd.DataFrame, *, styles: Mapping[str, Style], x_label: str) -> Figure:
    """Share of growing draws of every series."""
    return _simple_figure(table, plot_share, styles, x_label, _keys(table, "growing", None))


@rc_context(RC)
def phase_figure(table: pd.DataFrame, *, x_label: str) -> Figure:
    """Phase map with its key."""
    n_rows, n_columns = table["series"].nunique(), max(table["x"].nunique(), 1)
    size = (min(max(2.6 + 0.62 * n_columns, 5.0), 16.0), 1.3 + 0.46 * n_rows)
    figure = Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    plot_phase(table, ax)
    ax.set_xlabel(x_label)
    keys = [
        Patch(facecolor=colour, edgecolor="#999999", label=f"{sign} {kind}")
        for kind, (colour, sign) in PHASES.items()
    ]
    figure.legend(handles=keys, loc="outside upper right", ncols=3, fontsize=9)
    return figure


@rc_context(RC)
def decay_figure(
    table: pd.DataFrame,
    bands: pd.DataFrame,
    profiles: pd.DataFrame,
    *,
    levels: Sequence[float],
    level_colour: Mapping[float, str],
    styles: Mapping[str, Style],
    x_label: str,
    eps: float,
) -> Figure:
    """Decay curves: one panel a series and one colour a level, or one panel without an axis."""
    theory = {}
    if "rate_theory_low" in table:
        ends = table[["condition", "rate_theory_low", "rate_theory_high"]]
        theory = {int(c): (low, high) for c, low, high in ends.itertuples(index=False)}
    if len(levels):
        names = [name for name in styles if name in set(table["series"])]
        n_columns = 2 if len(names) == 4 else min(len(names), 3)
        figure, grid = _canvas(len(names), n_columns, 2.9, width=3.3, share=True)
        for ax, name in zip(grid, names, strict=True):
            part = table[(table["series"] == name) & table["x"].isin(levels)]
            colours = {
                int(condition): level_colour[x]
                for condition, x in zip(part["condition"], part["x"], strict=True)
            }
            plot_decay(bands, profiles, ax, colours=colours, eps=eps, theory=theory)
            ax.set_title(name)
        called = dict(zip(table["x"], table["x_name"], strict=True))
        keys = [
            Line2D([], [], color=level_colour[x], linewidth=2, label=called[x] or f"{x:g}")
            for x in levels
        ]
        title: str | None = x_label
    else:
        n_columns = 1
        figure, grid = _canvas(1, 1, 3.9)
        conditions = zip(table["condition"], table["series"], strict=True)
        colours = {int(condition): styles[name].colour for condition, name in conditions}
        plot_decay(bands, profiles, grid[0], colours=colours, eps=eps, theory=theory)
        keys = [
            Line2D([], [], color=styles[name].colour, linewidth=2, label=name)
            for name in dict.fromkeys(table["series"])
        ]
        title = None
    for ax in grid:
        ax.set_xlim(1, max(float(bands["lag"].max()), 2))
        if ax in grid[-n_columns:]:
            ax.set_xlabel("lag (steps back)")
    figure.supylabel("gradient norm / norm at lag 0", fontsize=10)
    keys.append(Line2D([], [], color="#555555", linestyle=(0, (4, 3)), label=f"eps = {eps:g}"))
    if any(np.isfinite(ends).any() for ends in theory.values()):
        keys.append(Line2D([], [], color="#555555", linestyle=":", label="theory"))
    figure.legend(
        handles=keys, title=title, loc="outside lower center", ncols=_columns(figure, keys)
    )
    return figure


@rc_context(RC)
def events_figure(incidences: Mapping[str, pd.DataFrame], *, n_steps: int) -> Figure:
    """Vanishing and exploding as competing events: one panel a series."""
    n_columns = 2 if len(incidences) == 4 else min(len(incidences), 3)
    figure, grid = _canvas(len(incidences), n_columns, 2.1, width=3.0, share=True)
    for ax, (name, incidence) in zip(grid, incidences.items(), strict=True):
        plot_events(incidence, ax, n_steps=n_steps)
        ax.set_title(name)
        if ax in grid[-n_columns:]:
            ax.set_xlabel("lag (steps back)")
    figure.supylabel("share of draws", fontsize=10)
    keys = [
        Patch(facecolor=PHASES["exploding"][0], label="exploded first"),
        Patch(facecolor="white", edgecolor="#999999", label="neither yet"),
        Patch(facecolor=PHASES["vanishing"][0], label="vanished first"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def plot_changes(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the change of the rate of each condition, from the lowest row up, with its interval.

    Parameters
    ----------
    table : DataFrame
        Rows of `vgcore.compare.Changes.table`.
    ax : Axes
        Where to draw.
    """
    looks = {"improved": 3, "worse": 2, "within noise": 5, "no change detected": 0}
    for verdict, look in looks.items():
        rows = np.flatnonzero(table["verdict"] == verdict)
        if not rows.size:
            continue
        own, (colour, marker) = table.iloc[rows], PALETTE[look]
        ends = own[["change_low", "change_high"]].to_numpy(dtype=np.float64).T
        ax.hlines(rows, *np.clip(ends, -1e6, 1e6), color=colour, linewidth=1.4)
        ax.plot(own["change"], rows, linestyle="none", color=colour, marker=marker, label=verdict)
    ax.axvline(0.0, color="#555555", linewidth=1)
    ax.set_yticks(range(len(table)), table["label"], fontsize=8)
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.set_xlabel("change of the rate (nats a step)")
    return ax


@rc_context(RC)
def changes_figure(table: pd.DataFrame) -> Figure:
    """Changes between two runs, one row a condition."""
    figure = Figure(figsize=(8.0, 1.4 + 0.24 * len(table)), layout="constrained")
    ax = plot_changes(table, figure.add_subplot())
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    return figure


def save(figure: Figure, folder: Path, stem: str) -> tuple[Path, Path]:
    """Write `folder`/`stem`.svg and .png, the same bytes for the same figure.

    Returns the two paths.
    """
    inner_folder(folder)
    svg, png = folder / f"{stem}.svg", folder / f"{stem}.png"
    with rc_context(RC | {"svg.hashsalt": stem}):
        # The canvases are used directly: `savefig` draws everything twice, to find its size first.
        figure.set_dpi(130)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba()))
        # The layout is solved once; the second writer would only find the same answer.
        figure.set_layout_engine("none")
        written = io.StringIO()
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None, "Creator": None})
    # 256 colours take half of the bytes of true colour, tenths of a point half of matplotlib's
    # millionths; neither shows.
    small = io.BytesIO()
    image.convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        small, "PNG", optimize=True
    )
    write_whole(png, small.getvalue())
    # Inside tags only: between them stand the numbers that a reader sees.
    shorter = _TAG.sub(lambda tag: _LONG_NUMBER.sub(r"\1", tag[0]), written.getvalue())
    # Verdana has nearly the same widths where DejaVu Sans is missing.
    write_text(svg, shorter.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif"))
    return svg, png


def svg_uri(svg: Path) -> str:
    """The drawing in a file as the address of an image within a page."""
    drawing = " ".join(svg.read_text("utf-8").split())
    # Most of an SVG is digits and spaces, which need no escape: shorter than base64.
    return "data:image/svg+xml," + urllib.parse.quote(drawing, safe=" /:=;,().-+'")


def embedded(figure: Figure, folder: Path, stem: str) -> str:
    """Save a figure, and return it as the address of an image within a page."""
    svg, _ = save(figure, folder, stem)
    return svg_uri(svg)


def _simple_figure(
    table: pd.DataFrame,
    plot: Any,
    styles: Mapping[str, Style],
    x_label: str,
    extra: list[Any],
) -> Figure:
    """One panel for each group of series, with one legend."""
    groups = _groups(table, styles)
    figure, grid = _canvas(len(groups), min(len(groups), 2), 3.9)
    for ax, names in zip(grid, groups, strict=True):
        plot(table[table["series"].isin(names)], ax, styles=_only(styles, names))
        ax.set_xlabel(x_label)
    _legend(figure, table, _only(styles, table["series"]), extra)
    return figure


def _keys(table: pd.DataFrame, column: str, draws: pd.DataFrame | None) -> list[Any]:
    """Entries of the legend for the band of theory and for single draws, where they are drawn."""
    keys: list[Any] = []
    if f"{column}_theory_low" in table and table[f"{column}_theory_low"].notna().any():
        keys.append(Patch(facecolor="#DDDDDD", edgecolor="#555555", linestyle=":", label="theory"))
    if draws is not None:
        tick = Line2D([], [], linestyle="none", marker="_", color="#999999", label="single draws")
        keys.append(tick)
    return keys


def _groups(table: pd.DataFrame, styles: Mapping[str, Style]) -> list[list[str]]:
    """Split the series over panels once one panel would be crowded."""
    names = [name for name in styles if name in set(table["series"])]
    if (
        len(names) <= (MAX_TOGETHER if _is_number(table) else len(PALETTE))
        or table["x"].isna().any()
    ):
        return [names]
    n_groups = -(-len(names) // 5)
    size = -(-len(names) // n_groups)
    return [names[i : i + size] for i in range(0, len(names), size)]


def _only(styles: Mapping[str, Style], names: Any) -> dict[str, Style]:
    """Keep the styles of some series, in their order."""
    kept = set(names)
    return {name: style for name, style in styles.items() if name in kept}


def _canvas(
    n_panels: int, n_columns: int, height: float, *, width: float = 5.6, share: bool = False
) -> tuple[Figure, list[Axes]]:
    """Figure with `n_panels` axes in rows of `n_columns`; its size in inches grows with them."""
    n_rows = -(-n_panels // n_columns)
    wide = max(width * (1 if n_columns == 1 else 0.82), 3.0) if not share else width
    size = (max(wide * n_columns, 5.6), height * n_rows + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=share, sharey=share)
    axes = list(grid.flat)
    for ax in axes[n_panels:]:
        ax.remove()
    if share:
        for ax in axes[max(n_panels - n_columns, 0) : n_panels]:
            ax.tick_params(labelbottom=True)
    return figure, axes[:n_panels]


def _legend(
    figure: Figure, table: pd.DataFrame, styles: Mapping[str, Style], extra: list[Any]
) -> None:
    """Put one legend below the figure; without an axis the ticks already name the series."""
    if table["x"].isna().any() and not extra:
        return
    line: Any = "-" if _is_number(table) else "none"
    keys = [
        Line2D(
            [],
            [],
            color=style.colour,
            marker=style.marker,
            markersize=5.5,
            linestyle=line,
            label=name,
        )
        for name, style in styles.items()
    ] + extra
    figure.legend(
        handles=keys, loc="outside lower center", ncols=_columns(figure, keys), fontsize=9
    )


def _columns(figure: Figure, keys: Sequence[Any]) -> int:
    """Number of legend columns that fits the width of the figure."""
    longest = max(len(str(key.get_label())) for key in keys)
    return max(1, min(len(keys), int(13 * figure.get_figwidth()) // (longest + 7)))


def plot_calibration(table: pd.DataFrame, ax: Axes, *, styles: Mapping[str, Style]) -> Axes:
    """Draw measured rates against the band that theory predicts for each.

    Parameters
    ----------
    table : DataFrame
        Columns ``activation``, ``predicted_low``, ``predicted_high``, ``rate``, ``rate_low``,
        ``rate_high`` and ``agrees``.
    ax : Axes
        Where to draw.
    styles : mapping
        Activation to its colour and marker.
    """
    ends = table[["predicted_low", "predicted_high", "rate"]].to_numpy()
    low, high = float(ends.min()), float(ends.max())
    pad = 0.04 * (high - low + 1e-3)
    ax.plot([low - pad, high + pad], [low - pad, high + pad], color="#888888", linewidth=1)
    for name, style in styles.items():
        for agrees, rows in table[table["activation"] == name].groupby("agrees"):
            middle = 0.5 * (rows["predicted_low"] + rows["predicted_high"])
            half = 0.5 * (rows["predicted_high"] - rows["predicted_low"])
            rate = rows["rate"]
            error = np.nan_to_num(np.stack([rate - rows["rate_low"], rows["rate_high"] - rate]))
            ax.errorbar(
                middle, rows["rate"], xerr=half, yerr=error, fmt=style.marker, markersize=5,
                color=style.colour, markerfacecolor=style.colour if agrees else "white",
                elinewidth=0.8, linewidth=0,
            )  # fmt: skip
    ax.set_xlim(low - pad, high + pad)
    ax.set_ylim(low - pad, high + pad)
    ax.set_xlabel("predicted rate, with its band (nats a step)")
    ax.set_ylabel("measured median rate (nats a step)")
    return ax


def plot_z_scores(table: pd.DataFrame, ax: Axes, *, styles: Mapping[str, Style]) -> Axes:
    """Draw how many standard errors each rate lies beside its band, 0 within it.

    `table` has columns ``activation``, ``predicted_low``, ``predicted_high``, ``z`` and ``agrees``.
    Within 3 the axis is linear, beyond it logarithmic with fixed decades.
    """
    ax.axhspan(-3, 3, color="#EEEEEE", linewidth=0, zorder=0)
    ax.axhline(0, color="#888888", linewidth=1)
    for name, style in styles.items():
        for agrees, rows in table[table["activation"] == name].groupby("agrees"):
            middle = 0.5 * (rows["predicted_low"] + rows["predicted_high"])
            ax.plot(
                middle, rows["z"], style.marker, markersize=4, color=style.colour,
                markerfacecolor=style.colour if agrees else "white",
            )  # fmt: skip
    ax.set_yscale("symlog", linthresh=3)
    top = 10.0 ** max(2.0, np.ceil(np.log10(max(1.0, float(table["z"].abs().max())))))
    ticks = [3.0, *10.0 ** np.arange(2.0, np.log10(top) + 1, 2.0)]
    ax.set_ylim(-1.3 * top, 1.3 * top)
    ax.yaxis.set_major_locator(FixedLocator([*(-tick for tick in ticks), 0.0, *ticks]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(_whole))
    ax.set_ylabel("z")
    return ax


def _whole(value: float, _: int) -> str:
    """Write a whole number, as a power of ten from 100 on."""
    size = f"{abs(value):g}" if abs(value) < 100 else power(round(np.log10(abs(value))))
    return ("\N{MINUS SIGN}" if value < 0 else "") + size


@rc_context(RC)
def calibration_figure(table: pd.DataFrame) -> Figure:
    """Measured against predicted rates, with z-scores below: all of them, and those near zero."""
    styles = series_styles(list(dict.fromkeys(table["activation"])))
    middle = 0.5 * (table["predicted_low"] + table["predicted_high"])
    near = table[(middle.abs() < 0.15) & (table["rate"].abs() < 0.15)]
    shown = [table] if near.empty else [table, near]
    figure = Figure(figsize=(4.6 * len(shown), 6.4), layout="constrained")
    grid = figure.subplots(2, len(shown), squeeze=False, sharex="col", height_ratios=[2.2, 1])
    for part, (rates, scores) in zip(shown, grid.T, strict=True):
        mine = _only(styles, part["activation"])
        plot_calibration(part, rates, styles=mine)
        plot_z_scores(part, scores, styles=mine)
        scores.set_xlabel(rates.get_xlabel())
        rates.set_xlabel("")
    if len(shown) > 1:
        grid[0, 1].set_title("near zero")
    keys = [
        Line2D([], [], linestyle="", marker=style.marker, color=style.colour, label=name)
        for name, style in styles.items()
    ]
    beside = Line2D([], [], linestyle="", marker="o", color="#555555", markerfacecolor="white")
    beside.set_label("open: beside the band")
    keys.append(beside)
    figure.legend(
        handles=keys, loc="outside lower center", ncols=_columns(figure, keys), fontsize=9
    )
    return figure
