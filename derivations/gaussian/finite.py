"""When a Gaussian mean is finite: the function must not outgrow the density."""

from __future__ import annotations

import sympy as sp

from derivations.errors import DerivationError, NoClosedForm
from derivations.gaussian.terms import Shape, smooth_terms
from derivations.piecewise import pieces


def check_finite(expr: sp.Expr, variable: sp.Symbol, variance: sp.Expr) -> None:
    """Refuse exp(c x²) with 1 − 2 c variance negative on a half-line, or zero on the whole line.

    Raises
    ------
    DerivationError
        Where the mean certainly diverges. Formulas with erf, which may tame an exponential, and
        parameters of unknown sign pass.
    """
    for node in expr.atoms(sp.erfi):  # grows as exp of its argument squared
        slope = sp.diff(node.args[0], variable)
        if (1 - 2 * slope**2 * variance).is_negative:
            raise DerivationError(
                f"the mean of {_named(expr, variable)} under a Gaussian of variance {variance} diverges: erfi(c*{variable.name}) "
                f"needs 1 - 2*c**2*variance > 0, got {1 - 2 * slope**2 * variance}"
            )
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
