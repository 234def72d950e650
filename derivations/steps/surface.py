r"""The surface on which a diffusion lives, where each layer fixes averages of its neurons.

Behind a norm :math:`\langle x^2\rangle = 1`: the coefficients are right there and nowhere else. Beyond it noise and drift push further
away, so that steps which leave the surface have to be taken back.
"""

from __future__ import annotations

import sympy as sp

from derivations.diffusion import Diffusion, Limit
from derivations.entries import LazyCovariance


def surface(limit: Limit) -> tuple[sp.Expr, ...]:
    r"""Functions of the states that are 0 all along a path: those whose zeros the domain asks for.

    Examples
    --------
    >>> from derivations import Network, Weights, derive, epsilon, rms_norm
    >>> A = Weights("A")
    >>> surface(derive(Network(lambda x: rms_norm(x + epsilon * A(x)), width=2)).limit)
    (x_1**2/2 + x_2**2/2 - 1,)
    """
    if not isinstance(limit, Diffusion) or not isinstance(limit.domain, sp.ConditionSet):
        return ()
    conditions = sp.And.make_args(limit.domain.condition)
    names = dict(zip(sp.Tuple(*limit.domain.sym), limit.states, strict=True))
    return tuple((c.lhs - c.rhs).xreplace(names) for c in conditions if isinstance(c, sp.Eq))


def within_rounding(limit: Diffusion) -> Diffusion:
    r"""The same diffusion, with values where rounding takes a correlation of neurons beyond 1.

    On a surface averages :math:`\langle xy\rangle` stand in :math:`\arcsin` and :math:`\sqrt{1 - \rho^2}` by themselves, since norms are numbers.
    Equal inputs have the correlation 1, and rounding adds to it. Where the domain is no surface, the diffusion itself is returned.
    """
    if not surface(limit):
        return limit

    def inside(expr: sp.Expr) -> sp.Expr:  # long averages are not compared with bounds, which takes seconds
        expr = expr.replace(
            lambda e: isinstance(e, sp.asin | sp.acos),
            lambda e: e.func(sp.Max(-1, sp.Min(1, e.args[0], evaluate=False), evaluate=False)),
        )
        return expr.replace(
            lambda e: e.is_Pow and e.exp.is_positive and (2 * e.exp).is_odd,
            lambda e: sp.Max(0, e.base, evaluate=False) ** e.exp,
        )

    entries = LazyCovariance(lambda i, j: inside(limit.entry(i, j)))
    return Diffusion(limit.states, limit.drift.applyfunc(inside), entries, limit.domain, limit.time)
