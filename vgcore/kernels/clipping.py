"""What clipping does to dE/dW_rec, at any size of it."""

from __future__ import annotations

import numpy as np

from vgcore._typing import Array
from vgcore.kernels.elementary import _log_one
from vgcore.kernels.jit import helper, kernel
from vgcore.kernels.scales import _copy
from vgcore.kernels.unrolled import (
    Unrolled,
    _cosine,
    _gradient,
    _log_norm,
    _settle,
)
from vgcore.kernels.vectors import _exponent, _max_abs, _scale_exact, _sum_squares

BY_NORM, BY_VALUE, BY_DELTA = range(3)


@helper()
def _ldexp(x: float, exponent: int) -> float:
    """Return 2**exponent x for an exponent of any size."""
    return float(np.ldexp(x, max(-5000, min(5000, exponent))))


@helper()
def _clip_values(gradient: Array, exponent: int, threshold: float, out: Array) -> int:
    """Set out to the gradient clipped entry by entry, over the threshold; count those clipped."""
    clipped = 0
    for i in range(out.shape[0]):
        row = out[i]
        _copy(gradient[i], row)
        _scale_exact(row, exponent)
        for j in range(row.size):
            if abs(row[j]) > threshold:
                row[j] = np.copysign(1.0, row[j])
                clipped += 1
            else:
                row[j] /= threshold
    return clipped


@helper()
def _clip_deltas(unrolled: Unrolled, threshold: float, clipped_norms: Array) -> tuple[int, float]:
    """Replace the gates by those of a backward pass that clips each delta to norm `threshold`.

    A step is linear, so a clipped delta has the direction of the one that is not, and is m 2**q
    times it with a factor that never grows with the lag. Returns how many of delta_T ... delta_1
    are clipped, and the largest log norm that is met before clipping. clipped_norms (T + 1,) takes
    the log norms after it.
    """
    squares, exponents = unrolled.squares[0], unrolled.exponents[0]
    gate_exponents = unrolled.exponents[2]
    n_steps = squares.size - 1
    power = _exponent(threshold)
    mantissa = np.ldexp(threshold, -power)
    m, q, clipped, largest = 1.0, 0, 0, -np.inf
    for t in range(n_steps, -1, -1):
        norm, exponent = np.sqrt(squares[t]), exponents[t]
        largest = max(largest, _log_norm(m * m * squares[t], q + exponent))
        if _ldexp(m * norm, q + exponent) > threshold:
            m, q = mantissa / norm, power - exponent
            clipped += 1 if t > 0 else 0
        clipped_norms[t] = _log_norm(m * m * squares[t], q + exponent)
        if t > 0 and squares[t] != 0.0:
            row = unrolled.gates[t - 1]
            for j in range(row.size):
                row[j] *= m
            gate_exponents[t - 1] = _settle(row, gate_exponents[t - 1] + q)[1]
    return clipped, largest


@helper()
def _fall(log_norms: Array, log_eps: float) -> int:
    """Return the first lag at which the norm is down to eps of that at lag 0, or the last lag."""
    last = log_norms.size - 1
    for lag in range(last + 1):
        if log_norms[last - lag] <= log_norms[last] + log_eps:
            return lag
    return last


@kernel()
def _clipping_lane(
    unrolled: Unrolled,
    n: int,
    by: int,
    threshold: float,
    log_eps: float,
    series: Array,
    full: Array,
    other: Array,
    out: Array,
    out_logs: Array,
) -> None:
    """Clip the gradient of a trajectory of n units, unrolled back with one loss.

    out: log norm, log norm after clipping, cosine between the two, share that is clipped (of one
    gradient, of its entries, of its steps), log of the largest norm that plain arithmetic would
    meet, steps until the norm of delta is down to eps, and the same after clipping. out_logs
    (2, T + 1): log norms by lag, before clipping, of delta and of the terms of the gradient.
    Scratch: series (2, T + 1), full and other as W_rec.
    """
    squares, exponents = unrolled.squares, unrolled.exponents
    n_steps, n_gates = unrolled.to_gates.shape[:2]
    log_threshold = _log_one(np.float64(threshold))
    exponent = _gradient(unrolled, full)
    log_norm = _log_norm(_sum_squares(full), exponent)
    # On delta, the gradients that plain arithmetic meets are those of `_clip_deltas` instead.
    largest = log_norm if by != BY_DELTA else -np.inf
    for t in range(n_steps + 1):
        series[0, t] = _log_norm(squares[0, t], exponents[0, t])
        activity = gate = -np.inf
        if t > 0:
            activity = _log_norm(squares[1, t - 1], exponents[1, t - 1])
            gate = _log_norm(squares[2, t - 1], exponents[2, t - 1])
        out_logs[0, n_steps - t] = series[0, t]
        out_logs[1, n_steps - t] = gate + activity
        largest = max(largest, activity)
        if by != BY_DELTA:
            largest = max(largest, series[0, t], gate, gate + activity)
    out[0], out[1], out[2], out[3] = log_norm, log_norm, 1.0, 0.0
    out[5] = out[6] = _fall(series[0], log_eps)
    if by == BY_NORM:
        if log_norm > log_threshold:
            out[1], out[3] = log_threshold, 1.0
    elif by == BY_VALUE:
        if _ldexp(_max_abs(full), exponent) > threshold:
            out[3] = _clip_values(full, exponent, threshold, other) / (n_gates * n * n)
            out[1] = log_threshold + _log_norm(_sum_squares(other), int(np.int64(0)))
            out[2] = _cosine(full, other, unrolled.sum)
    else:
        clipped, met = _clip_deltas(unrolled, threshold, series[1])
        largest = max(largest, met)
        out[6] = _fall(series[1], log_eps)
        if clipped > 0:
            exponent = _gradient(unrolled, other)
            out[3] = clipped / n_steps
            out[1] = _log_norm(_sum_squares(other), exponent)
            out[2] = _cosine(full, other, unrolled.sum)
            largest = max(largest, out[1])
    out[4] = largest
