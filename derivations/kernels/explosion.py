r"""The finite depth at which a kernel becomes infinite.

A variance that moves by itself, :math:`\dot K = f(K)`, is finite for all times where f grows at most linearly or is negative far out; else,
where f is positive from the start on, it is infinite after :math:`\int_{K_0}^\infty \mathrm{d}K/f` (Osgood).
"""

from __future__ import annotations

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.calculus.far_out import far_out
from derivations.calculus.growth import degree
from derivations.errors import NoClosedForm
from derivations.kernels.flows import nngp
from derivations.kernels.riccati import mean_riccati

#: The start of a variance.
start = sp.Symbol("K_0", positive=True)


def explosion_depth(architecture: Recipe) -> sp.Expr:
    r"""The depth t at which the kernel of an infinitely wide network becomes infinite; oo if it never does.

    A variance that moves by itself is asked by Osgood's test. Where a mean moves too, as with ``identity`` inside, in
    :math:`\dot M = d(K)`, :math:`\dot K = e(M, K)` the ratio :math:`e/d` is a function of M alone, so K is its
    integral, a quadratic in M, and M solves a Riccati equation.

    Returns
    -------
    Expr
        In the parameters and ``K_0``, the first layer's variance; an integral where that has no closed form.

    Raises
    ------
    NoClosedForm
        If the flow is not of this form.

    Examples
    --------
    >>> from derivations import ResNet, ShrinkingResNet, gelu, identity, silu, symbols, tanh
    >>> explosion_depth(ShrinkingResNet(tanh, identity, width=sp.oo)), explosion_depth(ResNet(gelu, width=sp.oo))
    (oo, oo)
    >>> explosion_depth(ResNet(symbols.state**2, width=sp.oo))
    1/(3*K_0)
    >>> explosion_depth(ShrinkingResNet(silu, identity, width=sp.oo)).subs(sp.Symbol("K_0", positive=True), 1)
    8*sqrt(3)*pi/9
    """
    flow = nngp(architecture)
    if len(flow.states) > 1:
        return mean_riccati(*flow.states, *flow.drift)[0].explosion
    (k,), (velocity,) = flow.states, flow.drift
    if flow.time in velocity.free_symbols:
        raise NoClosedForm(f"dK/dt = {velocity} depends on the time {flow.time}; solve the flow numerically")
    bound = degree(velocity, [k])
    if bound is not None and bound <= 1:
        return sp.oo
    found = far_out(velocity, k)
    if found is None:
        raise NoClosedForm(f"how dK/dt = {velocity} grows with K is not known; solve the flow numerically")
    power, sign = found
    if power <= 1 or sign < 0:
        return sp.oo
    time = explosion_time(velocity, k)
    if time is None:
        raise NoClosedForm(
            f"dK/dt = {velocity} grows faster than linearly and is not seen to be positive from each start on; solve the flow numerically"
        )
    return time


def explosion_time(velocity: sp.Expr, s: sp.Symbol) -> sp.Expr | None:
    r""":math:`\int_{K_0}^\infty \mathrm{d}K/f` of a function that grows faster than linearly; None unless it is seen to be positive.

    It is closed for powers, and for polynomials whose factors are of degree 2 at most.

    Examples
    --------
    >>> s = sp.Symbol("s", positive=True)
    >>> explosion_time(s**2 / 2, s), explosion_time(s + s**2, s)
    (2/K_0, -log(K_0) + log(K_0 + 1))
    >>> explosion_time(sp.exp(2 * s), s)
    Integral(exp(-2*s), (s, K_0, oo))
    """
    c, own = velocity.as_independent(s, as_Add=False)
    base, power = own.as_base_exp()
    if base == s:
        return start ** (1 - power) / ((power - 1) * c) if c.is_positive else None
    if not _is_positive(velocity, s):
        return None
    time = sp.Integral(1 / velocity, (s, start, sp.oo))
    if velocity.free_symbols != {s} or not velocity.is_polynomial(s):
        return time
    if any(part.degree() > 2 for part, _ in sp.Poly(velocity, s).factor_list()[1]):
        return time
    whole = sp.integrate(sp.apart(1 / velocity, s), s)
    at_end = sp.limit(sp.expand_log(whole), s, sp.oo)
    closed = at_end - whole.subs(s, start)
    if closed.has(sp.Integral, sp.Limit, sp.oo, sp.nan):
        return time
    return sp.expand_log(closed.replace(sp.log, lambda a: sp.log(sp.factor(a))))  # one of many equal forms


def _is_positive(velocity: sp.Expr, s: sp.Symbol) -> bool:
    """Whether a function is positive at each s > 0; one that rises from a value that is not negative is."""
    if velocity.is_positive or (sp.diff(velocity, s).is_positive and velocity.subs(s, 0).is_nonnegative):
        return True
    if velocity.free_symbols != {s} or not velocity.is_polynomial(s):
        return False
    polynomial = sp.Poly(velocity, s)
    (lowest,) = polynomial.monoms()[-1]
    # a root at 0 is no root from a start on
    return bool(polynomial.LC() > 0 and sp.Poly(sp.cancel(velocity / s**lowest), s).count_roots(0, sp.oo) == 0)
