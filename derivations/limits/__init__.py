"""From a layer's recursion to its limit: infinite depth, infinite width, in either order or together."""

from __future__ import annotations

from derivations.limits.collapse import CollapseDiffusion
from derivations.limits.depth import ConditionalMoments, conditional_moments, depth_limit, taylor
from derivations.limits.gram import GramDiffusion
from derivations.limits.joint import joint_limit
from derivations.limits.wick import gaussian_mean
from derivations.limits.width import mean_field_limit, width_flow, width_limit

__all__ = [
    "CollapseDiffusion",
    "ConditionalMoments",
    "GramDiffusion",
    "conditional_moments",
    "depth_limit",
    "gaussian_mean",
    "joint_limit",
    "mean_field_limit",
    "taylor",
    "width_flow",
    "width_limit",
]
