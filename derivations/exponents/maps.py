r"""The maps of variance and correlation of a layer that is not near the identity: where they rest, and whether it is stable.

At infinite width a layer takes the Gram matrix of two inputs to another one. On the diagonal this is a map of the variance V; at a
variance that rests, off the diagonal, one of the correlation. Tangents give the rate at which close inputs separate: a layer multiplies the mean square
of a tangent by :math:`\chi`. Inputs come together where :math:`\chi < 1` and apart where :math:`\chi > 1` (Poole et al. 2016; Schoenholz et al. 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import mpmath as mp
import sympy as sp

from derivations.affine import is_affine
from derivations.calculus.size import is_moderate
from derivations.errors import DerivationError, NotClosed
from derivations.evaluation import TooLarge, in_mpmath
from derivations.gaussian import GaussianExpectation, GaussianJointExpectation, GaussianPairExpectation
from derivations.language import Program
from derivations.language.statements import Matrix, Mean
from derivations.limits.elimination.averages import LayerAverage, layer_average
from derivations.limits.elimination.loop import conditional_mean
from derivations.limits.elimination.moments import LayerMoments
from derivations.limits.gram import gram_matrix
from derivations.limits.width import MeanFieldLayer
from derivations.symbols import correlation, mean_square, state, width

variance = mean_square
MEANS = (GaussianExpectation, GaussianPairExpectation, GaussianJointExpectation)
_WIDEST = 10  # octaves around 1 in which fixed points are looked for; beyond them where the map leads
_JUMPS = 4  # how often a variance is followed that still grows, or shrinks, at the end
_JUMP = 8  # octaves of a jump at least
_DIGITS = 15


@dataclass(frozen=True)
class FixedPoint:
    """Where a map rests.

    Parameters
    ----------
    value : Expr
    slope : Expr
        Of the map there.
    """

    value: sp.Expr
    slope: sp.Expr

    @property
    def is_stable(self) -> bool | None:
        """Whether the map comes back to it; None where the slope is ±1, within the digits that are known, or depends on parameters."""
        sign = sign_of(abs(self.slope) - 1)
        return sign < 0 if sign else None


@dataclass(frozen=True)
class LayerMaps:
    r"""What a layer makes of variances and correlations at infinite width.

    Parameters
    ----------
    variances : Expr
        The new variance in the old one, V.
    covariances : Expr
        The new covariance of two inputs in ``entries``.
    entries : Matrix
        The symbols of the old Gram matrix.
    tangents : Expr
        :math:`\chi` in V: what a layer multiplies the mean square of a tangent by.
    """

    variances: sp.Expr
    covariances: sp.Expr
    entries: sp.ImmutableMatrix
    tangents: sp.Expr

    @property
    def at_one(self) -> sp.Expr:
        r"""The new variance of neurons of variance 1; :math:`\mathbb{E}\,\varphi(Z)^2` for one matrix of variance 1 behind an activation."""
        return self.variances.subs(variance, 1)

    @property
    def slope_at_one(self) -> sp.Expr:
        r"""The derivative there; :math:`\mathbb{E}\,\varphi(Z)\varphi'(Z)Z` for one matrix of variance 1 behind an activation."""
        return _slope(self.variances, sp.S.One)

    @property
    def gain(self) -> sp.Expr:
        """The factor of all that a layer puts out with which variance 1 rests."""
        return 1 / sp.sqrt(self.at_one)

    @cached_property
    def factor(self) -> sp.Expr | None:
        """The factor of every variance, where it is the same for all; else None."""
        ratio = sp.expand(self.variances / variance)
        return None if ratio.has(variance) else ratio

    @property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """Symbols besides the variance."""
        return tuple(sorted((self.variances.free_symbols | self.tangents.free_symbols) - {variance}, key=str))

    @cached_property
    def rests(self) -> tuple[FixedPoint, ...] | None:
        """Variances above 0 that rest; None where this depends on parameters."""
        if self.factor is not None:
            return ()
        difference = self.variances - variance
        if difference.is_polynomial(variance):
            polynomial = sp.Poly(difference, variance)
            roots = sp.roots(polynomial)
            if sum(roots.values()) == polynomial.degree() and not any(r.has(sp.I) for r in roots if not r.is_imaginary):
                return self._resting(list(roots))
        if self.parameters:
            return None
        roots = _roots(self._growth, list(self._grid), relative=True)
        return tuple(FixedPoint(root, _slope(self.variances, root)) for root in roots)

    def _resting(self, roots: list[sp.Expr]) -> tuple[FixedPoint, ...] | None:
        """The positive ones among all roots, Gaussian means in them computed."""
        signs = [0 if r.is_imaginary else sign_of(r) for r in roots]
        if None in signs or (len(roots) > 1 and self.parameters):  # several are ordered by size
            return None
        positive = [r for r, sign in zip(roots, signs, strict=True) if sign == 1]
        return tuple(
            FixedPoint(r, sp.diff(self.variances, variance).subs(variance, r))
            for r in sorted(positive, key=sp.N if len(positive) > 1 else str)
        )

    @cached_property
    def _growth(self) -> Callable[[mp.mpf], mp.mpf | None]:
        """By which share a layer adds to a variance, which has the same digits at every size."""
        return steady(self.variances / variance - 1, variance)

    @cached_property
    def _grid(self) -> tuple[mp.mpf, ...]:
        """Where fixed points are looked for: octaves around 1, and on as long as the map goes on beyond their ends."""
        grid = [mp.mpf(2) ** k for k in range(-_WIDEST, _WIDEST + 1)]
        for sign in (1, -1):
            for _ in range(_JUMPS):
                end = grid[-1] if sign > 0 else grid[0]
                value = self._growth(end)
                if value is None or sign * value <= 0:
                    break
                if sign > 0:
                    grid.append(end * max(2 * (1 + value), 2**_JUMP))
                else:
                    grid.insert(0, end * min((1 + value) / 2, mp.mpf(2) ** -_JUMP))
        return tuple(grid)

    @property
    def looked(self) -> tuple[sp.Expr, sp.Expr] | None:
        """Between which variances fixed points were looked for; None where all of them are known."""
        if self.factor is not None or (self.variances - variance).is_polynomial(variance):
            return None
        return sp.Float(self._grid[0], _DIGITS), sp.Float(self._grid[-1], _DIGITS)

    def correlations(self, at: sp.Expr) -> sp.Expr:
        """The new correlation of two inputs, in the old one, at a variance."""
        v = self.entries
        return self.covariances.xreplace({v[0, 0]: at, v[1, 1]: at}).subs(
            v[0, 1], correlation * at
        ) / self.variances.subs(variance, at)

    def correlation_rests(self, at: sp.Expr) -> tuple[FixedPoint, ...]:
        r"""Correlations in [0, 1] that rest at a variance that does; at 1 the slope is :math:`\chi`.

        The new correlation is a power series in the old one with coefficients of one sign (it is positive definite in any dimension,
        Schoenberg), so it is convex on [0, 1]: beside 1 it rests nowhere if :math:`\chi \le 1`, else at one point.
        """
        chi = self.chi(at)
        one = FixedPoint(sp.S.One, chi if chi.free_symbols or chi.is_Rational else sp.N(chi, _DIGITS))
        if one.is_stable is not False:
            return (one,)
        c = self.correlations(at)
        gap = (c - correlation) / (1 - correlation)  # falls, through 0 once
        low, high = mp.mpf(2) ** -10, 1 - mp.mpf(2) ** -10

        def value(r: mp.mpf) -> mp.mpf:
            return mp.mpf(sp.N(gap.subs(correlation, r), 10))

        if value(low) <= 0:
            return FixedPoint(sp.S.Zero, _slope(c, sp.Float(low), correlation)), one
        if value(high) >= 0:
            return (one,)  # closer to 1 than is looked at
        root = sp.Float(mp.findroot(value, (low, high), solver="anderson", tol=mp.mpf(10) ** -8), 8)
        return FixedPoint(root, _slope(c, root, correlation)), one

    def chi(self, at: sp.Expr) -> sp.Expr:
        r"""How a layer multiplies the mean square distance of inputs that are close, relative to the variance.

        This is the slope of the map of correlations at 1. A variance rests, or every variance is multiplied by the same factor, which
        the distance is then divided by: a ReLU layer that halves all variances halves the squared distances too.
        """
        found = self.tangents.subs(variance, at)
        return found if self.factor is None else found / self.factor

    def keeps_correlations(self, at: sp.Expr) -> bool | None:
        r"""Whether correlations are kept, where they are to first order at 1; None where this depends on parameters.

        The map of correlations is convex on [0, 1] with slope 1 at 1, so it is the identity if it is at one point inside.
        """
        sign = sign_of(self.correlations(at).subs(correlation, sp.S.Half) - sp.S.Half)
        return None if sign is None else sign == 0


def sign_of(expr: sp.Expr) -> int | None:
    """The sign of a number, 0 within the digits that are known; of a formula in parameters where their assumptions tell it, else None."""
    if not expr.free_symbols:
        value = sp.N(expr, _DIGITS)
        return 0 if abs(value) < sp.Rational(1, 10**10) else int(sp.sign(value))
    return 1 if expr.is_positive else -1 if expr.is_negative else 0 if expr.is_zero else None


def _slope(expr: sp.Expr, at: sp.Expr, symbol: sp.Symbol = variance) -> sp.Expr:
    """A derivative; of what SymPy has no derivative of, by a difference of high order."""
    slope = sp.diff(expr, symbol)
    if not slope.has(sp.Derivative, sp.Subs):
        value = slope.subs(symbol, at)
        return value if value.free_symbols or value.is_Rational else _number(value)
    with mp.workdps(2 * _DIGITS):
        return sp.Float(mp.diff(lambda v: mp.mpf(sp.N(expr.subs(symbol, v), 2 * _DIGITS)), mp.mpf(at)), _DIGITS)


def _number(value: sp.Expr) -> sp.Expr:
    """A slope in digits, 0 within them where terms cancel; parts of it may be as small as the constants of SELU are long, and are kept."""
    found = sp.re(sp.N(value, _DIGITS))
    return sp.S.Zero if abs(found) < sp.Float(10) ** -_DIGITS else found


def steady(expr: sp.Expr, symbol: sp.Symbol) -> Callable[[mp.mpf], mp.mpf | None]:
    """A formula as a function of numbers: None where digits cancel, so that two precisions disagree."""
    means = {node: sp.Dummy("E", real=True) for node in _outermost(expr)}
    formula = in_mpmath((symbol, *means.values()), expr.xreplace(means))
    if means:

        def integrated(at: mp.mpf) -> mp.mpf | None:
            try:  # each mean once; a formula of them is cheap
                known = [_real(sp.N(node.subs(symbol, at), 2 * _DIGITS)) for node in means]
            except DerivationError:  # an integral did not settle there
                return None
            if None in known:
                return None
            try:
                with mp.workdps(2 * _DIGITS):
                    return _real(formula(mp.mpf(at), *known))
            except TooLarge:
                return None

        return integrated

    def value(at: mp.mpf) -> mp.mpf | None:
        found = []
        for digits in (2 * _DIGITS, 6 * _DIGITS):
            try:
                with mp.workdps(digits):
                    found.append(formula(mp.mpf(at)))
            except TooLarge:  # far beyond where a fixed point can be found
                return None
        few, many = found
        close = abs(few - many) <= abs(many) * mp.mpf(10) ** (-_DIGITS) + mp.mpf(10) ** (1 - 2 * _DIGITS)
        return _real(many) if close else None

    return value


def _outermost(expr: sp.Expr) -> list[sp.Expr]:
    """The means in an expression that are in no other one."""
    if isinstance(expr, MEANS):
        return [expr]
    return list(dict.fromkeys(node for arg in expr.args for node in _outermost(arg)))


def _real(value: object) -> mp.mpf | None:
    number = mp.mpmathify(value)
    return number if isinstance(number, mp.mpf) and mp.isfinite(number) else None


def _roots(function: Callable[[mp.mpf], mp.mpf | None], grid: list[mp.mpf], relative: bool = False) -> list[sp.Float]:
    """Where a function changes its sign between points of a grid, or is 0 at one; ``relative`` where it is a share of the argument."""
    found: list[sp.Float] = []
    known = [(g, function(g)) for g in grid]
    small = mp.mpf(10) ** (2 - _DIGITS)
    for (a, fa), (b, fb) in pairwise(known):
        if fa is None or fb is None:
            continue
        if abs(fa) <= small * (1 if relative else max(1, abs(a))):
            found.append(sp.Float(a, _DIGITS))
        elif fa * fb < 0 and abs(fb) > small * (1 if relative else max(1, abs(b))):
            found.append(sp.Float(mp.findroot(function, (a, b), solver="anderson", tol=small), _DIGITS))
    return found


def layer_maps(program: Program, coordinates: int = 1) -> LayerMaps:
    """The maps of a layer at infinite width.

    Raises
    ------
    NotClosed
        If neurons do not stay Gaussian and centred, or a mean has no rule.
    """
    if any(isinstance(s, Matrix) and (s.weights.mean != 0 or s.weights.bias_mean != 0) for s in program.statements):
        raise NotClosed("the maps of variance and correlation are derived for centred weights")
    entries = gram_matrix(2, "K")
    pair = _Order0(program, 2)
    diagonal, covariances = pair.product(0, 0), pair.product(0, 1)
    if any(e.has(width) for e in (diagonal, covariances)):
        raise NotClosed("the layer says the width n, which is infinite in the maps of variance and correlation")
    return LayerMaps(
        _cancelled(diagonal.subs(entries[0, 0], variance)),
        covariances,
        entries,
        _Order0(program, 1, directions=1).chi().subs(entries[0, 0], variance),
    )


def _cancelled(expr: sp.Expr) -> sp.Expr:
    """Without common factors; behind a norm every variance is 1."""
    means = {node: sp.Dummy("E", positive=True) for node in _outermost(expr)}
    named = expr.xreplace(means)
    if not is_moderate(named):
        return expr
    short = sp.cancel(named)
    return (
        short.xreplace({name: node for node, name in means.items()})
        if sp.count_ops(short) < sp.count_ops(expr)
        else expr
    )


def _reads_products(program: Program) -> bool:
    """Whether a layer reads of the state only what its second moments determine, so that neurons need not be Gaussian: as ``relu(A(x))``."""
    if program.update.has(state):
        return False
    for s in program.statements:
        body = getattr(s, "body", sp.S.Zero)
        if not body.has(state):
            continue
        power = 2 if isinstance(s, Mean) else 1
        if not isinstance(s, Matrix | Mean) or sp.expand(body / state**power).has(state):
            return False
    return True


class _Order0:
    """A layer's moments at infinite width without any expansion."""

    def __init__(self, program: Program, inputs: int, directions: int = 0) -> None:
        self.layer = LayerMoments(program, inputs, infinite=True, directions=directions, order=0)
        expansion = self.layer.expansion
        self.after = [sp.expand(x + d[0]) for x, d in zip(expansion.states, expansion.increment, strict=True)]
        own = expansion.variables[0]
        if not all(is_affine(a, own) for a in self.after[:inputs]) and not _reads_products(program):
            raise NotClosed(
                "neurons do not stay Gaussian: the new state is no linear function of the old one and of what matrices put out"
            )

    def _mean(self, a: int, b: int) -> sp.Expr:
        expansion = self.layer.expansion
        body = layer_average(sp.expand(self.after[a] * self.after[b]), expansion.variables[0], 0)
        return conditional_mean((body,), expansion, infinite=True)[0]

    def product(self, a: int, b: int) -> sp.Expr:
        """The mean of a product of two coordinates."""
        return MeanFieldLayer.centred(self.layer).closed(self._mean(a, b), True)

    def chi(self) -> sp.Expr:
        """The mean square of the tangent, of one that is independent of the neurons and has mean square 1."""
        mean, tangent = self._mean(1, 1), self.layer.states[1]
        nodes = {
            node: layer_average(sp.cancel(node.body / tangent**2), self.layer.states[:1], 0)
            for node in mean.atoms(LayerAverage)
            if node.body.has(tangent)
        }
        return MeanFieldLayer.centred(self.layer).closed(mean.xreplace(nodes), True)
