"""The figures of docs/results/norm-growth.md: ``python docs/make_result_figures.py``."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from derivations import ResNet, relu
from numerics import simulate_network
from numerics.plots import save
from numerics.plots.figures import INK, new_axes

WIDTHS, END, LAYERS, SAMPLES = range(2, 13), 400, 16, 4000
SHOWN = 60  # where the lines end
LINES = (2, 3, 4, 5, 6, 8, 10)
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


def draw_lines(found: dict[int, tuple[np.ndarray, np.ndarray]], times: np.ndarray) -> Axes:
    """The growth of each width against depth."""
    axes = new_axes(None, "time $t$", r"mean of $\log\|\varphi(X_t)\| - \log\|\varphi(X_0)\|$", (6.4, 4.2))
    for width in LINES:
        mean, error = (values[: 4 * SHOWN] for values in found[width])
        (line,) = axes.plot(times, mean)
        axes.fill_between(times, mean - 2 * error, mean + 2 * error, alpha=0.2, color=line.get_color(), linewidth=0)
        last = np.flatnonzero((mean > LOW + 0.4) & (mean < HIGH - 0.2))[-1]
        style = {"textcoords": "offset points", "va": "center", "color": line.get_color()}
        axes.annotate(f"n = {width}", (times[last], mean[last]), (4, 0), **style)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_ylim(LOW, HIGH)
    return axes


def draw_signs(found: dict[int, tuple[np.ndarray, np.ndarray]], times: np.ndarray) -> Axes:
    """The sign of the growth over width and depth: 1, -1, or 0 within two standard errors."""
    axes = new_axes(None, "width $n$", "time $t$", (6.4, 4.2))
    signs = np.array([np.sign(mean) * (np.abs(mean) > 2 * error) for mean, error in found.values()]).T
    colors = ListedColormap(["#3b6fb6", "#d9d9d9", "#d1495b"])
    axes.pcolormesh(list(found), times, signs, cmap=colors, vmin=-1.5, vmax=1.5, shading="nearest", rasterized=True)
    words = ("smaller than at the start", "undecided within two standard errors", "larger than at the start")
    handles = [Patch(color=colors(k), label=word) for k, word in enumerate(words)]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=1, fontsize=8, frameon=False)
    axes.set_yscale("log")
    axes.set_xticks(list(found))
    return axes


if __name__ == "__main__":
    found = {width: growth(width) for width in WIDTHS}
    times = np.arange(1, 4 * END + 1) / 4
    figures = Path(__file__).parent / "figures"
    save(draw_lines(found, times[: 4 * SHOWN]), figures / "norm-growth.svg")
    save(draw_signs(found, times), figures / "norm-sign.svg")
