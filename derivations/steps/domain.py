r"""Steps that do not leave the interval in which a scalar diffusion lives.

A step of a scheme is a Gaussian jump, and can end where the coefficients have no value. So they are continued beyond each finite end, and what
is shown is the state projected back. How they are continued is what the equation does at the end
(:mod:`derivations.calculus.ends`):

* it takes the process back by a finite drift, at once or after a time: the coefficients are those of the end itself, as at 0 for
  Cox–Ingersoll–Ross (the fully truncated scheme of Lord, Koekkoek and van Dijk 2010);
* it does so by an infinite drift, as of a Bessel process: steps are taken in a coordinate in which the drift has a value there
  (:mod:`derivations.steps.regular`), and where none is found, the process is mirrored;
* elsewhere the end keeps what reaches it: nothing moves beyond.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import sympy as sp

from derivations.calculus.ends import AtEnd
from derivations.calculus.noise import noise_factor
from derivations.diffusion import Diffusion, Limit
from derivations.steps.base import Step
from derivations.steps.regular import regular_coordinate


class Beyond(Enum):
    """How coefficients are continued beyond an end."""

    TRUNCATED = "those of the end"
    MIRRORED = "mirrored at the end"
    STOPPED = "nothing moves"


@dataclass(frozen=True)
class Continued:
    r"""A scalar diffusion continued to the whole line, and the projection back to its interval.

    Parameters
    ----------
    process : Diffusion
        With coefficients on the whole line, in a real symbol.
    original : Diffusion
        On its interval, in the coordinate in which steps are taken.
    inside : Expr
        Its state, a function of the continued one.
    keeps : tuple of Expr
        Ends that keep what reaches them, as states that are shown.
    entered : Expr
        The coordinate as a function of the state that is shown.
    shown : Expr
        The state that is shown, a function of the continued one.
    """

    process: Diffusion
    original: Diffusion
    inside: sp.Expr
    keeps: tuple[sp.Expr, ...]
    entered: sp.Expr
    shown: sp.Expr
    _moves: sp.Basic
    _turns: sp.Expr

    def step(self, step: Step) -> Step:
        """A step of the original diffusion as one of the continued: what it adds at the projected state is added here."""
        (x,), (y,) = step.states, self.process.states
        added = self._turns * (step.update[0].xreplace({x: self.inside}) - self.inside)
        moved = y + (added if self._moves == sp.true else sp.Piecewise((added, self._moves), (0, True)))
        return replace(step, states=(y,), update=(moved,))


def continued(limit: Limit) -> Continued | None:
    r"""A scalar diffusion on an interval with a finite end, continued beyond it; None for any other limit.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> cir = continued(Diffusion((x,), [1 - x], [[x]], sp.Interval.open(0, sp.oo)))
    >>> cir.inside, cir.process.drift[0], cir.process.covariance[0]
    (Max(0, x), 1 - Max(0, x), Max(0, x))
    """
    if type(limit) is not Diffusion or len(limit.states) != 1 or not isinstance(limit.domain, sp.Interval):
        return None
    low, high = limit.domain.inf, limit.domain.sup
    if low.is_infinite and high.is_infinite:
        return None

    def infinite(end: sp.Expr, inward: int) -> bool:
        return bool(end.is_finite) and beyond_end(limit, end, inward) is Beyond.MIRRORED

    mirrored = infinite(low, 1), infinite(high, -1)
    coordinate = regular_coordinate(limit, mirrored, _has_a_value) if any(mirrored) else None
    if coordinate is None:
        return _continued(limit)
    found = _continued(coordinate.process)
    (z,) = coordinate.process.states
    return replace(
        found,
        keeps=tuple(coordinate.left.subs(z, end) for end in found.keeps),
        entered=coordinate.entered,
        shown=coordinate.left.xreplace({z: found.inside}),
    )


def _has_a_value(process: Diffusion, end: sp.Expr, inward: int) -> bool:
    return beyond_end(process, end, inward) is Beyond.TRUNCATED


def _continued(limit: Diffusion) -> Continued:
    low, high = limit.domain.inf, limit.domain.sup
    (x,) = limit.states
    y = sp.Symbol(x.name, real=True)
    inside, moves, turns, keeps = y, sp.true, sp.S.One, []
    for end, inward, beyond in ((low, 1, y <= low), (high, -1, y >= high)):
        if end.is_infinite:
            continue
        kind = beyond_end(limit, end, inward)
        if kind is Beyond.MIRRORED:
            inside = end + inward * sp.Abs(inside - end)
            turns *= sp.Piecewise((sp.S.NegativeOne, beyond), (sp.S.One, True))
        elif kind is Beyond.STOPPED:
            moves = sp.And(moves, sp.Not(beyond))
            keeps.append(end)
    if low.is_finite:
        inside = sp.Max(inside, low)
    if high.is_finite:
        inside = sp.Min(inside, high)

    finite = [
        (end, inward, beyond) for end, inward, beyond in ((low, 1, y <= low), (high, -1, y >= high)) if end.is_finite
    ]

    def at(expr: sp.Expr, sign: sp.Expr) -> sp.Expr:
        # a value at an end that is a limit stands there by itself
        limits = [
            (_value(expr, x, end, inward), beyond)
            for end, inward, beyond in finite
            if expr.subs(x, end).has(sp.nan, sp.zoo, sp.oo, -sp.oo)
        ]
        there = expr.xreplace({x: inside})
        if known := [(value, beyond) for value, beyond in limits if value.is_finite]:
            there = sp.Piecewise(*known, (there, True))
        there *= sign
        return there if moves == sp.true else sp.Piecewise((there, moves), (0, True))

    process = Diffusion(
        (y,),
        [at(limit.drift[0], turns)],
        [[at(limit.covariance[0, 0], sp.S.One)]],
        sp.S.Reals,
        limit.time,
        sigma=noise_factor(limit).applyfunc(lambda entry: at(entry, sp.S.One)),
    )
    return Continued(process, limit, inside, tuple(keeps), x, inside, moves, turns)


def beyond_end(process: Diffusion, end: sp.Expr, inward: int) -> Beyond:
    """How to continue a diffusion beyond an end; ``inward`` is 1 at the lower end, −1 at the upper."""
    noise = _value(process.covariance[0, 0], process.states[0], end, inward)
    drift = inward * _value(process.drift[0], process.states[0], end, inward)
    exploding = drift == sp.oo
    here = AtEnd(sp.S.One if exploding else drift, sp.Integer(-1 if exploding else 0), sp.Integer(noise == 0))
    if here.comes_back(lambda number: sp.sympify(bool(number.is_positive))) != sp.true:
        return Beyond.STOPPED
    return Beyond.MIRRORED if exploding else Beyond.TRUNCATED


def _value(expr: sp.Expr, x: sp.Symbol, end: sp.Expr, inward: int) -> sp.Expr:
    """The value of a coefficient at an end, or its limit there; nan where that is not known."""
    value = expr.subs(x, end)
    if not value.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
        return value
    try:
        found = sp.limit(expr, x, end, "+" if inward > 0 else "-")
    except (NotImplementedError, ValueError, TypeError):
        return sp.nan
    return found if not found.has(sp.Limit, sp.AccumBounds) else sp.nan
