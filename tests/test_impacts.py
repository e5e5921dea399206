"""Impacts: tiny versions of every experiment; sentences turn with opposite numbers."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from vgcore import impacts
from vgcore.gated import GRU, LSTM
from vgcore.impacts import depth, landscape, memory, remedies, table
from vgcore.training import experiments

TINY = {
    "memory": {
        "radii": (0.5, 1.0), "delays": (1, 2), "n_nets": 3, "n_hidden": 4, "n_updates": 20,
        "n_lags": 50,
    },
    "dependencies": {"lengths": (10, 12), "n_nets": 3, "n_hidden": 4, "n_updates": 15},
    "instability": {"length": 10, "n_nets": 4, "n_hidden": 4, "n_updates": 20},
    "layers": {"n_layers": 4, "n_hidden": 5, "n_nets": 4},
    "architectures": {"lengths": (4, 6), "n_nets": 3, "n_hidden": 4, "n_updates": 10},
    "landscape": {"length": 10, "n_nets": 3, "n_hidden": 4, "grid": 20},
    "generalisation": {
        "trained": 4, "tested": (4, 8), "n_nets": 3, "n_hidden": 4, "n_updates": 10
    },
}  # fmt: skip
COLUMNS = ["condition", "x", "quantity", "value", "low", "high", "n"]


def rows(*entries):
    """A table of (condition, x, quantity, value, low, high)."""
    return pd.DataFrame([(*entry, 10) for entry in entries], columns=COLUMNS)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder, told = tmp_path_factory.mktemp("impacts"), []
    impacts.run(folder, seed=3, sizes=TINY, tell=told.append, n_threads=1)
    return folder, told


def test_the_report_holds_every_experiment_and_its_numbers(report):
    folder, told = report
    assert [line.partition(":")[0] for line in told] == list(impacts.EXPERIMENTS) == list(TINY)
    found = pd.read_csv(folder / "results.csv")
    assert list(found.columns) == ["experiment", *COLUMNS]
    assert set(found.experiment) == (set(TINY) - {"memory"}) | {"capacity", "prediction"}
    known = found.dropna(subset=["low"])
    assert (known.low <= known.value + 1e-12).all()
    assert (known.value <= known.high + 1e-12).all()
    page, text = ((folder / f"report.{kind}").read_text("utf-8") for kind in ("html", "md"))
    assert not re.search(r"(src|href)=.http", page)
    for name in re.findall(r"!\[(.+)\]", text):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 1000
    assert page.count("data:image/svg") == text.count("![")
    assert json.loads((folder / "manifest.json").read_text())["seed"] == 3


def test_numbers_do_not_depend_on_threads(report):
    folder, _ = report
    found = pd.read_csv(folder / "results.csv")
    for name in ("dependencies", "landscape", "generalisation"):
        seed = impacts.seed_of(name, 3)
        again = impacts.EXPERIMENTS[name](seed, n_threads=2, **TINY[name])[name].table
        mine = found[found.experiment == name].drop(columns="experiment").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, again, check_dtype=False, rtol=1e-14)


def test_a_test_at_another_length_is_that_of_the_trained_net(report):
    """At the length that was trained the loss is the one at the end of training."""
    folder, _ = report
    found = pd.read_csv(folder / "results.csv")
    seed = impacts.seed_of("generalisation", 3)
    net = memory.RNN.draw(3, 4, spectral_radius=0.95, n_inputs=2, rng=seed)
    trained = memory._add(net, 4, 10, seed, 1)
    part = found[(found.experiment == "generalisation") & (found.condition == "RNN")]
    expected = np.median(trained.test_loss[:, -1]) * 6  # chance is 1/6
    assert part.value.iloc[0] == pytest.approx(expected, rel=1e-12)


def test_the_step_along_the_gradient_lowers_the_loss_by_its_norm():
    found = landscape.landscape(
        5, radii=(0.9,), steps=(1e-5,), length=10, n_nets=1, n_hidden=4, grid=5, n_threads=1
    ).table
    norm = table.value(found, "radius 0.9", "gradient norm")
    assert table.value(found, "radius 0.9", "loss change") == pytest.approx(-1e-5 * norm, rel=1e-3)


def test_pairs_are_won_by_the_remedy_that_solves_more(monkeypatch):
    def nets(lengths, **_):
        each = {"SGD": 2, "SGD-C": 8, "SGD-CR": 8}
        return pd.DataFrame(
            [
                {"length": t, "remedy": r, "net": d, "solved_step": 5 if d < n else -1,
                 "diverged_step": -1}
                for t in lengths for r, n in each.items() for d in range(10)
            ]
        )  # fmt: skip

    monkeypatch.setattr(remedies, "long_term_dependencies", nets)
    found = remedies.dependencies(0, lengths=(10,), n_nets=10)
    won = found.table[found.table.quantity == "pairs won"]
    assert won.condition.tolist() == ["SGD-C over SGD"]
    assert (won.value.item(), won.n.item()) == (1.0, 6)
    assert won.low.item() == pytest.approx(0.025 ** (1 / 6))
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
        best = found.table[found.table.quantity == "AUC"].value
        assert (best == (sign + 1) / 2).any()
    rng = np.random.default_rng(0)
    shuffled = nets.assign(horizon=rng.permutation(nets.horizon))
    assert "does not tell" in memory.prediction(shuffled, "", 0).sentences[0]
    assert memory.auc(nets, 1e9) == 0.5
    assert memory.rank_correlation(nets.assign(length=1.0)) == 0.0


@pytest.mark.parametrize("turn", [1, -1])
def test_sentences_turn_with_opposite_numbers(turn):
    a, b = ("first", "second")[::turn]
    learned = rows((a, 40, "learned", 1.0, 0.9, 1.0), (b, 40, "learned", 0.0, 0.0, 0.1))
    assert f"{a} learned most often (100%) and {b} least" in memory.architectures_text(learned)[0]
    longest = rows((a, 0.5, "longest delay", 2, 1, 3), (b, 1.4, "longest delay", 16, 9, 20))
    text = memory.capacity_text(longest)
    assert "at spectral radius 1.4 (mean 16 steps)" in text[0]
    assert f"{b} reached furthest" in text[1]
    loss = rows(("x, plain", 0, "spiked", 0.5 + turn / 4, 0, 1),
                ("x, clipped", 0, "spiked", 0.5, 0, 1), ("x, plain", 0, "diverged", 0, 0, 1),
                ("x, clipped", 0, "diverged", 0, 0, 1),
                ("x, plain", 0, "median updates", np.inf, 0, 1),
                ("x, clipped", 0, "median updates", 70, 0, 1))  # fmt: skip
    text = remedies.instability_text(loss)[0]
    assert ("fewer spiked" if turn > 0 else "more spiked") in text
    assert "not reached and 70" in text
    pairs = rows(("B over A", np.nan, "pairs won", 0.5 + 0.4 * turn, 0.45 + 0.3 * turn,
                  0.55 + 0.44 * turn))  # fmt: skip
    assert (f"solves {'more' if turn > 0 else 'less'} than A") in remedies.dependencies_text(pairs)[
        0
    ]
    near = rows(("x", 50, "loss over chance", 0.1, 0, 0.2),
                ("x", 200, "loss over chance", 1.0 - 0.9 * (turn > 0), 0, 0))  # fmt: skip
    assert ("holds out" if turn > 0 else "lost by") in memory.generalisation_text(near, 50)[0]
    steps = rows(("surface, plain", 0, "longest step", 500 if turn > 0 else 0.05, 0, 0),
                 ("surface, clipped", 0, "longest step", 0.05, 0, 0),
                 ("radius 1", 0.1, "loss change", -0.2, 0, 0),
                 ("radius 1", 1, "loss change", 0.3 * turn, 0, 0))  # fmt: skip
    text = landscape.landscape_text(steps)
    assert ("throws" if turn > 0 else "no difference") in text[0]
    assert ("raises" if turn > 0 else "lowers") in text[1]
    arrived = rows(("x", 0, "gradient over output", 10.0 ** (3 * turn), 10.0 ** (3 * turn) / 2,
                    2 * 10.0 ** (3 * turn)))  # fmt: skip
    assert ("grows" if turn > 0 else "vanishes") in depth.layers_text(arrived)[0]


def test_equal_size_is_nearest_in_parameters():
    for kind, gates in ((LSTM, 4), (GRU, 3)):
        n = table.equal_size(kind, 20, 2)
        count = {m: gates * m * (m + 3) + m for m in (n - 1, n, n + 1)}
        assert min(count, key=lambda m: abs(count[m] - (20 * 23 + 20))) == n


def test_shares_have_exact_intervals():
    assert table.share([False] * 20)[:3] == pytest.approx((0, 0, 1 - 0.025 ** (1 / 20)))
    assert table.share([True] * 20)[:3] == pytest.approx((1, 0.025 ** (1 / 20), 1))
