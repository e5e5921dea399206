"""Figures: what is drawn is what the table says, in colours and markers that stay."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vgcore import figures, stats

RADII = [0.5, 0.9, 1.0, 1.2]


def slice_like(names: list[str] = ["gaussian", "sparse"], x: Any = None) -> pd.DataFrame:  # noqa: B006
    """A table as `stats.slice_table` makes it, with known numbers."""
    axis = RADII if x is None else x
    rows = []
    for i, name in enumerate(names):
        for j, value in enumerate(axis):
            rate = float(np.log(value)) - 0.01 * i if value == value else -0.1 * (i + 1)
            horizon = -7 / rate if rate < -0.01 else np.inf
            rows.append(
                {
                    "condition": len(axis) * i + j,
                    "series": name,
                    "x": value,
                    "x_name": "",
                    "n": 40,
                    "n_steps": 500,
                    "rate": rate,
                    "rate_low": rate - 0.02,
                    "rate_high": rate + 0.01,
                    "horizon": horizon,
                    "horizon_low": 0.9 * horizon,
                    "horizon_high": 1.1 * horizon,
                    "growing": float(rate > 0),
                    "growing_low": 0.9 * (rate > 0),
                    "growing_high": 1.0 - 0.9 * (rate <= 0),
                    "phase": stats.phase(rate, 1e-3, 500),
                }
            )
    return pd.DataFrame(rows)


def profiles_like(conditions: int, n: int = 12) -> pd.DataFrame:
    lags = np.array([0, 1, 10, 100, 500])
    rng = np.random.default_rng(0)
    return pd.concat(
        pd.DataFrame(
            {
                "condition": c,
                "draw": np.repeat(np.arange(n), len(lags)),
                "lag": np.tile(lags, n),
                "log_norm": ((-0.02 * (c + 1) + 0.01 * rng.normal(size=(n, 1))) * lags).ravel(),
            }
        )
        for c in range(conditions)
    )


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


def points(ax: Axes, colour: str) -> np.ndarray:
    """Points drawn as markers in one colour, in order."""
    lines = [
        line.get_xydata()
        for line in ax.get_lines()
        if line.get_linestyle() == "None" and line.get_markeredgecolor() == colour
    ]
    found = np.concatenate([np.asarray(line) for line in lines])
    return found[np.argsort(found[:, 0])]


def test_known_levels_keep_their_colour_in_any_company() -> None:
    alone = figures.series_styles(["sparse"])
    among = figures.series_styles(["tophat", "sparse", "gaussian"])
    assert alone["sparse"] == among["sparse"]
    assert len(set(among.values())) == 3


def test_twelve_series_differ_in_colour_and_marker() -> None:
    styles = figures.series_styles([f"law {i}" for i in range(12)])
    assert len({style.colour for style in styles.values()}) == 12
    assert len({style.marker for style in styles.values()}) == 12


def test_more_series_than_styles_still_get_one() -> None:
    assert len(figures.series_styles([f"law {i}" for i in range(30)])) == 30


def test_no_two_series_look_alike() -> None:
    for names in (
        ["none", "orthogonal", "identity", "critical (own_scale = True)", "gru", "lstm",
         "lstm (forget_bias = 1)", "lstm (chrono = 1000)", "leaky (leak = 0.3)", "clip_value"],
        ["lstm (forget_bias = 7)", "lstm (forget_bias = 8)", "lstm"],
        [f"law {i}" for i in range(100)],
    ):  # fmt: skip
        assert len(set(figures.series_styles(names).values())) == len(names)
    looks = list(figures.NAMED.values())
    remedies = looks[list(figures.NAMED).index("lstm") :]
    assert len(set(remedies)) == len(remedies)


def test_what_theory_predicts_is_shaded_and_its_gaps_are_left(ax: Axes) -> None:
    table = slice_like(["gaussian", "sparse"])
    table["rate_theory_low"], table["rate_theory_high"] = -0.3, -0.1
    table.loc[table["series"] == "sparse", ["rate_theory_low", "rate_theory_high"]] = np.nan
    table.loc[0, "rate_theory_low"] = np.nan
    figures.plot_rate(table, ax, styles=figures.series_styles(["gaussian", "sparse"]))
    dotted = [line for line in ax.get_lines() if line.get_linestyle() == ":"]
    assert len(dotted) == 2
    low = np.asarray(dotted[0].get_ydata())
    assert np.isnan(low[0])
    assert low[1:].tolist() == [-0.3] * 3


def test_single_draws_stand_behind_their_medians(ax: Axes) -> None:
    table = slice_like(["gaussian"])
    draws = pd.DataFrame({"condition": np.repeat(range(4), 60), "rate": -0.2})
    figures.plot_rate(table, ax, styles=figures.series_styles(["gaussian"]), draws=draws)
    ticks = next(line for line in ax.get_lines() if line.get_marker() == "_")
    assert len(ticks.get_xdata()) == 4 * figures.N_BEHIND


def test_rate_plot_draws_the_medians_of_each_series(ax: Axes) -> None:
    table = slice_like()
    styles = figures.series_styles(["gaussian", "sparse"])
    assert figures.plot_rate(table, ax, styles=styles, theory=True) is ax
    for name, style in styles.items():
        drawn = points(ax, style.colour)
        mine = table[table["series"] == name]
        assert drawn[:, 1] == pytest.approx(mine["rate"].to_numpy())
        assert drawn[:, 0] == pytest.approx(mine["x"].to_numpy(), abs=0.005)


def test_rate_plot_leaves_out_what_vanished_exactly(ax: Axes) -> None:
    table = slice_like(["gaussian"])
    table.loc[0, ["rate", "rate_low", "rate_high"]] = -np.inf
    figures.plot_rate(table, ax, styles=figures.series_styles(["gaussian"]))
    drawn = points(ax, figures.series_styles(["gaussian"])["gaussian"].colour)
    assert np.isfinite(drawn[:, 1]).sum() == 3


def test_horizon_plot_shows_medians_beyond_t_open_at_t(ax: Axes) -> None:
    table = slice_like(["gaussian"])
    figures.plot_horizon(table, ax, styles=figures.series_styles(["gaussian"]))
    hollow = [line for line in ax.get_lines() if line.get_markerfacecolor() == "white"]
    drawn = np.concatenate([np.asarray(line.get_xydata()) for line in hollow])
    assert drawn[:, 1].tolist() == [500, 500]
    assert len([a for a in ax.texts if not a.get_text()]) == 2, "one arrow for each"


def test_horizon_plot_bears_a_table_wholly_beyond_t(ax: Axes) -> None:
    table = slice_like(["gaussian"])
    table[["horizon", "horizon_low", "horizon_high"]] = np.inf
    figures.plot_horizon(table, ax, styles=figures.series_styles(["gaussian"]))
    assert ax.get_ylim()[0] < 500 < ax.get_ylim()[1]


def test_share_plot_stays_within_its_scale(ax: Axes) -> None:
    figures.plot_share(slice_like(), ax, styles=figures.series_styles(["gaussian", "sparse"]))
    assert ax.get_ylim() == (-0.04, 1.04)


def test_phase_map_writes_rate_and_sign_in_every_cell(ax: Axes) -> None:
    table = slice_like()
    figures.plot_phase(table, ax)
    cells = [t.get_text() for t in ax.texts]
    assert len(cells) == len(table)
    minus = "\N{MINUS SIGN}"
    assert cells[0] == f"▼\n{minus}0.69"
    assert cells[2] == "●\n0"
    assert cells[3] == "▲\n+0.18"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.5", "0.9", "1", "1.2"]


def test_phase_map_leaves_missing_conditions_empty(ax: Axes) -> None:
    figures.plot_phase(slice_like().drop(index=1), ax)
    cells = ax.collections[0].get_array()
    assert cells is not None
    assert np.ma.count_masked(cells) == 1


def test_decay_plot_draws_every_draw_behind_its_median(ax: Axes) -> None:
    profiles = profiles_like(2)
    profiles.loc[profiles["lag"] == 500, "log_norm"] = -np.inf
    bands = stats.profile_bands(profiles)
    figures.plot_decay(bands, profiles, ax, colours={0: "#0072B2", 1: "#D55E00"}, eps=1e-3)
    clouds = [c for c in ax.collections if c.get_rasterized()]
    assert [len(c.get_paths()) for c in clouds] == [12, 12]
    median = next(line for line in ax.get_lines() if line.get_color() == "#0072B2")
    wanted = bands[(bands["condition"] == 0) & (bands["lag"] > 0)]["median"] / np.log(10)
    assert np.asarray(median.get_ydata())[:3] == pytest.approx(wanted[:3].to_numpy())
    assert ax.get_ylim() == (-9, 3)


def test_decay_window_opens_upwards_only_for_exploding_draws(ax: Axes) -> None:
    profiles = profiles_like(1)
    profiles["log_norm"] *= -1
    figures.plot_decay(stats.profile_bands(profiles), profiles, ax, colours={0: "k"}, eps=1e-2)
    assert ax.get_ylim() == (-6, 6)


@pytest.mark.parametrize(
    "x", [RADII, [0.9], [float("nan")], [16, 64, 256, 1024]], ids=["radii", "one", "none", "sizes"]
)
@pytest.mark.parametrize("n_series", [1, 3, 14])
def test_whole_figures_take_any_shape_of_slice(x: list[float], n_series: int) -> None:
    names = [f"law {i}" for i in range(n_series)]
    table = slice_like(names, x)
    styles = figures.series_styles(names)
    made = [
        figures.rate_figure(table, styles=styles, x_label="radius", theory=True),
        figures.horizon_figure(table, styles=styles, x_label="radius"),
        figures.share_figure(table, styles=styles, x_label="radius"),
        figures.phase_figure(table, x_label="radius"),
    ]
    assert all(isinstance(figure, Figure) for figure in made)


def test_competing_events_add_up(ax: Axes) -> None:
    times, events = [5, 9, 20, 50], ["vanish", "explode", "vanish", "censored"]
    figures.plot_events(stats.cumulative_incidence(times, events), ax, n_steps=50)
    lower, upper = (np.asarray(line.get_ydata()) for line in ax.get_lines())
    assert lower[-1] == pytest.approx(0.5)
    assert upper[-1] == pytest.approx(0.75)
    assert (lower[0], upper[0]) == (0, 1)


def test_crowded_series_are_split_over_panels() -> None:
    names = [f"law {i}" for i in range(14)]
    figure = figures.share_figure(
        slice_like(names), styles=figures.series_styles(names), x_label="radius"
    )
    assert len(figure.axes) == 3


def test_decay_figure_has_one_panel_a_series() -> None:
    table, profiles = slice_like(), profiles_like(8)
    figure = figures.decay_figure(
        table,
        stats.profile_bands(profiles),
        profiles,
        levels=RADII,
        level_colour=dict(zip(RADII, figures.level_colours(4), strict=True)),
        styles=figures.series_styles(["gaussian", "sparse"]),
        x_label="spectral radius",
        eps=1e-3,
    )
    assert [ax.get_title() for ax in figure.axes] == ["gaussian", "sparse"]


def test_saved_figures_repeat_to_the_byte_and_keep_their_numbers(tmp_path: Path) -> None:
    saved = [
        [
            p.read_bytes()
            for p in figures.save(
                figures.phase_figure(slice_like(), x_label="radius"), tmp_path / name, "phase"
            )
        ]
        for name in ("a", "b")
    ]
    assert saved[0] == saved[1]
    words = re.findall(r">([^<>]+)</t(?:ext|span)>", saved[0][0].decode())
    written = {figures.short_rate(rate) for rate in slice_like()["rate"]}
    assert written <= {word.strip() for word in words}


@pytest.mark.parametrize(
    ("rate", "written"),
    [(-0.694, "-0.69"), (0.0312, "+0.031"), (-0.00659, "-0.0066"), (1e-9, "0"), (-np.inf, "-∞")],
)
def test_cells_keep_two_figures(rate: float, written: str) -> None:
    assert figures.short_rate(rate) == written.replace("-", "\N{MINUS SIGN}")


def test_figures_leave_pyplot_alone() -> None:
    code = "import sys, vgcore.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
