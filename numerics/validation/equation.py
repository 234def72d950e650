r"""A limit's equation against networks, whatever is followed: extrapolated to infinite size, and tested by scores.

What finite size adds to an expectation is a series in one over the size. From networks of two sizes its first term is
removed by Richardson's weights; what is left is of the next order.

* A limit with noise: U, the rank of a statistic among paths of the limit, is uniform, and the mean of the first Legendre polynomials of U
  is compared (Neyman's smooth test): they see location, scale and shape, and are bounded whatever explodes.
* A flow: the mean of its states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.polynomial import legendre
from scipy import special

from derivations.diffusion import Flow
from numerics.ensembles import Seed
from numerics.statistics import Estimate, Test, z_error
from numerics.validation.base import CONTROL_LEVEL, LEVEL, Array, Row, number_row, spawn
from numerics.validation.subjects import RANKED, Setting

#: Networks of a pilot run, and the most networks and paths of one size.
PILOT, MOST, MOST_PATHS = 50_000, 250_000, 400_000
#: Polynomials of a smooth test.
DEGREES = 4
#: The noncentrality at which a control is rejected at its level, but for three standard deviations of the statistic.
SEEN = 75.0
#: Steps of paths, extrapolated from so many and twice as many.
_STEPS = 16
#: Values at which the distribution function of many is taken, and by how much it rises between two where it is asked for.
_KNOTS, _STEEP = 8192, 1e-3
#: Largest size, in steps of the ratio from the smallest.
_LARGER = 4
#: Networks from which it is seen whether layers are short.
_FEW = 20_000
#: Networks from which it is seen how their spread falls with the size, and by how much more it may be.
_TRIED, _SURELY = 400, 1.1
#: How often a time is cut to a quarter in which the layers of networks are too long for the limit.
SHORTENED = 6


def equation_of_networks(s: Setting, seed: Seed) -> Iterator[Row]:
    """Networks, extrapolated to infinite size, move as the limit says: paths of it, or its solution where it has no noise."""
    yield from flow_of_networks(s, seed) if isinstance(s.limit, Flow) else _paths_of_networks(s, seed)


# --- limits with noise ---


@dataclass(frozen=True)
class Scores:
    """Orthonormal polynomials of the rank of a statistic, among paths of the limit or by its law.

    Parameters
    ----------
    name : str
    function : callable
        The statistic.
    rank : callable
        From its values to their ranks, from -1 to 1.
    shift : array, shape (degrees,)
        The mean scores of the control, those of the limit being 0.
    """

    name: str
    function: Callable[[Array], Array]
    rank: Callable[[Array], Array]
    shift: Array

    @property
    def noncentrality(self) -> float:
        """Of one sample of the control."""
        return float(self.shift @ self.shift)

    def __call__(self, x: Array) -> Array:
        """Scores, shape (samples, degrees)."""
        with np.errstate(all="ignore"):
            return _polynomials(self.rank(self.function(x)))

    @classmethod
    def of_paths(cls, name: str, function: Callable[[Array], Array], right: Array, wrong: Array) -> Scores:
        """From paths of the limit and of its control, driven by the same noise."""
        with np.errstate(all="ignore"):
            first, second = function(right), function(wrong)
        ranked = np.sort(first)

        def rank(values: Array) -> Array:
            both = np.searchsorted(ranked, values, "left") + np.searchsorted(ranked, values, "right")
            return np.asarray(both / len(ranked) - 1.0)

        return cls(name, function, rank, (_polynomials(rank(second)) - _polynomials(rank(first))).mean(axis=0))

    @classmethod
    def of_law(cls, name: str, right: Any, wrong: Any) -> Scores:
        """From the law of the first number."""

        def rank(values: Array) -> Array:
            return np.asarray(2.0 * of_many(right.cdf, values) - 1.0)

        quantiles = wrong.ppf((np.arange(2000) + 0.5) / 2000)
        return cls(name, lambda x: x.reshape(len(x), -1)[:, 0], rank, _polynomials(rank(quantiles)).mean(axis=0))


def of_many(cdf: Callable[[Array], Array], values: Array) -> Array:
    """A distribution function of many values, by its own at some of them: between two it is monotone, and asked for where it rises by much.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal(100_000)
    >>> float(np.max(np.abs(of_many(special.ndtr, x) - special.ndtr(x)))) < 1e-4
    True
    """
    if len(values) < 4 * _KNOTS or not np.isfinite(values).all():
        return np.asarray(cdf(values))
    ordered = np.sort(values)
    knots = np.unique(ordered[np.linspace(0, len(values) - 1, _KNOTS).astype(int)])
    known = np.asarray(cdf(knots))
    found = np.interp(values, knots, known)
    rises = np.append(np.diff(known), 0.0)  # at the last knot itself
    steep = rises[np.searchsorted(knots, values, side="right") - 1] > _STEEP
    if steep.any():
        found[steep] = cdf(values[steep])
    return found


def _polynomials(ranks: Array) -> Array:
    table = legendre.legvander(ranks, DEGREES)[:, 1:]
    return np.asarray(table * np.sqrt(2.0 * np.arange(1, DEGREES + 1) + 1.0))


@dataclass(frozen=True)
class _DrawnOnce:
    """Networks of a setting: of a size that is known only those beyond the known ones are drawn."""

    setting: Setting
    known: dict[int, Array] = field(default_factory=dict)

    def __call__(self, size: int, samples: int, seed: Seed) -> Array:
        """So many of them, shape (samples, rows, columns)."""
        if size not in self.known:
            self.known[size] = self.setting.networks(size, samples, seed)
        here = self.known[size]
        if len(here) < samples:
            (further,) = spawn(seed, 1)
            here = np.concatenate([here, self.setting.networks(size, samples - len(here), further)])
            self.known[size] = here
        return here[:samples]


def _paths_of_networks(of: Setting, seed: Seed) -> Iterator[Row]:
    _, network_seed, path_seed = spawn(seed, 3)
    s = of if of.by_law else of.calm
    shortened = 0 if of.depth or of.samples or not s.shortens else SHORTENED
    shown, draw = most_powerful(s), _DrawnOnce(s)
    first, short = 0, not shortened
    while shortened:
        short, first = _falls(draw, shown, network_seed)
        if short:
            break
        s, shortened = s.shorter.calm, shortened - 1
        shown, draw = most_powerful(s), _DrawnOnce(s)
    found = _compared(draw, shown, network_seed, path_seed, first if short else 0)
    if shortened and not found.short:  # seen with more networks only
        s = s.shorter.calm
        shown, draw = most_powerful(s), _DrawnOnce(s)
        found = _compared(draw, shown, network_seed, path_seed)
    of.resolved[:] = [s.t]
    when = "" if s.t == of.t else f" at t = {s.t:g}"
    rows = _rows(s, when, shown, found)
    while shortened and found.larger + 1 < _LARGER and any(row.test.p_value < LEVEL for row in rows):
        # what is left over may be more than the first two sizes show; a wrong limit is as wrong for larger networks
        found = _compared(draw, shown, network_seed, path_seed, found.larger + 1)
        rows = _rows(s, when, shown, found)
    yield from rows


def _rows(s: Setting, when: str, shown: Sequence[Scores], found: _Compared) -> list[Row]:
    sized, against = " and ".join(map(s.sized, found.sizes.sizes)), s.named if s.by_law else "paths of the limit"
    return [
        score_row(f"{scores.name}{when}: networks of {sized}, extrapolated, against {against}", scores, net, path)
        for scores, net, path in zip(shown, found.networks, found.paths, strict=True)
    ]


def _falls(draw: _DrawnOnce, shown: Sequence[Scores], seed: Seed) -> tuple[bool, int]:
    """Whether what extrapolation leaves over falls from the smallest networks to larger ones, as it does where layers are short.

    Also how many of the smallest pairs of sizes leave over too much for the comparison, which these networks see as well.
    """
    s = draw.setting
    needed = _needed(s, shown)
    few = int(min(_FEW, 2.0 * needed))  # what so many do not see is no matter beside the comparison's own noise
    sizes = [s.smallest * s.ratio**k for k in range(3)]
    drawn = [draw(size, few, one) for size, one in zip(sizes, spawn(seed, 3), strict=True)]
    found = [
        of_samples(shown, Sizes(pair, (few, few)), both)
        for pair, both in zip(pairwise(sizes), pairwise(drawn), strict=True)
    ]
    lefts = [largest_left(means) for means in found]
    noises = [
        max(float(np.sqrt(np.trace(m.covariance))) for m in means) * 2.0 / size
        for means, size in zip(found, sizes[1:], strict=True)
    ]
    falls = lefts[1] <= max(0.4 * lefts[0], 3.0 * noises[1])  # of the second order it falls to a quarter
    large = [left - 3.0 * noise > _allowed(needed) for left, noise in zip(lefts, noises, strict=True)]
    return falls, large.index(False) if False in large else len(large)


def _needed(s: Setting, shown: Sequence[Scores]) -> float:
    """Samples that see the control.

    Raises
    ------
    ValueError
        If none do.
    """
    least = min(one.noncentrality for one in shown)
    if not least > 1e-12:
        raise ValueError(
            f"the control is not seen from {s.start.ravel()[:3].tolist()} at t = {s.t:g}: the law there is narrower, or wider, than doubles "
            "tell; choose a start and a t of moderate size"
        )
    return SEEN / least


@dataclass(frozen=True)
class _Compared:
    """Networks of two sizes, which are so many steps above the smallest, and paths; and whether the sizes are large enough."""

    larger: int
    sizes: Sizes
    networks: list[Extrapolated]
    paths: list[Extrapolated]
    short: bool


def _compared(
    draw: _DrawnOnce, shown: Sequence[Scores], network_seed: Seed, path_seed: Seed, first: int = 0
) -> _Compared:
    """Networks and paths, of the smallest sizes that are large enough; the first ones are known to be too small."""
    s = draw.setting
    needed = _needed(s, shown)
    if s.samples:  # so few networks, as noisy as their extrapolation, show no more beside more paths
        needed = min(needed, s.samples / float(np.sum(network_sizes(s, 1.0).weights ** 2)))
    paths = paths_of_limit(s, shown, needed, path_seed)
    for larger in range(first, _LARGER):
        sizes = network_sizes(s, (1.0 if s.by_law else 1.4) * needed, larger)
        networks = extrapolated(draw, shown, sizes, network_seed)
        if s.depth or small(networks, needed):
            return _Compared(larger, sizes, networks, paths, short=True)
    return _Compared(larger, sizes, networks, paths, short=False)


def score_row(claim: str, scores: Scores, net: Extrapolated, path: Extrapolated) -> Row:
    """The smooth test of networks' mean scores against those of the limit, and of its control."""
    gap, covariance = net.mean - path.mean, net.covariance + path.covariance
    test, control = (_quadratic(g, covariance) for g in (gap, gap - scores.shift))
    left = float(np.linalg.norm(net.left) + np.linalg.norm(path.left))
    return Row(claim, "χ²", test, control, bias=left, noise=float(np.sqrt(np.trace(covariance) / DEGREES)))


def law_scores(shown: Sequence[Scores]) -> list[Extrapolated]:
    """Mean scores of a law: 0, without an error."""
    zero, matrix = np.zeros(DEGREES), np.zeros((DEGREES, DEGREES))
    return [Extrapolated(zero, matrix, zero, zero, matrix) for _ in shown]


def paths_of_limit(s: Setting, shown: Sequence[Scores], needed: float, seed: Seed) -> list[Extrapolated]:
    """Mean scores of the limit: 0 by its law, else those of paths, extrapolated in their steps."""
    if s.by_law:
        return law_scores(shown)
    for steps in (_STEPS * 2**k for k in range(_LARGER)):
        sizes = Sizes.of((steps, 2 * steps), 4.0 * needed, float, MOST_PATHS)
        paths = extrapolated(lambda steps, count, one: s.paths(s.limit, steps, count, one), shown, sizes, seed)
        if small(paths, needed):
            break
    return paths


def most_powerful(s: Setting) -> list[Scores]:
    """Of each group the statistic with the most power against the control, without groups that have hardly any."""
    if s.by_law:
        return [Scores.of_law(str(s.limit.states[0]), s.exact, s.wrong)]
    right, wrong = s.ranked, s.paths(s.control, 32, RANKED, 0)  # driven by the same noise
    best = [
        max((Scores.of_paths(name, f, right, wrong) for name, f in group), key=lambda one: one.noncentrality)
        for group in s.statistics
    ]
    enough = [one for one in best if one.noncentrality * MOST > 5.0 * SEEN]
    return enough or [max(best, key=lambda one: one.noncentrality)]


def small(means: Sequence[Extrapolated], needed: float) -> bool:
    """Whether what is left over is below a fifth of the noise of so many samples."""
    return largest_left(means) < _allowed(needed)


def _allowed(needed: float) -> float:
    """What extrapolation may leave over beside the noise of so many samples."""
    return float(0.2 / np.sqrt(needed))


def largest_left(means: Sequence[Extrapolated]) -> float:
    """What extrapolation leaves over."""
    return max(float(np.linalg.norm(m.left)) for m in means)


def _quadratic(gap: Array, covariance: Array) -> Test:
    """Hotelling's; a direction in which the samples do not vary counts only where they lie beside what is expected."""
    values, vectors = np.linalg.eigh(covariance)
    least = max(1e-9 * values[-1], 1e-18)
    squares = (vectors.T @ gap) ** 2
    kept = (values > least) | (squares > 30.0 * least)
    statistic = float(np.sum(squares[kept] / np.maximum(values[kept], least)))
    return Test(statistic, float(special.chdtrc(np.count_nonzero(kept), statistic)))


# --- sizes ---


@dataclass(frozen=True)
class Sizes:
    """Two sizes with their samples."""

    sizes: tuple[int, int]
    samples: tuple[int, int]

    @property
    def weights(self) -> Array:
        """Richardson's, which remove a term in one over the size."""
        small, large = self.sizes
        return np.array([small, -large]) / (small - large)

    @classmethod
    def of(
        cls, sizes: tuple[int, int], wanted: float, cost: Callable[[int], float], most: int = MOST, fall: float = 1.0
    ) -> Sizes:
        """Samples with which the extrapolated mean has the noise of that many of the smaller size, at the least cost; larger ones spread by less."""
        weights = np.abs(cls(sizes, (0, 0)).weights) * [1.0, fall]
        roots = np.sqrt([cost(size) for size in sizes])
        counts = wanted * float(weights @ roots) * weights / roots
        small, large = (int(np.clip(np.ceil(n), 2, most)) for n in counts)
        return cls(sizes, (small, large))


def network_sizes(s: Setting, wanted: float, larger: int = 0, fall: float = 1.0) -> Sizes:
    """The smallest two sizes, or larger ones."""
    first = s.depth or s.smallest * s.ratio**larger
    sizes = first, first * s.ratio
    return Sizes(sizes, (s.samples, s.samples)) if s.samples else Sizes.of(sizes, wanted, s.cost, fall=fall)


@dataclass(frozen=True)
class Extrapolated:
    """A mean, the covariance of its error, what extrapolation has left over, the mean at the smaller size, the covariance of what was taken off it."""

    mean: Array
    covariance: Array
    left: Array
    small: Array
    removed: Array


def extrapolated(
    simulate: Callable[[int, int, Seed], Array],
    functions: Sequence[Callable[[Array], Array]],
    sizes: Sizes,
    seed: Seed,
) -> list[Extrapolated]:
    """Extrapolated means of functions of the same samples."""
    drawn = (
        simulate(size, count, one) for size, count, one in zip(sizes.sizes, sizes.samples, spawn(seed, 2), strict=True)
    )
    return of_samples(functions, sizes, drawn)


def of_samples(
    functions: Sequence[Callable[[Array], Array]], sizes: Sizes, drawn: Iterable[Array]
) -> list[Extrapolated]:
    """The same from samples of both sizes, which are asked for one after the other."""
    means: list[list[Array]] = [[] for _ in functions]
    spreads: list[list[Array]] = [[] for _ in functions]
    for x, count in zip(drawn, sizes.samples, strict=True):
        for k, f in enumerate(functions):
            values = f(x)
            with np.errstate(all="ignore"):  # networks that exploded have no mean, which is said where it is used
                means[k].append(values.mean(axis=0))
                spreads[k].append(np.atleast_2d(np.cov(values.T)) / count)
    first, second = sizes.weights
    out = []
    for (small, large), (rough, fine) in zip(means, spreads, strict=True):
        with np.errstate(all="ignore"):
            whole = first * small + second * large
            # the term that was removed, times one over the size: what is left if the coefficients of the series are alike
            left = (whole - large) * 2.0 / sizes.sizes[1]
        removed = second**2 * (rough + fine)  # small - whole is second times the difference of the two
        out.append(Extrapolated(whole, first**2 * rough + second**2 * fine, left, small, removed))
    return out


# --- flows ---


def flow_of_networks(s: Setting, seed: Seed) -> Iterator[Row]:
    """The means of networks' second moments are the solution of the flow, and not that of one 5 % faster."""
    pilot, main = spawn(seed, 2)
    right, wrong = s.solutions()
    moved = np.abs(wrong - right)
    flat: Callable[[Array], Array] = lambda x: x.reshape(len(x), -1)  # noqa: E731
    tried = zip((s.smallest, s.smallest * s.ratio), (pilot, *spawn(pilot, 1)), strict=True)
    with np.errstate(all="ignore"):
        spread, next_spread = [flat(s.networks(size, _TRIED, one)).std(axis=0) for size, one in tried]
    shown = [k for k in range(len(right)) if moved[k] > 1e-3 * max(spread[k], np.abs(right[k]))]
    if not shown:
        if np.any(moved > 1e-3 * np.abs(right)):
            raise _unseen(s, spread, moved)
        raise ValueError(
            "nothing moves: the flow's solution at t hardly differs from its start; choose another start or a longer time"
        )
    # of a flow that networks follow without noise, such as one neuron's, two samples say all
    asked = np.array([z_error(moved[k], CONTROL_LEVEL) for k in shown])
    wanted = float(np.max(spread[shown] / asked)) ** 2
    # wider networks differ less from each other: no more of them are drawn than the error asks
    fall = min(1.0, _SURELY * float(np.max(next_spread[shown] / np.maximum(spread[shown], 1e-300))))
    for larger in range(_LARGER):
        sizes = network_sizes(s, wanted, larger, fall)
        (found,) = extrapolated(s.networks, [flat], sizes, main)
        errors = np.sqrt(np.diag(found.covariance))
        if not np.all(np.isfinite(errors[shown])):
            raise _unseen(s, spread, moved)
        left = np.abs(found.left)
        if s.depth or np.all(left[shown] < np.maximum(errors, 1e-2 * moved)[shown] / 4):
            break
        wanted *= min(1.0, float(np.max(errors[shown] / asked)) ** 2) * fall**2
    for k in shown:
        error, bias = float(errors[k]), float(left[k])
        if spread[k] < 1e-9 * moved[k]:  # networks without noise: what is left over is the only error
            error, bias = bias, 0.0
        claim = f"{s.limit.states[k]} of the flow: networks of {' and '.join(map(s.sized, sizes.sizes))}, extrapolated"
        yield number_row(claim, Estimate(float(found.mean[k]), error), float(right[k]), float(wrong[k]), bias)


def _unseen(s: Setting, spread: Array, moved: Array) -> ValueError:
    return ValueError(
        f"networks of {s.sized(s.smallest)} differ from each other by {np.max(spread):.1g} and more, where the flow and its control differ by "
        f"{np.max(moved):.1g}: their mean is not seen, as where some grow without bound before the flow does; take a shorter time"
    )
