"""Padded vector and matrix routines, against NumPy and under other processors."""

from __future__ import annotations

import itertools
import math
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from llvmlite import binding
from numba import config, njit
from numba.core.errors import TypingError

import vgcore as vg
from vgcore.kernels.layout import _pack_columns, _pack_rows
from vgcore.kernels.vectors import (
    BYTES,
    _exponent,
    _matmat,
    _max_abs,
    _multiply_rows,
    _scale_exact,
    _sum_squares,
    _turn,
    _vecmat,
    aligned_zeros,
    padded,
    panel_size,
)

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1, 2, 7, 8, 15, 16, 17, 33, 64, 65, 130)
DTYPES = ("float32", "float64")
N_STEPS = 3 if config.DISABLE_JIT else 2000

compiled = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="bits are promised for compiled routines, not for their twins"
)


@njit
def turn(W, first, begin, count, out, line, step, place):
    _turn(W, first, begin, count, out, line, step, place)


@njit
def vecmat(x, M, start, y):
    _vecmat(x, M, start, y)


@njit
def matmat(A, B, C):
    _matmat(A, B, C)


@njit
def max_abs(x):
    return _max_abs(x)


@njit
def sum_squares(x):
    return _sum_squares(x)


@njit
def multiply_rows(X, M, panel, reverse, start, Y, squares):
    return _multiply_rows(X, M, panel, reverse, start, Y, squares)


@njit
def pack_rows(matrix, out, panel):
    _pack_rows(matrix, out, panel)


@njit
def pack_columns(matrix, out, panel):
    _pack_columns(matrix, out, panel)


def panels_of(n, dtype):
    """The most vectors in a row of a panel, for one row and for rows that share the matrix."""
    return {panel_size(n, dtype, 1), panel_size(n, dtype, 4)}


def in_panels(M, panel):
    """Pack padded matrices (D, n, P) in panels."""
    out = aligned_zeros(M.shape, M.dtype)
    for matrix, packed in zip(M, out, strict=True):
        pack_rows(np.ascontiguousarray(matrix[:, : len(matrix)]), packed, panel)
    return out


def in_padded(array):
    """Copy an array into zero-padded rows."""
    out = aligned_zeros((*array.shape[:-1], padded(array.shape[-1], array.dtype)), array.dtype)
    out[..., : array.shape[-1]] = array
    return out


def sample(n, dtype, seed=1):
    """One matrix and two vectors, with entries of very different sizes."""
    rng = np.random.default_rng([seed, n])
    M, x, start = rng.normal(size=(n, n)), rng.normal(size=n), rng.normal(size=n)
    return M.astype(dtype), (x * np.exp(3 * x)).astype(dtype), start.astype(dtype)


def within_rounding(found, exact, magnitude, n):
    """Whether a sum of n products is as near as rounding lets it be."""
    return np.abs(found - exact) <= (n + 2) * np.finfo(found.dtype).eps * magnitude


def results():
    """What every routine gives at every size, to compare bits between processors."""
    found = {}
    for dtype in DTYPES:
        for n in SIZES:
            M, x, start = (in_padded(array) for array in sample(n, dtype))
            y, C, scaled = np.zeros_like(x), np.zeros_like(M), M.copy()
            vecmat(x, M, start, y)
            matmat(M, M, C)
            _scale_exact(scaled, -150)
            reduced = np.array([max_abs(x), max_abs(M), sum_squares(x), sum_squares(M)])
            parts = {"vecmat": y, "matmat": C, "scaled": scaled, "reduced": reduced}
            found |= {f"{name} {dtype} {n}": value for name, value in parts.items()}
        for n, k in ((16, 1), (40, 1), (40, 9)):  # rows side by side or not; 2,000 chaotic steps
            cell = vg.RNN.draw(3, n, gain=3.0, dtype=dtype, rng=1)
            options = {"n_trajectories": k, "rng": 2, "n_threads": 1}
            profile = vg.gradient_profile(cell, N_STEPS, **options)
            found[f"profile {dtype} {n} {k}"] = profile.log_norm
    for n in (5, 17):
        W = np.stack([sample(n, "float64", seed)[0] for seed in range(3)])
        found[f"radius {n}"] = vg.spectral_radius(W, n_threads=1)
    return found


def results_elsewhere(folder, **settings):
    """Return the results of a process of its own with these environment variables."""
    path = folder / "results.npz"
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
        "import numpy, test_vectors; numpy.savez(sys.argv[1], **test_vectors.results())"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache")} | settings
    subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=True)
    with np.load(path) as archive:
        return dict(archive)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_vecmat_is_numpys_to_rounding_and_leaves_the_padding_zero(n, dtype):
    M, x, start = sample(n, dtype)
    y = in_padded(np.full(n, np.nan, dtype))
    vecmat(in_padded(x), in_padded(M), in_padded(start), y)
    wide = [array.astype(np.longdouble) for array in (M, x, start)]
    exact = wide[2] + wide[1] @ wide[0]
    magnitude = abs(wide[2]) + abs(wide[1]) @ abs(wide[0])
    assert within_rounding(y[:n], exact, magnitude, n).all()
    assert (y[n:] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_vecmat_takes_rectangles_and_may_overwrite_its_start(dtype):
    rng = np.random.default_rng(2)
    for n, columns in ((0, 5), (3, 70), (70, 3)):
        M = rng.normal(size=(n, columns)).astype(dtype)
        x, start = rng.normal(size=n).astype(dtype), rng.normal(size=columns).astype(dtype)
        y = in_padded(start)
        vecmat(x, in_padded(M), y, y)
        np.testing.assert_allclose(y[:columns], start + x @ M, rtol=1e-4, atol=1e-4)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_vecmat_gives_the_same_bits_wherever_its_operands_lie(dtype):
    n = 33
    M, x, start = sample(n, dtype)
    y = in_padded(start)
    vecmat(x, in_padded(M), y, y)
    stack = in_padded(np.stack([np.full_like(M, np.nan), M, np.full_like(M, np.nan), M]))
    longer = np.concatenate([np.full(3, np.nan, dtype), x, np.full(2, np.nan, dtype)])
    rows = in_padded(np.full((4, n), np.nan, dtype))
    for place in (1, 3):
        vecmat(longer[3 : 3 + n], stack[place], in_padded(start), rows[place])
        assert (rows[place] == y).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_matmat_is_numpys_to_rounding_and_leaves_the_padding_zero(n, dtype):
    M, other = sample(n, dtype)[0], sample(n, dtype, seed=2)[0]
    C = in_padded(np.full((n, n), np.nan, dtype))
    matmat(in_padded(M), in_padded(other), C)
    wide, wide_other = M.astype(np.longdouble), other.astype(np.longdouble)
    assert within_rounding(C[:, :n], wide @ wide_other, abs(wide) @ abs(wide_other), n).all()
    assert (C[:, n:] == 0).all()


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 3, 8, 15, 23])
def test_each_row_of_matmat_depends_on_that_row_of_a_alone(m, dtype):
    B = in_padded(sample(33, dtype)[0])
    wider = np.random.default_rng(3).normal(size=(m, 40))  # columns past 33 are passed over
    A = wider.astype(dtype)
    C, row = aligned_zeros((m, B.shape[1]), dtype), aligned_zeros((1, B.shape[1]), dtype)
    matmat(A, B, C)
    for i in range(m):
        matmat(A[i : i + 1], B, row)
        assert (C[i] == row[0]).all()
    np.testing.assert_allclose(C[:, :33], A[:, :33] @ B[:, :33], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_reductions_are_numpys(n, dtype):
    M, x, _ = sample(n, dtype)
    for array in (M, x):
        assert max_abs(in_padded(array)) == np.abs(array).max()
        exact = (array.astype(np.longdouble) ** 2).sum()
        found = sum_squares(in_padded(array))
        assert isinstance(found, float) or found.dtype == dtype
        np.testing.assert_allclose(
            float(found), float(exact), rtol=1e-5 if dtype == "float32" else 1e-14
        )


def rows_of(n, dtype, D, K):
    """D matrices, and K rows of two vectors for each; all padded."""
    samples = [sample(n, dtype, seed) for seed in range(D * K)]
    M = in_padded(np.stack([samples[d * K][0] for d in range(D)]))
    return M, *(in_padded(np.stack([row[which] for row in samples])) for which in (1, 2))


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("D", "K"), [(1, 1), (3, 1), (2, 3), (1, 4), (2, 7), (1, 16)])
@pytest.mark.parametrize("n", [*SIZES, 40, 90, 100, 270])
def test_each_of_several_rows_has_the_bits_it_has_alone(n, D, K, dtype):
    """However many rows share a matrix, and from whichever end its rows are taken."""
    M, X, start = rows_of(n, dtype, D, K)
    P = X.shape[1]
    few = P * np.dtype(dtype).itemsize <= 4 * 64
    for reverse, panel in itertools.product((0, 1), panels_of(n, dtype)):
        packed = in_panels(M, panel)
        Y, squares = np.full_like(X, np.nan), aligned_zeros(D * K, dtype)
        back = slice(None, None, -1 if reverse and not few else 1)
        multiply_rows(X.ravel(), packed, panel, reverse, start.ravel(), Y.reshape(-1), squares)
        assert squares.tolist() == [sum_squares(x) for x in X]
        alone = np.empty_like(Y)
        for r, x in enumerate(X):
            matrix = in_padded(M[r // K][back])
            vecmat(np.ascontiguousarray(x[:n][back]), matrix, start[r], alone[r])
            assert (Y[r] == alone[r]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_products_of_rows_are_numpys(n, dtype):
    M, X, start = rows_of(n, dtype, 2, 3)
    Y, squares = np.empty_like(X), aligned_zeros(6, dtype)
    exact = (X[:, None, :n].astype(float) @ np.repeat(M, 3, axis=0))[:, 0]
    size = (np.abs(X[:, None, :n]).astype(float) @ np.abs(np.repeat(M, 3, axis=0)))[:, 0]
    for panel in panels_of(n, dtype):
        packed = in_panels(M, panel)
        multiply_rows(X.ravel(), packed, panel, 1, start.ravel(), Y.reshape(-1), squares)
        assert within_rounding(Y, start + exact, np.abs(start) + size, n).all()
        np.testing.assert_allclose(squares, (X.astype(float) ** 2).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_columns_are_packed_as_rows_of_the_transpose(n, dtype):
    M, _, _ = rows_of(n, dtype, 2, 1)
    for panel in panels_of(n, dtype):
        columns = aligned_zeros(M.shape, dtype)
        for matrix, out in zip(M, columns, strict=True):
            pack_columns(np.ascontiguousarray(matrix[:, :n].T), out, panel)
        assert (columns == in_panels(M, panel)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_out_of_range_are_told(dtype):
    M, X, _ = rows_of(5, dtype, 3, 1)
    M[:] = 0.0
    M[:, range(5), range(5)] = 1.0
    zeros = np.zeros(X.size, dtype)
    Y, squares = np.empty(X.size, dtype), aligned_zeros(3, dtype)
    edge = 60.0 if dtype == "float32" else 220.0
    for r in range(3):
        for value, outside in [
            (2.0**-40, 0), (2.0**30, 0), (0.0, 1), (2.0**-edge, 1), (2.0**edge, 1), (np.nan, 1),
            (np.inf, 1),
        ]:  # fmt: skip
            X[:, :5] = 1.0
            X[r, :5] = value
            assert multiply_rows(X.ravel(), M, 8, 0, zeros, Y, squares) == outside


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 8, 15, 16, 17, 40])
def test_turned_rows_are_columns_and_the_rest_stays_as_it_is(count, dtype):
    lanes = BYTES // np.dtype(dtype).itemsize
    W = np.arange((lanes + 3) * 43, dtype=dtype).reshape(lanes + 3, 43)
    for step in (1, 4):
        found = np.full((2 + count * step, 2 * lanes), -1, dtype)
        expected = found.copy()
        turn(W, 3, 2, count, found, 1, step, lanes)
        expected[1 : 1 + count * step : step, lanes:] = W[3:, 2 : 2 + count].T
        assert np.array_equal(found, expected)


def test_max_abs_finds_an_infinity_of_either_sign():
    for value in (np.inf, -np.inf):
        x = in_padded(np.arange(70.0))
        x[66] = value
        assert max_abs(x) == np.inf


@pytest.mark.parametrize(
    "value",
    [1.0, -1.0, 0.1, 2.0, 1.999999, 5e-324, 3e-310, 2.0**-1022, np.nextafter(1, 0), 1.7e308],
)
def test_exponent_is_that_of_frexp_subnormals_included(value):
    assert _exponent(value) == math.frexp(value)[1] - 1


def test_exponent_of_zero_lies_below_and_of_infinity_above_all_others():
    assert _exponent(0.0) < _exponent(5e-324)
    assert _exponent(math.inf) == 1024
    assert _exponent(np.float32(1e-45)) == -149


@pytest.mark.parametrize("dtype", DTYPES)
def test_scale_exact_rounds_once_at_any_exponent(dtype):
    limits = np.finfo(dtype)
    values = [1, -1.5, np.pi, limits.max, limits.tiny, limits.smallest_subnormal, 0, -0.0]
    x = np.array([*values, limits.tiny * 1.37, limits.max * 0.77], dtype)
    widest = limits.maxexp - limits.minexp + 2 * limits.nmant
    for exponent in (*range(-widest, widest, 7), limits.minexp, limits.maxexp, -(10**9), 10**9):
        with np.errstate(all="ignore"):
            y = x.copy()
            _scale_exact(y, exponent)
            assert (y == np.ldexp(x, max(-9999, min(exponent, 9999)))).all()


def test_padded_arrays_start_on_a_cache_line():
    assert [padded(n, "float32") for n in (0, 1, 16, 17)] == [0, 16, 16, 32]
    assert [padded(n, "float64") for n in (0, 1, 8, 9)] == [0, 8, 8, 16]
    for n in range(1, 20):
        array = aligned_zeros((2, padded(n, "float32")), "float32")
        assert array.ctypes.data % 64 == 0
        assert not array.any()


@compiled
def test_a_wrong_kind_of_array_is_named_when_a_kernel_compiles():
    x, M = aligned_zeros(8, "float64"), aligned_zeros((8, 8), "float64")
    with pytest.raises(TypingError, match=r"vecmat: found .*float32"):
        vecmat(x.astype(np.float32), M, x, x)
    with pytest.raises(TypingError, match=r"matmat: found .* expected C-contiguous arrays"):
        matmat(M, M.T, M)


@compiled
def test_plain_twins_give_the_same_to_rounding(tmp_path):
    twins = results_elsewhere(tmp_path, NUMBA_DISABLE_JIT="1")
    for name, value in results().items():
        if name.startswith("profile"):  # chaotic: rounding grows to the size of the result
            continue
        if name.startswith("scaled"):
            assert (twins[name] == value).all()
        scale = np.abs(value).max()
        eps = np.finfo(value.dtype).eps if "float32" not in name else np.finfo(np.float32).eps
        np.testing.assert_allclose(twins[name], value, rtol=1e4 * eps, atol=1e3 * eps * scale)


@compiled
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not binding.get_host_cpu_features().get("fma"),
    reason="needs a processor that runs AVX2 code",
)
def test_an_avx2_target_gives_the_same_bits(tmp_path):
    narrow = results_elsewhere(
        tmp_path, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2,+fma,+bmi,+bmi2"
    )
    for name, value in results().items():
        assert narrow[name].tobytes() == value.tobytes(), name
