r"""What a check is: a derived value, a simulation, and a control that must fail.

A test that accepts says little until it is known what it would have rejected. So every row carries the *same* test
against a value derived from a deliberately wrong coefficient, the noise's scale 5 % too large. If that control is not rejected,
the row has no power and does not pass, whatever it measured; the number of samples is computed so that it has.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from derivations.diffusion import Diffusion, Flow, NeuronDiffusion
from derivations.errors import kind_of
from derivations.limits import CollapseDiffusion
from derivations.notation.printed import Legible
from numerics.ensembles import Seed, seed_sequence
from numerics.statistics import Estimate, Test, holm, ks_test, shown_p

Array = NDArray[np.float64]

#: Probability with which a table of true claims has a row that is rejected.
LEVEL = 1e-3
#: Level at which a control must be rejected: it would be in any table of up to ten rows.
CONTROL_LEVEL = LEVEL / 10
#: What the truth and the controls multiply the variance of the noise by: in a control its scale is 5 % too large.
SCALE = Fraction(105, 100)
RIGHT, WRONG = Fraction(1), SCALE**2
#: The same of a quick table: 15 % are seen with a ninth of the samples.
QUICK_SCALE = Fraction(115, 100)
#: Standard errors below which two claims are one.
_NO_DISTANCE = 1e-3
#: How many times the samples may be asked for: a distance of next to nothing says no number.
_FAR = 300
#: What a row that could not fail says first.
NO_POWER = "no power"
#: A bias must stay below this fraction of the standard error.
BIAS_SHARE = 0.5


def negative_control(limit: Any, scale: Fraction = SCALE) -> Any:
    """The same limit with its noise 5 % too large, or 5 % faster where it has none, which a check of it must notice."""
    wrong = scale**2
    if isinstance(limit, Flow):
        return replace(limit, drift=limit.drift * scale)
    if isinstance(limit, NeuronDiffusion):
        return replace(limit, neuron_covariance=limit.neuron_covariance * wrong)
    if isinstance(limit, CollapseDiffusion):
        return replace(limit, covariance=limit.covariance * wrong, variance_rate=limit.variance_rate * wrong)
    if isinstance(limit, Diffusion):
        sigma = None if limit.sigma is None else limit.sigma * scale
        return replace(limit, covariance=limit.covariance * wrong, sigma=sigma)
    raise ValueError(f"expected a limit, as derive(network).limit is, got {kind_of(limit)}")


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


@dataclass(frozen=True)
class Row:
    """One check.

    Parameters
    ----------
    claim : str
        What is claimed and what it is compared with.
    statistic : str
        What ``test.statistic`` is.
    test, control : Test
        The claim's test, and the same one against the value from the wrong coefficient.
    derived, wrong : float or None
        The derived number and that of the control, where the claim is about a number.
    measured : Estimate or None
        What the simulation gave.
    bias, noise : float
        The bias that finite depth leaves, as the simulation itself estimates it (0 where it is extrapolated away), and
        the standard error that must exceed it, in the same unit.
    """

    claim: str
    statistic: str
    test: Test
    control: Test
    derived: float | None = None
    wrong: float | None = None
    measured: Estimate | None = None
    bias: float = 0.0
    noise: float = np.inf

    @property
    def control_rejected(self) -> bool:
        """Whether the check has shown that it can fail."""
        return self.control.p_value < CONTROL_LEVEL

    def numbers(self, adjusted: float) -> dict[str, Any]:
        """What was derived and measured, the test and its control, as JSON holds it; what is not finite is null."""
        measured = (None, None) if self.measured is None else (self.measured.value, self.measured.error)
        statistic = {"value": self.test.statistic, "p": self.test.p_value, "adjusted_p": adjusted}
        control = {"derived": self.wrong, "value": self.control.statistic, "p": self.control.p_value}
        return {
            "derived": _finite(self.derived),
            "measured": _finite(measured[0]),
            "standard_error": _finite(measured[1]),
            "statistic": {"name": self.statistic, **{key: _finite(value) for key, value in statistic.items()}},
            "control": {key: _finite(value) for key, value in control.items()},
        }

    @property
    def fold(self) -> int | None:
        """How many times the samples that let the control be rejected, two standard errors beyond its level; None where it claims the same number.

        The distance of the two claims in standard errors grows like the root of the samples.
        """
        wanted, seen = 2.0 - ndtri(CONTROL_LEVEL / 2), -ndtri(min(self.control.p_value, 0.3) / 2)
        if self.statistic == "z" and self.measured is not None and self.derived is not None and self.wrong is not None:
            seen = abs(self.derived - self.wrong) / self.measured.error if self.measured.error else np.inf
        return int(np.ceil((wanted / seen) ** 2)) if seen > _NO_DISTANCE else None

    def verdict(self, p_value: float) -> str:
        """The outcome at a p-value adjusted for the other rows."""
        biased = self.bias > self.noise * BIAS_SHARE
        if p_value < LEVEL and not biased:
            return "differs"  # whatever else the row could have seen
        if not self.control_rejected:
            fold = self.fold
            more = (
                "it claims the same number"
                if fold is None
                else f"raise samples about {fold}-fold"
                if fold <= _FAR
                else "far too few samples"
            )
            return f"{NO_POWER}: the control passed; {more}"
        if biased:
            return "biased: raise depth, or take a shorter time"
        return "agrees"


@dataclass(frozen=True, repr=False)
class Validation(Legible):
    """A table of checks; true if every one agrees and every control was rejected.

    Parameters
    ----------
    rows : tuple of Row
    title : str
    exploded : dict
        How many samples left the range of numbers, by what was simulated; they count as infinite, in networks as in paths.
    """

    rows: tuple[Row, ...]
    title: str = field(default="")
    exploded: dict[str, int] = field(default_factory=dict, compare=False)

    @property
    def adjusted(self) -> tuple[float, ...]:
        """p-values after Holm's correction, so that the table as a whole errs with probability at most ``LEVEL``."""
        return tuple(map(float, holm([row.test.p_value for row in self.rows])))

    @property
    def verdicts(self) -> tuple[str, ...]:
        """One per row."""
        return tuple(row.verdict(p) for row, p in zip(self.rows, self.adjusted, strict=True))

    def __bool__(self) -> bool:
        return bool(self.rows) and all(verdict == "agrees" for verdict in self.verdicts)

    def table(self) -> list[tuple[str, ...]]:
        """Header and rows as text."""
        header = ("claim", "derived", "measured", "test", "p", "control", "p of control", "verdict")
        return [header, *(self._cells(row, verdict) for row, verdict in zip(self.rows, self.verdicts, strict=True))]

    def _cells(self, row: Row, verdict: str) -> tuple[str, ...]:
        return (
            row.claim,
            "" if row.derived is None else f"{row.derived:.5g}",
            "" if row.measured is None else str(row.measured),
            f"{row.statistic} = {row.test.statistic:.3g}",
            shown_p(row.test.p_value).removeprefix("= "),
            f"{row.statistic} = {row.control.statistic:.3g}",
            shown_p(row.control.p_value, 1).removeprefix("= "),
            ("✓ " if verdict == "agrees" else "✗ ") + verdict,
        )

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        head, *rows = (
            "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
            for tag, row in zip(("th", *("td" for _ in self.rows)), self.table(), strict=True)
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        caption = f"<caption>{html.escape(self.title)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_json(self) -> str:
        """The same as JSON: every row with its numbers, tests and verdict."""
        rows = zip(self.rows, self.adjusted, self.verdicts, strict=True)
        table = [{"claim": row.claim, "verdict": verdict, **row.numbers(p)} for row, p, verdict in rows]
        found = {"title": self.title, "holds": bool(self), "rows": table, "exploded": self.exploded}
        return json.dumps(found, ensure_ascii=False, indent=1) + "\n"

    def __str__(self) -> str:
        cells = self.table()
        widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        lines.insert(1, "  ".join("─" * w for w in widths))
        lost = [f"{number} {what} exploded" for what, number in self.exploded.items()]
        return "\n".join(([self.title, ""] if self.title else []) + lines + (["", "; ".join(lost)] if lost else []))


def number_row(claim: str, measured: Estimate, derived: float, wrong: float, bias: float = 0.0) -> Row:
    """A z-test of an estimate against a derived number, and against the control's."""
    return Row(claim, "z", measured.test(derived), measured.test(wrong), derived, wrong, measured, bias, measured.error)


def distribution_row(
    claim: str, sample: Array, cdf: Callable[[Array], Array], wrong: Callable[[Array], Array], bias: float = 0.0
) -> Row:
    """A Kolmogorov–Smirnov test of a sample against a derived law, and against the control's."""
    return Row(claim, "KS", ks_test(sample, cdf), ks_test(sample, wrong), bias=bias, noise=ks_noise(len(sample)))


def ks_noise(samples: int, sides: int = 1) -> float:
    r"""Largest standard deviation of the difference of distribution functions, :math:`\tfrac12 N^{-1/2}` for each sample."""
    return 0.5 * float(np.sqrt(sides / samples))


def spawn(seed: Seed, count: int) -> list[np.random.SeedSequence]:
    """Independent seeds for the simulations of one check; the same ones whenever it is asked."""
    root = seed_sequence(seed)
    return [
        np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, k), pool_size=root.pool_size)
        for k in range(count)
    ]


def control_distance(law: Any, wrong: Any) -> float:
    """The Kolmogorov distance of two laws, over the quantiles of the first."""
    grid = law.ppf(np.linspace(0.001, 0.999, 999))
    return float(np.max(np.abs(law.cdf(grid) - wrong.cdf(grid))))


def bias_rate(sample: Callable[[int, int, Seed], Array], samples: int, seed: Seed) -> tuple[float, bool]:
    r"""The constant c of the distance :math:`c/L` between the law at depth L and its limit, and whether it falls like that.

    At depths 8 and 16 the distribution functions differ by c/16, large enough to be seen, at 16 and 32 by half of that. Their noise
    adds to the estimated distance, which errs on the safe side.
    """
    drawn = [np.sort(sample(depth, samples, s)) for depth, s in zip((8, 16, 32), spawn(seed, 3), strict=True)]
    gaps = []
    for shallow, deep in pairwise(drawn):
        grid = np.concatenate([shallow, deep])
        first, second = (np.searchsorted(x, grid, side="right") / samples for x in (shallow, deep))
        gaps.append(float(np.max(np.abs(first - second))))
    return 16.0 * gaps[0], gaps[1] <= 0.75 * gaps[0] + 4.0 * ks_noise(samples, 2)


def depth_below_noise(rate: float, noise: float) -> int:
    """The least power of two, at least 64, at which a bias of ``rate / depth`` is a quarter of the noise."""
    return max(64, int(2 ** np.ceil(np.log2(max(4.0 * rate / noise, 1.0)))))
