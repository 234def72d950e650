"""The numeric world: densities, paths and finite networks, compiled from what ``derivations`` derives.

Names load when they are first used, so that ``import numerics`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from derivations.loading import on_demand

if TYPE_CHECKING:
    from numerics.compile import compile_expression, compile_law
    from numerics.depth_extrapolation import expect_network
    from numerics.dynamics import solve_training
    from numerics.expectations import expect_sde
    from numerics.exports import to_diffrax, to_sympy_lambda, to_torchsde
    from numerics.flows import solve_flow, solve_moments
    from numerics.fokker_planck import solve_fokker_planck
    from numerics.joint_outputs import joint_output_law
    from numerics.kernels import kernel_matrix
    from numerics.limit_distribution import distribution
    from numerics.networks import (
        simulate_collapse,
        simulate_gram,
        simulate_jacobian,
        simulate_network,
        simulate_tangent_kernel,
    )
    from numerics.outcomes import ExplosionWarning, UndefinedState, count_outcomes
    from numerics.outputs import output_law
    from numerics.paths import sample_law, simulate_sde
    from numerics.pytorch import from_torch
    from numerics.regression import NNGPRegressor, NTKRegressor, NystroemRegressor
    from numerics.tangent_kernels import sample_tangent_kernel
    from numerics.targets import choose
    from numerics.validation import compare, validate

__all__ = [
    "ExplosionWarning",
    "NNGPRegressor",
    "NTKRegressor",
    "NystroemRegressor",
    "UndefinedState",
    "choose",
    "compare",
    "compile_expression",
    "compile_law",
    "count_outcomes",
    "distribution",
    "expect_network",
    "expect_sde",
    "from_torch",
    "kernel_matrix",
    "joint_output_law",
    "output_law",
    "sample_law",
    "sample_tangent_kernel",
    "simulate_collapse",
    "simulate_gram",
    "simulate_jacobian",
    "simulate_network",
    "simulate_sde",
    "solve_flow",
    "solve_fokker_planck",
    "solve_moments",
    "solve_training",
    "simulate_tangent_kernel",
    "to_diffrax",
    "to_sympy_lambda",
    "to_torchsde",
    "validate",
]

__getattr__, __dir__ = on_demand(
    __name__,
    {
        "numerics.compile": "compile_expression compile_law",
        "numerics.depth_extrapolation": "expect_network",
        "numerics.dynamics": "solve_training",
        "numerics.expectations": "expect_sde",
        "numerics.exports": "to_diffrax to_sympy_lambda to_torchsde",
        "numerics.flows": "solve_flow solve_moments",
        "numerics.fokker_planck": "solve_fokker_planck",
        "numerics.joint_outputs": "joint_output_law",
        "numerics.kernels": "kernel_matrix",
        "numerics.limit_distribution": "distribution",
        "numerics.networks": "simulate_collapse simulate_gram simulate_jacobian simulate_network simulate_tangent_kernel",
        "numerics.outcomes": "ExplosionWarning UndefinedState count_outcomes",
        "numerics.outputs": "output_law",
        "numerics.paths": "sample_law simulate_sde",
        "numerics.pytorch": "from_torch",
        "numerics.regression": "NNGPRegressor NTKRegressor NystroemRegressor",
        "numerics.tangent_kernels": "sample_tangent_kernel",
        "numerics.targets": "choose",
        "numerics.validation": "compare validate",
    },
)
