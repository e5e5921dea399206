"""Normal random numbers from a counter: Philox-4x32-10 [1]_, then Box and Muller [2]_.

A number depends on the key, the stream and its place alone. Several are made side by side in the
lanes of a vector, from integer operations and our own elementary functions, so that no library and
no processor changes a bit; NumPy's generator makes one after another and takes five times as long.

.. [1] Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
.. [2] Box and Muller, "A note on the generation of random normal deviates", Ann. Math. Stat. 29,
   610-611 (1958).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vgcore._typing import Array
from vgcore.kernels.elementary import _log_one, _polynomial
from vgcore.kernels.jit import helper, kernel

# Unsigned throughout: Numba makes a float of a signed and an unsigned 64-bit integer.
_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_ONE_BITS = np.uint64(0x3FF0000000000000)
_SPARE = np.uint64(12)  # bits of a word that do not fit into a fraction
_TO_SIGN, _TO_TURN = np.uint64(63), np.uint64(62)

# sin(2 pi f) / f and cos(2 pi f) in f^2, |f| <= 1/8.
_SINE = _polynomial(
    float64=(  # 2**-54.53
        6.283185307179586, -41.34170224039862, 81.60524927519724, -76.70585950047307,
        42.058659955293834, -15.092381877368144, 3.7505841280727457,
    ),
)  # fmt: skip
_COSINE = _polynomial(
    float64=(  # 2**-61.47
        1.0, -19.739208802178716, 64.93939402266668, -85.45681720598931, 60.244641227260615,
        -26.426241136018593, 7.90262950346088, -1.6883034117550086,
    ),
)  # fmt: skip


@kernel(forceinline=True)
def _philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:
    """Ten rounds on a counter of four 32-bit words and a key of two, each held in 64 bits."""
    for _ in range(10):
        left, right = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (right >> _HALF) ^ c1 ^ k0, right & _WORD, (left >> _HALF) ^ c3 ^ k1, left
        c3 &= _WORD
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return c0, c1, c2, c3


@kernel(forceinline=True)
def _normal_pair(first: Any, second: Any) -> tuple[float, float]:
    """Two independent standard normal numbers from two 64-bit words."""
    # 1 - u lies on (0, 1] with 52 bits, and the angle in one of four quarters of a turn.
    u = np.uint64((first >> _SPARE) | _ONE_BITS).view(np.float64)
    f = (np.uint64((second >> _SPARE) | _ONE_BITS).view(np.float64) - 1.5) * 0.25
    radius = np.sqrt(-2.0 * _log_one(2.0 - u))
    square = f * f
    sine, cosine = radius * (f * _SINE(square)), radius * _COSINE(square)
    # Spare bits turn the angle by quarters: a sign for each, and which is which.
    sine = np.uint64(np.float64(sine).view(np.uint64) ^ (second << _TO_SIGN))
    cosine = np.uint64(np.float64(cosine).view(np.uint64) ^ (first << _TO_SIGN))
    turned = (second << _TO_TURN) >> _TO_SIGN != np.uint64(0)
    one, other = (sine, cosine) if turned else (cosine, sine)
    return np.uint64(one).view(np.float64), np.uint64(other).view(np.float64)


@helper(forceinline=True)
def _words(key: Any, stream: Any, place: Any) -> tuple[Any, Any]:
    """Two 64-bit words at a place of a stream: `key` is Philox's, `stream` half of its counter."""
    w0, w1, w2, w3 = _philox(
        place & _WORD, place >> _HALF, stream & _WORD, stream >> _HALF, key & _WORD, key >> _HALF
    )
    return (w1 << _HALF) | w0, (w3 << _HALF) | w2


@helper(forceinline=True)
def _uniform(word: Any) -> float:
    """Uniform on (0, 1), a half from either end at least, in steps of 2^-52."""
    fraction = np.uint64((word >> _SPARE) | _ONE_BITS).view(np.float64)
    return float(fraction - (1.0 - 0.5 * 2.0**-52))


@kernel()
def _normal_lane(key: Any, stream: Any, place: Any, out: Array) -> None:
    """Fill out (M,) with standard normal numbers of one stream from a place on.

    A longer one begins alike.
    """
    pairs = out.size // 2
    for j in range(pairs):
        first, second = _words(key, stream, place + np.uint64(j))
        out[2 * j], out[2 * j + 1] = _normal_pair(first, second)
    if out.size % 2 == 1:
        first, second = _words(key, stream, place + np.uint64(pairs))
        out[out.size - 1] = _normal_pair(first, second)[0]


@helper()
def _uniform_lane(key: Any, stream: Any, place: Any, out: Array) -> None:
    """The same for numbers uniform on (0, 1)."""
    pairs = out.size // 2
    for j in range(pairs):
        first, second = _words(key, stream, place + np.uint64(j))
        out[2 * j], out[2 * j + 1] = _uniform(first), _uniform(second)
    if out.size % 2 == 1:
        out[out.size - 1] = _uniform(_words(key, stream, place + np.uint64(pairs))[0])


@kernel()
def _normal_batch(key: Any, salt: Any, address: Any, place: Any, out: Array) -> None:
    """Fill out (draws, M), draw by draw; draw d has the stream salt ^ (address + d)."""
    for d in range(out.shape[0]):
        _normal_lane(key, salt ^ (address + np.uint64(d)), place, out[d])


@kernel()
def _uniform_batch(key: Any, salt: Any, address: Any, place: Any, out: Array) -> None:
    """The same for numbers uniform on (0, 1)."""
    for d in range(out.shape[0]):
        _uniform_lane(key, salt ^ (address + np.uint64(d)), place, out[d])
