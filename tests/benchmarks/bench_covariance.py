"""Depth and width together: seconds to derive each limit, and paths of the covariance equation against their normals.

Run with ``python tests/benchmarks/bench_covariance.py`` from the top of the repository.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from time import perf_counter

import numpy as np
import sympy as sp

from derivations import MLP, PreNormResNet, ResNet, ShapedMLP, derive, gelu, joint_limit, leaky_relu, relu, tanh
from numerics import simulate_sde

SAMPLES, STEPS, ENTRIES = 100_000, 500, 3  # a symmetric 2 × 2 matrix has three entries
BUDGET, RATIO = 5.0, 10.0


def derivations() -> list[tuple[str, float]]:
    """Seconds for each derivation with its steps written out."""
    a, up, down, slope = sp.Symbol("a", positive=True), *sp.symbols("c_+ c_- s", real=True)
    nets = [
        ShapedMLP(relu, inputs=2, c_plus=up, c_minus=down),
        ShapedMLP(relu, inputs=3, c_plus=up, c_minus=down),
        ShapedMLP(tanh, inputs=1, a=a),
        ShapedMLP(gelu, inputs=2, a=a),
        ShapedMLP(relu, inputs=2, c_plus=up, c_minus=down, skip=sp.Rational(1, 2)),
        ResNet(relu, width=2, inputs=2),
        PreNormResNet(relu, inputs=2),
        MLP(relu, inputs=2),
        MLP(leaky_relu(slope), inputs=2),
    ]
    rows = []
    for net in nets:
        start = perf_counter()
        derive(net, order="joint").latex()
        rows.append((f"{type(net).__name__}({net.activation}, inputs={net.inputs})", perf_counter() - start))
    return rows


def paths_over_normals(samples: int = SAMPLES, steps: int = STEPS) -> tuple[float, float]:
    """Seconds for the paths, and for drawing as many normals in buffers of a core's cache."""
    limit = joint_limit(ShapedMLP(relu, inputs=2, c_plus=0, c_minus=-1))
    simulate_sde(limit, x0=[1.0, 0.3, 1.0], steps=2, samples=10, scheme="congruence")
    start = perf_counter()
    simulate_sde(limit, x0=[1.0, 0.3, 1.0], steps=steps, samples=samples, scheme="congruence")
    paths = perf_counter() - start
    rng, out = np.random.Generator(np.random.SFC64(0)), np.empty(2**15)
    start = perf_counter()
    for _ in range(samples * steps * ENTRIES // out.size):
        rng.standard_normal(out=out)
    return paths, perf_counter() - start


if __name__ == "__main__":
    for name, seconds in derivations():
        print(f"{name:40} {seconds:6.2f} s  {'ok' if seconds <= BUDGET else 'over budget'}")
    paths, normals = paths_over_normals()
    print(
        f"{SAMPLES:,} paths × {STEPS} steps: {paths:.1f} s, their normals {normals:.1f} s, ratio {paths / normals:.1f} (budget {RATIO:g})"
    )
