r"""From a scalar diffusion to its law, by what its coefficients are and never by a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import sympy as sp

from derivations.binding import Binding
from derivations.calculus.intervals import crossed_zeros
from derivations.calculus.lamperti import LampertiForm, split
from derivations.calculus.means import means_are_numbers
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm, readable, require
from derivations.laws.base import Law
from derivations.laws.crossing import CrossingLaw
from derivations.laws.ends import NoKernelAtEnd
from derivations.laws.family import Family
from derivations.laws.free import FreeLaw
from derivations.laws.frozen import FrozenLaw
from derivations.laws.half_line import HalfLineLaw
from derivations.laws.interval import IntervalLaw
from derivations.laws.linear_drift import OrnsteinUhlenbeckLaw
from derivations.laws.mehler import MehlerLaw
from derivations.laws.piecewise_law import PiecewiseLaw
from derivations.laws.prefilter import (
    Derivatives,
    derivatives_along,
    may_be,
    may_be_constant,
    may_be_inverse_square,
    may_be_parabola,
    may_be_radial,
)
from derivations.laws.radial import BesselLaw, RadialLaw, RadialOrnsteinUhlenbeckLaw
from derivations.symbols import initial

#: Families that are tried on each interval, in this order.
FAMILIES: tuple[type[Family], ...] = (
    FreeLaw,
    OrnsteinUhlenbeckLaw,
    HalfLineLaw,
    IntervalLaw,
    MehlerLaw,
    BesselLaw,
    RadialOrnsteinUhlenbeckLaw,
)

#: All laws, for the contract tests.
LAWS: tuple[type[Law], ...] = (*FAMILIES, CrossingLaw, FrozenLaw)


@means_are_numbers
def recognise(process: Diffusion, assuming: Sequence[sp.Basic] = ()) -> PiecewiseLaw:
    """Find the law of a scalar, time-homogeneous diffusion.

    Each interval between zeros of the noise is its own problem, decided by the potential of its
    Lamperti form; a part without noise or drift is frozen.

    Parameters
    ----------
    process : Diffusion
        One state; its ``domain`` is the interval in which it lives.
    assuming : sequence of Relational
        What is known of the parameters beyond their own assumptions, such as ``b**2 < 4*c`` or ``beta > 1``.

    Raises
    ------
    NoClosedForm
        If no family fits some interval; the message shows its potential.
    DerivationError
        If the answer depends on the sign of a parameter that is not known; the message says what to assume.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> recognise(Diffusion((x,), [-x], [[1]])).name
    'Ornstein–Uhlenbeck process'
    """
    require("the process", process, Diffusion, "a Diffusion of one state, such as depth_limit(ResNet(relu, width=1))")
    require("assuming", assuming, Iterable, "a sequence of inequalities")
    if initial in process.parameters:
        raise DerivationError(
            f"the parameter {initial} of the diffusion has the name of the start of its law; rename it"
        )
    moving = process.states[0]
    unknown = {n for e in (*process.drift, *process.covariance) for n in e.atoms(Binding) if moving in n.free_symbols}
    if unknown:
        raise NoClosedForm(
            f"the coefficients hold {min(unknown, key=sp.default_sort_key)}, which has no closed form in {moving}: no family of laws "
            "has such coefficients; solve the Fokker–Planck equation numerically or simulate"
        )
    forms = split(process, assuming)
    parts: list[Law] = []
    for form in forms:
        if isinstance(form, LampertiForm):
            parts.append(_match(form))
        else:
            parts.append(FrozenLaw(sp.Interval(form.left, form.right), process.states[0]))
    return PiecewiseLaw(process, tuple(_with_points(_crossing(parts, process), process)))


def _crossing(parts: list[Law], process: Diffusion) -> list[Law]:
    """Two neighbours between which the process crosses a zero of its noise are one law."""
    decided = {zero.value for zero in crossed_zeros(process)}
    joined: list[Law] = []
    for part in parts:
        before = joined[-1] if joined else None
        if isinstance(before, RadialLaw) and isinstance(part, RadialLaw) and _crosses(before, part, decided):
            joined[-1] = CrossingLaw.joined(before, part)
            continue
        if isinstance(part, Family) and part.form.interval[0] in decided:
            raise NoClosedForm(
                f"the process crosses the zero of its noise at {process.states[0]} = {part.form.interval[0]}, where 1/φ² is integrable, and "
                "no closed form is known for what it does on both sides; solve the Fokker–Planck equation numerically or simulate"
            )
        joined.append(part)
    return joined


def _crosses(left: RadialLaw, right: RadialLaw, decided: set[sp.Expr]) -> bool:
    """Whether two absorbing ends are one zero that the process crosses: 1/φ² is integrable on both sides iff the dimension is positive."""
    point = left.form.interval[1]
    if point != right.form.interval[0] or not (left.absorbed and right.absorbed):
        return False
    if left.direction > 0 or right.direction < 0:  # the radius is counted from elsewhere
        return False
    return point in decided or all(side.form.sign(1 + side.index) > 0 for side in (left, right))


#: What the derivatives of the potential must satisfy, as numbers, for a family to be worth the algebra.
PREFILTERS: dict[type[Family], Callable[[Derivatives], bool]] = {
    FreeLaw: may_be_constant,
    OrnsteinUhlenbeckLaw: may_be_parabola,
    HalfLineLaw: may_be_constant,
    IntervalLaw: may_be_constant,
    MehlerLaw: may_be_parabola,
    BesselLaw: may_be_inverse_square,
    RadialOrnsteinUhlenbeckLaw: may_be_radial,
}


def _match(form: LampertiForm) -> Family:
    seen, reasons = derivatives_along(form), list[str]()
    for family in FAMILIES:
        if not may_be(PREFILTERS[family], seen):
            continue
        try:
            return family.recognise(form)
        except NoKernelAtEnd as error:
            reasons.append(str(error))
        except NoClosedForm:
            continue
    raise NoFamilyFits(form, tuple(reasons))


class NoFamilyFits(NoClosedForm):
    """No family of laws fits an interval; the potential, which may take as long as all the rest, is written out when the message is read.

    Parameters
    ----------
    form : LampertiForm
    reasons : tuple of str
        Why families that fit the potential are not the law.
    """

    def __init__(self, form: LampertiForm, reasons: tuple[str, ...]) -> None:
        super().__init__()
        self.form, self.reasons = form, reasons

    @cached_property
    def _message(self) -> str:
        form, written = self.form, self.form.written_potential
        potential = f"U = {written}" if written is not None else "U = β² + dβ/dz, too large a formula to be written out"
        why = f"for which {' and '.join(self.reasons)}" if self.reasons else "none of the solvable ones"
        return readable(
            f"no closed form known on ({form.interval[0]}, {form.interval[1]}): the potential of the Lamperti form is "
            f"{potential}, {why}; solve the Fokker–Planck equation numerically or simulate"
        )

    def __str__(self) -> str:
        return self._message

    def __reduce__(self) -> tuple[Any, ...]:
        return NoClosedForm, (self._message,)


def _with_points(parts: list[Law], process: Diffusion) -> list[Law]:
    """Add the single points between and inside moving parts at which noise and drift vanish: a start there stays."""
    (x,), (mu,) = process.states, process.drift
    full: list[Law] = []
    for part in parts:
        start = part.diffusion.domain.inf
        points = [part.zero] if isinstance(part, CrossingLaw) else []
        if full and start.is_finite and not any(isinstance(p, FrozenLaw) for p in (full[-1], part)):
            _refuse_passing(full[-1], part, mu.subs(x, start))
            points.append(start)
        resting = [FrozenLaw(sp.FiniteSet(point), x) for point in points if mu.subs(x, point) == 0]
        full += [*(p for p in resting if start in p.domain), part, *(p for p in resting if start not in p.domain)]
    return full


def _refuse_passing(left: Law, right: Law, drift: sp.Expr) -> None:
    """A drift at a zero of the noise takes what is absorbed there on to the other side, whose law from this start is not known."""
    point = right.diffusion.domain.inf
    for part, outward in ((left, drift), (right, -drift)):
        taken = drift.is_finite and drift != 0 and point in {atom.location for atom in part.atoms}
        if taken and outward.is_positive is not False:
            raise NoClosedForm(
                f"the process comes to the zero of its noise at {part.diffusion.states[0]} = {point}, where the drift {drift} takes it on to "
                "the other side; no closed form of that is known here, so simulate, or give the side that it starts on as the domain to "
                "stop it there"
            )
