"""Time the training of ensembles of small nets, beside PyTorch and JAX.

pytest benchmarks/test_training.py
"""

from __future__ import annotations

OPERATIONS = ("training",)


def test_operation(time_operation, operation, case, implementation):
    time_operation(operation, case, implementation)
