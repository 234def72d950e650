r"""Twins of special functions for JAX, which it can differentiate: importing this file loads JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import dawsn

from numerics.special.functions import _guess_polynomial, _series

_GUESS = tuple(map(float, _guess_polynomial().coef[::-1]))
_TAYLOR = tuple(map(float, _series().coef[::-1]))


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
    largest = jnp.finfo(jnp.result_type(x)).max
    size = jnp.minimum(jnp.abs(x), largest)
    scaled = jnp.sqrt(jnp.pi) / 2 * size
    s = jnp.sqrt(jnp.log(jnp.hypot(1.0, size / 2)))
    u, ratio = s / (s + 2), jnp.zeros_like(s)
    for coefficient in _GUESS:
        ratio = ratio * u + coefficient
    y = s * ratio
    y2 = y * y
    w = scaled * jnp.exp(-y2) - dawsn(y)
    yw = y * w
    y = y + w * (1 - yw + w * w * ((4 * y2 - 1) / 3 + yw * (7 - 12 * y2) / 6))
    near, total = jnp.where(scaled < 0.25, scaled, 0.0), jnp.zeros_like(s)
    for coefficient in _TAYLOR:
        total = total * near * near + coefficient
    y = jnp.where(scaled < 0.25, near * total, y)
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
