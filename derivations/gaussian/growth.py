r"""Whether a function of several real numbers, with kinks or without, grows so slowly that it has a mean under every Gaussian law."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp
from sympy.core.relational import Relational

#: Between two numbers on the whole real line, with all derivatives.
_BOUNDED = (sp.tanh, sp.sin, sp.cos, sp.erf, sp.erfc, sp.atan)
#: No larger than their arguments, or than 1.
_KINKED = (sp.Abs, sp.Max, sp.Min, sp.sign, sp.Heaviside)


def grows_moderately(expr: sp.Expr, variables: Sequence[sp.Symbol]) -> bool:
    r"""Whether a function is seen to be smooth but for kinks and jumps, and at most :math:`e^{c(1 + |z|)}`.

    Sums and products of such functions are, so the mean of a product of several of them exists too, whatever the covariance; that of
    :math:`e^{z_1 z_2}` does not where variances are large.

    Parameters
    ----------
    expr : Expr
        Real, of real variables.
    variables : sequence of Symbol

    Examples
    --------
    >>> a, b = sp.symbols("a b", real=True)
    >>> [grows_moderately(f, (a, b)) for f in (a * sp.tanh(a * b), sp.exp(a - (a - b) ** 2), sp.log(1 + sp.exp(a * b)))]
    [True, True, True]
    >>> [grows_moderately(f, (a, b)) for f in (sp.exp(a * b), sp.Max(a, sp.exp(b**2)), a / b)]
    [False, False, False]
    >>> grows_moderately(sp.Max(a, b + a**2), (a, b))
    True
    >>> u = sp.exp(a * b)
    >>> [grows_moderately(f, (a, b)) for f in (u / (1 + u) ** 2, u**2 / (1 + u))]
    [True, False]
    """
    variables = [v for v in variables if expr.has(v)]
    return _moderate(sp.powsimp(expr, combine="exp", deep=True), variables)


def _moderate(expr: sp.Expr, variables: Sequence[sp.Symbol]) -> bool:
    if not expr.has(*variables):
        return True
    if expr.is_Symbol:
        return True
    if expr.is_Mul:
        return _moderate_product(expr, variables)
    if expr.is_Add:
        return all(_moderate(part, variables) for part in expr.args)
    if isinstance(expr, sp.exp):
        return _bounded_above(expr.args[0], variables)
    if expr.is_Pow:
        return _moderate_power(expr.base, expr.exp, variables)
    if isinstance(expr, _BOUNDED):
        return _regular(expr.args[0], variables)
    if isinstance(expr, _KINKED):
        return all(_moderate(part, variables) for part in expr.args)
    if isinstance(expr, sp.Piecewise):
        return all(_moderate(value, variables) for value, _ in expr.args) and _regular(expr, variables)
    if isinstance(expr, sp.cosh | sp.sinh):
        return _degree(expr.args[0], variables) == 1
    if isinstance(expr, sp.asinh):
        return _moderate(expr.args[0], variables)
    if isinstance(expr, sp.log):  # as of 1 + e^u, no more than a constant plus |u|
        parts = expr.args[0].args
        return away_from_zero(expr.args[0], variables) and all(
            _moderate(part.args[0] if isinstance(part, sp.exp) else part, variables) for part in parts
        )
    return False


def _moderate_product(product: sp.Expr, variables: Sequence[sp.Symbol]) -> bool:
    """Also with exponentials that their denominators outgrow, as the slope of a sigmoid has them."""
    fast = [f for f in product.args if isinstance(f, sp.exp) and not _moderate(f, variables)]
    if not all(_moderate(f, variables) for f in product.args if f not in fast):
        return False
    exponent = sp.expand(sp.Add(*(f.args[0] for f in fast)))
    rooms = [(_exponents(p.base), -p.exp) for p in product.args if p.is_Pow and p.exp.is_negative]
    if any((q := _share(exponent, u)) is not None and q <= room for own, room in rooms for u in own):
        return True
    for term in sp.Add.make_args(exponent):
        if _bounded_above(term, variables):
            continue
        found = next(
            (
                (i, q)
                for i, (own, room) in enumerate(rooms)
                for u in own
                if (q := _share(term, u)) is not None and q <= room
            ),
            None,
        )
        if found is None:
            return False
        i, q = found
        rooms[i] = rooms[i][0], rooms[i][1] - q
    return True


def _exponents(base: sp.Expr) -> list[sp.Expr]:
    """Of the exponentials among the terms of a positive sum."""
    parts = (term.as_coeff_Mul() for term in sp.Add.make_args(base))
    return [e.args[0] for c, e in parts if isinstance(e, sp.exp) and c.is_positive]


def _share(term: sp.Expr, unit: sp.Expr) -> sp.Expr | None:
    """How many units a term is, where that is a number that is not negative."""
    found = sp.cancel(term / unit)
    return found if found.is_number and found.is_nonnegative else None


def _moderate_power(base: sp.Expr, power: sp.Expr, variables: Sequence[sp.Symbol]) -> bool:
    if power.is_Integer and power > 0:
        return _moderate(base, variables)
    if not (power.is_number and power.is_real) or not away_from_zero(base, variables):
        return False
    return bool(power < 0) or _moderate(base, variables)


def away_from_zero(base: sp.Expr, variables: Sequence[sp.Symbol]) -> bool:
    """Whether a function of real variables is seen to be at least some positive number, as 1 + e^u.

    Examples
    --------
    >>> a, b = sp.symbols("a b", real=True)
    >>> [away_from_zero(f, (a, b)) for f in (1 + sp.exp(a * b), 1 + a, sp.exp(a))]
    [True, False, False]
    """
    if isinstance(base, sp.cosh):
        return _regular(base.args[0], variables)
    if not base.is_Add:
        return False
    constant, rest = base.as_independent(*variables, as_Add=True)
    return bool(constant.is_positive) and bool(rest.is_nonnegative) and _regular(rest, variables)


def _regular(expr: sp.Expr, variables: Sequence[sp.Symbol]) -> bool:
    """Whether a function is seen to be finite everywhere and to have all derivatives but for kinks and jumps, however it grows."""
    if not expr.has(*variables) or expr.is_Symbol:
        return True
    if isinstance(expr, sp.Piecewise):
        sides = (side for _, holds in expr.args for c in holds.atoms(Relational) for side in c.args)
        return all(_regular(part, variables) for part in (*(value for value, _ in expr.args), *sides))
    if expr.is_Pow and not (expr.exp.is_Integer and expr.exp > 0):
        return bool(expr.exp.is_number) and away_from_zero(expr.base, variables)
    known = expr.is_Add or expr.is_Mul or expr.is_Pow
    known = known or isinstance(expr, (sp.exp, sp.cosh, sp.sinh, sp.asinh, *_BOUNDED, *_KINKED))
    return bool(known) and all(_regular(part, variables) for part in expr.args)


def _degree(expr: sp.Expr, variables: Sequence[sp.Symbol]) -> int | None:
    """As a polynomial; None for others."""
    return sp.Poly(expr, *variables).total_degree() if expr.is_polynomial(*variables) else None


def _bounded_above(exponent: sp.Expr, variables: Sequence[sp.Symbol]) -> bool:
    """Whether an exponent is at most linear: a polynomial of degree 1, or of degree 2 that curves nowhere upwards."""
    degree = _degree(exponent, variables)
    if degree == 2:
        curvature = sp.hessian(exponent, variables)
        return bool(all(entry.is_number for entry in curvature) and (-curvature).is_positive_semidefinite)
    if degree == 1:
        return True
    return bool(exponent.is_nonpositive) and _regular(exponent, variables)
