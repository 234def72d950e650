"""Draws from the law itself, where it is known: no step size and no error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from derivations.diffusion import Diffusion, Limit
from derivations.laws import Law, recognise
from numerics.compile import compile_sampler
from numerics.schemes.base import Advance, Array, Scheme


@dataclass(frozen=True)
class ExactLaw(Scheme):
    """Draws from the law itself, one transition per asked-for time, where :func:`derivations.laws.recognise` knows it."""

    name: str = "exact"
    strong_order: None = None
    weak_order: None = None

    def prepare(self, limit: Limit) -> Advance:
        """Recognise the law and compile its sampler."""
        if not isinstance(limit, Diffusion) or len(limit.states) != 1:
            raise ValueError("exact laws are known for scalar diffusions; use the scheme EulerMaruyama()")
        return law_steps(recognise(limit))


def law_steps(law: Law) -> Advance:
    """Exact transitions of a law on states of shape (samples, 1); being exact, they take the whole duration at once."""
    sampler = compile_sampler(law)

    def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
        return sampler(x[:, 0], duration, rng)[:, np.newaxis]

    return advance
