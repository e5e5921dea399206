"""Numbers that users cite do not depend on the threads of the linear algebra library."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import numpy as np, vgcore as vg
from vgcore.theory.mean_field import critical_gain
walks = np.cumsum(np.random.default_rng(0).normal(size=(2, 1, 20_001)), axis=-1)
rate = vg.GradientProfile(walks, walks, walks, walks).rate()
W = vg.draw_weights("critical", 1, 40, activation="sigmoid", spectral_radius=0.9, rng=1)
Q = vg.draw_weights("orthogonal", 1, 200, rng=1)
cell = vg.RNN.draw(1, 70, gain=2.0, rng=1)
spectrum = vg.lyapunov_exponents(cell, 5, rng=1)
tangent = (spectrum, *vg.jacobian_product(cell, 5, rng=1), vg.log_singular_values(cell, 5, rng=1))
derived = (vg.kaplan_yorke_dimension(spectrum), vg.entropy_rate(spectrum))
for value in (rate.value, rate.stderr, critical_gain("tanh", 0.01), W, Q, *tangent, *derived):
    print(np.asarray(value).tobytes().hex())
"""


def test_bits_do_not_depend_on_blas_threads():
    printed = {
        subprocess.run(
            [sys.executable, "-c", CODE],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(printed) == 1
