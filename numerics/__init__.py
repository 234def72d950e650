"""The numeric world: densities, paths and finite networks, compiled from what ``derivations`` derives.

Names load when they are first used, so that ``import numerics`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "choose": "numerics.targets",
    "compile_expression": "numerics.compile",
    "compile_law": "numerics.compile",
    "distribution": "numerics.limit_distribution",
    "solve_flow": "numerics.flows",
    "solve_fokker_planck": "numerics.fokker_planck",
    "solve_moments": "numerics.flows",
    "solve_training": "numerics.dynamics",
    "expect_network": "numerics.depth_extrapolation",
    "expect_sde": "numerics.expectations",
    "from_torch": "numerics.pytorch",
    "to_diffrax": "numerics.exports",
    "to_sympy_lambda": "numerics.exports",
    "to_torchsde": "numerics.exports",
    "ExplosionWarning": "numerics.outcomes",
    "UndefinedState": "numerics.outcomes",
    "count_outcomes": "numerics.outcomes",
    "joint_output_law": "numerics.joint_outputs",
    "output_law": "numerics.outputs",
    "sample_law": "numerics.paths",
    "sample_tangent_kernel": "numerics.tangent_kernels",
    "kernel_matrix": "numerics.kernels",
    "NNGPRegressor": "numerics.regression",
    "NTKRegressor": "numerics.regression",
    "NystroemRegressor": "numerics.regression",
    "simulate_collapse": "numerics.networks",
    "simulate_gram": "numerics.networks",
    "simulate_jacobian": "numerics.networks",
    "simulate_network": "numerics.networks",
    "simulate_sde": "numerics.paths",
    "compare": "numerics.validation",
    "validate": "numerics.validation",
    "simulate_tangent_kernel": "numerics.networks",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'numerics' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
