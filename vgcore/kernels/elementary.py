"""Scalar elementary functions that vectorise: exp, log, erf and the normal tail from polynomials.

Called in a loop over contiguous arrays these become SIMD code, some twenty times faster than the
functions of libm, which differ from machine to machine besides. There are no tables and no branches
(both sides of a choice are computed), every fused multiply-add is explicit and the order is fixed,
so the bits do not depend on the vector width. Each polynomial has its own coefficients for float32
and for float64: a weighted least-squares fit driven towards minimax by Lawson's iteration, rounded
coefficient by coefficient with the rest refitted. The comment beside each gives its relative error.

With the JIT switched off the plain-Python twins give the same functions with slightly other bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, njit
from numba.core.errors import TypingError
from numba.extending import intrinsic

from vgcore._typing import Array

_MANTISSA_BITS = {"float32": 23, "float64": 52}
_FRACTION_BITS = 2**52 - 1
_SQRT_HALF_BITS = int(np.sqrt(0.5).view(np.int64))

if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _fma(x: Any, y: Any, z: Any) -> Any:
        kind = type(x)
        return kind(x * kind(y) + kind(z))

    def _shift_exponent(x: Any, n: Any) -> Any:
        return x if np.isnan(n) else np.ldexp(x, int(n))

    def _polynomial(**coefficients: tuple[float, ...]) -> Any:
        def evaluate(x: Any) -> Any:
            kind = type(x)
            *others, highest = coefficients[kind.__name__]
            total = kind(highest)
            for c in reversed(others):
                total = total * x + kind(c)
            return total

        return evaluate

else:

    @intrinsic
    def _fma(typingctx: Any, x: Any, y: Any, z: Any) -> Any:
        """Return x y + z rounded once, in the type of x; y and z are converted to it."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            return builder.fma(*args)

        return x(x, x, x), generate

    @intrinsic
    def _shift_exponent(typingctx: Any, x: Any, n: Any) -> Any:
        """Return 2**n x for a whole number n held as a float; x and the result must be normal."""
        bits = _MANTISSA_BITS[str(x)]

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            # Adding 1.5 * 2**bits leaves n in the low bits: integer arithmetic then does what a
            # conversion would, for which AVX2 has no float64 instruction.
            number, whole = args
            integer = ir.IntType(x.bitwidth)
            low = builder.fadd(whole, ir.Constant(whole.type, 1.5 * 2.0**bits))
            shifted = builder.shl(builder.bitcast(low, integer), ir.Constant(integer, bits))
            total = builder.add(builder.bitcast(number, integer), shifted)
            return builder.bitcast(total, number.type)

        return x(x, x), generate

    def _polynomial(**coefficients: tuple[float, ...]) -> Any:
        """Return the function x -> c0 + c1 x + ..., with the coefficients of the dtype of x."""

        @intrinsic
        def evaluate(typingctx: Any, x: Any) -> Any:
            if str(x) not in coefficients:
                raise TypingError(f"found {x}, expected {' or '.join(coefficients)}")

            def generate(
                context: Any, builder: ir.IRBuilder, signature: Any, args: Any
            ) -> ir.Value:
                constants = [ir.Constant(args[0].type, c) for c in coefficients[str(x)]]
                total = constants.pop()
                while constants:
                    total = builder.fma(total, args[0], constants.pop())
                return total

            return x(x), generate

        return evaluate


# fmt: off
_TO_NEAREST = _polynomial(float32=(1.5 * 2.0**23,), float64=(1.5 * 2.0**52,))

# ln 2 in two parts, the first so short that n times it is exact for every exponent n.
_LN2_HIGH = _polynomial(float32=(0.69314575,), float64=(0.6931471805598903,))
_LN2_LOW = _polynomial(float32=(1.4286068e-06,), float64=(5.497923018708371e-14,))

# (expm1(r) - r) / r^2 on |r| <= ln(2) / 2, error relative to expm1(r).
_EXPM1 = _polynomial(
    float32=(  # 2**-30.98
        0.5, 0.16666667, 0.041666474, 0.00833319, 0.0013933982, 0.00019960289,
    ),
    float64=(  # 2**-61.65
        0.5, 0.16666666666666677, 0.041666666666666685, 0.00833333333332142,
        0.0013888888888873173, 0.00019841269886652113, 2.480158734975829e-05,
        2.7557243701746584e-06, 2.755725105152769e-07, 2.5109204016089797e-08,
        2.0922088478866915e-09,
    ),
)

# ln((1 + s) / (1 - s)) = 2 s + s^3 P(s^2) on 1/sqrt(2) <= (1 + s) / (1 - s) <= sqrt(2).
_LOG = _polynomial(
    float64=(  # 2**-66.48
        0.6666666666666666, 0.4000000000000488, 0.28571428569428176, 0.22222222604454164,
        0.18181778536901796, 0.15386981938008715, 0.13252281225911328, 0.13233758290168537,
    ),
)

# erf(x) / x - 1 as a polynomial in x^2, |x| <= 1.
_ERF = _polynomial(
    float32=(  # 2**-29.53
        0.12837917, -0.3761263, 0.11283619, -0.026855174, 0.0051908446, -0.00080318365,
        7.924136e-05,
    ),
    float64=(  # 2**-55.86
        0.12837916709551256, -0.3761263890318347, 0.1128379167094323, -0.026866170643029475,
        0.005223977605758703, -0.0008548325921256245, 0.00012055293516793734,
        -1.4924713545048898e-05, 1.6447167994093149e-06, -1.6206710473588748e-07,
        1.3713074087226115e-08, -7.783905424621034e-10,
    ),
)

# With t = (z - 4) / (z + 4), z >= 0 up to where exp(-z^2 / 2) vanishes:
# (z + 4) M(z), for M(z) = exp(z^2 / 2) Phi(-z) and Phi the normal distribution function,
_TAIL_START = _polynomial(float32=(0.75528514,), float64=(0.7552851304157515,))
_TAIL = _polynomial(
    float32=(  # 2**-25.72
        -0.6078966, 0.38713664, -0.18652281, 0.060406256, -0.00752777, -0.003521707, 0.0015706538,
        0.00019161224, -0.00012551766,
    ),
    float64=(  # 2**-54.67
        -0.6078966419718921, 0.3871374007422157, -0.18652185795966292, 0.06039657489077956,
        -0.00754018896648734, -0.00347969236316914, 0.0016308184537076617, 0.00013334426042640616,
        -0.00023109490489279155, -1.907898809697029e-06, 3.514456614000752e-05,
        7.151347489560797e-07, -5.919976929063698e-06, -6.255213930997113e-07,
        1.0217530213194524e-06, 2.6448447713165553e-07, -1.5643117293214355e-07,
        -7.741487393058704e-08, 1.5941597442834055e-08, 1.4668179577917289e-08,
        -2.97713618294624e-10, -1.1926173401075417e-09,
    ),
)

# and R(z) / (z0 - z), for R(z) = M(z) - z / sqrt(2 pi), whose only zero is z0.
_TAIL_SLOPE_START = _polynomial(float32=(0.46221125,), float64=(0.4622112440495753,))
_TAIL_SLOPE = _polynomial(
    float32=(  # 2**-25.68
        -0.10336595, 0.06046253, -0.028082196, 0.009509882, -0.0017937112, -0.0001766161,
        0.00018739418, 1.6474949e-05,
    ),
    float64=(  # 2**-55.75
        -0.10336589852195686, 0.06046293676785029, -0.028083359953054273, 0.009504950375126373,
        -0.0017882605410572132, -0.00015461331330131057, 0.00018577577218917152,
        -1.7477210365751066e-05, -1.80349196002512e-05, 3.5388812748480224e-06,
        2.2166431246335224e-06, -4.921146780448696e-07, -3.490718491430739e-07,
        5.2323500230786917e-08, 6.26728444150433e-08, -7.466581869106363e-10,
        -1.0629062925383106e-08, -1.6194026605624184e-09, 1.1845079119383796e-09,
        3.74598615189957e-10,
    ),
)
# fmt: on
_ZERO_HIGH = _polynomial(float32=(0.75179154,), float64=(0.7517915246935645,))
_ZERO_LOW = _polynomial(float32=(-1.211445e-08,), float64=(-1.4956759177009883e-17,))

# exp(-y) is kept times 2**600 (float32: 2**64) until what it multiplies is known, so that a product
# is right to the end of the normal range although its exponential lies below it.
_LARGE = _polynomial(float32=(2.0**64,), float64=(2.0**600,))
_SMALL = _polynomial(float32=(2.0**-64,), float64=(2.0**-600,))


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _exp_parts(x: Any, low: Any, unit: Any) -> tuple[Any, Any]:
    """Return s, p with unit * exp(x + low) = s + s p; `low` is a correction of x below its ulp.

    s is `unit` times a power of two and p = expm1(r) with |r| <= ln(2) / 2. The caller bounds x so
    that s is a normal number.
    """
    middle = _TO_NEAREST(x)
    n = _fma(x, 1.4426950408889634, middle) - middle
    r = _fma(-n, _LN2_HIGH(x), x) + _fma(-n, _LN2_LOW(x), low)
    return _shift_exponent(unit, n), _fma(r * r, _EXPM1(r), r)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _exp_square_parts(z: Any, factor: Any, unit: Any) -> tuple[Any, Any]:
    """Return s, p with unit * exp(-factor z^2) = s + s p, for a factor of 1 or 1/2."""
    square = z * z
    return _exp_parts(-factor * square, -factor * _fma(z, z, -square), unit)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _erf_near_zero(x: Any) -> Any:
    """Return erf(x) for |x| <= 1."""
    return _fma(x, _ERF(x * x), x)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _tail_variable(z: Any) -> tuple[Any, Any, Any]:
    """Return v, e, t with v (1 + e) = 1 / (z + 4) to twice the precision, t = (z - 4) / (z + 4)."""
    kind = type(z)
    v = kind(1) / (z + kind(4))
    e = _fma(-z, v, _fma(kind(-4), v, 1))
    return v, e, _fma(kind(-8) * v, e, _fma(kind(-8), v, 1))


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _normal_tail(z: Any) -> Any:
    """Return exp(z^2 / 2) Phi(-z) for z >= 0."""
    v, _, t = _tail_variable(z)
    return v * _fma(t, _TAIL(t), _TAIL_START(z))


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _linear_parts(start: Any, t: Any, slope: Any) -> tuple[Any, Any]:
    """Return start + t slope as a rounded sum and what the rounding lost."""
    product = t * slope
    total = start + product
    return total, ((start - total) + product) + _fma(t, slope, -product)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _product(x: Any, x_low: Any, y: Any, y_low: Any, p: Any) -> Any:
    """Return (x + x_low) (y + y_low) (1 + p), all but rounded once."""
    product = x * y
    low = _fma(x_low, y, _fma(x, y_low, _fma(x, y, -product)))
    return product + _fma(product, p, _fma(low, p, low))


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _gelu_below(z: Any) -> tuple[Any, Any]:
    """Return z Phi(-z) and the derivative of x Phi(x) at x = -z, for 0 <= z <= 39 (float32: 14.9).

    The derivative is R(z) exp(-z^2 / 2). R has a polynomial of its own, since the difference that
    defines it loses every digit near its zero. Were the rounding errors of the factors not carried
    along, the products would be off by more than 3 ulp.
    """
    s, p = _exp_square_parts(z, type(z)(0.5), _LARGE(z))
    v, e, t = _tail_variable(z)
    share = z * v
    share_low = _fma(share, e, _fma(z, v, -share))
    tail, tail_low = _linear_parts(_TAIL_START(z), t, _TAIL(t))
    value = _product(share, share_low, tail, tail_low, p)
    factor, factor_low = _linear_parts(_TAIL_SLOPE_START(z), t, _TAIL_SLOPE(t))
    slope = _product(_ZERO_HIGH(z) - z, _ZERO_LOW(z), factor, factor_low, p)
    return value * s * _SMALL(z), slope * s * _SMALL(z)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _log_one(x: float) -> float:
    """Return ln(x) of a float64: -inf at 0, NaN below it and for NaN."""
    # x = 2**n m with m in [1/sqrt(2), sqrt(2)); a subnormal is lifted into the normal range first.
    lifted = x * 2.0**54 if x < 2.0**-1022 else x
    bits = np.float64(lifted).view(np.int64) - _SQRT_HALF_BITS
    n = float((bits >> 52) - (54 if x < 2.0**-1022 else 0))
    m = np.int64((bits & _FRACTION_BITS) + _SQRT_HALF_BITS).view(np.float64)
    # ln(m) = f - (f^2/2 - s (f^2/2 + s^2 P(s^2))) keeps the large term f = m - 1 exact.
    f = m - 1.0
    s = f / (2.0 + f)
    half_square = 0.5 * f * f
    square = s * s
    rest = s * _fma(square, _LOG(square), half_square)
    low = _fma(n, _LN2_LOW(x), rest)
    value = _fma(n, _LN2_HIGH(x), f - (half_square - low))
    value = -np.inf if x == 0.0 else value
    value = np.nan if x < 0.0 else value
    return value if x < np.inf else x


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _log(x: Array, out: Array) -> None:
    """Set out = ln(x) for 1-D arrays, in float64; ln(0) is -inf."""
    for j in range(x.size):
        out[j] = _log_one(np.float64(x[j]))
