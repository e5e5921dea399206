"""The scoreboard: verdicts follow from intervals, claims are measured, the page says so."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from vgcore import cli, papers
from vgcore.papers import coverage, page
from vgcore.papers.table import CLAIMS, bootstrap, exact, seed_of, verdict, violations
from vgcore.profile import GradientProfile
from vgcore.stats import Estimate, mean
from vgcore.study import progress

CHEAP = ["bengio-latching", "le-irnn", "zucchet-growth"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 1.1, "reproduced"),
        (0.7, 1.1, "not resolvable at this size"),
        (0.1, 0.2, "not reproduced"),
        (1.3, 1.4, "not reproduced"),
        (math.nan, math.nan, "not resolvable at this size"),
    ],
)
def test_a_verdict_follows_from_the_interval(low, high, expected):
    assert verdict(Estimate(1.0, low, high, 0.1), (0.8, 1.2)) == expected


def test_intervals_of_claims_cover():
    rng = np.random.default_rng(1)
    hits = [
        [m.low <= 0.0 <= m.high for m in (mean(x), bootstrap(lambda i, x=x: x[i].mean(), 40, 1))]
        for x in rng.standard_normal((400, 40))
    ]
    assert np.mean(hits, axis=0) == pytest.approx([0.95, 0.93], abs=0.04)
    assert violations(0, 1000)[:3] == pytest.approx((0.0, 0.0, 0.00368), abs=1e-5)
    assert exact(2.0)[:3] == (2.0, 2.0, 2.0)


@pytest.mark.parametrize("name", CHEAP)
def test_cheap_claims_are_reproduced_at_another_seed(name):
    found = CLAIMS[name].measure(seed_of(name, 5))
    assert verdict(found.measured, found.accept) == "reproduced"


def test_every_claim_names_its_paper_and_where():
    assert len(CLAIMS) >= 16
    for one in CLAIMS.values():
        assert any(character.isdigit() for character in one.paper)
        assert one.source
        assert one.statement.endswith(".")


@pytest.fixture
def scoreboard(tmp_path, monkeypatch):
    """A scoreboard of two claims and two rows of coverage, one claim made to fail."""
    monkeypatch.setattr(papers, "CLAIMS", {name: CLAIMS[name] for name in CHEAP[1:]})
    monkeypatch.setattr(coverage, "CASES", coverage.CASES[:2])
    lines = []
    papers.run(tmp_path, seed=3, tell=lambda *told: lines.append(told))
    return tmp_path, lines


def test_the_report_holds_the_numbers_that_were_measured(scoreboard):
    folder, lines = scoreboard
    summary = pd.read_csv(folder / "summary.csv").set_index("claim")
    assert list(summary.index) == CHEAP[1:]
    found = CLAIMS["zucchet-growth"].measure(seed_of("zucchet-growth", 3))
    assert summary.loc["zucchet-growth", "measured"] == pytest.approx(found.measured.value)
    assert [(done, jobs) for done, jobs, _ in lines] == [(1, 3), (2, 3), (3, 3)]
    assert lines[0][2].endswith(", reproduced")
    for text in ((folder / "report.html").read_text(), (folder / "report.md").read_text()):
        assert f"{found.measured.value:.4g}" in text
        assert "2 reproduced" in text.replace('<span class="good">', "")
    assert not re.search(r"(src|href)=.http", (folder / "report.html").read_text())
    assert json.loads((folder / "manifest.json").read_text())["seed"] == 3
    assert len(pd.read_csv(folder / "coverage.csv")) == 2


def test_a_program_is_told_how_far_the_scoreboard_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(papers, "CLAIMS", {CHEAP[1]: CLAIMS[CHEAP[1]]})
    monkeypatch.setattr(coverage, "CASES", coverage.CASES[:1])
    monkeypatch.setattr(progress, "JSON_SECONDS", 0.0)
    cli.app(["run", "papers", "--out", str(tmp_path), "--json-progress"], standalone_mode=False)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["jobs_done"], one["jobs"]) for one in told] == [(1, 2), (2, 2)]
    assert told[0]["job"].startswith(f"{CHEAP[1]}: ")


def test_a_claim_that_fails_stays_with_its_reason(tmp_path):
    good = CLAIMS["le-irnn"].measure(1)
    bad = page.dataclasses.replace(good, accept=(1.0, 2.0), reason="made to fail")
    entry = page.Entry(CLAIMS["le-irnn"], bad, 0.1)
    assert entry.verdict == "not reproduced"
    page.write([entry], [], tmp_path, 0)
    assert "made to fail" in (tmp_path / "report.html").read_text()
    assert "1 not reproduced" in (tmp_path / "report.md").read_text()


def test_the_normal_quantile_would_miss_where_that_of_t_covers():
    rng = np.random.default_rng(2)
    log_norm = np.cumsum(rng.normal(-0.05, 0.1, (4000, 1, 101)), axis=2)
    rate = GradientProfile(log_norm, log_norm, log_norm, log_norm).rate()
    low, high = rate.interval()
    assert ((low <= -0.05) & (high >= -0.05)).mean() == pytest.approx(0.95, abs=0.015)
    normal = np.abs(rate.value + 0.05) <= 1.96 * rate.stderr
    assert normal.mean() < 0.93


def test_intervals_grow_with_the_level_and_are_nan_where_there_is_no_error():
    profile = GradientProfile(*[np.linspace(0, -9, 10)[None, None]] * 4)
    low, high = profile.rate(window=(0, 1)).interval()
    assert np.isnan([low, high]).all()
    with pytest.raises(ValueError, match="level"):
        profile.rate().interval(1.5)


def test_first_passages_of_the_lattice_walk_are_those_of_simulation():
    rng = np.random.default_rng(3)
    lag, censored = coverage._horizons(rng, 20_000)
    for t in (6, 7, 20, 45):
        assert np.mean((lag > t) | censored) == pytest.approx(coverage._SURVIVAL[t], abs=0.015)


def test_attainable_coverage_of_a_stepped_median_is_that_of_exact_tails():
    """Survivors of 100 at the two times about the median, with log-log intervals of their share."""
    m = int(coverage._MEDIAN_HORIZON)
    k = np.arange(1, 100)
    S = k / 100
    half = 1.96 * np.sqrt((1 - S) / (100 * S * np.log(S) ** 2))
    low, high = S ** np.exp(half), S ** np.exp(-half)
    late = stats.binom.pmf(k, 100, coverage._SURVIVAL[m])[low > 0.5].sum()
    early = stats.binom.pmf(k, 100, coverage._SURVIVAL[m - 1])[high <= 0.5].sum()
    assert 1 - late - early == pytest.approx(coverage._STEPPED, abs=0.005)


def test_coverage_is_judged_about_what_is_attainable(monkeypatch):
    def of(share, attainable):
        case = coverage._Case("one", "test", 4000, lambda rng: np.arange(4000) < share * 4000,
                              "why", attainable)  # fmt: skip
        monkeypatch.setattr(coverage, "CASES", [case])
        return coverage.measure(0)[0]

    assert of(0.95, 0.95).verdict == "within 93 to 97 %"
    assert not of(0.95, 0.95).explained
    assert of(0.98, 0.95).verdict == "outside 93 to 97 %"
    assert of(0.98, 0.98).verdict == "within 96 to 100 %"
    assert of(0.98, 0.98).explained
    assert of(0.968, 0.95).verdict == "not resolvable at this size"
