"""States of a leaky reservoir under given inputs."""

from __future__ import annotations

from numba import njit

from vgcore._typing import Array, Integers
from vgcore.kernels.leaky import _leaky_forward, _pack_quarters
from vgcore.kernels.rnn import _copy, _pack
from vgcore.kernels.vectors import _scale_exact


@njit(cache=True, nogil=True, error_model="numpy")
def _states_lane(
    W: Array,
    W_in: Array,
    given_bias: Array,
    activation: int,
    near_zero: Array,
    far: Array,
    shares: Array,
    inputs: Array,
    skipped: int,
    forward: Array,
    input_weights: Array,
    bias: Array,
    state: Array,
    vectors: Array,
    keep: Array,
    squares: Array,
    exponents: Integers,
    out: Array,
) -> None:
    """Set the rows of out (T, N) to the states after each of T steps that follow `skipped` ones.

    inputs (skipped + T, n_inputs); `state` (P,) is the first one. Scratch as in `_leaky_batch`,
    with two rows of keep.
    """
    n = W.shape[0]
    _pack_quarters(W, True, state.size, forward)
    _pack(W_in, True, input_weights)
    _copy(given_bias, bias)
    exponent = 0
    for t in range(inputs.shape[0]):
        exponent = _leaky_forward(
            forward, input_weights, bias, activation, near_zero, far, shares, inputs[t : t + 1], 0,
            n, state, exponent, vectors, keep, squares, exponents,
        )  # fmt: skip
        if t >= skipped:
            _copy(state[:n], out[t - skipped])
            _scale_exact(out[t - skipped], exponent)
