r"""Perceptrons that are not shaped: how two inputs collapse onto one another, and what is left to say about it.

With an activation that keeps its shape, one layer maps the correlation :math:`\rho` of two inputs to
:math:`f(\rho) = c\,\mathbb{E}\,\varphi(u)\varphi(v)`, whatever the width, and :math:`\rho_\ell \to 1`. For a two-slope
activation f leaves 1 so
slowly that :math:`1 - \rho_\ell` is of order :math:`\ell^{-2}`, and over n layers the fluctuations of a layer add up to a factor of
order 1. So :math:`q = \ell^2 (1 - \rho_\ell)` has a limit with time :math:`t = \ell/n`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import sympy as sp

from derivations.activations.base import Activation
from derivations.diffusion import Diffusion
from derivations.errors import NoLimit
from derivations.gaussian import dual, expect
from derivations.language import Program
from derivations.language.statements import Matrix
from derivations.symbols import correlation, state, step, time

collapse_state = sp.Symbol("q", positive=True)
_GAP = sp.Dummy("s", positive=True)  # √(1 − ρ)


@dataclass(frozen=True)
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
    """

    start: sp.Expr = sp.S.Zero
    curvature: sp.Expr = sp.S.Zero
    mean_rate: sp.Expr = sp.S.Zero
    variance_rate: sp.Expr = sp.S.Zero


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


def collapse_limit(phi: Activation) -> CollapseDiffusion:
    r"""The limit of two inputs of an unshaped perceptron with a positively homogeneous activation, n layers being one unit of time.

    With :math:`\delta = 1 - \rho = q/\ell^2`, one layer gives

    .. math:: \delta' = \delta\,\Bigl(1 - 2\kappa\sqrt\delta + \frac{\mu}{n} + \sqrt{\frac{v}{n}}\,\xi\Bigr), \qquad
              q' = (\ell + 1)^2 \delta' ,

    and with :math:`\ell = nt` the terms of order 1/n are drift and covariance.

    Raises
    ------
    NoLimit
        For other activations: the message says what the correlation does.

    Examples
    --------
    >>> from derivations.activations import relu
    >>> collapse_limit(relu).start
    9*pi**2/2
    """
    require_homogeneous(phi)
    curvature, (mean, variance) = correlation_curvature(phi), fluctuation(phi)
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
    )


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
        f"a perceptron with {phi}, not shaped, has no joint limit: in finitely many layers {norms}, and {pairs}; "
        "shape it (ShapedMLP(..., a=a)) or take a two-slope activation"
    )


def _fate(slope: sp.Expr, stable: str, unstable: str) -> str:
    value = slope if slope.free_symbols else sp.N(slope, 8)
    shown = (
        stable if (value - 1).is_negative else unstable if (value - 1).is_positive else f"{stable} if this is below 1"
    )
    return f"{shown} (the map has slope {value} there)"


def gap_map(phi: Activation) -> sp.Expr:
    r""":math:`1 - f(1 - s^2)` as a function of :math:`s = \sqrt{1 - \rho}`, free of cancellation at 0.

    :math:`\arcsin(1 - s^2) = \tfrac{\pi}{2} - 2\arcsin(s/\sqrt2)` and :math:`\sqrt{1 - \rho^2} = s\sqrt{2 - s^2}`.
    """
    f = dual(phi.expr, phi.variable) / expect(phi.expr**2, phi.variable)
    s = _GAP
    opened = {
        sp.asin(correlation): sp.pi / 2 - 2 * sp.asin(s / sp.sqrt(2)),
        sp.sqrt(1 - correlation**2): s * sp.sqrt(2 - s**2),
    }
    return sp.expand(1 - f.xreplace(opened).subs(correlation, 1 - s**2))


def correlation_curvature(phi: Activation) -> sp.Expr:
    r"""The coefficient :math:`\kappa` in :math:`1 - f(1 - \delta) = \delta - 2\kappa\,\delta^{3/2} + O(\delta^2)`.

    By Taylor's formula in :math:`\sqrt\delta`.

    Examples
    --------
    >>> from derivations.activations import relu
    >>> correlation_curvature(relu)
    sqrt(2)/(3*pi)
    """
    after = gap_map(phi)
    taylor = [sp.cancel(sp.diff(after, _GAP, k).subs(_GAP, 0)) / sp.factorial(k) for k in range(4)]
    if taylor[0] != 0 or taylor[1] != 0 or sp.cancel(taylor[2] - 1) != 0:
        raise NoLimit(f"the correlation map of {phi} does not touch the diagonal at ρ = 1, its expansion is {taylor}")
    return sp.factor(-taylor[3] / 2)


def fluctuation(phi: Activation) -> tuple[sp.Expr, sp.Expr]:
    r"""Mean and variance, times n, of the relative fluctuation of :math:`1 - \rho` in one layer, at :math:`\rho \to 1`.

    Write the second input's neurons as :math:`z + \tau w`, with w independent of z and :math:`\tau^2 = 2(1-\rho)`. Off a set of
    probability :math:`O(\tau)` no neuron crosses the kink, so
    :math:`\varphi(z + \tau w) = \varphi(z) + \tau\varphi'(z)w`, and with the layer's means

    .. math:: A = \tfrac cn \sum \varphi'(z)^2 w^2, \quad B = \tfrac cn \sum \varphi(z)^2, \quad C = \tfrac cn\sum
    \varphi'(z)\varphi(z)w

    the new correlation is :math:`(B + \tau C)/\sqrt{B(B + 2\tau C + \tau^2 A)}`. Its term of order :math:`\tau^2` is a
    function F(A, B, C) of
    means of n i.i.d. vectors: :math:`\mathbb{E}F - F = \tfrac{1}{2n}\nabla^2F : \Sigma` and
    :math:`\mathrm{Var}F = \tfrac1n \nabla F^\top\Sigma\nabla F`.

    Examples
    --------
    >>> from derivations.activations import relu
    >>> fluctuation(relu)
    (2, 8)
    """
    x, w = phi.variable, sp.Dummy("w", real=True)
    a, b = sp.symbols("A B", positive=True, cls=sp.Dummy)
    c, tau = sp.Dummy("C", real=True), sp.Dummy("tau", positive=True)
    rho = (b + tau * c) / sp.sqrt(b * (b + 2 * tau * c + tau**2 * a))
    ratio = sp.cancel(-sp.diff(rho, tau, 2).subs(tau, 0))  # ½ τ² = 1 − ρ before the layer
    gain = 1 / expect(phi.expr**2, x)
    slope = phi.derivative()
    # each summand as (factor in z, power of w); a and b are means of squares, c is centred
    parts = {a: (slope**2, 2), b: (phi.expr**2, 0), c: (slope * phi.expr, 1)}

    def mean(f: sp.Expr, power: int) -> sp.Expr:
        return expect(f, x) * expect(w**power, w)

    centre = {s: gain * mean(*part) for s, part in parts.items()}
    covariance = {
        (s, r): gain**2 * mean(parts[s][0] * parts[r][0], parts[s][1] + parts[r][1]) - centre[s] * centre[r]
        for s, r in product(parts, repeat=2)
    }
    at = {s: sp.cancel(value) for s, value in centre.items()}

    def value(expr: sp.Expr) -> sp.Expr:
        return expr.subs(at)

    if sp.cancel(value(ratio) - 1) != 0:
        raise NoLimit(f"the slope of the correlation map of {phi} at ρ = 1 is {value(ratio)}, not 1")
    drift = sp.Add(*(value(sp.diff(ratio, s, r)) * covariance[s, r] for s, r in covariance)) / 2
    variance = sp.Add(*(value(sp.diff(ratio, s) * sp.diff(ratio, r)) * covariance[s, r] for s, r in covariance))
    return sp.factor(sp.cancel(drift)), sp.factor(sp.cancel(variance))
