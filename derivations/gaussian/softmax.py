r"""Means of bilinear forms in two rows of softmax attention: values of their own, as no closed form is known.

Queries q and keys k of N neurons are independent Gaussians with means :math:`m^q, m^k` and covariances Q and C over the positions, the same
for every neuron; scores are :math:`Y_{\alpha\beta} = N^{-1/2}\sum_j q_j^\alpha k_j^\beta`. With infinitely many neurons centred ones are Gaussian,
:math:`\mathrm{Cov}(Y_{\alpha\beta}, Y_{\gamma\delta}) = Q_{\alpha\gamma}C_{\beta\delta}`. Means on one side alone are then as second moments in
place of covariances; with means on both sides scores grow like :math:`\sqrt N`. A mean that all keys share adds the same to all scores, unless
neurons are turned by their position (:mod:`~derivations.gaussian.turns`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import sympy as sp
from sympy.printing.printer import Printer

from derivations.binding import Binding, bound_symbols, called
from derivations.errors import NotClosed
from derivations.gaussian.joint import joint_mean
from derivations.gaussian.turns import UNTURNED, turned


class SoftmaxMean(Binding):
    r""":math:`\mathbb{E}\,a_\alpha^\top M a_\gamma` with :math:`a_\alpha = \mathrm{softmax}(Y_{\alpha\cdot})`. Built by :func:`softmax_mean`.

    Coordinates are positions of one or more inputs; a row attends to the positions of its own input.

    Parameters
    ----------
    row, other : Integer
        The coordinates :math:`\alpha, \gamma`, from 0 on.
    form : Matrix, shape (c, c)
        M over all coordinates.
    queries, keys : Matrix, shape (c, c)
        Q and C.
    mask : Matrix, shape (p, p)
        What exponentials are multiplied by, over the p positions of an input.
    inverse : Expr
        1/N, so that no infinity is inside.
    angles : Matrix, shape (F, p)
        By which pairs of neurons are turned at each position; without rows where they are not.
    heads : Integer
        1, or of how many independent heads a function takes the average of each form.
    query_means, key_means : Matrix, shape (c, 1)
        :math:`m^q, m^k`; left out where both are 0.
    moved : Matrix, shape (c, c)
        In the place of means: T, where the mean is that of how the rows move with their scores,
        :math:`\mathbb{E}\,\mathrm{tr}(J_\alpha M J_\gamma T^\top)` with :math:`J = \partial a/\partial Y = \mathrm{diag}(a) - aa^\top`.
    function : Lambda
        Last, where the mean is not of the form itself but of f of
        :math:`\Phi_{\alpha\alpha}, \Phi_{\alpha\gamma}, \Phi_{\gamma\gamma}`, as behind a norm; :math:`\Phi_{\alpha\gamma} = a_\alpha^\top M a_\gamma`.
    """

    is_extended_real = True
    is_finite = True

    @property
    def rows(self) -> tuple[int, int]:
        """The two coordinates."""
        return int(self.args[0]), int(self.args[1])

    @property
    def form(self) -> sp.ImmutableMatrix:
        """M."""
        return self.args[2]

    @property
    def queries(self) -> sp.ImmutableMatrix:
        """Q."""
        return self.args[3]

    @property
    def keys(self) -> sp.ImmutableMatrix:
        """C."""
        return self.args[4]

    @property
    def mask(self) -> sp.ImmutableMatrix:
        """Over the positions of an input."""
        return self.args[5]

    @property
    def neurons(self) -> sp.Expr:
        """N."""
        return sp.oo if self.args[6] == 0 else 1 / self.args[6]

    @property
    def function(self) -> sp.Lambda | None:
        """f, where the mean is not of the form itself."""
        return self.args[-1] if isinstance(self.args[-1], sp.Lambda) else None

    @property
    def tables(self) -> tuple[sp.ImmutableMatrix, ...]:
        """Means, or T, as the node has them."""
        return tuple(self.args[9:] if self.function is None else self.args[9:-1])

    @property
    def angles(self) -> sp.ImmutableMatrix:
        """By which pairs of neurons are turned."""
        return self.args[7]

    @property
    def heads(self) -> int:
        """Over how many heads a function averages."""
        return int(self.args[8])

    @property
    def means(self) -> tuple[sp.ImmutableMatrix, ...]:
        """Of queries and keys; empty where both are centred."""
        return self.tables if len(self.tables) == 2 else ()

    @property
    def moved(self) -> sp.ImmutableMatrix | None:
        """T, where the mean is of slopes."""
        return self.tables[0] if len(self.tables) == 1 else None

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """Of the matrices: a function has its own variables only."""
        return set().union(*(part.free_symbols for part in self.args))

    @property
    def positions(self) -> int:
        """How many positions an input has."""
        return int(self.mask.rows)

    def seen(self, row: int) -> list[tuple[int, sp.Expr]]:
        """The coordinates that a row attends to, and what their exponentials are multiplied by."""
        p = self.positions
        first, here = row - row % p, row % p
        return [(first + b, self.mask[here, b]) for b in range(p) if self.mask[here, b] != 0]

    def covariance(self, a: int, b: int, c: int, d: int) -> sp.Expr:
        """Of the scores of two rows with a key each, for infinitely many keys."""
        places = (i % self.positions for i in (a, b, c, d))
        return self.queries[a, c] * self.keys[b, d] * turned(self.angles, *places)

    def of_shares(self, one: dict[int, sp.Expr], other: dict[int, sp.Expr]) -> sp.Expr:
        """What the mean is of, from the shares of both rows."""

        def form(one: dict[int, sp.Expr], other: dict[int, sp.Expr]) -> sp.Expr:
            return sp.Add(*(self.form[b, d] * s * r for b, s in one.items() for d, r in other.items()))

        if self.function is not None:
            return self.function(form(one, one), form(one, other), form(other, other))
        if self.moved is None:
            return form(one, other)

        def slope(shares: dict[int, sp.Expr], b: int, d: int) -> sp.Expr:
            return shares[b] * (int(b == d) - shares[d])

        return sp.Add(
            *(
                slope(one, b, d) * self.form[b, e] * slope(other, e, f) * self.moved[d, f]
                for b in one
                for d in one
                for e in other
                for f in other
            )
        )

    def of_named_forms(self) -> sp.Expr:
        """The function of forms called by their rows."""
        assert self.function is not None
        a, c = (row + 1 for row in self.rows)
        return self.function(*(sp.Symbol(f"Phi_{k}{j}", positive=True) for k, j in ((a, a), (a, c), (c, c))))

    def joint(self) -> sp.Expr:
        """The same as a mean over the scores themselves, which are Gaussian.

        Raises
        ------
        NotClosed
            If there are finitely many keys.
        """
        if self.neurons != sp.oo:
            raise NotClosed(
                f"the scores of {self.neurons} keys are not Gaussian, so that this mean has no rule for its derivative; take the number of "
                "keys to infinity"
            )
        if self.means:
            raise NotClosed(
                "with means of both queries and keys the scores of infinitely many keys grow like the root of their number, and their softmax "
                "has no limit; centre the weights and biases of one of them, or give a number of keys"
            )
        if self.heads > 1:
            raise NotClosed(
                f"a function of the average over {self.heads} heads has no rule for its derivative; give each head a norm of its own"
            )
        a, c = self.rows
        names = {(r, b): sp.Dummy(f"y{r + 1}{b + 1}", real=True) for r in sorted({a, c}) for b, _ in self.seen(r)}

        def share(r: int, b: int) -> sp.Expr:
            own = dict(self.seen(r))
            return own[b] / sp.Add(*(m * sp.exp(names[r, d] - names[r, b]) for d, m in own.items()))

        body = self.of_shares({b: share(a, b) for b, _ in self.seen(a)}, {d: share(c, d) for d, _ in self.seen(c)})
        places = [*names]
        covariance = sp.Matrix(
            len(places),
            len(places),
            lambda i, j: self.covariance(*places[i], *places[j]),
        )
        return joint_mean(body, [*names.values()], covariance)

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        if self.function is not None:
            return sp.diff(self.joint(), symbol)
        row, other, form, queries, keys, mask, inverse, angles, heads, *rest = self.args
        total = sp.S.Zero
        back: dict[sp.Expr, sp.Expr] = {}

        def still(matrix: sp.ImmutableMatrix) -> sp.ImmutableMatrix:
            names = sp.ImmutableMatrix(*matrix.shape, lambda i, j: sp.Dummy(f"m{i}{j}", real=True))
            back.update(zip(names, matrix, strict=True))
            return names

        if self.moved is not None:  # linear in both
            moved = sp.diff(self.moved, symbol)
            total += softmax_mean(row, other, form, queries, keys, mask, moved=moved, angles=angles)
        slope = sp.diff(form, symbol)
        total += self.with_tables(slope, queries, keys, *rest)
        if any(part.has(symbol) for part in (queries, keys, angles, *self.means)):
            rest = rest if self.moved is None else [still(self.moved)]
            same = self.func(row, other, still(form), queries, keys, mask, inverse, angles, heads, *rest)
            total += sp.diff(same.joint(), symbol).xreplace(back)
        return total

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if self.free_symbols or self.neurons != sp.oo or self.heads > 1:
            return None
        return self.joint()._eval_evalf(prec)

    def _changed(self, change: Callable[[sp.Basic], sp.Basic]) -> sp.Expr:
        own = () if self.function is None else (self.function,)
        row, other, form, queries, keys, mask, inverse, angles, *rest = map(change, (*self.args[:8], *self.tables))
        law = queries, keys, mask, inverse, angles, self.args[8]
        same: SoftmaxMean = sp.Expr.__new__(SoftmaxMean, row, other, form, *law, *rest, *own)
        return same.with_tables(form, queries, keys, *rest)

    def with_tables(
        self,
        form: sp.Basic,
        queries: sp.Basic,
        keys: sp.Basic,
        *rest: sp.Basic,
        rows: tuple[int, int] | None = None,
    ) -> sp.Expr:
        """The same mean of other matrices, and of other rows; ``rest`` is means or T, as the node has them."""
        moved, means = (None, rest) if self.moved is None else (rest[0], ())
        row, other = rows or self.rows
        first, second = (means[0], means[1]) if means else (None, None)
        law = self.mask, self.neurons, first, second, moved
        return softmax_mean(row, other, form, queries, keys, *law, self.function, self.angles, self.heads)

    def _numpycode(self, printer: Printer, **settings: object) -> str:
        return called(self, printer, "numerics.compile.softmax_means.softmax_value")

    _pythoncode = _numpycode

    def _mpmathcode(self, printer: Printer, **settings: object) -> str:
        return called(self, printer, "derivations.gaussian.printed.gaussian_value")

    def _sympystr(self, printer: Printer) -> str:
        a, c = self.rows
        form, queries, keys = (letter_of(part) or printer._print(part.tolist()) for part in self.args[2:5])
        mask = "" if self.mask == sp.ones(*self.mask.shape) else f", mask {printer._print(self.mask.tolist())}"
        means = ", means {} and {}".format(*(printer._print(list(m)) for m in self.means)) if self.means else ""
        inside = f"softmax(Y_{a + 1})' {form} softmax(Y_{c + 1})"
        if self.moved is not None:
            inside = f"tr(softmax'(Y_{a + 1}) {form} softmax'(Y_{c + 1}) {printer._print(self.moved.T.tolist())})"
        if self.function is not None:
            average = f"the average over {self.heads} heads of " if self.heads > 1 else ""
            inside = f"{printer._print(self.of_named_forms())}; Phi_kl = {average}softmax(Y_k)' {form} softmax(Y_l)"
        angles = f", turned by {printer._print(self.angles.tolist())}" if self.angles.rows else ""
        law = (
            f"Y ~ N(0, {queries} ⊗ {keys})"
            if self.neurons == sp.oo
            else f"Y of {self.neurons} queries {queries} and keys {keys}"
        )
        return f"E[{inside}; {law}{means}{angles}{mask}]"

    def _latex(self, printer: Printer) -> str:
        a, c = self.rows
        form, queries, keys = map(printer._print, self.args[2:5])
        inside = rf"\mathrm{{softmax}}(Y_{{{a + 1}}})^{{\top}} {form}\, \mathrm{{softmax}}(Y_{{{c + 1}}})"
        if self.moved is not None:
            slopes = (rf"\mathrm{{softmax}}'(Y_{{{r + 1}}})" for r in (a, c))
            inside = rf"\operatorname{{tr}}\left({next(slopes)}\, {form}\, {next(slopes)}\, {printer._print(self.moved.T)}\right)"
        if self.function is not None:
            above = "^{h}" if self.heads > 1 else ""
            shares = (rf"\mathrm{{softmax}}(Y{above}_{{{k}}})" for k in "kl")
            average = rf"\tfrac{{1}}{{{self.heads}}}\sum_{{h=1}}^{{{self.heads}}} " if self.heads > 1 else ""
            inside = rf"{printer._print(self.of_named_forms())};\ \Phi_{{kl}} = {average}{next(shares)}^{{\top}} {form}\, {next(shares)}"
        law = rf"N(0,\, {queries} \otimes {keys})"
        if self.angles.rows:
            turn = r"\langle\cos(\theta^{\alpha} - \theta^{\beta} - \theta^{\gamma} + \theta^{\delta})\rangle"
            law = rf"N(0,\, ({queries} \otimes {keys}) \circ {turn}),\ \theta = {printer._print(self.angles)}"
        if self.neurons != sp.oo:
            number = printer._print(self.neurons)
            ends = [rf"{printer._print(m)} 1^{{\top}}" for m in self.means] or ["0", "0"]
            law = rf"{number}^{{-1/2}} q^{{\top}} k,\ q \in \mathbb{{R}}^{{{number}}} \sim N({ends[0]}, {queries}),\ k \sim N({ends[1]}, {keys})"
        shown = "" if self.mask == sp.ones(*self.mask.shape) else rf",\ m = {printer._print(self.mask)}"
        return rf"\mathbb{{E}}_{{Y \sim {law}{shown}}}\left[{inside}\right]"


def letter_of(matrix: sp.ImmutableMatrix) -> str:
    """The letter of a matrix whose entries are one letter with their places, as K_11, K_12, K_22 are; else empty."""
    stem, places = getattr(matrix[0, 0], "name", "").partition("_")[0], range(matrix.rows)
    named = ((getattr(matrix[i, j], "name", ""), min(i, j) + 1, max(i, j) + 1) for i in places for j in places)
    same = stem and all(re.sub(r"[{},]", "", name) == f"{stem}_{i}{j}" for name, i, j in named)
    return stem if same else ""


def softmax_mean(
    row: object,
    other: object,
    form: object,
    queries: object,
    keys: object,
    mask: object,
    neurons: object = sp.oo,
    query_means: object = None,
    key_means: object = None,
    moved: object = None,
    function: sp.Lambda | None = None,
    angles: object = UNTURNED,
    heads: int = 1,
) -> sp.Expr:
    r"""The mean of :math:`a_\alpha^\top M a_\gamma` over two rows of a softmax; a number times M where shares are known.

    Parameters
    ----------
    row, other, form, queries, keys, mask, query_means, key_means
        As of :class:`SoftmaxMean`; means that are left out are 0.
    neurons : int, Symbol or oo
        N.
    moved : Matrix, optional
        T, for the mean of slopes; for infinitely many keys.
    function : Lambda, optional
        f of the three forms of the two rows, for the mean of that.
    angles : Matrix, shape (F, p)
        By which pairs of neurons are turned.
    heads : int
        Over how many independent heads f takes the average of each form.

    Raises
    ------
    NotClosed
        For a mean of slopes over finitely many keys, or over those with means of both queries and keys.

    Examples
    --------
    >>> K = sp.Matrix(2, 2, sp.symbols("a b b c"))
    >>> softmax_mean(0, 0, K, sp.zeros(2), K, sp.ones(2))
    a/4 + b/2 + c/4
    """
    a, c = (sp.Integer(int(r)) for r in (row, other))  # type: ignore[call-overload]
    matrices = [sp.ImmutableMatrix(part) for part in (form, queries, keys, mask)]
    if matrices[0].is_zero_matrix or (moved is not None and sp.Matrix(moved).is_zero_matrix):
        return sp.S.Zero
    means = [_means(given, matrices[1].rows) for given in (query_means, key_means)]
    turns = sp.ImmutableMatrix(angles)
    if not turns.rows:
        means[1] = _apart(means[1], matrices[3].rows)
    seen = means if any(m.is_zero_matrix for m in means) else _read(means, (int(a), int(c)), matrices[3].rows)
    if neurons == sp.oo and any(m.is_zero_matrix for m in seen):
        matrices[1:3] = [part + m * m.T for part, m in zip(matrices[1:3], seen, strict=True)]
        means = [sp.zeros(*m.shape) for m in means]
    given = () if all(m.is_zero_matrix for m in means) else tuple(map(sp.ImmutableMatrix, means))
    if moved is not None and (given or neurons != sp.oo):
        raise NotClosed(
            "means of a softmax's slopes are known for infinitely many keys, without means of both queries and keys; leave size= out"
        )
    given = given if moved is None else (sp.ImmutableMatrix(moved),)
    if function is not None:
        a, c, function = _in_order(a, c, function)
        given = (*given, function)
    node: SoftmaxMean = sp.Expr.__new__(
        SoftmaxMean, a, c, *matrices, 1 / sp.sympify(neurons), turns, sp.Integer(heads), *given
    )
    one, two = (node.seen(int(r)) for r in (a, c))
    blocks = [{table[b, d] for b, _ in one for d, _ in two} for table in (matrices[0], node.moved) if table is not None]
    if function is not None:
        if all(
            len({matrices[0][b, d] for b, _ in x for d, _ in y}) == 1 for x, y in ((one, one), (one, two), (two, two))
        ):
            return function(*(matrices[0][x[0][0], y[0][0]] for x, y in ((one, one), (one, two), (two, two))))
    elif any(len(constant) == 1 for constant in blocks):  # shares add up to 1, and how they move to 0
        return blocks[0].pop() if moved is None else sp.S.Zero
    if any(
        len(found) > 1 and (node.queries[r, r] != 0 or (node.means and node.means[0][r] != 0))
        for r, found in ((a, one), (c, two))
    ):
        return node
    return sp.expand(node.of_shares(*({b: m / sp.Add(*dict(row).values()) for b, m in row} for row in (one, two))))


def _in_order(a: sp.Integer, c: sp.Integer, function: sp.Lambda) -> tuple[sp.Integer, sp.Integer, sp.Lambda]:
    """The larger row first, and a function in the variables of all nodes."""
    one, two = bound_symbols(("a", "c"), function.free_symbols, positive=True)
    (both,) = bound_symbols(("b",), function.free_symbols, real=True)
    bound = one, both, two
    return max(a, c), min(a, c), sp.Lambda(bound, function(*(bound if a >= c else bound[::-1])))


def _means(given: object, size: int) -> sp.Matrix:
    return sp.zeros(size, 1) if given is None else sp.Matrix(given)


def _read(means: list[sp.Matrix], rows: tuple[int, int], positions: int) -> list[sp.Matrix]:
    """Without those that two rows do not see, and so do not change what the rows give: of other queries, and of the keys of other inputs."""
    inputs = {r // positions for r in rows}
    seen = (lambda i: i in rows), (lambda i: i // positions in inputs)
    return [
        sp.Matrix(m.rows, 1, lambda i, _, m=m, sees=sees: m[i] if sees(i) else 0)
        for m, sees in zip(means, seen, strict=True)
    ]


def _apart(means: sp.Matrix, positions: int) -> sp.Matrix:
    """What the means of an input's keys are besides the last one, which all scores share."""
    return sp.Matrix(means.rows, 1, lambda i, _: sp.expand(means[i] - means[i - i % positions + positions - 1]))
