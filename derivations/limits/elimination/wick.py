r"""Expectations of the polynomials in Gaussian noises that a Taylor expansion leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import sympy as sp

from derivations.errors import DerivationError, brief
from derivations.gaussian import expect, expect_pair
from derivations.gaussian.single import choice_elsewhere
from derivations.limits.elimination.dead import divides
from derivations.limits.elimination.linear_forms import in_linear_forms, opened
from derivations.piecewise import Piece, join, merged, pieces
from derivations.piecewise.continued import Continued
from derivations.symbols import noise

#: Functions that have all derivatives on the real line, each with a mean.
_SMOOTH = (sp.exp, sp.sin, sp.cos, sp.tanh, sp.cosh, sp.sinh, sp.erf, sp.erfc, sp.atan, sp.asinh)
Covariance: TypeAlias = Mapping[tuple[sp.Symbol, sp.Symbol], sp.Expr]


class _NoRule(DerivationError):
    """A function of several variables is none that the Gaussian calculus knows."""


def gaussian_mean(expr: sp.Expr, covariance: Covariance, evaluate: bool = True) -> sp.Expr:
    r"""Expectation over centred jointly Gaussian symbols of a polynomial in them.

    Stein's identity :math:`\mathbb{E}[u_a f(u)] = \sum_b G_{ab}\,\mathbb{E}[\partial_b f(u)]` lowers the
    degree by two at each step. Products of functions of one or two of them, times powers of any, go to the Gaussian
    calculus, with or without a closed form (``evaluate``).

    Raises
    ------
    DerivationError
        For a function of two of them that is no product, such as tanh(u v), or of three.
    """
    noises = sorted({a for a, _ in covariance if expr.has(a)}, key=lambda s: s.name)
    if not noises:
        return expr
    if (choice := choice_elsewhere(expr, *noises)) is not None:
        means = (gaussian_mean(expr.xreplace({choice: branch}), covariance, evaluate) for branch, _ in choice.args)
        return sp.Piecewise(*zip(means, (condition for _, condition in choice.args), strict=True))
    if (inner := _continued_elsewhere(expr, noises)) is not None:
        function, argument, _ = inner.args
        own = sp.Dummy("s", positive=True)
        parts = (
            gaussian_mean(expr.xreplace({inner: part}), covariance, evaluate) for part in (function(own), inner.at_zero)
        )
        above, at_zero = parts
        return Continued(sp.Lambda(own, above), argument, sp.Tuple(at_zero))
    if (whole := opened(expr, noises, covariance)) is not None:
        try:
            return gaussian_mean(*whole, evaluate)
        except DerivationError:
            pass  # a mean of means
    if not expr.is_polynomial(*noises):
        try:
            return _transcendental_mean(expr, noises, covariance, evaluate)
        except DerivationError as error:
            combined = in_linear_forms(expr, noises, covariance)
            if combined is None:
                raise
            body, table, back = combined
            try:
                return gaussian_mean(body, table, evaluate).xreplace(back)
            except _NoRule:
                raise error from None  # in the variables that the caller knows
    total = sp.S.Zero
    for powers, coefficient in sp.Poly(expr, *noises).terms():
        total += coefficient * _moment(tuple(powers), tuple(noises), covariance)
    return total


def _continued_elsewhere(expr: sp.Expr, noises: Sequence[sp.Symbol]) -> Continued | None:
    """A formula in the variables that is continued to where a variance without them is 0."""
    found = (c for c in expr.atoms(Continued) if c.has(*noises) and not c.args[1].has(*noises))
    return min(found, key=sp.default_sort_key, default=None)


def _moment(powers: tuple[int, ...], noises: tuple[sp.Symbol, ...], covariance: Covariance) -> sp.Expr:
    if sum(powers) % 2:
        return sp.S.Zero
    if sum(powers) == 0:
        return sp.S.One
    a = next(k for k, p in enumerate(powers) if p)
    rest = list(powers)
    rest[a] -= 1
    total = sp.S.Zero
    for b, power in enumerate(rest):
        if power:
            lowered = (*rest[:b], power - 1, *rest[b + 1 :])
            total += power * covariance[noises[a], noises[b]] * _moment(lowered, noises, covariance)
    return total


def _transcendental_mean(expr: sp.Expr, noises: list[sp.Symbol], covariance: Covariance, evaluate: bool) -> sp.Expr:
    """Term by term: a product of functions of one noise each, of two noises at most, and powers of any number."""
    if len(noises) == 1:
        return expect(expr, noises[0], covariance[noises[0], noises[0]], evaluate=evaluate)
    total = sp.S.Zero
    # what stands in a denominator is not multiplied out: there it is a product of functions of one variable
    below = {p: sp.Dummy() for p in expr.atoms(sp.Pow) if p.exp.is_negative and p.base.is_Add}
    if not evaluate:  # a sum that is a function of one noise is one function in a node
        below |= {f: sp.Dummy() for f in _factors(expr) if f.is_Add and sum(map(f.has, noises)) == 1}
    back = {name: p for p, name in below.items()}
    parts = (part.xreplace(back) for part in sp.Add.make_args(sp.expand(expr.xreplace(below), power_base=False)))
    terms = [part.as_independent(*noises, as_Add=False) for part in parts]
    # a term without a rule is seen before closed forms of the others are looked for
    products = [None if f.is_polynomial(*noises) else _product_or_parts(f, noises, covariance) for _, f in terms]
    for (constant, moving), product in zip(terms, products, strict=True):
        if product is None:
            total += constant * gaussian_mean(moving, covariance)
        elif isinstance(product, list):
            total += constant * sp.Mul(*(gaussian_mean(part, covariance, evaluate) for part in product))
        else:
            total += constant * _product_mean(*product, noises, covariance, evaluate)
    return total


def _factors(expr: sp.Expr) -> list[sp.Expr]:
    """Of each term that are no polynomials."""
    factors = (factor for term in sp.Add.make_args(expr) for factor in sp.Mul.make_args(term))
    return [factor for factor in factors if not factor.is_polynomial(*factor.free_symbols)]


def _product_or_parts(
    term: sp.Expr, noises: list[sp.Symbol], covariance: Covariance
) -> tuple[sp.Expr, dict[sp.Symbol, sp.Expr]] | list[sp.Expr]:
    """The polynomial and the functions of one noise each, or where these are many the factors that are independent of each other."""
    try:
        return _product(term, noises)
    except _NoRule:
        parts = _independent(term, noises, covariance)
        if len(parts) == 1:
            raise
        return parts


def _independent(term: sp.Expr, noises: list[sp.Symbol], covariance: Covariance) -> list[sp.Expr]:
    """A product as one of products whose noises are independent of each other's."""
    groups: list[tuple[set[sp.Symbol], sp.Expr]] = []
    for factor in sp.Mul.make_args(term):
        used, product = {a for a in noises if factor.has(a)}, factor
        meet = [g for g in groups if any(covariance[a, b] != 0 or a == b for a in g[0] for b in used)]
        for group in meet:
            groups.remove(group)
            used, product = used | group[0], product * group[1]
        groups.append((used, product))
    return [product for _, product in groups]


def _product(term: sp.Expr, noises: list[sp.Symbol]) -> tuple[sp.Expr, dict[sp.Symbol, sp.Expr]]:
    """The polynomial, and the functions of one noise each."""
    functions: dict[sp.Symbol, sp.Expr] = {}
    powers = sp.S.One
    for factor in sp.Mul.make_args(term):
        inside = [a for a in noises if factor.has(a)]
        if factor.is_polynomial(*noises):
            powers *= factor
        elif len(inside) == 1:
            functions[inside[0]] = functions.get(inside[0], sp.S.One) * factor
        else:
            raise _NoRule(
                f"no rule for the joint Gaussian expectation of {brief(term)} in {', '.join(map(str, inside))}: {brief(factor)} is no product of "
                "functions of one of them each"
            )
    if len(functions) > 2:
        raise _NoRule(
            f"no rule for the joint Gaussian expectation of {brief(term)}: functions of at most two Gaussian variables may be other than "
            f"powers, got {', '.join(map(str, functions))}"
        )
    return powers, functions


def _product_mean(
    powers: sp.Expr,
    functions: dict[sp.Symbol, sp.Expr],
    noises: list[sp.Symbol],
    covariance: Covariance,
    evaluate: bool,
) -> sp.Expr:
    kept = list(functions)
    others = [a for a in noises if a not in functions and powers.has(a)]
    if others and all(map(_is_smooth, functions.values())):
        # Stein's identity in one of the others: no covariance is inverted, so that it may be singular
        inner = sp.cancel(powers / others[0]) * sp.Mul(*functions.values())
        slopes = ((b, covariance[others[0], b]) for b in noises if inner.has(b))
        return sp.Add(*(c * gaussian_mean(sp.diff(inner, b), covariance, evaluate) for b, c in slopes if c != 0))
    if len(kept) == 2 and (weak := _weak_slopes(functions, others, covariance)) is not None:
        return _by_parts(powers, functions, weak, others[0], covariance, evaluate)
    reduced = sp.Poly(_given(powers, kept, noises, covariance), *kept)
    return sp.Add(*(q * _pair_mean(functions, kept, powers, covariance, evaluate) for powers, q in reduced.terms()))


def _is_smooth(function: sp.Expr) -> bool:
    """Whether a function of one real number is seen to have all derivatives."""
    if not function.args:
        return bool(function.is_Symbol or function.is_number)
    if function.is_Pow:
        base, power = function.args
        known = power.is_number and ((power.is_Integer and power > 0) or base.is_positive)
    else:
        known = function.is_Add or function.is_Mul or isinstance(function, _SMOOTH)
        known = known or (isinstance(function, sp.log) and function.args[0].is_positive)
    return bool(known) and all(map(_is_smooth, function.args))


Jumps: TypeAlias = list[tuple[sp.Expr, sp.Expr]]


def _weak_slopes(
    functions: Mapping[sp.Symbol, sp.Expr], others: list[sp.Symbol], covariance: Covariance
) -> dict[sp.Symbol, tuple[sp.Expr, Jumps]] | None:
    """Of two functions with kinks that stand beside what depends on them: the derivatives, and the jumps as (place, height).

    None where conditioning on both divides by nothing that may be 0, and where a derivative is not finite.
    """
    a, b = functions
    if not others or covariance[others[0], a] == covariance[others[0], b] == 0:
        return None
    if sp.expand(covariance[a, a] * covariance[b, b] - covariance[a, b] ** 2) == 0:
        return None
    try:
        found = {u: _weak_derivative(function, u) for u, function in functions.items()}
    except DerivationError:
        return None
    finite = not any(
        part.has(sp.oo, sp.zoo, sp.nan) for slope, jumps in found.values() for part in (slope, *sum(jumps, ()))
    )
    return found if finite else None


def _weak_derivative(function: sp.Expr, u: sp.Symbol) -> tuple[sp.Expr, Jumps]:
    parts = pieces(function, u)
    heights = ((q.left, sp.expand((q.expr - p.expr).subs(u, q.left))) for p, q in pairwise(parts))
    slope = join(merged(Piece(p.left, p.right, sp.diff(p.expr, u)) for p in parts), u)
    return slope, [(place, height) for place, height in heights if height != 0]


def _by_parts(
    powers: sp.Expr,
    functions: Mapping[sp.Symbol, sp.Expr],
    slopes: Mapping[sp.Symbol, tuple[sp.Expr, Jumps]],
    other: sp.Symbol,
    covariance: Covariance,
    evaluate: bool,
) -> sp.Expr:
    """Stein's identity in one of the others, a jump a point mass in the derivative.

    The covariance of the functions' arguments is not inverted: it is singular where two inputs are the same, and near there the
    quotients of a conditional mean lose all their digits.
    """
    rest = sp.cancel(powers / other)
    total = sp.S.Zero
    moved = {b: covariance[other, b] for b in sorted(rest.free_symbols | set(functions), key=lambda s: s.name)}
    for b, size in moved.items():
        if size == 0:
            continue
        total += size * gaussian_mean(sp.diff(rest, b) * sp.Mul(*functions.values()), covariance, evaluate)
        if b in functions:
            slope, jumps = slopes[b]
            beside = rest * sp.Mul(*(f for a, f in functions.items() if a != b))
            total += size * gaussian_mean(beside * slope, covariance, evaluate)
            # its formula is continued to where a variance is 0, which needs it closed
            total += size * sum(height * _mass(beside, b, place, covariance, True) for place, height in jumps)
    return total


def _mass(expr: sp.Expr, b: sp.Symbol, place: sp.Expr, covariance: Covariance, evaluate: bool) -> sp.Expr:
    """E δ(b − place) expr: the density of b there times the conditional mean."""
    variance = covariance[b, b]
    rest = sorted(expr.free_symbols & {a for a, _ in covariance} - {b}, key=lambda s: s.name)
    own = {a: sp.Dummy(a.name, real=True) for a in rest}
    middles = {a: place * covariance[a, b] / variance for a in rest}
    lines = {a: r + middles[a] for a, r in own.items()} | {b: place}
    left = {
        (own[a], own[c]): sp.cancel(covariance[a, c] - covariance[a, b] * covariance[b, c] / variance)
        for a in rest
        for c in rest
    }
    density = sp.exp(-(place**2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)
    v = next((a for a in rest if not expr.is_polynomial(a)), None)
    if v is None:
        return density * gaussian_mean(expr.xreplace(lines), left, evaluate)
    noise_left, generic = left[own[v], own[v]], sp.Dummy("s", positive=True)
    value = gaussian_mean(expr.xreplace(lines), {**left, (own[v], own[v]): generic}, evaluate)
    if not divides(value, generic):
        return density * value.xreplace({generic: noise_left})
    powers, function = expr.as_independent(v, as_Add=False)
    sizes = sp.sqrt(covariance[v, v]), sp.sqrt(variance)
    still = _middle(function, v, sp.sign(covariance[v, b]) * place, sizes).xreplace({v: middles[v]})
    at_zero = still * gaussian_mean(powers.xreplace(lines), left, evaluate)
    return density * Continued(sp.Lambda(generic, value), noise_left, sp.Tuple(at_zero))


def _middle(function: sp.Expr, v: sp.Symbol, place: sp.Expr, sizes: tuple[sp.Expr, sp.Expr]) -> sp.Expr:
    """A function where a mass leaves its argument no noise; at a jump the mean of the values beside it.

    There both functions of a product jump at once: the jump of fg is [f](g₊ + g₋)/2 + [g](f₊ + f₋)/2. Places are compared in units of standard
    deviations, of this argument and of the mass, so that two masses that meet find the same order, whatever rounding does.
    """
    parts = merged(pieces(function, v))
    before = sp.Piecewise(
        *((p.expr, place * sizes[0] <= p.right * sizes[1]) for p in parts[:-1]), (parts[-1].expr, True)
    )
    after = sp.Piecewise(*((p.expr, place * sizes[0] < p.right * sizes[1]) for p in parts[:-1]), (parts[-1].expr, True))
    return (before + after) / 2


def _given(powers: sp.Expr, kept: list[sp.Symbol], noises: list[sp.Symbol], covariance: Covariance) -> sp.Expr:
    r"""The conditional mean of a polynomial given some of the noises: the others are linear in them plus independent noise.

    Raises
    ------
    DerivationError
        If the covariance of the given noises is singular.
    """
    rest = [a for a in noises if a not in kept and powers.has(a)]
    if not rest:
        return powers
    block = sp.Matrix(len(kept), len(kept), lambda i, j: covariance[kept[i], kept[j]])
    if sp.expand(block.det()) == 0:
        raise DerivationError(
            f"the covariance of {', '.join(map(str, kept))} is singular: write one of them as a multiple of the other first"
        )
    cross = sp.Matrix(len(rest), len(kept), lambda i, j: covariance[rest[i], kept[j]])
    slopes = cross * block.inv()
    own = [sp.Dummy(a.name, real=True) for a in rest]
    left = sp.Matrix(len(rest), len(rest), lambda i, j: covariance[rest[i], rest[j]]) - slopes * cross.T
    lines = {
        a: r + sum(slopes[k, j] * kept[j] for j in range(len(kept)))
        for k, (a, r) in enumerate(zip(rest, own, strict=True))
    }
    independent = {(a, b): sp.cancel(left[i, j]) for i, a in enumerate(own) for j, b in enumerate(own)}
    return sp.expand(gaussian_mean(sp.expand(powers.xreplace(lines)), independent))


def _pair_mean(
    functions: dict[sp.Symbol, sp.Expr],
    kept: list[sp.Symbol],
    exponents: tuple[int, ...],
    covariance: Covariance,
    evaluate: bool,
) -> sp.Expr:
    sides = [(a**e * functions[a]).subs(a, noise) for a, e in zip(kept, exponents, strict=True)]
    if len(kept) == 1:
        return expect(sides[0], noise, covariance[kept[0], kept[0]], evaluate=evaluate)
    block = sp.Matrix(2, 2, lambda i, j: covariance[kept[i], kept[j]])
    return expect_pair(sides[0], sides[1], noise, block, evaluate)
