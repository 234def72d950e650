"""Kinks inside a node: in a form that SymPy does not fold into what stands around the node.

A ``Piecewise`` whose condition holds another one is folded by SymPy, wherever in the condition that one stands. Inside a node that binds
its variables this would tear the node apart.
"""

from __future__ import annotations

from functools import lru_cache

import sympy as sp


class Encloses:
    """A mark of nodes whose bodies stand in them :func:`enclosed`."""

    __slots__ = ()


class Cases(sp.Expr):
    """A function with kinks inside a node."""

    is_commutative = True
    is_extended_real = True

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return True if all(value.is_extended_nonnegative for value, _ in self.args) else None


def enclosed(body: sp.Expr) -> sp.Expr:
    """A body as it stands inside a node.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> enclosed(sp.Piecewise((0, x < 0), (x, True))).has(sp.Piecewise)
    False
    """
    if not body.has(sp.Piecewise):
        return body
    return body.replace(sp.Piecewise, lambda *parts: Cases(*(sp.Tuple(*part) for part in parts)))


@lru_cache(maxsize=4096)
def unfolded(body: sp.Expr) -> sp.Expr:
    """A body as it is written; nodes in it keep theirs."""
    if not body.has(Cases):
        return body
    names = {node: sp.Dummy(real=True) for node in outermost(body)}
    written = body.xreplace(names).replace(Cases, lambda *parts: sp.Piecewise(*parts))
    return written.xreplace({name: node for node, name in names.items()})


def outermost(expr: sp.Basic) -> set[sp.Basic]:
    """The nodes that are inside no other node."""
    if isinstance(expr, Encloses):
        return {expr}
    return set().union(*(outermost(arg) for arg in expr.args)) if expr.args else set()
