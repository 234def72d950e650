r"""Growth and smoothness of a layer's increment as a function of the state, read off its program.

Given its weights a layer is a function of the state. Where that is locally Lipschitz in mean square, so are noise and drift of the limit, and
its equation has a unique solution up to an explosion (Kunita). A matrix puts out numbers of the size of what it reads, a sum over positions too, a
norm bounded ones, :math:`|b_i| \le \sqrt n\,\langle b^2\rangle^{1/2}`, and so does a softmax, whose shares add up to 1.
"""

from __future__ import annotations

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.calculus.growth import degree
from derivations.existence.growth import is_lipschitz, is_smooth
from derivations.language.statements import Mask, Matrix, Mean, Mix, Program, Shares
from derivations.symbols import state, step


def is_locally_lipschitz(network: Recipe, still: bool) -> bool:
    """Whether noise and drift are, where no norm is 0; kinks that a small parameter moves have slopes that jump in a drift."""
    program = network.program()
    bodies = [s.body for s in program.statements if isinstance(s, Matrix | Mean)]
    return is_lipschitz(network) and (
        still or all(is_smooth([b]) or not b.has(step) for b in (*bodies, program.update))
    )


def has_norms(program: Program) -> bool:
    """Whether something is divided by an average of the state."""
    means = {s.symbol for s in program.statements if isinstance(s, Mean)}
    bodies = [s.body for s in program.statements if hasattr(s, "body")]
    powers = set().union(*(body.atoms(sp.Pow) for body in (*bodies, program.update)))
    return any(power.exp.is_negative and power.base.free_symbols & means for power in powers)


def added_degree(program: Program) -> sp.Expr | None:
    """A power of the size of the state that bounds what a layer adds per small parameter, mean and noise; None if none is seen."""
    sizes: dict[sp.Symbol, sp.Expr] = {state: sp.S.One}
    squares: dict[sp.Symbol, sp.Expr] = {}
    for s in program.statements:
        if isinstance(s, Mask | Shares):
            sizes[s.symbol] = sp.S.Zero
            continue
        if not isinstance(s, Matrix | Mean | Mix) or s.body.has(step):
            return None
        found = _degree(s.body, sizes | {at: sizes[v] for at, v in program.others if v in sizes}, squares)
        if found is None:
            return None
        sizes[s.symbol] = found
        if isinstance(s, Mean) and s.power == 1 and not s.pair:
            squares[s.symbol] = s.body
    added = sp.expand(program.update - state)
    if not added.is_polynomial(step) or added.xreplace({step: sp.S.Zero}) != 0:
        return None
    degrees = [_degree(c, sizes, squares) for c in sp.Poly(added, step).coeffs()]
    known = [d for d in degrees if d is not None]
    return sp.Max(*known) if len(known) == len(degrees) else None


def _degree(body: sp.Expr, sizes: dict[sp.Symbol, sp.Expr], squares: dict[sp.Symbol, sp.Expr]) -> sp.Expr | None:
    body = body.replace(lambda e: e.is_Add or e.is_Mul, lambda e: _normed(e, squares))
    if any(power.exp.is_negative and power.base.free_symbols & sizes.keys() for power in body.atoms(sp.Pow)):
        return None
    unit = sp.Dummy("x", real=True)
    moving = [s for s in body.free_symbols & sizes.keys() if sizes[s] != 0]
    at = {s: sp.Dummy("r", real=True) for s in body.free_symbols & sizes.keys()}
    for s in moving:  # several of one size have factors of their own, lest they cancel
        size = unit if sizes[s] == 1 else sp.Abs(unit) ** sizes[s]
        at[s] = size if len(moving) == 1 else at[s] * size
    return degree(body.xreplace(at), (unit,))


def _normed(expr: sp.Expr, squares: dict[sp.Symbol, sp.Expr]) -> sp.Expr:
    """A number of a neuron over the root mean square of these numbers as a bounded one."""
    for mean, square in squares.items():
        terms = sp.Add.make_args(expr)
        over = [t for t in terms if t.as_powers_dict().get(mean) == -sp.S.Half]
        if over and sp.cancel(sp.expand((sp.Add(*over) * sp.sqrt(mean)) ** 2 / square)).is_number:
            return sp.Dummy("r", real=True) + sp.Add(*(t for t in terms if t not in over))
    return expr
