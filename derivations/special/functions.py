r"""SymPy nodes that closed forms need in a numerically safe form.

======================= ============================================= ======================================
node                    meaning                                       why it is not written out
======================= ============================================= ======================================
``ErfiInv(x)``          the y with :math:`\operatorname{erfi} y = x`  SymPy has no inverse of erfi
``ScaledBesselI(ν, z)`` :math:`e^{-z} I_\nu(z)`                       the two factors over- and underflow
``LogNormalCdf(x)``     :math:`\log \Phi(x)`                          :math:`\Phi` underflows in the left tail
======================= ============================================= ======================================

Each knows its derivative, its assumptions, its LaTeX and its value at any precision. The functions
:func:`erfi_inverse`, :func:`scaled_bessel_i` and :func:`log_normal_cdf` are those values: mpmath
numbers to mpmath numbers, at the working precision that the caller has set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import mpmath
import sympy as sp
from mpmath import mp
from sympy.core.function import ArgumentIndexError

from derivations.special.numeric import Numeric

Fuzzy: TypeAlias = Any  # True, False or None, for what is not known: SymPy has no type for it

GUARD = 20  # bits beyond the precision that was asked for


def erfi_inverse(x: mpmath.mpf) -> mpmath.mpf:
    r"""The real y with :math:`\operatorname{erfi} y = x`, to the working precision.

    *Derivation.* For :math:`g = \operatorname{erfi}^{-1}` and an approximation y to g(x), put
    :math:`w = \tfrac{\sqrt\pi}{2} e^{-y^2} (x - \operatorname{erfi} y)`, the Newton step. As
    :math:`g' = \tfrac{\sqrt\pi}{2} e^{-g^2}`, Taylor's formula at :math:`\operatorname{erfi} y` reads

    .. math:: g(x) = y + w - y w^2 + \tfrac{4 y^2 - 1}{3} w^3 + O(w^4).

    An error in y of relative size :math:`\delta` costs :math:`y^2 \delta` in the exponent but only
    :math:`\delta` in :math:`w / y`, so the iteration is stable over the whole line.

    Examples
    --------
    >>> mpmath.nstr(erfi_inverse(mpmath.erfi(3)), 12), mpmath.nstr(erfi_inverse(mpmath.mpf("1e300")), 12)
    ('3.0', '26.3556228036')
    """
    x = mp.convert(x)
    if not mp.isfinite(x) or x == 0:
        return x
    with mp.extraprec(GUARD):
        half_root_pi = mp.sqrt(mp.pi) / 2
        size = abs(x)
        # erfi y ~ e^{y²} / (y √π) beyond 3, and arsinh is within a factor of two below
        log_size = mp.log(2 * half_root_pi * size) if size > 3 else mp.one
        y = mp.sqrt(log_size + mp.log(log_size) / 2) if size > 3 else mp.asinh(half_root_pi * size)
        close = mp.ldexp(1, -mp.prec // 3 - 5)
        for _ in range(200):
            w = half_root_pi * mp.exp(-y * y) * (size - mp.erfi(y))
            if abs(y * w) > mp.mpf(1) / 4:  # far away: erfi is convex, so Newton's own step descends safely
                y += w
                continue
            y += w * (1 - y * w + (4 * y * y - 1) / 3 * w * w)
            if abs(w) <= close * y:
                break
        else:
            raise mpmath.libmp.NoConvergence(f"the inverse of erfi did not converge at {mp.nstr(x, 15)}")
    return +mp.sign(x) * y


def scaled_bessel_i(order: mpmath.mpf, z: mpmath.mpf) -> mpmath.mpf:
    r""":math:`e^{-z} I_\nu(z)` for :math:`z \ge 0`, to the working precision.

    mpmath's exponents are unbounded, so that the product is safe there as it stands.

    Examples
    --------
    >>> mpmath.nstr(scaled_bessel_i(0, mpmath.mpf("1e12")), 12)
    '3.98942280401e-7'
    """
    z = mp.convert(z)
    if z == mp.inf:
        return mp.zero
    with mp.extraprec(GUARD):
        value = mp.exp(-z) * mp.besseli(order, z)
    return +value


def log_normal_cdf(x: mpmath.mpf) -> mpmath.mpf:
    r""":math:`\log \Phi(x)`, :math:`\Phi` the standard normal distribution function, to the working precision.

    *Derivation.* :math:`\Phi(-s) = \tfrac12 \operatorname{erfc}(s/\sqrt2)`, with the convergent series
    while s is moderate and, beyond, the asymptotic one
    :math:`\Phi(-s) \sim \frac{e^{-s^2/2}}{s\sqrt{2\pi}}\, {}_2F_0(\tfrac12, 1; -2/s^2)`, whose smallest
    term, of size :math:`e^{-s^2/2}`, is then below the working precision. For positive arguments
    :math:`\log\Phi(s) = \log(1 - \Phi(-s))`.

    Examples
    --------
    >>> mpmath.nstr(log_normal_cdf(mpmath.mpf(-100)), 12), mpmath.nstr(log_normal_cdf(mpmath.mpf(9)), 12)
    ('-5005.52420869', '-1.12858840595e-19')
    """
    x = mp.convert(x)
    if x == -mp.inf:
        return -mp.inf
    if not mp.isfinite(x):
        return mp.zero if x == mp.inf else x
    size = abs(x)
    # the exponent x²/2 has an absolute error of 2^(2 mag x - prec); as a relative error of Φ it needs as many more bits
    with mp.extraprec(GUARD + 2 * max(0, mp.mag(size))):
        if size > mp.prec:
            series = mp.hyp2f0(mp.mpf(1) / 2, 1, -2 / size**2)
            log_tail = -(size**2) / 2 - mp.log(size * mp.sqrt(2 * mp.pi) / series)
        else:
            log_tail = mp.log(mp.erfc(size / mp.sqrt(2)) / 2)
        value = log_tail if x < 0 else mp.log1p(-mp.exp(log_tail))
    return +value


def value_of(node: sp.Function, function: Callable[..., mpmath.mpf], prec: int, extra: int = 0) -> sp.Expr | None:
    """The node's value where its arguments are real numbers, else ``None``, as ``_eval_evalf`` wants it."""
    working = prec + extra + GUARD
    try:
        arguments = [argument._to_mpmath(working, allow_ints=False) for argument in node.args]
    except ValueError:
        return None
    if not all(isinstance(argument, mpmath.mpf) for argument in arguments):
        return None
    with mpmath.workprec(working):
        return sp.Expr._from_mpmath(function(*arguments), prec)


class ErfiInv(Numeric):
    r"""The inverse of the imaginary error function on the real line, :math:`\operatorname{erfi}^{-1}`.

    Odd, increasing, a bijection of the real line; real arguments only. With
    :math:`\operatorname{erfi}' = \tfrac{2}{\sqrt\pi} e^{y^2}`,

    .. math:: \frac{\mathrm{d}}{\mathrm{d}x} \operatorname{erfi}^{-1}(x)
              = \frac{\sqrt\pi}{2} \exp\bigl(-\operatorname{erfi}^{-1}(x)^2\bigr),
              \qquad \operatorname{erfi}^{-1}(x) \sim \sqrt{\log x} \quad (x \to \infty).

    Parameters
    ----------
    x : Expr
        A real expression.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> ErfiInv(-x), ErfiInv(sp.erfi(x)), ErfiInv(x).diff(x)
    (-ErfiInv(x), x, sqrt(pi)*exp(-ErfiInv(x)**2)/2)
    >>> ErfiInv(10**300).evalf(20)
    26.355622803555591922
    """

    nargs = 1
    array_name, exact_name = "erfi_inv", "erfi_inverse"

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        """Fold 0, the infinities, oddness and the inverse of erfi."""
        if x is sp.nan or x is sp.S.ComplexInfinity:
            return sp.nan
        if x in (sp.oo, -sp.oo) or x.is_zero:
            return x if x.is_infinite else sp.S.Zero
        if isinstance(x, sp.erfi) and x.args[0].is_extended_real:
            return x.args[0]
        if x.could_extract_minus_sign():
            return -cls(-x)
        return None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Derivative in x."""
        if argindex != 1:
            raise ArgumentIndexError(self, argindex)
        return sp.sqrt(sp.pi) / 2 * sp.exp(-(self**2))

    def inverse(self, argindex: int = 1) -> Any:
        """The function that this one inverts, :class:`sympy.erfi`."""
        return sp.erfi

    def _eval_is_extended_real(self) -> Fuzzy:
        return self.args[0].is_extended_real

    def _eval_is_finite(self) -> Fuzzy:
        return self.args[0].is_finite

    def _eval_is_zero(self) -> Fuzzy:
        return self.args[0].is_zero

    def _eval_is_extended_positive(self) -> Fuzzy:
        return self.args[0].is_extended_positive

    def _eval_is_extended_negative(self) -> Fuzzy:
        return self.args[0].is_extended_negative

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return value_of(self, erfi_inverse, prec)

    def _latex(self, printer: sp.printing.latex.LatexPrinter, exp: str | None = None) -> str:
        power = f"^{{{exp}}}" if exp else ""
        return rf"\operatorname{{erfi}}^{{-1}}{{\left({printer._print(self.args[0])} \right)}}{power}"


class ScaledBesselI(Numeric):
    r"""The exponentially scaled modified Bessel function :math:`e^{-z} I_\nu(z)`, :math:`z \ge 0`.

    Bounded, and :math:`\sim 1/\sqrt{2\pi z}` for large z, where the two factors are
    :math:`e^{\mp z}`. From :math:`I_\nu' = \tfrac12 (I_{\nu-1} + I_{\nu+1})`, with S the scaled function,

    .. math:: \frac{\mathrm{d}}{\mathrm{d}z} S_\nu(z) = \tfrac12\bigl(S_{\nu-1}(z) + S_{\nu+1}(z)\bigr) - S_\nu(z).

    Parameters
    ----------
    order : Expr
        The order :math:`\nu`, real; for integers :math:`S_{-\nu} = S_\nu`.
    z : Expr
        The argument, nonnegative.

    Examples
    --------
    >>> z = sp.Symbol("z", positive=True)
    >>> ScaledBesselI(0, z).diff(z)
    -ScaledBesselI(0, z) + ScaledBesselI(1, z)
    >>> ScaledBesselI(1, z).rewrite(sp.besseli)
    exp(-z)*besseli(1, z)
    >>> ScaledBesselI(1, 10**12).evalf(15)
    3.98942280401283e-7
    """

    nargs = 2
    array_name, exact_name = "scaled_bessel_i", "scaled_bessel_i"

    @classmethod
    def eval(cls, order: sp.Expr, z: sp.Expr) -> sp.Expr | None:
        """Fold negative integer orders and the two ends of the half-line."""
        if order.is_integer and order.could_extract_minus_sign():
            return cls(-order, z)
        if z is sp.oo:
            return sp.S.Zero
        if z.is_zero and order.is_zero:
            return sp.S.One
        if z.is_zero and order.is_positive:
            return sp.S.Zero
        return None

    def fdiff(self, argindex: int = 2) -> sp.Expr:
        """Derivative in z; the one in the order has no closed form."""
        if argindex != 2:
            raise ArgumentIndexError(self, argindex)
        order, z = self.args
        return (ScaledBesselI(order - 1, z) + ScaledBesselI(order + 1, z)) / 2 - self

    def _eval_nseries(self, x: sp.Symbol, n: int, logx: sp.Expr | None, cdir: int = 0) -> sp.Expr:
        order, z = self.args
        if z.subs(x, 0).is_zero and not (
            order.is_integer and order.is_nonnegative
        ):  # no power series: a power times one
            return self.rewrite(sp.besseli)._eval_nseries(x, n, logx, cdir)
        return super()._eval_nseries(x, n, logx, cdir)

    def _eval_as_leading_term(self, x: sp.Symbol, logx: sp.Expr | None = None, cdir: int = 0) -> sp.Expr:
        order, z = self.args
        if z.subs(x, 0).is_zero:
            return (z.as_leading_term(x) / 2) ** order / sp.gamma(order + 1)
        return super()._eval_as_leading_term(x, logx, cdir)

    def _eval_rewrite_as_besseli(self, order: sp.Expr, z: sp.Expr, **hints: object) -> sp.Expr:
        return sp.exp(-z) * sp.besseli(order, z)

    def _eval_is_extended_real(self) -> Fuzzy:
        order, z = self.args
        return True if order.is_real and (z.is_positive or (z.is_nonnegative and order.is_nonnegative)) else None

    def _eval_is_positive(self) -> Fuzzy:
        # every term of the power series is positive: Γ(k + ν + 1) > 0 for ν > -1
        order, z = self.args
        return True if (order + 1).is_positive and z.is_positive else None

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return value_of(self, scaled_bessel_i, prec)

    def _latex(self, printer: sp.printing.latex.LatexPrinter, exp: str | None = None) -> str:
        order, z = self.args
        body = rf"e^{{- {printer.parenthesize(z, sp.printing.precedence.PRECEDENCE['Mul'])}}}"
        body += rf" I_{{{printer._print(order)}}}\left({printer._print(z)}\right)"
        return rf"\left({body}\right)^{{{exp}}}" if exp else body


class LogNormalCdf(Numeric):
    r"""The logarithm of the standard normal distribution function, :math:`\log \Phi(x)`.

    Finite over the whole real line, :math:`\sim -x^2/2 - \log(|x|\sqrt{2\pi})` in the left tail, where
    :math:`\Phi` itself underflows, and :math:`\sim -\Phi(-x)` in the right one. With
    :math:`\Phi' = e^{-x^2/2}/\sqrt{2\pi}`, the derivative is the inverse Mills ratio, in one exponential:

    .. math:: \frac{\mathrm{d}}{\mathrm{d}x} \log\Phi(x)
              = \frac{1}{\sqrt{2\pi}} \exp\Bigl(-\frac{x^2}{2} - \log\Phi(x)\Bigr).

    Parameters
    ----------
    x : Expr
        A real expression.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> LogNormalCdf(x).diff(x)
    sqrt(2)*exp(-x**2/2 - LogNormalCdf(x))/(2*sqrt(pi))
    >>> LogNormalCdf(x).rewrite(sp.erfc)
    log(1 - erfc(sqrt(2)*x/2)/2)
    >>> LogNormalCdf(0), LogNormalCdf(-100).evalf(15)
    (-log(2), -5005.52420869421)
    """

    nargs = 1
    array_name, exact_name = "log_normal_cdf", "log_normal_cdf"

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        """Fold 0 and the infinities."""
        if x.is_zero:
            return -sp.log(2)
        if x is sp.oo:
            return sp.S.Zero
        return x if x in (-sp.oo, sp.nan) else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Derivative in x."""
        if argindex != 1:
            raise ArgumentIndexError(self, argindex)
        return sp.exp(-(self.args[0] ** 2) / 2 - self) / sp.sqrt(2 * sp.pi)

    def _eval_rewrite_as_erfc(self, x: sp.Expr, **hints: object) -> sp.Expr:
        return sp.log(sp.expand(sp.erfc(-x / sp.sqrt(2)) / 2))

    def _eval_is_extended_real(self) -> Fuzzy:
        return self.args[0].is_extended_real

    def _eval_is_negative(self) -> Fuzzy:
        return True if self.args[0].is_real else None

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        # |d log Φ| = O(x²) |dx/x| relative to log Φ in the right tail: twice the bits of the argument's magnitude
        x = self.args[0]
        if not x.is_number:
            return None
        rough = x.evalf(5)
        return (
            value_of(self, log_normal_cdf, prec, 2 * max(0, mp.mag(rough._to_mpmath(20)))) if rough.is_Float else None
        )

    def _latex(self, printer: sp.printing.latex.LatexPrinter, exp: str | None = None) -> str:
        body = rf"\log \Phi\left({printer._print(self.args[0])}\right)"
        return rf"\left({body}\right)^{{{exp}}}" if exp else body


def fold_inverses(expr: sp.Expr) -> sp.Expr:
    r"""Undo :math:`\operatorname{erfi}(\operatorname{erfi}^{-1}(u)) = u`, which SymPy's own node does not know.

    Examples
    --------
    >>> fold_inverses(2 * sp.erfi(ErfiInv(sp.Symbol("u", real=True))))
    2*u
    """
    return expr.replace(
        lambda node: isinstance(node, sp.erfi) and isinstance(node.args[0], ErfiInv), lambda node: node.args[0].args[0]
    )


def constant_form(expr: sp.Expr) -> sp.Expr:
    r"""A constant in lowest terms, :math:`\sqrt\pi` counted as one number, so that equal constants look alike.

    Examples
    --------
    >>> constant_form(sp.sqrt(sp.pi) / (2 * sp.pi + sp.sqrt(sp.pi)))
    1/(1 + 2*sqrt(pi))
    """
    root = sp.Dummy("r", positive=True)
    opened = expr.subs(sp.pi, root**2)
    if not opened.is_rational_function(root):
        return expr
    return sp.cancel(opened).subs(root, sp.sqrt(sp.pi))


def fold_constants(expr: sp.Expr) -> sp.Expr:
    """Bring constant arguments of functions to :func:`constant_form`, so that special values are recognised.

    Examples
    --------
    >>> sp.erfinv(sp.sqrt(sp.pi) / (2 * sp.sqrt(sp.pi)) * 2), fold_constants(sp.erfinv((sp.pi + sp.sqrt(sp.pi)) / (1 + sp.sqrt(sp.pi)) / sp.sqrt(sp.pi)))
    (oo, oo)
    """
    return expr.replace(
        lambda node: isinstance(node, sp.Function) and any(a.is_number and not a.is_Rational for a in node.args),
        lambda node: node.func(*(constant_form(a) if a.is_number else a for a in node.args)),
    )
