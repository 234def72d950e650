r"""The Riccati equation with constant coefficients, and where one input's mean solves one."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.errors import NoClosedForm


@dataclass(frozen=True)
class Riccati:
    r"""The solution of :math:`\dot m = \alpha m^2 + \beta m + \gamma`, :math:`m(0) = m_0`, with :math:`\alpha \ne 0`.

    *Derivation.* With :math:`y = m + \beta/2\alpha` and :math:`w = \alpha\gamma - \beta^2/4`, :math:`\dot y = \alpha y^2 + w/\alpha`. Let
    :math:`T(t) = \tan(\sqrt w\,t)/\sqrt w`, which solves :math:`\dot T = 1 + wT^2` and is :math:`t` or
    :math:`\tanh(\sqrt{-w}\,t)/\sqrt{-w}` for :math:`w = 0` or :math:`w < 0`. The addition theorem gives
    :math:`y = (y_0 + wT/\alpha)/(1 - \alpha y_0 T)`. It explodes when :math:`\alpha y_0 T = 1`.

    Parameters
    ----------
    square, linear, constant, start : Expr
        :math:`\alpha, \beta, \gamma, m_0`.

    Examples
    --------
    >>> Riccati(sp.S.One, sp.S.Zero, sp.S.One, sp.S.Zero).explosion
    pi/2
    """

    square: sp.Expr
    linear: sp.Expr
    constant: sp.Expr
    start: sp.Expr

    @property
    def discriminant(self) -> sp.Expr:
        r"""w, positive if the right side has no real root."""
        return sp.expand(self.square * self.constant - self.linear**2 / 4)

    @property
    def steepness(self) -> sp.Expr:
        r""":math:`\alpha y_0`, half the slope of the right side at the start."""
        return sp.expand(self.square * self.start + self.linear / 2)

    def at(self, t: sp.Expr) -> sp.Expr:
        """The solution before it explodes."""
        w, s = self.discriminant, self.steepness
        k, decay = sp.sqrt(w), sp.sqrt(-w)
        tangent = _by_sign(w, sp.tan(k * t) / k, t, sp.tanh(decay * t) / decay)
        return (s + w * tangent) / (self.square * (1 - s * tangent)) - self.linear / (2 * self.square)

    @property
    def explosion(self) -> sp.Expr:
        r"""The first time at which the solution is infinite, or oo: the first root of :math:`\alpha y_0 T(t) = 1`."""
        w, s = self.discriminant, self.steepness
        k, decay = sp.sqrt(w), sp.sqrt(-w)
        # cot(k t) = s/k has one root with k t in (0, π); tanh(κ t) = κ/s has one if s > κ
        turning = (sp.pi / 2 - sp.atan(s / k)) / k
        bounded = turning if w.is_positive else _if_positive(s - decay, sp.atanh(decay / s) / decay)
        return _by_sign(w, turning, _if_positive(s, 1 / s) if s != 0 else sp.oo, bounded)


def _by_sign(w: sp.Expr, positive: sp.Expr, zero: sp.Expr, negative: sp.Expr) -> sp.Expr:
    if w.is_positive:
        return positive
    if w.is_zero:
        return zero
    if w.is_negative:
        return negative
    return sp.Piecewise((positive, w > 0), (negative, w < 0), (zero, True))


def _if_positive(condition: sp.Expr, value: sp.Expr) -> sp.Expr:
    """A time if the condition is positive, else never."""
    if condition.is_positive:
        return value
    return sp.oo if condition.is_nonpositive else sp.Piecewise((value, condition > 0), (sp.oo, True))


def mean_riccati(m: sp.Symbol, k: sp.Symbol, mean_speed: sp.Expr, speed: sp.Expr) -> tuple[Riccati, sp.Expr]:
    r"""M's Riccati equation and K as a function of M, from the flow of one input's mean and second moment.

    Raises
    ------
    NoClosedForm
        If :math:`\dot K/\dot M` depends on K, or the equation of M is no quadratic.
    """
    start = sp.Symbol(f"{k.name}_0", positive=True)
    ratio = sp.cancel(speed / mean_speed)
    second = start + sp.integrate(ratio, (m, 0, m)) if not ratio.has(k) else None
    closed = sp.expand(mean_speed.subs(k, second)) if second is not None else mean_speed
    if second is None or not closed.is_polynomial(m) or sp.degree(closed, m) != 2:
        raise NoClosedForm(
            f"dM/dt = {mean_speed}, dK/dt = {speed} do not reduce to a Riccati equation; solve the flow numerically"
        )
    alpha, beta, gamma = (closed.coeff(m, power) for power in (2, 1, 0))
    return Riccati(alpha, beta, gamma, sp.S.Zero), second
