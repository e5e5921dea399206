"""Networks that share vectors: the bits of rows, the numbers of an oracle."""

from __future__ import annotations

import naive
import numpy as np
import pytest

import vgcore as vg
from vgcore import cell_kernels
from vgcore.activations import ACTIVATIONS
from vgcore.kernels import layout
from vgcore.kernels.layout import lanes_side_by_side

# states are scaled out of range on purpose; compiled code does so in silence
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered")
DTYPES = ("float32", "float64")


def problem(n, n_draws, n_times, activation, dtype, gain, K=1):
    """A cell with arguments of its profile; some draws have no bias, some inputs are silence."""
    rng = np.random.default_rng(n)
    W = gain * rng.standard_normal((n_draws, n, n)) / n**0.5
    b = rng.standard_normal((n_draws, n)) * (np.arange(n_draws) % 3 == 0)[:, None]
    u = rng.standard_normal((n_draws, K, n_times, 2))
    u[np.random.default_rng(1).random(u.shape) < 0.97] = 0.0
    x0, v = rng.standard_normal((2, n_draws, K, n))
    W_in = rng.standard_normal((n_draws, n, 2))
    parameters = (W.astype(dtype), W_in.astype(dtype), b.astype(dtype))
    return vg.RNN(*parameters, activation=activation), u, x0, v


def measure(cell, u, x0, v, burn_in=0, **options):
    n_steps = u.shape[2] - burn_in
    arrays = {"inputs": u, "initial_state": x0, "loss_gradient": v}
    found = vg.gradient_profile(
        cell, n_steps, **arrays, n_trajectories=u.shape[1], burn_in=burn_in, **options
    )
    return np.stack([found.log_norm, found.log_contribution])


def by_rows(monkeypatch, *arguments, **options):
    with monkeypatch.context() as patch:
        patch.setattr(cell_kernels, "lanes_side_by_side", lambda *sizes: (0, 0))
        return measure(*arguments, **options)


@pytest.fixture
def caches(monkeypatch):
    """Return a function that sets how much of the first cache there is, as other machines have."""
    return lambda size: monkeypatch.setattr(layout, "cache_budget", lambda: 5 * size // 6)


def test_lanes_are_used_where_these_tests_say_so(caches):
    double, single = (np.dtype(dtype) for dtype in ("float64", "float32"))

    def chosen(n, dtype, n_draws, n_trajectories=1, n_steps=100):
        return lanes_side_by_side(n, dtype, n_draws, n_trajectories, n_steps)

    caches(2**15)
    rows = 0, 0
    sizes = 16, 20, 21, 28, 29, 32, 33
    assert [chosen(n, double, 8)[0] for n in sizes] == [8, 8, 4, 4, 2, 2, 0]
    sizes = 20, 21, 28, 29, 40, 41, 56, 57
    assert [chosen(n, single, 16)[0] for n in sizes] == [16, 8, 8, 4, 4, 2, 2, 0]
    assert [chosen(16, single, D)[1] for D in (1, 2, 6, 7, 13, 14)] == [0, 0, 0, 8, 0, 16]
    assert [chosen(16, single, D)[1] for D in (20, 24, 28, 1000)] == [0, 8, 16, 16]
    assert [chosen(300, single, 3, K) for K in (13, 14, 17, 28)] == [rows, (16, 1), rows, (16, 1)]
    assert [chosen(n, single, 3, 16) for n in (362, 363)] == [(16, 1), rows]
    assert [chosen(9, double, 8, K) for K in (1, 6, 7)] == [(8, 8), (8, 8), (8, 1)]
    assert chosen(16, double, 8, n_steps=2**21) == chosen(99, double, 8, 8, 2**21) == rows
    caches(3 * 2**14)
    assert [chosen(n, single, 16)[0] for n in (25, 35, 49, 64, 65)] == [16, 8, 4, 2, 0]


@pytest.mark.parametrize(
    ("dtype", "n", "expected"),
    [
        ("float32", 26, {16, 8, 4}),
        ("float32", 36, {16, 8, 4}),
        ("float32", 41, {16, 8, 4, 2}),
        ("float32", 50, {16, 8, 4, 2}),
        ("float32", 64, {16, 8, 4, 2}),
        ("float64", 21, {8, 4, 2}),
        ("float64", 29, {8, 4, 2}),
        ("float64", 32, {8, 4, 2}),
    ],
)
def test_the_bits_are_the_same_however_many_networks_a_cache_has_room_for(
    dtype, n, expected, caches, monkeypatch
):
    cell, u, x0, v = problem(n, 16, 40, "tanh", dtype, 1.3)
    rows = by_rows(monkeypatch, cell, u, x0, v)
    seen = set()
    for size in (2**10, *(2**k + 2**k // 2 * half for k in range(12, 19) for half in (0, 1))):
        caches(size)
        seen.add(lanes_side_by_side(n, np.dtype(dtype), 16, 1, 40)[0])
        assert np.array_equal(measure(cell, u, x0, v), rows)
    assert seen == expected | {0}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 5, 19, 30])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "sigmoid"])
def test_the_bits_are_those_of_rows(activation, n, dtype, monkeypatch):
    """With states that die, explode and come back; a batch, a part of it, and one end of it."""
    for gain, n_draws in ((0.2, 11), (1.3, 16), (4.0, 21)):
        cell, u, x0, v = problem(n, n_draws, 90, activation, dtype, gain)
        for options in ({"jacobian": "as_printed"}, {"burn_in": 7}, {}):
            rows = by_rows(monkeypatch, cell, u, x0, v, **options)
            for n_threads in (1, 3):
                lanes = measure(cell, u, x0, v, n_threads=n_threads, **options)
                assert np.array_equal(lanes, rows)
        some = slice(2, 10)
        part = vg.RNN(cell.W_rec[some], cell.W_in[some], cell.bias[some], activation=activation)
        assert np.array_equal(measure(part, u[some], x0[some], v[some]), rows[:, some])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(7, 20, 3), (7, 3, 16), (30, 4, 2), (70, 2, 15), (150, 1, 33)])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_the_bits_of_trajectories_are_those_of_rows(activation, sizes, dtype, monkeypatch):
    """Trajectories of each draw in turn, or side by side; in large networks sums change order."""
    n, n_draws, K = sizes
    for gain in (0.2, 1.3, 4.0):
        cell, u, x0, v = problem(n, n_draws, 40, activation, dtype, gain, K)
        lanes = measure(cell, u, x0, v, burn_in=4)
        assert np.array_equal(lanes, by_rows(monkeypatch, cell, u, x0, v, burn_in=4))
        some = slice(1, K)
        part = measure(cell, u[:, some], x0[:, some], v[:, some], burn_in=4, jacobian="as_printed")
        whole = measure(cell, u, x0, v, burn_in=4, jacobian="as_printed")
        assert np.array_equal(part, whole[:, :, some])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("cell", [vg.RNN, vg.LeakyRNN])
@pytest.mark.parametrize("n_draws", [19, 16])
def test_a_network_has_the_bits_it_has_alone(n_draws, cell, activation, dtype, monkeypatch):
    """Whatever others do: they die, explode, are silent, or driven at times, hard or faintly."""
    n, n_steps = 5, 300
    rng = np.random.default_rng(3)
    W = rng.standard_normal((n_draws, n, n)) * rng.choice([0.05, 0.4, 1.0, 4.0], (n_draws, 1, 1))
    W_in, (x0, v) = rng.standard_normal((n_draws, n, 1)), rng.standard_normal((2, n_draws, 1, n))
    b = rng.standard_normal((n_draws, n)) * rng.choice([0.0, 0.0, 1e-20, 1.0], (n_draws, 1))
    u = rng.standard_normal((n_draws, 1, n_steps, 1))
    u *= rng.choice([0.0, 1.0], (n_draws, 1, 1, 1)) * rng.choice([0.0, 1e-25, 1.0], u.shape)
    x0 *= rng.choice([1e-30, 1.0, 1e20], (n_draws, 1, 1))

    def found(some):
        parameters = (array[some].astype(dtype) for array in (W, W_in, b))
        leak = {} if cell is vg.RNN else {"leak": 0.7}
        return measure(cell(*parameters, activation=activation, **leak), u[some], x0[some], v[some])

    whole = found(slice(None))
    assert not np.isnan(whole).any()
    for d in range(n_draws):
        assert np.array_equal(whole[:, d : d + 1], found(slice(d, d + 1)))
    monkeypatch.setattr(cell_kernels, "lanes_side_by_side", lambda *sizes: (0, 0))
    assert np.array_equal(found(slice(None)), whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["tanh", "linear", "leaky_relu", "softsign"])
def test_the_bits_are_those_of_rows_over_a_long_horizon_without_inputs(
    activation, dtype, monkeypatch
):
    """Norms leave the numbers of the dtype, in each lane at another time."""
    n_steps = 1500
    W = vg.draw_weights("gaussian", 19, 7, dtype=dtype, rng=1)
    cell = vg.RNN(W * np.linspace(0.1, 3.0, 19, dtype=dtype)[:, None, None], activation=activation)
    options = {"rng": 2, "burn_in": 3}
    lanes = vg.gradient_profile(cell, n_steps, **options)
    monkeypatch.setattr(cell_kernels, "lanes_side_by_side", lambda *sizes: (0, 0))
    rows = vg.gradient_profile(cell, n_steps, **options)
    assert np.array_equal(lanes.log_norm, rows.log_norm)
    assert np.array_equal(lanes.log_contribution, rows.log_contribution)
    assert np.ptp(lanes.log_norm[..., -1]) > n_steps


@pytest.mark.jit_off
@pytest.mark.parametrize("gain", [1e-9, 1e9])
@pytest.mark.parametrize("activation", ["tanh", "relu", "leaky_relu", "gelu"])
def test_the_numbers_are_those_of_rows_where_every_step_leaves_the_range(
    activation, gain, monkeypatch
):
    cell, u, x0, v = problem(3, 9, 30, activation, "float64", gain)
    rows = by_rows(monkeypatch, cell, u, x0, v)
    np.testing.assert_allclose(measure(cell, u, x0, v), rows, rtol=1e-9)


@pytest.mark.jit_off
@pytest.mark.parametrize("jacobian", ["exact", "as_printed"])
@pytest.mark.parametrize(("n_draws", "K"), [(2, 1), (8, 1), (1, 7)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_numbers_are_those_of_the_oracle(activation, n_draws, K, jacobian):
    cell, u, x0, v = problem(3, n_draws, 12, activation, "float64", 1.2, K)
    found = measure(cell, u, x0, v, burn_in=2, jacobian=jacobian)
    for d, k in np.ndindex(n_draws, K):
        expected = naive.rnn_profile(
            *(cell.W_rec[d], cell.W_in[d], cell.bias[d], activation, u[d, k], x0[d, k], v[d, k]),
            10,
            burn_in=2,
            jacobian=jacobian,
        )
        np.testing.assert_allclose(found[:, d, k], np.array(expected), rtol=1e-11, atol=1e-10)


@pytest.mark.jit_off
def test_a_gradient_that_is_exactly_zero_is_so_in_its_lane_alone():
    cell, u, x0, v = problem(4, 8, 6, "relu", "float64", 1.0)
    v[3] = 0.0
    log_norm, log_contribution = measure(cell, u, x0, v)
    assert (log_norm[3] == -np.inf).all()
    assert (log_contribution[3] == -np.inf).all()
    assert np.isfinite(log_norm[np.arange(8) != 3, 0, 0]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(7, 20, 1), (7, 20, 3), (30, 5, 2), (70, 2, 19)])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_leaky_units_have_the_bits_of_rows(activation, sizes, dtype, monkeypatch):
    n, n_draws, K = sizes
    for gain in (0.01, 1.3, 8.0):
        cell, u, x0, v = problem(n, n_draws, 60, activation, dtype, gain, K)
        cell = vg.LeakyRNN(cell.W_rec, cell.W_in, cell.bias, leak=0.6, activation=activation)
        lanes = measure(cell, u, x0, v, burn_in=4)
        assert np.array_equal(lanes, by_rows(monkeypatch, cell, u, x0, v, burn_in=4))
        part = measure(cell, u[:, :1], x0[:, :1], v[:, :1], burn_in=4)
        assert np.array_equal(part, lanes[:, :, :1])


@pytest.mark.jit_off
@pytest.mark.parametrize(("n_draws", "K"), [(2, 1), (8, 1), (1, 7)])
@pytest.mark.parametrize("activation", ["tanh", "leaky_relu", "sigmoid"])
def test_leaky_units_have_the_numbers_of_rows(activation, n_draws, K, monkeypatch):
    """Those of rows are held to an oracle elsewhere."""
    cell, u, x0, v = problem(3, n_draws, 12, activation, "float64", 1.2, K)
    cell = vg.LeakyRNN(cell.W_rec, cell.W_in, cell.bias, leak=0.6, activation=activation)
    rows = by_rows(monkeypatch, cell, u, x0, v, burn_in=2)
    np.testing.assert_allclose(measure(cell, u, x0, v, burn_in=2), rows, rtol=1e-11, atol=1e-10)
