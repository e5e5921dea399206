"""Normal numbers from a counter: Philox's published answers, the law, and addresses."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from scipy import stats

from vgcore.draws import Draws, normal_block
from vgcore.kernels.normals import _normal_lane, _normal_pair, _philox
from vgcore.streams import Purpose, Streams

EXPECTED = [0.8126249683566078, -0.9369329015334731, 1.4669969668686837, -1.2901472609912379]


@njit
def philox(words):
    return _philox(words[0], words[1], words[2], words[3], words[4], words[5])


@njit
def pair(first, second):
    return _normal_pair(first, second)


@pytest.mark.parametrize(
    ("counter_and_key", "answer"),
    [  # kat_vectors of the Random123 library
        ([0] * 6, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 6, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_answers(counter_and_key, answer):
    assert list(philox(np.array(counter_and_key, np.uint64))) == answer


@pytest.mark.parametrize(("spare_first", "spare_second"), [(0, 0), (0, 1), (1, 2), (1, 3)])
def test_a_pair_is_a_radius_and_an_angle(spare_first, spare_second):
    rng = np.random.default_rng(1)
    for _ in range(50):
        m, k = (int(v) for v in rng.integers(2**52, size=2))
        found = pair(np.uint64(m << 12 | spare_first), np.uint64(k << 12 | spare_second))
        radius = np.sqrt(-2.0 * np.log1p(-m / 2**52))
        angle = 2 * np.pi * (k / 2**52 - 0.5) / 4
        expected = [radius * np.cos(angle), radius * np.sin(angle)]
        expected[0] *= -1 if spare_first & 1 else 1
        expected[1] *= -1 if spare_second & 1 else 1
        if spare_second & 2:
            expected.reverse()
        np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_the_ends_of_the_words_give_finite_numbers():
    top = 2**64 - 1
    for first in (0, top):
        for second in (0, top):
            assert np.isfinite(pair(np.uint64(first), np.uint64(second))).all()
    # u = 1 - 2**-52 has the largest radius there is
    assert max(np.abs(pair(np.uint64(top), np.uint64(2**63)))) == pytest.approx(8.49, abs=0.01)


def test_numbers_are_standard_normal_and_independent():
    x = normal_block(Streams.from_rng(5), Purpose.INPUTS, range(100), (4000,))
    assert stats.kstest(x.ravel(), "norm").pvalue > 1e-3
    n = x.size
    assert abs(x.mean()) < 4 / n**0.5
    assert abs(x.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((x**4).mean() - 3) < 4 * (96 / n) ** 0.5
    for lag in (1, 2, 3, 7):  # numbers of a pair are one apart
        for power in (1, 2):
            a, b = x[:, :-lag].ravel() ** power, x[:, lag:].ravel() ** power
            assert abs(np.corrcoef(a, b)[0, 1]) < 4 / n**0.5
    for power in (1, 2):  # draws of neighbouring addresses
        found = np.corrcoef(x**power)[np.triu_indices(100, 1)]
        assert abs(found.mean()) < 4 / (found.size * 4000) ** 0.5
        assert found.std() == pytest.approx(4000**-0.5, rel=0.1)
    tail = np.abs(x) > 3.5
    assert tail.mean() == pytest.approx(2 * stats.norm.sf(3.5), rel=0.3)


def test_a_draw_does_not_depend_on_its_block():
    streams = Streams.from_rng(0)
    whole = normal_block(streams, Purpose.INPUTS, range(9), (5, 3))
    for draw in range(9):
        alone = normal_block(streams, Purpose.INPUTS, range(draw, draw + 1), (5, 3))
        assert (alone[0] == whole[draw]).all()


def test_a_longer_stream_begins_alike():
    key, stream = np.uint64(3), np.uint64(4)
    whole = np.empty(101)
    _normal_lane(key, stream, np.uint64(0), whole)
    for n in range(101):
        part = np.empty(n)
        _normal_lane(key, stream, np.uint64(0), part)
        assert (part == whole[:n]).all()


def test_streams_of_draws_purposes_and_keys_differ():
    keys = [Streams.from_rng(seed).key for seed in range(4)]
    starts = [
        tuple(row)
        for key in keys
        for purpose in Purpose
        for row in normal_block(Streams(key), purpose, range(20), (2,))
    ]
    assert len(set(starts)) == len(keys) * len(Purpose) * 20


@pytest.mark.jit_off
def test_a_few_numbers_stay_what_they_are():
    """So that a study is the same from version to version."""
    found = normal_block(Streams((1, 2)), Purpose.INPUTS, range(7, 8), (4,))[0]
    np.testing.assert_allclose(found, EXPECTED, rtol=1e-14)


def test_numbers_taken_one_after_another_do_not_overlap():
    streams = Streams.from_rng(2)
    numbers = Draws(streams, Purpose.WEIGHTS, range(4))
    first, second = numbers.uniform(3), numbers.normal(2, 2)
    third = numbers.uniform(5)
    # an odd count takes a whole pair, so that what follows is at a place of its own
    whole = Draws(streams, Purpose.WEIGHTS, range(4)).uniform(20)
    np.testing.assert_array_equal(first, whole[:, :3])
    np.testing.assert_array_equal(third, whole[:, 8:13])
    assert second.shape == (4, 2, 2)
    normals = Draws(streams, Purpose.WEIGHTS, range(4)).normal(8)
    np.testing.assert_array_equal(second.reshape(4, 4), normals[:, 4:])


def test_uniform_numbers_are_uniform_inside_the_unit_interval():
    x = Draws(Streams.from_rng(6), Purpose.WEIGHTS, range(200)).uniform(999)
    assert 0 < x.min() < 1e-4
    assert 1 - 1e-4 < x.max() < 1
    assert stats.kstest(x.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(x[:, :-1].ravel(), x[:, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(x[:-1].ravel(), x[1:].ravel())[0, 1]) < 0.01


def test_numbers_do_not_depend_on_threads_or_the_range_of_draws():
    streams = Streams.from_rng(7)
    for make in (Draws.normal, Draws.uniform):
        whole = make(Draws(streams, Purpose.WEIGHTS, range(50), 1), 7, 3)
        np.testing.assert_array_equal(
            whole, make(Draws(streams, Purpose.WEIGHTS, range(50), 3), 7, 3)
        )
        part = make(Draws(streams, Purpose.WEIGHTS, range(20, 23)), 7, 3)
        np.testing.assert_array_equal(whole[20:23], part)
