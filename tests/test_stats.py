"""Estimates and intervals against hand calculation, other implementations and simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats as sps

from vgcore import stats


def draws_table(rates: dict[int, list[float]], *, horizon: int = 10) -> pd.DataFrame:
    """Draws with given rates per condition; every horizon is `horizon`, never censored."""
    parts = [
        pd.DataFrame(
            {
                "condition": condition,
                "draw": np.arange(len(values)),
                "rate": np.array(values, dtype=float),
                "horizon": horizon,
                "censored": False,
                "event": "vanish",
                "growing": np.array(values) > 0,
                "rho": 1.0,
            }
        )
        for condition, values in rates.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_median_interval_takes_the_known_ranks() -> None:
    # n = 10: P(B <= 1) = 11/1024 <= 0.025 < P(B <= 2), so ranks 2 and 9 counted from 1.
    estimate = stats.median(np.arange(1.0, 11.0))
    assert estimate[:3] == (5.5, 2.0, 9.0)


def test_median_interval_covers_at_least_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for n in (6, 15, 40):
        samples = rng.standard_cauchy((3000, n))
        hits = [e.low <= 0 <= e.high for e in map(stats.median, samples)]
        assert np.mean(hits) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 3000)


def test_median_has_no_interval_below_six_draws() -> None:
    assert np.isnan(stats.median([1.0, 2, 3, 4, 5]).low)
    assert np.isfinite(stats.median([1.0, 2, 3, 4, 5, 6]).low)


def test_maritz_jarrett_error_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=51)
    medians = np.median(values[rng.integers(51, size=(40_000, 51))], axis=1)
    assert stats.median(values).se == pytest.approx(medians.std(), rel=0.02)


def test_vanished_draws_shift_the_median_but_never_turn_it_into_nan() -> None:
    few = stats.median([-np.inf] * 3 + [-0.2] * 20)
    assert few.value == -0.2
    assert few.low == -0.2
    most = stats.median([-np.inf] * 20 + [-0.2] * 3)
    assert most[:3] == (-np.inf, -np.inf, -np.inf)
    assert np.isnan(most.se)
    assert stats.median([-np.inf, -np.inf, 1.0, 1.0]).value == -np.inf


def test_median_refuses_nan() -> None:
    with pytest.raises(ValueError, match="found nan among 2 values"):
        stats.median([1.0, np.nan])


def test_wilson_by_hand() -> None:
    # z = 1.959964: centre (0.5 + z^2/20)/(1 + z^2/10), half z sqrt(0.025 + z^2/400)/(1 + z^2/10).
    share = stats.wilson(5, 10)
    assert share.value == 0.5
    assert (share.low, share.high) == pytest.approx((0.2365931, 0.7634069), abs=1e-7)


@pytest.mark.parametrize(("count", "n"), [(0, 7), (7, 7), (3, 50), (99, 100)])
def test_wilson_equals_scipys(count: int, n: int) -> None:
    other = sps.binomtest(count, n).proportion_ci(method="wilson")
    assert stats.wilson(count, n)[1:3] == pytest.approx((other.low, other.high), abs=1e-12)


def test_kaplan_meier_by_hand() -> None:
    # Five draws: events at 1, 3, 4; censored at 2 and 5. S = 4/5, then 4/5 * 2/3, then * 1/2.
    curve = stats.kaplan_meier([1, 2, 3, 4, 5], [False, True, False, False, True])
    assert curve.time.tolist() == [1, 2, 3, 4, 5]
    assert curve.survival == pytest.approx([0.8, 0.8, 8 / 15, 4 / 15, 4 / 15])
    assert curve.at_risk.tolist() == [5, 4, 3, 2, 1]
    mean = stats.restricted_mean([1, 2, 3, 4, 5], [False, True, False, False, True], until=5)
    assert mean.value == pytest.approx(1 + 2 * 0.8 + 8 / 15 + 4 / 15)


def test_kaplan_meier_intervals_equal_scipys_log_log_ones() -> None:
    rng = np.random.default_rng(2)
    times, censored = np.ceil(rng.exponential(50, 200)), rng.random(200) < 0.3
    censored |= times == times.max()
    curve = stats.kaplan_meier(times, censored)
    data = sps.CensoredData(uncensored=times[~censored], right=times[censored])
    other = sps.ecdf(data).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interval = other.confidence_interval(method="log-log")
    assert curve.time == pytest.approx(other.quantiles)
    assert curve.survival == pytest.approx(other.probabilities)
    inner = (curve.survival > 0) & (curve.survival < 1)
    assert curve.low[inner] == pytest.approx(interval.low.probabilities[inner])
    assert curve.high[inner] == pytest.approx(interval.high.probabilities[inner])


def test_median_survival_of_equal_times_is_that_time_and_keeps_an_interval() -> None:
    assert stats.median_survival([63] * 50, [False] * 50)[:3] == (63, 63, 63)


def test_median_survival_lies_beyond_t_if_most_are_censored() -> None:
    estimate = stats.median_survival([5.0] * 4 + [100.0] * 16, [False] * 4 + [True] * 16)
    assert estimate.value == np.inf
    assert estimate.high == np.inf
    assert stats.median_survival([100.0] * 20, [True] * 20)[:3] == (np.inf, np.inf, np.inf)


def test_median_survival_says_nothing_of_two_draws() -> None:
    assert stats.median_survival([5, 10], [False, False])[1:3] == (0.0, np.inf)


def test_median_survival_interval_covers() -> None:
    rng = np.random.default_rng(3)
    truth, hits = 50 * np.log(2), []
    for _ in range(800):
        times = rng.exponential(50, 60)
        estimate = stats.median_survival(np.minimum(times, 90), times > 90)
        hits.append(estimate.low <= truth <= estimate.high)
    assert 0.92 < np.mean(hits) < 0.985


def test_restricted_mean_without_early_censoring_is_the_mean_with_its_error() -> None:
    times = np.minimum(np.ceil(np.random.default_rng(4).exponential(60, 80)), 100)
    mean = stats.restricted_mean(times, times == 100, until=100)
    assert mean.value == pytest.approx(times.mean())
    assert mean.se == pytest.approx(times.std() / np.sqrt(80))


@pytest.mark.parametrize(
    ("rate", "name"),
    [
        (-np.inf, "vanishing"),
        (-0.0070, "vanishing"),
        (-0.0069, "stable"),
        (0.0069, "stable"),
        (0.0070, "exploding"),
    ],
)
def test_phase_turns_at_a_factor_eps_over_the_horizon(rate: float, name: str) -> None:
    # ln(1000) / 1000 = 0.0069078
    assert stats.phase(rate, 1e-3, 1000) == name


def test_summary_has_one_row_a_measured_condition_and_counts_what_happened() -> None:
    conditions = pd.DataFrame({"condition": [0, 1, 2], "n_steps": 100, "init": list("abc")})
    draws = draws_table({0: [-np.inf] * 2 + [-0.1] * 6, 2: [0.1] * 8})
    draws.loc[draws["condition"] == 2, ["event", "censored", "horizon"]] = ["explode", True, 100]
    table = stats.summarise(conditions, draws, eps=1e-3).set_index("condition")
    assert table.index.tolist() == [0, 2]
    assert table.loc[0, ["n", "n_zero", "n_vanish", "n_growing"]].tolist() == [8, 2, 8, 0]
    assert table.loc[2, ["n_kept", "n_explode", "n_vanish", "n_growing"]].tolist() == [8, 8, 0, 8]
    assert table.loc[2, "horizon"] == np.inf
    assert table.loc[[0, 2], "phase"].tolist() == ["vanishing", "exploding"]


def test_layout_prefers_the_radius_and_names_the_rest() -> None:
    base = {"condition": range(4), "n_hidden": [8, 8, 16, 16], "law": "{}"}
    by_radius = pd.DataFrame(base | {"spectral_radius": [0.5, 1.0, 0.5, 1.0]})
    assert stats.layout(by_radius) == stats.Layout("spectral_radius", ("n_hidden",))
    assert stats.layout(pd.DataFrame(base)) == stats.Layout("n_hidden", ())
    names = pd.DataFrame({"condition": range(4), "init": list("abca"), "activation": list("xxxy")})
    assert stats.layout(names) == stats.Layout("activation", ("init",), ("x", "y"))
    assert stats.layout(by_radius.iloc[:1]) == stats.Layout(None, ())


@pytest.mark.parametrize(
    ("value", "key"),
    [(0.5, "0.5"), ("tanh", "tanh"), (float("nan"), ""), ('{"n": 15}', "n = 15"), ("{}", "")],
)
def test_levels_are_written_plainly(value: object, key: str) -> None:
    assert stats.level_key(value) == key


def test_families_are_series_equal_in_every_draw() -> None:
    table = pd.DataFrame({"condition": range(6), "series": list("aabbcc"), "x": [0.5, 1.0] * 3})
    same = [-0.3, -0.2, -0.1]
    rates = {0: same, 1: same, 2: same, 3: same, 4: same, 5: [-0.3, -0.2, -0.1 + 1e-15]}
    assert stats.families(draws_table(rates), table) == {"a": ["a", "b"], "c": ["c"]}


def test_hodges_lehmann_by_hand_and_against_the_signed_rank_test() -> None:
    # Walsh means of 1, 2, 6: 1, 1.5, 2, 3.5, 4, 6.
    assert stats.hodges_lehmann([1.0, 2.0, 6.0]).value == 2.75
    shift = np.random.default_rng(5).normal(0.1, 1, 60)
    estimate = stats.hodges_lehmann(shift)
    inside, outside = estimate.low + 0.02, estimate.low - 0.02
    assert sps.wilcoxon(shift - inside).pvalue > 0.05 > sps.wilcoxon(shift - outside).pvalue


def test_hodges_lehmann_survives_draws_that_vanished_on_one_side() -> None:
    estimate = stats.hodges_lehmann([np.inf, -np.inf] + [0.1] * 20)
    assert estimate.value == 0.1
    assert stats.hodges_lehmann([np.inf] * 10).value == np.inf


def test_paired_shift_pairs_by_draw() -> None:
    base = np.random.default_rng(6).normal(0, 1, 30)
    draws = draws_table({0: base.tolist(), 1: (base + 0.01).tolist()}).sample(
        frac=1, random_state=1
    )
    shift, above, n = stats.paired_shift(draws, 1, 0)
    assert n == 30
    assert (shift.value, shift.low, shift.high) == pytest.approx((0.01, 0.01, 0.01))
    assert above.value == 1.0


def test_paired_shift_of_two_vanished_draws_is_zero() -> None:
    shift, above, _ = stats.paired_shift(draws_table({0: [-np.inf] * 8, 1: [-np.inf] * 8}), 1, 0)
    assert shift[:3] == (0.0, 0.0, 0.0)
    assert above.value == 0.5


def test_critical_value_of_a_linear_cell_is_one() -> None:
    x = np.array([0.5, 0.8, 0.9, 1.1, 1.3])
    noise = np.random.default_rng(7).normal(0, 0.02, (200, 1))
    root = stats.critical_value(x, np.log(x) + noise)
    assert root.value == pytest.approx(np.exp(-np.median(noise)), rel=1e-12)
    assert root.low < root.value < root.high
    # Shared draws shift the whole curve: the error is that of the median times the slope.
    assert root.se == pytest.approx(np.sqrt(np.pi / 2) * 0.02 / np.sqrt(200), rel=0.3)
    assert root == stats.critical_value(x, np.log(x) + noise)


def test_critical_value_covers() -> None:
    rng, x = np.random.default_rng(8), np.array([0.8, 1.0, 1.2])
    hits = []
    for _ in range(200):
        rates = (x - 1.05) + rng.normal(0, 0.1, (50, 1))
        root = stats.critical_value(x, rates, n_resamples=300)
        hits.append(root.low <= 1.05 <= root.high)
    assert 0.89 < np.mean(hits) < 0.995


def test_critical_value_does_not_exist_without_a_change_of_sign() -> None:
    rates = np.full((20, 3), -0.1)
    assert np.isnan(stats.critical_value([0.5, 1.0, 1.5], rates).value)


def test_critical_value_falls_as_well_as_rises_and_bears_vanished_draws() -> None:
    falling = np.tile([0.2, 0.1, -0.1, -np.inf], (20, 1))
    assert stats.critical_value([0.5, 1, 2, 3], falling).value == pytest.approx(2**0.5)


def test_critical_value_takes_an_axis_that_starts_at_zero() -> None:
    rates = np.tile([-0.1, 0.1], (20, 1))
    assert stats.critical_value([0.0, 1.0], rates).value == pytest.approx(0.5)


def test_critical_value_leaves_an_end_open_that_the_axis_does_not_hold() -> None:
    rates = np.concatenate([np.full((8, 2), -0.1), np.tile([-0.1, 0.1], (12, 1))])
    root = stats.critical_value([0.5, 1.0], rates)
    assert 0.5 < root.value < 1.0
    assert root.high == np.inf


def test_profile_bands_hold_the_median_and_the_spread() -> None:
    n = 101
    profiles = pd.DataFrame(
        {
            "condition": 3,
            "draw": np.repeat(np.arange(n), 2),
            "lag": np.tile([0, 5], n),
            "log_norm": np.stack([np.zeros(n), np.arange(n) - 50.0], axis=1).ravel(),
        }
    )
    profiles.loc[profiles.index[1], "log_norm"] = -np.inf
    band = stats.profile_bands(profiles).set_index("lag").loc[5]
    assert band["median"] == 0
    assert (band["q10"], band["q90"]) == (-40, 40)
    assert -50 < band["low"] < 0 < band["high"] < 50
    single = stats.median(np.arange(n) - 50.0)
    assert (band["low"], band["high"]) == single[1:3], "lag 0 is certain and costs nothing"
