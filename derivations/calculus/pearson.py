r"""Densities of mass 1 whose logarithmic derivative is rational: Pearson's family, and its image under the exponential.

The speed density of a diffusion has the logarithmic derivative :math:`r = (2\mu - a')/a`. On a half-line, an interval or the line, r is
compared with that of five shapes, whose masses are Euler's integrals:

.. math:: y^{A-1}e^{-By},\quad y^{-A-1}e^{-B/y},\quad y^{A-1}(1+y)^{-A-B}\ (0, \infty); \quad y^{A-1}(1-y)^{B-1}\ (0, 1); \quad
          e^{-Ay^2},\quad (1+y^2)^{-A-1/2}\ (-\infty, \infty).

For which parameters of the process A and B are positive is what Feller's test says.
"""

from __future__ import annotations

from functools import cache

import sympy as sp

_Y = sp.Dummy("y", positive=True)
_A, _B = sp.Dummy("A", positive=True), sp.Dummy("B", positive=True)
_Q = sp.Dummy("q", real=True)

_GAMMA = _Y ** (_A - 1) * sp.exp(-_B * _Y)
_INVERSE_GAMMA = _Y ** (-_A - 1) * sp.exp(-_B / _Y)
_BETA_PRIME = _Y ** (_A - 1) * (1 + _Y) ** (-_A - _B)
_BETA = _Y ** (_A - 1) * (1 - _Y) ** (_B - 1)
_GAUSS = sp.exp(-_A * _Q**2)
_STUDENT = (1 + _Q**2) ** (-_A - sp.S.Half)


@cache
def _masses() -> dict[sp.Expr, sp.Expr]:
    """Euler's integrals of the second and the first kind."""
    return {
        _GAMMA: sp.gamma(_A) / _B**_A,
        _INVERSE_GAMMA: sp.gamma(_A) / _B**_A,
        _BETA_PRIME: sp.beta(_A, _B).rewrite(sp.gamma),
        _BETA: sp.beta(_A, _B).rewrite(sp.gamma),
        _GAUSS: sp.sqrt(sp.pi / _A),
        _STUDENT: sp.beta(_A, sp.S.Half).rewrite(sp.gamma),
    }


def pearson_density(log_derivative: sp.Expr, x: sp.Symbol, interval: tuple[sp.Expr, sp.Expr]) -> sp.Expr | None:
    """The density of mass 1 with a logarithmic derivative, where it is of one of these shapes; else None.

    Parameters
    ----------
    log_derivative : Expr
        As a function of x.
    x : Symbol
    interval : tuple of Expr
        Where the density lives.

    Examples
    --------
    >>> x, k = sp.Symbol("x", real=True), sp.Symbol("kappa", positive=True)
    >>> pearson_density(-2 * k * x, x, (-sp.oo, sp.oo))
    sqrt(kappa)*exp(-kappa*x**2)/sqrt(pi)
    """
    left, right = interval
    if left.is_finite and right.is_finite:
        return _on_interval(log_derivative, x, left, right)
    if left.is_finite or right.is_finite:
        sign, end = (1, left) if left.is_finite else (-1, right)
        r = sp.cancel(sign * log_derivative.subs(x, end + sign * _Y))
        found = _on_half_line(r)
        return None if found is None else found.subs(_Y, sign * (x - end))
    return _on_line(sp.cancel(log_derivative), x)


def _on_interval(r: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr) -> sp.Expr | None:
    """Residues A − 1 at 0 and B − 1 at 1, and nothing else."""
    width = right - left
    rest = sp.cancel(width * r.subs(x, left + width * _Y) * _Y * (1 - _Y))
    if not rest.is_polynomial(_Y) or sp.degree(rest, _Y) > 1:
        return None
    a, b = sp.factor(1 + rest.subs(_Y, 0)), sp.factor(1 - rest.subs(_Y, 1))
    return _with(_BETA, a, b).subs(_Y, (x - left) / width) / width


def _on_half_line(r: sp.Expr) -> sp.Expr | None:
    """In y > 0; also where it is a Gaussian in log y."""
    rest = sp.cancel(r * _Y**2)
    if rest.is_polynomial(_Y):
        poly = sp.Poly(rest, _Y)
        inverse, power, rate = (sp.factor(poly.coeff_monomial(_Y**k)) for k in range(3))
        if poly.degree() > 2 or (inverse != 0 and rate != 0):
            return None
        if inverse == 0:
            return _with(_GAMMA, 1 + power, -rate)
        return _with(_INVERSE_GAMMA, -1 - power, inverse)
    along = sp.expand((_Y * r + 1).subs(sp.log(_Y), _Q))
    if along.is_polynomial(_Q) and not along.has(_Y) and sp.degree(along, _Q) == 1:
        found = _gauss(along, _Q)
        return None if found is None else found.subs(_Q, sp.log(_Y)) / _Y
    return _beta_prime(r)


def _beta_prime(r: sp.Expr) -> sp.Expr | None:
    """Residues A − 1 at 0 and −A − B at −c, c > 0."""
    _, denominator = sp.fraction(sp.cancel(r))
    if not denominator.is_polynomial(_Y) or sp.degree(denominator, _Y) != 2 or denominator.subs(_Y, 0) != 0:
        return None
    poly = sp.Poly(denominator, _Y)
    c = sp.cancel(poly.coeff_monomial(_Y) / poly.coeff_monomial(_Y**2))
    rest = sp.cancel(r * _Y * (_Y + c))
    if not c.is_positive or not rest.is_polynomial(_Y) or sp.degree(rest, _Y) > 1:
        return None
    a = sp.factor(1 + rest.subs(_Y, 0) / c)  # the residues add up to −1 − B
    b = sp.factor(-1 - sp.expand(rest).coeff(_Y, 1))
    return _with(_BETA_PRIME, a, b).subs(_Y, _Y / c) / c


def _on_line(r: sp.Expr, x: sp.Symbol) -> sp.Expr | None:
    if r.is_polynomial(x):
        return _gauss(r, x) if sp.degree(r, x) == 1 else None
    numerator, denominator = sp.fraction(r)
    if not (numerator.is_polynomial(x) and denominator.is_polynomial(x)) or sp.degree(denominator, x) != 2:
        return None
    a, b, c = sp.Poly(denominator, x).all_coeffs()
    centre, squared = -b / (2 * a), sp.cancel(c / a - b**2 / (4 * a**2))
    slope = sp.cancel(numerator / (a * (x - centre)))
    if slope.has(x) or not squared.is_positive:
        return None
    scale = sp.sqrt(squared)
    found = _with(_STUDENT, sp.factor(-(slope + 1) / 2), None)
    return found.subs(_Q, (x - centre) / scale) / scale


def _gauss(r: sp.Expr, x: sp.Symbol) -> sp.Expr | None:
    """From −2A(x − centre)."""
    slope, start = sp.expand(r).coeff(x, 1), sp.expand(r).coeff(x, 0)
    return _with(_GAUSS, -slope / 2, None).subs(_Q, x + sp.cancel(start / slope))


def _with(shape: sp.Expr, a: sp.Expr, b: sp.Expr | None) -> sp.Expr:
    values = {_A: sp.expand(a), _B: sp.expand(b) if b is not None else sp.S.One}
    return (shape / _masses()[shape]).subs(values, simultaneous=True)
