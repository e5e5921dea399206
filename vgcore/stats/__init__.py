"""Estimates with intervals: pure functions from the result tables to tables.

The unit of replication is the draw. Every interval here covers the variation from draw to draw
(weights, inputs, initial state and loss direction together); nothing is resampled within a draw.
A rate of -inf (a gradient that vanished exactly) is a value like any other: the smallest.

============= ====================================================================================
`estimates`   an estimate with its interval; median, mean and share of one sample
`survival`    censored horizons; vanishing and exploding as competing events
`paired`      two conditions on the same draws: shift, wins, steps gained, equivalence
`two_samples` two conditions on draws of their own: shift and test
`comparisons` many of them: Holm within a family, Benjamini-Hochberg across all
`critical`    where along an axis the median rate is zero
`bands`       curves over lag with simultaneous bands
`averages`    quenched beside annealed, and which means are those of a few draws
`regression`  quantiles of the rate against ln rho
`components`  variance of the draw, the trajectory and the input
`precision`   draw until an interval is narrow enough
`summary`     one row a condition
`slices`      the shape of a slice: axis, series, families
============= ====================================================================================
"""

from vgcore.stats.averages import averages
from vgcore.stats.bands import profile_bands
from vgcore.stats.comparisons import benjamini_hochberg, comparisons, holm
from vgcore.stats.components import variance_components
from vgcore.stats.critical import critical_value
from vgcore.stats.estimates import LEVEL, Estimate, mean, median, wilson
from vgcore.stats.paired import (
    Equivalence,
    draw_matrix,
    equivalence,
    hodges_lehmann,
    paired_shift,
    paired_steps_gained,
    probability_of_improvement,
)
from vgcore.stats.precision import Precision, Progress, progress
from vgcore.stats.regression import quantile_regression
from vgcore.stats.slices import Layout, families, layout, level_key, slice_table
from vgcore.stats.summary import phase, summarise
from vgcore.stats.survival import (
    Survival,
    cumulative_incidence,
    first_event,
    kaplan_meier,
    median_survival,
    restricted_mean,
)
from vgcore.stats.two_samples import two_sample_shift

__all__ = [
    "LEVEL",
    "Equivalence",
    "Estimate",
    "Layout",
    "Precision",
    "Progress",
    "Survival",
    "averages",
    "benjamini_hochberg",
    "comparisons",
    "critical_value",
    "cumulative_incidence",
    "draw_matrix",
    "equivalence",
    "families",
    "first_event",
    "hodges_lehmann",
    "holm",
    "kaplan_meier",
    "layout",
    "level_key",
    "mean",
    "median",
    "median_survival",
    "paired_shift",
    "paired_steps_gained",
    "phase",
    "probability_of_improvement",
    "profile_bands",
    "progress",
    "quantile_regression",
    "restricted_mean",
    "slice_table",
    "summarise",
    "two_sample_shift",
    "variance_components",
    "wilson",
]
