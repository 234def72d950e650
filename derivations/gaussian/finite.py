"""When a Gaussian mean is finite: the function must not outgrow the density, nor the inverse distance to a point."""

from __future__ import annotations

import mpmath as mp
import sympy as sp

from derivations.errors import DerivationError, NoClosedForm
from derivations.evaluation import in_mpmath
from derivations.gaussian.corners import all_corners, check_corners
from derivations.gaussian.terms import Shape, smooth_terms
from derivations.piecewise import pieces


def check_finite(expr: sp.Expr, variable: sp.Symbol, variance: sp.Expr) -> None:
    """Refuse poles, exp(c x²) with 1 − 2 c variance negative on a half-line, or zero on the whole line, and faster growth.

    Raises
    ------
    DerivationError
        Where the mean certainly diverges. Parameters of unknown sign pass.
    """
    named = f"the mean of {_named(expr, variable)} under a Gaussian"
    if expr.free_symbols <= {variable}:
        check_corners(expr, variable, named)
    if expr.has(sp.erfi):
        _check_erfi(expr, variable, variance)
    parts = pieces(expr, variable)
    for part in (parts[0], parts[-1]):
        for shape in _shapes(part.expr, variable):
            margin = sp.expand(1 - 2 * shape.square * variance)
            if margin.is_negative or (margin.is_zero and len(parts) == 1):
                raise DerivationError(
                    f"the mean of {_named(part.expr, variable)} under a Gaussian of variance {variance} diverges: with "
                    f"exp(c*{variable.name}**2) it is finite only for 1 - 2*c*variance > 0, got c = {shape.square}, "
                    f"1 - 2*c*variance = {margin}"
                )
    if expr.free_symbols <= {variable}:
        _check_growth(expr, variable, variance, named)


def _check_erfi(expr: sp.Expr, variable: sp.Symbol, variance: sp.Expr) -> None:
    r"""Refuse products of erfi that outgrow the density: :math:`\operatorname{erfi}(cx) \sim e^{c^2x^2}/(c x\sqrt\pi)`, with powers at the edge."""
    for term in sp.Add.make_args(sp.expand(expr)):
        rate, power = sp.S.Zero, sp.S.Zero
        for factor in sp.Mul.make_args(term):
            base, exponent = factor.as_base_exp()
            if isinstance(base, sp.erfi):
                rate += exponent * sp.diff(base.args[0], variable) ** 2
                power -= exponent
            elif isinstance(factor, sp.exp):
                rate += sp.expand(factor.args[0]).coeff(variable, 2)
            elif base == variable:
                power += exponent
        margin = sp.expand(1 - 2 * rate * variance)
        if term.has(sp.erfi) and (margin.is_negative or (margin.is_zero and power >= -1)):
            raise DerivationError(
                f"the mean of {_named(expr, variable)} under a Gaussian of variance {variance} diverges: erfi(c*{variable.name}) grows "
                f"like exp(c**2*{variable.name}**2)/{variable.name}, and with c**2 summed to {rate} it needs 1 - 2*c**2*variance > 0, "
                f"got {margin}"
            )


_FAR = (64, 128, 256)
_BARELY = sp.Rational(1, 100)


def _check_growth(expr: sp.Expr, variable: sp.Symbol, variance: sp.Expr, named: str) -> None:
    """Refuse what grows faster than the density of any, or of this, Gaussian falls, as seen far out."""
    if not expr.has(sp.exp, sp.sinh, sp.cosh, sp.erfi, sp.gamma) and not any(
        p.exp.has(variable) for p in expr.atoms(sp.Pow)
    ):
        return
    function = in_mpmath(variable, expr)
    for sign in (-1, 1):
        with mp.workdps(30):
            values = [abs(mp.mpmathify(function(mp.mpf(sign * x)))) for x in _FAR]
            if not all(values):
                continue
            _, before, last = (mp.log(value) / x**2 for value, x in zip(values, _FAR, strict=True))
            faster = last > mp.mpf(3) / 2 * before > 0
            spread = mp.mpmathify(variance.evalf(30)) if variance.is_number else mp.mpf(0)
            if faster or (last > mp.mpf(9) / 10 * before > 0 and 2 * last * spread > 1 + mp.mpf(_BARELY.p) / _BARELY.q):
                raise DerivationError(
                    f"{named} of variance {variance} diverges: towards {'-' * (sign < 0)}oo the function grows faster than the "
                    "density falls"
                )


def is_odd(expr: sp.Expr, variable: sp.Symbol) -> bool:
    """Whether f(-x) = -f(x) is proved.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> is_odd(1 / (1 + sp.exp(-x)) - sp.S.Half, x), is_odd(x / (1 + abs(x)), x), is_odd(sp.exp(x), x)
    (True, True, False)
    """
    r = sp.Dummy("r", positive=True)
    parts = pieces(expr, variable)
    others = sorted(expr.free_symbols - {variable}, key=str)
    example = {s: sp.Rational(i + 3, i + 7) * (-1 if s.is_negative else 1) for i, s in enumerate(others)}
    for part in parts:
        twin = next((p for p in parts if p.left == -part.right and p.right == -part.left), None)
        if twin is None:
            return False
        total = part.expr.xreplace({variable: r}) + twin.expr.xreplace({variable: -r})
        if sp.expand(total) == 0:
            continue
        if (abs(total.xreplace({r: sp.Rational(7, 5), **example}).evalf(20)) > sp.Rational(1, 10**12)) is not sp.false:
            return False  # no identity, or one that cannot be looked at
        if sp.cancel(sp.together(sp.expand(total.rewrite(sp.exp), power_exp=True))) != 0:
            return False
    return True


def has_mean(expr: sp.Expr, variable: sp.Symbol) -> bool:
    """Whether a function that passed :func:`check_finite` is known to be integrable: nothing in it can explode unseen."""
    if not expr.free_symbols - {variable}:
        return not all_corners(expr, variable).doubt
    below = (node.base for node in expr.atoms(sp.Pow) if node.has(variable) and not node.exp.is_nonnegative)
    tame = (sp.exp, sp.sin, sp.cos, sp.tanh, sp.atan, sp.erf, sp.asinh)
    growing = (node.args[0] for node in expr.atoms(sp.exp))
    return (
        all(base.is_nonzero for base in below)
        and all(isinstance(node, tame) for node in expr.atoms(sp.Function) if node.has(variable))
        and all(argument.is_polynomial(variable) and sp.degree(argument, variable) <= 1 for argument in growing)
    )


def check_finite_pair(f: sp.Expr, g: sp.Expr, variable: sp.Symbol, entries: tuple[sp.Expr, sp.Expr, sp.Expr]) -> None:
    """Refuse exp(c u² + d v²) unless K⁻¹ − 2 diag(c, d) is positive definite, on the whole plane.

    Raises
    ------
    DerivationError
        Where the mean certainly diverges.
    """
    if len(pieces(f, variable)) > 1 or len(pieces(g, variable)) > 1:
        return
    k11, k12, k22 = entries
    for c in {shape.square for shape in _shapes(f, variable)}:
        for d in {shape.square for shape in _shapes(g, variable)}:
            # det K · (K⁻¹ − 2 diag(c, d)) = [[k22 − 2cΔ, −k12], [−k12, k11 − 2dΔ]], with Δ = det K
            delta = k11 * k22 - k12**2
            corner, other = sp.expand(k22 - 2 * c * delta), sp.expand(k11 - 2 * d * delta)
            minors = [corner, other, sp.expand(corner * other - k12**2)]
            if c.is_nonnegative and d.is_nonnegative:  # then each side must be finite alone
                minors += [sp.expand(1 - 2 * c * k11), sp.expand(1 - 2 * d * k22)]
            if any(minor.is_nonpositive for minor in minors):
                raise DerivationError(
                    f"the mean of ({_named(f, variable)})*({_named(g, variable)}) under the covariance "
                    f"[[{k11}, {k12}], [{k12}, {k22}]] diverges: with exp(c*u**2 + d*v**2) it is finite only while "
                    f"K**-1 - 2*diag(c, d) is positive definite, got c = {c}, d = {d}"
                )


def _shapes(expr: sp.Expr, variable: sp.Symbol) -> tuple[Shape, ...]:
    try:
        found = smooth_terms(expr, variable)
    except NoClosedForm:
        return ()
    return () if any(shape.sigmoids for shape in found) else tuple(found)


def _named(expr: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    return expr.xreplace({variable: sp.Symbol(variable.name)})
