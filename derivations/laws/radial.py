r"""Potentials :math:`\alpha^2 y^2 + c/y^2 + \gamma` on a half-line: Bessel's process and its mean-reverting kin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.calculus.lamperti import LampertiForm, tidy
from derivations.calculus.logs import log_of_positive
from derivations.calculus.towards import limit_towards
from derivations.errors import NoClosedForm
from derivations.laws.base import Atom, Words
from derivations.laws.chart import Chart, inverted
from derivations.laws.ends import goes_on
from derivations.laws.kernel import KernelLaw, always_or_never, moved
from derivations.laws.recipes import RadialRecipe
from derivations.special import ScaledBesselI
from derivations.symbols import initial, state, time


@dataclass(frozen=True, repr=False)
class RadialLaw(KernelLaw):
    r"""Law of :math:`\mathrm{d}Y = \bigl(\tfrac{n + 1/2}{Y} - aY\bigr)\mathrm{d}t + \mathrm{d}B`, the radius in :math:`2 + 2n` dimensions.

    With :math:`m = y_0 e^{-at}`, :math:`v = \int_0^t e^{-2as}\,\mathrm{d}s` and :math:`S_\nu(z) = e^{-z} I_\nu(z)`, the density of Y is

    .. math:: q(y) = \frac{y}{v}\Bigl(\frac{y}{m}\Bigr)^{n} \exp\Bigl(-\frac{(y - m)^2}{2v}\Bigr)\, S_\nu\Bigl(\frac{y m}{v}\Bigr),

    with :math:`\nu = n` where 0 is never reached (:math:`n \ge 0`) or reflects, and :math:`\nu = -n` where it absorbs. So :math:`Y^2/v` is
    noncentral :math:`\chi^2` unless it is absorbed.

    Parameters
    ----------
    form : LampertiForm
    y : Expr
        The coordinate, positive.
    direction : int
    index, pull : Expr
        n and a.
    absorbed : bool
        Whether 0 is reached and absorbs.
    """

    y: sp.Expr = sp.S.Zero
    direction: int = 1
    index: sp.Expr = sp.S.Zero
    pull: sp.Expr = sp.S.Zero
    absorbed: bool = False

    @classmethod
    def from_coordinate(cls, form: LampertiForm, y: sp.Expr) -> RadialLaw:
        r"""Accept a coordinate over (0, ∞) along which :math:`y\beta = n + \tfrac12 - a y^2`."""
        y, direction = _positive(form, _plain_front(form, tidy(y)))
        slope = tidy(direction * y * form.beta)
        a = tidy(-direction * form.derive(slope) / (2 * y))
        n = tidy(slope + a * y**2 - sp.Rational(1, 2))
        if form.state in a.free_symbols | n.free_symbols:
            raise NoClosedForm("the drift of the Lamperti form is not n/y - a y along its coordinate")
        # where the drift takes the process back, φ ~ y^{k-1} has μ = φ (n + (k − 1)/2)/y positive at 0, hence n > −1/2
        absorbed = not goes_on(form, direction < 0, y) and form.sign(n) < 0
        return cls(form, y, direction, n, a, absorbed)

    @cached_property
    def chart(self) -> Chart:
        """The radius."""
        return Chart(self.y, inverted(self.form, self.y, True), self.direction)

    @property
    def order(self) -> sp.Expr:
        r""":math:`\nu`, the order of the Bessel function."""
        return -self.index if self.absorbed else self.index

    def start(self, x0: sp.Expr) -> sp.Expr:
        """The radius at the start."""
        return self._y(x0)

    def bessel(self, z: sp.Expr) -> sp.Expr:
        r""":math:`S_\nu(z)`."""
        return ScaledBesselI(self.order, z)

    def centre(self, t: sp.Expr, x0: sp.Expr) -> sp.Expr:
        """The m of the density."""
        return self.start(x0) * sp.exp(-self.pull * t)

    def variance(self, t: sp.Expr) -> sp.Expr:
        """The v of the density."""
        return t if self.pull == 0 else (1 - sp.exp(-2 * self.pull * t)) / (2 * self.pull)

    def log_kernel(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> sp.Expr:
        r""":math:`\log q(y)` minus :math:`\log u(y)/u(y_0)`."""
        gain = (self.index + sp.Rational(1, 2)) * sp.log(y / y0) - self.pull * (y**2 - y0**2) / 2
        return self._log_q(t, y0, y) - gain

    def kernel(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> sp.Expr:
        """The kernel of the potential."""
        return sp.exp(self.log_kernel(t, y0, y))

    def _log_q(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> sp.Expr:
        m, v = y0 * sp.exp(-self.pull * t), self.variance(t)
        bessel = sp.log(self.bessel(y * m / v))
        return sp.log(y) - sp.log(v) + self.index * (sp.log(y) - sp.log(m)) - (y - m) ** 2 / (2 * v) + bessel

    def logpdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Logarithm of the density."""
        scale = log_of_positive(self.form.scale, self.form).subs(self.form.state, x)
        return self._log_q(t, self.start(x0), self._y(x)) - scale

    def pdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Density at x in the interval, for x0 in the interval."""
        m, v, y = self.centre(t, x0), self.variance(t), self._y(x)
        gauss = sp.exp(-((y - m) ** 2) / (2 * v))
        bessel = self.bessel(y * m / v)
        return y / (v * self.form.scale.subs(self.form.state, x)) * (y / m) ** self.index * gauss * bessel

    @property
    def atoms(self) -> tuple[Atom, ...]:
        r"""Absorbed at 0: :math:`\Gamma(\nu, m^2/2v)/\Gamma(\nu)`."""
        if not self.absorbed:
            return ()
        weight = self.centre(time, initial) ** 2 / (2 * self.variance(time))
        return (self._atom(self.direction < 0, sp.uppergamma(self.order, weight) / sp.gamma(self.order)),)

    @cached_property
    def power(self) -> tuple[sp.Expr, sp.Expr] | None:
        """C and p with x = C yᵖ, if x is a power of the radius."""
        return self.power_at(sp.S.Zero)

    def power_at(self, point: sp.Expr) -> tuple[sp.Expr, sp.Expr] | None:
        """C and p with x = point + C yᵖ, if there are such."""
        x = self.form.state
        p = tidy(self.direction * self.y * self.form.scale / (x - point))
        if p.has(x):
            return None
        away = sp.S.One if self.form.interval[1] == sp.oo else -sp.S.One
        return away / self.y.subs(x, point + away) ** p, p

    def _radius_moment(self, s: sp.Expr, t: sp.Expr, x0: sp.Expr) -> sp.Expr:
        r""":math:`\mathbb{E}[Y^s]` on the event of no absorption.

        From the power series of :math:`I_\nu`, :math:`(2v)^{s/2}\frac{\Gamma(1+\nu+s/2)}{\Gamma(1+\nu)}\,{}_1F_1(-\tfrac s2; 1+\nu; -\lambda)`,
        :math:`\lambda = m^2/2v`; the absorbed density is :math:`(m/y)^{2\nu}` times the other one.
        """
        nu, m, v = self.order, self.centre(t, x0), self.variance(t)
        weight = m**2 / (2 * v)
        s = sp.cancel(s - 2 * nu) if self.absorbed else s
        front = m ** (2 * nu) if self.absorbed else sp.S.One
        if sp.cancel(s + 2 * nu) == 0 and nu != 0:
            return front * m**s * sp.lowergamma(nu, weight) / sp.gamma(nu)
        half = sp.cancel(s / 2)
        if half.is_Integer and half >= 0:
            terms = (
                sp.rf(-half, i) * (-(m**2)) ** i * (2 * v) ** (half - i) / (sp.rf(1 + nu, i) * sp.factorial(i))
                for i in range(int(half) + 1)
            )
            size = sp.expand_func(sp.rf(1 + nu, half))
            return sp.expand(front * sp.Add(*(sp.cancel(size * term) for term in terms)))
        ratio = sp.gamma(1 + nu + half) / sp.gamma(1 + nu)
        return front * (2 * v) ** half * ratio * sp.hyper([-half], [1 + nu], -weight)

    def _moving_moment(self, k: int, t: sp.Expr, x0: sp.Expr) -> sp.Expr:
        """Closed where x is a power of the radius, and for the mean of its logarithm in two dimensions."""
        if self.power is not None:
            c, p = self.power
            return _gathered(sp.expand_mul(c**k * self._radius_moment(sp.cancel(p * k), t, x0)))
        rate = tidy(self.direction * self.y * self.form.scale)  # dx / d log y
        if k == 1 and not rate.has(self.form.state) and self.index == 0:
            m, v = self.centre(t, x0), self.variance(t)
            log_y = log_of_positive(self.y, self.form)
            shift = sp.expand(self.form.state - rate * log_y)
            if not shift.has(self.form.state):
                # E log Y = log m + E₁(λ)/2 in two dimensions, with m = y₀ e^{-at}
                log_m = log_y.subs(self.form.state, x0) - self.pull * t
                return shift + rate * (log_m + sp.expint(1, m**2 / (2 * v)) / 2)
        return super()._moving_moment(k, t, x0)

    def finite_until(self, k: sp.Expr) -> sp.Expr:
        r"""Always or never: near 0 the density is of order :math:`y^{1+n+\nu}`."""
        if self.power is None:
            return sp.oo
        if (self.direction > 0 and self.form.interval[0].is_finite) or (
            self.direction < 0 and self.form.interval[1].is_finite
        ):
            return sp.oo  # x stays bounded where the radius is small
        excess = sp.cancel(2 + self.index + self.order + self.power[1] * sp.sympify(k))
        return always_or_never(self.form, excess)

    @property
    def is_martingale(self) -> bool | None:
        """Only a local martingale where the unattainable end is infinite."""
        if self.form.drift != 0:
            return None
        return self.form.interval[int(self.direction < 0)].is_finite is True

    @property
    def stationary(self) -> sp.Expr | None:
        r"""For a > 0 and without absorption :math:`Y^2` is Gamma: :math:`q(y) = \tfrac{2 a^{1+n}}{\Gamma(1+n)} y^{1+2n} e^{-ay^2}`."""
        if self.absorbed or self.pull == 0 or self.form.sign(self.pull) < 0:
            return None
        n, a, y = self.index, self.pull, self.y
        return 2 * a ** (1 + n) * y ** (1 + 2 * n) * sp.exp(-a * y**2) / (sp.gamma(1 + n) * self.form.scale)

    @property
    def name(self) -> str:
        """By the dimension, the pull and what happens at 0."""
        pulled = "Bessel process" if self.pull == 0 else "radial Ornstein–Uhlenbeck process"
        if self.power is not None and self.power[1] == 2 and not self.absorbed:
            pulled = "squared Bessel process" if self.pull == 0 else "Cox–Ingersoll–Ross process"
        absorbed = ", absorbed at 0" if self.absorbed else ""
        bare = tidy(self.y) == self.form.state or (self.power is not None and self.power[1] == 2 and not self.absorbed)
        return f"{pulled}{absorbed}" if bare else f"{pulled}{absorbed}, under the inverse Lamperti transform"

    @property
    def description(self) -> Words:
        """The map, the dimension and the pull."""
        words: Words = (
            *self._transformed(),
            ", where ",
            moved,
            f" is a {'Bessel' if self.pull == 0 else 'radial Ornstein–Uhlenbeck'} process of dimension ",
            2 + 2 * self.index,
        )
        if self.pull != 0:
            words = (*words, " pulled to the origin at rate ", self.pull)
        if self.absorbed:
            words = (*words, ", absorbed at 0")
        if self.is_martingale is False:
            moves = "falls" if self.direction < 0 else "rises"  # away from the infinite end, which it never reaches
            words = (*words, f"; X is a strict local martingale: its mean {moves}")
        return words

    @property
    def definitions(self) -> tuple[tuple[sp.Basic, sp.Basic], ...]:
        """The coordinate."""
        return ((sp.Symbol("y", positive=True), self.y),)

    def sampler(self) -> RadialRecipe:
        """Noncentral chi-square, or its absorbed variant."""
        end = self.form.interval[int(self.direction < 0)]
        return RadialRecipe(
            self.index, self.variance(time), self.centre(time, initial), self.absorbed, self.chart.back, end
        )


@dataclass(frozen=True, repr=False)
class BesselLaw(RadialLaw):
    r"""Potential :math:`U = c/y^2`, that is :math:`D^2(U^{-1/2}) = 0`: Bessel's kernel, :math:`c = n^2 - \tfrac14`.

    *Recognition.* Then :math:`DU = -2c/y^3` and :math:`D^2U = 6c/y^4`, so :math:`y = -3\,DU/D^2U` is read off U without a root; it is a
    coordinate of unit noise (:math:`Dy = 1`) exactly for this potential and a constant added to it.
    """

    @classmethod
    def recognise(cls, form: LampertiForm) -> RadialLaw:
        """Accept a potential of this shape."""
        first = form.derive(form.potential)
        second = form.derive(first)
        if second == 0:
            raise NoClosedForm(f"the potential {form.potential} is not c/y²")
        y = tidy(-3 * first / second)
        if form.derive(y) != 1:
            raise NoClosedForm(f"the potential {form.potential} is not c/y²")
        return cls.from_coordinate(form, y)  # without a pull, which would add a term y² to the potential

    @classmethod
    def example(cls) -> RadialLaw:
        r"""The logarithm of the two-dimensional Bessel process, :math:`\mathrm{d}X = e^{-X}\,\mathrm{d}B`."""
        return cls.recognise(LampertiForm(state, (-sp.oo, sp.oo), sp.S.Zero, sp.exp(-state)))


@dataclass(frozen=True, repr=False)
class RadialOrnsteinUhlenbeckLaw(RadialLaw):
    r"""Potential :math:`U = a^2 y^2 + c/y^2 + \gamma` on a half-line: the kernel of Cox, Ingersoll and Ross.

    *Recognition.* :math:`D^3U = -24c/y^5` and :math:`D^4U = 120c/y^6`, so :math:`y = -5\,D^3U/D^4U`, and :math:`Dy = 1` exactly for these
    potentials. For c = 0 the centre is :math:`y = DU/D^2U`.
    """

    @classmethod
    def recognise(cls, form: LampertiForm) -> RadialLaw:
        """Accept a potential of this shape."""
        second = form.derive(form.derive(form.potential))
        third = form.derive(second)
        if second == 0:
            raise NoClosedForm(f"the potential {form.potential} is constant")
        fourth = form.derive(third) if third != 0 else sp.S.Zero
        if third != 0 and fourth == 0:
            raise NoClosedForm(f"the potential {form.potential} is none of a²y² + c/y² + γ")
        y = tidy(form.derive(form.potential) / second if third == 0 else -5 * third / fourth)
        if form.derive(y) != 1:
            raise NoClosedForm(f"the potential {form.potential} is none of a²y² + c/y² + γ")
        law = cls.from_coordinate(form, y)
        if law.pull == 0:
            raise NoClosedForm("the radial Ornstein–Uhlenbeck process has a pull")
        return law

    @classmethod
    def example(cls) -> RadialLaw:
        r"""The process of Cox, Ingersoll and Ross :math:`\mathrm{d}X = (3 - 2X)\,\mathrm{d}t + \sqrt{X}\,\mathrm{d}B`."""
        return cls.recognise(LampertiForm(state, (sp.S.Zero, sp.oo), 3 - 2 * state, sp.sqrt(state)))


def _gathered(total: sp.Expr) -> sp.Expr:
    """A sum with one number in front of each of its terms."""
    fronts: dict[sp.Expr, sp.Expr] = {}
    for term in sp.Add.make_args(total):
        front, rest = term.as_independent(*total.free_symbols, as_Add=False)
        fronts[rest] = fronts.get(rest, sp.S.Zero) + front
    return sp.Add(
        *(rest * (sp.factor_terms(sp.cancel(front)) if front.has(sp.Add) else front) for rest, front in fronts.items())
    )


def _plain_front(form: LampertiForm, y: sp.Expr) -> sp.Expr:
    """A coordinate, Dy = 1, whose constant factor is read off the noise where algebra left a sum in it: c = 1/Df of y = c f."""
    front, moving = y.as_independent(form.state, as_Add=False)
    speed = form.derive(moving) if front.has(sp.Add) else form.state
    return y if speed.has(form.state) else moving / speed


def _positive(form: LampertiForm, y: sp.Expr) -> tuple[sp.Expr, int]:
    """A coordinate over (0, ∞) with its direction, from one over (0, ∞) or (−∞, 0)."""
    low, high = _ends(form, y)
    if (low, high) == (0, sp.oo):
        return y, 1
    if (low, high) == (-sp.oo, 0):
        return -y, -1
    raise NoClosedForm(f"the coordinate covers ({low}, {high}), not a half-line from its singular point")


def _ends(form: LampertiForm, y: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Limits of an increasing coordinate at both ends; a power by the sign of its exponent, which may be a parameter."""
    x = form.state
    power = tidy(x * sp.diff(y, x) / y)
    corner = {form.interval[0], form.interval[1]}
    if not power.has(x) and power != 0 and sp.S.Zero in corner and corner & {sp.oo, -sp.oo}:
        # y increases: it is positive where |x| and the power grow together
        outward = 1 if form.interval[0] == 0 else -1
        return (sp.S.Zero, sp.oo) if form.sign(power) * outward > 0 else (-sp.oo, sp.S.Zero)

    def limit(right: bool) -> sp.Expr:
        end = form.interval[int(right)]
        value = y.subs(x, end)
        return value if value.is_extended_real else limit_towards(y, x, end, "-" if right else "+")

    return limit(False), limit(True)
