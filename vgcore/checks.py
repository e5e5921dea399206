"""Argument checks that say what was found, what was expected, and how to mend it."""

from __future__ import annotations

import difflib
import functools
import math
import operator
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

_LARGEST = 2**53  # a sum of such numbers is still one of 64 bits


def suggestion(name: object, valid: Iterable[str]) -> str:
    """Say which valid name is nearest to `name`, and list them all."""
    names = sorted(valid)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}valid: {', '.join(names)}"


def choice(argument: str, value: object, valid: Iterable[str]) -> str:
    """Return `value` if it is one of the valid names."""
    names = list(valid)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{argument}: {value!r} is not known; {suggestion(value, names)}")
    return value


def flag(argument: str, value: object) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{argument}: found {value!r}, expected True or False")
    return bool(value)


def integer(argument: str, value: object, *, least: int = 0, most: int | None = None) -> int:
    """Return `value` as an int within [least, most]."""
    expected = f"an integer of at least {least}" + ("" if most is None else f" and at most {most}")
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{argument}: found {value!r}, expected {expected}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{argument}: found {value!r}, expected {expected}") from None
    if number < least or (most is not None and number > most):
        raise ValueError(f"{argument}: found {number}, expected {expected}")
    if number > _LARGEST:
        raise ValueError(f"{argument}: found {number}, expected at most {_LARGEST}")
    return number


@functools.cache
def _memory() -> float:
    """Bytes of memory that this machine has; infinity where it does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # not on Windows
        return math.inf


def room(names: str, shape: tuple[int, ...], itemsize: int = 8) -> None:
    """Refuse an array of this shape, axes `names`, that all memory of the machine does not hold.

    To be asked before anything is made: an array that is larger than what is left is found out
    by the system when it is filled, which ends the process.
    """
    n_bytes = itemsize * math.prod(shape)
    if n_bytes > _memory():
        raise ValueError(
            f"{names}: found {' x '.join(map(str, shape))}, which takes {n_bytes / 2**30:,.3g} GiB "
            f"of the {_memory() / 2**30:.3g} GiB of memory here; choose a smaller one, or work on "
            "some draws at a time"
        )


def number(
    argument: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> float:
    """Return `value` as a finite float, at least `least` or above `above`, and at most `most`."""
    expected = "a finite number"
    expected += "" if least is None else f" of at least {least:g}"
    expected += "" if above is None else f" above {above:g}"
    expected += "" if most is None else f" and at most {most:g}"
    if isinstance(value, (str, bytes, bool, np.bool_)):
        raise TypeError(f"{argument}: found {value!r}, expected {expected}")
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{argument}: found {value!r}, expected {expected}") from None
    except OverflowError:
        found = math.inf
    low = (least is not None and found < least) or (above is not None and found <= above)
    if not math.isfinite(found) or low or (most is not None and found > most):
        raise ValueError(f"{argument}: found {found}, expected {expected}")
    return found


def positive(argument: str, value: object) -> float:
    """Return `value` as a finite float above zero."""
    return number(argument, value, above=0.0)


def share(argument: str, value: object) -> float:
    """Return `value` as a float above zero and at most one."""
    return number(argument, value, above=0.0, most=1.0)


def fraction(argument: str, value: object, such_as: str) -> float:
    """Return `value` as a float above zero and below one."""
    found = positive(argument, value)
    if found >= 1.0:
        raise ValueError(
            f"{argument}: found {found}, expected a fraction below 1 such as {such_as}"
        )
    return found


def dtype(argument: str, value: npt.DTypeLike) -> np.dtype[Any]:
    """Return `value` as the float32 or float64 dtype."""
    try:
        found = np.dtype(value)
    except TypeError:
        raise TypeError(f"{argument}: {value!r} is no dtype; use 'float32' or 'float64'") from None
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"{argument}: found {found}, expected float32 or float64")
    return found


def array_of(argument: str, value: object) -> npt.NDArray[Any]:
    """Return `value` as an array of whatever dtype."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{argument}: found a masked array, expected a plain one; fill the mask")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{argument}: not a rectangular array ({error})") from None
    except Exception as error:  # a tensor with a gradient, on a GPU, or of a dtype NumPy lacks
        raise TypeError(
            f"{argument}: found {type(value).__name__}, of which NumPy makes no array ({error})"
        ) from None


def _real(argument: str, value: object) -> npt.NDArray[Any]:
    """Return `value` as an array of a dtype of real numbers."""
    array = array_of(argument, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{argument}: found dtype {array.dtype}, expected real numbers; convert it with "
            "np.asarray(..., dtype=np.float64)"
        )
    return array


def extended(argument: str, value: object) -> npt.NDArray[np.float64]:
    """Return `value` as a float64 array of real numbers, inf and -inf among them but no nan."""
    array = _real(argument, value).astype(np.float64)
    if np.isnan(array).any():
        raise ValueError(
            f"{argument}: found {np.isnan(array).sum()} nan of {array.size}, expected real numbers "
            "or +-inf; remove or replace them"
        )
    return array


def real_array(argument: str, value: object) -> npt.NDArray[Any]:
    """Return `value` as a finite float32 or float64 array (integers and float16 become float64)."""
    array = _real(argument, value)
    single = array.dtype.kind == "f" and array.dtype.itemsize == 4  # in either byte order
    with np.errstate(over="ignore"):  # of a long double; refused below
        array = array.astype(np.float32 if single else np.float64, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"{argument}: found {array[where]} at index {where} ({(~finite).sum()} non-finite of "
            f"{array.size}), expected finite numbers; remove or replace them"
        )
    return array


def cast(argument: str, array: npt.NDArray[Any], to: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return a finite `array` in another dtype, which its numbers must fit."""
    with np.errstate(over="ignore", under="ignore"):
        out = array.astype(to, copy=False)
    if not np.isfinite(out).all() or (array.any() and not out.any()):
        largest = np.abs(array).max()
        raise ValueError(
            f"{argument}: found numbers as large as {largest:.3g}, which do not fit {to}; rescale "
            "them or use float64 throughout"
        )
    return out


def shaped(argument: str, value: object, shape: tuple[int | str, ...]) -> npt.NDArray[Any]:
    """Return `value` as a finite real array of `shape`; a str in `shape` names a free axis."""
    array = real_array(argument, value)
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or want == found for want, found in zip(shape, array.shape)
    )
    if not fits:
        wanted = "(" + ", ".join(str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"
        raise ValueError(f"{argument}: found shape {array.shape}, expected {wanted}")
    return array


def once(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Undo broadcasting: a leading axis of stride 0 is 1 long again.

    Not for parameters, which kernels index by draw; an empty array has stride 0 too.
    """
    return array[
        tuple(
            slice(0, 1) if stride == 0 and axis < array.ndim - 1 else slice(None)
            for axis, stride in enumerate(array.strides)
        )
    ]


def broadcast(
    argument: str, value: object, shape: tuple[int, ...], names: str, how: str = ""
) -> npt.NDArray[Any]:
    """Return `value` broadcast (read-only) to `shape`, whose axes are called `names`."""
    array = real_array(argument, value)
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"{argument}: found shape {array.shape}, expected one that broadcasts to "
            f"{names} = {shape}{how}"
        ) from None


def numbers(
    argument: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> npt.NDArray[np.float64]:
    """Return `value` as a finite float64 array, every number at least `least`, above or below."""
    array = real_array(argument, value).astype(np.float64)
    limits = ((least, "of at least", np.less), (above, "above", np.less_equal))
    for limit, words, wrong in (*limits, (below, "below", np.greater_equal)):
        if limit is not None and wrong(array, limit).any():
            found = array[wrong(array, limit)].flat[0]
            raise ValueError(f"{argument}: found {found:g}, expected numbers {words} {limit:g}")
    return array


def together(**arrays: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Arrays, by the names of their arguments, broadcast to one shape."""
    try:
        return list(np.broadcast_arrays(*arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"{shapes}: these shapes do not broadcast together") from None


def integers(argument: str, value: object, *, least: int = 0) -> npt.NDArray[np.int64]:
    """Return `value` as an int64 array of numbers of at least `least`."""
    array = array_of(argument, value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{argument}: found dtype {array.dtype}, expected whole numbers")
    if array.size and (array.min() < least or array.max() > _LARGEST):
        found, limit = (
            (array.min(), f"least {least}")
            if array.min() < least
            else (array.max(), f"most {_LARGEST}")
        )
        raise ValueError(f"{argument}: found {found}, expected numbers of at {limit}")
    return array.astype(np.int64)
