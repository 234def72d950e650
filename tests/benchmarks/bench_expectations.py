"""A smooth expectation to an error of 1e-4: levels of the best scheme against Euler on one grid (run as a script)."""

from __future__ import annotations

from functools import partial
from time import process_time

import numpy as np

from derivations import MLPBlock, ResNet, depth_limit, relu, tanh
from numerics import expect_sde, simulate_sde
from numerics.depth_levels import NetworkLevels
from numerics.expectations import Levels, Problem
from numerics.networks.initial import checked_start
from numerics.networks.simulate import ensemble
from numerics.schemes import find_scheme

ERROR, T = 1e-4, 1.0


def smooth(states: np.ndarray) -> np.ndarray:
    """The averaged function."""
    return np.tanh(states[:, 0])


def main() -> None:
    """Print both costs; Euler's is that of a thousandth of its paths, times a thousand."""
    limit = depth_limit(ResNet(tanh, width=1))
    euler = Levels(Problem(limit, smooth, np.ones(1), T), find_scheme("euler_maruyama"), 0, 1)
    steps = 2
    while euler.bias_at(steps, 1 << 18) > ERROR / np.sqrt(2):
        steps *= 2
    sample = smooth(simulate_sde(limit, 1.0, T, steps, 100_000, backend="numba"))
    paths = int(np.ceil(2 * sample.var() / ERROR**2))
    start = process_time()
    simulate_sde(limit, 1.0, T, steps, max(1, paths // 1000), backend="numba")
    slow = 1000 * (process_time() - start)
    expect_sde(limit, smooth, 1.0, T, tol=100 * ERROR)  # compiles
    start = process_time()
    budget = expect_sde(limit, smooth, 1.0, T, tol=ERROR)
    fast = process_time() - start
    print(f"Euler, {paths:.1e} paths x {steps} steps: {slow:.0f} s (from a thousandth of them)")
    print(f"{budget}: {fast:.1f} s")
    print(f"ratio {slow / fast:.0f}")
    print(
        "\nlevels of networks: rate of the variance, layers in all at errors of 1e-2, 1e-3, and the power that they grow with"
    )
    for name, network in {
        "ResNet(tanh, width=4)": ResNet(tanh, width=4),
        "MLPBlock(relu, width=4)": MLPBlock(relu, width=4),
    }.items():
        task = ensemble(network, 2, partial(checked_start, 1.0, None, 1.0, 1, architecture=network), "state", T)
        levels = NetworkLevels(task, lambda x: np.tanh(x[:, 0, 0]), 0, 1)
        for _ in range(6):
            levels.extend()
        first, second = (levels.predicted_cost(tol) for tol in (1e-2, 1e-3))
        print(f"{name:<20} {levels.rate:>6.2f} {first:>10.1e} {second:>10.1e} {np.log10(second / first):>6.2f}")


if __name__ == "__main__":
    main()
