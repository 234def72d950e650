r"""Explaining a layer whose width grows with its depth: its recursion, its expansion, and the moments of its Gram matrix."""

from __future__ import annotations

import sympy as sp

from derivations.architectures.scaling import Scaling
from derivations.explain.notation import (
    Distribution,
    Juxtaposed,
    Total,
    Word,
    covariance_of,
    expected,
    indexed,
    letter,
)
from derivations.explain.plain import Words
from derivations.explain.steps import Line, Step, Term, equation
from derivations.limits.gram import upper
from derivations.limits.increments import GramMoments
from derivations.symbols import noise, state, width

_PHI = sp.Function("varphi_n")
_V, _C = letter("V"), letter("c")


def recursion_step(scaling: Scaling) -> Step:
    """One layer with its gain and its activation."""
    values = {size: width ** (-rate) for size, rate in scaling.sizes}
    update = sp.sympify(scaling.update).subs(values)
    skip, branch = sp.diff(update, state), sp.diff(update, noise)
    here, there = indexed("z", ("ell",), ("i",)), indexed("z", (letter("ell") + 1,), ("i",))
    read, norm, j = indexed("z", ("ell",), ("j",)), indexed("r", ("ell",)), letter("j")
    entry, argument = indexed("W", ("i", "j")), read / norm if scaling.normalised else read
    drawn = Juxtaposed(
        sp.Pow(_C / width, sp.S.Half, evaluate=False), Total(Juxtaposed(entry, _PHI(argument)), j, width, ())
    )
    critical = scaling.weight_variance is None
    gain = 1 / expected(_PHI(letter("g")) ** 2) if critical else sp.sympify(scaling.weight_variance)
    lines = [
        Line(there, (*((Term(skip * here),) if skip != 0 else ()), Term(branch, drawn))),
        equation(_PHI(state), scaling.inner.expr.subs(values)),
        equation(_C, gain),
    ]
    if scaling.normalised:
        mean_square = Juxtaposed(Total(read**2, j, width, ()), Word("for each input"))
        lines.append(Line(norm**2, (Term(1 / width, mean_square),)))
    normal = Distribution("N", sp.S.Zero, sp.S.One)
    return Step(
        "Recursion",
        ("One layer of ", width, " neurons, with weights ", entry, " that are independent, ", normal, " and fresh:"),
        tuple(lines),
        ("This is the network. Everything below is derived from it. A unit of time is ", width**scaling.depth_rate, " layers."),
    )  # fmt: skip


def moment_steps(scaling: Scaling, moments: GramMoments, is_flow: bool) -> list[Step]:
    """The layer in powers of the width, and the conditional moments of its Gram matrix."""
    values = {size: width ** (-rate) for size, rate in scaling.sizes}

    def series(coefficients: tuple[sp.Expr, ...]) -> tuple[Term, ...]:
        parts = (part for c in coefficients for part in sp.Add.make_args(sp.expand(c).subs(values)))
        return tuple(Term(part) for part in parts if part != 0)

    pairs, v = upper(moments.matrix.rows), moments.matrix
    lines = [
        equation(expected(Juxtaposed(letter("Delta"), v[p]), _V), sp.factor(moments.drift(*p).subs(values)))
        for p in pairs
    ]
    if not is_flow:
        after = {p: sp.Symbol(f"{v[p].name}'", real=True) for p in pairs}
        lines += [
            equation(covariance_of(after[p], after[q], _V), sp.factor(moments.covariance[i, k].subs(values)) / width)
            for i, p in enumerate(pairs)
            for k, q in enumerate(pairs)
            if k >= i
        ]
    vanishes = " Over so many layers it vanishes." if is_flow else ""
    given: Words = ("Given ", _V, " the neurons are independent ", Distribution("N", sp.S.Zero, _V),
                    " vectors over the inputs. One layer moves V by")  # fmt: skip
    return [
        Step(
            "Expansion of a layer",
            ("In powers of the width, to the order that is needed,",),
            (Line(_PHI(state), series(moments.activation), "≈"), Line(_C, series(moments.gain), "≈")),
            ("Taylor's formula, piece by piece. The product of c and the series of the mean square is 1.",),
        ),
        Step(
            "Conditional moments of the Gram matrix",
            given,
            tuple(lines),
            (
                "Gaussian expectations of the products in the expansion, term by term. Terms of order 0 give V back. Those of order 1 cancel by "
                f"the choice of c. The covariance of an average over n neurons is Wick's rule divided by n.{vanishes}",
            ),
        ),
    ]
