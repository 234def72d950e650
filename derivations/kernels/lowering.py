r"""Names in the place of Gaussian means and filters: what a flow of two inputs is made of, each part once.

Each mean is brought to one of a function without parameters (``standard_form``). What depends on one input alone is said once, for the first input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

import sympy as sp

from derivations.activations.base import Activation
from derivations.binding import bound_symbols
from derivations.errors import DerivationError
from derivations.gaussian import GaussianExpectation, GaussianPairExpectation, expect, joint_mean
from derivations.kernels.means import MEAN, VARIANCE, degree
from derivations.kernels.standard_form import Z, standard_form
from derivations.limits.elimination.averages import FilterAverage
from derivations.limits.gram import gram_matrix
from derivations.limits.meanfield import mean_symbols
from derivations.symbols import time

_K, _M, _T = gram_matrix(2, "K"), mean_symbols(2), gram_matrix(2, "Theta")
#: M, K and Θ of each of both inputs, and K and Θ between them.
FIRST, SECOND = ((_M[a], _K[a, a], _T[a, a]) for a in (0, 1))
BOTH = (_K[0, 1], _T[0, 1])
_ALONE = dict(zip(SECOND, FIRST, strict=True))


@dataclass(frozen=True)
class OwnMean:
    """A mean over one neuron: names for the first and the second input, the function, mean and variance."""

    names: tuple[sp.Symbol, sp.Symbol]
    function: sp.Expr
    mean: sp.Expr
    variance: sp.Expr

    @property
    def activation(self) -> Activation:
        """The function, as one; a square is written as one, since its terms may cancel where its root is small."""
        return Activation("f", as_square(self.function), Z)

    @property
    def closed(self) -> sp.Expr | None:
        """The mean in ``MEAN`` and ``VARIANCE``, None where no closed form is known; centred ones have one for more functions."""
        found = expect(self.function, Z, VARIANCE, MEAN if self.mean != 0 else 0)
        return None if found.has(GaussianExpectation, GaussianPairExpectation) else found


@dataclass(frozen=True)
class OwnFilter:
    """What a filter reads of one input: names for the first and the second input, which filter, its tag, and what is read."""

    names: tuple[sp.Symbol, sp.Symbol]
    filter: int
    tag: sp.Tuple
    inside: sp.Expr


@dataclass(frozen=True)
class PairMean:
    """A mean of a product over a pair of neurons, one at each input."""

    name: sp.Symbol
    functions: tuple[sp.Expr, sp.Expr]
    laws: tuple[tuple[sp.Expr, sp.Expr], tuple[sp.Expr, sp.Expr]]
    covariance: sp.Expr

    @property
    def activations(self) -> tuple[Activation, Activation]:
        """Both functions."""
        first, second = (Activation("f", f, Z) for f in self.functions)
        return first, second


@dataclass(frozen=True)
class PairFilter:
    """What a filter reads of a pair of inputs; the tag is that of the same part for one input."""

    name: sp.Symbol
    filter: int
    tag: sp.Tuple
    inside: sp.Expr


Own: TypeAlias = OwnMean | OwnFilter
Both: TypeAlias = PairMean | PairFilter


def as_square(expr: sp.Expr) -> sp.Expr:
    """A sum as the square that it is, if it is one of up to four terms.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> as_square(sp.expand((sp.erf(x) + 1 - x * sp.exp(-(x**2))) ** 2))
    (-x*exp(-x**2) + erf(x) + 1)**2
    >>> as_square(x**2 + x + 1)
    x**2 + x + 1
    """
    roots = [root for root in map(_root, sp.Add.make_args(expr)) if root is not None]
    if 1 < len(roots) <= 4:
        for signs in product((1, -1), repeat=len(roots) - 1):
            root = sp.Add(roots[0], *(sign * other for sign, other in zip(signs, roots[1:], strict=True)))
            if sp.expand(root**2 - expr) == 0:
                return root**2
    return expr


def _root(term: sp.Expr) -> sp.Expr | None:
    """The root of a product of squares, exponentials and a positive number, up to its sign; None for another one."""
    halves = []
    for factor in sp.Mul.make_args(term):
        base, power = factor.as_base_exp()
        if not (base == sp.E or power.is_even or (factor.is_number and factor.is_positive)):
            return None
        halves.append(sp.sqrt(factor) if factor.is_number else base ** (power / 2))
    return sp.Mul(*halves)


def gathered(rates: Sequence[sp.Expr]) -> list[sp.Expr]:
    """Means over one neuron's law with numbers before them as the mean of their sum, one integral; those of an earlier rate stay.

    Examples
    --------
    >>> x, s = sp.Symbol("x", real=True), sp.Symbol("s", positive=True)
    >>> gathered([3 * expect(sp.tanh(x) ** 2, x, s) - 2 * expect(sp.tanh(x) ** 4, x, s)])
    [E[-2*tanh(z)**4 + 3*tanh(z)**2, z ~ N(0, s)]]
    """
    known: set[sp.Expr] = set()
    found = []
    for rate in rates:
        parts: list[sp.Expr] = []
        alike: dict[tuple[sp.Expr, ...], list[tuple[sp.Expr, sp.Expr]]] = {}
        for term in sp.Add.make_args(sp.expand_mul(rate)):
            outside, mean = term.as_independent(GaussianExpectation, as_Add=False)
            if not isinstance(mean, GaussianExpectation) or mean in known:
                parts.append(term)
                continue
            factor, function, slope, shift = standard_form(mean.args[0])
            before = factor * outside
            number, rest = before.as_independent(*before.free_symbols, as_Add=False)
            key = rest, slope * mean.args[1] + shift, slope**2 * mean.args[2]
            alike.setdefault(key, []).append((term, number * function))
        for (rest, *law), terms in alike.items():
            whole = sp.Add(*(function for _, function in terms))
            parts.append(terms[0][0] if len(terms) == 1 else rest * GaussianExpectation(sp.Lambda(Z, whole), *law))
        found.append(sp.Add(*parts))
        known |= found[-1].atoms(GaussianExpectation)
    return found


class Lowering:
    """Expressions with names in the place of Gaussian means and filters."""

    def __init__(self) -> None:
        self.own: list[Own] = []
        self.pairs: list[Both] = []
        self.swap: dict[sp.Expr, sp.Expr] = dict(_ALONE)
        self.known: dict[sp.Expr, sp.Expr] = {}

    def __call__(self, expr: sp.Expr) -> sp.Expr:
        """Names for the means in an expression, innermost first."""
        if expr not in self.known:
            self.known[expr] = self._lowered(expr)
        return self.known[expr]

    def _lowered(self, expr: sp.Expr) -> sp.Expr:
        if isinstance(expr, GaussianExpectation):
            mean, variance = map(self, expr.args[1:])
            factor, function, slope, shift = standard_form(expr.args[0])
            return factor * self._mean(function, slope * mean + shift, slope**2 * variance)
        if isinstance(expr, GaussianPairExpectation):
            return self._two(expr)
        if isinstance(expr, FilterAverage):
            return self._filter(expr)
        if not expr.has(GaussianExpectation, GaussianPairExpectation, FilterAverage):
            return expr
        return expr.func(*map(self, expr.args))

    def _names(self, stem: str) -> tuple[sp.Symbol, sp.Symbol]:
        names = sp.Dummy(f"{stem}_1", real=True), sp.Dummy(f"{stem}_2", real=True)
        self.swap[names[1]] = names[0]
        return names

    def _mean(self, function: sp.Expr, mean: sp.Expr, variance: sp.Expr) -> sp.Expr:
        """A mean over one neuron, which is a multiple of the variance where a centred function is of degree 2: what divides by it drops out."""
        if mean == 0 and degree(Activation("f", function, Z)) == 2:
            share = (function.subs(Z, 1) + function.subs(Z, -1)) / 2
            return sp.Mul(share, variance, evaluate=share in (0, 1))  # not multiplied out
        return self._one(function, mean, variance)

    def _one(self, function: sp.Expr, mean: sp.Expr, variance: sp.Expr) -> sp.Expr:
        law, side = self._alone(sp.Tuple(mean, variance))
        for known in self.own:
            if isinstance(known, OwnMean) and (known.function, known.mean, known.variance) == (function, *law):
                return known.names[side]
        self.own.append(OwnMean(self._names("e"), function, *law))
        return self.own[-1].names[side]

    def _filter(self, node: FilterAverage) -> sp.Expr:
        inside, (_, which, tag, places) = self(node.body), node.args
        if not node.is_own:
            self.pairs.append(PairFilter(sp.Dummy("g", real=True), int(which), tag, inside))
            return self.pairs[-1].name
        (moved,), _ = self._alone(sp.Tuple(inside))
        side = int(places[0])
        for known in self.own:
            if isinstance(known, OwnFilter) and (known.filter, known.tag, known.inside) == (int(which), tag, moved):
                return known.names[side]
        self.own.append(OwnFilter(self._names("g"), int(which), tag, moved))
        return self.own[-1].names[side]

    def _two(self, node: sp.Expr) -> sp.Expr:
        first, covariance, second = map(self, node.args[2:])
        factor = sp.S.One
        sides: list[tuple[int | None, sp.Expr, tuple[sp.Expr, ...]]] = []
        for function, own in zip(node.args[:2], (first, second), strict=True):
            scale, bare, slope, shift = standard_form(function)
            law, at = self._alone(sp.Tuple(shift, slope**2 * own))
            sides.append((at if law.free_symbols - {time} else None, bare, tuple(law)))
            factor *= scale
            covariance *= slope
        if sides[0][0] is not None and sides[0][0] == sides[1][0]:
            return self(_of_one_input(node))
        if sides[0][0] == 1 or sides[1][0] == 0:  # U is at the second input
            sides.reverse()
        functions, laws = [side[1] for side in sides], [side[2] for side in sides]
        found = PairMean(sp.Dummy("p", real=True), tuple(functions), tuple(laws), covariance)  # type: ignore[arg-type]
        for known in self.pairs:
            if isinstance(known, PairMean) and replace(found, name=known.name) == known:
                return factor * known.name
        self.pairs.append(found)
        return factor * found.name

    def _alone(self, law: sp.Tuple) -> tuple[sp.Tuple, int]:
        """An expression of one input as that of the first, and which input it was."""
        moved = law.xreplace(self.swap)
        both = law.free_symbols - {time} - set(self.swap) - set(self.swap.values())
        if both or (moved != law and law.free_symbols & set(self.swap.values())):
            raise DerivationError(
                f"the flow holds a mean over neurons whose law, {law}, depends on both inputs together"
            )
        return moved, int(moved != law)


def _of_one_input(node: GaussianPairExpectation) -> sp.Expr:
    """The mean over two neurons of one input in closed form, else one of a function of both."""
    found = node.doit()
    if not found.has(GaussianPairExpectation):
        return found
    (u, v), (first, covariance, second) = bound_symbols(("u", "v"), node.free_symbols, real=True), node.args[2:]
    return joint_mean(node.args[0](u) * node.args[1](v), (u, v), [[first, covariance], [covariance, second]])
