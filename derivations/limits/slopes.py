"""Whether a program has a derivative: no function that it applies may jump."""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp
from sympy.core.relational import Relational

from derivations.errors import DerivationError, brief
from derivations.language.statements import Between, Mask, Program
from derivations.piecewise import analyse
from derivations.symbols import state

_ROUNDED = (sp.floor, sp.ceiling, sp.frac)
_STEPS = (sp.Heaviside, sp.sign, *_ROUNDED)


def require_slopes(program: Program) -> None:
    """Require that every function of the program has a derivative almost everywhere that integrates to it.

    Raises
    ------
    DerivationError
        Naming the function that jumps.
    """
    neurons = {state, *(s.symbol for s in program.statements), *dict(program.others)}
    for body in (*(s.body for s in program.statements if not isinstance(s, Mask | Between)), program.update):
        # where functions jump does not depend on the value of a generic parameter
        free = sorted(body.free_symbols - neurons, key=sp.default_sort_key)
        for part in _of_one_variable(body.xreplace({p: _example(p, k) for k, p in enumerate(free)})):
            (x,) = part.free_symbols
            jumps = [p.value for p in analyse(part, x).jumps] or (["whole numbers"] if part.has(*_ROUNDED) else [])
            if jumps:
                raise DerivationError(
                    f"{brief(part.xreplace({x: state}))} jumps at {state} = {jumps[0]}: its slope does not exist there, so a layer's "
                    "derivative does not say how the network moves; smooth the jump"
                )


def _example(parameter: sp.Symbol, k: int) -> sp.Rational:
    number = sp.Rational(7, 5) + sp.Rational(k, 11)
    return -number if parameter.is_negative else number


def _of_one_variable(expr: sp.Expr) -> Iterator[sp.Expr]:
    """The largest parts of a formula that have cases, as functions of one variable: a neuron's number, or what the cases compare."""
    if not expr.has(sp.Piecewise, *_STEPS):
        return
    if len(expr.free_symbols) == 1:
        yield expr
    elif isinstance(expr, (sp.Piecewise, *_STEPS)):
        compared = {side for c in expr.atoms(Relational) for side in c.args if side.free_symbols} or {expr.args[0]}
        opened = expr.xreplace(dict.fromkeys(compared, sp.Dummy("x", real=True)))
        if len(compared) > 1 or len(opened.free_symbols) != 1:
            raise DerivationError(
                f"whether {brief(expr)} jumps is not known, since its cases compare several numbers; write it as a function of one"
            )
        yield opened
    else:
        kinds: dict[frozenset[sp.Basic], list[sp.Expr]] = {}
        for arg in expr.args:
            kinds.setdefault(frozenset(arg.free_symbols), []).append(arg)
        together = expr.is_Mul or expr.is_Add
        for args in kinds.values():  # a factor may vanish where another one jumps
            for part in [expr.func(*args)] if together and len(kinds) > 1 else args:
                yield from _of_one_variable(part)
