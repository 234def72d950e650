r"""The catalogue of published claims and of this project's own, and what came of checking some of them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from derivations.errors import unknown
from derivations.notation.printed import Legible
from numerics.ensembles import Seed, seed_sequence
from numerics.extras import how_to_install, is_missing
from numerics.statistics import shown_p
from numerics.validation import hayou, li_nica, own, peluchetti
from numerics.validation.base import LEVEL, Row, Validation
from numerics.validation.claims import AtStart, Claim, Number
from numerics.validation.stages import Stage, silent

#: What is said of a claim that was met: as it is published, or only at the start.
HOLDS = ("holds", "holds at t = 0 only")
#: All claims, source by source.
CATALOGUE: tuple[Claim, ...] = (*hayou.CLAIMS, *peluchetti.CLAIMS, *li_nica.CLAIMS, *own.CLAIMS)


def find_claims(source: str | None = None, name: str | None = None, quick: bool = False) -> tuple[Claim, ...]:
    """The claims that are asked for, in the order of the catalogue.

    Parameters
    ----------
    source : str, optional
        A word of the source, such as ``"Hayou"``, in any case.
    name : str, optional
        The name of a claim.
    quick : bool
        Only those that take a few seconds.

    Raises
    ------
    ValueError
        If no claim has that source or that name, or none that is quick does.

    Examples
    --------
    >>> [claim.name for claim in find_claims(name="determinant, width 2")]
    ['determinant, width 2']
    """
    found = CATALOGUE
    if source is not None:
        found = tuple(claim for claim in found if source.casefold() in claim.source.casefold())
        if not found or not source.strip():
            authors = sorted({claim.source.partition(",")[0].split()[-1] for claim in CATALOGUE})
            raise ValueError(unknown("source", source, authors))
    if name is not None:
        named = tuple(claim for claim in found if claim.name == name)
        if not named:
            raise ValueError(
                f"{unknown('claim', name, [claim.name for claim in found])}; all are listed by deeplimits claims --list"
            )
        found = named
    if quick:
        found = tuple(claim for claim in found if not claim.slow)
        if not found:
            raise ValueError("none of these claims is quick; ask for them without quick")
    return found


@dataclass(frozen=True, repr=False)
class CheckedClaims(Legible):
    """Claims with what came of them; true if all hold and every control was rejected.

    Parameters
    ----------
    claims : tuple of Claim
    table : Validation
        A row for each.
    left_out : tuple of Claim
        Those that need a package which is not installed.
    """

    claims: tuple[Claim, ...]
    table: Validation
    left_out: tuple[Claim, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.table)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """``holds``, ``holds at t = 0 only``, ``differs``, or why nothing can be said, one for each claim."""
        return tuple(
            _as_published(claim) if said == "agrees" else said
            for claim, said in zip(self.claims, self.table.verdicts, strict=True)
        )

    def __str__(self) -> str:
        lines = []
        rows = list(zip(self.claims, self.table.rows, self.table.adjusted, self.verdicts, strict=True))
        for source in dict.fromkeys(claim.source for claim in self.claims):
            lines += ["", source, "─" * len(source)]
            for claim, row, p, verdict in (row for row in rows if row[0].source == source):
                lines += [f"{'✓' if verdict in HOLDS else '✗'} {claim.name}: {verdict}", f"    {claim.statement}"]
                lines.append(f"    {_numbers(row, p)}")
        held = sum(verdict in HOLDS for verdict in self.verdicts)
        early = [verdict for verdict in self.verdicts if verdict in HOLDS and verdict != "holds"]
        of_them = f", {len(early)} of them at t = 0 only" if early else ""
        level = f"each claim at a level that Holm's correction keeps to {LEVEL:g} for all together"
        missing = [
            f"not checked: {c.name}, which needs {_needs(c)}; {how_to_install(_needs(c))}" for c in self.left_out
        ]
        return "\n".join([*lines[1:], "", *missing, f"{held} of {len(self.claims)} hold{of_them}; {level}"])

    def to_json(self) -> str:
        """The same as JSON, a claim an object."""
        rows = zip(self.claims, self.table.rows, self.table.adjusted, self.verdicts, strict=True)
        return json.dumps([_entry(*row) for row in rows], ensure_ascii=False, indent=1, allow_nan=False)


def _needs(claim: Claim) -> str:
    """The package of an extra that a claim needs, or nothing."""
    return claim.needs if isinstance(claim, Number) else ""


def _as_published(claim: Claim) -> str:
    """What is said of a claim whose networks agree with what is derived."""
    return HOLDS[isinstance(claim, AtStart)]


def _numbers(row: Row, adjusted: float) -> str:
    """What was derived and measured, the test, and its control."""
    number = "" if row.derived is None else f"derived {row.derived:.5g}, measured {row.measured}; "
    return (
        f"{number}{row.statistic} = {row.test.statistic:.3g}, p {shown_p(adjusted)}; "
        f"control {row.statistic} = {row.control.statistic:.3g}, p {shown_p(row.control.p_value, 1)}"
    )


def said_of(claim: Claim) -> dict[str, Any]:
    """A claim before it is checked: whose it is, its name, and what it says."""
    return {"source": claim.source, "claim": claim.name, "statement": claim.statement}


def listed(claims: Sequence[Claim]) -> str:
    """Names and statements below the sources that they come from.

    Examples
    --------
    >>> print(listed(find_claims(name="determinant, width 2")))
    S. Hayou, On the infinite-depth limit of finite-width neural networks (TMLR 2023)
        determinant, width 2: log|det J_t|, linear activation, width 2, t = 1: Gaussian as derived
    """
    below: dict[str, list[str]] = {}
    for claim in claims:
        below.setdefault(claim.source, []).append(f"    {claim.name}: {claim.statement}")
    return "\n\n".join("\n".join([source, *lines]) for source, lines in below.items())


def _entry(claim: Claim, row: Row, adjusted: float, verdict: str) -> dict[str, Any]:
    """A claim as JSON holds it."""
    return said_of(claim) | {"verdict": verdict} | row.numbers(adjusted)


def check_claims(
    claims: Sequence[Claim] = CATALOGUE, seed: Seed = 0, workers: int = 1, stage: Stage = silent
) -> CheckedClaims:
    """Derive and simulate claims; what comes of one does not depend on which others are checked with it.

    Parameters
    ----------
    claims : sequence of Claim
        All of them by default, several minutes; :func:`find_claims` chooses.
    seed : int, SeedSequence, Generator or None
    workers : int
        Threads; the result does not depend on it.
    stage : callable
        Announces each claim: from its name to a context in which it is checked.

    Returns
    -------
    CheckedClaims
        True if all hold; ``print`` shows them by source.

    Raises
    ------
    ModuleNotFoundError
        If all of them need a package that is not installed; beside others they are left out, and the result says so.
    """
    left_out = tuple(claim for claim in claims if _needs(claim) and is_missing(_needs(claim)))
    able = tuple(claim for claim in claims if claim not in left_out)
    if left_out and not able:
        needed = _needs(left_out[0])
        raise ModuleNotFoundError(f"{left_out[0].name} needs {needed}; {how_to_install(needed)}", name=needed)
    root, rows = seed_sequence(seed), []
    for claim in able:
        own = np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, zlib.crc32(claim.name.encode())))
        with stage(claim.name):
            rows.append(claim.check(own, workers))
    return CheckedClaims(able, Validation(tuple(rows), "Claims, derived and simulated"), left_out)
