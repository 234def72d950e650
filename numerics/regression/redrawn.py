r"""Kernels of networks that draw factors, as dropout does, where these are drawn anew at each step of training and for each new input.

At infinite width an output's mean over its factors moves by the kernels between independent factors, of an input with itself too: what a step does
through the part of the features that goes with its own factors is forgotten by the next step. A factor that all inputs see is
another one at the next step, so between inputs of a step and others it is as one of their own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from derivations.architectures import Network, Recipe
from derivations.language.nodes import Factor
from numerics.kernels import Kernels, kernel_matrices


def draws_factors(architecture: Recipe) -> bool:
    """Whether a layer draws i.i.d. factors, as dropout and stochastic depth do."""
    return architecture.expression().has(Factor)


def kernels_between(
    architecture: Recipe,
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    t: float,
    tolerance: float,
    tangent: bool = True,
) -> Kernels:
    """Both kernels between inputs whose factors are independent; ``rows`` and ``columns`` may be the same inputs."""
    if not draws_factors(architecture):
        other = None if columns is rows else columns
        return kernel_matrices(architecture, rows, t, other=other, tolerance=tolerance, tangent=tangent)
    return kernel_matrices(_of_its_own(architecture), rows, t, other=columns, tolerance=tolerance, tangent=tangent)


def _of_its_own(architecture: Recipe) -> Recipe:
    """The network in which each input has factors of its own."""
    layer = architecture.expression()
    own = {f: f.unshared for f in layer.atoms(Factor) if f.shared}
    if not own:
        return architecture
    assert isinstance(architecture, Network)  # other recipes share none
    return replace(architecture, layer=layer.xreplace(own))
