"""What prints itself: results as a whole and in one line, as text and as LaTeX; derivations in every format."""

from __future__ import annotations

import html
import re
from abc import ABC, abstractmethod
from dataclasses import fields
from pathlib import Path
from typing import Any

from derivations.errors import DerivationError, NoClosedForm, NotClosed, unknown
from derivations.notation import data, latex, text, theorem, typst
from derivations.notation.citations import SYMPY, Source, bibtex, software
from derivations.notation.files import write_whole
from derivations.notation.steps import Line, Step


class Legible:
    """Whole where it is printed and in notebooks, one line in a debugger or a list."""

    @property
    def headline(self) -> str:
        """What it is, in one line; nothing for the whole text."""
        return ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.headline}>" if self.headline else str(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The whole text, where IPython prints it."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """The same, where a notebook shows HTML."""
        return f"<pre>{html.escape(str(self))}</pre>"


class Printed(Legible, ABC):
    """A result with its derivation."""

    @property
    def headline(self) -> str:
        """The title."""
        return self.title

    @property
    @abstractmethod
    def steps(self) -> tuple[Step, ...]:
        """Named steps, each with its statement, expressions and reason."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What was derived, in a few words."""

    def latex(self, label: str = "eq") -> str:
        r"""As LaTeX paragraphs, to paste into a document with the packages amsmath and amssymb.

        Parameters
        ----------
        label : str
            What labels of equations begin with, such as ``eq`` in ``\eqref{eq:limit-of-infinite-depth}``; two results in one document need two.

        Raises
        ------
        DerivationError
            If it is no word of letters, digits, dots and hyphens.
        """
        if not isinstance(label, str) or not re.fullmatch(r"[A-Za-z0-9.-]+", label):
            raise DerivationError(f"label must be a word of letters, digits, dots and hyphens, got {label!r}")
        return latex.body(self.steps, label)

    def typst(self) -> str:
        """As Typst sections."""
        return typst.body(self.steps)

    def __getstate__(self) -> dict[str, Any]:
        """What it is made of. What follows from that is derived again when it is asked for, and may hold functions that no pickle takes."""
        return {part.name: self.__dict__[part.name] for part in fields(self)}  # type: ignore[arg-type]  # each is a dataclass

    def to_json(self) -> str:
        """As JSON."""
        return data.document(self.title, self.steps, self.structured())

    def structured(self) -> dict[str, Any]:
        """What JSON holds beside the steps: the results in parts that can be read back."""
        return {}

    def _results(self) -> str:
        lines = tuple(line for step in self.steps for line in step.lines if step.is_result)
        return latex.display(lines) if lines else ""

    def _repr_latex_(self) -> str | None:
        """The results, for notebooks; where they are said in words alone, there is HTML."""
        return self._results() or None

    def _repr_html_(self) -> str:
        """The title, the results, and the steps behind a click, for notebooks, which set LaTeX between dollars."""
        steps = "".join(
            f"<dt><b>{k}. {html.escape(step.name)}</b></dt><dd>{_step_html(step)}</dd>"
            for k, step in enumerate(self.steps, 1)
        )
        return (
            f"<p><b>{html.escape(self.title)}</b></p>{html.escape(self._results())}"
            f"<details><summary>All {len(self.steps)} steps</summary><dl>{steps}</dl></details>"
        )

    def __str__(self) -> str:
        return text.document(self.title, self.steps)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What a text that uses this should cite."""
        return (software(), SYMPY)

    def citation(self) -> str:
        """What a text that uses this should cite, as BibTeX: this software, and the sources of what it used."""
        return bibtex(self.sources)

    def write(
        self, path: str | Path, style: str = "steps", figure: str | Path | None = None, caption: str = ""
    ) -> Path:
        """Write it to a file, in the format that its suffix names; a file that is there is replaced as a whole.

        Parameters
        ----------
        path : path
            ``.tex`` (a document for pdflatex), ``.typ`` (one for Typst), ``.txt`` or ``.json``.
        style : {"steps", "theorem"}
            Step by step, or in ``.tex`` as a theorem with its proof, the figure of an experiment and references.
        figure : path, optional
            For a theorem, a figure that pdflatex can include (:func:`numerics.plots.save` writes one), and its ``caption``, in which
            ``$…$`` is mathematics.

        Raises
        ------
        DerivationError
            For another suffix or style.
        """
        path = Path(path)
        formats = {".tex": latex.document, ".typ": typst.document, ".txt": text.document, ".json": data.document}
        if path.suffix not in formats:
            raise DerivationError(
                f"unknown suffix {path.suffix!r} of {path.name}; name a file that ends in one of {', '.join(formats)}"
            )
        if style not in ("steps", "theorem"):
            raise DerivationError(unknown("style", style, ("steps", "theorem")))
        if style == "theorem" and path.suffix != ".tex":
            raise DerivationError(f"a theorem is written as LaTeX, got {path.name}; name a file that ends in .tex")
        if figure is not None and style != "theorem":
            raise DerivationError('a figure belongs to a theorem; give style="theorem" beside it')
        if style == "theorem":
            content = theorem.document(
                self.title, self.steps, self.sources, None if figure is None else str(figure), caption
            )
        else:
            content = self.to_json() if path.suffix == ".json" else formats[path.suffix](self.title, self.steps)
        write_whole(path, content.encode())
        return path


def _step_html(step: Step) -> str:
    parts = [
        html.escape(latex.sentence(step.claim)),
        *(f"<li>{html.escape(latex.sentence(i))}</li>" for i in step.items),
    ]
    parts += [html.escape(latex.display(step.lines))] if step.lines else []
    return "".join([*parts, f"<p><i>Because:</i> {html.escape(latex.sentence(step.because))}</p>"])


class Shown(Legible, ABC):
    """A small result, shown as lines of mathematics: as text where it is printed, as LaTeX in notebooks."""

    @property
    @abstractmethod
    def lines(self) -> tuple[Line, ...]:
        """What it says, in the notation of the derivation."""

    @property
    def said(self) -> tuple[Line, ...]:
        """The lines as they are shown, with names for what comes often."""
        return self.lines

    def __str__(self) -> str:
        try:
            return "\n".join(map(text.line_text, self.said))
        except (NotClosed, NoClosedForm) as error:
            return f"{type(self).__name__}: {error}"

    def latex(self) -> str:
        """As LaTeX, an ``aligned`` block to paste into a display, which needs amsmath and amssymb."""
        return latex.aligned(self.said)

    def _repr_latex_(self) -> str | None:
        try:
            return latex.display(self.said)
        except (NotClosed, NoClosedForm):
            return None

    def _repr_html_(self) -> str:
        """The lines, which notebooks set between dollars; where there are none, why."""
        shown = self._repr_latex_()
        return super()._repr_html_() if shown is None else html.escape(shown)
