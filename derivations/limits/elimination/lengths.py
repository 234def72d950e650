r"""Norms of what a Gaussian matrix puts out: its length is independent of its direction.

Given what the matrix reads, the outputs :math:`a_1, …, a_k` of the neurons of a layer are independent and Gaussian with one variance v. So
:math:`\langle a^2\rangle = \frac1k\sum_j a_j^2` is v/k times a :math:`\chi^2_k`, independent of :math:`a/\|a\|`, and for any M that is
homogeneous of degree d

.. math:: \mathbb{E}[M \langle a^2\rangle^q] = \mathbb{E}[M]\, (2v/k)^q\, \Gamma(\tfrac{k+d}{2} + q)/\Gamma(\tfrac{k+d}{2}), \qquad k + d + 2q > 0.

The same holds for :math:`\langle a^2\rangle - \langle a\rangle^2`, with k − 1 in the place of k in the gamma functions, where adding a number to
all :math:`a_j` does not change M: the variance about the mean is the squared length in the hyperplane of vectors with mean 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import sympy as sp

from derivations.limits.elimination.averages import LayerAverage, layer_average


@dataclass(frozen=True)
class Length:
    """The mean square of a variable over the layer, about zero or about the layer's mean, and its power."""

    variable: sp.Symbol
    centred: bool
    power: sp.Expr

    @classmethod
    def read(cls, factor: sp.Expr, variables: Sequence[sp.Symbol]) -> Length | None:
        """Of a factor, if it is one."""
        base, power = factor.as_base_exp()
        nodes = base.atoms(LayerAverage)
        for node, a in product(nodes, variables):
            if node.body == a**2:
                about_mean = node - layer_average(a, (a,), node.layer) ** 2
                for own in (node, about_mean):
                    if (times := _times(base, own)) is not None:
                        return cls(a, own == about_mean, times * power)
        return None

    def moves(self, expr: sp.Expr, copies: Sequence[sp.Symbol]) -> bool:
        """Whether adding a number to the variable at all neurons changes an expression in averages and tagged copies."""
        c = sp.Dummy("c", real=True)
        nodes = {
            node: layer_average(node.body.xreplace({self.variable: self.variable + c}), node.args[1].args, node.layer)
            for node in expr.atoms(LayerAverage)
            if self.variable in node.bound
        }
        return bool(sp.expand(expr.xreplace({v: v + c for v in copies} | nodes) - expr) != 0)

    def factor(self, degree: int, neurons: sp.Expr, variance: sp.Expr) -> sp.Expr | None:
        """By what the power multiplies the mean of a homogeneous function; None where the product has no mean."""
        half = (neurons - int(self.centred) + degree) / 2
        if (half + self.power).is_nonpositive:
            return None
        share = sp.gammasimp(sp.gamma(half + self.power) / sp.gamma(half))
        return (2 * variance / neurons) ** self.power * share


def _times(base: sp.Expr, own: sp.Expr) -> int | None:
    """Which power of one of both the other is, multiplied out or not."""
    if base == own:
        return 1
    count = len(base.args) - 1 if base.is_Add and own.is_Add else 0  # (a - b)^k has k + 1 terms
    return count if count > 1 and sp.expand(own**count) == base else None
