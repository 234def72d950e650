r"""Constants that algebra takes as one number each, and that are shown as the formulas that they stand for.

:math:`e^{317/100}` is to SymPy's algebra the 317th power of :math:`e^{1/100}`, and a limit, a factor or a common denominator of a formula in
which it stands is one of polynomials of that degree. As a number of its own it is what π is: a symbol of which nothing is known but its value,
to any number of digits.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, reduce
from itertools import combinations, product
from typing import Any

import sympy as sp
import sympy.core.evalf as sympy_evalf
from mpmath import libmp
from sympy.printing.precedence import precedence

from derivations.errors import DerivationError, brief

MOST_POWERS = 8  # of one exponential, written as powers of one constant
_MOST_PAIRED = 12  # exponentials of which pairs are tried
_MULTIPLES = sorted(product(range(-4, 5), repeat=2), key=lambda jk: -abs(jk[0]) - abs(jk[1]))  # the least last
_MOST_ROOT = 4  # the degree of a root that algebra takes as it is
_DIGITS = 50
#: Functions that SymPy writes by exponentials where it looks for limits.
_OF_EXPONENTIALS = (sp.sinh, sp.cosh, sp.tanh, sp.coth, sp.sech, sp.csch, sp.erf, sp.erfc, sp.erfi)
_NOTHING = sp.Rational(1, 10**40)  # a sum below this share of its parts counts as 0


class Constant(sp.NumberSymbol):
    """A real number given by a formula without variables, taken as a whole by algebra.

    Parameters
    ----------
    formula : Expr
        A number that is real and not 0.

    Examples
    --------
    >>> c = Constant(sp.exp(sp.Rational(317, 100)))
    >>> c, c.is_positive, sp.N(c, 20), sp.diff(c**2)
    (exp(317/100), True, 23.807484356428670318, 0)
    """

    __slots__ = ("formula",)

    is_real = True
    is_zero = False

    def __new__(cls, formula: sp.Expr) -> Constant:  # noqa: D102
        made: Constant = sp.AtomicExpr.__new__(cls)
        made.formula = formula
        return made

    def __getnewargs__(self) -> tuple[sp.Expr]:
        return (self.formula,)

    def _hashable_content(self) -> tuple[sp.Expr]:
        return (self.formula,)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Constant) and self.formula == other.formula)

    __hash__ = sp.NumberSymbol.__hash__

    def _as_mpf_val(self, prec: int) -> Any:
        return _value(self.formula, prec)

    def _eval_is_extended_positive(self) -> bool:
        return bool(libmp.mpf_sign(self._as_mpf_val(53)) > 0)

    def _eval_is_extended_negative(self) -> bool:
        return not self._eval_is_extended_positive()

    def _eval_is_rational(self) -> bool | None:
        known: bool | None = self.formula.is_rational
        return known

    def _eval_is_integer(self) -> bool | None:
        known: bool | None = self.formula.is_integer
        return known

    def _eval_is_algebraic(self) -> bool | None:
        known: bool | None = self.formula.is_algebraic
        return known

    def __int__(self) -> int:
        return int(self.formula)

    def approximation_interval(self, number_cls: type) -> tuple[sp.Integer, sp.Integer] | None:
        """Whole numbers on either side, as SymPy's ``floor`` asks."""
        below = sp.floor(self.formula)
        return (below, below + 1) if issubclass(number_cls, sp.Integer) else None

    @property
    def precedence(self) -> int:
        """How tightly the formula holds together where it is shown."""
        return int(precedence(self.formula))

    def _shown(self, printer: Any, *given: Any) -> Any:
        return printer._print(self.formula, *given)

    def _sympyrepr(self, printer: Any) -> str:
        return f"Constant({printer._print(self.formula)})"

    _sympystr = _latex = _pretty = _shown
    _numpycode = _pythoncode = _mpmathcode = _shown


class Whole(Constant):
    """A constant that algebra cannot take apart, as an unevaluated mean: it stays one number whatever is asked.

    It is evaluated once, to 28 digits, since a mean over two numbers takes seconds for more; it carries their number, so that SymPy leaves a
    sign open that they do not decide.
    """

    __slots__ = ()

    #: Bits of 28 digits.
    PRECISION = 96

    def _as_mpf_val(self, prec: int) -> Any:
        return libmp.mpf_pos(_value(self.formula, self.PRECISION), prec, "n")

    @property
    def decimal(self) -> sp.Rational:
        """The number's digits as an exact one."""
        return sp.Rational(*map(int, libmp.to_rational(self._as_mpf_val(self.PRECISION))))

    def _sympyrepr(self, printer: Any) -> str:
        return f"Whole({printer._print(self.formula)})"


@lru_cache(maxsize=4096)
def _value(formula: sp.Expr, prec: int) -> Any:
    value = formula.evalf(libmp.prec_to_dps(prec) + 3)
    if not value.is_Float:
        raise DerivationError(
            f"the constant {brief(formula)} has no value that can be computed; write it in another way"
        )
    return libmp.mpf_pos(value._mpf_, prec, "n")


# without an entry SymPy takes the parts of a float, which it keeps: floats of one value at many precisions have one hash
sympy_evalf.evalf_table[Constant] = lambda number, prec, options: (number._as_mpf_val(prec), None, prec, None)
sympy_evalf.evalf_table[Whole] = lambda number, prec, options: (
    number._as_mpf_val(prec),
    None,
    min(prec, Whole.PRECISION - 3),
    None,
)


def opened(expr: sp.Expr, which: Iterable[Constant] | None = None) -> sp.Expr:
    """The formula with every constant written out that algebra can take apart, or with those that are listed."""
    return expr.xreplace({c: c.formula for c in (openable(expr) if which is None else which)})


def openable(expr: sp.Expr) -> set[Constant]:
    """The constants that algebra can take apart."""
    return {c for c in expr.atoms(Constant) if not isinstance(c, Whole)}


def with_digits(expr: sp.Expr, digits: int) -> sp.Expr:
    """The formula with a float of so many digits for every constant: sums and products of constants are then one number each."""
    return expr.xreplace({c: c.evalf(digits) for c in expr.atoms(Constant)})


def named(expr: sp.Expr, every: bool = False) -> sp.Expr:
    r"""The formula with a :class:`Constant` for each function of numbers that algebra would take apart, and without sums of constants that are 0.

    With ``every``, for each exponential of a number but e, of which sigmoid(2) makes a quotient. The same number is the same constant,
    whatever formula it stands in. A sum is 0 where 50 digits do not tell it from 0.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> formula = named(sp.exp(sp.Rational(317, 100)) * x + sp.exp(sp.erf(2)))
    >>> formula, sorted(map(str, formula.atoms(Constant)))
    (exp(317/100)*x + exp(erf(2)), ['exp(317/100)', 'exp(erf(2))'])
    >>> named(x + sp.sin(sp.Rational(1, 3)) ** 2 + sp.cos(sp.Rational(1, 3)) ** 2 - 1)
    x
    """
    expr, found = _read(expr, every)
    return expr.xreplace({node: Constant(node) for node in found}) if found else expr


def in_few_constants(expr: sp.Expr) -> sp.Expr:
    """As :func:`named`, with exponentials as products of powers of few: for a question after which the constants are opened again.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> sp.factor(in_few_constants(x**2 + 2 * sp.exp(sp.Rational(203, 100)) * x + sp.exp(sp.Rational(203, 50))))
    (x + exp(203/100))**2
    """
    expr, found = _read(_apart(opened(expr)))
    exponentials = [node for node in found if isinstance(node, sp.exp)]
    names: dict[sp.Expr, sp.Expr] = {node: Constant(node) for node in found}
    return expr.xreplace(names | _powers(exponentials)) if found else expr


def _read(expr: sp.Expr, every: bool = False) -> tuple[sp.Expr, list[sp.Expr]]:
    """The formula without sums that are 0, and the numbers in it that algebra would take apart."""
    numbers = _Numbers(every)
    expr = numbers.without_zeros(expr)
    found: dict[sp.Expr, None] = {}
    numbers.collect(expr, found, set())
    return expr, list(found)


class _Numbers:
    """Which parts of a formula are numbers; each part is looked at once."""

    def __init__(self, every: bool) -> None:
        self.every = every
        self.known: dict[sp.Basic, sp.Basic] = {}  # each part as it is without sums that are 0
        self.are: dict[sp.Basic, bool] = {}

    def without_zeros(self, node: sp.Basic) -> Any:
        """The formula without the numbers of a sum where they cancel."""
        if node not in self.known:
            args = tuple(self.without_zeros(arg) for arg in node.args)
            made = node if args == node.args else node.func(*args)  # made anew, a factored sum is multiplied out
            if made.is_Add:
                numbers = [arg for arg in made.args if self.is_number(arg)]
                if len(numbers) > 1 and _is_nothing(numbers):
                    made = sp.Add(*(arg for arg in made.args if not self.is_number(arg)))
            self.known[node] = made
        return self.known[node]

    def is_number(self, node: sp.Basic) -> bool:
        if node not in self.are:
            if not node.args:
                self.are[node] = isinstance(node, sp.Number | sp.NumberSymbol)
            else:
                made_of = isinstance(node, sp.Add | sp.Mul | sp.Pow | sp.Function)
                self.are[node] = made_of and all(map(self.is_number, node.args))
        return self.are[node]

    def collect(self, node: sp.Basic, found: dict[sp.Expr, None], seen: set[sp.Basic]) -> None:
        """The outermost functions and roots of numbers that algebra would take apart."""
        if node in seen or not node.args:
            return
        seen.add(node)
        if (
            (_is_hard(node) or (self.every and isinstance(node, sp.exp)))
            and self.is_number(node)
            and node.is_real
            and node.is_zero is False
        ):
            found[node] = None
            return
        for arg in node.args:
            self.collect(arg, found, seen)


def _is_nothing(numbers: list[sp.Expr]) -> bool:
    if all(number.is_Rational for number in numbers):
        return False
    values = [number.evalf(_DIGITS) for number in numbers]
    if not all(value.is_Float or value.is_Rational for value in values):
        return False
    return bool(abs(sp.Add(*values)) < _NOTHING * max(map(abs, values)))


def _apart(expr: sp.Expr) -> sp.Expr:
    """The formula with the numbers of exponents as factors, where they are hard: algebra takes them so, e to the number as a power."""
    rule = {}
    for node in expr.atoms(sp.exp):
        number, rest = node.args[0].as_independent(*node.free_symbols, as_Add=True)
        if rest != 0 and number != 0 and _is_hard(power := sp.exp(number)) and power.is_real:
            rule[node] = sp.Mul(power, sp.exp(rest), evaluate=False)
    return expr.xreplace(rule)


def _is_hard(node: sp.Basic) -> bool:
    """Whether a number is one that algebra takes apart, or makes many powers of."""
    if isinstance(node, sp.exp):
        power = node.args[0]
        return not power.is_Rational or abs(power.p) > MOST_POWERS or power.q > 2
    if isinstance(node, _OF_EXPONENTIALS):
        return not all(arg.is_Integer for arg in node.args)
    if isinstance(node, sp.Pow) and not node.exp.is_Integer:
        return not node.exp.is_Rational or node.exp.q > _MOST_ROOT or bool(node.base.atoms(sp.Function))
    return False


def _powers(exponentials: list[sp.Expr]) -> dict[sp.Expr, sp.Expr]:
    """Exponentials of numbers, those of a few multiples of one exponent as powers of one constant."""
    groups: dict[sp.Expr, list[sp.Rational]] = {}
    for node in exponentials:
        coefficient, rest = node.args[0].as_coeff_Mul(rational=True)
        groups.setdefault(rest, []).append(coefficient)
    names: dict[sp.Expr, sp.Expr] = {}
    for rest, coefficients in groups.items():
        unit = reduce(sp.gcd, coefficients)
        wholes = [int(c / unit) for c in coefficients]
        basis, powers = _combined(wholes)
        constants = [Constant(sp.exp(whole * unit * rest)) for whole in basis]
        for c, of in zip(coefficients, powers, strict=True):
            names[sp.exp(c * rest)] = sp.Mul(*(constant**k for constant, k in zip(constants, of, strict=True)))
    return names


def _combined(wholes: list[int]) -> tuple[list[int], list[tuple[int, ...]]]:
    """A few numbers of which all are sums of a few multiples: one, two of them, or all; and the multiples.

    Squares and products of exponentials are then seen as such: of e^a and e^b, two constants, e^{2a + b} is a monomial.
    """
    if max(map(abs, wholes)) <= MOST_POWERS:
        return [1], [(whole,) for whole in wholes]
    for pair in combinations(sorted(wholes, key=abs), 2) if len(wholes) <= _MOST_PAIRED else ():
        multiples = {j * pair[0] + k * pair[1]: (j, k) for j, k in _MULTIPLES}
        if all(whole in multiples for whole in wholes):
            return list(pair), [multiples[whole] for whole in wholes]
    return wholes, [tuple(int(i == k) for i in range(len(wholes))) for k in range(len(wholes))]
