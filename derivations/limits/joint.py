r"""Depth and width to infinity together: matching one layer's moments with the time that a layer takes.

With n neurons, a unit of time of :math:`n^\delta` layers and small parameters :math:`\varepsilon_k = n^{-p_k}`, a term
:math:`\prod_k \varepsilon_k^{j_k} n^{-i}` of one layer's mean or covariance adds :math:`n^{\delta - \sum_k j_k p_k - i}` times its
coefficient per unit of time. A positive exponent has no limit, zero survives, a negative one vanishes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.architectures.regime import Regime
from derivations.diffusion import Diffusion, Flow
from derivations.errors import DerivationError, NoLimit
from derivations.language import Program
from derivations.language.statements import Matrix, Mean
from derivations.limits.chain import GramChain, Orders, in_one_parameter
from derivations.limits.chain import of as orders_of
from derivations.limits.collapse import collapse_limit, require_homogeneous, unshaped
from derivations.limits.elimination.fluctuations import Moment
from derivations.limits.elimination.labels import by_pattern, matrix_labels
from derivations.limits.elimination.series import require_still, taylor
from derivations.limits.gram import GramDiffusion, cone, gram_matrix, upper
from derivations.symbols import step, width

_FEW = 4  # inputs of which the covariance of two entries of V is a formula


def joint_regime(recipe: Recipe) -> Regime:
    r"""How a network's depth and width grow together: as it says, or :math:`\varepsilon = n^{-1/2}` with n layers in a unit of time."""
    return recipe.regime if recipe.regime.is_joint else Regime(depth=sp.S.One, width=recipe.width)


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

    @classmethod
    def of(cls, recipe: Recipe, inputs: int) -> JointMoments:
        """Of a recipe in its regime, over so many inputs.

        Raises
        ------
        DerivationError
            For a state over a grid of positions, or a small parameter without a rate.
        """
        regime = joint_regime(recipe)
        program = recipe.scaled_program()
        if program.has_positions or program.has_pairs:
            raise DerivationError(
                "depth and width together are derived for dense layers, got a state over a grid of positions; use width=oo there"
            )
        if any(isinstance(s, Mean) and s.power != 1 for s in program.statements):
            raise DerivationError(
                "depth and width together are derived for averages, got a normalised sum over neurons; use average, or width=oo"
            )
        orders = orders_of(regime)
        if step not in orders.powers and _holds(program, step):
            raise DerivationError(
                f"the small parameter {step} of the layer has no rate; give it one, or use one that has"
            )
        return cls(GramChain(in_one_parameter(program, orders.powers), inputs, orders.kept), orders, regime)

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

    def moved(self, a: int, b: int) -> sp.Expr:
        """The mean change of an entry in one layer, at the width."""
        return self._at_width({w: term for w, term in self.mean(a, b).items() if w != 0})

    def spread(self, p: tuple[int, int], q: tuple[int, int]) -> sp.Expr:
        """The covariance of two entries after one layer, at the width."""
        return self._at_width(self.sorted(self.chain.covariance(p, q)))

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
        return self.sorted(self.chain.mean(a, b))

    @cached_property
    def fixed(self) -> tuple[sp.Expr, sp.Expr]:
        """What a layer makes of the norm of an input and of the product of two, at order 0."""
        few = min(self.matrix.rows, 2)
        return self.mean(0, 0).get(sp.S.Zero, sp.S.Zero), self.mean(0, few - 1).get(sp.S.Zero, sp.S.Zero)

    def drift(self, a: int, b: int) -> sp.Expr:
        """The velocity of an entry.

        Raises
        ------
        NoLimit
            If a term of the mean grows.
        """
        terms = self.mean(a, b)
        moved = sp.factor(terms.pop(sp.S.Zero, sp.S.Zero) - self.matrix[a, b])
        if moved != 0:
            raise NoLimit(
                f"one layer moves the Gram matrix by {moved} however wide the network is, so it settles in finitely many "
                "layers instead of becoming continuous in depth; shape the activation (ShapedMLP) or scale the branch"
            )
        return self._surviving(terms, "the drift")

    def noise(self, p: tuple[int, int], q: tuple[int, int]) -> sp.Expr:
        """The covariance of two entries per unit of time.

        Raises
        ------
        NoLimit
            If it grows.
        """
        return self._surviving(self.sorted(self.chain.covariance(p, q)), "the fluctuation of a layer")

    def _surviving(self, terms: dict[sp.Expr, sp.Expr], what: str) -> sp.Expr:
        total = sp.S.Zero
        for weight in sorted(terms, key=lambda w: (not w.is_number, sp.default_sort_key(w) if not w.is_number else w)):
            term, size = sp.factor(terms[weight]) if terms[weight].is_polynomial() else terms[weight], self.size(weight)
            if size.is_zero:
                total += term
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
        return sp.expand(total) if total.is_polynomial(*total.free_symbols) else total

    def _instead(self, what: str, term: sp.Expr) -> str:
        """What the network does where a term is too strong."""
        if what != "the drift":
            return "the network is random already in finitely many layers"
        v = self.matrix[0, 0]
        speeds = {w: t for w, t in self.mean(0, 0).items() if w != 0}
        norm = sp.expand(speeds[min(speeds, key=lambda w: sp.N(w))]) if speeds else sp.S.Zero
        if norm == 0:
            return "the flow runs to its end at once, and the correlations of all inputs collapse to 1"
        rate = sp.cancel(norm / (v * (v - 1))) if norm.is_polynomial(v) else sp.nan
        if rate.is_positive:
            return "the norms explode where they start above 1 and vanish below"
        if rate.is_negative:
            return "the norms settle at 1 at once, and the correlations run to a fixed point of their flow"
        return f"the flow of the norm, with velocity {sp.factor(norm)}, runs to its end at once"


def _holds(program: Program, symbol: sp.Symbol) -> bool:
    weights = (s.weights for s in program.statements if isinstance(s, Matrix))
    bodies = (s.body for s in program.statements if isinstance(s, Matrix | Mean))
    return any(expr.has(symbol) for expr in (program.update, *bodies, *weights))


def joint_limit(recipe: Recipe) -> Diffusion | Flow:
    r"""Limit of the Gram matrix of m inputs as depth and width grow together.

    .. math:: b = \lim n^\delta\, \mathbb{E}[V' - V \mid V], \qquad a = \lim n^\delta\,\mathrm{Cov}[V' \mid V] .

    Parameters
    ----------
    recipe : Recipe
        Any: a :class:`~derivations.Network` or a named one. Its :class:`~derivations.architectures.regime.Regime` states the rates; one that states none
        takes :math:`\varepsilon = n^{-1/2}` and n layers in a unit of time.

    Returns
    -------
    GramDiffusion or Flow
        In the upper triangle of V, row by row; a flow where the noise vanishes. For a perceptron with an activation that
        keeps its shape, inputs = 2: the diffusion of :math:`q = \ell^2(1 - \rho_\ell)`, see
        :func:`~derivations.limits.collapse.collapse_limit`.

    Raises
    ------
    NoLimit
        If a term grows; the message says what the network does instead.
    NotClosed
        If V is no chain by itself.
    DerivationError
        If the sign of an exponent is not known: declare the rates' symbols.

    Examples
    --------
    >>> from derivations.activations import tanh
    >>> from derivations.architectures.perceptron import ShapedMLP
    >>> a = sp.Symbol("a", positive=True)
    >>> limit = joint_limit(ShapedMLP(tanh, a=a))
    >>> limit.drift, limit.covariance
    (Matrix([[-2*V*(V - 1)/a**2]]), Matrix([[2*V**2]]))
    """
    moments = JointMoments.of(recipe, min(recipe.inputs, _FEW))
    if (activation := unshaped(moments.chain.program)) is not None:
        require_homogeneous(activation)
        if recipe.inputs == 2:
            return collapse_limit(activation)
        if recipe.inputs > 2:
            raise DerivationError(
                f"the limit of an unshaped perceptron is derived for a pair of inputs, got {recipe.inputs}; follow them pair by pair"
            )
    inputs, few = recipe.inputs, moments.matrix
    matrix = gram_matrix(inputs)
    renamed = matrix_labels((few, matrix))
    drift = by_pattern(moments.drift, renamed, always=inputs > _FEW)
    noise = by_pattern(lambda a, b, c, d: moments.noise((a, b), (c, d)), renamed, always=inputs > _FEW)
    pairs = upper(inputs)
    states = tuple(matrix[pair] for pair in pairs)
    velocity = sp.ImmutableMatrix([sp.factor(drift(*pair)) for pair in pairs])
    table = {(i, j): noise(*pairs[i], *pairs[j]) for i in range(len(pairs)) for j in range(i + 1)}
    covariance = sp.ImmutableMatrix(len(pairs), len(pairs), lambda i, j: table[max(i, j), min(i, j)])
    if covariance.is_zero_matrix:
        return Flow(states, velocity)
    return GramDiffusion(states, velocity, covariance, cone(matrix), matrix=matrix)
