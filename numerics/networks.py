r"""Finite random networks, simulated layer by layer from the architecture's own recursion.

Nothing here knows a limit or a law: this is what theory is compared with. Networks are drawn two
ways. :class:`AllWeights` draws every weight and is the ground truth. :class:`InLaw` uses that, given
the state, linear combinations of independent Gaussians are jointly Gaussian: the rows of W being independent,
the pre-activations :math:`u_i = (u_i^1, \dots, u_i^m)` of the neurons are i.i.d. :math:`N(0, G)` with

.. math:: G_{\alpha\beta} = \sigma_b^2 + \frac{\sigma_w^2}{n} \sum_j \psi(x_j^\alpha)\,\psi(x_j^\beta),

so a layer costs :math:`O(n m^2)` instead of :math:`O(n^2 m)` and the law of the states is exactly the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.architectures import Architecture, Layer, Recipe
from derivations.errors import unknown
from derivations.language import Program
from numerics.compile.defined import everywhere_in
from numerics.compile.jit import uses_jit
from numerics.compile.jit_layers import layer_kernel
from numerics.compile.programs import Trace, compiled_program
from numerics.ensembles import Progress, Reduction, Seed, last_time, reduce_ensemble, run_ensemble
from numerics.linalg import semidefinite_factor
from numerics.outcomes import NotFinite, explain_network, warn_of_explosions, without_nan

Array = NDArray[np.float64]
Record = Callable[[Array], ArrayLike]

#: Numbers in a buffer of one block: a few buffers of this size stay in a core's cache.
BLOCK = 2**15


class Drawing(ABC):
    """Interface: one way to draw the pre-activations of a layer, given what its weights multiply."""

    name: str

    @abstractmethod
    def entries(self, width: int, fan_in: int, inputs: int) -> int:
        """Random numbers and working memory per sample and layer, which decide how many samples make a block."""

    @abstractmethod
    def draw(
        self, features: Array, weight_variance: float, bias_variance: float, rng: np.random.Generator, out: Array
    ) -> None:
        r"""Draw :math:`u = W f + b`, with fresh weights for each sample.

        :math:`W_{ij} \sim N(0, \sigma_w^2/k)` and :math:`b_i \sim N(0, \sigma_b^2)`.

        Parameters
        ----------
        features : array, shape (samples or 1, k, m)
            f, the m inputs' columns of length k.
        out : array, shape (samples, n, m)
            Where u is written.
        """


@dataclass(frozen=True)
class AllWeights(Drawing):
    """Every weight and bias is drawn: the network as it is defined, :math:`O(n^2)` numbers per layer."""

    name: str = "weights"

    def entries(self, width: int, fan_in: int, inputs: int) -> int:
        """The weight matrix."""
        return width * max(fan_in, inputs)

    def draw(
        self, features: Array, weight_variance: float, bias_variance: float, rng: np.random.Generator, out: Array
    ) -> None:
        """Multiply by a drawn matrix; all inputs share it."""
        samples, width, _ = out.shape
        fan_in = features.shape[-2]
        weights = rng.standard_normal((samples, width, fan_in))
        np.matmul(weights, features, out=out)
        out *= np.sqrt(weight_variance / fan_in)
        if bias_variance:
            out += np.sqrt(bias_variance) * rng.standard_normal((samples, width, 1))


@dataclass(frozen=True)
class InLaw(Drawing):
    """The same law from :math:`n m` numbers per layer, by the covariance of the pre-activations given the state."""

    name: str = "in_law"

    def entries(self, width: int, fan_in: int, inputs: int) -> int:
        """The pre-activations, or the features if these are more."""
        return max(width, fan_in) * inputs

    def draw(
        self, features: Array, weight_variance: float, bias_variance: float, rng: np.random.Generator, out: Array
    ) -> None:
        """Colour n standard normal vectors per sample by a square root of the Gram matrix.

        Without biases the features' size is taken out first where their squares would leave the range of numbers.
        """
        scale = weight_variance / features.shape[-2]
        squares = np.einsum("bkm,bkm->bm", features, features)
        if not bias_variance and not np.all((squares > _SMALL) & (squares < 1 / _SMALL)):
            sizes = np.max(np.abs(features), axis=-2, keepdims=True)
            outside = (sizes > 0) & np.isfinite(sizes) & ((sizes < _SMALL**0.5) | (sizes > _SMALL**-0.5))
            if outside.any():
                sizes = np.where(outside, sizes, 1.0)
                self.draw(features / sizes, weight_variance, bias_variance, rng, out)
                out *= sizes
                return
        if features.shape[-1] == 1:
            rng.standard_normal(out=out)
            out *= np.sqrt(squares * scale + bias_variance)[:, :, None]
            return
        gram = np.matmul(features.swapaxes(-1, -2), features) * scale + bias_variance
        np.matmul(rng.standard_normal(out.shape), semidefinite_factor(gram).swapaxes(-1, -2), out=out)


_SMALL = 1e-280  # a sum of squares below has lost digits; above its inverse it may overflow

#: The ways to draw a network; ``method`` takes the name of one.
DRAWINGS: tuple[Drawing, ...] = (InLaw(), AllWeights())


@dataclass(frozen=True)
class _Start:
    """Where networks start: fixed states, one array for all samples or one per sample, or inputs through a first layer."""

    states: Array | None
    inputs: Array | None
    input_weight_variance: float

    @property
    def is_moderate(self) -> bool:
        """Whether squares of all that is not 0 stay in the range of numbers, as machine code takes for granted."""
        given = self.states if self.inputs is None else self.inputs
        size = np.abs(np.asarray(0.0 if given is None else given))
        return bool(np.all((size == 0) | ((size > _SMALL**0.5) & (size < _SMALL**-0.5))))

    def block(self, drawing: Drawing, first: int, out: Array, rng: np.random.Generator) -> None:
        if self.inputs is not None:
            drawing.draw(self.inputs.T[None], self.input_weight_variance, 0.0, rng, out)
        elif self.states is not None:
            out[...] = self.states[first : first + len(out)] if self.states.ndim == 3 else self.states


@dataclass(frozen=True)
class _Networks:
    """One ensemble, as a picklable function of a block: it draws networks ``first`` … ``first + count - 1``."""

    program: Program
    layer: Layer | None  # of a recipe with one matrix, which has a machine-code kernel
    shape: tuple[int, int]
    depth: int
    time: float
    start: _Start
    drawing: Drawing
    at: tuple[int, ...]
    record: Record | None
    compiled: bool

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> Array:
        begin = rng.bit_generator.state
        with np.errstate(all="ignore"):  # what is not finite is looked at below
            end, kept = self._jitted(first, count, rng) if self.compiled else self._layers(first, count, rng)
            if not np.isfinite(end).all() and not everywhere_in(self.program):
                rng.bit_generator.state = begin
                self._layers(first, count, rng, explain=True)
        return kept if self.record else without_nan(kept)

    def _layers(self, first: int, count: int, rng: np.random.Generator, explain: bool = False) -> tuple[Array, Array]:
        """The last states, and what is kept."""
        layer = compiled_program(self.program)
        x = np.empty((count, *self.shape))
        self.start.block(self.drawing, first, x, rng)
        size = np.sqrt(self.time / self.depth) if self.depth else 0.0
        kept = {}
        for done in range(self.depth + 1):
            if done in self.at:
                kept[done] = np.array(self.record(x) if self.record else x, dtype=float)
            if done < self.depth:
                trace: Trace | None = [] if explain else None
                here = layer.at(self.time * (done + 0.5) / self.depth)
                before, x = x, here.advance(x, size, self.drawing.draw, rng, trace)
                if trace is not None:
                    lost = np.isfinite(before).all(axis=(1, 2)) & ~np.isfinite(x).all(axis=(1, 2))
                    for k in np.flatnonzero(lost):
                        explain_network(trace, int(k), f"layer {done + 1} of {self.depth}, sample {first + k + 1}")
        return x, np.stack([kept[done] for done in self.at], axis=1)

    def _jitted(self, first: int, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """The same numbers to rounding, by one kernel from each kept layer to the next."""
        assert self.layer is not None
        kernel = layer_kernel(self.layer, self.shape[1])
        x = np.empty((count, *self.shape))
        self.start.block(self.drawing, first, x, rng)
        size = np.sqrt(self.time / self.depth) if self.depth else 0.0
        kept, done = {}, 0
        for layer in sorted(set(self.at) | {self.depth}):
            kernel(x, layer - done, size, rng)
            done = layer
            kept[done] = np.array(self.record(x) if self.record else x, dtype=float)
        return x, np.stack([kept[done] for done in self.at], axis=1)


def simulate_network(
    architecture: Recipe,
    depth: int,
    samples: int,
    x0: ArrayLike | None = None,
    inputs: ArrayLike | None = None,
    t: float | None = None,
    seed: Seed = 0,
    workers: int | Executor = 1,
    method: str = "in_law",
    input_weight_variance: float = 1.0,
    at: Sequence[int] | None = None,
    record: Record | None = None,
    backend: str = "auto",
    reduce: Reduction | Sequence[Reduction] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Any:
    r"""Draw finite random networks and return their last layers.

    Each layer is run statement by statement from ``architecture.program()``, with :math:`\varepsilon = \sqrt{t/L}` and fresh weights,
    which the m inputs share. Variances and means that depend on the limit's time ``symbols.time`` are those of the middle of the
    layer, :math:`(\ell - \tfrac12)t/L`.

    Parameters
    ----------
    architecture : Recipe
        With a number for the width n and no free parameters. On a grid of positions, m below stands for the number of
        inputs times that of positions.
    depth : int
        The number L of layers; 0 returns :math:`X_0`.
    samples : int
        How many independent networks.
    x0 : float or array, shape (), (n,), (n, m) or (samples, n, m), optional
        A fixed start; the first two are the same for all inputs. With one input also (samples, n), at width 1 (samples,).
    inputs : array, shape (m, dim) or (m, channels, positions...), optional
        Network inputs a, one a row, mapped at each position by :math:`X_0 = W_{\mathrm{in}} a` with entries
        :math:`N(0, v/\mathrm{dim})`, drawn for each network and shared by its inputs. Give this or ``x0``.
    t : float, optional
        The limit's time that the L layers take together, 1 by default. Where depth and width grow together it is not free but
        :math:`L/n^\delta` (``architecture.time_of(depth)``), and refused if another is given.
    seed : int, SeedSequence, Generator or None
        A generator moves on; None is fresh each time. The result depends on it, and not on ``workers``, bit for bit.
    workers : int or Executor
        Threads to run blocks of networks in, or any executor.
    method : {"in_law", "weights"}
        Exact in law by conditional Gaussians, or every weight drawn. A matrix that is not Gaussian, or that a layer applies more than
        once, is drawn with all its weights in both.
    input_weight_variance : float
        v.
    at : sequence of int, optional
        Layers to keep, from 0 to L. Without it, the last one only, or with ``record`` all.
    record : callable, optional
        A function of the states of some networks, shape (samples, n, m) to (samples, ...), kept instead of them.
        It must not modify its argument.
    backend : {"auto", "numpy", "numba"}
        As for :func:`numerics.paths.simulate_sde`; networks in law have a machine-code kernel, those with all weights
        and those on a grid of positions do not.
    reduce : Reduction or sequence of them, optional
        Such as :class:`numerics.ensembles.Moments`, ``Histogram``, ``Quantiles`` or ``Gram``: what to return in place of the
        samples, in memory that does not grow with their number.
    checkpoint : path, optional
        A directory in which finished blocks are kept; the same call finds them again, however the last one ended.
    progress : callable, optional
        Called with the numbers of finished and of all samples.

    Returns
    -------
    array, shape (samples, n, m)
        States of the last layer, for each neuron m coordinates, or m times the positions; with ``at`` or ``record``,
        shape (len(at), samples, ...). With ``reduce``, its result, or a tuple of them. Networks that left the range of numbers are
        infinite there, never nan.

    Raises
    ------
    ValueError
        For a width without a number, a negative depth, t ≤ 0, inputs that are not finite or do not fit, or both or
        neither of ``x0`` and ``inputs``.
    UndefinedState
        If a network comes to where the activation has no value; it says in which layer, sample and neuron.

    Warns
    -----
    ExplosionWarning
        With the number of networks that left the range of numbers.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> simulate_network(ResNet(relu, width=3), depth=50, samples=2, x0=[1.0, -1.0, 2.0]).shape
    (2, 3, 1)
    >>> norms = simulate_network(ResNet(relu, width=3), 50, 1000, x0=1.0, at=[0, 50], record=lambda x: (x**2).sum((1, 2)))
    >>> norms.shape, float(norms[0, 0])
    ((2, 1000), 3.0)
    """
    width = finite_width(architecture)
    m = architecture.coordinates
    depth, samples = _whole(depth, "depth", 0), _whole(samples, "samples", 1)
    t = _clock(architecture, depth, t)
    if not (np.isfinite(t) and t > 0):
        raise ValueError(f"t must be finite and positive, got {t}; for the start itself use depth=0")
    if not (np.isfinite(input_weight_variance) and input_weight_variance >= 0):
        raise ValueError(f"input_weight_variance must be finite and at least 0, got {input_weight_variance}")
    drawing = next((d for d in DRAWINGS if d.name == method), None)
    if drawing is None:
        raise ValueError(unknown("method", method, (d.name for d in DRAWINGS)))
    start = _Start(*_checked_start(x0, inputs, samples, width, architecture), float(input_weight_variance))
    layers = tuple(at) if at is not None else tuple(range(depth + 1)) if record else (depth,)
    if not layers or any(not 0 <= _whole(k, "each layer in at", 0) <= depth for k in layers):
        raise ValueError(f"at must list layers from 0 to depth={depth}, got {list(layers)}")
    program = architecture.program()
    layer = architecture.layer() if isinstance(architecture, Architecture) else None
    first = (width, width if start.inputs is None else start.inputs.shape[1])
    matrices = ((*first, False), *compiled_program(program).matrices)
    entries = [(AllWeights() if whole else drawing).entries(rows, columns, m) for rows, columns, whole in matrices]
    block = max(1, BLOCK // max(entries))

    def fuse() -> Any:
        if not isinstance(drawing, InLaw) or layer is None:
            raise ValueError(
                'only networks with one matrix a layer drawn in law have a machine-code kernel; use method="in_law", or '
                'backend="numpy"'
            )
        return layer_kernel(layer, m)

    compiled = uses_jit(backend, samples * depth * width * m, fuse) and start.is_moderate
    task = _Networks(program, layer, (width, m), depth, float(t), start, drawing, layers, record, compiled)
    single = at is None and record is None
    if reduce is not None:
        condensed = last_time(task) if single else task
        several = (reduce,) if isinstance(reduce, Reduction) else tuple(reduce)
        *results, lost = reduce_ensemble(
            condensed, (*several, NotFinite()), samples, block, seed, workers, progress, checkpoint
        )
        if record is None:
            warn_of_explosions(lost[0], lost[1], "networks")
        return results[0] if isinstance(reduce, Reduction) else tuple(results)
    kept = run_ensemble(task, samples, block, seed, workers, progress, checkpoint)
    flat = kept.reshape(samples, -1)
    lost_rows = np.isnan(flat).any(axis=1) if record else ~np.isfinite(flat).all(axis=1)
    warn_of_explosions(int(np.count_nonzero(lost_rows)), samples, "networks")
    return kept[:, 0] if single else np.moveaxis(kept, 1, 0)


def _clock(architecture: Recipe, depth: int, t: float | None) -> float:
    """The time of the layers: what is asked for where it is free, else what the recipe says."""
    own = architecture.time_of(depth)
    if own is None or depth == 0:
        return 1.0 if t is None else t
    if t is not None and not np.isclose(t, float(own), rtol=1e-9):
        raise ValueError(
            f"t = {t:g} is not free: {depth} layers of width {architecture.width} take the time {float(own):g} when depth and width grow "
            f"together; leave t out, or choose another depth"
        )
    return float(own)


def finite_width(architecture: Recipe) -> int:
    """The width as a number, or an error that says that it must be one."""
    width: Any = architecture.width
    if not getattr(width, "is_Integer", isinstance(width, int)):
        raise ValueError(
            f"a network is simulated at a width that is a number, got width={width}; "
            "give the architecture a positive integer, e.g. width=100 for a wide one"
        )
    return int(width)


def _whole(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number, at least {least}, got {value!r}")
    return int(value)


def _checked_start(
    x0: ArrayLike | None, inputs: ArrayLike | None, samples: int, width: int, architecture: Recipe
) -> tuple[Array | None, Array | None]:
    """The start as states of shape (n, m) or (samples, n, m), or as inputs, one row per coordinate."""
    m = architecture.coordinates
    if (x0 is None) == (inputs is None):
        given = "neither" if x0 is None else "both"
        raise ValueError(f"expected either x0, a fixed start, or inputs, network inputs of shape (m, dim), got {given}")
    if inputs is not None:
        return None, input_rows(architecture, inputs)
    states = _finite(x0, "x0")
    if m == 1 and states.shape not in ((width,), (width, m)) and states.size == samples * width:
        states = states.reshape(samples, width, m) if states.shape in ((samples,), (samples, width)) else states
    if states.shape not in ((), (width,), (width, m), (samples, width, m)):
        raise ValueError(
            f"x0 must be a number or have shape ({width},), ({width}, {m}) or ({samples}, {width}, {m}), "
            f"got shape {states.shape}"
        )
    column = states[:, None] if states.ndim == 1 else states
    return column if column.ndim == 3 else np.broadcast_to(column, (width, m)), None


def input_rows(architecture: Recipe, inputs: ArrayLike) -> Array:
    """Network inputs as one row per coordinate of a neuron's state: what the first layer's weights multiply.

    Parameters
    ----------
    architecture : Architecture
    inputs : array, shape (m, dim), or (m, channels, positions...) over a grid

    Returns
    -------
    array, shape (coordinates, dim or channels)

    Raises
    ------
    ValueError
        If the shape does not fit the architecture.
    """
    given, grid = _finite(inputs, "inputs"), architecture.positions
    if given.ndim != 2 + len(grid) or given.shape[1] < 1 or given.shape[2:] != grid:
        shape = f"(m, channels, {', '.join(map(str, grid))})" if grid else "(m, dim), one network input a row"
        raise ValueError(f"inputs must have shape {shape}, got shape {given.shape}")
    if given.shape[0] != architecture.inputs:
        raise ValueError(
            f"the architecture follows {architecture.inputs} inputs jointly, got {given.shape[0]} rows; "
            f"set inputs={given.shape[0]} in the architecture"
        )
    rows: Array = np.moveaxis(given, 1, -1).reshape(-1, given.shape[1])
    return rows


def _finite(given: ArrayLike | None, name: str) -> Array:
    try:
        values = np.asarray(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {type(given).__name__}: {error}") from error
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{name} must be finite, got {np.count_nonzero(~np.isfinite(values))} values that are not")
    return values
