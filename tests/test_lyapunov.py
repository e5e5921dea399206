"""lyapunov_exponents against an oracle, identities, extremes, and its promise of equal bits."""

from __future__ import annotations

import mpmath
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

import vgcore as vg
from vgcore.streams import Purpose, Streams


def start_frame(rng, k, n):
    """The first frame that `lyapunov_exponents` draws."""
    return Streams.from_rng(rng).at(Purpose.TANGENT_FRAME, 0).standard_normal((k, n))


def log_slope(x):
    """The logarithm of sech^2(x), for any x."""
    y = np.abs(x)
    return np.log(4) - 2 * y - 2 * np.log1p(np.exp(-2 * y))


def sum_rule(cell, x0, n_steps, *, inputs=None, skip=0, slope=log_slope):
    """For each draw, ln |det W| and the mean over steps of sum_j ln s'(x_j)."""
    sums = []
    for d in range(cell.n_draws):
        W_in = None if inputs is None else cell.W_in[d]
        states = naive.rnn_states(
            cell.W_rec[d], W_in, 0.0, cell.activation, inputs, x0, skip + n_steps
        )
        sums.append(np.linalg.slogdet(cell.W_rec[d])[1] + slope(states[skip:-1]).sum() / n_steps)
    return np.array(sums)


@pytest.mark.parametrize("n", [1, 2, 7, 16, 33, 64, 128])
def test_sum_of_exponents_is_log_determinant_and_mean_log_slopes(n):
    """Identity 2, to 1e-10 a unit."""
    cell = vg.RNN.draw(2, n, gain=2.0, rng=n)
    x0 = np.random.default_rng(1).standard_normal(n)
    found = vg.lyapunov_exponents(
        cell, 50, initial_state=x0, burn_in=3, tangent_burn_in=4, rng=1
    ).sum(axis=1)
    assert np.abs(found - sum_rule(cell, x0, 50, skip=7)).max() < 1e-11 * n


@pytest.mark.parametrize("init", ["gaussian", "orthogonal", "identity"])
@pytest.mark.parametrize("gain", [0.1, 1.0, 5.0, 50.0, 100.0])
@pytest.mark.parametrize("n", [5, 16, 64, 100])
def test_the_sum_holds_at_any_gain(n, gain, init):
    """Few steps, since the oracle's states part from those of the kernel where they are chaotic."""
    cell = vg.RNN.draw(2, n, gain=gain, init=init, rng=n)
    x0 = np.random.default_rng(1).standard_normal(n)
    found = vg.lyapunov_exponents(cell, 3, initial_state=x0, rng=1).sum(axis=1)
    assert np.abs(found - sum_rule(cell, x0, 3)).max() < 1e-11 * n


def exact_exponents(W, x, n_steps, start, digits):
    """Exponents of an autonomous tanh network by Gram-Schmidt in as many digits as it takes."""
    with mpmath.workdps(digits):

        def orthonormalise(rows):
            done, norms = [], []
            for row in rows:
                for q in done:
                    row = row - (row * q.T)[0] * q
                norms.append(mpmath.norm(row))
                done.append(row / norms[-1])
            return done, norms

        W, x = mpmath.matrix(W.tolist()), mpmath.matrix(x.tolist())
        frame, _ = orthonormalise([mpmath.matrix([row]) for row in start.tolist()])
        logs = np.zeros(len(frame))
        for _ in range(n_steps):
            step = mpmath.diag([mpmath.sech(v) ** 2 for v in x]) * W.T
            x = W * mpmath.matrix([mpmath.tanh(v) for v in x])
            frame, norms = orthonormalise([row * step for row in frame])
            logs += [float(mpmath.log(norm)) for norm in norms]
        return np.sort(logs / n_steps)[::-1]


@pytest.mark.parametrize(
    ("n", "gain", "digits"),
    [(2, 1.5, 60), (3, 20.0, 400), (8, 0.5, 60), (8, 100.0, 2000), (17, 3.0, 200)],
)
def test_exponents_are_those_of_many_digits(n, gain, digits):
    """Each of them, not their sum alone; at a gain of 100 they span 300 nats a step."""
    cell = vg.RNN.draw(2, n, gain=gain, rng=3)
    x0 = np.random.default_rng(1).standard_normal((2, n))
    found = vg.lyapunov_exponents(cell, 5, initial_state=x0, rng=4)
    for d in range(2):
        expected = exact_exponents(cell.W_rec[d], x0[d], 5, start_frame(4, n, n), digits)
        np.testing.assert_allclose(found[d], expected, rtol=1e-12, atol=1e-12)


@given(n=st.integers(1, 24), seed=st.integers(0, 99), factor=st.floats(1e-50, 1e50))
def test_scaling_a_linear_cell_shifts_its_exponents(n, seed, factor):
    """By ln c; and transposing it or permuting its units leaves their sum, ln |det W|, alone."""
    W = vg.draw_weights("gaussian", 1, n, rng=seed)[0]
    shuffle = np.random.default_rng(seed).permutation(n)
    cells = vg.RNN([W, factor * W, W.T, W[np.ix_(shuffle, shuffle)]], activation="linear")
    plain, scaled, transposed, permuted = vg.lyapunov_exponents(cells, 20, rng=1)
    np.testing.assert_allclose(scaled, plain + np.log(factor), rtol=0, atol=1e-9)
    sums = plain.sum(), transposed.sum(), permuted.sum()
    np.testing.assert_allclose(sums, np.linalg.slogdet(W)[1], rtol=0, atol=1e-11 * n)


@pytest.mark.parametrize("n", [16, 40])
def test_worst_case_of_partial_pivoting_is_met_without_harm(n):
    """Wilkinson's matrix, whose elimination grows by 2^(n-1), as one step from the identity."""
    wilkinson = np.tril(-np.ones((n, n)), -1) + np.eye(n)
    wilkinson[:, -1] = 1.0
    cell = vg.RNN([wilkinson, wilkinson.T], activation="linear")
    found = vg.lyapunov_exponents(cell, 200, rng=1).sum(axis=1)
    np.testing.assert_allclose(found, np.linalg.slogdet(cell.W_rec)[1], rtol=0, atol=1e-10 * n)


@pytest.mark.parametrize("gain", [1e3, 1e5])
def test_units_so_saturated_that_their_slopes_vanish_give_minus_infinity(gain):
    cell = vg.RNN.draw(3, 20, gain=gain, rng=1)
    x0 = np.random.default_rng(1).standard_normal((3, 20))
    found = vg.lyapunov_exponents(cell, 6, initial_state=x0, rng=1)
    for d in range(3):
        states = naive.rnn_states(cell.W_rec[d], None, 0.0, "tanh", None, x0[d], 6)
        # the slope 4 exp(-2 |x|) of the last subnormal number
        alive = min((np.abs(x) < 373.0).sum() for x in states[:-1])
        assert np.isfinite(found[d]).sum() <= alive
        assert not np.isnan(found[d]).any()


@pytest.mark.parametrize("input_variance", [40.0, 200.0, 1e3])
def test_saturated_units_do_not_break_the_sum(input_variance):
    """Slopes of one step span up to 80 orders of magnitude."""
    n = 40
    cell = vg.RNN.draw(2, n, gain=4.0, n_inputs=3, input_variance=input_variance, rng=1)
    rng = np.random.default_rng(2)
    x0, u = rng.standard_normal(n), rng.standard_normal((300, 3))
    found = vg.lyapunov_exponents(cell, 300, initial_state=x0, inputs=u, rng=1)
    assert np.isfinite(found).all()
    expected = sum_rule(cell, x0, 300, inputs=u)
    assert np.abs(found.sum(axis=1) - expected).max() < 1e-11 * n


@pytest.mark.parametrize("activation", ["sigmoid", "softsign", "erf", "gelu", "leaky_relu"])
def test_the_sum_holds_for_other_activations(activation):
    n = 12
    cell = vg.RNN.draw(2, n, gain=1.5, activation=activation, rng=4)
    x0 = np.random.default_rng(1).standard_normal(n)
    slope = naive.ACTIVATIONS[activation][1]
    expected = sum_rule(cell, x0, 30, slope=lambda x: np.log(np.abs(slope(np.array(x)))))
    found = vg.lyapunov_exponents(cell, 30, initial_state=x0, rng=1).sum(axis=1)
    assert np.abs(found - expected).max() < 1e-10 * n


@pytest.mark.parametrize("qr_interval", [1, 3])
@pytest.mark.parametrize("k", [1, 5, 12])
def test_exponents_equal_the_oracle_with_inputs_bias_and_burn_in(k, qr_interval):
    n, n_steps, burn_in, tangent_burn_in = 12, 40, 3, 6
    cell = vg.RNN.draw(2, n, gain=1.2, n_inputs=2, bias_variance=0.3, rng=1)
    rng = np.random.default_rng(2)
    x0, u = rng.standard_normal((2, n)), rng.standard_normal((2, burn_in + 46, 2)) * 0.1
    found = vg.lyapunov_exponents(
        cell,
        n_steps,
        n_exponents=k,
        burn_in=burn_in,
        tangent_burn_in=tangent_burn_in,
        qr_interval=qr_interval,
        inputs=u,
        initial_state=x0,
        rng=5,
    )
    for d in range(2):
        jacobians = naive.rnn_jacobians(
            cell.W_rec[d], cell.W_in[d], cell.bias[d], "tanh", u[d], x0[d], 46, burn_in
        )
        # frames and volumes are the same whether factored at each step or at some
        expected = naive.lyapunov_exponents(jacobians, start_frame(5, k, n), tangent_burn_in)
        np.testing.assert_allclose(found[d], expected, atol=1e-9)


@pytest.mark.parametrize("qr_interval", [1, 4])
def test_history_holds_what_shorter_runs_return(qr_interval):
    cell = vg.RNN.draw(3, 10, gain=1.5, rng=1)
    options = {"burn_in": 5, "tangent_burn_in": 7, "qr_interval": qr_interval, "rng": 2}
    steps = [1, 2, 6, 30]
    history = vg.lyapunov_history(cell, steps, **options)
    assert history.shape == (3, 4, 10)
    for i, n_steps in enumerate(steps):
        expected = vg.lyapunov_exponents(cell, n_steps, **options)
        np.testing.assert_allclose(history[:, i], expected, atol=1e-9)


def test_leading_exponents_are_the_first_of_all():
    cell = vg.RNN.draw(3, 30, gain=1.5, rng=1)
    options = {"burn_in": 20, "tangent_burn_in": 200, "rng": 3}
    whole = vg.lyapunov_exponents(cell, 1000, **options)
    for k in (1, 9, 16):
        leading = vg.lyapunov_exponents(cell, 1000, n_exponents=k, **options)
        np.testing.assert_allclose(leading, whole[:, :k], atol=2e-3)


@pytest.mark.parametrize("n", [1, 8, 48])
def test_orthogonal_linear_cell_has_every_exponent_ln_gain(n):
    cell = vg.RNN.draw(3, n, init="orthogonal", gain=1.01, activation="linear", rng=1)
    found = vg.lyapunov_exponents(cell, 1000, rng=2)
    assert np.abs(found - np.log(1.01)).max() < 1e-12


def test_normal_linear_cell_has_the_logarithms_of_its_eigenvalues():
    rotation = 0.9 * np.array([[0.6, -0.8], [0.8, 0.6]])
    W = linalg.block_diag(rotation, 1.3, -0.5, 1e-3)
    Q = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    cell = vg.RNN((Q @ W @ Q.T)[None], activation="linear")
    found = vg.lyapunov_exponents(cell, 400, tangent_burn_in=400, rng=1)
    expected = np.log([1.3, 0.9, 0.9, 0.5, 1e-3])
    np.testing.assert_allclose(found, [expected], atol=1e-12)


@given(n=st.integers(1, 12), seed=st.integers(0, 999))
@settings(max_examples=10)
def test_linear_cell_has_the_logarithms_of_its_eigenvalues(n, seed):
    """Also where W is not normal; eigenvalues of nearly the same modulus are slow to part."""
    cell = vg.RNN.draw(1, n, activation="linear", rng=seed)
    found = vg.lyapunov_exponents(cell, 3000, tangent_burn_in=3000, rng=1)
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(cell.W_rec[0]))))[::-1]
    np.testing.assert_allclose(found[0], expected, atol=0.02)


def test_largest_exponent_of_chaotic_networks_is_that_of_simulations():
    """At g = 2, N = 200 .141 (mean field, N to infinity: .155)."""
    cell = vg.RNN.draw(12, 200, gain=2.0, rng=1)
    found = vg.lyapunov_exponents(cell, 300, n_exponents=1, burn_in=200, tangent_burn_in=50, rng=2)
    assert found.mean() == pytest.approx(0.141, abs=0.015)


def test_units_of_slope_zero_give_minus_infinity_and_never_nan():
    cell = vg.RNN.draw(4, 30, gain=2.0, activation="relu", rng=1)
    x0 = np.random.default_rng(1).standard_normal((4, 30))
    found = vg.lyapunov_exponents(cell, 5, initial_state=x0, rng=1)
    assert not np.isnan(found).any()
    for d in range(4):
        states = naive.rnn_states(cell.W_rec[d], None, 0.0, "relu", None, x0[d], 5)
        assert np.isfinite(found[d]).sum() <= min((x > 0).sum() for x in states[:-1])
        assert np.isneginf(found[d]).any()
        jacobians = naive.rnn_jacobians(cell.W_rec[d], None, 0.0, "relu", None, x0[d], 5)
        rank = np.linalg.matrix_rank(np.linalg.multi_dot(jacobians[::-1]))
        assert np.isfinite(found[d]).sum() == rank


def test_exponents_beside_a_dead_unit_are_those_of_the_living():
    """W = diag(A, 1) with a bias that keeps the last unit dead: as if the rest were alone."""
    A = 0.1 * vg.draw_weights("gaussian", 1, 6, rng=1)[0]
    bias = np.array([[1.0] * 6 + [-1.0]])
    whole = vg.RNN(linalg.block_diag(A, 1.0)[None], bias=bias, activation="relu")
    alone = vg.RNN(A[None], bias=bias[:, :6], activation="relu")
    options = {"initial_state": [1.0], "burn_in": 100, "tangent_burn_in": 400, "rng": 1}
    found = vg.lyapunov_exponents(whole, 1000, **options)[0]
    expected = vg.lyapunov_exponents(alone, 1000, **options)[0]
    assert np.isneginf(found).tolist() == 6 * [False] + [True]
    np.testing.assert_allclose(found[:6], expected, atol=5e-3)


@pytest.mark.jit_off
@pytest.mark.parametrize("activation", ["linear", "tanh", "relu"])
def test_nilpotent_weights_have_minus_infinity_only(activation):
    cell = vg.RNN(np.eye(4, k=1)[None], activation=activation)
    for qr_interval in (1, 3, 10):
        found = vg.lyapunov_exponents(cell, 10, qr_interval=qr_interval, rng=1)
        assert (found == -np.inf).all()
    assert (vg.lyapunov_exponents(cell, 10, tangent_burn_in=10, rng=1) == -np.inf).all()


@pytest.mark.jit_off
def test_compiled_and_plain_kernels_agree_with_the_oracle():
    cell = vg.RNN.draw(1, 5, gain=1.2, n_inputs=1, rng=1)
    x0, u = np.ones(5), np.linspace(-1, 1, 9)[:, None]
    found = vg.lyapunov_exponents(cell, 9, inputs=u, initial_state=x0, qr_interval=2, rng=3)
    jacobians = naive.rnn_jacobians(cell.W_rec[0], cell.W_in[0], 0.0, "tanh", u, x0, 9)
    expected = naive.lyapunov_exponents(jacobians, start_frame(3, 5, 5))
    np.testing.assert_allclose(found[0], expected, atol=1e-9)


@pytest.mark.parametrize("qr_interval", [1, 1000])
@pytest.mark.parametrize(
    ("activation", "gain"), [("linear", 1e-3), ("linear", 1e3), ("relu", 1e3), ("tanh", 0.1)]
)
def test_long_runs_neither_overflow_nor_underflow(activation, gain, qr_interval):
    W = gain * np.abs(vg.draw_weights("gaussian", 2, 5, rng=1))
    cell = vg.RNN(W, activation=activation)
    found = vg.lyapunov_exponents(
        cell, 20_000, qr_interval=qr_interval, n_exponents=1, initial_state=np.ones(5), rng=1
    )
    expected = np.log(vg.spectral_radius(W))
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-3)


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
def test_an_impulse_followed_by_silence_keeps_the_exponents_of_rest(activation):
    """The state decays by 1e-450 after its only input; its slopes do not change."""
    u = np.zeros((1500, 1))
    u[0] = 1e-3
    cell = vg.RNN(0.5 * np.eye(2)[None], np.ones((1, 2, 1)), activation=activation)
    found = vg.lyapunov_exponents(
        cell, 1400, burn_in=100, inputs=u, initial_state=[0.0, 0.0], rng=1
    )
    np.testing.assert_allclose(found, np.log(0.5), atol=1e-12)


@pytest.mark.jit_off
def test_input_after_silence_is_added_at_its_own_size():
    cell = vg.RNN(0.5 * np.eye(1)[None], np.ones((1, 1, 1)))
    u = np.zeros((120, 1))
    u[0], u[100] = 0.3, 0.7
    found = vg.lyapunov_exponents(cell, 120, inputs=u, initial_state=[0.2], rng=1)
    jacobians = naive.rnn_jacobians(cell.W_rec[0], cell.W_in[0], 0.0, "tanh", u, [0.2], 120)
    np.testing.assert_allclose(found[0, 0], np.log(jacobians).mean(), rtol=1e-12)


@pytest.mark.jit_off
def test_a_small_unit_beside_an_exploding_one_keeps_its_own_slope():
    cell = vg.RNN(np.diag([3.0, 0.5])[None], activation="gelu")
    found = vg.lyapunov_exponents(cell, 200, burn_in=100, initial_state=[1.0, 0.1], rng=1)
    np.testing.assert_allclose(found, [[np.log(3.0), np.log(0.25)]], atol=0.02)


def test_bits_do_not_depend_on_threads_or_batch_position():
    n, n_draws = 19, 11
    cell = vg.RNN.draw(n_draws, n, gain=3.0, n_inputs=2, rng=1)
    rng = np.random.default_rng(2)
    x0, u = rng.standard_normal((n_draws, n)), rng.standard_normal((n_draws, 200, 2))
    whole = vg.lyapunov_exponents(cell, 200, initial_state=x0, inputs=u, rng=3, n_threads=1)
    for n_threads in (2, 5, None):
        found = vg.lyapunov_exponents(
            cell, 200, initial_state=x0, inputs=u, rng=3, n_threads=n_threads
        )
        assert np.array_equal(found, whole)
    reverse = vg.RNN(cell.W_rec[::-1], cell.W_in[::-1])
    found = vg.lyapunov_exponents(reverse, 200, initial_state=x0[::-1], inputs=u[::-1], rng=3)
    assert np.array_equal(found[::-1], whole)
    alone = vg.RNN(cell.W_rec[7:8], cell.W_in[7:8])
    found = vg.lyapunov_exponents(alone, 200, initial_state=x0[7], inputs=u[7], rng=3)
    assert np.array_equal(found, whole[7:8])


def test_weights_repeated_by_broadcasting_equal_copies():
    cell = vg.RNN.draw(1, 6, gain=2.0, n_inputs=2, bias_variance=0.1, rng=1)
    parameters = (cell.W_rec, cell.W_in, cell.bias)
    views = [np.broadcast_to(p, (40, *p.shape[1:])) for p in parameters]
    options = {"inputs": np.ones((20, 2)), "rng": 1}
    for function in (vg.lyapunov_exponents, vg.log_singular_values):
        found = function(vg.RNN(*views), 20, **options)
        copies = function(vg.RNN(*(view.copy() for view in views)), 20, **options)
        np.testing.assert_array_equal(found, copies)


def test_a_float32_cell_is_worked_on_in_float64():
    single = vg.RNN.draw(2, 9, gain=2.0, dtype="float32", rng=1)
    double = vg.RNN(single.W_rec.astype(np.float64))
    found = vg.lyapunov_exponents(single, 50, rng=1)
    assert found.dtype == np.float64
    assert np.array_equal(found, vg.lyapunov_exponents(double, 50, rng=1))


@pytest.mark.parametrize(
    ("exponents", "dimension", "entropy"),
    [
        ([0.5, 0.0, -1.0], 2.5, 0.5),
        ([-1.0, 0.5, 0.0], 2.5, 0.5),
        ([-0.1, -0.2], 0.0, 0.0),
        ([0.0, -1.0], 1.0, 0.0),
        ([0.3, 0.2], 2.0, 0.5),
        ([1.0, -np.inf], 1.0, 1.0),
        ([-np.inf, -np.inf], 0.0, 0.0),
        ([0.906, 0.0, -14.57], 2.0 + 0.906 / 14.57, 0.906),  # Lorenz
    ],
)
def test_dimension_and_entropy_of_known_spectra(exponents, dimension, entropy):
    assert vg.kaplan_yorke_dimension(exponents) == pytest.approx(dimension, abs=1e-15)
    assert vg.entropy_rate(exponents) == pytest.approx(entropy, abs=1e-15)
    batch = vg.kaplan_yorke_dimension([[exponents, exponents]])
    assert batch.shape == (1, 2)
    assert batch[0, 1] == vg.kaplan_yorke_dimension(exponents)


def test_dimension_and_entropy_a_unit_are_near_mean_field():
    """At g = 3 h/N = .0252, D/N = .288 for large N; at N = 100 some percent less."""
    cell = vg.RNN.draw(4, 100, gain=3.0, rng=1)
    found = vg.lyapunov_exponents(cell, 300, burn_in=200, tangent_burn_in=200, rng=2)
    # four draws at 300 steps scatter between .0210 and .0228 with the start, about .0219
    assert vg.entropy_rate(found).mean() / 100 == pytest.approx(0.0252, rel=0.2)
    assert vg.kaplan_yorke_dimension(found).mean() / 100 == pytest.approx(0.2877, rel=0.1)


BAD = [
    ({"n_steps": 0}, ValueError, "n_steps: found 0, expected an integer of at least 1"),
    ({"n_steps": 1.5}, TypeError, "n_steps: found 1.5"),
    ({"n_exponents": 0}, ValueError, "n_exponents: found 0"),
    ({"n_exponents": 5}, ValueError, "n_exponents: found 5, expected an integer of at least 1 and"),
    ({"burn_in": -1}, ValueError, "burn_in: found -1"),
    ({"tangent_burn_in": -1}, ValueError, "tangent_burn_in: found -1"),
    ({"qr_interval": 0}, ValueError, "qr_interval: found 0"),
    ({"inputs": np.zeros((7, 2))}, ValueError, "inputs: found shape (7, 2), expected one that"),
    ({"inputs": np.full((10, 2), np.nan)}, ValueError, "inputs: found nan at index (0, 0)"),
    ({"initial_state": np.zeros(5)}, ValueError, "initial_state: found shape (5,)"),
    ({"initial_state": [np.inf] * 4}, ValueError, "initial_state: found inf"),
    ({"n_threads": 0}, ValueError, "n_threads: found 0"),
    ({"cell": np.eye(3)}, TypeError, "cell: found ndarray, expected a cell such as vgcore.RNN"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD)
def test_bad_arguments_are_named(options, error, text):
    with pytest.raises(error) as caught:
        vg.lyapunov_exponents(
            **{"cell": vg.RNN.draw(2, 4, n_inputs=2, rng=0), "n_steps": 10, **options}
        )
    assert text in str(caught.value)


@pytest.mark.parametrize("steps", [[], [0, 1], [3, 2], [2, 2], [1.5], "many", [[1, 2]]])
def test_bad_steps_of_a_history_are_named(steps):
    with pytest.raises((TypeError, ValueError), match="steps: found"):
        vg.lyapunov_history(vg.RNN.draw(1, 2, rng=0), steps)


@pytest.mark.parametrize("exponents", [1.0, [], [np.nan, 1.0], [np.inf], ["a"]])
@pytest.mark.parametrize("function", [vg.kaplan_yorke_dimension, vg.entropy_rate])
def test_bad_exponents_are_named(function, exponents):
    with pytest.raises((TypeError, ValueError), match="exponents: found"):
        function(exponents)


def test_inputs_for_a_cell_without_input_weights_are_refused():
    with pytest.raises(ValueError, match="no input weights"):
        vg.lyapunov_exponents(vg.RNN.draw(2, 4, rng=0), 10, inputs=np.zeros((10, 1)))


def test_weights_too_large_for_one_step_are_named():
    W = np.full((1, 2, 2), 1e308)
    with pytest.raises(FloatingPointError, match="cell: one step of draw 0 overflows float64"):
        vg.lyapunov_exponents(vg.RNN(W, activation="linear"), 5, rng=0)
