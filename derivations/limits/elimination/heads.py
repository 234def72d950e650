r"""Heads of softmax attention as one statement: given its shares, what a head puts out is Gaussian.

Where queries, keys and values come from three matrices that heads alone read, the output of neuron i at position
:math:`\alpha` is :math:`\sum_\beta a_{\alpha\beta} v_i^\beta`. Given the shares a its neurons are i.i.d. with covariance
:math:`\Phi_{\alpha\gamma} = a_\alpha^\top S^v a_\gamma` and mean :math:`\psi_\alpha = a_\alpha^\top m^v`; the means of :math:`\Phi`,
:math:`\psi` and :math:`\psi_\alpha\psi_\gamma` over the scores are :class:`~derivations.gaussian.SoftmaxMean`, for every number of keys. So nothing
is written out over pairs of positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import sympy as sp

from derivations.affine import is_affine
from derivations.binding import bound_symbols
from derivations.errors import NotClosed
from derivations.gaussian import softmax_mean
from derivations.gaussian.turns import turned
from derivations.language.statements import Between, Matrix, Mean, Mix, Program, Shares, Statement, read_symbols
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.draws import AttentionDraw, upto
from derivations.limits.elimination.expectation import Law
from derivations.limits.elimination.held import HeldMean
from derivations.limits.elimination.series import Series, as_expression, taylor
from derivations.symbols import step


@dataclass(frozen=True)
class Head:
    """The statements of one head.

    Parameters
    ----------
    queries, keys, values : Matrix
    scores : Mean
        Of each pair of positions.
    shares : Shares
    mix : Mix
        The sum over the other position.
    factor : Expr
        What the scores are multiplied by.
    mask : Matrix, shape (p, p)
    sides : tuple of two Expr
        What the scores are sums of products of: the query and the key, each linear in what its matrix puts out, as behind norms.
    norms : tuple of two tuples of Mean
        The averages over the neurons of queries, and of keys, that these hold.
    """

    queries: Matrix
    keys: Matrix
    values: Matrix
    scores: Mean
    shares: Shares
    mix: Mix
    factor: sp.Expr
    mask: sp.ImmutableMatrix
    sides: tuple[sp.Expr, sp.Expr]
    norms: tuple[tuple[Mean, ...], tuple[Mean, ...]]

    @property
    def is_plain(self) -> bool:
        """Whether queries and keys are what their matrices put out."""
        return self.sides == (self.queries.symbol, self.keys.symbol)

    @property
    def inside(self) -> tuple[Statement, ...]:
        """The statements that no other one reads."""
        return (*self.matrices, *self.norms[0], *self.norms[1], self.scores, self.shares)

    def slope(self, side: int, variance: sp.Expr) -> sp.Expr:
        """By what queries (0) or keys (1) of a variance are multiplied, where infinitely many centred neurons make averages numbers."""
        symbol, known = (self.queries, self.keys)[side].symbol, dict[sp.Expr, sp.Expr]()
        for mean in self.norms[side]:
            body = sp.Poly(mean.body.xreplace(known), symbol)
            known[mean.symbol] = body.coeff_monomial(1) + body.coeff_monomial(symbol**2) * variance
        return sp.diff(self.sides[side].xreplace(known), symbol)

    @property
    def matrices(self) -> tuple[Matrix, Matrix, Matrix]:
        """Of values, queries and keys."""
        return self.values, self.queries, self.keys


def heads(program: Program) -> tuple[Head, ...]:
    """The heads of softmax attention in a program."""
    return tuple(_heads(program)) if any(isinstance(s, Shares) for s in program.statements) else ()


def _heads(program: Program) -> Iterator[Head]:
    made = {s.symbol: s for s in program.statements}
    others = dict(program.others)
    readers: dict[sp.Symbol, list[Statement | None]] = {}
    for statement in (*program.statements, None):
        symbols = program.update.free_symbols if statement is None else read_symbols(statement)
        for own in {others.get(s, s) for s in symbols}:
            readers.setdefault(own, []).append(statement)
    applied = [
        s.weights
        for s in program.statements
        if not isinstance(s, Mean | Mix | Shares | Between) and hasattr(s, "weights")
    ]

    def plain(found: Matrix) -> bool:
        """A matrix that is applied once."""
        return (
            applied.count(found.weights) == 1
            and not found.weights.is_mean
            and not found.weights.taps
            and not found.weights.is_correlated
        )

    found = []
    for mix in (s for s in program.statements if isinstance(s, Mix) and s.body.is_Mul and len(s.body.args) == 2):
        shares = next((made[s] for s in mix.body.args if isinstance(made.get(s), Shares)), None)
        value = next((made.get(others[s]) for s in mix.body.args if s in others), None)
        if not isinstance(shares, Shares) or not isinstance(value, Matrix) or not plain(value):
            continue
        factor, symbol = shares.body.as_independent(*made, *others, as_Add=False)
        scores = made.get(symbol)
        if not isinstance(scores, Mean) or not scores.pair:
            continue
        number, body = scores.body.as_independent(*made, *others, as_Add=False)
        factor *= number
        if factor.has(step):
            continue
        sides = replace(scores, body=body).sides(others)
        ends = [_end(side, made, program) for side in sides]
        if None in ends:
            continue
        (query, asked), (key, held) = (end for end in ends if end is not None)
        if query is key or not plain(query) or not plain(key):
            continue
        if not all(
            side == m.symbol or m.weights.mean == m.weights.bias_mean == 0
            for side, m in zip(sides, (query, key), strict=True)
        ):
            continue
        within = {*asked, scores}
        if readers.get(shares.symbol) != [mix] or readers.get(scores.symbol) != [shares]:
            continue
        if any(not within.issuperset(readers.get(s, ())) for s in (query.symbol, *(m.symbol for m in asked))):
            continue
        mask = _numbers(shares.mask, made, program.positions)
        if mask is not None:
            found.append(Head(query, key, value, scores, shares, mix, factor, mask, sides, (asked, held)))
    while found and (others_read := [head for head in found if not _stands_apart(head, found, readers, plain)]):
        found = [head for head in found if head not in others_read]
    yield from found


def _end(
    side: sp.Expr, made: Mapping[sp.Symbol, Statement], program: Program
) -> tuple[Matrix, tuple[Mean, ...]] | None:
    """The matrix in whose output queries or keys are linear, and averages of polynomials of degree 2 of it that they hold."""
    matrices, means, open_ = set[Matrix](), set[Mean](), {*side.free_symbols}
    while open_:
        statement = made.get(open_.pop())
        if isinstance(statement, Matrix):
            matrices.add(statement)
        elif isinstance(statement, Mean) and not statement.pair and statement.power == 1:
            means.add(statement)
            open_ |= statement.body.free_symbols - {m.symbol for m in means}
        else:
            return None
    if len(matrices) != 1:
        return None
    (matrix,) = matrices
    u = matrix.symbol
    if not is_affine(side, {u}) or not all(m.body.is_polynomial(u) and sp.degree(m.body, u) <= 2 for m in means):
        return None
    return matrix, tuple(s for s in program.statements if isinstance(s, Mean) and s in means)


def _stands_apart(
    head: Head,
    found: list[Head],
    readers: Mapping[sp.Symbol, list[Statement | None]],
    plain: Callable[[Matrix], bool],
) -> bool:
    """Whether keys and values are read by heads alone, which then have independent centred matrices behind them where they share any.

    So the outputs of heads that share are uncorrelated.
    """
    own = head.norms[1]
    keys = {s for symbol in (head.keys.symbol, *(m.symbol for m in own)) for s in readers[symbol]}.difference(own)
    values = readers[head.values.symbol]
    sharing = [other for other in found if other.scores in keys or other.mix in values]
    if len(keys) != sum(h.scores in keys for h in found) or len(values) != sum(h.mix in values for h in found):
        return False
    if len(sharing) == 1:
        return True
    behind = [readers.get(other.mix.symbol, []) for other in sharing]
    matrices = [m[0] for m in behind if len(m) == 1]
    return (
        len(matrices) == len(sharing)
        and all(isinstance(m, Matrix) and plain(m) and m.weights.mean == 0 for m in matrices)
        and all(
            m.body.as_independent(h.mix.symbol, as_Add=False)[1] == h.mix.symbol
            for m, h in zip(matrices, sharing, strict=True)
            if isinstance(m, Matrix)
        )
    )


def _numbers(mask: sp.Expr, made: dict[sp.Symbol, Statement], p: int) -> sp.ImmutableMatrix | None:
    """A mask that is made of given numbers."""
    tables = [made.get(s) for s in sorted(mask.free_symbols, key=sp.default_sort_key)]
    if not all(isinstance(table, Between) for table in tables):
        return None

    def entry(a: int, b: int) -> sp.Expr:
        return mask.xreplace({t.symbol: t.matrix.entry(a, b) for t in tables if isinstance(t, Between)})

    return sp.ImmutableMatrix(p, p, entry)


class AttentionLaw(Law):
    """Of forms of a head's shares, whose means are known one at a time."""

    layer = None

    def __init__(self, draw: AttentionDraw) -> None:
        self.draw, self.variables = draw, draw.variables
        shifts = list(enumerate(draw.shifts))
        # what each monomial is the mean of: a form, one shift, or the product of two
        self.places: dict[sp.Expr, tuple[int, ...]] = {symbol: pair for pair, symbol in draw.forms.items()}
        self.places |= {symbol: (c,) for c, symbol in shifts}
        self.products = {s * t: (a, c, -1) for a, s in shifts for c, t in shifts[: a + 1]}
        self.means = {monomial: sp.Dummy("E", real=True) for monomial in (*self.places, *self.products)}
        self.functions: dict[sp.Expr, tuple[int, ...]] = {}
        self.shapes: list[sp.Lambda] = []

    def mean(self, body: sp.Expr) -> sp.Expr:
        """Of a function that is linear in forms and at most quadratic in shifts, or an algebraic one of the three forms of two rows.

        Raises
        ------
        NotClosed
            For any other.
        """
        used = [v for v in self.variables if body.has(v)]
        slopes = {v: sp.diff(body, v) for v in used}
        curved = [v for v, slope in slopes.items() if slope.has(*used)]
        if not curved:
            return body.xreplace({v: self.means[v] for v in used})
        bent = {
            v * w: sp.diff(slopes[v], w) / (2 if v == w else 1) for i, v in enumerate(curved) for w in curved[: i + 1]
        }
        origin = dict.fromkeys(used, sp.S.Zero)
        if any(c != 0 and (c.has(*used) or monomial not in self.products) for monomial, c in bent.items()):
            return sp.Add(*(self._of_forms(term) for term in sp.Add.make_args(sp.expand(body))))
        coefficients = {**{v: slope.xreplace(origin) for v, slope in slopes.items()}, **bent}
        return body.xreplace(origin) + sp.Add(*(c * self.means[m] for m, c in coefficients.items() if c != 0))

    def require_alone(self, body: sp.Expr) -> None:
        """Refuse a product with what another head puts out whose shares depend on these.

        Raises
        ------
        NotClosed
            For one.
        """
        slopes = [sp.diff(body, v) for v in self.variables if self.draw.beside and body.has(v)]
        if any(slope.atoms(sp.Symbol) & self.draw.beside for slope in slopes):
            raise NotClosed(
                f"heads of attention share keys or values, and over {self.draw.neurons} keys their shares depend on each other, while a product of what "
                "two of them put out enters the limit; give each head keys and values of its own, or take the number of keys to infinity"
            )

    def _of_forms(self, term: sp.Expr) -> sp.Expr:
        """A number times a function of the three forms of two rows."""
        constant, function = term.as_independent(*self.variables, as_Add=False)
        if function == 1 or function in self.means:
            return constant * self.means.get(function, sp.S.One)
        pairs = {symbol: pair for pair, symbol in self.draw.forms.items() if function.has(symbol)}
        rows = sorted({a for pair in pairs.values() for a in pair}, reverse=True)
        one, two = (*rows, *rows)[:2] if rows else (0, 0)
        if function.has(LayerAverage):
            raise NotClosed(
                "a norm behind a head of attention has more under its root than the covariance of that head, such as the state's or another head's, and "
                "the mean of that over the scores has no rule; give a head a norm of its own, put the norm before the attention, or write epsilon in "
                "front of what is added to the state"
            )
        if len(rows) > 2 or function.free_symbols - {*pairs} or one >= self.draw.inputs:
            raise NotClosed(
                "the output of a softmax head enters in another way than by its mean and covariance, and the mean of that over the scores has a rule "
                "for norms behind one head with values without means only, and none for tangents; apply a matrix to what the head puts out, and no "
                "function"
            )
        if not function.is_algebraic_expr(*pairs):
            raise NotClosed(
                "a function other than a norm is applied to what a softmax head puts out, whose covariance is random by its scores, and the mean of that "
                "over the scores has no rule; add the head to the state, or apply a matrix to what the head puts out, and no function"
            )
        forms = [self.draw.forms[pair] for pair in ((one, one), (one, two), (two, two))]
        names = bound_symbols(("a", "b", "c"), (), real=True)
        body = function.xreplace(dict(zip(forms, names, strict=True)))  # where both rows are one, the last name has it
        self.functions[function] = one, two, -1, len(self.shapes)
        self.shapes.append(sp.Lambda(names, body))
        self.means[function] = sp.Dummy("E", real=True)
        return constant * self.means[function]

    def filled(self, expr: sp.Expr, order: int) -> sp.Expr:
        """With the means in the place of their names."""
        known = {**self.places, **self.products, **self.functions}
        places = {self.means[monomial]: place for monomial, place in known.items()}
        if not expr.free_symbols & places.keys():
            return expr
        total = sp.S.Zero
        for k, coefficient in enumerate(taylor(expr, order)):
            used = coefficient.free_symbols & places.keys()
            total += step**k * coefficient.xreplace({name: self._node(places[name], order - k) for name in used})
        return total

    def _node(self, place: tuple[int, ...], order: int) -> sp.Expr:
        def mean() -> sp.Expr:
            values, queries, keys, *means = self._matrices(order)
            a, c = (place * 2)[:2]
            law = queries, keys, self.draw.mask, self.draw.neurons
            turns = {"angles": self.draw.angles}
            if place in self.functions.values():
                first, second = means[1:]
                return softmax_mean(a, c, values, *law, first, second, function=self.shapes[place[-1]], **turns)
            if a >= self.draw.inputs:
                return self._moving(a, c, (values, queries, keys), means)
            shift = means[0]
            form = {1: shift * sp.ones(1, shift.rows), 2: values, 3: shift * shift.T}[len(place)]
            return softmax_mean(a, c, form, *law, *means[1:], **turns)

        if not self.draw.settled:
            return mean()
        name = f"E{'.'.join(str(k + 1) for k in place[:2])}"
        shape = self.shapes[place[-1]] if place in self.functions.values() else None
        return self.draw.known.setdefault((place[:3], shape, order), HeldMean.of(name, mean))

    def _moving(
        self, a: int, c: int, tables: tuple[sp.ImmutableMatrix, ...], means: list[sp.ImmutableMatrix]
    ) -> sp.Expr:
        r"""Of how the output moves: with the values, :math:`a^\top \dot v`, and with the scores, :math:`(J \dot Y)^\top v`.

        Scores move with queries and with keys, which are independent: :math:`\dot Y_{\alpha\beta}, \dot Y_{\gamma\delta}` have
        the covariance :math:`\dot Q_{\alpha\gamma} C_{\beta\delta} + Q_{\alpha\gamma} \dot C_{\beta\delta}`.
        """
        m, mask = self.draw.inputs, self.draw.mask
        (values, queries, keys), moved = zip(*((t[:m, :m], t[m:, m:]) for t in tables), strict=True)
        whole = [t + shift[:m, :] * shift[:m, :].T for t, shift in zip((values, queries, keys), means, strict=True)]
        law, shifts = (mask, self.draw.neurons), [shift[:m, :] for shift in means[1:]]
        rows, angles = (a - m, c - m), self.draw.angles

        def slopes(by: sp.ImmutableMatrix) -> sp.Expr:
            """How scores move that have this table of their keys."""
            p = mask.rows
            table = sp.ImmutableMatrix(
                *by.shape, lambda b, d: by[b, d] * turned(angles, *(k % p for k in (rows[0], b, rows[1], d)))
            )
            return softmax_mean(*rows, whole[0], whole[1], whole[2], *law, moved=table, angles=angles)

        own = softmax_mean(*rows, moved[0], queries, keys, *law, shifts[0], shifts[1], angles=angles)
        return own + moved[1][rows] * slopes(whole[2]) + whole[1][rows] * slopes(moved[2])

    def _matrices(self, order: int) -> tuple[sp.ImmutableMatrix, ...]:
        if order not in self.draw.known:
            d, size = self.draw, max(a for a, _ in self.draw.forms) + 1
            own = (*d.means[1][: d.inputs], *d.means[2][: d.inputs])  # along weights tangents hold what copies put out
            if d.power != sp.S.Half and d.neurons == sp.oo and any(map(any, own)):
                raise NotClosed(
                    "scores over the number of keys become numbers at infinitely many keys where queries and keys have means, and attention is "
                    "then derived without means of their weights and biases only; give a number of keys (size=8), or leave the means out"
                )
            # scores over a higher power of the number of keys are smaller
            scale = d.factor * (d.neurons ** (sp.S.Half - d.power) if d.power != sp.S.Half else 1)

            def table(entries: Mapping[tuple[int, int], Series], scale: sp.Expr = sp.S.One) -> sp.ImmutableMatrix:
                found = upto(entries, order)
                return sp.ImmutableMatrix(
                    size, size, lambda i, j: scale * as_expression(found[max(i, j), min(i, j)][: order + 1])
                )

            def column(means: list[Series], scale: sp.Expr = sp.S.One) -> sp.ImmutableMatrix:
                return sp.ImmutableMatrix(size, 1, [scale * as_expression(m[: order + 1]) for m in means])

            self.draw.known[order] = (
                *(table(d.values), table(d.queries, scale**2), table(d.keys)),
                *(column(m, s) for m, s in zip(d.means, (sp.S.One, scale, sp.S.One), strict=True)),
            )
        found: tuple[sp.ImmutableMatrix, ...] = self.draw.known[order]
        return found
