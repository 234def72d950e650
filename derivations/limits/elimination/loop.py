r"""Elimination: the conditional mean, given the state, of what a layer's random statements make of it.

From the last statement to the first, what it draws is averaged out. An expression is a polynomial in averages over layers
whose coefficients are functions of at most two tagged neurons i, j of the state. For a product of averages over k
neurons the sums run over all tuples of neurons; a tuple says which of them coincide, with each other or with a tagged
neuron, neurons that differ are independent given the state, and sums over distinct neurons are sums over all less
those that coincide. So the result is exact for every k, a number or a symbol. With infinitely many neurons an average is
its mean, in any function.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import product

import sympy as sp

from derivations.errors import NotClosed, brief
from derivations.gaussian import SoftmaxShare
from derivations.language.entries import Correlated
from derivations.language.statements import Mask, Matrix, Mix
from derivations.limits.elimination.averages import LayerAverage, layer_average
from derivations.limits.elimination.coefficients import Coefficients
from derivations.limits.elimination.continuity import at_means
from derivations.limits.elimination.draws import Draw, Expansion
from derivations.limits.elimination.expectation import GaussianLaw, Law
from derivations.limits.elimination.held import released
from derivations.limits.elimination.homogeneous import NotHomogeneous, homogeneous_parts
from derivations.limits.elimination.lengths import Length
from derivations.limits.elimination.matrix_laws import law_of
from derivations.limits.elimination.products import expanded
from derivations.limits.elimination.series import Series, taylor
from derivations.limits.elimination.together import taken

#: Products of more averages than this are refused: the number of ways to coincide grows like Bell's numbers.
_MOST = 8


@dataclass(frozen=True)
class Tag:
    """One particular neuron of the state: a copy of the generic neuron's variables."""

    copies: dict[sp.Symbol, sp.Symbol]

    @classmethod
    def of(cls, variables: Sequence[sp.Symbol], name: str) -> Tag:
        """Fresh copies under a name."""
        return cls({v: sp.Dummy(f"{v.name}_{name}", **v.assumptions0) for v in variables})

    def here(self, expr: sp.Expr) -> sp.Expr:
        """A function of the generic neuron at this one."""
        return expr.xreplace(self.copies)

    def generic(self, expr: sp.Expr) -> sp.Expr:
        """A function of this neuron at the generic one."""
        return expr.xreplace({copy: v for v, copy in self.copies.items()})


def conditional_mean(
    series: Series,
    expansion: Expansion,
    tags: Sequence[Tag] = (),
    infinite: bool = False,
    coefficients: Coefficients | None = None,
    state: Collection[sp.Symbol] = (),
) -> Series:
    r"""The mean, given the state, of a series of expressions in tagged neurons and averages.

    Parameters
    ----------
    series : Series
        Coefficients of the powers of the small parameter; powers above are cut.
    expansion : Expansion
        Of the program.
    tags : sequence of Tag
        At most two different neurons of the state.
    infinite : bool
        Whether all layers have infinitely many neurons; then an average is its mean, and Gaussian means are left as nodes.
    coefficients : Coefficients, optional
        Gives names to the means that are functions of averages of the state alone.
    state : collection of Symbol
        A neuron's numbers that such averages may be of.

    Raises
    ------
    NotClosed
        If an average that fluctuates enters in another way than as a power, or a mean has no rule.
    """
    order, series = len(series) - 1, tuple(map(expanded, series))
    layers = (*expansion.variables.values(), *(random.variables for random in expansion.random))
    moving = {v for own in layers for v in own if v not in state}
    neurons = {v for own in layers for v in own} | {v for tag in tags for v in tag.copies.values()}
    left = list(expansion.random)
    while left:
        random = taken(left, series, [t.copies for t in tags], order)
        drawn = {v for own in random.variables for v in (own, *(t.copies.get(own, own) for t in tags))}
        touched = [k for k, c in enumerate(series) if c.atoms(sp.Symbol) & drawn]
        if not touched:
            continue
        # what a power of ε multiplies is needed to the order that is left for it
        known = random.upto(order - touched[0]) if isinstance(random, Draw) else random
        law = law_of(known, evaluate=not infinite)
        if coefficients is not None and isinstance(law, GaussianLaw):
            law.with_coefficients(coefficients, moving, neurons)
        total = [sp.S.Zero] * (order + 1)
        for k, c in enumerate(series):
            eliminated = law.filled(_eliminated(c, law, expansion, tags, infinite), order - k)
            for j, term in enumerate(taylor(eliminated, order - k)):
                total[k + j] += term
        series = tuple(total)
    return series


def _eliminated(expr: sp.Expr, law: Law, expansion: Expansion, tags: Sequence[Tag], infinite: bool) -> sp.Expr:
    if expr == 0:
        return expr
    if law.layer is None:
        law.require_alone(reduce(lambda e, tag: tag.generic(e), tags, expr))
        own = set(law.variables)
        if type(law) is GaussianLaw and any(node.atoms(sp.Symbol) & own for node in expr.atoms(LayerAverage)):
            raise NotClosed(
                "a number that all neurons share stands inside an average over what depends on it in another way, and the mean of that has no closed "
                "form; let it multiply what is averaged"
            )
        return law.mean(expr)
    infinite = infinite and law.layer not in expansion.few  # hidden neurons may be finitely many
    rule = _Rule(law, law.layer, expansion, [t for t in tags if law.layer == 0], infinite)
    if infinite:
        expr = at_means(expr, {node: rule.settled(node) for node in expr.atoms(LayerAverage) if rule.touches(node)})
    return rule.apply(expanded(expr))


@dataclass(frozen=True)
class _Rule:
    law: Law
    layer: int
    expansion: Expansion
    tags: list[Tag]
    infinite: bool
    known: dict[tuple[sp.Expr, ...], sp.Expr] = field(default_factory=dict)  # products of averages that occurred

    def touches(self, expr: sp.Basic) -> bool:
        return bool(expr.atoms(sp.Symbol) & set(self.law.variables))

    def average(self, body: sp.Expr) -> sp.Expr:
        return layer_average(body, self.expansion.variables[self.layer], self.layer)

    def settled(self, node: LayerAverage) -> sp.Expr:
        """The average over infinitely many neurons."""
        body = node.body
        inner = {n: self.settled(n) for n in body.atoms(LayerAverage) if self.touches(n)}
        body = at_means(body, inner)
        if node.layer == self.layer:
            return self.average(self.law.mean(body))
        return layer_average(body, node.args[1].args, node.layer)

    def apply(self, expr: sp.Expr) -> sp.Expr:
        nested = {n for n in expr.atoms(LayerAverage) if any(self.touches(m) for m in n.body.atoms(LayerAverage))}
        if nested:  # an average of a polynomial in averages is one in averages that stand beside each other
            expr = expanded(
                expr.xreplace({n: layer_average(released(n.body), n.args[1].args, n.layer) for n in nested})
            )
        nodes = sorted((n for n in expr.atoms(LayerAverage) if self.touches(n)), key=sp.default_sort_key)
        nodes = [n for n in nodes if not any(n is not m and m.has(n) for m in nodes)]
        for node in nodes:
            if node.layer != self.layer or any(self.touches(n) for n in node.body.atoms(LayerAverage)):
                _require_alike([node], self.expansion)
                raise NotClosed(
                    f"the average {brief(node)} holds one that fluctuates: at a fixed number of neurons its law has no closed form"
                )
        names = set(nodes)
        total, normed = list[sp.Expr](), dict[Length, list[tuple[sp.Expr, list[sp.Expr]]]]()
        for term in sp.Add.make_args(expr):
            bodies, rest, lengths = [], [], []
            for factor in sp.Mul.make_args(term):
                base, power = factor.as_base_exp() if factor.is_Pow else (factor, sp.S.One)
                if base in names and power.is_Integer and power > 0:
                    bodies += [base.body] * int(power)
                elif self.law.isotropic and (length := Length.read(factor, self.law.variables)) is not None:
                    lengths.append(length)
                else:
                    rest.append(factor)
            coefficient = sp.Mul(*rest) if bodies or lengths else term
            if len(lengths) == 1 and not any(coefficient.has(n) for n in nodes):
                normed.setdefault(lengths[0], []).append((coefficient, bodies))
                continue
            if (
                stray := [n for n in nodes if sp.Mul(term).has(n)]
                if lengths
                else [n for n in nodes if coefficient.has(n)]
            ):
                raise _not_closed(stray, sp.Mul(term), self.expansion)
            total.append(self._term(coefficient, bodies))
        total += (self._normed(length, terms, nodes) for length, terms in normed.items())
        return expanded(sp.Add(*total))  # added once: one after the other takes the square of the time

    def _normed(self, length: Length, terms: list[tuple[sp.Expr, list[sp.Expr]]], nodes: list[LayerAverage]) -> sp.Expr:
        """Terms times a power of a length, degree by degree."""
        assert isinstance(self.law, GaussianLaw)
        copies = [tag.copies.get(length.variable, length.variable) for tag in self.tags]
        others = set(self.law.variables) - {length.variable}
        others |= {tag.copies[v] for tag in self.tags for v in others & set(tag.copies)}
        by_degree: dict[int, list[tuple[sp.Expr, list[sp.Expr]]]] = {}
        for coefficient, bodies in terms:
            if any(f.atoms(sp.Symbol) & others for f in (coefficient, *bodies)):
                raise _not_closed(nodes, sp.Tuple(*(c for c, _ in terms)), self.expansion)
            try:
                split = [homogeneous_parts(f, [length.variable, *copies]) for f in (coefficient, *bodies)]
            except NotHomogeneous:
                raise _not_closed(nodes, sp.Tuple(*(c for c, _ in terms)), self.expansion) from None
            for (d, own), *read in product(*split):
                by_degree.setdefault(d + sum(k for k, _ in read), []).append((own, [body for _, body in read]))
        total = sp.S.Zero
        for degree, parts in by_degree.items():
            whole = sp.Add(*(own * sp.Mul(*map(self.average, bodies)) for own, bodies in parts))
            factor = length.factor(degree, self.expansion.sizes[self.layer], self.law.variance(length.variable))
            if factor is None or (length.centred and length.moves(whole, copies)):
                raise _not_closed(nodes, sp.Tuple(*(c for c, _ in terms)), self.expansion)
            total += factor * sp.Add(*(self._term(*part) for part in parts))
        return total

    def _term(self, coefficient: sp.Expr, bodies: list[sp.Expr]) -> sp.Expr:
        """Constant × functions of the tagged neurons × averages."""
        if len(bodies) > _MOST:
            raise NotClosed(f"a product of {len(bodies)} averages is more than is written out ({_MOST})")
        own: list[sp.Expr] = []
        for tag in self.tags:
            copies = [tag.copies[v] for v in self.law.variables if v in tag.copies]
            coefficient, function = coefficient.as_independent(*copies, as_Add=False)
            own.append(tag.generic(function))
        if not bodies and all(f == 1 for f in own):
            return coefficient
        if self.infinite:  # no average is left that depends on the draw
            return coefficient * sp.Mul(*(t.here(self.law.mean(f)) for t, f in zip(self.tags, own, strict=True)))
        key = (*own, *sorted(bodies, key=sp.default_sort_key))
        if key not in self.known:
            self.known[key] = self._product(own, bodies)
        return coefficient * self.known[key]

    def _product(self, own: list[sp.Expr], bodies: list[sp.Expr]) -> sp.Expr:
        """Functions of the tagged neurons × averages of bodies."""
        size = self.expansion.sizes[self.layer]
        total = []
        for places, blocks in _coincidences(len(bodies), len(self.tags)):
            functions = [f * sp.Mul(*(bodies[i] for i in chosen)) for f, chosen in zip(own, places, strict=True)]
            functions += [sp.Mul(*(bodies[i] for i in block)) for block in blocks]
            for constant, means in self.law.joint(functions):
                if constant != 0 and all(m != 0 for m in means):
                    value = sp.Mul(constant, *(t.here(m) for t, m in zip(self.tags, means, strict=False)))
                    total.append(value * self._over_distinct(means[len(self.tags) :], size))
        return sp.Add(*total) / size ** len(bodies)

    def _over_distinct(self, functions: list[sp.Expr], size: sp.Expr) -> sp.Expr:
        """The sum of a product over distinct neurons, none of them tagged: over all, less those that coincide."""
        if not functions:
            return sp.S.One
        *rest, last = functions
        everywhere = size * self.average(last) - sp.Add(*(tag.here(last) for tag in self.tags))
        total = everywhere * self._over_distinct(rest, size)
        for k in range(len(rest)):
            total -= self._over_distinct([*rest[:k], rest[k] * last, *rest[k + 1 :]], size)
        return expanded(total)


def _require_alike(stray: Sequence[LayerAverage], expansion: Expansion) -> None:
    """Name the matrix whose rows depend on each other, if it is what makes neurons that are not alike."""
    drawn = {
        v for node in stray for inner in (node, *node.body.atoms(LayerAverage)) for v in inner.body.atoms(sp.Symbol)
    }
    for v in sorted(drawn & expansion.origin.keys(), key=str):
        statement = expansion.origin[v][0]
        if not isinstance(statement, Matrix) or not isinstance(law := statement.weights.law, Correlated):
            continue
        if law.rows.rows and not law.rows.is_diagonal():
            name = statement.weights.name
            raise NotClosed(
                f"rows of {name} depend on each other (row_covariance), and then polynomials of what it puts out have a mean here, other functions "
                f"have not: read {name} linearly, as in A(relu(x), row_covariance=...), or give it independent rows, a diagonal row_covariance"
            )


def _not_closed(stray: Sequence[LayerAverage], term: sp.Basic, expansion: Expansion) -> NotClosed:
    averages = brief(", ".join(map(str, stray)))
    made = [{expansion.origin[v][0] for v in node.body.free_symbols & expansion.origin.keys()} for node in stray]
    if term.has(SoftmaxShare):
        return NotClosed(
            "softmax attention at a fixed number of keys is derived where queries, keys and values are what Gaussian matrices of their own put out, "
            f"with independent entries, no norm behind them and nothing added to their scores; here scores hold {averages}, whose law has no closed "
            "form: give these matrices law='gaussian' without covariances and put norms before them, or take the width and the number of keys to infinity"
        )
    _require_alike(stray, expansion)
    if any(isinstance(statement, Mix) for own in made for statement in own):
        return NotClosed(
            f"a norm behind a head of attention is an average over the neurons of its values, and with {expansion.sizes[stray[0].layer]} of them it "
            "fluctuates: its mean has no closed form; at infinite width give the values out=symbols.width, or put the norm before queries, keys and values"
        )
    if any(isinstance(statement, Mask) and statement.over is not None for own in made for statement in own):
        return NotClosed(
            f"the average {averages} fluctuates at a fixed number of neurons, since some of them are dropped, and the mean of a function of it other than "
            "a whole power has no closed form: drop what is made of the average instead, as in dropout(rms_norm(x)), or take the width to infinity"
        )
    if expansion.has_scores and all(len(own) > 1 and node.body.is_Mul for node, own in zip(stray, made, strict=True)):
        return NotClosed(
            f"a function of scores of few keys, {averages}, whose law has no closed form, is known for the softmax alone and for powers: take the "
            "number of keys to infinity by leaving size= and out= out, where scores are Gaussian"
        )
    few = {expansion.sizes[node.layer] for node in stray}
    if 0 not in expansion.few and all(node.layer in expansion.few for node in stray):
        return NotClosed(
            f"the average {averages} over what a matrix puts out fluctuates, since it is over {brief(', '.join(map(str, few)))} neurons however wide the "
            "network is, and the mean of a function of it other than a whole power has no closed form: let their number grow with the width, as "
            "out=n, and take the width to infinity"
        )
    return NotClosed(
        f"the average {averages} over what a matrix puts out fluctuates at a fixed number of neurons, and the mean of a function of it other than a "
        "whole power has no closed form: put the norm before the matrix, as in A(relu(B(rms_norm(x)))), or take the width to infinity"
    )


def _coincidences(count: int, tags: int) -> Iterator[tuple[list[list[int]], list[list[int]]]]:
    """All ways in which ``count`` neurons can coincide: with one of the tagged ones, or with each other in blocks."""
    if count == 0:
        yield [[] for _ in range(tags)], []
        return
    for places, blocks in _coincidences(count - 1, tags):
        last = count - 1
        for k in range(tags):
            yield [[*p, last] if i == k else p for i, p in enumerate(places)], blocks
        for k in range(len(blocks)):
            yield places, [[*b, last] if i == k else b for i, b in enumerate(blocks)]
        yield places, [*blocks, [last]]
