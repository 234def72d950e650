r"""The sign of a constant from what is assumed of its parameters."""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp
from sympy.core.relational import Relational

from derivations.errors import DerivationError


def sign_of(expr: sp.Expr, assuming: Iterable[sp.Basic] = ()) -> int:
    r"""The sign of a constant expression: −1, 0 or 1.

    SymPy's own assumptions come first; then each relation :math:`p > q`, of which the expression may be a multiple by
    something of known sign.

    Parameters
    ----------
    expr : Expr
        Without the state.
    assuming : iterable of Relational
        Such as ``b**2 < 4*c`` or ``beta > 1``.

    Raises
    ------
    DerivationError
        If the sign is not known; the message says what to assume.

    Examples
    --------
    >>> b, c = sp.symbols("b c", real=True)
    >>> sign_of(c - b**2 / 4, [b**2 < 4 * c])
    1
    """
    expr = sp.factor(sp.sympify(expr))
    known = _known(expr)
    if known is not None:
        return known
    expr = _same_sign(expr)
    for relation in assuming:
        if not isinstance(relation, Relational):
            raise DerivationError(f"an assumption must be a relation such as b**2 < 4*c, got {relation!r}")
        if isinstance(relation, sp.Ne):
            continue
        difference = (
            sp.factor(relation.gts - relation.lts) if not isinstance(relation, sp.Eq) else relation.lhs - relation.rhs
        )
        ratio = _known(sp.factor(sp.cancel(expr / difference))) if difference != 0 else None
        if ratio is None:
            continue
        if isinstance(relation, sp.Eq):
            return 0
        if isinstance(relation, sp.StrictLessThan | sp.StrictGreaterThan):
            return ratio
    shown = -expr if expr.could_extract_minus_sign() else expr
    raise DerivationError(
        f"the answer depends on the sign of {shown}, which is not known; give the parameters a sign, e.g. "
        f"Symbol('c', positive=True), or pass assuming=[{shown} > 0] (or < 0) to recognise"
    )


def _same_sign(expr: sp.Expr) -> sp.Expr:
    """Numerator times denominator, without squares and without factors of known sign (which is kept)."""
    numerator, denominator = sp.fraction(sp.together(expr))
    kept, sign = sp.S.One, 1
    for factor in sp.Mul.make_args(sp.factor(numerator * denominator)):
        base, power = factor.as_base_exp()
        known = _known(factor)
        if known is not None:
            sign *= known
        elif not (power.is_Integer and power % 2 == 0):
            kept *= base
    return sign * kept


def _known(expr: sp.Expr) -> int | None:
    if expr.is_positive:
        return 1
    if expr.is_negative:
        return -1
    if expr.is_zero:
        return 0
    opened = sp.expand(expr)
    return 0 if opened == 0 else 1 if opened.is_positive else -1 if opened.is_negative else None
