r"""What goes to infinity at which rate, and the one clock: the time that a number of layers takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sympy as sp

from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, shown
from derivations.symbols import require_free_names, step
from derivations.symbols import width as any_width


@dataclass(frozen=True)
class Regime:
    r"""How a network is taken to its limit.

    By default the depth L goes to infinity at a width of its own, with :math:`\varepsilon = \sqrt{t/L}`: the time t of all layers
    is free. With ``depth`` the width n goes to infinity too: a unit of time is :math:`n^\delta` layers, each small
    parameter is :math:`n^{-p}`, and the time of a depth follows.

    Parameters
    ----------
    rates : mapping or sequence of pairs
        The small parameters and their rates p > 0; by default :math:`\varepsilon` with :math:`p = \delta/2`.
    depth : number or Expr, optional
        :math:`\delta > 0`.
    width : int, Symbol or oo
        n; a recipe puts in its own.

    Raises
    ------
    DerivationError
        If a rate is not positive, or rates are given without ``depth``.

    Examples
    --------
    >>> together = Regime(depth=1, width=100)
    >>> together.values, together.time(50), together.depth_of(2)
    ({varepsilon: 1/10}, 1/2, 200)
    >>> Regime().time(50) is None
    True
    """

    rates: Sequence[tuple[sp.Symbol, sp.Expr]] | Mapping[sp.Symbol, object] = field(default=())
    depth: sp.Expr | None = None
    width: sp.Expr = any_width

    def __post_init__(self) -> None:
        given: Any = self.rates.items() if isinstance(self.rates, Mapping) else self.rates
        given = tuple(given) if isinstance(given, Iterable) else (None,)
        if not all(isinstance(p, tuple | sp.Tuple) and len(p) == 2 for p in given):
            raise DerivationError(f"rates must be a mapping such as {{epsilon: 1}}, got {shown(self.rates)}")
        rates = tuple((size, exact_decimals(rate)) for size, rate in given)
        if self.depth is None:
            if rates:
                raise DerivationError(
                    "rates tie small parameters to the width, so the depth must be tied to it too; give depth=, the exponent of the width "
                    "in a unit of time"
                )
            object.__setattr__(self, "rates", ())
            return
        exponent = exact_decimals(self.depth)
        rates = rates or ((step, exponent / 2),)
        if exponent.is_nonpositive or any(rate.is_nonpositive for _, rate in rates):
            raise DerivationError(
                f"rates must be positive, got {', '.join(f'{size}: {rate}' for size, rate in rates)} and depth={exponent}"
            )
        require_free_names("a rate", exponent, *(rate for _, rate in rates), timeless=True)
        object.__setattr__(self, "rates", rates)
        object.__setattr__(self, "depth", exponent)

    @property
    def is_joint(self) -> bool:
        """Whether depth and width go to infinity together."""
        return self.depth is not None

    def at(self, width: object) -> Regime:
        """The same at another width."""
        return replace(self, width=sp.sympify(width))

    @property
    def values(self) -> dict[sp.Symbol, sp.Expr]:
        r"""The small parameters at the width; none where the time is free, and :math:`\varepsilon` not at infinite width, after which the depth grows."""
        kept = {step} if self.width == sp.oo else set()
        return {size: self.width ** (-rate) for size, rate in self.rates if size not in kept}

    @property
    def layers(self) -> sp.Expr:
        r"""How many layers are in a unit of time, in a small parameter: :math:`L = \varepsilon^{-2}` by default.

        Examples
        --------
        >>> Regime().layers, Regime({step: 1}, depth=1).layers
        (varepsilon**(-2), 1/varepsilon)
        """
        return step**-2 if self.depth is None else self.neurons**self.depth

    @property
    def neurons(self) -> sp.Expr:
        r"""The width in a small parameter, where it grows with the depth: :math:`n = \varepsilon^{-1/p}`; else n.

        Examples
        --------
        >>> Regime(depth=1).neurons, Regime().neurons
        (varepsilon**(-2), n)
        """
        if self.depth is None:
            return any_width
        rates = dict(self.rates)
        size = step if step in rates else next(iter(rates))
        return size ** (-1 / rates[size])

    def time(self, depth: object) -> sp.Expr | None:
        r"""The time that so many layers take: :math:`L/n^\delta`, None where it is free."""
        return None if self.depth is None else sp.sympify(depth) / self.width**self.depth

    def depth_of(self, time: object) -> sp.Expr | None:
        r"""How many layers a time takes: :math:`t\,n^\delta`, None where it is free."""
        return None if self.depth is None else sp.sympify(time) * self.width**self.depth
