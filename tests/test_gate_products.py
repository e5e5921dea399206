"""The packed products of gated cells, beside NumPy's of the same matrices in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from vgcore.kernels.columns import (
    _from_3_gates,
    _from_4_gates,
    _row_squares,
    _to_3_gates,
    _to_4_gates,
    gate_zeros,
)
from vgcore.kernels.gates import _pack_gates
from vgcore.kernels.vectors import aligned_zeros, padded


@njit
def three(x, z, M, n, R, reverse, start, zeros, gates, y):
    _to_3_gates(x, M, n, R, reverse, start, gates)
    _from_3_gates(z, M, R, reverse, zeros, y)


@njit
def four(x, z, M, n, R, reverse, start, zeros, gates, y):
    _to_4_gates(x, M, n, R, reverse, start, gates)
    _from_4_gates(z, M, R, reverse, zeros, y)


@njit
def row_squares(x, P, squares):
    return _row_squares(x, P, squares)


def in_parts(rng, shape, P, dtype):
    """Random parts of rows, padded."""
    out = aligned_zeros((*shape[:-1], P), dtype)
    out[..., : shape[-1]] = rng.standard_normal(shape)
    return out


@pytest.mark.jit_off
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 16, 19, 33, 64])
@pytest.mark.parametrize("gates", [3, 4])
def test_products_equal_numpy(gates, n, dtype):
    D, K, rng = 2, 3, np.random.default_rng(n)
    P, R, order = padded(n, dtype), 6, rng.permutation(gates)
    W = rng.standard_normal((D, gates, n, n)).astype(dtype)
    M = gate_zeros(D, gates, P, P, dtype)
    for d in range(D):
        _pack_gates(W[d].reshape(gates * n, n), order, M[d])
    x, start = in_parts(rng, (R, n), P, dtype), in_parts(rng, (gates, R, n), P, dtype)
    z, zeros = in_parts(rng, (gates, R, n), P, dtype), aligned_zeros(R * P, dtype)
    exact = W[:, order].astype(float)
    rows = x.reshape(D, K, P)[..., :n].astype(float)
    parts = z.reshape(gates, D, K, P)[..., :n].astype(float)
    pushed = start[..., :n] + np.einsum("dgij,dkj->gdki", exact, rows).reshape(gates, R, n)
    pulled = np.einsum("dgij,gdki->dkj", exact, parts).reshape(R, n)
    found = []
    for reverse in (0, 1):
        out, y = aligned_zeros(gates * R * P, dtype), aligned_zeros(R * P, dtype)
        run = {3: three, 4: four}[gates]
        run(x.ravel(), z.ravel(), M, n, R, reverse, start.ravel(), zeros, out, y)
        found.append((out.reshape(gates, R, P), y.reshape(R, P)))
    for one, other in zip(*found, strict=True):
        assert (one == other).all()
        assert (one[..., n:] == 0).all()
    tolerance = 50 * np.sqrt(n) * np.finfo(dtype).eps
    np.testing.assert_allclose(found[0][0][..., :n], pushed, atol=tolerance)
    np.testing.assert_allclose(found[0][1][..., :n], pulled, atol=tolerance)


@pytest.mark.jit_off
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("R", [1, 3])
def test_row_squares(R, dtype):
    P = padded(20, dtype)
    x = in_parts(np.random.default_rng(1), (2, R, 20), P, dtype)
    squares = np.zeros(R, dtype)
    assert row_squares(x.ravel(), P, squares) == 0
    np.testing.assert_allclose(squares, (x.astype(float) ** 2).sum(axis=(0, 2)), rtol=1e-6)
    x[1, R - 1, 3] = 2.0 ** (60 if dtype == "float32" else 300)
    assert row_squares(x.ravel(), P, squares) == 1
