"""The table of activations. To add one, write its function and its entry here: nothing else.

A function maps a scalar x to the pair s(x), s'(x), in the precision of x. It is plain Python, which
the kernels compile in a loop over x; without branches around calls it becomes SIMD code. Constants
take the type of x (`type(x)(2)`), since Numba widens float32 times a literal to float64. NaN gives
NaN.

Largest errors, in units of the last place and of the smallest subnormal number below the normal
range: over every float32, and over some 150,000 float64 of all sizes against mpmath.

| | float32: value | slope | float64: value | slope |
| --- | --- | --- | --- | --- |
| tanh | 1.72 | 2.00 | 1.84 | 1.91 |
| sigmoid | 2.00 | 1.99 | 1.93 | 1.84 |
| softsign | 1.50 | 2.00 | 1.47 | 1.98 |
| erf | 1.30 | 1.77 | 1.07 | 1.08 |
| gelu | 1.99 | 1.80 | 1.79 | 1.59 |

The others are exact but for one rounding, and for that of the 0.01 of leaky_relu.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from vgcore import checks
from vgcore._typing import Array
from vgcore.kernels.elementary import (
    _LARGE,
    _SMALL,
    _double_exp_parts,
    _erf_near_zero,
    _exp_parts,
    _exp_square_parts,
    _fma,
    _gelu_below,
    _normal_tail,
    _polynomial,
    _shift_exponent,
)

_Function = Callable[[Any], tuple[Any, Any]]
_Slopes = tuple[float, float] | None


@dataclass(frozen=True)
class Activation:
    """An activation s and what a kernel must know of it.

    Attributes
    ----------
    name : str
    code : int
        Its position in the table, by which kernels know it.
    function : callable
        x -> (s(x), s'(x)), a scalar function that Numba can compile.
    formula : str
    max_slope : float
        gamma, the largest s'(x); a spectral norm of W_rec below 1 / gamma makes gradients vanish.
    near_zero : tuple of float, or None
        Slopes (below zero, above zero) of the lines that s follows to working precision where
        |x| < 2**-60 (float32: 2**-36); None where s(0) is not 0.
    far : tuple of float, or None
        The same for |x| > 2**40; None where s is bounded.
    """

    name: str
    code: int
    function: _Function
    formula: str
    max_slope: float
    near_zero: _Slopes
    far: _Slopes

    def lines(self, dtype: npt.DTypeLike) -> tuple[Array, Array]:
        """Return `near_zero` and `far` as kernels take them, with nan for None."""
        near_zero, far = (
            np.array(line or (np.nan, np.nan), dtype) for line in (self.near_zero, self.far)
        )
        return near_zero, far


# Beyond these the slopes of tanh and of the sigmoid are too small for a subnormal number.
_TANH_END = _polynomial(float32=(52.7,), float64=(373.3,))
_SIGMOID_END = _polynomial(float32=(104.0,), float64=(745.2,))
# Beyond these the slopes of erf, and of gelu below zero, are too small for a subnormal number.
_ERF_END = _polynomial(float32=(10.25,), float64=(27.5,))
_GELU_END = _polynomial(float32=(14.9,), float64=(39.0,))
# Far beyond where softsign is 1 to the last bit and its slope too small for a subnormal number.
_SOFTSIGN_END = _polynomial(float32=(1e30,), float64=(1e200,))

_ERF_SLOPE = 2.0 / math.sqrt(math.pi)


def _tanh(x: Any) -> tuple[Any, Any]:
    # With e^(2|x|) = u (1 + 2 p), u = 2^n, and h = expm1(2|x|) / 2 = u p + (u - 1) / 2:
    # twice_v = 2 / (h + 1) is 2 (1 - tanh |x|), tanh |x| = h v, and sech^2 x = 2 v - v^2 is free of
    # the cancellation in 1 - tanh^2. h + 1 is computed times 2^-64, so that the quotient is right
    # down to the subnormal numbers; h itself means nothing there, and is not used beyond h = 1.
    half, one, small = type(x)(0.5), type(x)(1), type(x)(2.0**-64)
    end = _TANH_END(x)
    y = abs(x)
    whole, p = _double_exp_parts(end if y > end else y)
    u, u_small = _shift_exponent(one, whole), _shift_exponent(small, whole)
    h = _fma(u, p, _fma(u, half, -half))
    twice_v = (small + small) / _fma(u_small, half, _fma(u_small, p, half * small))
    v = half * twice_v
    near = h * v
    near = _fma(_fma(-near, h, h - near), v, near)  # a Newton step of the quotient h / (h + 1)
    return math.copysign(near if twice_v > one else one - v, x), _fma(-v, v, twice_v)


def _linear(x: Any) -> tuple[Any, Any]:
    return x, type(x)(1)


def _relu(x: Any) -> tuple[Any, Any]:
    zero, one = type(x)(0), type(x)(1)
    return (zero, zero) if x <= zero else (x, one if x > zero else x)


def _leaky_relu(x: Any) -> tuple[Any, Any]:
    zero, one, leak = type(x)(0), type(x)(1), type(x)(0.01)
    return (leak * x, leak) if x <= zero else (x, one if x > zero else x)


def _sigmoid(x: Any) -> tuple[Any, Any]:
    # w = s(-|x|) is a quotient without cancellation, and s' = w (1 - w) rounds once. Both parts of
    # the quotient are taken times 2^-64, so that its denominator does not overflow.
    zero, one, small = type(x)(0), type(x)(1), type(x)(2.0**-64)
    end = _SIGMOID_END(x)
    y = abs(x)
    s, p = _exp_parts(end if y > end else y, -zero, small)
    w = small / (_fma(s, p, small) + s)
    return w if x < zero else one - w, _fma(-w, w, w)


def _hard_tanh(x: Any) -> tuple[Any, Any]:
    zero, one = type(x)(0), type(x)(1)
    y = abs(x)
    value = math.copysign(one, x) if y >= one else x
    return value, zero if y >= one else (one if y < one else x)


def _softsign(x: Any) -> tuple[Any, Any]:
    # w (1 + e) is 1 / (1 + |x|) to twice the precision, all but.
    one, end = type(x)(1), _SOFTSIGN_END(x)
    y = abs(x)
    y = end if y > end else y
    w = one / (one + y)
    e = _fma(-y, w, one - w)
    value, slope = y * w, w * w
    return math.copysign(_fma(value, e, value), x), _fma(slope, e + e, slope)


def _erf(x: Any) -> tuple[Any, Any]:
    one = type(x)(1)
    end = _ERF_END(x)
    z = abs(x)
    z = end if z > end else z
    s, p, _ = _exp_square_parts(z, one, type(x)(_ERF_SLOPE) * _LARGE(x))
    slope = _fma(s, p, s) * _SMALL(x)
    tail = type(x)(2 / _ERF_SLOPE) * _normal_tail(type(x)(math.sqrt(2)) * z)
    value = _erf_near_zero(z) if z < one else _fma(-slope, tail, one)
    return math.copysign(value, x), slope


def _gelu(x: Any) -> tuple[Any, Any]:
    zero, one = type(x)(0), type(x)(1)
    end = _GELU_END(x)
    y = abs(x)
    below, slope_below = _gelu_below(end if y > end else y)
    value, slope = (below, slope_below) if x < zero else (y - below, one - slope_below)
    return math.copysign(value, x), slope


# gelu' = Phi(x) + x phi(x) is largest at sqrt(2).
_GELU_SLOPE = 0.5 * math.erfc(-1.0) + math.exp(-1.0) / math.sqrt(math.pi)

_TABLE: tuple[tuple[str, _Function, str, float, _Slopes, _Slopes], ...] = (
    # name, function, formula, max_slope, near_zero, far
    ("tanh", _tanh, "tanh(x)", 1.0, (1.0, 1.0), None),
    ("linear", _linear, "x", 1.0, (1.0, 1.0), (1.0, 1.0)),
    ("relu", _relu, "max(x, 0)", 1.0, (0.0, 1.0), (0.0, 1.0)),
    ("leaky_relu", _leaky_relu, "max(x, 0.01 x)", 1.0, (0.01, 1.0), (0.01, 1.0)),
    ("sigmoid", _sigmoid, "1 / (1 + exp(-x))", 0.25, None, None),
    ("hard_tanh", _hard_tanh, "min(max(x, -1), 1)", 1.0, (1.0, 1.0), None),
    ("softsign", _softsign, "x / (1 + |x|)", 1.0, (1.0, 1.0), None),
    ("erf", _erf, "erf(x)", _ERF_SLOPE, (_ERF_SLOPE, _ERF_SLOPE), None),
    ("gelu", _gelu, "x Phi(x), Phi the normal distribution", _GELU_SLOPE, (0.5, 0.5), (0.0, 1.0)),
)

ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {entry[0]: Activation(entry[0], code, *entry[1:]) for code, entry in enumerate(_TABLE)}
)


def activation(name: str) -> Activation:
    """Return the activation called `name`.

    Raises
    ------
    ValueError
        If no activation has that name; the message lists those there are.

    Examples
    --------
    >>> activation("sigmoid").max_slope
    0.25
    """
    return ACTIVATIONS[checks.choice("activation", name, ACTIVATIONS)]
