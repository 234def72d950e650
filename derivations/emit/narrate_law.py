"""Telling a law: the Lamperti form and its potential, the density, the moments, the proof; or that none is known."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.lamperti import LampertiForm
from derivations.emit.narrate import display
from derivations.emit.plain import plain
from derivations.emit.steps import Glyph, Line, Step, Words, equation
from derivations.errors import NoClosedForm
from derivations.laws.frozen import FrozenLaw
from derivations.laws.kernel import KernelLaw
from derivations.laws.piecewise_law import PiecewiseLaw
from derivations.symbols import state


def lamperti_steps(forms: tuple[LampertiForm, ...]) -> list[Step]:
    """The Lamperti form of each moving interval: its drift and its potential."""
    lines = []
    for form in forms:
        where = Glyph(
            rf"x \in \left({sp.latex(form.interval[0])}, {sp.latex(form.interval[1])}\right):\quad ",
            f"x in ({form.interval[0]}, {form.interval[1]}): ",
        )
        lines += [
            equation(Glyph(where.latex + r"\sqrt{a(x)}", where.text + "sqrt(a(x))"), form.scale),
        ]
        if form.is_writable:
            lines += [equation(display("beta"), form.beta), equation(display("V"), form.potential)]
    return [
        Step(
            "Lamperti form and potential",
            (
                "On each interval between zeros of the noise, the coordinate ",
                Glyph(r"z = \int \mathrm{d}x/\sqrt{a(x)}", "z = ∫dx/sqrt(a(x))"),
                " has unit noise, drift ",
                display("beta"),
                " and potential ",
                Glyph(r"V = \beta^2 + \mathrm{d}\beta/\mathrm{d}z", "V = β² + dβ/dz"),
                ":",
            ),
            tuple(lines),
            (
                "Lamperti's transform. The transition density is closed where the kernel of ",
                Glyph(r"\tfrac12\partial_z^2 - \tfrac12 V", "½∂z² - ½V"),
                " is known.",
            ),
        )
    ]


def law_steps(law: PiecewiseLaw) -> list[Step]:
    """The law: density, distribution function, moments, atoms."""
    steps = [
        Step(
            "Law",
            (f"The law is known in closed form ({law.name}): ", *law.description, "."),
            tuple(_density_lines(law)),
            ("The kernel of the potential, transformed back by the map.",),
        )
    ]
    moments = []
    for k in (1, 2):
        left = Glyph(r"\mathbb{E}X_t" if k == 1 else rf"\mathbb{{E}}X_t^{k}", "E X_t" if k == 1 else f"E X_t^{k}")
        value = law.moment(k)
        if not value.has(sp.Integral):
            moments.append(equation(left, value))
    claim: Words = (
        ("Starting from ", display("x_0"), ":") if moments else ("The first two moments have no closed form here.",)
    )
    open_ = (
        () if len(moments) == 2 else ("What is not given is an integral over the density, computed by quadrature. ",)
    )
    steps.append(Step("Moments", claim, tuple(moments), (*open_, *_finiteness(law))))
    steps.append(_proof_step(law))
    return steps


_ORDERS = range(1, 9)  # moments whose finiteness is looked at


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
    return ("The second moment is finite for ", display("t"), " < ", until[2], " only.")


def _proof_step(law: PiecewiseLaw) -> Step:
    """What the engine has checked, each statement once, with how it was decided."""
    rows: dict[str, tuple[bool, bool]] = {}
    for part in law.parts:
        for check in part.prove().checks:
            holds, exact = rows.get(check.statement, (True, True))
            rows[check.statement] = (holds and check.holds, exact and check.exact)
    told = [
        f"{statement}: {'0' if holds else 'not 0'}, {'exactly' if exact else 'to 30 digits at random points'}"
        if "map carries" not in statement and "mass of the atom" not in statement
        else f"{statement}: {'holds' if holds else 'does not hold'}, exactly"
        for statement, (holds, exact) in rows.items()
    ]
    return Step(
        "Proof",
        (f"{'Proved' if all(h for h, _ in rows.values()) else 'Not proved'} by the engine: {'; '.join(told)}.",),
        (),
        (
            "The density is put into the Fokker–Planck equation, its mass is counted, and its start and its transitions are followed; "
            "what algebra does not decide is computed to more digits than a coincidence has.",
        ),
    )


def _density_lines(law: PiecewiseLaw) -> list[Line]:
    lines = []
    for part in law.parts:
        domain = part.diffusion.domain
        if domain.measure == 0:
            continue
        where = rf"x_0 \in {sp.latex(domain)}:\quad " if len(law.parts) > 1 else ""
        text = f"x_0 in {plain(domain)}: " if len(law.parts) > 1 else ""
        for atom in part.atoms:
            left = Glyph(where + rf"P(X_t = {sp.latex(atom.location)})", text + f"P(X_t = {atom.location})")
            lines.append(equation(left, _readable(atom.mass)))
        if not isinstance(part, FrozenLaw):
            density = _readable(part.pdf(state))
            lines.append(equation(Glyph(where + r"p_t(x \mid x_0)", text + "p_t(x | x_0)"), density))
        if isinstance(part, KernelLaw):
            lines += [equation(left, right) for left, right in part.definitions if equation(left, right) not in lines]
    return lines


def _readable(expr: sp.Expr) -> sp.Expr:
    """Two-argument arctangents, which computers like, as people write them."""
    return expr.replace(
        lambda node: isinstance(node, sp.atan2) and node.args[0] == 1, lambda node: sp.pi / 2 - sp.atan(node.args[1])
    )


def no_law_step(potential_known: bool, reason: str) -> Step:
    """The honest word that none is known."""
    claim = "The potential is none of the solvable ones." if potential_known else f"{reason[0].upper()}{reason[1:]}."
    return Step(
        "No closed form known",
        (claim,),
        (),
        ("The density can be computed from the Fokker–Planck equation or by simulation.",),
    )
