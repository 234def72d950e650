"""Draw the figure of training at infinite width: ``python docs/make_dynamics_figures.py`` writes ``docs/figures/dynamics.svg``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sympy as sp

from derivations import Network, Weights, epsilon
from numerics import solve_training
from numerics.plots import Series, series_figure, svg

FIGURES = Path(__file__).parent / "figures"
LINEAR = Network(lambda x: x + epsilon * Weights("W")(x), width=sp.oo)
DEPTH, STEPS, RATE = 4, 30, 0.2


def data() -> tuple[np.ndarray, np.ndarray]:
    """Four inputs of six numbers, and their targets."""
    return np.random.default_rng(5).standard_normal((4, 6)), np.array([1.0, -1.0, 0.5, -0.5])


def trained(width: int, richness: float, seed: int) -> np.ndarray:
    """The losses of a linear residual network with weights drawn, trained by hand."""
    inputs, targets = data()
    rng = np.random.default_rng(seed)
    m, dimension = inputs.shape
    first, readout = rng.standard_normal((width, dimension)), rng.standard_normal(width)
    weights, size, losses = rng.standard_normal((DEPTH, width, width)), (DEPTH * width) ** -0.5, []
    for _ in range(STEPS + 1):
        states = [first @ inputs.T / dimension**0.5]
        for w in weights:
            states.append(states[-1] + size * w @ states[-1])
        errors = readout @ states[-1] / (richness * width) - targets
        losses.append((errors**2).mean() / 2)
        gradient, changes = np.outer(readout, errors) / (m * richness * width), []
        for w, x in zip(weights[::-1], states[-2::-1], strict=True):
            changes.append(size * gradient @ x.T)
            gradient = gradient + size * w.T @ gradient
        pace = RATE * richness**2 * width
        readout = readout - pace * states[-1] @ errors / (m * richness * width)
        first = first - pace * gradient @ inputs / dimension**0.5
        weights = weights - pace * np.array(changes[::-1])
    return np.array(losses)


def figure() -> str:
    """Losses against steps at three richnesses: the solution, and means of 10 networks of width 200 with their standard errors."""
    series, at = [], np.arange(STEPS + 1)
    for richness in (0.3, 1.0, 3.0):
        solved = solve_training(LINEAR, *data(), DEPTH, RATE, STEPS, richness)
        runs = np.array([trained(200, richness, seed) for seed in range(10)])
        name = f"γ₀ = {richness:g}"
        series.append(
            Series(f"{name}, width 200", at[::3], runs.mean(axis=0)[::3], runs.std(axis=0)[::3] / len(runs) ** 0.5)
        )
        series.append(Series(name, at, solved.losses))
    return svg(series_figure(series, "steps of gradient descent", "loss", log=True))


if __name__ == "__main__":
    (FIGURES / "dynamics.svg").write_text(figure(), encoding="utf-8")
