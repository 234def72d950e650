"""Means where a variance can be 0 with positive probability: there a Gaussian number is 0, and a function of it its value at 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sympy as sp

from derivations.errors import DerivationError, NotClosed, brief
from derivations.limits.elimination.averages import LayerAverage
from derivations.piecewise import breakpoints, pieces
from derivations.piecewise.continued import Continued


def continued(
    value: sp.Expr,
    body: sp.Expr,
    own: Sequence[sp.Symbol],
    variance: sp.Symbol,
    argument: sp.Symbol,
    mean: Callable[[sp.Expr], sp.Expr],
) -> sp.Expr:
    """A mean that is also right where a variance is 0.

    Parameters
    ----------
    value : Expr
        The mean for positive variances.
    body : Expr
        What it is the mean of.
    own : sequence of Symbol
        The variables of this variance.
    variance, argument : Symbol
        The variance as it stands in the value, and as a number that may be 0.
    mean : callable
        Of a body in the other variables.

    Raises
    ------
    NotClosed
        If the body has no value where these variables are 0.
    """
    if body.is_polynomial(*own) or not (divides(value, variance) or any(jumps(body, u) for u in own)):
        return value
    still = body.xreplace(dict.fromkeys(own, sp.S.Zero))
    if still.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
        raise NotClosed(
            f"the mean of {brief(body)} has no value where {', '.join(map(str, own))} is 0 for sure, as behind neurons that are all off; "
            "give the matrix a bias variance"
        )
    values = [mean(still)]
    if len(own) == 1 and not body.free_symbols & {variance} and _is_smooth(body, own[0]):
        values.append(mean(body.diff(own[0], 2).xreplace({own[0]: sp.S.Zero})) / 2)
    return Continued(sp.Lambda(variance, value), argument, sp.Tuple(*values))


def divides(value: sp.Expr, variance: sp.Symbol) -> bool:
    """Whether a formula is not continuous at 0 as it is written."""
    return any(
        (node.is_Pow and node.exp.is_negative and node.base.has(variance)) or isinstance(node, sp.log)
        for node in value.atoms(sp.Pow, sp.log)
        if node.has(variance)
    )


def jumps(body: sp.Expr, u: sp.Symbol) -> bool:
    """Whether a function is not continuous at 0."""
    if not body.has(sp.Piecewise, sp.sign, sp.Heaviside, sp.floor, sp.ceiling):
        return False
    try:
        beside = [p.expr for p in pieces(body, u) if p.left <= 0 <= p.right]
    except (DerivationError, TypeError):
        return True
    at = body.xreplace({u: sp.S.Zero})
    return any(sp.expand(side.xreplace({u: sp.S.Zero}) - at) != 0 for side in beside)


def _is_smooth(body: sp.Expr, u: sp.Symbol) -> bool:
    if body.free_symbols != {u} or body.has(
        LayerAverage
    ):  # an average may be 0 as well, and a kink at it then is one at 0
        return False
    try:
        return sp.S.Zero not in breakpoints(body, u)
    except DerivationError:
        return False
