"""Draw the figures of shrinking blocks and of infinite width: ``python docs/make_wide_figures.py`` writes to ``docs/figures``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import sympy as sp
from scipy import stats

from derivations import (
    ConvResNet,
    ShapedMLP,
    ShrinkingResNet,
    TransformerBlock,
    depth_limit,
    identity,
    relu,
    silu,
    tanh,
    width_limit,
)
from derivations.backward import jacobian
from derivations.kernels import explosion_depth
from numerics import (
    kernel_matrix,
    sample_tangent_kernel,
    simulate_jacobian,
    simulate_network,
    simulate_sde,
    solve_flow,
)
from numerics.plots import Series, comparison_figure, density_figure, series_figure, svg
from numerics.statistics import Estimate

FIGURES = Path(__file__).parent / "figures"


def shrinking(samples: int = 40_000, depth: int = 128) -> str:
    """A neuron of SiLU blocks around tanh, width 3, against the derived diffusion."""
    network = ShrinkingResNet(silu, tanh, width=3, bias_variance=1)
    networks = simulate_network(network, depth, samples, x0=1.0, seed=0)[:, 0, 0]
    paths = simulate_sde(depth_limit(network), x0=np.ones(3), t=1.0, steps=depth, samples=samples, seed=1)[:, 0]
    return svg(comparison_figure(networks, paths, "state of the first neuron at $t = 1$"))


def convolution(channels: int = 32, samples: int = 500) -> str:
    """The kernel along the positions of one image, with and without a border."""
    grid, series = 8, []
    image = np.zeros((1, 1, grid))
    image[0, 0, :3] = 2.0
    times = np.linspace(0, 2, 5)
    for circular, name in ((True, "circular"), (False, "zero padding")):
        wide = ConvResNet(tanh, relu, width=sp.oo, positions=(grid,), filter=(3,), circular=circular)
        finite = ConvResNet(tanh, relu, width=channels, positions=(grid,), filter=(3,), circular=circular)
        line = [kernel_matrix(wide, image, t=t)[0, 0] for t in times]
        at = [0, 128, 256]
        x = simulate_network(finite, at[-1], samples, inputs=image, t=2.0, seed=2, at=at)
        seen = [Estimate.of(np.mean(layer**2, axis=(1, 2))) for layer in x]
        series.append(Series(f"kernel, {name}", times, line))
        series.append(
            Series(f"{channels} channels, {name}", [0, 1, 2], [e.value for e in seen], [e.error for e in seen])
        )
    return svg(series_figure(series, "depth $t$", "kernel of the image, averaged over positions"))


def tokens(samples: int = 12, depth: int = 500, t: float = 10.0) -> str:
    """Correlations of eight characters of the licence in transformer blocks of width 64, and their norms."""
    text = (Path(__file__).parents[1] / "LICENSE").read_text(encoding="utf-8").split("\n\n")[2][:8]
    places = [[c == letter for c in text] for letter in sorted(set(text))]
    features = np.vstack([places, np.eye(8)]) / np.sqrt(2)
    upper, at = np.triu_indices(8), [0, 25, 50, 100, 150, 200, 300, 400, 500]
    series = []
    for masked, name in ((False, "all tokens"), (True, "earlier tokens")):
        block = TransformerBlock(width=64, positions=(8,), activation=relu, masked=masked)
        path = solve_flow(
            width_limit(replace(block, width=sp.oo)), (features.T @ features)[upper], t=t, rtol=1e-3, atol=1e-4
        )
        gram = simulate_network(
            block, depth, samples, inputs=np.sqrt(len(features)) * features[None], t=t, seed=5, at=at, record="gram"
        )
        times = np.linspace(0, t, 60)
        kernel = np.zeros((60, 8, 8))
        kernel[:, upper[0], upper[1]] = path(times)
        series.append(Series(f"derived, {name} seen", times, _alike(kernel + np.swapaxes(np.triu(kernel, 1), 1, 2))))
        seen = [Estimate.of(_alike(layer)) for layer in gram]
        where = [t * layer / depth for layer in at]
        series.append(Series("64 neurons", where, [e.value for e in seen], [e.error for e in seen]))
    return svg(series_figure(series, "depth $t$ (500 layers are 10)", "mean correlation of two tokens"))


def _alike(kernel: np.ndarray) -> np.ndarray:
    """The mean correlation of different tokens."""
    root = np.sqrt(np.einsum("...ii->...i", kernel))
    p = kernel.shape[-1]
    return ((kernel / root[..., :, None] / root[..., None, :]).sum((-1, -2)) - p) / (p * (p - 1))


def determinant(samples: int = 40_000, depth: int = 128) -> str:
    """log|det J| of tanh blocks around the identity, width 3, against the derived normal law."""
    network = ShrinkingResNet(tanh, identity, width=3)
    volume = jacobian(network).log_det
    law = stats.norm(float(volume.drift), np.sqrt(float(volume.rate)))
    _, jacobians = simulate_jacobian(network, depth, samples, [1.0, -0.5, 0.3], seed=3)
    return svg(density_figure(law.pdf, np.linalg.slogdet(jacobians).logabsdet, x=r"$\log|\det J_1|$"))


def gradient(width: int = 64, samples: int = 1000) -> str:
    """Logarithms of the squared gradient of a random readout of shaped tanh perceptrons in the input: mean and variance against depth."""
    law, times = jacobian(ShapedMLP(tanh, a=1)).kernel_law, np.linspace(1 / 16, 1, 16)
    logs = [np.log(sample_tangent_kernel(law, 20_000, t=t, of="gradient", seed=3)) for t in times]
    series = [
        Series("mean, derived", times, [v.mean() for v in logs]),
        Series("variance, derived", times, [v.var() for v in logs]),
    ]
    seen, where, readout = [], (0.125, 0.25, 0.5, 1.0), np.random.default_rng(2)
    for t in where:
        _, jacobians = simulate_jacobian(
            ShapedMLP(tanh, width=width, a=1), round(t * width), samples, np.ones(width), seed=1
        )
        back = np.einsum("zij,zi->zj", jacobians, readout.standard_normal((samples, width)) / np.sqrt(width))
        values = np.log((back**2).sum(axis=1))
        seen.append((Estimate.of(values), Estimate.variance_of(values)))
    for k, name in enumerate(("mean", "variance")):
        found = [pair[k] for pair in seen]
        series.append(Series(f"{name}, {width} neurons", where, [e.value for e in found], [e.error for e in found]))
    return svg(series_figure(series, "depth over width $t$", r"$\log|\partial f/\partial x_0|^2$"))


def explosion(samples: int = 100) -> str:
    """SiLU around the identity from K = 1/4: the kernel's inverse root falls on a line to 0."""
    depth = float(
        explosion_depth(ShrinkingResNet(silu, identity, width=sp.oo)).subs(sp.Symbol("K_0", positive=True), 0.25)
    )
    times = np.linspace(0, depth, 17)
    series = [Series("derived", times, 2 - times / 4)]
    for size in (16, 256):
        network = ShrinkingResNet(silu, identity, width=size)
        kept = simulate_network(
            network, 10 * size, samples, inputs=[[0.5]], t=10.0, seed=size, at=[k * size for k in range(11)],
            record=lambda x: 1 / np.sqrt(np.mean(x**2, axis=(1, 2))),
        )  # fmt: skip
        seen = [Estimate.of(row) for row in kept]
        name = f"width {size}, {size} layers per unit of $t$"
        series.append(Series(name, np.arange(11), [e.value for e in seen], [e.error for e in seen]))
    return svg(series_figure(series, "depth $t$", r"$(\frac{1}{n}\sum_i x_i^2)^{-1/2}$"))


def digits() -> str:
    """Accuracy on the digits against depth, as the page on inference computes it."""
    from docs_digits import DEPTHS, table

    rows, rbf, linear = table()
    lines = [Series(name, DEPTHS, values) for name, values in rows.items()]
    lines = lines[:3]
    flat = [Series(name, DEPTHS, [value] * len(DEPTHS)) for name, value in (("GP, RBF", rbf), ("GP, linear", linear))]
    return svg(series_figure(lines + flat, "depth $t$", "test accuracy"))


def main(folder: Path = FIGURES) -> None:
    """Write all figures."""
    folder.mkdir(exist_ok=True)
    for draw in (shrinking, convolution, determinant, gradient, explosion, digits, tokens):
        (folder / f"{draw.__name__}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
