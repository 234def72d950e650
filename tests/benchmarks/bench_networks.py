"""In-law networks against drawing every weight, in one run: prints their ratio (run as a script; no timed test)."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread on each side

from time import perf_counter

import numpy as np

from derivations import ResNet, relu
from numerics.networks import simulate_network

WIDTHS = (10, 100, 1000)


def seconds_per_layer(width: int, method: str, depth: int, samples: int, repeats: int = 3) -> float:
    """The best of some runs, per layer of one network."""
    network = ResNet(relu, width)

    def once() -> float:
        start = perf_counter()
        simulate_network(network, depth, samples, x0=1.0, method=method)
        return perf_counter() - start

    once()
    return min(once() for _ in range(repeats)) / (depth * samples)


def seconds_per_normal(count: int = 2**15, repeats: int = 200) -> float:
    """Filling a buffer with standard normals, per number: the floor for any simulation."""
    rng, out = np.random.Generator(np.random.SFC64(0)), np.empty(count)
    start = perf_counter()
    for _ in range(repeats):
        rng.standard_normal(out=out)
    return (perf_counter() - start) / (count * repeats)


def ratios() -> list[tuple[int, float, float, float]]:
    """Width, speed-up of the in-law networks, and both methods' time in units of drawing n normals."""
    floor, rows = seconds_per_normal(), []
    for width in WIDTHS:
        fast = seconds_per_layer(width, "in_law", depth=100, samples=max(32, 40_000 // width))
        slow = seconds_per_layer(width, "weights", depth=4, samples=max(1, 400_000 // width**2))
        rows.append((width, slow / fast, fast / (floor * width), slow / (floor * width)))
    return rows


def main() -> None:
    """Print the table."""
    print(f"{'width':>6}  {'all weights / in law':>20}  {'in law / n normals':>18}  {'all weights / n normals':>23}")
    for width, speedup, fast, slow in ratios():
        print(f"{width:>6}  {speedup:>20.1f}  {fast:>18.2f}  {slow:>23.1f}")


if __name__ == "__main__":
    main()
