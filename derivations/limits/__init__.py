"""From a layer's recursion to its limit: infinite depth, infinite width, in either order or together."""

from __future__ import annotations

from derivations.limits.closure import GramLimit, gram_limit
from derivations.limits.collapse import CollapseDiffusion
from derivations.limits.depth import depth_limit, neuron_limit
from derivations.limits.elimination.wick import gaussian_mean
from derivations.limits.gram import GramDiffusion
from derivations.limits.joint import joint_limit
from derivations.limits.width import kernel_flow, mean_field_limit, width_limit

__all__ = [
    "CollapseDiffusion",
    "GramDiffusion",
    "GramLimit",
    "depth_limit",
    "gaussian_mean",
    "gram_limit",
    "joint_limit",
    "kernel_flow",
    "mean_field_limit",
    "neuron_limit",
    "width_limit",
]
