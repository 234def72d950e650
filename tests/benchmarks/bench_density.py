"""Laws of scalar limits and of two states: processor seconds until they stand, their errors, and seconds for a million points.

Run with ``python tests/benchmarks/bench_density.py [named] [points] [plane]`` from the top of the repository; each part prints its limits.
Of a million points SciPy's own lognormal density stands beside, in the same run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from derivations import MLP, ResNet, ShapedMLP, depth_limit, derive, identity, recognise, relu, tanh
from derivations.activations import ACTIVATIONS
from derivations.activations.text import parse_activation
from derivations.calculus.gram import norm_and_correlation
from numerics import compile_law, distribution, solve_fokker_planck

POINTS = 10**6
REPEATS = 7
#: Formulas beside the named activations.
TYPED = ("exp(-x**2)", "sin(x)/x", "x+sin(x)**2", "x/(1+abs(x))", "log(cosh(x))", "x*tanh(x)", "sqrt(abs(x))")


def cpu(action: Callable[[], Any]) -> tuple[Any, float]:
    """What an action returns, and the processor seconds that it takes."""
    start = time.process_time()
    return action(), time.process_time() - start


def fastest(function: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> float:
    """Processor seconds of the fastest of several calls, which other work on the machine has disturbed least."""
    return min(cpu(lambda: function(points))[1] for _ in range(REPEATS))


def named() -> None:
    """``distribution`` of every named activation and of some formulas."""
    distribution(derive(ResNet(tanh, width=1)))  # what is loaded once
    print(f"{'activation':<24}{'seconds':>9}{'limit':>7}{'error':>10}")
    for limit, group in ((0.5, ACTIVATIONS), (1.0, {text: parse_activation(text) for text in TYPED})):
        for name, activation in group.items():
            d = derive(ResNet(activation, width=1))
            found, spent = cpu(lambda d=d: distribution(d, x0=0.7, t=1.0))
            print(f"{name:<24}{spent:>9.2f}{limit:>7.1f}{found.error:>10.1e}" + (" over" if spent > limit else ""))


def points() -> None:
    """Density and distribution function of a law in closed form and of one that is solved, at a million points."""
    closed = compile_law(recognise(depth_limit(ResNet(identity, width=1))), x0=1.0, t=1.0)
    solved = distribution(derive(ResNet(tanh, width=1)), x0=1.0, t=1.0)
    scale = np.exp(-0.5)  # log X is N(-1/2, 1)
    at = np.exp(np.random.default_rng(0).standard_normal(POINTS))
    difference = float(np.max(np.abs(closed.pdf(at) / stats.lognorm.pdf(at, 1.0, scale=scale) - 1)))
    for name, law in (("closed", closed), ("solved", solved)):
        times = [fastest(f, at) * 1e3 for f in (law.pdf, law.cdf)]
        print(f"{name}: pdf {times[0]:.1f} ms, cdf {times[1]:.1f} ms on {POINTS:,} points (at most 50)")
    theirs = fastest(lambda x: stats.lognorm.pdf(x, 1.0, scale=scale), at) * 1e3
    print(f"scipy.stats.lognorm.pdf {theirs:.1f} ms, closed law agrees to {difference:.1e}")


def plane() -> None:
    """Norm and correlation of networks whose depth and width grow together."""
    for name, net in (
        ("shaped ReLU", ShapedMLP(relu, inputs=2, c_plus=1, c_minus=-1)),
        ("linear", MLP(identity, inputs=2)),
    ):
        limit = derive(net, order="joint").limit
        process = norm_and_correlation(limit, limit.states)
        found, spent = cpu(lambda process=process: solve_fokker_planck(process, (1.0, 0.3), t=0.5, tol=1e-4))
        print(
            f"norm and correlation, {name}: {spent:.1f} s (at most 10), error {found.error:.1e}, least density {found.density.min():.1g}"
        )


PARTS = {"named": named, "points": points, "plane": plane}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
