"""Forms in tangents, sums over neurons in them: other letters, and slopes term by term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy as sp

from derivations.limits.elimination.averages import layer_average
from derivations.limits.elimination.moments import state_averages


def renamed(expr: sp.Expr, rule: Mapping[sp.Basic, sp.Basic]) -> sp.Expr:
    """A formula with other letters for a neuron's numbers, inside averages too; averages that become equal are one object."""
    nodes = {
        node: layer_average(
            renamed(node.body, rule), sorted({rule.get(v, v) for v in node.bound_symbols}, key=_place), node.layer
        )
        for node in state_averages(expr)
    }
    return expr.xreplace({**rule, **nodes})


def _place(symbol: sp.Symbol) -> tuple[int, str]:
    return len(symbol.name), symbol.name  # x^2 before x^10, as a layer has them


def slopes_of(form: sp.Expr, symbols: Sequence[sp.Basic]) -> dict[sp.Basic, sp.Expr]:
    """The derivatives of a form in several symbols; each of its terms is looked at once."""
    found: dict[sp.Basic, list[sp.Expr]] = {v: [] for v in symbols}
    for term in sp.Add.make_args(form):
        for v in term.free_symbols & found.keys():
            found[v].append(slope_of(term, v))
    return {v: sp.Add(*slopes) for v, slopes in found.items()}


def slope_of(form: sp.Expr, v: sp.Basic) -> sp.Expr:
    """The derivative of a form, most of whose terms and factors do not hold the symbol."""
    if not form.has(v):
        return sp.S.Zero
    if form.is_Add:
        return sp.Add(*(slope_of(term, v) for term in form.args))
    if form.is_Mul:
        moved = [f for f in form.args if f.has(v)]
        if len(moved) == 1:
            return sp.Mul(*(f for f in form.args if f is not moved[0]), slope_of(moved[0], v))
    return sp.diff(form, v)
