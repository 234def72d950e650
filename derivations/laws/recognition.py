r"""From a scalar diffusion to its law, by what its coefficients are and never by a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sympy as sp

from derivations.binding import Binding
from derivations.calculus.intervals import crossed_zeros
from derivations.calculus.lamperti import LampertiForm, split
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.laws.base import Law
from derivations.laws.constants import as_symbols, rewritten
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
from derivations.laws.radial import BesselLaw, RadialOrnsteinUhlenbeckLaw
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
LAWS: tuple[type[Law], ...] = (*FAMILIES, FrozenLaw)


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
    if named := as_symbols(process):
        found = recognise(process.xreplace(named), assuming)
        return rewritten(found, {name: mean for mean, name in named.items()})  # type: ignore[no-any-return]
    forms = split(process, assuming)
    crossed = crossed_zeros(process)
    if crossed:
        places = ", ".join(str(zero.value) for zero in crossed[:4])
        raise NoClosedForm(
            f"the process crosses the zeros of its noise at {process.states[0]} = {places}, where 1/φ² is integrable: the equation "
            "alone does not decide this (Engelbert and Schmidt), but networks overshoot the zero and take the solution that spends no "
            "time there; no closed form of it is known here, so solve the Fokker–Planck equation numerically or simulate"
        )
    parts: list[Law] = []
    for form in forms:
        if isinstance(form, LampertiForm):
            parts.append(_match(form))
        else:
            parts.append(FrozenLaw(sp.Interval(form.left, form.right), process.states[0]))
    return PiecewiseLaw(process, tuple(_with_points(parts, process)))


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
    seen = derivatives_along(form)
    for family in FAMILIES:
        if not may_be(PREFILTERS[family], seen):
            continue
        try:
            return family.recognise(form)
        except NoClosedForm:
            continue
    potential = f"V = {form.potential}" if form.is_writable else "V = β² + dβ/dz, too large a formula to be written out"
    raise NoClosedForm(
        f"no closed form known on ({form.interval[0]}, {form.interval[1]}): the potential of the Lamperti form is "
        f"{potential}, none of the solvable ones; solve the Fokker–Planck equation numerically or simulate"
    )


def _with_points(parts: list[Law], process: Diffusion) -> list[Law]:
    """Add the single points between two moving parts, at which noise and drift vanish."""
    full: list[Law] = []
    for part in parts:
        start = part.diffusion.domain.inf
        if full and start.is_finite and not any(isinstance(p, FrozenLaw) for p in (full[-1], part)):
            full.append(FrozenLaw(sp.FiniteSet(start), process.states[0]))
        full.append(part)
    return full
