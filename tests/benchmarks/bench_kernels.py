"""NNGP and NTK of 1000 inputs at t = 1, against 100-layer recursions written in NumPy (run as a script; no timed test).

Beside the seconds of arrays with one and two threads stand those of machine code with one (extra ``fast``; the map of
ReLU's correlation has none) and how many times less it takes, the ratio of the first to the recursion of the same
activation, the largest error against a run at tolerance 1e-11 in the unit of the pair's norms, and the peak of memory
of the default backend in kernel matrices, at 1000 and at 2000 inputs.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import sympy as sp

from derivations import ShrinkingResNet, erf, gelu, relu, tanh
from numerics.backends.numba import is_available
from numerics.kernels import Kernels, kernel_matrices

LAYERS = 100
Array = np.ndarray
#: From variances (a column and a row) and covariances to E ψψ and E ψ'ψ'.
Means = Callable[[Array, Array, Array], tuple[Array, Array]]


def relu_means(a: Array, b: Array, k: Array) -> tuple[Array, Array]:
    """Arc-cosine kernels of order 1 and 0."""
    scale = np.sqrt(a * b)
    rho = np.clip(k / scale, -1.0, 1.0)
    angle = np.pi - np.arccos(rho)
    return scale * (np.sqrt(1 - rho**2) + rho * angle) / (2 * np.pi), angle / (2 * np.pi)


def erf_means(a: Array, b: Array, k: Array) -> tuple[Array, Array]:
    """The arc-sine kernel and its derivative."""
    product = (1 + 2 * a) * (1 + 2 * b)
    return 2 / np.pi * np.arcsin(2 * k / np.sqrt(product)), 4 / (np.pi * np.sqrt(product - 4 * k**2))


def gelu_means(a: Array, b: Array, k: Array) -> tuple[Array, Array]:
    """Of x Φ(x) and its derivative Φ + x Φ'."""
    product, square = (1 + a) * (1 + b), k * k
    rest = product - square
    root = np.sqrt(rest)
    orthant = 0.25 + np.arcsin(k / np.sqrt(product)) / (2 * np.pi)
    mean = k * orthant + (square * (1 - a * b) + a * b * product) / (2 * np.pi * product * root)
    bend = a * b * (a + b + 5) + (a + 4) * a + (b + 4) * b + 3 - square * (a + b + 2)
    return mean, orthant + k * bend / (2 * np.pi * product * rest * root)


MEANS: dict[str, Means] = {"relu": relu_means, "erf": erf_means, "gelu": gelu_means}


def finite_depth(means: Means, X: Array, layers: int) -> Kernels:
    """Both kernels of an infinitely wide network of finite depth, layer by layer."""
    k = X @ X.T / X.shape[1]
    theta, h = k.copy(), 1.0 / layers
    for _ in range(layers):
        variance = np.diag(k).copy()
        product, slopes = means(variance[:, None], variance[None, :], k)
        theta = theta + h * (product + theta * slopes)
        k = k + h * product
    return Kernels(k, theta)


def seconds(run: Callable[[], Kernels], times: int = 3) -> tuple[float, Kernels]:
    """The least of a few runs, and what one returned."""
    found = []
    for _ in range(times):
        start = perf_counter()
        result = run()
        found.append(perf_counter() - start)
    return min(found), result


def error(found: Kernels, exact: Kernels) -> float:
    """The largest difference in either kernel, relative to the roots of both diagonals."""
    pairs = ((found.nngp, exact.nngp), (found.ntk, exact.ntk))
    return max(float(np.max(np.abs(a - b) / np.sqrt(np.outer(np.diag(b), np.diag(b))))) for a, b in pairs)


def peak(run: Callable[[], Kernels], entries: int) -> float:
    """Memory at its peak, in matrices of so many entries."""
    tracemalloc.start()
    run()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / (8 * entries)


def main() -> None:
    """Print a row for each activation."""
    rng = np.random.default_rng(0)
    X, more = rng.normal(size=(1000, 50)), rng.normal(size=(2000, 50))
    print(
        f"{'':6} {'arrays':>8} {'threads':>8} {'machine':>8} {'gain':>6} {'100 layers':>11} {'ratio':>6} {'error':>8} "
        f"{'peak, m = 1000, 2000 (in m² numbers)':>38}"
    )
    for inner in (relu, erf, gelu):
        network = ShrinkingResNet(tanh, inner, width=sp.oo)

        def run(inputs: Array = X, network: ShrinkingResNet = network, **options: Any) -> Kernels:
            return kernel_matrices(network, inputs, **options)

        run(X[:3])  # derive and compile once
        taken, found = seconds(lambda: run(backend="numpy"))
        threaded, _ = seconds(lambda: run(backend="numpy", workers=2))
        machine = float("nan")
        if inner is not relu and is_available():
            run(X[:3], backend="numba")
            machine, _ = seconds(lambda: run(backend="numba"))
        recursion, _ = seconds(lambda inner=inner: finite_depth(MEANS[str(inner)], X, LAYERS))
        off = error(found, run(tolerance=1e-11))
        peaks = [peak(lambda Y=Y: run(Y), len(Y) ** 2) for Y in (X, more)]
        print(
            f"{inner!s:6} {taken:8.2f} {threaded:8.2f} {machine:8.2f} {taken / machine:6.2f} {recursion:11.2f} "
            f"{taken / recursion:6.2f} {off:8.1e} {peaks[0]:30.1f} {peaks[1]:7.1f}"
        )


if __name__ == "__main__":
    main()
