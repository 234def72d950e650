"""What of a derivation is validated, and from where."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derivations import Derivation
from derivations.architectures import Recipe
from derivations.diffusion import Flow
from derivations.limits import CollapseDiffusion, GramDiffusion
from derivations.limits.elimination.moments import LayerMoments
from derivations.limits.gram import gram_matrix
from numerics.networks import simulate_network
from numerics.outcomes import UndefinedState
from numerics.validation.base import Array
from numerics.validation.matrices import CollapseSetting, GramSetting, JointSetting, WideSetting
from numerics.validation.subjects import Setting, at_width

#: Correlation of inputs where only their size is given.
_CORRELATION = 0.3
#: A time too short for noise to be seen.
_INSTANT = 1e-60
#: Relative, of a state that a layer without noise puts out as it is.
_ROUNDED = 1e-12


def settings_of(
    d: Derivation, x0: ArrayLike, t: float, samples: int | None, depth: int | None, workers: int
) -> list[Setting]:
    """Neurons and Gram matrix at a finite width; second moments at infinite width; the Gram matrix of depth and width together.

    Raises
    ------
    ValueError
        If the width is a symbol, parameters are left, the start does not fit, or nothing moves from it.
    """
    recipe: Any = d.architecture
    given = (t, samples, depth, workers)
    if not d.limit.states:
        raise ValueError(
            "nothing moves: every layer fixes the norm of an input, which is all that this limit follows of one; follow two inputs"
        )
    if isinstance(d.limit, CollapseDiffusion):
        return [CollapseSetting(recipe, d.limit, None, np.ones((1, 1)), min(t, 0.25), samples, depth, workers)]
    if d.order == "joint":
        start, matrix = start_gram(x0, recipe.coordinates), gram_matrix(recipe.coordinates)
        return [JointSetting(recipe, d.limit, d.law, start, *given, matrix=matrix).in_whole_layers]
    if d.order == "width":
        gram = start_gram(x0, recipe.coordinates)
        if len(d.limit.states) < recipe.coordinates * (recipe.coordinates + 1) // 2:  # norms that every layer fixes
            x = simulate_network(at_width(recipe, 8), 1, 1, x0=starting_states(at_width(recipe, 8)), t=_INSTANT)[0]
            scale = np.sqrt(np.mean(x**2, axis=0) / np.diag(gram))
            gram = gram * scale[:, None] * scale
        return [WideSetting(recipe, d.limit, None, gram, *given, matrix=gram_matrix(recipe.coordinates, "K"))]
    if np.ndim(x0) == 0 and (recipe.coordinates > 1 or _centred(recipe, x0)):
        x0 = np.asarray(x0, dtype=float) * starting_states(recipe)
    layer = LayerMoments(recipe.program(), recipe.coordinates)
    if layer.is_projected:
        raise ValueError(
            "the layer adds to a projection of its state, as rms_norm(x) + eps*A(x) does: until the next layer projects them, states are off "
            "those of the limit by L^(-1/2); say the projection behind the sum, as rms_norm(x + eps*A(x)), which has the same limit, and "
            "compare networks of that"
        )
    start = simulate_network(recipe, depth=0, samples=1, x0=x0)[0]
    if layer.fixed_powers:  # where a layer without noise takes it
        start = simulate_network(recipe, depth=1, samples=1, x0=start, t=_INSTANT)[0]
    explosive = d.existence.explodes == "can"
    neurons = Setting(recipe, d.limit, d.law, start, *given, explosive=explosive, fixes_norm=2 in layer.fixed_powers)
    if np.all(neurons.networks(4, 8, 0) == start):
        raise ValueError(
            f"nothing moves from x0 = {start.squeeze().tolist()}: the activation vanishes there, or t is too short; choose another start or a longer time"
        )
    closure = d.closure if recipe.width > 1 else None
    if closure is None or not closure.process.states or isinstance(closure.process, Flow):
        return [neurons]
    matrix = GramSetting(recipe, closure.process, d.gram_law, start, *given, explosive=explosive, closure=closure)
    if closure.fixed and recipe.coordinates > 1:
        # angles say all of neurons on a sphere, whose own equation for several inputs is long; steps to matrices of a smaller rank, which are
        # taken back to these each time, have errors that fall more slowly
        process = closure.process
        return [neurons if isinstance(process, GramDiffusion) and process.rank < recipe.coordinates else matrix]
    return [neurons, matrix]


def _centred(recipe: Any, x0: ArrayLike) -> bool:
    """Whether neurons that start alike do not move, or have no next layer, as where a layer takes their mean away, and normalises what is left."""
    free: Any = recipe.time_of(1) is None
    moves = False
    try:
        for t in (1.0, _INSTANT) if free else (None,):  # noise may part them before they are normalised
            after = simulate_network(recipe, depth=1, samples=4, x0=x0, t=t, seed=0)
            moves |= not np.allclose(after, x0, rtol=_ROUNDED, atol=0.0)  # a norm may round
    except UndefinedState:
        return recipe.width > 1
    return recipe.width > 1 and not moves


def start_gram(x0: ArrayLike, inputs: int) -> Array:
    """Second moments of m inputs at the start: a matrix as given, or inputs of one size and one correlation.

    Raises
    ------
    ValueError
        If it is no positive semi-definite matrix of m inputs.
    """
    given = np.asarray(x0, dtype=float)
    if given.ndim == 0:
        given = float(given) ** 2 * ((1.0 - _CORRELATION) * np.eye(inputs) + _CORRELATION)
    fits = given.shape == (inputs, inputs) and np.isfinite(given).all() and np.allclose(given, given.T, rtol=1e-12)
    if not fits or np.linalg.eigvalsh(given)[0] < -1e-12 * np.trace(given):
        raise ValueError(
            f"x0 must be a number, or the second moments of the inputs, positive semi-definite of shape ({inputs}, {inputs}), got {x0!r}"
        )
    return given


def starting_states(architecture: Recipe) -> Array:
    """Standard normal states of several inputs, shape (n, m), always the same ones; the first neuron is active."""
    width = simulate_network(architecture, depth=0, samples=1, x0=0.0).shape[1]
    states = np.random.default_rng(0).standard_normal((width, architecture.coordinates))
    states[0] = np.abs(states[0])
    return np.asarray(states)
