"""The sizes of small things where depth and width go together, in powers of one parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import sympy as sp

from derivations.architectures.regime import Regime
from derivations.errors import DerivationError
from derivations.language import Program
from derivations.language.small import denominator_of_powers
from derivations.limits.elimination.fluctuations import Kept
from derivations.symbols import step

_MOST = 12  # the highest order of an expansion, in powers of the largest small parameter
_FIRST = 4  # to which a layer is expanded to see whether a term grows, where the order that matters is higher


@dataclass(frozen=True)
class Orders:
    r"""Small things in powers of one formal parameter :math:`\varepsilon`, in which a unit of time's share of a layer is :math:`\varepsilon^N`.

    Parameters
    ----------
    total : int
        N.
    powers : dict
        Of each small parameter.
    depth : Expr
        :math:`\delta`.
    expanded : int
        To which order a layer is expanded: N, or fewer if N is too many.

    Examples
    --------
    >>> from derivations.symbols import step
    >>> of(Regime({step: sp.Rational(1, 4)}, depth=1))
    Orders(total=4, powers={varepsilon: 1}, depth=1, expanded=4)
    """

    total: int
    powers: dict[sp.Symbol, int]
    depth: sp.Expr
    expanded: int

    @property
    def share(self) -> sp.Expr:
        r"""The order of 1/n, :math:`N/\delta`; any number, or a symbol."""
        return sp.cancel(self.total / self.depth)

    @property
    def kept(self) -> Kept:
        """What must be kept to see a unit of time.

        Raises
        ------
        DerivationError
            If it is not known whether the noise of a layer matters.
        """
        left = sp.expand(self.depth - 1)
        if left.is_negative:
            return Kept(self.expanded, -1)
        if not left.is_number:
            raise DerivationError(
                f"whether the fluctuation of a layer matters in n^({self.depth}) layers is not known: it is of size n^({left}), whose sign is not "
                "known; give the depth's exponent as a number"
            )
        return Kept(self.expanded, min(self.expanded, int(sp.floor(left * self.total / self.depth))))


def of(regime: Regime, program: Program | None = None) -> Orders:
    """The orders of a regime in which depth and width go together, fine enough for the roots of small parameters in a program.

    Raises
    ------
    DerivationError
        If the rates are no numbers in units of the depth's exponent.
    """
    assert regime.depth is not None
    shares = {size: sp.cancel(rate / regime.depth) for size, rate in regime.rates}
    if not all(s.is_Rational for s in shares.values()):
        raise DerivationError(
            f"with small parameters n^(-p), p = {', '.join(str(rate) for _, rate in regime.rates)}, in a unit of n^({regime.depth}) layers there "
            "are orders whose sign is not known; give rates as numbers, or as multiples of the depth's exponent"
        )
    roots = {size: 1 if program is None else denominator_of_powers(program, size) for size in shares}
    total = math.lcm(*(int((s / roots[size]).q) for size, s in shares.items()))
    powers = {size: int(s * total) for size, s in shares.items()}
    least = min(sp.Rational(power, roots[size]) for size, power in powers.items())
    expanded = total if total <= _MOST * least else int(_FIRST * least)
    return Orders(total, powers, regime.depth, expanded)


def in_one_parameter(program: Program, powers: dict[sp.Symbol, int]) -> Program:
    """The program with each small parameter as a power of ``symbols.step``."""
    return program.xreplace({size: step**power for size, power in powers.items()})
