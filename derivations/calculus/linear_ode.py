r"""Linear differential equations with constant coefficients, solved term by term: a triangular matrix exponential.

A function is kept as a sum of :math:`c\,t^k e^{\lambda t}`. Variation of constants maps such sums to such sums, so that a triangular
system is solved by one elementary integral per term; blocks of unknowns that depend on each other go through the
exponential of their matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy as sp

from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, NoClosedForm
from derivations.symbols import time

Terms = dict[tuple[sp.Expr, int], sp.Expr]


def solve_linear(
    matrix: sp.Matrix, source: sp.Matrix, start: Sequence[sp.Expr], t: sp.Symbol = time
) -> tuple[sp.Expr, ...]:
    r"""Solve :math:`\dot m = A m + c`, :math:`m(0) = m_0`.

    Parameters
    ----------
    matrix : Matrix, shape (k, k)
        Constant; triangular in some order of the unknowns, up to blocks whose exponential SymPy knows.
    source : Matrix, shape (k, 1)
        Sums of :math:`c\,t^j e^{\lambda t}`.
    start : sequence of Expr

    Notes
    -----
    Where two rates coincide only at special values of a parameter, the solution is for the others; the value there is its limit.

    Raises
    ------
    NoClosedForm
        If the matrix depends on time, or a block has no exponential.

    Examples
    --------
    >>> t, a = sp.Symbol("t", positive=True), sp.Symbol("a", real=True)
    >>> solve_linear(sp.Matrix([[a, 0], [1, a]]), sp.Matrix([0, 0]), (1, 0), t)
    (exp(a*t), t*exp(a*t))
    """
    matrix, size = sp.Matrix(matrix), len(start)
    if matrix.has(t):
        raise NoClosedForm(f"the matrix of the linear equations depends on {t}; integrate them numerically")
    if matrix.shape != (size, size) or sp.Matrix(source).shape != (size, 1):
        raise DerivationError(
            f"{size} starts need a matrix of shape ({size}, {size}) and a source of shape ({size}, 1)"
        )
    solved: dict[int, Terms] = {}
    for block in _blocks(matrix):
        sources = []
        for i in block:
            total = _terms(sp.Matrix(source)[i], t)
            for j, known in solved.items():
                total = _sum(total, known, matrix[i, j])
            sources.append(total)
        for i, terms in zip(block, _block(matrix, block, sources, start), strict=True):
            solved[i] = terms
    return tuple(_expr(solved[i], t) for i in range(size))


def _blocks(matrix: sp.Matrix) -> list[list[int]]:
    """Strongly connected unknowns, each block after those that it depends on."""
    return [list(map(int, block)) for block in matrix.strongly_connected_components()]


def _block(matrix: sp.Matrix, block: list[int], sources: list[Terms], start: Sequence[sp.Expr]) -> list[Terms]:
    if len(block) == 1:
        (i,) = block
        return [_scalar(matrix[i, i], sources[0], exact_decimals(start[i]))]
    # diagonalise: each eigenvector's coordinate has a scalar equation
    part = matrix.extract(block, block)
    if not part.is_diagonalizable():
        raise NoClosedForm("a block of the linear equations is not diagonalisable; integrate them numerically")
    vectors, diagonal = part.diagonalize()
    inverse = vectors.inv()
    scalars = []
    for k in range(len(block)):
        mixed: Terms = {}
        for j, terms in enumerate(sources):
            mixed = _sum(mixed, terms, inverse[k, j])
        begin = sum((inverse[k, j] * start[i] for j, i in enumerate(block)), sp.S.Zero)
        scalars.append(_scalar(diagonal[k, k], mixed, begin))
    found = []
    for i in range(len(block)):
        total: Terms = {}
        for k, terms in enumerate(scalars):
            total = _sum(total, terms, vectors[i, k])
        found.append(total)
    return found


def _scalar(rate: sp.Expr, source: Terms, start: sp.Expr) -> Terms:
    r"""Variation of constants: :math:`m = e^{rt}(m_0 + \int_0^t e^{-rs}\,c(s)\,\mathrm{d}s)`, term by term.

    :math:`\int_0^t s^k e^{\delta s}\,\mathrm{d}s = t^{k+1}/(k+1)` for :math:`\delta = 0`, else
    :math:`\sum_j (-1)^{k-j}\frac{k!}{j!}\delta^{j-k-1} t^j e^{\delta t}` less its value at 0.
    """
    result: Terms = {(rate, 0): start}
    for (exponent, k), coefficient in source.items():
        gap = sp.factor(exponent - rate)
        if gap == 0:
            result = _sum(result, {(rate, k + 1): coefficient / (k + 1)}, sp.S.One)
            continue
        for j in range(k + 1):
            weight = coefficient * (-1) ** (k - j) * sp.factorial(k) / sp.factorial(j) * gap ** (j - k - 1)
            result = _sum(result, {(exponent, j): weight}, sp.S.One)
            if j == 0:
                result = _sum(result, {(rate, 0): -weight}, sp.S.One)
    return result


def _sum(first: Terms, second: Mapping[tuple[sp.Expr, int], sp.Expr], factor: sp.Expr) -> Terms:
    total = dict(first)
    if factor == 0:
        return total
    for (exponent, power), coefficient in second.items():
        key = (sp.expand(exponent), power)
        total[key] = total.get(key, sp.S.Zero) + factor * coefficient
    return {key: value for key, value in total.items() if value != 0}


def _terms(expr: sp.Expr, t: sp.Symbol) -> Terms:
    """Read an expression as a sum of c tᵏ exp(λt)."""
    total: Terms = {}
    opened = sp.expand(sp.sympify(expr))
    for term in sp.Add.make_args(opened) if opened != 0 else ():
        coefficient, moving = term.as_independent(t, as_Add=False)
        exponent, power = sp.S.Zero, 0
        for factor in sp.Mul.make_args(moving):
            base, raised = factor.as_base_exp()
            if isinstance(factor, sp.exp) and not sp.diff(factor.args[0], t).has(t):
                exponent += sp.diff(factor.args[0], t)
                coefficient *= sp.exp(factor.args[0].subs(t, 0))
            elif base == t and raised.is_Integer and raised > 0:
                power += int(raised)
            elif factor != 1:
                raise NoClosedForm(f"the source {term} is no polynomial times an exponential of {t}")
        total = _sum(total, {(exponent, power): coefficient}, sp.S.One)
    return total


def _expr(terms: Terms, t: sp.Symbol) -> sp.Expr:
    return sp.Add(*(sp.factor(c) * t**power * sp.exp(exponent * t) for (exponent, power), c in terms.items()))
