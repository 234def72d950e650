r"""One call on a result: Matplotlib's axes in and out, labelled in the symbols of the derivation.

Each function draws into the axes that are given, or into new ones of a figure of its own, and returns the axes, whose ``figure`` is the
whole. No global state of Matplotlib is touched, so nothing pops up: show a figure in a notebook by naming it, keep it with :func:`save`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from derivations.derivation import Derivation
from derivations.diffusion import Diffusion, Flow, NeuronDiffusion
from derivations.errors import kind_of
from derivations.laws.base import Law
from derivations.notation.files import write_whole
from derivations.notation.latex import latex
from numerics import given
from numerics.flows import solve_flow
from numerics.limit_distribution import distribution
from numerics.paths import simulate_sde
from numerics.plots.figures import (
    INK,
    NETWORKS,
    SERIES,
    THEORY,
    Histogram,
    common_edges,
    draw_order,
    new_axes,
)
from numerics.plots.phases import draw_phase
from numerics.statistics import Slope

#: Probabilities outside of a density's line on either side.
_BEYOND = 2e-3
#: Bands of paths: the probabilities at their lower ends.
_BANDS = (0.05, 0.25)
_SHOWN_PATHS = 8


def plot_density(
    of: Any,
    x0: Any = 1.0,
    t: float = 1.0,
    samples: ArrayLike | None = None,
    axes: Axes | None = None,
    bins: int = 50,
) -> Axes:
    """The density of a law, over a histogram of samples with standard-error bars if they are given; atoms are stems.

    Parameters
    ----------
    of : Derivation, Diffusion, Law or frozen distribution
        A scalar one; all but a frozen one start at ``x0`` and are seen at time ``t``.
    samples : array, optional
        Numbers to compare with, such as states of networks.

    Examples
    --------
    >>> from derivations import ResNet, derive, relu
    >>> plot_density(derive(ResNet(relu, width=1)), x0=1.0, t=0.5).get_xlabel()
    'state $x$'
    """
    law = of if hasattr(of, "ppf") else distribution(of, x0=x0, t=t)
    axes = new_axes(axes, f"state ${_state_of(of)}$", "probability density")
    low, high = float(law.ppf(_BEYOND)), float(law.isf(_BEYOND))
    if samples is not None:
        values = np.ravel(np.asarray(samples, dtype=float))
        bars = Histogram.of(values, common_edges(values, bins=bins))
        axes.stairs(bars.height, bars.edges, fill=True, color=NETWORKS, alpha=0.25)
        label = f"{len(values)} samples ± s.e."
        axes.errorbar(bars.centre, bars.height, bars.error, fmt="none", ecolor=NETWORKS, elinewidth=1.1, label=label)
        low, high = min(low, bars.edges[0]), max(high, bars.edges[-1])
    if high > low:
        line = np.linspace(low, high, 600)
        axes.plot(line, law.pdf(line), color=THEORY, linewidth=2.0, label="derived density")
    for location, mass in law.atoms:
        axes.vlines(location, 0.0, mass, color=THEORY, linewidth=2.5, label=f"atom of probability {mass:.3g}")
    axes.set_ylim(bottom=0.0)
    return _named(axes)


@given.checked(samples=given.positive, steps=given.positive)
def plot_paths(
    limit: Diffusion | NeuronDiffusion | Derivation,
    x0: Any = 1.0,
    t: float = 1.0,
    state: int = 0,
    samples: int = 2000,
    steps: int = 200,
    seed: int = 0,
    axes: Axes | None = None,
) -> Axes:
    """Paths of one state of a limit: some of them, their median, and bands that hold half and nine tenths at each time.

    Parameters
    ----------
    limit : Diffusion, NeuronDiffusion or Derivation
    state : int
        Which of ``limit.states``, from 0.
    samples, steps : int
        Paths and steps of the simulation.
    """
    process = limit.limit if isinstance(limit, Derivation) else limit
    times = np.linspace(0.0, t, 61)
    paths = simulate_sde(process, x0=x0, t=t, steps=steps, samples=samples, seed=seed, times=times)
    seen = paths.reshape(*paths.shape[:2], -1)[..., state]
    seen = seen if len(seen) == len(times) else seen.T
    axes = new_axes(axes, "time $t$", f"${latex(process.states[state])}_t$")
    for low in _BANDS:
        lower, upper = np.quantile(seen, (low, 1 - low), axis=1)
        axes.fill_between(
            times, lower, upper, color=THEORY, alpha=0.18, linewidth=0, label=f"{1 - 2 * low:.0%} of the paths"
        )
    axes.plot(times, np.quantile(seen, 0.5, axis=1), color=THEORY, linewidth=2.0, label="median")
    axes.plot(times, seen[:, :_SHOWN_PATHS], color=NETWORKS, linewidth=0.6, alpha=0.8)
    return _named(axes)


def plot_course(
    flow: Flow | Derivation,
    x0: ArrayLike,
    t: float = 1.0,
    states: Sequence[Any] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """States of a deterministic limit against depth, such as second moments; of two inputs with their correlation.

    Parameters
    ----------
    flow : Flow or Derivation
    x0 : array, shape (states,)
    states : sequence of Symbol, optional
        Those to draw, at most four; by default the first ones.
    """
    process = flow.limit if isinstance(flow, Derivation) else flow
    if not isinstance(process, Flow):
        raise ValueError(
            f"a course is that of a limit without noise, got {kind_of(process)}; plot_paths draws limits with noise"
        )
    shown = list(process.states if states is None else states)[: len(SERIES) - 1]
    strange = [s for s in shown if s not in process.states]
    if strange:
        raise ValueError(f"{strange[0]} is no state of this flow; it has {', '.join(map(str, process.states))}")
    path = solve_flow(process, x0, t=t)
    times = np.linspace(0.0, path.end, 301)
    axes = new_axes(axes, "depth, as time $t$", "second moments" if len(shown) > 1 else f"${latex(shown[0])}$")
    for color, style, symbol in zip(SERIES, ("-", "--", "-.", ":"), shown, strict=False):
        axes.plot(
            times, path.of(symbol, times), color=color, linestyle=style, linewidth=1.8, label=f"${latex(symbol)}$"
        )
    names = {s.name: s for s in process.states}
    if states is None and len(shown) == 3 and {"K_11", "K_12", "K_22"} <= names.keys():
        k = [path.of(names[name], times) for name in ("K_11", "K_12", "K_22")]
        with np.errstate(divide="ignore", invalid="ignore"):
            axes.plot(times, k[1] / np.sqrt(k[0] * k[2]), color=INK, linewidth=1.2, label=r"correlation $\rho$")
    return _named(axes, 2)


def plot_kernel(kernel: ArrayLike, axes: Axes | None = None, label: str = "$K$") -> Axes:
    """A kernel matrix as a map of colours, inputs in order.

    Parameters
    ----------
    kernel : array, shape (m, m)
    label : str
        What the colours are.
    """
    matrix = np.asarray(kernel, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a kernel must have the shape (m, m), got {matrix.shape}")
    axes = new_axes(axes, "input", "input")
    shown = axes.imshow(matrix, cmap="cividis", interpolation="nearest")
    bar = axes.figure.colorbar(shown, ax=axes)
    bar.set_label(label, color=INK)
    bar.ax.tick_params(color=INK, labelcolor=INK)
    if len(matrix) <= 12:
        places = np.arange(len(matrix))
        axes.set_xticks(places, [str(k) for k in places + 1])
        axes.set_yticks(places, [str(k) for k in places + 1])
    return axes


def plot_phase(found: Any, x: Any = None, y: Any = None, most: float = 2.0, axes: Axes | None = None) -> Axes:
    """Where a network has a limit, in the plane of two exponents; as :func:`numerics.plots.phases.phase_figure`, into given axes."""
    return _named(draw_phase(found, x, y, most, axes), 3)


def plot_order(depths: Sequence[int], biases: Sequence[Any], slope: Slope, axes: Axes | None = None) -> Axes:
    """The bias of an expectation against depth on logarithmic axes, with the fitted weak order.

    Parameters
    ----------
    depths : sequence of int
    biases : sequence of Estimate
    slope : Slope
        As :func:`numerics.statistics.convergence_order` fits it.
    """
    return _named(draw_order(depths, biases, slope, axes))


def save(drawn: Axes | Figure, path: str | Path) -> Path:
    """Write a figure to a file in the format of its suffix, as a whole: ``.pdf`` for LaTeX, ``.svg`` the same text each time, ``.png``.

    Raises
    ------
    ValueError
        For another suffix.
    """
    from io import BytesIO

    from numerics.plots.figures import svg

    path, figure = Path(path), cast(Figure, drawn if isinstance(drawn, Figure) else drawn.figure)
    if path.suffix not in (".pdf", ".svg", ".png"):
        raise ValueError(f"unknown suffix {path.suffix!r} of {path.name}; name a file that ends in .pdf, .svg or .png")
    if path.suffix == ".svg":
        write_whole(path, svg(figure).encode())
        return path
    out = BytesIO()
    dates = {"CreationDate": None} if path.suffix == ".pdf" else None
    figure.savefig(out, format=path.suffix[1:], dpi=200, metadata=dates, facecolor="white")
    write_whole(path, out.getvalue())
    return path


def _state_of(of: Any) -> str:
    """What the state is called."""
    process = of.limit if isinstance(of, Derivation) else of.diffusion if isinstance(of, Law) else of
    states = getattr(process, "states", None)
    return latex(states[0]) if states else "x"


def _named(axes: Axes, columns: int = 1) -> Axes:
    """With the names of what is drawn."""
    if axes.get_legend_handles_labels()[1]:
        place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)} if columns > 1 else {}
        axes.legend(frameon=False, fontsize="small", labelcolor=INK, ncols=columns, handlelength=1.6, **place)
    return axes
