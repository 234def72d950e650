r"""One neuron beside many is one number for each input, as PyTorch broadcasts it: ``sigmoid(G(x)) * A(x)`` where G puts out one neuron."""

from __future__ import annotations

import sympy as sp

from derivations.language.nodes import Applied, Average, Factor, Other, OverPositions, Rotary, TransposeApplied
from derivations.piecewise.cases import outermost
from derivations.symbols import state


def broadcast(body: sp.Expr) -> sp.Expr:
    """A formula in which what a matrix with ``out=1`` puts out meets other neurons, with its average over the one neuron.

    Examples
    --------
    >>> from derivations.language import Weights
    >>> A, G = Weights("A"), Weights("G", out=1)
    >>> broadcast(A(state) * G(state))
    A(x)*average(G(x))
    >>> broadcast(G(state) ** 2)
    G(x)**2
    """
    alone = {node for node in outermost(body) if are_one(node)}
    if not alone or are_one(body):
        return body
    return body.xreplace({node: Average(node, sp.S.One) for node in alone})


def are_one(body: sp.Basic) -> bool:
    """Whether a formula is of one neuron that a matrix puts out, and of no others.

    Examples
    --------
    >>> from derivations.language import Weights
    >>> G = Weights("G", out=1)
    >>> are_one(G(state) ** 2), are_one(G(state) * state), are_one(sp.Integer(1))
    (True, False, False)
    """
    return _met(body) == {True}


def _met(body: sp.Basic) -> set[bool]:
    """Of each layer of neurons that a formula is of, whether it is one neuron."""
    if isinstance(body, Applied) and not isinstance(body, TransposeApplied):
        return {body.weights.out == 1}
    if isinstance(body, Other | OverPositions):
        return _met(body.body)
    if body == state or isinstance(body, TransposeApplied | Rotary) or (isinstance(body, Factor) and not body.branch):
        return {False}
    nodes = outermost(body)
    if body in nodes:  # a number
        return set()
    own = {False} if body.xreplace(dict.fromkeys(nodes, sp.S.One)).has(state) else set()
    return own.union(*map(_met, nodes))
