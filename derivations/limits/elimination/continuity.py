r"""Averages at what they tend to, in functions that must be continuous there.

An average over n neurons differs from its mean by :math:`n^{-1/2}` times a random number, so that a function of it tends to the function of the
mean where that is continuous. The sign of an average with mean 0 is 1 or -1 in every network, and never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sympy as sp

from derivations.errors import NotClosed, brief
from derivations.gaussian import GaussianExpectation, GaussianPairExpectation
from derivations.gaussian.joint import GaussianJointExpectation
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.dead import jumps
from derivations.piecewise.cases import Cases
from derivations.piecewise.continued import Continued

_MEANS = (GaussianExpectation, GaussianPairExpectation, GaussianJointExpectation)


def at_means(
    expr: sp.Expr, means: Mapping[sp.Basic, sp.Expr], named: Mapping[sp.Symbol, sp.Basic] | None = None
) -> sp.Expr:
    """An expression with the means of averages in their places.

    Parameters
    ----------
    expr : Expr
    means : mapping
        Of averages, or of their names.
    named : mapping, optional
        What the names stand for, for messages.

    Raises
    ------
    NotClosed
        If a function jumps at such a mean, or divides by a mean that is 0.

    Examples
    --------
    >>> s, t = sp.symbols("s t", real=True)
    >>> at_means(sp.sign(s) + sp.Abs(t), {s: sp.Integer(2), t: sp.S.Zero})
    1
    >>> at_means(sp.sign(s), {s: sp.S.Zero})
    Traceback (most recent call last):
    ...
    derivations.errors.NotClosed: sign(s) is not continuous where s is 0, ...
    """
    for node, point in _places(expr, set(means)):
        value = point.xreplace(means)
        if not node.is_Pow:  # a difference of two means may be 0 that are equal numbers
            value = value.xreplace({mean: mean.doit() for mean in value.atoms(GaussianExpectation)})
        if value == 0 or (value.is_Add and sp.expand(value) == 0):
            _require_continuous(node, point, means, named or {})
    return expr.xreplace(means)


def _places(expr: sp.Basic, keys: set[sp.Basic]) -> Iterator[tuple[sp.Basic, sp.Expr]]:
    """What may be not continuous, with the formulas of averages whose value 0 is where it is not."""
    if expr in keys:
        return
    if isinstance(expr, LayerAverage):
        yield from _places(expr.body, keys)
        return
    points: list[sp.Expr] = []
    if isinstance(expr, sp.sign | sp.Heaviside | Continued):
        points = [expr.args[1] if isinstance(expr, Continued) else expr.args[0]]
    elif isinstance(expr, sp.Piecewise | Cases):
        compared = {c for _, condition in expr.args for c in condition.atoms(sp.core.relational.Relational)}
        points = [c.lhs - c.rhs for c in sorted(compared, key=sp.default_sort_key)]
    elif expr.is_Pow and expr.exp.is_negative:
        points = [expr.base]
    elif isinstance(expr, _MEANS):
        points = [variance for _, _, variance in _variances(expr)]
    yield from ((expr, point) for point in points if point.has(*keys))
    for part in expr.args:
        yield from _places(part, keys)


def _variances(mean: sp.Expr) -> list[tuple[sp.Expr, sp.Symbol, sp.Expr]]:
    """The functions that a mean is of, with their variables and their variances."""
    if isinstance(mean, GaussianJointExpectation):
        function, covariance = mean.function, mean.covariance
        return [(function.expr, v, covariance[i, i]) for i, v in enumerate(function.variables)]
    if isinstance(mean, GaussianExpectation):
        function, shift, variance = mean.args
        (v,) = function.variables
        return [(function.expr.xreplace({v: v + shift}), v, variance)]
    own = zip(mean.functions, (mean.args[2], mean.args[4]), strict=True)
    return [(function.expr, function.variables[0], variance) for function, variance in own]


def _require_continuous(
    node: sp.Basic, point: sp.Expr, means: Mapping[sp.Basic, sp.Expr], named: Mapping[sp.Symbol, sp.Basic]
) -> None:
    if isinstance(node, sp.Piecewise | Cases):
        first, *later = (sp.expand(value.xreplace(means)) for value, _ in node.args)
        if all(value == first for value in later):
            return
    elif isinstance(node, Continued):
        (own,) = node.args[0].variables
        if sp.limit(node.args[0].expr.xreplace(means), own, 0, "+") == node.at_zero.xreplace(means):
            return
    elif isinstance(node, _MEANS) and not any(
        variance == point and jumps(body, v) for body, v, variance in _variances(node)
    ):
        return
    whole, where = (brief(part.xreplace(dict(named))) for part in (node, point))
    raise NotClosed(
        f"{whole} is not continuous where {where} is 0, which is what it tends to as the width grows: in a network it is a little above or below, at "
        "random, so that no number stands for it; add a number to it, as sign(1 + average(x)) for sign(average(x)), or take a finite width"
    )
