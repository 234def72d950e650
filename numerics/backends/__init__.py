"""The targets that expressions can be compiled to; adding one is a file here and a line in the list."""

from __future__ import annotations

from numerics.backends.base import Backend
from numerics.backends.mpmath import MPMATH
from numerics.backends.numba import NUMBA, is_available
from numerics.backends.numpy import NUMPY

#: The targets that can be used here; Numba appears where it is installed.
BACKENDS: tuple[Backend, ...] = (NUMPY, MPMATH, *([NUMBA] if is_available() else []))


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
    if backend == NUMBA.name:
        raise ValueError('the numba backend needs Numba, which is not installed; pip install "deeplimits[fast]"')
    raise ValueError(f"expected a backend among {', '.join(b.name for b in BACKENDS)}, got {backend!r}")


__all__ = ["BACKENDS", "MPMATH", "NUMBA", "NUMPY", "Backend", "find_backend"]
