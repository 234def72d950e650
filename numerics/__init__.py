"""The numeric world: densities, paths and finite networks, compiled from what ``derivations`` derives.

Names load when they are first used, so that ``import numerics`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numerics.compile import compile_expression, compile_law
    from numerics.depths import expect_network
    from numerics.expectations import expect_sde
    from numerics.kernels import kernel_matrix
    from numerics.networks import simulate_network
    from numerics.paths import sample_law, simulate_sde
    from numerics.perceptrons import simulate_collapse, simulate_gram
    from numerics.regression import NNGPRegressor, NTKRegressor
    from numerics.validate import validate

__all__ = [
    "NNGPRegressor",
    "NTKRegressor",
    "compile_expression",
    "compile_law",
    "expect_network",
    "expect_sde",
    "kernel_matrix",
    "sample_law",
    "simulate_collapse",
    "simulate_gram",
    "simulate_network",
    "simulate_sde",
    "validate",
]

_HOMES = {
    "compile_expression": "numerics.compile",
    "compile_law": "numerics.compile",
    "expect_network": "numerics.depths",
    "expect_sde": "numerics.expectations",
    "sample_law": "numerics.paths",
    "kernel_matrix": "numerics.kernels",
    "NNGPRegressor": "numerics.regression",
    "NTKRegressor": "numerics.regression",
    "simulate_collapse": "numerics.perceptrons",
    "simulate_gram": "numerics.perceptrons",
    "simulate_network": "numerics.networks",
    "simulate_sde": "numerics.paths",
    "validate": "numerics.validate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'numerics' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
