r"""What a layer's expression is made of besides functions: matrices applied, averages over a layer, i.i.d. factors."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.printing.printer import Printer

from derivations.errors import DerivationError


class Node(sp.Expr):
    """A real number of each neuron and input, or of each input alone, that a layer draws or computes."""

    is_commutative = True
    is_extended_real = True
    is_finite = True

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Those of the expressions inside; a matrix's name is no symbol."""
        inside = [arg for arg in self.args if isinstance(arg, sp.Expr)]
        return set().union(*(arg.free_symbols for arg in inside)) if inside else set()


class Cases(sp.Expr):
    """A function with kinks inside a node, in a form that SymPy does not fold into the functions around the node."""

    is_commutative = True
    is_extended_real = True

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return True if all(value.is_extended_nonnegative for value, _ in self.args) else None


def enclosed(body: sp.Expr) -> sp.Expr:
    """A body as it stands inside a node."""
    return body.replace(sp.Piecewise, lambda *parts: Cases(*(sp.Tuple(*part) for part in parts)))


def unfolded(body: sp.Expr) -> sp.Expr:
    """A body as it is written; nodes in it keep theirs."""
    if not body.has(Cases):
        return body
    names = {node: sp.Dummy(real=True) for node in outermost(body)}
    written = body.xreplace(names).replace(Cases, lambda *parts: sp.Piecewise(*parts))
    return written.xreplace({name: node for node, name in names.items()})


def outermost(expr: sp.Basic) -> set[Node]:
    """The nodes that are inside no other node."""
    if isinstance(expr, Node):
        return {expr}
    return set().union(*(outermost(arg) for arg in expr.args)) if expr.args else set()


class Applied(Node):
    """A random matrix applied to a body: ``A(body)``."""

    @property
    def weights(self) -> Any:
        """The matrix."""
        return self.args[0]

    @property
    def body(self) -> sp.Expr:
        """What it reads, neuron by neuron."""
        return unfolded(self.args[1])

    def _sympystr(self, printer: Printer) -> str:
        return f"{self.args[0].args[0]}({printer._print(self.body)})"

    def _latex(self, printer: Printer) -> str:
        return rf"{self.args[0].args[0]}\,\left({printer._print(self.body)}\right)"


class Average(Node):
    r"""The average :math:`\frac1k\sum_j b_j` over the neurons of a layer, one number for each input."""

    @property
    def body(self) -> sp.Expr:
        """What is averaged."""
        return unfolded(self.args[0])

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return True if self.body.is_extended_nonnegative else None

    def _sympystr(self, printer: Printer) -> str:
        return f"average({printer._print(self.body)})"

    def _latex(self, printer: Printer) -> str:
        return rf"\left\langle {printer._print(self.body)} \right\rangle"


class Factor(Node):
    r"""An i.i.d. factor in {0, 1}, 1 with probability ``keep``: one for each neuron, or one for the whole branch.

    Parameters
    ----------
    name : Symbol
        Factors of different names are independent.
    keep : Expr
        The probability of 1.
    shared : Boolean
        Whether all inputs see the same factor.
    branch : Boolean
        Whether all neurons see the same factor.
    """

    @property
    def keep(self) -> sp.Expr:
        """The probability of 1."""
        return self.args[1]

    @property
    def shared(self) -> bool:
        """Whether all inputs see the same one."""
        return bool(self.args[2])

    @property
    def branch(self) -> bool:
        """Whether all neurons see the same one."""
        return bool(self.args[3])

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Those of the probability."""
        return set(self.keep.free_symbols)

    def _sympystr(self, printer: Printer) -> str:
        return str(self.args[0])

    def _latex(self, printer: Printer) -> str:
        return str(printer._print(self.args[0]))


def average(body: object) -> Average:
    r"""The average of a body over the neurons that it is a function of.

    Examples
    --------
    >>> from derivations.symbols import state
    >>> average(state**2)
    average(x**2)
    """
    expr = sp.sympify(body)
    if not isinstance(expr, sp.Expr):
        raise DerivationError(f"an average is taken of an expression in the state x, got {body!r}")
    return Average(enclosed(expr))
