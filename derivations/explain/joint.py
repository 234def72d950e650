r"""Explaining a layer whose width grows with its depth: its recursion, its expansion, and the moments of its Gram matrix."""

from __future__ import annotations

import sympy as sp

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
from derivations.limits.joint_moments import JointMoments
from derivations.limits.one_matrix import OneMatrix
from derivations.symbols import state, width

_PHI = sp.Function("varphi_n")
_V, _C = letter("V"), letter("c")


def recursion_step(moments: JointMoments, layer: OneMatrix) -> Step:
    """One layer with its gain and its activation."""
    here, there = indexed("z", ("ell",), ("i",)), indexed("z", (letter("ell") + 1,), ("i",))
    read, norm, j = indexed("z", ("ell",), ("j",)), indexed("r", ("ell",)), letter("j")
    entry, argument = indexed("W", ("i", "j")), read / norm if layer.is_normalised else read
    drawn = Juxtaposed(
        sp.Pow(_C / width, sp.S.Half, evaluate=False), Total(Juxtaposed(entry, _PHI(argument)), j, width, ())
    )
    gain = 1 / expected(_PHI(letter("g")) ** 2) if layer.variance is None else layer.variance
    lines = [
        Line(there, (*((Term(layer.skip * here),) if layer.skip != 0 else ()), Term(layer.branch, drawn))),
        equation(_PHI(state), layer.inner),
        equation(_C, gain),
    ]
    if layer.is_normalised:
        mean_square = Juxtaposed(Total(read**2, j, width, ()), Word("for each input"))
        lines.append(Line(norm**2, (Term(1 / width, mean_square),)))
    normal = Distribution("N", sp.S.Zero, sp.S.One)
    return Step(
        "Recursion",
        ("One layer of ", width, " neurons, with weights ", entry, " that are independent, ", normal, " and fresh:"),
        tuple(lines),
        ("This is the network. Everything below is derived from it. A unit of time is ", moments.unit, " layers."),
    )  # fmt: skip


def expansion_step(layer: OneMatrix) -> Step:
    """The layer in powers of the width."""

    def series(coefficients: tuple[sp.Expr, ...]) -> tuple[Term, ...]:
        return tuple(Term(part) for c in coefficients for part in sp.Add.make_args(c))

    return Step(
        "Expansion of a layer",
        ("In powers of the width, to the order that is needed,",),
        (Line(_PHI(state), series(layer.activation), "≈"), Line(_C, series(layer.gain), "≈")),
        ("Taylor's formula, piece by piece. The product of c and the series of the mean square is 1.",),
    )


def moment_step(moments: JointMoments, is_flow: bool) -> Step:
    """The conditional moments of a layer's Gram matrix."""
    pairs, v = upper(moments.matrix.rows), moments.matrix
    lines = [equation(expected(Juxtaposed(letter("Delta"), v[p]), _V), sp.factor(moments.moved(*p))) for p in pairs]
    if not is_flow:
        after = {p: sp.Symbol(f"{v[p].name}'", real=True) for p in pairs}
        lines += [
            equation(covariance_of(after[p], after[q], _V), sp.factor(moments.spread(p, q)))
            for i, p in enumerate(pairs)
            for k, q in enumerate(pairs)
            if k >= i
        ]
    vanishes = " Over so many layers it vanishes." if is_flow else ""
    given: Words = ("Given ", _V, " the neurons are independent ", Distribution("N", sp.S.Zero, _V),
                    " vectors over the inputs. One layer moves V by")  # fmt: skip
    return Step(
        "Conditional moments of the Gram matrix",
        given,
        tuple(lines),
        (
            "Gaussian expectations of the products in the expansion, term by term. Terms of order 0 give V back. Those of order 1 cancel by "
            f"the choice of c. The covariance of an average over n neurons is Wick's rule divided by n.{vanishes}",
        ),
    )
