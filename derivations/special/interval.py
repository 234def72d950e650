r"""The heat kernel of the unit interval with absorbing ends: a theta function, in both of its forms."""

from __future__ import annotations

from typing import Any

import mpmath
import sympy as sp
from mpmath import mp
from sympy.core.function import ArgumentIndexError, PoleError

from derivations.special.functions import GUARD, Fuzzy, value_of
from derivations.special.numeric import Numeric


def interval_kernel(order: int, tau: mpmath.mpf, a: mpmath.mpf, b: mpmath.mpf) -> mpmath.mpf:
    r"""The derivative :math:`\partial_a^n K(\tau, a, b)` of the kernel that :class:`IntervalKernel` describes.

    Images for :math:`\tau < 1/4`, eigenfunctions beyond: either series then falls off faster than
    :math:`e^{-m^2}`. The precision is raised until what cancels near an end has been made up for.

    Examples
    --------
    >>> mpmath.nstr(interval_kernel(0, mpmath.mpf(1), mpmath.mpf("0.5"), mpmath.mpf("0.5")), 12)
    '0.0143837667117'
    """
    tau, a, b = (mp.convert(v) for v in (tau, a, b))
    series = by_images if tau < mp.mpf(1) / 4 else by_eigenfunctions
    wanted = mp.prec
    extra = GUARD
    while True:
        with mp.workprec(wanted + extra):
            total, largest = series(int(order), tau, a, b)
        lost = mp.mag(largest) - mp.mag(total) if total else extra
        if lost + GUARD <= extra or extra > 20 * wanted + 2000:
            return +total
        extra = max(2 * extra, lost + 2 * GUARD)


def by_images(order: int, tau: mpmath.mpf, a: mpmath.mpf, b: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    r"""The form for small times, :math:`\sum_m [g_\tau(a - b + 2m) - g_\tau(a + b + 2m)]`, and its largest term.

    The n-th derivative of Gauss's kernel is :math:`g_\tau^{(n)}(s) = (-1)^n \tau^{-n/2} He_n(s/\sqrt\tau)\, g_\tau(s)`.
    """
    scale, norm = 1 / mp.sqrt(tau), 1 / mp.sqrt(2 * mp.pi * tau)

    def gauss(s: mpmath.mpf) -> mpmath.mpf:
        u = s * scale
        before, here = mp.zero, mp.one
        for k in range(order):  # He_{k+1} = u He_k - k He_{k-1}
            before, here = here, u * here - k * before
        return here * mp.exp(-u * u / 2)

    total, largest, m = mp.zero, mp.zero, 0
    while True:
        terms = [sign * gauss(s + 2 * k) for k in {m, -m} for sign, s in ((1, a - b), (-1, a + b))]
        sizes = max(map(abs, terms))
        total, largest = total + sum(terms), max(largest, sizes)
        if m > 1 and sizes < mp.eps * largest:
            factor = norm * (-scale) ** order
            return total * factor, largest * abs(factor)
        m += 1


def by_eigenfunctions(order: int, tau: mpmath.mpf, a: mpmath.mpf, b: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    r"""The form for large times, :math:`2\sum_{m\ge1} \sin(m\pi a)\sin(m\pi b)\,e^{-m^2\pi^2\tau/2}`, and its largest term."""
    total, largest, m = mp.zero, mp.zero, 1
    while True:
        size = 2 * (m * mp.pi) ** order * mp.exp(-((m * mp.pi) ** 2) * tau / 2)
        wave = (mp.sinpi, mp.cospi)[order % 2](m * a) * (-1) ** (order // 2)
        total, largest = total + size * wave * mp.sinpi(m * b), max(largest, size)
        if size < mp.eps * largest:
            return total, largest
        m += 1


def _refuse_start(node: sp.Expr, tau: sp.Expr, x: sp.Symbol) -> None:
    if tau.subs(x, 0).is_zero:
        raise PoleError(
            f"{node} has no expansion in powers of {x}: it vanishes faster than every power as its time goes to 0"
        )


class IntervalKernel(Numeric):
    r"""The derivative :math:`\partial_a^n K(\tau, a, b)` of the heat kernel of (0, 1) with absorbing ends.

    K solves :math:`\partial_\tau K = \tfrac12\partial_a^2 K`, vanishes at a = 0 and a = 1, and starts as a unit mass at b.
    By the method of images, and by separation of variables,

    .. math:: K(\tau, a, b) = \sum_{m\in\mathbb{Z}} \bigl[g_\tau(a - b + 2m) - g_\tau(a + b + 2m)\bigr]
              = 2\sum_{m\ge1} \sin(m\pi a)\sin(m\pi b)\,e^{-m^2\pi^2\tau/2},

    with :math:`g_\tau` the centred Gaussian density of variance :math:`\tau`: differences of Jacobi's theta function,
    and the equality is Poisson's summation formula.

    Parameters
    ----------
    order : Expr
        How often it is differentiated in a; a whole number.
    tau, a, b : Expr
        Time, positive, and two points of the unit interval.

    Examples
    --------
    >>> tau, a, b = sp.symbols("tau a b", positive=True)
    >>> k = IntervalKernel(0, tau, a, b)
    >>> k.diff(tau) - k.diff(a, 2) / 2
    0
    """

    nargs = 4
    array_name, exact_name = "interval_kernel", "interval_kernel"

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """The heat equation for the time; one order more in a. In b only the kernel itself, which is symmetric."""
        order, tau, a, b = self.args
        if argindex == 2:
            return IntervalKernel(order + 2, tau, a, b) / 2
        if argindex == 3:
            return IntervalKernel(order + 1, tau, a, b)
        if argindex == 4 and order == 0:
            return IntervalKernel(1, tau, b, a)
        raise ArgumentIndexError(self, argindex)

    def _eval_is_extended_real(self) -> Fuzzy:
        return True if all(arg.is_extended_real for arg in self.args) else None

    def _eval_nseries(self, x: sp.Symbol, n: int, logx: sp.Expr | None, cdir: int = 0) -> sp.Expr:
        _refuse_start(self, self.args[1], x)
        return super()._eval_nseries(x, n, logx, cdir)

    def _eval_as_leading_term(self, x: sp.Symbol, logx: sp.Expr | None = None, cdir: int = 0) -> sp.Expr:
        _refuse_start(self, self.args[1], x)
        return super()._eval_as_leading_term(x, logx, cdir)

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return value_of(self, interval_kernel, prec)

    def _latex(self, printer: sp.printing.latex.LatexPrinter, exp: str | None = None) -> str:
        order, *rest = self.args
        primes = "" if order == 0 else rf"^{{({printer._print(order)})}}"
        body = rf"\vartheta{primes}\left({', '.join(map(printer._print, rest))}\right)"
        return rf"{{{body}}}^{{{exp}}}" if exp else body


class LogIntervalKernel(Numeric):
    r"""The logarithm of :class:`IntervalKernel` of order 0, finite where the kernel itself underflows.

    Examples
    --------
    >>> tau, a, b = sp.symbols("tau a b", positive=True)
    >>> LogIntervalKernel(sp.Rational(1, 10**6), sp.Rational(1, 10), sp.Rational(9, 10)).evalf(12)
    -319994.011183
    >>> LogIntervalKernel(tau, a, b).diff(a)
    IntervalKernel(1, tau, a, b)/IntervalKernel(0, tau, a, b)
    """

    nargs = 3
    array_name, exact_name = "log_interval_kernel", "log_interval_kernel"

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Derivative of the kernel over the kernel."""
        kernel = IntervalKernel(0, *self.args)
        return kernel.fdiff(argindex + 1) / kernel

    def _eval_is_extended_real(self) -> Fuzzy:
        return True if all(arg.is_positive for arg in self.args) else None

    def _eval_nseries(self, x: sp.Symbol, n: int, logx: sp.Expr | None, cdir: int = 0) -> sp.Expr:
        _refuse_start(self, self.args[0], x)
        return super()._eval_nseries(x, n, logx, cdir)

    def _eval_as_leading_term(self, x: sp.Symbol, logx: sp.Expr | None = None, cdir: int = 0) -> sp.Expr:
        _refuse_start(self, self.args[0], x)
        return super()._eval_as_leading_term(x, logx, cdir)

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return value_of(self, log_interval_kernel, prec)

    def _latex(self, printer: sp.printing.latex.LatexPrinter, exp: str | None = None) -> str:
        body = rf"\log \vartheta\left({', '.join(map(printer._print, self.args))}\right)"
        return rf"\left({body}\right)^{{{exp}}}" if exp else body


def log_interval_kernel(tau: mpmath.mpf, a: mpmath.mpf, b: mpmath.mpf) -> mpmath.mpf:
    """The logarithm of the kernel to the working precision; minus infinity at the ends."""
    with mp.extraprec(GUARD):
        kernel = interval_kernel(0, tau, a, b)
        value = mp.log(kernel) if kernel > 0 else -mp.inf
    return +value


def theta_forms(tau: Any, a: Any, b: Any) -> tuple[sp.Expr, sp.Expr]:
    """The kernel written out as its two series, for display and for checks."""
    m = sp.Symbol("m", integer=True)

    def gauss(s: sp.Expr) -> sp.Expr:
        return sp.exp(-(s**2) / (2 * tau)) / sp.sqrt(2 * sp.pi * tau)

    images = sp.Sum(gauss(a - b + 2 * m) - gauss(a + b + 2 * m), (m, -sp.oo, sp.oo))
    waves = sp.Sum(
        2 * sp.sin(m * sp.pi * a) * sp.sin(m * sp.pi * b) * sp.exp(-(m**2) * sp.pi**2 * tau / 2), (m, 1, sp.oo)
    )
    return images, waves
