r"""Random matrices as values: their shape, the law of their entries, and what they are applied to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import sympy as sp

from derivations.decimals import exact_decimals
from derivations.errors import DerivationError
from derivations.language.entries import Correlated, Gaussian, MatrixLaw, Orthogonal, correlated, matrix_law
from derivations.language.filters import Filter, Tap
from derivations.language.nodes import Applied, TransposeApplied, body_of
from derivations.piecewise import analyse
from derivations.symbols import time, width

_NOTHING = sp.Integer(-1)


class Weights(sp.Basic):
    r"""A random matrix with biases, drawn afresh in every layer: :math:`A\,b_j \mapsto \sum_j A_{ij} b_j + c_i`.

    The entries have mean :math:`\mu/k` and variance :math:`\sigma^2/k`, where k is the number of neurons that the
    matrix reads, and are i.i.d. Gaussian if ``law`` says nothing else; the biases :math:`c_i` are i.i.d. Gaussian with mean and
    variance as given. Matrices of different names are independent. The
    same matrix applied twice is the same matrix: two objects with equal arguments are equal, as symbols are.

    Parameters
    ----------
    name : str
        One matrix, one name.
    out : int or Expr, optional
        How many neurons come out: a number, a symbol, or a multiple of ``symbols.width`` such as ``4*n``. By default as
        many as the layer has.
    variance, mean : number or Expr
        :math:`\sigma^2` and :math:`\mu`, dimensionless. Where both are 0 the matrix starts at 0.
    bias_variance, bias_mean : number or Expr
        Of the biases.
    law : str, mapping, sequence or MatrixLaw
        ``"gaussian"``, ``"orthogonal"`` (Haar's law), or that of i.i.d. entries: ``"uniform"``, ``"rademacher"``, ``"laplace"``,
        ``"truncated_normal"``, or standardised moments from order 3 on, such as ``{4: 9/5}``.
    row_covariance, column_covariance : matrix, optional
        :math:`\Sigma_O` and :math:`\Sigma_I` of Gaussian entries with
        :math:`\mathrm{Cov}(A_{ij}, A_{kl}) = \tfrac{\sigma^2}{k}(\Sigma_O)_{ik}(\Sigma_I)_{jl}`, at numbers of neurons that are numbers; the identity
        where they are left out. With a filter, of the weights of one place; those of two places are independent.
    filter : int, tuple of int or Filter, optional
        For states over a grid of positions: the odd sizes of a filter. Its weights are independent and share mean and variance equally.
    padding : {"circular", "zeros", "reflect", "replicate"}
        What the filter reads beyond a border.
    taps : sequence of Tap, optional
        The same without a filter's form: for each weight, which position each position reads (None: 0).

    Raises
    ------
    DerivationError
        If a variance is negative, or ``out`` is no number of neurons.

    Examples
    --------
    >>> from derivations.symbols import state
    >>> A = Weights("A", out=4 * width)
    >>> A(state) == Weights("A", out=4 * width)(state)
    True
    >>> A(state)
    A(x)
    """

    def __new__(
        cls,
        name: str | sp.Symbol,
        out: object = width,
        variance: object = 1,
        mean: object = 0,
        bias_variance: object = 0,
        bias_mean: object = 0,
        taps: Sequence[Tap] | Filter = (),
        law: object = "gaussian",
        row_covariance: object = None,
        column_covariance: object = None,
        filter: object = None,
        padding: object = "circular",
    ) -> Weights:
        """Check the numbers."""
        if not str(name).isidentifier():
            raise DerivationError(f"a matrix needs a name such as A or W_1, got {name!r}")
        size, *numbers = (_number(value) for value in (out, variance, mean, bias_variance, bias_mean))
        for word, value in zip(("variance", "bias_variance"), (numbers[0], numbers[2]), strict=True):
            if value.is_negative:
                raise DerivationError(f"{word} of {name} must be at least 0, got {value}")
            if value.free_symbols == {time} and (late := _negative_at(value)) is not None:
                raise DerivationError(
                    f"{word} of {name} must be at least 0 at all times, and {value} is negative at t = {late}; write Max({value}, 0)"
                )
        if size.is_number and not (size.is_Integer and size > 0):
            raise DerivationError(f"{name} must put out a positive whole number of neurons, got out={size}")
        chosen = matrix_law(law)
        if row_covariance is not None or column_covariance is not None:
            if not isinstance(chosen, Gaussian):
                raise DerivationError(
                    f"covariances of rows and columns are of Gaussian matrices, got law={chosen} for {name}"
                )
            chosen = correlated(row_covariance, column_covariance)
        if filter is not None:
            taps = filter if isinstance(filter, Filter) else Filter(filter, padding)
        reads = (
            taps
            if isinstance(taps, Filter)
            else sp.Tuple(*(sp.Tuple(*(_NOTHING if a is None else sp.Integer(a) for a in tap)) for tap in taps))
        )
        made: Weights = sp.Basic.__new__(cls, sp.Symbol(str(name)), size, *numbers, reads, chosen)
        return made

    @property
    def name(self) -> str:
        """The matrix's name."""
        return str(self.args[0])

    @property
    def out(self) -> sp.Expr:
        """How many neurons come out."""
        return self.args[1]

    @property
    def variance(self) -> sp.Expr:
        r""":math:`\sigma^2`, the variance of an entry times the number of neurons that are read."""
        return self.args[2]

    @property
    def mean(self) -> sp.Expr:
        r""":math:`\mu`, the mean of an entry times the number of neurons that are read."""
        return self.args[3]

    @property
    def bias_variance(self) -> sp.Expr:
        """The variance of a bias."""
        return self.args[4]

    @property
    def bias_mean(self) -> sp.Expr:
        """The mean of a bias."""
        return self.args[5]

    @property
    def is_mean(self) -> bool:
        """Whether nothing is drawn: no variance, neither of entries nor of biases."""
        return bool(self.variance == 0 and self.bias_variance == 0)

    @property
    def is_nothing(self) -> bool:
        """Whether the matrix and its biases are 0 at the start, as one factor of an adapter is before it is trained."""
        return bool(self.is_mean and self.mean == 0 and self.bias_mean == 0)

    @property
    def filter(self) -> Filter | None:
        """The filter, which a network with positions writes out; None for a dense matrix, or where :attr:`taps` are given."""
        return self.args[6] if isinstance(self.args[6], Filter) else None

    @property
    def taps(self) -> tuple[Tap, ...]:
        """What each weight of a filter reads, position by position; empty for a dense matrix."""
        taps = () if self.filter is not None else self.args[6]
        return tuple(tuple(None if a == _NOTHING else int(a) for a in tap) for tap in taps)

    def with_numbers(self, **numbers: sp.Expr) -> Weights:
        """The same with another ``variance``, ``mean``, ``bias_variance`` or ``bias_mean``."""
        words = ("name", "out", "variance", "mean", "bias_variance", "bias_mean", "taps", "law")
        made: Weights = self.func(*(numbers.get(word, arg) for word, arg in zip(words, self.args, strict=True)))
        return made

    def over(self, grid: tuple[int, ...]) -> Weights:
        """The same with the filter written out over a grid of positions.

        Raises
        ------
        DerivationError
            If the filter, or what it reads, does not fit the grid.
        """
        if self.filter is None and not self.taps:
            return self
        taps = self.taps if self.filter is None else self.filter.taps(grid, f"the matrix {self.name}")
        size = prod(grid)
        if any(len(tap) != size or any(a is not None and not 0 <= a < size for a in tap) for tap in taps):
            raise DerivationError(
                f"shapes do not fit: the matrix {self.name} reads other positions than the {size} of the network; give a tap as many"
            )
        made: Weights = self.func(*self.args[:6], taps, self.law)
        return made

    @property
    def law(self) -> MatrixLaw:
        """The law of the centred matrix, up to its variance."""
        law: MatrixLaw = self.args[7]
        return law

    @property
    def is_gaussian(self) -> bool:
        """Whether entries are independent Gaussian ones."""
        return isinstance(self.law, Gaussian)

    @property
    def is_orthogonal(self) -> bool:
        """Whether the matrix has Haar's law."""
        return isinstance(self.law, Orthogonal)

    @property
    def is_correlated(self) -> bool:
        """Whether rows or columns have covariances of their own."""
        return isinstance(self.law, Correlated)

    @property
    def parameters(self) -> set[sp.Symbol]:
        """The symbols in the law of the matrix."""
        numbers = (self.variance, self.mean, self.bias_variance, self.bias_mean)
        return set().union(self.law.symbols, *(value.free_symbols for value in numbers))

    def reads(self, a: int) -> tuple[int | None, ...]:
        """The coordinates that coordinate a reads, weight by weight: positions of the same input."""
        if not self.taps:
            return (a,)
        first = a - a % len(self.taps[0])
        return tuple(None if (read := tap[a - first]) is None else first + read for tap in self.taps)

    @property
    def T(self) -> Transpose:
        """The transpose, to be applied to neurons that the matrix puts out; biases stay with the matrix."""
        return Transpose(self)

    def __call__(self, body: object) -> Applied:
        """The matrix applied to a function of the neurons that it reads."""
        return Applied(self, body_of(body, f"{self.name} must be applied to"))


@dataclass(frozen=True)
class Transpose:
    """The transpose of a random matrix."""

    weights: Weights

    def __call__(self, body: object) -> TransposeApplied:
        """Applied to a function of the neurons that the matrix puts out."""
        if self.weights.taps or self.weights.filter is not None:
            raise DerivationError(
                f"the transpose of a filter has no rule, got {self.weights.name}.T; use a dense matrix"
            )
        return TransposeApplied(self.weights, body_of(body, f"{self.weights.name}.T must be applied to"))


def _negative_at(value: sp.Expr) -> sp.Expr | None:
    """A time of 0 or more at which a function of time is negative, seen between its zeros and before it is infinite; None where none is seen."""
    try:
        known = analyse(value, time)
    except DerivationError:
        zeros, poles = set[sp.Expr](), set[sp.Expr]()
    else:
        zeros = {p.value for p in (*known.zeros, *known.jumps) if p.value.is_positive}
        poles = {p.value for p in known.poles if p.value.is_positive}
    end = min(poles, key=lambda at: at.evalf(30), default=None)
    cuts = sorted({sp.S.Zero, *zeros, *poles}, key=lambda at: at.evalf(30))
    seen = [sp.S.Zero, *((low + high) / 2 for low, high in pairwise(cuts)), *(cuts[-1] + k for k in (1, 10, 1000))]
    before = (t for t in seen if end is None or (t - end).is_negative)
    return next((t for t in before if value.subs(time, t).evalf(30).is_negative), None)


def _number(value: object) -> sp.Expr:
    try:
        expr = exact_decimals(value)
    except (sp.SympifyError, TypeError) as error:
        raise DerivationError(f"a number or an expression was expected of a matrix, got {value!r}") from error
    if not isinstance(expr, sp.Expr) or expr.has(sp.nan, sp.oo, sp.zoo, sp.I):
        raise DerivationError(f"a finite real number or expression was expected of a matrix, got {value!r}")
    return expr
