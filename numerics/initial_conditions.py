"""Where paths start and when they are looked at, as a user gives them, checked and brought to one form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from derivations.diffusion import Diffusion, Flow, Limit, NeuronDiffusion
from derivations.errors import shown
from derivations.laws import Normal
from derivations.steps.surface import surface
from numerics import given
from numerics.compile.surface import require_on_surface

Array = NDArray[np.float64]
Start = ArrayLike | Normal


def checked_start(limit: Limit, x0: Start, t: float) -> Array:
    """The start of all paths in the shape of one sample's state, with the checks of :func:`simulate_sde`."""
    shape = shape_of(limit)
    Grid.of(t, 1, None)
    if isinstance(x0, Normal):
        raise ValueError("expected a fixed start, a number or an array of states, got a law")
    start = InitialStates.of(x0, shape, 1, limit)
    return start.block(0, 1, shape, np.random.default_rng(0))[0]


def shape_of(limit: Limit) -> tuple[int, ...]:
    """The shape of one sample's state inside the schemes."""
    if isinstance(limit, NeuronDiffusion) and not limit.width.is_Integer:
        raise ValueError(
            f"paths are simulated at a width that is a number, got width {limit.width}; "
            "derive the limit with a positive integer, e.g. ResNet(relu, width=4)"
        )
    if not isinstance(limit, Diffusion | NeuronDiffusion | Flow):
        raise ValueError(f"expected a limit, as derive(...).limit gives it, got {shown(limit)}")
    if limit.parameters:
        names = ", ".join(sorted(map(str, limit.parameters)))
        raise ValueError(f"the limit has the parameters {names} left; derive it with numbers in their place")
    return (int(limit.width), limit.inputs) if isinstance(limit, NeuronDiffusion) else (len(limit.states),)


@dataclass(frozen=True)
class Grid:
    """Spans of time, each with a number of equal steps, after each of which the states are kept."""

    starts: tuple[float, ...]
    durations: tuple[float, ...]
    steps: tuple[int, ...]

    @classmethod
    def of(cls, t: float, steps: int, times: Sequence[float] | Array | None, t0: float = 0.0) -> Grid:
        """The spans between chosen times from t0 to t; refuses what makes no sense."""
        if not given.positive.holds(t):
            raise ValueError(f"the time t must be a positive finite number, got {shown(t)}")
        if not given.number.holds(t0) or not 0 <= float(t0) < float(t):
            raise ValueError(f"the time t0 of the start must lie from 0 to below t = {t}, got {shown(t0)}")
        if not given.whole.holds(steps) or steps < 1:
            raise ValueError(f"steps must be a positive whole number of at most 10^12, got {shown(steps)}")
        t, t0 = float(t), float(t0)
        ends = np.array([t] if times is None else times, dtype=float)
        if ends.ndim != 1 or not ends.size or not np.all((ends >= t0) & (ends <= t)) or np.any(np.diff(ends) <= 0):
            raise ValueError(f"times must increase and lie between {t0:g} and t = {t}, got {shown(times)}")
        starts = np.concatenate([[float(t0)], ends[:-1]])
        durations = ends - starts
        counts = np.ceil(steps * (durations / (t - t0)) * (1 - 1e-12)).astype(int)
        return cls(tuple(map(float, starts)), tuple(map(float, durations)), tuple(map(int, counts)))


@dataclass(frozen=True)
class InitialStates:
    """The start as an array that broadcasts to (samples, ...), or as the law of independent coordinates."""

    states: Array | None
    law: Normal | None
    per_sample: bool

    @classmethod
    def of(cls, x0: Any, shape: tuple[int, ...], samples: int, limit: Any) -> InitialStates:
        """What a user gave, checked against the limit."""
        if isinstance(x0, Normal):
            _require_mass_inside(x0, samples, limit)
            return cls(None, x0, True)
        states = np.asarray(x0, dtype=float)
        flat = (int(np.prod(shape)),)
        if flat == (1,) and states.shape == (samples,):
            states = states[:, np.newaxis]
        accepted = {(): (1,) * len(shape), flat: shape, shape: shape}
        per_sample = states.shape not in accepted
        if per_sample and states.shape not in ((samples, *flat), (samples, *shape)):
            raise ValueError(
                f"x0 must be a number or have shape {flat} or {(samples, *flat)} (states, or samples and states; a scalar limit also takes "
                "(samples,)), "
                f"got shape {states.shape}"
            )
        if not np.all(np.isfinite(states)):
            raise ValueError("x0 must be finite, got infinite or nan entries")
        domain = getattr(limit, "domain", None)
        if len(shape) == 1 and shape[0] == 1 and domain is not None:
            low, high = float(domain.inf), float(domain.sup)
            open_low, open_high = not domain.contains(domain.inf), not domain.contains(domain.sup)
            bad = (states < low) | (states > high) | (open_low & (states == low)) | (open_high & (states == high))
            if np.any(bad):
                share = f" for {np.count_nonzero(bad)} of {bad.size} samples" if bad.size > 1 else ""
                raise ValueError(f"x0 must lie in the domain {domain}, got {states[bad].flat[0]}{share}")
        target = (samples, *shape) if per_sample else accepted[states.shape]
        require_on_surface(limit, np.broadcast_to(states.reshape(target), (*target[:-1], shape[-1])))
        return cls(states.reshape(target), None, per_sample)

    def block(self, first: int, count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """The starts of some samples, drawn or copied."""
        if self.law is not None:
            deviation = float(self.law.variance) ** 0.5
            return float(self.law.mean) + deviation * rng.standard_normal((count, *shape))
        assert self.states is not None
        here = self.states[first : first + count] if self.per_sample else self.states
        return np.array(np.broadcast_to(here, (count, *shape)))


def _require_mass_inside(law: Normal, samples: int, limit: Any) -> None:
    """Refuse a start that some of the samples would draw outside the interval in which a scalar diffusion lives."""
    domain = getattr(limit, "domain", None)
    if surface(limit):
        raise ValueError(
            f"a start {law} of independent coordinates lies off the surface that each layer fixes; draw starts, let one layer's norm act on "
            "them, and give them as an array of shape (samples, states)"
        )
    if domain is None or len(shape_of(limit)) != 1 or shape_of(limit)[0] != 1:
        return
    mean, deviation = float(law.mean), float(law.variance) ** 0.5
    low, high = (float(domain.inf) - mean) / deviation, (float(domain.sup) - mean) / deviation
    outside = float(special.ndtr(low) + special.ndtr(-high))
    if outside * samples > 1e-9:
        raise ValueError(
            f"the start {law} has {100 * outside:.3g} % of its mass outside the domain {domain}; draw starts inside, and give "
            "them as an array of shape (samples,)"
        )
