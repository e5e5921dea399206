"""Cells and remedies in studies: what each measures, beside the public functions it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import vgcore as vg
from vgcore.errors import StudyError
from vgcore.initializers import INITIALIZERS
from vgcore.study.cells import CELLS
from vgcore.study.config import Condition, Measure, Study
from vgcore.study.measure import Numbers, measure
from vgcore.study.plan import conditions, conditions_table, glossary
from vgcore.study.remedies import REMEDIES, Run, find_remedy, names

SMALL = {"n_hidden": 10, "n_steps": 40, "burn_in": 5, "n_inputs": 3, "spectral_radius": 1.2}
DRAWS = 5


def condition(**factors):
    return Condition.model_validate({**SMALL, **factors})


def measured(**factors):
    draws, profiles = measure(condition(**factors), Measure(n_lags=50), 3, 0, DRAWS)
    logs = profiles["log_norm"].reshape(DRAWS, -1)
    return draws, logs


def untreated(**factors):
    """The network of a condition and the arguments of its run, as the study has them."""
    c = condition(**factors).treated
    numbers = Numbers(3)
    return numbers.network(c, range(DRAWS))[0], numbers.run(c, range(DRAWS)).arguments()


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("rnn", vg.RNN),
        ("elman", vg.LeakyRNN),
        ({"name": "leaky", "leak": 0.5, "density": 0.4}, vg.LeakyRNN),
        ({"name": "lstm", "forget_bias": 1.0}, vg.LSTM),
        ({"name": "lstm", "chrono": 30.0}, vg.LSTM),
        ({"name": "gru", "update_bias": 1.0}, vg.GRU),
    ],
)
def test_cells_are_those_of_their_own_draw(cell, kind):
    made, arguments = untreated(cell=cell)
    assert type(made) is kind
    draws, logs = measured(cell=cell)
    profile = vg.gradient_profile(made, **arguments)
    np.testing.assert_array_equal(logs[:, -1], profile.log_norm[:, 0, -1])
    np.testing.assert_allclose(draws["rho"], 1.2, rtol=1e-12)
    # the loss reads the units: nothing of an LSTM's cell state at lag 0
    np.testing.assert_allclose(np.linalg.norm(arguments["loss_gradient"], axis=-1), 1.0)
    assert not arguments["loss_gradient"][..., made.n_hidden :].any()
    for radius in (vg.spectral_radius(block) for block in blocks_of(made)):
        np.testing.assert_allclose(radius, 1.2, rtol=1e-10)


def blocks_of(cell):
    n = cell.n_hidden
    W = cell.W_rec.reshape(cell.n_draws, -1, n, n)
    return W.transpose(1, 0, 2, 3)


def test_cells_of_equal_size_share_matrix_input_and_loss():
    one, run = untreated()
    for cell in ("elman", "lstm", "gru"):
        other, its_run = untreated(cell=cell)
        np.testing.assert_array_equal(blocks_of(other)[0], one.W_rec)
        np.testing.assert_array_equal(other.W_in[:, : one.n_hidden], one.W_in)
        np.testing.assert_array_equal(its_run["inputs"], run["inputs"])
        np.testing.assert_array_equal(
            its_run["loss_gradient"][..., : one.n_hidden], run["loss_gradient"]
        )


def test_torch_law_is_that_of_the_cells_own_draw():
    """As torch: U(-1/sqrt N, 1/sqrt N) of every weight and bias; two biases a unit."""
    as_drawn = {"spectral_radius": "as_drawn", "input_variance": "as_drawn", "init": "torch"}
    bound = 10**-0.5
    for cell, biases in (("elman", 2), ("lstm", 2), ("gru", 1)):
        made, _ = untreated(cell=cell, **as_drawn)
        for array, most in ((made.W_rec, 1), (made.W_in, 1)):
            assert 0.9 * bound < np.abs(array).max() <= most * bound
        bias = made.bias if biases == 2 else made.b_ih
        assert 0.5 * biases * bound < np.abs(bias).max() <= biases * bound
    own = vg.LSTM.draw(50, 20, n_inputs=7, rng=1)
    assert own.W_in is not None
    assert abs(np.std(own.W_in) - 20**-0.5 / 3**0.5) < 0.01


def test_a_study_of_a_deep_network_has_layers_for_steps():
    deep = {"cell": {"name": "deep", "residual": True}, "burn_in": 0, "input_variance": 0.0}
    made, arguments = untreated(**deep)
    assert isinstance(made, vg.DeepNet)
    assert made.n_layers == 40
    draws, logs = measured(**deep)
    profile = vg.gradient_profile(made, **arguments)
    np.testing.assert_array_equal(logs[:, -1], profile.log_norm[:, 0, -1])
    assert np.isfinite(draws["rate"]).all()


def test_other_cells_and_laws_take_the_place_of_the_condition_s():
    for value, factors in (
        ("orthogonal", {"init": "orthogonal"}),
        ({"name": "gru", "update_bias": 2.0}, {"cell": {"name": "gru", "update_bias": 2.0}}),
        ({"name": "kaiming_normal", "own_scale": True},
         {"init": "kaiming_normal", "spectral_radius": "as_drawn"}),
    ):  # fmt: skip
        for found, expected in zip(measured(remedy=value), measured(**factors), strict=True):
            for one, two in zip(np.atleast_1d(found), np.atleast_1d(expected), strict=True):
                np.testing.assert_equal(one, two)


@pytest.mark.parametrize("kind", ["rnn", "elman", "lstm", "gru"])
def test_truncation_ends_the_gradient_and_tells_what_is_left(kind):
    draws, logs = measured(cell=kind, remedy={"name": "truncation", "k": 7})
    _, full = measured(cell=kind)
    np.testing.assert_array_equal(logs[:, :7], full[:, :7])
    assert np.isneginf(logs[:, 7:]).all()
    assert (draws["horizon"] <= 7).all()
    cell, arguments = untreated(cell=kind)
    n_steps = arguments.pop("n_steps")
    found = vg.remedies.truncation(cell, n_steps, [7], **arguments)
    np.testing.assert_array_equal(draws["cosine"], found.cosine[:, 0, 0])
    np.testing.assert_allclose(np.exp(draws["log_kept"]), found.norm_ratio[:, 0, 0])
    # a truncation longer than the run leaves everything
    draws, logs = measured(cell=kind, remedy={"name": "truncation", "k": 1000})
    np.testing.assert_array_equal(logs[:, :-1], full[:, :-1])
    np.testing.assert_allclose(draws["cosine"], 1.0)


@pytest.mark.parametrize("kind", ["leaky", "lstm", "gru"])
def test_clipping_reaches_cells_with_gates(kind):
    draws, logs = measured(cell=kind, remedy={"name": "clip_norm", "threshold": 1e-3})
    cell, arguments = untreated(cell=kind)
    n_steps = arguments.pop("n_steps")
    found = vg.remedies.clipping(cell, n_steps, 1e-3, **arguments)
    assert (found.outcome == "clipped").any()
    np.testing.assert_array_equal(draws["cosine"], found.cosine[:, 0])
    kept = (found.log_clipped_norm - found.log_norm)[:, 0]
    np.testing.assert_allclose(draws["log_kept"], kept)
    _, full = measured(cell=kind)
    np.testing.assert_allclose(logs - full, np.broadcast_to(kept[:, None], logs.shape), atol=1e-12)


@pytest.mark.parametrize("by", ["norm", "value"])
def test_clipping_scales_every_lag_and_buys_no_step(by):
    loud = {"spectral_radius": 4.0, "activation": "linear"}
    draws, logs = measured(remedy={"name": f"clip_{by}", "threshold": 0.5}, **loud)
    before, full = measured(**loud)
    np.testing.assert_allclose(logs - full, np.broadcast_to(draws["log_kept"][:, None], logs.shape))
    np.testing.assert_array_equal(draws["horizon"], before["horizon"])
    assert (before["event"] == "explode").all()
    assert (draws["event"] == "censored").all()
    assert (draws["log_kept"] < -10).all()


def test_clipping_on_delta_bounds_every_step():
    loud = {"spectral_radius": 4.0, "activation": "linear"}
    draws, logs = measured(remedy={"name": "clip_delta", "threshold": 0.5}, **loud)
    assert logs.max() <= np.log(0.5) + 1e-12
    # brute force: one step after the other, each scaled down before it is carried on
    cell, arguments = untreated(**loud)
    for d in range(DRAWS):
        delta = arguments["loss_gradient"][d, 0]
        for lag in range(logs.shape[1]):
            size = np.linalg.norm(delta)
            delta = delta * min(1.0, 0.5 / size)
            assert np.log(np.linalg.norm(delta)) == pytest.approx(logs[d, lag], abs=1e-9)
            delta = cell.W_rec[d].T @ delta
    assert (draws["event"] != "explode").all()


def test_a_gradient_beyond_all_numbers_is_clipped_all_the_same():
    huge = {"spectral_radius": 1e100, "activation": "linear", "n_steps": 20, "burn_in": 0}
    draws, _ = measured(remedy="clip_norm", input_variance=0.0, **huge)
    np.testing.assert_allclose(draws["cosine"], 1.0)
    assert (draws["log_kept"] < -20 * 200).all()
    assert np.isfinite(draws["log_kept"]).all()


@pytest.mark.parametrize("name", ["omega", "orthogonality", "l2"])
def test_penalties_are_measured_on_the_descended_network(name):
    draws, logs = measured(remedy={"name": name, "n_updates": 20})
    cell, arguments = untreated()
    if name == "omega":
        run = {**arguments, "n_steps": 30}
        run["inputs"] = run["inputs"][:, :, :35]
        after = vg.remedies.penalised_descent(cell, name, 20, 0.01, **run).cell
    elif name == "l2":
        after = vg.RNN(cell.W_rec * (1 - 2 * 0.01) ** 20, cell.W_in)
    else:
        after = cell
        for _ in range(4):
            largest = np.linalg.norm(after.W_rec, 2, axis=(1, 2))
            rate = 2.0 ** np.floor(np.log2(1 / (8 * np.maximum(largest, 1.0) ** 2)))
            after = vg.remedies.penalised_descent(after, name, 5, rate).cell
    np.testing.assert_allclose(draws["rho"], vg.spectral_radius(after.W_rec), rtol=1e-9)
    profile = vg.gradient_profile(after, **arguments)
    np.testing.assert_allclose(logs[:, -1], profile.log_norm[:, 0, -1], rtol=1e-6)


@pytest.mark.parametrize("radius", [0.3, 0.9, 2.0])
def test_descent_on_orthogonality_gets_there(radius):
    factors = {"spectral_radius": radius, "n_hidden": 64}
    cell, arguments = untreated(**factors)
    made, stopped = find_remedy("orthogonality").network(cell, Run(**without_threads(arguments)))
    assert (stopped == -1).all()
    singular = np.linalg.svd(made.W_rec, compute_uv=False)
    np.testing.assert_allclose(singular, 1.0, atol=1e-6)
    draws, _ = measured(remedy="orthogonality", **factors)
    np.testing.assert_allclose(draws["rho"], 1.0, atol=1e-6)


def without_threads(arguments):
    return {key: value for key, value in arguments.items() if key != "n_threads"}


def test_descent_that_diverges_is_told():
    draws, _ = measured(remedy={"name": "l2", "n_updates": 500, "learning_rate": 1.5})
    found = vg.remedies.penalised_descent(untreated()[0], "l2", 500, 1.5)
    assert (found.stopped_at > 0).all()
    np.testing.assert_array_equal(draws["stopped_at"], found.stopped_at)
    assert (measured(remedy="l2")[0]["stopped_at"] == -1).all()


@pytest.mark.parametrize("by", ["norm", "value", "delta"])
def test_a_chaotic_gradient_is_clipped_on_the_trajectory_that_is_measured(by):
    """What is left of all terms together is no more than their norms add up to."""
    wild = {"spectral_radius": 2.0, "n_hidden": 32, "n_steps": 600, "input_variance": 0.01}
    remedy = {"name": f"clip_{by}", "threshold": 1.0}
    c = condition(remedy=remedy, **wild)
    numbers = Numbers(3)
    cell, run = numbers.network(c, range(DRAWS))[0], numbers.run(c, range(DRAWS))
    plain = vg.gradient_profile(cell, **run.arguments())
    found = c.remedy.gradient(cell, plain, run)
    arguments = run.arguments()
    clipped = vg.remedies.clipping(cell, arguments.pop("n_steps"), 1.0, by=by, **arguments)
    assert (clipped.outcome == "clipped").all()
    terms = special.logsumexp(found.profile.log_contribution[..., :-1], axis=-1)
    assert (clipped.log_clipped_norm <= terms + 1e-9).all()


def test_every_remedy_has_a_sentence_a_cost_and_a_way_back():
    for name in names():
        found = find_remedy(name)
        assert found.label == name
        assert len(found.description) > 20
        assert found.against in ("", "vanishing", "exploding")
        assert find_remedy(found.plain) == found
        assert 0 < found.step_cost(64, 1000) < 10
        assert found.flop(CELLS["rnn"](), 64, 1000) >= 0
    assert set(names()) >= {*REMEDIES, *INITIALIZERS, *(set(CELLS) - {"rnn"})}


def study(**slices):
    return {
        "name": "mine",
        "n_draws": 3,
        "defaults": SMALL,
        "slice": [{"name": "one", **slices}],
    }


def test_a_study_with_remedies_survives_its_own_text():
    grid = {
        "remedy": ["none", {"name": "lstm", "forget_bias": 1}, {"name": "truncation", "k": 5}],
        "cell": ["rnn"],
        "input_variance": ["as_drawn", 0.5],
    }
    made = Study.from_dict(study(grid=grid))
    assert Study.from_dict(made.resolved()) == made
    # one spelling, one digest
    grid["remedy"][1]["forget_bias"] = 1.0
    assert Study.from_dict(study(grid=grid)).digest == made.digest
    table = conditions_table(made)
    assert table["remedy"].unique().tolist() == [
        "none", "lstm (forget_bias = 1)", "truncation (k = 5)",
    ]  # fmt: skip
    assert np.isnan(table["input_variance"][0])
    said = glossary(made)
    assert "Hochreiter" in said["remedy lstm (forget_bias = 1)"]
    assert "Williams" in said["remedy truncation (k = 5)"]
    assert glossary(Study.from_dict(study(grid={"remedy": ["omega"]})))["remedy omega"].endswith(
        "Here n_updates = 100, learning_rate = 0.01, n_steps = 30."
    )


@pytest.mark.parametrize(
    ("factors", "text"),
    [
        ({"cell": ["lstm"], "remedy": ["omega"]}, "works on rnn, found cell 'lstm'"),
        ({"cell": ["gru"], "jacobian": ["as_printed"]}, "printed form is that of the vanilla"),
        ({"cell": ["deep"]}, "has no input: found burn_in = 5"),
        (
            {"cell": [{"name": "leaky", "density": 0.5}], "init": ["orthogonal"]},
            "drop one of them",
        ),
    ],
)
def test_what_a_cell_cannot_have_is_refused(factors, text):
    with pytest.raises(StudyError, match=r"slice 1 \(one\): ") as caught:
        Study.from_dict(study(grid=factors))
    assert text in str(caught.value)


def test_numbers_of_remedies_do_not_depend_on_what_was_measured_before():
    kept = Numbers(3)
    for value in ("lstm", "gru", "none", "clip_delta", "lstm", "omega", "leaky", "none"):
        c = condition(remedy=value)
        for found, expected in zip(
            measure(c, Measure(), 3, 1, 4, kept), measure(c, Measure(), 3, 1, 4), strict=True
        ):
            for name in found:
                np.testing.assert_array_equal(found[name], expected[name])


def test_a_gate_without_input_decays_at_its_known_rate():
    """With all weights near zero the LSTM's cell path decays by ln sigmoid(b_f) a step."""
    c = {"spectral_radius": 1e-9, "input_variance": 0.0, "n_steps": 200}
    draws, _ = measured(cell={"name": "lstm", "forget_bias": 2.0}, **c)
    np.testing.assert_allclose(draws["rate"], np.log(special.expit(2.0)), rtol=1e-6)


def test_conditions_of_a_remedy_slice_are_numbered_in_order():
    made = Study.from_dict(study(grid={"remedy": ["none", "gru"], "spectral_radius": [0.9, 1.1]}))
    assert [c.condition.remedy.label for c in conditions(made)] == ["none", "none", "gru", "gru"]
