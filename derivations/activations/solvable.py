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

from derivations.activations.base import Activation
from derivations.errors import DerivationError
from derivations.pieces import Piece, join
from derivations.special import ErfiInv
from derivations.symbols import state as x

_z = sp.Symbol("z", real=True)
_s = sp.Symbol("s", real=True)


def from_inverse(
    name: str, chart: sp.Expr, inverse: sp.Expr, coordinate: sp.Symbol = _z, domain: sp.Interval = sp.S.Reals
) -> Activation:
    r"""The activation whose unit-noise coordinate is a given one, :math:`\varphi(x) = h'(g(x))`.

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


def _gaussian_chart(sign: int) -> sp.Expr:
    """The chart h(z) = ∫₀ᶻ exp(± s²) ds."""
    return sp.integrate(sp.exp(sign * _s**2), (_s, 0, _z))


# h = (√π/2) erfi z, so φ = exp(g²) and φ' = 2 g g' exp(g²) = 2g: dZ = −Z dt + dB
ornstein_uhlenbeck = from_inverse("ornstein_uhlenbeck", _gaussian_chart(+1), ErfiInv(2 * x / sp.sqrt(sp.pi)))

# h = (√π/2) erf z, so φ = exp(−g²) and φ' = −2g: dZ = Z dt + dB; Z never reaches ±∞, so X stays between ±√π/2
unstable_ornstein_uhlenbeck = from_inverse(
    "unstable_ornstein_uhlenbeck",
    _gaussian_chart(-1),
    sp.erfinv(2 * x / sp.sqrt(sp.pi)),
    domain=sp.Interval.open(-sp.sqrt(sp.pi) / 2, sp.sqrt(sp.pi) / 2),
)

SOLVABLE = (ornstein_uhlenbeck, unstable_ornstein_uhlenbeck)
