"""Checks of the elementary functions, against NumPy and SciPy, and of the random numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from vgcore._typing import Array
from vgcore.activations import ACTIVATIONS
from vgcore.draws import Draws, normal_block
from vgcore.kernels.activate import _activate
from vgcore.kernels.elementary import _log
from vgcore.selftest.table import Finding, check, identity, law
from vgcore.streams import Purpose, Streams


def _logistic_slope(x: Array) -> Array:
    slope: Array = special.expit(x) * special.expit(-x)
    return slope


def _gelu_slope(x: Array) -> Array:
    slope: Array = special.ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return slope


Pair = tuple[Callable[[Array], Array], Callable[[Array], Array]]

REFERENCE: dict[str, Pair] = {
    "tanh": (np.tanh, lambda x: np.cosh(x) ** -2.0),
    "linear": (lambda x: x, np.ones_like),
    "relu": (lambda x: np.maximum(x, 0.0), lambda x: (x > 0) * 1.0),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1.0, 0.01)),
    "sigmoid": (special.expit, _logistic_slope),
    "hard_tanh": (lambda x: np.clip(x, -1, 1), lambda x: (np.abs(x) < 1) * 1.0),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x: (1 + np.abs(x)) ** -2.0),
    "erf": (special.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-(x**2))),
    "gelu": (lambda x: x * special.ndtr(x), _gelu_slope),
}
"""Values and slopes of the activations in plain NumPy."""

_ULPS = 16.0  # four times what the functions and their references may differ by
_FLOOR = 0.1  # smaller numbers get the error of this one: the reference of gelu cancels there


def _errors(found: Array, expected: Array) -> Finding:
    """Errors in units of the last place of the dtype of `found`."""
    unit = np.finfo(found.dtype).eps * np.maximum(np.abs(expected), _FLOOR)
    return identity(found, expected, _ULPS, unit)


def _activation(rng: np.random.Generator, name: str) -> Finding:
    """Value and slope in both dtypes, at the point where they are worst."""
    findings = []
    for dtype in (np.float32, np.float64):
        x = (4.0 * rng.standard_normal(300)).astype(dtype)
        value, slope = np.empty_like(x), np.empty_like(x)
        _activate(ACTIVATIONS[name].code, x, value, slope)
        for found, reference in zip((value, slope), REFERENCE[name], strict=True):
            findings.append(_errors(found, reference(x.astype(np.float64))))
    return max(findings, key=lambda one: np.inf if np.isnan(one.score) else one.score)


for _name in REFERENCE:
    check(f"{_name}: value and slope, in ulp", "elementary functions", name=_name)(_activation)


@check("log: in ulp", "elementary functions")
def _logarithm(rng: np.random.Generator) -> Finding:
    x = np.exp(rng.uniform(-700.0, 700.0, 500))
    out = np.empty_like(x)
    _log(x, out)
    return _errors(out, np.log(x))


def _normals(rng: np.random.Generator) -> Array:
    return normal_block(Streams.from_rng(rng), Purpose.INPUTS, range(200), (50,))


@check("normal numbers: mean", "random numbers", statistical=True)
def _mean(rng: np.random.Generator) -> Finding:
    return law(_normals(rng), 0.0)


@check("normal numbers: square", "random numbers", statistical=True)
def _square(rng: np.random.Generator) -> Finding:
    return law(_normals(rng) ** 2, 1.0)


@check("normal numbers: |x|", "random numbers", statistical=True)
def _absolute(rng: np.random.Generator) -> Finding:
    return law(np.abs(_normals(rng)), np.sqrt(2 / np.pi))


@check("normal numbers: successive ones independent", "random numbers", statistical=True)
def _neighbours(rng: np.random.Generator) -> Finding:
    numbers = _normals(rng)
    return law((numbers[:, ::2] * numbers[:, 1::2]), 0.0)


@check("normal numbers: no two alike over draws, purposes and takes", "random numbers")
def _distinct(rng: np.random.Generator) -> Finding:
    streams = Streams.from_rng(rng)
    numbers = [normal_block(streams, purpose, range(50), (50,)) for purpose in Purpose]
    later = Draws(streams, Purpose.WEIGHTS, range(50))
    later.normal(50)  # among the others already
    found = np.concatenate([*numbers, later.normal(50)])
    return identity(np.unique(found).size, found.size, 0.0)
