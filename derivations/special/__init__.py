"""SymPy nodes that closed forms need in a numerically safe form, and their values at any precision."""

from __future__ import annotations

from derivations.special.experts import ExpertGate
from derivations.special.functions import (
    ErfiInv,
    LogNormalCdf,
    ScaledBesselI,
    constant_form,
    erfi_inverse,
    fold_constants,
    fold_inverses,
    log_normal_cdf,
    scaled_bessel_i,
)
from derivations.special.interval import (
    IntervalKernel,
    LogIntervalKernel,
    interval_kernel,
    log_interval_kernel,
    theta_forms,
)
from derivations.special.parabolic_cylinder import Weber, WeberCoordinate, weber, weber_coordinate

__all__ = [
    "ErfiInv",
    "IntervalKernel",
    "LogIntervalKernel",
    "LogNormalCdf",
    "ScaledBesselI",
    "ExpertGate",
    "Weber",
    "WeberCoordinate",
    "constant_form",
    "erfi_inverse",
    "fold_constants",
    "fold_inverses",
    "interval_kernel",
    "log_interval_kernel",
    "log_normal_cdf",
    "scaled_bessel_i",
    "theta_forms",
    "weber",
    "weber_coordinate",
]
