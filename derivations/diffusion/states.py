r"""Limits of named states: a diffusion, and a deterministic flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import sympy as sp

from derivations.covariances import require_covariance, require_equal, require_real
from derivations.diffusion.equation import Equation, coefficients, matrix_of, symbols_of
from derivations.entries import CovarianceField, LazyCovariance, entry_of
from derivations.equations import (
    MOST,
    NOTHING_MOVES,
    bracket_line,
    flow_lines,
    mean_line,
    scalar_line,
    shortened,
    shown_root,
    stem,
)
from derivations.errors import DerivationError, shown
from derivations.notation.steps import Line
from derivations.symbols import time


@dataclass(frozen=True)
class Boundary:
    """One end of a one-dimensional state space and what the process does there."""

    point: sp.Expr
    reached: bool
    kind: str = ""


@dataclass(frozen=True, repr=False)
class Flow(Equation):
    r"""A deterministic limit :math:`\dot x = b(x, t)`.

    Parameters
    ----------
    states : tuple of Symbol
        The d coordinates.
    drift : Matrix, shape (d, 1)
        The velocity, a function of the states and of time, per unit of the limit's time.
    time : Symbol
        The limit's time.
    """

    states: tuple[sp.Symbol, ...]
    drift: sp.ImmutableMatrix
    time: sp.Symbol = field(default=time)

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", symbols_of(self.states))
        drift, size = coefficients("the drift", self.drift), len(self.states)
        if len(drift) != size:
            raise DerivationError(f"the drift of {size} states must have as many entries, got {len(drift)}")
        object.__setattr__(self, "drift", drift if drift.shape == (size, 1) else drift.reshape(size, 1))

    @property
    def lines(self) -> tuple[Line, ...]:
        """The velocity of each state."""
        if not self.states:
            return NOTHING_MOVES
        return shortened(flow_lines(self.states[: MOST + 1], self.drift[: MOST + 1], self.time), len(self.states))

    @property
    def covariance(self) -> sp.ImmutableMatrix:
        """The zero matrix: a flow has no noise."""
        return sp.ImmutableMatrix.zeros(len(self.states))

    def entry(self, i: int, j: int) -> sp.Expr:
        """One entry of the covariance."""
        return sp.S.Zero

    @property
    def parameters(self) -> frozenset[sp.Symbol]:
        """Symbols of the coefficients other than the states and time."""
        return frozenset(self.drift.free_symbols) - set(self.states) - {self.time}


@dataclass(frozen=True, repr=False)
class Diffusion(Equation):
    r"""The Itô diffusion with drift b and covariance a.

    .. math:: \mathrm{d}X = b\,\mathrm{d}t + \sigma\,\mathrm{d}B, \qquad \sigma\sigma^\top = a .

    Its law depends on :math:`\sigma` only through a, so a is what is kept; a factor may be given beside it, or in its place, where it
    matters which Brownian motion drives what: for schemes of strong order, and where several states share one.

    Parameters
    ----------
    states : tuple of Symbol
        The d coordinates, real symbols.
    drift : Matrix, shape (d, 1)
        State per unit of time.
    covariance : Matrix, shape (d, d), or LazyCovariance, optional
        State² per unit of time; symmetric and positive semi-definite on the domain. By default :math:`\sigma\sigma^\top`.
    domain : Set
        For d = 1 the interval in which the state lives; the product space otherwise.
    time : Symbol
        The limit's time.
    sigma : Matrix, shape (d, k), optional
        A factor :math:`\sigma` of the covariance, one column per Brownian motion.

    Raises
    ------
    DerivationError
        If the shapes do not fit, the covariance is not symmetric or not :math:`\sigma\sigma^\top`, or is negative somewhere: exactly
        for numbers, by the symbols' assumptions, and at some points of the domain where it depends on the states.

    Examples
    --------
    >>> from derivations.symbols import state
    >>> Diffusion((state,), [0], [[state**2]]).covariance
    Matrix([[x**2]])
    >>> x, y = sp.symbols("x y", real=True)
    >>> Diffusion((x, y), [0, 0], sigma=[x, y]).covariance
    Matrix([
    [x**2,  x*y],
    [ x*y, y**2]])
    """

    #: Why a limit of one state has no density in closed form, where its kind says so; else empty.
    why_no_law: ClassVar[str] = ""

    states: tuple[sp.Symbol, ...]
    drift: sp.ImmutableMatrix
    covariance: sp.ImmutableMatrix = CovarianceField("states")  # noqa: RUF009  a descriptor; by default made from sigma
    domain: sp.Set = field(default=sp.S.Reals)
    time: sp.Symbol = field(default=time)
    sigma: sp.ImmutableMatrix | None = field(default=None, kw_only=True)
    _generic: tuple[tuple[int, int], ...] = field(default=(), kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", symbols_of(self.states))
        size = len(self.states)
        if not isinstance(self.domain, sp.Set):
            raise DerivationError(f"the domain of a diffusion must be a set of SymPy, got {shown(self.domain)}")
        drift = matrix_of("the drift", self.drift)
        if len(drift) != size:
            raise DerivationError(f"the drift of {size} states must have {size} entries, got {len(drift)}")
        drift = drift.reshape(size, 1)
        object.__setattr__(self, "drift", drift)
        require_real(drift, self.states, self.domain)
        if isinstance(held := self.__dict__["covariance"], LazyCovariance):
            object.__setattr__(self, "_generic", tuple(held.generic))
            if size:  # the others are made when they are read
                require_covariance(sp.ImmutableMatrix([[held.entry(0, 0)]]), self.states, self.domain)
            return
        factor = None if self.sigma is None else matrix_of("the factor σ", self.sigma)
        if factor is not None and factor.rows != size:
            raise DerivationError(
                f"the factor σ must have {size} row{'s'[: size - 1]}, got shape {factor.shape}; one row a state"
            )
        if self.covariance is None and factor is None:
            raise DerivationError("a diffusion needs its covariance, or a factor σ of it: Diffusion(..., sigma=σ)")
        product = None if factor is None else (factor * factor.T).applyfunc(sp.expand)
        covariance = matrix_of("the covariance", product if self.covariance is None else self.covariance)
        if covariance.shape != (size, size):
            raise DerivationError(
                f"the covariance of {size} states must have shape ({size}, {size}), got {covariance.shape}"
            )
        if any(
            covariance[i, j] != covariance[j, i] and sp.expand(covariance[i, j] - covariance[j, i]) != 0
            for i in range(size)
            for j in range(i)
        ):
            raise DerivationError("the covariance of a diffusion must be symmetric; give σσᵀ, not σ")
        object.__setattr__(self, "covariance", covariance)
        object.__setattr__(self, "sigma", factor)
        if product is None:
            require_covariance(covariance, self.states, self.domain)
        elif self.covariance is not product:
            require_equal(covariance, product, self.states, self.domain)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The equation of one state by its noise, of several by their means and quadratic variations, of many those that say the others."""
        states = self.states
        if not states:
            return NOTHING_MOVES
        if len(states) == 1:
            noise = (
                shown_root(self.entry(0, 0), states[0]) if self.sigma is None or self.sigma.cols > 1 else self.sigma[0]
            )
            return (scalar_line(states[0], self.drift[0], noise, self.time),)
        pairs = self.generic_entries
        seen = sorted({i for pair in pairs for i in pair})
        given = stem(states)
        means = [mean_line(states[i], self.drift[i], given, self.time) for i in seen[:MOST]]
        rates = (bracket_line(states[i], states[j], self.entry(i, j), self.time) for i, j in pairs[:MOST])
        return shortened((*means, *rates), len(seen) + len(pairs))

    def entry(self, i: int, j: int) -> sp.Expr:
        """One entry of the covariance; the whole of it is not made for many states."""
        return entry_of(self.__dict__["covariance"], i, j)

    @property
    def generic_entries(self) -> tuple[tuple[int, int], ...]:
        """Positions i ≤ j of entries of the covariance that say all of it, the others being the same under other names."""
        count = len(self.states)
        return self._generic or tuple((i, j) for i in range(count) for j in range(i, count))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "covariance": self.covariance}  # what makes entries may hold no text of its own

    def subs(self, *values: Any, **options: Any) -> Diffusion:
        """The same diffusion with parameters replaced, as by SymPy's ``subs``; states and time keep their names.

        Raises
        ------
        DerivationError
            If a state or the time would be replaced: a change of variables is :func:`derivations.calculus.ito.transform`.

        Examples
        --------
        >>> from derivations.symbols import state
        >>> theta = sp.Symbol("theta", positive=True)
        >>> Diffusion((state,), [-theta * state], [[theta**2]]).subs(theta, 3).covariance
        Matrix([[9]])
        """
        return self._replaced(lambda part: part.subs(*values, **options))

    def xreplace(self, rule: Mapping[Any, Any]) -> Diffusion:
        """The same with parts of its expressions replaced as they stand, as by SymPy's ``xreplace``."""
        return self._replaced(lambda part: part.xreplace(rule))

    def _replaced(self, change: Callable[[Any], Any]) -> Diffusion:
        fixed = (*self.states, self.time)
        moved = [symbol for symbol in fixed if change(symbol) != symbol]
        if moved:
            raise DerivationError(
                f"only parameters can be replaced, got a value for {moved[0]}, a state or the time; "
                "for a change of variables use transform from derivations.calculus.ito"
            )
        parts = {
            part.name: change(getattr(self, part.name))
            for part in fields(self)
            if isinstance(getattr(self, part.name), sp.Basic | sp.MatrixBase)
        }
        return replace(self, **parts)

    @property
    def parameters(self) -> frozenset[sp.Symbol]:
        """Symbols of the coefficients other than the states and time."""
        free = self.drift.free_symbols | self.covariance.free_symbols
        return frozenset(free) - set(self.states) - {self.time}

    @property
    def is_flow(self) -> bool:
        """Whether the covariance vanishes identically."""
        return all(entry == 0 for entry in self.covariance)
