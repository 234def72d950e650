r"""The part of a report on given network inputs: how their norms and correlations move with depth.

The m inputs run through the same networks, :math:`X_0 = W_{\mathrm{in}} a`, and through the derived diffusion of
all m states jointly, from the same starts and with weights and noise of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from derivations import Derivation, derive
from numerics.compile import compile_expression
from numerics.networks import simulate_network
from numerics.paths import simulate_sde
from numerics.plots import Course, Followed, course_figure, inline_svg
from numerics.report.page import Drawing, Section
from numerics.report.start import checks_section
from numerics.statistics import Estimate
from numerics.validation import Row, Validation
from numerics.validation.base import negative_control, spawn
from numerics.validation.stages import Stage

Array = NDArray[np.float64]
Seed = int | np.random.SeedSequence

#: Times at which the inputs are looked at, as shares of the whole.
SHARES = np.linspace(0.0, 1.0, 21)
#: Euler–Maruyama steps beyond which the scheme's bias is far below the noise of any ensemble drawn here.
MOST_STEPS = 400
#: Numbers in one block of states kept at all times.
BLOCK = 2**23
#: Neurons of all networks together that tell a noise 5 % too large.
_NEURONS = 16_000
#: Inputs with a check of their own; more are checked by their average.
NAMED = 12


@dataclass(frozen=True)
class Inputs:
    """Network inputs, and how deep and how many the networks are that they run through.

    Parameters
    ----------
    rows : array, shape (m, dim)
        One network input a row, none of them 0.
    t : float
        The limit's time that all layers take together.
    depth, samples, seed, workers : int
    """

    rows: Array
    t: float = 1.0
    depth: int = 1000
    samples: int = 500
    seed: int = 0
    workers: int = 1

    @staticmethod
    def samples_of(width: int) -> int:
        """Networks for as many neurons in all as 500 of width 32 have: sums over few neurons say less of the noise each.

        Examples
        --------
        >>> Inputs.samples_of(4), Inputs.samples_of(32), Inputs.samples_of(1000)
        (4000, 500, 500)
        """
        return max(Inputs.samples, _NEURONS // width)

    def sections(self, d: Derivation, stage: Stage) -> tuple[Section, ...]:
        """Norms and correlations in networks against the diffusion; then the table of checks."""
        zero = np.flatnonzero(~np.any(self.rows, axis=1))
        if len(zero):
            raise ValueError(f"inputs that are 0 have no direction to follow: row {zero[0] + 1} is 0; leave it out")
        study = self.study(d, stage)
        return self._pictures(study, *wide_limit(d, self.rows, self.t)), checks_section(
            study.checks(), self._explained()
        )

    def study(self, d: Derivation, stage: Stage) -> Study:
        """Simulate networks, the diffusion, and the control whose noise is 5 % too large, all from the same starts."""
        first, *seeds = spawn(self.seed, 4)
        start = simulate_network(d.architecture, 0, self.samples, inputs=self.rows, seed=first)
        with stage(f"{self.samples} networks of depth {self.depth}, {len(self.rows)} inputs jointly"):
            networks = self._follow(partial(self._networks, d), start, seeds[0])
        with stage("as many paths of the derived diffusion"):
            diffusion = self._follow(partial(self._paths, d.limit), start, seeds[1])
        with stage("and of the control with 5 % more noise"):
            control = self._follow(partial(self._paths, negative_control(d.limit)), start, seeds[2])
        return Study(SHARES * self.t, len(self.rows), int(d.architecture.width), networks, diffusion, control)

    def _networks(self, d: Derivation, start: Array, seed: Seed) -> Array:
        layers = [int(k) for k in np.rint(SHARES * self.depth)]
        return simulate_network(
            d.architecture, self.depth, len(start), x0=start, t=self.t, seed=seed, workers=self.workers, at=layers
        )

    def _paths(self, limit: Any, start: Array, seed: Seed) -> Array:
        steps = max(
            1, min(self.depth // 2, MOST_STEPS)
        )  # not the networks' depth: their recursion would be the scheme itself
        count = len(start)
        paths = simulate_sde(
            limit,
            x0=start.reshape(count, -1),
            t=self.t,
            steps=steps,
            samples=count,
            seed=seed,
            workers=self.workers,
            times=list(SHARES[1:] * self.t),
        )
        return np.concatenate([start[None], paths.reshape(len(SHARES) - 1, *start.shape)])

    def _follow(self, states: Callable[[Array, Seed], Array], start: Array, seed: Seed) -> Observed:
        """Observe block by block, so that the states at all times need not be kept together."""
        count = -(-start.size * len(SHARES) // BLOCK)
        blocks = np.array_split(start, min(count, self.samples))
        parts = [observe(states(block, own)) for block, own in zip(blocks, spawn(seed, len(blocks)), strict=True)]
        return Observed.joined(parts)

    def _explained(self) -> str:
        return (
            f"Means over {self.samples} networks of depth {self.depth} against as many paths of the derived diffusion from the "
            f"same starts, from t = 0 to {self.t:g}; changes between {len(SHARES)} times, those of the state beside its mean square "
            "then and at the start; growth without the first-order part of each step, which has mean 0 "
            "where the state has no drift. The control is a diffusion whose noise is 5 % too large. A check passes if its "
            "claim is not rejected, p-values corrected for the number of rows (Holm), and its control is. “✗ no power” "
            "means that more samples are needed to distinguish the two."
        )

    def _pictures(self, study: Study, wide_norms: Array | None, wide_correlations: Array | None) -> Section:
        dashed = "" if wide_norms is None else " Dashed: the kernel flow of infinite width."
        how = (
            f"Lines with bands: the derived diffusion; points: {self.samples} networks of depth {self.depth}; both ± one "
            f"standard error.{dashed}"
        )
        figures = []
        norms = study.followed(range(study.inputs), [f"input {k + 1}" for k in range(study.inputs)], wide_norms)
        shown = _spread([one.diffusion.mean[0] for one in norms])
        figures.append(
            Drawing(
                inline_svg(
                    course_figure([norms[k] for k in shown], r"mean of $\log(\|X_t\|/\sqrt{n})$", _rest(norms, shown)),
                    "norms",
                ),
                f"Norms of the {study.inputs} inputs{_coloured(study.inputs, 'smallest', 'largest')}. {how}",
            )
        )
        if study.width > 1 and study.inputs > 1:
            pairs = list(combinations(range(study.inputs), 2))
            columns = range(study.inputs, study.inputs + len(pairs))
            correlations = study.followed(columns, [f"inputs {a + 1} and {b + 1}" for a, b in pairs], wide_correlations)
            shown = _spread([one.diffusion.mean[0] for one in correlations])
            figure = course_figure(
                [correlations[k] for k in shown], "mean correlation of two inputs", _rest(correlations, shown)
            )
            figures.append(
                Drawing(
                    inline_svg(figure, "correlations"),
                    "Correlations, the cosines between the states of two inputs"
                    f"{_coloured(len(pairs), 'least correlated', 'most correlated')}. {how}",
                )
            )
        return Section("How the inputs move with depth", figures=tuple(figures))


def _coloured(count: int, least: str, most: str) -> str:
    """Which of so many courses have colours, where not all of them do."""
    return f", of {count}: those that start {least}, in the middle and {most} in colour" if count > 3 else ""


@dataclass(frozen=True)
class Observed:
    r"""What is kept of states of m inputs.

    Parameters
    ----------
    course : array, shape (times, samples, m + m(m-1)/2)
        Log-norms, then correlations pair by pair, at all times.
    growth : array, shape (samples, m)
        Change of the log-norms from the first time to the last, without its first-order part.
    steps : array, shape (samples, m)
        Sum over the times of the squared changes of the state, beside the mean square of the state then and at the start.
    turns : array, shape (samples, m(m-1)/2)
        Sum over the times of the squared changes of the difference of two inputs' directions.
    """

    course: Array
    growth: Array
    steps: Array
    turns: Array

    @classmethod
    def joined(cls, parts: Sequence[Observed]) -> Observed:
        """Blocks of samples one after the other."""
        return cls(
            np.concatenate([p.course for p in parts], axis=1),
            np.concatenate([p.growth for p in parts]),
            np.concatenate([p.steps for p in parts]),
            np.concatenate([p.turns for p in parts]),
        )


def observe(states: Array) -> Observed:
    r"""Log-norms and correlations of states, shape (times, samples, n, m), and how they changed.

    From one time to the next :math:`\log|a|` changes by :math:`\langle a, \Delta a\rangle/|a|^2` and by terms of second order. Where the
    state has no drift the first part has mean 0, and most of the variance: without it the mean growth is the same,
    with a standard error several times smaller. Sums of squared changes say how strong the noise is, each over all neurons and times;
    those of the state are divided by what is not 0 where a state passes 0, and grows with it.
    """
    first, second = np.triu_indices(states.shape[-1], 1)
    gram = np.matmul(states.swapaxes(-1, -2), states) / states.shape[-2]
    square = np.einsum("...aa->...a", gram)
    norms = np.sqrt(square)
    cosines = gram[..., first, second] / (norms[..., first] * norms[..., second])
    logs = np.log(norms)
    moved = np.diff(states, axis=0)
    linear = np.einsum("tsna,tsna->tsa", states[:-1], moved) / states.shape[-2] / square[:-1]
    squares = np.einsum("tsna,tsna->tsa", moved, moved) / states.shape[-2] / (square[:-1] + square[0])
    turned = np.diff(states / norms[..., None, :], axis=0)
    products = np.einsum("tsna,tsnb->sab", turned, turned) / states.shape[-2]
    return Observed(
        np.concatenate([logs, cosines], axis=-1),
        logs[-1] - logs[0] - linear.sum(axis=0),
        squares.sum(axis=0),
        products[:, first, first] + products[:, second, second] - 2 * products[:, first, second],
    )


@dataclass(frozen=True)
class Study:
    """Networks, the derived diffusion, and the control whose noise is 5 % too large, all followed alike."""

    times: Array
    inputs: int
    width: int
    networks: Observed
    diffusion: Observed
    control: Observed

    def followed(self, columns: Sequence[int], names: Sequence[str], wide: Array | None) -> list[Followed]:
        """Some columns as named curves; ``wide`` holds those of infinite width, one a column."""
        return [
            Followed(
                name,
                Course.of(self.times, self.diffusion.course[:, :, column]),
                Course.of(self.times, self.networks.course[:, :, column]),
                None if wide is None else Course(self.times, wide[:, index], np.zeros(len(self.times))),
            )
            for index, (column, name) in enumerate(zip(columns, names, strict=True))
        ]

    def checks(self) -> Validation:
        """Equality of means in networks and in the diffusion, each with its control."""
        return Validation(tuple(self._rows()))

    def _rows(self) -> Iterator[Row]:
        followed = (self.networks, self.diffusion, self.control)
        steps = [x.steps for x in followed]
        for k in range(self.inputs) if self.inputs <= NAMED else ():
            yield _row(f"squared changes of the state, input {k + 1}", [s[:, k] for s in steps])
        if self.inputs > NAMED:
            yield _row("squared changes of the state, average over inputs", [s.mean(axis=1) for s in steps])
        if self.width > 1 and self.inputs > 1:
            turns = [x.turns.mean(axis=1) for x in followed]
            yield _row("squared changes of directions less each other, average over pairs", turns)
        yield _row("growth of the log-norm, average over inputs", [x.growth.mean(axis=1) for x in followed])


def _row(claim: str, samples: Sequence[Array]) -> Row:
    networks, diffusion, control = samples
    # common starts: the pairs' differences have mean 0 and none of the variance that the starts bring
    test, refused = (Estimate.of(networks - other).test(0.0) for other in (diffusion, control))
    return Row(claim, "z", test, refused, float(diffusion.mean()), float(control.mean()), Estimate.of(networks))


def wide_limit(d: Derivation, rows: Array, t: float) -> tuple[Array | None, Array | None]:
    r"""The same at infinite width, where nothing is random: the kernel flow of every pair from :math:`K_0 = aa^\top/\mathrm{dim}`.

    Returns
    -------
    arrays, shapes (times, m) and (times, m(m-1)/2), or None and None
        None where the flow's expectations have no closed form.
    """
    try:
        flow = derive(replace(d.architecture, width=float("inf"), inputs=2)).limit
        velocity = compile_expression(flow.states, flow.drift)
    except ValueError:  # no such flow, or no closed form of it
        return None, None
    kernel = rows @ rows.T / rows.shape[1]
    first, second = np.triu_indices(len(rows), 1)
    if not len(first):
        first, second = np.array([0]), np.array([0])
    start = np.stack([kernel[first, first], kernel[first, second], kernel[second, second]])

    def slope(_: float, flat: Array) -> Array:
        k11, k12, k22 = flat.reshape(3, -1)
        bound = np.sqrt(k11 * k22) * (
            1.0 - 1e-12
        )  # rounding must not push a pair of parallel inputs beyond correlation 1
        return velocity(k11, np.clip(k12, -bound, bound), k22)[..., 0].T.ravel()

    times = SHARES * t
    solved = solve_ivp(slope, (0.0, t), start.ravel(), t_eval=times, rtol=1e-8, atol=1e-10).y
    k11, k12, k22 = np.moveaxis(solved.reshape(3, len(first), -1), 2, 1)
    norms = np.empty((len(times), len(rows)))
    norms[:, second], norms[:, first] = np.log(k22) / 2.0, np.log(k11) / 2.0
    return norms, k12 / np.sqrt(k11 * k22)


def _spread(values: Sequence[float]) -> list[int]:
    """Indices of the least, the middle and the greatest value, each once."""
    order = np.argsort(values)
    return list(dict.fromkeys(int(order[k]) for k in (0, len(order) // 2, len(order) - 1)))


def _rest(followed: Sequence[Followed], shown: Sequence[int]) -> list[Followed]:
    return [one for k, one in enumerate(followed) if k not in shown]
