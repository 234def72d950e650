r"""Formulas as functions of mpmath's numbers, with a bound on how large the numbers inside may become.

mpmath's numbers have exponents without a bound, and :math:`e^{e^{10^{12}}}` asks :math:`e^u` of a number u of :math:`10^{12}` digits before
the point, to all of which it reduces u. Python's integers then run out of memory, which is an error like others. GMP's, which mpmath
and SymPy take where gmpy2 is installed, end the process. So what no memory holds is refused before it is asked, and what is only
slow to compute, and no double by far, with it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import mpmath
import sympy as sp
from mpmath import mp
from sympy.printing.pycode import MpmathPrinter

#: Binary digits before the point of what a function is asked at; the exponential of a number of so many takes about a second.
MOST_BITS = 2**18

Function = Callable[..., Any]

#: Functions that reduce their arguments to all digits before the point, or go through an exponential of them.
_REDUCING = (
    *("exp", "expm1", "power", "sin", "cos", "tan", "cot", "sec", "csc", "sinpi", "cospi", "sinc"),
    *("sinh", "cosh", "tanh", "coth", "sech", "csch", "erf", "erfc", "erfi", "npdf", "ncdf"),
    *("expint", "e1", "ei", "li", "si", "ci", "shi", "chi", "fresnels", "fresnelc"),
    *(
        "gamma",
        "rgamma",
        "loggamma",
        "factorial",
        "gammainc",
        "beta",
        "digamma",
        "polygamma",
        "psi",
        "zeta",
        "lambertw",
    ),
    *("besselj", "bessely", "besseli", "besselk", "airyai", "airybi", "hankel1", "hankel2"),
    *("hyper", "hyp0f1", "hyp1f1", "hyp2f1", "hyperu", "pcfd", "pcfu", "pcfv", "pcfw", "hermite", "legendre"),
)
_SATURATED = {"tanh": 1, "erf": 1}  # odd functions that end at ±1


class TooLarge(OverflowError, ValueError):
    """A function was asked at a number with more digits before its point than can be computed with."""


def bounded(name: str, saturated: int = 0) -> Function:
    """A function of mpmath's, which refuses numbers with more than :data:`MOST_BITS` binary digits before the point.

    Parameters
    ----------
    name : str
        What mpmath calls it.
    saturated : int
        The value beyond, with the argument's sign; 0 where there is none.

    Raises
    ------
    TooLarge
        When it is called with such a number.

    Examples
    --------
    >>> exponential = bounded("exp")
    >>> exponential(mpmath.mpf(0)), exponential(-mpmath.inf)
    (mpf('1.0'), mpf('0.0'))
    >>> exponential(mpmath.ldexp(1, 10**12))
    Traceback (most recent call last):
    ...
    derivations.evaluation.TooLarge: exp is asked at a number with 1000000000001 binary digits before its point
    """
    # as an operator, for which a symbol that cancels later is a symbol
    function: Function = operator.pow if name == "power" else getattr(mpmath, name)

    @wraps(function)
    def within_bounds(*arguments: Any, **options: Any) -> Any:
        for argument in arguments:
            bits = _bits(argument)
            if bits > MOST_BITS:
                if saturated and isinstance(argument, mpmath.mpf):
                    return saturated * mp.sign(argument)
                raise TooLarge(f"{name} is asked at a number with {bits} binary digits before its point")
        return function(*arguments, **options)

    return within_bounds


def _bits(number: Any) -> int:
    """Binary digits before the point; 0 for what is no number of mpmath's, and for infinities, of which functions know the values."""
    parts = (number._mpf_,) if isinstance(number, mpmath.mpf) else getattr(number, "_mpc_", ())
    return max((exponent + digits for _, mantissa, exponent, digits in parts if mantissa), default=0)


#: mpmath's functions by their names, bounded; printed code takes them before mpmath's own.
BOUNDED: Mapping[str, Function] = {name: bounded(name, _SATURATED.get(name, 0)) for name in _REDUCING}


class BoundedPrinter(MpmathPrinter):
    """mpmath's printer for code that runs with :data:`BOUNDED`, which writes sums without evaluating their terms.

    SymPy's printers sort the terms of a sum by their values, for which they are evaluated without a bound.
    """

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__({"order": "none", **(settings or {})})

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        if expr.exp.is_Rational:
            return str(super()._print_Pow(expr, rational=rational))
        return f"{self._module_format('mpmath.power')}({self._print(expr.base)}, {self._print(expr.exp)})"


def in_mpmath(
    arguments: sp.Symbol | Sequence[sp.Symbol],
    expr: Any,
    names: Mapping[str, Any] | None = None,
    cse: bool = False,
) -> Function:
    """What ``sympy.lambdify`` makes for mpmath, with :data:`BOUNDED` functions.

    Parameters
    ----------
    arguments : Symbol or sequence of Symbol
    expr : Expr or list of them
    names : mapping, optional
        Functions of further names, and others for known ones.
    cse : bool
        Whether common parts are computed once.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> in_mpmath(x, sp.tanh(x**2) + sp.exp(-x))(mpmath.mpf(0))
    mpf('1.0')
    """
    own = dict(names or {})
    printer = BoundedPrinter(
        {
            "fully_qualified_modules": False,
            "inline": True,
            "allow_unknown_functions": True,
            "user_functions": {name: name for name in own},
        }
    )
    made: Function = sp.lambdify(
        arguments, expr, modules=[own, dict(BOUNDED), "mpmath"], printer=printer, cse=cse, docstring_limit=0
    )
    return made
