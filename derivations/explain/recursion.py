"""Explaining a network: the statements of one layer in order, the laws of its weights, its activations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from derivations.activations.base import Activation
from derivations.architectures.base import Recipe
from derivations.language import Program, Weights
from derivations.language.entries import Correlated
from derivations.language.small import sizes_in_front
from derivations.language.statements import Back, Between, Mask, Matrix, Mean, Mix, Shares, Statement
from derivations.notation.nodes import (
    Distribution,
    Juxtaposed,
    Listed,
    Total,
    Word,
    covariance_of,
    equals,
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
#: Letters that equations use for what is no matrix of weights: Brownian motions, covariances, depth, normal laws, Gram matrix, states.
_TAKEN = frozenset("BCELNPSVXY")
#: How many angles are shown.
_FEW_ANGLES = 16
#: How many entries of one law stand in a line.
_MOST_ENTRIES = 6
#: A position, and an entry of a filter.
_AT, _OFFSET = letter("alpha"), letter("r")


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
    acts = (*acts, f" at each of {layer.positions} positions") if layer.positions > 1 else acts
    filtered: Words = (". A filter T reads position ", _AT + _OFFSET, " at ", _AT) if layer.filters else ()
    followed = "one network input" if inputs == 1 else f"{inputs} network inputs, which share the weights"
    return Step(
        "Recursion",
        (
            *("Layer ", letter("ell"), " of ", depth, " acts on ", *acts),
            f" and {followed}",
            *filtered,
            *_turning(layer),
            ". Weights are independent, and fresh in every layer:",
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


def has_taken_names(layer: Program) -> bool:
    """Whether a matrix is called as another thing on the page is."""
    taken = _TAKEN | {"R"} if layer.turns_positions else _TAKEN
    return any(s.weights.name.rstrip("0123456789_") in taken for s in layer.statements if isinstance(s, Matrix))


def label(layer: Program, name: str) -> sp.Expr:
    """The name of a matrix as an index: upright where it would else be the letter of another thing."""
    return Word(name) if has_taken_names(layer) and name.isalpha() else letter(name)


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

    @cached_property
    def has_places(self) -> bool:
        """Whether positions meet, so that states and statements have an index for them."""
        return self.layer.has_pairs or bool(self.layer.filters)

    def lines(self) -> tuple[Line, ...]:
        """All statements, the laws of the weights, and the update."""
        own = (*_index(self.layer.neurons.size, "i"), *((_AT,) if self.has_places else ()))
        here, there = indexed("X", ("ell",), own), indexed("X", (letter("ell") + 1,), own)
        update = self._at(self.layer.update, "i")
        rest = update - here
        rest = sp.expand(rest) if rest.has(here) else rest
        terms = sp.Add.make_args(update) if rest.has(here) else (here, *rest.as_ordered_terms())
        return (
            Line(there, tuple(Term(term) for term in terms)),
            *(self._line(s) for s in self.layer.statements if s.symbol not in self._same),
            *(equation(letter("theta"), a) for a in _angles(self.layer) if a.rows * a.cols <= _FEW_ANGLES),
            *_together([line for w in self.matrices if not w.is_mean for line in self._laws(w)]),
        )

    @cached_property
    def _same(self) -> dict[sp.Symbol, Statement]:
        """Averages over one neuron of what a statement puts out, which are that: they need no letter."""
        of = {s.symbol: s for s in self.layer.statements}
        ones = (s for s in self.layer.statements if isinstance(s, Mean) and s.over.size == 1 and not s.pair)
        return {s.symbol: of[s.body] for s in ones if s.body in of}

    @cached_property
    def _names(self) -> dict[sp.Symbol, str]:
        """What averages are called where scores are among them: these Y, others s, numbered alike; given matrices over positions M."""
        averages = [s for s in self.layer.statements if isinstance(s, Mean)]
        names: dict[sp.Symbol, str] = {}
        for called, some in (("Y", [s for s in averages if s.pair]), ("s", [s for s in averages if not s.pair])):
            names |= {s.symbol: f"{called}_{k}" if k > 1 else called for k, s in enumerate(some, 1)}
        given = [s.symbol for s in self.layer.statements if isinstance(s, Between)]
        matrices = {symbol: f"M_{k}" if k > 1 else "M" for k, symbol in enumerate(given, 1)}
        return {**(names if any(s.pair for s in averages) else {}), **matrices}

    def _value(self, s: Statement, neuron: str, position: sp.Expr = _AT) -> sp.Expr:
        """What a statement puts out, at a neuron, and at a position where these meet."""
        s = self._same.get(s.symbol, s)
        one = isinstance(s, Mask) and s.each > 1  # a branch is dropped at all positions
        name, at = self._names.get(s.symbol, s.symbol.name), (position,) if self.has_places and not one else ()
        if isinstance(s, Matrix):
            own = _index(s.target.size, neuron)
            name = label(self.layer, name)
            if s.weights.is_nothing:
                return indexed("u", (name,), (*own, *at))
            if s.weights.is_mean:
                return letter("m")
            return indexed("u", (name,) if self.several else (), (*own, *at))
        if isinstance(s, Shares | Between) or (isinstance(s, Mean) and s.pair):
            return indexed(name, (), (letter("alpha"), letter("beta")))
        if isinstance(s, Back):
            return indexed("v", (label(self.layer, s.weights.name),), (*_index(s.target.size, neuron), *at))
        if isinstance(s, Mean) or s.over is None:
            return indexed(name, (), at) if at else letter(name)
        return indexed(name, (), (*_index(s.over.size, neuron), *at))

    def _at(self, body: sp.Expr, neuron: str, tap: sp.Expr | None = None) -> sp.Expr:
        def state_at(position: sp.Expr) -> sp.Expr:
            place = (position,) if self.has_places else ()
            return indexed("X", ("ell",), (*_index(self.layer.neurons.size, neuron), *place))

        here, there = _AT if tap is None else _AT + tap, letter("beta")
        rule = {s.symbol: self._value(s, neuron, here) for s in self.layer.statements} | {state: state_at(here)}
        far = {s.symbol: self._value(s, neuron, there) for s in self.layer.statements} | {state: state_at(there)}
        return body.xreplace({step: self.small, **rule, **{twin: far[own] for twin, own in self.layer.others}})

    def _line(self, s: Statement) -> Line:
        left = self._value(s, "i")
        if isinstance(s, Mean) and s.angles is not None:
            here, there = s.sides(dict(self.layer.others))
            turn = indexed("R", ("j", "k"), (letter("alpha"), letter("beta")))
            others = {own: twin for twin, own in self.layer.others}
            pairs = Juxtaposed(self._at(here, "j"), turn, self._at(there.xreplace(others), "k"))
            total = Total(Total(pairs, letter("k"), s.over.size, ()), letter("j"), s.over.size, ())
            return Line(left, (Term(s.over.size**-s.power, total),))
        if isinstance(s, Mean):
            total = _total(self._at(s.body, "j"), s.over.size)
            return Line(left, (Term(s.over.size**-s.power, total),))
        if isinstance(s, Mix):
            return equation(left, Total(self._at(s.body, "i"), letter("beta"), sp.Integer(self.layer.positions), ()))
        if isinstance(s, Shares):
            share = self._at(s.mask, "i") * sp.exp(self._at(s.body, "i"))
            beta, gamma = letter("beta"), letter("gamma")
            return equation(
                left, share / Total(share.xreplace({beta: gamma}), gamma, sp.Integer(self.layer.positions), ())
            )
        if isinstance(s, Between):
            return equation(left, s.matrix.shown(letter("alpha"), letter("beta")))
        if isinstance(s, Back):
            entry = self._entry(s.weights.name, (*_index(s.source.size, "j"), *_index(s.target.size, "i")))
            return equation(left, _total(Juxtaposed(entry, self._at(s.body, "j")), s.source.size))
        if isinstance(s, Mask):
            return equation(left, Distribution("Bernoulli", s.keep), "~")
        w, (entry, bias) = s.weights, self._entries(s)
        tap = _OFFSET if w.taps else None
        body = self._at(s.body, "j", tap)
        mean = w.mean / self._fan_in(s)
        total = _total(mean * body if w.is_mean else Juxtaposed(entry, body), s.source.size, tap)
        constant = w.bias_mean if w.is_mean else bias if w.bias_variance != 0 or w.bias_mean != 0 else sp.S.Zero
        terms = tuple(Term(t) for t in (sp.S.Zero if w.is_mean and mean == 0 else total, constant) if t != 0)
        return Line(left, terms or (Term(sp.S.Zero),))

    def _entry(self, name: str, neurons: tuple[str, ...], offset: tuple[sp.Symbol, ...] = ()) -> sp.Expr:
        """An entry of a matrix; where one is called as another thing is, all are labels of the letter W."""
        taken = has_taken_names(self.layer)
        return (
            indexed("W", (*neurons, *offset), (label(self.layer, name),)) if taken else indexed(name, neurons, offset)
        )

    def _entries(self, s: Matrix) -> tuple[sp.Expr, sp.Expr]:
        """A weight and a bias."""
        w, out = s.weights, _index(s.target.size, "i")
        bias = indexed("b", out, (label(self.layer, w.name),) if self.several else ())
        return self._entry(w.name, (*out, *_index(s.source.size, "j")), (_OFFSET,) if w.taps else ()), bias

    def _fan_in(self, s: Matrix) -> sp.Expr:
        return s.source.size * max(1, len(s.weights.taps))

    def _laws(self, w: Weights) -> list[Line]:
        applied = next(s for s in self.layer.statements if isinstance(s, Matrix) and s.weights == w)
        (entry, bias), k = self._entries(applied), self._fan_in(applied)
        name = "N" if w.is_gaussian else _LAWS.get(str(w.law), "Law")
        lines = [equation(entry, Distribution(name, w.mean / k, w.variance / k), "~")]
        if isinstance(w.law, Correlated):
            lines = self._correlated(w, w.law, w.variance / k)
        if w.bias_variance != 0:
            lines.append(equation(bias, Distribution("N", w.bias_mean, w.bias_variance), "~"))
        elif w.bias_mean != 0:
            lines.append(equation(bias, w.bias_mean))
        return lines

    def _correlated(self, w: Weights, law: Correlated, variance: sp.Expr) -> list[Line]:
        """How Gaussian entries covary, by rows and by columns."""
        alone = sum(isinstance(one.law, Correlated) for one in self.matrices) == 1
        more = () if alone else (label(self.layer, w.name),)
        factors, meant = list[sp.Expr](), list[Line]()
        for matrix, side, at in ((law.rows, "O", ("i", "k")), (law.columns, "I", ("j", "l"))):
            upper = (letter(side), *more)
            factors.append(indexed("Sigma", at, upper) if matrix else indexed("delta", at))
            meant += [equation(indexed("Sigma", (), upper), matrix)] if matrix else []
        entries = (self._entry(w.name, at) for at in (("i", "j"), ("k", "l")))
        return [equation(covariance_of(*entries), Juxtaposed(variance, *factors)), *meant]


def _together(laws: list[Line]) -> list[Line]:
    """Laws of entries, those of one law in one line."""
    found: dict[tuple[tuple[Term, ...], str, sp.Basic | None], list[sp.Basic]] = {}
    for line in laws:
        alone = None if line.relation == "~" else line.left
        found.setdefault((line.terms, line.relation, alone), []).append(line.left)
    rows = []
    for (terms, relation, _), entries in found.items():
        for first in range(0, len(entries), _MOST_ENTRIES):
            some = entries[first : first + _MOST_ENTRIES]
            rows.append(Line(some[0] if len(some) == 1 else Listed(*some), terms, relation))
    return rows


def _angles(layer: Program) -> list[sp.ImmutableMatrix]:
    """By which angles scores turn neurons, each once."""
    found = (s.angles for s in layer.statements if isinstance(s, Mean) and s.angles is not None)
    return list(dict.fromkeys(found))


def _turning(layer: Program) -> Words:
    """What turns queries and keys by their positions."""
    said: Words = ()
    for angles in _angles(layer):
        kinds, places = angles.shape
        theta = (indexed("theta", ("f",), (at,)) for at in ("beta", "alpha"))
        said = (
            *said,
            ". ",
            letter("R"),
            " turns neurons in pairs, as many of each kind ",
            letter("f"),
            ", by the angle ",
        )
        said = (*said, next(theta), " less ", next(theta))
        if angles.rows * angles.cols > _FEW_ANGLES:
            first, last = ((angles[f, places - 1] - angles[f, 0]) / max(places - 1, 1) for f in (0, kinds - 1))
            said = (*said, f"; the {kinds} kinds turn by about ", first, " to ", last, " a position")
    return said


def _index(size: sp.Expr, name: str) -> tuple[str, ...]:
    """The index of a neuron, where there is more than one."""
    return () if size == 1 else (name,)


def _total(body: sp.Expr, size: sp.Expr, tap: sp.Expr | None = None) -> sp.Expr:
    """A sum over neurons j, where there is more than one, and over the taps of a filter."""
    if size == 1 and tap is None:
        return body
    return Total(body, letter("j"), size, () if tap is None else (tap,))


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
