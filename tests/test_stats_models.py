"""Events, bands, averages, regression, components and stopping, each against its truth."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import special
from scipy import stats as sps

from vgcore import stats
from vgcore.stats.averages import top_share
from vgcore.stats.bands import band_ranks
from vgcore.stats.components import _reml
from vgcore.stats.estimates import median_ranks
from vgcore.stats.regression import _line


def sampling_error(share: float, n: int) -> float:
    """Three standard errors of a share in n repetitions."""
    return 3 * np.sqrt(share * (1 - share) / n)


# --- one sample ----------------------------------------------------------------------------


def test_mean_is_students() -> None:
    values = np.random.default_rng(0).normal(3, 2, 12)
    found = stats.mean(values, 0.9)
    interval = sps.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx(tuple(interval))
    assert found.se == pytest.approx(sps.sem(values))
    assert np.isnan(stats.mean([]).value)
    assert stats.mean([1.0, 1.0]).value == 1.0
    assert stats.mean([-np.inf, 1.0]).value == -np.inf
    assert np.isnan(stats.mean([-np.inf, 1.0]).low)


# --- competing events ----------------------------------------------------------------------


def test_incidence_by_hand() -> None:
    # At 1 one of 5 vanishes: 1/5. At 2 one is lost. At 3, S = 4/5 and one of 3 explodes: 4/15.
    # At 4, S = 8/15 and one of 2 vanishes: 1/5 + 4/15.
    found = stats.cumulative_incidence(
        [1, 2, 3, 4, 5], ["vanish", "censored", "explode", "vanish", "censored"]
    ).set_index(["event", "time"])
    assert found.loc["vanish", "incidence"].tolist() == pytest.approx([1 / 5] * 3 + [7 / 15] * 2)
    assert found.loc["explode", "incidence"].tolist() == pytest.approx([0, 0] + [4 / 15] * 3)
    assert found.loc["vanish", "at_risk"].tolist() == [5, 4, 3, 2, 1]
    assert found.loc[("explode", 1), "high"] == pytest.approx(1 - 0.025**0.2)


def test_incidence_is_that_of_statsmodels() -> None:
    survfunc = pytest.importorskip("statsmodels.duration.survfunc")
    rng = np.random.default_rng(1)
    times, kind = np.ceil(rng.exponential(20, 300)), rng.integers(0, 3, 300)
    kind[times == times.max()] = 0
    names = np.array(["censored", "explode", "vanish"])[kind]
    found = stats.cumulative_incidence(times, names)
    other = survfunc.CumIncidenceRight(times, kind)
    for i, name in enumerate(("explode", "vanish")):
        rows = found[found["event"] == name]
        assert rows["incidence"].to_numpy() == pytest.approx(other.cinc[i])
        # By the delta method with one term fewer; ties make them part by a little.
        assert rows["se"].to_numpy()[3:] == pytest.approx(other.cinc_se[i][3:], rel=0.05)


def test_incidence_without_early_censoring_is_a_share_with_its_error() -> None:
    rng = np.random.default_rng(2)
    times, names = rng.integers(1, 60, 200), rng.choice(["vanish", "explode"], 200)
    times, names = np.minimum(times, 40), np.where(times > 40, "censored", names)
    found = stats.cumulative_incidence(times, names)
    assert set(found["event"]) == {"vanish", "explode"}
    for row in found.itertuples():
        share = np.mean((times <= row.time) & (names == row.event))
        assert row.incidence == pytest.approx(share)
        assert row.se == pytest.approx(np.sqrt(share * (1 - share) / 200))
    last = found.groupby("event")["incidence"].last()
    assert last.sum() + np.mean(names == "censored") == pytest.approx(1)


def test_incidence_of_one_event_is_one_minus_kaplan_meier() -> None:
    times = [3, 5, 5, 6, 8, 9, 9, 12]
    lost = np.array([0, 0, 1, 0, 1, 0, 0, 0], dtype=bool)
    found = stats.cumulative_incidence(times, np.where(lost, "censored", "vanish"))
    curve = stats.kaplan_meier(times, lost)
    assert found["incidence"].to_numpy() == pytest.approx(1 - curve.survival)
    greenwood = np.cumsum(
        curve.events / (curve.at_risk * np.maximum(curve.at_risk - curve.events, 1))
    )
    assert found["se"].to_numpy()[:-1] == pytest.approx((curve.survival * greenwood**0.5)[:-1])


def test_incidence_covers_under_random_censoring() -> None:
    rng, hits, at = np.random.default_rng(3), [], 20
    truth = 0.6 * (1 - np.exp(-at / 25))  # two constant hazards, 0.6 and 0.4 of 1/25
    for _ in range(800):
        times, until = rng.exponential(25, 80), rng.uniform(5, 60, 80)
        name = np.where(
            times > until, "censored", np.where(rng.random(80) < 0.6, "vanish", "explode")
        )
        found = stats.cumulative_incidence(np.minimum(times, until), name)
        row = found[(found["event"] == "vanish") & (found["time"] <= at)].iloc[-1]
        hits.append(row["low"] <= truth <= row["high"])
    assert abs(np.mean(hits) - 0.95) < sampling_error(0.95, 800)


def test_first_event_is_the_earlier_horizon() -> None:
    draws = pd.DataFrame(
        {
            "horizon": [4, 50, 50],
            "growth_horizon": [50, 7, 50],
            "event": ["vanish", "explode", "censored"],
        }
    )
    times, events = stats.first_event(draws)
    assert times.tolist() == [4, 7, 50]
    assert stats.cumulative_incidence(times, events)["time"].unique().tolist() == [4, 7, 50]
    assert stats.cumulative_incidence([9, 9], ["censored"] * 2).empty


def test_median_survival_of_continuous_times_covers_at_its_level() -> None:
    rng, hits = np.random.default_rng(4), []
    for _ in range(1500):
        times = rng.exponential(50, 100)
        found = stats.median_survival(np.minimum(times, 90), times > 90)
        hits.append(found.low <= 50 * np.log(2) <= found.high)
    assert abs(np.mean(hits) - 0.95) < sampling_error(0.95, 1500)


# --- bands ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [20, 60, 200])
def test_band_holds_the_whole_curve_of_medians(n: int) -> None:
    rng, hits = np.random.default_rng(n), []
    for seed in range(400):
        steps = rng.standard_t(3, size=(n, 40))
        walks = np.sort(np.cumsum(steps, axis=1), axis=0)
        low, high = band_ranks(np.cumsum(steps, axis=1), n_resamples=400, seed=seed)
        hits.append((walks[low] <= 0).all() and (walks[high] >= 0).all())
    # Ranks are whole numbers: the fewer draws, the further above its level a band may lie.
    assert 0.95 - sampling_error(0.95, 400) < np.mean(hits) < 0.995


def test_band_over_one_lag_is_the_interval_of_its_median() -> None:
    for n in (6, 30, 101):
        values = np.random.default_rng(0).normal(size=(n, 1))
        low, high = band_ranks(values, n_resamples=4000)
        known = median_ranks(n, 0.95)
        assert low + high == n - 1
        assert known[0] - 1 <= low <= known[0]
        same = np.repeat(values, 300, axis=1)
        assert band_ranks(same, n_resamples=4000) == (low, high), "lags that move together are one"


def test_band_is_wider_the_more_lags_move_apart() -> None:
    values = np.random.default_rng(1).normal(size=(100, 200))
    ranks = [band_ranks(values[:, :k])[0] for k in (1, 10, 200)]
    bonferroni = median_ranks(100, 1 - 0.05 / 200)[0]
    assert ranks[0] > ranks[1] > ranks[2] >= bonferroni - 1


def test_too_few_draws_have_no_band() -> None:
    assert band_ranks(np.random.default_rng(2).normal(size=(5, 3))) is None
    assert band_ranks(np.random.default_rng(2).normal(size=(7, 300))) is None


# --- quenched and annealed -----------------------------------------------------------------


def profiles(logs: np.ndarray) -> pd.DataFrame:
    """One condition, one lag."""
    return pd.DataFrame({"condition": 0, "lag": 5, "log_norm": logs})


def test_averages_of_a_lognormal_cover_and_are_not_dominated() -> None:
    rng, hits = np.random.default_rng(5), []
    for _ in range(500):
        row = stats.averages(profiles(rng.normal(-300, 0.5, 100))).iloc[0]
        truth = {"quenched": -300.0, "annealed": -300 + 0.125}
        hits.append([row[f"{k}_low"] <= v <= row[f"{k}_high"] for k, v in truth.items()])
        assert not row["dominated"]
    assert (np.abs(np.mean(hits, axis=0) - 0.945) < sampling_error(0.945, 500)).all()


def test_averages_part_ways_and_warn_where_few_draws_carry_the_mean() -> None:
    logs = np.random.default_rng(6).normal(0, 6, 1000)
    row = stats.averages(profiles(logs)).iloc[0]
    assert row["annealed"] == pytest.approx(np.log(np.mean(np.exp(logs))))
    assert row["annealed"] > row["quenched"] + 6
    assert row["annealed_high"] < 18, "the truth, 6^2 / 2, lies outside: what the flag is for"
    largest = np.sort(np.exp(logs))[-10:].sum() / np.exp(logs).sum()
    assert row["top_share"] == pytest.approx(largest)
    assert row["dominated"] == (largest > 0.5)
    assert row["dominated"]
    assert row["annealed_se"] == pytest.approx(
        np.std(np.exp(logs), ddof=1) / 1000**0.5 / np.mean(np.exp(logs))
    )


def test_averages_bear_vanished_draws() -> None:
    row = stats.averages(profiles(np.array([-np.inf, 0.0, 0.0]))).iloc[0]
    assert (row["quenched"], row["median"]) == (-np.inf, 0.0)
    assert row["annealed"] == pytest.approx(np.log(2 / 3))
    assert np.isnan(row["quenched_low"])
    gone = stats.averages(profiles(np.full(4, -np.inf))).iloc[0]
    assert (gone["annealed"], gone["dominated"]) == (-np.inf, False)
    assert np.isnan(top_share(np.full((4, 1), -np.inf))).all()


# --- quantile regression -------------------------------------------------------------------

RADII = np.array([0.5, 0.8, 1.0, 1.3, 2.0])


def rates_at_radii(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Rates whose spread grows with ln rho: half of it a draw's own, half of it noise."""
    noise = (rng.normal(size=(n, 1)) + rng.normal(size=(n, 5))) / 2**0.5
    rates = np.log(RADII) + 0.1 * noise * (1 + 0.5 * np.log(RADII))
    return pd.DataFrame(
        {
            "condition": np.tile(np.arange(5), n),
            "draw": np.repeat(np.arange(n), 5),
            "rho": np.tile(RADII, n),
            "rate": rates.ravel(),
        }
    )


def test_quantile_regression_finds_slopes_that_fan_out_and_covers() -> None:
    rng, hits, q = np.random.default_rng(7), [], np.array([0.25, 0.5])
    slope, intercept = 1 + 0.05 * special.ndtri(q), 0.1 * special.ndtri(q)
    for _ in range(80):
        found = stats.quantile_regression(rates_at_radii(rng, 100), range(5), q)
        hits.append(
            [
                (found[f"{name}_low"] <= truth) & (truth <= found[f"{name}_high"])
                for name, truth in (("slope", slope), ("intercept", intercept))
            ]
        )
    assert np.mean(hits) > 0.93 - sampling_error(0.93, 80)
    assert np.mean(hits) < 0.99
    large = stats.quantile_regression(rates_at_radii(rng, 4000), range(5), q)
    assert large["slope"].to_numpy() == pytest.approx(slope, abs=0.012)
    assert large["intercept"].to_numpy() == pytest.approx(intercept, abs=0.006)


def test_quantile_regression_is_that_of_statsmodels() -> None:
    module = pytest.importorskip("statsmodels.regression.quantile_regression")
    table = rates_at_radii(np.random.default_rng(8), 60)
    X = np.stack([np.log(table["rho"]), np.ones(len(table))], axis=1)
    for q in (0.2, 0.5, 0.9):
        found = stats.quantile_regression(table, range(5), [q]).iloc[0]
        other = module.QuantReg(table["rate"].to_numpy(), X).fit(q, p_tol=1e-9, max_iter=5000)
        # Reweighted least squares come close to the optimum; the linear programme is at it.
        assert found[["slope", "intercept"]].tolist() == pytest.approx(other.params, abs=4e-3)
        ours, theirs = (
            np.sum(r * (q - (r < 0)))
            for r in (table["rate"] - X @ c for c in (_line(X, table["rate"], q), other.params))
        )
        assert ours <= theirs + 1e-12
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_quantile_regression_counts_vanished_rates_by_their_side() -> None:
    table = rates_at_radii(np.random.default_rng(9), 50)
    below = table["rate"] < np.log(table["rho"]) - 0.12
    gone = table.assign(rate=table["rate"].where(~below, -np.inf))
    assert np.isneginf(gone["rate"]).sum() >= 3
    columns = ["slope", "intercept"]
    before, after = (stats.quantile_regression(t, range(5), [0.5])[columns] for t in (table, gone))
    assert after.to_numpy() == pytest.approx(before.to_numpy(), abs=1e-9)


def test_quantile_regression_refuses_what_has_no_slope() -> None:
    table = rates_at_radii(np.random.default_rng(10), 5)
    with pytest.raises(ValueError, match="found 1 different radii"):
        stats.quantile_regression(table, [2])
    with pytest.raises(ValueError, match="above 0"):
        stats.quantile_regression(table.assign(rho=table["rho"] - 0.5), range(5))
    with pytest.raises(ValueError, match="quantiles: found 1"):
        stats.quantile_regression(table, range(5), [1.0])


# --- variance components -------------------------------------------------------------------


def grid(rng: np.random.Generator, sd: tuple[float, ...], n: tuple[int, int, int]) -> pd.DataFrame:
    """Values with standard deviations of draw, trajectory, input and residual."""
    D, T, K = n
    shapes = [(D, 1, 1), (D, T, 1), (D, 1, K), (D, T, K)]
    value = sum(s * rng.normal(size=shape) for s, shape in zip(sd, shapes, strict=True))
    index = pd.MultiIndex.from_product(map(range, n), names=["draw", "trajectory", "input"])
    return pd.DataFrame({"value": value.ravel()}, index=index).reset_index()


@pytest.mark.parametrize("sd", [(2.0, 1.0, 0.5, 1.0), (1.0, 0.0, 0.5, 1.0)])
def test_components_of_a_known_process_are_found_and_covered(sd: tuple[float, ...]) -> None:
    rng, hits, values = np.random.default_rng(11), [], []
    for _ in range(150):
        found = stats.variance_components(grid(rng, sd, (30, 3, 4)))
        truth = np.square(sd)
        hits.append((found["variance_low"] <= truth) & (truth <= found["variance_high"]))
        values.append(found["variance"])
    assert found["component"].tolist() == ["draw", "trajectory", "input", "residual"]
    assert found["share"].sum() == pytest.approx(1)
    assert (np.abs(np.mean(hits, axis=0) - 0.955) < sampling_error(0.95, 150)).all()
    assert np.mean(values, axis=0) == pytest.approx(np.square(sd), rel=0.1, abs=0.03)


def test_components_are_those_of_reml_where_none_is_at_zero() -> None:
    table = grid(np.random.default_rng(12), (2.0, 1.0, 0.5, 1.0), (20, 4, 3))
    for factors, rows in ((["trajectory", "input"], table), (["trajectory"], table[::3])):
        found = stats.variance_components(rows, factors=factors)
        other = _reml(rows, "value", factors, 0.95)
        assert not found["at_zero"].any()
        assert list(other) == found["component"].tolist()
        assert [e.value for e in other.values()] == pytest.approx(
            found["variance"].tolist(), rel=1e-4
        )
        # Errors of two kinds: alike, not equal.
        assert [e.se for e in other.values()] == pytest.approx(found["variance_se"], rel=0.1)


def test_components_of_a_table_with_gaps_are_those_of_statsmodels() -> None:
    module = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    table = grid(np.random.default_rng(13), (2.0, 1.0, 0.5, 1.0), (25, 3, 3))
    gaps = table.drop(index=[4, 30, 31, 32, 77])
    found = stats.variance_components(gaps)
    model = module.MixedLM.from_formula(
        "value ~ 1",
        gaps,
        groups="draw",
        re_formula="1",
        vc_formula={"input": "0 + C(input)", "trajectory": "0 + C(trajectory)"},
    )
    fitted = model.fit(reml=True)
    other = [fitted.cov_re.iloc[0, 0], *fitted.vcomp[::-1], fitted.scale]
    assert model.exog_vc.names == ["input", "trajectory"]
    assert found["variance"].to_numpy() == pytest.approx(other, rel=2e-3)
    assert found["method"].unique().tolist() == ["REML"]


def test_reml_covers() -> None:
    rng, sd, hits = np.random.default_rng(14), (1.0, 0.0, 0.5, 1.0), []
    for _ in range(60):
        table = grid(rng, sd, (25, 3, 3))
        found = stats.variance_components(
            table.drop(index=rng.choice(len(table), 9, replace=False))
        )
        truth = np.square(sd)
        hits.append((found["variance_low"] <= truth) & (truth <= found["variance_high"]))
    assert (np.mean(hits, axis=0) > 0.95 - sampling_error(0.95, 60)).all()
    assert np.mean(hits) < 0.995


def test_a_component_that_is_not_there_stops_at_zero() -> None:
    table = grid(np.random.default_rng(15), (0.0, 0.0, 0.0, 1.0), (20, 3, 3))
    found = stats.variance_components(table).set_index("component")
    assert found["at_zero"].any()
    assert (found.loc[found["at_zero"], ["variance", "variance_low"]] == 0).all(axis=None)
    assert (found["variance_high"] > 0).all()
    gaps = stats.variance_components(table.drop(index=[0, 40])).set_index("component")
    assert gaps["at_zero"].tolist() == found["at_zero"].tolist()
    assert (gaps["variance_high"] > 0).all()
    assert (gaps.loc[gaps["at_zero"], "variance"] == 0).all()
    own = stats.variance_components(table.drop(index=0).assign(value=table["draw"]))
    assert own["variance"].to_numpy() == pytest.approx([35, 0, 0, 0], rel=1e-3, abs=1e-3)
    nothing = stats.variance_components(table.assign(value=1.0))
    assert (nothing["variance"] == 0).all()
    assert nothing["share"].isna().all()


def test_components_do_not_depend_on_labels_or_order() -> None:
    table = grid(np.random.default_rng(16), (1.0, 1.0, 1.0, 1.0), (6, 3, 2))
    other = table.sample(frac=1, random_state=0)
    other = other.assign(
        trajectory=other["trajectory"] + 10 * other["draw"], value=other["value"] + 5
    )
    columns = ["variance", "variance_low", "variance_high"]
    found, moved = (stats.variance_components(t)[columns].to_numpy() for t in (table, other))
    assert moved == pytest.approx(found)


def test_components_refuse_tables_that_do_not_hold_them() -> None:
    table = grid(np.random.default_rng(17), (1.0, 1.0, 1.0, 1.0), (4, 2, 2))
    with pytest.raises(ValueError, match="1 of 16 values of 'value' not finite"):
        stats.variance_components(
            table.assign(value=table["value"].where(table.index > 0, -np.inf))
        )
    with pytest.raises(ValueError, match="rows with equal draw, trajectory, input"):
        stats.variance_components(pd.concat([table, table.iloc[:1]]))
    with pytest.raises(ValueError, match="1 of draw, 2 of trajectory, 2 of input"):
        stats.variance_components(table[table["draw"] == 0])
    with pytest.raises(ValueError, match="one or two columns"):
        stats.variance_components(table, factors=[])


# --- when to stop --------------------------------------------------------------------------


def test_looks_are_fixed_grow_and_end_at_the_most() -> None:
    looks = stats.Precision(0.1, least=100, most=1000, growth=1.5).looks
    assert looks[0] == 112
    assert looks[-1] == 1000
    assert all(a < b <= 1.8 * a for a, b in itertools.pairwise(looks))
    assert all(n % 16 == 0 for n in looks[:-1])
    assert stats.Precision(0.1, least=50, most=50).looks == (50,)
    assert stats.Precision(0.1, least=32, most=48, growth=1.01).looks == (32, 48)


def test_progress_is_the_same_however_the_draws_arrive() -> None:
    values = np.random.default_rng(18).normal(size=5000)
    rule = stats.Precision(0.1, most=4096)
    done = stats.progress(values, rule)
    assert done.met
    assert done.estimate == stats.median(values[: done.n])
    assert done.estimate.high - done.estimate.low <= 0.2
    n = 0
    while True:  # a study that asks after each batch
        now = stats.progress(values[:n], rule)
        if now.wanted == n:
            break
        assert not now.met
        n = now.wanted
    assert now == done
    assert all(stats.progress(values[:m], rule) == done for m in (done.n, done.n + 1, 4999))


def test_progress_stops_at_the_most_without_having_met() -> None:
    rule = stats.Precision(1e-6, least=16, most=64)
    last = stats.progress(np.random.default_rng(19).normal(size=200), rule)
    assert last[2:] == (False, 64)
    assert last.n == 64
    none = stats.progress([], rule)
    assert none[2:] == (False, 16)
    assert np.isnan(none.estimate.value)


def test_progress_does_not_stop_on_an_interval_that_does_not_exist() -> None:
    few = stats.Precision(100.0, least=3, most=5)  # a median has no interval below six draws
    assert stats.progress(np.zeros(5), few)[2:] == (False, 5)
    half = np.resize([-np.inf, 0.0], 64)
    assert not stats.progress(half, stats.Precision(100.0, least=32, most=64)).met


def test_progress_stops_where_every_draw_vanished() -> None:
    rule = stats.Precision(1e-3, least=32, most=64)
    assert stats.progress(np.full(64, -np.inf), rule)[2:] == (True, 32)


@pytest.mark.parametrize("half_width", [0.1, 0.2])
def test_an_interval_that_was_waited_for_still_covers(half_width: float) -> None:
    rng, rule, n = np.random.default_rng(20), stats.Precision(half_width, most=2000), []
    hits = []
    for _ in range(600):
        found = stats.progress(rng.gumbel(size=2000), rule)
        truth = -np.log(np.log(2))
        hits.append(found.estimate.low <= truth <= found.estimate.high)
        n.append(found.n)
    assert len(set(n)) > 2, "it stops at several looks"
    assert 0.95 - sampling_error(0.95, 600) < np.mean(hits) < 0.985


@pytest.mark.parametrize(
    ("arguments", "match"),
    [({"half_width": 0.0}, "half_width"), ({"growth": 1.0}, "growth"), ({"most": 5}, "most")],
)
def test_precision_refuses_what_never_stops(arguments: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        stats.Precision(**({"half_width": 0.1} | arguments))
