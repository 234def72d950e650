"""Exact transitions of a law as functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sympy as sp

from derivations.laws import Law
from derivations.symbols import initial, time
from numerics.compile.constants import parts_of
from numerics.compile.expression import CompiledFunction, compile_expression


@dataclass(frozen=True)
class CompiledSampler:
    """Exact transitions of a law: from an array of starts, a time and normals to samples.

    Parameters
    ----------
    law : Law
        Picklable, as all laws are; the parts' recipes are compiled where they are used.
    """

    law: Law

    @cached_property
    def _rows(self) -> list[tuple[CompiledFunction, CompiledFunction, CompiledFunction]]:
        rows = []
        for part in parts_of(self.law):
            recipe = part.sampler()
            inside = sp.Piecewise((1, part.diffusion.domain.as_relational(initial)), (0, True))
            arguments = (initial, time)
            rows.append((
                compile_expression((initial,), inside),
                compile_expression(arguments, tuple(recipe.weights)),
                compile_expression((*arguments, recipe.normal), tuple(recipe.values)),
            ))
        return rows

    def __call__(self, start: np.ndarray, duration: float, generator: np.random.Generator) -> np.ndarray:
        """One sample after a time for each start; ``nan`` for a start outside the law's domain."""
        normal = generator.standard_normal(start.shape)
        several = any(len(weights.expression) > 1 for _, weights, _ in self._rows)
        uniform = generator.random(start.shape) if several else np.zeros(start.shape)
        result = np.full(start.shape, np.nan)
        for inside, weights, values in self._rows:
            here = inside(start) == 1
            if not here.any():
                continue
            x0 = start[here]
            upto = np.cumsum(weights(x0, duration), axis=0)
            which = (uniform[here] >= upto[:-1]).sum(axis=0)
            result[here] = np.choose(which, values(x0, duration, normal[here]))
        return result


def compile_sampler(law: Law) -> CompiledSampler:
    """The exact sampler of a law, by its recipe.

    Examples
    --------
    >>> from derivations.laws.frozen import FrozenLaw
    >>> compile_sampler(FrozenLaw(sp.Interval(-sp.oo, 0)))(np.array([-2.0, 1.0]), 1.0, np.random.default_rng(0))
    array([-2., nan])
    """
    parts_of(law)
    return CompiledSampler(law)
