r"""Formulas modulo a prime, at random numbers: whether two are equal, without multiplying anything out.

Sums, products and powers are those of numbers modulo :math:`p = 2^{61} - 1`; every other function is a random one of what stands in it, and cases are
chosen by random weights that depend on the conditions. Equal numbers mean equal formulas but for a chance of about their degree in p.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import lru_cache

import sympy as sp
from sympy.core.relational import Relational

from numerics.backends.variables import variables

PRIME = 2**61 - 1


class Residues:
    """Values of formulas, where some parts of these are moved.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> here, there = Residues(), Residues(dict.fromkeys((x, y), 7))
    >>> [here.of(f) == there.of(f) for f in (sp.tanh(x - y), x**2 + y**2 - 2 * x * y, x * y)]
    [True, True, False]
    """

    def __init__(self, moved: Mapping[sp.Expr, int] | None = None) -> None:
        self.moved = moved or {}
        self.known = dict[sp.Basic, int]()

    def of(self, part: sp.Basic) -> int:
        """The value, which is remembered."""
        if part not in self.known:
            self.known[part] = (self._work(part) + self.moved.get(part, 0)) % PRIME
        return self.known[part]

    def _work(self, part: sp.Basic) -> int:
        if part.is_Rational:
            return int(part.p) * pow(int(part.q), -1, PRIME)
        if isinstance(part, sp.Lambda):  # its own variables are no numbers
            return random_residue(
                (sp.srepr(part), any(not variables(moved).isdisjoint(variables(part)) for moved in self.moved))
            )
        if not part.args:
            return random_residue(sp.srepr(part))
        if isinstance(part, sp.Piecewise):
            return self._cases(part)
        if isinstance(part, Relational):
            return random_residue((type(part).__name__, (self.of(part.lhs) - self.of(part.rhs)) % PRIME))
        base, exponent = as_power(part)
        if exponent > 1:
            return pow(self.of(base), exponent, PRIME)
        values = [self.of(arg) for arg in part.args]
        if part.is_Add:
            return sum(values)
        if part.is_Mul:
            product = 1
            for value in values:
                product = product * value % PRIME
            return product
        if part.is_Pow and part.exp.is_Rational and values[0]:
            root = values[0] if part.exp.q == 1 else random_residue(("root", values[0], int(part.exp.q)))
            return pow(root, int(part.exp.p), PRIME)
        return random_residue((type(part).__name__, *values))

    def _cases(self, part: sp.Piecewise) -> int:
        left, total = 1, 0
        for value, condition in part.args:
            weight = 1 if condition == sp.true else self.of(condition)
            total += left * weight * self.of(value)
            left = left * (1 - weight) % PRIME
        return total


def as_power(part: sp.Basic) -> tuple[sp.Basic, int]:
    """A base and a positive whole exponent, the largest known.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [as_power(f) for f in (x**3, 1 / x**2, sp.exp(-2 * x), sp.sqrt(x))]
    [(x, 3), (1/x, 2), (exp(-x), 2), (sqrt(x), 1)]
    """
    if part.is_Pow and part.exp.is_Integer and part.exp != -1:
        return (part.base, int(part.exp)) if part.exp > 0 else (1 / part.base, -int(part.exp))
    if isinstance(part, sp.exp):
        times = part.args[0].as_coeff_Mul()[0]
        if times.is_Integer and abs(times) > 1:
            return sp.exp(part.args[0] / abs(times)), abs(int(times))
    return part, 1


class Frozen(Residues):
    """Values of polynomials where some parts have other values, and what is no polynomial in these has its own.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> equal = Frozen(Residues(), dict.fromkeys((x, y), 7))
    >>> [equal.of(f) == 0 for f in (sp.exp(x) * (x**2 - x * y), sp.exp(x) - sp.exp(y))]
    [True, False]
    """

    def __init__(self, own: Residues, values: Mapping[sp.Expr, int]) -> None:
        super().__init__()
        self.own, self.values = own, values

    def _work(self, part: sp.Basic) -> int:
        if part in self.values:
            return self.values[part]
        if part.is_Add or part.is_Mul or isinstance(part, sp.Piecewise) or as_power(part)[1] > 1:
            return super()._work(part)
        return self.own.of(part)


@lru_cache(maxsize=1 << 14)
def random_residue(key: object) -> int:
    """The same number for the same key."""
    return random.Random(repr(key)).randrange(1, PRIME)
