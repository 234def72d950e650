r"""Laws made from the kernel of a solvable potential and the positive solution u that the process singles out."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.calculus.lamperti import LampertiForm, back_from, tidy
from derivations.calculus.logs import log_of_positive
from derivations.errors import DerivationError, NoClosedForm
from derivations.laws.base import Atom, Proof, Words
from derivations.laws.chart import Chart
from derivations.laws.family import Family
from derivations.laws.recipes import AnyRecipe, Inversion
from derivations.laws.verification import checks_of
from derivations.symbols import initial, time

#: The process in its Lamperti coordinate, for display.
moved = sp.Symbol("Y_t", positive=True)


@dataclass(frozen=True, repr=False)
class KernelLaw(Family):
    r"""The law with density :math:`p(x) = \frac{1}{\varphi(x)} \frac{u(x)}{u(x_0)} K_U(t, y_0, y)`.

    :math:`K_U` is the kernel of :math:`\tfrac12\partial_y^2 - \tfrac12 U` and u the solution of :math:`u'' = Uu` with
    :math:`(\log u)' = \beta`. No differential equation has to be solved for it: as :math:`\beta = \mu/\varphi - \tfrac12\varphi'`,

    .. math:: u(x)/u(x_0) = \sqrt{\varphi(x_0)/\varphi(x)}\,\exp\int_{x_0}^x \mu/\varphi^2 .

    Families differ in the kernel, in the ends of the coordinate and in what is closed besides.
    """

    @cached_property
    @abstractmethod
    def chart(self) -> Chart:
        """The coordinate y."""

    @abstractmethod
    def log_kernel(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> sp.Expr:
        r""":math:`\log K_U(t, y_0, y)`, in a form that does not underflow."""

    @abstractmethod
    def kernel(self, t: sp.Expr, y0: sp.Expr, y: sp.Expr) -> sp.Expr:
        r""":math:`K_U(t, y_0, y)`, as it is to be read."""

    @property
    def definitions(self) -> tuple[tuple[sp.Basic, sp.Basic], ...]:
        """Equations that say what the density is written in, for display."""
        return ()

    @cached_property
    def log_h_transform(self) -> sp.Expr:
        r"""The antiderivative :math:`\int \mu/\varphi^2\,\mathrm{d}x`; 0 without drift."""
        if self.form.drift == 0:
            return sp.S.Zero
        p, inside = self.form.on_interval
        terms = (
            tidy((term / self.form.scale**2).subs(self.form.state, inside))
            for term in sp.Add.make_args(self.form.drift)
        )
        integral = sp.Add(*(_primitive(term * sp.diff(inside, p), p) for term in terms))
        if integral.has(sp.Integral):
            raise NoClosedForm(f"∫ ({self.form.drift})/({self.form.scale**2}) dx is not elementary")
        back = back_from(inside, p, self.form.state)
        return integral.subs(p, back)

    def _y(self, x: sp.Expr) -> sp.Expr:
        return self.chart.coordinate.subs(self.form.state, x)

    def log_prefactor(self, x: sp.Expr, x0: sp.Expr = initial) -> sp.Expr:
        r""":math:`\log\bigl(u(x)/(u(x_0)\varphi(x))\bigr)`."""
        logs = log_of_positive(self.form.scale, self.form)
        here, there = (logs.subs(self.form.state, v) for v in (x, x0))
        gain = self.log_h_transform.subs(self.form.state, x) - self.log_h_transform.subs(self.form.state, x0)
        return there / 2 - sp.Rational(3, 2) * here + gain

    def pdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Density at x in the interval, for x0 in the interval."""
        here, there = (self.form.scale.subs(self.form.state, v) for v in (x, x0))
        gain = sp.exp(self.log_h_transform.subs(self.form.state, x) - self.log_h_transform.subs(self.form.state, x0))
        return sp.sqrt(there) / here ** sp.Rational(3, 2) * gain * self.kernel(t, self._y(x0), self._y(x))

    def logpdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Logarithm of the density, in logarithms throughout."""
        return self.log_prefactor(x, x0) + self.log_kernel(t, self._y(x0), self._y(x))

    def cdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Distribution function, atoms included; an integral over the density where no closed form is known."""
        xi = sp.Dummy("xi", real=True)
        left = self.form.interval[0]
        below = sp.Add(
            *(a.mass.subs({time: t, initial: x0}, simultaneous=True) for a in self.atoms if a.location == left)
        )
        return below + sp.Integral(self.pdf(xi, t, x0), (xi, left, x))

    def sf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Survival function."""
        return 1 - self.cdf(x, t, x0)

    def moment(self, k: int, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        r"""The moment :math:`\mathbb{E}X_t^k`; infinity where it is not finite."""
        if k == 0:
            return sp.S.One
        until = self.finite_until(sp.Integer(k))
        if until == 0:
            return sp.oo
        total = self._moving_moment(k, t, x0) + sp.Add(
            *(a.location**k * a.mass.subs({time: t, initial: x0}, simultaneous=True) for a in self.atoms)
        )
        return sp.Piecewise((total, until > 0), (sp.oo, True)) if isinstance(until, sp.Piecewise) else total

    def _moving_moment(self, k: int, t: sp.Expr, x0: sp.Expr) -> sp.Expr:
        """The part of the moment that the density carries; an integral unless a family knows better."""
        xi = sp.Dummy("xi", real=True)
        return sp.Integral(xi**k * self.pdf(xi, t, x0), (xi, *self.form.interval))

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """The ends at which the process has been absorbed."""
        return ()

    def _atom(self, right: bool, mass: sp.Expr) -> Atom:
        return Atom(self.form.interval[int(right)], mass, self.diffusion.domain.as_relational(initial))

    @property
    def is_martingale(self) -> bool | None:
        """For a process without drift, whether it is a martingale, or only a local one; None with drift."""
        return True if self.form.drift == 0 else None

    def sampler(self) -> AnyRecipe:
        """By inversion of the distribution function, unless a family knows better."""
        return Inversion(self)

    def prove(self) -> Proof:
        """Forward equation, mass, initial law and Chapman–Kolmogorov."""
        return Proof(checks_of(self, self.form, self.chart))

    def _transformed(self) -> Words:
        return (sp.Symbol("X_t", real=True), " = ", self.chart.back(moved))


def _primitive(term: sp.Expr, x: sp.Symbol) -> sp.Expr:
    """An antiderivative: the logarithm of the denominator where the numerator is its derivative, else SymPy's."""
    numerator, denominator = sp.fraction(sp.together(term))
    slope = sp.diff(denominator, x)
    if slope != 0:
        ratio = sp.cancel(sp.powsimp(sp.expand(numerator / slope)))
        if not ratio.has(x):
            return ratio * sp.log(denominator)
    return sp.integrate(term, x)


def always_or_never(form: LampertiForm, excess: sp.Expr) -> sp.Expr:
    """Infinity if the excess is positive, 0 if not; by cases where its sign depends on parameters."""
    try:
        return sp.oo if form.sign(excess) > 0 else sp.S.Zero
    except DerivationError:
        return sp.Piecewise((sp.oo, excess > 0), (sp.S.Zero, True))
