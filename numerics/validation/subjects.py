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
from derivations.diffusion import Flow
from derivations.limits import GramLimit
from derivations.symbols import state
from numerics.ensembles import Seed
from numerics.limit_distribution import distribution, has_distribution
from numerics.linalg import semidefinite_factor
from numerics.networks import simulate_collapse, simulate_gram, simulate_network
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


@dataclass(frozen=True)
class GramSetting(Setting):
    """The Gram matrix of a layer of finite width, which is a diffusion by itself.

    Parameters
    ----------
    closure : GramLimit
        Which entries are states, and whether of the centred neurons.
    """

    closure: GramLimit = None  # type: ignore[assignment]

    @property
    def one_layer_of(self) -> tuple[str, str]:
        """The first state."""
        return f": {self.limit.states[0]}", f", {self.limit.states[0]}"

    @property
    def by_law(self) -> bool:  # type: ignore[override]
        """Where there is one."""
        return self.has_law

    def view(self, x: Array) -> Array:
        """The entries that are states, as one row."""
        centred = x - x.mean(axis=1, keepdims=True) if self.closure.centred else x
        gram = np.einsum("nia,nib->nab", centred, centred) / x.shape[1]
        return _entries(gram, self.closure.matrix, self.limit.states)[:, None, :]

    @property
    def statistics(self) -> list[list[Statistic]]:
        """Logarithms of norms and correlations."""
        return gram_statistics(self.closure.matrix, self.limit.states, self.closure.fixed)


@dataclass(frozen=True)
class WideSetting(Setting):
    """Second moments of an infinitely wide layer, which move without noise; a network's size is its depth and its width."""

    matrix: Any = None
    smallest = 16
    shortens = False

    @cached_property
    def origin(self) -> Array:
        """Means 0, then second moments."""
        gram = _entries(self.start[None], self.matrix, self._moments)[0]
        return np.concatenate([np.zeros(len(self.limit.states) - len(self._moments)), gram])[None, :]

    @property
    def calm(self) -> Setting:
        """Itself."""
        return self

    @property
    def _moments(self) -> tuple[Any, ...]:
        return tuple(s for s in self.limit.states if s in self.matrix)

    def networks(self, size: int, samples: int, seed: Seed) -> Array:
        """Averages over the neurons of Gaussian starts."""
        recipe, m = at_width(self.architecture, size), self.architecture.inputs
        rows = np.sqrt(len(self.start)) * semidefinite_factor(self.start)  # X_0 = W_in a has the covariance aaᵀ/dim
        inputs = np.moveaxis(rows.reshape(m, *self.architecture.positions, -1), -1, 1)
        with explosions_counted(self.exploded, f"networks of depth and width {size}", samples):
            time, layers = (
                (self.t, size) if not recipe.regime.is_joint else (None, round(float(recipe.regime.depth_of(self.t))))
            )
            x = simulate_network(
                recipe, max(1, layers), samples, inputs=inputs, t=time, seed=seed, workers=self.workers
            )
        return self.seen(x)

    def seen(self, x: Array) -> Array:
        """Means over the neurons where these are states, then second moments."""
        with np.errstate(all="ignore"):  # networks that exploded are counted
            means = x.mean(axis=1)[:, : len(self.limit.states) - len(self._moments)]
            gram = np.einsum("nia,nib->nab", x, x) / x.shape[1]
        return np.concatenate([means, _entries(gram, self.matrix, self._moments)], axis=1)[:, None, :]

    def sized(self, size: int) -> str:
        """Both."""
        return f"depth and width {size}"

    def cost(self, size: int) -> float:
        """Of the states."""
        return float(size * size * len(self.start))


@dataclass(frozen=True)
class JointSetting(WideSetting):
    """Gram matrices of networks whose depth and width go together; the size is the width n.

    Noise is looked at over a short time, at most 1/8, which costs less and shows as much: what rates of half a power of n add to the drift
    is then far below it. All widths have whole numbers of layers.
    """

    smallest = 32

    @property
    def ratio(self) -> int:  # type: ignore[override]
        """The least by which a whole number of layers is one at the next width too."""
        exponent = self.architecture.regime.depth
        return 2 if exponent is None else int(2**exponent.q)

    @property
    def in_whole_layers(self) -> JointSetting:
        """The same over a time that a whole number of layers takes at the smallest width, a short one where there is noise."""
        unit = float(at_width(self.architecture, self.smallest).regime.depth_of(1) or self.smallest)
        wanted = self.t if isinstance(self.limit, Flow) else min(self.t, 1 / 8)
        return replace(self, t=max(1, round(wanted * unit)) / unit)

    def layers(self, size: int) -> int:
        """As many as take the time t at a width."""
        asked = at_width(self.architecture, size).regime.depth_of(self.t)
        return max(1, round(self.t * size if asked is None else float(asked)))

    def networks(self, size: int, samples: int, seed: Seed) -> Array:
        """Entries of the Gram matrix, of a layer that is what one matrix puts out the covariance given the layer before."""
        recipe = at_width(self.architecture, size)
        gram = simulate_gram(
            recipe,
            self.layers(size),
            samples,
            self.start,
            t=None if recipe.regime.is_joint else self.t,
            record="gram" if state in recipe.program().update.free_symbols else "conditional gram",
            seed=seed,
            workers=self.workers,
        )
        return _entries(gram, self.matrix, self.limit.states)[:, None, :]

    def sized(self, size: int) -> str:
        """Both."""
        return f"width {size} with {self.layers(size)} layers"

    def cost(self, size: int) -> float:
        """Of the states."""
        return float(size * self.layers(size) * len(self.start))

    @property
    def statistics(self) -> list[list[Statistic]]:
        """Logarithms of norms and correlations."""
        return gram_statistics(self.matrix, self.limit.states, {})


@dataclass(frozen=True)
class CollapseSetting(JointSetting):
    r"""Two inputs that collapse: :math:`w = 1/(n\sqrt{1 - \rho})` from 1/2, which solves an equation free of time; :math:`q = (t/w)^2`."""

    @cached_property
    def origin(self) -> Array:
        """In the limit's own coordinate at time 1."""
        return np.array([[4.0]])

    def networks(self, size: int, samples: int, seed: Seed) -> Array:
        """Networks whose inputs have lost their angle, for want of active neurons, count as infinite."""
        recipe, gap = at_width(self.architecture, size), 4.0 / size**2
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ networks have no angle")
            ends = simulate_collapse(recipe, self.layers(size), samples, gap, seed=seed, workers=self.workers)
        with np.errstate(divide="ignore"):
            return (1.0 / (size * np.sqrt(np.nan_to_num(ends))))[:, None, None]

    def paths(self, limit: Any, steps: int, samples: int, seed: Seed) -> Array:
        """From time 1 on."""
        q = simulate_sde(
            limit, x0=4.0, t0=1.0, t=1.0 + self.t, steps=steps, samples=samples, seed=seed, workers=self.workers
        )
        return ((1.0 + self.t) / np.sqrt(q))[:, :, None]

    @property
    def statistics(self) -> list[list[Statistic]]:
        """Its value."""
        return [[("w = 1/(n √(1 - ρ)) from 1/2", lambda x: x[:, 0, 0])]]


def at_width(recipe: Recipe, width: int) -> Any:
    """The same recipe at another width."""
    return replace(recipe, width=width)


def _entries(gram: Array, matrix: Any, states: tuple[Any, ...]) -> Array:
    """Entries of matrices, shape (samples, m, m), in the order of the symbols of a limit."""
    m = matrix.rows
    place = {matrix[a, b]: (a, b) for a in range(m) for b in range(a, m)}
    return np.stack([gram[:, *place[s]] for s in states], axis=1) if states else np.empty((len(gram), 0))


def gram_statistics(matrix: Any, states: tuple[Any, ...], fixed: dict[Any, Any]) -> list[list[Statistic]]:
    """Of entries in one row: the logarithm of the first norm, and the correlation of the first and the last input."""
    place, m = {s: k for k, s in enumerate(states)}, matrix.rows

    def entry(x: Array, a: int, b: int) -> Array:
        s = matrix[a, b]
        return x[:, 0, place[s]] if s in place else np.full(len(x), float(fixed[s]))

    groups: list[list[Statistic]] = []
    if matrix[0, 0] in place:
        groups.append([("log of the first input's squared norm", lambda x: np.log(entry(x, 0, 0)))])
    if m > 1:

        def correlation(x: Array) -> Array:
            return entry(x, 0, m - 1) / np.sqrt(entry(x, 0, 0) * entry(x, m - 1, m - 1))

        groups.append([("correlation of the first and the last input", correlation)])
    return groups


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
