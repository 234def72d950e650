"""One integral inside another, as scale and speed need them where neither closes, with a value at any precision."""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
import sympy as sp

from derivations.evaluation import in_mpmath


class IteratedIntegral(sp.Expr):
    r"""The integral :math:`\int_\ell^h f(y) \int_c^y g(z)\,\mathrm{d}z\,\mathrm{d}y`.

    SymPy's own nested integrals stand for the same, but take minutes to evaluate.

    Parameters
    ----------
    f, g : Lambda
        Of one real variable.
    anchor, low, high : Expr
        c, which may be infinite, :math:`\ell` and h.

    Examples
    --------
    >>> y = sp.Symbol("y", real=True)
    >>> nested = IteratedIntegral(sp.Lambda(y, sp.exp(y**2)), sp.Lambda(y, sp.exp(-(y**2))), 0, 0, 1)
    >>> nested.n(12), nested
    (0.722622806694, Integral(exp(y**2)*Integral(exp(-y**2), (y, 0, y)), (y, 0, 1)))
    """

    is_commutative = True

    def __new__(cls, f: sp.Lambda, g: sp.Lambda, anchor: sp.Expr, low: sp.Expr, high: sp.Expr) -> IteratedIntegral:
        """Sympify and keep; 0 if the ends are the same."""
        f, g, anchor, low, high = map(sp.sympify, (f, g, anchor, low, high))
        zero: IteratedIntegral = sp.S.Zero
        made: IteratedIntegral = sp.Expr.__new__(cls, f, g, anchor, low, high)
        return zero if low == high else made

    def _eval_is_real(self) -> bool | None:
        return True if all(e.is_extended_real for e in (self.args[0].expr, self.args[1].expr, *self.args[2:])) else None

    def doit(self, **hints: object) -> sp.Expr:
        """SymPy's nested integral."""
        f, g, anchor, low, high = self.args
        y, z = (sp.Dummy(name, real=True) for name in "yz")
        return sp.Integral(f(y) * sp.Integral(g(z), (z, anchor, y)), (y, low, high))

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        f, g, anchor, low, high = self.args
        z = sp.Dummy("z", real=True)

        def inside(end: sp.Expr) -> sp.Expr:
            return f(end) * sp.Integral(g(z), (z, anchor, end))

        total = sp.diff(high, symbol) * inside(high) - sp.diff(low, symbol) * inside(low)
        total -= sp.diff(anchor, symbol) * g(anchor) * sp.Integral(f(z), (z, low, high))
        for k in (0, 1):
            slope = sp.diff(self.args[k].expr, symbol)
            if slope != 0:
                inner = [sp.Lambda(self.args[k].variables, slope) if j == k else self.args[j] for j in (0, 1)]
                total += IteratedIntegral(inner[0], inner[1], anchor, low, high)
        return total

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if self.free_symbols:
            return None
        f, g = (in_mpmath(e.variables, e.expr) for e in self.args[:2])
        with mp.workprec(prec + 15):
            anchor, low, high = map(_number, self.args[2:])
            at_low = mp.quad(g, [anchor, low]) if anchor != low else mp.mpf(0)
            value = _iterated(f, g, at_low, low, high)
        return sp.Float(mp.re(value), precision=prec) if mp.im(value) == 0 else None

    def _sympystr(self, printer: sp.printing.str.StrPrinter) -> str:
        f, g, anchor, low, high = self.args
        y, z = f.variables[0], g.variables[0]
        inner = f"Integral({printer._print(g.expr)}, ({z}, {printer._print(anchor)}, {y}))"
        return f"Integral({printer._print(f.expr)}*{inner}, ({y}, {printer._print(low)}, {printer._print(high)}))"

    def _latex(self, printer: sp.printing.latex.LatexPrinter) -> str:
        return str(printer._print(self.doit()))


def _iterated(
    f: Callable[[mp.mpf], mp.mpf], g: Callable[[mp.mpf], mp.mpf], at_low: mp.mpf, low: mp.mpf, high: mp.mpf
) -> mp.mpf:
    """By Gauss and Legendre, the inner integral summed from node to node; by two nested rules where that does not settle."""
    rule = mp.calculus.quadrature.GaussLegendre(mp.mp)
    unit = rule.get_nodes(0, 1, 3, mp.mp.prec)
    previous = mp.inf
    for degree in range(3, 8):
        total, inner, left = mp.mpf(0), at_low, low
        for y, weight in sorted(rule.get_nodes(low, high, degree, mp.mp.prec), reverse=bool(high < low)):
            inner += (y - left) * mp.fsum(w * g(left + (y - left) * z) for z, w in unit)
            total, left = total + weight * f(y) * inner, y
        if abs(total - previous) <= mp.ldexp(abs(total), 12 - mp.mp.prec):
            return total
        previous = total
    return mp.quad(lambda y: f(y) * (at_low + mp.quad(g, [low, y])), [low, high])


def _number(end: sp.Expr) -> mp.mpf:
    return mp.inf if end == sp.oo else -mp.inf if end == -sp.oo else mp.mpmathify(end.evalf(mp.mp.dps))
