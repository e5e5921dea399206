"""Kernels called from many threads at once, and in a child forked meanwhile, on any Numba layer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, threading
import numpy as np
import vgcore as vg

net = vg.RNN(vg.draw_weights("gaussian", 32, 16, rng=1))
right = vg.gradient_profile(net, 40, rng=3).log_norm
radii = vg.spectral_radius(net.W_rec)
wrong = []

def work(n=10):
    for _ in range(n):
        found = vg.gradient_profile(net, 40, rng=3).log_norm
        same = np.array_equal(vg.spectral_radius(net.W_rec), radii)
        if not (same and np.array_equal(found, right)):
            wrong.append(1)

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
child = os.fork()  # while they compute
if child == 0:
    signal.alarm(60)  # a hang is a failure too
    wrong.clear()
    work(2)
    os._exit(len(wrong))
for thread in threads:
    thread.join()
print(wrong, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(os.name != "posix", reason="fork")
@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_threads_and_a_fork_give_the_right_bits(layer):
    environment = {
        **os.environ,
        "NUMBA_THREADING_LAYER": layer,
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=200
    )
    assert ended.stdout == "[] 0\n", ended.stderr
