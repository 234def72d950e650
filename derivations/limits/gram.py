r"""Diffusions of Gram matrices: the state of a layer seen by m inputs, on the positive semi-definite cone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import sympy as sp

from derivations.covariances import Semidefinite
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.limits.elimination.labels import INPUTS, Exchange, generic_labels, symmetric_pairs
from derivations.notation.nodes import Angled, indexed
from derivations.notation.steps import Line, Term
from derivations.symbols import GRAM


def gram_matrix(inputs: int, stem: str = GRAM) -> sp.ImmutableMatrix:
    r"""Symbols :math:`V_{\alpha\beta}` of a symmetric m × m matrix, positive on the diagonal.

    Parameters
    ----------
    inputs : int
        m.
    stem : str
        The letter.

    Examples
    --------
    >>> gram_matrix(2)
    Matrix([
    [V_11, V_12],
    [V_12, V_22]])
    """

    def entry(a: int, b: int) -> sp.Symbol:
        low, high = min(a, b) + 1, max(a, b) + 1
        indices = f"{low}{high}" if high < 10 else f"{low},{high}"
        name = f"{stem}_{indices}" if inputs > 1 else stem
        return sp.Symbol(name, **({"positive": True} if low == high else {"real": True}))

    return sp.ImmutableMatrix(inputs, inputs, entry)


def upper(inputs: int) -> tuple[tuple[int, int], ...]:
    """The entries of the upper triangle, row by row: the coordinates of a symmetric matrix."""
    return tuple((a, b) for a in range(inputs) for b in range(a, inputs))


def generic_entries(pairs: Sequence[tuple[int, int]], exchange: Exchange = INPUTS) -> list[tuple[int, int]]:
    """Of the covariance of entries of a Gram matrix, positions i ≤ j that are not the same under other names of the coordinates.

    Examples
    --------
    >>> pairs = upper(3)
    >>> [(pairs[i], pairs[j]) for i, j in generic_entries(pairs)][:4]
    [((0, 0), (0, 0)), ((0, 0), (0, 1)), ((0, 0), (1, 1)), ((0, 0), (1, 2))]
    """
    exchange = replace(exchange, symmetries=())  # who reads these knows how inputs are renamed, not positions
    found: dict[tuple[int, ...], tuple[int, int]] = {}
    first = [(i, p) for i, p in enumerate(pairs) if max(p) < 4 * exchange.positions]  # two entries have four labels
    for k, (i, p) in enumerate(first):
        for j, q in first[k:]:
            found.setdefault(generic_labels(symmetric_pairs(*p, *q), exchange)[0], (i, j))
    return list(found.values())


def cone(matrix: sp.ImmutableMatrix) -> sp.Set:
    r"""The positive semi-definite cone :math:`V \succeq 0` in the coordinates of the upper triangle."""
    inputs = matrix.rows
    if inputs == 1:
        return sp.Interval.open(0, sp.oo)
    states = [matrix[i] for i in upper(inputs)]
    # the symbols of the diagonal are positive by assumption: the condition is written on real ones
    real = {s: sp.Symbol(s.name, real=True) for s in states}
    return sp.ConditionSet(sp.Tuple(*real.values()), Semidefinite(matrix.xreplace(real)), sp.Reals ** len(real))


@dataclass(frozen=True, repr=False)
class GramDiffusion(Diffusion):
    r"""A diffusion of a Gram matrix with the covariance of products of Gaussians.

    .. math:: \mathrm{d}[V_{\alpha\beta}, V_{\gamma\delta}] = \lambda\,
              (V_{\alpha\gamma}V_{\beta\delta} + V_{\alpha\delta}V_{\beta\gamma})\,\mathrm{d}t .

    A :class:`~derivations.diffusion.Diffusion` in the upper triangle, row by row, with the cone as its domain.

    Parameters
    ----------
    matrix : Matrix, shape (m, m)
        The symbols of the state, and numbers where each layer fixes an entry.
    rank : Expr
        The largest rank that the matrix has: n for n neurons, n - 1 where these are centred. For more inputs it stays singular.
    centred : bool
        Whether it is the Gram matrix of the states less their mean over the neurons.
    """

    matrix: sp.ImmutableMatrix = field(default_factory=lambda: sp.ImmutableMatrix.zeros(1))
    rank: sp.Expr = sp.oo
    centred: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "centred", bool(self.centred))  # JSON holds SymPy's

    @property
    def said(self) -> tuple[Line, ...]:
        r"""Its equation; where the neurons are centred, what V is."""
        return (*super().said, *([_centred(self.states[0])] if self.centred else ()))

    @property
    def inputs(self) -> int:
        """M."""
        return int(self.matrix.rows)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Where the states are in the matrix, on and above its diagonal: all places but those that each layer fixes."""
        return tuple(p for p in upper(self.inputs) if self.matrix[p] in self.states)

    @property
    def strength(self) -> sp.Expr:
        r"""The factor :math:`\lambda`: half the variance rate of the first input's :math:`\log V`."""
        first = self.states[0]
        return sp.cancel(self.entry(0, 0) / (2 * first**2))

    @property
    def is_of_products(self) -> bool:
        """Whether the covariance is that of products of Gaussians, times the factor."""
        v, pairs = self.matrix, upper(self.inputs)
        if len(self.states) != len(pairs):
            return False
        strength = self.strength
        read = ((self.entry(i, j), pairs[i], pairs[j]) for i, j in self.generic_entries)
        return all(
            sp.expand(entry - strength * (v[a, c] * v[b, d] + v[a, d] * v[b, c])) == 0 for entry, (a, b), (c, d) in read
        )

    @property
    def drift_matrix(self) -> sp.ImmutableMatrix:
        """The drift as a symmetric matrix."""
        table = dict(zip(self.states, self.drift, strict=True))
        return self.matrix.applyfunc(lambda entry: table.get(entry, sp.S.Zero))

    @property
    def factor(self) -> sp.ImmutableMatrix:
        r"""A square root of the covariance of the smallest size, :math:`m(m+1)/2` square, from Cholesky's :math:`V = AA^\top`.

        *Derivation.* Let N be symmetric with independent centred entries, of variance 2 on the diagonal and 1 off it,
        so that :math:`\mathbb{E}N_{ij}N_{kl} = \delta_{ik}\delta_{jl} + \delta_{il}\delta_{jk}`. Then
        :math:`A N A^\top` has the covariance of the state. One column for each independent entry of N is
        the least number wherever V is regular, since the covariance is regular there.

        Raises
        ------
        DerivationError
            If the covariance is not of this form.
        """
        a, pairs = _cholesky(self.matrix), upper(self.inputs)
        columns = []
        for i, j in pairs:
            outer = a[:, i] * a[:, j].T
            block = sp.sqrt(2) * outer if i == j else outer + outer.T
            columns.append([sp.sqrt(self.strength) * block[p] for p in pairs])
        sigma = sp.ImmutableMatrix(columns).T
        if any(sp.cancel(entry) != 0 for entry in sigma * sigma.T - self.covariance):
            raise DerivationError("the covariance is not that of products of Gaussians; use calculus.ito.square_root")
        return sigma

    @property
    def relative_drift(self) -> tuple[sp.ImmutableMatrix, sp.ImmutableMatrix]:
        r"""Symbols of Cholesky's lower triangle L of :math:`V = LL^\top`, and :math:`L^{-1} b(LL^\top) L^{-\top}` in them.

        In these coordinates :math:`V_{11}V_{22} - V_{12}^2 = L_{11}^2L_{22}^2` holds without cancellation.
        """
        m = self.inputs

        def entry(a: int, b: int) -> sp.Expr:
            return sp.Symbol(f"L_{a + 1}{b + 1}", positive=a == b or None, real=True) if a >= b else sp.S.Zero

        lower = sp.ImmutableMatrix(m, m, entry)
        gram = lower * lower.T
        values = {self.matrix[p]: sp.factor(gram[p]) for p in upper(m)}

        def rewrite(expr: sp.Expr) -> sp.Expr:
            return expr.subs(values, simultaneous=True).replace(_is_root, _safe_root)

        inverse = lower.lower_triangular_solve(sp.eye(m))
        relative = sp.ImmutableMatrix(inverse * self.drift_matrix.applyfunc(rewrite) * inverse.T)
        polynomial = all(entry.is_polynomial(*self.states) for entry in self.drift)
        return lower, relative.applyfunc(sp.cancel) if polynomial else relative


def _centred(entry: sp.Symbol) -> Line:
    """What an entry is where the neurons are less their mean."""
    one = "_" not in entry.name
    first, second = (indexed("X", (), () if one else (at,)) for at in ("alpha", "beta"))
    name = entry if one else indexed(GRAM, ("alpha", "beta"))
    return Line(name, (Term(Angled(first * second)), Term(-Angled(first) * Angled(second))))


def _is_root(node: sp.Basic) -> bool:
    return isinstance(node, sp.Pow) and node.exp == sp.S.Half and node.base.is_Add


def _safe_root(node: sp.Pow) -> sp.Expr:
    """The root of a minor: in factors where it has them; what is nonnegative up to rounding is kept so."""
    base = sp.factor(sp.expand(node.base))
    return sp.sqrt(base) if base.is_nonnegative else sp.sqrt(sp.Max(base, 0))


def _cholesky(matrix: sp.ImmutableMatrix) -> sp.ImmutableMatrix:
    r"""Cholesky's lower triangle, each pivot the root of a ratio of leading minors, each column divided by it."""
    size = matrix.rows
    lower = sp.zeros(size, size)
    for j in range(size):
        pivot = sp.factor(matrix[j, j] - sum((lower[j, k] ** 2 for k in range(j)), sp.S.Zero))
        lower[j, j] = sp.sqrt(pivot)
        for i in range(j + 1, size):
            rest = matrix[i, j] - sum((lower[i, k] * lower[j, k] for k in range(j)), sp.S.Zero)
            lower[i, j] = sp.factor(rest) / lower[j, j]
    return sp.ImmutableMatrix(lower)
