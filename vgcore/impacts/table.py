"""What an impact is: estimates with intervals, figures, and sentences from numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure as Drawing

from vgcore.cells import RNN, Cell, LeakyRNN
from vgcore.figures import PALETTE, RC
from vgcore.gated import GRU, LSTM
from vgcore.papers.page import draw
from vgcore.papers.table import Figure, Series, violations
from vgcore.stats import Estimate

MOST_TICKS = 8
COLUMNS = ["condition", "x", "quantity", "value", "low", "high", "n"]


@dataclass(frozen=True)
class Impact:
    """An experiment done.

    `table` has a row an estimate: condition, x, quantity, value, low, high and n, the nets behind
    it. `sentences` are computed from it, `setting` says what was done, `missing` what was not.
    """

    title: str
    setting: str
    table: pd.DataFrame
    figures: dict[str, Drawing]
    sentences: Sequence[str]
    missing: str = ""


def row(
    condition: str, x: float, quantity: str, found: Estimate | Sequence[float], n: int
) -> dict[str, Any]:
    """One row of a table; an estimate without an interval has nan ends."""
    value, low, high = found[:3]
    return {
        "condition": condition, "x": x, "quantity": quantity, "value": value, "low": low,
        "high": high, "n": n,
    }  # fmt: skip


def share(flags: npt.ArrayLike) -> Estimate:
    """Share of nets, with the exact interval of Clopper and Pearson (1934).

    Examples
    --------
    >>> [round(end, 3) for end in share([True, True, True, False])[:3]]
    [0.75, 0.194, 0.994]
    """
    found = np.asarray(flags, bool)
    return violations(int(found.sum()), len(found))


def point(name: str, x: float, found: Estimate) -> Series:
    """One point of a figure, with its interval where it has one."""
    known = np.isfinite(found.low)
    return Series(name, [x], [found.value], [found.low] if known else (),
                  [found.high] if known else ())  # fmt: skip


def middle(values: npt.ArrayLike) -> Estimate:
    """Median with its middle half: how nets scatter, not how well the median is known."""
    low, value, high = np.quantile(np.asarray(values, float), (0.25, 0.5, 0.75))
    return Estimate(float(value), float(low), float(high), np.nan)


def lines(
    table: pd.DataFrame, quantity: str, x_label: str, y_label: str, *, x_log: bool = False,
    y_log: bool = False,
) -> Drawing:  # fmt: skip
    """One quantity against x, a line a condition, with its intervals."""
    series = []
    part = table[table.quantity == quantity]
    for name, group in part.groupby("condition", sort=False):
        low, high = (group[end].fillna(group.value).tolist() for end in ("low", "high"))
        known = not group.low.isna().all()
        series.append(
            Series(
                str(name), group.x.tolist(), group.value.tolist(), low if known else (),
                high if known else (),
            )
        )  # fmt: skip
    drawn = draw(Figure(x_label, y_label, series, x_log=x_log, y_log=y_log))
    places = sorted(part.x.unique())
    if len(places) <= MOST_TICKS:  # what was measured, and no round numbers between
        drawn.axes[0].set_xticks(places)
    return drawn


def survival(table: pd.DataFrame, quantity: str, x_label: str, y_label: str) -> Drawing:
    """Steps down from 1, a line a condition: what is left, with its pointwise intervals."""
    with rc_context(RC):
        drawn = Drawing(figsize=(5.6, 3.6), layout="constrained")
        ax = drawn.subplots()
        groups = table[table.quantity == quantity].groupby("condition", sort=False)
        colours = itertools.cycle(colour for colour, _ in PALETTE[:1] + PALETTE[2:])
        for (name, group), colour in zip(groups, colours, strict=False):
            low, high = (group[end].fillna(group.value) for end in ("low", "high"))
            ax.fill_between(group.x, low, high, step="post", color=colour, alpha=0.12, linewidth=0)
            ax.step(group.x, group.value, where="post", color=colour, linewidth=1.6, label=name)
        ax.set(xlabel=x_label, ylabel=y_label, ylim=(-0.02, 1.02))
        drawn.legend(loc="outside upper left", ncols=2, fontsize=8.5)
    return drawn


def ranked(table: pd.DataFrame, x_label: str) -> Drawing:
    """One value with its interval for each condition, its name beside it."""
    with rc_context(RC):
        drawn = Drawing(figsize=(5.6, 0.8 + 0.28 * len(table)), layout="constrained")
        ax = drawn.subplots()
        places = np.arange(len(table))[::-1]
        ends = np.array([table.value - table.low, table.high - table.value])
        ax.errorbar(table.value, places, xerr=np.nan_to_num(np.maximum(ends, 0)), fmt="o",
                    color=PALETTE[0][0], capsize=3, markersize=5, linewidth=1.2)  # fmt: skip
        ax.set_yticks(places, labels=table.condition.tolist())
        ax.set(xlabel=x_label, ylim=(-0.6, len(table) - 0.4), xlim=(0, None))
    return drawn


def each(table: pd.DataFrame) -> Iterator[Any]:
    """Rows whose columns are attributes."""
    yield from table.itertuples()


def extremes(table: pd.DataFrame) -> tuple[Any, Any]:
    """The rows with the largest and the smallest value."""
    return table.iloc[table.value.argmax()], table.iloc[table.value.argmin()]


def spread(one: Any, style: str = ".3g") -> str:
    """The value of a row with its interval; all nets are the same where it has none.

    Examples
    --------
    >>> spread(Estimate(0.5, 0.31, 0.69, 0.1), ".0%"), spread(Estimate(4.0, np.nan, np.nan, np.nan))
    ('50% [31%, 69%]', '4')
    """
    text = f"{one.value:{style}}"
    return text if np.isnan(one.low) else f"{text} [{one.low:{style}}, {one.high:{style}}]"


def apart(one: Any, other: Any) -> bool:
    """Whether the intervals of two rows have nothing in common; a value without one is its own."""
    ends = [
        (row.value, row.value) if np.isnan(row.low) else (row.low, row.high) for row in (one, other)
    ]
    return bool(ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0])


def level_with(one: Any, table: pd.DataFrame, names: pd.Series) -> str:
    """Names of the other rows that cannot be told from one; empty where there is none."""
    return ", ".join(
        str(name)
        for name, other in zip(names, each(table), strict=True)
        if other.Index != one.name and not apart(one, other)
    )


def value(table: pd.DataFrame, condition: str, quantity: str, x: float | None = None) -> float:
    """The one value of a condition, a quantity and, where given, an x."""
    wanted = (table.condition == condition) & (table.quantity == quantity)
    if x is not None:
        wanted &= table.x == x
    return float(table.value[wanted].iloc[0])


def shown(table: pd.DataFrame) -> list[list[str]]:
    """A table as text, four digits."""

    def text(entry: Any) -> str:
        if isinstance(entry, float):
            return "" if np.isnan(entry) else f"{entry:.4g}"
        return str(entry)

    return [[text(entry) for entry in one] for one in table.itertuples(index=False)]


def equal_size(kind: type[Cell], n_rnn: int, n_inputs: int) -> int:
    """Units of a cell that has as near as can be the parameters of a vanilla net of `n_rnn`.

    Counted with the biases (a GRU has two sets) and one output.

    Examples
    --------
    >>> equal_size(LSTM, 20, 1), equal_size(GRU, 20, 1)
    (10, 11)
    """
    wanted = parameter_count(RNN, n_rnn, n_inputs)
    return min(range(1, n_rnn + 1), key=lambda n: abs(parameter_count(kind, n, n_inputs) - wanted))


def parameter_count(kind: type[Cell], n: int, n_inputs: int) -> int:
    """Weights and biases of a cell with n units, and the weights of one output."""
    gates, biases = {LSTM: (4, 1), GRU: (3, 2)}.get(kind, (1, 1))
    return gates * n * (n + n_inputs + biases) + n


def sizes(n_rnn: int, n_inputs: int) -> str:
    """Units and parameters of the cells that are compared, in words."""
    parts = []
    for kind in (RNN, LSTM, GRU):
        n = equal_size(kind, n_rnn, n_inputs)
        parts.append(f"{kind.__name__} {n} ({parameter_count(kind, n, n_inputs)})")
    return f"units (parameters, as near to equal as units allow): {', '.join(parts)}"


def cells(n_nets: int, n_rnn: int, n_inputs: int, rng: Any) -> dict[str, Cell]:
    """Cells of equal parameter count, each as it is commonly started."""
    common: dict[str, Any] = {"n_inputs": n_inputs, "rng": rng}

    def size(kind: type[Cell]) -> int:
        return equal_size(kind, n_rnn, n_inputs)

    return {
        "leaky RNN 0.2": LeakyRNN.draw(n_nets, n_rnn, leak=0.2, spectral_radius=0.95, **common),
        "LSTM": LSTM.draw(n_nets, size(LSTM), **common),
        "LSTM forget bias 3": LSTM.draw(n_nets, size(LSTM), forget_bias=3.0, **common),
        "GRU": GRU.draw(n_nets, size(GRU), **common),
    }
