r"""Elimination as the width grows: an average is its conditional mean plus a fluctuation of size :math:`n^{-1/2}`.

An observable is a function of averages. From the last statement to the first, the averages that a draw makes fluctuate are
replaced by their means, and what the fluctuations add is kept to order 1/n. For averages :math:`s_k` over the same :math:`r n` neurons
with bodies :math:`b_k(z; s_{<k})`, given all other variables of a neuron, put :math:`m_k = \mathbb{E}_z b_k`,
:math:`t_k = m_k(t_{<k}) + \xi_k` and :math:`\tilde F(\xi) = F(t(\xi))`. With
:math:`C(f, g) = \langle \mathbb{E}_z fg - \mathbb{E}_z f\,\mathbb{E}_z g \rangle`,

.. math:: \mathbb{E}F = \tilde F(0) + \frac{1}{rn}\Bigl[\tfrac12\sum_{kl}\tilde F_{kl}C_{kl} + \sum_k \tilde F_k \sum_{l}\sum_j
          \frac{\partial t_l}{\partial \xi_j} C(\partial_{s_l}b_k, b_j)\Bigr] + O(n^{-2}), \qquad
          \mathrm{Cov}(F, G) = \frac{1}{rn}\sum_{kl}\tilde F_k \tilde G_l C_{kl} .

Neurons whose number does not grow keep their fluctuations; then an observable must be affine in the averages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.errors import NotClosed
from derivations.gaussian import GaussianExpectation, GaussianPairExpectation
from derivations.limits.elimination.averages import LayerAverage, layer_average
from derivations.limits.elimination.continuity import at_means
from derivations.limits.elimination.draws import Draw
from derivations.limits.elimination.expectation import Law
from derivations.limits.elimination.jets import Jet, jet
from derivations.limits.elimination.matrix_laws import law_of
from derivations.limits.elimination.series import as_expression, taylor
from derivations.symbols import step, width

_MEANS = (GaussianExpectation, GaussianPairExpectation)
_KINKED = (sp.Piecewise, sp.Abs, sp.Max, sp.Min, sp.Heaviside, sp.sign)


@dataclass(frozen=True)
class Kept:
    """Which powers of the small parameter are kept: of everything, and of what 1/n multiplies (none if negative)."""

    all: int
    beside: int

    def cut(self, expr: sp.Expr) -> sp.Expr:
        """An expression without higher powers."""
        return as_expression(taylor(expr, self.all))

    def cut_beside(self, expr: sp.Expr) -> sp.Expr:
        """The same of what 1/n multiplies."""
        return as_expression(taylor(expr, self.beside)) if self.beside >= 0 and expr != 0 else sp.S.Zero


@dataclass(frozen=True)
class Moment:
    """The mean of an observable, or the covariance of two: what is of order 1 and the coefficient of 1/n."""

    first: sp.Expr
    second: sp.Expr


def share_of(size: sp.Expr) -> sp.Expr | None:
    """The number of neurons over the width; None where it does not grow with the width.

    Raises
    ------
    NotClosed
        If it is not proportional to the width.
    """
    if not size.has(width):
        return None
    ratio = sp.cancel(size / width)
    if ratio.has(width):
        raise NotClosed(
            f"a layer of {size} neurons is no fixed multiple of the width {width}; use a multiple or a number"
        )
    return ratio


class Settled:
    """The averages over one layer of neurons that one draw makes fluctuate, innermost first, and their means.

    Parameters
    ----------
    law : Law
        Of the draw.
    layer : int
        The neurons.
    variables : sequence of Symbol
        All variables of a generic neuron.
    share : Expr or None
        Their number over the width, None if it is fixed.
    size : Expr
        Their number.
    observables : sequence of Expr
        In which the averages are looked for.
    """

    def __init__(
        self,
        law: Law,
        layer: int,
        variables: Sequence[sp.Symbol],
        size: sp.Expr,
        observables: Sequence[sp.Expr],
    ) -> None:
        self.law, self.layer, self.variables = law, layer, tuple(variables)
        self.share, self.size = share_of(size), size
        nodes: set[LayerAverage] = set().union(*(expr.atoms(LayerAverage) for expr in observables))
        own = sorted(
            (n for n in nodes if n.layer == layer and n.atoms(sp.Symbol) & set(law.variables)),
            key=lambda n: (len(n.atoms(LayerAverage)), sp.default_sort_key(n)),
        )
        self.names: dict[sp.Basic, sp.Symbol] = {}
        self.bodies: list[tuple[sp.Symbol, sp.Expr]] = []
        for node in own:
            sign = {"positive": True} if node.is_positive else {"real": True}
            name = sp.Dummy("s", **sign)
            self.bodies.append((name, node.body.xreplace(self.names)))
            self.names[node] = name
        self.symbols = [name for name, _ in self.bodies]

    @cached_property
    def means(self) -> list[sp.Expr]:
        """Of each average, given the ones before."""
        return [self.average(self.law.mean(body)) for _, body in self.bodies]

    def average(self, body: sp.Expr) -> sp.Expr:
        """Over the layer's other variables."""
        return layer_average(body, self.variables, self.layer)

    def opened(self, expr: sp.Expr) -> sp.Expr:
        """An observable with symbols for the averages."""
        return expr.xreplace(self.names)

    def settled(self, expr: sp.Expr) -> sp.Expr:
        """An opened observable at the means, in what is left."""
        present, own = expr.atoms(sp.Symbol), set(self.symbols)
        inside = [(s, m) for s, m in zip(self.symbols, self.means, strict=True) if s in present]
        if not any(m.atoms(sp.Symbol) & own for _, m in inside):
            return self._at(expr, inside)
        for symbol, mean in zip(reversed(self.symbols), reversed(self.means), strict=True):
            if expr.has(symbol):
                expr = self._at(expr, [(symbol, mean)])
        return expr

    def _at(self, expr: sp.Expr, inside: Sequence[tuple[sp.Symbol, sp.Expr]]) -> sp.Expr:
        """With means in the place of some averages, all at once."""
        uneven = [symbol for symbol, mean in inside if mean.has(sp.Piecewise)]
        for symbol, mean in inside:
            if symbol in uneven and any(kinked.has(symbol) for kinked in expr.atoms(*_KINKED)):
                raise NotClosed(f"the average {mean} has no closed form, and it moves a kink of another one")
        rule = dict(inside)
        moved = [node.xreplace(rule) for node in expr.atoms(*_MEANS) if inside and node.has(*rule)]
        named = {name: node for node, name in self.names.items()}
        return at_means(expr, rule, named).xreplace({node: node.doit() for node in moved})

    @cached_property
    def _moves(self) -> dict[tuple[int, int], sp.Expr]:
        return {}

    def moves(self, place: int, k: int) -> sp.Expr:
        r""":math:`\partial t_l/\partial\xi_k`: an average moves with the averages inside it."""
        if place == k:
            return sp.S.One
        if (place, k) not in self._moves:
            inside = [j for j in range(k, place) if self.means[place].has(self.symbols[j])]
            self._moves[place, k] = sp.Add(
                *(
                    derivative(self.means[place], self.symbols[j]) * self.moves(j, k)
                    for j in inside
                    if self.moves(j, k) != 0
                )
            )
        return self._moves[place, k]

    def slopes(self, expr: sp.Expr) -> dict[int, sp.Expr]:
        r""":math:`\tilde F_k`, where not zero."""
        found: dict[int, sp.Expr] = {}
        for place, s in enumerate(self.symbols):
            own = derivative(expr, s) if expr.has(s) else sp.S.Zero
            for k in range(place + 1):
                if own != 0 and (move := self.moves(place, k)) != 0:
                    found[k] = found.get(k, sp.S.Zero) + own * move
        return {k: value for k, value in found.items() if value != 0}

    def _jet(self, expr: sp.Expr, order: int) -> Jet | None:
        """An opened observable at the means where no average stands inside another one."""
        if any(body.has(*self.symbols) for _, body in self.bodies):
            return None
        return jet(expr, self.symbols, self.means, order)

    def covariance(self, f: sp.Expr, g: sp.Expr) -> sp.Expr:
        """C of two bodies."""
        return self.average(sp.expand(self.law.mean(sp.expand(f * g)) - self.law.mean(f) * self.law.mean(g)))

    @cached_property
    def _covariances(self) -> dict[tuple[int, int], sp.Expr]:
        return {}

    def between(self, k: int, j: int) -> sp.Expr:
        """C of two averages."""
        low, high = sorted((k, j))
        if (low, high) not in self._covariances:
            self._covariances[low, high] = self.covariance(self.bodies[low][1], self.bodies[high][1])
        return self._covariances[low, high]

    def bent(self, expr: sp.Expr) -> sp.Expr:
        """What the fluctuations of an opened observable add to its mean, times the number of neurons."""
        polynomial = self._jet(expr, 2)
        if polynomial is not None:
            found = (
                c * (self.corrected(m[0]) if len(m) == 1 else self.between(*m)) for m, c in polynomial.items() if m
            )
            return sp.Add(*found)
        total = sp.S.Zero
        first = self.slopes(expr)
        for k, slope in first.items():
            for j, second in self.slopes(slope).items():
                total += second * self.between(k, j) / 2
            for place, symbol in enumerate(self.symbols):
                if not self.bodies[k][1].has(symbol):
                    continue
                moved = derivative(self.bodies[k][1], symbol)
                for j in range(len(self.symbols)):
                    if self.moves(place, j) != 0:
                        total += slope * self.moves(place, j) * self.covariance(moved, self.bodies[j][1])
            total += slope * self.corrected(k)
        return self.settled(total)

    def corrected(self, k: int) -> sp.Expr:
        """What the mean of an average lacks for the neurons' dependence on each other, times their number."""
        return sp.S.Zero

    def joined(self, one: sp.Expr, other: sp.Expr) -> sp.Expr:
        """What the fluctuations add to the covariance of two opened observables, times the number of neurons."""
        jets = self._jet(one, 1), self._jet(other, 1)
        if jets[0] is not None and jets[1] is not None:
            pairs = ((m, r) for m in jets[0] for r in jets[1] if m and r)
            return sp.Add(*(jets[0][m] * jets[1][r] * self.between(*m, *r) for m, r in pairs))
        left, right = self.slopes(one), self.slopes(other)
        return self.settled(sp.Add(*(p * q * self.between(k, j) for k, p in left.items() for j, q in right.items())))


class Projected(Settled):
    r"""The same for neurons given their Gram matrix V, which they share: the state's own, and what orthogonal weights put out.

    With :math:`Q_{pq}` the covariance of the products p, q of two coordinates, :math:`C(f, g)` loses
    :math:`\sum\langle\partial_p\mathbb{E}f\rangle Q_{pq}\langle\partial_q\mathbb{E}g\rangle` and the mean
    :math:`\tfrac{1}{2n}\sum Q_{pq}\,\partial_p\partial_q\mathbb{E}f`; of some of the neurons that share V, by their fraction of it.
    """

    matrix: sp.ImmutableMatrix
    fraction: sp.Expr

    def given(self, matrix: sp.ImmutableMatrix, fraction: sp.Expr = sp.S.One) -> Projected:
        """With V; the derivatives are by the law's covariance and leave V where bodies have it."""
        self.matrix, self.fraction = matrix, fraction
        self.pairs = [(a, b) for a in range(matrix.rows) for b in range(a, matrix.rows)]
        self.own = {p: sp.Dummy("V", **({"positive": True} if p[0] == p[1] else {"real": True})) for p in self.pairs}
        entries = {(b, a): (self.own[a, b],) for a, b in self.pairs}
        self.free = law_of(Draw(self.law.variables, entries, self.layer))
        self.back = {symbol: matrix[p] for p, symbol in self.own.items()}
        return self

    def _by(self, body: sp.Expr, order: int) -> dict[tuple[tuple[int, int], ...], sp.Expr]:
        """Derivatives of the mean of a body by the law's covariance."""
        mean = self.free.mean(body)
        firsts = {(p,): derivative(mean, s) for p, s in self.own.items() if mean.has(s)}
        if order == 1:
            return {p: self._back(d) for p, d in firsts.items()}
        return {
            (*p, q): self._back(derivative(d, s)) for p, d in firsts.items() for q, s in self.own.items() if d.has(s)
        }

    def _back(self, expr: sp.Expr) -> sp.Expr:
        nodes = {node: node.xreplace(self.back).doit() for node in expr.atoms(*_MEANS)}
        return expr.xreplace(nodes).xreplace(self.back)

    def _product(self, p: tuple[int, int], q: tuple[int, int]) -> sp.Expr:
        v, (a, b), (c, d) = self.matrix, p, q
        return v[a, c] * v[b, d] + v[a, d] * v[b, c]

    def covariance(self, f: sp.Expr, g: sp.Expr) -> sp.Expr:
        """C of two bodies, given V."""
        one, other = ({p: self.average(d) for p, d in self._by(body, 1).items()} for body in (f, g))
        shared = (d * e * self._product(p, q) for (p,), d in one.items() for (q,), e in other.items())
        return sp.expand(super().covariance(f, g) - self.fraction * sp.Add(*shared))

    def corrected(self, k: int) -> sp.Expr:
        """What is lost of the mean of an average."""
        second = self._by(self.bodies[k][1], 2)
        total = sp.Add(*(self.average(d) * self._product(p, q) for (p, q), d in second.items()))
        return -self.fraction * total / 2


def derivative(expr: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """By an average that fluctuates; refused where it moves a kink of an average that is still to be taken."""
    for node in expr.atoms(LayerAverage):
        if node.body.has(symbol) and any(kinked.has(symbol) for kinked in node.body.atoms(*_KINKED)):
            raise NotClosed(
                f"an average that fluctuates moves the kink of {node.body} before its mean is known; take that average before the matrix"
            )
    return sp.diff(expr, symbol)


def filled(law: Law, expr: sp.Expr, order: int) -> sp.Expr:
    """A polynomial in the small parameter with a law's covariance in place, each coefficient to the order that is left for it."""
    total = sp.S.Zero
    for k, coefficient in enumerate(taylor(expr, order)):
        if coefficient != 0:
            inside = taylor(law.filled(coefficient, order - k), order - k)
            total += step**k * as_expression(inside)
    return as_expression(taylor(total, order))


def mean_of(moment: Moment, settled: Settled, kept: Kept) -> Moment:
    """The mean of an observable over one draw."""
    first, second = settled.opened(moment.first), settled.opened(moment.second)
    after = filled(settled.law, settled.settled(first), kept.all)
    beside = filled(settled.law, settled.settled(second), kept.beside) if second != 0 else second
    if settled.share is None:
        if settled.bent(first) != 0:
            raise NotClosed(
                f"an average over {settled.size} neurons, whose number stays fixed as the width grows, enters in another way than by "
                "itself, and its law has no closed form; let their number grow (out=4*n)"
            )
    elif kept.beside >= 0:
        beside += filled(settled.law, settled.bent(kept.cut_beside(first)) / settled.share, kept.beside)
    return Moment(after, beside)


def covariance_of(pair: tuple[sp.Expr, sp.Expr], moment: Moment, settled: Settled, kept: Kept) -> Moment:
    """The covariance of two observables after one more draw; the means of the two are taken apart."""
    one, other = map(settled.opened, pair)
    law = settled.law
    first = filled(law, settled.settled(settled.opened(moment.first)), kept.all)
    second = (
        filled(law, settled.settled(settled.opened(moment.second)), kept.beside) if moment.second != 0 else sp.S.Zero
    )
    if settled.share is None:
        first += filled(law, settled.joined(one, other) / settled.size, kept.all)
    elif kept.beside >= 0:
        joined = settled.joined(kept.cut_beside(one), kept.cut_beside(other)) / settled.share
        second += filled(law, joined, kept.beside)
    return Moment(first, second)
