"""Whether a layer can divide by an average that is 0 with positive probability, as the norm of neurons that a ReLU has put out."""

from __future__ import annotations

import sympy as sp

from derivations.errors import NotClosed, brief
from derivations.language.statements import Mask, Matrix, Mean, Program


def require_norms(program: Program) -> None:
    """Ask that no denominator of a layer is 0 with positive probability, at a fixed number of neurons.

    All factors that are drawn can be 0 at once, and so can all values of a function that is 0 on an interval.

    Raises
    ------
    NotClosed
        Naming what can vanish.
    """
    dead: dict[sp.Expr, sp.Expr] = {}
    averages: dict[sp.Expr, sp.Expr] = {}
    for statement in program.statements:
        if isinstance(statement, Mask):
            if statement.keep != 1:
                dead[statement.symbol] = sp.S.Zero
            continue
        body = getattr(statement, "body", sp.S.Zero)
        _require(body, dead, averages)
        if isinstance(statement, Mean):
            averages[statement.symbol] = sp.Function("average")(body)
        vanishes = _at_worst(body, dead) == 0 and body != 0
        if isinstance(statement, Matrix):
            vanishes = vanishes and not (statement.weights.bias_variance or statement.weights.bias_mean)
        if vanishes and isinstance(statement, Matrix | Mean):
            dead[statement.symbol] = sp.S.Zero
    _require(program.update, dead, averages)


def _at_worst(body: sp.Expr, dead: dict[sp.Expr, sp.Expr]) -> sp.Expr:
    return body.replace(
        lambda e: isinstance(e, sp.Piecewise) and e.free_symbols and any(value == 0 for value, _ in e.args),
        lambda e: sp.S.Zero,
    ).xreplace(dead)


def _require(body: sp.Expr, dead: dict[sp.Expr, sp.Expr], averages: dict[sp.Expr, sp.Expr]) -> None:
    if not dead:
        return
    for power in body.atoms(sp.Pow):
        met = power.base.free_symbols & set(dead)
        if met and power.exp.is_extended_negative and sp.expand(_at_worst(power.base, dead)) == 0:
            raise NotClosed(
                f"a layer divides by {brief(power.base.xreplace(averages))}, which is 0 with positive probability: all neurons that it is "
                "made of can be 0 at once, and the layer is then 0/0; normalise the state or a smooth function instead, or take the width to infinity"
            )
