r"""Gram matrices of finite networks whose depth and width go together, and pairs of inputs that collapse.

Nothing here knows a limit. A layer is :math:`x' = A x + B u`, :math:`u = W\psi(x)`, from the architecture's own
program at its width. Two things are followed:

* :func:`simulate_gram`: the covariance of the pre-activations of the next layer,
  :math:`V = \frac{\sigma_w^2}{n} \sum_i \psi(x_i)\psi(x_i)^\top` for a perceptron, :math:`\frac1n\sum_i x_i x_i^\top` with a skip. It is a
  product of a matrix with its transpose, so it is positive semi-definite as it stands.
* :func:`simulate_collapse`: :math:`1 - \rho` of two inputs of a two-slope perceptron, for which a layer's second input is kept as the
  *difference* from the first. The gap is a sum of squares of differences, never 1 minus a number near 1,
  and keeps its relative precision down to the smallest positive numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.architectures import Recipe
from derivations.errors import unknown
from derivations.language.statements import Matrix, Mean
from derivations.symbols import state
from numerics.compile import compile_expression
from numerics.ensembles import Seed, run_ensemble
from numerics.linalg import semidefinite_factor
from numerics.networks import BLOCK, DRAWINGS, Drawing

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Numbers:
    """A layer at a finite width, as numbers and array functions."""

    width: int
    skip: float
    branch: float
    gain: float
    inner: Callable[[Array], Array]
    normalised: bool


@lru_cache(maxsize=64)
def _numbers(recipe: Recipe) -> _Numbers:
    program, x = recipe.program(), state
    *before, matrix = program.statements
    norms = {s.symbol: 1 for s in before if isinstance(s, Mean) and s.body == x**2}
    if not isinstance(matrix, Matrix) or len(norms) != len(before):
        raise ValueError(
            f"expected a layer with one matrix, which may read the state behind a norm, got {recipe!r}; for others use "
            "simulate_network(..., record=...)"
        )
    update, inner, gain = program.update, matrix.body.subs(norms), matrix.weights.variance
    coefficients: list[float] = []
    for name, value in (("skip", update.coeff(x)), ("branch", update.coeff(matrix.symbol)), ("weight variance", gain)):
        if value.free_symbols:
            raise ValueError(
                f"expected a number for the {name}, got {value}; give the architecture numbers for its symbols"
            )
        coefficients.append(float(value))
    skip, branch, variance = coefficients
    return _Numbers(int(recipe.width), skip, branch, variance, compile_expression((x,), inner), bool(norms))


def _checked(
    architecture: Any, depth: int, samples: int, at: Sequence[int] | None, method: str
) -> tuple[_Numbers, tuple[int, ...], Drawing]:
    if not isinstance(architecture, Recipe) or not architecture.regime.is_joint:
        raise ValueError(
            f"expected an architecture whose depth and width go together, such as ShapedMLP or MLP, got {architecture!r}; "
            "for others use simulate_network(..., record=...)"
        )
    if not getattr(architecture.width, "is_Integer", isinstance(architecture.width, int)):
        raise ValueError(f"networks are simulated at a width that is a number, got width={architecture.width}")
    drawing = next((d for d in DRAWINGS if d.name == method), None)
    if drawing is None:
        raise ValueError(unknown("method", method, (d.name for d in DRAWINGS)))
    for name, value, least in (("depth", depth, 0), ("samples", samples, 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} must be a whole number, at least {least}, got {value!r}")
    layers = (depth,) if at is None else tuple(at)
    if not layers or any(not 0 <= layer <= depth for layer in layers):
        raise ValueError(f"at must list layers from 0 to depth={depth}, got {list(layers)}")
    return _numbers(architecture), layers, drawing


# --- Gram matrices ---


@dataclass(frozen=True)
class _Grams:
    """An ensemble of Gram matrices as a picklable function of a block."""

    recipe: Recipe
    depth: int
    factor: Array
    drawing: Drawing
    at: tuple[int, ...]

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> Array:
        layer, m = _numbers(self.recipe), len(self.factor)
        start = np.broadcast_to(self.factor.T, (1, m, m))
        x, u = np.empty((2, count, layer.width, m))
        # W_in with entries N(0, m/m) times the rows of the factor: neurons are i.i.d. N(0, V_0)
        self.drawing.draw(start, float(m), 0.0, rng, x)
        kept = {0: np.broadcast_to(self.factor @ self.factor.T, (count, m, m))}
        for done in range(1, max(self.at) + 1):
            features = layer.inner(self._normed(x) if layer.normalised else x)
            if layer.skip == 0 and done in self.at:
                kept[done] = _gram(features) * (layer.gain * layer.branch**2)
            if layer.skip == 0 and done == max(self.at):
                break
            self.drawing.draw(features, layer.gain, 0.0, rng, u)
            x, u = (layer.skip * x + layer.branch * u if layer.skip else layer.branch * u), x
            if layer.skip and done in self.at:
                kept[done] = _gram(x)
        return np.stack([kept[done] for done in self.at], axis=1)

    @staticmethod
    def _normed(x: Array) -> Array:
        return x / np.sqrt(np.einsum("bim,bim->bm", x, x) / x.shape[1])[:, None, :]


def _gram(x: Array) -> Array:
    return np.matmul(x.swapaxes(-1, -2), x) / x.shape[-2]


def simulate_gram(
    architecture: Recipe,
    depth: int,
    samples: int,
    start: ArrayLike,
    seed: Seed = 0,
    workers: int | Executor = 1,
    method: str = "in_law",
    at: Sequence[int] | None = None,
) -> Array:
    r"""Gram matrices of m inputs in finite random networks.

    Parameters
    ----------
    architecture : Recipe
        With numbers for the width and all parameters.
    depth : int
        Number of layers; a unit of the limit's time is :math:`n^\delta` of them.
    samples : int
        How many networks.
    start : array, shape (m, m)
        :math:`V_0`, positive semi-definite: the first layer's neurons are i.i.d. :math:`N(0, V_0)`.
    seed, workers
        As for :func:`numerics.networks.simulate_network`.
    method : {"in_law", "weights"}
        :math:`O(n m^2)` per layer, or every weight drawn.
    at : sequence of int, optional
        Layers to keep.

    Returns
    -------
    array, shape (samples, m, m)
        With ``at``, shape (len(at), samples, m, m).

    Raises
    ------
    ValueError
        For a start that is no covariance of m inputs, or an architecture with symbols left.

    Examples
    --------
    >>> from derivations import relu
    >>> from derivations.architectures import ShapedMLP
    >>> net = ShapedMLP(relu, inputs=2, c_plus=0, c_minus=-1, width=50)
    >>> simulate_gram(net, depth=50, samples=3, start=[[1, 0.3], [0.3, 1]]).shape
    (3, 2, 2)
    """
    layer, layers, drawing = _checked(architecture, depth, samples, at, method)
    m, gram = architecture.inputs, np.asarray(start, dtype=float)
    if gram.shape != (m, m) or not np.all(np.isfinite(gram)) or not np.allclose(gram, gram.T, rtol=1e-12, atol=0):
        raise ValueError(
            f"start must be a symmetric matrix of shape ({m}, {m}), the Gram matrix of {m} inputs, got {start!r}"
        )
    if np.linalg.eigvalsh(gram)[0] < -1e-12 * np.trace(gram):
        raise ValueError(f"start must be positive semi-definite, got the eigenvalues {np.linalg.eigvalsh(gram)}")
    task = _Grams(architecture, depth, semidefinite_factor(gram), drawing, layers)
    block = max(1, BLOCK // drawing.entries(layer.width, layer.width, m))
    kept = run_ensemble(task, samples, block=block, seed=seed, workers=workers)
    return kept[:, 0] if at is None else np.moveaxis(kept, 1, 0)


# --- two inputs that collapse ---


@dataclass(frozen=True)
class _Collapse:
    """An ensemble of pairs of inputs as a picklable function of a block."""

    slopes: tuple[float, float]
    width: int
    depth: int
    gap: float
    all_weights: bool
    at: tuple[int, ...]

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._run(count, rng)

    def _run(self, count: int, rng: np.random.Generator) -> Array:
        gap, kept = np.full(count, self.gap), {0: np.full(count, self.gap)}
        shape = (count, self.width)
        z, d = np.empty(shape), np.empty(shape)
        _pair(gap, rng, z, d)
        for done in range(1, max(self.at) + 1):
            phi, chi = self._features(z, d)
            square, cross, rest = (np.einsum("bi,bi->b", *pair) for pair in ((phi, phi), (phi, chi), (chi, chi)))
            other = square + 2 * cross + rest
            # a layer without an active neuron has no correlation: 0/0, nan from there on
            # sin² of the angle: the part of χ orthogonal to φ; 1 − cos = sin²/(1 + cos) has no cancellation
            sine2 = np.maximum(rest - cross**2 / square, 0.0) / other
            cosine = (square + cross) / np.sqrt(square * other)
            gap = np.where(cosine > 0, sine2 / (1 + np.abs(cosine)), 1 - cosine)
            if done in self.at:
                kept[done] = gap
            if done == max(self.at):
                break
            if not self.all_weights:
                _pair(gap, rng, z, d)
                continue
            # unit inputs again: φ₂/|φ₂| − φ₁/|φ₁| from χ, with 1/|φ₂| − 1/|φ₁| free of cancellation
            lengths = np.sqrt(square), np.sqrt(other)
            shrink = -(2 * cross + rest) / (lengths[0] * lengths[1] * (lengths[0] + lengths[1]))
            unit = phi / lengths[0][:, None]
            difference = chi / lengths[1][:, None] + phi * shrink[:, None]
            weights = rng.standard_normal((count, self.width, self.width))
            z, d = np.matmul(weights, np.stack([unit, difference], axis=-1)).transpose(2, 0, 1)
        return np.stack([kept[done] for done in self.at], axis=1)

    def _features(self, z: Array, d: Array) -> tuple[Array, Array]:
        r""":math:`\varphi(z)` and :math:`\varphi(z + d) - \varphi(z)`, the latter as slope times d unless z crosses the kink."""
        up, down = self.slopes
        after = z + d
        slope = np.where(z > 0, up, down)
        phi, chi = slope * z, slope * d
        crossing = np.nonzero(z * after < 0)
        chi[crossing] = np.where(after[crossing] > 0, up, down) * after[crossing] - phi[crossing]
        return phi, chi


def _pair(gap: Array, rng: np.random.Generator, z: Array, d: Array) -> None:
    r"""Two standard normals with correlation :math:`1 - \delta`, the second as its difference from the first.

    It is :math:`-\delta g + \sqrt{\delta(2 - \delta)}\,w` with w independent of the first, g.
    """
    rng.standard_normal(out=z)
    rng.standard_normal(out=d)
    d *= np.sqrt(gap * (2 - gap))[:, None]
    d -= gap[:, None] * z


def simulate_collapse(
    architecture: Recipe,
    depth: int,
    samples: int,
    gap: float,
    seed: Seed = 0,
    workers: int | Executor = 1,
    method: str = "in_law",
    at: Sequence[int] | None = None,
) -> Array:
    r""":math:`1 - \rho` of two inputs of a perceptron with a two-slope activation.

    Positive homogeneity takes the norms out: the correlation is a Markov chain by itself.

    Parameters
    ----------
    architecture : Recipe
        ``MLP(..., inputs=2)`` or ``ShapedMLP`` with slopes; a width that is a number.
    depth, samples, seed, workers, method, at
        As for :func:`simulate_gram`.
    gap : float
        :math:`1 - \rho_0` in (0, 2].

    Returns
    -------
    array, shape (samples,)
        With ``at``, shape (len(at), samples). 0 after a layer with a single active neuron, nan after one with none:
        for ReLU that happens with probability of order :math:`2^{-n}` per layer.

    Examples
    --------
    >>> from derivations import relu
    >>> from derivations.architectures import MLP
    >>> gaps = simulate_collapse(MLP(relu, inputs=2, width=100), depth=100, samples=10, gap=1e-14)
    >>> bool(np.all((gaps > 0) & (gaps < 1e-13)))
    True
    """
    layer, layers, drawing = _checked(architecture, depth, samples, at, method)
    one = layer.inner(np.array([1.0, -1.0, 2.0, -2.0]))
    if architecture.inputs != 2 or layer.skip or not np.allclose(one[2:], 2 * one[:2], rtol=1e-14, atol=0):
        raise ValueError(
            f"expected a perceptron with two inputs and a two-slope activation, got {architecture}; use simulate_gram"
        )
    if not (np.isfinite(gap) and 0 < gap <= 2):
        raise ValueError(f"gap must be 1 - ρ, in (0, 2], got {gap}")
    task = _Collapse((one[0], -one[1]), layer.width, depth, float(gap), method == "weights", layers)
    block = max(1, BLOCK // drawing.entries(layer.width, layer.width, 2))
    kept = run_ensemble(task, samples, block=block, seed=seed, workers=workers)
    return kept[:, 0] if at is None else np.moveaxis(kept, 1, 0)
