"""One self-contained page: the derivation step by step, what was simulated, and the table of checks."""

from __future__ import annotations

from collections.abc import Sequence

from derivations import Derivation, DerivationError
from numerics.report.inputs import Inputs
from numerics.report.page import Page
from numerics.report.start import Start
from numerics.validation.stages import Stage, silent


def report(
    d: Derivation, of: Start | Inputs, summary: Sequence[tuple[str, str]] = (), command: str = "", stage: Stage = silent
) -> Page:
    """Simulate, compare, and put everything on a page.

    Parameters
    ----------
    d : Derivation
        Of an architecture with a number for the width.
    of : Start or Inputs
        What networks start from: a fixed state, or network inputs.
    summary : sequence of (str, str)
        Names and values of what was chosen, for the head of the page.
    command : str
        The command line that makes the page again.
    stage : callable
        Announces each piece of work; see :mod:`numerics.validation.stages`.

    Raises
    ------
    DerivationError
        If the width is no number: such a network cannot be simulated; or depth and width grow together.
    """
    width = d.architecture.width
    if d.order == "joint":
        raise DerivationError(
            f"a report follows the neurons of a network, and for {type(d.architecture).__name__}, whose depth and width grow "
            "together, the limit is that of the Gram matrix; write the derivation alone: deeplimits derive --format html"
        )
    if not width.is_Integer:
        raise DerivationError(
            f"a report simulates networks, so the width must be a number, got {width}; "
            f"write the derivation alone with: deeplimits derive --width {width} --format html"
        )
    return Page(d, tuple(summary), of.sections(d, stage), command)


__all__ = ["Inputs", "Page", "Start", "report"]
