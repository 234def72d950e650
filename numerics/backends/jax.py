"""JAX: arrays on any device, with derivatives; extra ``jax``. Precision is that of JAX's own configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from importlib.util import find_spec
from typing import Any

import sympy as sp

from numerics.backends.base import Backend, Function, strict_settings
from numerics.backends.differentiated import WITH_DERIVATIVES
from numerics.backends.kinks import Where
from numerics.backends.numpy import NumPyWriter

_TWINS = {
    "ErfiInv": "erfi_inv",
    "LogNormalCdf": "log_ndtr",
    "ErrorTail": "erfc",
    "ExponentialTail": "error_tail",
    "LogCosh": "log_cosh",
    "ReciprocalExpm1": "reciprocal_expm1",
    "ReciprocalSinh": "reciprocal_sinh",
    "erfi": "erfi",
    "erfinv": "erfinv",
}


class JaxWriter(NumPyWriter):
    """Prints for ``jax.numpy`` and ``jax.scipy.special``; refuses what JAX has no function for."""

    def _print_ScaledBesselI(self, node: sp.Expr) -> str:
        order, z = node.args
        if order not in (0, 1):
            return str(self._print_not_supported(node))
        return f"i{order}e({self._print(z)})"

    def _print_besseli(self, node: sp.Expr) -> str:
        order, z = node.args
        if order not in (0, 1):
            return str(self._print_not_supported(node))
        return f"i{order}({self._print(z)})"

    def _print_Sqrt(self, node: sp.Expr) -> str:
        return f"safe_sqrt({self._print(node.args[0])})"

    def _print_Mul(self, node: sp.Expr) -> str:
        # the derivative of a quotient by what overflows is 0 times infinity, that of a negative power 0
        under = [factor for factor in node.args if _is_reciprocal(factor)]
        if not under or len(under) == len(node.args):
            return "*".join(map(self._print, under)) if under else str(super()._print_Mul(node))
        over = node.func(*(factor for factor in node.args if factor not in under))
        return "*".join([f"({self._print(over)})", *map(self._print, under)])

    def _print_Pow(self, node: sp.Expr, **settings: Any) -> str:
        if _is_reciprocal(node):
            return f"({self._print(node.base)})**({int(node.exp)})"
        if node.exp == sp.Rational(1, 2) and node.base.free_symbols:
            return f"safe_sqrt({self._print(node.base)})"
        return str(super()._print_Pow(node, **settings))


def _is_reciprocal(node: sp.Expr) -> bool:
    """Whether this is one over a power of a variable, also of one that is kept inside an interval."""
    return bool(node.is_Pow and node.exp.is_Integer and node.exp < -1 and isinstance(node.base, sp.Symbol | Where))


def _printer() -> JaxWriter:
    return JaxWriter(strict_settings(_TWINS))


@cache
def _modules() -> dict[str, Any]:
    """What printed code may use; loads JAX."""
    import jax.numpy as jnp
    import jax.scipy.special as special

    from numerics.special import differentiable

    names: dict[str, Any] = {name: getattr(special, name) for name in dir(special) if not name.startswith("_")}
    names |= {name: getattr(jnp, name) for name in dir(jnp) if not name.startswith("_")}
    own = (
        "cosh",
        "erfi",
        "erfi_inv",
        "error_tail",
        "exp",
        "expm1",
        "log_cosh",
        "reciprocal_expm1",
        "reciprocal_sinh",
        "safe_sqrt",
        "sinh",
    )
    return names | {name: getattr(differentiable, name) for name in own} | {"abs": jnp.abs}


def _wrap(function: Function) -> Callable[..., tuple[Any, ...]]:
    """Arrays in, one array per expression out, all of the arguments' common shape; traced, so that it can be differentiated."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def on_arrays(*arguments: Any) -> tuple[Any, ...]:
        arrays = [jnp.asarray(argument, dtype=jnp.result_type(argument, float)) for argument in arguments]
        shape = jnp.broadcast_shapes(*(array.shape for array in arrays))
        return tuple(jnp.broadcast_to(jnp.asarray(value), shape) for value in function(*arrays))

    return wraps(function)(on_arrays)


def is_available() -> bool:
    """Whether JAX can be imported, found without importing it."""
    return find_spec("jax") is not None


JAX = Backend(
    "jax",
    _printer,
    _modules,
    WITH_DERIVATIVES,
    _wrap,
    1e-13,
)
