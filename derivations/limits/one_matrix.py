r"""A layer with one matrix, :math:`x' = A x + B\,W\varphi(x)`, in powers of the width: what is shown of it."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.gaussian import expect
from derivations.language.statements import Matrix, Mean
from derivations.limits.elimination.series import taylor
from derivations.limits.joint_moments import JointMoments
from derivations.symbols import state, step


@dataclass(frozen=True)
class OneMatrix:
    r"""The parts of such a layer, with small parameters as powers of the width.

    Parameters
    ----------
    skip, branch : Expr
        A and B.
    inner : Expr
        :math:`\varphi` in ``symbols.state``.
    variance : Expr or None
        Of the weights, None for the critical :math:`1/\mathbb{E}\,\varphi(g)^2`.
    is_normalised : bool
        Whether the state is divided by its root mean square over the layer before :math:`\varphi`.
    activation, gain : tuple of Expr
        The terms of the expansions of :math:`\varphi` and of the variance.
    """

    skip: sp.Expr
    branch: sp.Expr
    inner: sp.Expr
    variance: sp.Expr | None
    is_normalised: bool
    activation: tuple[sp.Expr, ...]
    gain: tuple[sp.Expr, ...]

    @classmethod
    def of(cls, moments: JointMoments) -> OneMatrix | None:
        """The parts of a layer; None for one with more matrices, biases or means."""
        program = moments.chain.program
        *before, last = program.statements
        norm = len(before) == 1 and isinstance(before[0], Mean) and before[0].body == state**2
        if (before and not norm) or not isinstance(last, Matrix):
            return None
        weights, update = last.weights, sp.expand(program.update)
        skip, branch = sp.diff(update, state), sp.diff(update, last.symbol)
        if (weights.bias_variance, weights.mean, weights.bias_mean) != (0, 0, 0) or sp.expand(
            update - skip * state - branch * last.symbol
        ) != 0:
            return None
        if (skip.free_symbols | branch.free_symbols) & {state, last.symbol}:
            return None
        body = last.body.xreplace({s.symbol: sp.S.One for s in before})  # in the normalised state
        at = moments.at_width

        def terms(expr: sp.Expr) -> tuple[sp.Expr, ...]:
            series = (at(c * step**k) for k, c in enumerate(taylor(expr, moments.chain.kept.all)) if c != 0)
            return tuple(sp.piecewise_fold(c) if c.has(sp.Piecewise) else sp.expand(c) for c in series)

        critical = sp.cancel(weights.variance * expect(body**2, state) - 1) == 0
        variance = None if critical else at(weights.variance)
        return cls(at(skip), at(branch), at(body), variance, norm, terms(body), terms(weights.variance))
