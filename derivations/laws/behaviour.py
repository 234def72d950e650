"""What a diffusion without parameters does at the ends of its interval: one decision, for laws, stationary laws and grids alike."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import sympy as sp

from derivations.calculus.boundaries import End, classify
from derivations.calculus.growth import at_most, degree
from derivations.calculus.intervals import coefficients
from derivations.calculus.means import means_are_numbers
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.laws.approach import approach
from derivations.laws.recognition import recognise
from derivations.piecewise import Analysis, analyse, pieces


@dataclass(frozen=True)
class EndBehaviour:
    """What is decided of one end.

    Parameters
    ----------
    point : Expr
        A number or an infinity.
    reached : bool
        Whether the process comes there in finite time with positive probability.
    returns, sticky : bool
        Whether the equation itself brings it back, and whether it is held there for a time before, as :mod:`derivations.calculus.ends` says.
    kind : str
        Feller's class; empty where only the above is decided.
    ground : str
        How it was decided: ``"proved"`` by the limits of Feller's test, by ``"local exponents"`` as numbers, or by the atoms of a
        ``"known law"``, whose mass is proved; ``"linear growth"`` keeps a process from infinity.
    """

    point: sp.Expr
    reached: bool
    returns: bool
    kind: str
    ground: str
    sticky: bool = False

    @property
    def keeps(self) -> bool:
        """Whether the end keeps what reaches it."""
        return self.reached and not self.returns


@means_are_numbers
def end_behaviour(
    process: Diffusion, interval: tuple[sp.Expr, sp.Expr], inside: sp.Expr | float
) -> tuple[EndBehaviour, EndBehaviour]:
    r"""What a diffusion without parameters does at the left and the right end of an interval on which it moves.

    Where the coefficients are rational near the end, Feller's test is exact (:func:`~derivations.calculus.boundaries.classify`).
    Elsewhere its exponents are read off as numbers (:func:`~derivations.laws.approach.approach`). Where these do not settle, as of
    noise that oscillates or of log log, an infinite end is not reached at linear growth; else a known law is asked, and algebra where the
    coefficients hold no function but logarithms. A process without drift is in its natural scale, and never reaches an infinite end.

    Parameters
    ----------
    process : Diffusion
        Scalar, time-homogeneous, without parameters.
    interval : tuple of Expr
        Its ends.
    inside : Expr or float
        A number inside.

    Raises
    ------
    NoClosedForm
        If it is not decided what happens at an end, or if the drift takes the process over an end inside the domain to its other side.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> left, right = end_behaviour(Diffusion((x,), [0], [[sp.tanh(x) ** 2]]), (sp.S.Zero, sp.oo), sp.S.One)
    >>> (left.kind, left.ground), right.reached
    (('natural', 'local exponents'), False)
    """
    inside = sp.Rational(inside) if isinstance(inside, float) else sp.sympify(inside)
    if _rational(process, interval):
        ends = [_of(end) for end in classify(process, interval)]
    else:
        ends = [_by_numbers(process, interval, inside, side) for side in (False, True)]
    left, right = (_seen_from_beyond(process, end, is_right) for is_right, end in enumerate(ends))
    return left, right


def _seen_from_beyond(process: Diffusion, end: EndBehaviour, is_right: int) -> EndBehaviour:
    """An end inside the domain that is reached: what the drift does with a process that has overshot it, as layers do."""
    x, mu, a = coefficients(process)
    if not end.reached or not end.point.is_finite or end.point in (process.domain.inf, process.domain.sup):
        return end
    drift = analyse(mu, x) if mu.has(x) else None
    limits = (mu, mu) if drift is None else drift.limits_at(end.point)
    within, beyond = (limits[0], limits[1]) if is_right else (limits[1], limits[0])
    inward = -1 if is_right else 1
    where = f"the process comes to the zero of its noise at {x} = {end.point}, where the drift "
    way_out = "; simulate, or give the side that it starts on as the domain to stop it there"
    undecided = NoClosedForm(f"{where}jumps, and what follows is not decided{way_out}")
    if within is None or beyond is None:
        raise undecided
    slow = beyond != 0 or drift is None or _order_beyond(drift, end.point, is_right) >= 1
    if inward * beyond < 0 or not slow:
        raise NoClosedForm(f"{where}takes it on to the other side{way_out}")
    steps_over = analyse(a, x).limits_at(end.point)[1 - is_right] != 0
    if beyond == within and steps_over and beyond != 0:
        return replace(end, returns=True, sticky=True)  # what has overshot is brought back at the speed of the drift
    settled = within == beyond or inward * within < 0 or (steps_over and beyond == 0)
    if not settled or (steps_over and beyond != 0):
        raise undecided
    return end


def _order_beyond(drift: Analysis, point: sp.Expr, is_right: int) -> sp.Expr:
    """The exponent with which a drift vanishes on the other side of an end; at least 1 where it is no zero that is listed."""
    found = next((zero.orders[is_right] for zero in drift.zeros if zero.value == point), sp.S.One)
    return sp.S.Zero if found is None else found


def _rational(process: Diffusion, interval: tuple[sp.Expr, sp.Expr]) -> bool:
    """Whether the coefficients are rational functions near both ends."""
    x, mu, a = coefficients(process)
    tag = sp.Dummy("tag")
    try:
        parts = [p for p in pieces(a + tag * mu, x) if p.left < interval[1] and p.right > interval[0]]
    except (DerivationError, TypeError):  # kinks at points that are not known exactly, or cannot be put in order
        return False
    return all(parts[k].expr.is_rational_function(x) for k in (0, -1))


def _of(end: End) -> EndBehaviour:
    reached, returns, sticky = (bool(fact == True) for fact in (end.attainable, end.returns, end.sticky))  # noqa: E712
    return EndBehaviour(end.point, reached, returns, end.kind, "proved", reached and sticky)


def _by_numbers(process: Diffusion, interval: tuple[sp.Expr, sp.Expr], inside: sp.Expr, right: bool) -> EndBehaviour:
    if process.drift[0] == 0 and not interval[right].is_finite:
        return EndBehaviour(interval[right], False, False, "", "proved")
    way = approach(process, interval[right], inside)
    reached, returns = way.attainable, way.returns
    if reached is None and not interval[right].is_finite and _is_linear(process):
        return EndBehaviour(interval[right], False, False, "", "linear growth")
    if reached is None or (reached and returns is None):
        return _by_law(process, interval, right)
    if reached and way.passable and interval[right] not in (process.domain.inf, process.domain.sup):
        raise NoClosedForm(
            f"the process comes to the zero of its noise at {process.states[0]} = {interval[right]}, where by a power of a logarithm the inverse of "
            "the squared noise is integrable, and whether it goes on to the other side is not decided; simulate, or give the side that it "
            "starts on as the domain to stop it there"
        )
    sticky = bool(reached and way.sticky)
    return EndBehaviour(interval[right], reached, bool(returns), way.kind or "", "local exponents", sticky)


def _is_linear(process: Diffusion) -> bool:
    """Whether drift and noise grow linearly at most, also where they oscillate: then no infinite end is reached in finite time."""
    return at_most(*([degree(entry, process.states)] for entry in (process.drift[0], process.covariance[0, 0])))


def _by_law(process: Diffusion, interval: tuple[sp.Expr, sp.Expr], right: bool) -> EndBehaviour:
    """By a known law, whose mass is proved and which has an atom at an end that keeps what reaches it; else by algebra."""
    with suppress(NoClosedForm):
        (law,) = (p for p in recognise(process).parts if (p.diffusion.domain.inf, p.diffusion.domain.sup) == interval)
        keeps = interval[right] in {atom.location for atom in law.atoms}
        return EndBehaviour(interval[right], keeps, False, "", "known law")
    if {f.func for entry in (*process.drift, *process.covariance) for f in entry.atoms(sp.Function)} == {sp.log}:
        return _of(classify(process, interval)[right])
    raise NoClosedForm(
        f"it is not decided what the process does at {interval[right]}: its local exponents do not settle there, nor do those of logarithms; "
        "restrict the domain"
    )
