"""Haar-distributed orthogonal matrices by Householder reflections."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgcore._typing import Array
from vgcore.kernels.jit import helper, kernel


@helper()
def _haar_lane(normals: Array, scratch: Array, out: Array) -> None:
    """Turn an (N, N) standard normal matrix into a Haar orthogonal one.

    The Q factor of a Gaussian matrix, signs fixed so that R has a positive diagonal. What
    a reflection leaves of a Gaussian column is Gaussian again, so the columns are never
    updated and half the work of a QR falls away (Stewart 1980, section 3). LAPACK is not used
    because its bits depend on its version and its threads. scratch: (2, N).
    """
    n = normals.shape[0]
    v, projection = scratch[0], scratch[1]
    out[:] = 0.0
    out[n - 1, n - 1] = -1.0 if normals[n - 1, n - 1] < 0.0 else 1.0
    for k in range(n - 2, -1, -1):
        norm = 0.0
        for i in range(k, n):
            v[i] = normals[i, k]
            norm += v[i] * v[i]
        norm = np.sqrt(norm)
        # R[k, k] = -sign(v_k) norm; a column is turned round where that is negative
        sign = 1.0 if v[k] < 0.0 else -1.0
        v[k] -= sign * norm
        factor = 1.0 / (norm * abs(v[k])) if norm > 0.0 else 0.0  # 2 / v.v
        out[k, k] = sign
        # out[k:, k:] is diag(sign, Q'); subtract factor v (v^T .)
        projection[k:] = 0.0
        for i in range(k, n):
            for j in range(k, n):
                projection[j] += v[i] * out[i, j]
        for i in range(k, n):
            scaled = factor * v[i]
            for j in range(k, n):
                out[i, j] -= scaled * projection[j]


@kernel()
def _haar_batch(normals: Array, scratch: Array, out: Array) -> None:
    for d in range(len(normals)):
        _haar_lane(normals[d], scratch, out[d])


def haar(normals: Array) -> Array:
    """Haar orthogonal (n_draws, N, N) matrices made from standard normal ones."""
    out: np.ndarray[Any, Any] = np.empty_like(normals)
    _haar_batch(normals, np.empty((2, normals.shape[2])), out)
    return out
