r"""Limits for other people's solvers: drift and noise as functions with the arguments that these expect.

Each export evaluates the same derived coefficients. The noise is any factor :math:`\sigma` with :math:`\sigma\sigma^\top = a`: the limit's
own where it has one, else the square root of a scalar variance, else Cholesky's triangle, in which a pivot that vanishes gives a column of 0,
and so does one below 0, where a solver's step has left the domain.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from derivations.diffusion import Diffusion, Limit, NeuronDiffusion
from numerics import given
from numerics.backends import find_backend
from numerics.compile import compile_expression
from numerics.linalg import triangle

#: A function of a solver's own arguments.
Coefficient: TypeAlias = Callable[..., Any]


@given.checked(limit=given.limit)
def to_sympy_lambda(limit: Limit) -> tuple[Coefficient, Coefficient]:
    r"""Drift and covariance as functions of NumPy arrays.

    Parameters
    ----------
    limit : Diffusion, NeuronDiffusion or Flow
        With numbers for all parameters; of neurons with a width that is a number.

    Returns
    -------
    drift, covariance : callable
        Both take ``(t, x)``, with states x of shape (..., d) in the order of ``limit.states``, and return arrays of shape (..., d) and
        (..., d, d). A matrix with a negative variance, outside of the domain, is no covariance: it is nan.

    Raises
    ------
    ValueError
        If symbols other than states and time are left.

    Examples
    --------
    >>> from derivations import MLPBlock, derive, relu
    >>> drift, covariance = to_sympy_lambda(derive(MLPBlock(relu, width=8)).gram)
    >>> drift(0.0, [[1.0], [2.0]]), covariance(0.0, [[1.0], [2.0]]).ravel()
    (array([[0.5],
           [1. ]]), array([0.25, 1.  ]))
    """
    size, _ = _checked(limit)
    both = _compiled(limit, "numpy")

    def split(t: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
        values = np.asarray(x, dtype=float)
        if values.shape[-1:] != (size,):
            raise ValueError(f"states must have the shape (..., {size}), got {values.shape}")
        entries = np.stack(both(*np.moveaxis(values, -1, 0), t), axis=-1)
        matrices = entries[..., size:].reshape(*entries.shape[:-1], size, size)
        is_none = np.asarray((np.diagonal(matrices, axis1=-2, axis2=-1) < 0).any(axis=-1))
        return entries[..., :size], np.where(is_none[..., None, None], np.nan, matrices)

    return lambda t, x: split(t, x)[0], lambda t, x: split(t, x)[1]


@given.checked(limit=given.limit)
def to_diffrax(limit: Limit) -> tuple[Coefficient, Coefficient]:
    r"""Drift and noise as Diffrax takes them, for ``ODETerm`` and ``ControlTerm``.

    Parameters
    ----------
    limit : Diffusion, NeuronDiffusion or Flow
        As for :func:`to_sympy_lambda`.

    Returns
    -------
    drift, noise : callable
        Both take ``(t, y, args)``, with a state y of shape (d,), and return arrays of JAX of shape (d,) and (d, k), for k Brownian motions.

    Raises
    ------
    ValueError
        If JAX is not installed, or symbols other than states and time are left.

    Examples
    --------
    >>> drift, noise = to_diffrax(derive(MLPBlock(relu, width=8)).gram)  # doctest: +SKIP
    >>> motion = diffrax.VirtualBrownianTree(0.0, 1.0, tol=1e-3, shape=(1,), key=jax.random.key(0))  # doctest: +SKIP
    >>> terms = diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(noise, motion))  # doctest: +SKIP
    >>> diffrax.diffeqsolve(terms, diffrax.Euler(), 0.0, 1.0, dt0=0.01, y0=jax.numpy.ones(1)).ys  # doctest: +SKIP
    """
    size, factor = _checked(limit)
    both = _compiled(limit, "jax", factor)
    import jax.numpy as jnp

    from numerics.special.differentiable import safe_sqrt

    def entries(t: Any, y: Any) -> Any:
        return jnp.stack(both(*(y[..., k] for k in range(size)), t), axis=-1)

    def drift(t: Any, y: Any, args: Any) -> Any:
        return entries(t, y)[..., :size]

    def noise(t: Any, y: Any, args: Any) -> Any:
        rest = entries(t, y)[..., size:]
        rows = rest.reshape(*rest.shape[:-1], size, -1)
        return rows if factor is not None else triangle(rows, jnp, safe_sqrt)

    return drift, noise


@given.checked(limit=given.limit)
def to_torchsde(limit: Limit) -> Any:
    r"""The limit as an object that torchsde's ``sdeint`` takes: Itô, with general noise.

    Parameters
    ----------
    limit : Diffusion, NeuronDiffusion or Flow
        As for :func:`to_sympy_lambda`.

    Returns
    -------
    torch.nn.Module
        With ``f(t, y)`` of shape (batch, d) and ``g(t, y)`` of shape (batch, d, k) for states y of shape (batch, d), ``noise_type`` and
        ``sde_type``. Its number of Brownian motions k is ``brownian_motions``.

    Raises
    ------
    ValueError
        If PyTorch is not installed, or symbols other than states and time are left.

    Examples
    --------
    >>> sde = to_torchsde(derive(MLPBlock(relu, width=8)).gram)  # doctest: +SKIP
    >>> torchsde.sdeint(sde, torch.ones(1000, 1), torch.linspace(0, 1, 11), method="euler", dt=0.01)  # doctest: +SKIP
    """
    size, factor = _checked(limit)
    both = _compiled(limit, "torch", factor)
    torch = import_module("torch")

    def root(x: Any) -> Any:
        return torch.where(x > 0, torch.sqrt(torch.where(x > 0, x, torch.ones_like(x))), torch.zeros_like(x))

    def entries(t: Any, y: Any) -> Any:
        return torch.stack(both(*(y[..., k] for k in range(size)), t), dim=-1)

    class TorchLimit(torch.nn.Module):  # type: ignore[name-defined]
        """The derived coefficients as functions of tensors."""

        noise_type, sde_type = "general", "ito"
        brownian_motions = size if factor is None else factor.cols

        def f(self, t: Any, y: Any) -> Any:
            """The drift."""
            return entries(t, y)[..., :size]

        def g(self, t: Any, y: Any) -> Any:
            """The factor of the noise."""
            rest = entries(t, y)[..., size:]
            rows = rest.reshape(*rest.shape[:-1], size, -1)
            return rows if factor is not None else triangle(rows, torch, root)

    return TorchLimit()


def _checked(limit: Limit) -> tuple[int, Any]:
    """The number of states, and the factor of the noise where the limit has one, else None."""
    if isinstance(limit, NeuronDiffusion) and not limit.width.is_Integer:
        raise ValueError(
            f"a limit is exported at a width that is a number, got width {limit.width}; derive it with one"
        )
    left = sorted(map(str, limit.parameters))
    if left:
        raise ValueError(
            f"the limit has the parameters {', '.join(left)} left; put numbers in their place with limit.subs"
        )
    return len(limit.states), limit.sigma if isinstance(limit, Diffusion) else None


def _compiled(limit: Limit, backend: str, factor: Any = None) -> Callable[..., Any]:
    """Drift, then the factor or else the covariance, of states and time."""
    find_backend(backend)
    whole = limit.explicit if isinstance(limit, NeuronDiffusion) else limit
    noise = whole.covariance if factor is None else factor
    return compile_expression((*whole.states, whole.time), (*whole.drift, *noise), backend=backend)
