"""Checks of every cell, by what holds for any differentiable map of states.

A cell is in the table with a function that draws small ones and one step of it in plain NumPy. All
that is expected comes from central differences of that step. To cover another cell, add a `Case`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from vgcore import theory
from vgcore._typing import Array
from vgcore.cells import RNN, LeakyRNN
from vgcore.deep import DeepNet
from vgcore.gated import GRU, LSTM
from vgcore.jacobian import jacobian_product, log_singular_values
from vgcore.lyapunov import lyapunov_exponents
from vgcore.profile import gradient_profile
from vgcore.remedies import truncation
from vgcore.selftest.functions import REFERENCE
from vgcore.selftest.table import Finding, check, identity, law

_STEPS, _BURN_IN, _INPUTS = 8, 2, 2
_DRAWS = 8  # as many as share a vector in float64
_DELTA = 1e-5  # of central differences: their error is about its square


class Case(NamedTuple):
    """How to check a cell.

    `step` maps the parameters of one draw by name, a state and an input to the next state;
    `weights` names the parameter whose gradient `log_contribution` is of.
    """

    draw: Callable[[np.random.Generator], Any]
    step: Callable[[dict[str, Array], Array, Array], Array]
    parameters: tuple[str, ...]
    weights: str


def _rnn_step(p: dict[str, Array], x: Array, u: Array) -> Array:
    new: Array = p["W_rec"] @ REFERENCE["tanh"][0](x) + p["W_in"] @ u + p["bias"]
    return new


def _rnn(n: int) -> Case:
    return Case(
        lambda rng: RNN.draw(
            _DRAWS, n, gain=1.2, n_inputs=_INPUTS, bias_variance=0.1, input_variance=0.1, rng=rng
        ),
        _rnn_step,
        ("W_rec", "W_in", "bias"),
        "W_rec",
    )


def _leaky_step(p: dict[str, Array], h: Array, u: Array) -> Array:
    new: Array = 0.7 * h + 0.3 * np.tanh(p["W_rec"] @ h + p["W_in"] @ u)
    return new


def _lstm_step(p: dict[str, Array], state: Array, u: Array) -> Array:
    """Gates i, f, g, o one above the other, the state h and then c."""
    h, c = np.split(state, 2)
    i, f, g, o = np.split(p["W_ih"] @ u + p["W_hh"] @ h + p["bias"], 4)
    c = special.expit(f) * c + special.expit(i) * np.tanh(g)
    return np.concatenate([special.expit(o) * np.tanh(c), c])


def _gru_step(p: dict[str, Array], h: Array, u: Array) -> Array:
    """Gates r, z, n; reset after the product."""
    driven, recurrent = p["W_ih"] @ u + p["b_ih"], p["W_hh"] @ h + p["b_hh"]
    (r, z), n = special.expit(np.split(driven + recurrent, 3)[:2]), np.split(driven, 3)[2]
    new: Array = (1 - z) * np.tanh(n + r * np.split(recurrent, 3)[2]) + z * h
    return new


def _leaky(n: int) -> Case:
    return Case(
        lambda rng: LeakyRNN.draw(_DRAWS, n, gain=1.2, n_inputs=_INPUTS, leak=0.3, rng=rng),
        _leaky_step,
        ("W_rec", "W_in"),
        "W_rec",
    )


CASES = {
    "RNN": _rnn(5),  # draws of few units share vectors
    "RNN of 36 units": _rnn(36),  # more of them go in rows
    "LeakyRNN": _leaky(5),
    "LSTM": Case(
        lambda rng: LSTM.draw(_DRAWS, 4, n_inputs=_INPUTS, forget_bias=1.0, rng=rng),
        _lstm_step,
        ("W_ih", "W_hh", "bias"),
        "W_hh",
    ),
    "GRU": Case(
        lambda rng: GRU.draw(_DRAWS, 5, n_inputs=_INPUTS, update_bias=1.0, rng=rng),
        _gru_step,
        ("W_ih", "W_hh", "b_ih", "b_hh"),
        "W_hh",
    ),
}


class Path(NamedTuple):
    """One draw of a cell along one trajectory, in plain NumPy."""

    parameters: dict[str, Array]
    inputs: Array
    states: list[Array]
    jacobians: list[Array]


def _differences(function: Callable[[Array], Array], at: Array) -> Array:
    """Derivatives of a function by each entry of its argument, as columns."""
    shifts = _DELTA * np.eye(at.size).reshape(at.size, *at.shape)
    columns = [(function(at + h) - function(at - h)) / (2 * _DELTA) for h in shifts]
    return np.stack(columns, axis=-1)


def _by_state(case: Case, p: dict[str, Array], x: Array, u: Array) -> Array:
    return _differences(lambda state: case.step(p, state, u), x)


def _by_weights(case: Case, p: dict[str, Array], x: Array, u: Array) -> Array:
    return _differences(lambda W: case.step({**p, case.weights: W}, x, u), p[case.weights])


def _setting(rng: np.random.Generator, case: Case) -> tuple[Any, Array, Array]:
    """A cell, its inputs (draws, times, inputs) and its initial states (draws, n_state)."""
    cell = case.draw(rng)
    inputs = rng.standard_normal((_DRAWS, _BURN_IN + _STEPS, _INPUTS))
    return cell, inputs, 0.5 * rng.standard_normal((_DRAWS, cell.n_state))


def _paths(case: Case, cell: Any, inputs: Array, starts: Array) -> Iterator[Path]:
    for draw, start in enumerate(starts):
        p = {name: getattr(cell, name)[draw] for name in case.parameters}
        states = [start]
        for u in inputs[draw]:
            states.append(case.step(p, states[-1], u))
        jacobians = [_by_state(case, p, x, u) for x, u in zip(states, inputs[draw])]
        yield Path(p, inputs[draw], states, jacobians)


def _product(path: Path) -> Array:
    """dx_T/dx_0 with x_0 the state after burn-in."""
    product = np.eye(path.states[0].size)
    for jacobian in path.jacobians[_BURN_IN:]:
        product = jacobian @ product
    return product


def _jacobian(rng: np.random.Generator, case: Case) -> Finding:
    cell, inputs, starts = _setting(rng, case)
    log_scale, P = jacobian_product(
        cell, _STEPS, inputs=inputs, initial_state=starts, burn_in=_BURN_IN, rng=0
    )
    expected = np.stack([_product(path) for path in _paths(case, cell, inputs, starts)])
    found = np.exp(log_scale)[:, None, None] * P
    return identity(found, expected, 1e-6, np.abs(expected).max())


def _backward(rng: np.random.Generator, case: Case) -> Finding:
    """Norms at every lag: <J^T v, J^T v> with J from differences of the forward map."""
    cell, inputs, starts = _setting(rng, case)
    v = rng.standard_normal((_DRAWS, cell.n_state))
    profile = gradient_profile(
        cell, _STEPS, inputs=inputs[:, None], initial_state=starts[:, None],
        loss_gradient=v[:, None], burn_in=_BURN_IN,
    )  # fmt: skip
    expected = np.empty((_DRAWS, _STEPS + 1))
    for draw, path in enumerate(_paths(case, cell, inputs, starts)):
        delta = v[draw]
        for lag in range(_STEPS + 1):
            expected[draw, lag] = np.log(np.linalg.norm(delta))
            delta = path.jacobians[-1 - lag].T @ delta
    return identity(profile.log_norm[:, 0], expected, 1e-6)


def _terms(case: Case, path: Path, delta: Array) -> Iterator[Array]:
    """Terms of dE/dW, last step first: only the weights of the one step are varied."""
    for lag, jacobian in enumerate(path.jacobians[::-1]):
        yield delta @ _by_weights(
            case, path.parameters, path.states[-2 - lag], path.inputs[-1 - lag]
        )
        delta = jacobian.T @ delta


def _contributions(rng: np.random.Generator, case: Case) -> Finding:
    """Norms of the terms of dE/dW."""
    cell, inputs, starts = _setting(rng, case)
    v = rng.standard_normal((_DRAWS, cell.n_state))
    profile = gradient_profile(
        cell, _STEPS, inputs=inputs[:, None], initial_state=starts[:, None],
        loss_gradient=v[:, None], burn_in=_BURN_IN,
    )  # fmt: skip
    expected = np.empty((_DRAWS, _STEPS + 1))
    for draw, path in enumerate(_paths(case, cell, inputs, starts)):
        terms = itertools.islice(_terms(case, path, v[draw]), _STEPS + 1)
        expected[draw] = [np.log(np.linalg.norm(term)) for term in terms]
    return identity(profile.log_contribution[:, 0], expected, 1e-6)


def _truncated(rng: np.random.Generator, case: Case) -> Finding:
    """Sums of the terms of dE/dW: norms, and cosines with the sum of all."""
    cell, inputs, starts = _setting(rng, case)
    v = rng.standard_normal((_DRAWS, cell.n_state))
    found = truncation(
        cell, _STEPS, inputs=inputs[:, None], initial_state=starts[:, None],
        loss_gradient=v[:, None], burn_in=_BURN_IN,
    )  # fmt: skip
    norms, cosines = np.empty((2, _DRAWS, _STEPS))
    for draw, path in enumerate(_paths(case, cell, inputs, starts)):
        terms = list(itertools.islice(_terms(case, path, v[draw]), _STEPS))
        sums = np.cumsum(terms, axis=0).reshape(_STEPS, -1)
        norms[draw] = np.linalg.norm(sums, axis=1)
        cosines[draw] = sums @ sums[-1] / (norms[draw] * norms[draw, -1])
    return identity([found.log_norm[:, 0], found.cosine[:, 0]], [np.log(norms), cosines], 1e-6)


def _singular_values(rng: np.random.Generator, case: Case) -> Finding:
    """Beside the largest: differences are right to some 1e-10 of it."""
    cell, inputs, starts = _setting(rng, case)
    found = log_singular_values(
        cell, _STEPS, inputs=inputs, initial_state=starts, burn_in=_BURN_IN, rng=0
    )
    products = np.stack([_product(path) for path in _paths(case, cell, inputs, starts)])
    expected = np.linalg.svd(products, compute_uv=False)
    return identity(np.exp(found), expected, 1e-6, expected.max())


def _exponents(rng: np.random.Generator, case: Case) -> Finding:
    cell, inputs, starts = _setting(rng, case)
    exponents = lyapunov_exponents(
        cell, _STEPS, inputs=inputs, initial_state=starts, burn_in=_BURN_IN, rng=0
    )
    volumes, units = np.empty((2, _DRAWS))
    for draw, path in enumerate(_paths(case, cell, inputs, starts)):
        jacobians = np.stack(path.jacobians[_BURN_IN:])
        volumes[draw] = np.linalg.slogdet(jacobians)[1].mean()
        # differences are right to some 1e-10, which counts by the smallest singular value
        smallest = np.linalg.svd(jacobians, compute_uv=False)[:, -1]
        units[draw] = max(1.0, float((1e-2 / smallest).sum()))
    return identity(exponents.sum(axis=1), volumes, 1e-6, units)


def _beside(rng: np.random.Generator, case: Case) -> Finding:
    """Trajectories of one draw, each with inputs, a state and a gradient of its own, and alone."""
    cell, _, _ = _setting(rng, case)
    u = rng.standard_normal((_DRAWS, 3, _STEPS, _INPUTS))
    start, v = rng.standard_normal((2, _DRAWS, 3, cell.n_state))
    found = gradient_profile(
        cell, _STEPS, inputs=u, n_trajectories=3, initial_state=start, loss_gradient=v
    )
    alone = [
        gradient_profile(
            cell, _STEPS, inputs=u[:, [k]], initial_state=start[:, [k]], loss_gradient=v[:, [k]]
        )
        for k in range(3)
    ]
    names = ("log_norm", "log_contribution")
    return identity(
        [getattr(found, name) for name in names],
        [np.concatenate([getattr(one, name) for one in alone], axis=1) for name in names],
        1e-10,
    )


for _name, _case in CASES.items():
    _covers = f"cell {_name.split()[0]}"
    check(f"{_name}: gradient norm at every lag", _covers, case=_case)(_backward)
    check(f"{_name}: terms of dE/d{_case.weights}", _covers, case=_case)(_contributions)
    check(f"{_name}: dx_T/dx_0 = central differences", _covers, case=_case)(_jacobian)
    check(f"{_name}: dE/d{_case.weights} truncated at every k", _covers, case=_case)(_truncated)
    check(f"{_name}: singular values of dx_T/dx_0", _covers, case=_case)(_singular_values)
    check(f"{_name}: exponents add up to ln |det J|", _covers, case=_case)(_exponents)
    check(f"{_name}: trajectories beside one another", _covers, case=_case)(_beside)


check(
    "LeakyRNN of 36 units: gradient norm at every lag", "cell LeakyRNN", case=_leaky(36)
)(_backward)  # fmt: skip


class Layers(NamedTuple):
    """A deep net through layers of their own, x_l = W_l tanh(x_{l-1}) + b_l, or x_{l-1} more."""

    cell: DeepNet
    starts: Array
    states: Array  # (draws, layers + 1, N)
    jacobians: Array  # (draws, layers, N, N)


def _layers(rng: np.random.Generator, residual: bool) -> Layers:
    n, depth = 5, 6
    cell = DeepNet.draw(2, depth, n, gain=1.2, bias_variance=0.3, residual=residual, rng=rng)
    assert cell.bias is not None
    states, jacobians = np.empty((2, depth + 1, n)), np.empty((2, depth, n, n))
    states[:, 0] = rng.standard_normal((2, n))
    for draw, x in enumerate(states):
        for layer, W in enumerate(cell.W[draw]):
            jacobians[draw, layer] = W * REFERENCE["tanh"][1](x[layer]) + residual * np.eye(n)
            x[layer + 1] = W @ np.tanh(x[layer]) + cell.bias[draw, layer] + residual * x[layer]
    return Layers(cell, states[:, 0].copy(), states, jacobians)


_LAYERS_BACK = 4  # of 6


def _deep(rng: np.random.Generator, residual: bool) -> Finding:
    """Norms of the gradient at each layer, and of its part in the gradient of that layer's W."""
    net = _layers(rng, residual)
    v = rng.standard_normal((2, 5))
    found = gradient_profile(
        net.cell, _LAYERS_BACK, initial_state=net.starts[:, None], loss_gradient=v[:, None]
    )
    expected = np.empty((2, 2, _LAYERS_BACK + 1))
    for draw, delta in enumerate(v):
        for lag in range(_LAYERS_BACK + 1):
            log_norm = np.log(np.linalg.norm(delta))
            activity = np.log(np.linalg.norm(np.tanh(net.states[draw, -2 - lag])))
            expected[:, draw, lag] = log_norm, log_norm + activity
            delta = net.jacobians[draw, -1 - lag].T @ delta
    return identity([found.log_norm[:, 0], found.log_contribution[:, 0]], expected, 1e-10)


def _deep_product(rng: np.random.Generator, residual: bool) -> Finding:
    """Jacobian of the last layers, and its volume by the exponents."""
    net = _layers(rng, residual)
    last = net.jacobians[:, -_LAYERS_BACK:]
    expected = np.stack([np.linalg.multi_dot(one[::-1]) for one in last])
    log_scale, P = jacobian_product(net.cell, _LAYERS_BACK, initial_state=net.starts)
    volumes = lyapunov_exponents(net.cell, _LAYERS_BACK, initial_state=net.starts, rng=0).sum(
        axis=1
    )
    return identity(
        [*np.exp(log_scale)[:, None, None] * P, np.diag(np.resize(volumes, 5))],
        [*expected, np.diag(np.resize(np.linalg.slogdet(last)[1].mean(axis=1), 5))],
        1e-9,
    )


for _residual in (False, True):
    _kind = f"DeepNet{', residual' if _residual else ''}"
    check(f"{_kind}: gradient norm at every layer", "cell DeepNet", residual=_residual)(_deep)
    check(f"{_kind}: Jacobian of the layers", "cell DeepNet", residual=_residual)(_deep_product)


@check("LSTM without recurrent weights: rate ln sigmoid(b_f)", "cell LSTM")
def _carry(rng: np.random.Generator) -> Finding:
    biases = np.array([0.0, 1.0, 3.0])
    bias = np.zeros((3, 4, 4))
    bias[:, 1] = biases[:, None]  # gates i, f, g, o
    cell = LSTM(None, np.zeros((3, 16, 4)), bias.reshape(3, 16))
    rate = gradient_profile(cell, 200, rng=rng).rate().value[:, 0]
    return identity(rate, theory.lstm_carry_rate(biases), 1e-10)


def _tiny_state(rng: np.random.Generator, cell: LSTM | GRU) -> Finding:
    """Nothing drives the candidate: a state near 0 keeps its direction at any size."""
    v = rng.standard_normal((1, 1, cell.n_state))
    large, small = (
        gradient_profile(
            cell, 60, initial_state=scale * v, loss_gradient=v, burn_in=1
        ) for scale in (1e-10, 1e-200)
    )  # fmt: skip
    return identity(
        [small.log_norm, small.log_contribution],
        [large.log_norm, large.log_contribution - 190 * np.log(10)],
        1e-8,
    )


@check("LSTM: from a state of 1e-200", "cell LSTM")
def _tiny_lstm(rng: np.random.Generator) -> Finding:
    cell = LSTM.draw(1, 4, rng=rng)
    return _tiny_state(rng, LSTM(None, cell.W_hh, np.repeat([[0.3, 1.0, 0.0, 0.5]], 4, axis=1)))


@check("GRU: from a state of 1e-200", "cell GRU")
def _tiny_gru(rng: np.random.Generator) -> Finding:
    cell, bias = GRU.draw(1, 4, rng=rng), np.repeat([[0.3, -0.5, 0.0]], 4, axis=1)
    return _tiny_state(rng, GRU(None, cell.W_hh, bias, bias))


@check("LSTM: forget bias and chrono", "cell LSTM")
def _lstm_biases(rng: np.random.Generator) -> Finding:
    """They set the bias of f, and chrono that of i to its negative; the others stay."""
    n, seed = 6, int(rng.integers(2**32))
    plain = LSTM.draw(2, n, rng=seed).bias
    given = LSTM.draw(2, n, forget_bias=0.7, rng=seed).bias
    chrono = LSTM.draw(2, n, chrono=20.0, rng=seed).bias
    expected = np.stack([plain, plain])
    expected[0, :, n : 2 * n] = 0.7
    expected[1, :, n : 2 * n], expected[1, :, :n] = chrono[:, n : 2 * n], -chrono[:, n : 2 * n]
    return identity([given, chrono], expected, 0.0)


@check("GRU: update bias and chrono", "cell GRU")
def _gru_biases(rng: np.random.Generator) -> Finding:
    """They set the bias of z, one of the two to zero; the others stay."""
    n, seed = 6, int(rng.integers(2**32))
    plain = GRU.draw(2, n, rng=seed)
    given = GRU.draw(2, n, update_bias=0.7, rng=seed)
    chrono = GRU.draw(2, n, chrono=20.0, rng=seed)
    expected = np.stack([[plain.b_ih, plain.b_hh]] * 2)
    expected[:, 1, :, n : 2 * n] = 0.0
    expected[0, 0, :, n : 2 * n] = 0.7
    expected[1, 0, :, n : 2 * n] = chrono.b_ih[:, n : 2 * n]
    return identity([[one.b_ih, one.b_hh] for one in (given, chrono)], expected, 0.0)


@check("chrono biases: mean of exp b is T / 2", "cell LSTM", statistical=True)
def _chrono_law(rng: np.random.Generator) -> Finding:
    return law(np.exp(LSTM.draw(300, 8, chrono=20.0, rng=rng).bias[:, 8:16]), 10.0)


@check("variance of input weights", "cell RNN", statistical=True)
def _input_variance(rng: np.random.Generator) -> Finding:
    cell = RNN.draw(300, 8, n_inputs=4, input_variance=0.3, rng=rng)
    assert cell.W_in is not None
    return law((cell.W_in**2).sum(axis=2), 0.3)


@check("variance of biases", "cell RNN", statistical=True)
def _bias_variance(rng: np.random.Generator) -> Finding:
    cell = RNN.draw(300, 8, bias_variance=0.3, rng=rng)
    assert cell.bias is not None
    return law(cell.bias**2, 0.3)


def _float32(rng: np.random.Generator, n: int, trajectories: int) -> Finding:
    """Both dtypes agree."""
    cell = RNN.draw(8, n, gain=0.9, n_inputs=2, dtype="float32", rng=rng)
    inputs = rng.standard_normal((8, 1, 20, 2)).astype(np.float32)
    twin = RNN(*(np.float64(x) for x in (cell.W_rec, cell.W_in)))
    start = rng.standard_normal((8, trajectories, n)).astype(np.float32)
    found, expected = (
        gradient_profile(
            one, 20, inputs=inputs, n_trajectories=trajectories, initial_state=start, rng=5
        ).log_norm
        for one in (cell, twin)
    )
    return identity(found, expected, 1e-3)


for _n, _trajectories in ((40, 1), (40, 8)):  # small ones have a kernel more to compile
    check(
        f"RNN: float32 agrees, {_n} units, {_trajectories} trajectories", "cell RNN",
        n=_n, trajectories=_trajectories,
    )(_float32)  # fmt: skip


def _printed(rng: np.random.Generator, n: int) -> Finding:
    """The Jacobian as Pascanu et al. print it: W in the place of its transpose."""
    cell = RNN.draw(_DRAWS, n, gain=1.2, rng=rng)
    starts, v = rng.standard_normal((2, _DRAWS, 1, n))
    found = gradient_profile(
        cell, 2, initial_state=starts, loss_gradient=v, jacobian="as_printed"
    ).log_norm
    expected = np.empty((_DRAWS, 1, 3))
    for draw in range(_DRAWS):
        W, x, delta = cell.W_rec[draw], starts[draw, 0], v[draw, 0]
        for lag, state in enumerate((W @ np.tanh(x), x, x)):
            expected[draw, 0, lag] = np.log(np.linalg.norm(delta))
            delta = REFERENCE["tanh"][1](state) * (W @ delta)
    return identity(found, expected, 1e-10)


def _together(rng: np.random.Generator, n: int) -> Finding:
    """Many trajectories, which share vectors and a matrix, agree with one at a time."""
    cell = RNN.draw(4, n, gain=1.2, rng=rng)
    starts, v = rng.standard_normal((2, 4, 15, n))
    found = gradient_profile(
        cell, 9, n_trajectories=15, initial_state=starts, loss_gradient=v, burn_in=1
    )
    alone = [
        gradient_profile(
            cell, 9, initial_state=starts[:, [k]], loss_gradient=v[:, [k]], burn_in=1
        )
        for k in range(15)
    ]  # fmt: skip
    return identity(
        [found.log_norm, found.log_contribution],
        [np.concatenate([getattr(one, name) for one in alone], axis=1)
         for name in ("log_norm", "log_contribution")],
        1e-12,
    )  # fmt: skip


for _n in (5, 36):
    check(f"RNN of {_n} units: Jacobian as printed", "cell RNN", n=_n)(_printed)
    check(f"RNN of {_n} units: trajectories together and alone", "cell RNN", n=_n)(_together)


_LINES = {"linear": (1.0, 1.0), "relu": (1.0, 1.0), "leaky_relu": (0.01, 0.01), "gelu": (0.5, 1.0)}
"""Slope near zero, and far from it on the side where states begin."""


def _extreme(rng: np.random.Generator, n: int, activation: str, gain: float) -> Finding:
    """States and gradients far beyond the range of floats, in closed form on g I.

    As many draws as share vectors where they have few units. A leaky unit with leak 1 is a vanilla
    one.
    """
    T, start = 60, np.abs(rng.standard_normal((_DRAWS, 1, n)))
    slope = _LINES[activation][gain > 1.0]
    if activation == "leaky_relu":
        start = -start
    size = 1.0
    if activation == "gelu":  # which is no line in between
        size = 1e200 if gain > 1.0 else 1e-200
    W = np.tile(gain * np.eye(n), (_DRAWS, 1, 1))
    cells = [RNN(W, activation=activation), LeakyRNN(W, activation="linear")]
    found = [
        gradient_profile(cell, T, initial_state=size * start, rng=rng)
        for cell in cells[: 2 if activation == "linear" else 1]
    ]
    factor = np.log(gain * slope)
    lags = np.tile(np.arange(1, T + 1) * factor, (_DRAWS, 1))
    terms = (T - 1) * factor + np.log(size) + np.log(slope * np.linalg.norm(start, axis=2))
    return identity(
        [(one.log_norm[:, 0, 1:], one.log_contribution[:, 0, :-1]) for one in found],
        [lags, np.broadcast_to(terms, lags.shape)],
        1e-9,
    )


for _n in (3, 20):
    for _activation, _large in itertools.product(_LINES, (True, False)):
        _gain = (2.0 if _activation == "gelu" else 1e9) ** (1 if _large else -1)
        check(
            f"{_activation} RNN of {_n} units, 60 factors {_gain:g}", "cell RNN",
            n=_n, activation=_activation, gain=_gain,
        )(_extreme)  # fmt: skip


def _driven(rng: np.random.Generator, scale: float) -> Finding:
    """A start far out of range of its input, with which it is brought to one scale; W = I / 2."""
    T, n, g, u = 20, 5, 0.5, 0.75
    states = [scale * (1.0 + rng.random(n))]
    if scale > 1.0:
        states[0][0] = 1.0  # where no activation is a line yet
    for _ in range(T):
        states.append(g * states[-1] + u)
    W, W_in = np.tile(g * np.eye(n), (5, 1, 1)), np.ones((5, n, 1))
    cells = (
        RNN(W, W_in, activation="linear"),
        RNN(W[:1], W_in[:1], activation="linear"),
        LeakyRNN(W, W_in, activation="linear"),
    )
    found = [
        gradient_profile(cell, T, inputs=[u], initial_state=states[0], rng=rng).log_contribution
        for cell in cells
    ]
    before = [np.log(x.max()) + np.log(np.linalg.norm(x / x.max())) for x in states[T - 1 :: -1]]
    return identity(np.concatenate(found)[:, 0, :T], before + np.arange(T) * np.log(g), 1e-9)


for _scale in (1e-200, 1e200):
    check(f"linear RNN from a state of {_scale:g}, driven", "cell RNN", scale=_scale)(_driven)
