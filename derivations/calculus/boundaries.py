r"""What a scalar diffusion does at the ends of its interval: Feller's classes, explosion.

With the densities s of scale and m of speed (:mod:`derivations.calculus.speed`), and y the distance from the end (or 1/x from an infinite one),

.. math:: \Sigma = \int_0 \Big(\int_y m\Big) s\,\mathrm{d}y, \qquad N = \int_0 \Big(\int_y s\Big) m\,\mathrm{d}y

are finite iff the end is reached in finite time, and iff the process can start there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import sympy as sp

from derivations.binding import Binding
from derivations.calculus.ends import AtEnd
from derivations.calculus.finiteness import (
    Condition,
    converges,
    leading,
    reduced,
    roots,
    tidy_condition,
    without_flat_terms,
)
from derivations.calculus.intervals import coefficients
from derivations.calculus.means import means_are_numbers
from derivations.calculus.size import factored
from derivations.constants import Whole, named
from derivations.diffusion import Boundary, Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.piecewise import Piece, pieces
from derivations.piecewise.terms import is_zero

_SEEN = sp.Rational(1, 10**6)  # a variance that is no zero whose digits have cancelled


@dataclass(frozen=True)
class End:
    r"""One end of the interval: where it is, and conditions in the parameters for what happens there.

    Parameters
    ----------
    point : Expr
        A number or an infinity.
    attracting : Boolean
        :math:`\int s < \infty`: the process tends to this end with positive probability (without necessarily reaching it).
    attainable : Boolean
        :math:`\Sigma < \infty`: it reaches the end in finite time with positive probability.
    enterable : Boolean
        :math:`N < \infty`: it can be started at the end.
    light : Boolean
        :math:`\int m < \infty`: the speed measure is finite near the end.
    near : Boolean
        :math:`\int \mathrm{d}x/\sqrt a < \infty`: the end is at a finite distance in the Lamperti coordinate.
    returns, sticky : Boolean
        Whether the equation itself brings the process back from the end, and whether it is held there for a time before: as
        :mod:`derivations.calculus.ends` says.
    """

    point: sp.Expr
    attracting: Condition
    attainable: Condition
    enterable: Condition
    light: Condition
    near: Condition
    returns: Condition
    sticky: Condition = sp.false

    @property
    def recurrent(self) -> Condition:
        """The process comes back from here for ever, in a time of finite mean: what a stationary law asks of both ends."""
        back = sp.And(self.attainable, self.returns)
        return sp.And(self.light, sp.Or(sp.Not(self.attracting), back))

    @property
    def kinds(self) -> dict[str, Condition]:
        """Feller's classes that can occur, each with the parameters for which it does."""
        reach, enter = self.attainable, self.enterable
        every = {
            "regular": sp.And(reach, enter),
            "exit": sp.And(reach, sp.Not(enter)),
            "entrance": sp.And(sp.Not(reach), enter),
            "natural": sp.And(sp.Not(reach), sp.Not(enter)),
        }
        conditions = {kind: tidy_condition(condition) for kind, condition in every.items()}
        return {kind: condition for kind, condition in conditions.items() if condition != sp.false}

    @property
    def kind(self) -> str:
        """Feller's class, where it does not depend on parameters.

        Raises
        ------
        DerivationError
            If it does; the message lists the cases.
        """
        for kind, condition in self.kinds.items():
            if condition == sp.true:
                return kind
        cases = ", ".join(f"{kind} if {condition}" for kind, condition in self.kinds.items())
        raise DerivationError(
            f"the class of the end {self.point} depends on the parameters: {cases}; substitute numbers"
        )

    @property
    def boundary(self) -> Boundary:
        """The end as a :class:`~derivations.diffusion.Boundary`."""
        return Boundary(self.point, self.attainable == sp.true, self.kind)


@lru_cache(maxsize=128)
@means_are_numbers
def classify(process: Diffusion, interval: tuple[sp.Expr, sp.Expr] | None = None) -> tuple[End, End]:
    r"""Feller's classification of the two ends of an interval, as conditions in the parameters.

    All four integrals are decided by logarithmic derivatives (:func:`~derivations.calculus.finiteness.converges`). Those of s
    and m are :math:`-2\mu/a` and :math:`2\mu/a - a'/a`. For the double integrals let f be the outer density and g the inner
    one, :math:`fg = 2/a`. If :math:`\int g < \infty` the inner integral tends to a constant, and only f matters. If not, by
    l'Hôpital :math:`\int_y g \sim g/|g'/g + 1/y|` up to a constant factor, and the integrand is
    :math:`2/(a\,|g'/g + 1/y|)`: no exponential is left.

    Parameters
    ----------
    process : Diffusion
        Scalar, time-homogeneous. The coefficients may have kinks; near each end one formula must hold.
    interval : tuple of Expr, optional
        Ends of an open interval on which the noise does not vanish; the domain by default.

    Returns
    -------
    tuple of End
        The left and the right end.

    Examples
    --------
    >>> v, k = sp.Symbol("V", positive=True), sp.Symbol("kappa", real=True)
    >>> V = Diffusion((v,), [k * v * (v - 1)], [[2 * v**2]], sp.Interval.open(0, sp.oo))
    >>> left, right = classify(V)
    >>> left.kinds, right.kinds
    ({'natural': True}, {'exit': kappa > 0, 'entrance': kappa < 0, 'natural': Eq(kappa, 0)})
    """
    x, mu, a = coefficients(process)
    if any(x in mean.free_symbols for mean in (mu + a).atoms(Binding)):
        raise NoClosedForm(
            f"the coefficients hold a mean without closed form in {x}, whose growth at the ends is not known"
        )
    left, right = map(named, interval if interval is not None else (process.domain.inf, process.domain.sup))
    tag = sp.Dummy("tag")
    parts = [p for p in pieces(a + tag * mu, x) if p.left < right and p.right > left]
    return _end(x, parts[0], tag, left, True), _end(x, parts[-1], tag, right, False)


def _end(x: sp.Symbol, part: Piece, tag: sp.Symbol, point: sp.Expr, is_left: bool) -> End:
    opened = sp.expand(part.expr)
    drift, variance = opened.coeff(tag, 1), opened.coeff(tag, 0)
    if _is_regular(x, drift, variance, point):
        return End(point, *(sp.true,) * 5, sp.false, sp.false)
    y, mu, a = _towards(x, drift, variance, point, is_left)
    if a == 0:
        raise DerivationError(
            f"the noise vanishes near the end {point}: the process is frozen or a flow there, not a diffusion"
        )
    facts = _facts(y, mu, a, point.is_finite)
    # at special parameters a leading term vanishes and the next one decides
    for p, root in _special(y, mu, a):
        there = _facts(y, reduced(mu.subs(p, root)), reduced(a.subs(p, root)), point.is_finite)
        facts = tuple(
            sp.Or(sp.And(fact, sp.Ne(p, root)), sp.And(at, sp.Eq(p, root)))
            for fact, at in zip(facts, there, strict=True)
        )
    return End(point, *map(tidy_condition, facts))


def _is_regular(x: sp.Symbol, mu: sp.Expr, a: sp.Expr, point: sp.Expr) -> bool:
    """Whether coefficients without parameters have values at a finite end and the noise is seen not to vanish there: s and m are continuous."""
    if not point.is_finite:
        return False
    drift, variance = (sp.sympify(entry).xreplace({x: point}).evalf(15) for entry in (mu, a))
    return bool(drift.is_number and drift.is_real and variance.is_number and variance.is_real and variance > _SEEN)


def _facts(y: sp.Symbol, mu: sp.Expr, a: sp.Expr, finite: bool) -> tuple[Condition, ...]:
    """Attracting, attainable, enterable, light, near, returns, sticky: for parameters at which no leading term vanishes."""
    growth = reduced(sp.diff(a, y) / a)
    scale = reduced(-2 * mu / a)  # s'/s
    speed = reduced(-scale - growth)  # m'/m
    attracting, light = converges(scale, y), converges(speed, y)
    return (
        attracting,
        _double(attracting, light, speed, growth, y),
        _double(light, attracting, scale, growth, y),
        light,
        converges(-growth / 2, y),
        *_at_reached(y, mu, a, finite),
    )


def _at_reached(y: sp.Symbol, mu: sp.Expr, a: sp.Expr, finite: bool) -> tuple[Condition, Condition]:
    if not finite:
        return sp.false, sp.false
    here = AtEnd.of(mu, a, y)
    return here.comes_back(), here.sticks()


def _special(y: sp.Symbol, mu: sp.Expr, a: sp.Expr) -> set[tuple[sp.Symbol, sp.Expr]]:
    """Values of a parameter at which s'/s or m'/m changes its order, or the integral of s or m becomes logarithmic."""
    growth = reduced(sp.diff(a, y) / a)
    scale = reduced(-2 * mu / a)
    found: set[tuple[sp.Symbol, sp.Expr]] = set()
    for log_derivative in (scale, reduced(-scale - growth)):
        order, coefficient = leading(y * log_derivative, y)
        found |= set(roots(coefficient if order < 0 else coefficient + 1)) if order <= 0 else set()
    return found


def _double(outer: Condition, inner: Condition, inner_log: sp.Expr, growth: sp.Expr, y: sp.Symbol) -> Condition:
    """Whether ∫ f ∫ g is finite: see :func:`classify`."""
    rate = reduced(inner_log + 1 / y)
    # y·rate → 0 means g ~ 1/y: then ∫ g ~ log y, which no power notices, and the integrand is that of 2 y log(y)/a
    logarithmic = rate == 0 or leading(y * rate, y)[0] > 0
    correction = -1 / y if logarithmic else reduced(sp.diff(rate, y) / rate)
    if inner == sp.true:
        return outer
    heavy = converges(-growth - correction, y)
    return sp.Or(sp.And(inner, outer), sp.And(sp.Not(inner), heavy))


def _towards(
    x: sp.Symbol, mu: sp.Expr, a: sp.Expr, point: sp.Expr, is_left: bool
) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
    """Coefficients in y > 0, the distance from a finite end or the inverse of an infinite one, by Itô's formula."""
    y = sp.Dummy("y", positive=True)
    if point.is_finite:
        sign = 1 if is_left else -1
        mu, a = (_placed(entry, x, point, sign * y) for entry in (mu, a))
        mu, a = _settled(mu, a, y)
        return y, reduced(sign * mu), reduced(a)
    sign = -1 if is_left else 1  # y = ±1/x: y' = ∓1/x² = −sign y², y'' = 2 y³
    at = sign / y
    mu, a = _settled(mu.subs(x, at), a.subs(x, at), y)
    return y, reduced(-sign * y**2 * mu + y**3 * a), reduced(y**4 * a)


def _placed(expr: sp.Expr, x: sp.Symbol, point: sp.Expr, away: sp.Expr) -> sp.Expr:
    """A coefficient at a distance from an end; beside a root of a polynomial, of a rational function all that matters.

    That is the lowest power: the next one changes logarithmic derivatives by a bounded term, and s and m by a factor between two
    positive numbers. With its number modulo the root's polynomial a zero is seen as one, and no algebra with roots is left.
    """
    shift, rest = point.as_coeff_Add(rational=True)
    unit, root = rest.as_coeff_Mul(rational=True)
    if isinstance(root, sp.CRootOf) and expr.is_rational_function(x):
        inside = expr.xreplace({x: shift + unit * x})  # 2 root + 1 is the root of another formula
        over, under = (sp.Poly(part, x) for part in sp.fraction(sp.together(inside)))
        if over.domain.is_QQ or over.domain.is_ZZ:
            return _lowest(over, root, away / unit) / _lowest(under, root, away / unit)
    elif expr.free_symbols == {x} and expr.is_rational_function(x) and _is_irrational(point, expr):
        return sp.Mul(
            *(_lowest_of_factors(part, x, point, away) ** k for part, k in zip(sp.fraction(expr), (1, -1), strict=True))
        )
    return expr.subs(x, point + away)


def _is_irrational(point: sp.Expr, expr: sp.Expr) -> bool:
    """Whether roots of numbers or other irrational ones stand in a point or a formula."""
    numbers = (node for node in (point + expr).atoms(sp.Pow, sp.NumberSymbol, sp.Function) if not node.free_symbols)
    return point.is_number and any(not number.is_Rational for number in numbers)


def _lowest_of_factors(part: sp.Expr, x: sp.Symbol, point: sp.Expr, away: sp.Expr) -> sp.Expr:
    """The lowest power of the distance from an irrational number, by the factors of a polynomial that vanish there."""
    found = sp.S.One
    for factor in sp.Mul.make_args(factored(part)):
        base, power = factor.as_base_exp()
        order, value = 0, base.subs(x, point)
        while base.has(x) and is_zero(value):
            base, order = sp.diff(base, x), order + 1
            value = base.subs(x, point) / sp.factorial(order)
        number = (
            value if value.is_Rational or value.has(x) else Whole(value)
        )  # no root of a number goes into the algebra
        found *= (number * away**order) ** power
    return found


def _lowest(polynomial: sp.Poly, root: sp.CRootOf, away: sp.Expr) -> sp.Expr:
    """The lowest power of the distance from a root."""
    x = polynomial.gen
    modulus, power = sp.Poly(root.poly.as_expr(x), x), 0
    while polynomial and not (number := polynomial.rem(modulus)):
        polynomial, power = polynomial.diff(x), power + 1
    return number.as_expr().xreplace({x: root}) / sp.factorial(power) * away**power if polynomial else sp.S.Zero


def _settled(mu: sp.Expr, a: sp.Expr, y: sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """Both coefficients without terms that are flat at the end; as they are if the noise itself is flat there."""
    rational = without_flat_terms(a, y)
    return (without_flat_terms(mu, y), rational) if rational != 0 and rational.is_rational_function(y) else (mu, a)


def explosion(process: Diffusion, interval: tuple[sp.Expr, sp.Expr] | None = None) -> Condition:
    r"""Feller's test: whether :math:`|X|` reaches infinity in finite time with positive probability.

    Returns
    -------
    Boolean
        In the parameters.

    Examples
    --------
    >>> v, k = sp.Symbol("V", positive=True), sp.Symbol("kappa", real=True)
    >>> explosion(Diffusion((v,), [k * v * (v - 1)], [[2 * v**2]], sp.Interval.open(0, sp.oo)))
    kappa > 0
    """
    ends = classify(process, interval)
    return tidy_condition(sp.Or(*(end.attainable for end in ends if not end.point.is_finite)))


def limits_almost_surely(
    process: Diffusion, interval: tuple[sp.Expr, sp.Expr] | None = None
) -> dict[sp.Expr, Condition]:
    r"""For each end, the parameters for which the process tends to it almost surely.

    That is so iff S is finite at this end and infinite at the other: if S is finite at both, each has positive
    probability; if at neither, the process is recurrent.

    Examples
    --------
    >>> v, k = sp.Symbol("V", positive=True), sp.Symbol("kappa", real=True)
    >>> limits_almost_surely(Diffusion((v,), [k * v * (v - 1)], [[2 * v**2]], sp.Interval.open(0, sp.oo)))
    {0: (kappa <= 0) & (kappa > -1), oo: False}
    """
    left, right = classify(process, interval)
    return {
        end.point: tidy_condition(sp.And(end.attracting, sp.Not(other.attracting)))
        for end, other in ((left, right), (right, left))
    }
