r"""Sums of products of two states over the neurons, said as entries of the Gram matrix, and the line that says what these are."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from derivations.limits.gram import gram_matrix
from derivations.notation.nodes import Juxtaposed, Total, indexed, letter
from derivations.notation.steps import Line, Term
from derivations.sums import CoordinateSum
from derivations.symbols import GRAM

_V = indexed(GRAM, ("alpha", "beta"))


def with_gram_letters(lines: tuple[Line, ...], centred: bool = False) -> tuple[Line, ...]:
    r"""Lines in which :math:`\sum_j X^{j,1} X^{j,2}` is :math:`n V_{12}`, and the line that says V; as they are for one input.

    Parameters
    ----------
    lines : tuple of Line
    centred : bool
        Whether V is the Gram matrix of the states less their mean over the neurons.

    Examples
    --------
    >>> from derivations.notation.steps import equation
    >>> a, b = sp.symbols("a b", real=True)
    >>> root = sp.sqrt(CoordinateSum(a**2, sp.Tuple(a, b), 4)) * CoordinateSum(a * b, sp.Tuple(a, b), 4)
    >>> first, meaning = with_gram_letters((equation(letter("s"), root),))
    >>> first.terms[0].coefficient
    8*sqrt(V_11)*V_12
    >>> meaning.left.args[0]
    V
    """
    sums = set().union(*(term.coefficient.atoms(CoordinateSum) for line in lines for term in line.terms))
    rule = {node: product for node in sums if (product := _product(node, centred)) is not None}
    if not rule:
        return lines
    first = next(iter(rule))
    return with_meaning(tuple(_in_letters(line, rule, centred) for line in lines), first.moment, first.width, centred)


def with_meaning(lines: tuple[Line, ...], moment: str, width: sp.Expr, centred: bool = False) -> tuple[Line, ...]:
    """Lines with one that says V, where they have it and it is not said."""
    said = any(line.left == _V for line in lines)
    has = any(s.name.startswith(f"{GRAM}_") for line in lines for t in line.terms for s in t.coefficient.free_symbols)
    return lines if said or not has else (*lines, meaning(moment, width, centred))


def meaning(moment: str, width: sp.Expr, centred: bool = False) -> Line:
    """What the entries are: the mean over so many neurons of a product, at a time or in a layer, less that of the means."""

    def total(*places: str) -> sp.Expr:
        states = (indexed("X", (letter(moment),), ("j", at)) for at in places)
        return Total(Juxtaposed(*states), letter("j"), width, ())

    means = (total(at) for at in ("alpha", "beta"))
    less = (Term(-(width**-2), Juxtaposed(*means)),) if centred else ()
    return Line(_V, (Term(1 / width, total("alpha", "beta")), *less))


def _in_letters(line: Line, rule: dict[CoordinateSum, sp.Expr], centred: bool) -> Line:
    """A line in which widths and means that the letters brought are cancelled, out of roots and functions too."""

    def tidy(coefficient: sp.Expr) -> sp.Expr:
        if not coefficient.has(*rule):
            return coefficient
        said = coefficient.xreplace(rule)
        said = (sp.expand_mul(said) if centred else said).replace(_is_root_of_sum, _without_factors)
        return sp.expand_mul(sp.factor_terms(said), deep=False)

    return replace(line, terms=tuple(replace(term, coefficient=tidy(term.coefficient)) for term in line.terms))


def _is_root_of_sum(expr: sp.Basic) -> bool:
    return bool(expr.is_Pow and not expr.exp.is_Integer and expr.base.is_Add)


def _without_factors(root: sp.Pow) -> sp.Expr:
    return sp.factor_terms(root.base) ** root.exp


def _product(node: CoordinateSum, centred: bool) -> sp.Expr | None:
    """The sum of a product of two states, in the Gram matrix; None for other sums, and for those of one input."""
    bound = node.bound_symbols
    powers = node.body.as_powers_dict()
    places = [bound.index(x) for x, power in powers.items() if x in bound for _ in range(int(power))]
    if len(bound) == 1 or len(places) != 2 or node.body != bound[places[0]] * bound[places[1]]:
        return None
    means = sp.Mul(*(node.func(bound[k], node.args[1], node.width) for k in places)) / node.width
    return node.width * gram_matrix(len(bound))[tuple(places)] + means * int(centred)
