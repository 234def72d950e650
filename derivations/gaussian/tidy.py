"""Exact expressions in a form fit to read: one summand per transcendental and radical factor."""

from __future__ import annotations

import sympy as sp


def spread(expr: sp.Expr) -> sp.Expr:
    """Multiply sums out, and touch neither denominators, radicals nor arguments of functions.

    Examples
    --------
    >>> x, y = sp.symbols("x y")
    >>> spread((1 + x) * sp.exp(x * (1 + y)) / (x * (1 + y)))
    exp(x*(y + 1))/(y + 1) + exp(x*(y + 1))/(x*(y + 1))
    """
    names = {
        node: sp.Dummy()
        for node in sorted(expr.atoms(sp.Function, sp.Pow), key=sp.default_sort_key)
        if not _is_natural_power(node)
    }
    return sp.expand(expr.xreplace(names)).xreplace({dummy: node for node, dummy in names.items()})


def _is_natural_power(node: sp.Expr) -> bool:
    return isinstance(node, sp.Pow) and bool(node.exp.is_Integer and node.exp.is_positive)


def tidy(expr: sp.Expr) -> sp.Expr:
    """Collect the rational coefficient of each product of radicals, exponentials, erfs and arcsines.

    Parameters
    ----------
    expr : Expr
        Sums and products of rational functions with square roots, ``exp``, ``erf``, ``asin``.

    Examples
    --------
    >>> a = sp.Symbol("a", positive=True)
    >>> tidy(a * sp.sqrt(a + 1) / (a + 1) + sp.sqrt(a + 1) / (a + 1))
    sqrt(a + 1)
    """
    groups: dict[sp.Expr, sp.Expr] = {}
    for term in sp.Add.make_args(spread(real_form(expr))):
        kept, rational, exponent = sp.S.One, sp.S.One, sp.S.Zero
        for factor in sp.Mul.make_args(term):
            if isinstance(factor, sp.exp):
                exponent += factor.args[0]
            else:
                special, plain = _split(factor)
                kept, rational = kept * special, rational * plain
        kept *= sp.exp(_fraction(exponent)) if exponent != 0 else 1
        groups[kept] = groups.get(kept, sp.S.Zero) + rational
    return sp.Add(*(_product(kept, rational) for kept, rational in groups.items()))


def _split(factor: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """A factor as (radical or transcendental, rational), radicals to the power one half, without content."""
    base, exponent = factor.as_base_exp()
    if isinstance(exponent, sp.Rational) and not base.has(sp.Function, sp.pi) and base != sp.E:
        whole = sp.floor(exponent)
        content, primitive = sp.expand(base).as_content_primitive()
        return content ** (exponent - whole) * primitive ** (exponent - whole), base**whole
    return factor, sp.S.One


def _product(kept: sp.Expr, rational: sp.Expr) -> sp.Expr:
    """Radicals times a rational function in lowest terms, with radicands taken out of the latter."""
    if _is_polynomial(rational):
        return kept * _fraction(rational)
    above, below = sp.fraction(sp.cancel(sp.together(rational)))
    for radicand in {power.base for power in kept.atoms(sp.Pow) if power.exp == sp.S.Half and power.base.is_Add}:
        below, times = _divided(below, radicand)
        kept *= radicand**-times
    return kept * _fraction(above / below)


def _divided(expr: sp.Expr, divisor: sp.Expr) -> tuple[sp.Expr, int]:
    """An expression without its factors ``divisor``, and how many there were."""
    times = 0
    symbols = tuple(divisor.free_symbols)
    while symbols and expr.is_polynomial(*symbols) and divisor.is_polynomial(*symbols):
        quotient, remainder = sp.div(expr, divisor, *symbols)
        if remainder != 0 or quotient == 0:
            break
        expr, times = quotient, times + 1
    return expr, times


def _fraction(expr: sp.Expr) -> sp.Expr:
    """A quotient of polynomials, contents in front, the denominator in factors."""
    if _is_polynomial(expr):  # nothing to cancel, which takes long for many symbols
        content, above = sp.expand(expr).as_content_primitive()
        return sp.Mul(content, sp.factor_terms(above))
    above, below = sp.fraction(sp.cancel(sp.together(expr)))
    (p, above), (q, below) = above.as_content_primitive(), sp.factor(below).as_content_primitive()
    return sp.Mul(p / q, sp.factor_terms(above), 1 / below)


def _is_polynomial(expr: sp.Expr) -> bool:
    return all(map(_is_natural_power, expr.atoms(sp.Pow)))


def real_form(expr: sp.Expr) -> sp.Expr:
    r"""Euler's formula in every exponential with an imaginary part; all parameters are real.

    Examples
    --------
    >>> w = sp.Symbol("w", real=True)
    >>> sp.expand(real_form(sp.exp(sp.I * w) + sp.exp(-sp.I * w)))
    2*cos(w)
    """
    rules = {}
    for node in (node for node in expr.atoms(sp.exp, sp.erf) if node.has(sp.I)):
        argument = sp.expand(node.args[0])
        imaginary = argument.coeff(sp.I)
        real = sp.expand(argument - sp.I * imaginary)
        if isinstance(node, sp.exp):
            rules[node] = sp.exp(real) * (sp.cos(imaginary) + sp.I * sp.sin(imaginary))
        elif real == 0:
            rules[node] = sp.I * sp.erfi(imaginary)
    return expr.xreplace(rules)
