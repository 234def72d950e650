"""A scalar diffusion at one value of a parameter as the same diffusion at another value, in other units of state and time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from derivations.diffusion import Diffusion
from numerics.compile import CompiledFunction, compile_expression
from numerics.compile.parameters import with_number

_POWERS = (0.0, 1.0, 2.0, 0.5, -1.0, -2.0, -0.5)  # of the parameter, as units of the state
_SAME = 1e-10  # relative difference of coefficients that are one: means without closed form have twelve digits
_POINTS = 48


class Units(NamedTuple):
    """What a state and a time are multiplied by to be those of the first diffusion."""

    state: float
    time: float


@dataclass(frozen=True)
class Family:
    r"""A diffusion with a parameter, and the value of it at which a solution is known.

    If :math:`b_p(x) = \tau b_r(\sigma x)/\sigma` and :math:`a_p(x) = \tau a_r(\sigma x)/\sigma^2`, then :math:`X` at the value p is :math:`U/\sigma` at
    time :math:`\tau t`, with U the diffusion at r. The variance of all weights of a block is such a parameter, and so is the size of its branch.

    Parameters
    ----------
    process : Diffusion
        Of one state, with one parameter.
    parameter : Symbol
    first : number
        r, exactly.
    """

    process: Diffusion
    parameter: Any
    first: Any

    @cached_property
    def base(self) -> Diffusion:
        """The diffusion at the first value."""
        found = with_number(self.process, self.parameter, self.first)
        assert isinstance(found, Diffusion)
        return found

    def units(self, value: float) -> Units | None:
        """In which units the diffusion at another value is the first one; None where it is not seen to be at all points looked at.

        Examples
        --------
        >>> import sympy as sp
        >>> x, g = sp.Symbol("x", positive=True), sp.Symbol("g", positive=True)
        >>> of = Diffusion((x,), [g * sp.tanh(g * x)], [[sp.tanh(g * x)]], sp.Interval.open(0, sp.oo))
        >>> Family(of, g, sp.S.One).units(3.0)
        Units(state=3.0, time=9.0)
        >>> Family(of.xreplace({sp.tanh(g * x): sp.tanh(x)}), g, sp.S.One).units(3.0) is None
        True
        """
        ratio = value / float(self.first)
        if ratio <= 0:
            return self._clock(1.0, value)
        sizes = [ratio**power for power in (_POWERS if self._scales else _POWERS[:1])]
        return next((found for size in sizes if (found := self._clock(size, value)) is not None), None)

    def _clock(self, size: float, value: float) -> Units | None:
        here, there = self._points, self._points / size
        with np.errstate(all="ignore"):
            ours = [np.asarray(f(there, value)) for f in self._coefficients]
            theirs = [np.asarray(f(here, float(self.first))) for f in self._coefficients]
            ours = [ours[0] * size, ours[1] * size**2]
            clock = float(np.median(ours[1] / theirs[1]))
            if not 0 < clock < np.inf:
                return None
            same = [np.abs(o - clock * s) <= _SAME * np.abs(o) for o, s in zip(ours, theirs, strict=True)]
        return Units(size, clock) if all(bool(s.all()) for s in same) else None

    @cached_property
    def _coefficients(self) -> tuple[CompiledFunction, CompiledFunction]:
        drift, variance = self.process.drift[0], self.process.covariance[0, 0]
        arguments = (self.process.states[0], self.parameter)
        return compile_expression(arguments, drift), compile_expression(arguments, variance)

    @property
    def _scales(self) -> bool:
        """Whether the domain is the same in all units."""
        return all(end == 0 or end.is_infinite for end in (self.process.domain.inf, self.process.domain.sup))

    @cached_property
    def _points(self) -> np.ndarray:
        """Points of the domain that lie in no regular way to each other."""
        low, high = float(self.process.domain.inf), float(self.process.domain.sup)
        uniform = (np.arange(_POINTS) * (np.sqrt(5) - 1) / 2 + 0.123) % 1
        if np.isfinite(low) and np.isfinite(high):
            return np.asarray(low + (high - low) * uniform)
        away = 10.0 ** (6 * uniform - 3)
        if np.isfinite(low):
            return np.asarray(low + away)
        return np.asarray(high - away if np.isfinite(high) else away * np.where(np.arange(_POINTS) % 2, 1, -1))
