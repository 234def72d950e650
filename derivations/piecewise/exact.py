r"""Zeros of a smooth formula by algebra: products, polynomials, and one function that can be inverted.

Every step has a limit of size, so that nothing here is ever expensive; what it cannot do is left to intervals
(:mod:`~derivations.piecewise.isolate`).
"""

from __future__ import annotations

import sympy as sp

from derivations.piecewise.terms import is_zero

_MOST_DEGREE = 24
_MOST_OPERATIONS = 60  # of a formula that is brought over one denominator or asked for a common factor
_MOST_INVERTED = 12  # functions within functions
#: Odd, increasing, and 0 only at 0.
ODD = (sp.tanh, sp.sinh, sp.asinh, sp.atan, sp.erf, sp.erfi, sp.asin, sp.atanh)
#: Inverses, and the values taken. Of erf none: SymPy does not know that numbers erfinv(c) are real, so that brackets say more.
_INVERSES = {
    sp.tanh: (sp.atanh, -1, 1),
    sp.erf: (None, -1, 1),
    sp.erfc: (None, 0, 2),
    sp.atan: (sp.tan, -sp.pi / 2, sp.pi / 2),
    sp.sinh: (sp.asinh, -sp.oo, sp.oo),
    sp.asinh: (sp.sinh, -sp.oo, sp.oo),
    sp.exp: (sp.log, 0, sp.oo),
    sp.log: (sp.exp, -sp.oo, sp.oo),
    sp.asin: (sp.sin, -sp.pi / 2, sp.pi / 2),
    sp.acos: (sp.cos, 0, sp.pi),
    sp.atanh: (sp.tanh, -sp.oo, sp.oo),
}


def exact_zeros(expr: sp.Expr, x: sp.Symbol, depth: int = 0) -> tuple[sp.Expr, ...] | None:
    """All real zeros of a formula, or None where algebra does not find them.

    Points outside the domain of the formula may be among them.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> exact_zeros(sp.exp(x) - 2, x), exact_zeros(x * sp.erf(x) + x, x), exact_zeros(x - sp.tanh(x), x)
    ((log(2),), (0,), None)
    """
    if depth > _MOST_INVERTED:
        return None
    if not expr.has(x):
        return None if is_zero(expr) else ()
    if expr == x:
        return (sp.S.Zero,)
    if isinstance(expr, sp.exp | sp.cosh | sp.erfc):
        return ()
    if isinstance(expr, (*ODD, sp.Abs)):
        return exact_zeros(expr.args[0], x, depth + 1)
    if isinstance(expr, sp.log):
        return exact_zeros(expr.args[0] - 1, x, depth + 1)
    if expr.is_Mul:
        return _union([exact_zeros(factor, x, depth + 1) for factor in expr.args if factor.has(x)])
    if expr.is_Pow:
        base, exponent = expr.args
        if exponent.has(x) or exponent.is_negative:
            return ()
        return exact_zeros(base, x, depth + 1)
    if expr.is_Add:
        return _zeros_of_sum(expr, x, depth)
    return None


def _union(parts: list[tuple[sp.Expr, ...] | None]) -> tuple[sp.Expr, ...] | None:
    found: list[sp.Expr] = []
    for part in parts:
        if part is None:
            return None
        found += [root for root in part if root not in found]
    return tuple(found)


def _zeros_of_sum(expr: sp.Expr, x: sp.Symbol, depth: int) -> tuple[sp.Expr, ...] | None:
    small = expr.count_ops() <= _MOST_OPERATIONS
    if expr.is_polynomial(x):
        return polynomial_zeros(expr, x)
    factored = factored_sum(expr) if small else expr
    if not factored.is_Add:
        return exact_zeros(factored, x, depth + 1)
    constant, rest = factored.as_independent(x, as_Add=True)
    if not rest.is_Add:
        return _invert(rest, -constant, x, depth)
    generator = _only_generator(factored, x)
    if generator is not None and generator != x:
        y = sp.Dummy("y", real=True)
        inner = factored.xreplace({generator: y})
        if not inner.has(x):
            levels = exact_zeros(inner, y, depth + 1)
            return None if levels is None else _union([_invert(generator, level, x, depth) for level in levels])
    return None


def factored_sum(expr: sp.Expr) -> sp.Expr:
    """Over one denominator and with common factors taken out, as far as that needs no polynomial algebra."""
    joined = sp.together(expr)
    return sp.factor_terms(joined, radical=True)


def _only_generator(expr: sp.Expr, x: sp.Symbol) -> sp.Expr | None:
    """The one function, if there is one, through which alone a formula depends on x."""
    functions = {f for f in expr.atoms(sp.Function) if f.has(x)}
    outer = [f for f in functions if not any(f != g and g.has(f) for g in functions)]
    return outer[0] if len(outer) == 1 else None


def polynomial_zeros(expr: sp.Expr, x: sp.Symbol) -> tuple[sp.Expr, ...] | None:
    """Real roots: in closed form up to degree 2, else as SymPy's algebraic numbers; None beyond a bound on the degree."""
    bounded = sp.Poly(expr, x) if _degree_bound(expr, x) <= _MOST_DEGREE else None
    if bounded is None:
        return None
    if bounded.degree() == 1:
        a, b = bounded.all_coeffs()
        return (sp.cancel(-b / a) if a.free_symbols or b.free_symbols else -b / a,)
    if all(c.is_Rational for c in bounded.all_coeffs()):
        return tuple(dict.fromkeys(bounded.real_roots()))
    if bounded.degree() == 2 and not bounded.free_symbols_in_domain:
        a, b, c = bounded.all_coeffs()
        square = sp.expand(b**2 - 4 * a * c)
        if is_zero(square):
            return (-b / (2 * a),)
        if square.is_negative:
            return ()
        return (-b - sp.sqrt(square)) / (2 * a), (-b + sp.sqrt(square)) / (2 * a)
    return None


def _degree_bound(expr: sp.Expr, x: sp.Symbol) -> int:
    """The degree, or more, without expanding anything."""
    if expr.is_Add:
        return max(_degree_bound(a, x) for a in expr.args)
    if expr.is_Mul:
        return sum(_degree_bound(a, x) for a in expr.args)
    if expr.is_Pow and expr.has(x):
        return _degree_bound(expr.base, x) * int(expr.exp)
    return int(expr == x)


def _invert(function: sp.Expr, level: sp.Expr, x: sp.Symbol, depth: int) -> tuple[sp.Expr, ...] | None:
    """Where a formula takes a value, by undoing its outermost operation."""
    if is_zero(level):
        return exact_zeros(function, x, depth + 1)
    coefficient, function = function.as_independent(x, as_Add=False)
    level = level / coefficient
    if function == x:
        return (level,)
    if function.is_Add:
        return exact_zeros(function - level, x, depth + 1)
    if isinstance(function, sp.Abs):
        if level.is_negative:
            return ()
        return _union([exact_zeros(function.args[0] - s * level, x, depth + 1) for s in (1, -1)])
    if function.is_Pow and not function.exp.has(x):
        return _invert_power(function, level, x, depth)
    if type(function) in _INVERSES:
        inverse, least, most = _INVERSES[type(function)]
        above, below = _positive(level - least), _positive(most - level)
        if above is False or below is False:
            return ()
        if above and below and inverse is not None:
            return exact_zeros(function.args[0] - inverse(level), x, depth + 1)
    return None


def _positive(number: sp.Expr) -> bool | None:
    known = sp.sympify(number).is_extended_positive
    return False if known is None and is_zero(number) else known


def _invert_power(power: sp.Expr, level: sp.Expr, x: sp.Symbol, depth: int) -> tuple[sp.Expr, ...] | None:
    base, exponent = power.args
    if not exponent.is_Rational:
        return None
    positive = _positive(level)
    if positive is None:
        return None
    root = sp.Abs(level) ** (1 / exponent)
    if exponent.p % 2 and exponent.q == 1:  # odd powers take every value
        values = [root if positive else -root]
    elif not positive:
        return ()
    else:
        values = [root, -root] if exponent.q == 1 else [root]
    return _union([exact_zeros(base - value, x, depth + 1) for value in values])
