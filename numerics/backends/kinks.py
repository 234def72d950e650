r"""Kinks for targets that evaluate every branch: each branch at a point where it makes sense.

An array target computes :math:`\mathrm{where}(c, f(x), g(x))` by computing f and g everywhere. Where the branch
f is not meant to be used it may be undefined (a logarithm of a negative number) or overflow; its value is thrown
away, but not the warning, nor under differentiation the ``nan``. So f is computed at
:math:`\mathrm{where}(c, x, x_f)` with a fixed point :math:`x_f` inside the piece on which f holds.
"""

from __future__ import annotations

import sympy as sp
from sympy.core.relational import Relational

from derivations.errors import DerivationError
from derivations.piecewise import pieces
from derivations.piecewise.continued import Continued

_KINKED = (sp.Abs, sp.Max, sp.Min, sp.sign, sp.Heaviside, sp.Piecewise)


class Where(sp.Expr):
    """``Where(condition, a, b)`` is a where the condition holds and b elsewhere; the code printers write it out."""

    is_commutative = True
    is_of_code = True  # it has no text that a node is read from

    def __new__(cls, condition: sp.Basic, inside: sp.Expr, outside: sp.Expr) -> Where:
        """Keep the three parts as they are."""
        return sp.Expr.__new__(cls, condition, sp.sympify(inside), sp.sympify(outside))


def branched(expr: sp.Expr) -> sp.Expr:
    """With each formula that is continued to where its argument is 0 by its branches, the one at 1 where the other is meant.

    Examples
    --------
    >>> s, v = sp.Symbol("s", positive=True), sp.Symbol("v", real=True)
    >>> branched(Continued(sp.Lambda(s, sp.exp(-1 / s)), v, sp.Tuple(0)))
    Where(v > 0, exp(-1/Where(v > 0, v, 1)), 0)
    """
    if not expr.has(Continued):
        return expr
    parts = expr.args if not isinstance(expr, Continued) else ()
    if parts:
        return expr.func(*map(branched, parts))
    condition, formula, otherwise = expr.branches(lambda v: Where(sp.Gt(v, 0, evaluate=False), v, sp.S.One))
    return Where(branched(condition), branched(formula), branched(otherwise))


def guarded_branches(expr: sp.Expr) -> sp.Expr:
    """Write each ``Piecewise`` as nested :class:`Where`, with every delicate branch kept inside its own piece.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> guarded_branches(sp.Piecewise((x**2, x > 0), (-x, True)))
    Where(x > 0, x**2, -x)
    >>> guarded_branches(sp.Piecewise((sp.log(x), x > 0), (0, True)))
    Where(x > 0, log(Where(x > 0, x, 1)), 0)
    """
    expr = expr.replace(lambda node: isinstance(node, sp.Heaviside), _step)
    expr = expr.replace(
        lambda node: isinstance(node, sp.Mul) and any(isinstance(f, sp.Piecewise) for f in node.args), _moved_inside
    )
    return expr.replace(lambda node: isinstance(node, sp.Piecewise), _guarded)


def _moved_inside(product: sp.Mul) -> sp.Expr:
    """A product with what is 0 on some pieces: 0 there, where the other factors may be infinite."""
    for factor in product.args:
        if isinstance(factor, sp.Piecewise) and any(branch == 0 for branch, _ in factor.args):
            others = sp.Mul(*(other for other in product.args if other is not factor))
            return sp.Piecewise(*((branch * others, condition) for branch, condition in factor.args), evaluate=False)
    return product


def _step(node: sp.Heaviside) -> sp.Expr:
    """A step by comparisons that SymPy does not look into; not a number where its argument is none."""
    inner, at_zero = node.args
    above, below, equal = (kind(inner, 0, evaluate=False) for kind in (sp.Gt, sp.Lt, sp.Eq))
    return Where(above, sp.S.One, Where(below, sp.S.Zero, Where(equal, at_zero, sp.nan)))


def _guarded(node: sp.Piecewise) -> sp.Expr:
    branches = [(branch, condition) for branch, condition in node.args if condition != sp.false]
    if branches[-1][1] != sp.true:
        branches.append((sp.nan, sp.true))
    value = sp.S.Zero
    for index in reversed(range(len(branches))):
        branch, condition = branches[index]
        before = [earlier for _, earlier in branches[:index]]
        branch = _kept_inside(branch, sp.And(condition, *(sp.Not(earlier) for earlier in before)))
        value = branch if condition == sp.true else Where(condition, branch, value)
    return value


def _kept_inside(branch: sp.Expr, holds: sp.Basic) -> sp.Expr:
    """The branch with each variable of its condition replaced by a safe value where the condition fails."""
    if not _delicate(branch):
        return branch
    safe = {}
    for variable in sorted(branch.free_symbols & holds.free_symbols, key=str):
        if holds.free_symbols == {variable}:
            safe[variable] = Where(holds, variable, _inside(holds, variable))
    return branch.xreplace(safe)


def _inside(holds: sp.Basic, variable: sp.Symbol) -> sp.Expr:
    """A point at which the condition holds, away from its ends; what is written apart at single points is read as it is elsewhere."""
    elsewhere = holds.replace(
        lambda node: isinstance(node, Where) and isinstance(node.args[0], sp.Eq), lambda node: node.args[2]
    )
    if elsewhere.has(Where):
        return sp.S.One
    indicator = sp.Piecewise((sp.S.One, elsewhere), (sp.S.Zero, True))
    try:
        return next(part.interior() for part in pieces(indicator, variable) if part.expr == 1)
    except (DerivationError, StopIteration):
        return sp.S.One


def _delicate(branch: sp.Expr) -> bool:
    """Whether a branch can be undefined, or overflow at moderate arguments: whether it is more than a kinked polynomial."""
    return any(
        (isinstance(node, sp.Function) and not isinstance(node, _KINKED))
        or (isinstance(node, sp.Pow) and node.free_symbols and not (node.exp.is_Integer and node.exp.is_positive))
        for node in sp.preorder_traversal(branch)
        if not isinstance(node, Relational)
    )
