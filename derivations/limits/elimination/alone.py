r"""A neuron's drift where weights are transposed: of one state alone, and along tangents its derivative.

The transpose :math:`A^\top g` is known given all columns that A reads, so that it divides by the determinant of their Gram matrix, which is 0 where
inputs or tangents are parallel. The mean of one input's increment depends on its own column alone, and the mean of a derivative is the derivative
of the mean.
"""

from __future__ import annotations

import sympy as sp

from derivations.limits.elimination.averages import LayerAverage, layer_average
from derivations.limits.slopes import slope


def along(drift: sp.Expr, state: sp.Symbol, tangent: sp.Symbol) -> sp.Expr:
    r"""The derivative of a function of a neuron's state and of averages over the layer, along a tangent.

    Examples
    --------
    >>> x, v = sp.symbols("x v", real=True)
    >>> along(x * layer_average(x**2, (x,), 0), x, v)
    v*<x**2> + 2*x*<v*x>
    """
    names = {node: sp.Dummy("s", real=True) for node in drift.atoms(LayerAverage)}
    opened = drift.xreplace(names)
    total = slope(opened, state) * tangent
    for node, name in names.items():
        if opened.has(name):
            moved = layer_average(along(node.body, state, tangent), (state, tangent), node.layer)
            total += slope(opened, name) * moved
    return total.xreplace({name: node for node, name in names.items()})
