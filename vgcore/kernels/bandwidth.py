"""Loops that do nothing but load, multiply and add, or take tanh: what there is to have at most.

Each pass over x reads every vector of it once and feeds it to one fused multiply-add, as a product
of a matrix and a vector does. Several sums are in flight, enough to hide the latency of an add.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import config
from numba.extending import intrinsic

from vgcore._typing import Array
from vgcore.activations import ACTIVATIONS
from vgcore.kernels.activate import _activate
from vgcore.kernels.jit import kernel
from vgcore.kernels.vectors import _BLOCKS, _Code, _routine

_TANH = ACTIVATIONS["tanh"].code
CHAINS = 8  # vectors in `totals`, before the factor: the most that any processor uses


def _write_sweep(code: _Code, x: ir.Value, size: ir.Value, totals: ir.Value, _: ir.Value) -> None:
    """Write totals[c] += factor * x[i] over all vectors x[i]; the factor is totals[CHAINS]."""
    _write_sums(code, x, size, totals, loads=True)


def _write_spin(code: _Code, x: ir.Value, size: ir.Value, totals: ir.Value, _: ir.Value) -> None:
    """Do the arithmetic of `_write_sweep` with x[0] throughout: no load within the loop."""
    _write_sums(code, x, size, totals, loads=False)


def _write_sums(code: _Code, x: ir.Value, size: ir.Value, totals: ir.Value, loads: bool) -> None:
    builder, width = code.builder, code.width(size)
    x, totals = code.vectors(x), code.vectors(totals)
    factor, first = code.load(totals, CHAINS), code.load(x, 0)
    chains = _BLOCKS[code.wide][0]
    sums = [code.variable(code.load(totals, c)) for c in range(chains)]
    done = code.variable(ir.Constant(ir.IntType(64), 0))
    with code.steps(done, width, chains) as index:
        for c, total in enumerate(sums):
            code.accumulate(total, factor, code.load(x, index, c) if loads else first)
    for c, total in enumerate(sums):
        code.store(builder.load(total), totals, c)
    builder.ret_void()


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def _sweep(x: Array, totals: Array) -> None:
        totals.reshape(CHAINS + 1, -1)[0] += totals[-1] * x.sum()

    def _spin(x: Array, totals: Array) -> None:
        totals.reshape(CHAINS + 1, -1)[0] += totals[-1] * x.size * x[0]

else:

    @intrinsic
    def _sweep(typingctx: Any, x: Any, totals: Any) -> Any:
        """Add factor * x to totals, (CHAINS + 1) vectors the last of which is the factor.

        x is padded, and its number of vectors a multiple of CHAINS. Which of the sums gets what
        depends on the processor; the sum over all of them does not, up to rounding.
        """
        return _routine(_write_sweep, (x, totals), (1, 1), returns=None)

    @intrinsic
    def _spin(typingctx: Any, x: Any, totals: Any) -> Any:
        """Do as many multiply-adds as `_sweep`, with the first vector of x throughout."""
        return _routine(_write_spin, (x, totals), (1, 1), returns=None)


@kernel(_nrt=True)
def _sweep_passes(x: Array, n_passes: int, totals: Array) -> None:
    """Pass over x again and again; what a pass adds to is stored, so none can be left out."""
    for _ in range(n_passes):
        _sweep(x, totals)


@kernel(_nrt=True)
def _spin_passes(x: Array, n_passes: int, totals: Array) -> None:
    """Do the same with arithmetic alone."""
    for _ in range(n_passes):
        _spin(x, totals)


@kernel(_nrt=True)
def _tanh_passes(x: Array, n_passes: int, totals: Array) -> None:
    """Take tanh of the first third of x, with its slopes: to the other two."""
    n = x.size // 3
    for _ in range(n_passes):
        _activate(_TANH, x[:n], x[n : 2 * n], x[2 * n : 3 * n])
