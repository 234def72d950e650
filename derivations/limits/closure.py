r"""Closure at finite width: the Gram matrix of a layer as a diffusion by itself, at every number of neurons."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import sympy as sp

from derivations.diffusion import Flow
from derivations.errors import NotClosed
from derivations.language import Program
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.moments import LayerMoments
from derivations.limits.gram import GramDiffusion, cone, gram_matrix, upper


@dataclass(frozen=True)
class GramLimit:
    r"""The Gram matrix's own diffusion at every width.

    Parameters
    ----------
    process : GramDiffusion or Flow
        In the upper triangle of the matrix, without entries that every layer fixes.
    matrix : Matrix, shape (m, m)
        Its symbols.
    centred : bool
        Whether it is the Gram matrix of the centred state, :math:`\langle x^\alpha x^\beta\rangle - \langle x^\alpha\rangle\langle x^\beta\rangle`.
    fixed : dict
        Entries that every layer fixes, as a norm at the end of a layer does, and their values.
    """

    process: GramDiffusion | Flow
    matrix: sp.ImmutableMatrix
    centred: bool
    fixed: dict[sp.Expr, sp.Expr]


def gram_limit(program: Program, inputs: int = 1) -> GramLimit:
    r"""The limit of infinite depth of the Gram matrix :math:`V = X^\top X/n`, where it is a diffusion by itself at every width.

    The drift and the covariance of the averages :math:`\langle x^\alpha\rangle` and :math:`\langle x^\alpha x^\beta\rangle` are
    taken from one layer, exactly in n. V closes where no other average of the state remains: where the state is read
    through random matrices and averages only, so that the network is invariant under rotations of its neurons. Where the
    means remain too, as with layer normalisation, the Gram matrix of the centred state is tried, by Itô's formula.

    Raises
    ------
    NotClosed
        Naming what is left over, if neither is a diffusion by itself.
    """
    moments = LayerMoments(program, inputs)
    moments.at_rest()
    try:
        return _closed_gram(moments, centred=False)
    except NotClosed as plain:
        try:
            return _closed_gram(moments, centred=True)
        except NotClosed:
            raise plain from None


def _closed_gram(moments: LayerMoments, centred: bool) -> GramLimit:
    matrix, x = gram_matrix(moments.inputs), moments.states
    means = [sp.Dummy(f"M{a + 1}", real=True) for a in range(moments.inputs)]
    entry = {pair: moments.average(x[pair[0]] * x[pair[1]]) for pair in upper(moments.inputs)}
    rule = {entry[a, b]: matrix[a, b] + (means[a] * means[b] if centred else 0) for a, b in entry}
    if centred:
        rule |= {moments.average(x[a]): means[a] for a in range(moments.inputs)}

    def closed(expr: sp.Expr) -> sp.Expr:
        inside = sp.expand(expr.xreplace(rule))
        left = sorted(map(str, inside.atoms(LayerAverage))) or sorted(
            f"<{v}>" for v, mean in zip(x, means, strict=True) if inside.has(mean)
        )
        if left:
            raise NotClosed(
                f"the Gram matrix is no diffusion by itself: how it moves also depends on {', '.join(left)}; the state is read "
                "neuron by neuron, not through random matrices and averages only"
            )
        return sp.factor_terms(inside)

    # each entry as a function of averages: <x x'>, and centred minus <x><x'>; its differential by Itô's formula
    known = [pair for pair in upper(moments.inputs) if entry[pair] not in moments.fixed]

    def drift(a: int, b: int) -> sp.Expr:
        total = moments.change(x[a] * x[b])
        if centred:
            total -= means[a] * moments.change(x[b]) + means[b] * moments.change(x[a]) + moments.change(x[a], x[b])
        return total

    def linear(a: int, b: int) -> list[tuple[sp.Expr, sp.Expr]]:
        """Coefficients and bodies of the differential's part of first order."""
        own = [(sp.S.One, x[a] * x[b])]
        return [*own, (-means[a], x[b]), (-means[b], x[a])] if centred else own

    def noise(first: tuple[int, int], second: tuple[int, int]) -> sp.Expr:
        return sp.Add(*(c * d * moments.change(f, g) for c, f in linear(*first) for d, g in linear(*second)))

    drifts = sp.ImmutableMatrix([closed(drift(*pair)) for pair in known])
    covariance = cache(lambda i, j: closed(noise(known[i], known[j])))
    noises = sp.ImmutableMatrix(len(known), len(known), lambda i, j: covariance(max(i, j), min(i, j)))
    states = tuple(matrix[p] for p in known)
    fixed = {matrix[p]: moments.fixed[entry[p]] for p in upper(moments.inputs) if p not in known}
    if noises.is_zero_matrix:
        return GramLimit(Flow(states, drifts), matrix, centred, fixed)
    return GramLimit(GramDiffusion(states, drifts, noises, cone(matrix), matrix=matrix), matrix, centred, fixed)
