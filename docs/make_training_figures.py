"""Draw the figures of training at depth: ``python docs/make_training_figures.py`` writes to ``docs/figures`` and prints the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from derivations import MLPBlock, Network, ResNet, ShapedMLP, ShrinkingResNet, Weights, relu, shaped, tanh
from numerics.plots import Series, series_figure, svg
from numerics.training import Trainability, trainability

FIGURES = Path(__file__).parent / "figures"
WIDTH = 32
RECIPES = {
    "branch not scaled": Network(lambda x: x + Weights("A")(relu(x)), width=WIDTH),
    "branch × L^(-1/2)": ResNet(relu, width=WIDTH),
    "shrinking, tanh": ShrinkingResNet(tanh, tanh, width=WIDTH),
    "pre-norm, two matrices": MLPBlock(relu, width=WIDTH, hidden=WIDTH, norm="rms"),
    "shaped MLP": ShapedMLP(shaped(relu, c_plus=0, c_minus=-1), width=WIDTH),
}


def digits() -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Standardised pixels: 1400 digits to train on, 397 for the test."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels - pixels.mean()) / pixels.std()
    return pixels[:1400], labels[:1400], (pixels[1400:], labels[1400:])


def runs(depths: tuple[int, ...] = (10, 100, 1000), steps: int = 200) -> dict[str, Trainability]:
    """All recipes at all depths."""
    images, labels, test = digits()
    return {
        name: trainability(recipe, depths, images, labels, test, steps=steps, seed=0)
        for name, recipe in RECIPES.items()
    }


def gradients(found: dict[str, Trainability], which: int = -1) -> str:
    """Mean squares of gradients against depth, measured and derived, at one number of layers, of recipes that have a limit."""
    series = []
    for name, run in found.items():
        row = run.rows[which]
        if row.derived_gradients is None or run.recipe.regime.is_joint:
            continue
        at = np.unique(np.linspace(0, row.depth - 1, 12).astype(int))
        place = (at + 1) / row.depth
        series.append(Series(name, place, row.gradients[at], np.zeros(len(at))))
        series.append(Series(f"{name}, derived", place, row.derived_gradients[at]))
    return svg(series_figure(series, "layer over the number of layers, 1000", "gradient², over the last layer's"))


def losses(found: dict[str, Trainability]) -> str:
    """The loss against steps, averaged over ten of them: of each recipe the deepest networks that learn."""
    series = []
    for name, run in found.items():
        learnt = [row for row in run.rows if len(row.losses) >= 20 and row.losses[-1] < 10]
        if not learnt:
            continue
        values = learnt[-1].losses
        means = values[: len(values) // 10 * 10].reshape(-1, 10).mean(axis=1)
        series.append(Series(f"{name}, depth {learnt[-1].depth}", 10 * np.arange(len(means)) + 5, means))
    return svg(series_figure(series, "step", "squared loss", log=True))


if __name__ == "__main__":
    found = runs()
    for name, run in found.items():
        print(name, run, "", sep="\n")
    (FIGURES / "gradients.svg").write_text(gradients(found), encoding="utf-8")
    (FIGURES / "training.svg").write_text(losses(found), encoding="utf-8")
