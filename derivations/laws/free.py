r"""Constant potential on the whole line: Brownian motion and its images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.calculus.lamperti import LampertiForm, back_from
from derivations.calculus.logs import real_logs
from derivations.calculus.power_exponential import antiderivative
from derivations.calculus.quadratic import Quadratic
from derivations.errors import NoClosedForm
from derivations.laws.base import Words
from derivations.laws.transformed import Component, TransformedGaussian, moved, require_line
from derivations.symbols import initial, state, time


@dataclass(frozen=True, repr=False)
class FreeLaw(TransformedGaussian):
    r"""Law of a process whose potential is a constant :math:`U = k^2` on the whole line.

    The kernel of :math:`\tfrac12\partial_z^2 - \tfrac12 k^2` is Gauss's times :math:`e^{-k^2t/2}`, and the solution of
    :math:`u'' = k^2 u` with :math:`(\log u)' = \beta` is, relative to the start,

    .. math:: u(z)/u(z_0) = w_+ e^{k(z-z_0)} + w_- e^{-k(z-z_0)}, \qquad w_\pm = \tfrac12(1 \pm \beta(z_0)/k).

    Completing the square turns each exponential into a drift: given the start, Z is a Brownian motion with
    drift :math:`+k` with probability :math:`w_+` and :math:`-k` with probability :math:`w_-`. One of the weights
    vanishes exactly if :math:`\beta` is constant.
    """

    @classmethod
    def recognise(cls, form: LampertiForm) -> FreeLaw:
        """Accept a form with :math:`DU = 0` whose coordinate covers the line."""
        if form.derive(form.potential) != 0:
            raise NoClosedForm(f"the potential {form.potential} is not constant")
        x, scale = form.state, form.scale
        if not all(end.is_finite for end in form.interval) and scale.is_polynomial(x) and sp.degree(scale, x) > 1:
            raise NoClosedForm("the Lamperti coordinate is finite at infinity: ∫ dx/φ converges there")
        law = cls(form)
        require_line(form, law.map)
        return law

    @cached_property
    def _between_zeros(self) -> Quadratic | None:
        """The negative of the noise, if it is a quadratic whose zeros are the interval's ends."""
        q = Quadratic.of(sp.expand(-self.form.scale), self.form.state)
        left, right = self.form.interval
        if q is None or not (left.is_finite and right.is_finite):
            return None
        return q if sp.expand(left + right + q.b / q.a) == 0 and sp.expand(left * right - q.c / q.a) == 0 else None

    @cached_property
    def inverse(self) -> tuple[sp.Symbol, sp.Expr]:
        """A real symbol z and the state x(z)."""
        if self._between_zeros is None:
            return super().inverse
        z = sp.Dummy("z", real=True)
        return z, self._between_zeros.between()[1](z)

    @cached_property
    def map(self) -> sp.Expr:
        r"""The antiderivative :math:`\int \mathrm{d}x/\varphi`."""
        if self._between_zeros is not None:
            return self._between_zeros.between()[0]
        p, inside = self.form.on_interval
        integrand = sp.cancel(1 / self.form.scale.subs(self.form.state, inside)) * sp.diff(inside, p)
        excepted: set[sp.Expr] = set()
        integral = antiderivative(integrand, p, excepted)
        if integral is None or excepted:
            integral = sp.integrate(integrand, p)
        if integral.has(sp.Integral):
            raise NoClosedForm(f"∫ dx/({self.form.scale}) is not elementary")
        back = back_from(inside, p, self.form.state)
        return real_logs(integral.subs(p, back), self.form)

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """Brownian motions with drift ±k, or with drift β where that is constant."""
        z0, beta0 = (e.subs(self.form.state, initial) for e in (self.map, self.form.beta))
        if not beta0.has(initial):  # one exponential: w₋ or w₊ is 0, whichever sign β has
            return (Component(sp.S.One, z0 + beta0 * time, time),)
        k = self.form.root_of_potential
        both = [(sp.cancel((1 + sign * beta0 / k) / 2), sign * k) for sign in (1, -1)]
        return tuple(Component(weight, z0 + drift * time, time) for weight, drift in both)

    @property
    def name(self) -> str:
        """Brownian motion where the map is affine, geometric where it is an exponential, else a transformed one."""
        z, x = self.inverse
        bend = sp.cancel(sp.diff(x, z, 2) / sp.diff(x, z))
        if bend == 0:
            moves = any(sp.diff(c.mean, time) != 0 for c in self.components)
            return "Brownian motion with drift" if moves else "Brownian motion"
        if not bend.has(z) and len(self.components) == 1:
            return "geometric Brownian motion"
        return "Brownian motion under the inverse Lamperti transform"

    @property
    def description(self) -> Words:
        """The map, and the drifts of the mixture with the probability of the first."""
        first, *others = self.components
        drifts: list[str | sp.Basic] = [sp.diff(first.mean, time)]
        for other in others:
            drifts += [" with probability ", sp.factor(first.weight), ", else ", sp.diff(other.mean, time)]
        return (*self._transformed(), ", where ", moved, " is Brownian motion with drift ", *drifts)

    @classmethod
    def example(cls) -> FreeLaw:
        """Geometric Brownian motion on the half-line."""
        return cls.recognise(LampertiForm(state, (sp.S.Zero, sp.oo), sp.S.Zero, state))
