r"""Orders of what a layer computes, of the gradient that passes back through it, and of what a change of its weights does.

One rule a kind of statement. A sum over k neurons of terms with random signs is of order :math:`\sqrt k`, and of terms with a common sign of
order k. Forward values have random signs given the weights; so have gradients, since the readout's weights have. A step of a matrix
:math:`y = Ab` is :math:`-\eta\,\delta_y b^\top`, or its sign. What it does to y is :math:`-\eta\,\delta_y \langle b, b\rangle`, a sum with one
sign; it lies along :math:`\delta_y`, and by the chain rule the product :math:`I = \langle \delta_s, \Delta s \rangle` of a change with the gradient
is the same wherever the change passes. So of each change two orders are followed: its size at a neuron, and I. Given what a matrix has put
out forward and backward, what it makes of a change is the part that I says, along the gradient, and a random part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, singledispatchmethod

import sympy as sp

from derivations.errors import DerivationError
from derivations.exponents.orders import DEPTH, NOTHING, ONE, WIDTH, Order, fraction, is_odd, largest, order_of, slope
from derivations.language import Program, Weights
from derivations.language.statements import Back, Between, Mask, Matrix, Mean, Mix, Neurons, Shares, Statement
from derivations.symbols import state
from derivations.symbols import width as any_width

_HALF = Fraction(1, 2)


def count_order(neurons: Neurons) -> Order:
    """The order of a number of neurons.

    Raises
    ------
    DerivationError
        If it is no power of the width.
    """
    said = sp.expand(neurons.said)
    powers = {term.as_powers_dict().get(any_width, sp.S.Zero) for term in sp.Add.make_args(said)}
    if any(not p.is_Rational or p < 0 for p in powers) or (said / any_width ** max(powers)).has(sp.exp, sp.log):
        raise DerivationError(
            f"a layer has {said} neurons, which is no power of the width; give it as a number, or as a multiple of n"
        )
    return WIDTH ** fraction(max(powers))


@dataclass(frozen=True)
class Change:
    r"""The orders of a change: of its size at a neuron, and of its product with the gradient."""

    size: Order = NOTHING
    along: Order = NOTHING

    def __or__(self, other: Change) -> Change:
        return Change(max(self.size, other.size), max(self.along, other.along))


@dataclass(frozen=True)
class Edge:
    """Where a statement, or the update, reads a symbol."""

    symbol: sp.Symbol
    user: Statement | None
    slope: sp.Expr


@dataclass(frozen=True)
class LayerOrders:
    """All orders of one layer.

    Parameters
    ----------
    program : Program
    sizes : mapping of Symbol to Order
        Of the layer's parameters; others are of order 1.
    incoming : Order
        Of the gradient with respect to a neuron's new state.
    learned : mapping of Weights to Order
        Of the entries that earlier steps have added to matrices, along gradients and what the matrices read.
    """

    program: Program
    sizes: Mapping[sp.Symbol, Order]
    incoming: Order
    learned: Mapping[Weights, Order] = field(default_factory=dict)

    def number(self, value: sp.Expr) -> Order:
        """Of a number that a matrix is given, its variance for one; the width may stand in it."""
        return order_of(value, {**self.sizes, any_width: WIDTH})

    # ---- forward ----

    @cached_property
    def forward(self) -> dict[sp.Symbol, Order]:
        """Of a neuron's value of each symbol, the state's being 1."""
        found: dict[sp.Symbol, Order] = {**self.sizes, any_width: WIDTH, state: ONE}
        for statement in self.program.statements:
            found[statement.symbol] = self._value(statement, found)
            for twin, own in self.program.others:
                if own == statement.symbol or own == state:
                    found[twin] = found[own]
        return found

    def _body(self, body: sp.Expr, found: Mapping[sp.Symbol, Order]) -> Order:
        return order_of(body, {**found, **{twin: found[own] for twin, own in self.program.others if own in found}})

    @singledispatchmethod
    def _value(self, statement: Statement, found: dict[sp.Symbol, Order]) -> Order:
        raise DerivationError(f"no rule for the orders of {statement}")

    @_value.register
    def _(self, statement: Matrix, found: dict[sp.Symbol, Order]) -> Order:
        read, k = self._body(statement.body, found), count_order(statement.source)
        w = statement.weights
        return largest(
            self.deviation(w) * read,
            self.learned.get(w, NOTHING) * k * read,
            self.number(w.mean) * read * self._summed(statement.body, statement.source, Fraction(1)),
            self.number(w.bias_variance) ** _HALF,
            self.number(w.bias_mean),
        )

    @_value.register
    def _(self, statement: Back, found: dict[sp.Symbol, Order]) -> Order:
        read, k, out = self._body(statement.body, found), count_order(statement.source), count_order(statement.target)
        s, ratio = self.deviation(statement.weights), k / out
        same = s**2 * ratio * read if self._depends(statement.body, statement.weights) else NOTHING
        return largest(s * ratio**_HALF * read, same, self.learned.get(statement.weights, NOTHING) * k * read)

    @_value.register
    def _(self, statement: Mean, found: dict[sp.Symbol, Order]) -> Order:
        return self._body(statement.body, found) * self._summed(
            statement.body, statement.over, fraction(statement.power)
        )

    @_value.register
    def _(self, statement: Mix, found: dict[sp.Symbol, Order]) -> Order:
        return self._body(statement.body, found)

    @_value.register
    def _(self, statement: Shares, found: dict[sp.Symbol, Order]) -> Order:
        if self._body(statement.body, found) > ONE:
            raise DerivationError(
                "the scores of a softmax grow, so that attention goes to the largest one; divide them by the root of the number of keys"
            )
        return ONE

    @_value.register
    def _(self, statement: Between, found: dict[sp.Symbol, Order]) -> Order:
        return ONE

    @_value.register
    def _(self, statement: Mask, found: dict[sp.Symbol, Order]) -> Order:
        return ONE

    def deviation(self, weights: Weights) -> Order:
        r""":math:`\sigma`, the standard deviation of an entry times the root of the number of neurons that are read."""
        return self.number(weights.variance) ** _HALF

    def _summed(self, body: sp.Expr, over: Neurons, power: Fraction) -> Order:
        """What a sum over neurons, divided by a power of their number, makes of a body's order."""
        k = count_order(over)
        return k ** ((_HALF if self._is_centred(body) else Fraction(1)) - power)

    @cached_property
    def _flips(self) -> tuple[frozenset[sp.Symbol], ...]:
        """Sets of symbols whose signs may be changed together at a neuron: what a matrix puts out; the state."""
        groups: dict[Weights, set[sp.Symbol]] = {}
        twins: dict[sp.Symbol, set[sp.Symbol]] = {}
        for twin, own in self.program.others:
            twins.setdefault(own, set()).add(twin)
        for s in self.program.statements:
            if isinstance(s, Matrix):
                groups.setdefault(s.weights, set()).update({s.symbol, *twins.get(s.symbol, ())})
        outputs = [frozenset(g) for g in groups.values()]
        whole = {state, *twins.get(state, ())}.union(
            *(
                {s.symbol}
                for s in self.program.statements
                if isinstance(s, Matrix | Back) and s.target == self.program.neurons
            )
        )
        symmetric = is_odd(self.program.update, frozenset(whole))
        return (*outputs, frozenset(whole)) if symmetric else tuple(outputs)

    def _is_centred(self, body: sp.Expr) -> bool:
        return any(is_odd(body, flipped) for flipped in self._flips)

    def _depends(self, body: sp.Expr, weights: Weights) -> bool:
        made = {s.symbol: s for s in self.program.statements}
        seen, ahead = set(), [s for s in body.free_symbols if s in made]
        while ahead:
            symbol = ahead.pop()
            if symbol in seen:
                continue
            seen.add(symbol)
            statement = made[symbol]
            if isinstance(statement, Matrix) and statement.weights == weights:
                return True
            inside = getattr(statement, "body", None)
            ahead += [s for s in inside.free_symbols if s in made] if inside is not None else []
        return False

    @property
    def new_state(self) -> Order:
        """Of a neuron's new state."""
        return self._body(self.program.update, self.forward)

    @property
    def is_near_identity(self) -> bool:
        r"""Whether a layer adds at most :math:`L^{-1/2}` with random signs, and at most 1/L with a common one, to a neuron's state."""
        added = self.program.update - state
        outputs = {
            s.symbol
            for s in self.program.statements
            if isinstance(s, Matrix | Back) and s.target == self.program.neurons
        }
        turned = added.xreplace({s: -s for s in outputs})
        odd, even = (self._body(sp.expand((added - sign * turned) / 2), self.forward) for sign in (1, -1))
        return odd <= DEPTH**-_HALF and even <= DEPTH**-1

    # ---- backward ----

    @cached_property
    def _edges(self) -> tuple[Edge, ...]:
        own = dict(self.program.others)
        bodies: list[tuple[Statement | None, sp.Expr]] = [
            (s, s.body) for s in self.program.statements if not isinstance(s, Between | Mask)
        ]
        moving = {state, *(s.symbol for s in self.program.statements if not isinstance(s, Between | Mask))}
        found = []
        for user, body in [*bodies, (None, self.program.update)]:
            for symbol in sorted(body.free_symbols, key=sp.default_sort_key):
                base = own.get(symbol, symbol)
                if base in moving:
                    found.append(Edge(base, user, slope(body, symbol)))
        return tuple(found)

    def _slope(self, edge: Edge) -> Order:
        return self._body(edge.slope, self.forward)

    @cached_property
    def _numbers(self) -> frozenset[sp.Symbol]:
        """Symbols that are one number for all neurons of an input, or of a pair of positions."""
        return frozenset(
            s.symbol
            for s in self.program.statements
            if isinstance(s, Mean | Shares | Between) or (isinstance(s, Mix | Mask) and s.over is None)
        )

    @cached_property
    def _through(self) -> dict[Edge, Order]:
        """The gradient with respect to a symbol that comes back through one of its uses."""
        found: dict[Edge, Order] = {}
        back: dict[sp.Symbol, Order] = {}
        for user in (None, *reversed(self.program.statements)):
            if user is not None:
                back[user.symbol] = largest(*(o for e, o in found.items() if e.symbol == user.symbol))
            for edge in self._edges:
                if edge.user is user or edge.user == user:
                    found[edge] = self._passed(edge, back[user.symbol] if user is not None else self.incoming)
        return found

    def _passed(self, edge: Edge, gradient: Order) -> Order:
        """The gradient of what a user makes, at the symbol that it reads."""
        user = edge.user
        at_body = gradient * self._back(user)
        if (
            edge.symbol not in self._numbers
            or isinstance(user, Shares)
            or (isinstance(user, Mix) and user.over is None)
        ):
            return at_body * self._slope(edge)
        over = self.program.neurons if user is None else user.over if isinstance(user, Mean | Mix) else user.source  # type: ignore[union-attr]
        assert over is not None
        common = isinstance(user, Mean) and not self._is_centred(edge.slope)
        return at_body * self._slope(edge) * count_order(over) ** (Fraction(1) if common else _HALF)

    def _back(self, user: Statement | None) -> Order:
        """From the gradient of what a statement makes to that of a neuron's body that it reads."""
        if isinstance(user, Matrix | Back):
            k, out = count_order(user.source), count_order(user.target)
            learned = self.learned.get(user.weights, NOTHING) * out
            s, read = self.deviation(user.weights), k if isinstance(user, Matrix) else out
            mean = self.number(user.weights.mean) * out**_HALF / read
            return largest(s * (out / k) ** _HALF if isinstance(user, Matrix) else s, learned, mean)
        if isinstance(user, Mean):
            return count_order(user.over) ** -fraction(user.power)
        return ONE

    @cached_property
    def gradient(self) -> dict[sp.Symbol, Order]:
        """Of the loss with respect to a neuron's value of each symbol."""
        symbols = (state, *(s.symbol for s in self.program.statements))
        return {s: largest(*(o for e, o in self._through.items() if e.symbol == s)) for s in symbols}

    def bound(self, symbol: sp.Symbol) -> Order:
        """The size from which on what reads a symbol passes on other gradients where it has changed; 0 where it never does."""
        for edge in self._edges:
            if edge.symbol != symbol:
                continue
            if isinstance(edge.user, Shares):
                return ONE
            factor = sp.Integer(3) if symbol.is_nonnegative else -sp.Rational(3, 2)
            moved = edge.slope.xreplace({symbol: factor * symbol}) - edge.slope
            if moved != 0 and self._body(moved, self.forward) >= self._slope(edge):
                return self.forward[symbol]
        return NOTHING

    # ---- changes ----

    def entry_gradient(self, statement: Matrix | Back) -> Order:
        """Of the loss with respect to an entry of a matrix, by one of its uses."""
        return self.gradient[statement.symbol] * self._body(statement.body, self.forward)

    def own(self, statement: Matrix | Back, entry: Order) -> Change:
        """What an update of so large entries, along the gradient, does to what the matrix puts out."""
        size = entry * count_order(statement.source) * self._body(statement.body, self.forward)
        gradient = self.gradient[statement.symbol]
        if gradient.nothing:
            return Change()
        return Change(size, size * gradient * count_order(statement.target))

    def shift(self, statement: Matrix, entry: Order) -> Change:
        """The same for the biases."""
        gradient = self.gradient[statement.symbol]
        return Change() if gradient.nothing else Change(entry, entry * gradient * count_order(statement.target))

    def carried(self, start: Mapping[sp.Symbol, Change], skip: bool = True) -> dict[sp.Symbol | None, Change]:
        """Changes of all symbols, and of the new state (None), that changes of some bring with them; through the skip too if that is wanted."""
        found: dict[sp.Symbol | None, Change] = dict(start)
        for statement in (*self.program.statements, None):
            key = None if statement is None else statement.symbol
            parts = []
            for edge in self._edges:
                change = found.get(edge.symbol)
                if change is None or not (edge.user is statement or edge.user == statement):
                    continue
                if not skip and edge.user is None and edge.symbol == state:
                    continue
                back = self.gradient[edge.symbol]
                share = NOTHING if back.nothing else (self._through[edge] / back) ** 2 * change.along
                common = edge.symbol in self._numbers and not self._is_centred(edge.slope)
                parts.append((change.size * self._slope(edge), share, common))
            if not parts:
                continue
            size, along = largest(*(p[0] for p in parts)), largest(*(p[1] for p in parts))
            together = largest(*(p[0] for p in parts if p[2]))
            found[key] = found.get(key, Change()) | self._moved(statement, size, along, together)
        return found

    def _moved(self, user: Statement | None, size: Order, along: Order, together: Order) -> Change:
        """What a user makes of a change of its body: of a size, a product with the gradient, and a part with one sign."""
        if user is None:
            return Change(max(size, self._aligned(along, self.incoming, count_order(self.program.neurons))), along)
        gradient = self.gradient[user.symbol]
        if isinstance(user, Matrix | Back):
            k, out = count_order(user.source), count_order(user.target)
            s = self.deviation(user.weights) * (ONE if isinstance(user, Matrix) else (k / out) ** _HALF)
            mean = self.number(user.weights.mean) * (k / out if isinstance(user, Back) else ONE)
            parts = (
                s * size,
                self.learned.get(user.weights, NOTHING) * k * size,
                mean * k**-_HALF * size,
                mean * together,
            )
            return Change(largest(*parts, self._aligned(along, gradient, out)), along)
        if isinstance(user, Mean):
            k, power = count_order(user.over), fraction(user.power)
            return Change(
                largest(size * k ** (_HALF - power), together * k ** (1 - power), self._aligned(along, gradient, ONE)),
                along,
            )
        return Change(size, along)

    @staticmethod
    def _aligned(along: Order, gradient: Order, count: Order) -> Order:
        return NOTHING if along.nothing or gradient.nothing else along / (gradient * count)


def _read_by(user: Statement) -> Neurons:
    """The neurons whose values a statement reads."""
    over = user.over if isinstance(user, Mean | Mix) else user.source if isinstance(user, Matrix | Back) else None
    assert over is not None
    return over
