"""How long a compiled density takes on a million points, against SciPy's own: one ratio, same machine, same run.

Run with ``python tests/benchmarks/bench_density.py`` from the top of the repository.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from derivations import ResNet, depth_limit, identity, recognise
from numerics import compile_law

POINTS = 10**6
REPEATS = 7


def fastest(function: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> float:
    """Seconds of the fastest of several calls, which other work on the machine has disturbed least."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function(points)
        times.append(time.perf_counter() - start)
    return min(times)


def density_ratio() -> tuple[float, float, float]:
    """Seconds of ours, seconds of SciPy's, and the largest relative difference of the values."""
    ours = compile_law(recognise(depth_limit(ResNet(identity, width=1))), x0=1.0, t=1.0).pdf
    scale = np.exp(-0.5)  # log X is N(-1/2, 1)

    def theirs(points: np.ndarray) -> np.ndarray:
        return stats.lognorm.pdf(points, 1.0, scale=scale)

    points = np.exp(np.random.default_rng(0).standard_normal(POINTS))
    difference = float(np.max(np.abs(ours(points) / theirs(points) - 1)))
    return fastest(ours, points), fastest(theirs, points), difference


if __name__ == "__main__":
    mine, scipys, apart = density_ratio()
    print(f"compiled pdf {mine * 1e3:.1f} ms, scipy.stats.lognorm.pdf {scipys * 1e3:.1f} ms on {POINTS:,} points")
    print(f"ratio {mine / scipys:.2f}, values agree to {apart:.1e}")
