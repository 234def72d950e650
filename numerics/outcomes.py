r"""What became of simulated samples: finite, exploded, absorbed or failed, counted apart and never passed over.

A state that is no number has one of two causes. Either the numbers grew beyond the double range, as where the equation itself explodes: such a
sample is *exploded*, its entries that are not numbers are infinite, and a warning says how many there are. Or a formula has no value where
the sample came, as a cube root of a negative number: that is an error, which says where. To distinguish them the formula is evaluated
once more at the last finite state, with fifty digits and without bounds on the size of numbers.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derivations import Derivation
from derivations.diffusion import Diffusion, Limit, NeuronDiffusion
from derivations.errors import brief, readable
from derivations.notation.printed import Legible
from derivations.steps.domain import continued
from numerics import given
from numerics.compile import compile_expression, compile_sums
from numerics.compile.defined import defined_everywhere, formulas, has_value, possibly_zero, undefined_entry
from numerics.compile.programs import Trace
from numerics.ensembles import Reduction

Array = NDArray[np.float64]


class ProjectWarning(UserWarning):
    """What the user should know of a result that is nevertheless returned."""


class ExplosionWarning(ProjectWarning):
    """Some samples have left the range of numbers."""


class UndefinedState(ValueError):
    """A sample came to where a formula has no value."""

    def __init__(self, message: str) -> None:
        super().__init__(readable(message))


@dataclass(frozen=True, repr=False)
class Outcomes(Legible):
    """How many samples there are, how many exploded, how many are where nothing moves any more, and how many failed."""

    samples: int
    exploded: int
    absorbed: int
    failed: int

    def __str__(self) -> str:
        return f"{self.samples} samples: {self.exploded} exploded, {self.absorbed} absorbed, {self.failed} failed"


@given.checked(limit=given.limit_or_derivation, states=given.array)
def count_outcomes(limit: Limit | Derivation, states: Any) -> Outcomes:
    """Count what became of paths of a limit, or of networks beside it.

    Parameters
    ----------
    limit : Derivation, Diffusion or NeuronDiffusion
        A derivation knows whether its equation can explode.
    states : array, shape (samples, states) or (samples, n, m)
        As :func:`numerics.simulate_sde` and :func:`numerics.simulate_network` return them.

    Returns
    -------
    Outcomes
        Absorbed are finite states at which drift and noise vanish, or at an end of the domain that keeps what reaches it. Infinite ones have
        exploded; where the derivation proves that its equation does not, it is the steps that were too long, and they failed, as have
        states that are nan.

    Raises
    ------
    ValueError
        If there is no sample, or the states are a single number.

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, derive, relu
    >>> print(count_outcomes(depth_limit(ResNet(relu, width=2)), [[1.0, 2.0], [-1.0, -2.0], [np.inf, 0.0]]))
    3 samples: 1 exploded, 1 absorbed, 0 failed
    >>> print(count_outcomes(derive(ResNet(relu, width=2)), [[1.0, 2.0], [-1.0, -2.0], [np.inf, 0.0]]))  # which cannot explode
    3 samples: 0 exploded, 1 absorbed, 1 failed
    """
    x = np.asarray(states, dtype=float)
    if x.ndim == 0 or not x.size:
        raise ValueError(
            f"states must have a row for each sample, as simulate_sde returns them, got the shape {x.shape}"
        )
    cannot = isinstance(limit, Derivation) and limit.existence.explodes == "cannot"
    limit = limit.limit if isinstance(limit, Derivation) else limit
    x = x.reshape(len(x), *((int(limit.width), limit.inputs) if isinstance(limit, NeuronDiffusion) else (-1,)))
    flat = x.reshape(len(x), -1)
    finite, numbers = np.isfinite(flat).all(axis=1), ~np.isnan(flat).any(axis=1)
    exploded = 0 if cannot else int(np.count_nonzero(~finite & numbers))
    still = np.zeros(len(x), dtype=bool)
    still[finite] = _still(limit, x[finite])
    return Outcomes(len(x), exploded, int(np.count_nonzero(still)), int(np.count_nonzero(~finite)) - exploded)


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


def warn_of_explosions(exploded: int, samples: int, what: str, callers: int = 1) -> None:
    """Say how many samples exploded, if any did, to who called the function ``callers`` up from the one that counted."""
    if exploded:
        warnings.warn(
            f"{exploded} of {samples} {what} exploded: they left the range of numbers and hold infinite states; "
            "a shorter time keeps them finite, or more layers or steps where it is the discretisation",
            ExplosionWarning,
            stacklevel=2 + callers,
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
                    f"the {name} {brief(missing)} has no value at {shown} ({where}); give the diffusion the interval in which it "
                    "lives as its domain, or start elsewhere"
                )
    if not neurons and np.abs(state).max() < 1e30:
        with np.errstate(all="ignore"):
            values = compile_expression(symbols, (*limit.drift, *limit.covariance))(*map(float, state), time)
        if all(abs(v) < 1e100 for v in values):
            raise UndefinedState(f"the scheme {scheme} has no value at {shown} ({where}); use euler_maruyama there")


def explain_network(trace: Trace, sample: int, where: str) -> None:
    """Raise where a network was not carried beyond finite states by the size of its numbers.

    Parameters
    ----------
    trace : Trace
        What the formulas of one layer were evaluated at.
    sample : int
        Which network of the block.
    where : str
        Which layer and which sample, for people.

    Raises
    ------
    UndefinedState
        If a formula has no value at finite numbers.
    """
    for expr, arguments, value in trace:
        if defined_everywhere(possibly_zero(expr)):
            continue
        symbols, values = tuple(arguments), tuple(arguments.values())
        for neuron, column in np.argwhere(~np.isfinite(value[sample])):
            point = tuple(_entry(v, sample, neuron, column) for v in values)
            if not np.isfinite(point).all() or has_value(expr, symbols, point):
                continue
            at = ", ".join(f"{s.name} = {v:.6g}" for s, v in zip(symbols, point, strict=True))
            several = f", input {column + 1}" if value.shape[2] > 1 else ""
            raise UndefinedState(
                f"{brief(expr)} has no value at {at}: {where}, neuron {neuron + 1}{several}; choose an activation that is defined "
                "wherever states go, or a start that stays away"
            )


def _entry(values: Any, sample: int, neuron: int, column: int) -> float:
    array = np.asarray(values)
    return float(
        array
        if array.ndim == 0
        else np.broadcast_to(array[sample], array.shape[1:])[
            min(neuron, array.shape[1] - 1), min(column, array.shape[2] - 1)
        ]
    )
