"""Explaining a law: the Lamperti form and its potential, the density, the moments, the proof; or that none is known."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.lamperti import LampertiForm
from derivations.errors import NoClosedForm
from derivations.laws.base import Check, Proof
from derivations.laws.piecewise_law import PiecewiseLaw
from derivations.notation.nodes import (
    Partial,
    Rate,
    equals,
    expected,
    indexed,
    letter,
)
from derivations.notation.plain import Words
from derivations.notation.steps import Step, equation, result
from derivations.symbols import initial, time

_X = indexed("X", (time,))
_ORDERS = range(1, 9)  # moments whose finiteness is looked at


def lamperti_step(forms: tuple[LampertiForm, ...]) -> Step:
    """The Lamperti form of each moving interval: its drift and its potential."""
    x = forms[0].state
    beta, v, z, a = letter("beta"), letter("U"), letter("z"), sp.Function("a")(x)
    lines = []
    for form in forms:
        interval = sp.Interval.open(*form.interval)
        where = None if interval == sp.S.Reals else sp.Contains(x, interval, evaluate=False)
        lines.append(equation(sp.sqrt(a), form.scale, where=where))
        if form.is_writable:
            lines.append(equation(beta, form.beta))
            if (potential := form.written_potential) is not None:
                lines.append(equation(v, potential))
    return Step(
        "Lamperti form and potential",
        (
            "On each interval between zeros of the noise, the coordinate ",
            equals(z, sp.Integral(1 / sp.sqrt(a), x)),
            " has unit noise, drift ",
            beta,
            " and potential ",
            equals(v, beta**2 + Rate(beta, z)),
            ":",
        ),
        tuple(lines),
        (
            "Lamperti's transform. The transition density has a closed form where the kernel of the operator ",
            Partial(z) ** 2 / 2,
            " minus ",
            v / 2,
            " is known.",
        ),
    )


def law_steps(law: PiecewiseLaw, proof: Proof, of: str = "") -> list[Step]:
    """The law: density, distribution function, moments, atoms.

    Parameters
    ----------
    law : PiecewiseLaw
    proof : Proof
        What was checked about it.
    of : str
        What the law is of, if that is not the state.
    """
    moments = [equation(expected(_X**k), value) for k in (1, 2) if not (value := law.moment(k)).has(sp.Integral)]
    claim: Words = (
        ("From the start ", initial, ":") if moments else ("The first two moments have no closed form here.",)
    )
    open_: Words = (
        ()
        if len(moments) == 2
        else ("What is not given is an integral over the density. It is computed by quadrature. ",)
    )
    steps = [
        result(
            f"Law{of}",
            (f"The law has a closed form ({law.name}): ", *law.description, "."),
            law.lines,
            ("The kernel of the potential, transformed back to the state.",),
        ),
        Step(f"Moments{of}", claim, tuple(moments), (*open_, *_finiteness(law))),
        _proof_step(proof, of),
    ]
    return [step.xreplace(law.letters) for step in steps]


def _finiteness(law: PiecewiseLaw) -> Words:
    """Which moments are finite, and until when."""
    try:
        until = {k: law.finite_until(sp.Integer(k)) for k in _ORDERS}
    except NoClosedForm as error:
        return (str(error),)
    never = next((k for k, last in until.items() if last == 0), None)
    if never is not None:
        return (f"Moments of order {never} and beyond are infinite at every time.",)
    if until[2] == sp.oo:
        return ("All moments are finite at all times.",) if all(v == sp.oo for v in until.values()) else ()
    return ("The second moment is finite for ", time, " < ", until[2], " only.")


def _proof_step(proof: Proof, of: str) -> Step:
    """What has been checked, with how it was decided."""
    verdict = "Each statement was checked" if proof else "Not every statement holds"
    return Step(
        f"Proof{of and f' of the law{of}'}",
        (f"{verdict}:",),
        (),
        (
            "The density is put into the Fokker–Planck equation. Its mass, its start and its transitions are checked. What algebra does not "
            "decide is computed at random points, to more digits than a coincidence has.",
        ),
        tuple(_checked(check) for check in proof.checks),
    )


def _checked(check: Check) -> Words:
    how = "exactly" if check.exact else "to 30 digits at random points"
    where: Words = () if check.domain is None else ("on ", check.domain, ", ")
    if not check.holds:
        return (*where, f"{check.statement}: ", check.value, " in place of ", check.expected, ".")
    if check.expected.is_number:
        return (*where, f"{check.statement}: ", check.expected, f", {how}.")
    return (*where, f"{check.statement}, {how}.")


def no_law_step(reason: str) -> Step:
    """That no closed form is known, and why."""
    return Step(
        "No closed form known",
        (f"{reason[0].upper()}{reason[1:]}.",),
        (),
        ("The density can be computed from the Fokker–Planck equation or by simulation.",),
    )
