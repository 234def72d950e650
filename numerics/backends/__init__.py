"""The targets that expressions can be compiled to; adding one is a file here and a line in the list."""

from __future__ import annotations

from derivations.errors import unknown
from numerics.backends import jax, numba, torch
from numerics.backends.base import Backend
from numerics.backends.jax import JAX
from numerics.backends.mpmath import MPMATH
from numerics.backends.numba import NUMBA
from numerics.backends.numpy import NUMPY
from numerics.backends.torch import TORCH

#: Optional targets, whether they are installed, and the extra that installs them.
_OPTIONAL = (
    (NUMBA, numba.is_available(), "fast"),
    (JAX, jax.is_available(), "jax"),
    (TORCH, torch.is_available(), "torch"),
)
#: The targets that can be used here; Numba, JAX and PyTorch appear where they are installed.
BACKENDS: tuple[Backend, ...] = (NUMPY, MPMATH, *(target for target, there, _ in _OPTIONAL if there))


def find_backend(backend: Backend | str) -> Backend:
    """A backend by its name; a :class:`Backend` is returned as it is.

    Raises
    ------
    ValueError
        If no backend has that name.

    Examples
    --------
    >>> find_backend("numpy").tolerance
    1e-13
    """
    if isinstance(backend, Backend):
        return backend
    for known in BACKENDS:
        if known.name == backend:
            return known
    for target, _, extra in _OPTIONAL:
        if backend == target.name:
            raise ValueError(
                f'the {backend} backend needs a package that is not installed; pip install "deeplimits[{extra}]"'
            )
    raise ValueError(unknown("backend", backend, (b.name for b in BACKENDS)))


__all__ = ["BACKENDS", "JAX", "MPMATH", "NUMBA", "NUMPY", "TORCH", "Backend", "find_backend"]
