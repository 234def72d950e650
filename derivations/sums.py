r"""A sum over the neurons of a layer, with the number of neurons a symbol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import sympy as sp
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.printer import Printer

from derivations.binding import Binding, bound_symbols, opened, printed_symbols
from derivations.errors import DerivationError, brief
from derivations.piecewise import Piece, canonical, join, pieces
from derivations.piecewise.cases import Encloses, enclosed, unfolded

#: What counts neurons in sums, from the inside out.
_INDICES = "jrp"


def coordinates(count: int, taken: Iterable[sp.Basic] = ()) -> tuple[sp.Dummy, ...]:
    """A summand's own variables: the same ones for every sum, so that equal sums compare equal."""
    return bound_symbols([f"xi_{a}" for a in range(1, count + 1)], taken, real=True)


class CoordinateSum(Encloses, Binding):
    r"""The function :math:`x \mapsto \sum_{j=1}^{n} g(x_j)` of a layer's state, as one object.

    Each :math:`x_j \in \mathbb{R}^m` is one neuron's state over the m network inputs and n
    may be a symbol. Itô's formula on functions of such sums needs only the derivatives of g,

    .. math:: \partial_{x_i} \sum_j g(x_j) = g'(x_i),

    so it closes on further sums (:meth:`derivations.diffusion.NeuronDiffusion.generator`).
    Build sums with :func:`coordinate_sum`, which is linear: it takes constants out and splits
    the summand into terms and smooth pieces, so that equal functions become equal objects.

    Parameters
    ----------
    body : Expr
        The summand in the bound variables.
    bound : Tuple of Symbol
        The bound variables, one per network input; the sum renames them to dummies of its own.
    width : Expr
        The number n of neurons, a positive integer or a symbol.

    Examples
    --------
    >>> x, n = sp.Symbol("x", real=True), sp.Symbol("n", integer=True, positive=True)
    >>> coordinate_sum(3 * x**2 + 1, (x,), n)
    n + 3*Sum_j(x_j**2)
    """

    #: What stands below a state in equations: the time, or the layer.
    moment: ClassVar[str] = "t"

    def __new__(cls, body: sp.Expr, bound: sp.Tuple, width: sp.Expr) -> CoordinateSum:  # noqa: D102
        body, given, width = sp.sympify(body), tuple(bound), sp.sympify(width)
        own = coordinates(len(given), (body.free_symbols - set(given)) | width.free_symbols)
        if own != given:
            body = body.xreplace(dict(zip(given, own, strict=True)))
        made: CoordinateSum = sp.Expr.__new__(cls, enclosed(body), sp.Tuple(*own), width)
        return made

    @property
    def body(self) -> sp.Expr:
        """The summand g in the bound variables."""
        return unfolded(self.args[0])

    @property
    def width(self) -> sp.Expr:
        """The number of neurons."""
        return self.args[2]

    @property
    def bound_symbols(self) -> list[sp.Symbol]:
        """The bound variables, one per network input."""
        return list(self.args[1].args)

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Parameters: whatever occurs besides the bound variables."""
        free: set[sp.Symbol] = self.body.free_symbols - set(self.bound_symbols)
        return free | set(self.width.free_symbols)

    def at(self, neuron: Sequence[sp.Expr]) -> sp.Expr:
        """The summand at one neuron's state."""
        return self.body.xreplace(dict(zip(self.bound_symbols, map(sp.sympify, neuron), strict=True)))

    def explicit(self, neurons: Sequence[Sequence[sp.Expr]]) -> sp.Expr:
        """The sum written out over given neurons' states."""
        return sp.Add(*(self.at(neuron) for neuron in neurons))

    def _eval_is_real(self) -> bool | None:
        return True if self.body.is_real and self.width.is_real else None

    def _eval_is_nonnegative(self) -> bool | None:
        return True if self.body.is_nonnegative or self.counts else None

    def _eval_derivative(self, parameter: sp.Symbol) -> sp.Expr:
        if parameter in self.bound_symbols:
            return sp.S.Zero
        if self.width.has(parameter):
            raise DerivationError(
                f"cannot differentiate {brief(self)} in {parameter}, the number of its terms; differentiate in a parameter of the summand"
            )
        return coordinate_sum(sp.diff(self.body, parameter), self.bound_symbols, self.width)

    def _changed(self, change: Callable[[sp.Basic], sp.Basic]) -> sp.Expr:
        function = opened(sp.Lambda(tuple(self.bound_symbols), self.body))
        body, width = change(function.expr), change(self.width)
        if width == 1:  # which neuron is left has no name, so the sum stays
            return CoordinateSum(body, function.variables, width)
        return coordinate_sum(body, function.variables, width)

    @property
    def precedence(self) -> int:
        """A power of a sum needs a bracket."""
        return int(PRECEDENCE["Mul"]) + 5

    @property
    def counts(self) -> bool:
        """Whether the summand is 1 on one side of a point and 0 on the other, so that the sum is a number of neurons."""
        return (
            isinstance(self.body, sp.Piecewise)
            and len(self.body.args) == 2
            and {e for e, _ in self.body.args} == {sp.S.Zero, sp.S.One}
        )

    @property
    def index(self) -> str:
        """What counts the neurons: j, and further letters where sums are inside."""
        inside = [node.index for node in self.body.atoms(CoordinateSum)]
        return _INDICES[min(1 + max(map(_INDICES.index, inside)), len(_INDICES) - 1)] if inside else _INDICES[0]

    def generic(self, state: str = "x") -> sp.Expr:
        """The summand at one neuron, for printing beside neuron i; a capital X has the indices that equations have, a time below."""
        inputs, j = range(1, len(self.bound_symbols) + 1), self.index
        if state == "X":
            above = [f"{{{j},{a}}}" for a in inputs] if len(inputs) > 1 else [j]
            names = [f"X_{self.moment}^{one}" for one in above]
        else:
            names = [f"{state}_{j}^{a}" for a in inputs] if len(inputs) > 1 else [f"{state}_{j}"]
        return self.at(printed_symbols(names, self))

    def printed(self, state: str = "x") -> tuple[sp.Expr, sp.Basic | None]:
        """The summand at one neuron, and the condition on it outside of which it is 0, or None."""
        body = self.generic(state)
        if isinstance(body, sp.Piecewise) and len(body.args) == 2 and sp.S.Zero in (body.args[0][0], body.args[1][0]):
            (first, condition), (second, _) = body.args
            return (first, condition) if second == 0 else (second, sp.Not(condition))
        return body, None

    def _numpycode(self, printer: Printer, **settings: object) -> str:
        raise DerivationError(
            f"{brief(self)} holds no neurons to compute with; write the sum out with explicit(neurons), or use numerics.compile.compile_sums"
        )

    _pythoncode = _mpmathcode = _numpycode

    def _latex(self, printer: Printer) -> str:
        (body, condition), n = self.printed(_state(printer)), printer._print(self.width)
        if condition is not None:
            where = printer._print(condition)
            return (
                rf"\#\left\{{{self.index} : {where}\right\}}"
                if body == 1
                else rf"\sum_{{{self.index} \le {n} : {where}}} {printer._print(body)}"
            )
        inner = printer._print(body)
        return rf"\sum_{{{self.index}=1}}^{{{n}}} " + (rf"\left({inner}\right)" if isinstance(body, sp.Add) else inner)

    def _sympystr(self, printer: Printer) -> str:
        body, condition = self.printed(_state(printer))
        if condition is not None and body == 1:
            return f"Count_{self.index}({printer._print(condition)})"
        return f"Sum_{self.index}({printer._print(body if condition is None else self.generic(_state(printer)))})"


def _state(printer: Printer) -> str:
    """The letter of the state: that of the equations in printers that have the setting ``state``."""
    return str(printer._settings.get("state", "x"))


def written_out(expr: sp.Expr, neurons: Sequence[Sequence[sp.Expr]]) -> sp.Expr:
    """An expression with its sums over a layer written out over given neurons' states, sums inside sums too.

    Examples
    --------
    >>> x, a, b = sp.symbols("x a b", real=True)
    >>> mean = coordinate_sum(x, (x,), sp.Integer(2)) / 2
    >>> written_out(coordinate_sum((x - mean) ** 2, (x,), sp.Integer(2)), [(a,), (b,)]).expand()
    a**2/2 - a*b + b**2/2
    """
    made: dict[sp.Basic, sp.Expr] = {}  # inner ones first, so that each summand is gone through once
    for node in sorted(expr.atoms(CoordinateSum), key=lambda node: len(node.atoms(CoordinateSum))):
        function = sp.Lambda(tuple(node.bound_symbols), node.body.xreplace(made))
        made[node] = sp.Add(*(function(*map(sp.sympify, neuron)) for neuron in neurons))
    return expr.xreplace(made)


def coordinate_sum(body: sp.Expr, variables: Sequence[sp.Symbol], width: sp.Expr) -> sp.Expr:
    r"""Write :math:`\sum_{j=1}^{n} g(x_j)` as a linear combination of irreducible sums.

    Linearity is what makes sums comparable: with :math:`g = \sum_k c_k g_k` over the terms of
    each smooth piece of g, the result is :math:`\sum_k c_k \sum_j g_k(x_j)`; a constant
    contributes n times itself, and one neuron alone contributes its summand.

    Parameters
    ----------
    body : Expr
        The summand g in ``variables``; other symbols are parameters.
    variables : sequence of Symbol
        One neuron's state, one symbol per network input.
    width : Expr
        The number of neurons n.

    Examples
    --------
    >>> x, n = sp.Symbol("x", real=True), sp.Symbol("n", integer=True, positive=True)
    >>> coordinate_sum(sp.Max(x, -x / 2) ** 2, (x,), n)
    Sum_j(Piecewise((0, x_j <= 0), (x_j**2, True))) + Sum_j(Piecewise((x_j**2, x_j <= 0), (0, True)))/4
    """
    body, width = sp.sympify(body), sp.sympify(width)
    if width == 1:
        return body
    # a sum inside is a number, the same for all neurons; one of squares is positive, almost surely
    inside = {
        node: sp.Dummy("s", **({"positive": True} if node.is_nonnegative and not node.counts else {"real": True}))
        for node in body.atoms(CoordinateSum)
    }
    parts = _Terms(body.xreplace(inside), variables, width, {name: node for node, name in inside.items()})
    return parts.total()


class _Terms:
    """The irreducible sums of a summand, with numbers that stand for sums inside it."""

    def __init__(
        self, body: sp.Expr, variables: Sequence[sp.Symbol], width: sp.Expr, inside: dict[sp.Basic, sp.Basic]
    ) -> None:
        self.width, self.inside = width, inside
        free = (body.xreplace(inside).free_symbols - set(variables)) | width.free_symbols
        self.bound = coordinates(len(variables), free)
        self.body = body.subs(dict(zip(variables, self.bound, strict=True)), simultaneous=True)

    def total(self) -> sp.Expr:
        present = [b for b in self.bound if self.body.has(b)]
        if len(present) == 1 and self.body.has(sp.Piecewise, sp.Abs, sp.Max, sp.Min, sp.sign, sp.Heaviside):
            whole = self._split(present[0])
            if len(whole) > 1:
                return self._over_pieces(whole, present[0])
            self.body = whole[0].expr if whole else self.body
        terms = []
        for term in sp.Add.make_args(sp.expand(self.body)):
            constant, rest = term.as_independent(*self.bound, as_Add=False)
            terms.append(self._known(constant) * (self.width if rest == 1 else self._sum(rest)))
        return sp.Add(*terms)

    def _split(self, variable: sp.Symbol) -> tuple[Piece, ...]:
        """The summand's pieces; none where their order depends on numbers that are not known."""
        try:
            return pieces(canonical(self.body, variable), variable)
        except DerivationError:
            return ()

    def _known(self, expr: sp.Expr) -> sp.Expr:
        return expr.xreplace(self.inside)

    def _sum(self, body: sp.Expr) -> sp.Expr:
        return CoordinateSum(self._known(body), self.bound, self.width)

    def _over_pieces(self, whole: tuple[Piece, ...], variable: sp.Symbol) -> sp.Expr:
        """Split a summand with kinks into (piece, term) pairs, each one sum that vanishes off its piece."""
        total = sp.S.Zero
        for index, part in enumerate(whole):
            for term in sp.Add.make_args(part.expr):
                constant, rest = term.as_independent(variable, as_Add=False)
                if constant == 0:
                    continue
                if (
                    rest == 1 and index == 0
                ):  # almost surely every neuron is on some piece: count the first by the others
                    others = sp.Add(*(self._one_piece(whole, k, sp.S.One, variable) for k in range(1, len(whole))))
                    total += self._known(constant) * (self.width - others)
                    continue
                total += self._known(constant) * self._one_piece(whole, index, rest, variable)
        return total

    def _one_piece(self, whole: tuple[Piece, ...], index: int, body: sp.Expr, variable: sp.Symbol) -> sp.Expr:
        """The sum over the neurons on one piece."""
        alone = tuple(Piece(p.left, p.right, body if k == index else sp.S.Zero) for k, p in enumerate(whole))
        return self._sum(join(alone, variable))
