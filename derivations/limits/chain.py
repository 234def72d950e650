r"""One layer of a network whose depth and width grow together, as a Markov chain of the Gram matrix V of m inputs.

Two chains have the same limit where both exist. *Conditional*: the new state is what matrices put out and nothing else; then V is
the covariance of a neuron given the past, and neurons are i.i.d. N(0, V). *Empirical*: with a skip, V is the Gram matrix
:math:`X^\top X/n` itself; given V, the state is a uniformly rotated Gaussian up to terms that vanish, if a layer only adds matrices'
outputs to a multiple of the state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import product

import sympy as sp

from derivations.affine import is_affine
from derivations.errors import NotClosed, brief
from derivations.language import Program
from derivations.language.small import sizes_in_front
from derivations.limits.elimination.averages import LayerAverage, layer_average
from derivations.limits.elimination.draws import Coins, Draw, EntriesDraw, Expansion, OrthogonalDraw, Random
from derivations.limits.elimination.expansion import expand
from derivations.limits.elimination.expectation import GaussianLaw, Law
from derivations.limits.elimination.fluctuations import (
    Kept,
    Moment,
    Projected,
    Settled,
    covariance_of,
    filled,
    mean_of,
    share_of,
)
from derivations.limits.elimination.held import released
from derivations.limits.elimination.matrix_laws import law_of
from derivations.limits.elimination.series import Series, as_expression, truncated_product
from derivations.limits.elimination.together import taken
from derivations.limits.gram import gram_matrix, upper
from derivations.limits.lasting import corrector, moving, remembered
from derivations.limits.meanfield import mean_symbols
from derivations.limits.recentred import Recentred, reads_linearly, recentred
from derivations.symbols import step

_UNDEFINED = (sp.nan, sp.zoo, sp.oo, -sp.oo)


def _opened(term: sp.Expr) -> tuple[sp.Expr, dict[sp.Symbol, sp.Expr]]:
    """A function of one neuron with names for the averages in it, and what they name."""
    names = {node: sp.Dummy("s", real=True) for node in term.atoms(LayerAverage)}
    return sp.expand(released(term).xreplace(names)), {name: node for node, name in names.items()}


class ShiftedLaw(GaussianLaw):
    """Of a state with means."""

    def __init__(self, draw: Draw, means: Sequence[sp.Symbol]) -> None:
        super().__init__(draw)
        self.shifts = {x: x + mean for x, mean in zip(draw.variables, means, strict=True)}

    def mean(self, body: sp.Expr) -> sp.Expr:
        """Of the centred state beside its mean."""
        return super().mean(body.xreplace(self.shifts))


@dataclass(frozen=True)
class GramChain:
    r"""One layer's conditional moments of :math:`V'` given V.

    Parameters
    ----------
    program : Program
        In ``symbols.step`` alone, with ``symbols.width`` for the width.
    inputs : int
        m.
    kept : Kept
    centred : bool
        Whether neurons stay centred; else their means are followed beside V.
    directions : int
        How many tangents of each input are followed, as further columns of X after all inputs.
    parameters : bool
        Whether the layer's own parameters move too, along the tangent.
    """

    program: Program
    inputs: int
    kept: Kept
    centred: bool = True
    directions: int = 0
    parameters: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "program", sizes_in_front(self.program, {step})[0])

    def __getstate__(self) -> dict[str, object]:
        """What it is made of: what is expanded holds functions that no pickle takes."""
        return {part.name: self.__dict__[part.name] for part in fields(self)}

    @property
    def columns(self) -> int:
        """Inputs and tangents together."""
        return self.inputs * (1 + self.directions)

    @cached_property
    def means(self) -> tuple[sp.Symbol, ...]:
        """The symbols of the neurons' means; none where they stay 0."""
        return () if self.centred else tuple(mean_symbols(self.columns))

    @cached_property
    def matrix(self) -> sp.ImmutableMatrix:
        """The symbols of V."""
        return gram_matrix(self.columns)

    @cached_property
    def expansion(self) -> Expansion:
        """The program over the inputs, in the small parameter."""
        expansion = expand(self.program, self.inputs, self.kept.all, self.directions, self.parameters)
        for draw in expansion.random:
            if isinstance(draw, EntriesDraw):
                raise NotClosed(
                    "depth and width together are derived for Gaussian and orthogonal weights: entries of another law change the limit by terms "
                    "of the same size as the fluctuation of a layer"
                )
            if isinstance(draw, OrthogonalDraw) and self._fraction(draw, expansion) is None:
                raise NotClosed(
                    "an orthogonal matrix must read and put out neurons whose numbers are multiples of the width; use Gaussian weights there"
                )
        return expansion

    def _fraction(self, draw: OrthogonalDraw, expansion: Expansion) -> sp.Expr | None:
        """The rows that a matrix has of the square orthogonal one; None unless that grows with the width."""
        assert draw.layer is not None
        size = expansion.sizes[draw.layer]
        if draw.dimension.has(sp.Max) or share_of(size) is None or share_of(draw.dimension) is None:
            return None
        return sp.cancel(size / draw.dimension)

    @cached_property
    def _said(self) -> tuple[Series, ...]:
        """The new state of a generic neuron, for each input, as the program has it."""
        e = self.expansion
        return tuple((d[0] + x, *d[1:]) for d, x in zip(e.increment, e.states, strict=True))

    @cached_property
    def _recentred(self) -> tuple[Recentred, ...] | None:
        """Without its own average, where the program takes that from it."""
        drawn = [random for v, random in self._neuron.items() if random is not None and self._moves(v)]
        if not self.centred or self.directions or any(type(random) is not Draw for random in drawn):
            return None
        states = self.expansion.states
        found = [recentred(series, _opened, self._neuron, states, self._average) for series in self._said]
        every = tuple(f for f in found if f is not None)
        return every if len(every) == len(found) else None

    def _moves(self, variable: sp.Symbol) -> bool:
        return any(term.has(variable) for series in self._said for term in series)

    @property
    def after(self) -> tuple[Series, ...]:
        """The new state of a generic neuron, for each input, in what the limit depends on."""
        return self._said if self._recentred is None else tuple(one.series for one in self._recentred)

    @cached_property
    def _neuron(self) -> dict[sp.Symbol, Random | None]:
        """All variables of a generic neuron of the state with what draws them; None for the state itself."""
        found: dict[sp.Symbol, Random | None] = dict.fromkeys(self.expansion.states)
        found |= {v: r for r in self.expansion.random for v in r.variables if r.layer in (0, None)}
        return found

    @cached_property
    def _split(self) -> tuple[tuple[dict[sp.Symbol, Series], Series], ...]:
        """The new state for each input as a linear combination of a neuron's variables, and what is left."""
        found = []
        for series in self.after:
            coefficients: dict[sp.Symbol, list[sp.Expr]] = {}
            left = []
            for k, term in enumerate(series):
                opened, back = _opened(term)
                rest = opened
                for v in (v for v in self._neuron if opened.has(v)):
                    slope = sp.diff(opened, v).xreplace(dict.fromkeys(self._neuron, sp.S.Zero))
                    if slope.has(*_UNDEFINED):
                        continue
                    coefficients.setdefault(v, [sp.S.Zero] * len(series))[k] = slope.xreplace(back)
                    rest -= slope * v
                left.append(sp.expand(rest).xreplace(back))
            found.append(({v: tuple(c) for v, c in coefficients.items()}, tuple(left)))
        return tuple(found)

    @property
    def slopes(self) -> tuple[dict[sp.Symbol, Series], ...]:
        """The coefficients of a neuron's variables in the new state, for each input."""
        return tuple(linear for linear, _ in self._split)

    @cached_property
    def is_conditional(self) -> bool:
        """Whether the new state is what Gaussian matrices put out and nothing else, with numbers in front."""
        if any(any(left) for _, left in self._split):
            return False
        used = {v for slopes in self.slopes for v in slopes}
        plain = all(not c.has(LayerAverage) for slopes in self.slopes for series in slopes.values() for c in series)
        return plain and all(
            isinstance(drawn := self._neuron[v], Draw)
            and not isinstance(drawn, OrthogonalDraw)
            and drawn.layer is not None
            for v in used
        )

    @cached_property
    def keeps_all(self) -> bool:
        """Whether a layer keeps the whole state at order 0."""
        kept = self.skip[0]
        for law in self.laws if kept.has(LayerAverage) else ():
            if law.layer is not None:
                kept = self._closed(mean_of(Moment(kept, sp.S.Zero), self._settled(law, (kept,)), Kept(0, -1)).first)
        return bool(sp.cancel(kept**2 - 1) == 0)

    def _require_gaussian(self, a: int) -> None:
        """Given V, a neuron must be Gaussian up to what vanishes.

        With a skip of less than 1 the new state must be linear. With a full skip many small terms add up: those of the size of
        the noise must be linear and free of the neuron's own state, and the mean of the others affine in it.
        """
        linear, left = self._split[a]
        refusal = self._not_by_itself(a)
        shared = [v for v, random in self._neuron.items() if random is not None and random.layer is None]
        if any(any(linear.get(v, ())) for v in shared):
            raise refusal  # a number that all neurons share moves them all at once
        if not self.keeps_all and not self._is_as_recentred(a):
            raise refusal
        if not self.keeps_all:
            if any(left) or any(isinstance(self._neuron[v], Coins) and any(c) for v, c in linear.items()):
                raise refusal
            return
        if any(c.has(LayerAverage) for c in left[: self.kept.all]):
            raise refusal  # an average that stays and moves all neurons at once
        drawn = {v for v, random in self._neuron.items() if random is not None}
        noisy = [k for k, term in enumerate(self.after[a]) if term.atoms(sp.Symbol) & drawn]
        for k, term in enumerate(self.after[a]):
            opened, _ = _opened(term)
            if noisy and k < 2 * noisy[0]:
                if any(sp.diff(opened, v).has(*self.expansion.states) for v in drawn) or _opened(left[k])[0].has(
                    *self._neuron
                ):
                    product_of_draws = all(v in drawn for v in _opened(left[k])[0].free_symbols & set(self._neuron))
                    if not product_of_draws or self._mean_given(_opened(left[k])[0]) != 0:
                        raise refusal
            else:
                mean = self._mean_given(opened)
                if not is_affine(mean, self.expansion.states):
                    raise refusal

    def _not_by_itself(self, a: int) -> NotClosed:
        """What of the new state the Gram matrix does not say: the same number for all neurons, or a function of one neuron."""
        _, left = self._split[a]
        drawn = [v for v, random in self._neuron.items() if random is not None]
        common = next((c for c in left if c != 0 and not c.has(*drawn) and not _opened(c)[0].has(*self._neuron)), None)
        if common is not None:
            return NotClosed(
                f"a layer adds {brief(common)} to each neuron, so that neurons have a mean that the Gram matrix does not say; leave out averages and "
                "means of weights and biases (mean=, bias_mean=), or add them with epsilon**2 in front to a layer that keeps the state"
            )
        part = next((term for term, c in zip(self._said[a], left, strict=True) if c != 0), self._said[a][0])
        return NotClosed(
            f"the Gram matrix is a chain by itself only if a layer adds matrices' outputs to a multiple of the state; the new state has the part {part}"
        )

    def _is_as_recentred(self, a: int) -> bool:
        """Whether a layer that does not keep the whole state may be without its own average; one without drawn numbers at order 0 projects only."""
        if self._recentred is None:
            return True
        drawn = [v for v, random in self._neuron.items() if random is not None]
        projects = not self._said[a][0].has(*drawn) if drawn else True
        return self._recentred[a].whole and (projects or reads_linearly(self.program))

    def _mean_given(self, opened: sp.Expr) -> sp.Expr:
        """Of a function of a neuron given its state."""
        for random in reversed(self.expansion.random):
            if random.layer in (0, None) and opened.has(*random.variables):
                opened = law_of(random).mean(opened)
        return opened

    def observable(self, a: int, b: int) -> sp.Expr:
        """An entry of :math:`V'` as a function of averages."""
        if not self.is_conditional:
            self._require_gaussian(a)
            return self._empirical(truncated_product(self.after[a], self.after[b]))
        total = [sp.S.Zero] * (self.kept.all + 1)
        for (v, p), (w, q) in product(self.slopes[a].items(), self.slopes[b].items()):
            if (draw := self._neuron[v]) is self._neuron[w]:
                assert isinstance(draw, Draw)
                i, j = sorted((draw.variables.index(v), draw.variables.index(w)), reverse=True)
                terms = truncated_product(truncated_product(p, q), draw.covariance[i, j])
                total = [t + c for t, c in zip(total, terms, strict=True)]
        return as_expression(total)

    def _empirical(self, series: Series) -> sp.Expr:
        return as_expression([self._average(c) for c in series]).xreplace(self._known)

    def _average(self, body: sp.Expr) -> sp.Expr:
        return layer_average(body, self.expansion.variables[0], 0)

    @cached_property
    def _known(self) -> dict[sp.Expr, sp.Expr]:
        """Averages of the state that are entries of V, or its means where these move."""
        x = self.expansion.states
        known = {self._average(x[a] * x[b]): self.matrix[a, b] for a in range(self.columns) for b in range(a + 1)}
        return known | {self._average(v): mean for v, mean in zip(x, self.means, strict=False)}

    @cached_property
    def laws(self) -> list[Law]:
        """What is eliminated, in order: what the layer draws, last first, and the state itself."""
        last = {id(self._neuron[v]) for slopes in self.slopes for v in slopes} if self.is_conditional else set()
        formulas = [c for series in (*self.after, *self._entries()) for c in series]
        left, drawn = [r for r in self.expansion.random if id(r) not in last], list[Law]()
        while left:
            r = taken(left, formulas, (), self.kept.all)
            # given their Gram matrix, rows of an orthogonal matrix are as Gaussian ones
            drawn.append(GaussianLaw(r) if isinstance(r, OrthogonalDraw) else law_of(r))
        shift = self.means or [sp.S.Zero] * self.columns
        entries = {
            (i, j): (self.matrix[i, j] - shift[i] * shift[j], *[sp.S.Zero] * self.kept.all)
            for i in range(self.columns)
            for j in range(i + 1)
        }
        state = Draw(self.expansion.states, entries, 0)
        return [*drawn, law_of(state) if self.centred else ShiftedLaw(state, self.means)]

    def _entries(self) -> Iterator[Series]:
        """Enough covariances to see which draws meet inside a function: of each variable with itself and with those of other inputs."""
        for draw in self.expansion.random:
            if isinstance(draw, Draw):
                places = range(len(draw.variables))
                yield from (draw.covariance[k, j] for k in places for j in {k, k - 1, k - self.columns} if j >= 0)

    def mean_of_average(self, a: int) -> Moment:
        """Of the average of the new state over its neurons."""
        return self.observed_mean(self._empirical(self.after[a]))

    def slow(self, a: int, b: int) -> sp.Expr:
        """An entry of :math:`V'` with what a skip remembers of averages of the state, so that these move its mean no more."""
        return self.observable(a, b) + self.lasting(a, b)

    @cached_property
    def _lasting(self) -> dict[tuple[int, int], sp.Expr]:
        return {}

    def lasting(self, a: int, b: int) -> sp.Expr:
        r""":math:`\langle\chi\rangle` after the layer less that before it; 0 where nothing lasts, the entry moves at order 0, or the sum is not known."""
        no = self.is_conditional or self.means or self.kept.beside < 0 or self.skip[0] == 0 or self.keeps_all
        if no or (a, b) in self._lasting:
            return self._lasting.get((a, b), sp.S.Zero)
        states, none = self.expansion.states, [sp.S.Zero]
        kept = [self.slopes[c].get(x, none)[0] for c, x in enumerate(states)]
        mean = self.kept.cut_beside(self._mean_given_state(self.observable(a, b)).first)
        settled = self._settled(self.laws[-1], (mean,))
        rest = filled(settled.law, settled.settled(settled.opened(mean)), 0)
        still = sp.cancel(rest - self.matrix[a, b]) == 0 and not any(c.has(LayerAverage) for c in kept)
        found = corrector(moving(settled, mean), states, self.matrix, kept) if still else sp.S.Zero
        after = {x: self.after[c][0] for c, x in enumerate(states)}
        there = {self.matrix[p]: self.observable(*p) for p in upper(self.columns)}
        self._lasting[a, b] = self._average(found.xreplace(after)).xreplace(there) - self._average(found)
        return self._lasting[a, b]

    def mean(self, a: int, b: int) -> Moment:
        """Of an entry of :math:`V'`."""
        return self.observed_mean(self.slow(a, b))

    def _mean_given_state(self, observable: sp.Expr) -> Moment:
        """Of a function of averages over what the layer draws, before the state itself if that is a law too."""
        moment = Moment(self.kept.cut(observable), sp.S.Zero)
        for law in self.laws if self.is_conditional else self.laws[:-1]:
            if law.layer is None:
                moment = Moment(self._mean_over(law, moment.first), self._mean_over(law, moment.second))
            else:
                moment = mean_of(moment, self._settled(law, (moment.first, moment.second)), self.kept)
            moment = Moment(self._closed(moment.first), self._closed(moment.second))
        return moment

    def observed_mean(self, observable: sp.Expr) -> Moment:
        """Of any function of averages over layers of this one's statements."""
        moment = self._mean_given_state(observable)
        if self.is_conditional:
            return moment
        settled = self._settled(self.laws[-1], (moment.first, moment.second))
        if self.keeps_all and settled.bent(settled.opened(self.kept.cut_beside(moment.first))) != 0:
            raise remembered(settled.bodies[0][1], self.skip[0])
        moment = mean_of(moment, settled, self.kept)
        return Moment(self._closed(moment.first), self._closed(moment.second))

    def covariance(self, p: tuple[int, int], q: tuple[int, int]) -> Moment:
        """Of two entries of :math:`V'`."""
        return self.observed_covariance(self.slow(*p), self.slow(*q))

    def observed_covariance(self, one: sp.Expr, other: sp.Expr) -> Moment:
        """Of two functions of averages."""
        # what fluctuates by powers of n^(-1/2) is beside 1/n from the start
        exact = any(law.layer is None or share_of(self.expansion.sizes[law.layer]) is None for law in self.laws)
        kept = Kept(self.kept.all if exact else self.kept.beside, -1)
        one, other = (kept.cut(f) if kept.all >= 0 else sp.S.Zero for f in (one, other))
        moment = Moment(sp.S.Zero, sp.S.Zero)
        for law in self.laws:
            if law.layer is None:
                mean, still = self._mean_over(law, one), self._mean_over(law, other)
                first = self._mean_over(law, sp.expand(one * other)) - mean * still
                moment = Moment(
                    self.kept.cut(self._mean_over(law, moment.first) + first), self._mean_over(law, moment.second)
                )
                one, other = mean, still
                continue
            settled = self._settled(law, (one, other, moment.first, moment.second))
            before = moment.second
            moment = covariance_of((one, other), moment, settled, self.kept)
            if law is self.laws[-1] and not self.is_conditional and self.skip[0] != 0:
                self._require_forgotten(moment.second, before, settled)
            one, other = (self._closed(mean_of(Moment(f, sp.S.Zero), settled, kept).first) for f in (one, other))
            moment = Moment(self._closed(moment.first), self._closed(moment.second))
        return moment

    def _mean_over(self, law: Law, expr: sp.Expr) -> sp.Expr:
        """Over numbers that all neurons share."""
        own = set(law.variables)
        if isinstance(law, GaussianLaw) and any(node.atoms(sp.Symbol) & own for node in expr.atoms(LayerAverage)):
            raise NotClosed(
                "a number that all neurons share stands inside an average over them, and the mean of that has no closed form; let it multiply what a "
                "matrix puts out"
            )
        return filled(law, law.mean(expr), self.kept.all)

    def _require_forgotten(self, after: sp.Expr, before: sp.Expr, settled: Settled) -> None:
        """Averages of the state other than V must not matter any more: they last as long as the skip remembers them."""
        if sp.expand(after - filled(settled.law, settled.settled(settled.opened(before)), self.kept.beside)) != 0:
            raise remembered(settled.bodies[0][1], self.skip[0])

    def _closed(self, expr: sp.Expr) -> sp.Expr:
        return expr if self.is_conditional else expr.xreplace(self._known)

    def _settled(self, law: Law, observables: Sequence[sp.Expr]) -> Settled:
        assert law.layer is not None
        if law is self.laws[-1] and not self.is_conditional:
            return self._projected(law, observables)
        neurons = self.expansion.variables[law.layer], self.expansion.sizes[law.layer]
        for draw in self.expansion.random:
            if isinstance(draw, OrthogonalDraw) and draw.variables == law.variables and isinstance(law, GaussianLaw):
                table = sp.ImmutableMatrix([[law.entry(u, v) for v in law.variables] for u in law.variables])
                fraction = self._fraction(draw, self.expansion)
                return Projected(law, law.layer, *neurons, observables).given(table, fraction)
        return Settled(law, law.layer, *neurons, observables)

    def _projected(self, law: Law, observables: Sequence[sp.Expr]) -> Settled:
        """Of the state given its Gram matrix."""
        variables, size = self.expansion.variables[0], self.expansion.sizes[0]
        if not self.centred:
            return Settled(law, 0, variables, size, observables)
        return Projected(law, 0, variables, size, observables).given(self.matrix)

    @property
    def skip(self) -> Series:
        """How much of the state a layer keeps."""
        nothing = tuple([sp.S.Zero] * (self.kept.all + 1))
        return self.slopes[0].get(self.expansion.states[0], nothing)
