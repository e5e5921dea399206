"""Time the measurement of remedies; no peer does the same work at once, so they stand alone.

    pytest benchmarks/test_remedies.py

Beside them the profile of the same networks, which needs one forward and one backward pass.
"""

from __future__ import annotations

import numpy as np
import pytest

import vgcore as vg

N_STEPS = 200
SIZES = [(16, 64), (64, 16), (128, 8)]

MEASURES = {
    "gradient_profile": lambda cell: vg.gradient_profile(cell, N_STEPS, rng=3),
    "truncation, loss at the last step": lambda cell: vg.remedies.truncation(cell, N_STEPS, rng=3),
    "truncation, loss at every step": lambda cell: vg.remedies.truncation(
        cell, N_STEPS, loss_gradients=np.ones(cell.n_hidden), rng=3
    ),
    "clipping by norm": lambda cell: vg.remedies.clipping(cell, N_STEPS, 1.0, rng=3),
    "clipping by value": lambda cell: vg.remedies.clipping(cell, N_STEPS, 1.0, by="value", rng=3),
    "clipping on delta": lambda cell: vg.remedies.clipping(cell, N_STEPS, 1.0, by="delta", rng=3),
    "descent on Omega": lambda cell: vg.remedies.penalised_descent(
        cell, "omega", 9, 1e-3, n_steps=N_STEPS // 10, rng=3
    ),
    "descent on orthogonality": lambda cell: vg.remedies.penalised_descent(
        cell, "orthogonality", N_STEPS, 1e-3
    ),
}


@pytest.mark.parametrize(("n_hidden", "n_draws"), SIZES)
@pytest.mark.parametrize("name", MEASURES)
def test_remedy(benchmark, name, n_hidden, n_draws):
    benchmark.group = f"{name} N={n_hidden}"
    cell = vg.RNN.draw(n_draws, n_hidden, gain=1.5, rng=1)
    benchmark.extra_info.update(n_hidden=n_hidden, n_draws=n_draws, n_steps=N_STEPS)
    benchmark.pedantic(MEASURES[name], args=(cell,), rounds=3, warmup_rounds=1)
