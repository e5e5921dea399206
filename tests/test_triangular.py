"""Tiles of matrix products, and the triangular factors of frames made of them."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from vgcore.kernels.tangent import (
    _carry_frame,
    _factor_frame,
    _orthonormalise_frame,
    new_frame,
    new_motion,
)
from vgcore.kernels.tiles import _add_matmat, _row_sums
from vgcore.kernels.vectors import aligned_zeros


@njit
def add_matmat(A, B, C):
    _add_matmat(A, B, C)


@njit
def add_to_part(A, B, C, row, column):
    _add_matmat(A[row:, row:].T, B[row:, column:], C[row:, column:])


@njit
def row_sums(A, x, y):
    _row_sums(A, x, y)


def framed(rows):
    """A frame that holds these rows, eliminated, and its rank."""
    m, n = rows.shape
    frame = new_frame(n)
    frame.rows[0, :m, :n] = rows
    return frame, _factor_frame(frame, 0, m)


def lower(frame, m):
    """The triangular factor of the last factorisation."""
    return np.diag(frame.diagonal[:m]) - np.tril(frame.L[:m, :m], -1)


def log_diagonal(frame, m):
    return np.log(np.abs(frame.diagonal[:m]))


@pytest.mark.jit_off
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("m", [1, 3, 8, 21])
@pytest.mark.parametrize("n", [1, 8, 19])
def test_a_product_is_added(m, n, dtype):
    rng = np.random.default_rng(1)
    A, B, C = rng.normal(size=(m, n)), rng.normal(size=(n, 48)), rng.normal(size=(m, 48))
    found = C.astype(dtype)
    add_matmat(A.astype(dtype), B.astype(dtype), found)
    np.testing.assert_allclose(found, C + A @ B, rtol=0, atol=60 * np.finfo(dtype).eps)


@pytest.mark.jit_off
def test_a_product_is_added_to_a_part_from_a_part_and_a_transpose():
    rng = np.random.default_rng(2)
    A, B, C = (rng.normal(size=(24, 24)) for _ in range(3))
    expected = C.copy()
    expected[5:, 8:] += A[5:, 5:].T @ B[5:, 8:]
    add_to_part(A, B, C, 5, 8)
    np.testing.assert_allclose(C, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.jit_off
@pytest.mark.parametrize("m", [0, 1, 5, 8])
def test_row_sums_are_a_matrix_times_a_vector(m):
    rng = np.random.default_rng(3)
    A, x, y = rng.normal(size=(m, 40)), rng.normal(size=40), np.full(8, 7.0)
    row_sums(A, x, y)
    np.testing.assert_allclose(y[:m], A @ x, rtol=1e-13, atol=1e-13)
    assert (y[m:] == 7.0).all()


@pytest.mark.jit_off
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9])
def test_a_frame_is_the_product_of_its_factors(n):
    check_factors(n)


@pytest.mark.parametrize("n", [16, 33, 64, 130])
def test_a_frame_of_several_panels_is_the_product_of_its_factors(n):
    check_factors(n)


def check_factors(n):
    rng = np.random.default_rng([4, n])
    for m in {1, (n + 1) // 2, n}:
        rows, M = rng.normal(size=(m, n)), rng.normal(size=(n, n))
        frame, rank = framed(rows)
        U = frame.rows[0, :m, :n].copy()
        assert rank == m
        np.testing.assert_allclose(lower(frame, m) @ U, rows, atol=1e-13 * n)
        assert np.abs(U).max() == 1.0
        pivots = frame.pivots[:m]
        assert (U[range(m), pivots] == 1.0).all()
        assert not np.tril(U[:, pivots], -1).any()
        assert frame.order[:m].tolist() == pivots.tolist()
        assert sorted(frame.order) == list(range(n))
        motion, slope = new_motion(n, np.zeros((1, 1, 0))), np.ones(frame.sums.size)
        motion.forward[:, :n], slope[:n] = M, rng.normal(size=n)
        for factored in (True, False):
            _carry_frame(motion, slope, factored, frame, 0, m)
            expected = U @ M * slope[:n]
            np.testing.assert_allclose(frame.rows[1, :m, :n], expected, atol=1e-13 * n)

        _orthonormalise_frame(frame, 0, m)
        Q = frame.rows[0, :m, :n]
        np.testing.assert_allclose(Q @ Q.T, np.eye(m), atol=1e-14 * n)
        np.testing.assert_allclose(lower(frame, m) @ Q, U, atol=1e-14 * n)
        assert (frame.diagonal[:m] > 0).all()


@pytest.mark.parametrize("n", [1, 5, 33, 64])
def test_volumes_are_those_of_numpys_factors(n):
    rows = np.random.default_rng([8, n]).normal(size=(n, n))
    frame = framed(rows)[0]
    volumes = log_diagonal(frame, n)
    _orthonormalise_frame(frame, 0, n)
    R = np.linalg.qr(rows.T)[1]
    expected = np.log(np.abs(np.diag(R)))
    np.testing.assert_allclose(volumes + log_diagonal(frame, n), expected, atol=1e-11)


@pytest.mark.parametrize("n", [2, 9, 32, 100])
def test_columns_of_any_size_keep_their_own_precision(n):
    """The determinant of A D is that of A times that of D, though D spans 280 orders."""
    rng = np.random.default_rng([5, n])
    A = rng.normal(size=(n, n))
    for span in (1.0, 20.0, 140.0):
        log10_d = rng.uniform(-span, span, n)
        frame, rank = framed(A * 10.0**log10_d)
        assert rank == n
        expected = np.linalg.slogdet(A)[1] + np.log(10) * log10_d.sum()
        assert abs(log_diagonal(frame, n).sum() - expected) < 1e-11 * n


def test_rows_that_depend_on_those_above_are_left_out():
    rows = np.zeros((5, 9))
    rows[0, 3] = rows[1, 3] = 2.0
    rows[2, :2] = rows[4, 1:3] = 1.0
    frame, rank = framed(rows)
    assert rank == 3
    assert frame.pivots[:5].tolist() == [3, -1, 0, -1, 1]
    np.testing.assert_array_equal(frame.rows[0, :3, :4], [[0, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0]])
    assert sorted(frame.order) == list(range(9))


@pytest.mark.jit_off
def test_dead_rows_above_others_leave_their_factors_alone():
    rows = np.random.default_rng(9).normal(size=(11, 12))
    rows[2], rows[5] = 0.0, 0.0
    frame, rank = framed(rows)
    assert rank == 9
    alive = frame.pivots[:11] >= 0
    assert alive.tolist() == [i not in (2, 5) for i in range(11)]
    L = lower(frame, 11)[:, alive]
    np.testing.assert_allclose(L @ frame.rows[0, :9, :12], rows, atol=1e-13)


@pytest.mark.parametrize("scale", [1e-305, 1e305])
def test_rows_near_the_ends_of_the_range_are_divided_by_their_pivots(scale):
    rows = np.random.default_rng(10).uniform(-1.0, 1.0, size=(5, 5))
    found, plain = framed(scale * rows)[0], framed(rows)[0]
    np.testing.assert_allclose(found.rows[0], plain.rows[0], atol=1e-12)
    np.testing.assert_allclose(log_diagonal(found, 5), log_diagonal(plain, 5) + np.log(scale))


def test_zero_columns_bound_the_rank():
    rows = np.random.default_rng(6).normal(size=(40, 40))
    rows[:, ::2] = 0.0
    frame, rank = framed(rows)
    assert rank == 20
    assert (frame.pivots[20:] == -1).all()


@pytest.mark.parametrize("lost", [slice(0, 13), slice(4, 6), slice(12, 13)])
def test_order_names_every_column_once_where_rows_have_overflowed(lost):
    rows = np.random.default_rng(8).normal(size=(13, 13))
    rows[lost] = np.nan
    frame, rank = framed(rows)
    assert rank == 13
    assert sorted(frame.order) == list(range(13))
    assert np.isnan(frame.diagonal[lost]).all()


def test_padding_stays_zero():
    frame, rank = framed(np.random.default_rng(7).normal(size=(13, 13)))
    assert not frame.rows[:, :, 13:].any()
    assert frame.order.max() < 13
    _orthonormalise_frame(frame, 0, rank)
    assert not frame.rows[:, :, 13:].any()


def test_scratch_is_aligned():
    frame = new_frame(9)
    for array in (frame.rows, frame.L, frame.alive, frame.sums):
        assert array.ctypes.data % 64 == 0
    assert aligned_zeros((2, 8), float).ctypes.data % 64 == 0
