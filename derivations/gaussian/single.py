r"""The mean of a function of one Gaussian variable."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import mpmath as mp
import sympy as sp
from sympy.printing.printer import Printer

from derivations.binding import printed_symbols, real_function
from derivations.errors import DerivationError, NoClosedForm, brief, kind_of
from derivations.evaluation import in_mpmath
from derivations.gaussian.corners import DISTANCE, corners
from derivations.gaussian.finite import check_finite, has_mean, is_odd
from derivations.gaussian.integrate import Function, Singular, normal_mean
from derivations.gaussian.law import Gaussian
from derivations.gaussian.node import GaussianMean
from derivations.gaussian.powers import power_mean
from derivations.gaussian.stein import Memo, moment
from derivations.gaussian.terms import terms
from derivations.gaussian.tidy import tidy
from derivations.gaussian.weak import weak_derivative
from derivations.piecewise import breakpoints

_SCALE = sp.Dummy("s", positive=True)  # a variance that is a formula


def expect(f: object, variable: sp.Symbol, variance: object = 1, mean: object = 0, evaluate: bool = True) -> sp.Expr:
    r""":math:`\mathbb{E} f(Z)` for :math:`Z \sim N(\text{mean}, \text{variance})`, in closed form where one is known.

    Closed are sums of monomials times exponentials of quadratics (sin and cos among them), times
    one erf or kink, or two with a common centre at the (tilted) mean; see
    :mod:`~derivations.gaussian.terms`. For mean 0 so are powers above -1 of the modulus, times powers of its logarithm, and
    odd functions. Anything else becomes a :class:`GaussianExpectation`.

    *Derivation.* Exponentials are absorbed by completing the square, powers removed by Stein's
    lemma :math:`\mathbb{E}(Z - m) h = s\,\mathbb{E} h'`, and what is left is an erf or an arcsine.

    Parameters
    ----------
    f : Expr
        May hold ``Piecewise``, ``Abs``, ``Max``, ``Heaviside`` with breakpoints linear in ``variable``.
        Its parameters are taken to be real.
    variable : Symbol
        The integration variable, without a sign.
    variance, mean : Expr
        Real; the variance nonnegative. A parameter in an exponent is taken where the integral
        is finite.
    evaluate : bool
        Whether to look for a closed form; without, only the means of polynomials and those that vanish by symmetry have one, and
        the node's :meth:`~GaussianExpectation.doit` looks for it later.

    Returns
    -------
    Expr

    Raises
    ------
    DerivationError
        If the integral diverges (a pole, a power of -1 or less of the distance to a point, growth faster than the density
        falls), the variance is negative or the variable has a sign. A principal value is no mean.

    Examples
    --------
    >>> x, s = sp.Symbol("x", real=True), sp.Symbol("s", positive=True)
    >>> expect(sp.Max(x, 0), x, s)
    sqrt(2)*sqrt(s)/(2*sqrt(pi))
    >>> expect(sp.sin(x) ** 2, x, s)
    1/2 - exp(-2*s)/2
    >>> expect(sp.log(abs(x)), x), expect(sp.tanh(x), x, s)
    (-log(2)/2 - EulerGamma/2, 0)
    """
    spread, centre = sp.sympify(variance), sp.sympify(mean)
    expr, dummy = on_dummy(f, variable, spread, centre)
    if spread.is_negative:
        raise DerivationError(f"a variance must be nonnegative, got {spread}")
    if centre.has(sp.I):
        raise DerivationError(f"a mean must be real, got {centre}")
    return _mean(expr, dummy, spread, centre, evaluate)


@lru_cache(maxsize=4096)  # the entries of a covariance share their means, as do a layer's orders, tangents and proofs
def _mean(expr: sp.Expr, dummy: sp.Symbol, spread: sp.Expr, centre: sp.Expr, evaluate: bool) -> sp.Expr:
    if spread == 0:
        return expr.subs(dummy, centre)
    if centre == 0 and (scaled := in_units(expr, dummy, spread)) is not None:
        return _mean(scaled, dummy, sp.S.One, centre, evaluate)
    if (choice := choice_elsewhere(expr, dummy)) is not None:
        means = (_mean(expr.xreplace({choice: branch}), dummy, spread, centre, evaluate) for branch, _ in choice.args)
        return sp.Piecewise(*zip(means, (condition for _, condition in choice.args), strict=True))
    check_finite(expr, dummy, spread)
    scale = (
        spread if spread.is_number else _apart(_SCALE, expr.free_symbols | spread.free_symbols | centre.free_symbols)
    )
    rules = (_closed, _of_powers, _of_odd) if evaluate or expr.is_polynomial(dummy) else (_of_odd,)
    for rule in rules:
        try:
            return rule(expr, dummy, Gaussian((centre,), ((scale,),))).xreplace({scale: spread})
        except NoClosedForm:
            continue
    return GaussianExpectation(as_function(expr, dummy), centre, spread)


def choice_elsewhere(expr: sp.Expr, *variables: sp.Symbol) -> sp.Piecewise | None:
    """A choice between formulas in the variables by conditions without them, whose mean is a choice between means."""
    if not expr.has(sp.Piecewise):
        return None
    chosen, left = list[sp.Piecewise](), [expr]
    while left:
        part = left.pop()
        if isinstance(part, sp.Piecewise) and part.has(*variables) and not any(c.has(*variables) for _, c in part.args):
            chosen.append(part)
        elif not isinstance(part, GaussianMean):  # a choice inside another mean may be by its bound variable
            left += part.args
    return min(chosen, key=sp.default_sort_key, default=None)


def _of_powers(expr: sp.Expr, variable: sp.Symbol, law: Gaussian) -> sp.Expr:
    """Sums of powers of the modulus and its logarithm, centred."""
    if law.mean[0] != 0:
        raise NoClosedForm("powers of the modulus have a closed mean at 0 only")
    return power_mean(expr, variable, law.covariance[0][0])


def _of_odd(expr: sp.Expr, variable: sp.Symbol, law: Gaussian) -> sp.Expr:
    """0, if the function is odd and has a mean."""
    if law.mean[0] != 0 or not is_odd(expr, variable) or not has_mean(expr, variable):
        raise NoClosedForm("not an odd function with a mean")
    return sp.S.Zero


def _closed(expr: sp.Expr, variable: sp.Symbol, law: Gaussian) -> sp.Expr:
    total = sp.S.Zero
    memo = Memo()
    for shape, coefficient in terms(expr, variable).items():
        constant, tilted = law.tilted(0, shape.square, shape.linear)
        sigmoids = tuple((0, sigmoid) for sigmoid in shape.sigmoids)
        total += coefficient * constant * moment(tilted, (shape.power,), sigmoids, memo)
    return closed_form(total)


def closed_form(total: sp.Expr) -> sp.Expr:
    """A sum of values in tidy form; refuses one in which an imaginary part did not cancel."""
    value = tidy(total.replace(sp.erf, _real_erf))
    if value.has(sp.I):
        raise NoClosedForm(f"the value {brief(value)} is real but is not known in terms of real functions")
    return value


def _real_erf(argument: sp.Expr) -> sp.Expr:
    """An erf of an imaginary argument as the erfi that it is."""
    turned = sp.expand(-sp.I * argument)
    return sp.I * sp.erfi(turned) if argument.has(sp.I) and not turned.has(sp.I) else sp.erf(argument)


def on_dummy(f: object, variable: sp.Symbol, *beside: sp.Expr) -> tuple[sp.Expr, sp.Symbol]:
    """The function on a real variable that nothing beside holds, on which no kink can have been folded away.

    Of a name it is the same each time, so that what is known of a function is known when it is met again.
    """
    expr = sp.sympify(f)
    if not isinstance(expr, sp.Expr):
        raise DerivationError(f"a Gaussian mean needs an expression in {variable}, got {kind_of(f)}")
    if variable.is_extended_nonnegative or variable.is_extended_nonpositive or variable.is_extended_real is False:
        raise DerivationError(
            f"a Gaussian variable takes both signs, but {variable} is declared with one (or not real), which may "
            "already have folded a kink away; write the function on Symbol(..., real=True)"
        )
    held = (expr.free_symbols - {variable}).union(*(formula.free_symbols for formula in beside))
    dummy = _apart(_real_dummy(variable.name), held)
    return expr.xreplace({variable: dummy}), dummy


@cache
def _real_dummy(name: str) -> sp.Dummy:
    return sp.Dummy(name, real=True)


def _apart(dummy: sp.Dummy, held: set[sp.Basic]) -> sp.Dummy:
    """The dummy, or one like it where formulas hold it already, as inside a mean that is being taken."""
    return sp.Dummy(dummy.name, **dummy.assumptions0) if dummy in held else dummy


def in_units(expr: sp.Expr, variable: sp.Symbol, variance: sp.Expr) -> sp.Expr | None:
    """The function of a variable in units of its standard deviation, where this drops out, as behind a norm; else None."""
    symbols = variance.free_symbols
    if not symbols or symbols.isdisjoint(expr.free_symbols):
        return None
    scaled = expr.xreplace({variable: sp.sqrt(variance) * variable})
    return None if scaled.has_free(*symbols) else scaled


def numeric_mean(f: sp.Expr, variable: sp.Symbol, mean: sp.Expr, variance: sp.Expr, prec: int) -> mp.mpf:
    """The mean of a function without parameters, to a number of bits."""
    with mp.workprec(prec + 15):
        kinks = [number(point) for point in breakpoints(f, variable)]
        function = in_mpmath(variable, f)
        return normal_mean(function, number(mean), mp.sqrt(number(variance)), kinks, singular_points(f, variable))


def singular_points(f: sp.Expr, variable: sp.Symbol) -> list[Singular]:
    """Points beside which f is not smooth, at the working precision."""
    found = []
    for corner in corners(f, variable):
        if not corner.smooth:
            # the distance may be lost in the place: more digits, until what is lost is less than the last
            bits = mp.mp.prec * (2 + corner.power)
            beside = [_at_bits(side.formula, bits) for side in (corner.left, corner.right)]
            found.append(Singular(number(corner.point), corner.power, *beside))
    return found


def _at_bits(formula: sp.Expr, bits: int) -> Function:
    """A function of the distance with so many bits, and where powers of its inverse cancel with more, until two precisions agree."""
    function = in_mpmath(DISTANCE, formula)
    cancels = any(p.exp.is_negative and p.has(DISTANCE) for p in formula.atoms(sp.Pow)) and formula.has(sp.Add)
    asked = mp.mp.prec

    def at_bits(d: mp.mpf) -> mp.mpf:
        with mp.workprec(bits):
            value = function(d)
        for more in (2 * bits, 4 * bits, 8 * bits, 16 * bits) if cancels else ():
            before = value
            with mp.workprec(more):
                value = function(d)
                if abs(value - before) <= mp.ldexp(abs(value), -asked):
                    break
        return value

    return at_bits


def number(expr: sp.Expr) -> mp.mpf:
    """A constant at the working precision."""
    return mp.mpmathify(expr.evalf(mp.mp.dps))


def as_function(expr: sp.Expr, dummy: sp.Symbol) -> sp.Lambda:
    """The function as a Lambda in the bound variable of all nodes."""
    return real_function(sp.Lambda(dummy, expr))


class GaussianExpectation(GaussianMean):
    r""":math:`\mathbb{E} f(Z)`, :math:`Z \sim N(m, s)`, kept as a value of its own where no closed form is known.

    Differentiates by :math:`\partial_m \mathbb{E} f = \mathbb{E} f'` and the heat equation
    :math:`\partial_s \mathbb{E} f = \tfrac12 \mathbb{E} f''`, derivatives in the weak sense (a kink adds
    a density); evaluates by quadrature split at the kinks, to any precision.

    Parameters
    ----------
    function : Lambda
        Of one real variable.
    mean, variance : Expr

    Examples
    --------
    >>> x, s = sp.Symbol("x", real=True), sp.Symbol("s", positive=True)
    >>> node = expect(sp.tanh(x) ** 2, x, s)
    >>> node
    E[tanh(z)**2, z ~ N(0, s)]
    >>> node.subs(s, 1).evalf(12)
    0.394294490398
    """

    def __new__(cls, function: sp.Lambda, mean: sp.Expr, variance: sp.Expr) -> GaussianExpectation:
        """Sympify and keep; :meth:`doit` looks for a closed form."""
        node: GaussianExpectation = sp.Expr.__new__(cls, real_function(function), *map(sp.sympify, (mean, variance)))
        return node

    def _changed(self, change: Callable[[sp.Basic], sp.Basic]) -> sp.Expr:
        function, mean, variance = self._changed_arguments(change)
        if not function.expr.has_free(*function.variables):
            return function.expr  # a constant is its own mean
        return GaussianExpectation(function, mean, variance)

    def doit(self, **hints: object) -> sp.Expr:
        """Look for a closed form again, after a substitution."""
        function, mean, variance = self.args
        return expect(function.expr, function.variables[0], variance, mean)

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        function, mean, variance = self.args
        variable, f = function.variables[0], function.expr
        total = sp.S.Zero
        if f.has(symbol):
            if any(point.has(symbol) for point in breakpoints(f, variable)):
                raise DerivationError(
                    f"cannot differentiate {brief(self)} in {symbol}, which moves a kink; rescale f first"
                )
            total += expect(sp.diff(f, symbol), variable, variance, mean)
        for argument, order, factor in ((mean, 1, sp.S.One), (variance, 2, sp.S.Half)):
            slope = sp.diff(argument, symbol)
            if slope != 0:
                total += slope * factor * weak_derivative(f, variable, order).mean(expect, mean, variance)
        return total

    def _value(self, prec: int) -> mp.mpf | mp.mpc:
        function, mean, variance = self.args
        if variance.evalf(15).is_negative:
            return mp.nan
        return numeric_mean(function.expr, function.variables[0], mean, variance, prec)

    def _sympystr(self, printer: Printer) -> str:
        z, integrand = self.printed()
        function, mean, variance = (printer._print(arg) for arg in (integrand, *self.args[1:]))
        return f"E[{function}, {z} ~ N({mean}, {variance})]"

    def printed(self) -> tuple[sp.Symbol, sp.Expr]:
        """The bound variable as it is printed, and the function of it."""
        (z,) = printed_symbols(("z",), self)
        return z, self.args[0](z)

    def _latex(self, printer: Printer) -> str:
        variable, function, mean, variance = (printer._print(arg) for arg in (*self.printed(), *self.args[1:]))
        return rf"\mathbb{{E}}_{{{variable} \sim N({mean}, {variance})}}\left[{function}\right]"
