r"""The densities of scale and of speed of a scalar diffusion.

For :math:`\mathrm{d}X = \mu\,\mathrm{d}t + \sqrt a\,\mathrm{d}B` the generator is
:math:`\mathcal{L} = \tfrac12 a\,\partial_x^2 + \mu\,\partial_x = \frac{1}{m}\,\partial_x\,\frac{1}{s}\,\partial_x` with

.. math:: s(x) = \exp\Big(-\int^x \frac{2\mu}{a}\Big), \qquad m(x) = \frac{2}{a(x)\,s(x)} .

In the coordinate :math:`S = \int s` the process has no drift, so S decides where it goes; the measure m says how long it stays.
"""

from __future__ import annotations

import sympy as sp
from sympy.functions.elementary.hyperbolic import HyperbolicFunction

from derivations.calculus.finiteness import reduced
from derivations.calculus.intervals import coefficients
from derivations.calculus.power_exponential import antiderivative
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm, brief
from derivations.piecewise import pieces


def coefficients_on(process: Diffusion, interval: tuple[sp.Expr, sp.Expr]) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
    """State, drift and variance on an interval in which one formula holds.

    Raises
    ------
    DerivationError
        If the coefficients have kinks inside it.
    """
    x, mu, a = coefficients(process)
    tag = sp.Dummy("tag")
    inside = [p for p in pieces(a + tag * mu, x) if p.left < interval[1] and p.right > interval[0]]
    if len(inside) != 1:
        cuts = ", ".join(str(p.right) for p in inside[:-1])
        raise DerivationError(
            f"one formula must hold on the interval, but the coefficients have kinks at {x} = {cuts}; cut it there"
        )
    opened = sp.expand(inside[0].expr)
    return x, opened.coeff(tag, 1), opened.coeff(tag, 0)


def scale_density(process: Diffusion, interval: tuple[sp.Expr, sp.Expr]) -> sp.Expr:
    r"""The density :math:`s = \exp(-\int 2\mu/a)` of the scale function, up to a constant factor.

    Examples
    --------
    >>> v, k = sp.Symbol("V", positive=True), sp.Symbol("kappa", real=True)
    >>> scale_density(Diffusion((v,), [k * v * (v - 1)], [[2 * v**2]], sp.Interval.open(0, sp.oo)), (sp.S.Zero, sp.oo))
    V**kappa*exp(-V*kappa)
    """
    x, mu, a = coefficients_on(process, interval)
    p, at, back = _positive_coordinate(x, interval)
    ratio = reduced((2 * mu / a).subs(x, at)) * sp.diff(at, p)
    exponent = _integral(ratio, p)
    if exponent is None:
        raise NoClosedForm(
            f"the scale density needs ∫ 2μ/a with 2μ/a = {brief(2 * mu / a)}, of which no antiderivative is known"
        )
    written = sp.exp(sp.expand(-exponent))
    hyperbolic = {node: node.rewrite(sp.exp) for node in written.atoms(HyperbolicFunction)}
    density = sp.powsimp(written.xreplace(hyperbolic))
    return sp.powdenest(_split_exponential(density)).subs(p, back)


def _integral(ratio: sp.Expr, p: sp.Symbol) -> sp.Expr | None:
    """An antiderivative; with parameters by SymPy's cases, without them where no long search is needed."""
    if ratio.free_symbols - {p} or ratio.is_rational_function(p):
        found = sp.integrate(sp.expand(sp.apart(ratio, p) if ratio.is_rational_function(p) else ratio), p)
        return None if found.has(sp.Integral) else found
    return antiderivative(ratio, p, set())


def speed_density(process: Diffusion, interval: tuple[sp.Expr, sp.Expr]) -> sp.Expr:
    r"""The density :math:`m = 2/(a s)` of the speed measure, with the s of :func:`scale_density`."""
    _, _, a = coefficients_on(process, interval)
    return sp.powsimp(2 / (a * scale_density(process, interval)))


def _split_exponential(density: sp.Expr) -> sp.Expr:
    """exp(c log x + …) as a power times an exponential."""
    if not isinstance(density, sp.exp):
        return density
    factors = []
    for term in sp.Add.make_args(sp.expand_log(density.args[0])):
        logs = [f for f in sp.Mul.make_args(term) if isinstance(f, sp.log)]
        factors.append(logs[0].args[0] ** (term / logs[0]) if len(logs) == 1 else sp.exp(term))
    return sp.Mul(*[f for f in factors if not isinstance(f, sp.exp)]) * sp.exp(
        sp.Add(*[f.args[0] for f in factors if isinstance(f, sp.exp)])
    )


def _positive_coordinate(x: sp.Symbol, interval: tuple[sp.Expr, sp.Expr]) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
    """A coordinate with the sign of the interval, x in it, and it in x: logarithms then need no absolute value."""
    left, right = interval
    p = sp.Dummy("p", positive=True)
    if left.is_finite:
        return p, left + p, x - left
    if right.is_finite:
        return p, right - p, right - x
    q = sp.Dummy("q", real=True)
    return q, q, x
