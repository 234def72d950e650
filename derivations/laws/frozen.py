r"""Where neither noise nor drift is left: the start stays, as an atom."""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from derivations.diffusion import Diffusion
from derivations.laws.base import Atom, Check, Law, Proof, Recipe, Words
from derivations.symbols import initial, state, time


@dataclass(frozen=True, repr=False)
class FrozenLaw(Law):
    r"""The law :math:`X_t = X_0` on a set where drift and noise vanish.

    For ReLU it lives on :math:`x \le 0`; for any activation, on the single points where it is 0.

    Parameters
    ----------
    domain : Set
        A closed interval or a point.
    """

    domain: sp.Set
    state: sp.Symbol = field(default=state)

    @property
    def diffusion(self) -> Diffusion:  # type: ignore[override]
        """The diffusion with coefficients 0."""
        return Diffusion((self.state,), [0], [[0]], self.domain)

    @property
    def name(self) -> str:
        """The name in the field."""
        return "frozen"

    @property
    def description(self) -> Words:
        """The state stays where it starts."""
        return ("the state stays at ", initial)

    def pdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Zero: all the mass is in the atom."""
        return sp.S.Zero

    def logpdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """Minus infinity."""
        return -sp.oo

    def cdf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """A unit step at the start."""
        return sp.Piecewise((sp.S.One, x >= x0), (sp.S.Zero, True))

    def sf(self, x: sp.Expr, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """One minus the unit step."""
        return sp.Piecewise((sp.S.Zero, x >= x0), (sp.S.One, True))

    def moment(self, k: int, t: sp.Expr = time, x0: sp.Expr = initial) -> sp.Expr:
        """The power of the start."""
        return x0**k

    def finite_until(self, k: sp.Expr) -> sp.Expr:
        """Always."""
        return sp.oo

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """The start, with mass 1."""
        return (Atom(initial, sp.S.One, self.domain.as_relational(initial)),)

    @property
    def is_martingale(self) -> bool | None:
        """A constant is one."""
        return True

    def sampler(self) -> Recipe:
        """The start itself."""
        return Recipe((sp.S.One,), (initial,), sp.Symbol("G", real=True))

    def prove(self) -> Proof:
        """The atom carries all the mass and does not move."""
        (atom,) = self.atoms
        moved = sp.diff(atom.location, time)
        return Proof(
            (
                Check("velocity of the atom", moved, sp.S.Zero, True, moved == 0),
                Check("mass of the atom", atom.mass, sp.S.One, True, atom.mass == 1),
            )
        )

    @classmethod
    def example(cls) -> FrozenLaw:
        """The negative half-line of ReLU."""
        return cls(sp.Interval(-sp.oo, 0))
