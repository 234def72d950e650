r"""Activations for which the deep limit of a width-one network is solvable.

The limit of :math:`X_{\ell+1} = X_\ell + \tfrac{1}{\sqrt L} W_\ell\, \varphi(X_\ell)` is
:math:`\mathrm{d}X = \varphi(X)\,\mathrm{d}B`. In the coordinate :math:`Z = g(X)` with
:math:`g' = 1/\varphi` its noise is unit; Itô's formula adds the drift

.. math:: \tfrac12 \varphi^2 g'' = -\tfrac12 \varphi'(X) , \qquad\text{so}\qquad
          \mathrm{d}Z = -\tfrac12 \varphi'(h(Z))\,\mathrm{d}t + \mathrm{d}B, \qquad h = g^{-1}.

An activation is therefore made backwards, from a change of coordinate x = h(z) that gives a process with
a known law: :math:`\varphi = h' \circ g`.
"""

from __future__ import annotations

import sympy as sp

from derivations.activations.base import Activation, exact
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, require
from derivations.piecewise import Piece, join
from derivations.special import ErfiInv, Weber, WeberCoordinate, constant_form
from derivations.symbols import state as x

_z = sp.Symbol("z", real=True)


def from_inverse(
    name: str, chart: sp.Expr, inverse: sp.Expr, coordinate: sp.Symbol = _z, domain: sp.Interval = sp.S.Reals
) -> Activation:
    r"""The activation whose Lamperti coordinate is a given one, :math:`\varphi(x) = h'(g(x))`.

    *Derivation.* Unit noise in z = g(x) asks for :math:`g' \varphi = 1`; as g inverts h,
    :math:`g'(x) = 1/h'(g(x))`.

    Parameters
    ----------
    name : str
        The activation's name.
    chart : Expr
        The increasing function h, x = h(z), in ``coordinate``.
    inverse : Expr
        Its inverse g, z = g(x), in the shared symbol x. That it is the inverse is checked: h(g(x)) must
        have derivative 1 and must agree with x at an interior point of the domain.
    coordinate : Symbol
        The coordinate z.
    domain : Interval
        The range of h; the real line by default. Outside it the activation is 0: the noise of the limit vanishes at
        the ends and never takes the process across.

    Raises
    ------
    DerivationError
        If ``inverse`` is not the inverse of ``chart``.

    Examples
    --------
    >>> z = sp.Symbol("z", real=True)
    >>> from_inverse("geometric", sp.exp(z), sp.log(x), z, sp.Interval.open(0, sp.oo)).expr
    Piecewise((0, x <= 0), (x, True))
    """
    slope = sp.diff(chart, coordinate).subs(coordinate, inverse)
    anchor = Piece(domain.start, domain.end, x).interior()
    speed = sp.cancel(sp.powsimp(sp.expand(slope * sp.diff(inverse, x))))
    start = sp.expand(chart.subs(coordinate, inverse.subs(x, anchor)) - anchor)
    if speed != 1 or start != 0:
        raise DerivationError(
            f"{inverse} is not the inverse of {chart}: h(g(x)) has derivative {speed} (expected 1) "
            f"and differs from x by {start} at x = {anchor} (expected 0); give the g that solves h(g(x)) = x"
        )
    left, right = domain.start, domain.end
    outside = [Piece(-sp.oo, left, sp.S.Zero)] * left.is_finite, [Piece(right, sp.oo, sp.S.Zero)] * right.is_finite
    return Activation(name, join((*outside[0], Piece(left, right, slope), *outside[1]), x))


# h = (√π/2) erfi z, so φ = exp(g²) and φ' = 2 g g' exp(g²) = 2g: dZ = −Z dt + dB
ornstein_uhlenbeck = Activation.held(
    "ornstein_uhlenbeck",
    lambda: from_inverse("ornstein_uhlenbeck", sp.sqrt(sp.pi) / 2 * sp.erfi(_z), ErfiInv(2 * x / sp.sqrt(sp.pi))),
)

# h = (√π/2) erf z, so φ = exp(−g²) and φ' = −2g: dZ = Z dt + dB; Z never reaches ±∞, so X stays between ±√π/2
unstable_ornstein_uhlenbeck = Activation.held(
    "unstable_ornstein_uhlenbeck",
    lambda: from_inverse(
        "unstable_ornstein_uhlenbeck",
        sp.sqrt(sp.pi) / 2 * sp.erf(_z),
        sp.erfinv(2 * x / sp.sqrt(sp.pi)),
        domain=sp.Interval.open(-sp.sqrt(sp.pi) / 2, sp.sqrt(sp.pi) / 2),
    ),
)


def activation_from_potential(
    potential: sp.Expr, coordinate: sp.Symbol = _z, slope: object = 0, name: str | None = None
) -> Activation:
    r"""The activation whose width-one network has a chosen solvable potential.

    *Derivation.* Let u be the solution of :math:`u'' = U u` with :math:`u(0) = 1,\ u'(0) = \rho`. A process without drift has
    :math:`u = \varphi^{-1/2}` along its coordinate, so :math:`\varphi = u^{-2}`, and :math:`x'(z) = \varphi` gives
    :math:`x(z) = \int_0^z u^{-2}`. By Wronski's determinant that is the odd solution over u. The slope only bends x by a Möbius
    map: with :math:`\varphi_0, x_0` those of slope 0, :math:`x_0 = x/(1 - \rho x)` and :math:`\varphi(x) = (1 - \rho x)^2 \varphi_0(x_0)`.

    ================================== ===========================================================================
    U                                  φ for slope 0
    ================================== ===========================================================================
    0                                  1
    k²                                 1 − k²x² on :math:`|x| < 1/k`
    −k²                                1 + k²x²
    α²z² − α, α²z² + α                 :math:`e^{\pm y^2}`, y the inverse of :math:`(\sqrt\pi/2) \operatorname{erfi}` or erf, scaled
    α²z² + γ, γ > −α                   :math:`u^{-2}`, u a parabolic cylinder function (:class:`derivations.special.Weber`)
    c/z², c = ν² − 1/4                 :math:`2\nu x^{1 + 1/(2\nu)}` on x > 0; :math:`e^{-x}` for ν = 0
    ================================== ===========================================================================

    Parameters
    ----------
    potential : Expr
        One of the table, with numbers or positive symbols for k, α, ν.
    coordinate : Symbol
        The coordinate z.
    slope : Expr
        :math:`\rho`, 0 by default; u must stay positive. Not for :math:`c/z^2`.
    name : str, optional

    Raises
    ------
    DerivationError
        If the potential is none of these, or u has a zero.

    Examples
    --------
    >>> z = sp.Symbol("z", real=True)
    >>> activation_from_potential(sp.Integer(-1), z).expr
    x**2 + 1
    >>> activation_from_potential(sp.Rational(3, 4) / z**2, z).expr
    Piecewise((0, x <= 0), (2*x**(3/2), True))
    >>> activation_from_potential(z**2 + 3, z)(0)
    1
    """
    z = sp.Dummy("z", real=True)
    given = exact_decimals(potential)
    require("the potential", given, sp.Expr, "an expression")
    require("the coordinate", coordinate, sp.Symbol, "a symbol")
    v, rho = given.subs(coordinate, z), exact(slope)
    title = name if name is not None else f"potential {given}"
    inverse_square = sp.cancel(v * z**2)
    if v != 0 and not inverse_square.has(z):
        if rho != 0:
            raise DerivationError("for a potential c/z² the slope must be 0: u is a power of z")
        return _inverse_square(title, inverse_square, v, z)
    expr, end = _at_slope_zero(v, z)
    even = _with_potential(title, expr, -end, end, v, z)
    if rho == 0:
        return even
    if end == sp.oo or (sp.Abs(rho) * end <= 1) != sp.true:
        raise DerivationError(f"u must stay positive: the slope must be at most {1 / end} in size, got {rho}")
    expr = (1 - rho * x) ** 2 * expr.subs(x, x / (1 - rho * x))  # a Möbius map leaves the potential as it is
    expr = sp.cancel(expr) if expr.is_rational_function(x) else expr
    left = -sp.oo if rho * end == 1 else constant_form(-end / (1 - rho * end))
    right = sp.oo if rho * end == -1 else constant_form(end / (1 + rho * end))
    return _on_interval(title, expr, left, right)


def _at_slope_zero(v: sp.Expr, z: sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """The activation of the even solution, and the end of its range (symmetric about 0)."""
    if not v.has(z):
        if v.is_zero:
            return sp.S.One, sp.oo
        if v.is_negative:
            return 1 - v * x**2, sp.oo
        if v.is_positive:
            return 1 - v * x**2, 1 / sp.sqrt(v)
        raise DerivationError(f"the sign of the potential {v} must be known; give its parameters a sign")
    square = v.coeff(z, 2) if v.is_polynomial(z) else sp.S.Zero
    level = sp.expand(v - square * z**2)
    if level.has(z) or not square.is_positive:
        raise DerivationError(
            f"no activation is known for the potential {v}; expected a constant, alpha²z² + gamma with alpha² > 0, or c/z²"
        )
    alpha = sp.sqrt(square)
    if sp.expand(level + alpha) == 0:  # u = e^{-αz²/2}
        return sp.exp(ErfiInv(2 * sp.sqrt(alpha) * x / sp.sqrt(sp.pi)) ** 2), sp.oo
    if sp.expand(level - alpha) == 0:  # u = e^{αz²/2}
        return sp.exp(-(sp.erfinv(2 * sp.sqrt(alpha) * x / sp.sqrt(sp.pi)) ** 2)), sp.sqrt(sp.pi / alpha) / 2
    if (level + alpha).is_positive is not True:
        raise DerivationError(f"u has a zero unless gamma >= -alpha, got gamma = {level}, alpha = {alpha}")
    u = Weber(0, alpha, level, 0, WeberCoordinate(alpha, level, x))
    return u**-2, WeberCoordinate.end(alpha, level)


def _inverse_square(title: str, c: sp.Expr, v: sp.Expr, z: sp.Symbol) -> Activation:
    r"""For :math:`c = \nu^2 - \tfrac14`, :math:`u = z^{\nu + 1/2}`: :math:`x = z^{-2\nu}` has :math:`|x'| = 2\nu z^{-1-2\nu} = 2\nu x^{1 + 1/2\nu}`."""
    nu = sp.sqrt(sp.factor(c + sp.Rational(1, 4)))
    if nu.is_zero:
        return _with_potential(title, sp.exp(-x), -sp.oo, sp.oo, v, z)
    if not nu.is_positive:
        raise DerivationError(f"c/z² has a positive solution only for c >= -1/4, got c = {c}")
    return _with_potential(title, 2 * nu * x ** (1 + 1 / (2 * nu)), sp.S.Zero, sp.oo, v, z)


def _with_potential(title: str, expr: sp.Expr, left: sp.Expr, right: sp.Expr, v: sp.Expr, z: sp.Symbol) -> Activation:
    r"""The activation on its interval, 0 outside, after its potential has been found to be the one that was asked for.

    With :math:`D = \varphi\,\mathrm{d}/\mathrm{d}x`, both :math:`D U` and the invariant that U satisfies are compared through
    :math:`(D U)^2` as a function of U, which does not need the coordinate.
    """
    slope = sp.diff(expr, x)
    found = slope**2 / 4 - expr * sp.diff(expr, x, 2) / 2
    steep = expr * sp.diff(found, x)
    # along z, (U')² is a function of U: 4α²(U - γ) for a parabola, 4U³/c for c/z², 0 for a constant
    level = sp.expand(v.subs(z, 0)) if v.is_polynomial(z) else sp.S.Zero
    wanted = 4 * v.coeff(z, 2) * (found - level) if v.is_polynomial(z) else 4 * found**3 / sp.cancel(v * z**2)
    point = Piece(left, right, x).interior()
    point = point if point != 0 else (right / 7 if right.is_finite else sp.Rational(1, 7))
    if not v.has(z):
        wanted, steep = v, found
    numbers = {s: sp.Rational(5 + k, 7) for k, s in enumerate(sorted((steep - wanted).free_symbols - {x}, key=str))}
    gap = sp.N((steep**2 - wanted if v.has(z) else steep - wanted).subs(x, point).subs(numbers), 30)
    if not abs(gap) < sp.Rational(1, 10**15):
        raise DerivationError(f"the activation {expr} came out with another potential than {v}; please report this")
    return _on_interval(title, expr, left, right)


def _on_interval(title: str, expr: sp.Expr, left: sp.Expr, right: sp.Expr) -> Activation:
    outside = [Piece(-sp.oo, left, sp.S.Zero)] * left.is_finite, [Piece(right, sp.oo, sp.S.Zero)] * right.is_finite
    return Activation(title, join((*outside[0], Piece(left, right, expr), *outside[1]), x))


SOLVABLE = (ornstein_uhlenbeck, unstable_ornstein_uhlenbeck)
