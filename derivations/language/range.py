r"""A layer whose map at small parameter 0 is a projection, not the identity: what it adds is projected by the next layer.

Such a layer is :math:`x \mapsto P(x) + \varepsilon f(x)`, as ``rms_norm(x) + epsilon * A(relu(x))``, with :math:`P(P(x)) = P(x)`. Its states are
:math:`\varepsilon`-close to the range of P but not in it, and :math:`y = P(x)` moves by :math:`y \mapsto P(y + \varepsilon f(x))`. Here
:math:`x = y + O(\varepsilon)` where f reads it. This changes the mean and the covariance of one layer by :math:`O(\varepsilon^3)`, since the
weights are fresh and the mean of :math:`\varepsilon f` is :math:`O(\varepsilon^2)`. So x and y have the limit of
:math:`y \mapsto P(y + \varepsilon f(y))`, the layer followed by its own projection.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from derivations.errors import NotClosed
from derivations.language.statements import Mean, Program
from derivations.symbols import state, step


def fixes(program: Program, power: int) -> bool:
    r"""Whether the average of the new state's power is a number whatever the layer adds, seen from the statement of its norm."""
    scalars = {s.symbol: s for s in program.statements if isinstance(s, Mean) and not s.pair}
    neurons = {s.symbol for s in program.statements} - set(scalars) | {state}

    def parts(summand: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
        # factors and, in first powers, summands that all neurons share stay outside an average; those of an earlier norm stand in both
        scale, body = sp.together(summand).as_independent(*neurons, as_Add=False)
        return (scale, *(sp.expand(body).as_independent(*neurons, as_Add=True) if power == 1 else (sp.S.Zero, body)))

    scale, rest, body = parts(program.update**power)
    for symbol, s in scalars.items():
        if s.over != program.neurons or s.power != 1:
            continue
        own, shared, summand = parts(s.body)
        if sp.expand(summand - body) == 0:
            return bool(sp.cancel(scale * (symbol / own - shared + rest)).is_number)
    return False


def followed_by_projection(program: Program) -> Program:
    """The layer followed by what it does when the small parameter is 0.

    Raises
    ------
    NotClosed
        If that joins positions.
    """
    still = program.xreplace({step: sp.S.Zero}).without_unread()
    again: dict[sp.Symbol, sp.Expr] = {state: program.update}
    added = []
    for s in still.statements:
        if not isinstance(s, Mean) or s.pair:
            raise NotClosed(
                "the layer adds to a state that it projects by more than averages over neurons; say the projection last, behind the sum"
            )
        symbol = sp.Dummy(s.symbol.name, **s.symbol.assumptions0)
        added.append(replace(s, symbol=symbol, body=s.body.xreplace(again)))
        again[s.symbol] = symbol
    return replace(program, statements=(*program.statements, *added), update=still.update.xreplace(again))
