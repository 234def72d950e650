"""Draw the README's figures: ``python docs/make_figures.py`` writes them to ``docs/figures``."""

from __future__ import annotations

import sys
from pathlib import Path

from derivations import ResNet, derive, relu
from numerics import compile_law, simulate_network
from numerics.plots import density_figure, order_figure, svg
from numerics.statistics import Estimate, convergence_order

FIGURES = Path(__file__).parent / "figures"


def density(samples: int = 100_000, depth: int = 1000) -> str:
    """The README's example: ReLU networks of width 1 against the derived density."""
    d = derive(ResNet(relu, width=1))
    law = compile_law(d.law, x0=1.0, t=1.0)
    networks = simulate_network(d.architecture, depth=depth, samples=samples, x0=1.0, seed=0)
    return svg(density_figure(law.pdf, networks[:, 0, 0], x="state $x$ of the neuron in the last layer"))


def weak_order(samples: int = 100_000, depths: tuple[int, ...] = (4, 8, 16, 32)) -> str:
    """How fast networks approach the law: under it U = F(X) is uniform, so that the mean of (2U - 1)² is 1/3."""
    d = derive(ResNet(relu, width=1))
    law = compile_law(d.law, x0=1.0, t=0.25)
    biases = []
    for seed, depth in enumerate(depths):
        count = samples * (depth // depths[0]) ** 2  # the bias halves from depth to depth: so must its error
        u = law.cdf(simulate_network(d.architecture, depth, count, x0=1.0, t=0.25, seed=seed)[:, 0, 0])
        biases.append(Estimate.of((2 * u - 1) ** 2) - Estimate(1 / 3, 0.0))
    return svg(order_figure(depths, biases, convergence_order(depths, biases, corrected=False)))


def main(folder: Path = FIGURES) -> None:
    """Write all figures."""
    folder.mkdir(exist_ok=True)
    (folder / "density.svg").write_text(density(), encoding="utf-8")
    (folder / "order.svg").write_text(weak_order(), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
