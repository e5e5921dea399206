"""Activations of whole arrays: the table of vgcore.activations as one jitted function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from vgcore._typing import Array
from vgcore.activations import ACTIVATIONS, Activation
from vgcore.kernels.jit import helper, kernel


@njit(nogil=True, error_model="numpy", inline="always")
def _unknown(wanted: int, x: Array, value: Array, slope: Array) -> None:
    """End of the chain: a code that no activation has leaves the arrays alone."""


def _link(activation: Activation, others: Callable[..., None]) -> Any:
    """Return a function that applies `activation` if its code is wanted and else asks `others`."""
    code = activation.code
    function = helper(cache=False, forceinline=True)(activation.function)

    # A closure never hits the disk cache, but `_activate`, which contains this one, does. Inlining
    # before types are known saves compiling each link by itself, which holds all links below.
    @njit(nogil=True, error_model="numpy", inline="always")
    def apply(wanted: int, x: Array, value: Array, slope: Array) -> None:
        if wanted == code:
            for j in range(x.size):
                value[j], slope[j] = function(x[j])
        else:
            others(wanted, x, value, slope)

    return apply


_chain = _unknown
for _activation in ACTIVATIONS.values():
    _chain = _link(_activation, _chain)


@kernel()
def _activate(code: int, x: Array, value: Array, slope: Array) -> None:
    """Set value = s(x) and slope = s'(x) for the activation with this code; 1-D, contiguous."""
    _chain(code, x, value, slope)
