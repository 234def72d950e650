r"""Laws of processes that are a mixture of Gaussians in their Lamperti coordinate."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.calculus.invert import invert
from derivations.calculus.lamperti import LampertiForm
from derivations.calculus.logs import log_of_positive
from derivations.calculus.towards import limit_towards
from derivations.errors import DerivationError, NoClosedForm
from derivations.gaussian import expect
from derivations.laws.base import Atom, Check, Proof, Recipe, Words
from derivations.laws.chart import Chart
from derivations.laws.family import Family
from derivations.laws.proofs import check_forward, check_zero
from derivations.laws.verification import chapman_kolmogorov
from derivations.piecewise import Piece
from derivations.special import LogNormalCdf, fold_constants, fold_inverses
from derivations.symbols import initial, time

#: The process in its Lamperti coordinate, for display.
moved = sp.Symbol("Z_t", real=True)


@dataclass(frozen=True)
class Component:
    r"""One Gaussian of the mixture: :math:`Z_t \sim N(m, s^2)` with probability w, in terms of ``initial`` and ``time``."""

    weight: sp.Expr
    mean: sp.Expr
    variance: sp.Expr


@dataclass(frozen=True, repr=False)
class TransformedGaussian(Family):
    r"""The law of :math:`X_t = x(Z_t)`, where :math:`Z_t` given :math:`Z_0` is a mixture of Gaussians.

    With :math:`z : (l, r) \to \mathbb{R}` the Lamperti map, weights :math:`w_j`, means :math:`m_j` and variance
    :math:`s^2`, the density is :math:`p(x) = z'(x)\sum_j w_j\, N(z(x); m_j, s^2)`. Families differ in how the
    components are found from the coefficients.
    """

    @cached_property
    @abstractmethod
    def map(self) -> sp.Expr:
        """The Lamperti coordinate z as a function of x, increasing, onto the real line."""

    @cached_property
    @abstractmethod
    def components(self) -> tuple[Component, ...]:
        """The mixture, in terms of ``symbols.initial`` and ``symbols.time``."""

    @cached_property
    def inverse(self) -> tuple[sp.Symbol, sp.Expr]:
        """A real symbol z and the state x(z)."""
        z = sp.Dummy("z", real=True)
        left, right = self.form.interval
        return z, invert(self.map, self.form.state, z, Piece(left, right, self.map).interior())

    @property
    def name(self) -> str:
        """The name in the field, from the shape of the map."""
        return "transformed Gaussian"

    def _transformed(self) -> Words:
        z, x = self.inverse
        return (sp.Symbol("X_t", real=True), " = ", x.subs(z, moved))

    def _at(self, expr: sp.Expr, t: sp.Expr, x0: sp.Expr) -> sp.Expr:
        return expr.subs({time: t, initial: x0}, simultaneous=True)

    def _standardised(self, x: sp.Expr, part: Component, t: sp.Expr, x0: sp.Expr) -> sp.Expr:
        z = self.map.subs(self.form.state, x)
        return (z - self._at(part.mean, t, x0)) / sp.sqrt(self._at(part.variance, t, x0))

    def _density(self, part: Component, x: sp.Expr, t: sp.Expr, x0: sp.Expr) -> sp.Expr:
        scale = self.form.scale.subs(self.form.state, x)
        exponent = -(self._standardised(x, part, t, x0) ** 2) / 2
        return sp.exp(exponent) / (scale * sp.sqrt(2 * sp.pi * self._at(part.variance, t, x0)))

    def pdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Density at x in the interval, for x0 in the interval."""
        return sp.Add(*(self._at(c.weight, t, x0) * self._density(c, x, t, x0) for c in self.components))

    def logpdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Logarithm of the density; for one component a polynomial in z, which cannot underflow."""
        scale = log_of_positive(self.form.scale, self.form).subs(self.form.state, x)
        logs = [
            -(self._standardised(x, c, t, x0) ** 2) / 2 - sp.log(2 * sp.pi * self._at(c.variance, t, x0)) / 2
            for c in self.components
        ]
        weights = [self._at(c.weight, t, x0) for c in self.components]
        top = logs[0] if len(logs) == 1 else sp.Max(*logs)
        inside = sp.Add(*(w * sp.exp(value - top) for w, value in zip(weights, logs, strict=True)))
        return top + sp.log(inside) - scale

    def cdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        r"""Distribution function :math:`\sum_j w_j\,\Phi((z(x) - m_j)/s)`, each term without cancellation in the lower tail."""
        return sp.Add(
            *(
                self._at(c.weight, t, x0) * sp.exp(LogNormalCdf(self._standardised(x, c, t, x0)))
                for c in self.components
            )
        )

    def sf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        r"""Survival function :math:`1 - F`, without cancellation in the upper tail."""
        return sp.Add(
            *(
                self._at(c.weight, t, x0) * sp.exp(LogNormalCdf(-self._standardised(x, c, t, x0)))
                for c in self.components
            )
        )

    def moment(self, k: int, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        r"""The moment :math:`\sum_j w_j\,\mathbb{E}\,x(m_j + s G)^k`; infinity from :meth:`finite_until` on."""
        if k == 1 and self.form.drift == 0 and all(end.is_finite for end in self.form.interval):
            return x0  # a bounded local martingale is a martingale
        z, x = self.inverse
        parts = [[self._at(e, t, x0) for e in (c.weight, c.mean, c.variance)] for c in self.components]
        last = self.finite_until(sp.Integer(k))
        finite = sp.sympify(t) < last
        if finite == sp.false:
            return sp.oo
        total = sp.Add(*(w * expect(x**k, z, variance=variance, mean=mean) for w, mean, variance in parts))
        value = fold_inverses(sp.powsimp(sp.expand(total)))
        return value if finite == sp.true else sp.Piecewise((value, finite), (sp.oo, True))

    @cached_property
    def growth(self) -> sp.Expr:
        r"""The constant :math:`\kappa` with :math:`|x(z)| = e^{\kappa z^2 + o(z^2)}`, the larger of the two ends.

        Since :math:`x'(z) = \varphi(x(z))`, x and :math:`\varphi(x(z))` grow alike, and
        :math:`\kappa = \lim_{|z|\to\infty} \log\varphi(x(z))/z^2`. Towards a finite end x does not grow.
        """
        low, high = self.form.interval
        signs = [sign for sign, end in ((1, high), (-1, low)) if not end.is_finite]
        if not signs:
            return sp.S.Zero
        z, x = self.inverse
        p = sp.Dummy("p", positive=True)
        log_scale = sp.expand_log(log_of_positive(self.form.scale, self.form).subs(self.form.state, x), force=True)
        ends = [sp.limit(sp.expand(log_scale.subs(z, sign * p)) / p**2, p, sp.oo) for sign in signs]
        return sp.Max(0, *ends)

    def finite_until(self, k: sp.Expr) -> sp.Expr:
        r"""The first t with :math:`k\kappa = 1/(2s_t^2)`: beyond it :math:`e^{k\kappa z^2}` outgrows the Gaussian.

        Raises
        ------
        NoClosedForm
            If it is not known whether there is such a time.
        """
        kappa = self.growth
        if kappa == 0:
            return sp.oo
        variance = self.components[0].variance
        crossing = sp.solve(2 * k * kappa * variance - 1, time)
        positive = [_is_positive(root) for root in crossing]
        if None in positive:
            names = ", ".join(sorted({s.name for root in crossing for s in root.free_symbols})) or "its constants"
            raise NoClosedForm(
                f"from which time on the moment of order {k} is infinite depends on the signs of {names}; give them, such as Symbol('k', positive=True)"
            )
        times = [sp.expand_log(root, force=True) for root, sign in zip(crossing, positive, strict=True) if sign]
        return times[0] if times else sp.oo

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """None: a start inside the interval stays inside, with a density."""
        return ()

    @property
    def is_martingale(self) -> bool | None:
        """By its mean: if that stays where it is from every start, the Markov property makes it a martingale."""
        if self.form.drift != 0:
            return None
        return bool(sp.expand(self.moment(1) - initial) == 0)

    def sampler(self) -> Recipe:
        r"""Draw a component, then :math:`x(m_j + s\,G)` with G standard normal."""
        z, x = self.inverse
        normal = sp.Symbol("G", real=True)
        values = tuple(x.subs(z, c.mean + sp.sqrt(c.variance) * normal) for c in self.components)
        return Recipe(tuple(c.weight for c in self.components), values, normal)

    def prove(self) -> Proof:
        """Forward equation, normalisation, derivative of the cdf, and the initial law."""
        x, interval = self.form.state, self.form.interval
        spatial = (x, initial)
        density = self.pdf(x)
        log_density = self.logpdf(x) if len(self.components) == 1 else sp.log(density)
        checks = [
            check_forward(self.diffusion, log_density, interval, initial),
            check_zero(
                "derivative of the distribution function minus the density, divided by the density",
                sp.diff(self.cdf(x), x) / density - 1,
                interval,
                spatial,
            ),
            check_zero(
                "missing mass: 1 minus the weights, the map being onto the line",
                1 - sp.Add(*(c.weight for c in self.components)),
                interval,
                spatial,
            ),
            self._onto(),
            *self._starts_at_the_start(),
            chapman_kolmogorov(self, self.form, self._chart),
        ]
        return Proof(tuple(checks))

    @property
    def _chart(self) -> Chart:
        z, x = self.inverse
        return Chart(self.map, sp.Lambda(z, x), 1, on_line=True)

    def _onto(self) -> Check:
        ends = image(self.form, self.map)
        return Check(
            "the map carries the interval onto the real line",
            sp.Tuple(*ends),
            sp.Tuple(-sp.oo, sp.oo),
            True,
            ends == (-sp.oo, sp.oo),
        )

    def _starts_at_the_start(self) -> list[Check]:
        x, interval = self.form.state, self.form.interval
        z0 = self.map.subs(x, initial)
        rows = []
        for c in self.components:
            rows.append(
                check_zero(
                    "mean of Z as t goes to 0, minus z of the start",
                    sp.limit(c.mean, time, 0) - z0,
                    interval,
                    (x, initial),
                )
            )
            rows.append(
                check_zero("variance of Z as t goes to 0", sp.limit(c.variance, time, 0), interval, (x, initial))
            )
        return rows


def image(form: LampertiForm, map_: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Limits of the Lamperti coordinate at the two ends of the interval."""
    known = _positive_roots(form, map_)
    map_ = map_.subs(known)

    def approach(end: sp.Expr, side: str) -> sp.Expr:
        value = fold_constants(map_.subs(form.state, end))
        return value if value.is_extended_real else limit_towards(map_, form.state, end, side)

    left, right = (sp.expand(end.subs(known)) for end in form.interval)
    return approach(left, "+" if left.is_finite else "-"), approach(right, "-")


def _is_positive(when: sp.Expr) -> bool | None:
    """Whether a time at which an exponential of it takes a value is positive."""
    factors = (sp.logcombine(factor, force=True) for factor in sp.Mul.make_args(sp.factor(when)))
    known: bool | None = sp.Mul(*factors).replace(sp.log, lambda u: sp.log(sp.expand(u))).is_positive
    return known


def _positive_roots(form: LampertiForm, map_: sp.Expr) -> dict[sp.Expr, sp.Symbol]:
    """A positive symbol for each square root of a constant that is positive by what is assumed of the parameters."""
    ends = sp.Tuple(map_, *form.interval)
    roots = [r for r in ends.atoms(sp.Pow) if r.exp == sp.Rational(1, 2) and not r.has(form.state) and r.free_symbols]
    found = {}
    for root in sorted(roots, key=sp.default_sort_key):
        with suppress(DerivationError):
            if root.is_positive is None and form.sign(root.base) > 0:
                found[root] = sp.Dummy("r", positive=True)
    return found


def require_line(form: LampertiForm, map_: sp.Expr) -> None:
    """Refuse a map that does not cover the real line: the free kernel is then not the process's."""
    ends = image(form, map_)
    if ends != (-sp.oo, sp.oo):
        raise NoClosedForm(
            f"the Lamperti coordinate covers {ends}, not the whole line; its ends need a kernel of their own"
        )
