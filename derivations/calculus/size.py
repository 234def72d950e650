r"""How large the algebra of a formula would become, counted before it is done.

Bringing a formula to lowest terms, or factoring it, treats it as a quotient of polynomials in its symbols, functions and roots.
:math:`e^{1.702 x}` is the 851st power of :math:`e^{x/500}` there, and a formula of a line can have a numerator of a million terms. The
degree is bounded without expanding anything, and what is too large is left as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import comb, prod

import sympy as sp

from derivations.calculus.irrational import split_over_roots
from derivations.constants import Constant, in_few_constants, named, openable, opened

MOST_DEGREE = 300  # of numerator or denominator, over all generators together
MOST_TERMS = 20_000  # of a polynomial of that degree in that many generators
MOST_FACTORED = 3_000  # terms of what is factored
MOST_NODES = 2_000  # different parts of the formula


def is_moderate(expr: sp.Expr, most_terms: int = MOST_TERMS) -> bool:
    """Whether expanding, cancelling or factoring a formula stays within bounds.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> is_moderate(x * sp.tanh(x) ** 2 / (1 + x)), is_moderate(x / (1 + sp.exp(-x * sp.Rational(851, 500))) + sp.exp(x))
    (True, False)
    >>> is_moderate(1 / (1 + sp.exp(-x - x**3 * sp.Rational(8943, 100000))) ** 2)
    False
    >>> is_moderate(x + sp.exp(2)), is_moderate(x + sp.exp(400))
    (True, False)
    """
    return _terms(expr) <= most_terms


@lru_cache(maxsize=4096)
def _terms(expr: sp.Expr) -> int:
    """A bound on the terms of numerator and denominator; beyond every bound where the degree is."""
    if any(node.args[0].is_Add for node in expr.atoms(sp.exp)):
        expr = sp.expand_power_exp(expr)  # as algebra takes them apart
    counted = _Degrees()
    try:
        over, under = counted.degrees(expr)
    except OverflowError:
        return 10**9
    degree, generators = max(over, sum(under.values())), len(counted.units)
    return comb(degree + generators, generators) if degree <= MOST_DEGREE else 10**9


class _Degrees:
    """Degrees of numerator and denominator; the latter as the powers of its factors, which a sum shares."""

    def __init__(self) -> None:
        self.units: dict[sp.Expr, int] = {}  # generators with the common denominator of their powers
        self.seen: set[sp.Expr] = set()
        self.known: dict[sp.Expr, tuple[int, dict[sp.Expr, int]]] = {}

    def degrees(self, expr: sp.Expr) -> tuple[int, dict[sp.Expr, int]]:
        self._collect(expr)
        return self._of(expr)

    def _collect(self, expr: sp.Expr) -> None:
        if expr in self.seen:
            return
        if _is_plain(expr):
            return
        self.seen.add(expr)
        if len(self.seen) > MOST_NODES:
            raise OverflowError
        base, power = _base_and_power(expr)
        if base is not None:
            self.units[base] = sp.ilcm(self.units.get(base, 1), int(power.q))
        else:
            for part in expr.args:
                self._collect(part)

    def _of(self, expr: sp.Expr) -> tuple[int, dict[sp.Expr, int]]:
        if expr not in self.known:
            self.known[expr] = self._count(expr)
        return self.known[expr]

    def _count(self, expr: sp.Expr) -> tuple[int, dict[sp.Expr, int]]:
        if _is_plain(expr):
            return 0, {}
        if expr.is_Add:
            parts = [self._of(a) for a in expr.args]
            under: dict[sp.Expr, int] = {}
            for _, d in parts:
                for factor, power in d.items():
                    under[factor] = max(under.get(factor, 0), power)
            whole = sum(under.values())
            return max(n + whole - sum(d.values()) for n, d in parts), under
        if expr.is_Mul:
            over, under = 0, {}
            for a in expr.args:
                n, d = self._of(a)
                over += n
                for factor, power in d.items():
                    under[factor] = under.get(factor, 0) + power
            return over, under
        if expr.is_Pow and expr.exp.is_Integer and not expr.base.is_Symbol and not isinstance(expr.base, sp.exp):
            n, d = self._of(expr.base)
            k = abs(int(expr.exp))
            if k > 10**4:
                raise OverflowError
            if expr.exp.is_positive:
                return n * k, {factor: power * k for factor, power in d.items()}
            return sum(d.values()) * k, {expr.base: n * k}
        base, power = _base_and_power(expr)
        if base is None:
            return 1, {}
        degree = int(abs(power) * self.units.get(base, 1))
        return (degree, {}) if power > 0 else (0, {base: degree})


def _is_plain(expr: sp.Expr) -> bool:
    """Whether it is a number to algebra; powers of e are generators as functions are."""
    return not expr.free_symbols and not expr.atoms(Constant, sp.exp, type(sp.E))


def _base_and_power(node: sp.Expr) -> tuple[sp.Expr | None, sp.Rational]:
    """A generator and its rational power: e^{q u} is the power q of e^u."""
    if isinstance(node, sp.exp):
        coefficient, rest = node.args[0].as_coeff_Mul()
        return (sp.exp(rest), coefficient) if coefficient.is_Rational else (node, sp.S.One)
    if node.is_Pow:
        if not node.exp.is_Rational:
            return node, sp.S.One
        plain = node.base.is_Symbol or not node.exp.is_Integer
        return (node.base, node.exp) if plain else (None, sp.S.One)
    if node.is_Symbol or node is sp.E or isinstance(node, sp.Function | Constant):
        return node, sp.S.One
    return None, sp.S.One


@lru_cache(maxsize=256)
def factored(expr: sp.Expr) -> sp.Expr:
    """The formula as a product of irreducible factors, if that stays within bounds; else as it is. Pieces are factored one by one.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> factored(sp.Piecewise((0, x < -3), (x**2 + 6 * x + 9, True)))
    Piecewise((0, x < -3), ((x + 3)**2, True))
    >>> factored(9 * sp.Piecewise((0, x < -3), (x**2 + 6 * x + 9, True)))
    9*Piecewise((0, x < -3), ((x + 3)**2, True))
    >>> factored(1 + sp.exp(17 * x / 5)), factored(1 + 2 * sp.exp(x) + sp.exp(2 * x))
    (exp(17*x/5) + 1, (exp(x) + 1)**2)
    """
    if isinstance(expr, sp.Piecewise):
        return sp.Piecewise(*((factored(piece), condition) for piece, condition in expr.args))
    whole, names = _exponentials_named(expr)
    if not is_moderate(whole, MOST_FACTORED):
        return split_over_roots(expr)
    found = with_constants_named(sp.factor, whole).xreplace({name: power for power, name in names.items()})
    powers = (factor.as_base_exp() for factor in sp.Mul.make_args(found))
    parts = ((factored(base) if isinstance(base, sp.Piecewise) else split_over_roots(base), p) for base, p in powers)
    return sp.Mul(*(base**power for base, power in parts))


def _exponentials_named(expr: sp.Expr) -> tuple[sp.Expr, dict[sp.Expr, sp.Dummy]]:
    """With names for the exponentials of which the others are whole powers: as the 17th power of another, one would be split in seventeen."""
    rates: dict[sp.Expr, set[sp.Rational]] = {}
    for node in expr.atoms(sp.exp):
        rate, rest = node.args[0].as_coeff_Mul()
        if node.free_symbols and rate.is_Rational:
            rates.setdefault(rest, set()).add(rate)
    powers: dict[sp.Expr, sp.Expr] = {}
    names: dict[sp.Expr, sp.Dummy] = {}
    for rest, found in rates.items():
        least = min(map(abs, found))
        if all((rate / least).is_Integer for rate in found):
            name = names[sp.exp(least * rest)] = sp.Dummy("e", positive=True)
            powers |= {sp.exp(rate * rest): name ** (rate / least) for rate in found}
    return expr.xreplace(powers), names


def as_read_back(expr: sp.Expr) -> sp.Expr:
    """Numbers times sums multiplied out where SymPy's ``factor`` has left them, as they come back from a pickle.

    Examples
    --------
    >>> x = sp.Symbol("x")
    >>> as_read_back(sp.factor(2 * x + 2))
    2*x + 2
    """
    return expr.replace(
        lambda node: node.is_Mul and len(node.args) == 2 and node.args[0].is_Rational and node.args[1].is_Add,
        lambda node: sp.Mul(*node.args),
    )


def with_constants_named(rule: Callable[[sp.Expr], sp.Expr], expr: sp.Expr) -> sp.Expr:
    """A rule of algebra applied with constants as numbers of their own, which as powers of e have degrees in the thousands.

    Examples
    --------
    >>> x = sp.Symbol("x")
    >>> with_constants_named(sp.factor, sp.exp(sp.Rational(2553, 5000)) * (x**2 + 2 * x) + sp.exp(sp.Rational(2553, 5000)))
    (x + 1)**2*exp(2553/5000)
    """
    if not expr.atoms(Constant, sp.exp):
        return rule(expr)
    own, few = openable(expr), in_few_constants(expr)
    if own and len(openable(few)) >= len(own):
        inside = named(expr)
        return opened(rule(inside), openable(inside) - own)
    found = opened(rule(few))
    return named(found) if own else found


def size_expanded(expr: sp.Expr) -> float:
    """About how many symbols and numbers a formula holds once it is multiplied out at all levels, constants and all.

    Examples
    --------
    >>> x = sp.Symbol("x")
    >>> size_expanded((x + sp.sqrt(2)) ** 2), size_expanded(sp.exp((x + 1) ** 9))
    (10.0, 21.0)
    """
    return _expanded_size(expr)[1]


@lru_cache(maxsize=4096)
def _expanded_size(expr: sp.Expr) -> tuple[float, float]:
    """Of a formula multiplied out: its terms, and what they hold."""
    parts = [_expanded_size(part) for part in expr.args]
    if not parts:
        return 1, 1
    terms, held = zip(*parts, strict=True)
    if expr.is_Add:
        return sum(terms), sum(held)
    if expr.is_Mul:
        number = prod(terms)
        return number, number * sum(h / n for n, h in parts)
    if expr.is_Pow and expr.exp.is_Integer:
        power = abs(int(expr.exp))
        number = comb(terms[0] + power - 1, power)
        size = number * min(power, terms[0]) * held[0] / terms[0] + 1
        return (number, size) if expr.exp.is_positive else (1, size)
    return 1, sum(held)


def expanded(expr: sp.Expr) -> sp.Expr:
    """The formula multiplied out, if that stays within bounds; else as it is."""
    return sp.expand(expr) if is_moderate(expr) else expr


def nested_functions(expr: sp.Expr) -> int:
    """How many functions of functions a formula has inside one another, counted level by level.

    Examples
    --------
    >>> x = sp.Symbol("x")
    >>> nested_functions(sp.tanh(sp.sin(x) ** 2) + sp.exp(x))
    2
    """
    known: dict[sp.Basic, int] = {}

    def depth(node: sp.Basic) -> int:
        if node not in known:
            inside = max(map(depth, node.args), default=0)
            known[node] = inside + isinstance(node, sp.Function)
        return known[node]

    return depth(expr)


def written_size(expr: sp.Expr) -> int:
    """How many operations a formula has when it is written out, counted without writing it out.

    Examples
    --------
    >>> x = sp.Symbol("x")
    >>> written_size(x + sp.sin(x) ** 2)
    6
    """
    known: dict[sp.Basic, int] = {}

    def size(node: sp.Basic) -> int:
        if node not in known:
            known[node] = 1 + sum(map(size, node.args))
        return known[node]

    return size(expr)
