"""Matrices with small entries: the same matrices of entries of order 1, and the size in front of what they put out."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import replace

import sympy as sp

from derivations.language.statements import Back, Matrix, Program
from derivations.language.weights import Weights


def sizes_in_front(program: Program, small: Set[sp.Symbol]) -> tuple[Program, dict[Weights, Weights]]:
    r"""A layer whose matrices have no small parameters as factors of their variance, and the matrices that changed.

    A matrix of variance :math:`c\varepsilon^2` is :math:`\varepsilon` times one of variance c: this is the same law. Means and biases are divided by
    the root of the factor, so a matrix whose mean or biases are larger than that stays as it is.

    Parameters
    ----------
    program : Program
    small : set of Symbol
        The small parameters.
    """
    rule: dict[sp.Symbol, sp.Expr] = {}
    changed: dict[Weights, Weights] = {}
    statements = []
    for s in program.statements:
        if isinstance(s, Matrix | Back):
            root = _root(s.weights, small)
            if root != 1:
                rule[s.symbol] = root * s.symbol
                changed[s.weights] = _divided(s.weights, root)
                s = replace(s, weights=changed[s.weights])
        statements.append(s)
    if not rule:
        return program, {}
    renamed = [replace(s, body=s.body.xreplace(rule)) if hasattr(s, "body") else s for s in statements]
    return replace(program, statements=tuple(renamed), update=program.update.xreplace(rule)), changed


def denominator_of_powers(program: Program, small: sp.Symbol) -> int:
    r"""The smallest whole number q such that a layer is in whole powers of :math:`\varepsilon^{1/q}`.

    Parameters
    ----------
    program : Program
    small : Symbol
        :math:`\varepsilon`.
    """
    parts = [program.update, *(s.body for s in program.statements if hasattr(s, "body"))]
    for s in program.statements:
        if isinstance(s, Matrix | Back):
            parts += [s.weights.variance, s.weights.mean, s.weights.bias_variance, s.weights.bias_mean]
    powers = (power.exp for part in parts for power in part.atoms(sp.Pow) if power.base == small)
    return math.lcm(*(int(power.q) for power in powers if power.is_Rational))


def _root(weights: Weights, small: Set[sp.Symbol]) -> sp.Expr:
    """The root of the small factor of a variance; 1 where the mean or the biases do not have it as well."""
    given = weights.variance
    given = sp.factor_terms(sp.together(given)) if given.free_symbols & small else given
    powers = given.as_powers_dict()
    factor = sp.Mul(*(base**power for base, power in powers.items() if base in small))
    left = (given / factor).subs(dict.fromkeys(small, sp.S.Zero))
    if left == 0 or left.has(sp.zoo, sp.nan, sp.oo):
        return sp.S.One  # what is left is not of order 1
    root = sp.sqrt(factor)
    others = (weights.mean / root, weights.bias_mean / root, weights.bias_variance / factor)
    return root if all(_stays(part, small) for part in others) else sp.S.One


def _stays(part: sp.Expr, small: Set[sp.Symbol]) -> bool:
    """Whether no power of a small parameter in it is negative."""
    return not any(
        base in small and (power.is_negative or power.is_nonnegative is None)
        for term in sp.Add.make_args(sp.expand(part))
        for base, power in term.as_powers_dict().items()
    )


def _divided(weights: Weights, root: sp.Expr) -> Weights:
    """The matrix over a number."""
    parts = {"variance": weights.variance / root**2, "mean": weights.mean / root}
    parts |= {"bias_variance": weights.bias_variance / root**2, "bias_mean": weights.bias_mean / root}
    return weights.with_numbers(**{word: sp.expand(part) for word, part in parts.items()})
