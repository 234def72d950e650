r"""Matrices: what they read, what comes out given all that was read before, and their transposes."""

from __future__ import annotations

from functools import reduce

import sympy as sp

from derivations.errors import DerivationError, NotClosed
from derivations.language.entries import Correlated, Independent, triangular_root
from derivations.language.statements import Back, Matrix
from derivations.language.weights import Weights
from derivations.limits.elimination.averages import FilterAverage
from derivations.limits.elimination.draws import Covariances, Draw, EntriesDraw, OrthogonalDraw, Random
from derivations.limits.elimination.expander import Expander
from derivations.limits.elimination.series import Series, as_expression, taylor, truncated_product
from derivations.symbols import width


def declare_matrix(e: Expander, statement: Matrix) -> None:
    """Name what comes out of a matrix, and of an independent copy of it if parameters move."""
    weights, name, every = statement.weights, statement.symbol.name, range(len(e.states))
    fresh = e.fresh(name, every, real=True)
    # a bias is Gaussian whatever the matrix is
    apart = not (e.is_gaussian(statement) and weights not in e.turned) and weights.bias_variance != 0
    if apart and weights not in e.biases:
        e.biases[weights] = sp.Dummy(f"b_{name}", real=True)
        e.belongs(statement.target, [e.biases[weights]])
        e.origin[e.biases[weights]] = (weights, None)
    e.out.setdefault(weights, []).extend(fresh)
    e.origin |= {v: (statement, c) for c, v in enumerate(fresh)}
    copies = e.fresh(f"{name}'", every[e.inputs :] if e.moves(weights) else range(0), real=True)
    e.own.setdefault(weights, []).extend(copies)
    e.belongs(statement.target, [*fresh, *copies])
    for c in every:
        moved = copies[c - e.inputs] if copies and c >= e.inputs else sp.S.Zero
        bias = e.biases[weights] if apart and c < e.inputs else sp.S.Zero
        e.values[c][statement.symbol] = moved + bias + (0 if weights.is_mean else fresh[c])
    if weights.is_correlated:
        _places_of(e, statement)


def declare_back(e: Expander, statement: Back) -> None:
    """Name what is new in a transpose."""
    fresh = e.fresh(statement.symbol.name, range(len(e.states)), real=True)
    e.back[statement] = fresh
    e.belongs(statement.target, fresh)
    e.origin |= {v: (statement, c) for c, v in enumerate(fresh)}


def _places_of(e: Expander, statement: Matrix) -> None:
    """Distinguish the neurons on the sides of a matrix where they are not alike."""
    law = statement.weights.law
    assert isinstance(law, Correlated)
    if e.infinite and len(e.states) > e.inputs:
        raise NotClosed(
            f'tangents at infinite width are derived for neurons that are alike, got covariances of {statement.weights.name}; ask order="depth"'
        )
    for neurons, matrix in ((statement.target, law.rows), (statement.source, law.columns)):
        if matrix.rows and e.is_single(neurons.index):
            e.places[neurons.index] = (sp.S.One,)
        elif matrix.rows and neurons.index not in e.places:
            e.places[neurons.index] = tuple(sp.Dummy(f"e{i + 1}", real=True) for i in range(matrix.rows))
            e.belongs(neurons, list(e.places[neurons.index]))


def _spread(e: Expander, statement: Matrix) -> None:
    r"""What comes out of a matrix whose rows have the covariance :math:`L D L^\\top`: :math:`L D^{1/2} u` of independent neurons u."""
    law, target = statement.weights.law, statement.target
    if not isinstance(law, Correlated) or not law.rows.rows:
        return
    here, (lower, pivots) = e.places[target.index], triangular_root(law.rows)
    own = sp.Add(*(place * sp.sqrt(size) for place, size in zip(here, pivots, strict=True)))
    for c in range(len(e.states)):
        value = e.values[c][statement.symbol]
        drawn = [v for v in e.out[statement.weights] if value.has(v)]
        if law.rows.is_diagonal():  # a neuron reads no other one
            e.values[c][statement.symbol] = value.xreplace({u: own * u for u in drawn})
            continue
        for u in drawn:
            rows = [
                here[p] * lower[p, q] * sp.sqrt(pivots[q]) * target.size * e.average(here[q] * u, target.index)
                for p in range(len(here))
                for q in range(p + 1)
                if lower[p, q] != 0 and pivots[q] != 0
            ]
            e.values[c][statement.symbol] = value.xreplace({u: sp.Add(*rows)})


def matrix(e: Expander, statement: Matrix) -> None:
    """Note what the matrix reads, and add the shift that the means of weights and biases make."""
    weights, over = statement.weights, statement.source.index
    bodies = [e.series(statement.body, c) for c in range(len(e.states))]
    e.read.setdefault(weights, []).append(bodies)
    for c in range(len(e.states)):
        shift = [sp.S.Zero if c >= e.inputs else weights.bias_mean, *[sp.S.Zero] * e.order]
        if weights.mean != 0 and not (c >= e.inputs and e.centred):
            reads = _reads(e, weights, c)
            share = weights.mean / len(reads)
            for k in range(e.order + 1):
                read = sp.Add(*(e.average(bodies[i][k], over) for i in reads if i is not None))
                application = len(e.read[weights]) - 1
                shift[k] += share * _filtered(e, weights, read, (application, e.place(c)[0], k), c)
        shift = [e.named(term) for term in shift] if c < e.inputs else shift
        own = e.values[c][statement.symbol]
        if c >= e.inputs and not any(bodies[c]):  # of tangents that do not move
            own = own.xreplace(dict.fromkeys(e.out[weights], sp.S.Zero))
        e.values[c][statement.symbol] = own + as_expression(shift)
    _spread(e, statement)


def _reads(e: Expander, weights: Weights, c: int) -> list[int | None]:
    """The coordinates that a coordinate reads, weight by weight of a filter; a tangent reads tangents."""
    direction, a = e.place(c)
    if e.program.generic:
        return [c]
    return [None if i is None else direction * e.inputs + i for i in weights.reads(a)]


def _filtered(e: Expander, weights: Weights, value: sp.Expr, tag: tuple[int, ...], *coordinates: int) -> sp.Expr:
    """What a filter reads: at a generic position a node, else as it is."""
    if not (e.program.generic and weights.taps) or value == 0:
        return value
    places = (sp.Integer(e.place(c)[1]) for c in coordinates)
    which = sp.Integer(e.program.filters.index(weights))
    return FilterAverage(value, which, sp.Tuple(*map(sp.Integer, tag)), sp.Tuple(*places))


def back(e: Expander, statement: Back) -> None:
    r"""The transpose, given what the matrix put out.

    Given :math:`u = A b` for columns b, a Gaussian A is :math:`u\,(b^\top b)^{-1} b^\top` plus an independent copy beside the columns. So
    :math:`A^\top g = b\,(b^\top b)^{-1} u^\top g + P z`, with :math:`z = \tilde A^\top g` and P the projection beside the columns.
    """
    weights, size = statement.weights, len(e.states)
    if not weights.is_gaussian:
        raise NotClosed(
            f"the transpose of a matrix has a rule for independent Gaussian entries only, got the law {weights.law} for {weights.name}"
        )
    if e.parameters:
        raise NotClosed(f"tangent kernels are derived without transposes, got {weights.name}.T")
    bodies = [e.series(statement.body, c) for c in range(size)]
    e.backs.setdefault(weights, []).append((statement, bodies))
    outer, inner = statement.source.index, statement.target.index
    ratio = _ratio(e, statement)
    columns: dict[Series, sp.Symbol] = {}
    for k, application in enumerate(e.read.get(weights, [])):
        for c, column in enumerate(application):
            if any(column):
                columns.setdefault(column, e.out[weights][k * size + c])
    gram = sp.Matrix(
        len(columns),
        len(columns),
        lambda i, j: _mean_of(e, truncated_product([*columns][i], [*columns][j]), inner),
    )
    size_read = statement.target.size
    if size_read.is_Integer and len(columns) > size_read:
        followed = "an input and of tangents" if size > e.inputs else "inputs"
        raise NotClosed(
            f"{weights.name} reads {len(columns)} columns, of {followed}, of length {size_read}, so that they depend on each other, and its "
            f"transpose is known for independent ones only: take at least {len(columns)} neurons, or follow fewer"
        )
    if columns and sp.cancel(gram.det()) == 0:
        raise NotClosed(
            f"the columns that {weights.name} reads depend on each other; its transpose is known for independent ones only"
        )
    inverse = gram.inv(method="ADJ") if columns else gram
    for c, z in enumerate(e.back[statement]):
        value: sp.Expr = z if any(bodies[c]) else sp.S.Zero
        if weights.mean != 0:
            value += weights.mean * ratio * _mean_of(e, bodies[c], outer)
        for i, b in enumerate(columns):
            for j, (other, u) in enumerate(columns.items()):
                put_out = ratio * _mean_of(e, tuple(u * t for t in bodies[c]), outer)
                beside = _mean_of(e, tuple(z * t for t in other), inner) if any(bodies[c]) else sp.S.Zero
                value += as_expression(b) * inverse[i, j] * (put_out - beside)
        e.values[c][statement.symbol] = value


def _ratio(e: Expander, statement: Back) -> sp.Expr:
    """How many neurons the matrix puts out for each one that it reads."""
    if not e.infinite:
        return statement.source.size / statement.target.size
    ratio = sp.cancel(statement.source.said / statement.target.said)
    limit = ratio.subs(width, sp.oo) if ratio.free_symbols <= {width} else sp.oo
    if not limit.is_finite:
        raise NotClosed(
            f"at infinite width {statement.weights.name}.T needs a number of neurons for each one, got {ratio}; say out= in n"
        )
    return limit


def _mean_of(e: Expander, series: Series, layer: int) -> sp.Expr:
    return as_expression([e.average(t, layer) for t in series])


def _quadratic(e: Expander, columns: sp.Matrix, statement: Matrix, pair: tuple[Series, ...]) -> Series:
    r""":math:`\\tfrac1k\\sum_{jl} (\\Sigma_I)_{jl}\\,b_j b'_l`; one neuron's value is k times an average, and the diagonal one average."""
    here, k, layer = e.places[statement.source.index], statement.source.size, statement.source.index
    own = sp.Add(*(columns[j, j] * place for j, place in enumerate(here)))
    total = [e.average(own * t, layer) for t in truncated_product(*pair)]
    if columns.is_diagonal():
        return tuple(total)
    single = [[tuple(e.average(place * t, layer) for t in body) for place in here] for body in pair]
    for j, first in enumerate(single[0]):
        for i, second in enumerate(single[1]):
            if i != j and columns[j, i] != 0:
                for c, term in enumerate(truncated_product(first, second)):
                    total[c] += k * columns[j, i] * term
    return tuple(total)


def new_in_transposes(e: Expander, weights: Weights) -> Draw:
    """What transposes of one matrix put out that the matrix did not say."""
    every = [(z, body) for s, bodies in e.backs[weights] for z, body in zip(e.back[s], bodies, strict=True)]
    statement = e.backs[weights][0][0]
    read = {v for _, body in every for t in body for v in t.atoms(sp.Symbol)}
    if read & {z for z, _ in every}:
        raise DerivationError(
            f"the transpose of {weights.name} reads what depends on its own output; use another matrix there"
        )
    scale = taylor(weights.variance * _ratio(e, statement), e.order)

    def entry(first: Series, second: Series, order: int) -> Series:
        product = truncated_product(first, second)[: order + 1]
        return truncated_product(scale, tuple(e.average(t, statement.source.index) for t in product))

    pairs = Covariances(len(every), e.order, lambda i, j, order: entry(every[i][1], every[j][1], order))
    return Draw(tuple(z for z, _ in every), pairs, e.drawn_in(statement.target.index))


def draws(e: Expander, statement: Matrix) -> list[Random]:
    """What a matrix puts out, and what an independent copy of it puts out for the state alone."""
    weights, over = statement.weights, statement.source.index
    variables, applications = e.out[weights], e.read[weights]
    read = {s for bodies in applications for body in bodies for term in body for s in term.atoms(sp.Symbol)}
    if read & set(variables):
        raise DerivationError(
            f"the matrix {weights.name} reads what depends on its own output, which is then not Gaussian given the "
            "state; use another matrix there"
        )
    taps = 1 if e.program.generic else max(1, len(weights.taps))
    share = weights.variance / taps
    reads = statement.source.size * taps

    def met(order: int, *factors: Series) -> Series:
        """The averages of a product; a filter meets each pair many times, and so do matrices that read the same."""
        if isinstance(weights.law, Correlated) and weights.law.columns.rows:
            return _quadratic(e, weights.law.columns, statement, factors)
        known = e.met.setdefault((over, factors), [])
        if len(known) <= order:
            product = reduce(truncated_product, (factor[: order + 1] for factor in factors))
            known += [e.average(t, over) for t in product[len(known) :]]
        return tuple(known[: order + 1])

    def moment(order: int, scale: sp.Expr, *places: tuple[int, int]) -> Series:
        """The average of a product of what is read at places, application and coordinate, over the filter."""
        rows = [
            met(order, *(applications[k][i] for (k, _), i in zip(places, read, strict=True) if i is not None))
            for read in zip(*(_reads(e, weights, c) for _, c in places), strict=True)
            if None not in read
        ]
        total = tuple(
            _filtered(
                e,
                weights,
                sp.Add(*(row[c] for row in rows)),
                (c, *(entry for k, a in places for entry in (k, e.place(a)[0]))),
                *(a for _, a in places),
            )
            for c in range(order + 1)
        )
        return truncated_product(taylor(scale, order), total)

    def entry(first: tuple[int, int], second: tuple[int, int], bias: sp.Expr, order: int) -> Series:
        if e.centred and (first[1] < e.inputs) != (second[1] < e.inputs):
            return (sp.S.Zero,) * (order + 1)  # an average that is linear in tangents
        own, added = moment(order, share, first, second), taylor(bias, order)
        return tuple(map(sp.Add, own, added)) if max(first[1], second[1]) < e.inputs else own

    def pairs(places: list[tuple[int, int]], bias: sp.Expr) -> Covariances:
        return Covariances(len(places), e.order, lambda i, j, order: entry(places[i], places[j], bias, order))

    size, count, layer = len(e.states), len(applications), e.drawn_in(statement.target.index)
    places = [(k, c) for k in range(count) for c in range(size)]
    apart = weights in e.biases
    own = tuple(variables), pairs(places, sp.S.Zero if apart else weights.bias_variance), layer
    if e.is_gaussian(statement) or weights.is_correlated:
        draws: list[Random] = [Draw(*own)]
    elif isinstance(weights.law, Independent):
        law, variance = weights.law, weights.variance

        def cumulant(positions: tuple[int, ...]) -> Series:
            """Cumulants of independent numbers add up."""
            r = sp.Integer(len(positions))
            scale = law.cumulant(int(r)) * variance ** (r / 2) * reads ** (1 - r / 2) / taps
            return moment(e.order, scale, *(places[p] for p in positions))

        draws = [EntriesDraw(*own, cumulant, law.is_symmetric)]
    else:
        draws = [OrthogonalDraw(*own, sp.Max(reads, statement.target.size))]
    if apart:
        draws.append(Draw((e.biases[weights],), {(0, 0): taylor(weights.bias_variance, e.order)}, layer))
    if copies := e.own[weights]:
        per = len(copies) // count
        if per > e.inputs:
            raise DerivationError("the parameters move in one direction; follow one tangent with parameters=True")
        moved = [(k, c) for k in range(count) for c in range(per)]
        draws.append(Draw(tuple(copies), pairs(moved, weights.bias_variance), layer))
    return draws
