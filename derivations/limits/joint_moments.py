r"""One layer's conditional moments of the Gram matrix where depth and width go together, sorted by their size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.architectures.regime import Regime
from derivations.errors import DerivationError, NoLimit, brief
from derivations.language import Program
from derivations.language.small import sizes_in_front
from derivations.language.statements import Back, Matrix, Mean
from derivations.limits.chain import GramChain
from derivations.limits.elimination.fluctuations import Moment
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.labels import (
    Exchange,
    by_pattern,
    matrix_labels,
    one_order,
    permuted,
    symmetric_pairs,
)
from derivations.limits.elimination.series import require_still, taylor
from derivations.limits.orders import Orders, in_one_parameter
from derivations.limits.orders import of as orders_of
from derivations.symbols import step, width

#: Terms up to which factors are looked for: of coefficients, and of what is shown.
_MANY, _SHOWN = 40, 20

#: The terms of a moment by their order.
Terms = dict[sp.Expr, sp.Expr]


def joint_regime(recipe: Recipe) -> Regime:
    r"""How a network's depth and width grow together: as it says, or :math:`\varepsilon = n^{-1/2}` with n layers in a unit of time."""
    return recipe.regime if recipe.regime.is_joint else Regime(depth=sp.S.One, width=recipe.width)


def require_joint(program: Program) -> None:
    """Require statements that have a rule where depth and width grow together.

    Raises
    ------
    DerivationError
        For transposes and normalised sums.
    """
    if any(isinstance(s, Back) for s in program.statements):
        raise DerivationError(
            "depth and width together are derived without transposes; take the width to infinity, or fix it"
        )
    if any(isinstance(s, Mean) and s.power != 1 for s in program.statements):
        raise DerivationError(
            "depth and width together are derived for averages, got a normalised sum over neurons; use average, or width=oo"
        )


@dataclass(frozen=True)
class JointMoments:
    r"""One layer's conditional moments of the Gram matrix, sorted by their size.

    Parameters
    ----------
    chain : GramChain
    orders : Orders
    regime : Regime
    """

    chain: GramChain
    orders: Orders
    regime: Regime

    def __getstate__(self) -> dict[str, object]:
        """What it is made of: what is expanded holds functions that no pickle takes."""
        return {"chain": self.chain, "orders": self.orders, "regime": self.regime}

    @classmethod
    def of(cls, recipe: Recipe, inputs: int, directions: int = 0, parameters: bool = False) -> JointMoments:
        """Of a recipe in its regime, over so many inputs.

        Raises
        ------
        DerivationError
            For a state over a grid of positions, or a small parameter without a rate.
        """
        regime = joint_regime(recipe)
        program, _ = sizes_in_front(recipe.scaled_program(regime), {size for size, _ in regime.rates})
        require_joint(program)
        orders = orders_of(regime, program)
        if step not in orders.powers and _holds(program, step):
            raise DerivationError(
                f"the small parameter {step} of the layer has no rate; give it one, or use one that has"
            )
        chain = GramChain(
            in_one_parameter(program, orders.powers), inputs, orders.kept, directions=directions, parameters=parameters
        )
        found = cls(chain, orders, regime)
        if found.chain.is_conditional or not found.sorted(found.chain.mean_of_average(0)):
            return found
        return replace(found, chain=replace(found.chain, centred=False))

    @property
    def matrix(self) -> sp.ImmutableMatrix:
        """The symbols of V."""
        return self.chain.matrix

    def size(self, weight: sp.Expr) -> sp.Expr:
        r"""The exponent of n of what a term of some order adds per unit of time."""
        assert self.regime.depth is not None
        return sp.expand(self.regime.depth * (1 - weight / self.orders.total))

    @property
    def unit(self) -> sp.Expr:
        """How many layers are a unit of time."""
        assert self.regime.depth is not None
        return width**self.regime.depth

    def at_width(self, expr: sp.Expr) -> sp.Expr:
        """A formula of the layer with the small parameter as a power of the width."""
        assert self.regime.depth is not None
        return expr.xreplace({step: width ** (-self.regime.depth / self.orders.total)})

    def terms(self, expr: sp.Expr) -> tuple[sp.Expr, ...]:
        """A formula of the layer in powers of the width, to the order that the moments need."""
        series = (self.at_width(c * step**k) for k, c in enumerate(taylor(expr, self.chain.kept.all)) if c != 0)
        return tuple(sp.piecewise_fold(c) if c.has(sp.Piecewise) else sp.expand(c) for c in series)

    def moved(self, a: int, b: int) -> sp.Expr:
        """The mean change of an entry in one layer, at the width."""
        return self._at_width({w: term for w, term in self.mean(a, b).items() if w != 0})

    def spread(self, p: tuple[int, int], q: tuple[int, int]) -> sp.Expr:
        """The covariance of two entries after one layer, at the width."""
        return self._at_width(self._covariance(*p, *q))

    def _at_width(self, terms: dict[sp.Expr, sp.Expr]) -> sp.Expr:
        assert self.regime.depth is not None
        return sp.Add(*(term * width ** (-self.regime.depth * w / self.orders.total) for w, term in terms.items()))

    def sorted(self, moment: Moment) -> dict[sp.Expr, sp.Expr]:
        """The terms of a moment by their order."""
        found: dict[sp.Expr, sp.Expr] = {}
        kept = self.chain.kept
        for start, expr, most in ((sp.S.Zero, moment.first, kept.all), (self.orders.share, moment.second, kept.beside)):
            for k, term in enumerate(taylor(expr, most) if expr != 0 else ()):
                if term != 0:
                    found[start + k] = found.get(start + k, sp.S.Zero) + require_still(term)
        return {weight: term for weight, term in found.items() if term != 0}

    def mean(self, a: int, b: int) -> dict[sp.Expr, sp.Expr]:
        """The mean of an entry of :math:`V'`."""
        return self._mean(a, b)

    @cached_property
    def _mean(self) -> Callable[..., Terms]:
        return self._by_pattern(lambda a, b: self.sorted(self.chain.mean(a, b)), one_order)

    @cached_property
    def _covariance(self) -> Callable[..., Terms]:
        return self._by_pattern(lambda a, b, c, d: self.sorted(self.chain.covariance((a, b), (c, d))), symmetric_pairs)

    def _by_pattern(
        self, entry: Callable[..., Terms], alike: Callable[..., tuple[tuple[int, ...], ...]]
    ) -> Callable[..., Terms]:
        """Once for all coordinates that change places."""
        chain = self.chain
        if heads(chain.program) or chain.directions:
            return cache(entry)
        means = sp.Matrix(chain.means)
        named = matrix_labels((chain.matrix, chain.matrix), *([(means, means)] if chain.means else []))

        def renamed(terms: Terms, labels: tuple[int, ...]) -> Terms:
            return {weight: named(term, labels) for weight, term in terms.items()}

        return by_pattern(entry, permuted(renamed, chain.inputs), Exchange.of(chain.program), alike=alike)

    def at_rest(self, a: int, b: int) -> sp.Expr:
        """What a layer makes of an entry at infinite width, the small parameters at 0."""
        return self.mean(a, b).get(sp.S.Zero, sp.S.Zero)

    def velocity(self, a: int, b: int) -> sp.Expr:
        """How fast an entry moves beside what a layer does to it at order 0.

        Raises
        ------
        NoLimit
            If a term of the mean grows.
        """
        return self.surviving({w: term for w, term in self.mean(a, b).items() if w != 0}, "the drift")

    def speed(self, a: int) -> sp.Expr:
        """How fast the mean of an input's neurons moves.

        Raises
        ------
        NoLimit
            If it moves at order 0, or a term grows.
        """
        terms = self.sorted(self.chain.mean_of_average(a))
        moved = sp.factor(terms.pop(sp.S.Zero, sp.S.Zero) - self.chain.means[a])
        if moved != 0:
            raise NoLimit(
                f"one layer moves the mean of the neurons by {brief(moved)} however wide the network is: it settles in finitely many layers; centre the "
                "weights and the activation, or scale the branch"
            )
        return self.surviving(terms, "the drift of the mean")

    def noise(self, p: tuple[int, int], q: tuple[int, int]) -> sp.Expr:
        """The covariance of two entries per unit of time.

        Raises
        ------
        NoLimit
            If it grows.
        """
        return self.surviving(self._covariance(*p, *q), "the fluctuation of a layer")

    def surviving(self, terms: dict[sp.Expr, sp.Expr], what: str) -> sp.Expr:
        """What the terms add up to per unit of time.

        Raises
        ------
        NoLimit
            If one grows.
        """
        total, opened = sp.S.Zero, True  # factors are opened in the end, and are not looked for in polynomials
        for weight in sorted(terms, key=lambda w: (not w.is_number, sp.default_sort_key(w) if not w.is_number else w)):
            polynomial = terms[weight].is_polynomial()
            term, size = sp.expand(terms[weight]) if polynomial else terms[weight], self.size(weight)
            if size.is_zero:
                total, opened = total + term, opened and polynomial
            elif size.is_positive:
                if sp.expand(term) != 0:
                    raise NoLimit(
                        f"{what} grows like n^({size}) per unit of time: {self._instead(what, term)}; choose a larger rate or a smaller "
                        "exponent of the depth"
                    )
            elif not size.is_negative:
                raise DerivationError(
                    f"{what} is of size n^({size}) per unit of time, whose sign is not known; "
                    "give the rates as numbers, or as symbols for which it is"
                )
        if self.orders.expanded < self.orders.total:
            rates = ", ".join(str(rate) for _, rate in self.regime.rates)
            raise DerivationError(
                f"with small parameters n^(-p), p = {rates}, a unit of n^({self.regime.depth}) layers needs terms of higher order than are "
                "expanded; give rates of at least a twelfth of the depth's exponent"
            )
        return sp.expand(total) if not opened and total.is_polynomial(*total.free_symbols) else total

    def _instead(self, what: str, term: sp.Expr) -> str:
        """What the network does where a term is too strong."""
        if what != "the drift":
            return "the network is random already in finitely many layers"
        v = self.matrix[0, 0]
        speeds = {w: t for w, t in self.mean(0, 0).items() if w != 0}
        norm = sp.expand(speeds[min(speeds, key=lambda w: sp.N(w))]) if speeds else sp.S.Zero
        if norm == 0:
            return "the flow comes to its end point in a time that vanishes, and the correlations of all inputs collapse to 1"
        rate = sp.cancel(norm / (v * (v - 1))) if norm.is_polynomial(v) else sp.nan
        if rate.is_positive:
            return "the norms explode where they start above 1 and vanish below"
        if rate.is_negative:
            return "the norms settle at 1 at once, and the correlations run to a fixed point of their flow"
        return f"the flow of the norm, with velocity {brief(sp.factor(norm))}, comes to its end point in a time that vanishes"


def factored(formula: sp.Expr) -> sp.Expr:
    """A formula in factors, unless it has so many terms that this takes long and shows nothing."""
    opened = sp.expand(formula)
    return sp.factor(formula) if len(sp.Add.make_args(opened)) <= _MANY else opened


def gathered(formula: sp.Expr) -> sp.Expr:
    """A formula in factors; of many terms what all have in common: to look for more takes a tenth of a second or half a minute, by chance.

    Examples
    --------
    >>> x, y = sp.symbols("x y")
    >>> gathered(x**2 * y - y)
    y*(x - 1)*(x + 1)
    >>> gathered(sp.expand(2 * x * (1 + x + y) ** 6)).args[:2]
    (2, x)
    """
    opened = sp.expand(formula)
    return sp.factor(formula) if len(sp.Add.make_args(opened)) <= _SHOWN else sp.factor_terms(opened)


def _holds(program: Program, symbol: sp.Symbol) -> bool:
    weights = (s.weights for s in program.statements if isinstance(s, Matrix))
    bodies = (s.body for s in program.statements if isinstance(s, Matrix | Mean))
    return any(expr.has(symbol) for expr in (program.update, *bodies, *weights))
