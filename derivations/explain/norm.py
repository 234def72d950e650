"""Explaining how the norm of a layer moves: Itô's formula, what closes, the slope at the start."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.closure import Closure
from derivations.equations import DB
from derivations.norms import InitialSlope, NormDynamics
from derivations.notation.nodes import DerivativeOf, EvaluatedAt, Norm, Word, equals, expected, indexed
from derivations.notation.plain import Words
from derivations.notation.steps import Line, Step, differential, equation
from derivations.symbols import state, time


def norm_steps(dynamics: NormDynamics, slope: InitialSlope | None, name: str | None = None) -> list[Step]:
    """Itô's formula on the norm, what closes, and the slope at the start.

    Parameters
    ----------
    dynamics : NormDynamics
        The equations.
    slope : InitialSlope or None
        Where it is known.
    name : str or None
        The letter that earlier steps gave to what the matrix reads; without one it is said here.
    """
    phi = sp.Function(name or "varphi")
    steps = [] if name else [_named(phi(state), dynamics)]
    return steps + _norm_steps(dynamics, slope, phi(indexed("X", (time,))))


def _named(phi: sp.Expr, dynamics: NormDynamics) -> Step:
    claim = ("The matrix reads the state through",)
    return Step(
        "Activation", claim, (equation(phi, dynamics.activation(state)),), ("The norm is that of what it reads.",)
    )


def _norm_steps(dynamics: NormDynamics, slope: InitialSlope | None, phi: sp.Expr) -> list[Step]:
    ito = "Itô's formula for functions of sums over the neurons. Second derivatives are taken almost everywhere. "
    steps = []
    for name, closure, what in (
        ("Norm", dynamics.square, Norm(phi) ** 2),
        ("Logarithm of the norm", dynamics.logarithm, sp.log(Norm(phi), evaluate=False)),
    ):
        closes = closure.closed or closure.closed_up_to_counts
        if name != "Norm" and not closes:
            continue
        lines = (_closure_line(closure),) if closes or _short(closure) else ()
        found = " gives" if lines else " gives an equation that does not close."
        claim: Words = ("Itô's formula for ", equals(closure.states[0], what), found)
        steps.append(Step(name, claim, lines, (ito, *closure.verdict)))
    if slope is not None:
        steps.append(_slope_step(slope, phi))
    return steps


def _short(closure: Closure) -> bool:
    """Whether an equation that does not close is still worth a line."""
    return bool(sp.count_ops(closure.drift[0]) + sp.count_ops(closure.covariance[0, 0]) < 80)


def _closure_line(closure: Closure) -> Line:
    (y,), (drift,), (variance,) = closure.states, closure.drift, closure.covariance
    name = indexed(y, (time,))
    return differential(name, drift.subs(y, name), sp.sqrt(variance).subs(y, name), DB)


def _slope_step(slope: InitialSlope, phi: sp.Expr) -> Step:
    mean = expected(sp.log(Norm(phi), evaluate=False))
    lines = [equation(EvaluatedAt(DerivativeOf(mean, time), equals(time, sp.S.Zero)), slope.value)]
    claim: Words = slope.statement
    if not slope.width.is_number:
        change = slope.sign_change()
        small = range(1, 5) if change is None else range(1, change[1] + 1)
        lines += [equation(Word("slope"), slope.at(k), where=equals(slope.width, sp.Integer(k))) for k in small]
        if change is not None:
            claim = (*claim, f" It changes sign between width {change[0]} and width {change[1]}.")
    return Step(
        "Slope at the start",
        claim,
        tuple(lines),
        (
            "The drift of the logarithm is affine in counts of neurons. Each coordinate of a symmetric start is on a given side of the kink "
            "with probability one half. The condition that the norm is not 0 excludes the event that the activation vanishes at all neurons.",
        ),
    )
