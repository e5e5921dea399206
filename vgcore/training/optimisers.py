"""Optimisers, by the formulas and with the defaults of `torch.optim`."""

from __future__ import annotations

from dataclasses import dataclass

from vgcore import checks
from vgcore.kernels import training as kernels


@dataclass(frozen=True)
class Optimiser:
    """How a gradient moves the parameters; made by `sgd`, `rmsprop` and `adam`.

    Attributes
    ----------
    name : str
    code : int
        What kernels call it.
    decay, decay_squares, eps : float
        The numbers of its formula; those that it does not have are 0.
    """

    name: str
    code: int
    decay: float
    decay_squares: float = 0.0
    eps: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what kernels do not know: they would write where no moments are."""
        if self.code not in (kernels.SGD, kernels.RMSPROP, kernels.ADAM):
            raise ValueError(
                f"code: found {self.code!r}, expected that of an optimiser; make one with "
                "vgcore.training.sgd, rmsprop or adam"
            )
        _share("decay", self.decay)
        _share("decay_squares", self.decay_squares)
        checks.number("eps", self.eps, least=0.0)


def _share(argument: str, value: object) -> float:
    found = checks.number(argument, value, least=0.0)
    if found >= 1.0:
        raise ValueError(f"{argument}: found {found}, expected a number below 1")
    return found


def _eps(value: object) -> float:
    return checks.positive("eps", value)


def sgd(momentum: float = 0.0) -> Optimiser:
    """Gradient descent, b <- momentum b + g, p <- p - rate b, as `torch.optim.SGD`.

    Parameters
    ----------
    momentum
        At least 0 and below 1.

    Returns
    -------
    Optimiser

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Examples
    --------
    >>> import vgcore as vg
    >>> vg.training.sgd(momentum=0.9).decay
    0.9
    """
    return Optimiser("sgd", kernels.SGD, _share("momentum", momentum))


def rmsprop(decay: float = 0.99, eps: float = 1e-8) -> Optimiser:
    """As `torch.optim.RMSprop`: v <- decay v + (1 - decay) g^2, p <- p - rate g/(sqrt(v) + eps).

    Parameters
    ----------
    decay
        Of the mean square of a gradient, at least 0 and below 1; PyTorch's alpha.
    eps
        Above 0.

    Returns
    -------
    Optimiser

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Examples
    --------
    >>> import vgcore as vg
    >>> vg.training.rmsprop(0.9).name
    'rmsprop'
    """
    return Optimiser("rmsprop", kernels.RMSPROP, _share("decay", decay), 0.0, _eps(eps))


def adam(decay: float = 0.9, decay_squares: float = 0.999, eps: float = 1e-8) -> Optimiser:
    """As `torch.optim.Adam` (Kingma and Ba 2015, algorithm 1), with its bias corrections.

    Parameters
    ----------
    decay, decay_squares
        Of the means of a gradient and of its square, at least 0 and below 1; PyTorch's betas.
    eps
        Above 0.

    Returns
    -------
    Optimiser

    Raises
    ------
    TypeError, ValueError
        A bad argument, by name.

    Examples
    --------
    >>> import vgcore as vg
    >>> vg.training.adam(decay_squares=0.99).decay_squares
    0.99
    """
    return Optimiser(
        "adam",
        kernels.ADAM,
        _share("decay", decay),
        _share("decay_squares", decay_squares),
        _eps(eps),
    )


BY_NAME = {"sgd": sgd(), "momentum": sgd(0.9), "rmsprop": rmsprop(), "adam": adam()}


def find(optimiser: object) -> Optimiser:
    """An optimiser, or the one of that name with its defaults."""
    if isinstance(optimiser, Optimiser):
        return optimiser
    for make in (sgd, rmsprop, adam):
        if optimiser is make:
            raise TypeError(
                f"optimiser: found the function {make.__name__}; call it, {make.__name__}()"
            )
    return BY_NAME[checks.choice("optimiser", optimiser, BY_NAME)]
