r"""Where a scalar diffusion leaves an interval, when, and the law that it settles in: integrals of scale and speed."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.calculus.boundaries import End, classify, coefficients, scale_density, speed_density
from derivations.calculus.finiteness import Condition, tidy_condition
from derivations.calculus.pearson import pearson_density
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm

Interval = tuple[sp.Expr, sp.Expr]


@dataclass(frozen=True)
class Stationary:
    r"""A stationary law.

    Parameters
    ----------
    density : Expr
        In the state, of mass 1.
    condition : Boolean
        The parameters for which it exists: the process is recurrent and the speed measure finite.
    """

    density: sp.Expr
    condition: Condition


def stationary(process: Diffusion, interval: Interval | None = None) -> Stationary:
    r"""The stationary law: the speed measure divided by its mass.

    *Derivation.* :math:`\mathcal{L}^* m = 0` with no flux, since :math:`m s\,\tfrac{a}{2} = 1`. It is reached iff m has finite mass and
    the process is recurrent: at each end :math:`\int s = \infty`, or the process reaches it and is brought back
    (:attr:`derivations.calculus.boundaries.End.returns`).

    Raises
    ------
    NoClosedForm
        If it exists for no parameters, or the mass is not elementary.

    Examples
    --------
    >>> v, k = sp.Symbol("V", positive=True), sp.Symbol("kappa", real=True)
    >>> law = stationary(Diffusion((v,), [k * v * (v - 1)], [[2 * v**2]], sp.Interval.open(0, sp.oo)))
    >>> law.condition, law.density
    (kappa < -1, V**(-kappa - 2)*(-kappa)**(-kappa - 1)*exp(V*kappa)/gamma(-kappa - 1))
    """
    x, _, _ = coefficients(process)
    ends = interval if interval is not None else (process.domain.inf, process.domain.sup)
    condition = tidy_condition(sp.And(*map(_recurrent, classify(process, interval))))
    if condition == sp.false:
        raise NoClosedForm("there is no stationary law: the process is not recurrent, or its speed measure is infinite")
    shaped = _shaped(process, ends)
    if shaped is not None:
        return Stationary(sp.powsimp(shaped), condition)
    density = speed_density(process, ends)
    p = sp.Dummy("p", positive=True)
    there, back = _with_sign(condition, p)
    mass = sp.integrate(density.subs(there), (x, *ends))
    if mass.has(sp.Integral, sp.Piecewise):
        raise NoClosedForm(f"the mass of the speed measure, ∫ {density} d{x}, is not elementary")
    return Stationary(sp.powsimp(density / mass.subs(p, back)), condition)


def _recurrent(end: End) -> Condition:
    back = sp.And(end.attainable, end.returns)
    return sp.And(end.light, sp.Or(sp.Not(end.attracting), back))


def _shaped(process: Diffusion, interval: Interval) -> sp.Expr | None:
    """The density where the coefficients hold one formula, and its shape is known."""
    x, mu, a = coefficients(process)
    if (mu + a).has(sp.Piecewise, sp.Abs, sp.Max, sp.Min, sp.sign, sp.Heaviside):
        return None
    return pearson_density((2 * mu - sp.diff(a, x)) / a, x, interval)


def _with_sign(condition: Condition, p: sp.Dummy) -> tuple[dict[sp.Symbol, sp.Expr], sp.Expr]:
    """A parameter beyond a bound as the bound plus a positive number, so that integrals need no case distinction."""
    if isinstance(condition, sp.StrictLessThan | sp.StrictGreaterThan) and condition.lhs.is_Symbol:
        parameter, bound = condition.lhs, condition.rhs
        sign = 1 if isinstance(condition, sp.StrictGreaterThan) else -1
        return {parameter: bound + sign * p}, sign * (parameter - bound)
    return {}, p


def hitting_probability(process: Diffusion, start: sp.Expr, low: sp.Expr, high: sp.Expr) -> sp.Expr:
    r"""The probability :math:`S(\ell, x)/S(\ell, h)` to come to ``high`` before ``low``.

    *Derivation.* The scale function is harmonic, :math:`\mathcal{L}S = 0`, so :math:`S(X)` stopped at the ends is a bounded martingale.

    Parameters
    ----------
    start, low, high : Expr
        low < start < high; an end of the domain may stand for either if it is attracting, and is then tended to.

    Examples
    --------
    >>> x, mu = sp.Symbol("x", real=True), sp.Symbol("mu", positive=True)
    >>> hitting_probability(Diffusion((x,), [mu], [[1]]), sp.S.Zero, -sp.oo, sp.S.One)
    1
    >>> hitting_probability(Diffusion((x,), [0], [[1]]), sp.S.One, sp.S.Zero, sp.Integer(3))
    1/3
    """
    x, s = _scale(process, low, high)
    _require_between(start, low, high)
    ends = classify(process, (low, high))
    infinite = [not end.point.is_finite and end.attracting != sp.true for end in ends]
    if all(infinite):
        raise NoClosedForm("neither end is tended to: the process is recurrent and comes to no end")
    if infinite[0]:
        return sp.S.One
    if infinite[1]:
        return sp.S.Zero
    below, whole = _integral(s, x, low, start), _integral(s, x, low, high)
    return sp.cancel(sp.powsimp(below / whole)) if not whole.has(sp.Integral) else below / whole


def mean_exit_time(process: Diffusion, start: sp.Expr, low: sp.Expr, high: sp.Expr) -> sp.Expr:
    r"""The mean time until the process leaves (low, high): the u with :math:`\mathcal{L}u = -1` that vanishes at both.

    *Derivation.* With :math:`P = S(\ell, x)/S(\ell, h)`, Green's function gives

    .. math:: u(x) = P \int_x^h S(y, h)\,m(y)\,\mathrm{d}y + (1 - P)\int_\ell^x S(\ell, y)\,m(y)\,\mathrm{d}y .

    Parameters
    ----------
    start, low, high : Expr
        Finite, low < start < high, the noise positive on [low, high].

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> sp.factor(mean_exit_time(Diffusion((x,), [0], [[1]]), x, sp.Integer(-1), sp.Integer(2)))
    -(x - 2)*(x + 1)
    """
    x, s = _scale(process, low, high)
    _require_between(start, low, high)
    if not (sp.sympify(low).is_finite and sp.sympify(high).is_finite):
        raise DerivationError(f"a mean exit time needs finite ends, got ({low}, {high})")
    m = speed_density(process, (low, high))
    y = sp.Dummy("y", positive=x.is_positive, real=True)
    whole, below = _integral(s, x, low, high), _integral(s, x, low, start)
    to_low, to_high = _integral(s, x, low, y), _integral(s, x, y, high)
    speed = m.subs(x, y)
    right = _integral(sp.expand(to_high * speed), y, start, high)
    left = _integral(sp.expand(to_low * speed), y, low, start)
    return (below * right + (whole - below) * left) / whole


def _scale(process: Diffusion, low: sp.Expr, high: sp.Expr) -> tuple[sp.Symbol, sp.Expr]:
    x, _, _ = coefficients(process)
    for end in (low, high):
        inside = process.domain.closure.contains(end) if sp.sympify(end).is_finite else sp.true
        if inside == sp.false:
            raise DerivationError(f"the level {end} is outside the domain {process.domain}")
    return x, scale_density(process, (sp.sympify(low), sp.sympify(high)))


def _require_between(start: sp.Expr, low: sp.Expr, high: sp.Expr) -> None:
    if sp.sympify(low >= high) == sp.true or sp.sympify(start < low) == sp.true or sp.sympify(start > high) == sp.true:
        raise DerivationError(f"expected low < start < high, got {low}, {start}, {high}")


def _integral(function: sp.Expr, x: sp.Symbol, low: sp.Expr, high: sp.Expr) -> sp.Expr:
    """An integral, evaluated where SymPy can and left as it is where not."""
    dummy = sp.Dummy("y", positive=x.is_positive, real=True)
    return sp.integrate(function.subs(x, dummy), (dummy, low, high))
