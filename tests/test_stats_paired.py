"""Pairs of conditions on shared draws: against other implementations, by hand and by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as sps

from vgcore import stats
from vgcore.stats.estimates import score_interval
from vgcore.stats.paired import PairwiseMeans


def table(values: dict[int, np.ndarray], column: str = "rate") -> pd.DataFrame:
    """Draws of several conditions, one array each."""
    return pd.concat(
        [
            pd.DataFrame({"condition": c, "draw": np.arange(len(v)), column: v})
            for c, v in values.items()
        ],
        ignore_index=True,
    )


def sampling_error(share: float, n: int) -> float:
    """Three standard errors of a share in n repetitions."""
    return 3 * np.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("n", [6, 25, 60])
def test_signed_rank_p_values_are_scipys(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    means = PairwiseMeans(differences)
    for p, alternative in (
        (means.p_value(), "two-sided"),
        (means.p_above(), "greater"),
        (means.p_below(), "less"),
    ):
        other = sps.wilcoxon(differences, alternative=alternative, method="exact").pvalue
        assert p == pytest.approx(other, rel=1e-12)


def test_signed_rank_p_value_of_many_differences_is_close_to_the_exact_one() -> None:
    differences = np.random.default_rng(0).normal(0.15, 1, 250)
    p = sps.wilcoxon(differences, method="exact").pvalue
    assert PairwiseMeans(differences).p_value() == pytest.approx(p, rel=0.02)


@given(st.lists(st.integers(-3, 6), min_size=6, max_size=30))
def test_interval_leaves_out_zero_exactly_where_the_test_rejects(differences: list[int]) -> None:
    means = PairwiseMeans(differences)
    estimate = means.estimate(0.95)
    outside = estimate.low > 0 or estimate.high < 0
    assert outside == (means.p_value() <= 0.05)


def test_differences_refuse_nan() -> None:
    with pytest.raises(ValueError, match="two values of -inf differ by 0"):
        stats.hodges_lehmann([1.0, np.nan])


def test_no_differences_have_no_estimate() -> None:
    assert np.isnan(stats.hodges_lehmann([]).value)
    assert np.isnan(PairwiseMeans([]).p_value())


def test_score_interval_with_ties_by_hand() -> None:
    # All tied: p (1 - p) = t / 4, so z^2 / (2 n) over 1 + z^2 / n is left.
    z2 = sps.norm.ppf(0.975) ** 2
    share = score_interval(wins=0, ties=50, n=50)
    assert (share.value, share.se) == (0.5, 0.0)
    assert share.high - 0.5 == pytest.approx(z2 / 100 / (1 + z2 / 50))
    assert score_interval(3, 0, 10) == stats.wilson(3, 10)


@pytest.mark.parametrize(("win", "tie"), [(0.3, 0.0), (0.3, 0.4), (0.1, 0.8), (0.55, 0.3)])
def test_probability_of_improvement_covers_exactly(win: float, tie: float) -> None:
    n, truth, covered = 40, win + tie / 2, 0.0
    law = sps.multinomial(n, [win, tie, 1 - win - tie])
    for wins, ties in itertools.product(range(n + 1), range(n + 1)):
        if wins + ties <= n:
            share = score_interval(wins, ties, n)
            if share.low <= truth <= share.high:
                covered += law.pmf([wins, ties, n - wins - ties])
    assert 0.92 < covered < 0.985


def test_probability_of_improvement_counts_ties_half() -> None:
    a = np.array([1.0, 2.0, -np.inf, 0.0])
    b = np.array([0.0, 2.0, -np.inf, 5.0])
    assert stats.probability_of_improvement(a, b).value == 0.5


def test_equivalence_is_called_as_often_as_its_level_says_at_the_margin() -> None:
    rng = np.random.default_rng(1)
    at_margin = rng.normal(0.5, 1, (1500, 40))
    called = np.mean([stats.equivalence(d, margin=0.5).equivalent for d in at_margin])
    assert abs(called - 0.05) < sampling_error(0.05, 1500)
    equal = rng.normal(0, 1, (200, 60))
    assert np.mean([stats.equivalence(d, margin=0.5).equivalent for d in equal]) > 0.9


@given(st.lists(st.integers(-4, 4), min_size=5, max_size=30), st.integers(1, 3))
def test_equivalence_is_the_narrower_interval_inside_of_the_margin(
    differences: list[int], margin: int
) -> None:
    found = stats.equivalence(differences, margin)
    shift = stats.hodges_lehmann(differences, 0.9)
    assert found.shift == shift
    assert found.equivalent == (-margin < shift.low and shift.high < margin)


def test_equivalence_needs_a_margin() -> None:
    with pytest.raises(ValueError, match="margin: found 0"):
        stats.equivalence([1.0, 2.0], margin=0)


def test_unequal_is_not_equivalent_nor_is_too_little_data() -> None:
    assert not stats.equivalence(np.full(30, 2.0), margin=1).equivalent
    assert not stats.equivalence([0.0, 0.0], margin=1).equivalent


def test_steps_gained_are_the_mean_difference_with_students_interval() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.integers(1, 200, (2, 30))
    draws = table({4: np.minimum(a, 100), 7: np.minimum(b, 100)}, "horizon")
    draws["censored"] = draws["horizon"] == 100
    found = stats.paired_steps_gained(draws.sample(frac=1, random_state=0), 4, 7, until=80)
    gain = np.minimum(a, 80) - np.minimum(b, 80)
    interval = sps.ttest_1samp(gain, 0).confidence_interval()
    assert found.value == pytest.approx(gain.mean())
    assert (found.low, found.high) == pytest.approx(tuple(interval))
    means = [
        stats.restricted_mean(rows["horizon"], rows["censored"], 80).value
        for _, rows in draws.groupby("condition")
    ]
    assert found.value == pytest.approx(means[0] - means[1])


def test_steps_gained_refuse_a_lag_beyond_what_was_measured() -> None:
    draws = table({0: np.array([5, 9]), 1: np.array([7, 9])}, "horizon")
    draws["censored"] = draws["horizon"] == 9
    with pytest.raises(ValueError, match="censored at 9"):
        stats.paired_steps_gained(draws, 1, 0, until=10)


def test_steps_gained_use_the_pairing_and_cover() -> None:
    rng, until, hits, errors = np.random.default_rng(3), 60, [], []
    at = np.arange(1, until + 1)
    # min(T, 60) of a geometric number of steps has the mean sum of P(T >= t).
    truth = sum((1 - 1 / 40) ** (at - 1)) - sum((1 - 1 / 20) ** (at - 1))
    for _ in range(600):
        u = rng.random(50)
        long, short = (np.ceil(np.log(u) / np.log(1 - 1 / m)) for m in (40, 20))
        draws = table({0: np.minimum(short, until), 1: np.minimum(long, until)}, "horizon")
        draws["censored"] = draws["horizon"] == until
        gained = stats.paired_steps_gained(draws, 1, 0, until)
        hits.append(gained.low <= truth <= gained.high)
        halves = (draws.loc[draws["condition"] == c, "horizon"] for c in (0, 1))
        errors.append((gained.se, np.hypot(*(half.std() / 50**0.5 for half in halves))))
    assert abs(np.mean(hits) - 0.945) < sampling_error(0.945, 600)
    paired, unpaired = np.mean(errors, axis=0)
    assert paired < 0.6 * unpaired


def test_equal_gains_have_no_interval() -> None:
    draws = table({0: np.arange(1, 9), 1: np.arange(2, 10)}, "horizon").assign(censored=False)
    gained = stats.paired_steps_gained(draws, 1, 0, until=20)
    assert gained.value == 1
    assert np.isnan([gained.low, gained.high, gained.se]).all()


def test_holm_and_benjamini_hochberg_are_those_of_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(4).random(20) ** 3
    for ours, method in ((stats.holm, "holm"), (stats.benjamini_hochberg, "fdr_bh")):
        assert ours(p) == pytest.approx(multitest.multipletests(p, method=method)[1])
        with_gap = ours(np.insert(p, 5, np.nan))
        assert np.isnan(with_gap[5])
        assert np.delete(with_gap, 5) == pytest.approx(ours(p))
    assert stats.holm([]).size == stats.benjamini_hochberg([]).size == 0


def test_comparisons_raise_false_alarms_no_more_often_than_they_say() -> None:
    rng, alarms, share = np.random.default_rng(5), 0, []
    pairs = pd.DataFrame({"family": list("aaabbb"), "condition": range(1, 7), "baseline": 0})
    for _ in range(150):
        rates = {c: rng.normal(size=15) for c in range(4)}
        rates |= {c: rates[0] + 5 + rng.normal(size=15) for c in range(4, 7)}
        found = stats.comparisons(table(rates), pairs)
        alarms += (found["p_holm"][:3] <= 0.05).any()
        discoveries = found["p_bh"] <= 0.05
        share.append(discoveries[:3].sum() / max(discoveries.sum(), 1))
        assert discoveries[3:].all()
    assert alarms / 150 < 0.05 + sampling_error(0.05, 150)
    assert np.mean(share) < 0.05 + 0.02


def test_comparisons_keep_their_pairs_and_bear_those_without_data() -> None:
    rng = np.random.default_rng(6)
    draws = table({0: rng.normal(size=20), 1: rng.normal(1, 1, size=20)})
    draws["horizon"], draws["censored"] = 10 + draws["draw"], False
    pairs = pd.DataFrame(
        {"family": "f", "condition": [1, 9], "baseline": 0, "remedy": ["x", "y"]}, index=[3, 5]
    )
    found = stats.comparisons(draws, pairs, until=15)
    assert found.index.tolist() == [3, 5]
    assert found["remedy"].tolist() == ["x", "y"]
    assert found["n"].tolist() == [20, 0]
    assert np.isnan(
        found.loc[5, ["shift", "above", "gained", "p", "p_holm", "p_bh"]].tolist()
    ).all()
    shift, above, n = stats.paired_shift(draws, 1, 0)
    row = found.loc[3]
    assert (row["shift"], row["shift_low"], row["above_high"], row["n"]) == (
        shift.value, shift.low, above.high, n,
    )  # fmt: skip
    assert row["p"] == row["p_holm"] == row["p_bh"], "a pair without data counts for nothing"
    assert row["gained"] == 0


def test_no_pairs_give_no_rows() -> None:
    pairs = pd.DataFrame({"family": [], "condition": [], "baseline": []})
    assert len(stats.comparisons(table({0: np.zeros(3)}), pairs)) == 0
