r"""The law of a tangent kernel, sampled from its limit: forward norms along the depth, then gradients back from the output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from derivations.backward import KernelLaw
from derivations.backward.kernel_law import ACROSS, ALONG, SQUARE
from derivations.gaussian.node import GaussianMean
from derivations.symbols import time
from numerics import given
from numerics.compile.tabulated import Array, tabulated
from numerics.ensembles import Seed, run_ensemble

_BLOCK = 4096
_OF = ("kernel", "gradient")


@given.checked(samples=given.whole, t=given.number, v0=given.number, steps=given.whole)
def sample_tangent_kernel(
    law: KernelLaw,
    samples: int,
    t: float = 1.0,
    v0: float = 1.0,
    steps: int = 64,
    of: str = "kernel",
    seed: Seed = 0,
    workers: int = 1,
) -> Array:
    r"""Samples of the tangent kernel of one output, or of the squared norm of its gradient in the input, in the limit.

    V is stepped from the input to depth t; then c and P from the output back to the input, with the noise that they share with V
    (:class:`~derivations.backward.KernelLaw`). Both schemes keep signs, are of weak order 1, and exact where a norm is log-normal by
    itself.

    Parameters
    ----------
    law : KernelLaw
        Of a width that is a number, or of depth and width together.
    samples : int
    t : float
        Depth, in the limit's units.
    v0 : float
        The squared norm of the input over the width.
    steps : int
    of : {"kernel", "gradient"}
    seed, workers
        As for :func:`numerics.simulate_sde`.

    Returns
    -------
    array, shape (samples,)
        In units of so many layers where a unit of time is a power of the width. For an output :math:`g\cdot x_t` with
        :math:`g \sim N(0, I/n)`. Infinite where the state explodes, or a number leaves the range of doubles.

    Raises
    ------
    ValueError
        If a width or parameter is a symbol, and for sizes that make no sense.

    Examples
    --------
    >>> from derivations import MLP, relu
    >>> from derivations.backward import jacobian
    >>> law = jacobian(MLP(relu)).kernel_law
    >>> theta = sample_tangent_kernel(law, 20_000, t=0.1)
    >>> bool(abs(theta.mean() - 0.1) < 0.003)
    True
    """
    if of not in _OF:
        raise ValueError(f"of must be one of {', '.join(_OF)}, got {of!r}")
    if not (np.isfinite(t) and t > 0 and np.isfinite(v0) and v0 > 0):
        raise ValueError(f"t and v0 must be finite and positive, got {t} and {v0}")
    if steps < 1 or samples < 1:
        raise ValueError(f"steps and samples must be at least 1, got {steps} and {samples}")
    if law.gram.share.free_symbols:
        raise ValueError(f"the width is the symbol {1 / law.gram.share}; a law is sampled at a width that is a number")
    if any(
        mean.has(time)
        for formula in (law.drift, law.covariance, law.rate, law.backward_drift, law.backward_covariance)
        for mean in formula.atoms(GaussianMean)
    ):
        raise ValueError(
            "what activations do moves with the depth, since variances of weights before them do; follow networks by simulate_jacobian"
        )
    return run_ensemble(_Ensemble(law, float(t), float(v0), int(steps), of), samples, _BLOCK, seed, workers)


@dataclass(frozen=True)
class _Ensemble:
    """Blocks of samples."""

    law: KernelLaw
    t: float
    v0: float
    steps: int
    of: str
    _functions: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        law = self.law
        formulas = {
            "forward": (law.drift, law.covariance),
            "backward": (law.backward_drift, law.backward_covariance, law.shared),
            "rate": law.rate,
            "gradient": law.squared,
        }
        self._functions.update(tabulated((SQUARE, ALONG, ACROSS, time), formulas, self.v0))

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> Array:
        """The values of some samples; infinite where the state or the gradient left the range of doubles."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._sampled(count, rng)

    def _sampled(self, count: int, rng: np.random.Generator) -> Array:
        h, share = self.t / self.steps, float(self.law.gram.share)
        v, pushes = np.empty((self.steps + 1, count)), rng.standard_normal((self.steps, count)) * np.sqrt(h)
        v[0], still = self.v0, (np.zeros(count), np.zeros(count))
        for k in range(self.steps):
            drift, rate = self._functions["forward"](v[k], *still, (k + 0.5) * h)
            v[k + 1] = _positive(v[k], drift, rate, np.sqrt(rate) * pushes[k], h)
        c = rng.standard_normal(count) * np.sqrt(v[-1])
        p = np.ones(count) if share == 0 else rng.chisquare(1 / share - 1, count) * share
        ends = [self._functions["rate"](v[-1], c, p, self.t)]
        for k in reversed(range(self.steps)):
            c, p = self._back(v[k], c, p, (k + 0.5) * h, pushes[k], rng.standard_normal((2, count)) * np.sqrt(h), h)
            ends.append(self._functions["rate"](v[k], c, p, k * h))
        gone = ~(np.isfinite(v).all(axis=0) & np.isfinite(c) & np.isfinite(p))
        values = (
            self._functions["gradient"](v[0], c, p, 0.0)
            if self.of == "gradient"
            else np.trapezoid(np.stack(ends), dx=h, axis=0)
        )
        return np.where(gone, np.inf, values)

    def _back(self, v: Array, c: Array, p: Array, s: float, push: Array, own: Array, h: float) -> tuple[Array, Array]:
        """One step towards the input, at the time s in its middle; ``push`` is the noise of V in the same step."""
        drift, covariance, shared = self._functions["backward"](v, c, p, s)
        rate = self._functions["forward"](v, c, p, s)[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            along = np.where(rate[:, None] > 0, shared[:, :, 0] / np.sqrt(rate)[:, None], 0.0)
        left = covariance - along[:, :, None] * along[:, None, :]
        first = np.sqrt(np.maximum(left[:, 0, 0], 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            mixed = np.where(first > 0, left[:, 0, 1] / first, 0.0)
        second = np.sqrt(np.maximum(left[:, 1, 1] - mixed**2, 0.0))
        moved = along[:, 0] * push + first * own[0], along[:, 1] * push + mixed * own[0] + second * own[1]
        return c + drift[:, 0, 0] * h + moved[0], _positive(p, drift[:, 1, 0], covariance[:, 1, 1], moved[1], h)


def _positive(x: Array, drift: Array, rate: Array, noise: Array, h: float) -> Array:
    """A step that stays positive, with the right mean: exact for a log-normal motion, what is added at a rate added at the end."""
    grown = x * np.exp((np.minimum(drift, 0.0) / x - rate / x**2 / 2) * h + noise / x)
    return np.asarray(grown + np.maximum(drift, 0.0) * h)
