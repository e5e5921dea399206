"""Closed forms and mean field of vanishing and exploding gradients.

    import vgcore as vg
    vg.theory.critical_gain("tanh", input_variance=0.1)

What measurements are held against: each function states its assumptions, its equation and its
source, takes arrays, and is checked to 1e-8 or better. Rates are in nats per step.

=================== ==============================================================================
`mean_field`        variance, chi_1, leading exponent, critical gain and input of wide networks
`correlation`       correlation of two trajectories, depth scales
`spectrum`          all Lyapunov exponents, attractor dimension, entropy rate
`random_matrices`   circular law, exponents and log norms of Gaussian products, Fuss-Catalan laws
`ginibre`           spectral radius of a Gaussian matrix, exactly at any size
`memory`            gated and linear units, horizons, Pascanu's bound, truncation
=================== ==============================================================================
"""

from vgcore.theory.correlation import (
    DepthScales,
    correlation_fixed_point,
    depth_scales,
    gaussian_correlations,
)
from vgcore.theory.ginibre import (
    expected_log_spectral_radius,
    expected_spectral_radius,
    spectral_radius_cdf,
    spectral_radius_deviation,
)
from vgcore.theory.mean_field import (
    Moments,
    chi,
    critical_gain,
    critical_input_variance,
    fixed_point,
    gaussian_moments,
    largest_exponent,
)
from vgcore.theory.memory import (
    ChronoRate,
    chrono_rate,
    linear_recurrence_sensitivity,
    linear_recurrence_variance,
    lstm_carry_rate,
    memory_horizon,
    pascanu_bound,
    pascanu_gain,
    pascanu_gap,
    truncation_share,
)
from vgcore.theory.random_matrices import (
    LogNorm,
    circular_law,
    fuss_catalan_edge,
    fuss_catalan_moment,
    gaussian_critical_gain,
    gaussian_exponents,
    gaussian_log_moment,
    gaussian_log_norm,
)
from vgcore.theory.spectrum import LyapunovSpectrum, lyapunov_spectrum

__all__ = [
    "ChronoRate",
    "DepthScales",
    "LogNorm",
    "LyapunovSpectrum",
    "Moments",
    "chi",
    "chrono_rate",
    "circular_law",
    "correlation_fixed_point",
    "critical_gain",
    "critical_input_variance",
    "depth_scales",
    "expected_log_spectral_radius",
    "expected_spectral_radius",
    "fixed_point",
    "fuss_catalan_edge",
    "fuss_catalan_moment",
    "gaussian_correlations",
    "gaussian_critical_gain",
    "gaussian_exponents",
    "gaussian_log_moment",
    "gaussian_log_norm",
    "gaussian_moments",
    "largest_exponent",
    "linear_recurrence_sensitivity",
    "linear_recurrence_variance",
    "lstm_carry_rate",
    "lyapunov_spectrum",
    "memory_horizon",
    "pascanu_bound",
    "pascanu_gain",
    "pascanu_gap",
    "spectral_radius_cdf",
    "spectral_radius_deviation",
    "truncation_share",
]
