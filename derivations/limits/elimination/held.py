r"""Functions of one neuron's number that stay whole while products of them are multiplied out.

Sums of polynomials are multiplied out, so that averages can be compared; a transcendental factor such as
:math:`1 - \tanh^2 u` is not, since its Gaussian mean is one integral and not the difference of three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import sympy as sp
from sympy.printing.printer import Printer

from derivations.limits.elimination.averages import LayerAverage


class Held(sp.Expr):
    """An expression in brackets."""

    is_commutative = True
    is_extended_real = True

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return Held(sp.diff(self.args[0], symbol))

    def _eval_is_extended_nonnegative(self) -> bool | None:
        known: bool | None = self.args[0].is_extended_nonnegative
        return known

    def _sympystr(self, printer: Printer) -> str:
        return f"({printer._print(self.args[0])})"


class HeldMean(sp.Dummy):
    """A name for a mean that is known and that nothing else is drawn for: too large to be kept in formulas during the elimination.

    Parameters
    ----------
    made : callable
        Makes what it stands for, once.
    """

    __slots__ = ("_made", "_value")
    _made: Callable[[], sp.Expr]
    _value: sp.Expr | None

    @classmethod
    def of(cls, name: str, made: Callable[[], sp.Expr]) -> HeldMean:
        """A fresh name."""
        symbol: HeldMean = cls(name, real=True)
        symbol._made, symbol._value = made, None
        return symbol

    @property
    def value(self) -> sp.Expr:
        """What it stands for, without names of sums."""
        if self._value is None:
            self._value = with_sums(self._made())
        value: sp.Expr = self._value
        return value


class HeldSum(HeldMean):
    """A name for a sum of averages of the state, so that products of such sums are not multiplied out."""

    __slots__ = ()


def with_sums(expr: sp.Expr) -> sp.Expr:
    """The expression with sums in the place of their names; other names stay."""
    return with_means(expr, HeldSum)


def held(expr: sp.Expr, variables: Iterable[sp.Symbol]) -> sp.Expr:
    """The expression with its transcendental sums in brackets, where these are functions of one variable or divided by.

    Examples
    --------
    >>> u, v = sp.symbols("u v", real=True)
    >>> sp.expand(held(1 - sp.tanh(u) ** 2, (u, v)) * held(v + v**2, (u, v)))
    v**2*(1 - tanh(u)**2) + v*(1 - tanh(u)**2)
    """
    known = set(variables)
    # what an average is of is bound in it
    averages = {node: sp.Dummy(real=True) for node in expr.atoms(LayerAverage)}
    inside = _held(expr.xreplace(averages), known)
    return inside.xreplace({name: node for node, name in averages.items()})


def _held(expr: sp.Expr, known: set[sp.Symbol]) -> sp.Expr:
    own = expr.free_symbols & known
    if not expr.is_Add or not own or expr.is_polynomial(*own):
        if expr.is_Pow and len(own) > 1 and expr.base.is_Add and expr.exp.is_negative:
            return Held(expr.base) ** expr.exp  # a sum that is divided by is not taken apart
        if expr.is_Mul or (expr.is_Pow and not expr.exp.has(*known)):
            return expr.func(*(_held(arg, known) for arg in expr.args))
        return expr
    if len(own) == 1:
        return Held(expr)
    return sp.Add(*(_held(term, known) for term in expr.args))


def released(expr: sp.Expr) -> sp.Expr:
    """The expression without brackets, and means in the place of their names."""
    return with_means(expr.replace(Held, lambda inside: inside) if expr.has(Held) else expr)


def with_means(expr: sp.Expr, kind: type[HeldMean] = HeldMean) -> sp.Expr:
    """The expression with means in the place of their names, or of those of one kind."""
    names = {symbol: symbol.value for symbol in names_in(expr, kind)}
    return expr.xreplace(names) if names else expr


def inside_means(expr: sp.Expr, change: Callable[[sp.Expr], sp.Expr]) -> sp.Expr:
    """The expression with a change applied to what names stand for."""
    names = {m: HeldMean.of(m.name, lambda m=m: change(m.value)) for m in names_in(expr, HeldMean)}  # type: ignore[misc]
    return expr.xreplace(names) if names else expr


def names_in(expr: sp.Basic, kind: type[HeldMean]) -> list[HeldMean]:
    """The names in a formula; parts that occur often, as arguments of means do, are walked through once."""
    waiting, seen, found = [expr], {expr}, list[HeldMean]()
    while waiting:
        part = waiting.pop()
        if isinstance(part, kind):
            found.append(part)
        new = set(part.args) - seen
        seen |= new
        waiting += new
    return found
