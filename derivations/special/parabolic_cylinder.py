r"""Parabolic cylinders: the solutions of :math:`u'' = (\alpha^2 z^2 + \gamma) u`, and the coordinate that they make."""

from __future__ import annotations

from functools import lru_cache

import mpmath
import sympy as sp
from mpmath import mp
from sympy.core.function import ArgumentIndexError

from derivations.special.functions import GUARD, Fuzzy, constant_form, value_of
from derivations.special.numeric import Numeric


def weber(order: int, alpha: mpmath.mpf, gamma: mpmath.mpf, slope: mpmath.mpf, z: mpmath.mpf) -> mpmath.mpf:
    r"""The solution with :math:`u(0) = 1,\ u'(0) = \rho` (order 0) or its derivative (order 1), to the working precision.

    *Derivation.* With :math:`u = e^{-s/2} M`, :math:`s = \alpha z^2`, the equation becomes Kummer's; its even and odd
    solutions are :math:`M(\tfrac{a+1}{4}, \tfrac12, s)` and :math:`z M(\tfrac{a+3}{4}, \tfrac32, s)` with
    :math:`a = \gamma/\alpha`; and :math:`M'(p, q, s) = \tfrac{p}{q} M(p + 1, q + 1, s)`.

    Examples
    --------
    >>> mpmath.nstr(weber(0, 1, -1, 0, mpmath.mpf(1)), 10), mpmath.nstr(weber(1, 1, 1, 0, mpmath.mpf(1)), 10)
    ('0.6065306597', '1.648721271')
    """
    return +_weber(mp.prec, int(order), *(mp.convert(v) for v in (alpha, gamma, slope, z)))


@lru_cache(maxsize=4096)
def _weber(prec: int, order: int, alpha: mpmath.mpf, gamma: mpmath.mpf, slope: mpmath.mpf, z: mpmath.mpf) -> mpmath.mpf:
    """The value, remembered: nested expressions ask for the same one again and again."""
    s = alpha * z * z
    even, odd = (gamma / alpha + 1) / 4, (gamma / alpha + 3) / 4
    # Kummer's series has positive terms where u is positive and even; else up to e^s cancels
    lost = 0 if even >= 0 and slope * z >= 0 else int(2 * s) + 1
    with mp.extraprec(GUARD + lost):
        half = mp.mpf(1) / 2
        scale = mp.exp(-s / 2)
        m0, m1 = mp.hyp1f1(even, half, s), mp.hyp1f1(odd, 3 * half, s)
        if order == 0:
            value = scale * (m0 + slope * z * m1)
        else:
            d0 = 2 * alpha * z * (2 * even * mp.hyp1f1(even + 1, 3 * half, s) - m0 / 2)
            d1 = m1 * (1 - s) + 2 * s * (odd / (3 * half)) * mp.hyp1f1(odd + 1, 5 * half, s)
            value = scale * (d0 + slope * d1)
    return +value


def weber_end(alpha: mpmath.mpf, gamma: mpmath.mpf) -> mpmath.mpf:
    r"""The limit :math:`\frac{\Gamma((a+1)/4)}{2\sqrt\alpha\,\Gamma((a+3)/4)}` of odd over even solution, :math:`a = \gamma/\alpha`.

    From :math:`M(p, q, s) \sim \tfrac{\Gamma(q)}{\Gamma(p)} e^s s^{p-q}`.
    """
    return +_end(mp.prec, mp.convert(alpha), mp.convert(gamma))


@lru_cache(maxsize=256)
def _end(prec: int, alpha: mpmath.mpf, gamma: mpmath.mpf) -> mpmath.mpf:
    """The value, remembered: a thousand digits of Γ(1/4) take as long as a hundred coordinates."""
    a = gamma / alpha
    if a == -1:
        return mp.inf
    return mp.gamma((a + 1) / 4) / (2 * mp.sqrt(alpha) * mp.gamma((a + 3) / 4))


def weber_coordinate(alpha: mpmath.mpf, gamma: mpmath.mpf, x: mpmath.mpf) -> mpmath.mpf:
    r"""The z at which the odd solution is x times the even one, to the working precision.

    *Derivation.* By Wronski's determinant :math:`r = v/u` has :math:`r' = 1/u^2`. Towards its end r̄ it settles like
    :math:`e^{-\alpha z^2}`, so Newton's method solves :math:`\log(\bar r - r) = \log(\bar r - x)`, by the steps
    :math:`\log(1 + \tfrac{x - r}{\bar r - x})\,(\bar r - r)\,u^2`, which are :math:`(x - r) u^2` close to the root
    and where there is no end. For :math:`\gamma \ge -\alpha`; started from a bracket, kept inside it by bisection.
    """
    return +_coordinate(mp.prec, mp.convert(alpha), mp.convert(gamma), mp.convert(x))


@lru_cache(maxsize=4096)
def _coordinate(prec: int, alpha: mpmath.mpf, gamma: mpmath.mpf, x: mpmath.mpf) -> mpmath.mpf:
    """The value, remembered."""
    if x == 0:
        return mp.zero
    end, size = weber_end(alpha, gamma), +abs(x)
    if size >= end:
        return mp.nan if size > end else mp.sign(x) * mp.inf
    with mp.extraprec(prec + GUARD):  # r̄ − x cancels, at most all digits of x
        end = weber_end(alpha, gamma)
        even, odd = (gamma / alpha + 1) / 4, (gamma / alpha + 3) / 4  # ≥ 0: Kummer's series have positive terms

        def ratio(z: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
            s = alpha * z * z
            m0 = mp.hyp1f1(even, mp.mpf(1) / 2, s)
            return z * mp.hyp1f1(odd, mp.mpf(3) / 2, s) / m0, mp.exp(-s) * m0 * m0

        low, high = mp.zero, mp.one
        while ratio(high)[0] < size:
            low, high = high, 2 * high
        z = size if low < size < high else (low + high) / 2  # r'(0) = 1
        for _ in range(10 * mp.prec):
            r, square = ratio(z)
            low, high = (z, high) if r < size else (low, z)
            step = size - r
            if r < end < mp.inf:
                step = mp.log1p(step / (end - size)) * (end - r)
            step *= square
            if abs(step) <= mp.mpf(2) ** (-prec - GUARD) * z:
                break
            z = z + step if low < z + step < high else (low + high) / 2
    return +(mp.sign(x) * z)


class Weber(Numeric):
    r"""The solution of :math:`u'' = (\alpha^2 z^2 + \gamma)u` with :math:`u(0) = 1,\ u'(0) = \rho`, or its derivative.

    A parabolic cylinder function by its equation and its start, so that the equation is a rule of differentiation.

    Parameters
    ----------
    order : Expr
        0 for the solution, 1 for its derivative.
    alpha, gamma, slope, z : Expr
        :math:`\alpha > 0`, :math:`\gamma`, :math:`\rho` and the argument, real.

    Examples
    --------
    >>> z = sp.Symbol("z", real=True)
    >>> Weber(0, 1, 3, 0, z).diff(z, 2)
    (z**2 + 3)*Weber(0, 1, 3, 0, z)
    """

    nargs = 5
    array_name, exact_name = "weber", "weber"

    @classmethod
    def eval(cls, order: sp.Expr, alpha: sp.Expr, gamma: sp.Expr, slope: sp.Expr, z: sp.Expr) -> sp.Expr | None:
        """Fold the start, and infinity where the even solution grows."""
        if z in (sp.oo, -sp.oo) and order == 0 and slope == 0 and (alpha + gamma).is_positive:
            return sp.oo
        if z == 0:
            return sp.S.One if order == 0 else slope
        return None

    def fdiff(self, argindex: int = 5) -> sp.Expr:
        """Derivative in z, by the equation."""
        order, alpha, gamma, slope, z = self.args
        if argindex != 5:
            raise ArgumentIndexError(self, argindex)
        if order == 0:
            return Weber(1, alpha, gamma, slope, z)
        return (alpha**2 * z**2 + gamma) * Weber(0, alpha, gamma, slope, z)

    def _eval_is_extended_real(self) -> Fuzzy:
        return True if all(arg.is_extended_real for arg in self.args) else None

    def _eval_is_extended_positive(self) -> Fuzzy:
        # even solution: u'' = Vu lies above the ground state e^{-αz²/2} for γ ≥ -α, by Sturm's comparison
        order, alpha, gamma, slope, _ = self.args
        return True if order == 0 and slope == 0 and (gamma + alpha).is_nonnegative else None

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return value_of(self, weber, prec)

    def _latex(self, printer: sp.printing.latex.LatexPrinter, exp: str | None = None) -> str:
        order, alpha, gamma, slope, z = self.args
        name = "u'" if order == 1 else "u"
        body = rf"{name}_{{{', '.join(map(printer._print, (alpha, gamma, slope)))}}}\left({printer._print(z)}\right)"
        return rf"{{{body}}}^{{{exp}}}" if exp else body


class WeberCoordinate(Numeric):
    r"""The inverse of :math:`z \mapsto \int_0^z u^{-2}`, with u the even solution of :class:`Weber`.

    Odd and increasing. By Wronski's determinant the integral is the odd solution over the even one, which covers
    :math:`(-R, R)` with :math:`R = \Gamma(\tfrac{a+1}{4}) / (2\sqrt\alpha\,\Gamma(\tfrac{a+3}{4}))`, :math:`a = \gamma/\alpha \ge -1`.

    Parameters
    ----------
    alpha, gamma, x : Expr

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> WeberCoordinate(1, 3, x).diff(x)
    Weber(0, 1, 3, 0, WeberCoordinate(1, 3, x))**2
    """

    nargs = 3
    array_name, exact_name = "weber_coordinate", "weber_coordinate"

    @classmethod
    def eval(cls, alpha: sp.Expr, gamma: sp.Expr, x: sp.Expr) -> sp.Expr | None:
        """Fold 0 and oddness."""
        if x == 0:
            return sp.S.Zero
        if x.is_number and not x.is_Rational and x != (form := constant_form(x)):
            return cls(alpha, gamma, form)
        if x in (sp.oo, cls.end(alpha, gamma)):
            return sp.oo
        odd_over_even = sp.Mul.make_args(x + 1)
        for node in odd_over_even:  # the inverse of the quotient that it inverts
            if isinstance(node, Weber) and node.args[:4] == (0, alpha, gamma, 1):
                z = node.args[4]
                if x + 1 == node / Weber(0, alpha, gamma, 0, z):
                    return z
        return -cls(alpha, gamma, -x) if x.could_extract_minus_sign() else None

    @staticmethod
    def end(alpha: sp.Expr, gamma: sp.Expr) -> sp.Expr:
        """The right end R of what the integral covers."""
        a = sp.cancel(gamma / alpha)
        return sp.oo if a == -1 else sp.gamma((a + 1) / 4) / (2 * sp.sqrt(alpha) * sp.gamma((a + 3) / 4))

    def fdiff(self, argindex: int = 3) -> sp.Expr:
        """Derivative in x."""
        alpha, gamma, _ = self.args
        if argindex != 3:
            raise ArgumentIndexError(self, argindex)
        return Weber(0, alpha, gamma, 0, self) ** 2

    def inverse(self, argindex: int = 3) -> object:
        """The function that this one inverts: odd over even solution."""
        alpha, gamma, _ = self.args
        return lambda z: Weber(0, alpha, gamma, 1, z) / Weber(0, alpha, gamma, 0, z) - 1

    def _eval_is_extended_real(self) -> Fuzzy:
        return self.args[2].is_extended_real

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return value_of(self, weber_coordinate, prec)

    def _latex(self, printer: sp.printing.latex.LatexPrinter, exp: str | None = None) -> str:
        alpha, gamma, x = self.args
        body = rf"g_{{{printer._print(alpha)}, {printer._print(gamma)}}}\left({printer._print(x)}\right)"
        return rf"{{{body}}}^{{{exp}}}" if exp else body
