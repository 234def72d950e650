r"""A network with parameters: the statements of its recipe run in JAX, so that it can be differentiated and trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from derivations.architectures import Recipe
from derivations.errors import unknown
from derivations.language import Program, Weights
from derivations.language.statements import Back, Between, Mask, Matrix
from derivations.symbols import time
from numerics.compile.matrices import draw_matrices
from numerics.compile.programs import Array, CompiledProgram, MatrixNumbers, Plain, arguments_of, compiled_program
from numerics.networks.initial import input_rows
from numerics.networks.simulate import finite_width

#: Arrays by name: "input", "output", and for each matrix its name and, with biases, its name with " bias"; a row of these a layer.
Parameters: TypeAlias = dict[str, Any]
PARAMETRIZATIONS = ("ntk", "standard")


@dataclass(frozen=True)
class TrainableNetwork:
    r"""A finite network of a recipe with a first layer and a readout, as a function of its parameters.

    :math:`X_0 = W_{\mathrm{in}} a` with entries :math:`N(0, 1/\mathrm{dim})`, then ``depth`` layers of the recipe with
    :math:`\varepsilon = \sqrt{t/L}`, each with matrices of its own, then :math:`f = V X_L` with entries :math:`N(0, 1/n)`. On a grid the
    readout reads the average over positions.

    Parameters
    ----------
    recipe : Recipe
        With a number for its width n; its number of inputs is that of each call.
    depth : int
        L.
    features : int
        dim, the length of an input, or its number of channels.
    outputs : int
        How many numbers come out.
    t : float
        The limit's time of all layers; where the recipe has its own clock, that one is taken.
    parametrization : {"ntk", "standard"}
        What is trained: the numbers of unit variance whose multiples the weights are, or the weights themselves. At the start both are
        the same network; a learning rate means something else in each.

    Raises
    ------
    ValueError
        For a width that is no number, or means that depend on the limit's time.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> network = TrainableNetwork(ResNet(relu, width=8), depth=20, features=3, outputs=2)
    >>> parameters = network.initial(seed=0)
    >>> network(parameters, np.ones((5, 3))).shape
    (5, 2)
    """

    recipe: Recipe
    depth: int
    features: int
    outputs: int = 1
    t: float = 1.0
    parametrization: str = "ntk"
    width: int = field(init=False)

    def __post_init__(self) -> None:
        if self.parametrization not in PARAMETRIZATIONS:
            raise ValueError(unknown("parametrization", self.parametrization, PARAMETRIZATIONS))
        for name in ("depth", "features", "outputs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number, at least 1, got {value!r}")
        object.__setattr__(self, "width", finite_width(self.recipe))
        own = self.recipe.time_of(self.depth)
        object.__setattr__(self, "t", float(self.t if own is None else own))
        for weights in self.matrices:
            if weights.mean.has(time) or weights.bias_mean.has(time):
                raise ValueError(
                    f"training needs means that do not depend on the time, got {weights.name}; give numbers"
                )

    @property
    def matrices(self) -> dict[Weights, MatrixNumbers]:
        """The matrices of a layer that are drawn, as numbers."""
        return {w: numbers for w, numbers in self._layer(1).numbers.items() if not w.is_mean}

    @property
    def program(self) -> Program:
        """A layer's statements."""
        return self._layer(1).program

    @property
    def formulas(self) -> int:
        """How many arrays of neurons the layer's formulas read, and so are kept for the way back."""
        bodies = [s.body for s in self.program.statements if not isinstance(s, Mask | Between)]
        return sum(len(arguments_of(body)) for body in (*bodies, self.program.update))

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        layer = sum(m.rows * m.columns + m.rows * bool(m.bias_variance) for m in self.matrices.values())
        return self.width * (self.features + self.outputs) + self.depth * layer

    def initial(self, seed: int | np.random.SeedSequence = 0) -> Parameters:
        """Parameters as they are drawn at the start, of the recipe's laws."""
        rng = np.random.default_rng(seed)
        drawn: Parameters = {
            "input": rng.standard_normal((self.width, self.features)),
            "output": rng.standard_normal((self.outputs, self.width)),
        }
        for weights, numbers in self.matrices.items():
            entries = draw_matrices(numbers.law, self.depth, numbers.rows, numbers.columns, rng)
            drawn[weights.name] = entries * np.sqrt(numbers.columns)
            if numbers.bias_variance:
                drawn[f"{weights.name} bias"] = rng.standard_normal((self.depth, numbers.rows, 1))
        if self.parametrization == "standard":
            sizes = self._sizes()
            drawn = {name: value * sizes[name] for name, value in drawn.items()}
        return drawn

    def __call__(self, parameters: Parameters, inputs: ArrayLike, key: Any = None) -> Any:
        """What comes out, shape (m, outputs); ``key`` is JAX's, needed where the layer draws factors such as dropout's."""
        return self.run(parameters, inputs, key)[0]

    def evaluated(self, parameters: Parameters, inputs: ArrayLike) -> Any:
        """What comes out with each factor that the layer draws at its mean, as networks with dropout are used after training."""
        return self.run(parameters, inputs, means=True)[0]

    def run(
        self, parameters: Parameters, inputs: ArrayLike, key: Any = None, pushes: Any = 0.0, means: bool = False
    ) -> tuple[Any, Any]:
        r"""What comes out, and all layers' states :math:`X_1, …, X_L`, shape (L, n, m times the positions).

        With ``means`` factors that the layer draws are at their means, and need no ``key``.

        ``pushes``, of the shape of the states or 0, is added to them as they are made: the derivative in it is the gradient in
        the states.
        """
        import jax
        import jax.numpy as jnp

        x = jnp.asarray(inputs)
        layer = self._layer(len(x))
        rows = jnp.moveaxis(x, 1, -1).reshape(-1, self.features)
        sizes = {name: jnp.asarray(size) for name, size in self._sizes().items()} if self._scaled else {}
        sized = {name: value * sizes.get(name, 1.0) for name, value in parameters.items()}
        masks = sum(isinstance(s, Mask) for s in layer.program.statements)
        if masks and key is None and not means:
            raise ValueError("the layer draws random factors (dropout); give key=jax.random.key(seed)")
        keys = jax.random.split(key, (self.depth, masks)) if masks and not means else None
        step, order = float(np.sqrt(self.t / self.depth)), self._order(layer)
        layers = {name: value for name, value in sized.items() if name not in ("input", "output")}
        pushed = jnp.broadcast_to(jnp.asarray(pushes), (self.depth, self.width, len(rows)))

        def advance(state: Any, own: Any) -> tuple[Any, Any]:
            weights, push, mask_keys = own
            drawn = iter([_Given(weights[name], weights.get(f"{name} bias")) for name in order])
            rules = _JaxRules(keys=None if mask_keys is None else tuple(mask_keys))
            new, _ = layer.advance(state, step, lambda *_: next(drawn), _unused_generator(), rules)
            return new + push[None], new[0] + push

        start = (sized["input"] @ rows.T)[None]
        last, states = jax.lax.scan(advance, start, (layers, pushed, keys))
        read = last[0].reshape(self.width, len(x), -1).mean(axis=2)
        return (sized["output"] @ read).T, states

    @property
    def _scaled(self) -> bool:
        return self.parametrization == "ntk"

    def _sizes(self) -> dict[str, Array]:
        """The standard deviation of each parameter's weights, layer by layer where it depends on the limit's time."""
        sizes = {"input": np.array(self.features**-0.5), "output": np.array(self.width**-0.5)}
        compiled = self._layer(1)
        numbers = [compiled.at(self.t * (k + 0.5) / self.depth).numbers for k in range(self.depth)]
        for weights, own in self.matrices.items():
            variances = np.array([n[weights].variance for n in numbers])[:, None, None]
            sizes[weights.name] = np.sqrt(variances / own.columns)
            sizes[f"{weights.name} bias"] = np.sqrt([n[weights].bias_variance for n in numbers])[:, None, None]
        return sizes

    def _layer(self, inputs: int) -> CompiledProgram:
        return _layer_of(self.recipe, inputs)

    def _order(self, layer: CompiledProgram) -> list[str]:
        """The names of the matrices as the statements first need them."""
        first = dict.fromkeys(s.weights for s in layer.program.statements if isinstance(s, Matrix | Back))
        return [w.name for w in first if not w.is_mean]

    def rows(self, inputs: ArrayLike) -> Array:
        """Checked inputs, as doubles of the shape that was given."""
        given = np.asarray(inputs, dtype=float)
        recipe: Any = replace(self.recipe, inputs=max(1, len(np.atleast_1d(given))))
        if input_rows(recipe, given).shape[1] != self.features:
            raise ValueError(f"expected inputs with {self.features} features, got shape {given.shape}")
        return given


@lru_cache(maxsize=64)
def _layer_of(recipe: Recipe, inputs: int) -> CompiledProgram:
    some: Any = replace(recipe, inputs=inputs)
    return compiled_program(some.program())


def _unused_generator() -> np.random.Generator:
    """All that is random here comes from the parameters and the keys."""
    return np.random.default_rng(0)


@dataclass(frozen=True)
class _Given:
    """A matrix that is given, applied as the traversal applies one that is drawn."""

    weights: Any
    bias: Any = None

    def __call__(self, features: Any, biased: Any = None) -> Any:
        out = self.weights[None] @ features
        return out if self.bias is None else out + self.bias[None]

    def transposed(self, features: Any, biased: Any = None) -> Any:
        return self.weights.T[None] @ features


@dataclass(frozen=True)
class _JaxRules(Plain):
    """Values are JAX's arrays; masks come from keys, in the order of their statements, or are at their means where there are none."""

    backend: str = "jax"
    keys: tuple[Any, ...] | None = None
    _next: Iterator[Any] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_next", iter(self.keys or ()))

    def masked(self, statement: Mask, like: Any, rng: np.random.Generator) -> Any:
        """One number for each neuron, or for all, and for each coordinate, or for all."""
        import jax
        import jax.numpy as jnp

        rows = 1 if statement.over is None else int(statement.over.size)
        each = 1 if statement.shared else statement.each
        columns = 1 if statement.shared else like.shape[2] // each
        if self.keys is None:
            return jnp.full((len(like), rows, columns * each), float(statement.keep), like.dtype)
        kept = jax.random.bernoulli(next(self._next), float(statement.keep), (len(like), rows, columns))
        return jnp.repeat(kept.astype(like.dtype), each, axis=2)
