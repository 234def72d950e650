r"""The part of a report on a text: how the tokens of a transformer's block move with depth, derived and in networks.

Each character is one-hot and so is its place; a random embedding of both is the first layer. The second moments of the tokens follow the
derived flow of infinite width; networks of a finite width are simulated beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from derivations import Derivation, DerivationError
from derivations.limits.gram import gram_matrix
from derivations.limits.width import KernelFlow
from numerics.flows import solve_flow
from numerics.networks import simulate_network
from numerics.plots import Course, Followed, course_figure, inline_svg
from numerics.report.page import Drawing, Section
from numerics.report.start import checks_section
from numerics.statistics import Estimate
from numerics.validation import Row, Validation
from numerics.validation.base import spawn
from numerics.validation.stages import Stage

Array = NDArray[np.float64]

#: Times at which the tokens are looked at, as shares of the whole.
SHARES = np.linspace(0.0, 1.0, 21)
#: Networks that are drawn first, and at most where the controls need more.
FIRST, MOST = 40, 240
_SHOWN = {" ": "space", "\n": "newline", "\t": "tab", "$": r"\$"}


@dataclass(frozen=True)
class Text:
    """A text, and how wide, deep and many the networks are that it runs through.

    Parameters
    ----------
    text : str
        Its first characters are the tokens, as many as the architecture has positions.
    width : int
        Of the networks; even.
    t : float
        The limit's time that all layers take together.
    depth : int
        Even.
    samples : int, optional
        How many networks; by default 40, and up to 240 where so many are needed for the controls to be rejected.
    seed, workers : int
    """

    text: str
    width: int = 64
    t: float = 10.0
    depth: int = 500
    samples: int | None = None
    seed: int = 0
    workers: int = 1

    def sections(self, d: Derivation, stage: Stage) -> tuple[Section, ...]:
        """Norms, correlations and the number of directions in networks against the flow; then the table of checks.

        Raises
        ------
        ValueError
            If the text is too short, or the width and depth cannot be halved.
        DerivationError
            If the limit is no flow of second moments over the positions of one input.
        """
        tokens = self._tokens(d)
        features = _features(tokens)
        with stage("the derived flow of the tokens' second moments"):
            derived = _flow(d, features.T @ features, SHARES * self.t)
        networks, halved = self._drawn(d, features, derived, stage)
        rows = tuple(_rows(networks[-1], halved[-1], derived))
        return self._pictures(tokens, networks, derived), checks_section(
            Validation(rows), self._explained(len(networks[-1]), rows)
        )

    def _drawn(self, d: Derivation, features: Array, derived: Array, stage: Stage) -> tuple[Array, Array]:
        """Networks and those of half the size, as many as the controls need, or as are asked for."""
        sizes = ((self.width, self.depth), (self.width // 2, self.depth // 2))
        seeds = iter(spawn(self.seed, 4))

        def draw(count: int, which: str) -> list[Array]:
            made = []
            for (width, depth), seed in zip(sizes, (next(seeds), next(seeds)), strict=True):
                with stage(f"{count} {which}networks of width {width} and depth {depth}"):
                    made.append(self._networks(d, features, width, depth, count, seed))
            return made

        found = draw(FIRST if self.samples is None else self.samples, "")
        count = len(found[0][-1])
        needed = max(map(partial(_needed, count), _rows(found[0][-1], found[1][-1], derived)))
        if self.samples is None and count < needed <= MOST:
            found = [np.concatenate(pair, axis=1) for pair in zip(found, draw(needed - count, "more "), strict=True)]
        return found[0], found[1]

    def _tokens(self, d: Derivation) -> str:
        p = int(np.prod(d.architecture.positions or (1,)))
        if p < 2 or d.architecture.inputs != 1 or not isinstance(d.limit, KernelFlow) or d.limit.means:
            raise DerivationError(
                "a report on a text follows the second moments of the tokens of one text at infinite width: give a recipe with at least two "
                "positions, one input and centred neurons, such as transformer-block"
            )
        if self.width % 2 or self.depth % 2:
            raise ValueError(
                f"networks of half the size are simulated too, so width and depth must be even, got {self.width} and {self.depth}"
            )
        text = self.text.strip()
        if len(text) < p:
            raise ValueError(f"the text has {len(text)} characters, and there are {p} positions; give a longer one")
        return text[:p]

    def _networks(
        self, d: Derivation, features: Array, width: int, depth: int, samples: int, seed: np.random.SeedSequence
    ) -> Array:
        """Gram matrices, shape (times, samples, p, p)."""
        gram: Array = simulate_network(
            replace(d.architecture, width=width),
            depth,
            samples,
            inputs=np.sqrt(len(features)) * features[None],
            t=self.t,
            seed=seed,
            workers=self.workers,
            at=[int(k) for k in np.rint(SHARES * depth)],
            record="gram",
        )
        return gram

    def _explained(self, count: int, rows: tuple[Row, ...]) -> str:
        needed = max(map(partial(_needed, count), rows))
        power = (
            f"“✗ no power” means that {count} networks do not tell the two apart; about {needed} would"
            if needed > count
            else f"{count} networks tell the two apart"
        )
        return (
            f"Means over {count} networks at t = {self.t:g}, extrapolated from width {self.width} and depth {self.depth} and the half of "
            "both: what width and depth add is of the order of their inverses. The control is the flow at half the time. A check passes if its claim "
            f"is not rejected, p-values corrected for the number of rows (Holm), and its control is. {power}."
        )

    def _pictures(self, tokens: str, networks: Array, derived: Array) -> Section:
        names = [f"{k + 1} ({_SHOWN.get(c, c)})" for k, c in enumerate(tokens)]
        pairs = list(combinations(range(len(tokens)), 2))
        how = (
            f"Lines: the derived flow of infinite width; points: {networks.shape[1]} networks of width {self.width} and depth {self.depth} ± one "
            "standard error."
        )

        def drawn(names: list[str], values: Callable[[Array], Array], title: str, name: str, caption: str) -> Drawing:
            lines, points = values(derived[:, None]), values(networks)
            times = SHARES * self.t
            every = [
                Followed(name, Course(times, lines[:, 0, k], np.zeros(len(times))), Course.of(times, points[..., k]))
                for k, name in enumerate(names)
            ]
            order = np.argsort(lines[0, 0])
            shown = list(dict.fromkeys(int(order[k]) for k in (0, len(order) // 2, len(order) - 1)))
            rest = [one for k, one in enumerate(every) if k not in shown]
            figure = course_figure([every[k] for k in shown], title, rest)
            return Drawing(inline_svg(figure, name), f"{caption} {how}")

        figures = (
            drawn(
                names,
                _norms,
                "norm of a token over $\\sqrt{n}$",
                "norms",
                "Norms of the tokens, three of them in colour.",
            ),
            drawn(
                [f"{names[a]} and {names[b]}" for a, b in pairs],
                lambda gram: _correlations(gram)[..., [a for a, _ in pairs], [b for _, b in pairs]],
                "correlation of two tokens",
                "correlations",
                f"Correlations of all {len(pairs)} pairs of tokens: the least, the middle and the most correlated at the start in colour.",
            ),
            drawn(
                ["all tokens"],
                lambda gram: _directions(gram)[..., None],
                "directions that the tokens fill",
                "directions",
                f"The number of directions that the {len(tokens)} tokens fill, p²/Σ C² with their correlations C: {len(tokens)} where they are "
                "orthogonal, 1 where all are alike, which is the collapse of their rank.",
            ),
        )
        said = f"The tokens are the characters “{tokens}”, one-hot with their places, through a random embedding."
        return Section("How the tokens move with depth", (said,), figures)


def _features(tokens: str) -> Array:
    """One-hot characters and places, one column a token, of length 1."""
    characters = np.array([[c == letter for c in tokens] for letter in sorted(set(tokens))], dtype=float)
    return np.vstack([characters, np.eye(len(tokens))]) / np.sqrt(2)


def _flow(d: Derivation, start: Array, times: Array) -> Array:
    """The derived second moments at some times, shape (times, p, p)."""
    limit = d.limit
    assert isinstance(limit, KernelFlow)
    symbols, known = gram_matrix(len(start), "K"), dict(limit.fixed)
    place = {symbols[a, b]: (a, b) for a in range(len(start)) for b in range(a, len(start))}
    path = solve_flow(limit, [start[place[s]] for s in limit.states], t=float(times[-1]), rtol=1e-3, atol=1e-4)
    values = np.atleast_2d(path(times))
    found = np.empty((len(times), *start.shape))
    for symbol, (a, b) in place.items():
        found[:, a, b] = found[:, b, a] = (
            values[:, limit.states.index(symbol)] if symbol in limit.states else float(known[symbol])
        )
    return found


def _norms(gram: Array) -> Array:
    found: Array = np.sqrt(np.einsum("...aa->...a", gram))
    return found


def _correlations(gram: Array) -> Array:
    norms = _norms(gram)
    found: Array = gram / norms[..., :, None] / norms[..., None, :]
    return found


def _directions(gram: Array) -> Array:
    found: Array = gram.shape[-1] ** 2 / (_correlations(gram) ** 2).sum(axis=(-2, -1))
    return found


def _alike(gram: Array) -> Array:
    """The mean correlation of two different tokens."""
    p = gram.shape[-1]
    found: Array = (_correlations(gram).sum(axis=(-2, -1)) - p) / (p * (p - 1))
    return found


def _needed(count: int, row: Row) -> int:
    """How many networks the control of a row needs to be rejected, where more of them help."""
    return count if row.control_rejected or row.fold is None else row.fold * count


def _rows(near: Array, far: Array, derived: Array) -> Iterator[Row]:
    """What the networks of two sizes say of the flow's end, with its middle as control."""
    for claim, value in (
        ("logarithm of the norms, average over tokens", lambda gram: np.log(_norms(gram)).mean(axis=-1)),
        ("correlation, average over pairs of tokens", _alike),
        ("directions that the tokens fill", _directions),
    ):
        measured = 2 * Estimate.of(value(near)) - Estimate.of(value(far))
        right, wrong = (float(value(derived[k])) for k in (-1, len(derived) // 2))
        yield Row(claim, "z", measured.test(right), measured.test(wrong), right, wrong, measured)
