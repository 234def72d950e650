r"""The sign of a constant from what is assumed of its parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp
from sympy.core.relational import Relational

from derivations.calculus.inequalities import Inequality, contradictory, follows
from derivations.calculus.size import with_constants_named
from derivations.errors import DependsOnParameter, DerivationError


def sign_of(expr: sp.Expr, assuming: Iterable[sp.Basic] = ()) -> int:
    r"""The sign of a constant expression: −1, 0 or 1.

    SymPy's own assumptions come first; then the expression is compared, as a whole and factor by factor, with what the relations
    imply (:mod:`~derivations.calculus.inequalities`): a > 2 gives a − 1 > 0.

    Parameters
    ----------
    expr : Expr
        Without the state.
    assuming : iterable of Relational
        Such as ``b**2 < 4*c``, ``beta > 1`` or ``Ne(mu, 0)``.

    Raises
    ------
    DerivationError
        If the sign is not known; the message says what to assume. If a relation is false, or they contradict each other.

    Examples
    --------
    >>> b, c = sp.symbols("b c", real=True)
    >>> sign_of(c - b**2 / 4, [b**2 < 4 * c])
    1
    >>> sign_of(1 - b, [b > 2, c > b])
    -1
    """
    return _sign(with_constants_named(sp.factor, sp.sympify(expr)), _Known.of(assuming))


def is_nonnegative(expr: sp.Expr, assuming: Iterable[sp.Basic] = ()) -> bool:
    r"""Whether a constant expression is at least 0; whether it is 0 need not be known.

    Raises
    ------
    DerivationError
        As for :func:`sign_of`.

    Examples
    --------
    >>> mu = sp.Symbol("mu", real=True)
    >>> is_nonnegative(mu**2), is_nonnegative(mu - 1, [mu >= 1])
    (True, True)
    """
    expr = with_constants_named(sp.factor, sp.sympify(expr))
    known = _Known.of(assuming)
    if expr.is_nonnegative or sp.expand(expr).is_nonnegative or follows(Inequality(expr, False), known.inequalities):
        return True
    return _sign(expr, known) >= 0


@dataclass(frozen=True)
class _Known:
    """Assumptions, read: inequalities (an equation is two), and what is not 0."""

    inequalities: tuple[Inequality, ...]
    equal: tuple[sp.Expr, ...]
    unequal: tuple[sp.Expr, ...]

    @classmethod
    def of(cls, assuming: Iterable[sp.Basic]) -> _Known:
        inequalities: list[Inequality] = []
        equal: list[sp.Expr] = []
        unequal: list[sp.Expr] = []
        for relation in _relations(assuming):
            if isinstance(relation, sp.Ne):
                unequal.append(relation.lhs - relation.rhs)
            elif isinstance(relation, sp.Eq):
                equal.append(relation.lhs - relation.rhs)
                inequalities += [Inequality(s * (relation.lhs - relation.rhs), False) for s in (1, -1)]
            else:
                strict = isinstance(relation, sp.StrictLessThan | sp.StrictGreaterThan)
                inequalities.append(Inequality(_cleared(relation.gts - relation.lts), strict))
        if contradictory(inequalities):
            raise DerivationError(
                f"the assumptions contradict each other: {', '.join(map(str, assuming))}; leave one of them out"
            )
        return cls(tuple(inequalities), tuple(equal), tuple(unequal))


def _relations(assuming: Iterable[sp.Basic]) -> list[Relational]:
    found: list[Relational] = []
    for relation in assuming:
        if relation in (sp.true, True):
            continue
        if relation in (sp.false, False):
            raise DerivationError("an assumption is false for all values of the parameters; leave it out")
        if isinstance(relation, sp.And):
            found += _relations(relation.args)
        elif isinstance(relation, Relational):
            found.append(relation)
        else:
            raise DerivationError(f"an assumption must be a relation such as b**2 < 4*c, got {relation!r}")
    return found


def _cleared(difference: sp.Expr) -> sp.Expr:
    """The numerator where the denominator has a known sign, which is kept."""
    numerator, denominator = sp.fraction(sp.factor(sp.together(difference)))
    sign = _plain(denominator)
    return sign * numerator if sign else difference


def _sign(expr: sp.Expr, known: _Known) -> int:
    found = _one_sign(expr, known)
    if found is not None:
        return found
    sign, open_factors, squares = _split(expr, known)
    if open_factors:
        whole = _one_sign(sp.Mul(*open_factors), known)
        sign, open_factors = (sign, open_factors) if whole is None else (sign * whole, [])
    if sign == 0:
        return 0
    if open_factors:
        shown = sp.Mul(*open_factors)
        shown = -shown if shown.could_extract_minus_sign() else shown
        raise DependsOnParameter(
            f"the answer depends on the sign of {shown}, which is not known; give the parameters a sign, e.g. "
            f"Symbol('c', positive=True), or pass assuming=[{shown} > 0] (or < 0) to recognise"
        )
    if squares:
        raise DependsOnParameter(
            f"the answer depends on whether {squares[0]} is 0, which is not known; pass assuming=[Ne({squares[0]}, 0)] "
            "to recognise, or give the parameters a sign"
        )
    return sign


def _split(expr: sp.Expr, known: _Known) -> tuple[int, list[sp.Expr], list[sp.Expr]]:
    """The sign of the factors whose sign is known, the others, and those of which only a square enters."""
    sign, open_factors, squares = 1, [], []
    numerator, denominator = sp.fraction(sp.together(expr))
    for factor in (f for part in (numerator, denominator) for f in sp.Mul.make_args(sp.factor(part))):
        base, power = factor.as_base_exp()
        found = _one_sign(factor, known)
        if found is not None:
            sign *= found
        elif power.is_Integer and power % 2 == 0:
            inner = _one_sign(base, known)
            if inner == 0:
                sign = 0
            elif inner is None and not any(_known_ratio(base, u) for u in known.unequal):
                squares.append(base)
        else:
            open_factors.append(base)
    return sign, open_factors, squares


def _one_sign(expr: sp.Expr, known: _Known) -> int | None:
    plain = _plain(expr)
    if plain is not None:
        return plain
    if any(_known_ratio(expr, e) is not None for e in known.equal if e != 0):
        return 0
    for inequality in known.inequalities:  # a multiple of one that is assumed, whatever its degree
        ratio = _known_ratio(expr, inequality.expr)
        if inequality.strict and ratio:
            return ratio
    for sign in (1, -1):
        if known.inequalities and follows(Inequality(sign * expr, True), known.inequalities):
            return sign
    if all(known.inequalities and follows(Inequality(s * expr, False), known.inequalities) for s in (1, -1)):
        return 0
    return None


def _known_ratio(expr: sp.Expr, other: sp.Expr) -> int | None:
    return _plain(sp.factor(sp.cancel(expr / other))) if other != 0 else None


def _plain(expr: sp.Expr) -> int | None:
    """The sign that SymPy knows."""
    if expr.is_positive:
        return 1
    if expr.is_negative:
        return -1
    if expr.is_zero:
        return 0
    opened = sp.expand(expr)
    return 0 if opened == 0 else 1 if opened.is_positive else -1 if opened.is_negative else None
