"""Whether the functions that a program applies are real, and whether it has a derivative: then none of them may jump."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import sympy as sp
from sympy.core.relational import Relational

from derivations.covariances import imaginary_point, may_leave_the_line
from derivations.errors import DerivationError, brief
from derivations.language.statements import Between, Mask, Mean, Mix, Program
from derivations.piecewise import analyse
from derivations.symbols import state, step

_ROUNDED = (sp.floor, sp.ceiling, sp.frac)
_STEPS = (sp.Heaviside, sp.sign, *_ROUNDED)


@lru_cache(maxsize=256)
def require_real(program: Program) -> None:
    """Require that functions of a neuron's number are real for all numbers: powers, logarithms and inverse functions are looked at in points.

    Raises
    ------
    DerivationError
        Naming the function and a point.
    """
    neurons = {state, *(s.symbol for s in program.statements), *dict(program.others)}
    # norms are positive numbers, and so are sums of squares over positions
    averages = {
        s.symbol: sp.S.One
        for s in program.statements
        if isinstance(s, Mean) or (isinstance(s, Mix) and s.body.is_extended_nonnegative)
    }
    for body in (*(s.body for s in program.statements if not isinstance(s, Mask | Between)), program.update):
        if may_leave_the_line(body):
            for part in _of_one_neuron(body.xreplace(averages | {step: sp.S.One}), neurons - averages.keys()):
                _require_real(part)


def _of_one_neuron(expr: sp.Expr, neurons: set[sp.Symbol]) -> Iterator[sp.Expr]:
    """The largest parts of a formula that depend on one symbol only, which is a neuron's number."""
    if len(expr.free_symbols) == 1 and expr.free_symbols <= neurons:
        yield expr
    elif not isinstance(expr, sp.Piecewise):
        kinds: dict[frozenset[sp.Basic], list[sp.Expr]] = {}
        for arg in expr.args:
            kinds.setdefault(frozenset(arg.free_symbols), []).append(arg)
        for args in kinds.values():  # a factor may vanish where another one is not real
            for part in [expr.func(*args)] if expr.is_Mul and len(kinds) > 1 else args:
                yield from _of_one_neuron(part, neurons)


def _require_real(part: sp.Expr) -> None:
    (x,) = part.free_symbols
    point = imaginary_point(part, (x,), sp.S.Reals) if may_leave_the_line(part) else None
    if point is not None:
        raise DerivationError(
            f"{brief(part.xreplace({x: state}))} is not real at {state} = {point[x]}, and neurons take all real values; write it with "
            f"Abs, Max or Piecewise so that it is, such as sqrt(Abs({state}))"
        )


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


def slope(body: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """The derivative almost everywhere of a body that does not jump, as x sign(x): what its factors' jumps add vanishes together."""
    return sp.diff(body, symbol).replace(sp.DiracDelta, lambda *_: sp.S.Zero)


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
        opened = _in_what_is_compared(expr, sp.Dummy("x", real=True))
        if opened is None:
            raise DerivationError(
                f"whether {brief(expr)} jumps is not known, since its cases hold several numbers; write it as a function of one"
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


def _in_what_is_compared(expr: sp.Expr, number: sp.Symbol) -> sp.Expr | None:
    """A formula with cases as a function of the one number that these compare, or None."""
    compared = {side for c in expr.atoms(Relational) for side in c.args if side.free_symbols} or {expr.args[0]}
    if len(compared) > 1:
        return None
    (side,) = compared
    opened = expr.xreplace({side: number})
    for x in sorted(opened.free_symbols - {number}, key=sp.default_sort_key):
        slope = sp.diff(side, x)  # of leaky_relu(x + y) the cases hold x/100 + y/100: x = number - y
        if slope != 0 and x not in slope.free_symbols and isinstance(opened, sp.Piecewise):
            rule = {x: (number - side.xreplace({x: sp.S.Zero})) / slope}
            opened = sp.Piecewise(*((sp.expand(e.xreplace(rule)), c) for e, c in opened.args))
            break
    return opened if opened.free_symbols == {number} else None
