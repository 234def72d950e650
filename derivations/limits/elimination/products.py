"""Polynomials in averages, multiplied out: in a ring, which is several times as fast as formulas."""

from __future__ import annotations

import math
from functools import lru_cache

import sympy as sp
from sympy.polys.domains import QQ
from sympy.polys.orderings import lex
from sympy.polys.rings import PolyElement, PolyRing

from derivations.binding import Binding
from derivations.gaussian.joint import GaussianJointExpectation
from derivations.gaussian.node import GaussianMean
from derivations.gaussian.softmax import SoftmaxMean


def expanded(expr: sp.Expr, **hints: bool) -> sp.Expr:
    """The sum of products that ``sp.expand`` gives; ``is_factor`` marks nodes that are multiplied out as symbols are.

    Symbols, averages and functions are leaves of a polynomial, which is multiplied out in a ring; what stands over a sum goes to SymPy.

    Examples
    --------
    >>> x, y = sp.symbols("x y")
    >>> expanded((x + y) ** 2 / y), expanded(sp.exp(x * (x + 1)) * (x + 1))
    (x**2/y + 2*x + y, x*exp(x)*exp(x**2) + exp(x)*exp(x**2))
    """
    leaves: dict[sp.Expr, int] = {}
    if _is_polynomial(expr, leaves, hints):
        inside = [_opened(leaf, **hints) for leaf in leaves]
        if not any(arg.is_Add for term in sp.Add.make_args(expr) for arg in _factors(term)):
            rule = {leaf: new for leaf, new in zip(leaves, inside, strict=True) if new != leaf}
            return expr.xreplace(rule) if rule else expr
        ring = PolyRing([sp.Dummy() for _ in leaves], QQ, lex)
        found = _multiplied(expr, dict(zip(leaves, ring.gens, strict=True)), ring)
        roots = [i for i, leaf in enumerate(leaves) if leaf.is_Pow and leaf.base.is_Add and leaf.exp.is_positive]
        if not any(powers[i] > 1 for powers in found.monoms() for i in roots):
            return _written(found, inside)
    means: dict[GaussianMean, sp.Symbol] = {}
    named = sp.expand(_with_names(expr, means), **hints)
    return named.xreplace({name: _opened(mean, **hints) for mean, name in means.items()})


def _with_names(expr: sp.Expr, names: dict[GaussianMean, sp.Symbol]) -> sp.Expr:
    """Names for Gaussian means outside averages and other nodes with bound variables, on which they may depend."""
    if isinstance(expr, GaussianMean):
        return names.setdefault(expr, sp.Dummy("E", real=True))
    if not expr.args or isinstance(expr, Binding) or getattr(expr, "is_factor", False):
        return expr
    args = [_with_names(arg, names) for arg in expr.args]
    return expr if all(new is old for new, old in zip(args, expr.args, strict=True)) else expr.func(*args)


@lru_cache(maxsize=4096)
def _opened(leaf: sp.Expr, **hints: bool) -> sp.Expr:
    """A leaf with its parts multiplied out, so that equal ones look the same; means over softmax shares are put together instead."""
    if leaf.is_Symbol or getattr(leaf, "is_factor", False) or isinstance(leaf, GaussianJointExpectation):
        return leaf
    if leaf.is_Pow and leaf.base.is_Add and leaf.exp.is_negative:
        return _opened(leaf.base, **hints) ** leaf.exp
    return sp.expand(leaf, **hints)


def number_of_terms(expr: sp.Expr) -> int:
    """At most how many terms a formula has, or one inside it, when all is multiplied out.

    Examples
    --------
    >>> x, y = sp.symbols("x y")
    >>> number_of_terms((x + y + 1) ** 2 * (x - y))
    12
    """
    if expr.is_Add:
        return sum(map(number_of_terms, expr.args))
    if expr.is_Mul:
        return math.prod(map(number_of_terms, expr.args))
    if expr.is_Pow and expr.exp.is_Integer and expr.exp > 1:
        return math.comb(number_of_terms(expr.base) + int(expr.exp) - 1, int(expr.exp))
    return max(map(number_of_terms, expr.args), default=1)


def _factors(term: sp.Expr) -> list[sp.Expr]:
    return [factor.base if factor.is_Pow else factor for factor in sp.Mul.make_args(term)]


def _is_polynomial(expr: sp.Expr, leaves: dict[sp.Expr, int], hints: dict[str, bool]) -> bool:
    """Whether an expression is one in leaves, which are noted."""
    if expr.is_Rational:
        return True
    if expr.is_Add or expr.is_Mul:
        return all(_is_polynomial(arg, leaves, hints) for arg in expr.args)
    if expr.is_Pow and expr.exp.is_Integer and expr.exp > 0:
        return _is_polynomial(expr.base, leaves, hints)
    if _is_leaf(expr, hints):
        leaves.setdefault(expr, len(leaves))
        return True
    return False


def _is_leaf(expr: sp.Expr, hints: dict[str, bool]) -> bool:
    """Whether products and powers of it are what multiplying out leaves; square roots of sums are while none is squared."""
    root = expr.is_Pow and expr.exp.is_Rational
    base = expr.base if root else expr
    if getattr(base, "is_factor", base.is_Symbol or base.is_Rational or base.is_NumberSymbol):
        return True
    if root:
        return bool((expr.exp == sp.S.Half or expr.exp.is_negative) and base.is_Add and _opened(expr, **hints) == expr)
    return isinstance(expr, GaussianMean | SoftmaxMean) or (
        isinstance(expr, sp.Function) and not _opened(expr, **hints).is_Add
    )


def _multiplied(expr: sp.Expr, known: dict[sp.Expr, PolyElement], ring: PolyRing) -> PolyElement:
    if expr.is_Rational:
        return ring.ground_new(QQ(expr.p, expr.q))
    if expr in known:
        return known[expr]
    if expr.is_Pow:
        return _multiplied(expr.base, known, ring) ** int(expr.exp)
    parts = [_multiplied(arg, known, ring) for arg in expr.args]
    total = ring.zero if expr.is_Add else ring.one
    for part in parts:
        total = total + part if expr.is_Add else total * part
    return total


def _written(polynomial: PolyElement, leaves: list[sp.Expr]) -> sp.Expr:
    terms = []
    for powers, c in polynomial.terms():
        factors = (leaf**power for leaf, power in zip(leaves, powers, strict=True) if power)
        terms.append(sp.Mul(sp.Rational(int(c.numerator), int(c.denominator)), *factors))
    return sp.Add(*terms)
