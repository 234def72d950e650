"""The figure of docs/results/norm-growth.md: ``python docs/make_result_figures.py``."""

from pathlib import Path

import numpy as np

from derivations import ResNet, relu
from numerics import simulate_network
from numerics.plots import save
from numerics.plots.figures import INK, new_axes

WIDTHS, END, LAYERS, SAMPLES = (2, 3, 4, 5, 6, 8, 10), 60, 16, 8000
LOW, HIGH = -6, 5


def growth(width: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean number of active neurons, integrated as the derived rate says; its standard error."""
    counts = simulate_network(
        ResNet(relu, width=width),
        END * LAYERS,
        SAMPLES,
        inputs=[[1.0]],
        t=float(END),
        seed=width,
        at=range(0, END * LAYERS + 1, LAYERS // 4),
        record=lambda x: np.count_nonzero(x > 0, axis=(1, 2)),
    )
    counts = np.asarray(counts)
    rate = (counts[:, counts[0] > 0] / 2 - 1) / width
    paths = np.cumsum((rate[1:] + rate[:-1]) / 8, axis=0)
    return paths.mean(axis=1), paths.std(axis=1) / paths.shape[1] ** 0.5


if __name__ == "__main__":
    axes = new_axes(None, "time $t$", r"mean of $\log\|\varphi(X_t)\| - \log\|\varphi(X_0)\|$", (6.4, 4.2))
    times = np.arange(1, 4 * END + 1) / 4
    for width in WIDTHS:
        mean, error = growth(width)
        (line,) = axes.plot(times, mean)
        axes.fill_between(times, mean - 2 * error, mean + 2 * error, alpha=0.2, color=line.get_color(), linewidth=0)
        last = np.flatnonzero((mean > LOW + 0.4) & (mean < HIGH - 0.2))[-1]
        style = {"textcoords": "offset points", "va": "center", "color": line.get_color()}
        axes.annotate(f"n = {width}", (times[last], mean[last]), (4, 0), **style)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_ylim(LOW, HIGH)
    save(axes, Path(__file__).parent / "figures" / "norm-growth.svg")
