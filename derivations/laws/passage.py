r"""When a diffusion first reaches a level: what the kernel with an absorbing end says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from derivations.calculus.exits import hitting_probability
from derivations.decimals import exact_decimals
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, require
from derivations.laws.base import Law
from derivations.laws.ends import End
from derivations.laws.half_line import HalfLineLaw
from derivations.laws.interval import IntervalLaw
from derivations.laws.radial import RadialLaw
from derivations.laws.recognition import recognise
from derivations.notation.plain import plain
from derivations.notation.printed import Legible
from derivations.symbols import initial, time


@dataclass(frozen=True, repr=False)
class FirstPassage(Legible):
    r"""The first time at which the process is at a level, if it gets there before it stops elsewhere.

    Parameters
    ----------
    level : Expr
    density : Expr
        Of the time, in terms of ``symbols.initial`` and ``symbols.time``; its integral is ``ever``.
    probability : Expr
        That it has been there by time t.
    process : Diffusion
        Stopped at the level.
    """

    level: sp.Expr
    density: sp.Expr
    probability: sp.Expr
    process: Diffusion

    @property
    def headline(self) -> str:
        """The level, and the process."""
        return f"of {plain(self.level)} by {'; '.join(str(self.process).splitlines())}"

    def __str__(self) -> str:
        reached, at = f"P(T <= {plain(time)})", f"f({plain(time)})"
        lines = (
            f"First passage {self.headline}",
            f"{reached} = {plain(self.probability)}",
            f"{at} = {plain(self.density)}",
        )
        return "\n".join(lines)

    @cached_property
    def ever(self) -> sp.Expr:
        r"""The probability of ever getting there: the limit of ``probability``, by cases where it depends on parameters.

        *Derivation.* By scale functions (:func:`~derivations.calculus.exits.hitting_probability`), as no other end is left again.

        Examples
        --------
        >>> x, mu = sp.Symbol("x", real=True), sp.Symbol("mu", positive=True)
        >>> first_passage(Diffusion((x,), [mu], [[1]]), sp.S.Zero).ever
        exp(-2*mu*x_0)
        """
        if self.density == 0:
            return sp.S.Zero
        low, high = self.process.domain.inf, self.process.domain.sup
        (x,) = self.process.states
        start = sp.Dummy("x", positive=x.is_positive, real=True)
        up = hitting_probability(self.process, start, low, high)
        reached = up if self.level == high else sp.expand(1 - up)
        return reached.subs(start, initial)


def first_passage(
    process: Diffusion, level: sp.Expr, above: bool = True, assuming: Sequence[sp.Basic] = ()
) -> FirstPassage:
    r"""The law of the first time at a level, of a process that starts above or below it.

    *Derivation.* The process stopped at the level is the same diffusion on the interval up to it, with an absorbing end there. Its law
    is recognised; the atom at that end is the probability of having been there, and its derivative in time the density. On a
    bounded coordinate the atom is an integral, and the density is the flux out of the end,
    :math:`\tfrac12 \frac{u(y)}{u(y_0)}\,|\partial_y K_V(t, y_0, y)|`, as K vanishes there.

    Parameters
    ----------
    process : Diffusion
        Scalar, time-homogeneous.
    level : Expr
    above : bool
        Whether the start is above the level.
    assuming : sequence of Relational
        What is known of the parameters.

    Raises
    ------
    NoClosedForm
        If the stopped process has no known law.
    DerivationError
        If the level is outside the domain.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> brownian = Diffusion((x,), [0], [[1]])
    >>> sp.powsimp(first_passage(brownian, sp.S.Zero).density)
    sqrt(2)*x_0*exp(-x_0**2/(2*t))/(2*sqrt(pi)*t**(3/2))
    """
    require("the process", process, Diffusion, "a Diffusion of one state, such as depth_limit(ResNet(relu, width=1))")
    require("above", above, bool, "True or False")
    level = exact_decimals(level)
    require("the level", level, sp.Expr, "a number or an expression")
    low, high = process.domain.inf, process.domain.sup
    if (level < low) == sp.true or (level > high) == sp.true or level == (high if above else low):
        raise DerivationError(
            f"the level {level} is not in the domain {process.domain}, or no start is on this side of it"
        )
    domain = sp.Interval.open(level, high) if above else sp.Interval.open(low, level)
    stopped = Diffusion(process.states, process.drift, process.covariance, domain, process.time)
    law = _stopped(recognise(stopped, assuming).parts[0 if above else -1], level)
    masses = [atom.mass for atom in law.atoms if atom.location == level]
    if not masses:  # never reached
        return FirstPassage(level, sp.S.Zero, sp.S.Zero, stopped)
    (mass,) = masses
    return FirstPassage(level, _density(law, mass, above), mass, stopped)


def _stopped(law: Law, level: sp.Expr) -> Law:
    """The law of the process up to the level, also where it would be reflected there: with the kernel that absorbs."""
    if isinstance(law, RadialLaw) and not law.absorbed and law.form.sign(law.index) < 0:
        return replace(law, absorbed=True) if level == law.form.interval[int(law.direction < 0)] else law
    if isinstance(law, HalfLineLaw) and law.end is End.REFLECTING:
        return replace(law, end=End.ABSORBING) if level == law.form.interval[int(law.chart.direction < 0)] else law
    return law


def _density(law: Law, mass: sp.Expr, above: bool) -> sp.Expr:
    if isinstance(law, HalfLineLaw):
        return law.flux
    if not mass.has(sp.Integral):
        return sp.powsimp(sp.diff(mass, time))
    assert isinstance(law, IntervalLaw)
    assert law.ends[0 if above else 1] is End.ABSORBING
    form, chart = law.form, law.chart
    y = sp.Dummy("y", positive=True)
    end = form.interval[0 if above else 1]
    here, there = form.scale.subs(form.state, initial), form.scale.subs(form.state, end)
    ratio = sp.sqrt(here / there) * sp.exp(
        law.log_h_transform.subs(form.state, end) - law.log_h_transform.subs(form.state, initial)
    )
    steep = sp.diff(law.kernel(time, chart.coordinate.subs(form.state, initial), y), y)
    return ratio * steep.subs(y, 0) / 2 if above else -ratio * steep.subs(y, chart.length) / 2
