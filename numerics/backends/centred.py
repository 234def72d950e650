r"""Formulas that do not move with their neurons, by what these differ by, for targets of fixed precision.

A variance over a layer arrives as :math:`n^{-1}\sum_i x_i^2 - (n^{-1}\sum_i x_i)^2`, of which a layer norm is made. Neurons that are nearly
equal leave no digit of it. What is the same at :math:`x_i + c` for all i is a formula in :math:`x_i - m` for every m, and at their mean m the
differences keep all their digits and nothing cancels. So are :math:`\varphi(x_i)` that are averaged, to the digits that they have themselves.

Which parts are the same is decided by :mod:`numerics.backends.residues`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import sympy as sp

from derivations.binding import bound_symbol
from numerics.backends.residues import PRIME, Residues, shifted
from numerics.backends.variables import variables

_MOST = 64  # groups that are tried


class Apart(sp.Expr):
    """``Apart(a, b)`` is a - b, of numbers so near each other that SymPy must not multiply it out; the code printers write it out."""

    is_commutative = True
    is_extended_real = True
    is_of_code = True  # it has no text that a node is read from

    def __new__(cls, first: sp.Expr, second: sp.Expr) -> Apart:
        """Keep both parts as they are."""
        return sp.Expr.__new__(cls, sp.sympify(first), sp.sympify(second))


def centred(
    expressions: Sequence[sp.Expr], rewrite: Callable[[sp.Expr], sp.Expr]
) -> tuple[tuple[sp.Expr, ...], dict[sp.Symbol, sp.Expr]]:
    """Formulas with symbols for differences from means where they can hold these, and what the symbols are, rewritten for a target.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> (variance,), apart = centred([(x**2 + y**2) / 2 - (x + y) ** 2 / 4], lambda formula: formula)
    >>> variance.free_symbols == set(apart), sorted(map(str, apart.values()))
    (True, ['Apart(x, x/2 + y/2)', 'Apart(y, x/2 + y/2)'])
    >>> centred([(x**2 + y**2) / 2 - (x + y) ** 2 / 5], lambda formula: formula)[1]
    {}
    """
    found, apart = tuple(expressions), dict[sp.Symbol, sp.Expr]()
    for kind in (sp.Symbol, sp.Function):  # what is inside a function is centred before its values are
        for group in _groups(found, kind):
            mean = sp.Add(*group) / len(group)
            names = {part: bound_symbol("apart", len(apart) + k, real=True) for k, part in enumerate(group, 1)}
            before, found = found, _across(found, names)
            if found != before:
                apart |= {n: Apart(*(rewrite(part).xreplace(apart) for part in (x, mean))) for x, n in names.items()}
    return found, apart


def _groups(expressions: Iterable[sp.Expr], kind: type[sp.Basic]) -> list[tuple[sp.Expr, ...]]:
    """Variables, or the same function of several, that linear forms with two terms or more are of, fewer terms first."""
    found = dict[frozenset[sp.Expr], None]()
    for total in _sums(expressions):
        products = (term.as_coeff_mul()[1] for term in total.args)
        linear = frozenset(
            f[0] for f in products if len(f) == 1 and isinstance(f[0], kind) and len(variables(f[0])) == 1
        )
        of = [variables(part) for part in linear]
        if len(set(of)) == len(of) > 1 and len({type(part) for part in linear}) == 1:
            found[linear] = None
    return [tuple(sorted(group, key=sp.default_sort_key)) for group in sorted(found, key=len)][:_MOST]


def _sums(expressions: Iterable[sp.Basic]) -> Iterator[sp.Add]:
    """Each different sum once."""
    seen, left = set[sp.Basic](), list(expressions)
    while left:
        part = left.pop()
        if part not in seen:
            seen.add(part)
            left += part.args
            if part.is_Add:
                yield part


def _across(expressions: tuple[sp.Expr, ...], names: dict[sp.Expr, sp.Symbol]) -> tuple[sp.Expr, ...]:
    """With the largest parts that do not move with some others in new names for these."""
    moving = _Moving(names)
    if not _cancel(expressions, moving):
        return expressions
    powers = not all(part.is_Symbol for part in names)  # of functions no more: other rules see to their differences
    rules = dict[sp.Basic, sp.Basic]()
    seen = set[sp.Basic]()

    def look(part: sp.Basic) -> None:
        if part in seen or not part.args or not moving.may(part) or isinstance(part, sp.Lambda):
            return
        seen.add(part)
        if moving.still(part) and not (powers and not _polynomial(part, moving)):
            rules[part] = part.xreplace(names)
            return
        for inner in part.args:
            look(inner)
        together = _still_together(part, moving) if part.is_Add else []
        if together:
            rest = (term.xreplace(rules) for term in part.args if term not in together)
            rules[part] = sp.Add(*(term.xreplace(names) for term in together), *rest)

    for expression in expressions:
        look(expression)
    return tuple(expression.xreplace(rules) for expression in expressions) if rules else expressions


def _cancel(expressions: tuple[sp.Expr, ...], moving: _Moving) -> bool:
    """Whether more than a difference of two numbers does not move though its terms do."""
    if len(moving.parts) > 2 and any(moving.may(whole) and moving.still(whole) for whole in expressions):
        return True
    return any(
        moving.may(total)
        and ((moving.still(total) and _products(total, moving)) or bool(_still_together(total, moving)))
        for total in _sums(expressions)
    )


def _polynomial(part: sp.Basic, moving: _Moving) -> bool:
    return bool(part.is_Add and _degree(part, moving) is not None and _products(part, moving))


def _products(total: sp.Add, moving: _Moving) -> bool:
    """Whether a term that moves is more than a multiple of a part."""
    terms = (term.as_coeff_Mul()[1] for term in total.args if not moving.still(term))
    return any(term not in moving.parts for term in terms)


class _Moving:
    """Whether parts of formulas move when others move together."""

    def __init__(self, parts: Iterable[sp.Expr]) -> None:
        self.parts = frozenset(parts)
        self.free = frozenset().union(*map(variables, self.parts))
        self.here, self.there = Residues(), Residues(shifted(self.parts))

    def may(self, part: sp.Basic) -> bool:
        return not variables(part).isdisjoint(self.free)

    def still(self, part: sp.Basic) -> bool:
        return self.here.of(part) == self.there.of(part)

    def by(self, parts: Iterable[sp.Expr]) -> int:
        return sum(self.there.of(part) - self.here.of(part) for part in parts) % PRIME


def _still_together(total: sp.Add, moving: _Moving) -> list[sp.Expr]:
    """The terms of a sum that together do not move: all of one degree, with the same factors beside the polynomial."""
    alike = dict[tuple[int, frozenset[sp.Expr]], list[sp.Expr]]()  # linear ones gain nothing beside others
    for term in total.args:
        factors = sp.Mul.make_args(term)
        degrees = {f: 0 if moving.still(f) else _degree(f, moving) for f in factors}
        known = [degree for degree in degrees.values() if degree is not None]
        if len(known) == len(factors) and sum(known) > (len(variables(term)) < 2):
            beside = frozenset(f for f in factors if not degrees[f] and not f.is_number and not _is_polynomial(f))
            alike.setdefault((sum(known), beside), []).append(term)
    return [term for terms in alike.values() if len(terms) > 1 and moving.by(terms) == 0 for term in terms]


def _is_polynomial(factor: sp.Expr) -> bool:
    return bool(factor.is_Symbol or factor.is_Add or (factor.is_Pow and factor.exp.is_Integer and factor.exp > 0))


def _degree(part: sp.Expr, moving: _Moving) -> int | None:
    """Of a homogeneous polynomial in what moves; None where it is none."""
    if part in moving.parts:
        return 1
    if not moving.may(part):
        return 0
    if not (part.is_Add or part.is_Mul or (part.is_Pow and part.exp.is_Integer and part.exp > 0)):
        return None
    inner = [_degree(arg, moving) for arg in part.args]
    if part.is_Add:
        return inner[0] if len(set(inner)) == 1 else None
    known = [d for d in inner if d is not None]
    if len(known) < len(inner):
        return None
    return sum(known) if part.is_Mul else known[0] * int(part.exp)
