"""Schemes whose step is a formula that :mod:`derivations.steps` makes: one class, one line a scheme."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache

import numpy as np

from derivations import steps as formulas
from derivations.diffusion import Limit
from derivations.errors import DerivationError
from derivations.steps.domain import Continued, continued
from numerics.backends.numba import is_available
from numerics.compile.steps import compile_step, coupled_kernel, step_kernel
from numerics.schemes.base import Advance, Array, Couple, Scheme, both_inside, jitted, kept_inside, require_no_surface


class SymbolicScheme(Scheme):
    """Interface: a scheme that needs nothing but the formula of its step."""

    @abstractmethod
    def formula(self, limit: Limit) -> formulas.Step:
        """The step; raises ``DerivationError`` where the scheme does not apply."""

    #: Whether a step could end outside the interval in which the diffusion lives.
    can_leave: bool = True

    def step(self, limit: Limit) -> formulas.Step:
        """The step of this limit, made once; of a diffusion on an interval, continued beyond it.

        Raises
        ------
        ValueError
            Where the scheme does not apply, with the reason.
        """
        return _made(self, limit)

    def prepare(self, limit: Limit) -> Advance:
        """Compile the formula to array functions."""
        step = compile_step(self.step(limit))

        def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
            shape = x.shape
            columns = np.ascontiguousarray(x.reshape(len(x), -1).T)
            return step.walk(columns, time, duration / steps, steps, rng).T.reshape(shape)

        return kept_inside(limit, self._beyond(limit), advance)

    def couple(self, limit: Limit) -> Couple:
        """The formula on two grids: as machine code where Numba is installed."""
        step = self.step(limit)

        def couple(x: Array, time: float, h: float, steps: int, rng: np.random.Generator) -> tuple[Array, Array]:
            fine = np.ascontiguousarray(x.reshape(len(x), -1).T)
            if is_available():
                coarse = fine.copy()
                coupled_kernel(step)(fine, coarse, time, h, steps, rng)
            else:
                fine, coarse = compile_step(step).walk_twice(fine, time, h, steps, rng)
            return fine.T.reshape(x.shape), coarse.T.reshape(x.shape)

        return both_inside(limit, self._beyond(limit), couple)

    def jit(self, limit: Limit) -> Advance:
        """Compile the formula to one kernel."""
        advance = jitted(step_kernel(self.step(limit)))

        def on_columns(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
            return advance(x.reshape(len(x), -1), time, duration, steps, rng).reshape(x.shape)

        return kept_inside(limit, self._beyond(limit), on_columns)

    def _beyond(self, limit: Limit) -> Continued | None:
        return continued(limit) if self.can_leave else None


@lru_cache(maxsize=64)
def _made(scheme: SymbolicScheme, limit: Limit) -> formulas.Step:
    require_no_surface(limit, scheme.name)
    try:
        beyond = scheme._beyond(limit)
        return scheme.formula(limit) if beyond is None else beyond.step(scheme.formula(beyond.original))
    except DerivationError as error:
        raise ValueError(f"the scheme {scheme.name} does not apply: {error}") from error
