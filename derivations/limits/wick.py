r"""Expectations of the polynomials in Gaussian noises that a Taylor expansion leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import sympy as sp

from derivations.errors import DerivationError
from derivations.gaussian import expect, expect_pair
from derivations.symbols import noise

Covariance: TypeAlias = Mapping[tuple[sp.Symbol, sp.Symbol], sp.Expr]


def gaussian_mean(expr: sp.Expr, covariance: Covariance) -> sp.Expr:
    r"""Expectation over centred jointly Gaussian symbols of a polynomial in them.

    Stein's identity :math:`\mathbb{E}[u_a f(u)] = \sum_b G_{ab}\,\mathbb{E}[\partial_b f(u)]` lowers the
    degree by two at each step. A function of one or two of them that is not a polynomial goes
    to the Gaussian calculus instead.
    """
    noises = sorted({a for a, _ in covariance if expr.has(a)}, key=lambda s: s.name)
    if not noises:
        return expr
    if not expr.is_polynomial(*noises):
        return _transcendental_mean(expr, noises, covariance)
    total = sp.S.Zero
    for powers, coefficient in sp.Poly(expr, *noises).terms():
        total += coefficient * _moment(tuple(powers), tuple(noises), covariance)
    return total


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


def _transcendental_mean(expr: sp.Expr, noises: list[sp.Symbol], covariance: Covariance) -> sp.Expr:
    if len(noises) == 1:
        return expect(expr, noises[0], variance=covariance[noises[0], noises[0]])
    first, second = noises
    left, right = expr.as_independent(second, as_Add=False)
    if len(noises) > 2 or right.has(first):
        raise DerivationError(f"no rule for the joint Gaussian expectation of {expr} in {', '.join(map(str, noises))}")
    block = sp.Matrix(2, 2, lambda i, j: covariance[noises[i], noises[j]])
    return expect_pair(left.subs(first, noise), right.subs(second, noise), noise, block)
