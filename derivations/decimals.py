"""The one reading of a float: the shortest decimal that gives it back, as an exact fraction.

``0.1`` is 1/10 and ``0.7071067811865476`` is that decimal, not √2/2 and not rounded to 15 digits. It is read so wherever a number
enters: activations, variances, starts, times; a Python or NumPy float of any precision, a ``Decimal`` or a SymPy ``Float``
alone or inside an expression. Whoever means √2/2 or 1/3 writes it with SymPy.
"""

from __future__ import annotations

from decimal import Decimal

import mpmath
import sympy as sp

from derivations.errors import DerivationError, shown

_DOUBLE = 53  # bits


class NotAnExpression(DerivationError, sp.SympifyError):
    """What came is no number and no expression."""

    __str__ = ValueError.__str__


def exact_decimals(value: object) -> sp.Basic:
    """A number or expression with every float in it read as a decimal; text is refused, never evaluated.

    Raises
    ------
    NotAnExpression
        If it is no number and no expression.

    Examples
    --------
    >>> exact_decimals(0.1), exact_decimals(0.3333), exact_decimals(sp.Float("0.1", 40))
    (1/10, 3333/10000, 1/10)
    """
    if isinstance(value, Decimal) and value.is_finite():
        return sp.Rational(str(value))
    try:
        expr = sp.sympify(value, strict=True)
    except (sp.SympifyError, TypeError, ValueError, AttributeError):
        expr = None
    if not isinstance(expr, sp.Basic) or expr in (sp.true, sp.false):
        raise NotAnExpression(f"expected a number or a SymPy expression, got {shown(value)}")
    return expr.xreplace({number: _decimal(number) for number in expr.atoms(sp.Float)})


def _decimal(number: sp.Float) -> sp.Rational:
    """The decimal of fewest digits that has the same binary form at the number's own precision."""
    if number._prec == _DOUBLE and sp.Float(float(number)) == number:
        return sp.Rational(
            repr(float(number))
        )  # Python's own shortest decimal, also of a number below the normal range
    fewest, most = mpmath.libmp.prec_to_dps(number._prec), mpmath.libmp.repr_dps(number._prec)
    texts = (mpmath.libmp.to_str(number._mpf_, digits) for digits in range(max(fewest - 1, 1), most))
    same = (text for text in texts if mpmath.libmp.from_str(text, number._prec, "n") == number._mpf_)
    # the most digits always do: neighbours of b bits are further apart than decimals of 1 + ⌈b log₁₀2⌉ digits
    return sp.Rational(next(same, mpmath.libmp.to_str(number._mpf_, most)))
