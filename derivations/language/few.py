"""Averages over one neuron or two, written out.

What a neuron differs by from its average over one neuron is 0, and over two a layer norm leaves the sign of their difference, as dividing by the norm
leaves the sign of one.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from derivations import symbols
from derivations.errors import DerivationError, brief
from derivations.language.statements import Mean, Program

_SECOND = sp.Rational(2, 7)  # where the second neuron stays while the first one moves


def require_quotients(program: Program) -> None:
    """Require that no formula divides by 0 because an average is over one neuron.

    Raises
    ------
    DerivationError
        Naming the formula, as of a layer norm over one neuron.

    Examples
    --------
    >>> from derivations.language import layer_norm, program
    >>> from derivations.symbols import state
    >>> require_quotients(program(layer_norm(state), sp.Integer(2)))
    """
    own = _averages(program, 1)
    if not own:
        return
    for body in (*(s.body for s in program.statements if hasattr(s, "body")), program.update):
        for power in body.atoms(sp.Pow):
            if power.exp.could_extract_minus_sign() and sp.expand(power.base.xreplace(own)) == 0:
                raise DerivationError(
                    f"{brief(body)} divides by 0: its average is over one neuron, and is this neuron, which differs from it by 0; "
                    "take two neurons or more there, or a norm that takes no average off, as rms_norm"
                )


def of_one_moving_neuron(program: Program) -> Program:
    """The program with averages over one neuron or two as functions of one that moves.

    Examples
    --------
    >>> from derivations.language import program, rms_norm
    >>> from derivations.symbols import state
    >>> of_one_moving_neuron(program(rms_norm(state), sp.Integer(1))).update
    x/Abs(x)
    """
    own = _averages(program, 2)
    kept = tuple(s for s in program.statements if s.symbol not in own)
    return replace(program, statements=kept).xreplace(own) if own else program


def _averages(program: Program, most: int) -> dict[sp.Expr, sp.Expr]:
    """Averages over so many neurons at most."""
    rests = dict.fromkeys({symbols.state, *(s.symbol for s in program.statements)}, _SECOND)
    own: dict[sp.Expr, sp.Expr] = {}
    for s in program.statements:
        if isinstance(s, Mean) and not s.pair and s.over.size in range(1, most + 1):
            body = s.body.xreplace(own)
            both = body if s.over.size == 1 else (body + body.xreplace(rests)) / 2
            own[s.symbol] = s.root * (sp.factor(both) if both.is_rational_function() else both)
    return own
