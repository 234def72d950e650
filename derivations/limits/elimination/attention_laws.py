r"""The laws of forms in the shares of heads of attention: their means are values over the scores.

One head's forms are known one at a time, or three of them in an algebraic function, as behind a norm. Heads that are alike are independent given
what they read, so that a function of the sum of their forms is one of their average.
"""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from derivations.binding import bound_symbols
from derivations.errors import NotClosed
from derivations.gaussian import softmax_mean
from derivations.gaussian.turns import turned
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.draws import AttentionDraw, HeadsDraw, upto
from derivations.limits.elimination.expectation import Law
from derivations.limits.elimination.held import HeldMean
from derivations.limits.elimination.series import Series, as_expression, taylor
from derivations.symbols import step

_OF_FUNCTIONS = 4  # numbers that say where the mean of a function stands


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
        self.functions: dict[tuple[sp.Expr, int], tuple[int, ...]] = {}  # and of the average over how many heads
        self.shapes: list[tuple[sp.Lambda, int]] = []
        self.named: dict[tuple[sp.Expr, int], sp.Expr] = {}

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
            return sp.Add(*(self.of_forms(term) for term in sp.Add.make_args(sp.expand(body))))
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

    def of_forms(self, term: sp.Expr, heads: int = 1) -> sp.Expr:
        """A number times a function of the three forms of two rows, averages over some heads."""
        constant, function = term.as_independent(*self.variables, as_Add=False)
        if function == 1 or function in self.means:
            return constant * self.means.get(function, sp.S.One)
        if self.draw.thinned != 0:
            raise NotClosed(
                "what a head of attention puts out whose shares are dropped enters in another way than by its mean and covariance, and the mean of that "
                "has no rule; apply a matrix to what the head puts out, and no function, or leave the dropout of shares out"
            )
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
        if (function, heads) not in self.named:
            self.functions[function, heads] = one, two, -1, len(self.shapes)
            self.shapes.append((sp.Lambda(names, body), heads))
            self.named[function, heads] = sp.Dummy("E", real=True)
        return constant * self.named[function, heads]

    def filled(self, expr: sp.Expr, order: int) -> sp.Expr:
        """With the means in the place of their names."""
        places = {self.means[monomial]: place for monomial, place in (self.places | self.products).items()}
        places |= {self.named[function]: place for function, place in self.functions.items()}
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
            if len(place) == _OF_FUNCTIONS:
                first, second = means[1:]
                function, heads = self.shapes[place[-1]]
                return softmax_mean(a, c, values, *law, first, second, function=function, heads=heads, **turns)
            if a >= self.draw.inputs:
                return self._moving(a, c, (values, queries, keys), means)
            shift = means[0]
            form = {1: shift * sp.ones(1, shift.rows), 2: values, 3: shift * shift.T}[len(place)]
            if len(place) > 1 and a == c:
                form = self._thinned(form)
            return softmax_mean(a, c, form, *law, *means[1:], **turns)

        if not self.draw.settled:
            return mean()
        name = f"E{'.'.join(str(k + 1) for k in place[:2])}"
        shape = self.shapes[place[-1]] if len(place) == _OF_FUNCTIONS else None
        return self.draw.known.setdefault((place[:3], shape, order), HeldMean.of(name, mean))

    def _thinned(self, form: sp.ImmutableMatrix) -> sp.ImmutableMatrix:
        """Of one row with itself, in the mean over what is dropped: factors of one pair of positions are met twice."""
        return form + self.draw.thinned * sp.diag(*form.diagonal()) if self.draw.thinned != 0 else form

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
        own_values, moved_values = (self._thinned(t) if a == c else t for t in (whole[0], moved[0]))

        def slopes(by: sp.ImmutableMatrix) -> sp.Expr:
            """How scores move that have this table of their keys."""
            p = mask.rows
            table = sp.ImmutableMatrix(
                *by.shape, lambda b, d: by[b, d] * turned(angles, *(k % p for k in (rows[0], b, rows[1], d)))
            )
            return softmax_mean(*rows, own_values, whole[1], whole[2], *law, moved=table, angles=angles)

        own = softmax_mean(*rows, moved_values, queries, keys, *law, shifts[0], shifts[1], angles=angles)
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


class HeadsLaw(Law):
    """Of forms of several heads, of which a function knows the sums alone."""

    layer = None

    def __init__(self, draw: HeadsDraw) -> None:
        self.draw, self.variables = draw, draw.variables
        self.laws = [AttentionLaw(head) for head in draw.heads]

    def mean(self, body: sp.Expr) -> sp.Expr:
        """Term by term: of one head's forms, or of a function of the sums over all heads.

        Raises
        ------
        NotClosed
            For any other.
        """
        terms = (term.as_independent(*self.variables, as_Add=False) for term in sp.Add.make_args(sp.expand(body)))
        return sp.Add(*(constant * self._of_product(function) for constant, function in terms))

    def _of_product(self, function: sp.Expr) -> sp.Expr:
        used = [law for law in self.laws if function.has(*law.variables)]
        if len(used) < 2:
            return used[0].mean(function) if used else function
        factors = sp.Mul.make_args(function)
        own = [sp.Mul(*(f for f in factors if f.has(*law.variables))) for law in used]
        if sp.Mul(*own) == function and used[0].draw.neurons == sp.oo:  # heads are independent
            return sp.Mul(*(law.mean(part) for law, part in zip(used, own, strict=True)))
        first, *others = used
        self._require_alike(used)
        outside, inside = self._apart(function, used)
        rule = dict[sp.Expr, sp.Expr]()
        for pair, symbol in first.draw.forms.items():
            rule[symbol] = len(used) * symbol - sp.Add(*(law.draw.forms[pair] for law in others))
        average = inside.xreplace(rule)
        if average.has(*(v for law in others for v in law.variables)):
            raise NotClosed(
                "a function of what several heads of attention put out, in other than their sums, has no rule for its mean over their scores; apply "
                "one norm to the sum of all heads, of one variance each, or a norm to each head"
            )
        return first.of_forms(outside * average, len(used))

    def _apart(self, function: sp.Expr, used: list[AttentionLaw]) -> tuple[sp.Expr, sp.Expr]:
        """A form that stands as a factor, whose mean beside a symmetric function is that of the average over the heads; and the rest."""
        alone = {symbol: pair for law in used for pair, symbol in law.draw.forms.items()}
        factors = [f for f in sp.Mul.make_args(function) if f in alone]
        if len(factors) != 1:
            return sp.S.One, function
        return used[0].draw.forms[alone[factors[0]]], function / factors[0]

    def _require_alike(self, used: list[AttentionLaw]) -> None:
        first, *others = (law.draw for law in used)
        if first.neurons != sp.oo or first.shifts:
            raise NotClosed(
                "a norm over several heads of attention is derived over infinitely many keys and with values without means; leave size= and the means of "
                "values out, or give each head a norm of its own"
            )
        if not all(first.is_like(other) for other in others):
            raise NotClosed(
                "a norm over several heads of attention is derived for heads of one law, and these differ in variances, masks, scales or angles; give "
                "each head a norm of its own"
            )

    def filled(self, expr: sp.Expr, order: int) -> sp.Expr:
        """With the means in the place of their names, head by head."""
        for law in self.laws:
            expr = law.filled(expr, order)
        return expr
