"""What prints itself in every format: a title and named steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from derivations.errors import DerivationError, NoClosedForm, NotClosed
from derivations.notation import data, latex, text, typst
from derivations.notation.files import write_whole
from derivations.notation.steps import Line, Step


class Printed(ABC):
    """A result with its derivation."""

    @property
    @abstractmethod
    def steps(self) -> tuple[Step, ...]:
        """Named steps, each with its statement, expressions and reason."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What was derived, in a few words."""

    def latex(self) -> str:
        """As LaTeX paragraphs, to paste into a document with amsmath."""
        return latex.body(self.steps)

    def typst(self) -> str:
        """As Typst sections."""
        return typst.body(self.steps)

    def to_json(self) -> str:
        """As JSON."""
        return data.document(self.title, self.steps)

    def _repr_latex_(self) -> str:
        """The results, for notebooks."""
        lines = [line for step in self.steps for line in step.lines if step.is_result]
        return f"$\\displaystyle {latex.aligned(tuple(lines))}$"

    def __str__(self) -> str:
        return text.document(self.title, self.steps)

    def write(self, path: str | Path) -> Path:
        """Write it to a file, in the format that its suffix names; a file that is there is replaced as a whole.

        Parameters
        ----------
        path : path
            ``.tex`` (a document for pdflatex), ``.typ`` (one for Typst), ``.txt`` or ``.json``.

        Raises
        ------
        DerivationError
            For another suffix.
        """
        path = Path(path)
        formats = {".tex": latex.document, ".typ": typst.document, ".txt": text.document, ".json": data.document}
        if path.suffix not in formats:
            raise DerivationError(
                f"unknown suffix {path.suffix!r} of {path.name}; name a file that ends in one of {', '.join(formats)}"
            )
        write_whole(path, formats[path.suffix](self.title, self.steps).encode())
        return path


class Shown(ABC):
    """A small result, shown as lines of mathematics: as text where it is printed, as LaTeX in notebooks."""

    @property
    @abstractmethod
    def lines(self) -> tuple[Line, ...]:
        """What it says, in the notation of the derivation."""

    def __str__(self) -> str:
        try:
            return "\n".join(map(text.line_text, self.lines))
        except (NotClosed, NoClosedForm) as error:
            return f"{type(self).__name__}: {error}"

    __repr__ = __str__

    def _repr_latex_(self) -> str | None:
        try:
            return f"$\\displaystyle {latex.aligned(self.lines)}$"
        except (NotClosed, NoClosedForm):
            return None
