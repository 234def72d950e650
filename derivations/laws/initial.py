r"""Random starts: averaging a law over a Gaussian :math:`X_0`."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.decimals import exact_decimals
from derivations.errors import DerivationError
from derivations.gaussian import expect
from derivations.notation.plain import plain
from derivations.notation.printed import Legible
from derivations.piecewise import Piece, join


@dataclass(frozen=True, repr=False)
class Normal(Legible):
    r"""A Gaussian start :math:`X_0 \sim N(m, v)`, as a first layer :math:`X_0 = W_{\mathrm{in}} a` makes it.

    Parameters
    ----------
    mean : Expr
        In units of the state.
    variance : Expr
        Positive, in units of the state squared.

    Examples
    --------
    >>> Normal(0, 2).density(sp.Integer(0))
    1/(2*sqrt(pi))
    >>> print(Normal(0, 2))
    N(0, 2)
    """

    mean: sp.Expr
    variance: sp.Expr

    def __post_init__(self) -> None:
        for name in ("mean", "variance"):
            try:
                object.__setattr__(self, name, exact_decimals(getattr(self, name)))
            except (sp.SympifyError, TypeError) as error:
                raise DerivationError(
                    f"the {name} of a Gaussian start must be a number or an expression, got {getattr(self, name)!r}"
                ) from error
        bad = sp.nan in (self.mean, self.variance) or False in (self.mean.is_finite, self.variance.is_finite)
        if bad or self.variance.is_positive is False:
            raise DerivationError(
                f"a Gaussian start needs a finite mean and a positive variance, got {self.mean}, {self.variance}"
            )

    def __repr__(self) -> str:
        return f"Normal({self.mean}, {self.variance})"

    def __str__(self) -> str:
        return f"N({plain(self.mean)}, {plain(self.variance)})"

    def density(self, x: sp.Expr) -> sp.Expr:
        """Density at x."""
        return sp.exp(-((x - self.mean) ** 2) / (2 * self.variance)) / sp.sqrt(2 * sp.pi * self.variance)

    def average(self, expr: sp.Expr, variable: sp.Symbol, interval: sp.Interval) -> sp.Expr:
        """Expectation of ``expr`` over a start in an interval: closed where a Gaussian rule applies, else unevaluated."""
        parts = [Piece(interval.inf, interval.sup, expr)]
        if interval.inf != -sp.oo:
            parts.insert(0, Piece(-sp.oo, interval.inf, sp.S.Zero))
        if interval.sup != sp.oo:
            parts.append(Piece(interval.sup, sp.oo, sp.S.Zero))
        return expect(join(tuple(parts), variable), variable, variance=self.variance, mean=self.mean)
