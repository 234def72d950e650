r"""The weak Taylor step of order 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import sympy as sp

from derivations.calculus.ito import generator
from derivations.calculus.noise import along, noise_factor
from derivations.calculus.size import written_size
from derivations.diffusion import Diffusion, Limit
from derivations.errors import DerivationError, brief
from derivations.piecewise import Point, analyse
from derivations.steps.base import Step, normals, signs, size, written_out


def weak_second_step(limit: Limit) -> Step:
    r"""The simplified weak Taylor step of order 2, for any noise.

    .. math:: x' = x + b h + \tfrac12 \mathcal{L}b\,h^2 + \sum_j \big(\sigma^j + \tfrac12 h(\mathcal{L}\sigma^j + L^j b)\big)\Delta^j
              + \tfrac12 \sum_{jk} L^j\sigma^k (\Delta^j\Delta^k + h V_{jk})

    with :math:`\Delta = \sqrt h\,\xi`, :math:`V_{jj} = -1` and independent signs :math:`V_{jk} = -V_{kj}`.

    *Derivation.* The Itô–Taylor expansion to size :math:`h^2` in mean; what replaces the mixed integrals,
    :math:`\tfrac12 h\,\Delta^j` for :math:`I_{0j}` and :math:`I_{j0}` and :math:`\tfrac12(\Delta^j\Delta^k + hV_{jk})` for :math:`I_{jk}`,
    has their joint moments up to terms of order :math:`h^3`. Where a covariance vanishes it has a minimum, its gradient
    vanishes too, and the terms that divide by its root are continued by 0. At an end of a scalar diffusion's interval where
    they are infinite they are bounded by the noise itself; the order 2 is then that of paths away from the end. Where the slope of a
    coefficient jumps and the noise does not vanish the expansion does not hold, and the step, measured there, has order 1: it is refused.
    Where the curvature of the noise jumps, as that of ELU, the measured order is 3/2.

    Parameters
    ----------
    limit : Diffusion or NeuronDiffusion

    Raises
    ------
    DerivationError
        At such a kink, or at a jump; where the step would be too long.

    Examples
    --------
    >>> x = sp.Symbol("x", positive=True)
    >>> [sp.factor(u) for u in weak_second_step(Diffusion((x,), [0], [[x**2]])).update]
    [x*(2*sqrt(h)*xi_1 + h*xi_1**2 - h + 2)/2]

    References
    ----------
    P. E. Kloeden and E. Platen, *Numerical Solution of Stochastic Differential Equations* (1992), 14.2.
    """
    process = written_out(limit)
    _refuse_kinks(process)
    states, factor = process.states, noise_factor(process)
    count = factor.cols
    xi = normals(count)
    pairs = [(j, k) for j in range(count) for k in range(j)]
    flips = signs(len(pairs))
    turn = dict(zip(pairs, flips, strict=True))
    columns = [factor[:, j] for j in range(count)]
    update = []
    for i, (x, b) in enumerate(zip(states, process.drift, strict=True)):
        moved = x + b * size + _without_deltas(generator(process, b)) * size**2 / 2
        for j, g in enumerate(xi):
            change = size * (_generator(process, factor[i, j]) + along(states, columns[j], b)) / 2
            change = _without_deltas(change)
            if _diverges_at_an_end(process, change):
                change = _bounded(change, factor[i, j], process)
            moved += (factor[i, j] + change) * sp.sqrt(size) * g
            for k, f in enumerate(xi):
                v = sp.S.NegativeOne if j == k else turn[j, k] if j > k else -turn[k, j]
                moved += _along(process, columns[j], factor[i, k]) * size * (g * f + v) / 2
        update.append(moved)
        if written_size(moved) > _LONGEST:
            raise DerivationError(
                f"the weak step of order 2 of {len(states)} states differentiates roots of roots: {x} alone moves by {written_size(moved)} "
                "operations; use euler_maruyama, whose order in expectations is 1"
            )
    used = set().union(*(u.free_symbols for u in update))
    return Step(states, process.time, size, xi, tuple(flip for flip in flips if flip in used), tuple(update))


def _without_deltas(expr: sp.Expr) -> sp.Expr:
    """At a kink at which the noise vanishes the second derivative is multiplied by 0; there are no others."""
    return expr.replace(sp.DiracDelta, lambda *_: sp.S.Zero)


def weak_second_order(limit: Limit) -> sp.Rational:
    """The weak order of the step on a limit: 2, or 3/2 where the curvature of the noise jumps (measured, at ELU)."""
    process = written_out(limit)
    rough = any(kink.order == 2 for entry, _, kink in _kinks(process) if entry in process.covariance)
    return sp.Rational(3, 2) if rough else sp.Integer(2)


def _refuse_kinks(process: Diffusion) -> None:
    for entry, x, kink in _kinks(process):
        if kink.order is not None and kink.order < 2:
            raise DerivationError(
                f"{brief(entry)} has a kink or jump at {x} = {kink.value}, where the noise does not vanish: the expansion does not "
                "hold across it, and the order of the step is 1 there; use euler_maruyama"
            )


def _kinks(process: Diffusion) -> Iterator[tuple[sp.Expr, sp.Symbol, Point]]:
    """Kinks and jumps that are crossed, along each state with the others at numbers of no meaning, where that is a function of it alone."""
    entries = dict.fromkeys(entry for entry in (*process.drift, *process.covariance) if entry.has(*_KINKED))
    for entry, x in ((entry, x) for entry in entries for x in process.states if entry.has(x)):
        others = {s: sp.Rational(37 + 12 * k, 61) for k, s in enumerate(process.states) if s != x}
        along_x = entry.subs(others)
        if along_x.free_symbols != {x}:
            continue
        found = analyse(along_x, x)
        for kink in (*(replace(jump, orders=(sp.S.Zero,) * 2) for jump in found.jumps), *found.kinks):
            if not _rests(process, x, kink.value):
                yield entry, x, kink


def _rests(process: Diffusion, x: sp.Symbol, point: sp.Expr) -> bool:
    """Whether a state's own noise vanishes where it has a value, whatever the others are, or a scalar diffusion never has it."""
    if len(process.states) == 1 and not process.domain.inf < point < process.domain.sup:
        return True
    at = process.states.index(x)
    variance = process.covariance[at, at]
    limits = analyse(variance, x).limits_at(point) if variance.free_symbols == {x} else (variance.subs(x, point),)
    return sp.S.Zero in limits


#: Operations of a step for one state: those of two inputs' Gram matrix have 985, of three 218 625, which do not compile in minutes.
_LONGEST = 20_000
_KINKED = (sp.Abs, sp.Max, sp.Min, sp.sign, sp.Heaviside, sp.Piecewise)
#: Where a covariance is smaller, it counts as this in denominators: the numerators vanish with it.
_TINY = sp.Rational(1, 10**100)
#: Nearer to an end, a correction that diverges there is not looked at.
_NEAR = sp.Rational(1, 10**12)


def _diverges_at_an_end(process: Diffusion, change: sp.Expr) -> bool:
    """Whether a correction of the noise is infinite or undefined at a finite end of the interval of a scalar diffusion."""
    if len(process.states) != 1:
        return False
    ends = (end for end in (process.domain.inf, process.domain.sup) if end.is_finite)
    return any(change.subs(process.states[0], end).has(sp.zoo, sp.nan, sp.oo, -sp.oo) for end in ends)


def _bounded(change: sp.Expr, noise: sp.Expr, process: Diffusion) -> sp.Expr:
    r"""A correction that is no larger than what it corrects, which vanishes at such an end.

    Beside an end at which the noise is a root, :math:`\sqrt x`, the expansion says nothing within a distance of order h.
    """
    (x,), beside = process.states, process.states[0]
    if process.domain.inf.is_finite:
        beside = sp.Max(beside, process.domain.inf + _NEAR)
    if process.domain.sup.is_finite:
        beside = sp.Min(beside, process.domain.sup - _NEAR)
    return sp.Min(sp.Max(change.subs(x, beside), -sp.Abs(noise)), sp.Abs(noise))


def _plain_generator(process: Diffusion, function: sp.Expr) -> sp.Expr:
    """The generator of a function; of several states not multiplied out: roots of roots would not come to an end."""
    if len(process.states) == 1:
        return generator(process, function)
    used = [(i, x) for i, x in enumerate(process.states) if x in function.free_symbols]
    slopes = {i: function.diff(x) for i, x in used}
    first = [process.drift[i] * slopes[i] for i, _ in used]
    second = [process.entry(i, j) * slopes[i].diff(y) for i, _ in used for j, y in used if process.entry(i, j) != 0]
    return sp.Add(function.diff(process.time), *first, sp.Add(*second) / 2)


def _bracket(process: Diffusion, function: sp.Expr) -> sp.Expr:
    """Of a function with itself, not multiplied out."""
    slopes = [(i, function.diff(x)) for i, x in enumerate(process.states) if x in function.free_symbols]
    return sp.Add(*(process.entry(i, j) * f * g for i, f in slopes for j, g in slopes))


def _generator(process: Diffusion, function: sp.Expr) -> sp.Expr:
    r"""The generator of a function; of a root :math:`c\sqrt a` as :math:`c\,(\mathcal{L}a/2\sqrt a - \nabla a^\top a\nabla a/8 a^{3/2})`."""
    constant, inside = _root(process, function)
    if inside is None:
        return _plain_generator(process, function)
    root = sp.sqrt(sp.Max(inside, _TINY))
    return constant * (_plain_generator(process, inside) / (2 * root) - _bracket(process, inside) / (8 * root**3))


def _along(process: Diffusion, column: sp.MatrixBase, function: sp.Expr) -> sp.Expr:
    """The derivative along a column of noise, of a root likewise."""
    constant, inside = _root(process, function)
    if inside is None:
        return along(process.states, column, function)
    return constant * along(process.states, column, inside) / (2 * sp.sqrt(sp.Max(inside, _TINY)))


def _root(process: Diffusion, function: sp.Expr) -> tuple[sp.Expr, sp.Expr | None]:
    """A function of several coordinates as a constant times the root of another, if it is one."""
    constant, root = function.as_independent(*process.states, as_Add=False)
    is_root = root.is_Pow and root.exp == sp.Rational(1, 2) and len(process.states) > 1
    return (constant, root.base) if is_root else (sp.S.One, None)
