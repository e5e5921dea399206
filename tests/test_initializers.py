"""draw_weights: the law of each initializer, exact scaling, and addresses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import vgcore as vg
from vgcore.initializers import INITIALIZERS
from vgcore.streams import Purpose, Streams
from vgcore.theory.mean_field import critical_gain

OWN_GAIN = {
    "gaussian": 1.0, "uniform": 1.0, "xavier_normal": 1.0, "xavier_uniform": 1.0,
    "kaiming_normal": 2**0.5, "kaiming_uniform": 2**0.5, "lecun_normal": 1.0, "orthogonal": 1.0,
    "identity": 1.0, "sparse": 1.0, "antisymmetric": 1.0, "critical": 1.0,
    "torch": 3**-0.5,
}  # fmt: skip
NORMAL = ["gaussian", "xavier_normal", "kaiming_normal", "lecun_normal", "critical"]
UNIFORM = ["uniform", "xavier_uniform", "kaiming_uniform", "torch"]


def test_the_table_holds_every_law_of_the_design():
    assert set(INITIALIZERS) == set(OWN_GAIN)


@pytest.mark.parametrize("gain", [None, 0.7])
@pytest.mark.parametrize("init", INITIALIZERS)
def test_entries_have_mean_square_gain_squared_over_n(init, gain):
    n = 60
    W = vg.draw_weights(init, 50, n, gain=gain, rng=1)
    mean_square = (W**2).mean()
    wanted = (OWN_GAIN[init] if gain is None else gain) ** 2 / n
    # 180,000 entries (half of them free in an antisymmetric matrix, whose diagonal is 0)
    factor = 1 - 1 / n if init == "antisymmetric" else 1
    assert mean_square == pytest.approx(factor * wanted, rel=0.02)


@pytest.mark.parametrize("init", NORMAL)
def test_normal_laws_are_normal_and_independent(init):
    W = vg.draw_weights(init, 30, 20, gain=1.0, rng=3) * 20**0.5
    assert stats.kstest(W.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(W[:, 0, 0], W[:, 0, 1])[0, 1]) < 0.6
    assert (
        abs(np.mean(W * W.transpose(0, 2, 1)) - 1 / 20) < 0.03
    )  # only the diagonal pairs with itself


@pytest.mark.parametrize("init", UNIFORM)
def test_uniform_laws_are_uniform_with_the_stated_bound(init):
    W = vg.draw_weights(init, 30, 20, gain=1.0, rng=3)
    bound = (3 / 20) ** 0.5
    assert np.abs(W).max() <= bound
    assert stats.kstest(W.ravel() / bound, "uniform", args=(-1, 2)).pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 2, 3, 17, 64])
def test_orthogonal_is_orthogonal(n):
    Q = vg.draw_weights("orthogonal", 20, n, rng=2)
    assert np.abs(Q @ Q.transpose(0, 2, 1) - np.eye(n)).max() < 1e-12


def test_orthogonal_is_haar_both_signs_and_even_trace_law():
    """Haar traces have mean 0 and variance 1 for every N >= 1; det is +1 or -1 equally often."""
    for n in (1, 2, 5):
        Q = vg.draw_weights("orthogonal", 4000, n, rng=n)
        trace = np.trace(Q, axis1=1, axis2=2)
        assert abs(trace.mean()) < 4 / 4000**0.5
        assert trace.var() == pytest.approx(1.0, abs=0.12)
        assert abs(np.linalg.det(Q).mean()) < 4 / 4000**0.5
    angle = np.arctan2(*vg.draw_weights("orthogonal", 4000, 2, rng=9)[:, ::-1, 0].T)
    assert stats.kstest(angle, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-3


def test_identity_and_antisymmetric_have_their_form():
    assert np.array_equal(
        vg.draw_weights("identity", 2, 3, gain=0.5), np.tile(0.5 * np.eye(3), (2, 1, 1))
    )
    A = vg.draw_weights("antisymmetric", 3, 10, rng=1)
    assert np.array_equal(A, -A.transpose(0, 2, 1))


@pytest.mark.parametrize(("n", "nonzeros", "expected"), [(40, None, 15), (40, 3, 3), (8, None, 8)])
def test_sparse_has_its_non_zeros_in_every_row(n, nonzeros, expected):
    law = {} if nonzeros is None else {"nonzeros": nonzeros}
    W = vg.draw_weights("sparse", 10, n, rng=1, **law)
    assert ((W != 0).sum(axis=2) == expected).all()
    if n == 40:
        assert ((W != 0).sum(axis=(0, 1)) > 0).all()  # no column is left out by the choice


@pytest.mark.parametrize("radius", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("init", INITIALIZERS)
def test_rescaled_radius_is_exact(init, radius):
    W = vg.draw_weights(init, 10, 30, spectral_radius=radius, rng=4)
    found = np.abs(np.linalg.eigvals(W)).max(axis=1)
    np.testing.assert_allclose(found, radius, rtol=1e-8)


def test_critical_gain_depends_on_activation_and_input():
    def spread(**law):
        return vg.draw_weights("critical", 40, 50, rng=0, **law).std() * 50**0.5

    assert spread() == pytest.approx(1.0, rel=0.02)
    assert spread(activation="sigmoid") == pytest.approx(10.149, rel=0.02)
    assert spread(activation="relu") == pytest.approx(2**0.5, rel=0.02)
    assert spread(input_variance=1.636) == pytest.approx(2.0, rel=0.02)


def test_mean_field_critical_gains_agree_with_the_literature():
    assert critical_gain("tanh") == pytest.approx(1.0, abs=1e-12)
    assert critical_gain("sigmoid") == pytest.approx(10.149, abs=5e-4)
    assert critical_gain("relu") == pytest.approx(2**0.5, abs=1e-12)
    assert critical_gain("linear", 3.0) == pytest.approx(1.0, abs=1e-12)
    assert critical_gain("tanh", 1.636) == pytest.approx(2.0, abs=5e-4)


@given(init=st.sampled_from(sorted(INITIALIZERS)), n=st.integers(2, 12), seed=st.integers(0, 2**64))
def test_same_address_same_matrix(init, n, seed):
    many = vg.draw_weights(init, 5, n, rng=seed)
    assert np.array_equal(many[:2], vg.draw_weights(init, 2, n, rng=seed))
    assert np.array_equal(many, vg.draw_weights(init, 5, n, rng=seed))
    single = vg.draw_weights(init, 5, n, rng=seed, dtype="float32")
    assert np.array_equal(single, many.astype(np.float32))


def test_laws_on_the_same_numbers_give_the_same_matrix_up_to_scale():
    for family in (NORMAL, UNIFORM):
        first, *others = (vg.draw_weights(i, 3, 9, spectral_radius=0.8, rng=5) for i in family)
        for other in others:
            np.testing.assert_allclose(other, first, rtol=1e-12)


def test_streams_do_not_overlap_or_repeat():
    streams = Streams.from_rng(0)
    blocks = [
        tuple(streams.at(purpose, draw).standard_normal(4))
        for purpose in Purpose
        for draw in range(50)
    ]
    assert len(set(blocks)) == len(blocks)
    again = Streams(streams.key).at(Purpose.INPUTS, 7).standard_normal(4)
    assert tuple(again) == tuple(streams.at(Purpose.INPUTS, 7).standard_normal(4))
    assert Streams.from_address(1, "rnn", 64).key != Streams.from_address(1, "rnn", 65).key


def test_streams_accept_what_default_rng_accepts_and_advance_a_generator():
    generator = np.random.default_rng(3)
    first, second = Streams.from_rng(generator).key, Streams.from_rng(generator).key
    assert first == Streams.from_rng(np.random.default_rng(3)).key == Streams.from_rng(3).key
    assert first != second
    assert Streams.from_rng(None).key != Streams.from_rng(None).key


BAD = [
    (("gausian", 2, 3), {}, ValueError, "did you mean 'gaussian'"),
    (("gaussian", 2, 3), {"gain": 1.0, "spectral_radius": 0.9}, ValueError, "drop the other"),
    (("gaussian", 2, 0), {}, ValueError, "n_hidden: found 0"),
    (("gaussian", 0, 3), {}, ValueError, "n_draws: found 0"),
    (("gaussian", 2, 3.5), {}, TypeError, "n_hidden: found 3.5"),
    (("gaussian", 2, 3), {"gain": -1.0}, ValueError, "gain: found -1.0"),
    (("gaussian", 2, 3), {"gain": float("nan")}, ValueError, "gain: found nan"),
    (("gaussian", 2, 3), {"spectral_radius": 0.0}, ValueError, "spectral_radius: found 0.0"),
    (("gaussian", 2, 3), {"dtype": "float16"}, ValueError, "dtype: found float16"),
    (("gaussian", 2, 3), {"dtype": "flaot32"}, TypeError, "'flaot32'"),
    (("gaussian", 2, 3), {"nonzeros": 3}, ValueError, "no keyword 'nonzeros'"),
    (("sparse", 2, 3), {"nonzeros": 9}, ValueError, "nonzeros: found 9"),
    (("antisymmetric", 2, 1), {"spectral_radius": 0.9}, ValueError, "has spectral radius 0"),
    (("critical", 2, 3), {"activation": "tahn"}, ValueError, "did you mean 'tanh'"),
    (("critical", 2, 3), {"input_variance": -1}, ValueError, "input_variance: found -1"),
]


@pytest.mark.parametrize(("arguments", "keywords", "error", "text"), BAD)
def test_bad_arguments_are_named(arguments, keywords, error, text):
    with pytest.raises(error) as caught:
        vg.draw_weights(*arguments, **keywords)
    assert text in str(caught.value)
