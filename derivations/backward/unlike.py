r"""The Jacobian of layers whose neurons are not alike, as behind weights with covariances of rows or columns: all entries, written out.

No neuron is generic then. At a width that is a number one elimination still gives the moments of all neurons and of two tangents v and w,
linear in each, so entries of the random matrix M with :math:`\mathrm{d}v = \mathrm{d}M\,v` are slopes:
:math:`\mathrm{d}[M_{ij}, M_{kl}] = \partial_{v_j}\partial_{w_l}\,\mathrm{d}[v_i, w_k]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.backward.logarithm import LOG_VOLUME, law_alone, logarithm_lines, moves_alone
from derivations.diffusion import Diffusion
from derivations.entries import LazyCovariance
from derivations.errors import NotClosed, brief
from derivations.language import Program
from derivations.language.entries import Correlated
from derivations.language.statements import Matrix
from derivations.laws.piecewise_law import PiecewiseLaw
from derivations.limits.elimination.moments import LayerMoments
from derivations.limits.slopes import require_slopes
from derivations.limits.unlike import UnlikeNeurons
from derivations.notation.printed import Shown
from derivations.notation.steps import Line
from derivations.symbols import time


def covariances_of(program: Program) -> str:
    """Which matrices have covariances of rows or columns, said with them; empty where none has."""
    said = []
    for w in dict.fromkeys(s.weights for s in program.statements if isinstance(s, Matrix)):
        if isinstance(w.law, Correlated):
            sides = (("rows", w.law.rows), ("columns", w.law.columns))
            said += [f"the {side} of {w.name} have the covariance {brief(m.tolist())}" for side, m in sides if m.rows]
    return " and ".join(said)


def require_alike(program: Program) -> None:
    """Require that one neuron's equation stands for that of all.

    Raises
    ------
    NotClosed
        Naming the matrix whose covariances tell neurons apart.
    """
    if said := covariances_of(program):
        raise NotClosed(
            f"neurons are not alike, since {said}: no equation of one entry of the Jacobian stands for all; "
            "those of all entries are jacobian(network).limit(), and of the determinant jacobian(network).log_det"
        )


@dataclass(frozen=True, repr=False)
class UnlikeLogDeterminant(Shown):
    r"""How :math:`\Lambda = \log|\det J|` moves where neurons are not alike: :math:`\mathrm{d}\Lambda = b\,\mathrm{d}t + r^{1/2}\,\mathrm{d}B`.

    Parameters
    ----------
    program : Program
        Of one layer, at a width that is a number.
    """

    program: Program

    def __post_init__(self) -> None:
        require_slopes(self.program)
        if self._layer.layer.fixed:
            raise NotClosed(
                "every layer ends with a norm, which keeps the state on a sphere: the Jacobian annihilates the direction of the state, so it has no "
                "inverse and its determinant is 0; follow the Jacobian itself by .limit()"
            )

    @cached_property
    def _layer(self) -> UnlikeNeurons:
        """The state and two tangents."""
        return UnlikeNeurons(LayerMoments(self.program, self.program.positions, directions=2))

    @cached_property
    def _alone(self) -> Diffusion:
        """All neurons without tangents."""
        return UnlikeNeurons(LayerMoments(self.program, self.program.positions)).limit

    @property
    def _numbers(self) -> list[tuple[int, int]]:
        """Of the state, each by its neuron and its position."""
        return [(i, a) for i in range(self._layer.count) for a in range(self.program.positions)]

    def _along(self, *tangents: tuple[int, int]) -> dict[sp.Symbol, sp.Expr]:
        """Unit vectors in the place of the tangents, and the state's own names."""
        p, m, states = self.program.positions, self._layer.coordinates, self._layer.states
        rule = {x: sp.S.Zero for k, x in enumerate(states) if k % m >= p}
        rule |= {states[i * m + (k + 1) * p + a]: sp.S.One for k, (i, a) in enumerate(tangents)}
        return rule | dict(zip((states[i * m + a] for i, a in self._numbers), self._alone.states, strict=True))

    def _moved(self, e: tuple[int, int], f: tuple[int, int], *along: tuple[int, int]) -> sp.Expr:
        r""":math:`\mathrm{d}[v_e, w_f]` for unit vectors v and w."""
        (i, a), (j, b), p = e, f, self.program.positions
        return self._layer.covariance(i, p + a, j, 2 * p + b, self._along(*along))

    @cached_property
    def drift(self) -> sp.Expr:
        r""":math:`\mathbb{E}\operatorname{tr}\mathrm{d}M - \frac12\operatorname{tr}(\mathrm{d}M)^2` per unit of time."""
        all_, p = self._numbers, self.program.positions
        trace = sp.Add(*(self._layer.drift(i, p + a, self._along((i, a))) for i, a in all_))
        return self._tidied(trace - sp.Add(*(self._moved(e, f, f, e) for e in all_ for f in all_)) / 2)

    @cached_property
    def rate(self) -> sp.Expr:
        r"""Of :math:`\mathrm{d}[\operatorname{tr}M, \operatorname{tr}M]`."""
        return self._tidied(sp.Add(*(self._moved(e, f, e, f) for e in self._numbers for f in self._numbers)))

    @cached_property
    def with_state(self) -> tuple[sp.Expr, ...]:
        r""":math:`\mathrm{d}[x_i, \Lambda]/\mathrm{d}t` for each number of the state."""
        p = self.program.positions

        def both(i: int, a: int) -> sp.Expr:
            return sp.Add(*(self._layer.covariance(i, a, j, p + b, self._along((j, b))) for j, b in self._numbers))

        return tuple(self._tidied(both(*e)) for e in self._numbers)

    def _tidied(self, expr: sp.Expr) -> sp.Expr:
        return sp.factor_terms(sp.expand(expr))

    @property
    def is_gaussian(self) -> bool:
        r"""Whether :math:`\Lambda` does not depend on the state."""
        return not (self.drift.free_symbols | self.rate.free_symbols) & set(self._alone.states)

    @property
    def law(self) -> PiecewiseLaw | None:
        """Its law by itself, Brownian motion with drift; None where it depends on the state."""
        return law_alone(self.drift, self.rate) if self.is_gaussian else None

    @property
    def lines(self) -> tuple[Line, ...]:
        """Its equation, and its law where it has one by itself."""
        return logarithm_lines(self.drift, self.rate, self.is_gaussian, self.law)

    @property
    def process(self) -> Diffusion:
        r""":math:`\Lambda` by itself, or with all neurons."""
        if self.is_gaussian:
            return moves_alone(self.drift, self.rate)
        alone = self._alone
        column, count = (*self.with_state, self.rate), len(alone.states)

        def entry(i: int, j: int) -> sp.Expr:
            return column[min(i, j)] if count in (i, j) else alone.entry(i, j)

        drift = sp.ImmutableMatrix([*alone.drift, self.drift])
        return Diffusion((*alone.states, LOG_VOLUME), drift, LazyCovariance(entry), time=time)
