"""Expressions with means over points, compiled at one of several independent sets of these: how far two sets are apart is the error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sympy as sp

from derivations.gaussian import GaussianJointExpectation, SoftmaxMean
from numerics.compile.expression import compile_expression
from numerics.compile.joint_means import comes_from_points, joint_gaussian_values


def has_points(expressions: Iterable[sp.Basic]) -> bool:
    """Whether means over points occur: over a softmax, over more than three Gaussian variables, or of functions with kinks."""
    return any(e.has(SoftmaxMean) or any(map(comes_from_points, _joint(e))) for e in expressions)


def compile_at_points(arguments: Sequence[sp.Symbol], expressions: Any, points: int) -> Callable[..., Any]:
    """As :func:`~numerics.compile.compile_expression`, with all means at one set of points.

    Parameters
    ----------
    arguments : sequence of Symbol
    expressions : Expr, or a list or tuple of such
    points : int
        Which set; 0 is the one that is used where none is named.
    """
    entries = expressions if isinstance(expressions, list | tuple) else (expressions,)
    nodes = [node for entry in entries for node in sorted(_joint(entry), key=sp.default_sort_key)]
    spread = [n for n in dict.fromkeys(nodes) if comes_from_points(n) and n.free_symbols <= {*arguments}]
    if not points or not spread:
        return compile_expression(arguments, expressions, points=points)
    names = {node: sp.Dummy(f"e{k}", real=True) for k, node in enumerate(spread)}
    kept = [entry.xreplace(names) for entry in entries]
    inner = compile_expression(
        (*arguments, *names.values()), kept if isinstance(expressions, list | tuple) else kept[0], points=points
    )
    means = []
    for node in spread:
        own = sorted(node.free_symbols, key=sp.default_sort_key)
        means.append((sp.srepr(sp.Tuple(node, *own)), [arguments.index(symbol) for symbol in own]))

    def call(*values: Any) -> Any:
        found = (joint_gaussian_values(text, *(values[k] for k in places), points=points) for text, places in means)
        return inner(*values, *found)

    return call


def _joint(expression: sp.Basic) -> set[GaussianJointExpectation]:
    found: set[GaussianJointExpectation] = expression.atoms(GaussianJointExpectation)
    return found
