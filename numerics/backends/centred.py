r"""Formulas of neurons that may be nearly equal, by what these differ by, for targets of fixed precision.

A variance over a layer arrives as :math:`n^{-1}\sum_i x_i^2 - (n^{-1}\sum_i x_i)^2`, of which a layer norm is made. Neurons that are nearly
equal leave no digit of it. Every polynomial P that is 0 at equal neurons loses its digits so, and is written about their mean m here,

.. math:: P(x) = \sum_k \frac{m^k}{k!} (D^k P)(x - m), \qquad D = \sum_i \frac{\partial}{\partial x_i},

without the terms that are 0 for every x: the differences keep all their digits and nothing else cancels. Of a formula that is the same at
:math:`x_i + c` for all c only the first term is left. So are :math:`\varphi(x_i)` that are averaged, to the digits that they have themselves.

What is 0, and what is the same, is decided by :mod:`numerics.backends.residues`; the terms are found by :mod:`numerics.backends.about_means`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import count

import sympy as sp

from derivations.binding import bound_symbol
from numerics.backends.about_means import AboutMean, leaves
from numerics.backends.variables import variables

_MOST = 64  # groups that are tried
_NEURON = sp.Dummy("neuron", real=True)


class Apart(sp.Expr):
    """``Apart(a, b)`` is a - b, of numbers so near each other that SymPy must not multiply it out; the code printers write it out."""

    is_commutative = True
    is_extended_real = True
    is_of_code = True  # it has no text that a node is read from

    def __new__(cls, first: sp.Expr, second: sp.Expr) -> Apart:
        """Keep both parts as they are."""
        return sp.Expr.__new__(cls, sp.sympify(first), sp.sympify(second))


def centred(
    expressions: Sequence[sp.Expr], rewrite: Callable[[sp.Expr], sp.Expr]
) -> tuple[tuple[sp.Expr, ...], dict[sp.Symbol, sp.Expr]]:
    """Formulas with symbols for differences from means where they can hold these, and what the symbols are, rewritten for a target.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> (variance,), apart = centred([(x**2 + y**2) / 2 - (x + y) ** 2 / 4], lambda formula: formula)
    >>> variance.free_symbols == set(apart), sorted(map(str, apart.values()))
    (True, ['Apart(x, x/2 + y/2)', 'Apart(y, x/2 + y/2)'])
    >>> centred([(x**2 + y**2) / 2 - (x + y) ** 2 / 5], lambda formula: formula)[1]
    {}
    """
    found, apart, numbers = tuple(expressions), dict[sp.Symbol, sp.Expr](), count(1)
    for functions in (False, True):  # what is inside a function is centred before its values are
        for neurons in _groups(found):
            columns = _columns(found, neurons, apart) if functions else [neurons]
            if functions and columns in ([], [neurons]):
                continue
            named = [{part: bound_symbol("apart", next(numbers), real=True) for part in parts} for parts in columns]
            # other rules see to differences of a function's values
            about = AboutMean([(names, sp.Add(*names) / len(names)) for names in named], linear=not functions)
            changed = tuple(map(about, found))
            if about.gains and found != changed:
                found = changed
                written = {n: [rewrite(x), rewrite(mean)] for names, mean in about.columns for x, n in names.items()}
                apart |= {name: Apart(*(part.xreplace(apart) for part in parts)) for name, parts in written.items()}
    return found, apart


def _groups(expressions: Iterable[sp.Expr]) -> list[tuple[sp.Symbol, ...]]:
    """Variables of which the same function is added up, fewer first."""
    found = dict[frozenset[sp.Basic], None]()
    for total in _sums(expressions):
        alike = dict[sp.Basic, set[sp.Basic]]()
        for term in total.args:
            own = variables(term)
            if len(own) == 1:
                alike.setdefault(_of_one(term, *own), set()).update(own)
        found |= {frozenset(group): None for group in alike.values() if len(group) > 1}
    return [tuple(sorted(group, key=sp.default_sort_key)) for group in sorted(found, key=len)][:_MOST]


def _columns(
    expressions: Iterable[sp.Expr], neurons: tuple[sp.Symbol, ...], apart: Container[sp.Basic]
) -> list[tuple[sp.Expr, ...]]:
    """What sums are polynomials of, the same part of each neuron; differences from a mean themselves are not nearly equal."""
    found = dict[sp.Basic, dict[sp.Basic, sp.Expr]]()
    for part in leaves(_sums(expressions)):
        own = variables(part)
        if len(own) == 1 and own <= set(neurons) and part not in apart:
            found.setdefault(_of_one(part, *own), {})[next(iter(own))] = part
    whole = [parts for _, parts in sorted(found.items(), key=sp.default_sort_key) if len(parts) == len(neurons)]
    return [tuple(parts[x] for x in neurons) for parts in whole]


def _of_one(part: sp.Basic, variable: sp.Basic) -> sp.Basic:
    return part.xreplace({variable: _NEURON})


def _sums(expressions: Iterable[sp.Basic]) -> Iterator[sp.Add]:
    """Each different sum once."""
    seen, left = set[sp.Basic](), list(expressions)
    while left:
        part = left.pop()
        if part not in seen:
            seen.add(part)
            left += part.args
            if part.is_Add:
                yield part
