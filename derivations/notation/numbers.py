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
    >>> with_short_number(3**90 * sp.exp(2) * x / (3**90 * sp.sqrt(2) + 1))
    5.22485167412…*x
    """
    numbers = [factor for factor in product.args if factor.is_number]
    if not any(is_long(number) for factor in numbers for number in factor.atoms(sp.Rational)):
        return product
    number = _value(sp.Mul(*numbers))
    rest = sp.Mul(*(factor for factor in product.args if not factor.is_number))
    return product if number is None else sp.sign(number) * short(abs(number)) * rest


def _value(number: sp.Expr) -> sp.Rational | None:
    """A number to more digits than are shown; None where it has no value."""
    if number.is_Rational:
        return number
    value = number.evalf(2 * _SHOWN)
    return sp.Rational(value) if value.is_Float and value.is_finite and value != 0 else None


def with_few_digits(expr: sp.Expr, digits: int) -> sp.Expr:
    """Numbers that nobody reads, as what comes of the constants of SELU, by so many digits, each as a whole.

    Examples
    --------
    >>> x, c = sp.Symbol("x"), sp.Rational(10507009873, 10**10)
    >>> with_few_digits(c**2 * sp.exp(2) * x / (c * sp.sqrt(2) - 1) + x / 3 + sp.sin(c * x), 4)
    17.12*x + sin(1.051*x)
    """
    if isinstance(expr, sp.Lambda):
        return sp.Lambda(expr.variables, with_few_digits(expr.expr, digits))
    if not any(len(str(number)) > 2 * digits for number in expr.atoms(sp.Rational)):
        return expr
    if expr.is_number:
        value = sp.N(expr, digits)
        return sp.S.One if value == 1 else value  # no factor
    if not expr.is_Mul:
        return expr.func(*(with_few_digits(part, digits) for part in expr.args))
    numbers = sp.Mul(*(factor for factor in expr.args if factor.is_number))
    rest = (with_few_digits(factor, digits) for factor in expr.args if not factor.is_number)
    return with_few_digits(numbers, digits) * sp.Mul(*rest)


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
