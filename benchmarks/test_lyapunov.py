"""Time the full Lyapunov spectrum, and products of Jacobians, beside what a user would write.

    pytest benchmarks/test_lyapunov.py

NumPy's batched QR goes through the matrices one by one, and threads of its BLAS can slow it down:
"numpy_1thread" has one. Nothing else finds singular values of such products.
"""

from __future__ import annotations

OPERATIONS = ("lyapunov_exponents", "jacobian_product", "log_singular_values")


def test_operation(time_operation, operation, case, implementation):
    time_operation(operation, case, implementation)
