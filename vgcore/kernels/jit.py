"""How jitted code is compiled: functions that Python calls, and those that only such code calls.

Arrays are handed in, and none is made or kept, so none is counted. A function that returns part of
an array is for these alone: where arrays are counted it would be given back once too often.
"""

from __future__ import annotations

import functools

from numba import njit

# A function is compiled with one that C could call unless told otherwise, which nothing here does.
kernel = functools.partial(
    njit, cache=True, nogil=True, error_model="numpy", _nrt=False, no_cfunc_wrapper=True
)

# What takes arguments from Python is an eighth of all there is to compile. Without it, a function
# that Python calls all the same ends the process: make that one a `kernel`.
helper = functools.partial(kernel, no_cpython_wrapper=True)
