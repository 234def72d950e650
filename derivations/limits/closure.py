r"""Closure at finite width: the Gram matrix of a layer as a diffusion by itself, at every number of neurons."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import sympy as sp

from derivations.diffusion import Diffusion, Flow
from derivations.entries import LazyCovariance, rebuilt_entry
from derivations.errors import DerivationError, NotClosed, brief, require, shown
from derivations.language import Program
from derivations.language.entries import Correlated
from derivations.language.statements import Back, Mask, Matrix, Mean
from derivations.limits.averages import LayerAverages
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.held import released
from derivations.limits.elimination.labels import (
    Exchange,
    by_pattern,
    matrix_labels,
    permuted,
    symmetric_pairs,
)
from derivations.limits.elimination.products import expanded
from derivations.limits.gram import GramDiffusion, cone, generic_entries, gram_matrix, upper
from derivations.limits.slopes import require_slopes
from derivations.notation.plain import plain
from derivations.symbols import state, step
from derivations.symbols import width as network_width


@dataclass(frozen=True)
class GramLimit:
    r"""The Gram matrix's own diffusion at every width.

    Parameters
    ----------
    process : GramDiffusion, Diffusion or Flow
        In the upper triangle of the matrix, without entries that every layer fixes.
    matrix : Matrix, shape (m, m)
        Its symbols.
    centred : bool
        Whether it is the Gram matrix of the centred state, :math:`\langle x^\alpha x^\beta\rangle - \langle x^\alpha\rangle\langle x^\beta\rangle`.
    fixed : dict
        Entries that every layer fixes, as a norm at the end of a layer does, and their values.
    noises : dict
        Where neurons have independent noises with one covariance F for all, its different entries by their places; then
        :math:`n\,\mathrm{d}[V_{\alpha\beta}, V_{\gamma\delta}] = (V_{\alpha\gamma}F_{\beta\delta} + V_{\alpha\delta}F_{\beta\gamma} +
        V_{\beta\gamma}F_{\alpha\delta} + V_{\beta\delta}F_{\alpha\gamma})\,\mathrm{d}t`. Else empty.
    width : Expr
        The number n of neurons.
    """

    process: Diffusion | Flow
    matrix: sp.ImmutableMatrix
    centred: bool
    fixed: dict[sp.Expr, sp.Expr]
    noises: dict[tuple[int, int], sp.Expr] = field(default_factory=dict)
    width: sp.Expr = network_width


def gram_limit(program: Program, inputs: int = 1, directions: int = 0) -> GramLimit:
    r"""The limit of infinite depth of the Gram matrix :math:`V = X^\top X/n`, where it is a diffusion by itself at every width.

    The drift and the covariance of the averages :math:`\langle x^\alpha\rangle` and :math:`\langle x^\alpha x^\beta\rangle` are
    taken from one layer, exactly in n. V closes where no other average of the state remains: where the state is read
    through random matrices and averages only, so that the network is invariant under rotations of its neurons. Where the
    means remain too, as with layer normalisation, the Gram matrix of the centred state is tried, by Itô's formula.

    Parameters
    ----------
    program : Program
    inputs : int
        m; with positions, all coordinates.
    directions : int
        How many tangents of each input are followed: further columns of X, after all inputs. Where what the matrices put out
        is Gaussian, Stein's identity gives the mixed terms of states and tangents.

    Raises
    ------
    NotClosed
        Naming what is left over, if neither is a diffusion by itself.
    """
    require("the program", program, Program, "the layer of a network: ResNet(relu, width=3).program()")
    for what, number, least in (("inputs", inputs, 1), ("directions", directions, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise DerivationError(f"{what} must be a whole number, at least {least}, got {shown(number)}")
    if directions:
        require_slopes(program)
    _require_alike(program)
    neurons, size = LayerAverages.of(program, inputs, directions), inputs * (1 + directions)
    try:
        return _closed_gram(neurons, size, centred=False)
    except NotClosed as plain:
        if program.neurons.size == 1:  # which less its mean is 0
            raise
        try:
            return _closed_gram(neurons, size, centred=True)
        except NotClosed:
            raise plain from None


def _require_alike(program: Program) -> None:
    """Refuse noise that rotations of the neurons change, before it is multiplied out over all pairs of them."""
    for s in (s for s in program.statements if isinstance(s, Matrix) and s.target.index == 0):
        law = s.weights.law
        if not isinstance(law, Correlated) or not law.rows.rows or law.rows == law.rows[0, 0] * sp.eye(law.rows.rows):
            continue
        if sp.diff(program.update, s.symbol, step).xreplace({step: sp.S.Zero}) != 0:
            raise NotClosed(
                f"the Gram matrix is no diffusion by itself: the rows of {s.weights.name} have the covariance {brief(law.rows.tolist())}, no "
                "multiple of the identity, so that the noise of the norms depends on which neurons are large"
            )


def _where(program: Program) -> str:
    """The statements that read or change the state in another way than rotations of its neurons leave alone."""
    own = {state, *(s.symbol for s in program.statements if isinstance(s, Matrix | Back) and s.target.index == 0)}
    own |= {s.symbol for s in program.statements if isinstance(s, Mask) and s.over is not None and s.over.index == 0}

    def more(body: sp.Expr, degree: int) -> bool:
        names = sorted(own & body.free_symbols, key=sp.default_sort_key)
        return bool(names) and not (body.is_polynomial(*names) and sp.Poly(body, *names).total_degree() <= degree)

    found = [
        f"{s.weights.name}({plain(s.body)})" for s in program.statements if isinstance(s, Matrix) and more(s.body, 1)
    ]
    found += [f"average({plain(s.body)})" for s in program.statements if isinstance(s, Mean) and more(s.body, 2)]
    found += [f"the new state {plain(program.update)}"] if more(program.update, 1) else []
    return f" in {' and in '.join(found)}" if found else ""


def _cause(program: Program) -> str:
    """Why averages of the state are left that rotations of its neurons change."""
    where, names = _where(program), dict[str, None]()
    for s in program.statements:
        if isinstance(s, Matrix):
            reads, adds = (places.index == 0 for places in (s.source, s.target))
            if (s.weights.mean != 0 and (reads or adds)) or (s.weights.bias_mean != 0 and adds):
                names[s.weights.name] = None
    if names and not where:
        which = " and ".join(names)
        return f"means of the weights or biases of {which} tell the average of the neurons from what is across it; leave these means out"
    return f"the state is read neuron by neuron{where}, not through random matrices and averages only"


def _moves_along(program: Program) -> bool:
    """Whether one number added to all neurons of an input is carried along, and changes nothing else."""
    own, twin = (sp.Dummy(name, real=True) for name in ("c", "c'"))
    shifts: dict[sp.Symbol, sp.Expr] = {state: own}

    def moved(body: sp.Expr) -> sp.Expr:
        there = {s: shifts[kept].xreplace({own: twin}) for s, kept in program.others if kept in shifts}
        rule = {s: s + shift for s, shift in (shifts | there).items() if shift != 0}
        return sp.cancel(body.xreplace(rule) - body)

    for s in program.statements:
        shift = moved(s.body) if hasattr(s, "body") else sp.S.Zero
        if shift != 0 and not (isinstance(s, Mean) and s.power == 1 and shift.free_symbols <= {own}):
            return False
        shifts[s.symbol] = shift
    return bool(moved(program.update) == own)


def _closed_gram(neurons: LayerAverages, inputs: int, centred: bool) -> GramLimit:
    moments, x, size = neurons.layer, neurons.states, neurons.layer.program.neurons.size
    few, matrix = gram_matrix(len(x)), gram_matrix(inputs)
    means = [sp.Dummy(f"M{a + 1}", real=True) for a in range(len(x))]
    if centred and _moves_along(moments.program):  # then nothing that is centred depends on the means
        means = [sp.S.Zero] * len(x)
    averages = {pair: neurons.average(x[pair[0]] * x[pair[1]]) for pair in upper(len(x))}
    rule = {averages[a, b]: few[a, b] + (means[a] * means[b] if centred else 0) for a, b in averages}
    if centred:
        rule |= {neurons.average(x[a]): means[a] for a in range(len(x))}
    powers = moments.fixed_powers
    rule |= {
        neurons.average(s**k): value
        for s in (x[: moments.inputs] if moments.directions else x)
        for k, value in powers.items()
    }

    @cache
    def entry(name: sp.Symbol) -> sp.Expr:
        found = neurons.entries[name]
        whole = released(found).xreplace(rule)  # as it is, where nothing has to cancel
        return closed(found) if whole.has(LayerAverage, *means) else sp.factor_terms(whole)

    def closed(expr: sp.Expr) -> sp.Expr:
        inside = expanded(released(expr).xreplace(rule))
        left = sorted(map(plain, inside.atoms(LayerAverage))) or sorted(
            f"<{v}>" for v, mean in zip(x, means, strict=True) if mean != 0 and inside.has(mean)
        )
        if left:
            raise NotClosed(
                f"the Gram matrix is no diffusion by itself: how it moves also depends on {brief(', '.join(left), 400)}; "
                f"{_cause(moments.program)}"
            )
        return sp.factor_terms(inside).xreplace({s: entry(s) for s in inside.free_symbols & {*neurons.entries}})

    # each entry as a function of averages, <x x'>, or centred <x x'> - <x><x'>; its differential by Itô's formula
    def drift(a: int, b: int) -> sp.Expr:
        total = neurons.drift_of(x[a] * x[b])
        if centred:
            total -= means[a] * neurons.drift_of(x[b]) + means[b] * neurons.drift_of(x[a])
            total -= neurons.bracket(x[a], x[b])
        return closed(total)

    def linear(a: int, b: int) -> list[tuple[sp.Expr, sp.Expr]]:
        """Coefficients and bodies of the differential's part of first order."""
        own = [(sp.S.One, x[a] * x[b])]
        return [*own, (-means[a], x[b]), (-means[b], x[a])] if centred else own

    def noise(a: int, b: int, c: int, d: int) -> sp.Expr:
        rates = (v * w * neurons.bracket(f, g) for v, f in linear(a, b) for w, g in linear(c, d))
        return closed(sp.Add(*rates))

    renamed = matrix_labels((few, matrix))
    always = inputs > len(x)
    drift_of, noise_of = drift, noise
    exchange, exchangeable = Exchange.of(moments.program), not (heads(moments.program) or moments.directions)
    if exchangeable:
        renamed_all = permuted(renamed, len(x))
        drift_of = by_pattern(drift, renamed_all, exchange, always)
        noise_of = by_pattern(noise, renamed_all, exchange, always, symmetric_pairs)
    same = range(moments.inputs) if moments.directions else range(inputs)
    known = [(a, b) for a, b in upper(inputs) if a != b or a not in same or 2 not in powers]
    drifts = sp.ImmutableMatrix([drift_of(*pair) for pair in known])
    states = tuple(matrix[p] for p in known)
    fixed = {matrix[a, a]: powers[2] for a in same if 2 in powers}
    every = [(i, j) for i in range(len(known)) for j in range(i, len(known))]
    generic = generic_entries(known, exchange) if exchangeable else every
    if not any([noise_of(*known[i], *known[j]) for i, j in generic]):  # all: V must close in each
        return GramLimit(Flow(states, drifts), matrix, centred, fixed, width=size)
    noises = LazyCovariance(lambda i, j: noise_of(*known[i], *known[j]), generic if exchangeable else ())
    rank = size - int(centred or powers.get(1) == 0)  # centred neurons add up to 0
    if fixed and len(known) == 1:
        bound = fixed[matrix[0, 0]]
        process = Diffusion(states, drifts, noises, sp.Interval(-bound, bound))
        return GramLimit(process, matrix, centred, fixed, width=size)
    if fixed:  # no longer all of a cone
        process = GramDiffusion(
            states, drifts, noises, _slice(matrix, fixed), matrix=matrix.xreplace(fixed), rank=rank, centred=centred
        )
        return GramLimit(process, matrix, centred, fixed, width=size)
    places = exchange.different(upper(min(inputs, len(x)))) if exchangeable else upper(inputs)
    shared = {(a, b): neurons.shared_noise(a, b) for a, b in places}
    entries = (
        {} if None in shared.values() else {p: rebuilt_entry(closed(f)) for p, f in shared.items() if f is not None}
    )
    process = GramDiffusion(states, drifts, noises, cone(matrix), matrix=matrix, rank=rank, centred=centred)
    return GramLimit(process, matrix, centred, fixed, entries, size)


def _slice(matrix: sp.ImmutableMatrix, fixed: dict[sp.Expr, sp.Expr]) -> sp.Set:
    """The part of the cone on which some entries have fixed values."""
    inside = cone(matrix)
    entries = dict(zip(inside.sym, (matrix[p] for p in upper(matrix.rows)), strict=True))
    rest = [s for s, entry in entries.items() if entry not in fixed]
    values = {s: fixed[entry] for s, entry in entries.items() if entry in fixed}
    return sp.ConditionSet(sp.Tuple(*rest), inside.condition.xreplace(values), sp.Reals ** len(rest))
