r"""The scalar linear equation :math:`\mathrm{d}Y = (\alpha + \beta Y)\,\mathrm{d}t + (\gamma + \delta Y)\,\mathrm{d}B`: its solution, law and moments.

Coefficients are functions of time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.binding import Binding, bound_symbol, bound_symbols, opened, printed_symbols
from derivations.calculus.linear_ode import solve_linear
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm

#: Time inside integrals, and the Brownian motion of a solution.
inner_time = bound_symbol("s", positive=True)
brownian = sp.Function("B", real=True)


class ItoIntegral(Binding):
    r"""The stochastic integral :math:`\int_0^t f(s)\,\mathrm{d}B_s`, unevaluated.

    Parameters
    ----------
    integrand : Expr
        Deterministic or not, in the variable.
    s : Symbol
        The variable, positive; the integral renames it to a dummy of its own.
    upper : Expr
        The upper end.

    Examples
    --------
    >>> s, t = sp.symbols("s t", positive=True)
    >>> ItoIntegral(s, s, t).subs(s, 2), ItoIntegral(s, s, t).subs(t, 2)
    (ItoIntegral(s, (s, 0, t)), ItoIntegral(s, (s, 0, 2)))
    """

    def __new__(cls, integrand: sp.Expr, s: sp.Symbol, upper: sp.Expr) -> ItoIntegral:  # noqa: D102
        integrand, upper = sp.sympify(integrand), sp.sympify(upper)
        (own,) = bound_symbols(("s",), (integrand.free_symbols - {s}) | upper.free_symbols, positive=True)
        made: ItoIntegral = sp.Expr.__new__(cls, integrand.xreplace({s: own}), own, upper)
        return made

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """Those of the integrand but for the variable, and of the upper end."""
        integrand, s, upper = self.args
        return set(integrand.free_symbols) - {s} | set(upper.free_symbols)

    @property
    def bound_symbols(self) -> list[sp.Symbol]:
        """The variable."""
        return [self.args[1]]

    def _changed(self, change: Callable[[sp.Basic], sp.Basic]) -> sp.Expr:
        integrand, s, upper = self.args
        function = opened(sp.Lambda(s, integrand))
        return ItoIntegral(change(function.expr), function.variables[0], change(upper))

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        integrand, s, upper = self.args
        if upper.has(symbol):
            raise DerivationError(
                f"{self} is not differentiable in {symbol}, its time; use Itô's formula (calculus.ito)"
            )
        return ItoIntegral(integrand.diff(symbol), s, upper) if integrand.has_free(symbol) else sp.S.Zero

    def _numpycode(self, printer: sp.printing.printer.Printer, **settings: object) -> str:
        raise DerivationError(f"{self} is random: it has no value to compute; simulate its paths instead")

    _pythoncode = _mpmathcode = _numpycode

    def printed(self) -> tuple[sp.Symbol, sp.Expr]:
        """The variable as it is printed, and the integrand in it."""
        (s,) = printed_symbols(("s",), self)
        return s, self.args[0].xreplace({self.args[1]: s})

    def _latex(self, printer: sp.printing.latex.LatexPrinter) -> str:
        s, integrand, upper = map(printer._print, (*self.printed(), self.args[2]))
        return rf"\int_0^{{{upper}}} {integrand}\,\mathrm{{d}}B_{{{s}}}"

    def _sympystr(self, printer: sp.printing.str.StrPrinter) -> str:
        s, integrand, upper = map(printer._print, (*self.printed(), self.args[2]))
        return f"ItoIntegral({integrand}, ({s}, 0, {upper}))"


@dataclass(frozen=True)
class LinearSDE:
    r"""The equation :math:`\mathrm{d}Y = (\alpha + \beta Y)\,\mathrm{d}t + (\gamma + \delta Y)\,\mathrm{d}B`.

    Parameters
    ----------
    alpha, beta, gamma, delta : Expr
        Functions of time without the state.
    start : Expr
        :math:`Y_0`.
    time : Symbol
    """

    alpha: sp.Expr
    beta: sp.Expr
    gamma: sp.Expr
    delta: sp.Expr
    start: sp.Expr
    time: sp.Symbol

    def diffusion(self, state: sp.Symbol, domain: sp.Set = sp.S.Reals) -> Diffusion:
        """The equation as a diffusion in a given state."""
        noise = self.gamma + self.delta * state
        return Diffusion((state,), [self.alpha + self.beta * state], [[sp.expand(noise**2)]], domain, self.time)

    def _over(self, expr: sp.Expr, t: sp.Expr) -> sp.Expr:
        return sp.integrate(expr.subs(self.time, inner_time), (inner_time, 0, t))

    @cached_property
    def fundamental(self) -> sp.Expr:
        r"""The solution from 1 of the equation without :math:`\alpha` and :math:`\gamma`.

        It is :math:`\Phi_t = \exp\big(\int_0^t(\beta - \tfrac12\delta^2)\,\mathrm{d}s + \int_0^t\delta\,\mathrm{d}B_s\big)`.
        """
        t = self.time
        drift = self._over(self.beta - self.delta**2 / 2, t)
        noise = (
            ItoIntegral(self.delta.subs(t, inner_time), inner_time, t)
            if self.delta.has(t)
            else self.delta * brownian(t)
        )
        return sp.exp(drift + noise)

    @cached_property
    def solution(self) -> sp.Expr:
        r"""The solution by variation of constants.

        .. math:: Y_t = \Phi_t\Big(Y_0 + \int_0^t \Phi_s^{-1}(\alpha - \gamma\delta)\,\mathrm{d}s + \int_0^t
        \Phi_s^{-1}\gamma\,\mathrm{d}B_s\Big)

        *Derivation.* Itô's product rule on :math:`\Phi^{-1} Y`, with
        :math:`\mathrm{d}[\Phi^{-1}, Y] = -\delta\Phi^{-1}(\gamma + \delta Y)\,\mathrm{d}t`.
        """
        t = self.time
        inverse = 1 / self.fundamental.subs(t, inner_time)
        alpha, gamma, delta = (c.subs(t, inner_time) for c in (self.alpha, self.gamma, self.delta))
        total = self.start
        if sp.expand(alpha - gamma * delta) != 0:
            total += sp.Integral(inverse * (alpha - gamma * delta), (inner_time, 0, t))
        if gamma != 0:
            total += ItoIntegral(inverse * gamma, inner_time, t)
        return self.fundamental * total

    @property
    def in_law(self) -> sp.Expr:
        r"""An exponential functional of Brownian motion that equals :math:`Y_t` in law at each t.

        For constant coefficients, :math:`\gamma = 0` and :math:`Y_0 = 0` it is
        :math:`\alpha\int_0^t \exp((\beta - \tfrac12\delta^2)s + |\delta| B_s)\,\mathrm{d}s`.

        *Derivation.* :math:`\Phi_t/\Phi_s` is a function of :math:`B_t - B_s`; :math:`s \mapsto B_t - B_{t-s}` is
        a Brownian motion on [0, t], and B is symmetric.

        Raises
        ------
        NoClosedForm
            If the coefficients are not of that kind.
        """
        moving = any(c.has(self.time) for c in (self.alpha, self.beta, self.delta))
        if moving or self.gamma != 0 or self.start != 0:
            raise NoClosedForm("reversal of time needs constant coefficients, no additive noise and a start at 0")
        size = (
            self.delta
            if self.delta.is_nonnegative
            else -self.delta
            if self.delta.is_nonpositive
            else sp.Abs(self.delta)
        )
        s = inner_time
        inside = sp.exp((self.beta - self.delta**2 / 2) * s + size * brownian(s))
        return self.alpha * sp.Integral(inside, (s, 0, self.time))

    def moment(self, order: int) -> sp.Expr:
        r"""The moment :math:`\mathbb{E}Y_t^k`.

        *Derivation.* By Itô's formula

        .. math:: \dot m_k = k(\alpha m_{k-1} + \beta m_k) + \tfrac12 k(k-1)(\gamma^2 m_{k-2} + 2\gamma\delta m_{k-1} + \delta^2 m_k),

        a triangular linear system, solved by variation of constants.
        """
        if isinstance(order, bool) or not isinstance(order, int) or order < 0:
            raise DerivationError(f"the order of a moment must be a whole number ≥ 0, got {order!r}")
        if order == 0:
            return sp.S.One
        if not any(c.has(self.time) for c in (self.alpha, self.beta, self.gamma, self.delta)):
            matrix, source = sp.zeros(order, order), sp.zeros(order, 1)
            for k in range(1, order + 1):
                for j, rate in self._row(k).items():
                    if j == 0:
                        source[k - 1] += rate
                    else:
                        matrix[k - 1, j - 1] += rate
            starts = [self.start**k for k in range(1, order + 1)]
            return sp.factor_terms(solve_linear(matrix, source, starts, self.time)[-1])
        values = [sp.S.One]
        for k in range(1, order + 1):
            values.append(self._variation(k, values))
        return values[order]

    def _row(self, k: int) -> dict[int, sp.Expr]:
        """Coefficients of lower moments in the equation of the k-th."""
        pairs = sp.Rational(k * (k - 1), 2)
        entries = {
            k: k * self.beta + pairs * self.delta**2,
            k - 1: k * self.alpha + 2 * pairs * self.gamma * self.delta,
            k - 2: pairs * self.gamma**2,
        }
        return {j: sp.expand(rate) for j, rate in entries.items() if j >= 0 and rate != 0}

    def _variation(self, k: int, lower: list[sp.Expr]) -> sp.Expr:
        t, row = self.time, self._row(k)
        growth = self._over(sp.sympify(row.get(k, sp.S.Zero)), t)
        source = sum((row[j] * lower[j] for j in row if j < k), sp.S.Zero)
        inside = sp.expand(sp.exp(-growth).subs(t, inner_time) * sp.sympify(source).subs(t, inner_time))
        total = sp.integrate(inside, (inner_time, 0, t))
        if total.has(sp.Integral):
            raise NoClosedForm(
                f"the moment of order {k} needs ∫ {inside} ds; integrate the moment equations numerically"
            )
        return sp.expand(sp.exp(growth) * (self.start**k + total))
