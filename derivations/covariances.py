r"""Whether a matrix of formulas can be a covariance: decided where it can be, refused where it is seen not to be.

Numbers are decided exactly. With parameters a diagonal entry of known sign decides. What depends on states is looked at in
points of the domain, to forty digits: a negative value there is a proof that it is none, while positive ones prove nothing and let it pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import sympy as sp
from sympy.printing.printer import Printer

from derivations.errors import DerivationError, brief
from derivations.gaussian.node import GaussianMean

_DIGITS = 40
#: Relative to its terms, what counts as rounding.
_ROUNDING = sp.Rational(1, 10**30)
#: Operations in a matrix beyond which it is not looked at in points, and how many points.
_LARGEST, _POINTS = 400, 6
#: States beyond which it is not.
_ROWS = 20
_WIDEST = 1000  # variance of a mean that is computed
#: Where to look, as shares of an interval's length or as distances from its finite end, and on the whole line.
_SHARES = tuple(sp.Rational(k, 97) for k in (3, 22, 41, 57, 78, 95))
_DISTANCES = tuple(sp.Rational(k, 89) for k in (1, 30, 71, 150, 400, 900))
_LINE = tuple(sp.Rational(k, 83) for k in (-300, -90, -25, 19, 100, 350))
#: Functions that are real for some real arguments only.
_PARTIAL = (sp.log, sp.asin, sp.acos, sp.acosh, sp.atanh, sp.erfinv)
_DOMAIN = "give the diffusion the domain in which it lives, or symbols with signs"


class Semidefinite(sp.logic.boolalg.BooleanFunction):
    r"""The condition :math:`V \succeq 0` on a symmetric matrix; decided for numbers.

    Examples
    --------
    >>> Semidefinite(sp.ImmutableMatrix([[1, 2], [2, 1]])), Semidefinite(sp.diag(*sp.symbols("a b")))
    (False, V >= 0)
    """

    @classmethod
    def eval(cls, matrix: sp.ImmutableMatrix) -> sp.Basic | None:
        """Of a matrix of numbers."""
        if matrix.free_symbols:
            return None
        return sp.sympify(bool(matrix.is_positive_semidefinite))

    def _sympystr(self, printer: Printer) -> str:
        return "V >= 0"

    def _latex(self, printer: Printer) -> str:
        return r"V \succeq 0"


@lru_cache(maxsize=512)
def require_covariance(covariance: sp.ImmutableMatrix, states: tuple[sp.Symbol, ...], domain: sp.Set) -> None:
    """Refuse a symmetric matrix that is not positive semi-definite on the domain.

    Raises
    ------
    DerivationError
        With the point at which it is seen, and what it is there.
    """
    for k, entry in enumerate(covariance.diagonal()):
        if entry.is_extended_negative or entry.is_extended_real is False:
            raise DerivationError(
                f"expected a covariance, whose diagonal is ≥ 0, got {brief(entry)} for {states[k]}; give σσᵀ, or sigma=σ"
            )
    size = covariance.rows
    between = (covariance[i, j] != 0 for i in range(size) for j in range(i))
    if all(entry.is_nonnegative for entry in covariance.diagonal()) and not any(between):
        return
    if covariance.rows > _ROWS or sum(entry.count_ops() for entry in covariance) > _LARGEST:
        return
    if covariance.free_symbols - set(states) or _has_integrals_over_several(covariance):
        return
    for point in points_of(domain, states) if covariance.free_symbols else [{}]:
        try:
            value = covariance.xreplace(point)
            if _has_wide_means(value):
                continue
            negative = _is_negative(value)
        except (ValueError, TypeError, ZeroDivisionError):  # a function has no value there
            continue
        if negative:
            where = _where(point)
            if any(entry.is_extended_real is False for entry in value):
                raise DerivationError(f"the covariance {_shown(covariance)} is not real{where}; {_DOMAIN}")
            raise DerivationError(
                f"the covariance {_shown(covariance)} is {_shown(value)}{where}, expected a number ≥ 0 or a positive "
                f"semi-definite matrix; {_DOMAIN}"
            )


def _has_integrals_over_several(formulas: sp.Basic | sp.ImmutableMatrix) -> bool:
    """Whether a value to forty digits would take seconds: means over two variables, or over one of means over another."""
    return any(len(mean.bound_symbols) > 1 or mean.args[0].has(GaussianMean) for mean in formulas.atoms(GaussianMean))


def _has_wide_means(value: sp.ImmutableMatrix) -> bool:
    """Whether a mean is over a law so wide that its function is a step there, which takes many nodes: seconds for forty digits."""
    parameters = (p for mean in value.atoms(GaussianMean) for p in mean.args[1:] if p.is_number)
    return any(abs(sp.N(parameter, 5)) > _WIDEST for parameter in parameters)


def require_real(drift: sp.ImmutableMatrix, states: tuple[sp.Symbol, ...], domain: sp.Set) -> None:
    """Refuse a drift that is seen not to be real: a root or a logarithm of a negative number at some point of the domain, or i.

    Raises
    ------
    DerivationError
        With the point at which it is seen.
    """
    for entry in drift:
        if entry.free_symbols <= set(states) and may_leave_the_line(entry):
            point = imaginary_point(entry, states, domain)
            if point is not None:
                raise DerivationError(f"the drift {brief(entry)} is not real{_where(point)}; {_DOMAIN}")


def may_leave_the_line(expr: sp.Expr) -> bool:
    """Whether a formula holds i, or powers and inverse functions that are real for some real arguments only."""
    return expr.has(sp.I, *_PARTIAL) or any(p.exp.is_integer is not True and p.base != sp.E for p in expr.atoms(sp.Pow))


def imaginary_point(expr: sp.Expr, states: Sequence[sp.Symbol], domain: sp.Set) -> dict[sp.Symbol, sp.Expr] | None:
    """A point of the domain at which a formula of the states is seen to be no real number; None where none is seen."""
    if expr.count_ops() > _LARGEST or _has_integrals_over_several(expr):
        return None
    for point in points_of(domain, states) if expr.free_symbols else [{}]:
        try:
            value = sp.N(expr.xreplace(point), _DIGITS)
        except (ValueError, TypeError, ZeroDivisionError):  # a function has no value there
            continue
        if value.is_finite and abs(sp.im(value)) > _ROUNDING * abs(value):
            return point
    return None


def _where(point: dict[sp.Symbol, sp.Expr]) -> str:
    return f" at {', '.join(f'{s} = {v}' for s, v in point.items())}" if point else ""


def require_equal(
    covariance: sp.ImmutableMatrix, product: sp.ImmutableMatrix, states: tuple[sp.Symbol, ...], domain: sp.Set
) -> None:
    """Refuse a factor whose product is seen to differ from the covariance that was given beside it."""
    difference = (covariance - product).applyfunc(sp.expand)
    if difference.is_zero_matrix:
        return
    for point in points_of(domain, states):
        for entry in difference:
            try:
                value = sp.N(entry.xreplace(point), _DIGITS)
            except (ValueError, TypeError, ZeroDivisionError):  # a function has no value there
                continue
            if value.is_finite and abs(value) > _ROUNDING * 1000:
                raise DerivationError(
                    "the given factor σ does not satisfy σσᵀ = covariance: "
                    f"the difference is {brief(entry)}, not 0; leave the covariance out, and it is σσᵀ"
                )


def points_of(domain: sp.Set, states: Sequence[sp.Symbol]) -> list[dict[sp.Symbol, sp.Expr]]:
    """Some exact points of a domain that is an interval, the line, or a product of these; none of another."""
    sides = domain.args if isinstance(domain, sp.ProductSet) else [domain] * len(states)
    rows = []
    for symbol, side in zip(states, sides, strict=False):
        allowed = side.intersect(_allowed(symbol)) if isinstance(side, sp.Interval) or side == sp.S.Reals else None
        interval = sp.Interval(-sp.oo, sp.oo) if allowed == sp.S.Reals else allowed
        if not isinstance(interval, sp.Interval) or interval.free_symbols:
            return []
        rows.append(_points_in(interval))
    turned = ([row[(k + 2 * n) % _POINTS] for n, row in enumerate(rows)] for k in range(_POINTS))
    return [dict(zip(states, values, strict=True)) for values in turned]


def _allowed(symbol: sp.Symbol) -> sp.Set:
    if symbol.is_nonnegative:
        return sp.Interval(0, sp.oo)
    return sp.Interval(-sp.oo, 0) if symbol.is_nonpositive else sp.S.Reals


def _points_in(interval: sp.Interval) -> list[sp.Expr]:
    low, high = interval.inf, interval.sup
    if low.is_finite and high.is_finite:
        return [low + share * (high - low) for share in _SHARES]
    if low.is_finite:
        return [low + distance for distance in _DISTANCES]
    if high.is_finite:
        return [high - distance for distance in _DISTANCES]
    return list(_LINE)


def _is_negative(value: sp.ImmutableMatrix) -> bool:
    """Whether a symmetric matrix of numbers is seen to have a negative eigenvalue, by elimination to forty digits."""
    size = value.rows
    exact = all(entry.is_Rational for entry in value)
    numbers = sp.Matrix(size, size, list(value) if exact else [sp.N(entry, _DIGITS) for entry in value])
    relative = sp.S.Zero if exact else _ROUNDING
    if not all(entry.is_finite for entry in numbers):
        return False
    if any(not entry.is_extended_real for entry in numbers):
        return True
    scales = [abs(numbers[j, j]) for j in range(size)]
    for j in range(size):
        pivot, rounding = numbers[j, j], relative * scales[j]
        if pivot < -rounding:
            return True
        if pivot <= rounding:
            if any(numbers[i, j] ** 2 > relative * scales[i] * max(scales[j], relative) for i in range(j + 1, size)):
                return True  # a vanishing diagonal entry beside one that does not vanish
            continue
        for i, k in product(range(j + 1, size), repeat=2):
            numbers[i, k] -= numbers[i, j] * numbers[j, k] / pivot
    return False


def _shown(matrix: sp.ImmutableMatrix) -> str:
    text = str(matrix[0, 0] if matrix.rows == 1 else matrix.tolist())
    return text if len(text) <= 120 else text[:117] + "..."
