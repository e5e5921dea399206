"""gradient_profile against oracles, identities, extremes, and its promise of equal bits."""

from __future__ import annotations

import io

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from vgcore.activations import ACTIVATIONS

SIZES = (1, 2, 7, 33, 65)
# Units and trajectories of each way through the kernels: draws side by side, one row at a time,
# and trajectories side by side.
PATHS = [(2, 1), (40, 1), (40, 9), (2, 9)]


def problem(n, *, n_draws=2, n_trajectories=3, n_times=12, n_inputs=3, gain=1.2, seed=0):
    """Random parameters, inputs, initial states and loss gradients of every shape."""
    rng = np.random.default_rng(seed)
    return {
        "W": rng.standard_normal((n_draws, n, n)) * gain / np.sqrt(n),
        "W_in": rng.standard_normal((n_draws, n, n_inputs)),
        "b": rng.standard_normal((n_draws, n)),
        "u": rng.standard_normal((n_draws, n_trajectories, n_times, n_inputs)),
        "x0": rng.standard_normal((n_draws, n_trajectories, n)),
        "v": rng.standard_normal((n_draws, n_trajectories, n)),
    }


def oracle(p, activation, n_steps, **options):
    """Oracle profiles of each draw and trajectory, shape (2, draws, trajectories, T + 1)."""
    profiles = [
        [
            naive.rnn_profile(
                p["W"][d],
                p["W_in"][d],
                p["b"][d],
                activation,
                p["u"][d, k],
                p["x0"][d, k],
                p["v"][d, k],
                n_steps,
                **options,
            )
            for k in range(p["v"].shape[1])
        ]
        for d in range(len(p["W"]))
    ]
    return np.moveaxis(np.array(profiles), 2, 0)


def run(p, activation, n_steps, dtype=float, **options):
    cell = vg.RNN(p["W"].astype(dtype), p["W_in"], p["b"], activation=activation)
    return vg.gradient_profile(
        cell,
        n_steps,
        inputs=p["u"],
        n_trajectories=p["v"].shape[1],
        initial_state=p["x0"],
        loss_gradient=p["v"],
        **options,
    )


@pytest.mark.parametrize("jacobian", ["exact", "as_printed"])
@pytest.mark.parametrize("burn_in", [0, 1, 4])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_profile_equals_oracle_with_inputs_bias_burn_in_and_trajectories(
    activation, n, burn_in, jacobian
):
    p = problem(n)
    found = run(p, activation, 12 - burn_in, burn_in=burn_in, jacobian=jacobian)
    log_norm, log_contribution = oracle(
        p, activation, 12 - burn_in, burn_in=burn_in, jacobian=jacobian
    )
    np.testing.assert_allclose(found.log_norm, log_norm, rtol=1e-11, atol=1e-10)
    np.testing.assert_allclose(found.log_contribution, log_contribution, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_profile_follows_the_float64_one(activation):
    p = problem(33)
    single, double = (run(p, activation, 12, dtype) for dtype in (np.float32, np.float64))
    np.testing.assert_allclose(single.log_norm, double.log_norm, atol=2e-4)
    assert single.log_norm.dtype == np.float64


@pytest.mark.parametrize(
    "activation", sorted(set(ACTIVATIONS) - {"relu", "leaky_relu", "hard_tanh"})
)
def test_jacobian_product_equals_finite_differences_of_the_forward_map(activation):
    """Identity 1: rows of dx_T/dx_0, from basis loss gradients, against central differences."""
    n, n_steps, h = 5, 20, 1e-5
    # a gain at which the product stays far above the rounding of the differences
    gain = 1.5 / ACTIVATIONS[activation].max_slope
    p = problem(n, n_draws=1, n_trajectories=1, n_times=n_steps, gain=gain, seed=4)
    p["W_in"] *= 0.1
    p["b"] *= 0.1
    W, W_in, b, u, x0 = p["W"][0], p["W_in"][0], p["b"][0], p["u"][0, 0], p["x0"][0, 0]

    def end(x):
        return naive.rnn_states(W, W_in, b, activation, u, x, n_steps)[-1]

    jacobian = np.array([(end(x0 + h * e) - end(x0 - h * e)) / (2 * h) for e in np.eye(n)]).T
    cell = vg.RNN(p["W"], p["W_in"], p["b"], activation=activation)
    found = vg.gradient_profile(
        cell,
        n_steps,
        inputs=p["u"],
        n_trajectories=n,
        initial_state=p["x0"],
        loss_gradient=np.eye(n),
    )
    np.testing.assert_allclose(
        np.exp(found.log_norm[0, :, -1]), np.linalg.norm(jacobian, axis=1), rtol=1e-6
    )


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softsign", "gelu"])
def test_sum_of_contributions_is_the_weight_gradient_by_finite_differences(activation):
    """Each term is rank one, delta_k s(x_{k-1})^T; their norms match, and their sum is dE/dW."""
    n, n_steps, h = 4, 9, 1e-6
    p = problem(n, n_draws=1, n_trajectories=1, n_times=n_steps, seed=2)
    W_in, b, u, x0, v = p["W_in"][0], p["b"][0], p["u"][0, 0], p["x0"][0, 0], p["v"][0, 0]
    s, slope = naive.ACTIVATIONS[activation]

    def loss(W):
        return v @ naive.rnn_states(W, W_in, b, activation, u, x0, n_steps)[-1]

    W = p["W"][0]
    gradient = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            step = np.zeros((n, n))
            step[i, j] = h
            gradient[i, j] = (loss(W + step) - loss(W - step)) / (2 * h)
    states = naive.rnn_states(W, W_in, b, activation, u, x0, n_steps)
    total, delta, norms = np.zeros((n, n)), v, []
    for k in range(n_steps, 0, -1):
        term = np.outer(delta, s(states[k - 1]))
        total, delta = total + term, slope(states[k - 1]) * (W.T @ delta)
        norms.append(np.log(np.linalg.norm(term)))
    np.testing.assert_allclose(total, gradient, rtol=1e-6, atol=1e-8)
    found = run(p, activation, n_steps).log_contribution[0, 0]
    np.testing.assert_allclose(found[:-1], norms, rtol=1e-11, atol=1e-11)
    assert found[-1] == -np.inf


def test_orthogonal_linear_cell_has_exactly_the_rate_ln_gain():
    cell = vg.RNN.draw(3, 48, init="orthogonal", gain=1.01, activation="linear", rng=1)
    found = vg.gradient_profile(cell, 2000, rng=2)
    np.testing.assert_allclose(
        found.log_norm,
        np.broadcast_to(np.log(1.01) * np.arange(2001), found.log_norm.shape),
        atol=1e-9,
    )
    np.testing.assert_allclose(found.rate().value, np.log(1.01), atol=1e-12)


@given(
    n=st.integers(1, 20),
    gain=st.floats(0.1, 5.0),
    name=st.sampled_from(sorted(ACTIVATIONS)),
    seed=st.integers(0, 2**32),
)
def test_a_step_never_grows_by_more_than_max_slope_times_sigma_max(n, gain, name, seed):
    """Identity 5: rate <= ln(gamma sigma_max(W)), with no violation at any lag."""
    cell = vg.RNN.draw(3, n, gain=gain, activation=name, rng=seed)
    with np.errstate(invalid="ignore"):  # -inf - -inf
        steps = np.diff(vg.gradient_profile(cell, 30, rng=seed).log_norm[:, 0])
    bound = np.log(ACTIVATIONS[name].max_slope * np.linalg.norm(cell.W_rec, 2, axis=(1, 2)))
    assert (
        steps[np.isfinite(steps)] <= np.repeat(bound, 30).reshape(3, 30)[np.isfinite(steps)] + 1e-9
    ).all()


@given(scale=st.floats(1e-100, 1e100), seed=st.integers(0, 1000))
def test_scaling_the_loss_gradient_shifts_the_log_norm(scale, seed):
    cell = vg.RNN.draw(2, 9, rng=seed)
    v = np.random.default_rng(seed).standard_normal((2, 1, 9))
    options = {"initial_state": np.ones(9), "rng": 0}
    one = vg.gradient_profile(cell, 10, loss_gradient=v, **options)
    other = vg.gradient_profile(cell, 10, loss_gradient=scale * v, **options)
    np.testing.assert_allclose(other.log_norm - one.log_norm, np.log(scale), atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("activation", "gain"),
    [
        ("linear", 0.5),
        ("linear", 3.0),
        ("relu", 0.3),
        ("relu", 4.0),
        ("tanh", 0.5),
        ("tanh", 3.0),
        ("gelu", 0.5),
        ("gelu", 3.0),
        ("softsign", 0.5),
        ("sigmoid", 20.0),
    ],
)
def test_a_hundred_thousand_steps_neither_overflow_nor_underflow(activation, gain, dtype):
    cell = vg.RNN.draw(2, 8, gain=gain, activation=activation, dtype=dtype, rng=3)
    found = vg.gradient_profile(cell, 100_000, rng=1)
    exactly_zero = np.isneginf(found.log_norm).any(axis=-1)
    assert not np.isnan(found.log_norm).any()
    assert not np.isposinf(found.log_norm).any()
    assert not np.isnan(found.log_contribution).any()
    if activation != "relu":  # its gradient may die on units that are switched off
        assert not exactly_zero.any()


@pytest.mark.parametrize("gain", [1e-3, 0.3, 3.0, 1e3])
def test_long_linear_horizon_is_the_logarithm_of_the_radius(gain):
    """States shrink or grow by 1e-300000 and more; contributions keep their exact value."""
    W = gain * np.diag([1.0, 0.5])[None]
    cell = vg.RNN(W, activation="linear")
    found = vg.gradient_profile(cell, 100_000, initial_state=[1.0, 0.0], loss_gradient=[1.0, 0.0])
    lags = np.arange(100_001)
    np.testing.assert_allclose(found.log_norm[0, 0], lags * np.log(gain), rtol=1e-12, atol=1e-12)
    # ||delta_k|| ||x_{k-1}|| = gain^lag gain^(T - lag - 1): the same at every lag
    np.testing.assert_allclose(
        found.log_contribution[0, 0, :-1], (100_000 - 1) * np.log(gain), rtol=1e-12
    )


def test_tiny_autonomous_tanh_state_keeps_its_contribution():
    W = 0.5 * np.eye(2)[None]
    found = vg.gradient_profile(
        vg.RNN(W), 5000, initial_state=[1e-3, 0.0], loss_gradient=[1.0, 0.0]
    )
    np.testing.assert_allclose(np.diff(found.log_norm[0, 0, :4000]), np.log(0.5), rtol=1e-9)
    assert np.isfinite(found.log_contribution[0, 0, :-1]).all()
    np.testing.assert_allclose(
        found.log_contribution[0, 0, 0], np.log(1e-3) + 4999 * np.log(0.5), rtol=1e-6
    )


def test_driven_relu_that_explodes_still_matches_extended_precision():
    rng = np.random.default_rng(0)
    W = np.abs(rng.standard_normal((1, 3, 3)))
    u = np.ones((300, 1))
    found = vg.gradient_profile(
        vg.RNN(W, np.ones((1, 3, 1)), activation="relu"),
        300,
        inputs=u,
        initial_state=np.ones(3),
        loss_gradient=np.ones(3),
    )
    x = [np.ones(3, np.longdouble)]
    for _ in range(300):
        x.append(W[0].astype(np.longdouble) @ x[-1] + 1)
    delta = np.ones(3, np.longdouble)
    expected = []
    for k in range(300, 0, -1):
        expected.append(np.log(np.sqrt((delta**2).sum() * (x[k - 1] ** 2).sum())))
        delta = W[0].T.astype(np.longdouble) @ delta
    np.testing.assert_allclose(
        found.log_contribution[0, 0, :-1], np.array(expected, float), rtol=1e-12
    )


def test_an_exactly_zero_gradient_is_minus_infinity_from_there_on():
    W = np.array([[[0.0, 1.0], [0.0, 0.0]]])  # nilpotent: W^2 = 0
    found = vg.gradient_profile(vg.RNN(W, activation="linear"), 5, loss_gradient=[1.0, 1.0], rng=0)
    assert np.isfinite(found.log_norm[0, 0, :2]).all()
    assert (found.log_norm[0, 0, 2:] == -np.inf).all()
    assert (found.log_contribution[0, 0, 2:] == -np.inf).all()
    assert found.rate().value == -np.inf
    assert found.horizon().lag == 2
    assert found.growing_share() == 0.0
    assert np.isfinite(found.plot().get_ylim()).all()


def test_bits_do_not_depend_on_threads_or_batch_position():
    p = problem(33, n_draws=13, gain=3.0, n_times=200)
    whole = run(p, "tanh", 200, n_threads=1)
    threaded = run(p, "tanh", 200, n_threads=5)
    assert np.array_equal(whole.log_norm, threaded.log_norm)
    assert np.array_equal(whole.log_contribution, threaded.log_contribution)
    one = {name: value[7:8] for name, value in p.items()}
    alone = run(one, "tanh", 200)
    assert np.array_equal(whole.log_norm[7:8], alone.log_norm)
    reverse = {name: np.ascontiguousarray(value[::-1]) for name, value in p.items()}
    assert np.array_equal(whole.log_norm, run(reverse, "tanh", 200).log_norm[::-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [3, 16, 31, 33, 50, 130])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_bits_do_not_depend_on_the_trajectories_beside(activation, n, dtype):
    """One row a vector or one row a lane, with a matrix for each or one for all: the same sums."""
    p = problem(n, n_draws=2, n_trajectories=19, n_times=60, gain=1.5)
    together = run(p, activation, 55, dtype, burn_in=5)
    for few in (slice(0, 1), slice(4, 7), slice(18, 19)):
        part = p | {name: p[name][:, few] for name in ("u", "x0", "v")}
        alone = run(part, activation, 55, dtype, burn_in=5)
        assert np.array_equal(alone.log_norm, together.log_norm[:, few])
        assert np.array_equal(alone.log_contribution, together.log_contribution[:, few])


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("gain", [0.3, 3.0])
def test_bits_do_not_depend_on_the_trajectories_beside_where_states_are_rescaled(activation, gain):
    cell = vg.RNN.draw(2, 40, gain=gain, activation=activation, rng=1)
    x0, v = np.random.default_rng(2).standard_normal((2, 2, 9, 40))
    many, one = (
        vg.gradient_profile(
            cell, 900, n_trajectories=k, initial_state=x0[:, :k], loss_gradient=v[:, :k]
        )
        for k in (9, 1)
    )
    assert np.array_equal(many.log_norm[:, :1], one.log_norm)
    assert np.array_equal(many.log_contribution[:, :1], one.log_contribution)


def test_random_defaults_of_a_draw_do_not_depend_on_the_number_of_draws():
    few, many = (vg.gradient_profile(vg.RNN.draw(n, 10, rng=5), 20, rng=6).log_norm for n in (2, 9))
    assert np.array_equal(few, many[:2])


def test_broadcast_arguments_equal_spelled_out_ones():
    p = problem(6, n_draws=4)
    cell = vg.RNN(p["W"], p["W_in"], p["b"])
    u, x0, v = p["u"][0, 0, 0], p["x0"][0, 0], p["v"][:, :1]
    short = vg.gradient_profile(
        cell, 12, inputs=u, n_trajectories=3, initial_state=x0, loss_gradient=v
    )
    full = vg.gradient_profile(
        cell,
        12,
        inputs=np.tile(u, (4, 3, 12, 1)),
        n_trajectories=3,
        initial_state=np.tile(x0, (4, 3, 1)),
        loss_gradient=np.tile(v, (1, 3, 1)),
    )
    assert np.array_equal(short.log_norm, full.log_norm)
    assert np.array_equal(short.log_contribution, full.log_contribution)


def test_strided_and_read_only_arguments_are_accepted():
    p = problem(6)
    expected = run(p, "tanh", 12)
    for name, value in p.items():
        p[name] = np.asfortranarray(value)
        p[name].flags.writeable = False
    assert np.array_equal(run(p, "tanh", 12).log_norm, expected.log_norm)


def test_rate_is_the_least_squares_slope_over_its_window():
    found = vg.gradient_profile(vg.RNN.draw(5, 16, gain=2.0, rng=1), 120, n_trajectories=2, rng=2)
    rate = found.rate((10, 90))
    for d in range(5):
        for k in range(2):
            slope = np.polyfit(np.arange(10, 91), found.log_norm[d, k, 10:91], 1)[0]
            assert rate.value[d, k] == pytest.approx(slope, abs=1e-12)
    assert rate.window == (10, 90)
    assert found.rate().window == (30, 120)
    assert np.array_equal(np.asarray(rate), rate.value)


def test_standard_error_of_the_rate_covers_on_random_walks():
    """On walks of known drift the error bar is neither a tenth nor ten times what it should be."""
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.normal(-0.05, 0.3, (2000, 1, 401)), axis=-1)
    state = np.zeros((2000, 1, 1))
    rate = vg.GradientProfile(walks, walks, state, state).rate((0, 400))
    z = (rate.value + 0.05) / rate.stderr
    assert 0.92 < np.mean(np.abs(z) < 1.96) < 0.97


def test_horizon_names_first_passages_censoring_and_the_competing_event():
    log_norm = np.array(
        [[[0, -1, -4, -8]], [[0, -1, -2, -1]], [[0, 3, 8, -9]], [[0, -9, 9, 0]]], dtype=float
    )
    state = np.zeros((4, 1, 1))
    horizon = vg.GradientProfile(log_norm, log_norm, state, state).horizon(np.exp(-4.0))
    assert horizon.lag[:, 0].tolist() == [2, 3, 3, 1]
    assert horizon.censored[:, 0].tolist() == [False, True, False, False]
    assert horizon.growth_lag[:, 0].tolist() == [3, 3, 2, 2]
    assert horizon.growth_censored[:, 0].tolist() == [True, True, False, False]
    assert horizon.event[:, 0].tolist() == ["vanish", "censored", "explode", "vanish"]


def test_zero_loss_gradient_is_zero_everywhere_and_has_horizon_zero():
    found = vg.gradient_profile(vg.RNN(np.eye(2)[None]), 4, loss_gradient=[0.0, 0.0], rng=0)
    assert (found.log_norm == -np.inf).all()
    assert found.horizon().lag == 0
    assert found.horizon().event == "vanish"


def test_growing_share_counts_draws_above_rate_zero():
    W = np.array([0.9, 1.1, 1.2, 0.8])[:, None, None] * np.eye(3)
    assert vg.gradient_profile(vg.RNN(W, activation="linear"), 50, rng=0).growing_share() == 0.5


def test_to_frame_is_tidy_and_complete():
    found = vg.gradient_profile(vg.RNN.draw(2, 4, rng=0), 5, n_trajectories=3, rng=0)
    frame = found.to_frame()
    assert list(frame) == ["draw", "trajectory", "lag", "log_norm", "log_contribution"]
    assert len(frame) == 2 * 3 * 6
    row = frame[(frame.draw == 1) & (frame.trajectory == 2) & (frame.lag == 4)]
    assert row.log_norm.item() == found.log_norm[1, 2, 4]


def test_plot_returns_the_axes_it_was_given_on_a_log_axis():
    from matplotlib.figure import Figure

    found = vg.gradient_profile(vg.RNN.draw(40, 8, gain=0.1, rng=0), 600, rng=0)
    ax = Figure().subplots()
    assert found.plot(ax) is ax
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_repr_says_the_main_numbers_in_one_line():
    found = vg.gradient_profile(vg.RNN.draw(40, 8, gain=0.5, rng=0), 100, rng=0)
    assert "\n" not in repr(found)
    assert "draws: 40" in repr(found)
    assert "nats/step" in repr(found)
    assert found._repr_html_().startswith("<table>")


BAD = [
    ({"n_steps": -3}, ValueError, "n_steps: found -3, expected an integer of at least 1"),
    ({"n_steps": 2.5}, TypeError, "n_steps: found 2.5"),
    ({"burn_in": -1}, ValueError, "burn_in: found -1"),
    ({"n_trajectories": 0}, ValueError, "n_trajectories: found 0"),
    ({"jacobian": "exakt"}, ValueError, "did you mean 'exact'"),
    (
        {"inputs": np.zeros((7, 2))},
        ValueError,
        "inputs: found shape (7, 2), expected one that broadcasts",
    ),
    ({"inputs": np.full((10, 2), np.nan)}, ValueError, "inputs: found nan at index (0, 0)"),
    ({"initial_state": np.zeros(5)}, ValueError, "initial_state: found shape (5,)"),
    ({"initial_state": [np.inf] * 4}, ValueError, "initial_state: found inf"),
    ({"loss_gradient": np.zeros((3, 1, 4))}, ValueError, "loss_gradient: found shape (3, 1, 4)"),
    ({"loss_gradient": ["a"] * 4}, TypeError, "loss_gradient: found dtype"),
    ({"n_threads": 0}, ValueError, "n_threads: found 0"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD)
def test_bad_arguments_are_named(options, error, text):
    cell = vg.RNN.draw(2, 4, n_inputs=2, rng=0)
    with pytest.raises(error) as caught:
        vg.gradient_profile(cell, **{"n_steps": 10, **options})
    assert text in str(caught.value)


def test_inputs_for_a_cell_without_input_weights_are_refused():
    with pytest.raises(ValueError, match="no input weights"):
        vg.gradient_profile(vg.RNN.draw(2, 4, rng=0), 10, inputs=np.zeros((10, 1)))


def test_a_matrix_in_the_place_of_a_cell_is_refused():
    with pytest.raises(TypeError, match=r"expected a cell such as vgcore\.RNN"):
        vg.gradient_profile(np.eye(3), 10)


def test_weights_too_large_for_the_dtype_are_named():
    W = np.full((1, 2, 2), 3e38, np.float32)
    with pytest.raises(FloatingPointError, match=r"cell: one step of draw 0 overflows float32"):
        vg.gradient_profile(vg.RNN(W, activation="linear"), 5, rng=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize(("n", "n_trajectories"), PATHS)
def test_an_impulse_followed_by_silence_is_followed_down_to_any_size(
    n, n_trajectories, activation, dtype
):
    """The state decays by 1e-450 and more after its only input; its slopes do not change."""
    n_steps = 1500
    cell = vg.RNN(0.5 * np.eye(n, dtype=dtype)[None], np.ones((1, n, 1)), activation=activation)
    sizes = 1e-3 / np.arange(1, n_trajectories + 1)
    u = np.zeros((n_trajectories, n_steps, 1))
    u[:, 0, 0] = sizes
    found = vg.gradient_profile(
        cell,
        n_steps,
        inputs=u,
        n_trajectories=n_trajectories,
        initial_state=np.zeros(n),
        loss_gradient=np.eye(n)[0],
    )
    lags = np.arange(n_steps)
    for k in range(n_trajectories):
        np.testing.assert_allclose(found.log_norm[0, k, :-1], lags * np.log(0.5), atol=2e-5)
        # x_{k-1} = size 0.5^(k-2): delta_k s(x_{k-1}) does not depend on k >= 2
        same = np.log(n**0.5 * sizes[k]) + (n_steps - 2) * np.log(0.5)
        np.testing.assert_allclose(
            found.log_contribution[0, k, :-1],
            np.r_[np.full(n_steps - 1, same), -np.inf],
            atol=2e-5,
        )


@pytest.mark.parametrize(("n", "n_trajectories"), PATHS)
def test_input_after_silence_is_added_at_its_own_size(n, n_trajectories):
    """Each trajectory at a time of its own, beside others that are still small."""
    cell = vg.RNN(0.5 * np.eye(n)[None], np.ones((1, n, 1)), activation="tanh")
    u = np.zeros((n_trajectories, 400, 1))
    u[:, 0] = 0.3
    u[range(n_trajectories), 350 - 20 * np.arange(n_trajectories)] = 0.7
    x0, v = np.full(n, 0.2), np.ones(n)
    found = vg.gradient_profile(
        cell,
        400,
        inputs=u,
        n_trajectories=n_trajectories,
        initial_state=x0,
        loss_gradient=v,
    )
    for k in range(n_trajectories):
        log_norm, log_contribution = naive.rnn_profile(
            cell.W_rec[0], cell.W_in[0], np.zeros(n), "tanh", u[k], x0, v, 400
        )
        np.testing.assert_allclose(found.log_norm[0, k], log_norm, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.log_contribution[0, k], log_contribution, rtol=1e-12)


@pytest.mark.parametrize(("n", "n_trajectories"), PATHS)
def test_a_small_unit_beside_an_exploding_one_keeps_its_own_slope(n, n_trajectories):
    cell = vg.RNN(np.diag([3.0] + [0.5] * (n - 1))[None], activation="gelu")
    found = vg.gradient_profile(
        cell,
        200,
        n_trajectories=n_trajectories,
        initial_state=[1.0] + [0.1] * (n - 1),
        loss_gradient=np.eye(n)[1],
    )
    np.testing.assert_allclose(found.rate((100, 200)).value, np.log(0.25), rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gain", [0.2, 4.0])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "softsign"])
@pytest.mark.parametrize("n", [2, 16, 40])
def test_bits_do_not_depend_on_the_path_where_input_comes_now_and_then(
    n, activation, gain, dtype, monkeypatch
):
    """Rows side by side or, where their slopes would take too much memory, one by one."""
    p = problem(n, n_draws=3, n_trajectories=9, n_times=400, gain=gain)
    p["b"][1:] = 0.0
    p["u"][np.random.default_rng(1).random(p["u"].shape) < 0.99] = 0.0
    p["W"][2] = np.diag(np.where(np.arange(n) % 2 == 0, gain, 0.2))
    for few in (slice(0, 9), slice(4, 5)):
        part = p | {name: p[name][:, few] for name in ("u", "x0", "v")}
        one, other = [], []
        for limit, results in ((2**28, one), (0, other)):
            monkeypatch.setattr("vgcore.kernels.layout.KEPT_BYTES", limit)
            found = run(part, activation, 395, dtype, burn_in=5)
            results += [found.log_norm, found.log_contribution]
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_numbers_that_do_not_fit_the_cells_dtype_are_refused():
    cell = vg.RNN(np.eye(2, dtype=np.float32)[None], np.ones((1, 2, 1)))
    for name, value in [("inputs", [1e39]), ("loss_gradient", [1e-50] * 2)]:
        with pytest.raises(ValueError, match=f"{name}: found numbers as large as"):
            vg.gradient_profile(cell, 5, **{name: value})
    with pytest.raises(ValueError, match="W_in: found numbers"):
        vg.RNN(np.eye(2, dtype=np.float32)[None], np.full((1, 2, 1), 1e39))
    with pytest.raises(ValueError, match="draws of init 'gaussian'"):
        vg.draw_weights("gaussian", 1, 2, gain=1e-50, dtype="float32")


def test_masked_arrays_and_odd_windows_are_refused():
    with pytest.raises(TypeError, match="W_rec: found a masked array"):
        vg.RNN(np.ma.masked_greater(np.ones((1, 2, 2)), 2))
    found = vg.gradient_profile(vg.RNN.draw(1, 3, rng=0), 5, rng=0)
    for window in (5, (1, 2, 3), "all"):
        with pytest.raises(TypeError, match="expected \\(first lag, last lag\\)"):
            found.rate(window)


def test_plot_of_gradients_beyond_all_numbers_has_a_finite_axis():
    from matplotlib.figure import Figure

    for gain in (1.3, 0.7):
        cell = vg.RNN(gain * np.eye(3)[None], activation="linear")
        figure = Figure()
        ax = vg.gradient_profile(cell, 5000, rng=1).plot(figure.subplots())
        figure.savefig(io.BytesIO())
        low, high = ax.get_ylim()
        assert 0 < low < high < np.inf
        assert high / low > 1e200


def test_results_print_in_one_line():
    found = vg.gradient_profile(vg.RNN.draw(500, 4, rng=0), 20, rng=0)
    assert len(repr(found.rate())) < 120
    assert len(repr(found.horizon())) < 120


@pytest.mark.parametrize("n_trajectories", [1, 9])
@pytest.mark.parametrize("n", [20, 40])
def test_input_after_a_state_exploded_and_died_is_not_lost(n, n_trajectories):
    """Along a chain of units the state grows beyond all floats and then leaves at the end."""
    W = 1e30 * np.eye(n, k=-1)[None]
    W_in = np.eye(n)[:, :1][None]
    u = np.zeros((2 * n, 1))
    u[n + 5] = 1.0
    exploded, quiet = (
        vg.gradient_profile(
            vg.RNN(W, W_in, activation="relu"),
            2 * n,
            inputs=u,
            n_trajectories=n_trajectories,
            initial_state=start * np.eye(n)[0],
            loss_gradient=np.ones(n),
        )
        for start in (1.0, 0.0)
    )
    recent = slice(0, n - 7)  # lags whose states follow the input
    found = exploded.log_contribution[..., recent]
    assert np.isfinite(found[..., :-1]).any()
    assert np.array_equal(found, quiet.log_contribution[..., recent])
