"""How fast coefficients grow with the state, and how smooth they are."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.calculus.far_out import ends, far_out
from derivations.calculus.finiteness import Condition, tidy_condition
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.gaussian import GaussianExpectation, GaussianJointExpectation
from derivations.language.statements import Matrix, Mean
from derivations.piecewise import Analysis, analyse
from derivations.piecewise.cuts import side
from derivations.special import ExpertGate
from derivations.sums import CoordinateSum

#: Smooth functions of any real argument.
_ENTIRE = (sp.exp, sp.sin, sp.cos, sp.sinh, sp.cosh, sp.tanh, sp.atan, sp.asinh, sp.erf, sp.erfc)


def rising(drift: sp.Expr) -> sp.Expr:
    """A drift of a positive number without terms that are not positive, which cannot make it explode."""
    return sp.Add(*(term for term in sp.Add.make_args(sp.expand(drift)) if not term.is_nonpositive))


def is_smooth(entries: Sequence[sp.Expr]) -> bool:
    """Whether formulas have no kinks and jumps."""
    return not any(e.has(sp.Abs, sp.Max, sp.Min, sp.Piecewise, sp.sign, sp.Heaviside) or _routes(e) for e in entries)


def _routes(expr: sp.Expr) -> bool:
    """Whether experts come in and go; a mean over their scores does not jump."""
    means = {mean: sp.Dummy("E", real=True) for mean in expr.atoms(GaussianJointExpectation)}
    return any(gate.jumps for gate in expr.xreplace(means).atoms(ExpertGate))


def is_lipschitz(network: Recipe) -> bool:
    """Whether all that a program applies is locally Lipschitz: then several inputs move in a Lipschitz way also where they meet."""
    program = network.program()
    bodies = [s.body for s in program.statements if isinstance(s, Matrix | Mean)]
    return all(map(_is_lipschitz_body, (*bodies, program.update)))


def is_lipschitz_drift(drift: sp.Expr, states: Sequence[sp.Symbol]) -> bool:
    """Whether a drift is locally Lipschitz in its states.

    Functions of one state are, or those without kinks, roots and denominators, and sums, products and the larger of such.
    """
    if not drift.has(*states):
        return True
    if len(drift.free_symbols) <= 1 and not drift.has(CoordinateSum, GaussianExpectation, GaussianJointExpectation):
        (x,) = drift.free_symbols or {sp.Dummy("x", real=True)}
        return _is_lipschitz_function(drift, x)
    if isinstance(drift, sp.Add | sp.Mul | sp.Max | sp.Min | sp.Abs):
        return all(is_lipschitz_drift(part, states) for part in drift.args)
    return is_smooth_everywhere(drift, states)


def is_smooth_everywhere(formula: sp.Expr, states: Sequence[sp.Symbol]) -> bool:
    """Whether a formula is made of functions without kinks and ends, and of powers of what is positive or whole ones: no zero need be known.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [is_smooth_everywhere(f, [x]) for f in (sp.cos(x), sp.sin(x) / (1 + x**2), sp.sqrt(x), sp.tan(x))]
    [True, True, False, False]
    """
    powers = [power for power in formula.atoms(sp.Pow) if power.has(*states)]
    whole = all(p.base.is_positive or (p.exp.is_Integer and p.exp.is_positive) for p in powers)
    return whole and all(isinstance(f, _ENTIRE) for f in formula.atoms(sp.Function, CoordinateSum, GaussianExpectation))


def growing_outward(drift: sp.Expr, x: sp.Symbol) -> bool | None:
    """Whether a function of one state grows faster than linearly and leads away from 0 on some side; None if not known."""
    both = ends(drift, x)
    if both is None:
        return None
    leads = [(side * c).is_positive if power > 1 else False for side, (power, c) in zip((-1, 1), both, strict=True)]
    return True if True in leads else None if None in leads else False


def _is_lipschitz_body(body: sp.Expr) -> bool:
    if is_smooth([body]):
        return True
    for case in body.atoms(sp.Piecewise):  # of a function of one smooth formula
        moved = {c.lhs - c.rhs for _, condition in case.args for c in condition.atoms(sp.core.relational.Relational)}
        if len(moved) == 1 and len((inside := moved.pop()).free_symbols) > 1 and is_smooth([inside]):
            body = body.xreplace({inside: sp.Dummy("x", real=True)})
    if len(body.free_symbols) != 1:
        return isinstance(body, sp.Add | sp.Mul) and all(map(_is_lipschitz_body, body.args))
    return _is_lipschitz_function(body, body.free_symbols.pop())


def _is_lipschitz_function(expr: sp.Expr, x: sp.Symbol) -> bool:
    own = sp.Dummy("x", real=True)
    try:
        a = analyse(expr.xreplace({x: own}), own)
    except DerivationError:
        return False
    if not all(_is_tame_end(a.expr, own, low, 1) and _is_tame_end(a.expr, own, high, -1) for low, high in a.intervals):
        return False
    return a.complete and not a.jumps and not a.poles and has_slopes(a)


def has_slopes(a: Analysis) -> bool:
    """Whether a function has slopes on both sides of its zeros and kinks, which x log|x|, a zero of order 1, does not have.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [has_slopes(analyse(f, x)) for f in (sp.tanh(abs(x)), x * sp.log(abs(x)), sp.sqrt(abs(x)))]
    [True, False, False]
    """
    points = (*a.zeros, *a.kinks)
    if not all(q is not None and q >= 1 for p in points for q in p.orders):
        return False
    slope = sp.diff(a.expr, a.variable)
    sides = [(p.value, inwards) for p in points for q, inwards in zip(p.orders, (-1, 1), strict=True) if q == 1]
    return not any(_is_infinite(side(slope, a.variable, value, inwards).limit) for value, inwards in sides)


def _is_infinite(limit: sp.Expr | None) -> bool:
    return limit is not None and limit.is_infinite is True


def _is_tame_end(expr: sp.Expr, x: sp.Symbol, end: sp.Expr, inwards: int) -> bool:
    """Whether a function has a slope at a finite end of its domain, or none of its values there."""
    if not end.is_finite:
        return True
    value, slope = (side(e, x, end, inwards).limit for e in (expr, sp.diff(expr, x)))
    return (slope is not None and bool(slope.is_finite)) or (value is not None and bool(value.is_infinite))


def explosion_by_powers(norm: Diffusion) -> Condition | None:
    r"""Feller's test of a diffusion whose drift is :math:`\frac{\kappa}{2V}` times its covariance a, which grows like :math:`V^p`; None for others.

    The scale's density is :math:`V^{-\kappa}`: infinity attracts iff :math:`\kappa > 1`, and is then reached iff :math:`\int^\infty V/a < \infty`,
    :math:`p > 2`.
    """
    (v,) = norm.states
    kappa = sp.cancel(2 * v * norm.drift[0] / norm.covariance[0, 0])
    found = far_out(norm.covariance[0, 0], v)
    if kappa.has(v) or found is None:
        return None
    return tidy_condition(sp.And(sp.Gt(kappa, 1), sp.Gt(found[0], 2)))
