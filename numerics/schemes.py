r"""Ways to step a diffusion forward in time, with their orders of convergence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derivations.calculus.exponential import collapse_linear
from derivations.diffusion import Diffusion, Limit, NeuronDiffusion
from derivations.laws import Law, recognise
from derivations.limits import CollapseDiffusion, GramDiffusion
from numerics.compile import compile_expression, compile_sampler, compile_sums
from numerics.linalg import semidefinite_factor

Array = NDArray[np.float64]
#: From the states of a block, shape (samples, ...), through a span of time in a number of steps; may work in place.
Advance = Callable[[Array, float, float, int, np.random.Generator], Array]


class Scheme(ABC):
    """Interface: one way to step a diffusion.

    Attributes
    ----------
    name : str
    strong_order, weak_order : Fraction or None
        Powers of the step size in the errors of paths and of expectations; ``None`` where there is no error.
    """

    name: str
    strong_order: Fraction | None
    weak_order: Fraction | None

    @abstractmethod
    def prepare(self, limit: Limit) -> Advance:
        """Compile what stepping this diffusion needs; the result is called ``(states, time, duration, steps, rng)``."""


@dataclass(frozen=True)
class EulerMaruyama(Scheme):
    r"""The scheme :math:`X' = X + b(X, t)\,h + \sigma(X, t)\sqrt h\,\xi`, :math:`\xi \sim N(0, I)`, with any :math:`\sigma\sigma^\top = a`.

    It is what a network does with its layers, and has the same orders in the number of steps.
    """

    name: str = "euler_maruyama"
    strong_order: Fraction = Fraction(1, 2)
    weak_order: Fraction = Fraction(1)

    def prepare(self, limit: Limit) -> Advance:
        """Compile drift and covariance."""
        coefficients = compiled_coefficients(limit)

        def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
            h = duration / steps
            # the samples go last in memory: sums over neurons and factors of small matrices then run along them
            x, noise = samples_last(x), samples_last(np.empty_like(x))
            for step in range(steps):
                rng.standard_normal(out=np.moveaxis(noise, 0, -1))
                coefficients(x, time + step * h, h, noise)
            return x

        return advance


@dataclass(frozen=True)
class ExactLaw(Scheme):
    """Draws from the law itself, one transition per asked-for time, where :func:`derivations.laws.recognition` knows it."""

    name: str = "exact"
    strong_order: None = None
    weak_order: None = None

    def prepare(self, limit: Limit) -> Advance:
        """Recognise the law and compile its sampler."""
        if not isinstance(limit, Diffusion) or len(limit.states) != 1:
            raise ValueError("exact laws are known for scalar diffusions; use the scheme EulerMaruyama()")
        return law_steps(recognise(limit))


@dataclass(frozen=True)
class Congruence(Scheme):
    r"""A step on the cone of Gram matrices, :math:`V' = L(1 + \tfrac12 S)^2L^\top` with Cholesky's :math:`V = LL^\top`.

    S is symmetric, :math:`S = \sqrt{\lambda h}\,N + h\,(L^{-1} b L^{-\top} - \tfrac14 \lambda (m+1))`, with independent entries of N, of
    variance 2 on the diagonal and 1 off it. A congruence of a square is positive semi-definite whatever N is.
    *Derivation.* :math:`LNL^\top` has the covariance of the limit (:class:`derivations.limits.GramDiffusion`), and
    :math:`\mathbb{E}N^2 = m + 1`, so :math:`\mathbb{E}(1 + \tfrac12S)^2 = 1 + h\,L^{-1}bL^{-\top} + O(h^2)`.
    The factor is carried from step to step (rotated back to a triangle), so a small angle between inputs keeps its
    relative precision.
    """

    name: str = "congruence"
    strong_order: Fraction = Fraction(1, 2)
    weak_order: Fraction = Fraction(1)

    def prepare(self, limit: Limit) -> Advance:
        """Compile the drift in the coordinates of the factor."""
        if not isinstance(limit, GramDiffusion):
            raise ValueError(
                "the scheme steps diffusions of Gram matrices, as joint_limit(ShapedMLP(...)) gives, "
                f"got a {type(limit).__name__}"
            )
        m, pairs = limit.inputs, [(a, b) for a in range(limit.inputs) for b in range(a, limit.inputs)]
        lower, relative = limit.relative_drift
        arguments = (*(lower[b, a] for a, b in pairs), limit.time)
        drift = compile_expression(arguments, tuple(relative[b, a] for a, b in pairs))
        strength = float(limit.strength)

        def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
            h, factor = duration / steps, semidefinite_factor(_symmetric(x, m))
            rows: list[list[Any]] = [[np.ascontiguousarray(factor[:, a, b]) for b in range(m)] for a in range(m)]
            noise = np.empty((len(pairs), len(x)))
            scales = [np.sqrt(strength * h * (2.0 if a == b else 1.0)) / 2 for a, b in pairs]
            for step in range(steps):
                rng.standard_normal(out=noise)
                velocities = drift(*(rows[b][a] for a, b in pairs), time + step * h)
                half: dict[tuple[int, int], Array] = {}  # 1 + S/2
                for (a, b), scale, velocity, xi in zip(pairs, scales, velocities, noise, strict=True):
                    xi *= scale
                    xi += velocity * (h / 2)
                    if a == b:
                        xi += 1.0 - strength * (m + 1) * h / 8
                    half[a, b] = half[b, a] = xi
                rows = _triangle(
                    [[sum(rows[a][k] * half[k, b] for k in range(a + 1)) for b in range(m)] for a in range(m)]
                )
            ends = [sum(rows[a][k] * rows[b][k] for k in range(min(a, b) + 1)) for a, b in pairs]
            return np.stack(ends, axis=1)

        return advance


def _symmetric(x: Array, m: int) -> Array:
    full = np.empty((len(x), m, m))
    for column, (a, b) in enumerate((i, j) for i in range(m) for j in range(i, m)):
        full[:, a, b] = full[:, b, a] = x[:, column]
    return full


def _triangle(rows: list[list[Any]]) -> list[list[Any]]:
    """Rotate columns until nothing is left above the diagonal: another factor of the same matrix, without subtractions."""
    m = len(rows)
    for i in range(m):
        for j in range(i + 1, m):
            length = np.hypot(rows[i][i], rows[i][j])
            safe = np.where(length > 0, length, 1.0)
            c, s = rows[i][i] / safe, rows[i][j] / safe
            rows[i][i] = length
            for k in range(i + 1, m):
                rows[k][i], rows[k][j] = c * rows[k][i] + s * rows[k][j], c * rows[k][j] - s * rows[k][i]
        sign = np.where(rows[i][i] < 0, -1.0, 1.0)
        for k in range(i, m):
            rows[k][i] = rows[k][i] * sign
    return rows


@dataclass(frozen=True)
class LinearForm(Scheme):
    r"""Steps of :math:`q = (t/w)^2` through the linear equation of w, which is not singular at t = 0.

    With :math:`\mathrm{d}w = (\kappa + \mu w)\mathrm{d}t - \sigma w\,\mathrm{d}B` one step is
    :math:`w' = e^{\xi}(w + \tfrac12\kappa h) + \tfrac12\kappa h` with
    :math:`\xi = (\mu - \tfrac12\sigma^2)h - \sigma\sqrt h\,N`: the exact solution but for the trapezoidal rule in its
    integral. Whatever :math:`x_0` is, :math:`w_0 = 0`.
    """

    name: str = "linear_form"
    strong_order: Fraction = Fraction(1)
    weak_order: Fraction = Fraction(1)

    def prepare(self, limit: Limit) -> Advance:
        """Read the coefficients of w off Itô's formula."""
        if not isinstance(limit, CollapseDiffusion):
            raise ValueError(f"the scheme steps the limit of an unshaped perceptron, got a {type(limit).__name__}")
        w = collapse_linear(limit)
        kappa, mu, variance = (float(c) for c in (w.source, w.growth, w.variance))

        def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
            h = duration / steps
            value = time / np.sqrt(x[:, 0])
            noise = np.empty(len(x))
            for _ in range(steps):
                rng.standard_normal(out=noise)
                noise *= np.sqrt(variance * h)
                noise += (mu - variance / 2) * h
                value = np.exp(noise) * (value + kappa * h / 2) + kappa * h / 2
            return ((time + duration) / value[:, np.newaxis]) ** 2

        return advance


#: All schemes.
SCHEMES: tuple[Scheme, ...] = (EulerMaruyama(), ExactLaw(), Congruence(), LinearForm())


def find_scheme(scheme: Scheme | str) -> Scheme:
    """A scheme by its name; a :class:`Scheme` is returned as it is.

    Examples
    --------
    >>> find_scheme("euler_maruyama").weak_order
    Fraction(1, 1)
    """
    if isinstance(scheme, Scheme):
        return scheme
    for known in SCHEMES:
        if known.name == scheme:
            return known
    raise ValueError(f"expected a scheme among {', '.join(s.name for s in SCHEMES)}, got {scheme!r}")


def law_steps(law: Law) -> Advance:
    """Exact transitions of a law on states of shape (samples, 1); being exact, they take the whole duration at once."""
    sampler = compile_sampler(law)

    def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
        return sampler(x[:, 0], duration, rng)[:, np.newaxis]

    return advance


def samples_last(x: Array) -> Array:
    """A copy of the same shape whose first axis is contiguous in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)


@singledispatch
def _coefficients(limit: Any) -> Callable[[Array, float, float, Array], None]:
    raise ValueError(
        f"expected a Diffusion or a NeuronDiffusion to step, got a {type(limit).__name__}; "
        "a Flow has no noise: simulate_sde integrates it as an ordinary differential equation"
    )


@lru_cache(maxsize=64)
def compiled_coefficients(limit: Limit) -> Callable[[Array, float, float, Array], None]:
    r"""One Euler–Maruyama step as an array function: called ``(x, t, h, ξ)``, it adds :math:`b h + \sigma\sqrt h\,\xi` to x."""
    return _coefficients(limit)


@_coefficients.register
def _(limit: Diffusion) -> Callable[[Array, float, float, Array], None]:
    size = len(limit.states)
    moved = [k for k in range(size) if limit.drift[k] != 0]
    diagonal = limit.covariance.is_diagonal()
    noisy = [k for k in range(size) if limit.covariance[k, k] != 0]
    arguments = (*limit.states, limit.time)
    drift = compile_expression(arguments, tuple(limit.drift[k] for k in moved))
    entries = tuple(limit.covariance[k, k] for k in noisy) if diagonal else (limit.covariance,)
    covariance = compile_expression(arguments, entries)

    def add(x: Array, time: float, h: float, noise: Array) -> None:
        columns = [x[:, k] for k in range(size)]
        velocities, variances = drift(*columns, time), covariance(*columns, time)
        if diagonal:
            for k, variance in zip(noisy, variances, strict=True):
                x[:, k] += np.sqrt(np.maximum(variance, 0.0) * h) * noise[:, k]
        else:
            _add_correlated(x[:, np.newaxis, :], semidefinite_factor(variances[0] * h), noise[:, np.newaxis, :])
        for k, velocity in zip(moved, velocities, strict=True):
            x[:, k] += velocity * h

    return add


@_coefficients.register
def _(limit: CollapseDiffusion) -> Callable[[Array, float, float, Array], None]:
    raise ValueError('the coefficients are singular at t = 0, where paths start; use scheme="linear_form"')


@_coefficients.register
def _(limit: NeuronDiffusion) -> Callable[[Array, float, float, Array], None]:
    still = all(entry == 0 for entry in limit.neuron_drift)
    single = limit.inputs == 1
    covariance = compile_sums(
        limit.neuron, limit.neuron_covariance[0, 0] if single else limit.neuron_covariance, (limit.time,)
    )
    drift = None if still else compile_sums(limit.neuron, limit.neuron_drift, (limit.time,))
    if covariance.per_neuron:
        raise ValueError(
            "the covariance of a neuron must be the same for all neurons, a function of sums over the layer"
        )

    def add(x: Array, time: float, h: float, noise: Array) -> None:
        g = covariance(x, time) * h
        velocity = None if drift is None else drift(x, time)
        if single:
            x += np.sqrt(np.maximum(g, 0.0))[:, np.newaxis, np.newaxis] * noise
        else:
            _add_correlated(x, semidefinite_factor(g), noise)
        if velocity is not None:
            x += (velocity if velocity.ndim == x.ndim + 1 else velocity[:, np.newaxis])[..., 0] * h

    return add


def _add_correlated(x: Array, factor: Array, noise: Array) -> None:
    r"""Add :math:`\sum_\beta \ell_{\alpha\beta}\,\xi_{i\beta}` for each sample, entry by entry of the small lower triangle."""
    for a in range(x.shape[-1]):
        for b in range(a + 1):
            x[..., a] += factor[:, a, b, np.newaxis] * noise[..., b]
