r"""Whether more than the second moments of a matrix's entries matter: its degree in a layer, by orders of the small parameter."""

from __future__ import annotations

from itertools import product
from math import inf
from typing import TypeAlias

import sympy as sp

from derivations.language.nodes import Applied, Average, Other, OverPositions, Rotary
from derivations.symbols import step

#: The degrees of the coefficients of 1, ε and ε²; -inf where there is none, inf where it is no polynomial.
Degrees: TypeAlias = tuple[float, float, float]
_NUMBER: Degrees = (0, -inf, -inf)


def needs_higher_moments(layer: sp.Expr, names: set[str]) -> bool:
    r"""Whether a limit in depth depends on more than the second moments of the entries of the matrices of these names.

    One layer's mean and covariance are taken to order :math:`\varepsilon^2`. Second moments are enough where the layer is linear to the first
    order in the small parameter, and quadratic in the second.
    """
    known: dict[sp.Basic, Degrees] = {}
    constant, first, second = _degrees(layer, frozenset(names), known)
    return constant > 1 or first > 1 or second > 2


def _degrees(node: sp.Basic, names: frozenset[str], known: dict[sp.Basic, Degrees]) -> Degrees:
    if node == step:
        return -inf, 0, -inf
    if not node.args:
        return _NUMBER
    if node not in known:
        known[node] = _of_node(node, names, known)
    return known[node]


def _of_node(node: sp.Basic, names: frozenset[str], known: dict[sp.Basic, Degrees]) -> Degrees:
    if isinstance(node, Applied):
        inner = _degrees(node.body, names, known)
        return tuple(d + 1 for d in inner) if node.weights.name in names else inner  # type: ignore[return-value]
    if isinstance(node, Average | Other | OverPositions | Rotary):
        return _degrees(node.body, names, known)
    inside = (node.body,) if hasattr(node, "body") else node.args
    if isinstance(node, sp.Pow) and node.exp.is_Integer and node.exp > 0:
        inside = (node.base,) * int(node.exp)
    parts = [_degrees(arg, names, known) for arg in inside]
    if isinstance(node, sp.Add):
        return tuple(map(max, zip(*parts, strict=True)))
    if isinstance(node, sp.Mul) or (isinstance(node, sp.Pow) and inside != node.args):
        total = _NUMBER
        for part in parts:
            total = _multiplied(total, part)
        return total
    constant, first, second = map(max, zip(*parts, strict=True))
    if constant > 0:
        return inf, inf, inf
    return 0, first, max(second, 2 * first)


def _multiplied(a: Degrees, b: Degrees) -> Degrees:
    made = [-inf, -inf, -inf]
    for i, j in product(range(3), repeat=2):
        if i + j < 3 and -inf not in (a[i], b[j]):
            made[i + j] = max(made[i + j], a[i] + b[j])
    return tuple(made)  # type: ignore[return-value]
