r"""Names for coefficients that are no rational functions of the state's averages.

Over positions the same function stands at each pair of them, of other averages. So a name keeps the function and where it is taken, and what
costs time is done once for each function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import sympy as sp

from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.held import HeldMean


class Coefficient(HeldMean):
    """A name for a function of some averages.

    Parameters
    ----------
    form : Expr
        The function, in letters of its own.
    places : tuple of Expr
        What stands for these letters.
    """

    __slots__ = ("form", "places")
    form: sp.Expr
    places: tuple[sp.Expr, ...]


class Coefficients:
    """The names that one layer needs, one for each function and place."""

    def __init__(self) -> None:
        self._letters: list[sp.Dummy] = []
        self._names: dict[tuple[sp.Expr, tuple[sp.Expr, ...]], Coefficient] = {}
        self._factored: dict[sp.Expr, sp.Expr] = {}
        self._values: dict[tuple[sp.Expr, tuple[sp.Expr, ...]], sp.Expr] = {}

    def __call__(self, form: sp.Expr, places: Sequence[sp.Expr]) -> Coefficient:
        """The name of a function at some places."""
        key = form, tuple(places)
        if key not in self._names:
            name = Coefficient.of("m", lambda: form.xreplace(self._rule(key[1])))
            assert isinstance(name, Coefficient)
            name.form, name.places = key
            self._names[key] = name
        return self._names[key]

    def taken_apart(self, value: sp.Expr) -> tuple[sp.Expr, tuple[sp.Expr, ...]]:
        """A coefficient as a function of linear combinations of averages."""
        found: dict[sp.Expr, sp.Dummy] = {}
        free = value.free_symbols  # what holds the variable of an integral cannot leave it

        def inside(expr: sp.Expr) -> sp.Expr:
            if isinstance(expr, sp.Expr) and _is_linear(expr) and expr.free_symbols <= free:  # a node may hold a tuple
                if expr not in found:
                    if len(self._letters) == len(found):
                        self._letters.append(sp.Dummy("s", real=True))
                    found[expr] = self._letters[len(found)]
                return found[expr]
            return expr.func(*map(inside, expr.args)) if expr.has(LayerAverage) else expr

        return inside(value), tuple(found)

    def around(self, expr: sp.Expr, change: Callable[[sp.Expr], sp.Expr]) -> sp.Expr:
        """An expression with a change applied to all but coefficients."""
        kept = {m: sp.Dummy(m.name, real=True) for m in expr.atoms(Coefficient)}
        return change(expr.xreplace(kept)).xreplace({name: m for m, name in kept.items()})

    def of_means(self, found: sp.Expr, places: Mapping[sp.Symbol, sp.Expr]) -> sp.Expr:
        """A Gaussian mean with names for what is no rational function of some covariances, given by their values."""
        terms = []
        for form, rest, used in _parts(found, tuple(places)):
            while len(self._letters) < len(used):
                self._letters.append(sp.Dummy("s", real=True))
            letters = dict(zip(used, self._letters, strict=False))
            terms.append(rest * (self(form.xreplace(letters), [places[s] for s in used]) if used else form))
        return sp.Add(*terms)

    def released(self, expr: sp.Expr, change: Callable[[sp.Expr], sp.Expr]) -> sp.Expr:
        """An expression with a change applied, and coefficients, changed likewise, in the place of their names."""
        kept = {m: sp.Dummy(m.name, real=True) for m in expr.atoms(Coefficient)}
        places = {p: change(p) for p in dict.fromkeys(p for m in kept for p in m.places)}
        values = {}
        for m, name in kept.items():
            values[name] = self._value(m.form, tuple(places[p] for p in m.places))
        return change(expr.xreplace(kept)).xreplace(values)

    def _value(self, form: sp.Expr, places: tuple[sp.Expr, ...]) -> sp.Expr:
        if form not in self._factored:
            self._factored[form] = sp.factor_terms(form)
        if (form, places) not in self._values:
            self._values[form, places] = self._factored[form].xreplace(self._rule(places))
        return self._values[form, places]

    def _rule(self, places: Sequence[sp.Expr]) -> dict[sp.Dummy, sp.Expr]:
        return dict(zip(self._letters, places, strict=False))  # letters beyond them are of other functions


def _is_linear(expr: sp.Expr) -> bool:
    """Whether it is a linear combination of averages, and perhaps of 1."""
    terms = [term.as_independent(LayerAverage, as_Add=False)[1] for term in sp.Add.make_args(expr)]
    return any(isinstance(t, LayerAverage) for t in terms) and all(t == 1 or isinstance(t, LayerAverage) for t in terms)


@lru_cache(maxsize=256)
def _parts(
    found: sp.Expr, covariances: tuple[sp.Symbol, ...]
) -> tuple[tuple[sp.Expr, sp.Expr, tuple[sp.Symbol, ...]], ...]:
    """A mean as a sum of products: of what is no polynomial in some covariances, and of powers of the others; with those in the former."""
    if found.is_rational_function(*covariances):
        return ((sp.S.One, found, ()),)
    powers = [s for s in covariances if found.has(s) and found.is_polynomial(s)]
    collected: dict[sp.Expr, list[sp.Expr]] = {}
    for term in sp.Add.make_args(sp.expand(found) if powers else found):
        form, rest = term.as_independent(*powers, as_Add=False)
        collected.setdefault(rest, []).append(form)
    forms = [(sp.Add(*terms), rest) for rest, terms in collected.items()]
    return tuple(
        (form, rest, tuple(s for s in covariances if s in own)) for form, rest in forms for own in [form.free_symbols]
    )
