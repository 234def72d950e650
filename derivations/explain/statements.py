r"""Explaining a network: the statements of one layer, and one layer's moments given the state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from derivations.activations.base import Activation
from derivations.architectures.base import Recipe
from derivations.language import Program, Weights
from derivations.language.small import sizes_in_front
from derivations.language.statements import Back, Between, Mask, Matrix, Mean, Mix, Shares, Statement
from derivations.limits.depth import as_sums
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.draws import AttentionDraw, Draw
from derivations.limits.elimination.held import released, with_means
from derivations.limits.elimination.moments import LayerMoments, state_averages
from derivations.limits.elimination.series import Series
from derivations.notation.nodes import (
    Angled,
    Distribution,
    Juxtaposed,
    Remainder,
    Total,
    covariance_of,
    equals,
    expected,
    indexed,
    letter,
)
from derivations.notation.plain import Words
from derivations.notation.steps import Line, Step, Term, equation
from derivations.symbols import depth, state, step, width

#: How the small parameter of a layer depends on the depth.
SMALL = equals(step, 1 / sp.sqrt(depth))
#: What laws of matrices are called that are not Gaussian; each with the mean and the variance of an entry.
_LAWS = {
    "orthogonal": "Haar",
    "uniform": "Uniform",
    "rademacher": "Rademacher",
    "laplace": "Laplace",
    "truncated_normal": "TruncatedNormal",
}
_DELTA = letter("Delta")
#: What a head of attention puts out has as its covariance, given its shares.
_FORM = Juxtaposed(
    Juxtaposed(indexed("a", (letter("alpha"),), (letter("T"),)), letter("S")), indexed("a", (letter("gamma"),), ())
)


def network_steps(recipe: Recipe) -> list[Step]:
    """The statements of one layer in order with the laws of its weights, and the activations that they name."""
    layer, moved = sizes_in_front(_named(recipe), {step})
    why = (
        (" Small factors of a matrix's entries stand in front of what it puts out, which has the same law.",)
        if moved
        else ()
    )
    return [recursion_step(layer, recipe.inputs, 1 / sp.sqrt(depth), clock=why), *_activation_steps(recipe)]


def recursion_step(layer: Program, inputs: int, small: sp.Expr, more: tuple[Line, ...] = (), clock: Words = ()) -> Step:
    """The statements of one layer in order, and the laws of its weights.

    Parameters
    ----------
    layer : Program
    inputs : int
        How many network inputs are followed.
    small : Expr
        The small parameter, in the depth or the width.
    more : tuple of Line
        What letters stand for.
    clock : sentence
        What a unit of time is, where it is not that of all layers.
    """
    count = layer.neurons.size
    acts: Words = ("1 neuron",) if count == 1 else (count, " neurons")
    followed = "one network input" if inputs == 1 else f"{inputs} network inputs, which share the weights"
    return Step(
        "Recursion",
        (
            *("Layer ", letter("ell"), " of ", depth, " acts on ", *acts),
            f" and {followed}. Weights are independent, and fresh in every layer:",
        ),
        _Recursion(layer, small).lines() + more,
        ("This is the network. Everything below is derived from it.", *clock),
    )


def _named(recipe: Recipe) -> Program:
    """One layer as a program in which the activation inside the weights has a name."""
    at = replace(recipe, width=width) if recipe.width == sp.oo else recipe
    return _with_names(at, recipe.letters[:1]).program()


def generic_program(recipe: Recipe) -> Program:
    """One layer with undefined activations where the recipe names them, so that formulas show where they enter."""
    return _with_names(recipe, recipe.letters).program()


def _with_names(recipe: Recipe, letters: tuple[tuple[str, str], ...]) -> Recipe:
    """The activation inside the weights undefined, and of others the derivatives at 0, where their argument is small, as symbols."""
    rule = {}
    for k, (name, called) in enumerate(letters):
        first, second = (sp.Symbol(rf"\{called}{mark}(0)", real=True) for mark in ("'", "''"))
        outer = first * state + second * state**2 / 2
        rule[name] = Activation(called, outer if k else sp.Function(called, real=True)(state))
    return replace(recipe, **rule)


@dataclass(frozen=True)
class _Recursion:
    """The statements of a layer as lines, neuron by neuron."""

    layer: Program
    small: sp.Expr

    @cached_property
    def matrices(self) -> tuple[Weights, ...]:
        """Each matrix once."""
        return tuple(dict.fromkeys(s.weights for s in self.layer.statements if isinstance(s, Matrix)))

    @cached_property
    def several(self) -> bool:
        """Whether more than one random matrix is applied, so that what they put out needs names."""
        return sum(isinstance(s, Matrix) and not s.weights.is_mean for s in self.layer.statements) > 1

    def lines(self) -> tuple[Line, ...]:
        """All statements, the laws of the weights, and the update."""
        own = _index(self.layer.neurons.size, "i")
        here, there = indexed("X", ("ell",), own), indexed("X", (letter("ell") + 1,), own)
        update = self._at(self.layer.update, "i")
        rest = update - here
        rest = sp.expand(rest) if rest.has(here) else rest
        terms = sp.Add.make_args(update) if rest.has(here) else (here, *rest.as_ordered_terms())
        return (
            Line(there, tuple(Term(term) for term in terms)),
            *(self._line(s) for s in self.layer.statements),
            *(line for w in self.matrices if not w.is_mean for line in self._laws(w)),
        )

    def _value(self, s: Statement, neuron: str, position: sp.Expr = letter("alpha")) -> sp.Expr:  # noqa: B008
        """What a statement puts out, at a neuron, and at a position where these meet."""
        name, at = s.symbol.name, (position,) if self.layer.has_pairs else ()
        if isinstance(s, Matrix):
            own = _index(s.target.size, neuron)
            if s.weights.is_nothing:
                return indexed("u", (name,), (*own, *at))
            if s.weights.is_mean:
                return letter("m")
            return indexed("u", (name,) if self.several else (), (*own, *at))
        if isinstance(s, Shares | Between) or (isinstance(s, Mean) and s.pair):
            return indexed(name, (), (letter("alpha"), letter("beta")))
        if isinstance(s, Back):
            return indexed("v", (s.weights.name,), (*_index(s.target.size, neuron), *at))
        if isinstance(s, Mean) or s.over is None:
            return indexed(name, (), at) if at else letter(name)
        return indexed(name, (), (*_index(s.over.size, neuron), *at))

    def _at(self, body: sp.Expr, neuron: str, tap: sp.Expr | None = None) -> sp.Expr:
        def state_at(position: sp.Expr) -> sp.Expr:
            place = (position,) if self.layer.has_pairs else () if tap is None else (letter("p") + tap,)
            return indexed("X", ("ell",), (*_index(self.layer.neurons.size, neuron), *place))

        here, there = letter("alpha"), letter("beta")
        rule = {s.symbol: self._value(s, neuron) for s in self.layer.statements} | {state: state_at(here)}
        far = {s.symbol: self._value(s, neuron, there) for s in self.layer.statements} | {state: state_at(there)}
        return body.xreplace({step: self.small, **rule, **{twin: far[own] for twin, own in self.layer.others}})

    def _line(self, s: Statement) -> Line:
        left = self._value(s, "i")
        if isinstance(s, Mean):
            total = _total(self._at(s.body, "j"), s.over.size)
            return Line(left, (Term(s.over.size**-s.power, total),))
        if isinstance(s, Mix):
            return equation(left, Total(self._at(s.body, "i"), letter("beta"), sp.Integer(self.layer.positions), ()))
        if isinstance(s, Shares):
            share = self._at(s.mask, "i") * sp.exp(self._at(s.body, "i"))
            return equation(left, share / Total(share, letter("beta"), sp.Integer(self.layer.positions), ()))
        if isinstance(s, Between):
            return equation(left, s.matrix.shown(letter("alpha"), letter("beta")))
        if isinstance(s, Back):
            entry = indexed(s.weights.name, (*_index(s.source.size, "j"), *_index(s.target.size, "i")))
            return equation(left, _total(Juxtaposed(entry, self._at(s.body, "j")), s.source.size))
        if isinstance(s, Mask):
            return equation(left, Distribution("Bernoulli", s.keep), "~")
        w, (entry, bias) = s.weights, self._entries(s)
        tap = letter("d") if w.taps else None
        body = self._at(s.body, "j", tap)
        mean = w.mean / self._fan_in(s)
        total = _total(mean * body if w.is_mean else Juxtaposed(entry, body), s.source.size, tap)
        constant = w.bias_mean if w.is_mean else bias if w.bias_variance != 0 or w.bias_mean != 0 else sp.S.Zero
        terms = tuple(Term(t) for t in (sp.S.Zero if w.is_mean and mean == 0 else total, constant) if t != 0)
        return Line(left, terms or (Term(sp.S.Zero),))

    def _entries(self, s: Matrix) -> tuple[sp.Expr, sp.Expr]:
        """A weight and a bias."""
        w, out = s.weights, _index(s.target.size, "i")
        bias = indexed("b", out, (w.name,) if self.several else ())
        return indexed(w.name, (*out, *_index(s.source.size, "j")), ("d",) if w.taps else ()), bias

    def _fan_in(self, s: Matrix) -> sp.Expr:
        return s.source.size * max(1, len(s.weights.taps))

    def _laws(self, w: Weights) -> list[Line]:
        applied = next(s for s in self.layer.statements if isinstance(s, Matrix) and s.weights == w)
        (entry, bias), k = self._entries(applied), self._fan_in(applied)
        name = "N" if w.is_gaussian else _LAWS.get(str(w.law), "Law")
        lines = [equation(entry, Distribution(name, w.mean / k, w.variance / k), "~")]
        if w.bias_variance != 0:
            lines.append(equation(bias, Distribution("N", w.bias_mean, w.bias_variance), "~"))
        elif w.bias_mean != 0:
            lines.append(equation(bias, w.bias_mean))
        return lines


def _index(size: sp.Expr, name: str) -> tuple[str, ...]:
    """The index of a neuron, where there is more than one."""
    return () if size == 1 else (name,)


def _total(body: sp.Expr, size: sp.Expr, tap: sp.Expr | None = None) -> sp.Expr:
    """A sum over neurons j, where there is more than one, and over the taps of a filter."""
    if size == 1 and tap is None:
        return body
    return Total(body, letter("j"), size, () if tap is None else (tap,))


def _shown_pairs(count: int, size: int) -> list[tuple[int, int]]:
    """Positions of what one matrix puts out, application by application: the first two coordinates, and two applications."""
    starts = range(0, count, size)
    own = [(k, k + c) for k in starts for c in range(min(size, 2)) if k + c < count]
    return own + [(k, q) for k in starts for q in starts if k < q]


def _activation_steps(recipe: Recipe) -> list[Step]:
    if not recipe.letters:
        return []
    (name, inner), *outer = ((letter, getattr(recipe, field)) for field, letter in recipe.letters)
    lines = [equation(sp.Function(name)(state), inner.expr)]
    if not outer:
        because = "It enters through its values. Its derivatives enter by Itô's formula."
        return [Step("Activation", ("The activation is",), tuple(lines), (because,), is_setting=True)]
    for name, activation in outer:
        lines.append(equation(sp.Function(name)(state), activation.expr))
        for order, mark in enumerate(("", "'", "''")):
            value = (activation.derivative(order) if order else activation.expr).subs(state, 0)
            lines.append(equation(sp.Symbol(rf"\{name}{mark}(0)"), value))
    because = (
        "The one inside the weights enters through its values. The argument of the outer one is small, so only its "
        "Taylor coefficients at 0 enter."
    )
    claim = ("The activations inside and outside the weights are",)
    return [Step("Activations", claim, tuple(lines), (because,), is_setting=True)]


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
        program, several = self.layer.program, len(self.layer.states) > 1
        alone = sum(isinstance(s, Matrix) and not s.weights.is_mean for s in program.statements) == 1
        names: dict[sp.Basic, sp.Basic] = {}
        for v, (of, c) in self.layer.expansion.origin.items():
            above = () if c is None or not several else (sp.Integer(c + 1),)
            if isinstance(of, Mask | Mix):
                names[v] = indexed(of.symbol.name, (), above)
            elif isinstance(of, Back):
                names[v] = indexed("v", (letter(of.weights.name),), above)
            elif isinstance(of, Matrix):
                names[v] = indexed("u", () if alone else (letter(of.symbol.name),), above)
            else:
                names[v] = indexed("b", () if alone else (letter(of.name),), above)
        heads = self._heads
        for h, head in enumerate(heads, 1):
            below = () if len(heads) == 1 else (sp.Integer(h),)
            names |= {
                form: indexed("Phi", below, (sp.Integer(j + 1), sp.Integer(i + 1)))
                for (i, j), form in head.forms.items()
            }
        return names

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

    def drift(self, a: int) -> sp.Expr:
        """The mean of a coordinate's increment."""
        return self._at(self.layer.drift(a))

    def covariance(self, a: int, b: int) -> sp.Expr:
        """Of the increments of two coordinates."""
        return self._at(self.layer.covariance(min(a, b), max(a, b)))

    def steps(self) -> list[Step]:
        """What the matrices put out given the state; the increment and its moments."""
        return [self._drawn(), self._increment()]

    def _drawn(self) -> Step:
        lines = []
        for draw in (r for r in self.layer.expansion.random if isinstance(r, Draw)):
            for i, j in _shown_pairs(len(draw.variables), len(self.layer.states)):
                names = (self._names[draw.variables[k]] for k in (i, j))
                lines.append(Line(covariance_of(*names, letter("X")), self._leading(draw.covariance[j, i])))
        gaussian = all(s.weights.is_gaussian for s in self.layer.program.statements if isinstance(s, Matrix))
        what = "coordinates" if self.recipe.positions else "inputs"
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
                    )
                    if self._heads
                    else ()
                ),
                f"Its covariance{likewise} is",
            ),
            tuple(lines),
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

    def _increment(self) -> Step:
        several = len(self.layer.states) > 1
        names = [indexed(_DELTA, (), (sp.Integer(a + 1),)) if several else _DELTA for a in range(self.size)]
        orders = [(k, c) for k, c in enumerate(self.layer.expansion.increment[0][1:], 1) if c != 0]
        lines = [
            Line(names[0], tuple(Term(self._at(c), step ** sp.Rational(k, self.layer.root)) for k, c in orders)),
            Line(expected(names[0], letter("X")), _to_second_order(self.drift(0))),
        ]
        for b, other in enumerate(names):
            left = covariance_of(names[0], other, letter("X"))
            lines.append(Line(left, _to_second_order(self.covariance(0, b))))
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
            tuple(lines),
            (
                *self._projected(),
                "Taylor's formula in the small parameter. Then statements are averaged out from the last to the first: a matrix by its "
                "Gaussian mean, whose covariance is an average over what it reads, and an i.i.d. factor by its expectation. This is exact for "
                "every number of neurons.",
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


def _to_second_order(coefficient: sp.Expr) -> tuple[Term, ...]:
    rest = Term(Remainder("o", step**2))
    return (rest,) if coefficient == 0 else (Term(coefficient, step**2), rest)
