r"""Volumes of tangents: :math:`\log|\det J|` at every width, and where the noise of J looks the same from every direction, all of them.

For :math:`\mathrm{d}J = \mathrm{d}M\,J`, Itô's formula gives
:math:`\mathrm{d}\log|\det J| = \operatorname{tr}\mathrm{d}M - \tfrac12\operatorname{tr}(\mathrm{d}M)^2`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy as sp

from derivations.backward.differential import LayerDifferential
from derivations.backward.equation import of_columns
from derivations.backward.logarithm import LOG_VOLUME, law_alone, logarithm_lines, moves_alone
from derivations.diffusion import Diffusion
from derivations.entries import LazyCovariance
from derivations.errors import NotClosed, brief
from derivations.laws.piecewise_law import PiecewiseLaw
from derivations.laws.recognition import recognise
from derivations.limits.closure import GramLimit, gram_limit
from derivations.limits.depth import as_sums, neuron_limit
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.held import released
from derivations.limits.elimination.moments import state_averages
from derivations.limits.gram import cone
from derivations.notation.nodes import Distribution, Juxtaposed, Norm, Transposed, indexed, letter
from derivations.notation.printed import Shown
from derivations.notation.steps import Line, Term, equation
from derivations.sums import written_out
from derivations.symbols import time


@dataclass(frozen=True, repr=False)
class LogDeterminant(Shown):
    r"""How :math:`\Lambda = \log|\det J|` moves: :math:`\mathrm{d}\Lambda = b\,\mathrm{d}t + r^{1/2}\,\mathrm{d}B`.

    Parameters
    ----------
    layer : LayerDifferential
    drift, rate : Expr
        b and r, functions of the state through sums over its neurons.
    """

    layer: LayerDifferential
    drift: sp.Expr
    rate: sp.Expr

    @classmethod
    def of(cls, layer: LayerDifferential) -> LogDeterminant:
        """Of a layer's derivative."""
        layer.require_invertible()
        return cls(layer, *map(layer.sums, _rates(layer)))

    @cached_property
    def averages(self) -> tuple[sp.Expr, sp.Expr]:
        """Drift and rate with averages in the place of sums."""
        b, r = _rates(self.layer)
        return released(b), released(r)

    @cached_property
    def with_state(self) -> tuple[sp.Expr, ...]:
        r""":math:`\mathrm{d}[x_i, \Lambda]/\mathrm{d}t` for each coordinate of a neuron, with averages."""
        return tuple(released(self.layer.with_state(a)) for a in range(self.layer.positions))

    @property
    def rates(self) -> sp.ImmutableMatrix:
        """B and r with sums over the neurons, for compilation."""
        return sp.ImmutableMatrix([self.drift, self.rate])

    @property
    def is_gaussian(self) -> bool:
        r"""Whether :math:`\Lambda` does not depend on the state: then it is Gaussian."""
        return not any(state_averages(e) for e in self.averages)

    @property
    def law(self) -> PiecewiseLaw | None:
        r"""Its law by itself, Brownian motion with drift; None where it depends on the state."""
        return law_alone(self.drift, self.rate) if self.is_gaussian else None

    @property
    def lines(self) -> tuple[Line, ...]:
        """Its equation, and its law where it has one by itself."""
        return logarithm_lines(self.drift, self.rate, self.is_gaussian, self.law)

    @cached_property
    def gram(self) -> GramLimit:
        """The Gram matrix of the state, or of the centred one, by itself.

        Raises
        ------
        NotClosed
            If it needs other averages of the state.
        """
        return gram_limit(self.layer.program, self.layer.positions)

    @property
    def process(self) -> Diffusion:
        r""":math:`\Lambda` with what it depends on: by itself, with the Gram matrix of the state, or with all neurons.

        Where neurons are seen through what they differ by, the Gram matrix is that of the centred state (``gram.centred``). Of no more neurons
        than positions the Gram matrix may be singular, and all neurons are followed.

        Raises
        ------
        NotClosed
            If it depends on more than the Gram matrix and the width is a symbol.
        """
        b, r = self.averages
        if self.is_gaussian:
            return moves_alone(b, r)
        known, coordinates = self.layer.size.is_Integer, self.layer.positions
        if known and coordinates > 1 and self.layer.size <= coordinates:
            return self._with_neurons()  # the Gram matrix meets the border of its cone, and steps of a scheme leave it
        try:
            return self._with_gram()
        except NotClosed as error:
            if not known:
                raise NotClosed(
                    f"log|det J| moves with {brief(sp.Tuple(*self.averages))}, which is no function of the Gram matrix; "
                    f"give the width as a number to follow it with all neurons ({error})"
                ) from error
            return self._with_neurons()

    def _with_gram(self) -> Diffusion:
        layer, p = self.layer, self.layer.positions
        found = self.gram
        x, matrix, means = layer.state, found.matrix, [sp.Dummy(f"M{a}", real=True) for a in range(p)]
        rule: dict[sp.Expr, sp.Expr] = {}
        for a in range(p):
            if found.centred:
                rule[_average(layer, x[a])] = means[a]
            for b in range(p):
                own = found.fixed.get(matrix[a, b], matrix[a, b])
                rule[_average(layer, x[a] * x[b])] = own + (means[a] * means[b] if found.centred else 0)

        def is_open(expr: sp.Expr) -> bool:
            return bool(expr.atoms(LayerAverage) or expr.free_symbols & {*means, *x})

        def closed(expr: sp.Expr) -> sp.Expr:
            whole = released(expr)
            inside = whole.xreplace(rule)
            if inside.is_rational_function(*means, *matrix):
                inside = sp.factor_terms(sp.cancel(inside))
            elif is_open(inside):  # long coefficients are multiplied out only where terms must cancel
                inside = sp.factor_terms(sp.expand(inside))
            if is_open(inside):
                raise NotClosed(f"{brief(whole)} is no function of the Gram matrix")
            return inside

        def shared(a: int, b: int) -> sp.Expr:
            """With an entry of the Gram matrix; coefficients that have names keep them until averages are taken."""
            moved = {c: layer.with_state(c) for c in (a, b)}
            total = _average(layer, x[a] * moved[b] + x[b] * moved[a])
            if found.centred:
                total -= means[a] * _average(layer, moved[b]) + means[b] * _average(layer, moved[a])
            return closed(total)

        places = {matrix[a, b]: (a, b) for a in range(p) for b in range(a, p)}
        states, count = found.process.states, len(found.process.states)
        drift_of, rate = _rates(layer)
        column = [shared(*places[s]) for s in states] + [closed(rate)]
        process = found.process

        def entry(i: int, j: int) -> sp.Expr:
            if i == count:
                return column[j]
            return process.entry(i, j) if isinstance(process, Diffusion) else sp.S.Zero

        drift = sp.ImmutableMatrix([*process.drift, closed(drift_of)])
        inside = process.domain if isinstance(process, Diffusion) else cone(matrix)
        if isinstance(inside, sp.ConditionSet):  # of the Gram matrix, whatever the logarithm
            inside = sp.ConditionSet(sp.Tuple(*inside.sym, LOG_VOLUME), inside.condition, sp.Reals ** (count + 1))
        else:
            inside = sp.S.Reals
        return Diffusion((*states, LOG_VOLUME), drift, LazyCovariance(entry), inside)

    def _with_neurons(self) -> Diffusion:
        layer, p, n = self.layer, self.layer.positions, int(self.layer.size)
        limit = neuron_limit(layer.program, p)
        states = limit.states
        neurons = [states[i * p : (i + 1) * p] for i in range(n)]

        def at(expr: sp.Expr, i: int = 0) -> sp.Expr:
            expr = written_out(as_sums(expr, layer.state, layer.size), neurons)
            return expr.xreplace(dict(zip(layer.state, neurons[i], strict=True)))

        column = [at(c, i) for i in range(n) for c in self.with_state] + [at(self.averages[1])]
        own = limit.covariance

        def entry(i: int, j: int) -> sp.Expr:
            return column[j] if i == len(states) else own[i, j]

        drift = sp.ImmutableMatrix([*limit.drift, at(self.averages[0])])
        return Diffusion((*states, LOG_VOLUME), drift, LazyCovariance(entry), time=limit.time)


def _rates(layer: LayerDifferential) -> tuple[sp.Expr, sp.Expr]:
    """Drift and variance rate of the logarithm, with names for long coefficients."""
    return layer.trace - layer.square / 2, layer.variance


def _average(layer: LayerDifferential, body: sp.Expr) -> sp.Expr:
    return layer.moments.average(body)


@dataclass(frozen=True, repr=False)
class Isotropic(Shown):
    r"""A matrix noise that looks the same from every direction, whatever the state.

    .. math:: \mathrm{d}[M_{ij}, M_{kl}] = (a\,\delta_{ik}\delta_{jl} + b\,\delta_{il}\delta_{jk} + c\,\delta_{ij}\delta_{kl})\,\mathrm{d}t,
              \qquad \mathbb{E}\,\mathrm{d}M = \alpha\,I\,\mathrm{d}t .

    J is then Brownian motion on the group of invertible matrices, and the logarithms of the volumes of k tangents are Gaussian:
    for an orthonormal frame Q of k tangents, Itô's formula on :math:`\tfrac12\log\det(V^\top V)` gives the drift
    :math:`\operatorname{tr}Y + \tfrac12\|\mathrm{d}M\,Q\|^2 - \tfrac12\operatorname{tr}Y^2 - \tfrac12\|Y\|^2` with
    :math:`Y = Q^\top\mathrm{d}M\,Q`.

    Parameters
    ----------
    size : Expr
        n.
    alpha, a, b, c : Expr
        Numbers, or parameters of the network.
    """

    size: sp.Expr
    alpha: sp.Expr
    a: sp.Expr
    b: sp.Expr
    c: sp.Expr

    @classmethod
    def of(cls, layer: LayerDifferential) -> Isotropic:
        """Read off the moments of a layer's derivative.

        Raises
        ------
        NotClosed
            If they are not of this form: saying on what they depend.
        """
        if layer.positions > 1:
            raise NotClosed(
                "the noise of a Jacobian over several positions has directions of its own; simulate the Jacobian"
            )
        (v,), (w,) = layer.tangent(0), layer.tangent(1)
        y = dict(zip(layer.moments.states, layer.moments.other, strict=True))
        product = _average(layer, v * w)
        drift, own, two = map(released, (layer.drift[0], layer.covariance[0, 0], layer.between[0, 0]))
        alpha, a = sp.cancel(drift / v), sp.diff(own.xreplace({product: (s := sp.Dummy("s"))}), s) / layer.size
        b, c = (sp.diff(two, *pair) for pair in ((w, y[v]), (v, y[w])))
        rebuilt = alpha * v, a * layer.size * product + (b + c) * v * w, b * w * y[v] + c * v * y[w]
        known = all(sp.expand(one - other) == 0 for one, other in zip(rebuilt, (drift, own, two), strict=True))
        numbers, neurons = (alpha, a, b, c), {*layer.moments.states, *y.values(), time}
        if not known or any(e.free_symbols & neurons or state_averages(e) for e in numbers):
            shown = of_columns(layer)
            on = (
                "state"
                if not known or any(e.free_symbols & neurons - {time} or state_averages(e) for e in numbers)
                else "depth"
            )
            raise NotClosed(
                f"the volumes of tangents do not grow at constant rates: how columns of the Jacobian move depends on the {on}, by the drift "
                f"{brief(shown.drift[0])} and the covariance {brief(shown.covariance[0, 0])}; simulate the Jacobian"
            )
        return cls(layer.size, alpha, a, b, c)

    def drift(self, k: Any) -> sp.Expr:
        r"""Drift of the logarithm of the volume of k tangents."""
        n, k = self.size, sp.sympify(k)
        moved = self.a * n * k + (self.b + self.c) * k  # ‖dM Q‖²
        crossed = self.a * k + self.b * k**2 + self.c * k  # tr Y²
        square = self.a * k**2 + (self.b + self.c) * k  # ‖Y‖²
        return sp.factor(self.alpha * k + (moved - crossed - square) / 2)

    def rate(self, k: Any) -> sp.Expr:
        """Variance rate of the same."""
        k = sp.sympify(k)
        return sp.factor((self.a + self.b) * k + self.c * k**2)

    def exponent(self, k: Any) -> sp.Expr:
        """The k-th Lyapunov exponent, from the largest: growth of volumes of k tangents minus that of k − 1."""
        k = sp.sympify(k)
        return sp.factor(sp.expand(self.drift(k) - self.drift(k - 1)))

    @property
    def lines(self) -> tuple[Line, ...]:
        """The Lyapunov spectrum, and the laws of the norms of a tangent and of a gradient."""
        k, j = sp.Symbol("k", integer=True, positive=True), letter("J")
        one = (Term(Distribution("N", self.drift(1) * time, self.rate(1) * time)),)
        norm, gradient = (
            sp.log(Norm(Juxtaposed(matrix, letter(v))) / Norm(letter(v)), evaluate=False)
            for matrix, v in ((j, "v"), (Transposed(j), "g"))
        )
        return equation(indexed("mu", (k,)), self.exponent(k)), Line(norm, one, "~"), Line(gradient, one, "~")

    def law(self, k: Any) -> PiecewiseLaw:
        """Of the logarithm of the volume of k tangents: Brownian motion with drift."""
        return recognise(moves_alone(self.drift(k), self.rate(k)))
