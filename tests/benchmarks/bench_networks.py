"""Networks in law against drawing every weight, and what is recorded of them, in one run (a script; no timed test)."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread on each side

from time import perf_counter, process_time

import numpy as np

from derivations import MLP, Network, ResNet, Weights, epsilon, relu, rms_norm, symbols
from numerics.networks import simulate_network

WIDTHS = (10, 100, 1000)


def seconds_per_layer(width: int, method: str, depth: int, samples: int, repeats: int = 3) -> float:
    """The best of some runs, per layer of one network."""
    network = ResNet(relu, width=width)

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
        fast = seconds_per_layer(width, "conditional", depth=100, samples=max(32, 40_000 // width))
        slow = seconds_per_layer(width, "weights", depth=4, samples=max(1, 400_000 // width**2))
        rows.append((width, slow / fast, fast / (floor * width), slow / (floor * width)))
    return rows


A, B = Weights("A"), Weights("B", out=2 * symbols.width)
#: What is timed besides: a network of a width, the record, and how many neurons of all inputs a layer draws in units of the width.
OTHERS = {
    "one input": (lambda n: ResNet(relu, width=n), "state", 1),
    "two inputs": (lambda n: ResNet(relu, width=n, inputs=2), "state", 2),
    "two matrices, pre-norm": (lambda n: Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=n), "state", 3),
    "Gram matrix": (lambda n: MLP(relu, width=n, inputs=2), "conditional gram", 2),
    "gap": (lambda n: MLP(relu, width=n, inputs=2), "conditional gap", 2),
}


def nanoseconds(name: str, width: int, backend: str, repeats: int = 3, depth: int = 100) -> float:
    """CPU time for each number that a layer draws, of the best of some runs; a kernel is compiled before."""
    make, record, drawn = OTHERS[name]
    network, samples = make(width), max(4, 400_000 // (width * drawn))
    start = np.random.default_rng(0).normal(size=(width, network.inputs))

    def once() -> float:
        begin = process_time()
        simulate_network(network, depth, samples, x0=start, record=record, backend=backend)
        return process_time() - begin

    once()
    return 1e9 * min(once() for _ in range(repeats)) / (depth * samples * width * drawn)


def main() -> None:
    """Print the tables."""
    print(f"{'width':>6}  {'all weights / in law':>20}  {'in law / n normals':>18}  {'all weights / n normals':>23}")
    for width, speedup, fast, slow in ratios():
        print(f"{width:>6}  {speedup:>20.1f}  {fast:>18.2f}  {slow:>23.1f}")
    print(
        f"\n{'ns of CPU a number':<24}"
        + "".join(f"{f'{b}, n = {n}':>18}" for b in ("numpy", "numba") for n in (100, 10_000))
    )
    for name, (_, record, _) in OTHERS.items():
        backends = ("numpy",) if record.endswith("gap") else ("numpy", "numba")
        times = [nanoseconds(name, n, backend) for backend in backends for n in (100, 10_000)]
        print(f"{name:<24}" + "".join(f"{ns:>18.1f}" for ns in times))


if __name__ == "__main__":
    main()
