r"""Rational numbers of many digits as they are shown: their first digits, with dots for the rest.

A slope of thirty decimals, as that of SELU, is an exact fraction in a derivation, and its powers have hundreds of digits. On a page they would be
noise, and lines of them wider than it; JSON and the expressions themselves keep all digits.
"""

from __future__ import annotations

import sympy as sp

#: Binary digits above and below a fraction's line up to which it is written out: a float of 17 decimal ones has 112.
_WRITTEN_OUT = 128
_SHOWN = 12
_PLAIN = range(-4, _SHOWN)  # powers of ten that are written as zeros


class ShownNumber(sp.Symbol):
    """A number that is text already; it sorts as numbers do."""

    __slots__ = ()

    @classmethod
    def class_key(cls) -> tuple[int, int, str]:
        """That of a number, so that it stands first."""
        key: tuple[int, int, str] = sp.Integer.class_key()
        return key


def is_long(number: sp.Expr) -> bool:
    """Whether a number has more digits than a page should have."""
    return bool(number.is_Rational) and int(number.p).bit_length() + int(number.q).bit_length() > _WRITTEN_OUT


def with_short_number(product: sp.Mul) -> sp.Expr:
    """A product whose factor of many digits is shown by the first ones.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> with_short_number(x * sp.Rational(-1, 3**90))
    -1.14574263767…e-43*x
    >>> with_short_number(x / 3)
    x/3
    """
    number, rest = product.as_coeff_Mul()
    return sp.sign(number) * short(abs(number)) * rest if is_long(number) else product


def short(number: sp.Rational) -> ShownNumber:
    """The first digits of a positive number, cut and not rounded, as text.

    Examples
    --------
    >>> short(sp.Rational(2, 3)), short(sp.Integer(7) ** 60), short(sp.Integer(10) ** 50)
    (0.666666666666…, 5.08021860739…e50, 1e50)
    """
    p, q = int(number.p), int(number.q)
    power = (p.bit_length() - q.bit_length()) * 3 // 10 - 1
    while p * 10 ** max(-power - 1, 0) >= q * 10 ** max(power + 1, 0):
        power += 1
    while p * 10 ** max(-power, 0) < q * 10 ** max(power, 0):
        power -= 1
    shift = _SHOWN - 1 - power
    kept, left = divmod(p * 10 ** max(shift, 0), q * 10 ** max(-shift, 0))
    digits, dots = str(kept), "…" if left else ""
    if power not in _PLAIN:
        return ShownNumber(f"{_decimal(digits, 1, dots)}e{power}", positive=True)
    padded = "0" * -power + digits
    return ShownNumber(_decimal(padded, max(power, 0) + 1, dots), positive=True)


def _decimal(digits: str, whole: int, dots: str) -> str:
    """Digits with a point behind so many; zeros at the end are kept where digits are cut."""
    after = digits[whole:] if dots else digits[whole:].rstrip("0")
    return f"{digits[:whole]}.{after}{dots}" if after else f"{digits[:whole]}{dots}"
