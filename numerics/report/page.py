"""A page as data, and its one file of HTML: everything inside, nothing loaded."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from derivations import Derivation
from derivations.notation.plain import Words
from derivations.notation.steps import Step
from numerics.report.mathml import display, sentence

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
        environment.filters["drawn"] = Markup
        return environment.get_template("report.html").render(
            page=self, title=self.title, steps=self.derivation.steps, versions=versions()
        )


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
