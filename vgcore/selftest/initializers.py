"""Checks that each initializer has the law that its name says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vgcore import theory
from vgcore._typing import Array
from vgcore.initializers import INITIALIZERS, draw_weights
from vgcore.selftest.table import Finding, check, identity, law, share
from vgcore.spectrum import spectral_radius

_N, _DRAWS = 24, 400  # more non-zeros than the 15 of a sparse row fit in


def _fourth(rng: np.random.Generator, init: str, gain: float, expected: float) -> Finding:
    """Fourth moment of the entries: tells normal, uniform and sparse entries apart."""
    W = draw_weights(init, _DRAWS, _N, rng=rng)
    return law((W**4).mean(axis=(1, 2)) * _N**2 / gain**4, expected)


def _square(rng: np.random.Generator, init: str, gain: float, expected: float) -> Finding:
    W = draw_weights(init, _DRAWS, _N, rng=rng)
    return law((W**2).mean(axis=(1, 2)) * _N / gain**2, expected)


# Own gain, and N^2 E W^4 / g^4, of the laws with independent entries.
_NORMAL, _UNIFORM = 3.0, 9.0 / 5.0
_INDEPENDENT = {
    "gaussian": (1.0, _NORMAL),
    "uniform": (1.0, _UNIFORM),
    "xavier_normal": (1.0, _NORMAL),
    "xavier_uniform": (1.0, _UNIFORM),
    "kaiming_normal": (2.0**0.5, _NORMAL),
    "kaiming_uniform": (2.0**0.5, _UNIFORM),
    "torch": (3.0**-0.5, _UNIFORM),
    "lecun_normal": (1.0, _NORMAL),
    "critical": (1.0, _NORMAL),
    "sparse": (1.0, _NORMAL * _N / 15),
}
for _init, (_gain, _fourth_moment) in _INDEPENDENT.items():
    check(
        f"{_init}: mean square of entries", f"init {_init}", statistical=True,
        init=_init, gain=_gain, expected=1.0,
    )(_square)  # fmt: skip
    check(
        f"{_init}: fourth moment of entries", f"init {_init}", statistical=True,
        init=_init, gain=_gain, expected=_fourth_moment,
    )(_fourth)  # fmt: skip


@check("orthogonal: Q Q^T = I", "init orthogonal")
def _orthogonal(rng: np.random.Generator) -> Finding:
    Q = draw_weights("orthogonal", 10, _N, rng=rng)
    return identity(Q @ Q.transpose(0, 2, 1), np.eye(_N), 1e-12)


@check("orthogonal: Haar, E (tr Q)^2 = 1", "init orthogonal", statistical=True)
def _haar(rng: np.random.Generator) -> Finding:
    Q = draw_weights("orthogonal", 2000, 8, rng=rng)
    return law(np.trace(Q, axis1=1, axis2=2) ** 2, 1.0)


@check("orthogonal: reflections as often as rotations", "init orthogonal", statistical=True)
def _handedness(rng: np.random.Generator) -> Finding:
    """Whichever way the first column points."""
    Q = draw_weights("orthogonal", 2000, 2, rng=rng)
    return share(int((np.linalg.det(Q) * Q[:, 0, 0] > 0.0).sum()), 2000, 0.5)


@check("identity: W = I", "init identity")
def _identity(rng: np.random.Generator) -> Finding:
    return identity(draw_weights("identity", 3, _N, rng=rng), np.eye(_N), 0.0)


@check("sparse: 15 non-zeros a row", "init sparse")
def _sparse(rng: np.random.Generator) -> Finding:
    return identity((draw_weights("sparse", 20, _N, rng=rng) != 0).sum(axis=2), 15.0, 0.0)


@check("sparse: columns uniform", "init sparse", statistical=True)
def _sparse_columns(rng: np.random.Generator) -> Finding:
    W = draw_weights("sparse", _DRAWS, _N, rng=rng)
    return law((W[:, :, :8] != 0).sum(axis=(1, 2)), 8.0 * 15)


@check("antisymmetric: W = -W^T", "init antisymmetric")
def _antisymmetric(rng: np.random.Generator) -> Finding:
    W = draw_weights("antisymmetric", 10, _N, rng=rng)
    return identity(W, -W.transpose(0, 2, 1), 0.0)


check(
    "antisymmetric: mean square of entries", "init antisymmetric", statistical=True,
    init="antisymmetric", gain=1.0, expected=1.0 - 1.0 / _N,
)(_square)  # fmt: skip


@check("critical: chi_1 = 1 at its gain under input", "init critical")
def _critical(rng: np.random.Generator) -> Finding:
    variance = float(rng.uniform(0.05, 0.5))
    W = draw_weights("critical", 1, 4, rng=7, input_variance=variance)
    unit = draw_weights("gaussian", 1, 4, rng=7)
    return identity(theory.chi("tanh", (W / unit).ravel(), input_variance=variance), 1.0, 1e-7)


def _eigenvalues(W: Array) -> Array:
    moduli: Array = np.abs(np.linalg.eigvals(W)).max(axis=-1)
    return moduli


@check("every law rescaled to a spectral radius", "estimator spectral radius")
def _rescaled(rng: np.random.Generator) -> Finding:
    radii = [
        _eigenvalues(draw_weights(init, 4, 20, spectral_radius=0.9, rng=rng))
        for init in INITIALIZERS
    ]
    return identity(radii, 0.9, 1e-6)


_SCALES: dict[str, Callable[[Array], Array]] = {
    "as drawn": lambda W: W,
    "tiny": lambda W: 1e-150 * W,
    "triangular": lambda W: np.tril(W) + 1e100 * np.tril(W, -1),
}
for _scale, _apply in _SCALES.items():

    @check(f"spectral radius = eigenvalues, {_scale}", "estimator spectral radius", scale=_apply)
    def _radius(rng: np.random.Generator, scale: Callable[[Array], Array]) -> Finding:
        W = scale(draw_weights("gaussian", 20, 20, rng=rng))
        return identity(np.log(spectral_radius(W)), np.log(_eigenvalues(W)), 1e-6)


@check("spectral radius: exact mean of real Ginibre", "estimator spectral radius", statistical=True)
def _ginibre(rng: np.random.Generator) -> Finding:
    radii = spectral_radius(draw_weights("gaussian", 3000, 10, rng=rng))
    return law(radii, float(theory.expected_spectral_radius(10)))
