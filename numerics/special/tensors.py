"""Twins of special functions for PyTorch, built of its own functions so that derivatives of every order are numbers.

Importing this file loads PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

torch: Any = import_module("torch")


def _growing(function: Callable[[Any], Any], below: float) -> Callable[[Any], Any]:
    """A function that overflows, with derivative 0 where it has, so that what decays faster times it is 0."""

    def wrapped(x: Any) -> Any:
        most = math.log(torch.finfo(x.dtype).max)
        inside = function(torch.clamp(x, -most, most))
        return torch.where(x > most, math.inf, torch.where(x < -most, below, inside))

    return wrapped


exp = _growing(torch.exp, 0.0)
expm1 = _growing(torch.expm1, -1.0)
cosh = _growing(torch.cosh, math.inf)
sinh = _growing(torch.sinh, -math.inf)


def logaddexp(a: Any, b: Any) -> Any:
    """The logarithm of a sum of two exponentials."""
    share = torch.nn.functional.logsigmoid  # of the larger one in the sum
    return torch.where(a > b, a - share(a - b), b - share(b - a))


def log_cosh(x: Any) -> Any:
    """The logarithm of the hyperbolic cosine, as :func:`numerics.special.log_cosh`."""
    outside = torch.abs(x) > 1
    near, far = torch.clamp(x, -1.0, 1.0), torch.where(outside, torch.abs(x), 1.0)
    return torch.where(
        outside,
        far - math.log(2.0) + torch.log1p(torch.exp(-2 * far)),
        torch.log1p(2 * torch.sinh(near / 2) ** 2),
    )


def error_tail(exponent: Any, u: Any, rest: Any) -> Any:
    """An exponential times erfc, as :func:`numerics.special.error_tail`."""
    beyond = torch.exp(rest) * torch.special.erfcx(torch.abs(u))
    return torch.where(u < 0, 2 * torch.exp(torch.where(u < 0, exponent, 0.0)) - beyond, beyond)


def reciprocal_expm1(x: Any) -> Any:
    """One over an exponential minus one."""
    right, left = torch.where(x > 0, x, 1.0), torch.where(x > 0, -1.0, x)
    return torch.where(x > 0, -torch.exp(-right) / torch.expm1(-right), 1 / torch.expm1(left))


def reciprocal_sinh(x: Any) -> Any:
    """One over the hyperbolic sine."""
    sign = torch.where(x < 0, -1.0, 1.0)
    return -2 * sign * torch.exp(-sign * x) / torch.expm1(-2 * sign * x)
