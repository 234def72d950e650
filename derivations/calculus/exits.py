r"""Where a scalar diffusion leaves an interval, when, and the law that it settles in: integrals of scale and speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import sympy as sp

from derivations.calculus.boundaries import classify
from derivations.calculus.exit_integrals import ExitIntegrals
from derivations.calculus.finiteness import Condition, roots, tidy_condition
from derivations.calculus.intervals import coefficients, zeros_between
from derivations.calculus.means import means_are_numbers
from derivations.calculus.pearson import pearson_density
from derivations.calculus.speed import speed_density
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm, brief
from derivations.piecewise import Piece

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


@means_are_numbers
def stationary(process: Diffusion, interval: Interval | None = None) -> Stationary:
    r"""The stationary law: the speed measure divided by its mass.

    *Derivation.* :math:`\mathcal{L}^* m = 0` with no flux, since :math:`m s\,\tfrac{a}{2} = 1`. It is reached iff m has finite mass and
    the process is recurrent: at each end :math:`\int s = \infty`, or the process reaches it and is brought back
    (:mod:`derivations.calculus.ends`); where it is held there before, the law has an atom at that end, which a density does not show.

    Raises
    ------
    NoClosedForm
        If it exists for no parameters, has an atom, or the mass is not elementary.

    Examples
    --------
    >>> v, k = sp.Symbol("V", positive=True), sp.Symbol("kappa", real=True)
    >>> law = stationary(Diffusion((v,), [k * v * (v - 1)], [[2 * v**2]], sp.Interval.open(0, sp.oo)))
    >>> law.condition, law.density
    (kappa < -1, V**(-kappa - 2)*(-kappa)**(-kappa - 1)*exp(V*kappa)/gamma(-kappa - 1))
    """
    x, _, _ = coefficients(process)
    ends = interval if interval is not None else (process.domain.inf, process.domain.sup)
    _require_one_piece(process, *ends, Piece(*ends, x).interior())
    both = classify(process, interval)
    condition = tidy_condition(sp.And(*(end.recurrent for end in both)))
    held = [end.point for end in both if sp.And(end.attainable, end.sticky, condition) != sp.false]
    if held:
        raise NoClosedForm(
            f"the process is held at {held[0]} for times of positive length, so that its stationary law has an atom there; "
            "solve_fokker_planck over a long time gives both"
        )
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
        raise NoClosedForm(f"the mass of the speed measure, ∫ {brief(density)} d{x}, is not elementary")
    mass = mass.replace(
        sp.Abs, lambda u: sp.Abs(sp.expand(u / sp.I) if u.has(sp.I) else u)
    )  # Bessel functions turned by i
    return Stationary(sp.powsimp(density / mass.subs(p, back)), condition)


def _require_one_piece(process: Diffusion, low: sp.Expr, high: sp.Expr, inside: sp.Expr) -> None:
    """Scale and speed belong to an interval without zeros of the noise: beyond one they are those of another process."""
    if zeros := zeros_between(process, low, high, inside):
        raise DerivationError(
            f"the noise vanishes at {process.states[0]} = {', '.join(map(str, zeros))}, between {low} and {high}: the process does not cross "
            "it by its noise; give ends between which it does not vanish"
        )


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


@means_are_numbers
def hitting_probability(process: Diffusion, start: sp.Expr, low: sp.Expr, high: sp.Expr) -> sp.Expr:
    r"""The probability :math:`S(\ell, x)/S(\ell, h)` to come to ``high`` before ``low``.

    *Derivation.* The scale function is harmonic, :math:`\mathcal{L}S = 0`, so :math:`S(X)` stopped at the ends is a bounded martingale.
    If S is infinite at one end only, the process comes to the other.

    Parameters
    ----------
    start, low, high : Expr
        low < start < high; an end of the domain may stand for either, and is then tended to.

    Returns
    -------
    Expr
        By cases where the answer depends on the parameters; nan for those at which neither end is tended to.

    Raises
    ------
    NoClosedForm
        If neither end is tended to, for no parameters.
    DerivationError
        If a level is outside the domain, or the three are not in order.

    Examples
    --------
    >>> x, mu = sp.Symbol("x", real=True), sp.Symbol("mu", real=True)
    >>> hitting_probability(Diffusion((x,), [mu], [[1]]), sp.S.Zero, -sp.oo, sp.S.One)
    Piecewise((exp(2*mu), mu < 0), (1, True))
    >>> hitting_probability(Diffusion((x,), [0], [[1]]), sp.S.One, sp.S.Zero, sp.Integer(3))
    1/3
    """
    start, low, high = _levels(process, start, low, high)
    below, above = (end.attracting for end in classify(process, (low, high)))
    return _by_cases(
        (process, start, low, high),
        [
            (sp.And(below, above), lambda integrals: integrals.probability_up),
            (sp.And(sp.Not(below), above), sp.S.One),
            (sp.And(below, sp.Not(above)), sp.S.Zero),
        ],
        "neither end is tended to: the process is recurrent and comes to no end",
    )


@means_are_numbers
def mean_exit_time(process: Diffusion, start: sp.Expr, low: sp.Expr, high: sp.Expr) -> sp.Expr:
    r"""The mean time until the process leaves (low, high): the u with :math:`\mathcal{L}u = -1` that vanishes where it is left.

    *Derivation.* With :math:`T' = sM`, :math:`M' = m`, :math:`\mathcal{L}T = 1`; so :math:`P\,T(h) + (1 - P)\,T(\ell) - T(x)`, P the
    probability to leave at the top. If the process only leaves there and comes back from the other end, M vanishes at that end and
    :math:`u = \int_x^h s M`, infinite if the speed measure is. It is infinite too if an end is tended to and never reached.

    Parameters
    ----------
    start, low, high : Expr
        low < start < high. An end of the domain may stand for either: it ends the time if it is reached, also where the process
        would be reflected.

    Returns
    -------
    Expr
        By cases where the answer depends on the parameters. Where an integral is not known in closed form it stands, and
        ``.n()`` evaluates it.

    Raises
    ------
    DerivationError
        If a level is outside the domain, or the three are not in order.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> sp.factor(mean_exit_time(Diffusion((x,), [0], [[1]]), x, sp.Integer(-1), sp.Integer(2)))
    -(x - 2)*(x + 1)
    >>> mean_exit_time(Diffusion((x,), [-x], [[2]]), sp.S.Zero, -sp.S.One, sp.S.One)
    hyper((1, 1), (3/2, 2), 1/2)/2
    """
    start, low, high = _levels(process, start, low, high)
    below, above = classify(process, (low, high))
    up = sp.And(sp.Not(below.attracting), below.light, above.attainable)
    down = sp.And(sp.Not(above.attracting), above.light, below.attainable)
    both = sp.And(below.attainable, above.attainable)
    return _by_cases(
        (process, start, low, high),
        [
            (both, lambda integrals: integrals.mean_time()),
            (up, lambda integrals: integrals.mean_time_one_sided(up=True)),
            (down, lambda integrals: integrals.mean_time_one_sided(up=False)),
            (sp.Not(sp.Or(both, up, down)), sp.oo),
        ],
        "no case applies",
    )


def _levels(process: Diffusion, *levels: sp.Expr) -> tuple[sp.Expr, ...]:
    start, low, high = (sp.sympify(level) for level in levels)
    for end in (low, high):
        inside = process.domain.closure.contains(end) if end.is_finite else sp.true
        if inside == sp.false:
            raise DerivationError(f"the level {end} is outside the domain {process.domain}")
    _require_one_piece(process, low, high, start)
    if any(sp.sympify(wrong) == sp.true for wrong in (low >= high, start < low, start > high)):
        raise DerivationError(f"expected low < start < high, got {low}, {start}, {high}")
    return start, low, high


#: A process, its start, and the two levels.
_Question: TypeAlias = tuple[Diffusion, sp.Expr, sp.Expr, sp.Expr]
_Method: TypeAlias = Callable[[ExitIntegrals], sp.Expr]


def _by_cases(question: _Question, cases: Sequence[tuple[Condition, _Method | sp.Expr]], otherwise: str) -> sp.Expr:
    """The answer of each case whose condition can hold; refused with the reason where none can."""
    found: list[tuple[sp.Expr, Condition]] = []
    for condition, answer in cases:
        condition = tidy_condition(condition)
        if condition == sp.false:
            continue
        p = sp.Dummy("p", positive=True)
        there, back = _with_sign(condition, p)
        branches = [(answer, sp.true)] if isinstance(answer, sp.Expr) else _branches(_at(question, there), answer)
        for value, special in branches:
            where = tidy_condition(sp.And(condition, special.subs(p, back)))
            if where != sp.false:
                found.append((value.subs(p, back), where))
    if not found:
        raise NoClosedForm(otherwise)
    return sp.Piecewise(*found)


def _branches(question: _Question, method: _Method) -> list[tuple[sp.Expr, Condition]]:
    """The answer for almost all parameters, after those at which an integral is another function."""
    integrals = ExitIntegrals.of(*question)
    generic = method(integrals)
    special = dict.fromkeys(pair for value in sorted(integrals.nonzero, key=str) for pair in roots(value))
    found = []
    for parameter, root in special:
        for value, condition in _branches(_at(question, {parameter: root}), method):
            found.append((value, sp.And(sp.Eq(parameter, root), condition)))
    return [*found, (generic, sp.true)]


def _at(question: _Question, values: Mapping[sp.Symbol, sp.Expr]) -> _Question:
    process, *levels = question
    if not values:
        return question
    there = Diffusion(
        process.states, process.drift.subs(values), process.covariance.subs(values), process.domain, process.time
    )
    start, low, high = (level.subs(values) for level in levels)
    return there, start, low, high
