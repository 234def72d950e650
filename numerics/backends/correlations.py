r"""Angles of correlations by the root of their determinant, for targets of fixed precision.

:math:`\arcsin(c/\sqrt{ab})` loses half of the digits where :math:`c^2 \to ab`, as for two inputs that are nearly equal;
:math:`\mathrm{atan2}(c, \sqrt{ab - c^2})` does not.
"""

from __future__ import annotations

from functools import lru_cache

import sympy as sp

from derivations.binding import bound_symbol
from numerics.backends.kinks import Where
from numerics.backends.variables import variables

#: Where a root and a correlation are compared.
_POINTS = (sp.Rational(7, 5), sp.Rational(23, 9))


def correlation_angles(expr: sp.Expr) -> sp.Expr:
    r"""Write the angle of a correlation and roots of its determinant by one root, whose rounding then cancels between them.

    In the mean of a product of kinked functions :math:`\arcsin(c/\sqrt{ab})` and :math:`\sqrt{ab - c^2}` cancel up to
    :math:`(1 - \rho)^{3/2}`. At a singular covariance the determinant is 0 however it is rounded.

    Examples
    --------
    >>> a, b = sp.symbols("a b", positive=True)
    >>> c = sp.Symbol("c", real=True)
    >>> correlation_angles(c * sp.asin(c / (sp.sqrt(a) * sp.sqrt(b))) + sp.sqrt(a * b - c**2))
    c*atan2(c, sqrt(Max(0, a*b - c**2))) + sqrt(Max(0, a*b - c**2))
    """
    if not expr.has(sp.asin):
        return expr
    names: dict[sp.Expr, sp.Symbol] = {}
    plain = _algebraic(expr, names)
    written: list[dict[sp.Expr, sp.Expr]] = []
    # an angle inside another one is a number of that one's covariance
    while inner := [angle for angle in plain.atoms(sp.asin) if not angle.args[0].has(sp.asin)]:
        angles, roots = _by_one_root(inner, plain)
        turned = {angle: bound_symbol(f"angle{len(written)}", k, real=True) for k, angle in enumerate(angles, 1)}
        written.append({name: angles[angle] for angle, name in turned.items()})
        plain = plain.xreplace(turned | roots)
    for formulas in reversed(written):
        plain = plain.xreplace(formulas)
    inside = {name: node.func(*map(correlation_angles, node.args)) for node, name in names.items() if node.has(sp.asin)}
    return plain.xreplace({name: node for node, name in names.items()} | inside)


def _by_one_root(angles: list[sp.Expr], expr: sp.Expr) -> tuple[dict[sp.Expr, sp.Expr], dict[sp.Expr, sp.Expr]]:
    """Angles by their determinants' roots, and the roots of multiples of these in an expression by the same ones."""
    read = {angle: _determinant(angle.args[0]) for angle in angles}
    known = {determinant: product for _, determinant, product in filter(None, read.values())}
    halves = [p for p in expr.atoms(sp.Pow) if p.exp.is_Rational and p.exp.q == 2 and p.base.is_Add]
    roots = {p: found for p in halves if not p.has(sp.asin) and (found := _rooted(p, known)) is not None}
    cancel = {determinant for determinant, _ in roots.values()} | {d for d in known if _can_vanish(d)}
    floored = {
        p: _floored(p.base) ** p.exp
        for p in halves
        if p not in roots and len(p.free_symbols) > 1 and any(_is_complement(p.base, a.args[0]) for a in angles)
    }
    turned = {p: root for p, (_, root) in roots.items()}
    return {a: _by_root(a, found, cancel) for a, found in read.items()}, turned | floored


def _by_root(angle: sp.Expr, found: tuple[sp.Expr, sp.Expr, sp.Expr] | None, cancel: set[sp.Expr]) -> sp.Expr:
    if found is None or found[1] not in cancel:
        return sp.asin(_in_bounds(angle.args[0])) if len(variables(angle)) > 1 else angle
    covariance, determinant, _ = found
    return sp.sign(covariance) * sp.pi / 2 if determinant == 0 else sp.atan2(covariance, sp.sqrt(_floored(determinant)))


def _in_bounds(correlation: sp.Expr) -> sp.Expr:
    """A correlation that rounding takes beyond ±1, as that of two numbers of one neuron, is ±1."""
    beyond = sp.And(sp.Gt(sp.Abs(correlation), 1), sp.Lt(sp.Abs(correlation), 1 + sp.Rational(1, 2**40)))
    return Where(beyond, sp.sign(correlation), correlation)


def _algebraic(expr: sp.Expr, names: dict[sp.Expr, sp.Symbol]) -> sp.Expr:
    """The formula in symbols that stand for all functions but arcsines and sizes: a covariance of any activations is a number like another."""
    if expr.is_Atom:
        return expr
    if isinstance(expr, sp.asin):
        expr = sp.asin(_piece_by_piece(expr.args[0]))
    if expr.is_Add or expr.is_Mul or isinstance(expr, sp.asin | sp.Abs) or (expr.is_Pow and expr.exp.is_Rational):
        return expr.func(*(_algebraic(arg, names) for arg in expr.args))
    return names.setdefault(expr, bound_symbol("f", len(names) + 1, real=True))


def _piece_by_piece(product: sp.Expr) -> sp.Expr:
    """A product of functions with the same pieces, such as a number and one over its size, multiplied in each."""
    pieces: dict[tuple[sp.Basic, ...], list[sp.Expr]] = {}
    rest: list[sp.Expr] = []
    for factor in sp.Mul.make_args(product):
        alike = pieces.setdefault(tuple(arg.cond for arg in factor.args), []) if factor.is_Piecewise else rest
        alike.append(factor)
    joined = [
        sp.Piecewise(*((sp.Mul(*(f.args[k].expr for f in alike)), holds) for k, holds in enumerate(conditions)))
        for conditions, alike in pieces.items()
    ]
    return sp.Mul(*rest, *joined)


def _rooted(power: sp.Pow, determinants: dict[sp.Expr, sp.Expr]) -> tuple[sp.Expr, sp.Expr] | None:
    """A determinant, and by its root that of a multiple of it, perhaps over the variances."""
    for determinant, product in determinants.items():
        if power.base.free_symbols == determinant.free_symbols:  # else it is no multiple
            found = _rooted_by(power, determinant, product)
            if found is not None:
                return determinant, found
    return None


@lru_cache(maxsize=4096)
def _rooted_by(power: sp.Pow, determinant: sp.Expr, product: sp.Expr) -> sp.Expr | None:
    above, below = sp.fraction(sp.together(power.base))
    times = sp.cancel(above / determinant)
    if times.is_number and (below.is_number or sp.cancel(below / product).is_number):
        return (times / below) ** power.exp * _floored(determinant) ** power.exp
    return None


@lru_cache(maxsize=4096)  # SymPy factors both sides to compare them
def _floored(determinant: sp.Expr) -> sp.Expr:
    return sp.Max(0, determinant)


@lru_cache(maxsize=4096)  # the entries of a covariance share their angles
def _determinant(correlation: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr] | None:
    """A covariance, the determinant and the product of the variances, if these are under roots, or one variance of both."""
    above, below = correlation.as_numer_denom()
    if below.is_number or (
        below.is_polynomial() and len(correlation.free_symbols) == 1
    ):  # V/(1 + V) has no angle to lose
        return None
    content, above = above.as_content_primitive()
    product = below**2 / content**2
    return (above, product - above**2, product) if product.is_polynomial(*product.free_symbols) else None


@lru_cache(maxsize=4096)
def _is_complement(base: sp.Expr, correlation: sp.Expr) -> bool:
    """Whether it is a multiple of one less the square, asked at two points: such a sum is 0 or more, however it is rounded."""
    symbols = sorted(base.free_symbols, key=sp.default_sort_key)
    if not symbols or base.free_symbols != correlation.free_symbols:
        return False
    ratios = []
    for first in _POINTS:
        at = {x: first + sp.Rational(k, 97) for k, x in enumerate(symbols)}
        ratio = (base.xreplace(at) / (1 - correlation.xreplace(at) ** 2)).evalf(30, chop=True)
        if not (ratio.is_Float and ratio.is_finite):
            return False
        ratios.append(ratio)
    return bool(abs(ratios[0] - ratios[1]) < 1e-20 * abs(ratios[0]))


def _can_vanish(determinant: sp.Expr) -> bool:
    return bool(determinant.xreplace(dict.fromkeys(determinant.free_symbols, sp.S.Zero)) == 0)
