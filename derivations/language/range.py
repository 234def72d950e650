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
    r"""Whether the average of the new state's power is a number whatever the layer adds, seen from the statements of averages.

    The averages that are statements are linear equations for averages of what neurons have, and the wanted one is a sum of these. It is a
    number if the equations say so: ``x - average(x) + a - average(a)`` has the average 0.
    """
    scalars = {s.symbol: s for s in program.statements if isinstance(s, Mean) and not s.pair}
    neurons = {s.symbol for s in program.statements} - set(scalars) | {state}

    def averaged(body: sp.Expr) -> dict[sp.Expr, sp.Expr]:
        # what all neurons share stays outside an average
        found: dict[sp.Expr, sp.Expr] = {}
        for term in sp.Add.make_args(sp.expand(sp.together(sp.powsimp(body)))):
            scale, own = term.as_independent(*neurons, as_Add=False)
            found[own] = found.get(own, sp.S.Zero) + scale
        return found

    wanted = averaged(program.update**power)
    equations = []
    for symbol, s in scalars.items():
        if s.over == program.neurons and s.power == 1:
            said = averaged(s.body)
            equations.append({**said, sp.S.One: said.get(sp.S.One, sp.S.Zero) - symbol})
    while equations:
        equation = equations.pop()
        pivot = next((b for b, scale in equation.items() if b != 1 and sp.cancel(scale) != 0), None)
        if pivot is None:
            continue
        for other in (wanted, *equations):
            if ratio := sp.cancel(other.pop(pivot, sp.S.Zero) / equation[pivot]):
                for body, scale in equation.items():
                    if body != pivot:
                        other[body] = sp.cancel(other.get(body, sp.S.Zero) - ratio * scale)
    rest = wanted.pop(sp.S.One, sp.S.Zero)
    return bool(sp.cancel(rest).is_number) and all(sp.cancel(scale) == 0 for scale in wanted.values())


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
