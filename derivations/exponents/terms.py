r"""One layer's conditional mean and covariance as sums of monomials in the sizes, each with its coefficient.

All sizes are multiplied by one formal parameter, in which the layer is expanded; the coefficients of its powers are polynomials in the sizes. The
degree is raised until no monomial beyond it can matter: a monomial that a known one divides is smaller in every regime. Sizes with a pure
power in some term leave finitely many others, which are below the degree. Where a size does nothing by itself and may have every
power beside others, sizes are left finite by turns, and each monomial in the others that is then there must be a multiple of a known one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

import sympy as sp

from derivations.errors import DerivationError, NoLimit, NotClosed
from derivations.exponents.family import Family
from derivations.exponents.summed import as_averages
from derivations.language import Program
from derivations.language.statements import Matrix
from derivations.limits.chain import GramChain
from derivations.limits.depth import as_sums
from derivations.limits.elimination.fluctuations import Kept
from derivations.limits.elimination.moments import LayerMoments
from derivations.limits.elimination.series import require_still, taylor
from derivations.limits.gram import gram_matrix
from derivations.limits.joint_moments import require_joint
from derivations.limits.width import MeanFieldLayer, require_gaussian, require_independent
from derivations.symbols import state, step

#: Exponents of the sizes in a monomial, and last of 1/n where the width is a power of the depth.
Powers: TypeAlias = tuple[sp.Rational, ...]
_DEGREES = (2, 4, 6, 8, 12)


@dataclass(frozen=True)
class Terms:
    """What one layer adds, monomial by monomial.

    Parameters
    ----------
    drift, noise : dict
        From powers to the coefficient: of a neuron's mean change and of its variance at a fixed width, else of the entries 11 and 12 of
        the Gram matrix.
    wide : dict
        From powers to the coefficients of the mean change of the entries 11 and 12 of the Gram matrix at infinite width, where the width
        is not fixed; else see :func:`norm_rates`.
    degree : int
        To which the layer was expanded.
    complete : bool
        Whether monomials of a higher degree cannot matter.
    """

    drift: dict[Powers, tuple[sp.Expr, ...]]
    noise: dict[Powers, tuple[sp.Expr, ...]]
    wide: dict[Powers, tuple[sp.Expr, ...]]
    degree: int
    complete: bool


@dataclass(frozen=True)
class Graded:
    """The layer with every small monomial of the sizes as a symbol times ``symbols.step``.

    Parameters
    ----------
    program : Program
    atoms : dict
        From the symbols to the powers of the sizes.
    names : dict
        From sizes to their symbols.
    plain : Program
        The layer in its sizes themselves.
    """

    program: Program
    atoms: dict[sp.Symbol, Powers]
    names: dict[sp.Symbol, sp.Symbol]
    plain: Program

    @classmethod
    def of(cls, found: Family) -> Graded:
        """Sizes that go to 0 as they are; sizes that grow in the products in which they are small.

        Raises
        ------
        DerivationError
            If a size that grows enters on its own.
        """
        count, program = len(found.sizes), found.program
        place = {size.symbol: k for k, size in enumerate(found.sizes)}
        growing = {size.symbol for size in found.sizes if size.grows}
        atoms: dict[Powers, sp.Symbol] = {}
        too_large = DerivationError(
            f"{', '.join(sorted(map(str, growing)))} grows with the depth, and a product with it is not small; write the layer so that it occurs in "
            "products that are small, e.g. divided by it inside a norm"
        )

        def named(product_: sp.Expr) -> sp.Expr:
            own = {base: power for base, power in product_.as_powers_dict().items() if base in place}
            if not growing & set(own):
                return product_
            powers = tuple(sp.Rational(own.get(s, 0)) for s in place)
            if not sum(e * size.stands for e, size in zip(powers, found.sizes, strict=True)) > 0:
                raise too_large
            symbol = atoms.setdefault(powers, sp.Dummy("c", positive=True))
            return product_ / sp.Mul(*(base**power for base, power in own.items())) * symbol

        def changed(body: sp.Expr) -> sp.Expr:
            return body.replace(lambda e: e.is_Mul, named) if growing else body

        statements = tuple(replace(s, body=changed(s.body)) if hasattr(s, "body") else s for s in program.statements)
        program = replace(program, statements=statements, update=changed(program.update))
        table: dict[sp.Symbol, Powers] = {symbol: powers for powers, symbol in atoms.items()}
        names = {symbol: symbol for symbol in table}
        for symbol, k in place.items():
            if program.xreplace({symbol: sp.Dummy(positive=True)}) != program:
                if symbol in growing:
                    raise too_large
                names[symbol] = sp.Dummy(symbol.name, positive=True)
                table[names[symbol]] = tuple(sp.Integer(j == k) for j in range(count))
        return cls(program.xreplace({symbol: step * name for symbol, name in names.items()}), table, names, program)

    def split(self, coefficient: sp.Expr) -> Iterator[tuple[Powers, sp.Expr]]:
        """A coefficient of the formal parameter as monomials in the sizes.

        Raises
        ------
        NotClosed
            If sizes enter in another way, such as two of them inside a kink.
        """
        expr = _outside(sp.expand(require_still(coefficient)), set(self.atoms))
        try:
            poly = sp.Poly(expr, *self.atoms)
        except sp.PolynomialError:
            poly = None
        if poly is None or poly.free_symbols_in_domain & set(self.atoms):
            raise NotClosed(
                "the sizes enter one layer's moments in another way than by powers, as two sizes that meet inside a kink do: the limit depends "
                "on their ratio; give them one symbol, or name only one of them in small="
            )
        rows = list(self.atoms.values())
        for exponents, term in poly.terms():
            yield (
                tuple(
                    sum((e * row[k] for e, row in zip(exponents, rows, strict=True)), sp.S.Zero)
                    for k in range(len(rows[0]))
                ),
                term,
            )

    def beside(self, finite: set[int], small: Sequence[int]) -> Graded:
        """With some sizes finite numbers and the others small; by their places."""
        symbols = list(self.names)
        names = {symbols[k]: self.names[symbols[k]] for k in small}
        rule = {symbols[k]: sp.Dummy(symbols[k].name, positive=True) for k in finite}
        rule |= {symbol: step * name for symbol, name in names.items()}
        return Graded(self.plain.xreplace(rule), {name: self.atoms[name] for name in names.values()}, names, self.plain)

    def alone(self, sizes: Sequence[sp.Symbol]) -> Program:
        """The layer with all other sizes at 0."""
        others = set(self.atoms) - {self.names[s] for s in sizes}
        return _reduced(self.program.xreplace(dict.fromkeys(others, sp.S.Zero)))


def _outside(expr: sp.Expr, symbols: set[sp.Symbol]) -> sp.Expr:
    """Positive factors out of conditions, which do not depend on them."""

    def cleared(relation: sp.Rel) -> sp.Rel:
        left = sp.factor_terms(relation.lhs - relation.rhs)
        rest = sp.Mul(*(f for f in sp.Mul.make_args(left) if not f.free_symbols <= symbols or not f.is_positive))
        return relation.func(rest, 0)

    relations = {r for r in expr.atoms(sp.core.relational.Relational) if r.free_symbols & symbols}
    return sp.expand(expr.xreplace({r: cleared(r) for r in relations})) if relations else expr


def _reduced(program: Program) -> Program:
    """Without matrices that are 0, or read 0 and have no biases, and without what nothing reads then."""
    nothing = {
        s.symbol: sp.S.Zero
        for s in program.statements
        if isinstance(s, Matrix)
        and s.weights.bias_mean == 0
        and ((s.weights.is_mean and s.weights.mean == 0) or (s.body == 0 and s.weights.bias_variance == 0))
    }
    return (program.xreplace(nothing) if nothing else program).without_unread()


def terms(found: Family) -> Terms:
    """One layer's moments, to the degree that is needed.

    Raises
    ------
    NoLimit
        If a layer moves the state even at size 0 of all small parameters.
    NotClosed
        If the moments have no closed form.
    """
    graded = Graded.of(found)
    made = None
    for degree in _DEGREES:
        drift, noise, wide = _OBSERVED[found.order](found, graded, degree)
        known = {powers for table in (drift, noise) for powers in table}
        complete = _is_complete(found, graded, known, degree)
        made = Terms(drift, noise, wide, degree, complete)
        if complete:
            break
    assert made is not None
    return made


def _is_complete(found: Family, graded: Graded, known: set[Powers], degree: int) -> bool:
    """Whether no monomial beyond the degree can matter."""
    if any(size.grows for size in found.sizes):
        return degree >= 4 or bool(known)
    sizes = [size.symbol for size in found.sizes]
    known = {p[: len(sizes)] for p in known if any(p[: len(sizes)])}
    for chosen in product((False, True), repeat=len(sizes)):
        supported = any(all(c or power == 0 for c, power in zip(chosen, powers, strict=True)) for powers in known)
        kept = [s for s, c in zip(sizes, chosen, strict=True) if c]
        if kept and not supported and not _does_nothing(graded, kept):
            return False
    pure = [min((p[k] for p in known if sum(p) == p[k] > 0), default=None) for k in range(len(sizes))]
    if any(p is None for p in pure) and not _holds_beside_finite(found, graded, known, degree):
        return False
    standard = [
        m
        for m in product(*(range(2 if p is None else p) for p in pure))
        if not any(all(a >= b for a, b in zip(m, p, strict=True)) for p in known)
    ]
    return all(sum(m) <= degree for m in standard)


def _holds_beside_finite(found: Family, graded: Graded, known: set[Powers], degree: int) -> bool:
    """Whether, with some sizes finite, each monomial in the others that is there is a multiple of a known one.

    So a power of the finite ones beside it is known, whatever the powers are that are not.
    """
    places = range(len(found.sizes))
    for chosen in product((False, True), repeat=len(found.sizes)):
        finite = {k for k in places if chosen[k]}
        small = [k for k in places if not chosen[k]]
        if not finite or not small:
            continue
        parts = {tuple(p[k] for k in small) for p in known}
        pure = [min((p[j] for p in parts if sum(p) == p[j] > 0), default=sp.Integer(2)) for j in range(len(small))]
        try:
            tables = _OBSERVED[found.order](
                found, graded.beside(finite, small), min(degree, max(2, int(sum(pure)) - len(pure)))
            )
        except NoLimit:
            continue  # the finite ones move the state by themselves, which the support of a known term says
        except DerivationError:
            return False
        for powers in {p for table in tables[:2] for p in table}:
            own = [powers[k] for k in small]
            if any(own) and not any(all(a <= b for a, b in zip(part, own, strict=True)) for part in parts):
                return False
    return True


def _does_nothing(graded: Graded, kept: list[sp.Symbol]) -> bool:
    """Whether a layer in which only some sizes are not 0 keeps the state, or does not depend on one of them."""
    alone = graded.alone(kept)
    names = {graded.names[s] for s in kept}
    return alone.update == state or any(alone.xreplace({s: sp.Dummy(positive=True)}) == alone for s in names)


def _table(graded: Graded, *series: tuple[sp.Expr, ...], last: int | None = None) -> dict[Powers, tuple[sp.Expr, ...]]:
    """Monomials of several series, with one coefficient for each; with the power of 1/n last where that is given."""
    found: dict[Powers, list[sp.Expr]] = {}
    for place, one in enumerate(series):
        for coefficient in one:
            if coefficient == 0:
                continue
            for powers, term in graded.split(coefficient):
                key = powers if last is None else (*powers, sp.Integer(last))
                row = found.setdefault(key, [sp.S.Zero] * len(series))
                row[place] += term
    return {
        key: tuple(row)
        for key, row in found.items()
        if any(sp.cancel(t) != 0 if t.is_rational_function() else t != 0 for t in row)
    }


_Tables: TypeAlias = tuple[
    dict[Powers, tuple[sp.Expr, ...]], dict[Powers, tuple[sp.Expr, ...]], dict[Powers, tuple[sp.Expr, ...]]
]


def _of_neurons(found: Family, graded: Graded, degree: int) -> _Tables:
    """At a fixed width: a neuron's mean change and variance."""
    layer = LayerMoments(graded.program, found.coordinates if graded.program.has_positions else 1, order=degree)
    layer.at_rest()
    n = graded.program.neurons.size

    def shown(series: tuple[sp.Expr, ...]) -> tuple[sp.Expr, ...]:
        return tuple(as_sums(c, layer.states, n) for c in series[1:])

    drift, second = _table(graded, shown(layer.moved(0))), _table(graded, shown(layer.spread(0, 0)))
    # the second moment holds the mean's square, which no regime sees beside the mean itself
    squares = {tuple(map(sp.Add, a, b)) for a in drift for b in drift}
    return drift, {powers: row for powers, row in second.items() if powers not in squares}, {}


def keeps_norm(found: Family, made: Terms) -> bool:
    """Whether a norm behind the sum keeps the mean square of the neurons, at every width."""
    program = Graded.of(found).program
    inputs = found.coordinates if program.has_positions else 1
    return 2 in LayerMoments(program, inputs, order=made.degree).fixed_powers


def norm_rates(found: Family, made: Terms) -> dict[Powers, tuple[sp.Expr, sp.Expr]] | None:
    """What the monomials that move them add to the mean square of the neurons and to their mean at infinite width; None where this is not known.

    A norm behind the sum keeps the mean square at every width.
    """
    table = made.wide
    if found.order == "depth":
        graded = Graded.of(found)
        try:
            if keeps_norm(found, made):
                return {powers: (sp.S.Zero, sp.S.Zero) for table in (made.drift, made.noise) for powers in table}
            table, _, _ = _of_flow(found, graded, made.degree, of_norms=True)
        except DerivationError:
            return None
    means = 1 if found.order == "depth" else 2
    return {powers: (row[0], row[means] if len(row) > means else sp.S.Zero) for powers, row in table.items()}


def unseen(found: Family, made: Terms) -> tuple[Powers, ...]:
    """The monomials that move a neuron at infinite width and of which nothing is seen in second moments: what a norm takes away again."""
    graded = Graded.of(found)
    inputs = found.coordinates if graded.program.has_positions else 1
    moved: list[Powers] = []
    for degree in (d for d in _DEGREES if d <= made.degree and not moved):
        try:
            layer = LayerMoments(graded.program, inputs, infinite=True, order=degree)
            layer.at_rest()
            moved = list(_table(graded, layer.spread(0, 0)[1:]))
        except DerivationError:
            return ()  # no layer near the identity
    seen = [p for table in (made.drift, made.noise) for p in table]
    return tuple(
        p
        for p in moved
        if not any(all(a >= b for a, b in zip(p, q, strict=False)) for q in seen if not any(q[len(p) :]))
    )


def _of_flow(found: Family, graded: Graded, degree: int, of_norms: bool = False) -> _Tables:
    """At infinite width: the mean change of the second moments, or of one norm alone, and of the means where they move."""
    inputs = found.coordinates if graded.program.has_positions else 1 if of_norms else 2
    layer = LayerMoments(graded.program, inputs, infinite=True, order=degree)
    layer.at_rest()
    x, fixed = layer.states, {}
    if 2 in layer.fixed_powers:
        fixed = {entry: layer.fixed_powers[2] for entry in gram_matrix(inputs, "K").diagonal()}
    field = replace(MeanFieldLayer.centred(layer), fixed=fixed)
    pairs = [(0, 0), (0, 1)] if inputs > 1 and not of_norms else [(0, 0)]
    series = [layer.changed(x[a] * x[b])[1:] for a, b in pairs]
    origin = dict.fromkeys(x, sp.S.Zero)
    moved = [layer.moved(a)[1:] for a in range(inputs)]
    require_gaussian([c for one in moved for c in one[:2]], layer.spread(0, 0)[1:3], x)
    require_independent(layer.beside(0, 0)[1:3], field)
    seen = (
        replace(MeanFieldLayer.shifted(layer), fixed=fixed) if of_norms else field
    )  # a fixed width has no centred start
    if any(seen.closed(c.xreplace(origin), True) != 0 for one in moved for c in one):
        field = replace(MeanFieldLayer.shifted(layer), fixed=fixed)
        # a share of the state moves no mean away from 0
        pushed = [c.xreplace(origin) for c in moved[0]] if of_norms else moved[0]
        series.append(tuple(layer.average(c) for c in pushed))
    drift = _table(graded, *(tuple(field.closed(c, True) for c in one) for one in series))
    return drift, {}, drift


def _of_gram(found: Family, graded: Graded, degree: int) -> _Tables:
    """With the width a power of the depth: the mean change and the covariance of the Gram matrix."""
    averaged, finite = as_averages(graded.plain, graded.names)
    small = {symbol: step * name for symbol, name in graded.names.items() if symbol not in finite.values()}
    program = averaged.xreplace(small)
    require_joint(program)
    if program.has_positions and program.orders_positions:
        raise DerivationError(
            "exponents of depth and width together are found for layers whose formulas are the same for any order of the positions, got a filter or "
            'numbers for pairs of positions; ask for order="width"'
        )
    roots = {number: graded.atoms[graded.names[size]] for number, size in finite.items()}

    def moments(beside: int) -> _Tables:
        chain = GramChain(program, max(2, program.positions), Kept(degree, beside))
        drift: dict[Powers, tuple[sp.Expr, ...]] = {}
        noise: dict[Powers, tuple[sp.Expr, ...]] = {}
        firsts = [chain.mean(0, b) for b in range(2)]
        squares = [chain.covariance((0, b), (0, b)) for b in range(2)]
        for table, found_ in ((drift, firsts), (noise, squares)):
            for power, of in ((0, "first"), (1, "second")):
                series = [taylor(getattr(m, of), degree) if getattr(m, of) != 0 else () for m in found_]
                if table is drift and power == 0:
                    series = [one[1:] for one in series]
                for powers, row in _in_sizes(_table(graded, *series, last=power), roots).items():
                    own = table.get(powers, (sp.S.Zero,) * len(row))
                    table[powers] = tuple(map(sp.Add, own, row))
        wide = {powers[:-1]: row for powers, row in drift.items() if powers[-1] == 0}
        return drift, noise, wide

    tables = moments(degree if finite and small else 0)
    count = len(found.sizes)
    pure = (*[sp.S.Zero] * count, sp.S.One)
    # a variance that vanishes with the sizes is of second order in them, so beside 1/n it is less than a drift of second order
    second = all(any(p[k] in (1, 2) and sum(p) == p[k] for p in tables[0]) for k in range(count))
    return tables if second or any(pure in table for table in tables[:2]) else moments(degree)


def _in_sizes(
    table: dict[Powers, tuple[sp.Expr, ...]], roots: dict[sp.Symbol, Powers]
) -> dict[Powers, tuple[sp.Expr, ...]]:
    """Powers of numbers that are sizes times the root of the width as powers of these."""
    if not roots:
        return table
    found: dict[Powers, list[sp.Expr]] = {}
    for powers, row in table.items():
        for place, entry in enumerate(row):
            for degrees, term in sp.Poly(entry, *roots).terms():
                moved = [
                    sum(e * p[k] for e, p in zip(degrees, roots.values(), strict=True)) for k in range(len(powers) - 1)
                ]
                key = (*map(sp.Add, powers[:-1], moved), powers[-1] - sp.Rational(sum(degrees), 2))
                found.setdefault(key, [sp.S.Zero] * len(row))[place] += term
    return {key: tuple(row) for key, row in found.items() if any(row)}


_OBSERVED = {"depth": _of_neurons, "width": _of_flow, "joint": _of_gram}
