r"""The hierarchy of moments, closed exactly or by name.

By Itô's formula :math:`\frac{\mathrm{d}}{\mathrm{d}t}\mathbb{E}\,f(X_t) = \mathbb{E}\,\mathcal{L}f(X_t)`, for
monomials f as long as their moments are finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.calculus.ito import generator
from derivations.calculus.linear_ode import solve_linear
from derivations.calculus.moment_closures import Index, MomentClosure
from derivations.decimals import exact_decimals
from derivations.diffusion import Diffusion, Flow
from derivations.errors import DerivationError, NoClosedForm, NotClosed, brief

_MOST = 400  # moments in one system


@dataclass(frozen=True)
class MomentEquations:
    r"""Ordinary differential equations of moments :math:`m_\alpha = \mathbb{E}\prod_i X_i^{\alpha_i}`.

    Parameters
    ----------
    process : Diffusion
    indices : tuple of tuple of int
        The :math:`\alpha`, in the order of :attr:`symbols`.
    right_side : Matrix, shape (k, 1)
        :math:`\dot m` in the symbols and time.
    closure : MomentClosure or None
        None if the equations are exact; else the rule that closed them, with its ``assumption``.
    """

    process: Diffusion
    indices: tuple[Index, ...]
    right_side: sp.ImmutableMatrix
    closure: MomentClosure | None

    def __post_init__(self) -> None:
        if taken := self.process.parameters & set(self.symbols):
            raise DerivationError(
                f"the parameter {min(map(str, taken))} of the diffusion has the name of a moment; rename it"
            )

    @property
    def symbols(self) -> tuple[sp.Symbol, ...]:
        """One symbol per moment."""
        return tuple(moment_symbol(index) for index in self.indices)

    @property
    def assumption(self) -> str:
        """What the equations assume beyond finite moments; empty if nothing."""
        return "" if self.closure is None else self.closure.assumption

    @property
    def flow(self) -> Flow:
        """The equations as a flow, for numerical integration."""
        return Flow(self.symbols, self.right_side, self.process.time)

    @cached_property
    def matrix(self) -> sp.ImmutableMatrix | None:
        """The matrix of the equations, None if they are not linear."""
        jacobian = sp.ImmutableMatrix(self.right_side).jacobian(sp.Matrix(self.symbols))
        return None if jacobian.free_symbols & set(self.symbols) else sp.ImmutableMatrix(jacobian)

    def at_start(self, start: Mapping[sp.Symbol, sp.Expr]) -> tuple[sp.Expr, ...]:
        """The moments of a fixed start: state to its value."""
        missing = [str(x) for x in self.process.states if x not in start]
        if missing:
            raise DerivationError(f"the start needs a value for each state, missing {', '.join(missing)}")
        return tuple(
            sp.Mul(*(exact_decimals(start[x]) ** power for x, power in zip(self.process.states, index, strict=True)))
            for index in self.indices
        )

    def solve(self, start: Mapping[sp.Symbol, sp.Expr]) -> dict[Index, sp.Expr]:
        r"""The moments as functions of time from a fixed start, where the equations are linear.

        Raises
        ------
        NoClosedForm
            If they are not linear with constant coefficients; integrate :attr:`flow` numerically then.

        Examples
        --------
        >>> x = sp.Symbol("x", real=True)
        >>> moment_equations(Diffusion((x,), [-x], [[1]]), 2).solve({x: 3})[2,]
        1/2 + 17*exp(-2*t)/2
        """
        if self.matrix is None:
            raise NoClosedForm(
                "the moment equations are not linear; integrate them numerically (numerics.flows.solve_flow)"
            )
        source = self.right_side.subs({m: 0 for m in self.symbols})
        solved = solve_linear(self.matrix, source, self.at_start(start), self.process.time)
        return dict(zip(self.indices, solved, strict=True))


def moment_symbol(index: Index) -> sp.Symbol:
    """The symbol of a moment: ``m_2``, or ``m_{1,1}`` for several states."""
    return sp.Symbol("m_" + (str(index[0]) if len(index) == 1 else "{" + ",".join(map(str, index)) + "}"), real=True)


def moment_equations(process: Diffusion, order: int, closure: MomentClosure | None = None) -> MomentEquations:
    r"""Equations of all moments that those up to an order need.

    The generator maps polynomials to polynomials if the coefficients are polynomials. The equations of the moments asked for
    are collected with those of every moment on their right sides, until nothing new comes; with drift of degree at most 1
    and covariance of degree at most 2 that always ends. If orders keep growing, a named closure must say what stands for them.

    Parameters
    ----------
    process : Diffusion
        Any number of states; polynomial coefficients.
    order : int
        Total order up to which moments are wanted.
    closure : MomentClosure, optional
        Used only where the hierarchy does not close; moments above its order are replaced.

    Raises
    ------
    NotClosed
        If the coefficients are no polynomials, or the hierarchy does not end and no closure is given.

    Examples
    --------
    >>> x, k = sp.Symbol("x", real=True), sp.Symbol("kappa", real=True)
    >>> moment_equations(Diffusion((x,), [k * x], [[x**2]]), 2).right_side.T
    Matrix([[kappa*m_1, m_2*(2*kappa + 1)]])
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise DerivationError(f"the order must be a whole number of at least 1, got {order!r}")
    _require_polynomial(process)
    wanted = _up_to(order, len(process.states))
    found = _collect(process, wanted)
    if found is not None:
        return MomentEquations(process, tuple(found), _right_side(found, None), None)
    if closure is None:
        raise NotClosed(
            "the equations of the moments need ever higher ones; give a closure, e.g. "
            "closure=ZeroCumulant(order), Gaussian() or LogNormal(), which then is an assumption of the result"
        )
    if closure.order < order:
        raise DerivationError(f"the closure keeps moments up to order {closure.order}, and order {order} was asked for")
    kept = {index: _image(process, index) for index in _up_to(closure.order, len(process.states))}
    return MomentEquations(process, tuple(kept), _right_side(kept, closure), closure)


def _require_polynomial(process: Diffusion) -> None:
    for entry in (*process.drift, *process.covariance):
        if not sp.sympify(entry).is_polynomial(*process.states):
            raise NotClosed(
                f"the coefficient {brief(entry)} is no polynomial in the states, so that moments have no equations among themselves; "
                "take functions of the state in which it is one (transform), or solve the forward equation"
            )


def _up_to(order: int, size: int) -> list[Index]:
    def compose(total: int, parts: int) -> list[Index]:
        if parts == 1:
            return [(total,)]
        return [(first, *rest) for first in range(total, -1, -1) for rest in compose(total - first, parts - 1)]

    return [index for total in range(1, order + 1) for index in compose(total, size)]


def _image(process: Diffusion, index: Index) -> dict[Index, sp.Expr]:
    """The generator's image of a monomial, as coefficients of monomials."""
    monomial = sp.Mul(*(x**power for x, power in zip(process.states, index, strict=True)))
    image = sp.Poly(generator(process, monomial), *process.states)
    return {tuple(map(int, powers)): coefficient for powers, coefficient in image.terms() if coefficient != 0}


def _collect(process: Diffusion, wanted: list[Index]) -> dict[Index, dict[Index, sp.Expr]] | None:
    """All moments that the wanted ones need, or None if there is no end to them."""
    highest = max(map(sum, wanted)) + 2 * len(process.states) + 4
    found: dict[Index, dict[Index, sp.Expr]] = {}
    waiting = list(wanted)
    while waiting:
        index = waiting.pop(0)
        if index in found or sum(index) == 0:
            continue
        if sum(index) > highest or len(found) > _MOST:
            return None
        found[index] = _image(process, index)
        waiting += list(found[index])
    return dict(sorted(found.items(), key=lambda item: (sum(item[0]), tuple(-p for p in item[0]))))


def _right_side(kept: Mapping[Index, Mapping[Index, sp.Expr]], closure: MomentClosure | None) -> sp.ImmutableMatrix:
    def moment(index: Index) -> sp.Expr:
        if sum(index) == 0:
            return sp.S.One
        if index in kept:
            return moment_symbol(index)
        assert closure is not None
        return closure.replace(index, moment)

    rows = [sp.Add(*(coefficient * moment(index) for index, coefficient in image.items())) for image in kept.values()]
    return sp.ImmutableMatrix(len(rows), 1, rows)
