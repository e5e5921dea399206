"""Checks of the estimators: closed forms, and processes whose rates and horizons are known."""

from __future__ import annotations

import numpy as np
from scipy import special

from vgcore import theory
from vgcore._typing import Array
from vgcore.activations import ACTIVATIONS
from vgcore.cells import RNN, LeakyRNN
from vgcore.initializers import draw_weights
from vgcore.jacobian import jacobian_product, log_singular_values
from vgcore.lyapunov import (
    entropy_rate,
    kaplan_yorke_dimension,
    lyapunov_exponents,
    lyapunov_history,
)
from vgcore.profile import GradientProfile, gradient_profile
from vgcore.remedies import (
    Truncation,
    clipping,
    echo_state,
    effective_radius,
    memory_capacity,
    penalised_descent,
    penalties,
    truncation,
)
from vgcore.selftest.functions import REFERENCE
from vgcore.selftest.table import Finding, check, identity, law, share


def _linear(W: Array) -> RNN:
    return RNN(W, activation="linear")


def _leaky(W: Array, leak: float = 1.0) -> LeakyRNN:
    return LeakyRNN(W, activation="linear", leak=leak)


# --- one step, in law: exact at any size -----------------------------------------------------


def _one_step(rng: np.random.Generator, activation: str) -> Finding:
    """E ||delta_{T-1}||^2 = g^2 E s'(z)^2: a step back meets a state that knows nothing of W."""
    cell = RNN.draw(4000, 16, gain=1.3, activation=activation, rng=rng)
    profile = gradient_profile(cell, 1, rng=rng)
    slope_square = float(theory.gaussian_moments(activation, 1.0).slope_square)
    return law(np.exp(2 * profile.log_norm[:, 0, 1]), 1.3**2 * slope_square)


for _activation in ACTIVATIONS:
    check(
        f"{_activation}: E ||delta||^2 after one step back", "cell RNN", statistical=True,
        activation=_activation,
    )(_one_step)  # fmt: skip


@check("linear step: mean log norm (Newman)", "cell RNN", statistical=True)
def _newman_mean(rng: np.random.Generator) -> Finding:
    profile = gradient_profile(RNN.draw(4000, 16, activation="linear", rng=rng), 1, rng=rng)
    return law(profile.log_norm[:, 0, 1], float(theory.gaussian_log_norm(1, 16).mean))


@check("linear step: variance of the log norm (Newman)", "cell RNN", statistical=True)
def _newman_variance(rng: np.random.Generator) -> Finding:
    profile = gradient_profile(RNN.draw(4000, 16, activation="linear", rng=rng), 1, rng=rng)
    mean, variance = theory.gaussian_log_norm(1, 16)
    return law((profile.log_norm[:, 0, 1] - mean) ** 2, float(variance))


# --- rate, horizon, growing share ------------------------------------------------------------


@check("rate of g Q is ln g", "estimator rate")
def _orthogonal_rate(rng: np.random.Generator) -> Finding:
    g = 0.95
    cell = _linear(draw_weights("orthogonal", 4, 12, gain=g, rng=rng))
    return identity(gradient_profile(cell, 200, rng=rng).rate().value, np.log(g), 1e-12)


@check("rate of a linear cell is ln of its radius", "estimator rate")
def _linear_rate(rng: np.random.Generator) -> Finding:
    eigenvectors = np.eye(10) + 0.1 * rng.standard_normal((4, 10, 10))
    W = eigenvectors * np.r_[0.9, np.linspace(0.5, -0.5, 9)] @ np.linalg.inv(eigenvectors)
    rate = gradient_profile(_linear(W), 400, rng=rng).rate()
    return identity(rate.value, np.log(0.9), 1e-9)


def walk(increments: Array) -> GradientProfile:
    """A profile whose log norms are the sums of given increments (draws, lags)."""
    log_norm = np.zeros((len(increments), 1, increments.shape[1] + 1))
    log_norm[:, 0, 1:] = np.cumsum(increments, axis=1)
    return GradientProfile(log_norm, log_norm, np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))


@check("rate of a random walk is its drift", "estimator rate", statistical=True)
def _walk_rate(rng: np.random.Generator) -> Finding:
    return law(walk(rng.normal(-0.05, 0.3, (2000, 200))).rate().value, -0.05)


@check("stderr^2 of a rate is its variance", "estimator rate", statistical=True)
def _walk_stderr(rng: np.random.Generator) -> Finding:
    """The slope over L increments of deviation s has variance 6 s^2 (L + 1)^2 + ... / 5 L^3."""
    L = 150
    rate = walk(rng.normal(-0.05, 0.3, (2000, 200))).rate(window=(50, 200))
    exact = 0.3**2 * 6 * (L**2 + 2 * L + 2) / (5 * L * (L + 1) * (L + 2))
    return law(rate.stderr**2, exact)


@check("95 % interval of a rate is that of Student", "estimator rate")
def _walk_interval(rng: np.random.Generator) -> Finding:
    """150 increments make 12 batches of 12: 11 degrees of freedom."""
    rate = walk(rng.normal(-0.05, 0.3, (3, 200))).rate(window=(50, 200))
    low, high = rate.interval()
    ends = [(rate.value - low) / rate.stderr, (high - rate.value) / rate.stderr]
    return identity(ends, 2.200985160082949, 1e-9)


@check("growing share of random walks", "estimator growing share", statistical=True)
def _growing(rng: np.random.Generator) -> Finding:
    """The slope is normal; for window (50, 200) its deviation is as above."""
    n, L = 4000, 150
    drift = 0.01
    sd = 0.3 * np.sqrt(6 * (L**2 + 2 * L + 2) / (5 * L * (L + 1) * (L + 2)))
    found = walk(rng.normal(drift, 0.3, (n, 200))).growing_share()
    return share(round(found * n), n, float(special.ndtr(drift / sd)))


@check("horizon of a I is the first lag below eps", "estimator horizon")
def _exact_horizon(rng: np.random.Generator) -> Finding:
    a = rng.uniform(0.5, 0.97, 40)
    cell = _linear(a[:, None, None] * np.eye(3))
    horizon = gradient_profile(cell, 300, rng=rng).horizon(1e-3)
    return identity(horizon.lag[:, 0], np.ceil(theory.memory_horizon(np.log(a), 1e-3)), 0.0)


@check("horizons of a I: censored, and of growth", "estimator horizon")
def _other_horizons(rng: np.random.Generator) -> Finding:
    """Over 300 steps; and growth from another norm of the loss, 1/e of that at lag 0."""
    a = np.array([0.9, 0.99, 1.01, 1.05])
    profile = gradient_profile(_linear(a[:, None, None] * np.eye(3)), 300, rng=rng)
    found, other = profile.horizon(1e-3), profile.horizon(1e-3, log_loss=-1.0)
    steps, sooner = (int(np.ceil((np.log(1e3) - less) / np.log(1.05))) for less in (0.0, 1.0))
    events = found.event[:, 0] == ["vanish", "censored", "censored", "explode"]
    return identity(
        [found.lag[:, 0], found.censored[:, 0], found.growth_lag[:, 0], found.growth_censored[:, 0],
         other.growth_lag[:, 0], events],
        [[66, 300, 300, 300], [0, 1, 1, 1], [300, 300, 300, steps], [1, 1, 1, 0],
         [300, 300, 300, sooner], [1, 1, 1, 1]],
        0.0,
    )  # fmt: skip


_LATTICE, _BARRIER, _DOWN = 0.5, 7, 0.6  # step, steps to the barrier, probability of a step down


def _lattice(rng: np.random.Generator, n: int) -> GradientProfile:
    return walk(np.where(rng.random((n, 400)) < _DOWN, -_LATTICE, _LATTICE))


_EPS = float(np.exp(-_LATTICE * (_BARRIER - 0.5)))  # between two points of the lattice


@check("horizon of a lattice walk: mean first passage", "estimator horizon", statistical=True)
def _first_passage(rng: np.random.Generator) -> Finding:
    """Wald: barrier / drift; censoring at 400 steps is a matter of 1e-6 of it."""
    return law(_lattice(rng, 2000).horizon(_EPS).lag, _BARRIER / (2 * _DOWN - 1))


@check("vanish or explode first: gambler's ruin", "estimator horizon", statistical=True)
def _ruin(rng: np.random.Generator) -> Finding:
    odds = ((1 - _DOWN) / _DOWN) ** _BARRIER
    event = _lattice(rng, 2000).horizon(_EPS).event
    return share(int((event == "explode").sum()), 2000, odds / (1 + odds))


@check("no step grows beyond gamma sigma_max (Pascanu)", "estimator rate")
def _bound(rng: np.random.Generator) -> Finding:
    excess = []
    for activation in ACTIVATIONS:
        cell = RNN.draw(5, 12, gain=1.2, activation=activation, rng=rng)
        bound = theory.pascanu_bound(activation, np.linalg.norm(cell.W_rec, 2, axis=(1, 2)))
        growth = np.diff(gradient_profile(cell, 30, rng=rng).log_norm[:, 0], axis=1)
        excess.append(np.nanmax(growth - bound[:, None]))
    return identity(max(0.0, *excess), 0.0, 1e-9)


def _threads(rng: np.random.Generator, n: int) -> Finding:
    cell = RNN.draw(9, n, rng=rng)
    start, v = rng.standard_normal((2, 9, 1, n))
    whole = gradient_profile(cell, 12, initial_state=start, loss_gradient=v, n_threads=2).log_norm
    parts = [
        gradient_profile(
            RNN(cell.W_rec[i : i + 1]), 12,
            initial_state=start[i : i + 1], loss_gradient=v[i : i + 1], n_threads=1,
        ).log_norm
        for i in range(9)
    ]  # fmt: skip
    return identity(whole, np.concatenate(parts), 0.0)


for _n in (5, 24):
    check(f"same bits for any threads and batch, {_n} units", "cell RNN", n=_n)(_threads)


# --- exponents and Jacobian products ---------------------------------------------------------


@check("exponents of diagonal cells, at two stops", "estimator Lyapunov exponents")
def _diagonal(rng: np.random.Generator) -> Finding:
    """A cell with a kernel of its own, and one that goes by its Jacobians: the same with leak 1."""
    d = np.array([2.0, 1.0, -0.5, 0.1])
    found = [
        lyapunov_history(cell, [40, 200], tangent_burn_in=100, rng=rng)[0]
        for cell in (_linear(np.diag(d)[None]), _leaky(np.diag(d)[None]))
    ]
    return identity(found, np.log(np.abs(d)), 1e-10)


@check("exponents of +-46, orthogonalised every 80 steps", "estimator Lyapunov exponents")
def _far_out(rng: np.random.Generator) -> Finding:
    """Growth between two orthogonalisations that would leave the range of floats."""
    scales = np.array([1e20, 1e-20])
    found = [
        lyapunov_exponents(cell, 160, n_exponents=1, qr_interval=80, rng=rng)[:, 0]
        for cell in (_linear(scales[:, None, None] * np.eye(3)),
                     _leaky(scales[:, None, None] * np.eye(3)))
    ]  # fmt: skip
    return identity(found, np.log(scales), 1e-10)


@check("exponents of a driven net add up, saturated units", "estimator Lyapunov exponents")
def _saturated(rng: np.random.Generator) -> Finding:
    """Sum = ln |det W| + mean of sum_j ln s'(x_j), with slopes as small as 1e-20."""
    cell = RNN.draw(3, 10, gain=1.5, n_inputs=1, input_variance=100.0, rng=rng)
    start, u = rng.standard_normal((3, 10)), rng.standard_normal((3, 40, 1))
    found = lyapunov_exponents(cell, 40, initial_state=start, inputs=u, rng=rng).sum(axis=1)
    expected = np.linalg.slogdet(cell.W_rec)[1]
    assert cell.W_in is not None
    for d in range(3):
        x = start[d]
        for t in range(40):
            expected[d] += (np.log(REFERENCE["tanh"][1](x)) / 40).sum()
            x = cell.W_rec[d] @ np.tanh(x) + cell.W_in[d] @ u[d, t]
    return identity(found, expected, 1e-8)


@check("leading exponent = rate of the same net", "estimator Lyapunov exponents")
def _leading(rng: np.random.Generator) -> Finding:
    """On a linear cell with one dominant direction both are the logarithm of its eigenvalue."""
    eigenvectors = np.eye(8) + 0.1 * rng.standard_normal((3, 8, 8))
    W = eigenvectors * np.r_[1.1, np.linspace(0.5, -0.5, 8 - 1)] @ np.linalg.inv(eigenvectors)
    found = lyapunov_exponents(_linear(W), 200, n_exponents=1, tangent_burn_in=200, rng=rng)
    return identity(
        found[:, 0], gradient_profile(_linear(W), 400, rng=rng).rate().value[:, 0], 1e-9
    )


@check("orthogonalising every 3 steps changes nothing", "estimator Lyapunov exponents")
def _interval(rng: np.random.Generator) -> Finding:
    cell = RNN.draw(3, 8, gain=1.3, rng=rng)
    start = rng.standard_normal((3, 8))
    often, rarely = (
        lyapunov_exponents(
            cell,
            40,
            n_exponents=2,
            initial_state=start,
            tangent_burn_in=5,
            qr_interval=steps,
            rng=0,
        )
        for steps in (1, 3)
    )
    return identity(rarely, often, 1e-7)


@check("Kaplan-Yorke dimension and entropy rate", "estimator Lyapunov exponents")
def _dimension(rng: np.random.Generator) -> Finding:
    spectra = rng.permuted([0.5, 0.1, -0.2, -1.0, -np.inf])
    found = [kaplan_yorke_dimension(spectra), entropy_rate(spectra), kaplan_yorke_dimension([-1.0])]
    return identity(found, [3.4, 0.6, 0.0], 1e-12)


@check("singular values of g Q over 200 steps are g^200", "estimator Jacobian product")
def _isometry(rng: np.random.Generator) -> Finding:
    cell = _linear(draw_weights("orthogonal", 3, 8, gain=0.5, rng=rng))
    return identity(log_singular_values(cell, 200, rng=rng), 200 * np.log(0.5), 1e-10)


@check("singular values add up to ln |det|", "estimator Jacobian product")
def _volume(rng: np.random.Generator) -> Finding:
    W = draw_weights("gaussian", 3, 6, rng=rng)
    found = log_singular_values(_linear(W), 30, rng=rng).sum(axis=1)
    return identity(found, 30 * np.linalg.slogdet(W)[1], 1e-6)


@check("largest singular value is that of the product", "estimator Jacobian product")
def _norms(rng: np.random.Generator) -> Finding:
    cell = RNN.draw(4, 8, gain=1.5, rng=rng)
    start = rng.standard_normal((4, 8))
    log_scale, P = jacobian_product(cell, 15, initial_state=start)
    found = log_singular_values(cell, 15, initial_state=start, rng=rng)[:, 0]
    return identity(found, log_scale + np.log(np.linalg.norm(P, 2, axis=(1, 2))), 1e-9)


@check("an underflowing product keeps its scale", "estimator Jacobian product")
def _tiny(rng: np.random.Generator) -> Finding:
    W = draw_weights("orthogonal", 2, 6, gain=1e-3, rng=rng)
    found = [jacobian_product(cell, 400, rng=rng)[0] for cell in (_linear(W), _leaky(W))]
    return identity(found, 400 * np.log(1e-3) + 0.5 * np.log(6), 1e-9)


# --- remedies --------------------------------------------------------------------------------


def _driven(rng: np.random.Generator, activation: str = "tanh") -> tuple[RNN, Array, Array, Array]:
    """Cell, inputs, start and dE_T/dx_T of one draw each for comparison with `_full_gradient`."""
    cell = RNN.draw(2, 6, gain=1.3, n_inputs=1, activation=activation, rng=rng)
    u, (start, v) = rng.standard_normal((2, 1, 12, 1)), rng.standard_normal((2, 2, 1, 6))
    return cell, u, start, v


def _gradient(cell: RNN, u: Array, start: Array, v: Array, draw: int) -> Array:
    """dE/dW_rec for E = v . x_T by central differences."""
    assert cell.W_in is not None
    W_in = cell.W_in[draw]

    def loss(W: Array) -> float:
        x = start[draw, 0]
        for one in u[draw, 0]:
            x = W @ np.tanh(x) + W_in @ one
        return float(v[draw, 0] @ x)

    W, h = cell.W_rec[draw], 1e-5
    steps = h * np.eye(W.size).reshape(-1, *W.shape)
    return np.array([(loss(W + s) - loss(W - s)) / (2 * h) for s in steps]).reshape(W.shape)


@check("truncation: full gradient = central differences", "estimator truncation share")
def _full_gradient(rng: np.random.Generator) -> Finding:
    cell, u, start, v = _driven(rng)
    found = truncation(cell, 12, inputs=u, initial_state=start, loss_gradient=v).log_full_norm
    expected = [np.log(np.linalg.norm(_gradient(cell, u, start, v, d))) for d in range(2)]
    return identity(found[:, 0], expected, 1e-5)


@check("truncation at every k, losses at every step", "estimator truncation share")
def _every_loss(rng: np.random.Generator) -> Finding:
    """Each loss carried back k steps: outer products, one a loss and a lag."""
    T, n, burn_in = 7, 6, 2
    cell, losses = RNN.draw(1, n, gain=1.3, rng=rng), rng.standard_normal((1, 1, T, n))
    start, W = rng.standard_normal((1, 1, n)), cell.W_rec[0]
    states = [start[0, 0]]
    for _ in range(burn_in + T):
        states.append(W @ np.tanh(states[-1]))
    states = states[burn_in:]
    sums = np.zeros((T, n, n))
    for t in range(1, T + 1):
        delta = losses[0, 0, t - 1]
        for lag in range(t):
            sums[lag:] += np.outer(delta, np.tanh(states[t - lag - 1]))
            delta = REFERENCE["tanh"][1](states[t - lag - 1]) * (W.T @ delta)
    found = truncation(cell, T, initial_state=start, loss_gradients=losses, burn_in=burn_in)
    norms, full = np.linalg.norm(sums, axis=(1, 2)), sums[-1]
    share = (sums * full).sum(axis=(1, 2)) / norms[-1] ** 2
    return identity(
        [found.log_norm[0, 0], found.projection_share[0, 0], found.cosine[0, 0]],
        [np.log(norms), share, share * norms[-1] / norms],
        1e-9,
    )


@check("truncation: geometric share on a I", "estimator truncation share")
def _geometric(rng: np.random.Generator) -> Finding:
    """Input that keeps the state in place, so that the terms are a^lag times one matrix."""
    a, T = 0.8, 40
    start = rng.standard_normal((1, 1, 3))
    cell = RNN(a * np.eye(3)[None], np.eye(3)[None], activation="linear")
    found = truncation(cell, T, inputs=(1 - a) * start, initial_state=start, rng=rng)
    expected = theory.truncation_share(np.log(a), found.truncations, T)
    return identity(found.projection_share[0, 0], expected, 1e-10)


@check("truncation: smallest k that keeps a share", "estimator truncation share")
def _smallest(rng: np.random.Generator) -> Finding:
    """And so do all larger ones: a share that is kept at 1 and lost at 2 begins at 3."""
    kept, k = np.array([[[0.95, 0.5, 0.92, 1.0]]]), np.arange(1, 5)
    found = Truncation(k, np.log(3.0 * kept), kept, kept, np.full((1, 1), np.log(3.0)))
    smallest = [found.smallest(0.9, of) for of in ("projection", "norm", "cosine")]
    return identity([*np.ravel(smallest), *found.norm_ratio[0, 0]], [3, 3, 3, *kept[0, 0]], 1e-12)


def _clipping(rng: np.random.Generator, by: str) -> Finding:
    """Norm after clipping at half the norm, or at half the largest entry; and far above it."""
    cell, u, start, v = _driven(rng)
    for_one = {"inputs": u[:1], "initial_state": start[:1], "loss_gradient": v[:1]}
    one = RNN(cell.W_rec[:1], None if cell.W_in is None else cell.W_in[:1])
    full = _gradient(cell, u, start, v, 0)
    threshold = 0.5 * (np.linalg.norm(full) if by == "norm" else np.abs(full).max())
    clipped = 0.5 * full if by == "norm" else np.clip(full, -threshold, threshold)
    found = clipping(one, 12, float(threshold), by=by, **for_one)  # type: ignore[arg-type]
    kept = clipping(one, 12, float(4.0 * threshold), by=by, **for_one)  # type: ignore[arg-type]
    cosine = float((full * clipped).sum() / np.linalg.norm(full) / np.linalg.norm(clipped))
    share = 1.0 if by == "norm" else float((np.abs(full) > threshold).mean())
    return identity(
        [
            [x.log_clipped_norm[0, 0], x.cosine[0, 0], x.clipped_share[0, 0], x.clip_rate]
            for x in (found, kept)
        ],
        [
            [np.log(np.linalg.norm(clipped)), cosine, share, 1.0],
            [np.log(np.linalg.norm(full)), 1.0, 0.0, 0.0],
        ],
        1e-5,
    )


for _by in ("norm", "value"):
    check(f"clipping by {_by}: norm and cosine", "estimator clipping", by=_by)(_clipping)


@check("clipping by delta on a I: a sum of thresholds", "estimator clipping")
def _delta(rng: np.random.Generator) -> Finding:
    """With a = 2 each delta is cut to 1; input holds the state, so T equal terms add up."""
    T, start = 10, rng.standard_normal((1, 1, 3))
    cell = RNN(2.0 * np.eye(3)[None], np.eye(3)[None], activation="linear")
    found = clipping(cell, T, 1.0, by="delta", inputs=-start, initial_state=start, rng=rng)
    return identity(found.log_clipped_norm, np.log(T * np.linalg.norm(start)), 1e-10)


@check("clipping by delta: which steps, and steps gained", "estimator clipping")
def _delta_steps(rng: np.random.Generator) -> Finding:
    """A gradient that grows before it decays, clipped by a loop over steps."""
    W, T, threshold = np.array([[0.5, 8.0], [0.0, 0.5]]), 40, 2.0
    v = np.array([1.0, 0.1])
    free, cut, norms, clipped = v, v, [], 0
    for _ in range(T + 1):
        size = float(np.linalg.norm(cut))
        if size > threshold:
            cut = cut * (threshold / size)
            clipped += 1
        norms.append((np.linalg.norm(free), np.linalg.norm(cut)))
        free, cut = W.T @ free, W.T @ cut
    falls = (np.array(norms) <= 1e-3 * np.linalg.norm(v)).argmax(axis=0)
    start = rng.standard_normal((1, 1, 2))
    found = clipping(
        _linear(W[None]), T, threshold, by="delta", initial_state=start, loss_gradient=v
    )
    return identity(
        [found.clipped_share[0, 0], found.steps_gained[0, 0]],
        [clipped / T, falls[1] - falls[0]],
        1e-12,
    )


@check("Omega on a I (Pascanu eqs. 9 and 10)", "estimator penalties")
def _omega(rng: np.random.Generator) -> Finding:
    cell = _linear(0.7 * np.eye(4)[None])
    found = [penalties.omega(cell, 9, squared=s, rng=rng).value[0] for s in (False, True)]
    return identity(found, [9 * 0.3**2, 9 * 0.51**2], 1e-11)


def _omega_terms(W: Array, x: Array, v: Array, T: int, squared: bool) -> tuple[float, Array]:
    """Omega of one trajectory, and its derivative by W with gradients and states held fixed."""
    slopes = []
    for _ in range(T):
        slopes.append(REFERENCE["tanh"][1](x))
        x = W @ np.tanh(x)

    def term(W: Array, slope: Array, d: Array) -> float:
        ratio = float(np.linalg.norm(slope * (W.T @ d)) / np.linalg.norm(d))
        return (ratio ** (2 if squared else 1) - 1.0) ** 2

    steps = 1e-5 * np.eye(W.size).reshape(-1, *W.shape)
    total, gradient, d = 0.0, np.zeros(W.size), v
    for slope in slopes[::-1]:
        total += term(W, slope, d)
        gradient += [(term(W + s, slope, d) - term(W - s, slope, d)) / 2e-5 for s in steps]
        d = slope * (W.T @ d)
    return total, gradient.reshape(W.shape)


def _omega_gradient(rng: np.random.Generator, squared: bool) -> Finding:
    """Value and immediate derivative, mean over trajectories."""
    T, n, K = 5, 6, 2
    W = draw_weights("gaussian", 1, n, gain=1.3, rng=rng)
    start, v = rng.standard_normal((2, 1, K, n))
    found = penalties.omega(
        RNN(W), T, squared=squared, n_trajectories=K, initial_state=start, loss_gradient=v
    )
    terms = [_omega_terms(W[0], start[0, k], v[0, k], T, squared) for k in range(K)]
    gradient = np.mean([one[1] for one in terms], axis=0)
    return identity(
        [*(found.gradient[0] / np.abs(gradient).max()).ravel(), found.value[0]],
        [*(gradient / np.abs(gradient).max()).ravel(), np.mean([one[0] for one in terms])],
        1e-6,
    )


for _squared in (False, True):
    check(
        f"Omega{', squared' if _squared else ''}: value, and derivative = central differences",
        "estimator penalties", squared=_squared,
    )(_omega_gradient)  # fmt: skip


@check("squared Omega leaves out ||delta||^2 below 1e-20", "estimator penalties")
def _omega_bound(rng: np.random.Generator) -> Finding:
    """As the code of Pascanu et al. does; on 0.7 I a step takes it to 0.49 times what it was."""
    cell, v = _linear(0.7 * np.eye(1)[None]), [1.5e-10]
    found = [
        penalties.omega(cell, 9, squared=s, loss_gradient=v, rng=rng).value[0]
        for s in (False, True)
    ]
    return identity(found, [9 * 0.3**2, 2 * 0.51**2], 1e-11)


@check("orthogonality and L2 penalties", "estimator penalties")
def _values(rng: np.random.Generator) -> Finding:
    W = draw_weights("gaussian", 3, 7, rng=rng)
    found = [penalties.orthogonality(RNN(W)), penalties.l2(RNN(W))]
    gram = W.transpose(0, 2, 1) @ W - np.eye(7)
    return identity(
        [*(x.value for x in found), *(x.gradient.sum(axis=(1, 2)) for x in found),
         *((x.gradient**2).sum(axis=(1, 2)) for x in found)],
        [(gram**2).sum(axis=(1, 2)), (W**2).sum(axis=(1, 2)),
         4 * (W @ gram).sum(axis=(1, 2)), 2 * W.sum(axis=(1, 2)),
         16 * ((W @ gram) ** 2).sum(axis=(1, 2)), 4 * (W**2).sum(axis=(1, 2))],
        1e-9,
    )  # fmt: skip


@check("descent on L2 shrinks W by 1 - 2 eta an update", "estimator penalties")
def _descent(rng: np.random.Generator) -> Finding:
    """Each draw at a learning rate of its own."""
    W, rates = draw_weights("gaussian", 3, 7, rng=rng), np.array([0.05, 0.1, 0.2])
    found = penalised_descent(RNN(W), "l2", 20, rates).cell.W_rec
    return identity(found, (1 - 2 * rates[:, None, None]) ** 20 * W, 1e-13)


@check("descent on orthogonality moves sigma by -4 eta sigma (sigma^2 - 1)", "estimator penalties")
def _orthogonal_descent(rng: np.random.Generator) -> Finding:
    W, sigma = draw_weights("orthogonal", 3, 7, gain=0.8, rng=rng), 0.8
    for _ in range(3):
        sigma -= 4 * 0.05 * sigma * (sigma**2 - 1)
    found = [penalised_descent(RNN(W), "orthogonality", n, 0.05).cell.W_rec for n in (3, 300)]
    return identity(
        np.linalg.svd(found, compute_uv=False), np.array([sigma, 1.0])[:, None, None], 1e-9
    )


# --- reservoirs ------------------------------------------------------------------------------


@check("effective radius = eigenvalues of (1 - a) I + a W", "estimator echo states")
def _effective(rng: np.random.Generator) -> Finding:
    W = draw_weights("gaussian", 4, 10, rng=rng)
    moduli = np.abs(np.linalg.eigvals(0.7 * np.eye(10) + 0.3 * W)).max(axis=1)
    return identity(effective_radius(_leaky(W, 0.3)), moduli, 1e-7)


@check("echo states of single units: verdict and exponent", "estimator echo states")
def _verdicts(rng: np.random.Generator) -> Finding:
    """A unit tanh(w h) has one state of rest, or two with slope w (1 - h^2)."""
    w, rest = np.array([0.5, 2.0]), np.array([0.0, 0.95750402407])
    cell = LeakyRNN(w[:, None, None])
    found = echo_state(cell, 200, burn_in=100, initial_state=[0.4], rng=rng)
    apart = np.exp(found.log_separation[1])
    verdicts = [found.verdict[0] == "echo state", found.verdict[1] == "multistable"]
    return identity(
        [*found.exponent, apart, *verdicts], [*np.log(w * (1 - rest**2)), rest[1] / 0.4, 1, 1], 1e-8
    )


_LINE, _DELAYS, _FIT = 5, 25, 200


def _delay_line(rng: np.random.Generator) -> Array:
    """Capacities of units that hand on their input, one to the next."""
    cell = LeakyRNN(
        np.tile(np.eye(_LINE, k=-1), (40, 1, 1)),
        np.eye(_LINE)[None, :, :1].repeat(40, 0),
        activation="linear",
    )
    return memory_capacity(cell, _FIT, max_delay=_DELAYS, rng=rng).capacity


@check("a line of 5 units remembers 5 inputs", "estimator echo states")
def _remembered(rng: np.random.Generator) -> Finding:
    return identity(_delay_line(rng)[:, :_LINE], 1.0, 1e-9)


@check("and of earlier ones nothing, on average", "estimator echo states", statistical=True)
def _forgotten(rng: np.random.Generator) -> Finding:
    return law(_delay_line(rng)[:, _LINE:].mean(axis=1), 0.0)
