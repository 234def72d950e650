"""Draw the figures of the joint limits: ``python docs/make_joint_figures.py`` writes them to ``docs/figures``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy import stats

from derivations import MLP, ShapedMLP, joint_limit, relu, tanh
from numerics.functional import CollapseLaw
from numerics.perceptrons import simulate_collapse, simulate_gram
from numerics.plots import density_figure, svg

FIGURES = Path(__file__).parent / "figures"


def stationary(width: int = 100, samples: int = 20_000) -> str:
    """Shaped tanh with a = 1/2: κ = -8, Gamma(7, 8), against networks after two units of time."""
    net = ShapedMLP(tanh, inputs=1, a=0.5, width=width)
    norms = simulate_gram(net, 2 * width, samples, [[1.0]], seed=0)[:, 0, 0]
    return svg(density_figure(stats.gamma(7, scale=1 / 8).pdf, norms, x="squared norm $V$ after two units of time"))


def functional(width: int = 400, samples: int = 4000) -> str:
    """Unshaped ReLU at t = 1/2 from ρ = 0.3, against the density of the exponential functional."""
    law = CollapseLaw(joint_limit(MLP(relu, inputs=2)), 0.5)
    gaps = simulate_collapse(MLP(relu, inputs=2, width=width), width // 2, samples, 0.7, seed=0)
    return svg(density_figure(law.pdf, 1 / (width * np.sqrt(gaps)), x=r"$w = 1/(n\sqrt{1 - \rho})$"))


def main(folder: Path = FIGURES) -> None:
    """Write all figures."""
    folder.mkdir(exist_ok=True)
    (folder / "stationary.svg").write_text(stationary(), encoding="utf-8")
    (folder / "functional.svg").write_text(functional(), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
