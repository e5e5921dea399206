"""Reports: complete, offline, escaped, and in words that follow the numbers."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from vgcore import report, stats
from vgcore.report import cite, detail, text, words, write_report
from vgcore.report.part import Part
from vgcore.study.config import Condition, Study
from vgcore.study.plan import conditions, conditions_table, slices_table

TWINS = {"xavier_normal": "gaussian", "lecun_normal": "gaussian", "xavier_uniform": "uniform"}
BONUS = {"gaussian": 0.0, "uniform": 0.002, "orthogonal": 0.02, "identity": 0.05, "sparse": -0.06}


def planned(study: Study) -> dict[int, Condition]:
    """The condition of each number."""
    return {one.index: one.condition for one in conditions(study)}


def parts_of(results: Any, summary: pd.DataFrame) -> list[Part]:
    """What a report says of each slice of a study."""
    return report._parts(results, summary, planned(results.study))


def simulate(study: Study, *, sign: float = 1.0, manifest: dict[str, Any] | None = None) -> Any:
    """Result tables of a study whose rates follow ln(radius), bent by input, plus draw noise.

    Random numbers belong to the draw, so conditions are paired as in a real study.
    """
    conditions, slices = conditions_table(study), slices_table(study)
    eps = study.measure.eps
    draws, profiles = [], []
    for row in conditions.to_dict("records"):
        n, steps = study.n_draws, row["n_steps"]
        rng = np.random.default_rng([study.seed, row["n_hidden"]])
        noise, start = rng.normal(size=(2, n))
        radius = row["spectral_radius"]
        scale = radius if radius == radius else row["gain"] if row["gain"] == row["gain"] else 1.0
        init = TWINS.get(row["init"], row["init"])
        rate = sign * (
            np.log(scale)
            - 0.3 * row["input_variance"]
            + BONUS.get(init, 0.01)
            - (0.7 if row["activation"] == "relu" else 0)
            - max(0.0, 0.8 * np.log(scale))
        ) + 0.12 * noise / np.sqrt(row["n_hidden"])
        if row["activation"] == "sigmoid" and scale < 0.7:
            rate = np.full(n, -np.inf)
        lags = np.unique(
            np.concatenate([[0], np.geomspace(1, steps, study.measure.n_lags).round()])
        )
        wobble = 0.3 * np.cumsum(rng.normal(size=(n, len(lags))), axis=1) + 0.3 * start[:, None]
        log_norm = np.where(lags > 0, np.maximum(rate, -800)[:, None] * lags + wobble, 0.0)
        if np.isneginf(rate).any():
            log_norm = np.where(lags > 20, -np.inf, log_norm)
        limit = np.log(1 / eps)
        with np.errstate(divide="ignore", invalid="ignore"):
            fall = np.where(rate < 0, np.ceil(np.maximum(-limit / rate + 5 * start, 1)), np.inf)
            grow = np.where(rate > 0, np.ceil(np.maximum(limit / rate + 5 * start, 1)), np.inf)
        event = np.where(fall <= steps, "vanish", np.where(grow <= steps, "explode", "censored"))
        draws.append(
            pd.DataFrame(
                {
                    "condition": np.int32(row["condition"]),
                    "draw": np.arange(n),
                    "rate": rate,
                    "rate_se": 1e-3,
                    "horizon": np.minimum(fall, steps).astype(np.int32),
                    "censored": fall > steps,
                    "growth_horizon": np.minimum(grow, steps).astype(np.int32),
                    "growth_censored": grow > steps,
                    "event": event,
                    "growing": rate > 0,
                    "rho": scale,
                    "cosine": 1.0,
                    "log_kept": 0.0,
                    "log_norm_end": log_norm[:, -1],
                    "stopped_at": -1,
                }
            )
        )
        profiles.append(
            pd.DataFrame(
                {
                    "condition": np.int32(row["condition"]),
                    "draw": np.repeat(np.arange(n), len(lags)),
                    "lag": np.tile(lags.astype(np.int32), n),
                    "log_norm": log_norm.ravel(),
                    "log_contribution": log_norm.ravel() - 1,
                }
            )
        )
    found = SimpleNamespace(
        study=study,
        conditions=conditions,
        slices=slices,
        draws=pd.concat(draws, ignore_index=True),
        profiles=pd.concat(profiles, ignore_index=True),
        manifest=manifest
        or {"study_digest": study.digest, "command": "vgcore run it", "versions": {"numpy": "2"}},
        complete=True,
    )
    found.curves = lambda wanted: found.profiles[found.profiles["condition"].isin(wanted)]
    return found


def small_study(**changes: Any) -> Study:
    """Two families over four radii, and a slice without a radius."""
    content: dict[str, Any] = {
        "name": "small",
        "title": "A small study",
        "n_draws": 40,
        "defaults": {"n_hidden": 16, "n_steps": 200, "input_variance": 0.0},
        "measure": {"n_lags": 12},
        "slice": [
            {
                "name": "initializers",
                "title": "Initializers",
                "grid": {
                    "init": ["gaussian", "xavier_normal", "sparse"],
                    "spectral_radius": [0.6, 0.9, 1.1, 1.4],
                },
            },
            {
                "name": "activations",
                "title": "Activations",
                "grid": {"activation": ["tanh", "relu"]},
            },
        ],
    }
    return Study.from_dict(content | changes)


def one_condition(**defaults: Any) -> Study:
    grid = {"spectral_radius": [0.9]}
    return small_study(
        slice=[{"name": "only", "grid": grid}], defaults={"n_steps": 200, **defaults}
    )


class Page(HTMLParser):
    """What a browser would see of a page: tags with attributes, and the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    results = simulate(small_study())
    out = tmp_path_factory.mktemp("report")
    path = write_report(results, out)
    return SimpleNamespace(
        results=results,
        out=out,
        path=path,
        html=path.read_text("utf-8"),
        page=Page(path.read_text("utf-8")),
        markdown=(out / "report.md").read_text("utf-8"),
        summary=pd.read_csv(out / "summary.csv"),
    )


def test_report_writes_page_markdown_table_and_figures(written: Any) -> None:
    assert written.path == written.out / "report.html"
    stems = {
        f"{s}-{k}"
        for s in ("initializers", "activations")
        for k in ("decay", "rate", "phase", "horizon", "share", "events")
    } | {"calibration"}
    for suffix in ("svg", "png"):
        assert {f.stem for f in (written.out / "figures").glob(f"*.{suffix}")} == stems
    assert len(written.summary) == len(written.results.conditions)


def test_page_asks_for_nothing_beyond_itself(written: Any) -> None:
    for tag, attributes in written.page.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            target = attributes.get(name)
            if target is not None:
                assert target.startswith(("data:", "#")), (tag, name, target[:60])
    assert not {"link", "iframe", "object"} & {tag for tag, _ in written.page.tags}
    style = re.search(r"<style>(.*?)</style>", written.html, re.DOTALL)
    assert style is not None
    assert not re.search(r"url\(|@import", style[1])


def test_every_link_inside_the_page_has_its_target(written: Any) -> None:
    targets = {attributes["id"] for _, attributes in written.page.tags if "id" in attributes}
    assert {a["href"] for a in written.page.of("a")} <= {f"#{target}" for target in targets}


def test_every_image_has_words_and_a_sample_size(written: Any) -> None:
    images = written.page.of("img")
    assert len(images) == 13  # six a slice, and the calibration
    assert all(len(image["alt"] or "") > 30 for image in images)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", written.html, re.DOTALL)
    assert all("n = 40" in caption and "How to read it" in caption for caption in captions)


def test_markdown_links_lead_to_files(written: Any) -> None:
    links = re.findall(r"\]\(([^)]+)\)", written.markdown)
    assert len(links) == 32
    assert all((written.out / link).is_file() for link in links)


def test_page_and_markdown_say_the_same(written: Any) -> None:
    plain = written.markdown.replace("\\", "").replace("&gt;", ">").replace("&lt;", "<")
    items = re.findall(r"^- (.*)$", plain, re.MULTILINE)
    assert len(items) > 8
    for item in items:
        key, _, value = item.partition(": ")
        assert item in written.page.text or f"{key} {value}" in written.page.text


def test_numbers_in_sentences_are_those_of_the_table(written: Any) -> None:
    rows = written.summary
    row = rows[(rows["init"] == "gaussian") & (rows["spectral_radius"] == 0.9)].iloc[0]
    sentence = (
        f"At spectral radius 0.9 the gradient of a draw with gaussian weights falls to 1/1000 "
        f"within "
        f"{row['horizon']:.0f} [{row['horizon_low']:.0f}, {row['horizon_high']:.0f}] steps "
        f"(n = {row['n']})."
    )
    assert sentence in written.page.text
    first = rows[(rows["init"] == "gaussian") & (rows["spectral_radius"] == 0.6)].iloc[0]
    assert f"With gaussian the median rate rises from {words.rate_text(first)}" in written.page.text
    table = written.html.split('id="conditions"')[1]
    for _, one in rows.iterrows():
        assert f"<td>{words.rate_text(one)}</td>" in table


def test_equal_initializers_are_merged_and_named(written: Any) -> None:
    said = "gaussian and xavier_normal gave the same numbers in every draw and are shown once"
    assert said in written.page.text
    alt = written.page.of("img")[0]["alt"]
    assert "gaussian and sparse" in alt
    assert "xavier" not in alt


def answers(results: Any) -> str:
    """All sentences of a report, without its figures."""
    summary = stats.summarise(results.conditions, results.draws, eps=results.study.measure.eps)
    parts = parts_of(results, summary)
    said = [sentence for _, sentences in text.answer(parts) for sentence in sentences]
    return " ".join(said + [s for p in parts for s in [*text.details(p), text.compare_rates(p)]])


def test_words_turn_with_the_numbers() -> None:
    usual = answers(simulate(small_study()))
    opposite = answers(simulate(small_study(), sign=-1.0))
    assert "With gaussian the median rate rises from" in usual
    assert "With gaussian the median rate falls from" in opposite
    assert "median horizon is longest with gaussian" in usual
    assert "of a draw with gaussian weights falls to 1/1000 within" in usual
    assert "keeps 1/1000 of its size, by spectral radius, with gaussian: " in usual
    assert "lies beyond T with every series" in opposite
    assert "gaussian weights stays above 1/1000 of its size for all 200 steps" in opposite
    assert "beyond 200 at " in opposite


def test_a_rate_that_never_crosses_zero_is_said_to_stay_on_its_side() -> None:
    results = simulate(small_study())
    results.draws["rate"] = -1.0 - results.draws["rate"].abs()
    below = answers(results)
    assert "stays below zero at every spectral radius measured (0.6 to 1.4" in below
    assert "is zero at" not in below
    results.draws["rate"] = -results.draws["rate"]
    assert "stays above zero at every spectral radius" in answers(results)


def test_series_without_a_difference_are_not_told_apart() -> None:
    results = simulate(small_study())
    alone = results.draws["draw"] % 2 == 0
    results.draws["rate"] = np.where(alone, -0.1, -0.2)
    results.draws["horizon"] = np.where(alone, 60, 30)
    # One bit in one draw keeps them from being merged as the same law.
    third = results.conditions.query("init == 'sparse'")["condition"]
    where = results.draws["condition"].isin(third) & (results.draws["draw"] == 0)
    results.draws.loc[where, "rate"] += 1e-9
    page = answers(results)
    assert "median horizons are not told apart, their intervals overlap" in page
    assert "sparse no difference detected" in page
    assert "shows no change between its ends" in page


def test_a_plateau_at_zero_is_no_crossing() -> None:
    """Neutral orbits of autonomous networks: rates of rounding size and either sign."""
    results = simulate(small_study())
    radius = results.conditions.set_index("condition")["spectral_radius"]
    x = results.draws["condition"].map(radius).to_numpy()
    sign = np.where(results.draws["draw"] % 2 == 0, 1.0, -1.0)
    results.draws["rate"] = np.where(x < 1.0, np.log(x), 1e-6 * sign * x)
    said = answers(results)
    assert "stays within ±0.0345 of zero from spectral radius 1.1 on" in said
    assert "is zero at" not in said


def test_all_that_tie_for_the_shortest_horizon_are_named() -> None:
    results = simulate(small_study())
    init = results.conditions.set_index("condition")["init"]
    name = results.draws["condition"].map(init)
    results.draws["censored"] = False
    results.draws["horizon"] = np.where(name == "gaussian", 90, 40) + results.draws["draw"] % 3
    rows = [said for said in answers(results).split(". ") if "shortest with" in said]
    others = set(init) - {"gaussian", "xavier_normal"}
    assert rows
    assert all(other in rows[0].split("shortest with")[1] for other in others)


def test_a_horizon_beyond_t_that_explodes_is_said_to() -> None:
    assert "(exploding with" in answers(simulate(small_study(), sign=-1.0))


HOSTILE = "<script>alert('x')</script> | `code` [link](javascript:alert(1)) $a$ ![i](http://x/y)"


def test_text_of_a_study_is_escaped(tmp_path: Any) -> None:
    study = one_condition()
    study = study.model_copy(
        update={
            "title": HOSTILE,
            "description": "# " + HOSTILE,
            "slices": (study.slices[0].model_copy(update={"title": HOSTILE}),),
        }
    )
    results = simulate(study, manifest={"command": HOSTILE, "versions": {"<b>": "<i>"}})
    path = write_report(results, tmp_path)
    page = Page(path.read_text("utf-8"))
    assert not {"b", "i"} & {tag for tag, _ in page.tags}
    assert [tag for tag, _ in page.tags].count("script") == 1  # our own
    assert page.text.count("<script>alert('x')</script>") >= 4
    markdown = (tmp_path / "report.md").read_text("utf-8")
    assert "<script" not in markdown
    assert not re.search(r"(?<!\\)\]\((javascript|http)", markdown)


def test_a_hostile_series_name_cannot_break_a_figure(tmp_path: Any) -> None:
    results = simulate(small_study())
    name = "a <b> & $\\frac{$ {x}"
    results.conditions["init"] = results.conditions["init"].replace("sparse", name)
    path = write_report(results, tmp_path)
    assert "<b>" not in path.read_text("utf-8")


def test_a_report_plans_its_study_once(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    results, asked = simulate(one_condition()), []
    whole = report.conditions
    monkeypatch.setattr(report, "conditions", lambda study: asked.append(study) or whole(study))
    write_report(results, tmp_path)
    assert asked == [results.study]


def test_report_of_one_condition(tmp_path: Any) -> None:
    page = Page(write_report(simulate(one_condition()), tmp_path).read_text("utf-8")).text
    assert "1 condition, n = 40 draws each" in page
    assert "With gaussian the median rate (nats a step) is" in page
    assert "The gradient of a draw with gaussian weights falls to 1/1000 within" in page


def test_report_of_few_draws_claims_no_interval() -> None:
    page = answers(simulate(one_condition().model_copy(update={"n_draws": 3})))
    assert "(no interval)" in page
    assert "nan" not in page


def test_report_of_an_incomplete_study_says_what_is_missing(tmp_path: Any) -> None:
    results = simulate(small_study())
    gone = results.draws["condition"] < 3
    short = (results.draws["condition"] == 5) & (results.draws["draw"] >= 10)
    results.draws = results.draws[~(gone | short)]
    kept = ~results.profiles["condition"].isin([0, 1, 2])
    results.profiles = results.profiles[kept]
    page = Page(write_report(results, tmp_path).read_text("utf-8")).text
    n = len(results.conditions)
    assert f"not complete: {40 * n - 150} of {40 * n} draws are there" in page
    assert f"3 of {n} conditions have no draws" in page
    assert "1 have fewer draws than planned" in page


def test_report_without_draws_says_what_to_do(tmp_path: Any) -> None:
    results = simulate(small_study())
    results.draws = results.draws.iloc[:0]
    with pytest.raises(ValueError, match=r"found no draws of study 'small'.*run the study"):
        write_report(results, tmp_path)


def test_exactly_vanished_gradients_are_counted_and_shown(tmp_path: Any) -> None:
    study = small_study(
        slice=[{"name": "s", "grid": {"activation": ["sigmoid"], "spectral_radius": [0.5, 0.9]}}]
    )
    path = write_report(simulate(study), tmp_path)
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert summary["n_zero"].tolist() == [40, 0]
    assert "\N{MINUS SIGN}∞" in Page(path.read_text("utf-8")).text


def test_any_factor_may_be_the_axis(tmp_path: Any) -> None:
    study = small_study(
        slice=[
            {"name": "gains", "grid": {"gain": [0.5, 1.0, 1.5], "init": ["gaussian", "sparse"]}},
            {"name": "sizes", "grid": {"n_hidden": [8, 32, 128, 512]}},
            {
                "name": "names",
                "grid": {
                    "activation": ["tanh", "relu"],
                    "init": ["gaussian", "orthogonal", "sparse"],
                },
            },
        ]
    )
    page = Page(write_report(simulate(study), tmp_path).read_text("utf-8")).text
    assert "nats a step at gain 0.5" in page
    assert "Vanishing rate against N" in page
    assert "At activation relu the median horizon" in page


def test_the_same_results_give_the_same_bytes(written: Any, tmp_path: Any) -> None:
    write_report(simulate(small_study()), tmp_path)
    for path in written.out.rglob("*.*"):
        again = tmp_path / path.relative_to(written.out)
        assert again.read_bytes() == path.read_bytes(), path.name


def test_the_script_of_a_page_is_the_one_its_policy_allows(written: Any) -> None:
    script = re.search(r"<script>(.*)</script>", written.html, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(written.html)


def test_latex_and_bibtex_are_escaped_and_name_the_version() -> None:
    table = (["a_b", "50 %"], [["x & y", "\N{MINUS SIGN}1 > \\n"]])
    assert cite.latex_table("A # caption", table).splitlines()[1:7] == [
        r"\caption{A \# caption}",
        r"\begin{tabular}{ll}",
        r"\toprule",
        r"a\_b & 50 \% \\",
        r"\midrule",
        r"x \& y & $-$1 \textgreater{} \textbackslash{}n \\",
    ]
    entry = cite.bibtex(
        {"versions": {"vgcore": "9.1"}, "created": "2031-01-01", "git_commit": "ab"}
    )
    assert "version = {9.1}" in entry
    assert "year = {2031}" in entry
    assert "note = {commit ab}" in entry
    citation = (Path(__file__).parents[1] / "CITATION.cff").read_text("utf-8")
    assert f'title: "{cite.TITLE}"' in citation
    assert f'name: "{cite.AUTHOR}"' in citation


def test_paired_comparisons_are_corrected_within_a_table_and_over_the_report(
    tmp_path: Path,
) -> None:
    laws = {"init": ["gaussian", "sparse", "orthogonal", "identity"], "spectral_radius": [0.9]}
    others = {"activation": ["tanh", "relu"], "init": ["gaussian", "sparse"]}
    grids = {"laws": laws, "others": others}
    slices = [{"name": name, "title": name, "grid": grid} for name, grid in grids.items()]
    results = simulate(small_study(slice=slices))
    write_report(results, tmp_path)
    found = pd.read_csv(tmp_path / "comparisons.csv")
    assert len(found) >= 4
    draws = results.draws.set_index("condition")
    for row in found.to_dict("records"):
        one, two = (draws.loc[row[name], "rate"].to_numpy() for name in ("condition", "baseline"))
        assert row["n"] == len(one) == len(two)
        assert row["above"] == pytest.approx(np.mean(one > two) + np.mean(one == two) / 2)
        assert row["shift_low"] <= np.median(one - two) <= row["shift_high"]
        assert row["p"] == pytest.approx(scipy.stats.wilcoxon(one, two).pvalue, rel=0.2, abs=1e-6)
    for _, family in found.groupby(["slice", "at"], dropna=False):
        smallest = family["p"].min()
        assert family["p_holm"].min() == pytest.approx(min(1.0, smallest * len(family)))
    assert (found["p_bh"] >= found["p"]).all()
    assert found["p_bh"].max() == pytest.approx(found["p"].max())


def test_averages_of_a_few_draws_are_called_so(tmp_path: Path) -> None:
    results = simulate(one_condition())
    results.draws["log_norm_end"] = -1.0 + 0.1 * results.draws["rate"]
    last = results.draws.groupby("condition")["log_norm_end"]
    table = detail.averages(results.draws, planned(results.study))
    wanted = np.log(np.mean(np.exp(results.draws["log_norm_end"])))
    assert table["annealed"].iloc[0] == pytest.approx(wanted)
    assert table["quenched"].iloc[0] == pytest.approx(last.mean().iloc[0])
    calm = write_report(results, tmp_path / "calm").with_suffix(".md").read_text("utf-8")
    results.draws.loc[0, "log_norm_end"] = 50.0
    wild = write_report(results, tmp_path / "wild").with_suffix(".md").read_text("utf-8")
    warning = "carries more than half of the mean norm"
    assert warning in wild
    assert warning not in calm


def test_norms_lag_by_lag_are_those_of_the_profiles(written: Any) -> None:
    part = parts_of(written.results, written.summary)[0]
    bands = stats.profile_bands(written.results.profiles)
    listed = detail.lag_rows(part, bands)
    head, lines = detail.lag_table(part, listed)
    assert len(listed) == len(lines) * (len(head) - 1)
    rows = part.at_reference().drop_duplicates("series")
    for line, condition in zip(lines, rows["condition"], strict=True):
        own = written.results.profiles[written.results.profiles["condition"] == condition]
        for name, cell in zip(head[1:], line[1:], strict=True):
            logs = own.loc[own["lag"] == int(name.removeprefix("lag ")), "log_norm"]
            said = cell.split(" [")[0]
            if re.fullmatch(r"[\d.]+", said):
                assert float(said) == pytest.approx(np.exp(logs.median()), rel=0.06)
