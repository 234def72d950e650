"""Averages over a layer as processes in depth, by Itô's formula from the moments of one neuron and of two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import sympy as sp

from derivations.errors import NotClosed, brief
from derivations.language import Program
from derivations.limits.elimination.averages import layer_average
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.held import with_means
from derivations.limits.elimination.labels import Exchange, by_pattern, permuted, state_labels
from derivations.limits.elimination.moments import LayerMoments, layer_moments
from derivations.limits.elimination.products import expanded
from derivations.symbols import input_symbols, state

#: Sums of more terms have names while other sums are multiplied by them.
_LONG = 4


@dataclass(frozen=True)
class LayerAverages:
    r"""Averages over the neurons of a layer as processes, by Itô's formula from the moments of one neuron and of two.

    .. math:: \mathrm{d}\langle f\rangle = \langle f_\alpha b_\alpha + \tfrac12 f_{\alpha\beta} c_{\alpha\beta}\rangle\,\mathrm{d}t + \dots, \qquad
              \mathrm{d}[\langle f\rangle, \langle g\rangle] = \tfrac1{n^2}\Big(\sum_i f_\alpha g_\beta c_{\alpha\beta}
              + \sum_{i \ne j} f_\alpha(x_i)\, g_\beta(x_j)\, c'_{\alpha\beta}(x_i, x_j)\Big)\,\mathrm{d}t .

    Parameters
    ----------
    layer : LayerMoments
        Over two inputs.
    states, other : tuple of Symbol
        Two neurons' coordinates for four inputs, of which entries of a Gram matrix are.
    """

    layer: LayerMoments
    states: tuple[sp.Symbol, ...]
    other: tuple[sp.Symbol, ...]

    @classmethod
    def of(cls, program: Program, inputs: int, directions: int = 0) -> LayerAverages:
        """Of a layer that does nothing when the small parameter is 0, and so many coordinates, each with tangents.

        Raises
        ------
        NoLimit
            If it does something.
        """
        exchange = Exchange.of(program)
        few, some = exchange.few(inputs, 2), exchange.few(inputs, 4)
        if heads(program) or directions:  # coordinates are not alike
            few, some = inputs, inputs * (1 + directions)
        layer = layer_moments(program, few, directions)
        layer.at_rest()
        states = input_symbols(state, some)
        return cls(layer, states, tuple(sp.Symbol(f"{x.name}'", real=True) for x in states))

    def average(self, body: sp.Expr) -> sp.Expr:
        """Over the neurons of the state."""
        return layer_average(body, (*self.states, *self.layer.places), 0)

    def drift_of(self, body: sp.Expr) -> sp.Expr:
        """The drift of the average of a polynomial."""
        x = [(a, s) for a, s in enumerate(self.states) if body.has(s)]
        first = (sp.diff(body, s) * self._drift(a) for a, s in x)
        second = (sp.diff(body, s, t) * self._covariance(a, b) / 2 for a, s in x for b, t in x)
        return self.average(sp.Add(*first, *second))

    def bracket(self, first: sp.Expr, second: sp.Expr) -> sp.Expr:
        """The covariance of the averages of two polynomials."""
        n, total = self.layer.program.neurons.size, sp.S.Zero
        there = dict(zip(self.states, self.other, strict=True)) | dict(
            zip(self.layer.places, self.layer.other_places, strict=True)
        )
        here = {y: x for x, y in there.items()}
        for a, s in enumerate(self.states):
            for b, t in enumerate(self.states):
                f, g = sp.diff(first, s), sp.diff(second, t)
                if f != 0 and g != 0:
                    between = self._between(a, b)
                    total += self.average(f * g * (self._covariance(a, b) - between.xreplace(here))) / n
                    total += self._over_pairs(f * g.xreplace(there) * between, here)
        return total

    def shared_noise(self, a: int, b: int) -> sp.Expr | None:
        """The covariance of any neuron's noises, where those of two neurons are independent; None where it is not the same for all."""
        own = {*self.states, *self.other, *self.layer.places, *self.layer.other_places}
        found = self._covariance(a, b)
        return None if found.free_symbols & own or self._between(a, b) != 0 else found

    def _over_pairs(self, body: sp.Expr, here: dict[sp.Symbol, sp.Symbol]) -> sp.Expr:
        """The average over two neurons."""
        inner = sp.S.Zero
        for term in sp.Add.make_args(expanded(body)):
            own, others = term.as_independent(*here, as_Add=False)
            if others.free_symbols & {*here.values()}:
                raise NotClosed(
                    f"the noises of two neurons have the covariance {brief(others)}, no product of functions of either"
                )
            inner += own * self.average(others.xreplace(here))
        return self.average(inner)

    @cached_property
    def _drift(self) -> Callable[..., sp.Expr]:
        return self._by_pattern(self.layer.drift)

    @cached_property
    def _covariance(self) -> Callable[..., sp.Expr]:
        return self._by_pattern(self.layer.covariance)

    @cached_property
    def _between(self) -> Callable[..., sp.Expr]:
        return self._by_pattern(self.layer.between)

    def _by_pattern(self, moment: Callable[..., sp.Expr]) -> Callable[..., sp.Expr]:
        few = self.layer.states
        exchange = Exchange.of(self.layer.program)
        if self.layer.directions:
            return cache(moment)
        if heads(self.layer.program):
            return self._named(moment)
        renamed = permuted(state_labels((few, self.layer.other), (self.states, self.other)), len(few))
        return self._named(by_pattern(moment, renamed, exchange, always=len(self.states) > len(few)))

    def _named(self, moment: Callable[..., sp.Expr]) -> Callable[..., sp.Expr]:
        """Long moments that all neurons share under names, so that they are closed once each and not multiplied out."""
        own = {*self.states, *self.other, *self.layer.places, *self.layer.other_places}

        long = bool(heads(self.layer.program))  # means over scores

        @cache
        def value(*labels: int) -> sp.Expr:
            found = with_means(moment(*labels))
            terms = sum(len(factor.args) for factor in sp.Mul.make_args(found) if factor.is_Add)
            shared = (terms > _LONG or long) and not found.is_Atom and not found.free_symbols & own
            if not shared:
                return found
            name = sp.Dummy("F", real=True)
            self.entries[name] = found
            return name

        return value

    @cached_property
    def entries(self) -> dict[sp.Symbol, sp.Expr]:
        """What names of moments that all neurons share stand for, where they have names."""
        return {}
