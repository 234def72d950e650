r"""What a layer's expression is made of besides functions: matrices applied, averages over a layer, i.i.d. factors."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.printing.printer import Printer

from derivations.decimals import exact_decimals
from derivations.errors import DerivationError
from derivations.piecewise.cases import Encloses, enclosed, unfolded


class Node(Encloses, sp.Expr):
    """A real number of each neuron and input, or of each input alone, that a layer draws or computes."""

    is_commutative = True
    is_extended_real = True
    is_finite = True

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Those of the expressions inside; a matrix's name is no symbol."""
        inside = [arg for arg in self.args if isinstance(arg, sp.Expr)]
        return set().union(*(arg.free_symbols for arg in inside)) if inside else set()


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


class TransposeApplied(Applied):
    """The transpose of a random matrix applied to a body: ``A.T(body)``, of the neurons that the matrix puts out."""

    def _sympystr(self, printer: Printer) -> str:
        return f"{self.args[0].args[0]}.T({printer._print(self.body)})"

    def _latex(self, printer: Printer) -> str:
        return rf"{self.args[0].args[0]}^{{\top}}\,\left({printer._print(self.body)}\right)"


class Average(Node):
    r"""A sum over the k neurons of a layer over k, or over :math:`\sqrt k`: one number for each input, or for each pair of positions.

    Parameters
    ----------
    body : Expr
        What is summed.
    power : Rational
        1 for the average :math:`\frac1k\sum_j b_j`, 1/2 for :math:`\frac1{\sqrt k}\sum_j b_j`.
    """

    @property
    def body(self) -> sp.Expr:
        """What is averaged."""
        return unfolded(self.args[0])

    @property
    def power(self) -> sp.Expr:
        """The power of the number of neurons by which the sum is divided."""
        return self.args[1]

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return True if self.body.is_extended_nonnegative else None

    def _sympystr(self, printer: Printer) -> str:
        word = "average" if self.power == 1 else "normalised_sum"
        return f"{word}({printer._print(self.body)})"

    def _latex(self, printer: Printer) -> str:
        body = printer._print(self.body)
        return rf"\left\langle {body} \right\rangle" if self.power == 1 else rf"\tfrac{{1}}{{\sqrt k}}\sum {body}"


class Other(Node):
    """A body at another position of the same input: inside a sum over positions, or in an average, which is then one of each pair."""

    @property
    def body(self) -> sp.Expr:
        """What is taken there."""
        return unfolded(self.args[0])

    def _sympystr(self, printer: Printer) -> str:
        return f"other({printer._print(self.body)})"

    def _latex(self, printer: Printer) -> str:
        return rf"\left({printer._print(self.body)}\right)^{{\beta}}"


class OverPositions(Node):
    r"""The sum over all positions :math:`\beta` of the input of a body that may hold :class:`Other`."""

    @property
    def body(self) -> sp.Expr:
        """What is summed."""
        return unfolded(self.args[0])

    def _sympystr(self, printer: Printer) -> str:
        return f"over_positions({printer._print(self.body)})"

    def _latex(self, printer: Printer) -> str:
        return rf"\sum_\beta {printer._print(self.body)}"


class Softmax(Node):
    r"""Shares :math:`m_{\alpha\beta}e^{Y_{\alpha\beta}}/\sum_\delta m_{\alpha\delta}e^{Y_{\alpha\delta}}` of the other positions.

    Parameters
    ----------
    scores : Expr
        Y, a number for each pair of positions.
    mask : Expr
        m, nonnegative.
    """

    @property
    def body(self) -> sp.Expr:
        """The scores."""
        return unfolded(self.args[0])

    @property
    def mask(self) -> sp.Expr:
        """What the exponentials are multiplied by."""
        return unfolded(self.args[1])

    def _eval_is_extended_nonnegative(self) -> bool:
        return True

    def _sympystr(self, printer: Printer) -> str:
        return f"softmax({', '.join(printer._print(arg) for arg in self.args[: 1 if self.mask == 1 else 2])})"

    def _latex(self, printer: Printer) -> str:
        return rf"\mathrm{{softmax}}_\beta\left({printer._print(self.body)}\right)"


class Rotary(Node):
    r"""A body whose neurons are turned in pairs by angles of the position's own; scores alone read it.

    Parameters
    ----------
    body : Expr
    turns : Tuple or Matrix
        The frequencies, angles by which one position is turned further than the one before, or the angles themselves, a row for each kind of pair
        and a column for each position.
    """

    @property
    def body(self) -> sp.Expr:
        """What is turned."""
        return unfolded(self.args[0])

    def angles(self, positions: int) -> sp.ImmutableMatrix:
        """A row for each kind of pair, a column for each position."""
        turns = self.args[1]
        if isinstance(turns, sp.MatrixBase):
            return turns
        return sp.ImmutableMatrix(len(turns), positions, lambda f, place: place * turns[f])

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Of the body and of the angles."""
        return set().union(*(arg.free_symbols for arg in self.args))

    def _sympystr(self, printer: Printer) -> str:
        turns = self.args[1].tolist() if isinstance(self.args[1], sp.MatrixBase) else list(self.args[1])
        return f"rotary({printer._print(self.body)}, {printer._print(turns)})"

    def _latex(self, printer: Printer) -> str:
        return rf"R\left({printer._print(self.body)}\right)"


class PositionMatrix(Node):
    """A number for each pair of positions, this one and the other one: a matrix, or a function of the two places."""

    def entry(self, here: int, there: int) -> sp.Expr:
        """For two positions, counted from 0."""
        given = self.args[0]
        return self.shown(sp.Integer(here), sp.Integer(there)) if isinstance(given, sp.Lambda) else given[here, there]

    def shown(self, here: sp.Expr, there: sp.Expr) -> sp.Expr:
        """The function at two places, or the whole matrix."""
        given = self.args[0]
        if not isinstance(given, sp.Lambda):
            return given
        return unfolded(given.expr).xreplace(dict(zip(given.variables, (here, there), strict=True)))

    def _eval_is_extended_nonnegative(self) -> bool | None:
        given = self.args[0]
        body = [given.expr] if isinstance(given, sp.Lambda) else list(given)
        return True if all(entry.is_extended_nonnegative for entry in body) else None

    def _sympystr(self, printer: Printer) -> str:
        given = self.args[0]
        entries = self.shown(*sp.symbols("here there")) if isinstance(given, sp.Lambda) else given.tolist()
        return f"position_matrix({printer._print(entries)})"

    def _latex(self, printer: Printer) -> str:
        return str(printer._print(self.shown(*sp.symbols("alpha beta"))))


class Factor(Node):
    r"""An i.i.d. factor in {0, 1}, 1 with probability ``keep``: one for each neuron, or one for the whole branch.

    Parameters
    ----------
    symbol : Symbol
        Factors of different symbols are independent.
    keep : Expr
        The probability of 1.
    shared : Boolean
        Whether all inputs see the same factor.
    branch : Boolean
        Whether all neurons see the same factor.
    everywhere : Boolean
        Whether all positions of an input see the same factor.
    """

    @property
    def name(self) -> str:
        """As it is printed; factors of different bodies may have the same."""
        name: str = self.args[0].name
        return name

    @property
    def keep(self) -> sp.Expr:
        """The probability of 1."""
        return self.args[1]

    @property
    def shared(self) -> bool:
        """Whether all inputs see the same one."""
        return bool(self.args[2])

    @property
    def unshared(self) -> Factor:
        """The same, drawn for each input on its own."""
        return Factor(*self.args[:2], sp.false, *self.args[3:])

    @property
    def branch(self) -> bool:
        """Whether all neurons see the same one."""
        return bool(self.args[3])

    @property
    def everywhere(self) -> bool:
        """Whether all positions of an input see the same one."""
        return bool(self.args[4])

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Those of the probability."""
        return set(self.keep.free_symbols)

    def _sympystr(self, printer: Printer) -> str:
        return self.name

    def _latex(self, printer: Printer) -> str:
        return str(printer._print(sp.Symbol(self.name)))


def average(body: object) -> Average:
    r"""The average of a body over the neurons that it is a function of; with :func:`~derivations.other` one of each pair of positions.

    Examples
    --------
    >>> from derivations.symbols import state
    >>> average(state**2)
    average(x**2)
    """
    return Average(body_of(body, "an average is taken of"), sp.S.One)


def normalised_sum(body: object) -> Average:
    r"""The sum :math:`k^{-1/2}\sum_j b_j` over the k neurons that a body is a function of, as scores of attention are.

    At infinite width it is Gaussian where the body is centred given the state, and does not exist where it is not.

    Examples
    --------
    >>> from derivations.symbols import state
    >>> normalised_sum(state)
    normalised_sum(x)
    """
    return Average(body_of(body, "a normalised sum is taken of"), sp.S.Half)


def body_of(body: object, what: str) -> sp.Expr:
    """An expression, or an error that says what needs one."""
    try:
        expr = exact_decimals(body)  # text is never evaluated
    except sp.SympifyError:
        expr = None
    if not isinstance(expr, sp.Expr):
        raise DerivationError(f"{what} an expression in the state x, got {body!r}")
    return enclosed(expr)
