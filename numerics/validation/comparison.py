"""Samples of somebody's own networks against a derived limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derivations import Derivation
from derivations.backward import Jacobian, WideJacobian
from derivations.diffusion import Flow
from derivations.errors import kind_of
from derivations.limits import CollapseDiffusion
from numerics import given
from numerics.ensembles import Seed
from numerics.statistics import Estimate
from numerics.validation.base import Array, Row, Validation, number_row, spawn
from numerics.validation.derivatives import DeterminantSetting, TangentPaths, TangentSetting, derivatives_of
from numerics.validation.extrapolation import PILOT, Extrapolated, Sizes, extrapolated
from numerics.validation.matrices import WideSetting
from numerics.validation.scores import DEGREES, Scores, law_scores, most_powerful, paths_of_limit, score_row
from numerics.validation.settings import settings_of
from numerics.validation.stages import Stage, silent
from numerics.validation.subjects import Setting

#: Numbers that the networks of a correction draw at most, and the part of the samples' own variance that its error is to stay below.
_NUMBERS, _BESIDE = 50_000_000, 1 / 4
#: What of a correction for finite size may be wrong: the inverse of the smaller of the sizes that it is measured at, a little more.
_LEFT = 1 / 16


@given.checked(
    d=given.derived, x0=given.moderate, t=given.duration, depth=given.optional(given.whole), stage=given.function
)
def compare(
    d: Derivation | Jacobian | WideJacobian,
    samples: Any,
    x0: ArrayLike = 1.0,
    t: float = 1.0,
    depth: int | None = None,
    seed: Seed = 0,
    workers: int = 1,
    stage: Stage = silent,
) -> Validation:
    r"""Compare the last layers of your own networks with a derived limit, by the checks and controls of :func:`numerics.validate`.

    Parameters
    ----------
    d : Derivation or Jacobian
    samples : array or tensor, shape (samples, n, m), or for a Jacobian the pair of states, shape (samples, n), and Jacobians, (samples, n, n)
        States of the last layer of independent networks; (samples, n) for one input, (samples,) for one neuron. For a limit of infinite
        width, or of depth and width together, n is the width of your networks.
    x0 : float or array
        Where the networks start: states at a finite width, shape (n,) or (n, m), second moments else, shape (m, m); a number for one state a
        neuron. For Jacobians where depth and width grow together the states, shape (n,) or (samples, n): neurons that look like independent
        Gaussian ones where a function reads them.
    t : float
        The limit's time that all layers take together.
    depth : int, optional
        How many layers your networks have: what a finite depth adds, or a finite width of networks that grow in both, is then measured on
        small networks of the recipe and taken off. Without it the bias is not counted.
    seed : int, SeedSequence, Generator or None
        Of the paths of the limit.
    workers : int
    stage : callable
        Announces each comparison.

    Returns
    -------
    Validation
        True if every row agrees and every control is rejected.

    Raises
    ------
    ValueError
        If the samples' shape does not fit, they are too few for their own error, or there are nan among them.

    Examples
    --------
    >>> from derivations import ResNet, derive, relu
    >>> from numerics import simulate_network
    >>> d = derive(ResNet(relu, width=2))
    >>> mine = simulate_network(ResNet(relu, width=2), depth=100, samples=500, x0=1.0)
    >>> [row.test.p_value > 1e-3 for row in compare(d, mine, x0=1.0).rows]
    [True, True]
    """
    if isinstance(d, Derivation) and isinstance(d.limit, CollapseDiffusion):
        raise ValueError(
            "samples of two inputs that collapse are not compared: states hold 1 - ρ to 16 digits only; run validate(d), which follows the gap"
        )
    if depth is not None and depth < 1:
        raise ValueError(
            f"depth must be the number of layers of your networks, at least 1, got {depth}; leave it out where it is not known"
        )
    samples, x0 = _array(samples), _array(x0)
    if isinstance(d, Derivation):
        states, count = _states(d, samples), d.architecture.coordinates
        if count > 1 and np.ndim(x0) == 0:
            shape = f"(n, {count})" if d.order == "depth" else f"({count}, {count}), their second moments"
            raise ValueError(
                f"a neuron has {count} states, which start from places of their own, and x0 is the number {x0!r}; give those of your networks, "
                f"shape {shape} (--start FILE on the command line)"
            )
        subjects = [replace(s, t=float(t)) for s in settings_of(d, x0, float(t), None, None, workers)]
        seen = [s.seen(states) for s in subjects]
    else:
        states, seen, subjects = _derivatives(d, samples, x0, float(t), workers)
    rows: list[Row] = []
    for s, x, one in zip(subjects, seen, spawn(seed, len(subjects)), strict=True):
        with stage(f"samples against the limit of {', '.join(map(str, s.limit.states[:3]))}"):
            rows += _rows(s, x, depth, states.shape[1], one)
    counted = "" if depth else "; the bias of finite depth is not counted, give depth"
    return Validation(tuple(rows), f"{len(states)} samples against {d.title.partition(':')[0]}, t = {t:g}{counted}")


def _array(given: Any) -> Any:
    """Tensors of PyTorch as arrays: from any device, of any precision, with or without gradients."""
    if isinstance(given, tuple | list):
        return [*map(_array, given)]
    return given.detach().cpu().double().numpy() if hasattr(given, "detach") and not given.is_complex() else given


def _derivatives(
    d: Jacobian | WideJacobian, samples: Any, x0: ArrayLike, t: float, workers: int
) -> tuple[Array, list[Array], list[Setting]]:
    """States, what is looked at of them and their Jacobians, and by whom."""
    if isinstance(d, WideJacobian) and d.order == "width":
        raise ValueError(
            "at infinite width the derivation has a gradient's mean square only; give jacobian(...) order='joint', or a width that is a number and "
            "order='depth'"
        )
    if not isinstance(samples, tuple | list) or len(samples) != 2:
        raise ValueError(
            "for a Jacobian samples must be the pair of states, shape (samples, n), and Jacobians, shape (samples, n, n), as simulate_jacobian returns"
        )
    try:
        x, j = (np.asarray(part, dtype=float) for part in samples)
    except (TypeError, ValueError) as error:
        raise ValueError(f"states and Jacobians must be arrays of real numbers: {error}") from error
    rows = x.reshape(len(x), -1)
    count = rows.shape[1] if isinstance(d, WideJacobian) else int(d.network.width) * d.network.coordinates
    if rows.shape != (len(j), count) or j.shape != (len(x), count, count):
        raise ValueError(
            f"states and Jacobians must have shapes (samples, {count}) and (samples, {count}, {count}), got {x.shape} and {j.shape}"
        )
    _require_usable(np.concatenate([rows, j.reshape(len(x), -1)], axis=1), _least(DEGREES))
    subjects = derivatives_of(d, x0, t, None, None, workers)
    if not isinstance(d, WideJacobian):
        return x, [s.of_samples(x, j) for s in subjects if isinstance(s, TangentPaths | DeterminantSetting)], subjects
    (whole,) = subjects
    assert isinstance(whole, TangentSetting)
    if np.shape(x0) not in ((), (count,), rows.shape):
        raise ValueError(
            f"x0 must be the state that the networks start from, shape ({count},) or {rows.shape}, got {np.shape(x0)}"
        )
    setting, seen = replace(whole, t=t).of_samples(rows, j, x0)
    return rows, [seen], [setting]


def _states(d: Derivation, samples: ArrayLike) -> Array:
    if np.iscomplexobj(samples):
        raise ValueError("samples must be real numbers, got complex ones")
    try:
        given = np.asarray(samples, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"samples must be an array of numbers, got {kind_of(samples)}: {error}") from error
    m, width = d.architecture.coordinates, d.architecture.width
    finite = d.order == "depth"
    n = int(width) if finite and width.is_Integer else None
    if given.ndim == 2 and m > 1 and n and given.shape[1] == n * m:
        given = given.reshape(len(given), n, m)
    shaped = given.reshape(*given.shape, *(1,) * (3 - given.ndim)) if given.ndim < 3 and m == 1 else given
    if shaped.ndim != 3 or shaped.shape[2] != m or (n and shaped.shape[1] != n):
        raise ValueError(
            f"samples must have shape (samples, {n or 'n'}, {m}), the last layer's states of each network, got shape {given.shape}"
        )
    _require_usable(
        shaped.reshape(len(shaped), int(np.prod(shaped.shape[1:]))),
        _least(DEGREES) if d.order != "width" else _least(1),
    )
    return shaped


def _require_usable(rows: Array, least: int) -> None:
    """Refuse samples that are nan, or too few; one a row."""
    undefined = np.count_nonzero(np.isnan(rows).any(axis=1))
    if undefined:
        raise ValueError(
            f"{'1 sample is nan; leave it out' if undefined == 1 else f'{undefined} samples are nan; leave them out'}"
        )
    if len(rows) < least:
        count = "1 sample is" if len(rows) == 1 else f"{len(rows)} samples are"
        raise ValueError(
            f"{count} too few: the error of their mean comes from themselves, and below {least} it makes a right network differ too often; draw "
            "more networks"
        )


def _least(numbers: int) -> int:
    r"""With how many samples at least the covariance of the means of some numbers, taken from the samples, can stand for the true one.

    The statistic of p means is then Hotelling's, whose mean is :math:`p(N - 1)/(N - p - 2)` in place of p: at most a tenth more.
    """
    return int(np.ceil((1.1 * (numbers + 2) - 1) / 0.1))


def _rows(s: Setting, x: Array, depth: int | None, width: int, seed: Seed) -> Iterator[Row]:
    if isinstance(s.limit, Flow):
        yield from _flow_rows(s, x, depth, width, seed)
        return
    _, path_seed, bias_seed = spawn(seed, 3)
    shown = [Scores.of_law(str(s.limit.states[0]), s.exact, s.wrong)] if s.has_law else most_powerful(s)
    paths = law_scores(shown) if s.has_law else paths_of_limit(s, shown, float(min(len(x), PILOT)), path_seed)
    finite = _finite_size(s, shown, depth, width, len(x), bias_seed)
    for scores, path, (added, noise) in zip(shown, paths, finite, strict=True):
        values = scores(x)
        mean, covariance = values.mean(axis=0) - added, np.atleast_2d(np.cov(values.T)) / len(x) + noise
        own = Extrapolated(mean, covariance, added * _LEFT, mean, noise)
        against = s.named if s.has_law else "paths of the limit"
        yield score_row(f"{scores.name}: your samples against {against}", scores, own, path)


def _finite_size(
    s: Setting,
    shown: Sequence[Callable[[Array], Array]],
    depth: int | None,
    width: int,
    samples: int,
    seed: Seed,
    numbers: int = DEGREES,
) -> list[tuple[Array, Array]]:
    """What the samples' size adds to their means, with the covariance of its error: c over the size, c from small networks of the recipe.

    A part of it is counted as a bias that may be left: what the next order adds to c.
    """
    if depth is None:
        return [(np.zeros(numbers), np.zeros((numbers, numbers))) for _ in shown]
    size = width if isinstance(s, WideSetting) else depth
    first = s.smallest * (s.ratio if size >= s.smallest * s.ratio else 1)
    share, sizes = first / size, (first, first * s.ratio)
    # of the correction, times the variance of one of the samples and over the number of networks; around a flow they vary by one over their size
    noise = 2.0 * Sizes(sizes, (0, 0)).weights[1] ** 2 * (share if isinstance(s.limit, Flow) else share**2)
    most = int(np.clip(_NUMBERS / s.cost(sizes[1]), 1000, PILOT))
    count = int(np.clip(noise / _BESIDE * samples, 1000, most))
    found = extrapolated(s.networks, shown, Sizes(sizes, (count, count)), seed)
    return [((one.small - one.mean) * share, one.removed * share**2) for one in found]


def _flow_rows(s: Setting, x: Array, depth: int | None, width: int, seed: Seed) -> Iterator[Row]:
    right, wrong = (s.paths(limit, 1, 1, 0)[0].ravel() for limit in (s.limit, s.control))

    def entries(states: Array) -> Array:
        return states.reshape(len(states), -1)

    ((added, noise),) = _finite_size(s, [entries], depth, width, len(x), seed, len(right))
    for k, name in enumerate(s.limit.states):
        if abs(wrong[k] - right[k]) > 1e-9 * max(abs(right[k]), 1e-300):
            own = Estimate.of(entries(x)[:, k]) - Estimate(float(added[k]), float(np.sqrt(noise[k, k])))
            claim = f"{name} of the flow: mean of your samples"
            yield number_row(claim, own, float(right[k]), float(wrong[k]), abs(float(added[k])) * _LEFT)
