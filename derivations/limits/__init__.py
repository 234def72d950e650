"""From a layer's recursion to its limit: infinite depth, infinite width, in either order or together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from derivations.loading import on_demand

if TYPE_CHECKING:
    from derivations.limits.closure import GramLimit, gram_limit
    from derivations.limits.collapse import CollapseDiffusion, unshaped
    from derivations.limits.depth import depth_limit, neuron_limit
    from derivations.limits.elimination.wick import gaussian_mean
    from derivations.limits.gram import GramDiffusion
    from derivations.limits.joint import joint_limit, limit_and_moments
    from derivations.limits.joint_moments import JointMoments
    from derivations.limits.width import KernelFlow, kernel_flow, mean_field_limit, width_limit

__all__ = [
    "CollapseDiffusion",
    "GramDiffusion",
    "GramLimit",
    "JointMoments",
    "KernelFlow",
    "depth_limit",
    "gaussian_mean",
    "gram_limit",
    "joint_limit",
    "kernel_flow",
    "limit_and_moments",
    "mean_field_limit",
    "neuron_limit",
    "unshaped",
    "width_limit",
]

__getattr__, __dir__ = on_demand(
    __name__,
    {
        "derivations.limits.closure": "GramLimit gram_limit",
        "derivations.limits.collapse": "CollapseDiffusion unshaped",
        "derivations.limits.depth": "depth_limit neuron_limit",
        "derivations.limits.elimination.wick": "gaussian_mean",
        "derivations.limits.gram": "GramDiffusion",
        "derivations.limits.joint": "joint_limit limit_and_moments",
        "derivations.limits.joint_moments": "JointMoments",
        "derivations.limits.width": "KernelFlow kernel_flow mean_field_limit width_limit",
    },
)
