"""Expectations of functions of a limit, to a tolerance, with an error budget."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derivations.diffusion import Flow, Limit
from derivations.laws import Law
from numerics import given
from numerics.ensembles import Seed, seed_sequence, stream_ensemble
from numerics.expectations.budget import Budget
from numerics.expectations.choice import known_law
from numerics.expectations.levels import Exploded, Function, Level, Levels, Problem, affordable
from numerics.expectations.points import expect_on_points
from numerics.initial_conditions import checked_start
from numerics.schemes import Advance, Scheme, find_scheme
from numerics.schemes.exact import law_steps
from numerics.schemes.symbolic import SymbolicScheme

__all__ = ["Budget", "Levels", "Problem", "expect_sde"]

#: What multilevel Monte Carlo chooses from, each tried on three levels.
_CANDIDATES = ("weak_second", "milstein", "euler_maruyama")


@given.checked(
    limit=given.limit,
    t=given.number,
    steps=given.whole,
    samples=given.whole,
    function=given.function,
    x0=given.start,
    tol=given.size,
)
def expect_sde(
    limit: Limit,
    function: Function,
    x0: ArrayLike,
    t: float = 1.0,
    tol: float = 1e-3,
    scheme: Scheme | str = "auto",
    points: str = "random",
    steps: int = 16,
    samples: int = 1 << 16,
    seed: Seed = 0,
    workers: int | Executor = 1,
) -> Budget:
    r""":math:`\mathbb{E} f(X_t)` with its error budget, at the least cost that is known to reach a tolerance.

    Where the law of a scalar limit is recognised its sampler has no bias at all. Otherwise multilevel Monte Carlo, with
    the scheme whose first three levels promise the least cost.

    Parameters
    ----------
    limit : Diffusion or NeuronDiffusion
        Without free parameters.
    function : callable
        From states of shape (samples, states) to (samples,); the smoother, the fewer levels.
    x0 : float or array, shape (states,)
        The start of all paths.
    t : float
    tol : float
        Root mean square error to reach, of statistical and step errors together.
    scheme : Scheme or str
        ``"auto"``, ``"exact"`` or a scheme that couples two step sizes.
    points : {"random", "antithetic", "sobol"}
        The last two take one grid of ``steps`` steps and ``samples`` samples in place of ``tol``, and a scheme whose step
        is a formula (weak_second by default).
    seed, workers
        As for :func:`numerics.paths.simulate_sde`; the result does not depend on the workers.

    Returns
    -------
    Budget

    Raises
    ------
    ValueError
        If the tolerance is not positive, the function's values have the wrong shape, or a scheme does not apply.

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, tanh
    >>> budget = expect_sde(depth_limit(ResNet(tanh, width=1)), lambda x: x[:, 0], x0=1.0, tol=0.01)
    >>> abs(budget.value - 1.0) < 4 * budget.error, budget.error < 0.011
    (True, True)
    """
    if not (np.isfinite(tol) and tol > 0):
        raise ValueError(f"tol must be a positive number, got {tol!r}")
    if isinstance(limit, Flow):
        raise ValueError("a Flow has no randomness to average over; simulate_sde integrates it")
    problem = Problem(limit, function, checked_start(limit, x0, t), float(t))
    if points != "random":
        chosen = find_scheme("weak_second" if scheme == "auto" else scheme)
        if points not in ("antithetic", "sobol"):
            raise ValueError(f'points must be "random", "antithetic" or "sobol", got {points!r}')
        if not isinstance(chosen, SymbolicScheme) or not isinstance(seed, int):
            raise ValueError(
                f"{points} points need a scheme whose step is a formula and a whole seed, got {chosen.name}"
            )
        return expect_on_points(problem, chosen, steps, samples, points, seed)
    root = seed_sequence(seed)
    if scheme in ("auto", "exact"):
        law = known_law(limit)
        if law is not None:
            return _from_law(problem, law, tol, root, workers)
        if scheme == "exact":
            raise ValueError("the law of this limit is not known; leave the scheme out")
    if scheme != "auto":
        return Levels(problem, find_scheme(scheme), root, workers).run(tol)
    return _cheapest(problem, tol, root, workers).run(tol)


@dataclass(frozen=True)
class _LawBlock:
    """Moments over one block of draws from a law."""

    problem: Problem
    law: Law

    @cached_property
    def _advance(self) -> Advance:
        return law_steps(self.law)

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> tuple[int, float, float]:
        values = self.problem.values(self._advance(self.problem.starts(count), 0.0, self.problem.t, 1, rng))
        return count, float(values.mean()), float(((values - values.mean()) ** 2).sum())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem, self.law)


def _from_law(problem: Problem, law: Law, tol: float, root: np.random.SeedSequence, workers: int | Executor) -> Budget:
    total, missing, task = Level(1, 1.0), 1 << 12, _LawBlock(problem, law)
    while missing > 0:
        seed = np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, total.rounds))
        total.rounds += 1
        for _, sums in stream_ensemble(task, missing, 1 << 14, seed, workers):
            total.add(*sums)
        missing = affordable(total.variance / tol / tol, tol) - total.count
    error = float(np.sqrt(total.variance / total.count))
    return Budget(total.mean, error, samples=total.count, cost=total.count, method="exact law")


def _cheapest(problem: Problem, tol: float, root: np.random.SeedSequence, workers: int | Executor) -> Levels:
    """The scheme that promises the least cost on three levels, of those that apply."""
    tried = []
    for index, name in enumerate(_CANDIDATES):
        key = (*root.spawn_key, 1 << 20, index)
        try:
            levels = Levels(problem, find_scheme(name), np.random.SeedSequence(root.entropy, spawn_key=key), workers)
            for _ in range(3):
                levels.extend()
        except Exploded:
            raise
        except ValueError as error:
            if name == _CANDIDATES[-1]:
                raise ValueError(f"no scheme steps this limit on two grids: {error}") from error
            continue
        tried.append(levels)
    return min(tried, key=lambda levels: levels.predicted_cost(tol))
