"""A derivation as named steps: one file for each part of what is explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from derivations.loading import on_demand

if TYPE_CHECKING:
    from derivations.explain.collapse import collapse_steps, one_input_step
    from derivations.explain.existence import existence_step
    from derivations.explain.joint import expansion_step, joint_recursion_step, moment_step
    from derivations.explain.law import lamperti_step, law_steps, no_law_step
    from derivations.explain.limit import (
        gram_limit_steps,
        gram_step,
        neuron_steps,
        settling_step,
        sub_process_step,
        width_steps,
    )
    from derivations.explain.norm import norm_steps
    from derivations.explain.recursion import generic_program, network_steps
    from derivations.explain.statements import ShownMoments

__all__ = [
    "ShownMoments",
    "collapse_steps",
    "existence_step",
    "expansion_step",
    "generic_program",
    "gram_limit_steps",
    "gram_step",
    "joint_recursion_step",
    "lamperti_step",
    "law_steps",
    "moment_step",
    "network_steps",
    "neuron_steps",
    "no_law_step",
    "norm_steps",
    "one_input_step",
    "settling_step",
    "sub_process_step",
    "width_steps",
]

__getattr__, __dir__ = on_demand(
    __name__,
    {
        "derivations.explain.collapse": "collapse_steps one_input_step",
        "derivations.explain.existence": "existence_step",
        "derivations.explain.joint": "expansion_step joint_recursion_step moment_step",
        "derivations.explain.law": "lamperti_step law_steps no_law_step",
        "derivations.explain.limit": "gram_limit_steps gram_step neuron_steps settling_step sub_process_step width_steps",
        "derivations.explain.norm": "norm_steps",
        "derivations.explain.recursion": "generic_program network_steps",
        "derivations.explain.statements": "ShownMoments",
    },
)
