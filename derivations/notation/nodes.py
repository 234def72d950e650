r"""The notation of the page as SymPy objects: what a formula needs besides expressions, once for all formats.

A piece of notation, such as :math:`\mathrm{d}X_t` or :math:`\mathbb{E}[\Delta \mid X]`, is an object without rules of computation. Each
format is one printer, with one pattern or method for each class below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partialmethod
from typing import Any, ClassVar

import sympy as sp
from sympy.core.symbol import Str
from sympy.printing.conventions import split_super_sub
from sympy.printing.latex import translate
from sympy.printing.precedence import PRECEDENCE

from derivations.special import LogNormalCdf


class Notation(sp.Expr):
    """A piece of notation; text among its arguments becomes a SymPy string."""

    is_commutative = True

    def __new__(cls, *args: object) -> Notation:
        """Keep the arguments as they are."""
        made: Notation = sp.Basic.__new__(cls, *(Str(a) if isinstance(a, str) else sp.sympify(a) for a in args))
        return made


class Word(Notation):
    """Upright text among mathematics."""


class Scripted(Notation):
    r"""A letter with lower and upper indices, :math:`X_{\ell}^{i}`: its arguments are the letter and two tuples."""

    @property
    def precedence(self) -> int:
        """A power of a letter with an upper index needs a bracket."""
        return int(PRECEDENCE["Pow" if self.args[2] else "Atom"])

    @staticmethod
    def are_letters(indices: sp.Tuple) -> bool:
        """Whether indices can stand beside each other without commas."""
        return all(i.is_Symbol and i.name.isalpha() for i in indices)


class DifferentialOf(Notation):
    r""":math:`\mathrm{d}x`."""


class Rate(Notation):
    r""":math:`\mathrm{d}x/\mathrm{d}t`, of a state and a time."""

    precedence = PRECEDENCE["Mul"]


class DerivativeOf(Notation):
    r""":math:`\frac{\mathrm{d}}{\mathrm{d}t}\,b`, of a body and a time."""

    precedence = PRECEDENCE["Mul"]


class Partial(Notation):
    r"""The operator :math:`\partial_z`."""


class Variation(Notation):
    r"""The differential of a covariation, :math:`\mathrm{d}[x, y]_t`: two processes and the time."""


class Expectation(Notation):
    r""":math:`\mathbb{E}[x \mid V]`: of what, and a tuple of what is given."""


class Variance(Notation):
    r""":math:`\mathrm{Var}[x \mid V]`: of what, and a tuple of what is given."""


class Covariance(Notation):
    r""":math:`\mathrm{Cov}[x, y \mid V]`: a tuple of two, and a tuple of what is given."""


class ProbabilityOf(Notation):
    """The probability of an event."""


class TransitionDensity(Notation):
    r"""The transition density :math:`p_t(x \mid x_0)`: time, state and start."""


class Distribution(Notation):
    r"""A distribution by its name and parameters, :math:`N(0, 1/n)`."""


class Total(Notation):
    r"""A sum :math:`\sum_{j=1}^{k} b_j`: the body, the index, the upper bound, and a tuple of further indices, over a filter T."""

    precedence = PRECEDENCE["Mul"]


class Juxtaposed(Notation):
    """Factors beside each other, in this order."""

    precedence = PRECEDENCE["Mul"]


class Listed(Notation):
    """Several things with commas between them."""


class Angled(Notation):
    r"""An average :math:`\langle b \rangle` over hidden neurons."""


class Transposed(Notation):
    r""":math:`A^\top`."""


class Norm(Notation):
    r""":math:`\|x\|`."""


class Remainder(Notation):
    r"""What is smaller than, or of the order of, something: :math:`o(\varepsilon^2)`; the letter and the scale."""


class EvaluatedAt(Notation):
    """A body at a condition."""


def letter(name: str) -> sp.Symbol:
    """A real symbol for display only.

    Examples
    --------
    >>> letter("kappa")
    kappa
    """
    return sp.Symbol(name, real=True)


def indexed(stem: sp.Symbol | str, lower: tuple[object, ...] = (), upper: tuple[object, ...] = ()) -> Scripted:
    r"""A letter with indices, such as :math:`X_{\ell}^{i}`.

    Examples
    --------
    >>> indexed("W", ("i", "j")).args
    (W, (i, j), ())
    >>> indexed("W_1", ("i", "j")).args
    (W, (1, i, j), ())
    >>> indexed("mlp_up", ("i", "j")).args
    (Word(mlp_up), (i, j), ())
    """

    def place(names: tuple[object, ...]) -> sp.Tuple:
        return sp.Tuple(*(_name(letter(name) if isinstance(name, str) else sp.sympify(name)) for name in names))

    symbol = letter(stem) if isinstance(stem, str) else stem
    base, above, below = split_super_sub(symbol.name)
    if _is_word(base):
        symbol, above, below = Word(symbol.name), [], []
    elif base != symbol.name and (above or below):  # indices of its own come first
        symbol = sp.Symbol(base, **symbol.assumptions0)
    else:
        above, below = [], []
    made = Scripted(symbol, place((*below, *lower)), place((*above, *upper)))
    assert isinstance(made, Scripted)
    return made


def _name(index: sp.Expr) -> sp.Expr:
    """An index that holds a word as upright text: its letters are no product."""
    if not index.is_Symbol:
        return index
    base, above, below = split_super_sub(index.name)
    return Word(index.name) if any(map(_is_word, (base, *above, *below))) else index


def _is_word(text: str) -> bool:
    """Several letters that name no letter of an alphabet and no accent."""
    return text.isascii() and text.isalpha() and len(text) > 1 and translate(text) == text


def expected(body: sp.Expr, *given: sp.Expr) -> Notation:
    r""":math:`\mathbb{E}[b \mid g]`."""
    return Expectation(body, sp.Tuple(*given))


def covariance_of(first: sp.Expr, second: sp.Expr, *given: sp.Expr) -> Notation:
    r""":math:`\mathrm{Cov}[f, g \mid v]`."""
    return Covariance(sp.Tuple(first, second), sp.Tuple(*given))


def equals(left: sp.Expr, right: sp.Expr) -> sp.Basic:
    """The equation itself, neither decided nor turned around."""
    return sp.Eq(left, right, evaluate=False)


class Numerator(sp.Expr):
    """A power as a factor that printers ask nothing about; it stands where the power would."""

    is_commutative = True

    def sort_key(self, order: str | None = None) -> Any:
        """The power's own place among the factors."""
        return self.args[0].sort_key(order)


def without_questions(product: sp.Mul) -> sp.Mul:
    r"""A product whose powers of negative exponents in symbols, such as :math:`e^{-t/2}`, are said to be no denominators.

    SymPy's printers put a power with a negative number as its exponent below the line, and ask of every other one whether it is a number
    by simplifying it: seconds for an exponent with sums and cases inside.

    Examples
    --------
    >>> t, x = sp.symbols("t x", positive=True)
    >>> without_questions(sp.exp(-t / 2) / x)
    Numerator(exp(-t/2))/x
    """
    kept = {f: Numerator(f) for f in product.args if (f.is_Pow or isinstance(f, sp.exp)) and _varies(f)}
    return sp.Mul(*(kept.get(f, f) for f in product.args), evaluate=False) if kept else product


def _varies(power: sp.Expr) -> bool:
    exponent = power.as_base_exp()[1]
    return bool(exponent.free_symbols and exponent.is_negative)


def said(expr: sp.Basic) -> sp.Basic:
    """An exponential of the logarithm of Gauss's distribution function as that function, which the nodes of laws keep from being small.

    Examples
    --------
    >>> said(sp.exp(LogNormalCdf(sp.Symbol("x"))))
    Phi(x)
    """
    inside = expr.args[0] if isinstance(expr, sp.exp) else None
    return sp.Function("Phi")(*inside.args) if isinstance(inside, LogNormalCdf) else expr


class PatternPrinter:
    """What the printers of all formats share: nodes that print by a pattern, and letters with indices.

    A pattern is text with marks: ``«0»`` is the first argument, a tuple as a list with commas; ``«1+»`` are all arguments from the second
    on; ``«0:Mul»`` has brackets where it binds less than a factor; ``«1? | »`` has a text before it, and is left out where it is empty.
    """

    #: The patterns of a format by the names of nodes.
    PATTERNS: ClassVar[Mapping[str, str]] = {}
    #: Brackets around indices, what stands between letters, and between other indices.
    INDICES: ClassVar[tuple[str, str, str, str]]
    _MARK = re.compile(r"«(\d)(\+)?(?::(\w+))?(?:\?([^»]*))?»")

    def __init_subclass__(cls) -> None:
        """One method for each pattern."""
        for node, pattern in cls.PATTERNS.items():
            setattr(cls, f"_print_{node}", partialmethod(cls._filled, pattern))

    def _filled(self: Any, pattern: str, expr: sp.Basic) -> str:
        def argument(mark: re.Match[str]) -> str:
            first, further, level, before = mark.groups()
            chosen = expr.args[int(first) :] if further else expr.args[int(first) : int(first) + 1]
            if len(chosen) == 1 and isinstance(chosen[0], sp.Tuple):
                chosen = chosen[0].args
            show = (lambda a: self.parenthesize(a, PRECEDENCE[level], strict=True)) if level else self._print
            text = ", ".join(map(show, chosen))
            return f"{before or ''}{text}" if text else ""

        return str(self._MARK.sub(argument, pattern))

    def _print_ITE(self: Any, expr: sp.ITE) -> str:
        """A choice between conditions, which SymPy makes of a comparison with pieces, as two cases."""
        by, first, second = expr.args
        return str(self._print(sp.Or(sp.And(by, first), sp.And(sp.Not(by), second))))

    def _print_Numerator(self: Any, expr: Numerator) -> str:
        return str(self._print(expr.args[0]))

    def _print_Scripted(self: Any, expr: Scripted) -> str:
        stem, lower, upper = expr.args
        text: str = self._print(stem)
        for mark, indices in (("_", lower), ("^", upper)):
            if indices:
                text += mark + self._indices(indices)
        return text

    def _indices(self: Any, indices: sp.Tuple) -> str:
        opening, closing, *between = self.INDICES
        return f"{opening}{between[not Scripted.are_letters(indices)].join(map(self._print, indices))}{closing}"
