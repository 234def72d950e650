r"""The orders of a step of training at numbers for the exponents: what each matrix's step moves, at a learning rate or at the largest one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, NoLimit, unknown
from derivations.exponents.backward import Change, LayerOrders, count_order
from derivations.exponents.family import Family
from derivations.exponents.found import Found
from derivations.exponents.moved import (
    INPUT,
    READOUT,
    MovedBy,
    Orders,
    StepVerdict,
    number,
)
from derivations.exponents.orders import DEPTH, NOTHING, ONE, WIDTH, Order, fraction, largest
from derivations.exponents.several import balanced
from derivations.language import Weights
from derivations.language.statements import Back, Matrix
from derivations.symbols import state as any_state

#: The exponents of the readout's weights, and of the learning rate in the width and in the depth.
readout_exponent, width_rate, depth_rate = sp.symbols("r a b", real=True)
#: Plain gradient descent, and steps of the gradient's sign as Adam's first one.
RULES = ("sgd", "sign")
#: Whether a matrix's entries are trained as they are, or as numbers of order 1 that are multiplied by the standard deviation.
PARAMETRIZATIONS = ("standard", "ntk")
HALF = Fraction(1, 2)
STEP = Fraction(1, 128)


@dataclass(frozen=True)
class StepAtPoint:
    """The orders of the steps of a network's training, at exponents that are numbers.

    Parameters
    ----------
    net : Recipe
    family : Family
        The layer in its sizes.
    start : Found or None
        Its scalings at the start; None where they are not known.
    why : str
        Then, the reason.
    trained : tuple of str
        The names of the layer's matrices that are trained.
    ends : bool
        Whether the input's matrix and the readout are trained too.
    """

    net: Recipe
    family: Family
    start: Found | None
    why: str
    trained: tuple[str, ...]
    ends: bool = True

    @cached_property
    def stands(self) -> dict[sp.Symbol, Fraction]:
        """The exponents of the sizes as the network has them; where it does not say them, those of a regime with a limit."""
        found = {s: fraction(p) for s, p in self.family.stands.items()}
        missing = [size.exponent for size in self.family.sizes if size.exponent not in found]
        if missing:
            regimes = self.start.regimes if self.start is not None else ()
            if not regimes:
                raise DerivationError(
                    f"the network does not say the exponent {missing[0]}; give it in small={{{self.family.sizes[0].symbol}: 1/2}}"
                )
            found |= {s: fraction(regimes[0].example[s]) for s in missing}
        return found

    @cached_property
    def matrices(self) -> dict[str, tuple[Matrix | Back, ...]]:
        """The uses of each trained matrix."""
        found: dict[str, tuple[Matrix | Back, ...]] = {}
        for s in self.family.program.statements:
            if isinstance(s, Matrix | Back) and s.weights.name in self.trained:
                found[s.weights.name] = (*found.get(s.weights.name, ()), s)
        return found

    @property
    def is_deep(self) -> bool:
        """Whether the depth grows; else it is held fixed, since a layer is not near the identity."""
        return self.depth_at(self.point()) != ONE

    # ---- at a point ----

    def depth_at(self, exponents: Mapping[sp.Symbol, Fraction]) -> Order:
        r"""The number of layers: L where the network at the start has a limit in the depth, or tends to the identity; else 1, a depth that is held fixed.

        Raises
        ------
        NoLimit
            If branches shrink, but not as fast as a limit needs.
        """
        if self.start is None:
            return DEPTH if self._at(exponents).is_near_identity else ONE
        if self.start.exponents is None:
            return ONE
        given = {s: sp.Rational(p.numerator, p.denominator) for s, p in exponents.items() if s in self.stands}
        kind = self.start.at(given).kind
        if kind == "too strong":
            raise NoLimit(
                "at these exponents the network at the start is no power of the depth: its branches are larger than a limit in depth "
                "has them; scalings without training has those that have one"
            )
        return ONE if kind == "not continuous" else DEPTH

    def _at(
        self,
        exponents: Mapping[sp.Symbol, Fraction],
        layers: Order = DEPTH,
        learned: Mapping[Weights, Order] | None = None,
        incoming: Order | None = None,
    ) -> LayerOrders:
        """One layer's orders, where sizes are numbers if the depth is."""
        sizes = {size.symbol: layers ** -exponents[size.exponent] for size in self.family.sizes}
        back = WIDTH ** -exponents[readout_exponent] if incoming is None else incoming
        return LayerOrders(self.family.program, sizes, back, learned or {})

    def layer(
        self,
        exponents: Mapping[sp.Symbol, Fraction],
        learned: Mapping[Weights, Order] | None = None,
        incoming: Order | None = None,
    ) -> LayerOrders:
        """One layer's orders, after steps that have added entries of some orders to its matrices and have left the readout at some order.

        Raises
        ------
        DerivationError
            If a layer changes the order of the state or of the gradient.
        """
        made = self._at(exponents, self.depth_at(exponents), learned, incoming)
        if learned:
            return made
        if made.new_state != ONE:
            raise DerivationError(
                f"a layer makes a state of order {made.new_state} of one of order 1; scale its weights so that it stays of order 1"
            )
        back = made.gradient[any_state]
        if back != made.incoming:
            raise DerivationError(
                f"a layer multiplies the gradient by {back / made.incoming}, so that no two layers see the same; "
                "scale its weights so that it stays"
            )
        return made

    def _raw(
        self, exponents: Mapping[sp.Symbol, Fraction], rule: str, parametrization: str
    ) -> dict[tuple[str, str], Orders]:
        layer, layers = self.layer(exponents), self.depth_at(exponents)
        incoming = layer.incoming
        made: dict[tuple[str, str], Orders] = {}

        def entry(gradient: Order, deviation: Order) -> Order:
            return _entry(gradient, deviation, rule, parametrization)

        first = entry(incoming, ONE)
        if self.ends:
            begun = Change(first, first * incoming * WIDTH)
            state, through = self._passed_on(layer, layers, begun, layer)
            made[INPUT, INPUT] = Orders(incoming, first, state, begun.along, through=through)
        for name, uses in self.matrices.items():
            weights = uses[0].weights
            kinds: list[tuple[str, Callable[..., Change], tuple[Matrix | Back, ...], Order]] = [
                ("hidden", layer.own, uses, self._deviation(layer, weights, uses[0]))
            ]
            if weights.bias_variance != 0:
                forward = tuple(u for u in uses if isinstance(u, Matrix))
                kinds.append(("bias", layer.shift, forward, layer.number(weights.bias_variance) ** HALF))
            for role, act, chosen, deviation in kinds:
                gradient = largest(
                    *(layer.gradient[u.symbol] if role == "bias" else layer.entry_gradient(u) for u in chosen)
                )
                start = {u.symbol: act(u, entry(gradient, deviation)) for u in chosen}
                made[name, role] = self._spread(layer, layers, gradient, start)
        last = entry(ONE, incoming)
        if self.ends:
            made[READOUT, READOUT] = Orders(ONE, last * WIDTH, NOTHING, last * WIDTH)
        return made

    @staticmethod
    def _deviation(layer: LayerOrders, weights: Weights, use: Matrix | Back) -> Order:
        """Of an entry; where it starts at 0, as if it had the variance 1."""
        reads = count_order(use.source if isinstance(use, Matrix) else use.target)
        own = ONE if weights.variance == 0 else layer.deviation(weights)
        return own / reads**HALF

    def _spread(
        self,
        layer: LayerOrders,
        layers: Order,
        gradient: Order,
        start: dict[sp.Symbol, Change],
        before: LayerOrders | None = None,
    ) -> Orders:
        """What changes inside every layer do to the state and to the output: those along the gradient add up, others as random ones do."""
        carried = layer.carried(start)
        new = carried.get(None, Change())
        output = layers * new.along
        coherent = NOTHING if output.nothing else output / (layer.incoming * WIDTH)
        total = Change(largest(coherent, layers**HALF * new.size), output)
        state, through = self._passed_on(layer, layers, total, before or layer)
        own, inside = largest(*(c.size for c in start.values())), self._seen(before or layer, carried)
        return Orders(gradient, own, state, output, inside, through)

    def _passed_on(self, layer: LayerOrders, layers: Order, moved: Change, before: LayerOrders) -> tuple[Order, Order]:
        """What later layers make of a change of the state: the state's change after them, and the largest one inside them.

        What a layer adds to the change points in fresh directions, so that layers add up as random terms do.
        """
        added = layer.carried({any_state: moved}, skip=False).get(None, Change()).size
        state = max(moved.size, layers**HALF * added)
        return state, self._seen(before, layer.carried({any_state: Change(state, moved.along)}))

    @staticmethod
    def _seen(layer: LayerOrders, changes: Mapping[sp.Symbol | None, Change]) -> Order:
        """How much larger the largest change inside a layer is than what the functions that read it take as small."""
        return largest(
            *(
                change.size / bound
                for s, change in changes.items()
                if s is not None
                and s != any_state
                and not change.size.nothing
                and not (bound := layer.bound(s)).nothing
            )
        )

    def at(
        self,
        rule: str = "sgd",
        exponents: Mapping[sp.Symbol, object] | None = None,
        readout: object = HALF,
        parametrization: str = "standard",
        rate: tuple[object, object] | None = None,
    ) -> StepVerdict:
        r"""What one step of all matrices does at one learning rate for all of them.

        Parameters
        ----------
        rule, exponents, readout, parametrization
            As for :meth:`moved`.
        rate : pair of numbers, optional
            a and b of :math:`\eta\,n^{-a}L^{-b}`; by default the largest one that moves nothing by more than order 1.
        """
        checked(rule, parametrization)
        raw = self._raw(self.point(exponents, readout), rule, parametrization)
        if rate is None:
            eta = min((row.rate for row in raw.values() if not row.rate.nothing), default=ONE)
        else:
            eta = Order(-_rational(rate[0], "a"), -_rational(rate[1], "b"))
        rows = {
            name if role in (INPUT, READOUT, "hidden") else f"{role} of {name}": MovedBy(
                *(eta * o for o in (row.own, row.state, row.output, max(row.inside, row.through)))
            )
            for (name, role), row in raw.items()
        }
        return StepVerdict(-number(eta.width), -number(eta.depth), rows)

    def rates(
        self,
        rule: str = "sgd",
        exponents: Mapping[sp.Symbol, object] | None = None,
        readout: object = HALF,
        parametrization: str = "standard",
    ) -> dict[str, tuple[sp.Rational, sp.Rational]]:
        r"""The largest learning rate of each matrix that moves, at numbers for the exponents: a and b of :math:`\eta\,n^{-a}L^{-b}`.

        Parameters
        ----------
        rule, exponents, readout, parametrization
            As for :meth:`moved`.
        """
        checked(rule, parametrization)
        raw = self._raw(self.point(exponents, readout), rule, parametrization)
        return {
            name: (-number(row.rate.width), -number(row.rate.depth))
            for (name, role), row in raw.items()
            if role != "bias" and not row.rate.nothing
        }

    def after(
        self,
        steps: int = 3,
        rule: str = "sign",
        exponents: Mapping[sp.Symbol, object] | None = None,
        readout: object = 1,
        parametrization: str = "standard",
        rate: tuple[object, object] | None = None,
    ) -> StepVerdict:
        r"""What several steps of all matrices do at one learning rate: changes since the start, where earlier steps take part in later ones.

        Parameters
        ----------
        steps : int
        rule, exponents, readout, parametrization, rate
            As for :meth:`at`; by default the largest rate that moves nothing by more than order 1 in all these steps.
        """
        checked(rule, parametrization)
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise DerivationError(f"steps must be a positive whole number, got {steps!r}")
        point = self.point(exponents, readout)

        def table(eta: Order) -> dict[str, MovedBy]:
            return self._later(point, rule, parametrization, eta, steps)

        if rate is None:
            first = self.at(rule, exponents, readout, parametrization)
            start = Order(-fraction(first.a), -fraction(first.b))
            eta = balanced(
                lambda e: largest(*(o for row in table(e).values() for o in (row.state, row.output, row.inside))), start
            )
        else:
            eta = Order(-_rational(rate[0], "a"), -_rational(rate[1], "b"))
        return StepVerdict(-number(eta.width), -number(eta.depth), table(eta))

    def _later(
        self, point: Mapping[sp.Symbol, Fraction], rule: str, parametrization: str, eta: Order, steps: int
    ) -> dict[str, MovedBy]:
        layers, start = self.depth_at(point), self.layer(point)
        learned: dict[Weights, Order] = {}
        readout = start.incoming
        layer = start
        for _ in range(steps):
            added = {}
            for uses in self.matrices.values():
                weights = uses[0].weights
                gradient = largest(*(layer.entry_gradient(u) for u in uses))
                update = _entry(gradient, self._deviation(start, weights, uses[0]), rule, parametrization)
                added[weights] = max(learned.get(weights, NOTHING), eta * update)
            learned = added
            last = eta * _entry(ONE, start.incoming, rule, parametrization)
            if self.ends:
                readout = max(readout, last)
            layer = self.layer(point, learned, readout)
        rows: dict[str, MovedBy] = {}
        for name, uses in self.matrices.items():
            moved = {u.symbol: layer.own(u, learned[uses[0].weights]) for u in uses}
            row = self._spread(layer, layers, NOTHING, moved, start)
            rows[name] = MovedBy(row.own, row.state, row.output, max(row.inside, row.through))
        if self.ends:
            first = eta * _entry(layer.incoming, ONE, rule, parametrization)
            begun = Change(first, first * layer.incoming * WIDTH)
            state, through = self._passed_on(layer, layers, begun, start)
            rows[INPUT] = MovedBy(first, state, begun.along, through)
            rows[READOUT] = MovedBy(last * WIDTH, NOTHING, last * WIDTH, NOTHING)
        return rows

    def point(
        self, exponents: Mapping[sp.Symbol, object] | None = None, readout: object = HALF
    ) -> dict[sp.Symbol, Fraction]:
        """Exponents of the sizes and of the readout as numbers.

        Raises
        ------
        DerivationError
            For an exponent that is not known, or no rational number.
        """
        names = {size.symbol: size.exponent for size in self.family.sizes}
        made = {**self.stands, readout_exponent: _rational(readout, "r")}
        for key, value in (exponents or {}).items():
            symbol = names.get(key, key)
            if symbol not in made:
                raise DerivationError(unknown("exponent", str(key), [str(s) for s in made]))
            made[symbol] = _rational(value, str(symbol))
        if made[readout_exponent] < HALF:
            raise DerivationError(
                f"the readout's weights must not be larger than n^(-1/2), so that the output does not grow at the start; got r = {made[readout_exponent]}"
            )
        return made


def _entry(gradient: Order, deviation: Order, rule: str, parametrization: str) -> Order:
    """Of what a step adds to an entry of so large a gradient and standard deviation, at a learning rate of order 1."""
    update = gradient if rule == "sgd" else NOTHING if gradient.nothing else ONE
    power = 0 if parametrization == "standard" else 2 if rule == "sgd" else 1
    return update * deviation**power


def checked(rule: str, parametrization: str) -> None:
    """Refuse words that are not known."""
    for word, given, known in (("rule", rule, RULES), ("parametrization", parametrization, PARAMETRIZATIONS)):
        if given not in known:
            raise DerivationError(unknown(word, str(given), known))


def _rational(value: object, name: str) -> Fraction:
    exact = exact_decimals(value)
    if not exact.is_Rational:
        raise DerivationError(f"the exponent {name} must be a rational number, got {value!r}; e.g. 1/2")
    return fraction(exact)
