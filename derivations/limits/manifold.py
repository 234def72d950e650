r"""Norms that settle: a layer moves the Gram matrix at order 0, towards a manifold on which it then drifts slowly.

With :math:`\Phi` the map of one layer at infinite width, a slow coordinate :math:`\pi` has :math:`\pi\circ\Phi = \pi`. What relaxes fluctuates by
:math:`n^{-1/2}` for as many layers as it needs to relax, and pushes the slow coordinates at order 1/n (Katzenberger). With
:math:`g = \mathrm{D}\pi` and :math:`H = \mathrm{D}^2\pi` at the manifold, to be found from

.. math:: g\,\mathrm{D}\Phi = g, \qquad \mathrm{D}\Phi^\top H\,\mathrm{D}\Phi + \sum_l g_l\,\mathrm{D}^2\Phi_l = H,

a layer with mean change b and covariance :math:`\Sigma` has the slow drift :math:`g\cdot b + \tfrac12\operatorname{tr}H\Sigma` and the slow
covariance :math:`g\,\Sigma\,g^\top`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import sympy as sp

from derivations.errors import NoLimit, NotClosed, brief
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.labels import Exchange
from derivations.limits.joint_moments import JointMoments

Pair = tuple[int, int]


def _alike(moves: dict[Pair, sp.Expr], v: sp.Matrix) -> bool:
    """Whether all norms move by one function of themselves, and all products by one of themselves and of the two norms."""
    for (a, b), move in moves.items():
        places = [(0, 0)] if a == b else [(0, 0), (0, 1), (1, 1)]
        there = {v[p]: v[q] for p, q in zip(places, [(a, a), (a, b), (b, b)], strict=False)}
        model = moves[0, 0] if a == b else moves[0, 1]
        if model.free_symbols & set(v) - set(there) or sp.expand(model.xreplace(there) - move) != 0:
            return False
    return True


@dataclass(frozen=True)
class SlowManifold:
    r"""The Gram matrices with norms at their fixed point; the products :math:`V_{\alpha\beta}`, :math:`\alpha < \beta`, are the slow coordinates.

    Parameters
    ----------
    moments : JointMoments
    norm : Expr
        The value of every :math:`V_{\alpha\alpha}`.
    """

    moments: JointMoments
    norm: sp.Expr

    @classmethod
    def of(cls, moments: JointMoments) -> SlowManifold | None:
        """Where a layer moves norms at order 0 but not products of inputs whose norms have settled; None where it moves nothing.

        Raises
        ------
        NoLimit
            If nothing settles, or all does.
        """
        v, program = moments.matrix, moments.chain.program
        every = list(combinations_with_replacement(range(v.rows), 2))
        pairs = every if heads(program) else [(a, b) for a, b in Exchange.of(program).different(every)]
        moves = {p: sp.expand(moments.at_rest(*p) - v[p]) for p in pairs}
        if not any(moves.values()):
            return None
        first = sp.factor(next(m for m in moves.values() if m != 0))
        meet = bool((moves[0, 0].free_symbols & set(v)) - {v[0, 0]})  # so do positions, whatever the activation is
        advice = (
            "positions that meet in every layer become alike: keep the state beside a small branch, x + epsilon*…"
            if meet
            else "shape the activation (ShapedMLP) or scale the branch"
        )
        refusal = NoLimit(
            f"one layer moves the Gram matrix by {brief(first)} however wide the network is, so it settles in finitely many "
            f"layers instead of becoming continuous in depth; {advice}"
        )
        own = moves[0, 0]
        if not own.is_polynomial(v[0, 0]) or own == 0 or not _alike(moves, v):
            raise refusal
        settled = [
            value
            for value in sp.roots(sp.Poly(own, v[0, 0]))
            if value.is_positive and (1 - sp.Abs(1 + sp.diff(own, v[0, 0]).subs(v[0, 0], value))).is_positive
        ]
        if len(settled) != 1:
            raise refusal
        if v.rows == 1:
            raise NoLimit(
                f"layers move the mean square of one input towards {brief(settled[0])} within few layers and keep it there, so nothing of one "
                "input moves with depth; ask for inputs=2, whose correlation may move"
            )
        found = cls(moments, settled[0])
        if sp.cancel(found.at(moves[0, 1])) != 0:
            raise refusal
        return found

    def at(self, expr: sp.Expr) -> sp.Expr:
        """A function of V on the manifold."""
        v = self.moments.matrix
        return sp.expand(expr.subs({v[a, a]: self.norm for a in range(v.rows)}))

    def map(self, p: Pair) -> sp.Expr:
        """An entry after a layer at infinite width."""
        return self.moments.at_rest(*p)

    @cached_property
    def slope(self) -> tuple[tuple[sp.Expr, ...], sp.Matrix]:
        """The derivatives g and H of the slow coordinate of the first two inputs, in the entries 11, 12, 22."""
        v, own = self.moments.matrix, [(0, 0), (0, 1), (1, 1)]
        symbols = [v[p] for p in own]
        jacobian = sp.Matrix(3, 3, lambda i, j: sp.factor(self.at(sp.diff(self.map(own[i]), symbols[j]))))
        unknown = sp.symbols("g:3", cls=sp.Dummy)
        row = sp.Matrix([unknown])
        solved = sp.solve([*(row * jacobian - row), unknown[1] - 1], unknown, dict=True)
        g = [sp.factor(solved[0][s]) for s in unknown]
        bent = sp.zeros(3, 3)
        for value, p in zip(g, own, strict=True):
            bent += value * sp.hessian(self.map(p), symbols).applyfunc(self.at)
        names = {q: sp.Dummy("H") for q in combinations_with_replacement(range(3), 2)}
        h = sp.Matrix(3, 3, lambda i, j: names[min(i, j), max(i, j)])
        equations = [*(jacobian.T * h * jacobian + bent - h), h[1, 1]]
        values = sp.solve(equations, list(names.values()), dict=True)
        if len(solved) != 1 or len(values) != 1:
            raise NotClosed("the slow coordinate beside norms that settle is not unique to second order")
        return tuple(g), h.xreplace(values[0]).applyfunc(sp.factor)

    def _entries(self, p: Pair) -> list[tuple[sp.Expr, Pair]]:
        """The gradient of the slow coordinate of a pair, entry by entry."""
        v, (a, b) = self.moments.matrix, p
        (first, middle, last), _ = self.slope
        rename = {v[0, 1]: v[p]}
        return [(first.xreplace(rename), (a, a)), (middle.xreplace(rename), p), (last.xreplace(rename), (b, b))]

    def drift(self, a: int, b: int) -> sp.Expr:
        """The velocity of a product; the labels are 0 and 1."""
        own = [(a, a), (a, b), (b, b)]
        total = sp.Add(*(g * self.at(self.moments.velocity(*p)) for g, p in self._entries((a, b))))
        _, h = self.slope
        for i, j in combinations_with_replacement(range(3), 2):
            share = 1 if i == j else 2
            if h[i, j] != 0:
                total += sp.Rational(share, 2) * h[i, j] * self.at(self.moments.noise(own[i], own[j]))
        return sp.factor(total)

    def noise(self, p: Pair, q: Pair) -> sp.Expr:
        """The covariance of two products."""
        terms = (g * h * self.at(self.moments.noise(r, s)) for g, r in self._entries(p) for h, s in self._entries(q))
        return sp.factor(sp.Add(*terms))
