"""Input that no function can use is refused by name; odd input that is meant is understood."""

from __future__ import annotations

import numpy as np
import pytest
from test_peers import require

import vgcore as vg

CELL = vg.RNN.draw(2, 3, n_inputs=1, rng=0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: vg.DeepNet(np.zeros((1, 2, 3, 3)), residual="no"), TypeError, "residual: found"),
        (lambda: vg.remedies.penalties.omega(CELL, 3, squared=2), TypeError, "squared: found 2"),
        (lambda: vg.RNN.draw(2**60, 3), ValueError, "n_draws: found 1152921504606846976, expected"),
        (lambda: vg.RNN.draw(10**9, 10**4), ValueError, "n_draws, n_hidden, n_inputs: found 1"),
        (lambda: vg.LSTM.draw(10**9, 10**4), ValueError, r"1000000000 x 4 x 10000 x 10000, which"),
        (lambda: vg.gradient_profile(CELL, 10**13), ValueError, "n_steps, n_state: found 1000000"),
        (lambda: vg.theory.fuss_catalan_edge([2**60]), ValueError, "n_steps: found .* at most"),
        (lambda: vg.RNN.draw(1, 3, init="gausian"), ValueError, "did you mean 'gaussian'"),
        (lambda: vg.RNN.draw(1, 3, n_inputs=2, init="x"), ValueError, "init: 'x' is not known"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order_is_the_same_number(dtype, order):
    W = CELL.W_rec.astype(order + dtype)
    found = vg.RNN(W)
    assert found.dtype == np.dtype(dtype)
    expected = vg.gradient_profile(vg.RNN(W.astype("=" + dtype)), 5, rng=1)
    assert (vg.gradient_profile(found, 5, rng=1).log_norm == expected.log_norm).all()


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda W: W[::-1].copy()[::-1],
        lambda W: W.repeat(2, axis=0)[::2],
        lambda W: np.require(W, requirements="O"),
        lambda W: W.tolist(),
    ],
    ids=["fortran", "negative", "strided", "owned", "list"],
)
def test_any_layout_of_memory_is_the_same_number(change):
    W = CELL.W_rec
    found = vg.gradient_profile(vg.RNN(change(W)), 5, rng=1)
    assert (found.log_norm == vg.gradient_profile(vg.RNN(W), 5, rng=1).log_norm).all()


def test_a_tensor_with_a_gradient_is_refused_in_words():
    require("torch")
    import torch

    with pytest.raises(TypeError, match="W_rec: found Tensor, of which NumPy makes no array"):
        vg.RNN(torch.zeros((1, 3, 3), requires_grad=True))
