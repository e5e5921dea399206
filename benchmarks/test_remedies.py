"""Time the measurement of remedies, beside a peer where one does the same work at once.

pytest benchmarks/test_remedies.py
"""

from __future__ import annotations

OPERATIONS = ("clipping", "truncation", "penalised_descent")


def test_operation(time_operation, operation, case, implementation):
    time_operation(operation, case, implementation)
