r"""Averages over a layer of neurons as objects: :math:`\langle b \rangle = \frac1k \sum_j b(v_j)` with k any number or symbol."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import sympy as sp
from sympy.printing.printer import Printer

from derivations.errors import DerivationError
from derivations.limits.elimination.products import expanded
from derivations.piecewise import pieces
from derivations.piecewise.cases import Cases, Encloses, enclosed, unfolded
from derivations.piecewise.continued import Continued


class LayerAverage(Encloses, sp.Expr):
    r"""The average of a function of one neuron's numbers over the neurons of a layer.

    Built by :func:`layer_average`, which is linear and takes out what is the same for all neurons, so that equal averages
    become equal objects.

    Parameters
    ----------
    body : Expr
        In the bound variables: the numbers of a generic neuron of the layer.
    bound : Tuple of Symbol
        Those that occur.
    layer : Integer
        Which layer of neurons.
    """

    is_commutative = True
    is_extended_real = True
    is_factor = True

    def __new__(cls, body: sp.Expr, bound: sp.Tuple, layer: sp.Integer) -> LayerAverage:  # noqa: D102
        made: LayerAverage = sp.Expr.__new__(cls, enclosed(body), bound, layer)
        return made

    @property
    def body(self) -> sp.Expr:
        """The summand."""
        return unfolded(self.args[0])

    @property
    def bound(self) -> frozenset[sp.Basic]:
        """The variables of the generic neuron."""
        return frozenset(self.args[1].args)

    @property
    def layer(self) -> int:
        """The layer of neurons."""
        return int(self.args[2])

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Whatever occurs besides the bound variables."""
        return set(self._free)

    @cached_property
    def _free(self) -> frozenset[sp.Symbol]:
        return frozenset(self.body.free_symbols - self.bound)

    @property
    def bound_symbols(self) -> list[sp.Symbol]:
        """The variables of the generic neuron that occur."""
        return list(self.args[1].args)

    def _eval_is_extended_positive(self) -> bool | None:
        # almost surely: an average of squares of neurons vanishes only if all of them do
        return True if self.body.is_extended_nonnegative and not may_vanish(self.body) else None

    def _xreplace(self, rule: Any) -> tuple[sp.Basic, bool]:
        if self in rule:
            return rule[self], True
        body, changed = self.body._xreplace(_Without(rule, self.bound))
        return (layer_average(body, self.args[1].args, self.layer), True) if changed else (self, False)

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Expr:
        if old in self.bound:
            return self
        return layer_average(self.body._subs(old, new), self.args[1].args, self.layer)

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        if symbol in self.bound:
            return sp.S.Zero
        return layer_average(sp.diff(self.body, symbol), self.args[1].args, self.layer)

    def _sympystr(self, printer: Printer) -> str:
        return f"<{printer._print(self.body)}>"

    def _latex(self, printer: Printer) -> str:
        return rf"\left\langle {printer._print(self.body)} \right\rangle"


class _Without:
    """A rule of replacement, a mapping or a SymPy transform, that leaves some symbols alone."""

    def __init__(self, rule: Any, kept: frozenset[sp.Basic]) -> None:
        self.rule, self.kept = rule, kept

    def __contains__(self, old: sp.Basic) -> bool:
        return old not in self.kept and old in self.rule

    def __getitem__(self, old: sp.Basic) -> sp.Basic:
        return self.rule[old]

    def get(self, old: sp.Basic, default: Any = None) -> Any:
        """As a mapping has it: SymPy's numbers ask this way."""
        return self.rule[old] if old in self else default


@lru_cache(maxsize=4096)
def may_vanish(expr: sp.Expr) -> bool:
    """Whether a formula can be 0 with positive probability, as one with kinks or i.i.d. factors in {0, 1} can; the numbers of neurons have a density.

    Examples
    --------
    >>> x, d = sp.Symbol("x", real=True), sp.Symbol("d", nonnegative=True)
    >>> [may_vanish(f) for f in (x**2, sp.Max(x, 0), sp.Max(x, x / 2), d**2 * x**2, 1 + sp.Max(x, 0))]
    [False, True, False, True, False]
    >>> [may_vanish(c + layer_average(sp.Max(x, 0) ** 2, (x,), 0)) for c in (0, 1)]
    [True, False]
    """
    if expr == 0:
        return True
    if expr.is_Mul:
        return any(map(may_vanish, expr.args))
    if expr.is_Pow:
        return expr.exp.is_positive is not False and may_vanish(expr.base)
    squares = {a: sp.Dummy(nonnegative=True) for a in expr.atoms(LayerAverage) if a.body.is_extended_nonnegative}
    if expr.is_Add and all(term.xreplace(squares).is_extended_nonnegative for term in expr.args):
        return all(map(may_vanish, expr.args))
    if expr.is_Symbol:
        return bool(expr.is_nonnegative and not expr.is_positive)  # a factor in {0, 1}
    if isinstance(expr, LayerAverage):
        return may_vanish(expr.body)
    if not expr.has(*_KINKED):
        return any(may_vanish(s) for s in expr.free_symbols) and expr.is_positive is not True
    if len(expr.free_symbols) != 1:
        return True
    averages = {node: sp.Dummy("s", positive=True) for node in expr.atoms(LayerAverage)}
    try:
        # with parameters it may be left open which formula holds
        return any(
            part.expr == 0 or part.expr.has(sp.Piecewise)
            for part in pieces(expr.xreplace(averages), *expr.free_symbols)
        )
    except DerivationError:
        return True


#: What can be 0 on an open set.
_KINKED = (sp.Piecewise, sp.Max, sp.Min, sp.Abs, sp.sign, sp.Heaviside, sp.floor, sp.ceiling, Cases, Continued)


class FilterAverage(sp.Expr):
    r"""The average over a filter's weights of what is read at them: where a program is followed at one generic position of each input.

    Parameters
    ----------
    body : Expr
        At one position of each input; each weight reads it at another one, and 0 beyond a border.
    matrix : Integer
        Which filter of the program.
    tag : Tuple of Integer
        Which part of its covariance, or of its mean: the same tag for all inputs.
    places : Tuple of Integer
        Whose: one input for a mean, two for a covariance.
    """

    is_commutative = True
    is_extended_real = True

    @property
    def body(self) -> sp.Expr:
        """What is read."""
        return self.args[0]

    @property
    def is_own(self) -> bool:
        """Whether it is of one input."""
        return len(set(self.args[3])) == 1

    def _sympystr(self, printer: Printer) -> str:
        return f"filter_{self.args[1]}({printer._print(self.body)})"


def layer_average(body: sp.Expr, variables: Sequence[sp.Symbol], layer: int) -> sp.Expr:
    """The average of a body, linear in it; what does not depend on the neuron comes out.

    Examples
    --------
    >>> x, c = sp.symbols("x c", real=True)
    >>> layer_average(3 * c * x**2 + 1, (x,), 0)
    3*c*<x**2> + 1
    """
    terms: list[Any] = []
    for term in sp.Add.make_args(expanded(body, log=False, power_exp=False)):
        outside, inside = term.as_independent(*variables, as_Add=False)
        bound = [v for v in variables if v in inside.free_symbols]
        terms.append(outside if inside == 1 else outside * LayerAverage(inside, sp.Tuple(*bound), sp.Integer(layer)))
    return sp.Add(*terms)


def reduced(expr: sp.Expr) -> sp.Expr:
    """A rational function of averages in lowest terms, as a norm leaves it; anything else as it is."""
    if not any(node.exp.is_negative and node.base.is_Add for node in expr.atoms(sp.Pow)):
        return expr
    names = {node: sp.Dummy("s", real=True) for node in expr.atoms(LayerAverage)}
    opened = expr.xreplace(names)
    if not opened.is_rational_function(*names.values()):
        return expr
    return sp.cancel(opened).xreplace({name: node for node, name in names.items()})
