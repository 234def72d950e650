"""One self-contained page: the derivation step by step, what was simulated, and the table of checks."""

from __future__ import annotations

from collections.abc import Sequence

from derivations import Derivation, DerivationError
from numerics.paths import has_slow_steps
from numerics.report.inputs import Inputs
from numerics.report.moments import moments_section
from numerics.report.page import Page
from numerics.report.start import Start, checks_caption, checks_section
from numerics.report.tokens import Text
from numerics.validation import validate
from numerics.validation.stages import Stage, silent


def report(
    d: Derivation,
    of: Start | Inputs | Text,
    summary: Sequence[tuple[str, str]] = (),
    command: str = "",
    stage: Stage = silent,
) -> Page:
    """Simulate, compare, and put everything on a page.

    Parameters
    ----------
    d : Derivation
        Of an architecture with a number for the width, or for the width going to infinity too; the page then has the checks of its second moments.
    of : Start, Inputs or Text
        What networks start from: a fixed state, network inputs, or the characters of a text (at infinite width, with a width for the networks).
    summary : sequence of (str, str)
        Names and values of what was chosen, for the head of the page.
    command : str
        The command line that makes the page again.
    stage : callable
        Announces each piece of work; see :mod:`numerics.validation.stages`.

    Raises
    ------
    DerivationError
        If the width is a symbol at which the depth alone grows: such a network cannot be simulated.
    """
    width = d.architecture.width
    if isinstance(of, Text):
        return Page(d, tuple(summary), of.sections(d, stage), command)
    if d.order != "depth":  # no neurons of one width to draw: the checks follow second moments
        x0 = of.rows @ of.rows.T / of.rows.shape[1] if isinstance(of, Inputs) else of.x0
        table = validate(d, x0=x0, t=of.t, seed=of.seed, workers=of.workers, stage=stage)
        drawn = moments_section(d, x0, of.t, of.seed, of.workers, stage)
        return Page(d, tuple(summary), (drawn, checks_section(table, checks_caption(d), f"{table.title}.")), command)
    if not width.is_Integer:
        raise DerivationError(
            f"a report simulates networks, so the width must be a number, got {width}; "
            f"write the derivation alone with: deeplimits derive --width {width} --format html"
        )
    return Page(d, tuple(summary), of.sections(d, stage), command)


def draws_networks(d: Derivation) -> bool:
    """Whether a page has networks of one depth beside the limit; else all that is simulated is what the checks choose."""
    return d.order == "depth" and not has_slow_steps(d.limit)


__all__ = ["Inputs", "Page", "Start", "Text", "draws_networks", "report"]
