"""Tables that are none, or lack a column: every function of `stats` that takes one says so."""

from __future__ import annotations

import inspect

import pandas as pd
import pytest

from vgcore import stats

DRAWS = pd.DataFrame(
    {
        "condition": [0] * 8 + [1] * 8,
        "draw": [*range(8)] * 2,
        "rate": [0.01 * i for i in range(16)],
        "rho": [0.5 + 0.1 * i for i in range(16)],
        "horizon": [*range(5, 21)],
        "growth_horizon": 30,
        "censored": False,
        "growing": False,
        "event": "vanish",
    }
)
CONDITIONS = pd.DataFrame({"condition": [0, 1], "n_steps": [40, 40], "gain": [0.5, 1.0]})
PROFILES = pd.DataFrame(
    {"condition": 0, "draw": [0, 0, 1, 1], "lag": [0, 1] * 2, "log_norm": [0.0, -1.0, 0.0, -2.0]}
)
PAIRS = pd.DataFrame({"family": ["a"], "condition": [1], "baseline": [0]})
LAYOUT = stats.layout(CONDITIONS)
SUMMARY = stats.summarise(CONDITIONS, DRAWS, eps=1e-3)
NESTED = pd.DataFrame(
    {"draw": [0, 0, 1, 1], "trajectory": [0, 1] * 2, "value": [0.0, 1.0, 2.5, 2.0]}
)
SLICE = stats.slice_table(SUMMARY, ["a", "a"], LAYOUT, DRAWS)[0]
NAMED = {"names": ["a", "a"], "shape": LAYOUT}

# What each function is called with, and the columns of each of its tables that it needs.
CALLS = {
    "averages": ({"profiles": PROFILES}, {}, {"profiles": "condition lag log_norm"}),
    "profile_bands": ({"profiles": PROFILES}, {}, {"profiles": "condition draw lag log_norm"}),
    "comparisons": (
        {"draws": DRAWS, "pairs": PAIRS},
        {"until": 40},
        {"draws": "condition draw rate horizon censored", "pairs": "family condition baseline"},
    ),
    "variance_components": (
        {"table": NESTED},
        {"factors": ["trajectory"]},
        {"table": "draw trajectory value"},
    ),
    "quantile_regression": (
        {"draws": DRAWS},
        {"conditions": [0]},
        {"draws": "condition draw rho rate"},
    ),
    "draw_matrix": ({"draws": DRAWS}, {"conditions": [0, 1]}, {"draws": "condition draw rate"}),
    "paired_shift": (
        {"draws": DRAWS},
        {"condition": 1, "baseline": 0},
        {"draws": "condition draw rate"},
    ),
    "paired_steps_gained": (
        {"draws": DRAWS},
        {"condition": 1, "baseline": 0, "until": 40},
        {"draws": "condition draw horizon censored"},
    ),
    "summarise": (
        {"conditions": CONDITIONS, "draws": DRAWS},
        {"eps": 1e-3},
        {
            "conditions": "condition n_steps",
            "draws": "condition rate horizon censored growing event rho",
        },
    ),
    "first_event": ({"draws": DRAWS}, {}, {"draws": "horizon growth_horizon event"}),
    "layout": ({"conditions": CONDITIONS}, {}, {"conditions": "condition"}),
    "families": (
        {"draws": DRAWS, "table": SLICE},
        {},
        {"draws": "condition draw rate horizon rho", "table": "condition series x"},
    ),
    "slice_table": (
        {"summary": SUMMARY, "draws": DRAWS},
        NAMED,
        {"summary": "condition gain", "draws": "condition draw rate horizon rho"},
    ),
}


def test_every_function_that_takes_a_table_is_looked_at() -> None:
    public = {name: getattr(stats, name) for name in stats.__all__}
    takes = {
        name: {
            key
            for key, parameter in inspect.signature(one).parameters.items()
            if "DataFrame" in str(parameter.annotation)
        }
        for name, one in public.items()
        if inspect.isfunction(one)
    }
    assert {name: set(CALLS[name][0]) for name in CALLS} == {n: t for n, t in takes.items() if t}


@pytest.mark.parametrize(
    ("function", "argument"), [(f, a) for f, (held, _, _) in CALLS.items() for a in held]
)
def test_what_is_no_table_or_lacks_a_column_is_refused_by_name(
    function: str, argument: str
) -> None:
    held, options, needed = CALLS[function]
    call = getattr(stats, function)
    call(**held, **options)
    for wrong in (held[argument].to_numpy(), held[argument].to_dict(), None):
        found = f"{argument}: found {type(wrong).__name__}, expected a pandas DataFrame"
        with pytest.raises(TypeError, match=found):
            call(**held | {argument: wrong}, **options)
    for column in needed[argument].split():
        lacking = held[argument].rename(columns={column: "other"})
        with pytest.raises(ValueError, match=rf"{argument}: found no {column} among .*take .*or"):
            call(**held | {argument: lacking}, **options)
    # nothing but what is said to be needed is
    call(**held | {argument: held[argument][needed[argument].split()]}, **options)


def test_the_column_that_was_asked_for_is_named() -> None:
    with pytest.raises(ValueError, match=r"found no log_nrom among its columns .*log_norm"):
        stats.profile_bands(PROFILES, "log_nrom")
    with pytest.raises(ValueError, match="draws: found no speed among"):
        stats.draw_matrix(DRAWS, [0], "speed")


def test_columns_in_the_index_are_seen() -> None:
    with pytest.raises(ValueError, match=r"in the index: call reset_index\(\)"):
        stats.draw_matrix(DRAWS.set_index(["condition", "draw"]), [0, 1])


def test_rows_that_are_one_draw_twice_are_refused() -> None:
    twice = pd.concat([PROFILES, PROFILES])
    with pytest.raises(ValueError, match="profiles: found rows with equal draw and lag"):
        stats.profile_bands(twice)
    with pytest.raises(ValueError, match="draws: found rows with equal draw and condition"):
        stats.paired_shift(pd.concat([DRAWS, DRAWS]), 1, 0)


def test_tables_of_two_studies_are_refused() -> None:
    with pytest.raises(ValueError, match="draws: found condition 1, of which `conditions` says"):
        stats.summarise(CONDITIONS[:1], DRAWS, eps=1e-3)
    with pytest.raises(ValueError, match="names: found 1, expected one a row of summary, 2"):
        stats.slice_table(SUMMARY, ["a"], LAYOUT, DRAWS)
