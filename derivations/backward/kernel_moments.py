r"""The tangent kernel at finite width: its mean and fluctuation, where depth grows alone or together with the width.

The tangent along all parameters of the layers so far is a sum of independent ones that start in each layer. So the average of the
kernel of one input over the output neurons, :math:`\theta = \frac1n\operatorname{tr}\Theta`, is the sum of their squared norms. Each of them
moves as any tangent does, and what a layer's own parameters add starts in a direction that is independent of the state and of
the others. So moments of :math:`\theta` are those of the Gram matrix of state and tangents with a source. Forward and backward
weights are the same here: nothing is taken as independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.backward.tangents import TangentGram, tangent_gram
from derivations.calculus.linear_ode import solve_linear
from derivations.errors import NotClosed, brief
from derivations.limits.gram import upper
from derivations.notation.nodes import expected, letter
from derivations.notation.printed import Shown
from derivations.notation.steps import Line, equation
from derivations.symbols import time

#: The squared norm of the input over the width.
START = sp.Symbol("V_0", positive=True)
_MOST = 12  # moments that are followed together
_LONG = 400  # operations beyond which a fraction stays as it is


@dataclass(frozen=True, repr=False)
class KernelMoments(Shown):
    r"""First and second moments of the tangent kernel of one input, over the parameters of the layers up to time t.

    Where a unit of time is a power of the width, in units of so many layers.

    Parameters
    ----------
    gram : TangentGram
    """

    gram: TangentGram

    @cached_property
    def source(self) -> sp.Expr:
        r"""What a layer's own parameters add to :math:`\theta`, per unit of time, a function of :math:`V_{11}`."""
        return self.gram.source()

    @cached_property
    def _solved(self) -> dict[sp.Expr, sp.Expr]:
        self.gram.require_whole()
        matrix = self.gram.matrix
        wanted = [matrix[1, 1], matrix[1, 1] * matrix[2, 2], matrix[1, 2] ** 2]
        rows: dict[sp.Expr, dict[sp.Expr, sp.Expr]] = {}
        while left := [m for m in wanted if m not in rows]:
            rows[left[0]] = self._image(left[0])
            wanted += [m for m in rows[left[0]] if m not in wanted and m != 1]
            if len(wanted) > _MOST:
                raise NotClosed(
                    f"moments of the tangent kernel do not close: that of {brief(wanted[0])} needs ever higher ones, such as {brief(wanted[-1])}; "
                    "simulate the networks"
                )
        order = list(rows)
        a = sp.Matrix(len(order), len(order), lambda i, j: rows[order[i]].get(order[j], 0))
        c = sp.Matrix([rows[m].get(sp.S.One, 0) for m in order])
        start = [m.subs(matrix[0, 0], START) if m.free_symbols <= {matrix[0, 0]} else sp.S.Zero for m in order]
        return dict(zip(order, solve_linear(a, c, start), strict=True))

    def _image(self, monomial: sp.Expr) -> dict[sp.Expr, sp.Expr]:
        """The rate of change of a moment, as a combination of moments."""
        g, pairs = self.gram, upper(3)
        total = sp.S.Zero
        for p in pairs:
            if (first := sp.diff(monomial, g.matrix[p])) != 0:
                total += first * g.drift_of(*p)
                for q in pairs:
                    if (second := sp.diff(first, g.matrix[q])) != 0:
                        total += second * g.noise_of(*sorted((p, q))) / 2
        for r in (1, 2):  # a tangent that starts in this layer
            total += self._started(monomial, r)
        total = sp.expand(total)
        states = [g.matrix[p] for p in pairs]
        if not total.is_polynomial(*states):
            raise NotClosed(
                f"moments of the tangent kernel do not close: that of {brief(monomial)} moves by {brief(total)}; simulate the networks"
            )
        found: dict[sp.Expr, sp.Expr] = {}
        for powers, c in sp.Poly(total, *states).terms():
            moment = self._named(sp.Mul(*(s**k for s, k in zip(states, powers, strict=True))))
            found[moment] = found.get(moment, sp.S.Zero) + c
        return found

    def _started(self, monomial: sp.Expr, r: int) -> sp.Expr:
        r"""The mean over a tangent that starts in this layer.

        With :math:`v \sim N(0, \tau I)`: of its square, and of :math:`(a\cdot v)(b\cdot v)/n^2`.
        """
        m, others = self.gram.matrix, [a for a in range(3) if a != r]
        powers = sp.Poly(monomial, m[r, r], *(m[a, r] for a in others)).monoms()[0]
        rest = monomial.xreplace({m[a, r]: sp.S.One for a in range(3)})
        if sum(powers) == 0:
            return sp.S.Zero
        if powers[0]:
            return rest * self.source
        a, b = (a for a, k in zip(others, powers[1:], strict=True) for _ in range(k))
        return rest * self.source * m[a, b] * self.gram.share

    def _named(self, monomial: sp.Expr) -> sp.Expr:
        """The two tangents are alike: one of two names."""
        m = self.gram.matrix
        swap = {m[0, 1]: m[0, 2], m[0, 2]: m[0, 1], m[1, 1]: m[2, 2], m[2, 2]: m[1, 1]}
        other = monomial.xreplace(swap)
        return min(monomial, other, key=sp.default_sort_key)

    @property
    def lines(self) -> tuple[Line, ...]:
        """Mean, relative second moment of one output, and the source."""
        theta = letter("Theta")
        return (
            equation(expected(theta), self.mean),
            equation(expected(theta**2) / expected(theta) ** 2, self.relative()),
            equation(letter("tau"), self.source),
        )

    @property
    def mean(self) -> sp.Expr:
        r""":math:`\mathbb{E}\,\theta`, also of the kernel of one output."""
        return sp.factor_terms(self._solved[self.gram.matrix[1, 1]])

    @property
    def added(self) -> sp.Expr:
        r""":math:`\mathbb{E}\,\tau(V_t)`, what a unit of time adds: the mean less its growth as a tangent's square.

        Raises
        ------
        NotClosed
            If a tangent's mean square does not grow at a constant rate.
        """
        growth = self.gram.growth
        return sp.factor_terms(sp.expand(sp.diff(self.mean, time) - growth * self.mean))

    @property
    def second(self) -> sp.Expr:
        r""":math:`\mathbb{E}\,\theta^2`."""
        m = self.gram.matrix
        return sp.factor_terms(self._solved[m[1, 1] * m[2, 2]])

    @property
    def second_of_one(self) -> sp.Expr:
        r""":math:`\mathbb{E}\,(g^\top\Theta g)^2` of one output, :math:`g \sim N(0, I/n)`: Wick's rule, the sum over pairs of tangents."""
        m = self.gram.matrix
        return sp.factor_terms(sp.expand(self._solved[m[1, 1] * m[2, 2]] + 2 * self._solved[m[1, 2] ** 2]))

    def relative(self, one: bool = True) -> sp.Expr:
        """The second moment over the square of the mean: of one output, or of the average over outputs."""
        ratio = sp.expand((self.second_of_one if one else self.second) / self.mean**2)
        return sp.cancel(ratio) if sp.count_ops(ratio) < _LONG else ratio


def tangent_kernel(network: Recipe, order: str = "depth") -> KernelMoments:
    r"""Moments of the tangent kernel of one input at a finite width, or where depth and width grow together.

    Parameters
    ----------
    network : Recipe
        Dense, with one input; it starts at a fixed input of squared norm :math:`n V_0`, whose own layer has no parameters.
    order : {"depth", "joint"}

    Raises
    ------
    NotClosed
        If the Gram matrix of state and tangents, or its moments, do not close.

    Examples
    --------
    >>> from derivations import Network, Weights, epsilon, relu, symbols
    >>> A, B = Weights("A"), Weights("B", out=8)
    >>> k = tangent_kernel(Network(lambda x: x + epsilon * A(relu(B(x))), width=symbols.width))
    >>> k.mean
    V_0*t*exp(t/2)
    """
    return KernelMoments(tangent_gram(network, order))
