r"""Laws of processes that cross a zero of their noise: a radius with a random sign.

Where :math:`1/\varphi^2` is integrable on both sides of a zero c of the noise, Brownian motion with the time
:math:`\int \varphi^{-2}(W_s)\,\mathrm{d}s` crosses it and spends no time there. The equation has other solutions too, which stay at c
for a while or for ever (Engelbert and Schmidt); networks overshoot c and take this one.

Let :math:`x - c = \pm C_\pm y^p` for a radius y that is the same process on both sides, with density :math:`q_+` if it reflects at 0 and
:math:`q_-` if it is absorbed. Excursions from 0 go to the right with a probability :math:`\alpha`, each independently of the others. So

.. math:: q_- + \alpha\,(q_+ - q_-) \quad\text{and}\quad (1 - \alpha)\,(q_+ - q_-)

are the densities on a start's own side, here the right one, and on the other. Near c the state itself is a martingale up to a bounded drift,
and its excursions are balanced: :math:`\alpha C_+ = (1 - \alpha) C_-`. For Bessel's kernels,
:math:`I_{-\nu} - I_\nu = \tfrac2\pi \sin(\pi\nu) K_\nu`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from derivations.calculus.lamperti import LampertiForm, tidy
from derivations.diffusion import Diffusion
from derivations.errors import NoClosedForm
from derivations.laws.base import Atom, Check, Law, Proof, Words
from derivations.laws.proofs import check_forward
from derivations.laws.radial import BesselLaw, RadialLaw
from derivations.laws.recipes import CrossingRecipe, Inversion
from derivations.laws.verification import TwoSided
from derivations.special import ScaledBesselI
from derivations.symbols import initial, state, time


@dataclass(frozen=True, repr=False)
class Side(RadialLaw):
    r"""The density on one side of the zero: the radius with a mixture of Bessel functions in place of one.

    Parameters
    ----------
    share : Expr
        The probability :math:`\alpha` that an excursion goes to this side.
    other : RadialLaw or None
        The side that the start is on, if it is not this one.
    """

    share: sp.Expr = sp.S.Half
    other: RadialLaw | None = None

    @classmethod
    def recognise(cls, form: LampertiForm) -> Side:
        """No process on an interval has such a density."""
        raise NoClosedForm(
            f"what a process does on ({form.interval[0]}, {form.interval[1]}) alone is no side of a crossing"
        )

    @property
    def order(self) -> sp.Expr:
        r"""That of the density near the zero, :math:`-\nu`."""
        return self.index

    def bessel(self, z: sp.Expr) -> sp.Expr:
        r""":math:`(1 - \alpha) S_\nu + \alpha S_{-\nu}`, or :math:`\alpha (S_{-\nu} - S_\nu)`."""
        if self.other is not None:
            nu = -self.index
            return self.share * 2 * sp.sin(sp.pi * nu) / sp.pi * sp.exp(-z) * sp.besselk(nu, z)
        return (1 - self.share) * ScaledBesselI(-self.index, z) + self.share * ScaledBesselI(self.index, z)

    def start(self, x0: sp.Expr) -> sp.Expr:
        """The radius of the start, which may be on the other side."""
        return self._y(x0) if self.other is None else self.other.start(x0)

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """None: nothing stays at the zero."""
        return ()

    def sampler(self) -> Inversion:  # type: ignore[override]
        """By inversion."""
        return Inversion(self)


@dataclass(frozen=True, repr=False)
class CrossingLaw(Law):
    r"""The law of a process that crosses a zero of its noise.

    Parameters
    ----------
    left, right : RadialLaw
        What it does on either side until it comes to the point between them, in the same dimension with the same pull, the state being
        a power of the radius.

    Examples
    --------
    >>> from derivations import Diffusion, recognise
    >>> x = sp.Symbol("x", real=True)
    >>> law, point = recognise(Diffusion((x,), [0], [[sp.sqrt(abs(x))]])).parts
    >>> law.moment(1, x0=sp.Rational(1, 2)), law.atoms
    (1/2, ())
    """

    left: RadialLaw
    right: RadialLaw

    @classmethod
    def joined(cls, left: RadialLaw, right: RadialLaw) -> CrossingLaw:
        """From the laws of both sides, or NoClosedForm where they are no powers of one radius."""
        law = cls(left, right)
        same = sp.expand(left.index - right.index) == 0 and sp.expand(left.pull - right.pull) == 0
        if not same or len(law._powers) < 2:
            raise NoClosedForm(
                f"the process crosses the zero of its noise at {left.form.state} = {law.zero}, and what it does on its two sides are "
                "no powers of the same radius, for which the law is known; solve the Fokker–Planck equation numerically or simulate"
            )
        return law

    @property
    def zero(self) -> sp.Expr:
        """The point that it crosses."""
        return self.left.form.interval[1]

    @property
    def diffusion(self) -> Diffusion:  # type: ignore[override]
        """The diffusion on both sides."""
        one, two = self.left.diffusion, self.right.diffusion
        x = one.states[0]
        both = [
            a if sp.expand(a - b) == 0 else sp.Piecewise((a, x < self.zero), (b, True))
            for a, b in ((one.drift[0], two.drift[0]), (one.covariance[0], two.covariance[0]))
        ]
        return Diffusion((x,), both[:1], [both[1:]], sp.Union(one.domain, two.domain))

    @cached_property
    def shares(self) -> tuple[sp.Expr, sp.Expr]:
        r""":math:`1 - \alpha` and :math:`\alpha`."""
        low, high = self._sizes
        ratio = tidy(-low / high)
        return sp.cancel(1 / (1 + ratio)), sp.cancel(ratio / (1 + ratio))

    @property
    def _sizes(self) -> tuple[sp.Expr, sp.Expr]:
        """The constants C with x = c + C yᵖ, negative on the left."""
        return self._powers[0][0], self._powers[1][0]

    @cached_property
    def _powers(self) -> tuple[tuple[sp.Expr, sp.Expr], ...]:
        found = (side.power_at(self.zero) for side in (self.left, self.right))
        return tuple(power for power in found if power is not None)

    def from_side(self, right: bool) -> tuple[Side, Side]:
        """The densities on the left and on the right of a process that starts on the right, or on the left."""
        own = self.right if right else self.left
        return tuple(  # type: ignore[return-value]
            Side(s.form, s.y, s.direction, s.index, s.pull, False, share, None if s is own else own)
            for s, share in zip((self.left, self.right), self.shares, strict=True)
        )

    def _at(self, x0: sp.Expr, value: Callable[[bool, sp.Expr], sp.Expr]) -> sp.Expr:
        """A function of the side that the start is on, and of the start."""
        return _by_side(sp.sympify(x0), self.zero, value)

    def pdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Density, on both sides."""
        return self._on_both(x, x0, lambda side, at, start: side.pdf(at, t, start))

    def logpdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Logarithm of the density."""
        return self._on_both(x, x0, lambda side, at, start: side.logpdf(at, t, start))

    def _on_both(self, x: sp.Expr, x0: sp.Expr, value: Callable[[Side, sp.Expr, sp.Expr], sp.Expr]) -> sp.Expr:
        """A value of the side that a state is on, which depends on the side of the start, too."""
        x = sp.sympify(x)

        def from_(right: bool, start: sp.Expr) -> sp.Expr:
            sides = self.from_side(right)
            return _by_side(x, self.zero, lambda here, at: value(sides[here], at, start))

        return self._at(x0, from_)

    def cdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Distribution function, an integral from the nearer infinite end."""
        x, xi = sp.sympify(x), sp.Dummy("xi", real=True)

        def below(right: bool, start: sp.Expr) -> sp.Expr:
            sides = self.from_side(right)
            left, beyond = (
                sp.Integral(side.pdf(xi, t, start), limits) for side, limits in zip(sides, _tails(xi, x), strict=True)
            )
            return _by_side(x, self.zero, lambda here, _: 1 - beyond if here else left)

        return self._at(x0, below)

    def sf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Survival function."""
        return 1 - self.cdf(x, t, x0)

    def hit(self, x0: sp.Expr = initial, t: sp.Expr = time) -> sp.Expr:
        """The probability of having come to the zero."""

        def of(right: bool, start: sp.Expr) -> sp.Expr:
            mass = (self.right if right else self.left).atoms[0].mass
            return mass.subs({time: t, initial: start}, simultaneous=True)

        return self._at(x0, of)

    def moment(self, k: int, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        r"""The moment :math:`\mathbb{E}X_t^k`: powers of the radius, about the zero."""
        if k == 1 and self.is_martingale:
            return sp.sympify(x0)
        terms = (sp.binomial(k, j) * self.zero ** (k - j) * self._central(j, t, x0) for j in range(k + 1))
        return sp.Add(*(term for term in terms if term != 0))

    def _central(self, k: int, t: sp.Expr, x0: sp.Expr) -> sp.Expr:
        if k == 0:
            return sp.S.One

        def from_(right: bool, start: sp.Expr) -> sp.Expr:
            own = self.right if right else self.left
            p = self._powers[right][1]
            reflected = replace(own, absorbed=False)
            kept, free = (law._radius_moment(sp.cancel(p * k), t, start) for law in (own, reflected))
            sizes = [size**k for size in self._sizes]
            mean = sp.Add(*(share * size for share, size in zip(self.shares, sizes, strict=True)))
            return sizes[right] * kept + tidy(mean) * (free - kept)

        return self._at(x0, from_)

    def finite_until(self, k: sp.Expr) -> sp.Expr:
        """Always: the density falls off like a Gaussian in the radius."""
        return sp.oo

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """None: no time is spent at the zero."""
        return ()

    @property
    def stationary(self) -> sp.Expr | None:
        """With a pull, that of the radius with a random sign."""
        found = [replace(side, absorbed=False).stationary for side in (self.left, self.right)]
        if None in found:
            return None
        return _by_side(self.left.form.state, self.zero, lambda here, _: self.shares[here] * found[here])

    @property
    def is_martingale(self) -> bool | None:
        """Without drift it is one: the noise grows less than linearly."""
        return True if self.left.form.drift == self.right.form.drift == 0 else None

    @property
    def name(self) -> str:
        """By the pull."""
        kind = "Bessel process" if self.left.pull == 0 else "radial Ornstein–Uhlenbeck process"
        return f"skew {kind}, under the inverse Lamperti transform"

    @property
    def description(self) -> Words:
        """The radius, its signs, and that the equation alone does not decide."""
        y = sp.Symbol("Y_t", positive=True)
        words: Words = (
            sp.Symbol("X_t", real=True),
            " is ",
            self.right.chart.back(y),
            " or ",
            self.left.chart.back(y),
            ", where ",
            y,
            f" is a {'Bessel' if self.left.pull == 0 else 'radial Ornstein–Uhlenbeck'} process of dimension ",
            2 + 2 * self.left.index,
        )
        if self.left.pull != 0:
            words = (*words, " pulled to the origin at rate ", self.left.pull)
        return (
            *words,
            "; each excursion from ",
            self.zero,
            " goes to the right with probability ",
            self.shares[1],
            ". The equation alone does not decide this (Engelbert and Schmidt): other solutions stay at the zero of the noise. Networks "
            "overshoot it and take the solution that spends no time there",
        )

    def sampler(self) -> CrossingRecipe:
        """A reflected radius, and a new sign if it has been at 0, of which its start and its end tell the probability."""
        left, right = self.left, self.right
        centre = self._at(initial, lambda s, start: (right if s else left).centre(time, start))
        side = self._at(initial, lambda s, _: sp.Integer(2 * s - 1))
        backs = (left.chart.back, right.chart.back)
        return CrossingRecipe(left.index, left.variance(time), centre, side, self.shares[1], *backs)

    def prove(self) -> Proof:
        """Forward equation of the two densities that are mixed, on both sides; mass, mean and transitions over the zero."""
        rows: list[Check] = []
        x = self.left.form.state
        for law in (self.left, self.right):
            for mixed in (law, replace(law, absorbed=False)):
                found = check_forward(law.diffusion, mixed.logpdf(x), law.form.interval, initial, law.form.assuming)
                rows.append(replace(found, domain=law.diffusion.domain))
        parts = [self.from_side(right) for right in (False, True)]
        both = TwoSided((self.left, self.right), parts, (self.left.chart, self.right.chart))
        return Proof((*rows, *both.checks()))

    @classmethod
    def example(cls) -> CrossingLaw:
        r"""The symmetric one of :math:`\mathrm{d}X = |X|^{1/4}\,\mathrm{d}B`."""
        halves = (((-sp.oo, sp.S.Zero), -state), ((sp.S.Zero, sp.oo), state))
        quarter = sp.Rational(1, 4)
        return cls.joined(
            *(BesselLaw.recognise(LampertiForm(state, ends, sp.S.Zero, r**quarter)) for ends, r in halves)
        )


def _tails(xi: sp.Symbol, x: sp.Expr) -> tuple[tuple[sp.Expr, ...], tuple[sp.Expr, ...]]:
    return (xi, -sp.oo, x), (xi, x, sp.oo)


def _by_side(at: sp.Expr, zero: sp.Expr, value: Callable[[bool, sp.Expr], sp.Expr]) -> sp.Expr:
    """A value on the left or the right of the zero, by cases where that is not known.

    Each case is a function of the distance, so that it is real on the other side, too: compiled code works out both.
    """
    beyond = at > zero
    if beyond in (sp.true, sp.false):
        return value(beyond == sp.true, at)
    left, right = (value(side, zero + sign * sp.Abs(at - zero)) for side, sign in ((False, -1), (True, 1)))
    return right if left == right else sp.Piecewise((right, beyond), (left, True))
