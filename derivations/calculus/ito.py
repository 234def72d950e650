r"""Itô's formula, the generator, changes of variables, and the Stratonovich form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from derivations.diffusion import Diffusion, Flow
from derivations.errors import DerivationError


def generator(process: Diffusion | Flow, function: sp.Expr) -> sp.Expr:
    r"""Apply :math:`\partial_t + \mathcal{L}`, with :math:`\mathcal{L}f = b\cdot\nabla f + \tfrac12 a : \nabla^2 f`.

    By Itô's formula :math:`\mathrm{d}f(t, X) = (\partial_t + \mathcal{L})f\,\mathrm{d}t + \nabla f^\top\sigma\,\mathrm{d}B`, so this is
    the drift of :math:`f(t, X_t)`.

    Parameters
    ----------
    process : Diffusion or Flow
    function : Expr
        A function of the states and time, twice differentiable in the states (or, for a function with kinks,
        piece by piece where its first derivative is continuous).

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> generator(Diffusion((x,), [0], [[x**2]]), x**2)
    x**2
    """
    total = sp.diff(function, process.time)
    for i, x in _used(process, function):
        total += process.drift[i] * sp.diff(function, x)
    return sp.expand(total + second_order(process, function))


def _used(process: Diffusion | Flow, function: sp.Expr) -> list[tuple[int, sp.Symbol]]:
    """The states that a function depends on, with their places: of many states it reads few."""
    return [(i, x) for i, x in enumerate(process.states) if x in function.free_symbols]


def second_order(process: Diffusion | Flow, function: sp.Expr) -> sp.Expr:
    r"""What noise adds to the drift of a function by Itô's formula, :math:`\tfrac12 a : \nabla^2 f`."""
    used = _used(process, function)
    slopes = ((process.entry(i, j), sp.diff(function, x, y)) for i, x in used for j, y in used)
    return sp.Add(*(entry * slope for entry, slope in slopes if entry != 0)) / 2


def bracket(process: Diffusion, first: sp.Expr, second: sp.Expr) -> sp.Expr:
    r"""Covariation rate :math:`\mathrm{d}[f, g]/\mathrm{d}t = \nabla f^\top a\,\nabla g`."""
    rates = (
        process.entry(i, j) * sp.diff(first, x) * sp.diff(second, y)
        for i, x in _used(process, first)
        for j, y in _used(process, second)
    )
    return sp.expand(sp.Add(*rates))


def transform(
    process: Diffusion,
    functions: Mapping[sp.Symbol, sp.Expr],
    inverse: Mapping[sp.Symbol, sp.Expr] | None = None,
    domain: sp.Set = sp.S.Reals,
) -> Diffusion:
    r"""The diffusion of :math:`Y = f(t, X)`, by Itô's formula in several variables with all cross terms.

    Parameters
    ----------
    process : Diffusion
        The diffusion of X.
    functions : mapping
        New state symbol to function of the old states and time.
    inverse : mapping, optional
        Old state symbol to its expression in the new states. Without it the coefficients must turn out to
        depend on the new states alone, which is tried by solving each function for one old state.
    domain : Set
        The interval in which a scalar Y lives.

    Raises
    ------
    DerivationError
        If a coefficient still contains an old state: Y is then not Markov by itself.

    Examples
    --------
    >>> x, z = sp.symbols("x z", real=True)
    >>> transform(Diffusion((x,), [0], [[x**2]]), {z: sp.log(x)}, {x: sp.exp(z)}).drift
    Matrix([[-1/2]])
    """
    new, maps = tuple(functions), list(functions.values())
    drift = [generator(process, f) for f in maps]
    covariance = [[bracket(process, f, g) for g in maps] for f in maps]

    elimination = dict(inverse) if inverse is not None else _eliminate(process.states, functions)

    def rewrite(expr: sp.Expr) -> sp.Expr:
        expr = expr.subs(elimination, simultaneous=True)
        expr = sp.cancel(sp.expand_log(sp.powdenest(expr))) if not expr.has(sp.Piecewise) else expr
        left = expr.free_symbols & (set(process.states) - set(new))
        if left:
            raise DerivationError(
                f"the coefficients of the transformed process still contain {sorted(map(str, left))}; "
                "give the inverse map, or more functions, so that the new states determine the old ones"
            )
        return expr

    sigma = None
    if process.sigma is not None:
        slopes = sp.Matrix([[sp.diff(f, x) for x in process.states] for f in maps])
        sigma = (slopes * process.sigma).applyfunc(rewrite)
    return Diffusion(
        new,
        sp.ImmutableMatrix([rewrite(e) for e in drift]),
        sp.ImmutableMatrix([[rewrite(e) for e in row] for row in covariance]),
        domain if len(new) == 1 else sp.S.UniversalSet,  # what several functions can be together is not known
        process.time,
        sigma=sigma,
    )


def _eliminate(states: Sequence[sp.Symbol], functions: Mapping[sp.Symbol, sp.Expr]) -> dict[sp.Symbol, sp.Expr]:
    """Old states that can be solved for, one per function; any branch will do, since a closed coefficient has the same value on all."""
    rules: dict[sp.Symbol, sp.Expr] = {}
    for name, function in functions.items():
        for x in states:
            if x not in rules and function.has(x):
                branches = sp.solve(function.subs(rules) - name, x)
                if branches:
                    rules = {old: value.subs(x, branches[-1]) for old, value in rules.items()} | {x: branches[-1]}
                    break
    return rules


@dataclass(frozen=True)
class Stratonovich:
    r"""A diffusion in Stratonovich form :math:`\mathrm{d}X = b^\circ\,\mathrm{d}t + \sigma\circ\mathrm{d}B`.

    Parameters
    ----------
    states : tuple of Symbol
    drift : Matrix, shape (d, 1)
        :math:`b^\circ`, which depends on the chosen factor.
    factor : Matrix, shape (d, k)
        :math:`\sigma`, one column per Brownian motion.
    time : Symbol
    """

    states: tuple[sp.Symbol, ...]
    drift: sp.ImmutableMatrix
    factor: sp.ImmutableMatrix
    time: sp.Symbol

    def to_ito(self) -> Diffusion:
        """The same process in Itô form."""
        drift = self.drift + _correction(self.states, self.factor)
        return Diffusion(self.states, sp.ImmutableMatrix(drift), time=self.time, sigma=self.factor)


def _correction(states: Sequence[sp.Symbol], factor: sp.ImmutableMatrix) -> sp.Matrix:
    # ½ Σ_{k,j} σ_jk ∂_j σ_ik: half the covariation of σ(X) with B, which ∘ adds to the Itô integral
    return sp.Matrix(
        len(states),
        1,
        lambda i, _: (
            sp.Rational(1, 2)
            * sp.Add(
                *(factor[j, k] * sp.diff(factor[i, k], x) for j, x in enumerate(states) for k in range(factor.cols))
            )
        ),
    )


def real_root(a: sp.Expr) -> sp.Expr:
    r"""A real function whose square is a nonnegative a, smooth where a is the square of something smooth.

    What stands squared comes out as it is, :math:`x^2(1-x)^2` as :math:`x(1 - x)` and not as its absolute value: a law does not see
    the sign of its noise, and derivatives do not see a kink. The rest stays under one root, so that it is real wherever a is nonnegative.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> real_root(x**2 * (1 - x) ** 2), real_root(x - x**2), real_root(4 * sp.exp(x))
    (x*(1 - x), sqrt(x*(1 - x)), 2*exp(x/2))
    """
    if a.has(sp.Piecewise, sp.Max, sp.Min, sp.Heaviside, sp.sign):
        return sp.sqrt(a)
    factors = [factor for part in sp.Mul.make_args(a) for factor in _factors(part)]
    outside, left = sp.S.One, []
    for factor in factors:
        base, power = factor.as_base_exp()
        if isinstance(factor, sp.exp):
            outside *= sp.exp(factor.args[0] / 2)
        elif power.is_even and base.is_extended_real:
            outside *= base ** (power / 2)
        elif factor.is_positive:
            outside *= sp.sqrt(factor)
        else:
            left.append(factor)
    if sp.S.NegativeOne in left and (turned := next((f for f in left if f.is_Add), None)) is not None:
        left.remove(sp.S.NegativeOne)
        left[left.index(turned)] = -turned  # −(x − 1) is written 1 − x
    return outside * sp.sqrt(sp.Mul(*left))


def _factors(expr: sp.Expr) -> tuple[sp.Expr, ...]:
    return sp.Mul.make_args(sp.factor(expr)) if expr.is_Add else (expr,)


def square_root(covariance: sp.ImmutableMatrix) -> sp.ImmutableMatrix:
    r"""A factor :math:`\sigma` with :math:`\sigma\sigma^\top = a`: entrywise for a diagonal a, else Cholesky's lower triangle.

    Roots are those of :func:`real_root`, so a diagonal entry may be negative. Where a pivot of Cholesky's algorithm vanishes so does
    what is left of its column, and the column is left out: states that share a Brownian motion have fewer columns than rows.

    Raises
    ------
    DerivationError
        If it does not: the matrix is no covariance, or its algebra is too hard here; give a factor of your own then.

    Examples
    --------
    >>> x, y = sp.symbols("x y", positive=True)
    >>> square_root(sp.ImmutableMatrix([[x**2, x * y], [x * y, y**2]]))
    Matrix([
    [x],
    [y]])
    """
    if covariance.is_diagonal():
        return sp.ImmutableMatrix(sp.diag(*(real_root(entry) for entry in covariance.diagonal())))
    size = covariance.rows
    lower = sp.zeros(size, size)
    for j in range(size):
        pivot = sp.factor(covariance[j, j] - sum(lower[j, k] ** 2 for k in range(j)))
        rest = [
            sp.cancel(covariance[i, j] - sum(lower[i, k] * lower[j, k] for k in range(j))) for i in range(j + 1, size)
        ]
        if pivot == 0:
            if any(entry != 0 for entry in rest):
                raise DerivationError(
                    f"the covariance is degenerate (pivot {j + 1} of Cholesky's algorithm is 0) and has no such factor; "
                    "give one of your own, Diffusion(..., sigma=σ)"
                )
            continue
        lower[j, j] = real_root(pivot)
        for i, entry in enumerate(rest, start=j + 1):
            lower[i, j] = sp.cancel(entry / lower[j, j])
    used = [j for j in range(size) if any(entry != 0 for entry in lower[:, j])]
    return sp.ImmutableMatrix(lower[:, used])


def to_stratonovich(process: Diffusion, factor: sp.ImmutableMatrix | None = None) -> Stratonovich:
    r"""Itô to Stratonovich: :math:`b^\circ_i = b_i - \tfrac12\sum_{jk}\sigma_{jk}\,\partial_j\sigma_{ik}`.

    Parameters
    ----------
    process : Diffusion
    factor : Matrix, optional
        :math:`\sigma` with :math:`\sigma\sigma^\top` the covariance; by default the process's own, else :func:`square_root`.

    Examples
    --------
    >>> x = sp.Symbol("x", positive=True)
    >>> to_stratonovich(Diffusion((x,), [0], [[x**2]])).drift
    Matrix([[-x/2]])
    """
    given = process.sigma if factor is None else sp.ImmutableMatrix(factor)
    sigma = square_root(process.covariance) if given is None else given
    if sp.expand(sigma * sigma.T - process.covariance) != sp.zeros(*process.covariance.shape):
        raise DerivationError("the given factor σ does not satisfy σσᵀ = covariance")
    drift = process.drift - _correction(process.states, sigma)
    return Stratonovich(process.states, sp.ImmutableMatrix(drift), sigma, process.time)
