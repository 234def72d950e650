r"""The checks of one derivation: its limit, its law and simulated networks against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from scipy import special

from derivations.diffusion import NeuronDiffusion
from numerics.compile import compile_expression, compile_sums
from numerics.ensembles import Seed
from numerics.networks import simulate_network
from numerics.outcomes import without_nan
from numerics.statistics import Estimate, convergence_order, ks_samples, richardson, z_error
from numerics.validation.base import (
    BIAS_SHARE,
    CONTROL_LEVEL,
    Array,
    Row,
    bias_rate,
    control_distance,
    depth_below_noise,
    distribution_row,
    ks_noise,
    number_row,
    spawn,
)
from numerics.validation.equation import SHORTENED, equation_of_networks
from numerics.validation.subjects import Setting, explosions_counted

#: Networks of a pilot run, from which it is known how many more the control needs, and the most of them.
PILOT, MOST, MOST_COUPLED = 4096, 250_000, 200_000
#: The same of single layers, and the largest time of one.
LAYERS, MOST_LAYERS, _LAYER = 2000, 1_000_000, 1 / 32
_FEW, _STILL = 16, 1e-9  # layers that show whether a mean moves, and the share of the noise that is rounding
#: How often a time is halved, to find neurons that still move.
_HALVINGS = 10


# --- the law against networks ---


def law_of_networks(of: Setting, seed: Seed) -> Iterator[Row]:
    """The distribution of deep networks is the law, by Kolmogorov–Smirnov at a depth whose bias is below the noise.

    The time is cut to a quarter while the bias of shallow networks does not fall as that of short layers does.
    """
    pilot, main = spawn(seed, 2)
    s = replace(of, t=of.resolved[0], drawn=(0, None)) if of.resolved and of.resolved[0] < of.t else of.calm
    for _ in range(SHORTENED + 1):
        samples = s.samples or ks_samples(control_distance(s.exact, s.wrong), CONTROL_LEVEL)
        # shallow networks cost little, and with more of them their own noise does not count as a bias
        many = s.samples or max(8 * samples, LAYERS)
        rate, falls = bias_rate(partial(_first_neurons, s), many, pilot)
        if falls or of.depth or of.samples:
            break
        s = s.shorter.calm
    when = "" if s.t == of.t else f" at t = {s.t:g}"
    depth = s.depth or depth_below_noise(rate, ks_noise(samples))
    there, drawn = s.drawn
    if (
        drawn is not None
        and len(drawn) >= samples
        and (there == s.depth or rate / there < BIAS_SHARE * ks_noise(samples))
    ):
        depth, x = there, s.view(drawn[:samples])[:, 0, 0]
    else:
        x = s.networks(depth, samples, main)[:, 0, 0]
    yield distribution_row(
        f"{s.named}{when} against {samples} networks of depth {depth}", x, s.exact.cdf, s.wrong.cdf, rate / depth
    )


def _first_neurons(s: Setting, depth: int, samples: int, seed: Seed) -> Array:
    return s.networks(depth, samples, seed)[:, 0, 0]


def moments_of_networks(s: Setting, seed: Seed) -> Iterator[Row]:
    r"""The second moment of normal scores, extrapolated to infinite depth from depths L and 2L.

    Under the law :math:`\Phi^{-1}(F(X_t))` is standard normal. Its moments see the whole distribution, and are finite with
    light tails where those of X are not. Over a short time, for the reason that :func:`weak_order` gives. The normal variable that follows a network
    is of no use here: it is made with the noise that is to be tested.
    """
    s = replace(s, t=_short_time(s))
    # A squared score varies by √2, and 2b - a by √5 times as much; the control's mean is an integral over the law's quantiles.
    quantiles = s.exact.ppf((np.arange(2000) + 0.5) / 2000)
    wanted = z_error(float(np.mean(_normal_score(s.wrong.cdf(quantiles)) ** 2)) - 1.0, CONTROL_LEVEL)
    samples, depth = s.samples or min(4 * MOST, int(10.0 / wanted**2)), s.depth or 64
    runs = [
        s.networks(size, samples, one)[:, 0, 0] for size, one in zip((depth, 2 * depth), spawn(seed, 2), strict=True)
    ]
    squares, controls = (
        richardson(*(Estimate.of(_normal_score(law.cdf(x)) ** 2) for x in runs)) for law in (s.exact, s.wrong)
    )
    claim = f"second moment of normal scores at t = {s.t:g}, networks extrapolated from depths {depth} and {2 * depth}"
    yield Row(claim, "z", squares.test(1.0), controls.test(1.0), derived=1.0, measured=squares)


def _normal_score(rank: Array) -> Array:
    """Normal scores; what lies where the law has no mass, a network frozen on the wrong side of a kink, counts as 8 deviations out."""
    return np.asarray(special.ndtri(np.clip(rank, special.ndtr(-8.0), 1.0 - 1e-15)))


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
    pilot, *seeds = spawn(seed, 1 + 2 * len(depths))
    functions: tuple[Callable[[Array], Array], ...] = (lambda u: u, lambda u: (2 * u - 1) ** 2)
    scores, ranks, _ = _coupled(short, depths[0], s.samples or PILOT, pilot)
    missed = [Estimate.of(f(scores) - f(ranks)) for f in functions]
    seen = [abs(error.test(0.0).statistic) if abs(error.value) > 1e-9 else 0.0 for error in missed]
    if max(seen) < 10.0 * np.sqrt((s.samples or PILOT) / (s.samples or MOST_COUPLED) * 4):
        return
    f = functions[int(np.argmax(seen))]

    def orders(samples: int, seeds: list[np.random.SeedSequence]) -> tuple[Estimate, Estimate]:
        right, wrong = [], []
        for depth, one in zip(depths, seeds, strict=True):
            scores, ranks, controls = _coupled(short, depth, samples, one)
            right.append(Estimate.of(f(scores) - f(ranks)))
            wrong.append(Estimate.of(f(controls) - f(ranks)))
        first, second = (convergence_order(depths, errors).order for errors in (right, wrong))
        return first, second

    order, control = orders(s.samples or PILOT, seeds[: len(depths)])
    wanted = z_error(1.0, CONTROL_LEVEL)  # the control's order is near 0
    if not s.samples and order.error > wanted:
        samples = min(MOST_COUPLED, int(PILOT * 1.2 * (order.error / wanted) ** 2))
        order, control = orders(samples, seeds[len(depths) :])
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
    chunk = min(samples, 2**21 // depth)
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


# --- one layer against the coefficients ---


def one_layer(s: Setting, seed: Seed) -> Iterator[Row]:
    r"""Conditional mean and covariance of one layer's increment are :math:`\varepsilon^2 b` and :math:`\varepsilon^2 a`.

    The sharpest check: no depth, no path, only the coefficients at one generic state. Layers of times h, h/2, h/4 and h/8 are drawn
    with the same random numbers, and their increments per unit of time combined so that the noise of order :math:`h^{-1/2}`, which
    is the same in all but for its size, and the biases of order h and :math:`h^2` cancel; what is left of the next order counts as
    an error. Samples are as many as the control needs: that of the covariance is 5 % in the noise's scale; that of the drift is off
    by 5 % of itself or, since it may be 0, of the noise's scale, whichever is more.
    """
    start, first, second = spawn(seed, 3)
    neurons = _generic_state(s, start)
    state = s.view(neurons[None])[0]
    drift, covariance = coefficients(s.limit, state)
    m = state.shape[1]

    def combined(
        wanted: float,
        powers: tuple[float, ...],
        seeds: list[np.random.SeedSequence],
        function: Callable[[Array, float], Array],
    ) -> Estimate:
        """A mean per unit of time with an error that is small enough, or that of as many samples as were asked for."""
        count = s.samples or LAYERS
        for one in seeds:  # what few samples say of their error may be too little
            found = _one_layer_mean(s, neurons, state, count, powers, one, function)
            if s.samples or found.error <= wanted or count == MOST_LAYERS:
                break
            ratio = min(found.error / wanted, 1e6) if wanted > 0 else 1e6  # where nothing moves no number is enough
            count = min(MOST_LAYERS, int(count * 1.2 * ratio**2))
        return found

    def product(a: int) -> Callable[[Array, float], Array]:
        return lambda moved, h: np.mean((moved[:, :, 0] - drift[:, 0] * h) * (moved[:, :, a] - drift[:, a] * h), axis=1)

    variance, joint = float(covariance[0, 0]), float(covariance[0, m - 1])
    seen, of = (
        (slice(None), s.one_layer_of[0])
        if _mean_moves(s, neurons, state, variance, first)
        else (slice(1), ", neuron 1")
    )
    expected, first_one = float(np.mean(drift[seen, 0])), s.one_layer_of[1]
    off = (float(s.scale) - 1.0) * max(abs(expected), np.sqrt(variance))
    mean = combined(
        z_error(off, CONTROL_LEVEL),
        (-0.5, 1.0, 2.0),
        spawn(first, 4),
        lambda moved, _: np.mean(moved[:, seen, 0], axis=1),
    )
    yield number_row(f"drift of one layer{of}", mean, expected, expected + off)
    for a, value in ((0, variance), (m - 1, joint)) if m > 1 and abs(joint) > 0.1 * variance else ((0, variance),):
        square = combined(
            z_error(value * (s.excess - 1.0), CONTROL_LEVEL), (1.0, 2.0, 3.0), spawn(second, 4), product(a)
        )
        what = (
            f"covariance of the first and the last {'state' if first_one else 'coordinate'}"
            if a
            else f"variance of one layer's increment{first_one}"
        )
        yield number_row(what, square, value, value * s.excess)


def _mean_moves(s: Setting, neurons: Array, state: Array, variance: float, seed: Seed) -> bool:
    """Whether the mean over the neurons does: a layer norm at the end of a layer fixes it, and says nothing of each of them."""
    moved = s.one_layer(neurons, _LAYER, _FEW, seed) - state
    return bool(np.max(np.abs(np.mean(moved[:, :, 0], axis=1))) > _STILL * np.sqrt(_LAYER * variance))


def _one_layer_mean(
    s: Setting,
    neurons: Array,
    state: Array,
    count: int,
    powers: tuple[float, ...],
    seed: Seed,
    function: Callable[[Array, float], Array],
) -> Estimate:
    """The mean of a function of one layer's increment per unit of time, without its terms of some powers of the time of the layer."""
    sizes = _LAYER * 0.5 ** np.arange(len(powers) + 1)
    seen = np.stack([function(s.one_layer(neurons, float(h), count, seed) - state, float(h)) / h for h in sizes])

    def without(number: int) -> Array:
        rows = np.stack([np.ones(number + 1), *((sizes[: number + 1] / _LAYER) ** p for p in powers[:number])])
        return np.asarray(np.linalg.solve(rows, np.eye(number + 1)[0]) @ seen[: number + 1])

    last, before = without(len(powers)), without(len(powers) - 1)
    found = Estimate.of(last)
    left = abs(found.value - float(before.mean()))
    rounding = 1e-14 * float(np.max(np.abs(state), initial=1.0)) / sizes[-1]
    return Estimate(found.value, float(np.sqrt(found.error**2 + left**2 + rounding**2)))


def _generic_state(s: Setting, seed: Seed) -> Array:
    """Neurons that a network reaches, in a shorter time where all have come to rest by then; the start itself if it is a single number."""
    if s.start.size == 1:
        return s.start

    def moves(
        x: Array,
    ) -> bool:  # by so much that rounding, 1e-14 over the time of a layer, is nothing beside a share of the variance
        variance = float(coefficients(s.limit, s.view(x[None])[0])[1][0, 0])
        return 1e-10 * max(1.0, float(np.max(np.abs(x)))) < variance < np.inf

    for halvings in range(_HALVINGS):
        reached = replace(s, t=s.t / 2**halvings).reached(seed)
        for x in reached:
            if moves(x):
                return np.asarray(x)
    return np.asarray(reached[0])


def coefficients(limit: Any, state: Array) -> tuple[Array, Array]:
    """Drift, shape (n, m), and the mean over neurons of their covariance between inputs, shape (m, m), at a state of shape (n, m)."""
    n, m = state.shape
    if isinstance(limit, NeuronDiffusion):
        drift = compile_sums(limit.neuron, limit.neuron_drift, (limit.time,))(state, 0.0)
        covariance = compile_sums(limit.neuron, limit.neuron_covariance, (limit.time,))(state, 0.0)
        return np.broadcast_to(np.asarray(drift)[..., 0], (n, m)), np.asarray(covariance)
    symbols = (*limit.states, limit.time)
    drift = compile_expression(symbols, limit.drift)(*state.ravel(), 0.0)
    covariance = np.asarray(compile_expression(symbols, limit.covariance)(*state.ravel(), 0.0)).reshape(n, m, n, m)
    return np.asarray(drift).reshape(n, m), np.einsum("iaib->ab", covariance) / n


Check: TypeAlias = Callable[[Setting, Seed], Iterator[Row]]
#: Checks of any limit with noise, and those that need its law; each yields rows.
LIMIT_CHECKS: tuple[Check, ...] = (one_layer, equation_of_networks)
LAW_CHECKS: tuple[Check, ...] = (law_of_networks, moments_of_networks, weak_order)
