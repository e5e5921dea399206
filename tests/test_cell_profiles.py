"""Profiles of LSTM, GRU, LeakyRNN and DeepNet: oracles, identities, horizons, bits."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg

KINDS = ("LSTM", "GRU", "LeakyRNN", "DeepNet", "residual")
ACCURACY = {"float64": 1e-9, "float32": 2e-4}


def draw(kind, n_draws, n, n_steps, dtype="float64", seed=1, gain=1.5):
    """Random cells with inputs and biases; a DeepNet as deep as the steps."""
    options = {"gain": gain, "dtype": dtype, "rng": seed}
    if kind in ("LSTM", "GRU"):
        return getattr(vg, kind).draw(n_draws, n, n_inputs=2, **options)
    if kind == "LeakyRNN":
        return vg.LeakyRNN.draw(n_draws, n, n_inputs=2, bias_variance=0.1, leak=0.3, **options)
    residual = kind == "residual"
    return vg.DeepNet.draw(n_draws, n_steps, n, bias_variance=0.1, residual=residual, **options)


def steps_of(cell, draw, inputs):
    """The steps of one draw as maps (W, x) -> x, and the W of each."""
    d = draw
    if isinstance(cell, vg.DeepNet):
        steps = [
            lambda W, x, b=b: naive.deep_step(W, b, np.tanh, cell.residual, x)
            for b in cell.bias[d].astype(float)
        ]
        return steps, cell.W[d].astype(float)
    W_in = cell.W_in[d].astype(float)
    if isinstance(cell, vg.LSTM):
        steps = [lambda W, x, u=u: naive.lstm_step(W, W_in, cell.bias[d], u, x) for u in inputs]
    elif isinstance(cell, vg.GRU):
        steps = [
            lambda W, x, u=u: naive.gru_step(W, W_in, cell.b_ih[d], cell.b_hh[d], u, x)
            for u in inputs
        ]
    else:
        steps = [
            lambda W, x, u=u: naive.leaky_step(W, W_in, cell.bias[d], cell.leak, np.tanh, u, x)
            for u in inputs
        ]
    return steps, [cell.W_rec[d].astype(float)] * len(steps)


@pytest.mark.jit_off
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 4, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_profile_equals_oracle(kind, n, dtype):
    burn_in, n_steps = (0 if kind in ("DeepNet", "residual") else 2), 5
    cell = draw(kind, 2, n, n_steps, dtype)
    rng = np.random.default_rng(n)
    u = rng.standard_normal((2, 2, burn_in + n_steps, 2))
    x0, v = rng.standard_normal((2, 2, 2, cell.n_state))
    given_inputs = {"inputs": u, "burn_in": burn_in} if cell.n_inputs else {}
    found = vg.gradient_profile(
        cell, n_steps, n_trajectories=2, initial_state=x0, loss_gradient=v, **given_inputs
    )
    for d, k in np.ndindex(2, 2):
        steps, weights = steps_of(cell, d, u[d, k])
        norm, contribution = naive.profile_of_steps(steps, weights, x0[d, k], v[d, k], n_steps)
        np.testing.assert_allclose(found.log_norm[d, k], norm, atol=ACCURACY[dtype])
        np.testing.assert_allclose(found.log_contribution[d, k], contribution, atol=ACCURACY[dtype])


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_equals_central_differences_of_the_forward_map(kind):
    n_steps, h = 10, 1e-5
    cell = draw(kind, 1, 6, n_steps)
    rng = np.random.default_rng(2)
    u, x0, v = (rng.standard_normal(s) for s in ((n_steps, 2), cell.n_state, cell.n_state))
    steps, weights = steps_of(cell, 0, u)

    def run(x):
        for step, W in zip(steps, weights, strict=True):
            x = step(W, x)
        return x

    moves = h * np.eye(cell.n_state)
    gradient = [v @ (run(x0 + move) - run(x0 - move)) / (2 * h) for move in moves]
    options = {"inputs": u} if cell.n_inputs else {}
    found = vg.gradient_profile(cell, n_steps, initial_state=x0, loss_gradient=v, **options)
    assert np.exp(found.log_norm[0, 0, -1]) == pytest.approx(np.linalg.norm(gradient), rel=1e-6)


def test_without_recurrent_weights_an_lstm_carries_by_its_forget_gate():
    """dc_t/dc_{t-1} = sigmoid(b_f), to the last unit and whatever the horizon."""
    n, n_steps = 5, 3000
    bias = vg.LSTM.draw(1, n, chrono=200.0, rng=1).bias
    cell = vg.LSTM(None, np.zeros((1, 4 * n, n)), bias)
    b_f = vg.LSTM.gate("f", bias)[0]
    for unit in range(n):
        loss = np.zeros(2 * n)
        loss[n + unit] = 1.0
        found = vg.gradient_profile(cell, n_steps, loss_gradient=loss, rng=2)
        expected = -np.arange(n_steps + 1) * np.logaddexp(0, -b_f[unit])
        np.testing.assert_allclose(found.log_norm[0, 0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("b", "rate"), [(0.0, -0.6931), (1.0, -0.3133), (3.0, -0.0486)])
def test_rates_of_forget_biases(b, rate):
    bias = np.zeros((1, 12))
    vg.LSTM.gate("f", bias)[:] = b
    found = vg.gradient_profile(vg.LSTM(None, np.zeros((1, 12, 3)), bias), 200, rng=1)
    assert found.rate().value == pytest.approx(rate, abs=5e-5)


def test_a_gru_whose_update_gate_is_open_keeps_its_gradient():
    cell = vg.GRU.draw(3, 8, update_bias=50.0, rng=1)
    found = vg.gradient_profile(cell, 1000, rng=2)
    assert np.abs(found.log_norm).max() < 1e-12


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "gelu", "linear"])
@pytest.mark.parametrize("gain", [0.2, 1.4, 9.0])
def test_leak_1_is_the_vanilla_network(activation, gain):
    """With h_t = s(x_{t-1}) and dE/dh_T = W^T dE/dx_T, terms of dE/dW_rec are those of x.

    Over 1,500 steps states and gradients leave the range of floats both ways.
    """
    driven = {} if activation == "linear" else {"bias_variance": 0.1}
    cell = vg.RNN.draw(2, 12, gain=gain, activation=activation, rng=1, **driven)
    leaky = vg.LeakyRNN(cell.W_rec, None, cell.bias, activation=activation)
    h, v = np.random.default_rng(2).standard_normal((2, 2, 1, 12))
    chaotic = activation == "tanh" and gain > 1.0
    n_steps = 20 if chaotic else 1500
    x = np.einsum("dij,dkj->dki", cell.W_rec, h)
    x += 0.0 if cell.bias is None else cell.bias[:, None]
    back = np.einsum("dji,dkj->dki", cell.W_rec, v)
    vanilla = vg.gradient_profile(cell, n_steps, initial_state=x, loss_gradient=v)
    found = vg.gradient_profile(leaky, n_steps, initial_state=h, loss_gradient=back)
    ours, expected = found.log_contribution[..., :-2], vanilla.log_contribution[..., 1:-1]
    assert np.isfinite(ours).any()
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gain", [0.05, 20.0])
def test_linear_leaky_units_have_the_rate_of_their_matrix(gain, dtype):
    """(1 - a) I + a W over 1,000 steps, where states and gradients leave the range of floats."""
    Q = vg.draw_weights("orthogonal", 2, 8, rng=1)
    W = gain * (Q * np.linspace(0.5, 3.0, 8)) @ Q.transpose(0, 2, 1)  # symmetric, positive
    cell = vg.LeakyRNN(W.astype(dtype), activation="linear", leak=0.5)
    found = vg.gradient_profile(cell, 1000, rng=2)
    rho = np.abs(np.linalg.eigvalsh(0.5 * np.eye(8) + 0.5 * cell.W_rec.astype(float))).max(axis=1)
    np.testing.assert_allclose(found.rate((900, 1000)).value[:, 0], np.log(rho), rtol=1e-4)
    # the state grows as the gradient shrinks from the loss back, so that terms stay as they are
    terms = found.log_contribution[:, 0, 400:600]
    assert np.abs(terms - terms.mean(axis=1, keepdims=True)).max() < 1e-2


def test_a_driven_leaky_relu_network_leaves_and_reenters_the_normal_range():
    rng = np.random.default_rng(3)
    cell = vg.LeakyRNN(30 * np.eye(3)[None], np.ones((1, 3, 1)), activation="relu", leak=0.5)
    u = np.r_[np.zeros(150), np.full(100, -1e300), np.ones(150)][:, None]
    x0, v = np.abs(rng.standard_normal((2, 3)))
    found = vg.gradient_profile(cell, 400, inputs=u, initial_state=x0, loss_gradient=v)
    assert not np.isnan(found.log_norm).any()
    assert not np.isnan(found.log_contribution).any()
    # ln 15.5 a step while the unit is on, ln 0.5 while the input holds it off
    steps = np.unique(np.diff(found.log_norm[0, 0]).round(9))
    assert set(steps) <= set(np.log([15.5, 0.5]).round(9))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_states_that_vanish_are_scaled(kind, dtype):
    """Without weights or biases the state halves each step, and so does the gradient back.

    Their product, a term of dE/dW_rec, is the same at every lag; 2,000 halvings leave any float.
    """
    rows = {"LSTM": 4, "GRU": 3}[kind] * 3
    cell = getattr(vg, kind)(None, np.zeros((1, rows, 3), dtype))
    found = vg.gradient_profile(cell, 2000, rng=1)
    assert found.rate().value == pytest.approx(-np.log(2), rel=1e-6)
    terms = found.log_contribution[0, 0, 100:1900]
    assert np.isfinite(terms).all()
    np.testing.assert_allclose(terms, terms[0], atol=1e-3)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_vanished_state_comes_back_with_its_input(kind):
    cell = getattr(vg, kind).draw(1, 4, n_inputs=1, rng=1)
    zeros = [np.zeros_like(b) for b in ((cell.bias,) if kind == "LSTM" else (cell.b_ih, cell.b_hh))]
    cell = getattr(vg, kind)(cell.W_ih, cell.W_hh, *zeros)
    u = np.r_[np.zeros(1500), np.ones(10)][:, None]
    rng = np.random.default_rng(2)
    x0, v = rng.standard_normal((2, cell.n_state))
    found = vg.gradient_profile(cell, 1510, inputs=u, initial_state=x0, loss_gradient=v)
    assert np.isfinite(found.log_contribution[0, 0, :-1]).all()
    short = vg.gradient_profile(
        cell, 10, inputs=u[1500:], initial_state=np.zeros(cell.n_state), loss_gradient=v
    )
    np.testing.assert_allclose(found.log_norm[0, 0, :11], short.log_norm[0, 0], atol=1e-12)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "LeakyRNN"])
def test_no_input_is_that_of_a_cell_without_input_weights(kind):
    cell = draw(kind, 2, 6, 20)
    bare = taken(cell, slice(None))
    bare.W_in = bare.W_ih = None
    found, expected = (vg.gradient_profile(one, 20, rng=3) for one in (cell, bare))
    assert (found.log_norm == expected.log_norm).all()
    ours, theirs = (vg.lyapunov_exponents(one, 20, rng=3) for one in (cell, bare))
    assert (ours == theirs).all()


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "LeakyRNN"])
def test_no_horizon_is_too_long(kind):
    """Both of a vanishing and of an exploding gradient."""
    for gain in (0.3, 30.0):
        cell = getattr(vg, kind).draw(2, 6, gain=gain, dtype="float32", rng=1)
        found = vg.gradient_profile(cell, 20_000, rng=2)
        assert np.isfinite(found.log_norm).all()
        assert np.isfinite(found.log_contribution[..., :-1]).all()


def test_equal_layers_are_the_vanilla_network():
    cell = vg.RNN.draw(3, 20, gain=1.2, bias_variance=0.1, rng=1)
    layers = [np.repeat(array[:, None], 200, axis=1) for array in (cell.W_rec, cell.bias)]
    expected = vg.gradient_profile(cell, 200, rng=2)
    found = vg.gradient_profile(vg.DeepNet(*layers), 200, rng=2)
    np.testing.assert_allclose(found.log_norm, expected.log_norm, atol=1e-9)
    np.testing.assert_allclose(found.log_contribution, expected.log_contribution, atol=1e-9)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("gain", [1e-3, 1e3])
def test_linear_layers_multiply_whatever_their_size(gain, residual):
    """Orthogonal layers multiply by the gain, and residual identities by 1 plus it."""
    W = vg.DeepNet.draw(2, 400, 5, init="orthogonal", gain=gain, rng=1).W
    if residual:
        W = np.broadcast_to(gain * np.eye(5), W.shape)
    net = vg.DeepNet(W, activation="linear", residual=residual)
    found = vg.gradient_profile(net, 400, rng=2)
    rate = np.log(1 + gain) if residual else np.log(gain)
    np.testing.assert_allclose(np.diff(found.log_norm), rate, rtol=1e-10, atol=1e-12)
    terms = found.log_contribution[..., :-1]
    np.testing.assert_allclose(terms, terms[..., :1] * np.ones(400), rtol=1e-9)


def test_a_deep_net_runs_all_layers_and_goes_back_some():
    net = vg.DeepNet.draw(2, 30, 7, gain=1.3, rng=1)
    x0, v = np.random.default_rng(2).standard_normal((2, 7))
    whole = vg.gradient_profile(net, 30, initial_state=x0, loss_gradient=v)
    part = vg.gradient_profile(net, 10, initial_state=x0, loss_gradient=v)
    assert (part.log_norm == whole.log_norm[..., :11]).all()
    assert (part.log_contribution == whole.log_contribution[..., :11]).all()


@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 20),
    dtype=st.sampled_from(["float32", "float64"]),
    log_gain=st.floats(-20, 3),  # above, float32 slopes of saturated units are subnormal
    seed=st.integers(0, 99),
)
def test_a_scaled_loss_shifts_every_log(kind, n, dtype, log_gain, seed):
    cell = draw(kind, 1, n, 30, dtype, seed, gain=2.0**log_gain)
    v = np.random.default_rng(seed).standard_normal(cell.n_state)
    u = {"inputs": np.ones((30, 2))} if cell.n_inputs else {}
    one, other = (
        vg.gradient_profile(cell, 30, loss_gradient=size * v, rng=seed, **u)
        for size in (1.0, 2.0**-30)
    )
    shift = 30 * np.log(2)
    np.testing.assert_allclose(one.log_norm, other.log_norm + shift, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(
        one.log_contribution, other.log_contribution + shift, rtol=1e-6, atol=1e-4
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [5, 16, 33])
@pytest.mark.parametrize("kind", KINDS)
def test_a_profile_depends_on_neither_threads_nor_place(kind, n, dtype):
    cell, more = (draw(kind, n_draws, n, 60, dtype) for n_draws in (9, 20))
    rng = np.random.default_rng(1)
    state, loss = rng.standard_normal((2, 9, 3, cell.n_state))
    u = {"inputs": rng.standard_normal((60, 2))} if cell.n_inputs else {}

    def run(cell, chosen, n_threads=1):
        found = vg.gradient_profile(
            cell,
            60,
            n_trajectories=3,
            initial_state=state[chosen],
            loss_gradient=loss[chosen],
            n_threads=n_threads,
            **u,
        )
        return np.stack([found.log_norm, found.log_contribution], axis=1)

    whole = run(cell, slice(None))
    assert (whole == run(cell, slice(None), 2)).all()
    assert (more.W_rec[:9] == cell.W_rec).all()
    for chosen in ([0], [8], [7, 3]):
        assert (run(taken(cell, chosen), chosen) == whole[chosen]).all()


def taken(cell, chosen):
    """The same kind of cell with some of the draws."""
    if isinstance(cell, vg.LSTM):
        return vg.LSTM(cell.W_ih[chosen], cell.W_hh[chosen], cell.bias[chosen])
    if isinstance(cell, vg.GRU):
        arrays = (cell.W_ih, cell.W_hh, cell.b_ih, cell.b_hh)
        return vg.GRU(*(array[chosen] for array in arrays))
    if isinstance(cell, vg.LeakyRNN):
        arrays = (cell.W_rec, cell.W_in, cell.bias)
        return vg.LeakyRNN(*(array[chosen] for array in arrays), leak=cell.leak)
    return vg.DeepNet(cell.W[chosen], cell.bias[chosen], residual=cell.residual)


BAD = [
    ("LSTM", {"jacobian": "as_printed"}, "a LSTM has"),
    ("DeepNet", {"burn_in": 1}, "burn_in: found 1, expected 0 for a DeepNet"),
    ("DeepNet", {"inputs": np.ones((5, 2))}, "a DeepNet's is its initial_state"),
    ("LSTM", {"initial_state": np.zeros(4)}, "(n_draws, n_trajectories, n_state) = (1, 1, 8)"),
]


@pytest.mark.parametrize(("kind", "options", "text"), BAD)
def test_bad_arguments_are_named(kind, options, text):
    with pytest.raises(ValueError, match="found") as caught:
        vg.gradient_profile(draw(kind, 1, 4, 5), 5, **options)
    assert text in str(caught.value)


def test_a_deep_net_has_no_more_lags_than_layers():
    with pytest.raises(ValueError, match=r"n_steps: found 6, expected .* at most 5"):
        vg.gradient_profile(vg.DeepNet.draw(1, 5, 3, rng=1), 6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "LeakyRNN"])
def test_terms_of_a_small_gradient_and_a_small_state_do_not_underflow_in_float32(kind):
    """Half way both are near 2^-45; their squares are numbers of float32, the product is not."""
    n, gates = 5, {"LSTM": 4, "GRU": 3, "LeakyRNN": 1}[kind]
    rng = np.random.default_rng(1)
    W = 1e-3 * rng.standard_normal((2, gates * n, n))
    single, double = (
        vg.LeakyRNN(W.astype(dtype), leak=0.5)
        if kind == "LeakyRNN"
        else getattr(vg, kind)(None, W.astype(dtype))
        for dtype in ("float32", "float64")
    )
    x0, v = rng.standard_normal((2, 2, 1, single.n_state))
    found, expected = (
        vg.gradient_profile(cell, 90, initial_state=x0, loss_gradient=v).log_contribution[..., :-1]
        for cell in (single, double)
    )
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, atol=1e-4)
