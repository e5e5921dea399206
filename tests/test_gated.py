"""Cells beside the vanilla one: shapes, laws of random parameters, errors that name the array."""

from __future__ import annotations

import numpy as np
import pytest

import vgcore as vg

N, M = 50, 10


@pytest.mark.parametrize(("kind", "gates", "n_state"), [("LSTM", 4, 2 * N), ("GRU", 3, N)])
def test_attributes_state_the_sizes(kind, gates, n_state):
    cell = getattr(vg, kind).draw(2, N, n_inputs=M, dtype="float32", rng=1)
    assert (cell.n_draws, cell.n_hidden, cell.n_inputs, cell.n_state) == (2, N, M, n_state)
    assert cell.W_hh.shape == (2, gates * N, N)
    assert cell.W_ih.shape == (2, gates * N, M)
    assert cell.dtype == cell.W_ih.dtype == np.float32
    assert repr(cell) == f"{kind}(n_draws=2, n_hidden=50, n_inputs=10, dtype=float32)"


def test_biases_of_the_gates():
    options = {"n_inputs": M, "rng": 1}
    default, open_, long = (
        vg.LSTM.draw(40, N, **options, **bias)
        for bias in ({}, {"forget_bias": 2.0}, {"chrono": 300.0})
    )
    for cell in (open_, long):
        assert (cell.W_hh == default.W_hh).all()
        assert (cell.W_ih == default.W_ih).all()
        for gate in "go":
            assert (cell.gate(gate, cell.bias) == cell.gate(gate, default.bias)).all()
    assert (open_.gate("f", open_.bias) == 2.0).all()
    assert (open_.gate("i", open_.bias) == open_.gate("i", default.bias)).all()
    kept = long.gate("f", long.bias)
    assert (long.gate("i", long.bias) == -kept).all()
    steps = np.exp(kept)  # uniform on (1, 299)
    assert 1 <= steps.min() < 3
    assert 297 < steps.max() <= 299
    assert steps.mean() == pytest.approx(150, abs=8)


def test_update_bias_counts_once():
    cell = vg.GRU.draw(3, N, n_inputs=M, update_bias=1.5, rng=1)
    total = cell.b_ih + cell.b_hh
    assert (cell.gate("z", total) == 1.5).all()
    assert (cell.gate("r", total) != 1.5).all()
    long = vg.GRU.draw(3, N, chrono=50.0, rng=1)
    steps = np.exp(long.gate("z", long.b_ih + long.b_hh))
    assert ((steps > 1) & (steps < 49)).all()


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_blocks_are_orthogonal_each(kind):
    cell = getattr(vg, kind).draw(2, N, init="orthogonal", gain=1.2, n_inputs=M, rng=1)
    for gate in cell.GATES:
        Q = cell.gate(gate, cell.W_hh)
        np.testing.assert_allclose(
            Q @ Q.transpose(0, 2, 1), np.tile(1.44 * np.eye(N), (2, 1, 1)), atol=1e-12
        )
    assert (cell.W_ih**2).sum(axis=2).mean() == pytest.approx(1.0, rel=0.1)
    first, second = (cell.gate(gate, cell.W_hh) for gate in cell.GATES[:2])
    assert np.abs(first - second).max() > 0.1


def test_each_block_has_the_spectral_radius():
    cell = vg.GRU.draw(3, N, init="gaussian", spectral_radius=0.9, rng=1)
    for gate in "rzn":
        np.testing.assert_allclose(vg.spectral_radius(cell.gate(gate, cell.W_hh)), 0.9, rtol=1e-8)


@pytest.mark.parametrize(
    "draw",
    [
        lambda n: vg.LSTM.draw(n, 6, n_inputs=2, chrono=9.0, rng=4),
        lambda n: vg.GRU.draw(n, 6, n_inputs=2, rng=4),
        lambda n: vg.LeakyRNN.draw(n, 6, n_inputs=2, density=0.5, rng=4),
    ],
)
def test_a_draw_does_not_depend_on_their_number(draw):
    few, many = draw(2), draw(7)
    for name, array in vars(few).items():
        if isinstance(array, np.ndarray):
            assert (array == getattr(many, name)[:2]).all(), name


def test_a_reservoir_is_sparse_and_shares_its_weights_with_the_vanilla_network():
    cell = vg.LeakyRNN.draw(4, 80, density=0.1, spectral_radius=0.8, leak=0.3, rng=2)
    assert ((cell.W_rec != 0).sum(axis=2) == 8).all()
    np.testing.assert_allclose(vg.spectral_radius(cell.W_rec), 0.8, rtol=1e-8)
    same = vg.RNN.draw(4, 80, init="sparse", nonzeros=8, spectral_radius=0.8, rng=2)
    assert (same.W_rec == cell.W_rec).all()
    assert "leak=0.3" in repr(cell)


def test_layers_of_a_deep_net():
    net = vg.DeepNet.draw(3, 4, 6, gain=1.3, bias_variance=0.2, rng=5)
    assert net.W.shape == (3, 4, 6, 6)
    assert net.bias.shape == (3, 4, 6)
    assert (net.W[:, 0] == vg.RNN.draw(3, 6, gain=1.3, rng=5).W_rec).all()
    assert (vg.DeepNet.draw(3, 9, 6, gain=1.3, rng=5).W[:, :4] == net.W).all()
    flat = net.W.reshape(12, 36)
    assert len(np.unique(flat[:, 0])) == 12  # no two layers alike
    assert net.n_layers == 4
    assert net.n_inputs == 0


W4, W3 = np.zeros((2, 12, 3)), np.zeros((2, 9, 3))
BAD = [
    (lambda: vg.LSTM(None, W3), ValueError, "W_hh: found shape (2, 9, 3), expected 4N = 12 rows"),
    (lambda: vg.GRU(None, W4), ValueError, "W_hh: found shape (2, 12, 3), expected 3N = 9 rows"),
    (lambda: vg.GRU(None, W4), ValueError, "the gates r, z, n one above the other"),
    (lambda: vg.LSTM(None, W4[0]), ValueError, "for a single cell pass W_hh[None]"),
    (
        lambda: vg.LSTM(np.zeros((2, 9, 5)), W4),
        ValueError,
        "W_ih: found shape (2, 9, 5), expected 4N",
    ),
    (
        lambda: vg.LSTM(np.zeros((1, 12, 5)), W4),
        ValueError,
        "W_ih: found shape (1, 12, 5), expected (2,",
    ),
    (
        lambda: vg.LSTM(None, W4, np.zeros((2, 3))),
        ValueError,
        "bias: found shape (2, 3), expected 4N",
    ),
    (lambda: vg.GRU(None, W3, None, np.zeros((2, 12))), ValueError, "b_hh: found shape (2, 12)"),
    (lambda: vg.GRU(None, np.full((1, 3, 1), np.nan)), ValueError, "W_hh: found nan"),
    (lambda: vg.LSTM(None, np.zeros((1, 0, 0))), ValueError, "at least one draw and one unit"),
    (lambda: vg.LSTM.draw(1, 2, forget_bias=1, chrono=9), ValueError, "both given"),
    (lambda: vg.GRU.draw(1, 2, update_bias=1, chrono=9), ValueError, "both given"),
    (lambda: vg.LSTM.draw(1, 2, chrono=2), ValueError, "chrono: found 2.0, expected"),
    (lambda: vg.LSTM.draw(1, 2, init="orthogonl"), ValueError, "did you mean 'orthogonal'"),
    (lambda: vg.LSTM.draw(0, 2), ValueError, "n_draws: found 0"),
    (lambda: vg.LSTM.draw(1, 2).gate("z", np.zeros((1, 8))), ValueError, "name: 'z' is not known"),
    (lambda: vg.LeakyRNN(np.zeros((1, 2, 2)), leak=0.0), ValueError, "leak: found 0.0"),
    (lambda: vg.LeakyRNN(np.zeros((1, 2, 2)), leak=1.5), ValueError, "leak: found 1.5"),
    (lambda: vg.LeakyRNN.draw(1, 4, density=2.0), ValueError, "density: found 2.0"),
    (
        lambda: vg.LeakyRNN.draw(1, 4, density=0.5, init="orthogonal"),
        ValueError,
        "drop one of them",
    ),
    (lambda: vg.DeepNet(np.zeros((1, 2, 3, 4))), ValueError, "W: found shape (1, 2, 3, 4)"),
    (lambda: vg.DeepNet(np.zeros((2, 3, 3))), ValueError, "(n_draws, n_layers, N, N)"),
    (lambda: vg.DeepNet(np.zeros((1, 2, 3, 3)), np.zeros((1, 3))), ValueError, "bias: found shape"),
    (lambda: vg.DeepNet.draw(1, 0, 3), ValueError, "n_layers: found 0"),
]


@pytest.mark.parametrize(("make", "error", "text"), BAD)
def test_bad_arguments_are_named(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)
