r"""The mean of a product of functions of two correlated Gaussian variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

import mpmath as mp
import sympy as sp
from sympy.printing.printer import Printer

from derivations.binding import bound_symbol, bound_symbols, printed_symbols, real_function
from derivations.errors import DerivationError, NoClosedForm, brief
from derivations.evaluation import in_mpmath
from derivations.gaussian.corners import check_corners
from derivations.gaussian.finite import check_finite_pair
from derivations.gaussian.integrate import Function, Singular, normal_mean
from derivations.gaussian.law import Gaussian
from derivations.gaussian.mehler import mehler_mean
from derivations.gaussian.node import GaussianMean
from derivations.gaussian.single import (
    as_function,
    closed_form,
    expect,
    in_units,
    number,
    numeric_mean,
    on_dummy,
    singular_points,
)
from derivations.gaussian.stein import Memo, moment
from derivations.gaussian.terms import terms
from derivations.gaussian.tidy import tidy
from derivations.gaussian.weak import weak_derivative, weak_pair_mean
from derivations.piecewise import breakpoints
from derivations.symbols import correlation


def expect_pair(f: object, g: object, variable: sp.Symbol, covariance: object, evaluate: bool = True) -> sp.Expr:
    r""":math:`\mathbb{E} f(U) g(V)` for a centred Gaussian pair, in closed form where one is known.

    Closed are the functions of :func:`expect`, as long as at most two kinks or erfs meet in a term and,
    where two meet, both are centred: all arc-cosine kernels, erf, GELU, sin, cos and exp.
    Anything else becomes a :class:`GaussianPairExpectation`.

    *Derivation.* As for :func:`expect`, with Stein's lemma in the plane,
    :math:`\mathbb{E}\,U h = k_{11}\mathbb{E}\,\partial_u h + k_{12}\mathbb{E}\,\partial_v h`, down to the orthant
    probability :math:`P(U > 0, V > 0) = \tfrac14 + \tfrac{1}{2\pi}\arcsin\rho`.

    Parameters
    ----------
    f, g : Expr
        In the same ``variable``.
    variable : Symbol
        Without a sign.
    covariance : Matrix or nested sequence
        ``[[k11, k12], [k12, k22]]``, or ``((k11, k22), rho)``: variances and correlation.
    evaluate : bool
        Whether to look for a closed form, as for :func:`expect`.

    Returns
    -------
    Expr

    Raises
    ------
    DerivationError
        If the integral diverges, or the covariance is not symmetric or not positive semidefinite.

    Examples
    --------
    >>> x, rho = sp.Symbol("x", real=True), sp.Symbol("rho", real=True)
    >>> expect_pair(sp.sign(x), sp.sign(x), x, [[1, rho], [rho, 1]])
    2*asin(rho)/pi
    >>> expect_pair(x**2, x**2, x, [[1, rho], [rho, 1]])
    2*rho**2 + 1
    """
    k11, k12, k22 = entries = _entries(covariance)
    (first, dummy), (second, other) = on_dummy(f, variable, *entries), on_dummy(g, variable, *entries)
    if other != dummy:  # one of them holds what the other is on
        both = sp.Dummy(variable.name, real=True)
        first, second, dummy = first.xreplace({dummy: both}), second.xreplace({other: both}), both
    if k12 == 0:
        sides = ((first, k11), (second, k22))
        return sp.expand_mul(sp.Mul(*(expect(side, dummy, k, evaluate=evaluate) for side, k in sides)))
    if _determinant(*entries) == 0:  # one line: V = (k12/k11) U
        return expect(first * second.xreplace({dummy: sp.cancel(k12 / k11) * dummy}), dummy, k11, evaluate=evaluate)
    left, right = (in_units(side, dummy, k) for side, k in ((first, k11), (second, k22)))
    if left is not None and right is not None:
        rho = k12 / sp.sqrt(k11) / sp.sqrt(k22)
        return expect_pair(left, right, dummy, [[1, rho], [rho, 1]], evaluate)
    for side in (first, second):
        if side.free_symbols <= {dummy}:
            check_corners(side, dummy, f"the mean of {side.xreplace({dummy: variable})} under a Gaussian")
    check_finite_pair(first, second, dummy, entries)
    if not evaluate and not (first * second).is_polynomial(dummy):
        return GaussianPairExpectation(as_function(first, dummy), as_function(second, dummy), *entries)
    try:
        return _closed(first, second, dummy, entries)
    except NoClosedForm:
        return GaussianPairExpectation(as_function(first, dummy), as_function(second, dummy), *entries)


@lru_cache(maxsize=256)
def _determinant(k11: sp.Expr, k12: sp.Expr, k22: sp.Expr) -> sp.Expr:
    return sp.expand(k11 * k22 - k12**2)


def dual(f: object, variable: sp.Symbol) -> sp.Expr:
    r"""Dual activation :math:`\hat f(\rho) = \mathbb{E} f(U) f(V)`, unit variances, correlation :math:`\rho`.

    Parameters
    ----------
    f : Expr
    variable : Symbol

    Returns
    -------
    Expr
        In :data:`derivations.symbols.correlation`.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> dual(sp.Max(x, 0), x)
    rho*asin(rho)/(2*pi) + rho/4 + sqrt(1 - rho**2)/(2*pi)
    """
    return expect_pair(f, f, variable, ((1, correlation), (correlation, 1)))


def _entries(covariance: object) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """(k11, k12, k22) from a matrix or from variances and correlation."""
    rows = covariance.tolist() if isinstance(covariance, sp.MatrixBase) else covariance
    try:
        top, bottom = rows  # type: ignore[misc]
        k11, right = (sp.sympify(entry) for entry in top)
        if isinstance(bottom, (tuple, list, sp.Tuple)):
            k12, k22 = (sp.sympify(entry) for entry in bottom)
            if sp.expand(k12 - right) != 0:
                raise DerivationError(f"a covariance must be symmetric, got {right} and {k12} off the diagonal")
        else:
            k22, k12 = right, sp.sympify(bottom) * sp.sqrt(k11) * sp.sqrt(right)
    except (TypeError, ValueError) as error:
        if isinstance(error, DerivationError):
            raise
        raise DerivationError(
            f"a covariance must be [[k11, k12], [k12, k22]] or ((k11, k22), rho), got {covariance!r}"
        ) from error
    below = all(term.is_nonpositive for term in sp.Add.make_args(_determinant(k11, k12, k22)))
    if k11.is_negative or k22.is_negative or (below and _determinant(k11, k12, k22).is_negative):
        raise DerivationError(f"a covariance must be positive semidefinite, got [[{k11}, {k12}], [{k12}, {k22}]]")
    return k11, k12, k22


def _closed(f: sp.Expr, g: sp.Expr, variable: sp.Symbol, entries: tuple[sp.Expr, sp.Expr, sp.Expr]) -> sp.Expr:
    k11, k12, k22 = entries
    if all(entry.is_number for entry in entries):
        return tidy(_generic(as_function(f, variable), as_function(g, variable), k11, k12, k22))
    first, second = (k if k.is_number else name for k, name in ((k11, _FIRST), (k22, _SECOND)))
    total = _generic(as_function(f, variable), as_function(g, variable), first, _CROSS, second)
    rule = {_FIRST: k11, _SECOND: k22, _CROSS: k12}
    if (
        total.has(_DETERMINANT)
        and are_sums(entries)
        and has_quotients(plain := _plain(total, first, second).xreplace(rule))
    ):
        return plain
    if total.has(_DETERMINANT):
        rule[_DETERMINANT] = _in_factors(_determinant(*entries))
    return tidy(total.xreplace(rule))


@lru_cache(maxsize=256)
def _plain(total: sp.Expr, first: sp.Expr, second: sp.Expr) -> sp.Expr:
    """A mean in the symbols of the entries, fit to read."""
    return tidy(total.xreplace({_DETERMINANT: _determinant(first, _CROSS, second)}))


def are_sums(entries: Iterable[sp.Expr]) -> bool:
    """Whether entries are sums over several others, as a filter makes them, over which a quotient of sums is not multiplied out."""
    return any(entry.is_Add and len(entry.free_symbols) > 1 for entry in entries)


def has_quotients(expr: sp.Expr) -> bool:
    """Whether a sum stands in a denominator."""
    return any(power.base.is_Add and power.exp.could_extract_minus_sign() for power in expr.atoms(sp.Pow))


def _in_factors(expr: sp.Expr) -> sp.Expr:
    """What all terms of a sum have in common, times the rest; a number that they have in common may stay."""
    factors = ({factor.as_base_exp()[0] for factor in sp.Mul.make_args(term)} for term in sp.Add.make_args(expr))
    return sp.factor_terms(expr) if any(not base.is_number for base in set.intersection(*factors)) else expr


#: How much less than 0 the determinant of a covariance of doubles may be, as a share of the product of the variances.
_ROUNDED = sp.Rational(1, 2**48)
#: Entries of a covariance as positive symbols, with the determinant :math:`\Delta = k_{11}k_{22} - k_{12}^2` one of them.
_FIRST, _SECOND, _DETERMINANT = (bound_symbol(s, 1, positive=True) for s in ("k_11", "k_22", "Delta"))
_CROSS = bound_symbol("k_12", 1, real=True)


@lru_cache(maxsize=256)
def _generic(f: sp.Lambda, g: sp.Lambda, k11: sp.Expr, k12: sp.Expr, k22: sp.Expr) -> sp.Expr:
    """The mean for numbers, or in the symbols of the entries: once for every pair of functions."""
    (variable,) = f.variables
    law = _law(k11, k12, k22)
    left, right = terms(f.expr, variable), terms(g(variable), variable)
    memo = Memo()
    total = sp.S.Zero
    for one, p in left.items():
        for two, q in right.items():
            constant, tilted = p * q, law
            # exp(-c x²) first: it makes room for a growing exponential on the other side
            for axis, shape in sorted(((0, one), (1, two)), key=lambda item: bool(item[1].square.is_positive)):
                factor, tilted = tilted.tilted(axis, shape.square, shape.linear)
                constant *= factor
            sigmoids = tuple((0, s) for s in one.sigmoids) + tuple((1, s) for s in two.sigmoids)
            total += constant * moment(tilted, (one.power, two.power), sigmoids, memo)
    return closed_form(total)


def _law(a: sp.Expr, c: sp.Expr, b: sp.Expr) -> Gaussian:
    r"""The law, in symbols for an entry that is no number.

    Conditioning makes variances such as :math:`k_{22} - k_{12}^2/k_{11}`; written as :math:`\Delta/k_{11}`
    they are seen to be positive, and their roots come apart. The normal form is linear in :math:`k_{12}`.
    """
    if c.is_number:
        return Gaussian((sp.S.Zero,) * 2, ((a, c), (c, b)), _simplest_number)

    def normal(entry: sp.Expr) -> sp.Expr:
        above, below = (
            sum(
                (q * c ** (i % 2) * (a * b - _DETERMINANT) ** (i // 2) for (i,), q in sp.Poly(part, c).terms()),
                sp.S.Zero,
            )
            for part in sp.fraction(sp.cancel(entry))
        )
        return sp.cancel(above / below)

    return Gaussian((sp.S.Zero,) * 2, ((a, c), (c, b)), normal)


def _simplest_number(entry: sp.Expr) -> sp.Expr:
    return sp.radsimp(sp.cancel(entry))


def _order(side: tuple[sp.Expr, sp.Lambda]) -> tuple[object, object]:
    variance, function = side
    return sp.default_sort_key(variance), sp.default_sort_key(function)


class GaussianPairExpectation(GaussianMean):
    r""":math:`\mathbb{E} f(U) g(V)`, kept as a value of its own where no closed form is known.

    Differentiates by Price's theorem, :math:`\partial_{k_{12}} = \mathbb{E} f' g'`,
    :math:`\partial_{k_{11}} = \tfrac12\mathbb{E} f'' g`, :math:`\partial_{k_{22}} = \tfrac12\mathbb{E} f g''` (weak
    derivatives); evaluates by quadrature of f(U) E[g(V) | U], each split at its kinks.

    Parameters
    ----------
    f, g : Lambda
        Of one real variable.
    k11, k12, k22 : Expr
        Entries of the covariance.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> dual(sp.tanh(x), x)
    E[tanh(u)*tanh(v), (u, v) ~ N(0, [[1, rho], [rho, 1]])]
    >>> dual(sp.tanh(x), x).subs(correlation, sp.Rational(1, 2)).evalf(12)
    0.186324413203
    """

    def __new__(cls, f: sp.Lambda, g: sp.Lambda, k11: sp.Expr, k12: sp.Expr, k22: sp.Expr) -> GaussianPairExpectation:
        """Sympify and keep, the two sides in one order; :meth:`doit` looks for a closed form."""
        k11, k12, k22 = map(sp.sympify, (k11, k12, k22))
        # E f(U) g(V) is E g(V) f(U), which algebra sees only where both are written alike
        sides = sorted(((k11, real_function(f)), (k22, real_function(g))), key=_order)
        (k11, f), (k22, g) = sides
        node: GaussianPairExpectation = sp.Expr.__new__(cls, f, g, k11, k12, k22)
        return node

    def _changed(self, change: Callable[[sp.Basic], sp.Basic]) -> sp.Expr:
        return GaussianPairExpectation(*self._changed_arguments(change))

    def doit(self, **hints: object) -> sp.Expr:
        """Look for a closed form again, after a substitution."""
        f, g, variable = self._functions()
        k11, k12, k22 = self.args[2:]
        return expect_pair(f, g, variable, ((k11, k12), (k12, k22)))

    def _functions(self) -> tuple[sp.Expr, sp.Expr, sp.Symbol]:
        first, second = self.args[:2]
        (variable,) = bound_symbols(("z",), self.free_symbols, real=True)
        return first(variable), second(variable), variable

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        f, g, x = self._functions()
        k11, k12, k22 = self.args[2:]
        covariance = ((k11, k12), (k12, k22))
        total = sp.S.Zero
        if f.has(symbol) or g.has(symbol):
            if any(point.has(symbol) for point in (*breakpoints(f, x), *breakpoints(g, x))):
                raise DerivationError(
                    f"cannot differentiate {brief(self)} in {symbol}, which moves a kink; rescale f and g"
                )
            total += expect_pair(sp.diff(f, symbol), g, x, covariance)
            total += expect_pair(f, sp.diff(g, symbol), x, covariance)
        for entry, orders, factor in ((k12, (1, 1), sp.S.One), (k11, (2, 0), sp.S.Half), (k22, (0, 2), sp.S.Half)):
            slope = sp.diff(entry, symbol)
            if slope != 0:
                left, right = (weak_derivative(h, x, order) for h, order in zip((f, g), orders, strict=True))
                total += slope * factor * weak_pair_mean(left, right, expect, expect_pair, covariance)
        return total

    def _value(self, prec: int) -> mp.mpf | mp.mpc:
        f, g, x = self._functions()
        with mp.workprec(prec + 15):
            k11, k12, k22 = (number(entry) for entry in self.args[2:])
            determinant, size = k11 * k22 - k12**2, abs(k11 * k22)
            if min(k11, k22) < 0 or determinant < -_ROUNDED * size:
                return mp.nan  # no covariance
            if k11 == 0 or k22 == 0:
                sides = ((f, k11, self.args[2]), (g, k22, self.args[4]))
                return mp.fprod(
                    number(h.subs(x, 0)) if k == 0 else numeric_mean(h, x, sp.S.Zero, s, prec) for h, k, s in sides
                )
            if determinant <= size * mp.mpf(2) ** (4 - mp.mp.prec):  # one line: V = slope U
                slope = sp.Rational(*mp.libmp.to_rational((k12 / k11)._mpf_))
                return numeric_mean(f * g.xreplace({x: slope * x}), x, sp.S.Zero, self.args[2], prec)
            if not any(points(h, x) for points in (breakpoints, singular_points) for h in (f, g)):
                found = mehler_mean(
                    in_mpmath(x, f), in_mpmath(x, g), (mp.sqrt(k11), mp.sqrt(k22)), k12 / mp.sqrt(k11 * k22)
                )
                if found is not None:
                    return found
            slope, left = k12 / k11, determinant / k11
            given = _conditional_mean(g, x, slope, left, mp.sqrt(numeric_mean(g**2, x, sp.S.Zero, self.args[4], 20)))
            outer = in_mpmath(x, f)
            singular = [
                Singular(s.at, s.power, *(_against(h, given, s.at, sign) for h, sign in ((s.left, -1), (s.right, 1))))
                for s in singular_points(f, x)
            ]
            kinks = [number(point) for point in breakpoints(f, x)]
            bends = _bends([number(point) for point in breakpoints(g, x)], slope, mp.sqrt(left), mp.sqrt(k11))
            near = [s.at for s in singular]
            cuts = kinks + [b for b in bends if all(abs(b - s) > mp.sqrt(left) / (2 * abs(slope)) for s in near)]
            return normal_mean(lambda u: outer(u) * given(u), mp.mpf(0), mp.sqrt(k11), cuts, singular)

    def _sympystr(self, printer: Printer) -> str:
        k11, k12, k22 = (printer._print(arg) for arg in self.args[2:])
        u, v = self.printed()
        return f"E[{printer._print(self.product())}, ({u}, {v}) ~ N(0, [[{k11}, {k12}], [{k12}, {k22}]])]"

    def product(self) -> sp.Expr:
        """The product of both functions, in the symbols that are printed."""
        f, g, x = self._functions()
        u, v = self.printed()
        return sp.Mul(f.xreplace({x: u}), g.xreplace({x: v}), evaluate=False)

    def printed(self) -> tuple[sp.Symbol, ...]:
        """The bound variables as they are printed."""
        return printed_symbols(("u", "v"), self)

    def _latex(self, printer: Printer) -> str:
        k11, k12, k22 = (printer._print(arg) for arg in self.args[2:])
        matrix = rf"\begin{{pmatrix}} {k11} & {k12} \\ {k12} & {k22} \end{{pmatrix}}"
        u, v = map(printer._print, self.printed())
        return rf"\mathbb{{E}}_{{({u}, {v}) \sim N(0, {matrix})}}\left[{printer._print(self.product())}\right]"


def _against(side: Function, given: Function, at: mp.mpf, sign: int) -> Function:
    """A function of the distance times the mean given the place."""
    return lambda d: side(d) * given(at + sign * d)


def _bends(kinks: list[mp.mpf], slope: mp.mpf, deviation: mp.mpf, scale: mp.mpf) -> list[mp.mpf]:
    """Cuts around each kink of the mean given u, which bends within deviation/slope of it, doubling up to the scale of u."""
    if slope == 0:
        return []
    width, offsets = deviation / abs(slope), [mp.mpf(0)]
    step = width
    while step < scale:
        offsets += [step, -step]
        step *= 2
    return [kink / slope + offset for kink in kinks for offset in offsets]


def _conditional_mean(g: sp.Expr, x: sp.Symbol, slope: mp.mpf, variance: mp.mpf, size: mp.mpf) -> Function:
    """The function u ↦ E[g(V) | U = u], for V | U ~ N(slope u, variance): the closed form where there is one.

    Its digits are those of the size of g(V): far out, where next to nothing is left of it, they are not asked for.
    """
    mean, spread_ = sp.Dummy("m", real=True), sp.Dummy("s", positive=True)
    closed = expect(g, x, spread_, mean)
    if not closed.has(sp.Lambda):
        inner = in_mpmath((mean, spread_), closed)
        return lambda u: inner(slope * u, variance)
    function, deviation = in_mpmath(x, g), mp.sqrt(variance)
    kinks, singular = [number(point) for point in breakpoints(g, x)], singular_points(g, x)
    return lambda u: normal_mean(function, slope * u, deviation, kinks, singular, size)
