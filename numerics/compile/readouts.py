"""The variance of a readout in terms of a limit's states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from derivations.derivation import Derivation
from derivations.diffusion import Flow


@dataclass(frozen=True)
class SecondMoments:
    r"""The Gram matrix's limit, its entries in terms of the states, and the form :math:`c^\top V c`.

    Parameters
    ----------
    process : Diffusion or Flow
    matrix : Matrix, shape (m, m)
    form : Expr
    """

    process: Any
    matrix: sp.Matrix
    form: sp.Expr

    @property
    def slope(self) -> float | None:
        """The factor of the only state, where the form is proportional to it; else None."""
        (v,) = self.process.states
        slope = self.form.coeff(v)
        return float(slope) if self.form == slope * v else None

    @property
    def whole(self) -> SecondMoments:
        """With a form in which every entry of the matrix is."""
        return replace(self, form=sp.Add(*self.matrix.free_symbols))

    @property
    def part(self) -> tuple[Flow, list[int]]:
        """The flow of the states on which the form depends, and their places."""
        states, drift = self.process.states, self.process.drift
        needed = self.form.free_symbols & set(states)
        while True:
            read = {s for a, own in enumerate(states) if own in needed for s in drift[a].free_symbols}
            more = (read & set(states)) - needed
            if not more:
                break
            needed |= more
        kept = [a for a, s in enumerate(states) if s in needed]
        return Flow(
            tuple(states[a] for a in kept), sp.ImmutableMatrix([drift[a] for a in kept]), self.process.time
        ), kept


def second_moments(d: Derivation, c: Sequence[float]) -> SecondMoments | None:
    """The second moments of the state; None where they do not close.

    Raises
    ------
    ValueError
        If the limit is in other coordinates.
    """
    if d.closure is not None and d.closure.centred:
        return None
    process = d.gram
    if process is None:
        return None
    matrix = _matrix(d, process)
    m = d.architecture.coordinates
    form = sp.expand(sum((matrix[a, b] * c[a] * c[b] for a in range(m) for b in range(m)), sp.S.Zero))
    return SecondMoments(process, matrix, form)


def _matrix(d: Derivation, process: Any) -> sp.Matrix:
    m, states = d.architecture.coordinates, process.states
    if d.closure is not None:
        return d.closure.matrix.xreplace(d.closure.fixed)
    if getattr(process, "matrix", None) is not None:
        return process.matrix
    if len(states) != m * (m + 1) // 2 or not states[0].is_nonnegative:
        if not states:
            raise ValueError(
                "nothing moves: every layer fixes the norm of an input, so that the output of one input has the same Gaussian law after every layer; "
                "ask about two inputs"
            )
        raise ValueError(
            f"the limit in {', '.join(map(str, states[:4]))} does not give the second moments of the state at a fixed time; "
            "ask for one input, or for a regime whose limit is that of the Gram matrix"
        )
    matrix = sp.zeros(m, m)
    rest = iter(states)
    for a in range(m):
        for b in range(a, m):
            matrix[a, b] = matrix[b, a] = next(rest)
    return matrix
