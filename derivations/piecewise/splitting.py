r"""A function of one real variable as smooth pieces between sorted breakpoints.

Everything with kinks (activations, their derivatives, densities with atoms, Gaussian
integrals over half-lines) passes through this one form, so that a ``Piecewise`` never has
to be compared, multiplied or integrated as such. Values at the breakpoints themselves, a
set of measure zero, are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import sympy as sp
from sympy.core.relational import Relational

from derivations.errors import DerivationError, NoClosedForm, brief
from derivations.piecewise.choices import KINKED, as_piecewise, cases, innermost, is_nested, outermost_choice
from derivations.piecewise.continued import Continued
from derivations.piecewise.deciding import branch
from derivations.piecewise.isolate import changing_sign, is_nowhere_positive
from derivations.piecewise.piece import Piece, join, merged, with_values
from derivations.piecewise.solving import Found, rational_between, singular_points, zeros
from derivations.piecewise.thresholds import Nonlinear, in_order, thresholds

_TRIES = 4  # of points
_REAL = (sp.sin, sp.cos, sp.exp, sp.tanh, sp.erf, sp.erfc, sp.sinh, sp.cosh, sp.atan, sp.asinh, sp.Abs)
_SHORT = 60  # operations of a formula that is brought over one denominator


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
    if expr.free_symbols <= {variable} and is_nested(expr, variable):
        return tuple(part.left for part in _split(expr, variable)[1:])
    try:
        conditions = _conditions(as_piecewise(expr, variable), variable)
        return in_order({p for c in conditions for p in thresholds(c, variable)})
    except Nonlinear:
        return tuple(part.left for part in _split(expr, variable)[1:])


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
    if (given.free_symbols <= {variable} or given.has(Continued)) and is_nested(given, variable):
        return _split(given, variable)  # SymPy takes long to write conditions on what has kinks
    found: list[Piece] = []
    try:
        expr = as_piecewise(given, variable)
        cuts = (-sp.oo, *in_order({p for c in _conditions(expr, variable) for p in thresholds(c, variable)}), sp.oo)
        for left, right in pairwise(cuts):
            inside = Piece(left, right, expr).interior()
            chosen = expr.replace(
                lambda node: isinstance(node, sp.Piecewise),
                lambda node, point=inside: branch(node, variable, point),
            )
            found.append(Piece(left, right, chosen))
    except (Nonlinear, TypeError):  # SymPy compares no formula that is infinite on an interval
        return _split(given, variable)
    return merged(with_values(found))


def split_at_conditions(expr: sp.Expr, variable: sp.Symbol) -> tuple[tuple[Piece, ...], str]:
    """Pieces, kinks inside kinks first, each condition at the zeros of its difference; and why some may be missing, or ""."""
    return _split_up(expr, variable, lambda doubt: doubt)


def _split(expr: sp.Expr, variable: sp.Symbol) -> tuple[Piece, ...]:
    def refuse(doubt: str) -> str:
        raise NoClosedForm(
            f"not all points are known at which a piecewise function changes its formula ({doubt}); "
            f"write it with conditions such as {variable} < c"
        )

    parts, _ = _split_up(expr, variable, refuse)
    return tuple(with_values(parts))


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
                arg.has(*KINKED)
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
        return expr.xreplace({node: branch(branches, variable, inside)})
    except (TypeError, ValueError):
        return sp.nan


def _changes(condition: Relational, variable: sp.Symbol, left: sp.Expr, right: sp.Expr) -> Found:
    """Where a relation may change its truth value in an open interval."""
    difference = condition.lhs - condition.rhs
    if difference.free_symbols - {variable}:
        try:
            points = thresholds(condition, variable)
        except Nonlinear:
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


def canonical(expr: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    """The same function with one ``Piecewise`` at the top at most and each piece expanded.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> canonical(sp.Max(x, 0) ** 2 * sp.Heaviside(x), x)
    Piecewise((0, x <= 0), (x**2, True))
    """
    return join(merged(Piece(p.left, p.right, sp.expand(p.expr)) for p in pieces(expr, variable)), variable)
