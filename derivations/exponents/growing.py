r"""A size that grows, where only ratios with it matter: averages are named in its powers, so that norms take it off the state.

DeepNorm is :math:`\operatorname{LN}(\alpha x + f)` with :math:`\alpha \to \infty`. Its mean is :math:`\alpha s'` and its variance :math:`\alpha^2 s_2'`
with :math:`s' = \langle x + f/\alpha \rangle`, so that the new state is :math:`(x + f/\alpha - s')/\sqrt{s_2'}`: the same layer, in which
:math:`1/\alpha` is small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import sympy as sp

from derivations.language import Program
from derivations.language.statements import Mean


def in_powers(program: Program, growing: Iterable[sp.Symbol]) -> Program:
    """The same layer with each average divided by the largest power of what grows in it.

    Parameters
    ----------
    program : Program
    growing : iterable of Symbol
        Positive parameters that go to infinity.
    """
    for symbol in growing:
        program = _in_powers_of(program, symbol)
    return program


def _in_powers_of(program: Program, alpha: sp.Symbol) -> Program:
    rule: dict[sp.Symbol, sp.Expr] = {}
    statements = []
    for s in program.statements:
        body = s.body.xreplace(rule) if hasattr(s, "body") else None
        if isinstance(s, Mean) and body is not None:
            power = _degree(body, alpha)
            if power is not None and power > 0:
                body, rule[s.symbol] = _divided(body, alpha, power), alpha**power * s.symbol
        statements.append(s if body is None else replace(s, body=body))
    if not rule:
        return program
    return replace(program, statements=tuple(statements), update=sp.expand(program.update.xreplace(rule)))


def _degree(body: sp.Expr, alpha: sp.Symbol) -> sp.Expr | None:
    """The largest power of a symbol in a sum of products; None where it stands otherwise."""
    if isinstance(body, sp.Pow) and body.exp.is_Integer and body.exp > 0:
        inner = _degree(body.base, alpha)
        return None if inner is None else inner * body.exp
    powers = []
    for term in sp.Add.make_args(sp.expand(body)):
        power = term.as_powers_dict().get(alpha, sp.S.Zero)
        if (term / alpha**power).has(alpha) or not power.is_Rational:
            return None
        powers.append(power)
    return max(powers)


def _divided(body: sp.Expr, alpha: sp.Symbol, power: sp.Expr) -> sp.Expr:
    if isinstance(body, sp.Pow) and body.exp.is_Integer and body.exp > 0:
        return _divided(body.base, alpha, power / body.exp) ** body.exp
    return sp.Add(*(term / alpha**power for term in sp.Add.make_args(sp.expand(body))))
