r"""What kind of noise drives a diffusion, proved from its coefficients: which schemes it admits is decided here.

With columns :math:`\sigma^j` of a factor, :math:`\sigma\sigma^\top = a`, and :math:`L^j = \sum_i \sigma^j_i \partial_i`,
a scheme of strong order 1 needs the double integrals :math:`I_{jk} = \int\!\int \mathrm{d}B^j\,\mathrm{d}B^k` with the weights
:math:`L^j\sigma^k`. Since :math:`I_{jk} + I_{kj} = \Delta B^j \Delta B^k` (:math:`j \ne k`), increments suffice exactly where

.. math:: [\sigma^j, \sigma^k] = L^j\sigma^k - L^k\sigma^j = 0 \quad\text{for all } j, k,

which is what commutative means. Otherwise Lévy's areas :math:`I_{jk} - I_{kj}` enter.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import sympy as sp

from derivations.calculus.ito import square_root
from derivations.calculus.lamperti import UnitNoise, split
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.piecewise import Piece, join


class NoiseKind(Enum):
    """Kinds of noise, each a special case of those below it."""

    ADDITIVE = "additive"
    DIAGONAL = "diagonal"
    COMMUTATIVE = "commutative"
    GENERAL = "general"


@dataclass(frozen=True)
class Noise:
    r"""A factor of the covariance and the kind of noise that it was proved to be.

    Parameters
    ----------
    kind : NoiseKind
    factor : Matrix, shape (d, k)
        :math:`\sigma`, one column per Brownian motion.
    obstacle : tuple of (int, int, Matrix) or None
        For general noise, columns j and k and their bracket, which is not 0, or not provably.
    """

    kind: NoiseKind
    factor: sp.ImmutableMatrix
    obstacle: tuple[int, int, sp.ImmutableMatrix] | None = None

    @property
    def commutes(self) -> bool:
        """Whether increments suffice for strong order 1."""
        return self.kind is not NoiseKind.GENERAL

    def require_commutative(self, scheme: str) -> None:
        """Refuse a scheme that would be wrong here.

        Raises
        ------
        DerivationError
            With the bracket that does not vanish.
        """
        if self.obstacle is not None:
            j, k, bracket = self.obstacle
            shown = str(list(bracket))
            raise DerivationError(
                f"{scheme} needs commutative noise, but [σ^{j + 1}, σ^{k + 1}] = {shown[:200]} is not 0; "
                "use the derivative-free scheme for general noise, or a weak scheme"
            )


def noise_factor(process: Diffusion) -> sp.ImmutableMatrix:
    r"""A factor :math:`\sigma` of the covariance, smooth between the zeros and kinks of a scalar one.

    For a scalar diffusion the root is taken on each interval in which the noise does not vanish, so that
    :math:`\sqrt{x^2 1_{x>0}}` is x there, with a derivative. Otherwise as in :func:`derivations.calculus.ito.square_root`.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> noise_factor(Diffusion((x,), [0], [[sp.Max(x, 0) ** 2]]))
    Matrix([[Piecewise((0, x <= 0), (x, True))]])
    """
    if len(process.states) == 1:
        try:
            (x,) = process.states
            parts = tuple(_root_piece(part) for part in split(process))
            return sp.ImmutableMatrix([[join(_covering(parts), x)]])
        except DerivationError:
            return sp.ImmutableMatrix([[sp.sqrt(process.covariance[0, 0])]])
    if process.covariance.is_diagonal() or not process.covariance.has(sp.Piecewise):
        return square_root(process.covariance)
    return _with_kinks(process.covariance)


def _with_kinks(covariance: sp.ImmutableMatrix) -> sp.ImmutableMatrix:
    """Cholesky's lower triangle as it comes: formulas with kinks in several variables have no lowest terms."""
    size = covariance.rows
    lower = sp.zeros(size, size)
    for j in range(size):
        pivot = covariance[j, j] - sp.Add(*(lower[j, k] ** 2 for k in range(j)))
        if pivot == 0:
            raise DerivationError(f"the covariance is degenerate (pivot {j + 1} of Cholesky's algorithm is 0)")
        lower[j, j] = sp.sqrt(pivot)
        for i in range(j + 1, size):
            lower[i, j] = (covariance[i, j] - sp.Add(*(lower[i, k] * lower[j, k] for k in range(j)))) / lower[j, j]
    return sp.ImmutableMatrix(lower)


def _root_piece(part: UnitNoise | Piece) -> Piece:
    return Piece(*part.interval, part.scale) if isinstance(part, UnitNoise) else part


def _covering(parts: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """The same pieces with the outer ones reaching to infinity: beyond the domain nothing is asked."""
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return (Piece(-sp.oo, sp.oo, first.expr),)
    return (Piece(-sp.oo, first.right, first.expr), *parts[1:-1], Piece(last.left, sp.oo, last.expr))


def along(states: tuple[sp.Symbol, ...], column: sp.MatrixBase, function: sp.Expr) -> sp.Expr:
    r"""The derivative :math:`L^j f = \sum_i \sigma^j_i\,\partial_i f` of a function along a column of noise."""
    return sp.Add(*(s * sp.diff(function, x) for s, x in zip(column, states, strict=True) if s != 0))


def classify_noise(process: Diffusion) -> Noise:
    r"""The kind of a diffusion's noise, with a proof: each identity is brought to 0 by expanding and cancelling.

    Scalar noise is diagonal whatever its coefficient. What cannot be proved to vanish counts as general.

    Examples
    --------
    >>> x, y = sp.symbols("x y", positive=True)
    >>> [classify_noise(Diffusion((x, y), [0, 0], a)).kind.value for a in (sp.eye(2), sp.diag(x**2, y), sp.diag(y, x))]
    ['additive', 'diagonal', 'general']
    >>> classify_noise(Diffusion((x, y), [0, 0], [[x**2, x * y], [x * y, 2 * y**2]])).kind.value
    'commutative'
    """
    states, factor = process.states, noise_factor(process)
    if not factor.free_symbols & set(states):
        return Noise(NoiseKind.ADDITIVE, factor)
    if factor.is_diagonal() and all(factor[k, k].free_symbols & set(states) <= {x} for k, x in enumerate(states)):
        return Noise(NoiseKind.DIAGONAL, factor)
    columns = [factor[:, k] for k in range(factor.cols)]
    for j, first in enumerate(columns):
        for k, second in enumerate(columns[:j]):
            bracket = sp.ImmutableMatrix(
                [along(states, first, s) - along(states, second, f) for f, s in zip(first, second, strict=True)]
            )
            if any(_differs(entry, states) for entry in bracket) or not all(vanishes(entry) for entry in bracket):
                return Noise(NoiseKind.GENERAL, factor, (j, k, bracket))
    return Noise(NoiseKind.COMMUTATIVE, factor)


def _differs(expr: sp.Expr, states: tuple[sp.Symbol, ...]) -> bool:
    """Whether an expression is seen to differ from 0 at an exact point: no proof is then worth its time."""
    if expr.free_symbols - set(states):
        return False
    point = {x: sp.Rational(7 + 2 * k, 5 + 3 * k) for k, x in enumerate(states)}
    value = expr.subs(point).evalf(30)
    return bool(value.is_Float and abs(value) > sp.Rational(1, 10**15))


def vanishes(expr: sp.Expr) -> bool:
    """Whether an expression is 0 by expanding and cancelling, branch by branch where it has kinks."""
    opened = sp.expand(expr)
    if opened == 0:
        return True
    if opened.has(sp.Piecewise):
        folded = sp.piecewise_fold(opened)
        return isinstance(folded, sp.Piecewise) and all(vanishes(branch) for branch, _ in folded.args)
    return bool(sp.cancel(sp.together(opened)) == 0)
