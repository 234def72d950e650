r"""Euler–Maruyama steps of any diffusion, with the noise of a layer or of a whole matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, singledispatch
from typing import Any

import numpy as np

from derivations.diffusion import Diffusion, Limit, NeuronDiffusion
from derivations.errors import kind_of
from derivations.limits import CollapseDiffusion
from derivations.steps.domain import continued
from derivations.steps.surface import surface, within_rounding
from numerics.compile import compile_expression, compile_sums
from numerics.compile.surface import back_to_surface
from numerics.linalg import semidefinite_factor
from numerics.schemes.base import Advance, Array, Couple, Scheme, both_inside, jitted, kept_inside, samples_last


@dataclass(frozen=True)
class EulerMaruyama(Scheme):
    r"""The scheme :math:`X' = X + b(X, t)\,h + \sigma(X, t)\sqrt h\,\xi`, :math:`\xi \sim N(0, I)`, with any :math:`\sigma\sigma^\top = a`.

    It is what a network does with its layers, and has the same orders in the number of steps. Behind a norm each step is taken back to
    where the diffusion lives, as :func:`numerics.compile.surface.back_to_surface` derives.
    """

    name: str = "euler_maruyama"
    strong_order: Fraction = Fraction(1, 2)
    weak_order: Fraction = Fraction(1)

    def prepare(self, limit: Limit) -> Advance:
        """Compile drift and covariance."""
        beyond = continued(limit)
        coefficients = compiled_coefficients(limit if beyond is None else beyond.process)
        back = back_to_surface(limit)

        def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
            h = duration / steps
            # the samples go last in memory: sums over neurons and factors of small matrices then run along them
            x, noise = samples_last(x), samples_last(np.empty_like(x))
            for step in range(steps):
                rng.standard_normal(out=np.moveaxis(noise, 0, -1))
                coefficients(x, time + step * h, h, noise)
                if back is not None:
                    x[:] = back(x)
            return x

        return kept_inside(limit, beyond, advance)

    def couple(self, limit: Limit) -> Couple:
        """Two fine steps beside one coarse."""
        beyond = continued(limit)
        coefficients = compiled_coefficients(limit if beyond is None else beyond.process)
        back = back_to_surface(limit)

        def couple(x: Array, time: float, h: float, steps: int, rng: np.random.Generator) -> tuple[Array, Array]:
            fine, coarse, first, second = (samples_last(x) for _ in range(4))
            for step in range(0, steps, 2):
                now = time + step * h
                for noise, at in ((first, now), (second, now + h)):
                    rng.standard_normal(out=np.moveaxis(noise, 0, -1))
                    coefficients(fine, at, h, noise)
                    if back is not None:
                        fine[:] = back(fine)
                first += second
                first *= np.sqrt(0.5)
                coefficients(coarse, now, 2 * h, first)
                if back is not None:
                    coarse[:] = back(coarse)
            return fine, coarse

        return both_inside(limit, beyond, couple)

    def jit(self, limit: Limit) -> Advance:
        """One kernel for draws, coefficients and update."""
        from numerics.compile.jit_paths import euler_kernel

        if surface(limit):
            raise ValueError(
                'steps behind a norm, which are taken back to it, have no machine-code kernel; use backend="numpy"'
            )
        beyond = continued(limit)
        return kept_inside(limit, beyond, jitted(euler_kernel(limit if beyond is None else beyond.process)))


@singledispatch
def _coefficients(limit: Any) -> Callable[[Array, float, float, Array], None]:
    raise ValueError(
        f"expected a Diffusion or a NeuronDiffusion to step, got {kind_of(limit)}; "
        "a Flow has no noise: simulate_sde integrates it as an ordinary differential equation"
    )


@lru_cache(maxsize=64)
def compiled_coefficients(limit: Limit) -> Callable[[Array, float, float, Array], None]:
    r"""One Euler–Maruyama step as an array function: called ``(x, t, h, ξ)``, it adds :math:`b h + \sigma\sqrt h\,\xi` to x."""
    return _coefficients(limit)


@_coefficients.register
def _(limit: Diffusion) -> Callable[[Array, float, float, Array], None]:
    limit, size = within_rounding(limit), len(limit.states)
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
