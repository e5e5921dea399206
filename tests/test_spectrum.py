"""Spectral radius by repeated squaring, against eigenvalues and where those are known exactly."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, stats

import vgcore as vg

SIZES = (1, 2, 3, 8, 17, 32, 65, 128)


def gaussian(n, n_draws=20, seed=1):
    return np.random.default_rng([seed, n]).normal(size=(n_draws, n, n)) / np.sqrt(n)


def haar(n, seed=1):
    return stats.ortho_group.rvs(n, random_state=seed)


def relative_error(found, expected):
    return np.abs(found / expected - 1).max()


@pytest.mark.parametrize("n", SIZES)
def test_gaussian_matrices_have_the_radius_of_their_eigenvalues(n):
    W = gaussian(n)
    expected = [naive.spectral_radius(w) for w in W]
    assert relative_error(vg.spectral_radius(W), expected) < 1e-12


def test_float32_matrices_are_taken_as_they_are():
    W = gaussian(16).astype(np.float32)
    found = vg.spectral_radius(W)
    assert found.dtype == np.float64
    assert (found == vg.spectral_radius(W.astype(np.float64))).all()


@pytest.mark.parametrize("n", [2, 5, 32])
def test_orthogonal_matrices_have_radius_one_though_no_eigenvalue_stands_out(n):
    W = np.stack([haar(n), np.eye(n), -np.eye(n), np.eye(n)[np.roll(np.arange(n), 1)]])
    assert relative_error(vg.spectral_radius(W), 1.0) < 1e-11


@pytest.mark.parametrize("n", [4, 24])
def test_symmetric_and_antisymmetric_matrices(n):
    W = gaussian(n)
    for sign in (1, -1):
        matrices = W + sign * W.transpose(0, 2, 1)
        expected = [naive.spectral_radius(w) for w in matrices]
        assert relative_error(vg.spectral_radius(matrices), expected) < 2e-10


@pytest.mark.parametrize("eigenvalue", [1e-9, 0.01, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("n", [2, 16, 128])
def test_a_jordan_block_has_its_eigenvalue(n, eigenvalue):
    W = eigenvalue * np.eye(n) + np.eye(n, k=1)
    shuffle = np.random.default_rng(1).permutation(n)
    found = vg.spectral_radius([W, W.T, W[np.ix_(shuffle, shuffle)], 1e3 * W])
    assert relative_error(found, [eigenvalue, eigenvalue, eigenvalue, 1e3 * eigenvalue]) < 1e-8


def test_a_dense_defective_matrix_needs_every_squaring_and_gets_within_1e_8():
    W = np.array([[2.0, -1.0], [1.0, 0.0]])  # W^t = I + t (W - I): the norm grows, the radius is 1
    assert relative_error(vg.spectral_radius(W[None]), 1.0) < 1e-8


def test_nilpotent_matrices_have_radius_zero_exactly():
    n = 24
    strict = np.tril(gaussian(n)[0], -1)
    shuffle = np.random.default_rng(2).permutation(n)
    small = np.array([[1.0, -1.0], [1.0, -1.0]])
    dense = np.kron(np.ones((n // 2, n // 2)), small)
    W = np.stack([strict, strict.T, strict[np.ix_(shuffle, shuffle)], dense, np.zeros((n, n))])
    assert (vg.spectral_radius(W) == 0).all()


def test_one_by_one_matrices_are_their_modulus():
    values = np.array([3.0, -0.1, 0.0, 1e-310, -1.7e308, 5e-324])
    assert (vg.spectral_radius(values[:, None, None]) == np.abs(values)).all()


def test_entries_of_opposite_extremes():
    W = [[[0, 1e300], [1e-300, 0]], [[1e-300, 1e300], [0, 1e-300]], [[1e300, 1], [1, 1e-300]]]
    assert relative_error(vg.spectral_radius(W), [1, 1e-300, 1e300]) < 1e-14
    n = 40
    cycle = np.eye(n, k=1)
    cycle[-1, 0] = 1e-300
    assert relative_error(vg.spectral_radius(cycle[None]), 1e-300 ** (1 / n)) < 1e-10


def test_a_slower_eigenvalue_is_not_mistaken_for_one_that_leaves_no_trace():
    # a cycle of length 3 has eigenvalues of modulus 1, and trace 0 at every power of two
    for slow in (0.5, 0.9, 0.999):
        W = np.zeros((4, 4))
        W[0, 1] = W[1, 2] = W[2, 0] = 1
        W[3, 3] = slow
        Q = haar(4)
        assert relative_error(vg.spectral_radius([Q @ W @ Q.T]), 1.0) < 1e-11


@given(
    blocks=st.lists(
        st.tuples(st.integers(1, 5), st.sampled_from([0.2, 0.5, 0.9, 0.99, 1.0])),
        min_size=1,
        max_size=4,
    )
)
def test_cycles_side_by_side_behind_a_rotation(blocks):
    W = linalg.block_diag(*(size * np.roll(np.eye(n), 1, axis=0) for n, size in blocks))
    Q = haar(len(W)) if len(W) > 1 else np.eye(1)
    expected = max(size for _, size in blocks)
    assert relative_error(vg.spectral_radius([Q @ W @ Q.T]), expected) < 1e-10


@given(n=st.integers(1, 20), exponent=st.integers(-900, 900), seed=st.integers(0, 99))
def test_scaling_by_a_power_of_two_is_exact(n, exponent, seed):
    W = gaussian(n, 2, seed)
    scaled = vg.spectral_radius(np.ldexp(W, exponent))
    assert (scaled == np.ldexp(vg.spectral_radius(W), exponent)).all()


@given(n=st.integers(1, 20), factor=st.floats(1e-200, 1e200), seed=st.integers(0, 99))
def test_scaling_permuting_and_transposing_change_no_more_than_rounding(n, factor, seed):
    W = gaussian(n, 2, seed)
    radius = vg.spectral_radius(W)
    shuffle = np.random.default_rng(seed).permutation(n)
    assert relative_error(vg.spectral_radius(W * factor), radius * factor) < 1e-11
    assert relative_error(vg.spectral_radius(W.transpose(0, 2, 1)), radius) < 1e-11
    assert relative_error(vg.spectral_radius(W[:, shuffle][:, :, shuffle]), radius) < 1e-11


def test_badly_scaled_matrices_are_balanced():
    W = gaussian(30)
    scale = np.exp2(np.random.default_rng(3).integers(-200, 200, 30))
    found = vg.spectral_radius(W * scale[:, None] / scale)
    assert relative_error(found, vg.spectral_radius(W)) < 1e-11


def test_threads_and_the_position_in_the_batch_change_no_bit():
    W = gaussian(17, 40)
    radius = vg.spectral_radius(W, n_threads=1)
    for n_threads in (2, 3, None):
        assert (vg.spectral_radius(W, n_threads=n_threads) == radius).all()
    assert (vg.spectral_radius(W[::-1]) == radius[::-1]).all()
    assert (vg.spectral_radius(W[7:8]) == radius[7]).all()
    assert (vg.spectral_radius(np.asfortranarray(W)) == radius).all()


def test_no_draws_give_no_radii():
    assert vg.spectral_radius(np.empty((0, 4, 4))).shape == (0,)


@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.eye(3), r"W: found shape \(3, 3\), expected \(n_draws, N, N\)"),
        (np.zeros((2, 3, 4)), r"W: found shape \(2, 3, 4\), expected square"),
        (np.zeros((2, 0, 0)), r"W: found shape \(2, 0, 0\), expected square"),
        (np.full((1, 2, 2), np.nan), r"W: found nan at index \(0, 0, 0\)"),
    ],
)
def test_a_bad_matrix_is_named(W, message):
    with pytest.raises(ValueError, match=message):
        vg.spectral_radius(W)


def test_complex_matrices_are_refused():
    with pytest.raises(TypeError, match="W: found dtype complex128"):
        vg.spectral_radius(np.eye(2)[None] * 1j)
