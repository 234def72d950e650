r"""Logarithms of functions that keep their sign on an interval, opened into real terms."""

from __future__ import annotations

from contextlib import suppress

import sympy as sp

from derivations.calculus.lamperti import LampertiForm
from derivations.errors import DerivationError
from derivations.piecewise import Piece


def log_of_positive(expr: sp.Expr, form: LampertiForm) -> sp.Expr:
    r"""The logarithm of a function that is positive on the interval of a form, as a sum of real logarithms.

    A product that has no zero on an interval has factors that keep their signs there; each is taken with the sign that it
    has at a point inside. ``expand_log`` with force would give :math:`\log x + \mathrm i\pi` for :math:`\log(-x)`, x < 0.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> left = LampertiForm(x, (-sp.oo, sp.S.Zero), sp.S.Zero, -2 * x)
    >>> log_of_positive(-2 * x, left), log_of_positive(x**2 * sp.exp(x), left)
    (log(-x) + log(2), x + 2*log(-x))
    """
    inside = _inside(form)
    opened, kept, sign = sp.S.Zero, sp.S.One, 1
    for factor in sp.Mul.make_args(sp.powsimp(expr)):
        if isinstance(factor, sp.exp):
            opened += factor.args[0]
            continue
        base, power = factor.as_base_exp()
        kind = _sign(base.subs(form.state, inside), form)
        if kind > 0 or (kind < 0 and power.is_Integer):
            opened += power * sp.log(kind * base)
            sign *= kind if power.is_odd else 1
        else:
            kept *= factor
    return opened + sp.log(sign * kept)


def real_logs(expr: sp.Expr, form: LampertiForm) -> sp.Expr:
    r"""An antiderivative with :math:`\log(-g)` for every :math:`\log g` of a g < 0: they differ by a constant.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> real_logs(sp.log(x - 1), LampertiForm(x, (sp.S.Zero, sp.S.One), sp.S.Zero, x * (1 - x)))
    log(1 - x)
    """
    inside = _inside(form)

    def turn(node: sp.log) -> sp.Expr:
        return sp.log(-node.args[0]) if _sign(node.args[0].subs(form.state, inside), form) < 0 else node

    return expr.replace(lambda node: isinstance(node, sp.log) and node.has(form.state), turn)


def _inside(form: LampertiForm) -> sp.Expr:
    return Piece(*form.interval, form.scale).interior()


def _sign(value: sp.Expr, form: LampertiForm) -> int:
    """The sign of a number or of a constant with parameters; 0 where it is not known."""
    with suppress(DerivationError, TypeError, AttributeError):
        return form.sign(value)
    return 0
