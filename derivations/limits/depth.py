r"""Infinite depth at a fixed number of neurons: one layer's conditional moments, matched with its time.

A network is a Markov chain in depth. With a small parameter :math:`\varepsilon` and one layer
taking :math:`\varepsilon^2` of time, the limit has

.. math:: b(x) = \lim_{\varepsilon \to 0} \varepsilon^{-2}\, \mathbb{E}[\Delta X \mid X = x], \qquad
          a(x) = \lim_{\varepsilon \to 0} \varepsilon^{-2}\, \mathrm{Cov}[\Delta X \mid X = x].

The conditional moments are exact in the number of neurons (:mod:`derivations.limits.elimination`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from types import MappingProxyType

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.diffusion import Diffusion, Flow, Limit, NeuronDiffusion
from derivations.entries import LazyCovariance
from derivations.errors import DerivationError, NotClosed, require
from derivations.language import Program, Weights
from derivations.language.statements import Back, Matrix, Statement
from derivations.limits.elimination.averages import reduced
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.held import released, with_means
from derivations.limits.elimination.labels import Exchange, by_pattern, neuron_labels, permuted
from derivations.limits.elimination.moments import LayerMoments, layer_moments, state_averages
from derivations.limits.elimination.products import number_of_terms
from derivations.limits.slopes import require_real
from derivations.limits.unlike import UnlikeNeurons, is_unlike, patterns, range_of
from derivations.piecewise import canonical
from derivations.piecewise.continued import Continued
from derivations.sums import coordinate_sum, written_out
from derivations.symbols import input_symbols, neuron_symbols, state

_MOST_TERMS = 2000  # of an entry that is multiplied out


def depth_limit(architecture: Recipe) -> Limit:
    r"""Limit of infinite depth of a recipe's neurons at its width; see :func:`neuron_limit`.

    Raises
    ------
    DerivationError
        For an infinite width.
    """
    require("the architecture", architecture, Recipe, "a network such as ResNet(relu, width=4)")
    if architecture.width == sp.oo:
        raise DerivationError(
            "the depth limit at fixed width needs a finite or symbolic width; use width_limit for width=oo"
        )
    return neuron_limit(architecture.program(), architecture.coordinates)


def neuron_limit(program: Program, inputs: int = 1) -> Limit:
    r"""The limit of infinite depth of a network's neurons at a fixed number of them.

    Parameters
    ----------
    program : Program
    inputs : int
        How many network inputs are followed together.

    Returns
    -------
    Diffusion, NeuronDiffusion or Flow
        A :class:`~derivations.diffusion.NeuronDiffusion` where the neurons have independent noises with one covariance for
        all; else, for a width given as a number, a :class:`~derivations.diffusion.Diffusion` of all neurons.

    Raises
    ------
    NoLimit
        If the increment does not vanish with the small parameter, or its mean is of order ε.
    NotClosed
        If the conditional moments have no closed form.
    DependentNoises
        If the noises depend on each other and the width is a symbol.
    """
    require_real(program)
    if is_unlike(program):
        return _scaled_neurons(program, inputs) or UnlikeNeurons(LayerMoments(program, inputs)).limit
    few = inputs if heads(program) else Exchange.of(program).few(inputs, 2)
    moments = NeuronMoments.of(layer_moments(program, few, 0), inputs)
    limit = moments.matched()
    if isinstance(limit, Diffusion):
        return limit
    if limit.is_flow:
        return Flow(limit.states, limit.drift, limit.time)
    alone = limit.width == 1
    if not alone:
        return limit
    require_movement(moments.layer)
    drift = limit.neuron_drift.applyfunc(_in_pieces)
    return Diffusion(limit.neuron, drift, LazyCovariance(lambda a, b: _in_pieces(limit.neuron_entry(a, b))))


def require_movement(layer: LayerMoments) -> None:
    """Require that a norm behind the sum leaves more than a sign.

    Raises
    ------
    NotClosed
        If there is one neuron.
    """
    if layer.program.neurons.size == 1 and layer.fixed_powers:
        raise NotClosed(
            "every layer ends with a norm of one neuron, which leaves its sign: no small step changes it, so the network does not move; take two "
            "neurons or more"
        )


def _in_pieces(expr: sp.Expr) -> sp.Expr:
    """A formula of one number by its pieces, where means in it have a value of their own where a variance is 0."""
    return canonical(expr, *expr.free_symbols) if expr.has(Continued) and len(expr.free_symbols) == 1 else expr


class DependentNoises(NotClosed):
    """No neuron has an equation by itself: its noise depends on those of the others, or on its own state."""


@dataclass(frozen=True)
class NeuronMoments:
    """Drift and covariance of neurons for all inputs, with averages as sums over the layer.

    Parameters
    ----------
    layer : LayerMoments
        Over the first inputs.
    states, other : tuple of Symbol
        Two neurons' coordinates for all inputs.
    drift, covariance, between : callable
        From labels of inputs to formulas.
    """

    layer: LayerMoments
    states: tuple[sp.Symbol, ...]
    other: tuple[sp.Symbol, ...]
    drift: Callable[..., sp.Expr]
    covariance: Callable[..., sp.Expr]
    between: Callable[..., sp.Expr]

    @classmethod
    def of(cls, layer: LayerMoments, inputs: int) -> NeuronMoments:
        """Of a layer that does nothing when the small parameter is 0."""
        layer.at_rest()
        size = max(inputs, len(layer.states))
        states = input_symbols(state, size)
        other = tuple(sp.Symbol(f"{x.name}'", real=True) for x in states)
        renamed = permuted(neuron_labels((layer.states, layer.other), (states, other)), len(layer.states))

        def entry(moment: Callable[..., sp.Expr]) -> Callable[..., sp.Expr]:
            @cache  # all neurons share one formula
            def value(*labels: int) -> sp.Expr:
                return as_sums(reduced(moment(*labels)), layer.states, layer.program.neurons.size)

            if layer.directions or heads(
                layer.program
            ):  # tangents are no inputs; means over scores keep their positions
                return value
            # with fewer inputs in the layer than there are, the sums are over fewer coordinates: rename in any case
            return by_pattern(value, renamed, Exchange.of(layer.program), always=size > len(layer.states))

        return cls(layer, states, other, entry(layer.drift), entry(layer.covariance), entry(layer.between))

    def exchangeable(self) -> NeuronDiffusion:
        """The limit of neurons whose noises are independent of each other, with one covariance for all.

        Raises
        ------
        DependentNoises
            If they are not so.
        NotClosed
            If the moments have no closed form.
        """
        n, size, few = self.layer.program.neurons.size, len(self.states), len(self.layer.states)
        pairs = patterns(self.layer, few)
        for pair in pairs:  # what has no closed form is refused here
            self.covariance(*pair)
        if n != 1:
            local = any(self.layer.covariance(a, b).free_symbols & set(self.layer.states) for a, b in pairs)
            if local or any(sp.cancel(self.layer.between(a, b)) != 0 for a, b in pairs):
                raise DependentNoises(
                    "the neurons' noises depend on each other or on the neuron's own state; give the width as a number to see all neurons"
                )
        drift = sp.ImmutableMatrix([self.drift(a) for a in range(size)])
        return NeuronDiffusion(self.states, drift, LazyCovariance(cache(lambda a, b: self.covariance(b, a))), n)

    def matched(self) -> NeuronDiffusion | Diffusion:
        """The limit of exchangeable neurons, or of all neurons where their noises depend on each other.

        Raises
        ------
        DependentNoises
            If the width is a symbol and they do so, or have no closed form, where the Gram matrix may still have one.
        """
        try:
            return self.exchangeable()
        except NotClosed as error:
            if self.layer.program.neurons.size.is_Integer:
                return _written_out(self)
            if isinstance(error, DependentNoises):
                raise
            raise DependentNoises(str(error)) from error


def _scaled_neurons(program: Program, inputs: int) -> Diffusion | None:
    """Rows of different size without covariances, added to the state: every neuron has the limit of a generic one, with its own size.

    None where something else is correlated, or neurons depend on each other.
    """
    plain: list[Statement] = []
    sizes: dict[sp.Matrix, sp.Symbol] = {}
    for s in program.statements:
        if isinstance(s, Back) and s.weights.is_correlated:
            return None
        if isinstance(s, Matrix) and s.weights.is_correlated and s.weights.law.rows.rows:
            law, rows = s.weights.law, s.weights.law.rows
            inside = any(getattr(other, "body", sp.S.Zero).has(s.symbol) for other in program.statements)
            if (
                inside
                or law.columns.rows
                or not rows.is_diagonal()
                or rows.rows != program.neurons.size
                or s.target != program.neurons
            ):
                return None
            size = sizes.setdefault(rows, sp.Dummy("r", positive=True))
            name, out, variance, mean, bias_variance, bias_mean, reads, _ = s.weights.args
            s = replace(s, weights=Weights(name, out, variance * size**2, mean, bias_variance, bias_mean, reads))
        plain.append(s)
    if not sizes:
        return None
    layer = LayerMoments(replace(program, statements=tuple(plain)), inputs)
    layer.at_rest()
    if any(sp.cancel(layer.between(a, b)) != 0 for a in range(inputs) for b in range(inputs)):
        return None
    own = {size: [sp.sqrt(rows[i, i]) for i in range(rows.rows)] for rows, size in sizes.items()}
    if is_unlike(layer.program):
        return UnlikeNeurons(layer, own).limit
    return _written_out(NeuronMoments.of(layer, inputs), own)


def _written_out(
    moments: NeuronMoments, own: Mapping[sp.Symbol, Sequence[sp.Expr]] = MappingProxyType({})
) -> Diffusion:
    """All neurons, with the covariances between them; ``own`` are numbers that each neuron has."""
    layer = moments.layer
    n, m = int(layer.program.neurons.size), len(moments.states)
    states = neuron_symbols(state, n, m)
    neurons = [states[i * m : (i + 1) * m] for i in range(n)]
    alike = not (own or layer.directions or heads(layer.program))

    def at(expr: sp.Expr, i: int, j: int) -> sp.Expr:
        expr = written_out(expr.xreplace({symbol: numbers[i] for symbol, numbers in own.items()}), neurons)
        here = dict(zip(moments.states, neurons[i], strict=True)) | dict(zip(moments.other, neurons[j], strict=True))
        found = expr.xreplace(here)
        return sp.expand(found) if number_of_terms(found) <= _MOST_TERMS else found

    @cache
    def formula(i: int, j: int, a: int, *b: int) -> sp.Expr:
        if not b:
            return at(moments.drift(a), i, j)
        return at(moments.covariance(*sorted((a, *b))) if i == j else moments.between(a, *b), i, j)

    @cache
    def inputs(i: int, j: int) -> Callable[..., sp.Expr]:
        """Entries of two neurons; where neurons are alike, those of the first ones under other names."""
        if not alike:
            return partial(formula, i, j)
        first = (0, int(i != j))
        few, many = ([neurons[k] for k in dict.fromkeys((*two, *range(n)))] for two in (first, (i, j)))
        renamed = permuted(neuron_labels(few, many), len(layer.states))
        return by_pattern(partial(formula, *first), renamed, Exchange.of(layer.program), always=True)

    def entry(row: int, column: int) -> sp.Expr:
        (i, a), (j, b) = divmod(row, m), divmod(column, m)
        return inputs(i, j)(a, b)

    stacked = [inputs(i, i)(a) for i in range(n) for a in range(m)]
    for i, (a, b) in product(range(min(n, 2)), patterns(layer, len(layer.states))):
        inputs(0, i)(a, b)  # what has no closed form is refused here
    domain = range_of(layer, states)
    return Diffusion(states, sp.ImmutableMatrix(stacked), LazyCovariance(cache(entry)), domain)


def as_sums(expr: sp.Expr, states: tuple[sp.Symbol, ...], n: sp.Expr) -> sp.Expr:
    """Averages of the state as sums over the layer."""
    expr = with_means(expr)
    while nodes := state_averages(expr):
        made: dict[sp.Basic, sp.Expr] = {}  # inner ones first, so that each body is gone through once
        for node in nodes:
            made[node] = coordinate_sum(released(node.body.xreplace(made)), states, n) / n
        expr = expr.xreplace(made)
    return released(expr)
