r"""A program over m inputs, expanded in the small parameter: the increment of a neuron and what is drawn for it.

Each statement of the program is made once for each input, and, where tangents are followed, its differential once for each
input and direction: a matrix applied to a body has as its differential the same matrix applied to the body's. A function of
earlier averages is expanded with them, so that what is left is polynomial in every average that fluctuates by powers of the small parameter.
"""

from __future__ import annotations

from functools import reduce

import sympy as sp

from derivations.errors import DerivationError, NotClosed
from derivations.gaussian import SoftmaxShare
from derivations.language.entries import Correlated, Independent, triangular_root
from derivations.language.statements import Back, Between, Mask, Matrix, Mean, Mix, Neurons, Program, Shares, Statement
from derivations.language.weights import Weights
from derivations.limits.elimination.averages import FilterAverage, layer_average, reduced
from derivations.limits.elimination.draws import (
    AttentionDraw,
    Coins,
    Draw,
    EntriesDraw,
    Expansion,
    Fluctuations,
    OrthogonalDraw,
    Random,
)
from derivations.limits.elimination.heads import Head, heads
from derivations.limits.elimination.held import held
from derivations.limits.elimination.series import Series, as_expression, taylor, truncated_product
from derivations.symbols import input_symbols, state, step, width


def expand(
    program: Program, inputs: int, order: int, directions: int = 0, parameters: bool = False, infinite: bool = False
) -> Expansion:
    r"""Expand a program over m inputs to an order in the small parameter.

    Parameters
    ----------
    program : Program
    inputs : int
        m.
    order : int
        Of the series.
    directions : int
        How many tangents of the state are followed beside it, for each input: coordinates m, …, 2m − 1 are the first one's.
    parameters : bool
        Whether the layer's own weights and biases move too, each by an independent standard normal number in units of its
        standard deviation. Then the second moment of a tangent, given the network, is the neural tangent kernel.
    infinite : bool
        Whether numbers of neurons that are no numbers are infinite: then every matrix is as a Gaussian one. Tangents are
        independent of the neurons and centred given the network, so that averages, which are their means, do not move with them.

    Raises
    ------
    DerivationError
        If a matrix reads what depends on what it put out itself.
    NoLimit
        If a statement is not smooth in the small parameter.
    """
    return _Expander(program, inputs, order, directions, parameters, infinite).run()


class _Expander:
    def __init__(
        self, program: Program, inputs: int, order: int, directions: int, parameters: bool, infinite: bool
    ) -> None:
        self.program, self.inputs, self.order, self.parameters = program, inputs, order, parameters
        self.infinite = infinite
        self.states = input_symbols(state, inputs * (1 + directions))
        self.values: list[dict[sp.Symbol, sp.Expr]] = [{state: x} for x in self.states]
        self.others = dict(program.others)
        # by direction and two coordinates of an input
        self.pairs: dict[tuple[int, int, int], dict[sp.Symbol, sp.Expr]] = {}
        self.fluctuations: dict[sp.Symbol, Fluctuations] = {}
        self.variables: dict[int, list[sp.Symbol]] = {0: list(self.states)}
        self.sizes = {0: program.neurons.size}
        # of each matrix, application by application: what it reads for each coordinate; and all that comes out
        self.read: dict[Weights, list[list[Series]]] = {}
        self.out: dict[Weights, list[sp.Symbol]] = {}
        self.own: dict[Weights, list[sp.Symbol]] = {}  # what comes out of an independent copy, if parameters move
        self.places: dict[int, tuple[sp.Symbol, ...]] = {}  # of layers whose neurons are not alike
        self.back: dict[Back, list[sp.Symbol]] = {}  # of a transpose, what is new in it for each coordinate
        self.backs: dict[Weights, list[tuple[Back, list[Series]]]] = {}
        self.turned = {s.weights for s in program.statements if isinstance(s, Back)}
        self.biases: dict[Weights, sp.Symbol] = {}  # of matrices that are not Gaussian
        self.expanded: dict[object, Series] = {}
        self.names: dict[tuple[sp.Symbol, int, bool | None], sp.Symbol] = {}
        self.coins: dict[sp.Symbol, Coins] = {}
        self.origin: dict[sp.Symbol, tuple[Matrix | Back | Mask | Mix | Weights, int | None]] = {}
        found = () if directions else heads(program)
        self.heads = {head.mix: head for head in found if all(map(self._is_gaussian, head.matrices))}
        self.inside = {s.symbol for head in self.heads.values() for s in (*head.matrices, head.scores, head.shares)}
        self.mixed: dict[sp.Symbol, list[Random]] = {}

    def run(self) -> Expansion:
        for statement in self.program.statements:  # all variables of a layer are known before it is averaged over
            self._declare(statement)
        for statement in self.program.statements:
            if statement.symbol in self.inside and not isinstance(statement, Matrix):
                continue
            if isinstance(statement, Mix) and statement in self.heads:
                self._head(self.heads[statement])
            elif isinstance(statement, Mean):
                self._mean(statement)
            elif isinstance(statement, Matrix):
                self._matrix(statement)
            elif isinstance(statement, Back):
                self._back(statement)
            elif isinstance(statement, Mix):
                self._mix(statement)
            elif isinstance(statement, Shares):
                self._shares(statement)
            elif isinstance(statement, Between):
                self._between(statement)
        increment = []
        for c, x in enumerate(self.states):
            first, *rest = self._series(self.program.update, c)
            increment.append((sp.expand(first - x), *rest))
        variables = {layer: tuple(found) for layer, found in self.variables.items()}
        return Expansion(
            tuple(increment), self.states, tuple(self._random()), variables, self.sizes, self.places, self.origin
        )

    def _place(self, c: int) -> tuple[int, int]:
        """The direction of a coordinate, 0 for the state itself, and its input."""
        return divmod(c, self.inputs)

    def _beside(self, a: int) -> range:
        """The coordinates of the same input."""
        first = a - a % self.program.positions
        return range(first, first + self.program.positions)

    def _pair(self, direction: int, a: int, b: int) -> dict[sp.Symbol, sp.Expr]:
        return self.pairs.setdefault((direction, a, b), {})

    def _declare(self, statement: Statement) -> None:
        if isinstance(statement, Back):
            fresh = self._fresh(statement.symbol.name, range(len(self.states)), real=True)
            self.back[statement] = fresh
            self._belongs(statement.target, fresh)
            self.origin |= {v: (statement, c) for c, v in enumerate(fresh)}
        if not isinstance(statement, Matrix | Mask):
            return
        name, every = statement.symbol.name, range(len(self.states))
        if isinstance(statement, Matrix):
            weights = statement.weights
            fresh = self._fresh(name, every, real=True)
            # a bias is Gaussian whatever the matrix is
            apart = not (self._is_gaussian(statement) and weights not in self.turned) and weights.bias_variance != 0
            if apart and weights not in self.biases:
                self.biases[weights] = sp.Dummy(f"b_{name}", real=True)
                self._belongs(statement.target, [self.biases[weights]])
                self.origin[self.biases[weights]] = (weights, None)
            self.out.setdefault(weights, []).extend(fresh)
            self.origin |= {v: (statement, c) for c, v in enumerate(fresh)}
            copies = self._fresh(f"{name}'", every[self.inputs :] if self.parameters else range(0), real=True)
            self.own.setdefault(weights, []).extend(copies)
            self._belongs(statement.target, [*fresh, *copies])
            for c in every:
                moved = copies[c - self.inputs] if copies and c >= self.inputs else sp.S.Zero
                bias = self.biases[weights] if apart and c < self.inputs else sp.S.Zero
                self.values[c][statement.symbol] = moved + bias + (0 if weights.is_mean else fresh[c])
            if weights.is_correlated:
                self._places_of(statement)
            return
        # one for each coordinate, for each input if a whole branch is dropped, or for all
        count = 1 if statement.shared else self.inputs // statement.each
        fresh = self._fresh(name, range(count), nonnegative=True)
        self.coins[statement.symbol] = Coins(
            tuple(fresh), statement.keep, None if statement.over is None else statement.over.index
        )
        if statement.over is not None:
            self._belongs(statement.over, fresh)
        self.origin |= {v: (statement, None if statement.shared else c) for c, v in enumerate(fresh)}
        for c in every:  # a factor has no differential
            self.values[c][statement.symbol] = (
                fresh[min(c // statement.each, count - 1)] if c < self.inputs else sp.S.Zero
            )

    def _fresh(self, name: str, coordinates: range, **assumptions: bool) -> list[sp.Symbol]:
        """A number of a generic neuron for each coordinate, called as its statement is."""
        several = len(self.states) > 1
        return [sp.Dummy(f"{name}^{c + 1}" if several else name, **assumptions) for c in coordinates]

    def _is_gaussian(self, statement: Matrix) -> bool:
        """Whether finitely many neurons of what comes out are jointly Gaussian, given what is read.

        A sum of infinitely many independent numbers is so, and so are finitely many coordinates of an infinite orthogonal matrix.
        """
        sizes = (
            [statement.source.size, statement.target.size]
            if statement.weights.is_orthogonal
            else [statement.source.size]
        )
        return statement.weights.is_gaussian or (self.infinite and not all(size.is_Integer for size in sizes))

    def _places_of(self, statement: Matrix) -> None:
        """Tell the neurons apart on the sides of a matrix where they are not alike."""
        law = statement.weights.law
        assert isinstance(law, Correlated)
        if self.parameters:
            raise NotClosed(
                f"tangent kernels are derived for weights that are independent, got covariances of {statement.weights.name}"
            )
        for neurons, matrix in ((statement.target, law.rows), (statement.source, law.columns)):
            if matrix.rows and neurons.index not in self.places:
                self.places[neurons.index] = tuple(sp.Dummy(f"e{i + 1}", real=True) for i in range(matrix.rows))
                self._belongs(neurons, list(self.places[neurons.index]))

    def _spread(self, statement: Matrix) -> None:
        r"""What comes out of a matrix whose rows have the covariance :math:`L D L^\\top`: :math:`L D^{1/2} u` of independent neurons u."""
        law, target = statement.weights.law, statement.target
        if not isinstance(law, Correlated) or not law.rows.rows:
            return
        here, (lower, pivots) = self.places[target.index], triangular_root(law.rows)
        for c in range(len(self.states)):
            value = self.values[c][statement.symbol]
            drawn = [v for v in self.out[statement.weights] if value.has(v)]
            for u in drawn:
                rows = [
                    here[p] * lower[p, q] * sp.sqrt(pivots[q]) * target.size * self._average(here[q] * u, target.index)
                    for p in range(len(here))
                    for q in range(p + 1)
                    if lower[p, q] != 0 and pivots[q] != 0
                ]
                self.values[c][statement.symbol] = value.xreplace({u: sp.Add(*rows)})

    def _belongs(self, neurons: Neurons, fresh: list[sp.Symbol]) -> None:
        self.variables.setdefault(neurons.index, []).extend(fresh)
        self.sizes[neurons.index] = neurons.size

    def _known(self, body: sp.Expr, direction: int, a: int, b: int) -> dict[sp.Symbol, sp.Expr]:
        """What the symbols of a body stand for at a coordinate and another one of its input."""
        here, there = self.values[direction * self.inputs + a], self.values[direction * self.inputs + b]
        known = {**here, **self.pairs.get((direction, a, b), {})}
        known |= {twin: there[own] for twin, own in self.others.items() if own in there}
        return {s: known[s] for s in body.free_symbols if s in known}

    def _series(self, body: sp.Expr, c: int, other: int | None = None) -> Series:
        """Taylor coefficients of a body, or of its differential, at one coordinate, and another one of the same input."""
        direction, a = self._place(c)
        b = a if other is None else other
        values = self._known(body, 0, a, b)
        if direction:
            moved = {s: value for s, value in self._known(body, direction, a, b).items() if value != 0}
            moves = {s: sp.Dummy(f"d{s.name}", real=True) for s in moved}
            body = sp.Add(*(sp.diff(body, s) * moves[s] for s in sorted(moves, key=sp.default_sort_key)))
            values |= {moves[s]: value for s, value in moved.items()}
        return self._expanded(body, values)

    def _expanded(self, body: sp.Expr, values: dict[sp.Symbol, sp.Expr]) -> Series:
        """A body with a name for each coefficient of what it holds, the same for all inputs, so that it is expanded once."""
        moving: dict[sp.Symbol, sp.Expr] = {}
        rule: dict[sp.Symbol, sp.Expr] = {}
        for symbol, value in values.items():
            series = taylor(value, self.order)
            if not any(series[1:]):
                rule[symbol] = value
                continue
            names = {k: self._name(symbol, k, c) for k, c in enumerate(series) if c != 0}
            moving[symbol] = sp.Add(*(step**k * name for k, name in names.items()))
            rule |= {name: series[k] for k, name in names.items()}
        key = body, frozenset(moving.items())
        if key not in self.expanded:
            self.expanded[key] = taylor(body.xreplace(moving), self.order)
        drawn = [v for found in self.variables.values() for v in found]
        return tuple(held(c.xreplace(rule), drawn) for c in self.expanded[key])

    def _name(self, symbol: sp.Symbol, k: int, value: sp.Expr) -> sp.Symbol:
        key = symbol, k, value.is_positive
        if key not in self.names:
            sign = {"positive": True} if value.is_positive else {"real": True}
            self.names[key] = sp.Dummy(f"{symbol.name}_{k}", **sign)
        return self.names[key]

    def _average(self, body: sp.Expr, layer: int) -> sp.Expr:
        return reduced(layer_average(body, self.variables[layer], layer))

    def _mean(self, statement: Mean) -> None:
        places: list[tuple[int, int | None]] = [(c, None) for c in range(len(self.states))]
        if statement.pair:
            places = [(c, b) for c, _ in places for b in self._beside(self._place(c)[1])]
        bodies = [self._series(statement.body, c, b) for c, b in places]
        size, layer = statement.over.size, statement.over.index
        if statement.power == 1:
            found = [as_expression([self._average(t, layer) for t in terms]) for terms in bodies]
        elif self.infinite and not size.is_Integer:
            found = self._fluctuating(statement, bodies)
        else:
            root = size ** (1 - statement.power)
            found = [as_expression([root * self._average(t, layer) for t in terms]) for terms in bodies]
        for (c, b), value in zip(places, found, strict=True):
            direction, a = self._place(c)
            if direction and self.infinite and statement.power == 1:
                value = sp.S.Zero  # tangents are centred
            where = self.values[c] if b is None else self._pair(direction, a, b)
            where[statement.symbol] = value

    def _fluctuating(self, statement: Mean, bodies: list[Series]) -> list[sp.Expr]:
        """Sums over infinitely many neurons over the root of their number: a Gaussian number for each."""
        layer, name = statement.over.index, statement.symbol.name
        terms = [term for body in bodies for term in body if term != 0]
        drawn = tuple(sp.Dummy(f"{name}{i + 1}", real=True) for i in range(len(terms)))
        means = tuple(self._average(term, layer) for term in terms)
        covariance = {
            (i, j): taylor(self._average(terms[i] * terms[j], layer) - means[i] * means[j], self.order)
            for i in range(len(terms))
            for j in range(i + 1)
        }
        self.fluctuations[statement.symbol] = Fluctuations(drawn, covariance, None, means)
        fresh = iter(drawn)
        return [as_expression([next(fresh) if term != 0 else term for term in body]) for body in bodies]

    def _mix(self, statement: Mix) -> None:
        for c in range(len(self.states)):
            rows = (self._series(statement.body, c, b) for b in self._beside(self._place(c)[1]))
            self.values[c][statement.symbol] = sp.Add(*map(as_expression, rows))

    def _head(self, head: Head) -> None:
        """What a head of attention puts out, Gaussian given forms of its shares."""
        size, layer, name = len(self.states), head.values.target.index, head.mix.symbol.name
        pairs = [(i, j) for i in range(size) for j in range(i + 1)]
        forms = {
            (i, j): sp.Dummy(f"Phi_{i + 1}{j + 1}", **({"positive": True} if i == j else {"real": True}))
            for i, j in pairs
        }
        fresh = self._fresh(name, range(size), real=True)
        self.variables[layer].extend(fresh)
        count = head.scores.over.size
        neurons = sp.oo if self.infinite and not count.is_Integer else count
        covariances = [self._covariances(matrix) for matrix in head.matrices]
        means = [self._means(matrix) for matrix in head.matrices]
        drawn = {v for found in self.variables.values() for v in found} - {*self.states}
        entries = [t for table in covariances for entry in table.values() for t in entry]
        settled = not any(t.atoms(sp.Symbol) & drawn for t in (*entries, *(t for row in means for m in row for t in m)))
        given = {pair: (symbol, *[sp.S.Zero] * self.order) for pair, symbol in forms.items()}
        moved = any(any(series) for series in means[0])
        shifts = [sp.Dummy(f"psi_{c + 1}", real=True) for c in range(size if moved else 0)]
        scores = head.factor, head.scores.power, head.mask, neurons
        self.mixed[head.mix.symbol] = [
            AttentionDraw(forms, tuple(shifts), *covariances, *means, *scores, settled),
            Draw(tuple(fresh), given, layer),
        ]
        for c, m in enumerate(fresh):
            self.values[c][head.mix.symbol] = m + (shifts[c] if moved else 0)
            self.origin[m] = (head.mix, c)

    def _covariances(self, statement: Matrix) -> dict[tuple[int, int], Series]:
        """Of what a Gaussian matrix puts out."""
        (draw,) = self._draws(statement)
        assert isinstance(draw, Draw)
        return draw.covariance

    def _means(self, statement: Matrix) -> list[Series]:
        """Of what a matrix puts out, for each coordinate."""
        nothing = dict.fromkeys(self.out[statement.weights], sp.S.Zero)
        return [taylor(row[statement.symbol].xreplace(nothing), self.order) for row in self.values]

    def _shares(self, statement: Shares) -> None:
        for c in range(len(self.states)):
            direction, a = self._place(c)
            row = self._beside(a)
            scores, masks = ([sp.Dummy(f"{stem}{b}", real=True) for b in row] for stem in ("y", "m"))
            values = {y: as_expression(self._series(statement.body, a, b)) for y, b in zip(scores, row, strict=True)}
            values |= {m: as_expression(self._series(statement.mask, a, b)) for m, b in zip(masks, row, strict=True)}
            moved = {}
            if direction:
                moved = {y: as_expression(self._series(statement.body, c, b)) for y, b in zip(scores, row, strict=True)}
            for k, b in enumerate(row):
                body = SoftmaxShare(k, *masks, *scores)
                if direction:
                    moves = {y: sp.Dummy(f"d{y.name}", real=True) for y in moved}
                    body = sp.Add(*(sp.diff(body, y) * dy for y, dy in moves.items()))
                    values |= {dy: moved[y] for y, dy in moves.items()}
                self._pair(direction, a, b)[statement.symbol] = as_expression(self._expanded(body, values))

    def _between(self, statement: Between) -> None:
        for a in range(self.inputs):
            for b in self._beside(a):
                places = a % self.program.positions, b % self.program.positions
                self._pair(0, a, b)[statement.symbol] = statement.matrix.entry(*places)

    def _reads(self, weights: Weights, c: int) -> list[int | None]:
        """The coordinates that a coordinate reads, weight by weight of a filter; a tangent reads tangents."""
        direction, a = self._place(c)
        if self.program.generic:
            return [c]
        return [None if i is None else direction * self.inputs + i for i in weights.reads(a)]

    def _filtered(self, weights: Weights, value: sp.Expr, tag: tuple[int, ...], *coordinates: int) -> sp.Expr:
        """What a filter reads: at a generic position a node, else as it is."""
        if not (self.program.generic and weights.taps) or value == 0:
            return value
        places = (sp.Integer(self._place(c)[1]) for c in coordinates)
        which = sp.Integer(self.program.filters.index(weights))
        return FilterAverage(value, which, sp.Tuple(*map(sp.Integer, tag)), sp.Tuple(*places))

    def _matrix(self, statement: Matrix) -> None:
        """Note what the matrix reads, and add the shift that the means of weights and biases make."""
        weights, over = statement.weights, statement.source.index
        bodies = [self._series(statement.body, c) for c in range(len(self.states))]
        self.read.setdefault(weights, []).append(bodies)
        for c in range(len(self.states)):
            shift = [sp.S.Zero if c >= self.inputs else weights.bias_mean, *[sp.S.Zero] * self.order]
            if weights.mean != 0 and not (c >= self.inputs and self.infinite):
                reads = self._reads(weights, c)
                share = weights.mean / len(reads)
                for k in range(self.order + 1):
                    read = sp.Add(*(self._average(bodies[i][k], over) for i in reads if i is not None))
                    application = len(self.read[weights]) - 1
                    shift[k] += share * self._filtered(weights, read, (application, self._place(c)[0], k), c)
            self.values[c][statement.symbol] += as_expression(shift)
        self._spread(statement)

    def _back(self, statement: Back) -> None:
        r"""The transpose, given what the matrix put out.

        Given :math:`u = A b` for columns b, a Gaussian A is :math:`u\,(b^\top b)^{-1} b^\top` plus an independent copy beside the columns. So
        :math:`A^\top g = b\,(b^\top b)^{-1} u^\top g + P z`, with :math:`z = \tilde A^\top g` and P the projection beside the columns.
        """
        weights, size = statement.weights, len(self.states)
        if not weights.is_gaussian:
            raise NotClosed(
                f"the transpose of a matrix has a rule for independent Gaussian entries only, got the law {weights.law} for {weights.name}"
            )
        if self.parameters:
            raise NotClosed(f"tangent kernels are derived without transposes, got {weights.name}.T")
        bodies = [self._series(statement.body, c) for c in range(size)]
        self.backs.setdefault(weights, []).append((statement, bodies))
        outer, inner = statement.source.index, statement.target.index
        ratio = self._ratio(statement)
        columns: dict[Series, sp.Symbol] = {}
        for k, application in enumerate(self.read.get(weights, [])):
            for c, column in enumerate(application):
                if any(column):
                    columns.setdefault(column, self.out[weights][k * size + c])
        gram = sp.Matrix(
            len(columns),
            len(columns),
            lambda i, j: self._mean_of(truncated_product([*columns][i], [*columns][j]), inner),
        )
        size_read = statement.target.size
        if columns and ((size_read.is_Integer and len(columns) > size_read) or sp.cancel(gram.det()) == 0):
            raise NotClosed(
                f"the columns that {weights.name} reads depend on each other; its transpose is known for independent ones only"
            )
        inverse = gram.inv(method="ADJ") if columns else gram
        for c, z in enumerate(self.back[statement]):
            value: sp.Expr = z if any(bodies[c]) else sp.S.Zero
            if weights.mean != 0:
                value += weights.mean * ratio * self._mean_of(bodies[c], outer)
            for i, b in enumerate(columns):
                for j, (other, u) in enumerate(columns.items()):
                    put_out = ratio * self._mean_of(tuple(u * t for t in bodies[c]), outer)
                    beside = self._mean_of(tuple(z * t for t in other), inner) if any(bodies[c]) else sp.S.Zero
                    value += as_expression(b) * inverse[i, j] * (put_out - beside)
            self.values[c][statement.symbol] = value

    def _ratio(self, statement: Back) -> sp.Expr:
        """How many neurons the matrix puts out for each one that it reads."""
        if not self.infinite:
            return statement.source.size / statement.target.size
        ratio = sp.cancel(statement.source.said / statement.target.said)
        limit = ratio.subs(width, sp.oo) if ratio.free_symbols <= {width} else sp.oo
        if not limit.is_finite:
            raise NotClosed(
                f"at infinite width {statement.weights.name}.T needs a number of neurons for each one, got {ratio}; say out= in n"
            )
        return limit

    def _mean_of(self, series: Series, layer: int) -> sp.Expr:
        return as_expression([self._average(t, layer) for t in series])

    def _quadratic(self, columns: sp.Matrix, statement: Matrix, pair: tuple[Series, ...]) -> Series:
        r""":math:`\\tfrac1k\\sum_{jl} (\\Sigma_I)_{jl}\\,b_j b'_l`; one neuron's value is k times an average."""
        here, k, layer = self.places[statement.source.index], statement.source.size, statement.source.index
        single = [[tuple(self._average(e * t, layer) for t in body) for e in here] for body in pair]
        total = [sp.S.Zero] * (self.order + 1)
        for j, first in enumerate(single[0]):
            for i, second in enumerate(single[1]):
                if columns[j, i] != 0:
                    for c, term in enumerate(truncated_product(first, second)):
                        total[c] += k * columns[j, i] * term
        return tuple(total)

    def _random(self) -> list[Random]:
        """A matrix is drawn where the last of its bodies is known."""
        last = {s.weights: s for s in self.program.statements if isinstance(s, Matrix)}
        found: list[Random] = []
        for statement in self.program.statements:
            if statement.symbol in self.inside:
                continue
            if statement.symbol in self.mixed:
                found += self.mixed[statement.symbol]
            elif isinstance(statement, Mask):
                found.append(self.coins[statement.symbol])
            elif isinstance(statement, Back):
                if self.backs[statement.weights][-1][0] == statement:
                    found.append(self._new_in(statement.weights))
            elif statement.symbol in self.fluctuations:
                found.append(self.fluctuations[statement.symbol])
            elif (
                isinstance(statement, Matrix) and last[statement.weights] is statement and not statement.weights.is_mean
            ):
                found += self._draws(statement)
        return found

    def _new_in(self, weights: Weights) -> Draw:
        """What transposes of one matrix put out that the matrix did not say."""
        every = [(z, body) for s, bodies in self.backs[weights] for z, body in zip(self.back[s], bodies, strict=True)]
        statement = self.backs[weights][0][0]
        read = {v for _, body in every for t in body for v in t.atoms(sp.Symbol)}
        if read & {z for z, _ in every}:
            raise DerivationError(
                f"the transpose of {weights.name} reads what depends on its own output; use another matrix there"
            )
        scale = taylor(weights.variance * self._ratio(statement), self.order)

        def entry(first: Series, second: Series) -> Series:
            product = truncated_product(first, second)
            return truncated_product(scale, tuple(self._average(t, statement.source.index) for t in product))

        pairs = {(i, j): entry(every[i][1], every[j][1]) for i in range(len(every)) for j in range(i + 1)}
        return Draw(tuple(z for z, _ in every), pairs, statement.target.index)

    def _draws(self, statement: Matrix) -> list[Random]:
        """What a matrix puts out, and what an independent copy of it puts out for the state alone."""
        weights, over = statement.weights, statement.source.index
        variables, applications = self.out[weights], self.read[weights]
        read = {s for bodies in applications for body in bodies for term in body for s in term.atoms(sp.Symbol)}
        if read & set(variables):
            raise DerivationError(
                f"the matrix {weights.name} reads what depends on its own output, which is then not Gaussian given the "
                "state; use another matrix there"
            )
        taps = 1 if self.program.generic else max(1, len(weights.taps))
        share = weights.variance / taps
        reads = statement.source.size * taps
        averages: dict[tuple[Series, ...], Series] = {}

        def met(*factors: Series) -> Series:
            """The averages of a product; a filter meets each pair many times."""
            if factors not in averages:
                if isinstance(weights.law, Correlated) and weights.law.columns.rows:
                    averages[factors] = self._quadratic(weights.law.columns, statement, factors)
                else:
                    averages[factors] = tuple(self._average(t, over) for t in reduce(truncated_product, factors))
            return averages[factors]

        def moment(scale: sp.Expr, *places: tuple[int, int]) -> Series:
            """The average of a product of what is read at places, application and coordinate, over the filter."""
            rows = [
                met(*(applications[k][i] for (k, _), i in zip(places, read, strict=True) if i is not None))
                for read in zip(*(self._reads(weights, c) for _, c in places), strict=True)
                if None not in read
            ]
            total = tuple(
                self._filtered(
                    weights,
                    sp.Add(*(row[c] for row in rows)),
                    (c, *(entry for k, a in places for entry in (k, self._place(a)[0]))),
                    *(a for _, a in places),
                )
                for c in range(self.order + 1)
            )
            return truncated_product(taylor(scale, self.order), total)

        def entry(first: tuple[int, int], second: tuple[int, int], bias: sp.Expr) -> Series:
            if self.infinite and (first[1] < self.inputs) != (second[1] < self.inputs):
                return (sp.S.Zero,) * (self.order + 1)  # an average that is linear in tangents
            own, added = moment(share, first, second), taylor(bias, self.order)
            return tuple(map(sp.Add, own, added)) if max(first[1], second[1]) < self.inputs else own

        def pairs(places: list[tuple[int, int]], bias: sp.Expr) -> dict[tuple[int, int], Series]:
            return {(i, j): entry(places[i], places[j], bias) for i in range(len(places)) for j in range(i + 1)}

        size, count, layer = len(self.states), len(applications), statement.target.index
        places = [(k, c) for k in range(count) for c in range(size)]
        apart = weights in self.biases
        own = tuple(variables), pairs(places, sp.S.Zero if apart else weights.bias_variance), layer
        if self._is_gaussian(statement) or weights.is_correlated:
            draws: list[Random] = [Draw(*own)]
        elif isinstance(weights.law, Independent):
            law, variance = weights.law, weights.variance

            def cumulant(positions: tuple[int, ...]) -> Series:
                """Cumulants of independent numbers add up."""
                r = sp.Integer(len(positions))
                scale = law.cumulant(int(r)) * variance ** (r / 2) * reads ** (1 - r / 2) / taps
                return moment(scale, *(places[p] for p in positions))

            draws = [EntriesDraw(*own, cumulant)]
        else:
            draws = [OrthogonalDraw(*own, sp.Max(reads, statement.target.size))]
        if apart:
            draws.append(Draw((self.biases[weights],), {(0, 0): taylor(weights.bias_variance, self.order)}, layer))
        if copies := self.own[weights]:
            per = len(copies) // count
            if per > self.inputs:
                raise DerivationError("the parameters move in one direction; follow one tangent with parameters=True")
            places = [(k, c) for k in range(count) for c in range(per)]
            draws.append(Draw(tuple(copies), pairs(places, weights.bias_variance), layer))
        return draws
