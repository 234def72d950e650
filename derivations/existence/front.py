"""Existence of any limit."""

from __future__ import annotations

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.diffusion import Diffusion, Flow, Limit, NeuronDiffusion
from derivations.errors import DerivationError, kind_of
from derivations.existence.depth import of_depth
from derivations.existence.flows import of_flow, of_neurons
from derivations.existence.joint import of_gram
from derivations.existence.statement import Existence


def existence(limit: Limit, architecture: Recipe, order: str = "depth") -> Existence:
    """Existence, uniqueness and explosion of a limit.

    Parameters
    ----------
    limit : Diffusion, NeuronDiffusion or Flow
        As :func:`derivations.derive` gives it for the architecture.
    architecture : Recipe
    order : {"depth", "width", "joint"}
        In which it was derived.

    Raises
    ------
    DerivationError
        For what is no limit.

    Examples
    --------
    >>> import sympy as sp
    >>> from derivations import GatedBlock, ResNet, depth_limit, relu, width_limit
    >>> x = sp.Symbol("x", real=True)
    >>> [existence(depth_limit(net), net).explodes for net in (ResNet(relu, width=3), ResNet(x**2, width=2), ResNet(x**2, width=3))]
    ['cannot', 'cannot', 'can']
    >>> gate = GatedBlock(relu, width=sp.oo)
    >>> existence(width_limit(gate), gate, "width").explosion_time
    2/K_0
    """
    if isinstance(limit, Flow):
        if order == "depth" and architecture.width != sp.oo:
            return of_neurons(limit)
        return of_flow(limit, architecture)
    if not isinstance(limit, Diffusion | NeuronDiffusion):
        raise DerivationError(f"existence is asked of a limit, got {kind_of(limit)}")
    if order == "joint" and isinstance(limit, Diffusion):
        return of_gram(limit, architecture)
    return of_depth(limit, architecture)
