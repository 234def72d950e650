"""Draw the figures of the joint limits: ``python docs/make_joint_figures.py`` writes them to ``docs/figures``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import sympy as sp
from scipy import integrate, stats

from derivations import MLP, ResNet, ShapedMLP, joint_limit, relu, tanh, width_limit
from numerics import compile_expression, simulate_collapse, simulate_gram, simulate_network
from numerics.exponential_functional import CollapseLaw
from numerics.plots import Course, Followed, course_figure, density_figure, svg

FIGURES = Path(__file__).parent / "figures"


def stationary(width: int = 100, samples: int = 20_000) -> str:
    """Shaped tanh with a = 1/2: κ = -8, Gamma(7, 8), against networks after two units of time."""
    net = ShapedMLP(tanh, inputs=1, a=0.5, width=width)
    norms = simulate_gram(net, 2 * width, samples, [[1.0]], seed=0, record="conditional gram")[:, 0, 0]
    return svg(density_figure(stats.gamma(7, scale=1 / 8).pdf, norms, x="squared norm $V$ after two units of time"))


def functional(width: int = 400, samples: int = 4000) -> str:
    """Unshaped ReLU at t = 1/2 from ρ = 0.3, against the density of the exponential functional."""
    law = CollapseLaw(joint_limit(MLP(relu, inputs=2)), 0.5)
    gaps = simulate_collapse(
        MLP(relu, inputs=2, width=width), width // 2, samples, 0.7, seed=0, record="conditional gap"
    )
    return svg(density_figure(law.pdf, 1 / (width * np.sqrt(gaps)), x=r"$w = 1/(n\sqrt{1 - \rho})$"))


def correlation(v: np.ndarray) -> np.ndarray:
    """Correlation of two inputs, from Gram matrices."""
    return v[..., 0, 1] / np.sqrt(v[..., 0, 0] * v[..., 1, 1])


def two_networks(width: int = 400, layers: int = 20, samples: int = 2000) -> str:
    """Correlation from 0.3 in a residual network and a shaped perceptron, with the one flow that both have."""
    half, start = sp.Rational(1, 2), np.array([[1.0, 0.3], [0.3, 1.0]])
    shaped = ShapedMLP(relu, inputs=2, c_plus=half, c_minus=-half, width=width, rate=half / 2, depth_rate=half)
    at = range(0, layers + 1, 2)
    perceptrons = simulate_gram(shaped, layers, samples, start, seed=0, at=at, record="conditional gram")
    residual = simulate_network(
        ResNet(relu, width=width, inputs=2),
        layers,
        samples,
        inputs=np.sqrt(2) * np.linalg.cholesky(start),
        seed=1,
        at=at,
        record=lambda x: np.einsum("sia,sib->sab", x, x) / width,
    )
    flow = width_limit(ResNet(relu, width=float("inf"), inputs=2))
    velocity = compile_expression(flow.states, tuple(flow.drift))
    times = np.linspace(0.0, 1.0, 101)
    solved = integrate.solve_ivp(lambda _, k: np.ravel(velocity(*k)), (0, 1), [1, 0.3, 1], t_eval=times, rtol=1e-9)
    rho = solved.y[1] / np.sqrt(solved.y[0] * solved.y[2])
    line, still = Course(times, rho, np.zeros_like(rho)), np.array(at) / layers
    followed = [
        Followed(name, line, Course.of(still, r))
        for name, r in (("residual network", correlation(residual)), ("shaped perceptron", correlation(perceptrons)))
    ]
    return svg(course_figure(followed, r"correlation $\rho$"))


def main(folder: Path = FIGURES) -> None:
    """Write all figures."""
    folder.mkdir(exist_ok=True)
    (folder / "stationary.svg").write_text(stationary(), encoding="utf-8")
    (folder / "equivalence.svg").write_text(two_networks(), encoding="utf-8")
    (folder / "functional.svg").write_text(functional(), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
