"""What the unevaluated Gaussian means of one, two and several variables share as SymPy nodes."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from typing import ClassVar

import mpmath as mp
import sympy as sp
from sympy.printing.printer import Printer

from derivations.binding import Binding, called

_BITS = (64, 128)  # then doubled


def _rounded_up(prec: int) -> int:
    """One of few precisions, so that a formula whose parts are asked for ever more bits integrates a mean a few times only."""
    bits = next((b for b in _BITS if b >= prec), 2 * _BITS[-1])
    while bits < prec:
        bits *= 2
    return bits


@lru_cache(maxsize=1024)
def _kept(mean: GaussianMean, prec: int) -> mp.mpf | mp.mpc | None:
    return mean._value(prec)


class GaussianMean(Binding):
    """The mean of one or more functions under a Gaussian law: its arguments are the functions, then the law's parameters."""

    #: The function that computes values in array code.
    array_code: ClassVar[str] = "numerics.kernels.nodes.gaussian_values"

    @property
    def functions(self) -> list[sp.Lambda]:
        """Those whose product the mean is of."""
        return [argument for argument in self.args if isinstance(argument, sp.Lambda)]

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """Parameters: whatever occurs besides the bound variables."""
        return set().union(*(argument.free_symbols for argument in self.args))

    @property
    def bound_symbols(self) -> list[sp.Symbol]:
        """The variables."""
        return [variable for function in self.functions for variable in function.variables]

    def _eval_is_real(self) -> bool | None:
        return True if all(function.expr.is_extended_real for function in self.functions) else None

    @abstractmethod
    def _value(self, prec: int) -> mp.mpf | mp.mpc | None:
        """The number to so many bits; None where no rule gives it."""

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        value = None if self.free_symbols else _kept(self, _rounded_up(prec))
        if value is None:
            return None
        return sp.Float(value, precision=prec) if mp.im(value) == 0 else sp.sympify(value)

    def _mpmathcode(self, printer: Printer, **settings: object) -> str:
        return called(self, printer, "derivations.gaussian.printed.gaussian_value")

    def _numpycode(self, printer: Printer, **settings: object) -> str:
        return called(self, printer, self.array_code)

    _pythoncode = _numpycode
