"""The claims, one function each: measured with vgcore at sizes that take seconds."""

from __future__ import annotations

import numpy as np

from vgcore import theory
from vgcore._typing import Array
from vgcore.cells import RNN, LeakyRNN
from vgcore.deep import DeepNet
from vgcore.gated import LSTM
from vgcore.initializers import draw_weights
from vgcore.jacobian import jacobian_product, log_singular_values
from vgcore.lyapunov import entropy_rate, kaplan_yorke_dimension, lyapunov_exponents
from vgcore.papers.table import (
    Figure,
    Finding,
    Series,
    bootstrap,
    claim,
    exact,
    violations,
)
from vgcore.profile import gradient_profile
from vgcore.remedies import clipping, memory_capacity, penalised_descent, truncation
from vgcore.stats import Estimate, critical_value, hodges_lehmann, mean, median


def _series(label: str, x: list[float], found: list[Estimate]) -> Series:
    return Series(
        label, x, [e.value for e in found], [e.low for e in found], [e.high for e in found]
    )


def _mean_field(activation: str, gains: Array) -> Series:
    exponents = theory.largest_exponent(activation, gains)
    return Series("mean field", gains.tolist(), exponents.tolist(), theory=True)


def _quantiles(label: str, logs: Array) -> Series:
    """Medians over draws of curves (draws, lags), with the middle half as interval."""
    low, middle, high = np.quantile(logs, (0.25, 0.5, 0.75), axis=0)
    at = np.unique(np.linspace(0, len(middle) - 1, 25).astype(int))
    return Series(label, at.tolist(), middle[at].tolist(), low[at].tolist(), high[at].tolist())


@claim(
    "hochreiter-bound", "Hochreiter 1991; Hochreiter and Schmidhuber 1997",
    "section 3.1 of the 1997 paper, weak upper bound for scaling the error flow",
    "With logistic units and weights below 4/n in size, error flow over q steps is at most "
    "n tau^q, tau = n w_max / 4 < 1.",
)  # fmt: skip
def _hochreiter(seed: int) -> Finding:
    n, T, tau = 10, 60, 0.9
    W = np.random.default_rng(seed).uniform(-1, 1, (2000, n, n)) * 4 * tau / n
    loss = np.eye(n)[0]
    logs = gradient_profile(RNN(W, activation="sigmoid"), T, loss_gradient=loss, rng=seed).log_norm
    q = np.arange(1, T + 1)
    bound = np.log(n) + 0.5 * np.log(n) + q * np.log(tau)  # of n entries, each at most n tau^q
    broken = int((logs[:, 0, 1:] > bound).any(axis=1).sum())
    return Finding(
        violations(broken, 2000), 0.0, (0.0, 0.005),
        f"share of 2,000 draws that break the bound; n = {n}, tau = {tau}, q to {T}",
        Figure("q (steps back)", "ln error flow", [
            _quantiles("median and middle half of draws", logs[:, 0, 1:]),
            Series("bound", q.tolist(), bound.tolist(), theory=True)]),
    )  # fmt: skip


@claim(
    "bengio-latching", "Bengio, Simard, Frasconi 1994", "robust latching against bounded input",
    "A unit that latches a bit robustly against bounded input has derivatives that vanish.",
)  # fmt: skip
def _bengio(seed: int) -> Finding:
    rng = np.random.default_rng(seed)
    w = rng.uniform(1.2, 3.0, 2000)
    edge = np.sqrt(1 - 1 / w)
    limit = w * edge - np.arctanh(edge)  # input that the attractor of a bit survives
    u = rng.uniform(-0.9, 0.9, (2000, 1, 300, 1)) * limit[:, None, None, None]
    cell = RNN(w[:, None, None], np.ones((2000, 1, 1)))
    start = (w * np.tanh(w))[:, None, None]
    rate = gradient_profile(cell, 300, inputs=u, initial_state=start, rng=seed).rate().value[:, 0]
    order = np.argsort(w)[:: 2000 // 40]
    return Finding(
        violations(int((rate >= 0).sum()), 2000), 0.0, (0.0, 0.005),
        "share of 2,000 latching units whose gradient does not vanish; w uniform on (1.2, 3), "
        "input up to 0.9 of what the latch survives, 300 steps",
        Figure("self-weight w", "rate (nats a step)",
               [Series("units", w[order].tolist(), rate[order].tolist())]),
    )  # fmt: skip


@claim(
    "pascanu-bound", "Pascanu, Mikolov, Bengio 2013", "section 2.1, sufficient condition",
    "Gradients vanish if the largest singular value of W_rec is below 1/gamma.",
)  # fmt: skip
def _pascanu(seed: int) -> Finding:
    W = draw_weights("gaussian", 500, 32, rng=seed)
    W *= 0.95 / np.linalg.norm(W, 2, axis=(1, 2))[:, None, None]
    profile = gradient_profile(RNN(W), 100, rng=seed)
    growth = np.diff(profile.log_norm[:, 0], axis=1)
    broken = int((growth > np.log(0.95) + 1e-9).any(axis=1).sum())
    q = np.arange(0, 101)
    return Finding(
        violations(broken, 500), 0.0, (0.0, 0.01),
        "share of 500 tanh networks of 32 units with sigma_max = 0.95 whose gradient norm "
        "keeps more than 0.95 of itself in any of 100 steps",
        Figure("lag", "ln gradient norm", [
            _quantiles("draws", profile.log_norm[:, 0]),
            Series("bound", q.tolist(), (q * np.log(0.95)).tolist(), theory=True)]),
    )  # fmt: skip


def _critical(
    seed: int, activation: str, n: int, gains: list[float], draws: int
) -> tuple[Estimate, list[Estimate]]:
    W = draw_weights("gaussian", draws, n, rng=seed)
    rates = np.stack([
        gradient_profile(RNN(g * W, activation=activation), 500, burn_in=300, rng=seed)
        .rate().value[:, 0] for g in gains
    ], axis=1)  # fmt: skip
    return critical_value(gains, rates, seed=seed), [median(r) for r in rates.T]


@claim(
    "pascanu-gap", "Pascanu, Mikolov, Bengio 2013",
    "section 2.1; where the edge lies is mean field, not in the paper",
    "The condition is sufficient only: logistic networks still vanish far above it "
    "(mean field puts the edge at gain 10.149, the bound proves gains below 2).",
)  # fmt: skip
def _gap(seed: int) -> Finding:
    gains = [2.0, 4.0, 6.0, 8.0, 9.0, 10.0, 11.0, 12.0, 14.0]
    found, rates = _critical(seed, "sigmoid", 200, gains, 40)
    g = np.linspace(2, 14, 40)
    return Finding(
        found, float(theory.critical_gain("sigmoid")), (9.0, 11.5),
        "gain at which the median rate is 0; 40 autonomous logistic networks of 200 units",
        Figure("gain g", "rate (nats a step)", [
            _series("median of draws", gains, rates),
            _mean_field("sigmoid", g)]),
        "finite networks: single draws settle on fixed points near the edge",
    )  # fmt: skip


@claim(
    "pascanu-omega", "Pascanu, Mikolov, Bengio 2013", "section 3.3, eq. 9",
    "Descending on Omega brings gradient norms towards being kept over time.",
)  # fmt: skip
def _omega(seed: int) -> Finding:
    cell = RNN.draw(24, 32, gain=0.7, rng=seed)
    options = {"n_steps": 30, "rng": seed}
    after = penalised_descent(cell, "omega", 150, 0.01, **options).cell
    logs = [gradient_profile(one, 30, rng=seed).log_norm[:, 0] for one in (cell, after)]
    left = [np.abs(x[:, -1] - x[:, 0]) / 30 for x in logs]
    return Finding(
        median(left[1] / left[0]), 0.0, (0.0, 0.5),
        "change of the log norm over 30 steps after 150 updates, as a share of that before; 24 "
        "tanh networks of 32 units, g = 0.7, the losses of the descent; half or less is accepted",
        Figure("lag", "ln gradient norm", [
            _quantiles("before", logs[0]), _quantiles("after", logs[1])]),
        "too few updates, or a rate too small",
    )  # fmt: skip


@claim(
    "pascanu-wall", "Pascanu, Mikolov, Bengio 2013", "section 2.3 and fig. 6",
    "Where the gradient of one unit over 50 steps explodes, so does the curvature: a wall.",
)  # fmt: skip
def _wall(seed: int) -> Finding:
    w, b = (x.ravel() for x in np.meshgrid(np.linspace(4, 7, 120), np.linspace(-3.5, -2, 60)))

    def log_gradient(w: Array) -> Array:
        x = np.full(w.shape, 0.5)
        for _ in range(50):
            x = w / (1 + np.exp(-x)) + b
        s = 1 / (1 + np.exp(-x))
        loss = 2 * (s - 0.7) * s * (1 - s)
        cell = RNN(w[:, None, None], None, b[:, None], activation="sigmoid")
        start = np.full((1, 1, 1), 0.5)
        return clipping(
            cell, 50, 1.0, initial_state=start, loss_gradient=loss[:, None, None], rng=seed
        ).log_norm[:, 0]

    h = 1e-5
    here, there = np.exp(log_gradient(w - h)), np.exp(log_gradient(w + h))
    gradient, curvature = log_gradient(w), np.log(np.abs(there - here) / (2 * h) + 1e-300)
    steep = gradient > np.quantile(gradient, 0.95)
    x, y = gradient[steep], curvature[steep]
    slope = bootstrap(lambda i: float(np.polyfit(x[i], y[i], 1)[0]), len(x), seed)
    pick = np.random.default_rng(seed).permutation(len(gradient))[:300]
    return Finding(
        slope, 1.0, (1.0, np.inf),
        "slope of ln |d2E/dw2| against ln |dE/dw| over the steepest 5 % of a grid of w and b; E = "
        "(s(x_50) - 0.7)^2, x_0 = 0.5; at least 1 is accepted; the wall is so thin that few points "
        f"of the grid are on it: the steepest 5 % begin at |dE/dw| {np.exp(x.min()):.2g}, and the "
        f"largest is {np.exp(x.max()):.2g}; nothing is random here: the interval is from points of "
        "the grid drawn again",
        Figure("ln |dE/dw|", "ln |d2E/dw2|",
               [Series("points of the grid", gradient[pick].tolist(), curvature[pick].tolist())]),
    )  # fmt: skip


def _glorot(seed: int, gain: float, expected: float) -> Finding:
    x = 0.25 * np.random.default_rng(seed).standard_normal((10, 300))
    values = []
    for g in (1.0, 3.0**-0.5):
        W = draw_weights("xavier_uniform", 10, 300, gain=g, rng=seed)
        log_scale, P = jacobian_product(RNN(W), 1, initial_state=x)
        found = np.linalg.svd(P, compute_uv=False) * np.exp(log_scale)[:, None]
        values.append(found)
    which = values[0 if gain == 1.0 else 1]
    rank = np.linspace(0, 1, 40)
    return Finding(
        mean(which.mean(axis=1)), expected, (expected - 0.05, expected + 0.05),
        "mean singular value of a layer's Jacobian, 10 tanh layers of 300 units, at states "
        "N(0, 0.25^2) in the place of data; a Gaussian matrix alone has 8 / (3 pi) = 0.85 times "
        "its gain; what rounds to the one digit of the claim is accepted",
        Figure("rank / N", "singular value", [
            Series(name, rank.tolist(), np.quantile(v.mean(axis=0)[::-1], 1 - rank).tolist())
            for name, v in zip(("normalised", "standard"), values)]),
    )  # fmt: skip


claim(
    "glorot-normalised", "Glorot and Bengio 2010", "section 4.2.2, eq. 16",
    "With the normalised initialisation the mean singular value of a layer's Jacobian is near 0.8.",
    gain=1.0, expected=0.8,
)(_glorot)  # fmt: skip
claim(
    "glorot-standard", "Glorot and Bengio 2010", "section 4.2.2, eq. 1",
    "With the standard initialisation U(-1/sqrt n, 1/sqrt n) it is near 0.5.",
    gain=3.0**-0.5, expected=0.5,
)(_glorot)  # fmt: skip


@claim(
    "saxe-isometry", "Saxe, McClelland, Ganguli 2013", "orthogonal initial conditions",
    "Orthogonal weights keep every singular value of a deep linear net at 1; Gaussian ones do not.",
)  # fmt: skip
def _saxe(seed: int) -> Finding:
    depths = [1, 3, 10, 30, 100]
    spreads: dict[str, list[Estimate]] = {"orthogonal": [], "gaussian": []}
    kept = {"orthogonal": 32, "gaussian": 16}  # the smallest of a Gaussian product say little
    for init, out in spreads.items():
        W = draw_weights(init, 12 * depths[-1], 32, rng=seed).reshape(12, -1, 32, 32)
        for depth in depths:
            logs = log_singular_values(DeepNet(W[:, :depth], activation="linear"), depth, rng=seed)
            out.append(mean(np.abs(logs[:, : kept[init]]).max(axis=1) + 1e-16))
    return Finding(
        spreads["orthogonal"][-1], 0.0, (0.0, 1e-9),
        "largest |ln singular value| over 100 layers; 12 linear nets of 32 units; of Gaussian "
        "nets, in the figure, of the larger half",
        Figure("depth", "|ln singular value|", [
            _series(init, [float(d) for d in depths], found) for init, found in spreads.items()],
            x_log=True, y_log=True),
    )  # fmt: skip


def _layers(
    seed: int, activation: str, gain: float, n: int, depth: int, draws: int, **options: float
) -> Array:
    cell = DeepNet.draw(
        draws,
        depth,
        n,
        gain=gain,
        activation=activation,
        rng=seed,
        **options,  # type: ignore[arg-type]
    )
    return gradient_profile(cell, depth, rng=seed).log_norm[:, 0]


@claim(
    "he-relu", "He, Zhang, Ren, Sun 2015", "section 2.2, eqs. 10 and 14",
    "ReLU layers keep the mean squared gradient with weight variance 2/n; 1/n halves it a layer.",
)  # fmt: skip
def _he(seed: int) -> Finding:
    depth = 30
    logs = {g: 2 * _layers(seed, "relu", g, 100, depth, 150) for g in (2.0**0.5, 1.0)}
    change = {g: x[:, -1] - x[:, 0] for g, x in logs.items()}

    def per_layer(i: Array) -> float:
        return float(np.log(np.exp(change[2.0**0.5][i]).mean()) / depth)

    return Finding(
        bootstrap(per_layer, 150, seed), 0.0, (-0.02, 0.02),
        "ln of the mean squared gradient, change a layer; 150 nets of 100 units and 30 layers",
        Figure("layers back", "ln squared gradient norm", [
            _quantiles("variance 2/n (He)", logs[2.0**0.5]),
            _quantiles("variance 1/n", logs[1.0]),
            Series("half a layer", [0, depth], [0, -depth * np.log(2)], theory=True)]),
    )  # fmt: skip


@claim(
    "le-irnn", "Le, Jaitly, Hinton 2015", "the initialisation trick",
    "With identity weights and ReLU, derivatives of active units stay constant through time.",
)  # fmt: skip
def _le(seed: int) -> Finding:
    start = np.abs(np.random.default_rng(seed).standard_normal((20, 1, 32)))
    W = draw_weights("identity", 20, 32)
    logs = [
        gradient_profile(RNN(a * W, activation="relu"), 1000, initial_state=start, rng=seed)
        .log_norm[:, 0] for a in (1.0, 0.99)
    ]  # fmt: skip
    return Finding(
        exact(float(np.abs(logs[0] - logs[0][:, :1]).max())), 0.0, (0.0, 1e-12),
        "largest change of the log norm over 1,000 steps, 20 starts of 32 active units, no input",
        Figure("lag", "ln gradient norm", [
            _quantiles("identity", logs[0]), _quantiles("0.99 identity", logs[1])]),
    )  # fmt: skip


@claim(
    "sompolinsky-exponent",
    "Sompolinsky, Crisanti, Sommers 1988; Molgedey, Schuchhardt, Schuster 1992",
    "mean field of the second, in discrete time: lambda_1 = ln(chi_1) / 2",
    "The leading exponent of wide tanh networks at g = 3 is 0.310 nats a step.",
)  # fmt: skip
def _sompolinsky(seed: int) -> Finding:
    gains, sizes, draws = [2.0, 3.0, 5.0], [100, 150, 200, 300], [40, 30, 24, 16]
    found, limits = [], []
    x, rng = 1.0 / np.array(sizes), np.random.default_rng(seed)
    for g in gains:
        rates = [
            gradient_profile(RNN.draw(d, n, gain=g, rng=seed), 1500, burn_in=300, rng=seed)
            .rate().value[:, 0] for n, d in zip(sizes, draws)
        ]  # fmt: skip
        found.append([mean(r) for r in rates])

        def intercept(means: list[float], errors: list[float]) -> float:
            return float(np.polyfit(x, means, 1, w=1 / np.array(errors))[1])

        errors = [e.se for e in found[-1]]
        again = [
            intercept([float(rng.choice(r, r.size).mean()) for r in rates], errors)
            for _ in range(400)
        ]
        low, high = np.quantile(again, (0.025, 0.975))
        value = intercept([e.value for e in found[-1]], errors)
        limits.append(Estimate(value, float(low), float(high), float(np.std(again))))
    theories = theory.largest_exponent("tanh", gains)
    expected = float(theories[1])
    others = "; ".join(
        f"at g = {gains[i]:g} it is {limits[i].value:.4f} [{limits[i].low:.4f}, "
        f"{limits[i].high:.4f}] against {theories[i]:.4f}"
        + ("" if limits[i].low <= theories[i] <= limits[i].high
           else ", outside: means over so few units are not on a line in 1/N there")
        for i in (0, 2)
    )  # fmt: skip
    return Finding(
        limits[1], expected, (expected - 0.012, expected + 0.012),
        "intercept of a line in 1/N through mean rates at N = 100 to 300, whole draws resampled; "
        + others,
        Figure("gain g", "lambda_1 (nats a step)", [
            _series("N = 100", gains, [e[0] for e in found]),
            _series("N = 300", gains, [e[-1] for e in found]),
            _series("line in 1/N, at 0", gains, limits),
            _mean_field("tanh", np.linspace(1.5, 5, 40))]),
    )  # fmt: skip


@claim(
    "sompolinsky-transition", "Sompolinsky, Crisanti, Sommers 1988",
    "transition to chaos (continuous time there)",
    "Autonomous networks turn chaotic at g = 1 as N grows.",
)  # fmt: skip
def _transition(seed: int) -> Finding:
    gains, sizes = [0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8], [50, 100, 200, 400]
    edges = [_critical(seed, "tanh", n, gains, d) for n, d in zip(sizes, (200, 160, 120, 60))]
    found = [edge for edge, _ in edges]
    # lambda_1 of (2/3)(g - 1)^2 less a correction in 1/N is 0 at a g - 1 in N^(-1/2)
    x = np.array(sizes) ** -0.5
    weights = 1 / np.array([e.se for e in found])
    fit, covariance = np.polyfit(x, [e.value for e in found], 1, w=weights, cov="unscaled")
    limit, se = float(fit[1]), float(covariance[1, 1] ** 0.5)
    return Finding(
        Estimate(limit, limit - 1.96 * se, limit + 1.96 * se, se), 1.0, (0.95, 1.05),
        "gain at which the median rate of autonomous tanh networks is 0, for N -> infinity: a line "
        "in N^(-1/2) through "
        + ", ".join(f"{e.value:.3f} at N = {n}" for n, e in zip(sizes, found)),
        Figure("N^(-1/2)", "gain at which the median rate is 0", [
            _series("networks", x.tolist(), found),
            Series("line through them", [0.0, float(x[0])],
                   [limit, float(np.polyval(fit, x[0]))], theory=True)]),
        "at these sizes many draws end on fixed points and cycles well above g = 1, where they are "
        "not chaotic; the transition sharpens only slowly with N",
    )  # fmt: skip


def _engelken(seed: int, entropy: bool) -> Finding:
    sizes, draws = [50, 100, 200], [24, 16, 8]
    spectra = [
        lyapunov_exponents(
            RNN.draw(d, n, gain=3.0, rng=seed), 300, burn_in=200, tangent_burn_in=30, rng=seed
        ) for n, d in zip(sizes, draws)
    ]  # fmt: skip
    of = entropy_rate if entropy else kaplan_yorke_dimension
    found = [mean(of(x) / n) for x, n in zip(spectra, sizes)]
    spectrum = theory.lyapunov_spectrum("tanh", 3.0)
    expected = float(spectrum.entropy_rate if entropy else spectrum.kaplan_yorke_dimension)
    name = "entropy rate" if entropy else "Kaplan-Yorke dimension"
    ratio = found[2].value / found[1].value
    se = ratio * float(np.hypot(found[2].se / found[2].value, found[1].se / found[1].value))
    return Finding(
        Estimate(ratio, ratio - 1.96 * se, ratio + 1.96 * se, se), 1.0, (0.9, 1.1),
        f"ratio of the {name} a unit at N = 200 and 100; tanh, g = 3, 300 steps of discrete time",
        Figure("N", f"{name} / N", [
            _series("mean over draws", [float(n) for n in sizes], found),
            Series("mean field", [50, 200], [expected, expected], theory=True)]),
        "a unit's share still grows with N at these sizes, towards that of mean field",
    )  # fmt: skip


for _name, _quantity, _entropy in (
    ("engelken-extensive", "attractor dimension", False),
    ("engelken-entropy", "entropy rate", True),
):
    claim(
        _name, "Engelken, Wolf, Abbott 2023", "extensive chaos, there in continuous time",
        f"The {_quantity} grows in proportion to N.", entropy=_entropy,
    )(_engelken)  # fmt: skip


@claim(
    "schoenholz-depth", "Schoenholz, Gilmer, Ganguli, Sohl-Dickstein 2017", "section 4",
    "The mean squared gradient changes by chi_1 a layer: depth scale 1/|ln chi_1|.",
)  # fmt: skip
def _schoenholz(seed: int) -> Finding:
    gains, depth, n = [0.7, 0.9, 1.1, 1.4, 1.8], 20, 100
    log_chi = np.log(theory.chi("tanh", gains, bias_variance=0.05))
    slopes = []
    for g in gains:
        logs = 2 * _layers(seed, "tanh", g, n, depth, 40, bias_variance=0.05)
        slopes.append((logs[:, 14] - logs[:, 0]) / 14)  # the first layers still find q*
    table = np.array(slopes)
    found = bootstrap(
        lambda i: float(np.polyfit(log_chi, table[:, i].mean(axis=1), 1)[0]), 40, seed
    )
    return Finding(
        found, 1.0, (0.9, 1.1),
        "slope of the measured change a layer, the mean of logs, against ln chi_1 over five gains; "
        "40 tanh nets of 100 units, bias variance 0.05, the 14 layers next to the output of 20",
        Figure("ln chi_1", "change of ln squared norm a layer", [
            _series("mean over draws", log_chi.tolist(), [mean(s) for s in slopes]),
            Series("theory", log_chi.tolist(), log_chi.tolist(), theory=True)]),
    )  # fmt: skip


def _pennington(seed: int, depths: list[int], n: int, draws: int) -> Finding:
    found = []
    for depth in depths:
        W = draw_weights("gaussian", draws * depth, n, rng=seed).reshape(draws, depth, n, n)
        product = W[:, 0]
        for layer in range(1, depth):
            product = W[:, layer] @ product
        found.append(mean(np.linalg.norm(product, 2, axis=(1, 2)) ** 2))
    edge = theory.fuss_catalan_edge(depths)
    last = found[-1]
    return Finding(
        Estimate(*(float(v / edge[-1]) for v in last)), 1.0, (0.9, 1.1),
        f"mean of the largest squared singular value over theory, {draws} products of {depths[-1]} "
        f"layers, N = {n}",
        Figure("depth L", "largest squared singular value", [
            _series("mean over draws", [float(d) for d in depths], found),
            Series("theory", depths, edge.tolist(), theory=True)]),
        "finite width: the edge is approached from below as N^(-2/3)",
    )  # fmt: skip


_EDGE = (
    "The largest squared singular value of L wide Gaussian layers is (L+1)^(L+1)/L^L, near e (L + "
    "1/2): linear in depth."
)
for _name, _depths, _n, _draws in (
    ("pennington-edge", [1, 2, 3, 4, 5], 400, 16),
    ("pennington-edge-deep", [1, 2, 3, 5, 8], 200, 8),  # finite width shows at more depth
):
    claim(
        _name, "Pennington, Schoenholz, Ganguli 2017", "linear Gaussian networks", _EDGE,
        depths=_depths, n=_n, draws=_draws,
    )(_pennington)  # fmt: skip


_SPREAD_DRAWS = 64


def _spread(seed: int, init: str, activation: str, depth: int) -> Array:
    """First two moments of the squared singular values of each net's Jacobian, (2, draws)."""
    n, draws, gain = 200, _SPREAD_DRAWS, 2.0**0.5 if activation == "relu" else 1.0
    W = draw_weights(init, draws * depth, n, gain=gain, rng=seed).reshape(draws, depth, n, n)
    log_scale, P = jacobian_product(DeepNet(W, activation=activation), depth, rng=seed)
    squares = (np.linalg.svd(P, compute_uv=False) * np.exp(log_scale)[:, None]) ** 2
    return np.stack([squares.mean(axis=1), (squares**2).mean(axis=1)])


@claim(
    "pennington-isometry", "Pennington, Schoenholz, Ganguli 2017",
    "variance of the squared singular values, L (mu_2 / mu_1^2 - 1 - s_1)",
    "ReLU nets are never isometric: even with orthogonal weights the squared singular values have "
    "variance L at depth L, as those of a linear Gaussian net have.",
)  # fmt: skip
def _isometry(seed: int) -> Finding:
    depths = [1, 2, 4, 8]
    kinds = [("orthogonal", "linear"), ("gaussian", "linear"), ("orthogonal", "relu"),
             ("gaussian", "relu")]  # fmt: skip
    curves = []
    for init, activation in kinds:
        moments = [_spread(seed, init, activation, depth) for depth in depths]

        def relative(i: Array, m: Array) -> float:
            return float(m[1, i].mean() / m[0, i].mean() ** 2 - 1)

        curves.append([
            bootstrap(lambda i, m=m, f=relative: f(i, m), _SPREAD_DRAWS, seed) for m in moments  # type: ignore[misc]
        ])  # fmt: skip
    last = curves[2][-1]
    return Finding(
        Estimate(*(float(v / depths[-1]) for v in last)), 1.0, (0.9, 1.1),
        "variance over the squared mean, over L, at L = 8; "
        f"{_SPREAD_DRAWS} orthogonal ReLU nets of 200 units",
        Figure("depth L", "variance of squared singular values", [
            *(_series(f"{init}, {activation}", [float(d) for d in depths], found)
              for (init, activation), found in zip(kinds, curves)),
            Series("L, and 2 L", [*depths, np.nan, *depths],
                   [*depths, np.nan, *(2 * d for d in depths)], theory=True)]),
        "finite width",
    )  # fmt: skip


@claim(
    "newman-products", "Cohen and Newman 1984; Newman 1986",
    "a log norm is a sum of independent ln chi; exponents of products of Gaussian matrices",
    "The log norm after t Gaussian factors has variance t psi'(N/2)/4.",
)  # fmt: skip
def _newman(seed: int) -> Finding:
    depth = 60
    logs = _layers(seed, "linear", 1.0, 16, depth, 1500)
    expected = np.asarray(theory.gaussian_log_norm(np.arange(depth + 1), 16).variance)
    found = bootstrap(lambda i: float(logs[i, -1].var(ddof=1) / expected[-1]), 1500, seed)
    at = np.arange(0, depth + 1, 4)
    return Finding(
        found, 1.0, (0.85, 1.15),
        "variance over that of theory; 1,500 products of 60 factors, N = 16",
        Figure("factors t", "variance of the log norm", [
            Series("measured", at.tolist(), logs[:, at].var(axis=0, ddof=1).tolist()),
            Series("theory", at.tolist(), expected[at].tolist(), theory=True)]),
    )  # fmt: skip


def _lstm(seed: int, **options: float) -> Array:
    cell = LSTM.draw(40, 64, n_inputs=8, rng=seed, **options)  # type: ignore[arg-type]
    u = 0.1 * np.random.default_rng(seed).standard_normal((40, 1, 400, 8))
    return gradient_profile(cell, 400, inputs=u, rng=seed).log_norm[:, 0]


@claim(
    "jozefowicz-half", "Jozefowicz, Zaremba, Sutskever 2015", "section on the forget gate bias",
    "Small random weights and a forget bias of 0 make gradients vanish by a factor of 0.5 a step.",
)  # fmt: skip
def _half(seed: int) -> Finding:
    cells = [LSTM.draw(40, 64, rng=seed, forget_bias=b) for b in (0.0, 1.0)]
    logs = [
        gradient_profile(LSTM(None, 0.1 * cell.W_hh, cell.bias), 100, rng=seed).log_norm[:, 0]
        for cell in cells
    ]  # fmt: skip
    return Finding(
        mean(np.exp((logs[0][:, 60] - logs[0][:, 10]) / 50)), 0.5, (0.45, 0.55),
        "factor a step over lags 10 to 60; 40 LSTMs of 64 units, recurrent weights a tenth of "
        "torch's, no input; what rounds to the one digit of the claim is accepted",
        Figure("lag", "ln gradient norm", [
            _quantiles("forget bias 0", logs[0]), _quantiles("forget bias 1", logs[1]),
            Series("0.5 a step", [0, 100], [0, 100 * float(np.log(0.5))], theory=True)]),
    )  # fmt: skip


@claim(
    "jozefowicz-forget", "Jozefowicz, Zaremba, Sutskever 2015", "section on the forget gate bias "
    "(rates at initialisation; accuracy after training is not measured)",
    "A forget bias of 1 in the place of 0 lets gradients last longer.",
)  # fmt: skip
def _jozefowicz(seed: int) -> Finding:
    logs = [_lstm(seed, forget_bias=b) for b in (0.0, 1.0)]
    rates = [(x[:, 200] - x[:, 50]) / 150 for x in logs]
    expected = float(np.diff(theory.lstm_carry_rate([0.0, 1.0]))[0])
    return Finding(
        hodges_lehmann(rates[1] - rates[0]), expected, (0.0, np.inf),
        "paired shift of the rate in nats a step, 40 LSTMs of 64 units, torch's weights, weak "
        "input; the claim has no number, so any gain is accepted; ln s(1) - ln s(0) = 0.380 is "
        "that of gates that see their bias alone, about which recurrent weights move them",
        Figure("lag", "ln gradient norm", [
            _quantiles("forget bias 0", logs[0]), _quantiles("forget bias 1", logs[1])]),
    )  # fmt: skip


@claim(
    "tallec-chrono", "Tallec and Ollivier 2018", "chrono initialisation",
    "Biases ln U(1, T - 1) give memories up to T: the slowest units lose 1/T a step.",
)  # fmt: skip
def _chrono(seed: int) -> Finding:
    T = 100.0
    logs = [_lstm(seed, chrono=T), _lstm(seed, forget_bias=1.0)]
    expected = float(np.log1p(-1 / T))
    rate = (logs[0][:, 400] - logs[0][:, 200]) / 200
    return Finding(
        median(rate), expected, (1.5 * expected, 0.5 * expected),
        "rate over lags 200 to 400, where the slowest units carry the gradient; T = 100, 40 LSTMs",
        Figure("lag", "ln gradient norm", [
            _quantiles("chrono, T = 100", logs[0]), _quantiles("forget bias 1", logs[1])]),
        "the slowest of 64 units and the recurrent weights set the tail",
    )  # fmt: skip


@claim(
    "jaeger-capacity", "Jaeger 2001",
    "short term memory in echo state networks, proposition 2 for the bound; that linear reservoirs "
    "of full rank reach it: Gonon, Grigoryeva, Ortega 2020",
    "The memory capacity of a reservoir under white input is at most N; a linear one has N.",
)  # fmt: skip
def _jaeger(seed: int) -> Finding:
    n, T, delays = 20, 20_000, 200
    cell = LeakyRNN.draw(
        12, n, init="orthogonal", gain=0.95, n_inputs=1, activation="linear", rng=seed
    )
    found = memory_capacity(cell, T, max_delay=delays, rng=seed)
    return Finding(
        Estimate(*(float(v / n) for v in mean(found.total))), 1.0, (0.95, 1.05),
        "capacity over N; 12 orthogonal reservoirs of 20 units scaled to 0.95, 20,000 steps",
        Figure("delay", "share explained", [_quantiles("reservoirs", found.capacity)]),
    )  # fmt: skip


@claim(
    "orvieto-ring", "Orvieto et al. 2023", "proposition 3.3, forward-pass blow-up",
    "Eigenvalues uniform on a ring give a state variance of "
    "ln((1 - r_min^2)/(1 - r_max^2)) / (r_max^2 - r_min^2) a unit under white input.",
)  # fmt: skip
def _orvieto(seed: int) -> Finding:
    pairs, draws, low, T = 24, 300, 0.8, 400
    rng = np.random.default_rng(seed)
    highs, found = [0.85, 0.9, 0.95, 0.98], []
    expected = [float(np.log((1 - low**2) / (1 - r**2)) / (r**2 - low**2)) for r in highs]
    for high in highs:
        radius = np.sqrt(rng.uniform(low**2, high**2, (draws, pairs)))
        angle = rng.uniform(0, 2 * np.pi, (draws, pairs))
        W, at = np.zeros((draws, 2 * pairs, 2 * pairs)), 2 * np.arange(pairs)
        a, b = radius * np.cos(angle), radius * np.sin(angle)
        W[:, at, at], W[:, at + 1, at + 1], W[:, at, at + 1], W[:, at + 1, at] = a, a, -b, b
        W_in = rng.standard_normal((draws, 2 * pairs, 1)) / 2**0.5
        profile = gradient_profile(
            RNN(W, W_in, activation="linear"), T, inputs=rng.standard_normal((draws, 1, T, 1)),
            initial_state=np.zeros(2 * pairs), rng=seed,
        )  # fmt: skip
        log_state = profile.log_contribution[:, 0, 0] - profile.log_norm[:, 0, 0]
        found.append(mean(np.exp(2 * log_state) / pairs))
    return Finding(
        Estimate(*(float(v / expected[-1]) for v in found[-1])), 1.0, (0.85, 1.15),
        "variance over that of theory at r_min = 0.8, r_max = 0.98; 300 linear networks of 24 "
        "complex units",
        Figure("r_max", "state variance a unit", [
            _series("mean over draws", highs, found),
            Series("theory", highs, expected, theory=True)]),
    )  # fmt: skip


@claim(
    "zucchet-growth", "Zucchet and Orvieto 2024", "sensitivity of a linear recurrence",
    "E (dh/dl)^2 = (1 + l^2)/(1 - l^2)^3 under white input: it grows faster than the state.",
)  # fmt: skip
def _zucchet(seed: int) -> Finding:
    values, draws, T = [0.5, 0.8, 0.9, 0.95], 4000, 300
    u = np.random.default_rng(seed).standard_normal((draws, 1, T, 1))
    found = []
    for value in values:
        cell = RNN(np.full((draws, 1, 1), value), np.ones((draws, 1, 1)), activation="linear")
        logs = truncation(
            cell, T, [T], inputs=u, initial_state=np.zeros(1), loss_gradient=np.ones(1)
        ).log_full_norm
        found.append(mean(np.exp(2 * logs)))
    expected = np.asarray(theory.linear_recurrence_sensitivity(values))
    return Finding(
        Estimate(*(float(v / expected[-1]) for v in found[-1])), 1.0, (0.9, 1.1),
        "mean square over that of theory at l = 0.95; 4,000 sequences of 300 steps",
        Figure("coefficient l", "E (dh/dl)^2", [
            _series("mean over sequences", values, found),
            Series("theory", values, expected.tolist(), theory=True)], y_log=True),
    )  # fmt: skip
