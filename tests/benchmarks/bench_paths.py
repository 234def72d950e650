"""Paths of a ReLU layer against the filling of as many normals, in one run (run as a script; no timed test)."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, process_time

import numpy as np

from derivations import ResNet, depth_limit, relu
from numerics import simulate_sde

WIDTH, PATHS, STEPS = 4, 20_000, 500


def seconds(work: Callable[[], object], clock: Callable[[], float] = process_time, repeats: int = 5) -> float:
    """The best of some runs; the first, which compiles, does not count. Processor time, unless threads are compared."""
    work()
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def fill() -> None:
    """Draw the normals that the paths need and do nothing with them."""
    rng, out = np.random.Generator(np.random.SFC64(0)), np.empty(2**15)
    for _ in range(WIDTH * PATHS * STEPS // out.size):
        rng.standard_normal(out=out)


def ratios() -> dict[str, float]:
    """Times in units of the filling."""
    limit = depth_limit(ResNet(relu, width=WIDTH))

    def paths(backend: str, workers: int = 1) -> Callable[[], object]:
        return lambda: simulate_sde(limit, 1.0, 1.0, STEPS, PATHS, workers=workers, backend=backend)

    floor = seconds(fill)
    rows = {f"{backend}, one thread": seconds(paths(backend)) / floor for backend in ("numba", "numpy")}
    threads = [seconds(paths("numba", workers), perf_counter) for workers in (1, 2)]
    return {"Generator.standard_normal": 1.0, **rows, "numba, two threads faster by": threads[0] / threads[1]}


def main() -> None:
    """Print the table."""
    print(f"ReLU n = {WIDTH}, {PATHS} paths x {STEPS} steps; 1 = filling as many normals")
    for name, ratio in ratios().items():
        print(f"{name:<28} {ratio:>6.2f}")


if __name__ == "__main__":
    main()
