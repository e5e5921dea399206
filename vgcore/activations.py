"""The table of activations. To add one, write its function and its entry here: nothing else.

A function maps a scalar x to the pair s(x), s'(x), in the precision of x. It is plain Python, which
the kernels compile in a loop over x; without branches around calls it becomes SIMD code. Constants
take the type of x (`type(x)(2)`), since Numba widens float32 times a literal to float64. NaN gives
NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vgcore import checks
from vgcore.kernels.elementary import (
    _LARGE,
    _SMALL,
    _erf_near_zero,
    _exp_parts,
    _exp_square_parts,
    _fma,
    _gelu_below,
    _normal_tail,
    _polynomial,
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
        |x| < 2**-60; None where s(0) is not 0.
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


# Beyond these the slopes of tanh and of the sigmoid are below the normal range, and become 0.
_TANH_END = _polynomial(float32=(44.4,), float64=(354.8914,))
_SIGMOID_END = _polynomial(float32=(87.4,), float64=(708.5,))
# Beyond these the slopes of erf, and of gelu below zero, are too small for a subnormal number.
_ERF_END = _polynomial(float32=(10.25,), float64=(27.5,))
_GELU_END = _polynomial(float32=(14.9,), float64=(39.0,))

_ERF_SLOPE = 2.0 / math.sqrt(math.pi)


def _tanh(x: Any) -> tuple[Any, Any]:
    # With h = expm1(2|x|) / 2 and v = 1 / (h + 1): tanh |x| = h v = 1 - v, and
    # sech^2 x = 2 v - v^2 is free of the cancellation in 1 - tanh^2. 2 v is the quotient taken,
    # so that the slope is right to the end of the normal range.
    zero, half, one, two = type(x)(0), type(x)(0.5), type(x)(1), type(x)(2)
    end = _TANH_END(x)
    y = abs(x)
    s, p = _exp_parts(two * (end if y > end else y), -zero, half)
    h = _fma(s, p, s - half)
    twice_v = two / (_fma(s, p, half) + s)
    twice_v = zero if y > end else twice_v
    v = half * twice_v
    near = h * v
    near = _fma(_fma(-near, h, h - near), v, near)  # a Newton step of the quotient h / (h + 1)
    return math.copysign(near if h < one else one - v, x), _fma(-v, v, twice_v)


def _linear(x: Any) -> tuple[Any, Any]:
    return x, type(x)(1)


def _relu(x: Any) -> tuple[Any, Any]:
    zero, one = type(x)(0), type(x)(1)
    return (zero, zero) if x <= zero else (x, one if x > zero else x)


def _leaky_relu(x: Any) -> tuple[Any, Any]:
    zero, one, leak = type(x)(0), type(x)(1), type(x)(0.01)
    return (leak * x, leak) if x <= zero else (x, one if x > zero else x)


def _sigmoid(x: Any) -> tuple[Any, Any]:
    # w = s(-|x|) is a quotient without cancellation, and s' = w (1 - w) rounds once.
    zero, one = type(x)(0), type(x)(1)
    end = _SIGMOID_END(x)
    y = abs(x)
    s, p = _exp_parts(end if y > end else y, -zero, one)
    w = one / (_fma(s, p, one) + s)
    w = zero if y > end else w
    return w if x < zero else one - w, _fma(-w, w, w)


def _hard_tanh(x: Any) -> tuple[Any, Any]:
    zero, one = type(x)(0), type(x)(1)
    y = abs(x)
    value = math.copysign(one, x) if y >= one else x
    return value, zero if y >= one else (one if y < one else x)


def _softsign(x: Any) -> tuple[Any, Any]:
    one, large = type(x)(1), type(x)(1e30)
    y = abs(x)
    w = one / (one + y)
    y = large if y > large else y
    return math.copysign(y / (one + y), x), w * w


def _erf(x: Any) -> tuple[Any, Any]:
    one = type(x)(1)
    end = _ERF_END(x)
    z = abs(x)
    z = end if z > end else z
    s, p = _exp_square_parts(z, one, type(x)(_ERF_SLOPE) * _LARGE(x))
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
