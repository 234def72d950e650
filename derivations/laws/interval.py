r"""Constant potential on a bounded interval: theta series."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.calculus.lamperti import LampertiForm
from derivations.errors import NoClosedForm
from derivations.laws.base import Atom, Words
from derivations.laws.chart import Chart, finite_length
from derivations.laws.ends import End, NoKernelAtEnd, regular_end
from derivations.laws.kernel import KernelLaw, moved
from derivations.laws.recipes import ConditionedRecipe, Inversion
from derivations.special import IntervalKernel, LogIntervalKernel, theta_forms
from derivations.symbols import initial, state, time


@dataclass(frozen=True, repr=False)
class IntervalLaw(KernelLaw):
    r"""Law of a process with constant potential U whose coordinate y covers a bounded interval :math:`(0, \ell)`.

    With :math:`\vartheta` the heat kernel of the unit interval with absorbing ends
    (:class:`~derivations.special.IntervalKernel`, both of whose series are at hand),

    .. math:: K_U(t, y_0, y) = \frac{e^{-Ut/2}}{\ell}\,\vartheta\Bigl(\frac{t}{\ell^2}, \frac{y}{\ell}, \frac{y_0}{\ell}\Bigr).

    For :math:`\varphi = 1 + x^2`: :math:`y = \arctan x + \pi/2`, U = −1 and :math:`u = \sin y` vanishes at both ends, so that X never
    explodes.

    Parameters
    ----------
    form : LampertiForm
    ends : tuple of End
        What happens at the left and the right end.
    """

    ends: tuple[End, End] = (End.UNATTAINABLE, End.UNATTAINABLE)

    @classmethod
    def recognise(cls, form: LampertiForm) -> IntervalLaw:
        """Accept a form with :math:`DU = 0` whose coordinate reaches both ends at finite length."""
        if form.derive(form.potential) != 0:
            raise NoClosedForm(f"the potential {form.potential} is not constant")
        chart = finite_length(form)
        if chart.length == sp.oo or chart.complement is None:
            raise NoClosedForm("the coordinate does not reach both ends at finite length")
        ends = (regular_end(form, False, chart.coordinate), regular_end(form, True, chart.complement))
        if End.REFLECTING in ends:
            raise NoKernelAtEnd("a reflecting end of an interval is not among the kernels")
        law = cls(form, ends)
        _ = law.log_h_transform  # the integral must exist
        return law

    @cached_property
    def chart(self) -> Chart:
        """The distance from the left end."""
        return finite_length(self.form)

    def _scaled(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
        length = self.chart.length
        return t / length**2, sp.cancel(y / length), sp.cancel(y0 / length)

    def log_kernel(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> sp.Expr:
        r"""The logarithm of the theta series, :math:`-\tfrac12 Vt - \log\ell` added."""
        return LogIntervalKernel(*self._scaled(t, y0, y)) - self.form.potential * t / 2 - sp.log(self.chart.length)

    def kernel(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> sp.Expr:
        """The theta series."""
        theta = IntervalKernel(0, *self._scaled(t, y0, y))
        return sp.exp(-self.form.potential * t / 2) / self.chart.length * theta

    @property
    def atoms(self) -> tuple[Atom, ...]:
        r"""At the absorbing ends: :math:`w(y_0) - \int w K`, with w the solution that is u at this end and 0 at the other."""
        return tuple(
            self._atom(right, self._absorbed(right))
            for right in (False, True)
            if self.ends[int(right)] is End.ABSORBING
        )

    def _absorbed(self, right: bool) -> sp.Expr:
        y, length = sp.Dummy("y", positive=True), self.chart.length
        y0 = self._y(initial)
        slope = self.form.beta.subs(self.form.state, initial)
        k = self.form.root_of_potential
        grow = (lambda s: s) if k == 0 else (lambda s: sp.sinh(k * s) / k)

        def u(s: sp.Expr) -> sp.Expr:
            return (1 if k == 0 else sp.cosh(k * (s - y0))) + slope * grow(s - y0)  # type: ignore[no-untyped-call]

        def w(s: sp.Expr) -> sp.Expr:
            return u(length if right else sp.S.Zero) * grow(s if right else length - s) / grow(length)  # type: ignore[no-untyped-call]

        return w(y0) - sp.Integral(w(y) * self.kernel(time, y0, y), (y, 0, length))

    def _moving_moment(self, k: int, t: sp.Expr, x0: sp.Expr) -> sp.Expr:
        """An integral over y, on which the density is bounded."""
        y = self.chart.back.variables[0]
        x = self.chart.back.expr
        density = self.pdf(x, t, x0) * self.form.scale.subs(self.form.state, x)
        return sp.Integral(x**k * density, (y, 0, self.chart.length))

    def finite_until(self, k: sp.Expr) -> sp.Expr:
        r"""Always or never, by the order of the density at an infinite end: :math:`y^2` if it is unattainable."""
        for right, end in enumerate(self.ends):
            if self.form.interval[right].is_finite:
                continue
            distance = self.chart.complement if right else self.chart.coordinate
            order = 3 if end is End.UNATTAINABLE else 2
            excess = order - self._power(distance, bool(right)) * sp.sympify(k)
            if self.form.sign(excess) <= 0:
                return sp.S.Zero
        return sp.oo

    def _power(self, distance: sp.Expr, right: bool) -> sp.Expr:
        """The m with |x| ~ y^{-m}; for a quadratic noise it is 1, as φ ~ a x² and y ~ 1/(a x)."""
        x = self.form.state
        if self.form.scale.is_polynomial(x) and sp.degree(self.form.scale, x) == 2:
            return sp.S.One
        opened = distance.replace(
            lambda e: isinstance(e, sp.atan2), lambda e: sp.pi / 2 - sp.atan(e.args[1] / e.args[0])
        )
        return sp.Abs(sp.limit(opened * self.form.scale / x, x, sp.oo if right else -sp.oo))

    def sampler(self) -> ConditionedRecipe | Inversion:
        """By rejection where both ends are unattainable, else by inversion."""
        if self.ends != (End.UNATTAINABLE, End.UNATTAINABLE):
            return Inversion(self)
        share = self._y(initial) / self.chart.length
        return ConditionedRecipe(time / self.chart.length**2, share, self.chart.length, self.chart.back)

    @property
    def is_martingale(self) -> bool | None:
        """Only a local martingale where an unattainable end is infinite."""
        return None if self.form.drift != 0 else all(e.is_finite for e in self.form.interval)

    @property
    def stationary(self) -> sp.Expr | None:
        r"""Where both ends are unattainable, :math:`u^2` is normalisable: :math:`u = \sin(\pi y/\ell)` up to a factor."""
        if self.ends != (End.UNATTAINABLE, End.UNATTAINABLE):
            return None
        share = self.chart.coordinate / self.chart.length
        return 2 * sp.sin(sp.pi * share) ** 2 / (self.chart.length * self.form.scale)

    @property
    def name(self) -> str:
        """By what happens at the ends."""
        if self.ends == (End.UNATTAINABLE, End.UNATTAINABLE):
            return "Brownian motion conditioned to stay in an interval, under the inverse Lamperti transform"
        return "Brownian motion on an interval with absorption, under the inverse Lamperti transform"

    @property
    def description(self) -> Words:
        """The map, the potential and the ends."""
        said = (
            ("; X is a strict local martingale: its mean does not stay where it starts",)
            if self.is_martingale is False
            else ()
        )
        kinds = dict.fromkeys(
            f"{side} is {end.value}" for side, end in zip(("0", "the length"), self.ends, strict=True)
        )
        return (
            *self._transformed(),
            ", where ",
            moved,
            " has unit noise and the constant potential ",
            self.form.potential,
            " on an interval of length ",
            self.chart.length,
            f": {'; '.join(kinds)}",
            *said,
        )

    @property
    def definitions(self) -> tuple[tuple[sp.Basic, sp.Basic], ...]:
        """The map z, the coordinate y counted from the left end, and the theta series in both of its forms."""
        tau, a, b = sp.Symbol("tau"), sp.Symbol("a"), sp.Symbol("b")
        theta = IntervalKernel(0, tau, a, b)
        shown = self.chart.coordinate.replace(
            lambda e: isinstance(e, sp.atan2), lambda e: sp.pi / 2 - sp.atan(e.args[1] / e.args[0])
        )
        z, y = sp.Symbol("z", real=True), sp.Symbol("y", real=True)
        offset, moving = sp.expand(shown).as_independent(self.form.state, as_Add=True)
        return ((z, moving), (y, z + offset), *((theta, form) for form in theta_forms(tau, a, b)))

    @classmethod
    def example(cls) -> IntervalLaw:
        r""":math:`\mathrm{d}X = (1 + X^2)\,\mathrm{d}B`."""
        return cls.recognise(LampertiForm(state, (-sp.oo, sp.oo), sp.S.Zero, 1 + state**2))
