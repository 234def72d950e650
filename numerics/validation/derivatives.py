r"""Jacobians against networks: what is compared of derivatives, in each order of depth and width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derivations.backward import Jacobian, LogDeterminant, UnlikeLogDeterminant, WideJacobian
from derivations.errors import NotClosed
from derivations.symbols import neuron_symbols, state
from numerics.compile import compile_expression, compile_sums
from numerics.ensembles import Seed
from numerics.ensembles.memory import require_memory
from numerics.networks import simulate_jacobian, simulate_network
from numerics.networks.derivatives import TangentGram
from numerics.networks.drawings import InLaw
from numerics.networks.initial import checked_start
from numerics.networks.simulate import ensemble, run_networks
from numerics.statistics import Estimate, richardson
from numerics.validation.base import Array, Row, number_row, spawn
from numerics.validation.matrices import JointSetting
from numerics.validation.subjects import Setting, Statistic, at_width, explosions_counted

#: The product of state and tangent at the start, over their norms: so that both their noises are seen.
_PRODUCT = 0.3
#: A time of one layer, and how many of them are drawn.
_LAYER, _LAYERS = 1 / 32, 50_000


def derivatives_of(
    j: Jacobian | WideJacobian, x0: ArrayLike, t: float, samples: int | None, depth: int | None, workers: int
) -> list[Setting]:
    """What is compared of a Jacobian: all of it with the state and its determinant; or tangents where the width grows.

    Raises
    ------
    ValueError
        If the width is a symbol, or at infinite width.
    """
    recipe: Any = j.network
    given = (t, samples, depth, workers)
    if isinstance(j, WideJacobian):
        if j.order == "width":
            raise ValueError(
                "at infinite width a gradient's mean square is part of the tangent kernel's flow; give the width as a number to compare Jacobians"
            )
        v0 = float(np.mean(np.square(x0)))
        second = v0 * np.array([[1.0, _PRODUCT], [_PRODUCT, 1.0]])
        return [
            TangentSetting(recipe, j.gram.process, None, second, *given, matrix=j.gram.matrix[:2, :2]).in_whole_layers
        ]
    if not getattr(recipe.width, "is_Integer", isinstance(recipe.width, int)):
        raise ValueError(f"a Jacobian is compared with networks at a width that is a number, got width={recipe.width}")
    size = int(recipe.width) * recipe.coordinates
    require_memory(
        (samples or 2) * size**2,
        f"Jacobians of networks of {size} neurons take",
        "choose a smaller width or fewer samples",
    )
    x = simulate_network(recipe, 0, 1, x0=x0)[0]
    along = np.zeros(x.size)
    along[0] = 1.0
    start = np.concatenate([x, along.reshape(x.shape)], axis=1)
    whole = TangentPaths(recipe, j.limit(1), None, start, *given)
    try:
        found = j.log_det
    except NotClosed:
        return [whole]
    return [whole, DeterminantSetting(recipe, found.process, found.law, x, *given, found=found)]


@dataclass(frozen=True)
class TangentPaths(Setting):
    """The state and the first column of its Jacobian, neuron by neuron."""

    def networks(self, size: int, samples: int, seed: Seed) -> Array:
        """Networks of a depth with their Jacobians."""
        p = self.start.shape[1] // 2
        with explosions_counted(self.exploded, f"networks of depth {size}", samples):
            x, j = simulate_jacobian(
                self.architecture, size, samples, self.start[:, :p], self.t, seed=seed, workers=self.workers
            )
        return self.of_samples(x, j)

    def of_samples(self, x: Array, j: Array) -> Array:
        """Of states and Jacobians."""
        n = len(self.start)
        return np.concatenate([x.reshape(len(x), n, -1), j[:, :, 0].reshape(len(x), n, -1)], axis=2)

    @property
    def statistics(self) -> list[list[Statistic]]:
        """The length of the tangent, and its product with the state."""
        p = self.start.shape[1] // 2

        def log_norm(x: Array) -> Array:
            return np.log(np.sum(x[:, :, p:] ** 2, axis=(1, 2)))

        def product(x: Array) -> Array:
            return np.sum(x[:, :, :p] * x[:, :, p:], axis=(1, 2))

        return [[("log-norm of a column of the Jacobian", log_norm)], [("its product with the state", product)]]


@dataclass(frozen=True)
class DeterminantSetting(Setting):
    """The logarithm of the determinant with what it depends on, against its closed formulas."""

    found: LogDeterminant | UnlikeLogDeterminant = None  # type: ignore[assignment]

    @property
    def by_law(self) -> bool:  # type: ignore[override]
        """Where it depends on nothing."""
        return self.law is not None

    def _seen(self, x: Array, logs: Array) -> Array:
        """What the process follows, neurons or entries of their Gram matrix, and the logarithm, as one row; shape (samples, 1, states)."""
        followed = self.limit.states[:-1]
        if not followed or followed == neuron_symbols(state, *self.start.shape):
            held = x.reshape(len(x), -1)[:, : len(followed)]
        else:
            held = self._gram(x.reshape(len(x), *self.start.shape), followed)
        return np.concatenate([held, logs[:, None]], axis=1)[:, None, :]

    def _gram(self, x: Array, followed: Sequence[Any]) -> Array:
        """Entries of the Gram matrix of neurons, shape (samples, entries)."""
        assert isinstance(self.found, LogDeterminant)  # neurons that are not alike are followed themselves
        gram = self.found.gram
        rows = x - x.mean(axis=1, keepdims=True) if gram.centred else x
        places = {gram.matrix[a, b]: (a, b) for a, b in combinations_with_replacement(range(x.shape[2]), 2)}
        return np.stack(
            [np.mean(rows[:, :, a] * rows[:, :, b], axis=1) for a, b in map(places.__getitem__, followed)], axis=1
        )

    @cached_property
    def origin(self) -> Array:
        """At the identity."""
        return self._seen(self.start[None], np.zeros(1))[0]

    def of_samples(self, x: Array, j: Array) -> Array:
        """Of states and Jacobians."""
        return self._seen(x, np.asarray(np.linalg.slogdet(j).logabsdet))

    def networks(self, size: int, samples: int, seed: Seed) -> Array:
        """Networks of a depth."""
        return self._seen(*self.of_layers(size, self.t, samples, seed))

    def of_layers(self, size: int, t: float, samples: int, seed: Seed) -> tuple[Array, Array]:
        """States and determinants of so many layers that take a time together."""
        with explosions_counted(self.exploded, f"networks of depth {size}", samples):
            x, j = simulate_jacobian(self.architecture, size, samples, self.start, t, seed=seed, workers=self.workers)
        return x, np.asarray(np.linalg.slogdet(j).logabsdet)

    @property
    def statistics(self) -> list[list[Statistic]]:
        """The logarithm."""
        return [[("log|det J|", lambda x: x[:, 0, -1])]]

    @property
    def variance_rate(self) -> float:
        """Of the logarithm at the start."""
        if isinstance(self.found, LogDeterminant):
            return float(np.ravel(compile_sums(self.found.layer.state, self.found.rates, ())(self.start))[1])
        return float(compile_expression(self.found.process.states, [self.found.rate])(*np.ravel(self.origin))[0])


def one_layer_of_determinants(s: Setting, seed: Seed) -> Iterator[Row]:
    """The variance of one layer's log-determinant, extrapolated to a thin layer, against the closed formula."""
    assert isinstance(s, DeterminantSetting)
    rate = s.variance_rate
    samples = s.samples or _LAYERS
    runs = [
        Estimate.variance_of(s.of_layers(1, h, samples, one)[1] / np.sqrt(h))
        for h, one in zip((_LAYER, _LAYER / 2), spawn(seed, 2), strict=True)
    ]
    if rate > 0:
        yield number_row("variance of one layer's log|det|", richardson(*runs), rate, rate * s.excess)


@dataclass(frozen=True)
class TangentSetting(JointSetting):
    """Norms of the state and a tangent, and their product, in networks whose depth and width go together, layer by layer in law."""

    smallest = 16

    def of_samples(self, x: Array, j: Array, x0: ArrayLike) -> tuple[TangentSetting, Array]:
        """Of states, Jacobians and starts: the setting that starts as they do, and what is looked at.

        The tangent starts at a fixed angle to the state, along it and along a direction of its own for each network.
        """
        start = np.broadcast_to(np.asarray(x0, dtype=float), x.shape)
        size = np.linalg.norm(start, axis=1, keepdims=True)
        across = np.random.default_rng([*x.shape, 3]).standard_normal(
            x.shape
        )  # a stream that starts are hardly drawn from
        across -= start * np.sum(across * start, axis=1, keepdims=True) / size**2
        across *= size / np.linalg.norm(across, axis=1, keepdims=True)
        moved = np.einsum("sij,sj->si", j, _PRODUCT * start + np.sqrt(1 - _PRODUCT**2) * across)
        second = float(np.mean(start**2)) * np.array([[1.0, _PRODUCT], [_PRODUCT, 1.0]])
        entries = [np.mean(a * b, axis=1) for a, b in ((x, x), (x, moved), (moved, moved))]
        return replace(self, start=second), np.stack(entries, axis=1)[:, None, :]

    @property
    def in_whole_layers(self) -> TangentSetting:
        """As of all Gram matrices."""
        found = super().in_whole_layers
        assert isinstance(found, TangentSetting)
        return found

    def networks(self, size: int, samples: int, seed: Seed) -> Array:
        """Networks of a width with one tangent each."""
        recipe = at_width(self.architecture, size)
        skips = state in recipe.program().update.free_symbols
        with explosions_counted(self.exploded, f"networks of width {size}", samples):
            task = ensemble(
                recipe,
                self.layers(size),
                lambda width: checked_start(np.zeros(width), None, 1.0, samples, width, recipe),
                "jacobian",
                None if recipe.regime.is_joint else self.t,
            )
            seen = TangentGram(
                task.observable.program, 1, 1, second=tuple(map(tuple, self.start.tolist())), exact=skips
            )
            found = run_networks(
                replace(task, observable=seen, drawing=InLaw(forms=2)), samples, True, seed, self.workers
            )
        return np.stack([found[:, 0, 0], found[:, 0, 1], found[:, 1, 1]], axis=1)[:, None, :]

    @cached_property
    def origin(self) -> Array:
        """Norms and product."""
        return self.start[np.triu_indices(2)][None, :]

    @property
    def statistics(self) -> list[list[Statistic]]:
        """Of a tangent, and of both."""
        return [
            [("log of a tangent's squared norm", lambda x: np.log(x[:, 0, 2]))],
            [("its angle to the state", lambda x: x[:, 0, 1] / np.sqrt(x[:, 0, 0] * x[:, 0, 2]))],
        ]
