"""States and gradients as a vector times a power of two, which never leaves the range of numbers.

Scaling by a power of two rounds nothing. The entries of one vector share the power: one that falls
2**800 (float32: 2**100) below the largest is lost. Beyond certain powers an activation is piecewise
linear to the last bit, and a state may keep an exponent of its own: below zero if it is that small,
above zero if its largest entry is that large, and for as long as it stays in the range of numbers.
`_rescale_state` chooses an exponent below zero so low that a state which has grown out of that
range has left the range of numbers too, see `vectors._in_range`: a kernel need ask for nothing
else. In leaky nets that holds for the state h, and W h may be as much larger as W is.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vgcore._typing import Array
from vgcore.kernels.activate import _activate
from vgcore.kernels.jit import _apart, helper, kernel
from vgcore.kernels.vectors import (
    _BOUNDS,
    _exponent,
    _in_range,
    _max_abs,
    _normalise,
    _scale_exact,
    _sum_squares,
)

LN2 = np.log(2.0)

# Beyond 2**40 every unbounded activation is piecewise linear, to float64 precision; below 2**-60
# (float32: 2**-36) every one with s(0) = 0 is.
_FAR, _NEAR_32, _NEAR_64 = 40, -36, -60

# The largest exponents below zero: there the largest norm that a vector may have is of that size.
_SMALL_32, _SMALL_64 = (
    near - int(np.log2(_BOUNDS[size][1])) // 2 for near, size in ((_NEAR_32, 4), (_NEAR_64, 8))
)

# A state that comes back from there is to stay for a while.
_MARGIN = 8


@kernel()
def _copy(source: Array, target: Array) -> None:
    """Set the first entries of target to source and the rest to zero.

    A loop, since an assignment to a slice takes seconds to compile for the error message in it.
    """
    _apart()
    target[:] = 0.0
    for i in range(source.size):
        target[i] = source[i]


@njit(nogil=True, error_model="numpy", inline="always")
def _of_row(array: Array, draw: int, trajectory: int) -> Array:
    """Return the part of one draw and trajectory; its axes are (draws or 1, trajectories or 1)."""
    part: Array = array[min(draw, array.shape[0] - 1), min(trajectory, array.shape[1] - 1)]
    return part


@helper()
def _scaled_squares(x: Array, exponent: int) -> tuple[float, int]:
    """Return s, e with ||2**exponent x||^2 = s 4**e; an exact zero has s = e = 0.

    x is rescaled in place where s is not in range.
    """
    _apart()
    square = _sum_squares(x)
    if not _in_range(square, x):
        if square == 0.0 and _max_abs(x) == 0.0:
            return square, 0
        exponent += _normalise(x)
        square = _sum_squares(x)
    return square, exponent


@helper(forceinline=True)
def _near(x: Array) -> tuple[int, int]:
    """Below which power of two states in the dtype of x are small, and their largest exponent."""
    if x.itemsize == 4:
        return _NEAR_32, _SMALL_32
    return _NEAR_64, _SMALL_64


@helper(forceinline=True)
def _homogeneous(near_zero: Array, far: Array) -> bool:
    """Whether an activation has the same lines everywhere: s(c x) = c s(x) for c > 0."""
    return bool(near_zero[0] == far[0] and near_zero[1] == far[1])


@helper()
def _rescale_state(x: Array, exponent: int, near_zero: Array, far: Array) -> int:
    """Bring the state 2**exponent x back into range and return its new exponent.

    An exponent below 0 stands for a state so small that the activation is piecewise linear, one
    above 0 for a state whose largest entry is so large that it is there.
    """
    _apart()
    largest, (near, most) = _max_abs(x), _near(x)
    if largest == 0.0 or largest == np.inf:
        return exponent
    total = exponent + _exponent(largest)
    target = 0
    if total >= _FAR and not np.isnan(far[0]):
        target = total
    elif total < near - _MARGIN and not np.isnan(near_zero[0]):
        target = min(total, most)
    if target != exponent:
        _scale_exact(x, exponent - target)
    return target


@helper(forceinline=True)
def _piecewise_linear(slopes: Array, x: Array, value: Array, slope: Array) -> None:
    """An activation with one slope below zero and one above; at zero the lower one."""
    for j in range(x.size):
        slope[j] = slopes[1] if x[j] > 0.0 else slopes[0]
        value[j] = slope[j] * x[j]


@njit(nogil=True, error_model="numpy", inline="always")
def _activate_far(
    activation: int, far: Array, x: Array, exponent: int, scratch: Array, value: Array, slope: Array
) -> None:
    """Activation of the large state 2**exponent x: its lines for the entries that are large."""
    _copy(x, scratch)
    _scale_exact(scratch, exponent)
    _activate(activation, scratch, value, slope)
    shrink = 2.0 ** (-exponent)
    for j in range(x.size):
        if abs(scratch[j]) < 2.0**_FAR:
            value[j] *= shrink
        else:
            slope[j] = far[1] if x[j] > 0.0 else far[0]
            value[j] = slope[j] * x[j]


@helper(forceinline=True)
def _activate_small(
    activation: int,
    near_zero: Array,
    small: Array,
    x: Array,
    shown: Array,
    value: Array,
    slope: Array,
) -> None:
    """Activation of states of which some have an exponent below zero: 1 in their entries of small.

    There it is two lines. What such a state has in x is no argument of the activation, which is
    shown zeros: its slopes might be subnormal numbers there, and take twice as long. `shown` is
    scratch.
    """
    for j in range(x.size):
        shown[j] = 0.0 if small[j] > 0.0 else x[j]
    _activate(activation, shown, value, slope)
    below, above = x.dtype.type(near_zero[0]), x.dtype.type(near_zero[1])
    for j in range(x.size):
        line = above if x[j] > 0.0 else below
        slope[j] = line if small[j] > 0.0 else slope[j]
        value[j] = line * x[j] if small[j] > 0.0 else value[j]


@helper(forceinline=True)
def _activate_at(
    activation: int,
    near_zero: Array,
    far: Array,
    x: Array,
    exponent: int,
    n: int,
    scratch: Array,
    value: Array,
    slope: Array,
) -> None:
    """Activation of n units at 2**exponent x; the value is at that scale too."""
    if exponent == 0:
        _activate(activation, x, value, slope)
    elif exponent < 0:
        _piecewise_linear(near_zero, x, value, slope)
    else:
        _activate_far(activation, far, x, exponent, scratch, value, slope)
    _clear_padding(value, n, value.size)


@helper(forceinline=True)
def _clear_padding(x: Array, n: int, P: int) -> None:
    """Zero the entries of each row beyond the units in use: s(0) need not be 0."""
    if n < P:
        for first in range(0, x.size, P):
            for i in range(first + n, first + P):
                x[i] = 0.0


@helper()
def _meet_drive(state: Array, exponent: int, drive: Array) -> int:
    """Bring a state 2**exponent x and its drive to one scale; return the new exponent.

    A small state comes to the scale of the drive, and the drive to that of a large one.
    """
    _apart()
    if exponent == 0 or _max_abs(drive) == 0.0:
        return exponent
    if exponent < 0 or _max_abs(state) == 0.0:
        _scale_exact(state, exponent)
        return 0
    _scale_exact(drive, -exponent)
    return exponent
