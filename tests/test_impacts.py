"""Impacts: tiny versions of every experiment; sentences turn with opposite numbers."""

from __future__ import annotations

import inspect
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from vgcore import cli, impacts, replay
from vgcore.gated import GRU, LSTM
from vgcore.impacts import depth, generalisation, landscape, memory, pieces, remedies, table
from vgcore.study import progress
from vgcore.training import experiments

TINY = {
    "memory": {
        "radii": (0.5, 1.0), "delays": (1, 2), "n_nets": 3, "n_hidden": 4, "n_updates": 20,
        "n_lags": 50,
    },
    "dependencies": {"lengths": (10, 12), "n_nets": 3, "n_hidden": 4, "n_updates": 15,
                     "n_more": 40, "n_nets_more": 2},
    "instability": {"length": 10, "n_nets": 4, "n_hidden": 4, "n_updates": 20},
    "layers": {"n_layers": 4, "n_hidden": 5, "n_nets": 4, "n_updates": 10},
    "architectures": {"lengths": (4, 6), "n_nets": 3, "n_hidden": 4, "n_updates": 10},
    "landscape": {"length": 10, "n_nets": 3, "n_hidden": 4, "grid": 20},
    "generalisation": {
        "trained": (4, 4), "tested": (4, 8), "n_nets": 3, "n_hidden": 4, "n_updates": 10
    },
    "digits": {"n_nets": 2, "n_hidden": 4, "n_updates": 10},
}  # fmt: skip
COLUMNS = ["condition", "x", "quantity", "value", "low", "high", "n"]


def rows(*entries):
    """A table of (condition, x, quantity, value, low, high)."""
    return pd.DataFrame([(*entry, 10) for entry in entries], columns=COLUMNS)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder, told = tmp_path_factory.mktemp("impacts"), []
    impacts.run(folder, sizes=TINY, tell=lambda *one: told.append(one), n_threads=1)
    return folder, told


def test_the_report_holds_every_experiment_and_its_numbers(report):
    folder, told = report
    assert list(dict.fromkeys(name.partition(":")[0] for _, _, name in told)) == list(TINY)
    assert list(impacts.EXPERIMENTS) == list(TINY)
    assert [done for done, _, _ in told] == list(range(1, told[0][1] + 1))
    assert not (folder / "pieces").exists()
    assert not (folder / ".lock").exists()
    found = pd.read_csv(folder / "results.csv")
    assert list(found.columns) == ["experiment", *COLUMNS]
    nets = pd.read_csv(folder / "memory.csv")
    assert nets.groupby("condition").size().eq(3).all()
    assert len(pd.read_csv(folder / "dependencies.csv")) == 2 * 3 * 3 + 2
    names = (set(TINY) - {"memory"}) | {"capacity", "prediction"}
    without = set() if has_sklearn() else {"digits"}
    assert set(found.experiment) == names - without
    known = found.dropna(subset=["low"])
    assert (known.low <= known.value + 1e-12).all()
    assert (known.value <= known.high + 1e-12).all()
    page, text = ((folder / f"report.{kind}").read_text("utf-8") for kind in ("html", "md"))
    assert not re.search(r"(src|href)=.http", page)
    assert "All estimates: results.csv." in text
    assert "Net by net: memory.csv, dependencies.csv." in text
    for name in re.findall(r"!\[(.+)\]", text):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 1000
    assert page.count("data:image/svg") == text.count("![")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["seed"], manifest["run"]) == (0, "impacts, other sizes")


def test_numbers_do_not_depend_on_threads(report):
    folder, _ = report
    found = pd.read_csv(folder / "results.csv")
    for name in ("dependencies", "landscape", "generalisation"):
        seed = impacts.seed_of(name, 0)
        experiment = impacts.EXPERIMENTS[name](seed, n_threads=2, **TINY[name])
        again = experiment.measure()[name].table
        mine = found[found.experiment == name].drop(columns="experiment").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, again, check_dtype=False, rtol=1e-14)


def test_a_test_at_another_length_is_that_of_the_trained_net(report):
    """At the length that was trained the loss is the one at the end of training."""
    folder, _ = report
    found = pd.read_csv(folder / "results.csv")
    seed = impacts.seed_of("generalisation", 0)
    net = memory.RNN.draw(3, 4, spectral_radius=0.95, n_inputs=2, rng=seed)
    trained = memory.learn_adding(net, 4, 10, seed, 1)
    part = found[(found.experiment == "generalisation") & (found.condition == "RNN 0.95")]
    expected = np.median(trained.test_loss[:, -1]) * 6  # chance is 1/6
    assert part.value.iloc[0] == pytest.approx(expected, rel=1e-12)


def test_the_step_along_the_gradient_lowers_the_loss_by_its_norm():
    """And by the curvature: to second order, and no further, it is a Taylor series."""
    steps = (1e-5, 0.002)
    found = landscape.landscape(
        5, radii=(0.9,), steps=steps, length=10, n_nets=1, n_hidden=4, grid=5, n_threads=1
    ).measure()["landscape"].table  # fmt: skip
    norm, curvature = (
        table.value(found, "radius 0.9", name) for name in ("gradient norm", "curvature")
    )
    tiny, small = (table.value(found, "radius 0.9", "loss change", step) for step in steps)
    assert tiny == pytest.approx(-1e-5 * norm, rel=1e-3)
    second = 2 * (small + 0.002 * norm) / 0.002**2
    assert curvature == pytest.approx(second, rel=0.05)


def test_a_remedy_that_solves_more_gains_lengths(monkeypatch):
    def nets(lengths, remedies=("SGD", "SGD-C", "SGD-CR"), n_updates=9, **_):
        each = {"SGD": 2, "SGD-C": 8, "SGD-CR": 8 if len(remedies) > 1 or n_updates < 99 else 10}
        return pd.DataFrame(
            [
                {"length": t, "remedy": r, "net": d, "solved_step": 5 if d < n else -1,
                 "diverged_step": -1}
                for t in lengths for r in remedies for n in [each[r]] for d in range(10)
            ]
        )  # fmt: skip

    monkeypatch.setattr(remedies, "long_term_dependencies", nets)
    sizes = {"lengths": (10, 20), "n_nets": 10, "n_updates": 9, "n_more": 99}
    found = remedies.dependencies(0, **sizes).measure()["dependencies"]
    said = "With 99 updates SGD-CR solved length 20 in 100% [69%, 100%] of 10 nets, after a median"
    assert f"{said} of 5, in place of 80% [44%, 97%] of 10: whether" in found.sentences[3]
    shorter = found.table.assign(high=found.table.high.where(found.table.n < 0, 0.5))
    assert "the budget, and not the remedy" in remedies.dependencies_text(shorter)[3]
    gained = found.table[found.table.quantity == "lengths gained"]
    assert gained.condition.tolist() == ["SGD-C over SGD", "SGD-CR over SGD-C"]
    assert gained.n.tolist() == [10, 10]  # nets, not nets times lengths
    more = np.repeat([2.0, 0.0], [6, 4])
    half = scipy_stats.t.ppf(0.975, 9) * more.std(ddof=1) / 10**0.5
    assert gained.value.tolist() == [1.2, 0.0]
    assert gained.low.iloc[0] == pytest.approx(1.2 - half)
    assert "SGD-C solves more than SGD: +1.20 [" in found.sentences[4]
    assert "cannot be told apart: +0.00 of the 2 lengths" in found.sentences[5]
    assert experiments.success_rates(nets([10])).success.tolist() == [0.2, 0.8, 0.8]


def test_a_measure_that_ranks_is_told_from_one_that_does_not():
    groups = np.repeat(np.arange(8), 5)
    nets = pd.DataFrame(
        {"condition": [f"RNN {g}" for g in groups], "radius": 1.0, "net": 0,
         "horizon": 10.0 * groups + np.tile(range(5), 8), "length": 2.0**groups}
    )  # fmt: skip
    for sign, words in ((1, "ranks nets well"), (-1, "shorter memory")):
        turned = nets.assign(horizon=sign * nets.horizon + 100)
        found = memory.prediction(turned, "", 0)
        assert words in found.sentences[0]
        said = "".join(found.sentences)
        assert ("misleads most for RNN 0: of 8 conditions" in said) == (sign < 0)
        assert ("misleads" in said) == (sign < 0)
        best = found.table[found.table.quantity == "AUC"].value
        assert (best == (sign + 1) / 2).any()
    rng = np.random.default_rng(0)
    shuffled = nets.assign(horizon=rng.permutation(nets.horizon))
    assert "nor excluded" in memory.prediction(shuffled, "", 0).sentences[0]
    assert memory.auc(nets.horizon, nets.length, 1e9) == 0.5
    assert memory.rank_correlation(nets.horizon, np.ones(40)) == 0.0


@pytest.mark.parametrize("turn", [1, -1])
def test_sentences_turn_with_opposite_numbers(turn):
    a, b = ("first", "second")[::turn]
    learned = rows((a, 40, "learned", 1.0, 0.9, 1.0), (b, 40, "learned", 0.0, 0.0, 0.1))
    said = f"At length 40 {a} learned most often, 100% [90%, 100%], and {b} least, 0% [0%, 10%]."
    assert memory.architectures_text(learned) == [said]
    unsure = learned.assign(low=0.0, high=1.0)
    assert "may be chance" in memory.architectures_text(unsure)[0]
    longest = rows((a, 0.5, "longest delay", 2, 1, 3), (b, 1.4, "longest delay", 16, 9, 20))
    text = memory.capacity_text(longest)
    assert "radius 1.4 reached furthest, 16 [9, 20] steps in the mean" in text[0]
    assert f"{b} reached furthest" in text[1]
    assert "told apart" not in "".join(text)
    level = rows((a, 0.5, "longest delay", 15, 11, 19), (b, 1.4, "longest delay", 16, 9, 20),
                 ("c", np.nan, "longest delay", 2, np.nan, np.nan))  # fmt: skip
    assert (
        f"{b} reached furthest, 16 [9, 20] steps in the mean; not told apart from it: {a}. C "
        in (memory.capacity_text(level)[1])
    )
    none = longest.assign(low=0.0, high=30.0)
    assert "no two are told apart" in memory.capacity_text(none)[0]
    loss = rows(("x, plain", 0, "spiked", 0.5 + turn / 4, 0, 1),
                ("x, clipped", 0, "spiked", 0.5, 0, 1), ("x, plain", 0, "diverged", 0, 0, 1),
                ("x, clipped", 0, "diverged", 0, 0, 1),
                ("x, plain", 0, "median updates", np.inf, 0, 1),
                ("x, clipped", 0, "median updates", 70, 0, 1))  # fmt: skip
    text = remedies.instability_text(loss)[0]
    assert ("fewer spiked" if turn > 0 else "more spiked") in text
    assert "more than were made and 70" in text
    assert "may be chance" in text  # of ten nets
    assert "may be chance" not in remedies.instability_text(loss.assign(n=200))[0].split(";")[0]
    never = loss.assign(value=loss.value.where(loss.quantity != "median updates", np.inf))
    assert "neither without it nor with it" in remedies.instability_text(never)[0]
    gained = rows(("SGD", 10, "solved", 0.9, 0.8, 1), ("SGD", 20, "solved", 0.1, 0, 0.2),
                  ("SGD", 30, "solved", 0.6, 0.5, 0.7),
                  ("B over A", np.nan, "lengths gained", turn, turn - 0.5, turn + 0.5))  # fmt: skip
    text = remedies.dependencies_text(gained)
    assert "up to length 10 (90% [80%, 100%]), and at 20 in 10% [0%, 20%]." in text[0]
    assert f"solves {'more' if turn > 0 else 'less'} than A: {turn:+.2f} [" in text[1]
    assert "of the 3 lengths" in text[1]
    near = rows(("x", 50, "loss over chance", 0.1, 0, 0.2),
                ("x", 200, "loss over chance", 1.0 - 0.9 * (turn > 0), 0, 0))  # fmt: skip
    text = generalisation.generalisation_text(near, 50)[0]
    assert ("still 0.1 [0, 0] at 200" if turn > 0 else "no longer below half at 200") in text
    assert (
        "not learned at length 200"
        in generalisation.generalisation_text(near.assign(value=1.0), 200)[0]
    )
    steps = rows(("surface, plain", 0, "longest step", 500 if turn > 0 else 0.05, 0, 0),
                 ("surface, clipped", 0, "longest step", 0.05, 0, 0),
                 ("surface, plain", 0, "last error", 0.3, 0, 0),
                 ("surface, clipped", 0, "last error", 0.2, 0, 0),
                 ("radius 1", 0.1, "loss change", -0.4, -0.5, -0.3),
                 ("radius 1", 1, "loss change", 0.3 * turn, 0.3 * turn - 0.1, 0.3 * turn + 0.1),
                 ("radius 1", np.nan, landscape.CURVED, 8 + turn, 8, 9))  # fmt: skip
    text = landscape.landscape_text(steps)
    assert ("throws" if turn > 0 else "no difference") in text[0]
    assert ("raises" if turn > 0 else "lowers") in text[1]
    assert "the best of these steps has length 0.1 (loss -0.4 [-0.5, -0.3])" in text[1]
    assert f"curvature along the gradient has size {8 + turn} [8, 9]." in text[1]
    wide = steps.assign(low=-1.0, high=1.0)
    assert (
        "no length of step lowers the loss in three nets of four"
        in (landscape.landscape_text(wide)[1])
    )
    assert "lowers it in some nets and raises it in others" in landscape.landscape_text(wide)[1]
    first, last = (0.001, 1.0)[::turn]
    moved = rows(("x", 1, "gradient before", 0.1, 0, 1), ("x", 1, "gradient after", 0.2, 0, 1),
                 ("x", 1, "movement", first, 0, 1), ("x", 9, "movement", last, 0, 1),
                 ("x", np.nan, "loss over chance", 0.5, 0, 1))  # fmt: skip
    said = "less than a tenth as far" if turn > 0 else "more than ten times as far"
    assert said in depth.layers_text(moved)[0]
    assert "learned nothing" not in depth.layers_text(moved)[0]
    assert "learned nothing" in depth.layers_text(moved.assign(low=1.0))[0]
    low, high = (0.05, 0.15) if turn > 0 else (-0.05, 0.15)
    wrong = rows(("x", 10, "training error", 0.1, 0, 1), ("x", 10, "test error", 0.2, 0, 1),
                 ("x", 10, "gap", 0.1, low, high))  # fmt: skip
    said = "of these more are wrong" if turn > 0 else "may be chance"
    assert said in generalisation.digits_text(wrong)[0]


def has_sklearn():
    try:
        generalisation.digits()
    except ImportError:
        return False
    return True


def test_digits_are_skipped_in_clear_words_without_scikit_learn(monkeypatch):
    def missing():
        raise ImportError

    monkeypatch.setattr(generalisation, "digits", missing)
    found = generalisation.read_digits(0, n_nets=1, n_hidden=2, n_updates=1).measure()["digits"]
    assert "scikit-learn is not installed; pip install" in found.missing
    assert (list(found.sentences), found.figures, len(found.table)) == (["Not measured."], {}, 0)


def test_layers_measure_what_moved():
    """A net whose first layers get no gradient does not move them."""
    found = depth.layers(1, n_layers=8, n_hidden=8, n_nets=3, n_updates=40, n_threads=1)
    (moved,) = found.measure().values()
    for name, low, high in (("sigmoid, gain 1", 0, 1e-3), ("tanh, orthogonal", 0.1, 10)):
        first, last = (table.value(moved.table, name, "movement", x) for x in (1, 8))
        assert low <= first / last <= high
        assert low <= table.value(moved.table, name, "gradient before", 1) <= high
        assert table.value(moved.table, name, "gradient before", 8) == 1.0


def test_pieces_are_read_again_and_damaged_ones_measured_anew(tmp_path):
    calls = []

    def job():
        calls.append(1)
        return rows(("x", 0.1, "share", 1 / 3, np.nan, np.inf))

    first = pieces.kept(tmp_path, ("a", 1), job)
    pd.testing.assert_frame_equal(pieces.kept(tmp_path, ("a", 1), job), first, check_exact=True)
    assert len(calls) == 1
    pieces.kept(tmp_path, ("a", 2), job)
    assert len(calls) == 2
    for file in tmp_path.iterdir():
        data = bytearray(file.read_bytes())
        data[len(data) // 4] ^= 1  # within a page: its checksum tells
        file.write_bytes(data[:-9] if len(calls) == 2 else data)
        pieces.kept(tmp_path, ("a", 1), job)
        pieces.kept(tmp_path, ("a", 2), job)
    assert len(calls) == 4


def test_the_command_refuses_what_it_would_pass_over(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.app(["run", "impacts", "--engine", "dask"])
    assert ended.value.code == 2
    assert "--engine: impacts runs on threads of this process" in capsys.readouterr().err
    cli.app(["run", "impacts-full", "--dry-run", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == list(TINY)
    command = ["run", "impacts-full", "--dry-run", "--only", "digits", "--only", "layers"]
    cli.app([*command, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == ["layers", "digits"]
    cli.app(command, standalone_mode=False)
    assert "written to reports/impacts-full-digits-layers" in capsys.readouterr().out
    for bad, said in (
        (["impacts", "--only", "layer"], "did you mean 'layers'"),
        (["atlas", "--only", "layers"], "--only: atlas has no experiments; drop it"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.app(["run", *bad])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


def test_some_experiments_have_a_report_of_their_own_and_are_not_measured_again(report, tmp_path):
    told = []
    (tmp_path / "memory.csv").write_text("of an earlier report")
    (tmp_path / "mine.csv").write_text("no table of a report")
    for only in (("layers",), ()):
        jobs = []
        impacts.run(
            tmp_path, sizes=TINY, only=only, tell=lambda *one, jobs=jobs: jobs.append(one),
            n_threads=1,
        )  # fmt: skip
        manifest = json.loads((tmp_path / "manifest.json").read_text())
        assert manifest.get("only") == (["layers"] if only else None)
        found = pd.read_csv(tmp_path / "results.csv")
        assert (set(found.experiment) == {"layers"}) == bool(only)
        assert (tmp_path / "figures" / "surface.png").exists() != bool(only)
        assert (tmp_path / "memory.csv").exists() != bool(only)
        assert (tmp_path / "mine.csv").exists()
        kept = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("pieces/*")}
        told.append((len(jobs), kept))
    assert told[0][0] == len(told[0][1]) == len(depth.NETS)
    assert not told[1][1]  # a whole report needs no pieces
    assert (tmp_path / "results.csv").read_bytes() == (report[0] / "results.csv").read_bytes()


def test_a_report_may_wait_and_progress_is_for_programs(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(impacts.STUDIES, "impacts", TINY)
    monkeypatch.setattr(progress, "JSON_SECONDS", 0.0)
    command = ["run", "impacts", "--only", "layers", "--out", str(tmp_path), "--json"]
    cli.app([*command, "--no-report", "--json-progress"], standalone_mode=False)
    told = capsys.readouterr()
    assert json.loads(told.out) == {"out": str(tmp_path), "report": None, "experiments": 1}
    said = [json.loads(line) for line in told.err.splitlines()]
    assert [one["jobs_done"] for one in said] == list(range(1, len(depth.NETS) + 1))
    assert {one["jobs"] for one in said} == {len(depth.NETS)}
    assert all(one["job"].startswith("layers: ") and one["seconds"] >= 0 for one in said)
    tables = {file.name: file.read_bytes() for file in tmp_path.glob("*.csv")}
    assert "results.csv" in tables
    assert not list(tmp_path.glob("report.*")) + list(tmp_path.glob("figures"))
    # the report takes up what was measured, and says what the tables say
    monkeypatch.setattr(pieces, "write_whole", lambda *_: pytest.fail("measured again"))
    cli.app(command, standalone_mode=False)
    told = capsys.readouterr()
    assert json.loads(told.out)["report"] == str(tmp_path / "report.html")
    assert not told.err  # --json alone says nothing on the way
    assert (tmp_path / "report.md").exists()
    assert tables == {file.name: file.read_bytes() for file in tmp_path.glob("*.csv")}


@pytest.mark.parametrize("study", impacts.STUDIES)
def test_every_size_of_a_study_is_an_argument(study):
    for name, sizes in impacts.STUDIES[study].items():
        assert set(sizes) <= set(inspect.signature(impacts.EXPERIMENTS[name]).parameters)


KILLED = """
import json, sys
from vgcore import cli, impacts, replay
impacts.STUDIES["impacts"] = json.loads(sys.argv[1])
cli.app(["run", "impacts", "--out", sys.argv[2], "--workers", "1"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signal that cannot be caught")
def test_a_killed_run_goes_on_to_the_same_tables(report, tmp_path, monkeypatch, capsys):
    """The command itself, ended by the system between two jobs or within one."""
    wanted = (report[0] / "results.csv").read_bytes()
    sizes = json.dumps(TINY)
    command = [sys.executable, "-c", KILLED, sizes, str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while process.poll() is None and len(list(tmp_path.glob("pieces/*.parquet"))) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    left = {file: file.stat().st_mtime_ns for file in tmp_path.glob("pieces/*.parquet")}
    assert len(left) >= 3
    assert not (tmp_path / "results.csv").exists()
    seen = []
    whole = impacts.page.write

    def write(*arguments):
        seen.extend((file, file.stat().st_mtime_ns) for file in left)
        return whole(*arguments)

    monkeypatch.setattr(impacts.page, "write", write)
    monkeypatch.setitem(impacts.STUDIES, "impacts", json.loads(sizes))
    command = ["run", "impacts", "--out", str(tmp_path), "--workers", "2"]
    cli.app(command, standalone_mode=False)
    assert dict(seen) == left  # none was measured twice
    assert (tmp_path / "results.csv").read_bytes() == wanted
    told = capsys.readouterr()
    assert re.search(r"(\d+)/\1 jobs  .*  digits: GRU", told.err)
    assert "report.html" in told.out
    assert json.loads((tmp_path / "manifest.json").read_text())["run"] == "impacts"
    monkeypatch.setattr(impacts.page, "write", whole)
    again = replay.replay(tmp_path, tmp_path / "again").tables
    assert [one.table for one in again] == ["dependencies.csv", "memory.csv", "results.csv"]
    assert all(one.same and one.within == 0 for one in again)


def test_equal_size_is_nearest_in_parameters():
    for kind, gates in ((LSTM, 4), (GRU, 3)):
        n = table.equal_size(kind, 20, 2)
        biases = 2 if kind is GRU else 1
        count = {m: gates * m * (m + 2 + biases) + m for m in (n - 1, n, n + 1)}
        assert min(count, key=lambda m: abs(count[m] - (20 * 23 + 20))) == n
        assert f"{kind.__name__} {n} ({count[n]})" in table.sizes(20, 2)
        cell = kind.draw(1, n, n_inputs=2, rng=1)
        bias = (cell.b_ih, cell.b_hh) if kind is GRU else (cell.bias,)
        assert sum(array.size for array in (cell.W_ih, cell.W_hh, *bias)) + n == count[n]


def test_shares_have_exact_intervals():
    assert table.share([False] * 20)[:3] == pytest.approx((0, 0, 1 - 0.025 ** (1 / 20)))
    assert table.share([True] * 20)[:3] == pytest.approx((1, 0.025 ** (1 / 20), 1))


COMMITTED = Path(__file__).parents[1] / "reports" / "impacts"


def exact(count, n):
    """Clopper and Pearson (1934) by the quantiles of the beta law."""
    low = scipy_stats.beta.ppf(0.025, count, n - count + 1) if count else 0.0
    high = scipy_stats.beta.ppf(0.975, count + 1, n - count) if count < n else 1.0
    return count / n, low, high


def student(values):
    """Mean with Student's interval; none where all are the same."""
    if np.ptp(values) == 0:
        return np.mean(values), np.nan, np.nan
    return (np.mean(values), *scipy_stats.ttest_1samp(values, 0.0).confidence_interval(0.95))


def test_the_committed_estimates_are_those_of_their_nets():
    results, memory, nets = (
        pd.read_csv(COMMITTED / f"{name}.csv") for name in ("results", "memory", "dependencies")
    )

    def found(experiment, **wanted):
        one = results[results.experiment == experiment]
        for column, entry in wanted.items():
            one = one[one[column] == entry]
        assert len(one) == 1, (experiment, wanted)
        return one[["value", "low", "high"]].to_numpy()[0]

    for name, group in memory.groupby("condition"):
        same = {"condition": name}
        quartiles = np.quantile(group.horizon, (0.5, 0.25, 0.75))
        assert found("prediction", quantity="median horizon", **same) == pytest.approx(quartiles)
        wanted = student(group.length)
        for experiment, quantity in (("prediction", "mean delay"), ("capacity", "longest delay")):
            estimate = found(experiment, quantity=quantity, **same)
            assert estimate == pytest.approx(wanted, nan_ok=True)
        learned = results[(results.condition == name) & (results.experiment == "capacity")]
        for delay in learned.x[learned.quantity == "learned"]:
            wanted = exact((group.length >= delay).sum(), len(group))
            share = found("capacity", quantity="learned", x=delay, **same)
            assert share == pytest.approx(wanted)
    for (length, remedy), group in nets.groupby(["length", "remedy"]):
        same = {"condition": remedy, "x": length}
        times = group.solved_step[group.solved_step >= 0]
        wanted = exact(len(times), len(group))
        assert found("dependencies", quantity="solved", **same) == pytest.approx(wanted)
        if len(times):
            wanted = np.quantile(times, (0.5, 0.25, 0.75))
            median = found("dependencies", quantity="updates to solve", **same)
            assert median == pytest.approx(wanted)
    solved = nets.assign(solved=nets.solved_step >= 0).groupby(["remedy", "net"]).solved.sum()
    for better, base in (("SGD-C", "SGD"), ("SGD-CR", "SGD-C")):
        gained = found("dependencies", condition=f"{better} over {base}")
        assert gained == pytest.approx(student(solved[better] - solved[base]))
    everyone = found("prediction", condition="all conditions", quantity="Spearman")
    wanted = scipy_stats.spearmanr(memory.horizon, memory.length).statistic
    assert everyone[0] == pytest.approx(wanted)


NUMBER = r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?"
TRIPLE = re.compile(rf"({NUMBER})(%| points)? \[({NUMBER})%?, ({NUMBER})%?\]")


def test_every_number_with_an_interval_in_the_committed_report_is_of_a_row_of_its_table():
    results = pd.read_csv(COMMITTED / "results.csv")
    experiments = list(dict.fromkeys(results.experiment))
    sections = (COMMITTED / "report.md").read_text("utf-8").split("\n## ")[1:]
    assert len(sections) == len(experiments)
    read = 0
    for experiment, section in zip(experiments, sections, strict=True):
        rows = results[results.experiment == experiment]
        for value, unit, low, high in TRIPLE.findall(section):
            same = np.ones(len(rows), bool)
            for text, column in ((value, "value"), (low, "low"), (high, "high")):
                plain = text.replace(",", "")
                digits, _, power = plain.partition("e")
                last = int(power or 0) - len(digits.partition(".")[2])
                scaled = rows[column] * (100 if unit else 1)
                same &= (scaled - float(plain)).abs() <= 0.5001 * 10.0**last
            assert same.any(), (experiment, value, low, high)
            read += 1
    assert read > 60
