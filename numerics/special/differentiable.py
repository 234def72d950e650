r"""Twins of special functions for JAX, which it can differentiate: importing this file loads JAX."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import dawsn, erfcx

from numerics.special.functions import CELLS, erfi_inv_table

_FAR, _TERMS = 9.0, 16  # where so many terms of the series of erfcx have the digits of a double


@jax.custom_jvp
def erfi(x: Any) -> Any:
    """The imaginary error function."""
    return 2 / jnp.sqrt(jnp.pi) * jnp.exp(x * x) * dawsn(x)


@erfi.defjvp
def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    return erfi(x), 2 / jnp.sqrt(jnp.pi) * jnp.exp(x * x) * dx


@jax.custom_jvp
def erfi_inv(x: Any) -> Any:
    """The inverse of erfi, as :func:`numerics.special.erfi_inv`."""
    kind = jnp.finfo(jnp.result_type(x))
    half = jnp.minimum(jnp.abs(x), kind.max) / 2
    most = 10.0 ** (0.45 * jnp.log10(kind.max))
    near, far = jnp.clip(half, 1e-4 if kind.bits == 32 else 1e-9, most), jnp.maximum(half, most)
    s = jnp.sqrt(jnp.where(half < most, jnp.log1p(near * near) / 2, jnp.log(far)))
    place = s / (s + 2) * CELLS
    cell = jnp.clip(place.astype(int), 0, CELLS - 1)
    ratio = jnp.zeros_like(s)
    for row in jnp.asarray(erfi_inv_table(), dtype=s.dtype):
        ratio = ratio * (place - cell) + row[cell]
    y = jnp.where(half < near, jnp.sqrt(jnp.pi) * half, s * ratio)
    return jnp.sign(x) * jnp.where(jnp.isinf(x), jnp.inf, y)


@erfi_inv.defjvp
def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    y = erfi_inv(x)
    return y, jnp.sqrt(jnp.pi) / 2 * jnp.exp(-y * y) * dx


def safe_sqrt(x: Any) -> Any:
    """The root, whose derivative counts as 0 where the argument is not positive: a variance that vanishes is at a minimum."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), jnp.where(x < 0, jnp.nan, 0.0 * x))


def _within(value: Any) -> Any:
    """The number, or the largest one of its precision and sign: the slope of what has overflowed, so that 0 times it is 0."""
    most = jnp.finfo(jnp.result_type(value)).max
    return jnp.clip(value, -most, most)


def _growing(function: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that overflows, with a derivative that stops at the largest number."""

    @jax.custom_jvp
    def wrapped(x: Any) -> Any:
        return function(x)

    @wrapped.defjvp
    def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
        return wrapped(*primals), _within(slope(*primals)) * tangents[0]

    return wrapped


exp: Callable[[Any], Any] = _growing(jnp.exp, lambda x: exp(x))
expm1 = _growing(jnp.expm1, lambda x: exp(x))
cosh: Callable[[Any], Any] = _growing(jnp.cosh, lambda x: sinh(x))
sinh: Callable[[Any], Any] = _growing(jnp.sinh, lambda x: cosh(x))


@jax.custom_jvp
def log_cosh(x: Any) -> Any:
    """The logarithm of the hyperbolic cosine, as :func:`numerics.special.log_cosh`."""
    size = jnp.abs(x)
    near = jnp.minimum(size, 1.0)
    return jnp.where(
        size < 1, jnp.log1p(2 * jnp.sinh(near / 2) ** 2), size - jnp.log(2.0) + jnp.log1p(jnp.exp(-2 * size))
    )


@log_cosh.defjvp
def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    return log_cosh(x), jnp.tanh(x) * dx


def error_tail(exponent: Any, u: Any, rest: Any) -> Any:
    """An exponential times erfc, as :func:`numerics.special.error_tail`."""
    size = jnp.abs(u)
    inverse = 1 / (2 * jnp.maximum(size, _FAR) ** 2)
    series: Any = 1.0
    for k in range(
        _TERMS, 0, -1
    ):  # JAX's own is 0 from 26.55 to 26.64, and near 9.2 in single precision: erfc is no normal number there
        series = 1.0 - (2 * k - 1) * inverse * series
    far = series / (jnp.maximum(size, _FAR) * math.sqrt(math.pi))
    beyond = jnp.exp(rest) * jnp.where(size < _FAR, erfcx(jnp.minimum(size, _FAR)), far)
    return jnp.where(u < 0, 2 * jnp.exp(jnp.where(u < 0, exponent, 0.0)) - beyond, beyond)


@jax.custom_jvp
def reciprocal_expm1(x: Any) -> Any:
    r"""One over :math:`e^x - 1`: r, with the derivative :math:`-r(1 + r)`."""
    return 1 / jnp.expm1(x)


@reciprocal_expm1.defjvp
def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    # 1 + r is minus the same at -x, without cancellation
    return reciprocal_expm1(x), reciprocal_expm1(x) * reciprocal_expm1(-x) * dx


@jax.custom_jvp
def reciprocal_sinh(x: Any) -> Any:
    """One over the hyperbolic sine."""
    return 1 / jnp.sinh(x)


@reciprocal_sinh.defjvp
def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    return reciprocal_sinh(x), -reciprocal_sinh(x) / jnp.tanh(x) * dx
