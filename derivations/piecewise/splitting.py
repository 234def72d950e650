r"""A function of one real variable as smooth pieces between sorted breakpoints.

Everything with kinks (activations, their derivatives, densities with atoms, Gaussian
integrals over half-lines) passes through this one form, so that a ``Piecewise`` never has
to be compared, multiplied or integrated as such. Values at the breakpoints themselves, a
set of measure zero, are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import sympy as sp
from sympy.core.relational import Relational

from derivations.errors import DerivationError, NoClosedForm, brief
from derivations.piecewise.continued import Continued
from derivations.piecewise.isolate import changing_sign, is_nowhere_positive
from derivations.piecewise.root import IsolatedRoot
from derivations.piecewise.solving import Found, rational_between, singular_points, zeros


@dataclass(frozen=True)
class Piece:
    """The restriction of a function to the open interval ``(left, right)``."""

    left: sp.Expr
    right: sp.Expr
    expr: sp.Expr

    def interior(self) -> sp.Expr:
        """A point strictly inside the interval, a rational one where the ends are rational or known by brackets."""
        if any(end.has(IsolatedRoot) for end in (self.left, self.right)):
            return rational_between(self.left, self.right)
        if self.left == -sp.oo and self.right == sp.oo:
            return sp.S.Zero
        if self.left == -sp.oo:
            return self.right - 1
        if self.right == sp.oo:
            return self.left + 1
        return (self.left + self.right) / 2


_TRIES = 4  # of points
_REAL = (sp.sin, sp.cos, sp.exp, sp.tanh, sp.erf, sp.erfc, sp.sinh, sp.cosh, sp.atan, sp.asinh, sp.Abs)
_SHORT = 60  # operations of a formula that is brought over one denominator
_PARTIAL = (sp.log, sp.asin, sp.acos, sp.acosh, sp.atanh)
_KINKED = (sp.Abs, sp.Max, sp.Min, sp.sign, sp.Heaviside, Continued)


def _as_piecewise(expr: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    kinked = [node for node in expr.atoms(*_KINKED) if node.has(variable)]
    return expr.xreplace({node: _branches(node) for node in kinked}) if kinked else expr


def _branches(node: sp.Expr) -> sp.Expr:
    if isinstance(node, sp.Max | sp.Min) and all(map(_is_compared, node.args)):
        # SymPy's own rewriting nests conditions, which takes it longer than all the rest of a derivation
        parts, rising = list(node.args), isinstance(node, sp.Max)
        cases = []
        for k, part in enumerate(parts, 1):
            above = (_at_least(part, other) if rising else _at_least(other, part) for other in parts[k:])
            kinked = part.atoms(*_KINKED)
            cases.append((part.xreplace({inner: _branches(inner) for inner in kinked}), sp.And(*above)))
        return sp.Piecewise(*cases)
    if isinstance(node, Continued):
        return node.cases(lambda argument: argument)
    if isinstance(node, sp.Heaviside):
        inner, at_zero = node.args
        return sp.Piecewise((sp.S.Zero, inner < 0), (at_zero, sp.Eq(inner, 0)), (sp.S.One, True))
    written = node.rewrite(sp.Piecewise)
    if not written.has(*_KINKED) or not isinstance(node, sp.sign | sp.Abs):
        return written
    (inner,) = node.args  # SymPy leaves what may be infinite, such as 1/x
    values = (sp.S.One, sp.S.NegativeOne) if isinstance(node, sp.sign) else (inner, -inner)
    return sp.Piecewise((values[0], inner > 0), (values[1], True))


def _is_compared(expr: sp.Expr) -> bool:
    """Whether comparisons with a formula are comparisons with what its maxima and minima are of."""
    if isinstance(expr, sp.Max | sp.Min):
        return all(map(_is_compared, expr.args))
    return not expr.has(*_KINKED, sp.Piecewise)


def _at_least(left: sp.Expr, right: sp.Expr) -> sp.Basic:
    """The condition left ≥ right, without a maximum or minimum on either side."""
    if isinstance(left, sp.Max | sp.Min):
        made = sp.Or if isinstance(left, sp.Max) else sp.And
        return made(*(_at_least(part, right) for part in left.args))
    if isinstance(right, sp.Max | sp.Min):
        made = sp.And if isinstance(right, sp.Max) else sp.Or
        return made(*(_at_least(left, part) for part in right.args))
    return sp.Ge(left, right)


class _Nonlinear(ValueError):
    """A condition changes its truth value elsewhere than at the zero of a linear function."""


def _thresholds(condition: Relational, variable: sp.Symbol) -> tuple[sp.Expr, ...]:
    """Where a relation changes its truth value that is linear in the variable or, with parameters, in a function of it that is known."""
    difference = condition.lhs - condition.rhs
    if not difference.is_polynomial(variable):
        return _undone(difference, variable)
    opened = sp.expand(difference)
    slope = opened.coeff(variable, 1)
    point = sp.cancel(-opened.coeff(variable, 0) / slope) if slope != 0 else sp.nan
    if slope == 0 or sp.expand(opened - slope * (variable - point)) != 0:
        return _undone(difference, variable)
    return (point,)


def _undone(difference: sp.Expr, variable: sp.Symbol) -> tuple[sp.Expr, ...]:
    """The zeros of a formula with parameters, by undoing functions one by one around a linear argument.

    Each step must hold for all parameters: a factor of known sign, a logarithm or a root of what is positive.
    """
    if not difference.free_symbols - {variable}:
        raise _Nonlinear  # a number: found, or isolated, elsewhere
    values, rest = [sp.S.Zero], difference
    while not (rest.is_polynomial(variable) and sp.degree(rest, variable) == 1):
        outside, inner = rest.as_independent(variable, as_Add=rest.is_Add)
        signs = {_sign(sp.factor(value)) for value in values}
        if rest.is_Add and outside != 0:
            values = [value - outside for value in values]
        elif rest.is_Mul and _sign(outside) and outside != 1:
            values = [value / outside for value in values]
        elif isinstance(rest, sp.exp) and signs == {1}:
            values, inner = [sp.log(value) for value in values], rest.args[0]
        elif isinstance(rest, sp.sinh | sp.asinh):
            values, inner = [rest.inverse()(value) for value in values], rest.args[0]
        elif rest.is_Pow and rest.exp.is_Integer and rest.exp.is_positive and signs <= {1, -1}:
            values, inner = _roots(values, rest.exp), rest.base
        else:
            raise _Nonlinear
        rest = inner
    slope = sp.expand(rest).coeff(variable, 1)
    if not _sign(slope):
        raise _Nonlinear
    return tuple(sp.expand_log(sp.cancel((value - rest.subs(variable, 0)) / slope)) for value in values)


def _roots(values: list[sp.Expr], power: sp.Integer) -> list[sp.Expr]:
    """Real roots of numbers of known sign: one of an odd power, two or none of an even one."""
    found = [_sign(sp.factor(v)) * sp.Abs(v) ** (1 / power) for v in values if power.is_odd or _sign(sp.factor(v)) > 0]
    return [sign * root for root in found for sign in ((1,) if power.is_odd else (-1, 1))]


def _sign(value: sp.Expr) -> int:
    """−1 or 1; 0 where the sign is not known for all parameters."""
    return 1 if value.is_positive else -1 if value.is_negative else 0


def _conditions(expr: sp.Expr, variable: sp.Symbol) -> set[Relational]:
    conditions: set[Relational] = set()
    for node in expr.atoms(sp.Piecewise):
        for _, condition in node.args:
            conditions |= {c for c in condition.atoms(Relational) if c.has(variable)}
    return conditions


def breakpoints(expr: sp.Expr, variable: sp.Symbol) -> tuple[sp.Expr, ...]:
    """Points, in increasing order, at which a different formula takes over.

    Raises
    ------
    DerivationError
        As :func:`pieces`.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> breakpoints(sp.Max(x, -x - 2), x), breakpoints(sp.Max(x**2 - 1, 0), x)
    ((-1,), (-1, 1))
    """
    expr = sp.sympify(expr)
    if expr.free_symbols <= {variable} and _is_nested(expr, variable):
        return tuple(part.left for part in _split(expr, variable)[1:])
    try:
        conditions = _conditions(_as_piecewise(expr, variable), variable)
        return in_order({p for c in conditions for p in _thresholds(c, variable)})
    except _Nonlinear:
        return tuple(part.left for part in _split(expr, variable)[1:])


def in_order(points: Iterable[sp.Expr]) -> tuple[sp.Expr, ...]:
    """Sort points of the line exactly.

    Raises
    ------
    DerivationError
        If the order of two points depends on a parameter.
    """
    return tuple(sorted(points, key=_Ordered))


class _Ordered:
    """Sort key by a provable ``<``; refuses breakpoints whose order depends on a parameter."""

    def __init__(self, value: sp.Expr) -> None:
        self.value = value

    def __lt__(self, other: _Ordered) -> bool:
        less = sp.sympify(self.value - other.value).is_negative
        if less is None:
            raise DerivationError(
                f"cannot order the breakpoints {self.value} and {other.value}; "
                "give the parameters a sign, e.g. Symbol('c', positive=True)"
            )
        return bool(less)


def pieces(expr: sp.Expr, variable: sp.Symbol) -> tuple[Piece, ...]:
    """Split a function of one real variable into its smooth pieces, from left to right.

    Parameters
    ----------
    expr : Expr
        May hold ``Piecewise``, ``Abs``, ``Max``, ``Min``, ``sign`` and ``Heaviside``.
    variable : Symbol
        The variable. Conditions may be any formula in it; with parameters they must be linear in it, or in a power or an exponential of
        it compared with something of known sign.

    Raises
    ------
    NoClosedForm
        If the points at which a condition changes are not all known (such as the infinitely many of sin x > 0).
    DerivationError
        If their order depends on a parameter.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [(p.left, p.right, p.expr) for p in pieces(abs(x), x)]
    [(-oo, 0, -x), (0, oo, x)]
    >>> [(p.left, p.right, p.expr) for p in pieces(sp.Max(sp.tanh(x), 0) + sp.Min(sp.exp(x) - 1, 0), x)]
    [(-oo, 0, exp(x) - 1), (0, oo, tanh(x))]
    """
    given = sp.sympify(expr)
    if (given.free_symbols <= {variable} or given.has(Continued)) and _is_nested(given, variable):
        return _split(given, variable)  # SymPy takes long to write conditions on what has kinks
    found: list[Piece] = []
    try:
        expr = _as_piecewise(given, variable)
        cuts = (-sp.oo, *in_order({p for c in _conditions(expr, variable) for p in _thresholds(c, variable)}), sp.oo)
        for left, right in pairwise(cuts):
            inside = Piece(left, right, expr).interior()
            chosen = expr.replace(
                lambda node: isinstance(node, sp.Piecewise),
                lambda node, point=inside: _branch(node, variable, point),
            )
            found.append(Piece(left, right, chosen))
    except (_Nonlinear, TypeError):  # SymPy compares no formula that is infinite on an interval
        return _split(given, variable)
    return merged(_with_values(found))


def _with_values(parts: Sequence[Piece]) -> Sequence[Piece]:
    """Refuse a function that has no value on a whole interval."""
    for part in parts:
        if part.expr.has(sp.nan, sp.zoo):
            what = "divides by 0" if part.expr.has(sp.zoo) else "compares numbers that are not real"
            raise DerivationError(
                f"the function is no real number on ({part.left}, {part.right}): it {what} there; change the formula there, or give the "
                "interval in which it is used"
            )
    return parts


def split_at_conditions(expr: sp.Expr, variable: sp.Symbol) -> tuple[tuple[Piece, ...], str]:
    """Pieces, kinks inside kinks first, each condition at the zeros of its difference; and why some may be missing, or ""."""
    return _split_up(expr, variable, lambda doubt: doubt)


def _split_up(expr: sp.Expr, variable: sp.Symbol, doubted: Callable[[str], str]) -> tuple[tuple[Piece, ...], str]:
    done: list[Piece] = []
    doubt = ""
    todo = [Piece(-sp.oo, sp.oo, expr)]
    while todo:
        part = todo.pop()
        part = Piece(part.left, part.right, _without_losers(part.expr, variable, part.left, part.right))
        node = outermost_choice(part.expr, variable) or innermost(part.expr, variable)
        if node is None:
            done.append(part)
            continue
        branches = cases(node)
        cuts: set[sp.Expr] = set()
        conditions = {c for _, own in branches.args for c in own.atoms(Relational) if c.has(variable)}
        if not conditions:
            undecided = next((c for _, c in branches.args if c != sp.true), branches)
            raise DerivationError(
                f"the condition {brief(undecided)} of a piecewise function is true or not whatever {variable} is; give its parameters numbers"
            )
        for condition in conditions:
            changes = _changes(condition, variable, part.left, part.right)
            cuts |= set(changes.zeros)
            if changes.doubt:
                doubt = doubt or doubted(f"the condition {brief(condition)}: {changes.doubt}")
        ends = (part.left, *sorted(cuts, key=lambda c: c.evalf(30)), part.right)
        resolved = [
            Piece(
                left,
                right,
                _with_branch(part.expr, node, branches, variable, _aside(conditions, variable, left, right)),
            )
            for left, right in pairwise(ends)
        ]
        todo += merged(resolved)[::-1]
    return merged(done), doubt


def _without_losers(expr: sp.Expr, variable: sp.Symbol, left: sp.Expr, right: sp.Expr) -> sp.Expr:
    """The formula without what, inside a maximum or minimum, has kinks and is provably never the larger or the smaller one."""
    for node in sorted(expr.atoms(sp.Max, sp.Min), key=sp.default_sort_key):
        least, kept = isinstance(node, sp.Min), list(node.args)
        for arg in node.args:
            others = [other for other in kept if other != arg]
            if (
                arg.has(*_KINKED)
                and _is_real(arg)
                and any(_never_above(*(o, arg) if least else (arg, o), variable, left, right) for o in others)
            ):
                kept.remove(arg)
        if len(kept) < len(node.args):
            return _without_losers(expr.xreplace({node: node.func(*kept)}), variable, left, right)
    return expr


def _is_real(expr: sp.Expr) -> bool:
    """Whether a formula is made of functions that are real everywhere: what is not keeps its say, for it is to be refused."""
    roots = [power for power in expr.atoms(sp.Pow) if not power.exp.is_integer]
    return all(isinstance(f, _REAL) for f in expr.atoms(sp.Function)) and all(p.base.is_nonnegative for p in roots)


def _never_above(f: sp.Expr, g: sp.Expr, variable: sp.Symbol, left: sp.Expr, right: sp.Expr) -> bool:
    """Whether intervals prove f ≤ g on a whole interval."""
    return (
        not (f - g).free_symbols - {variable}
        and (f - g).has(variable)
        and is_nowhere_positive(f - g, variable, left, right)
    )


def _aside(conditions: Iterable[Relational], variable: sp.Symbol, left: sp.Expr, right: sp.Expr) -> sp.Rational:
    """A point of an interval at which no condition compares equal numbers, as cos x and 1 are at 0 beside which cos x is less."""
    point = rational_between(left, right)
    for _ in range(_TRIES):
        if all((c.lhs - c.rhs).xreplace({variable: point}).evalf(15) != 0 for c in conditions):
            return point
        point = rational_between(point, right)
    return point


def _with_branch(
    expr: sp.Expr, node: sp.Expr, branches: sp.Piecewise, variable: sp.Symbol, inside: sp.Rational
) -> sp.Expr:
    """The formula with one of its nodes decided at a point; not a number where its condition compares no real numbers."""
    try:
        return expr.xreplace({node: _branch(branches, variable, inside)})
    except (TypeError, ValueError):
        return sp.nan


def _is_nested(expr: sp.Expr, variable: sp.Symbol) -> bool:
    """Whether there are kinks inside kinks."""
    kinked = [node for node in expr.atoms(*_KINKED) if node.has(variable)]
    return any(arg.has(*_KINKED, sp.Piecewise) for node in kinked for arg in node.args)


def cases(node: sp.Expr) -> sp.Expr:
    """What has a kink as a ``Piecewise``."""
    return node if isinstance(node, sp.Piecewise) else _branches(node)


def outermost_choice(expr: sp.Expr, variable: sp.Symbol) -> sp.Piecewise | None:
    """The first choice by smooth conditions between branches with kinks, which need values only where they are chosen.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> inner = sp.Piecewise((x, sp.log(x) > -1), (0, True))
    >>> outermost_choice(1 + sp.Piecewise((inner, x > 0), (0, True)), x).args[1]
    (0, True)
    """
    kinked = (sp.Piecewise, *_KINKED)
    for node in sp.preorder_traversal(expr):
        if isinstance(node, sp.Piecewise) and any(branch.has(*kinked) for branch, _ in node.args):
            conditions = [condition for _, condition in node.args if condition.has(variable)]
            if conditions and not any(condition.has(*kinked) for condition in conditions):
                return node
    return None


def innermost(expr: sp.Expr, variable: sp.Symbol) -> sp.Expr | None:
    """What has a kink in the variable and holds nothing else that has one, so that its conditions are smooth; the first in a fixed order."""
    nodes = {node for node in expr.atoms(sp.Piecewise, *_KINKED) if node.has(variable)}
    plain = [n for n in nodes if len(nodes & n.atoms(sp.Piecewise, *_KINKED)) == 1]
    return min(plain, key=sp.default_sort_key) if plain else None


def _changes(condition: Relational, variable: sp.Symbol, left: sp.Expr, right: sp.Expr) -> Found:
    """Where a relation may change its truth value in an open interval."""
    difference = condition.lhs - condition.rhs
    if difference.free_symbols - {variable}:
        try:
            points = _thresholds(condition, variable)
        except _Nonlinear:
            raise DerivationError(
                f"the condition {brief(condition)} of a piecewise function has parameters and is not linear in {variable}, nor a "
                f"power or an exponential against what is of known sign; give the parameters numbers or signs, or write it as "
                f"{variable} < c or {variable} > c"
            ) from None
        raise DerivationError(
            f"cannot order the breakpoint {points[0]} among those of other conditions; give its parameters numbers"
        )
    singular = singular_points(difference, variable, left, right)
    changing = changing_sign(difference, variable, left, right)
    if not changing.has(variable):
        return singular
    found = _over_one_denominator(changing, variable, left, right) if singular.zeros else None
    found = found or zeros(changing, variable, left, right)
    return Found((*found.zeros, *singular.zeros), found.doubt or singular.doubt)


def _over_one_denominator(expr: sp.Expr, variable: sp.Symbol, left: sp.Expr, right: sp.Expr) -> Found | None:
    """All zeros of a numerator, if they are found: those of sin(x) − x where sin(x)/x − 1 is singular at the one that there is."""
    if expr.count_ops() > _SHORT:
        return None
    numerator, denominator = sp.fraction(sp.together(expr))
    found = zeros(numerator, variable, left, right, partly=False) if denominator.has(variable) else None
    return found if found and not found.doubt else None


def _split(expr: sp.Expr, variable: sp.Symbol) -> tuple[Piece, ...]:
    def refuse(doubt: str) -> str:
        raise NoClosedForm(
            f"not all points are known at which a piecewise function changes its formula ({doubt}); "
            f"write it with conditions such as {variable} < c"
        )

    parts, _ = _split_up(expr, variable, refuse)
    return tuple(_with_values(parts))


def _branch(node: sp.Piecewise, variable: sp.Symbol, inside: sp.Expr) -> sp.Expr:
    """The branch of a Piecewise that holds at ``inside``; other symbols in a condition keep the Piecewise."""
    kept: list[tuple[sp.Expr, sp.Basic]] = []
    for expr, condition in node.args:
        here = _at(condition, variable, inside) if condition.has(variable) else condition
        if here == sp.true and not kept:
            return expr
        if here != sp.false:
            kept.append((expr, here))
    return sp.Piecewise(*kept)


def _at(condition: sp.Basic, variable: sp.Symbol, inside: sp.Expr) -> sp.Basic:
    """A condition at a point between breakpoints.

    Where it is not linear in the variable, its zeros were found for all parameters: between them its sign is the same for all, and
    is seen at some.
    """
    for relation in condition.atoms(Relational):
        # what is not real may cancel from the difference, or have a real square
        partial = [part for part in sp.preorder_traversal(relation) if _is_partial(part) and part.has(variable)]
        for part in (relation.lhs - relation.rhs, *partial):
            value = part.xreplace({variable: inside})
            if value.is_number and not value.is_real and value.evalf(15).is_extended_real is False:
                raise TypeError(f"{relation} compares numbers that are not real at {variable} = {inside}")
    here = condition.subs(variable, inside)
    for relation in condition.atoms(Relational):
        difference = relation.lhs - relation.rhs
        linear = difference.is_polynomial(variable) and sp.degree(difference, variable) <= 1
        if linear or not relation.has(variable) or not difference.free_symbols - {variable}:
            continue
        value = difference.subs(variable, inside)
        names = sorted(value.free_symbols, key=str)
        numbers = {s: sp.Rational(7 + 2 * k, 5 + k) * (-1 if s.is_negative else 1) for k, s in enumerate(names)}
        sign = sp.sign(value.subs(numbers).evalf(30))
        if sign in (1, -1):
            condition = condition.xreplace({relation: relation.func(sign, 0)})
            here = condition.subs(variable, inside)
    return here


def _is_partial(part: sp.Basic) -> bool:
    """Whether a node, without what is inside of it, may have no real value on an interval."""
    return isinstance(part, _PARTIAL) or (part.is_Pow and not part.exp.is_integer)


def join(parts: tuple[Piece, ...], variable: sp.Symbol) -> sp.Expr:
    """The ``Piecewise`` that stands for a list of pieces; a single piece is returned bare.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> join(pieces(abs(x), x), x)
    Piecewise((-x, x <= 0), (x, True))
    """
    if len(parts) == 1:
        return parts[0].expr
    head = [(p.expr, variable <= p.right) for p in parts[:-1]]
    return sp.Piecewise(*head, (parts[-1].expr, True))


def canonical(expr: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    """The same function with one ``Piecewise`` at the top at most and each piece expanded.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> canonical(sp.Max(x, 0) ** 2 * sp.Heaviside(x), x)
    Piecewise((0, x <= 0), (x**2, True))
    """
    return join(merged(Piece(p.left, p.right, sp.expand(p.expr)) for p in pieces(expr, variable)), variable)


def merged(parts: Iterable[Piece]) -> tuple[Piece, ...]:
    """Neighbours with the same expression as one piece.

    Examples
    --------
    >>> merged([Piece(-sp.oo, 0, sp.S(1)), Piece(0, 1, sp.S(1)), Piece(1, sp.oo, sp.S(2))])
    (Piece(left=-oo, right=1, expr=1), Piece(left=1, right=oo, expr=2))
    """
    found: list[Piece] = []
    for part in parts:
        if found and found[-1].expr == part.expr:
            found[-1] = Piece(found[-1].left, part.right, part.expr)
        else:
            found.append(part)
    return tuple(found)
