r"""State and tangents by their Gram matrix: at every finite width where it closes, and where depth and width grow together.

With :math:`V_{11} = \|x\|^2/n`, :math:`V_{12} = x\cdot v/n` and :math:`V_{22} = \|v\|^2/n` of a tangent v = J w. Where what the matrices put
out is Gaussian, the means over a state and its tangents are those of more inputs, with Stein's identity for mixed terms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.backward.unlike import require_alike
from derivations.diffusion import Diffusion, Flow
from derivations.equations import DT
from derivations.errors import DependsOnParameter, NoClosedForm, NotClosed, brief
from derivations.laws.piecewise_law import PiecewiseLaw
from derivations.laws.recognition import recognise
from derivations.limits.closure import GramLimit, gram_limit
from derivations.limits.elimination.held import released
from derivations.limits.elimination.moments import LayerMoments, state_averages
from derivations.limits.gram import GramDiffusion, cone, gram_matrix, upper
from derivations.limits.joint_moments import JointMoments
from derivations.limits.slopes import require_slopes
from derivations.notation.nodes import DifferentialOf, Variation, expected, letter
from derivations.notation.printed import Shown
from derivations.notation.steps import Line, Term
from derivations.symbols import GRAM, time

Pair = tuple[int, int]


@dataclass(frozen=True, repr=False)
class TangentGram(Shown):
    r"""The Gram matrix of one input's state and two of its tangents.

    Parameters
    ----------
    matrix : Matrix, shape (3, 3)
        Its symbols: the state first.
    drift_of, noise_of : callable
        Drift of an entry, covariance of two entries, per unit of time.
    source : callable
        Makes what a layer's own parameters add to the squared norm of a tangent along all parameters, per unit of time, or per layer
        where a unit of time is a power of the width.
    share : Expr
        1/n, or 0 where the width grows.
    centred : bool
        Whether entries are of what neurons differ by from their average, as behind a layer norm.
    """

    matrix: sp.ImmutableMatrix
    drift_of: Callable[[int, int], sp.Expr]
    noise_of: Callable[[Pair, Pair], sp.Expr]
    source: Callable[[], sp.Expr]
    share: sp.Expr
    centred: bool = False

    def require_whole(self) -> None:
        """Require that squared norms are entries.

        Raises
        ------
        NotClosed
            If entries are of the centred state and tangents.
        """
        if self.centred:
            raise NotClosed(
                "layers take off the average of the neurons, so that the Gram matrix is of the centred state and tangents, and their norms and those "
                "of gradients are no process by themselves: they have a part along the average too; simulate the networks"
            )

    @cached_property
    def process(self) -> Diffusion | Flow:
        """Of the state and one tangent, in the entries 11, 12, 22."""
        pairs = upper(2)
        inside = gram_matrix(2)
        rule = {self.matrix[p]: inside[p] for p in pairs}
        drift = sp.ImmutableMatrix([self.drift_of(*p).xreplace(rule) for p in pairs])
        noise = sp.ImmutableMatrix(3, 3, lambda i, j: self.noise_of(*sorted((pairs[i], pairs[j]))).xreplace(rule))
        states = tuple(inside[p] for p in pairs)
        if noise.is_zero_matrix:
            return Flow(states, drift)
        return GramDiffusion(states, drift, noise, cone(inside), matrix=inside)

    @property
    def lines(self) -> tuple[Line, ...]:
        """Drift and covariance of the process."""
        process, given = self.process, letter(GRAM)
        lines = [
            Line(expected(DifferentialOf(s), given), (Term(b, DT),))
            for s, b in zip(process.states, process.drift, strict=True)
        ]
        if isinstance(process, Diffusion):
            lines += [
                Line(Variation(s, r, time), (Term(process.covariance[i, j], DT),))
                for i, s in enumerate(process.states)
                for j, r in enumerate(process.states)
                if i <= j and process.covariance[i, j] != 0
            ]
        return tuple(lines)

    @cached_property
    def square(self) -> Diffusion | None:
        r"""The squared norm of a tangent by itself; None where it needs the state."""
        q = self.process.states[2]
        drift, noise = self.process.drift[2], self.process.covariance[2, 2]
        if (drift.free_symbols | noise.free_symbols) & set(self.process.states) - {q} or noise == 0:
            return None
        return Diffusion((q,), sp.ImmutableMatrix([drift]), sp.ImmutableMatrix([[noise]]), sp.Interval.open(0, sp.oo))

    @cached_property
    def growth(self) -> sp.Expr:
        """The rate at which the mean square of a tangent, and so that of a gradient from a random readout, grows.

        Raises
        ------
        NotClosed
            If it moves with the state.
        """
        found = sp.cancel(self.process.drift[2] / self.process.states[2])
        if moving := found.free_symbols & {*self.process.states, self.process.time}:
            raise NotClosed(
                f"the mean square of a gradient grows by {brief(found)} per unit of time, which moves with the "
                f"{'depth' if moving == {self.process.time} else 'state'}; simulate the process of state "
                "and tangent, jacobian(network).process"
            )
        return found

    @cached_property
    def law(self) -> PiecewiseLaw | None:
        """Of the squared norm of a tangent, where it is a diffusion by itself and its law is known."""
        if (
            self.square is None
            or self.square.time in self.square.drift.free_symbols | self.square.covariance.free_symbols
        ):
            return None
        try:
            return recognise(self.square)
        except (NoClosedForm, DependsOnParameter):  # as on the sign of n − 1 behind a centred state
            return None

    @cached_property
    def rates(self) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
        r"""Numbers :math:`\beta, \lambda, \nu` with :math:`\mathrm{d}U = \beta U\,\mathrm{d}t + \dots` for the Gram matrix U of tangents.

        .. math:: \mathrm{d}[U_{ab}, U_{cd}] = \bigl(\lambda\,(U_{ac}U_{bd} + U_{ad}U_{bc}) + \nu\,U_{ab}U_{cd}\bigr)\mathrm{d}t .

        Raises
        ------
        NotClosed
            If tangents do not move so: saying on what it depends.
        """
        u = self.matrix[1:, 1:]
        beta = sp.cancel(self.drift_of(1, 1) / u[0, 0])
        own, both = (sp.expand(self.noise_of((1, 1), q)) for q in ((1, 1), (2, 2)))
        lam, nu = both.coeff(u[0, 1], 2) / 2, sp.cancel(both.coeff(u[0, 1], 0) / (u[0, 0] * u[1, 1]))
        mixed = sp.expand(self.noise_of((1, 2), (1, 2)))
        left = (
            self.drift_of(1, 2) - beta * u[0, 1],
            own - (2 * lam + nu) * u[0, 0] ** 2,
            both - 2 * lam * u[0, 1] ** 2 - nu * u[0, 0] * u[1, 1],
            mixed - lam * (u[0, 0] * u[1, 1] + u[0, 1] ** 2) - nu * u[0, 1] ** 2,
        )
        moving = {*self.matrix, self.process.time}
        if any(sp.expand(e) != 0 for e in left) or any(e.free_symbols & moving for e in (beta, lam, nu)):
            raise NotClosed(
                "the volumes of tangents do not grow at constant rates: a tangent's squared norm has the drift "
                f"{brief(self.process.drift[2])} and the variance {brief(self.process.covariance[2, 2])}, with V_11 of the state"
            )
        return beta, lam, nu

    def exponent(self, k: Any) -> sp.Expr:
        r"""The k-th Lyapunov exponent, from the largest, per unit of time.

        *Derivation.* Itô's formula on :math:`\tfrac12\log\det U` of k tangents gives the drift
        :math:`\tfrac12\bigl(k\beta - \tfrac12(\lambda k(k+1) + \nu k)\bigr)`.
        """
        beta, lam, nu = self.rates
        return sp.factor(beta / 2 - lam * sp.sympify(k) / 2 - nu / 4)


def tangent_gram(network: Recipe, order: str = "depth") -> TangentGram:
    """The Gram matrix of state and tangents, where it is a diffusion or a flow by itself.

    Parameters
    ----------
    network : Recipe
        With one input, dense.
    order : {"depth", "joint"}
        Infinite depth at the network's width, or depth and width together.

    Raises
    ------
    NotClosed
        If it does not close, and over positions.

    Examples
    --------
    >>> from derivations import MLP, relu
    >>> tangent_gram(MLP(relu), order="joint").exponent(1)
    -5/4
    """
    if network.positions:
        raise NotClosed("the Gram matrix of state and tangents is derived for dense networks, not over positions")
    require_alike(network.scaled_program() if order == "joint" else network.program())
    if order == "joint":
        return _together(network)
    program, matrix = network.program(), gram_matrix(3)
    moments = LayerMoments(program, 1)
    moments.at_rest()
    if moments.fixed:
        raise NotClosed("a layer that ends with a norm keeps tangents beside its state; they are not followed here")

    @cache
    def found(directions: int) -> GramLimit:
        """With as many tangents as are asked for: one of them says whether V closes."""
        return gram_limit(program, 1, directions=directions)

    def named(expr: sp.Expr, limit: GramLimit) -> sp.Expr:
        return expr.xreplace({limit.matrix[p]: matrix[p] for p in upper(limit.matrix.rows)})

    def drift(a: int, b: int) -> sp.Expr:
        limit = found(max(1, a, b))
        return named(limit.process.drift[limit.process.states.index(limit.matrix[a, b])], limit)

    def noise(p: Pair, q: Pair) -> sp.Expr:
        limit = found(max(1, *p, *q))
        i, j = sorted((limit.process.states.index(limit.matrix[r]) for r in (p, q)), reverse=True)
        return named(limit.process.entry(i, j), limit) if isinstance(limit.process, Diffusion) else sp.S.Zero

    centred = found(1).centred

    def source() -> sp.Expr:
        moments = LayerMoments(network.program(), 1, directions=1, parameters=True)
        x, v = moments.states
        left = released(moments.product(1, 1))
        rest = {
            a: moments.average(a.body.xreplace({v: sp.S.Zero})) for a in state_averages(left)
        }  # the tangent starts here
        left = sp.expand(left.xreplace(rest | {moments.average(x**2): matrix[0, 0]}))
        if state_averages(left):
            raise NotClosed(f"what a layer's parameters add to the tangent kernel depends on {brief(left)}")
        return left

    return TangentGram(matrix, drift, noise, source, 1 / network.width, centred)


def _together(network: Recipe) -> TangentGram:
    require_slopes(network.scaled_program())
    moments = JointMoments.of(network, 1, directions=2)
    if moments.chain.means:
        raise NotClosed("tangents of neurons whose mean moves are not followed where depth and width grow together")
    for a, b in upper(3):
        moved = sp.cancel(moments.at_rest(a, b) - moments.matrix[a, b])
        if moved != 0:
            raise NotClosed(
                f"one layer of infinite width moves {moments.matrix[a, b]} by {brief(moved)}: tangents do not move as slowly as depth over width"
            )

    def source() -> sp.Expr:
        own = JointMoments.of(network, 1, directions=1, parameters=True)
        rest = {own.matrix[0, 0]: moments.matrix[0, 0], own.matrix[0, 1]: sp.S.Zero, own.matrix[1, 1]: sp.S.Zero}
        first = sp.expand(own.at_rest(1, 1).xreplace(rest))
        return first if first != 0 else sp.expand(own.velocity(1, 1).xreplace(rest))

    return TangentGram(moments.matrix, moments.velocity, moments.noise, source, sp.S.Zero)
