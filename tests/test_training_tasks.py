"""Tasks: what their sequences hold, their laws, chance levels and addresses."""

from __future__ import annotations

import numpy as np
import pytest

import vgcore as vg
from vgcore.training import tasks

MADE = {
    "adding": tasks.adding(23),
    "order 2": tasks.temporal_order(40),
    "order 3": tasks.temporal_order(40, n_marks=3),
    "copy": tasks.copy_memory(7),
    "recall": tasks.delayed_recall(6, 15),
}


@pytest.mark.jit_off
def test_adding_marks_one_value_in_each_half():
    u, y = MADE["adding"].batch(200, rng=1)
    values, marks = u[..., 0], u[..., 1]
    assert ((marks == 0) | (marks == 1)).all()
    assert (marks[:, :11].sum(axis=1) == 1).all()
    assert (marks[:, 11:].sum(axis=1) == 1).all()
    np.testing.assert_allclose(y[:, 0, 0], (values * marks).sum(axis=1), rtol=1e-15)
    assert values.min() >= 0
    assert values.max() < 1
    assert set(marks.argmax(axis=1)) == set(range(11))


@pytest.mark.jit_off
@pytest.mark.parametrize(("name", "tenths"), [("order 2", (1, 5)), ("order 3", (1, 3, 6))])
def test_temporal_order_has_its_marks_where_the_literature_has_them(name, tenths):
    u, y = MADE[name].batch(200, rng=1)
    assert (u.sum(axis=2) == 1).all()
    symbols = u.argmax(axis=2)
    for row, label in zip(symbols, y[:, 0, 0], strict=True):
        places = np.flatnonzero(row < 2)
        assert [place // 4 for place in places] == list(tenths)
        assert label == sum(row[place] << i for i, place in enumerate(places))
    assert set(y.ravel()) == set(range(2 ** len(tenths)))
    assert set(symbols.ravel()) == set(range(6))


@pytest.mark.jit_off
def test_copy_memory_repeats_its_ten_symbols_after_the_delimiter():
    u, y = MADE["copy"].batch(50, rng=1)
    assert (u.sum(axis=2) == 1).all()
    symbols, targets = u.argmax(axis=2), y[..., 0]
    assert symbols.shape == targets.shape == (50, 27)
    assert (symbols[:, :10] < 8).all()
    assert (symbols[:, 16] == 9).all()  # 7 steps after the last symbol
    assert (np.delete(symbols[:, 10:], 6, axis=1) == 8).all()
    assert (targets[:, :17] == 8).all()
    assert (targets[:, 17:] == symbols[:, :10]).all()


@pytest.mark.jit_off
def test_delayed_recall_asks_for_the_input_six_steps_before():
    u, y = MADE["recall"].batch(50, rng=1)
    assert y.shape == (50, 9, 1)
    assert (y == u[:, :-6]).all()
    assert u.min() < -0.9
    assert u.max() > 0.9


def test_symbols_and_values_have_their_laws():
    """Chi-square and moments, within five standard errors, over many nets."""
    u = np.concatenate([MADE["recall"].batch(100, rng=1, net=d)[0] for d in range(50)]).ravel()
    error = 5 * len(u) ** -0.5
    assert abs(u.mean()) < error
    assert abs(u.var() - 1 / 3) < error
    assert abs((u**4).mean() - 1 / 5) < error
    symbols = MADE["copy"].batch(5000, rng=1)[0][:, :10].argmax(axis=2)
    counts = np.bincount(symbols.ravel(), minlength=8)
    assert ((counts - 6250) ** 2 / 6250).sum() < 7 + 5 * 14**0.5
    y = MADE["order 3"].batch(8000, rng=1)[1].ravel().astype(int)
    assert ((np.bincount(y) - 1000) ** 2 / 1000).sum() < 7 + 5 * 14**0.5


@pytest.mark.parametrize("name", MADE)
def test_chance_is_the_best_that_ignores_the_past(name):
    """Loss and error of the best constant prediction at each step, on many sequences."""
    task = MADE[name]
    _, y = task.batch(20_000, rng=1)
    steps = y.shape[1]
    if task.loss == "squared":
        best = y.mean(axis=0)
        loss = ((y - best) ** 2).mean()
        error = (np.abs(y - np.round(best)) > task.problem.tolerance).mean()
    else:
        shares = np.stack(
            [np.bincount(y[:, t, 0].astype(int), minlength=task.n_outputs) for t in range(steps)]
        ) / len(y)
        logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
        loss = -(shares * logs).sum(axis=1).mean()
        error = (1 - shares.max(axis=1))[-task.problem.n_scored :].mean()
    assert loss == pytest.approx(task.chance_loss, rel=0.02)
    assert error == pytest.approx(task.chance_error, rel=0.02)


@pytest.mark.parametrize("name", MADE)
def test_batches_have_addresses(name):
    """Equal seeds give equal batches; another net, number or seed gives another."""
    task = MADE[name]
    one = task.batch(4, rng=1, net=2, number=3)
    assert all((a == b).all() for a, b in zip(one, task.batch(4, rng=1, net=2, number=3)))
    for other in ({"net": 1}, {"number": 4}, {"rng": 2}):
        changed = task.batch(4, **{"rng": 1, "net": 2, "number": 3, **other})
        assert (changed[0] != one[0]).any()


def test_lengths_are_one_for_a_batch_and_uniform_over_batches():
    task = tasks.temporal_order((10, 14))
    lengths = [task.batch(3, rng=1, number=k)[0].shape[1] for k in range(500)]
    counts = np.bincount(lengths, minlength=15)[10:]
    assert counts.sum() == 500
    assert ((counts - 100) ** 2 / 100).sum() < 4 + 5 * 8**0.5
    one = tasks.adding((5, 9)).batch(8, rng=3)
    assert (one[0][..., 1].sum(axis=1) == 2).all()


def test_examples_come_at_random_or_in_turn():
    inputs, targets = np.arange(12.0).reshape(6, 2, 1), np.arange(6)[:, None]
    turn = tasks.examples(inputs, targets, shuffle=False)
    for number, first in ((0, 0), (1, 3), (2, 0)):
        u, y = turn.batch(3, number=number)
        assert (u == inputs[first : first + 3]).all()
        assert (y[..., 0] == targets[first : first + 3]).all()
    u, y = tasks.examples(inputs, targets).batch(600, rng=1)
    assert (u[:, 0, 0] == 2 * y[:, 0, 0]).all()
    assert np.bincount(y.ravel().astype(int)).min() > 50
    assert turn.chance_loss == pytest.approx(np.log(6))
    assert turn.chance_error == pytest.approx(5 / 6)
    squared = tasks.examples(inputs, inputs, loss="squared")
    assert squared.chance_loss == pytest.approx(np.mean((inputs - inputs.mean((0, 1))) ** 2))


def test_digits_are_read_pixel_by_pixel():
    pytest.importorskip("sklearn")
    task, permuted = tasks.digits(), tasks.digits(permuted=True)
    assert (task.n_steps, task.n_inputs, task.n_outputs) == (64, 1, 10)
    train, test = (len(p.inputs) for p in (task.problem, task.test_problem))
    assert (train, test) == (1438, 359)
    assert 0 <= task.problem.inputs.min() < task.problem.inputs.max() <= 1
    pairs = (task.problem, permuted.problem), (task.test_problem, permuted.test_problem)
    for problem, other in pairs:
        assert (np.sort(problem.inputs, axis=1) == np.sort(other.inputs, axis=1)).all()
        assert (problem.inputs != other.inputs).any()
    cell = vg.GRU.draw(2, 12, n_inputs=1, rng=1)
    found = vg.training.train(cell, task, 60, optimiser="adam", learning_rate=0.01, rng=1)
    assert (found.test_loss[:, -1] < task.chance_loss).all()
    assert (found.test_error[:, -1] < task.chance_error).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tasks.adding(1), "n_steps: found 1, expected an integer of at least 2"),
        (lambda: tasks.adding((9, 5)), "n_steps: found 5, expected an integer of at least 9"),
        (lambda: tasks.temporal_order(9), "n_steps: found 9, expected an integer of at least 10"),
        (lambda: tasks.temporal_order(20, n_marks=4), "n_marks: found 4"),
        (lambda: tasks.copy_memory(0), "delay: found 0"),
        (lambda: tasks.delayed_recall(5, 5), "n_steps: found 5, expected an integer of at least 6"),
        (lambda: tasks.examples(np.zeros((3, 4, 1)), np.zeros((3, 5))), "5 steps with a target"),
        (lambda: tasks.examples(np.zeros((3, 4, 1)), np.zeros((2, 1))), "targets: found shape"),
        (lambda: tasks.examples(np.zeros((3, 4, 1)), np.full((3, 1), 0.5)), "numbers of classes"),
        (
            lambda: tasks.examples(np.zeros((3, 4, 1)), np.full((3, 1), 7), n_outputs=5),
            "n_outputs: found 5",
        ),
        (
            lambda: tasks.examples(
                np.zeros((3, 4, 1)), np.zeros((3, 1)), test=(np.zeros((3, 5, 1)), np.zeros((3, 1)))
            ),
            "test: found inputs of shape",
        ),
        (
            lambda: vg.training.train(
                vg.RNN.draw(1, 2, n_inputs=1, rng=1),
                tasks.examples(np.zeros((6, 4, 1)), np.zeros((6, 1)), shuffle=False),
                1,
                batch=4,
            ),
            "batch: found 4, which does not divide the 6 examples taken in turn; take 3",
        ),
    ],
)
def test_bad_tasks_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
