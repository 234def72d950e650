r"""Expectations on one grid by points that are better spread than random ones: antithetic pairs and Sobol sequences.

Antithetic: :math:`\tfrac12(f(\xi) + f(-\xi))` has no odd part left. Sobol: a digital net fills the cube of all uniforms of a
path at a rate near 1/N for smooth functions; independent scramblings of the net are unbiased, and their spread is the error.
"""

from __future__ import annotations

import numpy as np
import scipy  # scipy.stats, a quarter of the start, loads where it is first used
from scipy.special import ndtri

from numerics.compile.steps import compile_step
from numerics.expectations.budget import Budget
from numerics.expectations.levels import Array, Levels, Problem
from numerics.schemes.symbolic import SymbolicScheme

_REPLICATES = 16  # scramblings: the standard error of a standard error is then 18 %
_BLOCK = 1 << 13


def expect_on_points(
    problem: Problem, scheme: SymbolicScheme, steps: int, samples: int, points: str, seed: int
) -> Budget:
    """The mean of a function of the end of paths, the normals of all steps being one point of a cube.

    Parameters
    ----------
    problem : Problem
    scheme : SymbolicScheme
    steps, samples : int
        Samples in all: pairs count twice; for Sobol points each of 16 scramblings takes the power of 2 below its share.
    points : {"antithetic", "sobol"}
    seed : int

    Returns
    -------
    Budget
        With the bias of the grid from coupled paths on it and on one of twice the step.
    """
    step = compile_step(scheme.step(problem.limit))
    normals, signs = len(step.step.normals), len(step.step.signs)
    dimensions = steps * (normals + signs)

    def at(uniforms: Array, mirrored: bool = False) -> Array:
        """Values of the function for uniforms of shape (paths, dimensions)."""
        x = np.ascontiguousarray(problem.starts(len(uniforms)).reshape(len(uniforms), -1).T)
        rows = uniforms.T.reshape(steps, normals + signs, -1)
        for k, row in enumerate(rows):
            z = ndtri(row[:normals]) * (-1.0 if mirrored else 1.0)
            flips = np.where((row[normals:] < 0.5) ^ mirrored, 1.0, -1.0)
            x = step(x, k * problem.t / steps, problem.t / steps, z, flips)
        return problem.values(x.T)

    if points == "antithetic":
        means = []
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
        for first in range(0, max(2, samples // 2), _BLOCK):
            uniforms = rng.random((min(_BLOCK, max(2, samples // 2) - first), dimensions))
            uniforms += np.finfo(float).tiny
            means.append((at(uniforms) + at(uniforms, mirrored=True)) / 2)
        values, used = np.concatenate(means), 2 * sum(map(len, means))
    else:
        if dimensions > scipy.stats.qmc.Sobol.MAXDIM:
            raise ValueError(
                f"Sobol points have up to {scipy.stats.qmc.Sobol.MAXDIM} dimensions, {steps} steps need {dimensions}; take fewer steps of "
                "a scheme of weak order 2"
            )
        power = max(1, int(np.log2(samples / _REPLICATES)))
        values, used = np.empty(_REPLICATES), _REPLICATES << power
        for k in range(_REPLICATES):
            net = scipy.stats.qmc.Sobol(
                dimensions, scramble=True, rng=np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k,)))
            )
            total = 0.0
            for first in range(0, 1 << power, _BLOCK):
                uniforms = net.random(min(_BLOCK, (1 << power) - first))
                total += at(np.clip(uniforms, 2.0**-33, 1 - 2.0**-33)).sum()
            values[k] = total / (1 << power)
    levels = Levels(problem, scheme, np.random.SeedSequence(seed, spawn_key=(_REPLICATES,)), 1)
    return Budget(
        value=float(values.mean()),
        statistical=float(values.std(ddof=1) / np.sqrt(len(values))),
        step_bias=levels.bias_at(steps),
        samples=used,
        cost=used * steps,
        method=f"{points} points, {steps} steps of {scheme.name}",
    )
