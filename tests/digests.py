"""Digests of what the kernels compute; run as a script, it prints them and what the build is.

`test_bits` runs it once for each kind of processor and compares.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys

import numpy as np
from numba import njit

import vgcore as vg
from vgcore.activations import ACTIVATIONS
from vgcore.draws import normal_block
from vgcore.initializers import INITIALIZERS
from vgcore.kernels.activate import _activate, _chain
from vgcore.kernels.elementary import _log_one
from vgcore.kernels.vectors import _sum_squares, _vecmat
from vgcore.streams import Purpose, Streams

# flags with which LLVM may reorder a floating-point operation, or round it less often
RELAXED = re.compile(
    r"\b(fast|reassoc|contract|nnan|ninf|nsz|arcp|afn) (?:[a-z]+ )*(<|float|double)"
)
SIZES = (5, 16, 32, 33, 64, 100)
DTYPES = ("float32", "float64")


def digest(*arrays):
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def network(n, dtype, activation, gain):
    """A few draws, for which inputs and biases are drawn too where the units are not chaotic.

    Of small networks as many as a kernel with a draw a lane asks for.
    """
    n_draws = 9 if n <= 16 else 3
    options = {"n_inputs": 2, "bias_variance": 0.1} if activation != "tanh" else {}
    return vg.RNN.draw(n_draws, n, gain=gain, activation=activation, dtype=dtype, rng=n, **options)


def profile(cell, n_steps, n_trajectories):
    inputs = None
    if cell.n_inputs:
        inputs = np.random.default_rng(5).standard_normal((n_steps, cell.n_inputs))
    return vg.gradient_profile(
        cell, n_steps, inputs=inputs, n_trajectories=n_trajectories, rng=1, n_threads=1
    )


def profile_digests():
    """2,000 chaotic steps tell of any bit; the others come to other branches of the kernels."""
    for dtype in DTYPES:
        for n in SIZES:
            for activation, gain, n_steps in (
                ("tanh", 2.5, 2000),
                ("relu", 1.6, 200),
                ("gelu", 2.0, 200),
            ):
                for n_trajectories in (1, 5, 16):  # five in rows that share a matrix
                    cell = network(n, dtype, activation, gain)
                    found = profile(cell, n_steps, n_trajectories)
                    name = f"profile {dtype} {n} {activation} {n_trajectories}"
                    yield name, digest(found.log_norm, found.log_contribution)


def cell_digests():
    for dtype in DTYPES:
        for n in (5, 16, 33, 64):
            options = {"dtype": dtype, "rng": n}
            gated = {"init": "gaussian", "gain": 4.0, **options}
            cells = (
                vg.LSTM.draw(3, n, **gated),
                vg.GRU.draw(3, n, **gated),
                vg.LeakyRNN.draw(3, n, gain=2.5, leak=0.8, **options),
                vg.LeakyRNN.draw(3, n, gain=3.0, leak=0.5, activation="relu", **options),
                vg.DeepNet.draw(3, 500, n, gain=2.5, **options),
                vg.DeepNet.draw(3, 500, n, gain=2.0, activation="gelu", residual=True, **options),
            )
            for place, cell in enumerate(cells):
                found = vg.gradient_profile(cell, 500, rng=1, n_threads=1)
                name = f"cell {place} {type(cell).__name__} {dtype} {n}"
                yield name, digest(found.log_norm, found.log_contribution)
                if n == 5:
                    exponents = vg.lyapunov_exponents(cell, 100, rng=1, n_threads=1)
                    yield f"exponents {name}", digest(exponents)
                    product = vg.jacobian_product(cell, 100, rng=1, n_threads=1)
                    yield f"product {name}", digest(*product)


def tangent_digests():
    for dtype in DTYPES:
        for n in (5, 33, 64):
            cell = network(n, dtype, "tanh", 2.5)
            found = vg.lyapunov_exponents(cell, 50, burn_in=50, rng=1, n_threads=1)
            yield f"lyapunov {dtype} {n}", digest(found)
            scale, P = vg.jacobian_product(cell, 200, rng=1, n_threads=1)
            yield f"jacobian {dtype} {n}", digest(scale, P)
            singular = vg.log_singular_values(cell, 10, rng=1, n_threads=1)
            yield f"singular values {dtype} {n}", digest(singular)
            dying = network(n, dtype, "relu", 1.6)
            found = vg.lyapunov_exponents(dying, 20, rng=1, n_threads=1)
            yield f"lyapunov {dtype} {n} relu", digest(found)


def weight_digests():
    yield "normals", digest(normal_block(Streams.from_rng(1), Purpose.INPUTS, range(3), (999,)))
    for init in INITIALIZERS:
        for dtype in DTYPES:
            W = vg.draw_weights(init, 3, 33, spectral_radius=0.9, dtype=dtype, rng=1, n_threads=1)
            yield f"weights {init} {dtype}", digest(W)
        W = vg.draw_weights(init, 3, 33, rng=1)
        yield f"radius {init}", digest(vg.spectral_radius(W, n_threads=1))


def activation_digests():
    for dtype in (np.float32, np.float64):
        info = np.finfo(dtype)
        rng = np.random.default_rng(3)
        exponents = np.arange(info.minexp - info.nmant, info.maxexp)
        x = np.r_[
            np.ldexp(rng.uniform(1, 2, (8, exponents.size)), exponents).ravel(),
            np.linspace(0, 12, 5001),
            [0.0, np.inf, np.nan],
        ].astype(dtype)
        x = np.r_[x, -x]
        value, slope = np.empty_like(x), np.empty_like(x)
        for activation in ACTIVATIONS.values():
            _activate(activation.code, x, value, slope)
            # which NaN comes of a NaN is no part of a result
            numbers = np.isfinite(x)
            yield f"{activation.name} {x.dtype}", digest(value[numbers], slope[numbers])


@njit(nogil=True, error_model="numpy")
def sample(x, matrix, value, slope, out):
    """What kernels are made of, compiled here: code that comes from a cache can't be looked at."""
    _chain(0, x, value, slope)
    _vecmat(value, matrix, slope, out)
    out[0] += _sum_squares(value) + _log_one(value[0])


def build():
    """What the machine code of `sample` is like, in both precisions."""
    for dtype in DTYPES:
        x = np.zeros(16, dtype)
        sample(x, np.zeros((16, 16), dtype), x.copy(), x.copy(), x.copy())
    assembly = "\n".join(sample.inspect_asm().values())
    code = "\n".join(sample.inspect_llvm().values())
    return {
        "fma": sorted({word for word in ("vfmadd", "vfnmadd") if word in assembly}),
        "calls_of_fma": len(re.findall(r"call.*\bfmaf?\b|, *fmaf?\b", assembly)),
        "zmm": "%zmm" in assembly,
        "relaxed": sorted({found[0] for found in RELAXED.findall(code)}),
    }


if __name__ == "__main__":
    parts = (
        activation_digests,
        weight_digests,
        tangent_digests,
        profile_digests,
        cell_digests,
    )
    digests = {name: found for part in parts for name, found in part()}
    json.dump({"digests": digests, "build": build()}, sys.stdout)
