"""From a layer's recursion to its limit: infinite depth, infinite width, in either order."""

from __future__ import annotations

from derivations.limits.depth import ConditionalMoments, conditional_moments, depth_limit, taylor
from derivations.limits.wick import gaussian_mean
from derivations.limits.width import mean_field_limit, width_flow, width_limit

__all__ = [
    "ConditionalMoments",
    "conditional_moments",
    "depth_limit",
    "gaussian_mean",
    "mean_field_limit",
    "taylor",
    "width_flow",
    "width_limit",
]
