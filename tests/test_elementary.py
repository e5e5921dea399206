"""The elementary functions against mpmath, and their bits against themselves."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from numba import njit

from vgcore.kernels.elementary import _exp_parts, _fma, _log, _log_one

DTYPES = (np.float32, np.float64)


@njit
def fma_each(x, y, z, out):
    for j in range(x.size):
        out[j] = _fma(x[j], y[j], z[j])


@njit
def exp_each(x, low, unit, out):
    for j in range(x.size):
        s, p = _exp_parts(x[j], low[j], unit)
        out[j] = _fma(s, p, s)


def ulps(found, exact, dtype):
    """Distance between each number and its exact value in units of the last place."""
    distances = []
    for number, value in zip(found, exact, strict=True):
        spacing = np.spacing(np.abs(dtype(float(value))))
        distances.append(float(abs(mpmath.mpf(float(number)) - value) / mpmath.mpf(float(spacing))))
    return np.array(distances)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fma_rounds_once(dtype):
    # (1 + e)(1 - e) - 1 = -e^2 exactly, while a rounded product gives 0.
    e = np.finfo(dtype).eps
    x, y, z = (np.full(3, v, dtype) for v in (1 + e, 1 - e, -1.0))
    out = np.empty(3, dtype)
    fma_each(x, y, z, out)
    assert (out == -(e * e)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_is_within_one_ulp_wherever_it_is_normal(dtype):
    rng = np.random.default_rng(1)
    low, high = np.log(np.finfo(dtype).tiny), np.log(np.finfo(dtype).max) - 0.5
    ends = [0.0, -0.0, low + 0.01, high, np.log(2) / 2, -np.log(2) / 2]
    x = np.r_[rng.uniform(low + 0.01, high, 1000), rng.uniform(-1, 1, 1000), ends].astype(dtype)
    out = np.empty_like(x)
    exp_each(x, np.zeros_like(x), dtype(1), out)
    with mpmath.workdps(40):
        assert ulps(out, [mpmath.exp(float(v)) for v in x], dtype).max() <= 1.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_uses_the_correction_of_its_argument_and_the_unit(dtype):
    rng = np.random.default_rng(2)
    x = rng.uniform(-80, -20, 300).astype(dtype)
    low = (0.5 * np.spacing(x) * rng.uniform(-1, 1, x.size)).astype(dtype)
    unit = dtype(2.0**20)
    out = np.empty_like(x)
    exp_each(x, low, unit, out)
    with mpmath.workdps(40):
        exact = [
            2**20 * mpmath.exp(mpmath.mpf(float(a)) + mpmath.mpf(float(b)))
            for a, b in zip(x, low, strict=True)
        ]
        assert ulps(out, exact, dtype).max() <= 1.0


def test_log_is_within_one_ulp_for_every_size_of_argument():
    rng = np.random.default_rng(3)
    x = np.r_[
        10.0 ** rng.uniform(-323, 308, 1500),  # subnormals among them
        rng.uniform(0.5, 2.0, 1500),
        1.0 + rng.uniform(-1e-6, 1e-6, 300),
        [5e-324, 2.0**-1022, np.finfo(float).max, np.sqrt(0.5), np.sqrt(2.0)],
        2.0 ** np.arange(-1074.0, 1024.0, 37.0),
    ]
    out = np.empty_like(x)
    _log(x, out)
    with mpmath.workdps(40):
        assert ulps(out, [mpmath.log(float(v)) for v in x], np.float64).max() <= 1.0


def test_log_of_the_special_values():
    x = np.array([0.0, -0.0, 1.0, np.inf, np.nan, -1.0, -np.inf])
    out = np.empty_like(x)
    _log(x, out)
    expected = [-np.inf, -np.inf, 0.0, np.inf, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(out, expected)


def test_log_of_float32_is_that_of_the_same_number_in_float64():
    x = np.random.default_rng(4).uniform(0, 9, 50).astype(np.float32)
    narrow, wide = np.empty(50), np.empty(50)
    _log(x, narrow)
    _log(x.astype(np.float64), wide)
    assert (narrow == wide).all()


def test_log_has_the_same_bits_alone_and_in_an_array():
    x = np.random.default_rng(5).lognormal(size=41)
    for n in range(1, 41):
        out = np.empty(n)
        _log(x[1 : n + 1], out)
        assert (out == [_log_one(v) for v in x[1 : n + 1]]).all()
