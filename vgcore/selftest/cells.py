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
from vgcore.selftest.table import Finding, check, identity

_STEPS, _BURN_IN, _INPUTS = 8, 2, 2
_DRAWS = 4  # small vanilla cells have a kernel of their own from half a vector of draws on
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


CASES = {
    "RNN": _rnn(5),  # draws of few units are carried side by side
    "RNN of 20 units": _rnn(20),  # more of them one row at a time
    "LeakyRNN": Case(
        lambda rng: LeakyRNN.draw(_DRAWS, 5, gain=1.2, n_inputs=_INPUTS, leak=0.3, rng=rng),
        _leaky_step,
        ("W_rec", "W_in"),
        "W_rec",
    ),
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


for _name, _case in CASES.items():
    _covers = f"cell {_name.split()[0]}"
    check(f"{_name}: gradient norm at every lag", _covers, case=_case)(_backward)
    check(f"{_name}: terms of dE/d{_case.weights}", _covers, case=_case)(_contributions)
    check(f"{_name}: dx_T/dx_0 = central differences", _covers, case=_case)(_jacobian)
    check(f"{_name}: dE/d{_case.weights} truncated at every k", _covers, case=_case)(_truncated)
    check(f"{_name}: singular values of dx_T/dx_0", _covers, case=_case)(_singular_values)
    check(f"{_name}: exponents add up to ln |det J|", _covers, case=_case)(_exponents)


def _deep(rng: np.random.Generator, residual: bool) -> Finding:
    """Layers of their own in the place of steps: x_l = W_l tanh(x_{l-1}), plus x_{l-1}."""
    n, depth = 5, 6
    cell = DeepNet.draw(2, depth, n, gain=1.2, residual=residual, rng=rng)
    starts, v = rng.standard_normal((2, 2, 1, n))
    found = gradient_profile(cell, depth, initial_state=starts, loss_gradient=v).log_norm[:, 0]
    expected = np.empty((2, depth + 1))
    for draw, x in enumerate(starts[:, 0]):
        slopes = []
        for W in cell.W[draw]:
            slopes.append(REFERENCE["tanh"][1](x))
            x = W @ np.tanh(x) + (x if residual else 0.0)
        delta = v[draw, 0]
        expected[draw, 0] = np.log(np.linalg.norm(delta))
        for lag in range(1, depth + 1):
            back = slopes[-lag] * (cell.W[draw, -lag].T @ delta)
            delta = back + delta if residual else back
            expected[draw, lag] = np.log(np.linalg.norm(delta))
    return identity(found, expected, 1e-10)


for _residual in (False, True):
    check(
        f"DeepNet{', residual' if _residual else ''}: gradient norm at every layer", "cell DeepNet",
        residual=_residual,
    )(_deep)  # fmt: skip


@check("LSTM without recurrent weights: rate ln sigmoid(b_f)", "cell LSTM")
def _carry(rng: np.random.Generator) -> Finding:
    biases = np.array([0.0, 1.0, 3.0])
    bias = np.zeros((3, 4, 4))
    bias[:, 1] = biases[:, None]  # gates i, f, g, o
    cell = LSTM(None, np.zeros((3, 16, 4)), bias.reshape(3, 16))
    rate = gradient_profile(cell, 200, rng=rng).rate().value[:, 0]
    return identity(rate, theory.lstm_carry_rate(biases), 1e-10)


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


for _n, _trajectories in ((5, 1), (40, 1), (40, 8)):
    check(
        f"RNN: float32 agrees, {_n} units, {_trajectories} trajectories", "cell RNN",
        n=_n, trajectories=_trajectories,
    )(_float32)  # fmt: skip


def _printed(rng: np.random.Generator, n: int) -> Finding:
    """The Jacobian as Pascanu et al. print it: W in the place of its transpose."""
    cell = RNN.draw(2, n, gain=1.2, rng=rng)
    starts, v = rng.standard_normal((2, 2, 1, n))
    found = gradient_profile(
        cell, 2, initial_state=starts, loss_gradient=v, jacobian="as_printed"
    ).log_norm
    expected = np.empty((2, 1, 3))
    for draw in range(2):
        W, x, delta = cell.W_rec[draw], starts[draw, 0], v[draw, 0]
        for lag, state in enumerate((W @ np.tanh(x), x, x)):
            expected[draw, 0, lag] = np.log(np.linalg.norm(delta))
            delta = REFERENCE["tanh"][1](state) * (W @ delta)
    return identity(found, expected, 1e-10)


def _together(rng: np.random.Generator, n: int) -> Finding:
    """Many trajectories, which share a matrix, agree with one at a time."""
    cell = RNN.draw(4, n, gain=1.2, rng=rng)
    starts, v = rng.standard_normal((2, 4, 9, n))
    found = gradient_profile(
        cell, 9, n_trajectories=9, initial_state=starts, loss_gradient=v, burn_in=1
    )
    alone = [
        gradient_profile(
            cell, 9, initial_state=starts[:, [k]], loss_gradient=v[:, [k]], burn_in=1
        )
        for k in range(9)
    ]  # fmt: skip
    return identity(
        [found.log_norm, found.log_contribution],
        [np.concatenate([getattr(one, name) for one in alone], axis=1)
         for name in ("log_norm", "log_contribution")],
        1e-12,
    )  # fmt: skip


for _n in (5, 20):
    check(f"RNN of {_n} units: Jacobian as printed", "cell RNN", n=_n)(_printed)
    check(f"RNN of {_n} units: trajectories together and alone", "cell RNN", n=_n)(_together)


def _extreme(rng: np.random.Generator, n: int, activation: str, gain: float) -> Finding:
    """States and gradients far beyond the range of floats, in closed form on g I."""
    T, start = 60, np.abs(rng.standard_normal((1, 1, n)))
    cell = RNN(gain * np.eye(n)[None], activation=activation)
    found = gradient_profile(cell, T, initial_state=start, rng=rng)
    expected = (T - 1) * np.log(gain) + np.log(np.linalg.norm(start))
    lags = np.arange(T + 1) * np.log(gain)
    return identity(
        [found.log_norm[0, 0], np.r_[found.log_contribution[0, 0, :-1], lags[-1]]],
        [lags, np.r_[np.full(T, expected), lags[-1]]],
        1e-9,
    )


for _n in (3, 20):
    for _activation, _gain in (("linear", 1e9), ("relu", 1e9), ("linear", 1e-9), ("relu", 1e-9)):
        check(
            f"{_activation} RNN of {_n} units, 60 factors {_gain:g}", "cell RNN",
            n=_n, activation=_activation, gain=_gain,
        )(_extreme)  # fmt: skip


def _driven(rng: np.random.Generator, scale: float) -> Finding:
    """A start far out of range of its input, with which it is brought to one scale; W = I / 2."""
    T, n, g, u = 20, 5, 0.5, 0.75
    states = [scale * (1.0 + rng.random(n))]
    for _ in range(T):
        states.append(g * states[-1] + u)
    cell = RNN(g * np.eye(n)[None], np.ones((1, n, 1)), activation="linear")
    found = gradient_profile(cell, T, inputs=[u], initial_state=states[0], rng=rng)
    before = [np.log(x.max()) + np.log(np.linalg.norm(x / x.max())) for x in states[T - 1 :: -1]]
    return identity(found.log_contribution[0, 0, :T], before + np.arange(T) * np.log(g), 1e-9)


for _scale in (1e-200, 1e200):
    check(f"linear RNN from a state of {_scale:g}, driven", "cell RNN", scale=_scale)(_driven)
