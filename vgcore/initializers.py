"""Random recurrent weights: a table of laws, and `draw_weights` that draws from them.

Adding a law is one place: a function below, with `@_law`, that returns (n_draws, N, N) matrices
whose entries have mean square 1/N (gain 1).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgcore import checks
from vgcore._typing import Array
from vgcore.draws import Draws
from vgcore.kernels.orthogonal import haar
from vgcore.spectrum import spectral_radius as measure_radius
from vgcore.streams import Purpose, Seed, Streams
from vgcore.theory.mean_field import critical_gain

Sample = Callable[..., Array]


@dataclass(frozen=True)
class Initializer:
    """A law of recurrent weights.

    Attributes
    ----------
    name : str
    sample : callable
        (draws, n_hidden, **parameters) -> (n_draws, N, N) float64 with entries of mean square 1/N,
        from the numbers of a `vgcore.draws.Draws`.
    gain : callable
        (**parameters) -> the law's own gain, used where the caller gives neither a gain nor a
        spectral radius.
    parameters : mapping
        Keywords of the law and their default values.
    description : str
        One sentence, with the source.
    """

    name: str
    sample: Sample
    gain: Callable[..., float]
    parameters: Mapping[str, Any]
    description: str


INITIALIZERS: dict[str, Initializer] = {}


def _law(gain: float | Callable[..., float] = 1.0) -> Callable[[Sample], Sample]:
    """Enter a sampling function in the table under its own name."""

    def enter(sample: Sample) -> Sample:
        keywords = {
            p.name: p.default
            for p in inspect.signature(sample).parameters.values()
            if p.kind is p.KEYWORD_ONLY
        }
        name = sample.__name__.strip("_")
        INITIALIZERS[name] = Initializer(
            name=name,
            sample=sample,
            gain=gain if callable(gain) else lambda **_: gain,
            parameters=keywords,
            description=" ".join((sample.__doc__ or "").split()),
        )
        return sample

    return enter


@_law()
def _gaussian(draws: Draws, n: int) -> Array:
    """Independent N(0, g^2/N) entries."""
    W = draws.normal(n, n)
    W *= n**-0.5  # in place: fresh pages cost more than the numbers in them
    return W


@_law()
def _uniform(draws: Draws, n: int) -> Array:
    """Independent uniform entries on (-g sqrt(3/N), g sqrt(3/N)), so of variance g^2/N."""
    W = draws.uniform(n, n)
    W -= 0.5
    W *= (12.0 / n) ** 0.5
    return W


@_law()
def _xavier_normal(draws: Draws, n: int) -> Array:
    """N(0, g^2 2/(fan_in + fan_out)) entries, g = 1 (Glorot and Bengio 2010)."""
    return _gaussian(draws, n)


@_law()
def _xavier_uniform(draws: Draws, n: int) -> Array:
    """Uniform entries of variance g^2 2/(fan_in + fan_out), g = 1 (Glorot and Bengio 2010)."""
    return _uniform(draws, n)


@_law(gain=2.0**0.5)
def _kaiming_normal(draws: Draws, n: int) -> Array:
    """N(0, g^2/fan_in) entries, g = sqrt 2 for ReLU (He et al. 2015, eq. 10)."""
    return _gaussian(draws, n)


@_law(gain=2.0**0.5)
def _kaiming_uniform(draws: Draws, n: int) -> Array:
    """Uniform entries of variance g^2/fan_in, g = sqrt 2 for ReLU (He et al. 2015)."""
    return _uniform(draws, n)


@_law()
def _lecun_normal(draws: Draws, n: int) -> Array:
    """N(0, g^2/fan_in) entries, g = 1 (LeCun et al. 1998, section 4.6)."""
    return _gaussian(draws, n)


@_law()
def _orthogonal(draws: Draws, n: int) -> Array:
    """Haar-distributed orthogonal matrix times g (Saxe et al. 2013)."""
    return haar(draws.normal(n, n))


@_law()
def _identity(draws: Draws, n: int) -> Array:
    """Identity matrix times g, the IRNN (Le et al. 2015); the same in every draw."""
    return np.tile(np.eye(n), (draws.n_draws, 1, 1))


@_law()
def _sparse(draws: Draws, n: int, *, nonzeros: int | None = None) -> Array:
    """`nonzeros` Gaussian entries a row (15, or N if less), the rest zero (Martens 2010)."""
    if nonzeros is None:
        nonzeros = min(15, n)
    checks.integer("nonzeros", nonzeros, least=1, most=n)
    columns = np.argpartition(draws.uniform(n, n), nonzeros - 1, axis=2)[..., :nonzeros]
    columns.sort(axis=2)  # in what order a partition leaves them is NumPy's to change
    W = np.zeros((draws.n_draws, n, n))
    np.put_along_axis(W, columns, draws.normal(n, nonzeros) * nonzeros**-0.5, axis=2)
    return W


@_law()
def _antisymmetric(draws: Draws, n: int) -> Array:
    """(M - M^T) g / sqrt 2 with Gaussian M: imaginary eigenvalues (Chang et al. 2019)."""
    M = _gaussian(draws, n)
    W: Array = (M - M.transpose(0, 2, 1)) * 0.5**0.5
    return W


@_law(gain=3.0**-0.5)
def _torch(draws: Draws, n: int) -> Array:
    """Uniform on (-1/sqrt(N), 1/sqrt(N)), so g = 1/sqrt 3: what torch.nn.RNN, GRU and LSTM draw."""
    return _uniform(draws, n)


def _critical_gain(*, activation: str, input_variance: float) -> float:
    return float(
        critical_gain(activation, checks.number("input_variance", input_variance, least=0.0))
    )


@_law(gain=_critical_gain)
def _critical(
    draws: Draws, n: int, *, activation: str = "tanh", input_variance: float = 0.0
) -> Array:
    """Gaussian with the gain at which mean field gives chi_1 = 1 (Schoenholz et al. 2017)."""
    return _gaussian(draws, n)


def draw_weights(
    init: str,
    n_draws: int,
    n_hidden: int,
    *,
    gain: float | None = None,
    spectral_radius: float | None = None,
    dtype: str = "float64",
    rng: Seed | Streams = None,
    n_threads: int | None = None,
    **law: Any,
) -> Array:
    """Draw random recurrent weight matrices.

    Parameters
    ----------
    init
        The law: a name in `vgcore.initializers.INITIALIZERS`.
    n_draws, n_hidden
        Number of matrices and their size N.
    gain
        g in "entries have mean square g^2/N", in the place of the law's own gain. Not the spectral
        radius: a Gaussian matrix of gain 1 and N = 64 has a mean radius of 1.06.
    spectral_radius
        Rescale each matrix to exactly this largest eigenvalue modulus. Excludes `gain`.
    dtype
        "float64" or "float32"; numbers are drawn in float64 and rounded.
    rng
        Seed or `numpy.random.Generator`. With the same seed draw d is the same matrix whatever
        `n_draws` is, and laws that use the same numbers (gaussian, xavier_normal ...) give
        the same matrix up to scale.
    n_threads
        Threads to use; None means all cores. The matrices do not depend on it.
    **law
        Keywords of the law: `nonzeros` for sparse, `activation` and `input_variance` for critical.

    Returns
    -------
    ndarray, shape (n_draws, N, N)

    Raises
    ------
    ValueError
        Unknown law or keyword, `gain` together with `spectral_radius`, a radius asked of a matrix
        whose radius is zero.

    Examples
    --------
    >>> import vgcore as vg
    >>> W = vg.draw_weights("gaussian", 3, 50, spectral_radius=0.9, rng=1)
    >>> vg.spectral_radius(W).round(8)
    array([0.9, 0.9, 0.9])
    """
    return scaled_block(
        init,
        range(checks.integer("n_draws", n_draws, least=1)),
        n_hidden,
        Streams.from_rng(rng),
        law,
        gain,
        spectral_radius,
        checks.dtype("dtype", dtype),
        n_threads,
    )


def scaled_block(
    init: str,
    draws: range,
    n_hidden: int,
    streams: Streams,
    law: Mapping[str, Any],
    gain: float | None,
    spectral_radius: float | None,
    dtype: np.dtype[Any],
    n_threads: int | None = None,
) -> Array:
    """Matrices at some addresses of `streams`, scaled as `draw_weights` does."""
    check_scale(gain, spectral_radius)
    W = sample_block(init, draws, n_hidden, streams, law, n_threads)
    radius = None if spectral_radius is None else measure_radius(W, n_threads=n_threads)
    W *= scale_factors(init, draws, n_hidden, law, gain, spectral_radius, radius)[:, None, None]
    return checks.cast(f"draws of init {init!r}", W, dtype)


def check_scale(gain: float | None, spectral_radius: float | None) -> None:
    """Refuse a scale that is given twice, or is not positive, before anything is drawn."""
    if gain is not None and spectral_radius is not None:
        raise ValueError(
            f"gain={gain} and spectral_radius={spectral_radius} were both given; a matrix is "
            "scaled by one of them: drop the other"
        )
    if gain is not None:
        checks.positive("gain", gain)
    if spectral_radius is not None:
        checks.positive("spectral_radius", spectral_radius)


def sample_block(
    init: str,
    draws: range,
    n_hidden: int,
    streams: Streams,
    law: Mapping[str, Any],
    n_threads: int | None = 1,
) -> Array:
    """Matrices of gain 1 at some addresses of `streams`, (len(draws), N, N) float64."""
    found = INITIALIZERS[checks.choice("init", init, INITIALIZERS)]
    n_hidden = checks.integer("n_hidden", n_hidden, least=1)
    checks.room("n_draws, n_hidden, n_hidden", (draws.stop - draws.start, n_hidden, n_hidden))
    parameters = _parameters(found, law)
    found.gain(**parameters)  # finds fault with what only the gain depends on
    return found.sample(Draws(streams, Purpose.WEIGHTS, draws, n_threads), n_hidden, **parameters)


def scale_factors(
    init: str,
    draws: range,
    n_hidden: int,
    law: Mapping[str, Any],
    gain: float | None,
    spectral_radius: float | None,
    radius: Array | None,
) -> Array:
    """What to multiply each matrix of `sample_block` by, (len(draws),).

    `radius` are the spectral radii of those matrices, which `spectral_radius` alone needs.
    """
    if spectral_radius is None or radius is None:
        own_gain = INITIALIZERS[init].gain(**_parameters(INITIALIZERS[init], law))
        return np.full(len(draws), own_gain if gain is None else float(gain))
    if not radius.all():
        draw = draws[int(np.argmin(radius))]
        raise ValueError(
            f"spectral_radius={spectral_radius}: draw {draw} of init {init!r} with "
            f"n_hidden={n_hidden} has spectral radius 0, so no factor gives it another; scale by "
            "gain instead"
        )
    return float(spectral_radius) / radius


def _parameters(found: Initializer, law: Mapping[str, Any]) -> dict[str, Any]:
    """All keywords of a law, those not given with their defaults."""
    for keyword in law:
        if keyword not in found.parameters:
            takes = ", ".join(found.parameters) or "none"
            raise ValueError(f"init {found.name!r} has no keyword {keyword!r}; it takes: {takes}")
    return {**found.parameters, **law}
