"""NNGP and NTK of 1000 inputs at t = 1, against a 100-layer recursion written in NumPy (run as a script; no timed test)."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import sympy as sp

from derivations import ShrinkingResNet, erf, gelu, relu, tanh
from numerics.kernels import kernel_matrices

LAYERS = 100


def finite_depth(X: np.ndarray, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ReLU kernels of an infinitely wide network of finite depth, layer by layer."""
    k = X @ X.T / X.shape[1]
    theta, h = k.copy(), 1.0 / layers
    for _ in range(layers):
        norms = np.sqrt(np.diag(k))
        scale = np.outer(norms, norms)
        rho = np.clip(k / scale, -1.0, 1.0)
        angle = np.pi - np.arccos(rho)
        product = scale * (np.sqrt(1 - rho**2) + rho * angle) / (2 * np.pi)
        theta = theta + h * (product + theta * angle / (2 * np.pi))
        k = k + h * product
    return k, theta


def main() -> None:
    """Print seconds."""
    X = np.random.default_rng(0).normal(size=(1000, 50))
    start = perf_counter()
    finite_depth(X, LAYERS)
    print(f"{'recursion, ' + str(LAYERS) + ' layers, ReLU':<32} {perf_counter() - start:7.2f} s")
    for inner in (relu, erf, gelu):
        network = ShrinkingResNet(tanh, inner, sp.oo)
        kernel_matrices(network, X[:3])  # derive and compile once
        start = perf_counter()
        kernel_matrices(network, X, tolerance=1e-9, workers=2)
        print(f"{inner!s:<32} {perf_counter() - start:7.2f} s")


if __name__ == "__main__":
    main()
