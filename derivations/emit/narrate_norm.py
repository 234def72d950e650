"""Telling how the norm of a layer moves: Itô's formula, what closes, the slope at the start."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.closure import Closure
from derivations.emit.narrate import BROWNIAN, display
from derivations.emit.steps import Glyph, Line, Step, Words, differential, equation
from derivations.norms import InitialSlope, NormDynamics


def norm_steps(dynamics: NormDynamics, slope: InitialSlope | None) -> list[Step]:
    """Itô's formula on the norm, what closes, and the slope at the start."""
    norm, logarithm = Glyph(r"\|\varphi(X_t)\|^2", "|φ(X_t)|²"), Glyph(r"\log\|\varphi(X_t)\|", "log |φ(X_t)|")
    ito = " Itô's formula for functions of sums over the neurons; second derivatives are taken almost everywhere."
    steps = []
    for name, closure, what in (
        ("Norm", dynamics.square, norm),
        ("Logarithm of the norm", dynamics.logarithm, logarithm),
    ):
        closes = closure.closed or closure.closed_up_to_counts
        if name != "Norm" and not closes:
            continue
        lines = (_closure_line(closure),) if closes or _short(closure) else ()
        found = " gives" if lines else " gives an equation that does not close."
        steps.append(
            Step(name, ("Itô's formula for ", closure.states[0], " = ", what, found), lines, (*closure.verdict, ito))
        )
    if slope is not None:
        steps.append(_slope_step(slope))
    return steps


def _short(closure: Closure) -> bool:
    """Whether an equation that does not close is still worth a line."""
    return bool(sp.count_ops(closure.drift[0]) + sp.count_ops(closure.covariance[0, 0]) < 80)


def _closure_line(closure: Closure) -> Line:
    (y,), (drift,), (variance,) = closure.states, closure.drift, closure.covariance
    name = f"{sp.latex(y)}_t"
    at = {y: display(name)}
    return differential(Glyph(name, f"{y}_t"), drift.subs(at), sp.sqrt(variance).subs(at), BROWNIAN)


def _slope_step(slope: InitialSlope) -> Step:
    left = Glyph(
        r"\left.\frac{\mathrm{d}}{\mathrm{d}t}\mathbb{E}\log\|\varphi(X_t)\|\right|_{t=0}", "d/dt E log|φ(X_t)| at t=0"
    )
    lines = [equation(left, slope.value)]
    claim: Words = slope.statement
    if not slope.width.is_number:
        change = slope.sign_change()
        small = range(1, 5) if change is None else range(1, change[1] + 1)
        lines += [
            equation(
                Glyph(rf"{sp.latex(slope.width)} = {k}:\quad\text{{slope}}", f"{slope.width} = {k}: slope"), slope.at(k)
            )
            for k in small
        ]
        if change is not None:
            claim = (*claim, f" It changes sign between width {change[0]} and width {change[1]}.")
    return Step(
        "Slope at the start",
        claim,
        tuple(lines),
        (
            "The drift of the logarithm is affine in counts of neurons; each coordinate of a symmetric start is on a given side of the kink "
            "with "
            "probability one half, and conditioning on a norm other than 0 excludes the event that all are where the activation vanishes.",
        ),
    )
