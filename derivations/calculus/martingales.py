r"""Whether a process without drift is a martingale, by how its noise grows."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.intervals import coefficients
from derivations.calculus.means import means_are_numbers
from derivations.calculus.size import factored
from derivations.diffusion import Diffusion
from derivations.piecewise import analyse
from derivations.piecewise.terms import LOG


@means_are_numbers
def is_martingale(process: Diffusion, interval: tuple[sp.Expr, sp.Expr]) -> bool | None:
    r"""Whether :math:`\mathrm{d}X = \sqrt{a(X)}\,\mathrm{d}B` on an interval is a martingale: its mean stays where it starts.

    It is one iff :math:`\int^{\infty} |x|/a(x)\,\mathrm{d}x = \infty` at each end that is infinite (S. Kotani, *On a condition that
    one-dimensional diffusion processes are martingales*, 2006): so it is for :math:`a \sim c\,|x|^p`, :math:`p \le 2`, and for no greater p.

    Parameters
    ----------
    process : Diffusion
        Scalar, time-homogeneous, without parameters, and without drift.
    interval : tuple of Expr
        On which it moves; it stops at a finite end that it reaches.

    Returns
    -------
    bool or None
        None where the growth of the noise is not known, or there is a drift.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [is_martingale(Diffusion((x,), [0], [[a]]), (-sp.oo, sp.oo)) for a in (sp.Max(x, 0) ** 2 + 1, 1 + x**4, sp.cosh(x))]
    [True, False, False]
    """
    x, mu, a = coefficients(process)
    if mu != 0:
        return None
    ends = [end for end in interval if end.is_infinite]
    found = [_stays(factored(a), x, end) for end in ends]
    return False if False in found else None if None in found else True


def _stays(a: sp.Expr, x: sp.Symbol, end: sp.Expr) -> bool | None:
    grown = analyse(a, x).growth(end)
    if grown.exponent is None or (grown.exponent == 2 and (grown.coefficient is None or grown.coefficient.has(LOG))):
        return None
    return bool(grown.exponent <= 2)
