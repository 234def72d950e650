r"""Integrals of powers times exponentials of powers, :math:`c\,p^\alpha e^{\beta p^r}`, on a half-line or the line.

Such are the densities of scale and speed of Brownian motion with drift, geometric Brownian motion, Bessel processes,
the Ornstein–Uhlenbeck and the square-root process, and every drift and noise that are powers. Term by term in the
exponential's series

.. math:: \int p^\alpha e^{\beta p^r}\,\mathrm{d}p = \frac{p^{\alpha+1}}{\alpha+1}\,
          {}_1F_1\bigl(a;\,a+1;\,\beta p^r\bigr), \qquad a = \tfrac{\alpha+1}{r},

and by Kummer's transformation :math:`{}_1F_1(a; a+1; z) = e^z\,{}_1F_1(1; a+1; -z)`, in which form the exponential cancels
against that of a reciprocal density before the next integration.
"""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp
from sympy.functions.elementary.hyperbolic import HyperbolicFunction


class PowerExponential(NamedTuple):
    r""":math:`c\,p^\alpha e^{\beta p^r}`; without an exponential :math:`\beta = 0` and r = 1."""

    constant: sp.Expr
    power: sp.Expr
    rate: sp.Expr
    order: sp.Expr


def parse(expr: sp.Expr, p: sp.Symbol) -> PowerExponential | None:
    """A product read as a power times the exponential of a power; None if it is not one.

    Examples
    --------
    >>> p = sp.Symbol("p", positive=True)
    >>> parse(3 * sp.exp(-2 * p**2) / p, p)
    PowerExponential(constant=3, power=-1, rate=-2, order=2)
    """
    constant, moving = sp.powsimp(sp.powdenest(expr)).as_independent(p, as_Add=False)
    power, exponent = sp.S.Zero, sp.S.Zero
    for factor in sp.Mul.make_args(moving):
        if isinstance(factor, sp.exp):
            exponent += factor.args[0]
            continue
        base, own = factor.as_base_exp()
        if base == p and not own.has(p):
            power += own
        elif factor != 1:
            return None
    free, exponent = sp.expand(exponent).as_independent(p, as_Add=True)
    rate, inner = exponent.as_independent(p, as_Add=False)
    base, order = inner.as_base_exp()
    if exponent == 0:
        rate, order = sp.S.Zero, sp.S.One
    elif base != p or order.has(p):
        return None
    return PowerExponential(constant * sp.exp(free), sp.expand(power), rate, order)


def antiderivative(expr: sp.Expr, p: sp.Symbol, nonzero: set[sp.Expr]) -> sp.Expr | None:
    """An antiderivative, for the parameters at which none of the expressions added to ``nonzero`` vanishes.

    Returns
    -------
    Expr or None
        None where none is known that holds for all other parameters.

    Examples
    --------
    >>> p, k = sp.Symbol("p", positive=True), sp.Symbol("k", real=True)
    >>> needed = set()
    >>> antiderivative(p ** (2 * k), p, needed), needed
    (p**(2*k + 1)/(2*k + 1), {2*k + 1})
    """
    terms = [parse(term, p) for term in sp.Add.make_args(expr)]
    if None in terms:
        opened = expr.rewrite(sp.exp) if expr.has(HyperbolicFunction) else expr
        terms = [parse(term, p) for term in sp.Add.make_args(sp.expand(opened, power_exp=False, power_base=False))]
    if all(term is not None for term in terms):
        found = [_one(term, p, nonzero) for term in terms if term is not None]
        return None if None in found else sp.Add(*(f for f in found if f is not None))
    value = _searched(expr, p)
    if value is None or value.has(sp.Integral, sp.Piecewise, sp.RootSum, sp.uppergamma, sp.expint, sp.I):
        return None
    return value


def _searched(expr: sp.Expr, p: sp.Symbol) -> sp.Expr | None:
    """By partial fractions, in p or in an exponential of it; else by SymPy's rules, where their search ends."""
    if expr.is_rational_function(p):
        return sp.integrate(expr, p)
    u = sp.Dummy("u", positive=True)
    rate, opened = _in_exponential(expr, p, u)
    if opened is not None:
        return sp.integrate(sp.cancel(opened / (rate * u)), u).subs(u, sp.exp(rate * p))
    terms = sp.Add.make_args(sp.expand(expr, power_exp=False, power_base=False))
    if expr.has(sp.I) or not all(_is_searched(term, p) for term in terms):
        return None
    from sympy.integrals.manualintegrate import manualintegrate
    from sympy.integrals.trigonometry import trigintegrate

    found = [manualintegrate(term, p) for term in terms]
    return sp.Add(*(trigintegrate(t, p) or f if f.has(sp.Integral) else f for t, f in zip(terms, found, strict=True)))


def _is_searched(term: sp.Expr, p: sp.Symbol) -> bool:
    """A power of p times one function of a polynomial, or its square: of products of two SymPy's search may take minutes."""
    _, moving = term.as_independent(p, as_Add=False)
    others = [
        factor for factor in sp.Mul.make_args(moving) if not (factor.is_polynomial(p) and factor.as_base_exp()[0] == p)
    ]
    if any(not inner.is_polynomial(p) for node in term.atoms(sp.Function) for inner in node.args):
        return False  # an exponential of an arctangent, say, over which the rules go round in circles
    powers = [sp.S.One if isinstance(factor, sp.exp) else abs(factor.as_base_exp()[1]) for factor in others]
    return len(powers) <= 1 and all(power.is_number and power <= 2 for power in powers)


def _in_exponential(expr: sp.Expr, p: sp.Symbol, u: sp.Symbol) -> tuple[sp.Expr, sp.Expr | None]:
    """The rate k of an exponential u = exp(k p) in which a formula is rational, and the formula in it; None where there is none."""
    written = sp.powsimp(expr.rewrite(sp.exp)) if expr.has(HyperbolicFunction) else expr
    slopes = {node: sp.diff(node.args[0], p) for node in written.atoms(sp.exp) if node.has(p)}
    if not slopes or any(not k.is_Rational for k in slopes.values()):
        return sp.S.Zero, None
    rate = sp.gcd_list(list(slopes.values()))
    powers = {node: sp.exp(node.args[0].subs(p, 0)) * u ** (k / rate) for node, k in slopes.items()}
    opened = written.xreplace(powers)
    return rate, opened if opened.is_rational_function(u) and not opened.has(p) else None


def _one(term: PowerExponential, p: sp.Symbol, nonzero: set[sp.Expr]) -> sp.Expr | None:
    c, alpha, beta, r = term
    if beta == 0:
        if sp.expand(alpha + 1) == 0:
            return c * sp.log(p)
        _note(alpha + 1, nonzero)
        return c * p ** (alpha + 1) / sp.expand(alpha + 1)
    if r == 1 and alpha.is_Integer and alpha >= 0:
        _note(beta, nonzero)
        parts = ((-1) ** k * sp.ff(alpha, k) * p ** (alpha - k) / beta ** (k + 1) for k in range(int(alpha) + 1))
        return c * sp.Add(*parts) * sp.exp(beta * p)
    a = sp.cancel((alpha + 1) / r)
    if not _never_a_pole(a):
        return None
    return c * p ** (alpha + 1) / (alpha + 1) * sp.exp(beta * p**r) * sp.hyper([1], [a + 1], -beta * p**r)


def product_antiderivative(outer: sp.Expr, inner: sp.Expr, p: sp.Symbol) -> sp.Expr | None:
    r""":math:`\int s(p) \int^p m`, where the exponentials of s and m cancel: a :math:`{}_2F_2`; None where none is known.

    *Derivation.* :math:`\int^p m = \tfrac{c}{\alpha+1} p^{\alpha+1} e^{\beta p^r}\,{}_1F_1(1; a+1; -\beta p^r)`. Times s the powers
    join to :math:`p^\kappa`, and the series is integrated term by term; for :math:`\kappa = -1` its first term is a logarithm.
    """
    s, m = parse(outer, p), parse(inner, p)
    if s is None or m is None or m.rate == 0 or s.order != m.order or sp.expand(s.rate + m.rate) != 0:
        return None
    r, a = m.order, sp.cancel((m.power + 1) / m.order)
    kappa = sp.expand(s.power + m.power + 1)
    z = -m.rate * p**r
    front = s.constant * m.constant / (m.power + 1)
    b = sp.cancel((kappa + 1) / r)
    if not _never_a_pole(a):
        return None
    if b == 0:
        return front * (sp.log(p) + z / (r * (a + 1)) * sp.hyper([1, 1], [a + 2, 2], z))
    if not _never_a_pole(b):
        return None
    return front * p ** (kappa + 1) / (kappa + 1) * sp.hyper([1, b], [a + 1, b + 1], z)


def at_end(value: sp.Expr, slope: sp.Expr, p: sp.Symbol, end: sp.Expr) -> sp.Expr | None:
    r"""The limit of an antiderivative at an end; None where it is infinite or not known.

    For the antiderivative that vanishes at 0 of :math:`c\,p^\alpha e^{\beta p^r}`, :math:`\beta < 0 < r`, it is at infinity
    :math:`c\,\Gamma(a)/(r(-\beta)^a)`, and its image under :math:`p \to -p` at minus infinity.
    """
    if end.is_finite or not end.is_infinite:
        at = value.subs(p, end)
        if at.is_finite or (at.is_finite is None and not at.has(sp.nan, sp.zoo, sp.oo)):
            return at
    term = parse(slope, p)
    if end.is_infinite and term is not None and value.has(sp.hyper):
        c, alpha, beta, r = term
        a = sp.cancel((alpha + 1) / r)
        if not (beta.is_negative and r.is_positive and a.is_positive):
            return None
        size = c * sp.gamma(a) / (r * (-beta) ** a)
        if end == sp.oo:
            return size
        return -((-1) ** alpha) * size if r.is_even and alpha.is_integer else None
    try:
        at = sp.limit(value, p, end, "-" if end == sp.oo else "+")
    except (NotImplementedError, ValueError, TypeError):
        return None
    return at if at.is_finite and not at.has(sp.Limit) else None


def _note(value: sp.Expr, nonzero: set[sp.Expr]) -> None:
    if not value.is_zero and value.is_zero is not False:
        nonzero.add(sp.expand(value))


def _never_a_pole(value: sp.Expr) -> bool:
    """Whether a number is none of 0, −1, −2, …, for all parameters."""
    return bool(value.is_positive or value.is_integer is False)
