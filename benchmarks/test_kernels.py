"""Time the kernels beside what a user would otherwise write, in one run.

    pytest benchmarks

Each group holds one operation at one size. Compiling happens before the timed rounds.
"""

from __future__ import annotations

import numpy as np
import pytest
from peers import PEERS, PREPARE, available

import vgcore as vg

N_STEPS = 500
SIZES = [(16, 400), (32, 400), (64, 200), (128, 100)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n_hidden", "n_draws"), SIZES)
@pytest.mark.parametrize("library", ["vgcore", *PEERS["gradient_profile"]])
def test_gradient_profile(benchmark, library, n_hidden, n_draws, dtype):
    benchmark.group = f"gradient_profile N={n_hidden} {dtype}"
    cell = vg.RNN.draw(n_draws, n_hidden, dtype=dtype, rng=1)
    state, loss = np.random.default_rng(2).standard_normal((2, n_draws, n_hidden)).astype(dtype)
    if library == "vgcore":

        def run():
            return vg.gradient_profile(
                cell, N_STEPS, initial_state=state[:, None], loss_gradient=loss[:, None]
            )

    else:
        if not available(library):
            pytest.skip(f"{library} is not installed")
        arrays = PREPARE[library](cell.W_rec, state[..., None], loss[..., None])

        def run():
            return PEERS["gradient_profile"][library](*arrays, N_STEPS)

    benchmark.extra_info.update(
        n_hidden=n_hidden, n_draws=n_draws, n_steps=N_STEPS, dtype=dtype,
        gflop=4e-9 * n_hidden**2 * N_STEPS * n_draws,
    )  # fmt: skip
    benchmark.pedantic(run, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n_hidden", "n_draws"), [(16, 400), (32, 200), (64, 100), (128, 30)])
@pytest.mark.parametrize("library", ["vgcore", *PEERS["lstm_profile"]])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gradient_profile_of_gated_cells(benchmark, kind, library, n_hidden, n_draws, dtype):
    benchmark.group = f"gradient_profile of {kind} N={n_hidden} {dtype}"
    cell = getattr(vg, kind).draw(n_draws, n_hidden, dtype=dtype, rng=1)
    state, loss = np.random.default_rng(2).standard_normal((2, n_draws, cell.n_state))
    state, loss = state.astype(dtype), loss.astype(dtype)
    if library == "vgcore":

        def run():
            return vg.gradient_profile(
                cell, N_STEPS, initial_state=state[:, None], loss_gradient=loss[:, None]
            )

    else:
        if not available(library):
            pytest.skip(f"{library} is not installed")
        bias = cell.bias if kind == "LSTM" else np.concatenate([cell.b_ih, cell.b_hh], axis=1)
        arrays = PREPARE[library](cell.W_hh, bias[..., None], state[..., None], loss[..., None])

        def run():
            return PEERS[f"{kind.lower()}_profile"][library](*arrays, N_STEPS)

    gates = len(cell.GATES)
    benchmark.extra_info.update(
        n_hidden=n_hidden, n_draws=n_draws, n_steps=N_STEPS, dtype=dtype,
        gflop=4e-9 * gates * n_hidden**2 * N_STEPS * n_draws,
    )  # fmt: skip
    benchmark.pedantic(run, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_profile_of_many_trajectories(benchmark, dtype):
    """16 trajectories a draw share its matrix, side by side in the lanes of a vector."""
    n_hidden, n_draws, n_trajectories = 64, 25, 16
    benchmark.group = f"gradient_profile N={n_hidden} {dtype}, {n_trajectories} trajectories"
    cell = vg.RNN.draw(n_draws, n_hidden, dtype=dtype, rng=1)
    benchmark.extra_info.update(
        n_hidden=n_hidden, n_draws=n_draws, n_trajectories=n_trajectories, n_steps=N_STEPS,
        dtype=dtype, gflop=4e-9 * n_hidden**2 * N_STEPS * n_draws * n_trajectories,
    )  # fmt: skip
    benchmark.pedantic(
        vg.gradient_profile,
        args=(cell, N_STEPS),
        kwargs={"n_trajectories": n_trajectories, "rng": 2},
        rounds=5,
        warmup_rounds=1,
    )


@pytest.mark.parametrize(("n_hidden", "n_draws"), [(32, 400), (64, 200), (128, 50)])
@pytest.mark.parametrize("library", ["vgcore", *PEERS["spectral_radius"]])
def test_spectral_radius(benchmark, library, n_hidden, n_draws):
    benchmark.group = f"spectral_radius N={n_hidden}"
    W = vg.draw_weights("gaussian", n_draws, n_hidden, rng=1)
    run = vg.spectral_radius if library == "vgcore" else PEERS["spectral_radius"][library]
    benchmark.extra_info.update(n_hidden=n_hidden, n_draws=n_draws)
    benchmark.pedantic(run, args=(W,), rounds=5, warmup_rounds=1)
