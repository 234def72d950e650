r"""Orders of magnitude: powers of the width and of the depth, and the order of a formula whose symbols have orders.

The width grows first, then the depth: of two orders the larger one is that with the larger power of the width, and where these are equal
that with the larger power of the depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, total_ordering
from itertools import product
from typing import Any

import sympy as sp
from mpmath import mp

from derivations.errors import DerivationError, brief
from derivations.evaluation import in_mpmath
from derivations.piecewise.analysis import analyse

#: The depth at which formulas are looked at, as a power of 10; the width there as a power of the depth, twice; digits beside the sizes.
_DEPTH, _WIDTHS, _DIGITS = 20, (16, 17), 60
#: Absolute values that symbols have times their orders, below 1 as small parameters are.
_VALUES = (
    Fraction(73, 100),
    Fraction(41, 97),
    Fraction(89, 101),
    Fraction(31, 53),
    Fraction(64, 83),
    Fraction(59, 113),
)
_MOST_SIGNS, _LARGEST_DENOMINATOR = 4, 60


@total_ordering
@dataclass(frozen=True)
class Order:
    r"""The order :math:`n^a L^b`, or that of 0.

    Parameters
    ----------
    width, depth : Fraction
        a and b.
    nothing : bool
        Whether it is the order of 0.

    Examples
    --------
    >>> max(Order(Fraction(1, 2)), Order(Fraction(0), Fraction(3)), NOTHING)
    n^(1/2)
    >>> Order(Fraction(1)) * Order(Fraction(-1), Fraction(1, 2)) ** 2
    n^(-1) L
    """

    width: Fraction = Fraction(0)
    depth: Fraction = Fraction(0)
    nothing: bool = False

    def __mul__(self, other: Order) -> Order:
        if self.nothing or other.nothing:
            return NOTHING
        return Order(self.width + other.width, self.depth + other.depth)

    def __truediv__(self, other: Order) -> Order:
        return self * other**-1

    def __pow__(self, power: int | Fraction) -> Order:
        return NOTHING if self.nothing else Order(self.width * power, self.depth * power)

    def __lt__(self, other: Order) -> bool:
        if self.nothing or other.nothing:
            return self.nothing and not other.nothing
        return (self.width, self.depth) < (other.width, other.depth)

    def __repr__(self) -> str:
        if self.nothing:
            return "0"
        parts = [
            base if power == 1 else f"{base}^{power}" if power.denominator == 1 and power > 0 else f"{base}^({power})"
            for base, power in (("n", self.width), ("L", self.depth))
            if power
        ]
        return " ".join(parts) or "1"


NOTHING = Order(nothing=True)
ONE = Order()
WIDTH = Order(Fraction(1))
DEPTH = Order(Fraction(0), Fraction(1))


def fraction(number: sp.Expr) -> Fraction:
    """A rational number as Python has it."""
    return Fraction(int(number.p), int(number.q))


def largest(*orders: Order) -> Order:
    """The order of a sum."""
    return max(orders, default=NOTHING)


def order_of(expr: sp.Expr, orders: Mapping[sp.Symbol, Order]) -> Order:
    r"""The order of a formula at typical values of its symbols, each of the order that it has; others have order 1.

    A polynomial is as large as its largest monomial. Another formula is evaluated with as many digits as it needs where width and depth are so large
    that smaller terms cannot be seen, and the powers are read off; so terms that cancel do not count.

    Raises
    ------
    DerivationError
        If it grows in another way than a power.

    Examples
    --------
    >>> x, e = sp.symbols("x e", real=True)
    >>> order_of(sp.tanh(e * x) - e * x, {e: DEPTH ** Fraction(-1, 2)})
    L^(-3/2)
    """
    names = sorted(expr.free_symbols, key=sp.default_sort_key)
    return _order_of(expr, tuple(names), tuple(orders.get(s, ONE) for s in names))


@lru_cache(maxsize=4096)
def _order_of(expr: sp.Expr, names: tuple[sp.Symbol, ...], orders: tuple[Order, ...]) -> Order:
    if expr == 0 or any(o.nothing for o in orders):
        rest = expr.xreplace({s: sp.S.Zero for s, o in zip(names, orders, strict=True) if o.nothing})
        if rest == 0 or rest.has(sp.nan, sp.zoo):
            return NOTHING
        if rest != expr:
            return order_of(rest, dict(zip(names, orders, strict=True)))
    if not names:
        return ONE
    if expr.is_polynomial(*names):
        terms = sp.Poly(expr, *names).monoms()
        return largest(*(_product(orders, powers) for powers in terms))
    found = list(_seen(expr, names, orders))
    if not found and any(o > ONE for o in orders):
        raise DerivationError(f"{brief(expr)} vanishes faster than any power where what it reads grows")
    return largest(*found)


def _product(orders: tuple[Order, ...], powers: tuple[int, ...]) -> Order:
    made = ONE
    for order, power in zip(orders, powers, strict=True):
        made = made * order**power
    return made


def _value(k: int) -> Fraction:
    """The absolute value of symbol number k, another one for each."""
    return _VALUES[k % len(_VALUES)] / (1 + Fraction(k // len(_VALUES), 7))


def _signs(names: tuple[sp.Symbol, ...]) -> Iterator[tuple[int, ...]]:
    free = [k for k, s in enumerate(names) if not s.is_nonnegative][:_MOST_SIGNS]
    for chosen in product((1, -1), repeat=len(free)):
        yield tuple(chosen[free.index(k)] if k in free else 1 for k in range(len(names)))


def _seen(expr: sp.Expr, names: tuple[sp.Symbol, ...], orders: tuple[Order, ...]) -> Iterator[Order]:
    """The orders at values of several signs."""
    function = in_mpmath(names, expr, {"Heaviside": _heaviside, "DiracDelta": _delta})
    spread = sum(abs(o.width) * _WIDTHS[1] + abs(o.depth) for o in orders) + 1
    digits = _DIGITS + int(4 * 2 * _DEPTH * spread)

    def size(signs: tuple[int, ...], width: int, power: int) -> Any:
        values = []
        for k, (order, sign) in enumerate(zip(orders, signs, strict=True)):
            v = _value(k)
            exponent = (order.width * width + order.depth) * _DEPTH * power
            values.append(
                sign
                * mp.mpf(v.numerator)
                / v.denominator
                * mp.mpf(10) ** (mp.mpf(exponent.numerator) / exponent.denominator)
            )
        value = function(*values)
        return None if value == 0 else mp.log10(abs(value)) / _DEPTH

    for signs in _signs(names):
        with mp.workdps(digits):
            found = [[size(signs, width, power) for power in (1, 2, 4)] for width in _WIDTHS]
            if any(value is None for row in found for value in row):
                continue
            slopes = []
            for one, two, four in found:
                if abs((four - two) / 2 - (two - one)) > mp.mpf(10) ** -4:
                    raise DerivationError(f"{brief(expr)} grows in another way than a power where what it reads grows")
                slopes.append((four - two) / 2)
            wide = _rational(slopes[1] - slopes[0])
            yield Order(wide, _rational(slopes[0] - mp.mpf(wide.numerator) / wide.denominator * _WIDTHS[0]))


def _rational(value: Any) -> Fraction:
    """The rational number with a small denominator that a slope stands for."""
    scale = 10**12
    return Fraction(int(mp.nint(value * scale)), scale).limit_denominator(_LARGEST_DENOMINATOR)


def _heaviside(x: Any, at_zero: Any = 0) -> Any:
    return 1 if x > 0 else at_zero if x == 0 else 0


def _delta(x: Any, order: int = 0) -> int:
    return 0


@lru_cache(maxsize=4096)
def slope(body: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """The derivative of a body in one of its symbols.

    Raises
    ------
    DerivationError
        If the body jumps there, so that there is no gradient.
    """
    if body.has(sp.Piecewise, sp.Heaviside, sp.sign, sp.floor, sp.ceiling):
        others = [s for s in body.free_symbols if s != symbol]
        line = body.xreplace({s: sp.Rational(7 + 2 * k, 10) for k, s in enumerate(sorted(others, key=str))})
        if symbol in line.free_symbols and (jumps := analyse(line, symbol).jumps):
            raise DerivationError(
                f"{brief(body)} jumps, at {symbol} = {jumps[0].value} for one: its derivative does not exist there, and a gradient step "
                "does not see what it does; smooth the jump"
            )
    return sp.diff(body, symbol)


@lru_cache(maxsize=4096)
def is_odd(body: sp.Expr, flipped: frozenset[sp.Symbol]) -> bool:
    """Whether a body changes its sign with some symbols, at typical values of all."""
    names = sorted(body.free_symbols, key=sp.default_sort_key)
    if not flipped & set(names):
        return False
    if body.is_polynomial(*names):
        turned = body.xreplace({s: -s for s in flipped})
        return bool(sp.expand(turned + body) == 0)
    function = in_mpmath(names, body, {"Heaviside": _heaviside})
    with mp.workdps(_DIGITS):
        for signs in _signs(tuple(names)):
            at = [sign * mp.mpf(_value(k).numerator) / _value(k).denominator for k, sign in enumerate(signs)]
            turned = [-v if s in flipped else v for s, v in zip(names, at, strict=True)]
            first, second = function(*at), function(*turned)
            if abs(first + second) > (abs(first) + abs(second)) * mp.mpf(10) ** (10 - _DIGITS):
                return False
    return True
