"""Fast, vectorised double-precision twins of the nodes in ``derivations.special``."""

from __future__ import annotations

from numerics.special.bessel import log_scaled_bessel_i
from numerics.special.functions import erfi_inv, error_tail, log_cosh, log_normal_cdf, logistic, scaled_bessel_i
from numerics.special.interval import interval_kernel, log_interval_kernel
from numerics.special.parabolic_cylinder import log_weber, weber, weber_coordinate

__all__ = [
    "erfi_inv",
    "error_tail",
    "interval_kernel",
    "log_cosh",
    "logistic",
    "log_interval_kernel",
    "log_normal_cdf",
    "log_scaled_bessel_i",
    "log_weber",
    "scaled_bessel_i",
    "weber",
    "weber_coordinate",
]
