r"""A coordinate in which the drift of a scalar diffusion has a value at the ends that take it back at once.

At an end with :math:`\mu \sim c/y`, as of a Bessel process, a step from a state y takes :math:`ch/y`: as far as one likes. Its mean has a part
of size :math:`\log(1/h)` or larger from states closer than :math:`\sqrt h`, and no variance. With :math:`z = y^q` Itô's formula gives the drift
:math:`qy^{q-1}\mu + \tfrac12 q(q-1)y^{q-2}a`, which has a limit for q large enough: 2 for a noise that does not vanish, as the Bessel
process squared is that of Cox, Ingersoll and Ross.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sympy as sp

from derivations.diffusion import Diffusion

#: Powers of the distance that are tried, the smallest first.
_POWERS = (2, 3, 4)


@dataclass(frozen=True)
class Coordinate:
    """A scalar diffusion in another coordinate.

    Parameters
    ----------
    process : Diffusion
    entered : Expr
        The coordinate as a function of the state.
    left : Expr
        The state as a function of the coordinate.
    """

    process: Diffusion
    entered: sp.Expr
    left: sp.Expr


def regular_coordinate(
    limit: Diffusion, infinite: tuple[bool, bool], regular: Callable[..., bool]
) -> Coordinate | None:
    """The first coordinate that serves; None where none of those tried does.

    Parameters
    ----------
    limit : Diffusion
        In one state, on an interval.
    infinite : tuple of bool
        Whether the drift at the lower and at the upper end is infinite, and takes the process back.
    regular : callable
        From a diffusion, one of its ends and 1 at the lower, -1 at the upper end: whether the drift there has a value.

    Examples
    --------
    >>> x = sp.Symbol("x", positive=True)
    >>> bessel = Diffusion((x,), [1 / x], [[1]], sp.Interval.open(0, sp.oo))
    >>> found = regular_coordinate(bessel, (True, False), lambda process, end, inward: not process.drift[0].subs(x, end).has(sp.zoo))
    >>> found.entered, found.process.drift[0], found.process.covariance[0, 0]
    (x**2, 3, 4*x)
    """
    for coordinate in _coordinates(limit, infinite):
        domain = coordinate.process.domain
        ends = [(end, inward) for end, inward, at in ((domain.inf, 1, 0), (domain.sup, -1, 1)) if infinite[at]]
        if all(regular(coordinate.process, *end) for end in ends):
            return coordinate
    return None


def _coordinates(limit: Diffusion, infinite: tuple[bool, bool]) -> Iterator[Coordinate]:
    (x,), low, high = limit.states, limit.domain.inf, limit.domain.sup
    above, below = sp.Symbol(x.name, positive=True), sp.Symbol(x.name, negative=True)
    if all(infinite):  # it goes as the square of the distance at both ends
        scale = sp.pi / (high - low)
        yield _in(limit, 1 - sp.cos(scale * (x - low)), low + sp.acos(1 - above) / scale, above, sp.Interval.open(0, 2))
        return
    for power in _POWERS:
        root, longest = sp.Rational(1, power), (high - low) ** power
        if infinite[0]:
            yield _in(limit, (x - low) ** power, low + above**root, above, sp.Interval.open(0, longest))
        else:
            yield _in(limit, -((high - x) ** power), high - (-below) ** root, below, sp.Interval.open(-longest, 0))


def _in(limit: Diffusion, entered: sp.Expr, left: sp.Expr, z: sp.Symbol, domain: sp.Interval) -> Coordinate:
    """Itô's formula."""
    (x,) = limit.states
    first, second = sp.diff(entered, x), sp.diff(entered, x, 2)
    mu, a = limit.drift[0], limit.covariance[0, 0]
    old = sp.Dummy(x.name, **x.assumptions0)  # the state may be the symbol z itself
    drift, noise = (
        sp.expand(e.xreplace({x: old}).xreplace({old: left})) for e in (first * mu + second * a / 2, first**2 * a)
    )
    return Coordinate(Diffusion((z,), [drift], [[noise]], domain, limit.time), entered, left)
