r"""Means of powers of the modulus of a centred Gaussian and of its logarithm.

.. math:: \int_0^\infty r^q\, p_s(r)\,\mathrm{d}r = \frac{(2s)^{q/2}}{2\sqrt\pi}\,\Gamma\Bigl(\frac{q+1}{2}\Bigr), \qquad q > -1,

(substitute :math:`u = r^2/2s`); a factor :math:`\log^k r` is the k-th derivative in q.
"""

from __future__ import annotations

import sympy as sp

from derivations.errors import DerivationError, NoClosedForm
from derivations.piecewise import Piece, pieces


def power_mean(expr: sp.Expr, variable: sp.Symbol, variance: sp.Expr) -> sp.Expr:
    r""":math:`\mathbb{E} f(Z)`, :math:`Z \sim N(0, s)`, of sums of :math:`|z|^q \log^k|z|` on each side of 0.

    Raises
    ------
    NoClosedForm
        If f has another form.
    DerivationError
        If :math:`q \\le -1`.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> power_mean(sp.log(abs(x)), x, sp.S.One)
    -log(2)/2 - EulerGamma/2
    """
    r = sp.Dummy("r", positive=True)
    parts = pieces(expr, variable)
    if any(part.left not in (-sp.oo, 0) for part in parts):
        raise NoClosedForm(f"powers of |{variable.name}| have a closed mean with a kink at 0 only")
    sides = (parts[0], -r), (parts[-1], r)
    terms = [term for side in sides for term in _terms(*side, variable, r)]
    return sp.expand(sp.expand_log(sp.Add(*(c * _half_line(q, k, variance, variable) for c, q, k in terms))))


def _terms(part: Piece, at: sp.Expr, variable: sp.Symbol, r: sp.Symbol) -> list[tuple[sp.Expr, sp.Expr, int]]:
    """Coefficients, exponents and powers of the logarithm on a half-line."""
    sided = sp.expand(sp.expand_log(sp.powdenest(part.expr.xreplace({variable: at}))))
    found = []
    for term in sp.Add.make_args(sided) if sided != 0 else ():
        coefficient, dependent = term.as_independent(r, as_Add=False)
        q, k = sp.S.Zero, 0
        for factor in sp.Mul.make_args(dependent):
            base, exponent = factor.as_base_exp()
            if base == r and not exponent.has(r):
                q += exponent
            elif base == sp.log(r) and exponent.is_Integer and exponent.is_positive:
                k += int(exponent)
            elif factor != 1:
                raise NoClosedForm(f"{factor} is neither a power of |{variable.name}| nor of its logarithm")
        if coefficient.has(sp.I, sp.log(-1)):
            raise NoClosedForm(f"{part.expr} is not real on a half-line")
        found.append((coefficient, q, k))
    return found


def _half_line(q: sp.Expr, logarithms: int, variance: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    if (q + 1).is_extended_nonpositive:
        raise DerivationError(
            f"the mean of |{variable.name}|**({q}) under a Gaussian diverges: only powers above -1 have a mean "
            "(a principal value is none)"
        )
    if not (q + 1).is_extended_positive:
        raise NoClosedForm(f"whether {q} is above -1 is not known; give its symbols assumptions")
    p = sp.Dummy("p", positive=True)
    value = sp.diff((2 * variance) ** (p / 2) * sp.gamma((p + 1) / 2), p, logarithms) / (2 * sp.sqrt(sp.pi))
    return sp.expand_func(value.subs(p, q))
