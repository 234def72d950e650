r"""A formula in a variance, continued to where the variance is 0.

For :math:`s > 0` the mean :math:`\mathbb{E} f(\sqrt s Z)` has a closed form, such as :math:`\tfrac12 - \tfrac12\operatorname{erf}(c/\sqrt{2s})`
for a step at c. At :math:`s = 0` the mean is :math:`f(0)`, and the closed form divides by 0; of a step at 0 it is another number. Where s is a
formula that vanishes on an open set, as the sum of the squares of ReLUs does, both are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import sympy as sp
from sympy.functions.elementary.piecewise import ExprCondPair
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.printer import Printer

from derivations.binding import Binding, bound_symbols, opened


class Positive(sp.Expr):
    """A number where it is positive, and 1 elsewhere: what code computes a formula at whose value it then throws away."""

    is_commutative = True
    is_positive = True
    precedence = PRECEDENCE["Add"]

    def _sympystr(self, printer: Printer) -> str:
        return str(printer._print(self.args[0]))

    _latex = _sympystr

    def _code(self, printer: Printer, **settings: object) -> str:
        (number,) = self.args
        return str(printer._print(sp.Piecewise((number, _above(number)), (sp.S.One, True), evaluate=False)))

    _numpycode = _pythoncode = _mpmathcode = _jaxcode = _torchcode = _code


class Continued(Binding):
    r"""F(v) where v > 0, and a number where v = 0.

    SymPy folds powers of a ``Piecewise`` into its branches, of which one then divides by 0; inside this node it does not.

    Parameters
    ----------
    function : Lambda
        F, of a positive number.
    argument : Expr
        v, nowhere negative.
    values : Tuple
        F(0), then derivatives of F at 0 as far as they are known.

    Examples
    --------
    >>> s, x = sp.Symbol("s", positive=True), sp.Symbol("x", real=True)
    >>> tail = Continued(sp.Lambda(s, sp.erf(1 / sp.sqrt(s))), sp.Piecewise((0, x <= 0), (x**2, True)), sp.Tuple(1))
    >>> tail.subs(x, -1), tail.subs(x, 2)
    (1, erf(1/2))
    >>> tail.diff(x).subs(x, -1)
    0
    """

    def __new__(cls, function: sp.Lambda, argument: sp.Expr, values: sp.Tuple) -> sp.Expr:
        """The value, where the sign of the argument is known."""
        argument = sp.sympify(argument)
        if argument is sp.nan:
            return argument
        if argument.is_nonpositive:  # a sum of squares that rounding has left below 0 is 0
            return values[0]
        if argument.is_positive:
            return function(argument)
        (own,) = bound_symbols(("s",), function.free_symbols, positive=True)
        factor, rest = argument.as_coeff_Mul()
        if factor != 1 and factor.is_positive:  # in F, so that equal ones look alike
            values = sp.Tuple(*(value * factor**k for k, value in enumerate(values)))
            function, argument = sp.Lambda(own, sp.expand(function(factor * own))), rest
        elif function.variables != (own,):
            function = sp.Lambda(own, function(own))
        return sp.Expr.__new__(cls, function, argument, values)

    @property
    def bound_symbols(self) -> list[sp.Symbol]:
        """The variable of F."""
        return list(self.args[0].variables)

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """Parameters: whatever occurs besides the bound variable."""
        return set(self._free)

    @cached_property
    def _free(self) -> frozenset[sp.Basic]:
        return frozenset().union(*(argument.free_symbols for argument in self.args))

    @property
    def at_zero(self) -> sp.Expr:
        """The number where v = 0."""
        return self.args[2][0]

    def _changed(self, change: Callable[[sp.Basic], sp.Basic]) -> sp.Expr:
        function, argument = opened(self.args[0]), change(self.args[1])
        if argument is sp.nan:  # what is compared in a branch may be undefined as well
            return argument
        values = sp.Tuple(*map(change, self.args[2]))
        return Continued(sp.Lambda(function.variables, change(function.expr)), argument, values)

    def _eval_is_extended_real(self) -> bool | None:
        return True if self.args[0].expr.is_extended_real and self.at_zero.is_extended_real else None

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return True if self.args[0].expr.is_extended_nonnegative and self.at_zero.is_extended_nonnegative else None

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        function, argument, values = self.args
        (own,) = function.variables
        within = sp.Lambda(own, sp.diff(function.expr, symbol)), argument, sp.Tuple(*(v.diff(symbol) for v in values))
        moved = sp.diff(argument, symbol)
        if moved == 0:
            return Continued(*within)
        # where F has no derivative at 0, the argument has: it is smallest there, so that its own derivative is 0
        slopes = values[1:] if self.is_smooth else (sp.S.Zero,)
        beside = Continued(sp.Lambda(own, sp.diff(function.expr, own)), argument, sp.Tuple(*slopes)) * moved
        return beside + (Continued(*within) if within[0].expr != 0 or values[0].has(symbol) else 0)

    @property
    def is_smooth(self) -> bool:
        """Whether the derivative of F at 0 is known."""
        values = self.args[2]
        return len(values) > 1

    def branches(self, inside: Callable[[sp.Expr], sp.Expr] = Positive) -> tuple[sp.Basic, sp.Expr, sp.Expr]:
        """The condition v > 0, the formula where it holds, and the number where it does not.

        Parameters
        ----------
        inside : callable
            Makes of v what the formula is written at.
        """
        function, argument, _ = self.args
        return _above(argument), function(inside(argument)), self.at_zero

    def cases(self, inside: Callable[[sp.Expr], sp.Expr] = Positive) -> sp.Expr:
        """Both branches as a ``Piecewise``."""
        condition, formula, otherwise = self.branches(inside)
        return sp.Piecewise((formula, condition), (otherwise, True), evaluate=False)

    def written(self) -> sp.Expr:
        """Both branches as they are printed: SymPy would fold cases inside the condition, as of a sum, into one condition over all."""
        condition, formula, otherwise = self.branches()
        pairs = ((formula, condition), (otherwise, sp.true))
        return sp.Basic.__new__(sp.Piecewise, *(sp.Basic.__new__(ExprCondPair, *pair) for pair in pairs))

    def _printed(self, printer: Printer, **settings: Any) -> str:
        return str(printer._print(self.written()))

    _sympystr = _latex = _printed
    _numpycode = _pythoncode = _mpmathcode = _jaxcode = _torchcode = _printed


def _above(number: sp.Expr) -> sp.Basic:
    """The condition that a number is positive, into which SymPy does not look."""
    return sp.Gt(number, 0, evaluate=False)
