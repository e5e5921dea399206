"""Tiles of matrix products, and the LQ factorisation made of them."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from vgcore.kernels.tangent import _carry_frame, _factor_frame, new_frame, new_motion
from vgcore.kernels.tiles import _add_matmat, _row_sums
from vgcore.kernels.vectors import aligned_zeros

SIZES = (1, 2, 7, 8, 9, 16, 33, 64, 130)


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
    """A frame that holds these rows, factored, and its rank."""
    m, n = rows.shape
    frame = new_frame(n)
    frame.rows[:m, :n] = rows
    return frame, _factor_frame(frame, m)


def log_diagonal(frame, m):
    return np.log(np.abs(frame.diagonal[:m])) + np.log(2) * frame.exponents[:m]


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
def test_factors_are_those_of_numpy_up_to_signs(n):
    check_against_numpy(n)


@pytest.mark.parametrize("n", [16, 33, 64, 130])
def test_factors_of_several_panels_are_those_of_numpy_up_to_signs(n):
    check_against_numpy(n)


def check_against_numpy(n):
    rng = np.random.default_rng([4, n])
    for m in {1, (n + 1) // 2, n}:
        rows, M = rng.normal(size=(m, n)), rng.normal(size=(n, n))
        frame, rank = framed(rows)
        assert rank == m
        assert frame.pivots[:m].tolist() == list(range(m))
        Q, R = np.linalg.qr(rows.T)
        np.testing.assert_allclose(np.exp(log_diagonal(frame, m)), np.abs(np.diag(R)), rtol=1e-11)
        signs = np.sign(np.diag(R)) * np.sign(frame.diagonal[:m])
        lower = np.tril((R * signs[:, None]).T, -1)
        np.testing.assert_allclose(np.tril(frame.L[:m, :m], -1), lower, atol=1e-11)
        motion = new_motion(n, np.zeros((1, 1, 0)))
        motion.forward[:, :n] = M
        _carry_frame(motion, np.ones_like(motion.slope), False, m, frame)
        np.testing.assert_allclose(frame.rows[:m, :n], signs[:, None] * (Q.T @ M), atol=1e-11)


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
    assert frame.pivots[:5].tolist() == [0, -1, 1, -1, 2]


def test_zero_columns_bound_the_rank():
    rows = np.random.default_rng(6).normal(size=(40, 40))
    rows[:, ::2] = 0.0
    frame, rank = framed(rows)
    assert rank == 20
    assert (frame.pivots[20:] == -1).all()


def test_padding_stays_zero():
    frame = framed(np.random.default_rng(7).normal(size=(13, 13)))[0]
    assert not frame.L[:, 13:].any()
    assert not frame.V[:, :, 13:].any()
    assert frame.order[:13].max() < 13


def test_scratch_is_aligned():
    for array in new_frame(9)[:4]:
        assert array.ctypes.data % 64 == 0
    assert aligned_zeros((2, 8), float).ctypes.data % 64 == 0
