r"""Constant potential on a half-line: the method of images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.calculus.lamperti import LampertiForm
from derivations.errors import NoClosedForm
from derivations.laws.base import Atom, Words
from derivations.laws.chart import Chart, finite_length
from derivations.laws.ends import End, NoKernelAtEnd, end_value, regular_end
from derivations.laws.kernel import KernelLaw, moved
from derivations.laws.recipes import HalfLineRecipe, Inversion
from derivations.special import LogNormalCdf
from derivations.symbols import initial, state, time


def phi(u: sp.Expr) -> sp.Expr:
    """The standard normal distribution function, without cancellation in its lower tail."""
    return sp.exp(LogNormalCdf(u))


@dataclass(frozen=True, repr=False)
class HalfLineLaw(KernelLaw):
    r"""Law of a process with constant potential :math:`U = k^2` whose coordinate y covers (0, ∞).

    With :math:`g_t` Gauss's kernel, the images at :math:`\mp y_0` give

    .. math:: K_U(t, y_0, y) = e^{-k^2 t/2}\,[g_t(y - y_0) \mp g_t(y + y_0)],

    minus where the end is unattainable or absorbing, plus where it reflects. The density is that of Z tilted by
    :math:`u(y)/u(y_0) = \cosh k(y - y_0) + \tfrac{\beta_0}{k}\sinh k(y - y_0)`. For :math:`U = 0` and :math:`u = y` it is the
    three-dimensional Bessel process, whose image under 1/y solves :math:`\mathrm{d}X = X^2\,\mathrm{d}B`.

    Parameters
    ----------
    form : LampertiForm
    end : End
        What happens where y = 0.
    """

    end: End = End.UNATTAINABLE

    @classmethod
    def recognise(cls, form: LampertiForm) -> HalfLineLaw:
        """Accept a form with :math:`DU = 0` whose coordinate reaches exactly one end at finite length."""
        potential = form.potential
        if form.derive(potential) != 0:
            raise NoClosedForm(f"the potential {potential} is not constant")
        if not form.at_least_zero(potential):
            raise NoClosedForm("a negative constant potential has no positive solution on a half-line")
        chart = finite_length(form)
        if chart.length != sp.oo:
            raise NoClosedForm("the coordinate reaches both ends")
        right = chart.direction < 0
        end = regular_end(form, right, chart.coordinate)
        if end is End.REFLECTING and end_value(form.beta, form, right) != 0:
            raise NoKernelAtEnd("reflection with a slope of u at the end has no kernel by images")
        law = cls(form, end)
        _ = law.log_h_transform  # the integral must exist
        return law

    @cached_property
    def chart(self) -> Chart:
        """The distance from the end at finite length."""
        return finite_length(self.form)

    @cached_property
    def rate(self) -> sp.Expr:
        r""":math:`k = \sqrt U`; where :math:`\beta` is constant, that drift along y, of either sign: one exponential is all of u."""
        beta = self.form.beta
        return self.form.root_of_potential if beta.has(self.form.state) else sp.cancel(self.chart.direction * beta)

    @property
    def _image(self) -> int:
        return 1 if self.end is End.REFLECTING else -1

    def log_kernel(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> sp.Expr:
        r""":math:`-\tfrac12 k^2 t - (y - y_0)^2/2t + \log(1 \mp e^{-2yy_0/t}) - \tfrac12\log 2\pi t`."""
        image = sp.log(1 + self._image * sp.exp(-2 * y * y0 / t))
        return -(self.rate**2) * t / 2 - (y - y0) ** 2 / (2 * t) + image - sp.log(2 * sp.pi * t) / 2

    def kernel(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> sp.Expr:
        """Gauss's kernel minus (or plus) its image."""
        gauss = [sp.exp(-((y - s) ** 2) / (2 * t)) for s in (y0, -y0)]
        return sp.exp(-(self.rate**2) * t / 2) * (gauss[0] + self._image * gauss[1]) / sp.sqrt(2 * sp.pi * t)

    def _start(self, x0: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        r"""The start :math:`y_0` and the logarithmic derivative of u there, along y."""
        return self._y(x0), self.chart.direction * self.form.beta.subs(self.form.state, x0)

    def _beyond(self, y: sp.Expr, t: sp.Expr, y0: sp.Expr, value: sp.Expr, slope: sp.Expr) -> sp.Expr:
        r""":math:`\int_y^\infty w\,K_U`, with w the solution of :math:`w'' = k^2 w` of given value and slope at :math:`y_0`.

        :math:`w = \tfrac12(\text{value} + \text{slope}/k)e^{k(y-y_0)} + \dots`, and the square is completed in each
        exponential; for k = 0, w is affine and :math:`\int y\,g` is elementary.
        """
        root, k, image = sp.sqrt(t), self.rate, self._image
        if k == 0:
            near, far = phi((y0 - y) / root), phi(-(y + y0) / root)
            both = sp.S.One if y == 0 else near + far  # Φ(v) + Φ(−v) = 1
            even, odd = (both, near - far) if image == 1 else (near - far, both)
            gauss = [sp.exp(-((y - s) ** 2) / (2 * t)) / sp.sqrt(2 * sp.pi * t) for s in (y0, -y0)]
            constant = sp.cancel(value - slope * y0)
            return constant * even + slope * (y0 * odd + t * (gauss[0] + image * gauss[1]))
        total = sp.S.Zero
        for sign in (1, -1):
            weight = sp.cancel((value + sign * slope / k) / 2)
            shifted = [phi((s - y + sign * k * t) / root) for s in (y0, -y0)]
            total += weight * (shifted[0] + image * sp.exp(-2 * sign * k * y0) * shifted[1])
        return total

    def cdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """A sum of normal distribution functions."""
        y0, slope = self._start(x0)
        tail = self._beyond(self._y(x), t, y0, sp.S.One, slope)
        return tail if self.chart.direction < 0 else 1 - tail

    def sf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """A sum of normal distribution functions."""
        y0, slope = self._start(x0)
        tail = self._beyond(self._y(x), t, y0, sp.S.One, slope)
        return tail if self.chart.direction > 0 else 1 - tail

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """At an absorbing end, what is missing from the density's mass."""
        return (self._atom(self.chart.direction < 0, self._absorbed()),) if self.end is End.ABSORBING else ()

    def _shares(self) -> list[tuple[sp.Expr, sp.Expr]]:
        r"""The solution u relative to the start as a sum of exponentials: the share and the rate of each, for :math:`k \ne 0`."""
        _, slope = self._start(initial)
        both = ((sp.cancel((1 + slope / k) / 2), k) for k in (self.rate, -self.rate))
        return [(share, k) for share, k in both if share != 0]

    def _absorbed(self) -> sp.Expr:
        r"""One minus the density's mass, as a sum of terms that do not cancel."""
        y0, slope = self._start(initial)
        root = sp.sqrt(time)
        if self.rate == 0:
            return 2 * sp.cancel(1 - slope * y0) * phi(-y0 / root)
        return sp.Add(
            *(
                share * (phi(-(y0 + k * time) / root) + sp.exp(-2 * k * y0) * phi((k * time - y0) / root))
                for share, k in self._shares()
            )
        )

    @property
    def flux(self) -> sp.Expr:
        r"""Mass per unit of time that an absorbing end takes: :math:`\tfrac12\frac{u(0)}{u(y_0)}\,\partial_y K_U(t, y_0, 0)`.

        Each exponential in u contributes :math:`e^{-k y_0 - k^2 t/2}\,y_0 g_t(y_0)/t`, where the square completes: an inverse
        Gaussian density, defective where k > 0 points away from the end.
        """
        y0, slope = self._start(initial)
        front = y0 / sp.sqrt(2 * sp.pi * time**3)
        if self.rate == 0:
            return sp.cancel(1 - slope * y0) * front * sp.exp(-(y0**2) / (2 * time))
        return sp.Add(*(s * front * sp.exp(-((y0 + k * time) ** 2) / (2 * time)) for s, k in self._shares()))

    def _moving_moment(self, k: int, t: sp.Expr, x0: sp.Expr) -> sp.Expr:
        r"""The mean of a process without drift: x u solves the same equation as u, so that only value and slope change."""
        if k == 1 and self.form.drift == 0 and self.end is not End.REFLECTING:
            y0, slope = self._start(x0)
            steep = self.chart.direction * self.form.scale.subs(self.form.state, x0)
            return sp.powsimp(self._beyond(sp.S.Zero, t, y0, x0, sp.cancel(steep + x0 * slope)))
        return super()._moving_moment(k, t, x0)

    def _power_at_end(self) -> sp.Expr:
        """The m with |x| ~ y^{-m} at the end."""
        end = self.form.interval[int(self.chart.direction < 0)]
        if end.is_finite:
            return sp.S.Zero
        ratio = sp.expand(self.chart.coordinate * self.form.scale / self.form.state)
        value = sp.limit(ratio, self.form.state, end) if ratio.has(self.form.state) else ratio
        return sp.Abs(value)

    def finite_until(self, k: sp.Expr) -> sp.Expr:
        r"""Always or never: near the end the density is of order :math:`y^2` (unattainable) or y, and |x|ᵏ of order :math:`y^{-mk}`."""
        order = {End.UNATTAINABLE: 3, End.ABSORBING: 2, End.REFLECTING: 1}[self.end]
        excess = order - self._power_at_end() * sp.sympify(k)
        return sp.oo if excess == order or self.form.sign(excess) > 0 else sp.S.Zero

    @property
    def is_martingale(self) -> bool | None:
        """Only a local martingale where an unattainable end is infinite."""
        if self.form.drift != 0:
            return None
        return self.form.interval[int(self.chart.direction < 0)].is_finite is True

    @property
    def name(self) -> str:
        """By the shape of u and of the map."""
        if self.end is End.ABSORBING:
            return "Brownian motion absorbed at an end, under the inverse Lamperti transform"
        if self.end is End.REFLECTING:
            return "reflected Brownian motion, under the inverse Lamperti transform"
        if self.rate != 0:
            return "hyperbolic Bessel process, under the inverse Lamperti transform"
        x, y = self.form.state, self.chart.coordinate
        inverse = self.form.drift == 0 and sp.cancel(y * self.form.scale / (x - self._finite_end())) in (1, -1)
        return "inverse Bessel process of dimension 3" if inverse else "Bessel process of dimension 3, transformed"

    def _finite_end(self) -> sp.Expr:
        return next((e for e in self.form.interval if e.is_finite), sp.S.Zero)

    @property
    def description(self) -> Words:
        """The map, what Y is, and what happens at the end."""
        words: Words = (
            *self._transformed(),
            ", where ",
            moved,
            " has unit noise, the constant potential ",
            sp.factor(self.form.potential),
        )
        words = (*words, f" and an end at 0 that is {self.end.value}")
        if self.is_martingale is False:
            moves = (
                "falls" if self.chart.direction < 0 else "rises"
            )  # away from the infinite end, which it never reaches
            words = (*words, f"; X is a strict local martingale: its mean {moves}")
        return words

    @property
    def definitions(self) -> tuple[tuple[sp.Basic, sp.Basic], ...]:
        """The coordinate."""
        return ((sp.Symbol("y", positive=True), self.chart.coordinate),)

    def sampler(self) -> HalfLineRecipe | Inversion:
        """Three kinds of Brownian path, each exact."""
        if self.end is End.REFLECTING:
            return Inversion(self)
        y0, slope = self._start(initial)
        k, s = self.rate, slope
        end = self.form.interval[int(self.chart.direction < 0)]
        if k == 0:
            away = sp.cancel(s * y0)
            return HalfLineRecipe(sp.cancel(1 - away), sp.S.Zero, away, k, y0, self.chart.back, end)
        if self.end is End.UNATTAINABLE:
            return HalfLineRecipe(sp.S.Zero, sp.S.Zero, sp.S.One, k, y0, self.chart.back, end)
        # u = A e^{ky} + B e^{-ky} with u(y0) = 1; a negative B is moved into the sinh
        up, down = sp.cancel((1 + s / k) / 2), sp.cancel((1 - s / k) / 2)
        lack = sp.Max(0, -down)
        return HalfLineRecipe(
            up - lack * sp.exp(2 * k * y0),
            sp.Max(0, down),
            lack * (sp.exp(2 * k * y0) - 1),
            k,
            y0,
            self.chart.back,
            end,
        )

    @classmethod
    def example(cls) -> HalfLineLaw:
        r"""The inverse Bessel process :math:`\mathrm{d}X = X^2\,\mathrm{d}B`, a strict local martingale."""
        return cls.recognise(LampertiForm(state, (sp.S.Zero, sp.oo), sp.S.Zero, state**2))
