r"""Gradient descent, step by step, on a network of infinite width.

With :math:`f = \frac{1}{\gamma_0}\langle v\,x_L\rangle` and gradients in units of one neuron's part, a step adds
:math:`\eta\gamma_0\sum_\nu \Delta_\nu\,d_\nu\langle b_\nu\,\cdot\,\rangle` to what a matrix makes, :math:`\Delta_\nu = (y_\nu - f_\nu)/m`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from derivations.dynamics import TrainingLimit
from derivations.dynamics.adjoint import ratio
from derivations.language.statements import Matrix
from derivations.language.statements import Neurons as Said
from numerics.dynamics.layers import Layer
from numerics.dynamics.neurons import Coefficients, Neurons, Samples

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    r"""What is trained, and how.

    Parameters
    ----------
    limit : TrainingLimit
    depth : int
    gram : array, shape (m, m)
        :math:`K_0`, of the inputs.
    targets : array, shape (m,)
        nan for inputs that are followed, but not trained on.
    rate, richness : float
        :math:`\eta` and :math:`\gamma_0`.
    steps : int
    t : float
        :math:`\varepsilon^2` times the depth.
    neurons : int or None
        How many are sampled for the state; None for fields that are known exactly.
    momentum : float
        How much of its last change a step adds.
    """

    limit: TrainingLimit
    depth: int
    gram: Array
    targets: Array
    rate: float
    richness: float
    steps: int
    t: float
    neurons: int | None
    momentum: float = 0.0

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Which inputs are trained on."""
        return np.asarray(np.isfinite(self.targets))

    def deeper(self) -> Settings:
        """With twice as many layers."""
        return replace(self, depth=2 * self.depth)

    def finer(self) -> Settings:
        """With twice as many steps of half the size."""
        return replace(self, rate=self.rate / 2, steps=2 * self.steps)

    def numbers(self, repeats: int) -> int:
        """About how many are kept: entries of matrices, and what they met; or coefficients of all that they met."""
        adjoint, passes = self.limit.adjoint, 1 if self.richness == 0 else self.steps + 1
        met, total = passes * len(self.targets), 0.0
        for s in adjoint.matrices:
            sizes = [float(ratio(layer, adjoint.program.neurons)) for layer in (s.source, s.target)]
            if self.neurons is None:  # each vector that is met brings a Gaussian number on each side
                uses = 2 * met * len(adjoint.matrices) * self.depth
                total += 8 * met * uses
            else:
                arrays = 2 if self.momentum else 1  # with the last change
                total += arrays * self.neurons**2 * (sizes[0] * sizes[1]) + 1.5 * repeats * met * self.neurons * sum(
                    sizes
                )
        return round(self.depth * total)


class Descent:
    """A network of infinite width while it is trained.

    Parameters
    ----------
    settings : Settings
    rng : Generator
        For sampled neurons.
    """

    def __init__(self, settings: Settings, rng: np.random.Generator) -> None:
        self.settings, own = settings, settings.limit.adjoint.program.neurons
        said = {own, *(s.target for s in settings.limit.adjoint.matrices)}

        def drawn(layer: Said) -> Neurons:
            count = settings.neurons
            return Coefficients() if count is None else Samples(max(1, round(count * float(ratio(layer, own)))), rng)

        self.state, size = drawn(own), float(np.sqrt(settings.t / settings.depth))
        self.layers = [
            Layer(settings.limit, {layer: self.state if layer == own else drawn(layer) for layer in said}, size)
            for _ in range(settings.depth)
        ]
        self.readout = self.state.fresh()[None]
        self.first = _root(settings.gram) @ np.stack([self.state.aligned(self.state.fresh()) for _ in settings.gram])
        self.last = self.gradient = self.first
        self._moving = [np.zeros_like(rows) for rows in (self.readout, self.first)]

    def run(self, stepped: Callable[[], None] = lambda: None) -> Array:
        """All steps: the outputs before the first one and after each, shape (steps + 1, m); ``stepped`` is called after each.

        Raises
        ------
        ValueError
            When the loss is no finite number any more, with the step.
        """
        outputs = np.zeros((self.settings.steps + 1, len(self.settings.targets)))
        with np.errstate(over="ignore", invalid="ignore"):
            self._pass()
            kernel = self.tangent_kernel() if self.settings.richness == 0 else None
            moved = np.zeros(len(self.settings.targets))
            for k in range(self.settings.steps):
                if kernel is None:
                    outputs[k] = self._outputs()
                    self._step(self.settings.richness * self._errors(outputs[k], k))
                    self._pass()
                else:
                    moved = self.settings.momentum * moved + kernel @ self._errors(outputs[k], k)
                    outputs[k + 1] = outputs[k] + moved
                stepped()
            if kernel is None:
                outputs[-1] = self._outputs()
            self._errors(outputs[-1], self.settings.steps)
        return outputs

    def _outputs(self) -> Array:
        return np.asarray(self.state.inner(self.last, self.readout)[:, 0] / self.settings.richness)

    def _errors(self, outputs: Array, step: int) -> Array:
        """The learning rate times what is left of the targets, over their number."""
        s = self.settings
        errors = np.where(s.fitted, s.targets - outputs, 0.0) * (s.rate / s.fitted.sum())
        if not np.isfinite(errors @ errors):
            raise ValueError(f"the loss is no finite number at step {step}; take a learning rate below {s.rate:g}")
        return np.asarray(errors)

    def tangent_kernel(self) -> Array:
        """What a step does to the outputs to first order, over the learning rate: shape (m, m)."""
        inner, own = self.state.inner, self.settings.limit.adjoint.program.neurons
        total = inner(self.last, self.last) + self.settings.gram * inner(self.gradient, self.gradient)
        for layer in self.layers:
            for s, gradient, read in layer.gradients():
                scale = self._pace(s) * float(s.weights.variance * ratio(s.target, own))
                total = total + scale * (gradient @ gradient.T) * (read @ read.T)
            for s, pushed in layer.pushed.items():
                scale = self._pace(s) * float(s.weights.bias_variance * ratio(s.target, own))
                total = total + scale * layer.neurons[s.target].inner(pushed, pushed)
        return np.asarray(total)

    def _pass(self) -> None:
        x = self.state.aligned(self.first)
        for layer in self.layers:
            x = layer.forward(x)
        self.last = x
        g = np.repeat(self.state.aligned(self.readout), len(x), axis=0)
        for layer in reversed(self.layers):
            g = layer.backward(g)
        self.gradient = g

    def _step(self, amount: Array) -> None:
        momentum, align = self.settings.momentum, self.state.aligned
        for layer in self.layers:
            for s, gradient, read in layer.gradients():
                layer.matrices[s].learn(self._pace(s) * amount[:, None] * gradient, read, momentum)
            for s in layer.biases:
                layer.learn(s, self._pace(s) * amount, momentum)
        changes = amount[None] @ align(self.last), (self.settings.gram * amount) @ align(self.gradient)
        self._moving = [momentum * align(old) + new for old, new in zip(self._moving, changes, strict=True)]
        self.readout, self.first = (
            align(rows) + moved for rows, moved in zip((self.readout, self.first), self._moving, strict=True)
        )

    def _pace(self, matrix: Matrix) -> float:
        return float(self.settings.depth ** float(self.settings.limit.rates[matrix]))


def _root(gram: Array) -> Array:
    values, vectors = np.linalg.eigh(gram)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
