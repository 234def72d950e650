r"""One neuron of an infinitely wide layer: a Gaussian vector over the coordinates, and the means of what it feeds.

By the law of large numbers :math:`\frac1n\sum_j g(x_j) \to \mathbb{E}\,g(X)`. Neurons that start Gaussian stay so if
one layer adds noise that does not depend on the neuron's own state, and a drift at most affine in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy as sp

from derivations.errors import DerivationError, brief
from derivations.gaussian import GaussianJointExpectation, expect, expect_pair
from derivations.gaussian.node import GaussianMean
from derivations.limits.elimination.linear_forms import mean_over_all, nests
from derivations.limits.elimination.wick import gaussian_mean


def mean_symbols(inputs: int) -> sp.ImmutableMatrix:
    r"""Symbols :math:`M_\alpha` of the means."""
    return sp.ImmutableMatrix([sp.Symbol(f"M_{a}" if inputs > 1 else "M", real=True) for a in range(1, inputs + 1)])


@dataclass(frozen=True)
class MeanFieldLaw:
    r"""A neuron's law: means :math:`M_\alpha` and second moments :math:`K_{\alpha\beta} = \mathbb{E}\,X^\alpha X^\beta`.

    The second moment, not the covariance, is the kernel: a readout with independent centred weights has it as its
    covariance.

    Parameters
    ----------
    mean : Matrix, shape (m, 1)
    second : Matrix, shape (m, m)
    """

    mean: sp.ImmutableMatrix
    second: sp.ImmutableMatrix

    def covariance(self, a: int, b: int) -> sp.Expr:
        """Of two coordinates."""
        return self.second[a, b] - self.mean[a] * self.mean[b]

    def average(self, body: sp.Expr, variables: dict[int, sp.Symbol], evaluate: bool = True) -> sp.Expr:
        r"""The expectation of a function of the coordinates, such as a product of one of each; as nodes without ``evaluate``."""
        used = [a for a in variables if body.has(variables[a])]
        centred = {variables[a]: variables[a] + self.mean[a] for a in used if self.mean[a] != 0}
        body = body.subs(centred, simultaneous=True)
        if not used:
            return body
        if any(mean.has(*(variables[a] for a in used)) for mean in body.atoms(GaussianMean)):
            return self._of_many(body, [(a, variables[a]) for a in used], evaluate)
        if len(used) == 1:
            (a,) = used
            return expect(body, variables[a], self.covariance(a, a), evaluate=evaluate)
        if len(used) > 2:
            return self._of_many(body, [(a, variables[a]) for a in used], evaluate)
        total = sp.S.Zero
        a, b = used
        block = sp.Matrix(2, 2, lambda i, j: self.covariance(used[i], used[j]))
        for term in sp.Add.make_args(body if body.is_Mul else sp.expand_mul(body)):
            constant, rest = term.as_independent(variables[a], variables[b], as_Add=False)
            if rest.has(variables[a]) and rest.has(variables[b]):
                apart = _apart(rest, variables[a], variables[b])
                if apart is None:
                    return self._of_many(body, [(a, variables[a]) for a in used], evaluate)
                left, right = apart
                other = right.subs(variables[b], variables[a])
                total += constant * expect_pair(left, other, variables[a], block, evaluate)
            else:
                alone = a if rest.has(variables[a]) else b
                total += constant * expect(rest, variables[alone], self.covariance(alone, alone), evaluate=evaluate)
        return total

    def _of_many(self, body: sp.Expr, variables: Sequence[tuple[int, sp.Symbol]], evaluate: bool) -> sp.Expr:
        """Of centred coordinates that meet in functions of few linear combinations, as where positions are mixed."""
        table = {(u, v): self.covariance(a, b) for a, u in variables for b, v in variables}
        whole = mean_over_all(body, [u for _, u in variables], table)
        if whole is not None and body.has(GaussianJointExpectation):
            return whole
        try:
            found = gaussian_mean(body, table, evaluate)
        except DerivationError as error:
            if whole is not None:
                return whole
            raise DerivationError(f"no rule is known for the Gaussian mean of {brief(body)}: {error}") from error
        return whole if whole is not None and nests(found) else found


def _apart(term: sp.Expr, x: sp.Symbol, y: sp.Symbol) -> tuple[sp.Expr, sp.Expr] | None:
    """A function of x times one of y, or None; a denominator that was multiplied out is factored."""
    for factored in (False, True):  # slow where exponentials are multiplied out
        left, right = (sp.factor(term) if factored else term).as_independent(y, as_Add=False)
        if not right.has(x):
            return left, right
    return None
