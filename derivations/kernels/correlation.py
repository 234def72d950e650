r"""Kernels of infinitely wide networks: the covariance flow in closed form, and in terms of the correlation."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.binding import Binding
from derivations.diffusion import Flow
from derivations.errors import NoClosedForm
from derivations.symbols import correlation, time


def solve_variance(flow: Flow) -> sp.Expr:
    r"""Solve the autonomous equation of one input's variance by separation of variables.

    :math:`\dot K = v(K)` with :math:`K(0) = K_0` is :math:`\int_{K_0}^{K} \mathrm{d}y/v(y) = t`.

    Returns
    -------
    Expr
        K(t) in ``symbols.time`` and the symbol ``K_0``.

    Raises
    ------
    NoClosedForm
        If the integral or its inverse is not elementary.

    Examples
    --------
    >>> from derivations import ResNet, relu, width_limit
    >>> solve_variance(width_limit(ResNet(relu, width=sp.oo)))
    K_0*exp(t/2)
    """
    (k,), (velocity,) = flow.states, flow.drift
    start = sp.Symbol(f"{k.name}_0", positive=True)
    if not velocity.has(k):
        return start + velocity * time
    rate = sp.cancel(velocity / k)
    if not rate.has(k):
        return start * sp.exp(rate * time)
    if velocity.has(Binding):  # a mean without closed form
        raise NoClosedForm(f"dK/dt = {velocity} has no elementary solution; integrate it numerically")
    try:
        elapsed = sp.integrate(sp.cancel(1 / velocity), k)
        solutions = [] if elapsed.has(sp.Integral) else sp.solve(elapsed - elapsed.subs(k, start) - time, k)
    except NotImplementedError:
        solutions = []
    for solution in solutions:
        if sp.cancel(sp.expand(solution.subs(time, 0) - start)) == 0:
            return solution
    raise NoClosedForm(f"dK/dt = {velocity} has no elementary solution; integrate it numerically")


@dataclass(frozen=True)
class CorrelationFlow:
    r"""The flow of :math:`\rho = K_{12}/\sqrt{K_{11}K_{22}}`, and the variables that it still depends on.

    Parameters
    ----------
    velocity : Expr
        :math:`\dot\rho` in ``symbols.correlation`` and, unless it closes, the variances.
    closed : bool
        Whether :math:`\rho` has an equation of its own, as for every positively homogeneous activation.
    """

    velocity: sp.Expr
    closed: bool


def correlation_flow(flow: Flow) -> CorrelationFlow:
    r"""Change variables in the flow of two inputs' covariance.

    The chain rule on :math:`\rho = K_{12}/\sqrt{K_{11}K_{22}}`, then :math:`K_{12} = \rho\sqrt{K_{11}K_{22}}`.

    Examples
    --------
    >>> from derivations import ResNet, relu, width_limit
    >>> correlation_flow(width_limit(ResNet(relu, width=sp.oo, inputs=2))).closed
    True
    """
    first, cross, second = flow.states
    rho = cross / sp.sqrt(first * second)
    velocity = sp.Add(*(sp.diff(rho, s) * v for s, v in zip(flow.states, flow.drift, strict=True)))
    p, q = sp.Dummy(positive=True), sp.Dummy(positive=True)  # standard deviations: square roots become polynomials
    opened = velocity.subs({cross: correlation * p * q, first: p**2, second: q**2}, simultaneous=True)
    root = sp.sqrt(1 - correlation**2)
    opened = opened.replace(
        lambda e: e.is_Pow and e.exp.is_Rational and e.exp.q == 2 and e.base.has(p),
        lambda e: _factored_root(e, p, q),
    )
    reduced = sp.expand(sp.powsimp(sp.expand(sp.factor_terms(opened))))
    reduced = sp.factor_terms(sp.collect(sp.expand(reduced), root))
    back = reduced.subs({p: sp.sqrt(first), q: sp.sqrt(second)})
    return CorrelationFlow(back, not (back.free_symbols & set(flow.states)))


def _factored_root(power: sp.Expr, p: sp.Symbol, q: sp.Symbol) -> sp.Expr:
    """A half-integer power with the factors p² and q² taken out of the root."""
    content = sp.factor(power.base)
    outside, inside = sp.S.One, sp.S.One
    for base, exponent in content.as_powers_dict().items():
        if base in (p, q):
            outside *= base ** (exponent * power.exp)
        else:
            inside *= base**exponent
    return outside * sp.expand(inside) ** power.exp
