"""Vanishing and exploding gradients in recurrent networks: fast kernels, studies and reports.

    import vgcore as vg

Names are imported when they are first used, so that `import vgcore` costs milliseconds and
compiles nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vgcore._version import __version__

if TYPE_CHECKING:
    from vgcore import remedies, theory, training
    from vgcore.cells import RNN, LeakyRNN
    from vgcore.deep import DeepNet
    from vgcore.gated import GRU, LSTM
    from vgcore.initializers import draw_weights
    from vgcore.jacobian import jacobian_product, log_singular_values
    from vgcore.lyapunov import (
        entropy_rate,
        kaplan_yorke_dimension,
        lyapunov_exponents,
        lyapunov_history,
    )
    from vgcore.profile import GradientProfile, gradient_profile
    from vgcore.report import write_report
    from vgcore.spectrum import spectral_radius
    from vgcore.study import load_results, load_study, run_study

_HOME = {
    "GRU": "gated",
    "LSTM": "gated",
    "RNN": "cells",
    "DeepNet": "deep",
    "GradientProfile": "profile",
    "LeakyRNN": "cells",
    "draw_weights": "initializers",
    "entropy_rate": "lyapunov",
    "gradient_profile": "profile",
    "jacobian_product": "jacobian",
    "kaplan_yorke_dimension": "lyapunov",
    "load_results": "study",
    "load_study": "study",
    "log_singular_values": "jacobian",
    "lyapunov_exponents": "lyapunov",
    "lyapunov_history": "lyapunov",
    "remedies": "remedies",
    "run_study": "study",
    "spectral_radius": "spectrum",
    "theory": "theory",
    "training": "training",
    "write_report": "report",
}

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "DeepNet",
    "GradientProfile",
    "LeakyRNN",
    "__version__",
    "draw_weights",
    "entropy_rate",
    "gradient_profile",
    "jacobian_product",
    "kaplan_yorke_dimension",
    "load_results",
    "load_study",
    "log_singular_values",
    "lyapunov_exponents",
    "lyapunov_history",
    "remedies",
    "run_study",
    "spectral_radius",
    "theory",
    "training",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'vgcore' has no attribute {name!r}")
    home = importlib.import_module(f"vgcore.{_HOME[name]}")
    value = home if name == _HOME[name] else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
