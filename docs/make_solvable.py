"""Draw and tabulate the solvable activations: ``python docs/make_solvable.py`` writes the figure and prints the table.

The table stands in ``docs/solvable.md``; a test compares the two.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sympy as sp
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from derivations import ResNet, derive
from derivations.activations import (
    Activation,
    absolute,
    activation_from_potential,
    as_activation,
    identity,
    leaky_relu,
    ornstein_uhlenbeck,
    relu,
    tanh,
    unstable_ornstein_uhlenbeck,
)
from derivations.calculus.lamperti import LampertiForm, split
from derivations.symbols import state as x
from numerics import distribution, simulate_network
from numerics.plots import INK, NETWORKS, THEORY, Histogram, common_edges, svg

FIGURES = Path(__file__).parent / "figures"
z = sp.Symbol("z", real=True)


def on_half_line(expr: sp.Expr) -> sp.Expr:
    """A formula for x > 0, and 0 elsewhere."""
    return sp.Piecewise((0, x <= 0), (expr, True))


@dataclass(frozen=True)
class Example:
    """An activation under the name it has on the page, and where its networks are drawn from."""

    name: str
    activation: Activation
    x0: float = 1.0
    t: float = 0.5
    drawn: bool = True


def examples() -> list[Example]:
    """One of each family, and one that is none."""
    cylinder = activation_from_potential(z**2 + 3, z)
    given: list[tuple[str, object, float, float, bool]] = [
        ("2", sp.Integer(2), 1.0, 0.5, True),
        ("x", identity, 1.0, 0.5, False),
        ("2x + 1", 2 * x + 1, 1.0, 0.5, False),
        ("ReLU", relu, 1.0, 0.5, False),
        ("leaky ReLU, slope 1/3", leaky_relu(sp.Rational(1, 3)), -1.0, 1.0, True),
        ("\\|x\\|", absolute, 1.0, 0.5, False),
        ("x(1 − x)", x * (1 - x), 0.3, 1.0, True),
        ("x²", x**2, 1.0, 0.3, True),
        ("1 + x²", 1 + x**2, 0.0, 0.5, True),
        ("√x on x > 0", on_half_line(sp.sqrt(x)), 1.0, 0.5, True),
        ("x^(3/2) on x > 0", on_half_line(x ** sp.Rational(3, 2)), 1.0, 0.5, True),
        ("e^(−x)", sp.exp(-x), 0.0, 0.5, True),
        ("erfi activation", ornstein_uhlenbeck, 0.0, 0.3, True),
        ("erf activation", unstable_ornstein_uhlenbeck, 0.2, 0.5, True),
        ("parabolic cylinder, U = z² + 3", cylinder, 0.1, 0.3, True),
        ("tanh", tanh, 1.0, 1.0, True),
    ]
    return [Example(name, as_activation(f), x0, t, drawn) for name, f, x0, t, drawn in given]


KERNELS = {
    "FreeLaw": "Gauss",
    "OrnsteinUhlenbeckLaw": "Mehler",
    "MehlerLaw": "Mehler",
    "HalfLineLaw": "Gauss with an image",
    "IntervalLaw": "theta series",
    "BesselLaw": "Bessel",
    "RadialOrnsteinUhlenbeckLaw": "Bessel, with a pull",
}


def table() -> str:
    """One row for each interval in which a network moves."""
    rows = ["| φ | interval | U | kernel | law |", "|---|---|---|---|---|"]
    for example in examples():
        d = derive(ResNet(example.activation, width=1))
        if d.law is None:
            (form, *_) = [form for form in split(d.limit) if isinstance(form, LampertiForm)]
            rows.append(f"| {example.name} | | {_potential(form.potential)} | none known | solved by Fokker–Planck |")
            continue
        for part in d.law.parts:
            kind = type(part).__name__
            if kind not in KERNELS:
                continue
            low, high = (str(end).replace("oo", "∞").replace("-", "−") for end in part.form.interval)
            rows.append(
                f"| {example.name} | ({low}, {high}) | {_potential(part.form.potential)} | {KERNELS[kind]} | {part.name} |"
            )
    return "\n".join(rows)


def _potential(v: sp.Expr) -> str:
    shown = f"`{v}`"
    return shown if len(shown) < 60 and not v.has(sp.Function("Weber")) and "Weber" not in shown else "α²z² + γ along z"


def densities(samples: int = 20_000, depth: int = 1000) -> str:
    """A panel for each family: the derived density as a line, networks as a histogram."""
    drawn = [e for e in examples() if e.drawn]
    figure = Figure(figsize=(9.0, 9.6), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(4, 3).ravel()
    for axes, example in zip(panels, drawn, strict=True):
        _panel(axes, example, samples, depth)
    figure.supxlabel("state of the neuron in the last layer", color=INK)
    figure.supylabel("probability density", color=INK)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, labelcolor=INK
    )
    return svg(figure)


def _panel(axes: Axes, example: Example, samples: int, depth: int) -> None:
    law = distribution(derive(ResNet(example.activation, width=1)), x0=example.x0, t=example.t)
    with np.errstate(over="ignore", invalid="ignore"):  # a polynomial network whose state passes √L runs away
        net = ResNet(example.activation, width=1)
        ends = simulate_network(net, depth, samples, x0=example.x0, t=example.t, seed=0)[:, 0, 0]
    lost = float(np.mean(~np.isfinite(ends)))
    ends = np.where(np.isfinite(ends), ends, np.finfo(float).max / 4)
    if lost:
        print(f"{example.name}: {lost:.2%} of the networks overflow")
    edges = common_edges(ends, bins=40)
    if law.atoms:  # what is stopped at 0 lies within a step of it
        edges = np.linspace(0.0, edges[-1], 41)
        mass = law.atoms[0][1]
        axes.annotate(
            f"atom at 0: {mass:.3f}\nnetworks: {np.mean(ends <= edges[1] / 20):.3f}",
            (0.5, 0.8), xycoords="axes fraction", color=INK, fontsize="small",
        )  # fmt: skip
    bars = Histogram.of(ends, edges)
    line = np.linspace(edges[0], edges[-1], 600)[1:-1]
    curve = law.pdf(line)
    axes.stairs(bars.height, bars.edges, fill=True, color=NETWORKS, alpha=0.25)
    axes.errorbar(
        bars.centre, bars.height, bars.error, fmt="none", ecolor=NETWORKS, elinewidth=1.0, label="networks ± s.e."
    )
    axes.plot(line, curve, color=THEORY, linewidth=1.6, label="derived density")
    axes.set_ylim(0.0, 1.15 * max(np.quantile(curve, 0.995), bars.height[1:-1].max()))
    axes.set_title(
        f"φ = {example.name}".replace("\\", "") + (", solved" if law.error > 0 else ""), color=INK, fontsize="medium"
    )
    axes.tick_params(which="both", color=INK, labelcolor=INK, labelsize="small")
    for name, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(name in ("left", "bottom"))


def main(folder: Path = FIGURES) -> None:
    """Write the figure, print the table."""
    folder.mkdir(exist_ok=True)
    (folder / "solvable.svg").write_text(densities(), encoding="utf-8")
    print(table())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
