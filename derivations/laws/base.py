r"""What a law is: the distribution of :math:`X_t` given :math:`X_0`, as expressions, with its proof."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sympy as sp

from derivations.diffusion import Diffusion
from derivations.notation import latex
from derivations.notation.plain import plain, sentence
from derivations.notation.printed import Legible
from derivations.symbols import initial, time

#: A sentence: text and expressions in turn.
Words: TypeAlias = tuple[str | sp.Basic, ...]


@dataclass(frozen=True, repr=False)
class Atom(Legible):
    """A point that carries positive probability: where, how much, and for which starts.

    Examples
    --------
    >>> print(Atom(sp.S.Zero, sp.exp(-time), sp.Gt(initial, 0)))
    P(X_t = 0) = exp(-t), from x_0 > 0

    Parameters
    ----------
    location, mass : Expr
        In terms of ``symbols.initial`` and ``symbols.time``.
    condition : Boolean
        The starts for which the atom is there.
    """

    location: sp.Expr
    mass: sp.Expr
    condition: sp.Basic = field(default=sp.true)

    @property
    def headline(self) -> str:
        """All of it."""
        return str(self)

    def __str__(self) -> str:
        starts = "" if self.condition == sp.true else f", from {plain(self.condition)}"
        return f"P(X_t = {plain(self.location)}) = {plain(self.mass)}{starts}"


@dataclass(frozen=True, repr=False)
class Check(Legible):
    """One proven statement about a law: what was computed and whether it is what it must be.

    Parameters
    ----------
    statement : str
    value, expected : Expr
        What was found, and what it must be.
    exact : bool
        Whether it was decided by algebra, not at random points.
    holds : bool
    domain : Set, optional
        The interval of which it is said, where the law has several.
    """

    statement: str
    value: sp.Expr
    expected: sp.Expr
    exact: bool
    holds: bool
    domain: sp.Set | None = None

    def __str__(self) -> str:
        how = "exactly" if self.exact else "to 30 digits at random rational points"
        what = self.statement if self.domain is None else f"{plain(self.domain)}: {self.statement}"
        if self.holds:
            return f"✓ {what}: {self.expected} ({how})"
        return f"✗ {what}: got {self.value}, expected {self.expected}"


@dataclass(frozen=True, repr=False)
class Proof(Legible):
    """The checks that make a law more than a claim; true if there are some and all of them hold."""

    checks: tuple[Check, ...]

    def __bool__(self) -> bool:
        return bool(self.checks) and all(check.holds for check in self.checks)

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks)) or "✗ nothing was checked"


@dataclass(frozen=True)
class Recipe:
    r"""How to draw :math:`X_t` exactly from one standard normal per sample.

    Parameters
    ----------
    weights : tuple of Expr
        Probabilities of the mixture components, in ``symbols.initial`` and ``symbols.time``.
    values : tuple of Expr
        Per component, the sample as a function of ``normal``.
    normal : Symbol
        The standard normal.
    """

    weights: tuple[sp.Expr, ...]
    values: tuple[sp.Expr, ...]
    normal: sp.Symbol


class Law(Legible, ABC):
    r"""Interface: the law of a scalar diffusion at time t, given where it starts.

    Attributes
    ----------
    diffusion : Diffusion
        The diffusion that it is the law of, with the interval it lives in as ``domain``.
    """

    diffusion: Diffusion

    @property
    def headline(self) -> str:
        """The name, and where it lives."""
        return f"{self.name}, on {plain(self.diffusion.domain)}"

    def __str__(self) -> str:
        return f"{self.headline}: {sentence(self.description)}"

    def _repr_latex_(self) -> str | None:
        """The same, for notebooks."""
        return latex.sentence((f"{self.name}, on ", self.diffusion.domain, ": ", *self.description))

    def _repr_html_(self) -> str:
        return html.escape(self._repr_latex_() or str(self))

    @property
    def parameters(self) -> frozenset[sp.Symbol]:
        """Symbols of the law other than the state, its start and time."""
        domain: set[sp.Symbol] = getattr(self.diffusion.domain, "free_symbols", set())
        return (self.diffusion.parameters | frozenset(domain)) - {*self.diffusion.states, initial, time}

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in the field."""

    @property
    @abstractmethod
    def description(self) -> Words:
        """What the process is: text and expressions in turn."""

    @abstractmethod
    def pdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Density of the absolutely continuous part, per unit of the state."""

    @abstractmethod
    def logpdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Logarithm of :meth:`pdf`, in a form that does not underflow."""

    @abstractmethod
    def cdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Distribution function, atoms included."""

    @abstractmethod
    def moment(self, k: int, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        r"""The moment :math:`\mathbb{E}X_t^k`, infinity where it is not finite."""

    @abstractmethod
    def finite_until(self, k: sp.Expr) -> sp.Expr:
        r"""The time up to which :math:`\mathbb{E}|X_t|^k` is finite, ``oo`` if it always is."""

    @property
    @abstractmethod
    def atoms(self) -> tuple[Atom, ...]:
        """Points with positive probability."""

    @property
    def stationary(self) -> sp.Expr | None:
        """The stationary density as a function of the state; None where there is none."""
        return None

    @property
    def is_martingale(self) -> bool | None:
        """For a process without drift, whether it is a martingale, or only a local one; None with drift."""
        return None

    @abstractmethod
    def sampler(self) -> Any:
        """How to draw from the law exactly: one of the kinds in :mod:`derivations.laws.recipes`."""

    @abstractmethod
    def prove(self) -> Proof:
        """Check the forward equation, the mass and the initial law."""
