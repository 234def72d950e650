r"""Finite networks with their derivatives, by explicit products layer by layer.

One layer :math:`x_i' = f(x_i, u_i, m, \varepsilon)`, :math:`u_i = \sum_j W_{ij}\psi(x_j) + b_i`, has the derivative

.. math:: A_{ij} = f_x\,\delta_{ij} + f_u W_{ij}\psi'(x_j) + f_m\,\tfrac{\mu_w}{n}\psi'(x_j),

and the Jacobian of all layers is the product of theirs. Nothing here knows a limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.architectures import Architecture, Layer
from derivations.symbols import noise, shift, state, step
from numerics.compile import compile_expression
from numerics.ensembles import Seed, run_ensemble
from numerics.networks import BLOCK, finite_width

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CompiledLayer:
    """A layer's recursion as array functions."""

    inner: Callable[[Array], Array]
    advance: Callable[[Array, Array, Array | float, float], Array]
    weight_variance: float
    bias_variance: float
    weight_mean: float
    bias_mean: float
    taps: tuple[tuple[int | None, ...], ...]

    def features(self, x: Array) -> Array:
        """What the weights multiply, shape (samples, k, m): one row per neuron, or per neuron and tap of a filter."""
        values = self.inner(x)
        if not self.taps:
            return values
        bordered = np.concatenate([values, np.zeros((*values.shape[:-1], 1))], axis=-1)  # beyond a border stands 0
        return np.concatenate([bordered[..., [-1 if a is None else a for a in tap]] for tap in self.taps], axis=-2)

    def shift(self, features: Array) -> Array | float:
        """What the means of weights and biases add to every neuron's pre-activation."""
        if not self.weight_mean:
            return self.bias_mean
        return self.bias_mean + self.weight_mean * features.mean(axis=-2, keepdims=True)


@lru_cache(maxsize=64)
def compiled_layer(layer: Layer) -> CompiledLayer:
    """Compile a layer once; its variances and means must be numbers."""
    pre = layer.preactivation
    numbers = {}
    for name in ("weight_variance", "bias_variance", "weight_mean", "bias_mean"):
        value = getattr(pre, name)
        if value.free_symbols:
            raise ValueError(
                f"expected a number for {name}, got {value}; "
                f"substitute values for {', '.join(sorted(map(str, value.free_symbols)))}"
            )
        numbers[name] = float(value)
    return CompiledLayer(
        inner=compile_expression((pre.inner.variable,), pre.inner.expr),
        advance=compile_expression((state, noise, shift, step), layer.update),
        taps=pre.taps,
        **numbers,
    )


@dataclass(frozen=True)
class _Derivatives:
    """Derivatives of one layer's update in state, noise and shift, and of the inner activation."""

    by_state: Callable[[Array, Array, Array | float, float], Array]
    by_noise: Callable[[Array, Array, Array | float, float], Array]
    by_shift: Callable[[Array, Array, Array | float, float], Array]
    slope: Callable[[Array], Array]


@lru_cache(maxsize=64)
def _derivatives(layer: Layer) -> _Derivatives:
    arguments = (state, noise, shift, step)
    inner = layer.preactivation.inner
    by_state, by_noise, by_shift = (compile_expression(arguments, layer.update.diff(s)) for s in (state, noise, shift))
    return _Derivatives(by_state, by_noise, by_shift, compile_expression((inner.variable,), inner.derivative(1)))


@dataclass(frozen=True)
class _Draw:
    """The weights and biases of one layer of one block of networks, and what they do."""

    layer: Layer
    width: int
    size: float

    def weights(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """W, shape (samples, n, n), and b, shape (samples, n, 1)."""
        fixed = compiled_layer(self.layer)
        w = rng.standard_normal((count, self.width, self.width)) * np.sqrt(fixed.weight_variance / self.width)
        b = np.sqrt(fixed.bias_variance) * rng.standard_normal((count, self.width, 1))
        return w, b

    def step(self, x: Array, w: Array, b: Array) -> tuple[Array, Array, Array]:
        """States after the layer, its derivative A for each input, shape (samples, m, n, n), and f_u."""
        fixed, by = compiled_layer(self.layer), _derivatives(self.layer)
        fed = fixed.features(x)
        u, m = w @ fed + b, fixed.shift(fed)
        mean = np.broadcast_to(m, (len(x), 1, x.shape[2]))
        at = (x, u, np.broadcast_to(mean, x.shape), self.size)
        slope = np.moveaxis(by.slope(x), -1, 1)[:, :, None, :]
        f_x, f_u, f_m = (np.moveaxis(d(*at), -1, 1) for d in (by.by_state, by.by_noise, by.by_shift))
        passed = f_u[..., None] * w[:, None] + f_m[..., None] * (fixed.weight_mean / self.width)
        a = passed * slope
        a[..., np.arange(self.width), np.arange(self.width)] += f_x
        return fixed.advance(x, u, m, self.size), a, f_u


@dataclass(frozen=True)
class _Products:
    """States and Jacobians of a block of networks."""

    draw: _Draw
    depth: int
    start: Array

    def __call__(self, _: int, count: int, rng: np.random.Generator) -> Array:
        n = self.draw.width
        x = np.tile(self.start[:, None], (count, 1, 1))
        product = np.tile(np.eye(n), (count, 1, 1))
        for _layer in range(self.depth):
            x, a, _f_u = self.draw.step(x, *self.draw.weights(count, rng))
            product = a[:, 0] @ product
        return np.concatenate([x, product], axis=2)


@dataclass(frozen=True)
class _Tangents:
    """Empirical tangent kernels of a block of networks, averaged over the neurons of the last layer."""

    draw: _Draw
    depth: int
    inputs: Array

    def __call__(self, _: int, count: int, rng: np.random.Generator) -> Array:
        n, (m, dim) = self.draw.width, self.inputs.shape
        fixed = compiled_layer(self.draw.layer)
        x = rng.standard_normal((count, n, dim)) @ self.inputs.T / np.sqrt(dim)
        diagonal = np.arange(n)
        theta = np.zeros((count, m, m, n, n))
        theta[..., diagonal, diagonal] = (self.inputs @ self.inputs.T / dim)[None, :, :, None]
        for _layer in range(self.depth):
            fed = fixed.features(x)
            own = fed.swapaxes(1, 2) @ fed * (fixed.weight_variance / n) + fixed.bias_variance
            x, a, f_u = self.draw.step(x, *self.draw.weights(count, rng))
            theta = a[:, :, None] @ theta @ a.swapaxes(2, 3)[:, None]
            theta[..., diagonal, diagonal] += own[..., None] * f_u[:, :, None] * f_u[:, None]
        kernel: Array = np.einsum("sabii->sab", theta) / n
        return kernel


def simulate_jacobian(
    architecture: Architecture,
    depth: int,
    samples: int,
    x0: ArrayLike,
    t: float = 1.0,
    seed: Seed = 0,
    workers: int = 1,
) -> tuple[Array, Array]:
    r"""Draw finite networks, all weights, and return their last layers with the Jacobians :math:`\partial X_L/\partial X_0`.

    The gradient of a loss in the first layer is :math:`J^\top` times that in the last one.

    Parameters
    ----------
    architecture : Architecture
        Dense, with one input and a number for the width n.
    depth, samples : int
    x0 : array, shape (n,)
        Where all networks start.
    t : float
        The limit's time that the L layers take together.
    seed : int, SeedSequence, Generator or None
        A generator moves on; None is fresh each time. The result depends on it, not on ``workers``.
    workers : int

    Returns
    -------
    states : array, shape (samples, n)
    jacobians : array, shape (samples, n, n)

    Raises
    ------
    ValueError
        For several inputs, positions, a width without a number or a start that does not fit.

    Examples
    --------
    >>> from derivations import ShrinkingResNet, tanh
    >>> x, j = simulate_jacobian(ShrinkingResNet(tanh, tanh, 3), 10, 5, [1.0, 0.0, -1.0])
    >>> x.shape, j.shape
    ((5, 3), (5, 3, 3))
    """
    draw = _checked(architecture, depth, samples, t)
    start = np.asarray(x0, dtype=float)
    if architecture.inputs != 1 or start.shape != (draw.width,) or not np.all(np.isfinite(start)):
        raise ValueError(
            f"expected one input and a finite x0 of shape ({draw.width},), got {architecture.inputs} inputs and {start.shape}"
        )
    task = _Products(draw, depth, start)
    both = run_ensemble(task, samples, block=max(1, BLOCK // draw.width**2), seed=seed, workers=workers)
    return both[:, :, 0], both[:, :, 1:]


def simulate_tangent_kernel(
    architecture: Architecture,
    depth: int,
    samples: int,
    inputs: ArrayLike,
    t: float = 1.0,
    seed: Seed = 0,
    workers: int = 1,
) -> Array:
    r"""Empirical neural tangent kernels :math:`\frac1n\sum_i\sum_\theta \partial_\theta X_i^\alpha\,\partial_\theta X_i^\beta` of finite networks.

    Over all weights and biases, those of the first layer :math:`X_0 = W_{\mathrm{in}}a` included, in the tangent parameterisation:
    weights are their standard deviation times a parameter of unit variance. By the chain rule, layer by layer, with the
    n × n matrices :math:`\Theta_{ij}^{\alpha\beta}`: :math:`\Theta' = A\Theta A^\top` plus what the layer's own parameters add to the diagonal.

    Parameters
    ----------
    inputs : array, shape (m, dim)

    Returns
    -------
    array, shape (samples, m, m)

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> simulate_tangent_kernel(ResNet(relu, 4, inputs=2), 3, 5, [[1.0, 0.0], [0.0, 1.0]]).shape
    (5, 2, 2)
    """
    draw = _checked(architecture, depth, samples, t)
    rows = np.asarray(inputs, dtype=float)
    if rows.ndim != 2 or len(rows) != architecture.inputs or not np.all(np.isfinite(rows)):
        raise ValueError(f"expected finite inputs of shape ({architecture.inputs}, dim), got {rows.shape}")
    block = max(1, BLOCK // (draw.width * len(rows)) ** 2)
    return run_ensemble(_Tangents(draw, depth, rows), samples, block=block, seed=seed, workers=workers)


def _checked(architecture: Architecture, depth: int, samples: int, t: float) -> _Draw:
    if architecture.positions:
        raise ValueError(f"derivatives are simulated for dense networks, got positions {architecture.positions}")
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1 or samples < 1:
        raise ValueError(f"depth and samples must be whole numbers, at least 1, got {depth!r} and {samples!r}")
    if not (np.isfinite(t) and t > 0):
        raise ValueError(f"t must be finite and positive, got {t}")
    return _Draw(architecture.layer(), finite_width(architecture), float(np.sqrt(t / depth)))
