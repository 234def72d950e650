r"""What a scalar diffusion does at the ends of its interval: scale, speed, Feller's classes, explosion.

For :math:`\mathrm{d}X = \mu\,\mathrm{d}t + \sqrt a\,\mathrm{d}B` the generator is
:math:`\mathcal{L} = \tfrac12 a\,\partial_x^2 + \mu\,\partial_x = \frac{1}{m}\,\partial_x\,\frac{1}{s}\,\partial_x` with

.. math:: s(x) = \exp\Big(-\int^x \frac{2\mu}{a}\Big), \qquad m(x) = \frac{2}{a(x)\,s(x)},

the densities of scale and of speed. In the coordinate :math:`S = \int s` the process has no drift, so S decides where it
goes; the measure m says how long it stays. With y the distance from the end (or 1/x from an infinite one),

.. math:: \Sigma = \int_0 \Big(\int_y m\Big) s\,\mathrm{d}y, \qquad N = \int_0 \Big(\int_y s\Big) m\,\mathrm{d}y

are finite iff the end is reached in finite time, and iff the process can start there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import sympy as sp

from derivations.calculus.finiteness import (
    Condition,
    converges,
    leading,
    reduced,
    relation,
    roots,
    tidy_condition,
    without_flat_terms,
)
from derivations.calculus.lamperti import zeros_inside
from derivations.calculus.size import factored
from derivations.decimals import exact_decimals
from derivations.diffusion import Boundary, Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.piecewise import Analysis, Piece, Point, analyse, pieces


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
    returns : Boolean
        Whether the equation itself brings the process back from the end: the drift points inward there, and either it
        explodes or the noise vanishes. So it is for the Cox–Ingersoll–Ross and Bessel processes; elsewhere an attainable end
        keeps what reaches it, by :math:`\mu = a = 0` or by definition of the domain.
    """

    point: sp.Expr
    attracting: Condition
    attainable: Condition
    enterable: Condition
    light: Condition
    near: Condition
    returns: Condition

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


def coefficients(process: Diffusion) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
    """State, drift and variance of a scalar, time-homogeneous diffusion with noise.

    Raises
    ------
    DerivationError
        For several states, coefficients that depend on time, or no noise at all.
    """
    if len(process.states) != 1:
        raise DerivationError(f"boundaries are those of a scalar diffusion, got {len(process.states)} states")
    (x,), (mu,), (a,) = process.states, process.drift, process.covariance
    if process.time in (mu.free_symbols | a.free_symbols):
        raise DerivationError(
            f"scale and speed need coefficients that do not depend on {process.time}; change time first"
        )
    if a == 0:
        raise DerivationError("the diffusion is degenerate: its noise vanishes identically; it is a flow")
    return x, mu, a


def moving_interval(process: Diffusion, inside: sp.Expr | float) -> tuple[sp.Expr, sp.Expr]:
    """The largest open interval around a point, within the domain, on which the process moves.

    It ends where the noise vanishes, unless the process crosses the zero (:func:`crossed_zeros`).

    Raises
    ------
    DerivationError
        If the point is outside the domain or the noise vanishes at it.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> moving_interval(Diffusion((x,), [0], [[x**2 * (1 - x) ** 2]]), sp.Rational(1, 3))
    (0, 1)
    >>> moving_interval(Diffusion((x,), [0], [[sp.sin(x) ** 2]]), sp.Integer(4))
    (pi, 2*pi)
    >>> moving_interval(Diffusion((x,), [0], [[sp.sqrt(abs(x))]]), sp.Integer(4))
    (-oo, oo)
    """
    x, _, a = coefficients(process)
    inside = exact_decimals(inside)
    if process.domain.contains(inside) == sp.false:
        raise DerivationError(f"the point {inside} is outside the domain {process.domain}")
    low, high = process.domain.inf, process.domain.sup
    cuts = {low, high, *_cuts(process, inside)}
    if a.subs(x, inside) == 0 or any(c == inside for c in cuts if c.is_finite):
        raise DerivationError(f"the noise vanishes at {x} = {inside}: the process is degenerate there")
    below, above = [c for c in cuts if c < inside], [c for c in cuts if c > inside]
    if not below or not above:
        raise DerivationError(f"the point {inside} is an end of the domain {process.domain}; give one inside")
    return max(below), min(above)


def _cuts(process: Diffusion, inside: sp.Expr) -> set[sp.Expr]:
    """Points that the process does not cross."""
    x, _, a = coefficients(process)
    if a.free_symbols - {x}:
        return _cuts_with_parameters(process, inside)
    found = _analysed(a, x, inside)
    crossed = [zero.value for zero in crossed_zeros(process, inside)]
    outermost = set() if found.complete else {*crossed[:1], *crossed[-1:]}  # beyond them others are not listed
    return (
        ({zero.value for zero in found.zeros} - set(crossed))
        | outermost
        | {e for pair in found.vanishing for e in pair}
    )


def kinks_inside(process: Diffusion, inside: sp.Expr | float) -> tuple[sp.Expr, ...]:
    """Points at which a coefficient changes its formula, jumps or has a pole, around a point where there are infinitely many.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> kinks_inside(Diffusion((x,), [abs(x - 3)], [[1]]), 0)
    (3,)
    """
    x, mu, a = coefficients(process)
    inside = sp.Rational(inside) if isinstance(inside, float) else sp.sympify(inside)
    return tuple(point.value for entry in (mu, a) if entry.has(x) for point in _analysed(entry, x, inside).singular)


def _analysed(a: sp.Expr, x: sp.Symbol, inside: sp.Expr) -> Analysis:
    """Of the noise, around a point where only a window of infinitely many zeros is listed."""
    a = factored(a)
    found = analyse(a, x)
    shift = sp.floor(inside)
    if found.complete or shift == 0:
        return found
    moved = analyse(a.subs(x, x + shift), x)

    def back(points: tuple[Point, ...]) -> tuple[Point, ...]:
        return tuple(Point(p.value + shift, p.orders, p.limits) for p in points)

    vanishing = tuple((left + shift, right + shift) for left, right in moved.vanishing)
    return replace(
        moved,
        expr=a,
        vanishing=vanishing,
        zeros=back(moved.zeros),
        poles=back(moved.poles),
        kinks=back(moved.kinks),
        jumps=back(moved.jumps),
    )


def crossed_zeros(process: Diffusion, inside: sp.Expr | float = 0) -> tuple[Point, ...]:
    r"""The zeros of the noise at which a diffusion without parameters, coming from either side, goes on to the other.

    A process without drift is Brownian motion at the time :math:`A_t` with :math:`A = \inf\{s : \int_0^s a(W_u)^{-1}\mathrm{d}u > t\}`, and
    Brownian motion crosses a point unless that integral diverges at it: iff :math:`1/a` is integrable on both sides, that is if a
    vanishes there to an order below 1, from both sides. With a drift that stays bounded, which the scale function then carries away, it is
    the same. Other solutions of the equation stay at the zero for a while, or for ever (Engelbert and Schmidt); networks with random
    weights, which overshoot it, take the one that crosses.

    Parameters
    ----------
    process : Diffusion
    inside : Expr or float
        Around it zeros are listed where there are infinitely many.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [float(z) for z in crossed_zeros(Diffusion((x,), [0], [[sp.sqrt(abs(x)) * abs(x - 1)]]))]
    [0.0]
    """
    x, mu, a = coefficients(process)
    if a.free_symbols - {x}:
        return ()
    inside = sp.Rational(inside) if isinstance(inside, float) else sp.sympify(inside)
    low, high = process.domain.inf, process.domain.sup
    zeros = [
        zero
        for zero in _analysed(a, x, inside).zeros
        if low < zero.value < high and all(order is not None and order < 1 for order in zero.orders)
    ]
    if not zeros or mu == 0:
        return tuple(zeros)
    poles = {pole.value for pole in analyse(mu, x).poles}
    return tuple(zero for zero in zeros if zero.value not in poles)


def _cuts_with_parameters(process: Diffusion, inside: sp.Expr) -> set[sp.Expr]:
    x, _, a = coefficients(process)
    low, high = process.domain.inf, process.domain.sup
    cuts: set[sp.Expr] = set()
    for part in pieces(a, x):
        left, right = sp.Max(part.left, low), sp.Min(part.right, high)
        if left >= right:
            continue
        if part.expr == 0:
            cuts |= {left, right}
            continue
        cuts |= {end for end in (left, right) if end.is_finite and part.expr.subs(x, end) == 0}
        cuts |= set(_zeros_around(part.expr, x, left, right, inside))
    return cuts


def _zeros_around(a: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr, inside: sp.Expr) -> tuple[sp.Expr, ...]:
    """All zeros of the noise; where there are infinitely many, as of a sine, those near a point, on both sides of it."""
    try:
        return zeros_inside(a, x, left, right)
    except NoClosedForm:
        for reach in (4, 16, 64):
            window = sp.Max(left, sp.floor(inside) - reach), sp.Min(right, sp.floor(inside) + reach)
            found = zeros_inside(a, x, *window)
            if any(z < inside for z in found) and any(z > inside for z in found):
                return found
        raise


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
    exponent = sp.integrate(sp.expand(sp.apart(ratio, p) if ratio.is_rational_function(p) else ratio), p)
    if exponent.has(sp.Integral):
        raise NoClosedForm(f"the scale density needs ∫ 2μ/a with 2μ/a = {2 * mu / a}, which is not elementary")
    density = sp.powsimp(sp.exp(sp.expand(-exponent)).rewrite(sp.exp))
    return sp.powdenest(_split_exponential(density)).subs(p, back)


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


@lru_cache(maxsize=128)
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
    left, right = interval if interval is not None else (process.domain.inf, process.domain.sup)
    tag = sp.Dummy("tag")
    parts = [p for p in pieces(a + tag * mu, x) if p.left < right and p.right > left]
    return _end(x, parts[0], tag, left, True), _end(x, parts[-1], tag, right, False)


def _end(x: sp.Symbol, part: Piece, tag: sp.Symbol, point: sp.Expr, is_left: bool) -> End:
    opened = sp.expand(part.expr)
    y, mu, a = _towards(x, opened.coeff(tag, 1), opened.coeff(tag, 0), point, is_left)
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


def _facts(y: sp.Symbol, mu: sp.Expr, a: sp.Expr, finite: bool) -> tuple[Condition, ...]:
    """Attracting, attainable, enterable, light, near, returns: for parameters at which no leading term vanishes."""
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
        _pushes_back(y, mu, a) if finite else sp.false,
    )


def _pushes_back(y: sp.Symbol, mu: sp.Expr, a: sp.Expr) -> Condition:
    """Drift inward at y → 0 while a vanishes like a power there, or drift that explodes inward."""
    order, coefficient = leading(mu, y)
    if order > 0:
        return sp.false
    inward = _positive(coefficient)
    if order < 0 or inward == sp.false:
        return inward
    power, exponent = leading(y * reduced(sp.diff(a, y) / a), y)
    return sp.And(inward, _positive(exponent)) if power <= 0 else sp.false


def _positive(value: sp.Expr) -> Condition:
    return relation(value) if value.free_symbols else sp.sympify(value > 0)


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
        at = point + sign * y
        mu, a = _settled(mu.subs(x, at), a.subs(x, at), y)
        return y, reduced(sign * mu), reduced(a)
    sign = -1 if is_left else 1  # y = ±1/x: y' = ∓1/x² = −sign y², y'' = 2 y³
    at = sign / y
    mu, a = _settled(mu.subs(x, at), a.subs(x, at), y)
    return y, reduced(-sign * y**2 * mu + y**3 * a), reduced(y**4 * a)


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
