r"""What has kinks as a ``Piecewise``, and which of it is decided first."""

from __future__ import annotations

import sympy as sp

from derivations.piecewise.continued import Continued

KINKED = (sp.Abs, sp.Max, sp.Min, sp.sign, sp.Heaviside, Continued)


def cases(node: sp.Expr) -> sp.Expr:
    """What has a kink as a ``Piecewise``."""
    return node if isinstance(node, sp.Piecewise) else _branches(node)


def as_piecewise(expr: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    """With all that has kinks in the variable as a ``Piecewise``."""
    kinked = [node for node in expr.atoms(*KINKED) if node.has(variable)]
    return expr.xreplace({node: _branches(node) for node in kinked}) if kinked else expr


def _branches(node: sp.Expr) -> sp.Expr:
    if isinstance(node, sp.Max | sp.Min) and all(map(_is_compared, node.args)):
        # SymPy's own rewriting nests conditions, which takes it longer than all the rest of a derivation
        parts, rising = list(node.args), isinstance(node, sp.Max)
        cases = []
        for k, part in enumerate(parts, 1):
            above = (_at_least(part, other) if rising else _at_least(other, part) for other in parts[k:])
            kinked = part.atoms(*KINKED)
            cases.append((part.xreplace({inner: _branches(inner) for inner in kinked}), sp.And(*above)))
        return sp.Piecewise(*cases)
    if isinstance(node, Continued):
        return node.cases(lambda argument: argument)
    if isinstance(node, sp.Heaviside):
        inner, at_zero = node.args
        return sp.Piecewise((sp.S.Zero, inner < 0), (at_zero, sp.Eq(inner, 0)), (sp.S.One, True))
    written = node.rewrite(sp.Piecewise)
    if not written.has(*KINKED) or not isinstance(node, sp.sign | sp.Abs):
        return written
    (inner,) = node.args  # SymPy leaves what may be infinite, such as 1/x
    values = (sp.S.One, sp.S.NegativeOne) if isinstance(node, sp.sign) else (inner, -inner)
    return sp.Piecewise((values[0], inner > 0), (values[1], True))


def _is_compared(expr: sp.Expr) -> bool:
    """Whether comparisons with a formula are comparisons with what its maxima and minima are of."""
    if isinstance(expr, sp.Max | sp.Min):
        return all(map(_is_compared, expr.args))
    return not expr.has(*KINKED, sp.Piecewise)


def _at_least(left: sp.Expr, right: sp.Expr) -> sp.Basic:
    """The condition left ≥ right, without a maximum or minimum on either side."""
    if isinstance(left, sp.Max | sp.Min):
        made = sp.Or if isinstance(left, sp.Max) else sp.And
        return made(*(_at_least(part, right) for part in left.args))
    if isinstance(right, sp.Max | sp.Min):
        made = sp.And if isinstance(right, sp.Max) else sp.Or
        return made(*(_at_least(left, part) for part in right.args))
    return sp.Ge(left, right)


def is_nested(expr: sp.Expr, variable: sp.Symbol) -> bool:
    """Whether there are kinks inside kinks, or in what a choice compares."""
    kinked = [node for node in expr.atoms(*KINKED) if node.has(variable)]
    if any(arg.has(*KINKED, sp.Piecewise) for node in kinked for arg in node.args):
        return True
    compared = {c for choice in expr.atoms(sp.Piecewise) for _, c in choice.args if c.has(variable)}
    return any(node in condition.atoms(*KINKED) for condition in compared for node in kinked)


def outermost_choice(expr: sp.Expr, variable: sp.Symbol) -> sp.Piecewise | None:
    """The first choice by smooth conditions between branches with kinks, which need values only where they are chosen.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> inner = sp.Piecewise((x, sp.log(x) > -1), (0, True))
    >>> outermost_choice(1 + sp.Piecewise((inner, x > 0), (0, True)), x).args[1]
    (0, True)
    """
    kinked = (sp.Piecewise, *KINKED)
    for node in sp.preorder_traversal(expr):
        if isinstance(node, sp.Piecewise) and any(branch.has(*kinked) for branch, _ in node.args):
            conditions = [condition for _, condition in node.args if condition.has(variable)]
            if conditions and not any(condition.has(*kinked) for condition in conditions):
                return node
    return None


def innermost(expr: sp.Expr, variable: sp.Symbol) -> sp.Expr | None:
    """What has a kink in the variable and holds nothing else that has one, so that its conditions are smooth; the first in a fixed order."""
    nodes = {node for node in expr.atoms(sp.Piecewise, *KINKED) if node.has(variable)}
    plain = [n for n in nodes if len(nodes & n.atoms(sp.Piecewise, *KINKED)) == 1]
    return min(plain, key=sp.default_sort_key) if plain else None
