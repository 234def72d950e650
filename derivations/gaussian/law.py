r"""A Gaussian vector, and what multiplying its density by a Gaussian factor does to it.

Both rules below are completing the square in one coordinate: a factor
:math:`e^{c x_i^2 + b x_i}` turns :math:`N(m, K)` into a constant times another Gaussian,

.. math:: K' = K + \tfrac{2c}{D} K e_i e_i^\top K, \qquad m' = m + \tfrac{b + 2 c m_i}{D} K e_i, \qquad
          D = 1 - 2 c K_{ii} .

*Derivation.* :math:`K'^{-1} = K^{-1} - 2c\, e_i e_i^\top` (Sherman–Morrison gives :math:`K'`),
:math:`K'^{-1} m' = K^{-1} m + b\, e_i`; the constant is :math:`\sqrt{\det K'/\det K}` times the
exponential of half the change in :math:`m^\top K^{-1} m`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

from derivations.errors import NoClosedForm
from derivations.gaussian.terms import Sigmoid


@dataclass(frozen=True)
class Gaussian:
    """The law N(mean, covariance) of a vector.

    Parameters
    ----------
    mean, covariance : tuple
        Entries, and rows of entries.
    normal : callable
        Brings an entry to its normal form, so that what vanishes is seen to vanish.
    """

    mean: tuple[sp.Expr, ...]
    covariance: tuple[tuple[sp.Expr, ...], ...]
    normal: Callable[[sp.Expr], sp.Expr] = sp.cancel

    def tilted(self, axis: int, square: sp.Expr, linear: sp.Expr) -> tuple[sp.Expr, Gaussian]:
        r"""Constant and law of :math:`e^{c x_i^2 + b x_i}` times this one.

        With :math:`D = 1 - 2 c K_{ii}` the constant is
        :math:`D^{-1/2} \exp((c m_i^2 + b m_i + \tfrac12 b^2 K_{ii})/D)`.

        Raises
        ------
        NoClosedForm
            If :math:`D \le 0`, where the product cannot be normalised.

        Examples
        --------
        >>> s = sp.Symbol("s", positive=True)
        >>> Gaussian((sp.S.Zero,), ((s,),)).tilted(0, sp.S.Zero, sp.S(2))[0]
        exp(2*s)
        """
        if square == 0 and linear == 0:
            return sp.S.One, self
        m, k = self.mean[axis], self.covariance[axis][axis]
        rest = self.normal(1 - 2 * square * k)
        if rest.is_nonpositive:
            raise NoClosedForm(f"exp({square}*x**2) cannot be integrated against a Gaussian of variance {k}")
        exponent = self.normal((square * m**2 + linear * m + linear**2 * k / 2) / rest)
        after = self._moved(axis, (linear + 2 * square * m) / rest, 2 * square / rest)
        return sp.exp(exponent) / sp.sqrt(rest), after

    def latent(self, axis: int, sigmoid: Sigmoid) -> tuple[sp.Expr, sp.Expr]:
        r"""Mean and *twice* the variance of :math:`a x_i + d + \xi`, the Gaussian whose sign a sigmoid averages."""
        a, d, r = sigmoid
        return self.normal(a * self.mean[axis] + d), self.normal(2 * a**2 * self.covariance[axis][axis] + 2 * r)

    def observed(self, axis: int, sigmoid: Sigmoid) -> tuple[sp.Expr, Gaussian]:
        r"""Density at 0 of :math:`y = a x_i + d + \xi`, and the law given :math:`y = 0`.

        A sigmoid has the derivative :math:`S'(x_i) = 2a\,p(y = 0 \mid x_i)`, so by Bayes it turns
        the law into the posterior, :math:`m' = m - \tfrac{a\mu}{v} K e_i`,
        :math:`K' = K - \tfrac{a^2}{v} K e_i e_i^\top K`, with :math:`y \sim N(\mu, v)`.
        """
        mu, twice = self.latent(axis, sigmoid)
        a = sigmoid.slope
        density = sp.exp(self.normal(-(mu**2) / twice)) / (sp.sqrt(sp.pi) * root(twice))
        return density, self._moved(axis, -2 * a * mu / twice, -2 * a**2 / twice)

    def _moved(self, axis: int, shift: sp.Expr, gain: sp.Expr) -> Gaussian:
        column = tuple(row[axis] for row in self.covariance)
        mean = tuple(self.normal(m + k * shift) for m, k in zip(self.mean, column, strict=True))
        rows = zip(self.covariance, column, strict=True)
        covariance = tuple(
            tuple(self.normal(entry + k * other * gain) for entry, other in zip(row, column, strict=True))
            for row, k in rows
        )
        return Gaussian(mean, covariance, self.normal)


def root(expr: sp.Expr) -> sp.Expr:
    """Square root of a positive fraction, numerator and denominator apart and content taken out.

    Examples
    --------
    >>> q, r = sp.symbols("q r", positive=True)
    >>> root(q**2 - q**2 * sp.Symbol("rho", real=True) ** 2)
    q*sqrt(1 - rho**2)
    """
    above, below = sp.fraction(sp.together(expr))
    return sp.sqrt(sp.factor_terms(above)) / sp.sqrt(sp.factor_terms(below))
