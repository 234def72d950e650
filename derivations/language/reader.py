r"""From a layer's expression to its program.

Matrices applied, averages and i.i.d. factors become statements, innermost first; equal ones become one. Neurons that meet
in one formula are one layer of neurons, so the numbers of neurons follow from the matrices' and are checked where they meet.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from math import prod

import sympy as sp

from derivations.errors import DerivationError, brief
from derivations.language.broadcast import broadcast
from derivations.language.entries import Correlated
from derivations.language.few import require_quotients
from derivations.language.nodes import (
    Applied,
    Average,
    Factor,
    Node,
    Other,
    OverPositions,
    PositionMatrix,
    Rotary,
    Softmax,
    TransposeApplied,
)
from derivations.language.statements import (
    Back,
    Between,
    Mask,
    Matrix,
    Mean,
    Mix,
    Neurons,
    Program,
    Shares,
    Statement,
    read_symbols,
)
from derivations.language.turned import Turned, angles_over
from derivations.language.weights import Weights
from derivations.piecewise.cases import outermost
from derivations.symbols import state, step, time, width


def program(
    expr: sp.Expr,
    size: sp.Expr = width,
    parameters: frozenset[sp.Symbol] | None = frozenset(),
    positions: tuple[int, ...] = (),
) -> Program:
    """Read a layer's expression.

    Parameters
    ----------
    expr : Expr
        The new state in ``symbols.state`` and ``symbols.step``, with matrices applied, averages and factors.
    size : Expr
        The number of neurons of the state; where a matrix says ``n``, this is meant.
    parameters : set of Symbol or None
        Symbols that may occur besides; None lets any occur.
    positions : tuple of int
        The sizes of the grid of positions that an input has; empty for none.

    Raises
    ------
    DerivationError
        For a symbol that is not declared, numbers of neurons that do not fit, or a statement that reads no neurons.

    Examples
    --------
    >>> A, B = Weights("A"), Weights("B", out=4 * width)
    >>> p = program(state + step * A(B(state) ** 2))
    >>> [(s.symbol, s.body) for s in p.statements], p.update
    ([(_B, x), (_A, _B**2)], _A*varepsilon + x)
    """
    return _program(expr, size, parameters, positions)


@lru_cache(maxsize=64)
def _program(
    expr: sp.Expr, size: sp.Expr, parameters: frozenset[sp.Symbol] | None, positions: tuple[int, ...]
) -> Program:
    """Read once, so that what is known of a layer is found again by its program."""
    return _Reader(size, parameters, positions).read(expr)


class _Reader:
    """Builds statements innermost first, and finds out which neurons are the same layer of neurons."""

    def __init__(self, size: sp.Expr, parameters: frozenset[sp.Symbol] | None, grid: tuple[int, ...]) -> None:
        self.size = size
        self.grid, self.positions = grid, prod(grid)
        self.others: dict[sp.Symbol, sp.Symbol] = {}  # a symbol at another position: the symbol
        self.pairs: set[sp.Symbol] = set()  # numbers for pairs of positions
        self.masks: dict[sp.Symbol, sp.Expr] = {}  # of a softmax
        self.turned = Turned(self.others)
        self.angles: dict[sp.Symbol, sp.ImmutableMatrix] = {}  # of scores
        self.parameters = parameters
        self.parent: list[int] = [0]  # union-find over layers of neurons; 0 is the state's
        self.claims: list[tuple[int, sp.Expr, str]] = [(0, width, "the state")]  # in terms of the width
        self.layer_of: dict[sp.Symbol, int] = {state: 0}
        self.symbols: dict[sp.Basic, sp.Expr] = {}
        self.used: Counter[str] = Counter()
        self.taken: set[str] = set()  # names of the user's symbols
        self.matrices: dict[Weights, tuple[int, int]] = {}
        self.drafts: list[tuple[str, sp.Symbol, Node, sp.Expr, int, int]] = []

    def read(self, expr: sp.Expr) -> Program:
        self.taken = {symbol.name for symbol in sp.sympify(expr).free_symbols | (self.parameters or set())}
        update = self._rewritten(sp.sympify(expr))
        layer = self._layer(update, "the new state")
        self._same(0, layer if layer is not None else 0)
        others = tuple((twin, own) for twin, own in self.others.items() if own not in self.turned)
        found = Program(self._finished(self._sizes()), update, Neurons(0, self.size), self.positions, others)
        require_quotients(found)
        return found

    def _rewritten(self, expr: sp.Expr, pairs: bool = False, turned: bool = False) -> sp.Expr:
        """The expression with a symbol in the place of each node, whose statement is drafted on the way."""
        expr = expr if self.size == 1 else broadcast(expr)
        nodes = sorted(outermost(expr), key=sp.default_sort_key)
        for node in nodes:
            if node not in self.symbols:
                self._draft(node)
        inside = expr.xreplace({node: self.symbols[node] for node in nodes})
        named = {s for value in self.symbols.values() for s in value.free_symbols}
        self._declared(inside, {state, step, *self.layer_of, *named}, expr)
        if not pairs and inside.free_symbols & (self.pairs | set(self.others)):
            raise DerivationError(
                f"{brief(expr)} depends on two positions, this one and another; sum over the other one: over_positions({brief(expr)})"
            )
        if not turned:
            self.turned.require_none(inside, expr)
        return inside

    def _there(self, body: sp.Expr) -> sp.Expr:
        """A body at another position."""
        return body.xreplace({s: self._other(s) for s in body.free_symbols if self._moves(s)})

    def _declared(self, given: sp.Basic | Weights, known: set[sp.Symbol], what: object) -> None:
        """Require that each symbol is known or a declared parameter."""
        if self.parameters is None:
            return
        symbols = given.parameters if isinstance(given, Weights) else given.free_symbols
        for stray in sorted(symbols - known - self.parameters - self.size.free_symbols, key=str):
            if stray == width:
                raise DerivationError(
                    f"the width n stands in {brief(what)}, and it is {self.size} here; give its power as one of epsilon in a Regime, or a width that is a "
                    "number"
                )
            for own in (state, step):
                if stray.name == own.name:
                    raise DerivationError(
                        f"the symbol {stray} in {brief(what)} is not declared as {own} is; write the layer as a function, lambda x: …, or take "
                        f"symbols.{'state' if own == state else 'step'}"
                    )
            if stray.name == time.name:
                raise DerivationError(
                    f"the time {stray} stands in {brief(what)}, and it may in variances and means of matrices only: give the one behind the factor as "
                    f'Weights("A", variance=(1 + {stray})**2)'
                )
            raise DerivationError(
                f"the symbol {stray} is neither the state x, the small parameter nor a declared parameter, in {brief(what)}; "
                f"declare it: Network(..., parameters=({stray},))"
            )

    def _draft(self, node: Node) -> None:
        if isinstance(node, Applied):
            weights = node.weights.over(self.grid)
            self._declared(weights, {time, step}, f"the matrix {weights.name}")
            self._declared(weights.out, {width}, f"the number of neurons of {weights.name}")
            body = self._rewritten(node.body)
            twin = next((w for w in self.matrices if w.name == weights.name and w != weights), None)
            if twin is not None:
                raise DerivationError(
                    f"two different matrices are called {weights.name}; give each its own name, or make them equal"
                )
            source = self._layer(body, node) or 0  # a constant stands for each neuron of the state
            back = isinstance(node, TransposeApplied)
            if weights not in self.matrices and back:  # the transpose reads what the matrix puts out
                self.matrices[weights] = (
                    self._new(sp.S.NaN, weights.name),
                    self._new(weights.out, weights.name),
                )
            elif weights not in self.matrices:
                self.matrices[weights] = source, self._new(weights.out, weights.name)
            first, target = self.matrices[weights]
            if back:
                first, target = target, first
            self._same(first, source)
            self._sizes(f"{node}, where {weights.name} reads one layer of neurons, the same wherever it is applied")
            symbol = self._symbol(node, f"{weights.name}^T" if back else weights.name, real=True)
            self.layer_of[symbol] = target
            self.drafts.append(("back" if back else "matrix", symbol, node, body, first, target))
        elif isinstance(node, Average):
            body = self._rewritten(node.body, pairs=True, turned=True)
            body, angles = self.turned.before(body, node, self.layer_of, self._there)
            over = self._layer(body, node)
            if over is None:
                raise DerivationError(
                    f"{brief(node)} reads no neurons; an average needs a body that depends on the state x"
                )
            positive = {"positive": True} if body.is_nonnegative else {"real": True}
            self.drafts.append(("average", self._number(node, "s", **positive), node, body, over, over))
            if body.free_symbols & (self.pairs | set(self.others)):
                self.pairs.add(self.symbols[node])
            if angles is not None:
                self.angles[self.symbols[node]] = angles
        elif isinstance(node, Rotary):
            self._turn(node)
        elif isinstance(node, Other):
            self.symbols[node] = self._there(self._rewritten(node.body, turned=True))
        elif isinstance(node, OverPositions):
            body = self._rewritten(node.body, pairs=True)
            layer = self._layer(body, node)
            symbol = self._number(node, "m", **({"positive": True} if body.is_positive else {"real": True}))
            if layer is not None:
                self.layer_of[symbol] = layer
            self.drafts.append(("mix", symbol, node, body, -1 if layer is None else layer, 0))
        elif isinstance(node, Softmax):
            body, mask = (self._rewritten(part, pairs=True) for part in (node.body, node.mask))
            if {s for s in (body.free_symbols | mask.free_symbols) if s in self.layer_of}:
                raise DerivationError(
                    f"{brief(node)} reads single neurons; scores are averages over neurons, such as normalised_sum"
                )
            self.pairs.add(symbol := self._number(node, "a", nonnegative=True))
            self.masks[symbol] = mask
            self.drafts.append(("softmax", symbol, node, body, 0, 0))
        elif isinstance(node, PositionMatrix):
            self._declared(node, set(), f"the matrix {brief(node)}")
            given = node.args[0]
            if isinstance(given, sp.MatrixBase) and given.rows != self.positions:
                raise DerivationError(
                    f"the matrix {brief(node)} is over {given.rows} positions and the network over {self.positions}; give it as many rows"
                )
            symbol = self._number(node, "c", **({"nonnegative": True} if node.is_nonnegative else {"real": True}))
            self.pairs.add(symbol)
            self.drafts.append(("between", symbol, node, sp.S.One, 0, 0))
        elif isinstance(node, Factor):
            self._declared(node.keep, set(), f"the factor {brief(node)}")
            self._require_one_law(node)
            symbol = self._symbol(node, node.name, nonnegative=True)
            over = -1 if node.branch else self._new(sp.S.NaN, node.name)
            if not node.branch:
                self.layer_of[symbol] = over
            self.drafts.append(("factor", symbol, node, sp.S.One, over, over))

    def _turn(self, node: Rotary) -> None:
        """Name what is turned, and by which angles."""
        body = self._rewritten(node.body)
        layer = self._layer(body, node)
        if layer is None:
            raise DerivationError(f"{brief(node)} turns no neurons; queries and keys depend on the state x")
        angles = angles_over(node, self.grid)
        for angle in angles:
            self._declared(angle, set(), "the angles of rotary positions")
        symbol = self._symbol(node, "r", real=True)
        self.layer_of[symbol] = layer
        self.turned.add(symbol, body, angles)

    def _require_one_law(self, factor: Factor) -> None:
        """What has one name is dropped together, so that it has one probability."""
        for other in (node for node in self.symbols if isinstance(node, Factor)):
            if other.args[0] == factor.args[0] and other != factor:
                raise DerivationError(
                    f"the factors called {factor.name} are drawn together, and differ in keep, in shared or in what they drop, neurons or a "
                    "branch; give them different names"
                )

    def _moves(self, symbol: sp.Symbol) -> bool:
        """Whether a symbol stands for something that differs from position to position."""
        return symbol in self.layer_of or any(symbol == value for value in self.symbols.values())

    def _other(self, symbol: sp.Symbol) -> sp.Symbol:
        """The symbol's value at another position."""
        found = next((twin for twin, own in self.others.items() if own == symbol), None)
        if found is None:
            found = sp.Dummy(f"{symbol.name}'", **symbol.assumptions0)
            self.others[found] = symbol
            if symbol in self.layer_of:
                self.layer_of[found] = self.layer_of[symbol]
        return found

    def _number(self, node: Node, stem: str, **assumptions: bool) -> sp.Symbol:
        """A symbol with a name of ours, which none of the user's has."""
        while (stem if not self.used[stem] else f"{stem}_{self.used[stem] + 1}") in self.taken:
            self.used[stem] += 1
        return self._symbol(node, stem, **assumptions)

    def _symbol(self, node: Node, stem: str, **assumptions: bool) -> sp.Symbol:
        self.used[stem] += 1
        count = self.used[stem]
        symbol = sp.Dummy(stem if count == 1 else f"{stem}_{count}", **assumptions)
        self.symbols[node] = symbol
        return symbol

    def _new(self, size: sp.Expr, name: str) -> int:
        self.parent.append(len(self.parent))
        if size is not sp.S.NaN:
            count = size.subs(width, self.size)
            if count.is_number and count.is_finite and not (count.is_Integer and count > 0):
                raise DerivationError(
                    f"{name} must put out a positive whole number of neurons, got {size} = {count} at a width of {self.size}"
                )
            self.claims.append((len(self.parent) - 1, size, name))
        return len(self.parent) - 1

    def _root(self, layer: int) -> int:
        while self.parent[layer] != layer:
            layer = self.parent[layer]
        return layer

    def _same(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        self.parent[high] = low

    def _layer(self, body: sp.Expr, what: object) -> int | None:
        """The layer of neurons that a body is a function of: all that occur in it are the same."""
        layers = [self.layer_of[s] for s in sorted(body.free_symbols, key=sp.default_sort_key) if s in self.layer_of]
        for other in layers[1:]:
            self._same(layers[0], other)
        self._sizes(what)
        return layers[0] if layers else None

    def _sizes(self, what: object = "the layer") -> dict[int, sp.Expr]:
        """The number of neurons of each layer, in terms of the width.

        Raises
        ------
        DerivationError
            If one layer has two.
        """
        sizes: dict[int, tuple[sp.Expr, str]] = {}
        for layer, size, name in self.claims:
            first, other = sizes.setdefault(self._root(layer), (size, name))
            if first != size and (self.size == sp.oo or self._counted(first) != self._counted(size)):
                here, there = (s if self.size == sp.oo else self._counted(s) for s in (first, size))
                raise DerivationError(
                    f"shapes do not fit in {brief(what)}: {other} has {here} neurons and {name} has {there}; "
                    f"give the matrix that puts them out out={here}"
                )
        return {root: size for root, (size, _) in sizes.items()}

    def _counted(self, size: sp.Expr) -> sp.Expr:
        return size.subs(width, self.size)

    def _finished(self, sizes: dict[int, sp.Expr]) -> tuple[Statement, ...]:
        made: list[Statement] = []

        def neurons(layer: int) -> Neurons:
            root = self._root(layer)
            said = sizes.get(root, width)  # what only a transpose puts out is as wide as the state
            return Neurons(root, self._counted(said), said)

        for kind, symbol, node, body, first, second in self.drafts:
            if kind == "matrix":
                assert isinstance(node, Applied)
                made.append(Matrix(symbol, node.weights.over(self.grid), body, neurons(first), neurons(second)))
                _require_fit(made[-1])
            elif kind == "back":
                assert isinstance(node, Applied)
                made.append(Back(symbol, node.weights, body, neurons(first), neurons(second)))
            elif kind == "average":
                assert isinstance(node, Average)
                made.append(
                    Mean(symbol, body, neurons(first), node.power, symbol in self.pairs, self.angles.get(symbol))
                )
            elif kind == "mix":
                made.append(Mix(symbol, body, None if first < 0 else neurons(first)))
            elif kind == "softmax":
                made.append(Shares(symbol, body, self.masks[symbol]))
            elif kind == "between":
                assert isinstance(node, PositionMatrix)
                made.append(Between(symbol, node))
            else:
                assert isinstance(node, Factor)
                over, each = None if first < 0 else neurons(first), self.positions if node.everywhere else 1
                made.append(Mask(symbol, node.keep, node.shared, over, each))
        return tuple(_transposes_last(made))


def _require_fit(statement: Statement) -> None:
    """Covariances of rows and columns are as large as what is put out and read."""
    assert isinstance(statement, Matrix)
    law, name = statement.weights.law, statement.weights.name
    if not isinstance(law, Correlated):
        return
    for word, matrix, size in (
        ("row_covariance", law.rows, statement.target.size),
        ("column_covariance", law.columns, statement.source.size),
    ):
        if matrix.rows and matrix.rows != size:
            raise DerivationError(
                f"shapes do not fit: {word} of {name} is {matrix.rows} × {matrix.rows} and there are {size} neurons; give the width as a "
                "number, and matrices of its size"
            )


def _transposes_last(statements: list[Statement]) -> list[Statement]:
    """In an order in which a transpose comes after its matrix: given what the matrix put out, the law of the transpose is known.

    Raises
    ------
    DerivationError
        If the matrix reads what its transpose put out.
    """
    made = list(statements)
    for back in [s for s in statements if isinstance(s, Back)]:
        forward = [s for s in made if isinstance(s, Matrix) and s.weights == back.weights]
        if not forward or made.index(forward[-1]) < made.index(back):
            continue
        first, last = made.index(back), made.index(forward[-1])
        moved: list[Statement] = [back]
        for s in made[first + 1 : last + 1]:
            if read_symbols(s) & {m.symbol for m in moved}:
                moved.append(s)
        if forward[-1] in moved:
            raise DerivationError(
                f"the matrix {back.weights.name} reads what its transpose put out; use another matrix there"
            )
        rest = [s for s in made[first : last + 1] if s not in moved]
        made[first : last + 1] = [*rest, *moved]
    return made
