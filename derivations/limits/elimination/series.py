r"""Truncated power series in the small parameter.

By recursion on the expression: sums, products, powers by the binomial series, functions by Taylor's formula. A power of
:math:`1/\varepsilon` inside is kept as such, so that :math:`\varphi(\varepsilon x)/\varepsilon` has its series.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import sympy as sp

from derivations.errors import NoLimit, NotClosed, brief
from derivations.gaussian import GaussianExpectation, SoftmaxShare, expect
from derivations.limits.elimination.products import expanded
from derivations.piecewise.continued import Continued
from derivations.symbols import step

#: Coefficients of ε⁰, ε¹, …
Series: TypeAlias = tuple[sp.Expr, ...]
_Laurent: TypeAlias = dict[int, sp.Expr]

#: Stands in coefficients that are not known since a kink moves with the small parameter: there the Taylor series of a function is not
#: that of its mean.
moving_kink = sp.Dummy("kink", real=True)
_TIMES = {1: "once", 2: "twice"}
_DEEPEST = 12  # the highest power of ε that is looked for as the first of a series
_INFINITE = (sp.nan, sp.zoo, sp.oo, -sp.oo, sp.AccumBounds)


@lru_cache(maxsize=4096)
def taylor(expr: sp.Expr, order: int) -> Series:
    r"""Coefficients of an expression in :math:`\varepsilon` at 0, up to an order.

    Raises
    ------
    NoLimit
        If it is not smooth there.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> taylor(sp.tanh(step * x), 3)
    (0, x, 0, -x**3/3)
    >>> taylor(sp.sin(step * x) / step, 2)
    (x, 0, -x**3/6)
    """
    if not expr.has(step):
        return (expr, *[sp.S.Zero] * order)
    if expr.is_polynomial(step):
        return _coefficients(expr, order)
    found = {k: sp.expand(c) for k, c in _laurent(expr, order).items()}
    poles = {k: c for k, c in found.items() if k < 0 and c != 0}
    if poles:
        first = min(poles)
        raise NoLimit(
            f"{brief(expr)} grows like {poles[first] * step**first} as ε tends to 0: such a layer is no small step; scale it down "
            "(scalings(net) finds the sizes that have a limit), or, where an activation is zoomed, subtract its value at 0, since else all "
            "inputs look the same after one layer"
        )
    return tuple(found.get(k, sp.S.Zero) for k in range(order + 1))


def _coefficients(polynomial: sp.Expr, order: int) -> Series:
    found: list[list[sp.Expr]] = [[] for _ in range(order + 1)]
    for term in sp.Add.make_args(expanded(polynomial)):
        factors = sp.Mul.make_args(term)
        own = next((f for f in factors if f == step or (f.is_Pow and f.base == step)), sp.S.One)
        power = 0 if own == 1 else int(own.as_base_exp()[1])
        if power <= order:
            found[power].append(term if power == 0 else sp.Mul(*(f for f in factors if f is not own)))
    return tuple(sp.Add(*terms) for terms in found)


def _laurent(expr: sp.Expr, order: int) -> _Laurent:
    """Coefficients of all powers up to an order."""
    if not expr.has(step):
        return {0: expr} if order >= 0 else {}
    if expr == step:
        return {1: sp.S.One} if order >= 1 else {}
    if expr.is_Add:
        total: _Laurent = {}
        for term in expr.args:
            for k, c in _laurent(term, order).items():
                total[k] = total.get(k, sp.S.Zero) + c
        return total
    if expr.is_Mul:
        return _of_product(expr.args, order)
    if expr.is_Pow and not expr.exp.has(step):
        return _of_power(expr, order)
    if isinstance(expr, sp.Max | sp.Min | sp.Abs):
        return _of_kinked(expr, order)
    if isinstance(expr, sp.sign | sp.Heaviside):
        return _of_pieces(_as_pieces(expr), order, moving_from=1)
    if isinstance(expr, sp.Piecewise):
        return _of_pieces(expr, order)
    if isinstance(expr, GaussianExpectation) and not any(part.has(step) for part in expr.args[1:]):
        function, mean, variance = expr.args
        (z,) = function.variables
        return {k: expect(c, z, variance, mean) for k, c in _laurent(function.expr, order).items()}
    if isinstance(expr, SoftmaxShare) and not any(mask.has(step) for mask in expr.masks):
        return _of_share(expr, order)
    if isinstance(expr, Continued) and not expr.is_smooth:
        raise NotClosed(
            f"the variance {brief(expr.args[1])} can be 0 and moves with ε, and the mean {brief(expr)} has no derivative there: what the layer "
            "does is no power series in ε where the variance is 0; give the matrix a bias variance"
        )
    if expr.is_Pow:
        return _laurent(sp.exp(expr.exp * sp.log(expr.base), evaluate=False), order)
    if isinstance(expr, sp.Function) and len(expr.args) == 1:
        return _of_function(expr, order)
    return _by_derivatives(expr, order)


def _of_share(share: SoftmaxShare, order: int) -> _Laurent:
    r"""With shares :math:`w_j` at :math:`\varepsilon = 0`, which add up to 1, and :math:`r_j = e^{y_j - y_j(0)}`: :math:`w_k r_k/\sum_j w_j r_j`."""
    scores = [taylor(score, order) for score in share.scores]
    starts = [s[0] for s in scores]
    weights = [share.func(k, *share.masks, *starts) for k in range(len(scores))]
    grown = [[w * c for c in _exponential(s)] for w, s in zip(weights, scores, strict=True)]
    below = [sp.S.One, *(sp.expand(sp.Add(*terms)) for terms in list(zip(*grown, strict=True))[1:])]
    found: list[sp.Expr] = []
    for i, above in enumerate(grown[int(share.args[0])]):
        found.append(sp.expand(above - sp.Add(*(below[j] * found[i - j] for j in range(1, i + 1)))))
    return dict(enumerate(found))


def _exponential(series: Series) -> Series:
    r"""Coefficients of :math:`e^{y - y_0}`, by :math:`f' = y'f`."""
    found = [sp.S.One]
    for i in range(1, len(series)):
        found.append(sp.expand(sp.Add(*(j * series[j] * found[i - j] for j in range(1, i + 1))) / i))
    return tuple(found)


@lru_cache(maxsize=4096)
def _first(expr: sp.Expr) -> int:
    """The lowest power in the series of an expression."""
    for order in range(_DEEPEST + 1):
        powers = [k for k, c in _laurent(expr, order).items() if sp.expand(c) != 0]
        if powers:
            return min(powers)
    raise NoLimit(f"{brief(expr)} vanishes faster than ε^{_DEEPEST} as ε tends to 0, or is 0")


def _multiplied(one: _Laurent, other: _Laurent, order: int) -> _Laurent:
    total: _Laurent = {}
    for i, a in one.items():
        for j, b in other.items():
            if i + j <= order:
                total[i + j] = total.get(i + j, sp.S.Zero) + a * b
    return total


def _of_product(factors: Sequence[sp.Expr], order: int) -> _Laurent:
    """Each factor to the order that the lowest powers of the others leave for it."""
    firsts = [0 if not f.has(step) else _low(f) for f in factors]
    found: _Laurent = {0: sp.S.One}
    done = 0
    for f, first in zip(factors, firsts, strict=True):
        others = sum(firsts) - first
        done += first
        found = _multiplied(found, _laurent(f, order - others), order - (sum(firsts) - done))
    return found


def _low(expr: sp.Expr) -> int:
    """A lower bound of the lowest power: 0 where no power of 1/ε occurs."""
    if not any(node.exp.is_negative and node.base.has(step) for node in expr.atoms(sp.Pow)):
        return 1 if expr == step else int(expr.exp) if expr.is_Pow and expr.base == step and expr.exp.is_Integer else 0
    return _first(expr)


def _of_power(expr: sp.Expr, order: int) -> _Laurent:
    base, exponent = expr.base, expr.exp
    if base == step and exponent.is_Integer:
        return {int(exponent): sp.S.One} if exponent <= order else {}
    if exponent.is_Integer and exponent > 0:
        return _of_product([base] * int(exponent), order)
    first = _first(base)
    start = first * exponent
    if not start.is_Integer:
        raise NoLimit(
            f"{brief(expr)} is not {_TIMES.get(order, f'{order} times')} differentiable in ε at ε = 0; write it in powers of ε"
        )
    steps = order - int(start)
    if steps < 0:
        return {}
    series = _laurent(base, first + steps)
    lead = series[first]
    rest = {k - first: c / lead for k, c in series.items() if k > first}
    found, power = {0: sp.S.One}, {0: sp.S.One}
    for j in range(1, steps + 1):
        power = _multiplied(power, rest, steps)
        for k, c in power.items():
            found[k] = found.get(k, sp.S.Zero) + sp.binomial(exponent, j) * c
    return {int(start) + k: lead**exponent * c for k, c in found.items()}


def _of_function(expr: sp.Function, order: int) -> _Laurent:
    """Taylor's formula at the argument's value at ε = 0."""
    inside = _laurent(expr.args[0], order)
    if any(k < 0 and sp.expand(c) != 0 for k, c in inside.items()):
        raise NoLimit(f"{brief(expr)} is not smooth at ε = 0: its argument grows; write it in powers of ε")
    y = sp.Dummy("y", real=True)
    at, rest = inside.get(0, sp.S.Zero), {k: c for k, c in inside.items() if k > 0}
    if isinstance(expr, sp.floor | sp.ceiling) and at.is_integer:
        raise NoLimit(f"{brief(expr)} jumps where its argument is at ε = 0; take ε out of the step")
    outer, power = expr.func(y), {0: sp.S.One}
    found: _Laurent = {}
    for j in range(order + 1):
        value = outer.subs(y, at)
        if value.has(*_INFINITE):
            raise NoLimit(
                f"{brief(expr)} is not {_TIMES.get(order, f'{order} times')} differentiable in ε at ε = 0; write it in powers of ε, or "
                "choose an activation that is smooth at 0"
            )
        for k, c in power.items():
            found[k] = found.get(k, sp.S.Zero) + value * c / sp.factorial(j)
        power = _multiplied(power, rest, order)
        if not power:
            break
        outer = sp.diff(outer, y)
    return found


def _of_kinked(expr: sp.Expr, order: int) -> _Laurent:
    """As pieces."""
    pieces = expr.rewrite(sp.Piecewise)
    if not isinstance(pieces, sp.Piecewise):
        return _by_derivatives(expr, order)
    return _of_pieces(pieces, order)


def _as_pieces(step_function: sp.Function) -> sp.Piecewise:
    inside = step_function.args[0]
    low, high = (step_function.func(sp.Integer(side)) for side in (-1, 1))
    at_zero = step_function.subs(inside, 0)
    return sp.Piecewise((low, sp.Lt(inside, 0)), (high, sp.Gt(inside, 0)), (at_zero, True))


def _of_pieces(expr: sp.Piecewise, order: int, moving_from: int = 2) -> _Laurent:
    """Piece by piece. A kink at a multiple of ε is where the multiple is; one that moves otherwise is marked, of a jump from the first order on."""
    conditions, moves = [], False
    for _, condition in expr.args:
        rule = {}
        for relation in condition.atoms(sp.core.relational.Relational):
            if relation.has(step):
                difference = relation.lhs - relation.rhs
                first = _first(difference)
                series = _laurent(difference, first + max(order, 1))
                lead = sp.expand(series[first])
                rule[relation] = relation.func(lead, 0)
                moves |= any(
                    k > first and sp.cancel(c / lead).free_symbols & lead.free_symbols for k, c in series.items()
                )
        conditions.append(condition.xreplace(rule))
    parts = [_laurent(value, order) for value, _ in expr.args]
    powers = sorted({k for part in parts for k in part})
    found = {
        k: sp.Piecewise(*((sp.expand(part.get(k, sp.S.Zero)), c) for part, c in zip(parts, conditions, strict=True)))
        for k in powers
    }
    if moves:
        found |= {k: found.get(k, sp.S.Zero) + moving_kink for k in range(moving_from, order + 1)}
    return found


def _by_derivatives(expr: sp.Expr, order: int) -> _Laurent:
    """Of what has no rule of its own."""
    found: _Laurent = {}
    for k in range(order + 1):
        expr = expr if k == 0 else sp.diff(expr, step)
        value = expr.subs(step, 0)
        if value.has(*_INFINITE):
            raise NoLimit(
                f"{brief(expr)} is not {_TIMES.get(order, f'{order} times')} differentiable in ε at ε = 0; write it in powers of ε, or "
                "choose an activation that is smooth at 0"
            )
        found[k] = value / sp.factorial(k)
    return found


def require_still(term: sp.Expr) -> sp.Expr:
    """A coefficient, if no kink moves in it.

    Raises
    ------
    NotClosed
        If one does.
    """
    if term.has(moving_kink):
        raise NotClosed(
            "a kink moves with ε, as in relu(x + ε u), and a term of second order of it matters: its mean is not that of a Taylor series; "
            "apply the activation to a multiple of one matrix's output"
        )
    return term


def as_expression(series: Sequence[sp.Expr]) -> sp.Expr:
    """The polynomial with these coefficients."""
    return sp.Add(*(c * step**k for k, c in enumerate(series)))


def truncated_product(first: Series, second: Series) -> Series:
    """Coefficients of a product, to the order of the shorter one."""
    size = min(len(first), len(second))
    return tuple(sp.Add(*(first[i] * second[k - i] for i in range(k + 1))) for k in range(size))
