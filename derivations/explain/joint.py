r"""Explaining a layer whose width grows with its depth: its recursion, its expansion, and the moments of its Gram matrix."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from derivations.explain.recursion import recursion_step
from derivations.gaussian import expect
from derivations.language import Program, Weights
from derivations.language.single import OneMatrixLayer
from derivations.language.statements import Matrix
from derivations.limits.elimination.labels import Exchange
from derivations.limits.gram import generic_entries, upper
from derivations.limits.joint_moments import JointMoments, gathered
from derivations.notation.nodes import Distribution, Juxtaposed, covariance_of, expected, letter
from derivations.notation.plain import Words
from derivations.notation.steps import Line, Step, Term, equation
from derivations.symbols import GRAM, state, step

_PHI = sp.Function("varphi_n")
_V, _C = letter(GRAM), letter("c")
_FEW = 3  # entries of the Gram matrix up to which all moments are shown


def joint_recursion_step(moments: JointMoments, inputs: int, single: OneMatrixLayer | None) -> Step:
    """One layer; where it has one matrix only, with names for its activation and its gain."""
    program = moments.chain.program
    named, more = (program, ()) if single is None else _named(moments, single)
    clock: Words = (" A unit of time is ", moments.unit, " layers.")
    return recursion_step(named, inputs, moments.at_width(step), more, clock)


def _is_critical(layer: OneMatrixLayer) -> bool:
    r"""Whether the variance of the weights is :math:`1/\mathbb{E}\,\varphi(g)^2`."""
    return bool(sp.cancel(layer.weights.variance * expect(layer.body**2, state) - 1) == 0)


def _named(moments: JointMoments, single: OneMatrixLayer) -> tuple[Program, tuple[Line, ...]]:
    program, at = moments.chain.program, moments.at_width
    *before, last = program.statements
    assert isinstance(last, Matrix)
    argument = state / sp.sqrt(before[0].symbol) if single.is_normalised else state
    weights = Weights(last.weights.name, variance=_C)
    named = replace(program, statements=(*before, replace(last, weights=weights, body=_PHI(argument))))
    gain = 1 / expected(_PHI(letter("g")) ** 2) if _is_critical(single) else at(single.weights.variance)
    return named, (equation(_PHI(state), at(single.body)), equation(_C, gain))


def expansion_step(moments: JointMoments, layer: OneMatrixLayer) -> Step:
    """The layer in powers of the width."""

    def series(whole: sp.Expr) -> tuple[Term, ...]:
        return tuple(Term(part) for c in moments.terms(whole) for part in sp.Add.make_args(c))

    return Step(
        "Expansion of a layer",
        ("In powers of the width, to the order that is needed,",),
        (Line(_PHI(state), series(layer.body), "≈"), Line(_C, series(layer.weights.variance), "≈")),
        (
            "Taylor's formula, piece by piece."
            + (" The product of c and the series of the mean square is 1." if _is_critical(layer) else ""),
        ),
    )


def moment_step(moments: JointMoments, is_flow: bool) -> Step:
    """The conditional moments of a layer's Gram matrix."""
    pairs, v, exchange = upper(moments.matrix.rows), moments.matrix, Exchange.of(moments.chain.program)
    alike = len(pairs) > _FEW  # of many coordinates those entries are shown that say all
    shown = exchange.different(pairs) if alike else pairs
    lines = [equation(expected(Juxtaposed(letter("Delta"), v[p]), _V), gathered(moments.moved(*p))) for p in shown]
    if not is_flow:
        after = {p: sp.Symbol(f"{v[p].name}'", real=True) for p in pairs}
        every = [(i, k) for i in range(len(pairs)) for k in range(i, len(pairs))]
        both = [(pairs[i], pairs[k]) for i, k in (generic_entries(pairs, exchange) if alike else every)]
        lines += [equation(covariance_of(after[p], after[q], _V), gathered(moments.spread(p, q))) for p, q in both]
    vanishes = " Over so many layers it vanishes." if is_flow else ""
    given: Words = ("Given ", _V, " the neurons are independent ", Distribution("N", sp.S.Zero, _V),
                    " vectors over the inputs. One layer moves V by",
                    *((" (for all inputs and positions as for these)",) if alike else ()))  # fmt: skip
    return Step(
        "Conditional moments of the Gram matrix",
        given,
        tuple(lines),
        (
            "Statements are averaged out from the last to the first, term by term in powers of the width. Terms before those shown cancel, or "
            f"give V back. The covariance of averages over n neurons is that of one neuron divided by n.{vanishes}",
        ),
    )
