r"""Taking steps back to the surface on which a diffusion lives, as behind a norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from derivations.diffusion import Limit
from derivations.steps.surface import surface
from numerics.compile.expression import compile_expression

#: Newton's steps back to the surface, at most. A step of size h^(1/2) ends about h off it, and each squares what is left; far off, as near the
#: centre of a sphere, the first ones halve it.
_ROUNDS = 40
#: The same in JAX, which traces them all.
_TRACED = 8
#: Off a surface, but for rounding.
_ON = 1e-14
#: How far off a start may be, as one given to six digits is.
_NEAR = 1e-5


def require_on_surface(limit: Limit, x0: np.ndarray) -> None:
    """Refuse a start off a diffusion's surface, given as an array of shape (states,) or (samples, states)."""
    for equation in surface(limit):
        off = np.abs(compile_expression(limit.states, equation)(*np.moveaxis(x0, -1, 0)))
        if np.any(off > _NEAR):
            raise ValueError(
                f"x0 must lie where {equation} = 0, which each layer fixes, got {np.max(off):.3g} in place of 0; let one layer's norm act on it"
            )


def back_to_surface(limit: Limit, backend: str = "numpy") -> Callable[[Any], Any] | None:
    r"""The map that takes states near a diffusion's surface back to it; None where it lives on none.

    *Derivation.* With the equations :math:`f(x) = 0` and their gradients as rows of F, Newton's step of the least length is
    :math:`x - F^\top(FF^\top)^{-1}f`. Repeated it is a smooth map R to the surface that leaves its points alone. On the surface the drift is
    :math:`b = \tau + \frac12\sum_k a_k` with a tangent :math:`\tau` and accelerations :math:`a_k` of curves on the surface
    along the columns of the noise. Since :math:`R(c(s)) = c(s)` for each curve, :math:`R'a_k + R''(\sigma_k, \sigma_k) = a_k`: a step
    :math:`R(x + bh + \sigma\sqrt h\,\xi)` has the mean of :math:`x + bh` up to :math:`o(h)`, whichever map R is.

    Parameters
    ----------
    limit : Limit
    backend : {"numpy", "jax"}

    Returns
    -------
    callable or None
        From states of shape (samples, states) to states of the same shape.
    """
    equations = surface(limit)
    if not equations:
        return None
    traced = backend == "jax"
    library: Any = np
    if traced:
        import jax.numpy

        library = jax.numpy
    states = limit.states
    slopes = sp.Matrix(equations).jacobian(states)
    compiled = compile_expression(states, (*equations, *slopes), backend=backend)
    count = len(equations)

    def back(x: Any) -> Any:
        for _ in range(_TRACED if traced else _ROUNDS):
            values = library.stack(compiled(*(x[:, k] for k in range(len(states)))), axis=-1)
            off, gradients = values[:, :count, None], values[:, count:].reshape(-1, count, len(states))
            if not traced and not np.any(np.abs(off) > _ON):
                break
            turned = library.swapaxes(gradients, 1, 2)
            x = x - (turned @ library.linalg.solve(gradients @ turned, off))[..., 0]
        return x

    return back
