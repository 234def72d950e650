r"""Figures: what the theory says as lines, what was simulated as bars and points with standard errors.

Every function returns a :class:`matplotlib.figure.Figure` of its own; no global state is touched. Colours are those of
Okabe and Ito, which stay apart for colour-blind readers, and a line style or marker says the same again.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from derivations.errors import kind_of
from numerics.statistics import Slope, standard_error

Array = NDArray[np.float64]

#: Okabe and Ito's blue, vermilion, bluish green, reddish purple, orange.
THEORY, NETWORKS, THIRD, FOURTH, FIFTH = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"
SERIES = (THEORY, NETWORKS, THIRD, FOURTH, FIFTH)
#: Axes and text: a colour that :func:`inline_svg` replaces by that of the surrounding text.
INK = "#333334"
SIZE = (4.8, 3.3)  # inches: two figures side by side on a desk, one on a phone, with legible text on both


def _axes(x: str, y: str, size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    axes = new_axes(None, x, y, size)
    return cast(Figure, axes.figure), axes


def new_axes(axes: Axes | None, x: str, y: str, size: tuple[float, float] = SIZE) -> Axes:
    """The axes that are given, or those of a figure of its own, with their names."""
    if axes is None:
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
    elif not isinstance(axes, Axes):
        raise ValueError(f"axes must be Matplotlib's, got {kind_of(axes)}; leave them out for new ones")
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(which="both", color=INK, labelcolor=INK)
    for name, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(name in ("left", "bottom"))
    return axes


def legend(figure: Figure, columns: int = 2) -> None:
    """Names above the axes, where they cover nothing."""
    figure.legend(
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        fontsize="small",
        labelcolor=INK,
        handlelength=1.4,
        columnspacing=1.2,
    )


@dataclass(frozen=True)
class Histogram:
    r"""A histogram as a density with the standard error of each bar.

    Of N independent values a bin holds a binomial number with mean Np, so its height :math:`\hat p/\Delta` has
    standard error :math:`\sqrt{\hat p (1 - \hat p)/N}/\Delta`.
    """

    edges: Array
    height: Array
    error: Array

    @classmethod
    def of(cls, sample: ArrayLike, edges: ArrayLike) -> Histogram:
        """Count a sample in bins; values outside them count as values."""
        values, edges = np.asarray(sample, dtype=float), np.asarray(edges, dtype=float)
        share = np.histogram(values, edges)[0] / len(values)
        width = np.diff(edges)
        return cls(edges, share / width, np.sqrt(share * (1.0 - share) / len(values)) / width)

    @property
    def centre(self) -> Array:
        """Middles of the bins."""
        return (self.edges[1:] + self.edges[:-1]) / 2.0


def common_edges(*samples: ArrayLike, bins: int = 50, beyond: float = 0.03) -> Array:
    """Equal bins over the shortest interval that holds all but a share ``beyond`` of the samples.

    So a heavy tail on one side does not squeeze the bulk into a few bins. What is not finite is left out.
    """
    pooled = np.concatenate([np.ravel(np.asarray(s, dtype=float)) for s in samples])
    pooled = np.sort(pooled[np.isfinite(pooled)])
    outside = int(beyond * len(pooled))
    first = int(np.argmin(pooled[len(pooled) - 1 - outside :] - pooled[: outside + 1]))
    low, high = pooled[first], pooled[len(pooled) - 1 - outside + first]
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def density_figure(
    pdf: Callable[[Array], Array],
    sample: ArrayLike,
    x: str = "state $x$",
    label: str = "derived density",
    bins: int = 50,
) -> Figure:
    """A derived density as a line over a histogram of networks with standard-error bars.

    Parameters
    ----------
    pdf : callable
        Density of the absolutely continuous law, per unit of the state.
    sample : array, shape (samples,)
        States of simulated networks.
    x, label : str
        Name of the state on the axis, and of the line in the legend.
    """
    bars = Histogram.of(sample, common_edges(sample, bins=bins))
    figure, axes = _axes(x, "probability density")
    _bars(axes, bars, f"{len(np.asarray(sample)):,} networks ± s.e.".replace(",", "\N{THIN SPACE}"))
    line = np.linspace(bars.edges[0], bars.edges[-1], 600)
    axes.plot(line, pdf(line), color=THEORY, linewidth=2.0, label=label)
    axes.set_ylim(bottom=0.0)
    legend(figure)
    return figure


def comparison_figure(networks: ArrayLike, sde: ArrayLike, x: str, bins: int = 50) -> Figure:
    """Two histograms in the same bins: networks as bars, the simulated diffusion as a stepped band of ± one standard error."""
    edges = common_edges(networks, sde, bins=bins)
    bars, steps = Histogram.of(networks, edges), Histogram.of(sde, edges)
    figure, axes = _axes(x, "probability density")
    _bars(axes, bars, "networks ± s.e.")
    axes.stairs(steps.height, edges, color=THEORY, linewidth=1.6, label="derived diffusion ± s.e.")
    axes.stairs(
        steps.height + steps.error, edges, baseline=steps.height - steps.error, fill=True, color=THEORY, alpha=0.3
    )
    axes.set_ylim(bottom=0.0)
    legend(figure)
    return figure


def _bars(axes: Axes, bars: Histogram, label: str) -> None:
    axes.stairs(bars.height, bars.edges, fill=True, color=NETWORKS, alpha=0.25)
    axes.errorbar(bars.centre, bars.height, bars.error, fmt="none", ecolor=NETWORKS, elinewidth=1.1, label=label)


@dataclass(frozen=True)
class Course:
    """A quantity in the course of depth: its mean over samples at some times, with standard errors."""

    time: Array
    mean: Array
    error: Array

    @classmethod
    def of(cls, time: ArrayLike, values: ArrayLike) -> Course:
        """Averages of values of shape (times, samples)."""
        rows = np.asarray(values, dtype=float)
        return cls(np.asarray(time, dtype=float), rows.mean(axis=1), np.array([standard_error(row) for row in rows]))


@dataclass(frozen=True)
class Followed:
    """One followed quantity: by the diffusion, by networks, and at infinite width where that is known."""

    name: str
    diffusion: Course
    networks: Course
    wide: Course | None = None


def course_figure(followed: Sequence[Followed], y: str, background: Sequence[Followed] = ()) -> Figure:
    """Means against depth: the diffusion as a line with a band, networks as points with bars, infinite width dashed.

    Parameters
    ----------
    followed : sequence of Followed
        At most five, which get a colour each.
    background : sequence of Followed
        Further ones, drawn thin and without a name.
    """
    figure, axes = _axes("depth, as time $t$", y, (4.8, 3.6))
    for one in background:
        axes.plot(one.diffusion.time, one.diffusion.mean, color=INK, alpha=0.25, linewidth=0.7)
        axes.plot(one.networks.time, one.networks.mean, ".", color=INK, alpha=0.35, markersize=2.5)
    for color, one in zip(SERIES, followed, strict=False):
        line, dots = one.diffusion, one.networks
        axes.fill_between(
            line.time, line.mean - line.error, line.mean + line.error, color=color, alpha=0.3, linewidth=0
        )
        axes.plot(line.time, line.mean, color=color, linewidth=1.6, label=one.name)
        axes.errorbar(dots.time, dots.mean, dots.error, fmt="o", color=color, markersize=3.5, elinewidth=1.1)
        if one.wide is not None:
            axes.plot(one.wide.time, one.wide.mean, "--", color=color, linewidth=1.0)
    legend(figure, 3)
    return figure


def order_figure(depths: Sequence[int], biases: Sequence[object], slope: Slope) -> Figure:
    """The bias of an expectation against depth on logarithmic axes, with the fitted weak order."""
    figure = cast(Figure, draw_order(depths, biases, slope).figure)
    legend(figure)
    return figure


def draw_order(depths: Sequence[int], biases: Sequence[object], slope: Slope, axes: Axes | None = None) -> Axes:
    """The same into given axes, without names."""
    values, errors = (np.array([getattr(b, name) for b in biases], dtype=float) for name in ("value", "error"))
    lengths = np.asarray(depths, dtype=float)
    axes = new_axes(axes, "depth $L$", r"$|\mathbb{E} f(X_L) - \mathbb{E} f(X_t)|$")
    axes.errorbar(lengths, np.abs(values), errors, fmt="o", color=NETWORKS, markersize=4, label="networks ± s.e.")
    fitted = slope.prefactor * lengths ** (-slope.order.value)
    axes.plot(lengths, fitted, color=THEORY, label=f"fitted order {slope.order.value:.2f} ± {slope.order.error:.2f}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.tick_params(which="both", color=INK, labelcolor=INK)
    return axes


@dataclass(frozen=True)
class Series:
    """Named points, with standard errors if they were simulated: those are drawn as points, the others as a line."""

    name: str
    x: ArrayLike
    y: ArrayLike
    error: ArrayLike | None = None


def series_figure(series: Sequence[Series], x: str, y: str, log: bool = False) -> Figure:
    """What was derived as lines and what was simulated as points with bars, the n-th of each in the same colour.

    Raises
    ------
    ValueError
        For more lines, or more sets of points, than there are colours.
    """
    figure, axes = _axes(x, y, (4.8, 3.6))
    lines = [one for one in series if one.error is None]
    dots = [one for one in series if one.error is not None]
    if max(len(lines), len(dots)) > len(SERIES):
        raise ValueError(
            f"expected at most {len(SERIES)} lines and as many sets of points, got {len(lines)} and {len(dots)}"
        )
    if log:
        axes.set_yscale("log")
    for color, style, one in zip(SERIES, ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))), lines, strict=False):
        axes.plot(one.x, one.y, linestyle=style, color=color, linewidth=1.7, label=one.name)
    for color, marker, one in zip(SERIES, "osD^v", dots, strict=False):
        axes.errorbar(
            one.x,
            one.y,
            one.error,
            fmt=marker,
            color=color,
            markersize=4,
            elinewidth=1.1,
            markerfacecolor="white",
            label=one.name,
        )
    legend(figure)
    return figure


def svg(figure: Figure) -> str:
    """A figure as a stand-alone SVG file on a white ground; the same figure gives the same text.

    Letters are outlines, so that the figure needs no font.
    """
    return _saved(figure, facecolor="white")


def _saved(figure: Figure, **colours: Any) -> str:
    """The text of a figure, drawn from a copy: the layout starts from where the last drawing left it, and ends elsewhere in the last digit."""
    out = StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "deeplimits"}):
        copy = pickle.loads(pickle.dumps(figure))
        copy.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, **colours)
    return _numbered(out.getvalue())


def _numbered(text: str) -> str:
    """Ids that count instead of Matplotlib's, some of which are hashes of addresses in memory."""
    found = dict.fromkeys(re.findall(r'(?:id="|url\(#|href="#)([a-z][0-9a-f]{10})\b', text))
    numbers = {name: f"{name[0]}{k}" for k, name in enumerate(found)}
    return re.sub(r"\b[a-z][0-9a-f]{10}\b", lambda match: numbers.get(match[0], match[0]), text)


def inline_svg(figure: Figure, name: str) -> str:
    """A figure as an ``<svg>`` element for a page: transparent, as wide as its box, with the page's ink.

    Parameters
    ----------
    name : str
        Prefix of the element's ids, which must differ from figure to figure on one page.
    """
    text = _saved(figure, transparent=True)
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace(INK, "currentColor")
    for index, color in enumerate(SERIES):
        text = text.replace(color, f"var(--series-{index}, {color})")
    return text
