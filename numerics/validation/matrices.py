"""What is compared where a Gram matrix moves: at finite width, at infinite width, and where depth and width go together."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from derivations.diffusion import Flow
from derivations.limits import GramLimit
from derivations.symbols import state
from numerics.ensembles import Seed
from numerics.linalg import semidefinite_factor
from numerics.networks import simulate_collapse, simulate_gram, simulate_network
from numerics.paths import simulate_sde
from numerics.validation.base import Array
from numerics.validation.subjects import Setting, Statistic, at_width, explosions_counted


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
