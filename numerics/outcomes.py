r"""What became of simulated samples: finite, exploded, or undefined, told apart and never passed over.

A state that is no number has one of two causes. Either the numbers grew beyond the double range, as where the equation itself explodes: such a
sample is *exploded*, its entries that are not numbers are infinite, and a warning says how many there are. Or a formula has no value where
the sample came, as a cube root of a negative number: that is an error, which says where. To tell them apart the formula is evaluated
once more at the last finite state, with fifty digits and without bounds on the size of numbers.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derivations.architectures import Layer
from derivations.diffusion import Diffusion, Limit, NeuronDiffusion
from derivations.steps.domain import continued
from derivations.symbols import noise, shift, state, step
from numerics.compile import compile_expression, compile_sums
from numerics.compile.defined import defined_everywhere, formulas, has_value, undefined_entry
from numerics.ensembles import Reduction

Array = NDArray[np.float64]


class ProjectWarning(UserWarning):
    """What the user should know of a result that is nevertheless returned."""


class ExplosionWarning(ProjectWarning):
    """Some samples have left the range of numbers."""


class UndefinedState(ValueError):
    """A sample came to where a formula has no value."""


@dataclass(frozen=True)
class Outcomes:
    """How many samples there are, how many exploded, and how many are where nothing moves any more."""

    samples: int
    exploded: int
    absorbed: int

    def __str__(self) -> str:
        return f"{self.samples} samples: {self.exploded} exploded, {self.absorbed} absorbed"


def count_outcomes(limit: Limit, states: Any) -> Outcomes:
    """Count what became of paths of a limit, or of networks beside it.

    Parameters
    ----------
    limit : Diffusion or NeuronDiffusion
    states : array, shape (samples, states) or (samples, n, m)
        As :func:`numerics.simulate_sde` and :func:`numerics.simulate_network` return them.

    Returns
    -------
    Outcomes
        Absorbed are finite states at which drift and noise vanish, or at an end of the domain that keeps what reaches it.

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, relu
    >>> print(count_outcomes(depth_limit(ResNet(relu, width=2)), [[1.0, 2.0], [-1.0, -2.0], [np.inf, 0.0]]))
    3 samples: 1 exploded, 1 absorbed
    """
    x = np.asarray(states, dtype=float)
    x = x.reshape(len(x), *((int(limit.width), limit.inputs) if isinstance(limit, NeuronDiffusion) else (-1,)))
    finite = np.isfinite(x.reshape(len(x), -1)).all(axis=1)
    still = np.zeros(len(x), dtype=bool)
    still[finite] = _still(limit, x[finite])
    return Outcomes(len(x), int(np.count_nonzero(~finite)), int(np.count_nonzero(still)))


def _still(limit: Limit, x: Array) -> Array:
    if not len(x):
        return np.zeros(0, dtype=bool)
    if isinstance(limit, NeuronDiffusion):
        drift = np.asarray(compile_sums(limit.neuron, limit.neuron_drift, (limit.time,))(x, 0.0))
        noise = np.asarray(compile_sums(limit.neuron, limit.neuron_covariance, (limit.time,))(x, 0.0))
        return np.array((drift == 0).reshape(len(x), -1).all(axis=1) & (noise == 0).reshape(len(x), -1).all(axis=1))
    ends = np.zeros(len(x), dtype=bool)
    beyond = continued(limit)
    if beyond is not None:
        ends = np.isin(x[:, 0], [float(end) for end in beyond.keeps])
    with np.errstate(all="ignore"):
        entries = compile_expression((*limit.states, limit.time), (*limit.drift, *limit.covariance))(*x.T, 0.0)
    return np.array(ends | np.all([np.asarray(entry) == 0 for entry in entries], axis=0))


@dataclass(frozen=True)
class NotFinite(Reduction):
    """The number of samples with an entry that is not finite."""

    def part(self, values: Array) -> dict[str, Array]:
        """Of one block."""
        flat = np.asarray(values, dtype=float).reshape(len(values), -1)
        return {"count": np.array([np.count_nonzero(~np.isfinite(flat).all(axis=1)), len(flat)])}

    def join(self, first: dict[str, Array], second: dict[str, Array]) -> dict[str, Array]:
        """Counts add up."""
        return {"count": first["count"] + second["count"]}

    def result(self, part: dict[str, Array]) -> tuple[int, int]:
        """How many, of how many."""
        return int(part["count"][0]), int(part["count"][1])


def warn_of_explosions(exploded: int, samples: int, what: str) -> None:
    """Say how many samples exploded, if any did."""
    if exploded:
        warnings.warn(
            f"{exploded} of {samples} {what} exploded: they left the range of numbers and hold infinite states; "
            "a shorter time keeps them finite, or more layers or steps where it is the discretisation",
            ExplosionWarning,
            stacklevel=3,
        )


def without_nan(states: Array) -> Array:
    """Entries that are not numbers as +∞: what has diverged has left every bound."""
    if np.isnan(states).any():
        return np.where(np.isnan(states), np.inf, states)
    return states


def explain_path(limit: Diffusion | NeuronDiffusion, state: Array, time: float, where: str, scheme: str) -> None:
    """Raise where a path was not carried beyond a finite state by the size of its numbers.

    Raises
    ------
    UndefinedState
        If a coefficient has no value at the state, or the scheme's own formula has none.
    """
    neurons = isinstance(limit, NeuronDiffusion)
    symbols = (*(limit.neuron if isinstance(limit, NeuronDiffusion) else limit.states), limit.time)
    for row in np.asarray(state).reshape(-1, len(symbols) - 1):
        shown = ", ".join(f"{s} = {v:.6g}" for s, v in zip(symbols, (*row, time), strict=True))
        for name, entries in formulas(limit).items():
            missing = undefined_entry(entries, symbols, (*row, time))
            if missing is not None:
                raise UndefinedState(
                    f"the {name} {missing} has no value at {shown} ({where}); give the diffusion the interval in which it "
                    "lives as its domain, or start elsewhere"
                )
    if not neurons and np.abs(state).max() < 1e30:
        with np.errstate(all="ignore"):
            values = compile_expression(symbols, (*limit.drift, *limit.covariance))(*map(float, state), time)
        if all(np.isfinite(v) for v in values):
            raise UndefinedState(f"the scheme {scheme} has no value at {shown} ({where}); use euler_maruyama there")


def explain_network(layer: Layer, before: Array, pre: Array, where: str) -> None:
    """Raise where a network was not carried beyond finite states by the size of its numbers.

    Parameters
    ----------
    layer : Layer
    before : array, shape (n, m)
        States of one network before the layer.
    pre : array, shape (3, n, m)
        The pre-activations of the layer, their shifts and its step size.
    where : str
        Which layer and which sample.

    Raises
    ------
    UndefinedState
        If the activation, or the update, has no value there.
    """
    inner = layer.preactivation.inner
    for (neuron, column), value in np.ndenumerate(before):
        if not defined_everywhere(inner.expr) and not has_value(inner.expr, (inner.variable,), (value,)):
            raise UndefinedState(
                f"the activation {inner.expr} has no value at {inner.variable} = {value:.6g}: {where}, neuron {neuron + 1}"
                + (f", input {column + 1}" if before.shape[1] > 1 else "")
                + "; choose an activation that is defined wherever states go, or a start that stays away"
            )
    if not np.isfinite(pre).all() or defined_everywhere(layer.update):
        return
    symbols = (state, noise, shift, step)
    for point in zip(*(np.broadcast_to(part, before.shape).ravel() for part in (before, *pre)), strict=True):
        if not has_value(layer.update, symbols, point):
            raise UndefinedState(
                f"the update {layer.update} has no value at a pre-activation of {point[1]:.6g}: {where}; "
                "choose an outer activation that is defined everywhere"
            )
