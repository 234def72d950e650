"""Like which power a function grows far out, exactly, with its sign."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from derivations.errors import DerivationError
from derivations.gaussian import GaussianExpectation, GaussianJointExpectation
from derivations.piecewise import analyse


def far_out(expr: sp.Expr, s: sp.Symbol) -> tuple[sp.Expr, int] | None:
    r"""The power of s > 0 like which a function of it grows exactly, and its sign far out; None if not known.

    A mean :math:`\mathbb{E}\,g(\sqrt v Z)` grows like :math:`v^{p/2}` where :math:`g(x) \sim c_\pm |x|^p` with :math:`c_+ + c_- \ne 0` and
    :math:`p > -1`, by dominated convergence.
    """
    if not expr.has(s):
        sign = 1 if expr.is_positive else -1 if expr.is_negative else 0
        return (sp.S.Zero, sign) if sign or expr == 0 else None
    if expr.is_Add:
        parts = [far_out(part, s) for part in expr.args]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        powers = [power for power, _ in found]
        top = sp.Max(*powers)
        signs = {sign for power, sign in found if power == top}
        return (top, signs.pop()) if top.is_number and len(signs) == 1 else None
    if expr.is_Mul:
        found = [part for part in (far_out(part, s) for part in expr.args) if part is not None]
        if len(found) < len(expr.args):
            return None
        power = sp.Add(*(power for power, _ in found))
        if (
            power is not sp.nan
        ):  # else one factor grows and one vanishes faster than powers: together they are asked below
            return power, int(sp.prod([sign for _, sign in found]))
    if isinstance(expr, GaussianExpectation):
        function, mean, variance = expr.args
        inside = far_out(variance, s)
        if mean != 0 or function.expr.has(s) or inside is None or inside[1] != 1:
            return None
        power, sign = _of_function(function.expr, function.variables[0]) or (None, 0)
        return None if power is None or not inside[0].is_positive else (power * inside[0] / 2, sign)
    root = sp.Dummy("x", real=True)
    both = ends(expr.xreplace({s: root**2}), root)  # on a line that a positive number fills
    if both is not None and both[1][0] == -sp.oo:
        return -sp.oo, 1  # faster than each power, whatever its sign
    top = None if both is None else _leading(both[1:])
    return None if top is None else (top[0] / 2, top[1])


def _of_function(expr: sp.Expr, x: sp.Symbol) -> tuple[sp.Expr, int] | None:
    """Of a function whose mean is taken under a wide centred Gaussian."""
    both = ends(expr, x)
    found = None if both is None else _leading(both)
    return found if found is not None and found[0].is_nonnegative else None


def ends(expr: sp.Expr, x: sp.Symbol) -> list[tuple[sp.Expr, sp.Expr]] | None:
    """Exponent and coefficient of a function of one variable towards -oo and oo; None unless it is that of a power there."""
    own = sp.Dummy("x", real=True)
    if expr.free_symbols - {x} or expr.has(GaussianJointExpectation):
        return None
    try:
        a = analyse(expr.xreplace({x: own}), own)
        growths = [a.growth(end) for end in (-sp.oo, sp.oo)] if a.complete and not a.poles else []
    except DerivationError:
        return None
    found = []
    for g in growths:
        if g.exponent == -sp.oo:
            found.append((sp.S.NegativeInfinity, sp.S.Zero))
        elif g.exponent == sp.oo and g.limit in (sp.oo, -sp.oo):
            found.append((sp.oo, sp.sign(g.limit)))
        elif g.exponent is None or g.coefficient is None or not g.coefficient.is_number:
            return None
        else:
            found.append((g.exponent, g.coefficient))
    return found or None


def _leading(both: Sequence[tuple[sp.Expr, sp.Expr]]) -> tuple[sp.Expr, int] | None:
    top = sp.Max(*(power for power, _ in both))
    total = sp.Add(*(c for power, c in both if power == top))
    sign = 1 if total.is_positive else -1 if total.is_negative else None
    return None if sign is None or top == -sp.oo else (top, sign)
