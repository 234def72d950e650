r"""Whether an integral converges at an end, decided by a logarithmic derivative, as a relation in the parameters.

For :math:`f > 0` on :math:`(0, \delta)` put :math:`\rho = \lim_{y \to 0} y f'(y)/f(y)`: f is :math:`y^{\rho}` up to factors that
any power beats, so

.. math:: \int_0 f\,\mathrm{d}y < \infty \quad\text{if } \rho > -1, \qquad = \infty \quad\text{if } \rho < -1 .

At :math:`\rho = -1` the next scale decides: with :math:`y = e^{-u}` the integral is :math:`\int^\infty g\,\mathrm{d}u`,
:math:`g(u) = y f(y)`, to which the same test applies at infinity. Only :math:`f'/f` enters, so no antiderivative is needed:
densities of scale and speed are exponentials of integrals, and their logarithmic derivatives are the coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import sympy as sp
from sympy.core.relational import Relational

from derivations.calculus.size import with_constants_named
from derivations.errors import DerivationError, NoClosedForm, brief
from derivations.piecewise import Piece, in_order
from derivations.piecewise.terms import is_zero

#: A condition on the parameters: true, false, or relations.
Condition: TypeAlias = sp.logic.boolalg.Boolean
#: Functions of y and 1/y that, where they tend to a constant, do so as fast as a power; a logarithm does not.
_POWERFUL = {sp.exp, sp.sin, sp.cos, sp.tan, sp.sinh, sp.cosh, sp.tanh, sp.erf, sp.erfc, sp.atan}
_Decision: TypeAlias = Callable[[dict[sp.Symbol, sp.Expr]], Condition]


def converges(log_derivative: sp.Expr, y: sp.Symbol) -> Condition:
    r"""Whether :math:`\int_0 f\,\mathrm{d}y` is finite, given :math:`f'/f`.

    Parameters
    ----------
    log_derivative : Expr
        :math:`f'/f` as a function of y and parameters, in a Hardy field (no oscillation) at :math:`y \to 0^+`.
    y : Symbol
        Positive.

    Returns
    -------
    Boolean
        In the parameters; ``true`` or ``false`` if there are none.

    Raises
    ------
    NoClosedForm
        If the limit cannot be taken.

    Examples
    --------
    >>> y, c = sp.Symbol("y", positive=True), sp.Symbol("c", real=True)
    >>> converges(-c / y, y), converges(-1 / y, y), converges(c / y**2, y)
    (c < 1, False, c >= 0)
    """
    r = reduced(log_derivative)
    order, coefficient = leading(y * r, y)
    if order < 0:  # f is an exponential of a negative power of y: f'/f > 0 means f → 0 as y → 0
        return tidy_condition(_by_sign(coefficient, lambda at: converges(r.subs(at), y)))
    rho = coefficient if order == 0 else sp.S.Zero
    return tidy_condition(_by_sign(rho + 1, lambda at: _critical(r.subs(at), y)))


def _by_sign(value: sp.Expr, at_zero: _Decision) -> Condition:
    """True where the value is positive, false where it is negative; where it is 0, what ``at_zero`` says there."""
    value = sp.factor(value)
    if value.is_positive or value == sp.oo:
        return sp.true
    if value.is_negative or value == -sp.oo:
        return sp.false
    if value == 0:
        return at_zero({})
    strict = relation(value)
    return sp.Or(strict, *(sp.And(sp.Eq(p, root), at_zero({p: root})) for p, root in roots(value)))


def _critical(log_derivative: sp.Expr, y: sp.Symbol) -> Condition:
    """The next scale: with g(u) = y f(y), u = −log y, u g'/g = log(y)·(1 + y f'/f) against −1."""
    rest = reduced(1 + y * reduced(log_derivative))
    if rest == 0:
        return sp.false  # f = 1/y exactly
    if rest.is_rational_function(y) or {f.func for f in rest.atoms(sp.Function) if f.has(y)} <= _POWERFUL:
        return sp.false  # rest vanishes like a power or faster: the factor beside 1/y tends to a constant
    exponent = sp.log(y) * rest
    slope = sp.limit(exponent, y, 0, "+")
    if slope == -1:  # once more, for the logarithm of u
        slope = sp.limit(sp.log(-sp.log(y)) * reduced(1 + exponent), y, 0, "+")
    if slope.free_symbols or slope == -1:
        raise NoClosedForm(
            f"cannot decide whether the integral of a function with f'/f = {brief(log_derivative)} converges; "
            "give the powers of logarithms as numbers"
        )
    return sp.true if slope < -1 else sp.false


def relation(value: sp.Expr) -> Condition:
    """``value > 0``, solved for a parameter that enters linearly with a slope of known sign."""
    for p in sorted(value.free_symbols, key=str):
        slope = sp.expand(sp.diff(value, p))
        if not slope.has(p) and (slope.is_positive or slope.is_negative):
            root = sp.cancel(p - value / slope)
            return p > root if slope.is_positive else p < root
    return value > 0


def roots(value: sp.Expr) -> list[tuple[sp.Symbol, sp.Expr]]:
    """Parameter values at which an expression vanishes, each compatible with the parameter's assumptions."""
    for p in sorted(value.free_symbols, key=str):
        try:
            found = sp.solve(value, p)
        except NotImplementedError:
            continue
        return [(p, root) for root in found if sp.Eq(p, root) != sp.false]
    return []


def leading(expr: sp.Expr, y: sp.Symbol) -> tuple[int, sp.Expr]:
    r"""(order, coefficient) of the leading power of y: order 0 and the limit where that is finite, else the sign of the growth.

    A rational function is read off its lowest coefficients; anything else is asked for its limit.
    """
    expr = reduced(expr)
    if expr == 0:
        return 1, sp.S.Zero
    numerator, denominator = sp.fraction(expr)
    if numerator.is_polynomial(y) and denominator.is_polynomial(y):
        (n, a), (d, b) = (_lowest(sp.Poly(p, y)) for p in (numerator, denominator))
        return n - d, sp.cancel(a / b)
    try:
        value = sp.limit(expr, y, 0, "+")
    except (NotImplementedError, ValueError, TypeError, RecursionError) as error:  # SymPy's, of what oscillates
        raise _unknown_limit(expr, y) from error
    if value.has(sp.oo, -sp.oo):
        return -1, value.subs(sp.oo, 1).replace(sp.sign, lambda inside: inside)
    if value.has(sp.Limit, sp.AccumBounds) or value is sp.nan:
        raise _unknown_limit(expr, y)
    return (1, value) if value == 0 else (0, value)


def _unknown_limit(expr: sp.Expr, y: sp.Symbol) -> NoClosedForm:
    """What to do about it depends on why: a parameter's sign, or functions that have no limit."""
    parameters = sorted(map(str, expr.free_symbols - {y}))
    help_ = (
        f"give {', '.join(parameters)} signs"
        if parameters
        else "what the process does at that end is not decided by it"
    )
    return NoClosedForm(f"the limit of {brief(expr)} at {y} → 0 is not known; {help_}")


def _lowest(poly: sp.Poly) -> tuple[int, sp.Expr]:
    """The least power whose coefficient is not 0: of constants, too, that only their digits tell from 0."""
    for (power,), coefficient in reversed(poly.terms()):
        if not (coefficient.is_number and is_zero(coefficient)):
            return power, coefficient
    raise NoClosedForm(f"whether {brief(poly.as_expr())} is 0 is not decided")


def reduced(expr: sp.Expr) -> sp.Expr:
    """Lowest terms; powers with symbolic exponents are joined first so that quotients of them cancel."""
    return with_constants_named(_reduced, expr)


def _reduced(expr: sp.Expr) -> sp.Expr:
    if expr.is_rational_function():
        return sp.cancel(expr)
    expr = sp.powsimp(sp.expand(expr), deep=True)
    try:
        return sp.cancel(sp.together(expr))
    except sp.PolynomialError:
        return sp.together(expr)


def without_flat_terms(expr: sp.Expr, y: sp.Symbol) -> sp.Expr:
    r"""The expression without :math:`e^{-c/y^k}` and :math:`1 \mp \operatorname{erf}(\pm c/y^k)`, where that leaves a rational function.

    Both vanish faster than every power of y, and so do their derivatives; what is decided here depends on powers only. The
    expression is a quotient of polynomials in y and in these; if the denominator does not vanish with them, they may be put to 0. If it
    does, or where there are other functions, the expression is returned as it is.

    Examples
    --------
    >>> y = sp.Symbol("y", positive=True)
    >>> without_flat_terms(1 / y + 1 / (sp.exp(1 / y**2) + sp.erf(1 / y)), y), without_flat_terms(sp.exp(1 / y), y)
    (1/y, exp(1/y))
    """
    nodes: dict[sp.Expr, sp.Expr] = {}
    flat: dict[sp.Expr, sp.Dummy] = {}
    for node in (n for n in expr.atoms(sp.Function) if n.has(y)):
        inner = sp.expand(node.args[0])
        if not isinstance(node, sp.exp | sp.erf) or not inner.is_rational_function(y):
            return expr
        order, coefficient = leading(inner, y)
        if order >= 0 or not coefficient.is_number:
            return expr
        sign = sp.sign(coefficient)
        small = flat.setdefault(node.func(-sign * inner), sp.Dummy("small"))
        nodes[node] = sign * (1 - small) if isinstance(node, sp.erf) else small**-sign
    if not nodes:
        return expr
    numerator, denominator = sp.fraction(sp.together(expr.xreplace(nodes)))
    gone = dict.fromkeys(flat.values(), 0)
    if not all(e.is_polynomial(y, *gone) for e in (numerator, denominator)):
        return expr
    below = sp.expand(denominator).subs(gone)
    return sp.cancel(sp.expand(numerator).subs(gone) / below) if below != 0 else expr


def tidy_condition(condition: Condition) -> Condition:
    """A condition whose relations all hold a common parameter, as intervals of it; others are returned as they are.

    The relations change their truth values at finitely many points, zeros and poles; the condition is evaluated at these and between them.

    Examples
    --------
    >>> c = sp.Symbol("c", real=True)
    >>> tidy_condition(((c < 1) & ~(c < 0)) | ((c >= 1) & (c < 2)))
    (c >= 0) & (c < 2)
    >>> tidy_condition(1 / (1 - c) > 2)
    (c > 1/2) & (c < 1)
    """
    relations = condition.atoms(Relational)
    shared = set.intersection(*(set(r.free_symbols) for r in relations)) if relations else set()
    for p in sorted(shared, key=str):
        try:
            return _by_cells(condition, p, relations)
        except (DerivationError, NotImplementedError):
            continue
    return condition


def _by_cells(condition: Condition, p: sp.Symbol, relations: set[Relational]) -> Condition:
    least = sp.S.Zero if p.is_positive else -sp.oo
    halves = [sp.fraction(sp.together(r.lhs - r.rhs)) for r in relations]
    points = {root for half in halves for part in half for root in sp.solve(part, p) if root.is_real is not False}
    cuts = [least, *in_order(c for c in points if (c > least) != sp.false), sp.oo]
    found: list[Condition] = []
    start: tuple[sp.Expr, bool] | None = (
        None  # where the interval that is being read begins, and whether it holds there
    )
    for left, right in pairwise(cuts):
        if left != least:
            start = _read(condition, p, left, start, found)
        inside = _truth(condition.subs(p, Piece(left, right, p).interior()))
        if inside and start is None:
            start = (left, False)
        elif not inside and start is not None:
            found.append(_bounds(p, start, (left, True)))
            start = None
    if start is not None:
        found.append(_bounds(p, start, (sp.oo, False)))
    return sp.Or(*found)


def _read(
    condition: Condition, p: sp.Symbol, point: sp.Expr, start: tuple[sp.Expr, bool] | None, found: list[Condition]
) -> tuple[sp.Expr, bool] | None:
    """Pass a single point: it opens an interval, closes one, or is inside one."""
    if _holds_at(condition, p, point):
        return (point, True) if start is None else start
    if start is not None:
        found.append(_bounds(p, start, (point, False)))
    return None


def _holds_at(condition: Condition, p: sp.Symbol, point: sp.Expr) -> bool:
    """False where a formula of the condition has a pole and says nothing."""
    for r in condition.atoms(Relational):
        if sp.fraction(sp.together(r.lhs - r.rhs))[1].subs(p, point).is_zero:
            return False
    return _truth(condition.subs(p, point))


def _truth(value: Condition) -> bool:
    if value not in (sp.true, sp.false):
        raise DerivationError(f"{brief(value)} is not decided by one parameter")
    return bool(value)


def _bounds(p: sp.Symbol, start: tuple[sp.Expr, bool], end: tuple[sp.Expr, bool]) -> Condition:
    (left, with_left), (right, with_right) = start, end
    if left == right:
        return sp.Eq(p, left)
    above = (p >= left) if with_left else (p > left)
    below = (p <= right) if with_right else (p < right)
    least = -sp.oo if not p.is_positive else sp.S.Zero
    return sp.And(above if left != least else sp.true, below if right != sp.oo else sp.true)
