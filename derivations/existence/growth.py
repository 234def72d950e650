"""How fast coefficients grow with the state, and how smooth they are."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.calculus.finiteness import Condition
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.gaussian import GaussianExpectation, GaussianJointExpectation
from derivations.language.statements import Matrix, Mean
from derivations.piecewise import analyse
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
    whole = all(
        power.exp.is_Integer and power.exp.is_positive for power in drift.atoms(sp.Pow) if power.base.has(*states)
    )
    return whole and all(isinstance(f, _ENTIRE) for f in drift.atoms(sp.Function, CoordinateSum, GaussianExpectation))


def growing_outward(drift: sp.Expr, x: sp.Symbol) -> bool | None:
    """Whether a function of one state grows faster than linearly and leads away from 0 on some side; None if not known."""
    ends = _ends(drift, x)
    if ends is None:
        return None
    leads = [(side * c).is_positive if power > 1 else False for side, (power, c) in zip((-1, 1), ends, strict=True)]
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
    orders = [q for p in (*a.zeros, *a.kinks) for q in p.orders]
    if not all(_is_tame_end(a.expr, own, low, 1) and _is_tame_end(a.expr, own, high, -1) for low, high in a.intervals):
        return False
    return a.complete and not a.jumps and not a.poles and all(q is not None and q >= 1 for q in orders)


def _is_tame_end(expr: sp.Expr, x: sp.Symbol, end: sp.Expr, inwards: int) -> bool:
    """Whether a function has a slope at a finite end of its domain, or none of its values there."""
    if not end.is_finite:
        return True
    value, slope = (side(e, x, end, inwards).limit for e in (expr, sp.diff(expr, x)))
    return (slope is not None and bool(slope.is_finite)) or (value is not None and bool(value.is_infinite))


def far_out(expr: sp.Expr, s: sp.Symbol) -> tuple[sp.Expr, int] | None:
    r"""The power of s > 0 like which a function of it grows exactly, and its sign far out; None if not known.

    A mean :math:`\mathbb{E}\,g(\sqrt v Z)` grows like :math:`v^{p/2}` where :math:`g(x) \sim c_\pm |x|^p` with :math:`c_+ + c_- \ne 0` and
    :math:`p > -1`, by dominated convergence.
    """
    if not expr.has(s):
        sign = 1 if expr.is_positive else -1 if expr.is_negative else 0
        return (sp.S.Zero, sign) if sign or expr == 0 else None
    if expr.is_Add:
        parts = [far_out(part, s) for part in expr.args]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        powers = [power for power, _ in found]
        top = sp.Max(*powers)
        signs = {sign for power, sign in found if power == top}
        return (top, signs.pop()) if top.is_number and len(signs) == 1 else None
    if expr.is_Mul:
        found = [part for part in (far_out(part, s) for part in expr.args) if part is not None]
        if len(found) < len(expr.args):
            return None
        power = sp.Add(*(power for power, _ in found))
        if (
            power is not sp.nan
        ):  # else one factor grows and one vanishes faster than powers: together they are asked below
            return power, int(sp.prod([sign for _, sign in found]))
    if isinstance(expr, GaussianExpectation):
        function, mean, variance = expr.args
        inside = far_out(variance, s)
        if mean != 0 or function.expr.has(s) or inside is None or inside[1] != 1:
            return None
        power, sign = _of_function(function.expr, function.variables[0]) or (None, 0)
        return None if power is None or not inside[0].is_positive else (power * inside[0] / 2, sign)
    root = sp.Dummy("x", real=True)
    ends = _ends(expr.xreplace({s: root**2}), root)  # on a line that a positive number fills
    if ends is not None and ends[1][0] == -sp.oo:
        return -sp.oo, 1  # faster than each power, whatever its sign
    top = None if ends is None else _leading(ends[1:])
    return None if top is None else (top[0] / 2, top[1])


def _of_function(expr: sp.Expr, x: sp.Symbol) -> tuple[sp.Expr, int] | None:
    """Of a function whose mean is taken under a wide centred Gaussian."""
    ends = _ends(expr, x)
    found = None if ends is None else _leading(ends)
    return found if found is not None and found[0].is_nonnegative else None


def _ends(expr: sp.Expr, x: sp.Symbol) -> list[tuple[sp.Expr, sp.Expr]] | None:
    """Exponent and coefficient of a function of one variable towards -oo and oo; None unless it is that of a power there."""
    own = sp.Dummy("x", real=True)
    if expr.free_symbols - {x} or expr.has(GaussianJointExpectation):
        return None
    try:
        a = analyse(expr.xreplace({x: own}), own)
        growths = [a.growth(end) for end in (-sp.oo, sp.oo)] if a.complete and not a.poles else []
    except DerivationError:
        return None
    found = []
    for g in growths:
        if g.exponent == -sp.oo:
            found.append((sp.S.NegativeInfinity, sp.S.Zero))
        elif g.exponent == sp.oo and g.limit in (sp.oo, -sp.oo):
            found.append((sp.oo, sp.sign(g.limit)))
        elif g.exponent is None or g.coefficient is None or not g.coefficient.is_number:
            return None
        else:
            found.append((g.exponent, g.coefficient))
    return found or None


def _leading(ends: Sequence[tuple[sp.Expr, sp.Expr]]) -> tuple[sp.Expr, int] | None:
    top = sp.Max(*(power for power, _ in ends))
    total = sp.Add(*(c for power, c in ends if power == top))
    sign = 1 if total.is_positive else -1 if total.is_negative else None
    return None if sign is None or top == -sp.oo else (top, sign)


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
    return sp.And(sp.Gt(kappa, 1), sp.Gt(found[0], 2))
