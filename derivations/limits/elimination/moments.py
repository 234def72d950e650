r"""One layer's conditional moments in the small parameter: of a neuron, of a pair of neurons, of averages over the state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import sympy as sp

from derivations.errors import NoLimit, brief
from derivations.gaussian import GaussianExpectation, GaussianPairExpectation
from derivations.language.range import fixes, followed_by_projection
from derivations.language.small import denominator_of_powers, sizes_in_front
from derivations.language.statements import Back, Matrix, Program, read_symbols
from derivations.language.weights import Weights
from derivations.limits.elimination.alone import along
from derivations.limits.elimination.averages import LayerAverage, layer_average, reduced
from derivations.limits.elimination.coefficients import Coefficients
from derivations.limits.elimination.draws import Draw, Expansion, Fluctuations
from derivations.limits.elimination.expansion import expand
from derivations.limits.elimination.held import inside_means, with_sums
from derivations.limits.elimination.labels import state_labels
from derivations.limits.elimination.loop import Tag, conditional_mean
from derivations.limits.elimination.products import expanded
from derivations.limits.elimination.series import Series, as_expression, require_still, taylor, truncated_product
from derivations.limits.elimination.vanishing import require_norms
from derivations.symbols import state, step, width

#: The time of a layer is ε², so moments are needed to this order.
ORDER = 2
#: What to do about a layer that is not near the identity.
SCALE = "scale the branch by epsilon, which is 1/sqrt(L), or ask scalings(net) what the network does as it stands"
_REMEDY = {
    "mean": "scale this part of the update by ε², or centre it",
    "covariance": "scale the branch by ε or less, where ε is 1/sqrt(L), or ask scalings(net) which sizes have a limit",
}


@dataclass(frozen=True)
class LayerMoments:
    r"""A program over m inputs at a fixed number of neurons, or at infinitely many.

    Parameters
    ----------
    program : Program
    inputs : int
        m.
    infinite : bool
        Whether averages are their means.
    directions, parameters
        Tangents, as for :func:`~derivations.limits.elimination.expansion.expand`.
    order : int
        To which moments are expanded, in the small parameter; that of one layer's time where a limit is wanted.
    name_sums : bool
        Whether sums of averages have names in the expansion; the moments have none.
    coefficients : Coefficients, optional
        Gives names to means in the moments that are no rational functions of averages of the first inputs' states.
    from_zero : bool
        Whether tangents are 0 before the layer.
    """

    program: Program
    inputs: int
    infinite: bool = False
    directions: int = 0
    parameters: bool | frozenset[Weights] = False
    order: int = ORDER
    name_sums: bool = True
    coefficients: Coefficients | None = None
    from_zero: bool = False

    def __post_init__(self) -> None:
        program, changed = sizes_in_front(self.program, {step})
        object.__setattr__(self, "program", program)
        if isinstance(self.parameters, frozenset):
            object.__setattr__(self, "parameters", frozenset(changed.get(w, w) for w in self.parameters))

    @cached_property
    def root(self) -> int:
        r"""In which root of the small parameter the series are: 2 for a branch of the size :math:`\varepsilon^{3/2}`, else 1."""
        return denominator_of_powers(self.program, step)

    @property
    def _last(self) -> int:
        """To which order the series go."""
        return self.order * self.root

    def _expanded(self, program: Program, order: int, fixed: dict[sp.Expr, sp.Expr]) -> Expansion:
        tangents = self.directions, self.parameters
        program = program.xreplace({step: step**self.root}) if self.root > 1 else program
        return expand(program, self.inputs, order, *tangents, self.infinite, fixed, self.name_sums, self.from_zero)

    @cached_property
    def expansion(self) -> Expansion:
        """The program expanded, on the states that a layer can put out.

        Raises
        ------
        NoLimit
            If a sum over infinitely many neurons over the root of their number is not centred.
        NotClosed
            If a layer can divide by 0.
        """
        if not self.infinite:
            require_norms(self.program)
        program = followed_by_projection(self.program) if self.is_projected else self.program
        expansion = self._expanded(program, self._last, self._projection[1])
        for sums in (random for random in expansion.random if isinstance(random, Fluctuations)):
            for mean in sums.means:
                value = as_expression(conditional_mean(taylor(mean, self._last), expansion, (), self.infinite))
                if value != 0:
                    raise NoLimit(
                        f"a normalised sum over k neurons has the mean {value} √k, which grows with k: use average, or centre what is summed"
                    )
        return expansion

    @cached_property
    def states(self) -> tuple[sp.Symbol, ...]:
        """A neuron's state, one symbol an input."""
        return self.expansion.states

    @cached_property
    def other(self) -> tuple[sp.Symbol, ...]:
        """Another neuron's state."""
        return tuple(sp.Symbol(f"{x.name}'", real=True) for x in self.states)

    @cached_property
    def places(self) -> tuple[sp.Symbol, ...]:
        """Where neurons of the state are not alike: one symbol a neuron, 1 for that one and 0 for all others."""
        return self.expansion.places.get(0, ())

    @cached_property
    def other_places(self) -> tuple[sp.Symbol, ...]:
        """The same of another neuron."""
        return tuple(sp.Dummy(f"{e.name}'", real=True) for e in self.places)

    def average(self, body: sp.Expr) -> sp.Expr:
        """Over the neurons of the state."""
        return layer_average(body, self.expansion.variables[0], 0)

    @cached_property
    def _projection(self) -> tuple[sp.Expr, dict[sp.Expr, sp.Expr], set[int]]:
        """How a layer without small parameters moves the state at random, else 0; the averages that it fixes, and of which powers."""
        powers: set[int] = set()
        if self.program.update.xreplace({step: sp.S.Zero}) == state:
            return sp.S.Zero, {}, powers  # the layer adds to the state, and nothing else
        try:
            still = self._expanded(self.program, 0, {})
        except NoLimit:
            still = self._expanded(self.program, self._last, {})  # names the order that is wanted
        drawn = {v for random in still.random for v in random.variables}
        found: dict[sp.Expr, sp.Expr] = {}
        new = {x: x + with_sums(moved) for x, (moved, *_) in zip(still.states, still.increment, strict=True)}
        for c, x in enumerate(still.states if any(map(any, still.increment)) else ()):
            if inside := (moved := new[x] - x).atoms(sp.Symbol) & drawn:
                if inside <= _still(still.random):
                    raise NoLimit(
                        f"what {', '.join(sorted(map(str, inside)))} puts out vanishes with ε, which stands inside the matrix; take it out, as "
                        "eps*A(x) for A(eps*x)"
                    )
                return moved, {}, powers
            # a tangent of a state of fixed norm is orthogonal to it
            for body in (x, x**2, *([x * still.states[c % self.inputs]] if c >= self.inputs else [])):
                after = layer_average(sp.expand(body.xreplace(new)), still.variables[0], 0)
                value = sp.cancel(after)
                if value.is_number:
                    found[layer_average(body, still.variables[0], 0)] = value
                    powers |= {power for power in (1, 2) if body == x**power}
        return sp.S.Zero, found, powers

    @property
    def is_projected(self) -> bool:
        """Whether the layer adds to a projection of the state, so that the next layer projects what it adds."""
        return not all(fixes(self.program, power) for power in self._projection[2])

    @property
    def fixed(self) -> dict[sp.Expr, sp.Expr]:
        r"""Averages of the state that every layer puts out with the same value, such as :math:`\langle x^2\rangle = 1` after a norm.

        With the small parameter at 0 a layer is a map of the state. Where that map is not the identity but a projection, all
        states after the first layer are in its range, and there these averages have the values given here.

        Raises
        ------
        NoLimit
            If that map is random.
        """
        moved, found, _ = self._projection
        if moved != 0:
            grows = "let depth and width grow together, order='joint', or " if moved.has(width) else ""
            raise NoLimit(
                f"one layer moves the state by {brief(moved)} even at ε = 0, at random: the network does not become continuous in depth; {grows}{SCALE}"
            )
        return found

    @property
    def fixed_powers(self) -> dict[int, sp.Expr]:
        """The powers of the state whose averages every layer fixes, the same for all inputs."""
        x = self.states[0]
        return {k: self.fixed[self.average(x**k)] for k in (1, 2) if self.average(x**k) in self.fixed}

    def on_range(self, expr: sp.Expr) -> sp.Expr:
        """An expression at a state that a layer can put out."""
        if not self.fixed:
            return expr
        return inside_means(expr.xreplace(self.fixed), lambda mean: mean.xreplace(self.fixed))

    def increment(self, a: int) -> sp.Expr:
        """Of a generic neuron for one input, a polynomial in the small parameter."""
        return with_sums(as_expression(self.expansion.increment[a]))

    def at_rest(self) -> None:
        """Require that a layer does nothing when the small parameter is 0.

        Raises
        ------
        NoLimit
            Saying what it does.
        """
        for a in range(len(self.states)):
            moved = sp.cancel(self.on_range(with_sums(self.expansion.increment[a][0])))
            if moved == 0:
                continue
            if sp.cancel(moved.xreplace(self._of_norm_one(a))) == 0:
                raise NoLimit(
                    f"the increment at ε = 0 is {brief(moved)}, which is 0 at the mean square 1 only: where several layers bring states there, they "
                    "move slowly from then on; such a limit is derived where one layer does so, as with a norm of the whole sum: "
                    "rms_norm(x + eps*A(x))"
                )
            raise NoLimit(
                f"the increment at ε = 0 is {brief(moved)}, not 0: the network does not become continuous in depth; {SCALE}"
            )

    def _of_norm_one(self, a: int) -> dict[sp.Expr, sp.Expr]:
        """The averages of a coordinate behind a norm."""
        x = self.states[a]
        return {self.average(x): sp.S.Zero, self.average(x**2): sp.S.One}

    def mean(self, series: Series, tags: Sequence[Tag] = ()) -> Series:
        """The conditional mean of a series."""
        named = (
            None if self.fixed or self.expansion.places else self.coefficients
        )  # names would hide what is put in later
        found = conditional_mean(series, self.expansion, tags, self.infinite, named, self.states[: self.inputs])
        return tuple(self.on_range(self._over_unlike(with_sums(term))) for term in found)

    def _over_unlike(self, expr: sp.Expr) -> sp.Expr:
        """With averages of what depends only on which neuron it is written out over the neurons."""
        e, rule = self.expansion, {}
        for node in expr.atoms(LayerAverage) if e.places else ():
            own = e.places.get(node.layer, ())
            if own and set(node.bound_symbols) <= set(own):
                rows = [{v: sp.Integer(i == k) for i, v in enumerate(own)} for k in range(len(own))]
                rule[node] = sp.Add(*(evaluated(node.body.xreplace(row)) for row in rows)) / len(own)
        return expr.xreplace(rule)

    @cached_property
    def _tags(self) -> tuple[Tag, Tag]:
        layer = self.expansion.variables[0]
        return Tag.of(layer, "i"), Tag.of(layer, "j")

    def _named(self, expr: sp.Expr) -> sp.Expr:
        i, j = self._tags
        back = {i.copies[x]: x for x in self.states}
        back |= {j.copies[x]: y for x, y in zip(self.states, self.other, strict=True)}
        back |= {i.copies[e]: e for e in self.places} | {
            j.copies[e]: f for e, f in zip(self.places, self.other_places, strict=True)
        }
        return expr.xreplace(back)

    def _required(self, series: Series, moment: str = "mean") -> sp.Expr:
        """The coefficient of one layer's time; those before must vanish."""
        time = ORDER * self.root
        for k, moved in enumerate(map(sp.cancel, series[:time])):
            if require_still(moved) != 0 and (moved := sp.cancel(evaluated(moved))) != 0:
                power = sp.Rational(k, self.root)
                found, order = brief(named := self._named(moved)), "" if power == 1 else f"^{power}"
                found = f"({found})" if named.is_Add or found.startswith("-") else found
                raise NoLimit(
                    f"the conditional {moment} of one layer's step is ε{order}·{found} + …: it must vanish at order {power}, since a layer takes ε² "
                    f"of time; {_REMEDY[moment]}"
                )
        return self._named(require_still(series[time]))

    def drift(self, a: int) -> sp.Expr:
        """Of a neuron, in its own state and averages of the state."""
        if a not in self._drifts:
            self._drifts[a] = self._alone(a) if self._is_alone else self._required(self.moved(a))
        return self._drifts[a]

    @cached_property
    def _is_alone(self) -> bool:
        """Whether a transpose would know a neuron's drift from several columns, where one says it."""
        follows_weights = self.infinite or self.parameters or self.from_zero or self.places
        several = self.program.positions == 1 and len(self.states) > 1
        return several and not follows_weights and any(isinstance(s, Back) for s in self.program.statements)

    def _alone(self, a: int) -> sp.Expr:
        direction, k = divmod(a, self.inputs)
        own = replace(self, inputs=1, directions=0, coefficients=None)
        found = state_labels([own.states], [self.states[: self.inputs]])(own.drift(0), (k,))
        return along(found, self.states[k], self.states[a]) if direction else found

    @cached_property
    def _drifts(self) -> dict[int, sp.Expr]:
        return {}

    def moved(self, a: int) -> Series:
        """The mean of a neuron's increment."""
        i, _ = self._tags
        return tuple(map(self._named, self.mean(tuple(map(i.here, self.expansion.increment[a])), (i,))))

    def covariance(self, a: int, b: int) -> sp.Expr:
        """Of a neuron's increments for two inputs."""
        key = min(a, b), max(a, b)
        if key not in self._covariances:
            found = self._required(self.spread(*key), "covariance")
            # a transpose divides by determinants of averages, and what depends on the neuron may cancel
            own = self.infinite and not found.free_symbols.isdisjoint(self.states)
            self._covariances[key] = reduced(found) if own else found
        return self._covariances[key]

    @cached_property
    def _covariances(self) -> dict[tuple[int, int], sp.Expr]:
        return {}

    def spread(self, a: int, b: int) -> Series:
        """The mean of the product of a neuron's increments for two inputs."""
        i, _ = self._tags
        product = truncated_product(self.expansion.increment[a], self.expansion.increment[b])
        return tuple(map(self._named, self.mean(tuple(map(i.here, product)), (i,))))

    def between(self, a: int, b: int) -> sp.Expr:
        """Covariance of the increments of two different neurons, in both their states."""
        if (a, b) not in self._betweens:
            i, j = self._tags
            first, second = self.expansion.increment[a], self.expansion.increment[b]
            if self._is_odd(first) or self._is_odd(second):
                self._betweens[a, b] = sp.S.Zero
                return self._betweens[a, b]
            product = truncated_product(tuple(map(i.here, first)), tuple(map(j.here, second)))
            self._betweens[a, b] = self._required(self.mean(product, (i, j)), "covariance")
        return self._betweens[a, b]

    def beside(self, a: int, b: int) -> Series:
        """The covariance of the increments of two different neurons, order by order."""
        i, j = self._tags
        first, second = self.expansion.increment[a], self.expansion.increment[b]
        if self._is_odd(first) or self._is_odd(second):
            return tuple(sp.S.Zero for _ in first)
        here, there = tuple(map(i.here, first)), tuple(map(j.here, second))
        product = self.mean(truncated_product(here, there), (i, j))
        means = truncated_product(self.mean(here, (i,)), self.mean(there, (j,)))
        return tuple(self._named(c - m) for c, m in zip(product, means, strict=True))

    def _is_odd(self, increment: Series) -> bool:
        """Whether what fluctuates changes its sign with a neuron's rows of matrices that nothing else reads, so that its mean given all others is 0."""
        rule = {v: -v for v in self._last_drawn}
        noise = increment[: ORDER * self.root]
        return all(term == 0 or sp.expand(term.xreplace(rule) + term) == 0 for term in noise)

    @cached_property
    def _last_drawn(self) -> set[sp.Symbol]:
        """What Gaussian matrices with independent rows put out in the neurons of the state, where no statement and no norm of the sum reads it."""
        if self.is_projected:
            return set()
        statements = self.program.statements
        read = set().union(*map(read_symbols, statements))
        kept = {s.weights for s in statements if isinstance(s, Back) or (isinstance(s, Matrix) and s.symbol in read)}
        matrices = [s for s in statements if isinstance(s, Matrix) and s.target.index == 0 and s.weights not in kept]
        last = [s for s in matrices if s.weights.is_gaussian]
        return {v for v, (origin, _) in self.expansion.origin.items() if origin in last}

    @cached_property
    def _betweens(self) -> dict[tuple[int, int], sp.Expr]:
        return {}

    def change(self, *bodies: sp.Expr) -> sp.Expr:
        r"""Drift of :math:`\langle b\rangle` for one body, covariance of :math:`\langle b\rangle, \langle c\rangle` for two."""
        key = tuple(sorted(bodies, key=sp.default_sort_key))
        if key not in self._changes:
            self._changes[key] = self._required(self.changed(*key))
        return self._changes[key]

    @cached_property
    def _changes(self) -> dict[tuple[sp.Expr, ...], sp.Expr]:
        return {}

    def changed(self, *bodies: sp.Expr) -> Series:
        """The mean change of the average of a body, or of the product of the changes of two, as a series."""
        moved = []
        for body in bodies:
            after = {x: x + self.increment(a) for a, x in enumerate(self.states)}
            difference = taylor(sp.expand(body.xreplace(after) - body), self._last)
            moved.append(tuple(map(self.average, difference)))
        return self.mean(moved[0] if len(moved) == 1 else truncated_product(*moved))

    def product(self, a: int, b: int) -> sp.Expr:
        r"""Drift of the average of the product of two coordinates."""
        x, y = self.states[a], self.states[b]
        if not self.infinite:
            return self.change(x * y)
        # the average over infinitely many neurons is the mean of one
        moved = x * self.drift(b) + y * self.drift(a) + self.covariance(a, b)
        return self.on_range(self.average(expanded(moved)))


@lru_cache(maxsize=8)
def layer_moments(program: Program, inputs: int, directions: int) -> LayerMoments:
    """The moments of one layer at a fixed number of neurons: what a limit has asked for is not taken again for the Gram matrix's."""
    return LayerMoments(program, inputs, directions=directions)


def evaluated(expr: sp.Expr, known: dict[sp.Expr, sp.Expr] | None = None) -> sp.Expr:
    """With closed forms in the place of Gaussian means that have one, the innermost first.

    Parameters
    ----------
    expr : Expr
    known : dict, optional
        What was found for means before; what is found now is added. A mean without a closed form costs as much as one that has it.
    """
    known = {} if known is None else known
    nodes = expr.atoms(GaussianExpectation, GaussianPairExpectation)
    inside = {node: node.atoms(GaussianExpectation, GaussianPairExpectation) - {node} for node in nodes}
    for node in sorted(nodes, key=lambda node: len(inside[node])):
        if node not in known:
            known[node] = node.xreplace({inner: known[inner] for inner in inside[node]}).doit()
    return expr.xreplace({node: known[node] for node in nodes if known[node] != node})


def state_averages(expr: sp.Expr) -> list[LayerAverage]:
    """The averages over the state in an expression, innermost first."""
    nodes = [n for n in expr.atoms(LayerAverage) if n.layer == 0]
    return sorted(nodes, key=lambda n: (len(n.atoms(LayerAverage)), sp.default_sort_key(n)))


def _still(random: Sequence[object]) -> set[sp.Symbol]:
    """What matrices put out that are applied to something that vanishes: nothing."""
    draws = [draw for draw in random if isinstance(draw, Draw)]
    return {v for draw in draws for i, v in enumerate(draw.variables) if not any(draw.covariance[i, i])}
