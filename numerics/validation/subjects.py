r"""What is compared: coordinates of a limit, seen in finite networks and along paths of the limit.

A subject says how networks of a size are drawn and looked at, so that every check runs on every derivation: neurons, Gram matrices at
finite width, flows of infinite width, and Gram matrices of depth and width together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from derivations.architectures import Recipe
from numerics.ensembles import Seed
from numerics.limit_distribution import distribution, has_distribution
from numerics.networks import simulate_network
from numerics.outcomes import ExplosionWarning
from numerics.paths import has_slow_steps, simulate_sde
from numerics.validation.base import SCALE, Array, negative_control

#: Error in L¹ of laws that are solved: far below what a simulation of that size sees.
_SOLVED = 1e-5
#: Paths among which statistics are ranked.
RANKED = 8192
#: A number of each sample, with its name.
Statistic = tuple[str, Callable[[Array], Array]]


@dataclass(frozen=True)
class Setting:
    """The neurons of a layer, and where they are validated.

    Parameters
    ----------
    architecture : Recipe
    limit : Diffusion, NeuronDiffusion or Flow
    law : GluedLaw or None
    start : array, shape (n, m)
        Of the neurons.
    t : float
    samples, depth : int or None
        Overrides of what the checks choose.
    workers : int
    exploded : dict
        How many samples left the range of numbers, by what was simulated.
    scale : Fraction
        What the control multiplies the noise by.
    explosive : bool
        Whether the limit itself is known to explode; where it does not, paths that do are those of a step too large for the time.
    drawn : tuple of int and array or None
        A depth and networks of that depth, shape (samples, n, m), that others have drawn from the same start.
    resolved : list of float
        The time over which layers were seen to be short, as its only entry, once that is known.
    fixes_norm : bool
        Whether every layer fixes the norm, of which nothing is then compared: it is that of the networks up to rounding, and steps of paths move it.
    """

    architecture: Any
    limit: Any
    law: Any
    start: Array
    t: float
    samples: int | None
    depth: int | None
    workers: int
    exploded: dict[str, int] = field(default_factory=dict, compare=False)
    scale: Fraction = SCALE
    explosive: bool = False
    drawn: tuple[int, Array | None] = (0, None)
    resolved: list[float] = field(default_factory=list, compare=False)
    fixes_norm: bool = False

    #: The ratio of sizes, and the smallest; what finite size adds is a series in one over the size.
    ratio = 2
    smallest = 16

    def view(self, x: Array) -> Array:
        """What is looked at, of neurons of shape (samples, n, m): an array of shape (samples, rows, columns)."""
        return x

    def seen(self, x: Array) -> Array:
        """What is looked at, of neurons of networks of any size."""
        return self.view(x)

    @cached_property
    def origin(self) -> Array:
        """What is looked at, at the start."""
        return self.view(self.start[None])[0]

    def networks(self, size: int, samples: int, seed: Seed) -> Array:
        """What is looked at in networks of a size, here their depth, shape (samples, rows, columns)."""
        with explosions_counted(self.exploded, f"networks of depth {size}", samples):
            x = simulate_network(
                self.architecture, size, samples, x0=self.start, t=self.t, seed=seed, workers=self.workers
            )
        return self.view(x)

    def sized(self, size: int) -> str:
        """What networks of a size are, for the table."""
        return f"depth {size}"

    def cost(self, size: int) -> float:
        """Numbers that a network of a size draws."""
        return float(size * self.start.size)

    def paths(self, limit: Any, steps: int, samples: int, seed: Seed) -> Array:
        """Ends of paths of a limit, of the same shape as those of networks."""
        if has_slow_steps(limit):
            raise ValueError(
                "paths of this limit take too long: its coefficients are means over several Gaussian numbers, such as scores, each with a rule of "
                "thousands of points, at every state; validate compares one layer with them, and infinite width has one path"
            )
        with explosions_counted(self.exploded, f"paths of {steps} steps", samples):
            ends = simulate_sde(
                limit, x0=self.origin.ravel(), t=self.t, steps=steps, samples=samples, seed=seed, workers=self.workers
            )
        return ends.reshape(samples, *self.origin.shape)

    def solutions(self) -> tuple[Array, Array]:
        """Ends of a flow and of its control; where velocities are free of time, the control is there what the flow is later, on one path."""
        if self.limit.drift.has(self.limit.time):
            right, wrong = (self.paths(limit, 1, 1, 0)[0].ravel() for limit in (self.limit, self.control))
            return right, wrong
        times = [self.t, self.t * float(self.scale)]
        ends = simulate_sde(self.limit, x0=self.origin.ravel(), t=times[-1], steps=1, samples=1, times=times)
        return ends[0].ravel(), ends[1].ravel()

    @cached_property
    def ranked(self) -> Array:
        """Paths among which a statistic is ranked."""
        return self.paths(self.limit, 32, RANKED, 0)

    @cached_property
    def calm(self) -> Setting:
        """The same over a time halved until no path explodes of a limit that does not: there the steps' error falls like one over their number."""
        found = self
        for _ in range(10):
            if self.explosive or np.isfinite(found.ranked).all():
                break
            found = replace(found, t=found.t / 2, drawn=(0, None))
        return found

    @property
    def shorter(self) -> Setting:
        """The same over a quarter of the time."""
        return replace(self, t=self.t / 4, drawn=(0, None))

    def one_layer(self, state: Array, h: float, samples: int, seed: Seed) -> Array:
        """What is looked at after one layer of time h from given neurons, shape (samples, rows, columns)."""
        after = simulate_network(self.architecture, 1, samples, x0=state, t=h, seed=seed, workers=self.workers)
        return self.view(after)

    @property
    def one_layer_of(self) -> tuple[str, str]:
        """What the drift and the variance of one layer are of, for the table."""
        return ", mean over neurons", ""

    def reached(self, seed: Seed) -> Array:
        """Neurons that some networks reach, shape (networks, n, m)."""
        return np.asarray(simulate_network(self.architecture, 32, 32, x0=self.start, t=self.t, seed=seed))

    @property
    def statistics(self) -> list[list[Statistic]]:
        """Groups of statistics, of each of which the most powerful one is compared."""
        first, m = float(self.start[0, 0]), self.start.shape[1]
        groups: list[list[Statistic]] = [
            [("neuron 1", lambda x: x[:, 0, 0]), ("how far neuron 1 moved", lambda x: np.abs(x[:, 0, 0] - first))]
        ]
        if len(self.start) > 1 and not self.fixes_norm:
            groups.append([("log-norm of the layer", lambda x: np.log(np.sum(x[:, :, 0] ** 2, axis=1)))])
        if m > 1:
            last = float(self.start[0, -1])
            pair: list[Statistic] = [
                ("product of two coordinates' motions", lambda x: (x[:, 0, 0] - first) * (x[:, 0, -1] - last))
            ]
            if len(self.start) > 1:
                pair.append(("correlation of two inputs", lambda x: _correlation(x[:, :, 0], x[:, :, -1])))
            groups.append(pair)
        return groups

    #: Whether the equation is compared by the law, without paths.
    by_law = False
    #: Whether a time in which layers are too long is cut.
    shortens = True

    @property
    def has_law(self) -> bool:
        """Whether the limit's distribution is known or can be solved for."""
        return has_distribution(self.limit)

    @cached_property
    def exact(self) -> Any:
        """The law, closed or solved on a grid."""
        of = self.limit if self.law is None else self.law
        return distribution(of, x0=float(self.origin[0, 0]), t=self.t, tol=_SOLVED)

    @cached_property
    def control(self) -> Any:
        """The limit with its noise too large."""
        return negative_control(self.limit, self.scale)

    @property
    def excess(self) -> float:
        """What the control's variances are multiplied by."""
        return float(self.scale**2)

    @cached_property
    def wrong(self) -> Any:
        """The law of the control, recognised or solved anew from its coefficients."""
        return distribution(self.control, x0=float(self.origin[0, 0]), t=self.t, tol=_SOLVED)

    @property
    def named(self) -> str:
        """What the law is, for the table."""
        return "law" if self.exact.error == 0 else f"Fokker–Planck solution (error {self.exact.error:.1g})"


def at_width(recipe: Recipe, width: int) -> Any:
    """The same recipe at another width."""
    return replace(recipe, width=width)


def _correlation(first: Array, second: Array) -> Array:
    return np.sum(first * second, axis=1) / np.sqrt(np.sum(first**2, axis=1) * np.sum(second**2, axis=1))


@contextmanager
def explosions_counted(counts: dict[str, int], what: str, samples: int) -> Iterator[None]:
    """Keep warnings of explosions, the largest number of each kind of simulation, for the table instead of showing them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if issubclass(warning.category, ExplosionWarning):
            number = int(str(warning.message).split()[0])
            name = f"of {samples} {what}"
            counts[name] = max(counts.get(name, 0), number)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
