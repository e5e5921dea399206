"""What an impact is: estimates with intervals, figures, and sentences from numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure as Drawing

from vgcore.cells import Cell, LeakyRNN
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

    Examples
    --------
    >>> equal_size(LSTM, 20, 1), equal_size(GRU, 20, 1)
    (10, 11)
    """
    gates = {LSTM: 4, GRU: 3}.get(kind, 1)

    def parameters(n: int, gates: int) -> int:
        return gates * n * (n + n_inputs + 1) + n

    wanted = parameters(n_rnn, 1)
    return min(range(1, n_rnn + 1), key=lambda n: abs(parameters(n, gates) - wanted))


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
