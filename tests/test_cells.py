"""RNN: shapes, dtypes, the law of its random parameters, and errors that name the array."""

from __future__ import annotations

import numpy as np
import pytest

import vgcore as vg


def test_attributes_state_the_sizes():
    cell = vg.RNN(np.zeros((2, 3, 3), np.float32), np.zeros((2, 3, 5)), np.zeros((2, 3)))
    assert (cell.n_draws, cell.n_hidden, cell.n_state, cell.n_inputs) == (2, 3, 3, 5)
    assert cell.dtype == np.float32
    assert cell.W_in.dtype == cell.bias.dtype == np.float32
    assert "n_draws=2" in repr(cell)


def test_integer_weights_become_float64():
    assert vg.RNN(np.eye(3, dtype=int)[None]).dtype == np.float64


def test_drawn_input_weights_and_biases_have_the_stated_variance():
    cell = vg.RNN.draw(60, 50, n_inputs=10, input_variance=0.4, bias_variance=0.09, rng=1)
    assert (cell.W_in**2).sum(axis=2).mean() == pytest.approx(0.4, rel=0.05)
    assert cell.bias.var() == pytest.approx(0.09, rel=0.1)
    assert vg.RNN.draw(3, 5, rng=1).bias is None


def test_drawn_weights_equal_draw_weights_of_the_same_seed():
    cell = vg.RNN.draw(4, 6, init="sparse", spectral_radius=0.9, nonzeros=2, rng=8)
    W = vg.draw_weights("sparse", 4, 6, spectral_radius=0.9, nonzeros=2, rng=8)
    assert np.array_equal(cell.W_rec, W)


BAD = [
    (
        {"W_rec": np.zeros((3, 3))},
        ValueError,
        "W_rec: found shape (3, 3), expected (n_draws, N, N)",
    ),
    ({"W_rec": np.zeros((1, 3, 4))}, ValueError, "W_rec: found shape (1, 3, 4)"),
    ({"W_rec": np.zeros((1, 0, 0))}, ValueError, "W_rec: found shape (1, 0, 0)"),
    ({"W_rec": np.full((1, 2, 2), np.nan)}, ValueError, "W_rec: found nan at index (0, 0, 0)"),
    ({"W_rec": np.full((1, 2, 2), np.inf)}, ValueError, "W_rec: found inf"),
    ({"W_rec": np.zeros((1, 2, 2), complex)}, TypeError, "W_rec: found dtype complex128"),
    ({"W_rec": [[[1, 2], [3]]]}, ValueError, "W_rec: not a rectangular array"),
    (
        {"W_in": np.zeros((2, 3, 1))},
        ValueError,
        "W_in: found shape (2, 3, 1), expected (1, 2, n_inputs)",
    ),
    ({"bias": np.zeros(2)}, ValueError, "bias: found shape (2,), expected (1, 2)"),
    ({"bias": np.full((1, 2), np.nan)}, ValueError, "bias: found nan"),
    ({"activation": "rleu"}, ValueError, "did you mean 'relu'"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD)
def test_bad_arguments_are_named(options, error, text):
    with pytest.raises(error) as caught:
        vg.RNN(**{"W_rec": np.zeros((1, 2, 2)), **options})
    assert text in str(caught.value)
