"""Accuracy of the kernels' regressors on scikit-learn's digits: ``python docs/docs_digits.py`` prints the table of the page."""

from __future__ import annotations

import numpy as np
import sympy as sp

from derivations import ShrinkingResNet, identity, relu, tanh
from numerics import NNGPRegressor, NTKRegressor

DEPTHS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
NOISE = 0.01


def split(train: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels between 0 and 1, split by class; targets are one-hot and centred."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    seen, new, of_seen, of_new = train_test_split(
        pixels / 16, labels, train_size=train, random_state=0, stratify=labels
    )
    return seen, np.eye(10)[of_seen] - 0.1, new, of_new


def accuracy(model: object, data: tuple[np.ndarray, ...]) -> float:
    """The share of new digits whose largest output is the right one."""
    seen, targets, new, truth = data
    return float(np.mean(model.fit(seen, targets).predict(new).argmax(axis=1) == truth))


def table() -> tuple[dict[str, list[float]], float, float]:
    """By model the accuracies at ``DEPTHS``, and those of Gaussian processes with an RBF and with a linear kernel."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    data = split()
    rows = {
        f"{name}, {inner} inside": [
            accuracy(model(ShrinkingResNet(tanh, inner, width=sp.oo), t, noise=NOISE), data) for t in DEPTHS
        ]
        for inner in (relu, identity)
        for name, model in (("NNGP", NNGPRegressor), ("NTK", NTKRegressor))
    }
    rows.pop("NTK, identity inside")
    kernels = (ConstantKernel() * RBF(3.0) + WhiteKernel(NOISE), DotProduct() + WhiteKernel(NOISE))
    rbf, linear = (accuracy(GaussianProcessRegressor(kernel, random_state=0), data) for kernel in kernels)
    return rows, rbf, linear


def markdown() -> str:
    """The table as it stands on the page."""
    rows, rbf, linear = table()
    lines = ["| model | " + " | ".join(f"t = {t:g}" for t in DEPTHS) + " |", "|---" * (1 + len(DEPTHS)) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{v:.3f}" for v in values) + " |" for name, values in rows.items()]
    lines += [
        f"| scikit-learn's GP, {name} | {value:.3f} |" + " |" * (len(DEPTHS) - 1)
        for name, value in (("RBF", rbf), ("linear", linear))
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
