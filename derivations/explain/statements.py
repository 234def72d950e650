"""Explaining a network: one layer's moments given the state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.binding import opened
from derivations.explain.products import with_gram_letters, with_meaning
from derivations.explain.recursion import SMALL, generic_program, label
from derivations.language.statements import Back, Mask, Matrix, Mix
from derivations.limits.closure import GramLimit
from derivations.limits.depth import as_sums
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.draws import AttentionDraw, Draw
from derivations.limits.elimination.held import released, with_means
from derivations.limits.elimination.moments import LayerMoments, state_averages
from derivations.limits.elimination.series import Series
from derivations.notation.nodes import (
    Angled,
    Juxtaposed,
    Remainder,
    Scripted,
    Transposed,
    covariance_of,
    expected,
    indexed,
    letter,
)
from derivations.notation.shares import with_named_shares
from derivations.notation.steps import Line, Step, Term
from derivations.sums import CoordinateSum
from derivations.symbols import step

_DELTA = letter("Delta")
#: The state that is given.
_X = indexed("X", ("ell",))
#: What a head of attention puts out has as its covariance, given its shares.
_FORM = Juxtaposed(Transposed(indexed("a", ("alpha",))), letter("S"), indexed("a", ("gamma",)))


class GivenSum(CoordinateSum):
    """A sum over the neurons of the layer that is given."""

    moment = r"\ell"

    def _changed(self, change: Callable[[sp.Basic], sp.Basic]) -> sp.Expr:
        function = opened(sp.Lambda(tuple(self.bound_symbols), self.body))
        return GivenSum(change(function.expr), function.variables, change(self.width))


def _shown_pairs(count: int, size: int) -> list[tuple[int, int]]:
    """Positions of what one matrix puts out, application by application: the first two coordinates, and two applications."""
    starts = range(0, count, size)
    own = [(k, k + c) for k in starts for c in range(min(size, 2)) if k + c < count]
    return own + [(k, q) for k in starts for q in starts if k < q]


@dataclass(frozen=True)
class ShownMoments:
    """One layer's moments given the state, for at most two coordinates, with names that can be read.

    Parameters
    ----------
    recipe : Recipe
        Of finite width.
    """

    recipe: Recipe

    @cached_property
    def layer(self) -> LayerMoments:
        """The layer over as many coordinates as are needed for two."""
        made = generic_program(self.recipe)
        few = self.recipe.coordinates if made.has_positions else min(self.recipe.coordinates, 2)
        return LayerMoments(made, few, name_sums=False)

    @property
    def size(self) -> int:
        """How many coordinates are shown."""
        return min(len(self.layer.states), 2)

    @cached_property
    def _names(self) -> dict[sp.Basic, sp.Basic]:
        """What the drawn numbers of a generic neuron are called."""
        program = self.layer.program
        alone = sum(isinstance(s, Matrix) and not s.weights.is_mean for s in program.statements) == 1
        names: dict[sp.Basic, sp.Basic] = {}
        for v, (of, c) in self.layer.expansion.origin.items():
            above = () if c is None else self._place(c)
            if isinstance(of, Mask | Mix):
                names[v] = indexed(of.symbol.name, (), above[-1:] if of.over is None else above)
            elif isinstance(of, Back):
                names[v] = indexed("v", (label(program, of.weights.name),), above)
            elif isinstance(of, Matrix):
                names[v] = indexed("u", () if alone else (label(program, of.symbol.name),), above)
            else:
                names[v] = indexed("b", () if alone else (label(program, of.name),), above)
        heads = self._heads
        for h, head in enumerate(heads, 1):
            below = () if len(heads) == 1 else (sp.Integer(h),)
            names |= {
                form: indexed("Phi", below, (sp.Integer(j + 1), sp.Integer(i + 1)))
                for (i, j), form in head.forms.items()
            }
        return names

    def _place(self, c: int) -> tuple[str | sp.Integer, ...]:
        """The upper indices of one of several coordinates: a neuron, where there are some, and which input or position."""
        if len(self.layer.states) == 1:
            return ()
        return (*(() if self.layer.program.neurons.size == 1 else ("i",)), sp.Integer(c + 1))

    @property
    def _dropped(self) -> tuple[str, ...]:
        """What is to be known where shares are dropped."""
        if not any(head.thinned for head in self._heads):
            return ()
        return (
            "Shares that are dropped at random are taken in the mean; of a row with itself, S has its diagonal divided by what is kept. ",
        )

    @property
    def _heads(self) -> list[AttentionDraw]:
        return [random for random in self.layer.expansion.random if isinstance(random, AttentionDraw)]

    def _at(self, expr: sp.Expr) -> sp.Expr:
        """Averages of the state as sums over the layer; those that hold what was drawn for each neuron in angle brackets."""
        expr, drawn = with_means(expr), set(self.layer.expansion.origin)
        mixed: dict[sp.Basic, sp.Expr] = {}
        for node in state_averages(expr):
            body = released(node.body)
            if body.free_symbols & drawn:
                mixed[node] = Angled(body.xreplace(mixed))
        sums = as_sums(expr.xreplace(mixed), self.layer.states, self.layer.program.neurons.size)
        sums = sp.factor_terms(sums)
        averages = {node: Angled(node.body.xreplace(self._names)) for node in sums.atoms(LayerAverage)}
        return sums.xreplace(averages).xreplace(self._names)

    @cached_property
    def _own(self) -> dict[sp.Basic, sp.Basic]:
        """The coordinates of the neuron whose increment is shown."""
        alone = () if self.layer.program.neurons.size == 1 else ("i",)
        return {x: indexed("X", ("ell",), self._place(c) or alone) for c, x in enumerate(self.layer.states)}

    def drift(self, a: int) -> sp.Expr:
        """The mean of a coordinate's increment."""
        return self._at(self.layer.drift(a))

    def covariance(self, a: int, b: int) -> sp.Expr:
        """Of the increments of two coordinates."""
        return self._at(self.layer.covariance(min(a, b), max(a, b)))

    def steps(self, gram: GramLimit | None = None) -> list[Step]:
        """What the matrices put out given the state; the increment and its moments.

        Averages of products of states are called as the entries of the Gram matrix whose limit is given, or would be.
        """
        return [self._drawn(gram), self._increment(gram)]

    def _shown(self, lines: list[Line], gram: GramLimit | None) -> tuple[Line, ...]:
        centred = gram is not None and gram.centred
        shown = with_gram_letters(tuple(_given(line, self._own) for line in lines), centred)
        return with_meaning(shown, "ell", self.layer.program.neurons.size, centred)

    def _drawn(self, gram: GramLimit | None) -> Step:
        lines = []
        for draw in (r for r in self.layer.expansion.random if isinstance(r, Draw)):
            for i, j in _shown_pairs(len(draw.variables), len(self.layer.states)):
                names = (self._names[draw.variables[k]] for k in (i, j))
                lines.append(Line(covariance_of(*names, _X), self._leading(draw.covariance[j, i])))
        averaged = any(term.coefficient.has(Angled) for line in lines for term in line.terms)
        gaussian = all(s.weights.is_gaussian for s in self.layer.program.statements if isinstance(s, Matrix))
        what = "inputs" if not self.recipe.positions else "positions" if self.recipe.inputs == 1 else "coordinates"
        likewise = f" for {what} 1 and 2 (and likewise for every pair)" if self.size > 1 else ""
        return Step(
            "Pre-activations given the state",
            (
                *(
                    (
                        "Given the state, what a matrix puts out is Gaussian. It is independent from neuron to neuron, given what the ",
                        "matrix reads. ",
                    )
                    if gaussian
                    else ("Given the state, what a matrix puts out is centred. ",)
                ),
                *(
                    (
                        "What a head of attention puts out is so given its shares a; ",
                        letter("Phi"),
                        " is the form ",
                        _FORM,
                        " in them, with S the covariance of its values. ",
                        *self._dropped,
                    )
                    if self._heads
                    else ()
                ),
                f"Its covariance{likewise}",
                ", with averages over the neurons that a matrix reads in angle brackets," if averaged else "",
                " is",
            ),
            self._shown(lines, gram),
            (
                (
                    "A linear combination of independent Gaussians is Gaussian. Its variance is the sum of squared coefficients times "
                    "variances. The rows of a matrix are independent."
                )
                if gaussian
                else (
                    "The entries have mean 0 and one variance, and are uncorrelated. Where more of the law enters than the covariance, it is "
                    "taken with the law of the matrix."
                ),
            ),
        )

    def _leading(self, series: Series) -> tuple[Term, ...]:
        """The first term of a series in the root of the small parameter, and what is left out beside it."""
        orders = [k for k, c in enumerate(series) if c != 0]
        if not orders:
            return (Term(sp.S.Zero),)
        power = step ** sp.Rational(orders[0], self.layer.root)
        first = Term(self._at(series[orders[0]]), power if orders[0] else None)
        return (first,) if len(orders) == 1 else (first, Term(Remainder("o", power)))

    def _increment(self, gram: GramLimit | None) -> Step:
        places = map(self._place, range(self.size))
        names = [indexed(_DELTA, (), place) if place else _DELTA for place in places]
        orders = [(k, c) for k, c in enumerate(self.layer.expansion.increment[0][1:], 1) if c != 0]
        lines = [
            Line(names[0], tuple(Term(self._at(c), step ** sp.Rational(k, self.layer.root)) for k, c in orders)),
            Line(expected(names[0], _X), _to_second_order(self.drift(0))),
        ]
        for b, other in enumerate(names):
            left = covariance_of(names[0], other, _X)
            known = gram.noises if gram is not None and self.recipe.coordinates > 1 else {}
            lines.append(Line(left, _to_second_order(known[0, b] if (0, b) in known else self.covariance(0, b))))
        shown, shares = with_named_shares(self._shown(lines, gram))
        return Step(
            "Increment and its conditional moments",
            (
                "With ",
                SMALL,
                " one layer takes ",
                step**2,
                " of time. ",
                *self._where(),
                " increment of a neuron and its moments are",
            ),
            shown,
            (
                *self._projected(),
                "Taylor's formula in the small parameter. Then statements are averaged out from the last to the first: a matrix by its "
                "Gaussian mean, whose covariance is an average over what it reads, and an i.i.d. factor by its expectation. This is exact for "
                "every number of neurons.",
                *shares,
            ),
        )

    def _where(self) -> tuple[str | sp.Expr, ...]:
        """The states that layers put out, up to the article of what holds there."""
        powers = sorted(self.layer.fixed_powers.items())
        if not powers:
            return ("The",)
        conditions: list[str | sp.Expr] = []
        for power, value in powers:
            joint = " and " if conditions else "On the states that layers put out, with averages over neurons "
            conditions += [joint, sp.Eq(Angled(letter("x") ** power), value)]
        return (*conditions, ", the")

    def _projected(self) -> tuple[str, ...]:
        if not self.layer.is_projected:
            return ()
        return (
            "At ε = 0 the layer projects the state, and so the next layer projects what this one adds: the increment is that of the layer "
            "followed by its projection. ",
        )


def _given(line: Line, own: dict[sp.Basic, sp.Basic]) -> Line:
    """A line with the states of the given layer: those of one neuron i, those in sums, and those in averages, which are over j."""
    parts = sp.Tuple(*(term.coefficient for term in line.terms))
    made: dict[sp.Basic, sp.Expr] = {}  # inner ones first
    for node in sorted(parts.atoms(CoordinateSum), key=lambda node: len(node.atoms(CoordinateSum))):
        made[node] = GivenSum(node.body.xreplace(made), sp.Tuple(*node.bound_symbols), node.width)
    others = {x: _beside(name) for x, name in own.items()}
    for node in sorted(parts.atoms(Angled), key=lambda node: len(node.atoms(Angled))):
        body = node.args[0].xreplace({**others, **made})
        made[node] = Angled(body.xreplace({name: _beside(name) for name in body.atoms(Scripted)}))
    return line.xreplace({**own, **made})


def _beside(name: sp.Basic) -> sp.Basic:
    """The same of a neuron j in place of i, where there is also an input or a position; else of any."""
    stem, below, above = name.args
    if not above or above[0] != letter("i"):
        return name
    return Scripted(stem, below, sp.Tuple(letter("j"), *above[1:]) if len(above) > 1 else sp.Tuple())


def _to_second_order(coefficient: sp.Expr) -> tuple[Term, ...]:
    rest = Term(Remainder("o", step**2))
    return (rest,) if coefficient == 0 else (Term(coefficient, step**2), rest)
