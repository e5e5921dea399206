"""Blocks of draws on threads."""

from __future__ import annotations

import threading

import pytest

from vgcore.parallel import over_draws, thread_count


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("n_draws", [0, 1, 2, 7, 8, 100])
def test_every_draw_is_worked_on_once(n_draws, n_threads):
    seen = []
    over_draws(lambda start, stop: seen.extend(range(start, stop)), n_draws, n_threads)
    assert sorted(seen) == list(range(n_draws))


def test_no_block_is_empty_and_a_thread_has_several():
    sizes = []
    over_draws(lambda start, stop: sizes.append(stop - start), 1000, 2)
    assert min(sizes) > 0
    assert len(sizes) > 2 * 4
    assert max(sizes) - min(sizes) <= 1


def test_blocks_run_at_the_same_time():
    barrier = threading.Barrier(2, timeout=20)
    over_draws(lambda start, stop: barrier.wait(), 2, 2)
    assert not barrier.broken


def test_one_thread_works_inline():
    names = set()
    over_draws(lambda start, stop: names.add(threading.current_thread().name), 20, 1)
    assert names == {threading.current_thread().name}


@pytest.mark.parametrize("error", [ValueError("draw 3"), KeyboardInterrupt()])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_exception_is_raised_as_it_is_and_drops_what_is_left(error, n_threads):
    begun = []

    def work(start, stop):
        begun.append(start)
        raise error

    with pytest.raises(type(error)) as caught:
        over_draws(work, 1000, n_threads)
    assert caught.value is error
    assert len(begun) <= n_threads


def test_threads_default_to_the_environment_then_to_the_cpus(monkeypatch):
    monkeypatch.setenv("VGCORE_NUM_THREADS", "3")
    assert thread_count() == 3
    assert thread_count(2) == 2
    monkeypatch.setenv("VGCORE_NUM_THREADS", "")
    assert thread_count() >= 1


@pytest.mark.parametrize("value", ["0", "many", "-1", "1.5"])
def test_a_bad_environment_variable_is_named(monkeypatch, value):
    monkeypatch.setenv("VGCORE_NUM_THREADS", value)
    with pytest.raises(ValueError, match=r"VGCORE_NUM_THREADS: found .* of at least 1"):
        over_draws(lambda start, stop: None, 4)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_bad_number_of_threads_is_named(value, error):
    with pytest.raises(error, match="n_threads: found"):
        over_draws(lambda start, stop: None, 4, value)
