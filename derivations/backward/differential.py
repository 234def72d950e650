r"""One layer's derivative in its state as a random matrix, and its moments per unit of time.

The derivative of a program is a program with the same matrices, so a tangent v is a second state beside x, and one elimination gives
the drift of v, linear in v, and the covariance of two tangents, linear in each. These say everything of the random matrix
:math:`M` with :math:`\mathrm{d}v = \mathrm{d}M\,v`: an entry is what a unit vector gives. Sums over a matrix's indices, as
in :math:`\operatorname{tr} M^2`, are sums over neurons of the slopes of these forms, and so is the transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product

import sympy as sp

from derivations.backward.forms import renamed, slope_of, slopes_of
from derivations.backward.unlike import require_alike
from derivations.errors import NotClosed
from derivations.language import Program
from derivations.limits.depth import as_sums, require_movement
from derivations.limits.elimination.averages import LayerAverage, layer_average, reduced
from derivations.limits.elimination.coefficients import Coefficient, Coefficients
from derivations.limits.elimination.held import HeldMean, released
from derivations.limits.elimination.labels import Exchange
from derivations.limits.elimination.moments import LayerMoments, state_averages
from derivations.limits.elimination.products import expanded
from derivations.limits.slopes import require_slopes


@dataclass(frozen=True)
class LayerDifferential:
    r"""Drift and covariance of the matrix :math:`M` of one layer, for one input.

    Coefficients that are no rational functions of the state's averages have names in these formulas;
    :func:`~derivations.limits.elimination.held.released` puts them back.

    Parameters
    ----------
    program : Program
    """

    program: Program

    def __post_init__(self) -> None:
        require_slopes(self.program)
        require_alike(self.program)

    @property
    def positions(self) -> int:
        """Coordinates of a neuron's state."""
        return self.program.positions

    @property
    def size(self) -> sp.Expr:
        """How many neurons the state has."""
        return self.program.neurons.size

    @cached_property
    def moments(self) -> LayerMoments:
        """Of the state and of two tangents."""
        moments = LayerMoments(self.program, self.positions, directions=2, coefficients=self._names)
        moments.at_rest()
        require_movement(moments)
        return moments

    def require_invertible(self) -> None:
        """Require that a layer's derivative has an inverse.

        Raises
        ------
        NotClosed
            If every layer puts the state on a sphere.
        """
        if self.moments.fixed:
            raise NotClosed(
                "every layer ends with a norm, which keeps the state on a sphere: the Jacobian annihilates the direction of the state, so it has no "
                "inverse and its determinant is 0; ask for its equation, and for volumes of fewer tangents than neurons"
            )

    @cached_property
    def state(self) -> tuple[sp.Symbol, ...]:
        """A neuron's own state."""
        return self.moments.states[: self.positions]

    def tangent(self, k: int) -> tuple[sp.Symbol, ...]:
        """A neuron's part of the first or the second tangent."""
        return self.moments.states[(k + 1) * self.positions : (k + 2) * self.positions]

    # ---- moments ----

    @cached_property
    def drift(self) -> tuple[sp.Expr, ...]:
        """Of a neuron's part of the first tangent."""
        return tuple(self._form(self.moments.drift(self.positions + a)) for a in self._coordinates)

    @cached_property
    def covariance(self) -> dict[tuple[int, int], sp.Expr]:
        """Of one neuron's coordinates of the first and the second tangent."""
        return {(a, b): self.own(a, b) for a in self._coordinates for b in self._coordinates}

    @cached_property
    def between(self) -> dict[tuple[int, int], sp.Expr]:
        """The same of two different neurons, the second one's numbers with a prime."""
        return {(a, b): self.apart(a, b) for a in self._coordinates for b in self._coordinates}

    def own(self, a: int, b: int) -> sp.Expr:
        """One entry of :attr:`covariance`."""
        return self._own(1, a, 2, b)

    def apart(self, a: int, b: int) -> sp.Expr:
        """One entry of :attr:`between`."""
        return self._other(1, a, 2, b)

    def _own(self, k: int, a: int, m: int, b: int) -> sp.Expr:
        (k, a), (m, b) = sorted(((k, a), (m, b)))
        orders = self._orders(a, b)
        swaps = (False, True) if k else (False,)  # both tangents are alike
        pattern, swap, order = min(
            (tuple(order.index(c) for c in ((b, a) if swap else (a, b))), swap, order)
            for swap in swaps
            for order in orders
        )
        if (k, m, pattern) not in self._moments:
            places = (k * self.positions + pattern[0], m * self.positions + pattern[1])
            self._moments[k, m, pattern] = self._form(self.moments.covariance(*places))
        groups = (0, 2, 1) if swap else (0, 1, 2)
        images = (self.moments.states[g * self.positions + c] for g in groups for c in order)
        rule = dict(zip(self.moments.states, images, strict=True))
        return self._under(self._moments[k, m, pattern], {x: y for x, y in rule.items() if x != y})

    @cached_property
    def _moments(self) -> dict[tuple[int, int, tuple[int, ...]], sp.Expr]:
        return {}

    def _orders(self, *places: int) -> tuple[tuple[int, ...], ...]:
        """Renamings of the positions that leave the layer alone; where all do, one that brings some places to the front."""
        exchange = Exchange.of(self.program)
        if not exchange.unordered:
            return exchange.symmetries or (tuple(self._coordinates),)
        first = tuple(dict.fromkeys(places))
        return ((*first, *(c for c in self._coordinates if c not in first)),)

    def _other(self, k: int, a: int, m: int, b: int) -> sp.Expr:
        return self._form(self.moments.between(k * self.positions + a, m * self.positions + b))

    def _form(self, moment: sp.Expr) -> sp.Expr:
        """A moment in lowest terms; a coefficient that is no rational function of the state's averages has a name, and stays whole."""
        plain = reduced(self._names.around(moment, released))
        averages = {node: sp.Dummy() for node in state_averages(plain)}
        if plain.xreplace(averages).is_rational_function(*averages.values()):
            return plain
        plain = released(plain)  # a name inside another one would not be renamed with it
        moving, collected = {*self.moments.states, *self.moments.other}, dict[sp.Expr, sp.Expr]()
        for term in sp.Add.make_args(plain):
            factors = sp.Mul.make_args(term)
            still = [f for f in factors if not f.free_symbols & moving and not self._tangents_in(f)]
            rest = sp.Mul(*(f for f in factors if f not in still))
            collected[rest] = collected.get(rest, sp.S.Zero) + sp.Mul(*still)
        return sp.Add(*(rest * self._name(value) for rest, value in collected.items()))

    def _name(self, value: sp.Expr) -> sp.Expr:
        return self._names(*self._names.taken_apart(value)) if value.has(LayerAverage) else value

    @cached_property
    def _names(self) -> Coefficients:
        return Coefficients()

    def _under(self, expr: sp.Expr, rule: Mapping[sp.Basic, sp.Basic]) -> sp.Expr:
        """A form with other letters, also in what its coefficients' names stand for."""
        names = expr.atoms(Coefficient)
        places = {a: renamed(a, rule) for a in dict.fromkeys(a for m in names for a in m.places)}
        return renamed(expr, rule).xreplace({m: self._names(m.form, [places[a] for a in m.places]) for m in names})

    def _tangents_in(self, expr: sp.Expr) -> bool:
        """Whether averages hold tangents."""
        tangents = {*self.moments.states[self.positions :]}
        return any(node.body.free_symbols & tangents for node in state_averages(expr))

    def _each(self, of: Callable[..., sp.Expr], count: int) -> dict[tuple[int, ...], sp.Expr]:
        """Of so many positions each: derived where the layer tells them apart, and renamed for the others."""
        derived: dict[tuple[int, ...], sp.Expr] = {}
        found = {}
        for places in product(self._coordinates, repeat=count):
            pattern, order = min((tuple(o.index(c) for c in places), o) for o in self._orders(*places))
            if pattern not in derived:
                derived[pattern] = of(*pattern)
            rule: dict[sp.Basic, sp.Basic] = {}
            for letters in (self.moments.states, self.moments.other):
                images = (letters[g * self.positions + c] for g in range(3) for c in order)
                rule |= {x: y for x, y in zip(letters, images, strict=True) if x != y}
            found[places] = self._under(derived[pattern], rule)
        return found

    # ---- sums over neurons ----

    @cached_property
    def trace(self) -> sp.Expr:
        r"""The drift of :math:`\operatorname{tr} M`."""
        return self._free(
            sp.Add(*(self._total(self._slope(self.drift[a], self.tangent(0)[a])) for a in self._coordinates))
        )

    @cached_property
    def square(self) -> sp.Expr:
        r"""The rate of :math:`\sum_{ij} \mathrm{d}[M_{ij}, M_{ji}]`, the trace of :math:`(\mathrm{d}M)^2`."""
        return self._contracted(crossed=True)

    @cached_property
    def variance(self) -> sp.Expr:
        r"""The rate of :math:`\mathrm{d}[\operatorname{tr}M, \operatorname{tr}M]`."""
        return self._contracted(crossed=False)

    def _contracted(self, crossed: bool) -> sp.Expr:
        def part(a: int, b: int) -> sp.Expr:
            first, second = self.tangent(0)[b if crossed else a], self.tangent(1)[a if crossed else b]
            total = self._total(self._slope(self._slope(self.covariance[a, b], first), second))
            two = self._slope(self.between[a, b], first, there=crossed)
            return self._free(total + self._total(self._over_others(self._slope(two, second, there=not crossed))))

        return self._tidy(sp.Add(*self._each(part, 2).values()))

    def with_state(self, a: int) -> sp.Expr:
        r"""The rate of :math:`\mathrm{d}[x_i, \operatorname{tr}M]`, for a coordinate of a generic neuron."""
        return self._with_state[a,]

    @cached_property
    def _with_state(self) -> dict[tuple[int, ...], sp.Expr]:
        return self._each(self._state_and_trace, 1)

    def _state_and_trace(self, a: int) -> sp.Expr:
        total = sp.S.Zero
        for b, v in enumerate(self.tangent(0)):
            total += self._slope(self._own(0, a, 1, b), v)
            total += self._over_others(self._slope(self._other(0, a, 1, b), v, there=True))
        return self._free(total)

    @cached_property
    def squared(self) -> tuple[sp.Expr, ...]:
        r"""The rate of :math:`(\mathrm{d}M)^2\,v`, a form in the first tangent."""
        first, second = self.tangent(0), self.tangent(1)

        def of(a: int) -> sp.Expr:
            total = sp.S.Zero
            for c in self._coordinates:  # M_ik M_kj, where k = i and where it is another neuron
                total += self._slope(self.covariance[a, c], first[c])
                total += self._over_others(self._slope(self.between[a, c], first[c], there=True))
            return self._tidy(renamed(total, dict(zip(second, first, strict=True))))

        return tuple(self._each(of, 1).values())

    @cached_property
    def growth(self) -> sp.Expr:
        r"""The rate of :math:`\|v\|^2`, over :math:`\|v\|^2`."""
        first, second = self.tangent(0), self.tangent(1)
        same = dict(zip(second, first, strict=True))
        change = sp.Add(
            *(2 * first[a] * self.drift[a] + renamed(self.covariance[a, a], same) for a in self._coordinates)
        )
        square = sp.Add(*(v**2 for v in first))
        change, square = sp.expand(self._total(change)), self._total(square)
        one = next(iter(state_averages(square)))
        # a square that divides the change is a factor of it: where the square is 0 the change is too
        root = sp.expand(one - square / square.coeff(one))
        divides = sp.expand(change.xreplace({one: root})) == 0
        ratio = sp.cancel(change / square) if divides else change / square
        # terms that have no factor in common are many over positions, and to look for one takes minutes
        tidied = sp.factor if divides or self.positions == 1 else sp.factor_terms
        neuron = self.moments.states[: 2 * self.positions]
        return self._names.released(ratio, lambda average: tidied(as_sums(average, neuron, self.size)))

    # ---- the transpose ----

    def require_independent_rows(self) -> None:
        """Require that different neurons are driven independently.

        Raises
        ------
        NotClosed
            If the rows of M are not independent.
        """
        _ = self.drift  # a network without a limit says so
        if any(value != 0 for value in self.between.values()):
            raise NotClosed(
                "the rows of a layer's derivative are not independent, and the equation of the inverse is written for independent ones; "
                "follow the Jacobian itself and invert it"
            )

    def transposed(self, form: tuple[sp.Expr, ...]) -> tuple[sp.Expr, ...]:
        r""":math:`A^\top w` for a matrix A that is given by :math:`A v`, both in the letters of the first tangent."""
        v = self.tangent(0)

        def of(b: int) -> sp.Expr:
            total = sp.S.Zero
            for a in self._coordinates:
                local, shared = self._split(form[a], v[b])
                total += local * v[a] + self._gathered(shared * v[a])
            return self._tidy(total)

        return tuple(self._each(of, 1).values())

    @cached_property
    def transposed_covariance(self) -> tuple[dict[tuple[int, int], sp.Expr], dict[tuple[int, int], sp.Expr]]:
        r"""Covariance of :math:`(\mathrm{d}M)^\top w` and :math:`(\mathrm{d}M)^\top z`: of one neuron's coordinates, and of two neurons'.

        Where rows of M are independent, :math:`\sum_i w_i z_i\,C_{ij,ik}`.

        Raises
        ------
        NotClosed
            If the rows of M are not independent.
        """
        self.require_independent_rows()
        w, z = self.tangent(0), self.tangent(1)
        far = tuple(sp.Dummy(f"{x.name}''", real=True) for x in self.moments.states)
        further = dict(zip(self.moments.states, far, strict=True))
        closer = dict(zip(far, self.moments.other, strict=True))

        @cache
        def parts(c: int, d: int) -> tuple[sp.Expr, sp.Expr]:
            one = two = sp.S.Zero
            for (a, b), value in self.covariance.items():
                weight = w[a] * z[b]
                # the column of the first entry is that of the row's neuron, or any; then that of the second entry likewise
                here, spread = self._split(value, w[c])
                diagonal, left = self._split_at(here, z[d], further)
                right, both = self._split_at(spread, z[d], further)
                one += diagonal * weight + self._gathered(slope_of(spread, self._there[z[d]]) * weight)
                two += (left * weight).xreplace(closer) + (right * weight).xreplace(self._swapped)
                two += self._gathered(both * weight).xreplace(closer)
            return self._tidy(one + two.xreplace({y: x for x, y in self._there.items()})), self._tidy(two)

        own, apart = (self._each(lambda c, d, k=k: parts(c, d)[k], 2) for k in (0, 1))
        return own, apart  # type: ignore[return-value]

    # ---- slopes ----

    def _slope(self, form: sp.Expr, v: sp.Symbol, there: bool = False) -> sp.Expr:
        """The derivative in the entry of a tangent at the form's own neuron, or at the one whose numbers have a prime."""
        at = self._there if there else {}
        return sp.Add(*self._split_at(form, v, at, self._there[v] if there else v))

    def _split(self, form: sp.Expr, v: sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
        r"""The derivative in the entry at a neuron through the form's own numbers, and through averages at a neuron with primes.

        With :math:`\langle b\rangle = \frac1n\sum_j b(x_j, v_j)`, an average has the slope :math:`\frac1n\,\partial_v b` at every neuron.
        """
        return self._split_at(form, v, self._there)

    def _split_at(
        self, form: sp.Expr, v: sp.Symbol, names: dict[sp.Basic, sp.Basic], own: sp.Basic | None = None
    ) -> tuple[sp.Expr, sp.Expr]:
        moved = [node for node in form.atoms(LayerAverage) if node.layer == 0 and v in node.body.free_symbols]
        held = {node: sp.Dummy("s", real=True) for node in moved}
        back, own = {s: node for node, s in held.items()}, own or v
        slopes = slopes_of(form.xreplace(held), [own, *held.values()])
        through = (slopes[s] * sp.diff(node.body, v).xreplace(names) / self.size for node, s in held.items())
        return slopes[own].xreplace(back), sp.Add(*through).xreplace(back)

    # ---- neurons ----

    @cached_property
    def _there(self) -> dict[sp.Basic, sp.Basic]:
        """The names of another neuron."""
        return dict(zip(self.moments.states, self.moments.other, strict=True))

    @cached_property
    def _swapped(self) -> dict[sp.Basic, sp.Basic]:
        return {**self._there, **{y: x for x, y in self._there.items()}}

    @property
    def _coordinates(self) -> range:
        return range(self.positions)

    def _total(self, body: sp.Expr) -> sp.Expr:
        """Over all neurons."""
        return self.size * layer_average(body, self.moments.states, 0)

    def _gathered(self, body: sp.Expr) -> sp.Expr:
        """Over all neurons, where the one with a prime is the one that is left."""
        return self._total(body).xreplace({y: x for x, y in self._there.items()})

    def _over_others(self, body: sp.Expr) -> sp.Expr:
        """A function of two neurons summed over the second one, which is not the first."""
        if body == 0:
            return sp.S.Zero
        every = self._total(body.xreplace(self._swapped)).xreplace(self._swapped)
        return every - body.xreplace({y: x for x, y in self._there.items()})

    def _free(self, expr: sp.Expr) -> sp.Expr:
        """A sum that depends on the state alone.

        Raises
        ------
        NotClosed
            If the differential is not seen to be linear in the tangents.
        """
        found, tangents = self._tidy(expr), {*self.moments.states[self.positions :], *self.moments.other}
        if found.free_symbols & tangents or any(node.body.free_symbols & tangents for node in state_averages(found)):
            raise NotClosed(
                "the moments of a layer's derivative hold fractions of tangents, as those of transposes do, in which they are not seen to be linear; "
                "follow tangents by simulation"
            )
        return found

    def _tidy(self, expr: sp.Expr) -> sp.Expr:
        found = self.moments.on_range(expanded(expr))
        return found if found.atoms(HeldMean) else reduced(found)  # a name stands for what is no rational function

    def sums(self, expr: sp.Expr) -> sp.Expr:
        """Averages of the state as sums over the layer of the state's own coordinates, coefficients in the place of their names."""

        def tidied(average: sp.Expr) -> sp.Expr:
            return sp.factor_terms(as_sums(average, self.state, self.size))

        return self._names.released(expr, tidied)

    def written_in(self, letters: Mapping[sp.Basic, sp.Basic]) -> Callable[[sp.Expr], sp.Expr]:
        """Formulas in other letters, coefficients in the place of their names."""

        @cache
        def changed(average: sp.Expr) -> sp.Expr:
            return renamed(average, letters)

        return lambda expr: self._names.released(expr, changed)
