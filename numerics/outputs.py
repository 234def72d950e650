r"""The law of a network's output: a random readout of the last layer, in every regime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from derivations.derivation import Derivation
from derivations.diffusion import Diffusion
from numerics import given
from numerics.compile import compile_expression
from numerics.compile.readouts import SecondMoments, second_moments
from numerics.densities import FrozenDistribution, Measure, PointMass
from numerics.densities.base import Array, ByContent
from numerics.densities.scale_mixture import EvenMoments, HalfMixture
from numerics.ensembles import Progress
from numerics.flows import solve_flow
from numerics.limit_distribution import distribution, has_distribution
from numerics.paths import simulate_sde

_SETTLED = 1e-11  # change of probabilities at which the list of variances is long enough
_FINEST = 1 / 256
_UNSEEN = 1e-12  # probability outside the range of doubles up to which it is left out


@given.checked(
    d=given.derivation,
    x0=given.moderate,
    t=given.number,
    of=given.optional(given.moderate),
    variance=given.size,
    bias_variance=given.size,
    samples=given.whole,
    steps=given.whole,
    progress=given.optional(given.function),
)
def output_law(
    d: Derivation,
    *,
    x0: ArrayLike = 1.0,
    t: float = 1.0,
    of: Sequence[float] | None = None,
    variance: float = 1.0,
    bias_variance: float = 0.0,
    samples: int = 20_000,
    steps: int = 500,
    seed: int = 0,
    progress: Progress | None = None,
) -> FrozenDistribution:
    r"""The law of :math:`f = n^{-1/2}\sum_i w_i x_i + b` for fresh Gaussian weights and a fresh bias of the readout.

    *Statement.* Given the last layer the outputs of all inputs are Gaussian with covariance
    :math:`\sigma_w^2 V_{\alpha\beta} + \sigma_b^2`, :math:`V = X^\top X/n`. So :math:`\sum_\alpha c_\alpha f_\alpha` is a Gaussian of the
    random variance :math:`S = \sigma_w^2\,c^\top V c + \sigma_b^2\,(\sum_\alpha c_\alpha)^2`. All of these together are the joint law of the outputs.

    *Where it holds.* At infinite width V follows its flow and f is Gaussian. Where V, or the single neuron, is a scalar diffusion, its law
    gives the mixture without sampling. Else V comes from ``samples`` simulated paths of the limit, and ``error`` is the standard
    error of a probability, at most.

    Parameters
    ----------
    d : Derivation
        As ``derive`` returned it, without free parameters.
    x0 : float or array, shape (width,) or (width, m)
        The state at depth 0, which is fixed: a number for every neuron and input. Of the limit of a Gram matrix it gives
        :math:`V_0 = X_0^\top X_0/n`.
    t : float
        Time, in the limit's units.
    of : sequence of float, optional
        The coefficients c, one for each input; by default the output of the first input.
    variance, bias_variance : float
        :math:`\sigma_w^2` and :math:`\sigma_b^2`.
    samples, steps, seed, progress
        Of simulated paths, as for :func:`numerics.simulate_sde`.

    Returns
    -------
    FrozenDistribution
        With SciPy's methods; moments of order 2k are :math:`(2k-1)!!\,\mathbb{E}S^k`, closed where those of V are. Where the state vanishes with
        positive probability, as with ReLU and one neuron, the output has an atom at 0.

    Raises
    ------
    ValueError
        For what does not give the second moments of the state, or numbers that make no sense.

    Examples
    --------
    >>> from derivations import MLP, derive, relu
    >>> f = output_law(derive(MLP(relu, inputs=1), order="joint"), t=0.1)
    >>> round(f.var(), 12), round(f.moment(4) / 3, 6)  # E V and E V², V log-normal with variance 5t of its logarithm
    (1.0, 1.648721)
    """
    if variance < 0 or bias_variance < 0 or variance + bias_variance == 0:
        raise ValueError(f"variances of the readout must be at least 0, not both 0, got {variance} and {bias_variance}")
    inputs = d.architecture.coordinates
    c = np.zeros(inputs) if of is None else np.asarray(of, dtype=float)
    if of is None:
        c[0] = 1.0
    if c.shape != (inputs,) or not np.isfinite(c).all():
        raise ValueError(f"of= gives one coefficient for each of the {inputs} outputs, got {of}")
    readout = Readout(c, float(variance), float(bias_variance))
    return _by_first_way(d, readout, x0, t, samples, steps, seed, progress)


@dataclass(frozen=True, eq=False)
class Readout(ByContent):
    """What turns second moments of the state into the output's variance."""

    c: Array
    variance: float
    bias_variance: float

    @property
    def floor(self) -> float:
        """The biases' part."""
        return self.bias_variance * float(self.c.sum()) ** 2

    def of(self, second: Array) -> Array:
        r"""From :math:`c^\top V c`."""
        return self.variance * np.maximum(second, 0.0) + self.floor

    def moment(self, power: int, second: Callable[[int], float]) -> float:
        r""":math:`E S^k` from the moments of :math:`c^\top V c`."""
        terms = ((j, comb(power, j) * self.variance**j * self.floor ** (power - j)) for j in range(power + 1))
        return float(sum(factor * second(j) for j, factor in terms if factor))


@dataclass(frozen=True)
class Power:
    """The second moment in terms of a scalar state y: a y^p."""

    factor: float
    power: int

    def __call__(self, y: Array) -> Array:
        """At states."""
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(self.factor * y**self.power)

    def moment(self, order: int, law: FrozenDistribution) -> float:
        """Its moment, from those of the state."""
        return self.factor**order * float(law.moment(self.power * order))


@dataclass(frozen=True)
class _Readouts:
    """Moments of the output's variance over a scalar law."""

    readout: Readout
    second: Power
    law: FrozenDistribution

    def __call__(self, order: int) -> float:
        return self.readout.moment(order, lambda power: self.second.moment(power, self.law))


@dataclass(frozen=True, eq=False)
class _Mixed(ByContent):
    """Moments of a listed variance."""

    weights: Array
    variances: Array

    def __call__(self, order: int) -> float:
        return float(np.sum(self.weights * self.variances**order))


def _by_first_way(
    d: Derivation,
    readout: Readout,
    x0: ArrayLike,
    t: float,
    samples: int,
    steps: int,
    seed: int,
    progress: Progress | None,
) -> FrozenDistribution:
    """By the first way that is open: a flow, a scalar law, simulated paths."""
    n, m = d.architecture.width, d.architecture.coordinates
    known = bool(n.is_Integer)
    gram = second_moments(d, readout.c.tolist())
    if gram is not None:
        start = _gram_start(gram, x0, int(n) if known else max(1, np.shape(x0)[0] if np.ndim(x0) else 1), m)
        if not isinstance(gram.process, Diffusion):
            value = float(gram.form.subs(_along_flow(gram, start, t)))
            return _mixture("Gaussian output", np.ones(1), readout.of(np.array([value])), 0.0)
        slope = gram.slope if has_distribution(gram.process) else None
        if slope is not None:
            law = distribution(d.gram_law or gram.process, x0=float(start[0]), t=t)
            return _from_law(law, Power(slope, 1), readout)
        paths = simulate_sde(gram.process, start, t=t, steps=steps, samples=samples, seed=seed, progress=progress)
        seconds = compile_expression(gram.process.states, gram.form)(*np.moveaxis(paths, -1, 0))
        return _from_samples(seconds * np.ones(samples), readout)
    if has_distribution(d.limit):
        law = distribution(d, x0=float(_state(x0, 1, 1)[0, 0]), t=t)
        return _from_law(law, Power(float(readout.c[0]) ** 2, 2), readout)
    _require_neurons(d)
    x = simulate_sde(d.limit, _neurons(x0, int(n), m), t=t, steps=steps, samples=samples, seed=seed, progress=progress)
    combined = x.reshape(samples, int(n), m) @ readout.c
    return _from_samples((combined**2).mean(axis=1), readout)


def _along_flow(gram: SecondMoments, start: Array, t: float) -> dict[Any, float]:
    """The states on which the form depends, at time t.

    Raises
    ------
    ValueError
        If two inputs among them are parallel at depth 0, where the flow of their covariance has a root.
    """
    part, kept = gram.part
    if not kept:
        return {}
    if len(kept) > 1:
        m = int((np.sqrt(8 * len(start) + 1) - 1) / 2)
        second = np.zeros((m, m))
        second[np.triu_indices(m)] = start
        scale = np.sqrt(np.diag(second))
        pairs = np.triu(second, 1) / np.where(scale[:, None] * scale > 0, scale[:, None] * scale, 1.0)
        if (np.abs(pairs) > 1 - 1e-12).any():
            raise ValueError(
                "two inputs or positions are parallel at depth 0; give different ones, x0= of shape (width, inputs)"
            )
    found = np.atleast_1d(solve_flow(part, start[kept], t)(t))
    return dict(zip(part.states, map(float, found), strict=True))


@dataclass(frozen=True)
class Conditional:
    r"""The random second moments :math:`V = X^\top X/n` of the last layer as a weighted list.

    Parameters
    ----------
    weights : array, shape (K,)
    second : array, shape (K, m, m)
    error : float
    remark : str
    """

    weights: Array
    second: Array
    error: float
    remark: str = ""


def conditional_moments(d: Derivation, x0: ArrayLike, t: float, samples: int, steps: int, seed: int) -> Conditional:
    """The second moments of the last layer over all inputs: of a flow, from a scalar law, or of simulated paths.

    Raises
    ------
    ValueError
        As :func:`output_law`.
    """
    n, m = d.architecture.width, d.architecture.coordinates
    known = bool(n.is_Integer)
    gram = second_moments(d, [1.0] * m)
    if gram is not None:
        start = _gram_start(gram, x0, int(n) if known else max(1, np.shape(x0)[0] if np.ndim(x0) else 1), m)
        if not isinstance(gram.process, Diffusion):
            at = _along_flow(gram.whole, start, t)
            return Conditional(np.ones(1), np.array(gram.matrix.subs(at), dtype=float)[None], 0.0)
        if has_distribution(gram.process) and gram.slope is not None and m == 1:
            law = distribution(d.gram_law or gram.process, x0=float(start[0]), t=t)
            return _listed(law, Power(gram.slope, 1))
        paths = np.moveaxis(simulate_sde(gram.process, start, t=t, steps=steps, samples=samples, seed=seed), -1, 0)
        second = np.empty((samples, m, m))
        for a in range(m):
            for b in range(m):
                second[:, a, b] = compile_expression(gram.process.states, gram.matrix[a, b])(*paths)
        return _simulated(second)
    if has_distribution(d.limit) and m == 1:
        return _listed(distribution(d, x0=float(_state(x0, 1, 1)[0, 0]), t=t), Power(1.0, 2))
    _require_neurons(d)
    x = simulate_sde(d.limit, _neurons(x0, int(n), m), t=t, steps=steps, samples=samples, seed=seed)
    x = x.reshape(samples, int(n), m)
    return _simulated(np.einsum("sia,sib->sab", x, x) / int(n))


def _listed(law: FrozenDistribution, second: Power) -> Conditional:
    """By the trapezoidal rule in the normal score, with the change at the last halving as an error."""
    fine, coarse = (_nodes(law, h) for h in (1 / 32, 1 / 16))
    scale = np.sqrt(np.median(second(fine[1]))) or 1.0
    laws = [_mixture("", weights, second(values), 0.0) for weights, values in (fine, coarse)]
    change = float(np.abs(np.subtract(*(made.sf(scale * np.array([0.3, 1.0, 3.0])) for made in laws))).max())
    return Conditional(fine[0], second(fine[1])[:, None, None], law.error + 2 * change, law.remark)


def _simulated(second: Array) -> Conditional:
    _require_finite(second[:, 0, 0] if second.shape[1] == 1 else second.reshape(len(second), -1).sum(axis=1))
    count = len(second)
    remark = f"norms come from {count} simulated paths"
    return Conditional(np.full(count, 1 / count), second, 0.5 / np.sqrt(count), remark)


def _require_finite(values: Array) -> None:
    lost = int(np.count_nonzero(~np.isfinite(values)))
    if lost:
        raise ValueError(
            f"{lost} of {len(values)} simulated norms left the range of numbers: the limit explodes, or the steps are too long; take a smaller t, or "
            "more steps"
        )


def _require_neurons(d: Derivation) -> None:
    n, m = d.architecture.width, d.architecture.coordinates
    if not n.is_Integer or len(d.limit.states) != int(n) * m:
        raise ValueError(
            f"the limit in {', '.join(map(str, d.limit.states[:4]))} does not give the second moments of the state; "
            "derive the network at a width that is a number, or in a regime whose limit is that of its Gram matrix"
        )


def _state(x0: ArrayLike, n: int, m: int) -> Array:
    x = np.asarray(x0, dtype=float)
    x = x[:, None] if x.ndim == 1 else x
    try:
        return np.array(np.broadcast_to(x, (n, m)))
    except ValueError:
        raise ValueError(f"x0 must be a number or have the shape ({n},) or ({n}, {m}), got {np.shape(x0)}") from None


def _neurons(x0: ArrayLike, n: int, m: int) -> Array:
    """The states at depth 0 as :func:`numerics.simulate_sde` takes them: a single neuron is a diffusion by itself."""
    x = _state(x0, n, m)
    return x[0] if n == 1 else x


def _gram_start(gram: SecondMoments, x0: ArrayLike, count: int, m: int) -> Array:
    """The states at depth 0, from the neurons."""
    x = _state(x0, count, m)
    second = x.T @ x / count
    values = {gram.matrix[a, b]: float(second[a, b]) for a in range(m) for b in range(m)}
    missing = [s for s in gram.process.states if s not in values]
    if missing:
        raise ValueError(f"the start of {missing[0]} does not follow from the second moments of the state")
    return np.array([values[s] for s in gram.process.states])


def _from_samples(seconds: Array, readout: Readout) -> FrozenDistribution:
    _require_finite(seconds)
    count = len(seconds)
    law = _mixture("output", np.full(count, 1 / count), readout.of(seconds), 0.5 / np.sqrt(count))
    return _remarked(law, f"norms come from {count} simulated paths")


def _from_law(law: FrozenDistribution, second: Power, readout: Readout) -> FrozenDistribution:
    """The mixture over a scalar law: a list of variances that is made finer until probabilities stand still."""
    made, last, remark = None, None, law.remark
    h = 0.5
    while h >= _FINEST:
        weights, values = _nodes(law, h)
        variances = readout.of(second(values))
        made = _mixture(f"output over {law.name}", weights, variances, law.error)
        scales = np.sqrt(np.quantile(variances[np.isfinite(variances)], [0.02, 0.3, 0.7, 0.98])) * 1.1
        probabilities = made.sf(np.where(scales > 0, scales, 1.0)) if last is None else made.sf(last[0])
        if last is not None and np.abs(probabilities - last[1]).max() < _SETTLED:
            break
        if last is None:
            last = np.where(scales > 0, scales, 1.0), probabilities
        else:
            change = float(np.abs(probabilities - last[1]).max())
            last = last[0], probabilities
        h /= 2
    else:
        made = FrozenDistribution(made.name, made.parts, made.moments, error=law.error + 2 * change)  # type: ignore[union-attr]
    assert made is not None
    if (below := float(weights[(variances == 0) & (values != 0)].sum())) > _UNSEEN:
        said = f"variances below the smallest double, with the probability {below:.2g}, are a point mass at 0"
        remark = f"{remark}; {said}" if remark else said
    return FrozenDistribution(made.name, made.parts, EvenMoments(_Readouts(readout, second, law)), made.error, remark)


def _nodes(law: FrozenDistribution, h: float) -> tuple[Array, Array]:
    """Weights and values: the trapezoidal rule in the normal score of each part, which converges exponentially where that is smooth."""
    z = np.arange(-37.0, 37.0 + h / 2, h)
    bell = np.exp(-(z**2) / 2) * h / np.sqrt(2 * np.pi)
    weights, values = [], []
    for part in law.parts:
        if part.mass <= 0:
            continue
        if isinstance(part, PointMass):
            weights.append(np.array([part.mass]))
            values.append(np.array([part.location]))
            continue
        low = z < 0
        tiny = np.finfo(float).tiny
        found = np.concatenate(
            [
                part.quantile(np.maximum(part.mass * ndtr(z[low]), tiny)),
                part.quantile(np.maximum(part.mass * ndtr(-z[~low]), tiny), upper=True),
            ]
        )
        weights.append(part.mass * bell / bell.sum())
        values.append(found)
    return np.concatenate(weights), np.concatenate(values)


def _mixture(name: str, weights: Array, variances: Array, error: float) -> FrozenDistribution:
    kept = (weights > 0) & (variances > 0) & np.isfinite(variances)
    if (beyond := float(weights[~np.isfinite(variances)].sum())) > _UNSEEN:
        raise ValueError(
            f"the output's variance leaves the range of doubles with the probability {beyond:.2g}; take a smaller t or start"
        )
    parts: list[Measure] = []
    if kept.any():
        parts = [HalfMixture(weights[kept], np.sqrt(variances[kept]), sign) for sign in (-1, 1)]
    still = float(weights[variances == 0].sum())
    if still:
        parts.insert(len(parts) // 2, PointMass(0.0, still))
    moments = EvenMoments(_Mixed(weights, variances))
    return FrozenDistribution(name, tuple(parts), moments, error=error)


def _remarked(law: FrozenDistribution, remark: str) -> FrozenDistribution:
    return FrozenDistribution(law.name, law.parts, law.moments, law.error, remark)
