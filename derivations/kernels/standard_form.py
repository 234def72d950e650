"""A function of one Gaussian number with its parameters taken out of it: those that scale or shift what it reads go into the number's law."""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from derivations.errors import DerivationError

#: What functions are of.
Z = sp.Symbol("z", real=True)
_MOST = 8  # scales and shifts taken out of a function one after the other


def standard_form(function: sp.Lambda) -> tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr]:
    """A factor c, a function h without parameters, a slope a and a shift b, so that the function is c h(a z + b)."""
    body, factor, scale, moved = _exponentials_joined(function(Z)), sp.S.One, sp.S.One, sp.S.Zero
    for _ in range(_MOST):
        if not body.free_symbols - {Z}:
            return factor, body, scale, moved
        outside, inside = _parameters_outside(body)
        if outside.free_symbols:
            factor, body = factor * outside, inside
            continue
        move = next(filter(None, map(_move, _arguments(body))), None)
        if move is None:
            break
        slope, shift = move
        changed = body.xreplace({Z: (Z - shift) / slope}).replace(
            lambda e: e.is_Relational, lambda e: e.func(sp.expand(e.lhs - e.rhs), 0)
        )
        body = changed.replace(
            lambda e: e.is_Add or e.is_Mul or e.is_Pow,
            lambda e: sp.expand(e) if e.is_polynomial(Z) else sp.expand_mul(e),
        ).replace(_is_exponential, _constant_outside)
        scale, moved = slope * scale, slope * moved + shift
    raise DerivationError(
        f"the mean of {function(Z)} has no rule: averages over the layer may shift or scale what a function reads, as norms do, "
        f"but here {', '.join(sorted(map(str, body.free_symbols - {Z})))} enters in another way"
    )


def _is_exponential(e: sp.Basic) -> bool:
    return isinstance(e, sp.exp)


def _exponentials_joined(body: sp.Expr) -> sp.Expr:
    """With one exponential in the place of a product of them: expansion takes e^{-(z + m)} apart."""

    def joined(product: sp.Expr) -> sp.Expr:
        exponentials, others = sp.sift(product.args, _is_exponential, binary=True)
        return sp.Mul(*others, sp.exp(sp.Add(*(e.args[0] for e in exponentials))))

    return body.replace(lambda e: e.is_Mul and sum(map(_is_exponential, e.args)) > 1, joined)


def _constant_outside(e: sp.Expr) -> sp.Expr:
    """An exponential with its constant as a factor."""
    constant, rest = e.args[0].as_independent(Z, as_Add=True)
    return sp.exp(constant) * sp.exp(rest)


def _parameters_outside(body: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """A factor without z, which all terms of a sum or all pieces of a function with kinks may have, and the rest."""
    outside, inside = body.as_independent(Z, as_Add=False)
    factors = []
    for factor in sp.Mul.make_args(inside):
        if factor.is_Pow and factor.base.is_Add and factor.exp.is_Integer:  # a denominator
            shared, base = _parameters_outside(factor.base)
            outside *= shared**factor.exp
            factors.append(base**factor.exp)
            continue
        parts = [part for part in _terms(factor) if part not in (0, factor)]
        common = {_symbolic(_parameters_outside(part)[0]) for part in parts}
        if len(common) == 1:
            (shared,) = common
            outside, factor = outside * shared, _divided(factor, shared)
        factors.append(factor)
    return outside, sp.Mul(*factors)


def _symbolic(factor: sp.Expr) -> sp.Expr:
    """Without numbers."""
    symbols = factor.free_symbols
    return factor.as_independent(*symbols, as_Add=False)[1] if symbols else sp.S.One


def _terms(factor: sp.Expr) -> tuple[sp.Expr, ...]:
    if isinstance(factor, sp.Piecewise):
        return tuple(value for value, _ in factor.args)
    return factor.args if factor.is_Add else (factor,)


def _divided(factor: sp.Expr, by: sp.Expr) -> sp.Expr:
    """Term by term."""
    if isinstance(factor, sp.Piecewise):
        return sp.Piecewise(*((_divided(value, by), condition) for value, condition in factor.args))
    return sp.Add(*(term / by for term in factor.args)) if factor.is_Add else factor / by


def _arguments(body: sp.Expr) -> Iterator[sp.Basic]:
    """What a body is a function of: where it changes its form, then arguments of functions, then any sum or product."""
    yield from (e.lhs - e.rhs for e in sorted(body.atoms(sp.core.relational.Relational), key=sp.default_sort_key))
    parts = list(sp.preorder_traversal(body))
    yield from (arg for e in parts if isinstance(e, sp.Function | sp.Pow) for arg in e.args)
    yield from parts


def _move(e: sp.Basic) -> tuple[sp.Expr, sp.Expr] | None:
    """Parameters s and r, not 1 and 0, so that an argument is a number times (s z + r)^p beside a constant."""
    if not isinstance(e, sp.Expr) or not e.has(Z) or not e.free_symbols - {Z} or not e.is_polynomial(Z):
        return None
    power, (whole, second, *_) = sp.degree(e, Z), sp.Poly(e, Z).all_coeffs()
    slope = _symbolic(whole) ** sp.Rational(1, power)  # numbers stay in the function, so that rules know it
    shift = sp.expand(second * slope / (power * whole))  # a z^p + b z^(p-1) + ... = a (z + b / (p a))^p + ...
    rest = sp.expand(e - whole / slope**power * (slope * Z + shift) ** power)
    return None if rest.has(Z) or (slope, shift) == (1, 0) else (slope, shift)
