r"""The part of a report on given network inputs: how their norms and correlations move with depth.

The m inputs run through the same networks, :math:`X_0 = W_{\mathrm{in}} a`, and through the derived diffusion of
all m states jointly, from independently drawn :math:`W_{\mathrm{in}}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from derivations import Derivation, derive
from numerics.compile import compile_expression
from numerics.networks import simulate_network
from numerics.paths import simulate_sde
from numerics.plots import Course, Followed, course_figure, inline_svg
from numerics.report.page import Drawing, Section
from numerics.report.stages import Stage
from numerics.report.start import checks_section
from numerics.statistics import Estimate, mean_difference_test
from numerics.validate import Row, Validation
from numerics.validate.base import mistaken, spawn

Array = NDArray[np.float64]
Seed = int | np.random.SeedSequence

#: Times at which the inputs are looked at, as shares of the whole.
SHARES = np.linspace(0.0, 1.0, 11)
#: Numbers in one block of states kept at all times.
BLOCK = 2**23
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
    samples: int = 2000
    seed: int = 0
    workers: int = 1

    def sections(self, d: Derivation, stage: Stage) -> tuple[Section, ...]:
        """Norms and correlations in networks against the diffusion; then the table of checks."""
        zero = np.flatnonzero(~np.any(self.rows, axis=1))
        if len(zero):
            raise ValueError(f"inputs that are 0 have no direction to follow: row {zero[0] + 1} is 0; leave it out")
        study = self.study(d, stage)
        return self._pictures(study, *wide_limit(d, self.rows, self.t)), checks_section(study.checks(), self._told())

    def study(self, d: Derivation, stage: Stage) -> Study:
        """Simulate networks, the diffusion, and the control whose noise is 5 % too large."""
        seeds = spawn(self.seed, 3)
        with stage(f"{self.samples} networks of depth {self.depth}, {len(self.rows)} inputs jointly"):
            networks = self.networks(d, seeds[0])
        with stage("as many paths of the derived diffusion"):
            diffusion = self.paths(d, d.limit, seeds[1])
        with stage("and of the control with 5 % more noise"):
            control = self.paths(d, mistaken(d.limit), seeds[2])
        return Study(SHARES * self.t, len(self.rows), int(d.architecture.width), networks, diffusion, control)

    def networks(self, d: Derivation, seed: Seed) -> Array:
        """Log-norms and correlations in networks, shape (times, samples, m + pairs)."""
        layers = np.rint(SHARES * self.depth).astype(int)
        return simulate_network(
            d.architecture, self.depth, self.samples, inputs=self.rows, t=self.t, seed=seed, workers=self.workers,
            at=[int(k) for k in layers], record=observe,
        )

    def paths(self, d: Derivation, limit: object, seed: Seed) -> Array:
        """The same along paths of a limit, from starts drawn like those of the networks."""
        width, m = int(d.architecture.width), len(self.rows)
        block = max(1, BLOCK // (len(SHARES) * width * m))
        steps = max(1, self.depth // 2)  # not the networks' depth: their recursion would be the scheme itself
        parts: list[Array] = []
        counts = [min(block, self.samples - k) for k in range(0, self.samples, block)]
        for count, own in zip(counts, spawn(seed, len(counts)), strict=True):
            start_seed, path_seed = own.spawn(2)
            start = simulate_network(d.architecture, 0, count, inputs=self.rows, seed=start_seed)
            paths = simulate_sde(
                limit, x0=start.reshape(count, -1), t=self.t, steps=steps, samples=count, seed=path_seed,
                workers=self.workers, times=SHARES[1:] * self.t,
            )
            states = np.concatenate([start.reshape(1, count, -1), paths]).reshape(len(SHARES), count, width, m)
            parts.append(np.stack([observe(x) for x in states]))
        return np.concatenate(parts, axis=1)

    def _told(self) -> str:
        return (
            f"Means over {self.samples} networks of depth {self.depth} against as many paths of the derived diffusion at t = {self.t:g}; the control "
            "is a diffusion whose noise is 5 % too large. A check passes if its claim is not rejected, p-values corrected for "
            "the number of rows (Holm), and its control is. “✗ no power” means that more samples are needed to tell the two apart."
        )

    def _pictures(self, study: Study, wide_norms: Array | None, wide_correlations: Array | None) -> Section:
        dashed = "" if wide_norms is None else " Dashed: the kernel flow of infinite width."
        how = f"Lines with bands: the derived diffusion; points: {self.samples} networks of depth {self.depth}; both ± one standard error.{dashed}"
        figures = []
        norms = study.followed(range(study.inputs), [f"input {k + 1}" for k in range(study.inputs)], wide_norms)
        shown = _spread([one.diffusion.mean[0] for one in norms])
        figures.append(Drawing(
            inline_svg(course_figure([norms[k] for k in shown], r"mean of $\log(\|X_t\|/\sqrt{n})$", _rest(norms, shown)), "norms"),
            f"Norms of the {study.inputs} inputs: those that start smallest, in the middle and largest in colour. {how}",
        ))
        if study.width > 1 and study.inputs > 1:
            pairs = list(combinations(range(study.inputs), 2))
            columns = range(study.inputs, study.inputs + len(pairs))
            correlations = study.followed(columns, [f"inputs {a + 1} and {b + 1}" for a, b in pairs], wide_correlations)
            shown = _spread([one.diffusion.mean[0] for one in correlations])
            figure = course_figure([correlations[k] for k in shown], "mean correlation of two inputs", _rest(correlations, shown))
            figures.append(Drawing(
                inline_svg(figure, "correlations"),
                f"Correlations, the cosines between the states of two inputs, of all {len(pairs)} pairs: the least, the middle and the most "
                f"correlated at the start in colour. {how}",
            ))
        return Section("How the inputs move with depth", figures=tuple(figures))


@dataclass(frozen=True)
class Study:
    """What was followed: arrays of shape (times, samples, m + m(m-1)/2), log-norms first, then correlations pair by pair."""

    times: Array
    inputs: int
    width: int
    networks: Array
    diffusion: Array
    control: Array

    def followed(self, columns: Sequence[int], names: Sequence[str], wide: Array | None) -> list[Followed]:
        """Some columns as named curves; ``wide`` holds those of infinite width, one a column."""
        return [
            Followed(
                name,
                Course.of(self.times, self.diffusion[:, :, column]),
                Course.of(self.times, self.networks[:, :, column]),
                None if wide is None else Course(self.times, wide[:, index], np.zeros(len(self.times))),
            )
            for index, (column, name) in enumerate(zip(columns, names, strict=True))
        ]

    def checks(self) -> Validation:
        """Equality of means of networks and diffusion, each with its control.

        Growth is counted from each sample's own start, which takes the spread of the random first layer out of the
        standard error.
        """
        return Validation(tuple(self._rows()))

    def _rows(self) -> Iterator[Row]:
        grown = [x[-1] - x[0] for x in (self.networks, self.diffusion, self.control)]
        singles = range(self.inputs) if 1 < self.inputs <= NAMED else ()
        for k in singles:
            yield _row(f"mean growth of the log-norm, input {k + 1}", [g[:, k] for g in grown])
        yield _row("mean growth of the log-norm, average over inputs", [g[:, : self.inputs].mean(axis=1) for g in grown])
        if self.width > 1 and self.inputs > 1:
            yield _row("mean change of the correlation, average over pairs", [g[:, self.inputs :].mean(axis=1) for g in grown])


def _row(claim: str, samples: Sequence[Array]) -> Row:
    networks, diffusion, control = samples
    derived, wrong = float(diffusion.mean()), float(control.mean())
    test, refused = mean_difference_test(networks, diffusion), mean_difference_test(networks, control)
    return Row(claim, "z", test, refused, derived, wrong, Estimate.of(networks))


def observe(state: Array) -> Array:
    """Log-norms and correlations of the inputs.

    Parameters
    ----------
    state : array, shape (samples, n, m)

    Returns
    -------
    array, shape (samples, m + m(m-1)/2)
        :math:`\\log(\\|X^a\\|/\\sqrt n)`, then the cosines between :math:`X^a` and :math:`X^b` for a < b in order.
    """
    gram = np.matmul(state.swapaxes(-1, -2), state) / state.shape[1]
    norms = np.sqrt(np.einsum("saa->sa", gram))
    first, second = np.triu_indices(state.shape[2], 1)
    return np.concatenate([np.log(norms), gram[:, first, second] / (norms[:, first] * norms[:, second])], axis=1)


def wide_limit(d: Derivation, rows: Array, t: float) -> tuple[Array | None, Array | None]:
    """The same at infinite width, where nothing is random: the kernel flow of every pair, from :math:`K_0 = aa^\\top/\\mathrm{dim}`.

    Returns
    -------
    arrays, shapes (times, m) and (times, m(m-1)/2), or None and None
        None where the flow's expectations have no closed form.
    """
    flow = derive(replace(d.architecture, width=float("inf"), inputs=2)).limit  # type: ignore[type-var]
    try:
        velocity = compile_expression(flow.states, flow.drift)
    except ValueError:
        return None, None
    kernel = rows @ rows.T / rows.shape[1]
    first, second = np.triu_indices(len(rows), 1)
    if not len(first):
        first, second = np.array([0]), np.array([0])
    start = np.stack([kernel[first, first], kernel[first, second], kernel[second, second]])

    def slope(_: float, flat: Array) -> Array:
        k11, k12, k22 = flat.reshape(3, -1)
        bound = np.sqrt(k11 * k22) * (1.0 - 1e-12)  # rounding must not push a pair of parallel inputs beyond correlation 1
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
