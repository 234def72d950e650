"""Figures of exponents: where a network has a limit, and the largest learning rates, in the plane of two of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from derivations import DerivationError, TrainingScalings
from derivations.exponents.at_point import readout_exponent
from derivations.notation.latex import latex
from numerics.plots.figures import INK, NETWORKS, THEORY, THIRD, legend, new_axes

_KINDS = {"drift only": (THEORY, "-"), "noise only": (NETWORKS, "--"), "drift and noise": (THIRD, "-.")}


def phase_figure(found: Any, x: Any = None, y: Any = None, most: float = 2.0) -> Figure:
    """Where a network has a limit, in the plane of two exponents.

    Shaded: terms that are too strong; white: the network tends to the identity. On the line between them a limit is not trivial, drawn by what
    survives there; corners are dots.

    Parameters
    ----------
    found : Scalings or TrainingScalings
        What :func:`derivations.scalings` returned. For the first step of training the axes are an exponent of the network and one of the learning rate,
        and the lines the largest rates of its matrices.
    x, y : Symbol, optional
        The exponents on the axes; by default the first one, and that of the width or else the second one. All others are so large that their
        sizes do not matter, except those of branches, which are at 1.
    most : float
        The end of both axes.

    Raises
    ------
    ValueError
        If the network has no scaling with a limit, or an exponent is not one of its.
    """
    axes = draw_phase(found, x, y, most)
    figure = cast(Figure, axes.figure)
    legend(figure, 2 if isinstance(found, TrainingScalings) else 3)
    return figure


def draw_phase(found: Any, x: Any = None, y: Any = None, most: float = 2.0, axes: Axes | None = None) -> Axes:
    """The same into given axes, without names."""
    if isinstance(found, TrainingScalings):
        return _draw_step(found, x, most, axes)
    exponents = found.exponents
    if exponents is None:
        raise ValueError(f"there is no phase diagram: {found.why}")
    symbols = exponents.symbols
    for given in (x, y):
        if given is not None and given not in symbols:
            raise ValueError(f"unknown exponent {given}; the network has {', '.join(map(str, symbols))}")
    first = symbols[0] if x is None else x
    rest = [s for s in symbols if s != first]
    second = y if y is not None else (rest[-1] if found.family.order == "joint" else rest[0]) if rest else None
    shown = [symbols.index(s) for s in (first, second) if s is not None]
    signs = [exponents.signs[k] for k in shown]
    rows = np.array([[float(p) for p in m] for m in exponents.monomials])
    others = np.array([0.0 if k in shown else 10.0 * most * s for k, s in enumerate(exponents.signs)])
    left = 1.0 - rows @ others  # what is left for the two
    slopes = rows[:, shown] * np.array(signs)
    axes = new_axes(axes, f"${latex(first)}$", f"${latex(second)}$" if second is not None else "")
    angles = np.zeros(1)
    if second is not None:  # with the corners
        corners = [c for r in found.regimes for face in r.faces for c in face.corners]
        turns = [np.arctan2(*(float(c[k]) * s for k, s in zip(shown[::-1], signs[::-1], strict=True))) for c in corners]
        angles = np.union1d(np.linspace(0.0, np.pi / 2, 721), turns)
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, : len(shown)]
    along = rays @ slopes.T
    with np.errstate(divide="ignore", invalid="ignore"):
        need = np.where(along > 1e-12, left / along, np.where(left > 0, 100.0 * most, -np.inf))
    radius = need.max(axis=1)
    seen = [frozenset(map(int, np.flatnonzero(np.abs(row - r) < 1e-9))) for row, r in zip(need, radius, strict=True)]
    kinds = [_kind(tight, exponents) for tight in seen]
    edge = np.minimum(radius, 10.0 * most)[:, None] * rays
    if second is None:
        axes.axvspan(0.0, float(edge[0, 0]), color=NETWORKS, alpha=0.12, linewidth=0)
        axes.axvline(float(edge[0, 0]), color=_KINDS[kinds[0]][0], linewidth=2.2, label=kinds[0])
        axes.set_yticks([])
    else:
        axes.fill(np.append(edge[:, 0], 0.0), np.append(edge[:, 1], 0.0), color=NETWORKS, alpha=0.12, linewidth=0)
        for kind, (color, style) in _KINDS.items():
            here = np.array([k == kind for k in kinds])
            if not here.any():
                continue
            line = np.where(here[:, None], edge, np.nan)
            dots = here & ~np.roll(here, 1) & ~np.roll(here, -1)
            if (here & ~dots).any():
                axes.plot(*line.T, linestyle=style, color=color, linewidth=2.2, label=kind)
            else:
                axes.plot(*line.T, "o", color=color, markersize=7, label=kind)
        axes.set_ylim(0.0, most)
    axes.set_xlim(0.0, most)
    axes.text(0.97, 0.95, "identity", transform=axes.transAxes, ha="right", va="top", color=INK)
    axes.text(0.03, 0.05, "too strong", transform=axes.transAxes, ha="left", va="bottom", color=INK)
    return axes


_RULES = {"sgd": ("plain steps", THEORY, "-"), "sign": ("sign steps", NETWORKS, "--")}


def _draw_step(found: TrainingScalings, x: Any, most: float, axes: Axes | None) -> Axes:
    """Largest learning rates over an exponent of the branch, at readouts of 1/n; over that of the readout where the depth is fixed."""
    deep = found.is_deep and bool(found.stands)
    symbols = list(found.stands) if deep else [readout_exponent]
    first = symbols[0] if x is None else x
    if first not in symbols:
        raise ValueError(f"unknown exponent {first}; the first step has {', '.join(map(str, symbols))}")
    grid = [Fraction(k, 32) for k in range(1, int(32 * most) + 1)]
    axes = new_axes(axes, f"${latex(first)}$", "$b$ of a rate $L^{-b}$" if deep else "$a$ of a rate $n^{-a}$")
    for rule, (said, color, style) in _RULES.items():
        lines: dict[tuple[float, ...], list[str]] = {}
        at: list[float] = []
        rows: list[dict[str, float]] = []
        for value in grid:
            try:
                rates = found.rates(rule, {first: value}, 1) if deep else found.rates(rule, readout=value)
            except DerivationError:
                continue
            at.append(float(value))
            rows.append({name: float(rate[deep]) for name, rate in rates.items()})
        for name in rows[0] if rows else ():
            lines.setdefault(tuple(row[name] for row in rows), []).append(name)
        for k, (line, names) in enumerate(lines.items()):
            axes.plot(at, line, linestyle=style, color=color, linewidth=2.0, label="" if k else said)
            axes.annotate(
                ", ".join(names),
                (at[-1], line[-1]),
                xytext=(-3, 3),
                textcoords="offset points",
                ha="right",
                color=color,
            )
    axes.set_xlim(0.0, most)
    axes.text(0.97, 1.0, "smaller rates: lazy", transform=axes.transAxes, ha="right", va="top", color=INK)
    axes.text(0.03, 0.02, "larger rates: too large", transform=axes.transAxes, ha="left", va="bottom", color=INK)
    if at and at[0] > 0:
        axes.axvspan(0.0, at[0], color=NETWORKS, alpha=0.12, linewidth=0)
    return axes


def _kind(tight: frozenset[int], exponents: Any) -> str:
    alive = [exponents.monomials[k] for k in tight]
    drift, noise = any(m in exponents.terms.drift for m in alive), any(m in exponents.terms.noise for m in alive)
    return {(True, True): "drift and noise", (True, False): "drift only", (False, True): "noise only"}.get(
        (drift, noise), ""
    )
