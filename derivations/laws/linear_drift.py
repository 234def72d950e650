r"""Drift affine in the Lamperti coordinate: the Ornstein–Uhlenbeck process and its images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.calculus.lamperti import LampertiForm, tidy
from derivations.errors import NoClosedForm
from derivations.laws.base import Words
from derivations.laws.transformed import Component, TransformedGaussian, moved, require_line
from derivations.symbols import initial, state, time


@dataclass(frozen=True, repr=False)
class OrnsteinUhlenbeckLaw(TransformedGaussian):
    r"""Law of a process with :math:`D\beta = \kappa \ne 0` constant: quadratic potential, Mehler's kernel.

    Then :math:`Z = \beta/\kappa` is itself a Lamperti coordinate (its derivative along z is 1) and satisfies
    :math:`\mathrm{d}Z = \kappa Z\,\mathrm{d}t + \mathrm{d}B`. By variation of constants

    .. math:: Z_t = e^{\kappa t} Z_0 + \int_0^t e^{\kappa(t-s)}\,\mathrm{d}B_s,

    a Gaussian with mean :math:`e^{\kappa t}z_0` and, by Itô's isometry, variance :math:`\int_0^t e^{2\kappa s}\,\mathrm{d}s`.
    Stable for :math:`\kappa < 0`. No integral over x is needed: the coordinate is read off the coefficients.
    """

    @classmethod
    def recognise(cls, form: LampertiForm) -> OrnsteinUhlenbeckLaw:
        r"""Accept a form with :math:`D\beta` a constant other than 0 whose coordinate covers the line."""
        rate = form.derive(form.beta)
        if rate == 0 or form.derive(rate) != 0:
            raise NoClosedForm(f"the drift {form.beta} of the Lamperti form is not affine in its coordinate")
        law = cls(form)
        require_line(form, law.map)
        return law

    @property
    def rate(self) -> sp.Expr:
        r"""The constant :math:`\kappa = D\beta`, per unit of time."""
        return self.form.derive(self.form.beta)

    @cached_property
    def map(self) -> sp.Expr:
        r"""The coordinate :math:`\beta/\kappa`."""
        return tidy(self.form.beta / self.rate)

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """One Gaussian, from variation of constants and Itô's isometry."""
        s = sp.Dummy("s", positive=True)
        z0 = self.map.subs(self.form.state, initial)
        variance = sp.integrate(sp.exp(2 * self.rate * s), (s, 0, time))
        return (Component(sp.S.One, sp.exp(self.rate * time) * z0, sp.expand(variance)),)

    @property
    def stationary(self) -> sp.Expr | None:
        r"""For :math:`\kappa < 0`, :math:`N(0, 1/2|\kappa|)` transformed to x."""
        if self.form.sign(self.rate) > 0:
            return None
        pull = -self.rate
        return sp.sqrt(pull / sp.pi) * sp.exp(-pull * self.map**2) / self.form.scale

    @property
    def name(self) -> str:
        """Ornstein–Uhlenbeck, bare or transformed."""
        z, x = self.inverse
        kind = "unstable Ornstein–Uhlenbeck process" if self.rate.is_positive else "Ornstein–Uhlenbeck process"
        return kind if sp.diff(x, z, 2) == 0 else f"{kind}, under the inverse Lamperti transform"

    @property
    def description(self) -> Words:
        """The map, and the drift of the coordinate."""
        return (*self._transformed(), ", where ", moved, " has unit noise and drift ", self.rate * moved)

    @classmethod
    def example(cls) -> OrnsteinUhlenbeckLaw:
        r"""The Ornstein–Uhlenbeck process itself, :math:`\mathrm{d}X = -X\,\mathrm{d}t + \mathrm{d}B`."""
        return cls.recognise(LampertiForm(state, (-sp.oo, sp.oo), -state, sp.S.One))
