"""Kernels of infinitely wide networks: their flows with depth, and closed forms where there are some."""

from derivations.kernels.correlation import CorrelationFlow, correlation_flow, solve_variance
from derivations.kernels.explosion import explosion_depth
from derivations.kernels.flows import nngp, ntk
from derivations.kernels.means import Means, degree, means_of, slope_of
from derivations.kernels.riccati import Riccati
from derivations.kernels.solve import solve_flow

__all__ = [
    "CorrelationFlow",
    "Means",
    "Riccati",
    "correlation_flow",
    "degree",
    "explosion_depth",
    "means_of",
    "nngp",
    "ntk",
    "slope_of",
    "solve_flow",
    "solve_variance",
]
