r"""The laws of random matrices: i.i.d. entries by their moments, and orthogonal matrices with Haar's law."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import sympy as sp

from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, NotClosed, unknown


class MatrixLaw(sp.Basic):
    """Interface: the law of a random matrix, up to the mean and the variance of its entries."""

    @property
    def symbols(self) -> set[sp.Symbol]:
        """Parameters of the law."""
        return set()


class Gaussian(MatrixLaw):
    """Independent Gaussian entries."""

    def _sympystr(self, printer: object) -> str:
        return "gaussian"


class Orthogonal(MatrixLaw):
    r"""Haar's law: a square matrix is :math:`\sigma` times a uniformly distributed orthogonal one; others are rows or columns of one.

    Entries have the variance :math:`\sigma^2/k` as always, k being the number of columns: with more rows than columns N > k the matrix
    is :math:`\sigma\sqrt{N/k}` times k columns of an orthogonal N × N matrix.
    """

    def _sympystr(self, printer: object) -> str:
        return "orthogonal"


class Correlated(MatrixLaw):
    r"""Gaussian entries with the covariance :math:`\mathrm{Cov}(W_{ij}, W_{kl}) = \tfrac{\sigma^2}{k}(\Sigma_O)_{ik}(\Sigma_I)_{jl}`.

    Parameters
    ----------
    rows, columns : Matrix
        :math:`\Sigma_O` over the neurons that come out and :math:`\Sigma_I` over those that are read; an empty one stands for the identity.
    """

    @property
    def rows(self) -> sp.ImmutableMatrix:
        """Of the neurons that come out."""
        return self.args[0]

    @property
    def columns(self) -> sp.ImmutableMatrix:
        """Of those that are read."""
        return self.args[1]

    @property
    def symbols(self) -> set[sp.Symbol]:
        """Those of the entries."""
        return set(self.rows.free_symbols | self.columns.free_symbols)

    def _sympystr(self, printer: object) -> str:
        return "gaussian, correlated"


def correlated(rows: object, columns: object) -> MatrixLaw:
    """Gaussian entries with covariances over rows and columns, or plain ones where neither is given.

    Raises
    ------
    DerivationError
        For what is no covariance matrix.
    """
    if rows is None and columns is None:
        return Gaussian()
    return Correlated(covariance_matrix(rows, "row_covariance"), covariance_matrix(columns, "column_covariance"))


def covariance_matrix(given: object, name: str) -> sp.ImmutableMatrix:
    """A covariance over neurons as an exact matrix; an empty one where nothing is given."""
    if given is None:
        return sp.ImmutableMatrix(0, 0, [])
    try:
        matrix = sp.ImmutableMatrix(given).applyfunc(exact_decimals)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise DerivationError(f"{name} must be a square matrix, got {given!r}") from error
    if matrix.rows != matrix.cols or not matrix.rows or matrix != matrix.T:
        raise DerivationError(f"{name} must be a symmetric matrix, got {matrix.tolist()}")
    if matrix.is_positive_semidefinite is False:
        raise DerivationError(f"{name} must be positive semidefinite, as covariances are, got {matrix.tolist()}")
    return matrix


def triangular_root(covariance: sp.Matrix) -> tuple[sp.Matrix, list[sp.Expr]]:
    r"""Unit lower-triangular L and nonnegative D with :math:`L D L^\top` the covariance, by columns; a column without variance is 0.

    Examples
    --------
    >>> triangular_root(sp.Matrix([[4, 2], [2, 1]]))
    (Matrix([
    [  1, 0],
    [1/2, 1]]), [4, 0])
    """
    size = covariance.rows
    lower = sp.eye(size)
    pivots: list[sp.Expr] = []
    for j in range(size):
        pivots.append(sp.cancel(covariance[j, j] - sum((lower[j, k] ** 2 * pivots[k] for k in range(j)), sp.S.Zero)))
        for i in range(j + 1, size):
            rest = covariance[i, j] - sum((lower[i, k] * lower[j, k] * pivots[k] for k in range(j)), sp.S.Zero)
            lower[i, j] = sp.cancel(rest / pivots[j]) if pivots[j] != 0 else sp.S.Zero
    return lower, pivots


class Independent(MatrixLaw):
    r"""Independent entries with a common law that is not Gaussian, known by its moments.

    Parameters
    ----------
    name : Symbol
        ``moments`` where these are given one by one.
    moments : Tuple
        Standardised moments :math:`\mathbb{E}\,\xi^3, \mathbb{E}\,\xi^4, \dots` as far as they are known; empty for a name.
    """

    @property
    def name(self) -> str:
        """What the law is called."""
        return str(self.args[0])

    @property
    def symbols(self) -> set[sp.Symbol]:
        """Those of the moments."""
        return set(self.args[1].free_symbols)

    @property
    def is_symmetric(self) -> bool:
        """Whether an entry and its negative are known to have the same law, which moments alone do not say."""
        return self.name in NAMED

    def moment(self, order: int) -> sp.Expr:
        r""":math:`\mathbb{E}\,\xi^r` of the standardised entry.

        Raises
        ------
        NotClosed
            If it was not given.
        """
        if order < 3:
            return sp.Integer(1 - order % 2)
        if self.name in NAMED:
            return NAMED[self.name](order)
        if order - 3 >= len(self.args[1]):
            raise NotClosed(
                f"the moment of order {order} of the entries is needed, and only those up to order {len(self.args[1]) + 2} are given; "
                "give it too"
            )
        return self.args[1][order - 3]

    def cumulant(self, order: int) -> sp.Expr:
        """The cumulant of the standardised entry, from its moments."""
        if order < 3:
            return sp.Integer(1 if order == 2 else 0)
        lower = (sp.binomial(order - 1, j - 1) * self.cumulant(j) * self.moment(order - j) for j in range(2, order))
        return sp.expand(self.moment(order) - sp.Add(*lower))

    def _sympystr(self, printer: object) -> str:
        return self.name if self.name in NAMED else str(tuple(self.args[1]))


def _even(moment: Callable[[int], sp.Expr]) -> Callable[[int], sp.Expr]:
    return lambda order: sp.S.Zero if order % 2 else moment(order)


def _truncated(order: int) -> sp.Expr:
    """A Gaussian cut at two standard deviations and scaled to variance 1, as JAX and Keras draw it."""
    edge = sp.sqrt(2 / sp.pi) * sp.exp(-2) / sp.erf(sp.sqrt(2))  # the density at 2 over the probability of [0, 2]
    raw = sp.S.One
    variance = 1 - 2 * edge
    for r in range(2, order + 1, 2):  # by parts
        raw = (r - 1) * raw - sp.Integer(2) ** (r - 1) * edge
    return raw / variance ** sp.Rational(order, 2)


#: Laws of entries by the names that frameworks call them, with their standardised moments from order 3.
NAMED: dict[str, Callable[[int], sp.Expr]] = {
    "uniform": _even(lambda r: sp.Integer(3) ** (r // 2) / (r + 1)),
    "rademacher": _even(lambda r: sp.S.One),
    "laplace": _even(lambda r: sp.factorial(r) / sp.Integer(2) ** (r // 2)),
    "truncated_normal": _even(_truncated),
}
_WHOLE: dict[str, MatrixLaw] = {"gaussian": Gaussian(), "orthogonal": Orthogonal()}
_ALIASES = {"normal": "gaussian", "haar": "orthogonal"}


def matrix_law(given: object) -> MatrixLaw:
    r"""The law that is meant by a name, or by standardised moments.

    Parameters
    ----------
    given : str, mapping, sequence or MatrixLaw
        ``"gaussian"``, ``"orthogonal"``, ``"uniform"``, ``"rademacher"``, ``"laplace"``, ``"truncated_normal"``; or moments
        :math:`\mathbb{E}\,\xi^3, \mathbb{E}\,\xi^4, \dots` in order, or by their orders, where odd ones that are left out are 0.

    Raises
    ------
    DerivationError
        For a name that is not known, or numbers that are the moments of no law.

    Examples
    --------
    >>> matrix_law({4: sp.Rational(9, 5)}).moment(4), matrix_law("uniform").moment(4)
    (9/5, 9/5)
    """
    if isinstance(given, MatrixLaw):
        return given
    if isinstance(given, str | sp.Symbol):
        name = _ALIASES.get(str(given).lower(), str(given).lower())
        if name in _WHOLE:
            return _WHOLE[name]
        if name in NAMED:
            return Independent(sp.Symbol(name), sp.Tuple())
        raise DerivationError(unknown("law of weights", str(given), (*_WHOLE, *NAMED)))
    moments = _moments(given)
    if not moments:
        raise DerivationError("a law of weights needs a moment of order 3 or more; leave law out for Gaussian entries")
    _require_moments(moments)
    return Independent(sp.Symbol("moments"), sp.Tuple(*moments))


def _moments(given: object) -> list[sp.Expr]:
    """From order 3 on."""
    if isinstance(given, Mapping):
        orders = set(given)
        if any(isinstance(r, bool) or not isinstance(r, int) or r < 3 for r in orders):
            raise DerivationError(
                f"moments of weights are given from order 3 on, since mean and variance are, got {dict(given)}"
            )
        highest = max(orders, default=2)
        missing = [r for r in range(4, highest, 2) if r not in orders]
        if missing:
            raise DerivationError(f"the moment of order {missing[0]} is left out; give all even ones up to {highest}")
        values = [given.get(r, 0) for r in range(3, highest + 1)]
    elif isinstance(given, Sequence | sp.Tuple):
        values = list(given)
    else:
        raise DerivationError(f"a law of weights is a name or its standardised moments from order 3 on, got {given!r}")
    found = []
    for value in values:
        try:
            expr = exact_decimals(value)
        except (sp.SympifyError, TypeError) as error:
            raise DerivationError(f"a moment must be a real number or an expression, got {value!r}") from error
        if not isinstance(expr, sp.Expr) or expr.is_real is False or (not expr.is_finite and expr.is_number):
            raise DerivationError(f"a moment must be a real number or an expression, got {value!r}")
        found.append(expr)
    return found


def _require_moments(moments: list[sp.Expr]) -> None:
    """The matrix of moments of a law is positive semidefinite, and where it is singular the law has finitely many points."""
    known = [sp.S.One, sp.S.Zero, sp.S.One, *moments]
    half = (len(known) - 1) // 2
    matrix = sp.Matrix(half + 1, half + 1, lambda i, j: known[i + j])
    if matrix.free_symbols:
        return
    possible, rank = matrix.is_positive_semidefinite is not False, matrix.rank()
    if possible and rank <= half:
        leading = matrix[:rank, :rank]
        possible = leading.det() != 0
        if possible:
            steps = leading.LUsolve(sp.Matrix(known[rank : 2 * rank]))
            follows = (
                sp.Add(*(steps[j] * known[k - rank + j] for j in range(rank))) for k in range(2 * rank, len(known))
            )
            possible = list(follows) == known[2 * rank :]
    if not possible:
        raise DerivationError(
            f"no law with mean 0 and variance 1 has the moments {', '.join(map(str, moments))} from order 3 on; the fourth is at least "
            "1 + the third squared"
        )
