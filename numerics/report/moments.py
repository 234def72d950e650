"""The part of a report on second moments: of limits that are followed by them, and of layers of which no paths are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derivations import Derivation
from derivations.diffusion import Flow
from derivations.notation.latex import latex
from numerics.ensembles import Seed
from numerics.paths import simulate_sde
from numerics.plots import Course, Followed, Series, comparison_figure, course_figure, inline_svg, series_figure
from numerics.report.page import Drawing, Section
from numerics.statistics import Estimate
from numerics.validation.base import spawn
from numerics.validation.checks import coefficients
from numerics.validation.matrices import CollapseSetting, JointSetting
from numerics.validation.settings import settings_of
from numerics.validation.stages import Stage
from numerics.validation.subjects import Setting

Array = NDArray[np.float64]

TITLE = "Derived diffusion and simulated networks"
#: Width of the networks of a picture: what a finite width adds is a small part of what is seen.
WIDTH = 64
#: Networks beside a flow and beside paths, and the most numbers that they draw.
BESIDE_FLOW, BESIDE_PATHS, NUMBERS = 200, 5000, 2e8
#: Times at which networks are drawn beside a flow, from the start on.
TIMES = 9
#: Steps of paths.
STEPS = 200
#: Courses with a colour.
SHOWN = 4
#: Layers drawn for their covariance, and the time that each takes.
LAYERS, LAYER = 20_000, 1e-4


def moments_section(d: Derivation, x0: Any, t: float, seed: Seed, workers: int, stage: Stage) -> Section:
    """Second moments in networks against the flow, or against paths of the limit, at the time that was asked for."""
    (s,) = settings_of(d, x0, t, None, None, workers)
    return _flow(s, seed, stage) if isinstance(s.limit, Flow) else _diffusion(_whole(s, t), seed, stage)


def _whole(s: Setting, t: float) -> Setting:
    """Over the time that was asked for, in whole layers: the checks take a short one, which costs less and shows as much."""
    if not isinstance(s, JointSetting) or isinstance(s, CollapseSetting):
        return s
    layers = s.layers(WIDTH) / s.t
    return replace(s, t=max(1, round(t * layers)) / layers)


def _samples(s: Setting, most: int) -> int:
    return int(np.clip(NUMBERS // s.cost(WIDTH), 50, most))


def courses(s: Setting, seed: Seed, stage: Stage) -> list[Followed]:
    """Some states of a flow with depth, and their means over networks."""
    times = np.linspace(0.0, s.t, TIMES)
    with stage("the flow"):
        path = simulate_sde(s.limit, x0=s.origin.ravel(), t=s.t, steps=1, samples=1, times=list(times[1:]))
    solved = np.concatenate([s.origin.reshape(1, -1), path.reshape(TIMES - 1, -1)])
    samples = _samples(s, BESIDE_FLOW)
    with stage(f"{samples} networks of {s.sized(WIDTH)}"):
        drawn = [
            replace(s, t=float(time)).networks(WIDTH, samples, one).reshape(samples, -1)
            for time, one in zip(times[1:], spawn(seed, TIMES - 1), strict=True)
        ]
    states = s.limit.states
    return [
        Followed(
            f"${latex(states[k])}$",
            Course(times, solved[:, k], np.zeros(TIMES)),
            Course.of(times[1:], np.stack(drawn)[:, :, k]),
        )
        for k in np.unique(np.linspace(0, len(states) - 1, SHOWN).astype(int))
    ]


def _flow(s: Setting, seed: Seed, stage: Stage) -> Section:
    followed, every = courses(s, seed, stage), len(s.limit.states)
    figure = course_figure(followed, "second moment" if len(followed) > 1 else followed[0].name)
    some = f", {len(followed)} of {every}" if len(followed) < every else ""
    caption = (
        f"Second moments with depth{some}. Lines: the derived flow; points: means over {_samples(s, BESIDE_FLOW)} networks of "
        f"{s.sized(WIDTH)}, ± one standard error."
    )
    text = "In the limit second moments move without noise. The networks of the picture are finite, and drawn anew for each of its times."
    return Section("Derived flow and simulated networks", (text,), (Drawing(inline_svg(figure, "flow"), caption),))


def ends(s: Setting, seed: Seed, stage: Stage) -> list[tuple[str, Array, Array]]:
    """Each statistic in networks and along paths of the limit."""
    first, second = spawn(seed, 2)
    samples = _samples(s, BESIDE_PATHS)
    with stage(f"{samples} networks of {s.sized(WIDTH)}"):
        networks = s.networks(WIDTH, samples, first)
    with stage(f"{samples} paths of the derived diffusion"):
        paths = s.paths(s.limit, STEPS, samples, second)
    with np.errstate(all="ignore"):  # what exploded is no number, and lies beyond the picture
        return [(name, function(networks), function(paths)) for ((name, function), *_) in s.statistics]


def _diffusion(s: Setting, seed: Seed, stage: Stage) -> Section:
    how = (
        f"at t = {s.t:g}: {_samples(s, BESIDE_PATHS)} networks of {s.sized(WIDTH)}, and as many paths of the derived diffusion in "
        f"{STEPS} steps."
    )
    figures = [
        Drawing(
            inline_svg(comparison_figure(networks, paths, name), f"moment-{k}"), f"{name[0].upper()}{name[1:]}, {how}"
        )
        for k, (name, networks, paths) in enumerate(ends(s, seed, stage))
    ]
    text = (
        f"Networks of width {WIDTH} are drawn as they are, so they are off by what a finite width adds; the checks below extrapolate "
        "it away, over a time of their own."
    )
    return Section(TITLE, (text,), tuple(figures))


def one_layer_section(d: Derivation, x0: Any, t: float, seed: Seed, workers: int, stage: Stage, why: str) -> Section:
    """Covariances of one layer's increment from the start, between inputs or positions, against those of the limit."""
    s = settings_of(d, x0, t, None, None, workers)[0]
    state = s.view(s.start[None])[0]
    drift, covariance = coefficients(s.limit, state)
    count = int(np.clip(NUMBERS // s.cost(1), 1000, LAYERS))
    with stage(f"{count} layers"):
        moved = s.one_layer(s.start, LAYER, count, seed) - state - drift * LAYER
    places = np.arange(1, state.shape[1] + 1)
    of = "position" if d.architecture.positions else "input"
    series: list[Series] = []
    for name, pairs in (
        ("with itself", [(a, a) for a in range(len(places))]),
        (f"with {of} 1", [(0, a) for a in range(len(places))]),
    ):
        products = [Estimate.of(np.mean(moved[:, :, a] * moved[:, :, b], axis=1) / LAYER) for a, b in pairs]
        series.append(Series(f"derived, {name}", places, [covariance[a, b] for a, b in pairs]))
        series.append(Series(f"layers, {name}", places, [p.value for p in products], [p.error for p in products]))
    figure = series_figure(series, of, "covariance per unit of time")
    figure.axes[0].set_xticks(places)
    caption = (
        f"Covariance of a neuron's increment in one layer at each {of}, with itself and with that at {of} 1, mean over neurons, from the start: "
        f"of the limit (lines) and in {count} layers (points, ± one standard error)."
    )
    return Section(TITLE, (why,), (Drawing(inline_svg(figure, "layer"), caption),))
