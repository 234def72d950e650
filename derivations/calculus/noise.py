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
from itertools import product

import sympy as sp

from derivations.calculus.ito import real_root, square_root
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, brief
from derivations.piecewise import Piece, join, pieces


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
                f"{scheme} needs commutative noise, but [σ^{j + 1}, σ^{k + 1}] = {brief(shown)} is not 0; "
                "use the derivative-free scheme for general noise, or a weak scheme"
            )


def noise_factor(process: Diffusion) -> sp.ImmutableMatrix:
    r"""The diffusion's own factor :math:`\sigma` of its covariance, or a real one that is as smooth as can be had.

    A scalar root is taken piece by piece between the kinks of the variance, so that that of :math:`x^2 1_{x>0}` is x where x > 0,
    with a derivative; its sign is chosen so that it is continuous, and may change at a zero, as that of :math:`x(1-x)` does.
    Otherwise as in :func:`derivations.calculus.ito.square_root`.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> noise_factor(Diffusion((x,), [0], [[sp.Max(x, 0) ** 2]]))
    Matrix([[Piecewise((0, x <= 0), (x, True))]])
    >>> noise_factor(Diffusion((x,), [0], [[x * (1 - x)]], sp.Interval.open(0, 1)))
    Matrix([[sqrt(x*(1 - x))]])
    """
    if process.sigma is not None:
        return process.sigma
    if len(process.states) == 1:
        return sp.ImmutableMatrix([[_scalar_root(process.covariance[0, 0], process)]])
    if process.covariance.is_diagonal() or not process.covariance.has(sp.Piecewise):
        return square_root(process.covariance)
    shared = _one_column(process)
    return _with_kinks(process.covariance) if shared is None else shared


def _one_column(process: Diffusion) -> sp.ImmutableMatrix | None:
    """The factor of states that share one Brownian motion, each with a noise of its own state, as the inputs of one neuron; else None."""
    entries = []
    for x, a in zip(process.states, process.covariance.diagonal(), strict=True):
        if a.free_symbols & set(process.states) - {x}:
            return None
        entries.append(_scalar_root(a, Diffusion((x,), [0], [[a]])))
    column = sp.ImmutableMatrix(entries)
    difference = column * column.T - process.covariance
    signs = [dict(zip(process.states, row, strict=True)) for row in product(_PLACES, repeat=min(len(entries), 4))]
    if len(entries) > 4 or any(_differs_at(entry, point) for entry in difference for point in signs):
        return None
    return column


#: Where products of roots are compared with the covariance, on both sides of usual kinks.
_PLACES = (sp.Rational(-13, 7), sp.Rational(5, 3), sp.Rational(29, 6))


def _differs_at(entry: sp.Expr, point: dict[sp.Symbol, sp.Rational]) -> bool:
    value = sp.N(entry.xreplace(point), 30)
    return not (value.is_number and abs(value) < sp.Rational(1, 10**20))


def _scalar_root(a: sp.Expr, process: Diffusion) -> sp.Expr:
    """The root of a variance, piece by piece, with signs that make it continuous at the kinks."""
    (x,) = process.states
    try:
        parts = pieces(a, x)
    except DerivationError:
        return sp.sqrt(a)
    roots: list[Piece] = []
    for part in parts:
        root = real_root(part.expr)
        if roots and _sign(root.subs(x, part.left)) * _sign(roots[-1].expr.subs(x, part.left)) < 0:
            root = -root
        roots.append(Piece(part.left, part.right, root))
    low, high = process.domain.inf, process.domain.sup
    inside = next((p for p in roots if (p.right > low) == sp.true and (p.left < high) == sp.true), roots[0])
    at = Piece(sp.Max(inside.left, low), sp.Min(inside.right, high), inside.expr).interior()
    turned = _sign(inside.expr.subs(x, at)) < 0
    return join(tuple(Piece(p.left, p.right, -p.expr if turned else p.expr) for p in roots), x)


def _sign(value: sp.Expr) -> int:
    """−1, 0 or 1; 0 too where it depends on a parameter."""
    return 1 if value.is_positive else -1 if value.is_negative else 0


def _with_kinks(covariance: sp.ImmutableMatrix) -> sp.ImmutableMatrix:
    """Cholesky's lower triangle as it comes: formulas with kinks in several variables have no lowest terms."""
    size = covariance.rows
    lower = sp.zeros(size, size)
    for j in range(size):
        pivot = covariance[j, j] - sp.Add(*(lower[j, k] ** 2 for k in range(j)))
        if vanishes(pivot):
            raise DerivationError(
                f"the covariance is degenerate (pivot {j + 1} of Cholesky's algorithm is 0); "
                "give a factor of your own, Diffusion(..., sigma=σ)"
            )
        lower[j, j] = real_root(pivot)
        for i in range(j + 1, size):
            lower[i, j] = (covariance[i, j] - sp.Add(*(lower[i, k] * lower[j, k] for k in range(j)))) / lower[j, j]
    return sp.ImmutableMatrix(lower)


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
    if (
        factor.rows == factor.cols
        and factor.is_diagonal()
        and all(factor[k, k].free_symbols & set(states) <= {x} for k, x in enumerate(states))
    ):
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
        if isinstance(folded, sp.Piecewise):
            return all(vanishes(branch) for branch, _ in folded.args)
        return not folded.has(sp.Piecewise) and vanishes(folded)
    return bool(sp.cancel(sp.together(opened)) == 0)
