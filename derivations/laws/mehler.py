r"""Quadratic potential on the line with a general level: Mehler's kernel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.calculus.lamperti import LampertiForm, tidy
from derivations.errors import NoClosedForm
from derivations.laws.base import Words
from derivations.laws.chart import Chart, inverted
from derivations.laws.kernel import KernelLaw, moved
from derivations.laws.transformed import image
from derivations.symbols import state


@dataclass(frozen=True, repr=False)
class MehlerLaw(KernelLaw):
    r"""Law of a process with :math:`U = \alpha^2 y^2 + \gamma` on the line, for any positive u.

    *Recognition.* :math:`D^3U = 0`, and :math:`y = DU/D^2U` is the coordinate. With :math:`e = e^{-\alpha t}`,

    .. math:: K_U(t, y_0, y) = e^{-(\gamma + \alpha)t/2} \sqrt{\frac{\alpha}{\pi(1 - e^2)}}
              \exp\Bigl(-\frac{\alpha(y - y_0 e)^2}{1 - e^2} + \frac{\alpha}{2}(y^2 - y_0^2)\Bigr).

    For :math:`\gamma = \mp\alpha` and one exponential u it is the Ornstein–Uhlenbeck process; in general u is a combination of parabolic
    cylinder functions, read off the coefficients as :math:`\varphi^{-1/2}\exp\int\mu/\varphi^2`.
    """

    @classmethod
    def recognise(cls, form: LampertiForm) -> MehlerLaw:
        """Accept a form with :math:`D^3U = 0`, :math:`D^2U > 0`, whose coordinate covers the line."""
        second = form.derive(form.derive(form.potential))
        if second == 0 or form.derive(second) != 0 or form.sign(second) < 0:
            raise NoClosedForm(f"the potential {form.potential} is not a rising parabola")
        law = cls(form)
        ends = image(form, law.coordinate)
        if ends != (-sp.oo, sp.oo):
            raise NoClosedForm(f"the Lamperti coordinate covers {ends}, not the whole line")
        _ = law.log_h_transform  # the integral must exist
        return law

    @cached_property
    def coordinate(self) -> sp.Expr:
        """The coordinate, counted from the bottom of the parabola."""
        first = self.form.derive(self.form.potential)
        return tidy(first / self.form.derive(first))

    @cached_property
    def chart(self) -> Chart:
        """The coordinate on the line."""
        return Chart(self.coordinate, inverted(self.form, self.coordinate, False), 1, on_line=True)

    @cached_property
    def alpha(self) -> sp.Expr:
        r""":math:`\alpha = \sqrt{D^2U/2}`."""
        return sp.sqrt(self.form.derive(self.form.derive(self.form.potential)) / 2)

    @cached_property
    def level(self) -> sp.Expr:
        r""":math:`\gamma = U - \alpha^2 y^2`."""
        return tidy(self.form.potential - self.alpha**2 * self.coordinate**2)

    def log_kernel(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> sp.Expr:
        """Mehler's formula, in logarithms."""
        a, e = self.alpha, sp.exp(-self.alpha * t)
        spread = 1 - sp.exp(-2 * a * t)
        return (
            -(self.level + a) * t / 2
            + sp.log(a / sp.pi) / 2
            - sp.log(spread) / 2
            - a * (y - y0 * e) ** 2 / spread
            + a * (y**2 - y0**2) / 2
        )

    def kernel(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> sp.Expr:
        """Mehler's formula."""
        a, e = self.alpha, sp.exp(-self.alpha * t)
        spread = 1 - sp.exp(-2 * a * t)
        front = sp.exp(-(self.level + a) * t / 2) * sp.sqrt(a / (sp.pi * spread))
        return front * sp.exp(-a * (y - y0 * e) ** 2 / spread + a * (y**2 - y0**2) / 2)

    def finite_until(self, k: sp.Expr) -> sp.Expr:
        r"""All moments of a bounded process are finite, and of one that is a polynomial in y: u is at most :math:`\propto e^{\alpha y^2/2}`."""
        if all(end.is_finite for end in self.form.interval):
            return sp.oo
        if self.chart.back.expr.is_polynomial(self.chart.back.variables[0]):
            return sp.oo
        raise NoClosedForm(f"how fast {self.chart.back.expr} grows is not known, so neither is when moments are finite")

    @property
    def name(self) -> str:
        """The name in the field."""
        return "process with a quadratic potential (Mehler's kernel), under the inverse Lamperti transform"

    @property
    def description(self) -> Words:
        """The map and the potential."""
        y = sp.Symbol("y", real=True)
        return (
            *self._transformed(),
            ", where ",
            moved,
            " has unit noise and the potential ",
            self.alpha**2 * y**2 + self.level,
        )

    @property
    def definitions(self) -> tuple[tuple[sp.Basic, sp.Basic], ...]:
        """The coordinate."""
        return ((sp.Symbol("y", real=True), self.coordinate),)

    @classmethod
    def example(cls) -> MehlerLaw:
        r"""Unit noise and :math:`u = e^{x^2/2}(1 + \tfrac12\operatorname{erf} x)`: :math:`U = x^2 + 1`, neither end favoured for good."""
        log_u = state**2 / 2 + sp.log(1 + sp.erf(state) / 2)
        return cls.recognise(LampertiForm(state, (-sp.oo, sp.oo), sp.diff(log_u, state), sp.S.One))
