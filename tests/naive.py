"""Readable oracles, one for each kernel, in plain NumPy with no trick of any kind."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import special

SQRT2 = np.sqrt(2.0)


def _sigmoid_slope(x):
    return special.expit(x) * special.expit(-x)


def _normal_density(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


ACTIVATIONS = {
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "linear": (lambda x: x, np.ones_like),
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0)),
    "leaky_relu": (
        lambda x: np.where(x > 0, x, 0.01 * x),
        lambda x: np.where(x > 0, 1.0, 0.01),
    ),
    "sigmoid": (special.expit, _sigmoid_slope),
    "hard_tanh": (lambda x: np.clip(x, -1, 1), lambda x: np.where(np.abs(x) < 1, 1.0, 0.0)),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x)) ** 2),
    "erf": (special.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-(x**2))),
    "gelu": (
        lambda x: x * special.ndtr(x),
        lambda x: special.ndtr(x) + x * _normal_density(x),
    ),
}


def rnn_states(W, W_in, b, activation, inputs, x0, n_steps):
    """States x_0 ... x_T of one draw, x_t = W s(x_{t-1}) + W_in u_t + b."""
    s = ACTIVATIONS[activation][0]
    states = [np.asarray(x0, dtype=float)]
    for t in range(1, n_steps + 1):
        drive = b if inputs is None else W_in @ inputs[t - 1] + b
        states.append(W @ s(states[-1]) + drive)
    return states


def rnn_profile(W, W_in, b, activation, inputs, x0, v, n_steps, burn_in=0, jacobian="exact"):
    """Log norm and log contribution of one draw and trajectory at lags 0 ... n_steps."""
    s, slope = ACTIVATIONS[activation]
    states = rnn_states(W, W_in, b, activation, inputs, x0, burn_in + n_steps)
    last = burn_in + n_steps
    delta = np.asarray(v, dtype=float)
    norms, contributions = [], []
    for lag in range(n_steps + 1):
        k = last - lag
        norms.append(np.linalg.norm(delta))
        term = np.outer(delta, s(states[k - 1])) if k > 0 else np.zeros_like(W)
        contributions.append(np.linalg.norm(term))
        if lag < n_steps:
            matrix = W.T if jacobian == "exact" else W
            delta = slope(states[k - 1]) * (matrix @ delta)
    with np.errstate(divide="ignore"):
        return np.log(norms), np.log(contributions)


def spectral_radius(W):
    """Largest eigenvalue modulus of one matrix."""
    return np.abs(np.linalg.eigvals(W)).max()


def rnn_jacobians(W, W_in, b, activation, inputs, x0, n_steps, burn_in=0):
    """dx_t/dx_{t-1} of the n_steps steps after burn-in, first step first."""
    states = rnn_states(W, W_in, b, activation, inputs, x0, burn_in + n_steps)
    slope = ACTIVATIONS[activation][1]
    return [W * slope(x) for x in states[burn_in:-1]]


def lyapunov_exponents(jacobians, start, tangent_burn_in=0, qr_interval=1):
    """Exponents from QR of a frame that starts as the rows of `start`, largest first."""
    frame, total = np.linalg.qr(start.T)[0], 0.0
    last = len(jacobians)
    for t, jacobian in enumerate(jacobians, 1):
        frame = jacobian @ frame
        measured = t - tangent_burn_in
        if t <= tangent_burn_in or measured % qr_interval == 0 or t == last:
            frame, R = np.linalg.qr(frame)
            if measured > 0:
                total = total + np.log(np.abs(np.diag(R)))
    return np.sort(total / (last - tangent_burn_in))[::-1]


def truncated_gradient(W, W_in, b, activation, inputs, x0, losses, k, burn_in=0):
    """dE/dW_rec with each loss carried back k steps: outer products, one a loss and a lag.

    losses (n_steps, N) are dE_t/dx_t of the steps after burn-in.
    """
    s, slope = ACTIVATIONS[activation]
    n_steps = len(losses)
    states = rnn_states(W, W_in, b, activation, inputs, x0, burn_in + n_steps)[burn_in:]
    total = np.zeros_like(W)
    for t in range(1, n_steps + 1):
        delta = losses[t - 1]
        for lag in range(min(k, t)):
            total += np.outer(delta, s(states[t - lag - 1]))
            delta = slope(states[t - lag - 1]) * (W.T @ delta)
    return total


def clipped_gradient(W, W_in, b, activation, inputs, x0, v, n_steps, threshold, by):
    """dE_T/dW_rec clipped by "norm", by "value", or at each step of the backward pass ("delta")."""
    s, slope = ACTIVATIONS[activation]
    states = rnn_states(W, W_in, b, activation, inputs, x0, n_steps)
    total, delta = np.zeros_like(W), v
    for t in range(n_steps, 0, -1):
        if by == "delta" and np.linalg.norm(delta) > threshold:
            delta = delta * (threshold / np.linalg.norm(delta))
        total += np.outer(delta, s(states[t - 1]))
        delta = slope(states[t - 1]) * (W.T @ delta)
    if by == "norm" and np.linalg.norm(total) > threshold:
        total *= threshold / np.linalg.norm(total)
    return np.clip(total, -threshold, threshold) if by == "value" else total


def omega_of_steps(W, deltas, slopes, squared):
    """Omega from the gradients that enter each step and the slopes there; only W is varied."""
    total = 0.0
    for d, slope in zip(deltas, slopes, strict=True):
        if d @ d < 1e-20 if squared else d @ d == 0.0:
            continue
        ratio = np.linalg.norm(slope * (W.T @ d)) / np.linalg.norm(d)
        total += (ratio**2 - 1) ** 2 if squared else (ratio - 1) ** 2
    return total


def gradients_and_slopes(W, W_in, b, activation, inputs, x0, v, n_steps):
    """delta_T ... delta_1, and the slopes s'(x_{T-1}) ... s'(x_0) of the steps they go back."""
    slope = ACTIVATIONS[activation][1]
    states = rnn_states(W, W_in, b, activation, inputs, x0, n_steps)
    deltas, slopes = [v], [slope(x) for x in states[-2::-1]]
    for one in slopes[:-1]:
        deltas.append(one * (W.T @ deltas[-1]))
    return deltas, slopes


def fake_measure(condition, settings, seed, start, stop):
    """In the place of `vgcore.study.measure.measure`: cheap columns that tell where they are from.

    Draw d has numbers of its own, which depend on the seed, the size and d; the rate adds the
    spectral radius, so that a mix-up of conditions shows.
    """
    draw = np.arange(start, stop)
    lags = np.array([0, 1, condition.n_steps])
    address = [seed, condition.n_hidden]
    noise = np.array([np.random.default_rng([*address, d]).standard_normal() for d in draw])
    rate = noise + np.log(condition.spectral_radius)
    n_lags = np.full(len(draw), condition.n_steps)
    log_norm = np.outer(rate, lags).ravel()
    return (
        {
            "draw": draw,
            "rate": rate,
            "rate_se": np.abs(noise),
            "horizon": n_lags,
            "censored": rate < 0,
            "growth_horizon": n_lags,
            "growth_censored": rate > 0,
            "event": np.where(rate < 0, "vanish", "censored"),
            "growing": rate > 0,
            "rho": np.full(len(draw), condition.spectral_radius),
            "cosine": np.ones(len(draw)),
            "log_kept": np.zeros(len(draw)),
            "log_norm_end": rate * condition.n_steps,
            "stopped_at": np.full(len(draw), -1),
        },
        {
            "draw": np.repeat(draw, len(lags)),
            "lag": np.tile(lags, len(draw)),
            "log_norm": log_norm,
            "log_contribution": log_norm - 1.0,
        },
    )


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(W, W_in, b, u, state):
    """(h, c) after one step; gates i, f, g, o. Analytic, so also for complex numbers."""
    h, c = np.split(state, 2)
    i, f, g, o = np.split(W @ h + W_in @ u + b, 4)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return np.concatenate([_sigmoid(o) * np.tanh(c), c])


def gru_step(W, W_in, b_ih, b_hh, u, h):
    """State h after one step; gates r, z, n, reset after the product."""
    (r, z, n), (r_in, z_in, n_in) = np.split(W @ h + b_hh, 3), np.split(W_in @ u + b_ih, 3)
    r, z = _sigmoid(r + r_in), _sigmoid(z + z_in)
    return (1 - z) * np.tanh(n_in + r * n) + z * h


def leaky_step(W, W_in, b, leak, s, u, h):
    return (1 - leak) * h + leak * s(W @ h + W_in @ u + b)


def deep_step(W, b, s, residual, x):
    return W @ s(x) + b + (x if residual else 0)


def terms_of_steps(steps, weights, x0, v, limit=np.inf):
    """Yield dE/dx and the term of dE/dW at each lag, of maps (W, x) -> x and one W for each.

    Derivatives are by complex steps: exact to rounding, and no formula of a gradient is needed.
    Where dE/dx is longer than limit it is scaled down to it, and so goes on; at x0 the term is 0.
    """
    tiny = 1e-200
    states = [np.asarray(x0, float)]
    for step, W in zip(steps, weights, strict=True):
        states.append(step(W, states[-1]))
    delta = np.asarray(v, float)
    for step, W, x in list(zip(steps, weights, states, strict=False))[::-1]:
        norm = np.linalg.norm(delta)
        delta = delta * (limit / norm) if norm > limit else delta
        term = np.empty_like(W)
        for place in np.ndindex(W.shape):
            moved = W.astype(complex)
            moved[place] += 1j * tiny
            term[place] = delta @ step(moved, x).imag / tiny
        yield delta, term
        moves = 1j * tiny * np.eye(len(x))
        delta = np.array([delta @ step(W, x + move).imag / tiny for move in moves])
    yield delta, np.zeros(1)


def profile_of_steps(steps, weights, x0, v, n_steps):
    """Log norms and contributions at each lag; arguments as in `terms_of_steps`."""
    terms = itertools.islice(terms_of_steps(steps, weights, x0, v), n_steps + 1)
    norms = np.array([[np.linalg.norm(part) for part in pair] for pair in terms])
    with np.errstate(divide="ignore"):
        log_norm, log_contribution = np.log(norms).T
    return log_norm, log_contribution
