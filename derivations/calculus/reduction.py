r"""Scalar equations that a change of variable makes linear, found by what their coefficients are.

A linear equation :math:`\mathrm{d}Y = (\alpha + \beta Y)\,\mathrm{d}t + (\gamma + \delta Y)\,\mathrm{d}B`, its
coefficients functions of time, has an explicit solution. When is
:math:`\mathrm{d}X = \mu(X, t)\,\mathrm{d}t + \varphi(X, t)\,\mathrm{d}B` the image of one?

*The condition.* Let :math:`D = \varphi\,\partial_x`, z with :math:`Dz = 1`, and b the drift of z(X, t),
:math:`b = \partial_t z + \mu/\varphi - \tfrac12\partial_x\varphi`, of which only
:math:`Db = D(\mu/\varphi - \tfrac12\partial_x\varphi) - \partial_t\varphi/\varphi` is needed.
If :math:`\delta \ne 0`, shift Y so that :math:`\gamma = 0`: then :math:`Y = k(t)e^{\delta z}`, and Itô's formula on
:math:`\log Y` gives :math:`\dot k/k + \dot\delta z + \delta b + \tfrac12\delta^2 = \alpha/Y + \beta`. Two derivatives
along z:

.. math:: \dot\delta + \delta\,Db = -\alpha\delta/Y, \qquad D^2 b = \alpha\delta/Y .

So either :math:`D^2b = 0`: z itself is linear with noise 1. Or :math:`1/D^2b` is Y up to a factor that depends on
time only, and with :math:`\delta = -D^3b/D^2b` two things must hold: :math:`D\delta = 0`, and
:math:`\dot\delta + \delta\,Db + D^2b = 0`. The map is read off the coefficients; no integral is taken unless
:math:`D^2 b = 0`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import sympy as sp

from derivations.calculus.intervals import moving_interval
from derivations.calculus.invert import invert
from derivations.calculus.ito import generator
from derivations.calculus.lamperti import LampertiForm, positive_root
from derivations.calculus.linear import LinearSDE
from derivations.calculus.logs import real_logs
from derivations.decimals import exact_decimals
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.piecewise import Piece, pieces


@dataclass(frozen=True)
class LinearReduction:
    """A scalar diffusion as the image of a linear equation, as long as it stays in its domain.

    The linear equation goes on for ever; where the process explodes or leaves, at a time that is seen in Y too, only the
    part before is its image.

    Parameters
    ----------
    process : Diffusion
    map : Expr
        Y as a function of the state and time.
    equation : LinearSDE
        The equation of Y, with its start: the limit of the map as time goes to 0.
    """

    process: Diffusion
    map: sp.Expr
    equation: LinearSDE

    def state_of(self, y: sp.Symbol) -> sp.Expr:
        """The state as a function of Y and time."""
        (x,) = self.process.states
        left, right = self.process.domain.inf, self.process.domain.sup
        return invert(self.map, x, y, Piece(left, right, x).interior())


def reduce_to_linear(process: Diffusion, start: sp.Expr | None = None) -> LinearReduction:
    r"""Find the change of variable that makes a scalar equation linear.

    Parameters
    ----------
    process : Diffusion
        Scalar; the coefficients may depend on time, even singularly at 0.
    start : Expr, optional
        :math:`X_0`; a symbol :math:`x_0` by default. The start of Y is :math:`\lim_{t\to0} Y(x_0, t)`.

    Raises
    ------
    NoClosedForm
        If the condition fails; the message shows what is not 0.
    DerivationError
        For several states, no noise, or coefficients with kinks inside the domain.

    Examples
    --------
    >>> q, t, k = sp.Symbol("q", positive=True), sp.Symbol("t", positive=True), sp.Symbol("kappa", positive=True)
    >>> collapse = Diffusion((q,), [2*q*(1 - k*sp.sqrt(q))/t + 2*q], [[8*q**2]], sp.Interval.open(0, sp.oo), t)
    >>> w = reduce_to_linear(collapse, start=1/k**2)
    >>> w.map, w.equation.alpha, w.equation.beta, w.equation.delta, w.equation.start
    (t/sqrt(q), kappa, 2, -sqrt(2), 0)
    """
    process = _between_zeros(process, start)
    x, mu, phi = _smooth(process)
    begin = sp.Symbol("x_0", **_assumptions(x)) if start is None else exact_decimals(start)
    if process.domain.contains(begin) == sp.false:
        raise DerivationError(f"the start {begin} is outside the domain {process.domain}")
    for candidate in _candidates(process, x, mu, phi):
        found = _verify(process, candidate, x, phi, begin)
        if found is not None:
            return found
    if _second(process, x, mu, phi) == 0:
        raise NoClosedForm(
            f"the equation is linear in its Lamperti coordinate, but ∫ d{x}/({phi}) is not known in closed form for all parameters; "
            "give the parameters numbers"
        )
    raise NoClosedForm(
        "the equation is not the image of a linear one: neither D²b = 0 nor D(D³b/D²b) = 0, with b the drift of the Lamperti "
        f"coordinate; D²b = {_second(process, x, mu, phi)}"
    )


def _between_zeros(process: Diffusion, start: sp.Expr | None) -> Diffusion:
    """On the whole line, the process between the zeros of its noise around the start, around 0 where that is a symbol.

    A noise that vanishes at that point itself, as the linear equation's own may, leaves the process as it is.
    """
    begin = sp.S.Zero if start is None or not sp.sympify(start).is_number else sp.sympify(start)
    if process.domain != sp.S.Reals or len(process.states) != 1 or process.covariance.has(process.time):
        return process
    try:
        interval = moving_interval(process, begin)
    except DerivationError:
        return process
    return replace(process, domain=sp.Interval.open(*interval))


def _assumptions(x: sp.Symbol) -> dict[str, bool]:
    return {"positive": True} if x.is_positive else {"real": True}


def _smooth(process: Diffusion) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
    if len(process.states) != 1:
        raise DerivationError(
            f"reduction to a linear equation is for scalar diffusions, got {len(process.states)} states"
        )
    (x,), (mu,), (a,) = process.states, process.drift, process.covariance
    if a == 0:
        raise DerivationError("the diffusion is degenerate: its noise vanishes identically; it is a flow")
    low, high = process.domain.inf, process.domain.sup
    tag = sp.Dummy("tag")
    parts = [p for p in pieces(a + tag * mu, x) if p.left < high and p.right > low]
    if len(parts) != 1:
        cuts = ", ".join(str(p.right) for p in parts[:-1])
        raise DerivationError(
            f"the coefficients must be smooth on the domain, but have kinks at {x} = {cuts}; restrict the domain"
        )
    opened = sp.expand(parts[0].expr)
    mu, a = opened.coeff(tag, 1), opened.coeff(tag, 0)
    if a == 0:
        raise DerivationError(f"the diffusion is degenerate on its domain {process.domain}: the noise vanishes there")
    root = positive_root(a, x, low, high)
    radicals = [p for p in root.atoms(sp.Pow) if p.exp == sp.S.Half and p.has(x)]
    return x, mu, sp.sqrt(sp.expand(root**2)) if len(radicals) > 1 else root


def _flat(expr: sp.Expr) -> sp.Expr:
    """Lowest terms, with the identities between circular and hyperbolic functions."""
    opened = sp.powsimp(sp.expand(expr), deep=True)
    if opened.has(
        sp.functions.elementary.trigonometric.TrigonometricFunction,
        sp.functions.elementary.hyperbolic.HyperbolicFunction,
    ):
        opened = sp.expand(sp.trigsimp(sp.together(opened)))
    try:
        return sp.factor(sp.cancel(sp.together(opened)))
    except sp.PolynomialError:
        return sp.expand(opened)


def _along(phi: sp.Expr, x: sp.Symbol) -> Callable[[sp.Expr], sp.Expr]:
    return lambda f: _flat(phi * sp.diff(f, x))


def _slope(process: Diffusion, x: sp.Symbol, mu: sp.Expr, phi: sp.Expr) -> sp.Expr:
    """Db: D ∂_t z = φ ∂_t(1/φ) = −∂_t φ/φ."""
    return _flat(phi * sp.diff(mu / phi - sp.diff(phi, x) / 2, x) - sp.diff(phi, process.time) / phi)


def _second(process: Diffusion, x: sp.Symbol, mu: sp.Expr, phi: sp.Expr) -> sp.Expr:
    return _along(phi, x)(_slope(process, x, mu, phi))


def _candidates(process: Diffusion, x: sp.Symbol, mu: sp.Expr, phi: sp.Expr) -> list[sp.Expr]:
    """Maps that the condition allows; the state itself first, which is right if the equation is linear as it stands."""
    along = _along(phi, x)
    found = [x]
    second = _second(process, x, mu, phi)
    if second == 0:
        z = _coordinate(process, x, mu, phi)
        return [*found, z] if z is not None else found
    delta = _flat(-along(second) / second)
    residual = _flat(sp.diff(delta, process.time) + delta * _slope(process, x, mu, phi) + second)
    if delta.has(x) or residual != 0:
        return found
    _, moving = _flat(1 / second).as_independent(
        x, process.time, as_Add=False
    )  # a constant factor is a matter of units
    _, still = moving.as_independent(x, as_Add=False)  # one of time too, which may have no value at the start
    return [*found, moving, still]


def _coordinate(process: Diffusion, x: sp.Symbol, mu: sp.Expr, phi: sp.Expr) -> sp.Expr | None:
    """The Lamperti coordinate ∫ dx/φ, real on the domain; None where it is not known for all parameters."""
    from sympy.integrals.manualintegrate import manualintegrate

    z = manualintegrate(_flat(1 / phi), x)
    if z.has(sp.Integral, sp.Piecewise):
        z = sp.integrate(_flat(1 / phi), x)
    if z.has(sp.Integral, sp.Piecewise):
        return None
    form = LampertiForm(x, (process.domain.inf, process.domain.sup), mu, phi)
    turned = real_logs(sp.trigsimp(z), form)
    return turned.replace(
        lambda node: node.is_Pow and node.exp.is_negative and isinstance(node.base, sp.tan),
        lambda node: sp.cot(node.base.args[0]) ** -node.exp,
    )


def _verify(
    process: Diffusion, candidate: sp.Expr, x: sp.Symbol, phi: sp.Expr, begin: sp.Expr
) -> LinearReduction | None:
    """Read the linear equation off Itô's formula, and accept it only if nothing else is left."""
    t = process.time
    slope = sp.diff(candidate, x)
    drift, noise = _flat(generator(process, candidate)), _flat(phi * slope)
    beta, delta = (_flat(sp.diff(f, x) / slope) for f in (drift, noise))
    if beta.has(x) or delta.has(x):
        return None
    alpha, gamma = _flat(drift - beta * candidate), _flat(noise - delta * candidate)
    if alpha.has(x) or gamma.has(x):
        return None
    at_start = sp.limit(candidate.subs(x, begin), t, 0, "+") if candidate.has(t) else candidate.subs(x, begin)
    if not at_start.is_finite and at_start.is_finite is not None:
        return None
    return LinearReduction(process, candidate, LinearSDE(alpha, beta, gamma, delta, at_start, t))
