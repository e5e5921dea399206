"""The activations against mpmath and SciPy, and what their table claims of them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import textwrap

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vgcore.activations import ACTIVATIONS, activation
from vgcore.kernels import scales
from vgcore.kernels.activate import _activate
from vgcore.kernels.vectors import _in_range

DTYPES = (np.float32, np.float64)
NAMES = tuple(ACTIVATIONS)

SCIPY = {
    "tanh": np.tanh,
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "sigmoid": scipy.special.expit,
    "hard_tanh": lambda x: np.clip(x, -1.0, 1.0),
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "erf": scipy.special.erf,
    "gelu": lambda x: x * scipy.stats.norm.cdf(x),
}


def _density(x):
    return mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)


def _distribution(x):
    if abs(x) > 1e4:  # mpmath's erfc fails with an overflow for the largest arguments
        return mpmath.mpf(x > 0)
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


# name: value, slope
EXACT = {
    "tanh": (mpmath.tanh, lambda x: mpmath.sech(x) ** 2),
    "sigmoid": (
        lambda x: 1 / (1 + mpmath.exp(-x)),
        lambda x: 1 / ((1 + mpmath.exp(-x)) * (1 + mpmath.exp(x))),
    ),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "erf": (mpmath.erf, lambda x: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x)),
    "gelu": (
        lambda x: x * _distribution(x),
        lambda x: _distribution(x) + x * _density(x),
    ),
    "leaky_relu": (
        lambda x: x if x > 0 else x / 100,
        lambda x: mpmath.mpf(1) if x > 0 else mpmath.mpf(1) / 100,
    ),
}


def applied(name, x):
    """Value and slope of an array."""
    value, slope = np.empty_like(x), np.empty_like(x)
    _activate(ACTIVATIONS[name].code, x, value, slope)
    return value, slope


# Where slopes or values of the activations end, and where their formulas change.
EDGES = [0.5, 1.0, 9.4, 10.25, 13.3, 14.9, 26.7, 27.5, 37.7, 39.0]
EDGES += [44.4, 52.7, 87.4, 104.0, 354.9, 373.3, 708.5, 745.2]


def points(dtype):
    """Arguments of both signs: dense near zero, over the usual range, and some in every binade."""
    info = np.finfo(dtype)
    rng = np.random.default_rng(7)
    exponents = np.arange(info.minexp - info.nmant, info.maxexp)
    x = np.r_[
        np.linspace(-6.0, 6.0, 601),
        rng.uniform(-1.5, 1.5, 800),
        rng.uniform(-110, 110, 400),
        rng.uniform(-750, 750, 200),
        np.ldexp(rng.uniform(1, 2, exponents.size), exponents),
        -np.ldexp(rng.uniform(1, 2, exponents.size), exponents),
        -0.7517915 + rng.uniform(-1e-3, 1e-3, 50),  # the zero of the slope of gelu
        np.outer([-1, 1], EDGES).ravel(),
        np.outer([-1, 1], EDGES * rng.uniform(0.999, 1.001, len(EDGES))).ravel(),
        [0.0, -0.0, info.max, -info.max, info.tiny, -info.tiny],
        [info.smallest_subnormal, -info.smallest_subnormal],
    ]
    return x.astype(dtype)


def ulps(found, exact, dtype):
    """Largest distance to the exact values, in units of the last place of normal numbers."""
    worst = 0.0
    for number, value in zip(found, exact, strict=True):
        size = max(abs(float(value)), float(np.finfo(dtype).tiny))
        spacing = math.ldexp(1.0, math.frexp(size)[1] - np.finfo(dtype).nmant - 1)
        worst = max(worst, float(abs(mpmath.mpf(float(number)) - value)) / spacing)
    return worst


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_value_and_slope_are_within_two_ulp_of_mpmath(name, dtype):
    value_of, slope_of = EXACT[name]
    x = points(dtype)
    value, slope = applied(name, x)
    with mpmath.workdps(40):
        exact = [mpmath.mpf(float(v)) for v in x]
        assert ulps(value, [value_of(v) for v in exact], dtype) <= 2.0
        assert ulps(slope, [slope_of(v) for v in exact], dtype) <= 2.0


@pytest.mark.parametrize("name", EXACT)
def test_float32_is_within_two_ulp_of_float64_over_all_bit_patterns(name):
    """Every 4099th; all of them were compared once, for the table in the module's docstring."""
    x = np.arange(0, 2**32, 4099, dtype=np.int64).astype(np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    tiny = np.finfo(np.float32).tiny
    for found, exact in zip(applied(name, x), applied(name, x.astype(np.float64)), strict=True):
        size = np.maximum(np.abs(exact), tiny)
        spacing = np.ldexp(1.0, np.frexp(size)[1] - 24)
        assert (np.abs(found - exact) <= 2.0 * spacing).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["linear", "relu", "hard_tanh"])
def test_piecewise_linear_activations_are_exact(name, dtype):
    x = points(dtype)
    value, slope = applied(name, x)
    expected = {"linear": x, "relu": np.maximum(x, 0), "hard_tanh": np.clip(x, -1, 1)}[name]
    on = {"linear": x == x, "relu": x > 0, "hard_tanh": np.abs(x) < 1}[name]
    assert (value == expected).all()
    assert (slope == on).all()


def test_a_wrong_function_would_be_found():
    x = np.linspace(0.1, 3, 50)
    with mpmath.workdps(40):
        exact = [mpmath.tanh(mpmath.mpf(float(v))) for v in x]
        assert ulps(np.tanh(x) * (1 + 1e-15), exact, np.float64) > 2.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_value_agrees_with_the_textbook_formula(name, dtype):
    x = np.random.default_rng(8).uniform(-8, 8, 999).astype(dtype)
    value, _ = applied(name, x)
    expected = SCIPY[name](x.astype(np.float64))
    np.testing.assert_allclose(value, expected, rtol=1e-6 if dtype is np.float32 else 1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_slope_is_the_derivative_of_the_value(name):
    x = np.random.default_rng(9).uniform(-5, 5, 999)
    x = x[np.abs(np.abs(x) - 1.0) > 1e-3]  # the kinks of hard_tanh
    x = x[np.abs(x) > 1e-3]
    h = 1e-5
    difference = (applied(name, x + h)[0] - applied(name, x - h)[0]) / (2 * h)
    np.testing.assert_allclose(applied(name, x)[1], difference, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_infinities_zeros_and_nan(name, dtype):
    low, high, zero = {
        "linear": (-np.inf, np.inf, 0.0),
        "relu": (0.0, np.inf, 0.0),
        "leaky_relu": (-np.inf, np.inf, 0.0),
        "sigmoid": (0.0, 1.0, 0.5),
        "gelu": (0.0, np.inf, 0.0),
    }.get(name, (-1.0, 1.0, 0.0))
    value, slope = applied(name, np.array([-np.inf, np.inf, 0.0, -0.0, np.nan], dtype))
    assert value[:4].tolist() == [low, high, zero, zero]
    assert np.isnan(value[4])
    assert np.isnan(slope[4]) or name == "linear"
    expected = ACTIVATIONS[name].far or (0.0, 0.0)
    assert slope[:2].tolist() == [dtype(s) for s in expected]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name", ["tanh", "linear", "leaky_relu", "softsign", "hard_tanh", "erf", "gelu"]
)
def test_odd_branches_keep_the_sign_of_zero(name, dtype):
    value, _ = applied(name, np.array([0.0, -0.0], dtype))
    assert np.signbit(value).tolist() == [False, True]


def test_slopes_at_kinks_follow_pytorch():
    assert applied("relu", np.zeros(1))[1] == 0.0
    assert applied("leaky_relu", np.zeros(1))[1] == 0.01
    assert (applied("hard_tanh", np.array([-1.0, 1.0]))[1] == 0.0).all()


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "hard_tanh", "softsign", "erf"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bounded_activations_stay_within_their_bounds(name, dtype):
    rng = np.random.default_rng(10)
    x = np.r_[rng.uniform(-1e3, 1e3, 5000), rng.uniform(-9, 9, 5000)].astype(dtype)
    value, slope = applied(name, x)
    assert (np.abs(value) <= 1.0).all()
    assert (slope >= 0.0).all()


@pytest.mark.parametrize("name", NAMES)
def test_max_slope_bounds_every_slope_and_is_attained(name):
    x = np.r_[np.linspace(-40, 40, 100_001), 0.0, math.sqrt(2.0), 0.5]
    slope = np.abs(applied(name, x)[1])
    assert slope.max() == pytest.approx(ACTIVATIONS[name].max_slope, rel=1e-14)


def plain(helper):
    """A function that jitted code alone may call, as Python."""
    return getattr(helper, "py_func", helper)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [n for n in NAMES if ACTIVATIONS[n].near_zero])
def test_near_zero_slopes_hold_where_kernels_take_them(name, dtype):
    below, above = ACTIVATIONS[name].near_zero
    x = 2.0 ** np.arange(-100.0, plain(scales._near)(np.ones(1, dtype))[0])
    for signed, expected in ((-x, below), (x, above)):
        value, slope = applied(name, signed.astype(dtype))
        np.testing.assert_allclose(slope, expected, rtol=2 * np.finfo(dtype).eps)
        np.testing.assert_allclose(value, expected * signed, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_outgrows_the_range_of_small_states_outgrows_that_of_numbers(dtype):
    """The largest norm at the largest exponent below zero is the edge of the lines."""
    near, largest = plain(scales._near)(np.ones(1, dtype))
    norm = 2.0 ** (near - largest)
    inside, outside = ((factor * norm) ** 2 for factor in (1.0, 1.01))
    assert plain(_in_range)(inside, np.ones(1, dtype))
    assert not plain(_in_range)(outside, np.ones(1, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_far_slopes_hold_beyond_two_to_the_40_or_the_activation_is_bounded(name, dtype):
    x = 2.0 ** np.arange(41.0, 100.0)
    far = ACTIVATIONS[name].far
    for side, signed in enumerate((-x, x)):
        value, slope = applied(name, signed.astype(dtype))
        if far is None:
            assert (np.abs(value) <= 1.0).all()
        else:
            assert (slope == dtype(far[side])).all()
            np.testing.assert_allclose(value, far[side] * signed, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_bits_depend_neither_on_length_nor_on_offset(name, dtype):
    x = np.random.default_rng(11).normal(0, 3, 80).astype(dtype)
    alone = [applied(name, x[j : j + 1]) for j in range(x.size)]
    values, slopes = (np.concatenate(part) for part in zip(*alone, strict=True))
    for n in range(1, 41):
        for offset in (0, 1, 3, n):
            part = slice(offset, offset + n)
            value, slope = applied(name, x[part])
            assert (value == values[part]).all()
            assert (slope == slopes[part]).all()


def test_a_code_without_activation_changes_nothing():
    x, value, slope = np.ones(3), np.full(3, 7.0), np.full(3, 8.0)
    _activate(len(ACTIVATIONS), x, value, slope)
    assert (value == 7.0).all()
    assert (slope == 8.0).all()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="activation: 'tahn' is not known; did you mean 'tanh'"):
        activation("tahn")


def test_codes_are_positions_in_the_table():
    assert [entry.code for entry in ACTIVATIONS.values()] == list(range(len(ACTIVATIONS)))
    assert all(activation(name).name == name for name in NAMES)


def run_python(code, folder, **environment):
    """Run `code` as a script in `folder`, with a Numba cache of its own there."""
    script = folder / "script.py"
    if not script.exists():
        script.write_text(textwrap.dedent(code))
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    run = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={
            **os.environ,
            "PYTHONPATH": root,
            "NUMBA_CACHE_DIR": str(folder / "cache"),
            **environment,
        },
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_a_second_process_loads_a_cached_caller_without_compiling(tmp_path):
    code = """
        import numpy as np
        from numba import njit
        from vgcore.kernels.activate import _activate

        @njit(cache=True, nogil=True, error_model="numpy")
        def twice(x, value, slope):
            _activate(0, x, value, slope)
            _activate(0, value, value, slope)

        x = np.linspace(-1, 1, 9)
        value, slope = np.empty_like(x), np.empty_like(x)
        twice(x, value, slope)
        _activate(8, x, value, slope)
        for function in (twice, _activate):
            stats = function.stats
            print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
    """
    # `twice` compiles `_activate` on its way, which the direct call then finds.
    assert run_python(code, tmp_path).split("\n")[0] == "0 1"
    assert run_python(code, tmp_path).split("\n") == ["1 0", "1 0"]


def test_plain_python_gives_the_same_functions(tmp_path):
    code = """
        import numpy as np
        from vgcore.activations import ACTIVATIONS
        from vgcore.kernels.activate import _activate
        from vgcore.kernels.elementary import _log
        for dtype in (np.float32, np.float64):
            x = np.r_[np.linspace(-30, 30, 121), -np.inf, np.inf, np.nan, 0.0, 1e30].astype(dtype)
            for entry in ACTIVATIONS.values():
                value, slope = np.empty_like(x), np.empty_like(x)
                _activate(entry.code, x, value, slope)
                print(*value.tolist(), *slope.tolist())
        x = np.array([0.0, 5e-324, 0.3, 1e300, np.inf, np.nan])
        _log(x, x)
        print(*x.tolist())
    """
    lines = run_python(code, tmp_path, NUMBA_DISABLE_JIT="1").split("\n")
    *found, logs = [np.array(line.split(), dtype=np.float64) for line in lines]
    for dtype, part in zip(DTYPES, (found[:9], found[9:]), strict=True):
        x = np.r_[np.linspace(-30, 30, 121), -np.inf, np.inf, np.nan, 0.0, 1e30].astype(dtype)
        for name, numbers in zip(NAMES, part, strict=True):
            expected = np.r_[applied(name, x)]
            rtol = 1e-5 if dtype is np.float32 else 1e-12
            np.testing.assert_allclose(numbers, expected.ravel(), rtol=rtol)
    np.testing.assert_allclose(logs[1:4], np.log([5e-324, 0.3, 1e300]), rtol=1e-15)
    np.testing.assert_array_equal(logs[[0, 4, 5]], [-np.inf, np.inf, np.nan])


NO_CACHE_FOLDER = """
import numba.core.caching as caching
# what is left where the package and the home folder cannot be written
locators = [c for c in caching.CacheImpl._locator_classes if "UserProvided" in c.__name__]
assert locators
caching.CacheImpl._locator_classes = caching.CompileResultCacheImpl._locator_classes = locators
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import vgcore as vg
    print(vg.spectral_radius([[[2.0]]])[0])
print(*[str(w.message) for w in caught])
"""


def test_kernels_run_where_no_folder_can_hold_their_cache():
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", NO_CACHE_FOLDER], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    radius, warning = done.stdout.splitlines()
    assert radius == "2.0"
    assert "set NUMBA_CACHE_DIR" in warning
