r"""A limit's equation against networks, whatever is followed: extrapolated to infinite size, and tested by scores.

What finite size adds to an expectation is a series in one over the size. From networks of two sizes its first term is
removed by Richardson's weights; what is left is of the next order.

* A limit with noise: U, the rank of a statistic among paths of the limit, is uniform, and the mean of the first Legendre polynomials of U
  is compared (Neyman's smooth test): they see location, scale and shape, and are bounded whatever explodes.
* A flow: the mean of its states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from derivations.diffusion import Flow
from numerics.ensembles import Seed
from numerics.validation.base import LEVEL, Array, Row, spawn
from numerics.validation.extrapolation import (
    LARGER,
    Extrapolated,
    Sizes,
    allowed,
    extrapolated,
    largest_left,
    network_sizes,
    of_samples,
    small,
)
from numerics.validation.flows import flow_of_networks
from numerics.validation.scores import Scores, most_powerful, needed_samples, paths_of_limit, score_row
from numerics.validation.subjects import Setting

#: Networks from which it is seen whether layers are short.
_FEW = 20_000
#: How often a time is cut to a quarter in which the layers of networks are too long for the limit.
SHORTENED = 6


def equation_of_networks(s: Setting, seed: Seed) -> Iterator[Row]:
    """Networks, extrapolated to infinite size, move as the limit says: paths of it, or its solution where it has no noise."""
    yield from flow_of_networks(s, seed) if isinstance(s.limit, Flow) else _paths_of_networks(s, seed)


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
    while shortened and found.larger + 1 < LARGER and any(row.test.p_value < LEVEL for row in rows):
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
    needed = needed_samples(s, shown)
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
    large = [left - 3.0 * noise > allowed(needed) for left, noise in zip(lefts, noises, strict=True)]
    return falls, large.index(False) if False in large else len(large)


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
    needed = needed_samples(s, shown)
    if s.samples:  # so few networks, as noisy as their extrapolation, show no more beside more paths
        needed = min(needed, s.samples / float(np.sum(network_sizes(s, 1.0).weights ** 2)))
    paths = paths_of_limit(s, shown, needed, path_seed)
    for larger in range(first, LARGER):
        sizes = network_sizes(s, (1.0 if s.by_law else 1.4) * needed, larger)
        networks = extrapolated(draw, shown, sizes, network_seed)
        if s.depth or small(networks, needed):
            return _Compared(larger, sizes, networks, paths, short=True)
    return _Compared(larger, sizes, networks, paths, short=False)
