r"""Two inputs that collapse onto one another: an activation that keeps its shape, and what is left to say about the correlation.

Where one layer leaves the norms alone and maps the correlation :math:`\rho` of two inputs to :math:`f(\rho)`, whatever the width,
:math:`\rho_\ell \to 1`. For a two-slope activation f leaves 1 so slowly that :math:`1 - \rho_\ell` is of order :math:`\ell^{-2}`, and over n
layers the fluctuations of a layer add up to a factor of order 1. So :math:`q = \ell^2 (1 - \rho_\ell)` has a limit with time :math:`t = \ell/n`.
The correlation is a function of averages over a layer, an observable as others are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import sympy as sp

from derivations.activations.base import Activation
from derivations.diffusion import Diffusion
from derivations.errors import NoLimit, NotClosed, brief
from derivations.gaussian import expect
from derivations.language import Program
from derivations.language.statements import Matrix
from derivations.limits.elimination.labels import Exchange
from derivations.limits.elimination.series import Series, taylor
from derivations.limits.joint_moments import JointMoments
from derivations.symbols import state, step, time

collapse_state = sp.Symbol("q", positive=True)
root_gap = sp.Dummy("s", positive=True)  # √(1 − ρ)


@dataclass(frozen=True, repr=False)
class CollapseDiffusion(Diffusion):
    r"""The diffusion of :math:`q = \ell^2(1 - \rho_\ell)`, singular at t = 0.

    Parameters
    ----------
    start : Expr
        The value as :math:`t \to 0`, where the terms of order 1/t balance.
    curvature : Expr
        :math:`\kappa` in :math:`f(1-\delta) = 1 - \delta + 2\kappa\,\delta^{3/2} + O(\delta^2)`.
    mean_rate, variance_rate : Expr
        n times the mean and the variance of one layer's relative fluctuation of :math:`1 - \rho`.
    gap : Expr
        :math:`1 - f(1 - s^2)` in ``root_gap``, free of cancellation at 0.
    """

    why_no_law: ClassVar[str] = (
        "the solution is an exponential functional of Brownian motion, without a density in closed form"
    )

    start: sp.Expr = sp.S.Zero
    curvature: sp.Expr = sp.S.Zero
    mean_rate: sp.Expr = sp.S.Zero
    variance_rate: sp.Expr = sp.S.Zero
    gap: sp.Expr = sp.S.Zero


def collapses(moments: JointMoments) -> bool:
    """Whether a layer of infinite width leaves norms as they are and moves products of different inputs."""
    v, exchange = moments.matrix, Exchange.of(moments.chain.program)
    if v.rows == 1 or any(
        sp.cancel(moments.at_rest(a, a) - v[a, a]) != 0 for (a,) in exchange.different((a,) for a in range(v.rows))
    ):
        return False
    return bool(sp.expand(moments.at_rest(0, 1) - v[0, 1]) != 0)


def collapse_limit(moments: JointMoments) -> CollapseDiffusion:
    r"""The limit of two inputs where one layer leaves norms alone and moves their correlation.

    With :math:`\delta = 1 - \rho = q/\ell^2`, one layer gives

    .. math:: \delta' = \delta\,\Bigl(1 - 2\kappa\sqrt\delta + \frac{\mu}{n} + \sqrt{\frac{v}{n}}\,\xi\Bigr), \qquad
              q' = (\ell + 1)^2 \delta' ,

    and with :math:`\ell = nt` the terms of order 1/n are drift and covariance. :math:`\kappa, \mu, v` are the first coefficients, in powers
    of :math:`\sqrt\delta`, of mean and variance of :math:`\rho' = V'_{12}/\sqrt{V'_{11}V'_{22}}`, taken by elimination.

    Raises
    ------
    NoLimit
        If the correlation leaves 1 in finitely many layers, or comes to it.
    NotClosed
        If norms matter for it.

    Examples
    --------
    >>> from derivations import MLP, relu
    >>> collapse_limit(JointMoments.of(MLP(relu, inputs=2), 2)).start
    9*pi**2/2
    """
    chain = moments.chain
    one, product, other = (chain.observable(*p) for p in ((0, 0), (0, 1), (1, 1)))
    rho = product / sp.sqrt(one * other)
    terms = moments.sorted(chain.observed_mean(rho))
    mapped = terms.pop(sp.S.Zero)
    rate = moments.surviving(terms, "the drift of the correlation")
    spread = moments.surviving(
        moments.sorted(chain.observed_covariance(rho, rho)), "the fluctuation of the correlation"
    )
    first, rates, squares = (_at_gap(moments, e, k) for e, k in ((mapped, 3), (rate, 2), (spread, 4)))
    if first[:3] != (1, 0, -1) or any(rates[:2]) or any(squares[:4]):
        raise NoLimit(
            f"one layer makes of a correlation 1 - δ the correlation {_shown(first)}, with a drift {_shown(rates)} and a variance "
            f"{_shown(squares)} per unit of time: correlations do not collapse as slowly as for relu, but leave 1 or come to it in "
            "finitely many layers; shape the activation (ShapedMLP) or scale the branch"
        )
    curvature, mean, variance = sp.factor(first[3] / 2), sp.factor(-rates[2]), sp.factor(squares[4])
    h, q, root = sp.Dummy("h", positive=True), collapse_state, sp.Dummy("r", positive=True)  # h = 1/n, ℓ = t/h, r = √q
    kappa, mu = sp.Dummy("kappa"), sp.Dummy("mu")
    gap = root**2 * h**2 / time**2
    after = (time / h + 1) ** 2 * gap * (1 - 2 * kappa * root * h / time + mu * h)
    per_time = sp.Poly(sp.diff(sp.expand(after), h).subs(h, 0), root)  # in powers of √q
    values = {kappa: curvature, mu: mean}
    drift = sp.Add(*(c.expand().subs(values) * sp.sqrt(q) ** power for (power,), c in per_time.terms()))
    linear, bent = (per_time.coeff_monomial(root**k).expand().coeff(time, -1).subs(values) for k in (2, 3))
    return CollapseDiffusion(
        (q,),
        sp.ImmutableMatrix([drift]),
        sp.ImmutableMatrix([[variance * q**2]]),
        sp.Interval.open(0, sp.oo),
        start=sp.factor((linear / bent) ** 2),  # where the terms of order 1/t balance
        curvature=curvature,
        mean_rate=mean,
        variance_rate=variance,
        gap=sp.expand(1 - _opened(moments, mapped, 1, 1)),
    )


def _opened(moments: JointMoments, expr: sp.Expr, one: int, other: int) -> sp.Expr:
    r"""A function of V at norms that are squares of numbers, in :math:`s = \sqrt{1 - \rho}`.

    :math:`\arcsin(1 - s^2) = \tfrac{\pi}{2} - 2\arcsin(s/\sqrt2)` and :math:`\sqrt{1 - \rho^2} = s\sqrt{2 - s^2}`.
    """
    v, s = moments.matrix, root_gap
    expr = expr.xreplace({v[0, 0]: one**2, v[1, 1]: other**2, v[0, 1]: one * other * (1 - s**2)})
    angle = sp.pi / 2 - 2 * sp.asin(s / sp.sqrt(2))
    signs = {node: node.args[0] / (1 - s**2) for node in expr.atoms(sp.asin, sp.acos) if node.has(s)}
    signs = {node: sign for node, ratio in signs.items() if (sign := sp.cancel(ratio)) in (1, -1)}
    angles = {
        node: sign * angle if isinstance(node, sp.asin) else sp.pi / 2 - sign * angle for node, sign in signs.items()
    }
    expr = expr.xreplace(angles)
    roots = {
        node: sp.factor(sp.expand(node.base)) ** node.exp
        for node in expr.atoms(sp.Pow)
        if not node.exp.is_Integer and node.has(s)
    }
    return expr.xreplace(roots)


def _at_gap(moments: JointMoments, expr: sp.Expr, order: int) -> Series:
    """Taylor coefficients in the root of the gap."""
    found = _opened(moments, expr, 1, 1)
    moved = sp.expand(sp.numer(sp.together(found - _opened(moments, expr, 2, 3))))
    if moved != 0 and sp.cancel(moved) != 0:
        raise NotClosed("how the correlation of two inputs collapses also depends on their norms, which move as fast")
    fractions = (sp.fraction(sp.together(c)) for c in taylor(found.xreplace({root_gap: step}), order))
    return tuple(
        sp.cancel(sp.expand(top) / bottom) for top, bottom in fractions
    )  # an expanded bottom is slow to cancel


def _shown(series: Series) -> sp.Expr:
    gap = sp.Symbol("delta", positive=True)
    return sp.Add(*(c * gap ** sp.Rational(k, 2) for k, c in enumerate(series)))


def unshaped(program: Program) -> Activation | None:
    """The activation of a perceptron whose activation keeps its shape, at the critical weight variance; None for any other layer."""
    if (
        len(program.statements) != 1
        or program.update != (only := program.statements[0]).symbol
        or not isinstance(only, Matrix)
    ):
        return None
    weights, body = only.weights, only.body
    plain = weights.is_gaussian and (weights.bias_variance, weights.mean, weights.bias_mean) == (0, 0, 0)
    if not plain or body.has(step):
        return None
    phi = Activation("phi", body)
    linear = len(phi.pieces) == 1 and sp.diff(phi.pieces[0].expr, state, 2) == 0
    if linear or sp.cancel(weights.variance * expect(body**2, state) - 1) != 0:
        return None
    return phi


def require_homogeneous(phi: Activation) -> None:
    """Require that an activation that keeps its shape leaves the norms alone.

    Raises
    ------
    NoLimit
        Saying what the norms and correlations do instead.
    """
    x, k = phi.variable, sp.Dummy("k", positive=True)
    bent = [p for p in phi.pieces if sp.expand(p.expr.subs(x, k * x) - k * p.expr) != 0]
    if not bent and all(kink == 0 for kink in phi.kinks):
        return
    squares = expect(phi.expr**2, x)
    # derivatives at V = 1 and ρ = 1 of the maps V ↦ c E φ(√V g)² and ρ ↦ c E φ(u)φ(v)
    norm, pair = expect(x * phi.expr * phi.derivative(), x) / squares, expect(phi.derivative() ** 2, x) / squares
    norms = _fate(norm, "the norms settle at V = 1", "the norms leave V = 1")
    pairs = _fate(pair, "the correlation of two inputs tends to 1", "the correlation of two inputs leaves 1")
    raise NoLimit(
        f"a perceptron with {brief(phi.expr)}, not shaped, has no joint limit: in finitely many layers {norms}, and {pairs}; "
        "shape it (ShapedMLP(..., a=a)) or take a two-slope activation"
    )


def _fate(slope: sp.Expr, stable: str, unstable: str) -> str:
    value = slope if slope.free_symbols else sp.N(slope, 8)
    shown = (
        stable if (value - 1).is_negative else unstable if (value - 1).is_positive else f"{stable} if this is below 1"
    )
    return f"{shown} (the map has slope {value} there)"
