r"""The angle of a network with two neurons: a scalar diffusion, where the activation is homogeneous."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.ito import bracket, generator
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NotClosed, brief
from derivations.piecewise import Piece, breakpoints, join, merged, pieces

angle = sp.Symbol("theta", real=True)


def angle_diffusion(process: Diffusion) -> Diffusion:
    r"""The diffusion of :math:`\Theta = \arg(x_1 + i x_2)`, where it is one by itself.

    *Derivation.* In each quadrant :math:`\theta = \arctan(x_2/x_1)` up to a constant. Itô's formula gives its drift
    :math:`\mathcal{L}\theta` and its bracket; with :math:`x = (r\cos\theta, r\sin\theta)` both must be free of r,
    which is so for a noise that is homogeneous of degree one.

    Parameters
    ----------
    process : Diffusion
        Two states; coefficients with kinks on the axes only.

    Returns
    -------
    Diffusion
        In ``angle``, on the circle cut at the middle of a quadrant without noise, or at :math:`\pm\pi`: the domain
        is the
        interval on which the noise does not vanish if there is one, else :math:`(-\pi, \pi)`.

    Raises
    ------
    NotClosed
        If the radius does not cancel.

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, relu
    >>> theta = angle_diffusion(depth_limit(ResNet(relu, width=2)).explicit)
    >>> theta.domain
    Interval.open(-pi/2, pi)
    >>> theta.covariance[0]
    Piecewise((cos(theta)**2/2, theta <= 0), (1/2, theta <= pi/2), (sin(theta)**2/2, True))
    """
    if len(process.states) != 2:
        raise DerivationError(f"an angle needs two states, got {len(process.states)}")
    quarters = [_quadrant(process, k) for k in range(-2, 2)]
    drifts = [Piece(left, right, drift) for left, right, drift, _ in quarters]
    variances = [Piece(left, right, variance) for left, right, _, variance in quarters]
    moving = [k for k, part in enumerate(variances) if part.expr != 0]
    if not moving:
        raise DerivationError("the angle is degenerate: no quadrant has noise")
    if moving != list(range(moving[0], moving[-1] + 1)):
        raise NotClosed("the quadrants with noise are not next to each other; take the angle in each of them")
    kept = slice(moving[0], moving[-1] + 1)
    domain = sp.Interval.open(variances[moving[0]].left, variances[moving[-1]].right)
    drift, variance = (join(merged(parts[kept]), angle) for parts in (drifts, variances))
    return Diffusion((angle,), [drift], [[variance]], domain, process.time)


def _quadrant(process: Diffusion, k: int) -> tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr]:
    """Ends of the quadrant, and the angle's drift and variance in it."""
    left, right = k * sp.pi / 2, (k + 1) * sp.pi / 2
    signs = tuple(sp.sign(f((left + right) / 2)) for f in (sp.cos, sp.sin))
    here = Diffusion(
        process.states,
        process.drift.applyfunc(lambda e: _on_side(e, process.states, signs)),
        process.covariance.applyfunc(lambda e: _on_side(e, process.states, signs)),
        time=process.time,
    )
    first, second = process.states
    theta, r = sp.atan(second / first), sp.Dummy("r", positive=True)
    polar = {first: r * sp.cos(angle), second: r * sp.sin(angle)}
    found = []
    for expr in (generator(here, theta), bracket(here, theta, theta)):
        value = _trigonometric(sp.cancel(sp.together(expr)).subs(polar, simultaneous=True))
        if value.has(r):
            raise NotClosed(
                f"the angle is no diffusion by itself: its coefficients depend on the radius, {brief(value)}"
            )
        found.append(value)
    return left, right, found[0], found[1]


def _on_side(expr: sp.Expr, states: tuple[sp.Symbol, ...], signs: tuple[sp.Expr, ...]) -> sp.Expr:
    """The formula of an expression with kinks on the axes in one quadrant."""
    for x, sign in zip(states, signs, strict=True):
        if any(point != 0 for point in breakpoints(expr, x)):
            raise NotClosed(f"the coefficients have kinks off the axes, at {x} = {breakpoints(expr, x)}")
        part = pieces(expr, x)[0 if sign < 0 else -1]
        expr = part.expr
    return expr


def _trigonometric(expr: sp.Expr) -> sp.Expr:
    """Lowest terms in r, cos and sin modulo cos² + sin² = 1, by eliminating the square that leaves the shorter formula."""
    c, s = sp.cos(angle), sp.sin(angle)
    numerator, denominator = sp.fraction(sp.cancel(sp.together(expr)))
    found = []
    for gone, kept in ((s, c), (c, s)):
        parts = [sp.expand(sp.expand(part).subs(gone**2, 1 - kept**2)) for part in (numerator, denominator)]
        found.append(sp.factor(sp.cancel(parts[0] / parts[1])))
    return min(found, key=lambda e: (e.count_ops(), sp.default_sort_key(e)))
