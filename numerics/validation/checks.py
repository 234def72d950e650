r"""The checks of one derivation: its limit, its law and simulated networks against each other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy import special

from derivations.architectures import Architecture
from derivations.diffusion import NeuronDiffusion
from numerics.compile import compile_expression, compile_sums
from numerics.ensembles import Seed
from numerics.limit_distribution import distribution
from numerics.networks import simulate_network
from numerics.outcomes import ExplosionWarning, without_nan
from numerics.paths import simulate_sde
from numerics.statistics import Estimate, convergence_order, ks_samples, ks_two_sample, richardson, z_error
from numerics.validation.base import (
    CONTROL_LEVEL,
    WRONG,
    Array,
    Row,
    bias_rate,
    control_distance,
    depth_below_noise,
    distribution_row,
    ks_noise,
    negative_control,
    number_row,
    spawn,
)

#: Samples of a pilot run, and the most that a comparison of two simulations draws.
PILOT, MOST = 50_000, 250_000
#: Error in L¹ of laws that are solved: far below what a simulation of that size sees.
_SOLVED = 1e-5


@dataclass(frozen=True)
class Setting:
    """What is validated, and where.

    Parameters
    ----------
    architecture : Architecture
    limit : Diffusion or NeuronDiffusion
    law : PiecewiseLaw or None
    start : array, shape (n, m)
    t : float
    samples, depth : int or None
        Overrides of what the checks choose.
    workers : int
    exploded : dict
        How many samples left the range of numbers, by what was simulated.
    """

    architecture: Architecture
    limit: Any
    law: Any
    start: Array
    t: float
    samples: int | None
    depth: int | None
    workers: int
    exploded: dict[str, int] = field(default_factory=dict, compare=False)

    @property
    def width(self) -> int:
        """The number of neurons."""
        return int(self.architecture.width)

    def networks(self, depth: int, samples: int, seed: Seed) -> Array:
        """Last layers, shape (samples, n, m)."""
        with explosions_counted(self.exploded, f"networks of depth {depth}", samples):
            return simulate_network(
                self.architecture, depth, samples, x0=self.start, t=self.t, seed=seed, workers=self.workers
            )

    def paths(self, limit: Any, steps: int, samples: int, seed: Seed) -> Array:
        """Ends of paths of a limit, shape (samples, n, m)."""
        with explosions_counted(self.exploded, f"paths of {steps} steps", samples):
            ends = simulate_sde(
                limit, x0=self.start.ravel(), t=self.t, steps=steps, samples=samples, seed=seed, workers=self.workers
            )
        return ends.reshape(samples, self.width, -1)

    @cached_property
    def exact(self) -> Any:
        """The law, closed or solved on a grid."""
        of = self.limit if self.law is None else self.law
        return distribution(of, x0=float(self.start[0, 0]), t=self.t, tol=_SOLVED)

    @cached_property
    def wrong(self) -> Any:
        """The law of the limit with its noise 5 % too large, recognised or solved anew from its coefficients."""
        return distribution(negative_control(self.limit), x0=float(self.start[0, 0]), t=self.t, tol=_SOLVED)

    @property
    def named(self) -> str:
        """What the law is, for the table."""
        return "law" if self.exact.error == 0 else f"Fokker–Planck solution (error {self.exact.error:.1g})"


@contextmanager
def explosions_counted(counts: dict[str, int], what: str, samples: int) -> Iterator[None]:
    """Keep warnings of explosions, the largest number of each kind of simulation, for the table instead of showing them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if issubclass(warning.category, ExplosionWarning):
            number = int(str(warning.message).split()[0])
            name = f"of {samples} {what}"
            counts[name] = max(counts.get(name, 0), number)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


# --- the law against networks ---


def law_of_networks(s: Setting, seed: Seed) -> Iterator[Row]:
    """The distribution of deep networks is the law, by Kolmogorov–Smirnov at a depth whose bias is below the noise."""
    pilot, main = spawn(seed, 2)
    samples = s.samples or ks_samples(control_distance(s.exact, s.wrong), CONTROL_LEVEL)
    rate = bias_rate(lambda depth, count, seed: s.networks(depth, count, seed)[:, 0, 0], samples, pilot)
    depth = s.depth or depth_below_noise(rate, ks_noise(samples))
    x = s.networks(depth, samples, main)[:, 0, 0]
    yield distribution_row(
        f"{s.named} against {samples} networks of depth {depth}", x, s.exact.cdf, s.wrong.cdf, rate / depth
    )


def moments_of_networks(s: Setting, seed: Seed) -> Iterator[Row]:
    r"""The second moment of normal scores, extrapolated to infinite depth from depths L and 2L.

    Under the law :math:`\Phi^{-1}(F(X_t))` is standard normal. Its moments see the whole distribution, and are finite with
    light tails where those of X are not. Over a short time, for the reason that :func:`weak_order` gives.
    """
    s = replace(s, t=_short_time(s))
    # A squared score varies by √2, and 2b - a by √5 times as much; the control's mean is an integral over the law's quantiles.
    quantiles = s.exact.ppf((np.arange(2000) + 0.5) / 2000)
    shift = float(np.mean(_normal_score(s.wrong, quantiles) ** 2)) - 1.0
    samples, depth = s.samples or min(4 * MOST, int(10.0 / z_error(shift, CONTROL_LEVEL) ** 2)), s.depth or 64
    runs = [
        s.networks(size, samples, seed)[:, 0, 0] for size, seed in zip((depth, 2 * depth), spawn(seed, 2), strict=True)
    ]
    squares, controls = (
        richardson(*(Estimate.of(_normal_score(law, x) ** 2) for x in runs)) for law in (s.exact, s.wrong)
    )
    claim = f"second moment of normal scores at t = {s.t:g}, networks extrapolated from depths {depth} and {2 * depth}"
    yield Row(claim, "z", squares.test(1.0), controls.test(1.0), derived=1.0, measured=squares)


def _normal_score(law: Any, x: Array) -> Array:
    """Normal scores; what lies where the law has no mass, a network frozen on the wrong side of a kink, counts as 8 deviations out."""
    tail = special.ndtr(-8.0)
    return special.ndtri(np.clip(law.cdf(x), tail, 1.0 - 1e-15))


def weak_order(s: Setting, seed: Seed) -> Iterator[Row]:
    r"""The error of networks of depth L in an expectation known from the law falls like :math:`1/L`.

    With F the law's distribution function :math:`U = F(X_t)` is uniform in the limit, so :math:`\mathbb{E}U = \tfrac12` and
    :math:`\mathbb{E}(2U-1)^2 = \tfrac13` exactly; U is bounded and smooth. The one of the two that shallow networks miss by more
    standard errors is followed; where neither is missed, as for a recursion that is exact at every depth, there is
    no order to measure and no row. In the control F is that of the wrong coefficient: the error then stays as depth
    grows, and the order is near 0.

    Over short times only: with a few layers the error is a series in 1/L only where the noise's scale changes little.
    """
    short = replace(s, t=_short_time(s))
    depths = (8, 16, 32, 64)
    samples = s.samples or 200_000
    pilot, *seeds = spawn(seed, 1 + len(depths))
    functions: tuple[Callable[[Array], Array], ...] = (lambda u: u, lambda u: (2 * u - 1) ** 2)
    scores, ranks, _ = _coupled(short, depths[0], samples // 4, pilot)
    missed = [Estimate.of(f(scores) - f(ranks)) for f in functions]
    seen = [abs(error.test(0.0).statistic) if abs(error.value) > 1e-9 else 0.0 for error in missed]
    if max(seen) < 10.0:
        return
    f = functions[int(np.argmax(seen))]
    right, wrong = [], []
    for depth, one in zip(depths, seeds, strict=True):
        scores, ranks, controls = _coupled(short, depth, samples, one)
        right.append(Estimate.of(f(scores) - f(ranks)))
        wrong.append(Estimate.of(f(controls) - f(ranks)))
    order, control = (convergence_order(depths, errors).order for errors in (right, wrong))
    claim = f"weak order in depth at t = {short.t:g}, from depths {', '.join(map(str, depths))}"
    yield Row(claim, "z", order.test(1.0), control.test(1.0), 1.0, control.value, order)


def _short_time(s: Setting) -> float:
    """At most 1/4, halved until the logarithm of the noise's scale varies by at most 1/2 per deviation, within three of them."""
    symbols = (*s.limit.states, s.limit.time)
    squared = compile_expression(symbols, s.limit.covariance[0])
    short = min(0.25, s.t)
    for _ in range(10):
        reached = replace(s, t=short).exact.ppf(special.ndtr([-3.0, 0.0, 3.0]))
        if np.ptp(np.log(squared(reached, short / 2))) <= 6.0:
            break
        short /= 2.0
    return float(short)


def _coupled(s: Setting, depth: int, samples: int, seed: Seed) -> tuple[Array, Array, Array]:
    r"""F(X_t) of networks, a uniform variable that follows it closely, and F(X_t) for the wrong law.

    Standardised increments :math:`g_\ell = (\Delta_\ell - hb)/\sqrt{ha}` are independent standard normals where a layer is
    affine in its pre-activation, so :math:`\Phi(L^{-1/2}\sum_\ell g_\ell)` is uniform exactly, at every depth. Its difference from
    F(X_t) has the same mean as F(X_t) minus 1/2, and a variance that shrinks with depth. A frozen or diverged network has no increments; its
    g are drawn afresh.
    """
    chunk = 2**21 // depth
    fresh, *seeds = spawn(seed, 1 + -(-samples // chunk))
    rng = np.random.default_rng(fresh)
    drift, covariance = (
        compile_expression((*s.limit.states, s.limit.time), entry)
        for entry in (s.limit.drift[0], s.limit.covariance[0])
    )
    h = s.t / depth
    times = h * (np.arange(depth) + 0.5)[:, np.newaxis]
    columns: list[tuple[Array, Array, Array]] = []
    for one in seeds:
        with (
            np.errstate(over="ignore", invalid="ignore"),
            explosions_counted(s.exploded, f"networks of depth {depth}", chunk),
        ):
            x = simulate_network(
                s.architecture, depth, chunk, x0=s.start, t=s.t, seed=one, workers=s.workers, at=range(depth + 1)
            )[:, :, 0, 0]
            a = covariance(x[:-1], times)
            g = (np.diff(x, axis=0) - h * drift(x[:-1], times)) / np.sqrt(h * np.where(a > 0, a, 1.0))
        x = without_nan(x)
        moves = (a > 0) & np.isfinite(g)
        g[~moves] = rng.standard_normal(np.count_nonzero(~moves))
        rank = special.ndtr(g.sum(axis=0) / np.sqrt(depth))
        columns.append((s.exact.cdf(x[-1]), rank, s.wrong.cdf(x[-1])))
    first, second, third = (np.concatenate(column)[:samples] for column in zip(*columns, strict=True))
    return first, second, third


# --- the equation against networks ---


def equation_of_networks(s: Setting, seed: Seed) -> Iterator[Row]:
    """Euler–Maruyama paths of the limit and networks have the same law: neuron 1, and the layer's norm."""
    network_pilot, path_pilot, distance_pilot, network_seed, path_seed, control_seed = spawn(seed, 6)
    shown = _most_telling(s, distance_pilot)
    # a margin twice as wide as for a known distance: this one is of a pilot with few steps
    samples = s.samples or min(MOST, ks_samples(min(d for *_, d in shown), CONTROL_LEVEL, sides=2, margin=4.0))
    noise = ks_noise(samples, sides=2)
    rates = [
        bias_rate(partial(_ends_of_networks, s, f), PILOT, network_pilot)
        + bias_rate(partial(_ends_of_paths, s, f), PILOT, path_pilot)
        for _, f, _ in shown
    ]
    depth = s.depth or min(2048, depth_below_noise(max(rates), noise))
    steps = depth + depth // 4  # not the same number, or a residual network and its scheme are the same recursion
    networks = s.networks(depth, samples, network_seed)
    right, wrong = (
        s.paths(s.limit, steps, samples, path_seed),
        s.paths(negative_control(s.limit), steps, samples, control_seed),
    )
    for (name, f, _), rate in zip(shown, rates, strict=True):
        claim = f"{name}: {samples} networks of depth {depth} against paths of {steps} Euler–Maruyama steps"
        test, control = (ks_two_sample(f(networks), f(paths)) for paths in (right, wrong))
        yield Row(claim, "KS", test, control, bias=rate / depth, noise=noise)


def _most_telling(s: Setting, seed: Seed) -> list[tuple[str, Callable[[Array], Array], float]]:
    """A statistic of neuron 1 and one of the layer, with the distance that the control puts between its laws.

    Right and wrong paths are driven by the same noise, so that their distance is seen well. Of neuron 1 the state or how
    far it moved is taken, whichever tells the two apart better.
    """
    first = float(s.start[0, 0])
    of_neuron: list[tuple[str, Callable[[Array], Array]]] = [
        ("neuron 1", lambda x: x[:, 0, 0]),
        ("how far neuron 1 moved", lambda x: np.abs(x[:, 0, 0] - first)),
    ]
    of_layer: list[tuple[str, Callable[[Array], Array]]] = [
        ("log-norm of the layer", lambda x: np.log(np.sum(x[:, :, 0] ** 2, axis=1)))
    ]
    right, wrong = (s.paths(limit, 32, PILOT, seed) for limit in (s.limit, negative_control(s.limit)))
    groups = [of_neuron, of_layer] if s.width > 1 else [of_neuron]
    return [
        max(((name, f, ks_two_sample(f(right), f(wrong)).statistic) for name, f in group), key=lambda row: row[2])
        for group in groups
    ]


def _ends_of_networks(s: Setting, function: Callable[[Array], Array], depth: int, samples: int, seed: Seed) -> Array:
    return function(s.networks(depth, samples, seed))


def _ends_of_paths(s: Setting, function: Callable[[Array], Array], steps: int, samples: int, seed: Seed) -> Array:
    return function(s.paths(s.limit, steps, samples, seed))


# --- one layer against the coefficients ---


def one_layer(s: Setting, seed: Seed) -> Iterator[Row]:
    r"""Conditional mean and covariance of one layer's increment are :math:`\varepsilon^2 b` and :math:`\varepsilon^2 a`.

    The sharpest check: no depth, no path, only the coefficients at one generic state. Increments over h and h/2 are extrapolated,
    which leaves a bias of order h². The noise of a covariance does not depend on h, which can be tiny; that of a mean grows like
    :math:`h^{-1/2}`, so there h is the larger and the samples are more. The control of the covariance is 5 % in the noise's scale;
    that of the drift, which may be 0, is off by 5 % of the noise's scale.
    """
    start, first, second = spawn(seed, 3)
    state = _generic_state(s, start)
    drift, covariance = coefficients(s.limit, state)
    n, m = state.shape
    samples = s.samples or max(2, 4_000_000 // n)

    def extrapolated(h: float, count: int, seed: Seed, function: Callable[[Array, float], Array]) -> list[Estimate]:
        """Estimates of several means per unit of time, one a column of what the function returns."""
        runs = []
        for size, one in zip((h, h / 2), spawn(seed, 2), strict=True):
            after = simulate_network(s.architecture, 1, count, x0=state, t=size, seed=one, workers=s.workers)
            runs.append([Estimate.of(column / size) for column in function(after - state, size)])
        return [richardson(coarse, fine) for coarse, fine in zip(*runs, strict=True)]

    def products(moved: Array, size: float) -> Array:
        centred = moved - drift * size
        return np.stack([np.mean(centred[:, :, 0] * centred[:, :, a], axis=1) for a in (0, m - 1)])

    (mean,) = extrapolated(1 / 16, samples, first, lambda moved, _: np.mean(moved[:, :, 0], axis=1)[None])
    square, cross = extrapolated(1 / 512, max(2, samples // 8), second, products)
    expected, variance, joint = float(np.mean(drift[:, 0])), float(covariance[0, 0]), float(covariance[0, m - 1])
    yield number_row("drift of one layer, mean over neurons", mean, expected, expected + 0.05 * np.sqrt(variance))
    yield number_row("variance of one layer's increment", square, variance, variance * float(WRONG))
    if m > 1 and abs(joint) > 0.1 * variance:
        yield number_row("covariance of the first and the last coordinate", cross, joint, joint * float(WRONG))


def _generic_state(s: Setting, seed: Seed) -> Array:
    """A state that a network reaches and at which it still moves; the start itself if it is a single number."""
    if s.start.size == 1:
        return s.start
    reached = s.networks(32, 32, seed)
    return next((x for x in reached if coefficients(s.limit, x)[1][0, 0] > 0), reached[0])


def coefficients(limit: Any, state: Array) -> tuple[Array, Array]:
    """Drift, shape (n, m), and covariance between inputs of a neuron, shape (m, m), at a state of shape (n, m)."""
    n, m = state.shape
    if isinstance(limit, NeuronDiffusion):
        drift = compile_sums(limit.neuron, limit.neuron_drift, (limit.time,))(state, 0.0)
        covariance = compile_sums(limit.neuron, limit.neuron_covariance, (limit.time,))(state, 0.0)
        return np.broadcast_to(np.asarray(drift)[..., 0], (n, m)), np.asarray(covariance)
    symbols = (*limit.states, limit.time)
    drift = compile_expression(symbols, limit.drift)(*state.ravel(), 0.0)
    covariance = compile_expression(symbols, limit.covariance)(*state.ravel(), 0.0)
    return np.asarray(drift).reshape(n, m), np.asarray(covariance)[:m, :m]


#: Checks of any limit with noise, and those that need its law; each yields rows.
LIMIT_CHECKS: tuple[Callable[[Setting, Seed], Iterator[Row]], ...] = (one_layer, equation_of_networks)
LAW_CHECKS: tuple[Callable[[Setting, Seed], Iterator[Row]], ...] = (law_of_networks, moments_of_networks, weak_order)
