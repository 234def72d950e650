r"""The series in the correlation where no closed form is known, with a bound on what it leaves out."""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from derivations.errors import DerivationError
from derivations.gaussian.single import expect
from derivations.gaussian.tidy import tidy
from derivations.symbols import correlation


class HermiteSeries(NamedTuple):
    r"""A polynomial in :math:`\rho` and a bound on its distance from :math:`\mathbb{E} f(U) g(V)`."""

    series: sp.Expr
    bound: sp.Expr


def hermite_pair(f: object, g: object, variable: sp.Symbol, order: int) -> HermiteSeries:
    r""":math:`\mathbb{E} f(U) g(V)` to a power of the correlation, for unit variances.

    With the normalised Hermite coefficients :math:`f_n = \mathbb{E} f(Z) He_n(Z)/\sqrt{n!}`,

    .. math:: \mathbb{E} f(U) g(V) = \sum_{n \ge 0} f_n g_n \rho^n, \qquad
              \Bigl|\sum_{n > N} f_n g_n \rho^n\Bigr| \le |\rho|^{N+1}
              \sqrt{\mathbb{E} f^2 - \sum_{n \le N} f_n^2}\,\sqrt{\mathbb{E} g^2 - \sum_{n \le N} g_n^2} .

    *Derivation.* :math:`\mathbb{E}\,He_m(U) He_n(V) = \delta_{mn}\, n!\, \rho^n` (compare powers of s and t in
    :math:`\mathbb{E}\, e^{sU - s^2/2} e^{tV - t^2/2} = e^{st\rho}`). The bound is Cauchy–Schwarz on the tail, whose
    two factors Parseval gives without a further coefficient.

    Parameters
    ----------
    f, g : Expr
        In ``variable``, square integrable under N(0, 1).
    variable : Symbol
    order : int
        The last power kept, N ≥ 0.

    Returns
    -------
    HermiteSeries
        In :data:`derivations.symbols.correlation`; coefficients without a closed form are
        :class:`~derivations.gaussian.GaussianExpectation` values, exact all the same.

    Raises
    ------
    DerivationError
        If the order is negative or a square is not integrable.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> hermite_pair(sp.sign(x), sp.sign(x), x, 3).series
    rho**3/(3*pi) + 2*rho/pi
    """
    if order < 0:
        raise DerivationError(f"the order of a Hermite series must be nonnegative, got {order}")
    first, second = sp.sympify(f), sp.sympify(g)
    left = _coefficients(first, variable, order)
    right = left if first == second else _coefficients(second, variable, order)
    factorials = [sp.factorial(n) for n in range(order + 1)]
    products = zip(left, right, factorials, strict=True)
    series = sum((tidy(a * b / c) * correlation**n for n, (a, b, c) in enumerate(products)), sp.S.Zero)
    tails = [
        tidy(expect(h**2, variable) - sum((a**2 / c for a, c in zip(hs, factorials, strict=True)), sp.S.Zero))
        for h, hs in ((first, left), (second, right))
    ]
    return HermiteSeries(series, abs(correlation) ** (order + 1) * sp.sqrt(tails[0] * tails[1]))


def _coefficients(f: sp.Expr, variable: sp.Symbol, order: int) -> list[sp.Expr]:
    r""":math:`\mathbb{E} f(Z) He_n(Z)` for n up to the order, by :math:`He_{n+1} = z He_n - n He_{n-1}`."""
    previous, polynomial, found = sp.S.Zero, sp.S.One, []
    for n in range(order + 1):
        found.append(expect(f * polynomial, variable))
        previous, polynomial = polynomial, sp.expand(variable * polynomial - n * previous)
    return found
