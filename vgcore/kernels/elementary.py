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
from numba import config
from numba.core.errors import TypingError
from numba.extending import intrinsic

from vgcore._typing import Array
from vgcore.kernels.jit import helper, kernel

_MANTISSA_BITS = {"float32": 23, "float64": 52}
_FRACTION_BITS = 2**52 - 1
_LOG2_E = 1.4426950408889634
_SQRT_HALF_BITS = int(np.sqrt(0.5).view(np.int64))

if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _fma(x: Any, y: Any, z: Any) -> Any:
        kind = type(x)
        return kind(x * kind(y) + kind(z))

    def _shift_exponent(x: Any, whole: Any) -> Any:
        kind, bits = type(x), _MANTISSA_BITS[type(x).__name__]
        word = np.dtype(f"u{x.itemsize}").type
        total = int(x.view(word)) + (int(whole.view(word)) << bits)
        return word(total % 2 ** (8 * x.itemsize)).view(kind)

    def _polynomial(**coefficients: tuple[float, ...]) -> Any:
        def evaluate(x: Any) -> Any:
            kind = type(x)
            terms = [kind(c) for c in coefficients[kind.__name__]]
            for k in range(len(terms) // 2):
                terms[k : k + 2] = [terms[k + 1] * x + terms[k]]
            total = terms.pop()
            while terms:
                total = total * (x * x) + terms.pop()
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
    def _shift_exponent(typingctx: Any, x: Any, whole: Any) -> Any:
        """Return 2**n x for whole = n + `_TO_NEAREST`, which has n in its low bits.

        Only where x and the result are normal numbers; else the result has no meaning. Integer
        arithmetic does what a conversion would, for which AVX2 has no float64 instruction.
        """
        bits = _MANTISSA_BITS[str(x)]

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            number, low = args
            integer = ir.IntType(x.bitwidth)
            shifted = builder.shl(builder.bitcast(low, integer), ir.Constant(integer, bits))
            total = builder.add(builder.bitcast(number, integer), shifted)
            return builder.bitcast(total, number.type)

        return x(x, x), generate

    def _polynomial(**coefficients: tuple[float, ...]) -> Any:
        """Return the function x -> c0 + c1 x + ..., with the coefficients of the dtype of x.

        Terms are taken in pairs, (c0 + c1 x) + x^2 ((c2 + c3 x) + ...), which halves the chain of
        operations that wait for one another. Where the caller has x^2 too it is computed once.
        """

        @intrinsic
        def evaluate(typingctx: Any, x: Any) -> Any:
            if str(x) not in coefficients:
                raise TypingError(f"found {x}, expected {' or '.join(coefficients)}")

            def generate(
                context: Any, builder: ir.IRBuilder, signature: Any, args: Any
            ) -> ir.Value:
                argument = args[0]
                terms = [ir.Constant(argument.type, c) for c in coefficients[str(x)]]
                for k in range(len(terms) // 2):
                    terms[k : k + 2] = [builder.fma(terms[k + 1], argument, terms[k])]
                square = builder.fmul(argument, argument)
                total = terms.pop()
                while terms:
                    total = builder.fma(total, square, terms.pop())
                return total

            return x(x), generate

        return evaluate


# fmt: off
_TO_NEAREST = _polynomial(float32=(1.5 * 2.0**23,), float64=(1.5 * 2.0**52,))

# ln 2 in two parts, the first so short that n times it is exact for every exponent n.
_LN2_HIGH = _polynomial(float32=(0.69314575,), float64=(0.6931471805598903,))
_LN2_LOW = _polynomial(float32=(1.4286068e-06,), float64=(5.497923018708371e-14,))

# (h(r) - r) / r^2 for h(r) = expm1(2 r) / 2 on |r| <= ln(2) / 4, error relative to h(r); half of
# that at both ends, where rounding leaves the least room.
_HALF_EXPM1 = _polynomial(
    float32=(  # 2**-25.78
        1.0, 0.66666126, 0.33333442, 0.13388371, 0.044492505,
    ),
    float64=(  # 2**-54.76
        1.0, 0.6666666666666633, 0.33333333333288634, 0.1333333333343681, 0.0444444445578795,
        0.01269841260556912, 0.003174593469113717, 0.0007054702051944216, 0.00014143574892493731,
        2.564754904982998e-05,
    ),
)

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
_TAIL_START_LOW = _polynomial(float32=(-1.3436482e-08,), float64=(-2.2175033409973908e-17,))
_TAIL = _polynomial(
    float32=(  # 2**-28.47
        -0.6078966, 0.38713735, -0.18652207, 0.060397774, -0.007539754, -0.0034893246, 0.0016296057,
        0.00016588498, -0.00021591703, -4.1570765e-05,
    ),
    float64=(  # 2**-55.38
        -0.6078966419718921, 0.38713740074221786, -0.1865218579596629, 0.06039657489071507,
        -0.007540188966495454, -0.003479692362276399, 0.0016308184539464276, 0.00013334425358929244,
        -0.00023109490774233735, -1.907867284691617e-06, 3.514458403897296e-05,
        7.150441065924786e-07, -5.920042461673444e-06, -6.253597541708705e-07,
        1.0218979205567312e-06, 2.643164300810048e-07, -1.566219261803309e-07,
        -7.733297531137374e-08, 1.607932129762414e-08, 1.4669902563384156e-08,
        -3.3971575713022086e-10, -1.2050915474879454e-09,
    ),
)

# and R(z) / (z0 - z), for R(z) = M(z) - z / sqrt(2 pi), whose only zero is z0.
_TAIL_SLOPE_START = _polynomial(float32=(0.46221125,), float64=(0.4622112440495753,))
_TAIL_SLOPE_START_LOW = _polynomial(
    float32=(-7.209275e-09,), float64=(-5.663446460795019e-18,)
)
_TAIL_SLOPE = _polynomial(
    float32=(  # 2**-30.37
        -0.1033659, 0.06046292, -0.028083358, 0.009505218, -0.0017882971, -0.00015621351,
        0.00018553737, -1.3542754e-05, -1.6352265e-05,
    ),
    float64=(  # 2**-56.39
        -0.10336589852195688, 0.06046293676785075, -0.028083359953053513, 0.009504950375115718,
        -0.0017882605410715984, -0.0001546133131899494, 0.00018577577232787554,
        -1.7477210991650975e-05, -1.8034920379930744e-05, 3.5388833151185103e-06,
        2.216645817480634e-06, -4.921185701166206e-07, -3.4907762185233357e-07,
        5.232752839782291e-08, 6.268031270054905e-08, -7.482029044354962e-10,
        -1.0634392897328275e-08, -1.620068374085611e-09, 1.186117158887352e-09,
        3.751705078163004e-10,
    ),
)
# fmt: on
_ZERO_HIGH = _polynomial(float32=(0.75179154,), float64=(0.7517915246935645,))
_ZERO_LOW = _polynomial(float32=(-1.211445e-08,), float64=(-1.4956759177009883e-17,))

# exp(-y) is kept times 2**600 (float32: 2**64) until what it multiplies is known, so that a product
# is right to the end of the normal range although its exponential lies below it.
_LARGE = _polynomial(float32=(2.0**64,), float64=(2.0**600,))
_SMALL = _polynomial(float32=(2.0**-64,), float64=(2.0**-600,))


@helper(forceinline=True)
def _exp_reduced(x: Any, low: Any) -> tuple[Any, Any, Any]:
    """Return whole, r, r_low with x + low = n ln 2 + r + r_low for whole = n + `_TO_NEAREST`."""
    whole = _fma(x, _LOG2_E, _TO_NEAREST(x))
    n = whole - _TO_NEAREST(x)
    high, rest = _fma(-n, _LN2_HIGH(x), x), _fma(-n, _LN2_LOW(x), low)
    r = high + rest
    return whole, r, (high - r) + rest


@kernel(forceinline=True)
def _exp_parts(x: Any, low: Any, unit: Any) -> tuple[Any, Any]:
    """Return s, p with unit * exp(x + low) = s + s p; `low` is a correction of x below its ulp.

    s is `unit` times a power of two and p = expm1(r) with |r| <= ln(2) / 2. The caller bounds x so
    that s is a normal number.
    """
    whole, r, _ = _exp_reduced(x, low)
    return _shift_exponent(unit, whole), _fma(r * r, _EXPM1(r), r)


@kernel(forceinline=True)
def _double_exp_parts(x: Any) -> tuple[Any, Any]:
    """Return whole, p with exp(2 x) = 2**n (1 + 2 p) for whole = n + `_TO_NEAREST`.

    |p| is at most about 0.2, and right to its last bits near zero.
    """
    whole = _fma(x, 2.0 * _LOG2_E, _TO_NEAREST(x))
    n = whole - _TO_NEAREST(x)
    half = type(x)(0.5)
    r = _fma(-n, half * _LN2_LOW(x), _fma(-n, half * _LN2_HIGH(x), x))
    return whole, _fma(r * r, _HALF_EXPM1(r), r)


@kernel(forceinline=True)
def _exp_square_parts(z: Any, factor: Any, unit: Any) -> tuple[Any, Any, Any]:
    """Return s, p, p_low with unit * exp(-factor z^2) = s (1 + p + p_low), factor 1 or 1/2."""
    square = z * z
    whole, r, r_low = _exp_reduced(-factor * square, -factor * _fma(z, z, -square))
    tail = _EXPM1(r)
    p = _fma(r * r, tail, r)
    return _shift_exponent(unit, whole), p, _fma(r * r, tail, r - p) + r_low


@kernel(forceinline=True)
def _erf_near_zero(x: Any) -> Any:
    """Return erf(x) for |x| <= 1."""
    return _fma(x, _ERF(x * x), x)


@helper(forceinline=True)
def _tail_variable(z: Any) -> tuple[Any, Any, Any]:
    """Return v, e, t with v (1 + e) = 1 / (z + 4) to twice the precision, t = (z - 4) / (z + 4)."""
    kind = type(z)
    v = kind(1) / (z + kind(4))
    e = _fma(-z, v, _fma(kind(-4), v, 1))
    return v, e, _fma(kind(-8) * v, e, _fma(kind(-8), v, 1))


@kernel(forceinline=True)
def _normal_tail(z: Any) -> Any:
    """Return exp(z^2 / 2) Phi(-z) for z >= 0."""
    v, _, t = _tail_variable(z)
    return v * _fma(t, _TAIL(t), _TAIL_START(z))


@helper(forceinline=True)
def _linear_parts(start: Any, start_low: Any, t: Any, slope: Any) -> tuple[Any, Any]:
    """Return start + start_low + t slope as a rounded sum and what the rounding lost."""
    product = t * slope
    total = start + product
    return total, ((start - total) + product) + (_fma(t, slope, -product) + start_low)


@helper(forceinline=True)
def _product(x: Any, x_low: Any, y: Any, y_low: Any, p: Any, p_low: Any) -> Any:
    """Return (x + x_low) (y + y_low) (1 + p + p_low), all but rounded once."""
    product = x * y
    low = _fma(product, p_low, _fma(x_low, y, _fma(x, y_low, _fma(x, y, -product))))
    return product + _fma(product, p, _fma(low, p, low))


@kernel(forceinline=True)
def _gelu_below(z: Any) -> tuple[Any, Any]:
    """Return z Phi(-z) and the derivative of x Phi(x) at x = -z, for 0 <= z <= 39 (float32: 14.9).

    The derivative is R(z) exp(-z^2 / 2). R has a polynomial of its own, since the difference that
    defines it loses every digit near its zero. Were the rounding errors of the factors not carried
    along, the products would be off by more than 3 ulp.
    """
    s, p, p_low = _exp_square_parts(z, type(z)(0.5), _LARGE(z))
    v, e, t = _tail_variable(z)
    share = z * v
    share_low = _fma(share, e, _fma(z, v, -share))
    tail, tail_low = _linear_parts(_TAIL_START(z), _TAIL_START_LOW(z), t, _TAIL(t))
    value = _product(share, share_low, tail, tail_low, p, p_low)
    start, start_low = _TAIL_SLOPE_START(z), _TAIL_SLOPE_START_LOW(z)
    factor, factor_low = _linear_parts(start, start_low, t, _TAIL_SLOPE(t))
    slope = _product(_ZERO_HIGH(z) - z, _ZERO_LOW(z), factor, factor_low, p, p_low)
    return value * s * _SMALL(z), slope * s * _SMALL(z)


@kernel(forceinline=True)
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


@kernel(forceinline=True)
def _log(x: Array, out: Array) -> None:
    """Set out = ln(x) for 1-D arrays, in float64; ln(0) is -inf."""
    for j in range(x.size):
        out[j] = _log_one(np.float64(x[j]))
