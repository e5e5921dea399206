"""Time the kernels beside what a user would otherwise write, in one run.

    pytest benchmarks

Each group holds one operation at one size. Compiling happens before the timed rounds.
`vgcore bench` times the same table with all implementations interleaved, which is what its ratios
rest on; here each has its rounds to itself.
"""

from __future__ import annotations

OPERATIONS = ("gradient_profile", "lstm_profile", "gru_profile", "spectral_radius", "draw_weights")


def test_operation(time_operation, operation, case, implementation):
    time_operation(operation, case, implementation)
