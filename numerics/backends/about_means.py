r"""Polynomials in some parts of a formula that are 0 where these are equal, about the mean of the parts.

With D the derivative along all parts together and m their mean, :math:`P(x) = \sum_k m^k (D^k P)(x - m) / k!`, of which terms that are 0 for every
x are left out. There are several such parts of a neuron, as x and tanh(x): then one after another. What is no polynomial in the parts stays
beside, as a number does.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import sympy as sp

from numerics.backends.residues import Frozen, Residues, as_power, random_residue
from numerics.backends.variables import variables


class AboutMean:
    """A formula with its largest parts that are 0 at equal parts written about their mean.

    Parameters
    ----------
    columns : sequence of (mapping of Expr to Symbol, Expr)
        The same part of each neuron, with a symbol for what it differs by from the mean; and the mean.
    linear : bool
        Whether linear forms, and functions that stay where all parts move together, are written so as well.

    Examples
    --------
    >>> x, y, a, b = sp.symbols("x y a b", real=True)
    >>> about = AboutMean([({x: a, y: b}, (x + y) / 2)])
    >>> found = about(sp.exp(x * (x**2 + y**2) / 2 - x * (x + y) ** 2 / 4) + x)
    >>> sorted(map(str, found.free_symbols)), about.gains
    (['a', 'b', 'x', 'y'], True)
    >>> about((x + y) ** 2)
    (x + y)**2
    """

    #: The difference of two numbers is as good as one of their differences from the mean.
    plain: ClassVar[int] = 2

    def __init__(self, columns: Sequence[tuple[Mapping[sp.Expr, sp.Symbol], sp.Expr]], linear: bool = True) -> None:
        self.columns, self.linear = columns, linear
        self.names = {part: name for names, _ in columns for part, name in names.items()}
        self.gains = False
        self.free = frozenset().union(*map(variables, self.names))
        self._known = dict[sp.Basic, sp.Basic]()

    @cached_property
    def here(self) -> Residues:
        """Values of formulas."""
        return Residues()

    @cached_property
    def moved(self) -> Residues:
        """Values where all parts have moved by the same."""
        return Residues(dict.fromkeys(self.names, random_residue("shift")))

    @cached_property
    def equal(self) -> Residues:
        """Values where all parts are the same, in polynomials of them."""
        return Frozen(
            self.here, {x: random_residue(("equal", k)) for k, (names, _) in enumerate(self.columns) for x in names}
        )

    def renamed(self, part: sp.Basic) -> sp.Basic:
        """With what the parts differ by in their place, whatever the formula."""
        return part.xreplace(self.names)

    def __call__(self, part: sp.Basic) -> sp.Basic:
        """The part, which is remembered."""
        if part not in self._known:
            self._known[part] = self._work(part) if self.reads(part) else part
        return self._known[part]

    def reads(self, part: sp.Basic) -> bool:
        """Whether the part changes with the parts that move."""
        return bool(part.args) and not variables(part).isdisjoint(self.free) and not isinstance(part, sp.Lambda)

    def degree(self, part: sp.Basic) -> int:
        """Of a polynomial in the parts."""
        if part in self.names:
            return 1
        if not self.reads(part):
            return 0
        if part.is_Add:
            return max(map(self.degree, part.args))
        if part.is_Mul:
            return sum(map(self.degree, part.args))
        if isinstance(part, sp.Piecewise):
            return max(self.degree(value) for value, _ in part.args)
        base, exponent = as_power(part)
        return exponent * self.degree(base) if exponent > 1 else 0

    def slope(self, part: sp.Basic, column: Mapping[sp.Expr, sp.Symbol]) -> sp.Expr:
        """Of a polynomial, along a column's parts together."""
        if part in self.names:
            return sp.Integer(part in column)
        if not self.degree(part):
            return sp.S.Zero
        if part.is_Add:
            return sp.Add(*(self.slope(term, column) for term in part.args))
        if part.is_Mul:
            slopes = [self.slope(factor, column) for factor in part.args]
            return sp.Add(*(sp.Mul(s, *part.args[:k], *part.args[k + 1 :]) for k, s in enumerate(slopes) if s != 0))
        if isinstance(part, sp.Piecewise):
            return sp.Piecewise(*((self.slope(value, column), condition) for value, condition in part.args))
        base, exponent = as_power(part)
        return exponent * base ** (exponent - 1) * self.slope(base, column)

    def apart(self, part: sp.Basic) -> sp.Basic:
        """A polynomial in the parts, with what they differ by in their place."""
        if part in self.names:
            return self.names[part]
        if not self.degree(part):
            return self(part)
        if isinstance(part, sp.Piecewise):
            return sp.Piecewise(*((self.apart(value), self(condition)) for value, condition in part.args))
        if part.is_Add or part.is_Mul:
            return part.func(*map(self.apart, part.args))
        base, exponent = as_power(part)
        return self.apart(base) ** exponent

    def beside(self, term: sp.Basic) -> frozenset[sp.Basic]:
        """What stands beside the polynomial in a term, in letters and functions."""
        if term in self.names or term.is_number:
            return frozenset()
        if isinstance(term, sp.Piecewise) and self.degree(term):
            return frozenset().union(*(self.beside(value) for value, _ in term.args))
        if term.is_Add or term.is_Mul:
            return frozenset().union(*map(self.beside, term.args))
        base, exponent = as_power(term)
        return self.beside(base) if exponent > 1 else frozenset({_without_number(term)})

    def _work(self, part: sp.Basic) -> sp.Basic:
        if part in self.names:
            return part
        if part.is_Add:
            return self._sum(part)
        if self.linear and not (part.is_Mul or part.is_Pow) and self.here.of(part) == self.moved.of(part):
            self.gains |= len(self.names) > self.plain
            return self.renamed(part)
        return part.func(*map(self, part.args))

    def _sum(self, total: sp.Add) -> sp.Expr:
        """With terms that together are 0 at equal parts about the mean."""
        if self.linear and self.here.of(total) == self.moved.of(total):
            self.gains |= len(total.args) > self.plain or self._multiplies(total)
            return self.renamed(total)
        left, found = [term for term in total.args if self.degree(term)], list[sp.Expr]()
        kept = [term for term in total.args if term not in left]
        for key in (self._one, self._functions, self._functions_degree, self._all):
            classes = dict[Hashable, list[sp.Expr]]()
            for term in left:
                classes.setdefault(key(term), []).append(term)
            for terms in classes.values():
                whole = sp.Add(*terms)
                if len(terms) > 1 and self._cancels(whole, terms):
                    found.append(self._about_mean(whole))
                    left = [term for term in left if term not in terms]
        return sp.Add(*found, *map(self, (*kept, *left)))

    def _one(self, _: sp.Expr) -> Hashable:
        return None

    def _functions(self, term: sp.Expr) -> Hashable:
        return frozenset(part for part in self.beside(term) if not part.is_Symbol)

    def _functions_degree(self, term: sp.Expr) -> Hashable:
        return self._functions(term), self.degree(term)

    def _all(self, term: sp.Expr) -> Hashable:
        return self.beside(term), self.degree(term)

    def _cancels(self, whole: sp.Expr, terms: list[sp.Expr]) -> bool:
        if self.equal.of(whole) != 0 or not (self.linear or self._multiplies(whole)):
            return False
        self.gains |= len(terms) > self.plain or self._multiplies(whole)
        return True

    def _multiplies(self, whole: sp.Expr) -> bool:
        """Whether the polynomial is more than a linear form with numbers."""
        return self.degree(whole) > 1 or any(map(self.beside, whole.args))

    def _about_mean(self, polynomial: sp.Expr) -> sp.Expr:
        terms = [(sp.S.One, polynomial)]
        for names, mean in self.columns:
            terms = [
                (before * power, slope) for before, part in terms for power, slope in self._powers(part, names, mean)
            ]
        return sp.Add(*(power * self.apart(slope) for power, slope in terms))

    def _powers(
        self, polynomial: sp.Expr, column: Mapping[sp.Expr, sp.Symbol], mean: sp.Expr
    ) -> Iterator[tuple[sp.Expr, sp.Expr]]:
        order = 0
        while self.here.of(polynomial) != 0:
            yield mean**order / sp.factorial(order), polynomial
            order, polynomial = order + 1, self.slope(polynomial, column)


def leaves(parts: Iterable[sp.Basic]) -> Iterator[sp.Basic]:
    """What formulas are polynomials of, each once.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> sorted(map(str, leaves([x * sp.tanh(x) ** 2 + sp.exp(-2 * x)])))
    ['exp(-x)', 'tanh(x)', 'x']
    """
    left, seen = list(parts), set[sp.Basic]()
    while left:
        part = left.pop()
        if part in seen:
            continue
        seen.add(part)
        if part.is_Add or part.is_Mul:
            left += part.args
        elif isinstance(part, sp.Piecewise):
            left += [value for value, _ in part.args]
        elif as_power(part)[1] > 1:
            left.append(as_power(part)[0])
        else:
            yield part


def _without_number(term: sp.Basic) -> sp.Basic:
    """The same power of all multiples of a sum."""
    base, exponent = term.as_base_exp()
    if not base.is_Add:
        return term
    one = base.primitive()[1]
    return (-one if one.could_extract_minus_sign() else one) ** exponent
