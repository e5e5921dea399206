"""Time the full Lyapunov spectrum, and products of Jacobians, beside what a user would write.

    pytest benchmarks/test_lyapunov.py

NumPy's batched QR goes through the matrices one by one. Threads of its BLAS can slow it down: for
its best time, compare with OPENBLAS_NUM_THREADS=1 as well. Nothing else times products of Jacobians
and their singular values, so these stand alone.
"""

from __future__ import annotations

import numpy as np
import pytest
from peers import PEERS, PREPARE, available

import vgcore as vg

N_STEPS = 100
SIZES = [(16, 64), (32, 32), (64, 16), (128, 8)]


@pytest.mark.parametrize(("n_hidden", "n_draws"), SIZES)
@pytest.mark.parametrize("library", ["vgcore", *PEERS["lyapunov_exponents"]])
def test_lyapunov_exponents(benchmark, library, n_hidden, n_draws):
    benchmark.group = f"lyapunov_exponents N={n_hidden}"
    cell = vg.RNN.draw(n_draws, n_hidden, gain=1.5, rng=1)
    state = np.random.default_rng(2).standard_normal((n_draws, n_hidden))
    if library == "vgcore":

        def run():
            return vg.lyapunov_exponents(cell, N_STEPS, initial_state=state, rng=3)

    else:
        if not available(library):
            pytest.skip(f"{library} is not installed")
        arrays = PREPARE[library](cell.W_rec, state, np.eye(n_hidden))

        def run():
            return PEERS["lyapunov_exponents"][library](*arrays, N_STEPS)

    # what it takes here: N^3 to eliminate (columns used up stay, as zeros), N^3 to multiply the
    # triangular frame by the next Jacobian
    benchmark.extra_info.update(
        n_hidden=n_hidden, n_draws=n_draws, n_steps=N_STEPS, dtype="float64",
        gflop=2e-9 * n_hidden**3 * N_STEPS * n_draws,
    )  # fmt: skip
    benchmark.pedantic(run, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize(("n_hidden", "n_draws"), SIZES)
@pytest.mark.parametrize("function", [vg.jacobian_product, vg.log_singular_values])
def test_jacobian(benchmark, function, n_hidden, n_draws):
    benchmark.group = f"{function.__name__} N={n_hidden}"
    cell = vg.RNN.draw(n_draws, n_hidden, gain=1.5, rng=1)
    benchmark.extra_info.update(n_hidden=n_hidden, n_draws=n_draws, n_steps=N_STEPS)
    benchmark.pedantic(function, args=(cell, N_STEPS), kwargs={"rng": 3}, rounds=3, warmup_rounds=1)
