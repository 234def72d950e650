"""A page as data, and its one file of HTML: everything inside, nothing loaded."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from derivations import Derivation, Flow
from derivations.notation.latex import aligned
from derivations.notation.plain import Words
from derivations.notation.steps import Step
from numerics.report.mathml import display, sentence
from numerics.validation.base import NO_POWER

#: Whose versions a reader needs to repeat the numbers.
DISTRIBUTIONS = ("deeplimits", "sympy", "mpmath", "numpy", "scipy", "matplotlib")


@dataclass(frozen=True)
class Drawing:
    """A figure on a page: inline SVG, and the sentence below it, which also says it to those who cannot see it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table: header, rows, and the sentence that says how to read it."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of a page: paragraphs, then figures, then tables."""

    title: str
    text: tuple[str, ...] = ()
    figures: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Page:
    """What a report says.

    Parameters
    ----------
    derivation : Derivation
        Explained step by step.
    summary : tuple of (str, str)
        Names and values of what was chosen.
    sections : tuple of Section
        What was simulated and compared.
    command : str
        The command line that makes this page again.
    """

    derivation: Derivation
    summary: tuple[tuple[str, str], ...] = ()
    sections: tuple[Section, ...] = ()
    command: str = field(default="")

    @property
    def title(self) -> str:
        """What was derived; a name and its number stay on one line."""
        return re.sub(
            r"(width|activation) |(?<=\d) (?=input)", lambda m: f"{m[1] or ''}\N{NO-BREAK SPACE}", self.derivation.title
        )

    @property
    def main_figure(self) -> Drawing | None:
        """The first figure, which is shown at the head of the page."""
        return next((figure for section in self.sections for figure in section.figures), None)

    @property
    def _outcomes(self) -> list[tuple[str, str]]:
        """Every check with what came of it."""
        rows = (row for section in self.sections for table in section.tables for row in table.rows)
        return [(row[0], cell) for row in rows for cell in row[1:] if cell.startswith(("✓", "✗"))]

    @property
    def holds(self) -> bool:
        """Whether all checks agree."""
        return all(outcome.startswith("✓") for _, outcome in self._outcomes)

    @property
    def verdict(self) -> str:
        """What came of all checks, in a sentence; nothing where none was made."""
        outcomes = self._outcomes
        wrong = [f"{claim} ({outcome[2:]})" for claim, outcome in outcomes if outcome.startswith("✗")]
        blind = [claim for claim, outcome in outcomes if outcome.startswith(f"✗ {NO_POWER}")]
        if blind and len(blind) == len(wrong):
            few = f"No check differs, but {len(blind)} of {len(outcomes)} would not have noticed {self._control}"
            return f"{few} with so few samples: {'; '.join(blind)}."
        if wrong:
            return f"{len(wrong)} of {len(outcomes)} checks did not pass: {'; '.join(wrong)}."
        if len(outcomes) == 1:
            return f"The one check agrees, and would have noticed {self._control}."
        return f"All {len(outcomes)} checks agree, and each would have noticed {self._control}." if outcomes else ""

    @property
    def _control(self) -> str:
        """What every check would have noticed; a number and its unit stay on one line."""
        return control_of(self.derivation)

    def html(self) -> str:
        """The page as one self-contained HTML document."""
        environment = Environment(
            loader=PackageLoader("numerics"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["sentence"] = _sentence
        environment.filters["display"] = _display
        environment.filters["source"] = lambda step: aligned(step.lines)
        environment.filters["drawn"] = Markup
        return environment.get_template("report.html").render(
            page=self, title=self.title, steps=self.derivation.steps, versions=versions()
        )


def control_of(d: Derivation) -> str:
    """What the controls of a derivation's checks are."""
    nbsp = "\N{NO-BREAK SPACE}"
    return f"a flow 5{nbsp}% too fast" if isinstance(d.limit, Flow) else f"a noise 5{nbsp}% too large"


def versions() -> list[tuple[str, str]]:
    """Python, the machine's kind, and the libraries that the numbers come from."""
    found = [("Python", platform.python_version()), ("platform", f"{platform.system()} {platform.machine()}")]
    for name in DISTRIBUTIONS:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:  # a checkout that was never installed
            continue
    return found


def _sentence(words: Words) -> Markup:
    return Markup("").join(Markup(part) if formula else part for formula, part in sentence(words))


def _display(step: Step) -> Markup:
    return Markup(display(step.lines))
