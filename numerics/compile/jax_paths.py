r"""Paths in JAX: traced, on any device, and differentiable in the start and in the parameters of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, singledispatch
from typing import Any

import sympy as sp

from derivations.diffusion import Diffusion, Limit, NeuronDiffusion
from derivations.errors import kind_of
from derivations.limits import GramDiffusion
from derivations.limits.gram import upper
from derivations.steps.domain import continued
from derivations.steps.surface import within_rounding
from derivations.sums import CoordinateSum
from numerics.backends import find_backend
from numerics.compile.centred_sums import centred_sums
from numerics.compile.expression import compile_expression
from numerics.compile.surface import back_to_surface
from numerics.linalg import triangle

#: From states (samples, ...), time and parameters to drift (samples, ..., m, 1) and covariance, broadcastable to (samples, ..., m, m).
Coefficients = Callable[[Any, Any, Sequence[Any]], tuple[Any, Any]]


def compile_jax_paths(
    limit: Limit, parameters: Sequence[sp.Symbol] = (), devices: Sequence[Any] | None = None
) -> Callable[..., Any]:
    r"""Euler–Maruyama paths as one traced function.

    Parameters
    ----------
    limit : Diffusion or NeuronDiffusion
        May hold the given parameters. A scalar one without parameters stays in its domain, as :mod:`derivations.steps.domain` says.
    parameters : sequence of Symbol
        Their values become arguments, in which the result can be differentiated along fixed random numbers.
    devices : sequence of jax.Device, optional
        Such as ``jax.devices()``: the paths are shared out over them in equal parts, and stay where they were computed. Random numbers
        belong to a path and not to a device, so the result does not depend on their number but for rounding.

    Returns
    -------
    callable
        Called ``(key, x0, values, t=1.0, steps=500, samples=1000)``: a key of ``jax.random``, a start of shape () or that of a sample,
        and the parameters' values; returns states of shape (samples, states), or (samples, n, m) for neurons. It is compiled
        once for each number of steps and samples; numbers are of JAX's configured precision.

    Raises
    ------
    ValueError
        If JAX is not installed, symbols other than the parameters are left, devices cannot share the samples equally, or the limit is of
        Gram matrices that steps would leave.

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, relu
    >>> paths = compile_jax_paths(depth_limit(ResNet(relu, width=3)))  # doctest: +SKIP
    >>> paths(jax.random.key(0), 1.0, (), steps=20, samples=100).shape  # doctest: +SKIP
    (100, 3, 1)
    """
    find_backend("jax")
    import jax
    import jax.numpy as jnp

    from numerics.special.differentiable import (
        safe_sqrt,  # whose derivatives stay finite at dead layers and equal inputs
    )

    names = tuple(parameters)
    left = sorted(map(str, limit.parameters - set(names)))
    if left:
        raise ValueError(f"the limit has the parameters {', '.join(left)} left; list them, or derive it with numbers")
    if isinstance(limit, GramDiffusion) and (
        len(limit.pairs) < len(upper(limit.inputs)) or (limit.rank.is_number and limit.rank < limit.inputs)
    ):
        raise ValueError(
            "steps in JAX leave the Gram matrices that have a fixed diagonal or a smaller rank; use simulate_sde"
        )
    beyond = None if names else continued(limit)
    coefficients, shape = _coefficients(limit if beyond is None else beyond.process, names)
    share, back = _sharing(devices), back_to_surface(limit, backend="jax")
    entered = shown = lambda x: x
    if beyond is not None:
        entered = compile_expression(limit.states, beyond.entered, backend="jax")
        shown = compile_expression(beyond.process.states, beyond.shown, backend="jax")

    @partial(jax.jit, static_argnames=("steps", "samples"))
    def paths(key: Any, x0: Any, values: Any = (), t: Any = 1.0, steps: int = 500, samples: int = 1000) -> Any:
        h = t / steps
        start = share(entered(jnp.broadcast_to(jnp.asarray(x0, dtype=float), (samples, *shape))))

        def move(x: Any, index: Any) -> tuple[Any, None]:
            drift, covariance = coefficients(x, index * h, values)
            noise = share(jax.random.normal(jax.random.fold_in(key, index), x.shape, x.dtype))
            moved = (
                x
                + drift * h
                + jnp.sqrt(h) * jnp.einsum("...ij,...j->...i", triangle(covariance, jnp, safe_sqrt), noise)
            )
            return moved if back is None else back(moved), None

        return shown(jax.lax.scan(move, start, jnp.arange(steps))[0])

    return paths


def _sharing(devices: Sequence[Any] | None) -> Callable[[Any], Any]:
    """What shares an array out over devices along its first axis."""
    if devices is None:
        return lambda x: x
    import jax
    import numpy as np

    several = list(devices)
    if not several or not all(isinstance(device, jax.Device) for device in several):
        raise ValueError(f"devices must be some of jax.devices(), got {devices!r}")
    mesh = jax.sharding.Mesh(np.array(several), ("samples",))
    along = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("samples"))

    def share(x: Any) -> Any:
        if x.shape[0] % len(several):
            raise ValueError(
                f"{x.shape[0]} samples cannot be shared equally over {len(several)} devices; take a multiple of {len(several)}"
            )
        return jax.lax.with_sharding_constraint(x, along)

    return share


@singledispatch
def _coefficients(limit: Any, names: tuple[sp.Symbol, ...]) -> tuple[Coefficients, tuple[int, ...]]:
    raise ValueError(f"expected a Diffusion or a NeuronDiffusion, got {kind_of(limit)}")


@_coefficients.register
def _(limit: Diffusion, names: tuple[sp.Symbol, ...]) -> tuple[Coefficients, tuple[int, ...]]:
    import jax.numpy as jnp

    limit, size = within_rounding(limit), len(limit.states)
    both = compile_expression((*limit.states, limit.time, *names), (*limit.drift, *limit.covariance), backend="jax")

    def at(x: Any, time: Any, values: Sequence[Any]) -> tuple[Any, Any]:
        entries = jnp.stack(both(*(x[:, k] for k in range(size)), time, *values), axis=-1)
        return entries[:, :size], entries[:, size:].reshape(-1, size, size)

    return at, (size,)


@_coefficients.register
def _(limit: NeuronDiffusion, names: tuple[sp.Symbol, ...]) -> tuple[Coefficients, tuple[int, ...]]:
    import jax.numpy as jnp

    if not limit.width.is_Integer:
        raise ValueError(f"paths are simulated at a width that is a number, got width {limit.width}")
    m = limit.inputs
    both, coordinates, columns = centred_sums(sp.Tuple(*limit.neuron_drift, *limit.neuron_covariance), limit.neuron)
    sums = sorted(both.atoms(CoordinateSum), key=sp.default_sort_key)
    stand_ins = [sp.Dummy(f"s{k}", real=True) for k in range(len(sums))]
    opened = both.xreplace(dict(zip(sums, stand_ins, strict=True)))
    summands = compile_expression(
        (*coordinates, limit.time, *names), tuple(s.at(coordinates) for s in sums), backend="jax"
    )
    apart = compile_expression((*limit.neuron, limit.time, *names), columns, backend="jax")
    outer = compile_expression((*coordinates, *stand_ins, limit.time, *names), tuple(opened), backend="jax")

    def at(x: Any, time: Any, values: Sequence[Any]) -> tuple[Any, Any]:
        neuron = [x[..., a] for a in range(m)]
        neuron += [c - c.mean(axis=-1, keepdims=True) for c in apart(*neuron, time, *values)] if columns else []
        totals = [s.sum(axis=-1, keepdims=True) for s in summands(*neuron, time, *values)] if sums else []
        entries = jnp.stack(outer(*neuron, *totals, time, *values), axis=-1)
        return entries[..., :m], entries[..., m:].reshape(*x.shape[:-1], m, m)

    return at, (int(limit.width), m)
